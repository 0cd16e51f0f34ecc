//! Sound that is whole before any of it is played: a clip, a spoken text, a file from the network.

use std::time::Duration;

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

    /// The sound in `file`, whatever it says it is; several channels become one.
    ///
    /// # Errors
    /// `NotSound`; `TooLong` as soon as more than `longest` has been decoded.
    pub fn read(file: &[u8], longest: Duration) -> Result<Self, NotSound> {
        let _ = (file, longest);
        Err(NotSound::UnknownFormat)
    }
}
