//! Everything that can happen in a house, each thing shown to have happened.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use doorstep::clock;
use doorstep::secret::Password;
use doorstep::sim::vivint::{self, SecondFactor};
use doorstep::sim::wyze_cloud::{self, CloudCommand, Fault};
use futures_util::future::join_all;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::house::{ADDRESSED, Canary, PATIENCE, SAID, UNLOCK_SECRET};
use super::marks::Marks;
use crate::support::http::Reply;
use crate::support::impair::Mode;
use crate::support::installation;
use crate::support::mosquitto::Witness;
use crate::support::service::Page;
use crate::support::sound_file::wav;
use crate::support::viewer::{Manners, Seen, Viewer};
use crate::support::vivint_hand::quick;

/// Ends in the middle of a talk, so that what follows is a stop in one.
pub(super) async fn everything_happens(canary: &mut Canary) {
    let begun = clock::now();
    let passed = |what: &str| println!("{what} by {:?}", begun.elapsed());
    pictures_talks_and_sayings(canary).await;
    passed("pictures, talks, sayings");
    rings(canary).await;
    passed("rings");
    doors(canary).await;
    passed("doors");
    accounts(canary).await;
    passed("accounts");
    ways_in(canary).await;
    a_cut_from_the_broker(canary).await;
    passed("ways in, a cut");
    a_camera_that_is_gone(canary).await;
    passed("a camera that is gone");
    looks(canary).await;
    passed("looks");
    let talker = Watch::of(&canary.page, &canary.ids.lan, &mut canary.marks).await;
    canary.page.until(&canary.ids.lan, "a talk", |doorbell| doorbell["microphone"] == true).await;
    // It goes on until the service ends it.
    std::mem::forget(talker);
}

