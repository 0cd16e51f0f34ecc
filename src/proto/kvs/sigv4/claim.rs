//! What a request claims of who has signed it, and whether that is so: the side of AWS itself.
//!
//! The canonical request is built from the headers that the signer names, never from a list of ours: each of AWS's
//! clients signs other ones (kvs reference §3).

use std::fmt;

use hmac::Mac;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    ALGORITHM, Request, Scope, TERMINATOR, TokenMode, canonical_query, canonical_request, header_value, hex,
    parameters, signature, unix_seconds,
};

/// A longer `authorization`, or parameter of an address, is not looked at. A token has some 2000 characters.
const LONGEST: usize = 16 << 10;
/// More names of signed headers are not looked at.
const MOST_HEADERS: usize = 64;

/// Why there is nothing to verify. Nothing of the request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// AWS calls it `MissingAuthenticationTokenException`.
    #[error("the request is not signed")]
    Missing,
    #[error("the request is signed in its headers and in its address")]
    Both,
    #[error("the signature is not of the algorithm {ALGORITHM}")]
    Algorithm,
    #[error("`{0}` of the signature is missing, doubled or not readable")]
    Malformed(&'static str),
    #[error("the scope of the credential is not `key/day/region/service/{TERMINATOR}`")]
    Scope,
    #[error("the credential is of another day than the request")]
    Day,
    #[error("`host` is not among the signed headers")]
    HostNotSigned,
    #[error("a signed header did not come")]
    HeaderMissing,
}

/// Where a signature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In the header `authorization`.
    Header,
    /// In the address.
    Query,
}

/// What a request says of its signer. Nothing of it is true before [`Claim::holds`] says so.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    pub form: Form,
    pub access_key_id: String,
    pub region: String,
    pub service: String,
    /// `20250101T000000Z`, a time that exists.
    pub amz_date: String,
    /// The same in seconds since 1970.
    pub signed_at: u64,
    pub session_token: Option<String>,
    /// In seconds from then; an address says it.
    pub expires: Option<u64>,
    /// In the order in which they were named.
    pub signed_headers: Vec<String>,
    signature: Vec<u8>,
}

/// Without token and signature.
impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { form, access_key_id, region, service, amz_date, expires, signed_headers, .. } = self;
        let expires = expires.map(|seconds| format!(" for {seconds} s")).unwrap_or_default();
        let names = signed_headers.join(";");
        write!(f, "Claim({form:?}, {access_key_id}, {region}, {service}, {amz_date}{expires}, {names})")
    }
}

/// As they stand in the request.
struct Parts<'a> {
    form: Form,
    credential: &'a str,
    amz_date: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    session_token: Option<String>,
    expires: Option<u64>,
}

impl Claim {
    /// Reads what `request` claims.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn of(request: &Request<'_>) -> Result<Self, ClaimError> {
        let in_query = parameters(request.query).any(|(name, _)| *name == *b"X-Amz-Algorithm");
        match (header(request, "authorization", "Authorization")?, in_query) {
            (Some(_), true) => Err(ClaimError::Both),
            (Some(authorization), false) => Self::in_headers(request, authorization),
            (None, true) => Self::in_query(request),
            (None, false) => Err(ClaimError::Missing),
        }
    }

    /// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`
    fn in_headers(request: &Request<'_>, authorization: &str) -> Result<Self, ClaimError> {
        let (algorithm, fields) = authorization.split_once(' ').ok_or(ClaimError::Algorithm)?;
        if algorithm != ALGORITHM {
            return Err(ClaimError::Algorithm);
        }
        let field = |name: &'static str| {
            let fields = fields.split(',').filter_map(|field| field.trim().split_once('='));
            only(fields.filter(|(other, _)| *other == name).map(|(_, value)| value))
                .and_then(|value| value.ok_or(()))
                .map_err(|()| ClaimError::Malformed(name))
        };
        let amz_date = header(request, "x-amz-date", "X-Amz-Date")?.ok_or(ClaimError::Malformed("X-Amz-Date"))?;
        let token = header(request, "x-amz-security-token", "X-Amz-Security-Token")?;
        Parts {
            form: Form::Header,
            credential: field("Credential")?,
            amz_date: amz_date.trim(),
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
            session_token: token.map(|token| token.trim().to_owned()),
            expires: None,
        }
        .read(request)
    }

    fn in_query(request: &Request<'_>) -> Result<Self, ClaimError> {
        let algorithm = parameter(request, "X-Amz-Algorithm")?;
        if algorithm.as_deref() != Some(ALGORITHM) {
            return Err(ClaimError::Algorithm);
        }
        let wanted = |name| parameter(request, name)?.ok_or(ClaimError::Malformed(name));
        let expires = parameter(request, "X-Amz-Expires")?
            .map(|seconds| seconds.parse::<u32>().map_err(|_| ClaimError::Malformed("X-Amz-Expires")))
            .transpose()?;
        Parts {
            form: Form::Query,
            credential: &wanted("X-Amz-Credential")?,
            amz_date: &wanted("X-Amz-Date")?,
            signed_headers: &wanted("X-Amz-SignedHeaders")?,
            signature: &wanted("X-Amz-Signature")?,
            session_token: parameter(request, "X-Amz-Security-Token")?,
            expires: expires.map(u64::from),
        }
        .read(request)
    }

    /// Whether the one who has signed `request` knows this secret. The token is to be compared too, if the key has one,
    /// and the time: [`Claim::signed_at`], [`Claim::expires`].
    pub fn holds(&self, request: &Request<'_>, secret_access_key: &str) -> bool {
        let own: &[&str] = match (self.form, TokenMode::of(&self.service)) {
            (Form::Header, _) => &[],
            (Form::Query, TokenMode::Signed) => &["X-Amz-Signature"],
            (Form::Query, TokenMode::Appended) => &["X-Amz-Signature", "X-Amz-Security-Token"],
        };
        let query = canonical_query(request.query, own);
        let canonical = canonical_request(request, &query, &self.signed_headers);
        let scope = Scope { region: &self.region, service: &self.service, amz_date: &self.amz_date };
        let is_of_it = signature(&canonical, secret_access_key, &scope).verify_slice(&self.signature).is_ok();
        is_of_it && says_its_body(request)
    }

    /// Whether the key's token is the one that came, compared in constant time.
    pub fn has_token(&self, session_token: Option<&str>) -> bool {
        match (&self.session_token, session_token) {
            (None, None) => true,
            (Some(came), Some(wanted)) => came.as_bytes().ct_eq(wanted.as_bytes()).into(),
            _ => false,
        }
    }
}

