//! One life of an account: lists its devices now and again, and hears what happens at them (vivint reference §3, §4).
//!
//! What passes by itself does not end the life, so that rings are heard while the listing fails, and the last known
//! devices stay while the cloud is away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::Vivint;
use super::cloud::{self, CloudError};
use super::realtime::{Channel, Listener, PubNub};
use super::systems::{AuthUser, Listing, MOST_DEVICES, Record, Systems};
use crate::clock;
use crate::config;
use crate::doorbell::vendor::Retry;
use crate::doorbell::{AccountPort, VendorError};
use crate::model::AccountLink;
use crate::net::supervise::{Backoff, jitter};
use crate::secret::Password;
use crate::store::Store;
use crate::vendor::desk::Desk;

/// What is remembered of an account from one life to the next.
pub(super) struct Account {
    pub(super) config: config::Vivint,
    store: Store,
    /// Where in the store the last good listing is.
    key: String,
    /// Where its messages are published, as soon as that is known.
    pub(super) channel: watch::Sender<Channel>,
    /// How many entries the last listing left out.
    skipped: Mutex<usize>,
}

impl Account {
    pub(super) fn new(config: &config::Vivint, store: &Store) -> Self {
        Self {
            config: config.clone(),
            store: store.clone(),
            key: cloud::key("vivint_devices", config),
            channel: watch::Sender::default(),
            skipped: Mutex::default(),
        }
    }

    /// For the next start.
    fn keep(&self, listing: &Value) {
        if let Err(error) = self.store.put(&self.key, listing) {
            tracing::warn!(%error, "the list of devices was not kept for the next start");
        }
    }

    /// The devices of the last good listing, of an earlier run.
    fn recall(&self) -> Vec<Record> {
        self.store.get::<Value>(&self.key).map(|kept| Systems::kept(&kept)).unwrap_or_default()
    }

    fn skips(&self, skipped: usize) {
        let before = std::mem::replace(&mut *self.skipped.lock().unwrap_or_else(PoisonError::into_inner), skipped);
        if skipped > before {
            tracing::warn!(skipped, "devices of the account's list cannot be read and are left out");
        }
    }
}

impl Vivint {
    /// Learns what the account holds now. A system that cannot be asked keeps the devices that it had.
    ///
    /// # Errors
    /// When nothing could be learnt. `Misunderstood` also when an answer is no listing.
    pub(super) async fn list(&self) -> Result<(), CloudError> {
        let asked = clock::now();
        let user = AuthUser::read(&self.cloud.authuser().await?);
        let user = user.ok_or_else(|| CloudError::Misunderstood("no account".to_owned()))?;
        let (mut records, mut skipped, mut failed) = (Vec::new(), 0, None);
        let panels = user.panels.len();
        for panel in user.panels.iter().copied() {
            match self.system(panel).await {
                Ok(listing) => {
                    skipped += listing.skipped;
                    records.extend(listing.records);
                    skipped += records.len().saturating_sub(MOST_DEVICES);
                    records.truncate(MOST_DEVICES);
                }
                Err(error) if error.is_of_the_account() || panels == 1 => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "one of the account's systems cannot be listed");
                    records.extend(self.known.borrow().of_panel(panel).cloned());
                    failed = Some(error);
                }
            }
        }
        if let (true, Some(error)) = (records.is_empty(), failed) {
            return Err(error);
        }
        self.account.skips(skipped);
        self.learn(records, asked);
        let channel = Channel::of(&user);
        self.account.channel.send_if_modified(|known| std::mem::replace(known, channel.clone()) != channel);
        Ok(())
    }

    async fn system(&self, panel: i64) -> Result<Listing, CloudError> {
        let asked = clock::now();
        let body = self.cloud.system(panel).await?;
        let listing = Listing::read(panel, &body, Some(asked));
        listing.ok_or_else(|| CloudError::Misunderstood("no list of devices".to_owned()))
    }
}

/// # Errors
/// When only its owner can help.
pub(super) async fn live(vivint: &Vivint, port: AccountPort, stop: CancellationToken) -> Result<(), VendorError> {
    let AccountPort { status, listings, events, rediscover, codes, .. } = port;
    let desk = Desk::new(status, listings);
    let mut lister = Lister { vivint, desk: &desk, rediscover, codes, failure: None };
    let mut listener = Listener::new(vivint, &desk, events, PubNub::new(&vivint.account.config.endpoints));
    let end = tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = lister.run() => Err(error.into()),
        () = listener.run() => Ok(()),
    };
    listener.leave().await;
    end
}

