//! Listening to what a virtual speaker is given: which tone, and how loud.

use std::fmt;
use std::sync::Arc;

/// One stretch of sound as it was heard: one channel.
#[derive(Clone, PartialEq)]
pub struct Samples {
    pub rate_hz: u32,
    pub samples: Arc<[i16]>,
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples at {} Hz", self.samples.len(), self.rate_hz)
    }
}

/// What one stretch of sound holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heard {
    /// The pitch, when most of the sound is one steady tone.
    pub tone_hz: Option<f64>,
    /// Root mean square relative to full scale, in dB; −100 for silence.
    pub level_db: f64,
}

/// The shortest measurable tone has this many periods.
const MIN_PERIODS: usize = 8;
/// Sound below this peak is silence.
const QUIET_PEAK: f64 = 100.0;
/// How far a period may be from the median, and how many of them must not be further.
const STEADY_WITHIN: f64 = 0.06;
const STEADY_SHARE: f64 = 0.6;

/// Measures signed 16-bit samples of one channel.
///
/// The pitch comes from the median distance of upward zero crossings, each placed between its two
/// samples; a crossing counts only after the sound fell below a quarter of its peak, so that noise
/// around zero and pauses between beeps do not.
pub fn listen(samples: &[i16], rate_hz: u32) -> Heard {
    let peak = samples.iter().map(|&s| f64::from(s).abs()).fold(0.0, f64::max);
    let power = samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len().max(1) as f64;
    let level_db = (10.0 * (power / f64::from(i16::MAX).powi(2)).log10()).max(-100.0);
    let tone_hz = if peak < QUIET_PEAK { None } else { pitch(&upward_crossings(samples, peak / 4.0), rate_hz) };
    Heard { tone_hz, level_db }
}

/// Where the sound rises through zero, in samples.
fn upward_crossings(samples: &[i16], threshold: f64) -> Vec<f64> {
    let mut crossings = Vec::new();
    let mut armed = false;
    for (n, pair) in samples.windows(2).enumerate() {
        let (before, after) = (f64::from(pair[0]), f64::from(pair[1]));
        armed |= before < -threshold;
        if armed && before < 0.0 && after >= 0.0 {
            crossings.push(n as f64 + before / (before - after));
            armed = false;
        }
    }
    crossings
}

fn pitch(crossings: &[f64], rate_hz: u32) -> Option<f64> {
    let mut periods: Vec<f64> = crossings.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if periods.len() < MIN_PERIODS {
        return None;
    }
    periods.sort_by(f64::total_cmp);
    let median = periods[periods.len() / 2];
    let steady: Vec<f64> = periods.iter().copied().filter(|p| (p / median - 1.0).abs() < STEADY_WITHIN).collect();
    if (steady.len() as f64) < STEADY_SHARE * periods.len() as f64 {
        return None;
    }
    // The mean of the steady periods is finer than the sample grid that the median sits on.
    let mean = steady.iter().sum::<f64>() / steady.len() as f64;
    Some(f64::from(rate_hz) / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, amplitude: f64, rate_hz: u32) -> Vec<i16> {
        let step = std::f64::consts::TAU * hz / f64::from(rate_hz);
        (0..rate_hz).map(|n| (amplitude * (step * f64::from(n)).sin()) as i16).collect()
    }

    #[test]
    fn names_the_pitch_within_one_percent() {
        for rate_hz in [8_000, 16_000, 48_000] {
            for hz in [200.0, 440.0, 1_000.0, 2_000.0] {
                let heard = listen(&tone(hz, 8_000.0, rate_hz), rate_hz).tone_hz.expect("a tone");
                assert!((heard / hz - 1.0).abs() < 0.01, "{hz} Hz at {rate_hz} was heard as {heard}");
            }
        }
    }

    #[test]
    fn short_beeps_between_silence_have_their_own_pitch() {
        let mut samples = tone(440.0, 9_000.0, 8_000);
        samples[1_600..].fill(0);
        let heard = listen(&samples.repeat(3), 8_000).tone_hz.expect("a tone");
        assert!((heard - 440.0).abs() < 4.0, "heard {heard}");
    }

    #[test]
    fn silence_and_noise_have_no_pitch() {
        assert_eq!(listen(&[], 8_000), Heard { tone_hz: None, level_db: -100.0 });
        assert_eq!(listen(&[0; 8_000], 8_000), Heard { tone_hz: None, level_db: -100.0 });
        let mut seed = 1_u32;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 18) as i16 - 8_192
        });
        assert_eq!(listen(&noise.take(8_000).collect::<Vec<_>>(), 8_000).tone_hz, None);
    }

    #[test]
    fn the_level_is_relative_to_full_scale() {
        let heard = listen(&tone(500.0, 3_276.7, 8_000), 8_000);
        assert!((heard.level_db + 23.0).abs() < 0.1, "a tenth of full scale was {} dB", heard.level_db);
    }
}
