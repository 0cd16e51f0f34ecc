//! Whoever has recorded a session says it all again, and what nobody can have said besides (reliability row 24, S21):
//! the session lives, and no frame comes twice. Client and virtual camera without sockets, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use doorstep::clock;
use doorstep::proto::tutk::Channel;
use doorstep::proto::tutk::cc51::{self, HmacKey};
use doorstep::proto::tutk::dtls;
use doorstep::proto::tutk::iotc;
use doorstep::proto::tutk::keys::AuthKey;
use doorstep::proto::tutk::session::{
    AvFrame, ClientSession, Command, Event, Media, Quality, SessionError, SessionRandom, Setup, TalkEnd,
};
use doorstep::proto::{Lane, Output, Session};
use doorstep::sim::clip::Clip;
use doorstep::sim::dice::Dice;
use doorstep::sim::tutk_camera::{CameraEvent, CameraSession, Protocol, Settings};

use crate::support::tutk_camera_hand::record;

const SECOND: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_millis(2);
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 40_000);
const CAMERA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 32_761);
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const CIPHER: u8 = 20;
const DATA: u8 = 23;

/// A client, a camera, the wire between them, and whoever listens to it.
struct Wire {
    now: Instant,
    client: ClientSession,
    camera: CameraSession,
    /// On its way: due, and whether it goes to the camera.
    late: VecDeque<(Instant, bool, Vec<u8>)>,
    /// All that the camera has ever sent.
    recorded: Vec<Vec<u8>>,
    key: HmacKey,
    /// Of everything that comes to the client, something recorded comes once more behind it.
    echo: Option<Dice>,
    /// What was injected, by content type and epoch.
    injected: BTreeMap<(u8, u16), usize>,
    frames: Vec<AvFrame>,
    events: Vec<Event>,
    camera_events: Vec<CameraEvent>,
    ended: Option<SessionError>,
}

impl Wire {
    fn new(protocol: Protocol) -> Self {
        let settings = Settings { protocol, ..Settings::generate(1) };
        let now = clock::now().into_std();
        let setup = Setup {
            uid: settings.uid,
            enr: settings.enr.expose().to_owned(),
            mac: settings.mac.clone(),
            model: settings.model.clone(),
            address: CAMERA,
            transport: None,
            quality: Quality::Hd,
            random: SessionRandom::from_bytes(Dice::new(7).bytes()),
            unix_time: 1_700_000_000,
            dtls: dtls::openssl(),
        };
        let key = HmacKey::new(&settings.uid, &AuthKey::derive(settings.enr.expose(), &settings.mac));
        let unix = SystemTime::UNIX_EPOCH + 1_700_000_000 * SECOND;
        Self {
            now,
            client: ClientSession::new(setup, now),
            camera: CameraSession::new(settings, 1, now, unix).unwrap(),
            late: VecDeque::new(),
            recorded: Vec::new(),
            key,
            echo: None,
            injected: BTreeMap::new(),
            frames: Vec::new(),
            events: Vec::new(),
            camera_events: Vec::new(),
            ended: None,
        }
    }

    fn run(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + limit;
        while !is_done(self) && self.ended.is_none() {
            let arrival = self.late.front().map(|(due, _, _)| *due);
            let deadlines = [arrival, self.client.deadline(), self.camera.deadline()];
            let next = deadlines.into_iter().flatten().min().unwrap_or(until);
            if next >= until {
                self.now = until;
                return is_done(self);
            }
            self.now = self.now.max(next);
            self.step();
        }
        is_done(self)
    }

    fn step(&mut self) {
        let now = self.now;
        if self.camera.deadline().is_some_and(|due| due <= now) {
            let Ok(()) = self.camera.on_timeout(now);
        }
        if self.client.deadline().is_some_and(|due| due <= now) {
            let outcome = self.client.on_timeout(now);
            self.ended = self.ended.take().or(outcome.err());
        }
        self.collect();
        while self.late.front().is_some_and(|(due, _, _)| *due <= now) {
            let Some((_, to_camera, payload)) = self.late.pop_front() else { return };
            if to_camera {
                let Ok(()) = self.camera.on_datagram(now, Lane::MAIN, CLIENT, &payload);
            } else {
                self.deliver(&payload);
                if let Some(mut dice) = self.echo.take() {
                    let again = dice.pick(&self.recorded).clone();
                    self.inject(&again);
                    self.echo = Some(dice);
                }
            }
            self.collect();
        }
    }

    fn deliver(&mut self, payload: &[u8]) {
        let outcome = self.client.on_datagram(self.now, Lane::MAIN, CAMERA, payload);
        self.ended = self.ended.take().or(outcome.err());
    }

