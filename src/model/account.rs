//! How an account does.

use std::time::SystemTime;

use super::{DeviceId, DoorKind};

/// How an account does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    pub link: AccountLink,
    /// Devices of the last listing.
    pub devices: usize,
    /// How many of them are shown as doorbells.
    pub doorbells: usize,
    /// The locks and garage doors among them, whether they may be worked or not: their owner has to know how to name
    /// them.
    pub doors: Vec<ListedDoor>,
    /// How many more requests the cloud grants, and when it counts anew.
    pub rate_limit: Option<RateLimit>,
    /// Whether it is still being found out if its events are heard; `link` tells of its listing alone until then.
    pub push_pending: bool,
}

/// A lock or a garage door on an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDoor {
    pub id: DeviceId,
    pub name: String,
    pub kind: DoorKind,
    /// Why it cannot be worked from here at all.
    pub obstacle: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AccountLink {
    /// Not asked yet.
    #[default]
    Starting,
    Ready,
    /// The last request failed and is tried again by itself.
    Failing {
        why: String,
    },
    /// The cloud has sent the owner a code and waits for it.
    NeedsCode {
        why: String,
    },
    /// Trying again cannot help until the owner acts.
    NeedsAttention {
        why: String,
    },
}

impl AccountLink {
    /// The word for it on MQTT, in the API and in logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Failing { .. } => "failing",
            Self::NeedsCode { .. } => "needs_code",
            Self::NeedsAttention { .. } => "needs_attention",
        }
    }

    /// Whole sentences for the owner, when there is something to say.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Failing { why } | Self::NeedsCode { why } | Self::NeedsAttention { why } => Some(why),
            Self::Starting | Self::Ready => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    pub remaining: u32,
    pub resets_at: SystemTime,
}
