//! Where an MQTT broker is, and how to log in there: one address.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::section::Reason;
use crate::secret::Password;

/// A password with one of these is the usual reason, because it ends the host too early.
const UNREADABLE: Reason =
    "not an address (write `/`, `?`, `#` and `@` in a password as `%2F`, `%3F`, `%23` and `%40`)";

/// A broker's address, taken apart so that its password is a secret from here on.
#[derive(Debug, Clone)]
pub struct MqttUrl {
    /// A name or an IP address, an IPv6 address without its brackets; one of a link with its interface, `fe80::1%eth0`.
    pub host: String,
    pub port: u16,
    pub tls: bool,
    pub login: Option<(String, Password)>,
}

/// Without user and password: `mqtts://host:8883`.
impl fmt::Display for MqttUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

impl MqttUrl {
    /// `mqtt://user:password@host:1883`; `mqtts` for TLS; user and password percent-encoded where need be.
    ///
    /// # Errors
    /// With what is wrong, never showing any part of the address.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let (scheme, _) = text.split_once("://").ok_or("an address without `mqtt://` in front")?;
        let tls = match scheme {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" => true,
            _ => return Err("not a broker's protocol"),
        };
        let (text, zone) = without_zone(text)?;
        let url = Url::parse(&text).map_err(|_| UNREADABLE)?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(UNREADABLE);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the address names no host")?;
        let port = url.port().unwrap_or(if tls { 8883 } else { 1883 });
        if port == 0 {
            return Err("port 0 is no port");
        }
        let host = format!("{}{zone}", host.trim_start_matches('[').trim_end_matches(']'));
        Ok(Self { host, port, tls, login: login(&url)? })
    }
}

/// An address of one link (`[fe80::1%eth0]`) without the interface that it is reached by, and that with its sign:
/// `%eth0`. Some write the sign as `%25` (RFC 6874).
fn without_zone(text: &str) -> Result<(Cow<'_, str>, String), Reason> {
    let authority = text.rfind('@').map_or(0, |at| at + 1);
    let Some((from, to)) = text[authority..].find('%').map(|at| authority + at).zip(text.rfind(']')) else {
        return Ok((Cow::Borrowed(text), String::new()));
    };
    let Some(written) = text.get(from..to) else { return Err(UNREADABLE) };
    let zone = written.strip_prefix("%25").unwrap_or(&written[1..]);
    let is_name =
        (1..=15).contains(&zone.len()) && zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let is_of_a_link = text[authority..from].to_ascii_lowercase().contains("[fe80:");
    if !(is_name && is_of_a_link) {
        return Err(UNREADABLE);
    }
    Ok((Cow::Owned(format!("{}{}", &text[..from], &text[to..])), format!("%{zone}")))
}

fn login(url: &Url) -> Result<Option<(String, Password)>, Reason> {
    let decode = |text| percent_decode_str(text).decode_utf8().map_err(|_| "user or password is not UTF-8");
    let password = url.password().unwrap_or_default();
    match (url.username(), password) {
        ("", "") => Ok(None),
        ("", _) => Err("a password without a user"),
        (user, password) => Ok(Some((decode(user)?.into_owned(), Password::new(decode(password)?)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_one_link_has_its_interface() {
        for written in ["mqtt://[fe80::1%eth0]", "mqtt://me:p%25%5D@[FE80::1%25eth0]:1883"] {
            let url = MqttUrl::parse(written).unwrap();
            assert_eq!((&*url.host, url.port), ("fe80::1%eth0", 1883), "{written}");
            assert_eq!(url.to_string(), "mqtt://[fe80::1%eth0]:1883");
        }
        for wrong in
            ["mqtt://[fd00::1%eth0]", "mqtt://[fe80::1%]", "mqtt://[fe80::1%a/b]", "mqtt://host%eth0]", "mqtt://]%"]
        {
            assert!(MqttUrl::parse(wrong).is_err(), "{wrong}");
        }
    }
}
