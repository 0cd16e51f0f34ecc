//! Opus as Ogg carries it: RFC 7845.

use ropus::{Channels, DecodeMode, Decoder};

use super::{Gathered, NotSound};
use crate::proto::wire::{DecodeError, Reader};

pub(super) struct Opus {
    decoder: Decoder,
    /// One packet's.
    samples: Vec<i16>,
    /// Samples at the beginning that are not to be heard.
    skip: usize,
    /// The packet of comments is still to come.
    comments: bool,
}

impl Opus {
    /// All positions in Ogg count at this rate (§4), whatever was recorded.
    const RATE_HZ: u32 = 48_000;
    /// RFC 6716 §2.1.4: no packet is longer than 120 ms.
    const LONGEST_PACKET: usize = Self::RATE_HZ as usize * 120 / 1_000;

    /// `head` is what follows `OpusHead` (§5.1), little-endian:
    /// `version · channels · pre-skip (2) · rate of the recording (4) · output gain in 1/256 dB (2) · mapping family · …`
    pub(super) fn new(head: &[u8]) -> Result<Self, NotSound> {
        let mut reader = Reader::new("OpusHead", head);
        let mut read = || -> Result<_, DecodeError> {
            let (version, channels, skip) = (reader.u8()?, reader.u8()?, reader.u16_le()?);
            reader.skip(4)?;
            let gain = reader.u16_le()?.cast_signed();
            Ok((version, channels, skip, gain, reader.u8()?))
        };
        let broken = NotSound::Broken("the head of its Opus stream makes no sense");
        let (version, channels, skip, gain, family) = read().map_err(|_| broken.clone())?;
        // §5.1: the upper four bits tell versions that cannot be read from those that can.
        if version & 0xf0 != 0 || family != 0 {
            return Err(NotSound::Unsupported("Opus of more than two channels"));
        }
        if !(1..=2).contains(&channels) {
            return Err(broken);
        }
        // The decoder makes one channel of two.
        let mut decoder = Decoder::new(Self::RATE_HZ, Channels::Mono).map_err(|_| broken.clone())?;
        decoder.set_gain(gain.into()).map_err(|_| broken)?;
        Ok(Self { decoder, samples: vec![0; Self::LONGEST_PACKET], skip: skip.into(), comments: true })
    }

    /// How many samples came of `packet`, with those that are skipped.
    pub(super) fn decode(&mut self, packet: &[u8], gathered: &mut Gathered) -> Result<usize, NotSound> {
        if std::mem::take(&mut self.comments) {
            return Ok(0);
        }
        // To the decoder nothing at all is a lost packet, which it makes up for.
        let decoded = if packet.is_empty() { 0 } else { self.decoded(packet) };
        let samples = self.samples.get(..decoded).unwrap_or_default();
        if samples.is_empty() {
            gathered.in_vain()?;
        }
        let skipped = self.skip.min(samples.len());
        self.skip -= skipped;
        gathered.push(Self::RATE_HZ, 1, &samples[skipped..])?;
        Ok(decoded)
    }

    fn decoded(&mut self, packet: &[u8]) -> usize {
        self.decoder.decode(packet, &mut self.samples, DecodeMode::Normal).unwrap_or_default()
    }
}
