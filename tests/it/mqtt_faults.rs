//! What becomes of the connection to the broker, and what does not become of what is told over it (fault matrix, rows 1
//! to 7). The broker is a real one; a second one, that nothing ever happens to, is the model of what should be retained.

use std::collections::BTreeSet;
use std::time::Duration;

use doorstep::clock::{self, Instant};
use doorstep::config::MqttUrl;
use doorstep::doorbell::{Doorbell, Registry};
use doorstep::model::{Capability, DeviceId, DeviceInfo, Event, Motion, MotionKind, MqttLink};
use doorstep::mqtt::{self, Broker, Mqtt};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::support::fake_vendor::FakeVendor;
use crate::support::impair::{self, Line, Mode};
use crate::support::log::Log;
use crate::support::mosquitto::{self, Heard, Mosquitto, PATIENCE, Witness, until};
use crate::support::mqtt_house::{House, no_accounts, settings};
use crate::support::score::{Figure, tally};
use crate::support::service::{Camera, Service};
use crate::support::viewer::Manners;

const DOWN: &str = ": no connection to the MQTT broker";
const UP: &str = ": connected to the MQTT broker";
/// How long everything may take once the broker is back.
const RECOVERY: Duration = Duration::from_secs(5);

/// Further doorbells `fake_2`, `fake_3` …
pub(crate) struct Neighbours {
    registry: Registry,
    stop: CancellationToken,
}

impl Neighbours {
    pub(crate) fn of(house: &House) -> Self {
        Self { registry: house.registry.clone(), stop: CancellationToken::new() }
    }

    pub(crate) fn move_in(&self, numbers: impl Iterator<Item = usize>) {
        use Capability::{Motion, Ring, Stream, Talk};
        for n in numbers {
            let info = DeviceInfo {
                id: DeviceId::parse(&format!("fake_{n}")).unwrap(),
                name: format!("Door {n}"),
                vendor: "fake",
                model: "FAKE1".to_owned(),
                firmware: None,
                capabilities: [Ring, Motion, Stream, Talk].into(),
            };
            let doorbell: Doorbell = FakeVendor::of(info).doorbell(&self.stop);
            self.registry.insert(doorbell);
        }
    }

