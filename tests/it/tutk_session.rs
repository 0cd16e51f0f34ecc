//! The client session against the virtual camera, both without sockets, in virtual time, over a network
//! that loses, doubles and overtakes by a printed seed.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use doorstep::clock;
use doorstep::media::AudioFormat;
use doorstep::media::g711::Law;
use doorstep::proto::tutk::dtls;
use doorstep::proto::tutk::frame::CodecId;
use doorstep::proto::tutk::session::{
    AvFrame, ClientSession, Command, Event, Media, Quality, SessionError, SessionRandom, Setup, Silence, SoundFormat,
    TalkEnd, Transport,
};
use doorstep::proto::{Lane, Output, Session};
use doorstep::sim::clip::Clip;
use doorstep::sim::lossy_link::{Dice, Weather};
use doorstep::sim::tutk_camera::{
    CameraCommand, CameraEvent, CameraSession, ChallengeStatus, Fault, Protocol, Settings,
};

const SECOND: Duration = Duration::from_secs(1);
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 40_000);
const CAMERA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)), 32_761);

fn settings(protocol: Protocol) -> Settings {
    Settings { protocol, ..Settings::generate(1) }
}

fn faulty(protocol: Protocol, fault: Fault) -> Settings {
    Settings { fault: Some(fault), ..settings(protocol) }
}

/// A datagram on its way.
struct Late {
    due: Instant,
    to_camera: bool,
    from: SocketAddr,
    payload: Vec<u8>,
}

/// A client, a camera, and the network between them.
struct Pair {
    start: Instant,
    now: Instant,
    client: ClientSession,
    camera: CameraSession,
    weather: Weather,
    dice: Dice,
    network: Vec<Late>,
    /// What the client said, and when; frames are kept apart.
    events: Vec<(Duration, Event)>,
    frames: Vec<(Duration, AvFrame)>,
    camera_events: Vec<CameraEvent>,
    ended: Option<SessionError>,
}

impl Pair {
    fn new(settings: Settings, weather: Weather, seed: u64) -> Self {
        Self::trying(None, settings, weather, seed)
    }

    fn trying(transport: Option<Transport>, settings: Settings, weather: Weather, seed: u64) -> Self {
        let now = clock::now().into_std();
        let enr = settings.enr_under(settings.fault).expose().to_owned();
        let setup = Setup {
            uid: settings.uid,
            enr,
            mac: settings.mac.clone(),
            model: settings.model.clone(),
            address: CAMERA,
            transport,
            quality: Quality::Hd,
            random: SessionRandom::from_bytes(Dice::new(seed).bytes()),
            unix_time: 1_700_000_000,
            dtls: dtls::openssl(),
        };
        Self {
            start: now,
            now,
            client: ClientSession::new(setup, now),
            camera: CameraSession::new(settings, seed, now, SystemTime::UNIX_EPOCH + 1_700_000_000 * SECOND).unwrap(),
            weather,
            dice: Dice::new(seed ^ 0xA5A5),
            network: Vec::new(),
            events: Vec::new(),
            frames: Vec::new(),
            camera_events: Vec::new(),
            ended: None,
        }
    }

    fn fair(settings: Settings) -> Self {
        Self::new(settings, Weather { delay: Duration::from_millis(2), ..Weather::default() }, 1)
    }

    /// One that streams.
    fn streaming(settings: Settings) -> Self {
        let mut pair = Self::fair(settings);
        assert!(pair.run(5 * SECOND, |pair| pair.pictures() > 2 && pair.sounds() > 2), "no stream: {:?}", pair.ended);
        pair
    }

    fn passed(&self) -> Duration {
        self.now - self.start
    }

    fn post(&mut self, to_camera: bool, from: SocketAddr, payload: Vec<u8>) {
        let copies = if self.dice.roll(self.weather.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let late_by = if self.dice.roll(self.weather.reorder) { Weather::REORDER_BY } else { Duration::ZERO };
            let due = self.now + self.weather.delay + late_by;
            if !self.dice.roll(self.weather.loss) {
                self.network.push(Late { due, to_camera, from, payload: payload.clone() });
            }
        }
    }

