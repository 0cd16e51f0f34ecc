//! A connection to a camera with a data channel and sound: two ends of our own, and a hand that sends what no camera
//! should. Real sockets. (Foreign cameras are in `tests/peers`.)

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use doorstep::clock;
use doorstep::media::convert::Converter;
use doorstep::media::{AudioCodec, AudioFormat, FrameKind, FrameStream, MediaHub};
use doorstep::rtc::camera::{CameraPeer, Channel, Ending, Sound, Video, Wanted};
use doorstep::sim::tone;
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCSessionDescription,
    SettingEngineBuilder,
};

use crate::support::impair::{self, Line};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// When ICE alone would tell that the other side is gone: 2 s, and 2 s of grace.
const ICE_WOULD: Duration = Duration::from_secs(4);
const PCM: AudioFormat = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 8_000, channels: 1 };
const OPUS_FIRST: Sound = Sound::Both(&[AudioFormat::OPUS, AudioFormat::PCMU]);

fn wanted(sound: Sound) -> Wanted<'static> {
    Wanted {
        hub: MediaHub::new(),
        video: Video::None,
        sound,
        channel: Some("channel"),
        ice_servers: &[],
        relay_only: false,
        loopback: true,
    }
}

/// One end of a call.
struct End {
    peer: CameraPeer,
    channel: Channel,
    hub: MediaHub,
}

impl End {
    fn of(mut peer: CameraPeer, hub: MediaHub) -> Self {
        let channel = peer.take_channel().unwrap();
        Self { peer, channel, hub }
    }

    async fn opened(&mut self) {
        timeout(PATIENCE, self.peer.connected()).await.expect("no connection").unwrap();
        timeout(PATIENCE, self.channel.opened()).await.expect("no channel").unwrap();
    }

    async fn hears(&mut self) -> Bytes {
        timeout(PATIENCE, self.channel.next()).await.expect("nothing was said").expect("the channel is closed")
    }
}

/// Who offers, and who answers.
async fn call(offers: Sound, answers: Sound) -> (End, End) {
    let (ours, theirs) = (wanted(offers), wanted(answers));
    let hubs = (ours.hub.clone(), theirs.hub.clone());
    let mut caller = CameraPeer::offer(ours).await.unwrap();
    caller.gathered(PATIENCE).await;
    let mut camera = CameraPeer::answer_to(theirs, &caller.sdp()).await.unwrap();
    camera.gathered(PATIENCE).await;
    caller.answer(&camera.sdp()).await.unwrap();
    let (mut caller, mut camera) = (End::of(caller, hubs.0), End::of(camera, hubs.1));
    tokio::join!(caller.opened(), camera.opened());
    (caller, camera)
}

