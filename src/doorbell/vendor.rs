//! What a vendor must offer, and what it is given for each device.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::ActionError;
use crate::media::{AudioFormat, MediaHub};
use crate::model::{DeviceInfo, Event, State};
pub use crate::net::supervise::Retry;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One configured account.
pub trait Vendor: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// What the account holds now.
    fn discover(&self) -> BoxFuture<'_, Result<Vec<DeviceInfo>, VendorError>>;

    /// One life of a device; returns when that life ends and never retries by itself.
    fn run_device(
        self: Arc<Self>,
        port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>>;
}

/// A device's side of its doorbell, for one life.
pub struct DevicePort {
    pub info: Arc<DeviceInfo>,
    /// Closed when the doorbell is gone.
    pub requests: mpsc::Receiver<Request>,
    /// The device keeps `link`, `transport` and `last_error` of it; the rest is the actor's.
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
