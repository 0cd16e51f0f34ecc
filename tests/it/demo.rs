//! `doorstep demo`: one command, and there is a page, a broker and doorbells that ring.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::time::Duration;

use doorstep::clock;
use serde_json::{Value, json};

use crate::support::demo::Demo;
use crate::support::mosquitto::{Mosquitto, Witness};
use crate::support::program::Program;
use crate::support::service::Page;

/// What the demo calls the lock of its first door.
const LOCK: &str = "wyze_yd_lo1_0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn the_demo_is_ready_soon_rings_once_and_quits() {
    // Whoever holds it, the demo has to find another.
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 1_883));
    let begun = clock::now();
    let mut demo = Demo::start(&[]).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "ready after {took:?}");
    assert_eq!(demo.ids.len(), 6, "{:?}", demo.ids);
    let (_, port) = demo.broker.rsplit_once(':').unwrap();
    assert!(demo.broker.starts_with("mqtt://127.0.0.1:") && port != "1883", "{}", demo.broker);
    demo.program.logs("port 1883 is taken, the broker is elsewhere").await;

    let mut rings = Witness::of_3_1_1(port.parse().unwrap(), "doorstep/+/ring").await;
    // Only the first one's button is wired; Wyze's cloud is asked for the others' rings, Vivint's and AWS push them.
    for (id, source) in demo.ids.clone().into_iter().zip(["button", "cloud", "cloud", "cloud", "push", "push"]) {
        let command = if source == "button" { "ring".to_owned() } else { format!("ring {id}") };
        demo.program.type_line(&command).await;
        let ring = rings.next().await;
        assert_eq!(ring.topic, format!("doorstep/{id}/ring"));
        let said = ring.json();
        assert_eq!((&said["event_type"], &said["source"]), (&"ring".into(), &source.into()), "{said}");
        // Neither a wired button nor this doorbell on AWS says when it was pressed.
        assert_eq!(said["latency_ms"].is_u64(), source != "button" && !id.starts_with("kvs_"), "{said}");
        demo.tells(&id, "its ring", |event| event["event"] == "ring" || event["event"] == "rang").await;
    }
    assert_eq!(rings.until_fence().await, [], "a ring came twice");

    let page = Page::at(demo.page);
    let index = page.get("/").await;
    assert!(index.status == 200 && index.body.contains("<title>Doorstep</title>"), "{index:?}");
    for id in &demo.ids {
        page.is(id, "ready").await;
    }

    demo.program.type_line("quit").await;
    let ended = demo.program.ends().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_lock_of_the_demo_opens_its_own_door_and_no_other() {
    let broker = Mosquitto::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let mut demo = Demo::start(&["--mqtt", &url, "--data", folder.path().to_str().unwrap()]).await;
    let page = Page::at(demo.page);
    let ids: [String; 6] = demo.ids.clone().try_into().unwrap();
    let [door, without_1, without_2, without_3, vivint, kvs] = &ids;
    for id in [door, vivint, kvs] {
        page.until(id, "its lock is known", |doorbell| doorbell["door"]["lock"] == "LOCKED").await;
    }
    for id in [without_1, without_2, without_3] {
        assert_eq!(page.post(&format!("/api/doorbells/{id}/unlock"), "{}").await.status, 404, "{id}");
    }

    let mut lock = broker.listen(&format!("doorstep/{door}/lock")).await;
    let outcome = page.post(&format!("/api/doorbells/{door}/unlock"), "{}").await;
    let said: Value = serde_json::from_str(&outcome.body).unwrap();
    assert_eq!((outcome.status, said), (202, json!({"ok": true, "lock": "UNLOCKED"})));
    for state in ["LOCKED", "UNLOCKING", "UNLOCKED"] {
        assert_eq!(lock.next().await.payload, state);
    }
    demo.tells(LOCK, "that it is open", |event| event["event"] == "unlocked").await;
    for id in [vivint, kvs] {
        page.until(id, "its own lock", |doorbell| doorbell["door"]["lock"] == "LOCKED").await;
    }
    let audit = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let results: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.iter().map(|line| &line["result"]).collect::<Vec<_>>(), ["allowed", "done"], "{audit}");
}

