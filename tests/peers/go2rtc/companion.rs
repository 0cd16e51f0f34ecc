//! go2rtc beside our service: we register every stream there by ourselves, and whoever watches or talks over it does
//! so through our signalling.

use std::time::Duration;

use doorstep::app::{self, Running};
use doorstep::config;
use doorstep::go2rtc::{self, Pace};
use doorstep::model::{Companion, DeviceId};
use doorstep::sim::tutk_camera::{self, CameraEvent, RunningCamera, Settings};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Go2rtc;
use crate::ffmpeg::{self, LONG_ENOUGH};
use crate::told::happens;
use crate::wait::{PATIENCE, until};
use crate::{promise, wav};

const TOKEN: &str = "4f6b0c7d9e2a815346fb7cd02e918a5d";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("go2rtc_gets_every_stream_and_passes_picture_sound_and_talk", passes_picture_sound_and_talk),
        promise("go2rtc_gets_every_stream_by_whep_where_its_owner_wants_that", gets_it_by_whep),
        promise("go2rtc_gets_every_stream_again_after_its_restart", gets_it_again),
        promise("go2rtc_brings_a_key_of_minutes_where_a_token_is_needed", brings_a_key),
    ]
}

/// Our service with one virtual doorbell.
struct House {
    running: Running,
    stream: String,
    _camera: RunningCamera,
    happened: broadcast::Receiver<CameraEvent>,
    stop: CancellationToken,
    _stop: DropGuard,
    _data: TempDir,
}

impl House {
    /// `more` is what its owner has written besides.
    async fn start(more: &str) -> Self {
        let stop = CancellationToken::new();
        let camera = tutk_camera::start(Settings::generate(7), stop.clone()).await.unwrap();
        let Settings { model, mac, enr, .. } = &camera.settings;
        let (uid, enr, address) = (camera.settings.uid_text(), enr.expose(), camera.address);
        let text = format!(
            "{more}\nwyze: [{{cameras: [{{name: Front Door, model: {model}, mac: {mac}, uid: {uid}, enr: \"{enr}\", \
             address: \"{address}\"}}]}}]\n"
        );
        let mut config = config::parse(&text, "doorstep.yaml").unwrap();
        config.media.port = 0;
        config.http.listen.set_port(0);
        let data = tempfile::tempdir().unwrap();
        let settings = app::Settings { config, data: data.path().join("data"), demo: false, home: None };
        let happened = camera.events();
        let running = app::start(settings).await.unwrap();
        let stream = format!("doorstep_wyze_{}", mac.to_lowercase());
        Self { running, stream, _camera: camera, happened, stop: stop.clone(), _stop: stop.drop_guard(), _data: data }
    }

    /// Registers its streams a hundred times as often as usual, with keys that are renewed each second.
    fn hurry(&self, go2rtc: &Go2rtc) -> go2rtc::Go2rtc {
        let companion = config::parse(&format!("go2rtc: {{enabled: true, url: \"{}\"}}", go2rtc.url()), "test");
        let settings = go2rtc::Settings {
            companion: companion.unwrap().go2rtc,
            usual_url: go2rtc::usual_url(),
            listener: self.running.page,
            pace: Pace { look_again: Duration::from_millis(300), key_age: Duration::from_secs(1), ..Pace::default() },
        };
        let keys = self.running.keys.clone();
        let key = move |id: &DeviceId| keys.issue(id).ok();
        let doorbells = self.running.doorbells.clone();
        go2rtc::start(settings, doorbells, key, std::future::pending(), self.stop.clone())
    }

    async fn talk_is_heard(&mut self) {
        happens(&mut self.happened, "the tone", |event| match event {
            CameraEvent::TalkAudio { tone_hz: Some(hz), .. } => (hz - wav::TONE_HZ).abs() < 20.0,
            _ => false,
        })
        .await;
        happens(&mut self.happened, "the end of the talk", |event| matches!(event, CameraEvent::TalkEnded { .. }))
            .await;
    }

    async fn nobody_watches(&self) {
        let doorbell = self.running.doorbells.all().remove(0);
        until("end of the last viewer's session", async || doorbell.state().borrow().viewers == 0).await;
    }
}

