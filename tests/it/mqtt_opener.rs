//! An opener in the doorbell over MQTT: a button or a lock as its owner wants, guarded as a lock is (mqtt_lock.rs has
//! what both have in common).

use std::collections::BTreeSet;
use std::sync::Arc;

use doorstep::clock;
use doorstep::doorbell::{ActionError, Options};
use doorstep::model::OpenerEntity;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mqtt_lock::PAYLOADS;
use crate::support::fake_lock::opener;
use crate::support::fake_vendor::{FakeVendor, OnOpen};
use crate::support::home_assistant;
use crate::support::mosquitto::{Heard, Mosquitto, Witness};
use crate::support::mqtt_house::{House, no_accounts, settings};
use crate::support::score::{Figure, tally};

const DISCOVERY: &str = "homeassistant/device/doorstep_fake_1/config";
const COMMAND: &str = "doorstep/fake_1/lock/set";
const RESULT: &str = "doorstep/fake_1/result";

/// A doorbell `fake_1` with an opener that its owner has enabled, and the face.
struct Gate {
    house: House,
    vendor: Arc<FakeVendor>,
    data: TempDir,
}

impl Gate {
    async fn on(broker: &Mosquitto, entity: OpenerEntity, secret: Option<&str>) -> Self {
        let (vendor, data) = (FakeVendor::new(), tempfile::tempdir().unwrap());
        vendor.on_open(OnOpen::Opens);
        let options = Options { doors: [opener(entity, secret, data.path())].into(), ..Options::default() };
        let house = House::of(vendor.clone(), options, no_accounts(), settings(broker.settings())).await;
        house.connected().await;
        Self { house, vendor, data }
    }

    /// Of each line of the audit log.
    fn audit(&self) -> Vec<(Value, Value, Value)> {
        let log = std::fs::read_to_string(self.data.path().join("audit.jsonl")).unwrap_or_default();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| (line["kind"].clone(), line["action"].clone(), line["result"].clone())).collect()
    }

    /// How often the doorbell was asked, and how often it opened.
    fn seen(&self) -> (usize, usize) {
        let seen = self.vendor.seen();
        (seen.opens_asked, seen.opened)
    }
}

/// Sends `payload` again and again until it is judged by what it says, and returns the answer.
async fn judged(broker: &Mosquitto, witness: &mut Witness, payload: &str) -> Value {
    loop {
        broker.publish(COMMAND, payload, &[]);
        let result = witness.next_on(RESULT).await.json();
        if !result["error"].as_str().is_some_and(|error| error.contains("first 2 s")) {
            return result;
        }
    }
}

fn heard(topic: &str, payload: &str) -> Heard {
    Heard { topic: topic.to_owned(), qos: 1, retain: true, payload: payload.to_owned() }
}

async fn discovery(witness: &mut Witness) -> Value {
    let discovery = witness.next_on(DISCOVERY).await.json();
    home_assistant::accepts(DISCOVERY, &discovery);
    discovery["components"].clone()
}

/// Of all that may stand for a door, what does.
fn doors(components: &Value) -> BTreeSet<&str> {
    let keys = components.as_object().unwrap().keys().map(String::as_str);
    keys.filter(|key| ["lock", "lock_state", "open_door", "garage", "garage_state"].contains(key)).collect()
}

fn availability() -> Value {
    json!([{"topic": "doorstep/status"}, {"topic": "doorstep/fake_1/lock/availability"}])
}

#[tokio::test]
async fn an_opener_is_a_button() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("#").await;
    let gate = Gate::on(&broker, OpenerEntity::Button, None).await;
    let components = discovery(&mut witness).await;
    assert_eq!(doors(&components), ["open_door"].into());
    let expected = json!({
        "platform": "button",
        "unique_id": "doorstep_fake_1_open_door",
        "default_entity_id": "button.front_door_open_door",
        "name": "Open door",
        "icon": "mdi:door-open",
        "command_topic": COMMAND,
        "payload_press": "OPEN",
        "retain": false,
        "availability": availability(),
    });
    assert_eq!(components["open_door"], expected);
    let mut left = broker.retained("doorstep/fake_1/lock/#").await;
    left.sort_by(|a, b| a.topic.cmp(&b.topic));
    assert_eq!(left, [heard("doorstep/fake_1/lock", "LOCKED"), heard("doorstep/fake_1/lock/availability", "online")]);
    gate.house.close().await;
    assert_eq!(broker.retained("doorstep/fake_1/lock/availability").await[0].payload, "offline");
}

