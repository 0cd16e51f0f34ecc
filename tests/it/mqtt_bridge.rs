//! The device that stands for Doorstep itself: how each account does, and a button that has devices listed anew.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use doorstep::clock;
use doorstep::doorbell::{Registry, Vendor};
use doorstep::model::{Account, AccountLink, RateLimit};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::fake_account::FakeAccount;
use crate::support::fake_vendor::FakeVendor;
use crate::support::home_assistant;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt_house::{House, accounts, settings};

const BRIDGE: &str = "homeassistant/device/doorstep_bridge/config";
const PRESS: &str = "doorstep/bridge/rediscover/set";

async fn house(broker: &Mosquitto, vendors: &[Arc<FakeAccount>]) -> (House, DropGuard) {
    let stop = CancellationToken::new();
    let vendors = vendors.iter().map(|vendor| vendor.clone() as Arc<dyn Vendor>).collect();
    let accounts = accounts(vendors, &Registry::default(), &stop);
    let house = House::of(FakeVendor::new(), Default::default(), accounts, settings(broker.settings())).await;
    (house, stop.drop_guard())
}

#[tokio::test]
async fn each_account_is_a_sensor() {
    let broker = Mosquitto::start().await;
    let vendors = [FakeAccount::new(), FakeAccount::new()];
    let (house, _accounts) = house(&broker, &vendors).await;
    house.connected().await;
    let mut witness = broker.listen("#").await;
    let bridge = witness.next_on(BRIDGE).await.json();
    home_assistant::accepts(BRIDGE, &bridge);
    let names: Vec<_> = (0..2).map(|n| bridge["components"][format!("account_{n}")]["name"].clone()).collect();
    assert_eq!(names, ["Fake account", "Fake account 2"]);
    let expected = json!({
        "platform": "sensor",
        "unique_id": "doorstep_bridge_account_1",
        "name": "Fake account 2",
        "icon": "mdi:account",
        "entity_category": "diagnostic",
        "state_topic": "doorstep/bridge/account/1",
        "value_template": "{{ value_json.state }}",
        "json_attributes_topic": "doorstep/bridge/account/1",
        "availability": [{"topic": "doorstep/status"}],
    });
    assert_eq!(bridge["components"]["account_1"], expected);
}

#[tokio::test]
async fn an_account_tells_how_it_does_and_why() {
    let broker = Mosquitto::start().await;
    let vendors = [FakeAccount::new()];
    let (house, _accounts) = house(&broker, &vendors).await;
    house.connected().await;
    let mut witness = broker.listen("doorstep/bridge/account/#").await;
    let nothing = json!({"state": "starting", "vendor": "fake", "devices": 0, "why": null, "rate_limit": null});
    assert_eq!(witness.next().await.json(), nothing);
    let resets_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let why = || "Wyze wants a code. Enter it on the page.".to_owned();
    let cases: [(AccountLink, usize, Option<RateLimit>, Value); 3] = [
        (
            AccountLink::Ready,
            8,
            Some(RateLimit { remaining: 250, resets_at }),
            json!({"state": "ready", "vendor": "fake", "devices": 8, "why": null,
                   "rate_limit": {"remaining": 250, "resets_at": clock::rfc3339(resets_at)}}),
        ),
        (
            AccountLink::NeedsCode { why: why() },
            8,
            None,
            json!({"state": "needs_code", "vendor": "fake", "devices": 8, "why": why(), "rate_limit": null}),
        ),
        (
            AccountLink::NeedsAttention { why: why() },
            0,
            None,
            json!({"state": "needs_attention", "vendor": "fake", "devices": 0, "why": why(), "rate_limit": null}),
        ),
    ];
    for (link, devices, rate_limit, expected) in cases {
        vendors[0].stands(Account { link, devices, rate_limit, ..Account::default() });
        let heard = witness.next().await;
        assert_eq!((heard.json(), heard.retain, heard.qos), (expected, true, 1));
    }
}

