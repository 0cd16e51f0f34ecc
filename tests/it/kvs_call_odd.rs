//! A KVS call comes about whatever else is said on its line: by masters of other makes, and by a service that is
//! out of order (kvs reference §4). Real sockets.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use doorstep::media::MediaHub;
use doorstep::proto::kvs::signaling::{Inbound, MessageType, Payload};
use doorstep::rtc::kvs_call::{KvsCall, Wish};
use doorstep::sim::kvs_camera::{self, CameraEvent, Settings};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::crooked_line::{CrookedLine, Said, Script, answer, as_it_is, candidate, instead_of_the_answer};

const PATIENCE: Duration = Duration::from_secs(40);

/// Calls a camera whose answer is told so, and waits for a picture.
async fn is_seen(what: &str, script: Script) {
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let camera = Arc::new(kvs_camera::start(Settings::default(), stop).await.unwrap());
    let mut happened = camera.events();
    let line = CrookedLine::to(camera.clone(), Box::new(as_it_is), script).await;
    let hub = MediaHub::new();
    let mut frames = hub.listen();
    let wish = Wish { hub: hub.clone(), talk: true, channel: None };
    let placed = timeout(PATIENCE, KvsCall::place_by(line.clone(), wish)).await.unwrap();
    let mut call = placed.unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut shown = 0;
    while shown < 5 {
        tokio::select! {
            frame = timeout(PATIENCE, frames.next()) => shown += usize::from(frame.unwrap().unwrap().kind.is_video()),
            error = call.ended() => panic!("{what}: {error}"),
        }
    }
    assert_eq!(line.asked().len(), 1, "{what}: it took more than one call");
    let broken = |event: &CameraEvent| matches!(event, CameraEvent::Check { ok: false, .. });
    let broken: Vec<_> = std::iter::from_fn(|| happened.try_recv().ok()).filter(broken).collect();
    assert_eq!(broken, [], "{what}");
}

/// The answer without its candidates, and they by themselves, as a C master spells them.
fn taken_apart(sdp: &str) -> (Said, Vec<Said>) {
    let (inside, outside): (Vec<&str>, Vec<&str>) = sdp.lines().partition(|line| line.starts_with("a=candidate:"));
    let spelled = |line: &&str| {
        let host = line.trim_start_matches("a=").split(" typ ").next().unwrap().to_owned();
        candidate(&format!("{host} typ host raddr 0.0.0.0 rport 0 generation 0 network-cost 999\r\n"))
    };
    let candidates = inside.iter().filter(|line| line.contains(" udp ")).map(spelled).collect();
    let outside = outside.iter().map(|line| format!("{line}\r\n")).collect::<String>();
    (answer(&outside), candidates)
}

fn frame(text: impl Into<String>) -> Said {
    Said::Frame(text.into())
}

