//! Living again after a life ended: how long to wait, and when not to try at all.

use std::time::Duration;

/// Whether trying again can help. The error knows, not its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Sooner or later it will.
    Backoff,
    /// The same, and it is soon known: asking whether it is there costs nobody anything.
    Nearby,
    /// Not before this has passed: a server said so.
    After(Duration),
    /// After a new login.
    Reauthenticate,
    /// Not until the owner has done something.
    WaitForUser,
}

/// Waits of 1 s doubling to 60 s, each ±50 %, beginning anew after 60 s of health (ARCHITECTURE.md §9).
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::of(Duration::from_secs(1))
    }
}

impl Backoff {
    /// In so many first waits.
    const LONGEST: u32 = 60;
    const HEALTHY_AFTER: Duration = Duration::from_secs(60);

    /// With another first wait.
    pub fn of(first: Duration) -> Self {
        Self { first, failures: 0 }
    }

    /// How long to wait after a life that lasted `lived`. `jitter` is a random number in `0.0..1.0`.
    pub fn next(&mut self, lived: Duration, jitter: f64) -> Duration {
        if lived >= Self::HEALTHY_AFTER {
            self.failures = 0;
        }
        let doubled = 1 << self.failures.min(6);
        self.failures = self.failures.saturating_add(1);
        self.first.saturating_mul(doubled.min(Self::LONGEST)).mul_f64(0.5 + jitter)
    }
}

/// A random number in `0.0..1.0`; without randomness all wait alike, which harms nobody.
pub fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_minute_and_begin_anew_after_health() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.next(Duration::ZERO, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.next(Duration::from_secs(61), 0.5).as_secs(), 1);
    }

    #[test]
    fn jitter_is_half_either_way() {
        assert_eq!(Backoff::default().next(Duration::ZERO, 0.0), Duration::from_millis(500));
        assert!(Backoff::default().next(Duration::ZERO, 0.999) < Duration::from_millis(1_500));
    }
}
