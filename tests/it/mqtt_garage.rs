//! A garage door over MQTT: a cover, guarded as a lock is (mqtt_lock.rs has what both have in common).

use std::sync::Arc;

use doorstep::clock;
use doorstep::doorbell::{Options, Registry};
use doorstep::model::{DoorKind, LockAction, LockState};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::fake_lock::{FakeLock, door};
use crate::support::fake_vendor::FakeVendor;
use crate::support::home_assistant;
use crate::support::mosquitto::{Heard, Mosquitto, Witness};
use crate::support::mqtt_house::{House, no_accounts, settings};
use crate::support::score::{Figure, tally};

const DISCOVERY: &str = "homeassistant/device/doorstep_fake_1/config";
const GARAGE: &str = "doorstep/fake_1/garage/set";
const LOCK: &str = "doorstep/fake_1/lock/set";
const RESULT: &str = "doorstep/fake_1/result";

/// A doorbell `fake_1` with a lock and a garage door, and the face.
struct Drive {
    house: House,
    lock: Arc<FakeLock>,
    garage: Arc<FakeLock>,
    data: TempDir,
    _stop: DropGuard,
}

impl Drive {
    async fn on(broker: &Mosquitto, secret: Option<&str>) -> Self {
        let (data, locks, stop) = (tempfile::tempdir().unwrap(), Registry::default(), CancellationToken::new());
        let (lock, garage) = (FakeLock::new("fake_lock"), FakeLock::new("fake_garage"));
        for device in [&lock, &garage] {
            device.live(&locks, &stop).await;
        }
        let doors = [(DoorKind::Lock, &lock), (DoorKind::Garage, &garage)];
        let doors = doors.map(|(kind, lock)| door(kind, lock, secret, &locks, data.path())).into();
        let options = Options { doors, ..Options::default() };
        let house = House::of(FakeVendor::new(), options, no_accounts(), settings(broker.settings())).await;
        house.connected().await;
        Self { house, lock, garage, data, _stop: stop.drop_guard() }
    }

    /// Of each line of the audit log.
    fn audit(&self) -> Vec<(Value, Value, Value)> {
        let log = std::fs::read_to_string(self.data.path().join("audit.jsonl")).unwrap_or_default();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| (line["kind"].clone(), line["action"].clone(), line["result"].clone())).collect()
    }
}

/// Sends `payload` again and again until it is judged by what it says, and returns the answer.
async fn judged(broker: &Mosquitto, witness: &mut Witness, topic: &str, payload: &str) -> Value {
    loop {
        broker.publish(topic, payload, &[]);
        let result = witness.next_on(RESULT).await.json();
        if !result["error"].as_str().is_some_and(|error| error.contains("first 2 s")) {
            return result;
        }
    }
}

fn heard(topic: &str, payload: &str) -> Heard {
    Heard { topic: topic.to_owned(), qos: 1, retain: true, payload: payload.to_owned() }
}

#[tokio::test]
async fn an_enabled_garage_door_is_a_cover_beside_the_lock() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("#").await;
    let drive = Drive::on(&broker, None).await;
    let discovery = witness.next_on(DISCOVERY).await.json();
    home_assistant::accepts(DISCOVERY, &discovery);
    let expected = json!({
        "platform": "cover",
        "device_class": "garage",
        "unique_id": "doorstep_fake_1_garage",
        "default_entity_id": "cover.front_door_garage",
        "name": "Garage door",
        "state_topic": "doorstep/fake_1/garage",
        "value_template": "{{ 'open' if value == 'stopped' else value }}",
        "command_topic": GARAGE,
        "payload_open": "OPEN",
        "payload_close": "CLOSE",
        "payload_stop": null,
        "optimistic": false,
        "retain": false,
        "availability": [{"topic": "doorstep/status"}, {"topic": "doorstep/fake_1/garage/availability"}],
    });
    assert_eq!(discovery["components"]["garage"], expected);
    assert_eq!(discovery["components"]["lock"]["command_topic"], LOCK);
    drive.house.close().await;
    let mut left = broker.retained("doorstep/fake_1/garage/#").await;
    left.sort_by(|a, b| a.topic.cmp(&b.topic));
    let topics = ["doorstep/fake_1/garage", "doorstep/fake_1/garage/availability"];
    assert_eq!(left, [heard(topics[0], "None"), heard(topics[1], "offline")]);
}

#[tokio::test]
async fn a_garage_door_opens_and_closes_and_the_lock_beside_it_stays_as_it_is() {
    let broker = Mosquitto::start().await;
    let drive = Drive::on(&broker, None).await;
    let mut witness = broker.listen("doorstep/fake_1/#").await;
    let opened = judged(&broker, &mut witness, GARAGE, "OPEN").await;
    let took = opened["took_ms"].clone();
    assert_eq!(opened, json!({"command": "open", "ok": true, "error": null, "took_ms": took, "id": null}));
    assert_eq!(judged(&broker, &mut witness, GARAGE, "CLOSE").await["command"], "close");
    tally(Figure::UnlocksDone, usize::from(drive.garage.acts() == [LockAction::Unlock, LockAction::Lock]), 1);
    assert_eq!(drive.garage.acts(), [LockAction::Unlock, LockAction::Lock]);
    assert_eq!(drive.lock.acts(), []);
    let line = |action: &str, result: &str| (json!("garage"), json!(action), json!(result));
    let audit = drive.audit();
    let carried_out = audit.iter().filter(|(.., result)| result != "refused").cloned().collect::<Vec<_>>();
    let expected = [line("open", "allowed"), line("open", "done"), line("close", "allowed"), line("close", "done")];
    assert_eq!(carried_out, expected, "{audit:?}");
}

