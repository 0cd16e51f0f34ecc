//! What a virtual Vivint cloud can be told to do wrong.

use crate::sim::fault::{self, faults};

faults! {
    /// One way of misbehaving. A cloud has at most one at a time.
    pub enum Fault {
        /// HTTP 500.
        ServerError = "500",
        /// HTTP 429 with `Retry-After: 7`.
        TooMany = "429",
        /// HTTP 403 with the page of the proxy in front: this address is blocked.
        Blocked = "403_html",
        /// The answer ends in the middle, as if it were whole.
        BadJson = "bad_json",
        /// HTTP 200 with a web page.
        Html = "html_200",
        /// The connection is reset instead of an answer.
        Reset = "reset",
        /// The answer comes after 30 s.
        Stall = "stall",
        /// A login is refused as if the password were wrong.
        LoginRefused = "login_refused",
        /// HTTP 500 to whoever sends a code.
        CodeServerError = "code_500",
        /// Every token given out so far is worthless, the refresh tokens too; a login works.
        RefreshRevoked = "refresh_revoked",
        /// A refresh gives no new refresh token; the old one stays good.
        RefreshKept = "refresh_kept",
        /// The API lets nobody in who has not given a code, whoever has.
        CodeDemanded = "code_demanded",
        /// The account has no message channel.
        NoMessageChannel = "no_message_channel",
        /// The account's user is a list of one.
        UserList = "user_list",
        /// Texts where numbers belong, and the other way round, in all answers of the API.
        WrongTypes = "wrong_types",
        /// Devices have nothing but ids and types.
        MissingFields = "missing_fields",
        /// The list holds devices that are none, between the good ones.
        BrokenDevice = "broken_device",
        /// Locks and garage doors take a command and do not move.
        Jammed = "jammed",
        /// Subscribers hear of nothing any more.
        PubnubSilent = "pubnub_silent",
        /// Subscribers get an answer that is no JSON.
        PubnubGarbage = "pubnub_garbage",
        /// Around each message others that nobody can use, all in one answer: without a payload, without a panel, of an
        /// unknown panel, with unknown fields.
        PubnubNoise = "pubnub_noise",
        /// Each ring is told twice.
        DuplicateRings = "duplicate_rings",
        /// The exchange takes POST only.
        ExchangePost = "exchange_post",
        /// Identity Toolkit takes no custom token.
        CustomTokenRefused = "custom_token_refused",
        /// Custom tokens name no database and no device.
        NoClaims = "no_claims",
        /// Custom tokens name no device.
        NotListed = "not_listed",
        /// The database redirects who calls it by another name than `localhost`, before its hello.
        Redirect = "db_redirect",
        /// The hello comes after 3 s.
        LateHello = "db_late_hello",
        /// The hello does not come.
        NoHello = "db_no_hello",
        /// Each message has a frame "1" before it.
        CountOfOne = "db_count_of_one",
        /// Messages longer than 100 characters come in pieces of 100.
        SmallPieces = "db_small_pieces",
        /// The count before a long message is one too high.
        LyingCount = "db_lying_count",
        /// Behind each reply a value of 11 MB.
        Huge = "db_huge",
        /// Every Firebase token given out so far has expired, and whoever is authenticated is told so (`ac`).
        AuthExpired = "db_auth_expired",
        /// The database takes no token.
        AuthRefused = "db_auth_refused",
        /// Whoever listens is told that he may not any more (`c`), once.
        ListenRevoked = "db_listen_revoked",
        /// Nobody may listen.
        ListenDenied = "db_listen_denied",
        /// Nobody may write.
        WriteDenied = "db_write_denied",
        /// Each connection is told of a shutdown (`s`) and closed.
        Shutdown = "db_shutdown",
        /// Every connection to the database is reset, once.
        Drop = "db_drop",
        /// Connections to the database stay open, and nothing is read or said.
        Mute = "db_mute",
        /// A change is told child by child.
        ChildPush = "db_child_push",
        /// A change is told as a merge.
        MergePush = "db_merge_push",
        /// Each push has one before it of a path that nobody listens to.
        ForeignPush = "db_foreign_push",
        /// Whoever listens to an empty message node finds what an earlier call left there.
        Stale = "db_stale",
        /// Behind each offer, another member of the household puts one of his own on the camera's node.
        Intruder = "db_intruder",
    }
}

pub type Trouble = fault::Trouble<Fault>;
