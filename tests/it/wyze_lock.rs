//! From a wish to the bolt and back: the guard, one call to a virtual cloud, and what the lock says afterwards.

use std::sync::Arc;
use std::time::Duration;

use doorstep::clock;
use doorstep::doorbell::audit::Audit;
use doorstep::doorbell::door;
use doorstep::doorbell::guard::{Attempt, Via};
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::{
    AccountPort, ActionError, DevicePort, Door, Doorbell, Options, Registry, Vendor, VendorError,
};
use doorstep::model::{DeviceId, DeviceInfo, Found, Link, LockAction, LockState, Mechanism};
use doorstep::secret::Password;
use doorstep::sim::wyze_cloud::{CloudCommand, CloudEvent, Device, Fault, Settings, Trouble};
use doorstep::store::Store;
use doorstep::vendor::wyze::cloud::Cloud;
use doorstep::vendor::wyze::lock::{self, Interface, Lock};
use futures_util::future::join_all;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::crooked_cloud::time_goes_by;
use crate::support::score::{Figure, tally};
use crate::wyze_cloud::Account;

const CONTROL: &str = "/openapi/lock/v1/control";
const ACTION: &str = "/app/v4/iot3/run-action";

/// A vendor with one lock.
struct OneLock {
    lock: Lock,
    cloud: Cloud,
}

impl Vendor for OneLock {
    fn name(&self) -> &'static str {
        "wyze"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn run_account(
        self: Arc<Self>,
        _: AccountPort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            stop.cancelled().await;
            Ok(())
        })
    }

    fn run_device(
        self: Arc<Self>,
        port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move { lock::live(&self.lock, &self.cloud, port, stop).await })
    }
}

/// A door whose lock is of this model.
struct House {
    account: Account,
    mac: String,
    door: Arc<Door>,
    lock: Doorbell,
    _stop: DropGuard,
}

impl House {
    async fn with(model: &str) -> Self {
        let mut settings = Settings { lock_travel: Duration::from_millis(1_500), ..Settings::generate(8) };
        // The palm lock is the other one's younger sister, which the virtual account does not have.
        let of_model =
            |settings: &Settings, model| settings.devices.iter().find(|device| device.model == model).cloned();
        let device = of_model(&settings, model).unwrap_or_else(|| {
            let like = of_model(&settings, "DX_LB2").unwrap();
            let mac = like.mac.replace("DX_LB2", model);
            let device = Device { mac, model: model.to_owned(), ..like };
            settings.devices.push(device.clone());
            device
        });
        let account = Account::at(settings).await;
        let id = DeviceId::from_hardware("wyze", &device.mac);
        let interface = Interface::of(model).unwrap().unwrap();
        let lock = Lock { mac: device.mac.clone(), model: model.to_owned(), interface };
        let vendor = Arc::new(OneLock { lock, cloud: account.client() });
        let info = DeviceInfo {
            id: id.clone(),
            name: "Front door".to_owned(),
            vendor: "wyze",
            model: model.to_owned(),
            firmware: None,
            capabilities: Default::default(),
        };
        let stop = CancellationToken::new();
        let lock = Doorbell::spawn(vendor, info, Options::default(), stop.clone());
        let locks = Registry::default();
        locks.insert(lock.clone());
        let doorbell = DeviceId::parse("wyze_doorbell").unwrap();
        let settings = door::Settings { doorbell, mechanism: Mechanism::Lock(id), secret: None };
        let folder = account.folder.path().join("door");
        let door = Door::new(settings, locks, Arc::new(Audit::open(&folder)), Store::open(&folder).unwrap());
        let house = Self { account, mac: device.mac, door, lock, _stop: stop.drop_guard() };
        house.stands(Some(LockState::Locked)).await;
        house
    }

    async fn work(&self, action: LockAction) -> Result<LockState, ActionError> {
        let via = Via::Http { who: "a test".into(), action };
        self.door.work(Attempt { via, received: clock::now() }).await.outcome
    }

    async fn stands(&self, lock: Option<LockState>) {
        let mut state = self.lock.state();
        let stands = state
            .wait_for(|state| state.link == Link::Ready && state.door.as_ref().is_some_and(|door| door.lock == lock));
        tokio::time::timeout(Duration::from_secs(30), stands).await.expect("it does not").unwrap();
    }

    fn trouble(&self, fault: Option<Fault>, at: &str) {
        let trouble = fault.map(|fault| Trouble { fault, at: at.to_owned() });
        self.account.cloud.obey(CloudCommand::Trouble(trouble)).unwrap();
    }

    fn unlocks(&self) -> u64 {
        self.account.cloud.counts().unlocks
    }
}

