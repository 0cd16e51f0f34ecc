//! What a virtual AWS is made of.

use std::net::SocketAddr;
use std::time::Duration;

use super::fault::Trouble;
use crate::secret::{Password, Token};
use crate::sim::dice::Dice;
use crate::sim::iot::Policy;
use crate::sim::made_up::{LETTERS_AND_DIGITS, text};
use crate::sim::signaling::{CANDIDATES_PER_SECOND, Limits, OFFERS_PER_SECOND};

/// A long-lived access key, or a temporary one of somebody else's making.
#[derive(Debug, Clone)]
pub struct AccessKey {
    pub id: String,
    pub secret: Password,
    /// What must come with it.
    pub token: Option<Token>,
    /// Behind the start of the virtual AWS.
    pub expires_in: Option<Duration>,
    /// Actions that its policy does not allow: `kinesisvideo:ListSignalingChannels`, `sts:*`.
    pub denied: Vec<String>,
}

impl AccessKey {
    pub fn generate(dice: &mut Dice) -> Self {
        Self {
            id: format!("AKIA{}", text(dice, 16, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
            secret: Password::new(text(dice, 40, LETTERS_AND_DIGITS)),
            token: None,
            expires_in: None,
            denied: Vec::new(),
        }
    }

    /// What the published doorbell's set-up script allows on one channel, which is everything but listing
    /// (kvs reference §2).
    #[must_use]
    pub fn without(mut self, action: &str) -> Self {
        self.denied.push(action.to_owned());
        self
    }
}

/// One signaling channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSettings {
    /// Letters, digits, `_`, `.`, `-`.
    pub name: String,
    /// SINGLE_MASTER, or FULL_MESH.
    pub single_master: bool,
    /// ACTIVE, or CREATING.
    pub active: bool,
    /// How long frames to an absent client are kept.
    pub message_ttl: Duration,
}

impl ChannelSettings {
    pub fn named(name: &str) -> Self {
        let message_ttl = Duration::from_secs(60);
        Self { name: name.to_owned(), single_master: true, active: true, message_ttl }
    }
}

/// How much of everything is taken in any second; more is refused (kvs reference §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// For each channel and role.
    pub connects: usize,
    /// For each connection, answers too.
    pub offers: usize,
    /// For each connection.
    pub candidates: usize,
    /// DescribeSignalingChannel, for each channel.
    pub describes: usize,
    /// GetIceServerConfig, for each channel.
    pub ice_servers: usize,
    pub lists: usize,
    /// Of every other kind.
    pub calls: usize,
}

impl Quotas {
    /// For clients that are in a hurry, such as tests.
    pub const GENEROUS: Self = Self {
        connects: 1_000,
        offers: 1_000,
        candidates: 1_000,
        describes: 1_000,
        ice_servers: 1_000,
        lists: 1_000,
        calls: 1_000,
    };
}

impl Default for Quotas {
    /// Amazon's.
    fn default() -> Self {
        Self {
            connects: 3,
            offers: OFFERS_PER_SECOND,
            candidates: CANDIDATES_PER_SECOND,
            describes: 5,
            ice_servers: 5,
            lists: 50,
            calls: 300,
        }
    }
}

/// What GetIceServerConfig hands out.
#[derive(Debug, Clone)]
pub enum Turn {
    /// The same for everybody.
    Fixed(Vec<TurnServer>),
    /// Credentials of their own for each call, which coturn's `use-auth-secret` takes: the user is the time at which
    /// they end, the password an HMAC-SHA1 of it.
    Secret { uris: Vec<String>, secret: Password },
}

#[derive(Debug, Clone)]
pub struct TurnServer {
    /// `turn:127.0.0.1:3478?transport=udp`
    pub uris: Vec<String>,
    pub username: String,
    pub password: Password,
}

/// A role of somebody's.
#[derive(Debug, Clone)]
pub struct Role {
    /// `arn:aws:iam::123456789012:role/doorbell-viewer`
    pub arn: String,
    /// Actions that its policy does not allow.
    pub denied: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// HTTP and WebSocket without encryption; port 0 for any free one.
    pub listen: SocketAddr,
    /// HTTPS, WebSocket over TLS, and MQTT where the client asks for it by ALPN (443 at Amazon).
    pub tls_listen: SocketAddr,
    /// MQTT over TLS, with a client certificate (8883 at AWS IoT).
    pub mqtts_listen: SocketAddr,
    /// Names that its certificate is for, besides `localhost`, `127.0.0.1` and `::1`.
    pub names: Vec<String>,
    pub region: String,
    /// 12 digits.
    pub account: String,
    pub keys: Vec<AccessKey>,
    pub channels: Vec<ChannelSettings>,
    /// Things of AWS IoT; each gets a certificate.
    pub things: Vec<String>,
    /// What a thing may ask the credentials provider for.
    pub role_alias: String,
    /// The first is the one behind the alias. Each may be assumed.
    pub roles: Vec<Role>,
    /// How long temporary credentials live; an hour at Amazon.
    pub credentials_life: Duration,
    pub limits: Limits,
    pub quotas: Quotas,
    /// How many channels a page of a list holds where the client does not say.
    pub page: usize,
    /// `None` for an empty list of servers.
    pub turn: Option<Turn>,
    /// How long TURN credentials are good for; 300 s at Amazon.
    pub turn_life: Duration,
    /// What iot:DescribeEndpoint answers in place of the address that was asked.
    pub iot_address: Option<String>,
    /// Who may do what at AWS IoT. Its principals are things, by their names, and the ids of access keys.
    pub policy: Policy,
    /// How it misbehaves from the start.
    pub trouble: Option<Trouble>,
}

impl Settings {
    /// One account with one key, one channel and one thing, on free loopback ports; its credentials follow from the
    /// seed.
    pub fn generate(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let account = text(&mut dice, 12, b"123456789");
        let role = Role { arn: format!("arn:aws:iam::{account}:role/doorbell-viewer"), denied: Vec::new() };
        Self {
            listen: loopback,
            tls_listen: loopback,
            mqtts_listen: loopback,
            names: Vec::new(),
            region: "us-east-1".to_owned(),
            account,
            keys: vec![AccessKey::generate(&mut dice)],
            channels: vec![ChannelSettings::named("doorbell-channel")],
            things: vec!["doorbell-thing".to_owned()],
            role_alias: "doorbell-role-alias".to_owned(),
            roles: vec![role],
            credentials_life: Duration::from_secs(3_600),
            limits: Limits::default(),
            quotas: Quotas::default(),
            page: 1_000,
            turn: None,
            turn_life: Duration::from_secs(300),
            iot_address: None,
            policy: Policy::open(),
            trouble: None,
        }
    }
}
