//! What is said at the P2P port and to the list server: who is certified, and what terminals ask (§3, §4).

use std::net::SocketAddr;
use std::time::Instant;

use super::event::{Event, Who};
use super::link::LIST;
use super::quirk::Quirk;
use super::session::{ServerSession, v4};
use super::sessions::{Newcomer, Owner};
use super::settings::CameraAccount;
use crate::proto::Lane;
use crate::proto::gwell::certify::{CertifyAck, CertifyReply, CertifyRequest};
use crate::proto::gwell::devices::{DeviceList, InitInfo, Listed};
use crate::proto::gwell::directory::{DetectReply, DetectRequest, ListReply, ListRequest, Server};
use crate::proto::gwell::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode};
use crate::proto::gwell::passthrough::Inner;
use crate::proto::gwell::port_status::PortStatus;
use crate::proto::gwell::rc5::Rc5;
use crate::proto::gwell::subscribe::{SubscribeById, SubscribeByToken, SubscribeReply};
use crate::proto::gwell::token::AccessToken;

/// With which every MTP frame begins (§5), and no GUTES frame.
const MTP: u8 = 0xC0;
/// What the list server calls its P2P server, and those before it.
const SERVER_ID: u16 = 49;

/// Status words of the device list are not known; these two are made up.
const ONLINE: u16 = 1;
const OFFLINE: u16 = 0;

impl ServerSession {
    /// A datagram at the list server.
    pub(super) fn on_list(&mut self, from: SocketAddr, datagram: &[u8]) {
        let sealed = Frame::open_in(Mode::Header, datagram, None);
        let encrypted = sealed.is_ok();
        let frame = sealed.or_else(|_| Frame::of_plain(datagram));
        let Ok(request) = frame.and_then(|frame| ListRequest::decode(&frame)) else {
            self.unread += 1;
            return;
        };
        if self.has(Quirk::SilentList) || (self.has(Quirk::EncryptedListsOnly) && !encrypted) {
            return;
        }
        let known = self.settings.listed_before.iter().copied().chain([self.addresses.signalling]);
        let servers = known.zip(SERVER_ID..).map(|(at, id)| Server::new(id, *v4(at).ip(), at.port())).collect();
        self.send(LIST, from, ListReply { servers }.encode(request.id, request.sqnum).seal(None));
        self.tell(Event::ListAsked { from, encrypted });
    }

    /// A datagram at the P2P port.
    pub(super) fn on_signalling(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let [first, kind, ..] = *datagram else { return };
        if first == MTP {
            return self.on_mtp(from);
        }
        let read = match Kind::from_code(kind) {
            Kind::Detect => self.on_detect(from, datagram),
            Kind::Certify => self.on_certify(now, from, datagram),
            Kind::PortStatus => self.on_port_status_frame(now, from, datagram),
            _ => self.on_session_frame(now, from, datagram),
        };
        if read.is_none() {
            self.unread += 1;
        }
    }

