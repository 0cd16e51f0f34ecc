//! Whatever happens to the connection, the broker ends up with the right retained set and no event is lost
//! unnoticed: random histories against a simple model.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use doorstep::clock::{self, Instant};
use doorstep::mqtt::outbox::{Dropped, Outbox, Publish};

use crate::support::score::{Figure, tally};

/// A generator whose whole run follows from one printed seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// The other end of the wire: a client library that loses what is on its way when the connection goes, and a
/// broker that may lose what it retained.
#[derive(Default)]
struct Broker {
    retained: BTreeMap<String, String>,
    events: BTreeSet<String>,
    /// Handed to the client, not written yet.
    queued: VecDeque<Publish>,
    /// Written, with packet ids, not at the broker yet.
    written: VecDeque<(u16, Publish)>,
    /// Taken by the broker, acknowledgement on its way.
    acknowledged: VecDeque<u16>,
    next_id: u16,
}

impl Broker {
    fn write(&mut self, outbox: &mut Outbox) {
        let in_use = |id| self.written.iter().any(|(used, _)| *used == id) || self.acknowledged.contains(&id);
        if let Some(publish) = self.queued.pop_front() {
            self.next_id = (1..=64).map(|n| (self.next_id + n - 1) % 64 + 1).find(|id| !in_use(*id)).unwrap();
            outbox.on_sent(self.next_id);
            self.written.push_back((self.next_id, publish));
        }
    }

    fn take(&mut self) {
        let Some((id, publish)) = self.written.pop_front() else { return };
        let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
        match (publish.retain, payload.is_empty()) {
            (true, true) => drop(self.retained.remove(&publish.topic)),
            (true, false) => drop(self.retained.insert(publish.topic, payload)),
            (false, _) => drop(self.events.insert(payload)),
        }
        self.acknowledged.push_back(id);
    }

    /// The oldest, or, as brokers do that are several machines, another one.
    fn acknowledge(&mut self, which: usize, outbox: &mut Outbox) {
        if let Some(id) = self.acknowledged.remove(which.min(self.acknowledged.len().saturating_sub(1))) {
            outbox.on_acknowledged(id);
        }
    }

    /// What was not at the broker yet is lost, and so is every acknowledgement.
    fn cut(&mut self) {
        self.queued.clear();
        self.written.clear();
        self.acknowledged.clear();
    }
}

struct History {
    random: Random,
    outbox: Outbox,
    broker: Broker,
    connected: bool,
    now: Instant,
    /// What the retained set should be in the end.
    state: BTreeMap<String, String>,
    events_told: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            outbox: Outbox::default(),
            broker: Broker::default(),
            connected: false,
            now: clock::now(),
            state: BTreeMap::new(),
            events_told: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..20 => self.change_state(),
            20..45 => self.tell_event(),
            45..60 => self.broker.write(&mut self.outbox),
            60..75 => self.broker.take(),
            75..90 => {
                let which = self.random.below(4);
                self.broker.acknowledge(which as usize, &mut self.outbox);
            }
            90..92 => self.cut(),
            92 => {
                self.cut();
                self.broker.retained.clear();
            }
            93..97 => self.connect(),
            97 => self.refuse(),
            _ => self.now += Duration::from_millis(self.random.below(4_000)),
        }
        self.hand_out();
    }

    fn change_state(&mut self) {
        let topic = format!("state/{}", self.random.below(12));
        if self.random.below(5) == 0 {
            self.outbox.clear(&topic);
            self.state.remove(&topic);
        } else {
            let payload = self.random.below(50).to_string();
            self.outbox.set(&topic, payload.clone().into());
            self.state.insert(topic, payload);
        }
    }

    fn tell_event(&mut self) {
        let payload = self.events_told.to_string();
        self.events_told += 1;
        let publish = Publish { topic: "event".to_owned(), payload: payload.into(), retain: false };
        if self.random.below(2) == 0 {
            self.outbox.push(publish, self.now);
        } else {
            self.outbox.answer(publish, self.now);
        }
    }

    fn cut(&mut self) {
        self.broker.cut();
        self.outbox.on_disconnected();
        self.connected = false;
    }

    fn connect(&mut self) {
        if !self.connected {
            self.outbox.on_connected();
            self.connected = true;
        }
    }

    /// An attempt that comes to nothing also ends in a break.
    fn refuse(&mut self) {
        if !self.connected {
            self.outbox.on_disconnected();
        }
    }

    fn hand_out(&mut self) {
        while let Some(publish) = self.outbox.next(self.now) {
            assert!(self.connected, "handed out without a connection");
            self.broker.queued.push_back(publish);
        }
        let in_flight = self.broker.queued.len() + self.broker.written.len() + self.broker.acknowledged.len();
        assert!(in_flight <= Outbox::IN_FLIGHT, "{in_flight} in flight");
    }

    fn quiet(&mut self) {
        self.connect();
        for _ in 0..10_000 {
            self.hand_out();
            self.broker.write(&mut self.outbox);
            self.broker.take();
            self.broker.acknowledge(0, &mut self.outbox);
            if self.outbox.is_empty() {
                return;
            }
        }
        panic!("never empty");
    }
}

#[test]
fn whatever_happens_nothing_is_lost_unnoticed() {
    let first = clock::unix_now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    let mut delivered = 0;
    for seed in (0..300).map(|n| u64::from(first) + n + 1) {
        let mut history = History::new(seed);
        let steps = 200 + history.random.below(2_000);
        (0..steps).for_each(|_| history.step());
        history.quiet();
        let History { outbox, broker, state, events_told, .. } = history;
        assert_eq!(broker.retained, state, "seed {seed}: the retained set is wrong");
        let missing = events_told - broker.events.len() as u64;
        let counted = outbox.dropped().full + outbox.dropped().late;
        // An event may have arrived and still be counted: its acknowledgement was lost and it then grew old.
        assert!(missing <= counted, "seed {seed}: {missing} events missing, {counted} counted as dropped");
        delivered += broker.events.len();
    }
    assert!(delivered > 10_000, "the histories are too short to show anything: {delivered} events");
}

#[test]
fn without_a_long_break_every_event_arrives() {
    let (mut delivered, mut told) = (0, 0);
    for seed in 1..100 {
        let mut history = History::new(seed);
        let began = history.now;
        // About 125 events, fewer than wait at most; and no time passes.
        for _ in 0..500 {
            history.step();
            history.now = began;
        }
        history.quiet();
        assert_eq!(history.outbox.dropped(), Dropped::default(), "seed {seed}");
        let (arrived, of) = (history.broker.events.len(), history.events_told as usize);
        if arrived < of {
            println!("seed {seed}: {arrived} of {of}");
        }
        (delivered, told) = (delivered + arrived, told + of);
    }
    tally(Figure::EventsDelivered, delivered, told);
    assert_eq!(delivered, told);
}
