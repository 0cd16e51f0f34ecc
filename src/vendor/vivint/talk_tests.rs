//! A talk over a call that is made of channels, in paused time.

use tokio::task::JoinHandle;

use super::*;
use crate::vendor::vivint::call::Script;

const EMPTY: Bytes = Bytes::new();

/// A talk that has been placed, and the camera of it.
struct Scene {
    camera: Script,
    answer: oneshot::Receiver<Result<TalkLine, ActionError>>,
    stop: CancellationToken,
    talk: JoinHandle<Result<(), VendorError>>,
}

impl Scene {
    fn begin(format: Option<AudioFormat>) -> Self {
        let (call, camera) = Call::scripted(format);
        let (reply, answer) = oneshot::channel();
        let stop = CancellationToken::new();
        let talk = Talk { call, stop: stop.clone() };
        let talk = tokio::spawn(async move { talk.run(reply, clock::now()).await });
        Self { camera, answer, stop, talk }
    }

    /// With an open line.
    async fn open() -> (Self, TalkLine) {
        let mut scene = Self::begin(Some(AudioFormat::OPUS));
        assert_eq!(scene.said().await, Body::TwoWayTalkStart(EMPTY));
        scene.says(Body::TwoWayTalkStartResponse(EMPTY)).await;
        let line = (&mut scene.answer).await.unwrap().unwrap();
        (scene, line)
    }

    async fn said(&mut self) -> Body {
        self.camera.said.recv().await.expect("the call is there")
    }

    async fn says(&self, body: Body) {
        self.camera.says.as_ref().unwrap().send(Received::Known(body)).await.unwrap();
    }

    /// Says good-bye as it should be, within the time for it.
    async fn ends_with_a_farewell(mut self) {
        assert_eq!(self.said().await, Body::TwoWayTalkEnd(EMPTY));
        assert!(!self.camera.hung_up.is_cancelled(), "hung up before the response");
        self.says(Body::TwoWayTalkEndResponse(EMPTY)).await;
        self.talk.await.unwrap().unwrap();
        assert!(self.camera.hung_up.is_cancelled());
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spoken_before_the_camera_listens() {
    let mut scene = Scene::begin(Some(AudioFormat::PCMU));
    assert_eq!(scene.said().await, Body::TwoWayTalkStart(EMPTY));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(scene.answer.try_recv().is_err(), "nobody can speak yet");
    scene.says(Body::TwoWayTalkStartResponse(Bytes::from_static(b"\x08\x01"))).await;
    let line = (&mut scene.answer).await.unwrap().unwrap();
    assert_eq!(line.format, AudioFormat::PCMU);
    line.audio.send(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(scene.camera.pieces.recv().await.unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn letting_go_of_the_line_is_told_to_the_camera() {
    let (scene, line) = Scene::open().await;
    drop(line);
    scene.ends_with_a_farewell().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_the_service_is_told_to_the_camera() {
    let (scene, _line) = Scene::open().await;
    scene.stop.cancel();
    scene.ends_with_a_farewell().await;
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_before_the_consent_is_told_too() {
    for stopped in [true, false] {
        let mut scene = Scene::begin(Some(AudioFormat::OPUS));
        assert_eq!(scene.said().await, Body::TwoWayTalkStart(EMPTY));
        if stopped {
            scene.stop.cancel();
        } else {
            scene.answer = oneshot::channel().1;
        }
        scene.ends_with_a_farewell().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_says_no_farewell_is_hung_up_on_half_a_second_later() {
    let (mut scene, line) = Scene::open().await;
    drop(line);
    assert_eq!(scene.said().await, Body::TwoWayTalkEnd(EMPTY));
    let asked = clock::now();
    scene.camera.hung_up.cancelled().await;
    assert_eq!(asked.elapsed().as_millis(), 500);
    scene.talk.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_consent_talk_begins_after_three_seconds() {
    let mut scene = Scene::begin(Some(AudioFormat::OPUS));
    let begun = clock::now();
    // It says other things meanwhile.
    scene.says(Body::GetMetadataResponse(EMPTY)).await;
    let line = (&mut scene.answer).await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(scene.said().await, Body::TwoWayTalkStart(EMPTY));
    drop(line);
    scene.ends_with_a_farewell().await;
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_hangs_up_ends_the_talk_with_a_sentence() {
    let (mut scene, line) = Scene::open().await;
    scene.camera.says = None;
    line.audio.closed().await;
    let error = scene.talk.await.unwrap().unwrap_err();
    assert_eq!(
        error.what,
        "The doorbell ended the talk. Somebody else of the household may have begun to use it in Vivint's app. Try \
         again in a moment."
    );
    assert!(scene.camera.said.recv().await.is_none(), "nothing is said to a camera that has hung up");
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_hangs_up_before_is_no_end_of_a_talk() {
    let mut scene = Scene::begin(Some(AudioFormat::OPUS));
    scene.camera.says = None;
    let told = scene.answer.await.unwrap().unwrap_err();
    assert_eq!(
        told.to_string(),
        "Calling the doorbell failed: the doorbell hung up. Somebody else of the household may be using it in \
         Vivint's app. Try again in a moment."
    );
    scene.talk.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_camera_without_a_speaker_is_hung_up_on() {
    let scene = Scene::begin(None);
    assert!(matches!(scene.answer.await.unwrap(), Err(ActionError::Refused { .. })));
    scene.talk.await.unwrap().unwrap();
    assert!(scene.camera.hung_up.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn what_a_camera_answers_is_told_as_it_came() {
    let (call, mut camera) = Call::scripted(None);
    let asked = tokio::spawn(put_to(call, Body::GetOldestTimestamp(EMPTY)));
    assert_eq!(camera.said.recv().await, Some(Body::GetOldestTimestamp(EMPTY)));
    let body = Bytes::from_static(b"\x08\x96\x01");
    camera.says.as_ref().unwrap().send(Received::Unknown { field: 17, body }).await.unwrap();
    let told = asked.await.unwrap().unwrap();
    assert_eq!(told, json!({ "asked": "get_oldest_timestamp", "answered_by": "field 17", "hex": "089601" }));
    assert!(camera.hung_up.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_does_not_know_the_question_is_told_apart_from_one_that_hung_up() {
    let (call, _camera) = Call::scripted(None);
    let silent = put_to(call, Body::GetMetadataRequest(EMPTY)).await.unwrap_err();
    assert!(matches!(&silent, ActionError::Refused { why } if why.contains("get_metadata_request")), "{silent}");
    let (call, camera) = Call::scripted(None);
    drop(camera);
    let gone = put_to(call, Body::GetMetadataRequest(EMPTY)).await.unwrap_err();
    assert!(matches!(gone, ActionError::Offline { .. }), "{gone}");
}
