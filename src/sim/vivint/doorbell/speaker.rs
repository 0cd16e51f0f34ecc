//! The speaker: it plays what arrives only while a talk is on, and measures what it plays.

use std::time::Duration;

use crate::clock::{self, Instant};
use crate::media::AudioFormat;
use crate::sim::ear::Ear;
use crate::sim::tone::{Heard, Samples};

/// Counts every packet, on or off.
pub(super) struct Speaker {
    format: AudioFormat,
    talk: Option<Talk>,
    unheard: u64,
}

/// What it sounded like.
#[derive(Debug, PartialEq)]
pub(super) struct Report {
    /// How many packets it has played in this talk.
    pub(super) frames: u64,
    pub(super) heard: Heard,
    pub(super) samples: Samples,
}

struct Talk {
    ear: Ear,
    frames: u64,
    next_report: Instant,
}

impl Speaker {
    const REPORT_EVERY: Duration = Duration::from_secs(1);

    pub(super) fn new(format: AudioFormat) -> Self {
        Self { format, talk: None, unheard: 0 }
    }

    pub(super) fn is_on(&self) -> bool {
        self.talk.is_some()
    }

    /// Plays from now on. `None` when it did already; else how many packets came while it was off.
    pub(super) fn on(&mut self) -> Option<u64> {
        if self.is_on() {
            return None;
        }
        let next_report = clock::now() + Self::REPORT_EVERY;
        self.talk = Some(Talk { ear: Ear::new(self.format), frames: 0, next_report });
        Some(self.off_for())
    }

    /// How many packets it has played, and what the last of them sounded like; `None` when it was off already.
    pub(super) fn off(&mut self) -> Option<(u64, Option<Report>)> {
        self.talk.take().map(|mut talk| (talk.frames, talk.report()))
    }

    /// How many packets came while it was off, since it was asked the last time.
    pub(super) fn off_for(&mut self) -> u64 {
        std::mem::take(&mut self.unheard)
    }

    /// About once a second it says how many packets it has played, and what they sounded like.
    pub(super) fn take(&mut self, packet: &[u8]) -> Option<Report> {
        let Some(talk) = &mut self.talk else {
            self.unheard += 1;
            return None;
        };
        talk.frames += 1;
        talk.ear.hear(packet);
        if clock::now() < talk.next_report {
            return None;
        }
        talk.next_report = clock::now() + Self::REPORT_EVERY;
        talk.report()
    }
}

impl Talk {
    fn report(&mut self) -> Option<Report> {
        let frames = self.frames;
        self.ear.measure().map(|(heard, samples)| Report { frames, heard, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::sound::Sound;

    #[tokio::test(start_paused = true)]
    async fn it_hears_only_what_comes_while_it_is_on() {
        let (mut speaker, sound) = (Speaker::new(AudioFormat::PCMU), Sound::new(AudioFormat::PCMU).unwrap());
        let take_a_second = async |speaker: &mut Speaker| {
            let mut reports = Vec::new();
            for n in 0..55 {
                reports.extend(speaker.take(&sound.packet(n).data));
                tokio::time::advance(Duration::from_millis(20)).await;
            }
            reports
        };
        assert_eq!(take_a_second(&mut speaker).await, []);
        assert_eq!((speaker.on(), speaker.on()), (Some(55), None));
        let reports = take_a_second(&mut speaker).await;
        assert!(
            matches!(reports[..], [Report { frames: 51, heard: Heard { tone_hz: Some(hz), .. }, .. }] if (hz - 1_000.0).abs() < 20.0),
            "{reports:?}"
        );
        let rest = speaker.off();
        assert!(matches!(rest, Some((55, Some(Report { frames: 55, .. })))), "{rest:?}");
        assert_eq!(speaker.off(), None);
        assert_eq!(take_a_second(&mut speaker).await, []);
        assert_eq!((speaker.off_for(), speaker.off_for()), (55, 0));
    }
}
