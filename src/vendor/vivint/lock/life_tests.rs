//! A lock's life over a cloud that is not there, in virtual time.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::{self, VivintEndpoints};
use crate::net::http::HttpError;
use crate::proto::vivint::realtime::Delta;
use crate::secret::Email;
use crate::store::Store;
use crate::vendor::vivint::systems::Listing;

const PANEL: i64 = 7_001_000_200_030_004;
const LOCK: i64 = 40;
const GARAGE: i64 = 61;

/// Takes commands, or not.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    commands: Vec<LockAction>,
    answer: Option<CloudError>,
    not_now: bool,
}

impl Bolt for Scripted {
    type Leave = ();

    async fn prepare(&self) -> Result<(), CloudError> {
        if self.0.lock().unwrap().not_now { Err(CloudError::Renewing) } else { Ok(()) }
    }

    async fn give(&self, (): (), action: LockAction) -> Result<(), CloudError> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut script = self.0.lock().unwrap();
        script.commands.push(action);
        script.answer.clone().map_or(Ok(()), Err)
    }
}

/// Leave that is still good, or no longer.
struct Leave {
    action: LockAction,
    stale: bool,
}

impl Word for Leave {
    fn action(&self) -> LockAction {
        self.action
    }

    fn spend(self) -> Result<LockAction, ActionError> {
        match self.stale {
            true => Err(ActionError::Refused { why: "It had waited too long.".to_owned() }),
            false => Ok(self.action),
        }
    }
}

const UNLOCK: Leave = Leave { action: LockAction::Unlock, stale: false };

/// An account whose cloud has listed the vectors' devices.
struct House {
    vivint: Vivint,
    bolt: Scripted,
    _folder: TempDir,
}

impl House {
    fn new() -> Self {
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
        let house = Self { vivint, bolt: Scripted::default(), _folder: folder };
        house.lists(json!(true));
        house
    }

    /// The cloud lists everything, the lock like this.
    fn lists(&self, locked: Value) {
        let vectors: Value =
            serde_json::from_str(include_str!("../../../../tests/vectors/vivint/vivint.json")).unwrap();
        let mut body = vectors["system"].clone();
        body["system"]["par"][0]["d"][3]["s"] = locked;
        let asked = clock::now();
        self.vivint.learn(Listing::read(PANEL, &body, Some(asked)).unwrap().records, asked);
    }

    fn pushes(&self, fields: Value) {
        let delta = Delta { device: fields["_id"].as_i64().unwrap(), fields: fields.as_object().unwrap().clone() };
        self.vivint.apply(PANEL, &delta).unwrap();
    }

    fn life(&self, device: i64) -> Watched<'_> {
        let id = Place { panel: PANEL, partition: 1, device }.id();
        let state = watch::Sender::new(State::default());
        let shown = state.subscribe();
        let mut life = Life::new(&self.vivint, id, self.bolt.clone(), state);
        life.look();
        Watched { life, shown }
    }

    fn commands(&self) -> Vec<LockAction> {
        self.bolt.0.lock().unwrap().commands.clone()
    }

    /// Whether somebody has asked for a listing.
    async fn is_asked_to_list(&self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.vivint.relist.notified()).await.is_ok()
    }
}

struct Watched<'a> {
    life: Life<'a, Scripted>,
    shown: watch::Receiver<State>,
}

type Outcome = oneshot::Receiver<Result<LockState, ActionError>>;

