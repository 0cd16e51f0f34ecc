//! Every doorbell there is, by id.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::Doorbell;
use crate::model::DeviceId;

/// All doorbells. Cheap to clone; changes can be awaited.
#[derive(Clone, Default)]
pub struct Registry(Arc<watch::Sender<BTreeMap<DeviceId, Doorbell>>>);

impl Registry {
    pub fn get(&self, id: &DeviceId) -> Option<Doorbell> {
        self.0.borrow().get(id).cloned()
    }

    /// By id, in order.
    pub fn all(&self) -> Vec<Doorbell> {
        self.0.borrow().values().cloned().collect()
    }

    /// Changes whenever a doorbell is added or removed.
    pub fn changes(&self) -> watch::Receiver<BTreeMap<DeviceId, Doorbell>> {
        self.0.subscribe()
    }

    pub fn insert(&self, doorbell: Doorbell) {
        self.0.send_modify(|all| drop(all.insert(doorbell.info().id.clone(), doorbell)));
    }

    pub fn remove(&self, id: &DeviceId) {
        self.0.send_modify(|all| drop(all.remove(id)));
    }
}
