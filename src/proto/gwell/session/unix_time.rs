//! The wall clock of a session: told once, and carried on by the instants it is handed.

use std::time::Instant;

#[derive(Clone, Copy)]
pub(super) struct UnixTime {
    told: Instant,
    ms: u64,
}

impl UnixTime {
    pub(super) fn new(told: Instant, ms: u64) -> Self {
        Self { told, ms }
    }

    pub(super) fn ms(&self, now: Instant) -> u64 {
        self.ms.wrapping_add(now.saturating_duration_since(self.told).as_millis() as u64)
    }

    /// KCP's clock, which wraps every 49.7 days (reference §7).
    pub(super) fn kcp_ms(&self, now: Instant) -> u32 {
        self.ms(now) as u32
    }
}
