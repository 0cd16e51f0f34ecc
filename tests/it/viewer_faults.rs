//! Rows 29 to 31 of the fault matrix: viewers that vanish, a house full of them, and one that is slow. What takes
//! longer is in `nightly::viewers`, and what the loop of all viewers promises is in `viewers`.

use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::media::{FrameKind, MediaHub, VideoCodec};
use doorstep::sim::tutk_camera::CameraEvent;
use futures_util::{StreamExt, stream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::support::http::Reply;
use crate::support::impair::Line;
use crate::support::service::{Camera, PATIENCE, Page, Service, Watching};
use crate::support::viewer::{Manners, Prank, Transport, Viewer};
use crate::viewers::{House, Joined, numbers};

pub(crate) fn session_began(event: &CameraEvent) -> bool {
    matches!(event, CameraEvent::SessionStarted { .. })
}

pub(crate) fn session_ended(event: &CameraEvent) -> bool {
    matches!(event, CameraEvent::SessionEnded { .. })
}

/// A camera, the service that has visited it, and nobody who watches.
pub(crate) async fn house() -> (Camera, Service) {
    let camera = Camera::start(1, |_| {}).await;
    let service = Service::start(None, &[&camera]).await;
    camera.is_left_alone().await;
    service.page.is(&camera.id(), "ready").await;
    (camera, service)
}

/// Waits until the camera's session has ended, after this many before; how long that took.
pub(crate) async fn released(camera: &Camera, before: usize) -> Duration {
    let begun = clock::now();
    let ended = |events: &[CameraEvent]| events.iter().filter(|event| session_ended(event)).count() > before;
    camera.tells("the end of the session", ended).await;
    begun.elapsed()
}

#[tokio::test]
async fn row_29_the_camera_is_released_within_10_s_of_the_last_viewer() {
    let (camera, service) = house().await;
    let id = camera.id();
    let before = camera.count(session_ended);
    let mut all = Vec::new();
    for _ in 0..2 {
        all.push(service.page.watch(&id, Manners::default()).await);
    }
    for viewer in &mut all {
        viewer.sees("the picture", |seen| seen.pictures().len() > 3).await;
    }
    all[0].leave();
    service.page.until(&id, "one viewer", |doorbell| doorbell["viewers"] == 1).await;
    all[1].sees("the picture still", |seen| seen.pictures().len() > 20).await;
    assert_eq!(camera.count(session_ended), before, "the camera was let go while somebody watched");
    all[1].leave();
    service.page.until(&id, "no viewer", |doorbell| doorbell["viewers"] == 0).await;
    let took = released(&camera, before).await;
    println!("the camera was released {took:?} after the last viewer");
    assert!(took <= Duration::from_secs(10), "after {took:?}");
    service.running.stop().await;
}

/// So many viewers of one doorbell, each of which sees a picture.
pub(crate) async fn audience(page: &Page, id: &str, count: usize) -> Vec<Watching> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut viewer = page.watch(id, Manners { keeps: false, ..Manners::default() }).await;
        viewer.sees("a packet", |seen| seen.tally.packets > 0).await;
        all.push(viewer);
    }
    all
}

/// What each of them got, in thousandths of what was sent to it since it joined; the worst first.
pub(crate) fn delivered(all: &[Watching]) -> Vec<f64> {
    let mut shares: Vec<f64> = all
        .iter()
        .map(|viewer| {
            let tally = &viewer.now().tally;
            tally.packets as f64 / (tally.packets as usize + tally.missing.len()) as f64
        })
        .collect();
    shares.sort_by(f64::total_cmp);
    shares
}

/// The quick form of the row: a dozen, for some seconds. All hundred watch for a minute in `nightly::viewers`.
#[tokio::test]
async fn row_30_many_viewers_share_one_camera_session_and_each_gets_the_packets() {
    let (camera, service) = house().await;
    let id = camera.id();
    let before = camera.count(session_began);
    let mut all = audience(&service.page, &id, 12).await;
    let so_far: Vec<u64> = all.iter().map(|viewer| viewer.now().tally.packets).collect();
    for (viewer, so_far) in all.iter_mut().zip(so_far) {
        viewer.sees("a hundred packets more", |seen| seen.tally.packets > so_far + 100).await;
    }
    let shares = delivered(&all);
    println!("the worst of {} viewers got {:.3} % of the packets", shares.len(), shares[0] * 100.0);
    assert!(shares[0] >= 0.999, "{shares:?}");
    assert_eq!(camera.count(session_began), before + 1, "each viewer has a camera session of its own");
    assert_eq!(service.page.doorbell(&id).await["viewers"], 12);
    service.running.stop().await;
}

