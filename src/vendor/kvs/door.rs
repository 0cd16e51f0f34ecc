//! The door opener of a doorbell: one text over a call's data channel, and what the doorbell says to it (kvs reference
//! §7). The text goes out once for every permit, whatever comes of it.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::sleep_until;

use crate::clock::{self, Instant};
use crate::config::DoorCommand;
use crate::doorbell::ActionError;
use crate::doorbell::vendor::BoxFuture;
use crate::model::{Door, LockAction, LockState, State};
use crate::rtc::kvs_call::{AskError, Commands};
use crate::vendor::lock::{Word, busy};

/// What the data channel is called.
pub(super) const CHANNEL: &str = "commands";

/// A wish to open a door lasts for 5 s; what is left then is of no use, and its permit says so too.
const CALL_WITHIN: Duration = Duration::from_secs(5);
/// The doorbell answers when it has held the opener for 1 s.
const REPLY_WITHIN: Duration = Duration::from_secs(3);
/// How long the door is shown as open.
const SHOWN_OPEN: Duration = Duration::from_secs(3);

/// The exact bytes: AmebaPro2 looks for `"action":"open_door"`, without a space.
fn text_of(command: DoorCommand) -> &'static str {
    match command {
        DoorCommand::OpenDoor => r#"{"action":"open_door"}"#,
        DoorCommand::Legacy => r#"{"command":"OPEN_DOOR"}"#,
    }
}

type Reply = oneshot::Sender<Result<LockState, ActionError>>;

/// The way to a doorbell whose call is up.
pub(super) trait Wire {
    /// Resolves when a text could be sent.
    fn opened(&self, within: Duration) -> BoxFuture<'static, Result<(), AskError>>;

    /// Sends a text, once, and now or not at all. Only `NotOpen` says that nothing was sent.
    fn ask(&self, text: &'static str, within: Duration) -> BoxFuture<'static, Result<String, AskError>>;
}

impl Wire for Commands {
    fn opened(&self, within: Duration) -> BoxFuture<'static, Result<(), AskError>> {
        let commands = self.clone();
        Box::pin(async move { Self::opened(&commands, within).await })
    }

    fn ask(&self, text: &'static str, within: Duration) -> BoxFuture<'static, Result<String, AskError>> {
        let commands = self.clone();
        Box::pin(async move { Self::ask_now(&commands, text, is_reply, within).await })
    }
}

/// Opens the door, for one who asks at a time. Shows how it stands.
pub(super) struct Opener<W, C> {
    command: DoorCommand,
    state: watch::Sender<State>,
    /// While there is a call.
    wire: Option<C>,
    stage: Stage<W>,
}

enum Stage<W> {
    Resting,
    /// There is no call yet, or its channel is not open.
    Waiting {
        errand: Errand<W>,
        opening: Option<BoxFuture<'static, Result<(), AskError>>>,
    },
    Asking {
        asking: BoxFuture<'static, Result<String, AskError>>,
        reply: Reply,
    },
    Open {
        until: Instant,
    },
}

struct Errand<W> {
    word: W,
    reply: Reply,
    until: Instant,
}

impl<W: Word, C: Wire> Opener<W, C> {
    /// Locked, as such a door is at rest.
    pub(super) fn new(command: DoorCommand, state: watch::Sender<State>) -> Self {
        let opener = Self { command, state, wire: None, stage: Stage::Resting };
        opener.show();
        opener
    }

    /// Opens the door, or has it opened as soon as there is a call.
    pub(super) fn open(&mut self, word: W, reply: Reply) {
        // Whoever has given up does not expect the door to open any more.
        if reply.is_closed() {
            return;
        }
        if self.is_busy() {
            return tell(reply, Err(busy()));
        }
        if word.action() != LockAction::Unlock {
            return tell(reply, Err(ActionError::Unsupported("its opener opens the door and cannot lock it")));
        }
        let errand = Errand { word, reply, until: clock::now() + CALL_WITHIN };
        let opening = self.wire.as_ref().map(|wire| wire.opened(CALL_WITHIN));
        self.become_(Stage::Waiting { errand, opening });
    }

    /// Whether somebody waits.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. } | Stage::Asking { .. })
    }

    /// Whether a call is to be placed.
    pub(super) fn wants_call(&self) -> bool {
        matches!(self.stage, Stage::Waiting { opening: None, .. })
    }

    /// A call is up. `wire` is `None` when it has no data channel.
    pub(super) fn called(&mut self, wire: Option<C>) {
        self.wire = wire;
        match (std::mem::replace(&mut self.stage, Stage::Resting), &self.wire) {
            (Stage::Waiting { errand, .. }, Some(wire)) => {
                let opening = Some(wire.opened(errand.until.saturating_duration_since(clock::now())));
                self.stage = Stage::Waiting { errand, opening };
            }
            (Stage::Waiting { errand, .. }, None) => self.end(errand.reply, Err(no_channel())),
            (other, _) => self.stage = other,
        }
    }

