//! One caller: what is said with it in control messages, and how it gets to see something (gwell reference §5–§8).

use std::collections::VecDeque;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::CameraEvent;
use super::checks::{Check, Checks};
use super::conversation::Conversation;
use super::fault::Fault;
use super::meters::Meters;
use super::stream::{Reel, Stream};
use super::way::{self, Way};
use crate::proto::gwell::av::Muxer;
use crate::proto::gwell::calling::{Calling, MtpReply};
use crate::proto::gwell::control::{self, Control, Route};
use crate::proto::gwell::message::Message;
use crate::proto::gwell::rc5::Rc5;
use crate::proto::gwell::stream_control::{Action, StreamControl};

/// Relays forget who does not register again.
const REGISTER_EVERY: Duration = Duration::from_secs(10);
/// What the fault `meter-starvation` leaves of the camera's patience.
const STARVED: Duration = Duration::from_secs(20);
/// How long a viewer that has left is still answered, so that it learns that its farewell came.
const FAREWELL: Duration = Duration::from_secs(1);
/// After how much of the stream the faults `stop` and `close` strike.
const SEEN_SOMETHING: Duration = Duration::from_secs(2);
/// A way in use that was silent for so long is left for another on which the viewer is heard.
const SILENT: Duration = Duration::from_secs(3);
/// A viewer whose KCP has moved so often, so lately, sends by two ways at once.
const MOVES: usize = 3;
const MOVES_WITHIN: Duration = Duration::from_secs(5);
/// START is late when there is no AV_INIT after it for so long.
const AV_INIT_WITHIN: Duration = Duration::from_secs(5);
/// So many payloads of KCP without engines are the viewer's fault; before that, 0x25 may have been lost.
const UNASKED: u32 = 5;
/// Where a viewer may be on its LAN: where it says, where the server sees it, and where it asks from.
const CANDIDATES: usize = 8;
/// A server names at most 32 (gwell reference §4.6).
const RELAYS: usize = 32;
/// Why INITREQ is refused when all seats are taken. A guess: no reason has been seen.
const NO_SEAT: u32 = 1;

/// What a viewer's turn depends on, and what it may change.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) unix_ms: u64,
    pub(super) fault: Option<Fault>,
    /// Whether one more may watch.
    pub(super) seat: bool,
    pub(super) patience: Duration,
    pub(super) live_for: Option<Duration>,
    pub(super) reel: &'a Arc<Reel>,
    pub(super) checks: &'a mut Checks,
}

pub(super) enum ViewerOutput {
    /// A whole MTP frame, to a relay itself.
    Register {
        relay: Way,
        frame: Vec<u8>,
    },
    /// The payload of an MTP frame.
    Send {
        way: Way,
        kind: PayloadKind,
        payload: Vec<u8>,
    },
    Event(CameraEvent),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadKind {
    Control,
    Kcp,
}

pub(super) struct Viewer {
    pub(super) link_id: u32,
    /// Access id.
    pub(super) caller: u64,
    key: Rc5,
    candidates: Vec<SocketAddr>,
    relays: Vec<Way>,
    next_registration: Instant,
    /// Where it is answered.
    way: Option<Way>,
    /// On that way.
    heard: Instant,
    moves: VecDeque<Instant>,
    meters: Meters,
    conversation: Option<Conversation>,
    /// Payloads of KCP that came before there were engines.
    unasked: u32,
    phase: Phase,
    /// From when on nothing is answered any more.
    over: Option<Instant>,
    deadline: Instant,
    outputs: VecDeque<ViewerOutput>,
}

enum Phase {
    Called,
    Refused { stream_id: u32 },
    Accepted { stream_id: u32 },
    Started { stream_id: u32, at: Instant },
    Watching { stream_id: u32, since: Instant, stream: Box<Stream> },
}

impl Phase {
    fn stream_id(&self) -> Option<u32> {
        match self {
            Self::Called => None,
            Self::Refused { stream_id }
            | Self::Accepted { stream_id }
            | Self::Started { stream_id, .. }
            | Self::Watching { stream_id, .. } => Some(*stream_id),
        }
    }
}

impl Viewer {
    pub(super) fn called(now: Instant, calling: &Calling) -> Self {
        let route = Route { link_id: calling.link_id, sender: calling.callee, receiver: calling.caller };
        let mut viewer = Self {
            link_id: calling.link_id,
            caller: calling.caller,
            key: Rc5::new(&calling.mtp_key),
            candidates: Vec::new(),
            relays: Vec::new(),
            next_registration: now,
            way: None,
            heard: now,
            moves: VecDeque::new(),
            meters: Meters::begin(now, route),
            conversation: None,
            unasked: 0,
            phase: Phase::Called,
            over: None,
            deadline: now,
            outputs: VecDeque::new(),
        };
        viewer.learn(SocketAddrV4::new(calling.address, calling.port).into());
        viewer
    }

