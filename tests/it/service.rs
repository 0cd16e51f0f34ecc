//! From a virtual camera through the whole service to a broker and to viewers: it rings, and it shows.

use std::collections::BTreeSet;
use std::time::Duration;

use doorstep::clock;
use doorstep::media::VideoCodec;
use doorstep::sim::clip::Clip;
use doorstep::sim::tutk_camera::{CameraEvent, Protocol};
use serde_json::Value;

use crate::support::mosquitto::{Heard, Mosquitto};
use crate::support::service::{Camera, Service};
use crate::support::viewer::{Manners, Seen};

#[tokio::test]
async fn ring_reaches_mqtt_once() {
    let broker = Mosquitto::start().await;
    let camera = Camera::start(1, |_| {}).await;
    let id = camera.id();
    let mut witness = broker.listen("#").await;
    let service = Service::start(Some(broker.port), &[&camera]).await;
    let availability = format!("doorstep/{id}/availability");
    while witness.next_on(&availability).await.payload != "online" {}
    witness.until_fence().await;

    broker.publish(&camera.button_topic(), "ON", &["-q", "1"]);
    let rung = service.page.until(&id, "rung", |doorbell| !doorbell["last_ring"].is_null()).await;
    let mut heard = Vec::new();
    let info_topic = format!("doorstep/{id}/info");
    while heard.iter().all(|heard: &Heard| heard.topic != info_topic) {
        heard.extend(witness.until_fence().await);
    }
    let topics: Vec<&str> = heard.iter().map(|heard| heard.topic.as_str()).collect();
    let ring_topic = format!("doorstep/{id}/ring");
    assert_eq!(topics, [&camera.button_topic(), &ring_topic, &info_topic], "more or less than one ring was told");

    let ring = &heard[1];
    assert_eq!((ring.qos, ring.retain), (1, false), "{ring}");
    let fields = ring.json();
    let keys: BTreeSet<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(["at", "event_type", "id", "source"]));
    assert_eq!((&fields["event_type"], &fields["source"]), (&"ring".into(), &"button".into()));
    assert_eq!((&fields["id"], &fields["at"]), (&rung["last_ring"]["event_id"], &rung["last_ring"]["at"]));
    assert!(humantime::parse_rfc3339(fields["at"].as_str().unwrap()).is_ok(), "{ring}");
    service.running.stop().await;
}

#[tokio::test]
async fn home_assistant_finds_the_doorbell_and_everything_told_of_it_is_retained() {
    let broker = Mosquitto::start().await;
    let camera = Camera::start(1, |_| {}).await;
    let id = camera.id();
    let mut witness = broker.listen("#").await;
    let service = Service::start(Some(broker.port), &[&camera]).await;
    let availability = format!("doorstep/{id}/availability");
    while witness.next_on(&availability).await.payload != "online" {}

    let retained = broker.retained("#").await;
    let topics: Vec<&str> = retained.iter().map(|heard| heard.topic.as_str()).collect();
    let of = |what: &str| format!("doorstep/{id}/{what}");
    let mut expected = vec![of("availability"), of("info"), of("stream"), of("talk"), of("talk/availability")];
    let bridge = ["doorstep/bridge/account/0", "doorstep/bridge/instance", "doorstep/status"];
    expected.extend(bridge.map(str::to_owned));
    expected.push("homeassistant/device/doorstep_bridge/config".to_owned());
    expected.push(format!("homeassistant/device/doorstep_{id}/config"));
    expected.sort();
    assert_eq!(topics, expected);
    assert!(retained.iter().all(|heard| heard.qos == 1), "{retained:?}");

    let discovery = retained.last().unwrap().json();
    assert_eq!(discovery["device"]["name"], "Front Door");
    assert!(discovery["origin"]["name"].is_string(), "{discovery}");
    let components: Vec<&Value> = discovery["components"].as_object().unwrap().values().collect();
    for (platform, field, topic) in [
        ("event", "state_topic", of("ring")),
        ("device_automation", "topic", of("ring")),
        ("switch", "command_topic", of("talk/set")),
        ("switch", "command_topic", of("stream/set")),
        ("binary_sensor", "state_topic", of("availability")),
    ] {
        let known = components.iter().any(|entity| entity["platform"] == platform && entity[field] == topic.as_str());
        assert!(known, "no {platform} with {field} {topic} in {discovery}");
    }
    service.running.stop().await;
    let status = broker.retained("doorstep/status").await;
    assert_eq!(status[0].to_string(), "doorstep/status|1|1|offline");
}

