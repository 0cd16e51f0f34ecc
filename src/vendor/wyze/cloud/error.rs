//! Why Wyze's cloud did not do what was asked, by what can be done about it.

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
    /// HTTP 5xx, or the code for anything that went wrong over there.
    #[error("Wyze's cloud has trouble of its own ({0}). It is being tried again.")]
    Trouble(String),
    #[error(
        "Wyze refused the login: e-mail, password, key id or API key is wrong, or the API key is over a year old. \
         Correct them on Doorstep's page if the account was added there, otherwise under `wyze` in the configuration, \
         and restart Doorstep then. Until they are others no further login is tried, because Wyze locks accounts for \
         that."
    )]
    LoginRefused,
    #[error(
        "Wyze refused the one-time codes made of `totp_secret`. Set this machine's clock right, or correct the secret: \
         on Doorstep's page if the account was added there, otherwise under `wyze` in the configuration, and restart \
         Doorstep then."
    )]
    TotpRefused,
    #[error("{}", .0.request())]
    CodeWanted(CodeBy),
    #[error("Wyze refused that code. Enter the newest one.")]
    CodeRefused,
    #[error(
        "Wyze asks for a second factor that Doorstep cannot give. Turn on codes by app or SMS in the Wyze app, or \
         make an API key at https://developer-api-console.wyze.com."
    )]
    SecondFactor,
    #[error("Wyze has locked the account after too many logins. The next one is tried in {}.", words(*.0))]
    LockedOut(Duration),
    #[error(
        "Wyze's network has blocked this address (HTTP 403), as it does after too many requests. \
         It is asked again in {}.", words(*.0)
    )]
    Blocked(Duration),
    #[error("Wyze's limit of requests is reached. It is asked again in {}.", words(*.0))]
    Limited(Duration),
    /// The budget of logins is used up for now.
    #[error("The last login at Wyze was too short ago. The next one is tried in {}.", words(*.0))]
    NotYet(Duration),
    /// The access token is not accepted (any more).
    #[error("Wyze does not accept the login that it has just given. It is being tried again.")]
    TokenRefused,
    /// Only a command that must not wait meets this.
    #[error("The login at Wyze is just being renewed. Try again in a moment.")]
    Renewing,
    #[error("Wyze says that the device is offline.")]
    DeviceOffline,
    #[error("This lock is worked through a Wyze Lock Gateway, and the account has none that is online.")]
    GatewayMissing,
    #[error(
        "Wyze says that GWell does not reach this camera. If its `transport` under `doorbells` asks for `gwell`, take \
         that away and restart Doorstep."
    )]
    NotGwell,
    #[error("Wyze took our clock for wrong. It has been set by Wyze's own and the request is made again later.")]
    ClockWrong,
    /// Wyze has changed something, or we are mistaken. Asking again cannot help.
    #[error("Wyze did not understand a request ({0}). A newer Doorstep may know how to ask.")]
    Misunderstood(String),
}

/// Where the owner finds the code that Wyze wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeBy {
    Sms,
    /// An authenticator app, whose secret is not in the configuration.
    App,
}

impl CodeBy {
    fn request(self) -> &'static str {
        match self {
            Self::Sms => "Wyze has sent a code by SMS. Enter it on Doorstep's page.",
            Self::App => {
                "Wyze asks for the code of the authenticator app. Enter it on Doorstep's page, or put the app's \
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
            Self::LoginRefused | Self::TotpRefused | Self::SecondFactor | Self::NotGwell => Retry::WaitForUser,
            Self::LockedOut(wait) | Self::Blocked(wait) | Self::Limited(wait) | Self::NotYet(wait) => {
                Retry::After(*wait)
            }
            // A clock can still be set; an authority is made known by a restart.
            Self::Http(HttpError::Untrusted { why: Distrust::Expired | Distrust::NotYetValid, .. }) => Retry::Backoff,
            Self::Http(HttpError::Untrusted { .. } | HttpError::Header(_)) => Retry::After(Self::LONG),
            Self::TokenRefused | Self::Misunderstood(_) | Self::GatewayMissing => Retry::After(Self::LONG),
            Self::Http(_)
            | Self::Trouble(_)
            | Self::CodeWanted(_)
            | Self::CodeRefused
            | Self::Renewing
            | Self::DeviceOffline
            | Self::ClockWrong => Retry::Backoff,
        }
    }

    /// How long it wants to be left alone.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self {
            Self::LockedOut(wait) | Self::Blocked(wait) | Self::Limited(wait) | Self::NotYet(wait) => Some(*wait),
            _ => None,
        }
    }

    /// The same, told again when only `remaining` is left of the wait.
    pub(super) fn with_wait(mut self, remaining: Duration) -> Self {
        if let Self::LockedOut(wait) | Self::Blocked(wait) | Self::Limited(wait) | Self::NotYet(wait) = &mut self {
            *wait = remaining;
        }
        self
    }

    /// Whether the cloud, or the way to it, has trouble that says nothing about what was asked.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Trouble(_) | Self::Blocked(_) | Self::Limited(_) | Self::ClockWrong)
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
            CloudError::Misunderstood(_) | CloudError::GatewayMissing | CloudError::NotGwell | CloudError::Renewing => {
                Self::Refused { why }
            }
            _ => Self::Offline { why },
        }
    }
}

/// An unknown authority has a known cause, which the sentence names (wyze-cloud reference §0).
fn unreachable(error: &HttpError) -> String {
    match error {
        HttpError::Untrusted { host, why: Distrust::UnknownIssuer } => format!(
            "The certificate of `{host}` was signed by an authority that this machine does not know. Systems have \
             dropped the one behind Wyze's older hosts, such as `api.wyzecam.com`; `app.wyzecam.com` is the same \
             service behind a newer one: set `endpoints: {{api: \"https://app.wyzecam.com\"}}` under the Wyze \
             account, or leave `endpoints` out. To trust another authority, name a PEM file with its certificate \
             in the environment variable `SSL_CERT_FILE`, and restart Doorstep."
        ),
        HttpError::Untrusted { host, why } => format!(
            "The certificate of `{host}` is not trusted: {why}. Nothing was sent. Check the clock and `endpoints` \
             under the Wyze account."
        ),
        HttpError::Header(_) => format!("The login cannot be sent: {error}. Copy it anew into the configuration."),
        _ => format!("Wyze's cloud did not answer as it should: {error}. It is being tried again."),
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
    fn an_unknown_authority_is_told_with_the_way_out() {
        let host = "api.wyzecam.com:8443".to_owned();
        let error = CloudError::Http(HttpError::Untrusted { host, why: Distrust::UnknownIssuer });
        let text = error.to_string();
        for part in ["`api.wyzecam.com:8443`", "https://app.wyzecam.com", "endpoints", "SSL_CERT_FILE"] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }

    #[test]
    fn what_may_have_been_done_is_unknown_and_not_refused() {
        let host = || "cloud".to_owned();
        let unknown = CloudError::Http(HttpError::TimedOut { host: host() });
        assert_eq!(ActionError::from(unknown), ActionError::Timeout);
        let broken = CloudError::Http(HttpError::BrokenOff { host: host(), why: String::new() });
        assert_eq!(ActionError::from(broken), ActionError::Timeout);
        let unreachable = CloudError::Http(HttpError::Unreachable { host: host(), why: String::new() });
        assert!(matches!(ActionError::from(unreachable), ActionError::Offline { .. }));
    }

    #[test]
    fn waits_are_told_in_words() {
        assert_eq!(words(Duration::from_millis(19_001)), "20 s");
        assert_eq!(words(Duration::from_secs(841)), "15 min");
    }
}
