//! Files of sound: whatever they hold, they must not panic, and no more may come of them than was asked for.

use std::time::Duration;

use doorstep::media::playback::{self, Volume};
use doorstep::media::{AudioFormat, Recording};

/// One file.
pub fn recording(data: &[u8]) {
    const LONGEST: Duration = Duration::from_secs(2);
    let Ok(recording) = Recording::read(data, LONGEST) else { return };
    assert!(recording.duration() <= LONGEST, "{:?} were read", recording.duration());
    assert!(!recording.samples.is_empty(), "sound of no length");
    let pieces = playback::pieces(recording, AudioFormat::PCMU, Volume::FULL).expect("every rate can be played");
    assert!(pieces.take(3).all(|piece| piece.len() == 160), "a piece that does not last 20 ms");
}