    fn collect(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Send { payload, .. } => self.post(true, CLIENT, payload),
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

    fn command(&mut self, command: Command) {
        self.client.on_command(self.now, command).unwrap();
        self.collect();
    }

    fn tell_camera(&mut self, command: CameraCommand) {
        let Ok(()) = self.camera.on_command(self.now, command);
        self.collect();
    }

    /// Lets time pass until `is_done` or for `limit`; tells whether it was done. Stops when the session fails.
    fn run(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) -> bool {
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

    fn step(&mut self) {
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

    fn note(&mut self, outcome: Result<(), SessionError>) {
        self.ended = self.ended.take().or(outcome.err());
    }

    fn wait_for(&mut self, limit: Duration, event: impl Fn(&Event) -> bool) -> bool {
        self.run(limit, |pair| pair.heard(&event))
    }

    fn heard(&self, event: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(|(_, heard)| event(heard))
    }

    fn pictures(&self) -> usize {
        self.frames.iter().filter(|(_, frame)| is_picture(frame)).count()
    }

    fn sounds(&self) -> usize {
        self.frames.len() - self.pictures()
    }

    fn talk(&mut self) -> SoundFormat {
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
    fn say_tone(&mut self, pieces: u64) {
        for piece in 0..pieces {
            let sample = |n: u64| {
                let angle = 2.0 * std::f64::consts::PI * 440.0 * (piece * 160 + n) as f64 / 8_000.0;
                Law::Mu.encode((angle.sin() * 8_000.0) as i16)
            };
            self.command(Command::Audio((0..160).map(sample).collect::<Vec<u8>>().into()));
            self.run(Duration::from_millis(20), |_| false);
        }
    }

    fn violations(&self) -> Vec<&CameraEvent> {
        self.camera_events.iter().filter(|event| matches!(event, CameraEvent::Check { ok: false, .. })).collect()
    }
}

fn is_picture(frame: &AvFrame) -> bool {
    matches!(frame.media, Media::Video { .. })
}

#[test]
fn in_fair_weather_every_frame_arrives_as_it_was_sent() {
    for (protocol, transport) in [(Protocol::Old, Transport::Old), (Protocol::New, Transport::New)] {
        let mut pair = Pair::fair(settings(protocol));
        assert!(pair.run(15 * SECOND, |pair| pair.pictures() >= 200), "{protocol:?}: {:?}", pair.ended);
        assert!(pair.heard(|event| *event == Event::Found { transport }));
        assert!(pair.heard(|event| matches!(event, Event::LoggedIn { two_way: true, .. })));
        let clip = Clip::h264();
        let pictures: Vec<_> = pair.frames.iter().map(|(_, frame)| frame).filter(|frame| is_picture(frame)).collect();
        assert!(pictures.iter().all(|picture| !picture.gap), "{protocol:?}: a gap was told");
        // The resolution request right after the login makes the camera skip to another keyframe once.
        let pictures = &pictures[10..];
        let first = (0..200).find(|n| clip.access_unit(*n).data == pictures[0].data).expect("a picture of the clip");
        for (picture, sent) in pictures.iter().zip((first..).map(|n| clip.access_unit(n))) {
            assert!(picture.data == sent.data, "{protocol:?}: the picture at {:?} is another", sent.pts);
            let media = Media::Video { codec: CodecId::H264, keyframe: sent.keyframe };
            assert_eq!(picture.media, media, "{protocol:?}, picture at {:?}", sent.pts);
        }
        for pair in pictures.windows(2) {
            let step = pair[1].pts - pair[0].pts;
            assert!(step.abs_diff(Clip::INTERVAL) < Duration::from_millis(2), "a step of {step:?}");
        }
        assert_eq!(pair.violations(), Vec::<&CameraEvent>::new(), "{protocol:?}");
    }
}

#[test]
fn video_of_either_codec_and_sound_of_every_kind_comes_with_its_format() {
    let pcm = AudioFormat { codec: doorstep::media::AudioCodec::Pcm, rate_hz: 16_000, channels: 1 };
    let aac = AudioFormat { codec: doorstep::media::AudioCodec::Aac, ..pcm };
    for (audio, codec) in [
        (AudioFormat::PCMU, CodecId::Pcmu),
        (AudioFormat::PCMA, CodecId::Pcma),
        (pcm, CodecId::Pcm),
        (aac, CodecId::AacWyze),
        (AudioFormat::OPUS, CodecId::Opus),
    ] {
        let h265 = doorstep::media::VideoCodec::H265;
        let camera = Settings { audio: Some(audio), codec: h265, ..settings(Protocol::New) };
        let pair = Pair::streaming(camera);
        let format = SoundFormat { codec, rate_hz: audio.rate_hz, channels: audio.channels };
        for (_, frame) in &pair.frames {
            match frame.media {
                Media::Audio(heard) => assert_eq!(heard, format),
                Media::Video { codec, .. } => assert_eq!(codec, CodecId::H265),
            }
            let has_adts = frame.data.starts_with(&[0xFF, 0xF1]) && codec == CodecId::AacWyze;
            assert!(!has_adts, "an ADTS header was left on");
        }
    }
}

#[test]
fn a_transport_that_was_ruled_out_is_not_tried() {
    for (only, spoken) in [(Transport::Old, Protocol::New), (Transport::New, Protocol::Old)] {
        let mut other = Pair::trying(Some(only), settings(spoken), Weather::default(), 1);
        other.run(6 * SECOND, |pair| pair.ended.is_some());
        assert_eq!(other.ended, Some(SessionError::NotFound), "{only:?} only");
        let mut both = Pair::trying(Some(only), faulty(spoken, Fault::BothFamilies), Weather::default(), 1);
        assert!(both.wait_for(5 * SECOND, |event| *event == Event::Found { transport: only }), "{only:?} only");
    }
}

/// What one session under loss came to.
struct Report {
    streaming_after: Duration,
    sent: usize,
    delivered: usize,
    longest_stall: Duration,
}

fn session_under(loss: f64, seed: u64) -> Result<Report, String> {
    const WATCHED: Duration = Duration::from_secs(5);
    let protocol = if seed.is_multiple_of(2) { Protocol::New } else { Protocol::Old };
    let mut pair = Pair::new(settings(protocol), Weather::lossy(loss), seed);
    if !pair.wait_for(30 * SECOND, |event| matches!(event, Event::LoggedIn { .. })) {
        return Err(format!("seed {seed}, {protocol:?}: {:?} after {:?}", pair.ended, pair.passed()));
    }
    let streaming_after = pair.passed();
    pair.run(WATCHED, |_| false);
    if let Some(error) = pair.ended {
        return Err(format!("seed {seed}, {protocol:?}: fell over in the stream: {error}"));
    }
    let from = streaming_after + SECOND;
    let seen: Vec<Duration> =
        pair.frames.iter().filter(|(at, frame)| is_picture(frame) && *at >= from).map(|(at, _)| *at).collect();
    let stalls = seen.windows(2).map(|two| two[1] - two[0]);
    Ok(Report {
        streaming_after,
        sent: ((WATCHED - SECOND).as_millis() / Clip::INTERVAL.as_millis()) as usize,
        delivered: seen.len(),
        longest_stall: stalls.max().unwrap_or(WATCHED),
    })
}

/// Reliability row 19, with 100 seeds. Its share of delivered frames is out of reach without the media
/// format with retransmission, which nobody has described: what is lost on the way stays lost. What can
/// be kept is that no frame is lost whose packets all came (`reassembly`), and that a stream never stands
/// still.
#[expect(clippy::print_stdout, reason = "the figures are what the test is read for")]
fn sessions_come_up_and_stay_up(percent: u32, limit: Duration) {
    let reports: Vec<_> = (0..100).map(|seed| session_under(f64::from(percent) / 100.0, seed)).collect();
    let (up, failed): (Vec<_>, Vec<_>) = reports.into_iter().partition(Result::is_ok);
    let up: Vec<Report> = up.into_iter().flatten().collect();
    let failures: Vec<String> = failed.into_iter().filter_map(Result::err).collect();
    let mut times: Vec<Duration> = up.iter().map(|report| report.streaming_after).collect();
    times.sort();
    let in_time = times.iter().filter(|time| **time <= limit).count();
    let sent: usize = up.iter().map(|report| report.sent).sum();
    let delivered = up.iter().map(|report| report.delivered).sum::<usize>() as f64 / sent as f64;
    let stall = up.iter().map(|report| report.longest_stall).max().unwrap();
    println!(
        "{percent} % lost, 100 seeds: streaming after {:?} (half), {:?} (99); {:.1} % of the pictures; \
         longest stall {stall:?}; failed: {failures:?}",
        times[times.len() / 2],
        times[(times.len() - 1) * 99 / 100],
        100.0 * delivered,
    );
    assert!(in_time >= 99, "{in_time} of 100 sessions streamed within {limit:?} at {percent} %: {failures:?}");
    assert!(stall <= 2 * SECOND, "a stream stood still for {stall:?} at {percent} %");
    assert!(percent > 0 || delivered > 0.99, "{:.1} % without loss", delivered * 100.0);
}

#[test]
fn sessions_come_up_at_once_without_loss() {
    sessions_come_up_and_stay_up(0, SECOND);
}

#[test]
fn sessions_come_up_within_3_s_at_5_percent_loss() {
    sessions_come_up_and_stay_up(5, 3 * SECOND);
}

#[test]
fn sessions_come_up_within_5_s_at_10_percent_loss() {
    sessions_come_up_and_stay_up(10, 5 * SECOND);
}

#[test]
fn sessions_come_up_within_12_s_at_20_percent_loss() {
    sessions_come_up_and_stay_up(20, 12 * SECOND);
}

/// Reliability row 21.
#[test]
fn overtaken_and_doubled_datagrams_change_no_byte_of_the_stream() {
    let weather = Weather { reorder: 0.25, duplicate: 0.1, ..Weather::lossy(0.0) };
    for seed in 0..20_u64 {
        let mut pair = Pair::new(settings(Protocol::New), weather, seed);
        assert!(pair.run(20 * SECOND, |pair| pair.pictures() >= 100), "seed {seed}: {:?}", pair.ended);
        let clip = Clip::h264();
        let pictures: Vec<_> = pair.frames.iter().map(|(_, frame)| frame).filter(|frame| is_picture(frame)).collect();
        // Behind the keyframe that the camera skipped to for the resolution request.
        let first = (0..200).find(|n| clip.access_unit(*n).data == pictures[10].data).expect("a picture of the clip");
        for (picture, n) in pictures[10..].iter().zip(first..) {
            assert!(picture.data == clip.access_unit(n).data && !picture.gap, "seed {seed}: picture {n} is not next");
        }
    }
}

#[test]
fn every_kind_of_challenge_is_answered() {
    for challenge in [ChallengeStatus::Default, ChallengeStatus::Enr16, ChallengeStatus::Enr32] {
        let pair = Pair::streaming(Settings { challenge, ..settings(Protocol::New) });
        assert_eq!(pair.violations(), Vec::<&CameraEvent>::new(), "{challenge:?}");
    }
}

#[test]
fn talk_reaches_the_speaker_and_its_end_reaches_the_camera() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut pair = Pair::streaming(settings(protocol));
        let asked = pair.passed();
        let format = pair.talk();
        let took = pair.passed() - asked;
        assert_eq!(format, SoundFormat { codec: CodecId::Pcmu, rate_hz: 8_000, channels: 1 });
        assert!((500..700).contains(&took.as_millis()), "{protocol:?}: the speaker opened after {took:?}");
        pair.say_tone(100);
        let heard = pair.camera_events.iter().rev().find_map(|event| match event {
            CameraEvent::TalkAudio { tone_hz, frames, .. } => Some((*tone_hz, *frames)),
            _ => None,
        });
        let (tone_hz, frames) = heard.expect("the camera heard nothing");
        assert!(frames >= 50 && (430.0..450.0).contains(&tone_hz.unwrap()), "{frames} frames of {tone_hz:?} Hz");
        pair.command(Command::StopTalk);
        assert!(pair.heard(|event| *event == Event::TalkClosed { why: TalkEnd::Asked }));
        let ended = |pair: &Pair| pair.camera_events.contains(&CameraEvent::TalkEnded { frames: 100 });
        assert!(pair.run(SECOND, ended), "{protocol:?}: the camera was not told: {:?}", pair.camera_events.last());
        assert_eq!(pair.violations(), Vec::<&CameraEvent>::new(), "{protocol:?}");
        let before = pair.pictures();
        assert!(pair.run(SECOND, |pair| pair.pictures() > before + 10), "the picture stopped with the talk");
    }
}

#[test]
fn a_second_talk_works_like_the_first() {
    let mut pair = Pair::streaming(settings(Protocol::Old));
    for round in 1..=3 {
        pair.talk();
        pair.say_tone(10);
        pair.command(Command::StopTalk);
        pair.events.clear();
        let ends = |pair: &Pair| {
            pair.camera_events.iter().filter(|event| matches!(event, CameraEvent::TalkEnded { frames: 10 })).count()
        };
        assert!(pair.run(SECOND, |pair| ends(pair) == round), "talk {round} did not end");
    }
    assert_eq!(pair.violations(), Vec::<&CameraEvent>::new());
}

#[test]
fn a_talk_wished_for_too_early_begins_with_the_stream() {
    let mut pair = Pair::fair(settings(Protocol::New));
    pair.command(Command::StartTalk);
    assert!(pair.wait_for(5 * SECOND, |event| matches!(event, Event::TalkOpen { .. })), "{:?}", pair.events);
}

#[test]
fn without_the_cameras_sound_there_is_no_talk() {
    let mut pair = Pair::fair(Settings { audio: None, ..settings(Protocol::New) });
    assert!(pair.run(5 * SECOND, |pair| pair.pictures() > 2));
    pair.command(Command::StartTalk);
    assert!(pair.wait_for(6 * SECOND, |event| *event == Event::TalkClosed { why: TalkEnd::NoSound }));
}

#[test]
fn talk_opens_under_loss() {
    for seed in 0..50 {
        let mut pair = Pair::new(settings(Protocol::New), Weather::lossy(0.1), seed);
        assert!(pair.run(20 * SECOND, |pair| pair.sounds() > 0), "seed {seed}: {:?}", pair.ended);
        pair.command(Command::StartTalk);
        let opened = pair.wait_for(8 * SECOND, |event| matches!(event, Event::TalkOpen { .. }));
        assert!(opened, "seed {seed}: {:?}", pair.events.last());
    }
}

#[test]
fn closing_ends_the_talk_and_takes_leave() {
    let mut pair = Pair::streaming(settings(Protocol::New));
    pair.talk();
    pair.say_tone(5);
    pair.client.on_close(pair.now);
    pair.collect();
    pair.ended = Some(SessionError::Closed);
    pair.network.retain(|late| late.to_camera);
    pair.now += SECOND;
    pair.step();
    let ends: Vec<_> = pair
        .camera_events
        .iter()
        .filter(|event| matches!(event, CameraEvent::TalkEnded { .. } | CameraEvent::SessionEnded { .. }))
        .collect();
    let closed = CameraEvent::SessionEnded { why: "the client closed it" };
    assert_eq!(ends, [&CameraEvent::TalkEnded { frames: 5 }, &closed]);
}

#[test]
fn each_fault_ends_in_the_error_that_says_what_to_do() {
    for (fault, limit, error) in
        [(Fault::NoAnswer, 6, SessionError::NotFound), (Fault::WrongPsk, 12, SessionError::WrongKey)]
    {
        for protocol in [Protocol::Old, Protocol::New] {
            let mut pair = Pair::fair(faulty(protocol, fault));
            pair.run(limit * SECOND, |pair| pair.ended.is_some());
            assert_eq!(pair.ended.as_ref(), Some(&error), "{fault} {protocol:?}");
        }
    }
    let mut pair = Pair::fair(faulty(Protocol::New, Fault::LoginRefused));
    pair.run(12 * SECOND, |pair| pair.ended.is_some());
    assert!(matches!(pair.ended, Some(SessionError::LoginRefused { .. })), "{:?}", pair.ended);
}

#[test]
fn faults_that_can_be_borne_are_borne() {
    let borne = [Fault::BothFamilies, Fault::Duplicate, Fault::Swap, Fault::Loss, Fault::EnrWithNul];
    for fault in borne {
        for protocol in [Protocol::Old, Protocol::New] {
            let mut pair = Pair::fair(faulty(protocol, fault));
            let came = pair.run(20 * SECOND, |pair| pair.pictures() >= 100);
            assert!(came, "{fault} {protocol:?}: {} pictures, {:?}", pair.pictures(), pair.ended);
            let gaps = pair.frames.iter().filter(|(_, frame)| frame.gap).count();
            assert_eq!(gaps > 0, fault == Fault::Loss, "{fault} {protocol:?}: {gaps} gaps were told");
        }
    }
}

#[test]
fn a_frozen_camera_is_noticed_within_five_seconds() {
    let mut pair = Pair::streaming(settings(Protocol::Old));
    pair.tell_camera(CameraCommand::Fault(Some(Fault::Freeze)));
    let frozen = pair.passed();
    assert!(pair.run(10 * SECOND, |pair| pair.ended.is_some()), "nobody noticed");
    assert_eq!(pair.ended, Some(SessionError::Silent(Silence::Media)));
    assert!(pair.frames.iter().all(|(at, _)| *at <= frozen + Duration::from_millis(100)));
    assert!(pair.passed() - frozen <= 6 * SECOND);
}

#[test]
fn a_camera_that_moves_to_another_port_is_followed() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut pair = Pair::streaming(settings(protocol));
        pair.tell_camera(CameraCommand::Fault(Some(Fault::PortChange)));
        let before = pair.pictures();
        assert!(pair.run(10 * SECOND, |pair| pair.pictures() > before + 100), "{protocol:?}: {:?}", pair.ended);
    }
}

