//! A doorbell on AWS: its ring, its picture, and a press until it is told to open its door.

use std::time::{Duration, Instant};

use doorstep::clock;

use crate::audience::Watcher;
use crate::doorbell::{self, Before};
use crate::figures::{Figures, Goal};
use crate::house::House;
use crate::viewer::Manners;

const RINGS: usize = 15;
/// Longer than rings of one doorbell are taken for one.
const BETWEEN_RINGS: Duration = Duration::from_millis(1_100);
const PICTURES: usize = 10;
/// The guard lets a door be opened so often within a minute.
const PRESSES: usize = 3;
/// Sooner, the guard takes the same command for a repetition.
const BETWEEN_PRESSES: Duration = Duration::from_millis(3_100);
const MINUTE: Duration = Duration::from_secs(61);
const CALLS: usize = 50;

pub(crate) async fn measure(figures: &mut Figures) {
    let mut house = House::kvs().await;
    let begun = clock::now();
    let mut watcher = Watcher::join(&house, Manners::default()).await;
    watcher.see("a picture", |seen| seen.tally.packets > 0).await;
    let mut times = presses(&mut house).await;
    figures.add_times("KVS: press to the doorbell's door, with a call", &mut times, Goal::AtMost(100.0), Goal::None);
    watcher.leave().await;
    house.is_left_alone().await;

    let mut times = doorbell::pictures(&house, PICTURES).await;
    let name = "KVS: offer to the first picture's first packet, cold";
    figures.add_times(name, &mut times, Goal::AtMost(800.0), Goal::None);
    let mut times = doorbell::rings(&mut house, RINGS, BETWEEN_RINGS).await;
    figures.add_times("KVS: ring published to MQTT", &mut times, Goal::AtMost(20.0), Goal::None);
    tokio::time::sleep_until(begun + MINUTE).await;
    let mut times = Vec::with_capacity(PRESSES);
    for _ in 0..PRESSES {
        times.push(press(&mut house).await);
        house.is_left_alone().await;
    }
    figures.add_times("KVS: press to the doorbell's door, without one", &mut times, Goal::AtMost(1_500.0), Goal::None);
    residue(figures, &mut house).await;
}

async fn presses(house: &mut House) -> Vec<Duration> {
    let mut times = Vec::with_capacity(PRESSES);
    for _ in 0..PRESSES {
        times.push(press(house).await);
    }
    times
}

/// Until the doorbell opens the door; then waits for its answer, which takes as long as the contact is held.
async fn press(house: &mut House) -> Duration {
    let unlock = format!("/api/doorbells/{}/unlock", house.id);
    let pressed: Instant = clock::now().into_std();
    let House { camera, page, .. } = house;
    let (reply, (opened, _)) = tokio::join!(
        crate::http::request(*page, "POST", &unlock, "application/json", "{}"),
        camera.line("door_opened")
    );
    assert_eq!(reply.status, 202, "{reply:?}");
    tokio::time::sleep(BETWEEN_PRESSES).await;
    opened - pressed
}

/// What many calls leave behind in the service.
async fn residue(figures: &mut Figures, house: &mut House) {
    let before = Before::of(house);
    for _ in 0..CALLS {
        let talk = format!("/api/doorbells/{}/talk", house.id);
        assert_eq!(house.post(&talk, r#"{"on":true}"#).await.status, 200);
        house.post(&talk, r#"{"on":false}"#).await;
    }
    house.is_left_alone().await;
    before.after(figures, house, ("KVS", "50 talks")).await;
}
