//! The vendor-neutral doorbell: a handle that faces hold, and an actor that keeps its rules.

pub mod registry;
pub mod vendor;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, watch};

use crate::media::{AudioFormat, MediaHub, Subscription};
use crate::model::{DeviceInfo, Event, Ring, State};

pub use registry::Registry;
pub use vendor::{DevicePort, Request, TalkLine, Vendor, VendorError};

/// Why an action did not happen, in words for the owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    #[error("somebody else is talking")]
    Busy,
    #[error("this doorbell cannot do that: {0}")]
    Unsupported(&'static str),
    #[error("the doorbell cannot be reached: {why}")]
    Offline { why: String },
    #[error("the doorbell did not answer in time")]
    Timeout,
    #[error("the doorbell refused: {why}")]
    Refused { why: String },
}

/// The speaker, until dropped.
#[derive(Debug)]
pub struct TalkGrant {
    /// What the camera plays; `audio` takes nothing else.
    pub format: AudioFormat,
    /// About 20 ms a piece.
    pub audio: mpsc::Sender<Bytes>,
}

/// A doorbell as faces see it. Cheap to clone.
#[derive(Clone)]
pub struct Doorbell {
    info: Arc<DeviceInfo>,
    state: watch::Sender<State>,
    events: broadcast::Sender<Event>,
    media: MediaHub,
}

impl Doorbell {
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Frames, and a reason for the camera to stream: the first one starts it, the last one stops it.
    pub fn watch(&self) -> Subscription {
        self.media.subscribe()
    }

    pub fn media(&self) -> &MediaHub {
        &self.media
    }

    /// The last 20 rings, newest first.
    pub fn rings(&self) -> Vec<Ring> {
        Vec::new()
    }

    /// A press of the button that was heard elsewhere than in the vendor's cloud, by a wire or a radio.
    /// Presses of one source within 1 s are one.
    pub fn press(&self, _source: &'static str) {}

    /// Opens the speaker for one viewer's microphone. Dropping the grant closes it, unless the switch holds it.
    ///
    /// # Errors
    /// `Busy` while another viewer talks, `Offline` and `Timeout` when the camera cannot be reached,
    /// `Unsupported` without a speaker.
    pub async fn start_talk(&self, _viewer: u64) -> Result<TalkGrant, ActionError> {
        Err(ActionError::Timeout)
    }

    /// Holds the speaker open for whichever microphone comes (MQTT switch, API), or lets it go. On twice is on.
    ///
    /// # Errors
    /// As `start_talk`. Letting go never fails.
    pub async fn switch_talk(&self, _on: bool) -> Result<(), ActionError> {
        Err(ActionError::Timeout)
    }

    /// Keeps a camera session up without a viewer, or no longer.
    pub fn switch_stream(&self, _on: bool) {}
}
