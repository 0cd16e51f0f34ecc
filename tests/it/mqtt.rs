//! What users of MQTT rely on, shown on a real mosquitto by its own clients.

use std::collections::BTreeSet;
use std::time::Duration;

use doorstep::clock;
use doorstep::config::MqttUrl;
use doorstep::doorbell::{ActionError, Registry};
use doorstep::model::{Capability, DeviceId, DeviceInfo, Event, Link, Motion, MotionKind};
use doorstep::mqtt::{self, Broker, Button, Settings};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::fake_vendor::{FakeVendor, OnTalk};
use crate::support::home_assistant;
use crate::support::mosquitto::{self, Heard, Mosquitto, until};
use crate::support::mqtt_house::{House, no_accounts, settings};

fn heard(topic: &str, retain: bool, payload: &str) -> Heard {
    Heard { topic: topic.to_owned(), qos: 1, retain, payload: payload.to_owned() }
}

/// What stands on a topic once the doorbell is ready.
fn ready_state() -> Vec<Heard> {
    let info = r#"{"codecs":{"audio":null,"video":null},"last_error":null,"last_ring":null,"#.to_owned()
        + r#""last_ring_latency_ms":null,"link":"ready","speaking":null,"streams":{"whep":"http://doorstep.local:8480/whep/fake_1"},"#
        + r#""talk_obstacle":null,"transport":null,"viewers":0}"#;
    vec![
        heard("doorstep/fake_1/availability", true, "online"),
        heard("doorstep/fake_1/talk", true, "OFF"),
        heard("doorstep/fake_1/talk/availability", true, "online"),
        heard("doorstep/fake_1/stream", true, "OFF"),
        heard("doorstep/fake_1/info", true, &info),
    ]
}

/// Of a ring, which is told when it is there.
fn is_picture(heard: &Heard) -> bool {
    ["doorstep/fake_1/snapshot", "doorstep/fake_1/ring/picture"].contains(&heard.topic.as_str())
}

const DISCOVERY: &str = "homeassistant/device/doorstep_fake_1/config";
const BRIDGE: &str = "homeassistant/device/doorstep_bridge/config";

#[tokio::test]
async fn a_doorbell_appears_with_exactly_these_messages() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("#").await;
    let house = House::on(&broker).await;
    let [status, bridge, mark, discovery] =
        [witness.next().await, witness.next().await, witness.next().await, witness.next().await];
    assert_eq!(status, heard("doorstep/status", true, "online"));
    assert_eq!((bridge.topic.as_str(), bridge.qos, bridge.retain), (BRIDGE, 1, true));
    assert_eq!((mark.topic.as_str(), mark.qos, mark.retain), ("doorstep/bridge/instance", 1, true));
    assert_eq!((discovery.topic.as_str(), discovery.qos, discovery.retain), (DISCOVERY, 1, true));
    let expected: Value = serde_json::from_str(include_str!("expected/discovery.json")).unwrap();
    assert_eq!(json!({"bridge": bridge.json(), "doorbell": discovery.json()}), expected);

    let mut rest = Vec::new();
    while rest.len() < 5 {
        rest.push(witness.next().await);
    }
    assert_eq!(rest, ready_state());
    assert_eq!(witness.until_fence().await, [], "something more was sent");
    let topics: BTreeSet<_> = broker.retained("#").await.into_iter().map(|heard| heard.topic).collect();
    assert_eq!(*house.mqtt.retained_topics().borrow(), topics, "the list for `forget`");
}

#[tokio::test]
async fn home_assistant_takes_every_discovery_payload() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("homeassistant/#").await;
    use Capability::{Motion, Ring, Stream, Talk};
    let everything = [Ring, Motion, Stream, Talk];
    let names =
        ["Front Door", "<img src=x onerror=alert(1)>", "a/+/#", "", "\u{0}\n\t", "日本", "~", &"x".repeat(5_000)];
    let registry = Registry::default();
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    for (n, name) in names.iter().enumerate() {
        let info = DeviceInfo {
            id: DeviceId::parse(&format!("fake_{n}")).unwrap(),
            name: (*name).to_owned(),
            vendor: "fake",
            model: "M".to_owned(),
            firmware: None,
            capabilities: everything.into_iter().take(n % 5).collect(),
        };
        registry.insert(FakeVendor::of(info).doorbell(&stop));
    }
    let _mqtt = mqtt::start(settings(broker.settings()), registry, no_accounts(), stop.clone());
    for _ in 0..=names.len() {
        let discovery = witness.next().await;
        assert!(discovery.payload.len() < 16 * 1024, "{} bytes", discovery.payload.len());
        home_assistant::accepts(&discovery.topic, &discovery.json());
    }
    assert_eq!(witness.until_fence().await, [], "a name has made a topic");
}

