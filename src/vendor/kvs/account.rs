//! One life of an account: looks at its channels now and again, and hears the rings (kvs reference §2, §6).
//!
//! What passes by itself does not end the life, so that rings are heard while AWS's control plane fails, and the last
//! known doorbells stay.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Kvs;
use super::channels::{Kept, Listed, Obstacle, Rings};
use super::listener::Listener;
use super::trouble::{is_for_owner, link_of};
use crate::aws::{Aws, AwsError};
use crate::clock;
use crate::config::{self, KvsLogin};
use crate::doorbell::vendor::Retry;
use crate::doorbell::{AccountPort, VendorError};
use crate::model::AccountLink;
use crate::net::supervise::{Backoff, jitter};
use crate::proto::wire::hex;
use crate::store::Store;
use crate::vendor::desk::Desk;

/// What is remembered of an account over restarts, under names that say nothing of it.
pub(super) struct Memory {
    store: Store,
    channels: String,
    client_id: String,
}

impl Memory {
    pub(super) fn new(config: &config::Kvs, store: &Store) -> Self {
        let [channels, client_id] = keys(config);
        Self { store: store.clone(), channels, client_id }
    }

    /// Whether this process only looks in.
    pub(super) fn is_read_only(&self) -> bool {
        self.store.is_read_only()
    }

    fn keep(&self, known: &Kept) {
        if let Err(error) = self.store.put(&self.channels, known) {
            tracing::warn!(%error, "the list of channels was not kept for the next start");
        }
    }

    fn recall(&self) -> Option<Kept> {
        self.store.get(&self.channels)
    }

    /// `doorstep-` and something random, the same in every run: AWS IoT knows a client by its id.
    pub(super) fn client_id(&self) -> String {
        self.store.get(&self.client_id).unwrap_or_else(|| {
            // Without randomness all installations are alike, and the owner can name one.
            let id = format!("doorstep-{:016x}", getrandom::u64().unwrap_or_default());
            if let Err(error) = self.store.put(&self.client_id, &id) {
                tracing::warn!(%error, "the client id for AWS IoT was not kept for the next start");
            }
            id
        })
    }
}

/// Where in the store the channels are, and the client id.
pub(super) fn keys(config: &config::Kvs) -> [String; 2] {
    let login = match &config.login {
        KvsLogin::Keys(keys) => &keys.access_key_id,
        KvsLogin::Certificate { thing, .. } => thing,
        KvsLogin::Environment => "environment",
    };
    let role = config.role_arn.as_deref().unwrap_or_default();
    let mut account = vec![&*config.region, config.endpoints.kinesisvideo.as_str(), login, role];
    let client_id = format!("kvs_client_id_{}", fingerprint(&account));
    account.extend(config.channels.iter().map(String::as_str));
    [format!("kvs_channels_{}", fingerprint(&account)), client_id]
}

/// 16 hexadecimal digits.
fn fingerprint(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hex(hash.finalize().get(..8).unwrap_or_default())
}

impl Kvs {
    /// Learns which channels there are, and where they ring.
    ///
    /// # Errors
    /// When nothing could be learnt of the channels. That nothing could be learnt of the rings is told in the other
    /// result, since the pictures do not need them.
    pub(super) async fn list(&self, aws: &Aws) -> Result<Result<(), AwsError>, AwsError> {
        let listed = match self.config.channels.is_empty() {
            true => aws.list().await?.into_iter().filter(|described| described.single_master).map(Listed::of).collect(),
            false => self.describe_all(aws).await?,
        };
        self.known.send_if_modified(|known| known.learn(listed));
        Ok(self.look_for_rings(aws).await)
    }

    async fn describe_all(&self, aws: &Aws) -> Result<Vec<Listed>, AwsError> {
        try_join_all(self.config.channels.iter().map(|channel| describe(aws, channel))).await
    }

    async fn look_for_rings(&self, aws: &Aws) -> Result<(), AwsError> {
        if matches!(self.known.borrow().rings, Rings::At(_)) {
            return Ok(());
        }
        let found = match aws.iot_endpoint().await {
            Ok(endpoint) => Rings::At(endpoint),
            Err(error @ AwsError::AccessDenied { .. }) => Rings::Nowhere { why: error.to_string() },
            Err(error) => return Err(error),
        };
        if let Rings::Nowhere { why } = &found
            && self.known.borrow().rings != found
        {
            tracing::warn!(why, "rings over AWS IoT are not heard");
        }
        self.known.send_if_modified(|known| std::mem::replace(&mut known.rings, found.clone()) != found);
        Ok(())
    }
}

/// # Errors
/// When it says nothing of this channel alone.
async fn describe(aws: &Aws, name_or_arn: &str) -> Result<Listed, AwsError> {
    let error = match aws.describe(name_or_arn).await {
        Ok(described) => return Ok(Listed::of(described)),
        Err(error) => error,
    };
    let may_ring = match error {
        AwsError::NoSuchChannel { .. } | AwsError::NotFound { .. } => false,
        AwsError::AccessDenied { .. } | AwsError::Refused { .. } => true,
        error => return Err(error),
    };
    Ok(Listed::undescribed(name_or_arn, Obstacle { why: error.to_string(), may_ring }))
}

