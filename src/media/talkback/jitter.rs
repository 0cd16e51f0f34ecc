//! A microphone's packets in the order and at the pace in which they were spoken, however they came.
//!
//! Time here is counted in microseconds on one line: a packet lies at the moment it would have come at without any
//! delay, if the first one had none. The least that a packet of the last seconds was behind that is the *base*; what
//! it was later than the base is its *delay*, and packets are played `wanted` after the base, which is long enough
//! for almost all of them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::MicPacket;
use crate::clock::{self, Instant};

/// On the line of the microphone.
pub(super) type Micros = i64;

const MILLISECOND: Micros = 1_000;

/// A packet that waits for its turn.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) at: Micros,
    pub(super) length: Micros,
    pub(super) payload: Bytes,
    /// Whether it holds more than background.
    pub(super) voiced: bool,
}

impl Held {
    pub(super) fn end(&self) -> Micros {
        self.at + self.length
    }

    pub(super) fn sounds_for(&self) -> Duration {
        duration(self.length)
    }
}

/// How much would be missed if a packet were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    Speech,
    /// Between words: nobody hears whether that is 20 ms more or less.
    Pause,
    /// It will not be passed on.
    Nothing,
}

/// What is to be played now.
#[derive(Debug)]
pub(super) enum Turn {
    /// Not yet begun, or paused: [`JitterBuffer::due`] says until when.
    Idle,
    Packet(Held),
    /// Something in place of what is missing here. `next` is what follows it, if that is there already.
    Gap {
        at: Micros,
        length: Duration,
        next: Option<Bytes>,
    },
}

/// What became of a talk's packets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) received: u64,
    /// Not there when it was their turn.
    pub(super) lost: u64,
    /// Came after that, or all too late after a pause.
    pub(super) late: u64,
}

/// Holds 1.3 s at most (64 packets); full: the oldest goes, because what comes late is of less use than what comes
/// next.
pub(super) struct JitterBuffer {
    rate_hz: u32,
    begun: Instant,
    source: Option<Source>,
    /// A packet that belongs to no known stream: believed when the next one follows it.
    stray: Option<MicPacket>,
    delays: Delays,
    /// By extended sequence number.
    waiting: BTreeMap<i64, Held>,
    /// Where the next packet to be played should lie; `None` while nothing is played.
    cursor: Option<Cursor>,
    /// The last packet that was taken, by extended sequence number.
    taken: Option<i64>,
    /// How long nothing has been there.
    gap: Micros,
    pub(super) counts: Counts,
}

#[derive(Debug, Clone, Copy)]
struct Cursor {
    at: Micros,
    /// Of the packet before, and so probably of this one.
    length: Micros,
}

/// One RTP stream, by its newest packet.
struct Source {
    ssrc: u32,
    /// As it stands in the packet, and as we count.
    number: u16,
    sequence: i64,
    timestamp: u32,
    at: Micros,
    end: Micros,
}

impl JitterBuffer {
    const HELD: usize = 64;
    /// After so long a repetition is a noise and no help any more.
    const LONGEST_GAP: Micros = 80 * MILLISECOND;
    /// RFC 3550 appendix A.1: further off than this is another stream.
    const DROPOUT: i64 = 3_000;
    const MISORDER: i64 = 100;
    /// Later than any delay that is made up for: the sender's clock stood still, or the network did.
    const STOOD_STILL: Micros = 250 * MILLISECOND;
    const LEAPT: Micros = 1_000 * MILLISECOND;
    /// Timestamps are rounded by some senders.
    const TOLERANCE: Micros = 5 * MILLISECOND;
    /// What is not passed on is kept this long, so that what precedes a word is passed on with it.
    const LOOK_BACK: Micros = 80 * MILLISECOND;
    /// How far the delay may be from what is wanted before a pause is made longer or shorter.
    const LATE_SLACK: Micros = 20 * MILLISECOND;
    const EARLY_SLACK: Micros = 15 * MILLISECOND;
    /// Before a piece of speech is left out.
    const LOUD_SLACK: Micros = 80 * MILLISECOND;
    /// No packet is played later than this after its base, wanted or not.
    const LATEST: Micros = 230 * MILLISECOND;

