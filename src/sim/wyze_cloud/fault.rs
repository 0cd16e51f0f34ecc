//! What a virtual cloud can be told to do wrong.

use crate::sim::fault::{self, faults};

faults! {
    /// One way of misbehaving. A cloud has at most one at a time.
    pub enum Fault {
        /// Every access token given out so far is answered HTTP 401, until it is refreshed.
        Unauthorized = "401_once",
        /// Every access token given out so far is answered code 2001, until it is refreshed.
        Expired = "expired",
        /// Every token given out so far is worthless, the refresh tokens too; a login works.
        RefreshRevoked = "refresh_revoked",
        /// A login is refused as if the password were wrong.
        LoginRefused = "login_refused",
        /// A login is refused as after too many failures.
        LockedOut = "locked_out",
        /// A login wants a code of an authenticator app that nobody has.
        MfaRequired = "mfa_required",
        /// HTTP 429 with the rate's headers alone.
        TooMany = "429",
        /// HTTP 429 with `Retry-After: 7`.
        TooManySeconds = "429_seconds",
        /// HTTP 429 with a date a minute ahead in `Retry-After`.
        TooManyDate = "429_date",
        /// HTTP 429 with ten years in `Retry-After`.
        TooManyAbsurd = "429_absurd",
        /// HTTP 403 with the page of a content network: this address is blocked.
        ForbiddenHtml = "403_html",
        /// HTTP 500.
        ServerError = "500",
        /// The connection is reset instead of an answer.
        Reset = "reset",
        /// The answer comes after 30 s.
        Stall = "stall",
        /// The answer comes at four bytes a second.
        Drip = "drip",
        /// The answer begins and does not end.
        Endless = "endless",
        /// The answer is a gibibyte of blanks, compressed.
        GzipBomb = "gzip_bomb",
        /// HTTP 200 with a web page.
        Html = "html_200",
        /// The answer ends in the middle, as if it were whole.
        Truncated = "truncated",
        /// Texts where numbers belong, and the other way round.
        WrongTypes = "wrong_types",
        /// Values that nobody knows, where a list of values is known.
        UnknownEnums = "unknown_enums",
        /// Devices and events have nothing but their ids.
        MissingFields = "missing_fields",
        /// The list holds devices that are none, between the good ones.
        BrokenDevice = "broken_device",
        /// The cloud's clock is a day ahead; its `Date` tells so.
        ClockSkew = "clock_skew",
        /// Every event is listed twice.
        DuplicateEvents = "duplicate_events",
        /// Events are listed in no order.
        UnorderedEvents = "unordered_events",
        /// An event is listed 20 s after it happened.
        LateEvents = "late_events",
        /// A bolt takes a command and gets stuck.
        Jammed = "jammed",
    }
}

pub type Trouble = fault::Trouble<Fault>;
