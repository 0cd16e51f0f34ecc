//! What a virtual Vivint account is made of.

use std::net::SocketAddr;
use std::time::Duration;

use super::devices::Device;
use super::fault::Trouble;
use crate::rtc::camera::IceServer;
use crate::secret::{Email, Password, Token};
use crate::sim::dice::Dice;
use crate::sim::made_up::{LETTERS, LETTERS_AND_DIGITS, text};

/// What a login asks for besides the password (§2).
#[derive(Debug, Clone)]
pub enum SecondFactor {
    /// Nothing, and the reply names the page that gives the code out, as it did to older clients.
    None,
    /// Nothing, and the reply is the token set itself, as the present vivintpy takes it to be.
    NoneAndTokensAtOnce,
    /// A code by text message, which [`super::Event::SmsSent`] tells.
    Sms,
    /// Codes of an authenticator app with this base32 secret.
    Totp(Password),
}

impl SecondFactor {
    /// An authenticator app whose secret follows from the seed.
    pub fn totp(seed: u64) -> Self {
        Self::Totp(Password::new(text(&mut Dice::new(seed), 32, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")))
    }
}

/// What opens the RTSP servers of the panel and of the relay (§3): `panel-login`.
#[derive(Debug, Clone)]
pub struct PanelLogin {
    pub user: String,
    pub password: Password,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// Of everything that is spoken over HTTP; port 0 for any free one.
    pub listen: SocketAddr,
    pub username: Email,
    pub password: Password,
    pub second_factor: SecondFactor,
    /// How long access and id tokens live, Firebase's too; an hour at Vivint.
    pub token_life: Duration,
    /// The web API key that Firebase's hosts take.
    pub firebase_api_key: Token,
    /// The key of the account's PubNub channel.
    pub pubnub_key: String,
    /// `_id` of the account: its user id, which is its uid at Firebase too.
    pub uid: String,
    /// `mbc`: behind `PlatformChannel#`.
    pub message_channel: String,
    /// `panid`, over 32 bits.
    pub panel: i64,
    pub panel_login: PanelLogin,
    pub devices: Vec<Device>,
    /// How long a bolt or a garage door takes from one side to the other.
    pub travel: Duration,
    /// How long a camera takes for a still picture.
    pub exposure: Duration,
    /// How long a subscriber is held when nothing happens; 5 minutes at PubNub.
    pub long_poll: Duration,
    /// A TURN server through which all calls must go; `None` for doorbells that can be reached directly.
    pub relay: Option<IceServer>,
    /// How it misbehaves from the start.
    pub trouble: Option<Trouble>,
}

impl Settings {
    /// `parid` of everything.
    pub const PARTITION: i64 = 1;
    pub const PUBNUB_KEY: &'static str = "sub-c-00000000-0000-11e2-0000-000000000000";

    /// One system with two doorbells, a lock, a garage door and the panel, on any free loopback port; its
    /// credentials and ids follow from the seed.
    pub fn generate(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            username: Email::new(format!("{}@example.net", text(&mut dice, 8, LETTERS))),
            password: Password::new(text(&mut dice, 12, LETTERS_AND_DIGITS)),
            second_factor: SecondFactor::Sms,
            token_life: Duration::from_secs(3_600),
            firebase_api_key: Token::new(text(&mut dice, 39, LETTERS_AND_DIGITS)),
            pubnub_key: Self::PUBNUB_KEY.to_owned(),
            uid: text(&mut dice, 24, HEXADECIMAL),
            message_channel: text(&mut dice, 32, HEXADECIMAL),
            panel: 7_001_000_000_000_000 + i64::from(u32::from_le_bytes(dice.bytes())),
            panel_login: PanelLogin::generate(&mut dice),
            devices: Device::one_of_each(&mut dice),
            travel: Duration::from_secs(2),
            exposure: Duration::from_secs(1),
            long_poll: Duration::from_secs(280),
            relay: None,
            trouble: None,
        }
    }

    /// The cameras among the devices that signalling knows.
    pub(super) fn signalled(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().filter_map(Device::uuid)
    }
}

impl PanelLogin {
    fn generate(dice: &mut Dice) -> Self {
        let password = Password::new(text(dice, 16, LETTERS_AND_DIGITS));
        Self { user: format!("panel-{}", text(dice, 4, LETTERS)), password }
    }
}

const HEXADECIMAL: &[u8] = b"0123456789abcdef";
