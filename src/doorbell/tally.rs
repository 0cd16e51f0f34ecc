//! What a doorbell counts of itself since the service started.

use std::sync::atomic::{AtomicU64, Ordering};

use super::say::{Said, SayError};
use super::{ActionError, Doorbell};

#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By what came of them, as `OUTCOMES` has it.
    sayings: [AtomicU64; OUTCOMES.len()],
    pictures: AtomicU64,
}

/// What comes of a saying: said to its end; begun and ended early; not begun because somebody talks, too much waits or
/// it was stopped, because there was no sound for it, or because the doorbell did not open its speaker.
const OUTCOMES: [&str; 7] = ["whole", "cut_short", "busy", "full", "stopped", "unspoken", "failed"];

impl Tally {
    pub(super) fn count(&self, outcome: &Result<Said, SayError>) {
        let word = match outcome {
            Ok(said) if said.whole => "whole",
            Ok(_) => "cut_short",
            Err(SayError::Action(ActionError::Busy | ActionError::Speaking)) => "busy",
            Err(SayError::Full) => "full",
            Err(SayError::Stopped) => "stopped",
            Err(SayError::Unspoken(_)) => "unspoken",
            Err(SayError::Action(_)) => "failed",
        };
        if let Some((_, count)) = OUTCOMES.iter().zip(&self.sayings).find(|(outcome, _)| **outcome == word) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One more still picture.
    pub(super) fn count_picture(&self) {
        self.pictures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Doorbell {
    /// How many sayings came to which end since the service started.
    pub fn sayings(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.shared.tally.sayings.iter().map(|count| count.load(Ordering::Relaxed));
        OUTCOMES.into_iter().zip(counts)
    }

    /// How many still pictures there were since the service started, whoever had them taken.
    pub fn pictures_total(&self) -> u64 {
        self.shared.tally.pictures.load(Ordering::Relaxed)
    }
}