#[tokio::test]
async fn a_door_is_unlocked_by_one_call_and_says_so_when_it_is_open() {
    let mut opened = 0;
    for (model, path) in [("YD.LO1", CONTROL), ("DX_LB2", ACTION), ("DX_PVLOC", ACTION)] {
        let house = House::with(model).await;
        let mut happens = house.account.cloud.events();
        assert_eq!(house.work(LockAction::Unlock).await, Ok(LockState::Unlocked), "{model}");
        while !matches!(happens.recv().await.unwrap(), CloudEvent::Unlocked { device } if device == house.mac) {}
        assert_eq!((house.unlocks(), house.account.cloud.requests_to(path)), (1, 1), "{model}");
        house.stands(Some(LockState::Unlocked)).await;
        assert_eq!(house.work(LockAction::Lock).await, Ok(LockState::Locked), "{model}");
        assert_eq!((house.account.cloud.counts().locks, house.account.cloud.requests_to(path)), (1, 2), "{model}");
        assert_eq!(house.account.cloud.counts().logins, 1);
        opened += usize::from(house.unlocks() == 1);
    }
    tally(Figure::UnlocksDone, opened, 3);
}

#[tokio::test]
async fn a_jammed_lock_is_called_jammed() {
    let house = House::with("YD.LO1").await;
    house.trouble(Some(Fault::Jammed), "");
    assert_eq!(house.work(LockAction::Unlock).await, Ok(LockState::Jammed));
    house.stands(Some(LockState::Jammed)).await;
    assert_eq!(house.unlocks(), 1);
}

#[tokio::test]
async fn a_command_whose_answer_is_lost_is_not_given_again_and_the_truth_is_shown() {
    let lose = async |model, path, fault| {
        let house = House::with(model).await;
        house.trouble(Some(fault), path);
        assert_eq!(house.work(LockAction::Unlock).await, Err(ActionError::Timeout), "{model} {fault}");
        // The virtual cloud took it all the same, as a real one might.
        house.stands(Some(LockState::Unlocked)).await;
        assert_eq!((house.unlocks(), house.account.cloud.requests_to(path)), (1, 1), "{model} {fault}");
    };
    let faults = [Fault::Reset, Fault::Truncated, Fault::Stall];
    let interfaces = [("YD.LO1", CONTROL), ("DX_LB2", ACTION)];
    join_all(interfaces.iter().flat_map(|(model, path)| faults.map(|fault| lose(model, path, fault)))).await;
}

#[tokio::test]
async fn a_command_that_is_refused_for_its_token_is_not_made_again_with_another() {
    for (model, path) in [("YD.LO1", CONTROL), ("DX_LB2", ACTION)] {
        let house = House::with(model).await;
        house.trouble(Some(Fault::Expired), "");
        assert!(house.work(LockAction::Unlock).await.is_err());
        assert_eq!((house.unlocks(), house.account.cloud.requests_to(path)), (0, 1), "{model}");
        // The lock is asked how it stands, which brings a new token.
        let refreshed = async {
            while house.account.cloud.counts().refreshes == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), refreshed).await.expect("no new token");
        house.stands(Some(LockState::Locked)).await;
        // Another command, since the guard would take the same one for a repetition.
        assert_eq!(house.work(LockAction::Lock).await, Ok(LockState::Locked), "{model}");
        let counts = house.account.cloud.counts();
        assert_eq!((counts.unlocks, counts.locks, counts.logins), (0, 1, 1), "{model}");
    }
}

#[tokio::test]
async fn row_14_the_lock_of_an_account_that_waits_for_its_owner_is_not_available() {
    let house = House::with("YD.LO1").await;
    let login = "/api/user/login";
    let before = house.account.cloud.requests_to(login);
    house.trouble(Some(Fault::RefreshRevoked), "");
    house.account.cloud.obey(CloudCommand::Password(Password::new("another one by now"))).unwrap();
    // The lock is asked how it stands.
    time_goes_by(Duration::from_secs(61)).await;
    let mut state = house.lock.state();
    let waits = state.wait_for(|state| matches!(state.link, Link::NeedsAttention { .. }));
    tokio::time::timeout(Duration::from_secs(30), waits).await.expect("it is still shown as there").unwrap();
    for _ in 0..10 {
        let outcome = house.work(LockAction::Unlock).await;
        assert!(matches!(&outcome, Err(ActionError::Offline { why }) if why.contains("password")), "{outcome:?}");
        time_goes_by(Duration::from_secs(3_600)).await;
    }
    tally(Figure::UnlocksRefused, 10 - house.unlocks() as usize, 10);
    assert_eq!((house.unlocks(), house.account.cloud.requests_to(login) - before), (0, 1));
}

#[tokio::test]
async fn a_lock_that_is_offline_is_not_available() {
    let house = House::with("YD.LO1").await;
    house.account.cloud.obey(CloudCommand::Online { device: Some(house.mac.clone()), online: false }).unwrap();
    assert!(matches!(house.work(LockAction::Unlock).await, Err(ActionError::Offline { .. })));
    let mut state = house.lock.state();
    let offline = state.wait_for(|state| state.link == Link::Offline && state.last_error.is_some());
    tokio::time::timeout(Duration::from_secs(20), offline).await.expect("it is still shown as there").unwrap();
    assert_eq!(house.unlocks(), 0);
}
