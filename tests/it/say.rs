//! What a doorbell that speaks by itself promises. Virtual time, no sockets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorstep::doorbell::vendor::Retry;
use doorstep::doorbell::voice::{Source, Unspoken};
use doorstep::doorbell::{ActionError, Doorbell, Options, Said, SayError, Saying};
use doorstep::media::playback::Volume;
use doorstep::media::{AudioCodec, AudioFormat};
use doorstep::model::{Capability, ClipName, Link, Speaking};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::support::fake_vendor::{FakeVendor, OnTalk, Seen};
use crate::support::fake_voice::{FakeVoice, OnSay};
use crate::support::log::Log;
use crate::support::random::Random;

/// What the fake camera plays here: the samples as they are.
const PCM: AudioFormat = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 8_000, channels: 1 };

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A doorbell whose device lives, and the voice that it speaks with.
struct Door {
    vendor: Arc<FakeVendor>,
    voice: Arc<FakeVoice>,
    doorbell: Doorbell,
    stop: CancellationToken,
}

impl Door {
    async fn new() -> Self {
        Self::with(|options| options).await
    }

    async fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let (vendor, voice, stop) = (FakeVendor::new(), FakeVoice::new(), CancellationToken::new());
        vendor.on_talk(OnTalk::Opens(PCM));
        let doorbell = vendor.doorbell_with(change(voice.options()), &stop);
        doorbell.state().wait_for(|state| state.link == Link::Ready).await.unwrap();
        Self { vendor, voice, doorbell, stop }
    }

    /// Taken on at once; what comes of it comes later.
    fn say(&self, saying: Saying) -> JoinHandle<Result<Said, SayError>> {
        match self.doorbell.take_on(saying) {
            Ok(result) => tokio::spawn(result),
            Err(error) => tokio::spawn(async { Err(error) }),
        }
    }

    async fn speaks(&self, source: &str, queued: usize) {
        let mut state = self.doorbell.state();
        let wanted = |speaking: &Speaking| speaking.source == source && speaking.queued == queued;
        let waiting = state.wait_for(|state| state.speaking.as_ref().is_some_and(wanted));
        let waited = tokio::time::timeout(Duration::from_secs(600), waiting).await.map(drop);
        assert!(
            waited.is_ok(),
            "it never says a {source} with {queued} behind it: {:?}",
            self.doorbell.state().borrow()
        );
    }

    /// That a piece of this sample was heard.
    async fn hears(&self, sample: i16) {
        self.vendor.until("the sound", |seen| levels(seen).iter().any(|(level, _)| *level == sample)).await;
    }

    async fn is_silent(&self) {
        self.vendor.until("a closed speaker", |seen| !seen.speaker_open).await;
        let mut state = self.doorbell.state();
        let state = state.wait_for(|state| state.speaking.is_none() && !state.talking).await.unwrap();
        assert_eq!(state.microphone, None);
    }
}

/// What was heard, in runs: the sample in the middle of each piece, and how many pieces had it one after the other.
fn levels(seen: &Seen) -> Vec<(i16, usize)> {
    let mut runs: Vec<(i16, usize)> = Vec::new();
    for piece in &seen.heard {
        let at = piece.len() / 4 * 2;
        let level = i16::from_le_bytes([piece[at], piece[at + 1]]);
        match runs.last_mut() {
            Some((last, count)) if *last == level => *count += 1,
            _ => runs.push((level, 1)),
        }
    }
    runs
}

