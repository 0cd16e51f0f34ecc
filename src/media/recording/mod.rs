//! Sound that is whole before any of it is played: a clip, a spoken text, a file from the network.
//!
//! Nothing that a file says of itself is believed: not its name, not its length, not how much of it is sound.

mod coded;
mod gathered;
mod mp4;
mod ogg;
mod opus;
mod vorbis;
mod wav;

use std::time::Duration;

use gathered::Gathered;

/// One channel of 16-bit samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    pub samples: Vec<i16>,
    pub rate_hz: u32,
}

/// Why a file cannot be played, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSound {
    #[error("it is neither WAV nor MP3, Ogg (Opus or Vorbis), FLAC or AAC")]
    UnknownFormat,
    #[error("there is no decoder here for {0}")]
    Unsupported(&'static str),
    #[error("it is broken: {0}")]
    Broken(&'static str),
    #[error("there is no sound in it")]
    Empty,
    #[error("it lasts longer than {} s", .0.as_secs())]
    TooLong(Duration),
}

impl Recording {
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.rate_hz.max(1)))
    }

    /// The sound in `file`, whatever it says it is; several channels become one. Takes memory and time for `longest`
    /// and the file itself, whatever its headers claim.
    ///
    /// # Errors
    /// `NotSound`; `TooLong` as soon as more than `longest` has been decoded.
    pub fn read(file: &[u8], longest: Duration) -> Result<Self, NotSound> {
        let mut gathered = Gathered::new(longest);
        match behind_tags(file)? {
            riff @ [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => wav::read(riff, &mut gathered)?,
            ogg @ [b'O', b'g', b'g', b'S', ..] => ogg::read(ogg, &mut gathered)?,
            flac @ [b'f', b'L', b'a', b'C', ..] => coded::read_flac(flac, &mut gathered)?,
            mp4 @ [_, _, _, _, b'f', b't', b'y', b'p', ..] => mp4::read(mp4, &mut gathered)?,
            // ISO/IEC 13818-7 §6.2.1: the sync word, and layer 0.
            adts @ [0xff, flags, ..] if flags & 0xf6 == 0xf0 => coded::read_adts(adts, &mut gathered)?,
            // ISO/IEC 11172-3 §2.4.2.3: the sync word, and layer III.
            mp3 @ [0xff, flags, ..] if flags & 0xe6 == 0xe2 => coded::read_mp3(mp3, &mut gathered)?,
            [0xff, flags, ..] if flags & 0xe6 == 0xe4 => return Err(NotSound::Unsupported("MPEG layer II")),
            _ => return Err(NotSound::UnknownFormat),
        }
        gathered.finish()
    }
}

/// What comes after ID3 tags (id3.org, version 2.4.0 §3.1) and the zeros that some writers leave behind them.
fn behind_tags(file: &[u8]) -> Result<&[u8], NotSound> {
    let mut rest = file;
    while let [b'I', b'D', b'3', _, _, flags, a, b, c, d, tag @ ..] = rest {
        // Seven bits of each byte, so that no size looks like a sync word; a footer repeats the ten bytes before.
        let size = [a, b, c, d].iter().fold(0, |size, byte| size << 7 | usize::from(**byte & 0x7f));
        let footer = if flags & 0x10 == 0 { 0 } else { 10 };
        rest = tag.get(size + footer..).ok_or(NotSound::Broken("it ends within its ID3 tag"))?;
    }
    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
    // An MP4 file begins with a size whose first bytes are zero.
    Ok(if rest.get(4..8) == Some(b"ftyp") { rest } else { &rest[zeros..] })
}

#[cfg(test)]
mod tests;
