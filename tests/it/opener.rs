//! A doorbell opens its own door for whoever may open it, once, and nobody else's; no doorbell does whose owner has
//! not said so (requirements S7 to S12). What is the same as at a lock, door.rs shows.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use doorstep::clock;
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::door::Answer;
use doorstep::doorbell::guard::{Attempt, Via};
use doorstep::doorbell::vendor::Retry;
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{Accounts, ActionError, Door, Doorbell, Options, Registry};
use doorstep::model::{self, Capability, DeviceId, DoorKind, Link, LockAction, LockState, OpenerEntity};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::fake_lock::opener;
use crate::support::fake_vendor::{FakeVendor, OnOpen};
use crate::support::score::{Figure, tally};

/// A service with one account that lists the doorbell `fake_1`, without its faces.
struct House {
    data: TempDir,
    vendor: Arc<FakeVendor>,
    door: Arc<Door>,
    doorbells: Registry,
    locks: Registry,
    _accounts: Accounts,
    _stop: DropGuard,
}

impl House {
    /// From the start of the service to when the door can be worked, over MQTT too.
    async fn ready(on_open: OnOpen) -> Self {
        let vendor = FakeVendor::new();
        vendor.on_open(on_open);
        let house = Self::of(vendor).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        house.shows(|door| *door == at_rest()).await;
        house
    }

