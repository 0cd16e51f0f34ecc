//! Sound of one format as sound of another, on its way to browsers and back.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::codec::{Decoder, Encoder, OPUS_RATES};
use super::resample::Resampler;
use super::{AudioCodec, AudioFormat};

/// There is no way from one format to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sound cannot be converted from {from:?} to {to:?}")]
pub struct Unsupported {
    pub from: AudioFormat,
    pub to: AudioFormat,
}

/// What a browser plays and speaks when the camera has this: without conversion wherever it can.
pub fn browser_format(camera: AudioFormat) -> AudioFormat {
    match camera.codec {
        AudioCodec::Pcma => AudioFormat::PCMA,
        AudioCodec::Pcmu | AudioCodec::Pcm => AudioFormat::PCMU,
        AudioCodec::Aac | AudioCodec::Opus => AudioFormat::OPUS,
    }
}

/// Converts one direction of one talk or stream. Holds back less than 20 ms of sound, and 3 ms more where
/// the rate changes.
pub struct Converter(Way);

enum Way {
    /// Packets that cannot be cut.
    Same,
    /// The same samples in other pieces.
    Cut(Cutter),
    Through(Box<Chain>),
}

impl Converter {
    /// Over 2 s of 16-bit stereo at 8 kHz; what is larger is no payload.
    const LARGEST_PAYLOAD: usize = 1 << 16;

    /// Opus packets say themselves how they are to be played, so that rate and channels of two Opus
    /// formats may differ.
    ///
    /// # Errors
    /// When `to` is AAC and `from` is not the same, or a format has a rate or number of channels that nobody uses.
    pub fn new(from: AudioFormat, to: AudioFormat) -> Result<Self, Unsupported> {
        let unsupported = Unsupported { from, to };
        if !is_usual(from) || !is_usual(to) {
            return Err(unsupported);
        }
        Ok(Self(match (from.codec, to.codec) {
            (AudioCodec::Opus, AudioCodec::Opus) => Way::Same,
            (AudioCodec::Aac, AudioCodec::Aac) if from == to => Way::Same,
            _ if from == to => Way::Cut(Cutter::new(to)),
            _ => Way::Through(Box::new(Chain::new(from, to).ok_or(unsupported)?)),
        }))
    }

    /// What has become complete by this payload: pieces of 20 ms, or one Opus packet for each 20 ms.
    /// A broken payload yields nothing.
    pub fn push(&mut self, payload: &[u8]) -> Vec<Bytes> {
        if payload.len() > Self::LARGEST_PAYLOAD {
            return Vec::new();
        }
        match &mut self.0 {
            Way::Same => vec![Bytes::copy_from_slice(payload)],
            Way::Cut(cutter) => cutter.push(payload),
            Way::Through(chain) => chain.push(payload),
        }
    }

    /// In place of a payload that is lost and sounded for `length`, what `next`, which follows it, says of it.
    /// `None` where payloads say nothing of each other, or are passed on as they are.
    pub fn recover(&mut self, next: &[u8], length: Duration) -> Option<Vec<Bytes>> {
        match &mut self.0 {
            Way::Through(chain) => chain.recover(next, length),
            Way::Same | Way::Cut(_) => None,
        }
    }
}

fn is_usual(format: AudioFormat) -> bool {
    const RATES: [u32; 9] = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
    RATES.contains(&format.rate_hz) && (1..=2).contains(&format.channels)
}

/// Samples of all channels in 20 ms.
fn samples_in_piece(format: AudioFormat) -> usize {
    format.rate_hz as usize / 50 * usize::from(format.channels)
}

/// Cuts payloads of equal samples anew.
struct Cutter {
    pending: BytesMut,
    piece: usize,
}

impl Cutter {
    fn new(format: AudioFormat) -> Self {
        let sample = if format.codec == AudioCodec::Pcm { 2 } else { 1 };
        Self { pending: BytesMut::new(), piece: sample * samples_in_piece(format) }
    }

    fn push(&mut self, payload: &[u8]) -> Vec<Bytes> {
        self.pending.extend_from_slice(payload);
        let mut pieces = Vec::new();
        while self.pending.remaining() >= self.piece {
            pieces.push(self.pending.split_to(self.piece).freeze());
        }
        pieces
    }
}

