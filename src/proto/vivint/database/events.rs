//! What a session wants done, and what it tells.

use std::fmt;

use serde_json::Value;

use super::frames::FrameError;
use super::message::MessageError;
use super::path::Path;
use super::session::Session;

/// What the session wants done.
#[derive(Clone, PartialEq)]
pub enum Output {
    /// A text frame.
    Send(String),
    Event(Event),
}

/// What happened.
#[derive(Clone, PartialEq)]
pub enum Event {
    /// The connection has begun.
    Hello {
        /// Where to connect the next time.
        host: String,
        /// What the next connection says it follows.
        session: String,
    },
    /// Close this connection and open one to that host, now.
    Redirect { host: String },
    /// The server has taken the token: puts are possible.
    Authenticated {
        /// Whom it takes us for, where it says so.
        uid: Option<String>,
    },
    /// The token is not accepted, or not any more: `authenticate` with a new one.
    TokenWanted,
    /// The server has begun to tell of this place.
    Listening { path: Path },
    /// What is there now: the present value first, null too, then each that differs from the one before.
    Value { path: Path, value: Value },
    /// The place is not told of any more, nor will be.
    Revoked { path: Path, why: Refusal },
    /// What became of a write.
    Done { write: WriteId, outcome: Result<(), WriteError> },
    /// Something for the log. It shows no text of the server's.
    Told(&'static str),
}

/// Tells the writes of a session apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriteId(pub(super) u64);

/// What the server has against a request. Nothing that it quotes is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}{}{why}", if why.is_empty() { "" } else { ": " })]
pub struct Refusal {
    /// `permission_denied` …
    pub status: String,
    pub why: String,
}

impl Refusal {
    pub(super) fn new(status: &str, why: &str) -> Self {
        Self { status: clue(status), why: clue(why) }
    }
}

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("there is no connection")]
    NotConnected,
    /// The connection broke: it may have been written.
    #[error("the connection broke before the answer")]
    Lost,
    #[error("too much is under way already")]
    Busy,
    #[error("it was refused ({0})")]
    Refused(Refusal),
}

/// Why a connection is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("it did not say hello within {} s", Session::HELLO_WITHIN.as_secs())]
    NoHello,
    #[error("it did not answer within {} s", Session::REPLY_WITHIN.as_secs())]
    NoReply,
    /// It wants no more of this client; not to be tried again without need.
    #[error("it has shut this client out ({why})")]
    Shutdown { why: String },
    /// Neither the token nor the one after it.
    #[error("it does not accept the token ({0})")]
    AuthRefused(Refusal),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// A text of the server's with everything left out that may repeat a secret: only short words that are no address.
pub(super) fn clue(text: &str) -> String {
    const LONGEST: usize = 120;
    const LONGEST_WORD: usize = 20;
    let plain = |word: &&str| word.len() <= LONGEST_WORD && !word.contains(['/', '@', ':', '{', '"']);
    let words: Vec<&str> = text.split_whitespace().filter(plain).collect();
    words.join(" ").chars().filter(|character| !character.is_control()).take(LONGEST).collect()
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(frame) => write!(f, "Send({} bytes)", frame.len()),
            Self::Event(event) => event.fmt(f),
        }
    }
}

/// Without what is written in the database, and where.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { .. } => f.write_str("Hello"),
            Self::Redirect { .. } => f.write_str("Redirect"),
            Self::Authenticated { .. } => f.write_str("Authenticated"),
            Self::TokenWanted => f.write_str("TokenWanted"),
            Self::Listening { .. } => f.write_str("Listening"),
            Self::Value { value, .. } => write!(f, "Value({} bytes)", value.to_string().len()),
            Self::Revoked { why, .. } => write!(f, "Revoked({why})"),
            Self::Done { write, outcome } => write!(f, "Done({write:?}, {outcome:?})"),
            Self::Told(what) => write!(f, "Told({what})"),
        }
    }
}
