//! One talker at a time: who holds the speaker, and everything that ends a talk.
//!
//! Speech passes through here piece by piece instead of going straight to the device, so that a talk can be
//! ended while a microphone still holds its sender.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout_at};

use super::open_talks::{OpenTalks, Written};
use super::{ActionError, Doorbell, Request, Shared, TalkGrant, TalkLine};
use crate::clock::{self, Instant};
use crate::model::{DeviceId, Link};

type Reply<T> = oneshot::Sender<Result<T, ActionError>>;

/// How to reach the device; `None` between its lives.
pub(super) type Device = watch::Receiver<Option<mpsc::Sender<Request>>>;

/// What holds for every talk at one doorbell.
pub(super) struct Terms {
    /// The longest it may last.
    pub(super) limit: Duration,
    /// Where it is remembered for a successor of this process.
    pub(super) open_talks: OpenTalks,
}

/// The speaker of one doorbell.
pub(super) struct Talk {
    shared: Arc<Shared>,
    device: Device,
    terms: Terms,
    phase: Phase,
    /// That the last talk is over.
    written: Written,
}

enum Phase {
    Idle,
    Opening(Opening),
    Open(Open),
}

/// The device was asked and has not answered yet.
struct Opening {
    answer: oneshot::Receiver<Result<TalkLine, ActionError>>,
    deadline: Instant,
    /// Not empty: the switch holds the talk. As many as callers wait.
    switch: Vec<Reply<()>>,
    microphone: Option<(u64, Reply<TalkGrant>)>,
    /// That there may be an open talk from now on. Begun before the camera is asked, and waited for before anybody is
    /// heard, so that the disk takes no time of the talk's; who is killed in the milliseconds between leaves a camera
    /// that listens to nobody.
    written: Written,
}

/// The speaker is open.
struct Open {
    line: TalkLine,
    deadline: Instant,
    /// Whether the switch holds the talk; otherwise it ends with its microphone.
    switch: bool,
    microphone: Option<Microphone>,
}

struct Microphone {
    viewer: u64,
    pieces: mpsc::Receiver<Bytes>,
    given_up_at: Instant,
}

/// How long a doorbell may take to open its speaker.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

impl Talk {
    pub(super) fn new(shared: Arc<Shared>, device: Device, terms: Terms) -> Self {
        Self { shared, device, terms, phase: Phase::Idle, written: Written::default() }
    }

    /// A viewer wants to talk.
    pub(super) fn start(&mut self, viewer: u64, reply: Reply<TalkGrant>) {
        let busy = self.busy();
        match &mut self.phase {
            Phase::Idle => self.open(Vec::new(), Some((viewer, reply))),
            Phase::Opening(opening) if opening.microphone_waits() => answer(reply, Err(busy)),
            Phase::Opening(opening) => opening.microphone = Some((viewer, reply)),
            Phase::Open(open) if open.microphone_lives() => answer(reply, Err(busy)),
            Phase::Open(open) => {
                open.let_in(viewer, reply);
                self.shared.set_microphone(Some(viewer));
            }
        }
    }

    pub(super) fn switch_on(&mut self, reply: Reply<()>) {
        let busy = self.busy();
        match &mut self.phase {
            Phase::Idle => self.open(vec![reply], None),
            Phase::Opening(opening) if opening.switch.is_empty() && opening.microphone_waits() => {
                answer(reply, Err(busy));
            }
            Phase::Opening(opening) => opening.switch.push(reply),
            Phase::Open(open) if !open.switch && open.microphone_lives() => answer(reply, Err(busy)),
            Phase::Open(open) => {
                open.switch = true;
                answer(reply, Ok(()));
            }
        }
    }

    /// What somebody is told who comes while another has the speaker.
    fn busy(&self) -> ActionError {
        let viewer = match &self.phase {
            Phase::Idle => None,
            Phase::Opening(opening) => opening.microphone.as_ref().map(|(viewer, _)| *viewer),
            Phase::Open(open) => open.microphone.as_ref().map(|microphone| microphone.viewer),
        };
        if viewer == Some(Doorbell::OWN_VOICE) { ActionError::Speaking } else { ActionError::Busy }
    }

