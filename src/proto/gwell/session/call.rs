//! One call to the camera: CALLING until it is there, the ways that are tried, and the stream over the one that answers
//! (gwell reference §4.6 to §4.10, §5, §6, §11 steps 5 to 10).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::candidates::Candidates;
use super::paths::{Paths, Route, Sign};
use super::search::detect_request;
use super::stream::Stream;
use super::unix_time::UnixTime;
use super::{Event, Path, SessionError, Turn};
use crate::proto::gwell::TCP;
use crate::proto::gwell::calling::{Calling, CallingAck, MtpReply, MtpRequest};
use crate::proto::gwell::control::{self, Control, Meter};
use crate::proto::gwell::gutes::{Frame, Kind};
use crate::proto::gwell::mtp::{Carrier, Mtp};
use crate::proto::gwell::passthrough::{PassthroughControl, PassthroughData};
use crate::proto::gwell::port_status::{NetworkDetect, PortKind, PortStatus};
use crate::proto::{Lane, Output};

const CALLING_INTERVAL: Duration = Duration::from_secs(3);
/// Between the first ones, as long as nothing is answered: any of them, and any answer, may be lost on the way.
const FIRST_PAUSES_MS: [u64; 4] = [500, 500, 1_000, 1_000];
/// A doorbell on a battery takes tens of seconds to wake up.
const CALLING_LIMIT: Duration = Duration::from_secs(75);
/// When CALLING leaves out where we are: what is asked for is a relay.
const RELAY_ONLY_AFTER: Duration = Duration::from_secs(25);
/// What ways that were named last have for themselves.
const OPENING_LIMIT: Duration = Duration::from_secs(12);
const CREATE_INTERVAL: Duration = Duration::from_millis(500);
/// A camera drops whoever sends no meters (seed, rule 2).
const METER_INTERVAL: Duration = Duration::from_secs(2);
/// "Online", to the server and never to the camera (seed, rule 3).
const ONLINE_INTERVAL: Duration = Duration::from_secs(10);
/// The round of relay activation that says "again" (reference §4.8).
const RELAY_AGAIN_ROUND: u32 = 2;

/// What a call is made of.
pub(super) struct Caller {
    /// From us to the camera.
    pub(super) ids: control::Route,
    pub(super) stream_id: u32,
    pub(super) mtp_key: [u8; 8],
    pub(super) server: SocketAddr,
    /// The camera's address, if its owner said one.
    pub(super) owner: Option<IpAddr>,
    /// Where our UDP socket is, as the LAN sees it.
    pub(super) local: SocketAddr,
    pub(super) time: UnixTime,
}

pub(super) struct Call {
    ids: control::Route,
    mtp_key: [u8; 8],
    server: SocketAddr,
    local: SocketAddr,
    time: UnixTime,
    calling: Ringing,
    candidates: Candidates,
    paths: Paths,
    stream: Stream,
    keepalives: Option<Keepalives>,
    /// Meters that were sent; the number 0 is for making oneself known to relays.
    meters: u32,
    /// Frames that went through the server.
    passed: u32,
    outputs: VecDeque<Output<Event>>,
}

/// CALLING, and how long it is worth repeating.
struct Ringing {
    began: Instant,
    next: Instant,
    until: Instant,
    /// Of what was sent; acknowledgements of another session's name others.
    sqnums: Vec<u32>,
    is_answered: bool,
}

impl Ringing {
    /// Until the next one, from the one that is sent now.
    fn interval(&self) -> Duration {
        let first = FIRST_PAUSES_MS.get(self.sqnums.len()).filter(|_| !self.is_answered);
        first.map_or(CALLING_INTERVAL, |pause| Duration::from_millis(*pause))
    }
}

/// From the first way that answers on.
struct Keepalives {
    /// 0x25, on every new way, and again until the camera's conversations are heard.
    create: Option<Instant>,
    meter: Instant,
    online: Instant,
}

struct Due {
    create: bool,
    meter: bool,
    online: bool,
}