/// The house has room for 128: the hundred of the row, and those that have just vanished and are waited for.
#[tokio::test]
async fn row_30_one_viewer_too_many_is_told_so_with_503() {
    let (camera, service) = house().await;
    let (id, offer) = (camera.id(), Viewer::new(Manners::default()).await.offer);
    let mut first = service.page.watch(&id, Manners::default()).await;
    first.sees("a picture", |seen| !seen.pictures().is_empty()).await;
    // More at once than there is room for, over fewer connections than one address may hold.
    let offers = std::iter::repeat_n((), 160).map(|()| service.page.offer(&id, &offer));
    let replies: Vec<Reply> = stream::iter(offers).buffer_unordered(32).collect().await;
    let (admitted, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 201);
    assert!(admitted.len() >= 100 && !refused.is_empty(), "{} were admitted", admitted.len());
    for refused in refused {
        assert_eq!((refused.status, refused.body.as_str()), (503, "Too many viewers are connected."));
    }
    let pictures = first.now().pictures().len();
    first.sees("the picture all the same", |seen| seen.pictures().len() > pictures + 10).await;
    service.running.stop().await;
}

/// Sees everything that is published, without a gap.
async fn sees_all(viewer: &mut Joined, more: usize) {
    let before = viewer.seen.borrow().pictures().len();
    let seen = viewer.sees("pictures", |seen| seen.pictures().len() >= before + more).await;
    assert!(numbers(&seen).windows(2).all(|pair| pair[0] + 1 == pair[1]), "another viewer missed pictures");
}

/// Over UDP whatever a viewer cannot take is lost on its way; the repair that it asks for is its own.
#[tokio::test]
async fn row_31_of_a_viewer_behind_50_kbit_a_second_the_others_notice_nothing() {
    let house = House::new().await;
    let mut fast = house.join(Manners::default()).await;
    let (mut slow, relay) = house.join_behind(Line::default(), 31).await;
    slow.sees("a picture", |seen| !seen.pictures().is_empty()).await;
    relay.set(Line { rate: Some(50_000), ..Line::default() });
    let packets = |viewer: &Joined| viewer.seen.borrow().video.len();
    let before = [&slow, &fast].map(packets);
    sees_all(&mut fast, 90).await;
    let [slow, fast] = [packets(&slow) - before[0], packets(&fast) - before[1]];
    println!("{slow} packets came through the narrow line, {fast} beside it");
    assert!(slow > 0 && slow * 4 < fast, "the line was not narrow: {slow} of {fast}");
}

/// TCP could keep what is not read for ever. What waits is read afterwards, and is all there was.
#[tokio::test]
async fn row_31_for_a_viewer_that_reads_nothing_at_most_1_mib_waits_and_the_others_notice_nothing() {
    let (house, camera) = (House::new().await, MediaHub::new());
    let mut fast = house.join(Manners::default()).await;
    let large = Bytes::from(
        [&b"\0\0\0\x01\x67\x42\xe0\x1f\0\0\0\x01\x68\xce\x3c\x80\0\0\0\x01\x65"[..], &[0x88; 50_000]].concat(),
    );
    let keyframe = FrameKind::Video { codec: VideoCodec::H264, keyframe: true };
    camera.publish(keyframe, Duration::ZERO, large.clone());
    let manners = Manners { transport: Transport::Tcp, ..Manners::default() };
    let (mut deaf, pranks) = house.join_hostile(&camera, manners).await;
    deaf.sees("a packet", |seen| seen.tally.packets > 0).await;
    pranks.send(Prank::StopReading).await.unwrap();
    let before = house.viewers.counters();
    for n in 1..=100 {
        camera.publish(keyframe, n * Duration::from_millis(33), large.clone());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sees_all(&mut fast, 20).await;
    let dropped = house.viewers.counters().packets_dropped - before.packets_dropped;
    assert!(dropped > 1_000, "only {dropped} packets were dropped of some four thousand");
    house.viewers.close(deaf.id).await;
    let (told, held) = oneshot::channel();
    pranks.send(Prank::ReadToTheEnd(told)).await.unwrap();
    let held = timeout(PATIENCE, held).await.expect("the end").unwrap();
    println!("{held} bytes waited for it");
    assert!((100_000..1 << 20).contains(&held), "{held} bytes waited");
}
