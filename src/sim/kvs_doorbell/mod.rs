//! A doorbell at Amazon, made of this machine: the MASTER of a signaling channel, which answers several viewers, rings
//! over AWS IoT and opens a door (kvs reference §4 to §7). It works against the virtual AWS and, given credentials,
//! against AWS itself; with programs for camera, microphone, speaker and door opener it is a real doorbell.

mod bell;
pub mod command;
mod door;
mod ear;
mod fault;
mod film;
mod frames;
mod led;
mod line;
mod master;
mod profile;
mod program;
mod viewer;

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use fault::Fault;
pub use profile::Profile;
pub use program::Program;

use crate::aws::{self, Aws, AwsError};
use crate::config::IotEndpoint;
use crate::media::AudioCodec;
use crate::rtc::is_this_machine;
use crate::sim::tone::Samples;
use bell::Bell;
use master::{Doorbell, Master};

/// Of which a doorbell is made.
#[derive(Debug, Clone)]
pub struct Settings {
    pub aws: aws::Settings,
    /// Name or ARN of its channel.
    pub channel: String,
    /// Whose habits it has.
    pub profile: Profile,
    pub ring: Ring,
    /// What opens the door. It has opened it when it ends with 0 within 10 s.
    pub opener: Option<Program>,
    /// Run with `on` or `off` behind its own arguments.
    pub led: Option<Program>,
    /// H.264 in Annex B on its standard output, in place of the clip.
    pub video_from: Option<Program>,
    /// 16-bit samples, little-endian, mono, 48 kHz on its standard output, in place of the clip's beep.
    pub sound_from: Option<Program>,
    /// The same on its standard input: what viewers say.
    pub speaker: Option<Program>,
    /// How it misbehaves from the start.
    pub fault: Option<Fault>,
}

impl Settings {
    /// A doorbell that only this machine is made of: it films the clip, and every command opens its door.
    pub fn at(aws: aws::Settings, channel: &str) -> Self {
        let ring = Ring { endpoint: None, client_id: format!("{channel}-master") };
        Self {
            aws,
            channel: channel.to_owned(),
            profile: Profile::default(),
            ring,
            opener: None,
            led: None,
            video_from: None,
            sound_from: None,
            speaker: None,
            fault: None,
        }
    }
}

/// How it rings: with the certificate where there is one, else with signed addresses.
#[derive(Debug, Clone)]
pub struct Ring {
    /// Asked for where it is missing.
    pub endpoint: Option<IotEndpoint>,
    /// MQTT client id; what the IoT policy lets connect.
    pub client_id: String,
}

/// What a running doorbell can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Somebody presses the button.
    Ring,
    /// Connects to its channel, or leaves it. Calls go on.
    Online(bool),
    /// Misbehaves from now on; `None` for no more.
    Fault(Option<Fault>),
}

/// What happened to a doorbell. A viewer goes by its client id.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Connected to its channel as MASTER.
    Online,
    Offline {
        /// A whole sentence.
        why: String,
    },
    /// The service wants it to connect anew.
    GoAway,
    Offer {
        viewer: String,
    },
    Answered {
        viewer: String,
    },
    NotAnswered {
        viewer: String,
        why: &'static str,
    },
    /// Pictures and sound flow.
    Connected {
        viewer: String,
    },
    /// Its place is free.
    Left {
        viewer: String,
        why: String,
    },
    ChannelOpened {
        viewer: String,
        label: String,
    },
    ChannelClosed {
        viewer: String,
        label: String,
    },
    /// Text has come that opens nothing.
    Message {
        viewer: String,
        bytes: usize,
    },
    DoorOpened {
        viewer: String,
    },
    DoorNotOpened {
        viewer: String,
        why: String,
    },
    Led {
        on: bool,
    },
    /// The first packet of a talk has arrived: from now on the speaker sounds.
    TalkStarted {
        viewer: String,
    },
    /// About once a second while sound arrives, and at the end; `frames` counts from the start of the talk.
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
    /// It can ring.
    BellConnected,
    BellTrouble {
        /// Whole sentences.
        why: String,
    },
    Rang {
        topic: String,
    },
    NotRung {
        why: String,
    },
    /// A program of the hardware has ended or could not be started.
    ProgramTrouble {
        program: String,
        why: String,
    },
    Fault {
        name: &'static str,
    },
}

/// Who is told what happens; nobody listening is fine.
#[derive(Debug, Clone)]
struct Tell(broadcast::Sender<Event>);

impl Tell {
    fn tell(&self, event: Event) {
        let _nobody_listens = self.0.send(event);
    }
}

/// A doorbell that runs until its token is cancelled.
pub struct RunningKvsDoorbell {
    pub settings: Settings,
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<Event>,
    task: JoinHandle<()>,
}

impl RunningKvsDoorbell {
    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// # Errors
    /// When sixteen commands wait, or the doorbell has stopped.
    pub fn obey(&self, command: Command) -> Result<(), Busy> {
        self.commands.try_send(command).map_err(|_| Busy)
    }

    /// Waits until a doorbell that was told to stop has hung up.
    pub async fn stopped(self) {
        drop(self.commands);
        // A panic has been reported where it happened.
        let _ = self.task.await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the doorbell takes no commands now")]
pub struct Busy;

/// Runs the doorbell in a task of its own; what it lacks at AWS is told as events.
///
/// # Errors
/// [`AwsError`], when the credentials or certificates that are named cannot be read.
pub fn start(settings: Settings, stop: CancellationToken) -> Result<RunningKvsDoorbell, AwsError> {
    let aws = Aws::new(settings.aws.clone())?;
    // Commands wait for the doorbell; sixteen are more than anyone types ahead.
    let (commands, inbox) = mpsc::channel(16);
    let events = broadcast::Sender::new(256);
    let tell = Tell(events.clone());
    let loopback = settings.aws.endpoints.kinesisvideo.as_str();
    let doorbell = Arc::new(Doorbell::new(aws.clone(), &settings, is_this_machine(loopback), tell.clone(), &stop));
    let bell = Bell::start(aws, &settings, tell, stop.clone());
    let task = tokio::spawn(Master::start(doorbell, bell, stop).run(inbox));
    Ok(RunningKvsDoorbell { settings, commands, events, task })
}
