//! Wyze's cloud as a client: calls that carry the account's login, and keep to what the cloud asks of its clients
//! (wyze-cloud reference §1, §2, §6, §8).
//!
//! A call logs in, or renews the login, when it must; its caller sees an answer or a [`CloudError`].

mod answer;
mod error;
mod kept;
mod limits;
mod login;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use url::Url;

pub use crate::net::http::Method;
pub use crate::proto::wyze::App;
pub use error::{CloudError, CodeBy};

use crate::config::WyzeLogin;
use crate::model::RateLimit;
use crate::net::http::{Client, Request};
use crate::proto::wyze::{FORD_KEY, ford_sign, mars_request_id};
use crate::secret::{Email, Password, SignedUrl, Token};
use crate::store::Store;
use crate::vendor::kept::random_hex;
use crate::vendor::named;
use crate::vendor::server_time::ServerTime;
use answer::Speaker;
use limits::{Limits, Urgency};
use session::{Session, Tokens};

const APP_NAME: &str = "com.hualai.WyzeCam";
const APP_VERSION: &str = "2.18.43";

/// One account at Wyze's cloud. Cheap to clone; all clones share one login.
#[derive(Clone)]
pub struct Cloud(Arc<Inner>);

/// Where in the store the login is.
pub(super) fn stored(login: &WyzeLogin) -> String {
    kept::key(login)
}

/// Whether the store has tokens of this login.
pub(in super::super) fn is_logged_in(login: &WyzeLogin, store: &Store) -> bool {
    kept::load(login, store).tokens().is_some()
}

/// The owner has seen to the login.
pub(in super::super) fn retry(login: &WyzeLogin, store: &Store) {
    kept::load(login, store).retry();
}

/// A host of the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host {
    Auth,
    Api,
    Core,
    Lock,
    Mars,
    DeviceManagement,
}

struct Inner {
    client: Client,
    login: WyzeLogin,
    phone_id: String,
    session: Session,
    limits: Limits,
    time: ServerTime,
}

impl Cloud {
    /// Makes no request. Tokens that `store` has are used as long as they are good; new ones are kept there.
    ///
    /// With a store that is read only, because another process owns it, its tokens are used and never refreshed.
    pub fn new(login: &WyzeLogin, store: &Store) -> Self {
        Self(Arc::new(Inner {
            client: Client::new(),
            login: login.clone(),
            phone_id: kept::phone_id(store),
            session: Session::new(kept::load(login, store), store),
            limits: Limits::new(),
            time: ServerTime::default(),
        }))
    }

    /// POST to the API host: the common body (§2) and `fields`, which win. The answer's `data`.
    ///
    /// # Errors
    /// `CloudError`; a token that the cloud refuses is renewed and the call made once more before it is one.
    pub async fn app(&self, path: &'static str, fields: Value) -> Result<Value, CloudError> {
        let inner = &self.0;
        inner.call(Host::Api, |token| inner.app_request(path, token, &fields)).await
    }

    /// POST of `body` with a fresh `nonce`, keys sorted, signed (§6). The answer's `data`.
    ///
    /// # Errors
    /// As `app`.
    pub async fn signed(&self, app: App, host: Host, path: &str, body: Value) -> Result<Value, CloudError> {
        let inner = &self.0;
        inner.call(host, |token| inner.signed_request(app, host, path, token, &body)).await
    }

    /// GET or POST to the lock host, signed its own way (§8). The whole answer.
    ///
    /// # Errors
    /// As `app`.
    pub async fn ford(
        &self,
        method: Method,
        path: &'static str,
        fields: BTreeMap<&'static str, String>,
    ) -> Result<Value, CloudError> {
        let inner = &self.0;
        inner.call(Host::Lock, |token| inner.ford_request(&method, path, token, &fields)).await
    }

    /// A file of an event (§4), from where the cloud has said that it is. The login is not shown there.
    ///
    /// # Errors
    /// `Misunderstood` also when that is no address of a cloud.
    pub async fn file(&self, url: &SignedUrl) -> Result<Bytes, CloudError> {
        let inner = &self.0;
        let url = Url::parse(url.expose()).ok().filter(|url| named::is_file_of(self.address(), url));
        let url = url.ok_or_else(|| CloudError::Misunderstood("no address of a file".to_owned()))?;
        let answer = inner.client.send(Request::new(Method::GET, url)).await?;
        if !answer.is_success() {
            return Err(CloudError::Misunderstood(format!("HTTP {} for a file", answer.status())));
        }
        Ok(answer.body().clone())
    }

