//! One life of an account: lists its devices now and again, and reads what happened at them.
//!
//! What passes by itself does not end the life, so that rings are heard while the listing fails, and the last known
//! devices stay while the cloud is away.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Wyze;
use super::cloud::{App, Cloud, CloudError, Host};
use super::devices::{self, Listing, Record, Skipped};
use super::events::{self, Page, Poller, RingFile, Window};
use super::gwell::Gwell;
use crate::clock::{self, Instant};
use crate::config::WyzeLogin;
use crate::doorbell::vendor::Retry;
use crate::doorbell::{AccountPort, Picture, VendorError};
use crate::model::{self, AccountLink, Capability, DeviceId, Event, Found};
use crate::net::supervise::{Backoff, jitter};
use crate::proto::wire::hex;
use crate::secret::Password;
use crate::store::Store;
use crate::vendor::named;

/// A login, and what is remembered of it from one life to the next.
pub(super) struct Account {
    pub(super) cloud: Cloud,
    /// Of its GWell cameras.
    pub(super) gwell: Gwell,
    store: Store,
    /// Where in the store the last good listing is.
    key: String,
    poll: Duration,
    memory: Mutex<Memory>,
}

struct Memory {
    poller: Poller,
    /// Event list v4 has failed; until then v2 is read.
    v2_until: Option<Instant>,
    /// What the last listing left out.
    skipped: BTreeSet<Skipped>,
    /// What it had.
    records: Vec<Record>,
}

impl Account {
    pub(super) fn new(login: &WyzeLogin, store: &Store) -> Self {
        let cloud = Cloud::new(login, store);
        Self {
            gwell: Gwell::new(cloud.clone(), login, store),
            cloud,
            store: store.clone(),
            key: key(login),
            poll: login.poll,
            memory: Mutex::new(Memory {
                poller: Poller::new(&login.ring_events),
                v2_until: None,
                skipped: BTreeSet::new(),
                records: Vec::new(),
            }),
        }
    }

    /// What the account holds now.
    ///
    /// # Errors
    /// `Misunderstood` also when the answer is no listing.
    pub(super) async fn list(&self) -> Result<Vec<Record>, CloudError> {
        let data = self.cloud.app("/app/v2/home_page/get_object_list", json!({})).await?;
        let listing = Listing::read(&data).ok_or_else(|| CloudError::Misunderstood("no device list".to_owned()))?;
        let mut memory = self.memory();
        for Skipped { position, why } in listing.skipped.difference(&memory.skipped) {
            tracing::warn!(position, why, "a device of the account's list cannot be read and is left out");
        }
        memory.skipped.clone_from(&listing.skipped);
        memory.records = self.reachable(listing.steadied(&memory.records));
        Ok(memory.records.clone())
    }

    /// Without addresses at which no camera can be.
    fn reachable(&self, mut records: Vec<Record>) -> Vec<Record> {
        for record in &mut records {
            record.address = record.address.filter(|at| named::is_camera_of(self.cloud.address(), at.ip()));
        }
        records
    }

    /// For the next start.
    fn keep(&self, records: &[Record]) {
        if let Err(error) = self.store.put(&self.key, &devices::listing_of(records)) {
            tracing::warn!(%error, "the list of devices was not kept for the next start");
        }
    }