    fn collect(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Send { payload, .. } => self.late.push_back((self.now + DELAY, true, payload)),
                Output::Event(Event::Frame(frame)) => self.frames.push(frame),
                Output::Event(event) => self.events.push(event),
            }
        }
        while let Some(output) = self.camera.poll() {
            match output {
                Output::Send { payload, .. } => {
                    self.recorded.push(payload.clone());
                    self.late.push_back((self.now + DELAY, false, payload));
                }
                Output::Event(event) => self.camera_events.push(event),
            }
        }
    }

    /// Hands the client a datagram as from the camera, and counts what it is.
    fn inject(&mut self, datagram: &[u8]) {
        if let Some((_, [kind, _, _, high, low, ..])) = self.dtls_of(datagram).as_ref().map(|(c, p)| (c, &p[..])) {
            *self.injected.entry((*kind, u16::from_be_bytes([*high, *low]))).or_default() += 1;
        }
        self.deliver(datagram);
        self.collect();
    }

    fn dtls_of(&self, datagram: &[u8]) -> Option<(Channel, Vec<u8>)> {
        if cc51::Packet::recognises(datagram) {
            match cc51::Packet::decode(datagram, &self.key).ok()?.packet {
                cc51::Packet::Dtls(dtls) => Some((dtls.channel, dtls.payload)),
                _ => None,
            }
        } else {
            match iotc::Packet::decode(datagram).ok()? {
                iotc::Packet::DataRx(data) => Some((data.channel, data.payload)),
                _ => None,
            }
        }
    }

    /// Everything about the datagram is right but what the channel is given to read.
    fn forged(&self, channel: Channel, payload: Vec<u8>) -> Vec<u8> {
        let model = self.recorded.iter().rev().find(|datagram| self.dtls_of(datagram).is_some()).unwrap();
        if cc51::Packet::recognises(model) {
            let cc51::Packet::Dtls(genuine) = cc51::Packet::decode(model, &self.key).unwrap().packet else { panic!() };
            cc51::Packet::Dtls(cc51::Dtls { channel, payload, ..genuine }).encode(&self.key)
        } else {
            let iotc::Packet::DataRx(genuine) = iotc::Packet::decode(model).unwrap() else { panic!() };
            iotc::Packet::DataRx(iotc::Data { channel, payload, ..genuine }).encode()
        }
    }

    fn pictures(&self) -> Vec<&AvFrame> {
        self.frames.iter().filter(|frame| matches!(frame.media, Media::Video { .. })).collect()
    }

    /// Since the first ten pictures, among which the camera leaps once to another keyframe as it was asked to: every
    /// picture is there, once and in order, and no packet of sound comes twice.
    fn assert_nothing_came_twice(&self) {
        let clip = Clip::h264();
        let pictures = &self.pictures()[10..];
        let first = (0..200).find(|n| clip.access_unit(*n).data == pictures[0].data).expect("a picture of the clip");
        for (picture, n) in pictures.iter().zip(first..) {
            assert!(picture.data == clip.access_unit(n).data && !picture.gap, "picture {n} is not next");
        }
        let sounds: Vec<Duration> =
            self.frames.iter().filter(|frame| matches!(frame.media, Media::Audio(_))).map(|frame| frame.pts).collect();
        assert!(sounds.len() > 100 && sounds.windows(2).skip(20).all(|two| two[0] < two[1]), "sound came twice");
    }
}

/// Records that anybody can write, of every kind and under every epoch, with numbers that are past, far, and the last.
fn forgeries(dice: &mut Dice) -> Vec<Vec<u8>> {
    let hello_verify = [&[3, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 23, 0xFE, 0xFD, 20][..], &dice.bytes::<20>()].concat();
    let hello_request = vec![0; 12];
    let server_hello_done = vec![14, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0];
    let client_hello = [&[1, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 64][..], &dice.bytes::<64>()].concat();
    let finished = [&[20, 0, 0, 12, 0, 5, 0, 0, 0, 0, 0, 12][..], &dice.bytes::<12>()].concat();
    let bodies = [
        (HANDSHAKE, hello_verify),
        (HANDSHAKE, hello_request),
        (HANDSHAKE, server_hello_done),
        (HANDSHAKE, client_hello),
        (HANDSHAKE, finished),
        (CIPHER, vec![1]),
        (ALERT, vec![2, 40]),
        (ALERT, vec![2, 20]),
        (ALERT, vec![1, 0]),
        (DATA, dice.bytes::<64>().to_vec()),
    ];
    let mut records = Vec::new();
    for (kind, body) in bodies {
        for sequence in [0, 7, 40, 1 << 20, (1 << 48) - 1] {
            records.push(record(kind, 0, sequence, &body));
            // In an epoch with a key nothing is shorter than its tag.
            let sealed = [&body[..], &dice.bytes::<24>()].concat();
            for epoch in [1, 2, u16::MAX] {
                records.push(record(kind, epoch, sequence, &sealed));
            }
        }
    }
    records
}

