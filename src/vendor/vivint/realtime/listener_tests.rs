//! Hearing over a wire that follows a script, in virtual time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::clock::{self, Instant};
use crate::config::{self, VivintEndpoints};
use crate::model::{self, AccountLink};
use crate::net::http::HttpError;
use crate::secret::Email;
use crate::store::Store;
use crate::vendor::vivint::devices::Place;
use crate::vendor::vivint::systems::Listing;

const PANEL: i64 = 7_001_000_200_030_004;

/// Answers in turn, each after its time; then never again.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: VecDeque<(Duration, Result<Value, PollError>)>,
    asked: Vec<(Instant, u64)>,
}

impl Wire for Scripted {
    async fn poll(&self, _: &Subscription, cursor: &Cursor) -> Result<Reply, PollError> {
        let next = {
            let mut script = self.0.lock().unwrap();
            script.asked.push((clock::now(), cursor.timetoken));
            script.answers.pop_front()
        };
        let Some((after, answer)) = next else { return std::future::pending().await };
        tokio::time::sleep(after).await;
        Reply::read(&answer?).ok_or(PollError::Garbled)
    }

    async fn leave(&self, _: &Subscription) {}
}

/// An account that has listed the vectors' devices.
struct House {
    vivint: Vivint,
    wire: Scripted,
    desk: Desk,
    status: watch::Receiver<model::Account>,
    sender: mpsc::Sender<(DeviceId, Event)>,
    events: mpsc::Receiver<(DeviceId, Event)>,
    _folder: TempDir,
}

impl House {
    async fn new() -> Self {
        let account = config::Vivint {
            username: Email::new("owner@example.com"),
            password: None,
            totp_secret: None,
            firebase_api_key: None,
            ring_quiet: Duration::from_secs(5),
            endpoints: VivintEndpoints::default(),
        };
        let folder = tempfile::tempdir().unwrap();
        let vivint = Vivint::new(&account, &[], &Store::open(folder.path()).unwrap());
        let asked = clock::now();
        vivint.learn(Listing::read(PANEL, &vectors()["system"], Some(asked)).unwrap().records, asked);
        let subscription = Subscription { channel: "PlatformChannel#x".into(), subscriber: "pn-A".into() };
        vivint.account.channel.send_replace(Channel::Named(subscription));
        let (status_sender, status) = watch::channel(model::Account::default());
        let (sender, events) = mpsc::channel(64);
        let desk = Desk::new(status_sender, mpsc::channel(1).0);
        desk.listing_is(AccountLink::Ready).await;
        Self { vivint, wire: Scripted::default(), desk, status, sender, events, _folder: folder }
    }

    fn answers(&self, after: u64, answer: Result<Value, PollError>) {
        self.wire.0.lock().unwrap().answers.push_back((Duration::from_secs(after), answer));
    }

    /// Listens for so long.
    async fn hears(&mut self, seconds: u64) -> Vec<Event> {
        let mut listener = Listener::new(&self.vivint, &self.desk, self.sender.clone(), self.wire.clone());
        let _over: Result<(), _> = tokio::time::timeout(Duration::from_secs(seconds), listener.run()).await;
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|(_, event)| event).collect()
    }

    fn link(&self) -> AccountLink {
        self.status.borrow().link.clone()
    }

    /// From which places it was asked.
    fn asked(&self) -> Vec<u64> {
        self.wire.0.lock().unwrap().asked.iter().map(|(_, timetoken)| *timetoken).collect()
    }

    async fn is_asked_to_list(&self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.vivint.relist.notified()).await.is_ok()
    }
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../tests/vectors/vivint/vivint.json")).unwrap()
}

fn reply(timetoken: u64, messages: &[Value]) -> Result<Value, PollError> {
    Ok(json!({"t": {"t": timetoken.to_string(), "r": 4}, "m": messages}))
}

/// A message of this vector, published so many milliseconds after the first second of 2026.
fn message(vector: &str, published_ms: u64) -> Value {
    let token = (1_767_225_600_000 + published_ms) * 10_000;
    json!({"p": {"t": token.to_string(), "r": 4}, "d": vectors()["pubnub"][vector]["message"]})
}

fn timed_out() -> PollError {
    PollError::Http(HttpError::TimedOut { host: "push".to_owned() })
}

