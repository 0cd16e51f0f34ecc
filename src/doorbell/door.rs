//! One door: the guard, the audit log and the lock or opener behind them, in this order and no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::audit::{Audit, Entry, NotWritten, Outcome, Ration, Synced};
use super::guard::{Admission, Attempt, Guard, Permit, Refusal, Via, Wish};
use super::{ActionError, Doorbell, Registry, WeakDoorbell, lock};
use crate::clock::{self, Instant};
use crate::model::{self, DeviceId, DoorKind, LockAction, LockState, Mechanism, OpenerEntity, State};
use crate::secret::Password;
use crate::store::Store;

/// What the owner has configured for a door.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The doorbell that the door belongs to.
    pub doorbell: DeviceId,
    /// What is worked.
    pub mechanism: Mechanism,
    /// Shared with whoever may open: commands over MQTT must then carry a `mac` made with it.
    pub secret: Option<Password>,
}

/// A door that the owner has enabled.
pub struct Door {
    inside: Arc<Inside>,
    _follower: AbortOnDropHandle<()>,
}

/// What came of an attempt.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `None` when the attempt could not be read.
    pub action: Option<LockAction>,
    /// The sender's own `id`, to be shown to it again; null without one.
    pub id: Value,
    /// How the lock stands afterwards, or why nothing was done.
    pub outcome: Result<LockState, ActionError>,
}

impl Door {
    /// How long an attempt may take in all, from when it is made to when it is answered.
    const WITHIN: Duration = Duration::from_secs(20);

    /// `locks` holds every lock that some door names. What must outlast a restart is kept in `store`.
    pub fn new(settings: Settings, locks: Registry, audit: Arc<Audit>, store: Store) -> Arc<Self> {
        let memory = store.get(&store_key(&settings)).unwrap_or_default();
        let Settings { doorbell, mechanism, secret } = settings.clone();
        let source = match mechanism.device() {
            Some(device) => Source::Among(locks, device.clone()),
            None => Source::Own(Mutex::default()),
        };
        let guard = Guard::new(doorbell, mechanism, secret, memory);
        let desk = Desk { guard, ration: Ration::new(clock::now()), running: None };
        let inside = Arc::new(Inside {
            settings,
            source,
            audit,
            store,
            desk: Mutex::new(desk),
            mistaken_for: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            news: Notify::new(),
            state: watch::Sender::default(),
        });
        inside.state.send_replace(inside.look(clock::now()).0);
        let follower = AbortOnDropHandle::new(tokio::spawn(follow(inside.clone())));
        Arc::new(Self { inside, _follower: follower })
    }

    /// How it stands; follows the lock.
    pub fn state(&self) -> watch::Receiver<model::Door> {
        self.inside.state.subscribe()
    }

    pub fn kind(&self) -> DoorKind {
        self.inside.settings.mechanism.kind()
    }

    /// What Home Assistant shows it as, if it is opened by an opener in its doorbell.
    pub fn opener(&self) -> Option<OpenerEntity> {
        match self.inside.settings.mechanism {
            Mechanism::Opener(entity) => Some(entity),
            Mechanism::Lock(_) | Mechanism::Garage(_) => None,
        }
    }

    /// Its doorbell is there, anew if it was gone. An opener is in that one and in no other.
    pub(super) fn belongs_to(&self, doorbell: &Doorbell) {
        if let Source::Own(own) = &self.inside.source {
            *lock(own) = Some(doorbell.downgrade());
            self.inside.news.notify_one();
        }
    }

    /// An account has listed `device`, which is of this kind. Whether it may be connected to for all that this door
    /// knows: one that is named as a lock and is a garage door may not, or the other way round, and the door says so.
    pub(super) fn accepts(&self, device: &DeviceId, kind: DoorKind) -> bool {
        let Inside { settings, mistaken_for, news, .. } = &*self.inside;
        if Some(device) != settings.mechanism.device() {
            return true;
        }
        let right = kind == settings.mechanism.kind();
        *lock(mistaken_for) = (!right).then_some(kind);
        news.notify_one();
        right
    }

    /// Whether commands over MQTT must be signed, which Home Assistant's entities for doors cannot do.
    pub fn wants_signature(&self) -> bool {
        self.inside.settings.secret.is_some()
    }

    /// The MQTT face has (re)subscribed to the command topic: what the broker delivers now may be old (S9).
    pub fn subscribed(&self) {
        lock(&self.inside.desk).guard.subscribed(clock::now());
    }

