//! A doorbell that changes, changes in Home Assistant too: what it cannot do any more vanishes there, and
//! nothing flickers that stays.

use doorstep::model::{Capability, DeviceInfo};
use serde_json::{Value, json};

use crate::support::fake_vendor::FakeVendor;
use crate::support::home_assistant;
use crate::support::mosquitto::{Mosquitto, until};
use crate::support::mqtt_house::{House, settings};

const DISCOVERY: &str = "homeassistant/device/doorstep_fake_1/config";

fn change(house: &House, change: impl FnOnce(&mut DeviceInfo)) {
    let mut info = house.doorbell.info().as_ref().clone();
    change(&mut info);
    house.doorbell.update(info);
}

fn without(mut payload: Value, gone: &[&str]) -> Value {
    payload["components"].as_object_mut().unwrap().retain(|component, _| !gone.contains(&component.as_str()));
    payload
}

#[tokio::test]
async fn a_rename_changes_one_message_and_no_entity() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let mut witness = broker.listen("#").await;
    let before = witness.until_fence().await.into_iter().find(|heard| heard.topic == DISCOVERY).unwrap().json();
    change(&house, |info| {
        info.name = "Garden Gate".to_owned();
        info.firmware = Some("2.0".to_owned());
    });
    let heard = witness.next().await;
    assert_eq!((heard.topic.as_str(), heard.retain), (DISCOVERY, true));
    let after = heard.json();
    assert_eq!((&after["device"]["name"], &after["device"]["sw_version"]), (&json!("Garden Gate"), &json!("2.0")));
    let entities = |payload: &Value| -> Vec<_> {
        let components = payload["components"].as_object().unwrap();
        components.iter().map(|(key, component)| (key.clone(), component["unique_id"].clone())).collect()
    };
    assert_eq!(entities(&after), entities(&before));
    assert_eq!(witness.until_fence().await, [], "something more was sent");
}

#[tokio::test]
async fn what_a_doorbell_cannot_do_any_more_vanishes_and_comes_back() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    let mut witness = broker.listen("#").await;
    let before = witness.until_fence().await.into_iter().find(|heard| heard.topic == DISCOVERY).unwrap().json();

    change(&house, |info| {
        info.capabilities.remove(&Capability::Talk);
    });
    let topics = [DISCOVERY, "doorstep/fake_1/talk", "doorstep/fake_1/talk/availability"];
    let [discovery, talk, possible] = witness.next_of_each(topics).await;
    assert_eq!(discovery.json()["components"]["talk"], json!({"platform": "switch"}));
    let gone = ["talk", "say", "stop_saying"];
    assert_eq!(without(discovery.json(), &gone), without(before.clone(), &gone), "something else has changed");
    assert_eq!((talk.payload.as_str(), talk.retain), ("", true));
    assert_eq!((possible.payload.as_str(), possible.retain), ("", true));
    assert_eq!(witness.until_fence().await, [], "something more was sent");

    change(&house, |info| {
        info.capabilities.insert(Capability::Talk);
    });
    let [discovery, talk, possible] = witness.next_of_each(topics).await;
    assert_eq!(discovery.json(), before);
    assert_eq!((talk.payload.as_str(), talk.retain), ("OFF", true));
    assert_eq!((possible.payload.as_str(), possible.retain), ("online", true));
    home_assistant::accepts(DISCOVERY, &discovery.json());
}

#[tokio::test]
async fn what_only_a_former_run_could_do_vanishes() {
    let broker = Mosquitto::start().await;
    House::on(&broker).await.close().await;
    assert_eq!(broker.retained("doorstep/fake_1/talk").await.len(), 1);

    let vendor = FakeVendor::with([Capability::Ring, Capability::Stream]);
    let house = House::with(vendor, settings(broker.settings())).await;
    house.connected().await;
    let mut witness = broker.listen("#").await;
    let mut discovery = witness.next_on(DISCOVERY).await.json();
    while discovery["components"].get("talk").is_none() {
        discovery = witness.next_on(DISCOVERY).await.json();
    }
    let components = &discovery["components"];
    assert_eq!(
        (&components["talk"], &components["motion"]),
        (&json!({"platform": "switch"}), &json!({"platform": "event"}))
    );
    assert_eq!(components["ring"]["unique_id"], "doorstep_fake_1_ring");
    gone(&broker, "doorstep/fake_1/talk/#").await;
    house.close().await;

    // Once is enough: the run after that does not speak of it any more.
    let vendor = FakeVendor::with([Capability::Ring, Capability::Stream]);
    let house = House::with(vendor, settings(broker.settings())).await;
    house.connected().await;
    let mut witness = broker.listen("homeassistant/#").await;
    while witness.next_on(DISCOVERY).await.json()["components"].get("talk").is_some() {}
    house.close().await;
}

/// Waits until nothing is retained on `topic`.
async fn gone(broker: &Mosquitto, topic: &str) {
    for _ in 0..100 {
        if broker.retained(topic).await.is_empty() {
            return;
        }
    }
    panic!("{topic} is still retained");
}

#[tokio::test]
async fn what_others_have_retained_on_a_discovery_topic_is_overwritten() {
    let broker = Mosquitto::start().await;
    let foreign = [
        "no json".to_owned(),
        "[".repeat(5_000),
        json!({"components": {"x": {"platform": "lock", "state_topic": "doorstep/#", "name": 7}, "Y Z": 7}})
            .to_string(),
        json!({"components": {"x": {"platform": "lock", "state_topic": "other/light", "availability": {"topic": 1}}}})
            .to_string(),
    ];
    for payload in foreign {
        broker.publish("other/light", "on", &["-r"]);
        broker.publish(DISCOVERY, payload, &["-r"]);
        let house = House::on(&broker).await;
        let mut witness = broker.listen(DISCOVERY).await;
        let discovery = witness.next_on(DISCOVERY).await;
        assert_eq!(discovery.json()["components"]["ring"]["unique_id"], "doorstep_fake_1_ring");
        house.close().await;
        assert_eq!(broker.retained("other/light").await.len(), 1, "a foreign topic was cleared");
    }
}

#[tokio::test]
async fn a_doorbell_that_is_gone_is_subscribed_to_no_more() {
    let broker = Mosquitto::start().await;
    let house = House::on(&broker).await;
    broker.logs(DISCOVERY).await;
    house.registry.remove(&house.doorbell.info().id);
    until("an UNSUBSCRIBE", || broker.log().contains("Received UNSUBSCRIBE from doorstep-test")).await;
    house.registry.insert(house.doorbell.clone());
    let subscribed = || broker.log().matches(&format!("\t{DISCOVERY} (QoS 1)")).count();
    until("a second subscription", || subscribed() == 2).await;
    house.close().await;
}
