//! A doorbell on AWS through the whole service: it rings, shows, is talked to and opens its door, and nothing of the
//! account leaks.

use std::time::Duration;

use doorstep::clock;
use doorstep::sim::aws::{self, AwsCommand, Fault, RunningAws};
use doorstep::sim::iot;
use doorstep::sim::kvs_doorbell::{self, Command, Event, Profile, RunningKvsDoorbell, Settings};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::program::Program;
use crate::support::service::{PATIENCE, Page, Service};
use crate::support::told;
use crate::support::viewer::Manners;

const ID: &str = "kvs_doorbell_channel";

/// A virtual AWS with one doorbell, and everything that the doorbell has told.
struct Account {
    cloud: RunningAws,
    doorbell: RunningKvsDoorbell,
    told: watch::Receiver<Vec<Event>>,
    /// Whether somebody hears the ring.
    heard: watch::Receiver<bool>,
    _stop: DropGuard,
}

impl Account {
    async fn open(profile: Profile) -> Self {
        let stop = CancellationToken::new();
        let cloud = aws::start(aws::Settings::generate(7), stop.clone()).await.unwrap();
        let doorbell = Settings { profile, ..Settings::at(cloud.client().unwrap(), "doorbell-channel") };
        let doorbell = kvs_doorbell::start(doorbell, stop.clone()).unwrap();
        let (listening, heard) = watch::channel(false);
        let mut subscriptions = cloud.broker().events();
        tokio::spawn(async move {
            while let Ok(event) = subscriptions.recv().await {
                listening.send_if_modified(|heard| {
                    matches!(event, iot::Event::IotSubscribed { .. }) && !std::mem::replace(heard, true)
                });
            }
        });
        let (notebook, told) = watch::channel(Vec::new());
        let mut events = doorbell.events();
        tokio::spawn(async move {
            while let Ok(event) = events.recv().await {
                notebook.send_modify(|all| all.push(event));
            }
        });
        Self { cloud, doorbell, told, heard, _stop: stop.drop_guard() }
    }

    async fn tells(&self, what: &str, is_it: impl Fn(&Event) -> bool) {
        let mut told = self.told.clone();
        let heard = timeout(PATIENCE, told.wait_for(|events| events.iter().any(&is_it))).await;
        assert!(heard.is_ok(), "the doorbell never told {what}; it told {:#?}", self.told.borrow());
    }

    /// Waits until a ring is published to somebody.
    async fn can_ring(&self) {
        self.tells("that it can ring", |event| *event == Event::BellConnected).await;
        let heard = timeout(PATIENCE, self.heard.clone().wait_for(|heard| *heard)).await.is_ok();
        assert!(heard, "nobody subscribed to the ring");
    }

    fn count(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.told.borrow().iter().filter(|event| is_it(event)).count()
    }

    fn yaml(&self, broker: u16, unlock: bool) -> String {
        let key = &self.cloud.settings.keys[0];
        let plain = self.cloud.plain;
        let unlock = if unlock { ", unlock: self" } else { "" };
        format!(
            "mqtt: {{url: \"mqtt://127.0.0.1:{broker}\"}}\nhttp: {{listen: \"127.0.0.1:0\"}}\ngo2rtc: {{enabled: false}}\nmedia: {{port: {}}}\n\
             kvs:\n  - {{region: us-east-1, access_key_id: {}, secret_access_key: \"{}\", iot_endpoint: \"ws://{plain}\", \
             endpoints: {{kinesisvideo: \"http://{plain}\", ice_servers: []}}}}\n\
             doorbells:\n  - {{id: {ID}{unlock}}}\n",
            free_port(),
            key.id,
            key.secret.expose(),
        )
    }
}

fn speaks() -> Manners {
    Manners { speaks: true, ..Manners::default() }
}

fn is_our_tone(event: &Event) -> bool {
    let Event::TalkAudio { tone_hz: Some(tone_hz), .. } = event else { return false };
    (tone_hz - 1_000.0).abs() < 10.0
}