    async fn of(vendor: Arc<FakeVendor>) -> Self {
        let (data, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let (doorbells, locks) = (Registry::default(), Registry::default());
        let (kind, door) = opener(OpenerEntity::Button, None, data.path());
        door.subscribed();
        let options = Options { doors: [(kind, door.clone())].into(), ..Options::default() };
        let wishes = Wishes {
            options: HashMap::from([(id(), options)]),
            locks: [].into(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let accounts = Accounts::start(vec![vendor.clone()], wishes, doorbells.clone(), locks.clone(), &stop);
        vendor.lives(1).await;
        Self { data, vendor, door, doorbells, locks, _accounts: accounts, _stop: stop.drop_guard() }
    }

    fn doorbell(&self) -> Doorbell {
        self.doorbells.get(&id()).unwrap()
    }

    /// Waits until the door is shown so, at the door and at its doorbell.
    async fn shows(&self, so: impl Fn(&model::Door) -> bool) {
        self.door.state().wait_for(&so).await.unwrap();
        let mut state = self.doorbell().state();
        state.wait_for(|state| state.doors.get(&DoorKind::Lock).is_some_and(&so)).await.unwrap();
    }

    async fn is_blocked(&self, why: &str) {
        self.shows(|door| door.blocked.as_deref().is_some_and(|blocked| blocked.contains(why))).await;
    }

    async fn mqtt(&self, payload: &str) -> Answer {
        let via = Via::Mqtt { payload: payload.to_owned().into(), retained: false, dup: false };
        self.door.work(Attempt { via, received: clock::now() }).await
    }

    /// Somebody holds the button on the page.
    async fn press(&self) -> Result<LockState, ActionError> {
        press(self.door.clone()).await
    }

    /// Action, result and reason of each line of the audit log, which all speak of this door as a lock.
    fn log(&self) -> Vec<[Value; 3]> {
        let text = fs::read_to_string(self.data.path().join("audit.jsonl")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let about = |line: Value| {
            assert_eq!((&line["door"], &line["kind"]), (&json!("fake_1"), &json!("lock")), "{line}");
            ["action", "result", "reason"].map(|key| line[key].clone())
        };
        lines.map(about).collect()
    }

    /// How often the doorbell was asked, and how often it opened.
    fn seen(&self) -> (usize, usize) {
        let seen = self.vendor.seen();
        (seen.opens_asked, seen.opened)
    }
}

async fn press(door: Arc<Door>) -> Result<LockState, ActionError> {
    let via = Via::Http { who: "page".into(), action: LockAction::Unlock };
    door.work(Attempt { via, received: clock::now() }).await.outcome
}

fn id() -> DeviceId {
    DeviceId::parse("fake_1").unwrap()
}

fn at_rest() -> model::Door {
    model::Door { lock: Some(LockState::Locked), blocked: None }
}

fn refused(outcome: Result<LockState, ActionError>) -> String {
    match outcome {
        Err(ActionError::Refused { why }) => why,
        other => panic!("it was not refused: {other:?}"),
    }
}

fn line(action: &str, result: &str, reason: impl Into<Value>) -> [Value; 3] {
    [action.into(), result.into(), reason.into()]
}

#[tokio::test(start_paused = true)]
async fn the_doorbell_opens_its_own_door_and_is_no_lock() {
    let house = House::ready(OnOpen::Opens).await;
    assert!(house.doorbell().info().capabilities.contains(&Capability::Unlock));
    let answer = house.mqtt("OPEN").await;
    assert_eq!((answer.action, answer.outcome), (Some(LockAction::Unlock), Ok(LockState::Unlocked)));
    house.shows(|door| door.lock == Some(LockState::Unlocked)).await;
    house.vendor.set_state(|state| state.door = Some(at_rest()));
    house.shows(|door| *door == at_rest()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(house.mqtt("UNLOCK").await.outcome, Ok(LockState::Unlocked));
    let done = || line("unlock", "done", "the doorbell says that it has opened the door");
    let allowed = || line("unlock", "allowed", Value::Null);
    assert_eq!(house.log(), [allowed(), done(), allowed(), done()]);
    tally(Figure::UnlocksDone, house.seen().0.min(2), 2);
    assert_eq!(house.seen(), (2, 2));
    assert_eq!(house.locks.all().len(), 0, "a doorbell stands among the locks, where others can name it");
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_is_asked_whether_or_not_its_picture_is_up() {
    let house = House::ready(OnOpen::Opens).await;
    assert_eq!(house.doorbell().state().borrow().link, Link::Ready);
    assert_eq!(house.press().await, Ok(LockState::Unlocked));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let _watching = house.doorbell().watch();
    house.doorbell().state().wait_for(|state| state.link == Link::Streaming).await.unwrap();
    assert_eq!(house.press().await, Ok(LockState::Unlocked));
    assert_eq!(house.seen(), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_opener_is_never_told_to_lock() {
    let house = House::ready(OnOpen::Opens).await;
    let answer = house.mqtt("LOCK").await;
    assert_eq!(answer.action, Some(LockAction::Lock));
    let why = "the opener of this door can open it and cannot lock it";
    assert_eq!(refused(answer.outcome), why);
    let via = Via::Http { who: "page".into(), action: LockAction::Lock };
    let answer = house.door.work(Attempt { via, received: clock::now() }).await;
    assert_eq!(refused(answer.outcome), why);
    assert_eq!(house.log(), [line("lock", "refused", why), line("lock", "refused", why)]);
    assert_eq!(house.seen(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_that_says_no_has_not_opened_and_is_not_asked_again() {
    let why = "It only repeated the command and opened nothing.";
    let house = House::ready(OnOpen::Says(ActionError::Refused { why: why.to_owned() })).await;
    assert_eq!(refused(house.press().await), why);
    house.shows(|door| *door == at_rest()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(house.log(), [line("unlock", "allowed", Value::Null), line("unlock", "failed", why)]);
    assert_eq!(house.seen(), (1, 0));
}

/// Both a device that says that it heard nothing and one that says nothing at all.
#[tokio::test(start_paused = true)]
async fn after_silence_nobody_knows_and_nobody_asks_again() {
    for silence in [OnOpen::Says(ActionError::Timeout), OnOpen::Hangs] {
        let house = House::ready(silence).await;
        let begun = clock::now();
        let outcome = house.press().await;
        assert_eq!(outcome, Err(ActionError::Timeout));
        assert!(begun.elapsed() <= Duration::from_secs(20), "it took {:?}", begun.elapsed());
        let said = "the doorbell did not say whether the door opened; look at the door before you try again";
        assert_eq!(house.door.said(&ActionError::Timeout), said);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(house.log(), [line("unlock", "allowed", Value::Null), line("unlock", "unknown", said)]);
        assert_eq!(house.seen(), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_that_was_busy_for_too_long_leaves_the_door_alone() {
    let house = House::ready(OnOpen::Hangs).await;
    let pressed = tokio::spawn(press(house.door.clone()));
    house.vendor.until("a request", |seen| seen.opens_asked == 1).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    house.vendor.answer_open();
    assert!(refused(pressed.await.unwrap()).contains("more than 5 s"));
    assert_eq!(house.seen(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_second_press_while_one_runs_opens_nothing_more() {
    let house = House::ready(OnOpen::Hangs).await;
    let first = tokio::spawn(press(house.door.clone()));
    house.vendor.until("a request", |seen| seen.opens_asked == 1).await;
    house.shows(|door| door.lock == Some(LockState::Unlocking)).await;
    let second = tokio::spawn(press(house.door.clone()));
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    // Long after the first, and it still runs: this one waits its turn for as long as it is fresh.
    let third = tokio::spawn(press(house.door.clone()));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(refused(second.await.unwrap()).contains("within the last 3 s"));
    assert!(refused(third.await.unwrap()).contains("more than 5 s"));
    assert_eq!(first.await.unwrap(), Err(ActionError::Timeout));
    tally(Figure::UnlocksRefused, 3 - house.seen().0, 2);
    assert_eq!(house.seen(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn row_12_an_opener_has_the_limits_of_a_lock_and_says_so() {
    let house = House::ready(OnOpen::Opens).await;
    for _ in 0..3 {
        assert_eq!(house.press().await, Ok(LockState::Unlocked));
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    house.is_blocked("Opening is refused for now: the door was opened 3 times within a minute").await;
    assert!(refused(house.press().await).contains("3 times within a minute"));
    assert!(refused(house.mqtt("OPEN").await.outcome).contains("3 times within a minute"));
    tally(Figure::UnlocksRefused, 5 - house.seen().0, 2);
    assert_eq!(house.seen(), (3, 3));
    house.shows(|door| door.blocked.is_none()).await;
    assert_eq!(house.press().await, Ok(LockState::Unlocked));
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_that_cannot_be_reached_is_not_asked_and_what_is_tried_then_is_not_counted() {
    let house = House::ready(OnOpen::Opens).await;
    let no_master = |retry| Err(FakeVendor::error("Its channel has no master.", retry));
    house.vendor.end_life(no_master(Retry::After(Duration::from_secs(600))));
    house.is_blocked("The doorbell cannot be reached: Its channel has no master.").await;
    for _ in 0..10 {
        let outcome = house.press().await;
        assert!(matches!(&outcome, Err(ActionError::Offline { why }) if why.contains("no master")), "{outcome:?}");
    }
    house.vendor.lives(2).await;
    house.shows(|door| *door == at_rest()).await;
    assert_eq!(house.press().await, Ok(LockState::Unlocked));
    house.vendor.end_life(no_master(Retry::WaitForUser));
    house.is_blocked("The doorbell cannot be reached: Its channel has no master.").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(house.press().await, Err(ActionError::Offline { .. })));
    assert_eq!(house.seen(), (1, 1));
}

/// No configuration can say so; a doorbell might lose its opener all the same.
#[tokio::test(start_paused = true)]
async fn a_doorbell_that_speaks_of_no_opener_is_never_asked_to_open() {
    let house = House::of(FakeVendor::new()).await;
    house.is_blocked("This doorbell opens no door by itself.").await;
    assert!(matches!(house.press().await, Err(ActionError::Offline { .. })));
    assert_eq!(house.seen(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_is_opened_in_each_of_its_lives() {
    let house = House::ready(OnOpen::Opens).await;
    assert_eq!(house.press().await, Ok(LockState::Unlocked));
    house.vendor.end_life(Ok(()));
    house.vendor.lives(2).await;
    house.shows(|door| *door == at_rest()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(house.press().await, Ok(LockState::Unlocked));
    assert_eq!(house.seen(), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_that_went_and_came_back_is_the_one_that_opens() {
    let (data, vendor) = (tempfile::tempdir().unwrap(), FakeVendor::new());
    vendor.on_open(OnOpen::Opens);
    let doors: doorstep::doorbell::Doors = [opener(OpenerEntity::Button, None, data.path())].into();
    let door = doors[&DoorKind::Lock].clone();
    assert_eq!(door.state().borrow().blocked.as_deref(), Some("No account lists this doorbell at present."));
    for life in 1..=2 {
        let doorbell =
            vendor.doorbell_with(Options { doors: doors.clone(), ..Options::default() }, &CancellationToken::new());
        door.state().wait_for(|door| *door == at_rest()).await.unwrap();
        assert_eq!(press(door.clone()).await, Ok(LockState::Unlocked), "life {life}");
        // The door must not keep its doorbell alive.
        drop(doorbell);
        vendor.until("a farewell", |seen| seen.farewells == life).await;
        assert!(matches!(press(door.clone()).await, Err(ActionError::Offline { .. })));
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(vendor.seen().opened, 2);
}
