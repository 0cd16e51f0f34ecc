//! Credentials that are kept: renewed at 80 % of their life and five minutes early at the latest, by one call for all who
//! ask. While that fails, the old ones are used for as long as they are good.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Credentials;
use crate::aws::AwsError;
use crate::clock::{self, Instant};
use crate::net::supervise::{Backoff, jitter};

/// Credentials of now, or none yet.
#[derive(Default)]
pub(super) struct Kept {
    held: Mutex<Option<Held>>,
    /// Locked by whoever renews; the others wait for the outcome, unless what is held is still good.
    renewal: tokio::sync::Mutex<Renewal>,
}

/// Fresh from where they come from.
pub(super) struct Given {
    pub(super) credentials: Credentials,
    /// `None`: for good.
    pub(super) life: Option<Duration>,
}

struct Held {
    credentials: Credentials,
    since: Instant,
    term: Option<Term>,
    /// AWS does not take them.
    refused: bool,
}

#[derive(Debug, Clone, Copy)]
struct Term {
    /// To be renewed from then on.
    due: Instant,
    end: Instant,
}

/// How renewing goes.
#[derive(Default)]
struct Renewal {
    /// Why the last one failed, and when to try again.
    failed: Option<(AwsError, Instant)>,
    backoff: Backoff,
}

impl Kept {
    /// Credentials that are good, if need be those that `renew` gives.
    ///
    /// # Errors
    /// That of `renew`, when there are no good ones. After a failure it is left alone for a while, in which the same
    /// error is told again.
    pub(super) async fn get(
        &self,
        renew: impl AsyncFnOnce() -> Result<Given, AwsError>,
    ) -> Result<Credentials, AwsError> {
        if let Some(fresh) = self.held(Held::is_fresh) {
            return Ok(fresh);
        }
        let mut renewal = match (self.renewal.try_lock(), self.held(Held::is_good)) {
            (Ok(renewal), _) => renewal,
            (Err(_), Some(good)) => return Ok(good),
            (Err(_), None) => self.renewal.lock().await,
        };
        // Whoever was before us may have renewed them, or have failed to.
        if let Some(fresh) = self.held(Held::is_fresh) {
            return Ok(fresh);
        }
        let error = match renewal.failed.clone().filter(|(_, again)| clock::now() < *again) {
            Some((error, _)) => error,
            None => match renew().await {
                Ok(given) => return Ok(self.hold(&mut renewal, given)),
                Err(error) => renewal.fail(error),
            },
        };
        self.held(Held::is_good).ok_or(error)
    }

    /// AWS does not take `credentials`. Whether others can be had.
    pub(super) fn refused(&self, credentials: &Credentials) -> bool {
        let mut held = self.lock();
        let is_held = |held: &&mut Held| held.credentials.access_key_id == credentials.access_key_id;
        match held.as_mut().filter(is_held) {
            Some(held) if held.term.is_some() => {
                held.refused = true;
                !held.is_fresh()
            }
            Some(_) => false,
            // Somebody has renewed them meanwhile.
            None => true,
        }
    }

    fn hold(&self, renewal: &mut Renewal, given: Given) -> Credentials {
        *renewal = Renewal::default();
        let now = clock::now();
        let term = given.life.map(|life| Term { due: now + fresh_for(life), end: now + life });
        let credentials = given.credentials.clone();
        *self.lock() = Some(Held { credentials: given.credentials, since: now, term, refused: false });
        credentials
    }