    /// Leave to make one call that is never made twice.
    ///
    /// # Errors
    /// `Renewing` when the login is being renewed or has to be, which any other call sets going.
    pub fn once(&self) -> Result<Once<'_>, CloudError> {
        let tokens = self.0.session.fresh_and_at_rest().ok_or(CloudError::Renewing)?;
        Ok(Once { inner: &self.0, tokens })
    }

    /// Our clock, or the cloud's when ours is more than 30 s off.
    pub fn server_now(&self) -> SystemTime {
        self.0.time.now()
    }

    /// How many more requests the cloud grants, whenever it says so.
    pub fn limits(&self) -> watch::Receiver<Option<RateLimit>> {
        self.0.limits.told()
    }

    /// Where its API is.
    pub fn address(&self) -> &Url {
        &self.0.login.endpoints.api
    }

    /// The UUID of this installation.
    pub fn phone_id(&self) -> &str {
        &self.0.phone_id
    }

    /// What Wyze calls the account's owner; empty until a login has told it.
    pub fn user_id(&self) -> String {
        self.0.session.user_id()
    }

    /// Whom iot3 is told to act for.
    pub fn email(&self) -> &Email {
        &self.0.login.email
    }

    /// Gives Wyze the code that a call has failed for with `CodeWanted`.
    ///
    /// # Errors
    /// `CodeRefused` when it was wrong; after the third the next call asks for a new one.
    pub async fn enter_code(&self, code: Password) -> Result<(), CloudError> {
        self.0.enter_code(code).await
    }
}

/// Leave to make one call with a login that is known to be fresh. What a refused token or a time-out leaves is for
/// the caller to find out: it is never made again.
pub struct Once<'a> {
    inner: &'a Inner,
    tokens: Arc<Tokens>,
}

impl Once<'_> {
    /// As [`Cloud::signed`].
    ///
    /// # Errors
    /// `CloudError`; when it `leaves_unknown`, the call may have had its effect.
    pub async fn signed(
        self,
        app: App,
        host: Host,
        path: &str,
        body: Value,
        within: Duration,
    ) -> Result<Value, CloudError> {
        let request = self.inner.signed_request(app, host, path, &self.tokens.access, &body);
        self.inner.attempt(host, Urgency::Urgent, &self.tokens, request.within(within)).await
    }

    /// A POST as [`Cloud::ford`].
    ///
    /// # Errors
    /// As `signed`.
    pub async fn ford(
        self,
        path: &'static str,
        fields: BTreeMap<&'static str, String>,
        within: Duration,
    ) -> Result<Value, CloudError> {
        let request = self.inner.ford_request(&Method::POST, path, &self.tokens.access, &fields);
        self.inner.attempt(Host::Lock, Urgency::Urgent, &self.tokens, request.within(within)).await
    }
}

impl Inner {
    /// Makes a call, and once more when its token was refused.
    async fn call(self: &Arc<Self>, host: Host, request: impl Fn(&Token) -> Request) -> Result<Value, CloudError> {
        self.limits.admit(host, Urgency::Usual)?;
        let tokens = self.tokens().await?;
        match self.attempt(host, Urgency::Usual, &tokens, request(&tokens.access)).await {
            Err(CloudError::TokenRefused) => {}
            outcome => return outcome,
        }
        let tokens = self.tokens().await?;
        self.attempt(host, Urgency::Usual, &tokens, request(&tokens.access)).await
    }

    async fn attempt(
        &self,
        host: Host,
        urgency: Urgency,
        tokens: &Arc<Tokens>,
        request: Request,
    ) -> Result<Value, CloudError> {
        let outcome = self.exchange(host, urgency, request).await;
        match &outcome {
            Ok(_) => tokens.work(),
            Err(CloudError::TokenRefused) => self.session.refused(tokens),
            Err(_) => {}
        }
        outcome
    }

    /// One request and what its answer means.
    async fn exchange(&self, host: Host, urgency: Urgency, request: Request) -> Result<Value, CloudError> {
        self.limits.admit(host, urgency)?;
        let answer = self.client.send(request).await?;
        self.time.note(answer.date());
        let now = self.time.now();
        let outcome = answer::read(host.speaker(), &answer, now);
        self.limits.note(host, &answer, outcome.as_ref().err(), now);
        outcome
    }

