//! The way into Vivint's signalling database: the account's login is exchanged for a custom token, that for one of
//! Firebase's, and that is refreshed (vivint reference §6).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::IdTokens;
use crate::clock::{self, Instant};
use crate::config::VivintEndpoints;
use crate::doorbell::vendor::Retry;
use crate::net::http::{Answer, Client, HttpError, Method, Request};
use crate::proto::vivint::login;
use crate::secret::Token;

/// Every one is whole sentences for the owner and shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirebaseError {
    /// The account has no login to exchange.
    #[error("{what}")]
    Account { what: String, retry: Retry },
    /// No answer, or none that can be read.
    #[error("The way to Vivint's cameras is not open: {0}. It is being tried again.")]
    Http(HttpError),
    /// HTTP 5xx, or too many requests.
    #[error(
        "The way to Vivint's cameras is not open: `{host}` has trouble of its own (HTTP {status}). It is being tried \
         again."
    )]
    Trouble { host: String, status: u16 },
    #[error(
        "Google refused `firebase_api_key`: it is not a valid key. Put the web API key of Vivint's app there: on Doorstep's page if the account was added \
         there, otherwise under `vivint` in the configuration, and restart Doorstep then. Everything but talk works \
         without it."
    )]
    ApiKeyInvalid,
    #[error(
        "Google refused `firebase_api_key`: the key is valid, but of another app than Vivint's. Put the web API key \
         of Vivint's app there: on Doorstep's page if the account was added \
         there, otherwise under `vivint` in the configuration, and restart Doorstep then. Everything but talk works \
         without it."
    )]
    ApiKeyForeign,
    #[error(
        "Google refused `firebase_api_key`: the key may be used by certain programs only. Put a web API key of \
         Vivint's app there: on Doorstep's page if the account was added \
         there, otherwise under `vivint` in the configuration, and restart Doorstep then. Everything but talk works \
         without it."
    )]
    ApiKeyRestricted,
    #[error(
        "Vivint does not let this account signal to its cameras (HTTP {status} from `{host}`), so nobody can talk. \
         See whether two-way talk works in Vivint's app; it is tried again every few minutes."
    )]
    ExchangeRefused { host: String, status: u16 },
    #[error(
        "Google did not accept Vivint's word for this account ({why}), so nobody can talk. It is tried again every \
         few minutes."
    )]
    SignInRefused { why: String },
    /// Something has changed over there.
    #[error("The way to Vivint's cameras was not understood ({0}). A newer Doorstep may know it.")]
    Misunderstood(&'static str),
}

impl FirebaseError {
    /// How long to leave alone who has refused.
    const LONG: Duration = Duration::from_secs(5 * 60);

    /// Whether trying again can help, and when.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Account { retry, .. } => *retry,
            Self::Http(_) | Self::Trouble { .. } => Retry::Backoff,
            Self::ApiKeyInvalid | Self::ApiKeyForeign | Self::ApiKeyRestricted => Retry::WaitForUser,
            Self::ExchangeRefused { .. } | Self::SignInRefused { .. } | Self::Misunderstood(_) => {
                Retry::After(Self::LONG)
            }
        }
    }
}

impl From<HttpError> for FirebaseError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

/// What opens a panel's database.
#[derive(Debug, Clone)]
pub struct Access {
    /// Whom Firebase takes us for.
    pub uid: String,
    pub id_token: Token,
    pub database: Url,
    /// The cameras (`uuid`) that the account may signal to, from the custom token's claim `devices`. `None` when it
    /// has no such claim.
    pub devices: Option<Vec<String>>,
    /// When another should be asked for. The token is still good then.
    pub renew_at: Instant,
}

/// The tokens of one account, kept and refreshed before they expire. Clones share them.
#[derive(Clone)]
pub struct Firebase(Arc<Inner>);

struct Inner {
    api_key: Token,
    endpoints: VivintEndpoints,
    tokens: Arc<dyn IdTokens>,
    client: Client,
    /// Locked by whoever signs in or refreshes; everybody else waits for the outcome.
    held: tokio::sync::Mutex<Held>,
}

#[derive(Default)]
struct Held {
    signed_in: Option<SignedIn>,
    /// Why the last attempt failed, and until when that is the answer to everybody.
    failed: Option<(FirebaseError, Instant)>,
}

struct SignedIn {
    claims: Claims,
    session: Session,
}

/// What Firebase gives for a custom token, and again for a refresh token.
struct Session {
    uid: String,
    id_token: Token,
    refresh_token: Token,
    /// When it should be refreshed, though it is still good.
    due: Instant,
    expires: Instant,
}

