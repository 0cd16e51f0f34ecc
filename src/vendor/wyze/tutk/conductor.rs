//! Passes the doorbell's wishes to a camera session and the session's answers back, and decides when
//! nobody needs the session any more.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use super::publisher::sound;
use crate::clock::{self, Instant};
use crate::doorbell::{ActionError, DevicePort, Request, TalkLine};
use crate::media::AudioFormat;
use crate::media::convert::Converter;
use crate::proto::tutk::session::{Command, Event, SoundFormat, TalkEnd};

/// How long the camera is kept streaming after the last viewer left, for the one who comes right back.
const LINGER: Duration = Duration::from_secs(5);
/// Whoever waits to talk is told when the camera has given no sign of life for so long. The session itself is more
/// patient, which is good for a picture and too long for somebody who holds a button.
const SIGN_OF_LIFE: Duration = Duration::from_millis(2_500);
/// By then a session with a camera that is gone has ended.
const SESSION_FINDS_OUT: Duration = Duration::from_secs(6);
/// Speech on its way to the session: 200 ms. Full: the speaker's side drops.
const SPEECH: usize = 10;

/// How long a session is kept when nobody watches or talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// Until the camera has answered at all.
    UntilFound,
    /// Until the camera has taken our keys.
    UntilLoggedIn,
    /// A little longer than somebody watches or talks.
    WhileWanted,
}

/// The speaker.
enum Talk {
    Closed,
    /// The camera has been asked.
    Asked(oneshot::Sender<Result<TalkLine, ActionError>>),
    Open(mpsc::Receiver<Bytes>),
}

pub(super) struct Conductor<'a> {
    port: &'a mut DevicePort,
    session: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    stay: Stay,
    talk: Talk,
    doubt: Option<Doubt>,
}

/// Whether the camera is still there, while it was asked for its speaker.
struct Doubt {
    /// Before it was asked.
    frames: u64,
    until: Instant,
}

impl<'a> Conductor<'a> {
    pub(super) fn new(
        port: &'a mut DevicePort,
        session: mpsc::Sender<Command>,
        events: mpsc::Receiver<Event>,
        stay: Stay,
    ) -> Self {
        Self { port, session, events, stay, talk: Talk::Closed, doubt: None }
    }

    /// Returns when nobody needs the session. `request` is what it was opened for, if for a request.
    pub(super) async fn run(mut self, request: Option<Request>) {
        if let Some(request) = request {
            self.request(request).await;
        }
        let media = self.port.media.clone();
        let mut unwatched = pin!(media.unwatched_for(LINGER));
        loop {
            // A session in doubt says by itself how it ends.
            let may_leave = self.stay == Stay::WhileWanted && self.is_silent() && self.doubt.is_none();
            let doubted = self.doubt.as_ref().map(|doubt| doubt.until);
            tokio::select! {
                Some(event) = self.events.recv() => {
                    if !matches!(event, Event::TalkClosed { .. }) {
                        self.doubt = None;
                    }
                    if self.ends_with(&event) {
                        return;
                    }
                    self.event(event).await;
                }
                request = self.port.requests.recv() => match request {
                    Some(request) => self.request(request).await,
                    None => return,
                },
                piece = self.talk.next_piece() => match piece {
                    Some(piece) => self.tell(Command::Audio(piece)).await,
                    None => self.stop_talk().await,
                },
                () = media.keyframe_wanted() => self.tell(Command::RequestKeyframe).await,
                () = sleep_until(doubted.unwrap_or_else(clock::now)), if doubted.is_some() => self.no_word().await,
                () = &mut unwatched, if may_leave => return,
            }
        }
    }

    fn is_silent(&self) -> bool {
        matches!(self.talk, Talk::Closed)
    }

