//! How much one viewer may have us do, so that a hostile one takes nothing from the others.

use std::time::Instant;

/// So many a second, and as many at once after a pause (a token bucket).
#[derive(Debug)]
pub(super) struct Allowance {
    a_second: f64,
    left: f64,
    since: Instant,
}

impl Allowance {
    pub(super) fn a_second(count: u32, now: Instant) -> Self {
        Self { a_second: f64::from(count), left: f64::from(count), since: now }
    }

    /// Takes one, if there is one.
    pub(super) fn takes(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = self.since.max(now);
        self.left = (self.left + passed * self.a_second).min(self.a_second);
        let takes = self.left >= 1.0;
        if takes {
            self.left -= 1.0;
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn a_flood_gets_its_second_at_once_and_then_its_share_of_each_second() {
        let begun = clock::now().into_std();
        let mut allowance = Allowance::a_second(100, begun);
        let taken = |allowance: &mut Allowance, at| (0..1_000).filter(|_| allowance.takes(begun + at)).count();
        assert_eq!(taken(&mut allowance, Duration::ZERO), 100);
        assert_eq!(taken(&mut allowance, Duration::from_millis(500)), 50);
        assert_eq!(taken(&mut allowance, Duration::from_millis(400)), 0, "time that goes back brings nothing");
        assert_eq!(taken(&mut allowance, Duration::from_secs(60)), 100, "a pause is worth a second");
    }

    #[test]
    fn whoever_keeps_to_its_share_is_never_refused() {
        let begun = clock::now().into_std();
        let mut allowance = Allowance::a_second(100, begun);
        assert!((0..2_000).all(|n| allowance.takes(begun + n * Duration::from_millis(10))));
    }
}
