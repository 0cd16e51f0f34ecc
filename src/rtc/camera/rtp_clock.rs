//! From a stream's RTP timestamps to the clock that its call has.

use std::time::Duration;

/// One medium's ticks on the clock of the call, which began with it. Timestamps begin anywhere, so the first packet
/// stands where it arrived; from then on the ticks count, so that jitter of the way is not passed on.
///
/// Picture and sound are in step as well as they arrived together: sender reports are not looked at.
#[derive(Debug)]
pub(crate) struct RtpClock {
    rate_hz: u32,
    anchor: Option<Anchor>,
    last: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    /// Of the newest packet.
    timestamp: u32,
    /// Its ticks since the anchor was set.
    ticks: i64,
    /// Where the anchor stands.
    at: Duration,
}

impl RtpClock {
    /// Further off from when it arrived than this, a packet is of a clock that began anew.
    const TOLERANCE: Duration = Duration::from_secs(2);

    pub(crate) fn new(rate_hz: u32) -> Self {
        Self { rate_hz, anchor: None, last: Duration::ZERO }
    }

    /// For a stream of which is known what timestamp the call's beginning has. A start that proves wrong is forgotten.
    pub(crate) fn starting(rate_hz: u32, timestamp: u32) -> Self {
        Self { anchor: Some(Anchor { timestamp, ticks: 0, at: Duration::ZERO }), ..Self::new(rate_hz) }
    }

    /// When what has this timestamp is to be shown. Never goes back. `arrived` is since the call began.
    pub(crate) fn place(&mut self, timestamp: u32, arrived: Duration) -> Duration {
        let at = self.by_ticks(timestamp).filter(|at| at.abs_diff(arrived) <= Self::TOLERANCE);
        let at = at.unwrap_or_else(|| {
            self.anchor = Some(Anchor { timestamp, ticks: 0, at: arrived });
            arrived
        });
        self.last = self.last.max(at);
        self.last
    }

    fn by_ticks(&mut self, timestamp: u32) -> Option<Duration> {
        let anchor = self.anchor.as_mut()?;
        anchor.ticks += i64::from(timestamp.wrapping_sub(anchor.timestamp) as i32);
        anchor.timestamp = timestamp;
        let since =
            Duration::from_micros(anchor.ticks.unsigned_abs().saturating_mul(1_000_000) / u64::from(self.rate_hz));
        if anchor.ticks < 0 { anchor.at.checked_sub(since) } else { anchor.at.checked_add(since) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn ticks_count_and_jitter_does_not_also_over_the_end_of_the_numbers() {
        let mut clock = RtpClock::new(90_000);
        let start = u32::MAX - 10_000;
        for n in 0..100_u64 {
            let placed = clock.place(start.wrapping_add(n as u32 * 4_500), ms(500 + 50 * n + n * 7 % 40));
            assert_eq!(placed, ms(500 + 50 * n));
        }
    }

    #[test]
    fn a_clock_that_leaps_is_taken_up_where_it_arrives() {
        let mut clock = RtpClock::new(8_000);
        assert_eq!(clock.place(1_000, ms(0)), ms(0));
        assert_eq!(clock.place(90_000_000, ms(20)), ms(20));
        assert_eq!(clock.place(90_000_160, ms(45)), ms(40));
    }

    #[test]
    fn picture_and_sound_that_began_together_stay_together_however_late_one_comes() {
        let (mut picture, mut sound) = (RtpClock::starting(90_000, 700), RtpClock::starting(48_000, 9));
        assert_eq!(picture.place(700 + 90_000, ms(1_300)), ms(1_000));
        assert_eq!(sound.place(9 + 48_000, ms(1_010)), ms(1_000));
        let mut wrong = RtpClock::starting(90_000, 0);
        assert_eq!(wrong.place(900_000_000, ms(20)), ms(20), "a start that no clock can have had");
    }

    #[test]
    fn it_never_goes_back() {
        let mut clock = RtpClock::new(90_000);
        assert_eq!(clock.place(9_000, ms(100)), ms(100));
        assert_eq!(clock.place(0, ms(110)), ms(100));
        assert_eq!(clock.place(13_500, ms(150)), ms(150));
    }
}
