//! Where pictures come from: the stream, the vendor, or a look; and which of them belongs to a ring.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use doorstep::clock;
use doorstep::config::RingPicture;
use doorstep::doorbell::{ActionError, Doorbell, Options, Picture};
use doorstep::media::{FrameKind, VideoCodec};
use doorstep::model::{Capability, Event, Ring};
use doorstep::sim::clip::Clip;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::demo::Demo;
use crate::support::fake_vendor::{FakeVendor, JPEG, OnSnapshot};
use crate::support::jpeg::Shown;
use crate::support::service::Page;

const PATIENCE: Duration = Duration::from_secs(20);
/// What most vendors say.
const NO_WAY: OnSnapshot = OnSnapshot::Refuses(ActionError::Unsupported("it is a test"));

/// One that shows the clip to whoever looks, and has no other way to a picture.
fn camera() -> Arc<FakeVendor> {
    let vendor = FakeVendor::with([Capability::Ring, Capability::Stream]);
    vendor.on_snapshot(NO_WAY);
    vendor.films_the_clip();
    vendor
}

async fn doorbell(vendor: &Arc<FakeVendor>) -> Doorbell {
    doorbell_with(vendor, RingPicture::Auto).await
}

async fn doorbell_with(vendor: &Arc<FakeVendor>, ring_picture: RingPicture) -> Doorbell {
    let options = Options { ring_picture, ..Options::default() };
    let doorbell = vendor.doorbell_with(options, &CancellationToken::new());
    vendor.lives(1).await;
    doorbell
}

/// The next keyframe of the clip, as if the camera streamed.
fn show(doorbell: &Doorbell, n: u64) {
    let clip = Clip::h264();
    let picture = clip.access_unit(clip.next_keyframe(n));
    let kind = FrameKind::Video { codec: VideoCodec::H264, keyframe: true };
    doorbell.media().publish(kind, picture.pts, picture.data);
}

async fn streams(doorbell: &Doorbell) {
    let mut keyframes = doorbell.media().keyframes();
    timeout(PATIENCE, keyframes.wait_for(Option::is_some)).await.expect("no keyframe came").unwrap();
}

fn demand(doorbell: &Doorbell) -> usize {
    *doorbell.media().demand().borrow()
}

/// The picture of this ring, as soon as it is there.
async fn of_ring(doorbell: &Doorbell, event_id: &str) -> Arc<Picture> {
    let mut pictures = doorbell.pictures();
    let waited = timeout(PATIENCE, pictures.wait_for(|_| doorbell.ring_picture(event_id).is_some())).await;
    waited.unwrap_or_else(|_| panic!("no picture of the ring {event_id}")).unwrap();
    doorbell.ring_picture(event_id).unwrap()
}

fn is_the_clip(jpeg: &[u8]) {
    let shown = Shown::of(jpeg);
    assert_eq!((shown.width, shown.height), (640, 360));
    shown.is_the_porch();
}

#[tokio::test]
async fn a_camera_that_streams_is_photographed_without_a_second_look() {
    let vendor = camera();
    let doorbell = doorbell(&vendor).await;
    assert!(doorbell.info().capabilities.contains(&Capability::Snapshot), "it streams, so it can be photographed");
    let _viewer = doorbell.watch();
    streams(&doorbell).await;
    let jpeg = doorbell.take_snapshot().await.unwrap();
    is_the_clip(&jpeg);
    assert!(jpeg.len() <= 400_000);
    assert_eq!((vendor.seen().snapshots_asked, demand(&doorbell)), (0, 1));
    let newest = doorbell.pictures().borrow().clone().unwrap();
    assert_eq!((&newest.jpeg, &newest.ring), (&jpeg, &None));
    assert!(clock::unix_now().duration_since(newest.at).unwrap_or_default() < PATIENCE);
}

