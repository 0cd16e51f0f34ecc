//! The virtual Vivint doorbell in calls, by an app of a few lines: JSON on the nodes, bytes over the channel. Real
//! sockets. (A foreign app is in `tests/peers`.)

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use doorstep::clock;
use doorstep::media::convert::Converter;
use doorstep::media::{AudioCodec, AudioFormat};
use doorstep::rtc::camera::{CameraPeer, Channel};
use doorstep::sim::vivint::doorbell::{self, Codec, Command, Doorbell, Event, Fault, Settings};
use doorstep::sim::vivint::tree::Tree;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::vivint_hand::as_the_app;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const SYSTEM: i64 = 7_001_000_200_030_004;
const UUID: &str = "3b6f0c52-5a0e-4c1f-9d57-0a1b2c3d4e5f";
const APP: &str = "a1b2c3d4e5f60718293a4b5c";
const CALL: &str = "c9f95f59-c84e-4dd0-a4a1-3ba262140383";

const PING: &[u8] = b"\x0a\x00";
const PONG: &[u8] = b"\x12\x00";
const START: &[u8] = b"\x4a\x00";
const STARTED: &[u8] = b"\x52\x00";
const END: &[u8] = b"\x5a\x00";
const ENDED: &[u8] = b"\x62\x00";

struct House {
    tree: Tree,
    doorbell: Doorbell,
    happened: broadcast::Receiver<Event>,
    seen: Vec<Event>,
    node: mpsc::Receiver<Value>,
    stop: CancellationToken,
    _stops: DropGuard,
}

impl House {
    async fn with(codec: Codec, fault: Option<Fault>) -> Self {
        let tree = Tree::default();
        // Left behind by whoever called last.
        tree.put(&path(UUID), offer("v=0", "b1946ac9-2492-4347-8b8e-6f6f6f6f6f6f"));
        let stop = CancellationToken::new();
        let settings =
            Settings { uuid: UUID.to_owned(), system: SYSTEM, tree: tree.clone(), codec, relay: None, fault };
        let doorbell = doorbell::start(settings, stop.clone());
        let happened = doorbell.events();
        let mut node = tree.watch(&path(APP));
        assert_eq!(node.recv().await, Some(Value::Null));
        Self { tree, doorbell, happened, seen: Vec::new(), node, _stops: stop.clone().drop_guard(), stop }
    }

    async fn happens<T>(&mut self, what: &str, accept: impl Fn(&Event) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.happened.recv().await.unwrap();
                let found = accept(&event);
                self.seen.push(event);
                if let Some(found) = found {
                    return found;
                }
            }
        };
        let found = timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_| panic!("no {what}, only {:#?}", self.seen))
    }

    /// The next message to the app.
    async fn told(&mut self) -> Value {
        timeout(PATIENCE, self.node.recv()).await.expect("the doorbell says nothing").unwrap()
    }

    fn says(&self, message: Value) {
        self.tree.put(&path(UUID), message);
    }

    /// Up to an open channel.
    async fn call(&mut self) -> App {
        let mut peer = peer().await;
        self.says(offer(&peer.sdp(), CALL));
        let answer = loop {
            let message = self.told().await;
            assert_eq!(message["from"], UUID);
            if message["sdpType"] == "answer" && message["transactionUuid"] == CALL {
                break message;
            }
        };
        peer.answer(answer["sdp"].as_str().unwrap()).await.unwrap();
        App::of(peer).await
    }

    /// Lets the app speak until it is heard.
    async fn hears(&mut self, app: &mut App) {
        tokio::select! {
            _codec = self.happens("tone", hears_the_tone) => {}
            () = app.speaks(u32::MAX) => {}
        }
    }

    /// The rules that were broken so far.
    fn broken(&mut self) -> Vec<&'static str> {
        self.seen.extend(std::iter::from_fn(|| self.happened.try_recv().ok()));
        let broken = |event: &Event| match event {
            Event::Check { name, ok: false, .. } => Some(*name),
            _ => None,
        };
        self.seen.iter().filter_map(broken).collect()
    }
}

fn path(device: &str) -> String {
    format!("groups/{SYSTEM}/devices/{device}/msg")
}

