//! The command that has a doorbell take a still picture. The picture itself is told like every other (`report`).

use serde_json::Value;
use tokio::sync::mpsc;

use super::commands::Answer;
use super::publisher::Publisher;
use super::topics::Topics;
use crate::clock::Instant;
use crate::doorbell::Doorbell;

/// The wishes for pictures of one doorbell. While it is full, further ones are answered `busy`.
pub(super) struct SnapshotQueue(mpsc::Sender<Wish>);

struct Wish {
    /// The sender's own id; null without one.
    id: Value,
    received: Instant,
}

impl SnapshotQueue {
    pub(super) const COMMAND: &str = "snapshot";

    /// Whether there was room.
    pub(super) fn put(&self, id: Value, received: Instant) -> bool {
        self.0.try_send(Wish { id, received }).is_ok()
    }
}

/// The other end of a [`SnapshotQueue`]: one picture after the other, beside the switches, which do not wait for it.
pub(super) struct SnapshotWorker {
    doorbell: Doorbell,
    topics: Topics,
    publisher: Publisher,
    wishes: mpsc::Receiver<Wish>,
}

impl SnapshotWorker {
    /// A picture takes seconds, and whoever wants one wants it now.
    const QUEUE: usize = 2;

    pub(super) fn new(doorbell: Doorbell, topics: Topics, publisher: Publisher) -> (SnapshotQueue, Self) {
        let (queue, wishes) = mpsc::channel(Self::QUEUE);
        (SnapshotQueue(queue), Self { doorbell, topics, publisher, wishes })
    }

    pub(super) async fn run(mut self) {
        while let Some(Wish { id, received }) = self.wishes.recv().await {
            let taken = self.doorbell.take_snapshot().await;
            let device = &self.doorbell.info().id;
            let outcome = taken.map(drop).map_err(|why| why.to_string());
            let answer = Answer { command: Some(SnapshotQueue::COMMAND), outcome, took: received.elapsed(), id };
            answer.publish(self.topics.result(device), &self.publisher);
        }
    }
}
