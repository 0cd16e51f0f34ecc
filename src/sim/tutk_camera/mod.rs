//! A Wyze camera with TUTK firmware, as far as a network can tell (docs/protocol/tutk.md).
//!
//! [`start`] runs one on UDP; [`CameraSession`] is the same without sockets, for tests under virtual time.

mod acks;
mod av;
mod checks;
mod client;
pub mod console;
mod fault;
mod frame_info;
mod identity;
mod link;
mod session;
mod settings;
mod stream;
mod talk;
mod transport;

use std::io;

use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

pub use fault::Fault;
pub use session::CameraSession;
pub use settings::{ChallengeStatus, Protocol, Settings};

use super::made_up::random_seed;
use super::run::{Running, run};
use crate::clock;
use crate::media::AudioCodec;
use crate::sim::tone::Samples;
use link::TwoPortLink;

/// What a running camera can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraCommand {
    /// The button was pressed. TUTK has no message for it: whoever needs to know listens to the events.
    Ring,
    /// Something moved. As wordless on the wire as the button.
    Motion,
    /// The plug was pulled.
    Offline,
    Online,
    /// Misbehaves from now on; `None` for no more.
    Fault(Option<Fault>),
}

/// What happened to a camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum CameraEvent {
    SessionStarted {
        protocol: Protocol,
    },
    /// K10003 was sent, and media follow.
    Streaming,
    SessionEnded {
        why: &'static str,
    },
    /// A client set the resolution (K10052 or K10056), and got a keyframe with it.
    Resolution {
        command: u16,
        frame_size: u8,
        bitrate: u16,
    },
    TalkStarted,
    /// The first frame of a talk has arrived: from now on the speaker sounds.
    TalkFirstFrame,
    /// About once a second while audio arrives, and at the end; `frames` counts from the start of the talk.
    TalkAudio {
        frames: u64,
        codec: AudioCodec,
        tone_hz: Option<f64>,
        level_db: f64,
        #[serde(skip)]
        samples: Samples,
    },
    TalkEnded {
        frames: u64,
    },
    Ring,
    Motion,
    Offline,
    Online,
    Fault {
        name: &'static str,
    },
    Check {
        name: &'static str,
        ok: bool,
        violations: u64,
    },
}

/// A camera that runs until its token is cancelled or every sender of its commands is gone.
pub type RunningCamera = Running<Settings, CameraCommand, CameraEvent>;

/// Binds the camera's socket and runs it in a task of its own; sessions come and go in it.
///
/// # Errors
/// When the address cannot be bound, or the operating system has no randomness.
pub async fn start(settings: Settings, stop: CancellationToken) -> io::Result<RunningCamera> {
    let mut link = TwoPortLink::bind(settings.listen).await?;
    let address = link.local_addr()?;
    let session = CameraSession::new(settings.clone(), random_seed()?, clock::now().into_std(), clock::unix_now())
        .map_err(io::Error::other)?;
    // Commands wait for the camera; sixteen are more than anyone types ahead.
    let (commands, mut inbox) = mpsc::channel(16);
    let events = broadcast::Sender::new(256);
    let happened = events.clone();
    let task = tokio::spawn(async move {
        run("virtual camera", session, &mut link, &mut inbox, &stop, &happened).await;
    });
    Ok(RunningCamera { address, settings, commands, events, task })
}
