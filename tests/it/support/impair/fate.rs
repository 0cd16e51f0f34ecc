//! What becomes of one datagram after the other.

use std::time::Duration;

use doorstep::clock::Instant;
use doorstep::sim::lossy_link::Dice;

use super::Line;

/// The fates of one direction's datagrams, in order.
#[derive(Debug)]
pub(crate) struct Fates {
    line: Line,
    dice: Dice,
    /// How many more are lost to the burst that has begun.
    burst_left: u32,
    /// When the line has sent what it has taken.
    busy_until: Option<Instant>,
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

impl Fates {
    pub(crate) fn new(line: Line, seed: u64) -> Self {
        Self { line, dice: Dice::new(seed), burst_left: 0, busy_until: None }
    }

    /// From now on the line is this one; chance goes on where it was.
    pub(crate) fn set(&mut self, line: Line) {
        self.line = line;
    }

    /// When the next datagram, of `len` bytes, arrives: never, once or twice.
    pub(crate) fn next(&mut self, now: Instant, len: usize) -> Vec<Arrival> {
        // Every die is rolled for every datagram, so that a change of one probability leaves the others' fates.
        let lost = self.dice.roll(self.line.loss);
        let burst = self.dice.roll(self.line.burst.map_or(0.0, |(begins, _)| begins));
        let doubled = self.dice.roll(self.line.duplicate);
        let overtaken = self.dice.roll(self.line.reorder);
        let spoilt = self.dice.roll(self.line.flip);
        let [jitter, bit] = [0, 1].map(|_| u64::from_le_bytes(self.dice.bytes()));

        let lost = lost || self.in_burst(burst);
        let Some(queued) = self.queue(now, len) else { return vec![] };
        if lost {
            return vec![];
        }
        let late = if overtaken { Line::REORDER_BY } else { Duration::ZERO };
        let flipped = (spoilt && len > 0).then(|| (bit % (len as u64 * 8)) as usize);
        let arrival = Arrival { after: queued + self.jittered(jitter) + late, flipped };
        vec![arrival; if doubled { 2 } else { 1 }]
    }

    fn in_burst(&mut self, begins: bool) -> bool {
        if begins && self.burst_left == 0 {
            self.burst_left = self.line.burst.map_or(0, |(_, datagrams)| datagrams);
        }
        let lost = self.burst_left > 0;
        self.burst_left = self.burst_left.saturating_sub(1);
        lost
    }

    /// How long it waits for its turn and takes to be sent; `None` when too many wait already.
    fn queue(&mut self, now: Instant, len: usize) -> Option<Duration> {
        let Some(rate) = self.line.rate else { return Some(Duration::ZERO) };
        let begins = self.busy_until.map_or(now, |until| until.max(now));
        if begins - now > Line::QUEUE {
            return None;
        }
        let done = begins + Duration::from_secs_f64(len as f64 * 8.0 / f64::from(rate));
        self.busy_until = Some(done);
        Some(done - now)
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
        let (mut fates, begun) = (Fates::new(line, seed), clock::now());
        (0..1_000).map(|n| fates.next(begun + Duration::from_millis(n), 1_000)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_has_the_same_fates() {
        let line = Line {
            loss: 0.1,
            burst: Some((0.01, 5)),
            duplicate: 0.1,
            reorder: 0.1,
            flip: 0.1,
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(10),
            rate: Some(10_000_000),
        };
        assert_eq!(fates(line, 1), fates(line, 1));
        assert_ne!(fates(line, 1), fates(line, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fair_line_changes_nothing() {
        let fair = vec![Arrival { after: Duration::ZERO, flipped: None }];
        assert!(fates(Line::default(), 3).iter().all(|fate| *fate == fair));
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_is_as_frequent_as_it_says() {
        let count = |line, is: fn(&Vec<Arrival>) -> bool| fates(line, 4).iter().filter(|fate| is(fate)).count();
        let lost = count(Line::lossy(0.2), Vec::is_empty);
        assert!((150..250).contains(&lost), "{lost} of 1000 lost at 20 %");
        let doubled = count(Line { duplicate: 0.2, ..Line::default() }, |fate| fate.len() == 2);
        assert!((150..250).contains(&doubled), "{doubled} of 1000 doubled at 20 %");
        let spoilt = count(Line { flip: 0.2, ..Line::default() }, |fate| fate[0].flipped.is_some());
        assert!((150..250).contains(&spoilt), "{spoilt} of 1000 spoilt at 20 %");
        let late = count(Line { reorder: 0.2, ..Line::default() }, |fate| fate[0].after == Line::REORDER_BY);
        assert!((150..250).contains(&late), "{late} of 1000 overtaken at 20 %");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_takes_that_many_in_a_row() {
        let fates = fates(Line { burst: Some((0.01, 5)), ..Line::default() }, 5);
        let lost: Vec<bool> = fates.iter().map(Vec::is_empty).collect();
        let runs: Vec<usize> = lost.split(|lost| !lost).map(<[bool]>::len).filter(|&run| run > 0).collect();
        assert!(!runs.is_empty() && runs.iter().all(|run| *run >= 5), "{runs:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_stays_within_its_bounds() {
        let (delay, jitter) = (Duration::from_millis(50), Duration::from_millis(20));
        let fates = fates(Line { delay, jitter, ..Line::default() }, 6);
        let times: Vec<Duration> = fates.iter().map(|fate| fate[0].after).collect();
        assert!(times.iter().all(|time| (delay - jitter..delay + jitter).contains(time)));
        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(*most - *least > jitter, "{least:?} to {most:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_narrow_line_queues_and_then_loses() {
        // 8 Mbit/s come, 1 Mbit/s passes.
        let fates = fates(Line { rate: Some(1_000_000), ..Line::default() }, 7);
        assert_eq!(fates[0][0].after, Duration::from_millis(8));
        let passed = fates.iter().flatten().count();
        assert!((150..250).contains(&passed), "{passed} of 1000 passed");
        let slowest = fates.iter().flatten().map(|arrival| arrival.after).max().unwrap();
        assert!(slowest <= Line::QUEUE + Duration::from_millis(16), "{slowest:?}");
    }
}