fn now() -> u64 {
    clock::unix_now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

fn offer(sdp: &str, transaction: &str) -> Value {
    json!({"type": "sdp", "sdpType": "offer", "sdp": sdp, "transactionUuid": transaction, "from": APP,
        "videoSource": {"type": "nosource"}, "_timestamp": now()})
}

async fn peer() -> CameraPeer {
    let mut peer = CameraPeer::offer(as_the_app()).await.unwrap();
    peer.gathered(PATIENCE).await;
    peer
}

/// The app's end of a call.
struct App {
    peer: CameraPeer,
    channel: Channel,
}

impl App {
    async fn of(mut peer: CameraPeer) -> Self {
        let mut channel = peer.take_channel().unwrap();
        timeout(PATIENCE, channel.opened()).await.expect("no channel").unwrap();
        Self { peer, channel }
    }

    async fn says(&self, message: &'static [u8]) {
        self.channel.send(Bytes::from_static(message)).await.unwrap();
    }

    async fn hears(&mut self, expected: &[u8]) {
        assert_eq!(timeout(PATIENCE, self.channel.next()).await.expect("nothing is said").unwrap(), expected);
    }

    async fn speaks(&mut self, times: u32) {
        let pcm = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 8_000, channels: 1 };
        let mut mouth = Converter::new(pcm, self.peer.speech_format().unwrap()).unwrap();
        let mut beat = interval(Duration::from_millis(20));
        let mut sent = 0;
        for n in 0.. {
            beat.tick().await;
            let at = |k: u32| std::f64::consts::TAU * 440.0 * f64::from(160 * n + k) / 8_000.0;
            let piece: Vec<u8> = (0..160).flat_map(|k| ((8_000.0 * at(k).sin()) as i16).to_le_bytes()).collect();
            for piece in mouth.push(&piece) {
                self.peer.speak(piece).await;
                sent += 1;
            }
            if sent >= times {
                break;
            }
        }
    }
}

fn hears_the_tone(event: &Event) -> Option<AudioCodec> {
    match event {
        Event::TalkAudio { tone_hz: Some(hz), codec, .. } if (hz - 440.0).abs() < 20.0 => Some(*codec),
        _ => None,
    }
}

fn call_ended(event: &Event) -> Option<(String, u64)> {
    match event {
        Event::CallEnded { why, unheard, .. } => Some((why.clone(), *unheard)),
        _ => None,
    }
}

#[tokio::test]
async fn a_talk_is_heard_from_its_start_to_its_end_and_neither_before_nor_after() {
    for (codec, name) in [(Codec::Opus, AudioCodec::Opus), (Codec::Pcmu, AudioCodec::Pcmu)] {
        let mut house = House::with(codec, None).await;
        let mut app = house.call().await;
        app.says(PING).await;
        app.hears(PONG).await;
        app.speaks(20).await;
        app.says(START).await;
        app.hears(STARTED).await;
        let started = |event: &Event| match event {
            Event::TalkStarted { unheard, .. } => Some(*unheard),
            _ => None,
        };
        let before = house.happens("talk", started).await;
        app.speaks(80).await;
        assert_eq!(house.happens("tone", hears_the_tone).await, name);
        app.says(END).await;
        app.hears(ENDED).await;
        let ended = |event: &Event| match event {
            Event::TalkEnded { frames, .. } => Some(*frames),
            _ => None,
        };
        let frames = house.happens("end of the talk", ended).await;
        app.speaks(10).await;
        drop(app);
        let (why, after) = house.happens("end of the call", call_ended).await;
        assert_eq!(why, "the app hung up");
        // A message may overtake a few packets, and the last ones may be on their way still.
        let fits = before > 0 && (65..95).contains(&frames) && after > 0 && before + frames + after <= 110;
        assert!(fits, "{before} packets of 20 came before the talk, {frames} of 80 in it, {after} of 10 behind it");
        assert_eq!(house.broken(), [""; 0]);
    }
}

#[tokio::test]
async fn what_it_is_asked_it_answers_with_bytes_that_nobody_knows() {
    let mut house = House::with(Codec::Opus, None).await;
    let mut app = house.call().await;
    let body = b"\x08\x01\x12\x06opaque";
    for (question, answer) in [(b"\x82\x01\x00", b"\x8a\x01\x0a"), (b"\xa2\x01\x00", b"\xaa\x01\x0a")] {
        app.says(question).await;
        app.hears(&[&answer[..], body].concat()).await;
    }
    // What it has no answer to, and what is no question.
    for nothing in [&b"\xca\x01\x00"[..], b"\x52\x05", b"", b"\xff"] {
        app.says(nothing).await;
    }
    app.says(PING).await;
    app.hears(PONG).await;
    assert_eq!(house.broken(), ["ping_first", "message"]);
}

#[tokio::test]
async fn each_fault_of_a_consent_is_seen_by_the_app() {
    let cases: [(Fault, &[&[u8]]); 3] = [
        (Fault::ConsentWithBody, &[b"\x52\x02\x08\x00"]),
        (Fault::NoConsent, &[]),
        (Fault::Garbage, &[b"\x52\x05", b"\xd2\x01\x0a\x08\x01\x12\x06opaque", STARTED]),
    ];
    for (fault, expected) in cases {
        let mut house = House::with(Codec::Opus, Some(fault)).await;
        let mut app = house.call().await;
        app.says(START).await;
        for message in expected {
            app.hears(message).await;
        }
        // It talks all the same.
        house.hears(&mut app).await;
        app.says(END).await;
        app.hears(ENDED).await;
    }
}

