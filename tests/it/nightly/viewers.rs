//! Rows 29 to 31 of the fault matrix at full length, and a hostile viewer with time. The quick forms are in
//! `viewer_faults` and `hostile_whep`.

use std::time::{Duration, Instant};

use doorstep::clock;

use crate::hostile_whep::comes_and_leaves;
use crate::support::browser::Browser;
use crate::support::impair::{Line, Mode};
use crate::support::viewer::{Manners, Tally, Transport};
use crate::viewer_faults::{audience, delivered, house, released, session_began, session_ended};
use crate::viewers::{House, Joined};

/// A browser that is killed says nothing to anybody: its viewer is missed by its consent (RFC 7675), then the camera is
/// let go.
#[tokio::test]
async fn row_29_a_browser_that_is_killed_frees_its_viewer_and_the_camera() {
    let (camera, service) = house().await;
    let (id, before) = (camera.id(), camera.count(session_ended));
    let browser = Browser::launch().await;
    let page = browser.open(&format!("http://{}/", service.page.address)).await;
    page.until("document.querySelector('.card video')?.currentTime > 0.5").await;
    service.page.until(&id, "a viewer", |doorbell| doorbell["viewers"] == 1).await;
    let killed = clock::now();
    drop((page, browser));
    let gone = async {
        while service.page.doorbell(&id).await["viewers"] != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the viewer is kept");
    let freed = killed.elapsed();
    let released = released(&camera, before).await;
    println!("the viewer was gone {freed:?} after the kill, the camera released {released:?} after that");
    assert!(freed > Duration::from_secs(1), "the browser said good-bye, which tests nothing");
    assert!(freed <= Duration::from_secs(35), "{freed:?}");
    assert!(released <= Duration::from_secs(10), "{released:?}");
    service.running.stop().await;
}

#[tokio::test]
async fn row_29_a_viewer_without_a_network_frees_its_place_and_the_camera() {
    let (camera, service) = house().await;
    let (id, before) = (camera.id(), camera.count(session_ended));
    let mut viewer = service.page.watch(&id, Manners::default()).await;
    viewer.sees("the picture", |seen| seen.pictures().len() > 3).await;
    let lost = clock::now();
    viewer.vanish();
    let gone = async {
        while service.page.doorbell(&id).await["viewers"] != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the viewer is kept");
    let freed = lost.elapsed();
    let released = released(&camera, before).await;
    println!("the viewer was gone after {freed:?}, the camera released {released:?} after that");
    assert!(freed <= Duration::from_secs(35) && released <= Duration::from_secs(10), "{freed:?}, {released:?}");
    service.running.stop().await;
}

/// Processor time of this process so far, and its memory in MiB.
fn spent() -> (Duration, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<i64> =
        stat.rsplit(") ").next().unwrap().split(' ').filter_map(|field| field.parse().ok()).collect();
    // `utime` and `stime` are the 14th and 15th field of all, in hundredths of a second; `rss` is the 24th, in pages.
    // The state, which is no number, stands before them.
    (
        Duration::from_millis(10 * (fields[10] + fields[11]).unsigned_abs()),
        fields[20] as f64 * 4_096.0 / f64::from(1 << 20),
    )
}

/// The viewers are in this process too, so what is printed is an upper bound; `cargo bench --bench house` has the
/// figures of the service alone.
#[tokio::test]
async fn row_30_a_hundred_viewers_get_every_packet_for_a_minute() {
    let (camera, service) = house().await;
    let (id, before) = (camera.id(), camera.count(session_began));
    let all = audience(&service.page, &id, 100).await;
    let (cpu, begun) = (spent().0, Instant::from(clock::now()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (used, memory) = spent();
    let took = Instant::from(clock::now()) - begun;
    let shares = delivered(&all);
    println!(
        "the worst of 100 viewers got {:.3} %, with {:.0} % of a core and {memory:.0} MiB for both sides",
        shares[0] * 100.0,
        (used - cpu).as_secs_f64() / took.as_secs_f64() * 100.0
    );
    assert!(shares[0] >= 0.999, "{:?}", &shares[..10]);
    assert_eq!(camera.count(session_began), before + 1, "each viewer has a camera session of its own");
    assert_eq!(service.page.doorbell(&id).await["viewers"], 100);
    service.running.stop().await;
}

/// How much later than the most punctual one the pictures from `from` on came: of a hundred the second worst.
fn p99(tally: &Tally, from: usize) -> Duration {
    let first = tally.ends[0].1;
    let late = tally.ends[from..]
        .iter()
        .map(|(at, timestamp)| at.as_secs_f64() - f64::from(timestamp.wrapping_sub(first).cast_signed()) / 90_000.0);
    let mut late: Vec<f64> = late.collect();
    late.sort_by(f64::total_cmp);
    Duration::from_secs_f64(late[late.len() * 99 / 100] - late[0])
}

/// So many pictures more, and how late they were.
async fn delay(viewer: &mut Joined, pictures: usize) -> Duration {
    let from = viewer.seen.borrow().tally.ends.len();
    let seen = viewer.sees("pictures", |seen| seen.tally.ends.len() >= from + pictures).await;
    p99(&seen.tally, from)
}

/// The row wants 10 ms. So it is on a machine with nothing else to do; the bound here leaves room for one that has.
#[tokio::test]
async fn row_31_slow_viewers_delay_the_others_by_next_to_nothing() {
    let house = House::new().await;
    let mut fast = house.join(Manners { keeps: false, ..Manners::default() }).await;
    fast.sees("a picture", |seen| seen.tally.ends.len() > 30).await;
    let alone = delay(&mut fast, 450).await;
    let (mut narrow, relay) = house.join_behind(Line::default(), 31).await;
    narrow.sees("a picture", |seen| !seen.pictures().is_empty()).await;
    relay.set(Line { rate: Some(50_000), ..Line::default() });
    let manners = Manners { transport: Transport::Tcp, ..Manners::default() };
    let (mut deaf, pranks) = house.join_hostile(&house.hub, manners).await;
    deaf.sees("a picture", |seen| !seen.pictures().is_empty()).await;
    pranks.send(crate::support::viewer::Prank::StopReading).await.unwrap();
    let beside_them = delay(&mut fast, 450).await;
    let dropped = house.viewers.counters().packets_dropped;
    println!("p99 of the delay: {alone:?} alone, {beside_them:?} beside two slow ones; {dropped} packets were dropped");
    assert!(dropped > 0, "nobody was slow");
    assert!(fast.seen.borrow().tally.missing.is_empty(), "packets are missing");
    assert!(beside_them <= alone + Duration::from_millis(30), "{alone:?} and {beside_them:?}");
    relay.mode(Mode::Silent);
}

#[tokio::test]
async fn hostile_viewer_comes_and_leaves_a_thousand_times() {
    comes_and_leaves(1_000, |n| n % 10 != 0).await;
}