/// The pitch that arrives while the other end says a tone of 440 Hz.
async fn heard(from: &mut CameraPeer, to: &mut FrameStream) -> Option<f64> {
    let format = from.speech_format().unwrap();
    let (mut mouth, mut ear) = (Converter::new(PCM, format).unwrap(), Converter::new(format, PCM).unwrap());
    let mut samples: Vec<i16> = Vec::new();
    let mut beat = interval(Duration::from_millis(20));
    for n in 0.. {
        tokio::select! {
            _ = beat.tick() => for piece in mouth.push(&piece_of_tone(n)) {
                from.speak(piece).await;
            },
            frame = to.next() => {
                let frame = frame.unwrap();
                assert_eq!(frame.kind, FrameKind::Audio(format));
                let pcm = ear.push(&frame.data).concat();
                samples.extend(pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
            }
        }
        if samples.len() > 12_000 {
            break;
        }
    }
    tone::listen(&samples[4_000..], 8_000).tone_hz
}

fn piece_of_tone(n: u32) -> Vec<u8> {
    let at = |k: u32| std::f64::consts::TAU * 440.0 * f64::from(160 * n + k) / 8_000.0;
    (0..160).flat_map(|k| ((8_000.0 * at(k).sin()) as i16).to_le_bytes()).collect()
}

#[tokio::test]
async fn messages_go_both_ways_whole_and_in_order() {
    let (mut caller, mut camera) = call(OPUS_FIRST, OPUS_FIRST).await;
    let messages: Vec<Bytes> = (0..50_usize).map(|n| Bytes::from(vec![n as u8; 1 + n * 1_000])).collect();
    for message in &messages {
        caller.channel.send(message.clone()).await.unwrap();
        assert_eq!(camera.hears().await, message);
        camera.channel.send(message.clone()).await.unwrap();
        assert_eq!(caller.hears().await, message);
    }
}

#[tokio::test]
async fn what_one_end_says_the_other_hears_in_the_format_that_both_have() {
    let cases = [
        (OPUS_FIRST, OPUS_FIRST, AudioFormat::OPUS),
        (OPUS_FIRST, Sound::Both(&[AudioFormat::PCMU]), AudioFormat::PCMU),
    ];
    for (offers, answers, format) in cases {
        let (mut caller, mut camera) = call(offers, answers).await;
        assert_eq!((caller.peer.speech_format(), camera.peer.speech_format()), (Some(format), Some(format)));
        let (_calls, _takes) = (caller.peer.flow(), camera.peer.flow());
        let (mut at_the_camera, mut at_home) = (camera.hub.listen(), caller.hub.listen());
        for (from, to) in [(&mut caller.peer, &mut at_the_camera), (&mut camera.peer, &mut at_home)] {
            let hz = timeout(PATIENCE, heard(from, to)).await.expect("nothing is heard");
            assert!(hz.is_some_and(|hz| (hz - 440.0).abs() < 20.0), "{format:?}: {hz:?}");
        }
    }
}

#[tokio::test]
async fn who_only_listens_is_not_spoken_to() {
    let (caller, camera) = call(OPUS_FIRST, Sound::None).await;
    assert_eq!((caller.peer.speech_format(), camera.peer.speech_format()), (None, None));
    let (caller, camera) = call(Sound::Receive, OPUS_FIRST).await;
    assert_eq!((caller.peer.speech_format(), camera.peer.speech_format()), (None, Some(AudioFormat::OPUS)));
}

#[tokio::test]
async fn a_hang_up_is_noticed_at_once_by_both_roles() {
    for camera_hangs_up in [true, false] {
        let (caller, camera) = call(OPUS_FIRST, OPUS_FIRST).await;
        let (End { peer, .. }, mut left) = if camera_hangs_up { (camera, caller) } else { (caller, camera) };
        let flowing = left.peer.flow();
        let begun = clock::now();
        drop(peer);
        assert_eq!(timeout(PATIENCE, left.channel.next()).await.expect("the channel stays"), None);
        let ending = timeout(PATIENCE, flowing).await.expect("the call goes on").unwrap();
        assert_eq!(ending, Ending::HungUp);
        assert!(begun.elapsed() < ICE_WOULD, "noticed after {:?}", begun.elapsed());
        assert_eq!(left.channel.send(Bytes::from_static(b"x")).await, Err(Ending::HungUp));
        assert_eq!(left.channel.opened().await, Err(Ending::HungUp));
    }
}

#[tokio::test]
async fn a_channel_of_a_connection_that_never_came_is_closed_with_it() {
    let mut peer = CameraPeer::offer(wanted(OPUS_FIRST)).await.unwrap();
    let mut channel = peer.take_channel().unwrap();
    assert!(peer.take_channel().is_none(), "there is one");
    drop(peer);
    assert_eq!(timeout(PATIENCE, channel.opened()).await.expect("it waits on"), Err(Ending::HungUp));
    assert_eq!(timeout(PATIENCE, channel.next()).await.expect("it waits on"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_leave_no_task_and_no_socket_behind() {
    let sockets = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = (sockets(), tasks());
    for n in 0..100_u32 {
        let (mut caller, mut camera) = call(OPUS_FIRST, OPUS_FIRST).await;
        let (_calls, _takes) = (caller.peer.flow(), camera.peer.flow());
        caller.channel.send(Bytes::copy_from_slice(&n.to_be_bytes())).await.unwrap();
        assert_eq!(camera.hears().await[..], n.to_be_bytes());
    }
    let all_gone = async {
        while sockets() > before.0 || tasks() > before.1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let gone = timeout(PATIENCE, all_gone).await;
    gone.unwrap_or_else(|_| panic!("{} sockets and {} tasks are left of {before:?}", sockets(), tasks()));
}

/// Where the SDP says that an end can be reached on this machine.
fn loopback_address(sdp: &str) -> SocketAddr {
    let found = sdp.lines().find_map(|line| {
        let words: Vec<&str> = line.strip_prefix("a=candidate:")?.split(' ').collect();
        let is_it = words[4] == "127.0.0.1" && words[2] == "udp";
        is_it.then(|| format!("{}:{}", words[4], words[5]).parse().unwrap())
    });
    found.expect("no candidate on 127.0.0.1")
}

/// With this address in place of all others.
fn only_at(sdp: &str, address: SocketAddr) -> String {
    let candidate = format!("a=candidate:1 1 udp 2130706431 {} {} typ host", address.ip(), address.port());
    let kept = sdp.lines().filter(|line| !line.starts_with("a=candidate:") && !line.starts_with("a=end-of-cand"));
    kept.chain([candidate.as_str()]).map(|line| format!("{line}\r\n")).collect()
}

#[tokio::test]
async fn a_call_that_loses_a_tenth_comes_about_says_everything_and_is_understood() {
    let seed = clock::unix_now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let (ours, theirs) = (wanted(OPUS_FIRST), wanted(OPUS_FIRST));
    let hubs = (ours.hub.clone(), theirs.hub.clone());
    let mut caller = CameraPeer::offer(ours).await.unwrap();
    caller.gathered(PATIENCE).await;
    // The camera learns of the caller by its checks.
    let mut camera =
        CameraPeer::answer_to(theirs, &only_at(&caller.sdp(), "127.0.0.1:9".parse().unwrap())).await.unwrap();
    camera.gathered(PATIENCE).await;
    let way = impair::Udp::to(loopback_address(&camera.sdp()), Line::lossy(0.1), seed);
    caller.answer(&only_at(&camera.sdp(), way.address)).await.unwrap();
    let (mut caller, mut camera) = (End::of(caller, hubs.0), End::of(camera, hubs.1));
    tokio::join!(caller.opened(), camera.opened());
    for n in 0..6_u8 {
        caller.channel.send(Bytes::from(vec![n; 2_000])).await.unwrap();
        assert_eq!(camera.hears().await, vec![n; 2_000]);
        camera.channel.send(Bytes::from(vec![n; 20])).await.unwrap();
        assert_eq!(caller.hears().await, vec![n; 20]);
    }
    let _takes = camera.peer.flow();
    let mut at_the_camera = camera.hub.listen();
    let hz = timeout(PATIENCE, heard(&mut caller.peer, &mut at_the_camera)).await.expect("nothing is heard");
    assert!(hz.is_some_and(|hz| (hz - 440.0).abs() < 20.0), "{hz:?}");
}

/// A camera by hand, which says what it likes.
struct Hand {
    connection: Arc<dyn PeerConnection>,
    channel: Arc<dyn DataChannel>,
}

struct Gathering(watch::Sender<RTCIceGatheringState>);

#[async_trait]
impl PeerConnectionEventHandler for Gathering {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.0.send_replace(state);
    }
}

impl Hand {
    /// Offers channels of these names, of which the last is opened, to an end of ours.
    async fn calls(labels: &[&str]) -> (Self, CameraPeer) {
        let (sender, mut gathering) = watch::channel(RTCIceGatheringState::New);
        let connection = PeerConnectionBuilder::new()
            .with_setting_engine(SettingEngineBuilder::new().build())
            .with_handler(Arc::new(Gathering(sender)))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await
            .unwrap();
        let mut channels = Vec::new();
        for label in labels {
            channels.push(connection.create_data_channel(label, None).await.unwrap());
        }
        let offer = connection.create_offer(None).await.unwrap();
        connection.set_local_description(offer).await.unwrap();
        gathering.wait_for(|state| *state == RTCIceGatheringState::Complete).await.unwrap();
        let offer = connection.local_description().await.unwrap();
        let mut peer = CameraPeer::answer_to(wanted(OPUS_FIRST), &offer.sdp).await.unwrap();
        peer.gathered(PATIENCE).await;
        let answer = RTCSessionDescription::answer(peer.sdp()).unwrap();
        connection.set_remote_description(answer).await.unwrap();
        for channel in &channels {
            while !matches!(timeout(PATIENCE, channel.poll()).await.unwrap(), Some(DataChannelEvent::OnOpen)) {}
        }
        (Self { connection: Arc::new(connection), channel: channels.pop().unwrap() }, peer)
    }

    async fn says(&self, message: &[u8]) {
        self.channel.send(BytesMut::from(message)).await.unwrap();
    }
}

#[tokio::test]
async fn text_and_channels_of_other_names_are_passed_over() {
    let (hand, mut peer) = Hand::calls(&["commands", "channel"]).await;
    let mut channel = peer.take_channel().unwrap();
    hand.channel.send_text("hello").await.unwrap();
    hand.says(b"binary").await;
    let first = timeout(PATIENCE, channel.next()).await.expect("nothing was said");
    assert_eq!(first.as_deref(), Some(&b"binary"[..]));
    channel.send(Bytes::from_static(b"answer")).await.unwrap();
    let heard = loop {
        let event = timeout(PATIENCE, hand.channel.poll()).await.expect("no answer");
        if let DataChannelEvent::OnMessage(message) = event.expect("the channel is closed") {
            break message;
        }
    };
    assert!(!heard.is_string && heard.data[..] == b"answer"[..]);
    hand.connection.close().await.unwrap();
}

#[tokio::test]
async fn who_says_more_than_is_read_loses_what_is_too_much_and_ends_nothing() {
    let (hand, mut peer) = Hand::calls(&["channel"]).await;
    let mut channel = peer.take_channel().unwrap();
    for n in 0..500_u16 {
        hand.says(&n.to_be_bytes()).await;
    }
    // Until our end has taken them all off the wire.
    while hand.channel.outstanding_bytes().await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for n in 0..64_u16 {
        assert_eq!(next(&mut channel).await, n.to_be_bytes()[..]);
    }
    hand.says(b"later").await;
    let mut between = 0;
    while next(&mut channel).await != b"later"[..] {
        between += 1;
    }
    assert!(between < 400, "{between} more were kept");
}

async fn next(channel: &mut Channel) -> Bytes {
    timeout(PATIENCE, channel.next()).await.expect("nothing is heard any more").expect("the channel is closed")
}

#[tokio::test]
async fn a_channel_that_the_camera_closes_is_the_end_of_the_call() {
    let (hand, mut peer) = Hand::calls(&["channel"]).await;
    let mut channel = peer.take_channel().unwrap();
    channel.opened().await.unwrap();
    let flowing = peer.flow();
    let begun = clock::now();
    hand.channel.close().await.unwrap();
    let ending = timeout(PATIENCE, flowing).await.expect("the call goes on").unwrap();
    assert_eq!((ending, channel.next().await), (Ending::HungUp, None));
    assert!(begun.elapsed() < ICE_WOULD, "noticed after {:?}", begun.elapsed());
}
