//! Rows 32 to 36 of the fault matrix: two who talk, a camera that is away, a page that is gone, and the end of the
//! process, each in a talk and while the doorbell speaks by itself. Talks of rows 32, 34 and 35 are in `service_talk`,
//! and what holds without a camera is in `doorbell` and `say`.

use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::doorbell::voice::Source;
use doorstep::doorbell::{ActionError, Doorbell, SayError, Saying};
use doorstep::media::{AudioCodec, AudioFormat};
use doorstep::model::{DeviceId, Link};
use doorstep::sim::tutk_camera::{CameraCommand, CameraEvent, Fault};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::program::Program;
use crate::support::score::{Figure, tally};
use crate::support::service::{Camera, PATIENCE, Page, Service, configuration};
use crate::support::text_wav::text_wav;

fn saying() -> Saying {
    Saying::once(Source::File(Bytes::from(text_wav())))
}

fn is_started(event: &CameraEvent) -> bool {
    matches!(event, CameraEvent::TalkStarted)
}

fn is_heard(event: &CameraEvent) -> bool {
    matches!(event, CameraEvent::TalkFirstFrame)
}

fn is_ended(event: &CameraEvent) -> bool {
    matches!(event, CameraEvent::TalkEnded { .. })
}

/// A camera that has been visited, and the service that it belongs to.
async fn house() -> (Camera, Service, Doorbell) {
    let camera = Camera::start(1, |_| {}).await;
    let service = Service::start(None, &[&camera]).await;
    let doorbell = service.running.doorbells.get(&DeviceId::parse(&camera.id()).unwrap()).unwrap();
    camera.is_left_alone().await;
    doorbell.state().wait_for(|state| state.link == Link::Ready).await.unwrap();
    (camera, service, doorbell)
}

async fn is_idle(doorbell: &Doorbell) {
    let mut state = doorbell.state();
    let idle = state.wait_for(|state| !state.talking && state.microphone.is_none() && state.speaking.is_none());
    assert!(timeout(PATIENCE, idle).await.is_ok(), "{:?}", doorbell.state().borrow());
}

// Row 32.