impl Parts<'_> {
    fn read(self, request: &Request<'_>) -> Result<Claim, ClaimError> {
        let parts: Vec<&str> = self.credential.split('/').collect();
        let [access_key_id, day, region, service, TERMINATOR] = parts[..] else {
            return Err(ClaimError::Scope);
        };
        if [access_key_id, region, service].iter().any(|part| part.is_empty()) {
            return Err(ClaimError::Scope);
        }
        let signed_at = unix_seconds(self.amz_date).ok_or(ClaimError::Malformed("X-Amz-Date"))?;
        if !self.amz_date.starts_with(day) || day.len() != 8 {
            return Err(ClaimError::Day);
        }
        Ok(Claim {
            form: self.form,
            access_key_id: access_key_id.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            amz_date: self.amz_date.to_owned(),
            signed_at,
            session_token: self.session_token,
            expires: self.expires,
            signed_headers: signed_headers(self.signed_headers, request)?,
            signature: unhex(self.signature).ok_or(ClaimError::Malformed("Signature"))?,
        })
    }
}

/// The named headers, all of which must have come.
fn signed_headers(names: &str, request: &Request<'_>) -> Result<Vec<String>, ClaimError> {
    let names: Vec<String> = names.split(';').take(MOST_HEADERS + 1).map(str::to_owned).collect();
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
    };
    if names.len() > MOST_HEADERS || !names.iter().all(is_name) {
        return Err(ClaimError::Malformed("SignedHeaders"));
    }
    if !names.iter().any(|name| name == "host") {
        return Err(ClaimError::HostNotSigned);
    }
    let came = |name: &String| request.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    if names.iter().all(came) { Ok(names) } else { Err(ClaimError::HeaderMissing) }
}

/// `x-amz-content-sha256`, where it is sent, is the hash of what is sent.
fn says_its_body(request: &Request<'_>) -> bool {
    let said = header_value(request.headers, "x-amz-content-sha256");
    said.is_empty() || said == hex(&Sha256::digest(request.body))
}

fn header<'a>(request: &Request<'a>, name: &str, called: &'static str) -> Result<Option<&'a str>, ClaimError> {
    let values = request.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
    match only(values) {
        Ok(Some(value)) if value.len() > LONGEST => Err(ClaimError::Malformed(called)),
        Ok(value) => Ok(value),
        Err(()) => Err(ClaimError::Malformed(called)),
    }
}

fn parameter(request: &Request<'_>, name: &'static str) -> Result<Option<String>, ClaimError> {
    let values = parameters(request.query).filter(|(other, _)| **other == *name.as_bytes()).map(|(_, value)| value);
    let value = only(values).map_err(|()| ClaimError::Malformed(name))?;
    let text = value.map(|value| String::from_utf8(value.into_owned()).ok().filter(|text| text.len() <= LONGEST));
    match text {
        Some(None) => Err(ClaimError::Malformed(name)),
        Some(text) => Ok(text),
        None => Ok(None),
    }
}

/// The only one, if there is one.
fn only<T>(mut all: impl Iterator<Item = T>) -> Result<Option<T>, ()> {
    let first = all.next();
    if all.next().is_some() { Err(()) } else { Ok(first) }
}

/// 64 digits in lower case.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 64 {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
