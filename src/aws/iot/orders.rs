//! Publishing: what is asked for, and how it ended.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::QoS;
use tokio::sync::{mpsc, oneshot, watch};

use super::Iot;

/// How long a message may take to be sent, and with QoS 1 to be acknowledged, reconnecting included. A ring that comes
/// later helps nobody.
const WITHIN: Duration = Duration::from_secs(10);
/// Messages on their way to the connection; whoever finds it full is told so.
const WAITING: usize = 16;

/// Publishes over a connection. Clones share it.
#[derive(Debug, Clone)]
pub struct Publisher {
    orders: mpsc::Sender<Order>,
    connected: watch::Receiver<bool>,
}

/// Why a message was not published, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IotError {
    #[error("nothing can be published to the topic `{0}`: it is empty or too long, or has wildcards in it")]
    Topic(String),
    #[error("AWS IoT knows QoS 0 and 1, not {0}")]
    Qos(u8),
    #[error("a message of {0} bytes is too long for AWS IoT, which takes {max}", max = Iot::LONGEST_PAYLOAD)]
    TooLong(usize),
    #[error("too much is being published to AWS IoT at once")]
    Busy,
    #[error("there was no connection to AWS IoT in 10 s")]
    NotConnected,
    #[error("AWS IoT did not acknowledge the message in 10 s")]
    NotConfirmed,
    #[error(
        "AWS IoT closes the connection when something is published to `{0}`. Its policy must allow `iot:Publish` on \
         `topic/{0}`."
    )]
    Refused(String),
    #[error("the connection to AWS IoT has been ended")]
    Stopped,
}

impl Publisher {
    /// Publishes, not retained. With QoS 0 done when it is written, with QoS 1 when AWS IoT has acknowledged it; it is
    /// sent again over the next connection if this one ends before. Tried for 10 s.
    ///
    /// # Errors
    /// [`IotError`].
    pub async fn publish(&self, topic: &str, qos: u8, payload: Bytes) -> Result<(), IotError> {
        let qos = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            other => return Err(IotError::Qos(other)),
        };
        if !may_be_published_to(topic) {
            return Err(IotError::Topic(topic.to_owned()));
        }
        if payload.len() > Iot::LONGEST_PAYLOAD {
            return Err(IotError::TooLong(payload.len()));
        }
        let (reply, ended) = oneshot::channel();
        let order = Order { topic: topic.to_owned(), qos, payload, cut: 0, reply };
        self.orders.try_send(order).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => IotError::Busy,
            mpsc::error::TrySendError::Closed(_) => IotError::Stopped,
        })?;
        match tokio::time::timeout(WITHIN, ended).await {
            Ok(ended) => ended.unwrap_or(Err(IotError::Stopped)),
            Err(_) if *self.connected.borrow() => Err(IotError::NotConfirmed),
            Err(_) => Err(IotError::NotConnected),
        }
    }
}

/// As AWS IoT limits topics: 256 bytes, 7 slashes.
fn may_be_published_to(topic: &str) -> bool {
    (1..=256).contains(&topic.len()) && !topic.contains(['+', '#', '\0']) && topic.matches('/').count() <= 7
}

/// A message to be published.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) payload: Bytes,
    /// How many connections have ended right after it was sent.
    cut: u8,
    reply: oneshot::Sender<Result<(), IotError>>,
}

impl Order {
    /// A policy may close the connection, but so may chance.
    const REFUSED_AFTER: u8 = 2;

    pub(super) fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    pub(super) fn end(self, how: Result<(), IotError>) {
        // Nobody waits any more.
        let _ = self.reply.send(how);
    }

    /// The connection was closed while it was under way. `None` if that is AWS IoT's answer to it.
    pub(super) fn after_cut(mut self) -> Option<Self> {
        self.cut += 1;
        if self.cut < Self::REFUSED_AFTER {
            return Some(self);
        }
        let topic = self.topic.clone();
        self.end(Err(IotError::Refused(topic)));
        None
    }
}

/// The other end of publishers.
pub(super) struct Orders {
    incoming: mpsc::Receiver<Order>,
    /// Sent over a connection that has ended before they were acknowledged. As many as can be in flight.
    again: VecDeque<Order>,
    pub(super) connected: watch::Sender<bool>,
}

pub(super) fn channel() -> (Publisher, Orders) {
    let (orders, incoming) = mpsc::channel(WAITING);
    let (tell_connected, connected) = watch::channel(false);
    (Publisher { orders, connected }, Orders { incoming, again: VecDeque::new(), connected: tell_connected })
}

impl Orders {
    /// The next that somebody still waits for. May be cancelled.
    pub(super) async fn next(&mut self) -> Order {
        loop {
            let order = match self.again.pop_front() {
                Some(order) => order,
                None => match self.incoming.recv().await {
                    Some(order) => order,
                    None => return std::future::pending().await,
                },
            };
            if order.is_wanted() {
                return order;
            }
        }
    }

    /// To be sent once more.
    pub(super) fn put_back(&mut self, order: Order) {
        self.again.push_back(order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_published_is_said_at_once_and_what_was_not_within_ten_seconds() {
        let (publisher, orders) = channel();
        let publish = |topic: &'static str, qos, length| publisher.publish(topic, qos, vec![0; length].into());
        let longest = "/a".repeat(7);
        assert_eq!(publish("doorbell/+/ring", 0, 1).await, Err(IotError::Topic("doorbell/+/ring".to_owned())));
        assert!(may_be_published_to(&longest) && !may_be_published_to(&format!("{longest}/a")));
        assert_eq!(publish("a", 2, 1).await, Err(IotError::Qos(2)));
        assert_eq!(publish("a", 1, Iot::LONGEST_PAYLOAD + 1).await, Err(IotError::TooLong(131_073)));
        assert_eq!(publish("a", 1, 1).await, Err(IotError::NotConnected));
        orders.connected.send_replace(true);
        assert_eq!(publish("a", 1, 1).await, Err(IotError::NotConfirmed));
        drop(orders);
        assert_eq!(publish("a", 1, 1).await, Err(IotError::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_any_more_is_not_published() {
        let (publisher, mut orders) = channel();
        assert!(publisher.publish("late", 0, Bytes::new()).await.is_err());
        let publishing = tokio::spawn(async move { publisher.publish("now", 0, Bytes::new()).await });
        let order = orders.next().await;
        assert_eq!(order.topic, "now");
        order.end(Ok(()));
        assert_eq!(publishing.await.unwrap(), Ok(()));
    }
}