#[tokio::test]
async fn an_opener_is_a_lock_that_can_be_opened_where_its_owner_wants_that() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("#").await;
    let _gate = Gate::on(&broker, OpenerEntity::Lock, None).await;
    let components = discovery(&mut witness).await;
    assert_eq!(doors(&components), ["lock"].into());
    let expected = json!({
        "platform": "lock",
        "unique_id": "doorstep_fake_1_lock",
        "default_entity_id": "lock.front_door_lock",
        "name": "Lock",
        "state_topic": "doorstep/fake_1/lock",
        "command_topic": COMMAND,
        "payload_lock": "LOCK",
        "payload_unlock": "UNLOCK",
        "payload_open": "OPEN",
        "optimistic": false,
        "retain": false,
        "availability": availability(),
    });
    assert_eq!(components["lock"], expected);
}

#[tokio::test]
async fn an_opener_is_never_a_button_and_a_lock_at_once() {
    for (before, after, gone, key) in [
        (OpenerEntity::Button, OpenerEntity::Lock, ("open_door", "button"), "lock"),
        (OpenerEntity::Lock, OpenerEntity::Button, ("lock", "lock"), "open_door"),
    ] {
        let broker = Mosquitto::start().await;
        let gate = Gate::on(&broker, before, None).await;
        let mut witness = broker.listen("#").await;
        discovery(&mut witness).await;
        gate.house.close().await;

        let gate = Gate::on(&broker, after, None).await;
        let (gone, platform) = gone;
        let mut components = Value::Null;
        while components[gone] != json!({"platform": platform}) {
            components = witness.next_on(DISCOVERY).await.json()["components"].clone();
        }
        assert!(components[key]["command_topic"] == COMMAND, "{components}");
        witness.until_fence().await;
        let stands: Vec<_> = broker.retained("doorstep/fake_1/lock").await;
        assert_eq!(stands, [heard("doorstep/fake_1/lock", "LOCKED")], "taken away with what it was shown by");
        gate.house.close().await;

        // What is gone was said once; the next start says nothing of it any more.
        let _gate = Gate::on(&broker, after, None).await;
        let mut witness = broker.listen("#").await;
        witness.until_fence().await;
        let components = broker.retained(DISCOVERY).await[0].json()["components"].clone();
        assert_eq!(doors(&components), [key].into());
    }
}

#[tokio::test]
async fn an_opener_that_is_enabled_no_more_vanishes() {
    for entity in [OpenerEntity::Button, OpenerEntity::Lock] {
        let broker = Mosquitto::start().await;
        let gate = Gate::on(&broker, entity, None).await;
        let mut witness = broker.listen("#").await;
        witness.next_on("doorstep/fake_1/lock/availability").await;
        gate.house.close().await;
        let vendor = FakeVendor::new();
        vendor.on_open(OnOpen::Opens);
        let house = House::with(vendor, settings(broker.settings())).await;
        house.connected().await;
        // Reduced to its platform, which tells Home Assistant to take it away.
        let gone = |components: &Value| {
            let doors = doors(components);
            !doors.is_empty() && doors.iter().all(|key| components[key].as_object().unwrap().len() == 1)
        };
        while !gone(&witness.next_on(DISCOVERY).await.json()["components"]) {}
        while !broker.retained("doorstep/fake_1/lock/#").await.is_empty() {}
        house.close().await;
    }
}

#[tokio::test]
async fn an_opener_that_wants_signatures_is_shown_and_cannot_be_worked() {
    for entity in [OpenerEntity::Button, OpenerEntity::Lock] {
        let broker = Mosquitto::start().await;
        let mut witness = broker.listen("#").await;
        let gate = Gate::on(&broker, entity, Some("a secret of some length")).await;
        let components = discovery(&mut witness).await;
        assert_eq!(doors(&components), ["lock_state"].into());
        assert!(!components.to_string().contains("lock/set"), "{components}");
        let refused = judged(&broker, &mut witness, "OPEN").await;
        assert!(refused["error"].as_str().unwrap().contains("`mac`"), "{refused}");
        assert_eq!(gate.seen(), (0, 0));
    }
}

