//! One signed question to AWS and its answer, asked at the time that it is at AWS.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use url::Url;

use super::credentials::Credentials;
use super::error::{self, Action, AwsError, Refusal};
use crate::clock::{self, Instant};
use crate::net::http::{self, Answer, Client, Method, Request};
use crate::proto::kvs::sigv4::{self, Scope};

/// A question.
pub(super) struct Call<'a> {
    pub(super) action: Action,
    /// `kinesisvideo`, `iot`, `sts`
    pub(super) service: &'static str,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: &'a str,
}

/// Asks.
pub(super) struct Caller {
    http: Client,
    region: String,
    skew: Skew,
    /// Until when AWS wants not to be asked, and for what: its limits are for each action.
    held: Mutex<HashMap<Action, Instant>>,
}

impl Caller {
    pub(super) fn new(http: Client, region: String) -> Self {
        Self { http, region, skew: Skew::default(), held: Mutex::default() }
    }

    /// The time at AWS.
    pub(super) fn now(&self) -> SystemTime {
        self.skew.now()
    }

    pub(super) fn skew(&self) -> &Skew {
        &self.skew
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Asks, and once more if only the clock was wrong.
    ///
    /// # Errors
    /// [`AwsError`], for every answer that is no success; `Throttled` also, without asking, for as long as AWS has said.
    pub(super) async fn ask(&self, call: &Call<'_>, credentials: &Credentials) -> Result<Answer, AwsError> {
        if let Some(wait) = self.wait(call.action) {
            return Err(AwsError::Throttled { action: call.action, wait: Some(wait) });
        }
        let outcome = self.ask_now(call, credentials).await;
        if let Err(AwsError::Throttled { action, wait: Some(wait) }) = &outcome {
            self.held().insert(*action, clock::now() + *wait);
        }
        outcome
    }

    fn wait(&self, action: Action) -> Option<Duration> {
        let until = self.held().get(&action).copied()?;
        Some(until.saturating_duration_since(clock::now())).filter(|wait| !wait.is_zero())
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Action, Instant>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_now(&self, call: &Call<'_>, credentials: &Credentials) -> Result<Answer, AwsError> {
        let (answer, skewed) = self.ask_once(call, credentials).await?;
        match skewed {
            true => self.ask_once(call, credentials).await.and_then(|(answer, _)| self.judged(call.action, answer)),
            false => self.judged(call.action, answer),
        }
    }

    /// The answer, and whether it is a refusal that a clock which is now right may have been the reason of.
    async fn ask_once(&self, call: &Call<'_>, credentials: &Credentials) -> Result<(Answer, bool), AwsError> {
        let request = self.signed(call, credentials);
        let answer = self.http.send(request).await.map_err(AwsError::Unreachable)?;
        let refusal = (!answer.is_success()).then(|| Refusal::read(&answer));
        let of_the_clock = refusal.as_ref().is_some_and(Refusal::is_of_the_clock);
        let moved = answer.date().is_some_and(|date| self.skew.learn(date, of_the_clock));
        let of_the_keys = refusal.as_ref().is_some_and(Refusal::is_of_the_keys);
        Ok((answer, moved && (of_the_clock || of_the_keys)))
    }

    fn judged(&self, action: Action, answer: Answer) -> Result<Answer, AwsError> {
        if answer.is_success() {
            return Ok(answer);
        }
        Err(Refusal::read(&answer).error(action, error::wait(&answer, self.now())))
    }

    fn signed(&self, call: &Call<'_>, credentials: &Credentials) -> Request {
        let (host, amz_date) = (http::host(&call.url), self.skew.amz_date());
        let mut headers = vec![("host", &*host)];
        headers.extend(call.content_type.map(|kind| ("content-type", kind)));
        let request = sigv4::Request {
            method: call.method.as_str(),
            path: call.url.path(),
            query: call.url.query().unwrap_or_default(),
            headers: &headers,
            body: call.body.as_bytes(),
        };
        let scope = Scope { region: &self.region, service: call.service, amz_date: &amz_date };
        let authorization = sigv4::authorization(&request, &credentials.keys(), &scope);
        let mut signed = Request::new(call.method.clone(), call.url.clone())
            .header("x-amz-date", &amz_date)
            .header("authorization", &authorization)
            .body(call.body.to_owned());
        if let Some(token) = &credentials.session_token {
            signed = signed.header("x-amz-security-token", token.expose());
        }
        match call.content_type {
            Some(kind) => signed.header("content-type", kind),
            None => signed,
        }
    }
}

/// How far the time at AWS is ahead of this machine's. Boxes without a battery boot in the past, and AWS refuses what
/// is signed five minutes off.
#[derive(Debug, Default)]
pub(super) struct Skew {
    ahead_s: AtomicI64,
}

impl Skew {
    /// What AWS puts up with (kvs reference §2).
    const TOLERATED_S: u64 = 5 * 60;

    pub(super) fn now(&self) -> SystemTime {
        let (ahead_s, here) = (self.ahead_s.load(Ordering::Relaxed), clock::unix_now());
        let ahead = Duration::from_secs(ahead_s.unsigned_abs());
        let there = if ahead_s < 0 { here.checked_sub(ahead) } else { here.checked_add(ahead) };
        there.unwrap_or(here)
    }

    pub(super) fn amz_date(&self) -> String {
        sigv4::amz_date(seconds(self.now()))
    }

    /// What an answer's `Date` says of the clock. Whether the clock has been corrected by it: when it is more than
    /// five minutes off, or `refused` says that it is off by too much.
    pub(super) fn learn(&self, date: SystemTime, refused: bool) -> bool {
        let (there, supposed, here) = (seconds(date), seconds(self.now()), clock::unix_seconds());
        let off_s = there.abs_diff(supposed);
        if off_s <= Self::TOLERATED_S && !(refused && off_s > 0) {
            return false;
        }
        let ahead_s = there.cast_signed().saturating_sub(here.cast_signed());
        tracing::warn!(ahead_s, "this machine's clock is not AWS's; AWS's is used for AWS");
        self.ahead_s.store(ahead_s, Ordering::Relaxed);
        true
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_39_a_clock_is_corrected_when_it_is_off_by_more_than_aws_tolerates() {
        let skew = Skew::default();
        let in_seconds =
            |s: i64| UNIX_EPOCH + Duration::from_secs(clock::unix_seconds().checked_add_signed(s).unwrap());
        assert!(!skew.learn(in_seconds(290), false), "within what is tolerated");
        assert!(skew.learn(in_seconds(-7_200), false), "two hours fast");
        assert!(seconds(skew.now()).abs_diff(clock::unix_seconds() - 7_200) <= 1);
        assert!(!skew.learn(in_seconds(-7_190), false), "it is known already");
        assert!(skew.learn(in_seconds(0), false), "the machine has been told the time meanwhile");
        assert!(skew.learn(in_seconds(60), true), "this service tolerates less");
        assert!(!skew.learn(skew.now(), true), "another reason");
    }

    #[test]
    fn a_date_at_the_end_of_time_is_survived() {
        let skew = Skew::default();
        skew.learn(UNIX_EPOCH + Duration::from_secs(253_402_300_799), false);
        assert_eq!(&skew.amz_date()[..4], "9999");
        skew.learn(UNIX_EPOCH, false);
        assert_eq!(&skew.amz_date()[..4], "1970");
    }
}
