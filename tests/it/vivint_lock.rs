//! From a wish to the bolt and back: the guard, one call to a virtual cloud, and what the cloud tells afterwards.

use std::sync::Arc;
use std::time::Duration;

use doorstep::clock;
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::audit::Audit;
use doorstep::doorbell::door;
use doorstep::doorbell::guard::{Attempt, Via};
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{Accounts, ActionError, Door, Doorbell, Registry};
use doorstep::model::{DeviceId, Link, LockAction, LockState, Mechanism};
use doorstep::secret::Password;
use doorstep::sim::vivint::{Command, Fault, SecondFactor, Trouble};
use doorstep::store::Store;
use doorstep::vendor::vivint::Vivint;
use futures_util::future::join_all;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::crooked_cloud::time_goes_by;
use crate::support::mosquitto::until;
use crate::support::score::{Figure, tally};
use crate::vivint_account::Account;

const PATIENCE: Duration = Duration::from_secs(40);
const LOCK: i64 = 40;
const GARAGE: i64 = 61;

/// A door whose lock is this device of a virtual account.
struct House {
    account: Account,
    device: i64,
    door: Arc<Door>,
    lock: Doorbell,
    _stop: DropGuard,
}

impl House {
    async fn with(device: i64) -> Self {
        let account = Account::with(|settings| {
            settings.second_factor = SecondFactor::None;
            settings.travel = Duration::from_millis(700);
        });
        let account = account.await;
        let id = DeviceId::parse(&format!("vivint_{}_{device}", account.cloud.settings.panel)).unwrap();
        let store = Store::open(account.folder.path()).unwrap();
        let vivint = Arc::new(Vivint::new(&account.login, &[], &store));
        let (stop, locks) = (CancellationToken::new(), Registry::default());
        let wishes = Wishes {
            options: Default::default(),
            locks: [id.clone()].into(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let _accounts = Accounts::start(vec![vivint], wishes, Registry::default(), locks.clone(), &stop);
        let lock = tokio::time::timeout(PATIENCE, async {
            loop {
                match locks.get(&id) {
                    Some(lock) => break lock,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
        let lock = lock.await.expect("the lock is not listed");
        let mechanism = if device == GARAGE { Mechanism::Garage(id) } else { Mechanism::Lock(id) };
        let settings =
            door::Settings { doorbell: DeviceId::parse("vivint_doorbell").unwrap(), mechanism, secret: None };
        let folder = account.folder.path().join("door");
        let door = Door::new(settings, locks, Arc::new(Audit::open(&folder)), Store::open(&folder).unwrap());
        let house = Self { account, device, door, lock, _stop: stop.drop_guard() };
        house.stands(LockState::Locked).await;
        house
    }

    async fn work(&self, action: LockAction) -> Result<LockState, ActionError> {
        let via = Via::Http { who: "a test".into(), action };
        self.door.work(Attempt { via, received: clock::now() }).await.outcome
    }

    async fn stands(&self, lock: LockState) {
        let mut state = self.lock.state();
        let stands = state.wait_for(|state| {
            state.link == Link::Ready && state.door.as_ref().is_some_and(|door| door.lock == Some(lock))
        });
        tokio::time::timeout(PATIENCE, stands).await.unwrap_or_else(|_| panic!("it is not {lock:?}")).unwrap();
    }

    fn trouble(&self, fault: Fault, at: &str) {
        self.account.obey(Command::Trouble(Some(Trouble { fault, at: at.to_owned() })));
    }

    /// How many commands reached the cloud, whatever became of them.
    fn commands(&self) -> u64 {
        let panel = self.account.cloud.settings.panel;
        self.account.cloud.requests_to(&format!("/api/{panel}/1/locks/{}", self.device))
            + self.account.cloud.requests_to(&format!("/api/{panel}/1/door/{}", self.device))
    }
}

#[tokio::test]
async fn a_lock_is_worked_by_one_call_and_believed_when_it_is_told() {
    let house = House::with(LOCK).await;
    let mut state = house.lock.state();
    let (outcome, moved) = tokio::join!(house.work(LockAction::Unlock), async {
        let moves = state.wait_for(|state| {
            let door = state.door.as_ref();
            door.is_some_and(|door| door.lock == Some(LockState::Unlocking))
        });
        tokio::time::timeout(PATIENCE, moves).await.is_ok_and(|state| state.is_ok())
    });
    assert_eq!((outcome, moved), (Ok(LockState::Unlocked), true));
    house.stands(LockState::Unlocked).await;
    assert_eq!(house.work(LockAction::Lock).await, Ok(LockState::Locked));
    let counts = house.account.cloud.counts();
    tally(Figure::UnlocksDone, usize::from(counts.unlocks == 1), 1);
    assert_eq!((counts.unlocks, counts.locks, house.commands()), (1, 1, 2));
}

#[tokio::test]
async fn a_garage_door_opens_and_closes() {
    let house = House::with(GARAGE).await;
    assert_eq!(house.work(LockAction::Unlock).await, Ok(LockState::Unlocked));
    assert_eq!(house.work(LockAction::Lock).await, Ok(LockState::Locked));
    let counts = house.account.cloud.counts();
    tally(Figure::UnlocksDone, usize::from(counts.door_opens == 1), 1);
    assert_eq!((counts.door_opens, counts.door_closes, house.commands()), (1, 1, 2));
}

#[tokio::test]
async fn a_hand_at_the_bolt_is_seen_by_push() {
    let house = House::with(LOCK).await;
    // The push channel may not be listened to yet; the listing that begins it brings what it missed.
    house.account.obey(Command::Lock { device: Some(LOCK), locked: false });
    house.stands(LockState::Unlocked).await;
    house.account.obey(Command::Lock { device: Some(LOCK), locked: true });
    house.stands(LockState::Locked).await;
    assert_eq!(house.commands(), 0);
}

#[tokio::test]
async fn a_lock_is_confirmed_by_a_listing_when_no_push_comes() {
    let house = House::with(LOCK).await;
    house.trouble(Fault::PubnubSilent, "");
    assert_eq!(house.work(LockAction::Unlock).await, Ok(LockState::Unlocked));
    assert_eq!(house.commands(), 1);
}

#[tokio::test]
async fn a_command_is_never_repeated_whatever_the_cloud_answers() {
    let house = House::with(LOCK).await;
    let locks = format!("/api/{}/1/locks", house.account.cloud.settings.panel);
    for (fault, outcome) in [(Fault::ServerError, Err(ActionError::Timeout)), (Fault::Reset, Err(ActionError::Timeout))]
    {
        let before = house.commands();
        house.trouble(fault, &locks);
        let action = if before == 0 { LockAction::Unlock } else { LockAction::Lock };
        assert_eq!(house.work(action).await, outcome, "{fault}");
        assert_eq!(house.commands(), before + 1, "{fault}");
    }
}

#[tokio::test]
async fn a_command_with_a_worn_out_token_touches_nothing_and_the_next_one_works() {
    let house = House::with(LOCK).await;
    house.account.obey(Command::Expire);
    let outcome = house.work(LockAction::Unlock).await;
    assert!(matches!(&outcome, Err(ActionError::Refused { why }) if why.contains("Try again")), "{outcome:?}");
    house.stands(LockState::Locked).await;
    assert_eq!(house.work(LockAction::Lock).await, Ok(LockState::Locked));
    let counts = house.account.cloud.counts();
    assert_eq!((house.commands(), counts.unlocks, counts.locks, counts.refreshes), (2, 0, 1, 1));
}

#[tokio::test]
async fn nothing_reaches_the_lock_without_the_guards_word() {
    let house = House::with(LOCK).await;
    let refused = [
        Via::Mqtt { payload: "UNLOCK".into(), retained: true, dup: false },
        Via::Mqtt { payload: "UNLOCK".into(), retained: false, dup: true },
        Via::Mqtt { payload: "unlock".into(), retained: false, dup: false },
        Via::Mqtt { payload: "OPEN".into(), retained: false, dup: false },
        Via::Mqtt { payload: "".into(), retained: false, dup: false },
    ];
    let attempts = refused.into_iter().map(|via| house.door.work(Attempt { via, received: clock::now() }));
    for answer in join_all(attempts).await {
        assert!(matches!(answer.outcome, Err(ActionError::Refused { .. })), "{:?}", answer.outcome);
    }
    let received = clock::now() - Duration::from_secs(6);
    let old = Attempt { via: Via::Http { who: "a test".into(), action: LockAction::Unlock }, received };
    assert!(matches!(house.door.work(old).await.outcome, Err(ActionError::Refused { .. })), "it had grown old");
    let counts = house.account.cloud.counts();
    tally(Figure::UnlocksRefused, 6 - house.commands() as usize, 6);
    assert_eq!((house.commands(), counts.unlocks, counts.locks), (0, 0, 0));
}

#[tokio::test]
async fn row_14_the_lock_of_an_account_that_waits_for_its_owner_is_not_available() {
    let house = House::with(LOCK).await;
    let logins = || house.account.cloud.requests_to("/idp/api/submit");
    let before = logins();
    house.account.obey(Command::Password(Password::new("another one by now")));
    house.trouble(Fault::RefreshRevoked, "");
    // The account is listed again, and then what was told last has grown old.
    time_goes_by(Duration::from_secs(301)).await;
    until("a login", || logins() > before).await;
    time_goes_by(Duration::from_secs(11 * 60)).await;
    let mut state = house.lock.state();
    let away = state.wait_for(|state| state.link == Link::Offline);
    tokio::time::timeout(PATIENCE, away).await.expect("it is still shown as there").unwrap();
    for _ in 0..10 {
        let outcome = house.work(LockAction::Unlock).await;
        assert!(matches!(outcome, Err(ActionError::Offline { .. })), "{outcome:?}");
        time_goes_by(Duration::from_secs(3_600)).await;
    }
    tally(Figure::UnlocksRefused, 10 - house.commands() as usize, 10);
    assert_eq!((house.commands(), logins() - before), (0, 1));
}

#[tokio::test]
async fn a_lock_that_is_offline_says_so() {
    let house = House::with(LOCK).await;
    house.account.obey(Command::Online { device: Some(LOCK), online: false });
    let mut state = house.lock.state();
    let offline = state.wait_for(|state| {
        state.link == Link::Offline && state.last_error.as_ref().is_some_and(|why| why.contains("offline"))
    });
    tokio::time::timeout(PATIENCE, offline).await.expect("it is said to be there").unwrap();
}