impl Keepalives {
    fn take_due(&mut self, now: Instant, is_heard: bool) -> Due {
        let due = Due {
            create: self.create.is_some_and(|at| now >= at),
            meter: now >= self.meter,
            online: now >= self.online,
        };
        if due.create {
            self.create = (!is_heard).then_some(now + CREATE_INTERVAL);
        }
        if due.meter {
            self.meter = now + METER_INTERVAL;
        }
        if due.online {
            self.online = now + ONLINE_INTERVAL;
        }
        due
    }

    fn deadline(&self) -> Instant {
        let next = self.meter.min(self.online);
        self.create.map_or(next, |create| create.min(next))
    }
}

impl Call {
    pub(super) fn new(caller: Caller, now: Instant) -> Self {
        let Caller { ids, stream_id, mtp_key, server, owner, local, time } = caller;
        Self {
            ids,
            server,
            local,
            time,
            calling: Ringing {
                began: now,
                next: now,
                until: now + CALLING_LIMIT,
                sqnums: Vec::new(),
                is_answered: false,
            },
            candidates: Candidates::new(server, owner),
            paths: Paths::default(),
            stream: Stream::new(ids.link_id, stream_id, &mtp_key, time),
            mtp_key,
            keepalives: None,
            meters: 0,
            passed: 0,
            outputs: VecDeque::new(),
        }
    }

    pub(super) fn tid(&self) -> u64 {
        self.ids.receiver
    }

    /// Whether the camera was heard to speak MTP with us.
    pub(super) fn is_proven(&self) -> bool {
        self.paths.is_proven()
    }

    /// Nobody has to be called any more. A stream that moves to a path which is not proven yet has its own watch.
    fn is_taken(&self) -> bool {
        self.paths.is_proven() || self.stream.is_accepted()
    }

    // CALLING and what the server answers.

    fn call_again(&mut self, turn: &mut Turn<'_>) -> Result<(), SessionError> {
        if self.is_taken() || turn.now < self.calling.next.min(self.calling.until) {
            return Ok(());
        }
        if turn.now >= self.calling.until {
            return Err(if self.calling.is_answered { SessionError::NoPath } else { SessionError::NotCalled });
        }
        self.calling.next = turn.now + self.calling.interval();
        let calling = self.calling_message(turn.now);
        let is_first = self.calling.sqnums.is_empty();
        turn.signalling.send(|from, sqnum| {
            self.calling.sqnums.push(sqnum);
            calling.encode(from, sqnum)
        });
        if is_first {
            self.detect_network(turn);
        } else if self.calling.is_answered || self.candidates.has_owner() {
            // The server keeps to itself how the camera can be reached; perhaps the owner has said it.
            self.paths.add(turn.now, self.candidates.routes());
        }
        Ok(())
    }

    fn calling_message(&self, now: Instant) -> Calling {
        let (address, port) = match self.local {
            SocketAddr::V4(local) if now < self.calling.began + RELAY_ONLY_AFTER && !local.ip().is_unspecified() => {
                (*local.ip(), local.port())
            }
            _ => (Ipv4Addr::UNSPECIFIED, 0),
        };
        let control::Route { link_id, sender: caller, receiver: callee } = self.ids;
        Calling { link_id, caller, callee, port, address, mtp_key: self.mtp_key, lan: false }
    }

    /// Nobody waits for what comes of it.
    fn detect_network(&self, turn: &mut Turn<'_>) {
        if self.candidates.has_owner() && !self.local.ip().is_unspecified() {
            let detect = NetworkDetect::new(self.ids.receiver, self.ids.sender, self.local.ip());
            let nonce = turn.signalling.random().nonce();
            turn.signalling.send(|from, sqnum| detect.encode(from, sqnum, nonce));
        }
    }

    pub(super) fn on_ack(&mut self, turn: &mut Turn<'_>, ack: CallingAck, acked: Option<u32>) {
        if acked.is_some_and(|sqnum| !self.calling.sqnums.contains(&sqnum)) {
            turn.dropped.foreign += 1;
            return;
        }
        self.calling.is_answered = true;
        self.candidates.on_ack(ack.peer);
        // Relays are named right after it: until then nothing but passthrough would be beside the LAN.
        self.paths.add(turn.now, self.candidates.routes().into_iter().filter(|route| route.path <= Path::LanUdp));
    }

