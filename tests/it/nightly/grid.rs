//! The whole grid of bad networks (`crate::grid`).

use crate::grid::{Holds, gwell, held, tutk};
use crate::support::score::{Figure, tally};

/// Behind those of the default profile.
const SEEDS: std::ops::Range<u64> = 100..2_000;

/// Of a hundred. Where as much as a fifth is lost, now and then a call over a relay takes longer than row 19 has it, or no
/// server is heard in time, and the doorbell calls again; the scoreboard tells how many held.
const HELD: usize = 98;

#[track_caller]
fn holds(session: Holds) {
    let (held, of) = (held(session, SEEDS), SEEDS.count());
    tally(Figure::SeedsHeld, held, of);
    assert!(held * 100 >= of * HELD, "{held} of {of}");
}

#[test]
fn tutk_holds_under_two_thousand_seeds() {
    holds(tutk);
}

#[test]
fn gwell_holds_under_two_thousand_seeds() {
    holds(gwell);
}
