//! Decoded sound, as much of it as may be.

use std::time::Duration;

use super::{NotSound, Recording};

/// One channel of samples, and the limits of what a file can make us do.
pub(super) struct Gathered {
    samples: Vec<i16>,
    /// How many were ever pushed, also those that were taken away again.
    pushed: usize,
    /// 0 until there are samples.
    rate_hz: u32,
    longest: Duration,
    /// Packets in which there was no sound.
    in_vain: usize,
}

impl Gathered {
    /// Slower than any telephone, faster than any studio: what lies beyond is a lie.
    const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;
    const CHANNELS: std::ops::RangeInclusive<usize> = 1..=8;
    /// Damage that one may not even hear. More of it is work for nothing.
    const IN_VAIN: usize = 200;
    /// What may be decoded and cut off again: the padding of MP3 has up to 13 bits, the longest packet of Opus as well.
    const PADDING: usize = 8_191;

    pub(super) fn new(longest: Duration) -> Self {
        Self { samples: Vec::new(), pushed: 0, rate_hz: 0, longest, in_vain: 0 }
    }

    /// Interleaved samples, of which the channels become one that is as loud as their mean.
    ///
    /// # Errors
    /// `TooLong`, and `Broken` when the rate or the number of channels is none, or the rate changes.
    pub(super) fn push(&mut self, rate_hz: u32, channels: usize, interleaved: &[i16]) -> Result<(), NotSound> {
        if !Self::RATES.contains(&rate_hz) {
            return Err(NotSound::Broken("nobody records at its sample rate"));
        }
        if !Self::CHANNELS.contains(&channels) {
            return Err(NotSound::Broken("nobody records so many channels"));
        }
        if self.rate_hz != rate_hz && self.rate_hz != 0 {
            return Err(NotSound::Broken("its sample rate changes on the way"));
        }
        self.rate_hz = rate_hz;
        let frames = interleaved.len() / channels;
        self.pushed += frames;
        // Streams behind each other may each take back what they said, which is work all the same.
        let is_in_vain = self.pushed > 2 * (self.most() + Self::PADDING);
        if is_in_vain || self.samples.len() + frames > self.most() + Self::PADDING {
            return Err(NotSound::TooLong(self.longest));
        }
        match channels {
            1 => self.samples.extend_from_slice(interleaved),
            _ => self.samples.extend(interleaved.chunks_exact(channels).map(mean)),
        }
        Ok(())
    }

    /// Samples in `longest`.
    fn most(&self) -> usize {
        (self.longest.as_secs_f64() * f64::from(self.rate_hz)) as usize
    }

    /// Counts a packet that could not be decoded, or held nothing.
    pub(super) fn in_vain(&mut self) -> Result<(), NotSound> {
        self.in_vain += 1;
        if self.in_vain > Self::IN_VAIN {
            return Err(NotSound::Broken("too much of it cannot be decoded"));
        }
        Ok(())
    }

    /// Takes back the newest samples.
    pub(super) fn cut(&mut self, samples: usize) {
        self.samples.truncate(self.samples.len().saturating_sub(samples));
    }

    /// Takes away the oldest samples.
    pub(super) fn skip(&mut self, samples: usize) {
        self.samples.drain(..samples.min(self.samples.len()));
    }

    /// 0 while there are no samples.
    pub(super) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    pub(super) fn finish(self) -> Result<Recording, NotSound> {
        match (self.samples.is_empty(), self.in_vain) {
            (true, 0) => Err(NotSound::Empty),
            (true, _) => Err(NotSound::Broken("none of it can be decoded")),
            (false, _) if self.samples.len() > self.most() => Err(NotSound::TooLong(self.longest)),
            (false, _) => Ok(Recording { samples: self.samples, rate_hz: self.rate_hz }),
        }
    }
}

fn mean(frame: &[i16]) -> i16 {
    let sum: i32 = frame.iter().map(|sample| i32::from(*sample)).sum();
    // The mean of 16-bit numbers has 16 bits.
    (sum as f32 / frame.len() as f32).round() as i16
}
