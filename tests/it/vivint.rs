//! A Vivint account through the whole service: its doorbell rings, shows and is talked to, its doors are worked, and
//! nothing of it leaks.

use std::time::Duration;

use doorstep::clock;
use doorstep::sim::vivint::doorbell;
use doorstep::sim::vivint::{self, Command, Event, Kind, RunningVivint, SecondFactor, Settings};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::program::Program;
use crate::support::service::{PATIENCE, Page, Service};
use crate::support::viewer::Manners;

/// A virtual account, and everything that it has told.
pub(crate) struct Account {
    pub(crate) cloud: RunningVivint,
    told: watch::Receiver<Vec<Event>>,
    _stop: DropGuard,
}

impl Account {
    pub(crate) async fn open() -> Self {
        let mut settings = Settings::generate(7);
        settings.second_factor = SecondFactor::totp(7);
        settings.travel = Duration::from_millis(300);
        let stop = CancellationToken::new();
        let cloud = vivint::start(settings, stop.clone()).await.unwrap();
        let (notebook, told) = watch::channel(Vec::new());
        let mut events = cloud.events();
        tokio::spawn(async move {
            while let Ok(event) = events.recv().await {
                notebook.send_modify(|all| all.push(event));
            }
        });
        Self { cloud, told, _stop: stop.drop_guard() }
    }

    fn id(&self, is_it: fn(&Kind) -> bool) -> String {
        let device = self.cloud.settings.devices.iter().find(|device| is_it(&device.kind)).unwrap();
        format!("vivint_{}_{}", self.cloud.settings.panel, device.id)
    }

    /// The one with a speaker.
    pub(crate) fn doorbell(&self) -> String {
        self.id(|kind| matches!(kind, Kind::Camera(camera) if camera.speaks))
    }

    fn count(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.told.borrow().iter().filter(|event| is_it(event)).count()
    }

    async fn tells(&self, what: &str, condition: impl Fn(&[Event]) -> bool) {
        let mut told = self.told.clone();
        let heard = timeout(PATIENCE, told.wait_for(|events| condition(events))).await;
        assert!(heard.is_ok(), "the account never told: {what}; it told {:#?}", self.told.borrow());
    }

    /// The service's configuration, with or without the key that talking needs.
    pub(crate) fn yaml(&self, broker: u16, key: bool) -> String {
        let Settings { username, password, second_factor, firebase_api_key, pubnub_key, .. } = &self.cloud.settings;
        let SecondFactor::Totp(totp) = second_factor else { panic!("no authenticator app") };
        let url = self.cloud.url();
        let key = if key { format!("firebase_api_key: {}, ", firebase_api_key.expose()) } else { String::new() };
        let hosts = ["identity", "api", "pubnub", "exchange", "identity_toolkit", "secure_token"];
        let hosts = hosts.map(|host| format!("{host}: \"{url}\", ")).concat();
        let lock = self.id(|kind| matches!(kind, Kind::Lock { .. }));
        let garage = self.id(|kind| matches!(kind, Kind::Garage { .. }));
        format!(
            "mqtt: {{url: \"mqtt://127.0.0.1:{broker}\"}}\nhttp: {{listen: \"127.0.0.1:0\"}}\ngo2rtc: {{enabled: false}}\nmedia: {{port: {}}}\n\
             vivint:\n  - {{username: {}, password: {}, totp_secret: {}, {key}endpoints: {{{hosts}\
             pubnub_key: {pubnub_key}, ice_servers: []}}}}\ndoorbells:\n  - {{id: {}, unlock: {lock}, garage: {garage}}}\n",
            free_port(),
            username.expose(),
            password.expose(),
            totp.expose(),
            self.doorbell(),
        )
    }

    /// What only its owner should know.
    fn secrets(&self) -> Vec<(&'static str, String)> {
        let settings = &self.cloud.settings;
        let SecondFactor::Totp(totp) = &settings.second_factor else { panic!("no authenticator app") };
        let mut secrets = vec![
            ("user name", settings.username.expose().to_owned()),
            ("password", settings.password.expose().to_owned()),
            ("authenticator secret", totp.expose().to_owned()),
            ("Firebase key", settings.firebase_api_key.expose().to_owned()),
            ("panel's password", settings.panel_login.password.expose().to_owned()),
            ("message channel", settings.message_channel.clone()),
            ("user id", settings.uid.clone()),
            ("a token", "eyJ".to_owned()),
            ("an ICE password", "a=ice-pwd".to_owned()),
            ("an ICE password", "ice-pwd:".to_owned()),
        ];
        for camera in settings.devices.iter().filter_map(|device| device.camera()) {
            secrets.push(("camera's uuid", camera.uuid.clone()));
            secrets.push(("camera's password", camera.password.expose().to_owned()));
        }
        secrets
    }
}

