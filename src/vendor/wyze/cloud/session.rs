//! The account's tokens: kept, renewed before they expire, and by one call for all that wait (wyze-cloud reference
//! §1; rows 13, 14 and 17 of the fault matrix).
//!
//! A token that is due is refreshed. When the refresh is refused there is one login, and when that does not last
//! either, the budget of logins in [`Kept`] says when the next may be tried.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::Instrument;

use super::Inner;
use super::error::CloudError;
use super::kept::{Kept, KeptTokens};
use super::login::{Granted, PendingCode, Step};
use crate::clock::{self, Instant};
use crate::net::supervise::{Backoff, jitter};
use crate::secret::{Password, Token};
use crate::store::Store;

/// An access token lives so long; Wyze does not say it.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Tokens {
    pub(super) access: Token,
    pub(super) refresh: Token,
    /// What Wyze calls the account's owner. Not of tokens that an older version has kept.
    pub(super) user_id: Option<String>,
    /// Whether a call was ever answered with these, or with those of an earlier run.
    worked: AtomicBool,
}

impl Tokens {
    /// A call was answered.
    pub(super) fn work(&self) {
        self.worked.store(true, Ordering::Relaxed);
    }

    fn have_worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed)
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
    /// When they should be renewed, though they are still good.
    due: Instant,
    /// Whether the cloud has refused them.
    refused: bool,
}

struct Renewal {
    kept: Kept,
    /// Another process owns the stored tokens: refreshing them here would take them away from it.
    borrowed: bool,
    code: Option<PendingCode>,
    /// Why the last renewal failed, and when to try again.
    failed: Option<(CloudError, Instant)>,
    backoff: Backoff,
}

impl Session {
    pub(super) fn new(kept: Kept, store: &Store) -> Self {
        let borrowed = store.is_read_only();
        let held = kept.tokens().map(|kept| {
            let (Granted { access, refresh, user_id }, age) = kept.read();
            let due = if borrowed { LIFE } else { due_in().saturating_sub(age) };
            let tokens = Arc::new(Tokens { access, refresh, user_id, worked: true.into() });
            Held { tokens, due: clock::now() + due, refused: false }
        });
        let renewal = Renewal { kept, borrowed, code: None, failed: None, backoff: Backoff::default() };
        Self { held: Mutex::new(held), renewal: tokio::sync::Mutex::new(renewal) }
    }

    /// Tokens that need no renewal.
    pub(super) fn fresh(&self) -> Option<Arc<Tokens>> {
        let held = self.held();
        held.as_ref().filter(|held| !held.refused && clock::now() < held.due).map(|held| held.tokens.clone())
    }

    /// Those, unless somebody is renewing them at this moment.
    pub(super) fn fresh_and_at_rest(&self) -> Option<Arc<Tokens>> {
        let _nobody_else = self.renewal.try_lock().ok()?;
        self.fresh()
    }

    /// The cloud does not take `tokens`.
    pub(super) fn refused(&self, tokens: &Arc<Tokens>) {
        if let Some(held) = self.held().as_mut().filter(|held| Arc::ptr_eq(&held.tokens, tokens)) {
            held.refused = true;
        }
    }

    /// Tokens that are still good, though they are due.
    fn usable(&self) -> Option<Arc<Tokens>> {
        self.held().as_ref().filter(|held| !held.refused).map(|held| held.tokens.clone())
    }

    /// What can be refreshed. Of tokens that were never any good, a refresh would bring more.
    fn refreshable(&self, renewal: &Renewal) -> Option<Arc<Tokens>> {
        let held = self.held();
        let Held { tokens, refused, .. } = held.as_ref()?;
        (!renewal.borrowed && (!refused || tokens.have_worked())).then(|| tokens.clone())
    }

    /// From now on calls are made with these. On the disk first.
    fn install(&self, renewal: &mut Renewal, granted: Granted) -> Arc<Tokens> {
        renewal.kept.keep_tokens(KeptTokens::new(&granted));
        renewal.failed = None;
        renewal.code = None;
        renewal.backoff = Backoff::default();
        let Granted { access, refresh, user_id } = granted;
        let tokens = Arc::new(Tokens { access, refresh, user_id, worked: false.into() });
        *self.held() = Some(Held { tokens: tokens.clone(), due: clock::now() + due_in(), refused: false });
        tokens
    }

