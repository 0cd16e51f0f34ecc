//! A still picture is taken when somebody asks for it, one at a time; every one is told to whoever listens, and the one
//! of a ring apart from the others.

use std::time::Duration;

use bytes::Bytes;
use doorstep::doorbell::ActionError;
use doorstep::model::Capability;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::http::{listen, news};
use crate::support::fake_vendor::{FakeVendor, JPEG, OnSnapshot};
use crate::support::home_assistant;
use crate::support::house;
use crate::support::mosquitto::{Mosquitto, until};
use crate::support::mqtt_house::{self, settings};

const PATH: &str = "/api/doorbells/fake_1/snapshot.jpg";
const TAKE: &str = "doorstep/fake_1/snapshot/take";
const PICTURE: &str = "doorstep/fake_1/snapshot";
const RESULT: &str = "doorstep/fake_1/result";
const OF_RING: &str = "doorstep/fake_1/ring/picture";
const DISCOVERY: &str = "homeassistant/device/doorstep_fake_1/config";

async fn page() -> house::House {
    let vendor = FakeVendor::with([Capability::Ring, Capability::Snapshot]);
    house::House::with(vendor, None, axum::Router::new()).await
}

async fn on(broker: &Mosquitto) -> mqtt_house::House {
    let vendor = FakeVendor::with([Capability::Ring, Capability::Stream, Capability::Snapshot]);
    let house = mqtt_house::House::with(vendor, settings(broker.settings())).await;
    house.connected().await;
    house
}