#[tokio::test]
async fn a_press_is_told_once_over_mqtt_also_where_the_doorbell_tells_it_twice() {
    let (broker, account) = (Mosquitto::start().await, Account::open(Profile::Ameba).await);
    let mut witness = broker.listen(&format!("doorstep/{ID}/ring")).await;
    let service = Service::configured(&account.yaml(broker.port, false)).await;
    service.page.is(ID, "ready").await;
    account.can_ring().await;

    // Its button bounces.
    account.doorbell.obey(Command::Ring).unwrap();
    account.doorbell.obey(Command::Ring).unwrap();
    let ring = witness.next().await.json();
    assert_eq!((&ring["event_type"], &ring["source"]), (&"ring".into(), &"push".into()), "{ring}");
    assert_eq!(witness.until_fence().await, [], "a ring came twice");
    service.running.stop().await;
}

#[tokio::test]
async fn a_viewer_sees_the_doorbell_on_aws_and_is_heard_there_for_as_long_as_he_talks() {
    for profile in [Profile::Ameba, Profile::Python] {
        let (broker, account) = (Mosquitto::start().await, Account::open(profile).await);
        let service = Service::configured(&account.yaml(broker.port, false)).await;
        service.page.is(ID, "ready").await;
        let mut viewer = service.page.watch(ID, speaks()).await;
        viewer.sees("the picture", |seen| seen.pictures().len() >= 20 && !seen.audio.is_empty()).await;
        account.tells("the tone", is_our_tone).await;
        let streaming = service.page.is(ID, "streaming").await;
        assert_eq!(streaming["transport"], "webrtc", "{streaming}");
        viewer.vanish();
        account.tells("the end of the talk", |event| matches!(event, Event::TalkEnded { .. })).await;
        service.running.stop().await;
    }
}

