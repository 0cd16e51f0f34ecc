//! A P2P server, its relays and a camera, by hand from codecs: they do what a test has told them to and note what they
//! hear. [`gwell_world`](super::gwell_world) has the network between them and a client session.

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use doorstep::proto::Lane;
use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::av::Muxer;
use doorstep::proto::gwell::calling::{Calling, CallingAck, MtpReply, Relay};
use doorstep::proto::gwell::certify::{CertifyAck, CertifyReply, CertifyRequest};
use doorstep::proto::gwell::control::{self, Control, Meter};
use doorstep::proto::gwell::devices::{DeviceList, Listed};
use doorstep::proto::gwell::directory::{DetectReply, DetectRequest, ListReply, ListRequest, Server};
use doorstep::proto::gwell::gutes::{Frame, Identity, Kind, Mode};
use doorstep::proto::gwell::kcp::{self, Arq, Kcp, Windows};
use doorstep::proto::gwell::message::Message;
use doorstep::proto::gwell::mtp::{Carrier, Mtp};
use doorstep::proto::gwell::passthrough::{Inner, PassthroughData};
use doorstep::proto::gwell::port_status::PortStatus;
use doorstep::proto::gwell::rc5::Rc5;
use doorstep::proto::gwell::session::Path;
use doorstep::proto::gwell::stream_control::{Action, StreamControl};
use doorstep::proto::gwell::subscribe::SubscribeReply;
use doorstep::proto::gwell::token::AccessToken;

pub(crate) const NAME: &str = "GW_BE1_7C78B2000001";
pub(crate) const TID: u64 = 0x0001_0002_0003_0004;
pub(crate) const ACCESS_ID: u64 = 0x8000_0000_0000_0007;
pub(crate) const ROUTING: u64 = 0x0A0B_0C0D;
pub(crate) const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 2), 40_000);
pub(crate) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(3, 13, 212, 24), 28_800);
pub(crate) const SECOND_SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(3, 13, 212, 25), 28_800);
pub(crate) const LIST_SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(34, 215, 36, 59), 51_701);
pub(crate) const CAMERA: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 9), 41_000);
pub(crate) const TCP_RELAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(52, 1, 1, 1), 443);
pub(crate) const UDP_RELAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(52, 1, 1, 2), 500);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
const PICTURE_INTERVAL: Duration = Duration::from_millis(66);

pub(crate) const EVERY_PATH: [Path; 5] =
    [Path::LanTcp, Path::LanUdp, Path::RelayTcp, Path::RelayUdp, Path::Passthrough];

pub(crate) fn token(last: u8) -> AccessToken {
    let mut bytes = [0x5A; AccessToken::LEN];
    bytes[63] = last;
    AccessToken::of_parts(ACCESS_ID, bytes, vec![9; AccessToken::ENTRY_LEN])
}

/// How the server answers a CertifyReq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certify {
    AckFirst,
    ResponseFirst,
    ResponseOnly,
    AckOnly,
    Code(u16),
    /// Only requests whose cipher is left out.
    Raw,
    Silent,
}

/// How the camera answers INITREQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Accept,
    Reject(u32),
    Silent,
}

/// Server, relays and camera.
pub(crate) struct Hand {
    pub(crate) server: SocketAddrV4,
    pub(crate) tokens: Vec<AccessToken>,
    pub(crate) certify: Certify,
    /// `None`: the list is left out.
    pub(crate) devices: Option<Vec<Listed>>,
    pub(crate) answers_calls: bool,
    /// Where the server says that the camera is on its LAN.
    pub(crate) lan: SocketAddrV4,
    pub(crate) relays: bool,
    /// The paths on which the camera speaks MTP.
    pub(crate) alive: BTreeSet<Path>,
    /// Whether port status is answered over the LAN.
    pub(crate) tells_ports: bool,
    /// From another address than the one that was named.
    pub(crate) camera: SocketAddrV4,
    /// Whether a LAN stream that cannot be opened is refused, or just never stands.
    pub(crate) refuses_streams: bool,
    pub(crate) answer: Answer,
    pub(crate) sends_started: bool,
    pub(crate) sends_pictures: bool,
    pub(crate) picture_len: usize,
    pub(crate) routing: u64,
    pub(crate) key: Option<Rc5>,
    /// Everything that the server could read, with its kind.
    pub(crate) heard: Vec<Frame>,
    pub(crate) callings: Vec<Calling>,
    pub(crate) kcp: Option<Conversations>,
    pub(crate) messages: Vec<Message>,
    pub(crate) meters: u32,
    pub(crate) meter_acks: u32,
    pub(crate) way: Option<Path>,
    next_picture: Option<Instant>,
    pictures: u64,
    pub(super) outgoing: VecDeque<Packet>,
    unix_ms: u64,
    start: Instant,
}

