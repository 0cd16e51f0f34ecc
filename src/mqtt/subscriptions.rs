//! Topics that are subscribed only while there is something behind them, beside the filters that always are.
//!
//! A door's command topic is among them: nothing but the door that its owner has enabled brings it here.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::doorbell::Door;

/// Exact topics, never wildcards, each with the door that it opens, if any. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Subscriptions(Arc<watch::Sender<Topics>>);

pub(super) type Topics = BTreeMap<String, Option<Arc<Door>>>;

impl Subscriptions {
    pub(super) fn add(&self, topic: String) {
        self.0.send_modify(|all| drop(all.insert(topic, None)));
    }

    /// `door` is told from now on whenever the broker may deliver what it had kept (requirement S9). Once at once:
    /// somebody else's wildcard may bring its messages before its own subscription does.
    pub(super) fn add_door(&self, topic: String, door: Arc<Door>) {
        door.subscribed();
        self.0.send_modify(|all| drop(all.insert(topic, Some(door))));
    }

    pub(super) fn remove(&self, topic: &str) {
        self.0.send_if_modified(|all| all.remove(topic).is_some());
    }

    pub(super) fn changes(&self) -> watch::Receiver<Topics> {
        self.0.subscribe()
    }

    /// The broker has confirmed a subscription: whatever it delivers from now on may be old.
    pub(super) fn tell_doors(&self) {
        self.0.borrow().values().flatten().for_each(|door| door.subscribed());
    }

    /// The same for one topic, on which a message has come before its subscription was confirmed.
    pub(super) fn tell_door(&self, topic: &str) {
        if let Some(Some(door)) = self.0.borrow().get(topic) {
            door.subscribed();
        }
    }
}