#[tokio::test]
async fn the_door_opens_for_whoever_may_and_nobody_else_and_no_secret_was_written_anywhere() {
    let (broker, account) = (Mosquitto::start().await, Account::open(Profile::Ameba).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorstep.yaml");
    std::fs::write(&file, account.yaml(broker.port, true)).unwrap();
    let data = folder.path().join("data");
    let arguments = ["run", "--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let mut everything = broker.listen("#").await;
    let mut program = Program::start_with(arguments, |command| {
        command.env("DOORSTEP_LOG", "trace");
    });
    let page = Page::at(program.page().await);
    page.is(ID, "ready").await;

    let opened = page.post(&format!("/api/doorbells/{ID}/unlock"), "{}").await;
    assert_eq!(opened.status, 202, "{opened:?}");
    account.tells("its open door", |event| matches!(event, Event::DoorOpened { .. })).await;
    let viewer = page.watch(ID, speaks()).await;
    account.tells("the tone", is_our_tone).await;
    account.doorbell.obey(Command::Ring).unwrap();
    let record = page.get(&format!("/api/doorbells/{ID}/diagnostics")).await;
    assert_eq!(record.status, 200, "{record:?}");
    let (doorbells, accounts) = (page.get("/api/doorbells").await, page.get("/api/accounts").await);
    program.terminate();
    let ended = program.ends().await;
    viewer.vanish();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert_eq!(account.count(|event| matches!(event, Event::DoorOpened { .. })), 1);

    let heard: Vec<String> = everything.until_fence().await.iter().map(ToString::to_string).collect();
    let written = [ended.log, ended.said, heard.join("\n"), record.body, doorbells.body, accounts.body];
    let secrets = [
        ("secret key", account.cloud.settings.keys[0].secret.expose()),
        ("a signature", "X-Amz-Signature="),
        ("a signature", "Signature="),
        ("an ICE password", "a=ice-pwd"),
        ("an ICE password", "ice-pwd:"),
    ];
    for (name, secret) in secrets {
        for text in &written {
            let lines: Vec<&str> = text.lines().filter(|line| line.contains(secret)).collect();
            assert!(lines.is_empty(), "{name} was written: {lines:#?}");
        }
    }
}

#[tokio::test]
async fn a_doorbell_that_comes_online_with_its_ring_is_called_until_it_answers() {
    let (broker, account) = (Mosquitto::start().await, Account::open(Profile::Linux).await);
    let service = Service::configured(&account.yaml(broker.port, false)).await;
    service.page.is(ID, "ready").await;
    account.can_ring().await;
    let mut witness = broker.listen(&format!("doorstep/{ID}/ring")).await;
    let pressed = clock::now();
    account.doorbell.obey(Command::Ring).unwrap();
    let ring = witness.next().await.json();
    assert_eq!(ring["event_type"], "ring", "{ring}");
    let mut viewer = service.page.watch(ID, Manners::default()).await;
    viewer.sees("the picture", |seen| seen.pictures().len() >= 10).await;
    assert!(pressed.elapsed() < Duration::from_secs(10), "{:?}", pressed.elapsed());
    service.running.stop().await;
}

#[tokio::test]
async fn without_the_owners_word_no_door_opens() {
    let (broker, account) = (Mosquitto::start().await, Account::open(Profile::Ameba).await);
    let service = Service::configured(&account.yaml(broker.port, false)).await;
    service.page.is(ID, "ready").await;
    let mut viewer = service.page.watch(ID, Manners::default()).await;
    viewer.sees("the picture", |seen| seen.pictures().len() >= 10).await;
    let refused = service.page.post(&format!("/api/doorbells/{ID}/unlock"), "{}").await;
    assert_eq!(refused.status, 404, "{refused:?}");
    for payload in ["UNLOCK", "OPEN", &json!({"cmd": "unlock", "id": "1", "ts": 1}).to_string()] {
        broker.publish(&format!("doorstep/{ID}/lock/set"), payload, &["-q", "1"]);
    }
    viewer.sees("more pictures", |seen| seen.pictures().len() >= 40).await;
    assert_eq!(account.count(|event| matches!(event, Event::DoorOpened { .. })), 0);
    service.running.stop().await;
}

#[tokio::test]
async fn check_says_which_policy_keeps_the_rings_from_being_heard_and_the_log_says_it_too() {
    let account = Account::open(Profile::Ameba).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorstep.yaml");
    let yaml = account.yaml(1, false);
    let (_no_broker, yaml) = yaml.split_once('\n').unwrap();
    std::fs::write(&file, yaml).unwrap();
    let data = folder.path().join("data");
    let arguments = |command| [command, "--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let well = Program::start(arguments("check")).ends().await;
    assert_eq!(well.status.code(), Some(0), "{well:?}");

    for (fault, wanted) in [
        (Fault::PolicyConnect, "must allow `iot:Connect` on `client/doorstep-"),
        (Fault::PolicySubscribe, "must allow `iot:Subscribe` on `topicfilter/doorbell/"),
    ] {
        account.cloud.obey(AwsCommand::Trouble(Some(fault.into()))).unwrap();
        let ill = Program::start(arguments("check")).ends().await;
        assert!(ill.status.code() == Some(2) && ill.said.contains(wanted), "{fault}: {ill:?}");
        assert!(ill.said.contains("doorbell-channel: reached"), "the pictures do not need the rings: {ill:?}");
    }

    // The first close may have been an accident, the second was none.
    account.cloud.obey(AwsCommand::Trouble(None)).unwrap();
    let mut subscriptions = account.cloud.broker().events();
    let mut service = Program::start(arguments("run"));
    let subscribed = |event: &iot::Event| matches!(event, iot::Event::IotSubscribed { .. });
    told::happens(&mut subscriptions, "a subscription", subscribed).await;
    // Only who has had the answer acknowledges what comes behind it.
    account.cloud.broker().publish("doorbell/doorbell-channel/ring", "{}", 1);
    let acknowledged = |event: &iot::Event| matches!(event, iot::Event::IotAcknowledged { .. });
    told::happens(&mut subscriptions, "a message that has come", acknowledged).await;
    account.cloud.obey(AwsCommand::Trouble(Some(Fault::PolicySubscribe.into()))).unwrap();
    account.cloud.obey(AwsCommand::Drop).unwrap();
    service.logs("It is made again.").await;
    service.logs("must allow `iot:Subscribe`").await;
    service.terminate();
    assert_eq!(service.ends().await.status.code(), Some(0));
}
