//! go2rtc (MIT, github.com/AlexxIT/go2rtc), 1.9.14 or newer for its native Wyze source.
//!
//! Taken from `$GO2RTC`, else from `PATH`. It listens on loopback only and knows no STUN server.

mod companion;
mod kinesis;
mod kvs;
mod whep;
mod wyze;

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::http::{free_address, request};
use crate::rtsp;
use crate::wait::until;

pub(crate) fn tests() -> Vec<Trial> {
    let tests =
        [companion::tests(), kvs::tests(), kinesis::tests(), wyze::tests(), whep::tests(), rtsp::go2rtc_tests()];
    tests.into_iter().flatten().collect()
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    if installed().is_none() {
        return Some("the go2rtc tests: no go2rtc in `PATH`, and `$GO2RTC` names no file".into());
    }
    in_path("ffmpeg").is_none().then(|| "the go2rtc tests: no ffmpeg in `PATH` to watch its streams".into())
}

fn installed() -> Option<PathBuf> {
    match env::var_os("GO2RTC") {
        Some(path) => Some(path.into()).filter(|path: &PathBuf| path.is_file()),
        None => in_path("go2rtc"),
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A running go2rtc with the given streams. Killed when dropped.
pub(crate) struct Go2rtc {
    process: Child,
    command: Command,
    api: SocketAddr,
    rtsp: SocketAddr,
}

impl Go2rtc {
    pub(crate) async fn start(streams: &[(&str, &str)]) -> Self {
        Self::start_with(streams, |_| {}).await
    }

    /// One that believes this authority, a file.
    pub(crate) async fn start_trusting(authority: &Path, streams: &[(&str, &str)]) -> Self {
        let trusting = |go2rtc: &mut Command| {
            go2rtc.env("SSL_CERT_FILE", authority);
        };
        Self::start_with(streams, trusting).await
    }

    async fn start_with(streams: &[(&str, &str)], change: impl FnOnce(&mut Command)) -> Self {
        let (api, rtsp) = (free_address(), free_address());
        let streams: serde_json::Map<_, _> =
            streams.iter().map(|&(name, url)| (name.to_owned(), Value::from(url))).collect();
        let config = json!({
            "app": {"modules": ["api", "ws", "http", "rtsp", "webrtc", "wyze"]},
            "api": {"listen": api.to_string()},
            "rtsp": {"listen": rtsp.to_string()},
            // Without a port of its own its WebRTC client uses these filters too, and so loopback candidates.
            "webrtc": {"listen": "", "ice_servers": [], "filters": {"loopback": true, "interfaces": ["lo"]}},
            "log": {"level": "info", "output": "stderr", "format": "text"},
            "streams": streams,
        });
        let program = installed().expect("go2rtc is installed");
        let mut command = Command::new(program);
        command.args(["-config", &config.to_string()]).kill_on_drop(true);
        change(&mut command);
        Self::run(command, api, rtsp).await
    }

    async fn run(mut command: Command, api: SocketAddr, rtsp: SocketAddr) -> Self {
        let process = command.spawn().unwrap();
        until("go2rtc's API", async || TcpStream::connect(api).await.is_ok() && TcpStream::connect(rtsp).await.is_ok())
            .await;
        Self { process, command, api, rtsp }
    }

    /// It forgets everything that is not in its configuration.
    pub(crate) async fn restart(self) -> Self {
        let Self { mut process, command, api, rtsp } = self;
        process.kill().await.unwrap();
        Self::run(command, api, rtsp).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// Whether it has a stream of this name.
    pub(crate) async fn has(&self, stream: &str) -> bool {
        request(self.api, "GET", &format!("/api/streams?src={stream}")).await.0 == 200
    }

    /// The address of a stream that nobody watches.
    pub(crate) async fn source(&self, stream: &str) -> String {
        let (_, body) = request(self.api, "GET", &format!("/api/streams?src={stream}")).await;
        let told: Value = serde_json::from_str(&body).unwrap();
        told["producers"][0]["url"].as_str().unwrap_or_else(|| panic!("no source in {body}")).to_owned()
    }

    pub(crate) fn rtsp_url(&self, stream: &str) -> String {
        format!("rtsp://{}/{stream}", self.rtsp)
    }

    /// What the source of a stream offers and takes, in go2rtc's words: `video, recvonly, H264 High 4.1`.
    /// Dials the source when nobody watches it.
    pub(crate) async fn medias(&self, stream: &str) -> Vec<String> {
        let (status, body) = self.dial(stream).await;
        assert_eq!(status, 200, "{stream}: {body}");
        let stream: Value = serde_json::from_str(&body).unwrap();
        let medias = stream["producers"][0]["medias"].as_array().unwrap_or_else(|| panic!("no medias in {body}"));
        medias.iter().map(|media| media.as_str().unwrap().to_owned()).collect()
    }

    /// Why go2rtc gets nothing from the source of a stream.
    pub(crate) async fn refusal(&self, stream: &str) -> String {
        let (status, body) = self.dial(stream).await;
        assert_eq!(status, 500, "{stream}: {body}");
        body
    }

    async fn dial(&self, stream: &str) -> (u16, String) {
        request(self.api, "GET", &format!("/api/streams?src={stream}&video=all&audio=all&microphone=all")).await
    }

    /// Waits until somebody watches the stream, so that go2rtc's session with its source is up.
    pub(crate) async fn watched(&self, stream: &str) {
        until("viewer", async || {
            let (_, body) = request(self.api, "GET", &format!("/api/streams?src={stream}")).await;
            let stream: Value = serde_json::from_str(&body).unwrap();
            stream["consumers"].as_array().is_some_and(|consumers| !consumers.is_empty())
        })
        .await;
    }

    /// Plays a sound into the speaker of a stream's source.
    pub(crate) async fn say(&self, stream: &str, sound_url: &str) {
        let sound: String = url::form_urlencoded::byte_serialize(sound_url.as_bytes()).collect();
        let (status, body) = request(self.api, "POST", &format!("/api/streams?dst={stream}&src={sound}")).await;
        assert_eq!(status, 200, "talking to {stream}: {body}");
    }
}
