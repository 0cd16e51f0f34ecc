//! A terminal and a camera by hand, at a virtual P2P server without sockets whose time stands until it is moved.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use doorstep::clock;
use doorstep::proto::gwell::calling::Calling;
use doorstep::proto::gwell::certify::{CertifyRandom, CertifyReply, CertifyRequest};
use doorstep::proto::gwell::control::Route;
use doorstep::proto::gwell::devices::{DeviceList, InitInfo};
use doorstep::proto::gwell::gutes::{Frame, Identity, Kind, Mode, Proto};
use doorstep::proto::gwell::port_status::{Heartbeat, PortKind, PortStatus};
use doorstep::proto::gwell::rc5::Rc5;
use doorstep::proto::gwell::token::AccessToken;
use doorstep::proto::{Lane, Output, Session as _};
use doorstep::sim::dice::Dice;
use doorstep::sim::gwell_server::{Addresses, Event, Quirk, ServerCommand, ServerSession, Settings, Side};

/// A server, and what it sent to whom.
pub(crate) struct Desk {
    pub(crate) server: ServerSession,
    pub(crate) settings: Settings,
    pub(crate) addresses: Addresses,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
    sent: HashMap<(Lane, SocketAddr), VecDeque<Vec<u8>>>,
}

pub(crate) fn at(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 168, 7, host], port))
}

impl Desk {
    pub(crate) fn new(settings: Settings) -> Self {
        let addresses = Addresses {
            signalling: at(1, 28_800),
            list: at(1, 51_701),
            udp_relay: at(1, 6_000),
            tcp_relay: at(1, 6_000),
        };
        let now = clock::now().into_std();
        let server = ServerSession::new(settings.clone(), addresses, 1, now);
        Self { server, settings, addresses, now, events: Vec::new(), sent: HashMap::new() }
    }

    /// With one camera and these quirks.
    pub(crate) fn odd(quirks: &[Quirk]) -> Self {
        Self::new(Settings { quirks: quirks.to_vec(), ..Settings::generate(1) })
    }

    pub(crate) fn deliver(&mut self, lane: Lane, from: SocketAddr, datagram: &[u8]) {
        self.server.on_datagram(self.now, lane, from, datagram).unwrap();
        self.collect();
    }

    /// Lets time pass, in the steps that the server asks for.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.server.deadline().filter(|due| *due <= end) {
            assert!(due >= self.now, "the deadline lies in the past");
            self.now = due;
            self.server.on_timeout(due).unwrap();
            self.collect();
            assert!(self.server.deadline().is_none_or(|next| next > due), "the deadline does not move");
        }
        self.now = end;
    }

    pub(crate) fn obey(&mut self, command: ServerCommand) {
        self.server.on_command(self.now, command).unwrap();
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.server.poll() {
            match output {
                Output::Event(event) => self.events.push(event),
                Output::Send { lane, to, payload } => self.sent.entry((lane, to)).or_default().push_back(payload),
            }
        }
    }

    /// The next datagram that was sent there.
    pub(crate) fn take(&mut self, lane: Lane, to: SocketAddr) -> Option<Vec<u8>> {
        self.sent.get_mut(&(lane, to))?.pop_front()
    }

    /// Everything else that was sent is forgotten.
    pub(crate) fn clear(&mut self) {
        self.sent.clear();
        self.events.clear();
    }

    /// Why sessions were dropped.
    pub(crate) fn drops(&self) -> Vec<&'static str> {
        let why = |event: &Event| if let Event::Dropped { why, .. } = event { Some(*why) } else { None };
        self.events.iter().filter_map(why).collect()
    }

    pub(crate) fn complaints(&self) -> Vec<&'static str> {
        let why = |event: &Event| if let Event::Complaint { why, .. } = event { Some(*why) } else { None };
        self.events.iter().filter_map(why).collect()
    }

    /// A terminal of the first account, certified at this address.
    pub(crate) fn terminal(&mut self, address: SocketAddr) -> Hand {
        let mut hand = Hand::new(self.settings.terminals[0].clone(), address);
        hand.log_in(self);
        hand
    }

    /// A camera of the settings, likewise.
    pub(crate) fn camera(&mut self, which: usize, address: SocketAddr) -> Hand {
        let mut hand = Hand::new(self.settings.cameras[which].token.clone(), address);
        hand.log_in(self);
        hand
    }
}

/// Somebody with a token.
pub(crate) struct Hand {
    pub(crate) token: AccessToken,
    pub(crate) address: SocketAddr,
    pub(crate) key: Rc5,
    pub(crate) routing: u64,
    sqnum: u32,
    dice: Dice,
}

impl Hand {
    pub(crate) fn new(token: AccessToken, address: SocketAddr) -> Self {
        let seed = u64::from(address.port()) + token.access_id();
        Self { token, address, key: Rc5::new(&[0]), routing: 0, sqnum: 0, dice: Dice::new(seed) }
    }

    pub(crate) fn access_id(&self) -> u64 {
        self.token.access_id()
    }

    /// By access id.
    pub(crate) fn as_account(&self) -> Identity {
        Identity::Terminal(self.token.access_id())
    }

    /// By session id.
    pub(crate) fn as_session(&self) -> Identity {
        Identity::Session(self.routing)
    }

    pub(crate) fn next_sqnum(&mut self) -> u32 {
        self.sqnum += 1;
        self.sqnum
    }

