//! A doorbell's side of calls: its node in the signalling database, its WebRTC connection and its speaker (vivint
//! reference §8 to §10). It behaves as the camera that others have tried their clients with: one made of aiortc.
//!
//! It has no picture on this connection, and no microphone: apps take both from RTSP.

mod call;
mod checks;
mod fault;
mod message;
mod node;
mod signal;
mod speaker;

use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use fault::Fault;

use super::tree::Tree;
use crate::media::AudioCodec;
use crate::rtc::camera::IceServer;
use crate::sim::tone::Samples;
use node::Node;

/// Of which a doorbell is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name in the database, and the `from` of what it says: a lower-case UUID.
    pub uuid: String,
    /// Of its panel: the group in the database.
    pub system: i64,
    /// The database.
    pub tree: Tree,
    /// How it takes sound.
    pub codec: Codec,
    /// A TURN server through which everything must go; `None` for a doorbell that can be reached directly.
    pub relay: Option<IceServer>,
    /// How it misbehaves from the start.
    pub fault: Option<Fault>,
}

/// What its speaker takes, of what apps offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Opus,
    /// As old doorbells do.
    Pcmu,
}

/// What a running doorbell can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Misbehaves from now on; `None` for no more.
    Fault(Option<Fault>),
    /// Calls an app by itself, which some do now and then (§8). The app goes by its node.
    Offer { app: String },
    /// Ends the call that there is, as when another app takes the doorbell over.
    HangUp,
}

/// What happened to a doorbell. An app goes by its node's name.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    OfferReceived {
        app: String,
    },
    OfferIgnored {
        app: String,
        why: &'static str,
    },
    /// The doorbell has offered first.
    Offered {
        app: String,
    },
    Answered {
        app: String,
    },
    CallConnected {
        app: String,
    },
    ChannelOpen {
        app: String,
    },
    Ping {
        app: String,
    },
    /// The answer to a Ping of its own.
    Pong {
        app: String,
    },
    /// `unheard` packets of sound came before: the speaker was off.
    TalkStarted {
        app: String,
        unheard: u64,
    },
    /// About once a second while sound arrives, and at the end; `frames` counts from the start of the talk.
    TalkAudio {
        app: String,
        frames: u64,
        codec: AudioCodec,
        tone_hz: Option<f64>,
        level_db: f64,
        #[serde(skip)]
        samples: Samples,
    },
    TalkEnded {
        app: String,
        frames: u64,
    },
    /// It was asked something else than to talk: by the number of the field (§9.1).
    Asked {
        app: String,
        field: u32,
    },
    /// `unheard` packets came since the last talk.
    CallEnded {
        app: String,
        why: String,
        unheard: u64,
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

/// A doorbell that runs until its token is cancelled.
pub struct Doorbell {
    pub commands: mpsc::Sender<Command>,
    events: broadcast::Sender<Event>,
    task: JoinHandle<()>,
}

impl Doorbell {
    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Waits until a doorbell that was told to stop has hung up.
    pub async fn stopped(self) {
        drop(self.commands);
        // A panic has been reported where it happened.
        let _ = self.task.await;
    }
}

/// Watches the doorbell's node in a task of its own.
pub fn start(settings: Settings, stop: CancellationToken) -> Doorbell {
    // Commands wait for the doorbell; sixteen are more than anyone types ahead.
    let (commands, inbox) = mpsc::channel(16);
    let events = broadcast::Sender::new(256);
    // Before anybody else can write to it.
    let watched = settings.tree.watch(&signal::path(settings.system, &settings.uuid));
    let node = Node::new(settings, events.clone());
    let task = tokio::spawn(node.run(watched, inbox, stop));
    Doorbell { commands, events, task }
}
