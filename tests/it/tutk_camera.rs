//! The virtual TUTK camera keeps the promises of docs/protocol/tutk.md and breaks exactly those that a
//! fault names. The client here is made by hand from codecs; it has no state machine of its own.

use std::time::{Duration, Instant, SystemTime};

use doorstep::clock;
use doorstep::media::{AudioCodec, AudioFormat, VideoCodec};
use doorstep::proto::tutk::cc51::{self, Direction, Discovery};
use doorstep::proto::tutk::frame::{CodecId, MediaChannel, MediaPacket};
use doorstep::proto::tutk::iotc::{self, DiscoRequest, SessionRequest, Stage};
use doorstep::proto::tutk::kcommand::{
    AuthRequest, AuthResult, Challenge, ChallengeResponse, ControlChannel, ControlMessage, IoCtrl, KCommand, MediaType,
    Quality, Resolution, ResolutionCommand,
};
use doorstep::proto::tutk::keys::AuthKey;
use doorstep::proto::tutk::login::{Ack, AvLogin, AvLoginResponse, LoginHead};
use doorstep::proto::tutk::talk::{SoundFormat, TalkStream};
use doorstep::proto::{Lane, Output, Session};
use doorstep::sim::dice::Dice;
use doorstep::sim::tutk_camera::{
    CameraCommand, CameraEvent, CameraSession, ChallengeStatus, Fault, Protocol, Settings,
};

use crate::support::tutk_hand::Hand;

const STEP: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

fn settings(protocol: Protocol) -> Settings {
    Settings { protocol, ..Settings::generate(1) }
}

/// A camera, and a client that is told each thing to do.
struct Rig {
    now: Instant,
    camera: CameraSession,
    events: Vec<CameraEvent>,
    client: Hand,
}

impl Rig {
    fn new(settings: Settings, protocol: Protocol) -> Self {
        let now = clock::now().into_std();
        let client = Hand::new(&settings, protocol, 1);
        let camera = CameraSession::new(settings, 7, now, SystemTime::UNIX_EPOCH + 1_000 * SECOND).unwrap();
        Self { now, camera, events: Vec::new(), client }
    }

    /// A camera with a client whose session is up and whose media flow.
    fn streaming(settings: Settings, protocol: Protocol) -> Self {
        let mut rig = Self::new(settings, protocol);
        rig.connect();
        let result = rig.authenticate();
        assert!(result.is_accepted(), "the camera refused: {:?}", rig.events);
        rig
    }

    fn order(&mut self, command: CameraCommand) {
        self.camera.on_command(self.now, command).unwrap();
        self.pump();
    }

    fn deliver(&mut self, datagram: &[u8]) {
        self.camera.on_datagram(self.now, Lane::MAIN, self.client.address, datagram).unwrap();
    }

    /// Carries datagrams both ways until neither side has one.
    fn pump(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.camera.poll() {
                quiet = false;
                match output {
                    Output::Event(event) => self.events.push(event),
                    Output::Send { lane, to, payload } if to == self.client.address => {
                        self.client.lanes.push(lane);
                        if let Some(answer) = self.client.on_datagram(self.now, payload) {
                            self.deliver(&answer);
                        }
                    }
                    Output::Send { .. } => {}
                }
            }
            for datagram in self.client.outgoing() {
                quiet = false;
                self.deliver(&datagram);
            }
            if quiet {
                return;
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            if self.camera.deadline().is_some_and(|at| at <= self.now) {
                self.camera.on_timeout(self.now).unwrap();
                assert!(self.camera.deadline().is_none_or(|at| at > self.now), "the deadline stands still");
            }
            self.client.acknowledge(self.now);
            self.pump();
        }
    }

    /// Discovery, session and DTLS.
    fn connect(&mut self) {
        assert!(self.discover(), "no answer to discovery");
        self.client.main.on_timeout(self.now).unwrap();
        self.pump();
    }

    /// Whether the camera answered and opened a session.
    fn discover(&mut self) -> bool {
        match self.client.wire.protocol {
            Protocol::Old => self.discover_old(),
            _ => self.discover_new(),
        }
    }

