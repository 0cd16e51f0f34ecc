//! `doorstep check`: each login once, and each doorbell and its doors once.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{ended, report, start_accounts};
use crate::config::Config;
use crate::doorbell::{Door, Doorbell, Registry};
use crate::model::{DoorKind, Link};
use crate::store::Store;

/// How long an account, or a doorbell, may take.
const WITHIN: Duration = Duration::from_secs(15);
/// How long a door's lock may take, once the accounts have answered.
const LOCKS_WITHIN: Duration = Duration::from_secs(5);

/// Tries each login and reaches for every doorbell once. Whether all went well.
pub async fn check(config: &Config, data: &Path) -> bool {
    let stop = CancellationToken::new();
    let doorbells = Registry::default();
    let accounts = start_accounts(config, &Store::visit(data), data, &doorbells, &stop);
    let mut all_well = true;
    if timeout(WITHIN, accounts.settled()).await.is_err() {
        all_well = false;
        report("An account did not answer in time. Try again.");
    }
    for (vendor, status) in accounts.all() {
        if let Some(why) = status.borrow().link.why() {
            all_well = false;
            report(&format!("{vendor} account: {why}"));
        }
    }
    for doorbell in doorbells.all() {
        let outcome = reached(&doorbell).await;
        all_well &= outcome.is_ok();
        let said = outcome.map_or_else(|why| why, |()| "reached".to_owned());
        report(&format!("{}: {said}", doorbell.info().name));
        for (kind, door) in doorbell.doors() {
            if let Some(why) = blocked(door).await {
                all_well = false;
                let door = if *kind == DoorKind::Garage { "garage door" } else { "door" };
                report(&format!("{}, its {door}: {why}", doorbell.info().name));
            }
        }
    }
    stop.cancel();
    ended(&accounts, &doorbells).await;
    all_well
}

async fn reached(doorbell: &Doorbell) -> Result<(), String> {
    let mut state = doorbell.state();
    let settled = state.wait_for(|state| state.link == Link::Ready || state.last_error.is_some());
    match timeout(WITHIN, settled).await {
        Ok(Ok(state)) => state.last_error.clone().map_or(Ok(()), Err),
        _ => Err("The doorbell could not be reached in time. Try again.".to_owned()),
    }
}

/// Why the enabled door cannot be worked.
async fn blocked(door: &Door) -> Option<String> {
    let mut state = door.state();
    let ready = timeout(LOCKS_WITHIN, state.wait_for(|door| door.blocked.is_none())).await.is_ok();
    if ready { None } else { state.borrow().blocked.clone() }
}
