//! go2rtc's Wyze source over Kinesis signaling as the viewer of our virtual KVS camera.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::{Json, Router, routing};
use doorstep::sim::kvs_camera::{self, CameraEvent, Fault, Gathering, RunningKvsCamera, Settings};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Go2rtc;
use crate::doorstep::Demo;
use crate::ffmpeg::{self, LONG_ENOUGH};
use crate::promise;
use crate::wait::PATIENCE;

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        promise("go2rtc_calls_a_doorbell_of_the_demo_through_our_service", calls_a_doorbell_of_the_demo),
        promise("go2rtc_shows_a_kvs_camera", || shows(Gathering::Complete, None)),
        promise("go2rtc_shows_a_kvs_camera_that_trickles", || shows(Gathering::Trickle, None)),
    ];
    // What go2rtc has learned to live with.
    for fault in [Fault::EmptyFrame, Fault::TruncatedFrame, Fault::GoAway] {
        let name = format!("go2rtc_shows_a_kvs_camera_under_{}", fault.name().replace('-', "_"));
        tests.push(promise(&name, move || shows(Gathering::Complete, Some(fault))));
    }
    tests
}

async fn shows(gathering: Gathering, fault: Option<Fault>) {
    let stop = CancellationToken::new();
    // go2rtc leaves loopback addresses out here, whatever its configuration says.
    let media = Ipv4Addr::UNSPECIFIED.into();
    let settings = Settings { media, gathering, fault, ..Settings::default() };
    let camera = kvs_camera::start(settings, stop.clone()).await.unwrap();
    let mut happened = camera.events();
    let cloud = serve_urls(camera).await;

    let source = format!("webrtc:http://{cloud}/signaling/front?kvs#format=wyze");
    let go2rtc = Go2rtc::start(&[("door", &source)]).await;
    // It begins to pass on what it gets when the connection stands, and has missed the first keyframe by then.
    ffmpeg::watch(&go2rtc.rtsp_url("door"), LONG_ENOUGH).await.assert_alive_from_a_keyframe_on();
    leaves_content(&mut happened).await;
    let medias = go2rtc.medias("door").await;
    assert!(medias.iter().any(|media| media.starts_with("video, recvonly, H264")), "{medias:?}");
    assert!(medias.iter().any(|media| media.starts_with("audio, recvonly, PCMU/8000")), "{medias:?}");
    stop.cancel();
}

/// The whole way: our service asks the virtual Wyze cloud, and go2rtc calls the doorbell by itself. The doorbell is on
/// loopback alone; go2rtc offers no such address, and is found by the one that its packets come from.
async fn calls_a_doorbell_of_the_demo() {
    let demo = Demo::start("wyze-webrtc").await;
    let go2rtc = Go2rtc::start(&[("door", &demo.go2rtc_source())]).await;
    ffmpeg::watch(&go2rtc.rtsp_url("door"), LONG_ENOUGH).await.assert_alive_from_a_keyframe_on();
    // It is not our viewer.
    assert_eq!(demo.doorbell().await["viewers"], 0);
    demo.leave().await;
}

/// What a bridge to Wyze's cloud tells go2rtc: a fresh address for each call.
async fn serve_urls(camera: RunningKvsCamera) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let camera = Arc::new(camera);
    let route = routing::get(async move || {
        let url = camera.url_for("viewer-go2rtc");
        Json(json!({
            "ClientId": "viewer-go2rtc",
            "cam": "front",
            "result": "ok",
            "servers": [],
            "signalingUrl": url.expose(),
        }))
    });
    tokio::spawn(axum::serve(listener, Router::new().route("/signaling/front", route)).into_future());
    address
}

/// Waits until the viewer has gone, and nothing that it did was against the rules.
async fn leaves_content(happened: &mut broadcast::Receiver<CameraEvent>) {
    let gone = async {
        loop {
            let event = happened.recv().await.unwrap();
            assert!(!matches!(event, CameraEvent::Check { ok: false, .. }), "go2rtc breaks a rule: {event:?}");
            if event == (CameraEvent::Watching { viewers: 0 }) {
                return;
            }
        }
    };
    timeout(PATIENCE, gone).await.expect("go2rtc leaves");
}
