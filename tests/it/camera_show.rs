//! A camera of ours that is watched: its picture, its sound, the speech of its viewer and text go where they should.
//! Two ends of our own, and a viewer by hand for messages. Real sockets.

use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::media::{AudioFormat, Frame, FrameKind, FrameStream, MediaHub, VideoCodec};
use doorstep::rtc::camera::{CameraPeer, Ending, PeerError, Sound, Video, Wanted};
use doorstep::sim::clip::Clip;
use doorstep::sim::sound;
use tokio::time::{interval, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const SPOKEN: [AudioFormat; 2] = [AudioFormat::OPUS, AudioFormat::PCMU];

fn wanted(video: Video, sound: Sound) -> Wanted<'static> {
    Wanted { hub: MediaHub::new(), video, sound, channel: None, ice_servers: &[], relay_only: false, loopback: true }
}

/// Plays the clip, from its next keyframe on whenever one is asked for.
fn film() -> (MediaHub, AbortOnDropHandle<()>) {
    let (hub, clip, sound) = (MediaHub::new(), Clip::h264(), sound::Sound::new(AudioFormat::PCMU).unwrap());
    let plays = hub.clone();
    let playing = async move {
        let mut beat = interval(Duration::from_millis(10));
        let (mut shown, mut n) = (0, 0_u64);
        loop {
            tokio::select! {
                () = plays.keyframe_wanted() => shown = clip.next_keyframe(shown),
                _ = beat.tick() => {
                    let now = Duration::from_millis(10 * n);
                    if n.is_multiple_of(5) {
                        let unit = clip.access_unit(shown);
                        let kind = FrameKind::Video { codec: VideoCodec::H264, keyframe: unit.keyframe };
                        plays.publish(kind, now, unit.data);
                        shown += 1;
                    }
                    if n.is_multiple_of(2) {
                        plays.publish(FrameKind::Audio(AudioFormat::PCMU), now, sound.packet(n / 2).data);
                    }
                    n += 1;
                }
            }
        }
    };
    (hub, AbortOnDropHandle::new(tokio::spawn(playing)))
}

struct Call {
    viewer: CameraPeer,
    camera: CameraPeer,
    /// What the viewer sees.
    seen: MediaHub,
    /// What the camera hears.
    heard: MediaHub,
}

async fn call(viewer: Wanted<'_>, camera: Wanted<'_>) -> Call {
    let (seen, heard) = (viewer.hub.clone(), camera.hub.clone());
    let mut viewer = CameraPeer::offer(viewer).await.unwrap();
    viewer.gathered(PATIENCE).await;
    let mut camera = CameraPeer::answer_to(camera, &viewer.sdp()).await.unwrap();
    camera.gathered(PATIENCE).await;
    viewer.answer(&camera.sdp()).await.unwrap();
    for peer in [&viewer, &camera] {
        timeout(PATIENCE, peer.connected()).await.expect("no connection").unwrap();
    }
    Call { viewer, camera, seen, heard }
}

async fn next(frames: &mut FrameStream, is_it: impl Fn(&Frame) -> bool) -> Frame {
    let found = async {
        loop {
            let frame = frames.next().await.expect("the hub is there");
            if is_it(&frame) {
                return (*frame).clone();
            }
        }
    };
    timeout(PATIENCE, found).await.expect("nothing like it came")
}

#[tokio::test]
async fn a_viewer_sees_whole_pictures_of_the_clip_and_hears_it_in_the_format_that_both_have() {
    for (takes, sends) in [(&SPOKEN[..], AudioFormat::OPUS), (&SPOKEN[1..], AudioFormat::PCMU)] {
        let (film, _plays) = film();
        let viewer = wanted(Video::Receive, Sound::Both(&[AudioFormat::OPUS, AudioFormat::PCMU, AudioFormat::PCMA]));
        let takes: &'static [AudioFormat] = takes;
        let mut call = call(viewer, wanted(Video::Send(film), Sound::Both(takes))).await;
        assert_eq!(call.viewer.speech_format(), Some(sends));
        let mut seen = call.seen.listen();
        let _flows = (call.viewer.flow(), call.camera.flow());
        let clip = Clip::h264();
        let pictures: Vec<Bytes> = (0..200).map(|n| clip.access_unit(n).data).collect();
        let units = |data: &[u8]| doorstep::media::h26x::nals(data).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let first = next(&mut seen, |frame| frame.kind.is_video()).await;
        assert!(first.kind.is_keyframe());
        for _ in 0..30 {
            let picture = next(&mut seen, |frame| frame.kind.is_video()).await;
            assert!(pictures.iter().any(|known| units(known) == units(&picture.data)), "no picture of the clip");
        }
        let sound = next(&mut seen, |frame| !frame.kind.is_video()).await;
        assert_eq!(sound.kind, FrameKind::Audio(sends));
    }
}

