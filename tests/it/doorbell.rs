//! What a doorbell promises to its faces, whatever its device does. Virtual time, no sockets.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use doorstep::doorbell::vendor::Retry;
use doorstep::doorbell::{ActionError, Doorbell, Options};
use doorstep::media::AudioFormat;
use doorstep::model::{Capability, Event, Link, Motion, MotionKind, Ring, State};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::support::fake_vendor::{FakeVendor, Life, OnTalk};
use crate::support::log::Log;
use crate::support::random::Random;

async fn until(doorbell: &Doorbell, what: &str, condition: impl FnMut(&State) -> bool) -> State {
    let mut state = doorbell.state();
    let waited = tokio::time::timeout(Duration::from_secs(7200), state.wait_for(condition)).await;
    match waited {
        Ok(state) => state.expect("the doorbell is gone").clone(),
        Err(_) => panic!("the doorbell never was: {what}; it is {:?}", doorbell.state().borrow()),
    }
}

/// A doorbell whose device lives.
async fn ready(vendor: &Arc<FakeVendor>) -> Doorbell {
    let doorbell = vendor.doorbell(&CancellationToken::new());
    until(&doorbell, "ready", |state| state.link == Link::Ready).await;
    doorbell
}

fn is_talking(doorbell: &Doorbell) -> bool {
    doorbell.state().borrow().talking
}

#[tokio::test(start_paused = true)]
async fn a_ring_told_twice_is_one_ring() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    let mut events = doorbell.events();
    for id in ["push-1", "push-1", "push-2", "push-1"] {
        vendor.ring(id);
    }
    let mut told = Vec::new();
    for _ in 0..2 {
        match events.recv().await.unwrap() {
            Event::Ring(ring) => told.push(ring.event_id),
            other => panic!("not a ring: {other:?}"),
        }
    }
    assert_eq!(told, ["push-1", "push-2"]);
    vendor.end_life(Ok(()));
    vendor.lives(2).await;
    vendor.ring("push-2");
    vendor.ring("push-3");
    match events.recv().await.unwrap() {
        Event::Ring(ring) => assert_eq!(ring.event_id, "push-3", "the next life told an old ring anew"),
        other => panic!("not a ring: {other:?}"),
    }
    assert_eq!(doorbell.state().borrow().last_ring.as_ref().unwrap().event_id, "push-3");
}

#[tokio::test(start_paused = true)]
async fn a_ring_and_a_motion_of_one_id_are_two_events() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    let mut events = doorbell.events();
    let motion = Motion { at: doorstep::clock::unix_now(), event_id: "7".to_owned(), kind: MotionKind::Person };
    vendor.tell(Event::Motion(motion));
    vendor.ring("7");
    assert!(matches!(events.recv().await.unwrap(), Event::Motion(_)));
    assert!(matches!(events.recv().await.unwrap(), Event::Ring(_)));
}

