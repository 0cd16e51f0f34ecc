//! A P2P server, virtual cameras and sessions with them, without sockets, in virtual time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use doorstep::media::{AudioCodec, AudioFormat};
use doorstep::proto::Lane;
use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::session::{AvFrame, ClientSession, Dropped, Event, KnownDevice, Media, Path, Setup};
use doorstep::sim::clip::Clip;
use doorstep::sim::dice::Dice;
use doorstep::sim::gwell_camera::{self, CameraEvent, CameraSession};
use doorstep::sim::gwell_server::{self, Addresses, LIST, ServerSession, UDP_RELAY};
use doorstep::sim::sound::Sound;

use super::impair::Line;
use super::town::{Host, Network, Parties, Party};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
const SERVER_PORT: u16 = 28_800;
const LIST_PORT: u16 = 51_701;
const RELAY_PORT: u16 = 51_705;
const CAMERA_PORT: u16 = 32_761;
const VIEWER_PORT: u16 = 40_000;
const UNIX_MS: u64 = 1_700_000_000_000;

/// Everybody: the server is number 0, then come the cameras, then the viewers, who may become more.
pub(crate) struct World {
    pub(crate) server: Host<ServerSession>,
    pub(crate) viewers: Vec<Host<ClientSession>>,
    pub(crate) cameras: Vec<Host<CameraSession>>,
}

impl Parties for World {
    fn count(&self) -> usize {
        1 + self.viewers.len() + self.cameras.len()
    }

    fn party(&mut self, at: usize) -> &mut dyn Party {
        match at.checked_sub(1 + self.cameras.len()) {
            Some(viewer) => &mut self.viewers[viewer],
            None if at == 0 => &mut self.server,
            None => &mut self.cameras[at - 1],
        }
    }
}

/// Of one account: a server, its cameras, and a viewer for each of them.
pub(crate) struct GwellTown {
    pub(crate) network: Network,
    pub(crate) world: World,
    accounts: gwell_server::Settings,
    unix_ms: u64,
}

/// What is unusual about a town.
pub(crate) struct Plan {
    pub(crate) cameras: usize,
    pub(crate) line: Line,
    pub(crate) seed: u64,
    /// The wall clock when the town begins.
    pub(crate) unix_ms: u64,
    pub(crate) server: fn(&mut gwell_server::Settings),
    pub(crate) camera: fn(usize, &mut gwell_camera::Settings),
}

impl Default for Plan {
    fn default() -> Self {
        let line = Line::late(Duration::from_millis(5));
        Self { cameras: 1, line, seed: 1, unix_ms: UNIX_MS, server: |_| {}, camera: |_, _| {} }
    }
}

