//! The outbox as many tasks write into it, and what was counted on the way.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::outbox::{Outbox, Publish};
use crate::clock;

/// What went wrong so far, for `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Rings, motions and answers that never reached the broker.
    pub events_dropped: u64,
    /// Commands that were not carried out because of what they were: retained, malformed, for an unknown doorbell.
    pub commands_refused: u64,
    /// Messages from the broker that came faster than they could be looked at.
    pub messages_dropped: u64,
}

/// Writes into the outbox; never waits. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Publisher(Arc<Shared>);

#[derive(Default)]
struct Shared {
    outbox: Mutex<Outbox>,
    /// There is something new in the outbox.
    wake: Notify,
    /// Everything was acknowledged.
    drained: Notify,
    retained: watch::Sender<BTreeSet<String>>,
    commands_refused: AtomicU64,
    messages_dropped: AtomicU64,
}

impl Counters {
    /// Each figure under the name that `/metrics` has for it.
    pub fn named(self) -> [(&'static str, u64); 3] {
        [
            ("mqtt_events_dropped_total", self.events_dropped),
            ("mqtt_commands_refused_total", self.commands_refused),
            ("mqtt_messages_dropped_total", self.messages_dropped),
        ]
    }
}

impl Publisher {
    /// Lets `topic` hold `payload`, retained.
    pub(super) fn set(&self, topic: &str, payload: impl Into<Bytes>) {
        if self.outbox().set(topic, payload.into()) {
            self.0.retained.send_if_modified(|topics| topics.insert(topic.to_owned()));
        }
        self.0.wake.notify_one();
    }

    /// Takes what `topic` retains away from the broker.
    pub(super) fn clear(&self, topic: &str) {
        self.set(topic, Bytes::new());
    }

    pub(super) fn resend(&self, topic: &str) {
        self.outbox().resend(topic);
        self.0.wake.notify_one();
    }

    /// Sends an event once, not retained.
    pub(super) fn send(&self, topic: String, payload: impl Into<Bytes>) {
        let publish = Publish { topic, payload: payload.into(), retain: false };
        self.outbox().push(publish, clock::now());
        self.0.wake.notify_one();
    }

    /// Sends the answer to a command once, not retained.
    pub(super) fn answer(&self, topic: String, payload: impl Into<Bytes>) {
        self.reply(Publish { topic, payload: payload.into(), retain: false });
    }

    /// Takes away a command that somebody else has retained.
    pub(super) fn erase(&self, topic: String) {
        self.reply(Publish { topic, payload: Bytes::new(), retain: true });
    }

    fn reply(&self, publish: Publish) {
        self.outbox().answer(publish, clock::now());
        self.0.wake.notify_one();
    }

    /// Lets `topic` hold a picture, retained by the broker alone: it is sent once, and not again with all the rest.
    pub(super) fn show(&self, topic: String, picture: Bytes) {
        self.0.retained.send_if_modified(|topics| topics.insert(topic.clone()));
        self.outbox().show(topic, picture);
        self.0.wake.notify_one();
    }

    /// Takes the picture of `topic` away.
    pub(super) fn take_down(&self, topic: String) {
        self.outbox().show(topic, Bytes::new());
        self.0.wake.notify_one();
    }

    /// Whether this run has had the broker retain something there.
    pub(super) fn has_retained(&self, topic: &str) -> bool {
        self.0.retained.borrow().contains(topic)
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.0.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when something was written since the last call.
    pub(super) async fn written(&self) {
        self.0.wake.notified().await;
    }

    pub(super) fn tell_drained(&self) {
        self.0.drained.notify_one();
    }

    /// Resolves once the broker has acknowledged everything.
    pub(super) async fn drained(&self) {
        self.0.drained.notified().await;
    }

    /// Every topic that was ever retained.
    pub(super) fn retained(&self) -> watch::Receiver<BTreeSet<String>> {
        self.0.retained.subscribe()
    }

    pub(super) fn count_refused_command(&self) {
        self.0.commands_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped_message(&self) {
        self.0.messages_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counters(&self) -> Counters {
        let dropped = self.outbox().dropped();
        Counters {
            events_dropped: dropped.full + dropped.late,
            commands_refused: self.0.commands_refused.load(Ordering::Relaxed),
            messages_dropped: self.0.messages_dropped.load(Ordering::Relaxed),
        }
    }
}