#[tokio::test]
async fn a_page_whose_address_is_known_late_is_linked_then() {
    let broker = Mosquitto::start().await;
    let (tell, page_url) = watch::channel(None);
    let house = House::with(FakeVendor::new(), Settings { page_url, ..settings(broker.settings()) }).await;
    house.connected().await;
    let mut witness = broker.listen("#").await;
    let told = witness.until_fence().await;
    let device = |topic: &str| told.iter().find(|heard| heard.topic == topic).unwrap().json()["device"].clone();
    assert!([BRIDGE, DISCOVERY].iter().all(|topic| device(topic).get("configuration_url").is_none()), "{told:?}");
    tell.send_replace(Some("homeassistant://hassio/ingress/1a2b_doorstep".to_owned()));
    for heard in witness.next_of_each([BRIDGE, DISCOVERY]).await {
        home_assistant::accepts(&heard.topic, &heard.json());
        assert_eq!(heard.json()["device"]["configuration_url"], "homeassistant://hassio/ingress/1a2b_doorstep");
    }
    let info = broker.retained("doorstep/fake_1/info").await;
    assert!(info[0].json().get("streams").is_none(), "no player opens such an address: {info:?}");
}

#[tokio::test]
async fn a_ring_is_told_once_and_not_retained() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let mut witness = broker.listen("doorstep/fake_1/#").await;
    witness.until_fence().await;
    house.vendor.ring("e-1");
    house.vendor.ring("e-1");
    let ring = witness.next().await;
    let at = clock::rfc3339(house.doorbell.rings()[0].at);
    let payload = json!({"event_type": "ring", "id": "e-1", "at": at, "source": "cloud"});
    assert_eq!(ring, heard("doorstep/fake_1/ring", false, &ring.payload));
    assert_eq!(ring.json(), payload);
    let info = witness.next().await;
    assert_eq!((info.topic.as_str(), &info.json()["last_ring"]), ("doorstep/fake_1/info", &json!(at)));
    let more = witness.until_fence().await;
    assert!(more.iter().all(is_picture), "something more was sent: {more:?}");
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figure is for whoever reads the test's output")]
async fn a_ring_is_told_at_once() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let mut witness = broker.listen("doorstep/fake_1/ring").await;
    let mut took = Vec::new();
    for n in 0..21 {
        let rung = clock::now();
        house.vendor.ring(&format!("e-{n}"));
        assert_eq!(witness.next().await.json()["id"], format!("e-{n}"));
        took.push(rung.elapsed());
    }
    took.sort();
    println!("ring to mosquitto_sub: median {:?}, slowest {:?}", took[10], took[20]);
}

#[tokio::test]
async fn motion_is_told_by_kind_and_not_retained() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let mut witness = broker.listen("doorstep/fake_1/#").await;
    witness.until_fence().await;
    let at = clock::unix_now();
    let words = ["motion", "person", "face", "vehicle", "pet", "package", "sound"];
    for (kind, word) in MotionKind::ALL.into_iter().zip(words) {
        house.vendor.tell(Event::Motion(Motion { at, event_id: word.to_owned(), kind }));
        let motion = witness.next().await;
        assert_eq!(motion, heard("doorstep/fake_1/motion", false, &motion.payload));
        assert_eq!(motion.json(), json!({"event_type": word, "id": word, "at": clock::rfc3339(at)}));
    }
    assert_eq!(witness.until_fence().await, [], "something more was sent");
}

