//! Why Vivint's cloud did not do what was asked, by what can be done about it.

use std::time::Duration;

use crate::doorbell::vendor::Retry;
use crate::doorbell::{ActionError, VendorError};
use crate::net::http::HttpError;
use crate::net::tls::Distrust;

/// Every one is whole sentences for the owner and shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// No answer, or none that can be read.
    #[error("{}", unreachable(.0))]
    Http(HttpError),
    /// HTTP 5xx.
    #[error("Vivint's cloud has trouble of its own ({0}). It is being tried again.")]
    Trouble(String),
    #[error(
        "Vivint refused the login: user name or password is wrong. Correct them on Doorstep's page if the account was \
         added there, otherwise under `vivint` in the configuration, and restart Doorstep then. Until they are others \
         no further login is tried, because Vivint blocks accounts for that."
    )]
    LoginRefused,
    #[error(
        "Vivint refused the one-time codes made of `totp_secret`. Set this machine's clock right, or correct the \
         secret: on Doorstep's page if the account was added there, otherwise under `vivint` in the configuration, and \
         restart Doorstep then."
    )]
    TotpRefused,
    #[error("{}", .0.request())]
    CodeWanted(CodeBy),
    #[error("Vivint refused that code. Enter the newest one.")]
    CodeRefused,
    #[error("That is no code of Vivint's: they are six digits. Enter the newest one.")]
    NotACode,
    /// The stored login is worth nothing any more, or there never was one, and there is no password for another.
    #[error(
        "There is no login at Vivint, or Vivint has ended it. Type your password in on Doorstep's page if the account \
         was added there; otherwise write it as `password` under `vivint` in the configuration and restart Doorstep \
         (once you are logged in you may take it out again)."
    )]
    NoLogin,
    /// The API takes no login any more for which no code was given.
    #[error(
        "Vivint asks for the account's second factor anew. Type your password in on Doorstep's page if the account was \
         added there, otherwise restart Doorstep; then enter the code that Vivint sends. Until then no login is tried."
    )]
    SecondFactorWanted,
    /// Another process owns the stored login.
    #[error(
        "Doorstep is running and renews the login at Vivint by itself at present. Try again in a minute, or look at \
         its page."
    )]
    Borrowed,
    #[error(
        "Vivint's network has blocked this address (HTTP 403), as it does after too many requests. \
         It is asked again in {}.", words(*.0)
    )]
    Blocked(Duration),
    #[error("Vivint's limit of requests is reached. It is asked again in {}.", words(*.0))]
    Limited(Duration),
    /// The budget of logins is used up for now.
    #[error("The last login at Vivint was too short ago. The next one is tried in {}.", words(*.0))]
    NotYet(Duration),
    /// The access token is not accepted (any more).
    #[error("Vivint does not accept the login that it has just given. It is being tried again.")]
    TokenRefused,
    /// Only a command that must not wait meets this.
    #[error("The login at Vivint is just being renewed. Try again in a moment.")]
    Renewing,
    /// Vivint has changed something, or we are mistaken. Asking again cannot help.
    #[error("Vivint did not understand a request ({0}). A newer Doorstep may know how to ask.")]
    Misunderstood(String),
}

/// Where the owner finds the code that Vivint wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeBy {
    Sms,
    /// An authenticator app, whose secret is not in the configuration.
    App,
}

impl CodeBy {
    fn request(self) -> &'static str {
        match self {
            Self::Sms => "Vivint has sent a code by SMS or e-mail. Enter it on Doorstep's page.",
            Self::App => {
                "Vivint asks for the code of the authenticator app. Enter it on Doorstep's page, or put the app's \
                 secret into `totp_secret` so that it is never asked again."
            }
        }
    }
}

impl CloudError {
    /// How long to leave an unknown mistake of ours alone.
    const LONG: Duration = Duration::from_secs(15 * 60);

    /// Whether trying again can help, and when.
    pub fn retry(&self) -> Retry {
        match self {
            Self::LoginRefused | Self::TotpRefused | Self::NoLogin | Self::SecondFactorWanted => Retry::WaitForUser,
            Self::Blocked(wait) | Self::Limited(wait) | Self::NotYet(wait) => Retry::After(*wait),
            // A clock can still be set; an authority is made known by a restart.
            Self::Http(HttpError::Untrusted { why: Distrust::Expired | Distrust::NotYetValid, .. }) => Retry::Backoff,
            Self::Http(HttpError::Untrusted { .. } | HttpError::Header(_)) => Retry::After(Self::LONG),
            Self::TokenRefused | Self::Misunderstood(_) => Retry::After(Self::LONG),
            Self::Http(_)
            | Self::Trouble(_)
            | Self::CodeWanted(_)
            | Self::CodeRefused
            | Self::NotACode
            | Self::Borrowed
            | Self::Renewing => Retry::Backoff,
        }
    }

