//! The sorts of values that a configuration may hold, each read once into a type that cannot be wrong.

pub(super) mod aws;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use url::Url;

use super::section::{Kind, Reason};
use super::{HostPort, LogLevel, Mac, MqttUrl, Quality, RingPicture, Transport, TutkProtocol, Uid, Unlock};
use crate::model::{DeviceId, OpenerEntity};
use crate::proto::totp::totp;
use crate::secret::{Email, Enr, Password, Token};

/// Where a Wyze camera listens on the LAN (wyze-tutk reference §2).
const TUTK_PORT: u16 = 32_761;

pub(super) const BROKER: Kind<MqttUrl> = Kind {
    expected: "a broker's address, `mqtt://host:1883` or `mqtts://user:password@host:8883`",
    parse: MqttUrl::parse,
};

pub(super) const TOPIC: Kind<String> =
    Kind { expected: "an MQTT topic without `+` and `#`, such as `doorstep` or `home/door`", parse: topic };

pub(super) const LISTEN: Kind<SocketAddr> =
    Kind { expected: "an IP address and a port, `127.0.0.1:8480`", parse: listen };

pub(super) const TOKEN: Kind<Option<Token>> =
    Kind { expected: "32 or more random characters (`openssl rand -hex 32` makes some)", parse: token };

pub(super) const HOST_NAME: Kind<String> = Kind { expected: "a host name, `doorstep.example.com`", parse: host_name };

pub(super) const ORIGIN: Kind<String> =
    Kind { expected: "the address of one site without a path, `https://home.example:8123`", parse: origin };

pub(super) const PORT: Kind<NonZeroU16> =
    Kind { expected: "a port number from 1 to 65535", parse: |text| number(text, 1..=65_535).and_then(port) };

pub(super) const ADDRESS: Kind<IpAddr> =
    Kind { expected: "the IP address of one machine, `192.168.1.10`", parse: address };

pub(super) const SWITCH: Kind<bool> = Kind { expected: "`true` or `false`", parse: switch };

pub(super) const NAME: Kind<String> = Kind { expected: "a name of 1 to 64 characters", parse: name };

pub(super) const MODEL: Kind<String> =
    Kind { expected: "Wyze's model code of 1 to 32 letters, digits, `_`, `-` and `.`, such as `HL_DB2`", parse: model };

pub(super) const MAC: Kind<Mac> = Kind { expected: "12 hexadecimal digits, such as `AABBCCDDEEFF`", parse: Mac::parse };

pub(super) const UID: Kind<Uid> = Kind { expected: "20 upper-case letters and digits", parse: Uid::parse };

pub(super) const ENR: Kind<Enr> = Kind { expected: "the camera's secret of 16 or more characters", parse: enr };

pub(super) const CAMERA_ADDRESS: Kind<SocketAddr> =
    Kind { expected: "the camera's IP address, `192.168.1.20` or `192.168.1.20:32761`", parse: camera_address };

pub(super) const DEVICE_ID: Kind<DeviceId> =
    Kind { expected: "1 to 64 characters of a-z, 0-9 and `_`, as `/api/doorbells` shows it", parse: device_id };

pub(super) const UNLOCK: Kind<Unlock> = Kind {
    expected: "the id of a lock, as `doorstep devices` shows it, or `self` for an opener in the doorbell",
    parse: unlock,
};

pub(super) const OPENER: Kind<OpenerEntity> = Kind { expected: "`button` or `lock`", parse: opener };

pub(super) const GARAGE_ID: Kind<DeviceId> =
    Kind { expected: "the id of a garage door, as `doorstep devices` shows it", parse: garage_id };

pub(super) const TRANSPORT: Kind<Transport> =
    Kind { expected: "`auto`, `tutk`, `old`, `new`, `webrtc` or `gwell`", parse: transport };

pub(super) const QUALITY: Kind<Quality> = Kind { expected: "`hd` or `sd`", parse: quality };

pub(super) const RING_PICTURE: Kind<RingPicture> =
    Kind { expected: "`auto`, `always` or `never`", parse: ring_picture };

