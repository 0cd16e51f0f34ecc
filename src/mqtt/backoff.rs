//! How long to wait before the broker is tried again.

use std::time::Duration;

/// Why there is no connection, as far as it decides when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing answers at the broker's address.
    Absent,
    /// The broker's name has no address, or nobody says. Every attempt is another question, and those who answer such
    /// questions serve the whole house.
    Unnamed,
    /// The broker answered, and the connection ended: it was refused, cut or fell silent.
    Dropped,
    /// User or password are wrong. Only the owner can help; brokers lock out who insists.
    Login,
}

/// Waits that grow while connections fail and begin anew after 30 s of a stable one.
///
/// An absent broker costs nobody anything, so it is tried often enough that entities are back within 5 s of
/// its start: every 5 s while it was never seen (12 attempts a minute), and up to every 2 s after it was lost, which leaves
/// 3 s for everything that is published then.
/// A name that is not found is looked up every 7.5 to 15 s in the end, which is 8 times a minute at most.
/// A broker that drops us gets 0.5 s doubling to 30 s with full jitter.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    seen: bool,
}

impl Backoff {
    pub(super) const STABLE_AFTER: Duration = Duration::from_secs(30);
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);
    const LONGEST_ABSENT: Duration = Duration::from_secs(2);
    const LONGEST_UNNAMED: Duration = Duration::from_secs(15);
    const NEVER_SEEN: Duration = Duration::from_secs(5);

    /// The wait after an attempt that was connected for `lived` (`None`: never). `jitter` is in `0.0..1.0`.
    pub(super) fn next(&mut self, failure: Failure, lived: Option<Duration>, jitter: f64) -> Duration {
        self.seen |= lived.is_some();
        if lived.is_some_and(|lived| lived >= Self::STABLE_AFTER) {
            self.failures = 0;
        }
        let doubled = Self::FIRST.saturating_mul(1 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        match failure {
            Failure::Login => Self::LONGEST.mul_f64(1.0 + jitter),
            Failure::Absent if !self.seen => Self::NEVER_SEEN,
            Failure::Unnamed => doubled.min(Self::LONGEST_UNNAMED).mul_f64(0.5 + jitter / 2.0),
            Failure::Absent => doubled.min(Self::LONGEST_ABSENT).mul_f64(0.5 + jitter / 2.0),
            Failure::Dropped => doubled.min(Self::LONGEST).mul_f64(jitter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When the attempts of the first minute start, if each fails at once.
    fn attempts(backoff: &mut Backoff, failure: Failure, jitter: f64) -> Vec<Duration> {
        let mut at = Duration::ZERO;
        let mut all = Vec::new();
        while at < 60 * SECOND {
            all.push(at);
            at += backoff.next(failure, None, jitter);
        }
        all
    }

    #[test]
    fn row_03_a_broker_that_was_never_there_is_found_within_five_seconds_by_twelve_attempts_a_minute() {
        for jitter in [0.0, 0.5, 0.999] {
            let all = attempts(&mut Backoff::default(), Failure::Absent, jitter);
            assert!(all.len() <= 12, "{} attempts", all.len());
            assert!(all.windows(2).all(|pair| pair[1] - pair[0] <= 5 * SECOND), "{all:?}");
        }
    }

    #[test]
    fn row_01_a_broker_that_was_lost_is_found_again_within_two_seconds() {
        let mut backoff = Backoff::default();
        backoff.next(Failure::Dropped, Some(60 * SECOND), 0.999);
        let all = attempts(&mut backoff, Failure::Absent, 0.999);
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] <= 2 * SECOND), "{all:?}");
        let waits = [0.0, 0.5].map(|jitter| backoff.next(Failure::Absent, None, jitter).as_millis());
        assert_eq!(waits, [1_000, 1_500]);
    }

    #[test]
    fn row_42_a_name_that_is_not_found_is_looked_up_ever_less_often_and_each_quarter_of_a_minute() {
        for jitter in [0.0, 0.5, 0.999] {
            let mut backoff = Backoff::default();
            let first = attempts(&mut backoff, Failure::Unnamed, jitter);
            let later = attempts(&mut backoff, Failure::Unnamed, jitter);
            assert!(first.len() <= 12 && later.len() <= 9, "{} and {} look-ups", first.len(), later.len());
            assert!(later.windows(2).all(|pair| pair[1] - pair[0] <= 15 * SECOND), "{later:?}");
        }
    }

    #[test]
    fn a_broker_that_drops_us_is_tried_ever_less_often_until_a_connection_was_stable() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(Failure::Dropped, Some(SECOND), 0.5).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
        assert_eq!(backoff.next(Failure::Dropped, Some(30 * SECOND), 0.5).as_millis(), 250);
    }

    #[test]
    fn row_05_a_wrong_password_is_tried_at_most_twice_a_minute() {
        assert_eq!(Backoff::default().next(Failure::Login, None, 0.0), 30 * SECOND);
        assert_eq!(Backoff::default().next(Failure::Login, None, 0.5), 45 * SECOND);
    }
}
