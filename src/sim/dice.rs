//! Chance that repeats itself, for whatever a simulator makes up and for the bad networks of the tests.

/// Repeatable chance (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// True with the given probability.
    pub fn roll(&mut self, probability: f64) -> bool {
        // 53 bits, so that the fraction is exact and below 1.
        ((self.next() >> 11) as f64) / ((1_u64 << 53) as f64) < probability
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[(self.next() % choices.len() as u64) as usize]
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same_dice() {
        let thrown = |seed| Dice::new(seed).bytes::<64>();
        assert_eq!(thrown(42), thrown(42));
        assert_ne!(thrown(42), thrown(43));
    }

    #[test]
    fn a_probability_is_as_often_as_it_says() {
        let mut dice = Dice::new(7);
        let often = |dice: &mut Dice, probability| (0..10_000).filter(|_| dice.roll(probability)).count();
        assert_eq!((often(&mut dice, 0.0), often(&mut dice, 1.0)), (0, 10_000));
        let fifth = often(&mut dice, 0.2);
        assert!((1_900..2_100).contains(&fifth), "{fifth} of 10000 at 20 %");
    }
}
