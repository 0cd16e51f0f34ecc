//! What the answers of Vivint's identity server and API mean (vivint reference §2).

use std::time::Duration;

use serde_json::Value;

use super::error::CloudError;
use crate::clock;
use crate::net::http::Answer;
use crate::proto::vivint::login;

/// How long to stay away from a network that has blocked us; blocks of a day are known, so each further login waits
/// longer by itself.
const BLOCKED: Duration = Duration::from_secs(60 * 60);
/// When a limit does not say how long.
const LIMITED: Duration = Duration::from_secs(60);

/// What stands for an answer that says neither yes nor no to what was asked: limits, blocks and trouble.
pub(super) fn passing(answer: &Answer) -> Option<CloudError> {
    match answer.status() {
        429 => {
            let wait = answer.retry_after(answer.date().unwrap_or_else(clock::unix_now)).unwrap_or(LIMITED);
            Some(CloudError::Limited(wait.clamp(Duration::from_secs(1), BLOCKED)))
        }
        // The API speaks JSON; what stands in front of it does not.
        403 if answer.json().is_err() => Some(CloudError::Blocked(BLOCKED)),
        status @ 500.. => Some(CloudError::Trouble(format!("HTTP {status}"))),
        _ => None,
    }
}

/// The JSON of an API answer.
pub(super) fn read(answer: &Answer) -> Result<Value, CloudError> {
    accepted(answer)?;
    Ok(answer.json()?)
}

/// That an API call was carried out, whatever its body says.
pub(super) fn accepted(answer: &Answer) -> Result<(), CloudError> {
    if let Some(error) = passing(answer) {
        return Err(error);
    }
    match answer.status() {
        401 => Err(CloudError::TokenRefused),
        403 if wants_code(answer) => Err(CloudError::SecondFactorWanted),
        // A redirect only comes here where one was expected.
        200..=399 => Ok(()),
        status => Err(CloudError::Misunderstood(format!("HTTP {status}"))),
    }
}

/// Whether it says that there must be a code, to a login that has got past that.
fn wants_code(answer: &Answer) -> bool {
    let says = answer.json().ok().and_then(|body| login::refusal(&body)).unwrap_or_default();
    says.to_ascii_lowercase().contains("multi-factor")
}

/// What the identity server refuses.
pub(super) enum Refused {
    /// User name and password.
    Login,
    /// The code.
    Code,
    /// It wants a code although it did not ask for one.
    CodeMissing,
    /// The refresh token.
    Grant,
    /// Something else, or it did not understand us.
    Other(CloudError),
}

impl Refused {
    /// Reads an answer that brought nothing. What it says is compared and never shown.
    pub(super) fn read(answer: &Answer) -> Self {
        if let Some(error) = passing(answer) {
            return Self::Other(error);
        }
        let says = answer.json().ok().and_then(|body| login::refusal(&body)).unwrap_or_default().to_ascii_lowercase();
        match answer.status() {
            _ if says.contains("invalid_grant") => Self::Grant,
            _ if says.contains("multi-factor") => Self::CodeMissing,
            _ if says.contains("code is not valid") => Self::Code,
            _ if says.contains("password") || says.contains("username") => Self::Login,
            // It says no, in words that nobody has written down. It is asked no second time.
            401 => Self::Login,
            status => Self::Other(CloudError::Misunderstood(format!("HTTP {status} at the login"))),
        }
    }
}
