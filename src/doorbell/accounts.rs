//! Every account, kept alive, and the doorbells that its listings bring and take away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::vendor::{AccountPort, Retry};
use super::{Doorbell, Options, Registry, Vendor, VendorError};
use crate::clock;
use crate::model::{Account, AccountLink, DeviceId, DoorKind, Event, Found, Role};
use crate::net::supervise::{Backoff, jitter};
use crate::secret::Password;

/// What the owner wants otherwise, and which locks may be worked at all.
pub struct Wishes {
    pub options: HashMap<DeviceId, Options>,
    /// Locks and garage doors that some door names. No other is ever connected to.
    pub locks: BTreeSet<DeviceId>,
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

/// The running accounts. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(Arc<[Running]>);

struct Running {
    vendor: &'static str,
    status: watch::Receiver<Account>,
    rediscover: Arc<Notify>,
    codes: broadcast::Sender<Password>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Accounts {
    /// Starts every account; its doorbells go into `doorbells`, enabled locks and garage doors into `locks`. Doorbells are told to
    /// stop with `stop`, as are the accounts.
    pub fn start(
        vendors: Vec<Arc<dyn Vendor>>,
        wishes: Wishes,
        doorbells: Registry,
        locks: Registry,
        stop: &CancellationToken,
    ) -> Self {
        let wishes = Arc::new(wishes);
        let run = |(n, vendor): (usize, Arc<dyn Vendor>)| {
            let status = watch::Sender::new(Account::default());
            let rediscover = Arc::new(Notify::new());
            let codes = broadcast::Sender::new(1);
            let house = House {
                vendor: vendor.clone(),
                status: status.clone(),
                wishes: wishes.clone(),
                doorbells: doorbells.clone(),
                locks: locks.clone(),
                ours: BTreeMap::new(),
                stop: stop.clone(),
            };
            let span = tracing::info_span!("account", vendor = vendor.name(), n);
            let lines = Lines { status: status.clone(), rediscover: rediscover.clone(), codes: codes.clone() };
            let keeper = keep_alive(vendor.clone(), lines, house, stop.clone());
            let task = tokio::sync::Mutex::new(Some(tokio::spawn(keeper.instrument(span))));
            Running { vendor: vendor.name(), status: status.subscribe(), rediscover, codes, task }
        };
        Self(vendors.into_iter().enumerate().map(run).collect())
    }

    /// Vendor and status of each, in the order of the configuration.
    pub fn all(&self) -> Vec<(&'static str, watch::Receiver<Account>)> {
        self.0.iter().map(|account| (account.vendor, account.status.clone())).collect()
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
        for (_, mut status) in self.all() {
            let _gone = status.wait_for(|account| is_so(&account.link)).await;
        }
    }

    /// Has every account list its devices anew, now.
    pub fn rediscover(&self) {
        self.0.iter().for_each(|account| account.rediscover.notify_one());
    }

    /// Gives account number `n` the code that it waits for. Whether there is such an account.
    pub fn answer(&self, n: usize, code: Password) -> bool {
        let account = self.0.get(n);
        // An account that waits for no code has no use for it.
        account.inspect(|account| drop(account.codes.send(code))).is_some()
    }

    /// Resolves when every account has stopped.
    pub async fn stopped(&self) {
        for account in self.0.iter() {
            if let Some(task) = account.task.lock().await.take() {
                let _panicked = task.await;
            }
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
        let (port, listings, events) = lines.port();
        let life = tokio::spawn(vendor.clone().run_account(port, stop.clone()).in_current_span());
        let end = house.live(AbortOnDropHandle::new(life), listings, events).await;
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

type Listings = mpsc::Receiver<Vec<Found>>;
type Events = mpsc::Receiver<(DeviceId, Event)>;

impl Lines {
    fn port(&self) -> (AccountPort, Listings, Events) {
        let (listing_sender, listings) = mpsc::channel(4);
        let (event_sender, events) = mpsc::channel(64);
        let port = AccountPort {
            status: self.status.clone(),
            listings: listing_sender,
            events: event_sender,
            rediscover: self.rediscover.clone(),
            codes: self.codes.subscribe(),
        };
        (port, listings, events)
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
            tracing::error!(why, "the account needs its owner and is not tried again before a restart");
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
    wishes: Arc<Wishes>,
    doorbells: Registry,
    locks: Registry,
    /// What this account has brought. A device that another account has too is the other's.
    ours: BTreeMap<DeviceId, Ours>,
    stop: CancellationToken,
}

impl House {
    /// A device that is missing from so many listings in a row is gone.
    const GONE_AFTER: u32 = 2;
    /// How long an account may take to stop.
    const FAREWELL: Duration = Duration::from_secs(1);

    async fn live(
        &mut self,
        mut life: AbortOnDropHandle<Result<(), VendorError>>,
        mut listings: Listings,
        mut events: Events,
    ) -> End {
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
                Some(found) = listings.recv() => self.take(found),
                Some((id, event)) = events.recv() => self.tell(&id, event),
                end = &mut life => return end,
                () = &mut overdue => return Ok(Ok(())),
            }
        }
    }

    fn tell(&self, id: &DeviceId, event: Event) {
        if let Some(doorbell) = self.doorbells.get(id) {
            doorbell.tell(event);
        }
    }

    /// Brings the house up to date with a complete listing.
    fn take(&mut self, found: Vec<Found>) {
        let devices = found.len();
        self.ours.values_mut().for_each(|ours| ours.missed += 1);
        found.into_iter().for_each(|found| self.welcome(found));
        for (id, ours) in self.ours.extract_if(.., |_, ours| ours.missed >= Self::GONE_AFTER) {
            tracing::info!(%id, "gone from the account");
            ours.registry.remove(&id);
            ours.stop.cancel();
        }
        self.status.send_modify(|account| {
            if matches!(account.link, AccountLink::Failing { .. }) {
                tracing::info!("the account works again");
            }
            account.link = AccountLink::Ready;
            account.devices = devices;
        });
    }

    fn welcome(&mut self, found: Found) {
        let (id, works) = (found.info.id.clone(), found.obstacle.is_none());
        let registry = match found.role {
            Role::Doorbell => &self.doorbells,
            Role::Camera if works => &self.doorbells,
            Role::Lock if works && self.wishes.want(&id, DoorKind::Lock) => &self.locks,
            Role::Garage if works && self.wishes.want(&id, DoorKind::Garage) => &self.locks,
            Role::Camera | Role::Lock | Role::Garage | Role::Other => return,
        };
        if let Some(ours) = self.ours.get_mut(&id) {
            ours.missed = 0;
            if let Some(known) = ours.registry.get(&id) {
                known.update(found.info);
            }
        } else if registry.get(&id).is_none() {
            let stop = self.stop.child_token();
            let options = self.wishes.options.get(&id).cloned().unwrap_or_default();
            registry.insert(Doorbell::spawn(self.vendor.clone(), found.info, options, stop.clone()));
            self.ours.insert(id, Ours { registry: registry.clone(), stop, missed: 0 });
        }
    }
}

struct Ours {
    registry: Registry,
    stop: CancellationToken,
    /// From how many listings in a row it was missing.
    missed: u32,
}
