//! The life of a doorbell at AWS: called while somebody wants it, and left alone otherwise.

use std::time::Duration;

use doorstep::doorbell::guard::{Attempt, Via};
use doorstep::doorbell::{ActionError, Doorbell};
use doorstep::media::{AudioCodec, FrameKind};
use doorstep::model::{DoorKind, Link, LockAction, LockState};
use doorstep::sim::aws::Fault as CloudFault;
use doorstep::sim::kvs_doorbell::{Command, Event, Fault, Profile};
use doorstep::{clock, doorbell::door::Answer};
use tokio::time::timeout;

use crate::support::kvs_house::{CHANNEL, Caller, Cloud, DOORBELL, House, PATIENCE, rings, until};
use crate::support::score::{Figure, tally};
use crate::support::viewer::speech;

/// A doorbell that is there, and the house that it belongs to.
async fn at_home(profile: Profile) -> (Cloud, Caller, House, Doorbell) {
    let cloud = Cloud::new().await;
    let mut caller = cloud.doorbell(CHANNEL, profile);
    let house = cloud.house();
    house.is_ready().await;
    if profile != Profile::Linux {
        caller.is(Event::Online).await;
    }
    let doorbell = house.doorbell(DOORBELL).await;
    until(&doorbell, "ready", |state| state.link == Link::Ready).await;
    (cloud, caller, house, doorbell)
}

async fn is_seen(doorbell: &Doorbell) {
    let mut frames = doorbell.media().listen();
    let picture = async { while !frames.next().await.unwrap().kind.is_video() {} };
    timeout(PATIENCE, picture).await.expect("there is no picture");
}

fn left(event: &Event) -> Option<()> {
    matches!(event, Event::Left { .. }).then_some(())
}

#[tokio::test]
async fn a_doorbell_is_called_when_somebody_watches_and_left_when_nobody_does() {
    let (cloud, mut caller, house, doorbell) = at_home(Profile::Ameba).await;
    assert_eq!(
        cloud.aws.requests_to("/getSignalingChannelEndpoint"),
        1,
        "the doorbell's own; it was called for nobody"
    );
    let watching = doorbell.watch();
    is_seen(&doorbell).await;
    let state = until(&doorbell, "streaming", |state| state.link == Link::Streaming).await;
    assert_eq!((state.transport, state.last_error), (Some("webrtc"), None));
    drop(watching);
    caller.happens("hanging up", left).await;
    let state = until(&doorbell, "ready", |state| state.link == Link::Ready).await;
    assert_eq!(state.transport, None);
    house.end().await;
}

#[tokio::test]
async fn whoever_talks_is_heard_at_the_door() {
    for (profile, codec) in [(Profile::Ameba, AudioCodec::Pcmu), (Profile::Python, AudioCodec::Opus)] {
        let (_cloud, mut caller, house, doorbell) = at_home(profile).await;
        let grant = doorbell.start_talk(1).await.unwrap();
        assert_eq!(grant.format.codec, codec, "{profile:?}");
        let speaking = tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(20));
            // Opus is made of the tone elsewhere; that anything is heard is what counts here.
            while grant.audio.send(speech()).await.is_ok() {
                beat.tick().await;
            }
        });
        caller.happens("talk", |event| matches!(event, Event::TalkStarted { .. }).then_some(())).await;
        speaking.abort();
        caller.happens("hanging up", left).await;
        house.end().await;
    }
}

#[tokio::test]
async fn a_doorbell_that_comes_with_its_ring_is_called_when_it_rings() {
    let (_cloud, mut caller, house, doorbell) = at_home(Profile::Linux).await;
    caller.obey(Command::Online(false));
    caller.is(Event::BellConnected).await;
    let _watching = doorbell.watch();
    let gave_up = |state: &doorstep::model::State| state.last_error.as_ref().is_some_and(|why| why.contains("answer"));
    let state = until(&doorbell, "known to be away", gave_up).await;
    assert!(state.link.is_available(), "its bell must be heard: {:?}", state.link);
    caller.obey(Command::Ring);
    rings(&doorbell, 0).await;
    let rung = clock::now();
    is_seen(&doorbell).await;
    assert!(rung.elapsed() < Duration::from_secs(20), "it took {:?}", rung.elapsed());
    until(&doorbell, "free of errors", |state| state.last_error.is_none()).await;
    house.end().await;
}

#[tokio::test]
async fn a_call_that_aws_refuses_is_told_of_and_tried_again() {
    let (cloud, _caller, house, doorbell) = at_home(Profile::Ameba).await;
    cloud.trouble(CloudFault::RefuseConnect);
    let _watching = doorbell.watch();
    let state = until(&doorbell, "refused", |state| state.last_error.is_some()).await;
    let why = state.last_error.unwrap();
    assert!(why.contains("403") && why.ends_with('.') && !why.contains("X-Amz"), "{why}");
    cloud.all_is_well();
    is_seen(&doorbell).await;
    house.end().await;
}

#[tokio::test]
async fn no_other_program_is_given_a_call_that_could_open_the_door_past_its_guard() {
    let (_cloud, _caller, house, doorbell) = at_home(Profile::Ameba).await;
    let watching = doorbell.watch();
    for live in [false, true] {
        if live {
            is_seen(&doorbell).await;
        }
        let refused = doorbell.arrange_call().await.unwrap_err();
        assert!(matches!(refused, ActionError::Unsupported(why) if why.contains("could open its door")), "{refused}");
    }
    drop(watching);
    house.end().await;
}

