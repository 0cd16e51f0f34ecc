//! boto3 (Apache-2.0) at our virtual AWS; and a master of the kind of AWS's Python sample, of boto3, websockets and
//! aiortc, whom our viewer calls there.
//!
//! They need `python3 -m venv tests/peers/kvs-python/.venv` and `tests/peers/kvs-python/.venv/bin/pip install -r
//! tests/peers/kvs-python/requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Stdio};
use std::sync::Arc;
use std::time::Duration;

use doorstep::aws::{Aws, Channel, Role};
use doorstep::media::{AudioFormat, MediaHub};
use doorstep::rtc::kvs_call::{AskError, CallError, Exchange, KvsCall, Signalling, Wish};
use doorstep::secret::{Password, Token};
use doorstep::sim::aws::{AccessKey, AwsCommand, ChannelSettings, Event, Notice, To, Turn, TurnServer, What};
use futures_util::future::BoxFuture;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::aiortc::{assert_alive, speak, watch};
use crate::kvs::{self, House};
use crate::program::Program;
use crate::promise;
use crate::told::happens;
use crate::wait::PATIENCE;

const OPEN_DOOR: &str = r#"{"action":"open_door"}"#;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("boto3_finds_a_channel_and_all_that_belongs_to_it", finds_the_channel),
        promise("boto3_finds_it_with_the_credentials_of_a_role", assumes_a_role),
        promise("boto3_understands_every_refusal", understands_refusals),
        promise("kvs_python_master_is_seen_and_hears_us_and_opens_its_door", opens_the_door),
        promise("kvs_python_master_that_broadcasts_has_opened_nothing", broadcasts),
        promise("kvs_python_master_shows_every_picture_while_the_service_moves", goes_on_after_go_away),
        promise("kvs_python_master_comes_with_a_certificate_alone", comes_with_a_certificate),
    ]
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let imports = ["-c", "import aiortc, boto3, websockets"];
    let found = Blocking::new(python()).args(imports).stderr(Stdio::null()).status();
    let is_there = found.is_ok_and(|status| status.success());
    (!is_there).then(|| "the boto3 tests: no virtual environment in tests/peers/kvs-python".to_owned())
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/kvs-python"))
}

fn python() -> PathBuf {
    folder().join(".venv/bin/python")
}

