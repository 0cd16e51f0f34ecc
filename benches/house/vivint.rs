//! A Vivint doorbell: its ring, its picture, and a press until its speaker is open.

use std::time::Duration;

use doorstep::clock;

use crate::doorbell::{self, Before};
use crate::figures::{Figures, Goal, Unit};
use crate::house::House;

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

    let mut times = doorbell::rings(&mut house, RINGS, BETWEEN_RINGS).await;
    figures.add_times("Vivint: ring pushed to MQTT", &mut times, Goal::AtMost(20.0), Goal::None);
    let mut times = doorbell::pictures(&house, PICTURES).await;
    let name = "Vivint: offer to the first picture's first packet, cold";
    figures.add_times(name, &mut times, Goal::AtMost(600.0), Goal::None);
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

/// What many talks leave behind in the service.
async fn residue(figures: &mut Figures, house: &mut House) {
    let before = Before::of(house);
    for _ in 0..CALLS {
        press(house).await;
    }
    before.after(figures, house, ("Vivint", "100 talks")).await;
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
