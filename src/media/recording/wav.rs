//! WAV: "Multimedia Programming Interface and Data Specifications 1.0" and Microsoft's `WAVEFORMATEXTENSIBLE`.

use super::{Gathered, NotSound};
use crate::media::g711::Law;
use crate::proto::wire::{DecodeError, Reader};

/// `file` begins with `RIFF…WAVE`.
pub(super) fn read(file: &[u8], gathered: &mut Gathered) -> Result<(), NotSound> {
    let mut chunks = Reader::new("RIFF chunk", file.get(12..).unwrap_or_default());
    let mut format = None;
    while let Ok(name) = chunks.array::<4>() {
        let size = chunks.u32_le().map_err(cut_short)? as usize;
        if name == *b"data" {
            let format: Format = format.ok_or(NotSound::Broken("its samples come before their format"))?;
            return format.read(data(chunks.rest(), size)?, gathered);
        }
        let chunk = chunks.take(size).map_err(cut_short)?;
        if name == *b"fmt " {
            format = Some(Format::decode(chunk)?);
        }
        // A chunk of odd size is followed by one byte of nothing; the last may lack it.
        chunks.skip(size % 2).unwrap_or_default();
    }
    Err(NotSound::Empty)
}

fn cut_short(_: DecodeError) -> NotSound {
    NotSound::Broken("it ends before its sound does")
}

/// The samples. Who writes a WAV before he knows how long it will be says 0 or as much as can be said.
fn data(rest: &[u8], size: usize) -> Result<&[u8], NotSound> {
    const UNKNOWN: usize = 0x7fff_0000;
    if size == 0 || size >= UNKNOWN {
        return Ok(rest);
    }
    rest.get(..size).ok_or(NotSound::Broken("it ends before its sound does"))
}

/// The chunk `fmt `, all little-endian:
/// `[0..2] format tag · [2..4] channels · [4..8] rate · [8..12] bytes per second · [12..14] bytes per frame ·
/// [14..16] bits per sample`, and with the tag 0xfffe `· [16..24] size, bits that count, places · [24..26] true tag · …`
struct Format {
    sample: Sample,
    /// Bytes of one sample of one channel.
    width: usize,
    channels: usize,
    rate_hz: u32,
}

#[derive(Clone, Copy)]
enum Sample {
    Unsigned8,
    /// 2 to 4 bytes, the value in the upper bits.
    Integer,
    Float32,
    Float64,
    G711(Law),
}

impl Format {
    fn decode(chunk: &[u8]) -> Result<Self, NotSound> {
        const BROKEN: NotSound = NotSound::Broken("its format makes no sense");
        let mut reader = Reader::new("WAV format", chunk);
        let mut read = || -> Result<_, DecodeError> {
            let (tag, channels, rate_hz) = (reader.u16_le()?, reader.u16_le()?, reader.u32_le()?);
            reader.skip(4)?;
            let frame = reader.u16_le()?;
            if tag != 0xfffe {
                return Ok((tag, channels, rate_hz, frame));
            }
            reader.skip(10)?;
            Ok((reader.u16_le()?, channels, rate_hz, frame))
        };
        let (tag, channels, rate_hz, frame) = read().map_err(|_| BROKEN)?;
        let (channels, frame) = (usize::from(channels), usize::from(frame));
        let width = frame.checked_div(channels).filter(|width| width * channels == frame).ok_or(BROKEN)?;
        let sample = match (tag, width) {
            (1, 1) => Sample::Unsigned8,
            (1, 2..=4) => Sample::Integer,
            (3, 4) => Sample::Float32,
            (3, 8) => Sample::Float64,
            (6, 1) => Sample::G711(Law::A),
            (7, 1) => Sample::G711(Law::Mu),
            (1 | 3 | 6 | 7, _) => return Err(BROKEN),
            _ => return Err(NotSound::Unsupported("what is in this WAV file")),
        };
        Ok(Self { sample, width, channels, rate_hz })
    }

    /// A frame that is cut off at the end is left out.
    fn read(&self, data: &[u8], gathered: &mut Gathered) -> Result<(), NotSound> {
        const FRAMES_AT_ONCE: usize = 4_096;
        let frame = self.width * self.channels;
        let whole = data.len() / frame * frame;
        for part in data[..whole].chunks(frame * FRAMES_AT_ONCE) {
            let samples: Vec<i16> = part.chunks_exact(self.width).map(|sample| self.sample.value(sample)).collect();
            gathered.push(self.rate_hz, self.channels, &samples)?;
        }
        Ok(())
    }
}

impl Sample {
    /// `bytes` are as many as the format has for a sample.
    fn value(self, bytes: &[u8]) -> i16 {
        match (self, bytes) {
            (Self::Unsigned8, [byte]) => (i16::from(*byte) - 128) << 8,
            (Self::G711(law), [code]) => law.decode(*code),
            (Self::Integer, [.., low, high]) => i16::from_le_bytes([*low, *high]),
            (Self::Float32, &[a, b, c, d]) => from_float(f32::from_le_bytes([a, b, c, d])),
            (Self::Float64, &[a, b, c, d, e, f, g, h]) => {
                from_float(f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32)
            }
            _ => 0,
        }
    }
}

/// Full scale is 1. What is louder becomes as loud as can be, and what is no number silence.
fn from_float(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
}
