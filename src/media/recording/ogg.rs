//! Ogg (RFC 3533) with Opus (RFC 7845) or Vorbis in it. A page's checksum is not looked at: what is damaged the codec
//! refuses, or plays.

use super::opus::Opus;
use super::vorbis::Vorbis;
use super::{Gathered, NotSound};
use crate::proto::wire::{DecodeError, Reader};

/// Chained streams, as some services make them of several sentences.
const MOST_STREAMS: usize = 64;

/// All streams that follow each other in `file`. Of several at once the first that is sound is taken.
pub(super) fn read(file: &[u8], gathered: &mut Gathered) -> Result<(), NotSound> {
    let mut pages = Pages { rest: file };
    let mut streams = 0;
    while let Some(page) = pages.next()? {
        let Some(codec) = Codec::beginning_in(&page) else { continue };
        streams += 1;
        if streams > MOST_STREAMS {
            return Err(NotSound::Broken("it is made of too many streams"));
        }
        Stream::new(page.serial, codec?).read(&mut pages, gathered)?;
    }
    if streams == 0 { Err(NotSound::Unsupported("what is in this Ogg file")) } else { Ok(()) }
}

/// `"OggS" · version 0 · flags · granule position (8) · serial (4) · sequence (4) · checksum (4) · n · n segment sizes`,
/// little-endian, and the segments. A segment of less than 255 bytes ends a packet.
struct Page<'a> {
    flags: u8,
    /// Where the last packet that ends in this page ends, in samples; nothing where none ends.
    granule: Option<u64>,
    serial: u32,
    sizes: &'a [u8],
    segments: &'a [u8],
}

impl Page<'_> {
    const CONTINUED: u8 = 1;
    const FIRST: u8 = 2;
    const LAST: u8 = 4;
}

struct Pages<'a> {
    rest: &'a [u8],
}

impl<'a> Pages<'a> {
    /// `None` at the end. Bytes that belong to no page are passed over.
    fn next(&mut self) -> Result<Option<Page<'a>>, NotSound> {
        let Some(at) = self.rest.windows(5).position(|bytes| bytes == b"OggS\0") else {
            self.rest = &[];
            return Ok(None);
        };
        let mut reader = Reader::new("Ogg page", &self.rest[at + 5..]);
        let page = page(&mut reader).map_err(|_| NotSound::Broken("it ends in the middle of a page"))?;
        self.rest = reader.rest();
        Ok(Some(page))
    }
}

fn page<'a>(reader: &mut Reader<'a>) -> Result<Page<'a>, DecodeError> {
    let (flags, granule, serial) = (reader.u8()?, reader.u64_le()?, reader.u32_le()?);
    reader.skip(8)?;
    let count = reader.u8()?;
    let sizes = reader.take(usize::from(count))?;
    let segments = reader.take(sizes.iter().map(|size| usize::from(*size)).sum())?;
    Ok(Page { flags, granule: (granule != u64::MAX).then_some(granule), serial, sizes, segments })
}

enum Codec {
    Opus(Box<Opus>),
    /// The header that came first, until the others are there.
    VorbisHeaders(Vec<Vec<u8>>),
    Vorbis(Box<Vorbis>),
}

impl Codec {
    /// `None` unless the page begins a stream of sound. Its first packet is alone on it (RFC 3533 §4).
    fn beginning_in(page: &Page<'_>) -> Option<Result<Self, NotSound>> {
        if page.flags & Page::FIRST == 0 {
            return None;
        }
        match page.segments {
            [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', head @ ..] => {
                Some(Opus::new(head).map(|opus| Self::Opus(Box::new(opus))))
            }
            header @ [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => {
                Some(Ok(Self::VorbisHeaders(vec![header.to_vec()])))
            }
            _ => None,
        }
    }

    /// How many samples came of `packet`, whether or not they are to be heard.
    fn decode(&mut self, packet: &[u8], gathered: &mut Gathered) -> Result<usize, NotSound> {
        match self {
            Self::Opus(opus) => opus.decode(packet, gathered),
            Self::Vorbis(vorbis) => vorbis.decode(packet, gathered),
            Self::VorbisHeaders(headers) => {
                headers.push(packet.to_vec());
                if let [identification, _comment, setup] = headers.as_slice() {
                    *self = Self::Vorbis(Box::new(Vorbis::new(identification, setup)?));
                }
                Ok(0)
            }
        }
    }
}

/// One logical stream, from behind its first page to its last.
struct Stream {
    serial: u32,
    codec: Codec,
    /// What has come of a packet that goes on in the next page.
    begun: Option<Vec<u8>>,
    /// Where the newest page ended, in samples.
    position: u64,
}

impl Stream {
    fn new(serial: u32, codec: Codec) -> Self {
        Self { serial, codec, begun: None, position: 0 }
    }

    fn read(mut self, pages: &mut Pages<'_>, gathered: &mut Gathered) -> Result<(), NotSound> {
        while let Some(page) = pages.next()? {
            if page.serial != self.serial {
                continue;
            }
            let samples = self.decode(&page, gathered)?;
            let end = self.position.saturating_add(samples as u64);
            if page.flags & Page::LAST != 0 {
                // RFC 7845 §4.4: the last page may end before its last packet does.
                let surplus = end.saturating_sub(page.granule.unwrap_or(end));
                gathered.cut(samples.min(surplus as usize));
                return Ok(());
            }
            self.position = page.granule.unwrap_or(end);
        }
        Ok(())
    }

    /// The packets that end in `page`. How many samples came of them.
    fn decode(&mut self, page: &Page<'_>, gathered: &mut Gathered) -> Result<usize, NotSound> {
        let continued = page.flags & Page::CONTINUED != 0;
        // A packet whose beginning or end is missing is none.
        let mut packet = self.begun.take().filter(|_| continued);
        let mut whole = packet.is_some() || !continued;
        let (mut rest, mut samples) = (page.segments, 0);
        for &size in page.sizes {
            let (segment, behind) = rest.split_at(usize::from(size).min(rest.len()));
            rest = behind;
            packet.get_or_insert_default().extend_from_slice(segment);
            if size < 255 {
                let ended = packet.take().filter(|_| whole);
                samples += ended.map_or(Ok(0), |packet| self.codec.decode(&packet, gathered))?;
                whole = true;
            }
        }
        self.begun = packet.filter(|_| whole);
        Ok(samples)
    }
}