fn carrying(message_type: &str, payload: &str) -> Said {
    frame(format!(r#"{{"messageType":"{message_type}","messagePayload":"{}"}}"#, BASE64.encode(payload)))
}

#[tokio::test]
async fn candidates_may_come_before_within_and_after_the_answer() {
    is_seen("within", instead_of_the_answer(|sdp| vec![answer(sdp)])).await;
    let before = |sdp: &str| {
        let (answer, mut said) = taken_apart(sdp);
        said.push(answer);
        said
    };
    is_seen("before", instead_of_the_answer(before)).await;
    let after = |sdp: &str| {
        let (answer, candidates) = taken_apart(sdp);
        [vec![answer], candidates].concat()
    };
    is_seen("after", instead_of_the_answer(after)).await;
    let everywhere = |sdp: &str| {
        let (_, candidates) = taken_apart(sdp);
        [candidates.clone(), vec![answer(sdp)], candidates].concat()
    };
    is_seen("everywhere", instead_of_the_answer(everywhere)).await;
}

#[tokio::test]
async fn hostile_camera_answers_twice() {
    is_seen("twice the same", instead_of_the_answer(|sdp| vec![answer(sdp), answer(sdp)])).await;
    // As of a camera that has begun a second connection for an offer that was repeated.
    let another = |sdp: &str| {
        let changed = |line: &str| match line.split_once(':') {
            Some((name @ ("a=ice-ufrag" | "a=ice-pwd"), _)) => format!("{name}:0123456789abcdef0123456789abcdef\r\n"),
            _ => format!("{line}\r\n"),
        };
        vec![answer(sdp), answer(&sdp.lines().map(changed).collect::<String>()), answer("v=0\r\n"), answer("")]
    };
    is_seen("another", instead_of_the_answer(another)).await;
}

#[tokio::test]
async fn hostile_camera_sends_frames_that_are_none() {
    let with_noise = |sdp: &str| {
        let whole = Inbound::relayed(Payload::Answer { sdp: sdp.to_owned() }, None).encode();
        let notice = |kind| frame(Inbound::notice(kind).encode());
        let noise = vec![
            frame(""),
            frame("{}"),
            frame("null"),
            frame("[[[["),
            frame("\u{0}"),
            frame(&whole[..whole.len() / 2]),
            frame(whole.replace("messagePayload\":\"", "messagePayload\":\"!")),
            frame(r#"{"messageType":"SDP_ANSWER","messagePayload":""}"#),
            frame(r#"{"messageType":"SDP_ANSWER"}"#),
            frame(r#"{"messageType":7,"messagePayload":7}"#),
            carrying("SDP_ANSWER", r#"{"type":"offer","sdp":"v=0\r\n"}"#),
            carrying("SDP_ANSWER", r#"{"type":"answer","sdp":null}"#),
            carrying("SDP_ANSWER", "\u{7f}"),
            carrying("SDP_OFFER", r#"{"type":"offer","sdp":"v=0\r\n"}"#),
            carrying("NOT_YET_INVENTED", "{}"),
            frame(r#"{"messageType":"STATUS_RESPONSE","messagePayload":""}"#),
            notice(MessageType::StatusResponse),
            // There is no relay to be replaced.
            notice(MessageType::ReconnectIceServer),
            frame(format!(r#"{{"messageType":"SDP_ANSWER","messagePayload":"{}"}}"#, "A".repeat(200_000))),
            Said::Binary(whole.clone().into_bytes()),
            Said::Binary(vec![]),
        ];
        [noise.clone(), vec![frame(whole)], noise].concat()
    };
    is_seen("noise", instead_of_the_answer(with_noise)).await;
}

#[tokio::test]
async fn hostile_camera_sends_candidates_that_lead_nowhere() {
    let nowhere = || {
        let lines = [
            "",
            "candidate:",
            "candidate:1 1 udp 2130706431 0f0a5c2e-5d0e-4f7a-9b1e-1c7a.local 50000 typ host generation 0",
            "candidate:1 1 tcp 1671430143 127.0.0.1 9 typ host tcptype active",
            "candidate:1 1 ssltcp 1671430143 127.0.0.1 9 typ host",
            "candidate:1 2 udp 2130706430 127.0.0.1 50001 typ host",
            "candidate:1 1 udp 2130706431 0.0.0.0 50000 typ host",
            "candidate:1 1 udp 2130706431 256.0.0.1 50000 typ host",
            "candidate:1 1 udp 99999999999999999999 127.0.0.1 50000 typ host",
            "candidate:1 1 udp 2130706431 127.0.0.1 99999 typ host",
            "candidate:1 1 udp 2130706431 2001:0DB8:0000:0000:0000:0000:0000:0001 50000 typ host raddr ::/0 rport 0",
            "a=candidate:1 1 udp",
            "\r\n\u{0}\u{fffd}",
        ];
        let odd = lines.map(candidate).into_iter();
        let payloads =
            ["{}", r#"{"candidate":null}"#, r#"{"candidate":"","sdpMid":"no such section","sdpMLineIndex":9}"#];
        odd.chain(payloads.map(|payload| carrying("ICE_CANDIDATE", payload))).collect::<Vec<_>>()
    };
    let around = move |sdp: &str| {
        let (answer, candidates) = taken_apart(sdp);
        [nowhere(), vec![answer], nowhere(), candidates, nowhere()].concat()
    };
    is_seen("nowhere", instead_of_the_answer(around)).await;
    let flood = |sdp: &str| {
        let far =
            |n: usize| candidate(&format!("candidate:{n} 1 udp 5 192.0.2.{} {} typ host", n % 250 + 1, n + 1_024));
        [(0..500).map(far).collect(), vec![answer(sdp)], (0..500).map(far).collect()].concat()
    };
    is_seen("a flood", instead_of_the_answer(flood)).await;
}
