//! A client session and its counterparts made by hand, with a network between them that is in memory and a time that is
//! the test's.

use std::collections::VecDeque;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use doorstep::clock;
use doorstep::proto::gwell::control::{self, Control};
use doorstep::proto::gwell::gutes::Kind;
use doorstep::proto::gwell::session::{AvFrame, ClientSession, Command, Event, KnownDevice, Path, SessionError, Setup};
use doorstep::proto::{Lane, Output, Session};

use super::gwell_hand::{ACCESS_ID, CLIENT, Hand, NAME, Packet, SECOND, SERVER, TID, token};

const DELAY: Duration = Duration::from_millis(1);

/// What becomes of a packet on its way.
pub(crate) type Fate = Box<dyn FnMut(Duration, &Packet) -> bool>;

/// A client and the others, and the network between them.
pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) client: ClientSession,
    pub(crate) hand: Hand,
    network: VecDeque<(Instant, bool, Packet)>,
    /// Whether a packet, of either side, is lost.
    pub(crate) loses: Fate,
    pub(crate) events: Vec<(Duration, Event)>,
    pub(crate) frames: Vec<(Duration, AvFrame)>,
    /// What the client sent.
    pub(crate) sent: Vec<(Duration, Packet)>,
    pub(crate) received: Vec<(Duration, Packet)>,
    pub(crate) wakeups: u32,
    pub(crate) ended: Option<SessionError>,
}

pub(crate) fn setup() -> Setup {
    Setup {
        token: token(1),
        device: NAME.into(),
        known: Vec::new(),
        servers: vec![SERVER.into()],
        list_servers: Vec::new(),
        camera: None,
        local: CLIENT.into(),
        seed: [3; 32],
        unix_ms: 1_700_000_000_000,
    }
}

pub(crate) fn known() -> Vec<KnownDevice> {
    vec![KnownDevice { name: NAME.into(), tid: TID }]
}

impl World {
    pub(crate) fn new(setup: Setup, prepare: impl FnOnce(&mut Hand)) -> Self {
        let now = clock::now().into_std();
        let mut hand = Hand::new(now, setup.unix_ms);
        prepare(&mut hand);
        Self {
            start: now,
            now,
            client: ClientSession::new(setup, now),
            hand,
            network: VecDeque::new(),
            loses: Box::new(|_, _| false),
            events: Vec::new(),
            frames: Vec::new(),
            sent: Vec::new(),
            received: Vec::new(),
            wakeups: 0,
            ended: None,
        }
    }

    /// One that streams, over these paths.
    pub(crate) fn streaming(paths: &[Path]) -> Self {
        let mut world = Self::new(setup(), |hand| {
            hand.alive = paths.iter().copied().collect();
            hand.tells_ports = paths.contains(&Path::LanUdp);
        });
        assert!(world.run(10 * SECOND, streams), "no stream: {:?} {:?}", world.ended, world.events);
        world
    }

    pub(crate) fn passed(&self) -> Duration {
        self.now - self.start
    }

    fn collect(&mut self) {
        let passed = self.passed();
        while let Some(output) = self.client.poll() {
            match output {
                Output::Event(Event::Frame(frame)) => self.frames.push((passed, frame)),
                Output::Event(event) => self.events.push((passed, event)),
                Output::Send { lane, to, payload } => {
                    let packet = Packet { lane, from: CLIENT.into(), to, payload };
                    self.sent.push((passed, packet.clone()));
                    self.post(true, packet);
                }
            }
        }
        while let Some(packet) = self.hand.outgoing.pop_front() {
            self.post(false, packet);
        }
    }

    fn post(&mut self, from_client: bool, packet: Packet) {
        let passed = self.passed();
        if !(self.loses)(passed, &packet) {
            self.network.push_back((self.now + DELAY, from_client, packet));
        }
    }

    /// What arrives at the client, from whomever.
    pub(crate) fn deliver(&mut self, from: SocketAddrV4, lane: Lane, payload: &[u8]) {
        let result = self.client.on_datagram(self.now, lane, from.into(), payload);
        self.ended = self.ended.take().or(result.err());
        self.collect();
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.client.on_command(self.now, command).unwrap();
        self.collect();
    }