    /// Ends whatever talk there is. The microphone finds its sender closed, the device its receiver.
    pub(super) fn end(&mut self) {
        self.end_because("asked to");
    }

    /// Goes on until something has changed. May be cancelled without losing a piece of sound.
    pub(super) async fn progress(&mut self) {
        match &mut self.phase {
            Phase::Idle => std::future::pending().await,
            Phase::Opening(opening) => {
                let answer = opening.answered(&mut self.device).await;
                self.answered(answer);
            }
            Phase::Open(open) => {
                let ended = open.carry(&mut self.device).await;
                self.shared.set_microphone(open.microphone.as_ref().map(|microphone| microphone.viewer));
                if let Some(why) = ended {
                    self.end_because(why);
                }
            }
        }
    }

    fn open(&mut self, switch: Vec<Reply<()>>, microphone: Option<(u64, Reply<TalkGrant>)>) {
        let (request, answer) = oneshot::channel();
        let (deadline, written) = (clock::now() + ANSWER_WITHIN, Written::default());
        let mut opening = Opening { answer, deadline, switch, microphone, written };
        let Some(device) = self.device.borrow_and_update().clone() else {
            return opening.refuse(&ActionError::Offline { why: self.shared.why_offline() });
        };
        opening.written = self.terms.open_talks.opens(&self.shared.id());
        if device.try_send(Request::StartTalk { reply: request }).is_err() {
            // A device that leaves its requests lying has not answered them in time either.
            opening.refuse(&ActionError::Timeout);
            return self.was_none();
        }
        self.phase = Phase::Opening(opening);
    }

    fn answered(&mut self, answer: Result<TalkLine, ActionError>) {
        let Phase::Opening(mut opening) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        let line = match answer {
            Ok(line) => line,
            Err(error) => {
                opening.refuse(&error);
                return self.was_none();
            }
        };
        let wanted = !opening.switch.is_empty() || opening.microphone_waits();
        if !wanted {
            return self.is_over();
        }
        tracing::info!(format = ?line.format, "the speaker is open");
        self.shared.set_talking(true);
        let deadline = clock::now() + self.terms.limit;
        let mut open = Open { line, deadline, switch: !opening.switch.is_empty(), microphone: None };
        if let Some((viewer, reply)) = opening.microphone {
            open.let_in(viewer, reply);
            self.shared.set_microphone(Some(viewer));
        }
        for reply in opening.switch.drain(..) {
            self::answer(reply, Ok(()));
        }
        self.phase = Phase::Open(open);
    }

    fn end_because(&mut self, why: &'static str) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => {}
            Phase::Opening(mut opening) => {
                opening.refuse(&ActionError::Refused { why: "the talk was ended before it began".to_owned() });
                self.was_none();
            }
            Phase::Open(open) => {
                drop(open);
                self.is_over();
                self.shared.set_talking(false);
                self.shared.set_microphone(None);
                tracing::info!(why, "the speaker is closed");
            }
        }
    }

    /// The speaker was not opened.
    fn was_none(&mut self) {
        self.written = self.terms.open_talks.stays_shut(&self.shared.id());
    }

    /// The camera is told by its device.
    fn is_over(&mut self) {
        self.written = self.terms.open_talks.closes(&self.shared.id());
    }

    /// Resolves when nobody will find the last talk open.
    pub(super) async fn is_written_down(&mut self) {
        self.written.done().await;
    }
}

impl Opening {
    fn microphone_waits(&self) -> bool {
        self.microphone.as_ref().is_some_and(|(_, reply)| !reply.is_closed())
    }

