//! A lock that does as a test tells it and counts what was done to it, and a door in front of it.

use std::sync::{Arc, Mutex};

use doorstep::doorbell::audit::Audit;
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::{
    AccountPort, ActionError, DevicePort, Door, Doorbell, Options, Registry, Request, Vendor, VendorError, door,
};
use doorstep::model::{self, DeviceId, DeviceInfo, Found, Link, LockAction, LockState};
use doorstep::store::Store;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The lock `lock_1`.
pub(crate) struct FakeLock {
    answer: Mutex<Result<LockState, ActionError>>,
    /// How it says that it stands.
    stands: watch::Sender<model::Door>,
    acts: watch::Sender<Vec<LockAction>>,
    /// While it is false, the lock takes its time.
    quick: watch::Sender<bool>,
    /// The guard's records.
    folder: TempDir,
}

impl FakeLock {
    /// Opens when it is asked to.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(Ok(LockState::Unlocked)),
            stands: watch::Sender::new(model::Door { lock: Some(LockState::Locked), blocked: None }),
            acts: watch::Sender::default(),
            quick: watch::Sender::new(true),
            folder: tempfile::tempdir().unwrap(),
        })
    }

    pub(crate) fn stands(&self, lock: Option<LockState>, blocked: Option<&str>) {
        self.stands.send_replace(model::Door { lock, blocked: blocked.map(str::to_owned) });
    }

    pub(crate) fn answers(&self, answer: Result<LockState, ActionError>) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn takes_its_time(&self, slow: bool) {
        self.quick.send_replace(!slow);
    }

    pub(crate) fn acts(&self) -> Vec<LockAction> {
        self.acts.borrow().clone()
    }

    /// Waits until it was worked `n` times.
    pub(crate) async fn until_worked(&self, n: usize) {
        let mut acts = self.acts.subscribe();
        let waited = tokio::time::timeout(super::house::PATIENCE, acts.wait_for(|acts| acts.len() >= n)).await;
        assert!(waited.is_ok_and(|acts| acts.is_ok()), "the lock was only worked {:?}", self.acts());
    }

    /// What enables the door of doorbell `fake_1` with this lock.
    pub(crate) async fn enabled(self: &Arc<Self>, stop: &CancellationToken) -> Options {
        let locks = Registry::default();
        let id = DeviceId::parse("lock_1").unwrap();
        let info = DeviceInfo {
            id: id.clone(),
            name: "Bolt".to_owned(),
            vendor: "fake",
            model: "BOLT1".to_owned(),
            firmware: None,
            capabilities: [].into(),
        };
        let bolt = Doorbell::spawn(self.clone(), info, Options::default(), stop.clone());
        bolt.state().wait_for(|state| state.link == Link::Ready && state.door.is_some()).await.unwrap();
        locks.insert(bolt);
        let doorbell = DeviceId::parse("fake_1").unwrap();
        let settings = door::Settings { doorbell, lock: id, secret: None };
        let (audit, store) = (Audit::open(self.folder.path()), Store::open(self.folder.path()).unwrap());
        Options { door: Some(Door::new(settings, locks, Arc::new(audit), store)), ..Options::default() }
    }

    async fn work(self: &Arc<Self>, request: Request) {
        match request {
            Request::WorkLock { permit, reply } => {
                self.acts.send_modify(|acts| acts.push(permit.action()));
                let _ = self.quick.subscribe().wait_for(|quick| *quick).await;
                let answer = self.answer.lock().unwrap().clone();
                if let Ok(state) = answer {
                    self.stands(Some(state), None);
                }
                let _asker_left = reply.send(answer);
            }
            other => other.refuse(ActionError::Unsupported("it is a lock")),
        }
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
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            stop.cancelled().await;
            Ok(())
        })
    }

    fn run_device(
        self: Arc<Self>,
        mut port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            let mut stands = self.stands.subscribe();
            loop {
                let door = stands.borrow_and_update().clone();
                port.state.send_modify(|state| (state.link, state.door) = (Link::Ready, Some(door)));
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    _ = stands.changed() => {}
                    Some(request) = port.requests.recv() => self.work(request).await,
                }
            }
        })
    }
}