#[tokio::test(start_paused = true)]
async fn the_last_twenty_rings_are_kept_newest_first() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    for n in 0..25 {
        vendor.ring(&format!("ring-{n}"));
    }
    until(&doorbell, "rung 25 times", |s| s.last_ring.as_ref().is_some_and(|r| r.event_id == "ring-24")).await;
    let kept: Vec<String> = doorbell.rings().into_iter().map(|ring| ring.event_id).collect();
    assert_eq!(kept, (5..25).rev().map(|n| format!("ring-{n}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_bouncing_button_rings_once() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    let mut events = doorbell.events();
    for _ in 0..5 {
        doorbell.press("button");
        tokio::time::advance(Duration::from_millis(150)).await;
    }
    doorbell.press("radio");
    tokio::time::advance(Duration::from_secs(1)).await;
    doorbell.press("button");
    let sources: Vec<_> = doorbell.rings().iter().map(|ring| ring.source).collect();
    assert_eq!(sources, ["button", "radio", "button"], "newest first");
    for _ in 0..3 {
        assert!(matches!(events.try_recv(), Ok(Event::Ring(_))), "a ring was not told");
    }
    assert!(events.try_recv().is_err(), "a ring too many was told");
}

#[tokio::test(start_paused = true)]
async fn a_press_that_the_cloud_tells_again_rings_once() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    let told_late = |at: SystemTime, id: &str| {
        let latency = Some(Duration::from_secs(6));
        doorbell.tell(Event::Ring(Ring { at, event_id: id.to_owned(), source: "cloud", latency }));
    };
    doorbell.press("button");
    let pressed = doorbell.rings()[0].at;
    tokio::time::advance(Duration::from_secs(8)).await;
    doorbell.press("button");
    told_late(pressed - Duration::from_secs(1), "a");
    told_late(pressed + Duration::from_secs(9), "b");
    assert_eq!(doorbell.rings_total(), 2, "each press is a ring, and none is two");
    told_late(pressed + Duration::from_secs(30), "c");
    told_late(pressed + Duration::from_secs(31), "d");
    assert_eq!(doorbell.rings_total(), 4, "a press that the wire has missed is told by the cloud");
}

#[tokio::test(start_paused = true)]
async fn an_owners_name_replaces_the_accounts() {
    let vendor = FakeVendor::new();
    let options = Options { name: Some("Back Gate".to_owned()), ..Options::default() };
    assert_eq!(vendor.doorbell_with(options, &CancellationToken::new()).info().name, "Back Gate");
}

// Lives.

#[tokio::test(start_paused = true)]
async fn a_failing_device_is_tried_again_ever_more_slowly() {
    let vendor = FakeVendor::new();
    for _ in 0..4 {
        vendor.then_life(Life::Fails(FakeVendor::error("no answer", Retry::Backoff)));
    }
    let begun = Instant::now();
    let doorbell = vendor.doorbell(&CancellationToken::new());
    let state = until(&doorbell, "failed", |state| state.last_error.is_some()).await;
    assert_eq!((state.link, state.last_error.as_deref()), (Link::Offline, Some("no answer")));
    vendor.lives(5).await;
    // 1 + 2 + 4 + 8 s, each ±50 %.
    let took = begun.elapsed().as_secs_f32();
    assert!((7.5..22.6).contains(&took), "the fifth life began after {took} s");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_logged_when_it_begins_when_its_reason_changes_and_when_it_ends() {
    let (log, _while_this_test_runs) = Log::capture(Level::INFO);
    let vendor = FakeVendor::new();
    for what in ["no answer", "no answer", "no answer", "wrong key", "wrong key"] {
        vendor.then_life(Life::Fails(FakeVendor::error(what, Retry::Backoff)));
    }
    let doorbell = vendor.doorbell(&CancellationToken::new());
    vendor.lives(6).await;
    assert_eq!(doorbell.state().borrow().last_error.as_deref(), Some("wrong key"));
    doorbell.switch_stream(true);
    until(&doorbell, "without error", |state| state.last_error.is_none()).await;
    vendor.end_life(Ok(()));
    vendor.lives(7).await;
    let logged = log.lines();
    let of_the_failure: Vec<&str> = ["no answer", "wrong key", "works again"]
        .into_iter()
        .flat_map(|what| logged.iter().filter(move |line| line.contains(what)).map(move |_| what))
        .collect();
    assert_eq!(of_the_failure, ["no answer", "wrong key", "works again"], "{logged:#?}");
    assert!(logged.iter().all(|line| line.contains("device{id=fake_1}")), "{logged:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_device_is_survived() {
    let vendor = FakeVendor::new();
    vendor.then_life(Life::Panics);
    let doorbell = vendor.doorbell(&CancellationToken::new());
    vendor.lives(2).await;
    until(&doorbell, "ready again", |state| state.link == Link::Ready).await;
    assert!(doorbell.start_talk(1).await.is_ok(), "the doorbell no longer works");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_names_a_time_is_obeyed() {
    let vendor = FakeVendor::new();
    vendor.then_life(Life::Fails(FakeVendor::error("rate limit", Retry::After(Duration::from_secs(300)))));
    vendor.then_life(Life::Fails(FakeVendor::error("absurd", Retry::After(Duration::from_secs(1 << 40)))));
    let begun = Instant::now();
    let _doorbell = vendor.doorbell(&CancellationToken::new());
    vendor.lives(2).await;
    assert_eq!(begun.elapsed().as_secs(), 300);
    vendor.lives(3).await;
    assert_eq!(begun.elapsed().as_secs(), 300 + 3600, "no server may silence a doorbell for longer than an hour");
}

#[tokio::test(start_paused = true)]
async fn a_refused_login_is_tried_once_again_and_then_waits_for_the_owner() {
    let vendor = FakeVendor::new();
    for _ in 0..9 {
        vendor.then_life(Life::Fails(FakeVendor::error("wrong password", Retry::Reauthenticate)));
    }
    let doorbell = vendor.doorbell(&CancellationToken::new());
    let attention = Link::NeedsAttention { why: "wrong password".to_owned() };
    until(&doorbell, "in need of its owner", |state| state.link == attention).await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(vendor.seen().lives, 2, "an account may be locked by this");
    let refused = doorbell.start_talk(1).await.unwrap_err();
    assert_eq!(refused, ActionError::Offline { why: "wrong password".to_owned() });
}

#[tokio::test(start_paused = true)]
async fn what_the_device_says_of_its_link_is_the_state_and_does_not_outlive_it() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    vendor.set_state(|state| state.transport = Some("lan new"));
    until(&doorbell, "reached over the LAN", |state| state.transport == Some("lan new")).await;
    vendor.end_life(Ok(()));
    until(&doorbell, "between two lives", |s| s.link == Link::Offline && s.transport.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn formats_of_an_ended_session_are_forgotten() {
    let vendor = FakeVendor::new();
    vendor.films();
    let doorbell = ready(&vendor).await;
    let viewer = doorbell.watch();
    assert!(viewer.formats().await.video.is_some());
    vendor.then_life(Life::Fails(FakeVendor::error("gone", Retry::Backoff)));
    vendor.end_life(Ok(()));
    until(&doorbell, "gone", |state| state.last_error.as_deref() == Some("gone")).await;
    assert_eq!(doorbell.media().formats().borrow().video, None);
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_the_device_say_farewell_after_the_talk_has_ended() {
    let vendor = FakeVendor::new();
    let stop = CancellationToken::new();
    let doorbell = vendor.doorbell(&stop);
    vendor.lives(1).await;
    let grant = doorbell.start_talk(1).await.unwrap();
    stop.cancel();
    doorbell.stopped().await;
    let seen = vendor.seen();
    assert_eq!((seen.farewells, seen.talks_ended), (1, 1));
    assert!(grant.audio.is_closed());
    let state = doorbell.state().borrow().clone();
    assert_eq!((state.link, state.talking), (Link::Offline, false));
    assert!(matches!(doorbell.start_talk(1).await, Err(ActionError::Offline { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_that_nobody_holds_stops() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    drop(doorbell);
    vendor.until("a farewell", |seen| seen.farewells == 1).await;
}

// Viewers.

#[tokio::test(start_paused = true)]
async fn the_stream_switch_keeps_the_camera_up_and_is_no_viewer() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    doorbell.switch_stream(true);
    doorbell.switch_stream(true);
    let state = until(&doorbell, "streaming", |state| state.link == Link::Streaming).await;
    assert!(state.stream_switch);
    let viewers = [doorbell.watch(), doorbell.watch()];
    until(&doorbell, "watched by two", |state| state.viewers == 2).await;
    doorbell.switch_stream(false);
    drop(viewers);
    let state = until(&doorbell, "ready", |state| state.link == Link::Ready).await;
    assert!(!state.stream_switch);
    until(&doorbell, "unwatched", |state| state.viewers == 0).await;
    assert_eq!(*doorbell.media().demand().borrow(), 0);
}

// Talk.

#[tokio::test(start_paused = true)]
async fn speech_reaches_the_speaker_and_dropping_the_grant_closes_it() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    let grant = doorbell.start_talk(1).await.unwrap();
    assert_eq!(grant.format, AudioFormat::PCMU);
    assert!(is_talking(&doorbell));
    grant.audio.send(Bytes::from_static(b"hello")).await.unwrap();
    let seen = vendor.until("speech", |seen| !seen.heard.is_empty()).await;
    assert_eq!(seen.heard, [Bytes::from_static(b"hello")]);
    drop(grant);
    vendor.until("the end", |seen| !seen.speaker_open).await;
    until(&doorbell, "silent", |state| !state.talking).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_talker_is_refused_at_once_even_while_the_first_is_opening() {
    let vendor = FakeVendor::new();
    vendor.on_talk(OnTalk::Hangs);
    let doorbell = ready(&vendor).await;
    let first = tokio::spawn({
        let doorbell = doorbell.clone();
        async move { doorbell.start_talk(1).await }
    });
    vendor.until("a request", |seen| seen.talks_asked == 1).await;
    let asked = Instant::now();
    assert_eq!(doorbell.start_talk(2).await.unwrap_err(), ActionError::Busy);
    assert_eq!(doorbell.switch_talk(true).await.unwrap_err(), ActionError::Busy);
    assert_eq!(asked.elapsed(), Duration::ZERO);
    vendor.answer_talk();
    let _grant = first.await.unwrap().unwrap();
    assert_eq!(doorbell.start_talk(2).await.unwrap_err(), ActionError::Busy);
    assert_eq!(doorbell.switch_talk(true).await.unwrap_err(), ActionError::Busy);
    assert_eq!(vendor.seen().talks_asked, 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_gave_up_while_the_speaker_was_opening_blocks_nobody() {
    let vendor = FakeVendor::new();
    vendor.on_talk(OnTalk::Hangs);
    let doorbell = ready(&vendor).await;
    let first = tokio::time::timeout(Duration::from_millis(200), doorbell.start_talk(1)).await;
    assert!(first.is_err(), "nobody had answered yet");
    let (second, ()) = tokio::join!(doorbell.start_talk(2), async { vendor.answer_talk() });
    assert!(second.is_ok(), "{second:?}");
    assert_eq!(vendor.seen().talks_asked, 1, "the speaker was asked for twice");
}

#[tokio::test(start_paused = true)]
async fn a_speaker_that_opens_when_nobody_waits_any_more_is_closed() {
    let vendor = FakeVendor::new();
    vendor.on_talk(OnTalk::Hangs);
    let doorbell = ready(&vendor).await;
    let first = tokio::time::timeout(Duration::from_millis(200), doorbell.start_talk(1)).await;
    assert!(first.is_err(), "nobody had answered yet");
    vendor.answer_talk();
    vendor.until("the end", |seen| seen.talks_ended == 1).await;
    assert!(!is_talking(&doorbell));
}

#[tokio::test(start_paused = true)]
async fn the_switch_lets_one_microphone_through_at_a_time() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    doorbell.switch_talk(true).await.unwrap();
    doorbell.switch_talk(true).await.unwrap();
    assert!(is_talking(&doorbell));
    let first = doorbell.start_talk(1).await.unwrap();
    assert_eq!(doorbell.start_talk(2).await.unwrap_err(), ActionError::Busy);
    drop(first);
    let second = doorbell.start_talk(2).await.unwrap();
    second.audio.send(Bytes::from_static(b"2")).await.unwrap();
    vendor.until("speech", |seen| seen.heard == [Bytes::from_static(b"2")]).await;
    drop(second);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(vendor.seen().speaker_open, "the switch still holds it");
    assert_eq!(vendor.seen().talks_asked, 1);
    doorbell.switch_talk(false).await.unwrap();
    assert!(!is_talking(&doorbell));
    vendor.until("the end", |seen| !seen.speaker_open).await;
}

#[tokio::test(start_paused = true)]
async fn the_state_tells_a_speaker_that_is_free_from_one_that_is_taken() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    let mut state = doorbell.state();
    doorbell.switch_talk(true).await.unwrap();
    state.wait_for(|state| state.talking && state.microphone.is_none()).await.unwrap();
    let grant = doorbell.start_talk(1).await.unwrap();
    state.wait_for(|state| state.talking && state.microphone == Some(1)).await.unwrap();
    drop(grant);
    state.wait_for(|state| state.talking && state.microphone.is_none()).await.unwrap();
    let _grant = doorbell.start_talk(2).await.unwrap();
    doorbell.switch_talk(false).await.unwrap();
    state.wait_for(|state| !state.talking && state.microphone.is_none()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_switch_ends_a_talk_although_the_microphone_holds_on() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    doorbell.switch_talk(true).await.unwrap();
    let grant = doorbell.start_talk(1).await.unwrap();
    doorbell.switch_talk(false).await.unwrap();
    assert!(!is_talking(&doorbell));
    vendor.until("the end", |seen| !seen.speaker_open).await;
    assert!(grant.audio.send(Bytes::from_static(b"late")).await.is_err(), "the microphone is not told");
    assert!(vendor.seen().heard.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_speaks_while_the_switch_is_opening_is_let_in() {
    let vendor = FakeVendor::new();
    vendor.on_talk(OnTalk::Hangs);
    let doorbell = ready(&vendor).await;
    let answer_later = async {
        vendor.until("a request", |seen| seen.talks_asked == 1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        vendor.answer_talk();
    };
    let (switched, grant, ()) = tokio::join!(doorbell.switch_talk(true), doorbell.start_talk(1), answer_later);
    assert_eq!(switched, Ok(()));
    assert!(grant.is_ok(), "{grant:?}");
}

#[tokio::test(start_paused = true)]
async fn switching_off_while_opening_ends_it() {
    let vendor = FakeVendor::new();
    vendor.on_talk(OnTalk::Hangs);
    let doorbell = ready(&vendor).await;
    let off = async {
        vendor.until("a request", |seen| seen.talks_asked == 1).await;
        doorbell.switch_talk(false).await
    };
    let (on, off) = tokio::join!(doorbell.switch_talk(true), off);
    assert!(matches!(on, Err(ActionError::Refused { .. })), "{on:?}");
    assert_eq!(off, Ok(()));
    vendor.answer_talk();
    vendor.on_talk(OnTalk::Opens(AudioFormat::PCMU));
    assert!(doorbell.start_talk(1).await.is_ok(), "the speaker is stuck");
}

#[tokio::test(start_paused = true)]
async fn no_talk_outlasts_its_limit() {
    let vendor = FakeVendor::new();
    let options = Options { talk_limit: Duration::from_secs(30), ..Options::default() };
    let doorbell = vendor.doorbell_with(options, &CancellationToken::new());
    vendor.lives(1).await;
    let begun = Instant::now();
    doorbell.switch_talk(true).await.unwrap();
    let grant = doorbell.start_talk(1).await.unwrap();
    let speaks = async {
        while grant.audio.send(Bytes::from_static(b".")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    speaks.await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    until(&doorbell, "silent", |state| !state.talking).await;
    vendor.until("the end", |seen| !seen.speaker_open).await;
}

#[tokio::test(start_paused = true)]
async fn a_microphone_that_says_nothing_gives_the_speaker_back_within_three_seconds() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    let grant = doorbell.start_talk(1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_400)).await;
    grant.audio.send(Bytes::from_static(b".")).await.unwrap();
    let last_word = Instant::now();
    vendor.until("the end", |seen| seen.talks_ended == 1).await;
    assert_eq!(last_word.elapsed(), Duration::from_millis(2_500));
    assert!(grant.audio.is_closed());
    assert!(!is_talking(&doorbell));
}

#[tokio::test(start_paused = true)]
async fn a_talk_ended_by_the_camera_shows_at_once() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    doorbell.switch_talk(true).await.unwrap();
    let grant = doorbell.start_talk(1).await.unwrap();
    let hung_up = Instant::now();
    vendor.hang_up();
    until(&doorbell, "silent", |state| !state.talking).await;
    assert_eq!(hung_up.elapsed(), Duration::ZERO);
    assert!(grant.audio.is_closed());
}

#[tokio::test(start_paused = true)]
async fn nothing_said_to_a_dead_session_is_heard_in_the_next() {
    let vendor = FakeVendor::new();
    let doorbell = ready(&vendor).await;
    let grant = doorbell.start_talk(1).await.unwrap();
    vendor.end_life(Err(FakeVendor::error("the camera rebooted", Retry::Backoff)));
    until(&doorbell, "silent", |state| !state.talking).await;
    assert!(grant.audio.send(Bytes::from_static(b"late")).await.is_err());
    let refused = doorbell.start_talk(1).await.unwrap_err();
    assert_eq!(refused, ActionError::Offline { why: "the camera rebooted".to_owned() });
    vendor.lives(2).await;
    let _again = doorbell.start_talk(1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(vendor.seen().heard.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_talk_ends_with_the_life_of_the_device_even_if_it_leaves_a_task_behind() {
    let vendor = FakeVendor::new();
    vendor.on_talk(OnTalk::Leaks);
    let doorbell = ready(&vendor).await;
    doorbell.switch_talk(true).await.unwrap();
    let begun = Instant::now();
    vendor.end_life(Ok(()));
    until(&doorbell, "silent", |state| !state.talking).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_speaker_that_does_not_answer_is_a_time_out_and_blocks_nobody() {
    let vendor = FakeVendor::new();
    vendor.on_talk(OnTalk::Hangs);
    let doorbell = ready(&vendor).await;
    let asked = Instant::now();
    assert_eq!(doorbell.start_talk(1).await.unwrap_err(), ActionError::Timeout);
    assert_eq!(asked.elapsed().as_secs(), 10);
    assert!(!is_talking(&doorbell));
    vendor.on_talk(OnTalk::Opens(AudioFormat::PCMU));
    assert!(doorbell.start_talk(2).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_passed_on() {
    let vendor = FakeVendor::new();
    let refusal = ActionError::Refused { why: "the phone app is talking".to_owned() };
    vendor.on_talk(OnTalk::Refuses(refusal.clone()));
    let doorbell = ready(&vendor).await;
    assert_eq!(doorbell.start_talk(1).await.unwrap_err(), refusal);
    assert_eq!(doorbell.switch_talk(true).await.unwrap_err(), refusal);
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_without_a_speaker_says_so() {
    let vendor = FakeVendor::with([Capability::Ring, Capability::Stream]);
    let doorbell = ready(&vendor).await;
    assert!(matches!(doorbell.start_talk(1).await, Err(ActionError::Unsupported(_))));
    assert!(matches!(doorbell.switch_talk(true).await, Err(ActionError::Unsupported(_))));
    assert_eq!(doorbell.switch_talk(false).await, Ok(()), "letting go never fails");
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_at_most_one_talks_and_nothing_stays_open() {
    for seed in 1..=40 {
        let mut random = Random(seed);
        let vendor = FakeVendor::new();
        let doorbell = ready(&vendor).await;
        let mut grants = Vec::new();
        for step in 0..100 {
            match random.below(8) {
                0 | 1 => grants.extend(doorbell.start_talk(random.below(3)).await),
                2 if !grants.is_empty() => drop(grants.swap_remove(random.below(grants.len() as u64) as usize)),
                3 => drop(doorbell.switch_talk(true).await),
                4 => drop(doorbell.switch_talk(false).await),
                5 if doorbell.state().borrow().link == Link::Ready => vendor.hang_up(),
                6 if random.below(5) == 0 && doorbell.state().borrow().link == Link::Ready => {
                    vendor.end_life(Ok(()));
                }
                _ => {
                    for grant in &grants {
                        let _closed_or_full = grant.audio.try_send(Bytes::from_static(b"."));
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(random.below(1_500))).await;
            let open = grants.iter().filter(|grant| !grant.audio.is_closed()).count();
            let talking = is_talking(&doorbell);
            assert!(open <= 1, "seed {seed}, step {step}: {open} microphones are let through");
            assert!(talking || open == 0, "seed {seed}, step {step}: a microphone is open without a talk");
            assert_eq!(talking, vendor.seen().speaker_open, "seed {seed}, step {step}");
        }
        drop(grants);
        doorbell.switch_talk(false).await.unwrap();
        vendor.until("a closed speaker", |seen| !seen.speaker_open).await;
        assert!(!is_talking(&doorbell), "seed {seed}");
    }
}