/// Decoder, other channels, other rate, encoder.
struct Chain {
    decoder: Decoder,
    decoded: AudioFormat,
    /// One for each channel that comes out; none where the rate stays.
    resamplers: Vec<Resampler>,
    encoder: Encoder,
    encoded: AudioFormat,
    pending: Vec<i16>,
}

impl Chain {
    fn new(from: AudioFormat, to: AudioFormat) -> Option<Self> {
        let encoded = if to.codec == AudioCodec::Opus { opus_of(from) } else { to };
        let decoded = if from.codec == AudioCodec::Opus { opus_for(to) } else { from };
        let resamplers = if decoded.rate_hz == encoded.rate_hz { 0 } else { encoded.channels };
        let resampler = |_| Resampler::new(decoded.rate_hz, encoded.rate_hz);
        Some(Self {
            decoder: Decoder::new(decoded)?,
            decoded,
            resamplers: (0..resamplers).map(resampler).collect(),
            encoder: Encoder::new(encoded)?,
            encoded,
            pending: Vec::new(),
        })
    }

    fn push(&mut self, payload: &[u8]) -> Vec<Bytes> {
        let mut samples = Vec::new();
        self.decoder.decode(payload, &mut samples);
        self.code(samples)
    }

    fn recover(&mut self, next: &[u8], length: Duration) -> Option<Vec<Bytes>> {
        let count = length.as_micros() * u128::from(self.decoded.rate_hz) / 1_000_000;
        let mut samples = Vec::new();
        let recovered = self.decoder.recover(next, usize::try_from(count).ok()?, &mut samples);
        recovered.then(|| self.code(samples))
    }

    fn code(&mut self, samples: Vec<i16>) -> Vec<Bytes> {
        let samples = remixed(samples, self.decoded.channels, self.encoded.channels);
        match self.resamplers.as_mut_slice() {
            [] => self.pending.extend(samples),
            resamplers => resample(resamplers, &samples, &mut self.pending),
        }
        let piece = samples_in_piece(self.encoded);
        let whole = self.pending.len() / piece * piece;
        let pieces = self.pending[..whole].chunks(piece).filter_map(|piece| self.encoder.encode(piece)).collect();
        self.pending.drain(..whole);
        pieces
    }
}

/// As an encoder takes it: Opus codes 8 kHz of a telephone codec better as such than blown up to 48 kHz,
/// and every decoder plays it.
fn opus_of(from: AudioFormat) -> AudioFormat {
    let rate_hz = if OPUS_RATES.contains(&from.rate_hz) { from.rate_hz } else { 48_000 };
    AudioFormat { codec: AudioCodec::Opus, rate_hz, channels: from.channels }
}

/// A decoder can be opened at the rate that is wanted, which saves resampling.
fn opus_for(to: AudioFormat) -> AudioFormat {
    AudioFormat { codec: AudioCodec::Opus, ..opus_of(to) }
}

fn remixed(samples: Vec<i16>, from_channels: u8, to_channels: u8) -> Vec<i16> {
    match (from_channels, to_channels) {
        (2, 1) => samples.as_chunks().0.iter().map(|&[left, right]| left.midpoint(right)).collect(),
        (1, 2) => samples.into_iter().flat_map(|sample| [sample; 2]).collect(),
        _ => samples,
    }
}

fn resample(resamplers: &mut [Resampler], samples: &[i16], output: &mut Vec<i16>) {
    if let [mono] = resamplers {
        return mono.push(samples.iter().copied(), output);
    }
    let channels = resamplers.len();
    let mut planes = vec![Vec::new(); channels];
    for (channel, (resampler, plane)) in resamplers.iter_mut().zip(&mut planes).enumerate() {
        resampler.push(samples.iter().skip(channel).step_by(channels).copied(), plane);
    }
    let count = planes.iter().map(Vec::len).min().unwrap_or_default();
    output.extend((0..count).flat_map(|n| planes.iter().filter_map(move |plane| plane.get(n).copied())));
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