#[tokio::test]
async fn the_button_has_every_account_list_its_devices_anew() {
    let broker = Mosquitto::start().await;
    let vendors = [FakeAccount::new(), FakeAccount::new()];
    let (house, _accounts) = house(&broker, &vendors).await;
    house.connected().await;
    let mut witness = broker.listen("doorstep/bridge/result").await;
    for payload in ["ON", "press", "PRESS ", "{}"] {
        broker.publish(PRESS, payload, &[]);
        let result = witness.next().await.json();
        let expected = json!({"command": "rediscover", "ok": false, "error": "the payload must be PRESS", "took_ms": 0, "id": null});
        assert_eq!(result, expected, "{payload:?}");
    }
    broker.publish(PRESS, "PRESS", &["-q", "1"]);
    let result = witness.next().await.json();
    assert_eq!((&result["command"], &result["ok"]), (&json!("rediscover"), &json!(true)));
    for vendor in &vendors {
        vendor.until_asked(|asked| asked.rediscoveries == 1).await;
    }
    broker.publish(PRESS, "PRESS", &[]);
    let result = witness.next().await.json();
    let expected = "the accounts were asked to list their devices less than 10 s ago";
    assert_eq!((&result["ok"], &result["error"]), (&json!(false), &json!(expected)));
    assert_eq!(vendors[0].asked().rediscoveries, 1);
    assert_eq!(house.mqtt.counters()().commands_refused, 5);
}

#[tokio::test]
async fn a_retained_press_is_refused_and_erased() {
    let broker = Mosquitto::start().await;
    broker.publish(PRESS, "PRESS", &["-r"]);
    let mut witness = broker.listen("doorstep/bridge/#").await;
    witness.next_on(PRESS).await;
    let vendors = [FakeAccount::new()];
    let (_house, _accounts) = house(&broker, &vendors).await;
    let [erased, result] = witness.next_of_each([PRESS, "doorstep/bridge/result"]).await;
    assert_eq!((erased.payload.as_str(), erased.retain), ("", true));
    let error = "retained commands are refused and erased; publish without the retain flag";
    assert_eq!((&result.json()["ok"], &result.json()["error"]), (&json!(false), &json!(error)));
    assert_eq!(vendors[0].asked().rediscoveries, 0);
}

#[tokio::test]
async fn an_account_that_comes_while_it_runs_is_a_sensor_and_one_that_goes_leaves_nothing() {
    let broker = Mosquitto::start().await;
    let stop = CancellationToken::new();
    let accounts = accounts(vec![FakeAccount::new()], &Registry::default(), &stop);
    let house = House::of(FakeVendor::new(), Default::default(), accounts.clone(), settings(broker.settings())).await;
    house.connected().await;
    let mut witness = broker.listen("#").await;
    assert!(witness.next_on(BRIDGE).await.json()["components"]["account_0"].is_object());

    accounts.add(100, FakeAccount::new());
    let bridge = witness.next_on(BRIDGE).await.json();
    home_assistant::accepts(BRIDGE, &bridge);
    let sensor = &bridge["components"]["account_100"];
    assert_eq!(
        (&sensor["name"], &sensor["unique_id"]),
        (&json!("Fake account 2"), &json!("doorstep_bridge_account_100"))
    );
    let state = witness.next_on("doorstep/bridge/account/100").await;
    assert_eq!((state.json()["state"].clone(), state.retain), (json!("starting"), true));

    assert!(accounts.remove(100).await);
    let bridge = witness.next_on(BRIDGE).await.json();
    assert_eq!(bridge["components"]["account_100"], json!({"platform": "sensor"}), "Home Assistant would keep it");
    let state = witness.next_on("doorstep/bridge/account/100").await;
    assert_eq!((state.payload.as_str(), state.retain), ("", true));
    let left = broker.retained("doorstep/bridge/account/#").await;
    let left: Vec<&str> = left.iter().map(|heard| heard.topic.as_str()).collect();
    assert_eq!(left, ["doorstep/bridge/account/0"]);
    house.close().await;
    stop.cancel();
}