    /// Guard, audit, lock. Takes at most 20 s. What has begun goes on although nobody waits for the answer.
    pub async fn work(&self, attempt: Attempt) -> Answer {
        let deadline = clock::now() + Self::WITHIN;
        let wish = Wish::read(&self.inside.settings.mechanism, &attempt.via);
        let action = wish.as_ref().ok().map(Wish::action);
        let id = wish.as_ref().ok().and_then(Wish::id).map_or(Value::Null, Value::from);
        // A task of its own: whoever asked may hang up, and the lock's answer must still be written down.
        let work = tokio::spawn(self.inside.clone().work(attempt, wish, deadline).in_current_span());
        let outcome = match timeout_at(deadline, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                tracing::error!(%error, "working the door failed; this is a bug");
                Err(ActionError::Timeout)
            }
            Err(_) => Err(ActionError::Timeout),
        };
        Answer { action, id, outcome }
    }

    /// Why it was not worked, in words: of the rule or the lock, where [`ActionError`] itself speaks of a doorbell.
    pub fn said(&self, why: &ActionError) -> String {
        self.inside.said(why)
    }
}

/// Where the guard's memory is in the store.
fn store_key(Settings { doorbell, mechanism, .. }: &Settings) -> String {
    match mechanism.kind() {
        DoorKind::Lock => format!("door_{doorbell}"),
        DoorKind::Garage => format!("garage_{doorbell}"),
    }
}

/// Where the device is that works the door.
enum Source {
    /// One of the enabled locks and garage doors.
    Among(Registry, DeviceId),
    /// The doorbell itself, once it is there. Weak, since the doorbell holds the door.
    Own(Mutex<Option<WeakDoorbell>>),
}

impl Source {
    fn find(&self) -> Option<Doorbell> {
        match self {
            Self::Among(locks, id) => locks.get(id),
            Self::Own(doorbell) => lock(doorbell).as_ref()?.upgrade(),
        }
    }

    /// Changes when locks come and go. That a doorbell has come, its doors are told.
    fn changes(&self) -> Option<watch::Receiver<BTreeMap<DeviceId, Doorbell>>> {
        match self {
            Self::Among(locks, _) => Some(locks.changes()),
            Self::Own(_) => None,
        }
    }
}

struct Inside {
    settings: Settings,
    source: Source,
    audit: Arc<Audit>,
    store: Store,
    desk: Mutex<Desk>,
    /// What the lock is instead of what this door takes it for.
    mistaken_for: Mutex<Option<DoorKind>>,
    /// Held by the one attempt that may work the lock now. The others wait, for as long as they are fresh.
    turn: tokio::sync::Mutex<()>,
    /// The desk has changed in a way that shows.
    news: Notify,
    /// Written by `follow` alone.
    state: watch::Sender<model::Door>,
}

/// What attempts have in common. Never locked while anything is waited for.
struct Desk {
    guard: Guard,
    ration: Ration,
    /// What the lock is being asked for.
    running: Option<LockAction>,
}

/// Who tried what, for the audit log.
#[derive(Clone)]
struct Record {
    action: Option<LockAction>,
    via: String,
}

impl Inside {
    /// A disk that hangs costs the last line of an attempt, but not its answer.
    const NOTED_WITHIN: Duration = Duration::from_secs(2);

    async fn work(
        self: Arc<Self>,
        attempt: Attempt,
        wish: Result<Wish, Refusal>,
        deadline: Instant,
    ) -> Result<LockState, ActionError> {
        let record = Record { action: wish.as_ref().ok().map(Wish::action), via: via_of(&attempt.via) };
        match self.admit(&attempt, wish) {
            Ok(admission) => self.carry_out(admission, record, deadline).await,
            Err(why) => {
                if lock(&self.desk).ration.spend(clock::now()) {
                    self.note(record, Outcome::Refused, self.said(&why)).await;
                }
                Err(why)
            }
        }
    }

    fn admit(&self, attempt: &Attempt, wish: Result<Wish, Refusal>) -> Result<Admission, ActionError> {
        let (now, wall) = (clock::now(), clock::unix_now());
        let mut desk = lock(&self.desk);
        let order = desk.guard.check(wish?, attempt, now, wall)?;
        // Before it is counted: a lock that is away for a while must not cost its owner the attempts of an hour.
        self.reachable_lock()?;
        let admission = desk.guard.admit(order, now, wall)?;
        self.news.notify_one();
        Ok(admission)
    }

