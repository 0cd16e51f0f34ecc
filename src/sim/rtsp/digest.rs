//! Digest authentication (RFC 7616 with MD5, and its forerunner without `qop`).

use md5::{Digest, Md5};

use super::Protection;
use super::message::Request;
use crate::proto::wire::hex;
use crate::secret::Password;

pub(super) const REALM: &str = "Doorstep virtual camera";

/// Who is let in.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Password,
}

/// What one connection was asked to prove.
#[derive(Debug)]
pub(super) struct Guard {
    protection: Protection,
    nonce: String,
    /// Of the last request that was let in; the next one's is higher.
    count: u32,
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It has no credentials: the usual first request.
    Nothing,
    Unreadable,
    /// With what would be right for another nonce.
    Stale,
    Wrong,
    /// The count of an earlier request.
    Replayed,
}

impl Denied {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Nothing => "no credentials",
            Self::Unreadable => "credentials that cannot be read",
            Self::Stale => "a nonce that is not known any more",
            Self::Wrong => "a wrong user or password",
            Self::Replayed => "a request that was counted before",
        }
    }
}

impl Guard {
    pub(super) fn new(protection: Protection, nonce: String) -> Self {
        Self { protection, nonce, count: 0 }
    }

    pub(super) fn renew(&mut self, nonce: String) {
        *self = Self::new(self.protection, nonce);
    }

    /// The value of `WWW-Authenticate`.
    pub(super) fn challenge(&self, why: Denied) -> String {
        let qop = if self.protection == Protection::Auth { ", qop=\"auth\"" } else { "" };
        let stale = if why == Denied::Stale { ", stale=true" } else { "" };
        format!("Digest realm=\"{REALM}\", nonce=\"{}\", algorithm=MD5{qop}{stale}", self.nonce)
    }

    pub(super) fn admit(&mut self, login: &Login, request: &Request) -> Result<(), Denied> {
        let header = request.header("Authorization").ok_or(Denied::Nothing)?;
        let given = Credentials::parse(header).ok_or(Denied::Unreadable)?;
        if given.counted != given.count.is_some() {
            return Err(Denied::Unreadable);
        }
        let right = given.user == login.user
            && given.realm == REALM
            && given.uri == request.uri
            && given.response == given.expected(login, &request.method);
        if !right {
            return Err(Denied::Wrong);
        }
        if given.nonce != self.nonce {
            return Err(Denied::Stale);
        }
        // Clients of the old kind (go2rtc) count nothing, and RFC 2617 lets them in.
        if given.count.is_some_and(|count| count <= self.count) {
            return Err(Denied::Replayed);
        }
        self.count = given.count.unwrap_or(self.count);
        Ok(())
    }
}

/// The value of `Authorization`.
#[derive(Debug, Default)]
struct Credentials {
    user: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    /// `nc` as it was sent, and as the number that it is.
    count_text: String,
    count: Option<u32>,
    client_nonce: String,
    /// With `qop=auth`.
    counted: bool,
}

impl Credentials {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let mut credentials = Self::default();
        while !rest.trim_start_matches([',', ' ']).is_empty() {
            let (name, after) = rest.trim_start_matches([',', ' ']).split_once('=')?;
            let (value, after) = value(after)?;
            credentials.take(name.trim(), value);
            rest = after;
        }
        Some(credentials)
    }

    fn take(&mut self, name: &str, value: String) {
        match name.to_ascii_lowercase().as_str() {
            "username" => self.user = value,
            "realm" => self.realm = value,
            "nonce" => self.nonce = value,
            "uri" => self.uri = value,
            "response" => self.response = value,
            "cnonce" => self.client_nonce = value,
            "nc" => {
                self.count = u32::from_str_radix(&value, 16).ok();
                self.count_text = value;
            }
            "qop" => self.counted = value == "auth",
            _ => {}
        }
    }

    /// RFC 7616 §3.4.1; §3.4.6 of RFC 2617 without `qop`.
    fn expected(&self, login: &Login, method: &str) -> String {
        let secret = md5(&format!("{}:{}:{}", self.user, self.realm, login.password.expose()));
        let what = md5(&format!("{method}:{}", self.uri));
        let Self { nonce, count_text, client_nonce, .. } = self;
        match self.counted {
            true => md5(&format!("{secret}:{nonce}:{count_text}:{client_nonce}:auth:{what}")),
            false => md5(&format!("{secret}:{nonce}:{what}")),
        }
    }
}

/// A token, or a text in quotes in which `\` takes the next character as it is; and what stands behind.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn md5(text: &str) -> String {
    hex(&Md5::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(header: &str, password: &str, method: &str) -> (String, String) {
        let given = Credentials::parse(header).unwrap();
        let login = Login { user: given.user.clone(), password: Password::new(password) };
        (given.expected(&login, method), given.response)
    }

    #[test]
    fn the_examples_of_the_standards_come_out() {
        // RFC 7616 §3.9.1.
        let counted = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
            algorithm=MD5, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
            cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
            response=\"8ca523f5e9506fed4657c9700eebdbec\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        let (expected, given) = response(counted, "Circle of Life", "GET");
        assert_eq!(expected, given);
        // RFC 2069 §2.4, as its errata have it.
        let legacy = "digest username=\"Mufasa\",realm=\"testrealm@host.com\",\
            nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\",uri=\"/dir/index.html\",\
            response=\"1949323746fe6a43ef61f9606e7febea\"";
        let (expected, given) = response(legacy, "CircleOfLife", "GET");
        assert_eq!(expected, given);
    }

    #[test]
    fn quotes_are_read_and_what_cannot_be_read_is_no_login() {
        let given = Credentials::parse(r#"Digest username="a\"b, \\c" , realm=d"#).unwrap();
        assert_eq!((given.user.as_str(), given.realm.as_str()), (r#"a"b, \c"#, "d"));
        for bad in ["Basic YTpi", "Digest", "Digest username=\"open", "Digest username=\"a\\", "Digest ,,x"] {
            assert!(Credentials::parse(bad).is_none(), "{bad}");
        }
    }
}
