//! The sound of the clip: a 1 kHz beep at the start of each second, in whatever format a camera sends.

use std::time::Duration;

use bytes::Bytes;

use crate::media::g711::Law;
use crate::media::{AudioCodec, AudioFormat};

/// 125 frames of 1,024 samples at 16 kHz with ADTS headers: exactly 8 s, made by `tools/make-clip`.
const AAC: &[u8] = include_bytes!("assets/porch.aac");
const AAC_PACKET: Duration = Duration::from_millis(64);
const AAC_RATE_HZ: u32 = 16_000;

const PACKET: Duration = Duration::from_millis(20);
const PACKETS_PER_SECOND: usize = 50;

/// One packet of the endless sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioPacket {
    /// In the codec's own form; AAC with its ADTS header.
    pub data: Bytes,
    /// Since the first packet, which starts with a beep.
    pub pts: Duration,
}

/// A loop of whole packets.
#[derive(Debug, Clone)]
pub struct Sound {
    format: AudioFormat,
    packets: Vec<Bytes>,
    interval: Duration,
}

/// The clip has no sound in this format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the clip has no sound as {0:?}")]
pub struct NoSuchSound(AudioFormat);

impl Sound {
    pub const TONE_HZ: f64 = 1_000.0;
    const BEEP: Duration = Duration::from_millis(120);
    /// Of full scale.
    const AMPLITUDE: f64 = 0.35;

    /// # Errors
    /// For AAC of another rate than 16 kHz mono, and Opus of another rate than 48 kHz.
    pub fn new(format: AudioFormat) -> Result<Self, NoSuchSound> {
        let (packets, interval) = match format.codec {
            AudioCodec::Aac if format.rate_hz == AAC_RATE_HZ && format.channels == 1 => (adts_frames(AAC), AAC_PACKET),
            AudioCodec::Aac => return Err(NoSuchSound(format)),
            AudioCodec::Opus => (opus_second(format).ok_or(NoSuchSound(format))?, PACKET),
            AudioCodec::Pcmu => (samples_second(format, |sample| [Law::Mu.encode(sample)]), PACKET),
            AudioCodec::Pcma => (samples_second(format, |sample| [Law::A.encode(sample)]), PACKET),
            AudioCodec::Pcm => (samples_second(format, i16::to_le_bytes), PACKET),
        };
        Ok(Self { format, packets, interval })
    }

    pub fn format(&self) -> AudioFormat {
        self.format
    }

    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Packet `n` since the beginning.
    pub fn packet(&self, n: u64) -> AudioPacket {
        let data = self.packets[(n % self.packets.len() as u64) as usize].clone();
        AudioPacket { data, pts: Duration::from_nanos(self.interval.as_nanos() as u64 * n) }
    }

    /// One second of samples, interleaved.
    fn second(format: AudioFormat) -> Vec<i16> {
        let beep_s = Self::BEEP.as_secs_f64();
        let sample = |n: u32| {
            let at_s = f64::from(n) / f64::from(format.rate_hz);
            // Ramps of 5 ms, so that the beep does not click.
            let ramp = (at_s / 0.005).min((beep_s - at_s) / 0.005).clamp(0.0, 1.0);
            let wave = (std::f64::consts::TAU * Self::TONE_HZ * at_s).sin();
            (Self::AMPLITUDE * ramp * wave * f64::from(i16::MAX)) as i16
        };
        let frames = (0..format.rate_hz).map(sample);
        frames.flat_map(|sample| std::iter::repeat_n(sample, usize::from(format.channels))).collect()
    }
}

fn samples_second<const N: usize>(format: AudioFormat, encode: impl Fn(i16) -> [u8; N]) -> Vec<Bytes> {
    let samples = Sound::second(format);
    let packets = samples.chunks(samples.len() / PACKETS_PER_SECOND);
    packets.map(|packet| packet.iter().flat_map(|&sample| encode(sample)).collect()).collect()
}

/// The second of two encoded seconds: an encoder's first packets differ from those that end a loop.
fn opus_second(format: AudioFormat) -> Option<Vec<Bytes>> {
    let channels = match format.channels {
        1 => ropus::Channels::Mono,
        _ => ropus::Channels::Stereo,
    };
    let mut encoder = ropus::Encoder::builder(format.rate_hz, channels, ropus::Application::Audio).build().ok()?;
    let samples = Sound::second(format).repeat(2);
    let mut packet = [0; 1_275];
    let mut encode = |samples: &[i16]| {
        let len = encoder.encode(samples, &mut packet).ok()?;
        Some(Bytes::copy_from_slice(&packet[..len]))
    };
    let mut packets: Vec<Bytes> =
        samples.chunks(samples.len() / PACKETS_PER_SECOND / 2).map(&mut encode).collect::<Option<_>>()?;
    Some(packets.split_off(PACKETS_PER_SECOND))
}

/// Cuts at ADTS headers: bits 30 to 42 of each are its frame's length.
fn adts_frames(stream: &'static [u8]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut rest = stream;
    while let [_, _, _, high, middle, low, ..] = *rest {
        let len = usize::from(high & 3) << 11 | usize::from(middle) << 3 | usize::from(low >> 5);
        let (frame, after) = rest.split_at(len);
        frames.push(Bytes::from_static(frame));
        rest = after;
    }
    frames
}