    /// For timestamps in `rate_hz`, which is not 0.
    pub(super) fn new(rate_hz: u32) -> Self {
        Self {
            rate_hz,
            begun: clock::now(),
            source: None,
            stray: None,
            delays: Delays::default(),
            waiting: BTreeMap::new(),
            cursor: None,
            taken: None,
            gap: 0,
            counts: Counts::default(),
        }
    }

    /// Takes a packet that has just come and sounds for `length`. `None` when it is not needed (any more).
    pub(super) fn insert(&mut self, now: Instant, packet: MicPacket, length: Duration) -> Option<&mut Held> {
        self.counts.received += 1;
        let arrival = self.micros(now);
        if self.is_foreign(&packet) {
            let before = self.stray.replace(packet.clone()).filter(|stray| precedes(stray, &packet))?;
            self.stray = None;
            self.restart(arrival, before, micros(length));
        }
        self.place(arrival, packet, micros(length))
    }

    /// What is to be heard now. To be asked once for each piece of sound that is sent.
    pub(super) fn take(&mut self, now: Instant, worth: impl Fn(&Held) -> Worth) -> Turn {
        let now = self.micros(now);
        loop {
            let Some(cursor) = self.cursor else {
                if !self.begin(now, &worth) {
                    return Turn::Idle;
                }
                continue;
            };
            let Some((&sequence, first)) = self.waiting.first_key_value() else { return self.gap(now, cursor) };
            if first.at > cursor.at + Self::TOLERANCE {
                if self.taken.is_some_and(|taken| sequence == taken + 1) {
                    // Nothing is missing: the sender itself has paused.
                    self.cursor = None;
                    continue;
                }
                return self.gap(now, cursor);
            }
            match self.lag(now, first, worth(first)) {
                Lag::Behind if self.waiting.len() > 1 => {
                    self.pop();
                }
                Lag::Ahead => {
                    return Turn::Gap { at: cursor.at, length: duration(cursor.length), next: None };
                }
                Lag::Right | Lag::Behind => return self.pop().map_or(Turn::Idle, Turn::Packet),
            }
        }
    }

    /// Whether packets are played, one after the other.
    pub(super) fn is_playing(&self) -> bool {
        self.cursor.is_some()
    }

    /// When the first packet after a pause is to be played.
    pub(super) fn due(&self, worth: impl Fn(&Held) -> Worth) -> Option<Instant> {
        let (_, first) = self.waiting.first_key_value()?;
        let at = self.delays.base + first.at + self.wanted(worth(first));
        Some(self.begun + duration(at))
    }

    /// How much later than at the soonest this is played now.
    pub(super) fn delay(&self, now: Instant, held: &Held) -> Duration {
        duration(self.micros(now) - self.delays.base - held.at)
    }

    fn micros(&self, now: Instant) -> Micros {
        micros(now.saturating_duration_since(self.begun))
    }

    /// Whether it cannot be of the stream that is known (RFC 3550 appendix A.1).
    fn is_foreign(&self, packet: &MicPacket) -> bool {
        let Some(source) = &self.source else { return false };
        let steps = source.steps_to(packet);
        let apart = source.at_of(packet, self.rate_hz) - source.at;
        packet.ssrc != source.ssrc
            || !(-Self::MISORDER..Self::DROPOUT).contains(&steps)
            || (steps <= 0 && apart.abs() > 2 * Self::LEAPT)
    }

    /// The sender has begun anew, with this packet.
    fn restart(&mut self, arrival: Micros, first: MicPacket, length: Micros) {
        let source = self.source.take();
        self.delays = Delays::default();
        let at = source.as_ref().map_or(arrival, |source| source.end.max(arrival));
        let sequence = source.map_or(0, |source| source.sequence + 1);
        self.source = Some(Source::new(&first, sequence, at, length));
        self.delays.note(arrival, arrival - at);
        self.hold(sequence, Held { at, length, payload: first.payload, voiced: true });
    }