#[tokio::test]
async fn the_channels_faults_are_seen_by_the_app() {
    let mut house = House::with(Codec::Opus, Some(Fault::CloseChannel)).await;
    let mut app = house.call().await;
    app.says(START).await;
    assert_eq!(timeout(PATIENCE, app.channel.next()).await.expect("it goes on"), None);
    assert_eq!(house.happens("end of the call", call_ended).await.0, "fault");

    let mut house = House::with(Codec::Opus, Some(Fault::NoPong)).await;
    let mut app = house.call().await;
    app.says(PING).await;
    app.says(START).await;
    app.hears(STARTED).await;

    let mut house = House::with(Codec::Opus, Some(Fault::Pings)).await;
    let mut app = house.call().await;
    app.hears(PING).await;
    app.says(PONG).await;
    house.happens("pong", |event| matches!(event, Event::Pong { .. }).then_some(())).await;
}

#[tokio::test]
async fn the_nodes_faults_are_seen_by_the_app() {
    let mut house = House::with(Codec::Opus, Some(Fault::Stale)).await;
    let peer = peer().await;
    house.says(offer(&peer.sdp(), CALL));
    let (candidate, answer) = (house.told().await, house.told().await);
    let yesterday = now() - 23 * 3_600_000;
    assert!(candidate["_timestamp"].as_u64().unwrap() < yesterday && candidate["type"] == "ice", "{candidate}");
    assert!(answer["_timestamp"].as_u64().unwrap() < yesterday && answer["transactionUuid"] != CALL, "{answer}");
    assert_eq!(house.told().await["transactionUuid"], CALL);

    let mut house = House::with(Codec::Opus, Some(Fault::ForeignOffer)).await;
    let mut node = house.tree.watch(&path(UUID));
    let _app = house.call().await;
    let mut seen = std::iter::from_fn(|| node.try_recv().ok());
    assert!(seen.any(|message| message["sdpType"] == "offer" && message["from"] != APP), "nobody else has offered");
    let busy = |event: &Event| matches!(event, Event::OfferIgnored { why: "busy", .. }).then_some(());
    house.happens("refusal of the other app", busy).await;

    let mut house = House::with(Codec::Opus, Some(Fault::CandidateLineEnds)).await;
    let _app = house.call().await;
    let candidate = house.told().await;
    assert!(candidate["candidate"].as_str().unwrap().ends_with('\r'), "{candidate}");
    assert_eq!(candidate["sdpMLineIndex"], 0);

    let mut house = House::with(Codec::Opus, Some(Fault::NoAnswer)).await;
    house.says(offer(&peer.sdp(), CALL));
    house.happens("silence", |event| matches!(event, Event::OfferIgnored { .. }).then_some(())).await;
    house.doorbell.commands.send(Command::Fault(None)).await.unwrap();
    house.call().await;
}

#[tokio::test]
async fn who_calls_again_is_answered_again_and_who_was_first_is_left_alone_by_others() {
    let mut house = House::with(Codec::Opus, None).await;
    let mut first = house.call().await;
    let mut other = offer(&peer().await.sdp(), "d9f95f59-c84e-4dd0-a4a1-3ba262140383");
    other["from"] = json!("somebodyElse");
    house.says(other);
    let busy = |event: &Event| matches!(event, Event::OfferIgnored { why: "busy", .. }).then_some(());
    house.happens("refusal", busy).await;
    first.says(PING).await;
    first.hears(PONG).await;
    let mut second = house.call().await;
    second.says(PING).await;
    second.hears(PONG).await;
    assert_eq!(timeout(PATIENCE, first.channel.next()).await.expect("the first call goes on"), None);
}

#[tokio::test]
async fn it_can_offer_first_and_be_answered() {
    let mut house = House::with(Codec::Opus, None).await;
    house.doorbell.commands.send(Command::Offer { app: APP.to_owned() }).await.unwrap();
    let offer = house.told().await;
    assert_eq!((&offer["sdpType"], &offer["from"]), (&json!("offer"), &json!(UUID)));
    let mut peer = CameraPeer::answer_to(as_the_app(), offer["sdp"].as_str().unwrap()).await.unwrap();
    peer.gathered(PATIENCE).await;
    house.says(json!({"type": "sdp", "sdpType": "answer", "sdp": peer.sdp(), "from": APP,
        "transactionUuid": offer["transactionUuid"], "_timestamp": now()}));
    let mut app = App::of(peer).await;
    app.says(START).await;
    app.hears(STARTED).await;
    house.hears(&mut app).await;
}

#[tokio::test]
async fn an_offer_that_is_none_is_no_call_and_a_doorbell_that_stops_hangs_up() {
    let mut house = House::with(Codec::Opus, None).await;
    house.says(offer("v=0\r\n", CALL));
    let refused =
        |event: &Event| matches!(event, Event::OfferIgnored { why: "it cannot be answered", .. }).then_some(());
    house.happens("refusal", refused).await;
    for nonsense in [json!("text"), json!({"type": "sdp", "sdpType": "offer"}), json!({"type": "ice", "from": APP})] {
        house.says(nonsense);
    }
    let mut app = house.call().await;
    house.stop.cancel();
    assert_eq!(timeout(PATIENCE, app.channel.next()).await.expect("the call goes on"), None);
    assert_eq!(house.happens("end", call_ended).await.0, "the doorbell hung up");
    timeout(PATIENCE, house.doorbell.stopped()).await.unwrap();
}