#[test]
fn a_gap_of_two_seconds_is_survived_and_keeps_its_length() {
    let mut pair = Pair::streaming(settings(Protocol::New));
    pair.tell_camera(CameraCommand::Fault(Some(Fault::MediaGap)));
    let before = pair.pictures();
    assert!(pair.run(10 * SECOND, |pair| pair.pictures() > before + 20), "{:?}", pair.ended);
    let pictures: Vec<_> = pair.frames.iter().filter(|(_, frame)| is_picture(frame)).collect();
    let longest = pictures.windows(2).map(|two| (two[1].1.pts - two[0].1.pts, two[1].0 - two[0].0)).max().unwrap();
    assert!(longest.0.abs_diff(longest.1) < Duration::from_millis(60), "shown {:?}, was {:?}", longest.0, longest.1);
    assert!(longest.0 > Duration::from_millis(1_900));
}

#[test]
fn a_back_channel_that_never_opens_ends_the_talk_and_not_the_stream() {
    let mut pair = Pair::streaming(settings(Protocol::New));
    pair.tell_camera(CameraCommand::Fault(Some(Fault::NoBackChannel)));
    pair.command(Command::StartTalk);
    assert!(pair.wait_for(11 * SECOND, |event| *event == Event::TalkClosed { why: TalkEnd::NoAnswer }));
    assert_eq!(pair.ended, None);
    pair.tell_camera(CameraCommand::Fault(None));
    pair.talk();
}

