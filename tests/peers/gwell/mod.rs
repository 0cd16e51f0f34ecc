//! The public Go client of GWell at our virtual P2P server and camera: what it needs, and why none of it is kept here,
//! stands in README.md.
//!
//! `$GWELL_CLIENT` names the program that is built of it.

mod house;
mod ours;
mod viewer;

use std::env;
use std::path::PathBuf;

use doorstep::media::{AudioCodec, AudioFormat};
use doorstep::proto::gwell::session::Path;
use doorstep::sim::clip::Clip;
use doorstep::sim::sound::Sound;
use libtest_mimic::Trial;

use self::house::House;
use self::viewer::Written;
use crate::promise;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("gwell_client_sees_every_byte_of_the_picture", sees_every_byte),
        promise("gwell_client_sees_every_byte_through_loss", sees_every_byte_through_loss),
        promise("gwell_client_sees_every_byte_through_a_relay", sees_every_byte_through_a_relay),
        promise("gwell_client_is_heard_through_a_tcp_relay", is_heard_through_a_tcp_relay),
        promise("gwell_client_and_our_session_watch_the_same_camera", watch_the_same_camera),
        promise("gwell_client_is_let_in_by_every_kind_of_server", is_let_in_by_every_kind_of_server),
        promise("gwell_client_needs_no_device_list_when_it_knows_the_camera", needs_no_device_list),
        promise("gwell_client_takes_sound_for_picture_and_we_send_both_whole", takes_sound_for_picture),
        promise("gwell_client_is_kept_out_without_a_good_token", is_kept_out),
    ]
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let what = "`$GWELL_CLIENT` names no file; tests/peers/gwell/README.md says how to build it";
    installed().is_none().then(|| format!("the GWell client's tests: {what}"))
}

fn installed() -> Option<PathBuf> {
    env::var_os("GWELL_CLIENT").map(PathBuf::from).filter(|path| path.is_file())
}

/// About five seconds of the clip.
const ENOUGH: u64 = 80_000;
/// Of which these are at least so many.
const PICTURES: usize = 60;
/// A camera without a microphone: the client takes sound for picture.
const MUTE: [&str; 2] = ["--audio", "none"];

async fn sees_every_byte() {
    let mut house = House::start(&[], &MUTE).await;
    let mut viewer = house.call();
    viewer.sees().await;
    house.camera_tells("streaming", |_| true).await;
    assert_whole(&viewer.wrote(ENOUGH).await);
    house.leave_content().await;
}

/// Two houses, one with a little loss and one with much. It begins with the picture: what the client asks of a server it
/// asks once, and its START too where the camera is as near as here (README.md).
async fn sees_every_byte_through_loss() {
    tokio::join!(through_loss(5), through_loss(20));
}

async fn through_loss(percent: u8) {
    let mut house = House::start(&[], &MUTE).await;
    let mut viewer = house.call();
    viewer.sees().await;
    house.lose(percent).await;
    assert_whole(&viewer.wrote(ENOUGH).await);
    house.leave_content().await;
}

/// It sends over a TCP relay too, and reads from none; so it is named one of UDP only, and the camera's address is kept
/// from it. It answers the camera's meters without the header that the relay needs.
async fn sees_every_byte_through_a_relay() {
    let mut house = House::start(&["--relays", "udp", "--quirk", "relay-only"], &MUTE).await;
    let mut viewer = house.call_with(None, &[]);
    viewer.sees().await;
    house.server_tells("relayed", |event| event["by"] == "udp_relay" && event["from"] == "camera").await;
    assert_whole(&viewer.wrote(ENOUGH).await);
    house.leave_content_but_for(&["meter_acks"]).await;
}

/// It sends over a TCP relay and reads nothing from it, so that is all there is to see.
async fn is_heard_through_a_tcp_relay() {
    let mut house = House::start(&["--relays", "tcp", "--quirk", "relay-only"], &MUTE).await;
    let mut viewer = house.call_with(None, &[]);
    for step in ["sent CALLING", "using TCP relay"] {
        viewer.logs(step).await;
    }
    house.server_tells("relayed", |event| event["by"] == "tcp_relay" && event["from"] == "caller").await;
    house.camera_tells("session_started", |event| event["path"] == "relay_tcp").await;
    house.leave_content().await;
}

