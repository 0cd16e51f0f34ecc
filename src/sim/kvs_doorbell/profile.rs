//! Whose habits a doorbell has: one row of kvs reference §5 to §7 each.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::media::AudioFormat;

/// Which published master it is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// AWS's C SDK on an AmebaPro2: µ-law, opens the door
    #[default]
    Ameba,
    /// AWS's C SDK on Linux: Opus, comes online 1 to 3 s after each ring, only echoes what it is told
    Linux,
    /// AWS's Python sample: Opus, answers with all its addresses at once, passes on what it is told
    Python,
}

/// What a master does with text that comes over a data channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// The command opens the door, everything else is echoed.
    Door,
    Echo,
    /// It goes to every viewer over a channel that the master has opened.
    Broadcast {
        label: &'static str,
    },
}

/// How frames are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// `RecipientClientId`, with line ends and tabs.
    CSdk,
    /// As Python's `json.dumps` does.
    Python,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    pub(super) sound: &'static [AudioFormat],
    /// All addresses are in the answer; else each comes in a frame of its own and none is there.
    pub(super) complete_answer: bool,
    pub(super) spelling: Spelling,
    pub(super) text: Text,
    pub(super) most_viewers: usize,
    pub(super) ring_qos: u8,
    /// Between a ring and being online: at least and at most.
    pub(super) late: Option<(Duration, Duration)>,
}

impl Profile {
    pub(super) fn habits(self) -> Habits {
        match self {
            Self::Ameba => Habits {
                sound: &[AudioFormat::PCMU],
                complete_answer: false,
                spelling: Spelling::CSdk,
                text: Text::Door,
                most_viewers: 2,
                ring_qos: 0,
                late: None,
            },
            Self::Linux => Habits {
                sound: &[AudioFormat::OPUS],
                complete_answer: false,
                spelling: Spelling::CSdk,
                text: Text::Echo,
                most_viewers: 10,
                ring_qos: 1,
                late: Some((Duration::from_secs(1), Duration::from_secs(3))),
            },
            // AWS's sample rings nowhere; this one does as the one on Linux.
            Self::Python => Habits {
                sound: &[AudioFormat::OPUS],
                complete_answer: true,
                spelling: Spelling::Python,
                text: Text::Broadcast { label: "kvsDataChannel" },
                most_viewers: 10,
                ring_qos: 1,
                late: None,
            },
        }
    }

    /// What it publishes when somebody rings, byte for byte (kvs reference §6).
    pub(super) fn ring(self, channel: &str, unix_s: u64) -> String {
        match self {
            Self::Ameba => r#"{"event":"ring","device":"doorbell-master"}"#.to_owned(),
            Self::Linux | Self::Python => {
                format!(r#"{{"event": "ring", "channel": "{channel}", "timestamp": {unix_s}}}"#)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_published_as_the_masters_do() {
        let vectors = include_str!("../../../tests/vectors/kvs/doorbell.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        let linux = &vectors["vectors"][0];
        assert_eq!(linux["id"], "iot-ring-linux-master");
        assert_eq!(linux["out"]["payload"], Profile::Linux.ring("doorbell-channel", 1_795_225_197));
        assert_eq!(linux["in"]["qos"], Profile::Linux.habits().ring_qos);
        assert_eq!(Profile::Ameba.ring("any", 1), r#"{"event":"ring","device":"doorbell-master"}"#);
        assert_eq!(Profile::Ameba.habits().ring_qos, 0);
    }
}
