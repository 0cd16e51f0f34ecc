//! Signature Version 4, by which AWS knows who asks (kvs reference §3): in headers, and in an address that whoever
//! knows it may use for a while. Text in, text out; [`claim`] is the other side of it.
//!
//! Both sides build the same canonical request: the one who signs from what is about to be sent, the one who verifies
//! from what has come.

pub mod claim;

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};

use crate::proto::wire::hex;
pub use claim::{Claim, ClaimError, Form};

/// The only way of signing that is known here.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What a scope ends with.
const TERMINATOR: &str = "aws4_request";

/// RFC 3986: only the unreserved characters stand for themselves.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const RESERVED_IN_PATHS: &AsciiSet = &RESERVED.remove(b'/');

/// An access key, temporary when it has a token.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub session_token: Option<&'a str>,
}

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.access_key_id)
    }
}

/// What a signature is good for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// `us-east-1`
    pub region: &'a str,
    /// `kinesisvideo`, `iotdevicegateway`, `iot`, `sts`
    pub service: &'a str,
    /// [`amz_date`]
    pub amz_date: &'a str,
}

impl Scope<'_> {
    /// `20250101/us-east-1/kinesisvideo/aws4_request`
    fn text(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.day(), self.region, self.service)
    }

    fn day(&self) -> &str {
        self.amz_date.get(..8).unwrap_or(self.amz_date)
    }
}

/// A request as it goes over the wire.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Begins with `/`.
    pub path: &'a str,
    /// Without the `?`; [`query`] writes one.
    pub query: &'a str,
    /// To be signed: those that the signature is to cover, `host` among them. To be verified: all that have come.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// Without its query, headers and body: any of them can hold a secret.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {}, {} headers, {} bytes)", self.method, self.path, self.headers.len(), self.body.len())
    }
}

/// Where the token of temporary keys stands in a presigned address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenMode {
    /// Part of what is signed, as Kinesis Video Streams wants it.
    Signed,
    /// Outside of it, as AWS IoT wants it.
    Appended,
}

impl TokenMode {
    /// What `service` wants.
    pub fn of(service: &str) -> Self {
        if service == "iotdevicegateway" { Self::Appended } else { Self::Signed }
    }
}

/// Seconds since 1970 as AWS writes a time, `20250101T000000Z`. What the form cannot say is its last second.
pub fn amz_date(unix_s: u64) -> String {
    const END_OF_9999: u64 = 253_402_300_799;
    let at = UNIX_EPOCH + Duration::from_secs(unix_s.min(END_OF_9999));
    humantime::format_rfc3339_seconds(at).to_string().replace(['-', ':'], "")
}

/// The seconds since 1970 of an [`amz_date`]; `None` when it is not one.
pub fn unix_seconds(amz_date: &str) -> Option<u64> {
    let bytes: &[u8; 16] = amz_date.as_bytes().try_into().ok()?;
    let is_digit = |at: &usize| bytes[*at].is_ascii_digit();
    if !(0..8).chain(9..15).all(|at| is_digit(&at)) || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let [year, month, day] = [&amz_date[..4], &amz_date[4..6], &amz_date[6..8]];
    let [hour, minute, second] = [&amz_date[9..11], &amz_date[11..13], &amz_date[13..15]];
    let at = humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()?;
    at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// `name=value&…`, encoded as AWS wants it.
pub fn query(parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    pairs.join("&")
}

fn encoded(text: &str) -> Cow<'_, str> {
    percent_encode(text.as_bytes(), RESERVED).into()
}

/// What the header `authorization` says for `request`, which is to be sent with the headers that it names, with
/// `x-amz-date` of the scope and, if there is a token, with that as `x-amz-security-token`. These two are signed whether
/// `request` names them or not.
pub fn authorization(request: &Request<'_>, keys: &Keys<'_>, scope: &Scope<'_>) -> String {
    let mut headers: Vec<(&str, &str)> = request.headers.to_vec();
    let own = [("x-amz-date", Some(scope.amz_date)), ("x-amz-security-token", keys.session_token)];
    for (name, value) in own {
        headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        headers.extend(value.map(|value| (name, value)));
    }
    let names = header_names(&headers);
    let request = Request { headers: &headers, ..*request };
    let canonical = canonical_request(&request, &canonical_query(request.query, &[]), &names);
    let signature = hex(&signature(&canonical, keys.secret_access_key, scope).finalize().into_bytes());
    let (id, scope) = (keys.access_key_id, scope.text());
    format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={}, Signature={signature}", names.join(";"))
}

