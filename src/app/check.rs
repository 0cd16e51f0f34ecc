//! `doorstep check`: each login once, with the codes that it takes, and each doorbell and its doors once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::setup::Setup;
use super::{Home, ended, report, speech_settings, start_accounts, tokens};
use crate::clock;
use crate::config::Config;
use crate::doorbell::voice::{Mute, Source};
use crate::doorbell::{Accounts, Door, Doorbell, Registry, Voice};
use crate::model::{Account, AccountLink, DoorKind, Link};
use crate::secret::Password;
use crate::sim::console::stdin_lines;
use crate::speech::Speech;
use crate::store::Store;

/// How long an account, or a doorbell, may take.
const WITHIN: Duration = Duration::from_secs(15);
/// How long a door's lock may take, once the accounts have answered.
const LOCKS_WITHIN: Duration = Duration::from_secs(5);
/// How long a vendor may take to say whether anybody can talk.
const TALK_WITHIN: Duration = Duration::from_secs(5);
/// How long an account may take to say whether its events are heard.
const PUSH_WITHIN: Duration = Duration::from_secs(10);
/// How long an account waits for whoever is to type its code.
const TYPED_WITHIN: Duration = Duration::from_secs(300);

/// Tries each login and reaches for every doorbell once. Whether all went well.
pub async fn check(config: &Config, data: &Path, home: Option<&Home>) -> bool {
    let stop = CancellationToken::new();
    let doorbells = Registry::default();
    let store = Store::visit(data);
    let accounts = start_accounts(config, &store, data, &doorbells, Arc::new(Mute), &stop);
    let _added = Setup::open(config, &store, &accounts, &stop);
    let mut all_well = true;
    if let Err(exposed) = tokens(config, &store).suffice_at(config.http.listen) {
        all_well = false;
        report(&exposed.to_string());
    }
    if timeout(WITHIN, accounts.settled()).await.is_err() {
        all_well = false;
        report("An account did not answer in time. Try again.");
    }
    let mut codes = Codes(None);
    for (n, vendor, status) in accounts.all() {
        all_well &= stands(&accounts, n, vendor, status, &mut codes).await;
    }
    for doorbell in doorbells.all() {
        let outcome = reached(&doorbell).await;
        let unreached = outcome.is_err();
        all_well &= !unreached;
        let said = outcome.map_or_else(|why| why, |()| "reached".to_owned());
        report(&format!("{}: {said}", doorbell.info().name));
        // Not all is well, but nothing of it is broken: who has no use for talking need do nothing.
        if let Some(why) = unheard(&doorbell).await {
            report(&format!("{}, talking: {why}", doorbell.info().name));
        }
        for (kind, door) in doorbell.doors() {
            // Of an opener in a doorbell that was not reached, all has been said.
            if door.opener().is_some() && unreached {
                continue;
            }
            if let Some(why) = blocked(door).await {
                all_well = false;
                let door = if *kind == DoorKind::Garage { "garage door" } else { "door" };
                report(&format!("{}, its {door}: {why}", doorbell.info().name));
            }
        }
    }
    all_well &= speaks(config, data, home, &stop).await;
    stop.cancel();
    ended(&accounts, &doorbells).await;
    all_well
}

/// Whether text is spoken, where the owner has said by whom.
async fn speaks(config: &Config, data: &Path, home: Option<&Home>, stop: &CancellationToken) -> bool {
    if config.say.engine.is_none() && config.say.assistant.is_none() {
        return true;
    }
    let speech = Speech::start(speech_settings(config, data, home), stop.clone());
    let spoken = speech.sound(Source::Text("Doorstep".to_owned())).await;
    let told = spoken.as_ref().map_or_else(ToString::to_string, |_| "Home Assistant speaks it.".to_owned());
    report(&format!("Spoken text: {told}"));
    spoken.is_ok()
}

/// Whether account number `n` is well, after it was given the codes that it wants.
async fn stands(
    accounts: &Accounts,
    n: usize,
    vendor: &str,
    mut status: watch::Receiver<Account>,
    codes: &mut Codes,
) -> bool {
    let deadline = clock::now() + TYPED_WITHIN;
    let told = status.wait_for(|account| match account.link {
        // It began with what an earlier run knew.
        AccountLink::Starting => false,
        AccountLink::Ready => !account.push_pending,
        _ => true,
    });
    drop(timeout(PUSH_WITHIN, told).await);
    loop {
        let link = status.borrow_and_update().link.clone();
        let Some(why) = link.why() else { return true };
        report(&format!("{vendor} account: {why}"));
        if !matches!(link, AccountLink::NeedsCode { .. }) {
            return false;
        }
        report("Type the code here instead, then press Enter.");
        let Ok(Some(code)) = timeout_at(deadline, codes.next()).await else {
            report("No code was typed.");
            return false;
        };
        accounts.answer(n, code);
        // The same again: the code was refused like the one before it.
        let _refused_again = timeout(WITHIN, status.wait_for(|account| account.link != link)).await;
    }
}

/// What is typed, or comes out of a pipe. Standard input is left alone until a code is wanted.
struct Codes(Option<mpsc::Receiver<String>>);

impl Codes {
    /// The next line that is a code; `None` when there are no more lines.
    async fn next(&mut self) -> Option<Password> {
        let lines = self.0.get_or_insert_with(stdin_lines);
        loop {
            let line: String = lines.recv().await?.split_whitespace().collect();
            if (4..=10).contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_digit()) {
                return Some(Password::new(line));
            }
            report("A code is 4 to 10 digits.");
        }
    }
}

async fn reached(doorbell: &Doorbell) -> Result<(), String> {
    let mut state = doorbell.state();
    let settled = state.wait_for(|state| state.link == Link::Ready || state.last_error.is_some());
    match timeout(WITHIN, settled).await {
        Ok(Ok(state)) => state.last_error.clone().map_or(Ok(()), Err),
        _ => Err("The doorbell could not be reached in time. Try again.".to_owned()),
    }
}

/// Why nobody can talk to it although it has a speaker.
async fn unheard(doorbell: &Doorbell) -> Option<String> {
    let mut state = doorbell.state();
    // Whatever is known by then.
    drop(timeout(TALK_WITHIN, state.wait_for(|state| !state.talk_pending)).await);
    state.borrow().talk_obstacle.clone()
}

/// Why the enabled door cannot be worked.
async fn blocked(door: &Door) -> Option<String> {
    let mut state = door.state();
    let ready = timeout(LOCKS_WITHIN, state.wait_for(|door| door.blocked.is_none())).await.is_ok();
    if ready { None } else { state.borrow().blocked.clone() }
}