/// Lists the devices.
struct Lister<'a> {
    vivint: &'a Vivint,
    desk: &'a Desk,
    rediscover: Arc<Notify>,
    codes: broadcast::Receiver<Password>,
    /// Why the last listing failed.
    failure: Option<CloudError>,
}

impl Lister<'_> {
    /// What push has missed is made good within this (§4).
    const EVERY: Duration = Duration::from_secs(5 * 60);
    /// However many want to know how things stand, the cloud is not asked more often.
    const NOT_SOONER: Duration = Duration::from_secs(2);

    /// Until only the account's owner can help.
    async fn run(&mut self) -> CloudError {
        // Another process beside the service wants to know what the cloud says, and not what it once said.
        if !self.vivint.account.store.is_read_only() {
            self.recall().await;
        }
        let mut backoff = Backoff::default();
        loop {
            match self.vivint.list().await {
                Ok(()) => {
                    backoff = Backoff::default();
                    self.take().await;
                    self.rest().await;
                }
                Err(wanted @ CloudError::CodeWanted(_)) => self.wait_for_code(wanted).await,
                Err(error) => {
                    self.fail(error.clone()).await;
                    match (error.wait(), error.retry()) {
                        (_, Retry::WaitForUser) => return error,
                        // The cloud wants to be left alone, whoever presses a button here.
                        (Some(wait), _) => tokio::time::sleep(wait).await,
                        (None, Retry::After(wait)) => self.rest_for(wait.min(Self::EVERY)).await,
                        (None, _) => self.rest_for(backoff.next(Duration::ZERO, jitter())).await,
                    }
                }
            }
        }
    }

    /// Begins with what was known before, so that doorbells on the LAN work while the cloud is away.
    async fn recall(&mut self) {
        if self.vivint.known.borrow().is_empty() {
            self.vivint.learn(self.vivint.account.recall(), clock::now());
        }
        self.bring_known().await;
        self.desk.listing_is(AccountLink::Starting).await;
    }

    async fn take(&mut self) {
        // Let go of before the disk is waited for: rings need it.
        let listing = self.vivint.known.borrow().to_keep();
        self.vivint.account.keep(&listing);
        let found = self.vivint.found();
        let devices = found.len();
        self.desk.bring(found).await;
        match self.failure.take() {
            Some(_) => tracing::info!(devices, "the devices of the account are listed again"),
            None => tracing::debug!(devices, "the devices of the account are listed"),
        }
        self.desk.listing_is(AccountLink::Ready).await;
    }

    async fn bring_known(&self) {
        let found = self.vivint.found();
        // An empty listing would say that all is well, before anybody knows.
        if !found.is_empty() {
            self.desk.bring(found).await;
        }
    }

    async fn fail(&mut self, error: CloudError) {
        if self.vivint.account.store.is_read_only() {
            self.bring_known().await;
        }
        let why = error.to_string();
        if is_new(&error, self.failure.as_ref()) {
            tracing::warn!(why, "the devices of the account cannot be listed");
        }
        self.failure = Some(error);
        self.desk.listing_is(AccountLink::Failing { why }).await;
    }

    /// Until the owner has typed in a code, which the next call shows to be right, or wrong.
    async fn wait_for_code(&mut self, wanted: CloudError) {
        // One that was typed in before it was wanted answers another question.
        self.codes = self.codes.resubscribe();
        // What was wrong with the last one comes first.
        let why = match self.failure.take() {
            Some(failed @ (CloudError::CodeRefused | CloudError::NotACode)) => failed.to_string(),
            Some(failed) => format!("{failed} {wanted}"),
            None => wanted.to_string(),
        };
        tracing::warn!(why, "the account waits for its owner");
        self.desk.listing_is(AccountLink::NeedsCode { why }).await;
        if let Some(code) = self.next_code().await {
            self.failure = self.vivint.cloud.enter_code(code).await.err();
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

    /// Until the next listing is due, or wanted.
    async fn rest(&self) {
        let since = clock::now();
        let wanted = async {
            self.vivint.relist.notified().await;
            tokio::time::sleep_until(since + Self::NOT_SOONER).await;
        };
        tokio::select! {
            () = self.rest_for(Self::EVERY) => {}
            () = wanted => {}
        }
    }

    async fn rest_for(&self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.rediscover.notified() => {}
        }
    }
}

/// Whether this is another failure than the last, or another word of it.
fn is_new(error: &CloudError, last: Option<&CloudError>) -> bool {
    last.is_none_or(|last| std::mem::discriminant(error) != std::mem::discriminant(last))
}
