//! Cameras on the LAN that have the right keys and bad manners, against the whole service: whatever they say inside of
//! the channel, the camera beside them is seen, the memory is bounded, and their doorbells say something true.

use std::fmt::Write as _;

use doorstep::media::VideoCodec;
use doorstep::proto::tutk::Channel;
use doorstep::proto::tutk::frame::{CodecId, FrameInfo, FrameType, MediaChannel, MediaPacket, PacketHeader};
use doorstep::proto::tutk::kcommand::{IoCtrl, KCommand, id};
use doorstep::proto::tutk::login::AvLoginResponse;
use doorstep::sim::dice::Dice;
use doorstep::sim::tutk_camera::{CameraEvent, Protocol, Settings};
use serde_json::Value;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::support::log::Log;
use crate::support::memory::{grown_mib, resident};
use crate::support::service::{Camera, Service, Watching};
use crate::support::tutk_camera_hand::{CameraHand, HostileCamera, LetsIn, Script, absurd_picture, info, record};
use crate::support::viewer::Manners;

/// What one camera may cost (reliability row 26).
const MOST_MIB: usize = 16;

/// A service with a good camera that is watched, and hostile ones whose pictures are wanted.
struct Street {
    good: Camera,
    neighbour: Watching,
    hostile: Vec<(String, HostileCamera)>,
    service: Service,
    log: Log,
    _logging: DefaultGuard,
}

