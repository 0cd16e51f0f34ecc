//! The place of one medium in the loop that a virtual camera plays.

use std::time::{Duration, Instant};

/// A medium that is further behind than this leaves out what it missed, as an encoder does.
const TOO_LATE: Duration = Duration::from_millis(500);

/// Which of its packets is next, and when that one is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Track {
    pub(crate) next: u64,
    pub(crate) due: Instant,
}

impl Track {
    pub(crate) fn begin(now: Instant) -> Self {
        Self { next: 0, due: now }
    }

    /// The next one and when it was due, if that is by `now`; skips what is hopelessly late.
    pub(crate) fn take(&mut self, now: Instant, interval: Duration) -> Option<(u64, Instant)> {
        if now < self.due {
            return None;
        }
        if now > self.due + TOO_LATE {
            self.due = now;
        }
        let taken = (self.next, self.due);
        self.next += 1;
        self.due += interval;
        Some(taken)
    }
}