fn is_started(event: &Event) -> bool {
    matches!(event, Event::Call { event: doorbell::Event::TalkStarted { .. }, .. })
}

fn is_ended(event: &Event) -> bool {
    matches!(event, Event::Call { event: doorbell::Event::TalkEnded { .. }, .. })
}

fn is_our_tone(event: &Event) -> bool {
    let Event::Call { event: doorbell::Event::TalkAudio { tone_hz: Some(tone_hz), .. }, .. } = event else {
        return false;
    };
    (tone_hz - 1_000.0).abs() < 10.0
}

fn speaks() -> Manners {
    Manners { speaks: true, ..Manners::default() }
}

/// Waits until commands to either door are taken; what is asked for meanwhile is too old to open anything.
async fn quiet_is_over(broker: &Mosquitto, id: &str) {
    let mut results = broker.listen(&format!("doorstep/{id}/result")).await;
    for (n, (door, command)) in [("lock", "unlock"), ("garage", "open")].into_iter().cycle().enumerate() {
        let old = json!({"cmd": command, "id": format!("old-{n}"), "ts": 1}).to_string();
        broker.publish(&format!("doorstep/{id}/{door}/set"), &old, &["-q", "1"]);
        let refused = results.next().await.json();
        if door == "garage" && !refused["error"].as_str().unwrap().contains("first 2 s") {
            return;
        }
    }
}

#[tokio::test]
async fn a_press_is_pushed_to_mqtt_once_with_how_late_it_was() {
    let (broker, account) = (Mosquitto::start().await, Account::open().await);
    let id = account.doorbell();
    let mut witness = broker.listen(&format!("doorstep/{id}/ring")).await;
    let service = Service::configured(&account.yaml(broker.port, true)).await;
    service.page.is(&id, "ready").await;
    account
        .tells("that it is listened to", |events| {
            events.iter().any(|e| matches!(e, Event::Subscribed { from_now: false }))
        })
        .await;

    // The second one within five seconds is the same visitor.
    for _ in 0..2 {
        account.cloud.obey(Command::Ring { device: None }).unwrap();
    }
    let ring = witness.next().await.json();
    assert_eq!((&ring["event_type"], &ring["source"]), (&"ring".into(), &"push".into()), "{ring}");
    assert!(ring["latency_ms"].as_u64() < Some(5_000), "{ring}");
    let mut motion = broker.listen(&format!("doorstep/{id}/motion")).await;
    account.cloud.obey(Command::Motion { device: None }).unwrap();
    motion.next().await;
    assert_eq!(witness.until_fence().await, [], "a ring came twice");
    service.running.stop().await;
}

#[tokio::test]
async fn a_viewer_sees_the_vivint_doorbell_and_is_heard_there_for_as_long_as_he_talks() {
    let (broker, account) = (Mosquitto::start().await, Account::open().await);
    let id = account.doorbell();
    let service = Service::configured(&account.yaml(broker.port, true)).await;
    service.page.is(&id, "ready").await;
    let mut viewer = service.page.watch(&id, speaks()).await;
    viewer.sees("the picture", |seen| seen.pictures().len() >= 20 && !seen.audio.is_empty()).await;
    account.tells("the talk", |events| events.iter().any(is_started)).await;
    account.tells("the tone", |events| events.iter().filter(|event| is_our_tone(event)).count() >= 2).await;
    let streaming = service.page.is(&id, "streaming").await;
    assert_eq!(streaming["transport"], "rtsp_lan", "{streaming}");

    let vanished = clock::now();
    viewer.vanish();
    account.tells("the end of the talk", |events| events.iter().any(is_ended)).await;
    let silence = vanished.elapsed();
    assert!(silence < Duration::from_secs(5), "the speaker stayed open for {silence:?} after the microphone was gone");
    assert_eq!((account.count(is_started), account.count(is_ended)), (1, 1));
    service.running.stop().await;
}