fn streaming(protocol: Protocol) -> Wire {
    let mut wire = Wire::new(protocol);
    assert!(wire.run(10 * SECOND, |wire| wire.pictures().len() > 12), "{protocol:?}: no stream: {:?}", wire.ended);
    wire
}

#[test]
fn row_24_a_session_that_is_said_again_lives_and_shows_nothing_twice() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut wire = streaming(protocol);
        for _ in 0..3 {
            // From the first datagram on: the search, the handshake, the login, and every frame.
            for datagram in wire.recorded.clone() {
                wire.inject(&datagram);
            }
            wire.run(2 * SECOND, |_| false);
        }
        wire.echo = Some(Dice::new(5));
        wire.run(5 * SECOND, |_| false);
        println!("{protocol:?}: {:?}", wire.injected);
        assert_eq!(wire.ended, None, "{protocol:?}");
        for said in [(HANDSHAKE, 0), (CIPHER, 0), (DATA, 1)] {
            assert!(wire.injected.get(&said).is_some_and(|count| *count > 2), "{said:?} was not said again");
        }
        assert!(wire.injected[&(DATA, 1)] > 500, "{:?}", wire.injected);
        wire.assert_nothing_came_twice();
        assert!(wire.pictures().len() > 150, "{protocol:?}: {} pictures", wire.pictures().len());
    }
}

#[test]
fn row_24_forged_hellos_alerts_and_epochs_are_not_listened_to() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut wire = streaming(protocol);
        let mut dice = Dice::new(11);
        let seen = wire.pictures().len();
        for _ in 0..10 {
            for payload in forgeries(&mut dice) {
                for channel in [Channel::Main, Channel::Back] {
                    let forged = wire.forged(channel, payload.clone());
                    wire.inject(&forged);
                    assert_eq!(wire.ended, None, "{protocol:?}: {payload:02x?}");
                }
            }
            wire.run(SECOND / 2, |_| false);
        }
        for kind in [HANDSHAKE, CIPHER, ALERT, DATA] {
            for epoch in [0, 1, 2, u16::MAX] {
                assert!(wire.injected[&(kind, epoch)] >= 100, "{:?}", wire.injected);
            }
        }
        wire.assert_nothing_came_twice();
        assert!(wire.pictures().len() > seen + 60, "{protocol:?}: {} pictures", wire.pictures().len() - seen);
    }
}

/// Where we are the server: what the camera has said on the way to its speaker is said again while somebody talks.
#[test]
fn row_24_a_talk_that_is_said_again_goes_on_and_is_heard_once() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut wire = streaming(protocol);
        wire.client.on_command(wire.now, Command::StartTalk).unwrap();
        wire.collect();
        let opened = |wire: &Wire| wire.events.iter().any(|event| matches!(event, Event::TalkOpen { .. }));
        assert!(wire.run(5 * SECOND, opened), "{protocol:?}: the speaker did not open");
        let is_back = |wire: &Wire, datagram: &[u8]| matches!(wire.dtls_of(datagram), Some((Channel::Back, _)));
        let mut dice = Dice::new(17);
        let forged = forgeries(&mut dice);
        for piece in 0..50 {
            wire.client.on_command(wire.now, Command::Audio(vec![0x7F; 160].into())).unwrap();
            wire.collect();
            let said: Vec<_> = wire.recorded.iter().filter(|datagram| is_back(&wire, datagram)).cloned().collect();
            assert!(said.len() >= 2, "{protocol:?}: the camera said {} things on the way to its speaker", said.len());
            for datagram in said {
                wire.inject(&datagram);
            }
            let datagram = wire.forged(Channel::Back, forged[piece % forged.len()].clone());
            wire.inject(&datagram);
            wire.run(Duration::from_millis(20), |_| false);
        }
        wire.client.on_command(wire.now, Command::StopTalk).unwrap();
        wire.collect();
        let ended = |wire: &Wire| wire.camera_events.contains(&CameraEvent::TalkEnded { frames: 50 });
        assert!(wire.run(2 * SECOND, ended), "{protocol:?}: {:?}", wire.camera_events.last());
        assert!(wire.events.contains(&Event::TalkClosed { why: TalkEnd::Asked }), "{protocol:?}: {:?}", wire.events);
        assert_eq!(wire.ended, None, "{protocol:?}");
    }
}
