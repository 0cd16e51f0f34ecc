//! A TUTK client session and the virtual camera, both without sockets, in virtual time, over a network that is as bad as
//! its [`Line`] says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use doorstep::clock;
use doorstep::media::g711::Law;
use doorstep::proto::tutk::dtls;
use doorstep::proto::tutk::session::{
    AvFrame, ClientSession, Command, Event, Media, Quality, SessionError, SessionRandom, Setup, SoundFormat, Transport,
};
use doorstep::proto::{Lane, Output, Session};
use doorstep::sim::dice::Dice;
use doorstep::sim::tutk_camera::{CameraCommand, CameraEvent, CameraSession, Fault, Protocol, Settings};

use super::impair::{Counted, Done, Fates, Line};

const SECOND: Duration = Duration::from_secs(1);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(crate) const CAMERA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 32_761);

pub(crate) fn settings(protocol: Protocol) -> Settings {
    Settings { protocol, ..Settings::generate(1) }
}

pub(crate) fn faulty(protocol: Protocol, fault: Fault) -> Settings {
    Settings { fault: Some(fault), ..settings(protocol) }
}

/// A datagram on its way.
pub(crate) struct Late {
    pub(crate) due: Instant,
    pub(crate) to_camera: bool,
    pub(crate) from: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

/// A client, a camera, and the network between them.
pub(crate) struct Pair {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    settings: Settings,
    transport: Option<Transport>,
    pub(crate) client: ClientSession,
    /// The port of its socket; each session has another.
    port: u16,
    pub(crate) camera: CameraSession,
    /// Of what goes to the camera, and of what comes from it.
    fates: [Fates; 2],
    done: Counted,
    pub(crate) network: Vec<Late>,
    /// What the client said, and when; frames are kept apart.
    pub(crate) events: Vec<(Duration, Event)>,
    pub(crate) frames: Vec<(Duration, AvFrame)>,
    pub(crate) camera_events: Vec<CameraEvent>,
    pub(crate) ended: Option<SessionError>,
}

impl Pair {
    pub(crate) fn new(settings: Settings, line: Line, seed: u64) -> Self {
        Self::trying(None, settings, line, seed)
    }

    pub(crate) fn trying(transport: Option<Transport>, settings: Settings, line: Line, seed: u64) -> Self {
        let (now, done) = (clock::now().into_std(), Counted::default());
        let unix = SystemTime::UNIX_EPOCH + 1_700_000_000 * SECOND;
        Self {
            start: now,
            now,
            client: ClientSession::new(setup(&settings, transport, seed), now),
            port: 40_000,
            camera: CameraSession::new(settings.clone(), seed, now, unix).unwrap(),
            settings,
            transport,
            fates: [0xA5A5, 0x5A5A].map(|way| Fates::new(line, seed ^ way, done.clone())),
            done,
            network: Vec::new(),
            events: Vec::new(),
            frames: Vec::new(),
            camera_events: Vec::new(),
            ended: None,
        }
    }

    pub(crate) fn fair(settings: Settings) -> Self {
        Self::new(settings, Line::late(Duration::from_millis(2)), 1)
    }

    /// One that streams.
    pub(crate) fn streaming(settings: Settings) -> Self {
        let mut pair = Self::fair(settings);
        assert!(pair.run(5 * SECOND, |pair| pair.pictures() > 2 && pair.sounds() > 2), "no stream: {:?}", pair.ended);
        pair
    }

    /// Ends the session as the driver does, and begins another.
    pub(crate) fn call_again(&mut self, seed: u64) {
        self.client.on_close(self.now);
        self.collect();
        // Nobody is left at the old port.
        self.network.retain(|late| late.to_camera);
        self.port += 1;
        self.client = ClientSession::new(setup(&self.settings, self.transport, seed), self.now);
        self.ended = None;
    }

    /// From now on the network is this one.
    pub(crate) fn set(&mut self, line: Line) {
        self.fates.iter_mut().for_each(|fates| fates.set(line));
    }

    /// What the network has done so far.
    pub(crate) fn done(&self) -> Done {
        self.done.so_far()
    }

    pub(crate) fn passed(&self) -> Duration {
        self.now - self.start
    }

    pub(crate) fn post(&mut self, to_camera: bool, from: SocketAddr, payload: Vec<u8>) {
        let fates = &mut self.fates[usize::from(!to_camera)];
        for arrival in fates.next(self.now, payload.len()) {
            let mut payload = payload.clone();
            arrival.spoil(&mut payload);
            self.network.push(Late { due: self.now + arrival.after, to_camera, from, payload });
        }
    }

