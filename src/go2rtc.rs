//! go2rtc as a companion: every stream is registered there and stays registered (docs/http-api.md).
//!
//! What it has is read every half minute or so, and what is missing or wrong is put right: its streams are in its
//! memory alone and go with its restart, and the keys in them are of minutes. A stream is taken away when its doorbell
//! is gone, and not when we stop: who watches it there finds it again when we are back.

mod api;
mod plan;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};
use url::Url;

use crate::clock::{self, Instant};
use crate::config::{self, Enabled, Go2rtcMode};
use crate::doorbell::Registry;
use crate::model::{Capability, Companion, DeviceId};
use crate::net::supervise::{Backoff, jitter};
use crate::secret::Token;
use api::{Api, Done, Trouble};
use plan::{Call, Leavers, Wish};
use source::Source;

/// Where a go2rtc on this machine listens.
pub fn usual_url() -> Url {
    const USUAL: &str = "http://127.0.0.1:1984";
    Url::parse(USUAL).unwrap_or_else(|_| unreachable!("{USUAL} is an address"))
}

/// Doorbells that come together are registered together.
const TOGETHER: Duration = Duration::from_millis(200);

pub struct Settings {
    pub companion: config::Go2rtc,
    /// Where it is when its owner does not say.
    pub usual_url: Url,
    /// Where our streams are served.
    pub listener: SocketAddr,
    pub pace: Pace,
}

/// How often what is done.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// What go2rtc has is read anew after this and at most twice this.
    pub look_again: Duration,
    /// How often it is looked for while there is none.
    pub look_for_it: Duration,
    /// When a stream gets another key. Well below the ten minutes for which the one before is good then, so that
    /// go2rtc can be out of our reach for a while.
    pub key_age: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let (look_again, look_for_it) = (Duration::from_secs(30), Duration::from_secs(60));
        Self { look_again, look_for_it, key_age: Duration::from_secs(5 * 60) }
    }
}

/// The running registration, until dropped.
pub struct Go2rtc {
    state: watch::Receiver<Companion>,
    _task: Option<AbortOnDropHandle<()>>,
}

impl Go2rtc {
    pub fn state(&self) -> watch::Receiver<Companion> {
        self.state.clone()
    }
}

/// Keeps every stream of `doorbells` registered until `stop`, unless the owner wants none.
///
/// `keys` gives what a stream's address must hold to be let in; `None` where everybody is. `listed` resolves when every
/// account has told what it has: until then nothing is taken away that a former run has left.
pub fn start(
    settings: Settings,
    doorbells: Registry,
    keys: impl Fn(&DeviceId) -> Option<String> + Send + Sync + 'static,
    listed: impl Future<Output = ()> + Send + 'static,
    stop: CancellationToken,
) -> Go2rtc {
    let enabled = settings.companion.enabled;
    let (tell, state) = watch::channel(if enabled == Enabled::No { Companion::Off } else { Companion::Absent });
    if enabled == Enabled::No {
        return Go2rtc { state, _task: None };
    }
    let (all_listed, is_listed) = watch::channel(false);
    let url = settings.companion.url.clone().unwrap_or(settings.usual_url);
    let keeper = Keeper {
        api: Api::new(url, settings.companion.login.as_ref()),
        companion: settings.companion,
        listener: settings.listener,
        pace: settings.pace,
        doorbells,
        keys: Box::new(keys),
        issued: BTreeMap::new(),
        seen: BTreeSet::new(),
        is_listed,
        found: enabled == Enabled::Yes,
        state: tell,
    };
    let work = async move {
        let listing = async {
            listed.await;
            let _keeper_gone = all_listed.send(true);
            std::future::pending().await
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeper.run() => {}
            () = listing => {}
        }
    };
    Go2rtc { state, _task: Some(AbortOnDropHandle::new(tokio::spawn(work))) }
}

type Keys = Box<dyn Fn(&DeviceId) -> Option<String> + Send + Sync>;

struct Keeper {
    api: Api,
    companion: config::Go2rtc,
    listener: SocketAddr,
    pace: Pace,
    doorbells: Registry,
    keys: Keys,
    /// The key in each stream's address, and since when.
    issued: BTreeMap<DeviceId, (Token, Instant)>,
    /// Every doorbell that had a stream since we started.
    seen: BTreeSet<DeviceId>,
    is_listed: watch::Receiver<bool>,
    /// Whether go2rtc is known to be there, or is to be.
    found: bool,
    state: watch::Sender<Companion>,
}

