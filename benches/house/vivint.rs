//! A Vivint doorbell: its ring, its picture, and a press until its speaker is open.

use std::time::Duration;

use doorstep::clock;

use crate::audience::Watcher;
use crate::figures::{Figures, Goal, Unit};
use crate::house::House;
use crate::viewer::Manners;

const RINGS: usize = 30;
/// Longer than rings of one doorbell are taken for one.
const BETWEEN_RINGS: Duration = Duration::from_millis(120);
const PRESSES: usize = 20;
const PICTURES: usize = 10;
const CALLS: usize = 100;

pub(crate) async fn measure(figures: &mut Figures) {
    let mut house = House::vivint().await;
    // Nothing is ready yet: no token of the database's, no connection to it.
    let cold = press(&mut house).await;
    figures.add(
        "Vivint: press to TwoWayTalkStartResponse, cold",
        millis(cold),
        Unit::Milliseconds,
        Goal::AtMost(1_500.0),
    );
    house.is_left_alone().await;

    let mut times = Vec::with_capacity(PRESSES);
    for _ in 0..PRESSES {
        times.push(press(&mut house).await);
    }
    figures.add_times("Vivint: press to TwoWayTalkStartResponse", &mut times, Goal::AtMost(300.0), Goal::None);

    rings(figures, &mut house).await;
    pictures(figures, &mut house).await;
    residue(figures, &mut house).await;
}

/// Until the speaker is open; then lets go, and waits until the doorbell knows.
async fn press(house: &mut House) -> Duration {
    let talk = format!("/api/doorbells/{}/talk", house.id);
    let pressed = clock::now();
    let reply = house.post(&talk, r#"{"on":true}"#).await;
    let took = pressed.elapsed();
    assert_eq!(reply.status, 200, "{reply:?}");
    house.camera.line("talk_started").await;
    house.post(&talk, r#"{"on":false}"#).await;
    house.camera.line("talk_ended").await;
    took
}

async fn rings(figures: &mut Figures, house: &mut House) {
    let mut witness = house.broker.listen("doorstep/+/ring").await;
    let mut times = Vec::with_capacity(RINGS);
    for _ in 0..RINGS {
        let pressed = clock::now();
        house.camera.type_line("ring").await;
        witness.next().await;
        times.push(pressed.elapsed());
        tokio::time::sleep(BETWEEN_RINGS).await;
    }
    figures.add_times("Vivint: ring pushed to MQTT", &mut times, Goal::AtMost(20.0), Goal::None);
}

/// Each from a camera that nobody watches.
async fn pictures(figures: &mut Figures, house: &mut House) {
    let mut times = Vec::with_capacity(PICTURES);
    for _ in 0..PICTURES {
        let mut watcher = Watcher::join(house, Manners::default()).await;
        watcher.see("a picture", |seen| seen.tally.packets > 0).await;
        times.push(watcher.posted.elapsed());
        watcher.leave().await;
        house.is_left_alone().await;
    }
    figures.add_times(
        "Vivint: offer to the first picture's first packet, cold",
        &mut times,
        Goal::AtMost(600.0),
        Goal::None,
    );
}

/// What many talks leave behind in the service.
async fn residue(figures: &mut Figures, house: &mut House) {
    // What has come from being used at all is not counted.
    let (files, memory) = (house.service.open_files(), house.service.resident_mib());
    for _ in 0..CALLS {
        press(house).await;
    }
    let settled = async {
        while house.service.open_files() > files {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let _left_over = tokio::time::timeout(Duration::from_secs(15), settled).await;
    let left = house.service.open_files().saturating_sub(files);
    figures.add("Vivint: files left open by 100 talks", left as f64, Unit::Count, Goal::AtMost(0.0));
    let grown = house.service.resident_mib() - memory;
    figures.add("Vivint: memory grown by 100 talks", grown, Unit::MiB, Goal::None);
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
