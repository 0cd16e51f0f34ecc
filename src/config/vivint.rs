//! Vivint accounts: the login, and where the clouds are that take part.

use std::time::Duration;

use url::Url;

use super::account::Taken;
use super::section::Section;
use super::values;
use crate::secret::{Email, Password, Token};

/// A Vivint account.
#[derive(Debug, Clone)]
pub struct Vivint {
    pub username: Email,
    /// Of use until the first login has succeeded; from then on the stored refresh token is.
    pub password: Option<Password>,
    /// The base32 secret of an authenticator app, for owners who want no question at a login.
    pub totp_secret: Option<Password>,
    /// The web API key of Vivint's app at Firebase. Without it everything but talk works.
    pub firebase_api_key: Option<Token>,
    /// Further rings of the same doorbell are not told for so long.
    pub ring_quiet: Duration,
    pub endpoints: VivintEndpoints,
}

impl Vivint {
    /// As a long-lived homebridge client has it (vivint reference §4).
    const RING_QUIET: Duration = Duration::from_secs(5);
}

/// Where Vivint's cloud is and what it uses of others' (vivint reference §1), without a slash at the end. Other
/// addresses are a virtual cloud or a proxy.
#[derive(Debug, Clone)]
pub struct VivintEndpoints {
    /// `/oauth2/…`, `/idp/api/…`
    pub identity: Url,
    /// `/api/…`
    pub api: Url,
    /// `/v2/subscribe/…`
    pub pubnub: Url,
    pub pubnub_key: String,
    /// Gives a Firebase custom token for an id token.
    pub exchange: Url,
    /// `/v1/accounts:signInWithCustomToken`
    pub identity_toolkit: Url,
    /// `/v1/token`
    pub secure_token: Url,
    /// In place of the database that the custom token names. `http://` means `ws://`.
    pub database: Option<Url>,
    /// `stun:host:port` and `turn:host:port`; an empty list means none.
    pub ice_servers: Vec<String>,
    pub turn_username: String,
    pub turn_password: Password,
}

impl Default for VivintEndpoints {
    fn default() -> Self {
        let url = |text: &str| Url::parse(text).unwrap_or_else(|_| unreachable!("{text} is an address"));
        Self {
            identity: url("https://id.vivint.com"),
            api: url("https://www.vivintsky.com"),
            pubnub: url("https://ps.pndsn.com"),
            pubnub_key: "sub-c-6fb03d68-6a78-11e2-ae8f-12313f022c90".to_owned(),
            exchange: url("https://exchange.run.vivint.ai"),
            identity_toolkit: url("https://identitytoolkit.googleapis.com"),
            secure_token: url("https://securetoken.googleapis.com"),
            database: None,
            ice_servers: vec!["stun:v2.nuts.vivint.ai:80".to_owned(), "turn:v2.nuts.vivint.ai:80".to_owned()],
            turn_username: "coturn@vivint.com".to_owned(),
            // The same in every copy of Vivint's app: who is let in is decided elsewhere.
            turn_password: Password::new("VivCamProCoturnAuthAndCred{3779}"),
        }
    }
}

/// `taken` is what the accounts before this one have.
pub(super) fn read(account: &mut Section<'_>, taken: &mut Taken) -> Option<Vivint> {
    let username = account.required("username", &values::USERNAME);
    if username.as_ref().is_some_and(|name| !taken.usernames.insert(name.expose().to_lowercase())) {
        account.report_value("username", "an account before this one has the same; expected each account once");
    }
    let password = account.optional("password", &values::PASSWORD);
    let totp_secret = account.optional("totp_secret", &values::TOTP_SECRET);
    let firebase_api_key = account.optional("firebase_api_key", &values::FIREBASE_API_KEY);
    let ring_quiet = account.optional("ring_quiet_s", &values::RING_QUIET_S);
    let ring_quiet = ring_quiet.map_or(Vivint::RING_QUIET, Duration::from_secs);
    let endpoints = account.section("endpoints", read_endpoints).unwrap_or_default();
    Some(Vivint { username: username?, password, totp_secret, firebase_api_key, ring_quiet, endpoints })
}

fn read_endpoints(endpoints: &mut Section<'_>) -> Option<VivintEndpoints> {
    let usual = VivintEndpoints::default();
    let mut read = |key, usual| endpoints.optional(key, &values::ENDPOINT).unwrap_or(usual);
    let identity = read("identity", usual.identity);
    let api = read("api", usual.api);
    let pubnub = read("pubnub", usual.pubnub);
    let exchange = read("exchange", usual.exchange);
    let identity_toolkit = read("identity_toolkit", usual.identity_toolkit);
    let secure_token = read("secure_token", usual.secure_token);
    let has_servers = endpoints.has("ice_servers");
    let ice_servers = endpoints.texts("ice_servers", &values::ICE_SERVER);
    Some(VivintEndpoints {
        identity,
        api,
        pubnub,
        pubnub_key: endpoints.optional("pubnub_key", &values::SUBSCRIBE_KEY).unwrap_or(usual.pubnub_key),
        exchange,
        identity_toolkit,
        secure_token,
        database: endpoints.optional("database", &values::ENDPOINT),
        ice_servers: if has_servers { ice_servers } else { usual.ice_servers },
        turn_username: endpoints.optional("turn_username", &values::TURN_USERNAME).unwrap_or(usual.turn_username),
        turn_password: endpoints.optional("turn_password", &values::PASSWORD).unwrap_or(usual.turn_password),
    })
}
