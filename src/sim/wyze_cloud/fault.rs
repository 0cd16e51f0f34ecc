//! What a virtual cloud can be told to do wrong.

use std::fmt;
use std::str::FromStr;

/// One way of misbehaving. A cloud has at most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Every access token given out so far is answered HTTP 401, until it is refreshed.
    Unauthorized,
    /// Every access token given out so far is answered code 2001, until it is refreshed.
    Expired,
    /// Every token given out so far is worthless, the refresh tokens too; a login works.
    RefreshRevoked,
    /// A login is refused as if the password were wrong.
    LoginRefused,
    /// A login is refused as after too many failures.
    LockedOut,
    /// A login wants a code of an authenticator app that nobody has.
    MfaRequired,
    /// HTTP 429 with the rate's headers alone.
    TooMany,
    /// HTTP 429 with `Retry-After: 7`.
    TooManySeconds,
    /// HTTP 429 with a date a minute ahead in `Retry-After`.
    TooManyDate,
    /// HTTP 429 with ten years in `Retry-After`.
    TooManyAbsurd,
    /// HTTP 403 with the page of a content network: this address is blocked.
    ForbiddenHtml,
    /// HTTP 500.
    ServerError,
    /// The connection is reset instead of an answer.
    Reset,
    /// The answer comes after 30 s.
    Stall,
    /// The answer comes at four bytes a second.
    Drip,
    /// The answer begins and does not end.
    Endless,
    /// The answer is a gibibyte of blanks, compressed.
    GzipBomb,
    /// HTTP 200 with a web page.
    Html,
    /// The answer ends in the middle, as if it were whole.
    Truncated,
    /// Texts where numbers belong, and the other way round.
    WrongTypes,
    /// Values that nobody knows, where a list of values is known.
    UnknownEnums,
    /// Devices and events have nothing but their ids.
    MissingFields,
    /// The list holds devices that are none, between the good ones.
    BrokenDevice,
    /// The cloud's clock is a day ahead; its `Date` tells so.
    ClockSkew,
    /// Every event is listed twice.
    DuplicateEvents,
    /// Events are listed in no order.
    UnorderedEvents,
    /// An event is listed 20 s after it happened.
    LateEvents,
    /// A bolt takes a command and gets stuck.
    Jammed,
}

impl Fault {
    pub const ALL: [(Self, &str); 28] = [
        (Self::Unauthorized, "401_once"),
        (Self::Expired, "expired"),
        (Self::RefreshRevoked, "refresh_revoked"),
        (Self::LoginRefused, "login_refused"),
        (Self::LockedOut, "locked_out"),
        (Self::MfaRequired, "mfa_required"),
        (Self::TooMany, "429"),
        (Self::TooManySeconds, "429_seconds"),
        (Self::TooManyDate, "429_date"),
        (Self::TooManyAbsurd, "429_absurd"),
        (Self::ForbiddenHtml, "403_html"),
        (Self::ServerError, "500"),
        (Self::Reset, "reset"),
        (Self::Stall, "stall"),
        (Self::Drip, "drip"),
        (Self::Endless, "endless"),
        (Self::GzipBomb, "gzip_bomb"),
        (Self::Html, "html_200"),
        (Self::Truncated, "truncated"),
        (Self::WrongTypes, "wrong_types"),
        (Self::UnknownEnums, "unknown_enums"),
        (Self::MissingFields, "missing_fields"),
        (Self::BrokenDevice, "broken_device"),
        (Self::ClockSkew, "clock_skew"),
        (Self::DuplicateEvents, "duplicate_events"),
        (Self::UnorderedEvents, "unordered_events"),
        (Self::LateEvents, "late_events"),
        (Self::Jammed, "jammed"),
    ];

    /// As users write it.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(fault, _)| *fault == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fault and where it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub fault: Fault,
    /// Only in answers to paths that begin so; empty for all of them. Of no matter for tokens, clock, bolts and late
    /// events.
    pub at: String,
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self { fault, at: String::new() }
    }
}

/// A fault's name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no fault is called `{name}`; there are {}", names())]
pub struct UnknownFault {
    name: String,
}

/// `NAME` or `NAME /path`.
impl FromStr for Trouble {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let (name, at) = text.split_once(' ').unwrap_or((text, ""));
        let found = Fault::ALL.into_iter().find(|(_, own)| *own == name);
        let (fault, _) = found.ok_or_else(|| UnknownFault { name: name.to_owned() })?;
        Ok(Self { fault, at: at.trim().to_owned() })
    }
}

fn names() -> String {
    Fault::ALL.map(|(_, name)| format!("`{name}`")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name_and_no_other() {
        for (fault, name) in Fault::ALL {
            assert_eq!(name.parse(), Ok(Trouble::from(fault)));
            assert_eq!(fault.name(), name);
        }
        let only = "500 /app/v2/".parse();
        assert_eq!(only, Ok(Trouble { fault: Fault::ServerError, at: "/app/v2/".into() }));
        let error = "501".parse::<Trouble>().unwrap_err().to_string();
        assert!(error.starts_with("no fault is called `501`; there are `401_once`, "), "{error}");
    }
}
