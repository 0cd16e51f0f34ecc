//! AWS's SDK for WebRTC on Kinesis Video Streams (JavaScript, Apache-2.0) in headless Chromium, as the viewer of our
//! virtual doorbell at our virtual AWS. Only the addresses were changed, and the certificate is taken on trust.
//!
//! Needs `node`, Chromium, and `npm ci --prefix tests/peers/kvs-js`.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Stdio};
use std::time::Duration;

use doorstep::secret::Password;
use doorstep::sim::aws::{Fault, Trouble, Turn};
use doorstep::sim::kvs_doorbell::{Event, Profile};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::doorstep::Doorstep;
use crate::kvs::{self, House};
use crate::promise;
use crate::told::happens;
use crate::turn;

const OPEN_DOOR: &str = r#"{"action":"open_door"}"#;
/// Its own limit is 15 s; a browser on a busy machine takes a few more to start and to end.
const PATIENCE: Duration = Duration::from_secs(45);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("kvs_js_sees_hears_and_talks_to_a_doorbell_and_opens_its_door", opens_the_door),
        promise("kvs_js_sees_a_doorbell_that_came_online_late", || sees(Profile::Linux, Some("ECHO:"))),
        promise("kvs_js_sees_a_doorbell_that_answers_at_once", || sees(Profile::Python, None)),
        promise("kvs_js_sees_a_doorbell_over_the_relay_that_it_is_told_of", is_relayed)
            .with_ignored_flag(turn::missing().is_some()),
        promise("kvs_js_opens_the_door_of_a_doorbell_on_the_command_line", as_users_start_it),
        promise("kvs_js_bears_frames_that_nobody_knows", bears_odd_frames),
        promise("kvs_js_shares_a_doorbell_with_another_viewer", shares),
    ]
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let has_node = Blocking::new("node").arg("--version").stdout(Stdio::null()).status().is_ok();
    let browser = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    match () {
        () if !has_node => Some("the KVS JavaScript SDK tests: `node` is not installed".to_owned()),
        () if !Path::new(&browser).exists() => {
            Some("the KVS JavaScript SDK tests: Chromium is not installed, and `$CHROMIUM` names no file".to_owned())
        }
        () if !folder().join("node_modules/amazon-kinesis-video-streams-webrtc").is_dir() => {
            Some("the KVS JavaScript SDK tests: `npm ci --prefix tests/peers/kvs-js` has not been run".to_owned())
        }
        () => None,
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/kvs-js")
}

async fn view(house: &House, wish: Value) -> Vec<Value> {
    view_at(&house.account(), wish).await
}

/// What each viewer tells of its call.
async fn view_at(account: &Value, wish: Value) -> Vec<Value> {
    let mut node = Command::new("node");
    node.arg(folder().join("viewer.mjs")).arg(account.to_string()).arg(wish.to_string());
    let run = node.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(PATIENCE, run).await.expect("the browser takes too long").unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{complaints}"))
}

fn assert_alive(seen: &Value) {
    assert_eq!(seen["ok"], true, "{seen}");
    assert_eq!(seen["video"], "video/H264", "{seen}");
    assert_eq!(seen["lost"], 0, "{seen}");
    let tones = seen["tones"].as_array().unwrap();
    assert!(tones.iter().any(|hz| hz.as_f64().is_some_and(|hz| (hz - 1_000.0).abs() < 25.0)), "no beep: {seen}");
}

async fn opens_the_door() {
    let mut house = House::start(kvs::settings()).await;
    let doorbell = house.doorbell(Profile::Ameba).await;
    let mut events = doorbell.events();
    let listening = tokio::spawn(async move {
        let is_tone = |hz: &f64| (hz - 440.0).abs() < 20.0;
        happens(&mut events, "the open door", |event| matches!(event, Event::DoorOpened { .. })).await;
        let is_heard = |event: &Event| matches!(event, Event::TalkAudio { tone_hz: Some(hz), .. } if is_tone(hz));
        happens(&mut events, "the microphone's tone", is_heard).await;
        happens(&mut events, "the end", |event| matches!(event, Event::Left { .. })).await;
    });
    let seen = view(&house, json!({ "microphone": true, "command": OPEN_DOOR })).await;
    assert_alive(&seen[0]);
    assert_eq!(seen[0]["replies"], json!(["Door opened successfully"]));
    assert_eq!((&seen[0]["sound"], &seen[0]["voice"]), (&json!("audio/PCMU"), &json!("audio/PCMU")), "{seen:?}");
    assert!(seen[0]["refused"].is_null(), "{seen:?}");
    listening.await.unwrap();
    house.assert_content();
}

