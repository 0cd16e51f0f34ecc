//! The account's tokens: kept, renewed before they expire, and by one call for all that wait (vivint reference §2).
//!
//! Tokens that are due are refreshed. When the refresh token is worth nothing any more there is one login, if there is
//! a password for it; the budget of logins in [`Kept`] says when.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tracing::Instrument;

use super::Inner;
use super::error::CloudError;
use super::kept::{Kept, KeptTokens};
use super::login::{PendingCode, Step};
use crate::clock::{self, Instant};
use crate::net::supervise::{Backoff, jitter};
use crate::proto::vivint::login::{lifetime, one_time_code};
use crate::secret::{Password, Token};
use crate::store::Store;

/// One set of tokens, as a login or a refresh gives it.
pub(super) struct Tokens {
    pub(super) access: Token,
    /// Whom Vivint says that we are. The access token where it does not.
    pub(super) id: Token,
    pub(super) refresh: Token,
    /// How long the first two are good.
    pub(super) life: Duration,
}

impl Tokens {
    /// Taken for expired so long before they are.
    const MARGIN: Duration = Duration::from_secs(30);
    /// Where nobody says how long they live.
    const USUAL_LIFE: u64 = 3_600;
    /// Whatever is said: not so short that every call renews them, nor longer than a clock can count.
    const LIVES: RangeInclusive<u64> = 10..=24 * 3_600;

    /// `refreshed` is what was given for them, and stays good when there is no other in its place. `now` is Vivint's
    /// time, in seconds since 1970.
    pub(super) fn read(reply: &Value, refreshed: Option<&Token>, now: u64) -> Result<Self, CloudError> {
        let token =
            |key: &str| reply.get(key).and_then(Value::as_str).filter(|token| !token.is_empty()).map(Token::new);
        let (Some(access), Some(refresh)) =
            (token("access_token"), token("refresh_token").or_else(|| refreshed.cloned()))
        else {
            return Err(CloudError::Misunderstood("a login without a token".to_owned()));
        };
        let id = token("id_token").unwrap_or_else(|| access.clone());
        let said = reply.get("expires_in").and_then(Value::as_u64);
        let claimed = lifetime(id.expose(), now);
        let life = said.into_iter().chain(claimed).min().unwrap_or(Self::USUAL_LIFE);
        let life = life.clamp(*Self::LIVES.start(), *Self::LIVES.end());
        Ok(Self { access, id, refresh, life: Duration::from_secs(life) })
    }

    /// As they were kept by an earlier run, when they are good for so many seconds more.
    pub(super) fn kept(access: Token, id: Token, refresh: Token, left: u64) -> Self {
        Self { access, id, refresh, life: Duration::from_secs(left.min(*Self::LIVES.end())) }
    }

    /// How long they need no renewal (row 17 of the fault matrix).
    fn fresh_for(&self) -> Duration {
        self.life * 4 / 5
    }

    /// How long they are used while there are no others.
    fn good_for(&self) -> Duration {
        self.life.saturating_sub(Self::MARGIN).max(self.fresh_for())
    }
}

pub(super) struct Session {
    held: Mutex<Option<Held>>,
    /// Locked by whoever renews; everybody else waits for the outcome.
    renewal: tokio::sync::Mutex<Renewal>,
}

/// The tokens that calls are made with.
struct Held {
    tokens: Arc<Tokens>,
    /// When they should be renewed, though they are still good,
    due: Instant,
    /// and when they are good no more.
    end: Instant,
    /// Whether the cloud has refused them.
    refused: bool,
}

impl Held {
    fn new(tokens: Tokens) -> Self {
        let now = clock::now();
        let (due, end) = (now + tokens.fresh_for(), now + tokens.good_for());
        Self { tokens: Arc::new(tokens), due, end, refused: false }
    }
}

struct Renewal {
    kept: Kept,
    /// Another process owns the stored tokens: refreshing them here would take them away from it.
    borrowed: bool,
    code: Option<PendingCode>,
    /// Its owner must see to the login first.
    given_up: bool,
    /// Why the last renewal failed, and when to try again.
    failed: Option<(CloudError, Instant)>,
    backoff: Backoff,
}

