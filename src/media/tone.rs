//! Tones for tests, and how loud one is in a mixture.

use std::f64::consts::TAU;

/// A sine at a quarter of full scale.
pub(super) fn tone(rate_hz: u32, tone_hz: f64, seconds: f64) -> Vec<i16> {
    let step = TAU * tone_hz / f64::from(rate_hz);
    let samples = (seconds * f64::from(rate_hz)) as u32;
    (0..samples).map(|n| ((step * f64::from(n)).sin() * 8_192.0).round() as i16).collect()
}

/// The level of one frequency in dB of full scale, over the last half of `samples` (codecs need to settle).
pub(super) fn level_db(samples: &[i16], rate_hz: u32, tone_hz: f64) -> f64 {
    let samples = &samples[samples.len() / 2..];
    let step = TAU * tone_hz / f64::from(rate_hz);
    let (mut real, mut imaginary, mut weights) = (0.0, 0.0, 0.0);
    for (n, &sample) in samples.iter().enumerate() {
        let n = n as f64;
        // Hann: a strong neighbour shall not leak into the measurement.
        let weight = 1.0 - (TAU * n / samples.len() as f64).cos();
        real += weight * f64::from(sample) * (step * n).cos();
        imaginary += weight * f64::from(sample) * (step * n).sin();
        weights += weight;
    }
    20.0 * (f64::hypot(real, imaginary) * 2.0 / weights / 32_768.0).max(1e-9).log10()
}

/// White noise at a quarter of full scale, from a seed.
pub(super) fn noise(rate_hz: u32, seconds: f64, seed: u32) -> Vec<i16> {
    let mut state = seed;
    let samples = (seconds * f64::from(rate_hz)) as usize;
    let random = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 18) as i16 - 8_192
    });
    random.take(samples).collect()
}