    fn held(&self, fits: impl Fn(&Held) -> bool) -> Option<Credentials> {
        self.lock().as_ref().filter(|held| fits(held)).map(|held| held.credentials.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// New ones are believed in for so long, refused or not: others would not be taken either.
    const TRIED_FOR: Duration = Duration::from_secs(30);

    fn is_fresh(&self) -> bool {
        let is_due = self.term.is_some_and(|term| clock::now() >= term.due);
        let is_given_up = self.refused && clock::now() >= self.since + Self::TRIED_FOR;
        !is_due && !is_given_up
    }

    fn is_good(&self) -> bool {
        !self.refused && self.term.is_none_or(|term| clock::now() < term.end)
    }
}

impl Renewal {
    fn fail(&mut self, error: AwsError) -> AwsError {
        let wait = match &error {
            AwsError::Throttled { wait: Some(wait), .. } => *wait,
            _ => self.backoff.next(Duration::ZERO, jitter()),
        };
        self.failed = Some((error.clone(), clock::now() + wait));
        error
    }
}

/// How long they need no renewal.
fn fresh_for(life: Duration) -> Duration {
    const MARGIN: Duration = Duration::from_secs(5 * 60);
    (life * 4 / 5).min(life.saturating_sub(MARGIN)).max(life / 2)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::secret::{Password, Token};

    const HOUR: Duration = Duration::from_secs(3_600);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Gives credentials with a number, each good for an hour, and fails while it is told to.
    #[derive(Default)]
    struct Giver {
        kept: Kept,
        asked: AtomicU64,
        failing: std::sync::atomic::AtomicBool,
    }

    impl Giver {
        async fn get(&self) -> Result<String, AwsError> {
            let renew = async || {
                sleep(Duration::from_millis(100)).await;
                let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
                if self.failing.load(Ordering::SeqCst) {
                    return Err(AwsError::Skew);
                }
                Ok(Given { credentials: numbered(number), life: Some(HOUR) })
            };
            self.kept.get(renew).await.map(|credentials| credentials.access_key_id)
        }

        fn asked(&self) -> u64 {
            self.asked.load(Ordering::SeqCst)
        }

        fn fail(&self, failing: bool) {
            self.failing.store(failing, Ordering::SeqCst);
        }
    }

    fn numbered(number: u64) -> Credentials {
        let (secret_access_key, session_token) = (Password::new("secret"), Some(Token::new("token")));
        Credentials { access_key_id: number.to_string(), secret_access_key, session_token }
    }

    #[tokio::test(start_paused = true)]
    async fn row_17_all_who_ask_are_served_by_one_renewal_at_80_percent_of_a_life() {
        let giver = Giver::default();
        for got in join_all((0..10).map(|_| giver.get())).await {
            assert_eq!(got.unwrap(), "1");
        }
        assert_eq!(giver.asked(), 1);
        advance(47 * MINUTE).await;
        assert_eq!(giver.get().await.unwrap(), "1");
        advance(MINUTE).await;
        let all: Vec<String> = join_all((0..10).map(|_| giver.get())).await.into_iter().map(Result::unwrap).collect();
        assert!(all.contains(&"2".to_owned()), "{all:?}");
        assert_eq!(giver.asked(), 2, "more than one renewal");
        assert_eq!(giver.get().await.unwrap(), "2");
    }

    #[tokio::test(start_paused = true)]
    async fn old_ones_are_used_while_they_are_good_and_nothing_can_be_renewed() {
        let giver = Giver::default();
        giver.get().await.unwrap();
        giver.fail(true);
        advance(56 * MINUTE).await;
        assert_eq!(giver.get().await.unwrap(), "1");
        assert_eq!(giver.asked(), 2);
        for _ in 0..50 {
            assert_eq!(giver.get().await.unwrap(), "1");
        }
        assert_eq!(giver.asked(), 2, "it is not left alone after a failure");
        advance(5 * MINUTE).await;
        assert_eq!(giver.get().await, Err(AwsError::Skew));
        let asked = giver.asked();
        for outcome in join_all((0..50).map(|_| giver.get())).await {
            assert_eq!(outcome, Err(AwsError::Skew));
        }
        assert_eq!(giver.asked(), asked, "everybody asks for himself");
        giver.fail(false);
        advance(2 * MINUTE).await;
        assert_eq!(giver.get().await.unwrap(), (asked + 1).to_string());
    }

    #[tokio::test(start_paused = true)]
    async fn refused_ones_are_renewed_but_not_again_and_again() {
        let giver = Giver::default();
        giver.get().await.unwrap();
        assert!(!giver.kept.refused(&numbered(1)), "they are new: others would be refused too");
        assert_eq!(giver.get().await.unwrap(), "1");
        advance(MINUTE).await;
        assert!(giver.kept.refused(&numbered(1)));
        assert_eq!(giver.get().await.unwrap(), "2");
        assert!(giver.kept.refused(&numbered(1)), "there are new ones already");
        assert_eq!(giver.get().await.unwrap(), "2");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_for_good_are_asked_for_once() {
        let kept = Kept::default();
        let renew = async || Ok(Given { credentials: numbered(1), life: None });
        kept.get(renew).await.unwrap();
        advance(1_000 * HOUR).await;
        assert!(!kept.refused(&numbered(1)), "there are no others");
        let renew = async || panic!("they do not expire");
        assert_eq!(kept.get(renew).await.unwrap().access_key_id, "1");
    }

    #[test]
    fn the_shortest_life_does_not_make_every_call_a_renewal() {
        for (life_s, fresh_s) in [(43_200, 34_560), (3_600, 2_880), (900, 600), (600, 300), (120, 60), (60, 30)] {
            assert_eq!(fresh_for(Duration::from_secs(life_s)), Duration::from_secs(fresh_s));
        }
    }
}
