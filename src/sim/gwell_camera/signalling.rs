//! The camera at its P2P server: login, heartbeats, and what the server passes on (see the parent module).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::settings::Settings;
use crate::proto::gwell::calling::{Calling, MtpReply};
use crate::proto::gwell::certify::{CertifyRandom, CertifyReply, CertifyRequest};
use crate::proto::gwell::gutes::{Frame, Identity, Kind, Mode};
use crate::proto::gwell::passthrough::{Inner, PassthroughControl, PassthroughData};
use crate::proto::gwell::port_status::Heartbeat;
use crate::proto::gwell::rc5::Rc5;
use crate::proto::gwell::token::AccessToken;
use crate::sim::dice::Dice;

/// From one CertifyReq to the next.
const CERTIFY_EVERY: Duration = Duration::from_secs(5);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(20);
/// A server that says nothing for so long has forgotten the camera.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(50);

/// With which command our virtual servers say so; the vendor's are not known to.
const CALL_OVER: u8 = 2;

/// What came of a frame.
pub(super) enum Told {
    LoggedIn,
    Refused {
        code: u16,
    },
    WakeUp,
    Called(Calling),
    /// Where the caller is, and what relays there are.
    Resources(MtpReply),
    /// A caller asks for KCP engines.
    CreateKcp {
        link_id: u32,
    },
    /// The caller has no session any more.
    CallOver {
        link_id: u32,
    },
    /// A whole MTP frame.
    Passed {
        mtp: Vec<u8>,
    },
}

pub(super) struct Signalling {
    token: AccessToken,
    sqnum: u32,
    standing: Standing,
    /// When the next CertifyReq or heartbeat is due.
    due: Instant,
    heard: Instant,
    messages: u32,
    outputs: VecDeque<Vec<u8>>,
}

enum Standing {
    Out,
    /// Until the reply, which names the session.
    Asked {
        key: Rc5,
    },
    In {
        key: Rc5,
        session: u64,
    },
}

impl Signalling {
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            token: settings.token.clone(),
            sqnum: 0,
            standing: Standing::Out,
            due: now,
            heard: now,
            messages: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Forgets the server, and begins anew.
    pub(super) fn restart(&mut self, now: Instant) {
        self.standing = Standing::Out;
        self.due = now;
        self.outputs.clear();
    }

    /// Takes a datagram of the server. What cannot be read is nothing.
    pub(super) fn on_datagram(&mut self, now: Instant, datagram: &[u8]) -> Option<Told> {
        let frame = self.open(datagram)?;
        self.heard = now;
        match frame.kind {
            // Acknowledgements are of the same kind as what they acknowledge.
            _ if frame.acked.is_some() => None,
            Kind::CertifyReply => self.on_reply(now, &frame),
            Kind::WakeUp => Some(Told::WakeUp),
            Kind::Calling => Calling::decode(&frame).ok().map(Told::Called),
            Kind::MtpReply => MtpReply::decode(&frame).ok().map(Told::Resources),
            Kind::Inner => match Inner::decode(&frame).ok()? {
                Inner::Control(PassthroughControl { command, link_id, .. }) => match command {
                    PassthroughControl::CREATE_KCP => Some(Told::CreateKcp { link_id }),
                    CALL_OVER => Some(Told::CallOver { link_id }),
                    _ => None,
                },
                Inner::Data(data) => Some(Told::Passed { mtp: data.mtp }),
                Inner::NetworkDetect(_) => None,
            },
            _ => None,
        }
    }

    /// Whoever is on the way can forge mode 1, so that only the reply to a CertifyReq may come in it.
    fn open(&self, datagram: &[u8]) -> Option<Frame> {
        let in_session = Frame::open_in(Mode::Session, datagram, self.standing.key()).ok();
        let reply = |frame: &Frame| frame.kind == Kind::CertifyReply;
        in_session.or_else(|| Frame::open_in(Mode::Header, datagram, None).ok().filter(reply))
    }

