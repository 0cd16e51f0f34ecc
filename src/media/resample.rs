//! Sound at another rate: a polyphase low-pass over the exact ratio of two rates, so that nothing drifts.

/// One channel from one rate to another. Delays by half its filter, 24 samples of the lower rate.
///
/// Flat to 0.41 of the lower rate (3.3 kHz of 8), 60 dB down from its half on: both are measured below.
/// Own code in place of a crate: a stream may be pushed in pieces of any size, which chunked resamplers
/// do not take.
pub(super) struct Resampler {
    /// One filter for each position of an output sample between two input samples, newest input last; of more than
    /// [`Self::MOST_FILTERS`] positions, some neighbours share one.
    filters: Vec<Vec<f32>>,
    /// Input samples that are still needed, oldest first.
    input: Vec<f32>,
    /// Parts of an input sample in which positions are counted.
    up: usize,
    /// In `1/up` of an input sample: the position of the next output within `input`.
    position: usize,
    step: usize,
}

impl Resampler {
    /// At the lower rate; the filter is that much longer at a higher input rate.
    const TAPS: usize = 48;
    /// The middle of the transition from pass to stop, as a part of the lower rate.
    const CUT: f64 = 0.456;
    /// Enough for the exact ratio of all usual rates. For 44 101 Hz there would be 48 000; to take the nearest of these
    /// instead puts an error of some -60 dB on the highest tones.
    const MOST_FILTERS: usize = 1_024;
    /// Kaiser window for 70 dB.
    const BETA: f64 = 6.76;

    /// By how many samples of the output what comes out is later than what went in: half the filter.
    pub(super) fn delay(from_hz: u32, to_hz: u32) -> usize {
        let half = Self::TAPS as u64 / 2;
        (half * u64::from(to_hz)).div_ceil(u64::from(from_hz.min(to_hz))) as usize
    }

    /// Both rates must be at least 1.
    pub(super) fn new(from_hz: u32, to_hz: u32) -> Self {
        let divisor = gcd(from_hz, to_hz);
        let (up, down) = ((to_hz / divisor) as usize, (from_hz / divisor) as usize);
        let lower_hz = from_hz.min(to_hz);
        let taps = (Self::TAPS as u64 * u64::from(from_hz)).div_ceil(u64::from(lower_hz)) as usize;
        let cut = Self::CUT * f64::from(lower_hz) / f64::from(from_hz);
        let count = up.min(Self::MOST_FILTERS);
        let filters = (0..count).map(|phase| filter(taps, cut, phase as f64 / count as f64)).collect();
        Self { filters, input: vec![0.0; taps - 1], up, position: (taps - 1) * up, step: down }
    }

    /// Appends to `output` what can be told from `input` and what came before.
    pub(super) fn push(&mut self, input: impl Iterator<Item = i16>, output: &mut Vec<i16>) {
        self.input.extend(input.map(f32::from));
        let up = self.up;
        let taps = self.filters.first().map_or(0, Vec::len);
        loop {
            let (newest, phase) = (self.position / up, self.position % up);
            let Some(heard) = self.input.get(newest + 1 - taps..=newest) else { break };
            let sum: f32 = heard
                .iter()
                .zip(&self.filters[phase * self.filters.len() / up])
                .map(|(sample, weight)| sample * weight)
                .sum();
            // A float becomes the nearest integer of the range, never another.
            output.push(sum.round() as i16);
            self.position += self.step;
        }
        let done = (self.position / up + 1 - taps).min(self.input.len());
        self.input.drain(..done);
        self.position -= done * up;
    }
}

/// A windowed sinc whose middle lies `ahead` of an input sample after the middle of its `taps`. Sums to 1.
fn filter(taps: usize, cut: f64, ahead: f64) -> Vec<f32> {
    let half = taps as f64 / 2.0;
    // Newest last, so the distance from the middle falls.
    let distance = |n: usize| (taps - 1 - n) as f64 + ahead - half;
    let weights: Vec<f64> = (0..taps).map(|n| sinc(2.0 * cut * distance(n)) * kaiser(distance(n) / half)).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / sum) as f32).collect()
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

fn kaiser(x: f64) -> f64 {
    bessel_i0(Resampler::BETA * (1.0 - x * x).max(0.0).sqrt()) / bessel_i0(Resampler::BETA)
}

