//! The only place that reads the machine's clocks. Both readings move with tokio's paused test time,
//! so that a seven-day expiry can be tested in milliseconds.

use std::time::{Duration, SystemTime};

pub use tokio::time::Instant;

/// The monotonic clock.
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, shifted by however far paused test time has been advanced.
#[expect(clippy::disallowed_methods, reason = "this module is where the clocks are read")]
pub fn unix_now() -> SystemTime {
    let wall = SystemTime::now();
    let real = std::time::Instant::now();
    let shown = Instant::now().into_std();
    match shown.checked_duration_since(real) {
        Some(ahead) => wall + ahead,
        None => wall - real.duration_since(shown),
    }
}

/// The seconds since 1970, which clouds count in.
pub fn unix_seconds() -> u64 {
    unix_now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A time as RFC 3339 in UTC with milliseconds, as MQTT payloads and the API carry it. Clouds may name any time: what
/// the format cannot say is told as the first or the last moment that it can.
pub fn rfc3339(at: SystemTime) -> String {
    const END_OF_9999: Duration = Duration::from_millis(253_402_300_799_999);
    let since_1970 = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(END_OF_9999);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since_1970).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_the_format_cannot_say_is_told_as_near_as_it_can() {
        let since_1970 = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        for (at, told) in [
            (since_1970(1_763_712_000_123), "2025-11-21T08:00:00.123Z"),
            // A cloud that counts in microseconds, and one that sends the largest number there is.
            (since_1970(1_763_712_000_123_000), "9999-12-31T23:59:59.999Z"),
            (since_1970(u64::MAX), "9999-12-31T23:59:59.999Z"),
            (SystemTime::UNIX_EPOCH - Duration::from_secs(1), "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(at), told);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wall_clock_moves_with_paused_time() {
        let before = unix_now();
        tokio::time::advance(Duration::from_secs(7 * 86_400)).await;
        let moved = unix_now().duration_since(before).expect("the clock went forward");
        assert!(moved >= Duration::from_secs(7 * 86_400 - 1), "the wall clock moved only {moved:?}");
    }
}
