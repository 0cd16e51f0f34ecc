//! The only place that reads the machine's clocks. Both readings move with tokio's paused test time,
//! so that a seven-day expiry can be tested in milliseconds.

use std::time::SystemTime;

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

/// The wall clock as RFC 3339 in UTC with milliseconds, as MQTT payloads and the API carry it.
pub fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn wall_clock_moves_with_paused_time() {
        let before = unix_now();
        tokio::time::advance(Duration::from_secs(7 * 86_400)).await;
        let moved = unix_now().duration_since(before).expect("the clock went forward");
        assert!(moved >= Duration::from_secs(7 * 86_400 - 1), "the wall clock moved only {moved:?}");
    }
}