impl GwellTown {
    /// The viewers begin at once, when the cameras are logged in.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut town = Self::without_viewers(plan);
        for camera in 0..plan.cameras {
            town.add_viewer(camera, plan.seed);
        }
        town
    }

    /// Where every camera is logged in.
    pub(crate) fn without_viewers(plan: &Plan) -> Self {
        let mut town = Self::found(plan);
        let logged_in = |world: &mut World| {
            world
                .cameras
                .iter()
                .all(|camera| camera.events.iter().any(|(_, event)| matches!(event, CameraEvent::LoggedIn { .. })))
        };
        assert!(town.network.run(&mut town.world, Duration::from_secs(60), logged_in), "a camera never logged in");
        town
    }

    fn found(plan: &Plan) -> Self {
        let mut settings = gwell_server::Settings::with_cameras(plan.seed, plan.cameras);
        (plan.server)(&mut settings);
        let network = Network::new(plan.line, TCP, plan.seed);
        let now = network.now;
        let at = |port| SocketAddr::new(SERVER, port);
        let addresses = Addresses {
            signalling: at(SERVER_PORT),
            list: at(LIST_PORT),
            udp_relay: at(RELAY_PORT),
            tcp_relay: at(RELAY_PORT),
        };
        let unix = SystemTime::UNIX_EPOCH + Duration::from_millis(plan.unix_ms);
        let cameras = settings.cameras.iter().take(plan.cameras).enumerate();
        let cameras = cameras.map(|(nth, account)| {
            let address = camera_address(nth);
            let mut settings = gwell_camera::Settings::new(at(SERVER_PORT), &account.name, account.token.clone());
            settings.listen = SocketAddr::new(address, CAMERA_PORT);
            (plan.camera)(nth, &mut settings);
            let listens = settings.paths.contains(&Path::LanTcp).then_some(CAMERA_PORT);
            let session = CameraSession::new(settings, plan.seed + nth as u64, now, unix).unwrap();
            Host::new(session, address, &[(Lane::MAIN, CAMERA_PORT)], listens)
        });
        let cameras = cameras.collect();
        let accounts = settings.clone();
        let session = ServerSession::new(settings, addresses, plan.seed, now);
        let lanes = [(Lane::MAIN, SERVER_PORT), (LIST, LIST_PORT), (UDP_RELAY, RELAY_PORT)];
        let server = Host::new(session, SERVER, &lanes, Some(RELAY_PORT));
        let world = World { server, viewers: Vec::new(), cameras };
        Self { network, world, accounts, unix_ms: plan.unix_ms }
    }

    /// Someone who wants to see a camera.
    pub(crate) fn add_viewer(&mut self, camera: usize, seed: u64) {
        let viewer = self.viewer(self.world.viewers.len(), camera, seed, Vec::new());
        self.world.viewers.push(viewer);
    }

    /// Ends a viewer's session, and begins another with the camera of its number.
    pub(crate) fn replace_viewer(&mut self, nth: usize, seed: u64, known: Vec<KnownDevice>) {
        let number = self.world.number(nth);
        self.network.close(&mut self.world, number);
        self.world.viewers[nth] = self.viewer(nth, nth, seed, known);
    }

    fn viewer(&self, nth: usize, camera: usize, seed: u64, known: Vec<KnownDevice>) -> Host<ClientSession> {
        let accounts = &self.accounts;
        let address = viewer_address(nth);
        let setup = Setup {
            token: accounts.terminals[0].clone(),
            device: accounts.cameras[camera].name.clone(),
            known,
            servers: vec![SocketAddr::new(SERVER, SERVER_PORT)],
            list_servers: Vec::new(),
            camera: None,
            local: SocketAddr::new(address, VIEWER_PORT),
            seed: Dice::new(seed ^ (camera as u64) << 32).bytes(),
            unix_ms: self.unix_ms + self.network.passed().as_millis() as u64,
        };
        let session = ClientSession::new(setup, self.network.now);
        Host::new(session, address, &[(Lane::MAIN, VIEWER_PORT)], None)
    }

    /// Lets time pass until `is_done` or for `limit`; tells whether it was done.
    pub(crate) fn run(&mut self, limit: Duration, is_done: impl FnMut(&mut World) -> bool) -> bool {
        self.network.run(&mut self.world, limit, is_done)
    }

    pub(crate) fn server_at(&self) -> SocketAddr {
        SocketAddr::new(SERVER, SERVER_PORT)
    }

    pub(crate) fn camera_at(&self, nth: usize) -> SocketAddr {
        SocketAddr::new(camera_address(nth), CAMERA_PORT)
    }

    /// Hands the viewer a datagram, from wherever it claims.
    pub(crate) fn inject(&mut self, viewer: usize, lane: Lane, from: SocketAddr, payload: &[u8]) {
        let number = self.world.number(viewer);
        self.network.inject(&mut self.world, number, lane, from, payload);
    }

    /// What the server has listed for a viewer.
    pub(crate) fn listed(&self, viewer: usize) -> Option<Vec<KnownDevice>> {
        self.world.viewers[viewer].events.iter().find_map(|(_, event)| match event {
            Event::Listed(devices) => Some(devices.clone()),
            _ => None,
        })
    }

    /// The link id of the only call.
    pub(crate) fn link(&self) -> u32 {
        let called = self.world.cameras[0].events.iter().find_map(|(_, event)| match event {
            CameraEvent::Called { link, .. } => Some(*link),
            _ => None,
        });
        called.expect("nobody was called")
    }

    pub(crate) fn dropped(&self) -> Dropped {
        self.world.viewers[0].session.dropped()
    }

    /// What a viewer has been given so far, and takes out.
    pub(crate) fn take_frames(&mut self, viewer: usize) -> Vec<(Duration, AvFrame)> {
        let (frames, others): (Vec<_>, Vec<_>) =
            self.world.viewers[viewer].events.drain(..).partition(|(_, event)| matches!(event, Event::Frame(_)));
        self.world.viewers[viewer].events = others;
        frames.into_iter().filter_map(|(at, event)| frame(event).map(|frame| (at, frame))).collect()
    }

    /// What the cameras have to say against their viewers, but for what may be the network's fault: a message that
    /// everything else waits for, and meters.
    pub(crate) fn violations(&self) -> Vec<&CameraEvent> {
        const OF_THE_NETWORK: [&str; 3] = ["create_kcp", "meters", "meter_acks"];
        let events = self.world.cameras.iter().flat_map(|camera| &camera.events).map(|(_, event)| event);
        let is_violation = |event: &&CameraEvent| match event {
            CameraEvent::Check { name, ok: false, .. } => !OF_THE_NETWORK.contains(name),
            _ => false,
        };
        events.filter(is_violation).collect()
    }
}

