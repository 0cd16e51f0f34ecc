//! What becomes of one datagram after the other, and of one block of a connection after the other.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use doorstep::sim::dice::Dice;

use super::Line;

/// What lines have done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Arrivals, with the second ones of what was doubled.
    pub(crate) passed: u64,
    pub(crate) lost: u64,
    /// What a narrow or full line had no room for.
    pub(crate) crowded_out: u64,
    pub(crate) silenced: u64,
    pub(crate) doubled: u64,
    pub(crate) overtaken: u64,
    pub(crate) flipped: u64,
}

/// What all directions of a relay or a network have done together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted(Arc<Mutex<Done>>);

impl Counted {
    pub(crate) fn so_far(&self) -> Done {
        *self.0.lock().unwrap()
    }

    pub(super) fn add(&self, change: impl FnOnce(&mut Done)) {
        change(&mut self.0.lock().unwrap());
    }
}

/// The fates of one direction's datagrams or blocks, in order.
#[derive(Debug)]
pub(crate) struct Fates {
    line: Line,
    dice: Dice,
    /// How many more are lost to the burst that has begun.
    burst_left: u32,
    /// When the line has sent what it has taken.
    busy_until: Option<Instant>,
    counted: Counted,
}

/// That a datagram arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) after: Duration,
    /// The bit that is another, counted from the first byte's lowest.
    pub(crate) flipped: Option<usize>,
}