    /// How long it wants to be left alone.
    pub(in super::super) fn wait(&self) -> Option<Duration> {
        match self {
            Self::Blocked(wait) | Self::Limited(wait) | Self::NotYet(wait) => Some(*wait),
            _ => None,
        }
    }

    /// The same, told again when only `remaining` is left of the wait.
    pub(super) fn with_wait(mut self, remaining: Duration) -> Self {
        if let Self::Blocked(wait) | Self::Limited(wait) | Self::NotYet(wait) = &mut self {
            *wait = remaining;
        }
        self
    }

    /// Whether the cloud has not heard of it.
    pub(super) fn was_not_sent(&self) -> bool {
        use HttpError::{Header, Unreachable, Untrusted};
        matches!(self, Self::Http(Untrusted { .. } | Unreachable { .. } | Header(_)))
    }

    /// Whether what was asked may have been done all the same.
    pub fn leaves_unknown(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Trouble(_)) && !self.was_not_sent()
    }

    /// Whether it is of the whole account and not of what was asked for.
    pub(in super::super) fn is_of_the_account(&self) -> bool {
        match self {
            Self::Http(_) | Self::Trouble(_) | Self::Misunderstood(_) => false,
            Self::LoginRefused
            | Self::TotpRefused
            | Self::CodeWanted(_)
            | Self::CodeRefused
            | Self::NotACode
            | Self::NoLogin
            | Self::SecondFactorWanted
            | Self::Borrowed
            | Self::Blocked(_)
            | Self::Limited(_)
            | Self::NotYet(_)
            | Self::TokenRefused
            | Self::Renewing => true,
        }
    }
}

impl From<HttpError> for CloudError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<CloudError> for VendorError {
    fn from(error: CloudError) -> Self {
        Self { vendor: super::super::VENDOR, what: error.to_string(), retry: error.retry(), source: None }
    }
}

impl From<CloudError> for ActionError {
    fn from(error: CloudError) -> Self {
        let why = error.to_string();
        match error {
            _ if error.leaves_unknown() => Self::Timeout,
            // Whoever asks once more is served: what asked before has set the renewal going.
            CloudError::TokenRefused => Self::Refused { why: CloudError::Renewing.to_string() },
            CloudError::Misunderstood(_) | CloudError::Renewing => Self::Refused { why },
            _ => Self::Offline { why },
        }
    }
}

fn unreachable(error: &HttpError) -> String {
    match error {
        HttpError::Untrusted { host, why } => format!(
            "The certificate of `{host}` is not trusted: {why}. Nothing was sent. Check the clock and `endpoints` \
             under the Vivint account. To trust another authority, name a PEM file with its certificate in the \
             environment variable `SSL_CERT_FILE`, and restart Doorstep."
        ),
        HttpError::Header(_) => format!("The login cannot be sent: {error}. Copy it anew into the configuration."),
        _ => format!("Vivint's cloud did not answer as it should: {error}. It is being tried again."),
    }
}

/// `40 s`, `15 min`.
fn words(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil();
    if seconds <= 120.0 { format!("{seconds} s") } else { format!("{} min", (seconds / 60.0).ceil()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_done_is_unknown_and_not_refused() {
        let host = || "cloud".to_owned();
        let unknown = CloudError::Http(HttpError::TimedOut { host: host() });
        assert_eq!(ActionError::from(unknown), ActionError::Timeout);
        let unreachable = CloudError::Http(HttpError::Unreachable { host: host(), why: String::new() });
        assert!(matches!(ActionError::from(unreachable), ActionError::Offline { .. }));
        assert!(matches!(ActionError::from(CloudError::TokenRefused), ActionError::Refused { .. }));
    }

    #[test]
    fn each_kind_of_code_is_asked_for_in_its_own_words() {
        assert!(CloudError::CodeWanted(CodeBy::Sms).to_string().contains("SMS"));
        assert!(CloudError::CodeWanted(CodeBy::App).to_string().contains("authenticator app"));
    }
}