pub(super) const TALK_LIMIT_S: Kind<u64> =
    Kind { expected: "a number of seconds from 10 to 3600", parse: |text| number(text, 10..=3_600) };

pub(super) const PAYLOAD: Kind<String> =
    Kind { expected: "the message that means a press, 1 to 256 characters", parse: payload };

pub(super) const LOG_LEVEL: Kind<LogLevel> =
    Kind { expected: "`error`, `warn`, `info`, `debug` or `trace`", parse: log_level };

pub(super) const EMAIL: Kind<Email> = Kind { expected: "the account's e-mail address", parse: email };

pub(super) const PASSWORD: Kind<Password> =
    Kind { expected: "the account's password", parse: |text| filled(text).map(Password::new) };

pub(super) const KEY_ID: Kind<Password> =
    Kind { expected: "the key's id from the developer console", parse: |text| filled(text).map(Password::new) };

pub(super) const API_KEY: Kind<Token> =
    Kind { expected: "the API key from the developer console", parse: |text| filled(text).map(Token::new) };

pub(super) const TOTP_SECRET: Kind<Password> =
    Kind { expected: "the authenticator's secret: letters A-Z and digits 2-7", parse: totp_secret };

pub(super) const EVENT_VALUE: Kind<u32> = Kind {
    expected: "the number of an event, such as 10",
    parse: |text| text.parse().map_err(|_| "not a whole number"),
};

pub(super) const POLL_S: Kind<u64> =
    Kind { expected: "a number of seconds from 1 to 60", parse: |text| number(text, 1..=60) };

pub(super) const GWELL_SERVER: Kind<HostPort> =
    Kind { expected: "a host and its UDP port, `host:51701`", parse: HostPort::parse };

pub(super) const STAGGER_S: Kind<u64> =
    Kind { expected: "a number of seconds from 0 to 60", parse: |text| number(text, 0..=60) };

pub(super) const USERNAME: Kind<Email> =
    Kind { expected: "the name or e-mail address of the account's login", parse: |text| filled(text).map(Email::new) };

pub(super) const FIREBASE_API_KEY: Kind<Token> = Kind {
    expected: "the web API key of Vivint's app, 39 characters that begin with `AIza`",
    parse: |text| filled(text).map(Token::new),
};

pub(super) const SUBSCRIBE_KEY: Kind<String> =
    Kind { expected: "a PubNub subscribe key, `sub-c-…`", parse: |text| filled(text).map(str::to_owned) };

pub(super) const RING_QUIET_S: Kind<u64> =
    Kind { expected: "a number of seconds from 0 to 60", parse: |text| number(text, 0..=60) };

pub(super) const ICE_SERVER: Kind<String> =
    Kind { expected: "`stun:host:port` or `turn:host:port`", parse: ice_server };

pub(super) const TURN_USERNAME: Kind<String> =
    Kind { expected: "the user name at the TURN server", parse: |text| filled(text).map(str::to_owned) };

pub(super) const ENDPOINT: Kind<Url> =
    Kind { expected: "an address, `https://host` (`http://` on this machine only)", parse: endpoint };

pub(super) const UNLOCK_SECRET: Kind<Password> =
    Kind { expected: "32 or more random characters (`openssl rand -hex 32` makes some)", parse: unlock_secret };

impl Mac {
    /// Colons and dashes between the digits are left out.
    ///
    /// # Errors
    /// When 12 hexadecimal digits do not remain.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-')).collect();
        let fits = digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if fits { Ok(Self(digits.to_ascii_uppercase())) } else { Err("not a MAC address") }
    }

    /// 12 upper-case hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Uid {
    /// # Errors
    /// When it is not 20 upper-case letters and digits.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let fits = text.len() == 20 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if fits { Ok(Self(text.to_owned())) } else { Err("not a camera's UID") }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(***)")
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uid(***)")
    }
}

fn topic(text: &str) -> Result<String, Reason> {
    let topic = text.trim_end_matches('/');
    if topic.is_empty() || topic.len() > 256 {
        return Err("a topic of the wrong length");
    }
    if topic.contains(['+', '#']) || topic.starts_with(['/', '$']) || topic.chars().any(char::is_control) {
        return Err("a topic that cannot be published to");
    }
    Ok(topic.to_owned())
}