    /// Whether this is what the session was opened for, and nobody has come to want more.
    fn ends_with(&mut self, event: &Event) -> bool {
        let reached = match event {
            Event::Found { .. } => self.stay == Stay::UntilFound,
            Event::LoggedIn { .. } => self.stay == Stay::UntilLoggedIn,
            _ => false,
        };
        if reached {
            self.stay = Stay::WhileWanted;
        }
        reached && self.is_silent() && *self.port.media.demand().borrow() == 0
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::TalkOpen { format } => self.talk_opened(format).await,
            // The answer to our own StopTalk; the next talk may have been asked for since.
            Event::TalkClosed { why: TalkEnd::Asked } => {}
            Event::TalkClosed { why } => self.talk_closed(why.to_string()),
            _ => {}
        }
    }

    async fn request(&mut self, request: Request) {
        let reply = match request {
            Request::StartTalk { reply } => reply,
            other => return other.refuse(ActionError::Unsupported("it is a camera on the LAN")),
        };
        // The doorbell lets one talk at a time; a second request means that it has let go of the first, and
        // the session opens no second one beside it.
        if !self.is_silent() {
            self.stop_talk().await;
        }
        self.talk = Talk::Asked(reply);
        self.stay = Stay::WhileWanted;
        self.doubt = Some(Doubt { frames: self.frames(), until: clock::now() + SIGN_OF_LIFE });
        self.tell(Command::StartTalk).await;
    }

    /// The camera has not answered for long; a picture that goes on would be as good a sign.
    async fn no_word(&mut self) {
        let silent = self.doubt.take().is_some_and(|doubt| doubt.frames == self.frames());
        if !silent || !matches!(self.talk, Talk::Asked(_)) {
            return;
        }
        if let Talk::Asked(reply) = std::mem::replace(&mut self.talk, Talk::Closed) {
            let why = "The camera does not answer. Check that it has power and that it is on the network.";
            let _gave_up = reply.send(Err(ActionError::Offline { why: why.to_owned() }));
        }
        self.doubt = Some(Doubt { frames: self.frames(), until: clock::now() + SESSION_FINDS_OUT });
        self.stop_talk().await;
    }

    fn frames(&self) -> u64 {
        self.port.media.counters().frames
    }

    async fn talk_opened(&mut self, format: SoundFormat) {
        let reply = match std::mem::replace(&mut self.talk, Talk::Closed) {
            Talk::Asked(reply) => reply,
            // A word of the talk before this one came late, and was taken for this one's.
            open @ Talk::Open(_) => return self.talk = open,
            Talk::Closed => return self.stop_talk().await,
        };
        let (audio, pieces) = mpsc::channel(SPEECH);
        let line = speech(format)
            .map(|format| TalkLine { format, audio })
            .ok_or_else(|| ActionError::Refused { why: format!("its speaker takes {:?} only", format.codec) });
        // Refused, or given up on meanwhile: `audio` is dropped, and the closed line ends the talk.
        let _gave_up = reply.send(line);
        self.talk = Talk::Open(pieces);
    }

    fn talk_closed(&mut self, why: String) {
        if let Talk::Asked(reply) = std::mem::replace(&mut self.talk, Talk::Closed) {
            let _gave_up = reply.send(Err(ActionError::Refused { why }));
        }
    }

    async fn stop_talk(&mut self) {
        self.talk = Talk::Closed;
        self.tell(Command::StopTalk).await;
    }

    /// A session that is over takes no commands; its end is told elsewhere.
    async fn tell(&self, command: Command) {
        let _session_over = self.session.send(command).await;
    }
}

impl Talk {
    /// The next piece of speech; `None` when nobody holds the speaker or waits for it any more. Nothing while it
    /// is closed.
    async fn next_piece(&mut self) -> Option<Bytes> {
        match self {
            Self::Open(pieces) => pieces.recv().await,
            Self::Asked(reply) => {
                reply.closed().await;
                None
            }
            Self::Closed => std::future::pending().await,
        }
    }
}

/// What a speaker plays, if it is something that speech can be made into.
fn speech(format: SoundFormat) -> Option<AudioFormat> {
    sound(format).filter(|played| Converter::new(AudioFormat::OPUS, *played).is_ok())
}