/// What the custom token says of the account (vivint reference §6). Nothing is verified: it comes from Vivint itself,
/// and only Google has the use of its signature.
#[derive(Clone, Default, Deserialize)]
struct Claims {
    /// The address of each system's database.
    #[serde(default)]
    sig_server: BTreeMap<String, Value>,
    /// Which cameras of each system the account may signal to.
    #[serde(default)]
    devices: Option<BTreeMap<String, Value>>,
    /// When they are to be read anew, by when systems and cameras may have come.
    #[serde(skip)]
    due: Option<Instant>,
}

/// What has to be done before there is a token.
enum Step {
    SignIn,
    Refresh,
}

impl Firebase {
    /// One per account.
    pub fn new(api_key: Token, endpoints: VivintEndpoints, tokens: Arc<dyn IdTokens>) -> Self {
        let (client, held) = (Client::new(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { api_key, endpoints, tokens, client, held }))
    }

    /// What opens the database of this panel. Asks nobody while what is kept is good. `refused`: the token that the
    /// database did not accept; where another is kept by now, it is that.
    ///
    /// # Errors
    /// [`FirebaseError`], the same for all who wait at that moment.
    pub async fn access(&self, panel: i64, refused: Option<&Token>) -> Result<Access, FirebaseError> {
        let mut held = self.0.held.lock().await;
        self.0.renew_if_due(&mut held, refused).await?;
        match &held.signed_in {
            Some(SignedIn { claims, session }) => Ok(Access {
                uid: session.uid.clone(),
                id_token: session.id_token.clone(),
                database: self.0.database(claims, panel)?,
                devices: claims.devices(panel),
                renew_at: session.due,
            }),
            None => Err(FirebaseError::Misunderstood("a login that led nowhere")),
        }
    }
}

impl Held {
    /// How long a failure is the answer to everybody.
    const FAILED: Duration = Duration::from_secs(2);

    fn due(&self, refused: Option<&Token>) -> Option<Step> {
        let now = clock::now();
        let Some(SignedIn { claims, session }) = &self.signed_in else { return Some(Step::SignIn) };
        let is_refused = refused.is_some_and(|refused| refused.expose() == session.id_token.expose());
        match is_refused || claims.due.is_none_or(|due| due <= now) {
            true => Some(Step::SignIn),
            false => (session.due <= now).then_some(Step::Refresh),
        }
    }

    fn failed(&self) -> Option<FirebaseError> {
        self.failed.as_ref().filter(|(_, until)| clock::now() < *until).map(|(error, _)| error.clone())
    }

    /// Whether the token is still good, though it is due.
    fn is_good(&self) -> bool {
        self.signed_in.as_ref().is_some_and(|signed_in| clock::now() < signed_in.session.expires)
    }
}

impl Inner {
    async fn renew_if_due(&self, held: &mut Held, refused: Option<&Token>) -> Result<(), FirebaseError> {
        let Some(step) = held.due(refused) else { return Ok(()) };
        let failure = match held.failed() {
            Some(failure) => failure,
            None => match self.carry_out(step, held.signed_in.as_ref()).await {
                Ok(signed_in) => {
                    *held = Held { signed_in: Some(signed_in), failed: None };
                    return Ok(());
                }
                Err(failure) => {
                    held.failed = Some((failure.clone(), clock::now() + Held::FAILED));
                    failure
                }
            },
        };
        if refused.is_none() && held.is_good() { Ok(()) } else { Err(failure) }
    }

    async fn carry_out(&self, step: Step, before: Option<&SignedIn>) -> Result<SignedIn, FirebaseError> {
        if let (Step::Refresh, Some(SignedIn { claims, session })) = (step, before) {
            match self.refresh(session).await {
                Ok(session) => return Ok(SignedIn { claims: claims.clone(), session }),
                Err(FirebaseError::SignInRefused { why }) => tracing::debug!(why, "signing in at Firebase anew"),
                Err(error) => return Err(error),
            }
        }
        let custom_token = self.custom_token().await?;
        let (uid, claims) = read_custom_token(&custom_token);
        let session = self.sign_in(&custom_token, uid).await?;
        Ok(SignedIn { claims, session })
    }

    /// Vivint's word for the account, with a new login if it does not accept the one there is.
    async fn custom_token(&self) -> Result<Token, FirebaseError> {
        match self.exchange(false).await {
            Err(FirebaseError::ExchangeRefused { status: 401 | 403, .. }) => self.exchange(true).await,
            outcome => outcome,
        }
    }

