//! How many more requests Wyze grants, and when to leave it alone (wyze-cloud reference §1, row 15 of the fault
//! matrix).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::Host;
use super::error::CloudError;
use crate::clock::{self, Instant};
use crate::model::RateLimit;
use crate::net::http::{self, Answer};

/// So many requests are kept for what cannot wait.
const RESERVE: u32 = 10;
/// Where a limit is told without its end.
const USUAL: Duration = Duration::from_secs(60);
/// Whatever a server asks for.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Whether a request can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    Usual,
    /// A door, or the second step of what was begun: may use up the reserve.
    Urgent,
}

pub(super) struct Limits {
    held: Mutex<HashMap<Host, Held>>,
    told: watch::Sender<Option<RateLimit>>,
}

#[derive(Clone, Copy)]
struct Held {
    until: Instant,
    why: Why,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Only the reserve is left.
    Reserve,
    /// HTTP 429.
    Limited,
    /// HTTP 403 and a page for people.
    Blocked,
}

impl Limits {
    pub(super) fn new() -> Self {
        Self { held: Mutex::default(), told: watch::Sender::new(None) }
    }

    pub(super) fn told(&self) -> watch::Receiver<Option<RateLimit>> {
        self.told.subscribe()
    }

    /// # Errors
    /// `Limited` or `Blocked` while `host` must be left alone.
    pub(super) fn admit(&self, host: Host, urgency: Urgency) -> Result<(), CloudError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Held { until, why }) = held.get(&host).copied() else { return Ok(()) };
        let wait = until.saturating_duration_since(clock::now());
        if wait.is_zero() {
            held.remove(&host);
            return Ok(());
        }
        match why {
            Why::Reserve if urgency == Urgency::Urgent => Ok(()),
            Why::Reserve | Why::Limited => Err(CloudError::Limited(wait)),
            Why::Blocked => Err(CloudError::Blocked(wait)),
        }
    }

    /// Learns from an answer of `host` and from what it was taken for. `now` is the server's time.
    pub(super) fn note(&self, host: Host, answer: &Answer, outcome: Option<&CloudError>, now: SystemTime) {
        let remaining = answer.header("x-ratelimit-remaining").and_then(|text| text.trim().parse().ok());
        if let Some(remaining) = remaining {
            let resets_at = now + resets_in(answer, now).unwrap_or(USUAL);
            self.tell(RateLimit { remaining, resets_at });
        }
        let hold = match outcome {
            Some(CloudError::Blocked(wait)) => Some((*wait, Why::Blocked)),
            Some(CloudError::Limited(wait)) => Some((*wait, Why::Limited)),
            _ if remaining.is_some_and(|remaining| remaining <= RESERVE) => Some((pause(answer, now), Why::Reserve)),
            _ => None,
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match hold {
            Some((wait, why)) => drop(held.insert(host, Held { until: clock::now() + wait, why })),
            None if remaining.is_some() => drop(held.remove(&host)),
            None => {}
        }
    }

    fn tell(&self, limit: RateLimit) {
        self.told.send_if_modified(|told| {
            let news = *told != Some(limit);
            *told = Some(limit);
            news
        });
    }
}

/// How long the server of `answer` wants to be left alone, at most an hour.
pub(super) fn pause(answer: &Answer, now: SystemTime) -> Duration {
    let asked = answer.retry_after(now).max(resets_in(answer, now));
    asked.filter(|wait| !wait.is_zero()).unwrap_or(USUAL).min(LONGEST)
}

/// `X-RateLimit-Reset-By`: `Sat Oct 12 19:50:31 GMT 2024`, any other date, or seconds.
fn resets_in(answer: &Answer, now: SystemTime) -> Option<Duration> {
    let text = answer.header("x-ratelimit-reset-by")?.trim();
    let wait = match (text.parse::<u64>(), http::date(text)) {
        // A number so large counts from 1970.
        (Ok(seconds @ 1_000_000_000..), _) => {
            (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(1 << 40))).duration_since(now).unwrap_or_default()
        }
        (Ok(seconds), _) => Duration::from_secs(seconds),
        (Err(_), Some(date)) => date.duration_since(now).unwrap_or_default(),
        (Err(_), None) => return None,
    };
    Some(wait.min(LONGEST))
}