fn host_name(text: &str) -> Result<String, Reason> {
    match url::Host::parse(text) {
        Ok(url::Host::Domain(name)) if !name.contains('*') => Ok(name),
        _ => Err("not the name of one host"),
    }
}

/// As browsers write it: in lower case, without a port that is usual for the scheme.
fn origin(text: &str) -> Result<String, Reason> {
    if text.contains('*') {
        return Err("a `*` would let the pages of many sites in");
    }
    let url = Url::parse(text).map_err(|_| "not the address of a site")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("neither `http://` nor `https://`");
    }
    let more =
        !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
    if more || url.path() != "/" {
        return Err("more than a site");
    }
    Ok(url.origin().ascii_serialization())
}

fn listen(text: &str) -> Result<SocketAddr, Reason> {
    text.parse().map_err(|_| "not an address with a port")
}

/// An empty token is none. Samples out of documentation, and one key held down, are worse than none.
fn token(text: &str) -> Result<Option<Token>, Reason> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.chars().count() < 32 {
        return Err("too short");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("has a character that cannot stand in an HTTP header");
    }
    if is_sample(text) {
        return Err("looks like a sample that others have too");
    }
    Ok(Some(Token::new(text)))
}

fn is_sample(token: &str) -> bool {
    const WORDS: [&str; 15] = [
        "changeme",
        "change-me",
        "change_me",
        "example",
        "your-",
        "your_",
        "yourtoken",
        "secret",
        "password",
        "replace",
        "placeholder",
        "doorstep",
        "01234567",
        "12345678",
        "abcdefgh",
    ];
    let (lower, bytes) = (token.to_ascii_lowercase(), token.as_bytes());
    let mut letters = bytes.to_vec();
    letters.sort_unstable();
    letters.dedup();
    let repeated = (1..=bytes.len() / 2).any(|period| bytes[period..] == bytes[..bytes.len() - period]);
    letters.len() < 8 || repeated || WORDS.iter().any(|word| lower.contains(word))
}

fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Reason> {
    let number: u64 = text.parse().map_err(|_| "not a whole number")?;
    if range.contains(&number) { Ok(number) } else { Err("out of range") }
}

fn port(number: u64) -> Result<NonZeroU16, Reason> {
    u16::try_from(number).ok().and_then(NonZeroU16::new).ok_or("out of range")
}

fn switch(text: &str) -> Result<bool, Reason> {
    text.parse().map_err(|_| "neither of the two")
}

fn address(text: &str) -> Result<IpAddr, Reason> {
    let address: IpAddr = text.parse().map_err(|_| "not an IP address")?;
    one_machine(address)
}

fn one_machine(address: IpAddr) -> Result<IpAddr, Reason> {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Err("an address that belongs to no single machine");
    }
    Ok(address)
}

fn name(text: &str) -> Result<String, Reason> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > 64 {
        return Err("a name of the wrong length");
    }
    if name.chars().any(char::is_control) {
        return Err("a name with a line break or another control character");
    }
    Ok(name.to_owned())
}

fn model(text: &str) -> Result<String, Reason> {
    let fits = (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if fits { Ok(text.to_owned()) } else { Err("not a model code") }
}

fn enr(text: &str) -> Result<Enr, Reason> {
    if text.len() < 16 { Err("too short") } else { Ok(Enr::new(text)) }
}

fn camera_address(text: &str) -> Result<SocketAddr, Reason> {
    let with_port = text.parse::<SocketAddr>();
    let address = with_port.or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, TUTK_PORT)));
    let address = address.map_err(|_| "not an IP address (names are not looked up)")?;
    if address.port() == 0 {
        return Err("port 0 is no port");
    }
    one_machine(address.ip()).map(|_| address)
}

fn device_id(text: &str) -> Result<DeviceId, Reason> {
    DeviceId::parse(text).map_err(|_| "not an id")
}

fn unlock(text: &str) -> Result<Unlock, Reason> {
    match text {
        "self" => Ok(Unlock::Own(OpenerEntity::default())),
        id => device_id(id).map(Unlock::Lock),
    }
}