#[tokio::test]
async fn the_demo_makes_way_for_taken_ports_and_says_so() {
    let broker = Mosquitto::start().await;
    let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let _http = TcpListener::bind(http).unwrap();
    let media = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let media_port = media.local_addr().unwrap().port();
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let arguments = ["demo", "--http", &http.to_string(), "--media-port", &media_port.to_string(), "--mqtt", &url];
    let mut demo = Demo::ready(Program::start(arguments)).await;
    assert!(demo.page.port() > http.port(), "{} is taken", demo.page);
    assert_eq!(demo.broker, url);
    for wanted in [http.port(), media_port] {
        demo.program.logs(&format!("the port is taken, using the next free one wanted={wanted} ")).await;
    }
    assert_eq!(Page::at(demo.page).get("/health").await.status, 200);
    demo.program.terminate();
    assert_eq!(demo.program.ends().await.status.code(), Some(0));
}

#[tokio::test]
async fn the_demo_shows_only_the_doorbells_that_were_asked_for_and_no_password() {
    let broker = Mosquitto::start().await;
    let url = format!("mqtt://somebody:hunter2%22hunter2@127.0.0.1:{}", broker.port);
    let demo = Demo::start(&["--mqtt", &url, "--only", "tutk-new"]).await;
    assert_eq!(demo.ids.len(), 1, "{:?}", demo.ids);
    assert_eq!(demo.broker, format!("mqtt://127.0.0.1:{}", broker.port));
    Page::at(demo.page).is(&demo.ids[0], "ready").await;
    demo.program.terminate();
    let ended = demo.program.ends().await;
    assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
}

#[tokio::test]
async fn the_demos_vivint_doorbell_comes_alone_with_its_doors_and_the_ring_it_is_told_of() {
    let broker = Mosquitto::start().await;
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let mut demo = Demo::start(&["--mqtt", &url, "--only", "vivint"]).await;
    let [id] = demo.ids.clone().try_into().unwrap();
    let mut rings = broker.listen(&format!("doorstep/{id}/ring")).await;
    demo.program.type_line("ring").await;
    assert_eq!(rings.next().await.json()["source"], "push");
    let page = Page::at(demo.page);
    page.until(&id, "its garage door is known", |doorbell| doorbell["garage"]["state"] == "closed").await;
    let outcome = page.post(&format!("/api/doorbells/{id}/garage"), r#"{"open":true}"#).await;
    assert_eq!(outcome.status, 202, "{outcome:?}");
    page.until(&id, "that it is open", |doorbell| doorbell["garage"]["state"] == "open").await;
    demo.program.terminate();
    assert_eq!(demo.program.ends().await.status.code(), Some(0));
}

#[tokio::test]
async fn the_demos_doorbell_on_aws_opens_its_own_door_over_mqtt_and_no_other() {
    let broker = Mosquitto::start().await;
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let mut demo = Demo::start(&["--mqtt", &url]).await;
    let page = Page::at(demo.page);
    let id = demo.ids.last().unwrap().clone();
    assert_eq!(id, "kvs_courtyard");
    page.until(&id, "its opener is at rest", |doorbell| doorbell["door"]["lock"] == "LOCKED").await;
    let mut locks = Witness::of_3_1_1(broker.port, "doorstep/+/lock").await;
    // What the broker has kept of three doors.
    for _ in 0..3 {
        let state = locks.next().await;
        assert_eq!(state.payload, "LOCKED", "{state:?}");
    }

    let mut results = broker.listen(&format!("doorstep/{id}/result")).await;
    let result = loop {
        broker.publish(&format!("doorstep/{id}/lock/set"), "OPEN", &[]);
        let result = results.next().await.json();
        if !result["error"].as_str().is_some_and(|error| error.contains("first 2 s")) {
            break result;
        }
    };
    assert_eq!((&result["command"], &result["ok"]), (&"unlock".into(), &true.into()), "{result}");
    demo.tells(&id, "that it opened the door", |event| event["event"] == "door_opened").await;
    for expected in ["UNLOCKING", "UNLOCKED", "LOCKED"] {
        let state = locks.next().await;
        assert_eq!((state.topic, &*state.payload), (format!("doorstep/{id}/lock"), expected));
    }
    assert_eq!(locks.until_fence().await, [], "another door moved");
    demo.program.terminate();
    assert_eq!(demo.program.ends().await.status.code(), Some(0));
}

#[tokio::test]
async fn the_demo_opens_nothing_beyond_loopback() {
    let ended = Program::start(["demo", "--http", "0.0.0.0:0"]).ends().await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.log.contains("the demo serves loopback only"), "{ended:?}");
}