#[tokio::test]
async fn row_32_nobody_talks_into_what_the_doorbell_says_and_it_says_nothing_into_a_talk() {
    let (camera, service, doorbell) = house().await;
    let (page, id) = (&service.page, camera.id());
    let said = doorbell.take_on(saying()).unwrap();
    camera.tells("the sound", |events| events.iter().any(is_heard)).await;
    let refused = page.post(&format!("/api/doorbells/{id}/talk"), r#"{"on":true}"#).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.error().contains("the doorbell is saying something"), "{refused:?}");
    assert_eq!(page.doorbell(&id).await["speaking"]["source"], "file");
    assert!(timeout(PATIENCE, said).await.unwrap().unwrap().whole, "it was disturbed");
    camera.tells("the end", |events| events.iter().any(is_ended)).await;
    assert_eq!((camera.count(is_started), camera.count(is_ended)), (1, 1));

    let _grant = doorbell.start_talk(1).await.unwrap();
    let refused = page.send("POST", &format!("/api/doorbells/{id}/say"), "audio/wav", &text_wav()).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(page.doorbell(&id).await["talking"], true);
    assert_eq!(camera.count(is_started), 2, "each talk is one command");
    service.running.stop().await;
}

// Row 33.

#[tokio::test]
async fn row_33_nothing_is_kept_for_a_camera_that_is_away() {
    let (camera, service, doorbell) = house().await;
    camera.obey(CameraCommand::Offline).await;
    // The first who wants to talk finds out that it is away, and the rest are told.
    let asked = clock::now();
    let found_out = timeout(PATIENCE, doorbell.start_talk(1)).await.unwrap();
    assert!(matches!(found_out, Err(ActionError::Offline { .. })), "{found_out:?}");
    println!("the first was told after {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(3), "told after {:?}", asked.elapsed());
    doorbell.state().wait_for(|state| state.link == Link::Offline).await.unwrap();
    let asked = clock::now();
    for _ in 0..2 {
        let refused = doorbell.say(saying()).await;
        assert!(matches!(refused, Err(SayError::Action(ActionError::Offline { .. }))), "{refused:?}");
        let refused = doorbell.start_talk(1).await;
        assert!(matches!(refused, Err(ActionError::Offline { .. })), "{refused:?}");
    }
    assert!(asked.elapsed() < Duration::from_secs(3), "told after {:?}", asked.elapsed());
    is_idle(&doorbell).await;
    camera.obey(CameraCommand::Online).await;
    let back = doorbell.state().wait_for(|state| state.link == Link::Ready).await.map(drop);
    assert!(back.is_ok());
    let grant = timeout(PATIENCE, doorbell.start_talk(1)).await.unwrap().unwrap();
    drop(grant);
    camera.tells("the end of the talk", |events| events.iter().any(is_ended)).await;
    assert_eq!(camera.count(is_heard), 0, "what was said to nobody was played later");
    service.running.stop().await;
}

#[tokio::test]
async fn row_33_a_camera_that_dies_in_the_middle_ends_it_and_hears_no_rest() {
    let (camera, service, doorbell) = house().await;
    let first = doorbell.take_on(saying()).unwrap();
    let second = doorbell.take_on(saying()).unwrap();
    camera.tells("the sound", |events| events.iter().any(is_heard)).await;
    camera.obey(CameraCommand::Offline).await;
    let died = clock::now();
    let first = timeout(PATIENCE, first).await.unwrap();
    assert!(first.as_ref().is_ok_and(|said| !said.whole), "{first:?}");
    let second = timeout(PATIENCE, second).await.unwrap();
    assert!(matches!(second, Err(SayError::Action(_))), "{second:?}");
    println!("both were told {:?} after the camera's death", died.elapsed());
    is_idle(&doorbell).await;
    let heard = camera.count(is_heard);
    camera.obey(CameraCommand::Online).await;
    let back = timeout(PATIENCE * 2, async {
        while doorbell.start_talk(1).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(back.await.is_ok(), "it never came back");
    camera.tells("the end of a talk", |events| events.last().is_some_and(is_ended)).await;
    assert_eq!(camera.count(is_heard), heard, "the rest was played later");
    service.running.stop().await;
}

#[tokio::test]
async fn row_33_a_camera_that_refuses_is_told_of_at_once_and_one_that_never_listens_in_time() {
    let aac = AudioFormat { codec: AudioCodec::Aac, rate_hz: 16_000, channels: 1 };
    let camera = Camera::start(1, |settings| settings.audio = Some(aac)).await;
    let service = Service::start(None, &[&camera]).await;
    let doorbell = service.running.doorbells.get(&DeviceId::parse(&camera.id()).unwrap()).unwrap();
    camera.is_left_alone().await;
    let asked = clock::now();
    let refused = doorbell.say(saying()).await;
    assert!(matches!(refused, Err(SayError::Action(ActionError::Refused { .. }))), "{refused:?}");
    assert!(asked.elapsed() < Duration::from_secs(3), "told after {:?}", asked.elapsed());
    is_idle(&doorbell).await;
    service.running.stop().await;

    let (camera, service, doorbell) = house().await;
    camera.obey(CameraCommand::Fault(Some(Fault::NoBackChannel))).await;
    let refused = timeout(PATIENCE, doorbell.say(saying())).await.unwrap();
    assert!(matches!(refused, Err(SayError::Action(_))), "{refused:?}");
    is_idle(&doorbell).await;
    assert_eq!(camera.count(is_heard), 0);
    service.running.stop().await;
}

// Row 34.

#[tokio::test]
async fn row_34_what_was_taken_on_is_said_to_its_end_and_no_longer_though_the_page_is_gone() {
    let (camera, service, doorbell) = house().await;
    let (file, id) = (text_wav(), camera.id());
    let mut connection = TcpStream::connect(service.page.address).await.unwrap();
    let head = format!(
        "POST /api/doorbells/{id}/say HTTP/1.1\r\nhost: {}\r\ncontent-type: audio/wav\r\ncontent-length: {}\r\n\r\n",
        service.page.address,
        file.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(file.as_bytes()).await.unwrap();
    camera.tells("the sound", |events| events.iter().any(is_heard)).await;
    let heard = clock::now();
    drop(connection);
    camera.tells("the end", |events| events.iter().any(is_ended)).await;
    let Some(CameraEvent::TalkEnded { frames }) = camera.told().into_iter().find(is_ended) else { unreachable!() };
    assert!((296..=300).contains(&frames), "{frames} frames of 20 ms were played of 5.94 s");
    assert!(heard.elapsed() < Duration::from_millis(5_940 + 3_000), "it ended {:?} after its begin", heard.elapsed());
    is_idle(&doorbell).await;
    service.running.stop().await;
}

// Rows 35 and 36.

/// The program, at a camera and a broker, with a folder that outlasts it.
struct Process {
    folder: TempDir,
    program: Program,
    page: Page,
}

impl Process {
    async fn start(broker: &Mosquitto, camera: &Camera) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("doorstep.yaml");
        std::fs::write(&file, configuration(Some(broker.port), "127.0.0.1:0", free_port(), &[camera])).unwrap();
        Self::start_in(folder).await
    }

    async fn start_in(folder: TempDir) -> Self {
        let [file, data] = ["doorstep.yaml", "data"].map(|name| folder.path().join(name));
        let arguments = ["run", "--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
        let mut program = Program::start(arguments);
        let page = Page::at(program.page().await);
        Self { folder, program, page }
    }
}

/// What is on the disk.
fn open_talks(folder: &TempDir) -> Value {
    let state = std::fs::read(folder.path().join("data/state.json")).unwrap();
    serde_json::from_slice::<Value>(&state).unwrap()["entries"]["talks_open_since"].clone()
}

#[tokio::test]
async fn row_35_sigterm_while_the_doorbell_speaks_leaves_nothing_open() {
    let broker = Mosquitto::start().await;
    let camera = Camera::start(1, |_| {}).await;
    let process = Process::start(&broker, &camera).await;
    camera.is_left_alone().await;
    let path = format!("/api/doorbells/{}/say?wait=false", camera.id());
    let taken = process.page.send("POST", &path, "audio/wav", &text_wav()).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    camera.tells("the sound", |events| events.iter().any(is_heard)).await;
    let asked = clock::now();
    process.program.terminate();
    let folder = process.folder;
    let ended = process.program.ends().await;
    let took = asked.elapsed();
    camera.hears_the_farewell().await;
    tally(Figure::TalksEnded, camera.count(is_ended), camera.count(is_started));
    assert_eq!(camera.count(is_ended), camera.count(is_started));
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert_eq!(broker.retained("doorstep/status").await[0].payload, "offline");
    assert_eq!(open_talks(&folder), serde_json::json!({}), "a talk that has ended is remembered as open");
    camera.assert_well_treated();
}

#[tokio::test]
async fn row_36_a_talk_in_which_the_process_was_killed_is_ended_by_the_next_one() {
    for say in [false, true] {
        let broker = Mosquitto::start().await;
        let camera = Camera::start(1, |_| {}).await;
        let id = camera.id();
        let process = Process::start(&broker, &camera).await;
        camera.is_left_alone().await;
        let mut status = broker.listen("doorstep/status").await;
        while status.next().await.payload != "online" {}
        let begun = if say {
            process.page.send("POST", &format!("/api/doorbells/{id}/say?wait=false"), "audio/wav", &text_wav()).await
        } else {
            process.page.post(&format!("/api/doorbells/{id}/talk"), r#"{"on":true}"#).await
        };
        assert!(begun.status < 300, "{begun:?}");
        let sounds = if say { is_heard } else { is_started };
        camera.tells("the talk", |events| events.iter().any(sounds)).await;
        process.page.until(&id, "talking", |doorbell| doorbell["talking"] == true).await;
        let open = open_talks(&process.folder);
        assert!(
            open.as_object().unwrap().keys().eq([&id]) && open[&id].is_u64(),
            "{open}: it is on the disk before anybody is heard"
        );
        process.program.kill();
        let folder = process.folder;
        process.program.ends().await;
        assert_eq!(status.next().await.payload, "offline", "by its will");

        let before = camera.told().len();
        let started = clock::now();
        let mut next = Process::start_in(folder).await;
        let told_to_end = |events: &[CameraEvent]| {
            let opened = events[before..].iter().position(is_started);
            opened.is_some_and(|opened| events[before + opened..].iter().any(is_ended))
        };
        camera.tells("the end", told_to_end).await;
        let took = started.elapsed();
        // `tells` fails where it is not told.
        tally(Figure::TalksEnded, 1, 1);
        assert!(took < Duration::from_secs(5), "the camera was told {took:?} after the start");
        println!("the camera was told {took:?} after the start");
        next.program.logs("a talk that was open when Doorstep was killed has been ended").await;
        let forgotten = async {
            while open_talks(&next.folder) != serde_json::json!({}) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(PATIENCE, forgotten).await.is_ok(), "{}", open_talks(&next.folder));
        next.program.terminate();
        let ended = next.program.ends().await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        camera.assert_well_treated();
    }
}
