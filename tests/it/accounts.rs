//! An account brings doorbells into the house and takes them away, and its troubles stay its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorstep::clock;
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::audit::Audit;
use doorstep::doorbell::guard::{Attempt, Via};
use doorstep::doorbell::vendor::{BoxFuture, Retry};
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{
    AccountPort, Accounts, ActionError, DevicePort, Door, Doorbell, Options, Registry, Vendor, VendorError, door,
};
use doorstep::model::{
    AccountLink, Capability, DeviceId, DeviceInfo, DoorKind, Event, Found, Link, LockAction, Mechanism, Ring, Role,
};
use doorstep::store::Store;
use tempfile::TempDir;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

enum Order {
    List(Vec<Found>),
    Tell(&'static str, Event),
    End(Retry),
    Panic,
}

/// An account that does what it is told.
struct Puppet {
    orders: Mutex<mpsc::UnboundedReceiver<Order>>,
    lives: AtomicUsize,
}

impl Puppet {
    fn new() -> (Arc<Self>, mpsc::UnboundedSender<Order>) {
        let (sender, orders) = mpsc::unbounded_channel();
        (Arc::new(Self { orders: Mutex::new(orders), lives: AtomicUsize::new(0) }), sender)
    }

    fn lives(&self) -> usize {
        self.lives.load(Ordering::SeqCst)
    }
}

impl Vendor for Puppet {
    fn name(&self) -> &'static str {
        "puppet"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn run_account(
        self: Arc<Self>,
        port: AccountPort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            self.lives.fetch_add(1, Ordering::SeqCst);
            let mut orders = self.orders.lock().await;
            loop {
                let order = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    order = orders.recv() => order.expect("the test goes on"),
                };
                match order {
                    Order::List(found) => port.listings.send(found).await.expect("the house listens"),
                    Order::Tell(id, event) => port.events.send((self::id(id), event)).await.expect("the house listens"),
                    Order::End(retry) => {
                        let what = "It did not work. Do something.".to_owned();
                        return Err(VendorError { vendor: "puppet", what, retry, source: None });
                    }
                    Order::Panic => panic!("the account was told to panic"),
                }
            }
        })
    }

    fn run_device(
        self: Arc<Self>,
        port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            port.state.send_modify(|state| state.link = Link::Ready);
            stop.cancelled().await;
            Ok(())
        })
    }
}

fn id(text: &str) -> DeviceId {
    DeviceId::parse(text).unwrap()
}

fn found(id: &str, role: Role) -> Found {
    let info = DeviceInfo {
        id: self::id(id),
        name: id.to_uppercase(),
        vendor: "puppet",
        model: "P1".to_owned(),
        firmware: None,
        capabilities: [Capability::Ring].into(),
    };
    Found { info, role, address: None, transport: None, obstacle: None, talk_obstacle: None }
}

fn blocked(id: &str, role: Role) -> Found {
    Found { obstacle: Some("It speaks Klingon.".to_owned()), ..found(id, role) }
}

fn ring(event_id: &str) -> Event {
    let at = doorstep::clock::unix_now();
    Event::Ring(Ring { at, event_id: event_id.to_owned(), source: "cloud", latency: None })
}

/// Accounts and what they have brought.
struct House {
    accounts: Accounts,
    doorbells: Registry,
    locks: Registry,
    stop: CancellationToken,
}

impl House {
    fn of(vendors: Vec<Arc<dyn Vendor>>) -> Self {
        let locks = Registry::default();
        Self::with(
            vendors,
            Wishes {
                options: [].into(),
                locks: [id("lock_named")].into(),
                voice: Arc::new(Mute),
                open_talks: Default::default(),
            },
            locks,
        )
    }

    fn with(vendors: Vec<Arc<dyn Vendor>>, wishes: Wishes, locks: Registry) -> Self {
        let (doorbells, stop) = (Registry::default(), CancellationToken::new());
        let accounts = Accounts::start(vendors, wishes, doorbells.clone(), locks.clone(), &stop);
        Self { accounts, doorbells, locks, stop }
    }

    fn ids(&self) -> Vec<String> {
        self.doorbells.all().iter().map(|doorbell| doorbell.info().id.to_string()).collect()
    }

    /// Waits until `link` is so for the account `n`.
    async fn account(&self, n: usize, is_so: impl FnMut(&doorstep::model::Account) -> bool) {
        let (.., mut status) = self.accounts.all().remove(n);
        status.wait_for(is_so).await.unwrap();
    }