    fn app_request(&self, path: &'static str, token: &Token, fields: &Value) -> Request {
        let (sc, sv) = service_codes(path);
        let mut body = json!({
            "access_token": token.expose(),
            "app_name": APP_NAME,
            "app_ver": format!("{APP_NAME}___{APP_VERSION}"),
            "app_version": APP_VERSION,
            "phone_id": self.phone_id,
            "phone_system_type": "1",
            "sc": sc,
            "sv": sv,
            "ts": self.millis(),
        });
        for (key, value) in fields.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        Request::post_json(self.url(Host::Api, path), body.to_string())
    }

    fn signed_request(&self, app: App, host: Host, path: &str, token: &Token, body: &Value) -> Request {
        let nonce = self.millis().to_string();
        let request_id = match host {
            Host::Mars | Host::DeviceManagement => mars_request_id(&nonce),
            _ => random_hex(),
        };
        let mut body = body.clone();
        body["nonce"] = nonce.into();
        // Sorted, because that is how the library keeps an object.
        let body = body.to_string();
        let signature = app.signature2(token.expose(), body.as_bytes());
        let request = Request::post_json(self.url(host, path), body)
            .header("access_token", token.expose())
            .header("appid", app.id())
            .header("appinfo", app_info(app))
            .header("env", "prod")
            .header("phoneid", &self.phone_id)
            .header("requestid", &request_id)
            .header("signature2", &signature);
        match (app, host) {
            (App::Web, _) | (_, Host::DeviceManagement) => request.header("authorization", token.expose()),
            (App::Olive, _) => request,
        }
    }

    fn ford_request(
        &self,
        method: &Method,
        path: &'static str,
        token: &Token,
        fields: &BTreeMap<&'static str, String>,
    ) -> Request {
        let timestamp = self.millis().to_string();
        let mut all: BTreeMap<&str, &str> = fields.iter().map(|(key, value)| (*key, value.as_str())).collect();
        all.extend([("access_token", token.expose()), ("key", FORD_KEY), ("timestamp", &timestamp)]);
        let sign = ford_sign(&method.as_str().to_ascii_lowercase(), path, &all);
        all.insert("sign", &sign);
        let mut url = self.url(Host::Lock, path);
        if *method == Method::GET {
            url.query_pairs_mut().extend_pairs(&all);
            return Request::new(Method::GET, url);
        }
        Request::post_json(url, json!(all).to_string())
    }

    fn url(&self, host: Host, path: &str) -> Url {
        let at = &self.login.endpoints;
        let mut url = match host {
            Host::Auth => at.auth.clone(),
            Host::Api => at.api.clone(),
            Host::Core => at.core.clone(),
            Host::Lock => at.lock.clone(),
            Host::Mars => at.mars.clone(),
            Host::DeviceManagement => at.device_management.clone(),
        };
        url.set_path(path);
        url
    }

    /// Wyze's time, in milliseconds since 1970.
    fn millis(&self) -> u64 {
        let now = self.time.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Host {
    fn speaker(self) -> Speaker {
        match self {
            Self::Auth => Speaker::Login,
            Self::Api | Self::Core => Speaker::App,
            Self::Lock => Speaker::Lock,
            Self::Mars | Self::DeviceManagement => Speaker::Service,
        }
    }
}

/// The `appinfo` header.
fn app_info(app: App) -> &'static str {
    match app {
        App::Olive => "wyze_android_2.19.14",
        App::Web => "wyze_web_2.3.1",
    }
}

/// `sc` and `sv`, constants of each endpoint (§2).
fn service_codes(path: &str) -> (&'static str, &'static str) {
    const USUAL: &str = "9f275790cab94a72bd206c8876429f3c";
    match path {
        "/app/v2/device/get_event_list" => (USUAL, "782ced6909a44d92a1f70d582bbe88be"),
        "/app/v2/device/get_device_Info" => ("01dd431d098546f9baf5233724fa2ee2", "0bc2c3bedf6c4be688754c9ad42bbf2e"),
        "/app/v2/auto/run_action" => (USUAL, "2c0edc06d4c5465b8c55af207144f0d9"),
        _ => (USUAL, "9d74946e652647e9b6c9d59326aef104"),
    }
}