    pub(crate) fn close(&mut self) {
        self.client.on_close(self.now);
        self.collect();
    }

    /// Lets time pass until the condition holds, or so long; whether it does.
    pub(crate) fn run(&mut self, limit: Duration, until: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        self.collect();
        let mut at_once = 0;
        while !until(self) && self.ended.is_none() {
            let network = self.network.front().map(|(due, _, _)| *due);
            let hand = self.hand.deadline(self.now);
            let next = [network, hand, self.client.deadline()].into_iter().flatten().min().unwrap_or(end);
            if next > end {
                self.now = end;
                return until(self);
            }
            at_once = if next > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 1_000, "time stands still at {:?}: {:?}", self.passed(), self.events);
            self.now = next.max(self.now);
            self.step();
        }
        until(self)
    }

    pub(crate) fn run_for(&mut self, limit: Duration) {
        self.run(limit, |_| false);
    }

    fn step(&mut self) {
        while self.network.front().is_some_and(|(due, _, _)| *due <= self.now) {
            let Some((_, from_client, packet)) = self.network.pop_front() else { break };
            if from_client {
                self.hand.on_packet(self.now, &packet);
            } else {
                self.received.push((self.passed(), packet.clone()));
                let result = self.client.on_datagram(self.now, packet.lane, packet.from, &packet.payload);
                self.ended = self.ended.take().or(result.err());
            }
            self.collect();
        }
        if self.hand.deadline(self.now).is_some_and(|due| due <= self.now) {
            self.hand.on_timeout(self.now);
        }
        self.hand.update(self.now);
        if self.client.deadline().is_some_and(|due| due <= self.now) {
            self.wakeups += 1;
            let result = self.client.on_timeout(self.now);
            self.ended = self.ended.take().or(result.err());
        }
        self.collect();
    }

    pub(crate) fn found(&self) -> Vec<Path> {
        let path = |event: &(Duration, Event)| match event.1 {
            Event::Found { path } => Some(path),
            _ => None,
        };
        self.events.iter().filter_map(path).collect()
    }

    /// Where KCP went, from an instant on, each place once.
    pub(crate) fn kcp_went_to(&self, from: Duration) -> Vec<(Lane, SocketAddr)> {
        let mut places = Vec::new();
        for (_, packet) in self.sent.iter().filter(|(at, packet)| *at >= from && !packet.segments().is_empty()) {
            if !places.contains(&(packet.lane, packet.to)) {
                places.push((packet.lane, packet.to));
            }
        }
        places
    }

    /// When frames of a kind went to an address.
    pub(crate) fn gutes_sent(&self, kind: Kind, to: SocketAddrV4) -> Vec<Duration> {
        let is_it = |packet: &Packet| {
            packet.to == SocketAddr::V4(to)
                && packet.gutes(self.hand.key.as_ref()).is_some_and(|frame| frame.kind == kind)
        };
        self.sent.iter().filter(|(_, packet)| is_it(packet)).map(|(at, _)| *at).collect()
    }

    pub(crate) fn meters_sent(&self) -> Vec<Duration> {
        let is_meter =
            |packet: &Packet| matches!(packet.control(), Some(Control::Meter(_, meter)) if meter.round() > 0);
        self.sent.iter().filter(|(_, packet)| is_meter(packet)).map(|(at, _)| *at).collect()
    }

    /// The link id and the ids of the camera's messages.
    pub(crate) fn ids(&self) -> control::Route {
        let link_id = self.hand.callings.last().expect("a call").link_id;
        control::Route { link_id, sender: TID, receiver: ACCESS_ID }
    }
}

pub(crate) fn place(lane: Lane, address: SocketAddrV4) -> (Lane, SocketAddr) {
    (lane, address.into())
}

pub(crate) fn streams(world: &World) -> bool {
    world.frames.len() > 5
}
