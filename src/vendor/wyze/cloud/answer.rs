//! What Wyze's answers mean: the table of codes, and everything else that can come back (wyze-cloud reference §1, §8).

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::error::CloudError;
use super::limits;
use crate::net::http::Answer;

/// Who answers: each kind of host has codes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    /// `errorCode`, and none when it is content.
    Login,
    /// `code`.
    App,
    /// Mars and the device management: `code`, and none is content as well.
    Service,
    /// `ErrNo`.
    Lock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Done,
    LoginRefused,
    LockedOut,
    TokenRefused,
    Trouble,
    Misunderstood,
    ClockWrong,
    DeviceOffline,
    GatewayMissing,
    NotGwell,
}

/// One line of the table: from `speaker`, with this code if one is named, and with this in its words (lower case).
struct Row {
    speaker: Speaker,
    code: Option<i64>,
    says: &'static str,
    meaning: Meaning,
}

const fn row(speaker: Speaker, code: i64, meaning: Meaning) -> Row {
    Row { speaker, code: Some(code), says: "", meaning }
}

const fn words(speaker: Speaker, says: &'static str, meaning: Meaning) -> Row {
    Row { speaker, code: None, says, meaning }
}

/// The first line that fits counts. A code without one is not understood.
const TABLE: &[Row] = &[
    // The login has one code for almost everything; only its words tell a lock-out from a wrong password.
    words(Speaker::Login, "too many", Meaning::LockedOut),
    words(Speaker::Login, "try again later", Meaning::LockedOut),
    row(Speaker::Login, 3024, Meaning::LockedOut),
    row(Speaker::Login, 0, Meaning::Done),
    // Whatever else it says is no reason for a second try: Wyze locks accounts.
    words(Speaker::Login, "", Meaning::LoginRefused),
    row(Speaker::App, 0, Meaning::Done),
    row(Speaker::App, 1, Meaning::Done),
    row(Speaker::App, 1000, Meaning::Trouble),
    row(Speaker::App, 1001, Meaning::Misunderstood),
    row(Speaker::App, 1003, Meaning::Misunderstood),
    row(Speaker::App, 1004, Meaning::Misunderstood),
    row(Speaker::App, 2001, Meaning::TokenRefused),
    row(Speaker::App, 3019, Meaning::DeviceOffline),
    row(Speaker::App, 3024, Meaning::LockedOut),
    row(Speaker::Service, 1, Meaning::Done),
    row(Speaker::Service, 1000, Meaning::Trouble),
    // gwell reference §3.1
    row(Speaker::Service, 1008, Meaning::NotGwell),
    row(Speaker::Service, 2001, Meaning::TokenRefused),
    row(Speaker::Service, 3019, Meaning::DeviceOffline),
    row(Speaker::Lock, 0, Meaning::Done),
    row(Speaker::Lock, 2001, Meaning::TokenRefused),
    // Seen with locks whose account has no gateway.
    row(Speaker::Lock, 5038, Meaning::GatewayMissing),
    row(Speaker::Lock, 14008, Meaning::Misunderstood),
    row(Speaker::Lock, 17001, Meaning::ClockWrong),
    // Whether the lock API has another code for an expired token is not known; the words are a guess.
    words(Speaker::Lock, "access_token", Meaning::TokenRefused),
    words(Speaker::Lock, "token expired", Meaning::TokenRefused),
    words(Speaker::Lock, "offline", Meaning::DeviceOffline),
];

impl Speaker {
    fn code(self, body: &Value) -> Option<&Value> {
        let named = |key| body.get(key).filter(|code: &&Value| !code.is_null());
        match self {
            Self::Login => named("errorCode"),
            Self::App | Self::Service => named("code"),
            // Of a worn-out token it speaks as the other hosts do.
            Self::Lock => named("code").filter(|code| **code == "2001" || **code == 2001).or_else(|| named("ErrNo")),
        }
    }

    fn says(self, body: &Value) -> String {
        let key = match self {
            Self::Login => "description",
            Self::App | Self::Service => "msg",
            Self::Lock => "ErrMsg",
        };
        body.get(key).and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase()
    }

