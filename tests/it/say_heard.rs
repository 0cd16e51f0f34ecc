//! A clip is heard whole at every virtual doorbell that can be talked to: from a file of sound through the whole service
//! to the camera's speaker. (What GWell's cameras make of it is in `gwell_cameras`.)

use std::f64::consts::TAU;
use std::sync::Arc;

use bytes::Bytes;
use doorstep::doorbell::voice::Source;
use doorstep::doorbell::{Doorbell, Said, Saying};
use doorstep::media::{AudioCodec, AudioFormat};
use doorstep::model::{DeviceId, Link};
use doorstep::sim::aws;
use doorstep::sim::kvs_camera::{self, RunningKvsCamera};
use doorstep::sim::kvs_doorbell::{self, Profile};
use doorstep::sim::tone::Samples;
use doorstep::sim::tutk_camera::{self, CameraEvent, Protocol};
use doorstep::sim::vivint::{self, doorbell};
use doorstep::sim::wyze_cloud::{self, Device, Stream};
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::service::{Camera, PATIENCE, Service, configuration};

/// Of the files: none that a camera plays, so that each is resampled.
const RATE_HZ: u32 = 44_100;
/// What begins the clip with a tone, what is in the middle, and what ends it.
const BEGINS_HZ: f64 = 500.0;
const GOES_ON_HZ: f64 = 1_000.0;
const ENDS_HZ: f64 = 1_500.0;
const EDGE_S: f64 = 0.1;
const CLIP_S: f64 = 1.6;
/// Across the band of a telephone; multiples of 50 Hz, so that none leaks into another.
const BAND_HZ: [f64; 7] = [350.0, 600.0, 1_000.0, 1_500.0, 2_000.0, 2_600.0, 3_200.0];

/// 100 ms of one tone, 1.4 s of another, and 100 ms of a third.
fn tones() -> Saying {
    clip(|at| {
        let hz = match at {
            at if at < EDGE_S => BEGINS_HZ,
            at if at >= CLIP_S - EDGE_S => ENDS_HZ,
            _ => GOES_ON_HZ,
        };
        0.3 * (TAU * hz * at).sin()
    })
}

/// Equally loud tones all across the speech band, at once. Their phases differ, so that they do not peak together.
fn band() -> Saying {
    clip(|at| BAND_HZ.iter().enumerate().map(|(n, hz)| 0.08 * (TAU * hz * at + (n * n) as f64).sin()).sum())
}