    /// The devices of the last good listing, of an earlier run.
    fn recall(&self) -> Vec<Record> {
        let kept: Option<Value> = self.store.get(&self.key);
        let records = kept.and_then(|data| Listing::read(&data)).map(|listing| listing.records).unwrap_or_default();
        let records = self.reachable(records);
        self.memory().records.clone_from(&records);
        records
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says nothing about the account.
pub(super) fn key(login: &WyzeLogin) -> String {
    let at = login.endpoints.api.as_str();
    let digest = Sha256::digest(format!("{}\n{at}", login.email.expose().to_lowercase()));
    format!("wyze_devices_{}", hex(digest.get(..8).unwrap_or_default()))
}

/// # Errors
/// When only its owner can help.
pub(super) async fn live(wyze: &Wyze, port: AccountPort, stop: CancellationToken) -> Result<(), VendorError> {
    let AccountPort { status, listings, events, pictures, rediscover, codes } = port;
    let desk = Desk { status: tokio::sync::Mutex::new(status), listings, ails: Mutex::default() };
    let Some(account) = &wyze.account else {
        desk.bring(wyze.found()).await;
        stop.cancelled().await;
        return Ok(());
    };
    let (files, wanted) = mpsc::channel(FILES);
    let reader = Reader { wyze, account, desk: &desk, events, files, list_now: rediscover.clone() };
    let mut lister = Lister { wyze, account, desk: &desk, rediscover, codes, failure: None };
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = lister.run() => Err(error.into()),
        () = reader.run() => Ok(()),
        () = fetch(account, wanted, pictures) => Ok(()),
    }
}

/// Full: the pictures of further rings are not fetched.
const FILES: usize = 8;

/// Fetches the pictures of rings, while the next events are read. Ends with the reader.
async fn fetch(account: &Account, mut files: mpsc::Receiver<RingFile>, pictures: mpsc::Sender<(DeviceId, Picture)>) {
    while let Some(RingFile { device, event_id, at, url }) = files.recv().await {
        match account.cloud.file(&url).await {
            Ok(jpeg) => {
                let picture = Picture { at, jpeg, ring: Some(event_id) };
                let _house_gone = pictures.send((device, picture)).await;
            }
            Err(why) => tracing::debug!(%why, "the picture of a ring cannot be fetched"),
        }
    }
}

/// What the account tells the house: its devices, and how it does.
struct Desk {
    /// Held while a listing is on its way, since taking one sets the account ready.
    status: tokio::sync::Mutex<watch::Sender<model::Account>>,
    listings: mpsc::Sender<Vec<Found>>,
    ails: Mutex<Ails>,
}

/// What is wrong, by what it was met at.
#[derive(Default)]
struct Ails {
    /// `Starting` until the cloud has been asked.
    listing: AccountLink,
    events: Option<CloudError>,
}

impl Desk {
    /// Hands a listing over and waits until it is taken.
    async fn bring(&self, found: Vec<Found>) {
        let status = self.status.lock().await;
        let mut taken = status.subscribe();
        if self.listings.send(found).await.is_ok() {
            let _house_gone = taken.changed().await;
        }
    }

    async fn listing_is(&self, link: AccountLink, cloud: &Cloud) {
        self.ails().listing = link;
        self.show(cloud).await;
    }

    async fn events_are(&self, trouble: Option<CloudError>, cloud: &Cloud) {
        let known = std::mem::replace(&mut self.ails().events, trouble.clone());
        match &trouble {
            Some(error) if is_new(error, known.as_ref()) => {
                tracing::warn!(why = %error, "the events of the account cannot be read");
            }
            None if known.is_some() => tracing::info!("the events of the account can be read again"),
            _ => {}
        }
        if known != trouble {
            self.show(cloud).await;
        }
    }

    async fn show(&self, cloud: &Cloud) {
        let link = self.ails().link();
        let limit = *cloud.limits().borrow();
        self.status.lock().await.send_if_modified(|account| {
            let news = account.link != link || account.rate_limit != limit;
            (account.link, account.rate_limit) = (link, limit);
            news
        });
    }

    fn ails(&self) -> MutexGuard<'_, Ails> {
        self.ails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ails {
    fn link(&self) -> AccountLink {
        match (&self.listing, &self.events) {
            (AccountLink::Ready, Some(error)) => {
                AccountLink::Failing { why: format!("Rings and motion are not heard of at present. {error}") }
            }
            (listing, _) => listing.clone(),
        }
    }
}

/// Lists the devices.
struct Lister<'a> {
    wyze: &'a Wyze,
    account: &'a Account,
    desk: &'a Desk,
    rediscover: Arc<Notify>,
    codes: broadcast::Receiver<Password>,
    /// Why the last listing failed.
    failure: Option<CloudError>,
}

impl Lister<'_> {
    /// Often enough for a device that is new or was renamed, and seldom enough for the cloud.
    const EVERY: Duration = Duration::from_secs(20 * 60);
    /// A camera that is not where it was asks for no listing sooner after the last.
    const NOT_SOONER: Duration = Duration::from_secs(60);

