//! go2rtc's native Wyze source as the client of our virtual camera.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use super::Go2rtc;
use crate::doorstep::VirtualCamera;
use crate::ffmpeg::{self, Watched};
use crate::{promise, wav};

/// Four seconds of the clip's 15 pictures a second.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
const PICTURES: usize = 60;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("go2rtc_shows_an_old_camera", || shows(&["--protocol", "old"])),
        promise("go2rtc_shows_a_new_camera", || shows(&["--protocol", "new"])),
        promise("go2rtc_talks_to_an_old_camera", || talks(&["--protocol", "old"])),
        promise("go2rtc_talks_to_a_new_camera", || talks(&["--protocol", "new"])),
        promise("go2rtc_names_what_each_camera_sends", names_what_each_camera_sends),
    ]
}

async fn shows(options: &'static [&'static str]) {
    let mut camera = VirtualCamera::start(options).await;
    let go2rtc = Go2rtc::start(&[("cam", camera.go2rtc_url())]).await;
    for _viewer in ["first", "second"] {
        assert_alive(&ffmpeg::watch(&go2rtc.rtsp_url("cam"), LONG_ENOUGH).await);
        camera.event("session_ended", |_| true).await;
    }
    camera.leave_content().await;
}

async fn talks(options: &'static [&'static str]) {
    let mut camera = VirtualCamera::start(options).await;
    let go2rtc = Go2rtc::start(&[("cam", camera.go2rtc_url())]).await;
    let tone = wav::serve().await;

    let url = go2rtc.rtsp_url("cam");
    let viewer = tokio::spawn(async move { ffmpeg::watch(&url, LONG_ENOUGH).await });
    go2rtc.watched("cam").await;
    go2rtc.say("cam", &tone).await;
    camera.event("talk_started", |_| true).await;
    camera.event("talk_audio", is_the_tone).await;
    assert_alive(&viewer.await.unwrap());
    camera.event("talk_ended", |_| true).await;

    // Nobody watches now: go2rtc dials for the talk alone.
    go2rtc.say("cam", &tone).await;
    camera.event("talk_started", |_| true).await;
    camera.event("talk_audio", is_the_tone).await;
    camera.event("talk_ended", |_| true).await;
    camera.leave_content().await;
}

async fn names_what_each_camera_sends() {
    for (options, video, audio) in [
        (["--codec", "h264", "--audio", "pcmu"], "H264", "PCMU/8000"),
        (["--codec", "h264", "--audio", "pcma"], "H264", "PCMA/8000"),
        (["--codec", "h264", "--audio", "pcm"], "H264", "PCML/16000"),
        (["--codec", "h265", "--audio", "aac"], "H265", "MPEG4-GENERIC/16000"),
        (["--codec", "h265", "--audio", "opus"], "H265", "OPUS/48000/2"),
    ] {
        let camera = VirtualCamera::start(&options).await;
        let go2rtc = Go2rtc::start(&[("cam", camera.go2rtc_url())]).await;
        let medias = go2rtc.medias("cam").await;
        for (media, start, codec) in
            [(0, "video, recvonly, ", video), (1, "audio, recvonly, ", audio), (2, "audio, sendonly, ", audio)]
        {
            let said = medias.get(media).unwrap_or_else(|| panic!("{options:?}: only {medias:?}"));
            assert!(said.starts_with(start) && said.contains(codec), "{options:?}: {said}");
        }
        camera.leave_content().await;
    }
}

fn assert_alive(watched: &Watched) {
    assert!(watched.pictures >= PICTURES, "too few pictures: {watched:?}");
    assert!(watched.distinct * 2 > watched.pictures, "a frozen picture: {watched:?}");
    assert!(watched.sound_length * 2 > LONG_ENOUGH, "too little sound: {watched:?}");
    assert!(watched.sound.tone_hz.is_some_and(|hz| (hz - 1_000.0).abs() < 50.0), "no beep: {watched:?}");
}

fn is_the_tone(talk_audio: &Value) -> bool {
    talk_audio["tone_hz"].as_f64().is_some_and(|hz| (hz - wav::TONE_HZ).abs() < 20.0)
}
