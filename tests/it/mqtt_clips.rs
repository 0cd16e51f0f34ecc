//! Clips are tones of a siren and a list to choose from, for as long as there are any.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake_vendor::FakeVendor;
use crate::support::fake_voice::FakeVoice;
use crate::support::home_assistant;
use crate::support::mosquitto::{Mosquitto, Witness};
use crate::support::mqtt_house::{House, no_accounts, settings};

const SIREN: &str = "doorstep/fake_1/siren";
const SIREN_SET: &str = "doorstep/fake_1/siren/set";
const CLIP: &str = "doorstep/fake_1/clip";
const CLIP_SET: &str = "doorstep/fake_1/clip/set";
const RESULT: &str = "doorstep/fake_1/result";
const DISCOVERY: &str = "homeassistant/device/doorstep_fake_1/config";

async fn on(broker: &Mosquitto, clips: &[&str]) -> (House, Arc<FakeVoice>) {
    let voice = FakeVoice::new();
    clips.iter().for_each(|clip| voice.has_clip(clip, Duration::from_millis(200)));
    let house = House::of(FakeVendor::new(), voice.options(), no_accounts(), settings(broker.settings())).await;
    house.connected().await;
    (house, voice)
}

async fn played(results: &mut Witness) -> Value {
    let told = results.next().await.json();
    assert_eq!((&told["ok"], &told["whole"]), (&json!(true), &json!(true)), "{told}");
    told
}

#[tokio::test]
async fn clips_come_to_home_assistant_and_go_with_the_last_one() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("homeassistant/#").await;
    let (_house, voice) = on(&broker, &[]).await;
    let components = witness.next_on(DISCOVERY).await.json()["components"].clone();
    assert!(components.get("clips").is_none() && components.get("clip").is_none(), "{components}");
    voice.has_clip("back_door", Duration::from_millis(200));
    voice.has_clip("at_work", Duration::from_millis(200));
    let components = loop {
        let discovery = witness.next_on(DISCOVERY).await.json();
        home_assistant::accepts(DISCOVERY, &discovery);
        if discovery["components"]["clip"]["options"] == json!(["at_work", "back_door"]) {
            break discovery["components"].clone();
        }
    };
    let (siren, select) = (&components["clips"], &components["clip"]);
    assert_eq!(
        (&siren["platform"], &siren["state_topic"], &siren["command_topic"]),
        (&json!("siren"), &json!(SIREN), &json!(SIREN_SET))
    );
    assert_eq!(siren["available_tones"], json!(["at_work", "back_door"]));
    assert_eq!(
        (&select["platform"], &select["state_topic"], &select["command_topic"]),
        (&json!("select"), &json!(CLIP), &json!(CLIP_SET))
    );
    assert_eq!(siren["availability"], components["talk"]["availability"]);
    voice.loses_clip("back_door");
    voice.loses_clip("at_work");
    let gone = loop {
        let components = witness.next_on(DISCOVERY).await.json()["components"].clone();
        if components["clips"].get("name").is_none() {
            break components;
        }
    };
    assert_eq!((&gone["clips"], &gone["clip"]), (&json!({"platform": "siren"}), &json!({"platform": "select"})));
    witness.until_fence().await;
    assert_eq!((broker.retained(SIREN).await, broker.retained(CLIP).await), (vec![], vec![]));
}

#[tokio::test]
async fn a_siren_of_home_assistant_plays_the_clip_that_it_names() {
    let broker = Mosquitto::start().await;
    let (_house, voice) = on(&broker, &["at_work", "back_door"]).await;
    let mut witness = broker.listen("doorstep/fake_1/+").await;
    let [siren, clip] = witness.next_of_each([SIREN, CLIP]).await;
    assert_eq!((siren.payload.as_str(), clip.payload.as_str()), ("OFF", "None"));
    // As its MQTT siren writes it.
    let payload = r#"{"state": "ON", "tone": "back_door", "volume_level": 0.5, "duration": 1}"#;
    broker.publish(SIREN_SET, payload, &[]);
    let [siren, clip, told] = witness.next_of_each([SIREN, CLIP, RESULT]).await;
    assert_eq!((siren.payload.as_str(), siren.retain, clip.payload.as_str()), ("ON", true, "back_door"));
    let told = told.json();
    assert_eq!((&told["command"], &told["played_ms"]), (&json!("siren"), &json!(1_000)), "over and over for a second");
    assert_eq!(voice.asked(), ["back_door"]);
}

