//! aiortc as a Vivint camera, and as an app that calls the virtual Vivint doorbell. What is said over the data channel
//! are bytes by hand on both sides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::media::{AudioFormat, Frame, MediaHub};
use doorstep::rtc::camera::{CameraPeer, Channel, Ending, Sound, Video, Wanted};
use doorstep::sim::vivint::doorbell::{self, Codec, Event, Settings};
use doorstep::sim::vivint::tree::Tree;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Voice, assert_beeps, run};
use crate::program::Program;
use crate::promise;
use crate::wait::PATIENCE;

/// When ICE alone would tell that the other side is gone: 2 s, and 2 s of grace.
const ICE_WOULD: Duration = Duration::from_secs(4);

pub(super) fn tests() -> Vec<Trial> {
    vec![
        promise("aiortc::a_vivint_camera_is_called_talked_to_and_asked_in_opus", || calls("opus", AudioFormat::OPUS)),
        promise("aiortc::a_vivint_camera_is_called_talked_to_and_asked_in_pcmu", || calls("pcmu", AudioFormat::PCMU)),
        promise("aiortc::a_vivint_camera_may_call_first", is_called),
        promise("aiortc::a_vivint_camera_that_closes_its_channel_ends_the_call_at_once", || ends("channel")),
        promise("aiortc::a_vivint_camera_that_hangs_up_ends_the_call_at_once", || ends("peer")),
        promise("aiortc::the_virtual_vivint_doorbell_hears_an_app_while_it_talks_in_opus", || is_heard(Codec::Opus)),
        promise("aiortc::the_virtual_vivint_doorbell_hears_an_app_while_it_talks_in_pcmu", || is_heard(Codec::Pcmu)),
    ]
}

fn wanted(hub: &MediaHub) -> Wanted<'static> {
    Wanted {
        hub: hub.clone(),
        video: Video::None,
        sound: Sound::Both(&[AudioFormat::OPUS, AudioFormat::PCMU]),
        channel: Some("channel"),
        ice_servers: &[],
        relay_only: false,
        loopback: true,
    }
}

/// Our end of a call to the camera.
struct Call {
    camera: Program,
    peer: CameraPeer,
    channel: Channel,
    hub: MediaHub,
}

impl Call {
    /// We call.
    async fn place(sound: &str) -> Self {
        let mut camera = run("vivint_camera.py", sound);
        let hub = MediaHub::new();
        let mut peer = CameraPeer::offer(wanted(&hub)).await.unwrap();
        peer.gathered(PATIENCE).await;
        camera.tell(&json!({ "offer": peer.sdp() })).await;
        peer.answer(camera.says("answer").await.as_str().unwrap()).await.unwrap();
        // It has them all by now; one more time does no harm.
        let candidate = timeout(PATIENCE, peer.candidate()).await.expect("no candidate").unwrap();
        camera.tell(&json!({ "candidate": candidate })).await;
        Self::of(camera, peer, hub).await
    }

    /// Up to an open channel.
    async fn of(camera: Program, mut peer: CameraPeer, hub: MediaHub) -> Self {
        timeout(PATIENCE, peer.connected()).await.expect("no connection").unwrap();
        let mut channel = peer.take_channel().unwrap();
        timeout(PATIENCE, channel.opened()).await.expect("no channel").unwrap();
        Self { camera, peer, channel, hub }
    }

    async fn asks(&mut self, question: &'static [u8], answer: &[u8]) {
        self.channel.send(Bytes::from_static(question)).await.unwrap();
        assert_eq!(timeout(PATIENCE, self.channel.next()).await.expect("no answer").unwrap(), answer);
    }