    fn place(&mut self, arrival: Micros, packet: MicPacket, length: Micros) -> Option<&mut Held> {
        self.delays.forget(arrival);
        let (sequence, at, newest) = match &self.source {
            None => (0, arrival, true),
            Some(source) => {
                let steps = source.steps_to(&packet);
                (source.sequence + steps, source.at_of(&packet, self.rate_hz), steps > 0)
            }
        };
        let at = if newest { self.believable(arrival, at) } else { at };
        if self.waiting.contains_key(&sequence) {
            return None;
        }
        self.delays.note(arrival, arrival - at);
        if newest {
            self.source = Some(Source::new(&packet, sequence, at, length));
        }
        let is_past = self.cursor.is_some_and(|cursor| at + length <= cursor.at);
        if is_past || self.taken.is_some_and(|taken| sequence <= taken) {
            self.counts.late += 1;
            return None;
        }
        self.hold(sequence, Held { at, length, payload: packet.payload, voiced: true })
    }

    /// Where a packet lies whose timestamp says `at`: a clock that stood still or leapt is set anew.
    fn believable(&mut self, arrival: Micros, at: Micros) -> Micros {
        let Some(base) = self.delays.known_base() else {
            let end = self.source.as_ref().map_or(arrival, |source| source.end);
            return arrival.max(end);
        };
        let delay = arrival - at - base;
        if (-Self::LEAPT..=Self::STOOD_STILL).contains(&delay) {
            return at;
        }
        self.delays = Delays::default();
        self.source.as_ref().map_or(arrival, |source| source.end.max(arrival))
    }

    fn hold(&mut self, sequence: i64, held: Held) -> Option<&mut Held> {
        if self.waiting.len() >= Self::HELD {
            self.pop();
        }
        Some(self.waiting.entry(sequence).or_insert(held))
    }

    /// Whether it is time for the first packet after a pause. Of several, those that are too old are left out.
    fn begin(&mut self, now: Micros, worth: impl Fn(&Held) -> Worth) -> bool {
        while let Some((_, first)) = self.waiting.first_key_value() {
            let (delay, wanted) = (now - self.delays.base - first.at, self.wanted(worth(first)));
            if delay < wanted {
                return false;
            }
            if delay < wanted + first.length || self.waiting.len() == 1 {
                self.cursor = Some(Cursor { at: first.at, length: first.length });
                self.gap = 0;
                return true;
            }
            self.pop();
            self.counts.late += 1;
        }
        false
    }

    /// The packet at the cursor is not there. While it may still come in time the cursor stays.
    fn gap(&mut self, now: Micros, cursor: Cursor) -> Turn {
        if self.gap >= Self::LONGEST_GAP {
            self.cursor = None;
            return Turn::Idle;
        }
        self.gap += cursor.length;
        let first = self.waiting.first_key_value().map(|(_, first)| first);
        let follows = |first: &&Held| (first.at - cursor.at - cursor.length).abs() <= Self::TOLERANCE;
        let next = first.filter(follows).map(|first| first.payload.clone());
        if now - self.delays.base - cursor.at >= self.delays.wanted {
            self.cursor = Some(Cursor { at: cursor.at + cursor.length, ..cursor });
        }
        Turn::Gap { at: cursor.at, length: duration(cursor.length), next }
    }

    fn pop(&mut self) -> Option<Held> {
        let (sequence, held) = self.waiting.pop_first()?;
        let before = self.taken.replace(sequence).unwrap_or(sequence - 1);
        self.counts.lost += u64::try_from(sequence - before - 1).unwrap_or_default();
        self.gap = 0;
        if self.cursor.is_some() {
            self.cursor = Some(Cursor { at: held.end(), length: held.length });
        }
        Some(held)
    }

