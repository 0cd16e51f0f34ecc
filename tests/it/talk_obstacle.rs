//! A doorbell that has a speaker which nobody can reach says why, everywhere, and is not asked for it.

use doorstep::doorbell::ActionError;
use doorstep::model::Capability;
use serde_json::json;

use crate::support::browser::Browser;
use crate::support::fake_vendor::FakeVendor;
use crate::support::home_assistant;
use crate::support::house;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt_house;

const WHY: &str =
    "Talk needs the web key of the vendor's app. Set `vivint[0].firebase_api_key`, then start Doorstep again.";
const DISCOVERY: &str = "homeassistant/device/doorstep_fake_1/config";

/// From now on the device says that nobody can talk, or that everybody can.
async fn set(vendor: &FakeVendor, doorbell: &doorstep::doorbell::Doorbell, why: Option<&'static str>) {
    vendor.set_state(move |state| state.talk_obstacle = why.map(str::to_owned));
    doorbell.state().wait_for(|state| state.talk_obstacle.as_deref() == why).await.unwrap();
}

#[tokio::test]
async fn the_device_is_not_asked_for_a_speaker_that_nobody_can_reach() {
    let house = house::House::open().await;
    set(&house.vendor, &house.doorbell, Some(WHY)).await;
    let why = Err(ActionError::Offline { why: WHY.to_owned() });
    assert_eq!(house.doorbell.start_talk(1).await.map(drop), why);
    assert_eq!(house.doorbell.switch_talk(true).await, why);
    assert_eq!(house.doorbell.switch_talk(false).await, Ok(()), "letting go never fails");
    let refused = house.post("/api/doorbells/fake_1/talk", r#"{"on":true}"#).await;
    assert_eq!((refused.status, refused.error()), (503, format!("Front Door: {WHY}")));
    assert_eq!(house.get("/api/doorbells/fake_1").await.json()["talk_obstacle"], WHY);
    assert_eq!(house.vendor.seen().talks_asked, 0);

    set(&house.vendor, &house.doorbell, None).await;
    assert!(house.doorbell.start_talk(1).await.is_ok());
    assert_eq!(house.get("/api/doorbells/fake_1").await.json()["talk_obstacle"], json!(null));
}

#[tokio::test]
async fn the_talk_switch_is_unavailable_and_the_attributes_say_why() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("#").await;
    let house = mqtt_house::House::on(&broker).await;
    let discovery = witness.next_on(DISCOVERY).await.json();
    home_assistant::accepts(DISCOVERY, &discovery);
    let topics = ["doorstep/status", "doorstep/fake_1/availability", "doorstep/fake_1/talk/availability"];
    let availability: Vec<_> = topics.iter().map(|topic| json!({"topic": topic})).collect();
    assert_eq!(discovery["components"]["talk"]["availability"], json!(availability));
    assert_eq!(discovery["availability_mode"], "all");
    witness.until_fence().await;

    set(&house.vendor, &house.doorbell, Some(WHY)).await;
    let topics = ["doorstep/fake_1/talk/availability", "doorstep/fake_1/info"];
    let [possible, info] = witness.next_of_each(topics).await;
    assert_eq!((possible.payload.as_str(), possible.retain), ("offline", true));
    assert_eq!(info.json()["talk_obstacle"], WHY);
    broker.publish("doorstep/fake_1/talk/set", "ON", &[]);
    let result = witness.next_on("doorstep/fake_1/result").await.json();
    assert_eq!((&result["ok"], &result["error"]), (&json!(false), &json!(WHY)));
    assert_eq!(house.vendor.seen().talks_asked, 0);

    set(&house.vendor, &house.doorbell, None).await;
    assert_eq!(witness.next_on(topics[0]).await.payload, "online");
}

#[tokio::test]
async fn the_page_shows_the_button_disabled_and_says_why() {
    let browser = Browser::launch().await;
    let vendor = FakeVendor::with([Capability::Ring, Capability::Talk]);
    let house = house::House::with(vendor, None, axum::Router::new()).await;
    set(&house.vendor, &house.doorbell, Some(WHY)).await;
    let page = browser.open(&house.url()).await;
    page.until("document.querySelector('.talk').textContent.trim() === 'Talk unavailable'").await;
    page.until("document.querySelector('.talk').getAttribute('aria-disabled') === 'true'").await;
    page.until("document.querySelector('.obstacle').textContent.startsWith('Talk needs the web key')").await;
    page.until("document.querySelector('.obstacle code').textContent === 'vivint[0].firebase_api_key'").await;
    page.mouse("mousePressed", ".talk").await;
    page.mouse("mouseReleased", ".talk").await;
    set(&house.vendor, &house.doorbell, None).await;
    page.until("document.querySelector('.obstacle').hidden").await;
    page.until("document.querySelector('.talk').textContent.trim() === 'Hold to talk'").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
