//! What viewers of one camera may rely on, however many there are and whatever the others do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorstep::media::{AudioFormat, Frame, FrameKind, FrameStream, MediaHub, VideoCodec};
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use crate::support::fake_vendor::{DELTA, KEYFRAME};

/// A camera at 25 pictures a second with one packet of sound to each picture.
struct Camera {
    hub: MediaHub,
    pictures: u32,
}

impl Camera {
    fn new() -> Self {
        Self { hub: MediaHub::new(), pictures: 0 }
    }

    fn picture(&mut self, keyframe: bool) {
        let pts = Duration::from_millis(40) * self.pictures;
        let data = Bytes::from_static(if keyframe { KEYFRAME } else { DELTA });
        self.hub.publish(FrameKind::Video { codec: VideoCodec::H264, keyframe }, pts, data);
        self.hub.publish(FrameKind::Audio(AudioFormat::PCMU), pts, Bytes::from_static(&[0xff; 160]));
        self.pictures += 1;
    }

    /// A keyframe and then the rest of its second.
    fn second(&mut self) {
        for n in 0..25 {
            self.picture(n == 0);
        }
    }

    /// A new session, with its clock at 0.
    fn reconnect(&mut self) {
        self.hub.reset();
        self.pictures = 0;
    }
}

/// What the listener can have without waiting.
fn at_hand(listener: &mut FrameStream) -> Vec<Arc<Frame>> {
    std::iter::from_fn(|| unconstrained(listener.next()).now_or_never().flatten()).collect()
}

fn seqs(frames: &[Arc<Frame>]) -> Vec<u64> {
    frames.iter().map(|frame| frame.seq).collect()
}

#[tokio::test(start_paused = true)]
async fn only_the_first_viewer_waits_for_a_sound_that_never_comes() {
    let hub = MediaHub::new();
    let viewer = hub.hold();
    let keyframe = FrameKind::Video { codec: VideoCodec::H264, keyframe: true };
    hub.publish(keyframe, Duration::ZERO, Bytes::from_static(KEYFRAME));
    for (who, patience) in [("first", Duration::from_secs(1)), ("second", Duration::ZERO)] {
        let asked = Instant::now();
        let formats = viewer.formats().await;
        assert_eq!((formats.video, formats.audio), (Some(VideoCodec::H264), None));
        let waited = asked.elapsed();
        assert!(waited <= patience + Duration::from_millis(1), "the {who} viewer waited {waited:?}");
    }
}