    /// Until only the account's owner can help.
    async fn run(&mut self) -> CloudError {
        // Another process beside the service wants to know what the cloud says, and not what it once said.
        if !self.account.store.is_read_only() {
            self.recall().await;
        }
        let mut backoff = Backoff::default();
        loop {
            let wait = match self.account.list().await {
                Ok(records) => {
                    backoff = Backoff::default();
                    self.take(records).await;
                    Self::EVERY
                }
                Err(wanted @ CloudError::CodeWanted(_)) => {
                    self.wait_for_code(wanted).await;
                    continue;
                }
                Err(error) => {
                    let retry = error.retry();
                    self.fail(error.clone()).await;
                    match retry {
                        Retry::WaitForUser => return error,
                        Retry::After(wait) => wait,
                        _ => backoff.next(Duration::ZERO, jitter()),
                    }
                }
            };
            self.rest(wait).await;
        }
    }

    /// Begins with what was known before, so that doorbells on the LAN work while the cloud is away.
    async fn recall(&mut self) {
        if !self.wyze.has_listed() {
            self.wyze.learn(&self.account.recall());
        }
        self.bring_known().await;
        self.desk.listing_is(AccountLink::Starting, &self.account.cloud).await;
    }

    async fn take(&mut self, records: Vec<Record>) {
        self.account.keep(&records);
        self.wyze.learn(&records);
        self.desk.bring(self.wyze.found()).await;
        match self.failure.take() {
            Some(_) => tracing::info!(devices = records.len(), "the devices of the account are listed again"),
            None => tracing::debug!(devices = records.len(), "the devices of the account are listed"),
        }
        self.desk.listing_is(AccountLink::Ready, &self.account.cloud).await;
    }

    async fn bring_known(&self) {
        let found = self.wyze.found();
        // An empty listing would say that all is well, before anybody knows.
        if !found.is_empty() {
            self.desk.bring(found).await;
        }
    }

    async fn fail(&mut self, error: CloudError) {
        if self.account.store.is_read_only() {
            self.bring_known().await;
        }
        let why = error.to_string();
        if is_new(&error, self.failure.as_ref()) {
            tracing::warn!(why, "the devices of the account cannot be listed");
        }
        self.failure = Some(error);
        self.desk.listing_is(AccountLink::Failing { why }, &self.account.cloud).await;
    }

    /// Until the owner has typed in a code, which the next call shows to be right, or wrong.
    async fn wait_for_code(&mut self, wanted: CloudError) {
        // One that was typed in before it was wanted answers another question.
        self.codes = self.codes.resubscribe();
        // What was wrong with the last one says more than that there should be one.
        let why = self.failure.take().filter(|error| *error == CloudError::CodeRefused).unwrap_or(wanted).to_string();
        tracing::warn!(why, "the account waits for its owner");
        self.desk.listing_is(AccountLink::NeedsCode { why }, &self.account.cloud).await;
        if let Some(code) = self.next_code().await {
            self.failure = self.account.cloud.enter_code(code).await.err();
        }
    }

    /// `None` when nobody can give one any more.
    async fn next_code(&mut self) -> Option<Password> {
        loop {
            match self.codes.recv().await {
                Ok(code) => return Some(code),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    async fn rest(&self, wait: Duration) {
        let since = clock::now();
        let moved = async {
            self.wyze.relist.notified().await;
            tokio::time::sleep_until(since + Self::NOT_SOONER).await;
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // Also when the cloud wants to be left alone: then the client asks it nothing.
            () = self.rediscover.notified() => {}
            () = moved => {}
        }
    }
}

/// Whether this is another failure than the last, or another word of it.
fn is_new(error: &CloudError, last: Option<&CloudError>) -> bool {
    last.is_none_or(|last| std::mem::discriminant(error) != std::mem::discriminant(last))
}

/// Reads what happened.
struct Reader<'a> {
    wyze: &'a Wyze,
    account: &'a Account,
    desk: &'a Desk,
    events: mpsc::Sender<(DeviceId, Event)>,
    files: mpsc::Sender<RingFile>,
    list_now: Arc<Notify>,
}

impl Reader<'_> {
    const AFTER_ERROR: Duration = Duration::from_secs(60);
    /// How long v2 of the event list is read once v4 was not understood.
    const V2_FOR: Duration = Duration::from_secs(3_600);
    /// Full answers that are read on in a row; what is left comes with the next reading.
    const PAGES: usize = 5;

    /// As long as the account has a doorbell.
    async fn run(&self) {
        let mut known = self.wyze.known.subscribe();
        loop {
            let watched = match known.wait_for(|known| !known.now.watched().is_empty()).await {
                Ok(known) => known.now.watched().iter().map(|device| device.hardware.clone()).collect::<Vec<_>>(),
                Err(_) => return,
            };
            let watched: Vec<&str> = watched.iter().map(devices::HardwareId::as_str).collect();
            let begun = clock::now();
            match self.read(&watched).await {
                Ok(()) => {
                    self.desk.events_are(None, &self.account.cloud).await;
                    // From one beginning to the next, so that a slow answer makes no ring later.
                    tokio::time::sleep(self.pause().await.saturating_sub(begun.elapsed())).await;
                }
                Err(error) => {
                    let wait = self.fail(error).await;
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        // The cloud is back: it has listed the devices.
                        Ok(()) = known.changed() => {}
                    }
                }
            }
        }
    }