#[tokio::test(start_paused = true)]
async fn what_is_said_is_heard_whole_at_its_own_pace_and_the_speaker_is_closed_after_it() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(1_000), 1_000);
    let begun = Instant::now();
    let said = door.doorbell.say(saying).await.unwrap();
    let (took, seen) = (begun.elapsed(), door.vendor.seen());
    assert_eq!(levels(&seen), [(1_000, 50)]);
    let zero = Duration::ZERO;
    assert_eq!(said, Said { waited: zero, prepared: zero, opened: zero, played: ms(1_000), whole: true });
    assert!((ms(1_000)..ms(1_300)).contains(&took), "it took {took:?}");
    door.is_silent().await;
    assert_eq!((door.vendor.seen().talks_asked, door.vendor.seen().talks_ended), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_speaker_stays_open_until_the_last_piece_was_played() {
    let door = Door::new().await;
    let said = door.say(door.voice.knows("hello", ms(100), 1_000));
    door.vendor.until("the last piece", |seen| seen.heard.len() == 5).await;
    let last_piece = Instant::now();
    door.vendor.until("the end", |seen| seen.talks_ended == 1).await;
    assert!((ms(40)..ms(200)).contains(&last_piece.elapsed()), "closed {:?} after it", last_piece.elapsed());
    assert!(said.await.unwrap().unwrap().whole);
}

#[tokio::test(start_paused = true)]
async fn one_thing_is_said_after_the_other_in_order_and_the_next_is_prepared_meanwhile() {
    let door = Door::new().await;
    let sayings = [("a", 100), ("b", 200), ("c", 300)].map(|(text, sample)| door.voice.knows(text, ms(400), sample));
    let said = sayings.map(|saying| door.say(saying));
    door.hears(100).await;
    assert_eq!(door.voice.asked(), ["a", "b"], "no more than two recordings are there at once");
    door.speaks("text", 2).await;
    door.hears(200).await;
    assert_eq!(door.voice.asked(), ["a", "b", "c"]);
    door.speaks("text", 1).await;
    let mut waited = Vec::new();
    for said in said {
        let said = said.await.unwrap().unwrap();
        assert!(said.whole && said.played == ms(400), "{said:?}");
        waited.push(said.waited.as_millis());
    }
    assert!(waited[0] == 0 && waited[1] >= 400 && waited[2] >= 800 && waited[2] < 1_000, "{waited:?}");
    assert_eq!(levels(&door.vendor.seen()), [(100, 20), (200, 20), (300, 20)]);
    door.is_silent().await;
    assert_eq!(door.vendor.seen().talks_asked, 1, "the speaker stays open where the next is ready");
}

#[tokio::test(start_paused = true)]
async fn four_may_wait_and_a_fifth_is_refused_at_once() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(500), 1_000);
    let said: Vec<_> = (0..5).map(|_| door.say(saying.clone())).collect();
    assert_eq!(door.doorbell.say(saying.clone()).await, Err(SayError::Full));
    door.speaks("text", 4).await;
    assert_eq!(door.doorbell.say(saying.clone()).await, Err(SayError::Full));
    door.speaks("text", 3).await;
    let sixth = door.say(saying);
    for said in said.into_iter().chain([sixth]) {
        assert!(said.await.unwrap().unwrap().whole);
    }
    assert_eq!(levels(&door.vendor.seen()), [(1_000, 150)]);
    door.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn while_somebody_talks_nothing_is_said_and_nothing_is_fetched() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(500), 1_000);
    let grant = door.doorbell.start_talk(1).await.unwrap();
    assert_eq!(door.doorbell.say(saying.clone()).await, Err(SayError::Action(ActionError::Busy)));
    assert_eq!(door.voice.asked(), [""; 0]);
    drop(grant);
    door.is_silent().await;
    assert!(door.doorbell.say(saying).await.unwrap().whole);
}

