//! A lock, or a garage door, in memory that does what it is told and remembers it; and the door that it works.

use std::path::Path;
use std::sync::{Arc, Mutex};

use doorstep::doorbell::audit::Audit;
use doorstep::doorbell::guard::Permit;
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::{
    AccountPort, ActionError, DevicePort, Door, Doorbell, Options, Registry, Request, Vendor, VendorError, door,
};
use doorstep::model::{
    self, DeviceId, DeviceInfo, DoorKind, Found, Link, LockAction, LockState, Mechanism, OpenerEntity, State,
};
use doorstep::secret::Password;
use doorstep::store::Store;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::house::PATIENCE;

pub(crate) struct FakeLock {
    info: DeviceInfo,
    acts: watch::Sender<Vec<LockAction>>,
    /// How often it was asked.
    asked: watch::Sender<usize>,
    /// Why it does nothing of what it is asked.
    failure: Mutex<Option<ActionError>>,
    /// Whether it leaves what it is asked lying.
    hangs: Mutex<bool>,
    unanswered: Mutex<Vec<(Permit, Reply)>>,
    /// Of the present life.
    state: Mutex<Option<watch::Sender<State>>>,
}

/// The door of this kind of the doorbell `fake_1`, with its records in `data`.
pub(crate) fn door(
    kind: DoorKind,
    lock: &FakeLock,
    secret: Option<&str>,
    locks: &Registry,
    data: &Path,
) -> (DoorKind, Arc<Door>) {
    let mechanism = match kind {
        DoorKind::Lock => Mechanism::Lock(lock.id()),
        DoorKind::Garage => Mechanism::Garage(lock.id()),
    };
    (kind, door_with(mechanism, secret, locks, data))
}

/// The door of the doorbell `fake_1` that an opener in it opens, with its records in `data`.
pub(crate) fn opener(entity: OpenerEntity, secret: Option<&str>, data: &Path) -> (DoorKind, Arc<Door>) {
    (DoorKind::Lock, door_with(Mechanism::Opener(entity), secret, &Registry::default(), data))
}

fn door_with(mechanism: Mechanism, secret: Option<&str>, locks: &Registry, data: &Path) -> Arc<Door> {
    let doorbell = DeviceId::parse("fake_1").unwrap();
    let settings = door::Settings { doorbell, mechanism, secret: secret.map(Password::new) };
    let (audit, store) = (Arc::new(Audit::open(data)), Store::open(data).unwrap());
    Door::new(settings, locks.clone(), audit, store)
}

type Reply = oneshot::Sender<Result<LockState, ActionError>>;

impl FakeLock {
    pub(crate) fn new(id: &str) -> Arc<Self> {
        let info = DeviceInfo {
            id: DeviceId::parse(id).unwrap(),
            name: "Lock".to_owned(),
            vendor: "fake",
            model: "LOCK1".to_owned(),
            firmware: None,
            capabilities: [].into(),
        };
        Arc::new(Self {
            info,
            acts: watch::Sender::default(),
            asked: watch::Sender::default(),
            failure: Mutex::default(),
            hangs: Mutex::default(),
            unanswered: Mutex::default(),
            state: Mutex::default(),
        })
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.info.id.clone()
    }

    /// Puts it among `locks`, alive until `stop` is cancelled.
    pub(crate) async fn live(self: &Arc<Self>, locks: &Registry, stop: &CancellationToken) {
        let lock = Doorbell::spawn(self.clone(), self.info.clone(), Options::default(), stop.clone());
        lock.state().wait_for(|state| state.link == Link::Ready).await.unwrap();
        locks.insert(lock);
    }

    pub(crate) fn hang(&self) {
        *self.hangs.lock().unwrap() = true;
    }

    /// How often it was asked while it hung.
    pub(crate) fn waiting(&self) -> usize {
        self.unanswered.lock().unwrap().len()
    }

    /// Does what it has left lying, and hangs no more.
    pub(crate) fn go_on(&self) {
        *self.hangs.lock().unwrap() = false;
        for (permit, reply) in std::mem::take(&mut *self.unanswered.lock().unwrap()) {
            self.act(&permit, reply);
        }
    }

    /// Does nothing from now on, and says why.
    pub(crate) fn fail(&self, why: &str) {
        *self.failure.lock().unwrap() = Some(ActionError::Offline { why: why.to_owned() });
    }

    /// Waits until it was asked `n` times.
    pub(crate) async fn until_asked(&self, n: usize) {
        let mut asked = self.asked.subscribe();
        let waited = tokio::time::timeout(PATIENCE, asked.wait_for(|asked| *asked >= n)).await;
        assert!(waited.is_ok_and(|asked| asked.is_ok()), "the lock was only asked {} times", *self.asked.borrow());
    }

    /// Tells that it cannot be worked, and why.
    pub(crate) fn block(&self, why: &str) {
        self.stand(Some(LockState::Jammed), Some(why));
    }

    /// Tells how it stands, and why it cannot be worked.
    pub(crate) fn stand(&self, lock: Option<LockState>, blocked: Option<&str>) {
        self.tell(model::Door { lock, blocked: blocked.map(str::to_owned) });
    }

    fn tell(&self, door: model::Door) {
        let state = self.state.lock().unwrap();
        state.as_ref().expect("it lives").send_modify(|state| state.door = Some(door));
    }

    /// What it has done.
    pub(crate) fn acts(&self) -> Vec<LockAction> {
        self.acts.borrow().clone()
    }

    fn answer(&self, permit: Permit, reply: Reply) {
        self.asked.send_modify(|asked| *asked += 1);
        if *self.hangs.lock().unwrap() {
            self.unanswered.lock().unwrap().push((permit, reply));
        } else {
            self.act(&permit, reply);
        }
    }

    fn act(&self, permit: &Permit, reply: Reply) {
        if let Some(why) = self.failure.lock().unwrap().clone() {
            return drop(reply.send(Err(why)));
        }
        self.acts.send_modify(|acts| acts.push(permit.action()));
        let state = match permit.action() {
            LockAction::Lock => LockState::Locked,
            LockAction::Unlock => LockState::Unlocked,
        };
        self.tell(model::Door { lock: Some(state), blocked: None });
        let _asker_left = reply.send(Ok(state));
    }
}

impl Vendor for FakeLock {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn run_account(
        self: Arc<Self>,
        _: AccountPort,
        _: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async { Ok(()) })
    }

    fn run_device(
        self: Arc<Self>,
        mut port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            *self.state.lock().unwrap() = Some(port.state.clone());
            self.tell(model::Door { lock: Some(LockState::Locked), blocked: None });
            port.state.send_modify(|state| state.link = Link::Ready);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    Some(request) = port.requests.recv() => match request {
                        Request::WorkLock { permit, reply } => self.answer(permit, reply),
                        other => other.refuse(ActionError::Unsupported("it is a lock")),
                    },
                }
            }
        })
    }
}
