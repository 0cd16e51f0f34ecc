//! How loud a talk is.

/// Of what was taken for speech: silence between words would make everybody seem quiet.
#[derive(Default)]
pub(super) struct Levels {
    power: f64,
    samples: u64,
    peak: u16,
    clipped: u64,
}

impl Levels {
    /// The loudest code of µ-law is 32 124, that of A-law 32 256.
    const FULL: u16 = 32_000;

    pub(super) fn hear(&mut self, samples: &[i16]) {
        for &sample in samples {
            self.power += f64::from(sample).powi(2);
            self.peak = self.peak.max(sample.unsigned_abs());
            self.clipped += u64::from(sample.unsigned_abs() >= Self::FULL);
        }
        self.samples += samples.len() as u64;
    }

    /// Root mean square in whole dB of full scale; −100 without sound.
    pub(super) fn rms_db(&self) -> i32 {
        db((self.power / self.samples.max(1) as f64).sqrt())
    }

    pub(super) fn peak_db(&self) -> i32 {
        db(f64::from(self.peak))
    }

    /// Samples at the edge of what a codec can say.
    pub(super) fn clipped_percent(&self) -> u8 {
        percent(self.clipped, self.samples)
    }
}

fn db(amplitude: f64) -> i32 {
    (20.0 * (amplitude / 32_768.0).log10()).max(-100.0).round() as i32
}

/// Rounded up: a little is not nothing.
pub(super) fn percent(part: u64, whole: u64) -> u8 {
    u8::try_from((part * 100).div_ceil(whole.max(1))).unwrap_or(100).min(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tone::tone;

    #[test]
    fn a_tone_has_its_level_and_its_peak() {
        let mut levels = Levels::default();
        assert_eq!((levels.rms_db(), levels.peak_db(), levels.clipped_percent()), (-100, -100, 0));
        levels.hear(&tone(8_000, 1_000.0, 1.0));
        assert_eq!((levels.rms_db(), levels.peak_db(), levels.clipped_percent()), (-15, -12, 0));
    }

    #[test]
    fn what_is_cut_off_is_counted() {
        let mut levels = Levels::default();
        levels.hear(&[i16::MIN, i16::MAX, 32_124, -32_256]);
        levels.hear(&[0; 12]);
        assert_eq!((levels.peak_db(), levels.clipped_percent()), (0, 25));
    }
}
