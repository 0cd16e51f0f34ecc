//! What a virtual Vivint cloud can be told to do wrong.

use std::fmt;
use std::str::FromStr;

/// One way of misbehaving. A cloud has at most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// HTTP 500.
    ServerError,
    /// HTTP 429 with `Retry-After: 7`.
    TooMany,
    /// HTTP 403 with the page of the proxy in front: this address is blocked.
    Blocked,
    /// The answer ends in the middle, as if it were whole.
    BadJson,
    /// HTTP 200 with a web page.
    Html,
    /// The connection is reset instead of an answer.
    Reset,
    /// The answer comes after 30 s.
    Stall,
    /// A login is refused as if the password were wrong.
    LoginRefused,
    /// HTTP 500 to whoever sends a code.
    CodeServerError,
    /// Every token given out so far is worthless, the refresh tokens too; a login works.
    RefreshRevoked,
    /// A refresh gives no new refresh token; the old one stays good.
    RefreshKept,
    /// The API lets nobody in who has not given a code, whoever has.
    CodeDemanded,
    /// The account has no message channel.
    NoMessageChannel,
    /// The account's user is a list of one.
    UserList,
    /// Texts where numbers belong, and the other way round, in all answers of the API.
    WrongTypes,
    /// Devices have nothing but ids and types.
    MissingFields,
    /// The list holds devices that are none, between the good ones.
    BrokenDevice,
    /// Locks and garage doors take a command and do not move.
    Jammed,
    /// Subscribers hear of nothing any more.
    PubnubSilent,
    /// Subscribers get an answer that is no JSON.
    PubnubGarbage,
    /// Around each message others that nobody can use, all in one answer: without a payload, without a panel, of an
    /// unknown panel, with unknown fields.
    PubnubNoise,
    /// Each ring is told twice.
    DuplicateRings,
    /// The exchange takes POST only.
    ExchangePost,
    /// Identity Toolkit takes no custom token.
    CustomTokenRefused,
    /// Custom tokens name no database and no device.
    NoClaims,
    /// Custom tokens name no device.
    NotListed,
    /// The database redirects who calls it by another name than `localhost`, before its hello.
    Redirect,
    /// The hello comes after 3 s.
    LateHello,
    /// The hello does not come.
    NoHello,
    /// Each message has a frame "1" before it.
    CountOfOne,
    /// Messages longer than 100 characters come in pieces of 100.
    SmallPieces,
    /// The count before a long message is one too high.
    LyingCount,
    /// Behind each reply a value of 11 MB.
    Huge,
    /// Every Firebase token given out so far has expired, and whoever is authenticated is told so (`ac`).
    AuthExpired,
    /// The database takes no token.
    AuthRefused,
    /// Whoever listens is told that he may not any more (`c`), once.
    ListenRevoked,
    /// Nobody may listen.
    ListenDenied,
    /// Nobody may write.
    WriteDenied,
    /// Each connection is told of a shutdown (`s`) and closed.
    Shutdown,
    /// Every connection to the database is reset, once.
    Drop,
    /// Connections to the database stay open, and nothing is read or said.
    Mute,
    /// A change is told child by child.
    ChildPush,
    /// A change is told as a merge.
    MergePush,
    /// Each push has one before it of a path that nobody listens to.
    ForeignPush,
    /// Whoever listens to an empty message node finds what an earlier call left there.
    Stale,
    /// Behind each offer, another member of the household puts one of his own on the camera's node.
    Intruder,
}

impl Fault {
    pub const ALL: [(Self, &str); 46] = [
        (Self::ServerError, "500"),
        (Self::TooMany, "429"),
        (Self::Blocked, "403_html"),
        (Self::BadJson, "bad_json"),
        (Self::Html, "html_200"),
        (Self::Reset, "reset"),
        (Self::Stall, "stall"),
        (Self::LoginRefused, "login_refused"),
        (Self::CodeServerError, "code_500"),
        (Self::RefreshRevoked, "refresh_revoked"),
        (Self::RefreshKept, "refresh_kept"),
        (Self::CodeDemanded, "code_demanded"),
        (Self::NoMessageChannel, "no_message_channel"),
        (Self::UserList, "user_list"),
        (Self::WrongTypes, "wrong_types"),
        (Self::MissingFields, "missing_fields"),
        (Self::BrokenDevice, "broken_device"),
        (Self::Jammed, "jammed"),
        (Self::PubnubSilent, "pubnub_silent"),
        (Self::PubnubGarbage, "pubnub_garbage"),
        (Self::PubnubNoise, "pubnub_noise"),
        (Self::DuplicateRings, "duplicate_rings"),
        (Self::ExchangePost, "exchange_post"),
        (Self::CustomTokenRefused, "custom_token_refused"),
        (Self::NoClaims, "no_claims"),
        (Self::NotListed, "not_listed"),
        (Self::Redirect, "db_redirect"),
        (Self::LateHello, "db_late_hello"),
        (Self::NoHello, "db_no_hello"),
        (Self::CountOfOne, "db_count_of_one"),
        (Self::SmallPieces, "db_small_pieces"),
        (Self::LyingCount, "db_lying_count"),
        (Self::Huge, "db_huge"),
        (Self::AuthExpired, "db_auth_expired"),
        (Self::AuthRefused, "db_auth_refused"),
        (Self::ListenRevoked, "db_listen_revoked"),
        (Self::ListenDenied, "db_listen_denied"),
        (Self::WriteDenied, "db_write_denied"),
        (Self::Shutdown, "db_shutdown"),
        (Self::Drop, "db_drop"),
        (Self::Mute, "db_mute"),
        (Self::ChildPush, "db_child_push"),
        (Self::MergePush, "db_merge_push"),
        (Self::ForeignPush, "db_foreign_push"),
        (Self::Stale, "db_stale"),
        (Self::Intruder, "db_intruder"),
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
    /// Only in answers to paths that begin so; empty for all of them. Of no matter for what is no answer.
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
        let only = "500 /api/".parse();
        assert_eq!(only, Ok(Trouble { fault: Fault::ServerError, at: "/api/".into() }));
        let error = "501".parse::<Trouble>().unwrap_err().to_string();
        assert!(error.starts_with("no fault is called `501`; there are `500`, "), "{error}");
    }
}
