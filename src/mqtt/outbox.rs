//! What is still to be told to the broker, so that no break of the connection loses it.
//!
//! Alone, the client library silently loses what it had queued when a connection breaks. So it is never
//! handed more than [`Outbox::IN_FLIGHT`] messages, and none is forgotten here before the broker has
//! acknowledged it. Pure: told the time, polled for what to send.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Instant;

/// One message to hand to the client, always at QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub payload: Bytes,
    pub retain: bool,
}

/// Messages that will never be sent, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// The queue was full; the oldest went.
    pub full: u64,
    /// Older than [`Outbox::LIFE`]: a ring told late sends people to an empty door.
    pub late: u64,
}

/// State topics as they should be at the broker, and the events that wait.
///
/// Order of sending: after a connect everything that is retained, oldest topic first, so that a doorbell is
/// available before it rings; from then on events before answers before changes of state before pictures.
#[derive(Debug, Default)]
pub struct Outbox {
    state: BTreeMap<String, Slot>,
    /// Topics of the republication that follows a connect, still to be sent.
    snapshot: VecDeque<String>,
    /// At most [`Self::WAITING`]; when full the oldest is dropped and counted.
    events: VecDeque<Waiting>,
    /// As many, apart from the events: a flood of commands must not drown a ring in their answers.
    answers: VecDeque<Waiting>,
    /// Topics whose payload changed since the connect.
    changed: VecDeque<String>,
    /// Pictures that wait, one for each topic: a newer one takes the place of an older. Sent once each and one at a
    /// time, so that never more than one stands before a ring.
    pictures: VecDeque<Publish>,
    in_flight: VecDeque<Flight>,
    connected: bool,
    dropped: Dropped,
}

#[derive(Debug)]
struct Slot {
    /// Empty: the topic is to be cleared, now and after every connect.
    payload: Bytes,
    /// Counts topics in the order in which they came up.
    order: usize,
    /// Whether it stands in `snapshot` or `changed`.
    waits: bool,
}

/// A message that is sent once, and soon or never.
#[derive(Debug, Clone)]
struct Waiting {
    publish: Publish,
    since: Instant,
    lane: Lane,
}

#[derive(Debug, Clone, Copy)]
enum Lane {
    Events,
    Answers,
}

/// Handed to the client and not acknowledged.
#[derive(Debug)]
struct Flight {
    /// Known once the client has written the message.
    packet_id: Option<u16>,
    since: Instant,
    what: Sent,
}

#[derive(Debug)]
enum Sent {
    /// After a break it is republished anyway.
    State,
    Once(Waiting),
    /// Its topic, and whether one was taken away there.
    Picture {
        topic: String,
        erased: bool,
    },
}

impl Outbox {
    pub const IN_FLIGHT: usize = 16;
    pub const WAITING: usize = 256;
    pub const LIFE: Duration = Duration::from_secs(30);

    /// Lets `topic` hold `payload`, retained. Only the latest payload is ever sent.
    /// Returns whether the topic is new here.
    pub fn set(&mut self, topic: &str, payload: Bytes) -> bool {
        match self.state.get_mut(topic) {
            Some(slot) if slot.payload == payload => return false,
            Some(slot) => slot.payload = payload,
            None => {
                let order = self.state.len();
                self.state.insert(topic.to_owned(), Slot { payload, order, waits: false });
                self.resend(topic);
                return true;
            }
        }
        self.resend(topic);
        false
    }

    /// Takes what `topic` retains away from the broker.
    pub fn clear(&mut self, topic: &str) -> bool {
        self.set(topic, Bytes::new())
    }

    /// Sends the payload of `topic` once more, although it did not change.
    pub fn resend(&mut self, topic: &str) {
        let Some(slot) = self.state.get_mut(topic) else { return };
        if self.connected && !slot.waits {
            slot.waits = true;
            self.changed.push_back(topic.to_owned());
        }
    }