#[tokio::test(start_paused = true)]
async fn whoever_began_to_talk_while_the_sound_was_fetched_is_not_interrupted() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(500), 1_000);
    door.voice.on("hello", OnSay::Hangs);
    let said = door.say(saying);
    let grant = door.doorbell.start_talk(1).await.unwrap();
    door.voice.knows("hello", ms(500), 1_000);
    assert_eq!(said.await.unwrap(), Err(SayError::Action(ActionError::Busy)));
    assert!(!grant.audio.is_closed());
    assert_eq!(door.vendor.seen().heard, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_merely_holds_the_speaker_open_lets_it_speak() {
    let door = Door::new().await;
    door.doorbell.switch_talk(true).await.unwrap();
    let said = door.doorbell.say(door.voice.knows("hello", ms(500), 1_000)).await.unwrap();
    assert!(said.whole);
    let seen = door.vendor.seen();
    assert!(seen.speaker_open, "the switch still holds it");
    assert_eq!((levels(&seen), seen.talks_asked), (vec![(1_000, 25)], 1));
    let state = door.doorbell.state().borrow().clone();
    assert_eq!((state.talking, state.microphone, state.speaking), (true, None, None));
}

#[tokio::test(start_paused = true)]
async fn a_microphone_is_told_that_the_doorbell_speaks() {
    let door = Door::new().await;
    let said = door.say(door.voice.knows("hello", ms(500), 1_000));
    door.hears(1_000).await;
    assert_eq!(door.doorbell.state().borrow().microphone, Some(Doorbell::OWN_VOICE));
    assert_eq!(door.doorbell.start_talk(1).await.unwrap_err(), ActionError::Speaking);
    assert_eq!(door.doorbell.switch_talk(true).await, Err(ActionError::Speaking));
    assert!(said.await.unwrap().unwrap().whole);
    assert!(door.doorbell.start_talk(1).await.is_ok(), "it speaks no more");
}

#[tokio::test(start_paused = true)]
async fn the_state_says_what_is_said_and_which_clip() {
    let door = Door::new().await;
    assert_eq!(door.doorbell.state().borrow().speaking, None);
    door.voice.knows("back_door", ms(500), 1_000);
    let name = ClipName::parse("back_door").unwrap();
    let said = door.say(Saying::once(Source::Clip(name.clone())));
    door.hears(1_000).await;
    let speaking = Speaking { source: "clip", clip: Some(name), queued: 0 };
    assert_eq!(door.doorbell.state().borrow().speaking, Some(speaking));
    said.await.unwrap().unwrap();
    assert_eq!(door.doorbell.state().borrow().speaking, None, "before whoever waits has the answer");
}

#[tokio::test(start_paused = true)]
async fn stop_ends_what_is_said_and_forgets_what_waits() {
    let door = Door::new().await;
    let [first, second] = [("a", 100), ("b", 200)].map(|(text, sample)| door.voice.knows(text, ms(10_000), sample));
    let (first, second, third) = (door.say(first), door.say(second.clone()), door.say(second));
    door.hears(100).await;
    tokio::time::sleep(ms(1_010)).await;
    let stopped = Instant::now();
    door.doorbell.stop_saying();
    let said = first.await.unwrap().unwrap();
    assert!(!said.whole && (ms(1_000)..=ms(1_040)).contains(&said.played), "{said:?}");
    assert_eq!(second.await.unwrap(), Err(SayError::Stopped));
    assert_eq!(third.await.unwrap(), Err(SayError::Stopped));
    door.is_silent().await;
    assert_eq!(stopped.elapsed(), Duration::ZERO);
    let again = door.doorbell.say(door.voice.knows("c", ms(100), 300)).await.unwrap();
    assert!(again.whole);
    let heard = levels(&door.vendor.seen());
    assert!(matches!(heard[..], [(100, 51..=52), (300, 5)]), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn stop_reaches_what_is_still_fetched_or_waits_for_the_speaker() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(500), 1_000);
    door.voice.on("hello", OnSay::Hangs);
    let said = door.say(saying.clone());
    tokio::time::sleep(ms(100)).await;
    door.doorbell.stop_saying();
    assert_eq!(said.await.unwrap(), Err(SayError::Stopped));

    door.voice.knows("hello", ms(500), 1_000);
    door.vendor.on_talk(OnTalk::Hangs);
    let said = door.say(saying);
    door.vendor.until("a request", |seen| seen.talks_asked == 1).await;
    door.doorbell.stop_saying();
    assert_eq!(said.await.unwrap(), Err(SayError::Stopped));
    door.vendor.answer_talk();
    door.is_silent().await;
    assert_eq!(door.vendor.seen().heard, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_switch_silences_the_door_and_nothing_that_waited_is_said() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(10_000), 1_000);
    let (first, second) = (door.say(saying.clone()), door.say(saying));
    door.hears(1_000).await;
    door.doorbell.switch_talk(false).await.unwrap();
    assert!(!first.await.unwrap().unwrap().whole);
    assert_eq!(second.await.unwrap(), Err(SayError::Stopped));
    door.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn what_would_outlast_the_talk_limit_is_refused_before_the_speaker_is_opened() {
    let door = Door::with(|options| Options { talk_limit: Duration::from_secs(30), ..options }).await;
    let refused = door.doorbell.say(door.voice.knows("long", ms(30_001), 1_000)).await;
    let Err(SayError::Unspoken(Unspoken::Unusable(why))) = refused else { panic!("{refused:?}") };
    assert!(why.contains("30.0 s") && why.contains("`talk_limit_s`"), "{why}");
    let siren = Saying { repeat_for: Some(ms(40_000)), ..door.voice.knows("short", ms(1_000), 1_000) };
    assert!(matches!(door.doorbell.say(siren).await, Err(SayError::Unspoken(Unspoken::Unusable(_)))));
    assert_eq!(door.vendor.seen().talks_asked, 0);
    assert!(door.doorbell.say(door.voice.knows("well", ms(29_000), 1_000)).await.unwrap().whole);
}

#[tokio::test(start_paused = true)]
async fn two_that_together_outlast_the_talk_limit_are_two_talks_and_both_are_whole() {
    let door = Door::with(|options| Options { talk_limit: Duration::from_secs(30), ..options }).await;
    let saying = door.voice.knows("hello", ms(20_000), 1_000);
    let (first, second) = (door.say(saying.clone()), door.say(saying));
    assert!(first.await.unwrap().unwrap().whole && second.await.unwrap().unwrap().whole);
    let seen = door.vendor.seen();
    assert_eq!((levels(&seen), seen.talks_asked), (vec![(1_000, 2_000)], 2));
}

#[tokio::test(start_paused = true)]
async fn the_talk_limit_ends_it_where_the_switch_held_the_speaker_for_long() {
    let door = Door::with(|options| Options { talk_limit: Duration::from_secs(30), ..options }).await;
    door.doorbell.switch_talk(true).await.unwrap();
    tokio::time::sleep(Duration::from_secs(25)).await;
    let said = door.doorbell.say(door.voice.knows("hello", ms(20_000), 1_000)).await.unwrap();
    assert!(!said.whole && said.played.as_secs().abs_diff(5) <= 1, "{said:?}");
    door.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn a_siren_sounds_for_as_long_as_it_was_told_to_and_no_longer_than_a_minute() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(300), 1_000);
    for (wanted, played) in [(ms(1_000), ms(1_000)), (ms(100), ms(100)), (ms(600_000), ms(60_000))] {
        let before = door.vendor.seen().heard.len();
        let said = door.doorbell.say(Saying { repeat_for: Some(wanted), ..saying.clone() }).await.unwrap();
        assert_eq!((said.played, said.whole), (played, true), "for {wanted:?}");
        assert_eq!((door.vendor.seen().heard.len() - before) as u128, played.as_millis() / 20);
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_as_loud_as_it_was_wanted() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(300), 1_000);
    door.doorbell.say(Saying { volume: Volume::new(0.5).unwrap(), ..saying }).await.unwrap();
    let (level, count) = levels(&door.vendor.seen())[0];
    assert!(count >= 13 && level.abs_diff(500) < 60, "{:?}", levels(&door.vendor.seen()));
}

#[tokio::test(start_paused = true)]
async fn what_the_camera_ends_is_told_as_cut_off_and_the_next_is_said() {
    let door = Door::new().await;
    let (first, second) = (door.voice.knows("a", ms(2_000), 100), door.voice.knows("b", ms(200), 200));
    let (first, second) = (door.say(first), door.say(second));
    door.hears(100).await;
    tokio::time::sleep(ms(500)).await;
    door.vendor.hang_up();
    let said = first.await.unwrap().unwrap();
    assert!(!said.whole && (ms(480)..=ms(560)).contains(&said.played), "{said:?}");
    assert!(second.await.unwrap().unwrap().whole);
    assert_eq!(levels(&door.vendor.seen()).last(), Some(&(200, 10)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_for_a_camera_that_is_away() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(2_000), 100);
    let (first, second) = (door.say(saying.clone()), door.say(saying));
    door.hears(100).await;
    door.vendor.end_life(Err(FakeVendor::error("the camera rebooted", Retry::After(Duration::from_secs(5)))));
    let begun = Instant::now();
    assert!(!first.await.unwrap().unwrap().whole);
    let offline = ActionError::Offline { why: "the camera rebooted".to_owned() };
    assert_eq!(second.await.unwrap(), Err(SayError::Action(offline)));
    assert!(begun.elapsed() < Duration::from_secs(3), "told after {:?}", begun.elapsed());
    let heard = door.vendor.seen().heard.len();
    door.vendor.lives(2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(door.vendor.seen().heard.len(), heard, "it was played later");
    door.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_camera_is_passed_on() {
    let door = Door::new().await;
    let refusal = ActionError::Refused { why: "the phone app is talking".to_owned() };
    door.vendor.on_talk(OnTalk::Refuses(refusal.clone()));
    let refused = door.doorbell.say(door.voice.knows("hello", ms(500), 1_000)).await;
    assert_eq!(refused, Err(SayError::Action(refusal)));
    door.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_speak_nothing_is_fetched() {
    let voice = FakeVoice::new();
    let mute = FakeVendor::with([Capability::Ring]);
    let doorbell = mute.doorbell_with(voice.options(), &CancellationToken::new());
    let refused = doorbell.say(voice.knows("hello", ms(500), 1_000)).await;
    assert!(matches!(refused, Err(SayError::Action(ActionError::Unsupported(_)))), "{refused:?}");

    let door = Door::new().await;
    door.vendor.set_state(|state| state.talk_obstacle = Some("There is no key.".to_owned()));
    door.doorbell.state().wait_for(|state| state.talk_obstacle.is_some()).await.unwrap();
    let obstacle = ActionError::Offline { why: "There is no key.".to_owned() };
    let refused = door.doorbell.say(door.voice.knows("hello", ms(500), 1_000)).await;
    assert_eq!(refused, Err(SayError::Action(obstacle)));
    assert_eq!((voice.asked(), door.voice.asked()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_sound_is_told_and_does_not_hold_up_the_rest() {
    let door = Door::new().await;
    let why = Unspoken::Unavailable("Home Assistant did not answer.".to_owned());
    door.voice.on("a", OnSay::Refuses(why.clone()));
    door.voice.on("b", OnSay::Panics);
    let [a, b] = ["a", "b"].map(|text| door.say(Saying::once(Source::Text(text.to_owned()))));
    let c = door.say(door.voice.knows("c", ms(100), 300));
    assert_eq!(a.await.unwrap(), Err(SayError::Unspoken(why)));
    assert!(matches!(b.await.unwrap(), Err(SayError::Unspoken(Unspoken::Unavailable(_)))));
    assert!(c.await.unwrap().unwrap().whole);
    assert_eq!(levels(&door.vendor.seen()), [(300, 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_speaker_that_no_sound_can_be_made_for_is_closed_again() {
    let door = Door::new().await;
    door.vendor.on_talk(OnTalk::Opens(AudioFormat { codec: AudioCodec::Aac, rate_hz: 16_000, channels: 1 }));
    let refused = door.doorbell.say(door.voice.knows("hello", ms(500), 1_000)).await;
    assert!(matches!(refused, Err(SayError::Action(ActionError::Unsupported(_)))), "{refused:?}");
    door.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_on_is_said_although_nobody_waits_for_it_any_more() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(500), 1_000);
    let gone = tokio::time::timeout(ms(100), door.doorbell.say(saying)).await;
    assert!(gone.is_err(), "it was over too soon");
    door.vendor.until("all of it", |seen| levels(seen) == [(1_000, 25)]).await;
    door.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_the_doorbell_ends_it_at_the_camera_and_tells_everybody() {
    let door = Door::new().await;
    let saying = door.voice.knows("hello", ms(10_000), 1_000);
    let said: Vec<_> = (0..4).map(|_| door.say(saying.clone())).collect();
    door.hears(1_000).await;
    let asked = Instant::now();
    door.stop.cancel();
    door.doorbell.stopped().await;
    let seen = door.vendor.seen();
    assert_eq!((seen.talks_asked, seen.talks_ended, seen.farewells), (1, 1, 1));
    let mut results = Vec::new();
    for said in said {
        results.push(said.await.unwrap());
    }
    assert!(matches!(results[0], Ok(Said { whole: false, .. })), "{results:?}");
    assert!(results[1..].iter().all(Result::is_err), "{results:?}");
    let refused = door.doorbell.say(saying).await;
    assert!(matches!(refused, Err(SayError::Action(ActionError::Offline { .. }))), "{refused:?}");
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert_eq!(door.doorbell.state().borrow().speaking, None);
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_that_nobody_holds_says_what_it_was_told_to_and_stops() {
    let Door { vendor, voice, doorbell, stop: _stop } = Door::new().await;
    let result = doorbell.take_on(voice.knows("hello", ms(500), 1_000)).unwrap();
    drop(doorbell);
    assert!(result.await.unwrap().whole);
    vendor.until("a farewell", |seen| seen.farewells == 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_log_names_neither_the_text_nor_an_address() {
    let (log, _while_this_test_runs) = Log::capture(Level::TRACE);
    let door = Door::new().await;
    door.doorbell.say(door.voice.knows("the key is under the flowerpot", ms(100), 1_000)).await.unwrap();
    let logged = log.lines();
    assert!(logged.iter().any(|line| line.contains("said") && line.contains("text")), "{logged:#?}");
    assert!(!logged.iter().any(|line| line.contains("flowerpot")), "{logged:#?}");
    assert!(logged.iter().filter(|line| line.contains("said")).all(|line| line.contains("device{id=fake_1}")));
}

#[tokio::test(start_paused = true)]
async fn an_empty_piece_keeps_the_speaker_and_is_not_heard() {
    let door = Door::new().await;
    let grant = door.doorbell.start_talk(1).await.unwrap();
    for _ in 0..10 {
        grant.audio.send(Bytes::new()).await.unwrap();
        tokio::time::sleep(ms(2_000)).await;
    }
    assert!(!grant.audio.is_closed());
    tokio::time::sleep(ms(600)).await;
    assert!(grant.audio.is_closed(), "2.5 s without a sign of life");
    assert_eq!(door.vendor.seen().heard, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_each_who_waits_gets_a_result_and_nothing_stays_open() {
    for seed in 1..=12 {
        let mut random = Random(seed);
        let door = Door::with(|options| Options { talk_limit: Duration::from_secs(20), ..options }).await;
        let short = door.voice.knows("short", ms(700), 100);
        let long = door.voice.knows("long", ms(12_000), 200);
        door.voice.knows("slow", ms(700), 300);
        let (mut said, mut grant) = (Vec::new(), None);
        for step in 0..60 {
            match random.below(12) {
                0..=3 => said.push(door.say(short.clone())),
                4 => said.push(door.say(long.clone())),
                5 => {
                    door.voice.on("slow", OnSay::Hangs);
                    said.push(door.say(Saying::once(Source::Text("slow".to_owned()))));
                }
                6 => drop(door.voice.knows("slow", ms(700), 300)),
                7 => door.doorbell.stop_saying(),
                8 => grant = door.doorbell.start_talk(1).await.ok(),
                9 => grant = None,
                10 if door.doorbell.state().borrow().link == Link::Ready => door.vendor.hang_up(),
                11 if random.below(3) == 0 && door.doorbell.state().borrow().link == Link::Ready => {
                    door.vendor.end_life(Ok(()));
                }
                _ => drop(door.doorbell.switch_talk(random.below(2) == 0).await),
            }
            tokio::time::sleep(ms(random.below(1_500))).await;
            let state = door.doorbell.state().borrow().clone();
            let queued = state.speaking.as_ref().map_or(0, |speaking| speaking.queued);
            assert!(queued <= Doorbell::SAYINGS, "seed {seed}, step {step}: {state:?}");
        }
        drop(grant);
        door.voice.knows("slow", ms(700), 300);
        for said in said {
            let result = tokio::time::timeout(Duration::from_secs(300), said).await;
            assert!(result.is_ok(), "seed {seed}: somebody waits for ever");
        }
        door.doorbell.switch_talk(false).await.unwrap();
        door.is_silent().await;
    }
}