    async fn answered(&mut self, device: &mut Device) -> Result<TalkLine, ActionError> {
        self.written.done().await;
        let ended =
            || ActionError::Offline { why: "Its session ended before the speaker was open. Try again.".to_owned() };
        tokio::select! {
            biased;
            answer = timeout_at(self.deadline, &mut self.answer) => match answer {
                Ok(answer) => answer.map_err(|_| ended())?,
                Err(_) => Err(ActionError::Timeout),
            },
            _ = device.changed() => Err(ended()),
        }
    }

    fn refuse(&mut self, error: &ActionError) {
        for reply in self.switch.drain(..) {
            answer(reply, Err(error.clone()));
        }
        if let Some((_, reply)) = self.microphone.take() {
            answer(reply, Err(error.clone()));
        }
    }
}

impl Open {
    /// Pieces of 20 ms, so 200 ms: more would be heard late. Full: the microphone drops.
    const PIECES: usize = 10;

    fn microphone_lives(&self) -> bool {
        self.microphone.as_ref().is_some_and(|microphone| !microphone.pieces.is_closed())
    }

    fn let_in(&mut self, viewer: u64, reply: Reply<TalkGrant>) {
        let (audio, pieces) = mpsc::channel(Self::PIECES);
        tracing::debug!(viewer, "a microphone is let through");
        self.microphone = Some(Microphone::new(viewer, pieces));
        answer(reply, Ok(TalkGrant { format: self.line.format, audio }));
    }

    /// Carries one piece of sound to the device, or says why the talk is over.
    async fn carry(&mut self, device: &mut Device) -> Option<&'static str> {
        let piece = tokio::select! {
            biased;
            () = sleep_until(self.deadline) => return Some("the talk limit passed"),
            () = self.line.audio.closed() => return Some("the doorbell ended it"),
            _ = device.changed() => return Some("the session ended"),
            piece = Microphone::next(&mut self.microphone) => piece,
        };
        match piece {
            // A sign of life of a microphone in a silent place.
            Some(piece) if piece.is_empty() => None,
            Some(piece) => {
                // Full: the device is slow, and what it has no room for now would be heard late.
                let _dropped_when_full = self.line.audio.try_send(piece);
                None
            }
            None => {
                self.microphone = None;
                (!self.switch).then_some("the microphone left")
            }
        }
    }
}

impl Microphone {
    /// The dead man's limit: a page that was closed or has lost its network says nothing any more. The camera is to
    /// have heard of the end within 3 s (row 34 of the fault matrix).
    const SILENCE: Duration = Duration::from_millis(2_500);

    fn new(viewer: u64, pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { viewer, pieces, given_up_at: clock::now() + Self::SILENCE }
    }

    /// The next piece, or `None` when it has gone or says nothing. Never resolves without a microphone.
    async fn next(microphone: &mut Option<Self>) -> Option<Bytes> {
        let Some(microphone) = microphone else { return std::future::pending().await };
        let piece = timeout_at(microphone.given_up_at, microphone.pieces.recv()).await.ok().flatten()?;
        microphone.given_up_at = clock::now() + Self::SILENCE;
        Some(piece)
    }
}

impl Shared {
    fn id(&self) -> DeviceId {
        self.info.borrow().id.clone()
    }

    fn set_talking(&self, talking: bool) {
        self.state.send_modify(|state| state.talking = talking);
    }

    fn set_microphone(&self, viewer: Option<u64>) {
        self.state.send_if_modified(|state| std::mem::replace(&mut state.microphone, viewer) != viewer);
    }

    pub(super) fn why_offline(&self) -> String {
        let state = self.state.borrow();
        match (&state.link, &state.last_error) {
            (Link::NeedsAttention { why }, _) | (_, Some(why)) => why.clone(),
            _ => "It has not been reached yet. Try again in a moment.".to_owned(),
        }
    }
}

/// An asker that has left meanwhile needs no answer; a grant that is not taken closes itself.
fn answer<T>(reply: Reply<T>, result: Result<T, ActionError>) {
    let _asker_left = reply.send(result);
}
