//! AAC in MP4: ISO/IEC 14496-12 (the atoms), -14 (`esds`) and -1 §7.2.6 (the descriptors in it). Everything big-endian.
//!
//! Own code, because symphonia's reader underflows on tables that contradict each other, and ignores edit lists.

use super::coded::Coded;
use super::{Gathered, NotSound};
use crate::proto::wire::{DecodeError, Reader};

const BROKEN: NotSound = NotSound::Broken("its tables make no sense");

/// The first track of sound in `file`.
pub(super) fn read(file: &[u8], gathered: &mut Gathered) -> Result<(), NotSound> {
    let Some(movie) = Atoms(file).find(*b"moov") else { return Err(NotSound::Broken("it has no table of contents")) };
    let tracks = Atoms(movie).filter(|(name, _)| name == b"trak").map(|(_, track)| track);
    let Some(track) = tracks.filter_map(Track::find_in).find(|track| track.is_sound) else {
        return Err(NotSound::Empty);
    };
    if Atoms(movie).find(*b"mvex").is_some() {
        return Err(NotSound::Unsupported("MP4 in fragments"));
    }
    let mut coded = Coded::aac(track.config()?)?;
    let mut samples = 0;
    for packet in track.packets(file)? {
        samples += coded.decode(packet?, gathered)?;
    }
    track.cut(samples, gathered);
    Ok(())
}

/// `size (4) · name (4)`, where size 1 is followed by a longer one (8) and 0 is as much as there is, and the body.
#[derive(Clone, Copy)]
struct Atoms<'a>(&'a [u8]);

impl<'a> Iterator for Atoms<'a> {
    type Item = ([u8; 4], &'a [u8]);

    /// Ends at an atom that does not end.
    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader::new("MP4 atom", self.0);
        let (size, name) = (u32_be(&mut reader).ok()?, reader.array().ok()?);
        let body = match size {
            0 => reader.remaining(),
            1 => usize::try_from(reader.array().map(u64::from_be_bytes).ok()?).ok()?.checked_sub(16)?,
            size => (size as usize).checked_sub(8)?,
        };
        let body = reader.take(body).ok()?;
        self.0 = reader.rest();
        Some((name, body))
    }
}

impl<'a> Atoms<'a> {
    fn find(mut self, wanted: [u8; 4]) -> Option<&'a [u8]> {
        Iterator::find(&mut self, |(name, _)| *name == wanted).map(|(_, body)| body)
    }

    fn find_along(self, path: &[[u8; 4]]) -> Option<&'a [u8]> {
        path.iter().try_fold(self.0, |body, name| Atoms(body).find(*name))
    }
}

struct Track<'a> {
    is_sound: bool,
    atom: Atoms<'a>,
    /// `mdia/minf/stbl`.
    tables: Atoms<'a>,
}

impl<'a> Track<'a> {
    fn find_in(track: &'a [u8]) -> Option<Self> {
        let atom = Atoms(track);
        let handler = atom.find_along(&[*b"mdia", *b"hdlr"])?;
        let tables = Atoms(atom.find_along(&[*b"mdia", *b"minf", *b"stbl"])?);
        Some(Self { is_sound: handler.get(8..12) == Some(b"soun"), atom, tables })
    }

    /// The AudioSpecificConfig.
    fn config(&self) -> Result<&'a [u8], NotSound> {
        const UNSUPPORTED: NotSound = NotSound::Unsupported("what is in this MP4 file");
        let description = self.tables.find(*b"stsd").and_then(|table| table.get(8..)).ok_or(BROKEN)?;
        let (name, entry) = Atoms(description).next().ok_or(BROKEN)?;
        if name != *b"mp4a" {
            return Err(UNSUPPORTED);
        }
        // QuickTime's versions 1 and 2 of the entry are longer.
        let more = match entry.get(8..10) {
            Some([0, 1]) => 16,
            Some([0, 2]) => 36,
            _ => 0,
        };
        let atoms = Atoms(entry.get(28 + more..).ok_or(BROKEN)?);
        let descriptors =
            atoms.find(*b"esds").or_else(|| atoms.find_along(&[*b"wave", *b"esds"])).ok_or(UNSUPPORTED)?;
        specific_config(descriptors).map_err(|_| BROKEN)
    }

    /// The packets in their order. Each is looked up once, so that tables that tell of more packets than there are
    /// bytes cost nothing.
    fn packets<'f>(
        &self,
        file: &'f [u8],
    ) -> Result<impl Iterator<Item = Result<&'f [u8], NotSound>> + use<'a, 'f>, NotSound> {
        let table = |name| self.tables.find(name).and_then(|table| table.get(4..));
        let mut sizes = Sizes::read(table(*b"stsz").ok_or(NotSound::Unsupported("MP4 with compact tables"))?)?;
        let runs = table(*b"stsc").and_then(|table| table.get(4..)).ok_or(BROKEN)?;
        let (offsets, width) = match (table(*b"stco"), table(*b"co64")) {
            (Some(offsets), _) => (offsets, 4),
            (_, Some(offsets)) => (offsets, 8),
            _ => return Err(BROKEN),
        };
        let offsets = offsets.get(4..).ok_or(BROKEN)?.chunks_exact(width);
        let offsets = offsets.map(|offset| offset.iter().fold(0, |offset: u64, byte| offset << 8 | u64::from(*byte)));
        let mut chunks = offsets.zip(Runs::new(runs));
        let (mut at, mut left) = (0, 0);
        Ok(std::iter::from_fn(move || {
            while left == 0 {
                (at, left) = chunks.next()?;
            }
            let size = sizes.next()?;
            let end = at.saturating_add(size);
            let packet =
                usize::try_from(at).ok().zip(usize::try_from(end).ok()).and_then(|(at, end)| file.get(at..end));
            (at, left) = (end, left - 1);
            Some(packet.ok_or(NotSound::Broken("it ends before its sound does")))
        }))
    }

    /// Takes away what the encoder put before and behind the sound: the edit list says where it begins, the length of
    /// the medium where it ends.
    fn cut(&self, decoded: usize, gathered: &mut Gathered) {
        /// Two packets: more than that no encoder adds.
        const PADDING: u64 = 2_048;
        let Some((scale, length)) = self.atom.find_along(&[*b"mdia", *b"mdhd"]).and_then(|header| times(header).ok())
        else {
            return;
        };
        let in_samples = |time: u64| time.saturating_mul(gathered.rate_hz().into()) / u64::from(scale.max(1));
        let surplus = (decoded as u64).saturating_sub(in_samples(length));
        let skipped = in_samples(self.begins_at().unwrap_or_default());
        if surplus < PADDING {
            gathered.cut(surplus as usize);
        }
        gathered.skip(usize::try_from(skipped).unwrap_or(usize::MAX));
    }

    /// `media time` of the first entry of the edit list that is not empty.
    fn begins_at(&self) -> Option<u64> {
        let list = self.atom.find_along(&[*b"edts", *b"elst"])?;
        let (entry, at) = if list.first() == Some(&1) { (20, 8..16) } else { (12, 4..8) };
        let time = list.get(8..)?.chunks_exact(entry).filter_map(|entry| entry.get(at.clone()));
        // -1 is a time in which nothing plays.
        let mut time = time.filter(|time| time.iter().any(|byte| *byte != 0xff));
        Some(time.next()?.iter().fold(0, |time, byte| time << 8 | u64::from(*byte)))
    }
}