    fn discover_old(&mut self) -> bool {
        let (uid, session_id) = (self.uid(), self.client.wire.session_id);
        let stage = Stage::Broadcast(AuthKey::derive(&self.client.enr, &settings(Protocol::Old).mac));
        self.deliver(&iotc::Packet::DiscoRequest(DiscoRequest { uid, session_id, stage }).encode());
        self.pump();
        let Some(answer) = self.client.answers.pop() else { return false };
        assert!(matches!(iotc::Packet::decode(&answer), Ok(iotc::Packet::DiscoResponse { .. })));
        self.deliver(&iotc::Packet::DiscoRequest(DiscoRequest { uid, session_id, stage: Stage::Direct }).encode());
        self.deliver(&iotc::Packet::SessionRequest(SessionRequest { uid, session_id, unix_time: 1 }).encode());
        self.pump();
        let Some(answer) = self.client.answers.pop() else { return false };
        matches!(iotc::Packet::decode(&answer), Ok(iotc::Packet::SessionResponse { .. }))
    }

    fn discover_new(&mut self) -> bool {
        let mut ticket = 0;
        for (asked, answered) in [(0, 1), (2, 3)] {
            let session_id = self.client.wire.session_id;
            let request = Discovery { direction: Direction::Request, sequence: asked, ticket, session_id };
            self.deliver(&cc51::Packet::Discovery(request).encode(&self.client.wire.key));
            self.pump();
            let Some(answer) = self.client.answers.pop() else { return false };
            let Ok(received) = cc51::Packet::decode(&answer, &self.client.wire.key) else { return false };
            let cc51::Packet::Discovery(answer) = received.packet else { return false };
            assert_eq!((answer.sequence, answer.direction), (answered, Direction::Response));
            ticket = answer.ticket;
        }
        self.client.wire.ticket = ticket;
        true
    }

    fn log_in(&mut self) -> AvLoginResponse {
        for login in AvLogin::pair(&self.client.enr, [255, 2, 3, 4]) {
            self.client.main.send(&login.encode()).unwrap();
        }
        self.pump();
        let answer = AvLoginResponse::decode(&self.client.messages.pop_front().expect("a login answer")).unwrap();
        assert_eq!(answer.random_id, [0, 2, 3, 4], "the second login is the one to answer");
        self.client.next_ack = Some(self.now);
        answer
    }

    fn authenticate(&mut self) -> AuthResult {
        self.log_in();
        let challenge = Challenge::decode(&self.ask(AuthRequest::default().command())).unwrap();
        let answer = challenge.answer(&self.client.enr);
        self.respond(answer)
    }

    fn respond(&mut self, answer: [u8; 16]) -> AuthResult {
        let response = ChallengeResponse { answer, session_id: [9; 4], video: true, audio: true };
        AuthResult::decode(&self.ask(response.command())).unwrap()
    }

    fn ask(&mut self, command: KCommand) -> KCommand {
        let frame = self.client.frame(command);
        self.ask_with(&frame).expect("an answer")
    }

    fn ask_with(&mut self, frame: &IoCtrl) -> Option<KCommand> {
        self.client.main.send(&frame.encode()).unwrap();
        self.pump();
        let answer = self.client.messages.pop_front()?;
        ControlMessage::decode(&answer).unwrap().command
    }

    fn uid(&self) -> doorstep::proto::tutk::keys::Uid {
        settings(Protocol::Old).uid
    }

    fn saw(&self, event: &CameraEvent) -> bool {
        self.events.contains(event)
    }

