//! How to come by keys, and how to keep them fresh (kvs reference §8).
//!
//! Keys of the configuration and of the environment are good until their owner says otherwise. Those of AWS IoT's
//! credentials provider and of a role are good for an hour or so: they are renewed five minutes before they expire, by
//! one call for all who ask. While that fails, the old ones are used for as long as they are good.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use url::Url;

use super::call::{Call, Caller};
use super::error::{self, Action, AwsError, Refusal};
use super::sts::{self, Assumed};
use crate::clock::{self, Instant};
use crate::config::{AwsKeys, KvsLogin};
use crate::net::http::{Answer, Client, Method, Request};
use crate::net::supervise::{Backoff, jitter};
use crate::net::tls::{Authority, Identity, Trust};
use crate::proto::kvs::sigv4::Keys;
use crate::secret::{Password, Token};

/// What requests are signed with.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: Password,
    /// Of temporary ones.
    pub session_token: Option<Token>,
}

impl Credentials {
    pub fn keys(&self) -> Keys<'_> {
        Keys {
            access_key_id: &self.access_key_id,
            secret_access_key: self.secret_access_key.expose(),
            session_token: self.session_token.as_ref().map(Token::expose),
        }
    }
}

impl From<&AwsKeys> for Credentials {
    fn from(keys: &AwsKeys) -> Self {
        Self {
            access_key_id: keys.access_key_id.clone(),
            secret_access_key: keys.secret_access_key.clone(),
            session_token: keys.session_token.clone(),
        }
    }
}

/// `variable` tells what a variable of the environment holds. One that is empty counts as missing.
pub(super) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Credentials, AwsError> {
    let variable = |name| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let wanted = |name| variable(name).ok_or(AwsError::NoLogin(name));
    Ok(Credentials {
        access_key_id: wanted("AWS_ACCESS_KEY_ID")?,
        secret_access_key: Password::new(wanted("AWS_SECRET_ACCESS_KEY")?),
        session_token: variable("AWS_SESSION_TOKEN").map(Token::new),
    })
}

/// An account's login.
pub(super) struct Login {
    source: Source,
    role: Option<RoleToAssume>,
    held: Mutex<Option<Held>>,
    /// Locked by whoever renews; the others wait for the outcome, unless what is held is still good.
    renewal: tokio::sync::Mutex<Renewal>,
}

enum Source {
    Fixed(Credentials),
    /// AWS IoT's credentials provider, to which `http` shows the certificate.
    Provider {
        http: Box<Client>,
        url: Url,
        thing: String,
    },
}

pub(super) struct RoleToAssume {
    pub(super) arn: String,
    pub(super) sts: Url,
}

struct Held {
    credentials: Credentials,
    since: Instant,
    /// When to renew them, and when they are good no longer. `None`: never.
    term: Option<Term>,
    /// AWS does not take them.
    refused: bool,
}

#[derive(Debug, Clone, Copy)]
struct Term {
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

/// Fresh from AWS.
struct Given {
    credentials: Credentials,
    /// `None`: for good.
    life: Option<Duration>,
}

impl Login {
    /// # Errors
    /// `NoLogin`, `Pem`.
    pub(super) fn new(
        login: &KvsLogin,
        role: Option<RoleToAssume>,
        authority: Option<&Authority>,
    ) -> Result<Self, AwsError> {
        let source = match login {
            KvsLogin::Keys(keys) => Source::Fixed(keys.into()),
            KvsLogin::Environment => Source::Fixed(of_environment(|name| std::env::var(name).ok())?),
            KvsLogin::Certificate { endpoint, role_alias, thing, identity } => {
                let identity = Identity::load(&identity.certificate, &identity.private_key)?;
                let trust = Trust { authority: authority.cloned(), identity: Some(identity) };
                let (http, url) = (Box::new(Client::with(&trust)), provider_url(endpoint, role_alias));
                Source::Provider { http, url, thing: thing.clone() }
            }
        };
        Ok(Self { source, role, held: Mutex::default(), renewal: tokio::sync::Mutex::default() })
    }

    /// Credentials that are good, renewed if need be.
    ///
    /// # Errors
    /// [`AwsError`], when there are none and AWS gives none. After a failure AWS is left alone for a while, in which
    /// the same error is told again.
    pub(super) async fn credentials(&self, caller: &Caller) -> Result<Credentials, AwsError> {
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
            None => match self.renew(caller).await {
                Ok(given) => return Ok(self.hold(&mut renewal, given)),
                Err(error) => renewal.fail(error),
            },
        };
        self.held(Held::is_good).ok_or(error)
    }