    /// What the camera's speaker was given, and whether it was on.
    async fn heard(&mut self, format: AudioFormat) -> (f64, bool) {
        let mut voice = Voice::new(format);
        let mut beat = interval(Duration::from_millis(20));
        // The first second may have begun before.
        let Self { camera, peer, .. } = self;
        let second = async {
            camera.says("heard").await;
            camera.says_all("heard").await
        };
        let mut second = std::pin::pin!(second);
        loop {
            tokio::select! {
                said = &mut second => return (said["heard"].as_f64().unwrap(), said["on"].as_bool().unwrap()),
                _ = beat.tick() => for piece in voice.next() {
                    peer.speak(piece).await;
                },
            }
        }
    }
}

async fn calls(sound: &'static str, format: AudioFormat) {
    let mut call = Call::place(sound).await;
    let channel = call.camera.says_all("channel").await;
    assert_eq!(channel, json!({"channel": "channel", "ordered": true, "protocol": ""}));
    assert_eq!(call.peer.speech_format(), Some(format));
    let mut frames = call.hub.listen();
    let _flowing = call.peer.flow();
    call.asks(b"\x0a\x00", b"\x12\x00").await;
    call.asks(b"\x4a\x00", b"\x52\x00").await;
    let (hz, on) = call.heard(format).await;
    assert!(on && (hz - 440.0).abs() < 20.0, "it heard {hz} Hz, on: {on}");
    call.asks(b"\x82\x01\x00", b"\x8a\x01\x02\x08\x01").await;
    call.asks(b"\xa2\x01\x00", b"\xaa\x01\x04\x12\x02hi").await;
    call.asks(b"\x5a\x00", b"\x62\x00").await;
    let mut seen: Vec<Arc<Frame>> = Vec::new();
    while seen.len() < 60 {
        seen.push(timeout(PATIENCE, frames.next()).await.expect("its sound does not arrive").unwrap());
    }
    assert_beeps(&seen, format);
    drop(call.peer);
    while call.camera.says("state").await != "closed" {}
}

async fn is_called() {
    let mut camera = run("vivint_camera.py", "opus");
    camera.tell(&json!({ "call": true })).await;
    let hub = MediaHub::new();
    let offer = camera.says("offer").await;
    let mut peer = CameraPeer::answer_to(wanted(&hub), offer.as_str().unwrap()).await.unwrap();
    peer.gathered(PATIENCE).await;
    camera.tell(&json!({ "answer": peer.sdp() })).await;
    let mut call = Call::of(camera, peer, hub).await;
    assert_eq!(call.peer.speech_format(), Some(AudioFormat::OPUS));
    call.asks(b"\x4a\x00", b"\x52\x00").await;
    let (hz, on) = call.heard(AudioFormat::OPUS).await;
    assert!(on && (hz - 440.0).abs() < 20.0, "it heard {hz} Hz, on: {on}");
}

async fn ends(how: &str) {
    let mut call = Call::place("opus").await;
    let flowing = call.peer.flow();
    call.asks(b"\x0a\x00", b"\x12\x00").await;
    let begun = clock::now();
    call.camera.tell(&json!({ "hang_up": how })).await;
    let ending = timeout(PATIENCE, flowing).await.expect("the call goes on").unwrap();
    assert_eq!(ending, Ending::HungUp);
    assert!(begun.elapsed() < ICE_WOULD, "noticed after {:?}", begun.elapsed());
}

/// The app's messages on their way to the doorbell's node, and back.
struct Wire {
    tree: Tree,
    happened: broadcast::Receiver<Event>,
    seen: Vec<Event>,
}

const DOORBELL: &str = "groups/7001000200030004/devices/3b6f0c52-5a0e-4c1f-9d57-0a1b2c3d4e5f/msg";
const APP: &str = "groups/7001000200030004/devices/a1b2c3d4e5f60718293a4b5c/msg";

impl Wire {
    fn says(&self, mut message: Value) {
        message["from"] = json!("a1b2c3d4e5f60718293a4b5c");
        let since_1970 = clock::unix_now().duration_since(std::time::UNIX_EPOCH).unwrap();
        message["_timestamp"] = json!(since_1970.as_millis() as u64);
        self.tree.put(DOORBELL, message);
    }