    /// Where the viewer may be on the LAN.
    pub(super) fn learn(&mut self, candidate: SocketAddr) {
        let known = candidate.port() == 0 || candidate.ip().is_unspecified() || self.candidates.contains(&candidate);
        if !known && self.candidates.len() < CANDIDATES {
            self.candidates.push(candidate);
        }
    }

    pub(super) fn on_resources(&mut self, now: Instant, resources: &MtpReply) {
        self.learn(resources.outer.into());
        for relay in &resources.relays {
            let address = SocketAddr::from(relay.address);
            let way = if relay.tcp { Way::RelayTcp(address) } else { Way::RelayUdp(address) };
            if !self.relays.contains(&way) && self.relays.len() < RELAYS {
                self.relays.push(way);
                self.next_registration = now;
            }
        }
    }

    /// As which relay of this viewer an address counts.
    pub(super) fn relay_at(&self, address: SocketAddr, tcp: bool) -> Option<Way> {
        let way = if tcp { Way::RelayTcp(address) } else { Way::RelayUdp(address) };
        self.relays.contains(&way).then_some(way)
    }

    /// Takes what an MTP frame held.
    pub(super) fn on_payload(&mut self, turn: &mut Turn, way: Way, control: Option<Control>, segments: &[u8]) {
        if let Some(control) = control {
            self.on_control(turn, way, control);
        }
        if segments.is_empty() {
            return;
        }
        let Some(conversation) = &mut self.conversation else {
            self.unasked += 1;
            turn.checks.note(Check::CreateKcp, self.unasked < UNASKED);
            return;
        };
        turn.checks.note(Check::CreateKcp, true);
        conversation.on_segments(segments);
        self.follow(turn, way);
        self.read_messages(turn);
    }

    /// The way on which the stream at this address stood is gone.
    pub(super) fn on_closed(&mut self, from: SocketAddr) {
        if matches!(self.way, Some(Way::LanTcp(at) | Way::RelayTcp(at)) if at == from) {
            self.way = None;
        }
    }

    /// The KCP engines of a call are made once.
    pub(super) fn create_kcp(&mut self, now: Instant) {
        if self.conversation.is_none() {
            self.conversation = Some(Conversation::new(self.link_id));
            self.meters.hasten(now);
        }
    }

    pub(super) fn on_timeout(&mut self, turn: &mut Turn) {
        if self.over.is_none() {
            self.register_again(turn.now, turn.unix_ms);
            self.meter(turn);
            self.show(turn);
            self.tire(turn);
        }
        self.carry_on(turn.unix_ms);
    }

    /// The camera goes: whoever watches hears it at once.
    pub(super) fn farewell(&mut self, turn: &mut Turn) {
        /// KCP sends no sooner after what it has sent.
        const NEXT_FLUSH_MS: u64 = 10;
        self.close(turn.now, Action::Close, "the camera was switched off");
        self.carry_on(turn.unix_ms + NEXT_FLUSH_MS);
    }

    /// The server says that the caller is gone.
    pub(super) fn hang_up(&mut self, now: Instant) {
        self.forget(now, "its server ended the call");
    }

    /// Whether nothing more is to be said to it.
    pub(super) fn is_gone(&self, now: Instant) -> bool {
        self.over.is_some_and(|at| now >= at)
    }

    pub(super) fn has_seat(&self) -> bool {
        self.over.is_none()
            && matches!(self.phase, Phase::Accepted { .. } | Phase::Started { .. } | Phase::Watching { .. })
    }

    pub(super) fn poll(&mut self) -> Option<ViewerOutput> {
        self.outputs.pop_front()
    }

    /// The streams that only this viewer needs, when it goes.
    pub(super) fn streams(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let all = self.relays.iter().copied().chain(self.way);
        all.filter_map(|way| match way {
            Way::LanTcp(at) | Way::RelayTcp(at) => Some(at),
            _ => None,
        })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reckons when it is this viewer's turn again; after each of them.
    pub(super) fn reckon(&mut self, now: Instant, unix_ms: u64) {
        let stream = match &self.phase {
            Phase::Watching { stream, .. } if self.over.is_none() => Some(stream.deadline()),
            _ => None,
        };
        let kcp = self.conversation.as_ref().map(|conversation| now + conversation.due_in(unix_ms));
        // One that has left is only answered.
        let fixed = self.over.unwrap_or(self.meters.deadline().min(self.next_registration));
        self.deadline = [stream, kcp].into_iter().flatten().fold(fixed, Instant::min);
    }
}

/// What comes.
impl Viewer {
    fn on_control(&mut self, turn: &mut Turn, way: Way, control: Control) {
        let route = control.route();
        let ours = (route.sender, route.receiver) == (self.caller, self.meters.route().sender);
        if !turn.checks.note(Check::Ids, ours) || self.over.is_some() {
            return;
        }
        match control {
            Control::Create(_) => {
                self.create_kcp(turn.now);
                self.go(turn.now, way);
            }
            Control::Meter(route, meter) => {
                self.meters.on_request(turn.now);
                self.found(turn.now, way);
                self.send(way, PayloadKind::Control, Control::ack(route, meter).encode());
            }
            Control::MeterAck(..) => {
                self.meters.on_ack(turn.checks);
                self.found(turn.now, way);
            }
            // Nobody knows what they mean.
            Control::Other { .. } => {}
        }
    }

