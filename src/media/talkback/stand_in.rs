//! What is played in place of a packet that did not come.

use bytes::Bytes;
use ropus::opus::decoder::opus_packet_get_nb_frames;

use crate::media::codec::{Decoder, Encoder};
use crate::media::{AudioCodec, AudioFormat};

/// Made in the microphone's own format, so that it takes the same way as what did come.
pub(super) struct StandIn {
    format: AudioFormat,
    last: Bytes,
    /// How often in a row.
    times: u32,
}

impl StandIn {
    /// Of the last packet's level: the first repetition is not noticed, further ones would buzz.
    const FADE: [f32; 4] = [1.0, 0.5, 0.25, 0.1];

    pub(super) fn new(format: AudioFormat) -> Self {
        Self { format, last: Bytes::new(), times: 0 }
    }

    /// This one did come.
    pub(super) fn heard(&mut self, payload: &Bytes) {
        self.last = payload.clone();
        self.times = 0;
    }

    /// As long as the last one; `None` where nothing was heard before, and for AAC, of which nothing can be repeated.
    pub(super) fn make(&mut self) -> Option<Bytes> {
        let gain = Self::FADE.get(self.times as usize).copied().unwrap_or_default();
        self.times = self.times.saturating_add(1);
        match self.format.codec {
            AudioCodec::Opus => lost_opus(&self.last),
            AudioCodec::Aac => None,
            AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::Pcm => self.faded(gain),
        }
    }

    fn faded(&self, gain: f32) -> Option<Bytes> {
        let mut samples = Vec::new();
        Decoder::new(self.format)?.decode(&self.last, &mut samples);
        samples.iter_mut().for_each(|sample| *sample = (f32::from(*sample) * gain) as i16);
        Encoder::new(self.format)?.encode(&samples).filter(|payload| !payload.is_empty())
    }
}

/// A packet like `last` whose frames are empty: to a decoder that is a loss, which it makes up for (RFC 6716 §3.2.1).
fn lost_opus(last: &[u8]) -> Option<Bytes> {
    let (toc, frames) = (*last.first()?, opus_packet_get_nb_frames(last).ok()?);
    match u8::try_from(frames).ok()? {
        1 => Some(Bytes::copy_from_slice(&[toc & !3])),
        frames => Some(Bytes::copy_from_slice(&[toc | 3, frames])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::sounds_for;
    use crate::media::tone::{level_db, tone};

    const MONO: AudioFormat = AudioFormat { channels: 1, ..AudioFormat::OPUS };

    #[test]
    fn a_lost_piece_of_a_telephone_codec_is_the_one_before_and_fades() {
        for format in [AudioFormat::PCMU, AudioFormat::PCMA] {
            let spoken = Encoder::new(format).unwrap().encode(&tone(8_000, 1_000.0, 0.02)).unwrap();
            let mut stand_in = StandIn::new(format);
            assert_eq!(stand_in.make(), None, "nothing was said before");
            stand_in.heard(&spoken);
            assert_eq!(stand_in.make(), Some(spoken.clone()));
            let levels: Vec<_> = (0..4)
                .map(|_| {
                    let mut samples = Vec::new();
                    Decoder::new(format).unwrap().decode(&stand_in.make().unwrap(), &mut samples);
                    level_db(&samples, 8_000, 1_000.0).round()
                })
                .collect();
            assert!(levels.is_sorted_by(|a, b| a > b), "{levels:?}");
        }
    }

    #[test]
    fn a_lost_opus_packet_is_one_that_decoders_make_up_for() {
        let mut encoder = Encoder::new(MONO).unwrap();
        let mut decoder = Decoder::new(MONO).unwrap();
        let mut stand_in = StandIn::new(MONO);
        for piece in tone(48_000, 440.0, 1.0).chunks(960) {
            let packet = encoder.encode(piece).unwrap();
            decoder.decode(&packet, &mut Vec::new());
            stand_in.heard(&packet);
        }
        let mut made_up = Vec::new();
        let lost = stand_in.make().unwrap();
        assert_eq!((lost.len(), sounds_for(MONO, &lost)), (1, sounds_for(MONO, &stand_in.last)));
        decoder.decode(&lost, &mut made_up);
        assert_eq!(made_up.len(), 960);
        let peak = made_up.iter().map(|sample| sample.unsigned_abs()).max();
        assert!(peak > Some(2_000), "nothing was made up: {peak:?}");
    }

    #[test]
    fn packets_of_several_frames_are_as_long_when_they_are_lost() {
        for last in [&[0x08, 1, 2, 3][..], &[0x09, 1, 2, 3, 4], &[0x0a, 1, 7, 8, 9], &[0x0b, 3, 1, 1, 1]] {
            let lost = lost_opus(last).unwrap();
            assert_eq!(sounds_for(MONO, &lost), sounds_for(MONO, last), "{last:?}");
            let mut samples = Vec::new();
            Decoder::new(MONO).unwrap().decode(&lost, &mut samples);
            assert_eq!(samples.len() as u128, sounds_for(MONO, last).unwrap().as_millis() * 48, "{last:?}");
        }
        assert_eq!((lost_opus(&[]), lost_opus(&[0x0b])), (None, None));
    }
}
