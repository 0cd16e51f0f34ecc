//! go2rtc's native Wyze source as the client of our virtual camera.

use libtest_mimic::Trial;
use serde_json::Value;

use super::Go2rtc;
use crate::doorstep::VirtualCamera;
use crate::ffmpeg::{self, LONG_ENOUGH, PICTURES};
use crate::{promise, wav};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("go2rtc_shows_an_old_camera", || shows(&["--protocol", "old"])),
        promise("go2rtc_shows_a_new_camera", || shows(&["--protocol", "new"])),
        promise("go2rtc_talks_to_an_old_camera", || talks(&["--protocol", "old"])),
        promise("go2rtc_talks_to_a_new_camera", || talks(&["--protocol", "new"])),
        promise("go2rtc_follows_a_camera_through_a_pause_and_to_another_port", follows_pauses_and_ports),
        promise("go2rtc_is_let_in_by_every_kind_of_camera", is_let_in_by_every_kind_of_camera),
        promise("go2rtc_is_kept_out_without_the_key", is_kept_out_without_the_key),
        promise("go2rtc_names_what_each_camera_sends", names_what_each_camera_sends),
    ]
}

async fn shows(options: &'static [&'static str]) {
    let mut camera = VirtualCamera::start(options).await;
    let go2rtc = Go2rtc::start(&[("cam", camera.go2rtc_url())]).await;
    for _viewer in ["first", "second"] {
        ffmpeg::watch(&go2rtc.rtsp_url("cam"), LONG_ENOUGH).await.assert_alive();
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
    viewer.await.unwrap().assert_alive();
    camera.event("talk_ended", |_| true).await;

    // Nobody watches now: go2rtc dials for the talk alone.
    go2rtc.say("cam", &tone).await;
    camera.event("talk_started", |_| true).await;
    camera.event("talk_audio", is_the_tone).await;
    camera.event("talk_ended", |_| true).await;
    camera.leave_content().await;
}

async fn follows_pauses_and_ports() {
    let mut camera = VirtualCamera::start(&["--protocol", "both"]).await;
    let go2rtc = Go2rtc::start(&[("cam", camera.go2rtc_url())]).await;
    let url = go2rtc.rtsp_url("cam");
    let viewer = tokio::spawn(async move { ffmpeg::watch(&url, 2 * LONG_ENOUGH).await });
    go2rtc.watched("cam").await;
    for fault in ["media-gap", "port-change"] {
        camera.misbehave(fault).await;
    }
    let watched = viewer.await.unwrap();
    watched.assert_alive();
    assert!(watched.pictures >= 2 * PICTURES, "too few pictures after the interruptions: {watched:?}");
    camera.leave_content().await;
}

async fn is_let_in_by_every_kind_of_camera() {
    for options in [
        ["--challenge", "1"],
        ["--challenge", "3"],
        ["--challenge", "6"],
        ["--enr", "sixteen-letters."],
        ["--fault", "enr-with-nul"],
        ["--fault", "both-families"],
        // The models decide how a client asks for the best picture: K10052, 2K, the floodlight's own size, 1080P.
        ["--model", "WYZEDB3"],
        ["--model", "HL_DB2"],
        ["--model", "HL_CFL2"],
        ["--model", "WYZE_CAKP2JFUS"],
    ] {
        let mut camera = VirtualCamera::start(&options).await;
        let go2rtc = Go2rtc::start(&[("cam", camera.go2rtc_url())]).await;
        assert_eq!(go2rtc.medias("cam").await.len(), 3, "{options:?}");
        camera.event("streaming", |_| true).await;
        camera.leave_content().await;
    }
}

async fn is_kept_out_without_the_key() {
    for protocol in ["old", "new"] {
        let camera = VirtualCamera::start(&["--protocol", protocol, "--fault", "wrong-psk"]).await;
        let go2rtc = Go2rtc::start(&[("cam", camera.go2rtc_url())]).await;
        let reason = go2rtc.refusal("cam").await;
        assert!(reason.contains("handshake failed"), "{protocol}: {reason}");
    }
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

fn is_the_tone(talk_audio: &Value) -> bool {
    talk_audio["tone_hz"].as_f64().is_some_and(|hz| (hz - wav::TONE_HZ).abs() < 20.0)
}
