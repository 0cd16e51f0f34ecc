//! A real browser sees each doorbell of the demo, and is heard by it as the tone that its microphone holds.

#![allow(clippy::print_stdout, reason = "the browser's figures belong to the report")]

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::browser::Browser;
use crate::support::chromium;
use crate::support::demo::Demo;
use crate::support::mosquitto::Mosquitto;
use crate::support::service::Page;

const TONE_HZ: f64 = 1_000.0;
const RATE_HZ: u32 = 48_000;

#[tokio::test]
async fn a_browser_sees_and_is_heard_by_the_old_doorbell_of_the_demo() {
    a_browser_sees_and_is_heard_by("tutk-old", "pcmu").await;
}

#[tokio::test]
async fn a_browser_sees_and_is_heard_by_the_new_doorbell_of_the_demo() {
    a_browser_sees_and_is_heard_by("tutk-new", "pcm").await;
}

#[tokio::test]
async fn a_browser_sees_and_is_heard_by_the_doorbell_of_the_demo_that_is_called_through_the_cloud() {
    a_browser_sees_and_is_heard_by("wyze-webrtc", "pcmu").await;
}

#[tokio::test]
async fn a_browser_sees_and_is_heard_by_the_vivint_doorbell_of_the_demo() {
    a_browser_sees_and_is_heard_by("vivint", "opus").await;
}

#[tokio::test]
async fn a_browser_sees_and_is_heard_by_the_doorbell_of_the_demo_on_aws() {
    a_browser_sees_and_is_heard_by("kvs", "pcmu").await;
}

#[tokio::test]
async fn a_browser_sees_and_hears_the_gwell_doorbell_of_the_demo_and_is_told_why_it_cannot_talk() {
    let broker = Mosquitto::start().await;
    let mut demo = Demo::start(&["--mqtt", &format!("mqtt://127.0.0.1:{}", broker.port), "--only", "gwell"]).await;
    let id = demo.ids[0].clone();
    let Some(report) = chromium::play(&format!("http://{}/whep/{id}", demo.page), &["--pictures", "80"]).await else {
        return;
    };
    println!("{report}");
    assert_eq!((&report["ok"], &report["deleted"]), (&true.into(), &200.into()), "{report}");
    assert!(report["pictures"].as_u64() >= Some(60) && report["lost"] == 0, "{report}");
    assert!(report["sound_energy"].as_f64() > Some(0.0), "the camera's beeps are not heard: {report}");
    demo.tells(&id, "that it streams", |event| event["event"] == "streaming").await;
    demo.tells(&id, "its end", |event| event["event"] == "session_ended").await;

    let browser = Browser::launch().await;
    let page = browser.open(&format!("http://{}/", demo.page)).await;
    page.until("document.querySelector('.card .talk').hidden").await;
    page.until("document.querySelector('.card .obstacle').textContent.includes('talk')").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    quit(demo).await;
}

async fn a_browser_sees_and_is_heard_by(kind: &str, codec: &str) {
    let broker = Mosquitto::start().await;
    let (_folder, speech) = beeps();
    let mut demo = Demo::start(&["--mqtt", &format!("mqtt://127.0.0.1:{}", broker.port), "--only", kind]).await;
    let id = demo.ids[0].clone();
    let url = format!("http://{}/whep/{id}", demo.page);
    let arguments = ["--pictures", "80", "--speech", speech.to_str().unwrap()];
    let Some(report) = chromium::play(&url, &arguments).await else { return };
    println!("{report}");
    assert_eq!((&report["ok"], &report["deleted"]), (&true.into(), &200.into()), "{report}");
    assert!(report["pictures"].as_u64() >= Some(60), "{report}");
    assert_eq!(report["lost"], 0, "{report}");
    assert!(report["sound_energy"].as_f64() > Some(0.0), "the camera's beeps are not heard: {report}");

    demo.tells(&id, "the talk", |event| event["event"] == "talk_started").await;
    let heard = demo.tells(&id, "our tone", is_our_tone).await;
    println!("{heard}");
    assert_eq!(heard["codec"], codec, "{heard}");
    demo.tells(&id, "the end of the talk", |event| event["event"] == "talk_ended").await;
    quit(demo).await;
}