    pub(super) fn on_reply(&mut self, turn: &mut Turn<'_>, reply: MtpReply) {
        if reply.link_id != self.ids.link_id {
            turn.dropped.foreign += 1;
            return;
        }
        if !self.candidates.on_reply(reply) {
            return;
        }
        self.calling.is_answered = true;
        // A server that names other ways again and again does not keep a call open for ever.
        let latest = self.calling.began + CALLING_LIMIT + OPENING_LIMIT;
        self.calling.until = self.calling.until.max(turn.now + OPENING_LIMIT).min(latest);
        let control::Route { link_id, sender: caller, receiver: callee } = self.ids;
        turn.signalling.send(|from, _| MtpRequest { link_id, caller, callee }.encode(from));
        self.paths.add(turn.now, self.candidates.routes());
    }

    // Receiving.

    /// Over UDP, from anybody but the server: the camera, a relay, or someone who may prove to be the camera.
    pub(super) fn on_datagram(
        &mut self,
        turn: &mut Turn<'_>,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), SessionError> {
        let origin = self.paths.origin(Lane::MAIN, from);
        let is_mtp = datagram.first_chunk().is_some_and(|head| Mtp::frame_len(*head).is_some());
        match origin {
            Some(route) if is_mtp => return self.on_mtp(turn, route, datagram),
            None if is_mtp => return self.on_strange_mtp(turn, from, datagram),
            _ => {}
        }
        match (Frame::open(datagram, None), origin) {
            (Ok(frame), _) => return self.on_gutes(turn, from, origin, &frame),
            (Err(_), Some(_)) => turn.dropped.broken += 1,
            (Err(_), None) => turn.dropped.strangers += 1,
        }
        Ok(())
    }

    /// A message of a stream, or its end.
    pub(super) fn on_stream(
        &mut self,
        turn: &mut Turn<'_>,
        from: SocketAddr,
        message: &[u8],
    ) -> Result<(), SessionError> {
        match self.paths.origin(TCP, from) {
            None => turn.dropped.strangers += 1,
            Some(route) if message.is_empty() => self.paths.on_closed(turn.now, route),
            Some(route) => self.on_mtp(turn, route, message)?,
        }
        Ok(())
    }

    pub(super) fn on_passthrough(&mut self, turn: &mut Turn<'_>, data: &PassthroughData) -> Result<(), SessionError> {
        if data.tid != self.ids.receiver {
            turn.dropped.foreign += 1;
            return Ok(());
        }
        self.on_mtp(turn, Route { path: Path::Passthrough, at: self.server }, &data.mtp)
    }

    fn on_mtp(&mut self, turn: &mut Turn<'_>, route: Route, datagram: &[u8]) -> Result<(), SessionError> {
        let Ok((control, segments)) = Mtp::decode(datagram).and_then(|mtp| Control::split(mtp.payload)) else {
            turn.dropped.broken += 1;
            return Ok(());
        };
        if control.is_some_and(|control| !self.is_from_camera(control.route())) {
            turn.dropped.foreign += 1;
            return Ok(());
        }
        if let Some(Control::Meter(ids, meter)) = control {
            self.post(turn, route, true, &Control::ack(ids, meter).encode());
        }
        let is_heard = self.stream.on_segments(turn.now, segments, turn.dropped)?;
        if control.is_some() || is_heard {
            self.on_sign(turn, route, Sign::Mtp)?;
        }
        if self.stream.is_accepted() && self.paths.settle() {
            self.close_spare_streams();
        }
        Ok(())
    }

    /// From where nothing was expected. It is the camera's only if it names our call.
    fn on_strange_mtp(&mut self, turn: &mut Turn<'_>, from: SocketAddr, datagram: &[u8]) -> Result<(), SessionError> {
        let read = Mtp::decode(datagram).and_then(|mtp| Control::split(mtp.payload));
        let is_camera = read.is_ok_and(|(control, _)| control.is_some_and(|it| self.is_from_camera(it.route())));
        let Some(route) = is_camera.then(|| self.candidates.learn(from)).flatten() else {
            turn.dropped.strangers += 1;
            return Ok(());
        };
        self.paths.add(turn.now, [route]);
        self.on_mtp(turn, route, datagram)
    }