/// The modified Bessel function of order 0, by its series; 30 terms are exact to an f64 for x below 10.
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    (1..30).fold(1.0, |sum, n| {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum + term
    })
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tone::{level_db, tone};

    fn resampled(from_hz: u32, to_hz: u32, input: &[i16]) -> Vec<i16> {
        let mut resampler = Resampler::new(from_hz, to_hz);
        let mut output = Vec::new();
        // In uneven pieces, as frames come.
        for piece in input.chunks(97) {
            resampler.push(piece.iter().copied(), &mut output);
        }
        output
    }

    #[test]
    fn a_tone_keeps_its_pitch_and_level() {
        for (from_hz, to_hz) in [(8_000, 16_000), (16_000, 8_000), (44_100, 48_000), (22_050, 48_000), (48_000, 8_000)]
        {
            for tone_hz in [300.0, 1_000.0, 3_300.0] {
                let output = resampled(from_hz, to_hz, &tone(from_hz, tone_hz, 1.0));
                let change = level_db(&output, to_hz, tone_hz) - level_db(&tone(to_hz, tone_hz, 1.0), to_hz, tone_hz);
                assert!(change.abs() < 0.5, "{from_hz} → {to_hz}: {tone_hz} Hz changed by {change} dB");
            }
        }
    }

    #[test]
    fn a_rate_that_nobody_uses_takes_no_more_memory_and_sounds_the_same() {
        for (from_hz, to_hz) in [(44_101, 48_000), (191_999, 16_000), (4_001, 48_000)] {
            let weights: usize = Resampler::new(from_hz, to_hz).filters.iter().map(Vec::len).sum();
            assert!(weights <= Resampler::MOST_FILTERS * 600, "{from_hz} → {to_hz}: {weights}");
            let output = resampled(from_hz, to_hz, &tone(from_hz, 1_000.0, 1.0));
            let change = level_db(&output, to_hz, 1_000.0) - level_db(&tone(to_hz, 1_000.0, 1.0), to_hz, 1_000.0);
            assert!(change.abs() < 0.5, "{from_hz} → {to_hz}: changed by {change} dB");
        }
    }

    #[test]
    fn halving_folds_nothing_down_and_doubling_folds_nothing_up() {
        for (from_hz, to_hz, tone_hz, ghost_hz) in [
            (16_000, 8_000, 4_100.0, 3_900.0),
            (16_000, 8_000, 5_000.0, 3_000.0),
            (16_000, 8_000, 7_000.0, 1_000.0),
            (48_000, 8_000, 7_000.0, 1_000.0),
            (8_000, 16_000, 3_000.0, 5_000.0),
            (8_000, 48_000, 1_000.0, 7_000.0),
        ] {
            let input = tone(from_hz, tone_hz, 1.0);
            let output = resampled(from_hz, to_hz, &input);
            let ghost = level_db(&output, to_hz, ghost_hz) - level_db(&input, from_hz, tone_hz);
            assert!(ghost < -60.0, "{from_hz} → {to_hz}: {tone_hz} Hz is heard at {ghost_hz} Hz with {ghost} dB");
        }
    }

    #[test]
    fn as_much_time_comes_out_as_went_in() {
        for (from_hz, to_hz) in [(8_000, 16_000), (16_000, 8_000), (44_100, 48_000), (11_025, 48_000), (44_101, 48_000)]
        {
            let mut resampler = Resampler::new(from_hz, to_hz);
            let (mut pushed, mut output) = (0_u64, Vec::new());
            let mut came = 0_u64;
            for piece in [1, 1_024, 7, 160, 333].into_iter().cycle().take(200) {
                resampler.push(std::iter::repeat_n(0, piece), &mut output);
                pushed += piece as u64;
                came += output.len() as u64;
                output.clear();
                let expected = (pushed * u64::from(to_hz)).div_ceil(u64::from(from_hz));
                assert_eq!(came, expected, "{from_hz} → {to_hz} after {pushed} samples");
                assert!(resampler.input.len() < 600, "{} samples are kept", resampler.input.len());
            }
        }
    }

    #[test]
    fn what_is_louder_than_loud_is_cut_not_wrapped() {
        let square: Vec<i16> = (0..800).map(|n| if n / 8 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let output = resampled(8_000, 16_000, &square);
        for (n, pair) in output[100..].windows(2).enumerate() {
            let jump = (i32::from(pair[0]) - i32::from(pair[1])).abs();
            assert!(jump < 50_000, "it wrapped around at {n}: {pair:?}");
        }
    }
}