/// A WAV file of so much of this wave.
fn clip(wave: impl Fn(f64) -> f64) -> Saying {
    let count = (CLIP_S * f64::from(RATE_HZ)) as u32;
    let samples = (0..count).map(|n| (wave(f64::from(n) / f64::from(RATE_HZ)) * f64::from(i16::MAX)) as i16);
    let mut file = b"RIFF".to_vec();
    file.extend((36 + count * 2).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(RATE_HZ.to_le_bytes());
    file.extend((RATE_HZ * 2).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend((count * 2).to_le_bytes());
    file.extend(samples.flat_map(i16::to_le_bytes));
    Saying::once(Source::File(Bytes::from(file)))
}

/// What was heard of a talk at a virtual speaker, from its first packet to its last.
struct Heard {
    rate_hz: f64,
    samples: Vec<f64>,
}

impl Heard {
    fn new(parts: Vec<Samples>) -> Self {
        let rate_hz = parts.first().expect("something was heard").rate_hz;
        assert!(parts.iter().all(|part| part.rate_hz == rate_hz));
        let samples = parts.iter().flat_map(|part| part.samples.iter().map(|sample| f64::from(*sample))).collect();
        Self { rate_hz: f64::from(rate_hz), samples }
    }

    fn seconds(&self) -> f64 {
        self.samples.len() as f64 / self.rate_hz
    }

    /// The amplitude of one frequency in each 10 ms.
    fn course(&self, hz: f64) -> Vec<f64> {
        self.samples
            .chunks_exact((self.rate_hz / 100.0) as usize)
            .map(|part| amplitude(part, hz / self.rate_hz))
            .collect()
    }

    /// How many of the 10 ms that begin within `from..to` seconds hold this frequency alone.
    fn parts_with(&self, hz: f64, from: f64, to: f64) -> usize {
        let others = [BEGINS_HZ, GOES_ON_HZ, ENDS_HZ].into_iter().filter(|other| *other != hz);
        let others: Vec<_> = others.map(|other| self.course(other)).collect();
        let is_it = |(n, own): &(usize, &f64)| {
            let at = *n as f64 / 100.0;
            (from..to).contains(&at) && **own > 2_000.0 && others.iter().all(|other| other[*n] < **own / 2.0)
        };
        self.course(hz).iter().enumerate().filter(is_it).count()
    }

    /// A second in the middle.
    fn middle(&self) -> &[f64] {
        let from = (0.3 * self.rate_hz) as usize;
        &self.samples[from..from + self.rate_hz as usize]
    }
}

/// Of a sine of this frequency, in parts of the rate, in these samples (Goertzel).
fn amplitude(samples: &[f64], frequency: f64) -> f64 {
    let turn = 2.0 * (TAU * frequency).cos();
    let (last, before) =
        samples.iter().fold((0.0, 0.0), |(last, before), sample| (sample + turn * last - before, last));
    let power = last * last + before * before - turn * last * before;
    2.0 * power.max(0.0).sqrt() / samples.len() as f64
}

fn db(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

fn is_whole(heard: &Heard, said: &Said, what: &str) {
    assert!(said.whole, "{what}: {said:?}");
    let seconds = heard.seconds();
    // A frame at the end is filled with silence, and what a codec holds back may want another.
    assert!((CLIP_S - 0.02..CLIP_S + 0.041).contains(&seconds), "{what}: {seconds} s were heard of {CLIP_S} s");
}

fn tones_are_heard(heard: &Heard, said: &Said, what: &str) {
    is_whole(heard, said, what);
    let begins = heard.parts_with(BEGINS_HZ, 0.0, 0.14);
    let goes_on = heard.parts_with(GOES_ON_HZ, 0.1, CLIP_S);
    let ends = heard.parts_with(ENDS_HZ, CLIP_S - 0.12, CLIP_S + 0.05);
    println!("{what}: {:.3} s, {begins}, {goes_on} and {ends} times 10 ms", heard.seconds());
    assert!(
        begins >= 9 && goes_on >= 137 && ends >= 9,
        "{what}: {begins}, {goes_on} and {ends} times 10 ms were heard"
    );
}

fn the_band_is_heard(heard: &Heard, said: &Said, what: &str) {
    is_whole(heard, said, what);
    let middle = heard.middle();
    let levels = BAND_HZ.map(|hz| db(amplitude(middle, hz / heard.rate_hz)));
    let (low, high) = levels.iter().fold((f64::MAX, f64::MIN), |(low, high), level| (level.min(low), level.max(high)));
    assert!(high - low < 4.0 && (high - db(0.08 * 32_767.0)).abs() < 4.0, "{what}: {levels:?} dB at {BAND_HZ:?} Hz");
    // Above the band there was nothing, so nothing may be there now.
    let above = (3_700..(heard.rate_hz / 2.0) as u32 - 50).step_by(50);
    let loudest = above.map(|hz| amplitude(middle, f64::from(hz) / heard.rate_hz)).fold(1e-6, f64::max);
    println!("{what}: {:.1} dB apart, {:.1} dB above the band", high - low, db(loudest) - high);
    assert!(db(loudest) < high - 30.0, "{what}: {} dB above the band, where it has {high} dB", db(loudest));
}

/// Says both, each in a talk of its own. `heard` waits for the end of a talk, and takes what was heard in it.
async fn says_both(doorbell: &Doorbell, what: &str, mut heard: impl AsyncFnMut() -> Vec<Samples>) {
    doorbell.state().wait_for(|state| state.link == Link::Ready && state.talk_obstacle.is_none()).await.unwrap();
    for (saying, check) in [(tones(), tones_are_heard as fn(&Heard, &Said, &str)), (band(), the_band_is_heard)] {
        let said = timeout(PATIENCE, doorbell.say(saying)).await.expect("it is never said");
        let said = said.unwrap_or_else(|why| panic!("{what}: {why}"));
        let heard = Heard::new(timeout(PATIENCE, heard()).await.expect("the talk never ends"));
        check(&heard, &said, what);
    }
}

/// What was heard until the talk's end, by what an event says of either.
async fn to_the_end<Event: Clone>(events: &mut broadcast::Receiver<Event>, of: impl Fn(Event) -> Told) -> Vec<Samples> {
    let mut parts = Vec::new();
    loop {
        match of(events.recv().await.unwrap()) {
            Told::Heard(samples) => parts.push(samples),
            Told::Ended => return parts,
            Told::Else => {}
        }
    }
}

enum Told {
    Heard(Samples),
    Ended,
    Else,
}

fn doorbell_of(service: &Service, id: &str) -> Doorbell {
    service.running.doorbells.get(&DeviceId::parse(id).unwrap()).expect("it was listed")
}

#[tokio::test]
async fn at_tutk_cameras_of_both_generations() {
    let pcm = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 16_000, channels: 1 };
    for (protocol, format) in [(Protocol::Old, AudioFormat::PCMU), (Protocol::New, pcm)] {
        let change = |settings: &mut tutk_camera::Settings| {
            settings.protocol = protocol;
            settings.audio = Some(format);
        };
        let camera = Camera::start(1, change).await;
        let service = Service::configured(&configuration(None, "127.0.0.1:0", 1, &[&camera])).await;
        camera.is_left_alone().await;
        let mut events = camera.events();
        let heard = async || {
            to_the_end(&mut events, |event| match event {
                CameraEvent::TalkAudio { samples, .. } => Told::Heard(samples),
                CameraEvent::TalkEnded { .. } => Told::Ended,
                _ => Told::Else,
            })
            .await
        };
        says_both(&doorbell_of(&service, &camera.id()), &format!("{protocol:?}"), heard).await;
        service.running.stop().await;
    }
}

/// A camera that is called over Wyze's cloud, with the cloud.
async fn wyze_webrtc() -> (Arc<RunningKvsCamera>, String, DropGuard) {
    const MAC: &str = "GW_BE1_D03F27778899";
    let stop = CancellationToken::new();
    let settings = kvs_camera::Settings { channel: MAC.to_owned(), ..Default::default() };
    let camera = Arc::new(kvs_camera::start(settings, stop.clone()).await.unwrap());
    let called = camera.clone();
    let mut settings = wyze_cloud::Settings::generate(1);
    settings.devices = vec![Device { mac: MAC.to_owned(), ..Device::generate("GW_BE1", "Side Entrance", 0) }];
    settings.streams = Arc::new(move |_| {
        Some(Stream { signaling_url: called.url_for("viewer-1").expose().to_owned(), ice_servers: Vec::new() })
    });
    let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
    let wyze_cloud::Settings { email, password, key_id, api_key, .. } = &cloud.settings;
    let (email, password, key_id, api_key) = (email.expose(), password.expose(), key_id.expose(), api_key.expose());
    let hosts = ["auth", "api", "core", "lock", "mars", "device_management"];
    let hosts = hosts.map(|host| format!("{host}: \"{}\"", cloud.url())).join(", ");
    let yaml = format!(
        "http: {{listen: \"127.0.0.1:0\"}}\ngo2rtc: {{enabled: false}}\nwyze:\n  - {{email: {email}, \
         password: \"{password}\", key_id: \"{key_id}\", api_key: \"{api_key}\", endpoints: {{{hosts}}}}}\n"
    );
    (camera, yaml, stop.drop_guard())
}

#[tokio::test]
async fn at_a_wyze_doorbell_that_is_called_by_webrtc() {
    let (camera, yaml, _stop) = wyze_webrtc().await;
    let service = Service::configured(&yaml).await;
    let mut events = camera.events();
    let heard = async || {
        to_the_end(&mut events, |event| match event {
            kvs_camera::CameraEvent::TalkAudio { samples, .. } => Told::Heard(samples),
            kvs_camera::CameraEvent::TalkEnded { .. } => Told::Ended,
            _ => Told::Else,
        })
        .await
    };
    says_both(&doorbell_of(&service, "wyze_gw_be1_d03f27778899"), "Wyze WebRTC", heard).await;
    service.running.stop().await;
}

#[tokio::test]
async fn at_a_vivint_doorbell() {
    let account = crate::vivint::Account::open().await;
    let service = Service::configured(&account.yaml(1, true)).await;
    let mut events = account.cloud.events();
    let heard = async || {
        to_the_end(&mut events, |event| match event {
            vivint::Event::Call { event: doorbell::Event::TalkStarted { unheard, .. }, .. } => {
                assert_eq!(unheard, 0, "something was said before the doorbell listened");
                Told::Else
            }
            vivint::Event::Call { event: doorbell::Event::TalkAudio { samples, .. }, .. } => Told::Heard(samples),
            vivint::Event::Call { event: doorbell::Event::TalkEnded { .. }, .. } => Told::Ended,
            _ => Told::Else,
        })
        .await
    };
    says_both(&doorbell_of(&service, &account.doorbell()), "Vivint", heard).await;
    service.running.stop().await;
}

#[tokio::test]
async fn at_doorbells_on_aws() {
    for profile in [Profile::Ameba, Profile::Python] {
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let cloud = aws::start(aws::Settings::generate(7), stop.clone()).await.unwrap();
        let settings = kvs_doorbell::Settings::at(cloud.client().unwrap(), "doorbell-channel");
        let running = kvs_doorbell::start(kvs_doorbell::Settings { profile, ..settings }, stop.clone()).unwrap();
        let mut events = running.events();
        let (key, plain) = (&cloud.settings.keys[0], cloud.plain);
        let service = Service::configured(&format!(
            "http: {{listen: \"127.0.0.1:0\"}}\ngo2rtc: {{enabled: false}}\nkvs:\n  - {{region: us-east-1, \
             access_key_id: {}, secret_access_key: \"{}\", iot_endpoint: \"ws://{plain}\", \
             endpoints: {{kinesisvideo: \"http://{plain}\", ice_servers: []}}}}\n",
            key.id,
            key.secret.expose(),
        ))
        .await;
        let heard = async || {
            to_the_end(&mut events, |event| match event {
                kvs_doorbell::Event::TalkAudio { samples, .. } => Told::Heard(samples),
                kvs_doorbell::Event::TalkEnded { .. } => Told::Ended,
                _ => Told::Else,
            })
            .await
        };
        says_both(&doorbell_of(&service, "kvs_doorbell_channel"), &format!("{profile:?}"), heard).await;
        service.running.stop().await;
    }
}
