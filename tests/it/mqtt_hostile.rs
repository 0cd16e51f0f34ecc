//! Brokers that misbehave on purpose. None of them opens a door, fills the memory or the log, or is run after in a hurry;
//! and where an honest one is in its place the next time, everything goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorstep::clock::{self, Instant};
use doorstep::config::MqttUrl;
use doorstep::model::MqttLink;
use doorstep::mqtt::{Broker, Settings};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::mqtt_lock::Gate;
use crate::support::log::Log;
use crate::support::mosquitto::{self, Mosquitto, PATIENCE, until};
use crate::support::mqtt_house::settings;
use crate::support::raw_broker::{publish_packet, read_packet};

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const DISCOVERY: &str = "homeassistant/device/doorstep_fake_1/config";
const LOCK: &str = "doorstep/fake_1/lock/set";
const MARK: &str = "doorstep/bridge/instance";
/// What a second one of it is allowed to cost.
const MEMORY_MIB: f64 = 96.0;

/// A broker's place: whoever comes first gets the script, whoever comes after it a real broker.
struct Place {
    port: u16,
    came: Arc<Mutex<Vec<Instant>>>,
    heard: watch::Receiver<Vec<(String, Vec<u8>)>>,
    _serving: AbortOnDropHandle<()>,
}

/// What to do with a connection, by its number from 0.
type Script = fn(usize, Wire) -> BoxFuture<'static, ()>;

/// A client's connection.
struct Wire {
    stream: TcpStream,
    /// What it has published.
    heard: watch::Sender<Vec<(String, Vec<u8>)>>,
}

impl Place {
    /// The first `faults` connections are the script's.
    async fn of(honest: &Mosquitto, faults: usize, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, honest) = (listener.local_addr().unwrap().port(), honest.port);
        let came = Arc::new(Mutex::new(Vec::new()));
        let (tell, heard) = watch::channel(Vec::new());
        let book = came.clone();
        let serving = async move {
            let mut connections = tokio::task::JoinSet::new();
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                book.lock().unwrap().push(clock::now());
                if n < faults {
                    connections.spawn(script(n, Wire { stream, heard: tell.clone() }));
                } else {
                    connections.spawn(relay(stream, honest));
                }
            }
        };
        Self { port, came, heard, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    fn came(&self) -> usize {
        self.came.lock().unwrap().len()
    }

    /// Waits until the scripts have heard what is wanted.
    async fn hears(&self, what: &str, condition: impl FnMut(&Vec<(String, Vec<u8>)>) -> bool) {
        let mut heard = self.heard.clone();
        let waited = tokio::time::timeout(PATIENCE, heard.wait_for(condition)).await;
        assert!(waited.is_ok(), "never heard: {what}; {} connections", self.came());
    }
}

async fn relay(mut client: TcpStream, honest: u16) {
    let mut broker = TcpStream::connect(("127.0.0.1", honest)).await.unwrap();
    broker.set_nodelay(true).unwrap();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut broker).await;
}

impl Wire {
    /// CONNECT, taken.
    async fn connect(&mut self) -> Vec<u8> {
        let (header, connect) = read_packet(&mut self.stream).await.unwrap();
        assert_eq!(header, 0x10, "no CONNECT");
        connect
    }

    async fn welcome(&mut self) {
        self.connect().await;
        self.write(&CONNACK).await;
    }

    /// Whether it went out: a client may well have gone.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next packet, if there is one.
    async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let (header, body) = read_packet(&mut self.stream).await.ok()?;
        if header & 0xf0 == 0x30 {
            let (topic, _, payload) = publication(&body);
            self.heard.send_modify(|all| all.push((topic, payload)));
        }
        Some((header, body))
    }

    /// Answers like a broker until it has confirmed the first subscriptions.
    async fn confirm(&mut self) {
        while let Some((header, body)) = self.packet().await {
            self.answer(header, &body, 1).await;
            if header == 0x82 {
                return;
            }
        }
    }

    /// Answers like a broker until the client goes.
    async fn behave(mut self) {
        while let Some((header, body)) = self.packet().await {
            self.answer(header, &body, 1).await;
        }
    }

    /// With `granted` for each subscription.
    async fn answer(&mut self, header: u8, body: &[u8], granted: u8) {
        match header & 0xf0 {
            0x30 => {
                let [high, low] = publication(body).1;
                self.write(&[0x40, 2, high, low]).await;
            }
            0x80 => {
                let suback = suback(body, granted);
                self.write(&suback).await;
            }
            0xa0 => {
                self.write(&[0xb0, 2, body[0], body[1]]).await;
            }
            0xc0 => {
                self.write(&[0xd0, 0]).await;
            }
            _ => {}
        }
    }

    /// Until the client has gone.
    async fn until_left(mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

/// Topic, packet id and payload of a PUBLISH at QoS 1.
fn publication(body: &[u8]) -> (String, [u8; 2], Vec<u8>) {
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..end].to_vec()).unwrap();
    (topic, [body[end], body[end + 1]], body[end + 2..].to_vec())
}