/// # Errors
/// When only the account's owner can help, and not without a restart.
pub(super) async fn live(kvs: &Kvs, port: AccountPort, stop: CancellationToken) -> Result<(), VendorError> {
    let aws = kvs.aws()?;
    let AccountPort { status, listings, events, rediscover, .. } = port;
    let desk = Desk::new(status, listings);
    let mut lister = Lister { kvs, aws, desk: &desk, rediscover, failure: None, expects_rings: false };
    let mut listener = Listener::new(kvs, aws, &desk, events);
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = lister.run() => Err(error.into()),
        () = listener.run() => Ok(()),
    }
}

/// Looks at the channels.
struct Lister<'a> {
    kvs: &'a Kvs,
    aws: &'a Aws,
    desk: &'a Desk,
    rediscover: Arc<Notify>,
    /// Why the last listing failed.
    failure: Option<AwsError>,
    /// Whether the listener was seen to begin.
    expects_rings: bool,
}

impl Lister<'_> {
    const EVERY: Duration = Duration::from_secs(5 * 60);
    /// While something is on its way to be otherwise.
    const SOON: Duration = Duration::from_secs(60);
    /// However many want to know how things stand, AWS is not asked more often.
    const NOT_SOONER: Duration = Duration::from_secs(2);

    /// Until only the account's owner can help.
    async fn run(&mut self) -> AwsError {
        self.recall().await;
        let mut backoff = Backoff::default();
        loop {
            match self.kvs.list(self.aws).await {
                Ok(rings) => {
                    backoff = Backoff::default();
                    self.take(&rings).await;
                    self.rest(rings.is_err()).await;
                }
                Err(error) if error.retry() == Retry::WaitForUser => return error,
                Err(error) => {
                    let retry = error.retry();
                    self.fail(error).await;
                    let wait = match retry {
                        Retry::After(wait) => wait.min(Self::EVERY),
                        _ => backoff.next(Duration::ZERO, jitter()),
                    };
                    self.rest_for(wait).await;
                }
            }
        }
    }

    /// Begins with what was known before.
    async fn recall(&mut self) {
        // Another process beside the service wants to know what AWS says, and not what it once said.
        if !self.kvs.known.borrow().is_empty() || self.kvs.memory.is_read_only() {
            return;
        }
        let Some(kept) = self.kvs.memory.recall() else { return };
        self.kvs.known.send_modify(|known| known.recall(kept));
        self.expect_rings().await;
        let found = self.kvs.found();
        // An empty listing would say that all is well, before anybody knows.
        if !found.is_empty() {
            self.desk.bring(found).await;
            self.desk.listing_is(AccountLink::Starting).await;
        }
    }

    /// What was learnt just now may let the listener begin, which then tells how that goes.
    async fn expect_rings(&mut self) {
        let begins = {
            let known = self.kvs.known.borrow();
            matches!(known.rings, Rings::At(_)) && !known.is_empty() && !self.kvs.memory.is_read_only()
        };
        if begins && !std::mem::replace(&mut self.expects_rings, true) {
            self.desk.push_is_tried().await;
        }
    }

    async fn take(&mut self, rings: &Result<(), AwsError>) {
        self.expect_rings().await;
        let kept = self.kvs.known.borrow().to_keep();
        self.kvs.memory.keep(&kept);
        let found = self.kvs.found();
        let channels = found.len();
        self.desk.bring(found).await;
        match self.failure.take() {
            Some(_) => tracing::info!(channels, "the channels of the account are listed again"),
            None => tracing::debug!(channels, "the channels of the account are listed"),
        }
        self.desk.listing_is(AccountLink::Ready).await;
        match rings {
            Err(error) => self.desk.push_is(Some(link_of(error))).await,
            // Whoever hears them tells how that goes.
            Ok(()) if self.kvs.known.borrow().rings.may_be_heard() => {}
            Ok(()) => self.desk.push_is(None).await,
        }
    }

    async fn fail(&mut self, error: AwsError) {
        let is_new =
            self.failure.as_ref().is_none_or(|last| std::mem::discriminant(&error) != std::mem::discriminant(last));
        if is_new {
            let (why, for_owner) = (error.to_string(), is_for_owner(&error));
            tracing::warn!(why, for_owner, "the channels of the account cannot be listed");
        }
        self.desk.listing_is(link_of(&error)).await;
        self.failure = Some(error);
    }

    /// Until the next listing is due, or wanted.
    async fn rest(&self, is_incomplete: bool) {
        let since = clock::now();
        let soon = is_incomplete || self.kvs.known.borrow().is_changing();
        let wanted = async {
            self.kvs.relist.notified().await;
            tokio::time::sleep_until(since + Self::NOT_SOONER).await;
        };
        tokio::select! {
            () = self.rest_for(if soon { Self::SOON } else { Self::EVERY }) => {}
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
