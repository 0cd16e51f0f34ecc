//! Whether somebody speaks, and what of the sound around words is passed on.

use std::collections::VecDeque;

use super::jitter::Micros;

/// Tells speech from background by level: what is well above the quietest of the last seconds is speech. Speech has
/// gaps at which that is the room's noise; a fan has none.
#[derive(Default)]
pub(super) struct Ear {
    /// Of each 20 ms, in dB of full scale.
    recent: VecDeque<f64>,
}

impl Ear {
    /// Three seconds: nobody speaks longer without drawing breath.
    const REMEMBERED: usize = 150;
    const ABOVE_NOISE_DB: f64 = 10.0;
    /// Below this it is silence wherever it comes from: a whisper is 20 dB louder.
    const SILENCE_DB: f64 = -60.0;
    /// Above this it is never taken for noise, however steady it is.
    const LOUD_DB: f64 = -40.0;

    /// Hears 20 ms at a time of one channel: whether any of it is more than background.
    pub(super) fn hear(&mut self, samples: &[i16], rate_hz: u32) -> bool {
        let mut voiced = false;
        for piece in samples.chunks((rate_hz as usize / 50).max(1)) {
            let level = level_db(piece);
            if self.recent.len() == Self::REMEMBERED {
                self.recent.pop_front();
            }
            self.recent.push_back(level);
            voiced |= level > self.threshold_db();
        }
        voiced
    }

    fn threshold_db(&self) -> f64 {
        let is_known = self.recent.len() == Self::REMEMBERED;
        let noise = self.recent.iter().copied().filter(|_| is_known).reduce(f64::min);
        noise.map_or(Self::SILENCE_DB, |noise| (noise + Self::ABOVE_NOISE_DB).clamp(Self::SILENCE_DB, Self::LOUD_DB))
    }
}

/// Root mean square in dB of full scale, −100 at least; an offset is no sound.
fn level_db(samples: &[i16]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean = samples.iter().map(|&sample| f64::from(sample)).sum::<f64>() / count;
    let power = samples.iter().map(|&sample| (f64::from(sample) - mean).powi(2)).sum::<f64>() / count;
    (10.0 * (power / 32_768_f64.powi(2)).log10()).max(-100.0)
}

/// Which stretches of the microphone's time are passed on: the last one, and the end of that before.
pub(super) struct Gate {
    earlier_until: Micros,
    from: Micros,
    until: Micros,
}

impl Default for Gate {
    fn default() -> Self {
        Self { earlier_until: Micros::MIN, from: Micros::MIN, until: Micros::MIN }
    }
}

impl Gate {
    /// Words begin before they are loud.
    const BEFORE: Micros = 80_000;
    /// Words end softly, and between two of them a cut would be heard.
    const AFTER: Micros = 500_000;
    /// Whoever begins to talk is heard whatever they say.
    const AT_FIRST: Micros = 1_000_000;

    /// Speech from `at` to `end`.
    pub(super) fn hear_speech(&mut self, at: Micros, end: Micros) {
        self.open(at - Self::BEFORE, end + Self::AFTER);
    }

    /// The microphone begins to send at `at`.
    pub(super) fn hear_beginning(&mut self, at: Micros) {
        self.open(at, at + Self::AT_FIRST);
    }

    pub(super) fn passes(&self, at: Micros) -> bool {
        at < self.earlier_until || (self.from..self.until).contains(&at)
    }

    fn open(&mut self, from: Micros, until: Micros) {
        if from > self.until {
            self.earlier_until = self.until;
            self.from = from;
        }
        self.until = self.until.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tone::{noise, tone};

    const RATE: u32 = 16_000;

    fn at_db(samples: Vec<i16>, level: f64) -> Vec<i16> {
        let gain = 10_f64.powf((level - level_db(&samples)) / 20.0);
        samples.into_iter().map(|sample| (f64::from(sample) * gain).round() as i16).collect()
    }

    /// The share of 20 ms pieces that are taken for speech, after `settling` seconds.
    fn voiced_share(ear: &mut Ear, samples: &[i16], settling: usize) -> f64 {
        let heard: Vec<bool> = samples.chunks(320).map(|piece| ear.hear(piece, RATE)).collect();
        let heard = &heard[settling * 50..];
        heard.iter().filter(|voiced| **voiced).count() as f64 / heard.len() as f64
    }

    #[test]
    fn digital_silence_is_none_of_speech_from_the_start() {
        assert_eq!(voiced_share(&mut Ear::default(), &[0; 64_000], 0), 0.0);
        assert_eq!(voiced_share(&mut Ear::default(), &[1_200; 64_000], 0), 0.0, "an offset is no sound");
    }

    #[test]
    fn a_fan_is_background_after_three_seconds_and_speech_before() {
        for level in [-58.0, -52.0, -46.0] {
            let fan = at_db(noise(RATE, 20.0, 7), level);
            let mut ear = Ear::default();
            assert_eq!(voiced_share(&mut ear, &fan[..2 * 16_000], 0), 1.0, "at {level} dB");
            let share = voiced_share(&mut ear, &fan[2 * 16_000..], 2);
            assert!(share < 0.005, "at {level} dB {share} of it is taken for speech");
        }
    }

    #[test]
    fn soft_speech_is_heard_through_a_fan_and_in_a_silent_room() {
        let fan = at_db(noise(RATE, 10.0, 8), -58.0);
        let mut ear = Ear::default();
        voiced_share(&mut ear, &fan, 4);
        let soft = at_db(tone(RATE, 300.0, 0.1), -46.0);
        let mixed: Vec<i16> = soft.iter().zip(&fan).map(|(a, b)| a + b).collect();
        assert_eq!(voiced_share(&mut ear, &mixed, 0), 1.0);
        assert_eq!(voiced_share(&mut Ear::default(), &at_db(tone(RATE, 300.0, 0.1), -55.0), 0), 1.0);
    }

    #[test]
    fn what_is_loud_is_never_background_however_steady_it_is() {
        let loud = at_db(tone(RATE, 440.0, 60.0), -38.0);
        assert_eq!(voiced_share(&mut Ear::default(), &loud, 0), 1.0);
    }

    #[test]
    fn what_surrounds_speech_is_passed_on() {
        let mut gate = Gate::default();
        gate.hear_beginning(0);
        assert!(gate.passes(0) && gate.passes(999_999) && !gate.passes(1_000_000) && !gate.passes(-1));
        gate.hear_speech(5_000_000, 5_020_000);
        assert!(!gate.passes(4_919_999) && gate.passes(4_920_000), "80 ms before");
        assert!(gate.passes(5_519_999) && !gate.passes(5_520_000), "500 ms after");
        assert!(gate.passes(999_999), "what is still to be played of the stretch before");
        gate.hear_speech(5_600_000, 5_620_000);
        assert!(gate.passes(5_519_999) && gate.passes(5_521_000), "near words are one stretch");
    }
}
