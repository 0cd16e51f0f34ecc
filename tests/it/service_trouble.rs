//! A doorbell that cannot be reached says why in one clear sentence, leaves its camera in peace, and comes back.

#![allow(clippy::print_stdout, reason = "the sentences belong to the report")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use doorstep::clock;
use doorstep::secret::Enr;
use doorstep::sim::tutk_camera::{CameraCommand, CameraEvent, Fault};
use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::Level;

use crate::support::log::Log;
use crate::support::mosquitto::Mosquitto;
use crate::support::service::{Camera, PATIENCE, Service};
use crate::support::viewer::{Manners, Viewer};

/// The sentence that the API shows of a doorbell in trouble, which must be the one that the log has.
fn sentence(doorbell: &Value, log: &Log, level: &str) -> String {
    let why = doorbell["why"].as_str().expect("a reason").to_owned();
    println!("{why}");
    assert_eq!(doorbell["last_error"], why.as_str(), "{doorbell}");
    let complaints = log.complaints();
    let id = format!("device{{id={}}}", doorbell["id"].as_str().unwrap());
    let same: Vec<_> = complaints.iter().filter(|line| line.contains(level) && line.contains(&why)).collect();
    assert!(matches!(same[..], [one] if one.contains(&id)), "not one line at {level} that names {id}: {complaints:?}");
    let is_sentence = why.starts_with(|first: char| first.is_uppercase()) && why.ends_with('.');
    assert!(is_sentence, "no whole sentence: {why}");
    why
}

fn sessions(camera: &Camera) -> usize {
    camera.count(|event| matches!(event, CameraEvent::SessionStarted { .. }))
}

#[tokio::test]
async fn a_wrong_enr_is_named_as_what_to_check() {
    let (log, _logging) = Log::capture(Level::INFO);
    let mut camera = Camera::start(1, |_| {}).await;
    let id = camera.id();
    camera.settings.enr = Enr::new("0123456789abcdef0123456789abcdef");
    let service = Service::start(None, &[&camera]).await;
    let doorbell = service.page.until(&id, "in trouble", |doorbell| !doorbell["why"].is_null()).await;
    assert_eq!(doorbell["link"], "offline");
    let why = sentence(&doorbell, &log, "WARN");
    assert!(why.contains("Check") && why.contains("`enr`"), "{why}");
    assert_eq!((log.complaints().len(), sessions(&camera)), (1, 0), "{:?}", log.complaints());
    service.running.stop().await;
}

#[tokio::test]
async fn a_refused_login_is_tried_once_more_and_then_left_to_the_owner() {
    let (log, _logging) = Log::capture(Level::INFO);
    let camera = Camera::start(1, |settings| settings.fault = Some(Fault::LoginRefused)).await;
    let id = camera.id();
    let service = Service::start(None, &[&camera]).await;
    let doorbell = service.page.is(&id, "needs_attention").await;
    let why = sentence(&doorbell, &log, "ERROR");
    assert!(why.contains("refused") && why.contains("`enr`"), "{why}");

    // Somebody who wants to see or to talk does not make it try again.
    let viewer = Viewer::new(Manners::default()).await;
    let reply = service.page.offer(&id, &viewer.offer).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.body, format!("Front Door: {why}"), "the viewer is not told why");
    let reply = service.page.post(&format!("/api/doorbells/{id}/talk"), r#"{"on":true}"#).await;
    let told: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((reply.status, &told["error"]), (503, &format!("Front Door: {why}").into()));
    assert_eq!(sessions(&camera), 2, "{:?}", camera.told());
    assert_eq!(log.complaints().len(), 2, "one at the failure, one on giving up: {:?}", log.complaints());
    service.running.stop().await;
}

