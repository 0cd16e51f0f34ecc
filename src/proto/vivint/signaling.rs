//! How a call is arranged: SDP and ICE messages that overwrite each other on one database node per device (vivint
//! reference §8).
//!
//! A camera's node is used by every app of its household, and both nodes still hold what the last call left there, so
//! most of this is about what to pass over: see [`Dialogue::on_value`].

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Where messages to `device` are put: a camera's `uuid` or an app's Firebase uid. Without a slash at the start.
pub fn path(system: Option<i64>, device: &str) -> String {
    match system {
        Some(system) => format!("groups/{system}/devices/{device}/msg"),
        None => format!("devices/{device}/msg"),
    }
}

/// A random UUID (RFC 9562 §5.4), which tells a call from all others.
#[derive(Clone, PartialEq, Eq)]
pub struct TransactionUuid(String);

impl TransactionUuid {
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = super::super::wire::hex(&bytes);
        let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        Self(format!("{a}-{b}-{c}-{d}-{e}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value of a node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Message {
    Sdp(SdpMessage),
    Ice(IceMessage),
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SdpMessage {
    pub sdp_type: SdpType,
    pub sdp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_uuid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What we are sent in it does not matter: we ask for no video.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub video_source: Option<VideoSource>,
    #[serde(rename = "_timestamp", default, deserialize_with = "ms", skip_serializing_if = "Option::is_none")]
    pub timestamp_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SdpType {
    Offer,
    Answer,
}

/// Other sources select live or recorded video in Vivint's app; their names are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum VideoSource {
    NoSource,
}

/// There is no transaction in it, no `sdpMid`, and no message that says that there are no more.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IceMessage {
    pub candidate: String,
    #[serde(rename = "sdpMLineIndex", default)]
    pub sdp_m_line_index: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(rename = "_timestamp", default, deserialize_with = "ms", skip_serializing_if = "Option::is_none")]
    pub timestamp_ms: Option<i64>,
}

impl Message {
    /// What the node holds; `None` for whatever is not a message: nothing, another `type`, or a key that is not as it
    /// has to be.
    pub fn read(value: &Value) -> Option<Self> {
        value.is_object().then(|| Self::deserialize(value).ok())?
    }

    pub fn to_value(&self) -> Value {
        // Structs of texts and numbers cannot fail to be JSON.
        serde_json::to_value(self).unwrap_or_default()
    }

    pub fn from(&self) -> Option<&str> {
        match self {
            Self::Sdp(message) => message.from.as_deref(),
            Self::Ice(message) => message.from.as_deref(),
        }
    }

    fn timestamp_ms(&self) -> Option<i64> {
        match self {
            Self::Sdp(message) => message.timestamp_ms,
            Self::Ice(message) => message.timestamp_ms,
        }
    }
}

/// Descriptions hold the ICE password and candidates the house's addresses: neither is shown.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sdp(message) => write!(f, "{:?}({} bytes)", message.sdp_type, message.sdp.len()),
            Self::Ice(_) => f.write_str("Ice"),
        }
    }
}

/// JavaScript has one kind of number, and servers write it as they please.
fn ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_i64().or_else(|| value.as_f64().map(|number| number as i64)))
}

/// One call's signalling, from our side.
pub struct Dialogue {
    uid: String,
    camera: String,
    phase: Phase,
    /// Since when what is told counts: a message that is older by more than [`Self::SKEW_MS`] is of another call.
    since_ms: i64,
    /// The camera's, while its description is not set. At most [`Self::MOST_CANDIDATES`]; further ones are dropped.
    early: Vec<String>,
}

#[derive(Clone, PartialEq, Eq)]
enum Phase {
    /// Nobody has offered.
    Quiet,
    /// We have, with this transaction.
    Offered(TransactionUuid),
    /// Both have said who they are.
    Agreed,
}

/// What the camera has said.
#[derive(Clone, PartialEq, Eq)]
pub enum Heard {
    Answer {
        sdp: String,
    },
    /// It calls, which needs an [`Dialogue::answer`].
    Offer(Offer),
    /// Cleaned: it begins with `candidate:`. Never before the answer or the offer.
    Candidate(String),
}

/// The camera's.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    pub sdp: String,
    /// The answer repeats it.
    transaction: Option<String>,
}

/// Why a value was passed over, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("no message")]
    NoMessage,
    #[error("our own")]
    Echo,
    #[error("somebody else's")]
    Foreign,
    #[error("left from an earlier call")]
    Stale,
    #[error("an answer to nothing")]
    Unasked,
    #[error("an answer of another call")]
    OtherTransaction,
    #[error("the second answer")]
    SecondAnswer,
    #[error("an offer while a call is being made")]
    Glare,
    #[error("a candidate that leads nowhere")]
    UselessCandidate,
    #[error("too many early candidates")]
    TooMany,
    #[error("a description longer than any")]
    TooLong,
}

impl Dialogue {
    /// Clocks of cameras are not ours.
    const SKEW_MS: i64 = 60_000;
    const MOST_CANDIDATES: usize = 32;
    /// In bytes. Descriptions of apps with every codec there is have a tenth of it.
    const LONGEST_SDP: usize = 1 << 16;

    /// `uid` is who we are to the database, `camera` its uuid; `now_ms` the time since 1970, as everywhere here.
    pub fn new(uid: impl Into<String>, camera: impl Into<String>, now_ms: i64) -> Self {
        Self { uid: uid.into(), camera: camera.into(), phase: Phase::Quiet, since_ms: now_ms, early: Vec::new() }
    }