    fn meaning(self, code: Option<i64>, says: &str) -> Option<Meaning> {
        let fits =
            |row: &&Row| row.speaker == self && (row.code.is_none() || row.code == code) && says.contains(row.says);
        TABLE.iter().find(fits).map(|row| row.meaning)
    }
}

/// How long a locked account stays so.
const LOCK_OUT: Duration = Duration::from_secs(15 * 60);
/// How long to stay away from a network that has blocked us.
const BLOCKED: Duration = Duration::from_secs(60 * 60);

/// What `answer` holds when it means success: `data` from the app's hosts and the services, everything from the others. `now` is the
/// server's time.
pub(super) fn read(speaker: Speaker, answer: &Answer, now: SystemTime) -> Result<Value, CloudError> {
    match answer.status() {
        429 => return Err(CloudError::Limited(limits::pause(answer, now))),
        403 if answer.is_web_page() || answer.json().is_err() => return Err(CloudError::Blocked(BLOCKED)),
        401 if speaker == Speaker::Login => return Err(CloudError::LoginRefused),
        401 => return Err(CloudError::TokenRefused),
        status @ 500.. => return Err(CloudError::Trouble(format!("HTTP {status}"))),
        _ => {}
    }
    let mut body = answer.json()?;
    let code = speaker.code(&body);
    match (code, speaker) {
        (None, Speaker::Login | Speaker::Service) if answer.is_success() => return Ok(body),
        (None, _) => return Err(CloudError::Misunderstood(format!("HTTP {} without a code", answer.status()))),
        _ => {}
    }
    // A number on some hosts, its text on others.
    let number = code.and_then(|code| code.as_i64().or_else(|| code.as_str()?.trim().parse().ok()));
    let shown = number.map_or_else(|| "an unreadable code".to_owned(), |number| format!("code {number}"));
    Err(match speaker.meaning(number, &speaker.says(&body)) {
        Some(Meaning::Done) if matches!(speaker, Speaker::App | Speaker::Service) => return Ok(body["data"].take()),
        Some(Meaning::Done) => return Ok(body),
        Some(Meaning::LoginRefused) => CloudError::LoginRefused,
        Some(Meaning::LockedOut) => CloudError::LockedOut(LOCK_OUT),
        Some(Meaning::TokenRefused) => CloudError::TokenRefused,
        Some(Meaning::Trouble) => CloudError::Trouble(shown),
        Some(Meaning::ClockWrong) => CloudError::ClockWrong,
        Some(Meaning::DeviceOffline) => CloudError::DeviceOffline,
        Some(Meaning::GatewayMissing) => CloudError::GatewayMissing,
        Some(Meaning::NotGwell) => CloudError::NotGwell,
        Some(Meaning::Misunderstood) | None => CloudError::Misunderstood(shown),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_out_is_told_from_a_wrong_password_by_its_words() {
        let meaning = |says: &str| Speaker::Login.meaning(Some(1000), says);
        assert_eq!(meaning("too many failed attempts. please try again later."), Some(Meaning::LockedOut));
        assert_eq!(meaning("invalid credentials"), Some(Meaning::LoginRefused));
        assert_eq!(Speaker::Login.meaning(None, ""), Some(Meaning::LoginRefused));
    }

    #[test]
    fn a_code_means_what_its_own_host_means_by_it() {
        assert_eq!(Speaker::App.meaning(Some(1), ""), Some(Meaning::Done));
        assert_eq!(Speaker::Lock.meaning(Some(1), ""), None);
        assert_eq!(Speaker::App.meaning(Some(2001), ""), Some(Meaning::TokenRefused));
        assert_eq!(Speaker::App.meaning(Some(3044), ""), None);
        assert_eq!(Speaker::App.meaning(Some(1008), ""), None);
        assert_eq!(Speaker::Service.meaning(Some(1008), ""), Some(Meaning::NotGwell));
        assert_eq!(Speaker::Lock.meaning(Some(4), "access_token is expired"), Some(Meaning::TokenRefused));
    }
}
