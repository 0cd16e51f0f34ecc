//! What Doorstep costs and how fast it is: `cargo bench --bench house [-- SECTION …] [--json]`.
//!
//! The service, its virtual camera and a broker run as processes of their own, so that processor time and memory
//! are the service's alone; this process is the load. It prints figures and judges nothing: a busy machine makes
//! them worse, which is why the machine stands above them.

#![allow(clippy::unwrap_used, reason = "without its means there is nothing to measure")]

mod account;
mod audience;
mod cameras;
mod doorbell;
mod figures;
mod gwell;
mod gwell_soak;
mod house;
mod kvs;
mod machine;
mod page;
mod picture;
mod process;
mod ring;
mod say;
mod sound;
mod talk;
mod vivint;
mod watch;

/// The tests' own; not all that they offer is used here.
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../tests/it/support/browser.rs"]
mod browser;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../tests/it/support/http.rs"]
mod http;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../tests/it/support/mosquitto.rs"]
mod mosquitto;
#[path = "../../tests/it/support/text_wav.rs"]
mod text_wav;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../tests/it/support/viewer.rs"]
mod viewer;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use figures::{Figures, Goal, Unit};

#[derive(Parser)]
#[command(name = "house", about = "Measures Doorstep's speed and size")]
struct Options {
    /// Only these; all of them when none is named
    sections: Vec<Section>,
    /// How long `gwell-soak` takes
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    soak: u64,
    /// Print one JSON object at the end instead of lines
    #[arg(long)]
    json: bool,
    /// What `cargo bench` passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// The binary
    Size,
    /// A pressed button to MQTT, and how soon the demo is ready
    Ring,
    /// The page in a browser: its size, and how soon it is there
    Page,
    /// A start with an account of eight doorbells, and its rings
    Account,
    /// Processor, memory and the wait for the picture, with 1, 10 and 100 viewers
    Watch,
    /// Sixteen cameras at once, a viewer each
    Cameras,
    /// A pressed microphone to the camera's speaker
    Talk,
    /// Files of sound decoded, and made for a speaker
    Sound,
    /// A still picture out of the stream
    Picture,
    /// A file of sound to the camera's speaker
    Say,
    /// A Vivint doorbell: its ring, its picture, and a press until its speaker is open
    Vivint,
    /// A doorbell on AWS: its ring, its picture, and a press until its door opens
    Kvs,
    /// GWell cameras: how soon there is a picture, and what eight of them cost
    Gwell,
    /// What vanished viewers leave behind
    Residue,
    /// Two GWell cameras that lose 5 % of their datagrams, for an hour; only when it is named
    GwellSoak,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let chosen = |section| options.sections.is_empty() || options.sections.contains(&section);
    let mut figures = Figures::new(options.json);
    if chosen(Section::Size) {
        let bytes = std::fs::metadata(process::DOORSTEP).unwrap().len();
        figures.add("binary", bytes as f64 / f64::from(1 << 20), Unit::MiB, Goal::None);
    }
    if chosen(Section::Ring) {
        ring::measure(&mut figures).await;
    }
    if chosen(Section::Page) {
        page::measure(&mut figures).await;
    }
    if chosen(Section::Account) {
        account::measure(&mut figures).await;
    }
    if chosen(Section::Watch) {
        watch::measure(&mut figures).await;
    }
    if chosen(Section::Cameras) {
        cameras::measure(&mut figures).await;
    }
    if chosen(Section::Talk) {
        talk::measure(&mut figures).await;
    }
    if chosen(Section::Sound) {
        sound::measure(&mut figures);
    }
    if chosen(Section::Picture) {
        picture::measure(&mut figures).await;
    }
    if chosen(Section::Say) {
        say::measure(&mut figures).await;
    }
    if chosen(Section::Vivint) {
        vivint::measure(&mut figures).await;
    }
    if chosen(Section::Kvs) {
        kvs::measure(&mut figures).await;
    }
    if chosen(Section::Gwell) {
        gwell::measure(&mut figures).await;
    }
    if chosen(Section::Residue) {
        watch::measure_residue(&mut figures).await;
    }
    if options.sections.contains(&Section::GwellSoak) {
        gwell_soak::measure(&mut figures, Duration::from_secs(options.soak)).await;
    }
    figures.finish();
}
