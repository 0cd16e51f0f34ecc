//! A recording on its way to a speaker: in the camera's codec, in pieces of 20 ms, each at its time.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::codec::{Encoder, OPUS_RATES};
use super::convert::Unsupported;
use super::resample::Resampler;
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
    /// Whether that was all of it; otherwise the speaker was closed, or took it too slowly.
    pub whole: bool,
}

const PIECE: Duration = Duration::from_millis(20);

/// The whole of `recording` as `format` has it, in pieces of 20 ms. It is converted piece by piece as they are asked
/// for, so that the first is there at once.
///
/// # Errors
/// When `format` cannot be encoded.
pub fn pieces(recording: Recording, format: AudioFormat, volume: Volume) -> Result<Pieces, Unsupported> {
    let samples = recording.samples.len();
    Pieces::new(recording, samples, format, volume)
}

/// `recording` again and again until `lasting` is over.
///
/// # Errors
/// When `format` cannot be encoded.
pub fn repeated(
    recording: Recording,
    lasting: Duration,
    format: AudioFormat,
    volume: Volume,
) -> Result<Pieces, Unsupported> {
    let samples = if recording.samples.is_empty() { 0.0 } else { lasting.as_secs_f64() * f64::from(recording.rate_hz) };
    Pieces::new(recording, samples as usize, format, volume)
}

/// What [`pieces`] makes.
pub struct Pieces {
    source: Faded,
    /// None where the rate stays.
    resampler: Option<Resampler>,
    encoder: Encoder,
    channels: usize,
    /// Samples of one channel in 20 ms, as they are encoded.
    piece: usize,
    /// Pieces that are still to come.
    left: usize,
    pending: Vec<i16>,
}

impl Pieces {
    /// Rates that a recording may have.
    const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

    fn new(recording: Recording, samples: usize, format: AudioFormat, volume: Volume) -> Result<Self, Unsupported> {
        let from = AudioFormat { codec: AudioCodec::Pcm, rate_hz: recording.rate_hz, channels: 1 };
        let unsupported = Unsupported { from, to: format };
        let rate_hz = encoded_rate(recording.rate_hz, format);
        if !Self::RATES.contains(&recording.rate_hz) || !Self::RATES.contains(&rate_hz) || format.channels == 0 {
            return Err(unsupported);
        }
        let encoder = Encoder::new(AudioFormat { rate_hz, ..format }).ok_or(unsupported)?;
        let resampler = (rate_hz != recording.rate_hz).then(|| Resampler::new(recording.rate_hz, rate_hz));
        let piece = rate_hz as usize / 50;
        let held_back =
            resampler.as_ref().map_or(0, |_| Resampler::delay(recording.rate_hz, rate_hz)) + encoder.delay();
        let sounding = (samples as u64 * u64::from(rate_hz)).div_ceil(u64::from(recording.rate_hz)) as usize;
        Ok(Self {
            left: if samples == 0 { 0 } else { (sounding + held_back).div_ceil(piece) },
            source: Faded::new(recording, samples, volume),
            resampler,
            encoder,
            channels: format.channels.into(),
            piece,
            pending: Vec::new(),
        })
    }

    /// How long all that is still to come takes to play.
    pub fn duration(&self) -> Duration {
        PIECE * u32::try_from(self.left).unwrap_or(u32::MAX)
    }

    /// One piece of samples, with silence behind the end.
    fn samples(&mut self) -> Vec<i16> {
        while self.pending.len() < self.piece {
            let some = self.source.by_ref().chain(std::iter::repeat(0)).take(self.piece);
            match &mut self.resampler {
                None => self.pending.extend(some),
                Some(resampler) => resampler.push(some, &mut self.pending),
            }
        }
        let channels = self.channels;
        self.pending.drain(..self.piece).flat_map(|sample| std::iter::repeat_n(sample, channels)).collect()
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.left = self.left.checked_sub(1)?;
        let samples = self.samples();
        self.encoder.encode(&samples)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// Opus codes the lower rates better as such than blown up to 48 kHz, and every decoder plays it.
fn encoded_rate(recorded_hz: u32, format: AudioFormat) -> u32 {
    match format.codec {
        AudioCodec::Opus if OPUS_RATES.contains(&recorded_hz) => recorded_hz,
        AudioCodec::Opus => 48_000,
        _ => format.rate_hz,
    }
}

/// A recording, once or in a circle, as loud as it shall be. It swells and fades within 5 ms wherever it begins and
/// ends, so that nothing clicks.
struct Faded {
    recording: Recording,
    volume: Volume,
    next: usize,
    /// Samples of all rounds.
    all: usize,
    /// Samples of one fade.
    fade: usize,
}

impl Faded {
    fn new(recording: Recording, all: usize, volume: Volume) -> Self {
        let fade = (recording.rate_hz / 200) as usize;
        Self { recording, volume, next: 0, all, fade }
    }
}

impl Iterator for Faded {
    type Item = i16;

    fn next(&mut self) -> Option<i16> {
        let left = self.all.checked_sub(self.next).filter(|left| *left > 0)?;
        let round = self.recording.samples.len();
        let at = self.next % round;
        let sample = *self.recording.samples.get(at)?;
        self.next += 1;
        let edge = (at + 1).min(round - at).min(left);
        let fade = if edge > self.fade { 1.0 } else { edge as f32 / (self.fade + 1) as f32 };
        Some((f32::from(sample) * self.volume.0 * fade).round() as i16)
    }
}

/// How late a piece may leave and be made up for. Later, and the beat begins anew: no more than this comes in one burst,
/// which is half of what waits for a device at most.
const LATE: Duration = Duration::from_millis(100);
/// How long a device may keep us waiting, all in all. A speaker that takes less than it plays would never be done.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sends each piece at its time: the nth leaves `n` times 20 ms after the first, whatever delayed those before it.
/// A full queue is waited for, for [`PATIENCE`] in all. Returns when the time of the last piece is over and the queue
/// is empty; what the device itself has in hand then is still to be heard.
pub async fn play(pieces: impl IntoIterator<Item = Bytes>, speaker: &mpsc::Sender<Bytes>) -> Played {
    let (mut due, mut patience, mut duration) = (clock::now(), PATIENCE, Duration::ZERO);
    let not_whole = |duration| Played { duration, whole: false };
    for piece in pieces {
        tokio::select! {
            biased;
            () = speaker.closed() => return not_whole(duration),
            () = sleep_until(due) => {}
        }
        let asked = clock::now();
        let Ok(Ok(())) = timeout(patience, speaker.send(piece)).await else { return not_whole(duration) };
        patience = patience.saturating_sub(asked.elapsed());
        duration += PIECE;
        due = due.max(clock::now().checked_sub(LATE).unwrap_or(due)) + PIECE;
    }
    let taken = async {
        sleep_until(due).await;
        // All of the queue is free when the device has taken everything.
        let _ended_meanwhile = timeout(patience, speaker.reserve_many(speaker.max_capacity())).await;
    };
    tokio::select! {
        biased;
        () = speaker.closed() => {}
        () = taken => {}
    }
    Played { duration, whole: true }
}

#[cfg(test)]
#[path = "playback_tests.rs"]
mod tests;
