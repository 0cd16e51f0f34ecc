//! What every other module talks about: plain data, no behaviour beyond parsing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize};

mod account;
mod door;
mod sound;

pub use account::{Account, AccountLink, ListedDoor, RateLimit};
pub use door::{Door, DoorKind, LockAction, LockState, Mechanism, OpenerEntity};
pub use sound::{ClipName, InvalidClipName, Speaking, TalkLevel};

/// The identity of a doorbell: `[a-z0-9_]{1,64}`, made of vendor and hardware id
/// (`wyze_d03f27a1b2c3`), never of the name. It is part of MQTT topics and URLs as it stands.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct DeviceId(Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: 1 to 64 characters of a-z, 0-9 and _")]
pub struct InvalidDeviceId(pub String);

impl DeviceId {
    /// # Errors
    /// When `id` is empty, longer than 64 characters or has a character outside `[a-z0-9_]`.
    pub fn parse(id: &str) -> Result<Self, InvalidDeviceId> {
        let fits = (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if fits { Ok(Self(id.into())) } else { Err(InvalidDeviceId(id.to_owned())) }
    }

    /// `vendor` and a hardware id of any spelling: letters are lowered, everything else becomes `_`,
    /// what is over 64 characters is cut.
    pub fn from_hardware(vendor: &str, hardware_id: &str) -> Self {
        let mut id = format!("{vendor}_{hardware_id}").to_ascii_lowercase();
        id = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        id.truncate(64);
        Self(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What is known of a doorbell before it is ever connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    pub id: DeviceId,
    /// As its owner named it. Untrusted text: it may hold anything. A doorbell tells it as [`Self::shown_name`] has it.
    pub name: String,
    /// `wyze`, `vivint` or `kvs`.
    pub vendor: &'static str,
    /// The vendor's own model code (`HL_DB2`).
    pub model: String,
    pub firmware: Option<String>,
    pub capabilities: BTreeSet<Capability>,
}

impl DeviceInfo {
    /// The name as people are shown it: at most 100 characters, without those that break lines, drive terminals or
    /// turn the text beside it round; the id where nothing is left.
    pub fn shown_name(&self) -> String {
        const LONGEST: usize = 100;
        let name: String = self.name.chars().filter(|c| !steers_text(*c)).take(LONGEST).collect();
        if name.trim().is_empty() { self.id.to_string() } else { name.trim().to_owned() }
    }
}

/// Control characters, the separators of lines and paragraphs, and Unicode's marks of direction (UAX #9).
fn steers_text(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || directs || matches!(c, '\u{2028}' | '\u{2029}')
}

/// What a doorbell can do. A face publishes entities by walking this set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    Ring,
    Motion,
    Stream,
    Talk,
    /// A lock or an opener of its own that the owner has enabled (`doorbells[].unlock`).
    Unlock,
    /// A garage door that the owner has enabled (`doorbells[].garage`).
    Garage,
    /// A still picture when it is asked for one.
    Snapshot,
}

impl Capability {
    /// The word for it in lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Motion => "motion",
            Self::Stream => "stream",
            Self::Talk => "talk",
            Self::Unlock => "unlock",
            Self::Garage => "garage",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Something that happened. A late listener may miss it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Ring(Ring),
    Motion(Motion),
}

/// Somebody pressed the button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    pub at: SystemTime,
    /// What de-duplicates a ring that is told twice; made up by the doorbell where the source has none.
    pub event_id: String,
    /// Where it was heard: `cloud`, `button`, …
    pub source: &'static str,
    /// How long after the press Doorstep learnt of it, where the source says when that was.
    pub latency: Option<Duration>,
}

/// The doorbell saw something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Motion {
    pub at: SystemTime,
    pub event_id: String,
    pub kind: MotionKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MotionKind {
    Motion,
    Person,
    Face,
    Vehicle,
    Pet,
    Package,
    Sound,
}

impl MotionKind {
    pub const ALL: [Self; 7] =
        [Self::Motion, Self::Person, Self::Face, Self::Vehicle, Self::Pet, Self::Package, Self::Sound];
}

/// How things stand now. Always readable, always the latest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    pub link: Link,
    /// How the camera is reached while it streams: `lan_old`, `lan_new`, …
    pub transport: Option<&'static str>,
    pub viewers: usize,
    /// Whether the speaker is open.
    pub talking: bool,
    /// The viewer whose microphone has it. Open without one: the switch holds it for whoever comes.
    pub microphone: Option<u64>,
    /// Whether the stream switch keeps a camera session up.
    pub stream_switch: bool,
    /// The last error of this doorbell in a sentence for its owner, until the next success.
    pub last_error: Option<String>,
    pub last_ring: Option<Ring>,
    /// Of a lock, a garage door, or a doorbell with an opener of its own: how it stands. `None` for everything else.
    pub door: Option<Door>,
    /// The doors beside a doorbell that its owner has enabled.
    pub doors: BTreeMap<DoorKind, Door>,
    /// Why nobody can talk at present although it has a speaker, in whole sentences for the owner.
    pub talk_obstacle: Option<String>,
    /// Whether that is still being found out.
    pub talk_pending: bool,
    /// What it says by itself; `None` while that is nothing.
    pub speaking: Option<Speaking>,
    /// How the last talk came here from the microphone.
    pub talk_level: Option<TalkLevel>,
}

