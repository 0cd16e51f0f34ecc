//! Passes the doorbell's wishes to a camera session and the session's answers back, and decides when
//! nobody needs the session any more.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::publisher::sound;
use crate::doorbell::{ActionError, DevicePort, Request, TalkLine};
use crate::proto::tutk::session::{Command, Event, SoundFormat};

/// How long the camera is kept streaming after the last viewer left, for the one who comes right back.
const LINGER: Duration = Duration::from_secs(5);
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
}

impl<'a> Conductor<'a> {
    pub(super) fn new(
        port: &'a mut DevicePort,
        session: mpsc::Sender<Command>,
        events: mpsc::Receiver<Event>,
        stay: Stay,
    ) -> Self {
        Self { port, session, events, stay, talk: Talk::Closed }
    }

    /// Returns when nobody needs the session. `request` is what it was opened for, if for a request.
    pub(super) async fn run(mut self, request: Option<Request>) {
        if let Some(request) = request {
            self.request(request).await;
        }
        let media = self.port.media.clone();
        let mut unwatched = pin!(media.unwatched_for(LINGER));
        loop {
            let may_leave = self.stay == Stay::WhileWanted && self.is_silent();
            tokio::select! {
                Some(event) = self.events.recv() => {
                    if self.ends_with(&event) {
                        return;
                    }
                    self.event(event);
                }
                request = self.port.requests.recv() => match request {
                    Some(request) => self.request(request).await,
                    None => return,
                },
                piece = next_piece(&mut self.talk) => self.speech(piece).await,
                () = media.keyframe_wanted() => self.tell(Command::RequestKeyframe).await,
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

    fn event(&mut self, event: Event) {
        match event {
            Event::TalkOpen { format } => self.talk_opened(format),
            Event::TalkClosed { why } => self.talk_closed(why.to_string()),
            _ => {}
        }
    }

    async fn request(&mut self, request: Request) {
        let Request::StartTalk { reply } = request;
        // The doorbell lets one talk at a time; a second request means that it gave up on the first.
        self.talk = Talk::Asked(reply);
        self.stay = Stay::WhileWanted;
        self.tell(Command::StartTalk).await;
    }

    fn talk_opened(&mut self, format: SoundFormat) {
        let Talk::Asked(reply) = std::mem::replace(&mut self.talk, Talk::Closed) else { return };
        let (audio, pieces) = mpsc::channel(SPEECH);
        let line = sound(format)
            .map(|format| TalkLine { format, audio })
            .ok_or_else(|| ActionError::Refused { why: format!("its speaker takes {:?}", format.codec) });
        // Refused, or given up on meanwhile: `audio` is dropped, and the closed line ends the talk.
        let _gave_up = reply.send(line);
        self.talk = Talk::Open(pieces);
    }

    fn talk_closed(&mut self, why: String) {
        if let Talk::Asked(reply) = std::mem::replace(&mut self.talk, Talk::Closed) {
            let _gave_up = reply.send(Err(ActionError::Refused { why }));
        }
    }

    async fn speech(&mut self, piece: Option<Bytes>) {
        match piece {
            Some(piece) => self.tell(Command::Audio(piece)).await,
            None => {
                self.talk = Talk::Closed;
                self.tell(Command::StopTalk).await;
            }
        }
    }

    /// A session that is over takes no commands; its end is told elsewhere.
    async fn tell(&self, command: Command) {
        let _session_over = self.session.send(command).await;
    }
}

/// The next piece of speech, `None` when the speaker was let go; nothing while it is closed.
async fn next_piece(talk: &mut Talk) -> Option<Bytes> {
    match talk {
        Talk::Open(pieces) => pieces.recv().await,
        Talk::Closed | Talk::Asked(_) => std::future::pending().await,
    }
}
