//! What a doorbell says by itself, and how what somebody says to it came.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The name of a clip: `[a-z0-9_]{1,40}`, its file's name without the ending.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ClipName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a clip's name has 1 to 40 characters of a-z, 0-9 and _")]
pub struct InvalidClipName;

impl ClipName {
    /// # Errors
    /// When `name` is empty, longer than 40 characters or has a character outside `[a-z0-9_]`.
    pub fn parse(name: &str) -> Result<Self, InvalidClipName> {
        let fits = (1..=40).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if fits { Ok(Self(name.to_owned())) } else { Err(InvalidClipName) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ClipName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}

/// What a doorbell says by itself at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Speaking {
    /// `text`, `url`, `clip` or `file`.
    pub source: &'static str,
    /// Which clip, if it is one.
    pub clip: Option<ClipName>,
    /// How many things wait behind it.
    pub queued: usize,
}

/// How somebody's talk was when it came here: why nobody understands it at the door. Levels are in dB of full scale,
/// −100 for silence, and leave the silence between words out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TalkLevel {
    /// Root mean square.
    pub rms_db: i32,
    pub peak_db: i32,
    /// As loud as the codec can say, and so probably distorted.
    pub clipped_percent: u8,
    /// Not passed on, because it was silence.
    pub suppressed_percent: u8,
    pub packets: u64,
    /// Not there when it was their turn.
    pub lost: u64,
    /// Came after their turn.
    pub late: u64,
    /// How long the last packet waited to make up for those that come late.
    pub delay_ms: u64,
}
