//! Every account, kept alive, and the doorbells that its listings bring and take away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::vendor::{AccountPort, Retry};
use super::{Doorbell, OpenTalks, Options, Picture, Registry, Vendor, VendorError, Voice};
use crate::clock;
use crate::model::{Account, AccountLink, DeviceId, DoorKind, Event, Found, ListedDoor, Role};
use crate::net::supervise::{Backoff, jitter};
use crate::secret::Password;

/// What the owner wants otherwise, and which locks may be worked at all.
pub struct Wishes {
    pub options: HashMap<DeviceId, Options>,
    /// Locks and garage doors that some door names. No other is ever connected to.
    pub locks: BTreeSet<DeviceId>,
    /// Where every doorbell's sound comes from.
    pub voice: Arc<dyn Voice>,
    /// Where it is remembered whose speakers are open.
    pub open_talks: OpenTalks,
}

impl Wishes {
    /// Whether the owner wants this device worked, and has named it for what it is.
    fn want(&self, device: &DeviceId, kind: DoorKind) -> bool {
        let doors = self.options.values().flat_map(|options| options.doors.values());
        // Each of them is asked, so that whichever is mistaken says so.
        let mistaken = doors.filter(|door| !door.accepts(device, kind)).count();
        mistaken == 0 && self.locks.contains(device)
    }
}

/// The running accounts, each under a number that stays its own. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    home: Home,
    all: watch::Sender<Roll>,
}

/// The accounts that there are, by number.
type Roll = BTreeMap<usize, Arc<Running>>;

/// Where accounts bring what they have.
#[derive(Clone)]
struct Home {
    wishes: Arc<Wishes>,
    doorbells: Registry,
    locks: Registry,
    /// Of everything.
    stop: CancellationToken,
}

struct Running {
    vendor: &'static str,
    status: watch::Receiver<Account>,
    rediscover: Arc<Notify>,
    codes: broadcast::Sender<Password>,
    brought: Brought,
    /// Of this account alone.
    stop: CancellationToken,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Accounts {
    /// Starts every account, numbered from 0; its doorbells go into `doorbells`, enabled locks and garage doors into
    /// `locks`. Doorbells are told to stop with `stop`, as are the accounts.
    pub fn start(
        vendors: Vec<Arc<dyn Vendor>>,
        wishes: Wishes,
        doorbells: Registry,
        locks: Registry,
        stop: &CancellationToken,
    ) -> Self {
        let home = Home { wishes: Arc::new(wishes), doorbells, locks, stop: stop.clone() };
        let accounts = Self(Arc::new(Inner { home, all: watch::Sender::default() }));
        for (n, vendor) in vendors.into_iter().enumerate() {
            accounts.add(n, vendor);
        }
        accounts
    }

    /// Starts account number `n`, which nobody has or an account that has ended.
    pub fn add(&self, n: usize, vendor: Arc<dyn Vendor>) {
        let running = Arc::new(self.0.home.run(n, vendor));
        self.0.all.send_modify(|all| drop(all.insert(n, running)));
    }

    /// Ends account number `n` with everything that it has brought: talks first, then camera sessions, then the
    /// doorbells are gone, and then the account. Whether there was one.
    pub async fn remove(&self, n: usize) -> bool {
        let Some(running) = self.get(n) else { return false };
        running.end().await;
        self.0.all.send_modify(|all| drop(all.remove(&n)));
        true
    }

    /// Ends account number `n` like `remove`, and starts in its place what `begin` makes then.
    pub async fn replace(&self, n: usize, begin: impl FnOnce() -> Arc<dyn Vendor>) {
        if let Some(running) = self.get(n) {
            running.end().await;
        }
        self.add(n, begin());
    }

    /// Number, vendor and status of each, by number.
    pub fn all(&self) -> Vec<(usize, &'static str, watch::Receiver<Account>)> {
        let all = self.0.all.borrow();
        all.iter().map(|(n, account)| (*n, account.vendor, account.status.clone())).collect()
    }

    /// Tells when an account comes, goes, or does otherwise.
    pub fn changes(&self) -> Changes {
        let mut changes = Changes { roll: self.0.all.subscribe(), statuses: Vec::new() };
        changes.listen();
        changes
    }

    /// Resolves when every account has listed its devices, or has said why it cannot.
    pub async fn settled(&self) {
        self.wait_for(|link| *link != AccountLink::Starting).await;
    }

    /// Resolves when every account has listed its devices.
    pub async fn listed(&self) {
        self.wait_for(|link| *link == AccountLink::Ready).await;
    }

    async fn wait_for(&self, is_so: impl Fn(&AccountLink) -> bool) {
        for (.., mut status) in self.all() {
            let _gone = status.wait_for(|account| is_so(&account.link)).await;
        }
    }

    /// Has every account list its devices anew, now.
    pub fn rediscover(&self) {
        self.0.all.borrow().values().for_each(|account| account.rediscover.notify_one());
    }

    /// Gives account number `n` the code that it waits for. Whether there is such an account.
    pub fn answer(&self, n: usize, code: Password) -> bool {
        let account = self.get(n);
        // An account that waits for no code has no use for it.
        account.inspect(|account| drop(account.codes.send(code))).is_some()
    }

    /// Resolves when every account has stopped.
    pub async fn stopped(&self) {
        let all: Vec<_> = self.0.all.borrow().values().cloned().collect();
        for account in all {
            account.stopped().await;
        }
    }

    fn get(&self, n: usize) -> Option<Arc<Running>> {
        self.0.all.borrow().get(&n).cloned()
    }
}

/// Tells when an account comes, goes, or does otherwise.
pub struct Changes {
    roll: watch::Receiver<Roll>,
    /// Of those on the roll.
    statuses: Vec<watch::Receiver<Account>>,
}

impl Changes {
    /// Resolves when something has changed since the last call; never again once the house is gone. May be dropped
    /// at any time.
    pub async fn changed(&mut self) {
        let mut any: FuturesUnordered<_> = self.statuses.iter_mut().map(heard).collect();
        tokio::select! {
            Ok(()) = self.roll.changed() => {}
            Some(()) = any.next() => return,
            else => std::future::pending().await,
        }
        drop(any);
        self.listen();
    }

