//! Why AWS did not do what was asked, by what can be done about it.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::sts;
use crate::net::http::{Answer, HttpError};
use crate::net::supervise::Retry;
use crate::net::tls::{Distrust, PemError};

/// What is asked of AWS, by the name that a policy calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    DescribeSignalingChannel,
    ListSignalingChannels,
    GetSignalingChannelEndpoint,
    GetIceServerConfig,
    AssumeRole,
    /// Asked of AWS IoT's credentials provider.
    AssumeRoleWithCertificate,
    DescribeEndpoint,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DescribeSignalingChannel => "kinesisvideo:DescribeSignalingChannel",
            Self::ListSignalingChannels => "kinesisvideo:ListSignalingChannels",
            Self::GetSignalingChannelEndpoint => "kinesisvideo:GetSignalingChannelEndpoint",
            Self::GetIceServerConfig => "kinesisvideo:GetIceServerConfig",
            Self::AssumeRole => "sts:AssumeRole",
            Self::AssumeRoleWithCertificate => "iot:AssumeRoleWithCertificate",
            Self::DescribeEndpoint => "iot:DescribeEndpoint",
        })
    }
}

/// Every one is whole sentences for the owner and shows no secret: what AWS says of a signature repeats the token, so
/// of its answers no more is shown than the name of the error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    #[error(
        "A certificate or a key cannot be used: {0}. Correct it on Doorstep's page if the account was added there, \
         otherwise under `kvs` in the configuration, and restart Doorstep then."
    )]
    Pem(PemError),
    #[error(
        "There is no way to log in to AWS: the account names neither keys nor a credentials provider, and `{0}` is not \
         in the environment. Write `access_key_id` and `secret_access_key`, or `certificate`, `private_key`, `thing`, \
         `role_alias` and `credentials_endpoint`: on Doorstep's page if the account was added there, otherwise under \
         `kvs` in the configuration, and restart Doorstep then."
    )]
    NoLogin(&'static str),
    #[error("{}", denied(*.action))]
    AccessDenied { action: Action },
    #[error("{}", refused(*.action, .kind))]
    Credentials { action: Action, kind: String },
    #[error(
        "There is no signaling channel `{channel}` in the region `{region}`. Check `kvs[].channels` and \
         `kvs[].region` in the configuration; a channel that was made anew has another ARN."
    )]
    NoSuchChannel { channel: String, region: String },
    #[error("AWS knows nothing of what was asked for by `{action}`. Check `kvs` in the configuration.")]
    NotFound { action: Action },
    #[error("AWS refuses requests because the clock of this machine is wrong. Set it right; it is tried again.")]
    Skew,
    #[error("AWS limits how often `{action}` may be asked for. It is tried again in a while.")]
    Throttled { action: Action, wait: Option<Duration> },
    /// HTTP 5xx.
    #[error("AWS has trouble of its own with `{action}` (HTTP {status}). It is being tried again.")]
    Trouble { action: Action, status: u16 },
    /// Another refusal.
    #[error("AWS refused `{action}` (HTTP {status}{}{kind}). Check `kvs` in the configuration.", if kind.is_empty() { "" } else { ", " })]
    Refused { action: Action, status: u16, kind: String },
    /// No answer.
    #[error("{}", unreachable(.0))]
    Unreachable(HttpError),
    /// `what` is of the answer.
    #[error(
        "AWS's answer to `{action}` cannot be used: {what}. Check `kvs[].endpoints` in the configuration if there are \
         any; otherwise a newer Doorstep may know how to read it."
    )]
    Unreadable { action: Action, what: String },
}

impl AwsError {
    /// How long to leave alone what only the owner can change, at AWS and without a restart here.
    const LONG: Duration = Duration::from_secs(15 * 60);

    /// Whether trying again can help, and when.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Pem(_) | Self::NoLogin(_) => Retry::WaitForUser,
            Self::Throttled { wait: Some(wait), .. } => Retry::After(*wait),
            // A clock can still be set; an authority is made known by a restart.
            Self::Unreachable(HttpError::Untrusted { why: Distrust::Expired | Distrust::NotYetValid, .. }) => {
                Retry::Backoff
            }
            Self::Unreachable(HttpError::Untrusted { .. } | HttpError::Header(_)) => Retry::After(Self::LONG),
            Self::AccessDenied { .. }
            | Self::Credentials { .. }
            | Self::NoSuchChannel { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::Unreadable { .. } => Retry::After(Self::LONG),
            Self::Skew | Self::Throttled { .. } | Self::Trouble { .. } | Self::Unreachable(_) => Retry::Backoff,
        }
    }

    /// Whether only what was asked for is missing, with the login and the channel as they should be.
    pub(super) fn is_of_relays(&self) -> bool {
        match self {
            Self::AccessDenied { action } => *action == Action::GetIceServerConfig,
            Self::Throttled { action, .. }
            | Self::Trouble { action, .. }
            | Self::Refused { action, .. }
            | Self::Unreadable { action, .. } => *action == Action::GetIceServerConfig,
            _ => false,
        }
    }

    pub(super) fn unreadable(action: Action, what: impl Into<String>) -> Self {
        Self::Unreadable { action, what: what.into() }
    }
}

impl From<PemError> for AwsError {
    fn from(error: PemError) -> Self {
        Self::Pem(error)
    }
}

/// What an answer that is no success says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// `ResourceNotFoundException`; empty when the answer names no error.
    kind: String,
    /// The signature is of another time.
    is_of_the_clock: bool,
}

