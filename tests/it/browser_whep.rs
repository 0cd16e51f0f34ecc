//! A real browser decodes the picture and is heard at the door.

#![allow(clippy::print_stdout, reason = "the browser's figures belong to the report")]

use std::net::Ipv4Addr;

use doorstep::doorbell::Registry;
use doorstep::http::whep;
use doorstep::media::g711::Law;
use doorstep::media::{AudioFormat, FrameKind, MediaHub, VideoCodec};
use doorstep::sim::clip::Clip;
use tokio_util::sync::CancellationToken;

use crate::support::chromium;
use crate::support::fake_vendor::FakeVendor;
use crate::support::http::serve_whep;
use crate::support::viewer::switchboard;

#[tokio::test]
async fn browser_plays_the_clip_and_its_microphone_is_heard() {
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let viewers = switchboard(Ipv4Addr::UNSPECIFIED.into(), &stop).await;
    let vendor = FakeVendor::new();
    let doorbell = vendor.doorbell(&stop);
    let doorbells = Registry::default();
    doorbells.insert(doorbell.clone());
    let http = serve_whep(whep::Routes::new(doorbells, viewers.clone())).await;
    tokio::spawn(stop.clone().run_until_cancelled_owned(film(doorbell.media().clone())));

    let url = format!("http://{http}/whep/fake_1");
    let Some(report) = chromium::play(&url, &["--pictures", "60", "--microphone"]).await else { return };
    println!("{report}");
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!((&report["video"], &report["voice"]), (&"video/H264".into(), &"audio/PCMU".into()), "{report}");
    assert_eq!((&report["freezes"], &report["lost"]), (&0.into(), &0.into()), "{report}");
    assert!(report["sound_energy"].as_f64() > Some(0.0), "the camera's sound is not heard: {report}");
    assert_eq!(report["deleted"], 200, "{report}");
    let heard = vendor.seen().heard;
    let loudest = heard.iter().flatten().map(|&byte| Law::Mu.decode(byte).unsigned_abs()).max();
    assert!(heard.len() >= 25 && loudest > Some(1_000), "{} pieces, the loudest sample {loudest:?}", heard.len());
}

/// The virtual cameras' clip, and a quiet tone with it.
pub(crate) async fn film(hub: MediaHub) {
    let clip = Clip::h264();
    let mut ticks = tokio::time::interval(Clip::INTERVAL);
    for unit in clip.access_units() {
        ticks.tick().await;
        hub.publish(FrameKind::Video { codec: VideoCodec::H264, keyframe: unit.keyframe }, unit.pts, unit.data);
        let sound: Vec<u8> = (0..400).map(|n| if n / 4 % 2 == 0 { 0xa0 } else { 0x20 }).collect();
        hub.publish(FrameKind::Audio(AudioFormat::PCMU), unit.pts, sound.into());
    }
}