    /// The viewer is there. It is answered there from now on unless it was heard on its own way just before.
    fn found(&mut self, now: Instant, way: Way) {
        if self.way.is_none() || self.way == Some(way) || now >= self.heard + SILENT {
            self.go(now, way);
        }
    }

    /// Goes where the viewer's KCP comes from.
    fn follow(&mut self, turn: &mut Turn, way: Way) {
        if self.way != Some(way) {
            self.moves.retain(|at| turn.now < *at + MOVES_WITHIN);
            self.moves.push_back(turn.now);
            turn.checks.note(Check::OneAddress, self.moves.len() <= MOVES);
            // A flood of moves costs no more than what is counted.
            self.moves.truncate(MOVES + 1);
        }
        self.go(turn.now, way);
    }

    fn go(&mut self, now: Instant, way: Way) {
        self.heard = now;
        let moved = self.way.replace(way) != Some(way);
        if moved && self.phase.stream_id().is_some() {
            self.tell(CameraEvent::Moved { link: self.link_id, path: way::name(way.path()) });
        }
    }

    fn read_messages(&mut self, turn: &mut Turn) {
        while let Some(message) = self.conversation.as_mut().and_then(Conversation::message) {
            let message = Message::decode(&message, &self.key);
            if !turn.checks.note(Check::Messages, message.is_ok()) || self.over.is_some() {
                continue;
            }
            match message {
                Ok(Message::Control(control)) => self.on_stream_control(turn, control),
                Ok(Message::Av(_)) => self.on_av(turn),
                Ok(Message::Command(_)) | Err(_) => {}
            }
        }
    }

    fn on_stream_control(&mut self, turn: &mut Turn, control: StreamControl) {
        match control.action {
            Action::InitReq => self.on_init(turn, control),
            Action::Start => self.on_start(turn, control),
            Action::Stop => self.end(turn.now, "the viewer stopped it"),
            Action::Close => self.end(turn.now, "the viewer closed it"),
            Action::Accept | Action::Reject => {}
        }
    }

    /// Answers a request once; viewers repeat it until they have an answer (gwell reference §7).
    fn on_init(&mut self, turn: &mut Turn, request: StreamControl) {
        let stream_id = request.stream_id;
        if self.phase.stream_id() == Some(stream_id) || turn.fault == Some(Fault::NoAccept) {
            return;
        }
        if turn.fault == Some(Fault::Reject) || !turn.seat && !self.has_seat() {
            self.phase = Phase::Refused { stream_id };
            self.say(StreamControl { action: Action::Reject, reason: NO_SEAT, ..request });
            self.tell(CameraEvent::Rejected { link: self.link_id });
            return;
        }
        turn.checks.note(Check::StreamId, stream_id != 0);
        self.phase = Phase::Accepted { stream_id };
        self.say(StreamControl { action: Action::Accept, ..request });
        let path = self.way.map_or("", |way| way::name(way.path()));
        self.tell(CameraEvent::SessionStarted { link: self.link_id, path });
    }

    /// Takes START, or the echo of our STARTED, which some viewers send in its place and some beside it.
    fn on_start(&mut self, turn: &mut Turn, start: StreamControl) {
        let Phase::Accepted { stream_id } = self.phase else { return };
        if start.stream_id != stream_id {
            return;
        }
        self.phase = Phase::Started { stream_id, at: turn.now };
        if turn.fault != Some(Fault::NoStarted)
            && let Some(conversation) = &mut self.conversation
        {
            conversation.send_data(&Message::Control(start).encode(&self.key));
        }
    }

    /// The viewer's AV_INIT: only now the camera begins to encode.
    fn on_av(&mut self, turn: &mut Turn) {
        let Phase::Started { stream_id, .. } = self.phase else {
            turn.checks.note(Check::Start, !matches!(self.phase, Phase::Called | Phase::Accepted { .. }));
            return;
        };
        turn.checks.note(Check::AvInit, true);
        // Whoever asks for stream 0 is accepted and sees nothing (gwell reference §8).
        if stream_id == 0 {
            return;
        }
        let stream = Box::new(Stream::begin(turn.now, turn.reel.clone()));
        self.phase = Phase::Watching { stream_id, since: turn.now, stream };
        Muxer.opening().into_iter().for_each(|message| self.send_av(message));
        self.tell(CameraEvent::Streaming { link: self.link_id });
    }
}

/// What goes.
impl Viewer {
    fn register_again(&mut self, now: Instant, unix_ms: u64) {
        if now < self.next_registration {
            return;
        }
        self.next_registration = now + REGISTER_EVERY;
        for relay in &self.relays {
            let frame = control::relay_registration(self.meters.route(), unix_ms);
            self.outputs.push_back(ViewerOutput::Register { relay: *relay, frame });
        }
    }

