//! What doorbells say: who speaks the text, where the clips are, and from where sound may be fetched.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use url::{Host, Url};

use super::go2rtc;
use super::section::{Kind, Reason, Section};
use crate::secret::Token;

/// What doorbells say, and whom to ask for the sound.
#[derive(Debug, Clone, Default)]
pub struct Say {
    /// Home Assistant's engine of speech: an entity (`tts.piper`) or an older one by its name (`cloud`). `None`: the
    /// first that Home Assistant has.
    pub engine: Option<String>,
    /// As the engine calls it: `en`, `de_DE`. `None`: the engine's own.
    pub language: Option<String>,
    /// Where Home Assistant is, up to `/api`, and a long-lived token of it. `None`: the Supervisor's, or nobody.
    pub assistant: Option<(Url, Token)>,
    /// The folder of the clips, in place of the usual one.
    pub clips: Option<PathBuf>,
    /// From where sound may be fetched although the address belongs to this machine or to the inside of Home Assistant:
    /// `host` or `host:port`, names in lower case, an IPv6 address in brackets.
    pub allow: BTreeSet<String>,
}

const ENGINE: Kind<String> =
    Kind { expected: "an engine of Home Assistant, such as `tts.piper`", parse: |text| word(text, "_.") };
const LANGUAGE: Kind<String> =
    Kind { expected: "a language as the engine calls it, such as `en` or `de_DE`", parse: |text| word(text, "_-") };
const URL: Kind<Url> =
    Kind { expected: "the address of Home Assistant, `http://192.168.1.10:8123`", parse: go2rtc::base };
const TOKEN: Kind<Token> =
    Kind { expected: "a long-lived access token, made in Home Assistant under your profile", parse: token };
const CLIPS: Kind<PathBuf> = Kind { expected: "a folder, such as `/srv/doorstep/clips`", parse: folder };
const ALLOWED: Kind<String> =
    Kind { expected: "a host or an IP address, with a port or without, such as `nas.local:8080`", parse: allowed };

pub(super) fn read(say: &mut Section<'_>) -> Option<Say> {
    let url = say.optional("url", &URL);
    let token = say.optional("token", &TOKEN);
    for (one, other) in [("url", "token"), ("token", "url")] {
        if say.has(one) && !say.has(other) {
            say.report_value(one, &format!("there is no `{other}` beside it; expected both or neither"));
        }
    }
    Some(Say {
        engine: say.optional("engine", &ENGINE),
        language: say.optional("language", &LANGUAGE),
        assistant: url.zip(token),
        clips: say.optional("clips", &CLIPS),
        allow: say.texts("allow", &ALLOWED).into_iter().collect(),
    })
}

/// Letters, digits and these `others`.
fn word(text: &str, others: &str) -> Result<String, Reason> {
    let fits = (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c));
    if fits { Ok(text.to_owned()) } else { Err("not a name that Home Assistant gives") }
}

fn token(text: &str) -> Result<Token, Reason> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(Token::new(text)) } else { Err("empty, or there is a blank in it") }
}

fn folder(text: &str) -> Result<PathBuf, Reason> {
    if text.trim().is_empty() { Err("there is nothing in it") } else { Ok(PathBuf::from(text)) }
}

/// As addresses of the web name it, so that it can be compared with theirs.
fn allowed(text: &str) -> Result<String, Reason> {
    const NO_HOST: Reason = "not one host";
    if let Ok(IpAddr::V6(ip)) = text.parse() {
        return Ok(Host::<String>::Ipv6(ip).to_string());
    }
    let with_port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = with_port.map_or((text, None), |(host, port)| (host, Some(port)));
    if port == Some(0) {
        return Err("port 0 is no port");
    }
    let host = Host::parse(host).map_err(|_| NO_HOST)?.to_string();
    if host.contains('*') {
        return Err(NO_HOST);
    }
    Ok(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_allowed_are_kept_as_addresses_of_the_web_name_them() {
        for (written, kept) in [
            ("NAS.local", "nas.local"),
            ("nas.local:80", "nas.local:80"),
            ("127.0.0.1", "127.0.0.1"),
            ("0x7f.1:8123", "127.0.0.1:8123"),
            ("::1", "[::1]"),
            ("[::1]", "[::1]"),
            ("[0:0::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(allowed(written).as_deref(), Ok(kept), "{written}");
        }
        for wrong in ["", "*", "*.local", "http://nas.local", "nas.local/x", "nas.local:0", "nas.local:99999", "a b"] {
            assert!(allowed(wrong).is_err(), "{wrong}");
        }
    }
}