/// The query that makes `request` an address which needs no headers but those that it names: its own parameters, and
/// behind them `X-Amz-…` with the signature. `expires` is in seconds; AWS IoT is told none.
pub fn presigned_query(
    request: &Request<'_>,
    keys: &Keys<'_>,
    scope: &Scope<'_>,
    expires: Option<u64>,
    token: TokenMode,
) -> String {
    let names = header_names(request.headers);
    let credential = format!("{}/{}", keys.access_key_id, scope.text());
    let (expires, signed_headers) = (expires.map(|seconds| seconds.to_string()), names.join(";"));
    let (signed_token, appended_token) = match token {
        TokenMode::Signed => (keys.session_token, None),
        TokenMode::Appended => (None, keys.session_token),
    };
    let own = [
        ("X-Amz-Algorithm", Some(ALGORITHM)),
        ("X-Amz-Credential", Some(&credential)),
        ("X-Amz-Date", Some(scope.amz_date)),
        ("X-Amz-Expires", expires.as_deref()),
        ("X-Amz-Security-Token", signed_token),
        ("X-Amz-SignedHeaders", Some(&signed_headers)),
    ];
    let own: Vec<(&str, &str)> = own.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let signed = canonical_query(&format!("{}&{}", request.query, query(&own)), &[]);
    let canonical = canonical_request(request, &signed, &names);
    let signature = hex(&signature(&canonical, keys.secret_access_key, scope).finalize().into_bytes());
    let token = appended_token.map(|token| format!("&{}", query(&[("X-Amz-Security-Token", token)])));
    format!("{signed}&X-Amz-Signature={signature}{}", token.unwrap_or_default())
}

/// In lower case, sorted, each once.
fn header_names(headers: &[(&str, &str)]) -> Vec<String> {
    let mut names: Vec<String> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The parameters but for those `left_out`, each encoded anew and sorted by its encoded name. A `+` is a plus.
fn canonical_query(query: &str, left_out: &[&str]) -> String {
    let mut pairs: Vec<(String, String)> = parameters(query)
        .filter(|(name, _)| !left_out.iter().any(|left_out| left_out.as_bytes() == &**name))
        .map(|(name, value)| {
            (percent_encode(&name, RESERVED).to_string(), percent_encode(&value, RESERVED).to_string())
        })
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// The decoded names and values of a query.
fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode_str(name).into(), percent_decode_str(value).into())
    })
}

/// Method, path, query, headers, their names and the hash of the body, a line each and one empty line.
fn canonical_request(request: &Request<'_>, query: &str, signed_headers: &[String]) -> String {
    let path = percent_encode(request.path.as_bytes(), RESERVED_IN_PATHS);
    let headers: String =
        signed_headers.iter().map(|name| format!("{name}:{}\n", header_value(request.headers, name))).collect();
    let (method, names, body) = (request.method, signed_headers.join(";"), hex(&Sha256::digest(request.body)));
    format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{body}")
}

/// All the values of a header, without the blanks around them, and with one where there are more.
fn header_value(headers: &[(&str, &str)], name: &str) -> String {
    let named = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    let values: Vec<String> = named.map(|(_, value)| trimmed(value)).collect();
    values.join(",")
}

fn trimmed(value: &str) -> String {
    let words: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// To be finalized by who signs, and compared by who verifies.
fn signature(canonical_request: &str, secret_access_key: &str, scope: &Scope<'_>) -> Hmac<Sha256> {
    let hash = hex(&Sha256::digest(canonical_request));
    let text = format!("{ALGORITHM}\n{}\n{}\n{hash}", scope.amz_date, scope.text());
    let secret = format!("AWS4{secret_access_key}");
    let key = [scope.day(), scope.region, scope.service, TERMINATOR]
        .iter()
        .fold(secret.into_bytes(), |key, part| keyed(&key, part).finalize().into_bytes().to_vec());
    keyed(&key, &text)
}

fn keyed(key: &[u8], text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(text.as_bytes());
    mac
}

#[cfg(test)]
#[path = "sigv4_tests.rs"]
mod tests;
