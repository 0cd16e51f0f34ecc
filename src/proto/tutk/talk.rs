//! Sound on its way to the camera's speaker (docs/protocol/tutk.md §11).

use std::time::Duration;

use super::frame::{AudioFlags, CodecId, adts_header};
use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

const VERSION: u16 = 0x000C;
const CHANNEL: u8 = 0x03;
const TYPE_START: u8 = 0x09;
const TYPE_END: u8 = 0x01;
const FLAGS_FIRST: u32 = 0x0000_0001;
const FLAGS_LATER: u32 = 0x0010_0001;
const INFO_LEN: usize = 16;
/// Samples in one frame of G.711 or PCM: 20 ms at 8 kHz.
const SAMPLES: usize = 160;

/// What the camera's microphone sends, and so what its speaker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SoundFormat {
    pub codec: CodecId,
    pub rate_hz: u32,
    /// 1 or 2.
    pub channels: u8,
}

impl SoundFormat {
    /// Bytes of one sample of all channels, for codecs that have such a thing.
    fn sample_len(self) -> Option<usize> {
        match self.codec {
            CodecId::Pcmu | CodecId::Pcma => Some(usize::from(self.channels)),
            CodecId::Pcm => Some(2 * usize::from(self.channels)),
            _ => None,
        }
    }

    /// How many samples a payload holds: counted where it can be, the codec's constant elsewhere.
    fn samples(self, payload_len: usize) -> u64 {
        match (self.sample_len(), self.codec) {
            (Some(sample_len), _) => (payload_len / sample_len) as u64,
            (None, CodecId::Mp3) => 1152,
            (None, CodecId::Opus) => 960,
            (None, codec) if codec.is_aac() => 1024,
            (None, _) => SAMPLES as u64,
        }
    }

    fn duration(self, samples: u64) -> Duration {
        Duration::from_micros(samples * 1_000_000 / u64::from(self.rate_hz.max(1)))
    }
}

/// One frame of sound for the camera.
///
/// Layout (little-endian): `[0] 3 · [1] 9 · [2..4] version · [4..8] tx sequence · [8..12] microseconds ·
/// [12..16] 1 for the first frame, 0x100001 for later ones · [16] 3 · [17] 1 · [18..20] previous frame ·
/// [20..22] 1 · [22..24] 0x10 · [24..28] payload and FRAMEINFO · [28..32] previous frame ·
/// [32..36] frame number · [36..] payload · FRAMEINFO`, the latter
/// `[0..2] codec · [2] flags · [3] 0 · [4] 1 · [5..12] zero · [12..16] milliseconds`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TalkFrame {
    /// Counts frames from 1; the tx sequence is the same number.
    pub frame_no: u32,
    /// Since the first frame.
    pub timestamp_us: u32,
    pub codec: CodecId,
    /// See [`AudioFlags`].
    pub flags: u8,
    pub payload: Vec<u8>,
}

impl TalkFrame {
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("talk frame", message);
        for (field, expected) in [("channel", CHANNEL), ("frame type", TYPE_START)] {
            let byte = reader.u8()?;
            if byte != expected {
                return Err(reader.invalid(field, byte));
            }
        }
        reader.skip(6)?;
        let timestamp_us = reader.u32_le()?;
        reader.skip(12)?;
        let len = reader.u32_le()?;
        reader.skip(4)?;
        let frame_no = reader.u32_le()?;
        let payload_len = (len as usize).checked_sub(INFO_LEN).ok_or_else(|| reader.invalid("payload size", len))?;
        let payload = reader.take(payload_len)?.to_vec();
        let codec = reader.u16_le()?;
        let codec = CodecId::from_wire(codec).ok_or_else(|| reader.invalid("codec", codec))?;
        let flags = reader.u8()?;
        reader.skip(INFO_LEN - 3)?;
        Ok(Self { frame_no, timestamp_us, codec, flags, payload })
    }

    pub fn encode(&self) -> Vec<u8> {
        let previous = self.frame_no.wrapping_sub(1);
        let mut message = Vec::with_capacity(36 + self.payload.len() + INFO_LEN);
        message.u8(CHANNEL);
        message.u8(TYPE_START);
        message.u16_le(VERSION);
        message.u32_le(self.frame_no);
        message.u32_le(self.timestamp_us);
        message.u32_le(if self.frame_no == 1 { FLAGS_FIRST } else { FLAGS_LATER });
        message.u8(CHANNEL);
        message.u8(TYPE_END);
        message.u16_le(previous as u16);
        message.u16_le(1);
        message.u16_le(0x0010);
        message.u32_le((self.payload.len() + INFO_LEN) as u32);
        message.u32_le(previous);
        message.u32_le(self.frame_no);
        message.bytes(&self.payload);
        message.u16_le(self.codec.to_wire());
        message.u8(self.flags);
        message.u8(0);
        message.u8(1);
        message.zeros(7);
        message.u32_le(self.timestamp_us / 1000);
        message
    }
}

