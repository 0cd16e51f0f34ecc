//! One door: the guard, the audit log and the lock behind them, in this order and no other.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::audit::Audit;
use super::guard::{self, Attempt};
use super::{ActionError, Registry};
use crate::model::{self, DeviceId, LockAction, LockState};
use crate::secret::Password;
use crate::store::Store;

/// What the owner has configured for a door.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The doorbell that the door belongs to.
    pub doorbell: DeviceId,
    /// The lock that is worked.
    pub lock: DeviceId,
    /// Shared with whoever may open: commands over MQTT must then carry a `mac` made with it.
    pub secret: Option<Password>,
}

/// A door that the owner has enabled.
pub struct Door {
    settings: Settings,
    locks: Registry,
    state: watch::Sender<model::Door>,
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
    /// `locks` holds every lock that some door names. What must outlast a restart is kept in `store`.
    pub fn new(settings: Settings, locks: Registry, _audit: Arc<Audit>, _store: Store) -> Arc<Self> {
        Arc::new(Self { settings, locks, state: watch::Sender::default() })
    }

    /// How it stands; follows the lock.
    pub fn state(&self) -> watch::Receiver<model::Door> {
        self.state.subscribe()
    }

    /// Whether commands over MQTT must be signed, which Home Assistant's lock entity cannot do.
    pub fn wants_signature(&self) -> bool {
        self.settings.secret.is_some()
    }

    /// The MQTT face has (re)subscribed to the command topic: what the broker delivers now may be old (S9).
    pub fn subscribed(&self) {}

    /// Guard, audit, lock. Takes at most 20 s.
    pub async fn work(&self, attempt: Attempt) -> Answer {
        let outcome = match (guard::permit(&attempt), self.locks.get(&self.settings.lock)) {
            (Some(permit), Some(lock)) => lock.work_lock(permit).await,
            _ => Err(ActionError::Unsupported("it has no guard yet")),
        };
        Answer { action: None, id: Value::Null, outcome }
    }
}