    /// Empty until it is known.
    pub(super) fn user_id(&self) -> String {
        self.held().as_ref().and_then(|held| held.tokens.user_id.clone()).unwrap_or_default()
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 75 to 85 % of a life: households that began together do not renew together.
fn due_in() -> Duration {
    LIFE.mul_f64(0.75 + 0.1 * jitter())
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

    /// Gives Wyze the code that it has asked for.
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
        let wait = renewal.failed.as_ref().map(|(_, until)| until.saturating_duration_since(clock::now()));
        let failed = match (&renewal.failed, wait) {
            (Some((error, _)), Some(wait)) if !wait.is_zero() => error.clone().with_wait(wait),
            _ => match self.renew_now(renewal).await {
                Ok(tokens) => return Ok(tokens),
                Err(error) => error,
            },
        };
        // What is only due serves until the cloud refuses it.
        self.session.usable().ok_or(failed)
    }

    async fn renew_now(&self, renewal: &mut Renewal) -> Result<Arc<Tokens>, CloudError> {
        if let Some(old) = self.session.refreshable(renewal) {
            match self.refresh(&old).await {
                Ok(granted) => {
                    tracing::debug!("the login at Wyze was renewed");
                    return Ok(self.session.install(renewal, granted));
                }
                Err(error) if error.is_passing() => {
                    let pause = error.wait().unwrap_or_else(|| renewal.backoff.next(Duration::ZERO, jitter()));
                    return Err(renewal.fail(error, pause));
                }
                Err(error) => tracing::info!(%error, "Wyze does not renew the login; logging in anew"),
            }
            self.session.refused(&old);
        }
        self.log_in(renewal).await
    }

    async fn log_in(&self, renewal: &mut Renewal) -> Result<Arc<Tokens>, CloudError> {
        if renewal.kept.is_refused() {
            return Err(CloudError::LoginRefused);
        }
        if let Some(code) = &renewal.code {
            return Err(CloudError::CodeWanted(code.by));
        }
        let wait = renewal.kept.login_in();
        if !wait.is_zero() {
            return Err(CloudError::NotYet(wait));
        }
        renewal.kept.begin_login();
        tracing::info!("logging in at Wyze");
        match self.ask_for_login().await {
            Ok(Step::Done(granted)) => Ok(self.session.install(renewal, granted)),
            Ok(Step::Code(code)) => Err(CloudError::CodeWanted(renewal.code.insert(code).by)),
            Err(error) => Err(renewal.login_failed(error)),
        }
    }

    async fn use_code(&self, renewal: &mut Renewal, code: &Password) -> Result<(), CloudError> {
        /// A fourth wrong code could lock the account.
        const TRIES: u32 = 3;
        let Some(pending) = &mut renewal.code else {
            // Nobody asked for it, or not any more: where a login is needed, the next code will be asked for.
            return self.renew(renewal).await.map(drop);
        };
        match self.answer_with_code(pending, code.expose().trim()).await {
            Ok(granted) => {
                self.session.install(renewal, granted);
                Ok(())
            }
            Err(CloudError::LoginRefused) => {
                pending.tries += 1;
                renewal.code.take_if(|pending| pending.tries >= TRIES);
                Err(CloudError::CodeRefused)
            }
            Err(CloudError::LockedOut(wait)) => {
                // It has ended the login that waits for the code; another code would only prolong it.
                renewal.code = None;
                renewal.kept.hold_logins(wait);
                Err(renewal.fail(CloudError::LockedOut(wait), wait))
            }
            Err(error) => {
                error.wait().into_iter().for_each(|wait| renewal.kept.hold_logins(wait));
                Err(error)
            }
        }
    }
}

impl Renewal {
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
        if error.was_not_sent() {
            self.kept.undo_login();
            let pause = self.backoff.next(Duration::ZERO, jitter());
            return self.fail(error, pause);
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
