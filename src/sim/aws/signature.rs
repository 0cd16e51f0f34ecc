//! Who signed a request, and whether he may do what he asks for (kvs reference §2, §3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::call::Call;
use super::exception::Exception;
use super::world::World;
use crate::proto::kvs::sigv4::{self, Claim, ClaimError, Form, Request};
use crate::secret::{Password, Token};

/// How far a clock may be off.
const TOLERANCE_S: u64 = 300;
/// How long an address of the signaling service is good for, and at most.
const LONGEST_S: u64 = 299;

/// A key that signatures are verified with.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) secret: Password,
    pub(super) token: Option<Token>,
    pub(super) expires: Option<SystemTime>,
    /// `arn:aws:iam::123456789012:user/AKIA…`
    pub(super) arn: String,
    pub(super) denied: Vec<String>,
}

/// Who asks, beyond doubt.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) key_id: String,
    pub(super) arn: String,
    denied: Vec<String>,
}

impl Caller {
    /// Whether his policy allows `action` on `resource`.
    ///
    /// # Errors
    /// `AccessDeniedException`; its status is the caller's business.
    pub(super) fn may(&self, action: &str, resource: &str) -> Result<(), Exception> {
        let names = |denied: &String| match denied.strip_suffix('*') {
            Some(beginning) => action.starts_with(beginning),
            None => denied == action,
        };
        if self.denied.iter().any(names) { Err(self.denial(action, resource)) } else { Ok(()) }
    }

    pub(super) fn denial(&self, action: &str, resource: &str) -> Exception {
        let arn = &self.arn;
        let message = format!(
            "User: {arn} is not authorized to perform: {action} on resource: {resource} because no identity-based \
             policy allows the {action} action"
        );
        Exception::forbidden("AccessDeniedException", message)
    }
}

/// Finds out who signed a request to `service`.
///
/// # Errors
/// What AWS says of signatures, 403.
pub(super) fn authenticate(world: &World, call: &Call, service: &str) -> Result<Caller, Exception> {
    let headers: Vec<(&str, &str)> =
        call.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let request = Request {
        method: call.method.as_str(),
        path: &call.path,
        query: &call.query,
        headers: &headers,
        body: &call.body,
    };
    let claim = Claim::of(&request).map_err(unreadable)?;
    let key = world.key(&claim.access_key_id).ok_or_else(unknown)?;
    is_for(&claim, &world.settings.region, service)?;
    is_of_now(&claim, world.now())?;
    if !claim.holds(&request, key.secret.expose()) {
        return Err(Exception::forbidden("InvalidSignatureException", MISMATCH));
    }
    if !claim.has_token(key.token.as_ref().map(Token::expose)) {
        return Err(unknown());
    }
    if key.expires.is_some_and(|at| at <= world.now()) {
        let message = "The security token included in the request is expired";
        return Err(Exception::forbidden("ExpiredTokenException", message));
    }
    Ok(Caller { key_id: key.id, arn: key.arn, denied: key.denied })
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
    Secret Access Key and signing method. Consult the service documentation for details.";

fn unknown() -> Exception {
    let message = "The security token included in the request is invalid.";
    Exception::forbidden("UnrecognizedClientException", message)
}

fn unreadable(error: ClaimError) -> Exception {
    let (kind, message) = match error {
        ClaimError::Missing => ("MissingAuthenticationTokenException", "Missing Authentication Token".to_owned()),
        ClaimError::Scope => (
            "IncompleteSignatureException",
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term".to_owned(),
        ),
        ClaimError::Day => (
            "InvalidSignatureException",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP".to_owned(),
        ),
        ClaimError::HostNotSigned => (
            "InvalidSignatureException",
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
        ),
        ClaimError::Both | ClaimError::Algorithm | ClaimError::Malformed(_) | ClaimError::HeaderMissing => {
            ("IncompleteSignatureException", error.to_string())
        }
    };
    Exception::forbidden(kind, message)
}

fn is_for(claim: &Claim, region: &str, service: &str) -> Result<(), Exception> {
    let wrong = |message: String| Err(Exception::forbidden("InvalidSignatureException", message));
    if claim.region != region {
        return wrong(format!("Credential should be scoped to a valid region, not '{}'.", claim.region));
    }
    if claim.service != service {
        return wrong(format!("Credential should be scoped to correct service: '{service}'."));
    }
    Ok(())
}

/// AWS says both times where they differ too much; clients set their clocks by that.
fn is_of_now(claim: &Claim, now: SystemTime) -> Result<(), Exception> {
    let now_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let date = |seconds: u64| sigv4::amz_date(seconds);
    let wrong = |message: String| Err(Exception::forbidden("InvalidSignatureException", message));
    let (at, now) = (&claim.amz_date, date(now_s));
    if claim.signed_at > now_s + TOLERANCE_S {
        let latest = date(now_s + TOLERANCE_S);
        return wrong(format!("Signature not yet current: {at} is still later than {latest} ({now} + 5 min.)"));
    }
    let life_s = match (claim.form, claim.service.as_str()) {
        (Form::Query, "kinesisvideo") => claim.expires.unwrap_or(LONGEST_S).min(LONGEST_S),
        // AWS IoT's addresses say no end (kvs reference §6).
        _ => claim.expires.unwrap_or(TOLERANCE_S),
    };
    if claim.signed_at + life_s < now_s {
        let earliest = date(now_s - life_s);
        let life = Duration::from_secs(life_s);
        let minutes =
            if life_s == TOLERANCE_S { "5 min.".to_owned() } else { humantime::format_duration(life).to_string() };
        return wrong(format!("Signature expired: {at} is now earlier than {earliest} ({now} - {minutes})"));
    }
    Ok(())
}