/// What boto3 tells of this account.
async fn ask(account: &Value, action: &str) -> Value {
    let mut command = Command::new(python());
    command.arg(folder().join("account.py")).arg(account.to_string()).arg(action);
    let output =
        timeout(2 * PATIENCE, command.kill_on_drop(true).output()).await.expect("boto3 takes too long").unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{action}: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A master that is connected to its channel.
async fn master(account: &Value, habit: &str) -> Program {
    let mut command = Command::new(python());
    command.arg(folder().join("master.py")).arg(account.to_string()).arg(habit);
    let mut master = Program::run(command);
    master.says("connected").await;
    master
}

async fn finds_the_channel() {
    let mut settings = kvs::settings();
    settings.channels.push(ChannelSettings::named("garden-gate"));
    let uris = vec!["turn:192.0.2.7:443?transport=udp".to_owned()];
    let relay = TurnServer { uris, username: "viewer".to_owned(), password: Password::new("password") };
    settings.turn = Some(Turn::Fixed(vec![relay]));
    let house = House::start(settings).await;
    let seen = ask(&house.account(), "look").await;
    let channel = house.ourselves().describe(house.channel()).await.unwrap();
    assert_eq!(seen["same"], true);
    assert_eq!(seen["channel"]["arn"], channel.channel.arn);
    assert_eq!((&seen["channel"]["type"], &seen["channel"]["status"]), (&json!("SINGLE_MASTER"), &json!("ACTIVE")));
    assert_eq!(seen["channel"]["ttl_s"], 60);
    assert_eq!(seen["listed"], json!([house.channel(), "garden-gate"]));
    assert_eq!(seen["found"], json!([house.channel()]));
    let relay = json!({"uris": ["turn:192.0.2.7:443?transport=udp"], "ttl_s": 300, "whole": true});
    assert_eq!((&seen["ice"], &seen["ice_of_master"]), (&json!([relay]), &json!(1)));
    for role in ["MASTER", "VIEWER"] {
        let place = |protocol: &str| seen["places"][role][protocol].as_str().unwrap_or_default();
        assert!(place("WSS").starts_with("wss://") && place("HTTPS").starts_with("https://"), "{seen}");
    }
}

async fn assumes_a_role() {
    let house = House::start(kvs::settings()).await;
    let given = ask(&house.account(), "assume_role").await;
    assert_eq!(given["channel"], house.channel());
    let lives_s = given["lives_s"].as_f64().unwrap();
    assert!((3_000.0..=3_600.0).contains(&lives_s), "{lives_s}");
    // They are good for AWS IoT's address too.
    let mut account = house.account();
    account["keys"] = given["keys"].clone();
    assert!(ask(&account, "iot").await.as_str().is_some_and(|address| !address.is_empty()));
}

async fn understands_refusals() {
    let mut settings = kvs::settings();
    let mut restricted = AccessKey { id: "AKIARESTRICTED".to_owned(), ..settings.keys[0].clone() };
    restricted = restricted.without("kinesisvideo:ListSignalingChannels");
    settings.keys.push(restricted);
    let mut expired = AccessKey { id: "ASIAEXPIRED".to_owned(), ..settings.keys[0].clone() };
    expired.token = Some(Token::new("token"));
    expired.expires_in = Some(Duration::ZERO);
    settings.keys.push(expired);
    let house = House::start(settings).await;
    let told = ask(&house.account(), "refused").await;
    for (what, code, status) in [
        ("wrong secret", "InvalidSignatureException", 403),
        ("unknown key", "UnrecognizedClientException", 403),
        ("wrong token", "UnrecognizedClientException", 403),
        ("late clock", "InvalidSignatureException", 403),
        ("early clock", "InvalidSignatureException", 403),
        ("no such name", "ResourceNotFoundException", 404),
        ("no such arn", "ResourceNotFoundException", 404),
        ("bad name", "InvalidArgumentException", 400),
        ("nothing said", "InvalidArgumentException", 400),
        ("bad arn", "InvalidArgumentException", 400),
        ("bad client", "InvalidClientException", 400),
        ("no such channel's servers", "ResourceNotFoundException", 404),
    ] {
        let refusal = &told[what];
        assert_eq!((&refusal["code"], &refusal["status"]), (&json!(code), &json!(status)), "{what}: {refusal}");
        // Those of the service's own model have a class each.
        let is_of_the_model = !matches!(status, 403);
        let exception = if is_of_the_model { code } else { "ClientError" };
        assert_eq!(refusal["exception"], exception, "{what}");
        assert_eq!(refusal["said"], true, "{what}");
    }
    assert!(told["slightly late clock"].is_null(), "four minutes are tolerated: {told}");

    let account_of = |key: &AccessKey| {
        let mut account = house.account();
        account["keys"] = kvs::keys(key);
        account
    };
    let told = ask(&account_of(&house.aws.settings.keys[1]), "denied").await;
    assert!(told["describe"].is_null(), "{told}");
    assert_eq!((&told["list"]["exception"], &told["list"]["status"]), (&json!("AccessDeniedException"), &json!(401)));
    let told = ask(&account_of(&house.aws.settings.keys[2]), "denied").await;
    assert_eq!(told["describe"]["code"], "ExpiredTokenException", "{told}");
}

/// Our viewer's way to a channel.
struct Way {
    aws: Aws,
    channel: Channel,
}

impl Exchange for Way {
    fn signalling<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Signalling, CallError>> {
        Box::pin(async move {
            let told = self.aws.signalling(&self.channel, Role::Viewer, client_id).await;
            told.map_err(|error| CallError::Exchange(error.into()))
        })
    }
}

async fn call(house: &House, hub: &MediaHub) -> KvsCall {
    let aws = house.ourselves();
    let channel = aws.describe(house.channel()).await.unwrap().channel;
    let wish = Wish { hub: hub.clone(), talk: true, channel: Some("commands") };
    KvsCall::place_by(Arc::new(Way { aws, channel }), wish).await.unwrap()
}

fn is_reply(text: &str) -> bool {
    text.contains("Door opened") || text.contains("ECHO:")
}

/// A call to the master, whose picture and sound arrive.
async fn is_seen(house: &House, master: &mut Program, hub: &MediaHub) -> KvsCall {
    let mut frames = hub.listen();
    let call = call(house, hub).await;
    let offered = master.says_all("offered").await;
    assert!(offered["characters"].as_u64().unwrap() <= 10_000, "Amazon passes on no longer offer: {offered}");
    assert_eq!(call.talk_format(), Some(AudioFormat::OPUS));
    assert_alive(&watch(&mut frames).await, AudioFormat::OPUS);
    call
}

async fn opens_the_door() {
    let mut house = House::start(kvs::settings()).await;
    let mut master = master(&house.account(), "opener").await;
    let call = is_seen(&house, &mut master, &MediaHub::new()).await;
    let commands = call.commands().unwrap();
    let speaking = tokio::spawn(speak(call, AudioFormat::OPUS));
    let reply = commands.ask(OPEN_DOOR, is_reply, PATIENCE).await;
    assert_eq!(reply.as_deref(), Ok("Door opened successfully"));
    let told = master.says_all("told").await;
    assert_eq!((&told["told"], &told["channel"]), (&json!(OPEN_DOOR), &json!("commands")));
    let is_tone = |said: &Value| said["heard"].as_f64().is_some_and(|hz| (hz - 440.0).abs() < 20.0);
    master.says_with("heard", is_tone).await;
    speaking.abort();
    master.says_with("state", |said| said["state"] == "closed").await;
    house.assert_content();
}

async fn broadcasts() {
    let house = House::start(kvs::settings()).await;
    let mut master = master(&house.account(), "sample").await;
    let call = is_seen(&house, &mut master, &MediaHub::new()).await;
    let reply = call.commands().unwrap().ask(OPEN_DOOR, is_reply, Duration::from_secs(3)).await;
    assert_eq!(reply, Err(AskError::NoReply));
    assert_eq!(master.says("told").await, OPEN_DOOR);
}

async fn goes_on_after_go_away() {
    let mut settings = kvs::settings();
    settings.limits.grace = Duration::from_millis(500);
    let mut house = House::start(settings).await;
    let mut master = master(&house.account(), "opener").await;
    let hub = MediaHub::new();
    let call = is_seen(&house, &mut master, &hub).await;
    let (mut of_viewers, mut of_masters) = (house.aws.events(), house.aws.events());
    let mut frames = hub.listen();
    house.aws.obey(AwsCommand::Notice(Notice { what: What::GoAway, to: To::Everybody })).unwrap();
    let moved = async {
        happens(&mut of_viewers, "our new connection", |event| is_connected(event, "VIEWER")).await;
        happens(&mut of_masters, "the master's new connection", |event| is_connected(event, "MASTER")).await;
    };
    let seen = async {
        let mut seen = Vec::new();
        tokio::pin!(moved);
        loop {
            tokio::select! {
                frame = frames.next() => seen.push(frame.unwrap()),
                () = &mut moved => return seen,
            }
        }
    };
    let mut seen = seen.await;
    seen.extend(watch(&mut frames).await);
    let pictures: Vec<Duration> = seen.iter().filter(|frame| frame.kind.is_video()).map(|frame| frame.pts).collect();
    // It shows thirty a second.
    let longest = pictures.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest < Duration::from_millis(60), "{longest:?} without a picture");
    let reply = call.commands().unwrap().ask(OPEN_DOOR, is_reply, PATIENCE).await;
    assert_eq!(reply.as_deref(), Ok("Door opened successfully"));
    // Whoever calls now finds the master too.
    is_seen(&house, &mut master, &MediaHub::new()).await;
    house.assert_content();
}

fn is_connected(event: &Event, as_whom: &str) -> bool {
    matches!(event, Event::Connected { role, .. } if *role == as_whom)
}

async fn comes_with_a_certificate() {
    let house = House::start(kvs::settings()).await;
    let mut account = house.account();
    let account_map = account.as_object_mut().unwrap();
    account_map.remove("keys");
    account_map.insert("identity".to_owned(), house.identity());
    account_map.insert("thing".to_owned(), json!(house.aws.settings.things[0]));
    account_map.insert("credentials".to_owned(), json!(house.credentials()));
    let mut master = master(&account, "opener").await;
    is_seen(&house, &mut master, &MediaHub::new()).await;
}
