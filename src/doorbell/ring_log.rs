//! Which rings there were, and which of them were told before.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::clock::{self, Instant};
use crate::model::{Event, Ring};

/// The last rings, and what it takes to recognise a repetition.
#[derive(Default)]
pub(super) struct RingLog {
    newest_last: VecDeque<Ring>,
    total: u64,
    /// Newest last.
    told: VecDeque<(Kind, String)>,
    presses: Vec<(&'static str, Instant)>,
}

/// Ids are unique among events of one kind: a cloud may use the same one for a ring and its motion.
#[derive(PartialEq, Eq)]
enum Kind {
    Ring,
    Motion,
}

impl RingLog {
    const KEPT: usize = 20;
    /// A poll repeats what a push told seconds ago; this is hours of a busy street.
    const REMEMBERED: usize = 256;
    /// A bouncing contact, or a radio that repeats itself.
    const ONE_PRESS: Duration = Duration::from_secs(1);
    /// A button and a cloud that tell of presses so close to each other tell of one. Their clocks differ by seconds.
    const SAME_PRESS: Duration = Duration::from_secs(10);

    /// Whether `event` is told for the first time. Remembers it.
    pub(super) fn is_news(&mut self, event: &Event) -> bool {
        let key = match event {
            Event::Ring(ring) => (Kind::Ring, ring.event_id.clone()),
            Event::Motion(motion) => (Kind::Motion, motion.event_id.clone()),
        };
        if self.told.contains(&key) {
            return false;
        }
        keep_newest(&mut self.told, key, Self::REMEMBERED);
        !matches!(event, Event::Ring(ring) if self.was_heard_at_once(ring))
    }

    /// Whether a wired button has told of the press that a cloud tells of a while later.
    fn was_heard_at_once(&self, ring: &Ring) -> bool {
        let same = |known: &Ring| {
            known.latency.is_none() && known.source != ring.source && apart(known.at, ring.at) < Self::SAME_PRESS
        };
        ring.latency.is_some() && self.newest_last.iter().any(same)
    }

    pub(super) fn keep(&mut self, ring: Ring) {
        self.total += 1;
        keep_newest(&mut self.newest_last, ring, Self::KEPT);
    }

    /// How many were kept, forgotten ones included.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn newest_first(&self) -> Vec<Ring> {
        self.newest_last.iter().rev().cloned().collect()
    }

    /// The ring that `event_id`, or a press `at` that time, was told as.
    pub(super) fn told_as(&self, event_id: &str, at: SystemTime) -> Option<Ring> {
        let by_id = self.newest_last.iter().find(|ring| ring.event_id == event_id);
        by_id.or_else(|| self.newest_last.iter().rev().find(|ring| apart(ring.at, at) < Self::SAME_PRESS)).cloned()
    }

    /// A ring for a press heard by `source`; `None` when it belongs to the last one.
    pub(super) fn pressed(&mut self, source: &'static str) -> Option<Ring> {
        let now = clock::now();
        match self.presses.iter_mut().find(|(known, _)| *known == source) {
            Some((_, last)) if now.duration_since(*last) < Self::ONE_PRESS => return None,
            Some((_, last)) => *last = now,
            None => self.presses.push((source, now)),
        }
        let at = clock::unix_now();
        let unix_ms = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
        Some(Ring { at, event_id: format!("{source}_{unix_ms}"), source, latency: None })
    }
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|other_is_later| other_is_later.duration())
}

fn keep_newest<T>(list: &mut VecDeque<T>, item: T, limit: usize) {
    if list.len() >= limit {
        list.pop_front();
    }
    list.push_back(item);
}