/// A device as its account lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    #[serde(flatten)]
    pub info: DeviceInfo,
    pub role: Role,
    /// Where it is on the LAN, when it is reached there.
    pub address: Option<SocketAddr>,
    /// `tutk`, `webrtc`, `gwell`, `cloud`: the way to it.
    pub transport: Option<&'static str>,
    /// What this version cannot do with it and why, in a sentence for the owner.
    pub obstacle: Option<String>,
    /// Why nobody can talk to it although it has a speaker, in whole sentences.
    pub talk_obstacle: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Doorbell,
    Camera,
    Lock,
    Garage,
    Other,
}

/// How the MQTT broker is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttLink {
    /// No broker is configured.
    Off,
    /// Whoever knows the broker has not named one yet.
    Waiting,
    Disconnected,
    /// The broker has confirmed our subscriptions.
    Connected,
}

impl MqttLink {
    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Waiting => "waiting",
            Self::Disconnected => "disconnected",
            Self::Connected => "connected",
        }
    }
}

/// How it goes with the program beside us that passes our streams on (go2rtc).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Companion {
    /// Its owner wants none.
    #[default]
    Off,
    /// There is none, which is nobody's fault.
    Absent,
    /// It has every stream of ours.
    Registered { streams: usize },
    /// It is tried again by itself. `why` is whole sentences for the owner.
    Failing { why: String },
}

impl Companion {
    /// The word for it on MQTT and in logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Absent => "absent",
            Self::Registered { .. } => "registered",
            Self::Failing { .. } => "failing",
        }
    }

    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Failing { why } => Some(why),
            Self::Off | Self::Absent | Self::Registered { .. } => None,
        }
    }

    /// How many of our streams it has.
    pub fn streams(&self) -> usize {
        match self {
            Self::Registered { streams } => *streams,
            Self::Off | Self::Absent | Self::Failing { .. } => 0,
        }
    }
}

/// How well the doorbell can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Link {
    /// Not reached, or not tried yet.
    #[default]
    Offline,
    /// Reachable as far as is known; no camera session is up because nobody watches.
    Ready,
    /// A camera session is being set up.
    Connecting,
    /// Pictures are arriving.
    Streaming,
    /// Trying again cannot help until the owner acts.
    NeedsAttention { why: String },
}

impl Link {
    /// The word for it on MQTT, in the API and in logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Ready => "ready",
            Self::Connecting => "connecting",
            Self::Streaming => "streaming",
            Self::NeedsAttention { .. } => "needs_attention",
        }
    }

    /// Whether entities should be shown as available.
    pub fn is_available(&self) -> bool {
        matches!(self, Self::Ready | Self::Connecting | Self::Streaming)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_made_of_hardware_is_always_a_valid_id() {
        for hardware in ["D03F27A1B2C3", "GW_BE1_7C78", "YD.LO1.ab-cd", "", "日本", &"x".repeat(200)] {
            let id = DeviceId::from_hardware("wyze", hardware);
            assert_eq!(DeviceId::parse(id.as_str()).as_ref(), Ok(&id), "{hardware:?}");
        }
    }

    #[test]
    fn a_foreign_spelling_is_refused() {
        for id in ["", "Wyze_1", "a/b", "a+b", "a#", "ü", &"x".repeat(65)] {
            assert!(DeviceId::parse(id).is_err(), "{id:?} was accepted");
        }
    }

    #[test]
    fn a_name_is_shown_without_what_steers_the_text_around_it() {
        let shown = |name: &str| {
            let id = DeviceId::parse("fake_1").unwrap();
            let (model, capabilities) = (String::new(), BTreeSet::new());
            DeviceInfo { id, name: name.to_owned(), vendor: "fake", model, firmware: None, capabilities }.shown_name()
        };
        assert_eq!(shown(" Front Door\r\n"), "Front Door");
        assert_eq!(shown("\u{202e}rooD\u{2066} \u{1b}[31mדלת\u{200f}"), "rooD [31mדלת");
        assert_eq!(shown("👩\u{200d}👧"), "👩\u{200d}👧", "what joins emoji is part of them");
        assert_eq!(shown("\u{2028}\u{0}\t "), "fake_1");
        assert_eq!(shown(&"ü".repeat(10_000)).chars().count(), 100);
    }
}