#[tokio::test]
async fn a_camera_that_never_answers_is_asked_again_with_patience() {
    let (log, _logging) = Log::capture(Level::INFO);
    let camera = Camera::start(1, |_| {}).await;
    let (nowhere, mut asked) = silent_socket().await;
    let text = format!("http: {{listen: \"127.0.0.1:0\"}}\nwyze:\n  - cameras:\n      - {}\n", camera.yaml(nowhere));
    let begun = clock::now();
    let service = Service::configured(&text).await;
    let id = camera.id();
    let doorbell = service.page.until(&id, "in trouble", |doorbell| !doorbell["why"].is_null()).await;
    assert_eq!(doorbell["link"], "offline");
    let why = sentence(&doorbell, &log, "WARN");
    for named in [&nowhere.to_string(), "Check", "`address`", "`uid`"] {
        assert!(why.contains(named), "`{named}` is not in: {why}");
    }
    // Each attempt has a socket of its own, looks for the camera for 5 s, and waits half a second or more.
    let second = async { asked.wait_for(|asked| asked.len() == 2).await.map(|asked| asked.clone()) };
    let asked = timeout(PATIENCE, second).await.expect("it goes on trying").unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(5_500), "asked again after {:?}", begun.elapsed());
    let datagrams = asked.values().max().unwrap();
    assert!(*datagrams <= 110, "{datagrams} datagrams in one search");
    assert_eq!(log.complaints().len(), 1, "the same failure is told once: {:?}", log.complaints());
    service.running.stop().await;
}

/// A socket that never answers, and how many datagrams came to it from where.
async fn silent_socket() -> (SocketAddr, watch::Receiver<HashMap<SocketAddr, usize>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (asked, shown) = watch::channel(HashMap::new());
    tokio::spawn(async move {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 2_048]).await {
            asked.send_modify(|asked: &mut HashMap<_, _>| *asked.entry(from).or_default() += 1);
        }
    });
    (address, shown)
}

#[tokio::test]
async fn row_18_a_camera_that_loses_power_is_unavailable_within_15_s_until_it_is_back() {
    let broker = Mosquitto::start().await;
    let (log, _logging) = Log::capture(Level::INFO);
    let camera = Camera::start(1, |_| {}).await;
    let id = camera.id();
    let topic = format!("doorstep/{id}/availability");
    let mut availability = broker.listen(&topic).await;
    let service = Service::start(Some(broker.port), &[&camera]).await;
    while availability.next().await.payload != "online" {}
    broker.publish(&format!("doorstep/{id}/stream/set"), "ON", &["-q", "1"]);
    assert_eq!(service.page.is(&id, "streaming").await["viewers"], 0);

    camera.obey(CameraCommand::Offline).await;
    let begun = clock::now();
    assert_eq!(availability.next().await.to_string(), format!("{topic}|1|1|offline"));
    assert!(begun.elapsed() <= Duration::from_secs(15), "offline after {:?}", begun.elapsed());
    let doorbell = service.page.doorbell(&id).await;
    let why = sentence(&doorbell, &log, "WARN");
    assert!(why.contains("Check") && why.contains("power"), "{why}");
    camera.obey(CameraCommand::Online).await;
    let begun = clock::now();
    assert_eq!(availability.next().await.to_string(), format!("{topic}|1|1|online"));
    assert!(begun.elapsed() <= Duration::from_secs(20), "online after {:?}", begun.elapsed());
    let streaming = service.page.is(&id, "streaming").await;
    assert_eq!((&streaming["last_error"], &streaming["stream"]), (&Value::Null, &true.into()), "{streaming}");
    assert_eq!(log.complaints().len(), 1, "{:?}", log.complaints());
    service.running.stop().await;
}

#[tokio::test]
async fn a_key_that_the_camera_does_not_share_ends_in_a_sentence_about_the_enr() {
    let (log, _logging) = Log::capture(Level::INFO);
    let camera = Camera::start(1, |settings| settings.fault = Some(Fault::WrongPsk)).await;
    let id = camera.id();
    let service = Service::start(None, &[&camera]).await;
    // The camera drops what it cannot decipher, so the handshake must time out first: 10 s.
    let doorbell = service.page.until(&id, "in trouble", |doorbell| !doorbell["why"].is_null()).await;
    let why = sentence(&doorbell, &log, "WARN");
    assert!(why.contains("refused the key") && why.contains("Check its `enr`"), "{why}");
    assert_eq!((log.complaints().len(), sessions(&camera)), (1, 1), "{:?}", log.complaints());
    service.running.stop().await;
}