#[tokio::test]
async fn an_opener_opens_by_both_words_and_locks_by_none() {
    let broker = Mosquitto::start().await;
    let gate = Gate::on(&broker, OpenerEntity::Lock, None).await;
    let mut witness = broker.listen("doorstep/fake_1/#").await;
    let locked = judged(&broker, &mut witness, "LOCK").await;
    assert_eq!((&locked["command"], &locked["ok"]), (&json!("lock"), &json!(false)));
    assert!(locked["error"].as_str().unwrap().contains("cannot lock it"), "{locked}");
    let opened = judged(&broker, &mut witness, "OPEN").await;
    let took = opened["took_ms"].clone();
    assert_eq!(opened, json!({"command": "unlock", "ok": true, "error": null, "took_ms": took, "id": null}));
    let again = judged(&broker, &mut witness, "UNLOCK").await;
    assert!(again["error"].as_str().unwrap().contains("within the last 3 s"), "{again}");
    let now = clock::unix_now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let open = json!({"cmd": "open", "id": "a", "ts": now}).to_string();
    assert_eq!(judged(&broker, &mut witness, &open).await["command"], Value::Null);
    assert_eq!(gate.seen(), (1, 1));
    let line = |action: &str, result: &str| (json!("lock"), json!(action), json!(result));
    let audit = gate.audit();
    let carried_out: Vec<_> = audit.iter().filter(|(.., result)| result != "refused").cloned().collect();
    assert_eq!(carried_out, [line("unlock", "allowed"), line("unlock", "done")], "{audit:?}");
    assert!(audit.contains(&line("lock", "refused")), "{audit:?}");
}

#[tokio::test]
async fn whoever_presses_is_told_when_the_door_has_not_opened_and_when_nobody_knows() {
    let broker = Mosquitto::start().await;
    let gate = Gate::on(&broker, OpenerEntity::Button, None).await;
    let mut witness = broker.listen("doorstep/fake_1/#").await;
    let echo = ActionError::Refused { why: "the doorbell only repeated the command and opened nothing".to_owned() };
    for (n, (says, said)) in [
        (echo, "the doorbell only repeated the command and opened nothing"),
        (
            ActionError::Timeout,
            "the doorbell did not say whether the door opened; look at the door before you try again",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        gate.vendor.on_open(OnOpen::Says(says));
        let mut result = judged(&broker, &mut witness, "OPEN").await;
        while result["error"].as_str().unwrap().contains("within the last 3 s") {
            result = judged(&broker, &mut witness, "OPEN").await;
        }
        assert_eq!((&result["ok"], &result["error"]), (&json!(false), &json!(said)));
        assert_eq!(gate.seen(), (n + 1, 0), "it was asked again");
    }
}

#[tokio::test]
async fn row_08_a_stale_retained_open_is_refused_erased_and_written_down() {
    let broker = Mosquitto::start().await;
    broker.publish(COMMAND, "OPEN", &["-r"]);
    let mut witness = broker.listen("doorstep/#").await;
    witness.next_on(COMMAND).await;
    let gate = Gate::on(&broker, OpenerEntity::Button, None).await;
    let [erased, result] = witness.next_of_each([COMMAND, RESULT]).await;
    assert_eq!((erased.payload.as_str(), erased.retain), ("", true));
    assert!(result.json()["error"].as_str().unwrap().contains("without the retain flag"), "{result}");
    assert_eq!(broker.retained(COMMAND).await, []);
    assert_eq!(gate.audit(), [(json!("lock"), json!("unlock"), json!("refused"))]);
    tally(Figure::UnlocksRefused, 1 - gate.seen().0, 1);
    assert_eq!(gate.seen(), (0, 0));
}

/// Each of them twice: while we are away, and while we are here.
#[tokio::test]
async fn row_11_nothing_but_its_two_words_opens_an_enabled_opener_and_nothing_that_was_kept_does() {
    let broker = Mosquitto::start().await;
    for payload in PAYLOADS {
        broker.publish(COMMAND, payload, &["-r"]);
        let gate = Gate::on(&broker, OpenerEntity::Button, None).await;
        while !broker.retained(COMMAND).await.is_empty() {}
        assert_eq!(gate.seen(), (0, 0), "{payload}, kept");
        gate.house.close().await;
    }
    let gate = Gate::on(&broker, OpenerEntity::Button, None).await;
    let mut witness = broker.listen(RESULT).await;
    for payload in PAYLOADS.into_iter().filter(|payload| !["OPEN", "UNLOCK"].contains(payload)) {
        let result = judged(&broker, &mut witness, payload).await;
        assert_eq!(result["ok"], false, "{payload}: {result}");
    }
    assert_eq!(gate.seen(), (0, 0));
    for other in ["doorstep/fake_1/garage/set", "doorstep/fake_1/open_door/set", "doorstep/fake_1/unlock/set"] {
        broker.publish_on_each([other].into_iter(), "OPEN", false);
    }
    assert_eq!(witness.until_fence().await, [], "answered what was never asked");
    assert_eq!(judged(&broker, &mut witness, "OPEN").await["ok"], true);
    // Those that were kept were each seen to open nothing.
    let tried = 2 * PAYLOADS.len() - 2 + 3;
    tally(Figure::UnlocksRefused, tried - (gate.seen().0 - 1), tried);
    tally(Figure::UnlocksDone, usize::from(gate.seen() == (1, 1)), 1);
    assert_eq!(gate.seen(), (1, 1));
}