    /// Whatever was before this is known.
    fn listen(&mut self) {
        let roll = self.roll.borrow_and_update();
        self.statuses = roll.values().map(|account| account.status.clone()).collect();
        self.statuses.iter_mut().for_each(watch::Receiver::mark_unchanged);
    }
}

/// Resolves at the account's next word. Of one that has ended the last one stands.
async fn heard(status: &mut watch::Receiver<Account>) {
    if status.changed().await.is_err() {
        std::future::pending().await
    }
}

impl Home {
    fn run(&self, n: usize, vendor: Arc<dyn Vendor>) -> Running {
        let stop = self.stop.child_token();
        let brought = Brought::default();
        let lines = Lines {
            status: watch::Sender::new(Account::default()),
            rediscover: Arc::new(Notify::new()),
            codes: broadcast::Sender::new(1),
        };
        let house = House {
            vendor: vendor.clone(),
            status: lines.status.clone(),
            home: self.clone(),
            brought: brought.clone(),
            stop: stop.clone(),
        };
        let (status, rediscover, codes) = (lines.status.subscribe(), lines.rediscover.clone(), lines.codes.clone());
        let (name, span) = (vendor.name(), tracing::info_span!("account", vendor = vendor.name(), n));
        let keeper = tokio::spawn(keep_alive(vendor, lines, house, stop.clone()).instrument(span));
        let task = tokio::sync::Mutex::new(Some(keeper));
        Running { vendor: name, status, rediscover, codes, brought, stop, task }
    }
}

impl Running {
    /// How long its doorbells may take to end their talks and to tell their cameras, and then the account itself.
    const FAREWELL: Duration = Duration::from_secs(2);

    async fn end(&self) {
        self.brought.leave().await;
        self.stop.cancel();
        if tokio::time::timeout(Self::FAREWELL, self.stopped()).await.is_err() {
            tracing::warn!(vendor = self.vendor, "an account that was removed did not end in time");
        }
    }