#[tokio::test]
async fn a_viewer_gets_a_keyframe_first_from_an_old_camera() {
    a_viewer_gets_a_keyframe_first(Protocol::Old, "lan_old").await;
}

#[tokio::test]
async fn a_viewer_gets_a_keyframe_first_from_a_new_camera() {
    a_viewer_gets_a_keyframe_first(Protocol::New, "lan_new").await;
}

/// And then every picture; and when the last viewer has left, the camera may rest after a short linger.
async fn a_viewer_gets_a_keyframe_first(protocol: Protocol, transport: &str) {
    let camera = Camera::start(1, |settings| settings.protocol = protocol).await;
    let id = camera.id();
    let service = Service::start(None, &[&camera]).await;
    camera.is_left_alone().await;
    assert_eq!(service.page.is(&id, "ready").await["viewers"], 0);

    let mut viewer = service.page.watch(&id, Manners::default()).await;
    let seen = viewer.sees("60 pictures and sound", |seen| seen.pictures().len() >= 60 && seen.audio.len() >= 50).await;
    let streaming = service.page.is(&id, "streaming").await;
    assert_eq!((&streaming["viewers"], &streaming["transport"]), (&1.into(), &transport.into()), "{streaming}");
    assert_eq!(streaming["codecs"]["video"], "h264");
    let asked = camera.count(|event| matches!(event, CameraEvent::Resolution { .. }));
    assert_every_picture_came(&seen, asked);

    viewer.leave();
    service.page.until(&id, "without a viewer", |doorbell| doorbell["viewers"] == 0).await;
    let left = clock::now();
    let sessions = camera.count(|event| matches!(event, CameraEvent::SessionStarted { .. }));
    camera
        .tells("the end of the session", |events| {
            let ended = events.iter().filter(|event| matches!(event, CameraEvent::SessionEnded { .. })).count();
            ended == sessions
        })
        .await;
    let lingered = left.elapsed();
    assert!(lingered > Duration::from_secs(4), "gone after {lingered:?}, before a viewer could come back");
    assert!(lingered < Duration::from_secs(8), "kept for {lingered:?} though nobody watched");
    assert_eq!(sessions, 2, "one visit to learn that the keys are right, one to show the picture");
    service.page.is(&id, "ready").await;
    camera.assert_well_treated();
    service.running.stop().await;
}

/// The clip from a keyframe on without a gap, but for leaps to a keyframe, one for each time the camera was
/// `asked` for one.
fn assert_every_picture_came(seen: &Seen, asked: usize) {
    let clip = Clip::of(VideoCodec::H264);
    let slices: Vec<Vec<u8>> = clip.access_units().take(200).map(|unit| last_nal_unit(&unit.data)).collect();
    let pictures = seen.pictures();
    let keyframe_at = |picture: &[u8]| (0..200).step_by(20).find(|&at| slices[at] == picture);
    let mut at = keyframe_at(&pictures[0]).expect("the first picture is a keyframe of the clip");
    let mut leaps = 0;
    for (n, picture) in pictures.iter().enumerate().skip(1) {
        at = (at + 1) % slices.len();
        if slices[at] != *picture {
            leaps += 1;
            at = keyframe_at(picture).unwrap_or_else(|| panic!("picture {n} is neither the next one nor a keyframe"));
        }
    }
    assert!(leaps <= asked, "{leaps} leaps, though the camera was asked for {asked} keyframes");
}

fn last_nal_unit(data: &[u8]) -> Vec<u8> {
    let start = data.windows(3).rposition(|window| window == [0, 0, 1]).expect("Annex B");
    data[start + 3..].to_vec()
}