/// A viewer who speaks.
struct Watch {
    seen: watch::Receiver<Seen>,
    leave: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watch {
    async fn of(page: &Page, id: &str, marks: &mut Marks) -> Self {
        let (watch, descriptions) = Self::begin(page, id).await;
        remember(&descriptions, marks);
        watch
    }

    /// And what the two ends have told each other.
    async fn begin(page: &Page, id: &str) -> (Self, String) {
        let viewer = Viewer::new(Manners { speaks: true, ..Manners::default() }).await;
        let reply = page.offer(id, &viewer.offer).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let location = reply.header("location").unwrap_or_default().to_owned();
        let descriptions = format!("{}\n{}\nsession:{location}", viewer.offer, reply.body);
        let leave = Arc::new(Notify::new());
        let (seen, task) = viewer.play(&reply.body, leave.clone());
        (Self { seen, leave, task }, descriptions)
    }

    async fn sees_pictures(&mut self) {
        let seen = timeout(PATIENCE, self.seen.wait_for(|seen| seen.pictures().len() >= 3)).await;
        assert!(seen.is_ok(), "no picture came");
    }

    async fn leaves(self) {
        self.leave.notify_one();
        let _ = timeout(PATIENCE, self.task).await;
    }
}

/// What is secret in two descriptions of a call: whoever knows it may take part.
fn remember(descriptions: &str, marks: &mut Marks) {
    let mut count = 0;
    for line in descriptions.lines().map(str::trim) {
        for (begin, name) in [
            ("a=ice-pwd:", "a viewer's ICE password"),
            ("a=ice-ufrag:", "a viewer's ICE user name"),
            ("a=fingerprint:sha-256 ", "a viewer's fingerprint"),
        ] {
            if let Some(value) = line.strip_prefix(begin) {
                marks.add(name, value);
                count += 1;
            }
        }
        if let Some(location) = line.strip_prefix("session:") {
            marks.add("a viewer's session", location.rsplit('/').next().unwrap());
        }
    }
    assert!(count >= 6, "no such lines in {descriptions}");
}

/// At every doorbell.
async fn pictures_talks_and_sayings(canary: &mut Canary) {
    let sound = wav(8_000, 600.0, 0.3);
    let clip = canary.page.send("PUT", "/api/clips/canary_clip", "audio/wav", &sound).await;
    assert_eq!(clip.status, 201, "{clip:?}");
    canary.note(&clip);
    let url = format!("http://{ADDRESSED}:{ADDRESSED}@{}/{ADDRESSED}.wav?{ADDRESSED}#{ADDRESSED}", canary.sounds);
    let speakers = canary.ids.speakers().map(str::to_owned);
    let mut visits = Vec::new();
    // Not all at once: each of them keeps a camera, a viewer and two logs busy.
    for some in canary.ids.all.chunks(3) {
        visits.extend(join_all(some.iter().map(|id| visit(&canary.page, id, speakers.contains(id), &url))).await);
    }
    let snapshots = visits.iter().flat_map(|(replies, _)| replies).filter(|reply| reply.bytes.starts_with(b"\xff\xd8"));
    assert!(snapshots.count() >= 4, "hardly any picture was taken");
    for (replies, descriptions) in visits {
        replies.iter().for_each(|reply| canary.note(reply));
        remember(&descriptions, &mut canary.marks);
    }
    let id = canary.ids.lan_new.clone();
    let mut results = canary.broker.listen(&format!("canary/{id}/result")).await;
    for payload in [format!("Over MQTT: {SAID}"), json!({ "url": url, "id": "by-mqtt" }).to_string()] {
        canary.broker.publish(&format!("canary/{id}/say"), payload, &[]);
        let result = results.next().await.json();
        assert_eq!(result["ok"], true, "{result}");
    }
}

/// Watches, talks, has everything said that can be said; and what was answered.
async fn visit(page: &Page, id: &str, speaks: bool, url: &str) -> (Vec<Reply>, String) {
    let (mut viewer, descriptions) = Watch::begin(page, id).await;
    viewer.sees_pictures().await;
    let mut replies = vec![page.get(&format!("/api/doorbells/{id}/snapshot.jpg")).await];
    let say = format!("/api/doorbells/{id}/say");
    if speaks {
        page.until(id, "its talk", |doorbell| doorbell["microphone"] == true).await;
        let busy = page.post(&say, r#"{"clip":"canary_clip"}"#).await;
        assert_eq!(busy.status, 409, "two talk: {busy:?}");
        replies.push(busy);
    }
    viewer.leaves().await;
    page.until(id, "no talk", |doorbell| doorbell["talking"] == false).await;
    if !speaks {
        return (replies, descriptions);
    }
    let text = format!("Please \"wait\", {SAID} & co, at the door/gate.");
    for saying in [json!({ "text": text }), json!({ "clip": "canary_clip" }), json!({ "url": url })] {
        let said = page.post(&say, &saying.to_string()).await;
        assert_eq!(said.status, 200, "{id} {saying}: {said:?}");
        replies.push(said);
    }
    let said = page.send("POST", &say, "audio/wav", wav(8_000, 500.0, 0.3)).await;
    assert_eq!(said.status, 200, "{said:?}");
    let refused = page.post(&say, &json!({ "url": url.replace("http:", "ftp:") }).to_string()).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    replies.extend([said, refused]);
    (replies, descriptions)
}

/// Rings and motion of every doorbell, told by both services, with the ring's picture.
async fn rings(canary: &mut Canary) {
    let mut rings = Witness::of_3_1_1(canary.broker.port, "+/+/ring").await;
    for id in canary.ids.all.clone() {
        canary.demo.program.type_line(&format!("motion {id}")).await;
        canary.demo.program.type_line(&format!("ring {id}")).await;
    }
    let mut expected: Vec<String> = ["canary", "doorstep"]
        .iter()
        .flat_map(|base| canary.ids.all.iter().map(move |id| format!("{base}/{id}/ring")))
        .collect();
    while !expected.is_empty() {
        let heard = rings.next().await.topic;
        expected.retain(|topic| *topic != heard);
    }
    let rung = |doorbell: &Value| doorbell["last_ring"]["picture"].is_string();
    let doorbell = canary.page.until(&canary.ids.vivint, "the picture of its ring", rung).await;
    let path = doorbell["last_ring"]["picture"].as_str().unwrap().to_owned();
    let picture = canary.page.get(&format!("/{path}")).await;
    assert_eq!(picture.status, 200, "{picture:?}");
    canary.note(&picture);
}

/// Doors opened, and refused, with a signature and without.
async fn doors(canary: &mut Canary) {
    let id = canary.ids.lan.clone();
    let topic = format!("canary/{id}/lock/set");
    let mut results = canary.broker.listen(&format!("canary/{id}/result")).await;
    let good = signed(UNLOCK_SECRET, &id, "canary-1");
    let forged = signed("another secret of the same length", &id, "canary-2");
    for (payload, ok) in [("UNLOCK", false), (&forged, false), (&good, true), (&good, false)] {
        canary.broker.publish(&topic, payload, &[]);
        let result = results.next().await.json();
        assert_eq!(result["ok"], ok, "{payload}: {result}");
    }
    canary
        .marks
        .add("a signature that opened the door", good.split("\"mac\":\"").nth(1).unwrap().split('"').next().unwrap());
    let (vivint, kvs) = (canary.ids.vivint.clone(), canary.ids.kvs.clone());
    for (path, body) in [
        (format!("/api/doorbells/{vivint}/unlock"), "{}"),
        (format!("/api/doorbells/{vivint}/garage"), r#"{"open":true}"#),
        (format!("/api/doorbells/{kvs}/unlock"), "{}"),
    ] {
        let reply = canary.page.post(&path, body).await;
        assert!(reply.body.contains("\"ok\":true"), "{path}: {reply:?}");
        canary.note(&reply);
    }
    let refused = canary.page.post(&format!("/api/doorbells/{kvs}/lock"), "{}").await;
    assert!(refused.body.contains("\"ok\":false"), "{refused:?}");
    canary.note(&refused);
}

/// As docs/unlock.md says.
fn signed(secret: &str, doorbell: &str, id: &str) -> String {
    let ts = clock::unix_now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(["doorstep lock 1", doorbell, "unlock", id, &ts.to_string()].join("\n").as_bytes());
    let mac: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"cmd": "unlock", "id": id, "ts": ts, "mac": mac}).to_string()
}

/// One that is locked out and one that wants a code are added on the page, and taken away again.
async fn accounts(canary: &mut Canary) {
    const WRONG: &str = "Wr0ngM4rkerPassw0rd";
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let wyze = wyze_cloud::start(wyze_cloud::Settings::generate(16), stop.clone()).await.unwrap();
    wyze.obey(CloudCommand::Trouble(Some(Fault::LockedOut.into()))).unwrap();
    let settings = vivint::Settings { second_factor: SecondFactor::Sms, ..quick(16) };
    let vivint = vivint::start(settings, stop).await.unwrap();
    let mut told = vivint.events();
    canary.marks.add("a wrong password", WRONG);
    let secrets = [&wyze.settings.password, &vivint.settings.password].map(Password::expose);
    secrets.iter().for_each(|secret| canary.marks.add("the password of an account that was added", secret));
    canary.marks.add("the name of an account that was added", wyze.settings.email.expose());
    canary.marks.add("the name of an account that was added", vivint.settings.username.expose());
    canary.marks.add("the key of an account that was added", wyze.settings.api_key.expose());

    for body in [
        installation::wyze(&wyze, Some(WRONG)),
        installation::vivint(&vivint, None),
        json!({"vendor": "wyze", "email": [WRONG], "password": {"is": WRONG}, "nonsense": WRONG}),
        json!({"vendor": WRONG}),
    ] {
        let reply = canary.page.post("/api/accounts", &body.to_string()).await;
        assert_eq!(reply.status, if body["endpoints"].is_object() { 201 } else { 400 }, "{reply:?}");
        canary.note(&reply);
    }
    let refused = canary.page.account(100, "its trouble", |account| account["why"].is_string()).await;
    canary.answers.push_str(&refused.to_string());
    canary.page.account_is(101, "needs_code").await;
    let code = loop {
        if let vivint::Event::SmsSent { code } = told.recv().await.unwrap() {
            break code;
        }
    };
    let coded = canary.page.post("/api/accounts/101/code", &json!({ "code": code }).to_string()).await;
    assert_eq!(coded.status, 202, "{coded:?}");
    canary.note(&coded);
    canary.page.account_is(101, "ready").await;
    canary.remember_what_is_stored();
    let rediscovered = canary.page.post("/api/accounts/rediscover", "").await;
    canary.note(&rediscovered);
    for n in [100, 101] {
        let gone = canary.page.send("DELETE", &format!("/api/accounts/{n}"), "application/json", "").await;
        assert_eq!(gone.status, 204, "{gone:?}");
    }
}

/// Tokens, tickets, go2rtc's own ways.
async fn ways_in(canary: &mut Canary) {
    for what in ["a token that was made", "the token that took its place"] {
        let made = canary.demo_page.post("/api/access/token", "").await;
        assert_eq!(made.status, 201, "{made:?}");
        // Told once, to whoever had it made.
        canary.marks.add(what, made.json()["token"].as_str().unwrap());
        canary.remember_what_is_stored();
    }
    let seen = canary.go2rtc.until("every stream", |seen| seen.streams.len() == 6).await;
    let mut keys = 0;
    for source in seen.streams.values().flatten() {
        if let Some((_, key)) = source.split_once("key=") {
            canary.marks.add("a key to a stream", key.split(['&', '#']).next().unwrap());
            keys += 1;
        }
    }
    assert!(keys >= 5, "go2rtc was given no keys: {:?}", seen.streams);
    let (called, kvs) = (canary.ids.called.clone(), canary.ids.kvs.clone());
    for id in [&called, &kvs] {
        let call = canary.page.get(&format!("/api/wyze/{id}/kvs")).await;
        if call.status == 200 {
            // For whoever asks for it, and nobody else.
            call.body.split(['"', '?', '&']).filter(|part| part.contains('=')).for_each(|part| {
                canary.marks.add("a signed address", part.split_once('=').unwrap().1);
            });
        }
    }
    let ticket = canary.page.post(&format!("/api/doorbells/{called}/ticket"), "").await.json()["ticket"].clone();
    let ticket = ticket.as_str().expect("a ticket").to_owned();
    canary.marks.add("a ticket", &ticket);
    let stranger = Page::at(canary.page.address);
    for path in
        [format!("/whep/{called}?ticket={ticket}"), format!("/api/ws?src={called}&ticket={ticket}&key={ticket}")]
    {
        for _ in 0..2 {
            canary.note(&stranger.send("POST", &path, "application/sdp", "v=0").await);
        }
    }
    let wrong = Page::locked(canary.page.address, "a-w4ong-t0ken-of-a-stranger");
    canary.marks.add("a wrong token", "a-w4ong-t0ken-of-a-stranger");
    let refused = wrong.get("/api/doorbells").await;
    assert_eq!(refused.status, 401, "{refused:?}");
    canary.note(&refused);
}

async fn a_cut_from_the_broker(canary: &mut Canary) {
    canary.line.mode(Mode::Refuses);
    broker_is(&canary.page, false).await;
    canary.line.mode(Mode::Passes);
    broker_is(&canary.page, true).await;
}

async fn broker_is(page: &Page, there: bool) {
    let waiting = async {
        while (page.get("/health").await.json()["mqtt"] == "connected") != there {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "the broker is never {there}");
}

async fn a_camera_that_is_gone(canary: &mut Canary) {
    let id = canary.ids.lan_new.clone();
    canary.demo.program.type_line(&format!("offline {id}")).await;
    canary.demo.tells(&id, "that it is gone", |event| event["event"] == "offline").await;
    let viewer = Viewer::new(Manners::default()).await;
    let reply = canary.page.offer(&id, &viewer.offer).await;
    canary.page.until(&id, "why there is nothing", |doorbell| doorbell["last_error"].is_string()).await;
    remember_offer(&viewer.offer, &mut canary.marks);
    // Its answer, where there is one, has the page's own description.
    assert!(matches!(reply.status, 201 | 503), "{reply:?}");
}

fn remember_offer(offer: &str, marks: &mut Marks) {
    remember(&format!("{offer}\n{offer}"), marks);
}

/// Whatever can be read.
async fn looks(canary: &mut Canary) {
    let ids = canary.ids.all.clone();
    let mut paths: Vec<String> =
        ["/", "/app.js", "/api/doorbells", "/api/accounts", "/api/access", "/api/clips", "/health"]
            .map(str::to_owned)
            .into();
    paths.extend(["/api/streams", "/api/nothing"].map(str::to_owned));
    paths.extend(ids.iter().map(|id| format!("/api/doorbells/{id}")));
    for path in paths {
        for page in [canary.page.clone(), canary.demo_page.clone(), Page::at(canary.page.address)] {
            let reply = page.get(&path).await;
            canary.note(&reply);
        }
    }
    for page in [canary.page.clone(), canary.demo_page.clone()] {
        let metrics = page.get("/metrics").await;
        canary.reports.push_str(&metrics.body);
        for id in &ids {
            for ask in ["record", "metadata"] {
                let report = page.get(&format!("/api/doorbells/{id}/diagnostics?ask={ask}")).await;
                assert!(matches!(report.status, 200 | 404 | 502 | 503), "{report:?}");
                canary.reports.push_str(&format!("{report:?}\n"));
            }
        }
    }
    assert!(canary.reports.contains("nickname") || canary.reports.contains("status: 200"), "{}", canary.reports);
}