/// Ours comes and goes while the client watches.
async fn watch_the_same_camera() {
    let mut house = House::start(&[], &MUTE).await;
    let mut viewer = house.call();
    viewer.sees().await;
    house.camera_tells("streaming", |_| true).await;
    let seen = ours::watch(&house, PICTURES).await;
    assert_whole(&seen.h264);
    assert!(matches!(seen.path, Some(Path::LanTcp | Path::LanUdp)), "{:?}", seen.path);
    house.camera_tells("session_ended", |_| true).await;
    let so_far = viewer.wrote(ENOUGH).await.len() as u64;
    assert_whole(&viewer.wrote(so_far + ENOUGH / 2).await);
    house.leave_content().await;
}

/// Without the ack it works under its access id only; behind the response the ack is nothing to it.
async fn is_let_in_by_every_kind_of_server() {
    tokio::join!(is_let_in("response-only"), is_let_in("response-first"), is_let_in("acks"));
}

async fn is_let_in(quirk: &'static str) {
    let house = House::start(&["--quirk", quirk], &MUTE).await;
    let mut viewer = house.call();
    viewer.sees().await;
    assert_whole(&viewer.wrote(ENOUGH).await);
    house.leave_content().await;
}

/// It cannot read a list in which a device is offline, and is sent none for a second session.
async fn needs_no_device_list() {
    tokio::join!(knows_the_camera("offline-flags"), knows_the_camera("no-list-for-second-session"));
}

async fn knows_the_camera(quirk: &'static str) {
    let house = House::start(&["--quirk", quirk, "--quirk", "cross-session"], &MUTE).await;
    let known = [(house.device.as_str(), house.tid)];
    let mut first = house.call_with(Some(house.on_lan.ip()), &known);
    first.logs("target device").await;
    let mut second = house.call_with(Some(house.on_lan.ip()), &known);
    for viewer in [&mut first, &mut second] {
        viewer.sees().await;
        assert_whole(&viewer.wrote(ENOUGH).await);
    }
    house.leave_content().await;
}

/// With sound its output is no H.264 any more: it takes the lengths and packets of an AV block of sound for picture
/// (README.md). All that it writes is what the camera sent, though, and nothing is missing.
async fn takes_sound_for_picture() {
    let house = House::start(&[], &[]).await;
    let mut viewer = house.call();
    viewer.sees().await;
    let Written { pictures, sound } = viewer::tell_apart(&Clip::h264(), &viewer.wrote(2 * ENOUGH).await);
    assert!(pictures >= PICTURES, "only {pictures} pictures");
    let microphone = Sound::new(AudioFormat { codec: AudioCodec::Pcmu, rate_hz: 16_000, channels: 1 }).unwrap();
    assert!(sound.len() >= PICTURES, "only {} packets of sound", sound.len());
    for (n, packet) in sound.iter().enumerate() {
        assert!(*packet == microphone.packet(n as u64).data, "packet {n} of sound differs");
    }
    house.leave_content().await;
}

async fn is_kept_out() {
    let mut house = House::start(&[], &MUTE).await;
    let other = if house.access_token.starts_with('0') { "1" } else { "0" };
    house.access_token.replace_range(..1, other);
    let mut viewer = house.call();
    house.server_tells("refused", |event| event["code"] == 8_020).await;
    let why = viewer.ended().await;
    assert!(why.starts_with("certify: "), "{why}");
    house.leave_content().await;
}

fn assert_whole(h264: &[u8]) {
    let Written { pictures, sound } = viewer::tell_apart(&Clip::h264(), h264);
    assert!(pictures >= PICTURES && sound.is_empty(), "{pictures} pictures, {} packets of sound", sound.len());
}