    pub(crate) fn collect(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Send { payload, .. } => self.post(true, SocketAddr::new(CLIENT, self.port), payload),
                Output::Event(Event::Frame(frame)) => self.frames.push((self.now - self.start, frame)),
                Output::Event(event) => self.events.push((self.now - self.start, event)),
            }
        }
        while let Some(output) = self.camera.poll() {
            match output {
                Output::Send { lane, payload, .. } => {
                    let from = SocketAddr::new(CAMERA.ip(), CAMERA.port() + u16::from(lane.0));
                    self.post(false, from, payload);
                }
                Output::Event(event) => self.camera_events.push(event),
            }
        }
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.client.on_command(self.now, command).unwrap();
        self.collect();
    }

    pub(crate) fn tell_camera(&mut self, command: CameraCommand) {
        let Ok(()) = self.camera.on_command(self.now, command);
        self.collect();
    }

    /// Lets time pass until `is_done` or for `limit`; tells whether it was done. Stops when the session fails.
    pub(crate) fn run(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + limit;
        while !is_done(self) {
            let arrival = self.network.iter().map(|late| late.due).min();
            let client = self.client.deadline().filter(|_| self.ended.is_none());
            let Some(next) = [arrival, client, self.camera.deadline(), Some(until)].into_iter().flatten().min() else {
                return false;
            };
            if next >= until || self.ended.is_some() {
                self.now = until.max(self.now);
                return is_done(self);
            }
            self.now = self.now.max(next);
            self.step();
        }
        true
    }

    pub(crate) fn step(&mut self) {
        let now = self.now;
        if self.camera.deadline().is_some_and(|due| due <= now) {
            let Ok(()) = self.camera.on_timeout(now);
            assert!(self.camera.deadline().is_none_or(|due| due > now), "the camera's deadline stands still");
        }
        if self.client.deadline().is_some_and(|due| due <= now) {
            let outcome = self.client.on_timeout(now);
            let still = self.client.deadline().is_some_and(|due| due <= now);
            assert!(outcome.is_err() || !still, "the client's deadline stands still");
            self.note(outcome);
        }
        self.collect();
        while let Some(at) = self.network.iter().position(|late| late.due <= now) {
            let Late { to_camera, from, payload, .. } = self.network.remove(at);
            if to_camera {
                let Ok(()) = self.camera.on_datagram(now, Lane::MAIN, from, &payload);
            } else if self.ended.is_none() {
                let outcome = self.client.on_datagram(now, Lane::MAIN, from, &payload);
                self.note(outcome);
            }
            self.collect();
        }
    }

    pub(crate) fn note(&mut self, outcome: Result<(), SessionError>) {
        self.ended = self.ended.take().or(outcome.err());
    }

    pub(crate) fn wait_for(&mut self, limit: Duration, event: impl Fn(&Event) -> bool) -> bool {
        self.run(limit, |pair| pair.heard(&event))
    }

    pub(crate) fn heard(&self, event: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(|(_, heard)| event(heard))
    }

    pub(crate) fn pictures(&self) -> usize {
        self.frames.iter().filter(|(_, frame)| is_picture(frame)).count()
    }

    pub(crate) fn sounds(&self) -> usize {
        self.frames.len() - self.pictures()
    }

    pub(crate) fn talk(&mut self) -> SoundFormat {
        self.command(Command::StartTalk);
        let opened = |event: &Event| matches!(event, Event::TalkOpen { .. });
        assert!(self.wait_for(5 * SECOND, opened), "the speaker did not open: {:?}", self.events.last());
        let format = self.events.iter().rev().find_map(|(_, event)| match event {
            Event::TalkOpen { format } => Some(*format),
            _ => None,
        });
        format.unwrap()
    }

    /// A 440 Hz tone in µ-law, 20 ms a piece.
    pub(crate) fn say_tone(&mut self, pieces: u64) {
        for piece in 0..pieces {
            let sample = |n: u64| {
                let angle = 2.0 * std::f64::consts::PI * 440.0 * (piece * 160 + n) as f64 / 8_000.0;
                Law::Mu.encode((angle.sin() * 8_000.0) as i16)
            };
            self.command(Command::Audio((0..160).map(sample).collect::<Vec<u8>>().into()));
            self.run(Duration::from_millis(20), |_| false);
        }
    }

    pub(crate) fn violations(&self) -> Vec<&CameraEvent> {
        self.camera_events.iter().filter(|event| matches!(event, CameraEvent::Check { ok: false, .. })).collect()
    }
}

fn setup(settings: &Settings, transport: Option<Transport>, seed: u64) -> Setup {
    Setup {
        uid: settings.uid,
        enr: settings.enr_under(settings.fault).expose().to_owned(),
        mac: settings.mac.clone(),
        model: settings.model.clone(),
        address: CAMERA,
        transport,
        quality: Quality::Hd,
        random: SessionRandom::from_bytes(Dice::new(seed).bytes()),
        unix_time: 1_700_000_000,
        dtls: dtls::openssl(),
    }
}

pub(crate) fn is_picture(frame: &AvFrame) -> bool {
    matches!(frame.media, Media::Video { .. })
}
