//! A whole app of other people's parts at the virtual Vivint account: Google's SDK signals, aiortc speaks. Of it we
//! changed nothing but the addresses, and of us it knows nothing but the first line of `doorstep sim vivint`.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::aiortc;
use crate::firebase_sdk::{self, Sdk};
use crate::promise;
use crate::vivint::VirtualVivint;

pub(crate) fn tests() -> Vec<Trial> {
    vec![promise("a_foreign_app_is_heard_at_the_door_while_it_talks", is_heard)]
}

/// Why these tests cannot run here: each part says so itself.
pub(crate) fn missing() -> Option<String> {
    firebase_sdk::missing().or_else(aiortc::missing).map(|part| format!("a foreign app: it needs {part}"))
}

async fn is_heard() {
    let mut vivint = VirtualVivint::start("none").await;
    let (mut database, mut voice) = (Sdk::begin(&vivint, "call"), aiortc::run("vivint_app.py", ""));
    let offer = voice.says("offer").await;
    database.type_line(&json!({ "offer": offer }).to_string()).await;
    voice.tell(&database.says().await).await;
    assert_eq!(voice.says("open").await, true);
    for (said, heard) in [("0a00", "1200"), ("4a00", "5200")] {
        voice.tell(&json!({ "say": said })).await;
        assert_eq!(voice.says("said").await, heard);
    }
    vivint.event("talk_started").await;
    voice.tell(&json!({ "speak": true })).await;
    let is_tone = |event: &Value| event["tone_hz"].as_f64().is_some_and(|hz| (hz - 440.0).abs() < 20.0);
    vivint.event_with("talk_audio", is_tone).await;
    voice.tell(&json!({ "say": "5a00" })).await;
    assert_eq!(voice.says("said").await, "6200");
    vivint.event("talk_ended").await;
    voice.tell(&json!({ "hang_up": true })).await;
    vivint.event("call_ended").await;
    database.type_line("").await;
    assert_eq!(database.says().await, "hung up");
}
