//! The task that polls the client library, and what it makes of what the broker says.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::{ConnectionError, Event, EventLoop, Outgoing, Packet, mqttbytes};
use tokio::sync::mpsc;

use super::publisher::Publisher;
use super::subscriptions::Subscriptions;
use crate::clock::{self, Instant};

/// A message from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) retained: bool,
    /// The broker may have delivered it before.
    pub(super) dup: bool,
    /// When it came off the socket.
    pub(super) received: Instant,
}

/// What the poll task has seen.
pub(super) enum Progress {
    Connected,
    Subscribed {
        refused: bool,
    },
    Sent(u16),
    Acknowledged(u16),
    Alive,
    /// Somebody's mark on the instance topic.
    Instance(Bytes),
    Ended(Box<ConnectionError>),
}

/// The task that polls and does nothing else. Nothing may cancel a `poll` but the end of its connection:
/// a message that is being written would be lost unnoticed.
pub(super) struct Poller {
    pub(super) reports: mpsc::Sender<Progress>,
    pub(super) incoming: mpsc::Sender<Message>,
    pub(super) publisher: Publisher,
    pub(super) instance_topic: Option<String>,
    pub(super) subscriptions: Subscriptions,
    /// Subscriptions that the broker has not confirmed yet.
    pub(super) unconfirmed: usize,
    /// A connection on which nothing has happened for longer was not looked at.
    pub(super) patience: Duration,
    /// When something last happened on it.
    pub(super) polled: Instant,
}

impl Poller {
    pub(super) async fn run(mut self, mut event_loop: EventLoop) {
        loop {
            let report = match event_loop.poll().await {
                Ok(event) => self.report(event),
                Err(error) => Some(Progress::Ended(Box::new(error))),
            };
            let Some(report) = report else { continue };
            let last = matches!(report, Progress::Ended(_));
            if self.reports.try_send(report).is_err() || last {
                return;
            }
        }
    }

    fn report(&mut self, event: Event) -> Option<Progress> {
        // Each keep-alive there is a ping at least. Without, this process was stopped (`docker pause`, a debugger), and
        // what has waited for it in the socket may be hours old.
        let now = clock::now();
        if now.saturating_duration_since(std::mem::replace(&mut self.polled, now)) > self.patience {
            self.subscriptions.tell_doors();
        }
        match event {
            Event::Incoming(Packet::ConnAck(_)) => Some(Progress::Connected),
            Event::Outgoing(Outgoing::Subscribe(_)) => {
                self.unconfirmed += 1;
                None
            }
            Event::Incoming(Packet::SubAck(granted)) => {
                self.unconfirmed = self.unconfirmed.saturating_sub(1);
                // Here, and not where it is reported to: what was retained comes right behind.
                self.subscriptions.tell_doors();
                let refused = granted.return_codes.contains(&mqttbytes::v4::SubscribeReasonCode::Failure);
                Some(Progress::Subscribed { refused })
            }
            Event::Incoming(Packet::PubAck(ack)) => Some(Progress::Acknowledged(ack.pkid)),
            Event::Incoming(Packet::PingResp) => Some(Progress::Alive),
            Event::Incoming(Packet::Publish(publish)) => self.deliver(publish),
            Event::Outgoing(Outgoing::Publish(packet_id)) => Some(Progress::Sent(packet_id)),
            _ => None,
        }
    }

    fn deliver(&self, publish: mqttbytes::v4::Publish) -> Option<Progress> {
        if Some(&publish.topic) == self.instance_topic.as_ref() {
            // Only what was there before us says that somebody else has been connected meanwhile.
            return publish.retain.then_some(Progress::Instance(publish.payload));
        }
        // A broker may deliver before it confirms.
        if self.unconfirmed > 0 {
            self.subscriptions.tell_door(&publish.topic);
        }
        let message = Message {
            topic: publish.topic,
            payload: publish.payload,
            retained: publish.retain,
            dup: publish.dup,
            received: clock::now(),
        };
        if self.incoming.try_send(message).is_err() {
            self.publisher.count_dropped_message();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell::Door;
    use crate::doorbell::guard::{Attempt, Via};
    use rumqttc::QoS;

    #[tokio::test(start_paused = true)]
    async fn what_has_waited_in_the_socket_while_this_process_was_stopped_opens_no_door() {
        const TOPIC: &str = "doorstep/fake_1/lock/set";
        let folder = tempfile::tempdir().unwrap();
        let (door, subscriptions) = (Door::pretended(folder.path()), Subscriptions::default());
        subscriptions.add_door(TOPIC.to_owned(), door.clone());
        let (incoming, mut messages) = mpsc::channel(1);
        let mut poller = Poller {
            reports: mpsc::channel(1).0,
            incoming,
            publisher: Publisher::default(),
            instance_topic: None,
            subscriptions,
            unconfirmed: 0,
            patience: Duration::from_secs(22),
            polled: clock::now(),
        };
        for (stopped_for, expected) in
            [(15, "No account has listed the lock"), (3_600, "the doorbell refused: old commands may arrive")]
        {
            tokio::time::advance(Duration::from_secs(stopped_for)).await;
            // The ping that was due comes first, or not.
            poller.report(Event::Outgoing(Outgoing::PingReq));
            let unlock = mqttbytes::v4::Publish::new(TOPIC, QoS::AtLeastOnce, "UNLOCK");
            poller.report(Event::Incoming(Packet::Publish(unlock)));
            let Message { payload, retained, dup, received, .. } = messages.try_recv().unwrap();
            let attempt = Attempt { via: Via::Mqtt { payload, retained, dup }, received };
            let refused = door.work(attempt).await.outcome.unwrap_err().to_string();
            assert!(refused.starts_with(expected), "after {stopped_for} s: {refused}");
        }
    }
}