    async fn exchange(&self, renew: bool) -> Result<Token, FirebaseError> {
        let id_token = self
            .tokens
            .id_token(renew)
            .await
            .map_err(|error| FirebaseError::Account { what: error.what, retry: error.retry })?;
        let mut answer = self.ask_for_exchange(Method::GET, &id_token).await?;
        if answer.status() == 405 {
            // As an older note has it.
            answer = self.ask_for_exchange(Method::POST, &id_token).await?;
        }
        if let Some(trouble) = trouble(&answer) {
            return Err(trouble);
        }
        if !answer.is_success() {
            let host = answer.host().to_owned();
            return Err(FirebaseError::ExchangeRefused { host, status: answer.status() });
        }
        let token = answer.json()?["custom-token"].as_str().map(Token::new);
        token.ok_or(FirebaseError::Misunderstood("an exchange that gave no token"))
    }

    async fn ask_for_exchange(&self, method: Method, id_token: &Token) -> Result<Answer, FirebaseError> {
        let mut url = self.endpoints.exchange.clone();
        url.set_query(Some("custom-token=true"));
        let request = Request::new(method, url)
            .header("authorization", &format!("Bearer {}", id_token.expose()))
            .header("accept", "application/json");
        Ok(self.client.send(request).await?)
    }

    async fn sign_in(&self, custom_token: &Token, uid: Option<String>) -> Result<Session, FirebaseError> {
        let url = self.google(&self.endpoints.identity_toolkit, "/v1/accounts:signInWithCustomToken");
        let body = json!({ "token": custom_token.expose(), "returnSecureToken": true });
        let answer = self.ask_google(Request::post_json(url, body.to_string())).await?;
        let said = |key: &str| answer[key].as_str().filter(|text| !text.is_empty());
        let (Some(id_token), Some(refresh_token)) = (said("idToken"), said("refreshToken")) else {
            return Err(FirebaseError::Misunderstood("a login without a token"));
        };
        let uid = said("localId").map(str::to_owned).or(uid).or_else(|| uid_of(id_token));
        let uid = uid.ok_or(FirebaseError::Misunderstood("a login of nobody"))?;
        Ok(Session::new(uid, id_token, refresh_token, &answer["expiresIn"]))
    }

    async fn refresh(&self, session: &Session) -> Result<Session, FirebaseError> {
        let url = self.google(&self.endpoints.secure_token, "/v1/token");
        let fields = [("grant_type", "refresh_token"), ("refresh_token", session.refresh_token.expose())];
        let answer = self.ask_google(Request::post_form(url, &fields)).await?;
        let id_token = answer["id_token"].as_str().ok_or(FirebaseError::Misunderstood("a refresh without a token"))?;
        let refresh_token = answer["refresh_token"].as_str().unwrap_or(session.refresh_token.expose());
        Ok(Session::new(session.uid.clone(), id_token, refresh_token, &answer["expires_in"]))
    }

    /// `path` at one of Google's services, with the key that says which app asks.
    fn google(&self, base: &Url, path: &str) -> Url {
        let mut url = base.clone();
        url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
        url.query_pairs_mut().append_pair("key", self.api_key.expose());
        url
    }

    async fn ask_google(&self, request: Request) -> Result<Value, FirebaseError> {
        let answer = self.client.send(request).await?;
        match (trouble(&answer), answer.is_success()) {
            (Some(trouble), _) => Err(trouble),
            (None, true) => Ok(answer.json()?),
            (None, false) => Err(refusal(&answer.json().unwrap_or_default())),
        }
    }

    /// Where this panel's database is. Another address than its own says, by `ns`, which database is meant.
    fn database(&self, claims: &Claims, panel: i64) -> Result<Url, FirebaseError> {
        /// Where the claims name none. Whether it is one is doubtful (vivint reference §1).
        const LAST_RESORT: &str = "https://vivint-prod.firebaseio.com";
        let named = claims.sig_server.get(&panel.to_string()).map(|url| url.as_str().unwrap_or_default());
        let named = Url::parse(named.unwrap_or(LAST_RESORT)).ok().filter(Url::has_host);
        if let Some(database) = &self.endpoints.database {
            let mut database = database.clone();
            if let (Some(named), None) = (named, database.query()) {
                database.query_pairs_mut().append_pair("ns", &namespace(&named));
            }
            return Ok(database);
        }
        // It is sent a token, so its name must not be worth less than the word for it.
        let is_safe = |url: &Url| url.scheme() == "https" || url.scheme() == self.endpoints.exchange.scheme();
        named.filter(is_safe).ok_or(FirebaseError::Misunderstood("a database without an address"))
    }
}