impl Street {
    async fn with(hostile: Vec<(Settings, HostileCamera)>) -> Self {
        let (log, _logging) = Log::capture(Level::INFO);
        let good = Camera::start(1, |_| {}).await;
        let mut text = "http: {listen: \"127.0.0.1:0\"}\ngo2rtc: {enabled: false}\nwyze:\n  - cameras:\n".to_owned();
        writeln!(text, "      - {}", good.yaml(good.address)).unwrap();
        for (settings, camera) in &hostile {
            writeln!(text, "      - {}", entry(settings, camera)).unwrap();
        }
        let service = Service::configured(&text).await;
        let mut neighbour = service.page.watch(&good.id(), Manners::default()).await;
        neighbour.sees("the good camera", |seen| seen.pictures().len() > 5).await;
        let hostile = hostile.into_iter().map(|(settings, camera)| (id_of(&settings), camera)).collect::<Vec<_>>();
        for (id, _) in &hostile {
            let reply = service.page.post(&format!("/api/doorbells/{id}/stream"), r#"{"on":true}"#).await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        Self { good, neighbour, hostile, service, log, _logging }
    }

    /// With one hostile camera of this family.
    async fn beside(protocol: Protocol, script: Script) -> Self {
        let settings = Settings { protocol, ..Settings::generate(2) };
        let camera = HostileCamera::start(CameraHand::new(&settings), script);
        Self::with(vec![(settings, camera)]).await
    }

    fn id(&self) -> &str {
        &self.hostile[0].0
    }

    fn camera(&self) -> &HostileCamera {
        &self.hostile[0].1
    }

    /// The script goes on for so many ticks of 10 ms, and at most 16 MiB are lost to it.
    async fn endures(&mut self, ticks: u64) {
        let begun = self.camera().until("somebody is let in and stays", |progress| progress.ticks >= 5).await;
        let before = resident();
        self.camera().until("the end of the script", |progress| progress.ticks >= begun.ticks + ticks).await;
        let grown = grown_mib(before);
        println!("{} datagrams; {grown} MiB more", self.camera().progress().datagrams);
        assert!(grown <= MOST_MIB, "{grown} MiB more");
        self.goes_on().await;
    }

    /// The others are served, nothing is broken, and the owner is not told the same thing again and again.
    async fn goes_on(&mut self) {
        let shown = self.neighbour.sees("anything", |_| true).await.pictures().len();
        self.neighbour.sees("the good camera still", |seen| seen.pictures().len() >= shown + 20).await;
        // How regularly it is acknowledged is a matter of how busy this machine is.
        let is_broken =
            |event: &CameraEvent| matches!(event, CameraEvent::Check { ok: false, name, .. } if *name != "ack_cadence");
        assert_eq!(self.good.count(is_broken), 0, "the good camera complains: {:?}", self.good.told());
        assert_eq!(self.service.page.get("/health").await.status, 200);
        let complaints = self.log.complaints();
        assert!(complaints.len() <= 2 * self.hostile.len(), "{complaints:#?}");
        let text = self.log.text();
        assert!(!text.contains("bug") && text.lines().count() < 60, "{text}");
    }

    /// How the hostile camera's doorbell stands.
    async fn doorbell(&self) -> Value {
        self.service.page.doorbell(self.id()).await
    }

    /// Somebody sees the hostile camera all the same.
    async fn is_seen(&self) {
        let mut audience = self.service.page.watch(self.id(), Manners::default()).await;
        audience.sees("the hostile camera", |seen| seen.pictures().len() >= 10).await;
    }
}

fn id_of(settings: &Settings) -> String {
    format!("wyze_{}", settings.mac.to_ascii_lowercase())
}

fn entry(settings: &Settings, camera: &HostileCamera) -> String {
    let Settings { model, mac, enr, .. } = settings;
    let (uid, enr, address) = (settings.uid_text(), enr.expose(), camera.address);
    format!("{{name: Back Door, model: {model}, mac: {mac}, uid: {uid}, enr: \"{enr}\", address: \"{address}\"}}")
}

/// Its pictures come in time, with something else between them at each tick.
fn with_pictures(mut also: impl FnMut(&mut CameraHand, u64) -> Vec<Vec<u8>> + Send + 'static) -> Script {
    Box::new(move |hand, nth| {
        let mut datagrams = also(hand, nth);
        if nth.is_multiple_of(7) {
            datagrams.extend(hand.picture());
        }
        datagrams
    })
}

/// Bytes that nobody could foretell.
fn junk(dice: &mut Dice, most: usize) -> Vec<u8> {
    let len = usize::from(u16::from_le_bytes(dice.bytes())) % most;
    dice.bytes::<1_024>()[..len].to_vec()
}

/// A packet of a frame that says of itself what is not so.
fn packet(frame_no: u32, index: u16, total: u16, frame_type: FrameType, payload: Vec<u8>) -> MediaPacket {
    let header = PacketHeader {
        channel: MediaChannel::IVideo,
        frame_type,
        tx_sequence: 0,
        stream_index: 0,
        packet_counter: 0,
        total,
        index_or_marker: index,
        payload_size: u16::MAX,
        prev_frame_no: frame_no.wrapping_sub(1),
        frame_no,
    };
    let size = FrameInfo { payload_size: u32::MAX, ..info(CodecId::H264) };
    MediaPacket { header, payload, info: header_ends(frame_type).then_some(size) }
}

fn header_ends(frame_type: FrameType) -> bool {
    matches!(frame_type, FrameType::EndSingle | FrameType::EndMulti | FrameType::EndExt)
}

#[tokio::test]
async fn row_26_lengths_that_lie_holes_and_frames_without_an_end_cost_16_mib_at_most() {
    for protocol in [Protocol::Old, Protocol::New] {
        let mut nth_packet = 0_u32;
        let script = with_pictures(move |hand, _| {
            let mut datagrams = Vec::new();
            for _ in 0..25 {
                nth_packet += 1;
                let n = nth_packet;
                let never_ending = n as u16 % (u16::MAX - 1);
                datagrams.extend(
                    [
                        // 4 GiB in one packet.
                        packet(0x1000_0000 + n, 0, 1, FrameType::EndSingle, vec![0; 900]),
                        // Every other piece, of frames that are all different.
                        packet(0x2000_0000 + n / 64, 2 * (n as u16 % 64), 128, FrameType::Cont, vec![0; 1_000]),
                        // A piece of one byte.
                        packet(0x3000_0000 + n / 1_000, n as u16 % 1_000, u16::MAX, FrameType::Cont, vec![0]),
                        // One that goes on and on.
                        packet(0x4000_0000, never_ending, u16::MAX, FrameType::Cont, vec![0; 1_000]),
                    ]
                    .iter()
                    .flat_map(|packet| hand.say(&packet.encode())),
                );
            }
            datagrams
        });
        let mut street = Street::beside(protocol, script).await;
        street.endures(120).await;
        assert!(street.camera().progress().datagrams > 10_000, "{:?}", street.camera().progress().datagrams);
        street.service.running.stop().await;
    }
}

#[tokio::test]
async fn hostile_camera_sends_commands_with_wrong_bodies_and_lengths() {
    let mut dice = Dice::new(3);
    let script = with_pictures(move |hand, _| {
        let ids = [0, id::AUTH, id::CHALLENGE, id::AUTH_RESULT, id::CONTROL_CHANNEL, u16::MAX];
        let mut datagrams = Vec::new();
        for _ in 0..10 {
            let body = junk(&mut dice, 900);
            datagrams.extend(hand.command(KCommand::new(*dice.pick(&ids), body)));
            let command = KCommand::new(id::SET_RESOLUTION_RESPONSE, junk(&mut dice, 64));
            let mut lying = IoCtrl { av_seq: u32::MAX, command_seq: u16::MAX, command }.encode();
            // Where the command's length stands, and where the frame's does.
            lying[24..28].fill(0xFF);
            lying[46..48].fill(0xFF);
            let cut = usize::from(dice.bytes::<1>()[0]) % lying.len();
            lying.truncate(lying.len() - cut);
            datagrams.extend(hand.say(&lying));
        }
        datagrams
    });
    let mut street = Street::beside(Protocol::New, script).await;
    street.endures(100).await;
    street.is_seen().await;
}

#[tokio::test]
async fn hostile_camera_answers_what_nobody_has_asked() {
    let script = with_pictures(|hand, _| {
        let answers = [id::CONTROL_CHANNEL_RESPONSE, id::SET_RESOLUTION_RESPONSE, id::AUTH_RESULT, id::CHALLENGE];
        let mut datagrams = Vec::new();
        for answer in answers.into_iter().cycle().take(60) {
            datagrams.extend(hand.command(KCommand::new(answer, vec![1; 17])));
        }
        datagrams.extend(hand.say(&AvLoginResponse::accept([1; 4]).encode()));
        datagrams
    });
    let mut street = Street::beside(Protocol::Old, script).await;
    street.endures(100).await;
    street.is_seen().await;
    let commands = street.camera().progress().commands;
    assert!(commands.len() < 20, "it was made to say {commands:?}");
}

#[tokio::test]
async fn hostile_camera_sends_sound_of_codecs_that_do_not_exist() {
    let mut dice = Dice::new(5);
    let script = with_pictures(move |hand, nth| {
        let mut datagrams = Vec::new();
        for codec in [CodecId::Speex, CodecId::Mp3, CodecId::G726, CodecId::AacLatm, CodecId::AacAdts, CodecId::Opus] {
            let flags = dice.bytes::<1>()[0];
            let sound = junk(&mut dice, 900);
            datagrams.extend(hand.frame(MediaChannel::Audio, FrameInfo { flags, ..info(codec) }, &sound));
        }
        let mut packetiser = doorstep::proto::tutk::frame::Packetiser::default();
        for message in &mut packetiser.packetise(MediaChannel::Audio, info(CodecId::Pcm), &[0; 100]) {
            let at = message.len() - FrameInfo::LEN;
            message[at..at + 2].copy_from_slice(&(nth as u16).to_le_bytes());
            datagrams.extend(hand.say(message));
        }
        datagrams
    });
    let mut street = Street::beside(Protocol::New, script).await;
    street.endures(150).await;
    street.is_seen().await;
    assert!(street.log.count("WARN", "a format that Doorstep does not know") <= 1, "{:#?}", street.log.complaints());
}

#[tokio::test]
async fn hostile_camera_has_a_clock_that_leaps_a_year_and_wraps() {
    const YEAR_S: u32 = 365 * 86_400;
    let script: Script = Box::new(|hand, nth| {
        if !nth.is_multiple_of(5) {
            return vec![];
        }
        let timestamp_s = *[1_700_000_000, 1_700_000_000 - YEAR_S, u32::MAX, 0, 1_700_000_000 + YEAR_S, u32::MAX / 2]
            .get(nth as usize / 5 % 6)
            .unwrap();
        let timestamp_us = *[0, 999_999, u32::MAX, 1_000_000].get(nth as usize / 5 % 4).unwrap();
        let at = FrameInfo { timestamp_s, timestamp_us, ..info(CodecId::H264) };
        let picture = doorstep::sim::clip::Clip::h264().access_unit(0).data;
        hand.frame(MediaChannel::IVideo, at, &picture)
    });
    let mut street = Street::beside(Protocol::Old, script).await;
    street.endures(150).await;
    street.is_seen().await;
    assert_eq!(street.doorbell().await["link"], "streaming");
}

#[tokio::test]
async fn hostile_camera_sends_frames_of_nothing_as_fast_as_it_can() {
    let script: Script = Box::new(|hand, nth| {
        let channels = [MediaChannel::PVideo, MediaChannel::IVideo, MediaChannel::Audio];
        let codec = |channel| if channel == MediaChannel::Audio { CodecId::Pcmu } else { CodecId::H264 };
        let mut datagrams = Vec::new();
        // 40 000 a second, as far as its machine goes.
        for n in 0..400 {
            let channel = channels[(nth as usize + n) % 3];
            datagrams.extend(hand.frame(channel, info(codec(channel)), &[]));
        }
        datagrams
    });
    let mut street = Street::beside(Protocol::New, script).await;
    street.endures(40).await;
    assert!(street.camera().progress().datagrams > 10_000, "{}", street.camera().progress().datagrams);
}

#[tokio::test]
async fn hostile_camera_names_a_picture_of_absurd_size() {
    for (protocol, codec, id) in
        [(Protocol::New, VideoCodec::H264, CodecId::H264), (Protocol::Old, VideoCodec::H265, CodecId::H265)]
    {
        let script: Script =
            Box::new(move |hand, _| hand.frame(MediaChannel::IVideo, info(id), &absurd_picture(codec)));
        let mut street = Street::beside(protocol, script).await;
        street.endures(50).await;
        let before = resident();
        let reply = street.service.page.get(&format!("/api/doorbells/{}/snapshot.jpg", street.id())).await;
        assert!((400..600).contains(&reply.status), "{codec:?}: {reply:?}");
        assert!(reply.body.contains("Back Door"), "{codec:?}: {reply:?}");
        assert!(grown_mib(before) <= MOST_MIB, "{codec:?}: {} MiB more", grown_mib(before));
        street.goes_on().await;
        street.service.running.stop().await;
    }
}

#[tokio::test]
async fn hostile_camera_floods_with_keepalives() {
    for protocol in [Protocol::Old, Protocol::New] {
        let script = with_pictures(|hand, nth| (0..20).map(|n| hand.keepalive(nth as u32 * 20 + n)).collect());
        let mut street = Street::beside(protocol, script).await;
        street.endures(100).await;
        street.is_seen().await;
        assert_eq!(street.doorbell().await["link"], "streaming");
        street.service.running.stop().await;
    }
}

#[tokio::test]
async fn hostile_camera_consents_to_a_talk_and_never_opens_its_speaker() {
    let mut dice = Dice::new(9);
    let script = with_pictures(move |hand, _| {
        let asked = hand.commands.iter().any(|command| command.command == id::CONTROL_CHANNEL);
        if !asked {
            return vec![];
        }
        let mut datagrams = hand.command(KCommand::new(id::CONTROL_CHANNEL_RESPONSE, vec![1, 4]));
        // What comes on the channel of the talk is no handshake.
        datagrams.push(hand.wrapped(Channel::Back, junk(&mut dice, 900)));
        datagrams.push(hand.wrapped(Channel::Back, record(22, 0, 0, &dice.bytes::<64>())));
        datagrams
    });
    let mut street = Street::beside(Protocol::New, script).await;
    street.endures(20).await;
    let id = street.id().to_owned();
    let reply = street.service.page.post(&format!("/api/doorbells/{id}/talk"), r#"{"on":true}"#).await;
    assert!((500..600).contains(&reply.status), "{reply:?}");
    assert!(reply.body.contains("Back Door"), "{reply:?}");
    let doorbell = street.service.page.until(&id, "quiet", |doorbell| doorbell["talking"] == false).await;
    assert_eq!(doorbell["link"], "streaming", "the talk has cost the picture: {doorbell}");
    // It was told that nobody talks.
    let told = |commands: &[u16]| commands.iter().filter(|command| **command == id::CONTROL_CHANNEL).count() >= 2;
    street.camera().until("the end of the talk", |progress| told(&progress.commands)).await;
    street.endures(20).await;
}

#[tokio::test]
async fn hostile_camera_changes_codec_and_size_with_every_picture() {
    let script: Script = Box::new(|hand, _| {
        let mut datagrams = Vec::new();
        for (codec, id) in [(VideoCodec::H264, CodecId::H264), (VideoCodec::H265, CodecId::H265)] {
            let mut picture = absurd_picture(codec);
            // Another size each time.
            picture[9] ^= datagrams.len() as u8;
            datagrams.extend(hand.frame(MediaChannel::IVideo, info(id), &picture));
            datagrams.extend(hand.frame(MediaChannel::PVideo, info(CodecId::Mjpeg), &picture));
        }
        datagrams.extend(hand.picture());
        datagrams
    });
    let mut street = Street::beside(Protocol::New, script).await;
    street.endures(150).await;
}

#[tokio::test]
async fn hostile_camera_says_noise_inside_of_its_channel() {
    let mut dice = Dice::new(13);
    let script: Script = Box::new(move |hand, _| {
        let mut datagrams = Vec::new();
        for _ in 0..40 {
            let mut message = junk(&mut dice, 1_000);
            message.resize(message.len().max(4), 0);
            // Media, control messages, logins, acknowledgements.
            let kind = dice.pick(&[[3, 0], [5, 1], [7, 8], [0x0C, 0], [0, 0x21], [9, 0], [0, 0x70], [0, 0x10]]);
            message[..2].copy_from_slice(kind);
            datagrams.extend(hand.say(&message));
        }
        datagrams
    });
    let mut street = Street::beside(Protocol::Old, script).await;
    street.endures(100).await;
}

#[tokio::test]
async fn hostile_camera_hangs_up_at_every_step_and_its_owner_is_told_so() {
    let steps = [LetsIn::UntilTheHandshake, LetsIn::UntilTheLogin, LetsIn::UntilTheChallenge];
    let cameras = (2..).zip(steps).map(|(seed, lets_in)| {
        let protocol = if seed == 3 { Protocol::Old } else { Protocol::New };
        let settings = Settings { protocol, ..Settings::generate(seed) };
        let mut hand = CameraHand::new(&settings);
        hand.lets_in = lets_in;
        (settings, HostileCamera::start(hand, Box::new(|_, _| vec![])))
    });
    let mut street = Street::with(cameras.collect()).await;
    for (id, camera) in &street.hostile {
        camera.until("a second attempt", |progress| progress.sessions >= 2).await;
        let doorbell = street.service.page.doorbell(id).await;
        let why = doorbell["why"].as_str().expect("the owner is told").to_owned();
        assert_eq!(why, "The camera closed the session. It is being tried again. Restart the camera if this goes on.");
    }
    street.goes_on().await;
    assert_eq!(street.log.complaints().len(), 3, "each says it once: {:#?}", street.log.complaints());
}

#[tokio::test]
async fn hostile_camera_refuses_with_a_speech() {
    let settings = Settings::generate(2);
    let mut hand = CameraHand::new(&settings);
    hand.result = "<script>\u{1b}[2J\n".repeat(60);
    let camera = HostileCamera::start(hand, Box::new(|_, _| vec![]));
    let mut street = Street::with(vec![(settings, camera)]).await;
    let doorbell = street.service.page.is(street.id(), "needs_attention").await;
    let why = doorbell["why"].as_str().unwrap();
    assert!(why.starts_with("The camera refused the authentication") && why.len() < 300, "{why}");
    assert!(!why.contains('\u{1b}') && !why.contains('\n'), "{why:?}");
    street.goes_on().await;
}