#[tokio::test]
async fn a_new_viewer_has_the_picture_at_once_and_everything_after_it() {
    let mut camera = Camera::new();
    camera.second();
    camera.second();
    let mut listener = camera.hub.listen();
    let cached = at_hand(&mut listener);
    assert!(cached[0].kind.is_keyframe());
    assert_eq!(seqs(&cached), (50..100).collect::<Vec<_>>(), "not the whole group since the last keyframe");
    camera.second();
    assert_eq!(seqs(&at_hand(&mut listener)), (100..150).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_while_frames_arrive_misses_none_and_sees_none_twice() {
    let mut camera = Camera::new();
    camera.second();
    let hub = camera.hub.clone();
    // Keeps the camera less than 256 frames ahead of the listener: nobody lags here.
    let ahead = Arc::new(Semaphore::new(0));
    let films = tokio::spawn({
        let ahead = ahead.clone();
        async move {
            for n in 0.. {
                let Ok(permit) = ahead.acquire().await else { return };
                permit.forget();
                camera.picture(n % 25 == 0);
            }
        }
    });
    for _ in 0..300 {
        while ahead.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        ahead.add_permits(50);
        let mut listener = hub.listen();
        ahead.add_permits(50);
        let first = listener.next().await.expect("the hub is gone");
        assert!(first.kind.is_keyframe(), "the first picture cannot be decoded");
        for expected in (first.seq + 1)..(first.seq + 100) {
            let frame = listener.next().await.expect("the hub is gone");
            assert_eq!(frame.seq, expected);
        }
    }
    ahead.close();
    films.await.unwrap();
}

#[tokio::test]
async fn a_slow_viewer_resumes_at_a_keyframe_and_slows_nobody() {
    let mut camera = Camera::new();
    let (mut slow, mut quick) = (camera.hub.listen(), camera.hub.listen());
    let mut seen_by_quick = 0;
    for _ in 0..8 {
        camera.second();
        seen_by_quick += at_hand(&mut quick).len();
    }
    assert_eq!(seen_by_quick, 8 * 50);
    let seen = at_hand(&mut slow);
    let first_picture = seen.iter().position(|frame| frame.kind.is_video()).unwrap();
    assert!(seen[first_picture].kind.is_keyframe(), "it resumed in the middle of a group");
    assert!(first_picture > 0, "the sound waited for the picture");
    let rest = seqs(&seen[first_picture..]);
    assert!(rest.is_sorted_by(|a, b| *b == a + 1), "a gap after it resumed");
    assert_eq!(*rest.last().unwrap(), 8 * 50 - 1);
    assert_eq!(camera.hub.counters().lagged, 8 * 50 - 256);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_finds_no_cached_picture_asks_for_one_and_waits_for_it() {
    let mut camera = Camera::new();
    for n in 0..75 {
        camera.picture(n == 0);
    }
    let mut listener = camera.hub.listen();
    assert!(at_hand(&mut listener).is_empty(), "a group of 3 s was kept");
    assert!(camera.hub.keyframe_wanted().now_or_never().is_some(), "the camera was not asked");
    camera.picture(false);
    camera.picture(true);
    let seen = at_hand(&mut listener);
    let pictures: Vec<bool> =
        seen.iter().filter(|frame| frame.kind.is_video()).map(|frame| frame.kind.is_keyframe()).collect();
    assert_eq!(pictures, [true]);
}

#[tokio::test(start_paused = true)]
async fn keyframe_requests_of_all_viewers_are_one_each_half_second() {
    let camera = Camera::new();
    let hub = camera.hub.clone();
    let counted = tokio::spawn(async move {
        let begun = Instant::now();
        let mut asked = Vec::new();
        while asked.len() < 4 {
            // Cancelled again and again, as in the select loop of a session.
            let wanted = tokio::time::timeout(Duration::from_millis(7), hub.keyframe_wanted());
            if wanted.await.is_ok() {
                asked.push(begun.elapsed().as_millis());
            }
        }
        asked
    });
    while !counted.is_finished() {
        camera.hub.request_keyframe();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let asked = counted.await.unwrap();
    for pair in asked.windows(2) {
        assert!((500..510).contains(&(pair[1] - pair[0])), "asked at {asked:?} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_keyframe_that_comes_by_itself_settles_the_request() {
    let mut camera = Camera::new();
    camera.hub.request_keyframe();
    camera.picture(true);
    let asked = tokio::time::timeout(Duration::from_secs(5), camera.hub.keyframe_wanted()).await;
    assert!(asked.is_err(), "the camera was bothered for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_comes_back_goes_on_where_time_stands() {
    let mut camera = Camera::new();
    let mut listener = camera.hub.listen();
    camera.second();
    let before = at_hand(&mut listener);
    camera.reconnect();
    assert!(at_hand(&mut camera.hub.listen()).is_empty(), "the cache outlived its session");
    tokio::time::advance(Duration::from_secs(7)).await;
    camera.picture(false);
    camera.second();
    let after: Vec<_> = at_hand(&mut listener).into_iter().filter(|frame| frame.kind.is_video()).collect();
    assert!(after[0].kind.is_keyframe(), "a picture that nobody can decode was shown");
    let gap = after[0].pts - before.last().unwrap().pts;
    assert_eq!(gap, Duration::from_millis(7_040), "the clock of the viewers jumped");
}

#[tokio::test(start_paused = true)]
async fn the_camera_lingers_for_whoever_comes_back_soon() {
    let hub = MediaHub::new();
    let linger = Duration::from_secs(5);
    let begun = Instant::now();
    let viewers = async {
        let viewer = hub.hold();
        tokio::time::sleep(Duration::from_secs(10)).await;
        drop(viewer);
        tokio::time::sleep(Duration::from_secs(4)).await;
        let viewer = hub.hold();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(viewer);
    };
    let camera = async {
        hub.watched().await;
        hub.unwatched_for(linger).await;
    };
    tokio::join!(viewers, camera);
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
}

#[tokio::test]
async fn listeners_hear_of_the_end_of_the_hub() {
    let mut camera = Camera::new();
    camera.picture(true);
    let mut listener = camera.hub.listen();
    drop(camera);
    assert_eq!(listener.next().await.map(|frame| frame.seq), Some(0));
    assert_eq!(listener.next().await.map(|frame| frame.seq), Some(1));
    assert!(listener.next().await.is_none());
}

#[tokio::test]
async fn a_camera_that_changes_its_codec_is_seen_from_the_next_keyframe_on() {
    let mut camera = Camera::new();
    camera.second();
    let mut listener = camera.hub.listen();
    at_hand(&mut listener);
    for keyframe in [false, true] {
        let pts = Duration::from_secs(2);
        camera.hub.publish(
            FrameKind::Video { codec: VideoCodec::H265, keyframe },
            pts,
            Bytes::from_static(b"\0\0\x01\x26"),
        );
        let newest = if keyframe { 1 } else { 0 };
        assert_eq!(at_hand(&mut listener).len(), newest, "a picture came that builds on nothing");
        assert_eq!(at_hand(&mut camera.hub.listen()).len(), newest, "pictures of two codecs are in the cache");
    }
}
