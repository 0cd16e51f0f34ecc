//! What is published on `say` is heard at the door and answered once; what cannot be said is answered and not heard.

use std::sync::Arc;
use std::time::Duration;

use doorstep::doorbell::voice::Unspoken;
use doorstep::model::Capability;
use serde_json::{Value, json};

use crate::support::fake_vendor::FakeVendor;
use crate::support::fake_voice::{FakeVoice, OnSay};
use crate::support::home_assistant;
use crate::support::mosquitto::{Mosquitto, Witness};
use crate::support::mqtt_house::{House, no_accounts, settings};

const SAY: &str = "doorstep/fake_1/say";
const STOP: &str = "doorstep/fake_1/say/stop";
const RESULT: &str = "doorstep/fake_1/result";
const INFO: &str = "doorstep/fake_1/info";
const DISCOVERY: &str = "homeassistant/device/doorstep_fake_1/config";

async fn on(broker: &Mosquitto) -> (House, Arc<FakeVoice>) {
    let voice = FakeVoice::new();
    voice.knows("hello", Duration::from_millis(200), 1_000);
    voice.knows("long", Duration::from_secs(30), 1_000);
    voice.on("later", OnSay::Hangs);
    let house = House::of(FakeVendor::new(), voice.options(), no_accounts(), settings(broker.settings())).await;
    house.connected().await;
    (house, voice)
}

async fn result(results: &mut Witness) -> Value {
    let heard = results.next().await;
    assert_eq!((heard.qos, heard.retain), (1, false));
    heard.json()
}