/// Which of a host's databases an address means: its `ns`, else the first part of the host's name (vivint reference
/// §7.1).
pub(super) fn namespace(database: &Url) -> String {
    let said = database.query_pairs().find(|(name, _)| name == "ns").map(|(_, namespace)| namespace.into_owned());
    let host = || database.host_str().unwrap_or_default().split('.').next().unwrap_or_default().to_owned();
    said.unwrap_or_else(host)
}

impl Session {
    /// As Google has it, where it does not say so.
    const LIFE_S: u64 = 3_600;
    /// Refreshed so long before its end.
    const MARGIN: Duration = Duration::from_secs(5 * 60);

    /// `life` in seconds, as a text or a number.
    fn new(uid: String, id_token: &str, refresh_token: &str, life: &Value) -> Self {
        let said = life.as_str().and_then(|text| text.parse().ok()).or_else(|| life.as_u64());
        let life = Duration::from_secs(said.unwrap_or(Self::LIFE_S).min(24 * Self::LIFE_S));
        let began = clock::now();
        let due = began + life.saturating_sub(Self::MARGIN.min(life / 5));
        let (id_token, refresh_token) = (Token::new(id_token), Token::new(refresh_token));
        Self { uid, id_token, refresh_token, due, expires: began + life }
    }
}

impl Claims {
    const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

    fn devices(&self, panel: i64) -> Option<Vec<String>> {
        let devices = self.devices.as_ref()?.get(&panel.to_string()).and_then(Value::as_array);
        let uuids = devices.into_iter().flatten().filter_map(Value::as_str);
        Some(uuids.map(str::to_owned).collect())
    }
}

/// Whom a custom token is for, and what it claims.
fn read_custom_token(token: &Token) -> (Option<String>, Claims) {
    let mut payload = login::claims(token.expose()).unwrap_or_default();
    let uid = payload["uid"].as_str().map(str::to_owned);
    let claims: Claims = payload
        .get_mut("claims")
        .map(Value::take)
        .and_then(|claims| serde_json::from_value(claims).ok())
        .unwrap_or_default();
    (uid, Claims { due: Some(clock::now() + Claims::LIFE), ..claims })
}

fn uid_of(id_token: &str) -> Option<String> {
    let payload = login::claims(id_token)?;
    let uid = payload["sub"].as_str().or_else(|| payload["user_id"].as_str())?;
    Some(uid.to_owned())
}

fn trouble(answer: &Answer) -> Option<FirebaseError> {
    let status = answer.status();
    (status == 429 || status >= 500).then(|| FirebaseError::Trouble { host: answer.host().to_owned(), status })
}