    async fn pause(&self) -> Duration {
        let limits = *self.account.cloud.limits().borrow();
        let pause = events::pause(self.account.poll, limits, self.account.cloud.server_now());
        if pause > self.account.poll {
            // Whoever wonders why rings come late finds the limit there.
            self.desk.show(&self.account.cloud).await;
        }
        pause
    }

    async fn fail(&self, error: CloudError) -> Duration {
        let retry = error.retry();
        if retry == Retry::WaitForUser || matches!(error, CloudError::CodeWanted(_)) {
            // Whoever lists meets it too, and knows whom to tell.
            self.list_now.notify_one();
        }
        self.desk.events_are(Some(error), &self.account.cloud).await;
        match retry {
            Retry::After(wait) => wait.max(Self::AFTER_ERROR),
            _ => Self::AFTER_ERROR,
        }
    }

    async fn read(&self, watched: &[&str]) -> Result<(), CloudError> {
        let cloud = &self.account.cloud;
        let mut next = Some(self.account.memory().poller.window(cloud.server_now()));
        for _ in 0..Self::PAGES {
            let Some(window) = next else { break };
            let data = self.ask(window, watched).await?;
            let page = self.take(&data, window)?;
            for event in page.news {
                // Full: whoever reads waits, since rings must not be lost.
                let _house_gone = self.events.send(event).await;
            }
            for file in page.pictures {
                if self.files.try_send(file).is_err() {
                    tracing::debug!("the picture of a ring is not fetched: there are too many");
                }
            }
            next = page.more;
        }
        Ok(())
    }

    fn take(&self, data: &Value, window: Window) -> Result<Page, CloudError> {
        let can = |id: &DeviceId, what: Capability| self.wyze.tells(id, what);
        let now = self.account.cloud.server_now();
        let page = self.account.memory().poller.take(data, window, now, can);
        page.ok_or_else(|| CloudError::Misunderstood("no event list".to_owned()))
    }

    /// The `data` of event list v4, or of v2 while v4 is not to be had.
    async fn ask(&self, window: Window, watched: &[&str]) -> Result<Value, CloudError> {
        let cloud = &self.account.cloud;
        if !self.reads_v2() {
            let body = window.v4(watched);
            let answer = cloud.signed(App::Olive, Host::Core, "/app/v4/device/get_event_list", body).await;
            let without = match answer {
                Ok(data) if events::is_list(&data) => return Ok(data),
                // It has changed, or takes our signature no more.
                Ok(_) | Err(CloudError::Misunderstood(_)) => Self::V2_FOR,
                // Its host has trouble, which is no reason to hear no rings.
                Err(CloudError::Trouble(_) | CloudError::Http(_)) => Self::AFTER_ERROR,
                Err(error) => return Err(error),
            };
            tracing::debug!(for_s = without.as_secs(), "the event list v4 is not to be had; v2 is read");
            self.account.memory().v2_until = Some(clock::now() + without);
        }
        cloud.app("/app/v2/device/get_event_list", window.v2(watched)).await
    }

    fn reads_v2(&self) -> bool {
        self.account.memory().v2_until.is_some_and(|until| clock::now() < until)
    }
}