    fn on_detect(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<()> {
        let request = DetectRequest::decode(&Frame::open(datagram, None).ok()?).ok()?;
        if !self.has(Quirk::SilentDetect) {
            let reply = DetectReply { id: request.id, request: request.sqnum };
            self.send(Lane::MAIN, from, reply.encode().seal(None));
            self.tell(Event::Detected { from });
        }
        Some(())
    }

    fn on_certify(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<()> {
        let frame = Frame::open(datagram, None).ok()?;
        let request = CertifyRequest::decode(&frame).ok()?;
        if self.has(Quirk::SilentCertify) {
            return Some(());
        }
        match self.examine(frame.id, &request) {
            Ok((owner, who, key)) => {
                // The retry variant says mode 1 and is not enciphered (§4.1).
                let raw = Frame::open_in(Mode::Clear, datagram, None).is_ok();
                self.admit(
                    now,
                    from,
                    &frame,
                    Newcomer { owner, who, address: from, proof: frame.checksum(), key },
                    raw,
                );
            }
            Err((code, why)) => {
                self.answer_certify(from, &frame, code, 0);
                self.tell(Event::Refused { from, code, why });
            }
        }
        Some(())
    }

    /// Whose CertifyReq this is, and the key it brings.
    fn examine(&self, id: u64, request: &CertifyRequest) -> Result<(Owner, Who, Rc5), (u16, &'static str)> {
        if let Some(code) = self.certify_code() {
            return Err((code, "it was told to refuse"));
        }
        let verify = |token: &AccessToken| request.verify(token).ok();
        if let Some(camera) = self.settings.cameras.iter().find(|camera| camera.tid() == id) {
            let key = verify(&camera.token).ok_or((CertifyReply::BAD_TOKEN, "the camera's token is another"))?;
            return Ok((Owner::Camera(id), Who::Camera(camera.name.clone()), key));
        }
        if self.has(Quirk::TokenRevoked) {
            return Err((CertifyReply::BAD_TOKEN, "tokens are revoked"));
        }
        let mut tokens = self.tokens.iter().filter(|token| token.access_id() == id).peekable();
        if tokens.peek().is_none() {
            return Err((CertifyReply::BAD_TOKEN, "nobody has this id"));
        }
        let key = tokens.find_map(verify).ok_or((CertifyReply::BAD_TOKEN, "the token is another"))?;
        Ok((Owner::Terminal(id), Who::Terminal(id), key))
    }

    fn admit(&mut self, now: Instant, from: SocketAddr, frame: &Frame, newcomer: Newcomer, raw: bool) {
        let who = newcomer.who.clone();
        // Zero is what terminals say that have none.
        let routing = u64::from_le_bytes(self.dice.bytes()).max(1);
        let admitted = self.sessions.admit(now, newcomer, routing);
        for number in admitted.gone {
            if let Some(gone) = self.sessions.remove(number) {
                self.forget(number);
                self.tell(Event::Dropped { session: number, who: gone.who, why: "another one took its place" });
            }
        }
        self.answer_certify(from, frame, 0, admitted.routing);
        let session = admitted.number;
        self.tell(Event::Certified { session, who, from, raw, renewed: admitted.renewed });
        self.call_again(session);
    }

    /// The ack 0x0C and the response 0x0D, back to back (§4.2).
    fn answer_certify(&mut self, to: SocketAddr, request: &Frame, code: u16, session: u64) {
        let from = Identity::Terminal(request.id);
        let ack = CertifyAck { code }.encode(request, from).seal(None);
        let response = CertifyReply { code, session }.encode(from, request.sqnum).seal(None);
        let mut answers = vec![ack, response];
        if self.has(Quirk::ResponseFirst) {
            answers.reverse();
        } else if self.has(Quirk::ResponseOnly) {
            answers.remove(0);
        } else if self.has(Quirk::AckOnly) {
            answers.truncate(1);
        }
        for answer in answers {
            self.send(Lane::MAIN, to, answer);
        }
    }

    /// 0xCA, which everybody could forge: the id, the address, and the link id must fit together.
    fn on_port_status_frame(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<()> {
        let frame = Frame::open(datagram, None).ok()?;
        let status = PortStatus::decode(&frame).ok()?;
        let session = self.calls.get(status.link_id).map(|call| call.session);
        let session = session.and_then(|number| self.sessions.get(number)).filter(|session| session.address == from)?;
        // A terminal that never got its session id says 0 (§4.2).
        let is_its = frame.id == session.id().id() || frame.id == 0 || session.was(frame.id);
        is_its.then_some(session.number).map(|number| self.on_port_status(now, number, &status))
    }

    fn on_session_frame(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<()> {
        let Some((number, frame)) = self.sessions.open(from, datagram) else {
            return self.on_network_detect(from, datagram);
        };
        let session = self.sessions.get_mut(number)?;
        (session.heard, session.seen) = (now, session.seen.max(frame.sqnum));
        let owner = session.owner;
        self.acknowledge(number, &frame);
        match owner {
            Owner::Camera(tid) => self.on_camera_frame(now, number, tid, &frame),
            Owner::Terminal(access_id) => self.on_terminal_frame(now, number, access_id, &frame),
        }
    }

    /// In mode 1: it has been seen, and nothing follows from it (§12).
    fn on_network_detect(&self, from: SocketAddr, datagram: &[u8]) -> Option<()> {
        let frame = Frame::open_in(Mode::Header, datagram, None).ok()?;
        let Inner::NetworkDetect(_) = Inner::decode(&frame).ok()? else { return None };
        self.sessions.at(from).any(|session| session.id().id() == frame.id || frame.id == 0).then_some(())
    }

    /// As the SDK does with frames that ask for it (§2.5).
    fn acknowledge(&mut self, number: u64, frame: &Frame) {
        const DELIVERY: u32 = 3 << 18;
        if self.has(Quirk::Acks) && frame.flags.has(DELIVERY) {
            self.post(number, |id, _| frame.acknowledgement(id, vec![0; 4]));
        }
    }

    fn on_terminal_frame(&mut self, now: Instant, number: u64, access_id: u64, frame: &Frame) -> Option<()> {
        match frame.kind {
            Kind::InitInfo => InitInfo::decode(frame).ok().map(|_| self.list_devices(number, access_id)),
            Kind::Subscribe => self.subscribe(number, access_id, frame),
            Kind::Calling => self.on_calling(now, number, access_id, frame),
            Kind::Heartbeat => {
                self.on_terminal_heartbeat(now, number, frame.sqnum);
                Some(())
            }
            Kind::Inner => self.on_inner_of_terminal(number, frame),
            // Nothing follows from it (§4.7).
            Kind::MtpRequest => Some(()),
            _ => None,
        }
    }

    fn list_devices(&mut self, number: u64, access_id: u64) {
        let has_twin = self.sessions.twins(number).next().is_some();
        if self.has(Quirk::SilentInitInfo) || (has_twin && self.has(Quirk::NoListForSecondSession)) {
            return;
        }
        let listed = |camera: &CameraAccount| Listed {
            tid: camera.tid(),
            status: if self.sessions.of_camera(camera.tid()).is_some() { ONLINE } else { OFFLINE },
            attribute: 0,
            name: camera.name.clone(),
        };
        let own = self.settings.cameras.iter().filter(|camera| camera.owner == access_id);
        let devices: Vec<Listed> = own.map(listed).take(DeviceList::MAX_DEVICES).collect();
        let away = devices.iter().filter(|device| device.status == OFFLINE).count() as u16;
        let offline = if self.has(Quirk::OfflineFlags) { away.max(1) } else { 0 };
        let count = devices.len();
        let compressed = if self.has(Quirk::Zlib) { Flags::COMPRESSED } else { 0 };
        let list = DeviceList { devices, offline };
        self.post_to_account(number, |id, sqnum| {
            let frame = list.encode(id, sqnum);
            Frame { flags: frame.flags.with(compressed), ..frame }
        });
        self.tell(Event::Listed { session: number, devices: count });
    }

    fn subscribe(&mut self, number: u64, access_id: u64, frame: &Frame) -> Option<()> {
        let by = match SubscribeById::decode(frame) {
            Ok(by_id) if by_id.access_id == access_id => "id",
            Ok(_) => return None,
            Err(_) => self.subscribes_by_token(access_id, frame)?,
        };
        if !self.has(Quirk::SilentSubscribe) {
            self.post(number, |id, _| SubscribeReply { request: frame.sqnum }.encode(id));
            self.tell(Event::Subscribed { session: number, by });
        }
        Some(())
    }

    fn subscribes_by_token(&self, access_id: u64, frame: &Frame) -> Option<&'static str> {
        let extra = SubscribeByToken::decode(frame).ok()?.extra;
        let is_own = |token: &AccessToken| token.access_id() == access_id && token.extra() == extra;
        self.tokens.iter().any(is_own).then_some("token")
    }

    /// Sends a terminal a frame. Where servers confuse the sessions of one account, another one gets it instead, or all
    /// of them do (§11).
    pub(super) fn post_to_account(&mut self, number: u64, make: impl Fn(Identity, u32) -> Frame) {
        let Some(began) = self.sessions.get(number).map(|session| session.began) else { return };
        let close = self.settings.limits.min_stagger;
        let apart = |other: Instant| began.max(other).saturating_duration_since(began.min(other));
        let mixed_up = self.sessions.twins(number).find(|twin| apart(twin.began) < close);
        let mut receivers = vec![mixed_up.map_or(number, |twin| twin.number)];
        if self.has(Quirk::CrossSession) {
            receivers.extend(self.sessions.twins(number).map(|twin| twin.number));
        }
        for to in receivers {
            self.post(to, &make);
        }
    }
}

/// Of frames whose receiver need not confirm them.
pub(super) const FORGOTTEN: Flags = Flags::new(Mode::Session, Delivery::Forgotten);