/// What Google has against a request: `{"error":{"message","details":[{"reason"}]}}`.
fn refusal(answer: &Value) -> FirebaseError {
    let error = &answer["error"];
    let message = error["message"].as_str().unwrap_or_default();
    let reasons = error["details"].as_array().into_iter().flatten().filter_map(|detail| detail["reason"].as_str());
    let mut said = reasons.chain([message]);
    if said.clone().any(|said| said.starts_with("API_KEY_") && said.ends_with("_BLOCKED")) {
        return FirebaseError::ApiKeyRestricted;
    }
    if said.clone().any(|said| said.contains("API_KEY") || said.contains("API key")) {
        return FirebaseError::ApiKeyInvalid;
    }
    if said.any(|said| ["CREDENTIAL_MISMATCH", "CONFIGURATION_NOT_FOUND", "PROJECT_NOT_FOUND"].contains(&said)) {
        return FirebaseError::ApiKeyForeign;
    }
    // Google's codes are of capitals; what follows may quote.
    let code: String = message.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').take(60).collect();
    FirebaseError::SignInRefused { why: if code.len() > 1 { code } else { "no reason given".to_owned() } }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::doorbell::VendorError;
    use crate::doorbell::vendor::BoxFuture;

    const PANEL: i64 = 7_001_000_200_030_004;

    struct NoLogin;

    impl IdTokens for NoLogin {
        fn id_token(&self, _renew: bool) -> BoxFuture<'_, Result<Token, VendorError>> {
            Box::pin(async { Ok(Token::new("id")) })
        }
    }

    fn vectors() -> Value {
        let text = include_str!("../../../tests/vectors/vivint/vivint.json");
        serde_json::from_str::<Value>(text).unwrap()["firebase_tokens"].take()
    }

    fn claims() -> Claims {
        let token = Token::new(vectors()["custom_token_unsigned_example"].as_str().unwrap());
        let (uid, claims) = read_custom_token(&token);
        assert_eq!(uid.as_deref(), Some("a1b2c3d4e5f60718293a4b5c"));
        claims
    }

    fn at(endpoints: VivintEndpoints) -> Firebase {
        Firebase::new(Token::new("key"), endpoints, Arc::new(NoLogin))
    }

    #[test]
    fn the_panels_own_database_and_cameras_are_taken_from_the_custom_token() {
        let (claims, firebase) = (claims(), at(VivintEndpoints::default()));
        let database = firebase.0.database(&claims, PANEL).unwrap();
        assert_eq!(database.as_str(), "https://vivint-example-shard.example-db.test/");
        assert_eq!(claims.devices(PANEL).unwrap(), ["3b6f0c52-5a0e-4c1f-9d57-0a1b2c3d4e5f"]);
        let other = firebase.0.database(&claims, 1).unwrap();
        assert_eq!(other.as_str(), "https://vivint-prod.firebaseio.com/", "not another panel's");
        assert_eq!(claims.devices(1), Some(vec![]));
        assert_eq!(Claims::default().devices(PANEL), None);
    }

    #[test]
    fn an_address_of_ones_own_means_the_same_database() {
        let endpoints =
            |text| VivintEndpoints { database: Some(Url::parse(text).unwrap()), ..VivintEndpoints::default() };
        let database = |text| at(endpoints(text)).0.database(&claims(), PANEL).unwrap().to_string();
        assert_eq!(database("http://127.0.0.1:9"), "http://127.0.0.1:9/?ns=vivint-example-shard");
        assert_eq!(database("http://127.0.0.1:9/?ns=mine"), "http://127.0.0.1:9/?ns=mine");
    }

    #[test]
    fn a_token_goes_to_no_address_without_encryption_that_came_with_it() {
        for url in ["http://db.test", "ftp://db.test", "", "db.test"] {
            let sig_server = BTreeMap::from([(PANEL.to_string(), Value::from(url))]);
            let database =
                at(VivintEndpoints::default()).0.database(&Claims { sig_server, ..Claims::default() }, PANEL);
            assert!(matches!(database, Err(FirebaseError::Misunderstood(_))), "{url}");
        }
    }

    #[test]
    fn what_is_no_token_claims_nothing() {
        let token = |payload: &str| Token::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload)));
        for text in ["", "a", "a.b.c", "..", "a.!.c"] {
            let (uid, claims) = read_custom_token(&Token::new(text));
            assert!(uid.is_none() && claims.sig_server.is_empty(), "{text}");
        }
        for payload in ["null", "[]", "5", "{}", r#"{"uid":7,"claims":5}"#, r#"{"claims":{"sig_server":[]}}"#] {
            let (uid, claims) = read_custom_token(&token(payload));
            assert!(uid.is_none() && claims.sig_server.is_empty(), "{payload}");
        }
    }

    #[test]
    fn a_wrong_key_is_told_with_where_it_belongs_and_without_the_key() {
        let answer = |message: &str, reason: &str| {
            refusal(&json!({"error": {"code": 400, "message": message, "details": [{"reason": reason}]}}))
        };
        for (message, reason, expected) in [
            ("API key not valid. Please pass a valid API key.", "API_KEY_INVALID", FirebaseError::ApiKeyInvalid),
            ("INVALID_API_KEY", "", FirebaseError::ApiKeyInvalid),
            ("The request is missing a valid API key.", "", FirebaseError::ApiKeyInvalid),
            ("CREDENTIAL_MISMATCH", "", FirebaseError::ApiKeyForeign),
            ("Requests are blocked.", "API_KEY_ANDROID_APP_BLOCKED", FirebaseError::ApiKeyRestricted),
        ] {
            let error = answer(message, reason);
            assert_eq!(error, expected, "{message}");
            assert_eq!(error.retry(), Retry::WaitForUser);
            assert!(error.to_string().contains("`firebase_api_key`"));
        }
        let refused = |why: &str| FirebaseError::SignInRefused { why: why.to_owned() };
        assert_eq!(refusal(&vectors()["sign_in_error"]), refused("INVALID_CUSTOM_TOKEN"));
        assert_eq!(answer("TOKEN_EXPIRED : canary", ""), refused("TOKEN_EXPIRED"));
        assert_eq!(refusal(&Value::Null), refused("no reason given"));
    }
}