async fn sees(profile: Profile, reply: Option<&str>) {
    let mut house = House::start(kvs::settings()).await;
    let _doorbell = house.doorbell(profile).await;
    let seen = view(&house, json!({ "command": reply.map(|_| OPEN_DOOR) })).await;
    assert_alive(&seen[0]);
    assert_eq!(seen[0]["sound"], "audio/opus");
    let said = seen[0]["replies"][0].as_str();
    assert_eq!(said.is_some(), reply.is_some(), "{}", seen[0]);
    assert!(said.unwrap_or_default().contains(reply.unwrap_or_default()), "{}", seen[0]);
    house.assert_content();
}

/// Over a relay of which the virtual AWS has told, with credentials for this call alone.
async fn is_relayed() {
    let server = turn::Server::start_with_secret("of the relay").await;
    let mut settings = kvs::settings();
    let uris = vec![format!("{}?transport=udp", server.uri())];
    settings.turn = Some(Turn::Secret { uris, secret: Password::new("of the relay") });
    let mut house = House::start(settings).await;
    let _doorbell = house.doorbell(Profile::Ameba).await;
    let seen = view(&house, json!({ "relay": true, "command": OPEN_DOOR })).await;
    assert_alive(&seen[0]);
    assert_eq!((&seen[0]["ice_servers"], &seen[0]["way"]), (&json!(1), &json!("relay")), "{}", seen[0]);
    assert_eq!(seen[0]["replies"], json!(["Door opened successfully"]));
    house.assert_content();
}

/// AWS sends such frames now and then (kvs reference §4).
async fn bears_odd_frames() {
    let mut settings = kvs::settings();
    settings.trouble = Some(Trouble { fault: Fault::UnknownFrame, at: "/".to_owned() });
    let mut house = House::start(settings).await;
    let _doorbell = house.doorbell(Profile::Ameba).await;
    assert_alive(&view(&house, json!({})).await[0]);
    house.assert_content();
}

async fn shares() {
    let mut house = House::start(kvs::settings()).await;
    let _doorbell = house.doorbell(Profile::Ameba).await;
    let seen = view(&house, json!({ "viewers": 2, "command": OPEN_DOOR })).await;
    assert_eq!(seen.len(), 2);
    for seen in &seen {
        assert_alive(seen);
        assert_eq!(seen["replies"], json!(["Door opened successfully"]));
    }
    house.assert_content();
}

/// Two programs that know of each other what the first line of the one says.
async fn as_users_start_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut aws = Doorstep::start(&["sim", "aws", "--no-quotas", "--certificates", &file("")]);
    let told = |line: &str| serde_json::from_str(line).ok().filter(|line: &Value| line["kind"] == "aws");
    let told = aws.wait_for("announcement", told).await;
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    let (opener, opened) = (format!("touch {}", file("opened")), folder.path().join("opened"));
    let mut doorbell = Doorstep::start(&[
        "sim",
        "kvs-doorbell",
        "--channel=doorbell-channel",
        &format!("--region={}", text("region")),
        &format!("--endpoint={}", text("secure_url")),
        &format!("--authority={}", file("authority.pem")),
        &format!("--access-key-id={}", text("access_key_id")),
        &format!("--secret-access-key={}", text("secret_access_key")),
        &format!("--certificate={}", file("doorbell-thing.certificate.pem")),
        &format!("--private-key={}", file("doorbell-thing.key.pem")),
        "--thing=doorbell-thing",
        &format!("--opener={opener}"),
    ]);
    // The one or the other comes first.
    let missing = Cell::new(2);
    let is_ready = |line: &str| {
        let of_them = ["online", "bell_connected"].iter().any(|event| line.contains(event));
        missing.set(missing.get() - u8::from(of_them));
        (missing.get() == 0).then_some(())
    };
    doorbell.wait_for("readiness", is_ready).await;
    let account = json!({
        "region": text("region"),
        "endpoint": text("secure_url"),
        "keys": { "access_key_id": text("access_key_id"), "secret_access_key": text("secret_access_key") },
        "channel": "doorbell-channel",
    });
    doorbell.type_line("ring").await;
    tells(&mut doorbell, "rang").await;
    tells(&mut aws, "iot_published").await;
    let seen = view_at(&account, json!({ "command": OPEN_DOOR })).await;
    assert_alive(&seen[0]);
    assert_eq!(seen[0]["replies"], json!(["Door opened successfully"]));
    assert!(opened.exists(), "the opener has not been run");
    tells(&mut doorbell, "left").await;
}

async fn tells(program: &mut Doorstep, event: &str) {
    let is_it = |line: &str| serde_json::from_str(line).ok().filter(|line: &Value| line["event"] == event);
    program.wait_for(event, is_it).await;
}
