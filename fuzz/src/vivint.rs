//! One function for each thing that Vivint's cloud, its signalling database and its cameras say: it must not panic,
//! and what it reads it must write so that it reads the same again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use doorstep::proto::vivint::channel::Received;
use doorstep::proto::vivint::database::frames::{Collector, split};
use doorstep::proto::vivint::database::message::{FromClient, FromServer};
use doorstep::proto::vivint::database::{Path, Session};
use doorstep::proto::vivint::login::{self, Next, Redirect};
use doorstep::proto::vivint::realtime::{Change, Object, Reply, Update};
use doorstep::proto::vivint::signaling::{self, Dialogue, Message, TransactionUuid};
use serde_json::Value;

use super::pieces::pieces;

/// A message on the data channel.
pub fn channel(data: &[u8]) {
    let Ok(received) = Received::decode(Bytes::copy_from_slice(data)) else { return };
    if let Received::Known(body) = &received {
        assert_eq!(Received::decode(body.to_bytes()).as_ref(), Ok(&received));
    }
    assert!(received.field().is_none_or(|(_, body)| body.len() < data.len()), "a body larger than its message");
}

/// One message to or from the database, and its frames.
pub fn database_message(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(message) = FromServer::decode(text) {
        let written = message.encode();
        assert!(FromServer::decode(&written).as_ref() == Ok(&message), "{written}");
        assert_eq!(whole(&split(&written)), written);
    }
    if let Ok(message) = FromClient::decode(text) {
        let written = message.encode();
        assert_eq!(FromClient::decode(&written).map(|message| message.encode()).as_ref(), Ok(&written));
    }
}

fn whole(frames: &[String]) -> String {
    let mut collector = Collector::default();
    let mut messages = frames.iter().filter_map(|frame| collector.collect(frame).expect("its own frames"));
    messages.next_back().expect("all of a message")
}

/// The frames of one connection to the database, each behind its length, while we listen and write.
pub fn database_session(data: &[u8]) {
    let mut now = start_of_time();
    let mut session = Session::new(now);
    session.on_open(now, "token".to_owned());
    let node = Path::parse(&signaling::path(Some(1), "camera")).expect("a good path");
    session.listen(now, node.clone());
    for piece in pieces(data) {
        now += Duration::from_millis(20);
        let fed = session.on_frame(now, &String::from_utf8_lossy(piece));
        let _not_ready = session.put(now, node.clone(), Value::Null);
        let due = session.deadline().is_some_and(|due| due <= now);
        let timed = if due { session.on_timeout(now) } else { Ok(()) };
        while session.poll().is_some() {}
        if fed.is_err() || timed.is_err() {
            break;
        }
        // A redirect leaves it without one.
        assert!(session.deadline().is_none_or(|due| due > now), "the deadline stands still");
    }
    session.on_close();
    while session.poll().is_some() {}
    assert_eq!(session.deadline(), None, "it waits for a connection that is gone");
}

/// The values of a node in the course of one call, each behind its length.
pub fn signaling(data: &[u8]) {
    let mut dialogue = Dialogue::new("app", "camera", NOW_MS);
    for (n, piece) in pieces(data).into_iter().enumerate() {
        let Ok(value) = serde_json::from_slice::<Value>(piece) else { continue };
        if let Some(message) = Message::read(&value) {
            assert!(Message::read(&message.to_value()).as_ref() == Some(&message), "{value}");
        }
        for heard in dialogue.on_value(&value).unwrap_or_default() {
            if let signaling::Heard::Offer(offer) = heard {
                assert!(Message::read(&dialogue.answer(String::new(), &offer, NOW_MS)).is_some());
            }
        }
        if n == 0 {
            dialogue.offer("v=0\r\n".to_owned(), TransactionUuid::from_random([0; 16]), NOW_MS);
        }
    }
}

const NOW_MS: i64 = 1_700_000_000_000;

/// A reply of PubNub, or the payload of one of its messages.
pub fn realtime(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    update(&value);
    let Some(reply) = Reply::read(&value) else { return };
    for message in reply.messages {
        let _ = message.published.map(|at| at.since_1970());
        update(&message.payload);
    }
}

fn update(payload: &Value) {
    let Some(Update { change: Change::Devices(deltas), .. }) = Update::read(payload) else { return };
    for delta in deltas {
        let _ = delta.camera_event();
        let mut device = Object::new();
        delta.merge_into(&mut device);
        assert!(!device.contains_key("dng") && !device.contains_key("vdt"), "a moment was kept");
    }
}

/// What is said at a login: an answer's JSON, the redirect at its end, a token, a code that somebody typed.
pub fn login(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(answer) = serde_json::from_str(text) {
        let identity = "https://id.example/".parse().expect("a URL");
        if let Some(Next::Follow(url)) = Next::read(&answer) {
            let led = login::within(&identity, &url);
            assert!(led.is_none_or(|url| url.origin() == identity.origin()), "a login was led elsewhere");
        }
        let _ = login::refusal(&answer);
    }
    assert!(Redirect::parse(text).is_none_or(|redirect| !redirect.code.is_empty()));
    assert!(login::claims(text).is_none_or(|claims| claims.is_object()));
    let _ = login::lifetime(text, 1_700_000_000);
    assert!(login::one_time_code(text).is_none_or(|code| code.len() == 6));
}

#[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
fn start_of_time() -> Instant {
    Instant::now()
}