    fn lag(&self, now: Micros, first: &Held, worth: Worth) -> Lag {
        let delay = now - self.delays.base - first.at;
        let wanted = self.wanted(worth);
        let (early, late) = match worth {
            Worth::Speech => (Micros::MAX, (wanted + Self::LOUD_SLACK).min(Self::LATEST)),
            Worth::Pause => (Self::EARLY_SLACK, wanted + Self::LATE_SLACK),
            Worth::Nothing => (0, wanted + first.length),
        };
        if delay > late {
            Lag::Behind
        } else if delay < wanted.saturating_sub(early) {
            Lag::Ahead
        } else {
            Lag::Right
        }
    }

    fn wanted(&self, worth: Worth) -> Micros {
        let wanted = self.delays.wanted;
        if worth == Worth::Nothing { wanted.max(Self::LOOK_BACK) } else { wanted }
    }
}

/// How the playing stands to what is wanted.
enum Lag {
    Behind,
    Right,
    Ahead,
}

impl Source {
    fn new(newest: &MicPacket, sequence: i64, at: Micros, length: Micros) -> Self {
        let MicPacket { ssrc, sequence: number, timestamp, .. } = *newest;
        Self { ssrc, number, sequence, timestamp, at, end: at + length }
    }

    /// How many packets after the newest one it was sent; what came out of order is before it.
    fn steps_to(&self, packet: &MicPacket) -> i64 {
        i64::from(packet.sequence.wrapping_sub(self.number) as i16)
    }

    fn at_of(&self, packet: &MicPacket, rate_hz: u32) -> Micros {
        let ticks = i64::from(packet.timestamp.wrapping_sub(self.timestamp) as i32);
        self.at + ticks * 1_000_000 / i64::from(rate_hz)
    }
}

fn precedes(first: &MicPacket, second: &MicPacket) -> bool {
    first.ssrc == second.ssrc && first.sequence.wrapping_add(1) == second.sequence
}

/// Nothing for what is not after the beginning.
fn duration(micros: Micros) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

fn micros(duration: Duration) -> Micros {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

/// How late the packets of the last four seconds came.
struct Delays {
    /// Arrival, and how long after its place on the line that was.
    recent: VecDeque<(Micros, Micros)>,
    /// The least of them.
    base: Micros,
    /// Long enough for 97 of 100.
    wanted: Micros,
}

impl Default for Delays {
    fn default() -> Self {
        Self { recent: VecDeque::new(), base: 0, wanted: Self::AT_FIRST }
    }
}

impl Delays {
    const REMEMBERED: Micros = 4_000 * MILLISECOND;
    /// A flood is no reason to remember more.
    const MOST: usize = 400;
    const LEAST_WANTED: Micros = 20 * MILLISECOND;
    const MOST_WANTED: Micros = 200 * MILLISECOND;
    /// Until half a second is known.
    const AT_FIRST: Micros = 40 * MILLISECOND;
    const ENOUGH: usize = 25;
    /// Between the moment a packet comes and the beat that takes it.
    const MARGIN: Micros = 5 * MILLISECOND;

    fn forget(&mut self, now: Micros) {
        while self.recent.front().is_some_and(|(arrival, _)| now - arrival > Self::REMEMBERED) {
            self.recent.pop_front();
        }
    }

    fn known_base(&self) -> Option<Micros> {
        (!self.recent.is_empty()).then_some(self.base)
    }

    fn note(&mut self, arrival: Micros, behind: Micros) {
        self.recent.push_back((arrival, behind));
        if self.recent.len() > Self::MOST {
            self.recent.pop_front();
        }
        let mut known: Vec<Micros> = self.recent.iter().map(|(_, behind)| *behind).collect();
        self.base = known.iter().copied().min().unwrap_or_default();
        let (_, almost_all, _) = known.select_nth_unstable(self.recent.len() * 97 / 100);
        let least = if self.recent.len() < Self::ENOUGH { Self::AT_FIRST } else { Self::LEAST_WANTED };
        self.wanted = (*almost_all - self.base + Self::MARGIN).clamp(least, Self::MOST_WANTED);
    }
}

#[cfg(test)]
#[path = "jitter_tests.rs"]
mod tests;