    /// Says "I am here", everywhere where the viewer may be until it was heard.
    fn meter(&mut self, turn: &mut Turn) {
        let Some(request) = self.meters.take(turn.now, turn.unix_ms, self.way.is_some()) else { return };
        self.judge(turn);
        let everywhere = self.candidates.iter().map(|at| Way::LanUdp(*at)).chain(self.relays.iter().copied());
        let ways: Vec<Way> = match self.way {
            Some(way) => vec![way],
            None => everywhere.collect(),
        };
        for way in ways {
            self.send(way, PayloadKind::Control, request.encode());
        }
    }

    /// What is to be said of a viewer now and again.
    fn judge(&self, turn: &mut Turn) {
        match self.phase {
            Phase::Started { stream_id: 1.., at } if turn.now >= at + AV_INIT_WITHIN => {
                turn.checks.note(Check::AvInit, false);
            }
            Phase::Watching { since, .. } => {
                self.meters.judge(turn.now, since, turn.checks);
                if turn.now >= since + SEEN_SOMETHING
                    && let Some(conversation) = &self.conversation
                {
                    conversation.judge(turn.checks);
                }
            }
            _ => {}
        }
    }

    /// Sends the media that are due.
    fn show(&mut self, turn: &Turn) {
        let room = self.conversation.as_ref().is_some_and(Conversation::has_room);
        let Phase::Watching { stream, .. } = &mut self.phase else { return };
        for message in stream.due(turn.now, room, turn.fault) {
            self.send_av(message);
        }
    }

    /// Whatever ends a call by itself.
    fn tire(&mut self, turn: &mut Turn) {
        let patience = match turn.fault {
            Some(Fault::MeterStarvation) => STARVED,
            _ => turn.patience,
        };
        if self.meters.are_starved(turn.now, patience) {
            return self.forget(turn.now, "its meters stopped");
        }
        match self.phase {
            Phase::Watching { since, .. } if turn.live_for.is_some_and(|most| turn.now >= since + most) => {
                self.forget(turn.now, "the camera has shown enough");
            }
            Phase::Watching { since, .. } if turn.now >= since + SEEN_SOMETHING => match turn.fault {
                Some(Fault::Stop) => self.close(turn.now, Action::Stop, "the camera stopped it"),
                Some(Fault::Close) => self.close(turn.now, Action::Close, "the camera closed it"),
                _ => {}
            },
            _ => {}
        }
    }

    /// Lets KCP send what it has.
    fn carry_on(&mut self, unix_ms: u64) {
        let Some(conversation) = &mut self.conversation else { return };
        conversation.update(unix_ms);
        while let Some(payload) = conversation.poll() {
            if let Some(way) = self.way {
                self.outputs.push_back(ViewerOutput::Send { way, kind: PayloadKind::Kcp, payload });
            }
        }
    }

    /// Ends the call, and says so.
    fn close(&mut self, now: Instant, action: Action, why: &'static str) {
        if let (Some(stream_id), None) = (self.phase.stream_id(), self.over) {
            self.say(StreamControl::of(action, stream_id));
        }
        self.end(now, why);
    }

    fn say(&mut self, control: StreamControl) {
        if let Some(conversation) = &mut self.conversation {
            conversation.send_ctrl(&Message::Control(control).encode(&self.key));
        }
    }

    fn send_av(&mut self, plain: Vec<u8>) {
        if let Some(conversation) = &mut self.conversation {
            conversation.send_data(&Message::Av(plain).encode(&self.key));
        }
    }

    fn send(&mut self, way: Way, kind: PayloadKind, payload: Vec<u8>) {
        self.outputs.push_back(ViewerOutput::Send { way, kind, payload });
    }

    /// Without a word, and at once.
    fn forget(&mut self, now: Instant, why: &'static str) {
        self.end(now, why);
        self.over = Some(now);
    }

    /// Ends the call, and answers for a little while what still comes.
    fn end(&mut self, now: Instant, why: &'static str) {
        if self.over.is_none() {
            self.over = Some(now + FAREWELL);
            self.tell(CameraEvent::SessionEnded { link: self.link_id, why });
        }
    }

    fn tell(&mut self, event: CameraEvent) {
        self.outputs.push_back(ViewerOutput::Event(event));
    }
}