    /// The offer to be put on the camera's node, now. What was heard before it belongs to an earlier call.
    pub fn offer(&mut self, sdp: String, transaction: TransactionUuid, now_ms: i64) -> Value {
        let message = self.sdp(SdpType::Offer, sdp, Some(transaction.as_str().to_owned()), now_ms);
        self.phase = Phase::Offered(transaction);
        self.since_ms = now_ms;
        self.early.clear();
        message
    }

    /// The answer to the camera's offer, to be put on the camera's node.
    pub fn answer(&self, sdp: String, offer: &Offer, now_ms: i64) -> Value {
        self.sdp(SdpType::Answer, sdp, offer.transaction.clone(), now_ms)
    }

    /// A candidate of ours, to be put on the camera's node after the offer or the answer.
    pub fn candidate(&self, candidate: &str, now_ms: i64) -> Value {
        let message = IceMessage {
            candidate: candidate.trim_end().to_owned(),
            sdp_m_line_index: Some(0),
            from: Some(self.uid.clone()),
            timestamp_ms: Some(now_ms),
        };
        Message::Ice(message).to_value()
    }

    /// Takes what the camera's node or our own holds now. One answer brings the candidates that came before it.
    ///
    /// # Errors
    /// `Ignored`: nothing is to be done.
    pub fn on_value(&mut self, value: &Value) -> Result<Vec<Heard>, Ignored> {
        let message = Message::read(value).ok_or(Ignored::NoMessage)?;
        match message.from() {
            Some(from) if from == self.uid => return Err(Ignored::Echo),
            Some(from) if from != self.camera => return Err(Ignored::Foreign),
            _ => {}
        }
        if message.timestamp_ms().is_some_and(|at| at < self.since_ms.saturating_sub(Self::SKEW_MS)) {
            return Err(Ignored::Stale);
        }
        match message {
            Message::Sdp(message) if message.sdp.len() > Self::LONGEST_SDP => Err(Ignored::TooLong),
            Message::Sdp(message) if message.sdp_type == SdpType::Answer => self.on_answer(message),
            Message::Sdp(message) => self.on_offer(message),
            Message::Ice(message) => self.on_ice(&message),
        }
    }

    fn on_answer(&mut self, message: SdpMessage) -> Result<Vec<Heard>, Ignored> {
        let ours = match &self.phase {
            Phase::Quiet => return Err(Ignored::Unasked),
            Phase::Agreed => return Err(Ignored::SecondAnswer),
            Phase::Offered(transaction) => transaction,
        };
        if message.transaction_uuid.is_some_and(|transaction| transaction != ours.as_str()) {
            return Err(Ignored::OtherTransaction);
        }
        self.phase = Phase::Agreed;
        let early = self.early.drain(..).map(Heard::Candidate);
        Ok(std::iter::once(Heard::Answer { sdp: message.sdp }).chain(early).collect())
    }

    /// The camera offers first in some scenarios (the seed); no rule is known for when both do.
    fn on_offer(&mut self, message: SdpMessage) -> Result<Vec<Heard>, Ignored> {
        if self.phase != Phase::Quiet {
            return Err(Ignored::Glare);
        }
        // Who sends no name may be anybody who shares the camera's node.
        if message.from.is_none() {
            return Err(Ignored::Foreign);
        }
        self.phase = Phase::Agreed;
        self.early.clear();
        Ok(vec![Heard::Offer(Offer { sdp: message.sdp, transaction: message.transaction_uuid })])
    }

    fn on_ice(&mut self, message: &IceMessage) -> Result<Vec<Heard>, Ignored> {
        let candidate = cleaned(&message.candidate).ok_or(Ignored::UselessCandidate)?;
        if self.phase == Phase::Agreed {
            return Ok(vec![Heard::Candidate(candidate.to_owned())]);
        }
        if self.early.len() >= Self::MOST_CANDIDATES {
            return Err(Ignored::TooMany);
        }
        self.early.push(candidate.to_owned());
        Ok(Vec::new())
    }

    fn sdp(&self, sdp_type: SdpType, sdp: String, transaction_uuid: Option<String>, now_ms: i64) -> Value {
        let message = SdpMessage {
            sdp_type,
            sdp,
            transaction_uuid,
            from: Some(self.uid.clone()),
            video_source: Some(VideoSource::NoSource),
            timestamp_ms: Some(now_ms),
        };
        Message::Sdp(message).to_value()
    }
}

/// Without what some write around it: a line end, `a=`. `None` when it cannot be read (RFC 8839 §5.1), and for names
/// that only a multicast of the camera's network would resolve.
fn cleaned(candidate: &str) -> Option<&str> {
    let candidate = candidate.trim();
    let candidate = candidate.strip_prefix("a=").unwrap_or(candidate);
    let mut words = candidate.strip_prefix("candidate:")?.split_ascii_whitespace();
    let address = words.nth(4)?;
    let port = words.next()?.parse::<u16>();
    let is_typed = words.next() == Some("typ") && words.next().is_some();
    let is_name = address.to_ascii_lowercase().ends_with(".local");
    (port.is_ok() && is_typed && !is_name).then_some(candidate)
}

#[cfg(test)]
#[path = "signaling_tests.rs"]
mod tests;
