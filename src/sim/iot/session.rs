//! What a client has subscribed to and what waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rumqttc::QoS;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::topic;
use crate::clock::{self, Instant};

/// AWS knows no more.
pub(super) fn qos(number: u8) -> QoS {
    if number == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
}

/// A message on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) message: Message,
    pub(super) dup: bool,
    /// 0 with QoS 0.
    pub(super) packet_id: u16,
}

/// The connection that a session has at present.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) number: u64,
    /// Cancelled when another connection takes its place, or it is cut off.
    pub(super) cut: CancellationToken,
    /// Something waits to be delivered.
    pub(super) wake: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) principal: String,
    pub(super) persistent: bool,
    pub(super) link: Option<Link>,
    /// When the last connection ended.
    pub(super) left: Instant,
    filters: BTreeMap<String, QoS>,
    waiting: VecDeque<Delivery>,
    in_flight: VecDeque<Delivery>,
    last_packet_id: u16,
}

impl Session {
    /// What waits beyond is dropped, the oldest first.
    const WAITING: usize = 100;
    /// Delivered and not acknowledged.
    const IN_FLIGHT: usize = 32;
    pub(super) const FILTERS: usize = 50;

    pub(super) fn new(principal: &str, persistent: bool) -> Self {
        Self {
            principal: principal.to_owned(),
            persistent,
            link: None,
            left: clock::now(),
            filters: BTreeMap::new(),
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            last_packet_id: 0,
        }
    }

    /// False when there are too many.
    pub(super) fn subscribe(&mut self, filter: &str, qos: QoS) -> bool {
        if self.filters.len() >= Self::FILTERS && !self.filters.contains_key(filter) {
            return false;
        }
        self.filters.insert(filter.to_owned(), qos);
        true
    }

    pub(super) fn unsubscribe(&mut self, filter: &str) {
        self.filters.remove(filter);
    }

    /// With which QoS it hears the topic, if it does: the best of its filters'.
    pub(super) fn hears(&self, name: &str) -> Option<QoS> {
        let heard = self.filters.iter().filter(|(filter, _)| topic::hears(filter, name));
        heard.map(|(_, qos)| *qos).reduce(|best, qos| if qos > best { qos } else { best })
    }

    /// Puts a message in line and returns the one that had to make room for it. Without a connection only what has QoS 1
    /// waits, and only in a session that is kept.
    pub(super) fn enqueue(&mut self, message: &Message, heard: QoS) -> Option<Message> {
        let qos = if heard < message.qos { heard } else { message.qos };
        if self.link.is_none() && (!self.persistent || qos == QoS::AtMostOnce) {
            return None;
        }
        let crowded_out = if self.waiting.len() >= Self::WAITING { self.waiting.pop_front() } else { None };
        let message = Message { qos, ..message.clone() };
        self.waiting.push_back(Delivery { message, dup: false, packet_id: 0 });
        if let Some(link) = &self.link {
            link.wake.notify_one();
        }
        crowded_out.map(|delivery| delivery.message)
    }

    /// The next to be delivered, while not too much is unacknowledged.
    pub(super) fn next(&mut self) -> Option<Delivery> {
        if self.in_flight.len() >= Self::IN_FLIGHT {
            return None;
        }
        let mut delivery = self.waiting.pop_front()?;
        if delivery.message.qos != QoS::AtMostOnce {
            delivery.packet_id = self.free_packet_id();
            self.in_flight.push_back(delivery.clone());
        }
        Some(delivery)
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if self.in_flight.iter().all(|delivery| delivery.packet_id != self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }

    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<Message> {
        let at = self.in_flight.iter().position(|delivery| delivery.packet_id == packet_id)?;
        self.in_flight.remove(at).map(|delivery| delivery.message)
    }

    /// The connection has ended: what was not acknowledged comes again first, marked so.
    pub(super) fn part(&mut self) {
        self.link = None;
        self.left = clock::now();
        self.waiting.retain(|delivery| delivery.message.qos != QoS::AtMostOnce);
        while let Some(delivery) = self.in_flight.pop_back() {
            self.waiting.push_front(Delivery { dup: true, ..delivery });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize, qos: QoS) -> Message {
        Message { topic: number.to_string(), payload: Bytes::new(), qos }
    }

    fn session(connected: bool) -> Session {
        let mut session = Session::new("thing", true);
        session.link =
            connected.then(|| Link { number: 1, cut: CancellationToken::new(), wake: Arc::new(Notify::new()) });
        session
    }

    #[test]
    fn the_oldest_makes_room_and_no_more_is_in_flight_than_may_be() {
        let mut session = session(true);
        for number in 0..Session::WAITING {
            assert_eq!(session.enqueue(&message(number, QoS::AtLeastOnce), QoS::AtLeastOnce), None);
        }
        let dropped = session.enqueue(&message(100, QoS::AtLeastOnce), QoS::AtLeastOnce);
        assert_eq!(dropped, Some(message(0, QoS::AtLeastOnce)));
        let sent: Vec<Delivery> = std::iter::from_fn(|| session.next()).collect();
        assert_eq!(sent.len(), Session::IN_FLIGHT);
        assert_eq!(session.acknowledged(sent[3].packet_id), Some(message(4, QoS::AtLeastOnce)));
        assert_eq!(session.next().map(|delivery| delivery.message.topic), Some("33".to_owned()));
    }

    #[test]
    fn what_was_not_acknowledged_comes_again_in_its_order_and_marked() {
        let mut session = session(true);
        for number in 0..3 {
            session.enqueue(&message(number, QoS::AtLeastOnce), QoS::AtLeastOnce);
        }
        let first = session.next().unwrap();
        session.next();
        session.enqueue(&message(3, QoS::AtMostOnce), QoS::AtLeastOnce);
        session.acknowledged(first.packet_id);
        session.part();
        session.enqueue(&message(4, QoS::AtMostOnce), QoS::AtLeastOnce);
        session.enqueue(&message(5, QoS::AtLeastOnce), QoS::AtMostOnce);
        let again: Vec<_> = std::iter::from_fn(|| session.next()).collect();
        let told: Vec<_> = again.iter().map(|delivery| (&*delivery.message.topic, delivery.dup)).collect();
        assert_eq!(told, [("1", true), ("2", false)]);
    }

    #[test]
    fn the_best_filter_decides_and_fifty_are_enough() {
        let mut session = session(true);
        session.subscribe("doorbell/#", QoS::AtMostOnce);
        session.subscribe("doorbell/+/ring", QoS::AtLeastOnce);
        assert_eq!(session.hears("doorbell/front/ring"), Some(QoS::AtLeastOnce));
        assert_eq!(session.hears("doorbell/front/open"), Some(QoS::AtMostOnce));
        assert_eq!(session.hears("window"), None);
        for number in 0..48 {
            assert!(session.subscribe(&number.to_string(), QoS::AtMostOnce));
        }
        assert!(!session.subscribe("one/too/many", QoS::AtMostOnce));
        assert!(session.subscribe("doorbell/#", QoS::AtLeastOnce), "it has that one");
    }
}