fn suback(subscribe: &[u8], granted: u8) -> Vec<u8> {
    let (mut at, mut filters) = (2, 0);
    while at < subscribe.len() {
        at += 3 + usize::from(u16::from_be_bytes([subscribe[at], subscribe[at + 1]]));
        filters += 1;
    }
    let mut packet = vec![0x90, 2 + filters, subscribe[0], subscribe[1]];
    packet.resize(packet.len() + usize::from(filters), granted);
    packet
}

/// The house at such a place, and what was before.
struct Trial {
    gate: Gate,
    place: Place,
    honest: Mosquitto,
    log: Log,
    _capturing: DefaultGuard,
    began: Instant,
    memory_mib: f64,
}

impl Trial {
    async fn at(faults: usize, script: Script) -> Self {
        let honest = Mosquitto::start().await;
        let place = Place::of(&honest, faults, script).await;
        let settings = settings(mosquitto::settings(place.port));
        Self::with(honest, place, settings).await
    }

    async fn with(honest: Mosquitto, place: Place, settings: Settings) -> Self {
        let (log, _capturing) = Log::capture(Level::TRACE);
        let memory_mib = peak_mib();
        let gate = Gate::with(None, settings).await;
        Self { gate, place, honest, log, _capturing, began: clock::now(), memory_mib }
    }

    /// That an event gets through to the honest broker by connection number `last`, from 1; and what holds of each trial.
    async fn ends_well(self, last: usize) {
        until("the last connection", || self.place.came() >= last).await;
        self.gate.house.connected().await;
        let mut witness = self.honest.listen("doorstep/fake_1/ring").await;
        self.gate.house.vendor.ring("after");
        while witness.next().await.json()["id"] != "after" {}
        assert_eq!(self.place.came(), last, "connections");
        self.ends_without_harm().await;
    }

    /// What holds of each, whether or not there ever was another broker.
    async fn ends_without_harm(self) {
        assert_eq!(self.gate.lock.acts(), [], "a door was worked");
        assert_eq!(self.gate.house.vendor.seen().talks_asked, 0, "the microphone was opened");
        let (mut complaints, took) = (self.log.complaints(), self.began.elapsed());
        complaints.retain(|line| line.contains("doorstep::mqtt"));
        assert!(complaints.len() <= 3, "{complaints:?}");
        let causes: BTreeSet<_> = complaints.iter().map(|line| cause(line)).collect();
        assert_eq!(causes.len(), complaints.len(), "said twice: {complaints:?}");
        let grown = peak_mib() - self.memory_mib;
        println!("{} connections in {took:?}, {grown:.0} MiB, {complaints:?}", self.place.came());
        assert!(grown <= MEMORY_MIB, "grown by {grown} MiB");
        let stopped = clock::now();
        self.gate.house.close().await;
        assert!(stopped.elapsed() <= Duration::from_secs(2), "it took {:?} to stop", stopped.elapsed());
    }
}

/// A line of the log without its time, and without what is another one each time.
fn cause(line: &str) -> &str {
    let line = line.split_once(' ').map_or(line, |(_, rest)| rest);
    line.split_once(" retry_in_s").map_or(line, |(cause, _)| cause)
}

/// The most that this process ever had resident.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    kib.trim().parse::<f64>().unwrap() / 1_024.0
}

#[tokio::test]
async fn hostile_broker_answers_connect_with_garbage() {
    const ANSWERS: [&[u8]; 3] = [b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0x20, 2, 0, 99], &[0xff; 4_096]];
    let trial = Trial::at(ANSWERS.len(), |n, mut wire| {
        Box::pin(async move {
            wire.connect().await;
            wire.write(ANSWERS[n]).await;
            // Whoever speaks HTTP closes after that; the others wait to be left.
            if n > 0 {
                wire.until_left().await;
            }
        })
    });
    trial.await.ends_well(ANSWERS.len() + 1).await;
}