impl Watched<'_> {
    fn shows(&self) -> Option<LockState> {
        self.shown.borrow().door.clone().unwrap().lock
    }

    async fn told(&mut self, word: Leave) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        self.life.work(word, reply).await;
        outcome
    }

    /// Lives for so long.
    async fn goes_on(&mut self, seconds: u64) {
        let living = async {
            loop {
                self.life.turn().await;
            }
        };
        let _over: Result<(), _> = tokio::time::timeout(Duration::from_secs(seconds), living).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_is_given_once_and_believed_when_the_cloud_tells_it() {
    let house = House::new();
    let mut lock = house.life(LOCK);
    assert_eq!(lock.shows(), Some(LockState::Locked));
    let mut outcome = lock.told(UNLOCK).await;
    lock.goes_on(3).await;
    assert_eq!(lock.shows(), Some(LockState::Unlocking));
    assert!(outcome.try_recv().is_err(), "nobody has said that it moved");
    house.pushes(json!({"_id": LOCK, "s": false}));
    lock.goes_on(1).await;
    assert_eq!((outcome.try_recv().unwrap(), lock.shows()), (Ok(LockState::Unlocked), Some(LockState::Unlocked)));
    lock.goes_on(60).await;
    assert_eq!(house.commands(), [LockAction::Unlock]);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_before_the_command_confirms_nothing() {
    let house = House::new();
    let mut lock = house.life(LOCK);
    let mut outcome = lock.told(Leave { action: LockAction::Lock, stale: false }).await;
    house.pushes(json!({"_id": LOCK, "bl": 3}));
    lock.goes_on(4).await;
    assert_eq!((lock.shows(), outcome.try_recv().is_err()), (Some(LockState::Locking), true));
    assert!(!house.is_asked_to_list().await);
    lock.goes_on(2).await;
    assert!(house.is_asked_to_list().await, "a push may be lost");
    house.lists(json!(true));
    lock.goes_on(1).await;
    assert_eq!((outcome.try_recv().unwrap(), lock.shows()), (Ok(LockState::Locked), Some(LockState::Locked)));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_says_nothing_is_asked_and_then_shown_as_the_cloud_says() {
    let house = House::new();
    let mut lock = house.life(LOCK);
    let mut outcome = lock.told(UNLOCK).await;
    lock.goes_on(17).await;
    assert!(outcome.try_recv().is_err());
    lock.goes_on(2).await;
    assert_eq!(outcome.try_recv().unwrap(), Err(ActionError::Timeout));
    assert_eq!(lock.shows(), Some(LockState::Unlocking));
    assert!(house.is_asked_to_list().await);
    lock.goes_on(12).await;
    assert!(house.is_asked_to_list().await, "after half a minute it is asked once more");
    house.lists(json!(true));
    lock.goes_on(6).await;
    assert_eq!(lock.shows(), Some(LockState::Locked));
    assert_eq!(house.commands(), [LockAction::Unlock]);
}

#[tokio::test(start_paused = true)]
async fn without_fresh_leave_or_a_fresh_login_the_lock_is_left_alone() {
    let house = House::new();
    let mut lock = house.life(LOCK);
    let mut outcome = lock.told(Leave { action: LockAction::Unlock, stale: true }).await;
    assert!(matches!(outcome.try_recv().unwrap(), Err(ActionError::Refused { .. })));
    house.bolt.0.lock().unwrap().not_now = true;
    let mut outcome = lock.told(UNLOCK).await;
    assert!(matches!(outcome.try_recv().unwrap(), Err(ActionError::Refused { .. })));
    let (reply, gave_up) = oneshot::channel();
    drop(gave_up);
    lock.life.work(UNLOCK, reply).await;
    lock.goes_on(40).await;
    assert_eq!((house.commands(), lock.shows()), (vec![], Some(LockState::Locked)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_command_leaves_the_lock_as_it_was() {
    let house = House::new();
    let mut lock = house.life(LOCK);
    house.bolt.0.lock().unwrap().answer = Some(CloudError::TokenRefused);
    let mut outcome = lock.told(UNLOCK).await;
    assert!(matches!(outcome.try_recv().unwrap(), Err(ActionError::Refused { .. })));
    lock.goes_on(1).await;
    assert_eq!((house.commands().len(), lock.shows()), (1, Some(LockState::Locked)));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_nobody_answered_is_not_repeated_and_its_outcome_comes_out() {
    let house = House::new();
    let mut lock = house.life(LOCK);
    let lost = CloudError::Http(HttpError::TimedOut { host: "cloud".to_owned() });
    house.bolt.0.lock().unwrap().answer = Some(lost);
    let mut outcome = lock.told(UNLOCK).await;
    assert_eq!(outcome.try_recv().unwrap(), Err(ActionError::Timeout));
    lock.goes_on(2).await;
    assert_eq!(lock.shows(), Some(LockState::Unlocking));
    house.pushes(json!({"_id": LOCK, "s": false}));
    lock.goes_on(60).await;
    assert_eq!((house.commands().len(), lock.shows()), (1, Some(LockState::Unlocked)));
}

#[tokio::test(start_paused = true)]
async fn a_garage_door_says_that_it_is_on_its_way_and_later_that_it_is_open() {
    let house = House::new();
    let mut door = house.life(GARAGE);
    assert_eq!(door.shows(), Some(LockState::Locked));
    let mut outcome = door.told(UNLOCK).await;
    house.pushes(json!({"_id": GARAGE, "s": 4}));
    door.goes_on(17).await;
    assert!(outcome.try_recv().is_err(), "it may still be open in time");
    door.goes_on(2).await;
    assert_eq!(outcome.try_recv().unwrap(), Ok(LockState::Unlocking));
    house.pushes(json!({"_id": GARAGE, "s": 5}));
    door.goes_on(1).await;
    assert_eq!(door.shows(), Some(LockState::Unlocked));
    let mut outcome = door.told(Leave { action: LockAction::Lock, stale: false }).await;
    house.pushes(json!({"_id": GARAGE, "s": 3}));
    door.goes_on(1).await;
    assert_eq!((outcome.try_recv().unwrap(), door.shows()), (Ok(LockState::Jammed), Some(LockState::Jammed)));
}

#[tokio::test(start_paused = true)]
async fn a_second_command_does_not_wait_for_the_first() {
    let house = House::new();
    let mut lock = house.life(LOCK);
    let _first = lock.told(UNLOCK).await;
    let mut second = lock.told(Leave { action: LockAction::Lock, stale: false }).await;
    assert!(matches!(second.try_recv().unwrap(), Err(ActionError::Refused { .. })));
    assert_eq!(house.commands(), [LockAction::Unlock]);
}

#[tokio::test(start_paused = true)]
async fn what_is_old_or_of_a_lock_that_is_offline_is_not_shown_as_true() {
    let house = House::new();
    let mut lock = house.life(LOCK);
    lock.goes_on(10 * 60).await;
    assert_eq!(lock.shows(), Some(LockState::Locked));
    lock.goes_on(2 * 60).await;
    assert_eq!(lock.shows(), None, "nobody has told how it stands for 12 minutes");
    house.lists(json!(false));
    lock.goes_on(1).await;
    assert_eq!(lock.shows(), Some(LockState::Unlocked));
    house.pushes(json!({"_id": LOCK, "ol": false}));
    lock.goes_on(1).await;
    assert_eq!((lock.shows(), lock.shown.borrow().link.clone()), (None, Link::Offline));
}
