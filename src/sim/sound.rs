//! The sound of the clip: a 1 kHz beep at the start of each second, in whatever format a camera sends.

use std::time::Duration;

use bytes::Bytes;

use crate::media::codec::Encoder;
use crate::media::{AudioCodec, AudioFormat};

/// 125 frames of 1,024 samples at 16 kHz with ADTS headers: exactly 8 s, made by `tools/make-clip`.
const AAC: &[u8] = include_bytes!("assets/porch.aac");
const AAC_PACKET: Duration = Duration::from_millis(64);
const AAC_FORMAT: AudioFormat = AudioFormat { codec: AudioCodec::Aac, rate_hz: 16_000, channels: 1 };

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
    /// For AAC that is not 16 kHz mono, and for rates that Opus does not have.
    pub fn new(format: AudioFormat) -> Result<Self, NoSuchSound> {
        let (packets, interval) = match format.codec {
            AudioCodec::Aac if format == AAC_FORMAT => (adts_frames(AAC), AAC_PACKET),
            _ => (encoded_second(format).ok_or(NoSuchSound(format))?, PACKET),
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

/// The second of two encoded seconds: an encoder's first packets differ from those that follow the end of
/// a loop.
fn encoded_second(format: AudioFormat) -> Option<Vec<Bytes>> {
    let mut encoder = Encoder::new(format)?;
    let samples = Sound::second(format).repeat(2);
    let pieces = samples.chunks(samples.len() / PACKETS_PER_SECOND / 2);
    let mut packets = pieces.map(|piece| encoder.encode(piece)).collect::<Option<Vec<_>>>()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::ear::Ear;
    use crate::sim::tone;

    fn format(codec: AudioCodec, rate_hz: u32, channels: u8) -> AudioFormat {
        AudioFormat { codec, rate_hz, channels }
    }

    #[test]
    fn every_format_beeps_at_one_kilohertz_over_the_end_of_its_loop() {
        let formats = [
            AudioFormat::PCMU,
            AudioFormat::PCMA,
            AudioFormat::OPUS,
            AAC_FORMAT,
            format(AudioCodec::Pcm, 8_000, 1),
            format(AudioCodec::Pcm, 16_000, 1),
        ];
        for format in formats {
            let sound = Sound::new(format).unwrap();
            let mut ear = Ear::new(format);
            let second = Duration::from_secs(1).div_duration_f64(sound.interval()) as u64;
            // The second that begins where the loop ends.
            let seam = sound.packets.len() as u64;
            for n in seam - 10..seam + second {
                ear.hear(&sound.packet(n).data);
            }
            let (heard, _) = ear.measure().expect("the sound can be decoded");
            let tone_hz = heard.tone_hz.expect("a beep");
            assert!((tone_hz - Sound::TONE_HZ).abs() < 15.0, "{format:?} beeps at {tone_hz} Hz");
            assert!((-35.0..-15.0).contains(&heard.level_db), "{format:?} has {} dB", heard.level_db);
        }
    }

    #[test]
    fn packets_follow_each_other_without_a_gap() {
        for (format, count, interval_ms) in
            [(AudioFormat::PCMU, 50, 20), (AudioFormat::OPUS, 50, 20), (AAC_FORMAT, 125, 64)]
        {
            let sound = Sound::new(format).unwrap();
            assert_eq!((sound.packets.len(), sound.interval()), (count, Duration::from_millis(interval_ms)));
            assert_eq!(sound.packet(1_000).pts, Duration::from_millis(1_000 * interval_ms));
        }
        assert_eq!(Sound::new(AudioFormat::PCMU).unwrap().packet(0).data.len(), 160);
    }

    #[test]
    fn the_beep_is_short() {
        let samples = Sound::second(AudioFormat::PCMU);
        assert_eq!(tone::listen(&samples[960..], 8_000).tone_hz, None, "silence after 120 ms");
    }

    #[test]
    fn what_cannot_be_made_is_an_error() {
        for wrong in [format(AudioCodec::Aac, 44_100, 2), format(AudioCodec::Opus, 44_100, 2)] {
            assert_eq!(Sound::new(wrong).unwrap_err(), NoSuchSound(wrong));
        }
    }
}