impl Arrival {
    pub(crate) fn spoil(self, datagram: &mut [u8]) {
        if let Some(bit) = self.flipped {
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// What chance says of one datagram.
struct Rolled {
    lost: bool,
    /// The second is the one that there is only of what was doubled.
    copies: [Chance; 2],
    doubled: bool,
}

/// And of one of its copies.
struct Chance {
    overtaken: bool,
    flipped: bool,
    jitter: u64,
    bit: u64,
}

impl Fates {
    pub(crate) fn new(line: Line, seed: u64, counted: Counted) -> Self {
        Self { line, dice: Dice::new(seed), burst_left: 0, busy_until: None, counted }
    }

    /// From now on the line is this one; chance goes on where it was.
    pub(crate) fn set(&mut self, line: Line) {
        self.line = line;
    }

    /// When the next datagram, of `len` bytes, arrives: never, once or twice.
    pub(crate) fn next(&mut self, now: Instant, len: usize) -> Vec<Arrival> {
        let Rolled { lost, copies, doubled } = self.roll();
        let Some(queued) = self.queue(now, len) else {
            self.counted.add(|done| done.crowded_out += 1);
            return vec![];
        };
        if lost {
            self.counted.add(|done| done.lost += 1);
            return vec![];
        }
        self.counted.add(|done| done.doubled += u64::from(doubled));
        let count = if doubled { 2 } else { 1 };
        copies.into_iter().take(count).map(|copy| self.arrival(queued, len, &copy)).collect()
    }

    /// Lets the next datagram disappear, whatever chance says of it.
    pub(crate) fn silence(&mut self) {
        self.roll();
        self.counted.add(|done| done.silenced += 1);
    }

    /// How late the next block of a connection is, which TCP repeats until it has arrived, and how spoilt.
    pub(crate) fn block(&mut self, len: usize) -> Arrival {
        const REPETITIONS: u32 = 6;
        let Rolled { lost, copies: [copy, _], .. } = self.roll();
        let mut arrival = self.arrival(Duration::ZERO, len, &copy);
        if lost {
            let again = (1..REPETITIONS).take_while(|_| self.dice.roll(self.line.loss)).count() as u32;
            arrival.after += Line::RETRANSMISSION * (1 + again);
            self.counted.add(|done| done.lost += 1);
        }
        arrival
    }

    /// How long `len` bytes of a connection wait for their turn and take to be sent.
    pub(crate) fn turn(&mut self, now: Instant, len: usize) -> Duration {
        let Some(rate) = self.line.rate else { return Duration::ZERO };
        let begins = self.busy_until.map_or(now, |until| until.max(now));
        let done = begins + Duration::from_secs_f64(len as f64 * 8.0 / f64::from(rate));
        self.busy_until = Some(done);
        done - now
    }

    /// Every die for every datagram, so that a change of one probability leaves the others' fates.
    fn roll(&mut self) -> Rolled {
        let lost = self.dice.roll(self.line.loss);
        let burst = self.dice.roll(self.line.burst.map_or(0.0, |(begins, _)| begins));
        let doubled = self.dice.roll(self.line.duplicate);
        let copies = [(); 2].map(|()| Chance {
            overtaken: self.dice.roll(self.line.reorder),
            flipped: self.dice.roll(self.line.flip),
            jitter: u64::from_le_bytes(self.dice.bytes()),
            bit: u64::from_le_bytes(self.dice.bytes()),
        });
        Rolled { lost: self.in_burst(burst) || lost, copies, doubled }
    }

    fn in_burst(&mut self, begins: bool) -> bool {
        if begins && self.burst_left == 0 {
            self.burst_left = self.line.burst.map_or(0, |(_, datagrams)| datagrams);
        }
        let lost = self.burst_left > 0;
        self.burst_left = self.burst_left.saturating_sub(1);
        lost
    }

    /// As [`Self::turn`]; `None` when too many wait already.
    fn queue(&mut self, now: Instant, len: usize) -> Option<Duration> {
        let waits =
            self.line.rate.and(self.busy_until).map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        (waits <= Line::QUEUE).then(|| self.turn(now, len))
    }

    fn arrival(&self, queued: Duration, len: usize, copy: &Chance) -> Arrival {
        let late = if copy.overtaken { Line::REORDER_BY } else { Duration::ZERO };
        let flipped = (copy.flipped && len > 0).then(|| (copy.bit % (len as u64 * 8)) as usize);
        self.counted.add(|done| {
            done.passed += 1;
            done.overtaken += u64::from(copy.overtaken);
            done.flipped += u64::from(flipped.is_some());
        });
        Arrival { after: queued + self.jittered(copy.jitter) + late, flipped }
    }

    fn jittered(&self, chance: u64) -> Duration {
        let span = 2 * self.line.jitter.as_micros() as u64;
        let offset = Duration::from_micros(chance.checked_rem(span).unwrap_or(0));
        (self.line.delay + offset).saturating_sub(self.line.jitter)
    }
}

#[cfg(test)]
mod tests {
    use doorstep::clock;

    use super::*;

    /// Which of 1000 datagrams arrive, when, and how spoilt.
    fn fates(line: Line, seed: u64) -> Vec<Vec<Arrival>> {
        counted_fates(line, seed).0
    }

    fn counted_fates(line: Line, seed: u64) -> (Vec<Vec<Arrival>>, Done) {
        let counted = Counted::default();
        let (mut fates, begun) = (Fates::new(line, seed, counted.clone()), clock::now().into_std());
        let fates = (0..1_000).map(|n| fates.next(begun + Duration::from_millis(n), 1_000)).collect();
        (fates, counted.so_far())
    }

    const BAD: Line = Line {
        loss: 0.1,
        burst: Some((0.01, 5)),
        duplicate: 0.1,
        reorder: 0.1,
        flip: 0.1,
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(10),
        rate: Some(10_000_000),
    };

    #[test]
    fn the_same_seed_has_the_same_fates() {
        assert_eq!(fates(BAD, 1), fates(BAD, 1));
        assert_ne!(fates(BAD, 1), fates(BAD, 2));
    }

    #[test]
    fn a_fair_line_changes_nothing() {
        let fair = vec![Arrival { after: Duration::ZERO, flipped: None }];
        assert!(fates(Line::default(), 3).iter().all(|fate| *fate == fair));
    }

    #[test]
    fn each_fault_is_as_frequent_as_it_says_and_counted() {
        let as_often = |line: Line, what: &str, is: fn(&Vec<Arrival>) -> bool, counted: fn(Done) -> u64| {
            let (fates, done) = counted_fates(line, 4);
            let count = fates.iter().filter(|fate| is(fate)).count();
            assert!((150..250).contains(&count), "{count} of 1000 {what} at 20 %");
            assert_eq!((counted(done), done.passed), (count as u64, fates.iter().flatten().count() as u64), "{what}");
        };
        let fair = Line::default();
        as_often(Line::lossy(0.2), "lost", Vec::is_empty, |done| done.lost);
        as_often(Line { duplicate: 0.2, ..fair }, "doubled", |fate| fate.len() == 2, |done| done.doubled);
        as_often(Line { flip: 0.2, ..fair }, "spoilt", |fate| fate[0].flipped.is_some(), |done| done.flipped);
        let is_late: fn(&Vec<Arrival>) -> bool = |fate| fate[0].after == Line::REORDER_BY;
        as_often(Line { reorder: 0.2, ..fair }, "overtaken", is_late, |done| done.overtaken);
    }

    #[test]
    fn a_change_of_one_probability_leaves_the_others_fates() {
        let flipped = |line| fates(line, 5).iter().map(|fate| fate.first()?.flipped).collect::<Vec<_>>();
        let (without, with) = (flipped(BAD), flipped(Line { duplicate: 0.9, reorder: 0.5, ..BAD }));
        assert_eq!(without, with);
    }

    #[test]
    fn a_burst_takes_that_many_in_a_row() {
        let fates = fates(Line { burst: Some((0.01, 5)), ..Line::default() }, 5);
        let lost: Vec<bool> = fates.iter().map(Vec::is_empty).collect();
        let runs: Vec<usize> = lost.split(|lost| !lost).map(<[bool]>::len).filter(|&run| run > 0).collect();
        assert!(!runs.is_empty() && runs.iter().all(|run| *run >= 5), "{runs:?}");
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        let (delay, jitter) = (Duration::from_millis(50), Duration::from_millis(20));
        let fates = fates(Line { delay, jitter, ..Line::default() }, 6);
        let times: Vec<Duration> = fates.iter().map(|fate| fate[0].after).collect();
        assert!(times.iter().all(|time| (delay - jitter..delay + jitter).contains(time)));
        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(*most - *least > jitter, "{least:?} to {most:?}");
    }

    #[test]
    fn a_narrow_line_queues_and_then_loses() {
        // 8 Mbit/s come, 1 Mbit/s passes.
        let (fates, done) = counted_fates(Line { rate: Some(1_000_000), ..Line::default() }, 7);
        assert_eq!(fates[0][0].after, Duration::from_millis(8));
        let passed = fates.iter().flatten().count();
        assert!((150..250).contains(&passed), "{passed} of 1000 passed");
        assert_eq!(done.crowded_out, 1_000 - passed as u64);
        let slowest = fates.iter().flatten().map(|arrival| arrival.after).max().unwrap();
        assert!(slowest <= Line::QUEUE + Duration::from_millis(16), "{slowest:?}");
    }

    #[test]
    fn a_connection_waits_for_its_turn_and_loses_nothing() {
        let now = clock::now().into_std();
        let mut fates = Fates::new(Line { rate: Some(8_000_000), ..Line::dead() }, 8, Counted::default());
        let turns: Vec<Duration> = (0..1_000).map(|_| fates.turn(now, 1_000)).collect();
        assert_eq!((turns[0], turns[999]), (Duration::from_millis(1), Duration::from_secs(1)));
        assert_eq!(fates.block(1_500).after, 6 * Line::RETRANSMISSION, "on a dead line it gives in at last");
    }
}
