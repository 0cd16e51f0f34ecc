//! What a virtual speaker would play: decodes talk, and measures about a second of it at a time.

use super::tone::{self, Heard, Samples};
use crate::media::codec::Decoder;
use crate::media::{AudioCodec, AudioFormat};
use crate::proto::tutk::frame::split_adts;

/// Decodes the packets of one format.
pub(crate) struct Ear {
    format: AudioFormat,
    /// None for a format that no library here takes: its packets are counted and not measured.
    decoder: Option<Decoder>,
    /// All channels, interleaved; at most two seconds.
    samples: Vec<i16>,
}

impl Ear {
    const LONGEST_SECONDS: usize = 2;

    pub(crate) fn new(format: AudioFormat) -> Self {
        Self { format, decoder: Decoder::new(format), samples: Vec::new() }
    }

    /// One packet in its codec's own form; AAC with or without an ADTS header.
    pub(crate) fn hear(&mut self, packet: &[u8]) {
        let packet = match split_adts(packet) {
            Some((_, raw)) if self.format.codec == AudioCodec::Aac => raw,
            _ => packet,
        };
        if self.samples.len() < self.samples_per_second() * Self::LONGEST_SECONDS
            && let Some(decoder) = &mut self.decoder
        {
            decoder.decode(packet, &mut self.samples);
        }
    }

    /// What was heard on the first channel since the last time; `None` when nothing could be decoded.
    pub(crate) fn measure(&mut self) -> Option<(Heard, Samples)> {
        let samples = std::mem::take(&mut self.samples);
        let first: Vec<i16> = samples.into_iter().step_by(usize::from(self.format.channels.max(1))).collect();
        let rate_hz = self.format.rate_hz;
        (!first.is_empty()).then(|| (tone::listen(&first, rate_hz), Samples { rate_hz, samples: first.into() }))
    }

    fn samples_per_second(&self) -> usize {
        self.format.rate_hz as usize * usize::from(self.format.channels)
    }
}
