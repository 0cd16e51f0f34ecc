//! The command topics of doors that their owner has enabled. Every message there is an attempt, and the guard
//! alone judges it.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::commands::Answer;
use super::poller::Message;
use super::publisher::Publisher;
use crate::doorbell::Door;
use crate::doorbell::guard::{Attempt, Via};

/// The attempts that wait for one door. While it is full, further ones are answered `busy`. None is carried out
/// late: the guard refuses what has grown old here.
pub(super) struct DoorQueue(mpsc::Sender<Attempt>);

impl DoorQueue {
    /// Whether there was room.
    pub(super) fn put(&self, message: &Message) -> bool {
        let Message { payload, retained, dup, received, .. } = message.clone();
        self.0.try_send(Attempt { via: Via::Mqtt { payload, retained, dup }, received }).is_ok()
    }
}

/// The other end of a [`DoorQueue`]: one attempt after the other.
pub(super) struct DoorWorker {
    door: Arc<Door>,
    /// Where the answers go.
    result: String,
    publisher: Publisher,
    attempts: mpsc::Receiver<Attempt>,
}

impl DoorWorker {
    const QUEUE: usize = 8;

    pub(super) fn new(door: Arc<Door>, result: String, publisher: Publisher) -> (DoorQueue, Self) {
        let (queue, attempts) = mpsc::channel(Self::QUEUE);
        (DoorQueue(queue), Self { door, result, publisher, attempts })
    }

    /// Until `close` is cancelled. The attempt that is under way then is finished, so that the audit log tells its
    /// end; those that wait are forgotten.
    pub(super) async fn run(mut self, close: CancellationToken) {
        loop {
            let attempt = tokio::select! {
                biased;
                () = close.cancelled() => return,
                attempt = self.attempts.recv() => attempt,
            };
            let Some(attempt) = attempt else { return };
            self.work(attempt).await;
        }
    }

    async fn work(&self, attempt: Attempt) {
        let received = attempt.received;
        let retained = matches!(attempt.via, Via::Mqtt { retained: true, .. });
        let answer = self.door.work(attempt).await;
        let command = answer.action.map(|action| self.door.kind().command(action));
        if retained || command.is_none() {
            self.publisher.count_refused_command();
        }
        let outcome = answer.outcome.map(drop).map_err(|why| self.door.said(&why));
        let answer = Answer { command, outcome, took: received.elapsed(), id: answer.id };
        answer.publish(self.result.clone(), &self.publisher);
    }
}