#[tokio::test]
async fn a_viewer_that_asks_for_a_keyframe_is_sent_one_at_once() {
    let (film, _plays) = film();
    let mut call = call(wanted(Video::Receive, Sound::Receive), wanted(Video::Send(film), Sound::Both(&SPOKEN))).await;
    let mut seen = call.seen.listen();
    let _flows = (call.viewer.flow(), call.camera.flow());
    next(&mut seen, |frame| frame.kind.is_keyframe()).await;
    // Just after a keyframe the clip's own next one is a second away.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = clock::now();
    call.seen.request_keyframe();
    next(&mut seen, |frame| frame.kind.is_keyframe()).await;
    assert!(begun.elapsed() < Duration::from_millis(600), "it came after {:?}", begun.elapsed());
}

#[tokio::test]
async fn whoever_joins_late_has_the_picture_since_the_last_keyframe_at_once() {
    let hub = MediaHub::new();
    let clip = Clip::h264();
    let publish = |n: u64| {
        let unit = clip.access_unit(n);
        let kind = FrameKind::Video { codec: VideoCodec::H264, keyframe: unit.keyframe };
        hub.publish(kind, unit.pts, unit.data);
    };
    // And then the film stands still, as that of a program which cannot be asked for a keyframe.
    (0..15).for_each(publish);
    let (viewer, camera) = (wanted(Video::Receive, Sound::Receive), wanted(Video::Send(hub.clone()), Sound::None));
    let mut call = call(viewer, camera).await;
    let mut seen = call.seen.listen();
    let _flows = (call.viewer.flow(), call.camera.flow());
    let mut pictures = Vec::new();
    while pictures.len() < 14 {
        pictures.push(next(&mut seen, |frame| frame.kind.is_video()).await);
    }
    assert!(pictures[0].kind.is_keyframe());
    let length = pictures[13].pts - pictures[0].pts;
    assert!(length < Duration::from_millis(50), "the past was shown as slowly as it went by: {length:?}");
}

#[tokio::test]
async fn a_camera_hears_what_its_viewer_says() {
    let (film, _plays) = film();
    let viewer = wanted(Video::Receive, Sound::Both(&SPOKEN));
    let mut call = call(viewer, wanted(Video::Send(film), Sound::Both(&[AudioFormat::PCMU]))).await;
    let mut heard = call.heard.listen();
    let _flows = (call.viewer.flow(), call.camera.flow());
    call.viewer.speak(Bytes::from(vec![0x55; 160])).await;
    let frame = next(&mut heard, |_| true).await;
    assert_eq!((frame.kind, &frame.data[..]), (FrameKind::Audio(AudioFormat::PCMU), &[0x55; 160][..]));
}

#[tokio::test]
async fn a_film_is_wanted_while_there_is_a_viewer_and_a_hang_up_is_noticed() {
    let hub = MediaHub::new();
    let mut demand = hub.demand();
    let (viewer, camera) = (wanted(Video::Receive, Sound::Receive), wanted(Video::Send(hub), Sound::Both(&SPOKEN)));
    let mut call = call(viewer, camera).await;
    assert_eq!(*demand.borrow_and_update(), 1);
    let flowing = call.camera.flow();
    drop(call.viewer);
    let ending = timeout(PATIENCE, flowing).await.expect("the call goes on").unwrap();
    assert_eq!(ending, Ending::HungUp);
    drop(call.camera);
    timeout(PATIENCE, demand.wait_for(|count| *count == 0)).await.expect("the film is wanted on").unwrap();
}

#[tokio::test]
async fn a_viewer_that_takes_other_pictures_only_is_not_answered() {
    let viewer = CameraPeer::offer(wanted(Video::Receive, Sound::Receive)).await.unwrap();
    let offer = viewer.sdp().replace("H264/90000", "VP8/90000");
    let camera = wanted(Video::Send(MediaHub::new()), Sound::None);
    assert!(matches!(CameraPeer::answer_to(camera, &offer).await, Err(PeerError::NoVideo)));
}