#[tokio::test(start_paused = true)]
async fn a_ring_is_told_once_and_the_next_one_too() {
    let mut house = House::new().await;
    let rings = [0, 400, 4_900, 6_000].map(|at| message("ring", at));
    house.answers(0, reply(1, &[]));
    house.answers(1, reply(2, &rings));
    house.answers(1, reply(3, &[message("ring_bool_variant", 6_100), message("ring_cleared", 20_000)]));
    let events = house.hears(10).await;
    let at = |event: &Event| match event {
        Event::Ring(ring) => (ring.source, ring.at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()),
        Event::Motion(motion) => panic!("{motion:?}"),
    };
    let wanted = [0, 6_000, 6_100].map(|after| ("push", 1_767_225_600_000 + after));
    assert_eq!(events.iter().map(at).collect::<Vec<_>>(), wanted, "both doorbells, each once in 5 s");
    assert_eq!(house.asked(), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_reply_are_taken_in_their_order() {
    let mut house = House::new().await;
    let all = ["visitor", "no_panid", "motion_deter", "lock", "wifi_only", "ring", "panel", "system", "thumbnail"];
    let messages: Vec<Value> = all.iter().zip(0..).map(|(vector, n)| message(vector, n)).collect();
    house.answers(0, reply(9, &messages));
    let thumbnails = house.vivint.thumbnails();
    let events = house.hears(1).await;
    let kinds: Vec<bool> = events.iter().map(|event| matches!(event, Event::Ring(_))).collect();
    assert_eq!(kinds, [false, false, true]);
    let newest = thumbnails.borrow().values().max().copied().unwrap();
    assert_eq!(newest.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 1_768_501_231);
}

#[tokio::test(start_paused = true)]
async fn how_long_a_ring_took_is_known_from_when_it_was_published() {
    let mut house = House::new().await;
    let published = clock::unix_now() - Duration::from_millis(250);
    let token = published.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() / 100;
    let ring = vectors()["pubnub"]["ring"]["message"].clone();
    house.answers(0, reply(1, &[json!({"p": {"t": token.to_string()}, "d": ring}), json!({"d": ring})]));
    let [Event::Ring(ring)] = &house.hears(1).await[..] else { panic!("one ring") };
    let latency = ring.latency.unwrap();
    // The two clocks that the wall clock is made of in tests are read one after the other.
    assert!((200..2_000).contains(&latency.as_millis()), "{latency:?}");
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_went_silent_is_told_and_heard_again() {
    for (seconds, is_silent) in [(359, false), (361, true), (366, false)] {
        let mut house = House::new().await;
        house.answers(0, reply(1, &[]));
        house.answers(320, Err(timed_out()));
        house.answers(43, reply(2, &[]));
        let _none = house.hears(seconds).await;
        match house.link() {
            AccountLink::Failing { why } if is_silent => {
                assert!(why.contains("has not answered for over 6 minutes"), "{why}");
            }
            link => assert_eq!((link, is_silent), (AccountLink::Ready, false), "after {seconds} s"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_gap_has_everything_listed_anew_and_a_short_one_does_not() {
    for (gap, lists) in [(10, false), (90, true)] {
        let house = House::new().await;
        let mut listener = Listener::new(&house.vivint, &house.desk, house.sender.clone(), house.wire.clone());
        let answer = |timetoken| Reply::read(&reply(timetoken, &[]).unwrap()).unwrap();
        let mut reading = Reading::new();
        listener.take(answer(6), &mut reading).await;
        assert!(house.is_asked_to_list().await, "at the beginning, whatever was missed before");
        let begun = clock::now();
        tokio::time::advance(Duration::from_secs(gap)).await;
        listener.fail(&timed_out(), begun, &mut reading).await;
        assert_eq!(reading.cursor.timetoken, 6, "the place is kept");
        listener.take(answer(7), &mut reading).await;
        assert_eq!(house.is_asked_to_list().await, lists, "after {gap} s");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_asked_for_again_and_at_last_left_out() {
    let mut house = House::new().await;
    house.answers(0, reply(5, &[]));
    for _ in 0..5 {
        house.answers(0, Err(PollError::Garbled));
    }
    house.answers(0, reply(9, &[message("ring", 0)]));
    let events = house.hears(300).await;
    assert_eq!(house.asked(), [0, 5, 5, 5, 5, 5, 0, 9]);
    assert_eq!((events.len(), house.link()), (1, AccountLink::Ready));
    let asked = house.wire.0.lock().unwrap().asked.clone();
    let waits: Vec<Duration> = asked[1..7].windows(2).map(|two| two[1].0 - two[0].0).collect();
    for (wait, usual) in waits.iter().zip([1, 2, 4, 8, 16]) {
        let usual = Duration::from_secs(usual);
        assert!((usual / 2..=usual * 3 / 2).contains(wait), "{waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_lead_nowhere_do_not_make_us_ask_without_end() {
    let nothing_new: [fn(u64) -> Result<Value, PollError>; 3] =
        [|n| reply(n, &[]), |_| reply(1, &[]), |_| reply(1, &[message("ring", 0)])];
    for answer in nothing_new {
        let mut house = House::new().await;
        house.answers(0, reply(1, &[]));
        (2..100).for_each(|n| house.answers(0, answer(n)));
        let _rings = house.hears(10).await;
        let times = house.asked().len();
        assert!((10..=13).contains(&times), "asked {times} times in 10 s");
    }
    let mut house = House::new().await;
    (1..100).for_each(|n| house.answers(0, reply(n, &[message("lock", n)])));
    let _none = house.hears(1).await;
    assert_eq!(house.asked().len(), 100, "what does lead on is followed at once");
}

#[tokio::test(start_paused = true)]
async fn a_picture_from_a_wrong_clock_does_not_hide_those_after_it() {
    let house = House::new().await;
    let tell = |taken: &str| {
        let fields = json!({"_id": 27, "ctd": taken}).as_object().unwrap().clone();
        let _device = house.vivint.apply(PANEL, &Delta { device: 27, fields });
        let id = Place { panel: PANEL, partition: 1, device: 27 }.id();
        let newest = house.vivint.thumbnails().borrow().get(&id).copied().unwrap();
        humantime::format_rfc3339_seconds(newest).to_string()
    };
    assert_eq!(tell("2036-02-07T06:28:16.000000"), "2036-02-07T06:28:16Z");
    assert_eq!(tell("2026-11-21T12:00:00.000000"), "2026-11-21T12:00:00Z");
    assert_eq!(tell("2026-11-21T11:58:00.000000"), "2026-11-21T12:00:00Z", "a listing may be a little older");
    assert_eq!(tell("2026-11-21T12:00:01.000000"), "2026-11-21T12:00:01Z");
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_cannot_be_asked_is_told_at_the_second_failure() {
    let mut house = House::new().await;
    house.answers(0, reply(5, &[]));
    house.answers(0, Err(PollError::Status(503)));
    let _none = house.hears(1).await;
    assert_eq!(house.link(), AccountLink::Ready);
    let mut house = House::new().await;
    for _ in 0..2 {
        house.answers(0, Err(PollError::Status(503)));
    }
    let _none = house.hears(3).await;
    assert!(matches!(house.link(), AccountLink::Failing { why } if why.contains("HTTP 503")), "{:?}", house.link());
}

#[tokio::test(start_paused = true)]
async fn without_a_channel_the_account_says_that_it_only_asks() {
    let mut house = House::new().await;
    house.vivint.account.channel.send_replace(Channel::None);
    let _none = house.hears(1).await;
    assert!(matches!(house.link(), AccountLink::Failing { why } if why.contains("no message channel")));
    assert!(house.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn devices_that_come_or_go_have_everything_listed_anew() {
    let mut house = House::new().await;
    house.answers(0, reply(1, &[]));
    let _none = house.hears(1).await;
    assert!(house.is_asked_to_list().await);
    let mut elsewhere = message("deleted", 0);
    elsewhere["d"]["panid"] = json!(1);
    for (message, lists) in [(message("deleted", 0), true), (elsewhere, false), (message("lock", 0), false)] {
        let mut listener = Listener::new(&house.vivint, &house.desk, house.sender.clone(), house.wire.clone());
        let message = Reply::read(&reply(2, std::slice::from_ref(&message)).unwrap()).unwrap().messages.remove(0);
        listener.read(message).await;
        assert_eq!(house.is_asked_to_list().await, lists);
    }
}
