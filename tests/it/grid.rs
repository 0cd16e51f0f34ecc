//! The grid of bad networks: loss by reordering by corruption, each point with many seeds, in virtual time. The first 100
//! seeds are tried here, and 2 000 by `nightly::grid`.

#![expect(clippy::print_stdout, reason = "the seeds that do not hold are what a failure is read for")]

use std::time::Duration;

use doorstep::sim::tutk_camera::{Protocol, Settings};

use crate::support::gwell_town::Plan;
use crate::support::impair::Line;
use crate::support::score::{Figure, tally};
use crate::{gwell_loss, tutk_loss};

const SECOND: Duration = Duration::from_secs(1);

/// What has to hold under one seed.
pub(crate) type Holds = fn(u64) -> Result<(), String>;

/// The point of the grid that a seed stands on: 4 by 2 by 3 of them.
fn line(seed: u64) -> Line {
    const LOSS: [f64; 4] = [0.0, 0.05, 0.1, 0.2];
    const REORDER: [f64; 2] = [0.0, 0.25];
    const FLIP: [f64; 3] = [0.0, 0.001, 0.01];
    let [loss, reorder, flip] = [seed % 4, seed / 4 % 2, seed / 8 % 3].map(|at| at as usize);
    let reorder = REORDER[reorder];
    let delay = Duration::from_millis(5);
    Line { loss: LOSS[loss], reorder, duplicate: reorder / 2.5, flip: FLIP[flip], ..Line::late(delay) }
}

/// When a session has to stream: what row 19 gives to 99 of 100, and half as much more.
fn limit(line: Line) -> Duration {
    match line.loss {
        ..=0.05 => 9 * SECOND / 2,
        ..=0.1 => 15 * SECOND / 2,
        _ => 18 * SECOND,
    }
}

/// TUTK, old and new by turns: only pictures of the clip come, each once and in order, and the stream goes on.
pub(crate) fn tutk(seed: u64) -> Result<(), String> {
    let (line, protocol) = (line(seed), [Protocol::Old, Protocol::New][(seed / 24 % 2) as usize]);
    let camera = Settings { protocol, ..Settings::generate(seed) };
    let report = tutk_loss::watch(camera, line, seed, 3 * SECOND)?;
    match report.streaming_after <= limit(line) && report.longest_stall <= 2 * SECOND {
        true => Ok(()),
        false => Err(format!("seed {seed}: {report:?}")),
    }
}

/// GWell by each of its ways: everything comes, in order, but for what was spoilt where nobody could tell.
pub(crate) fn gwell(seed: u64) -> Result<(), String> {
    let (line, way) = (line(seed), gwell_loss::WAYS[(seed / 24 % 5) as usize]);
    let report = gwell_loss::watch(&Plan { line, seed, ..gwell_loss::by(way) }, 2 * SECOND)?;
    let whole = match line.flip > 0.0 {
        true => report.corrupt <= report.done.flipped,
        false => report.is_whole(),
    };
    match whole && report.began <= limit(line) && report.video.longest_stall <= 2 * SECOND {
        true => Ok(()),
        false => Err(format!("seed {seed}, {way:?}: {report:?}")),
    }
}

/// How many of these seeds hold. Tells of those that do not.
pub(crate) fn held(holds: Holds, seeds: std::ops::Range<u64>) -> usize {
    let failures: Vec<String> = seeds.clone().filter_map(|seed| holds(seed).err()).collect();
    failures.iter().for_each(|why| println!("{why}"));
    seeds.count() - failures.len()
}

#[test]
fn tutk_holds_under_a_hundred_seeds() {
    let held = held(tutk, 0..100);
    tally(Figure::SeedsHeld, held, 100);
    assert_eq!(held, 100);
}

#[test]
fn gwell_holds_under_a_hundred_seeds() {
    let held = held(gwell, 0..100);
    tally(Figure::SeedsHeld, held, 100);
    assert_eq!(held, 100);
}
