//! What a vendor must offer, and what it is given for each device.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::guard::Permit;
use super::{ActionError, Picture};
use crate::media::{AudioFormat, MediaHub};
use crate::model::{Account, DeviceId, DeviceInfo, Event, Found, LockState, State};
pub use crate::net::supervise::Retry;
use crate::rtc::kvs_call::Signalling;
use crate::secret::Password;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One configured account.
pub trait Vendor: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Whether a device of this model lives on a battery, which every look at its camera drains: nobody looks at it
    /// unasked.
    fn is_on_battery(&self, model: &str) -> bool {
        let _mains = model;
        false
    }

    /// What the account holds now.
    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>>;

    /// One life of the account: lists its devices now and again, and tells what happens at them. Returns when
    /// that life ends and never retries by itself.
    fn run_account(
        self: Arc<Self>,
        port: AccountPort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>>;

    /// One life of a device, a lock too; returns when that life ends and never retries by itself.
    fn run_device(
        self: Arc<Self>,
        port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>>;
}

/// An account's side of the house, for one life.
pub struct AccountPort {
    pub status: watch::Sender<Account>,
    /// Every complete listing, also one that brings nothing new: a device that is missing twice is gone.
    /// Full: the account waits; a listing is taken at once.
    pub listings: mpsc::Sender<Vec<Found>>,
    /// What happened at which device; what was told before is dropped. Full: the account waits.
    pub events: mpsc::Sender<(DeviceId, Event)>,
    /// What its cloud has of rings that were told. Full: the account waits.
    pub pictures: mpsc::Sender<(DeviceId, Picture)>,
    /// Notified when somebody wants a listing now.
    pub rediscover: Arc<Notify>,
    /// One-time codes that the owner has typed in while the status was `NeedsCode`. A late one replaces it.
    pub codes: broadcast::Receiver<Password>,
}

/// A device's side of its doorbell, for one life.
pub struct DevicePort {
    pub info: Arc<DeviceInfo>,
    /// Closed when the doorbell is gone.
    pub requests: mpsc::Receiver<Request>,
    /// The device keeps `link`, `transport`, `last_error`, `talk_obstacle` and `talk_pending` of it; a lock, a garage
    /// door and a doorbell with an opener `door` as well, from the start of each life; the rest is the actor's.
    pub state: watch::Sender<State>,
    /// What happened; the actor drops what it was told before.
    pub events: mpsc::Sender<Event>,
    pub media: MediaHub,
}

/// What a doorbell asks of its device.
#[derive(Debug)]
pub enum Request {
    /// Open the speaker, connecting first if need be. Answered within 10 s or taken for a time-out.
    StartTalk { reply: oneshot::Sender<Result<TalkLine, ActionError>> },
    /// Arrange a call that another program will make (go2rtc).
    ArrangeCall { reply: oneshot::Sender<Result<Signalling, ActionError>> },
    /// Work the lock or garage door, once. The permit says what to do, and that the guard has allowed it. The answer
    /// is how it stands afterwards.
    WorkLock { permit: Permit, reply: oneshot::Sender<Result<LockState, ActionError>> },
    /// Take a still picture: a JPEG. Where the camera takes none in time, the last one it took.
    TakeSnapshot { reply: oneshot::Sender<Result<Bytes, ActionError>> },
    /// Tell what is known of the device, or what it answers when asked, for whoever looks for a fault. Nothing
    /// secret is in the answer.
    Diagnose { question: Question, reply: oneshot::Sender<Result<Value, ActionError>> },
}

/// What can be asked for a diagnosis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// How the account lists it.
    Record,
    /// When its oldest recording was made. Asked of the device itself.
    OldestTimestamp,
    /// What it tells of itself. Asked of the device itself.
    Metadata,
}

impl Request {
    /// Answers that it was not carried out.
    pub fn refuse(self, why: ActionError) {
        // Whoever asked may have given up since.
        match self {
            Self::StartTalk { reply } => drop(reply.send(Err(why))),
            Self::ArrangeCall { reply } => drop(reply.send(Err(why))),
            Self::WorkLock { reply, .. } => drop(reply.send(Err(why))),
            Self::TakeSnapshot { reply } => drop(reply.send(Err(why))),
            Self::Diagnose { reply, .. } => drop(reply.send(Err(why))),
        }
    }
}

/// An open speaker. The device closes it when every sender of `audio` is gone.
#[derive(Debug)]
pub struct TalkLine {
    pub format: AudioFormat,
    pub audio: mpsc::Sender<Bytes>,
}

/// Why a life ended, in a sentence for the owner, and whether another may fare better.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct VendorError {
    pub vendor: &'static str,
    /// Whole sentences: what happened and what to do, without the doorbell's name.
    pub what: String,
    pub retry: Retry,
    #[source]
    pub source: Option<BoxError>,
}