impl Session {
    pub(super) fn new(kept: Kept, store: &Store) -> Self {
        let held = kept.tokens().map(|kept| Held::new(kept.read()));
        let borrowed = store.is_read_only();
        let renewal =
            Renewal { kept, borrowed, code: None, given_up: false, failed: None, backoff: Backoff::default() };
        Self { held: Mutex::new(held), renewal: tokio::sync::Mutex::new(renewal) }
    }

    /// Tokens that need no renewal.
    fn fresh(&self) -> Option<Arc<Tokens>> {
        let held = self.held();
        held.as_ref().filter(|held| !held.refused && clock::now() < held.due).map(|held| held.tokens.clone())
    }

    /// The cloud does not take `tokens`.
    pub(super) fn refused(&self, tokens: &Arc<Tokens>) {
        if let Some(held) = self.held().as_mut().filter(|held| Arc::ptr_eq(&held.tokens, tokens)) {
            held.refused = true;
        }
    }

    /// The login is worth nothing without its owner. This process tries no other; the next one makes a new login.
    pub(super) async fn give_up(&self) {
        let mut renewal = self.renewal.lock().await;
        renewal.given_up = true;
        *self.held() = None;
        if !renewal.borrowed {
            renewal.kept.forget_tokens();
        }
    }

    /// Tokens that are still good, though they are due.
    fn usable(&self) -> Option<Arc<Tokens>> {
        let held = self.held();
        held.as_ref().filter(|held| !held.refused && clock::now() < held.end).map(|held| held.tokens.clone())
    }

    fn held_tokens(&self) -> Option<Arc<Tokens>> {
        self.held().as_ref().map(|held| held.tokens.clone())
    }

