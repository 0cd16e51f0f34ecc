//! Vivint's cloud as a client: calls that carry the account's login (vivint reference §2, §3).
//!
//! A call logs in, or renews the login, when it must; its caller sees an answer or a [`CloudError`].

mod answer;
mod cookies;
mod error;
mod kept;
mod login;
mod session;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use url::Url;

pub use error::{CloudError, CodeBy};
pub(super) use kept::key;

use super::IdTokens;
use super::devices::Place;
use crate::clock::{self, Instant};
use crate::config::Vivint;
use crate::doorbell::VendorError;
use crate::doorbell::vendor::BoxFuture;
use crate::net::http::{Answer, Client, Method, Request};
use crate::secret::{Password, Token};
use crate::store::Store;
use crate::vendor::named;
use crate::vendor::server_time::ServerTime;
use session::{Session, Tokens};

/// The keys of all that is stored of an account.
pub(in super::super) fn stored(account: &Vivint) -> [String; 2] {
    ["vivint_account", "vivint_devices"].map(|of| key(of, account))
}

/// Whether the store has tokens of this login.
pub(in super::super) fn is_logged_in(account: &Vivint, store: &Store) -> bool {
    kept::load(account, store).tokens().is_some()
}

/// The owner has seen to the login.
pub(in super::super) fn retry(account: &Vivint, store: &Store) {
    kept::load(account, store).retry();
}

/// One account at Vivint's cloud. Cheap to clone; all clones share one login.
#[derive(Clone)]
pub struct Cloud(Arc<Inner>);

struct Inner {
    client: Client,
    login: Vivint,
    session: Session,
    time: ServerTime,
    /// Until when the API wants to be left alone, and why.
    held: Mutex<Option<(CloudError, Instant)>>,
    /// Of the panels' RTSP servers: they change rarely.
    panel_logins: Mutex<BTreeMap<i64, PanelLogin>>,
}

/// The login of a panel's RTSP server, and of the relay that leads to it.
#[derive(Clone)]
pub struct PanelLogin {
    pub user: String,
    pub password: Password,
}

impl Cloud {
    /// Makes no request. Tokens that `store` has are used as long as they are good; new ones are kept there.
    ///
    /// With a store that is read only, because another process owns it, its tokens are used and never refreshed.
    pub fn new(login: &Vivint, store: &Store) -> Self {
        Self(Arc::new(Inner {
            client: Client::new(),
            login: login.clone(),
            session: Session::new(kept::load(login, store), store),
            time: ServerTime::default(),
            held: Mutex::default(),
            panel_logins: Mutex::default(),
        }))
    }

    /// Whose account it is, its message channel and its systems (§3.1).
    ///
    /// # Errors
    /// `CloudError`; a token that the cloud refuses is renewed and the call made once more before it is one.
    pub async fn authuser(&self) -> Result<Value, CloudError> {
        self.0.read(&["authuser"], &[]).await
    }

    /// A system with all its devices (§3.2).
    ///
    /// # Errors
    /// As `authuser`.
    pub async fn system(&self, panel: i64) -> Result<Value, CloudError> {
        self.0.read(&["systems", &panel.to_string()], &[("includerules", "false")]).await
    }

    /// The login of this panel's RTSP server. `renew` when the last one was refused.
    ///
    /// # Errors
    /// As `authuser`; `Misunderstood` also when the answer has none.
    pub async fn panel_login(&self, panel: i64, renew: bool) -> Result<PanelLogin, CloudError> {
        let known = || self.0.panel_logins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(login) = known().get(&panel).filter(|_| !renew) {
            return Ok(login.clone());
        }
        let answer = self.0.read(&["panel-login", &panel.to_string()], &[]).await?;
        let text = |key: &str| answer.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(user), Some(password)) = (text("n"), text("pswd")) else {
            return Err(CloudError::Misunderstood("no login of the panel".to_owned()));
        };
        let login = PanelLogin { user: user.to_owned(), password: Password::new(password) };
        known().insert(panel, login.clone());
        Ok(login)
    }

    /// Asks a camera for a fresh still picture; that there is one is told by push.
    ///
    /// # Errors
    /// As `authuser`.
    pub async fn request_thumbnail(&self, camera: Place) -> Result<(), CloudError> {
        let url = self.0.url(&camera.path(&["request-camera-thumbnail"]), &[]);
        self.0.call(|token| bearer(Request::new(Method::GET, url.clone()), token)).await.map(drop)
    }

    /// The still picture that was taken at this moment. The address it is fetched from is signed and gets no token.
    ///
    /// # Errors
    /// As `authuser`; `Misunderstood` also when there is no picture.
    pub async fn thumbnail(&self, camera: Place, at: SystemTime) -> Result<Bytes, CloudError> {
        let inner = &self.0;
        let time = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
        let url = inner.url(&camera.path(&["camera-thumbnail"]), &[("time", &time)]);
        let answer = inner.call(|token| bearer(Request::new(Method::GET, url.clone()), token).expecting_redirect());
        let answer = answer.await?;
        let none = || CloudError::Misunderstood("no still picture".to_owned());
        let Some(location) = answer.location() else { return Err(none()) };
        let is_there = |picture: &Url| named::is_file_of(&inner.login.endpoints.api, picture);
        let picture = url.join(location).ok().filter(is_there).ok_or_else(none)?;
        let answer = inner.client.send(Request::new(Method::GET, picture)).await?;
        match answer.is_success() && !answer.body().is_empty() {
            true => Ok(answer.body().clone()),
            false => Err(answer::passing(&answer).unwrap_or_else(none)),
        }
    }

    /// Leave to give one command that is never given twice. The login is renewed first if need be.
    ///
    /// # Errors
    /// As `authuser`.
    pub async fn once(&self) -> Result<Once, CloudError> {
        Ok(Once { inner: self.0.clone(), tokens: self.0.tokens().await? })
    }

    /// Gives Vivint the code that a call has failed for with `CodeWanted`.
    ///
    /// # Errors
    /// `CodeRefused` when it was wrong, `NotACode` when it cannot be one; after the third wrong one the next call asks
    /// for a new one.
    pub async fn enter_code(&self, code: Password) -> Result<(), CloudError> {
        self.0.enter_code(code).await
    }

    async fn token(&self, renew: bool) -> Result<Token, CloudError> {
        let tokens = self.0.tokens().await?;
        if !renew {
            return Ok(tokens.id.clone());
        }
        self.0.session.refused(&tokens);
        Ok(self.0.tokens().await?.id.clone())
    }
}

