//! Cameras that are called over WebRTC and mean harm: by the answer that they give, by what they send on the connection
//! that comes of it, and by how much of it. The camera beside them is seen throughout. Real sockets.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use doorstep::clock;
use doorstep::media::{AudioFormat, FrameStream, MediaHub};
use doorstep::rtc::camera::{CameraPeer, Ending, Sound, Video, Wanted};
use doorstep::rtc::kvs_call::{CallError, KvsCall, Wish};
use doorstep::sim::clip::Clip;
use doorstep::sim::dice::Dice;
use doorstep::sim::kvs_camera::{self, Settings};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_H264;
use rtc::rtcp::goodbye::Goodbye;
use rtc::rtcp::raw_packet::RawPacket;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCSessionDescription,
};

use crate::support::crooked_line::{CrookedLine, Said, Script, answer, as_it_is, candidate, instead_of_the_answer};
use crate::support::kvs_hand::{KvsHand, Manner};
use crate::support::memory::{grown_mib, resident};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const MOST_MIB: usize = 16;

/// A camera that does as it should, and is watched.
struct Neighbour {
    frames: FrameStream,
    _call: KvsCall,
    _stops: DropGuard,
}

impl Neighbour {
    async fn watched() -> Self {
        let (line, stops) = a_camera(Box::new(as_it_is)).await;
        let hub = MediaHub::new();
        let frames = hub.listen();
        let call = place(&line, hub).await.expect("the good camera is called");
        let mut neighbour = Self { frames, _call: call, _stops: stops };
        neighbour.is_seen(5).await;
        neighbour
    }

    async fn is_seen(&mut self, pictures: usize) {
        sees(&mut self.frames, pictures).await;
    }
}

async fn sees(frames: &mut FrameStream, mut pictures: usize) {
    while pictures > 0 {
        let frame = timeout(PATIENCE, frames.next()).await.expect("nothing comes any more").unwrap();
        pictures -= usize::from(frame.kind.is_video());
    }
}

/// A virtual camera whose service says what `script` makes of it.
async fn a_camera(script: Script) -> (Arc<CrookedLine>, DropGuard) {
    let stop = CancellationToken::new();
    let camera = Arc::new(kvs_camera::start(Settings::default(), stop.clone()).await.unwrap());
    (CrookedLine::to(camera, Box::new(as_it_is), script).await, stop.drop_guard())
}

async fn place(line: &Arc<CrookedLine>, hub: MediaHub) -> Result<KvsCall, CallError> {
    let wish = Wish { hub, talk: true, channel: None };
    timeout(PATIENCE, KvsCall::place_by(line.clone(), wish)).await.unwrap()
}

/// No call comes of this answer, and why is told.
async fn fails(script: Script, expected: &str) {
    let mut neighbour = Neighbour::watched().await;
    let (line, _stops) = a_camera(script).await;
    let hub = MediaHub::new();
    let begun = clock::now();
    let (placed, ()) = tokio::join!(place(&line, hub.clone()), neighbour.is_seen(20));
    let error = placed.err().expect("a call came of it").to_string();
    println!("after {:?}: {error}", begun.elapsed());
    assert!(error.contains(expected), "{error}");
    assert_eq!(hub.counters().frames, 0, "something was shown");
}

/// Another line in the place of each that begins so.
fn with_lines(sdp: &str, change: impl Fn(&str) -> Option<String>) -> String {
    sdp.lines().map(|line| format!("{}\r\n", change(line).unwrap_or_else(|| line.to_owned()))).collect()
}