    async fn happens<T>(&mut self, what: &str, accept: impl Fn(&Event) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.happened.recv().await.unwrap();
                self.seen.push(event);
                if let Some(found) = self.seen.last().and_then(&accept) {
                    return found;
                }
            }
        };
        let found = timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_| panic!("no {what}, only {:#?}", self.seen))
    }
}

/// Hands the doorbell's messages to the app.
fn pass_on(mut node: mpsc::Receiver<Value>) -> (mpsc::Receiver<Value>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(64);
    let passing = async move {
        while let Some(message) = node.recv().await {
            let told = match (&message["sdpType"], &message["candidate"]) {
                (Value::String(kind), _) if kind == "answer" => json!({ "answer": message["sdp"] }),
                (_, Value::String(candidate)) => json!({ "candidate": candidate }),
                _ => continue,
            };
            if sender.send(told).await.is_err() {
                return;
            }
        }
    };
    (receiver, tokio::spawn(passing))
}

async fn is_heard(codec: Codec) {
    let (tree, stop) = (Tree::default(), CancellationToken::new());
    let _stops = stop.clone().drop_guard();
    let settings = Settings {
        uuid: "3b6f0c52-5a0e-4c1f-9d57-0a1b2c3d4e5f".to_owned(),
        system: 7_001_000_200_030_004,
        tree: tree.clone(),
        codec,
        relay: None,
        fault: None,
    };
    let doorbell = doorbell::start(settings, stop);
    let (mut told, passing) = pass_on(tree.watch(APP));
    let _passing = AbortOnDropHandle::new(passing);
    let mut wire = Wire { tree, happened: doorbell.events(), seen: Vec::new() };

    let mut app = run("vivint_app.py", "");
    let offer = app.says("offer").await;
    let transaction = "c9f95f59-c84e-4dd0-a4a1-3ba262140383";
    wire.says(json!({"type": "sdp", "sdpType": "offer", "sdp": offer, "transactionUuid": transaction,
        "videoSource": {"type": "nosource"}}));
    // The answer, and the first candidate.
    for _ in 0..2 {
        let message = timeout(PATIENCE, told.recv()).await.expect("the doorbell says nothing").unwrap();
        app.tell(&message).await;
    }
    assert_eq!(app.says("open").await, true);
    app.tell(&json!({ "say": "0a00" })).await;
    assert_eq!(app.says("said").await, "1200");
    // Something must have come before the speaker is on, or nothing is shown.
    app.tell(&json!({ "speak": true })).await;
    app.says("spoken").await;
    app.tell(&json!({ "say": "4a00" })).await;
    assert_eq!(app.says("said").await, "5200");
    let started = |event: &Event| match event {
        Event::TalkStarted { unheard, .. } => Some(*unheard),
        _ => None,
    };
    assert!(wire.happens("talk", started).await > 0, "no sound came before the talk");
    let tone = |event: &Event| match event {
        Event::TalkAudio { tone_hz: Some(hz), .. } => Some(*hz),
        _ => None,
    };
    let hz = wire.happens("tone", tone).await;
    assert!((hz - 440.0).abs() < 20.0, "it heard {hz} Hz");
    app.tell(&json!({ "say": "5a00" })).await;
    assert_eq!(app.says("said").await, "6200");
    app.tell(&json!({ "say": "820100" })).await;
    assert!(app.says("said").await.as_str().unwrap().starts_with("8a01"));
    app.tell(&json!({ "hang_up": true })).await;
    let ended = |event: &Event| matches!(event, Event::CallEnded { why, .. } if why == "the app hung up").then_some(());
    wire.happens("end of the call", ended).await;
    let broken: Vec<&Event> =
        wire.seen.iter().filter(|event| matches!(event, Event::Check { ok: false, .. })).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}