#[tokio::test]
async fn a_message_on_a_button_topic_rings() {
    let broker = Mosquitto::start().await;
    let button = |topic: &str, payload: Option<&str>| Button {
        topic: topic.to_owned(),
        payload: payload.map(str::to_owned),
        doorbell: DeviceId::parse("fake_1").unwrap(),
    };
    broker.publish("radio/any", "ON", &["-r"]);
    let mut settings = settings(broker.settings());
    settings.buttons =
        vec![button("radio/any", None), button("zigbee/+/action", Some("single")), button("bad/#/x", None)];
    let house = House::with(FakeVendor::new(), settings).await;
    house.connected().await;
    let mut witness = broker.listen("doorstep/fake_1/ring").await;
    for (topic, payload) in [("radio/any", "OFF"), ("zigbee/door/action", "double"), ("zigbee/door", "single")] {
        broker.publish(topic, payload, &[]);
    }
    broker.publish("radio/any", "", &["-r"]);
    broker.publish("zigbee/door/action", "single", &[]);
    let ring = witness.next().await;
    assert_eq!(ring.json()["source"], "button");
    assert_eq!(witness.until_fence().await, [], "rung by something else");
    assert_eq!(house.doorbell.rings().len(), 1);
}

#[tokio::test]
async fn the_talk_switch_opens_and_closes_the_speaker() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let mut witness = broker.listen("doorstep/fake_1/#").await;
    witness.until_fence().await;
    broker.publish("doorstep/fake_1/talk/set", "ON", &[]);
    house.vendor.until("an open speaker", |seen| seen.speaker_open).await;
    let [talk, result] = witness.next_of_each(["doorstep/fake_1/talk", "doorstep/fake_1/result"]).await;
    assert_eq!(talk, heard("doorstep/fake_1/talk", true, "ON"));
    assert_eq!(result, heard("doorstep/fake_1/result", false, &result.payload));
    let took = result.json()["took_ms"].as_u64().expect("milliseconds");
    let answer = json!({"command": "talk", "ok": true, "error": null, "took_ms": took, "id": null});
    assert_eq!(result.json(), answer);

    broker.publish("doorstep/fake_1/talk/set", r#"{"state":"off","id":42}"#, &["-q", "1"]);
    house.vendor.until("a closed speaker", |seen| !seen.speaker_open && seen.talks_ended == 1).await;
    let result = witness.next_on("doorstep/fake_1/result").await;
    assert_eq!((&result.json()["ok"], &result.json()["id"]), (&json!(true), &json!(42)));
    until("OFF", || !house.doorbell.state().borrow().talking).await;
    let talk = broker.retained("doorstep/fake_1/talk").await;
    assert_eq!(talk, [heard("doorstep/fake_1/talk", true, "OFF")]);
}

#[tokio::test]
async fn the_stream_switch_keeps_the_camera_up() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let mut witness = broker.listen("doorstep/fake_1/#").await;
    witness.until_fence().await;
    broker.publish("doorstep/fake_1/stream/set", "on", &[]);
    let mut state = house.doorbell.state();
    state.wait_for(|state| state.link == Link::Streaming).await.unwrap();
    let [stream, result] = witness.next_of_each(["doorstep/fake_1/stream", "doorstep/fake_1/result"]).await;
    assert_eq!(stream, heard("doorstep/fake_1/stream", true, "ON"));
    assert_eq!(result.json()["ok"], true);
    broker.publish("doorstep/fake_1/stream/set", "OFF", &[]);
    state.wait_for(|state| !state.stream_switch).await.unwrap();
    assert_eq!(witness.next_on("doorstep/fake_1/stream").await, heard("doorstep/fake_1/stream", true, "OFF"));
}

#[tokio::test]
async fn a_refused_talk_is_answered_with_its_reason() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    house.vendor.on_talk(OnTalk::Refuses(ActionError::Refused { why: "battery is low".to_owned() }));
    let mut witness = broker.listen("doorstep/fake_1/result").await;
    broker.publish("doorstep/fake_1/talk/set", "ON", &[]);
    let result = witness.next().await.json();
    assert_eq!((&result["ok"], &result["error"]), (&json!(false), &json!("the doorbell refused: battery is low")));
}