/// As a port that returns what it gets, and one that does so once it has let us in: with it comes our own login.
#[tokio::test]
async fn hostile_broker_sends_our_login_back() {
    let honest = Mosquitto::start_knowing("ada", "SECRET-OF-ADA").await;
    let place = Place::of(&honest, 2, |n, mut wire| {
        Box::pin(async move {
            let connect = wire.connect().await;
            let mut packet = vec![0x10, connect.len() as u8 | 0x80, (connect.len() >> 7) as u8];
            packet.extend(connect);
            if n == 1 {
                wire.write(&CONNACK).await;
            }
            wire.write(&packet).await;
            wire.until_left().await;
        })
    });
    let place = place.await;
    let url = format!("mqtt://ada:SECRET-OF-ADA@127.0.0.1:{}", place.port);
    let settings = settings(Broker::At(MqttUrl::parse(&url).unwrap()));
    let trial = Trial::with(honest, place, settings).await;
    let log = trial.log.clone();
    trial.ends_well(3).await;
    assert!(!log.text().contains("SECRET-OF-ADA"), "{}", log.text());
}

/// The first connection is honest, so that a broker is known to be there.
#[tokio::test]
async fn hostile_broker_never_answers_connect() {
    let trial = Trial::at(2, |n, mut wire| {
        Box::pin(async move {
            match n {
                0 => {
                    wire.welcome().await;
                    wire.confirm().await;
                }
                _ => wire.until_left().await,
            }
        })
    });
    let trial = trial.await;
    until("the second connection", || trial.place.came() == 2).await;
    let came = clock::now();
    trial.gate.house.vendor.ring("while nobody answers");
    until("the third connection", || trial.place.came() == 3).await;
    assert!(came.elapsed() >= Duration::from_secs(3), "given up after {:?}", came.elapsed());
    trial.ends_well(3).await;
}

/// The first time as a flood of refusals, the second time once each, and otherwise well.
#[tokio::test]
async fn hostile_broker_refuses_every_subscription() {
    let trial = Trial::at(2, |n, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            while let Some((header, body)) = wire.packet().await {
                let times = if n == 0 && header == 0x82 { 2_000 } else { 1 };
                for _ in 0..times {
                    wire.answer(header, &body, 0x80).await;
                }
                if n == 1 && wire.heard.borrow().iter().any(|(topic, _)| topic == "doorstep/fake_1/ring") {
                    return;
                }
            }
        })
    });
    let trial = trial.await;
    until("the second connection", || trial.place.came() == 2).await;
    trial.gate.house.connected().await;
    trial.gate.house.vendor.ring("without a subscription");
    trial.place.hears("the ring", |all| all.iter().any(|(topic, _)| topic == "doorstep/fake_1/ring")).await;
    assert_eq!(trial.log.count("ERROR", "does not let us subscribe to every topic"), 1, "{}", trial.log.text());
    trial.ends_well(3).await;
}

#[tokio::test]
async fn hostile_broker_acknowledges_in_any_order() {
    let trial = Trial::at(1, |_, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            let mut owed = Vec::new();
            while let Some((header, body)) = wire.packet().await {
                if header & 0xf0 != 0x30 {
                    wire.answer(header, &body, 1).await;
                    continue;
                }
                owed.push(publication(&body).1);
                if owed.len() == 3 || publication(&body).0 == "doorstep/fake_1/ring" {
                    while let Some([high, low]) = owed.pop() {
                        wire.write(&[0x40, 2, high, low]).await;
                    }
                }
            }
        })
    });
    let trial = trial.await;
    for n in 0..99 {
        trial.gate.house.vendor.ring(&n.to_string());
        trial
            .place
            .hears("the ring", |all| all.iter().filter(|(topic, _)| topic == "doorstep/fake_1/ring").count() > n)
            .await;
    }
    assert_eq!(trial.place.came(), 1, "it was left for that");
    trial.ends_without_harm().await;
}

#[tokio::test]
async fn hostile_broker_acknowledges_twice_and_what_was_never_sent() {
    let trial = Trial::at(3, |n, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            while let Some((header, body)) = wire.packet().await {
                wire.answer(header, &body, 1).await;
                match n {
                    0 => wire.answer(header, &body, 1).await,
                    1 => drop(wire.write(&[0x40, 2, 0, 63]).await),
                    _ => drop(wire.write(&[0x40, 2, 0xff, 0xff, 0x50, 2, 0, 1, 0x70, 2, 0, 9]).await),
                }
            }
        })
    });
    trial.await.ends_well(4).await;
}

#[tokio::test]
async fn hostile_broker_announces_a_packet_of_256_mib() {
    let trial = Trial::at(2, |n, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            wire.confirm().await;
            wire.write(if n == 0 { &[0x30, 0xff, 0xff, 0xff, 0x7f] } else { &[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f] })
                .await;
            while wire.write(&[b'x'; 65_536]).await {}
        })
    });
    trial.await.ends_well(3).await;
}