    /// Queues an event, which is sent once, in the order of these calls.
    pub fn push(&mut self, publish: Publish, now: Instant) {
        self.events.push_back(Waiting { publish, since: now, lane: Lane::Events });
        self.drop_surplus();
    }

    /// Queues an answer, which is sent once, in the order of these calls.
    pub fn answer(&mut self, publish: Publish, now: Instant) {
        self.answers.push_back(Waiting { publish, since: now, lane: Lane::Answers });
        self.drop_surplus();
    }

    /// Lets `topic` hold `picture`, retained by the broker alone: once the broker has it, it is kept here no more. An
    /// empty one takes away what is there.
    pub fn show(&mut self, topic: String, picture: Bytes) {
        self.pictures.retain(|waiting| waiting.topic != topic);
        self.pictures.push_back(Publish { topic, payload: picture, retain: true });
    }

    /// A connection is up: everything retained is to be sent again.
    pub fn on_connected(&mut self) {
        self.connected = true;
        self.changed.clear();
        let mut topics: Vec<_> = self.state.iter_mut().collect();
        topics.sort_by_key(|(_, slot)| slot.order);
        self.snapshot = topics
            .into_iter()
            .map(|(topic, slot)| {
                slot.waits = true;
                topic.clone()
            })
            .collect();
    }

    /// The connection is gone: events and answers without acknowledgement go back to the front, in order. A picture
    /// does not: its size may be what the broker has ended the connection for.
    pub fn on_disconnected(&mut self) {
        self.connected = false;
        for flight in self.in_flight.drain(..).rev() {
            match flight.what {
                Sent::State => {}
                Sent::Once(waiting) => match waiting.lane {
                    Lane::Events => self.events.push_front(waiting),
                    Lane::Answers => self.answers.push_front(waiting),
                },
                Sent::Picture { topic, erased } => {
                    if erased && !self.pictures.iter().any(|newer| newer.topic == topic) {
                        self.pictures.push_front(Publish { topic, payload: Bytes::new(), retain: true });
                    }
                }
            }
        }
        self.drop_surplus();
    }

    /// The next message for the client, which from now on counts as in flight. Call until `None`.
    pub fn next(&mut self, now: Instant) -> Option<Publish> {
        self.drop_late(now);
        if !self.connected || self.in_flight.len() >= Self::IN_FLIGHT {
            return None;
        }
        let (publish, what) = if let Some(topic) = self.snapshot.pop_front() {
            (self.take_state(topic)?, Sent::State)
        } else if let Some(waiting) = self.events.pop_front().or_else(|| self.answers.pop_front()) {
            (waiting.publish.clone(), Sent::Once(waiting))
        } else if let Some(topic) = self.changed.pop_front() {
            (self.take_state(topic)?, Sent::State)
        } else {
            let picture = self.take_picture()?;
            let (topic, erased) = (picture.topic.clone(), picture.payload.is_empty());
            (picture, Sent::Picture { topic, erased })
        };
        self.in_flight.push_back(Flight { packet_id: None, since: now, what });
        Some(publish)
    }

    /// The client has written the oldest message that had no packet id yet.
    pub fn on_sent(&mut self, packet_id: u16) {
        if let Some(flight) = self.in_flight.iter_mut().find(|flight| flight.packet_id.is_none()) {
            flight.packet_id = Some(packet_id);
        }
    }

    /// The broker has taken this message over.
    pub fn on_acknowledged(&mut self, packet_id: u16) {
        if let Some(at) = self.in_flight.iter().position(|flight| flight.packet_id == Some(packet_id)) {
            self.in_flight.remove(at);
        }
    }

    /// Since when the broker owes the oldest of the acknowledgements that it owes, if any.
    pub fn owed_since(&self) -> Option<Instant> {
        self.in_flight.front().map(|flight| flight.since)
    }

