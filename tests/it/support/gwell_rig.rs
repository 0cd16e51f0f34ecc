//! A virtual GWell camera without sockets, its server, and viewers that are told each thing to do, in virtual time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use doorstep::clock;
use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::av::{Media, Unit};
use doorstep::proto::gwell::calling::Relay;
use doorstep::proto::gwell::control::Control;
use doorstep::proto::gwell::kcp::{conversation_of, conversations};
use doorstep::proto::gwell::mtp::Mtp;
use doorstep::proto::gwell::session::Path;
use doorstep::proto::gwell::stream_control::StreamControl;
use doorstep::proto::{Lane, Output, Session};
use doorstep::sim::clip::Clip;
use doorstep::sim::gwell_camera::{CameraCommand, CameraEvent, CameraSession, Settings};

use super::gwell_viewer::{RELAY, SERVER, Server, TID, Viewer};

pub(crate) const STEP: Duration = Duration::from_millis(10);
pub(crate) const UNIX_MS: u64 = 1_763_700_000_000;

/// A camera, its server, and viewers that are told each thing to do.
pub(crate) struct Rig {
    begun: Instant,
    pub(crate) now: Instant,
    pub(crate) camera: CameraSession,
    pub(crate) events: Vec<CameraEvent>,
    pub(crate) server: Server,
    pub(crate) viewers: Vec<Viewer>,
    /// Streams that the camera has closed.
    pub(crate) closed: Vec<SocketAddr>,
    /// From the camera to nobody whom there is.
    pub(crate) astray: Vec<SocketAddr>,
    pub(crate) meters: bool,
}

impl Rig {
    pub(crate) fn new(settings: Settings) -> Self {
        let now = clock::now().into_std();
        let unix = SystemTime::UNIX_EPOCH + Duration::from_millis(UNIX_MS);
        let camera = CameraSession::new(settings, 7, now, unix).unwrap();
        let (events, viewers) = (Vec::new(), Vec::new());
        let (closed, astray) = (Vec::new(), Vec::new());
        Self { begun: now, now, camera, events, server: Server::default(), viewers, closed, astray, meters: true }
    }

    /// A camera at its server.
    pub(crate) fn logged_in(settings: Settings) -> Self {
        let mut rig = Self::new(settings);
        rig.run(STEP);
        assert_eq!(rig.server.certified, 1, "{:?}", rig.events);
        rig
    }

    /// A camera with one viewer who watches on this way.
    pub(crate) fn watched(settings: Settings, way: Path) -> Self {
        let mut rig = Self::logged_in(settings);
        let at = rig.call(Viewer::new(1, way));
        rig.watch(at);
        rig
    }

    /// Has the server call the camera on behalf of this viewer.
    pub(crate) fn call(&mut self, viewer: Viewer) -> usize {
        let relays = match viewer.way {
            Path::RelayTcp | Path::RelayUdp => vec![relay(true), relay(false)],
            _ => Vec::new(),
        };
        let calling = viewer.call.clone();
        self.viewers.push(viewer);
        for datagram in self.server.call(&calling, relays) {
            self.deliver(Lane::MAIN, SERVER, &datagram);
        }
        self.run(STEP);
        self.viewers.len() - 1
    }

    /// All that a viewer does to see something.
    pub(crate) fn watch(&mut self, at: usize) {
        self.open(at);
        self.viewers[at].start();
        self.viewers[at].av_init();
        self.run(50 * STEP);
    }

    /// Up to ACCEPT, or what there is in its place.
    pub(crate) fn open(&mut self, at: usize) {
        let create = self.viewers[at].create();
        self.say(at, &create);
        self.viewers[at].init();
        self.run(10 * STEP);
    }

    /// Sends a payload on a viewer's way.
    pub(crate) fn say(&mut self, at: usize, payload: &[u8]) {
        let way = self.viewers[at].way;
        self.say_on(at, way, payload);
    }

    pub(crate) fn say_on(&mut self, at: usize, way: Path, payload: &[u8]) {
        let viewer = &self.viewers[at];
        let (from, caller, frame) = (viewer.address, viewer.call.caller, viewer.frame(way, payload));
        match way {
            Path::LanTcp => self.deliver(TCP, from, &frame),
            Path::LanUdp => self.deliver(Lane::MAIN, from, &frame),
            Path::RelayTcp => self.deliver(TCP, RELAY, &frame),
            Path::RelayUdp => self.deliver(Lane::MAIN, RELAY, &frame),
            Path::Passthrough => {
                let datagram = self.server.pass(caller, frame);
                self.deliver(Lane::MAIN, SERVER, &datagram);
            }
        }
    }

    pub(crate) fn deliver(&mut self, lane: Lane, from: SocketAddr, payload: &[u8]) {
        self.camera.on_datagram(self.now, lane, from, payload).unwrap();
        self.pump();
    }

    pub(crate) fn order(&mut self, command: CameraCommand) {
        self.camera.on_command(self.now, command).unwrap();
        self.pump();
    }

