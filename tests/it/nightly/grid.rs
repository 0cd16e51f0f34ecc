//! The whole grid of bad networks (`crate::grid`).

use crate::grid::{gwell, held, tutk};
use crate::support::score::{Figure, tally};

/// Behind those of the default profile.
const SEEDS: std::ops::Range<u64> = 100..2_000;

#[test]
fn tutk_holds_under_two_thousand_seeds() {
    let held = held(tutk, SEEDS);
    tally(Figure::SeedsHeld, held, 1_900);
    assert_eq!(held, 1_900);
}

#[test]
fn gwell_holds_under_two_thousand_seeds() {
    let held = held(gwell, SEEDS);
    tally(Figure::SeedsHeld, held, 1_900);
    assert_eq!(held, 1_900);
}
