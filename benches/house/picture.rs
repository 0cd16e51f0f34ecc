//! From asking for a still picture to the JPEG, while the camera streams anyhow.

use std::path::Path;
use std::time::Duration;

use doorstep::clock;
use doorstep::media::{VideoCodec, still};

use crate::audience::Watcher;
use crate::figures::{Figures, Goal};
use crate::house::House;
use crate::viewer::Manners;

const PICTURES: usize = 10;
const GOAL_MS: f64 = 150.0;
/// Longer than the virtual camera takes from keyframe to keyframe, so that none is decoded already.
const APART: Duration = Duration::from_millis(1_200);

pub(crate) async fn measure(figures: &mut Figures) {
    let house = House::open().await;
    let mut watcher = Watcher::join(&house, Manners::default()).await;
    watcher.first_packet().await;
    let path = format!("/api/doorbells/{}/snapshot.jpg", house.id);
    let mut times = Vec::with_capacity(PICTURES);
    for _ in 0..PICTURES {
        tokio::time::sleep(APART).await;
        let asked = clock::now();
        let reply = house.get(&path).await;
        times.push(asked.elapsed());
        assert_eq!(reply.status, 200);
    }
    watcher.leave().await;
    figures.add_times("picture, 640x360 over HTTP", &mut times, Goal::AtMost(GOAL_MS), Goal::None);

    for (name, file) in
        [("2560x1440", "porch_1440.h264"), ("2560x1920", "large_1920.h264"), ("1440x1440", "square_1440.h265")]
    {
        let codec = if file.ends_with("h265") { VideoCodec::H265 } else { VideoCodec::H264 };
        let vector = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/pictures").join(file);
        let keyframe = std::fs::read(vector).unwrap();
        let decoded = |_| {
            let began = clock::now();
            still::jpeg(codec, &keyframe).unwrap();
            began.elapsed()
        };
        let mut times: Vec<Duration> = (0..PICTURES).map(decoded).collect();
        let name = format!("picture, {name} decoded and encoded");
        figures.add_times(&name, &mut times, Goal::AtMost(GOAL_MS), Goal::None);
    }
}