    fn is_from_camera(&self, ids: control::Route) -> bool {
        ids == self.ids.reversed()
    }

    /// Port status, and answers to detections.
    fn on_gutes(
        &mut self,
        turn: &mut Turn<'_>,
        from: SocketAddr,
        origin: Option<Route>,
        frame: &Frame,
    ) -> Result<(), SessionError> {
        if let (Kind::DetectReply, Some(route)) = (frame.kind, origin) {
            return self.on_port_sign(turn, route);
        }
        let Ok(status) = PortStatus::decode(frame) else {
            turn.dropped.strangers += 1;
            return Ok(());
        };
        if (status.link_id, status.tid) != (self.ids.link_id, self.ids.receiver) {
            turn.dropped.foreign += 1;
            return Ok(());
        }
        let Some(route) = origin.or_else(|| self.candidates.learn(from)) else {
            turn.dropped.strangers += 1;
            return Ok(());
        };
        self.paths.add(turn.now, [route]);
        if frame.kind == Kind::PortStatus {
            let reply = status.encode_reply(turn.signalling.identity());
            self.send(Lane::MAIN, from, reply.seal(None));
        }
        self.on_port_sign(turn, route)
    }

    /// A relay's answer says nothing of the camera behind it.
    fn on_port_sign(&mut self, turn: &mut Turn<'_>, route: Route) -> Result<(), SessionError> {
        if route.path == Path::LanUdp { self.on_sign(turn, route, Sign::PortStatus) } else { Ok(()) }
    }

    fn on_sign(&mut self, turn: &mut Turn<'_>, route: Route, sign: Sign) -> Result<(), SessionError> {
        let Some(path) = self.paths.on_sign(turn.now, route, sign) else { return Ok(()) };
        self.outputs.push_back(Output::Event(Event::Found { path }));
        if self.stream.is_accepted() {
            self.close_spare_streams();
        }
        if self.keepalives.is_none() {
            self.prepare_passthrough(turn);
        }
        let online = self.keepalives.as_ref().map_or(turn.now, |keepalives| keepalives.online);
        // The camera shall hear at once where we are.
        self.keepalives = Some(Keepalives { create: Some(turn.now), meter: turn.now, online });
        self.keep_up(turn);
        self.stream.on_way(turn.now)
    }

    /// An empty message closes a stream.
    fn close_spare_streams(&mut self) {
        for route in self.paths.spare_streams() {
            self.send(TCP, route.at, Vec::new());
        }
    }

    // Time.

    pub(super) fn on_timeout(&mut self, turn: &mut Turn<'_>) -> Result<(), SessionError> {
        self.call_again(turn)?;
        let probed = self.paths.on_timeout(turn.now);
        if !probed.is_empty() && !self.stream.is_accepted() {
            let status =
                self.port_status(if self.candidates.has_relays() { self.relay_kind() } else { PortKind::Probe });
            turn.signalling.send(|from, _| status.encode(from));
        }
        probed.into_iter().for_each(|route| self.probe(turn, route));
        self.keep_up(turn);
        self.stream.on_timeout(turn.now)
    }

    /// What goes out by itself once there has been a way.
    fn keep_up(&mut self, turn: &mut Turn<'_>) {
        let Some(keepalives) = &mut self.keepalives else { return };
        let due = keepalives.take_due(turn.now, self.stream.is_heard());
        if let Some(route) = self.paths.in_use() {
            if due.create {
                self.post(turn, route, true, &Control::Create(self.ids).encode());
            }
            if due.meter {
                self.meter(turn, route);
            }
        }
        if due.online {
            let status = self.port_status(PortKind::Online);
            turn.signalling.send(|from, _| status.encode(from));
        }
    }

    // Sending.