    async fn carry_out(
        self: Arc<Self>,
        admission: Admission,
        record: Record,
        deadline: Instant,
    ) -> Result<LockState, ActionError> {
        let Ok(_turn) = timeout_at(admission.lasts_until(), self.turn.lock()).await else {
            self.note(record, Outcome::Refused, Refusal::TooOld.to_string()).await;
            return Err(Refusal::TooOld.into());
        };
        let _running = Running::begin(&self, record.action);
        let (outcome, result) = match self.prepare(admission, &record).await {
            Ok((lock, permit)) => {
                let answer = timeout_at(deadline, lock.work_lock(permit)).await;
                let result = answer.unwrap_or(Err(ActionError::Timeout));
                (outcome_of(&result), result)
            }
            Err(why) => (Outcome::Refused, Err(why)),
        };
        self.note(record, outcome, self.reason_of(&result)).await;
        result
    }

    /// All that stands between an admission and the lock, and may take a while.
    async fn prepare(
        self: &Arc<Self>,
        admission: Admission,
        record: &Record,
    ) -> Result<(Doorbell, Permit), ActionError> {
        let written = timeout_at(admission.lasts_until(), self.write_down(&admission, record)).await;
        let on_disk = written.map_err(|_| Refusal::TooOld)??;
        let permit = admission.permit(on_disk, clock::now())?;
        Ok((self.reachable_lock()?, permit))
    }

    /// The command's id first: should the machine stop right after, it is known and not carried out again.
    async fn write_down(self: &Arc<Self>, admission: &Admission, record: &Record) -> Result<Synced, ActionError> {
        let inside = self.clone();
        let to_remember = admission.is_remembered();
        let remember = move || !to_remember || inside.remember();
        let entry = self.entry(record.clone(), Outcome::Allowed, None);
        self.audit.write_after(remember, entry).await.map_err(|NotWritten| ActionError::Refused {
            why: "what cannot be written down first is not done; see to the disk and the rights of the data folder"
                .to_owned(),
        })
    }

    /// Whether the guard's memory is on the disk. Waits for it. The audit log lets one do so at a time, so that no
    /// older memory overwrites a newer one.
    fn remember(&self) -> bool {
        let memory = lock(&self.desk).guard.memory().clone();
        self.store.put_synced(&store_key(&self.settings), &memory).is_ok()
    }

    /// Writes a line that nothing waits for. That it cannot be written, the log says itself.
    async fn note(&self, record: Record, outcome: Outcome, reason: String) {
        let entry = self.entry(record, outcome, Some(reason));
        let _written = timeout_at(clock::now() + Self::NOTED_WITHIN, self.audit.write(entry)).await;
    }

    fn entry(&self, Record { action, via }: Record, result: Outcome, reason: Option<String>) -> Entry {
        let suppressed = lock(&self.desk).ration.take_suppressed();
        let Settings { doorbell, mechanism, .. } = &self.settings;
        let kind = mechanism.kind();
        let action = action.map(|action| kind.command(action));
        Entry { door: doorbell.clone(), kind, action, via, result, reason, suppressed }
    }

    fn reason_of(&self, result: &Result<LockState, ActionError>) -> String {
        let mechanism = &self.settings.mechanism;
        match (mechanism, result) {
            (_, Err(why)) => self.said(why),
            (Mechanism::Opener(_), Ok(_)) => "the doorbell says that it has opened the door".to_owned(),
            (_, Ok(state)) => format!("the {} is {}", mechanism.noun(), mechanism.kind().state_word(*state)),
        }
    }

    fn said(&self, why: &ActionError) -> String {
        match (why, &self.settings.mechanism) {
            (ActionError::Refused { why }, _) => why.clone(),
            (ActionError::Timeout, Mechanism::Opener(_)) => {
                "the doorbell did not say whether the door opened; look at the door before you try again".to_owned()
            }
            (ActionError::Timeout, mechanism) => {
                format!("the {} did not answer in time; look at the door before you try again", mechanism.noun())
            }
            (other, _) => other.to_string(),
        }
    }

    fn reachable_lock(&self) -> Result<Doorbell, ActionError> {
        let found = self.source.find();
        let why = self.obstacle(found.as_ref());
        found.filter(|_| why.is_none()).ok_or_else(|| ActionError::Offline { why: why.unwrap_or_default() })
    }