    /// Whether the broker has acknowledged everything.
    pub fn is_empty(&self) -> bool {
        let waiting = self.snapshot.len() + self.events.len() + self.answers.len() + self.changed.len();
        let waiting = waiting + self.pictures.len();
        self.connected && waiting == 0 && self.in_flight.is_empty()
    }

    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Topics that hold a payload, in the order in which they came up.
    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<_> = self.state.iter().filter(|(_, slot)| !slot.payload.is_empty()).collect();
        topics.sort_by_key(|(_, slot)| slot.order);
        topics.into_iter().map(|(topic, _)| topic.clone()).collect()
    }

    fn take_state(&mut self, topic: String) -> Option<Publish> {
        let slot = self.state.get_mut(&topic)?;
        slot.waits = false;
        Some(Publish { payload: slot.payload.clone(), topic, retain: true })
    }

    fn take_picture(&mut self) -> Option<Publish> {
        let under_way = self.in_flight.iter().any(|flight| matches!(flight.what, Sent::Picture { .. }));
        if under_way { None } else { self.pictures.pop_front() }
    }

    fn drop_surplus(&mut self) {
        for lane in [&mut self.events, &mut self.answers] {
            while lane.len() > Self::WAITING {
                lane.pop_front();
                self.dropped.full += 1;
            }
        }
    }

    fn drop_late(&mut self, now: Instant) {
        let is_late = |waiting: &Waiting| now.saturating_duration_since(waiting.since) > Self::LIFE;
        for lane in [&mut self.events, &mut self.answers] {
            while lane.front().is_some_and(is_late) {
                lane.pop_front();
                self.dropped.late += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn event(n: usize) -> Publish {
        Publish { topic: "door/ring".to_owned(), payload: Bytes::from(n.to_string()), retain: false }
    }

    fn drain(outbox: &mut Outbox, now: Instant) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(publish) = outbox.next(now) {
            sent.push(format!("{}={}", publish.topic, String::from_utf8_lossy(&publish.payload)));
        }
        sent
    }

    #[test]
    fn a_connect_sends_what_is_retained_in_order_of_appearance_then_events_then_changes() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        outbox.set("z/first", "1".into());
        outbox.push(event(7), now);
        outbox.set("a/second", "2".into());
        assert_eq!(drain(&mut outbox, now), [""; 0], "sent without a connection");
        outbox.on_connected();
        assert_eq!(drain(&mut outbox, now), ["z/first=1", "a/second=2", "door/ring=7"]);
        outbox.set("z/first", "3".into());
        outbox.set("z/first", "4".into());
        outbox.set("a/second", "2".into());
        outbox.push(event(8), now);
        assert_eq!(drain(&mut outbox, now), ["door/ring=8", "z/first=4"]);
    }

    #[test]
    fn a_topic_that_waits_already_is_sent_once() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        outbox.set("door/state", "1".into());
        outbox.on_connected();
        outbox.set("door/state", "2".into());
        assert_eq!(drain(&mut outbox, now), ["door/state=2"]);
        outbox.set("door/state", "3".into());
        outbox.on_disconnected();
        outbox.on_connected();
        assert_eq!(drain(&mut outbox, now), ["door/state=3"]);
    }

    #[test]
    fn after_a_break_nothing_is_handed_out() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        outbox.on_connected();
        outbox.on_disconnected();
        outbox.push(event(1), now);
        outbox.set("door/state", "1".into());
        assert_eq!(drain(&mut outbox, now), [""; 0]);
    }

    #[test]
    fn what_comes_back_makes_no_queue_longer_than_it_may_be() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        outbox.on_connected();
        (0..Outbox::IN_FLIGHT).for_each(|n| outbox.push(event(n), now));
        assert_eq!(drain(&mut outbox, now).len(), Outbox::IN_FLIGHT);
        (0..Outbox::WAITING).for_each(|n| outbox.push(event(100 + n), now));
        outbox.on_disconnected();
        assert_eq!(outbox.dropped(), Dropped { full: Outbox::IN_FLIGHT as u64, late: 0 });
        assert_eq!(outbox.events.len(), Outbox::WAITING);
    }

    #[test]
    fn it_is_empty_when_the_broker_has_everything() {
        let now = clock::now();
        let waiting: [fn(&mut Outbox, Instant); 4] = [
            |outbox, now| outbox.push(event(1), now),
            |outbox, now| outbox.answer(event(1), now),
            |outbox, _| {
                outbox.set("door/state", "1".into());
            },
            |outbox, _| outbox.show("door/snapshot".to_owned(), "jpeg".into()),
        ];
        for one in waiting {
            let mut outbox = Outbox::default();
            assert!(!outbox.is_empty(), "there is no broker");
            outbox.on_connected();
            assert!(outbox.is_empty());
            one(&mut outbox, now);
            assert!(!outbox.is_empty(), "it waits");
            outbox.next(now).unwrap();
            assert!(!outbox.is_empty(), "it is on its way");
            outbox.on_sent(1);
            outbox.on_acknowledged(1);
            assert!(outbox.is_empty());
        }
        let mut outbox = Outbox::default();
        outbox.set("door/state", "1".into());
        outbox.on_connected();
        assert!(!outbox.is_empty(), "it is sent again");
    }

    #[test]
    fn topics_are_told_in_the_order_in_which_they_came_up() {
        let mut outbox = Outbox::default();
        let topics = ["z", "a", "m", "b"];
        for topic in topics {
            outbox.set(topic, "1".into());
        }
        assert_eq!(outbox.topics(), topics);
    }

    #[test]
    fn a_break_puts_unacknowledged_events_back_in_front() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        outbox.on_connected();
        (0..20).for_each(|n| outbox.push(event(n), now));
        assert_eq!(drain(&mut outbox, now).len(), Outbox::IN_FLIGHT);
        [1, 2, 3].into_iter().for_each(|id| outbox.on_sent(id));
        outbox.on_acknowledged(2);
        outbox.on_disconnected();
        outbox.on_connected();
        let again = drain(&mut outbox, now);
        assert_eq!(again.first().map(String::as_str), Some("door/ring=0"));
        assert_eq!(again.get(1).map(String::as_str), Some("door/ring=2"));
    }

    #[test]
    fn the_oldest_acknowledgement_that_is_owed_is_known_whatever_comes_in_between() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        outbox.on_connected();
        assert_eq!(outbox.owed_since(), None);
        for n in 0..3 {
            let at = now + Duration::from_secs(n);
            outbox.push(event(0), at);
            assert!(outbox.next(at).is_some());
        }
        [1, 2, 3].into_iter().for_each(|id| outbox.on_sent(id));
        outbox.on_acknowledged(2);
        assert_eq!(outbox.owed_since(), Some(now));
        outbox.on_acknowledged(1);
        assert_eq!(outbox.owed_since(), Some(now + Duration::from_secs(2)));
        outbox.on_disconnected();
        assert_eq!(outbox.owed_since(), None);
    }

    #[test]
    fn what_is_too_large_for_the_broker_ends_one_connection_and_not_every_one() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        outbox.on_connected();
        outbox.show("door/snapshot".to_owned(), "jpeg".into());
        assert_eq!(drain(&mut outbox, now), ["door/snapshot=jpeg"]);
        outbox.on_disconnected();
        outbox.on_connected();
        assert_eq!(drain(&mut outbox, now), [""; 0]);
        // What takes one away is none.
        outbox.show("door/snapshot".to_owned(), Bytes::new());
        for _ in 0..2 {
            assert_eq!(drain(&mut outbox, now), ["door/snapshot="]);
            outbox.on_disconnected();
            outbox.on_connected();
        }
        // Another one in its place makes that needless, and one elsewhere does not.
        assert_eq!(drain(&mut outbox, now), ["door/snapshot="]);
        outbox.show("back/snapshot".to_owned(), "other".into());
        outbox.on_disconnected();
        assert_eq!(outbox.pictures.len(), 2);
        outbox.show("door/snapshot".to_owned(), Bytes::new());
        outbox.on_connected();
        outbox.pictures.rotate_left(1);
        assert_eq!(drain(&mut outbox, now), ["door/snapshot="]);
        outbox.show("door/snapshot".to_owned(), "newer".into());
        outbox.on_disconnected();
        assert!(outbox.pictures.iter().all(|picture| !picture.payload.is_empty()), "{:?}", outbox.pictures);
    }

    #[test]
    fn never_more_than_one_picture_stands_before_a_ring() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        outbox.on_connected();
        outbox.show("a/snapshot".to_owned(), "1".into());
        outbox.show("b/snapshot".to_owned(), "2".into());
        outbox.show("a/ring/picture".to_owned(), "3".into());
        outbox.set("a/info", "{}".into());
        assert_eq!(drain(&mut outbox, now), ["a/info={}", "a/snapshot=1"]);
        outbox.push(event(7), now);
        assert_eq!(drain(&mut outbox, now), ["door/ring=7"]);
        (1..=3).for_each(|id| outbox.on_sent(id));
        outbox.on_acknowledged(2);
        assert_eq!(drain(&mut outbox, now), ["b/snapshot=2"]);
        assert!(!outbox.is_empty());
    }

    #[test]
    fn a_picture_that_waits_makes_room_for_a_newer_one_and_is_not_too_late_for_anything() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        (0..1_000).for_each(|n: usize| outbox.show("a/snapshot".to_owned(), Bytes::from(n.to_string())));
        assert_eq!(outbox.pictures.len(), 1);
        outbox.on_connected();
        assert_eq!(drain(&mut outbox, now + 100 * Outbox::LIFE), ["a/snapshot=999"]);
        outbox.on_sent(1);
        outbox.on_acknowledged(1);
        assert!(outbox.is_empty() && outbox.topics().is_empty(), "it is kept here");
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_it() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        (0..Outbox::WAITING + 3).for_each(|n| outbox.push(event(n), now));
        assert_eq!(outbox.dropped(), Dropped { full: 3, late: 0 });
        (0..Outbox::WAITING + 4).for_each(|n| outbox.answer(event(n), now));
        assert_eq!(outbox.dropped(), Dropped { full: 7, late: 0 });
        outbox.on_connected();
        assert_eq!(outbox.next(now), Some(event(3)));
    }

    #[test]
    fn answers_wait_behind_events_and_never_push_one_out() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        let answer = |n: usize| Publish { topic: "door/result".to_owned(), ..event(n) };
        outbox.push(event(1), now);
        (0..Outbox::WAITING + 3).for_each(|n| outbox.answer(answer(n), now));
        outbox.push(event(2), now);
        outbox.on_connected();
        for _ in 0..2 {
            let sent = drain(&mut outbox, now);
            assert_eq!(sent.get(..3).unwrap(), ["door/ring=1", "door/ring=2", "door/result=3"]);
            outbox.on_disconnected();
            outbox.on_connected();
        }
        assert_eq!(outbox.dropped(), Dropped { full: 3, late: 0 });
    }

    #[test]
    fn an_event_older_than_its_life_is_dropped_and_counted() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        outbox.push(event(1), now);
        outbox.push(event(2), now + Duration::from_secs(20));
        outbox.on_connected();
        assert_eq!(outbox.next(now + Duration::from_secs(31)), Some(event(2)));
        assert_eq!(outbox.dropped(), Dropped { full: 0, late: 1 });
        outbox.push(event(3), now);
        assert_eq!(outbox.next(now + Outbox::LIFE), Some(event(3)), "it is not older yet");
    }

    #[test]
    fn a_cleared_topic_is_cleared_again_after_every_connect() {
        let (mut outbox, now) = (Outbox::default(), clock::now());
        outbox.set("door/info", "{}".into());
        outbox.clear("door/info");
        for _ in 0..2 {
            outbox.on_connected();
            assert_eq!(drain(&mut outbox, now), ["door/info="]);
            outbox.on_disconnected();
        }
        assert_eq!(outbox.topics(), [""; 0]);
    }
}