    fn ended(&self) -> Option<&'static str> {
        self.events.iter().find_map(|event| match event {
            CameraEvent::SessionEnded { why } => Some(*why),
            _ => None,
        })
    }

    /// The last verdict of each check that failed last.
    fn broken(&self) -> Vec<&'static str> {
        let mut standing = std::collections::BTreeMap::new();
        for event in &self.events {
            if let CameraEvent::Check { name, ok, .. } = event {
                standing.insert(*name, *ok);
            }
        }
        standing.into_iter().filter(|(_, ok)| !ok).map(|(name, _)| name).collect()
    }

    fn take_media(&mut self) -> Vec<MediaPacket> {
        std::mem::take(&mut self.client.media)
    }

    /// Starts talk, and returns whether the camera opened the back channel and was let in.
    fn start_talk(&mut self) -> bool {
        let consent = self.ask(ControlChannel { media: MediaType::ReturnAudio, enable: true }.command());
        assert_eq!(consent.command, 10_011);
        self.run(SECOND);
        let Some(login) = self.client.back_messages.pop_front() else { return false };
        let random_id = LoginHead::decode(&login).unwrap().random_id;
        let back = self.client.back.as_mut().unwrap();
        back.send(&AvLoginResponse::accept(random_id).encode()).unwrap();
        self.pump();
        self.saw(&CameraEvent::TalkStarted)
    }

    /// Speaks a tone of 500 Hz in µ-law for three seconds.
    fn speak(&mut self) {
        let mut stream = TalkStream::new(SoundFormat { codec: CodecId::Pcmu, rate_hz: 8_000, channels: 1 });
        for _ in 0..150 {
            // Sixteen samples a period; µ-law codes of a square wave.
            let square: Vec<u8> = (0..160).map(|n| if n % 16 < 8 { 0x9F } else { 0x1F }).collect();
            for frame in stream.frames(&square) {
                self.client.back.as_mut().unwrap().send(&frame.encode()).unwrap();
            }
            self.run(Duration::from_millis(20));
        }
    }
}

fn pictures(media: &[MediaPacket]) -> Vec<&MediaPacket> {
    media.iter().filter(|packet| packet.header.channel != MediaChannel::Audio && packet.info.is_some()).collect()
}

#[test]
fn both_transports_stream_the_clip_and_every_check_holds() {
    for protocol in [Protocol::Old, Protocol::New] {
        for challenge in [ChallengeStatus::Default, ChallengeStatus::Enr16, ChallengeStatus::Enr32] {
            let mut rig = Rig::streaming(Settings { challenge, ..settings(protocol) }, protocol);
            rig.ask(Resolution::of_model("HL_DB2", Quality::Hd).command(ResolutionCommand::General));
            rig.take_media();
            rig.run(3 * SECOND);
            let media = rig.take_media();
            assert!((59..=61).contains(&pictures(&media).len()), "{} pictures in 3 s", pictures(&media).len());
            let sounds = media.iter().filter(|packet| packet.header.channel == MediaChannel::Audio).count();
            assert!((149..=151).contains(&sounds), "{sounds} packets of sound in 3 s");
            assert_eq!(rig.client.keepalives, 3);
            assert_eq!(rig.broken(), [""; 0], "{protocol:?} {challenge:?}");
            assert!(rig.saw(&CameraEvent::Check { name: "challenge_response", ok: true, violations: 0 }));
        }
    }
}

#[test]
fn packets_come_in_order_and_a_keyframe_begins_with_its_parameter_sets() {
    for (codec, first_nal) in [(VideoCodec::H264, [0, 0, 0, 1, 0x67]), (VideoCodec::H265, [0, 0, 0, 1, 0x40])] {
        let mut rig = Rig::streaming(Settings { codec, ..settings(Protocol::New) }, Protocol::New);
        rig.run(SECOND);
        let media = rig.take_media();
        let sequence: Vec<u16> = media.iter().map(|packet| packet.header.tx_sequence).collect();
        assert!(sequence.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequence:?}");
        let first = media.iter().find(|packet| packet.header.channel != MediaChannel::Audio).unwrap();
        assert_eq!(first.header.channel, MediaChannel::IVideo, "the first picture is a keyframe");
        assert!(first.payload.starts_with(&first_nal), "{:02x?}", &first.payload[..8]);
        let info = pictures(&media)[0].info.clone().unwrap();
        assert_eq!((info.flags, info.timestamp_s, info.timestamp_us), (1, 1_000, 0));
    }
}

#[test]
fn a_stranger_gets_no_answer() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut rig = Rig::new(settings(protocol), protocol);
        rig.client = Hand::new(&Settings { enr: Settings::generate(2).enr, ..settings(protocol) }, protocol, 1);
        assert!(!rig.discover());
        assert_eq!(rig.broken(), [if protocol == Protocol::Old { "auth_key" } else { "hmac" }]);
    }
}

#[test]
fn a_camera_of_one_family_ignores_the_other() {
    for (speaks, asked) in [(Protocol::Old, Protocol::New), (Protocol::New, Protocol::Old)] {
        assert!(!Rig::new(settings(speaks), asked).discover(), "{speaks:?} answered {asked:?}");
    }
}

