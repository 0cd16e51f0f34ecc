//! FFmpeg, and go2rtc by itself, as viewers of our virtual RTSP server.

use std::env;

use doorstep::media::AudioFormat;
use doorstep::secret::Password;
use doorstep::sim::rtsp::{self, ParameterSets, Protection, RtspEvent, RunningRtsp, Settings};
use libtest_mimic::Trial;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ffmpeg::{self, LONG_ENOUGH};
use crate::go2rtc::Go2rtc;
use crate::promise;
use crate::wait::PATIENCE;

/// Whose tests need FFmpeg alone.
pub(crate) fn tests() -> Vec<Trial> {
    let legacy = Settings {
        audio: Some(AudioFormat::PCMU),
        protection: Protection::Legacy,
        parameter_sets: ParameterSets::Described,
        ..Settings::default()
    };
    vec![
        promise("ffmpeg_plays_a_virtual_rtsp_server", || plays(Settings::default())),
        promise("ffmpeg_plays_a_virtual_rtsp_server_of_the_old_kind", || plays(legacy)),
    ]
}

pub(crate) fn go2rtc_tests() -> Vec<Trial> {
    vec![promise("go2rtc_pulls_from_a_virtual_rtsp_server", pulls)]
}

pub(crate) fn missing() -> Option<String> {
    let found = env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|path| path.join("ffmpeg").is_file());
    (!found).then(|| "the tests of the virtual RTSP server: no ffmpeg in `PATH`".into())
}

async fn plays(settings: Settings) {
    let stop = CancellationToken::new();
    let (server, url) = start(settings, &stop).await;
    let mut happened = server.events();
    ffmpeg::watch(&url, LONG_ENOUGH).await.assert_alive();
    leaves_content(&mut happened, &[]).await;
    stop.cancel();
    server.stopped().await;
}

async fn pulls() {
    let stop = CancellationToken::new();
    let (server, url) = start(Settings::default(), &stop).await;
    let mut happened = server.events();
    let go2rtc = Go2rtc::start(&[("door", &url)]).await;
    ffmpeg::watch(&go2rtc.rtsp_url("door"), LONG_ENOUGH).await.assert_alive_from_a_keyframe_on();
    // It asks whether there is a back channel, and goes on without.
    leaves_content(&mut happened, &[551]).await;
    stop.cancel();
    server.stopped().await;
}

/// And its address with the login in it, as other programs want it.
async fn start(settings: Settings, stop: &CancellationToken) -> (RunningRtsp, String) {
    let settings = Settings { user: "front door".into(), password: Password::new("p@ss/word:1"), ..settings };
    let server = rtsp::start(settings, stop.clone()).await.unwrap();
    let url = server.url("live.sdp").replace("rtsp://", "rtsp://front%20door:p%40ss%2Fword%3A1@");
    (server, url)
}

/// Waits until a viewer has gone, and no request of it was refused but as `expected`.
async fn leaves_content(happened: &mut broadcast::Receiver<RtspEvent>, expected: &[u16]) {
    let gone = async {
        let mut played = false;
        loop {
            match happened.recv().await.unwrap() {
                RtspEvent::Play { .. } => played = true,
                RtspEvent::Refused { status, why, .. } if !expected.contains(&status) => {
                    panic!("it was refused with {status}: {why}")
                }
                RtspEvent::End { .. } if played => return,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, gone).await.expect("the viewer leaves");
}