async fn asked_to_open(doorbell: &Doorbell) -> Answer {
    let door = doorbell.door(DoorKind::Lock).unwrap().clone();
    let via = Via::Http { who: "test".into(), action: LockAction::Unlock };
    timeout(PATIENCE, door.work(Attempt { via, received: clock::now() })).await.unwrap()
}

fn stands(doorbell: &Doorbell) -> Option<LockState> {
    doorbell.state().borrow().door.as_ref().and_then(|door| door.lock)
}

#[tokio::test]
async fn a_door_is_opened_over_a_call_that_is_placed_for_it() {
    let (_cloud, mut caller, house, doorbell) = at_home(Profile::Ameba).await;
    assert_eq!(stands(&doorbell), Some(LockState::Locked));
    let pressed = clock::now();
    let opened = caller.happens("open door", |event| matches!(event, Event::DoorOpened { .. }).then(clock::now));
    let (answer, opened) = tokio::join!(asked_to_open(&doorbell), opened);
    assert_eq!(answer.outcome, Ok(LockState::Unlocked));
    println!("press to command at the doorbell: {:?}", opened.duration_since(pressed));
    tally(Figure::UnlocksDone, 1, 1);
    until(&doorbell, "open", |state| state.door.as_ref().is_some_and(|door| door.lock == Some(LockState::Unlocked)))
        .await;
    until(&doorbell, "shut", |state| state.door.as_ref().is_some_and(|door| door.lock == Some(LockState::Locked)))
        .await;
    // Nobody watches.
    caller.happens("hanging up", left).await;
    house.end().await;
}

#[tokio::test]
async fn a_door_is_opened_over_the_call_that_is_there() {
    let (cloud, mut caller, house, doorbell) = at_home(Profile::Ameba).await;
    let _watching = doorbell.watch();
    is_seen(&doorbell).await;
    let signed = cloud.aws.requests_to("/getSignalingChannelEndpoint");
    let pressed = clock::now();
    let opening = asked_to_open(&doorbell);
    let opened = caller.happens("open door", |event| matches!(event, Event::DoorOpened { .. }).then(clock::now));
    let (answer, opened) = tokio::join!(opening, opened);
    assert_eq!(answer.outcome, Ok(LockState::Unlocked));
    println!("press to command at the doorbell: {:?}", opened.duration_since(pressed));
    assert_eq!(cloud.aws.requests_to("/getSignalingChannelEndpoint"), signed);
    house.end().await;
}

#[tokio::test]
async fn a_door_that_may_have_opened_is_told_as_that() {
    let (_cloud, caller, house, doorbell) = at_home(Profile::Ameba).await;
    let _watching = doorbell.watch();
    is_seen(&doorbell).await;
    caller.obey(Command::Fault(Some(Fault::SilentDoor)));
    assert_eq!(asked_to_open(&doorbell).await.outcome, Err(ActionError::Timeout));
    assert_eq!(stands(&doorbell), Some(LockState::Locked));
    house.end().await;
}

#[tokio::test]
async fn a_door_that_stayed_shut_is_told_as_that() {
    let (_cloud, caller, house, doorbell) = at_home(Profile::Ameba).await;
    let _watching = doorbell.watch();
    is_seen(&doorbell).await;
    caller.obey(Command::Fault(Some(Fault::Echo)));
    let ActionError::Refused { why } = asked_to_open(&doorbell).await.outcome.unwrap_err() else {
        panic!("no refusal")
    };
    assert!(why.contains("opened nothing"), "{why}");
    house.end().await;
}

#[tokio::test]
async fn a_doorbell_that_is_away_is_sent_nothing_when_it_is_back() {
    let (_cloud, mut caller, house, doorbell) = at_home(Profile::Ameba).await;
    caller.obey(Command::Online(false));
    caller.happens("leaving", |event| matches!(event, Event::Offline { .. }).then_some(())).await;
    let begun = clock::now();
    let ActionError::Offline { why } = asked_to_open(&doorbell).await.outcome.unwrap_err() else { panic!("not away") };
    assert!(why.contains("othing was sent"), "{why}");
    assert!(begun.elapsed() < Duration::from_secs(9), "it took {:?}", begun.elapsed());
    let _watching = doorbell.watch();
    caller.obey(Command::Online(true));
    is_seen(&doorbell).await;
    // Over the same channel a later command would come behind an earlier one.
    assert_eq!(asked_to_open(&doorbell).await.outcome, Ok(LockState::Unlocked));
    let mut opened = 0;
    while let Ok(event) = caller.happened.try_recv() {
        opened += usize::from(matches!(event, Event::DoorOpened { .. }));
    }
    tally(Figure::UnlocksRefused, usize::from(opened <= 1), 1);
    tally(Figure::UnlocksDone, usize::from(opened == 1), 1);
    assert_eq!(opened, 1);
    house.end().await;
}

#[tokio::test]
async fn sound_comes_with_the_picture() {
    let (_cloud, _caller, house, doorbell) = at_home(Profile::Python).await;
    let _watching = doorbell.watch();
    let mut frames = doorbell.media().listen();
    let sound = async { while !matches!(frames.next().await.unwrap().kind, FrameKind::Audio(_)) {} };
    timeout(PATIENCE, sound).await.expect("there is no sound");
    house.end().await;
}