#[test]
fn a_repeated_command_gets_the_same_answer_and_no_second_effect() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    let command = Resolution::of_model("HL_DB2", Quality::Sd).command(ResolutionCommand::General);
    let frame = rig.client.frame(command);
    let answers = [rig.ask_with(&frame), rig.ask_with(&frame)];
    assert_eq!(answers[0].as_ref().unwrap().command, 10_057);
    assert_eq!(answers[0], answers[1]);
    let told = rig.events.iter().filter(|event| matches!(event, CameraEvent::Resolution { .. })).count();
    assert_eq!((told, rig.broken()), (1, vec![]));
}

#[test]
fn the_resolution_command_of_another_model_is_a_violation() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.ask(Resolution::of_model("WYZEDB3", Quality::Hd).command(ResolutionCommand::Db));
    assert_eq!(rig.broken(), ["resolution_command"]);
}

#[test]
fn a_resolution_command_brings_a_keyframe_at_once() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.run(Duration::from_millis(300));
    rig.take_media();
    rig.ask(Resolution::of_model("HL_DB2", Quality::Sd).command(ResolutionCommand::General));
    rig.run(Duration::from_millis(60));
    assert_eq!(pictures(&rig.take_media())[0].header.channel, MediaChannel::IVideo);
}

#[test]
fn a_wrong_answer_to_the_challenge_is_refused() {
    let mut rig = Rig::new(settings(Protocol::New), Protocol::New);
    rig.connect();
    rig.log_in();
    rig.ask(AuthRequest::default().command());
    assert!(!rig.respond([0; 16]).is_accepted());
    rig.run(SECOND);
    assert_eq!((rig.broken(), rig.take_media().len()), (vec!["challenge_response"], 0));
}

#[test]
fn media_can_be_switched_off_and_on() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.ask(ControlChannel { media: MediaType::Video, enable: false }.command());
    rig.take_media();
    rig.run(SECOND);
    assert!(pictures(&rig.take_media()).is_empty());
    rig.ask(ControlChannel { media: MediaType::Video, enable: true }.command());
    rig.run(SECOND);
    assert_eq!(pictures(&rig.take_media())[0].header.channel, MediaChannel::IVideo);
}

#[test]
fn a_client_that_stops_its_acks_is_dropped_after_five_seconds() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.run(SECOND);
    rig.client.next_ack = None;
    rig.run(Duration::from_millis(4_800));
    assert_eq!(rig.ended(), None);
    rig.run(Duration::from_millis(300));
    assert_eq!(rig.ended(), Some("the client fell silent"));
    assert!(rig.client.farewell, "the camera did not say goodbye");
    assert_eq!(rig.camera.deadline(), None);
}

#[test]
fn a_new_client_replaces_a_silent_one_and_no_other() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    let second = Hand::new(&settings(Protocol::New), Protocol::New, 2);
    // From here on nothing of the first client arrives.
    rig.client = second;
    assert!(!rig.discover(), "a second client was let in while the first one lives");
    rig.run(3 * SECOND);
    rig.connect();
    assert!(rig.authenticate().is_accepted());
    assert_eq!(rig.ended(), Some("another client took over"));
}

#[test]
fn talk_is_heard_as_a_tone_and_ends_when_told() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut rig = Rig::streaming(settings(protocol), protocol);
        assert!(rig.start_talk(), "no talk: {:?}", rig.events);
        rig.speak();
        let heard = rig.events.iter().rev().find_map(|event| match event {
            CameraEvent::TalkAudio { frames, codec, tone_hz, .. } => Some((*frames, *codec, tone_hz.unwrap_or(0.0))),
            _ => None,
        });
        let (frames, codec, tone_hz) = heard.expect("nothing was heard");
        assert_eq!(codec, AudioCodec::Pcmu);
        assert!(frames >= 100 && (tone_hz - 500.0).abs() < 2.0, "{frames} frames, {tone_hz} Hz");
        rig.ask(ControlChannel { media: MediaType::ReturnAudio, enable: false }.command());
        assert!(rig.saw(&CameraEvent::TalkEnded { frames: 150 }), "{:?}", rig.events);
        assert_eq!(rig.broken(), [""; 0], "{protocol:?}");
    }
}