    async fn stopped(&self) {
        let task = self.task.lock().await.take();
        if let Some(task) = task {
            let _panicked = task.await;
        }
    }
}

/// What outlasts one life of an account.
struct Lines {
    status: watch::Sender<Account>,
    rediscover: Arc<Notify>,
    codes: broadcast::Sender<Password>,
}

/// One account's lives, one after another, until `stop` is cancelled.
async fn keep_alive(vendor: Arc<dyn Vendor>, lines: Lines, mut house: House, stop: CancellationToken) {
    let mut backoff = Backoff::default();
    loop {
        let begun = clock::now();
        let (port, brings) = lines.port();
        let life = tokio::spawn(vendor.clone().run_account(port, stop.clone()).in_current_span());
        let end = house.live(AbortOnDropHandle::new(life), brings).await;
        if stop.is_cancelled() {
            return;
        }
        let wait = match after(end, &lines.status) {
            Some(Retry::After(wait)) => wait,
            Some(Retry::WaitForUser) => return,
            _ => backoff.next(begun.elapsed(), jitter()),
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// What one life of an account brings.
struct Brings {
    listings: mpsc::Receiver<Vec<Found>>,
    events: mpsc::Receiver<(DeviceId, Event)>,
    pictures: mpsc::Receiver<(DeviceId, Picture)>,
}

impl Lines {
    fn port(&self) -> (AccountPort, Brings) {
        let (listing_sender, listings) = mpsc::channel(4);
        let (event_sender, events) = mpsc::channel(64);
        let (picture_sender, pictures) = mpsc::channel(4);
        let port = AccountPort {
            status: self.status.clone(),
            listings: listing_sender,
            events: event_sender,
            pictures: picture_sender,
            rediscover: self.rediscover.clone(),
            codes: self.codes.subscribe(),
        };
        (port, Brings { listings, events, pictures })
    }
}

type End = Result<Result<(), VendorError>, tokio::task::JoinError>;

/// Tells how the account stands after a life, and when to live again.
fn after(end: End, status: &watch::Sender<Account>) -> Option<Retry> {
    let error = match end {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error,
        Err(panic) => {
            tracing::error!(%panic, "the account's task failed; this is a bug");
            let why = "An internal error, which the log describes. It is being tried again.".to_owned();
            status.send_modify(|account| account.link = AccountLink::Failing { why });
            return None;
        }
    };
    let why = error.what.clone();
    match error.retry {
        Retry::WaitForUser => {
            tracing::error!(why, "the account needs its owner and is not tried again before it is corrected");
            status.send_modify(|account| account.link = AccountLink::NeedsAttention { why });
        }
        _ => {
            // The same failure again is no news.
            if status.borrow().link.why() != Some(&why) {
                let cause = error.source.as_ref().map(tracing::field::display);
                tracing::warn!(why, cause, "the account failed");
            }
            status.send_modify(|account| account.link = AccountLink::Failing { why });
        }
    }
    Some(error.retry)
}

/// Where an account's listings and events go.
struct House {
    vendor: Arc<dyn Vendor>,
    status: watch::Sender<Account>,
    home: Home,
    brought: Brought,
    /// Of the account and its doorbells.
    stop: CancellationToken,
}

impl House {
    /// How long an account may take to stop.
    const FAREWELL: Duration = Duration::from_secs(1);

    async fn live(&mut self, mut life: AbortOnDropHandle<Result<(), VendorError>>, mut brings: Brings) -> End {
        let stop = self.stop.clone();
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(Self::FAREWELL).await;
        };
        tokio::pin!(overdue);
        loop {
            tokio::select! {
                // A listing first: an event of a new device finds it.
                biased;
                Some(found) = brings.listings.recv() => self.take(found),
                // And a ring before its picture.
                Some((id, event)) = brings.events.recv() => self.tell(&id, event),
                Some((id, picture)) = brings.pictures.recv() => self.show(&id, picture),
                end = &mut life => return end,
                () = &mut overdue => return Ok(Ok(())),
            }
        }
    }

    fn tell(&self, id: &DeviceId, event: Event) {
        if let Some(doorbell) = self.home.doorbells.get(id) {
            doorbell.tell(event);
        }
    }

    fn show(&self, id: &DeviceId, picture: Picture) {
        if let Some(doorbell) = self.home.doorbells.get(id) {
            doorbell.show_ring(picture);
        }
    }

    /// Brings the house up to date with a complete listing.
    fn take(&mut self, found: Vec<Found>) {
        let devices = found.len();
        let doors = found.iter().filter_map(listed_door).collect();
        let mut brought = self.brought.lock();
        let Some(ours) = brought.as_mut() else { return };
        ours.values_mut().for_each(|ours| ours.missed += 1);
        found.into_iter().for_each(|found| self.welcome(ours, found));
        for (id, ours) in ours.extract_if(.., |_, ours| ours.missed >= Ours::GONE_AFTER) {
            tracing::info!(%id, "gone from the account");
            ours.registry.remove(&id);
            ours.stop.cancel();
        }
        let doorbells = ours.keys().filter(|id| self.home.doorbells.get(id).is_some()).count();
        drop(brought);
        self.status.send_modify(|account| {
            if matches!(account.link, AccountLink::Failing { .. }) {
                tracing::info!("the account works again");
            }
            account.link = AccountLink::Ready;
            (account.devices, account.doorbells, account.doors) = (devices, doorbells, doors);
        });
    }

    fn welcome(&self, ours: &mut BTreeMap<DeviceId, Ours>, found: Found) {
        let (id, works) = (found.info.id.clone(), found.obstacle.is_none());
        let Home { wishes, doorbells, locks, .. } = &self.home;
        let registry = match found.role {
            Role::Doorbell => doorbells,
            Role::Camera if works => doorbells,
            Role::Lock if works && wishes.want(&id, DoorKind::Lock) => locks,
            Role::Garage if works && wishes.want(&id, DoorKind::Garage) => locks,
            Role::Camera | Role::Lock | Role::Garage | Role::Other => return,
        };
        if let Some(ours) = ours.get_mut(&id) {
            ours.missed = 0;
            if let Some(known) = ours.registry.get(&id) {
                known.update(found.info);
            }
        } else if registry.get(&id).is_none() {
            let stop = self.stop.child_token();
            let wished = wishes.options.get(&id).cloned().unwrap_or_default();
            let Wishes { voice, open_talks, .. } = &**wishes;
            let options = Options { voice: voice.clone(), open_talks: open_talks.clone(), ..wished };
            registry.insert(Doorbell::spawn(self.vendor.clone(), found.info, options, stop.clone()));
            ours.insert(id, Ours { registry: registry.clone(), stop, missed: 0 });
        }
    }
}

fn listed_door(found: &Found) -> Option<ListedDoor> {
    let kind = match found.role {
        Role::Lock => DoorKind::Lock,
        Role::Garage => DoorKind::Garage,
        Role::Doorbell | Role::Camera | Role::Other => return None,
    };
    let (id, name) = (found.info.id.clone(), found.info.name.clone());
    Some(ListedDoor { id, name, kind, obstacle: found.obstacle.clone() })
}

/// What an account has brought; `None` once it has left. A device that another account has too is the other's.
#[derive(Clone)]
struct Brought(Arc<Mutex<Option<BTreeMap<DeviceId, Ours>>>>);

struct Ours {
    registry: Registry,
    stop: CancellationToken,
    /// From how many listings in a row it was missing.
    missed: u32,
}

impl Ours {
    /// A device that is missing from so many listings in a row is gone.
    const GONE_AFTER: u32 = 2;
}

impl Default for Brought {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(BTreeMap::new()))))
    }
}

impl Brought {
    /// Takes everything away again, and nothing more is brought. Talks end and cameras are told before anybody sees
    /// that the doorbells are gone.
    async fn leave(&self) {
        let ours = self.lock().take().unwrap_or_default();
        let doorbells: Vec<_> = ours.iter().filter_map(|(id, ours)| ours.registry.get(id)).collect();
        ours.values().for_each(|ours| ours.stop.cancel());
        let stopped = join_all(doorbells.iter().map(Doorbell::stopped));
        if tokio::time::timeout(Running::FAREWELL, stopped).await.is_err() {
            tracing::warn!("a doorbell of an account that was removed did not end in time");
        }
        for (id, ours) in ours {
            ours.registry.remove(&id);
        }
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<DeviceId, Ours>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
