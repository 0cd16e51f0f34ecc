//! From the first microphone packet to the first sound at the camera.

use crate::audience::Watcher;
use crate::figures::{Figures, Goal};
use crate::house::House;
use crate::viewer::Manners;

/// The slowest of them stands for the 99th percentile.
const TALKS: usize = 50;
/// 500 ms of it are the protocol's own: the camera may repeat its login that long.
const GOAL_MS: f64 = 700.0;

/// While somebody watches, so that the camera streams already.
pub(crate) async fn measure(figures: &mut Figures) {
    let mut house = House::open().await;
    let mut watcher = Watcher::join(&house, Manners::default()).await;
    watcher.first_packet().await;
    let mut times = Vec::with_capacity(TALKS);
    for _ in 0..TALKS {
        let mut talker = Watcher::join(&house, Manners { speaks: true, ..Manners::default() }).await;
        let seen = talker.see("its own first word", |seen| seen.first_spoken.is_some()).await;
        let (heard, _) = house.camera.line("talk_first_frame").await;
        times.push(heard - (talker.posted + seen.first_spoken.unwrap()));
        talker.leave().await;
        house.camera.line("talk_ended").await;
    }
    watcher.leave().await;
    figures.add_times("talk, microphone to speaker", &mut times, Goal::AtMost(GOAL_MS), Goal::None);
    figures.add_p99("talk, microphone to speaker", &mut times, Goal::None);
}