impl World {
    /// Of a viewer among all.
    fn number(&self, viewer: usize) -> usize {
        1 + self.cameras.len() + viewer
    }

    /// That a viewer was given and nobody has taken out.
    pub(crate) fn pictures(&self, viewer: usize) -> usize {
        let is_one = |event: &Event| matches!(event, Event::Frame(frame) if frame.media == Media::Video);
        self.viewers[viewer].events.iter().filter(|(_, event)| is_one(event)).count()
    }

    /// The way that media take, as the viewer tells it.
    pub(crate) fn path(&self, viewer: usize) -> Option<Path> {
        self.viewers[viewer].events.iter().rev().find_map(|(_, event)| match event {
            Event::Found { path } => Some(*path),
            _ => None,
        })
    }
}

fn frame(event: Event) -> Option<AvFrame> {
    match event {
        Event::Frame(frame) => Some(frame),
        _ => None,
    }
}

fn camera_address(nth: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, 1, 100 + nth as u8))
}

fn viewer_address(nth: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10 + nth as u8))
}

/// What the virtual cameras play, picture by picture and packet by packet, to be found by its time.
pub(crate) struct Programme {
    clip: Clip,
    sound: Sound,
}

impl Programme {
    pub(crate) fn new() -> Self {
        let format = AudioFormat { codec: AudioCodec::Pcmu, rate_hz: 16_000, channels: 1 };
        Self { clip: Clip::h264(), sound: Sound::new(format).unwrap() }
    }

    /// Which picture or packet this is. Panics when it is not that of its time, byte for byte.
    pub(crate) fn recognise(&self, frame: &AvFrame) -> u64 {
        let found = self.find(frame);
        found.unwrap_or_else(|| panic!("what {:?} came of {:?} is not what was sent", frame.media, frame.pts))
    }

    /// The same; `None` when it is not that of its time, byte for byte.
    pub(crate) fn find(&self, frame: &AvFrame) -> Option<u64> {
        let nth = |interval: Duration| (frame.pts.as_micros() / interval.as_micros()) as u64;
        // Its time may have been spoilt on the way.
        if frame.pts > Duration::from_secs(86_400) {
            return None;
        }
        let (n, sent) = match frame.media {
            Media::Video => (nth(Clip::INTERVAL), self.clip.access_unit(nth(Clip::INTERVAL)).data),
            Media::Audio => (nth(self.sound.interval()), self.sound.packet(nth(self.sound.interval())).data),
        };
        (frame.data == sent).then_some(n)
    }
}