impl Keeper {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut changes = self.doorbells.changes();
        loop {
            changes.mark_unchanged();
            match self.reconcile().await {
                Ok(streams) => {
                    backoff = Backoff::default();
                    self.tell(Companion::Registered { streams });
                    let wait = self.pace.look_again.mul_f64(1.0 + jitter());
                    if let Ok(Ok(())) = tokio::time::timeout(wait, changes.changed()).await {
                        tokio::time::sleep(TOGETHER).await;
                    }
                }
                Err(trouble) if self.companion.enabled == Enabled::Auto && trouble.is_absence() => {
                    debug!(%trouble, "there is no go2rtc");
                    self.found = false;
                    self.tell(Companion::Absent);
                    tokio::time::sleep(self.pace.look_for_it).await;
                }
                Err(trouble) => {
                    self.found = self.companion.enabled == Enabled::Yes;
                    self.tell(Companion::Failing { why: trouble.to_string() });
                    tokio::time::sleep(backoff.next(Duration::ZERO, jitter())).await;
                }
            }
        }
    }

    /// Logs what the owner would want to know, when it begins, changes and ends.
    fn tell(&self, now: Companion) {
        let news = self.state.send_if_modified(|state| std::mem::replace(state, now.clone()) != now);
        match &now {
            _ if !news => {}
            Companion::Registered { streams } => info!(streams, "go2rtc has our streams"),
            Companion::Failing { why } => warn!(why, "go2rtc does not have our streams"),
            Companion::Absent | Companion::Off => debug!("no go2rtc has our streams"),
        }
    }

    /// Brings what is there in line with what should be. How many of our streams there are then.
    async fn reconcile(&mut self) -> Result<usize, Trouble> {
        if !self.found {
            self.api.greet().await?;
            self.found = true;
        }
        let there = self.api.streams().await?;
        let wish = self.wish().await?;
        let calls = wish.calls(&there);
        if calls.is_empty() {
            return Ok(wish.present(&there));
        }
        let mut unwritten = false;
        for call in &calls {
            debug!(?call, "go2rtc is told");
            let done = self.api.carry_out(call).await?;
            unwritten |= done == Done::InMemory && matches!(call, Call::Write { .. });
        }
        let present = wish.present(&self.api.streams().await?);
        // What it could not write down it may not have taken at all; and not everything that says yes is a go2rtc.
        if present < wish.streams.len() {
            return Err(self.api.not_taken());
        }
        if unwritten {
            warn!("go2rtc cannot write its configuration file; when it restarts, our streams are registered anew");
        }
        Ok(present)
    }

    async fn wish(&mut self) -> Result<Wish, Trouble> {
        let base = match &self.companion.advertise_url {
            Some(url) => url.clone(),
            None => source::base(self.listener, self.api.base()).await?,
        };
        let mut streams = BTreeMap::new();
        for doorbell in self.doorbells.all() {
            let info = doorbell.info();
            if info.capabilities.contains(&Capability::Stream) {
                let key = self.key(&info.id);
                let mode = self.mode(info.capabilities.contains(&Capability::Talk), key.is_some());
                streams.insert(info.id.clone(), Source::new(&base, mode, &info.id, key));
            }
        }
        self.issued.retain(|doorbell, _| streams.contains_key(doorbell));
        self.seen.extend(streams.keys().cloned());
        let leavers = if *self.is_listed.borrow() { Leavers::Everybody } else { Leavers::Seen(self.seen.clone()) };
        let config::Go2rtc { prefix, persist, .. } = &self.companion;
        Ok(Wish { base, prefix: prefix.clone(), streams, leavers, persist: *persist })
    }

    /// WHEP has no way back, so it is for whoever has none, or is to have none; and it takes no key.
    fn mode(&self, talks: bool, keyed: bool) -> Go2rtcMode {
        match (keyed, talks) {
            (true, _) => Go2rtcMode::Ws,
            (false, true) => self.companion.mode,
            (false, false) => Go2rtcMode::Whep,
        }
    }

    /// A key of a doorbell's stream that is good for some minutes yet; `None` where none is asked for.
    fn key(&mut self, doorbell: &DeviceId) -> Option<Token> {
        if let Some((key, since)) = self.issued.get(doorbell)
            && since.elapsed() < self.pace.key_age
        {
            return Some(key.clone());
        }
        let key = Token::new((self.keys)(doorbell)?);
        self.issued.insert(doorbell.clone(), (key.clone(), clock::now()));
        Some(key)
    }
}