    /// There is no call any more, or none came about, for this reason.
    pub(super) fn hung_up(&mut self, why: &str) {
        self.wire = None;
        match std::mem::replace(&mut self.stage, Stage::Resting) {
            Stage::Waiting { errand, .. } => {
                let why = format!("{} Nothing was sent.", why.trim_end());
                self.end(errand.reply, Err(ActionError::Offline { why }));
            }
            // It may have heard.
            Stage::Asking { reply, .. } => self.end(reply, Err(ActionError::Timeout)),
            other => self.stage = other,
        }
    }

    /// Drives it. Resolves whenever something has come of it; may be cancelled at any time.
    pub(super) async fn turn(&mut self) {
        let happened = match &mut self.stage {
            Stage::Resting => std::future::pending().await,
            Stage::Open { until } => {
                sleep_until(*until).await;
                Happened::Closed
            }
            Stage::Waiting { errand, opening } => tokio::select! {
                biased;
                // Whoever has given up does not expect the door to open any more.
                () = errand.reply.closed() => Happened::GivenUp,
                opened = ready(opening) => Happened::Opened(opened),
                () = sleep_until(errand.until) => Happened::TooLate,
            },
            Stage::Asking { asking, .. } => Happened::Replied(asking.await),
        };
        self.take(happened);
    }

    fn take(&mut self, happened: Happened) {
        match (happened, std::mem::replace(&mut self.stage, Stage::Resting)) {
            (Happened::Opened(Ok(())), Stage::Waiting { errand, .. }) => self.ask(errand),
            (Happened::Opened(Err(_)), Stage::Waiting { errand, .. }) => self.end(errand.reply, Err(no_channel())),
            (Happened::TooLate, Stage::Waiting { errand, .. }) => {
                let why = "The doorbell did not answer the call within 5 s, and nothing was sent. Try again while its \
                           picture is live."
                    .to_owned();
                self.end(errand.reply, Err(ActionError::Offline { why }));
            }
            (Happened::Replied(replied), Stage::Asking { reply, .. }) => self.end(reply, outcome(replied)),
            _ => self.show(),
        }
    }

    /// The permit is spent right before the text goes out.
    fn ask(&mut self, Errand { word, reply, .. }: Errand<W>) {
        let Some(wire) = &self.wire else { return self.end(reply, Err(no_channel())) };
        match word.spend() {
            Ok(_) => {
                tracing::info!("the doorbell is told to open the door");
                let asking = wire.ask(text_of(self.command), REPLY_WITHIN);
                self.become_(Stage::Asking { asking, reply });
            }
            Err(stale) => self.end(reply, Err(stale)),
        }
    }

    fn end(&mut self, reply: Reply, outcome: Result<LockState, ActionError>) {
        let stage = match &outcome {
            Ok(_) => Stage::Open { until: clock::now() + SHOWN_OPEN },
            Err(_) => Stage::Resting,
        };
        tell(reply, outcome);
        self.become_(stage);
    }

    fn become_(&mut self, stage: Stage<W>) {
        self.stage = stage;
        self.show();
    }

    fn show(&self) {
        let lock = match self.stage {
            Stage::Resting => LockState::Locked,
            Stage::Waiting { .. } | Stage::Asking { .. } => LockState::Unlocking,
            Stage::Open { .. } => LockState::Unlocked,
        };
        self.state.send_if_modified(|state| {
            let door = Some(Door { lock: Some(lock), blocked: None });
            let news = state.door != door;
            state.door = door;
            news
        });
    }
}

enum Happened {
    /// The door falls shut again.
    Closed,
    GivenUp,
    Opened(Result<(), AskError>),
    TooLate,
    Replied(Result<String, AskError>),
}

/// Never, of what does not run.
async fn ready(opening: &mut Option<BoxFuture<'static, Result<(), AskError>>>) -> Result<(), AskError> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

/// Whatever a doorbell says on this channel is its answer: to everybody it speaks over channels of its own.
fn is_reply(_text: &str) -> bool {
    true
}

fn outcome(replied: Result<String, AskError>) -> Result<LockState, ActionError> {
    let refused = |why: &str| Err(ActionError::Refused { why: why.to_owned() });
    match replied {
        Ok(text) if text.contains("Door opened") => Ok(LockState::Unlocked),
        Ok(text) if text.contains("ECHO:") => refused(
            "The doorbell sent the command back and opened nothing: its program does not know it. Look at \
             `door_command` under `kvs` in the configuration; doorbells on AWS's reference for Linux open no door.",
        ),
        Ok(_) => refused(
            "The doorbell does not say that it opened the door, but something else. Look at the door, and at what \
             the doorbell's own program has written down.",
        ),
        Err(AskError::NotOpen) => Err(no_channel()),
        Err(AskError::NoReply | AskError::Ended) => Err(ActionError::Timeout),
    }
}

fn no_channel() -> ActionError {
    let why = "The doorbell takes no commands over its call: it has not opened the data channel. Nothing was sent.";
    ActionError::Refused { why: why.to_owned() }
}

fn tell(reply: Reply, outcome: Result<LockState, ActionError>) {
    match &outcome {
        Ok(_) => tracing::info!("the doorbell has opened the door"),
        Err(error) => tracing::warn!(%error, "the doorbell has not said that it opened the door"),
    }
    let _asker_left = reply.send(outcome);
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
