//! The server as a state machine: its sockets are lanes, and it outlives every client.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::calls::{Calls, Way};
use super::command::ServerCommand;
use super::event::{Event, Who};
use super::link::{Addresses, LIST, UDP_RELAY};
use super::quirk::Quirk;
use super::sessions::Sessions;
use super::settings::{CameraAccount, Settings};
use crate::proto::gwell::TCP;
use crate::proto::gwell::certify::CertifyReply;
use crate::proto::gwell::gutes::{Frame, Identity};
use crate::proto::gwell::passthrough::PassthroughControl;
use crate::proto::gwell::token::AccessToken;
use crate::proto::{Lane, Output, Session};
use crate::sim::dice::Dice;

/// Of [`Quirk::Slow`].
const SLOW_BY: Duration = Duration::from_secs(1);

/// A P2P server with its list server, relays and passthrough, without sockets: [`Lane::MAIN`] is the P2P port,
/// [`LIST`] the list server, [`UDP_RELAY`] and [`TCP`] the relays.
pub struct ServerSession {
    pub(super) settings: Settings,
    pub(super) addresses: Addresses,
    pub(super) dice: Dice,
    /// Good ones, of terminals. At most [`ServerSession::TOKENS`]; the oldest makes room.
    pub(super) tokens: VecDeque<AccessToken>,
    quirks: Vec<Quirk>,
    pub(super) sessions: Sessions,
    pub(super) calls: Calls,
    /// Datagrams that nobody of here can have sent.
    pub(super) unread: u64,
    now: Instant,
    outputs: VecDeque<Output<Event>>,
    /// Answers that wait; at most [`ServerSession::LATE`].
    late: VecDeque<(Instant, Output<Event>)>,
}

/// How much a server keeps, all of it bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub sessions: usize,
    pub calls: usize,
    /// Datagrams since the start that were dropped unread.
    pub unread: u64,
}

impl ServerSession {
    /// Made up: in a PassthroughControl to a camera, it says that a call is over.
    pub const CALL_OVER: u8 = 2;
    const TOKENS: usize = 64;
    const LATE: usize = 1_024;

    /// Everything random in it follows from `seed`. `addresses` is what terminals and cameras are told.
    pub fn new(settings: Settings, addresses: Addresses, seed: u64, now: Instant) -> Self {
        Self {
            addresses,
            dice: Dice::new(seed),
            tokens: settings.terminals.iter().cloned().collect(),
            quirks: settings.quirks.clone(),
            settings,
            sessions: Sessions::default(),
            calls: Calls::default(),
            unread: 0,
            now,
            outputs: VecDeque::new(),
            late: VecDeque::new(),
        }
    }

    pub fn held(&self) -> Held {
        Held { sessions: self.sessions.len(), calls: self.calls.len(), unread: self.unread }
    }

    pub(super) fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    /// What [`Quirk::CertifyCode`] says, if it does.
    pub(super) fn certify_code(&self) -> Option<u16> {
        self.quirks.iter().find_map(|quirk| if let Quirk::CertifyCode(code) = quirk { Some(*code) } else { None })
    }