/// A call may come of it, as the names do not matter to pictures that are what they should be; none of these ends
/// anything else.
#[tokio::test]
async fn hostile_camera_answers_with_codecs_that_nobody_offered() {
    let mut neighbour = Neighbour::watched().await;
    for codec in ["VP8", "AV1", "x-nobody-knows", "\u{0}"] {
        let other = instead_of_the_answer(move |sdp| {
            vec![answer(&with_lines(sdp, |line| {
                let (name, _) = line.split_once(" H264/")?;
                Some(format!("{name} {codec}/90000"))
            }))]
        });
        let (line, _stops) = a_camera(other).await;
        match place(&line, MediaHub::new()).await {
            Ok(_call) => neighbour.is_seen(10).await,
            Err(error) => assert!(error.to_string().starts_with("the doorbell answered, but"), "{codec}: {error}"),
        }
        neighbour.is_seen(5).await;
    }
}

#[tokio::test]
async fn hostile_camera_shows_another_certificate_than_it_has_told() {
    let forged = instead_of_the_answer(|sdp| {
        vec![answer(&with_lines(sdp, |line| {
            let digits = line.strip_prefix("a=fingerprint:sha-256 ")?;
            let turned: String = digits.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
            let turned: Vec<String> =
                turned.chars().collect::<Vec<_>>().chunks(3).map(|pair| pair[..2].iter().collect()).collect();
            Some(format!("a=fingerprint:sha-256 {}", turned.join(":")))
        }))]
    });
    fails(forged, "doorbell").await;
}

#[tokio::test]
async fn hostile_camera_names_ten_thousand_addresses() {
    let mut neighbour = Neighbour::watched().await;
    let flood = |sdp: &str| {
        let far = |n: usize| format!("candidate:{n} 1 udp 5 192.0.2.{} {} typ host", n % 250 + 1, n % 60_000 + 1_024);
        let inside = (0..500).map(|n| format!("a={}\r\n", far(n))).collect::<String>();
        let full = sdp.replacen("a=candidate:", &format!("{inside}a=candidate:"), 1);
        let said = |range: std::ops::Range<usize>| range.map(|n| candidate(&far(n))).collect::<Vec<Said>>();
        [said(0..5_000), vec![answer(sdp), answer(&full)], said(5_000..10_000)].concat()
    };
    let (line, _stops) = a_camera(instead_of_the_answer(flood)).await;
    let (hub, before) = (MediaHub::new(), resident());
    let mut frames = hub.listen();
    let call = place(&line, hub).await.expect("it is called all the same");
    tokio::join!(sees(&mut frames, 30), neighbour.is_seen(30));
    assert!(grown_mib(before) <= MOST_MIB, "{} MiB more", grown_mib(before));
    drop(call);
}

#[tokio::test]
async fn hostile_camera_floods_its_data_channel() {
    let mut neighbour = Neighbour::watched().await;
    let camera = KvsHand::with(Manner::default()).await;
    let hub = MediaHub::new();
    let mut frames = hub.listen();
    let wish = Wish { hub, talk: true, channel: Some("commands") };
    let call = timeout(PATIENCE, KvsCall::place_by(camera.clone(), wish)).await.unwrap().unwrap();
    let commands = call.commands().expect("a channel was wished for");
    let channel = camera.channel().await;
    sees(&mut frames, 5).await;
    let before = resident();
    let text = "x".repeat(1_000);
    let flood = async {
        for n in 0..3_000_u32 {
            channel.send(&text).await.unwrap();
            if n.is_multiple_of(100) {
                channel.send("Door opened, says nobody who was asked").await.unwrap();
            }
        }
    };
    timeout(PATIENCE, async { tokio::join!(flood, sees(&mut frames, 30), neighbour.is_seen(30)) })
        .await
        .expect("held up");
    assert!(grown_mib(before) <= MOST_MIB, "{} MiB more", grown_mib(before));
    // What is asked then is answered by what is said then.
    let answering = async {
        while channel.next().await.as_deref() != Some("open") {}
        channel.send("opened").await.unwrap();
    };
    let (reply, ()) = tokio::join!(commands.ask("open", |text| text == "opened", PATIENCE), answering);
    assert_eq!(reply.as_deref(), Ok("opened"));
}

