//! From a viewer's microphone, or an MQTT switch, through the whole service to a virtual camera's speaker.

use std::time::Duration;

use doorstep::clock;
use doorstep::media::{AudioCodec, AudioFormat};
use doorstep::sim::tutk_camera::{CameraEvent, Protocol};

use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::program::Program;
use crate::support::score::{Figure, tally};
use crate::support::service::{Camera, Page, Service, configuration};
use crate::support::viewer::Manners;

fn speaks() -> Manners {
    Manners { speaks: true, ..Manners::default() }
}

fn is_started(event: &CameraEvent) -> bool {
    matches!(event, CameraEvent::TalkStarted)
}

fn is_ended(event: &CameraEvent) -> bool {
    matches!(event, CameraEvent::TalkEnded { .. })
}

/// A second or so of the viewers' tone, in the codec of the camera.
fn is_our_tone(event: &CameraEvent, wanted: AudioCodec) -> bool {
    matches!(event, CameraEvent::TalkAudio { codec, tone_hz: Some(tone_hz), .. }
        if *codec == wanted && (tone_hz - 1_000.0).abs() < 10.0)
}

#[tokio::test]
async fn row_34_talk_reaches_the_camera_as_it_was_said_and_ends_with_its_microphone() {
    talk_reaches_the_camera(Protocol::Old, AudioFormat::PCMU).await;
}

#[tokio::test]
async fn row_34_talk_reaches_the_camera_in_the_format_that_it_plays_and_ends_with_its_microphone() {
    let pcm = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 16_000, channels: 1 };
    talk_reaches_the_camera(Protocol::New, pcm).await;
}

async fn talk_reaches_the_camera(protocol: Protocol, format: AudioFormat) {
    let broker = Mosquitto::start().await;
    let camera = Camera::start(1, |settings| {
        settings.protocol = protocol;
        settings.audio = Some(format);
    })
    .await;
    let id = camera.id();
    let mut witness = broker.listen(&format!("doorstep/{id}/talk")).await;
    let service = Service::start(Some(broker.port), &[&camera]).await;
    assert_eq!(witness.next().await.payload, "OFF");

    let viewer = service.page.watch(&id, speaks()).await;
    camera.tells("the talk", |events| events.iter().any(is_started)).await;
    camera
        .tells("the tone", |events| events.iter().filter(|event| is_our_tone(event, format.codec)).count() >= 2)
        .await;
    assert_eq!(witness.next().await.to_string(), format!("doorstep/{id}/talk|1|1|ON"));
    let talking = service.page.doorbell(&id).await;
    assert_eq!((&talking["talking"], &talking["microphone"]), (&true.into(), &true.into()), "{talking}");

    let vanished = clock::now();
    viewer.vanish();
    camera.tells("the end of the talk", |events| events.iter().any(is_ended)).await;
    let silence = vanished.elapsed();
    println!("the camera was told {silence:?} after the microphone was gone");
    tally(Figure::TalksEnded, camera.count(is_ended), camera.count(is_started));
    assert!(silence <= Duration::from_secs(3), "the speaker stayed open for {silence:?} after the microphone was gone");
    assert_eq!(witness.next().await.to_string(), format!("doorstep/{id}/talk|1|1|OFF"));
    assert_eq!((camera.count(is_started), camera.count(is_ended)), (1, 1));
    camera.assert_well_treated();
    service.running.stop().await;
}

#[tokio::test]
async fn the_switch_opens_and_closes_the_speaker_and_answers_each_time() {
    let broker = Mosquitto::start().await;
    let camera = Camera::start(1, |_| {}).await;
    let id = camera.id();
    let service = Service::start(Some(broker.port), &[&camera]).await;
    let mut witness = broker.listen("doorstep/+/availability").await;
    while witness.next().await.payload != "online" {}
    let mut results = broker.listen(&format!("doorstep/{id}/result")).await;
    let mut states = broker.listen(&format!("doorstep/{id}/talk")).await;
    assert_eq!(states.next().await.payload, "OFF");

    for (state, order, done) in [("ON", "t1", is_started as fn(&CameraEvent) -> bool), ("OFF", "t2", is_ended)] {
        let command = format!(r#"{{"state":"{state}","id":"{order}"}}"#);
        broker.publish(&format!("doorstep/{id}/talk/set"), command, &["-q", "1"]);
        let result = results.next().await;
        assert_eq!((result.qos, result.retain), (1, false), "{result}");
        let answer = result.json();
        assert_eq!((&answer["command"], &answer["ok"], &answer["id"]), (&"talk".into(), &true.into(), &order.into()));
        assert!(answer["error"].is_null() && answer["took_ms"].is_u64(), "{answer}");
        camera.tells(state, |events| events.iter().any(done)).await;
        assert_eq!(states.next().await.to_string(), format!("doorstep/{id}/talk|1|1|{state}"));
    }
    camera.assert_well_treated();
    service.running.stop().await;
}

#[tokio::test]
async fn row_32_a_second_microphone_is_refused_while_the_first_one_talks() {
    let camera = Camera::start(1, |_| {}).await;
    let id = camera.id();
    let service = Service::start(None, &[&camera]).await;
    let first = service.page.watch(&id, speaks()).await;
    camera.tells("the first", |events| events.iter().any(|event| is_our_tone(event, AudioCodec::Pcmu))).await;

    let mut second = service.page.watch(&id, speaks()).await;
    second.sees("the picture, as every viewer", |seen| seen.pictures().len() >= 20).await;
    let tones = camera.count(|event| is_our_tone(event, AudioCodec::Pcmu));
    camera
        .tells("one clear tone as before", |events| {
            events.iter().filter(|event| is_our_tone(event, AudioCodec::Pcmu)).count() > tones + 1
        })
        .await;
    assert_eq!((camera.count(is_started), camera.count(is_ended)), (1, 0));

    first.leave();
    camera
        .tells("the second, once the first has left", |events| {
            events.iter().filter(|event| is_started(event)).count() == 2
        })
        .await;
    second.leave();
    camera.tells("the end", |events| events.iter().filter(|event| is_ended(event)).count() == 2).await;
    camera.assert_well_treated();
    service.running.stop().await;
}

#[tokio::test]
async fn row_35_sigterm_in_a_talk_leaves_nothing_open() {
    let broker = Mosquitto::start().await;
    let camera = Camera::start(1, |_| {}).await;
    let id = camera.id();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorstep.yaml");
    std::fs::write(&file, configuration(Some(broker.port), "127.0.0.1:0", free_port(), &[&camera])).unwrap();
    let arguments = ["run", "--config", file.to_str().unwrap(), "--data", folder.path().to_str().unwrap()];
    let mut program = Program::start(arguments);
    let page = Page::at(program.page().await);

    let _viewer = page.watch(&id, speaks()).await;
    camera.tells("the talk", |events| events.iter().any(|event| is_our_tone(event, AudioCodec::Pcmu))).await;
    let asked = clock::now();
    program.terminate();
    let ended = program.ends().await;
    let took = asked.elapsed();
    camera.hears_the_farewell().await;
    tally(Figure::TalksEnded, camera.count(is_ended), camera.count(is_started));
    assert_eq!(camera.count(is_ended), camera.count(is_started));
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    for topic in ["doorstep/status".to_owned(), format!("doorstep/{id}/availability")] {
        assert_eq!(broker.retained(&topic).await[0].to_string(), format!("{topic}|1|1|offline"));
    }
    assert_eq!(broker.retained(&format!("doorstep/{id}/talk")).await[0].payload, "OFF");
    camera.assert_well_treated();
}
