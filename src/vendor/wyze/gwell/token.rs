//! What Wyze's cloud gives for one camera, and for how long it is good (gwell reference §3.1).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::unix_seconds;
use crate::proto::gwell::token::{AccessToken, TokenError};

/// An account's token for one camera.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "Kept", try_from = "Kept")]
pub(super) struct UserToken {
    pub(super) access: AccessToken,
    /// From then on another is asked for, in seconds since 1970.
    until: u64,
}

/// In the clear, for the store.
#[derive(Serialize, Deserialize)]
struct Kept {
    access_id: String,
    access_token: String,
    until: u64,
}

impl UserToken {
    /// What is asked for.
    pub(super) const LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);
    /// So long before its end nothing is begun with it any more.
    const MARGIN: Duration = Duration::from_secs(3_600);

    /// From the `data` of an answer: `{"accessId","accessToken","expireTime"?}`, or the same names in snake case.
    /// `now` is in seconds since 1970.
    pub(super) fn read(data: &Value, now: u64) -> Option<Self> {
        let field = |camel: &str, snake: &str| text(data.get(camel).or_else(|| data.get(snake))?);
        let (access_id, access_token) = (field("accessId", "access_id")?, field("accessToken", "access_token")?);
        let access = AccessToken::parse(&access_id, &access_token).ok()?;
        let asked = now + Self::LIFE.as_secs();
        let told = field("expireTime", "expire_time").and_then(|text| text.parse().ok()).and_then(seconds);
        let ends = told.unwrap_or(asked).min(asked);
        Some(Self { access, until: ends.saturating_sub(Self::MARGIN.as_secs()) })
    }

    /// Whether a session may be begun with it, if it was kept.
    pub(super) fn is_good(&self) -> bool {
        self.good_for().is_some()
    }

    /// When another is to be asked for. `None` when that should have been, which a token of less than an hour says
    /// from the beginning.
    pub(super) fn good_for(&self) -> Option<Duration> {
        self.until.checked_sub(unix_seconds()).filter(|left| *left > 0).map(Duration::from_secs)
    }
}

impl From<UserToken> for Kept {
    fn from(UserToken { access, until }: UserToken) -> Self {
        let (access_id, access_token) = access.to_text();
        Self { access_id, access_token, until }
    }
}

impl TryFrom<Kept> for UserToken {
    type Error = TokenError;

    fn try_from(Kept { access_id, access_token, until }: Kept) -> Result<Self, TokenError> {
        Ok(Self { access: AccessToken::parse(&access_id, &access_token)?, until })
    }
}

/// A text with something in it, or a number as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Seconds since 1970, where milliseconds may have been meant. 0 says nothing.
fn seconds(told: u64) -> Option<u64> {
    match told {
        0 => None,
        100_000_000_000.. => Some(told / 1_000),
        _ => Some(told),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY: u64 = 86_400;

    fn token() -> String {
        "5a".repeat(64)
    }

    fn until(data: Value, now: u64) -> Option<u64> {
        UserToken::read(&data, now).map(|token| token.until)
    }

    #[test]
    fn a_token_is_good_for_a_week_or_as_long_as_it_says_less_an_hour() {
        let with =
            |expire: Value| until(json!({"accessId": "-12", "accessToken": token(), "expireTime": expire}), 1_000);
        let week = 1_000 + 7 * DAY - 3_600;
        for (told, good_until) in [
            (json!(null), week),
            (json!(0), week),
            (json!("soon"), week),
            (json!(1_000 + DAY), 1_000 + DAY - 3_600),
            (json!("87400"), 87_400 - 3_600),
            // Longer than was asked for.
            (json!(1_000 + 30 * DAY), week),
            // Over already.
            (json!(500), 0),
        ] {
            assert_eq!(with(told.clone()), Some(good_until), "{told}");
        }
        let now = 1_800_000_000;
        let in_ms = json!({"accessId": "1", "accessToken": token(), "expireTime": (now + DAY) * 1_000});
        assert_eq!(until(in_ms, now), Some(now + DAY - 3_600));
    }

    #[test]
    fn both_spellings_are_read_and_numbers_too() {
        for data in [
            json!({"accessId": "-9223372036854775808", "accessToken": token()}),
            json!({"access_id": 77, "access_token": token(), "expire_time": "0"}),
        ] {
            assert!(UserToken::read(&data, 0).is_some(), "{data}");
        }
    }

    #[test]
    fn what_is_no_token_is_not_taken() {
        for data in [
            json!(null),
            json!([]),
            json!({}),
            json!({"accessId": "1"}),
            json!({"accessId": "one", "accessToken": token()}),
            json!({"accessId": "1", "accessToken": "short"}),
            json!({"accessId": [], "accessToken": token()}),
        ] {
            assert!(UserToken::read(&data, 0).is_none(), "{data}");
        }
    }
}