/// The camera's side of a call.
pub(crate) struct Conversations {
    pub(crate) ids: control::Route,
    pub(crate) data: Kcp,
    pub(crate) ctrl: Kcp,
    key: Rc5,
}

/// A datagram, or a message of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) lane: Lane,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    /// The KCP segments in it, if it is MTP, over whatever lane.
    pub(crate) fn segments(&self) -> Vec<u8> {
        let mtp = Mtp::decode(&self.payload).ok().and_then(|mtp| Control::split(mtp.payload).ok());
        mtp.map(|(_, segments)| segments.to_vec()).unwrap_or_default()
    }

    pub(crate) fn control(&self) -> Option<Control> {
        Control::split(Mtp::decode(&self.payload).ok()?.payload).ok()?.0
    }

    pub(crate) fn gutes(&self, key: Option<&Rc5>) -> Option<Frame> {
        Frame::open(&self.payload, key).ok()
    }
}

impl Hand {
    pub(crate) fn new(start: Instant, unix_ms: u64) -> Self {
        Self {
            server: SERVER,
            tokens: vec![token(1)],
            certify: Certify::AckFirst,
            devices: Some(vec![
                Listed { tid: 99, status: 0, attribute: 0, name: "GW_OTHER".into() },
                Listed { tid: TID, status: 1, attribute: 0, name: NAME.into() },
            ]),
            answers_calls: true,
            lan: CAMERA,
            relays: true,
            alive: EVERY_PATH.into(),
            tells_ports: true,
            camera: CAMERA,
            refuses_streams: true,
            answer: Answer::Accept,
            sends_started: true,
            sends_pictures: true,
            picture_len: 3_000,
            routing: ROUTING,
            key: None,
            heard: Vec::new(),
            callings: Vec::new(),
            kcp: None,
            messages: Vec::new(),
            meters: 0,
            meter_acks: 0,
            way: None,
            next_picture: None,
            pictures: 0,
            outgoing: VecDeque::new(),
            unix_ms,
            start,
        }
    }

    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.heard.iter().map(|frame| frame.kind).collect()
    }

    fn send(&mut self, lane: Lane, from: SocketAddrV4, payload: Vec<u8>) {
        self.outgoing.push_back(Packet { lane, from: from.into(), to: CLIENT.into(), payload });
    }

    pub(crate) fn send_from_server(&mut self, frame: &Frame) {
        let payload = frame.seal(self.key.as_ref());
        self.send(Lane::MAIN, self.server, payload);
    }

    fn now_ms(&self, now: Instant) -> u32 {
        (self.unix_ms + (now - self.start).as_millis() as u64) as u32
    }

    pub(crate) fn on_packet(&mut self, now: Instant, packet: &Packet) {
        let SocketAddr::V4(to) = packet.to else { return };
        match packet.lane {
            TCP if to == TCP_RELAY => self.on_mtp(now, Path::RelayTcp, packet),
            TCP if packet.payload.is_empty() => {}
            TCP if to == self.camera && self.alive.contains(&Path::LanTcp) => self.on_mtp(now, Path::LanTcp, packet),
            TCP if self.refuses_streams => self.send(TCP, to, Vec::new()),
            TCP => {}
            _ if to == LIST_SERVER => self.on_list_request(packet),
            _ if to == self.server => self.on_server(now, packet),
            _ if to == UDP_RELAY => self.on_mtp(now, Path::RelayUdp, packet),
            _ if *to.ip() == *self.camera.ip() && to.port() == self.camera.port() => self.on_camera(now, packet),
            _ => {}
        }
    }

    // The servers.

    fn on_list_request(&mut self, packet: &Packet) {
        let Some(frame) = packet.gutes(None) else { return };
        if let Ok(request) = ListRequest::decode(&frame) {
            let servers = vec![Server::new(1, *self.server.ip(), self.server.port())];
            let reply = ListReply { servers }.encode(request.id, request.sqnum);
            self.send(Lane::MAIN, LIST_SERVER, reply.seal(None));
        }
    }

    fn on_server(&mut self, now: Instant, packet: &Packet) {
        let Some(frame) = packet.gutes(self.key.as_ref()) else { return };
        self.heard.push(frame.clone());
        match frame.kind {
            Kind::Certify => self.on_certify(&frame, &packet.payload),
            Kind::Detect => {
                let request = DetectRequest::decode(&frame).unwrap();
                self.send_from_server(&DetectReply { id: 1, request: request.sqnum }.encode());
            }
            Kind::InitInfo => {
                if let Some(devices) = self.devices.clone() {
                    let list = DeviceList { devices, offline: 1 }.encode(Identity::Session(self.routing), 1);
                    self.send_from_server(&list);
                }
            }
            Kind::Subscribe => {
                let reply = SubscribeReply { request: frame.sqnum }.encode(Identity::Session(self.routing));
                self.send_from_server(&reply);
            }
            Kind::Calling => self.on_calling(&frame),
            Kind::Inner => {
                if let Ok(Inner::Data(data)) = Inner::decode(&frame) {
                    let packet = Packet { payload: data.mtp, ..packet.clone() };
                    self.on_mtp(now, Path::Passthrough, &packet);
                }
            }
            _ => {}
        }
    }

    fn on_certify(&mut self, frame: &Frame, datagram: &[u8]) {
        let request = CertifyRequest::decode(frame).expect("a CertifyReq that can be read");
        let is_raw = frame.seal_in(Mode::Clear, None) == datagram;
        let from = Identity::Terminal(ACCESS_ID);
        let ack = CertifyAck { code: 0 }.encode(frame, from);
        let reply = |code| CertifyReply { code, session: self.routing }.encode(from, frame.sqnum);
        let verified = self.tokens.iter().find_map(|token| request.verify(token).ok());
        let answers = match self.certify {
            Certify::Silent => vec![],
            Certify::Raw if !is_raw => vec![],
            Certify::Code(code) => vec![ack, reply(code)],
            Certify::AckOnly => vec![ack],
            _ if verified.is_none() => vec![ack, reply(CertifyReply::BAD_TOKEN)],
            Certify::AckFirst | Certify::Raw => vec![ack, reply(0)],
            Certify::ResponseFirst => vec![reply(0), ack],
            Certify::ResponseOnly => vec![reply(0)],
        };
        if answers.iter().any(|frame| CertifyReply::decode(frame).is_ok_and(|reply| reply.code == 0)) {
            self.key = verified;
        }
        answers.iter().for_each(|frame| self.send_from_server(frame));
    }

    fn on_calling(&mut self, frame: &Frame) {
        let calling = Calling::decode(frame).expect("a CALLING that can be read");
        self.callings.push(calling.clone());
        if !self.answers_calls {
            return;
        }
        let from = Identity::Session(self.routing);
        self.send_from_server(&CallingAck { peer: self.lan }.encode(frame, from));
        self.send_from_server(&self.reply(calling.link_id).encode(from, 1));
    }

    pub(crate) fn reply(&self, link_id: u32) -> MtpReply {
        let outer = SocketAddrV4::new(Ipv4Addr::new(93, 184, 216, 34), 50_000);
        let relay = |tcp, address| Relay { session: 5, tcp, address };
        let relays = if self.relays { vec![relay(true, TCP_RELAY), relay(false, UDP_RELAY)] } else { vec![] };
        MtpReply { link_id, outer, lan: self.lan, session_port: self.lan.port(), relays }
    }

    // The camera.

    fn on_camera(&mut self, now: Instant, packet: &Packet) {
        if Mtp::decode(&packet.payload).is_ok() {
            return self.on_mtp(now, Path::LanUdp, packet);
        }
        let Some(frame) = packet.gutes(None) else { return };
        if let (Kind::PortStatus, Ok(status), true) = (frame.kind, PortStatus::decode(&frame), self.tells_ports) {
            let reply = status.encode_reply(Identity::Terminal(TID)).seal(None);
            self.send(Lane::MAIN, self.camera, reply);
        }
    }

    fn on_mtp(&mut self, now: Instant, path: Path, packet: &Packet) {
        let Ok(mtp) = Mtp::decode(&packet.payload) else { return };
        let (control, segments) = Control::split(mtp.payload).expect("a control message that can be read");
        let is_registration = matches!(control, Some(Control::Meter(_, meter)) if meter.round() == 0);
        if is_registration || !self.alive.contains(&path) || self.callings.is_empty() {
            return;
        }
        if path == Path::RelayUdp {
            assert_eq!(mtp.to, Some(TID), "a frame at the UDP relay that names no destination");
        }
        if let Some(control) = control {
            self.on_control(path, control);
        }
        let Some(kcp) = &mut self.kcp else { return };
        if segments.is_empty() {
            return;
        }
        self.way = Some(path);
        for (id, run) in kcp::by_conversation(segments) {
            let engine = if id == kcp::conversations(kcp.ids.link_id).data { &mut kcp.data } else { &mut kcp.ctrl };
            engine.input(run).expect("segments that can be");
        }
        self.read_messages(now);
        self.update(now);
    }

    fn on_control(&mut self, path: Path, control: Control) {
        let Some(calling) = self.callings.last() else { return };
        let ids = control.route();
        assert_eq!((ids.sender, ids.receiver), (ACCESS_ID, TID));
        if ids.link_id != calling.link_id {
            return;
        }
        let key = Rc5::new(&calling.mtp_key);
        match control {
            Control::Create(_) => {
                let conversations = kcp::conversations(ids.link_id);
                self.kcp.get_or_insert_with(|| Conversations {
                    ids: ids.reversed(),
                    // The window of a camera is not known; this one is not what holds it back.
                    data: Kcp::new(conversations.data, Windows { send: 1_000, receive: 128 }),
                    ctrl: Kcp::new(conversations.ctrl, Windows::CTRL),
                    key,
                });
            }
            Control::Meter(ids, meter) => {
                self.meters += 1;
                self.post(path, &Control::ack(ids, meter).encode());
            }
            Control::MeterAck(..) => self.meter_acks += 1,
            Control::Other { .. } => {}
        }
    }

    /// The camera asks for a meter of its own.
    pub(crate) fn send_meter(&mut self, path: Path) {
        let ids = self.kcp.as_ref().expect("a call").ids;
        self.post(path, &Control::Meter(ids, Meter::new(1, 2)).encode());
    }

    /// Sends an MTP payload to the client.
    pub(crate) fn post(&mut self, path: Path, payload: &[u8]) {
        let mtp = |to, carrier| Mtp { urgent: false, to, payload }.encode(carrier);
        match path {
            Path::LanTcp => self.send(TCP, self.camera, mtp(None, Carrier::Stream)),
            Path::RelayTcp => self.send(TCP, TCP_RELAY, mtp(None, Carrier::Stream)),
            Path::LanUdp => self.send(Lane::MAIN, self.camera, mtp(None, Carrier::Datagram)),
            Path::RelayUdp => self.send(Lane::MAIN, UDP_RELAY, mtp(Some(ACCESS_ID), Carrier::Datagram)),
            Path::Passthrough => {
                let mtp = mtp(None, Carrier::Datagram);
                let data = PassthroughData { tid: TID, access_id: ACCESS_ID, message_id: 1, mtp };
                self.send_from_server(&data.encode(Identity::Session(self.routing), 1));
            }
        }
    }

    fn read_messages(&mut self, now: Instant) {
        loop {
            let Some(kcp) = &mut self.kcp else { return };
            let Some(message) = kcp.ctrl.recv().or_else(|| kcp.data.recv()) else { return };
            let message = Message::decode(&message, &kcp.key).expect("a message that can be read");
            self.on_message(now, &message);
            self.messages.push(message);
        }
    }

    fn on_message(&mut self, now: Instant, message: &Message) {
        match message {
            Message::Control(control) => {
                assert_ne!(control.stream_id, 0, "no picture comes for stream 0");
                let is_first = !self.messages.contains(message);
                match (control.action, self.answer) {
                    (Action::InitReq, Answer::Accept) if is_first => {
                        self.say(true, Action::Accept, control.stream_id, 0)
                    }
                    (Action::InitReq, Answer::Reject(reason)) if is_first => {
                        self.say(true, Action::Reject, control.stream_id, reason);
                    }
                    (Action::Start, _) if is_first && self.sends_started => {
                        self.say(false, Action::Start, control.stream_id, 0);
                    }
                    _ => {}
                }
            }
            Message::Av(plain) => {
                assert_eq!(plain.len(), 28, "what a viewer says of its own media");
                self.next_picture = self.next_picture.or(Some(now));
            }
            Message::Command(_) => {}
        }
    }

    pub(crate) fn stream_id(&self) -> u32 {
        let id = |message: &Message| match message {
            Message::Control(control) => Some(control.stream_id),
            _ => None,
        };
        self.messages.iter().find_map(id).expect("a stream that was asked for")
    }

    pub(crate) fn say(&mut self, on_ctrl: bool, action: Action, stream_id: u32, reason: u32) {
        let kcp = self.kcp.as_mut().expect("a call");
        let message = Message::Control(StreamControl { reason, ..StreamControl::of(action, stream_id) });
        let engine = if on_ctrl { &mut kcp.ctrl } else { &mut kcp.data };
        engine.send(&message.encode(&kcp.key)).unwrap();
    }

    pub(crate) fn actions(&self) -> Vec<Action> {
        let action = |message: &Message| match message {
            Message::Control(control) => Some(control.action),
            _ => None,
        };
        self.messages.iter().filter_map(action).collect()
    }

    fn picture(&self) -> Vec<u8> {
        let kind = if self.pictures.is_multiple_of(15) { 0x65 } else { 0x41 };
        let mut picture = vec![0, 0, 0, 1, kind];
        picture.extend(self.pictures.to_le_bytes().map(|byte| byte | 0x80));
        picture.resize(self.picture_len, 0xAB);
        picture
    }

    pub(crate) fn send_picture(&mut self) {
        let picture = Muxer.video(self.pictures * 66_000, &self.picture());
        self.pictures += 1;
        self.send_av(picture);
    }

    pub(crate) fn send_sound(&mut self) {
        self.send_av(Muxer.audio(self.pictures * 66_000, &[0x7F; 320]));
    }

    fn send_av(&mut self, payloads: Vec<Vec<u8>>) {
        let kcp = self.kcp.as_mut().expect("a call");
        for payload in payloads {
            let message = Message::Av(payload).encode(&kcp.key);
            // What a camera cannot send it drops.
            let _ = kcp.data.send(&message);
        }
    }

    pub(super) fn update(&mut self, now: Instant) {
        let now_ms = self.now_ms(now);
        let Some(kcp) = &mut self.kcp else { return };
        let mut payloads = Vec::new();
        for engine in [&mut kcp.ctrl, &mut kcp.data] {
            engine.update(now_ms);
            payloads.extend(std::iter::from_fn(|| engine.poll()));
        }
        let Some(way) = self.way.filter(|way| self.alive.contains(way)) else { return };
        payloads.iter().for_each(|payload| self.post(way, payload));
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if self.next_picture.is_some_and(|next| now >= next) {
            self.next_picture = Some(now + PICTURE_INTERVAL);
            if self.sends_pictures {
                self.send_picture();
            }
        }
        self.update(now);
    }

    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let now_ms = self.now_ms(now);
        let due = |engine: &Kcp| now + engine.due_in(now_ms).max(Duration::from_millis(1));
        let kcp = self.kcp.as_ref().map(|kcp| due(&kcp.data).min(due(&kcp.ctrl)));
        kcp.into_iter().chain(self.next_picture).min()
    }
}

/// A frame as one of the server's, of any kind, that anybody can make.
pub(crate) fn forged_certify_reply(code: u16) -> Vec<u8> {
    let reply = CertifyReply { code, session: 666 }.encode(Identity::Terminal(ACCESS_ID), 77);
    reply.seal(None)
}