/// `one size for all, or 0 (4) · count (4) · sizes (4 each)`
struct Sizes<'a> {
    one: u32,
    left: u32,
    each: std::slice::ChunksExact<'a, u8>,
}

impl<'a> Sizes<'a> {
    fn read(table: &'a [u8]) -> Result<Self, NotSound> {
        let mut reader = Reader::new("stsz", table);
        let mut read = || Ok((u32_be(&mut reader)?, u32_be(&mut reader)?));
        let (one, left) = read().map_err(|_: DecodeError| BROKEN)?;
        Ok(Self { one, left, each: reader.rest().chunks_exact(4) })
    }
}

impl Iterator for Sizes<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        Some(match self.one {
            0 => u32_be(&mut Reader::new("stsz", self.each.next()?)).ok()?.into(),
            one => one.into(),
        })
    }
}

/// How many packets each chunk has: `first chunk, from 1 (4) · packets in each (4) · description (4)`, until the next.
struct Runs<'a> {
    chunk: u32,
    packets: u32,
    next: Option<(u32, u32)>,
    rest: std::slice::ChunksExact<'a, u8>,
}

impl<'a> Runs<'a> {
    fn new(table: &'a [u8]) -> Self {
        let mut runs = Self { chunk: 0, packets: 0, next: None, rest: table.chunks_exact(12) };
        runs.advance();
        runs
    }

    fn advance(&mut self) {
        self.next = self.rest.next().and_then(|run| {
            let mut reader = Reader::new("stsc", run);
            Some((u32_be(&mut reader).ok()?, u32_be(&mut reader).ok()?))
        });
    }
}

impl Iterator for Runs<'_> {
    type Item = u32;

    /// Never ends: the last run goes on as long as there are chunks.
    fn next(&mut self) -> Option<u32> {
        self.chunk = self.chunk.saturating_add(1);
        if let Some((_, packets)) = self.next.filter(|(first, _)| *first <= self.chunk) {
            self.packets = packets;
            self.advance();
        }
        Some(self.packets)
    }
}

/// Units in a second, and how many the medium lasts.
fn times(header: &[u8]) -> Result<(u32, u64), DecodeError> {
    let mut reader = Reader::new("mdhd", header);
    let version = reader.u8()?;
    reader.skip(if version == 1 { 19 } else { 11 })?;
    let scale = u32_be(&mut reader)?;
    let length = if version == 1 { reader.array().map(u64::from_be_bytes)? } else { u32_be(&mut reader)?.into() };
    Ok((scale, length))
}

/// Descriptor 5 in descriptor 4 in descriptor 3 of `esds`.
fn specific_config(esds: &[u8]) -> Result<&[u8], DecodeError> {
    let mut reader = Reader::new("esds", esds);
    reader.skip(4)?;
    descriptor(&mut reader, 3)?;
    reader.skip(2)?;
    let flags = reader.u8()?;
    if flags & 0x80 != 0 {
        reader.skip(2)?;
    }
    if flags & 0x40 != 0 {
        let address = reader.u8()?;
        reader.skip(address.into())?;
    }
    if flags & 0x20 != 0 {
        reader.skip(2)?;
    }
    descriptor(&mut reader, 4)?;
    reader.skip(13)?;
    let size = descriptor(&mut reader, 5)?;
    reader.take(size)
}

/// `tag · size`, of which each byte has seven bits, and one that says whether another follows.
fn descriptor(reader: &mut Reader<'_>, wanted: u8) -> Result<usize, DecodeError> {
    let tag = reader.u8()?;
    if tag != wanted {
        return Err(reader.invalid("tag", tag));
    }
    let mut size = 0;
    for _ in 0..4 {
        let byte = reader.u8()?;
        size = size << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(size)
}

fn u32_be(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    reader.array().map(u32::from_be_bytes)
}