#[test]
fn many_keyframe_requests_are_one_and_the_resolution_can_be_changed() {
    let resolutions = |pair: &Pair| -> Vec<(u16, u8)> {
        let resolution = |event: &CameraEvent| match event {
            CameraEvent::Resolution { command, frame_size, .. } => Some((*command, *frame_size)),
            _ => None,
        };
        pair.camera_events.iter().filter_map(resolution).collect()
    };
    let mut pair = Pair::streaming(settings(Protocol::New));
    assert_eq!(resolutions(&pair), [(10_056, 3)], "what the model calls for is asked for after the login");
    for _ in 0..50 {
        pair.command(Command::RequestKeyframe);
    }
    pair.run(5 * SECOND, |_| false);
    let after = resolutions(&pair).len();
    assert!(after <= 2, "50 wishes became {after} requests");
    pair.command(Command::SetQuality(Quality::Sd));
    assert!(pair.run(SECOND, |pair| resolutions(pair).last() == Some(&(10_056, 1))), "{:?}", resolutions(&pair));
    let old = Pair::streaming(Settings { model: "WYZEDB3".into(), ..settings(Protocol::New) });
    assert_eq!(resolutions(&old), [(10_052, 0)]);
}

#[test]
fn a_stranger_is_not_listened_to() {
    let mut pair = Pair::streaming(settings(Protocol::New));
    let stranger = SocketAddr::from(([10, 0, 0, 66], 32_761));
    let genuine: Vec<Vec<u8>> = std::mem::take(&mut pair.network).into_iter().map(|late| late.payload).collect();
    let before = (pair.events.len(), pair.frames.len());
    pair.run(Duration::from_millis(200), |pair| !pair.network.is_empty());
    for payload in genuine.into_iter().chain(pair.network.drain(..).map(|late| late.payload).collect::<Vec<_>>()) {
        pair.client.on_datagram(pair.now, Lane::MAIN, stranger, &payload).unwrap();
        assert!(pair.client.poll().is_none(), "a stranger was answered");
    }
    assert_eq!((pair.events.len(), pair.frames.len()), before);
}