    /// Why `found` cannot be worked.
    fn obstacle(&self, found: Option<&Doorbell>) -> Option<String> {
        let mechanism = &self.settings.mechanism;
        let right = |_: &&Doorbell| lock(&self.mistaken_for).is_none();
        let Some(found) = found.filter(right) else { return Some(self.missing()) };
        let State { link, door, .. } = found.state().borrow().clone();
        match (mechanism, door) {
            _ if !link.is_available() => {
                Some(format!("The {} cannot be reached: {}", mechanism.noun(), found.shared.why_offline()))
            }
            (Mechanism::Opener(_), None) => Some(
                "This doorbell opens no door by itself. Take `unlock: self` away from it, then start Doorstep again."
                    .to_owned(),
            ),
            (_, door) => door?.blocked,
        }
    }

    /// Why there is no device that could work the door.
    fn missing(&self) -> String {
        let mechanism = &self.settings.mechanism;
        let Some(id) = mechanism.device() else { return "No account lists this doorbell at present.".to_owned() };
        let (noun, key) = (mechanism.noun(), mechanism.kind().key());
        match *lock(&self.mistaken_for) {
            Some(other) => format!(
                "`{id}` is a {}, and `{key}` of this doorbell takes a {noun}. Name it under `{}`, then start Doorstep \
                 again.",
                other.noun(),
                other.key()
            ),
            None => format!(
                "No account has listed the {noun} `{id}` yet. If that lasts, compare `{key}` of this doorbell with \
                 what `doorstep devices` lists."
            ),
        }
    }

    /// How the door stands, and until when it stays so by itself.
    fn look(&self, now: Instant) -> (model::Door, Option<Instant>) {
        let found = self.source.find();
        let told = found.as_ref().and_then(|device| device.state().borrow().door.as_ref()?.lock);
        let desk = lock(&self.desk);
        let running = desk.running.map(|action| match action {
            LockAction::Lock => LockState::Locking,
            LockAction::Unlock => LockState::Unlocking,
        });
        let limit = desk.guard.limit(now);
        let opening = match self.settings.mechanism {
            Mechanism::Lock(_) => "Unlocking",
            Mechanism::Garage(_) | Mechanism::Opener(_) => "Opening",
        };
        let limited = || limit.map(|(refusal, _)| format!("{opening} is refused for now: {refusal}."));
        let door = model::Door { lock: running.or(told), blocked: self.obstacle(found.as_ref()).or_else(limited) };
        (door, limit.map(|(_, until)| until))
    }
}

/// Shows the door as opening or closing until dropped.
struct Running<'a>(&'a Inside);

impl<'a> Running<'a> {
    fn begin(inside: &'a Inside, action: Option<LockAction>) -> Self {
        lock(&inside.desk).running = action;
        inside.news.notify_one();
        Self(inside)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(&self.0.desk).running = None;
        self.0.news.notify_one();
    }
}

/// Keeps the shown state up to date with the lock, the attempts and the limits.
async fn follow(inside: Arc<Inside>) {
    let mut locks = inside.source.changes();
    loop {
        // Listened to before it is looked at, so that nothing falls between.
        let mut told = inside.source.find().map(|device| device.state());
        let (door, until) = inside.look(clock::now());
        inside.state.send_if_modified(|shown| std::mem::replace(shown, door.clone()) != door);
        tokio::select! {
            Ok(()) = changed(&mut locks) => {}
            Ok(()) = changed(&mut told) => {}
            () = inside.news.notified() => {}
            () = sleep_until(until) => {}
        }
    }
}

async fn changed<T>(news: &mut Option<watch::Receiver<T>>) -> Result<(), watch::error::RecvError> {
    match news {
        Some(news) => news.changed().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn via_of(via: &Via) -> String {
    match via {
        Via::Mqtt { .. } => "mqtt".to_owned(),
        Via::Http { who, .. } => format!("http/{who}"),
    }
}

fn outcome_of(result: &Result<LockState, ActionError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(ActionError::Timeout) => Outcome::Unknown,
        Err(_) => Outcome::Failed,
    }
}

#[cfg(test)]
impl Door {
    /// For tests of what comes before it: its lock is on no account.
    pub(crate) fn pretended(folder: &std::path::Path) -> Arc<Self> {
        let id = |id| DeviceId::parse(id).unwrap();
        let mechanism = Mechanism::Lock(id("lock_1"));
        let settings = Settings { doorbell: id("fake_1"), mechanism, secret: None };
        let (audit, store) = (Arc::new(Audit::open(folder)), Store::open(folder).unwrap());
        Self::new(settings, Registry::default(), audit, store)
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
