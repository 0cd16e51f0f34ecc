//! A Wyze doorbell against a virtual camera, from the doorbell's handle to the camera's speaker. Real sockets.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use doorstep::config;
use doorstep::doorbell::{ActionError, Doorbell, Options};
use doorstep::media::{AudioCodec, AudioFormat};
use doorstep::model::{Link, State};
use doorstep::sim::tutk_camera::{self, CameraCommand, CameraEvent, Fault, RunningCamera, Settings};
use doorstep::store::Store;
use doorstep::vendor;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::told;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A doorbell and the camera behind it.
struct Door {
    camera: RunningCamera,
    happened: broadcast::Receiver<CameraEvent>,
    doorbell: Doorbell,
    stop: CancellationToken,
    _camera_stops: DropGuard,
}

impl Door {
    async fn with_sound(audio: Option<AudioFormat>) -> Self {
        let camera_stop = CancellationToken::new();
        let settings = Settings { audio, ..Settings::generate(7) };
        let camera = tutk_camera::start(settings, camera_stop.clone()).await.unwrap();
        let happened = camera.events();
        let stop = CancellationToken::new();
        let doorbell = doorbell(&camera, &stop).await;
        let mut door = Self { camera, happened, doorbell, stop, _camera_stops: camera_stop.drop_guard() };
        door.until("ready", |state| state.link == Link::Ready).await;
        door.happens("the end of the first visit", session_ended).await;
        door
    }

    async fn until(&self, what: &str, condition: impl FnMut(&State) -> bool) -> State {
        let mut state = self.doorbell.state();
        match tokio::time::timeout(PATIENCE, state.wait_for(condition)).await {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!("the doorbell never was: {what}; it is {:?}", self.doorbell.state().borrow()),
        }
    }

    /// Waits for the first event of the camera that `choose` takes.
    async fn happens<T>(&mut self, what: &str, choose: impl Fn(&CameraEvent) -> Option<T>) -> T {
        told::first(&mut self.happened, what, choose).await
    }
}

async fn doorbell(camera: &RunningCamera, stop: &CancellationToken) -> Doorbell {
    let settings = &camera.settings;
    let text = format!(
        "wyze: [{{cameras: [{{name: Door, model: {}, mac: {}, uid: {}, enr: {}, address: \"{}\"}}]}}]",
        settings.model,
        settings.mac,
        settings.uid_text(),
        settings.enr.expose(),
        camera.address,
    );
    let vendor = vendor::all(&config::parse(&text, "test").unwrap(), &Store::read_only(Path::new("nowhere"))).remove(0);
    let found = vendor.discover().await.unwrap().remove(0);
    Doorbell::spawn(vendor, found.info, Options::default(), stop.clone())
}

fn talk_ended(event: &CameraEvent) -> Option<()> {
    matches!(event, CameraEvent::TalkEnded { .. }).then_some(())
}

fn session_ended(event: &CameraEvent) -> Option<()> {
    matches!(event, CameraEvent::SessionEnded { .. }).then_some(())
}

fn talk_started(event: &CameraEvent) -> Option<()> {
    matches!(event, CameraEvent::TalkStarted).then_some(())
}

#[tokio::test]
async fn a_talk_that_is_switched_off_and_on_at_once_is_open_again() {
    let mut door = Door::with_sound(Some(AudioFormat::PCMU)).await;
    door.doorbell.switch_talk(true).await.unwrap();
    for round in 0..4 {
        let (off, on) = tokio::join!(door.doorbell.switch_talk(false), door.doorbell.switch_talk(true));
        assert_eq!((off, on), (Ok(()), Ok(())), "round {round}");
        door.happens("the end of a talk", talk_ended).await;
        door.happens("the next talk", talk_started).await;
    }
    door.doorbell.switch_talk(false).await.unwrap();
    door.happens("the end of the last talk", talk_ended).await;
    door.until("ready again", |state| state.link == Link::Ready).await;
}

#[tokio::test]
async fn a_talk_nobody_waits_for_any_more_is_called_off_at_the_camera() {
    let mut door = Door::with_sound(Some(AudioFormat::PCMU)).await;
    let asked = tokio::spawn({
        let doorbell = door.doorbell.clone();
        async move { doorbell.switch_talk(true).await }
    });
    door.until("connecting", |state| state.link == Link::Connecting).await;
    door.doorbell.switch_talk(false).await.unwrap();
    assert!(matches!(asked.await.unwrap(), Err(ActionError::Refused { .. })));
    door.happens("the end of the session", |event| match event {
        CameraEvent::TalkStarted => panic!("the speaker was opened for nobody"),
        CameraEvent::SessionEnded { .. } => Some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn a_doorbell_that_is_only_talked_to_is_shown_as_streaming() {
    let door = Door::with_sound(Some(AudioFormat::PCMU)).await;
    door.doorbell.switch_talk(true).await.unwrap();
    door.until("streaming", |state| state.link == Link::Streaming).await;
}

#[tokio::test]
async fn a_session_that_fails_takes_leave_of_the_camera() {
    let mut door = Door::with_sound(Some(AudioFormat::PCMU)).await;
    let grant = door.doorbell.start_talk(1).await.unwrap();
    let speaking = tokio::spawn(async move {
        // Until the line is closed from the other side.
        while grant.audio.send(Bytes::from_static(&[0xff; 160])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    // It hears everything and says nothing more.
    door.camera.commands.send(CameraCommand::Fault(Some(Fault::Freeze))).await.unwrap();
    door.happens("the end of the talk", talk_ended).await;
    let why = door.happens("the end of the session", |event| match event {
        CameraEvent::SessionEnded { why } => Some(*why),
        _ => None,
    });
    assert_eq!(why.await, "the client closed it", "the camera was left with an open session");
    speaking.await.unwrap();
    assert!(!door.doorbell.state().borrow().talking);
}

#[tokio::test]
async fn stopping_ends_the_talk_at_the_camera() {
    let mut door = Door::with_sound(Some(AudioFormat::PCMU)).await;
    door.doorbell.switch_talk(true).await.unwrap();
    door.stop.cancel();
    door.happens("the end of the talk", talk_ended).await;
    tokio::time::timeout(PATIENCE, door.doorbell.stopped()).await.expect("the doorbell did not stop");
}

#[tokio::test]
async fn a_camera_without_sound_says_that_it_cannot_be_talked_to() {
    let door = Door::with_sound(None).await;
    match door.doorbell.switch_talk(true).await {
        Err(ActionError::Refused { why }) => assert!(why.contains("sends no sound"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn speech_is_taken_in_every_format_that_can_be_made_and_refused_in_any_other() {
    for (codec, rate_hz, channels) in [
        (AudioCodec::Pcm, 8_000, 1),
        (AudioCodec::Pcm, 16_000, 1),
        (AudioCodec::Pcma, 8_000, 1),
        (AudioCodec::Opus, 48_000, 2),
    ] {
        let format = AudioFormat { codec, rate_hz, channels };
        let door = Door::with_sound(Some(format)).await;
        let grant = door.doorbell.start_talk(1).await;
        assert_eq!(grant.map(|grant| grant.format.codec).as_ref(), Ok(&codec));
    }
    let door = Door::with_sound(Some(AudioFormat { codec: AudioCodec::Aac, rate_hz: 16_000, channels: 1 })).await;
    match door.doorbell.start_talk(1).await {
        Err(ActionError::Refused { why }) => assert!(why.contains("Aac"), "{why}"),
        other => panic!("AAC cannot be made: {other:?}"),
    }
}