    fn move_out(&self, n: usize) {
        self.registry.remove(&DeviceId::parse(&format!("fake_{n}")).unwrap());
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A broker that is told the same, over a connection that nothing happens to.
struct Model {
    broker: Mosquitto,
    _face: Mqtt,
    stop: CancellationToken,
}

impl Model {
    async fn of(house: &House) -> Self {
        let (broker, stop) = (Mosquitto::start().await, CancellationToken::new());
        let face = mqtt::start(settings(broker.settings()), house.registry.clone(), no_accounts(), stop.clone());
        let mut link = face.link();
        let connected = link.wait_for(|link| *link == MqttLink::Connected);
        tokio::time::timeout(PATIENCE, connected).await.expect("the model is connected").unwrap();
        Self { broker, _face: face, stop }
    }

    /// Waits until `broker` retains what this one does; each run leaves a mark of its own.
    async fn is_reached_by(&self, broker: &Mosquitto) {
        let mut differ = Vec::new();
        let compared = async {
            loop {
                let (wanted, found) = tokio::join!(told(&self.broker), told(broker));
                if wanted == found {
                    return;
                }
                differ = found.into_iter().filter(|heard| !wanted.contains(heard)).collect();
            }
        };
        let reached = tokio::time::timeout(2 * PATIENCE, compared).await;
        assert!(reached.is_ok(), "never the same; among others {differ:?}");
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What is retained of ours but the marks of runs.
async fn told(broker: &Mosquitto) -> Vec<Heard> {
    let mut all = broker.retained("#").await;
    all.retain(|heard| ![BIRTH, "doorstep/bridge/instance"].contains(&heard.topic.as_str()));
    all
}

/// A stream of numbered events.
pub(crate) const EVENTS: usize = 240;

pub(crate) fn tell_numbered(house: &House, n: usize) {
    let motion = Motion { at: clock::unix_now(), event_id: n.to_string(), kind: MotionKind::Motion };
    house.vendor.tell(Event::Motion(motion));
}

/// Tells them all, so far apart.
fn stream(house: &House, apart: Duration) -> tokio::task::JoinHandle<()> {
    let vendor = house.vendor.clone();
    tokio::spawn(async move {
        for n in 0..EVENTS {
            let motion = Motion { at: clock::unix_now(), event_id: n.to_string(), kind: MotionKind::Motion };
            vendor.tell(Event::Motion(motion));
            tokio::time::sleep(apart).await;
        }
    })
}

/// Listens until `last` has come, and returns which of `0..EVENTS` have, and how many came again.
pub(crate) async fn numbers_until(witness: &mut Witness, last: usize) -> (BTreeSet<usize>, usize) {
    let (mut numbers, mut again) = (BTreeSet::new(), 0);
    loop {
        let heard = witness.next_on("doorstep/fake_1/motion").await;
        let n: usize = heard.json()["id"].as_str().unwrap().parse().unwrap();
        if n == last {
            return (numbers, again);
        }
        again += usize::from(!numbers.insert(n));
    }
}

fn published(broker: &Mosquitto) -> usize {
    broker.log().matches("Received PUBLISH from doorstep-test").count()
}

/// Twice in the middle of everything: of each restart the log tells that messages were under way.
#[tokio::test]
async fn row_01_a_broker_restarted_under_a_burst_hears_every_event_and_retains_what_it_should() {
    let mut broker = Mosquitto::start_persistent().await;
    let line = impair::Tcp::to(broker.port, Line::late(Duration::from_millis(30)), 1).await;
    let house = House::with(FakeVendor::new(), settings(mosquitto::settings(line.port))).await;
    house.connected().await;
    let model = Model::of(&house).await;
    let mut witness = broker.listen_through_restarts("doorstep/fake_1/motion").await;
    let (log, _guard) = Log::capture(Level::INFO);
    let calm = published(&broker);

    let neighbours = Neighbours::of(&house);
    neighbours.move_in(2..26);
    let streaming = stream(&house, Duration::from_millis(10));
    until("the burst has begun", || published(&broker) >= calm + 20).await;
    broker.terminate();
    let topics = house.mqtt.retained_topics().borrow().len();
    let discoveries = broker.log().matches("'homeassistant/device/doorstep_fake_").count();
    assert!(discoveries < 25 && topics > 25 * 6, "the burst was over: {discoveries} of 25, {topics} topics");
    house.is_connected(false).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    broker.start_again().await;
    let calm = published(&broker);
    until("it goes on", || published(&broker) >= calm + 20).await;
    broker.terminate();
    house.is_connected(false).await;
    broker.start_again().await;
    let back = clock::now();
    model.is_reached_by(&broker).await;
    let took = back.elapsed();

    streaming.await.unwrap();
    tell_numbered(&house, EVENTS);
    let (heard, again) = numbers_until(&mut witness, EVENTS).await;
    println!("everything retained {took:?} after the second restart; {again} of {EVENTS} events came again");
    tally(Figure::EventsDelivered, heard.len(), EVENTS);
    assert_eq!(heard.len(), EVENTS, "lost: {:?}", (0..EVENTS).filter(|n| !heard.contains(n)).collect::<Vec<_>>());
    assert_eq!(house.mqtt.counters()().events_dropped, 0);
    assert!(took <= RECOVERY, "took {took:?}");
    // Both restarts are within a minute.
    assert!((1..=2).contains(&log.count("WARN", DOWN)), "{}", log.text());
    assert!((1..=2).contains(&log.count("INFO", UP)), "{}", log.text());
    assert_eq!(log.complaints().len(), log.count("WARN", DOWN), "{:?}", log.complaints());
}

/// Nothing stands between us and the broker here, so that while it is away nobody answers at all.
#[tokio::test]
async fn row_01_a_broker_that_restarts_is_found_again() {
    let mut broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let (log, _guard) = Log::capture(Level::INFO);
    broker.terminate();
    house.is_connected(false).await;
    broker.start_again().await;
    let back = clock::now();
    house.connected().await;
    broker.listen("doorstep/fake_1/info").await.next().await;
    assert!(back.elapsed() <= RECOVERY, "took {:?}", back.elapsed());
    assert_eq!((log.count("WARN", DOWN), log.count("INFO", UP)), (1, 1), "{}", log.text());
    assert_eq!(log.complaints().len(), 1, "{:?}", log.complaints());
}

#[tokio::test]
async fn row_01_no_ring_is_lost_when_the_connection_is_cut() {
    let broker = Mosquitto::start().await;
    let line = impair::Tcp::to(broker.port, Line::default(), 1).await;
    let house = House::with(FakeVendor::new(), settings(mosquitto::settings(line.port))).await;
    house.connected().await;
    let mut witness = broker.listen("doorstep/#").await;
    let vendor = house.vendor.clone();
    let ringing = tokio::spawn(async move {
        for n in 0..EVENTS {
            vendor.ring(&n.to_string());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        vendor.ring("last");
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        line.cut(Duration::from_millis(100)).await;
    }
    ringing.await.unwrap();
    let (mut rings, mut wills) = (BTreeSet::new(), 0);
    loop {
        let heard = witness.next().await;
        wills += usize::from(heard.to_string() == "doorstep/status|1|1|offline");
        if heard.topic == "doorstep/fake_1/ring" {
            match heard.json()["id"].as_str().unwrap() {
                "last" => break,
                id => rings.insert(id.to_owned()),
            };
        }
    }
    assert!(wills > 0, "the connection was never cut: the last will never came");
    tally(Figure::EventsDelivered, rings.len(), EVENTS);
    assert_eq!(rings.len(), EVENTS);
    assert_eq!(house.mqtt.counters()().events_dropped, 0);
    house.connected().await;
    witness.until_fence().await;
    assert_eq!(broker.retained("doorstep/status").await[0].payload, "online");
}

/// While it is away a doorbell comes, one goes and one rings. (A picture that the old broker had retained is not among
/// what comes back: it is told once.)
#[tokio::test]
async fn row_02_a_broker_that_was_killed_and_comes_back_empty_gets_everything_again() {
    let mut broker = Mosquitto::start().await;
    let line = impair::Tcp::to(broker.port, Line::default(), 1).await;
    let house = House::with(FakeVendor::new(), settings(mosquitto::settings(line.port))).await;
    house.connected().await;
    let neighbours = Neighbours::of(&house);
    neighbours.move_in(2..4);
    let model = Model::of(&house).await;
    model.is_reached_by(&broker).await;
    let (log, _guard) = Log::capture(Level::INFO);

    line.mode(Mode::Refuses);
    house.is_connected(false).await;
    broker.kill();
    broker.start_again().await;
    assert_eq!(broker.retained("#").await, [], "the broker has not forgotten");
    let mut witness = broker.listen("doorstep/fake_1/ring").await;
    neighbours.move_in(4..5);
    neighbours.move_out(2);
    house.vendor.ring("while-away");
    let rung = |state: &doorstep::model::State| state.last_ring.is_some();
    house.doorbell.state().wait_for(rung).await.unwrap();
    line.mode(Mode::Passes);
    let back = clock::now();
    model.is_reached_by(&broker).await;
    let took = back.elapsed();

    println!("everything retained {took:?} after the restart");
    let ring = tokio::time::timeout(PATIENCE, witness.next()).await.ok();
    tally(Figure::EventsDelivered, usize::from(ring.is_some()), 1);
    assert_eq!(ring.map(|heard| heard.json()["id"].clone()), Some("while-away".into()));
    assert!(took <= RECOVERY, "took {took:?}");
    assert!(
        broker.retained("doorstep/fake_2/#").await.is_empty() && !broker.retained("doorstep/fake_4/#").await.is_empty()
    );
    assert_eq!((log.count("WARN", DOWN), log.count("INFO", UP)), (1, 1), "{}", log.text());
    assert_eq!(log.complaints().len(), 1, "{:?}", log.complaints());
}

/// How often it is tried is `mqtt::backoff`'s to show, in its own time, and `nightly::`'s in real time.
#[tokio::test]
async fn row_03_without_a_broker_at_boot_pictures_play_and_it_is_found_once_it_is_there() {
    let mut broker = Mosquitto::start().await;
    broker.terminate();
    let (log, _guard) = Log::capture(Level::DEBUG);
    let camera = Camera::start(3, |_| {}).await;
    let service = Service::start(Some(broker.port), &[&camera]).await;
    service.page.is(&camera.id(), "ready").await;
    let mut watching = service.page.watch(&camera.id(), Manners::default()).await;
    watching.sees("pictures", |seen| seen.pictures().len() >= 5).await;
    let health = health(&service).await;
    assert_eq!((&health["mqtt"], &health["status"]), (&"disconnected".into(), &"degraded".into()), "{health}");
    assert_eq!((log.count("WARN", DOWN), log.count("INFO", UP)), (1, 0), "{}", log.text());
    let tried = log.count("", DOWN);

    broker.start_again().await;
    let back = clock::now();
    let mut witness = broker.listen(&format!("doorstep/{}/availability", camera.id())).await;
    while witness.next().await.payload != "online" {}
    let took = back.elapsed();
    println!("entities {took:?} after the broker; {tried} attempts before it");
    // 12 attempts a minute are 5 s from one to the next, to which the way there comes.
    assert!(took <= RECOVERY + Duration::from_millis(500), "took {took:?}");
    let connected = async { while self::health(&service).await["mqtt"] != "connected" {} };
    tokio::time::timeout(PATIENCE, connected).await.expect("it is told");
    let pictures = watching.sees("pictures", |_| true).await.pictures().len();
    watching.sees("pictures that go on", |seen| seen.pictures().len() > pictures).await;
    assert_eq!((log.count("WARN", DOWN), log.count("INFO", UP)), (1, 1), "{}", log.text());
}

async fn health(service: &Service) -> serde_json::Value {
    serde_json::from_str(&service.page.get("/health").await.body).unwrap()
}

/// That such a link is left is a matter of keep-alives, which are shorter in `mqtt::client`'s own tests and as they are
/// in `nightly::`. This is about those who publish meanwhile.
#[tokio::test]
async fn row_04_nobody_who_publishes_waits_for_a_silent_broker_and_nothing_is_lost() {
    let broker = Mosquitto::start().await;
    let line = impair::Tcp::to(broker.port, Line::default(), 4).await;
    let house = House::with(FakeVendor::new(), settings(mosquitto::settings(line.port))).await;
    house.connected().await;
    let mut witness = broker.listen("doorstep/fake_1/motion").await;
    let model = Model::of(&house).await;
    line.mode(Mode::Silent);
    let neighbours = Neighbours::of(&house);
    let mut took = Vec::new();
    for n in 0..EVENTS {
        tell_numbered(&house, n);
        if n % 12 == 0 {
            took.push(moves_in(&house, &neighbours, 2 + n / 12).await);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(witness.until_fence().await, [], "the link was not silent");
    assert_eq!(*house.mqtt.link().borrow(), MqttLink::Connected, "somebody was told");
    took.sort();
    println!("20 doorbells published in {took:?} each");
    // A machine that has other things to do may hold up one.
    assert!(took[18] <= Duration::from_millis(100), "published in {took:?}");

    line.mode(Mode::Passes);
    tell_numbered(&house, EVENTS);
    let (heard, _) = numbers_until(&mut witness, EVENTS).await;
    tally(Figure::EventsDelivered, heard.len(), EVENTS);
    assert_eq!(heard.len(), EVENTS);
    model.is_reached_by(&broker).await;
}

/// How long it takes until all that is told of a newcomer is published, as far as the outbox.
pub(crate) async fn moves_in(house: &House, neighbours: &Neighbours, n: usize) -> Duration {
    let mut topics = house.mqtt.retained_topics();
    let info = format!("doorstep/fake_{n}/info");
    let began = clock::now();
    neighbours.move_in(n..=n);
    topics.wait_for(|topics| topics.contains(&info)).await.unwrap();
    began.elapsed()
}

/// That it is tried at most twice a minute from then on, and goes on once the password is right, `mqtt::backoff` and
/// `nightly::` show.
#[tokio::test]
async fn row_05_a_wrong_password_is_told_once_and_not_tried_again_and_again() {
    let broker = Mosquitto::start_for("ada", "right").await;
    let (log, _guard) = Log::capture(Level::TRACE);
    let house = House::with(FakeVendor::new(), settings(ada(&broker, "wr0ng-secret"))).await;
    broker.logs("not authorised").await;
    // Long enough for a client that insists to insist.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(broker.log().matches("not authorised").count(), 1, "{}", broker.log());
    assert_eq!(*house.mqtt.link().borrow(), MqttLink::Disconnected);
    assert_eq!(log.count("ERROR", "refuses our user name or password; correct `mqtt.url`"), 1, "{}", log.text());
    assert_eq!(log.complaints().len(), 1, "{:?}", log.complaints());
    assert!(!log.text().contains("wr0ng-secret"), "{}", log.text());
    let stopped = clock::now();
    house.close().await;
    assert!(stopped.elapsed() < Duration::from_secs(1), "a stop waits for the next attempt");
}

pub(crate) fn ada(broker: &Mosquitto, password: &str) -> Broker {
    Broker::At(MqttUrl::parse(&format!("mqtt://ada:{password}@127.0.0.1:{}", broker.port)).unwrap())
}

#[tokio::test]
async fn row_06_of_two_with_one_client_id_the_second_gives_way_and_says_so() {
    let broker = Mosquitto::start().await;
    let (log, _guard) = Log::capture(Level::INFO);
    let first = House::on(&broker).await;
    let second = House::with(FakeVendor::new(), settings(broker.settings())).await;
    let mut closing = Box::pin(async {
        let mut link = second.mqtt.link();
        // The sender is gone once the second has given up.
        while link.changed().await.is_ok() {}
    });
    let gave_way = tokio::time::timeout(2 * PATIENCE, &mut closing).await;
    assert!(gave_way.is_ok(), "both are still at it");
    // The second connects, and comes back after each of three take-overs; the first comes back after each of those.
    let taken_over = broker.log().matches("already connected, closing old connection").count();
    assert!((5..=8).contains(&taken_over), "{taken_over} take-overs: {}", broker.log());
    let younger = "another Doorstep connects to this broker under our client id; stop it or give it its own";
    let older = "another Doorstep, started before this one, uses this broker under the same client id";
    assert_eq!((log.count("WARN", younger), log.count("ERROR", older)), (1, 1), "{}", log.text());
    first.connected().await;
    let mut witness = broker.listen("doorstep/fake_1/ring").await;
    first.vendor.ring("mine");
    assert_eq!(witness.next().await.json()["id"], "mine");
    assert_eq!(broker.log().matches("already connected, closing old connection").count(), taken_over);
    assert_eq!(broker.retained("doorstep/status").await[0].payload, "online");
    // Each of the two may say that it was down, and up again.
    assert!(log.complaints().len() <= 4, "{:?}", log.complaints());
}

/// With forty doorbells, so that it shows whether what is spread out ends in time.
#[tokio::test]
async fn row_07_a_birth_brings_each_topic_once_between_half_a_second_and_three() {
    let broker = Mosquitto::start().await;
    broker.publish("homeassistant/status", "online", &["-r"]);
    let house = House::on(&broker).await;
    let neighbours = Neighbours::of(&house);
    neighbours.move_in(2..41);
    let info = broker.listen("doorstep/fake_40/info").await.next().await;
    assert!(info.retain);
    let model = Model::of(&house).await;
    model.is_reached_by(&broker).await;
    let wanted = told(&broker).await;
    assert_eq!(wanted.len(), 2 + 40 * 6);
    let mut witness = broker.listen("#").await;
    witness.until_fence().await;
    // Live, a birth counts whether or not it is retained as well.
    for birth in [&["-r"] as &[&str], &[]] {
        let born = clock::now();
        broker.publish(BIRTH, "online", birth);
        assert_eq!(witness.next().await.topic, BIRTH);
        let mut all: Vec<(Duration, Heard)> = Vec::new();
        while all.len() < wanted.len() {
            let heard = witness.next().await;
            all.push((born.elapsed(), heard));
        }
        assert_eq!(witness.until_fence().await, [], "something came twice");
        let (first, last) = (all[0].0, all[all.len() - 1].0);
        println!("{} topics from {first:?} to {last:?} after the birth", all.len());
        assert!(first >= Duration::from_millis(500), "before Home Assistant can listen: {first:?}");
        assert!(last - first >= Duration::from_secs(1), "all at once: {first:?} to {last:?}");
        assert!(last <= Duration::from_millis(3_200), "too late: {last:?}");
        let mut heard: Vec<_> = all.into_iter().map(|(_, heard)| heard).collect();
        heard.sort_by(|a, b| a.topic.cmp(&b.topic));
        assert_eq!(heard, wanted, "each topic once, and as it is retained");
    }
    broker.publish(BIRTH, "offline", &[]);
    house.vendor.ring("last");
    witness.next_on("doorstep/fake_1/ring").await;
}

const BIRTH: &str = "homeassistant/status";

/// What is due for a birth comes within 3 s.
#[tokio::test]
async fn row_07_a_retained_birth_brings_no_double_and_two_at_once_are_one() {
    let broker = Mosquitto::start().await;
    broker.publish(BIRTH, "online", &["-r"]);
    let mut witness = broker.listen("#").await;
    witness.until_fence().await;
    let _house = House::on(&broker).await;
    let first = within(&mut witness, Duration::from_millis(3_500)).await;
    assert_eq!(first.len(), 9, "{first:?}");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 9, "something came twice: {first:?}");
    for _ in 0..2 {
        broker.publish(BIRTH, "online", &[]);
    }
    let again = within(&mut witness, Duration::from_millis(3_500)).await;
    assert_eq!(again[..2], [BIRTH, BIRTH]);
    assert_eq!(again.len(), 2 + 8, "{again:?}");
}

/// The topics of what comes in this time.
async fn within(witness: &mut Witness, time: Duration) -> Vec<String> {
    let end: Instant = clock::now() + time;
    let mut topics = Vec::new();
    while let Ok(heard) = tokio::time::timeout_at(end, witness.next()).await {
        topics.push(heard.topic);
    }
    topics
}