#[tokio::test]
async fn a_text_is_said_and_answered_with_how_long_everything_took() {
    let broker = Mosquitto::start().await;
    let (house, voice) = on(&broker).await;
    let mut results = broker.listen(RESULT).await;
    for (payload, id) in [("hello", Value::Null), (r#"{"text":"hello","volume":0.5,"id":"k-7"}"#, json!("k-7"))] {
        broker.publish(SAY, payload, &[]);
        let told = result(&mut results).await;
        for key in ["took_ms", "waited_ms", "prepared_ms", "opened_ms"] {
            assert!(told[key].is_u64(), "{key}: {told}");
        }
        let outcome = (&told["command"], &told["ok"], &told["error"], &told["id"]);
        assert_eq!(outcome, (&json!("say"), &json!(true), &Value::Null, &id));
        assert_eq!((&told["played_ms"], &told["whole"]), (&json!(200), &json!(true)));
    }
    assert_eq!(voice.asked(), ["hello", "hello"]);
    assert!(house.vendor.seen().heard.concat().len() >= 2 * 8 * 200);
}

#[tokio::test]
async fn what_is_said_is_shown_and_ends_when_it_is_told_to() {
    let broker = Mosquitto::start().await;
    let (house, _voice) = on(&broker).await;
    let mut witness = broker.listen("doorstep/fake_1/+").await;
    broker.publish(SAY, r#"{"text":"long","id":1}"#, &["-q", "1"]);
    broker.publish(SAY, r#"{"text":"hello","id":2}"#, &["-q", "1"]);
    let speaking = json!({"source": "text", "clip": null, "queued": 1});
    while witness.next_on(INFO).await.json()["speaking"] != speaking {}
    house.vendor.until("an open speaker", |seen| seen.speaker_open).await;
    broker.publish(STOP, "STOP", &["-q", "1"]);
    // In any order: the command, what it ended, and what it left unsaid.
    let mut told = Vec::new();
    while told.len() < 3 {
        told.push(witness.next_on(RESULT).await.json());
    }
    told.sort_by_key(|told| told["id"].as_u64());
    assert_eq!((&told[0]["command"], &told[0]["ok"]), (&json!("stop_saying"), &json!(true)));
    assert_eq!((&told[1]["ok"], &told[1]["whole"]), (&json!(true), &json!(false)), "{}", told[1]);
    assert_eq!((&told[2]["ok"], &told[2]["error"]), (&json!(false), &json!("it was stopped before it began")));
    house.vendor.until("a closed speaker", |seen| !seen.speaker_open).await;
    broker.publish(SAY, "hello", &[]);
    assert_eq!(witness.next_on(RESULT).await.json()["whole"], true, "what came before the stop ended what came after");
}

#[tokio::test]
async fn switching_talk_off_ends_what_is_said() {
    let broker = Mosquitto::start().await;
    let (house, _voice) = on(&broker).await;
    let mut results = broker.listen(RESULT).await;
    broker.publish(SAY, "long", &[]);
    house.vendor.until("an open speaker", |seen| seen.speaker_open).await;
    broker.publish("doorstep/fake_1/talk/set", "OFF", &[]);
    let mut told = [result(&mut results).await, result(&mut results).await];
    told.sort_by_key(|told| told["command"].to_string());
    assert_eq!((&told[0]["whole"], &told[1]["command"]), (&json!(false), &json!("talk")));
    house.vendor.until("a closed speaker", |seen| !seen.speaker_open).await;
}

#[tokio::test]
async fn nobody_is_talked_over_and_no_more_than_four_wait() {
    let broker = Mosquitto::start().await;
    let (house, _voice) = on(&broker).await;
    let mut results = broker.listen(RESULT).await;
    let talker = house.doorbell.start_talk(1).await.unwrap();
    broker.publish(SAY, "hello", &[]);
    assert_eq!(result(&mut results).await["error"], "somebody else is talking");
    drop(talker);
    house.doorbell.state().wait_for(|state| !state.talking).await.unwrap();
    for n in 1..=6 {
        broker.publish(SAY, json!({"text": "later", "id": n}).to_string(), &["-q", "1"]);
    }
    let full = result(&mut results).await;
    assert_eq!((&full["id"], &full["error"]), (&json!(6), &json!("4 things wait to be said already")));
    broker.publish(STOP, "STOP", &[]);
    assert_eq!(house.vendor.seen().heard.len(), 0);
}

#[tokio::test]
async fn what_cannot_be_said_is_answered_with_the_reason_and_opens_no_speaker() {
    let broker = Mosquitto::start().await;
    let (house, voice) = on(&broker).await;
    voice.on("nobody", OnSay::Refuses(Unspoken::Unavailable("There is no engine. Install one.".to_owned())));
    let mut results = broker.listen(RESULT).await;
    let long = "x".repeat(10_000);
    let cases: [(&[u8], &str); 17] = [
        (b"nobody", "There is no engine. Install one."),
        (b"{\"clip\":\"gone\"}", "Nobody knows `gone`."),
        (long.as_bytes(), "8192 bytes"),
        (&long.as_bytes()[..1_001], "1001 characters"),
        (b"  ", "nothing to be said"),
        (b"Gr\xfc\xdf Gott", "UTF-8"),
        (b"{", "must be JSON"),
        (b"{}", "Exactly one"),
        (b"{\"text\":7}", "`text` must be text"),
        (b"{\"text\":\"a\",\"url\":\"http://example.com/\"}", "Exactly one"),
        (b"{\"text\":\"a\",\"volume\":-1}", "volume"),
        (b"{\"text\":\"a\",\"volume\":2}", "volume"),
        (b"{\"text\":\"a\",\"volume\":\"loud\"}", "volume"),
        (b"{\"text\":\"a\",\"volume\":NaN}", "must be JSON"),
        (b"{\"url\":\"file:///etc/passwd\"}", "http://"),
        (b"{\"clip\":\"../x\"}", "no such clip"),
        (b"{\"clip\":\"%2e%2e\"}", "no such clip"),
    ];
    for (payload, why) in cases {
        broker.publish(SAY, payload, &[]);
        let told = result(&mut results).await;
        assert_eq!((&told["command"], &told["ok"]), (&json!("say"), &json!(false)), "{told}");
        let error = told["error"].as_str().unwrap();
        assert!(error.contains(why) && error.len() < 200, "{:?}: {error}", String::from_utf8_lossy(payload));
    }
    assert_eq!(voice.asked(), ["nobody", "gone"]);
    assert_eq!(house.vendor.seen().talks_asked, 0);
    assert_eq!(house.mqtt.counters()().commands_refused, 15);
}

#[tokio::test]
async fn what_was_retained_is_refused_erased_and_never_said() {
    let broker = Mosquitto::start().await;
    let topics = [SAY, STOP, "doorstep/fake_1/siren/set", "doorstep/fake_1/clip/set"];
    topics.iter().for_each(|topic| broker.publish(topic, "hello", &["-r"]));
    let mut results = broker.listen(RESULT).await;
    let (house, voice) = on(&broker).await;
    let mut commands = Vec::new();
    for _ in topics {
        let told = result(&mut results).await;
        assert!(told["error"].as_str().unwrap().contains("retained"), "{told}");
        commands.push(told["command"].as_str().unwrap().to_owned());
    }
    commands.sort();
    assert_eq!(commands, ["clip", "say", "siren", "stop_saying"]);
    for topic in topics {
        assert_eq!(broker.retained(topic).await, [], "{topic}");
    }
    assert!(voice.asked().is_empty());
    assert_eq!(house.vendor.seen().talks_asked, 0);
}

#[tokio::test]
async fn an_unknown_doorbell_is_told_so() {
    let broker = Mosquitto::start().await;
    let (_house, voice) = on(&broker).await;
    let mut results = broker.listen("doorstep/nobody/result").await;
    broker.publish("doorstep/nobody/say", r#"{"text":"hello","id":3}"#, &[]);
    let told = result(&mut results).await;
    assert_eq!((&told["error"], &told["id"]), (&json!("there is no such doorbell"), &json!(3)));
    assert!(voice.asked().is_empty());
}

#[tokio::test]
async fn home_assistant_gets_a_notifier_and_a_button_that_ends_it_where_there_is_a_speaker() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("homeassistant/#").await;
    let (house, _voice) = on(&broker).await;
    let discovery = witness.next_on(DISCOVERY).await.json();
    home_assistant::accepts(DISCOVERY, &discovery);
    let (say, stop) = (&discovery["components"]["say"], &discovery["components"]["stop_saying"]);
    assert_eq!(
        (&say["platform"], &say["command_topic"], &say["retain"]),
        (&json!("notify"), &json!(SAY), &json!(false))
    );
    assert_eq!(
        say["availability"], discovery["components"]["talk"]["availability"],
        "nobody can talk, nothing is said"
    );
    assert_eq!((&stop["platform"], &stop["command_topic"]), (&json!("button"), &json!(STOP)));
    house.close().await;
    let mute = House::with(FakeVendor::with([Capability::Ring]), settings(broker.settings())).await;
    let discovery = witness.next_on(DISCOVERY).await.json();
    assert!(discovery["components"].get("say").is_none_or(|say| say.get("name").is_none()), "{discovery}");
    mute.connected().await;
    let mut results = broker.listen(RESULT).await;
    broker.publish(SAY, "hello", &[]);
    assert!(result(&mut results).await["error"].as_str().unwrap().contains("it has no speaker"));
}
