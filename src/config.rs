//! The whole user surface: what a configuration file may say.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::model::DeviceId;
use crate::secret::{Enr, Password, Token};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub mqtt: Option<Mqtt>,
    pub http: Http,
    pub media: Media,
    pub wyze: Vec<Wyze>,
    pub doorbells: Vec<DoorbellOverride>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    /// `mqtt://` or `mqtts://`, with user and password where the broker wants them.
    pub url: MqttUrl,
    #[serde(default = "discovery_prefix")]
    pub discovery_prefix: String,
    #[serde(default = "base_topic")]
    pub base_topic: String,
}

/// A broker's address, taken apart so that its password is a secret from here on.
#[derive(Debug, Clone)]
pub struct MqttUrl {
    pub host: String,
    pub port: u16,
    pub tls: bool,
    pub login: Option<(String, Password)>,
}

impl MqttUrl {
    /// # Errors
    /// With a sentence that says what is wrong, never showing the password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = url::Url::parse(text).map_err(|error| format!("not a broker's address: {error}"))?;
        let tls = match url.scheme() {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" => true,
            other => return Err(format!("`{other}://` is not for brokers; use `mqtt://` or `mqtts://`")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the broker's address names no host")?;
        let port = url.port().unwrap_or(if tls { 8883 } else { 1883 });
        let login = (!url.username().is_empty())
            .then(|| (url.username().to_owned(), Password::new(url.password().unwrap_or_default())));
        Ok(Self { host: host.to_owned(), port, tls, login })
    }
}

impl<'de> Deserialize<'de> for MqttUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

fn discovery_prefix() -> String {
    "homeassistant".to_owned()
}

fn base_topic() -> String {
    "doorstep".to_owned()
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The direct listener. An address beyond loopback needs a token.
    pub listen: SocketAddr,
    pub token: Option<Token>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// UDP and TCP port of every viewer.
    pub port: u16,
    /// Addresses to advertise besides the interfaces' own.
    pub addresses: Vec<IpAddr>,
}

/// A Wyze account. For now: cameras on the LAN whose keys the owner knows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wyze {
    #[serde(default)]
    pub cameras: Vec<WyzeCamera>,
}

/// One TUTK camera, named by hand.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WyzeCamera {
    pub name: String,
    pub model: String,
    pub mac: String,
    pub uid: String,
    pub enr: Enr,
    /// Host or address, with a port where it is not 32761.
    pub address: SocketAddr,
}

/// What the owner wants otherwise for one doorbell.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorbellOverride {
    pub id: DeviceId,
    pub name: Option<String>,
    /// An MQTT topic on which a message means that the button was pressed (a wired or radio button).
    pub ring_topic: Option<String>,
    pub talk_limit_s: Option<u64>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8480)), token: None }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self { port: 8555, addresses: Vec::new() }
    }
}