    /// Carries what the camera sends to where it is sent.
    pub(crate) fn pump(&mut self) {
        while let Some(output) = self.camera.poll() {
            match output {
                Output::Event(event) => self.events.push(event),
                Output::Send { lane: TCP, to, payload } if payload.is_empty() => self.closed.push(to),
                Output::Send { to: SERVER, payload, .. } => self.at_server(&payload),
                Output::Send { lane, to: RELAY, payload } => {
                    let way = if lane == TCP { Path::RelayTcp } else { Path::RelayUdp };
                    self.at_relay(way, &payload);
                }
                Output::Send { lane, to, payload } => {
                    let way = if lane == TCP { Path::LanTcp } else { Path::LanUdp };
                    match self.viewers.iter().position(|viewer| viewer.address == to) {
                        Some(at) => self.at_viewer(at, way, &payload),
                        None => self.astray.push(to),
                    }
                }
            }
        }
    }

    fn at_server(&mut self, datagram: &[u8]) {
        for answer in self.server.on_datagram(datagram) {
            self.deliver(Lane::MAIN, SERVER, &answer);
        }
        for data in std::mem::take(&mut self.server.passed) {
            assert_eq!(data.tid, TID);
            let at = self.viewers.iter().position(|viewer| viewer.call.caller == data.access_id).unwrap();
            self.at_viewer(at, Path::Passthrough, &data.mtp);
        }
    }

    /// A relay keeps what is a registration and passes on what is not.
    fn at_relay(&mut self, way: Path, frame: &[u8]) {
        let mtp = Mtp::decode(frame).unwrap();
        let (control, segments) = Control::split(mtp.payload).unwrap();
        if let (Some(Control::Meter(_, meter)), None) = (control, mtp.to)
            && meter.round() == 0
        {
            return;
        }
        let link = control.map(|control| control.route().link_id);
        let link = link.or_else(|| conversation_of(segments)).unwrap();
        let same = |viewer: &Viewer| conversations(viewer.call.link_id) == conversations(link);
        let at = self.viewers.iter().position(same).unwrap();
        assert!(mtp.to.is_none_or(|to| to == self.viewers[at].call.caller));
        self.at_viewer(at, way, frame);
    }

    fn at_viewer(&mut self, at: usize, way: Path, frame: &[u8]) {
        for answer in self.viewers[at].on_frame(way, frame) {
            self.say_on(at, way, &answer);
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            if self.camera.deadline().is_some_and(|at| at <= self.now) {
                self.camera.on_timeout(self.now).unwrap();
                assert!(self.camera.deadline().is_none_or(|at| at > self.now), "the deadline stands still");
                self.pump();
            }
            self.viewers_turn();
        }
    }

    fn viewers_turn(&mut self) {
        let unix_ms = UNIX_MS + (self.now - self.begun).as_millis() as u64;
        for at in 0..self.viewers.len() {
            if self.meters && unix_ms.is_multiple_of(2_000) {
                let meter = self.viewers[at].meter(unix_ms);
                self.say(at, &meter);
            }
            for payload in self.viewers[at].outgoing(unix_ms) {
                self.say(at, &payload);
            }
        }
    }

    pub(crate) fn saw(&self, wanted: impl Fn(&CameraEvent) -> bool) -> bool {
        self.events.iter().any(wanted)
    }

    pub(crate) fn ended(&self) -> Vec<&'static str> {
        let ends = self.events.iter().filter_map(|event| match event {
            CameraEvent::SessionEnded { why, .. } => Some(*why),
            _ => None,
        });
        ends.collect()
    }

    /// The last verdict of each check that failed last.
    pub(crate) fn broken(&self) -> Vec<&'static str> {
        let mut standing = BTreeMap::new();
        for event in &self.events {
            if let CameraEvent::Check { name, ok, .. } = event {
                standing.insert(*name, *ok);
            }
        }
        standing.into_iter().filter(|(_, ok)| !ok).map(|(name, _)| name).collect()
    }

    /// The checks that failed at any time.
    pub(crate) fn ever_broken(&self) -> Vec<&'static str> {
        let failed = self.events.iter().filter_map(|event| match event {
            CameraEvent::Check { name, ok: false, .. } => Some(*name),
            _ => None,
        });
        failed.collect()
    }

    pub(crate) fn controls(&self, at: usize) -> Vec<StreamControl> {
        self.viewers[at].messages.clone()
    }

    pub(crate) fn pictures(&self, at: usize) -> Vec<&Unit> {
        self.viewers[at].units.iter().filter(|unit| unit.media == Media::Video).collect()
    }

    pub(crate) fn sounds(&self, at: usize) -> Vec<&Unit> {
        self.viewers[at].units.iter().filter(|unit| unit.media == Media::Audio).collect()
    }

    /// That what a viewer has seen is the clip from its first picture on, whole and in its place in time.
    pub(crate) fn assert_clip(&self, at: usize) {
        let clip = Clip::h264();
        let pictures = self.pictures(at);
        assert!(!pictures.is_empty(), "no picture: {:?}", self.events);
        for (n, picture) in pictures.iter().enumerate() {
            let original = clip.access_unit(n as u64);
            assert!(picture.data == original.data && !picture.damaged, "picture {n} differs");
            assert_eq!(u128::from(picture.pts_us), original.pts.as_micros(), "time of picture {n}");
        }
    }
}

fn relay(tcp: bool) -> Relay {
    let SocketAddr::V4(address) = RELAY else { unreachable!() };
    Relay { session: 3, tcp, address }
}
