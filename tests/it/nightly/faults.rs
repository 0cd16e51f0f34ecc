//! Networks that fail for as long as it takes: what the matrix gives seconds to, on real sockets.

use std::path::Path;
use std::time::Duration;

use doorstep::clock::{self, Instant};
use doorstep::config;
use doorstep::doorbell::{Doorbell, Options};
use doorstep::media::FrameStream;
use doorstep::model::Link;
use doorstep::sim::tutk_camera::Protocol;
use doorstep::store::Store;
use doorstep::vendor;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::support::impair::{self, Line, Mode};
use crate::support::log::Log;
use crate::support::mosquitto::Mosquitto;
use crate::support::service::{Camera, Service};

const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// How long it takes until this is what the broker has.
async fn becomes(broker: &Mosquitto, topic: &str, payload: &str) -> Duration {
    let begun = clock::now();
    let becomes = async {
        while broker.retained(topic).await.iter().all(|kept| kept.payload != payload) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, becomes).await.unwrap_or_else(|_| panic!("{topic} never became {payload}"));
    begun.elapsed()
}

/// Nobody watches. The camera goes silent, or its kernel refuses, for longer than any wait between two tries; then it is
/// at another port.
#[tokio::test]
async fn row_18_a_camera_that_is_gone_is_offline_within_15_s_and_online_20_s_after_its_return() {
    for gone in [Mode::Silent, Mode::Refuses] {
        let (broker, (log, _logging)) = (Mosquitto::start().await, Log::capture(Level::INFO));
        let camera = Camera::start(18, |_| {}).await;
        let relay = impair::Udp::to(camera.address, Line::default(), 18);
        let topic = format!("doorstep/{}/availability", camera.id());
        let text = format!(
            "http: {{listen: \"127.0.0.1:0\"}}\ngo2rtc: {{enabled: false}}\nmqtt: {{url: \"mqtt://127.0.0.1:{}\"}}\n\
             wyze:\n  - cameras:\n      - {}\n",
            broker.port,
            camera.yaml(relay.address)
        );
        let service = Service::configured(&text).await;
        becomes(&broker, &topic, "online").await;
        camera.is_left_alone().await;

        relay.mode(gone);
        let relayed = relay.relayed();
        let noticed = becomes(&broker, &topic, "offline").await;
        assert!(noticed <= 15 * SECOND, "{gone:?}: offline after {noticed:?}");
        assert_eq!(relay.relayed(), relayed, "{gone:?}: it was reached");
        // Until the waits between two tries are as long as they get.
        tokio::time::sleep(60 * SECOND).await;

        let elsewhere = Camera::start(18, |_| {}).await;
        let told = camera.told().len();
        relay.retarget(elsewhere.address);
        relay.mode(Mode::Passes);
        let found = becomes(&broker, &topic, "online").await;
        assert!(found <= 20 * SECOND, "{gone:?}: online after {found:?}");
        println!("{gone:?}: offline after {noticed:?}, online after {found:?}");
        // To know that it is there, nobody has to open a session.
        assert!(relay.relayed() > relayed, "{gone:?}: the new one was not asked");
        assert_eq!(camera.told().len(), told, "the old one is still sent to");
        assert_eq!(log.complaints().len(), 1, "{:?}", log.complaints());
        service.running.stop().await;
    }
}

/// A doorbell whose camera is behind a relay.
async fn doorbell(camera: &Camera, relay: &impair::Udp, stop: &CancellationToken) -> Doorbell {
    let text = format!("wyze: [{{cameras: [{}]}}]", camera.yaml(relay.address));
    let vendor = vendor::all(&config::parse(&text, "test").unwrap(), &Store::read_only(Path::new("nowhere"))).remove(0);
    let found = vendor.discover().await.unwrap().remove(0);
    Doorbell::spawn(vendor, found.info, Options::default(), stop.clone())
}

/// The next picture, whether it is a keyframe, and when it came.
async fn picture(frames: &mut FrameStream) -> (Instant, bool) {
    loop {
        let frame =
            timeout(PATIENCE, frames.next()).await.expect("no picture comes any more").expect("the hub is gone");
        if frame.kind.is_video() {
            return (clock::now(), frame.kind.is_keyframe());
        }
    }
}

#[tokio::test]
async fn row_20_a_doorbell_shows_a_keyframe_within_12_s_of_10_s_of_total_loss() {
    for protocol in [Protocol::Old, Protocol::New] {
        let (log, _logging) = Log::capture(Level::INFO);
        let camera = Camera::start(20, |settings| settings.protocol = protocol).await;
        let relay = impair::Udp::to(camera.address, Line::default(), 20);
        let stop = CancellationToken::new();
        let doorbell = doorbell(&camera, &relay, &stop).await;
        let demand = doorbell.watch();
        let mut frames = demand.hub().listen();
        for _ in 0..20 {
            picture(&mut frames).await;
        }
        relay.set(Line::dead());
        tokio::time::sleep(10 * SECOND).await;
        let lost = relay.done().lost;
        relay.set(Line::default());
        let over = clock::now();
        let (at, keyframe) = loop {
            let (at, keyframe) = picture(&mut frames).await;
            if at > over {
                break (at, keyframe);
            }
        };
        println!("{protocol:?}: {lost} datagrams were lost, a picture {:?} behind it", at - over);
        assert!(lost > 50, "{protocol:?}: only {lost} datagrams were lost");
        assert!(at - over <= 12 * SECOND && keyframe, "{protocol:?}: {:?}, a keyframe: {keyframe}", at - over);
        let mut state = doorbell.state();
        timeout(PATIENCE, state.wait_for(|state| state.link == Link::Streaming)).await.unwrap().unwrap();
        assert!(log.complaints().len() <= 2, "{:?}", log.complaints());
        stop.cancel();
        timeout(PATIENCE, doorbell.stopped()).await.expect("the doorbell stops");
    }
}
