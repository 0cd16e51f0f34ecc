//! A cloud's clock, for what is signed and judged by the time (row 39 of the fault matrix).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::clock::{self, Instant};

/// Our clock counts as right when it is no further off than this.
const TOLERANCE: Duration = Duration::from_secs(30);

/// What the `Date` of the last answer said, and when that was. Held against the monotonic clock, so that setting
/// this machine's clock changes nothing.
#[derive(Default)]
pub(super) struct ServerTime(Mutex<Option<(SystemTime, Instant)>>);

impl ServerTime {
    pub(super) fn note(&self, date: Option<SystemTime>) {
        if let Some(date) = date {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, clock::now()));
        }
    }

    /// Our own time, unless it is wrong.
    pub(super) fn now(&self) -> SystemTime {
        let ours = clock::unix_now();
        let noted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(theirs) = noted.and_then(|(date, at)| date.checked_add(at.elapsed())) else { return ours };
        let off = ours.duration_since(theirs).unwrap_or_else(|behind| behind.duration());
        if off > TOLERANCE { theirs } else { ours }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn apart(one: SystemTime, other: SystemTime) -> Duration {
        one.duration_since(other).unwrap_or_else(|behind| behind.duration())
    }

    #[tokio::test(start_paused = true)]
    async fn row_39_a_clock_that_is_a_day_off_is_corrected_and_a_good_one_kept() {
        let time = ServerTime::default();
        for wrong in [clock::unix_now() + DAY, clock::unix_now() - DAY, SystemTime::UNIX_EPOCH + DAY] {
            time.note(Some(wrong));
            tokio::time::advance(Duration::from_secs(600)).await;
            assert!(apart(time.now(), wrong + Duration::from_secs(600)) < Duration::from_secs(2));
            // An answer without a date changes nothing.
            time.note(None);
            assert!(apart(time.now(), clock::unix_now()) > DAY / 2);
        }
        time.note(Some(clock::unix_now() - Duration::from_secs(20)));
        assert!(apart(time.now(), clock::unix_now()) < Duration::from_secs(2));
    }
}
