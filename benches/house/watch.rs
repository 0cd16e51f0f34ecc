//! What watching costs, how long a picture is waited for, and what is left when nobody watches.

use std::time::Duration;

use doorstep::clock;

use crate::audience::{Audience, Watcher};
use crate::figures::{Figures, Goal, Unit};
use crate::house::House;
use crate::viewer::{Manners, Transport};

const SETTLING: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(20);
/// So many that the 99th percentile is not the slowest.
const JOINS: usize = 110;
/// Between joins; no multiple of a picture's time, so that they meet the camera at any point.
const BETWEEN_JOINS: Duration = Duration::from_millis(233);
/// A lost packet is asked for again within this.
const REPAIR: Duration = Duration::from_secs(1);
/// How long a hundred viewers get all that there is.
const HELD: Duration = Duration::from_secs(60);
/// How long vanished viewers may leave something behind.
const GONE_AFTER: Duration = Duration::from_secs(12);

pub(crate) async fn measure(figures: &mut Figures) {
    let house = House::open().await;
    tokio::time::sleep(SETTLING).await;
    let idle = house.service.resident_mib();
    figures.add("memory, nobody watches", idle, Unit::MiB, Goal::AtMost(40.0));

    let mut audience = Audience::default();
    audience.grow(&house, 1, Transport::Udp).await;
    let alone = measure_processor(figures, &house, "1 viewer", 10.0).await;
    let one = house.service.resident_mib();
    audience.grow(&house, 10, Transport::Udp).await;
    measure_joins(figures, &house, "10 viewers").await;

    audience.grow(&house, 100, Transport::Udp).await;
    let complete = clock::now();
    let together = measure_processor(figures, &house, "100 viewers", 20.0).await;
    let each = (together - alone) / 99.0;
    figures.add("processor of each further viewer", each, Unit::Percent, Goal::AtMost(1.0));
    let hundred = house.service.resident_mib();
    figures.add("memory, 100 viewers", hundred, Unit::MiB, Goal::None);
    figures.add("memory of each further viewer", (hundred - one) / 99.0, Unit::MiB, Goal::AtMost(0.5));
    measure_joins(figures, &house, "100 viewers").await;
    tokio::time::sleep_until(complete + HELD).await;
    measure_loss(figures, &audience).await;

    audience.leave().await;
    tokio::time::sleep(GONE_AFTER).await;
    figures.add("memory, after the 100 have left", house.service.resident_mib(), Unit::MiB, Goal::None);

    let mut others = Audience::default();
    others.grow(&house, 100, Transport::Udp).await;
    tokio::time::sleep(SETTLING).await;
    figures.add("memory, 100 others", house.service.resident_mib(), Unit::MiB, Goal::None);
    others.leave().await;
}

async fn measure_processor(figures: &mut Figures, house: &House, whom: &str, goal: f64) -> f64 {
    tokio::time::sleep(SETTLING).await;
    let sent_before = house.metric("bytes_sent_total").await;
    let percent = house.service.processor_over(MEASURED).await;
    let sent = house.metric("bytes_sent_total").await - sent_before;
    figures.add(&format!("processor, camera of 2 Mbit/s, {whom}"), percent, Unit::Percent, Goal::AtMost(goal));
    // Shows that the load was what it is called.
    let mbit = sent * 8.0 / 1e6 / MEASURED.as_secs_f64();
    figures.add(&format!("sent meanwhile, {whom}"), mbit, Unit::MbitPerSecond, Goal::None);
    percent
}

/// Newcomers, one at a time, beside those who watch already.
async fn measure_joins(figures: &mut Figures, house: &House, beside: &str) {
    let (mut times, mut pictures) = (Vec::with_capacity(JOINS), Vec::with_capacity(JOINS));
    for _ in 0..JOINS {
        let mut newcomer = Watcher::join(house, Manners::default()).await;
        times.push(newcomer.first_packet().await);
        let seen = newcomer.see("a whole picture", |seen| seen.first_picture.is_some()).await;
        pictures.push(seen.first_picture.unwrap());
        newcomer.leave().await;
        tokio::time::sleep(BETWEEN_JOINS).await;
    }
    let name = format!("first packet after the offer, beside {beside}");
    figures.add_times(&name, &mut times, Goal::None, Goal::AtMost(50.0));
    let name = format!("first picture after the offer, beside {beside}");
    figures.add_times(&name, &mut pictures, Goal::AtMost(600.0), Goal::None);
    figures.add_p99(&name, &mut pictures, Goal::AtMost(2_000.0));
}

async fn measure_loss(figures: &mut Figures, audience: &Audience) {
    let (packets, ..) = audience.tally();
    tokio::time::sleep(REPAIR).await;
    let (_, late, missing) = audience.tally();
    let share = |count: u64| count as f64 * 100.0 / packets as f64;
    figures.add("video packets sent again to 100 viewers", share(late), Unit::Percent, Goal::None);
    figures.add("video packets lost by 100 viewers", share(missing), Unit::Percent, Goal::None);
    let served = audience.served() as f64;
    figures.add("viewers with 99.9 % of the packets over a minute", served, Unit::Count, Goal::AtLeast(100.0));
}

/// 50 viewers, ten of them over TCP, go without a word.
pub(crate) async fn measure_residue(figures: &mut Figures) {
    let house = House::open().await;
    let mut audience = Audience::default();
    audience.grow(&house, 40, Transport::Udp).await;
    audience.grow(&house, 50, Transport::Tcp).await;
    audience.vanish();
    tokio::time::sleep(GONE_AFTER).await;
    for gauge in ["viewers", "viewer_sources", "tcp_connections", "streams"] {
        let left = house.metric(gauge).await;
        let name = format!("left 12 s after 50 viewers vanished: {gauge}");
        figures.add(&name, left, Unit::Count, Goal::AtMost(0.0));
    }
}