#[tokio::test]
async fn the_demos_page_shows_every_doorbell_and_the_held_button_is_heard_there() {
    let broker = Mosquitto::start().await;
    let (_folder, speech) = beeps();
    let mut demo = Demo::start(&["--mqtt", &format!("mqtt://127.0.0.1:{}", broker.port)]).await;
    let microphone = format!("--use-file-for-fake-audio-capture={}", speech.display());
    // So tall that every card is in sight, and plays.
    let browser = Browser::launch_with(&[microphone, "--window-size=1280,2400".to_owned()]).await;
    let page = browser.open(&format!("http://{}/", demo.page)).await;
    page.until("document.querySelectorAll('#doorbells .card').length === 6").await;
    let shown = "[...document.querySelectorAll('video')].every((v) => v.getVideoPlaybackQuality().totalVideoFrames >= 60 \
                 && v.currentTime > 1)";
    page.until(shown).await;

    let doorbells: Value = serde_json::from_str(&Page::at(demo.page).get("/api/doorbells").await.body).unwrap();
    for card in 1..=6 {
        let card = format!("#doorbells .card:nth-of-type({card})");
        let name = page.value(&format!("document.querySelector('{card} h2').textContent")).await;
        let doorbell = doorbells.as_array().unwrap().iter().find(|doorbell| doorbell["name"] == name).unwrap();
        let id = doorbell["id"].as_str().unwrap();
        let button = format!("{card} .talk");
        if id.starts_with("wyze_gw_dbd_") {
            page.until(&format!("document.querySelector('{button}').hidden")).await;
            continue;
        }
        page.mouse("mousePressed", &button).await;
        page.until(&format!("document.querySelector('{button}').dataset.state === 'talking'")).await;
        println!("{}", demo.tells(id, "our tone", is_our_tone).await);
        page.mouse("mouseReleased", &button).await;
        demo.tells(id, "the end of the talk", |event| event["event"] == "talk_ended").await;
        page.until(&format!("document.querySelector('{button}').dataset.state === 'idle'")).await;
    }
    let [.., vivint, kvs] = &*demo.ids.clone() else { panic!("{:?}", demo.ids) };
    for (doorbell, door, action, shown) in [
        (vivint, "lock", "unlocked", "Driveway: unlocked"),
        (vivint, "garage", "door_opened", "Driveway: garage open"),
        (kvs, "lock", "door_opened", "Courtyard: opened"),
    ] {
        let door = format!("#doorbell-{doorbell} [data-kind={door}]");
        page.mouse("mousePressed", &format!("{door} .unlock")).await;
        page.until(&format!("document.querySelector('{door} .door-note').textContent === '{shown}'")).await;
        page.mouse("mouseReleased", &format!("{door} .unlock")).await;
        let (vendor, _) = doorbell.split_once('_').unwrap();
        let is_done = |line: &str| line.contains(&format!("\"event\":\"{action}\"")) && line.contains(vendor);
        demo.program.says(action, is_done).await;
    }
    demo.program.type_line("ring").await;
    page.until("document.querySelector('.banner') && document.querySelector('#rings .who')").await;
    for (width, scheme) in [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")] {
        page.look(width, scheme).await;
        page.until(&format!("innerWidth === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches")).await;
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("demo_{width}_{scheme}.png"));
        std::fs::write(&file, page.screenshot().await).unwrap();
        let wide = page.value("document.documentElement.scrollWidth").await.as_u64().unwrap();
        assert!(wide <= width.into(), "{wide} px do not fit into {width}, see {}", file.display());
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    quit(demo).await;
}

/// Nothing that the browser made the service do was against the protocol.
pub(crate) async fn quit(mut demo: Demo) {
    demo.program.type_line("quit").await;
    let ended = demo.program.ends().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    // How evenly ACKs come is up to the machine, while a browser decodes every picture on it.
    let is_broken = |line: &&str| line.contains("\"ok\":false") && !line.contains("\"ack_cadence\"");
    let broken: Vec<&str> = ended.said.lines().filter(is_broken).collect();
    assert!(broken.is_empty(), "a virtual camera complains: {broken:?}");
}

pub(crate) fn is_our_tone(event: &Value) -> bool {
    event["tone_hz"].as_f64().is_some_and(|tone_hz| (tone_hz - TONE_HZ).abs() < 10.0)
}

/// A WAV file for a browser's microphone: beeps, which no noise suppression takes for a fan.
pub(crate) fn beeps() -> (TempDir, PathBuf) {
    let samples: Vec<i16> =
        (0..2 * RATE_HZ).map(|n| if n % (RATE_HZ / 2) < RATE_HZ / 4 { sine(n) } else { 0 }).collect();
    let size = u32::try_from(2 * samples.len()).unwrap();
    let mut file = b"RIFF".to_vec();
    file.extend((36 + size).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(RATE_HZ.to_le_bytes());
    file.extend((2 * RATE_HZ).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(size.to_le_bytes());
    samples.iter().for_each(|sample| file.extend(sample.to_le_bytes()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("beeps.wav");
    std::fs::write(&path, file).unwrap();
    (folder, path)
}

fn sine(n: u32) -> i16 {
    (12_000.0 * (TAU * TONE_HZ * f64::from(n) / f64::from(RATE_HZ)).sin()) as i16
}