/// A camera by hand on the engine itself, which sends whatever it likes on a track of its own.
struct Hand {
    connection: Arc<dyn PeerConnection>,
    track: Arc<TrackLocalStaticRTP>,
}

struct Gathering(watch::Sender<RTCIceGatheringState>);

#[async_trait]
impl PeerConnectionEventHandler for Gathering {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.0.send_replace(state);
    }
}

const PAYLOAD_TYPE: u8 = 102;
const SSRC: u32 = 0x1234_5678;

impl Hand {
    /// Offers its picture to an end of ours.
    async fn calls(hub: &MediaHub) -> (Self, CameraPeer) {
        let codec = RTCRtpCodec {
            mime_type: MIME_TYPE_H264.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".to_owned(),
            rtcp_feedback: vec![],
        };
        let mut media = MediaEngine::default();
        let parameters = RTCRtpCodecParameters { rtp_codec: codec.clone(), payload_type: PAYLOAD_TYPE };
        media.register_codec(parameters, RtpCodecKind::Video).unwrap();
        let (sender, mut gathering) = watch::channel(RTCIceGatheringState::New);
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(media)
            .with_handler(Arc::new(Gathering(sender)))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await
            .unwrap();
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(SSRC), ..Default::default() },
            codec,
            ..Default::default()
        };
        let track =
            MediaStreamTrack::new("x".into(), "video".into(), "video".into(), RtpCodecKind::Video, vec![encoding]);
        let track = Arc::new(TrackLocalStaticRTP::new(track));
        connection.add_track(track.clone()).await.unwrap();
        let offer = connection.create_offer(None).await.unwrap();
        connection.set_local_description(offer).await.unwrap();
        gathering.wait_for(|state| *state == RTCIceGatheringState::Complete).await.unwrap();
        let offer = connection.local_description().await.unwrap();
        let wanted = Wanted {
            hub: hub.clone(),
            video: Video::Receive,
            sound: Sound::Both(&[AudioFormat::OPUS]),
            channel: None,
            ice_servers: &[],
            relay_only: false,
            loopback: true,
        };
        let mut peer = CameraPeer::answer_to(wanted, &offer.sdp).await.unwrap();
        peer.gathered(PATIENCE).await;
        let answer = RTCSessionDescription::answer(peer.sdp()).unwrap();
        connection.set_remote_description(answer).await.unwrap();
        timeout(PATIENCE, peer.connected()).await.expect("no connection").unwrap();
        (Self { connection: Arc::new(connection), track }, peer)
    }

    async fn sends(&self, sequence_number: u16, timestamp: u32, marker: bool, payload: Bytes) {
        self.sends_as(SSRC, PAYLOAD_TYPE, sequence_number, timestamp, marker, payload).await;
    }

    async fn sends_as(&self, ssrc: u32, payload_type: u8, sequence: u16, timestamp: u32, marker: bool, payload: Bytes) {
        let mut packet = rtp::Packet { payload, ..Default::default() };
        packet.header.version = 2;
        packet.header.marker = marker;
        packet.header.payload_type = payload_type;
        packet.header.sequence_number = sequence;
        packet.header.timestamp = timestamp;
        packet.header.ssrc = ssrc;
        // What the engine itself does not send need not be survived.
        let _refused = self.track.write_rtp(packet).await;
    }

    /// The clip's first picture, one NAL unit after the other in one packet each, as far as they are small enough; and
    /// the keyframe in fragments.
    async fn shows(&self, mut sequence: u16, timestamp: u32) -> u16 {
        let picture = Clip::h264().access_unit(0).data;
        let nals: Vec<_> = doorstep::media::h26x::nals(&picture).collect();
        for (nth, nal) in nals.iter().enumerate() {
            let last = nth + 1 == nals.len();
            if nal.len() <= 1_000 {
                self.sends(sequence, timestamp, last, Bytes::copy_from_slice(nal)).await;
                sequence = sequence.wrapping_add(1);
                continue;
            }
            let pieces: Vec<&[u8]> = nal[1..].chunks(1_000).collect();
            for (at, piece) in pieces.iter().enumerate() {
                let (first, end) = (at == 0, at + 1 == pieces.len());
                let header = nal[0] & 0x1F | if first { 0x80 } else { 0 } | if end { 0x40 } else { 0 };
                let payload = [&[nal[0] & 0x60 | 28, header], *piece].concat();
                self.sends(sequence, timestamp, last && end, payload.into()).await;
                sequence = sequence.wrapping_add(1);
            }
        }
        sequence
    }
}