    /// A CertifyReq, whose key is this hand's from now on.
    pub(crate) fn certify_request(&mut self) -> Frame {
        let random = CertifyRandom {
            session_key: self.dice.bytes(),
            nonce: self.dice.bytes(),
            flags: u16::from_le_bytes(self.dice.bytes()),
        };
        self.key = random.session();
        let sqnum = self.next_sqnum();
        CertifyRequest::new(&self.token, &random, sqnum, 1_700_000_000_000).encode()
    }

    /// What the server answered to a CertifyReq: its kinds, and the last reply.
    pub(crate) fn certified(&self, desk: &mut Desk) -> (Vec<Kind>, Option<CertifyReply>) {
        let frames: Vec<Frame> = self.received(desk);
        let reply = frames.iter().filter_map(|frame| CertifyReply::decode(frame).ok()).next_back();
        (frames.iter().map(|frame| frame.kind).collect(), reply)
    }

    pub(crate) fn log_in(&mut self, desk: &mut Desk) {
        let request = self.certify_request();
        desk.deliver(Lane::MAIN, self.address, &request.seal(None));
        let frames = self.received(desk);
        let reply = frames.iter().find_map(|frame| CertifyReply::decode(frame).ok()).expect("a CertifyResp");
        assert_eq!(reply.code, CertifyReply::OK, "{:?}", desk.events);
        self.routing = reply.session;
        for frame in frames.iter().filter(|frame| frame.flags.mode() == Some(Mode::Session)) {
            assert_eq!((frame.proto, frame.id), (Proto::Session, self.routing), "{frame:?}");
        }
    }

    pub(crate) fn send(&self, desk: &mut Desk, frame: &Frame) {
        desk.deliver(Lane::MAIN, self.address, &frame.seal(Some(&self.key)));
    }

    /// All that the server has sent to this hand and that it can read.
    pub(crate) fn received(&self, desk: &mut Desk) -> Vec<Frame> {
        let datagrams = std::iter::from_fn(|| desk.take(Lane::MAIN, self.address));
        let frames = datagrams.map(|datagram| Frame::open(&datagram, Some(&self.key)).expect("a frame for this hand"));
        frames.collect()
    }

    pub(crate) fn received_kinds(&self, desk: &mut Desk) -> Vec<Kind> {
        self.received(desk).iter().map(|frame| frame.kind).collect()
    }

    pub(crate) fn beat(&mut self, desk: &mut Desk) {
        let beat = Heartbeat { access_id: self.access_id(), sqnum: self.next_sqnum() };
        self.send(desk, &beat.encode());
    }

    /// 0xCA to the server.
    pub(crate) fn tell_ports(&self, desk: &mut Desk, call: &Calling, kind: PortKind) {
        let status = PortStatus { tid: call.callee, link_id: call.link_id, kind, ports: [0; 4] };
        desk.deliver(Lane::MAIN, self.address, &status.encode(self.as_session()).seal(None));
    }

    pub(crate) fn calling(&self, link_id: u32, callee: u64) -> Calling {
        let SocketAddr::V4(address) = self.address else { panic!("hands have IPv4") };
        let (caller, mtp_key) = (self.access_id(), [7; 8]);
        Calling { link_id, caller, callee, port: address.port(), address: *address.ip(), mtp_key, lan: false }
    }

    /// CALLING by session id.
    pub(crate) fn call(&mut self, desk: &mut Desk, calling: &Calling) {
        let sqnum = self.next_sqnum();
        self.send(desk, &calling.encode(self.as_session(), sqnum));
    }

    /// A camera's answer, from this address on its LAN.
    pub(crate) fn answer(&mut self, desk: &mut Desk, calling: &Calling, address: Ipv4Addr, port: u16) {
        let answer = Calling { address, port, mtp_key: [0; 8], ..calling.clone() };
        self.call(desk, &answer);
    }
}

pub(crate) const LINK: u32 = 0x9ABC_DE11;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn camera_lan() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 168, 7, 9), 32_761)
}

/// A terminal and a camera between whom a call stands.
pub(crate) fn in_a_call(desk: &mut Desk) -> (Hand, Hand, Calling) {
    let mut camera = desk.camera(0, at(9, 5_000));
    let mut terminal = desk.terminal(at(2, 4_000));
    let calling = terminal.calling(LINK, camera.access_id());
    terminal.call(desk, &calling);
    camera.answer(desk, &calling, *camera_lan().ip(), camera_lan().port());
    assert!(desk.events.iter().any(|event| matches!(event, Event::Answered { link: LINK, .. })), "{:?}", desk.events);
    desk.clear();
    (terminal, camera, calling)
}

pub(crate) fn list_of(terminal: &mut Hand, desk: &mut Desk) -> Option<DeviceList> {
    let info = InitInfo { access_id: terminal.access_id(), sqnum: terminal.next_sqnum() };
    terminal.send(desk, &info.encode());
    terminal.received(desk).iter().find_map(|frame| DeviceList::decode(frame).ok())
}

/// From `sender` to `receiver`, as relays see it.
pub(crate) fn route(calling: &Calling, from: Side) -> Route {
    let (sender, receiver) = match from {
        Side::Caller => (calling.caller, calling.callee),
        Side::Camera => (calling.callee, calling.caller),
    };
    Route { link_id: calling.link_id, sender, receiver }
}

/// A KCP segment of the call's data conversation, without its content.
pub(crate) fn segment(link: u32) -> Vec<u8> {
    let mut segment = (link & 0x7FFF_FFFF).to_le_bytes().to_vec();
    segment.extend([82, 0, 128, 0]);
    segment.resize(24, 0);
    segment
}
