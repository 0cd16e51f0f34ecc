//! What a doorbell can be made to say, and where the sound for it comes from.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use url::Url;

use super::vendor::BoxFuture;
use crate::media::Recording;
use crate::model::ClipName;

/// Finds the sound for whatever is to be said. The one of the service asks Home Assistant for spoken text, fetches
/// addresses and keeps the folder of clips.
pub trait Voice: Send + Sync + 'static {
    /// The whole sound, at most 60 s of it.
    fn sound(&self, source: Source) -> BoxFuture<'static, Result<Recording, Unspoken>>;

    /// The clips that there are now. Changes when a file comes or goes.
    fn clips(&self) -> watch::Receiver<Clips>;

    /// Keeps `file` as the clip of this name, in place of one that has it already. It is played once in silence first.
    fn keep(&self, name: ClipName, file: Bytes) -> BoxFuture<'static, Result<(), NotKept>>;

    /// Takes a clip away. Whether there was one.
    fn remove(&self, name: ClipName) -> BoxFuture<'static, Result<bool, NotKept>>;
}

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// At most [`Source::LONGEST_TEXT`] characters.
    Text(String),
    Url(Url),
    Clip(ClipName),
    /// A file of sound, at most [`Source::LARGEST_FILE`] bytes.
    File(Bytes),
}

impl Source {
    /// In characters. Half a minute to a minute of speech.
    pub const LONGEST_TEXT: usize = 1_000;
    pub const LARGEST_FILE: usize = 10 << 20;
    /// Of whatever is played.
    pub const LONGEST_SOUND: Duration = Duration::from_secs(60);

    /// The word for it in states and answers.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Url(_) => "url",
            Self::Clip(_) => "clip",
            Self::File(_) => "file",
        }
    }
}

/// The clips by name, with how long each lasts.
pub type Clips = BTreeMap<ClipName, Duration>;

/// Why there is no sound for what was to be said, in whole sentences: what happened and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unspoken {
    /// What was asked for cannot be said by anybody: an unknown clip, too long a text, a file that is no sound.
    #[error("{0}")]
    Unusable(String),
    /// It may not be fetched from there.
    #[error("{0}")]
    Forbidden(String),
    /// Whoever has the sound did not give it.
    #[error("{0}")]
    Unavailable(String),
}

/// Why the folder of clips is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    #[error("{0}")]
    Unusable(String),
    /// There are as many as there may be, or no room on the disk.
    #[error("{0}")]
    Full(String),
    #[error("{0}")]
    Unwritable(String),
}

/// Knows nothing but files that are brought along.
#[derive(Debug, Default)]
pub struct Mute;

impl Voice for Mute {
    fn sound(&self, source: Source) -> BoxFuture<'static, Result<Recording, Unspoken>> {
        Box::pin(async move {
            let Source::File(file) = source else {
                return Err(Unspoken::Unavailable("There is nobody here who could say that.".to_owned()));
            };
            let read = tokio::task::spawn_blocking(move || Recording::read(&file, Source::LONGEST_SOUND)).await;
            let read = read.map_err(|_| Unspoken::Unusable("The file could not be read.".to_owned()))?;
            read.map_err(|why| Unspoken::Unusable(format!("The file cannot be played: {why}.")))
        })
    }

    fn clips(&self) -> watch::Receiver<Clips> {
        watch::channel(Clips::new()).1
    }

    fn keep(&self, _: ClipName, _: Bytes) -> BoxFuture<'static, Result<(), NotKept>> {
        Box::pin(async { Err(NotKept::Unwritable("There is no folder for clips.".to_owned())) })
    }

    fn remove(&self, _: ClipName) -> BoxFuture<'static, Result<bool, NotKept>> {
        Box::pin(async { Ok(false) })
    }
}