/// Numbers and times one talk's frames.
///
/// G.711 and PCM are cut into frames of 160 samples, so that the clock, which cameras expect to step by
/// that much, is true; what is left over waits for the next piece. Over a pause, in which nothing is sent, the clock
/// goes on by whole frames; the numbers do not.
#[derive(Debug)]
pub struct TalkStream {
    format: SoundFormat,
    frames: u32,
    samples: u64,
    rest: Vec<u8>,
}

impl TalkStream {
    /// The largest payload that fits into one datagram with everything around it.
    pub const MAX_PAYLOAD: usize = 1024;
    /// Pieces come as they are to be heard; what is missing for longer than this was silence.
    const PAUSE: Duration = Duration::from_millis(60);

    pub fn new(format: SoundFormat) -> Self {
        Self { format, frames: 0, samples: 0, rest: Vec::new() }
    }

    pub fn format(&self) -> SoundFormat {
        self.format
    }

    /// To be told before each piece: how long after the first one it comes.
    pub fn comes_at(&mut self, since_first: Duration) {
        let behind = since_first.saturating_sub(self.format.duration(self.samples));
        if behind <= Self::PAUSE {
            return;
        }
        // What is left over of the words before is not of these.
        self.rest.clear();
        let step = if self.format.sample_len().is_some() { SAMPLES as u64 } else { self.format.samples(0) };
        let frames = behind.as_micros() / self.format.duration(step).as_micros().max(1);
        self.samples += step * u64::try_from(frames).unwrap_or_default();
    }

    /// The frames that a piece of sound completes. A piece that fits no datagram is dropped. Raw AAC gets
    /// the ADTS header that cameras expect.
    pub fn frames(&mut self, piece: &[u8]) -> Vec<TalkFrame> {
        let Some(sample_len) = self.format.sample_len() else {
            let fits = (1..=Self::MAX_PAYLOAD).contains(&piece.len());
            let header = adts_header(self.flags(), piece.len());
            let header: &[u8] = if self.format.codec.is_aac() { &header } else { &[] };
            return fits.then(|| self.frame([header, piece].concat())).into_iter().collect();
        };
        self.rest.extend_from_slice(piece);
        let frame_len = SAMPLES * sample_len;
        let rest = self.rest.split_off(self.rest.len() / frame_len * frame_len);
        let whole = std::mem::replace(&mut self.rest, rest);
        whole.chunks(frame_len).map(|payload| self.frame(payload.to_vec())).collect()
    }

    fn frame(&mut self, payload: Vec<u8>) -> TalkFrame {
        let at = self.format.duration(self.samples);
        self.samples += self.format.samples(payload.len());
        self.frames = self.frames.wrapping_add(1);
        TalkFrame {
            frame_no: self.frames,
            // Wraps after 71 minutes, as the field's width has it.
            timestamp_us: at.as_micros() as u32,
            codec: self.format.codec,
            flags: self.flags().to_wire(),
            payload,
        }
    }