    pub(super) fn send(&mut self, lane: Lane, to: SocketAddr, payload: Vec<u8>) {
        let output = Output::Send { lane, to, payload };
        if lane != Lane::MAIN || !self.has(Quirk::Slow) {
            self.outputs.push_back(output);
        } else if self.late.len() < Self::LATE {
            self.late.push_back((self.now + SLOW_BY, output));
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Sends a session a frame of its own, made from its id and the next sqnum.
    pub(super) fn post(&mut self, number: u64, make: impl FnOnce(Identity, u32) -> Frame) {
        let Some(session) = self.sessions.get_mut(number) else { return };
        let sqnum = session.next_sqnum();
        let (to, datagram) = (session.address, session.seal(&make(session.id(), sqnum)));
        self.send(Lane::MAIN, to, datagram);
    }

    /// Ends a session and its calls, and tells whoever has a part in them.
    pub(super) fn drop_session(&mut self, number: u64, why: &'static str) {
        let Some(session) = self.sessions.remove(number) else { return };
        let kicked = CertifyReply { code: CertifyReply::KICKED, session: session.id().id() };
        self.send(Lane::MAIN, session.address, kicked.encode(session.id(), 0).seal(None));
        self.forget(number);
        self.tell(Event::Dropped { session: number, who: session.who, why });
    }

    /// The calls of a session that is no more.
    pub(super) fn forget(&mut self, number: u64) {
        for call in self.calls.hang_up(number) {
            self.cut_stream(&call);
            let over = PassthroughControl {
                tid: call.calling.callee,
                access_id: call.calling.caller,
                command: Self::CALL_OVER,
                link_id: call.calling.link_id,
            };
            if let Some(camera) = self.sessions.of_camera(call.calling.callee).map(|camera| camera.number) {
                self.post(camera, |id, sqnum| over.encode(id, sqnum));
            }
        }
    }

    fn obey(&mut self, command: ServerCommand) {
        match command {
            ServerCommand::Begin(quirk) => self.begin(quirk),
            ServerCommand::End(quirk) => {
                self.quirks.retain(|own| *own != quirk);
                self.tell(Event::Quirk { name: format!("no {quirk}") });
            }
            ServerCommand::Behave => {
                self.quirks.clear();
                self.tell(Event::Quirk { name: "none".to_owned() });
            }
            ServerCommand::Restart => self.restart(),
            ServerCommand::Wake { camera } => self.wake_named(&camera),
            ServerCommand::Kick { who } => self.kick(&who),
            ServerCommand::Token(token) => {
                self.tokens.push_back(token);
                if self.tokens.len() > Self::TOKENS {
                    self.tokens.pop_front();
                }
            }
            ServerCommand::Revoke { access_id } => self.tokens.retain(|token| token.access_id() != access_id),
        }
    }

    fn begin(&mut self, quirk: Quirk) {
        // One code at a time.
        let replaced =
            |own: &Quirk| *own == quirk || matches!((own, quirk), (Quirk::CertifyCode(_), Quirk::CertifyCode(_)));
        self.quirks.retain(|own| !replaced(own));
        self.quirks.push(quirk);
        self.tell(Event::Quirk { name: quirk.to_string() });
    }

    fn restart(&mut self) {
        self.sessions.clear();
        self.calls.clear();
        self.late.clear();
        self.tell(Event::Restarted);
    }

    fn kick(&mut self, who: &str) {
        let is_meant = |owner: &Who| match owner {
            Who::Terminal(access_id) => access_id.to_string() == who,
            Who::Camera(name) => name == who,
        };
        let meant: Vec<u64> =
            self.sessions.iter().filter(|own| is_meant(&own.who)).map(|session| session.number).collect();
        for number in meant {
            self.drop_session(number, "it was kicked");
        }
    }

    fn wake_named(&mut self, name: &str) {
        let camera = self.settings.cameras.iter().find(|camera| camera.name == name);
        if let Some(tid) = camera.map(CameraAccount::tid) {
            self.wake(tid);
        }
    }

    fn send_late(&mut self, now: Instant) {
        while self.late.front().is_some_and(|(due, _)| *due <= now) {
            self.outputs.extend(self.late.pop_front().map(|(_, output)| output));
        }
    }
}

/// An address as frames carry it: without IPv6, all zero.
pub(super) fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => NOWHERE,
    }
}

pub(super) const NOWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

impl Session for ServerSession {
    type Command = ServerCommand;
    type Event = Event;
    type Error = Infallible;

    fn on_datagram(&mut self, now: Instant, lane: Lane, from: SocketAddr, payload: &[u8]) -> Result<(), Infallible> {
        self.now = now;
        match lane {
            LIST => self.on_list(from, payload),
            UDP_RELAY => self.on_relayed(now, Way::UdpRelay, from, payload),
            TCP if payload.is_empty() => self.calls.stream_ended(from),
            TCP => self.on_relayed(now, Way::TcpRelay, from, payload),
            _ => self.on_signalling(now, from, payload),
        }
        Ok(())
    }

    fn on_timeout(&mut self, now: Instant) -> Result<(), Infallible> {
        self.now = now;
        self.send_late(now);
        self.sweep(now);
        Ok(())
    }

    fn on_command(&mut self, now: Instant, command: ServerCommand) -> Result<(), Infallible> {
        self.now = now;
        self.obey(command);
        Ok(())
    }

    /// A server that stops says nothing to anybody.
    fn on_close(&mut self, _: Instant) {}

    fn poll(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        let late = self.late.front().map(|(due, _)| *due);
        late.into_iter().chain(self.overdue_at()).min()
    }
}