#[test]
fn noise_in_any_phase_does_no_harm() {
    for seed in 0..20_u64 {
        let protocol = if seed.is_multiple_of(2) { Protocol::New } else { Protocol::Old };
        let mut pair = Pair::fair(settings(protocol));
        let mut dice = Dice::new(seed);
        for _ in 0..400 {
            pair.run(Duration::from_millis(5), |_| false);
            let mut noise =
                pair.network.iter().rfind(|late| !late.to_camera).map_or(vec![0; 64], |l| l.payload.clone());
            for _ in 0..3 {
                let [at, bit] = dice.bytes::<2>();
                let at = usize::from(at) % noise.len();
                noise[at] ^= bit;
            }
            pair.client.on_datagram(pair.now, Lane::MAIN, CAMERA, &noise).unwrap();
            let len = usize::from(dice.bytes::<1>()[0]);
            pair.client.on_datagram(pair.now, Lane::MAIN, CAMERA, &dice.bytes::<256>()[..len]).unwrap();
            pair.collect();
        }
        let came = pair.run(20 * SECOND, |pair| pair.pictures() > 20);
        assert!(came, "seed {seed}: noise ended the session: {:?}", pair.ended);
    }
}

#[test]
fn sound_before_the_line_is_open_goes_nowhere() {
    let mut pair = Pair::streaming(settings(Protocol::New));
    let sent = pair.network.len();
    pair.command(Command::Audio(Bytes::from_static(&[0xFF; 160])));
    pair.command(Command::StopTalk);
    assert_eq!((pair.network.len(), pair.ended.is_none()), (sent, true));
    assert!(!pair.heard(|event| matches!(event, Event::TalkClosed { .. })));
}