/// One packet that is somewhat too large has the next connection take such packets, so that they can be refused.
#[tokio::test]
async fn hostile_broker_sends_commands_of_eight_megabytes() {
    let trial = Trial::at(2, |_, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            wire.confirm().await;
            let payload = vec![b'x'; (8 << 20) - 64];
            let packet = publish_packet(0x30, LOCK.as_bytes(), &payload);
            for _ in 0..24 {
                if !wire.write(&packet).await {
                    return;
                }
            }
            wire.is_left_after_fence().await;
        })
    });
    trial.await.ends_well(3).await;
}

impl Wire {
    /// Has the client answer what it has been sent so far, and goes.
    async fn is_left_after_fence(&mut self) {
        self.write(&publish_packet(0x32, b"test/fence", b"")).await;
        while let Some((header, body)) = self.packet().await {
            if header == 0x40 {
                return;
            }
            self.answer(header, &body, 1).await;
        }
    }
}

/// Topics that no broker may deliver; and those that could be mistaken for ours.
#[tokio::test]
async fn hostile_broker_publishes_on_topics_that_cannot_be() {
    let trial = Trial::at(1, |_, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            wire.confirm().await;
            let long = "x/".repeat(32_000);
            let topics = [
                "",
                "/",
                "#",
                "+/+/+/set",
                "doorstep/+/lock/set",
                "doorstep/#",
                "doorstep/fake_1/lock/set\0",
                "doorstep/fake_1/lock/set/",
                "doorstep//lock/set",
                "doorstep/fake_1//set",
                "DOORSTEP/FAKE_1/LOCK/SET",
                "$SYS/doorstep/fake_1/lock/set",
                "doorstep/../doorstep/fake_1/lock/set",
                &long,
            ];
            for topic in topics {
                for payload in ["UNLOCK", "ON", "PRESS", "online"] {
                    for header in [0x30, 0x31, 0x32, 0x3b] {
                        wire.write(&publish_packet(header, topic.as_bytes(), payload.as_bytes())).await;
                    }
                }
            }
            wire.behave().await;
        })
    });
    let trial = trial.await;
    trial.gate.house.connected().await;
    trial.gate.house.vendor.ring("after");
    trial.place.hears("the ring", |all| all.iter().any(|(topic, _)| topic == "doorstep/fake_1/ring")).await;
    assert_eq!(trial.place.came(), 1);
    assert_eq!(answers(&trial.place), 0, "answered what was no command");
    trial.ends_without_harm().await;
}

fn answers(place: &Place) -> usize {
    place.heard.borrow().iter().filter(|(topic, _)| topic.ends_with("/result")).count()
}

#[tokio::test]
async fn hostile_broker_sends_ten_thousand_commands_at_once() {
    let trial = Trial::at(1, |_, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            wire.confirm().await;
            let mut flood = Vec::new();
            let commands = [(LOCK, "UNLOCK"), ("doorstep/fake_1/say", "hello"), ("doorstep/fake_9/talk/set", "ON")];
            for n in 0..10_000 {
                let (topic, payload) = commands[n % 3];
                flood.extend(publish_packet(0x30, topic.as_bytes(), payload.as_bytes()));
            }
            wire.write(&flood).await;
            wire.behave().await;
        })
    });
    let trial = trial.await;
    trial.gate.house.connected().await;
    trial.gate.house.vendor.ring("in the flood");
    trial.place.hears("the ring", |all| all.iter().any(|(topic, _)| topic == "doorstep/fake_1/ring")).await;
    let counters = trial.gate.house.mqtt.counters();
    until("the flood is over", || counters().messages_dropped + counters().commands_refused >= 9_000).await;
    println!("{:?}, {} answers", counters(), answers(&trial.place));
    assert_eq!(trial.place.came(), 1);
    trial.ends_without_harm().await;
}

#[tokio::test]
async fn hostile_broker_closes_after_each_connack() {
    let trial = Trial::at(usize::MAX, |_, mut wire| Box::pin(async move { wire.welcome().await })).await;
    // Long enough for whoever insists to insist.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!((2..=12).contains(&trial.place.came()), "{} connections in 4 s", trial.place.came());
    assert_ne!(*trial.gate.house.mqtt.link().borrow(), MqttLink::Connected);
    trial.gate.house.vendor.ring("for the house alone");
    until("the ring", || trial.gate.house.doorbell.rings().len() == 1).await;
    trial.ends_without_harm().await;
}