    /// AWS does not take `credentials`. Whether others can be had.
    pub(super) fn refused(&self, credentials: &Credentials) -> bool {
        let mut held = self.lock();
        let same = |held: &&mut Held| held.credentials.access_key_id == credentials.access_key_id;
        match held.as_mut().filter(same) {
            Some(held) if held.term.is_some() => {
                held.refused = true;
                !held.is_fresh()
            }
            _ => false,
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

    async fn renew(&self, caller: &Caller) -> Result<Given, AwsError> {
        let own = match &self.source {
            Source::Fixed(credentials) => Given { credentials: credentials.clone(), life: None },
            Source::Provider { http, url, thing } => ask_provider(caller, http, url, thing).await?,
        };
        match &self.role {
            Some(role) => assume(caller, role, &own.credentials).await,
            None => Ok(own),
        }
    }
}

impl Held {
    /// Ones that were refused are used for so long yet: AWS may need some seconds to know new ones.
    const TRIED_FOR: Duration = Duration::from_secs(30);

    fn is_fresh(&self) -> bool {
        let is_due = self.term.is_some_and(|term| clock::now() >= term.due);
        !is_due && !(self.refused && clock::now() >= self.since + Self::TRIED_FOR)
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

/// `…/role-aliases/<alias>/credentials`
fn provider_url(endpoint: &Url, role_alias: &str) -> Url {
    let mut url = endpoint.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["role-aliases", role_alias, "credentials"]);
    }
    url
}

async fn ask_provider(caller: &Caller, http: &Client, url: &Url, thing: &str) -> Result<Given, AwsError> {
    const ACTION: Action = Action::AssumeRoleWithCertificate;
    let request = Request::new(Method::GET, url.clone()).header("x-amzn-iot-thingname", thing);
    let answer = http.send(request).await.map_err(AwsError::Unreachable)?;
    if let Some(date) = answer.date() {
        caller.skew().learn(date, false);
    }
    if !answer.is_success() {
        return Err(Refusal::read(&answer).error(ACTION, error::wait(&answer, caller.now())));
    }
    let json = answer.json().map_err(|error| AwsError::unreadable(ACTION, error.to_string()))?;
    let text = |key: &str| json.get("credentials")?.get(key)?.as_str().filter(|text| !text.is_empty());
    let (Some(id), Some(secret), Some(token)) = (text("accessKeyId"), text("secretAccessKey"), text("sessionToken"))
    else {
        return Err(AwsError::unreadable(ACTION, "it holds no temporary keys"));
    };
    let expiration = text("expiration").unwrap_or_default();
    Ok(Given { credentials: temporary(id, secret, token), life: Some(life(expiration, &answer, caller)) })
}

async fn assume(caller: &Caller, role: &RoleToAssume, own: &Credentials) -> Result<Given, AwsError> {
    const ACTION: Action = Action::AssumeRole;
    let call = Call {
        action: ACTION,
        service: "sts",
        method: Method::POST,
        url: role.sts.clone(),
        content_type: Some("application/x-www-form-urlencoded; charset=utf-8"),
        body: &sts::assume_role(&role.arn),
    };
    let answer = caller.ask(&call, own).await?;
    let assumed = Assumed::read(answer.body());
    let assumed = assumed.ok_or_else(|| AwsError::unreadable(ACTION, "it holds no temporary keys"))?;
    let credentials = temporary(assumed.access_key_id, assumed.secret_access_key, assumed.session_token);
    Ok(Given { credentials, life: Some(life(assumed.expiration, &answer, caller)) })
}

fn temporary(access_key_id: &str, secret_access_key: &str, session_token: &str) -> Credentials {
    Credentials {
        access_key_id: access_key_id.to_owned(),
        secret_access_key: Password::new(secret_access_key),
        session_token: Some(Token::new(session_token)),
    }
}

/// How long keys are good that expire at `expiration`, by the clock of whoever gave them. Whatever is said: not so
/// short that every call renews them, nor longer than a role ever lasts.
fn life(expiration: &str, answer: &Answer, caller: &Caller) -> Duration {
    const USUAL: Duration = Duration::from_secs(15 * 60);
    const SHORTEST: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_secs(12 * 3_600);
    let Ok(end) = humantime::parse_rfc3339_weak(expiration) else {
        tracing::warn!("AWS does not say until when its temporary keys are good");
        return USUAL;
    };
    let now: SystemTime = answer.date().unwrap_or_else(|| caller.now());
    end.duration_since(now).unwrap_or_default().clamp(SHORTEST, LONGEST)
}

/// How long they need no renewal.
fn fresh_for(life: Duration) -> Duration {
    const MARGIN: Duration = Duration::from_secs(5 * 60);
    life.saturating_sub(MARGIN).max(life / 2)
}
