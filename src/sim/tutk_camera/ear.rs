//! What the camera's speaker would play: decodes talk, and measures about a second of it at a time.

use crate::media::g711::Law;
use crate::media::{AudioCodec, AudioFormat};
use crate::sim::tone::{self, Heard};

/// Decodes one talk's packets. Sound of a codec without a decoder here is counted and not measured.
pub(super) struct Ear {
    format: AudioFormat,
    opus: Option<ropus::Decoder>,
    /// One channel, at most two seconds.
    samples: Vec<i16>,
}

impl Ear {
    pub(super) fn new(format: AudioFormat) -> Self {
        let channels = if format.channels == 2 { ropus::Channels::Stereo } else { ropus::Channels::Mono };
        let opus = (format.codec == AudioCodec::Opus).then(|| ropus::Decoder::new(format.rate_hz, channels).ok());
        Self { format, opus: opus.flatten(), samples: Vec::new() }
    }

    pub(super) fn hear(&mut self, packet: &[u8]) {
        let interleaved = self.decode(packet);
        let step = usize::from(self.format.channels.max(1));
        let room = (2 * self.format.rate_hz as usize).saturating_sub(self.samples.len());
        self.samples.extend(interleaved.into_iter().step_by(step).take(room));
    }

    /// What was heard since the last time; `None` when nothing could be decoded.
    pub(super) fn measure(&mut self) -> Option<Heard> {
        let samples = std::mem::take(&mut self.samples);
        (!samples.is_empty()).then(|| tone::listen(&samples, self.format.rate_hz))
    }

    fn decode(&mut self, packet: &[u8]) -> Vec<i16> {
        match self.format.codec {
            AudioCodec::Pcmu => packet.iter().map(|&byte| Law::Mu.decode(byte)).collect(),
            AudioCodec::Pcma => packet.iter().map(|&byte| Law::A.decode(byte)).collect(),
            AudioCodec::Pcm => packet.as_chunks().0.iter().map(|&sample| i16::from_le_bytes(sample)).collect(),
            AudioCodec::Opus => self.decode_opus(packet),
            AudioCodec::Aac => Vec::new(),
        }
    }

    fn decode_opus(&mut self, packet: &[u8]) -> Vec<i16> {
        let Some(decoder) = &mut self.opus else { return Vec::new() };
        let channels = usize::from(self.format.channels.max(1));
        let mut samples = vec![0; decoder.max_frame_samples_per_channel() * channels];
        let decoded = decoder.decode(packet, &mut samples, ropus::DecodeMode::Normal).unwrap_or(0);
        samples.truncate(decoded * channels);
        samples
    }
}