#[tokio::test]
async fn a_camera_that_nobody_watches_is_looked_at_for_a_moment() {
    let vendor = camera();
    let doorbell = doorbell(&vendor).await;
    let mut demanded = doorbell.media().demand();
    is_the_clip(&doorbell.take_snapshot().await.unwrap());
    assert_eq!(vendor.seen().snapshots_asked, 1, "its vendor is asked first");
    assert_eq!(*demanded.borrow_and_update(), 0, "the camera was not let go of");
    // Also where the vendor's own way fails.
    doorbell.media().reset();
    vendor.on_snapshot(OnSnapshot::Refuses(ActionError::Timeout));
    is_the_clip(&doorbell.take_snapshot().await.unwrap());
    doorbell.media().reset();
    vendor.on_snapshot(OnSnapshot::Takes(Bytes::from_static(JPEG)));
    assert_eq!(doorbell.take_snapshot().await.as_deref(), Ok(JPEG));
    assert_eq!(vendor.seen().snapshots_asked, 3);
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_never_answers_leaves_time_for_a_look() {
    let vendor = camera();
    vendor.on_snapshot(OnSnapshot::Hangs);
    let doorbell = doorbell(&vendor).await;
    let asked = clock::now();
    is_the_clip(&doorbell.take_snapshot().await.unwrap());
    assert_eq!(asked.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_shows_nothing_is_given_up_and_let_go_of() {
    let vendor = FakeVendor::with([Capability::Stream]);
    vendor.on_snapshot(NO_WAY);
    let doorbell = doorbell(&vendor).await;
    let asked = clock::now();
    assert_eq!(doorbell.take_snapshot().await, Err(ActionError::Timeout));
    assert_eq!((asked.elapsed().as_secs(), demand(&doorbell)), (30, 0));
    vendor.set_state(|state| state.last_error = Some("It is too far away.".to_owned()));
    let why = ActionError::Offline { why: "It is too far away.".to_owned() };
    assert_eq!(doorbell.take_snapshot().await, Err(why));
}

#[tokio::test]
async fn pictures_that_cannot_be_decoded_are_an_error_and_end_nothing() {
    let vendor = FakeVendor::with([Capability::Stream]);
    vendor.on_snapshot(NO_WAY);
    vendor.films();
    let doorbell = doorbell(&vendor).await;
    for _ in 0..3 {
        let Err(ActionError::Refused { why }) = doorbell.take_snapshot().await else { panic!("a picture of nothing") };
        assert!(why.contains("cannot be decoded"), "{why}");
    }
    assert_eq!(demand(&doorbell), 0);
}

#[tokio::test(start_paused = true)]
async fn an_old_keyframe_is_asked_for_anew_and_shown_when_no_other_comes() {
    let vendor = FakeVendor::with([Capability::Stream]);
    let doorbell = doorbell(&vendor).await;
    show(&doorbell, 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let camera = doorbell.clone();
    let answers = tokio::spawn(async move {
        camera.media().keyframe_wanted().await;
        show(&camera, 20);
    });
    let asked = clock::unix_now();
    doorbell.take_snapshot().await.unwrap();
    answers.await.unwrap();
    // The wall clock is read beside the paused one, and so is off by some microseconds each time.
    let shown = doorbell.pictures().borrow().as_ref().unwrap().at;
    assert!(shown + Duration::from_secs(1) >= asked, "it shows what is long gone");

    tokio::time::sleep(Duration::from_secs(5)).await;
    let (asked, began) = (clock::unix_now(), clock::now());
    is_the_clip(&doorbell.take_snapshot().await.unwrap());
    assert_eq!(began.elapsed().as_secs(), 2);
    let shown = doorbell.pictures().borrow().as_ref().unwrap().at;
    let age = asked.duration_since(shown).unwrap();
    assert!((4..=6).contains(&age.as_secs()), "its age is told as {age:?}");
}

#[tokio::test]
async fn a_picture_that_can_be_had_without_waking_the_camera_wakes_nobody() {
    let vendor = camera();
    let doorbell = doorbell(&vendor).await;
    assert_eq!(doorbell.known_picture().await, None);
    assert_eq!((vendor.seen().snapshots_asked, demand(&doorbell)), (0, 0));
    vendor.on_snapshot(OnSnapshot::Takes(Bytes::from_static(JPEG)));
    doorbell.take_snapshot().await.unwrap();
    assert_eq!(doorbell.known_picture().await.unwrap().jpeg, JPEG);
    show(&doorbell, 0);
    let live = doorbell.known_picture().await.unwrap();
    is_the_clip(&live.jpeg);
    // Decoded once, however many ask.
    assert!(Arc::ptr_eq(&live, &doorbell.known_picture().await.unwrap()));
    doorbell.media().reset();
    assert_eq!(doorbell.known_picture().await, Some(live), "what was seen last is known");
    assert_eq!((vendor.seen().snapshots_asked, demand(&doorbell)), (1, 0));
}

#[tokio::test]
async fn a_ring_is_told_before_anybody_looks_for_its_picture() {
    let vendor = camera();
    vendor.on_snapshot(OnSnapshot::Hangs);
    let doorbell = doorbell(&vendor).await;
    let mut events = doorbell.events();
    vendor.ring("a");
    let told = timeout(PATIENCE, events.recv()).await.expect("the ring waits for its picture").unwrap();
    assert!(matches!(told, Event::Ring(ring) if ring.event_id == "a"));
    vendor.until("a request for a picture", |seen| seen.snapshots_asked == 1).await;
    assert_eq!(doorbell.ring_picture("a"), None);
    vendor.answer_snapshot();
    assert_eq!(of_ring(&doorbell, "a").await.jpeg, JPEG);
    assert_eq!(doorbell.pictures().borrow().as_ref().unwrap().ring.as_deref(), Some("a"));
}

#[tokio::test]
async fn a_ring_while_somebody_watches_is_pictured_out_of_the_stream() {
    let vendor = camera();
    let doorbell = doorbell(&vendor).await;
    let _viewer = doorbell.watch();
    streams(&doorbell).await;
    vendor.ring("a");
    is_the_clip(&of_ring(&doorbell, "a").await.jpeg);
    assert_eq!((vendor.seen().snapshots_asked, demand(&doorbell)), (0, 1));
}

#[tokio::test]
async fn a_doorbell_on_mains_is_looked_at_when_it_rings() {
    let vendor = camera();
    let doorbell = doorbell(&vendor).await;
    vendor.ring("a");
    is_the_clip(&of_ring(&doorbell, "a").await.jpeg);
    let mut demand = doorbell.media().demand();
    timeout(PATIENCE, demand.wait_for(|viewers| *viewers == 0)).await.expect("it is looked at for ever").unwrap();
}

#[tokio::test]
async fn whoever_takes_a_picture_is_no_viewer() {
    let vendor = FakeVendor::with([Capability::Ring, Capability::Stream]);
    vendor.on_snapshot(NO_WAY);
    let doorbell = doorbell(&vendor).await;
    vendor.ring("a");
    let mut demand = doorbell.media().demand();
    timeout(PATIENCE, demand.wait_for(|wanted| *wanted == 1)).await.expect("it is not looked at").unwrap();
    let mut state = doorbell.state();
    let viewer = doorbell.watch();
    timeout(PATIENCE, state.wait_for(|state| state.viewers == 1)).await.expect("the viewer is not seen").unwrap();
    drop(viewer);
    timeout(PATIENCE, state.wait_for(|state| state.viewers == 0)).await.expect("somebody seems to watch").unwrap();
    assert_eq!(*demand.borrow(), 1, "it is looked at no more");
}

#[tokio::test(start_paused = true)]
async fn a_doorbell_on_a_battery_is_not_woken_by_its_ring() {
    let vendor = camera();
    vendor.has_a_battery();
    let doorbell = doorbell(&vendor).await;
    let demand = doorbell.media().demand();
    vendor.ring("a");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((doorbell.ring_picture("a"), demand.has_changed().unwrap()), (None, false));
    // Somebody else wakes it.
    vendor.ring("b");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let _viewer = doorbell.watch();
    is_the_clip(&of_ring(&doorbell, "b").await.jpeg);
}

#[tokio::test]
async fn the_owner_decides_which_rings_are_pictured() {
    let vendor = camera();
    vendor.has_a_battery();
    let always = doorbell_with(&vendor, RingPicture::Always).await;
    vendor.ring("a");
    is_the_clip(&of_ring(&always, "a").await.jpeg);

    let vendor = camera();
    let never = doorbell_with(&vendor, RingPicture::Never).await;
    let _viewer = never.watch();
    streams(&never).await;
    let mut events = never.events();
    vendor.ring("a");
    events.recv().await.unwrap();
    never.show_ring(picture("a", JPEG));
    never.take_snapshot().await.unwrap();
    assert_eq!(never.ring_picture("a"), None);
}

#[tokio::test(start_paused = true)]
async fn a_ring_that_is_told_late_shows_nobody_who_came_later() {
    let vendor = camera();
    let doorbell = doorbell(&vendor).await;
    let at = clock::unix_now() - Duration::from_secs(300);
    let latency = Some(Duration::from_secs(300));
    vendor.tell(Event::Ring(Ring { at, event_id: "a".to_owned(), source: "cloud", latency }));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((doorbell.ring_picture("a"), vendor.seen().snapshots_asked), (None, 0));
    doorbell.show_ring(picture("a", JPEG));
    assert_eq!(doorbell.ring_picture("a").unwrap().jpeg, JPEG, "what its cloud has of it is of then");
}

#[tokio::test]
async fn what_the_cloud_has_of_a_ring_belongs_to_it_and_to_the_press_that_a_wire_told() {
    let vendor = FakeVendor::with([Capability::Ring, Capability::Stream]);
    vendor.on_snapshot(NO_WAY);
    let doorbell = doorbell(&vendor).await;
    doorbell.press("button");
    let button = doorbell.rings()[0].event_id.clone();
    let cloud = Picture { at: doorbell.rings()[0].at + Duration::from_secs(3), ..picture("e-1", JPEG) };
    doorbell.show_ring(cloud);
    assert_eq!(of_ring(&doorbell, &button).await.jpeg, JPEG);
    // The first one stays, and what is no picture or of no ring is none.
    let other: &[u8] = b"\xff\xd8\xff\xe1 somebody else \xff\xd9";
    doorbell.show_ring(picture(&button, other));
    doorbell.show_ring(Picture { at: UNIX_EPOCH, ..picture("e-2", other) });
    vendor.ring("e-3");
    let mut events = doorbell.events();
    while doorbell.rings().len() < 2 {
        events.recv().await.unwrap();
    }
    doorbell.show_ring(picture("e-3", b"<html>"));
    assert_eq!(doorbell.ring_picture(&button).unwrap().jpeg, JPEG);
    assert_eq!((doorbell.ring_picture("e-2"), doorbell.ring_picture("e-3")), (None, None));
}

#[tokio::test]
async fn rings_in_a_row_share_what_was_taken_meanwhile() {
    let vendor = camera();
    vendor.on_snapshot(OnSnapshot::Hangs);
    let doorbell = doorbell(&vendor).await;
    vendor.ring("a");
    vendor.until("a request for a picture", |seen| seen.snapshots_asked == 1).await;
    let mut events = doorbell.events();
    vendor.ring("b");
    while !matches!(events.recv().await, Ok(Event::Ring(ring)) if ring.event_id == "b") {}
    // Until it waits for its turn.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    vendor.on_snapshot(OnSnapshot::Takes(Bytes::from_static(JPEG)));
    vendor.answer_snapshot();
    of_ring(&doorbell, "a").await;
    of_ring(&doorbell, "b").await;
    assert_eq!(vendor.seen().snapshots_asked, 1);
}

#[tokio::test]
async fn whoever_asks_while_a_ring_is_pictured_is_not_refused_but_gets_that_picture() {
    let vendor = camera();
    vendor.on_snapshot(OnSnapshot::Hangs);
    let doorbell = doorbell(&vendor).await;
    vendor.ring("a");
    vendor.until("a request for a picture", |seen| seen.snapshots_asked == 1).await;
    let other = Bytes::from_static(b"\xff\xd8\xff\xe1 somebody else \xff\xd9");
    vendor.on_snapshot(OnSnapshot::Takes(other));
    let mut asked = std::pin::pin!(doorbell.take_snapshot());
    assert!(futures_util::poll!(&mut asked).is_pending());
    assert_eq!(doorbell.take_snapshot().await, Err(ActionError::BeingTaken), "it is for one at a time");
    tokio::task::yield_now().await;
    vendor.answer_snapshot();
    assert_eq!(asked.await.as_deref(), Ok(JPEG));
    assert_eq!((of_ring(&doorbell, "a").await.jpeg.as_ref(), vendor.seen().snapshots_asked), (JPEG, 1));
}

#[tokio::test]
async fn a_doorbell_that_goes_while_it_is_looked_at_leaves_nothing_behind() {
    let (vendor, stop) = (FakeVendor::with([Capability::Ring, Capability::Stream]), CancellationToken::new());
    vendor.on_snapshot(NO_WAY);
    let doorbell = vendor.doorbell(&stop);
    vendor.lives(1).await;
    vendor.ring("a");
    let mut demand = doorbell.media().demand();
    timeout(PATIENCE, demand.wait_for(|viewers| *viewers == 1)).await.expect("it is not looked at").unwrap();
    stop.cancel();
    timeout(PATIENCE, demand.wait_for(|viewers| *viewers == 0)).await.expect("it is looked at for ever").unwrap();
    timeout(PATIENCE, doorbell.stopped()).await.expect("the doorbell stays");
}

#[tokio::test]
async fn every_virtual_doorbell_gives_a_picture_of_the_porch() {
    let demo = Demo::start(&[]).await;
    let page = Page::at(demo.page);
    for id in &demo.ids {
        page.is(id, "ready").await;
        let reply = page.get(&format!("/api/doorbells/{id}/snapshot.jpg")).await;
        assert_eq!(reply.status, 200, "{id}: {}", reply.body);
        let shown = Shown::of(&reply.bytes);
        assert!(shown.width >= 320, "{id}: {}×{}", shown.width, shown.height);
        shown.is_the_porch();
    }
}

fn picture(event_id: &str, jpeg: &'static [u8]) -> Picture {
    Picture { at: clock::unix_now(), jpeg: Bytes::from_static(jpeg), ring: Some(event_id.to_owned()) }
}
