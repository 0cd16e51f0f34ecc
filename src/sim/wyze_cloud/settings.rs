//! What a virtual Wyze cloud is made of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::device::{self, Device};
use super::fault::Trouble;
use crate::secret::{Email, Password, Token};
use crate::sim::dice::Dice;
use crate::sim::made_up::{LETTERS, LETTERS_AND_DIGITS, text, uuid};

/// Whether a login needs more than keys and a password (§1).
#[derive(Debug, Clone)]
pub enum SecondFactor {
    None,
    /// Codes of an authenticator app with this base32 secret.
    Totp(Password),
    /// A code by text message, which [`super::CloudEvent::SmsSent`] tells.
    Sms,
}

impl SecondFactor {
    /// An authenticator app whose secret follows from the seed.
    pub fn totp(seed: u64) -> Self {
        Self::Totp(Password::new(text(&mut Dice::new(seed), 32, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")))
    }
}

/// How many requests are answered in a window of time before the others get HTTP 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub requests: u32,
    pub per: Duration,
}

/// Where the pictures of a device are signalled.
#[derive(Debug, Clone)]
pub struct Stream {
    /// As a viewer must use it: `wss://…/?X-Amz-…` or `wss://…?token=…`.
    pub signaling_url: String,
    pub ice_servers: Vec<IceServer>,
}

#[derive(Debug, Clone)]
pub struct IceServer {
    pub url: String,
    pub username: String,
    pub credential: String,
}

/// Asked with a device's id at each look-up, so that each answer can hold a fresh address. `None`: that device
/// has no stream of this kind. Asked while the cloud holds its breath: it must answer without asking the cloud.
pub type Streams = Arc<dyn Fn(&str) -> Option<Stream> + Send + Sync>;

/// What a client logs in with at GWell's servers (gwell reference §3.1).
#[derive(Debug, Clone)]
pub struct GwellUser {
    /// Decimal; may be negative.
    pub access_id: String,
    pub access_token: Token,
    /// When it ends, in seconds since 1970; told to nobody where there is none.
    pub expire: Option<u64>,
}

/// As [`Streams`], for whoever calls over GWell. `None`: that device is none of GWell's.
pub type GwellUsers = Arc<dyn Fn(&str) -> Option<GwellUser> + Send + Sync>;

#[derive(Clone)]
pub struct Settings {
    /// Port 0 for any free one.
    pub listen: SocketAddr,
    pub email: Email,
    /// In the clear.
    pub password: Password,
    pub key_id: Password,
    pub api_key: Token,
    pub second_factor: SecondFactor,
    /// How long an access token lives; a day at Wyze.
    pub token_life: Duration,
    pub devices: Vec<Device>,
    /// How long a bolt takes from one side to the other.
    pub lock_travel: Duration,
    /// How long after an event its pictures are there; until then its `file_list` is empty.
    pub upload: Duration,
    /// Of the login host.
    pub login_rate: Rate,
    /// Of all other hosts together.
    pub api_rate: Rate,
    pub streams: Streams,
    pub gwell: GwellUsers,
    /// How it misbehaves from the start.
    pub trouble: Option<Trouble>,
}

impl Settings {
    /// An account with one device of each kind, on any free loopback port; its credentials and ids follow from
    /// the seed.
    pub fn generate(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            email: Email::new(format!("{}@example.net", text(&mut dice, 8, LETTERS))),
            password: Password::new(text(&mut dice, 12, LETTERS_AND_DIGITS)),
            key_id: Password::new(uuid(&mut dice)),
            api_key: Token::new(text(&mut dice, 60, LETTERS_AND_DIGITS)),
            second_factor: SecondFactor::None,
            token_life: Duration::from_secs(24 * 3_600),
            devices: device::one_of_each(&mut dice),
            lock_travel: Duration::from_secs(2),
            upload: Duration::from_secs(5),
            // A capture of the login host shows 17 left, 3 minutes before the reset (§1).
            login_rate: Rate { requests: 20, per: Duration::from_secs(300) },
            // A guess; what is known is that eager polling is punished.
            api_rate: Rate { requests: 1_000, per: Duration::from_secs(300) },
            streams: Arc::new(|_| None),
            gwell: Arc::new(|_| None),
            trouble: None,
        }
    }
}
