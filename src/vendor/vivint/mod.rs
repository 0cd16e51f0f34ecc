//! Vivint: the doorbells, cameras, locks and garage doors of an account.

mod account;
mod call;
pub mod caller;
pub mod camera;
pub mod cloud;
pub mod database;
pub mod devices;
pub mod firebase;
mod lock;
pub mod models;
mod realtime;
pub mod rtsp;
mod snapshot;
pub mod systems;
pub mod talk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Instant;
use crate::config::{self, DoorbellOverride};
use crate::doorbell::vendor::{BoxFuture, Question, Request, Retry};
use crate::doorbell::{AccountPort, ActionError, DevicePort, Vendor, VendorError};
use crate::model::{DeviceId, Found};
use crate::proto::vivint::realtime::Delta;
use crate::secret::Token;
use crate::store::Store;
use account::Account;
use caller::Callers;
use cloud::Cloud;
use devices::{Camera, Device, Kind};
use firebase::Firebase;
use systems::{Record, Systems};

/// Its name in ids, topics and logs.
pub const VENDOR: &str = "vivint";

/// Who has the account's id token, which other clouds take in exchange for theirs (vivint reference §6).
pub trait IdTokens: Send + Sync {
    /// One that is good for a while. `renew` when the last one was refused.
    fn id_token(&self, renew: bool) -> BoxFuture<'_, Result<Token, VendorError>>;
}

/// One Vivint account.
pub struct Vivint {
    cloud: Cloud,
    account: Account,
    callers: Callers,
    /// Ends the connections of `callers` with the account itself: they outlast its lives.
    _callers_stop: DropGuard,
    wishes: Vec<DoorbellOverride>,
    known: watch::Sender<Systems>,
    thumbnails: watch::Sender<Thumbnails>,
    /// Notified when somebody must know how things stand now.
    relist: Notify,
    ways: camera::Ways,
}

/// When the newest still picture of each camera was taken.
pub type Thumbnails = BTreeMap<DeviceId, SystemTime>;

impl Vivint {
    pub fn new(account: &config::Vivint, overrides: &[DoorbellOverride], store: &Store) -> Self {
        let cloud = Cloud::new(account, store);
        let firebase = account
            .firebase_api_key
            .clone()
            .map(|key| Firebase::new(key, account.endpoints.clone(), Arc::new(cloud.clone())));
        let stop = CancellationToken::new();
        Self {
            cloud,
            account: Account::new(account, store),
            callers: Callers::new(firebase, &account.endpoints, stop.clone()),
            _callers_stop: stop.drop_guard(),
            wishes: overrides.to_vec(),
            known: watch::Sender::default(),
            thumbnails: watch::Sender::default(),
            relist: Notify::new(),
            ways: camera::Ways::default(),
        }
    }

    /// What is known of a camera now.
    pub fn camera(&self, id: &DeviceId) -> Option<Camera> {
        let camera = self.known.borrow().get(id)?.device.camera().cloned()?;
        Some(camera.reachable(&self.account.config.endpoints.api))
    }

    /// When the newest still picture of each camera was taken, as soon as that is told.
    pub fn thumbnails(&self) -> watch::Receiver<Thumbnails> {
        self.thumbnails.subscribe()
    }

    /// How the account lists a device, without what is a secret or names anybody.
    pub fn raw(&self, id: &DeviceId) -> Option<Value> {
        Some(self.known.borrow().get(id)?.diagnosis())
    }

    fn device(&self, id: &DeviceId) -> Result<Device, VendorError> {
        let known = self.known.borrow();
        known.get(id).map(|record| record.device.clone()).ok_or_else(gone)
    }

    fn found(&self) -> Vec<Found> {
        let wish = |id: &DeviceId| self.wishes.iter().find(|wish| wish.id == *id);
        let known = self.known.borrow();
        known.all().map(|record| record.device.found(wish(&record.device.place.id()))).collect()
    }

    /// Takes over a complete listing, which was asked for at `asked`.
    fn learn(&self, records: Vec<Record>, asked: Instant) {
        self.known.send_modify(|known| known.learn(records, asked));
        let known = self.known.borrow();
        known.all().for_each(|record| self.note_thumbnail(&record.device));
    }

    /// Takes over what was told of one device. The device, if it is known.
    fn apply(&self, panel: i64, delta: &Delta) -> Option<Device> {
        let mut device = None;
        self.known.send_if_modified(|known| {
            device = known.apply(panel, delta).map(|record| record.device.clone());
            device.is_some()
        });
        device.inspect(|device| self.note_thumbnail(device))
    }

    /// A listing may be a little older than what was told by push. Far from the one before is another matter: that
    /// one was of a camera whose clock was wrong.
    fn note_thumbnail(&self, device: &Device) {
        const FAR: Duration = Duration::from_secs(24 * 60 * 60);
        let Some(at) = device.camera().and_then(|camera| camera.thumbnail_at) else { return };
        self.thumbnails.send_if_modified(|known| {
            let id = device.place.id();
            let is_news = |before: &SystemTime| match before.duration_since(at) {
                Ok(ahead) => ahead > FAR,
                Err(_) => true,
            };
            let news = known.get(&id).is_none_or(is_news);
            if news {
                known.insert(id, at);
            }
            news
        });
    }

    async fn live(&self, port: DevicePort, stop: CancellationToken) -> Result<(), VendorError> {
        let device = self.device(&port.info.id)?;
        match device.kind {
            Kind::Camera(_) => camera::live(&camera::OfAccount::new(self, &device), port, stop).await,
            Kind::Lock(_) | Kind::Garage(_) => lock::live(self, &device, port, stop).await,
            Kind::Other => Err(VendorError {
                vendor: VENDOR,
                what: "Doorstep has no use for this kind of device.".to_owned(),
                retry: Retry::WaitForUser,
                source: None,
            }),
        }
    }

    /// Tells how the account lists a device, and refuses every other request, with `why`.
    fn answer(&self, id: &DeviceId, request: Request, why: &'static str) {
        match request {
            Request::Diagnose { question: Question::Record, reply } => {
                let record = self.raw(id).ok_or(ActionError::Unsupported("nothing is known of it yet"));
                let _asker_left = reply.send(record);
            }
            other => other.refuse(ActionError::Unsupported(why)),
        }
    }
}

fn gone() -> VendorError {
    VendorError {
        vendor: VENDOR,
        what: "It is not on the account any more. If it should be, look for it in Vivint's app.".to_owned(),
        retry: Retry::Backoff,
        source: None,
    }
}

impl Vendor for Vivint {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async {
            self.list().await?;
            Ok(self.found())
        })
    }

    fn run_account(
        self: Arc<Self>,
        port: AccountPort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move { account::live(&self, port, stop).await })
    }

    fn run_device(
        self: Arc<Self>,
        port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move { self.live(port, stop).await })
    }
}