    /// Logs in, or shows that the camera is there, when that is due.
    pub(super) fn on_timeout(&mut self, now: Instant, unix_ms: u64, dice: &mut Dice) {
        if now < self.due {
            return;
        }
        if now >= self.heard + FORGOTTEN_AFTER {
            self.standing = Standing::Out;
        }
        match self.standing {
            Standing::In { .. } => self.beat(now),
            Standing::Out | Standing::Asked { .. } => self.certify(now, unix_ms, dice),
        }
    }

    /// Says at once that the camera is there.
    pub(super) fn beat(&mut self, now: Instant) {
        let Standing::In { key, .. } = &self.standing else { return };
        let key = key.clone();
        self.due = now + HEARTBEAT_EVERY;
        let beat = Heartbeat { access_id: self.token.access_id(), sqnum: self.count() };
        self.outputs.push_back(beat.encode().seal(Some(&key)));
    }

    /// Takes a call: tells the server where on its LAN the camera waits for the caller.
    pub(super) fn accept(&mut self, calling: &Calling, at: SocketAddr) {
        let address = match at.ip() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let taken = Calling { port: at.port(), address, mtp_key: [0; 8], ..calling.clone() };
        self.send(|from, sqnum| taken.encode(from, sqnum));
    }

    /// Has the server pass an MTP frame on to a caller.
    pub(super) fn pass(&mut self, caller: u64, mtp: Vec<u8>) {
        self.messages = self.messages.wrapping_add(1);
        let (tid, message_id) = (self.token.access_id(), self.messages);
        let data = PassthroughData { tid, access_id: caller, message_id, mtp };
        self.send(|from, sqnum| data.encode(from, sqnum));
    }

    pub(super) fn identity(&self) -> Identity {
        match self.standing {
            Standing::In { session, .. } => Identity::Session(session),
            Standing::Out | Standing::Asked { .. } => Identity::Terminal(self.token.access_id()),
        }
    }

    pub(super) fn poll(&mut self) -> Option<Vec<u8>> {
        self.outputs.pop_front()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.due
    }

    fn certify(&mut self, now: Instant, unix_ms: u64, dice: &mut Dice) {
        let random =
            CertifyRandom { session_key: dice.bytes(), nonce: dice.bytes(), flags: u16::from_le_bytes(dice.bytes()) };
        let sqnum = self.count();
        let request = CertifyRequest::new(&self.token, &random, sqnum, unix_ms);
        self.outputs.push_back(request.encode().seal(None));
        self.standing = Standing::Asked { key: random.session() };
        (self.due, self.heard) = (now + CERTIFY_EVERY, now);
    }

    /// The session's id, or why there is none. A reply that comes twice is answered twice.
    fn on_reply(&mut self, now: Instant, frame: &Frame) -> Option<Told> {
        let reply = CertifyReply::decode(frame).ok()?;
        if reply.code != CertifyReply::OK {
            self.standing = Standing::Out;
            self.due = now + CERTIFY_EVERY;
            return Some(Told::Refused { code: reply.code });
        }
        let is_new = matches!(self.standing, Standing::Asked { .. });
        if let Some(key) = self.standing.key().cloned() {
            self.standing = Standing::In { key, session: reply.session };
            self.outputs.push_back(CertifyReply::acknowledge(frame, self.identity()).seal(None));
        }
        if is_new {
            self.due = now + HEARTBEAT_EVERY;
        }
        is_new.then_some(Told::LoggedIn)
    }

    /// A frame in the session, if there is one.
    fn send(&mut self, frame: impl FnOnce(Identity, u32) -> Frame) {
        let Standing::In { key, .. } = &self.standing else { return };
        let key = key.clone();
        let frame = frame(self.identity(), self.count());
        self.outputs.push_back(frame.seal(Some(&key)));
    }

    fn count(&mut self) -> u32 {
        self.sqnum = self.sqnum.wrapping_add(1);
        self.sqnum
    }
}

impl Standing {
    fn key(&self) -> Option<&Rc5> {
        match self {
            Self::Out => None,
            Self::Asked { key } | Self::In { key, .. } => Some(key),
        }
    }
}