#[tokio::test]
async fn a_command_beyond_the_queue_is_answered_busy() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    house.vendor.on_talk(OnTalk::Hangs);
    let mut witness = broker.listen("doorstep/fake_1/result").await;
    broker.publish("doorstep/fake_1/talk/set", "ON", &[]);
    house.vendor.until("a talk asked for", |seen| seen.talks_asked == 1).await;
    for n in 0..9 {
        broker.publish("doorstep/fake_1/stream/set", format!(r#"{{"state":"ON","id":{n}}}"#), &[]);
    }
    let result = witness.next().await.json();
    assert_eq!((&result["ok"], &result["id"]), (&json!(false), &json!(8)), "{result}");
    assert!(result["error"].as_str().unwrap().starts_with("busy"), "{result}");
    house.vendor.answer_talk();
    for n in [json!(null), json!(0), json!(1), json!(2), json!(3), json!(4), json!(5), json!(6), json!(7)] {
        let result = witness.next().await.json();
        assert_eq!((&result["ok"], &result["id"]), (&json!(true), &n), "{result}");
    }
}

#[tokio::test]
async fn what_is_no_command_is_answered_and_changes_nothing() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let mut witness = broker.listen("doorstep/+/result").await;
    let payloads: [&[u8]; 7] = [b"1", b"TOGGLE", b" ON", b"{}", br#"{"state":7}"#, b"\xff\xfe\x00", &[b'x'; 100_000]];
    for payload in payloads {
        broker.publish("doorstep/fake_1/talk/set", payload, &[]);
        let result = witness.next().await;
        let expected = r#"the payload must be ON, OFF or {"state":"ON"}"#;
        assert_eq!((&result.json()["ok"], &result.json()["error"]), (&json!(false), &json!(expected)));
    }
    broker.publish("doorstep/fake_9/talk/set", "ON", &[]);
    let result = witness.next_on("doorstep/fake_9/result").await;
    assert_eq!(result.json()["error"], "there is no such doorbell");
    for topic in ["doorstep/NOT AN ID/talk/set", "doorstep/fake_1/lock/set", "doorstep/fake_1/talk/set/x"] {
        broker.publish(topic, "ON", &[]);
    }
    broker.publish("doorstep/fake_1/talk/set", "", &[]);
    assert_eq!(witness.until_fence().await, [], "answered what was never asked");
    let counters = house.mqtt.counters()();
    assert_eq!(counters.commands_refused, 8);
    assert!(counters.named().contains(&("mqtt_commands_refused_total", 8)), "not in `/metrics`");
    assert_eq!(house.vendor.seen().talks_asked, 0);
}

#[tokio::test]
async fn a_command_of_a_megabyte_is_survived() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    broker.publish("doorstep/fake_1/talk/set", vec![b'x'; 1 << 20], &[]);
    until("a new connection", || broker.log().matches(" as doorstep-test ").count() == 2).await;
    house.connected().await;
    broker.publish("doorstep/fake_1/talk/set", "ON", &[]);
    house.vendor.until("an open speaker", |seen| seen.speaker_open).await;
}

#[tokio::test]
async fn a_retained_command_of_a_megabyte_is_erased() {
    let broker = Mosquitto::start().await;
    broker.publish("doorstep/fake_1/talk/set", vec![b'x'; 1 << 20], &["-r"]);
    let mut witness = broker.listen("doorstep/fake_1/talk/set").await;
    assert_eq!(witness.next().await.payload.len(), 1 << 20);
    let house = House::with(FakeVendor::new(), settings(broker.settings())).await;
    assert_eq!(witness.next().await, heard("doorstep/fake_1/talk/set", true, ""));
    house.connected().await;
    broker.publish("doorstep/fake_1/talk/set", "ON", &[]);
    house.vendor.until("an open speaker", |seen| seen.speaker_open).await;
}

#[tokio::test]
async fn a_retained_command_is_refused_and_erased() {
    let broker = Mosquitto::start().await;
    let topics = ["doorstep/fake_1/talk/set", "doorstep/gone_1/stream/set"];
    topics.iter().for_each(|topic| broker.publish(topic, "ON", &["-r"]));
    let mut witness = broker.listen("doorstep/+/#").await;
    witness.until_fence().await;
    let house = House::on(&broker).await;
    let mut heard_of = BTreeSet::new();
    while heard_of.len() < 4 {
        let heard = witness.next().await;
        if heard.topic.ends_with("/set") {
            assert_eq!((heard.payload.as_str(), heard.retain), ("", true), "{heard}");
            heard_of.insert(heard.topic);
        } else if heard.topic.ends_with("/result") {
            let error = "retained commands are refused and erased; publish without the retain flag";
            assert_eq!((&heard.json()["ok"], &heard.json()["error"]), (&json!(false), &json!(error)));
            heard_of.insert(heard.topic);
        }
    }
    let more = witness.until_fence().await;
    assert!(!more.iter().any(|heard| heard.topic.ends_with("/set") || heard.topic.ends_with("/result")), "{more:?}");
    assert_eq!(broker.retained("doorstep/+/+/set").await, []);
    let seen = house.vendor.seen();
    assert_eq!((seen.talks_asked, house.mqtt.counters()().commands_refused), (0, 2));
}