    /// From now on calls are made with these. On the disk first.
    fn install(&self, renewal: &mut Renewal, tokens: Tokens) -> Arc<Tokens> {
        renewal.kept.keep_tokens(KeptTokens::new(&tokens));
        (renewal.failed, renewal.code, renewal.backoff) = (None, None, Backoff::default());
        self.held().insert(Held::new(tokens)).tokens.clone()
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Tokens for a call, renewed if need be.
    pub(super) async fn tokens(self: &Arc<Self>) -> Result<Arc<Tokens>, CloudError> {
        if let Some(fresh) = self.session.fresh() {
            return Ok(fresh);
        }
        let inner = self.clone();
        // A task of its own: whoever asked may be cut off when the cloud has already taken the old token back.
        let renewing = async move {
            let mut renewal = inner.session.renewal.lock().await;
            inner.renew(&mut renewal).await
        };
        tokio::spawn(renewing.in_current_span()).await.unwrap_or(Err(CloudError::Renewing))
    }

    /// Gives Vivint the code that it has asked for.
    pub(super) async fn enter_code(self: &Arc<Self>, code: Password) -> Result<(), CloudError> {
        let inner = self.clone();
        let entering = async move {
            let mut renewal = inner.session.renewal.lock().await;
            inner.use_code(&mut renewal, &code).await
        };
        tokio::spawn(entering.in_current_span()).await.unwrap_or(Err(CloudError::Renewing))
    }

    async fn renew(&self, renewal: &mut Renewal) -> Result<Arc<Tokens>, CloudError> {
        // Somebody may have done it while we waited.
        if let Some(fresh) = self.session.fresh() {
            return Ok(fresh);
        }
        if renewal.given_up {
            return Err(CloudError::SecondFactorWanted);
        }
        let wait = renewal.failed.as_ref().map(|(_, until)| until.saturating_duration_since(clock::now()));
        let failed = match (&renewal.failed, wait) {
            (Some((error, _)), Some(wait)) if !wait.is_zero() => error.clone().with_wait(wait),
            _ => match self.renew_now(renewal).await {
                Ok(tokens) => return Ok(tokens),
                Err(error) => error,
            },
        };
        // What is only due serves until its end.
        self.session.usable().ok_or(failed)
    }

    async fn renew_now(&self, renewal: &mut Renewal) -> Result<Arc<Tokens>, CloudError> {
        if renewal.borrowed && self.session.held_tokens().is_some() {
            return Err(CloudError::Borrowed);
        }
        if let Some(old) = self.session.held_tokens() {
            match self.refresh(&old.refresh).await {
                Ok(Some(tokens)) => {
                    tracing::debug!("the login at Vivint was renewed");
                    return Ok(self.session.install(renewal, tokens));
                }
                Ok(None) => tracing::info!("Vivint has ended the login"),
                Err(error) => return Err(renewal.refresh_failed(error)),
            }
            *self.session.held() = None;
            renewal.kept.forget_tokens();
        }
        self.log_in(renewal).await
    }

    async fn log_in(&self, renewal: &mut Renewal) -> Result<Arc<Tokens>, CloudError> {
        let Some(password) = &self.login.password else { return Err(CloudError::NoLogin) };
        if renewal.kept.is_refused() {
            return Err(CloudError::LoginRefused);
        }
        // The other process is about to log in: a second login would make the code worthless that it waits for.
        if renewal.borrowed && renewal.kept.logins_in_a_row() > 0 {
            return Err(CloudError::Borrowed);
        }
        if let Some(code) = &renewal.code {
            return Err(CloudError::CodeWanted(code.by));
        }
        let wait = renewal.kept.login_in();
        if !wait.is_zero() {
            return Err(CloudError::NotYet(wait));
        }
        renewal.kept.begin_login();
        tracing::info!("logging in at Vivint");
        let begun = match self.begin_login().await {
            Err(error) if error.was_not_sent() => return Err(renewal.login_not_begun(error)),
            Err(error) => return Err(renewal.login_failed(error)),
            Ok(begun) => begun,
        };
        match self.ask_for_login(begun, password).await {
            Ok(Step::Done(tokens)) => Ok(self.session.install(renewal, tokens)),
            Ok(Step::Code(code)) => Err(CloudError::CodeWanted(renewal.code.insert(code).by)),
            Err(error) => Err(renewal.login_failed(error)),
        }
    }

    async fn use_code(&self, renewal: &mut Renewal, code: &Password) -> Result<(), CloudError> {
        /// A fourth wrong code could block the account.
        const TRIES: u32 = 3;
        let (Some(pending), Some(password)) = (&mut renewal.code, &self.login.password) else {
            // Nobody asked for it, or not any more: where a login is needed, the next code will be asked for.
            return self.renew(renewal).await.map(drop);
        };
        let code = one_time_code(code.expose()).ok_or(CloudError::NotACode)?;
        match self.answer_with_code(pending, code, password).await {
            Ok(tokens) => {
                self.session.install(renewal, tokens);
                Ok(())
            }
            Err(error) => {
                // One that is refused in words that nobody knows is a wrong one as well.
                if let CloudError::CodeRefused | CloudError::Misunderstood(_) = error {
                    pending.tries += 1;
                    renewal.code.take_if(|pending| pending.tries >= TRIES || pending.is_stale());
                }
                error.wait().into_iter().for_each(|wait| renewal.kept.hold_logins(wait));
                Err(error)
            }
        }
    }
}

impl Renewal {
    fn refresh_failed(&mut self, error: CloudError) -> CloudError {
        let pause = error.wait().unwrap_or_else(|| self.backoff.next(Duration::ZERO, jitter()));
        self.fail(error, pause)
    }

    /// The cloud has not heard of the login, so it does not count.
    fn login_not_begun(&mut self, error: CloudError) -> CloudError {
        self.kept.undo_login();
        let pause = self.backoff.next(Duration::ZERO, jitter());
        self.fail(error, pause)
    }

    /// Remembers a failed login, and that it is not to be repeated, or not yet.
    fn login_failed(&mut self, error: CloudError) -> CloudError {
        let error = match error {
            // Once it may be that the code had just changed.
            CloudError::TotpRefused if self.kept.logins_in_a_row() < 2 => {
                CloudError::Trouble("the one-time code was refused".to_owned())
            }
            error => error,
        };
        if matches!(error, CloudError::LoginRefused | CloudError::TotpRefused) {
            self.kept.refuse();
        }
        error.wait().into_iter().for_each(|wait| self.kept.hold_logins(wait));
        let pause = self.kept.login_in();
        self.fail(error, pause)
    }

    fn fail(&mut self, error: CloudError, pause: Duration) -> CloudError {
        self.failed = Some((error.clone(), clock::now() + pause));
        error
    }
}