#[tokio::test]
async fn hostile_camera_sends_rtp_of_other_sources_kinds_and_numbers_and_garbage_for_reports() {
    let mut neighbour = Neighbour::watched().await;
    let hub = MediaHub::new();
    let mut frames = hub.listen();
    let (hand, mut peer) = Hand::calls(&hub).await;
    let flowing = peer.flow();
    // It is a camera at first.
    let shows = async {
        let mut sequence = 0;
        for n in 0_u32.. {
            sequence = hand.shows(sequence, n * 9_000).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = shows => {}
        () = sees(&mut frames, 3) => {}
    }
    let (mut dice, before) = (Dice::new(21), resident());
    for nth in 0..4_000_u32 {
        let numbers: [u8; 8] = dice.bytes();
        let sequence = u16::from_be_bytes([numbers[0], numbers[1]]);
        let timestamp = u32::from_be_bytes([numbers[2], numbers[3], numbers[4], numbers[5]]);
        let len = usize::from(u16::from_be_bytes([numbers[6], numbers[7]])) % 1_100;
        let mut payload = dice.bytes::<1_100>()[..len].to_vec();
        // Fragments without an end, aggregates whose lengths lie, and kinds that H.264 does not have.
        if let Some(first) = payload.first_mut() {
            *first = *dice.pick(&[28, 28, 24, 0, 31, 0x65, 0x67, *first]);
        }
        let ssrc = if nth % 4 == 0 { timestamp } else { SSRC };
        let payload_type = if nth % 5 == 0 { numbers[0] & 0x7F } else { PAYLOAD_TYPE };
        hand.sends_as(ssrc, payload_type, sequence, timestamp, nth % 3 == 0, payload.into()).await;
        if nth % 20 == 0 {
            let garbage =
                RawPacket(Bytes::copy_from_slice(&[0x80 | numbers[1] & 0x1F, 200 + numbers[2] % 8, 0, 1, 1, 2, 3, 4]));
            let bye = Goodbye { sources: vec![SSRC, timestamp], reason: Bytes::from_static(b"never mind") };
            let _refused = hand.track.write_rtcp(vec![Box::new(garbage), Box::new(bye)]).await;
            tokio::task::yield_now().await;
        }
    }
    neighbour.is_seen(20).await;
    assert!(grown_mib(before) <= MOST_MIB, "{} MiB more", grown_mib(before));
    assert!(!flowing.is_finished(), "the call has ended over it");
    // It may be a camera again. If that does not come through any more, the call ends with that for its reason, and the
    // next one begins anew.
    let shows = async {
        let mut sequence = 40_000;
        for n in 0_u32.. {
            sequence = hand.shows(sequence, 0x4000_0000 + n * 9_000).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = hub.counters().frames;
    let shown = async {
        while hub.counters().frames < seen + 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let outcome = timeout(PATIENCE, async {
        tokio::select! {
            () = shows => None,
            () = shown => None,
            ending = flowing => Some(ending.unwrap()),
        }
    });
    let outcome = outcome.await.expect("the call neither shows anything nor ends");
    println!("in the end: {outcome:?}");
    assert!(matches!(outcome, None | Some(Ending::Silent | Ending::HungUp)), "{outcome:?}");
    hand.connection.close().await.unwrap();
}
