//! The demo's broker, seen by mosquitto's clients and ours.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use doorstep::clock;
use doorstep::doorbell::Registry;
use doorstep::model::{Link, MqttLink};
use doorstep::mqtt::{self, Button, ButtonClient, Settings};
use doorstep::sim::broker;
use tokio_util::sync::CancellationToken;

use crate::support::fake_vendor::FakeVendor;
use crate::support::mosquitto::{self, Witness};
use crate::support::mqtt_house::{no_accounts, settings};

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[test]
fn a_taken_port_leads_to_the_next_free_one() {
    let taken = TcpListener::bind(loopback(0)).unwrap().local_addr().unwrap();
    let _taken = TcpListener::bind(taken).unwrap();
    let broker = broker::start(taken).unwrap();
    assert!(broker.address.port() > taken.port(), "{}", broker.address);
    assert!(broker.address.ip().is_loopback(), "{}", broker.address);
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figure is for whoever reads the test's output")]
async fn a_press_of_the_demo_button_is_heard_at_once() {
    let broker = broker::start(loopback(mosquitto::free_port())).unwrap();
    let port = broker.address.port();
    let mut witness = Witness::of_3_1_1(port, "demo/#").await;
    let button = ButtonClient::start(&mosquitto::url(port));
    button.link().wait_for(|link| *link == MqttLink::Connected).await.unwrap();
    let mut took = Vec::new();
    for n in 0..21 {
        let pressed = clock::now();
        button.press("demo/door/button", &format!("press {n}"));
        let heard = witness.next().await;
        assert_eq!((heard.topic.as_str(), heard.payload), ("demo/door/button", format!("press {n}")));
        took.push(pressed.elapsed());
    }
    took.sort();
    println!("press to mosquitto_sub over the demo's broker: median {:?}, slowest {:?}", took[10], took[20]);
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figure is for whoever reads the test's output")]
async fn a_press_in_the_demo_becomes_a_ring() {
    let broker = broker::start(loopback(mosquitto::free_port())).unwrap();
    let port = broker.address.port();
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let vendor = FakeVendor::new();
    let registry = Registry::default();
    let doorbell = vendor.doorbell(&stop);
    doorbell.state().wait_for(|state| state.link == Link::Ready).await.unwrap();
    registry.insert(doorbell.clone());
    let wired = Button { topic: "demo/door/button".to_owned(), payload: None, doorbell: doorbell.info().id.clone() };
    let settings =
        Settings { client_id: "doorstep-demo".to_owned(), buttons: vec![wired], ..settings(mosquitto::settings(port)) };
    let mqtt = mqtt::start(settings, registry, no_accounts(), stop.clone());
    mqtt.link().wait_for(|link| *link == MqttLink::Connected).await.unwrap();
    let button = ButtonClient::start(&mosquitto::url(port));
    button.link().wait_for(|link| *link == MqttLink::Connected).await.unwrap();
    let mut witness = Witness::of_3_1_1(port, "doorstep/fake_1/ring").await;

    let pressed = clock::now();
    button.press("demo/door/button", "pressed");
    assert_eq!(witness.next().await.json()["source"], "button");
    println!("press to ring at mosquitto_sub over the demo's broker: {:?}", pressed.elapsed());

    stop.cancel();
    mqtt.closed().await;
    let mut newcomer = Witness::of_3_1_1(port, "doorstep/#").await;
    assert_eq!(newcomer.next_on("doorstep/status").await.payload, "offline");
}
