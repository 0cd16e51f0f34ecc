//! What a Vivint camera does beside its picture: still pictures, talks and answers, in memory and in virtual time.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use doorstep::doorbell::{ActionError, Question, Request, TalkLine};
use doorstep::model::Link;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;
use url::Url;

use crate::support::vivint_camera::{Life, Seen, VivintCamera};

const JPEG: &[u8] = b"\xff\xd8\xff\xe0picture";

fn at(since_1970_s: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(since_1970_s)
}

async fn ask<T>(life: &Life, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> oneshot::Receiver<T> {
    let (reply, answer) = oneshot::channel();
    life.requests.send(request(reply)).await.unwrap();
    answer
}

async fn snapshot(life: &Life) -> Result<Bytes, ActionError> {
    ask(life, |reply| Request::TakeSnapshot { reply }).await.await.unwrap()
}

async fn start_talk(life: &Life) -> oneshot::Receiver<Result<TalkLine, ActionError>> {
    ask(life, |reply| Request::StartTalk { reply }).await
}

#[tokio::test(start_paused = true)]
async fn a_still_picture_is_the_one_that_was_asked_for() {
    let camera = VivintCamera::new();
    camera.newest_is(at(100));
    camera.on_request_takes_one_at(at(200));
    let life = Life::begin(&camera);
    let asked = Instant::now();
    assert_eq!(snapshot(&life).await.unwrap(), [JPEG, b"200"].concat());
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert_eq!(camera.seen().thumbnails_asked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_takes_none_shows_its_last_one_after_ten_seconds() {
    let camera = VivintCamera::new();
    let life = Life::begin(&camera);
    let asked = Instant::now();
    let Err(ActionError::Offline { why }) = snapshot(&life).await else { panic!("a picture came from nowhere") };
    assert!(why.starts_with("It has taken no still picture yet. "), "{why}");
    assert_eq!(asked.elapsed().as_secs(), 10);
    camera.newest_is(at(100));
    assert_eq!(snapshot(&life).await.unwrap(), [JPEG, b"100"].concat());
    assert_eq!(asked.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_jpeg_or_too_large_is_not_passed_on() {
    let camera = VivintCamera::new();
    camera.newest_is(at(100));
    camera.on_request_takes_one_at(at(200));
    let life = Life::begin(&camera);
    let large = [&JPEG[..3], &vec![0; 4 << 20]].concat();
    for bad in [&b"<html>"[..], b"", b"\xff\xd8", &large] {
        camera.newest_is(at(100));
        camera.picture_is(Bytes::copy_from_slice(bad));
        let answer = snapshot(&life).await;
        assert!(matches!(answer, Err(ActionError::Offline { .. })), "{:?} was passed on", bad.get(..8));
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_four_errands_at_once_are_refused() {
    let camera = VivintCamera::new();
    let life = Life::begin(&camera);
    // Behind the life's first errand.
    camera.until(|_| true).await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(ask(&life, |reply| Request::TakeSnapshot { reply }).await);
    }
    assert_eq!(answers.pop().unwrap().await.unwrap(), Err(ActionError::Busy));
    for answer in answers {
        assert!(matches!(answer.await.unwrap(), Err(ActionError::Offline { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn questions_are_answered_by_the_account_or_by_the_camera() {
    let camera = VivintCamera::new();
    let life = Life::begin(&camera);
    let record = ask(&life, |reply| Request::Diagnose { question: Question::Record, reply }).await;
    assert_eq!(record.await.unwrap(), Ok(json!({"_id": 27})));
    let metadata = ask(&life, |reply| Request::Diagnose { question: Question::Metadata, reply }).await;
    assert_eq!(metadata.await.unwrap(), Ok(json!("metadata")));
    let arranged = ask(&life, |reply| Request::ArrangeCall { reply }).await;
    assert!(matches!(arranged.await.unwrap(), Err(ActionError::Unsupported(_))));
}

#[tokio::test(start_paused = true)]
async fn why_nobody_can_talk_is_shown_from_the_start() {
    let camera = VivintCamera::new();
    camera.obstacle_is("There is no key.");
    let life = Life::begin(&camera);
    life.until(|state| state.link == Link::Ready && state.talk_obstacle.as_deref() == Some("There is no key.")).await;
}

#[tokio::test(start_paused = true)]
async fn one_talk_waits_for_the_farewell_of_the_last() {
    let camera = VivintCamera::new();
    let life = Life::begin(&camera);
    let first = start_talk(&life).await.await.unwrap().unwrap();
    drop(first);
    // While the first says farewell; the doorbell has let go of the second before it asks for the third.
    let second = start_talk(&life).await;
    let third = start_talk(&life).await;
    assert_eq!(second.await.unwrap().unwrap_err(), ActionError::Busy);
    let line = third.await.unwrap().unwrap();
    assert_eq!(camera.seen(), Seen { talks: 2, farewells: 1, ..Seen::default() });
    drop(line);
    camera.until(|seen| seen.farewells == 2).await;
    life.leave().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_camera_without_a_picture_is_still_talked_to() {
    let camera = VivintCamera::new();
    let life = Life::begin(&camera);
    let line = start_talk(&life).await.await.unwrap().unwrap();
    let demand = life.media.hold();
    life.until(|state| state.last_error.is_some()).await;
    assert!(!line.audio.is_closed(), "the talk ended with the picture");
    drop((line, demand));
    let why = life.ended().await.unwrap_err().to_string();
    assert!(why.starts_with("Its account tells no address for its picture. "), "{why}");
    assert_eq!(camera.seen().farewells, 1);
}

#[tokio::test(start_paused = true)]
async fn a_way_without_a_login_says_why_there_is_none() {
    let camera = VivintCamera::new();
    camera.change(|camera| camera.panel.hd = Some(Url::parse("rtsp://192.0.2.10:8554/Video-27").unwrap()));
    let life = Life::begin(&camera);
    let _demand = life.media.hold();
    let why = life.ended().await.unwrap_err().to_string();
    let sentence = "No way leads to the camera's picture: through the panel, there is no login for it: The cloud is \
                    away. It is being tried again. ";
    assert!(why.starts_with(sentence), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_life_that_is_stopped_lets_the_talk_say_farewell() {
    let camera = VivintCamera::new();
    let life = Life::begin(&camera);
    let _line = start_talk(&life).await.await.unwrap().unwrap();
    life.leave().await.unwrap();
    assert_eq!(camera.seen(), Seen { talks: 1, farewells: 1, ..Seen::default() });
}
