//! The rows of the fault matrix that are about the broker and take as long as keep-alives and back-offs do.

use std::collections::BTreeSet;
use std::time::Duration;

use doorstep::clock;
use doorstep::model::MqttLink;
use tracing::Level;

use crate::mqtt_faults::{Neighbours, ada, moves_in, numbers_until, tell_numbered};
use crate::support::fake_vendor::FakeVendor;
use crate::support::impair::{self, Line, Mode};
use crate::support::log::Log;
use crate::support::mosquitto::{self, Mosquitto};
use crate::support::mqtt_house::{House, settings};
use crate::support::score::{Figure, tally};

const DOWN: &str = "no connection to the MQTT broker";
const UP: &str = ": connected to the MQTT broker";

#[tokio::test]
async fn row_03_a_broker_that_is_away_for_a_minute_is_tried_twelve_times_and_found_in_five_seconds() {
    let mut broker = Mosquitto::start().await;
    broker.terminate();
    let (log, _guard) = Log::capture(Level::DEBUG);
    let house = House::with(FakeVendor::new(), settings(broker.settings())).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tried = log.count("", DOWN);
    assert!((11..=12).contains(&tried), "{tried} attempts");
    assert_eq!(log.complaints().len(), 1, "{:?}", log.complaints());
    broker.start_again().await;
    let back = clock::now();
    house.connected().await;
    broker.listen("doorstep/fake_1/availability").await.next().await;
    println!("{tried} attempts in 60 s; found after {:?}", back.elapsed());
    assert!(back.elapsed() <= Duration::from_millis(5_500), "took {:?}", back.elapsed());
    assert_eq!((log.complaints().len(), log.count("INFO", UP)), (1, 1), "{}", log.text());
}

/// One and a half keep-alives of 15 s, and 2 s.
#[tokio::test]
async fn row_04_a_half_open_link_is_left_in_time_and_nothing_young_is_lost() {
    const EVENTS: usize = 40;
    let broker = Mosquitto::start().await;
    let line = impair::Tcp::to(broker.port, Line::default(), 4).await;
    let house = House::with(FakeVendor::new(), settings(mosquitto::settings(line.port))).await;
    house.connected().await;
    let (log, _guard) = Log::capture(Level::INFO);
    let mut witness = broker.listen("doorstep/fake_1/motion").await;
    line.mode(Mode::Silent);
    let silent = clock::now();
    let neighbours = Neighbours::of(&house);
    let mut took = Vec::new();
    let mut told = 0;
    while *house.mqtt.link().borrow() == MqttLink::Connected {
        if told < EVENTS {
            tell_numbered(&house, told);
            told += 1;
            took.push(moves_in(&house, &neighbours, 1 + told).await);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let left = silent.elapsed();
    assert_eq!(witness.until_fence().await, [], "the link was not silent");
    line.mode(Mode::Passes);
    house.connected().await;
    let back = silent.elapsed();
    took.sort();
    println!("left after {left:?}, back after {back:?}; published in {:?} at most", took[EVENTS - 1]);
    assert!(left >= Duration::from_secs(15) && back <= Duration::from_millis(24_500), "{left:?}, {back:?}");
    assert!(took[EVENTS - 2] <= Duration::from_millis(100), "published in {took:?}");
    tell_numbered(&house, EVENTS);
    let (heard, _) = numbers_until(&mut witness, EVENTS).await;
    tally(Figure::EventsDelivered, heard.len(), EVENTS);
    assert_eq!(heard, (0..EVENTS).collect::<BTreeSet<_>>());
    assert_eq!((log.complaints().len(), log.count("INFO", UP)), (1, 1), "{}", log.text());
}

#[tokio::test]
async fn row_05_a_wrong_password_is_tried_twice_a_minute_at_most_and_used_once_it_is_right() {
    let broker = Mosquitto::start_for("ada", "other").await;
    let (log, _guard) = Log::capture(Level::INFO);
    let house = House::with(FakeVendor::new(), settings(ada(&broker, "mine"))).await;
    let refused = || broker.log().matches("not authorised").count();
    let mut times = Vec::new();
    while times.len() < 3 {
        if refused() > times.len() {
            times.push(clock::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waits = [times[1] - times[0], times[2] - times[1]];
    println!("tried again after {waits:?}");
    for wait in waits {
        assert!((Duration::from_millis(29_900)..Duration::from_secs(61)).contains(&wait), "{waits:?}");
    }
    assert!(waits[0].abs_diff(waits[1]) > Duration::from_millis(50), "no jitter: {waits:?}");
    broker.change_user("ada", "mine");
    broker.reload();
    let mut link = house.mqtt.link();
    let connected = link.wait_for(|link| *link == MqttLink::Connected);
    tokio::time::timeout(Duration::from_secs(62), connected).await.expect("it goes on once mended").unwrap();
    assert_eq!(refused(), 3);
    assert_eq!((log.complaints().len(), log.count("INFO", UP)), (1, 1), "{}", log.text());
    assert_eq!(log.count("ERROR", "refuses our user name or password"), 1);
}
