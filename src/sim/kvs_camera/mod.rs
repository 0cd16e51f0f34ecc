//! A camera behind Amazon's signaling service, as far as a viewer can tell (docs/protocol/kvs.md): the service with
//! one channel, and the channel's master.
//!
//! The service takes WebSocket connections at addresses that [`RunningKvsCamera::url_for`] hands out, and is as
//! strict about frames as Amazon's. The master answers offers and plays the clip, and listens to microphones.

mod checks;
mod connection;
mod fault;
pub(super) mod film;
mod master;
mod reply;
mod service;
mod settings;
mod urls;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use fault::Fault;
pub use settings::{Gathering, Settings};

use crate::media::AudioCodec;
use crate::proto::kvs::signaling::MessageType;
use crate::secret::SignedUrl;
pub use crate::sim::signaling::Limits;
use crate::sim::tone::Samples;
use master::Master;
use service::Service;

/// What a running camera can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraCommand {
    /// Misbehaves from now on; `None` for no more.
    Fault(Option<Fault>),
    /// The service says this to every viewer that is connected; after GO_AWAY it hangs up.
    Notice(MessageType),
}

/// What happened to a camera. A viewer goes by its client id.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum CameraEvent {
    /// A WebSocket was opened.
    Connected {
        viewer: String,
    },
    /// A WebSocket was not opened.
    Refused {
        status: u16,
        why: String,
    },
    Offer {
        viewer: String,
    },
    Answered {
        viewer: String,
        /// Whether the viewer's microphone was accepted.
        talk: bool,
    },
    NotAnswered {
        viewer: String,
        why: String,
    },
    /// The WebSocket is gone. Pictures are not touched by that.
    Disconnected {
        viewer: String,
        why: &'static str,
    },
    /// How many viewers are sent pictures, or are about to be; told when it changes.
    Watching {
        viewers: usize,
    },
    /// The first packet of a talk has arrived: from now on the speaker sounds.
    TalkStarted {
        viewer: String,
    },
    /// About once a second while audio arrives, and at the end; `frames` counts from the start of the talk.
    TalkAudio {
        viewer: String,
        frames: u64,
        codec: AudioCodec,
        tone_hz: Option<f64>,
        level_db: f64,
        #[serde(skip)]
        samples: Samples,
    },
    /// Nothing was said for a second, or the viewer is gone.
    TalkEnded {
        viewer: String,
        frames: u64,
    },
    Fault {
        name: &'static str,
    },
    Check {
        name: &'static str,
        ok: bool,
        violations: u64,
    },
}

/// A camera that runs until its token is cancelled.
pub struct RunningKvsCamera {
    /// Of the signaling service.
    pub address: SocketAddr,
    pub settings: Settings,
    pub commands: mpsc::Sender<CameraCommand>,
    events: broadcast::Sender<CameraEvent>,
    service: Arc<Service>,
    task: JoinHandle<()>,
}

impl RunningKvsCamera {
    /// A presigned address for one viewer, good for 299 s: `ws://127.0.0.1:40123/?X-Amz-Algorithm=…`.
    pub fn url_for(&self, client_id: &str) -> SignedUrl {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        self.service.urls.issue(&address.to_string(), client_id)
    }

    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<CameraEvent> {
        self.events.subscribe()
    }

    /// Waits until a camera that was told to stop has said goodbye to its viewers.
    pub async fn stopped(self) {
        drop(self.commands);
        // A panic has been reported where it happened.
        let _ = self.task.await;
    }
}

/// Binds the service's socket and the camera's, and runs both in tasks of their own.
///
/// # Errors
/// When an address cannot be bound, the clip has no sound in the format, or the operating system has no randomness.
pub async fn start(settings: Settings, stop: CancellationToken) -> io::Result<RunningKvsCamera> {
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    // Commands wait for the camera; sixteen are more than anyone types ahead.
    let (commands, inbox) = mpsc::channel(16);
    let events = broadcast::Sender::new(256);
    let master = Master::start(&settings, events.clone(), stop.clone()).await?;
    let service = Arc::new(Service::new(&settings, master, stop)?);
    let task = tokio::spawn(service.clone().run(listener, inbox));
    Ok(RunningKvsCamera { address, settings, commands, events, service, task })
}