#[tokio::test]
async fn a_siren_without_a_tone_plays_the_last_clip_or_else_the_first() {
    let broker = Mosquitto::start().await;
    let (_house, voice) = on(&broker, &["at_work", "back_door"]).await;
    let mut results = broker.listen(RESULT).await;
    for (topic, payload, command) in
        [(SIREN_SET, r#"{"state":"ON"}"#, "siren"), (CLIP_SET, "back_door", "clip"), (SIREN_SET, "ON", "siren")]
    {
        broker.publish(topic, payload, &[]);
        assert_eq!(played(&mut results).await["command"], command);
    }
    assert_eq!(voice.asked(), ["at_work", "back_door", "back_door"]);
    voice.loses_clip("back_door");
    broker.publish(SIREN_SET, "ON", &[]);
    played(&mut results).await;
    assert_eq!(voice.asked().last().unwrap(), "at_work", "what is gone is not played");
}

#[tokio::test]
async fn off_ends_what_is_played_and_nothing_is_shown_any_more() {
    let broker = Mosquitto::start().await;
    let (house, voice) = on(&broker, &[]).await;
    voice.has_clip("long", Duration::from_secs(30));
    let mut results = broker.listen(RESULT).await;
    broker.publish(CLIP_SET, "long", &[]);
    house.vendor.until("an open speaker", |seen| seen.speaker_open).await;
    broker.publish(SIREN_SET, r#"{"state": "OFF"}"#, &[]);
    let told = [results.next().await.json(), results.next().await.json()];
    assert!(told.iter().any(|told| told["command"] == "siren" && told["ok"] == true), "{told:?}");
    assert!(told.iter().any(|told| told["command"] == "clip" && told["whole"] == false), "{told:?}");
    house.doorbell.state().wait_for(|state| state.speaking.is_none()).await.unwrap();
    let shown = async |topic: &str, payload: &str| {
        crate::support::mosquitto::until(topic, || broker.retained_bytes(topic).as_deref() == Some(payload.as_bytes()))
            .await;
    };
    shown(SIREN, "OFF").await;
    shown(CLIP, "None").await;
}

#[tokio::test]
async fn what_is_no_clip_is_refused_and_a_siren_without_clips_too() {
    let broker = Mosquitto::start().await;
    let (house, voice) = on(&broker, &[]).await;
    let mut results = broker.listen(RESULT).await;
    for (topic, payload, why) in [
        (SIREN_SET, "ON", "no clips"),
        (SIREN_SET, "LOUD", "ON, OFF or JSON"),
        (SIREN_SET, r#"{"state":"ON","tone":"../x"}"#, "no such clip"),
        (SIREN_SET, r#"{"state":"ON","tone":"gone"}"#, "Nobody knows `gone`"),
        (SIREN_SET, r#"{"state":"ON","volume_level":2}"#, "volume"),
        (SIREN_SET, r#"{"state":"ON","duration":3600}"#, "1 to 60"),
        (CLIP_SET, "../x", "no such clip"),
        (CLIP_SET, "%2e%2e", "no such clip"),
        (CLIP_SET, "gone", "Nobody knows `gone`"),
    ] {
        broker.publish(topic, payload, &[]);
        let told = results.next().await.json();
        assert!(told["error"].as_str().is_some_and(|error| error.contains(why)), "{payload}: {told}");
    }
    assert_eq!(voice.asked(), ["gone", "gone"]);
    assert_eq!(house.vendor.seen().talks_asked, 0);
}