/// For doorbells that there are and that there are not.
#[tokio::test]
async fn hostile_broker_has_a_command_retained_on_every_topic() {
    const PATHS: [&str; 9] = [
        "lock/set",
        "garage/set",
        "talk/set",
        "stream/set",
        "snapshot/take",
        "say",
        "say/stop",
        "siren/set",
        "clip/set",
    ];
    let trial = Trial::at(1, |_, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            wire.confirm().await;
            for n in 1..=10 {
                for path in PATHS {
                    let topic = format!("doorstep/fake_{n}/{path}");
                    for payload in ["UNLOCK", "ON"] {
                        wire.write(&publish_packet(0x31, topic.as_bytes(), payload.as_bytes())).await;
                    }
                }
            }
            wire.write(&publish_packet(0x31, b"doorstep/bridge/rediscover/set", b"PRESS")).await;
            wire.behave().await;
        })
    });
    let trial = trial.await;
    let erased = |all: &Vec<(String, Vec<u8>)>, topic: &str| all.contains(&(topic.to_owned(), Vec::new()));
    trial
        .place
        .hears("them erased", |all| {
            PATHS
                .iter()
                .filter(|path| **path != "garage/set")
                .all(|path| erased(all, &format!("doorstep/fake_1/{path}")))
        })
        .await;
    assert_eq!(trial.place.came(), 1);
    trial.ends_without_harm().await;
}

/// Each message of ours as somebody else's, both retained and live.
#[tokio::test]
async fn hostile_broker_sends_our_own_messages_back() {
    let trial = Trial::at(1, |_, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            while let Some((header, body)) = wire.packet().await {
                wire.answer(header, &body, 1).await;
                if header & 0xf0 == 0x30 {
                    let (topic, _, payload) = publication(&body);
                    wire.write(&publish_packet(0x31, topic.as_bytes(), &payload)).await;
                    wire.write(&publish_packet(0x30, topic.as_bytes(), &payload)).await;
                }
            }
        })
    });
    let trial = trial.await;
    trial.gate.house.connected().await;
    for n in 0..20 {
        trial.gate.house.vendor.ring(&n.to_string());
        trial
            .place
            .hears("the ring", |all| all.iter().filter(|(topic, _)| topic == "doorstep/fake_1/ring").count() > n)
            .await;
    }
    let all = trial.place.heard.borrow().len();
    println!("{all} messages of ours");
    assert!(all <= 120, "we answer ourselves: {all} messages");
    assert_eq!((trial.place.came(), answers(&trial.place)), (1, 0));
    trial.ends_without_harm().await;
}

/// As if hundreds of others had used our client id, all of them older.
#[tokio::test]
async fn hostile_broker_leaves_the_marks_of_many_others() {
    let trial = Trial::at(2, |_, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            wire.confirm().await;
            for n in 0..300 {
                let mark = format!("{n:013}-{n:016x}");
                wire.write(&publish_packet(0x31, MARK.as_bytes(), mark.as_bytes())).await;
            }
            wire.is_left_after_fence().await;
        })
    });
    trial.await.ends_well(3).await;
}

/// Of our device, each with a list of topics to clear.
#[tokio::test]
async fn hostile_broker_names_components_without_end() {
    let trial = Trial::at(1, |_, mut wire| {
        Box::pin(async move {
            wire.welcome().await;
            wire.confirm().await;
            for n in 0..100 {
                let topics: Vec<_> =
                    (0..500).map(|m| serde_json::json!({"topic": format!("doorstep/none_{n}/{m}")})).collect();
                let component = serde_json::json!({"platform": "lock", "name": "x", "availability": topics});
                let payload = serde_json::json!({"components": {format!("k{n}"): component}}).to_string();
                wire.write(&publish_packet(0x31, DISCOVERY.as_bytes(), payload.as_bytes())).await;
            }
            wire.behave().await;
        })
    });
    let trial = trial.await;
    trial.gate.house.connected().await;
    let removes = |payload: &[u8]| String::from_utf8_lossy(payload).contains(r#""k0""#);
    trial
        .place
        .hears("a component removed", |all| all.iter().any(|(topic, payload)| topic == DISCOVERY && removes(payload)))
        .await;
    trial.gate.house.vendor.ring("after");
    trial.place.hears("the ring", |all| all.iter().any(|(topic, _)| topic == "doorstep/fake_1/ring")).await;
    let topics = trial.gate.house.mqtt.retained_topics().borrow().len();
    println!("{topics} topics, {} messages", trial.place.heard.borrow().len());
    assert!(topics <= 150, "{topics} topics");
    trial.ends_without_harm().await;
}