    /// Waits until the doorbells are these.
    async fn until(&self, ids: &[&str]) {
        let mut changes = self.doorbells.changes();
        let wait = changes.wait_for(|all| all.keys().map(DeviceId::as_str).eq(ids.iter().copied()));
        let waited = tokio::time::timeout(Duration::from_secs(3_600), wait).await;
        assert!(waited.is_ok(), "there are {:?} and not {ids:?}", self.ids());
    }

    fn doorbell(&self, id: &str) -> Doorbell {
        self.doorbells.get(&self::id(id)).expect("it is there")
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_account_lists_appears_and_an_unnamed_lock_is_left_alone() {
    let (puppet, orders) = Puppet::new();
    let house = House::of(vec![puppet]);
    let listing = vec![
        found("bell", Role::Doorbell),
        blocked("blocked_bell", Role::Doorbell),
        found("cam", Role::Camera),
        blocked("blocked_cam", Role::Camera),
        found("lock_named", Role::Lock),
        found("lock_unnamed", Role::Lock),
        found("chime", Role::Other),
    ];
    orders.send(Order::List(listing)).ok().unwrap();
    house
        .account(0, |account| account.link == AccountLink::Ready && account.devices == 7 && account.doors.len() == 2)
        .await;
    // A doorbell that cannot be seen still rings.
    assert_eq!(house.ids(), ["bell", "blocked_bell", "cam"]);
    let locks: Vec<_> = house.locks.all().iter().map(|lock| lock.info().id.clone()).collect();
    assert_eq!(locks, [id("lock_named")]);
}

/// A doorbell `bell` with two doors, before an account that has it, a lock `a_lock` and a garage door `a_garage`.
async fn with_doors(lock: &str, garage: &str) -> (House, TempDir) {
    let (folder, locks) = (tempfile::tempdir().unwrap(), Registry::default());
    let (audit, store) = (Arc::new(Audit::open(folder.path())), Store::open(folder.path()).unwrap());
    let doors = [Mechanism::Lock(id(lock)), Mechanism::Garage(id(garage))].map(|mechanism| {
        let (kind, settings) = (mechanism.kind(), door::Settings { doorbell: id("bell"), mechanism, secret: None });
        (kind, Door::new(settings, locks.clone(), audit.clone(), store.clone()))
    });
    let options = Options { doors: doors.into(), ..Options::default() };
    let wishes = Wishes {
        options: [(id("bell"), options)].into(),
        locks: [id(lock), id(garage)].into(),
        voice: Arc::new(Mute),
        open_talks: Default::default(),
    };
    let (puppet, orders) = Puppet::new();
    let house = House::with(vec![puppet], wishes, locks);
    let listing = [("bell", Role::Doorbell), ("a_lock", Role::Lock), ("a_garage", Role::Garage)];
    orders.send(Order::List(listing.map(|(id, role)| found(id, role)).into())).ok().unwrap();
    house.account(0, |account| account.devices == 3).await;
    (house, folder)
}

#[tokio::test(start_paused = true)]
async fn a_lock_and_a_garage_door_at_one_doorbell_are_both_connected_to() {
    let (house, _folder) = with_doors("a_lock", "a_garage").await;
    let connected: Vec<_> = house.locks.all().iter().map(|lock| lock.info().id.clone()).collect();
    assert_eq!(connected, [id("a_garage"), id("a_lock")]);
    let can = house.doorbell("bell").info().capabilities.clone();
    assert!(can.contains(&Capability::Unlock) && can.contains(&Capability::Garage), "{can:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_named_for_a_garage_door_is_not_connected_to_and_its_door_says_what_is_wrong() {
    let (house, _folder) = with_doors("a_garage", "a_lock").await;
    assert_eq!(house.locks.all().len(), 0);
    for (kind, expected) in [
        (
            DoorKind::Lock,
            "`a_garage` is a garage door, and `unlock` of this doorbell takes a lock. Name it under `garage`, then \
             start Doorstep again.",
        ),
        (
            DoorKind::Garage,
            "`a_lock` is a lock, and `garage` of this doorbell takes a garage door. Name it under `unlock`, then \
             start Doorstep again.",
        ),
    ] {
        let doorbell = house.doorbell("bell");
        let door = doorbell.door(kind).unwrap();
        door.state().wait_for(|door| door.blocked.as_deref() == Some(expected)).await.unwrap();
        let attempt =
            Attempt { via: Via::Http { who: "page".into(), action: LockAction::Unlock }, received: clock::now() };
        let refused = door.work(attempt).await.outcome;
        assert_eq!(refused, Err(ActionError::Offline { why: expected.to_owned() }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_renamed_device_stays_the_same_doorbell() {
    let (puppet, orders) = Puppet::new();
    let house = House::of(vec![puppet]);
    orders.send(Order::List(vec![found("bell", Role::Doorbell)])).ok().unwrap();
    house.until(&["bell"]).await;
    let before = house.doorbell("bell");
    let mut infos = before.infos();
    infos.mark_unchanged();
    let mut renamed = found("bell", Role::Doorbell);
    renamed.info.name = "Garden".to_owned();
    orders.send(Order::List(vec![renamed.clone()])).ok().unwrap();
    infos.changed().await.unwrap();
    assert_eq!(before.info().name, "Garden");
    assert!(house.doorbell("bell").media().same(before.media()), "its viewers would have been cut off");
    orders.send(Order::List(vec![renamed])).ok().unwrap();
    orders.send(Order::Tell("bell", ring("1"))).ok().unwrap();
    before.state().wait_for(|state| state.last_ring.is_some()).await.unwrap();
    assert!(!infos.has_changed().unwrap(), "the same listing again is no news");
}

#[tokio::test(start_paused = true)]
async fn a_device_is_gone_when_two_listings_in_a_row_lack_it() {
    let (puppet, orders) = Puppet::new();
    let house = House::of(vec![puppet]);
    let list = |ids: &[&str]| {
        orders.send(Order::List(ids.iter().map(|id| found(id, Role::Doorbell)).collect())).ok().unwrap();
    };
    list(&["a", "b"]);
    house.until(&["a", "b"]).await;
    let gone = house.doorbell("b");
    list(&["a"]);
    list(&["a", "b"]);
    list(&["a"]);
    list(&["a", "c"]);
    house.until(&["a", "c"]).await;
    gone.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn one_account_takes_nothing_away_from_another() {
    let ((one, first), (two, second)) = (Puppet::new(), Puppet::new());
    let house = House::of(vec![one, two]);
    first.send(Order::List(vec![found("shared", Role::Doorbell)])).ok().unwrap();
    house.until(&["shared"]).await;
    let shared = house.doorbell("shared");
    second.send(Order::List(vec![found("shared", Role::Doorbell), found("own", Role::Doorbell)])).ok().unwrap();
    house.until(&["own", "shared"]).await;
    for _ in 0..3 {
        second.send(Order::List(Vec::new())).ok().unwrap();
    }
    house.until(&["shared"]).await;
    assert!(house.doorbell("shared").media().same(shared.media()));
}

#[tokio::test(start_paused = true)]
async fn an_event_rings_its_doorbell_once_and_no_other() {
    let (puppet, orders) = Puppet::new();
    let house = House::of(vec![puppet]);
    orders.send(Order::List(vec![found("a", Role::Doorbell), found("b", Role::Doorbell)])).ok().unwrap();
    for (door, event) in [("a", "1"), ("nobody", "2"), ("a", "1"), ("b", "3")] {
        orders.send(Order::Tell(door, ring(event))).ok().unwrap();
    }
    house.until(&["a", "b"]).await;
    house.doorbell("b").state().wait_for(|state| state.last_ring.is_some()).await.unwrap();
    assert_eq!(house.doorbell("a").rings_total(), 1);
    assert_eq!(house.doorbell("b").rings_total(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_account_is_tried_again_and_keeps_its_doorbells() {
    let (puppet, orders) = Puppet::new();
    let house = House::of(vec![puppet.clone()]);
    orders.send(Order::List(vec![found("bell", Role::Doorbell)])).ok().unwrap();
    orders.send(Order::End(Retry::Backoff)).ok().unwrap();
    house
        .account(0, |account| matches!(&account.link, AccountLink::Failing { why } if why.contains("Do something")))
        .await;
    assert_eq!(house.ids(), ["bell"]);
    orders.send(Order::Panic).ok().unwrap();
    house.account(0, |account| matches!(&account.link, AccountLink::Failing { why } if why.contains("internal"))).await;
    orders.send(Order::List(vec![found("bell", Role::Doorbell)])).ok().unwrap();
    house.account(0, |account| account.link == AccountLink::Ready).await;
    assert_eq!(puppet.lives(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_patience_gets_it() {
    let (puppet, orders) = Puppet::new();
    let _house = House::of(vec![puppet.clone()]);
    orders.send(Order::End(Retry::After(Duration::from_secs(600)))).ok().unwrap();
    tokio::time::sleep(Duration::from_secs(599)).await;
    assert_eq!(puppet.lives(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(puppet.lives(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_needs_its_owner_is_left_alone_and_harms_no_other() {
    let ((one, first), (two, second)) = (Puppet::new(), Puppet::new());
    let house = House::of(vec![one.clone(), two]);
    first.send(Order::End(Retry::WaitForUser)).ok().unwrap();
    house.account(0, |account| matches!(account.link, AccountLink::NeedsAttention { .. })).await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(one.lives(), 1);
    second.send(Order::List(vec![found("bell", Role::Doorbell)])).ok().unwrap();
    house.until(&["bell"]).await;
    house.accounts.settled().await;
    house.stop.cancel();
    house.accounts.stopped().await;
    house.doorbell("bell").stopped().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_removed_takes_along_what_it_brought_and_nothing_else() {
    let ((one, first), (two, second)) = (Puppet::new(), Puppet::new());
    let house = House::of(vec![one]);
    house.accounts.add(100, two.clone());
    first.send(Order::List(vec![found("mine", Role::Doorbell)])).ok().unwrap();
    second.send(Order::List(vec![found("yours", Role::Doorbell), found("lock_named", Role::Lock)])).ok().unwrap();
    house.until(&["mine", "yours"]).await;
    let (mine, yours) = (house.doorbell("mine"), house.doorbell("yours"));
    let lock = house.locks.get(&id("lock_named")).expect("it is connected to");
    assert!(house.accounts.remove(100).await && !house.accounts.remove(100).await);
    assert_eq!((house.ids(), house.locks.all().len()), (vec!["mine".to_owned()], 0));
    yours.stopped().await;
    lock.stopped().await;
    assert!(house.doorbell("mine").media().same(mine.media()));
    let numbers: Vec<usize> = house.accounts.all().into_iter().map(|(n, ..)| n).collect();
    assert_eq!(numbers, [0]);
    assert!(second.send(Order::List(vec![])).is_ok() && two.lives() == 1);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_waits_for_its_owner_is_removed_with_its_doorbells_too() {
    let (puppet, orders) = Puppet::new();
    let house = House::of(vec![puppet]);
    orders.send(Order::List(vec![found("bell", Role::Doorbell)])).ok().unwrap();
    house.until(&["bell"]).await;
    orders.send(Order::End(Retry::WaitForUser)).ok().unwrap();
    house.account(0, |account| matches!(account.link, AccountLink::NeedsAttention { .. })).await;
    assert_eq!(house.ids(), ["bell"]);
    assert!(house.accounts.remove(0).await);
    assert_eq!(house.ids(), Vec::<String>::new());
}

/// An account that does not end, nor does its doorbell.
struct Wedged;

impl Vendor for Wedged {
    fn name(&self) -> &'static str {
        "wedged"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(std::future::pending())
    }

    fn run_account(
        self: Arc<Self>,
        port: AccountPort,
        _: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            port.listings.send(vec![found("stuck", Role::Doorbell)]).await.expect("the house listens");
            std::future::pending().await
        })
    }

    fn run_device(self: Arc<Self>, _: DevicePort, _: CancellationToken) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_does_not_end_is_gone_all_the_same() {
    let (puppet, orders) = Puppet::new();
    let house = House::of(vec![puppet]);
    house.accounts.add(100, Arc::new(Wedged));
    house.until(&["stuck"]).await;
    let removing = tokio::time::timeout(Duration::from_secs(5), house.accounts.remove(100));
    assert!(removing.await.expect("it holds everybody up"));
    orders.send(Order::List(vec![found("bell", Role::Doorbell)])).ok().unwrap();
    house.until(&["bell"]).await;
}

#[tokio::test(start_paused = true)]
async fn who_follows_the_accounts_hears_of_those_that_come_change_and_go() {
    let ((one, first), (two, second)) = (Puppet::new(), Puppet::new());
    let house = House::of(vec![one]);
    let mut changes = house.accounts.changes();
    let mut hears = async |what: &str| {
        let heard = tokio::time::timeout(Duration::from_secs(60), changes.changed()).await;
        heard.unwrap_or_else(|_| panic!("nobody told that {what}"));
    };
    first.send(Order::List(Vec::new())).ok().unwrap();
    hears("the first listed").await;
    house.accounts.add(100, two);
    hears("another came").await;
    second.send(Order::List(Vec::new())).ok().unwrap();
    hears("it listed").await;
    house.accounts.remove(0).await;
    hears("the first went").await;
    second.send(Order::End(Retry::WaitForUser)).ok().unwrap();
    hears("the second needs its owner").await;
    let nothing = tokio::time::timeout(Duration::from_secs(60), changes.changed()).await;
    assert!(nothing.is_err(), "there was nothing to tell");
}
