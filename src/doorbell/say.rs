//! A doorbell that speaks by itself: one sound after the other, each whole before the speaker is opened.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::voice::{Source, Unspoken};
use super::{ActionError, Doorbell};
use crate::clock;
use crate::media::playback::{self, Volume};

/// Something to be said at a door.
#[derive(Debug, Clone, PartialEq)]
pub struct Saying {
    pub source: Source,
    pub volume: Volume,
    /// Over and over until so much time has passed, at most 60 s; `None`: once.
    pub repeat_for: Option<Duration>,
}

impl Saying {
    pub fn once(source: Source) -> Self {
        Self { source, volume: Volume::FULL, repeat_for: None }
    }
}

/// What came of a saying that was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// In the queue behind others.
    pub waited: Duration,
    /// Until its sound was there.
    pub prepared: Duration,
    /// From asking for the speaker until it was open.
    pub opened: Duration,
    /// How much was played.
    pub played: Duration,
    /// Whether that was all of it; otherwise somebody stopped it, or the doorbell did.
    pub whole: bool,
}

/// Why nothing was said, in words for the owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SayError {
    #[error("{} things wait to be said already", Doorbell::SAYINGS)]
    Full,
    #[error("it was stopped before it began")]
    Stopped,
    #[error("{0}")]
    Unspoken(#[from] Unspoken),
    /// `Busy` while somebody talks.
    #[error("{0}")]
    Action(#[from] ActionError),
}

impl Doorbell {
    /// How many things may wait while one is said.
    pub const SAYINGS: usize = 4;
    /// Whose microphone it is while the doorbell speaks by itself.
    const OWN_VOICE: u64 = u64::MAX;

    /// Says it once everything before it has been said. What has been taken on goes on although nobody waits for it.
    ///
    /// # Errors
    /// `SayError`, in which case nothing was played.
    pub async fn say(&self, saying: Saying) -> Result<Said, SayError> {
        let began = clock::now();
        let recording = self.shared.voice.sound(saying.source).await?;
        let prepared = began.elapsed();
        let asked = clock::now();
        let grant = self.start_talk(Self::OWN_VOICE).await?;
        let opened = asked.elapsed();
        let unsupported = |_| ActionError::Unsupported("no sound can be made for its speaker");
        let pieces = playback::pieces(recording, grant.format, saying.volume).map_err(unsupported)?;
        let played = playback::play(pieces, &grant.audio).await;
        Ok(Said { waited: Duration::ZERO, prepared, opened, played: played.duration, whole: played.whole })
    }

    /// Ends what is being said, and forgets what waits.
    pub fn stop_saying(&self) {
        CancellationToken::new().cancel();
    }
}
