//! go2rtc as a companion: where it is, and how Doorstep's streams are called there.

use std::net::IpAddr;

use url::{Host, Url};

use super::section::{Kind, Reason, Section};
use super::values;
use crate::secret::Password;

/// Whether and how every stream is registered in a go2rtc.
#[derive(Debug, Clone)]
pub struct Go2rtc {
    pub enabled: Enabled,
    /// Its address up to `/api`, which holds its `api.base_path` where it has one. `None`: where it usually is.
    pub url: Option<Url>,
    /// User and password of its API.
    pub login: Option<(String, Password)>,
    /// What the names of our streams begin with. No other stream is ever touched.
    pub prefix: String,
    pub mode: Go2rtcMode,
    /// Whether our streams are written into its configuration file.
    pub persist: bool,
    /// Where it reaches us, in place of what is found out.
    pub advertise_url: Option<Url>,
}

impl Go2rtc {
    pub const PREFIX: &str = "doorstep_";
}

impl Default for Go2rtc {
    fn default() -> Self {
        Self {
            enabled: Enabled::Auto,
            url: None,
            login: None,
            prefix: Self::PREFIX.to_owned(),
            mode: Go2rtcMode::Ws,
            persist: false,
            advertise_url: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enabled {
    /// As soon as one is there; that there is none is nothing to speak of.
    Auto,
    Yes,
    No,
}

/// How go2rtc fetches a stream from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go2rtcMode {
    /// By its own signalling where the doorbell can be talked to, by WHEP elsewhere.
    Ws,
    /// By WHEP, over which it never talks.
    Whep,
}

const ENABLED: Kind<Enabled> = Kind { expected: "`auto`, `true` or `false`", parse: enabled };
const URL: Kind<Url> = Kind { expected: "the address of its web page, `http://192.168.1.10:1984`", parse: base };
const USERNAME: Kind<String> = Kind { expected: "its `api.username`", parse: username };
const PASSWORD: Kind<Password> = Kind { expected: "its `api.password`", parse: password };
const PREFIX: Kind<String> =
    Kind { expected: "1 to 32 letters, digits, `_` and `-`, such as `doorstep_`", parse: prefix };
const MODE: Kind<Go2rtcMode> = Kind { expected: "`ws` or `whep`", parse: mode };
const ADVERTISE_URL: Kind<Url> =
    Kind { expected: "where go2rtc reaches Doorstep, `http://192.168.1.20:8480`", parse: base };

pub(super) fn read(go2rtc: &mut Section<'_>) -> Option<Go2rtc> {
    let usual = Go2rtc::default();
    let enabled = go2rtc.optional("enabled", &ENABLED).unwrap_or(usual.enabled);
    let url = go2rtc.optional("url", &URL);
    let username = go2rtc.optional("username", &USERNAME);
    let password = go2rtc.optional("password", &PASSWORD);
    for (one, other) in [("username", "password"), ("password", "username")] {
        if go2rtc.has(one) && !go2rtc.has(other) {
            go2rtc.report_value(one, &format!("there is no `{other}` beside it; expected both or neither"));
        }
    }
    let read = Go2rtc {
        enabled,
        url,
        login: username.zip(password),
        prefix: go2rtc.optional("prefix", &PREFIX).unwrap_or(usual.prefix),
        mode: go2rtc.optional("mode", &MODE).unwrap_or(usual.mode),
        persist: go2rtc.optional("persist", &values::SWITCH).unwrap_or(usual.persist),
        advertise_url: go2rtc.optional("advertise_url", &ADVERTISE_URL),
    };
    // Without `url` it is on this machine.
    let elsewhere = read.url.as_ref().is_some_and(|url| !is_loopback(url));
    if elsewhere && read.advertise_url.as_ref().is_some_and(is_loopback) {
        go2rtc.report_value(
            "advertise_url",
            "go2rtc would look for it on its own machine; expected an address of this one",
        );
    }
    Some(read)
}

/// Whether only this machine can mean it.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
        None => false,
    }
}

fn enabled(text: &str) -> Result<Enabled, Reason> {
    match text {
        "auto" => Ok(Enabled::Auto),
        "true" => Ok(Enabled::Yes),
        "false" => Ok(Enabled::No),
        _ => Err("neither of the three"),
    }
}

/// An address up to `/api`, without a login.
pub(super) fn base(text: &str) -> Result<Url, Reason> {
    let url = Url::parse(text).map_err(|_| "not an address")?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err("not an address that begins with `http://` or `https://`");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a login does not belong into the address");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("more than an address and a path");
    }
    Ok(url)
}

fn username(text: &str) -> Result<String, Reason> {
    match text {
        "" => Err("there is nothing in it"),
        name if name.contains(':') || name.chars().any(char::is_control) => Err("a colon cannot be sent in a name"),
        name => Ok(name.to_owned()),
    }
}

fn password(text: &str) -> Result<Password, Reason> {
    if text.is_empty() { Err("there is nothing in it") } else { Ok(Password::new(text)) }
}

fn prefix(text: &str) -> Result<String, Reason> {
    let fits =
        (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if fits { Ok(text.to_owned()) } else { Err("not what a name can begin with") }
}

fn mode(text: &str) -> Result<Go2rtcMode, Reason> {
    match text {
        "ws" => Ok(Go2rtcMode::Ws),
        "whep" => Ok(Go2rtcMode::Whep),
        _ => Err("not a way that go2rtc knows"),
    }
}
