//! Recordings that were wanted lately, so that the same again is there at once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::media::Recording;

const MOST: usize = 16;
/// In samples, of 2 bytes each.
const LARGEST: usize = 5 << 20;

/// The last few recordings by what they are of; the one that was not wanted for longest goes first.
pub(super) struct Lately<K>(Mutex<VecDeque<(K, Recording)>>);

impl<K: PartialEq> Lately<K> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(super) fn get(&self, key: &K) -> Option<Recording> {
        let mut kept = self.kept();
        let at = kept.iter().position(|(own, _)| own == key)?;
        let found = kept.remove(at)?;
        let recording = found.1.clone();
        kept.push_back(found);
        Some(recording)
    }

    pub(super) fn keep(&self, key: K, recording: &Recording) {
        if recording.samples.len() > LARGEST {
            return;
        }
        let mut kept = self.kept();
        kept.retain(|(own, _)| *own != key);
        kept.push_back((key, recording.clone()));
        let is_too_much = |kept: &VecDeque<(K, Recording)>| {
            kept.len() > MOST || kept.iter().map(|(_, recording)| recording.samples.len()).sum::<usize>() > LARGEST
        };
        while is_too_much(&kept) {
            kept.pop_front();
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(K, Recording)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(samples: usize) -> Recording {
        Recording { samples: vec![0; samples], rate_hz: 16_000 }
    }

    #[test]
    fn what_was_not_wanted_for_longest_is_forgotten_first() {
        let lately = Lately::new();
        for key in 0..MOST {
            lately.keep(key, &recording(1));
        }
        assert!(lately.get(&0).is_some());
        lately.keep(MOST, &recording(1));
        assert!(lately.get(&0).is_some() && lately.get(&1).is_none());
        assert!((2..=MOST).all(|key| lately.get(&key).is_some()));
    }

    #[test]
    fn they_never_take_more_than_ten_megabytes() {
        let lately = Lately::new();
        lately.keep(0, &recording(LARGEST / 2 + 1));
        lately.keep(1, &recording(LARGEST / 2));
        assert!(lately.get(&0).is_none() && lately.get(&1).is_some());
        lately.keep(2, &recording(LARGEST + 1));
        assert!(lately.get(&1).is_some() && lately.get(&2).is_none());
    }
}