    fn flags(&self) -> AudioFlags {
        AudioFlags { rate_hz: self.format.rate_hz, channels: self.format.channels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tutk::tests as checks;

    const PCMU: SoundFormat = SoundFormat { codec: CodecId::Pcmu, rate_hz: 8_000, channels: 1 };
    const AAC: SoundFormat = SoundFormat { codec: CodecId::AacWyze, rate_hz: 16_000, channels: 1 };
    const PCM_16K: SoundFormat = SoundFormat { codec: CodecId::Pcm, rate_hz: 16_000, channels: 1 };

    fn frame() -> TalkFrame {
        TalkStream::new(PCMU).frames(&[0xD5; 160]).remove(0)
    }

    #[test]
    fn a_frame_survives_the_way_there_and_back() {
        assert_eq!(TalkFrame::decode(&frame().encode()), Ok(frame()));
    }

    #[test]
    fn every_truncation_is_an_error_and_no_flipped_bit_panics() {
        checks::every_truncation_is_refused(&frame().encode(), TalkFrame::decode);
        checks::every_flipped_bit_is_survived(&frame().encode(), TalkFrame::decode);
    }

    #[test]
    fn the_clock_is_that_of_the_samples_however_they_come() {
        for (format, frame_len, step_us) in [(PCMU, 160, 20_000), (PCM_16K, 320, 10_000)] {
            for piece in [1, 37, 160, 333, 640, 1024] {
                let mut stream = TalkStream::new(format);
                let sound: Vec<u8> = (0..8_000).map(|i| i as u8).collect();
                let frames: Vec<_> = sound.chunks(piece).flat_map(|piece| stream.frames(piece)).collect();
                assert_eq!(frames.len(), 8_000 / frame_len, "{format:?} in pieces of {piece}");
                for (frame, n) in frames.iter().zip(0..) {
                    assert_eq!((frame.frame_no, frame.timestamp_us), (n + 1, n * step_us));
                }
                let heard: Vec<u8> = frames.into_iter().flat_map(|frame| frame.payload).collect();
                assert_eq!(heard, sound);
            }
        }
    }

    #[test]
    fn over_a_pause_the_clock_goes_on_by_whole_frames_and_the_numbers_do_not() {
        for (format, piece, length_us) in [(PCMU, 160, 20_000), (PCM_16K, 640, 20_000), (AAC, 90, 64_000)] {
            let mut stream = TalkStream::new(format);
            let mut times = Vec::new();
            let mut say = |stream: &mut TalkStream, at_us: u64| {
                stream.comes_at(Duration::from_micros(at_us));
                times.extend(stream.frames(&vec![1; piece]).iter().map(|frame| (frame.frame_no, frame.timestamp_us)));
            };
            let before = [0, length_us, 2 * length_us + 40_000, 3 * length_us];
            before.into_iter().chain([10_000_000, 10_000_000 + length_us]).for_each(|at| say(&mut stream, at));
            assert!(times.iter().zip(1..).all(|((number, _), n)| *number == n), "{times:?}");
            let (jitters, after) = times.split_at(times.len() * 2 / 3);
            assert!(jitters.iter().all(|(_, us)| u64::from(*us) < 4 * length_us), "no pause yet: {jitters:?}");
            let behind = 10_000_000 - u64::from(after[0].1);
            assert!(behind < length_us, "{behind} µs behind after the pause: {after:?}");
            let step = after[1].1 - after[0].1;
            assert!(times.iter().all(|(_, us)| us % step == 0), "{times:?}");
        }
    }

    #[test]
    fn packets_of_other_codecs_stay_whole() {
        let mut stream = TalkStream::new(AAC);
        let lengths = [30, 200, 1025, 0, 90].map(|len| stream.frames(&vec![1; len]).len());
        assert_eq!(lengths, [1, 1, 0, 0, 1], "a frame that fits no datagram is dropped");
        assert_eq!(stream.frames(&[1; 10])[0].timestamp_us, 3 * 64_000);
    }
}
