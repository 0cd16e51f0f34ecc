//! Packets of Vorbis, decoded by `lewton`; symphonia's decoder panics on headers that contradict themselves.
//!
//! The code books are looked at before (Vorbis I §3.2.1): a few bytes of them can ask for gigabytes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lewton::audio::{PreviousWindowRight, read_audio_packet_generic};
use lewton::header::{IdentHeader, SetupHeader, read_header_ident, read_header_setup};
use lewton::samples::InterleavedSamples;

use super::{Gathered, NotSound};

pub(super) struct Vorbis {
    identification: IdentHeader,
    setup: SetupHeader,
    /// The second half of the packet before, which the next one lies over.
    before: PreviousWindowRight,
}

impl Vorbis {
    /// From the first and the third header (§4.2).
    pub(super) fn new(identification: &[u8], setup: &[u8]) -> Result<Self, NotSound> {
        const BROKEN: NotSound = NotSound::Broken("the headers of its Vorbis stream make no sense");
        // Behind `"\x05vorbis"`.
        let mut bits = Bits { bytes: setup.get(7..).unwrap_or_default(), at: 0 };
        if values(&mut bits).ok_or(BROKEN)? > MOST_VALUES {
            return Err(NotSound::Broken("its code books are far too large"));
        }
        let identification = read_header_ident(identification).map_err(|_| BROKEN)?;
        let blocks = (identification.blocksize_0, identification.blocksize_1);
        let setup = contained(|| read_header_setup(setup, identification.audio_channels, blocks))?.ok_or(BROKEN)?;
        Ok(Self { identification, setup, before: PreviousWindowRight::new() })
    }

    /// How many samples of each channel came of `packet`.
    pub(super) fn decode(&mut self, packet: &[u8], gathered: &mut Gathered) -> Result<usize, NotSound> {
        let Self { identification, setup, before } = self;
        let decoded = contained(|| read_audio_packet_generic(identification, setup, packet, before))?;
        let channels = usize::from(self.identification.audio_channels);
        let samples = decoded.map(|decoded: InterleavedSamples<i16>| decoded.samples).unwrap_or_default();
        if samples.is_empty() {
            // As it must be with the first packet.
            gathered.in_vain()?;
            return Ok(0);
        }
        gathered.push(self.identification.audio_sample_rate, channels, &samples)?;
        Ok(samples.len() / channels.max(1))
    }
}

/// Values in all code books. The largest of libvorbis have some hundred thousand.
const MOST_VALUES: usize = 1 << 20;

/// Where floors contradict themselves, lewton reaches beyond its tables. Such a panic is an error like any other, and
/// the end of this file: its decoder is not used any more.
fn contained<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<Option<T>, NotSound> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.map(Result::ok).map_err(|_| NotSound::Broken("its Vorbis stream contradicts itself"))
}

/// How many values all code books have; more than enough of them are not counted to the end.
fn values(bits: &mut Bits<'_>) -> Option<usize> {
    let mut values = 0;
    for _ in 0..=bits.read(8)? {
        values += code_book(bits)?;
        if values > MOST_VALUES {
            break;
        }
    }
    Some(values)
}

/// `0x564342 (24) · dimensions (16) · entries (24) · lengths of code words · lookup (4) · …`
fn code_book(bits: &mut Bits<'_>) -> Option<usize> {
    bits.read(24).filter(|pattern| *pattern == 0x56_4342)?;
    let (dimensions, entries) = (bits.read(16)?, bits.read(24)?);
    match bits.read(1)? {
        1 => ordered_lengths(bits, entries)?,
        _ => lengths(bits, entries)?,
    }
    let values = entries as usize * dimensions.max(1) as usize;
    let lookup = match bits.read(4)? {
        0 => return Some(values),
        1 => root(entries, dimensions),
        2 => values,
        _ => return None,
    };
    bits.skip(64)?;
    let width = bits.read(4)? + 1;
    bits.skip(1 + lookup.checked_mul(width as usize)?)?;
    Some(values)
}

/// 5 bits for each entry; or, where not all are used, one that says so before them.
fn lengths(bits: &mut Bits<'_>, entries: u32) -> Option<()> {
    if bits.read(1)? == 0 {
        return bits.skip(entries as usize * 5);
    }
    for _ in 0..entries {
        if bits.read(1)? == 1 {
            bits.skip(5)?;
        }
    }
    Some(())
}

/// How many entries have code words of the first length, of the next, and so on.
fn ordered_lengths(bits: &mut Bits<'_>, entries: u32) -> Option<()> {
    const LONGEST: u32 = 32;
    let (mut left, mut length) = (entries, bits.read(5)? + 1);
    while left > 0 {
        if length > LONGEST {
            return None;
        }
        left = left.checked_sub(bits.read(left.ilog2() + 1)?)?;
        length += 1;
    }
    Some(())
}

/// The largest number whose power of `dimensions` is no more than `entries` (§9.2.3).
fn root(entries: u32, dimensions: u32) -> usize {
    let fits = |value: u32| value.checked_pow(dimensions).is_some_and(|power| power <= entries);
    let (mut most, mut step) = (0, 1 << 24);
    while step > 0 {
        if fits(most + step) {
            most += step;
        }
        step /= 2;
    }
    most as usize
}

/// Bits from the lowest of each byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// At most 32.
    fn read(&mut self, count: u32) -> Option<u32> {
        let bit = |at: usize| self.bytes.get(at / 8).map(|byte| u32::from(byte >> (at % 8) & 1));
        let value = (0..count).try_fold(0, |value, n| Some(value | bit(self.at + n as usize)? << n))?;
        self.at += count as usize;
        Some(value)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= 8 * self.bytes.len())?;
        Some(())
    }
}
