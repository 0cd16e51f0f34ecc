//! From a file that is to be said to the first sound at the camera.

use std::time::Duration;

use doorstep::clock;
use serde_json::Value;

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
        let said = request(house.page, "POST", &path, "audio/wav", &file);
        let (said, (heard, _)) = tokio::join!(said, house.camera.line("talk_first_frame"));
        assert_eq!(said.status, 200, "{said:?}");
        from_the_file.push(heard - asked);
        from_the_open_speaker.push((heard - asked).saturating_sub(until_open(&said.json())));
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

/// What the service says of the time until the speaker was open: its files are read, its camera has agreed.
fn until_open(said: &Value) -> Duration {
    let parts = ["waited_ms", "prepared_ms", "opened_ms"];
    parts.iter().map(|part| Duration::from_millis(said[part].as_u64().unwrap())).sum()
}