impl IdTokens for Cloud {
    fn id_token(&self, renew: bool) -> BoxFuture<'_, Result<Token, VendorError>> {
        Box::pin(async move { Ok(self.token(renew).await?) })
    }
}

/// Leave to give one command with a login that is fresh. What a refused token or a time-out leaves is for the caller
/// to find out: it is never given again.
pub struct Once {
    inner: Arc<Inner>,
    tokens: Arc<Tokens>,
}

impl Once {
    /// Locks, or unlocks.
    ///
    /// # Errors
    /// `CloudError`; when it `leaves_unknown`, the command may have had its effect.
    pub async fn set_lock(self, lock: Place, locked: bool, within: Duration) -> Result<(), CloudError> {
        self.put(lock, "locks", json!(locked), within).await
    }

    /// Opens a garage door, or closes it.
    ///
    /// # Errors
    /// As `set_lock`.
    pub async fn set_garage(self, door: Place, open: bool, within: Duration) -> Result<(), CloudError> {
        const OPEN: u8 = 4;
        const CLOSE: u8 = 2;
        self.put(door, "door", json!(if open { OPEN } else { CLOSE }), within).await
    }

    async fn put(self, place: Place, kind: &str, state: Value, within: Duration) -> Result<(), CloudError> {
        let Place { panel, partition, device } = place;
        let path = [panel.to_string(), partition.to_string(), kind.to_owned(), device.to_string()];
        let body = json!({ "s": state, "_id": device });
        let request = Request::put_json(self.inner.url(&path, &[]), body.to_string()).within(within);
        self.inner.attempt(&self.tokens, bearer(request, &self.tokens.access)).await.map(drop)
    }
}

impl Inner {
    async fn read(self: &Arc<Self>, path: &[&str], query: &[(&str, &str)]) -> Result<Value, CloudError> {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        let url = self.url(&path, query);
        let answer = self.call(|token| bearer(Request::new(Method::GET, url.clone()), token)).await?;
        answer::read(&answer)
    }

    /// Makes a call, and once more when its token was refused.
    async fn call(self: &Arc<Self>, request: impl Fn(&Token) -> Request) -> Result<Answer, CloudError> {
        let tokens = self.tokens().await?;
        match self.attempt(&tokens, request(&tokens.access)).await {
            Err(CloudError::TokenRefused) => {}
            outcome => return outcome,
        }
        let tokens = self.tokens().await?;
        self.attempt(&tokens, request(&tokens.access)).await
    }

    async fn attempt(&self, tokens: &Arc<Tokens>, request: Request) -> Result<Answer, CloudError> {
        self.may_ask()?;
        let answer = self.client.send(request).await?;
        self.time.note(answer.date());
        let outcome = answer::accepted(&answer);
        match &outcome {
            Err(CloudError::TokenRefused) => self.session.refused(tokens),
            Err(CloudError::SecondFactorWanted) => self.session.give_up().await,
            Err(error) => self.leave_alone(error),
            Ok(()) => {}
        }
        outcome.map(|()| answer)
    }

    /// # Errors
    /// `Limited` or `Blocked`, for as long as the API has said.
    fn may_ask(&self) -> Result<(), CloudError> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((why, until)) = &*held else { return Ok(()) };
        let wait = until.saturating_duration_since(clock::now());
        if wait.is_zero() { Ok(()) } else { Err(why.clone().with_wait(wait)) }
    }

    fn leave_alone(&self, error: &CloudError) {
        if let Some(wait) = error.wait() {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            *held = Some((error.clone(), clock::now() + wait));
        }
    }

    /// Vivint's time, in seconds since 1970.
    fn seconds(&self) -> u64 {
        self.time.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// An address of the API.
    fn url(&self, path: &[impl AsRef<str>], query: &[(&str, &str)]) -> Url {
        let mut url = self.login.endpoints.api.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

fn bearer(request: Request, token: &Token) -> Request {
    request.header("authorization", &format!("Bearer {}", token.expose()))
}

impl Place {
    /// `{panel}/{partition}/{device}/…`
    fn path(self, end: &[&str]) -> Vec<String> {
        let numbers = [self.panel, self.partition, self.device].map(|number| number.to_string());
        numbers.into_iter().chain(end.iter().map(|part| (*part).to_owned())).collect()
    }
}

impl fmt::Debug for PanelLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PanelLogin(***)")
    }
}