#[test]
fn talk_ends_with_its_session() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    assert!(rig.start_talk());
    rig.client.main.close();
    rig.pump();
    assert!(rig.saw(&CameraEvent::TalkEnded { frames: 0 }));
    assert_eq!(rig.ended(), Some("the client closed it"));
}

#[test]
fn talk_in_another_codec_is_a_violation() {
    let audio = Some(AudioFormat { codec: AudioCodec::Pcm, rate_hz: 16_000, channels: 1 });
    let mut rig = Rig::streaming(Settings { audio, ..settings(Protocol::New) }, Protocol::New);
    assert!(rig.start_talk());
    rig.speak();
    assert_eq!(rig.broken(), ["talk_codec"]);
}

#[test]
fn fault_no_answer_is_silence() {
    for protocol in [Protocol::Old, Protocol::New] {
        let fault = Some(Fault::NoAnswer);
        let mut rig = Rig::new(Settings { fault, ..settings(protocol) }, protocol);
        assert!(!rig.discover());
        rig.order(CameraCommand::Fault(None));
        assert!(rig.discover(), "it stays silent after the fault is over");
    }
}

#[test]
fn fault_both_families_answers_either_and_speaks_the_chosen_one() {
    for protocol in [Protocol::Old, Protocol::New] {
        let fault = Some(Fault::BothFamilies);
        for asked in [Protocol::Old, Protocol::New] {
            let mut rig = Rig::streaming(Settings { fault, ..settings(protocol) }, asked);
            rig.run(SECOND);
            assert!(pictures(&rig.take_media()).len() > 15);
        }
    }
}

#[test]
fn fault_login_refused_refuses_twice() {
    let fault = Some(Fault::LoginRefused);
    let mut rig = Rig::new(Settings { fault, ..settings(Protocol::New) }, Protocol::New);
    rig.connect();
    assert_ne!(rig.log_in().response_type, AvLoginResponse::SUCCESS);
    let challenge = Challenge::decode(&rig.ask(AuthRequest::default().command())).unwrap();
    let answer = challenge.answer(&rig.client.enr);
    assert!(!rig.respond(answer).is_accepted());
}

#[test]
fn fault_wrong_psk_fails_the_handshake() {
    let fault = Some(Fault::WrongPsk);
    let mut rig = Rig::new(Settings { fault, ..settings(Protocol::New) }, Protocol::New);
    rig.connect();
    assert!(rig.client.main.key_was_used() && !rig.client.main.is_established());
}

#[test]
fn fault_enr_with_nul_works_with_the_truncated_key() {
    let fault = Some(Fault::EnrWithNul);
    let settings = Settings { fault, ..settings(Protocol::New) };
    let enr = settings.enr_under(fault);
    let mut rig = Rig::new(settings.clone(), Protocol::New);
    rig.client = Hand::new(&Settings { enr, ..settings }, Protocol::New, 1);
    rig.connect();
    assert!(rig.authenticate().is_accepted());
}

#[test]
fn fault_duplicate_sends_every_media_packet_twice() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.order(CameraCommand::Fault(Some(Fault::Duplicate)));
    rig.take_media();
    rig.run(SECOND);
    let media = rig.take_media();
    assert!(media.len() > 100 && media.chunks(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn fault_swap_changes_the_order_and_loses_nothing() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.order(CameraCommand::Fault(Some(Fault::Swap)));
    rig.run(SECOND);
    rig.order(CameraCommand::Fault(None));
    rig.run(SECOND);
    let mut sequence: Vec<u16> = rig.take_media().iter().map(|packet| packet.header.tx_sequence).collect();
    let swapped = sequence.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(swapped > 5, "{swapped} packets were swapped");
    sequence.sort_unstable();
    assert!(sequence.windows(2).all(|pair| pair[1] == pair[0] + 1), "some were lost");
}

#[test]
fn fault_loss_leaves_out_every_twentieth_media_packet() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.order(CameraCommand::Fault(Some(Fault::Loss)));
    rig.take_media();
    rig.run(3 * SECOND);
    let sequence: Vec<u16> = rig.take_media().iter().map(|packet| packet.header.tx_sequence).collect();
    let lost = sequence.windows(2).filter(|pair| pair[1] == pair[0] + 2).count();
    assert!((lost * 20).abs_diff(sequence.len() + lost) < 40, "{lost} lost, {} arrived", sequence.len());
}