#[tokio::test]
async fn sigterm_in_a_talk_is_told_to_the_vivint_doorbell_and_no_secret_was_written_anywhere() {
    let (broker, account) = (Mosquitto::start().await, Account::open().await);
    let id = account.doorbell();
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
    page.is(&id, "ready").await;

    let record = page.get(&format!("/api/doorbells/{id}/diagnostics")).await;
    let asked = page.get(&format!("/api/doorbells/{id}/diagnostics?ask=metadata")).await;
    let snapshot = page.get(&format!("/api/doorbells/{id}/snapshot.jpg")).await;
    assert_eq!([record.status, asked.status, snapshot.status], [200; 3], "{record:?} {asked:?}");
    let unlocked = page.post(&format!("/api/doorbells/{id}/unlock"), "{}").await;
    assert_eq!(unlocked.status, 202, "{unlocked:?}");
    account.cloud.obey(Command::Ring { device: None }).unwrap();
    let viewer = page.watch(&id, speaks()).await;
    account.tells("the tone", |events| events.iter().any(is_our_tone)).await;
    let (doorbells, accounts) = (page.get("/api/doorbells").await, page.get("/api/accounts").await);
    program.terminate();
    let ended = program.ends().await;
    account.tells("the end of the talk", |events| events.iter().any(is_ended)).await;
    viewer.vanish();

    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let heard: Vec<String> = everything.until_fence().await.iter().map(ToString::to_string).collect();
    let written = [ended.log, ended.said, heard.join("\n"), record.body, asked.body, doorbells.body, accounts.body];
    for (name, secret) in account.secrets() {
        for text in &written {
            let lines: Vec<&str> = text.lines().filter(|line| line.contains(&secret)).collect();
            assert!(lines.is_empty(), "the {name} was written: {lines:#?}");
        }
    }
}

#[tokio::test]
async fn without_the_key_everything_but_talk_works_and_it_is_said_why() {
    let (broker, account) = (Mosquitto::start().await, Account::open().await);
    let id = account.doorbell();
    let mut lock = broker.listen(&format!("doorstep/{id}/lock")).await;
    let mut garage = broker.listen(&format!("doorstep/{id}/garage")).await;
    let service = Service::configured(&account.yaml(broker.port, false)).await;
    let doorbell = service.page.is(&id, "ready").await;
    assert!(doorbell["talk_obstacle"].as_str().is_some_and(|why| why.contains("firebase_api_key")), "{doorbell}");
    let refused = service.page.post(&format!("/api/doorbells/{id}/talk"), r#"{"on":true}"#).await;
    assert!(refused.status >= 400 && refused.body.contains("firebase_api_key"), "{refused:?}");

    let mut viewer = service.page.watch(&id, Manners::default()).await;
    viewer.sees("the picture", |seen| seen.pictures().len() >= 10).await;
    while lock.next().await.payload != "LOCKED" {}
    while garage.next().await.payload != "closed" {}
    quiet_is_over(&broker, &id).await;
    broker.publish(&format!("doorstep/{id}/lock/set"), "UNLOCK", &["-q", "1"]);
    while lock.next().await.payload != "UNLOCKED" {}
    broker.publish(&format!("doorstep/{id}/garage/set"), "OPEN", &["-q", "1"]);
    while garage.next().await.payload != "open" {}
    assert_eq!((account.cloud.counts().unlocks, account.cloud.counts().door_opens), (1, 1));

    let snapshot = service.page.get(&format!("/api/doorbells/{id}/snapshot.jpg")).await;
    assert_eq!(snapshot.status, 200, "{snapshot:?}");
    let record = service.page.get(&format!("/api/doorbells/{id}/diagnostics")).await;
    let record: Value = serde_json::from_str(&record.body).unwrap();
    assert_ne!(record, json!({}), "nothing is known of it");
    assert_eq!(account.cloud.counts().exchanges, 0, "the database was asked for without a key");
    service.running.stop().await;
}

#[tokio::test]
async fn check_says_why_nobody_can_talk_and_devices_lists_what_the_other_accounts_have() {
    let account = Account::open().await;
    let (key, doorbell) = (account.cloud.settings.firebase_api_key.expose(), account.doorbell());
    let right = account.yaml(free_port(), true);
    let folder = tempfile::tempdir().unwrap();
    let [file, data] = ["doorstep.yaml", "data"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let command = async |name, yaml: &str| {
        std::fs::write(&file, yaml).unwrap();
        Program::start([name, "--config", &file, "--data", &data]).ends().await
    };

    let talks = command("check", &right).await;
    assert_eq!(talks.status.code(), Some(0), "{talks:?}");
    assert!(!talks.said.contains("talking:"), "{talks:?}");
    for (yaml, why) in [
        (account.yaml(free_port(), false), "Talking to Vivint's doorbells needs `firebase_api_key`"),
        (right.replace(key, "AIzaAnother"), "Google refused `firebase_api_key`: it is not a valid key."),
    ] {
        let ended = command("check", &yaml).await;
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(ended.said.lines().any(|line| line.contains(&format!(", talking: {why}"))), "{ended:?}");
    }

    let nobody = "  - {username: nobody@example.com}\ndoorbells:";
    let two = command("devices", &right.replace("doorbells:", nobody)).await;
    assert_eq!(two.status.code(), Some(1), "{two:?}");
    assert!(two.said.contains(&doorbell), "{two:?}");
    assert!(two.log.contains("vivint account: There is no login at Vivint"), "{two:?}");
}