#[tokio::test]
async fn whoever_asks_for_a_picture_gets_one_that_was_taken_now() {
    let house = page().await;
    for n in 1..=2 {
        let reply = house.get(PATH).await;
        assert_eq!((reply.status, reply.bytes.as_slice()), (200, JPEG));
        assert_eq!(reply.header("content-type"), Some("image/jpeg"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(house.vendor.seen().snapshots_asked, n);
    }
    assert_eq!(house.post(PATH, "{}").await.status, 405);
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_picture_is_said() {
    let house = page().await;
    let why = "Its cloud took no picture within 20 s. Try again.".to_owned();
    house.vendor.on_snapshot(OnSnapshot::Refuses(ActionError::Offline { why }));
    let offline = house.get(PATH).await;
    let expected = "Front Door: Its cloud took no picture within 20 s. Try again.";
    assert_eq!((offline.status, offline.error().as_str()), (503, expected));
    let mut large = JPEG.to_vec();
    large.resize((4 << 20) + 1, 0);
    for (given, expected) in [(large, "more than 4 MiB"), (b"<html>".to_vec(), "no JPEG"), (Vec::new(), "no JPEG")] {
        house.vendor.on_snapshot(OnSnapshot::Takes(Bytes::from(given)));
        let refused = house.get(PATH).await;
        assert_eq!(refused.status, 502);
        assert!(refused.error().contains(expected), "{}", refused.error());
    }
    assert_eq!(house.get("/api/doorbells/nobody/snapshot.jpg").await.status, 404);
    let blind = house::House::with(FakeVendor::with([Capability::Ring]), None, axum::Router::new()).await;
    let unable = blind.get(PATH).await;
    assert_eq!(unable.status, 404);
    assert!(unable.error().contains("it takes no still pictures"), "{}", unable.error());
    assert_eq!(blind.vendor.seen().snapshots_asked, 0);
}

#[tokio::test]
async fn one_picture_is_taken_at_a_time_although_who_asked_for_it_has_left() {
    let house = page().await;
    house.vendor.on_snapshot(OnSnapshot::Hangs);
    let doorbell = house.doorbell.clone();
    let first = tokio::spawn(async move { doorbell.take_snapshot().await });
    house.vendor.until("a picture asked for", |seen| seen.snapshots_asked == 1).await;
    let second = house.get(PATH).await;
    let expected = "Front Door: a picture of it is being taken already. Try again when it is done.";
    assert_eq!((second.status, second.error().as_str()), (409, expected));
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(house.get(PATH).await.status, 409, "the camera is still at it");
    house.vendor.on_snapshot(OnSnapshot::Takes(Bytes::from_static(JPEG)));
    house.vendor.answer_snapshot();
    let next = async {
        while house.doorbell.take_snapshot().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(house::PATIENCE, next).await.expect("no picture is taken ever again");
    assert_eq!(house.vendor.seen().snapshots_asked, 2);
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_never_answers_is_given_up_after_half_a_minute() {
    let vendor = FakeVendor::with([Capability::Snapshot]);
    let doorbell = vendor.doorbell(&tokio_util::sync::CancellationToken::new());
    vendor.lives(1).await;
    vendor.on_snapshot(OnSnapshot::Hangs);
    let asked = doorstep::clock::now();
    assert_eq!(doorbell.take_snapshot().await, Err(ActionError::Timeout));
    assert_eq!(asked.elapsed().as_secs(), 30);
    vendor.on_snapshot(OnSnapshot::Takes(Bytes::from_static(JPEG)));
    assert_eq!(doorbell.take_snapshot().await.as_deref(), Ok(JPEG));
}

#[tokio::test]
async fn a_picture_that_was_asked_for_over_mqtt_is_retained_as_it_is() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("homeassistant/#").await;
    let house = on(&broker).await;
    let discovery = witness.next_on(DISCOVERY).await.json();
    home_assistant::accepts(DISCOVERY, &discovery);
    let (camera, button) = (&discovery["components"]["snapshot"], &discovery["components"]["take_snapshot"]);
    assert_eq!((&camera["platform"], &camera["topic"]), (&json!("camera"), &json!(PICTURE)));
    assert_eq!((&button["platform"], &button["command_topic"]), (&json!("button"), &json!(TAKE)));

    let mut results = broker.listen(RESULT).await;
    assert_eq!(broker.retained_bytes(PICTURE), None);
    for (payload, id) in [("TAKE", Value::Null), (r#"{"id":"k-7"}"#, json!("k-7")), ("[1]", Value::Null)] {
        broker.publish(TAKE, payload, &[]);
        let result = results.next().await.json();
        let took = result["took_ms"].clone();
        assert_eq!(result, json!({"command": "snapshot", "ok": true, "error": null, "took_ms": took, "id": id}));
    }
    until("the picture", || broker.retained_bytes(PICTURE).as_deref() == Some(JPEG)).await;
    assert_eq!(house.vendor.seen().snapshots_asked, 3);
    assert!(house.mqtt.retained_topics().borrow().contains(PICTURE), "`forget` would leave it");
}

#[tokio::test]
async fn a_picture_of_four_mebibytes_arrives_whole() {
    let broker = Mosquitto::start().await;
    let house = on(&broker).await;
    let mut large = JPEG.to_vec();
    large.resize(4 << 20, 7);
    house.vendor.on_snapshot(OnSnapshot::Takes(Bytes::from(large.clone())));
    let mut results = broker.listen(RESULT).await;
    broker.publish(TAKE, "TAKE", &[]);
    assert_eq!(results.next().await.json()["ok"], true);
    until("the picture", || broker.retained_bytes(PICTURE).is_some()).await;
    assert!(broker.retained_bytes(PICTURE) == Some(large), "another picture");
}

#[tokio::test]
async fn a_broker_that_takes_no_such_picture_keeps_being_told_of_rings() {
    let broker = Mosquitto::start_in(tempfile::tempdir().unwrap(), "allow_anonymous true\nmax_packet_size 65536").await;
    let house = on(&broker).await;
    let mut large = JPEG.to_vec();
    large.resize(1 << 20, 7);
    house.vendor.on_snapshot(OnSnapshot::Takes(Bytes::from(large)));
    let mut rings = broker.listen("doorstep/fake_1/ring").await;
    broker.publish(TAKE, "TAKE", &[]);
    house.vendor.until("a picture", |seen| seen.snapshots_asked == 1).await;
    house.vendor.ring("e-1");
    assert_eq!(rings.next().await.json()["id"], "e-1");
    assert_eq!(broker.retained_bytes(PICTURE), None);
}

#[tokio::test]
async fn a_retained_wish_for_a_picture_is_refused_and_erased() {
    let broker = Mosquitto::start().await;
    broker.publish(TAKE, "TAKE", &["-r"]);
    let mut witness = broker.listen("doorstep/fake_1/#").await;
    witness.next_on(TAKE).await;
    let house = on(&broker).await;
    let [erased, result] = witness.next_of_each([TAKE, RESULT]).await;
    assert_eq!((erased.payload.as_str(), erased.retain), ("", true));
    assert_eq!((&result.json()["ok"], &result.json()["command"]), (&json!(false), &json!("snapshot")));
    assert_eq!(broker.retained(TAKE).await, []);
    // The erasure itself is no wish.
    assert_eq!(house.vendor.seen().snapshots_asked, 0);
}

#[tokio::test]
async fn a_picture_goes_with_its_doorbell() {
    let broker = Mosquitto::start().await;
    let house = on(&broker).await;
    let mut results = broker.listen(RESULT).await;
    broker.publish(TAKE, "TAKE", &[]);
    results.next().await;
    until("the picture", || broker.retained_bytes(PICTURE).is_some()).await;
    house.registry.remove(&house.doorbell.info().id);
    until("the picture gone", || broker.retained_bytes(PICTURE).is_none()).await;
}

#[tokio::test]
async fn a_picture_of_a_former_run_goes_when_no_more_are_taken() {
    let broker = Mosquitto::start().await;
    let house = on(&broker).await;
    let mut results = broker.listen(RESULT).await;
    broker.publish(TAKE, "TAKE", &[]);
    results.next().await;
    until("the picture", || broker.retained_bytes(PICTURE).is_some()).await;
    house.close().await;
    assert_eq!(broker.retained_bytes(PICTURE).as_deref(), Some(JPEG), "it stands while Doorstep is away");
    let house = mqtt_house::House::with(FakeVendor::with([Capability::Ring]), settings(broker.settings())).await;
    house.connected().await;
    until("the picture gone", || broker.retained_bytes(PICTURE).is_none()).await;
}

#[tokio::test]
async fn a_doorbell_without_pictures_has_no_entity_for_them_and_says_so() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("#").await;
    let house = mqtt_house::House::with(FakeVendor::with([Capability::Ring]), settings(broker.settings())).await;
    house.connected().await;
    let components = witness.next_on(DISCOVERY).await.json()["components"].clone();
    for key in ["snapshot", "take_snapshot", "ring_picture"] {
        assert!(components.get(key).is_none(), "{components}");
    }
    broker.publish(TAKE, "TAKE", &[]);
    let result = witness.next_on(RESULT).await.json();
    assert!(result["error"].as_str().unwrap().contains("no still pictures"), "{result}");
    assert_eq!(house.vendor.seen().snapshots_asked, 0);
}

/// A picture that is not [`JPEG`].
fn other(n: u8) -> Bytes {
    Bytes::from([JPEG, &[n]].concat())
}

#[tokio::test]
async fn the_newest_picture_is_there_without_waking_the_camera() {
    let house = page().await;
    let known = format!("{PATH}?wake=false");
    let none = house.get(&known).await;
    let expected = "Front Door: there is no picture of it yet. Without `wake=false` one is taken.";
    assert_eq!((none.status, none.error().as_str()), (404, expected));
    assert_eq!(house.vendor.seen().snapshots_asked, 0, "it was woken");
    assert!(house.get("/api/doorbells/fake_1").await.json()["picture_at"].is_null());
    house.vendor.on_snapshot(OnSnapshot::Takes(other(1)));
    assert_eq!(house.get(&format!("{PATH}?wake=true")).await.bytes, other(1));
    let newest = house.get(&known).await;
    assert_eq!(
        (newest.status, newest.bytes.clone(), newest.header("content-type")),
        (200, other(1).to_vec(), Some("image/jpeg"))
    );
    assert!(house.get("/api/doorbells/fake_1").await.json()["picture_at"].is_string());
    assert_eq!(house.vendor.seen().snapshots_asked, 1);
    for query in ["wake=maybe", "wake=", "sleep=true"] {
        assert_eq!(house.get(&format!("{PATH}?{query}")).await.status, 400, "{query}");
    }
    assert!(house.get("/metrics").await.body.contains(r#"doorstep_pictures_total{id="fake_1"} 1"#));
}

#[tokio::test]
async fn the_picture_of_a_ring_is_told_and_has_an_address_whatever_the_ring_is_called() {
    let house = page().await;
    let mut listener = listen(&house, &[]).await.unwrap();
    news(&mut listener, |message| message["type"] == "snapshot").await;
    let event_id = "a/../b?c#%41 ü.jpg";
    house.vendor.ring(event_id);
    let told = news(&mut listener, |message| message["type"] == "picture").await;
    assert_eq!((&told["id"], &told["ring"]), (&json!("fake_1"), &json!(event_id)));
    assert!(told["at"].is_string());
    let doorbell = house.get("/api/doorbells/fake_1").await.json();
    let address = doorbell["last_ring"]["picture"].as_str().unwrap_or_else(|| panic!("{doorbell}"));
    assert_eq!(&doorbell["rings"][0]["picture"], address);
    let picture = house.get(&format!("/{address}")).await;
    assert_eq!(
        (picture.status, picture.bytes.as_slice(), picture.header("content-type")),
        (200, JPEG, Some("image/jpeg"))
    );
    for nothing in ["nobody.jpg", "nobody", ".jpg", "%ff.jpg"] {
        let reply = house.get(&format!("/api/doorbells/fake_1/rings/{nothing}")).await;
        assert!(matches!(reply.status, 400 | 404), "{nothing}: {}", reply.status);
    }
    assert_eq!(house.get("/api/doorbells/nobody/rings/r1.jpg").await.status, 404);
}

#[tokio::test]
async fn every_picture_is_retained_and_the_one_of_the_last_ring_stays_beside_it() {
    let broker = Mosquitto::start().await;
    let mut witness = broker.listen("homeassistant/#").await;
    let house = on(&broker).await;
    let discovery = witness.next_on(DISCOVERY).await.json();
    let image = &discovery["components"]["ring_picture"];
    assert_eq!((&image["platform"], &image["image_topic"]), (&json!("image"), &json!(OF_RING)));
    house.vendor.on_snapshot(OnSnapshot::Takes(other(1)));
    house.vendor.ring("r-1");
    until("the ring's picture", || broker.retained_bytes(OF_RING) == Some(other(1).to_vec())).await;
    until("the same as the newest", || broker.retained_bytes(PICTURE) == Some(other(1).to_vec())).await;
    // Whoever had it taken.
    house.vendor.on_snapshot(OnSnapshot::Takes(other(2)));
    house.doorbell.take_snapshot().await.unwrap();
    until("a newer one", || broker.retained_bytes(PICTURE) == Some(other(2).to_vec())).await;
    assert_eq!(broker.retained_bytes(OF_RING), Some(other(1).to_vec()), "it belongs to no ring");
    assert!(house.mqtt.retained_topics().borrow().contains(OF_RING), "`forget` would leave it");
    house.registry.remove(&house.doorbell.info().id);
    until("both gone", || broker.retained_bytes(OF_RING).is_none() && broker.retained_bytes(PICTURE).is_none()).await;
}

#[tokio::test]
async fn a_ring_is_told_before_its_picture_is_even_there() {
    let broker = Mosquitto::start().await;
    let house = on(&broker).await;
    house.vendor.on_snapshot(OnSnapshot::Hangs);
    let mut rings = broker.listen("doorstep/fake_1/ring").await;
    house.vendor.ring("r-1");
    assert_eq!(rings.next().await.json()["id"], "r-1");
    house.vendor.until("a picture asked for", |seen| seen.snapshots_asked == 1).await;
    assert_eq!(broker.retained_bytes(OF_RING), None);
    house.vendor.answer_snapshot();
    until("its picture", || broker.retained_bytes(OF_RING).as_deref() == Some(JPEG)).await;
}
