//! From a file that is to be said to the first sound at the camera.

use std::time::Duration;

use doorstep::clock;

use crate::audience::Watcher;
use crate::figures::{Figures, Goal};
use crate::house::House;
use crate::http::request;
use crate::text_wav::text_wav;
use crate::viewer::Manners;

const SAYINGS: usize = 7;
/// Once the speaker is open.
const GOAL_MS: f64 = 300.0;

/// While somebody watches, so that the camera streams already.
pub(crate) async fn measure(figures: &mut Figures) {
    let mut house = House::open().await;
    let mut watcher = Watcher::join(&house, Manners::default()).await;
    watcher.first_packet().await;
    let (file, path) = (text_wav(), format!("/api/doorbells/{}/say", house.id));
    let (mut from_the_file, mut from_the_open_speaker) = (Vec::new(), Vec::new());
    for _ in 0..SAYINGS {
        let asked = clock::now().into_std();
        let taken = request(house.page, "POST", &format!("{path}?wait=false"), "audio/wav", &file).await;
        assert_eq!(taken.status, 202, "{taken:?}");
        let (open, _) = house.camera.line("talk_started").await;
        let (heard, _) = house.camera.line("talk_first_frame").await;
        from_the_file.push(heard - asked);
        from_the_open_speaker.push(heard - open);
        tokio::time::sleep(Duration::from_millis(200)).await;
        request(house.page, "DELETE", &path, "text/plain", "").await;
        house.camera.line("talk_ended").await;
    }
    watcher.leave().await;
    figures.add_times(
        "say, open speaker to first sound",
        &mut from_the_open_speaker,
        Goal::AtMost(GOAL_MS),
        Goal::None,
    );
    figures.add_times("say, file to first sound", &mut from_the_file, Goal::None, Goal::None);
}
