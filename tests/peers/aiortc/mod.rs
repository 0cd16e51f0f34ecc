//! aiortc (BSD, github.com/aiortc/aiortc): another WebRTC, in Python. It is the doorbell that a KVS call is placed to,
//! a Vivint camera that we call, and an app that calls our virtual Vivint doorbell.
//!
//! `$AIORTC_PYTHON` names a Python that has what `requirements.txt` here names; without it, that of a virtual
//! environment here: `python3 -m venv tests/peers/aiortc/.venv`, then
//! `tests/peers/aiortc/.venv/bin/pip install -r tests/peers/aiortc/requirements.txt`.

mod vivint;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::media::convert::Converter;
use doorstep::media::{AudioCodec, AudioFormat, Frame, FrameKind, FrameStream, MediaHub, VideoCodec};
use doorstep::rtc::kvs_call::{CallError, Ending, KvsCall, Signalling};
use doorstep::secret::SignedUrl;
use doorstep::sim::tone;
use libtest_mimic::Trial;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{interval, timeout};

use crate::program::Program;
use crate::promise;
use crate::wait::PATIENCE;

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        promise("aiortc::its_picture_and_sound_arrive_and_it_hears_us_in_opus", || talks("opus", AudioFormat::OPUS)),
        promise("aiortc::its_picture_and_sound_arrive_and_it_hears_us_in_pcmu", || talks("pcmu", AudioFormat::PCMU)),
        promise("aiortc::who_does_not_talk_is_shown_it_all_the_same", watches),
        promise("aiortc::a_doorbell_that_hangs_up_ends_the_call", || {
            ends(|doorbell| drop(doorbell.program.process.stdin.take()))
        }),
        promise("aiortc::a_doorbell_that_vanishes_ends_the_call", || {
            ends(|doorbell| doorbell.program.process.start_kill().unwrap())
        }),
    ];
    tests.extend(vivint::tests());
    tests
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let found = Blocking::new(python()).args(["-c", "import aiortc, websockets"]).stderr(Stdio::null()).status();
    let missing = !found.is_ok_and(|status| status.success());
    missing.then(|| {
        "the aiortc tests: no virtual environment in tests/peers/aiortc, and `$AIORTC_PYTHON` has no aiortc".to_owned()
    })
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/aiortc"))
}

fn python() -> PathBuf {
    env::var_os("AIORTC_PYTHON").map_or_else(|| folder().join(".venv/bin/python"), PathBuf::from)
}

/// A running program of this folder.
pub(crate) fn run(script: &str, argument: &str) -> Program {
    let mut command = Command::new(python());
    command.arg(folder().join(script)).arg(argument);
    Program::run(command)
}

/// The doorbell behind KVS frames.
struct Doorbell {
    program: Program,
    port: u64,
}

impl Doorbell {
    async fn start(sound: &str) -> Self {
        let mut program = run("doorbell.py", sound);
        let port = program.says("port").await.as_u64().unwrap();
        Self { program, port }
    }

    fn signalling(&self) -> Signalling {
        let url = SignedUrl::new(format!("ws://127.0.0.1:{}/?token=a%2Fb+c", self.port));
        Signalling { url, client_id: "viewer-1".to_owned(), ice_servers: vec![], authority: None }
    }

    async fn says(&mut self, name: &str) -> Value {
        self.program.says(name).await
    }
}

async fn talks(sound: &'static str, format: AudioFormat) {
    let mut doorbell = Doorbell::start(sound).await;
    let hub = MediaHub::new();
    let mut frames = hub.listen();
    let call = KvsCall::place(&doorbell.signalling(), hub.clone(), true).await.unwrap();
    let offered = doorbell.says("offered").await;
    assert_eq!(offered["at"], "/?token=a%2Fb+c", "the address did not go out byte for byte");
    assert!(offered["characters"].as_u64().unwrap() <= 10_000, "Amazon passes on no longer offer: {offered}");
    assert_eq!(call.talk_format(), Some(format));
    let speaking = tokio::spawn(speak(call, format));
    assert_alive(&watch(&mut frames).await, format);
    doorbell.says("heard").await;
    let heard = doorbell.says("heard").await.as_f64().unwrap();
    assert!((heard - 440.0).abs() < 20.0, "it heard {heard} Hz");
    speaking.abort();
}

