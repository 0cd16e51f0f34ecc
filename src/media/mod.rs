//! Pictures and sound on their way from a camera to people, and speech on its way back.

pub(crate) mod codec;
mod colours;
pub mod convert;
pub mod g711;
mod gop;
pub mod h26x;
pub mod hub;
pub mod playback;
mod recording;
mod resample;
pub mod still;
pub mod talkback;
#[cfg(test)]
mod tone;

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

pub use hub::{Demand, FrameStream, Keyframe, MediaHub};
pub use recording::{NotSound, Recording};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    H264,
    H265,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioCodec {
    /// G.711 µ-law, one byte a sample.
    Pcmu,
    /// G.711 A-law, one byte a sample.
    Pcma,
    /// Signed 16-bit samples, little-endian.
    Pcm,
    /// AAC-LC, one raw data block a frame, without ADTS header.
    Aac,
    /// One Opus packet a frame.
    Opus,
}

/// What a piece of sound is made of. Two equal formats can be played by the same decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct AudioFormat {
    pub codec: AudioCodec,
    pub rate_hz: u32,
    /// 1 or 2, interleaved.
    pub channels: u8,
}

impl AudioFormat {
    pub const PCMU: Self = Self { codec: AudioCodec::Pcmu, rate_hz: 8_000, channels: 1 };
    pub const PCMA: Self = Self { codec: AudioCodec::Pcma, rate_hz: 8_000, channels: 1 };
    pub const OPUS: Self = Self { codec: AudioCodec::Opus, rate_hz: 48_000, channels: 2 };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// One access unit in Annex B; a keyframe begins with its parameter sets.
    Video {
        codec: VideoCodec,
        keyframe: bool,
    },
    Audio(AudioFormat),
}

impl FrameKind {
    pub fn is_keyframe(self) -> bool {
        matches!(self, Self::Video { keyframe: true, .. })
    }

    pub fn is_video(self) -> bool {
        matches!(self, Self::Video { .. })
    }
}

/// One picture, or one packet of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Counts the frames of one hub from 0, video and audio together.
    pub seq: u64,
    pub kind: FrameKind,
    /// Since the first camera session of the hub began; goes on over the gap between two sessions. Video and
    /// audio share the clock; each medium never goes back.
    pub pts: Duration,
    pub data: Bytes,
}

/// What a camera sends, as far as its frames have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Formats {
    pub video: Option<VideoCodec>,
    pub audio: Option<AudioFormat>,
}