#[tokio::test]
async fn commands_sent_while_we_were_away_are_not_carried_out() {
    let broker = Mosquitto::start().await;
    broker.leave_session("doorstep-test", "doorstep/+/talk/set");
    broker.publish("doorstep/fake_1/talk/set", "ON", &["-q", "1"]);
    let house = House::on(&broker).await;
    let mut witness = broker.listen("doorstep/fake_1/result").await;
    broker.publish("doorstep/fake_1/stream/set", "ON", &[]);
    assert_eq!(witness.next().await.json()["command"], "stream");
    assert_eq!(house.vendor.seen().talks_asked, 0);
}

#[tokio::test]
async fn a_stop_says_offline_and_leaves_properly() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    broker.publish("doorstep/fake_1/talk/set", "ON", &[]);
    house.vendor.until("an open speaker", |seen| seen.speaker_open).await;
    let mut witness = broker.listen("doorstep/#").await;
    witness.until_fence().await;
    let stopped = clock::now();
    house.close().await;
    assert!(stopped.elapsed() < Duration::from_secs(2), "took {:?}", stopped.elapsed());
    let all: Vec<_> = witness.until_fence().await;
    let said = |what: &str| all.iter().filter(|heard| heard.to_string() == what).count();
    assert_eq!(said("doorstep/fake_1/availability|1|1|offline"), 1, "{all:?}");
    assert_eq!(said("doorstep/fake_1/talk|1|1|OFF"), 1, "{all:?}");
    assert_eq!(said("doorstep/status|1|1|offline"), 1, "{all:?}");
    assert_eq!(all.last().map(|heard| heard.topic.as_str()), Some("doorstep/status"));
    broker.logs("Received DISCONNECT from doorstep-test").await;
}

#[tokio::test]
async fn a_stop_without_a_broker_takes_no_time() {
    let house = House::with(FakeVendor::new(), settings(mosquitto::settings(mosquitto::free_port()))).await;
    let stopped = clock::now();
    house.close().await;
    assert!(stopped.elapsed() < Duration::from_millis(500), "took {:?}", stopped.elapsed());
}

#[tokio::test]
async fn doorbells_come_and_go_while_we_run() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let mut witness = broker.listen("#").await;
    witness.until_fence().await;
    house.registry.remove(&house.doorbell.info().id);
    let mut cleared = BTreeSet::new();
    while cleared.len() < 8 {
        let heard = witness.next().await;
        if heard.payload.is_empty() {
            assert!(heard.retain, "{heard}");
            cleared.insert(heard.topic);
        }
    }
    assert_eq!(witness.until_fence().await, [], "told of a doorbell that is gone");
    let left: Vec<_> = broker.retained("#").await.into_iter().map(|heard| heard.topic).collect();
    assert_eq!(left, ["doorstep/bridge/instance", "doorstep/status", BRIDGE]);

    house.registry.insert(house.doorbell.clone());
    assert_eq!(witness.next().await.topic, DISCOVERY);
    let mut again = Vec::new();
    while again.len() < 5 {
        again.push(witness.next().await);
    }
    assert_eq!(again, ready_state());
}

#[tokio::test]
async fn forget_leaves_nothing_at_the_broker() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let topics: Vec<_> = house.mqtt.retained_topics().borrow().iter().cloned().collect();
    house.close().await;
    assert_eq!(mqtt::forget(&mosquitto::url(broker.port), &topics).await, Ok(9));
    assert_eq!(broker.retained("#").await, []);
}

#[tokio::test]
async fn the_right_password_is_used() {
    let broker = Mosquitto::start_for("ada", "p-ss").await;
    let login = Broker::At(MqttUrl::parse(&format!("mqtt://ada:p-ss@127.0.0.1:{}", broker.port)).unwrap());
    House::with(FakeVendor::new(), settings(login)).await.connected().await;
}