#[tokio::test]
async fn row_11_a_command_for_one_door_is_none_for_the_other() {
    let broker = Mosquitto::start().await;
    let drive = Drive::on(&broker, None).await;
    let mut witness = broker.listen(RESULT).await;
    for (topic, payload) in [(GARAGE, "UNLOCK"), (GARAGE, "LOCK"), (GARAGE, "STOP"), (LOCK, "CLOSE"), (LOCK, "OPEN")] {
        let result = judged(&broker, &mut witness, topic, payload).await;
        assert_eq!((&result["ok"], &result["command"]), (&json!(false), &Value::Null), "{topic} {payload}");
    }
    let now = clock::unix_now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let unlock = json!({"cmd": "unlock", "id": "a", "ts": now}).to_string();
    assert_eq!(judged(&broker, &mut witness, GARAGE, &unlock).await["ok"], false);
    // Each has a memory of its own, so the same id counts once at each.
    let open = json!({"cmd": "open", "id": "a", "ts": now}).to_string();
    assert_eq!(judged(&broker, &mut witness, GARAGE, &open).await["ok"], true);
    assert_eq!(judged(&broker, &mut witness, LOCK, &unlock).await["ok"], true);
    let again = judged(&broker, &mut witness, GARAGE, &open).await;
    assert_eq!((&again["ok"], &again["id"]), (&json!(false), &json!("a")));
    let opened = [&drive.garage, &drive.lock].map(|door| door.acts().len());
    // Five words of the other door, one command of the lock at the garage door, and the one that came again.
    tally(Figure::UnlocksRefused, 7 - (opened.iter().sum::<usize>() - 2), 7);
    tally(Figure::UnlocksDone, opened.iter().filter(|acts| **acts == 1).count(), 2);
    assert_eq!((drive.garage.acts(), drive.lock.acts()), (vec![LockAction::Unlock], vec![LockAction::Unlock]));
}

#[tokio::test]
async fn row_08_a_stale_retained_open_is_refused_erased_and_written_down() {
    let broker = Mosquitto::start().await;
    broker.publish(GARAGE, "OPEN", &["-r"]);
    let mut witness = broker.listen("doorstep/#").await;
    witness.next_on(GARAGE).await;
    let drive = Drive::on(&broker, None).await;
    let [erased, result] = witness.next_of_each([GARAGE, RESULT]).await;
    assert_eq!((erased.payload.as_str(), erased.retain), ("", true));
    assert!(result.json()["error"].as_str().unwrap().contains("without the retain flag"), "{result}");
    assert_eq!(broker.retained(GARAGE).await, []);
    assert_eq!(drive.audit(), [(json!("garage"), json!("open"), json!("refused"))]);
    tally(Figure::UnlocksRefused, 1 - drive.garage.acts().len(), 1);
    assert_eq!(drive.garage.acts(), []);
}

#[tokio::test]
async fn a_garage_door_that_wants_signatures_is_shown_and_cannot_be_worked() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("#").await;
    let drive = Drive::on(&broker, Some("a secret of some length")).await;
    let discovery = witness.next_on(DISCOVERY).await.json();
    home_assistant::accepts(DISCOVERY, &discovery);
    assert!(discovery["components"].get("garage").is_none(), "{discovery}");
    let shown = &discovery["components"]["garage_state"];
    assert_eq!((&shown["platform"], &shown["device_class"]), (&json!("binary_sensor"), &json!("garage_door")));
    assert!(!discovery.to_string().contains("garage/set"), "{discovery}");
    let refused = judged(&broker, &mut witness, GARAGE, "OPEN").await;
    assert!(refused["error"].as_str().unwrap().contains("`mac`"), "{refused}");
    assert_eq!(drive.garage.acts(), []);
}

#[tokio::test]
async fn a_garage_door_shows_how_it_stands_and_why_it_takes_no_command() {
    let broker = Mosquitto::start().await;
    let drive = Drive::on(&broker, None).await;
    let mut witness = broker.listen("doorstep/fake_1/garage").await;
    let stands = async |witness: &mut Witness| witness.next_on("doorstep/fake_1/garage").await.payload;
    assert_eq!(stands(&mut witness).await, "closed");
    for (state, word) in [
        (Some(LockState::Unlocking), "opening"),
        (Some(LockState::Unlocked), "open"),
        (Some(LockState::Locking), "closing"),
        (Some(LockState::Jammed), "stopped"),
        (None, "None"),
    ] {
        drive.garage.stand(state, None);
        assert_eq!(stands(&mut witness).await, word);
    }
    let mut witness = broker.listen("doorstep/fake_1/#").await;
    witness.until_fence().await;
    drive.garage.stand(None, Some("Its motor is hot."));
    let topics = ["doorstep/fake_1/garage/availability", "doorstep/fake_1/info"];
    let [availability, info] = witness.next_of_each(topics).await;
    assert_eq!(availability, heard(topics[0], "offline"));
    assert_eq!(
        (&info.json()["garage_blocked"], &info.json()["lock_blocked"]),
        (&json!("Its motor is hot."), &json!(null))
    );
}