    /// Asks whether the camera can be reached by a route.
    fn probe(&mut self, turn: &mut Turn<'_>, route: Route) {
        match route.path {
            Path::LanTcp => {}
            Path::LanUdp => {
                self.ask_port(turn, route.at, PortKind::Probe);
                let detect = detect_request(turn.signalling.random());
                self.send(Lane::MAIN, route.at, detect.encode().seal(None));
                return;
            }
            Path::RelayTcp | Path::RelayUdp => {
                let registration = control::relay_registration(self.ids, self.time.ms(turn.now));
                self.send(route.lane(), route.at, registration);
                self.ask_port(turn, route.at, self.relay_kind());
            }
            Path::Passthrough => self.prepare_passthrough(turn),
        }
        self.meter(turn, route);
    }

    fn ask_port(&mut self, turn: &Turn<'_>, to: SocketAddr, kind: PortKind) {
        let question = self.port_status(kind).encode(turn.signalling.identity());
        self.send(Lane::MAIN, to, question.seal(None));
    }

    fn port_status(&self, kind: PortKind) -> PortStatus {
        let ports = if kind == PortKind::Probe { [0; 4] } else { self.candidates.relay_ports() };
        PortStatus { tid: self.ids.receiver, link_id: self.ids.link_id, kind, ports }
    }

    fn relay_kind(&self) -> PortKind {
        if self.paths.round() == RELAY_AGAIN_ROUND { PortKind::RelayAgain } else { PortKind::Relay }
    }

    fn prepare_passthrough(&self, turn: &mut Turn<'_>) {
        let control::Route { link_id, sender: access_id, receiver: tid } = self.ids;
        let control = PassthroughControl { tid, access_id, command: PassthroughControl::CREATE_KCP, link_id };
        turn.signalling.send(|from, sqnum| control.encode(from, sqnum));
    }

    fn meter(&mut self, turn: &mut Turn<'_>, route: Route) {
        self.meters = self.meters.wrapping_add(1).max(1);
        let meter = Meter::new(self.meters, self.time.ms(turn.now));
        self.post(turn, route, false, &Control::Meter(self.ids, meter).encode());
    }

    /// Sends an MTP payload by a route.
    fn post(&mut self, turn: &mut Turn<'_>, route: Route, urgent: bool, payload: &[u8]) {
        let to = (route.path == Path::RelayUdp).then_some(self.ids.receiver);
        let carrier = if route.lane() == TCP { Carrier::Stream } else { Carrier::Datagram };
        let mtp = Mtp { urgent, to, payload }.encode(carrier);
        if route.path != Path::Passthrough {
            return self.send(route.lane(), route.at, mtp);
        }
        self.passed = self.passed.wrapping_add(1);
        let control::Route { sender: access_id, receiver: tid, .. } = self.ids;
        let data = PassthroughData { tid, access_id, message_id: self.passed, mtp };
        turn.signalling.send(|from, sqnum| data.encode(from, sqnum));
    }

    fn send(&mut self, lane: Lane, to: SocketAddr, payload: Vec<u8>) {
        self.outputs.push_back(Output::Send { lane, to, payload });
    }

    /// Hands on what the stream has ready. KCP goes to the one address in use; what finds none, KCP repeats.
    pub(super) fn flush(&mut self, turn: &mut Turn<'_>) {
        while let Some(payload) = self.stream.poll_payload() {
            if let Some(route) = self.paths.in_use() {
                self.post(turn, route, false, &payload);
            }
        }
        while let Some(event) = self.stream.poll_event() {
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// The camera is told, twice: there will be no repetition.
    pub(super) fn close(&mut self, turn: &mut Turn<'_>) {
        self.stream.close(turn.now);
        let Some(route) = self.paths.in_use() else { return };
        while let Some(payload) = self.stream.poll_payload() {
            self.post(turn, route, false, &payload);
            self.post(turn, route, false, &payload);
        }
    }

    pub(super) fn poll(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let calling = (!self.is_taken()).then(|| self.calling.next.min(self.calling.until));
        let keepalives = self.keepalives.as_ref().map(Keepalives::deadline);
        let times = [calling, self.paths.deadline(), keepalives, self.stream.deadline()];
        times.into_iter().flatten().min()
    }
}
