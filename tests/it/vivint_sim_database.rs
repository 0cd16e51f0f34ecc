//! The virtual signalling database speaks as the Vivint reference says (§7) and breaks exactly what a fault names.

use std::time::UNIX_EPOCH;

use doorstep::clock;
use doorstep::sim::vivint::Fault;
use serde_json::{Value, json};

use crate::support::vivint_hand::{Hand, golden};
use crate::support::vivint_wire::Wire;

/// What a longer message is split into.
const PIECE: usize = 16_384;

/// Its keys in order of name.
fn keys(message: &Value) -> Vec<String> {
    message.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

#[tokio::test]
async fn hello_comes_first_and_has_the_golden_shape() {
    let hand = Hand::logged_in().await;
    let mut wire = Wire::connect(&hand.vivint.address.to_string()).await;
    let hello = wire.message().await;
    let golden: Value = serde_json::from_str(golden()["rtdb_frames"]["server_hello"].as_str().unwrap()).unwrap();
    assert_eq!(keys(&hello["d"]["d"]), keys(&golden["d"]["d"]));
    assert_eq!(hello["d"]["d"]["h"], hand.vivint.address.to_string());
    let now = clock::unix_now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!(hello["d"]["d"]["ts"].as_u64().unwrap().abs_diff(now) < 60_000, "{hello}");
    wire.send_frame("0").await;
    wire.send_frame(r#"{"t":"c","d":{"t":"p","d":{}}}"#).await;
    assert_eq!(wire.message().await, json!({"t": "c", "d": {"t": "o", "d": null}}));
    assert_eq!(wire.ask("s", json!({"c": {"sdk.node.12-19-0": 1}})).await["s"], "ok");
    for path in ["/.ws?v=5", "/.ws?ns=virtual"] {
        let refused = tokio_tungstenite::connect_async(format!("ws://{}{path}", hand.vivint.address)).await;
        assert!(refused.is_err(), "{path} was let in");
    }
}

#[tokio::test]
async fn nobody_reads_or_writes_without_a_token_or_outside_his_system() {
    let hand = Hand::logged_in().await;
    let mut wire = Wire::greeted(&hand).await;
    let (own, denied) = (hand.node("me"), json!({"s": "permission_denied", "d": "Permission denied"}));
    assert_eq!(wire.put(&own, &json!(1)).await, denied);
    assert_eq!(wire.ask("q", json!({"p": own, "h": ""})).await, denied);
    for (token, status) in [(hand.id.clone(), "invalid_token"), ("x".to_owned(), "invalid_token")] {
        assert_eq!(wire.ask("auth", json!({"cred": token})).await["s"], status);
    }
    let token = hand.firebase_token().await;
    let accepted = wire.ask("auth", json!({"cred": token})).await;
    assert_eq!(accepted["d"]["auth"]["uid"], hand.vivint.settings.uid);
    assert!(accepted["d"]["expires"].as_u64().unwrap() > 1_700_000_000);
    for path in ["/", "/groups", "/groups/5/devices/a/msg", "/devices/a/msg"] {
        for (action, body) in
            [("p", json!({"p": path, "d": 1})), ("q", json!({"p": path, "h": ""})), ("o", json!({"p": path, "d": 1}))]
        {
            assert_eq!(wire.ask(action, body).await, denied, "{action} {path}");
        }
    }
    assert_eq!(wire.put(&own, &json!({"a": 1})).await["s"], "ok");
    assert_eq!(wire.ask("g", json!({"p": own, "q": {}})).await, json!({"s": "ok", "d": {"a": 1}}));
    wire.listen(&own).await;
    wire.request("unauth", json!({})).await;
    assert_eq!(wire.push().await, ("c".into(), json!({"p": own})));
    assert_eq!(wire.reply().await["s"], "ok");
    assert_eq!(wire.put(&own, &json!(1)).await, denied);
}

#[tokio::test]
async fn a_write_is_heard_by_its_writer_before_its_ok_and_by_everyone_who_listens() {
    let hand = Hand::logged_in().await;
    let (mut writer, mut other) = (Wire::authenticated(&hand).await, Wire::authenticated(&hand).await);
    let node = hand.node("camera");
    assert_eq!(writer.listen(&node).await, Value::Null);
    assert_eq!(other.listen(&node).await, Value::Null);
    let offer = json!({"type": "sdp", "sdpType": "offer", "_timestamp": 1});
    writer.request("p", json!({"p": format!("/{node}"), "d": offer})).await;
    let told = ("d".to_owned(), json!({"p": node, "d": offer}));
    assert_eq!(writer.push().await, told);
    assert_eq!(writer.reply().await["s"], "ok");
    assert_eq!(other.push().await, told);

    // A merge with the server's own time, told whole.
    writer.request("m", json!({"p": format!("/{node}"), "d": {"_timestamp": {".sv": "timestamp"}, "sdp": "x"}})).await;
    let (_, body) = writer.push().await;
    assert!(body["d"]["_timestamp"].as_u64().unwrap() > 1_700_000_000_000 && body["d"]["type"] == "sdp", "{body}");
    writer.reply().await;
    other.push().await;

    // Who does not listen any more hears nothing; null deletes.
    assert_eq!(other.ask("n", json!({"p": node})).await["s"], "ok");
    writer.request("p", json!({"p": node, "d": null})).await;
    assert_eq!(writer.push().await.1["d"], Value::Null);
    writer.reply().await;
    assert_eq!(other.ask("g", json!({"p": node, "q": {}})).await["d"], Value::Null);
}

#[tokio::test]
async fn last_words_are_written_when_a_client_is_gone_unless_taken_back() {
    let hand = Hand::logged_in().await;
    let (mut leaver, mut stays) = (Wire::authenticated(&hand).await, Wire::authenticated(&hand).await);
    let [node, kept] = ["me", "kept"].map(|device| hand.node(device));
    for path in [&node, &kept] {
        leaver.put(path, &json!({"a": 1})).await;
    }
    stays.listen(&node).await;
    for (action, body) in [
        ("o", json!({"p": node, "d": null})),
        ("om", json!({"p": node, "d": {"b": {".sv": "timestamp"}}})),
        ("o", json!({"p": format!("{kept}/a"), "d": null})),
        ("oc", json!({"p": kept})),
    ] {
        assert_eq!(leaver.ask(action, body).await["s"], "ok");
    }
    drop(leaver);
    assert_eq!(stays.push().await.1["d"], Value::Null);
    assert!(stays.push().await.1["d"]["b"].is_u64());
    assert_eq!(hand.vivint.tree().get(&kept), json!({"a": 1}));
}

#[tokio::test]
async fn long_messages_are_split_both_ways() {
    let hand = Hand::logged_in().await;
    let mut wire = Wire::authenticated(&hand).await;
    let node = hand.node("camera");
    wire.listen(&node).await;
    let value = json!({"sdp": "x".repeat(40_000)});
    let message = json!({"t": "d", "d": {"r": 3, "a": "p", "b": {"p": node, "d": value}}}).to_string();
    wire.request = 3;
    wire.send_frame("3").await;
    for piece in message.as_bytes().chunks(PIECE) {
        wire.send_frame(std::str::from_utf8(piece).unwrap()).await;
    }
    assert_eq!(wire.frame().await.as_deref(), Some("3"));
    let mut told = String::new();
    for _ in 0..3 {
        let piece = wire.frame().await.unwrap();
        assert!(piece.len() <= PIECE);
        told += &piece;
    }
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["d"]["b"]["d"], value);
    assert_eq!(wire.reply().await["s"], "ok");
    wire.send_frame("no JSON").await;
    assert_eq!(wire.message().await["d"]["t"], "e");
    assert_eq!(wire.frame().await, None);
}

#[tokio::test]
async fn faults_of_the_greeting() {
    let hand = Hand::logged_in().await;
    let port = hand.vivint.address.port();
    hand.misbehave(Fault::Redirect);
    let mut wire = Wire::connect(&hand.vivint.address.to_string()).await;
    let redirect = wire.message().await;
    assert_eq!(redirect, json!({"t": "c", "d": {"t": "r", "d": format!("localhost:{port}")}}));
    let mut wire = Wire::connect(&format!("localhost:{port}")).await;
    assert_eq!(wire.message().await["d"]["t"], "h");
    hand.misbehave(Fault::Shutdown);
    assert_eq!(wire.message().await["d"]["t"], "s");
    assert_eq!(wire.frame().await, None);
    let mut wire = Wire::connect(&hand.vivint.address.to_string()).await;
    assert_eq!(wire.message().await["d"]["t"], "h");
    assert_eq!(wire.message().await["d"]["t"], "s");
    hand.misbehave(Fault::NoHello);
    let mut wire = Wire::connect(&hand.vivint.address.to_string()).await;
    hand.obey("offline");
    assert_eq!(wire.frame().await, None, "it said something before it was cut off");
}

#[tokio::test]
async fn faults_of_the_frames() {
    let hand = Hand::logged_in().await;
    let mut wire = Wire::authenticated(&hand).await;
    let node = hand.node("camera");
    hand.misbehave(Fault::CountOfOne);
    wire.request("g", json!({"p": node, "q": {}})).await;
    assert_eq!(wire.frame().await.as_deref(), Some("1"));
    assert!(wire.frame().await.unwrap().starts_with('{'));
    hand.misbehave(Fault::SmallPieces);
    wire.put(&node, &json!("x".repeat(250))).await;
    wire.request("g", json!({"p": node, "q": {}})).await;
    assert_eq!(wire.frame().await.as_deref(), Some("3"));
    for _ in 0..3 {
        assert!(wire.frame().await.unwrap().len() <= 100);
    }
    hand.misbehave(Fault::LyingCount);
    hand.vivint.tree().put(&node, json!("y".repeat(PIECE)));
    wire.request("g", json!({"p": node, "q": {}})).await;
    assert_eq!(wire.frame().await.as_deref(), Some("3"), "two pieces follow");
    hand.obey("fault none");
    let mut wire = Wire::authenticated(&hand).await;
    hand.misbehave(Fault::Huge);
    wire.listen(&node).await;
    let pieces: usize = wire.frame().await.unwrap().parse().unwrap();
    assert!(pieces * PIECE > 11 * 1_024 * 1_024, "{pieces} pieces");
}

#[tokio::test]
async fn an_expired_token_is_told_of_and_a_fresh_one_goes_on() {
    let hand = Hand::logged_in().await;
    let mut wire = Wire::authenticated(&hand).await;
    let (node, old) = (hand.node("me"), hand.firebase_token().await);
    wire.listen(&node).await;
    hand.misbehave(Fault::AuthExpired);
    let expired = json!({"s": "expired_token", "d": "Auth token is expired."});
    assert_eq!(wire.push().await, ("ac".into(), expired.clone()));
    hand.vivint.tree().put(&node, json!(1));
    assert_eq!(wire.ask("auth", json!({"cred": old})).await, expired);
    let fresh = hand.firebase_token().await;
    assert_eq!(wire.ask("auth", json!({"cred": fresh})).await["s"], "ok");
    assert_eq!(wire.push().await.1["d"], 1, "what was missed");
    hand.misbehave(Fault::AuthRefused);
    assert_eq!(Wire::greeted(&hand).await.ask("auth", json!({"cred": fresh})).await["s"], "invalid_token");
    hand.misbehave(Fault::ListenRevoked);
    assert_eq!(wire.push().await, ("c".into(), json!({"p": node})));
    hand.misbehave(Fault::ListenDenied);
    assert_eq!(wire.ask("q", json!({"p": node, "h": ""})).await["s"], "permission_denied");
    hand.misbehave(Fault::WriteDenied);
    assert_eq!(wire.put(&node, &json!(2)).await["s"], "permission_denied");
    wire.listen(&node).await;
}

#[tokio::test]
async fn faults_of_the_pushes() {
    let hand = Hand::logged_in().await;
    let mut wire = Wire::authenticated(&hand).await;
    let (node, tree) = (hand.node("me"), hand.vivint.tree());
    tree.put(&node, json!({"type": "sdp", "sdpType": "offer", "sdp": "x"}));
    wire.listen(&node).await;
    hand.misbehave(Fault::ChildPush);
    tree.put(&node, json!({"type": "sdp", "sdpType": "answer"}));
    let mut told = [wire.push().await, wire.push().await];
    told.sort_by_key(|(_, body)| body["p"].to_string());
    let child = |name: &str, value: Value| ("d".to_owned(), json!({"p": format!("{node}/{name}"), "d": value}));
    assert_eq!(told, [child("sdp", Value::Null), child("sdpType", json!("answer"))]);
    hand.misbehave(Fault::MergePush);
    tree.put(&node, json!({"type": "sdp", "sdpType": "offer"}));
    assert_eq!(wire.push().await, ("m".into(), json!({"p": node, "d": {"sdpType": "offer"}})));
    hand.misbehave(Fault::ForeignPush);
    tree.put(&node, json!(7));
    assert_eq!(wire.push().await.1["p"], "groups/1/devices/nobody/msg");
    assert_eq!(wire.push().await.1, json!({"p": node, "d": 7}));
    hand.misbehave(Fault::Mute);
    wire.request("g", json!({"p": node, "q": {}})).await;
    hand.misbehave(Fault::Drop);
    assert_eq!(wire.frame().await, None, "it spoke while it was mute");
}

#[tokio::test]
async fn leftovers_and_intruders_are_on_the_nodes() {
    let hand = Hand::logged_in().await;
    let mut wire = Wire::authenticated(&hand).await;
    let (own, camera) = (hand.node(&hand.vivint.settings.uid), hand.node(&hand.camera()));
    hand.misbehave(Fault::Stale);
    let stale = wire.listen(&own).await;
    assert_eq!((&stale["sdpType"], &stale["from"]), (&json!("answer"), &json!(hand.camera())));
    assert_eq!(wire.listen(&camera).await["type"], "ice");
    hand.misbehave(Fault::Intruder);
    wire.request("p", json!({"p": camera, "d": {"type": "sdp", "sdpType": "offer", "from": "me"}})).await;
    assert_eq!(wire.push().await.1["d"]["from"], "me");
    assert_eq!(wire.reply().await["s"], "ok");
    let (_, intruder) = wire.push().await;
    assert!(intruder["d"]["sdpType"] == "offer" && intruder["d"]["from"] != "me", "{intruder}");
}