async fn is_registered(registration: &go2rtc::Go2rtc) {
    let mut state = registration.state();
    let registered = timeout(PATIENCE, state.wait_for(|state| *state == Companion::Registered { streams: 1 })).await;
    assert!(registered.is_ok(), "{:?}", registration.state().borrow());
}

async fn passes_picture_sound_and_talk() {
    let go2rtc = Go2rtc::start(&[]).await;
    let mut house = House::start(&format!("go2rtc: {{enabled: true, url: \"{}\"}}", go2rtc.url())).await;
    until("our stream", async || go2rtc.has(&house.stream).await).await;
    let medias = go2rtc.medias(&house.stream).await;
    for expected in ["video, recvonly, H264", "audio, recvonly, PCMU/8000", "audio, sendonly, PCMU/8000"] {
        assert!(medias.iter().any(|media| media.starts_with(expected)), "{expected} is not among {medias:?}");
    }
    let tone = wav::serve().await;
    let url = go2rtc.rtsp_url(&house.stream);
    let first = tokio::spawn(async move { ffmpeg::watch(&url, LONG_ENOUGH + LONG_ENOUGH).await });
    go2rtc.watched(&house.stream).await;
    // Who comes later is shown the picture of the same session, from its next keyframe on: go2rtc asks for none.
    ffmpeg::watch(&go2rtc.rtsp_url(&house.stream), LONG_ENOUGH).await.assert_alive_from_a_keyframe_on();
    go2rtc.say(&house.stream, &tone).await;
    house.talk_is_heard().await;
    first.await.unwrap().assert_alive_from_a_keyframe_on();
    // Nobody watches now: go2rtc dials for the talk alone.
    house.nobody_watches().await;
    go2rtc.say(&house.stream, &tone).await;
    house.talk_is_heard().await;
    house.nobody_watches().await;
}

async fn gets_it_by_whep() {
    let go2rtc = Go2rtc::start(&[]).await;
    let house = House::start(&format!("go2rtc: {{enabled: true, url: \"{}\", mode: whep}}", go2rtc.url())).await;
    until("our stream", async || go2rtc.has(&house.stream).await).await;
    let medias = go2rtc.medias(&house.stream).await;
    assert!(!medias.iter().any(|media| media.contains("sendonly")), "{medias:?}");
    ffmpeg::watch(&go2rtc.rtsp_url(&house.stream), LONG_ENOUGH).await.assert_alive_from_a_keyframe_on();
    house.nobody_watches().await;
}

async fn gets_it_again() {
    let mut go2rtc = Go2rtc::start(&[]).await;
    let house = House::start("go2rtc: {enabled: false}").await;
    let registration = house.hurry(&go2rtc);
    is_registered(&registration).await;
    go2rtc = go2rtc.restart().await;
    until("our stream after the restart", async || go2rtc.has(&house.stream).await).await;
    is_registered(&registration).await;
    ffmpeg::watch(&go2rtc.rtsp_url(&house.stream), LONG_ENOUGH).await.assert_alive_from_a_keyframe_on();
}

async fn brings_a_key() {
    let go2rtc = Go2rtc::start(&[]).await;
    let token = format!("http: {{listen: \"127.0.0.1:1\", token: {TOKEN}}}");
    let mut house = House::start(&format!("{token}\ngo2rtc: {{enabled: true, url: \"{}\"}}", go2rtc.url())).await;
    until("our stream", async || go2rtc.has(&house.stream).await).await;
    let first = go2rtc.source(&house.stream).await;
    assert!(first.contains("&key=") && !first.contains(TOKEN), "it is told {first}");
    ffmpeg::watch(&go2rtc.rtsp_url(&house.stream), LONG_ENOUGH).await.assert_alive_from_a_keyframe_on();
    house.nobody_watches().await;

    let _registration = house.hurry(&go2rtc);
    until("two other keys", async || go2rtc.source(&house.stream).await != first).await;
    let second = go2rtc.source(&house.stream).await;
    until("two other keys", async || go2rtc.source(&house.stream).await != second).await;
    ffmpeg::watch(&go2rtc.rtsp_url(&house.stream), LONG_ENOUGH).await.assert_alive_from_a_keyframe_on();
    let tone = wav::serve().await;
    go2rtc.say(&house.stream, &tone).await;
    house.talk_is_heard().await;
}