#[test]
fn fault_freeze_keeps_the_session_and_sends_nothing() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.order(CameraCommand::Fault(Some(Fault::Freeze)));
    rig.take_media();
    rig.client.keepalives = 0;
    rig.run(8 * SECOND);
    assert_eq!((rig.take_media().len(), rig.client.keepalives, rig.ended()), (0, 0, None));
}

#[test]
fn fault_port_change_goes_on_from_another_port() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.run(SECOND);
    assert!(rig.client.lanes.iter().all(|lane| *lane == Lane::MAIN));
    rig.order(CameraCommand::Fault(Some(Fault::PortChange)));
    rig.client.lanes.clear();
    rig.take_media();
    rig.run(SECOND);
    assert!(rig.client.lanes.iter().all(|lane| *lane == Lane(1)));
    assert!(pictures(&rig.take_media()).len() > 15);
}

#[test]
fn fault_no_back_channel_consents_and_does_not_come() {
    let fault = Some(Fault::NoBackChannel);
    let mut rig = Rig::streaming(Settings { fault, ..settings(Protocol::New) }, Protocol::New);
    assert!(!rig.start_talk());
    assert!(rig.client.back.is_none());
}

#[test]
fn fault_media_gap_is_two_seconds_once() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.run(SECOND);
    rig.order(CameraCommand::Fault(Some(Fault::MediaGap)));
    rig.take_media();
    rig.run(Duration::from_millis(1_900));
    assert_eq!(rig.take_media().len(), 0);
    rig.run(3 * SECOND);
    let pictures = pictures(&rig.take_media()).len();
    assert!((55..=60).contains(&pictures), "{pictures} pictures in the 2.9 s after the gap");
    assert_eq!(rig.ended(), None);
}

#[test]
fn an_unplugged_camera_is_gone_without_a_word_and_comes_back() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    rig.order(CameraCommand::Offline);
    rig.take_media();
    rig.run(SECOND);
    assert_eq!((rig.take_media().len(), rig.client.farewell), (0, false));
    rig.client = Hand::new(&settings(Protocol::New), Protocol::New, 2);
    assert!(!rig.discover());
    rig.order(CameraCommand::Online);
    rig.connect();
    assert!(rig.authenticate().is_accepted());
}

#[test]
fn ring_and_motion_are_events() {
    let mut rig = Rig::new(settings(Protocol::New), Protocol::New);
    rig.order(CameraCommand::Ring);
    rig.order(CameraCommand::Motion);
    assert_eq!(rig.events, [CameraEvent::Ring, CameraEvent::Motion]);
}

#[test]
fn noise_and_damaged_packets_do_not_disturb_a_session() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut rig = Rig::streaming(settings(protocol), protocol);
        assert!(rig.start_talk());
        let mut dice = Dice::new(5);
        let back = rig.client.back.as_mut().unwrap();
        back.send(&[0; 40]).unwrap();
        let good = rig.client.outgoing().pop().unwrap();
        for bit in 0..good.len() * 8 {
            let mut damaged = good.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            rig.deliver(&damaged);
            rig.deliver(&dice.bytes::<64>());
            rig.deliver(&good[..bit / 8]);
        }
        rig.take_media();
        rig.run(SECOND);
        assert_eq!(rig.ended(), None);
        assert!(pictures(&rig.take_media()).len() > 15, "the pictures stopped");
    }
}

#[test]
fn damaged_messages_inside_dtls_do_not_disturb_a_session() {
    let mut rig = Rig::streaming(settings(Protocol::New), Protocol::New);
    let frame = rig.client.frame(ControlChannel { media: MediaType::Audio, enable: true }.command()).encode();
    let [login, _] = AvLogin::pair("wrong", [1; 4]).map(|login| login.encode());
    let ack = Ack { av_seq: u32::MAX, rx_start: 0, rx_end: 0, count: 0, clock_ms: 0 }.encode();
    for message in [frame, login, ack] {
        for bit in 0..message.len() * 8 {
            let mut damaged = message.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            rig.client.main.send(&damaged).unwrap();
            rig.pump();
        }
    }
    rig.take_media();
    rig.run(SECOND);
    assert_eq!(rig.ended(), None);
    assert!(pictures(&rig.take_media()).len() > 15, "the pictures stopped");
}