impl Refusal {
    pub(super) fn read(answer: &Answer) -> Self {
        let json = answer.json().unwrap_or_default();
        let xml = sts::error_of(answer.body());
        let text = |keys: &[&str]| keys.iter().find_map(|key| json.get(key).and_then(Value::as_str));
        let named = answer.header("x-amzn-errortype").or_else(|| text(&["__type", "code", "Code"]));
        let kind = named.map(kind).or_else(|| xml.as_ref().map(|(code, _)| kind(code))).unwrap_or_default();
        let message = text(&["Message", "message"]).or_else(|| xml.as_ref().map(|(_, message)| &**message));
        let is_of_the_clock = is_of_the_clock(&kind, message.unwrap_or_default());
        Self { status: answer.status(), kind, is_of_the_clock }
    }

    pub(super) fn is_of_the_clock(&self) -> bool {
        self.is_of_the_clock
    }

    /// Whether the keys, not what they may do, are refused.
    pub(super) fn is_of_the_keys(&self) -> bool {
        const KINDS: [&str; 13] = [
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "InvalidToken",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "SignatureDoesNotMatch",
            "UnrecognizedClient",
            "UnrecognizedClientException",
        ];
        KINDS.contains(&&*self.kind)
    }

    pub(super) fn error(self, action: Action, wait: Option<Duration>) -> AwsError {
        const DENIED: [&str; 5] = [
            "AccessDenied",
            "AccessDeniedException",
            "ForbiddenException",
            "NotAuthorizedException",
            "UnauthorizedException",
        ];
        const THROTTLED: [&str; 7] = [
            "ClientLimitExceededException",
            "LimitExceededException",
            "RequestLimitExceeded",
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ];
        let Self { status, kind, .. } = &self;
        match (&**kind, *status) {
            _ if self.is_of_the_clock => AwsError::Skew,
            _ if self.is_of_the_keys() => AwsError::Credentials { action, kind: self.kind },
            (kind, _) if DENIED.contains(&kind) => AwsError::AccessDenied { action },
            (kind, status) if THROTTLED.contains(&kind) || status == 429 => AwsError::Throttled { action, wait },
            ("ResourceNotFoundException", _) | ("", 404) => AwsError::NotFound { action },
            ("", 401 | 403) => AwsError::AccessDenied { action },
            (_, 500..) => AwsError::Trouble { action, status: *status },
            _ => AwsError::Refused { action, status: *status, kind: self.kind },
        }
    }
}

/// The name of an error without what stands around it: `com.amazon#Kind`, `Kind:http://…`. What is no name is left out.
fn kind(text: &str) -> String {
    const LONGEST: usize = 64;
    let name = text.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().trim();
    let is_name = name.len() <= LONGEST && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name { name.to_owned() } else { String::new() }
}

/// A wrong clock has an error of its own in some services, and a sentence in others.
fn is_of_the_clock(kind: &str, message: &str) -> bool {
    const KINDS: [&str; 3] = ["RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"];
    const SENTENCES: [&str; 3] = ["Signature expired", "Signature not yet current", "Request is expired"];
    KINDS.contains(&kind) || SENTENCES.iter().any(|sentence| message.contains(sentence))
}

/// How long the answer wants to be the last one. One that wants to be asked again at once gets the usual waits: it might
/// say so again and again.
pub(super) fn wait(answer: &Answer, now: SystemTime) -> Option<Duration> {
    /// Whatever a server asks for.
    const LONGEST: Duration = Duration::from_secs(60 * 60);
    answer.retry_after(now).filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST))
}

fn denied(action: Action) -> String {
    let what_to_do = match action {
        Action::ListSignalingChannels => {
            "Allow it in the policy of the login, or name the channels: on Doorstep's page if the account was added \
             there, otherwise under `kvs[].channels` in the configuration, and restart Doorstep then."
        }
        Action::DescribeEndpoint => {
            "Write `iot_endpoint` under `kvs` in the configuration and restart Doorstep (`aws iot describe-endpoint \
             --endpoint-type iot:Data-ATS` tells it), or allow it in the policy of the login."
        }
        Action::AssumeRole => {
            "Allow it in the policy of the login and in the trust policy of the role, or correct `role_arn` under \
             `kvs` in the configuration."
        }
        Action::AssumeRoleWithCertificate => {
            "Allow it for the role alias in the IoT policy of the certificate, attach the certificate to the thing, \
             and check `thing`, `role_alias` and `credentials_endpoint` under `kvs` in the configuration."
        }
        _ => "Allow it for the channel in the policy of the login.",
    };
    format!("AWS does not allow `{action}`. {what_to_do}")
}

fn refused(action: Action, kind: &str) -> String {
    let what_to_do = match kind {
        "ExpiredToken" | "ExpiredTokenException" => {
            "The session token has expired. Write keys that do not expire, or a certificate and a `role_alias`, whose \
             keys are renewed by themselves"
        }
        _ => "Copy `access_key_id`, `secret_access_key` and, if there is one, `session_token` anew",
    };
    format!(
        "AWS refuses the login at `{action}` ({kind}). {what_to_do}: on Doorstep's page if the account was added there, \
         otherwise under `kvs` in the configuration or into the environment, and restart Doorstep then."
    )
}

fn unreachable(error: &HttpError) -> String {
    match error {
        HttpError::Untrusted { host, why } => format!(
            "The certificate of `{host}` is not trusted: {why}. Nothing was sent. Check the clock and `endpoints` \
             under `kvs` in the configuration, where `authority` names another authority to trust."
        ),
        HttpError::Header(_) => {
            format!("A request cannot be sent: {error}. Copy the keys anew into the configuration.")
        }
        _ => format!("AWS did not answer as it should: {error}. It is being tried again."),
    }
}