async fn watches() {
    let mut doorbell = Doorbell::start("opus").await;
    let hub = MediaHub::new();
    let mut frames = hub.listen();
    let call = KvsCall::place(&doorbell.signalling(), hub.clone(), false).await.unwrap();
    assert_eq!(call.talk_format(), None);
    assert_alive(&watch(&mut frames).await, AudioFormat::OPUS);
    call.close().await;
    while doorbell.says("state").await != "closed" {}
}

async fn ends(end: impl FnOnce(&mut Doorbell)) {
    let mut doorbell = Doorbell::start("opus").await;
    let hub = MediaHub::new();
    let mut frames = hub.listen();
    let mut call = KvsCall::place(&doorbell.signalling(), hub.clone(), false).await.unwrap();
    watch(&mut frames).await;
    let begun = clock::now();
    end(&mut doorbell);
    let ending = timeout(PATIENCE, call.ended()).await.expect("the call goes on");
    let CallError::Ended(ending @ (Ending::Lost | Ending::HungUp)) = ending else { panic!("{ending}") };
    assert!(begun.elapsed() < Duration::from_secs(5), "{ending:?} after {:?}", begun.elapsed());
}

/// A tone of 440 Hz, in time, without end.
pub(crate) async fn speak(call: KvsCall, format: AudioFormat) {
    let mut voice = Voice::new(format);
    let mut beat = interval(Duration::from_millis(20));
    loop {
        beat.tick().await;
        voice.next().into_iter().for_each(|piece| call.send_audio(piece));
    }
}

/// A tone of 440 Hz, 20 ms at a time.
struct Voice {
    converter: Converter,
    said: u32,
}

impl Voice {
    fn new(format: AudioFormat) -> Self {
        let pcm = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 8_000, channels: 1 };
        Self { converter: Converter::new(pcm, format).unwrap(), said: 0 }
    }

    fn next(&mut self) -> Vec<Bytes> {
        let at = |k: u32| std::f64::consts::TAU * 440.0 * f64::from(160 * self.said + k) / 8_000.0;
        let piece: Vec<u8> = (0..160).flat_map(|k| ((8_000.0 * at(k).sin()) as i16).to_le_bytes()).collect();
        self.said += 1;
        self.converter.push(&piece)
    }
}

/// What comes until there are forty pictures and a second of sound.
pub(crate) async fn watch(frames: &mut FrameStream) -> Vec<Arc<Frame>> {
    let mut seen = Vec::new();
    let enough = |seen: &[Arc<Frame>]| {
        let pictures = seen.iter().filter(|frame| frame.kind.is_video()).count();
        pictures >= 40 && seen.len() - pictures >= 50
    };
    while !enough(&seen) {
        seen.push(timeout(PATIENCE, frames.next()).await.expect("nothing comes any more").unwrap());
    }
    seen
}

pub(crate) fn assert_alive(seen: &[Arc<Frame>], format: AudioFormat) {
    let pictures: Vec<_> = seen.iter().filter(|frame| frame.kind.is_video()).collect();
    assert_eq!(pictures[0].kind, FrameKind::Video { codec: VideoCodec::H264, keyframe: true });
    assert!(pictures.windows(2).all(|pair| pair[0].pts < pair[1].pts && pair[0].data != pair[1].data));
    assert_beeps(seen, format);
}

/// A tone of 1 kHz.
fn assert_beeps(seen: &[Arc<Frame>], format: AudioFormat) {
    let mut ear = Converter::new(format, AudioFormat { codec: AudioCodec::Pcm, rate_hz: 8_000, channels: 1 }).unwrap();
    let sound = seen.iter().filter(|frame| frame.kind == FrameKind::Audio(format));
    let pcm: Vec<u8> = sound.flat_map(|frame| ear.push(&frame.data)).flatten().collect();
    let samples: Vec<i16> = pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    let heard = tone::listen(&samples[samples.len() / 2..], 8_000);
    assert!(heard.tone_hz.is_some_and(|hz| (hz - 1_000.0).abs() < 20.0), "{heard:?}");
}
