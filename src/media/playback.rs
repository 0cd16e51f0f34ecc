//! A recording on its way to a speaker: in the camera's codec, in pieces of 20 ms, each at its time.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::convert::{Converter, Unsupported};
use super::{AudioCodec, AudioFormat, Recording};
use crate::clock;

/// How loud: 0 is silence, 1 as it was recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Volume(f32);

impl Volume {
    pub const FULL: Self = Self(1.0);

    /// `None` unless it is between 0 and 1.
    pub fn new(volume: f64) -> Option<Self> {
        (0.0..=1.0).contains(&volume).then_some(Self(volume as f32))
    }
}

impl Default for Volume {
    fn default() -> Self {
        Self::FULL
    }
}

/// How far a recording was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    pub duration: Duration,
    /// Whether that was all of it; otherwise the speaker was closed.
    pub whole: bool,
}

const PIECE: Duration = Duration::from_millis(20);

/// The whole of `recording` as `format` has it, in pieces of 20 ms.
///
/// # Errors
/// When `format` cannot be encoded.
pub fn pieces(recording: &Recording, format: AudioFormat, volume: Volume) -> Result<Vec<Bytes>, Unsupported> {
    let pcm = AudioFormat { codec: AudioCodec::Pcm, rate_hz: recording.rate_hz, channels: 1 };
    let mut converter = Converter::new(pcm, format)?;
    let samples = recording.samples.iter().map(|sample| (f32::from(*sample) * volume.0) as i16);
    let bytes: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    Ok(bytes.chunks(1 << 15).flat_map(|chunk| converter.push(chunk)).collect())
}

/// Sends each piece at its time: the nth leaves `n` times 20 ms after the first, whatever delayed those before it.
pub async fn play(pieces: &[Bytes], speaker: &mpsc::Sender<Bytes>) -> Played {
    let begun = clock::now();
    let (mut due, mut duration) = (begun, Duration::ZERO);
    for piece in pieces {
        tokio::select! {
            biased;
            () = speaker.closed() => return Played { duration, whole: false },
            () = sleep_until(due) => {}
        }
        if speaker.send(piece.clone()).await.is_err() {
            return Played { duration, whole: false };
        }
        due += PIECE;
        duration += PIECE;
    }
    Played { duration, whole: true }
}