fn opener(text: &str) -> Result<OpenerEntity, Reason> {
    match text {
        "button" => Ok(OpenerEntity::Button),
        "lock" => Ok(OpenerEntity::Lock),
        _ => Err("not what an opener can be shown as"),
    }
}

fn garage_id(text: &str) -> Result<DeviceId, Reason> {
    match text {
        "self" => Err("no doorbell is a garage door"),
        id => device_id(id),
    }
}

fn transport(text: &str) -> Result<Transport, Reason> {
    match text {
        "auto" => Ok(Transport::Auto),
        "tutk" => Ok(Transport::Tutk(TutkProtocol::Auto)),
        "old" => Ok(Transport::Tutk(TutkProtocol::Old)),
        "new" => Ok(Transport::Tutk(TutkProtocol::New)),
        "webrtc" => Ok(Transport::Webrtc),
        "gwell" => Ok(Transport::Gwell),
        _ => Err("not a transport of this version"),
    }
}

fn ring_picture(text: &str) -> Result<RingPicture, Reason> {
    match text {
        "auto" => Ok(RingPicture::Auto),
        "always" => Ok(RingPicture::Always),
        "never" => Ok(RingPicture::Never),
        _ => Err("not a wish for pictures of rings"),
    }
}

fn quality(text: &str) -> Result<Quality, Reason> {
    match text {
        "hd" => Ok(Quality::Hd),
        "sd" => Ok(Quality::Sd),
        _ => Err("not a quality"),
    }
}

fn log_level(text: &str) -> Result<LogLevel, Reason> {
    match text {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        _ => Err("not a level"),
    }
}

fn payload(text: &str) -> Result<String, Reason> {
    let fits = (1..=256).contains(&text.chars().count());
    if fits { Ok(text.to_owned()) } else { Err("a message of the wrong length") }
}

fn email(text: &str) -> Result<Email, Reason> {
    let text = text.trim();
    let fits =
        text.len() <= 254 && text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if fits { Ok(Email::new(text)) } else { Err("not an e-mail address") }
}

fn filled(text: &str) -> Result<&str, Reason> {
    if text.trim().is_empty() { Err("there is nothing in it") } else { Ok(text) }
}

/// Copied by hand, a secret easily gets a blank or a line break.
fn one_word(text: &str) -> Result<&str, Reason> {
    let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text) } else { Err("empty, or there is a blank in it") }
}

/// TURN over UDP is all that the WebRTC engine speaks.
fn ice_server(text: &str) -> Result<String, Reason> {
    let (scheme, place) = text.split_once(':').ok_or("no `stun:` or `turn:` in front")?;
    if !matches!(scheme, "stun" | "turn") {
        return Err("neither `stun:` nor `turn:`, which are the ones it can use");
    }
    let (host, port) = place.rsplit_once(':').ok_or("there is no port")?;
    let fits = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-[]:".contains(c));
    match (fits, port.parse::<NonZeroU16>()) {
        (true, Ok(_)) => Ok(text.to_owned()),
        (true, Err(_)) => Err("not a port from 1 to 65535"),
        (false, _) => Err("that is no host"),
    }
}

fn totp_secret(text: &str) -> Result<Password, Reason> {
    match totp(text, 0) {
        Some(_) => Ok(Password::new(text)),
        None => Err("not a secret in base32"),
    }
}

/// The rules for a token hold for every secret that strangers may try to guess.
fn unlock_secret(text: &str) -> Result<Password, Reason> {
    match token(text)? {
        Some(secret) => Ok(Password::new(secret.expose())),
        None => Err("there is nothing in it"),
    }
}

/// Passwords go there, so what leaves the machine is encrypted.
fn endpoint(text: &str) -> Result<Url, Reason> {
    let url = Url::parse(text).map_err(|_| "not an address")?;
    let local = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => return Err("it names no host"),
    };
    let has_login = !url.username().is_empty() || url.password().is_some();
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || has_login {
        return Err("more than a host and a port");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        _ => Err("passwords would go there unencrypted"),
    }
}
