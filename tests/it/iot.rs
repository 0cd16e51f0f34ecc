//! Rings come over AWS IoT for as long as we are to listen, whatever the network and its policies do meanwhile, and what
//! keeps them away is explained.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use doorstep::aws::iot::{IotError, Pace, Settings, Way};
use doorstep::config::IotEndpoint;
use doorstep::net::tls::Trust;
use doorstep::sim::iot::{Action, Event, Fault, Grant, Policy, Refusal};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::impair::{self, Line, Mode};
use crate::support::iot_house::{ALPN, Certificates, IotHouse, Listener, QUICK, THING};
use crate::support::mosquitto::{Mosquitto, PATIENCE, free_port};

const FILTER: &str = "doorbell/+/ring";
const TOPIC: &str = "doorbell/front/ring";
const RING: &str = r#"{"event":"ring","device":"doorbell-master"}"#;

fn message(dup: bool) -> (String, String, bool) {
    (TOPIC.to_owned(), RING.to_owned(), dup)
}

#[tokio::test]
async fn a_ring_is_heard_over_every_way_to_aws_iot() {
    let mqtts = IotHouse::mqtts(Policy::open()).await;
    let (ws, wss) = (IotHouse::ws(Policy::open()).await, IotHouse::wss(Policy::open()).await);
    let by_certificate = mqtts.settings("doorstep", &[FILTER]);
    let signed = [&ws, &wss].map(|house| house.well_signed("doorstep", &[FILTER]));
    let [in_the_clear, secured] = signed;
    for (house, settings) in [(&mqtts, by_certificate), (&ws, in_the_clear), (&wss, secured)] {
        let mut listener = Listener::start(settings);
        listener.connects().await;
        for qos in [0, 1] {
            house.broker.publish(TOPIC, RING, qos);
            assert_eq!(listener.hears().await, message(false), "QoS {qos}");
        }
        for qos in [0, 1] {
            listener.iot.publish(TOPIC, qos, Bytes::from(RING)).await.unwrap();
            assert_eq!(listener.hears().await, message(false), "its own, QoS {qos}");
        }
        let longest = vec![b'x'; 128 * 1024];
        house.broker.publish(TOPIC, longest.clone(), 1);
        assert_eq!(listener.hears().await.1.len(), longest.len());
    }
    assert_eq!(mqtts.seen(), [String::from_utf8(ALPN.to_vec()).unwrap()], "a port that is not 8883 is shared");
}

#[tokio::test]
async fn each_connection_s_address_is_signed_anew() {
    let mut house = IotHouse::wss(Policy::open()).await;
    // A signature says the second, and at least one passes between two attempts.
    let pace = Pace { trouble: Duration::from_millis(2_100), ..QUICK };
    let mut listener = Listener::start_with(house.well_signed("doorstep", &[FILTER]), pace);
    listener.connects().await;
    assert!(house.broker.disconnect("doorstep"));
    house.hears_of(|event| matches!(event, Event::IotDisconnected { .. })).await;
    listener.complains(false).await;
    listener.connects().await;
    house.broker.publish(TOPIC, RING, 1);
    assert_eq!(listener.hears().await, message(false));
    let queries = house.seen();
    assert_eq!((queries.len(), queries.iter().collect::<BTreeSet<_>>().len()), (2, 2), "{queries:?}");
    for query in queries {
        assert!(!query.contains("X-Amz-Expires"), "{query}");
    }
}

#[tokio::test]
async fn a_wrong_signature_is_explained_and_shown_to_nobody() {
    let house = IotHouse::wss(Policy::open()).await;
    let mut listener = Listener::start(house.signed("doorstep", &[FILTER], "wrong"));
    let why = listener.complains(true).await;
    assert!(why.contains("refuses our signed address (HTTP 403: Forbidden)"), "{why}");
    assert!(why.contains("`iot:Connect` on `client/doorstep`") && why.contains("clock"), "{why}");
    assert!(!why.contains("X-Amz"), "{why}");
}

#[tokio::test]
async fn a_session_that_is_kept_loses_no_ring_to_a_cut() {
    let mut house = IotHouse::mqtts(Policy::open()).await;
    let proxy = impair::Tcp::to(house.address.port(), Line::default(), 1).await;
    let endpoint = IotEndpoint { port: Some(proxy.port), ..house.endpoint() };
    let settings = Settings { endpoint, clean_session: false, ..house.settings("doorstep", &[FILTER]) };
    let mut listener = Listener::start(settings);
    listener.connects().await;
    proxy.mode(Mode::Refuses);
    house.hears_of(|event| matches!(event, Event::IotDisconnected { .. })).await;
    listener.complains(false).await;
    house.broker.publish(TOPIC, "lost", 0);
    house.broker.publish(TOPIC, RING, 1);
    proxy.mode(Mode::Passes);
    assert_eq!(listener.hears().await, message(false));
    house.hears_of(|event| matches!(event, Event::IotAcknowledged { .. })).await;
}

#[tokio::test]
async fn what_is_delivered_again_says_so() {
    let house = IotHouse::mqtts(Policy::open()).await;
    let mut listener = Listener::start(house.settings("doorstep", &[FILTER]));
    listener.connects().await;
    house.broker.set_fault(Some(Fault::DuplicateDelivery));
    house.broker.publish(TOPIC, RING, 1);
    assert_eq!([listener.hears().await, listener.hears().await], [message(false), message(true)]);
}

#[tokio::test]
async fn a_connection_that_has_fallen_silent_is_made_again() {
    let house = IotHouse::mqtts(Policy::open()).await;
    let pace = Pace { keep_alive: Duration::from_secs(1), answer: Duration::from_millis(300), ..QUICK };
    let mut listener = Listener::start_with(house.settings("doorstep", &[FILTER]), pace);
    listener.connects().await;
    house.broker.set_fault(Some(Fault::Silent));
    let why = listener.complains(false).await;
    assert!(why.contains("has fallen silent"), "{why}");
    house.broker.set_fault(None);
    // The attempt that met the silence is given up after 15 s, which this one does not wait for.
    drop(listener);
    Listener::start_with(house.settings("doorstep", &[FILTER]), pace).connects().await;
}

fn policy(connect: &str, subscribe: &str, refusal: Refusal) -> Policy {
    let grants = vec![
        Grant::new("*", Action::Connect, connect),
        Grant::new("*", Action::Subscribe, subscribe),
        Grant::new("*", Action::Receive, "topic/doorbell/*/ring"),
    ];
    Policy { grants, refusal }
}

fn allowing(refusal: Refusal) -> Policy {
    policy("client/doorstep", "topicfilter/doorbell/+/ring", refusal)
}

#[tokio::test]
async fn a_policy_that_lets_nobody_connect_is_explained_until_it_is_mended() {
    for refusal in [Refusal::Told, Refusal::Closed] {
        let house = IotHouse::mqtts(policy("client/viewer-*", "*", refusal)).await;
        let mut listener = Listener::start(house.settings("doorstep", &[FILTER]));
        let why = listener.complains(true).await;
        assert!(why.contains("`iot:Connect` on `client/doorstep`"), "{refusal:?}: {why}");
        assert!(why.contains("The IoT policy that is attached to the certificate"), "{refusal:?}: {why}");
        house.broker.set_policy(allowing(refusal));
        listener.connects().await;
    }
    let house = IotHouse::ws(policy("client/viewer-*", "*", Refusal::Closed)).await;
    let mut listener = Listener::start(house.well_signed("doorstep", &[FILTER]));
    let why = listener.complains(true).await;
    assert!(why.contains("The IAM policy of the user or role whose keys are used must allow `iot:Connect`"), "{why}");
}

/// Kvs reference §6: the setup script grants it on a topic's ARN.
#[tokio::test]
async fn a_policy_that_lets_nobody_subscribe_is_explained_until_it_is_mended() {
    for refusal in [Refusal::Told, Refusal::Closed] {
        let house = IotHouse::mqtts(policy("client/*", "topic/doorbell/+/ring", refusal)).await;
        let mut listener = Listener::start(house.settings("doorstep", &[FILTER]));
        let why = listener.complains(true).await;
        for said in ["`iot:Subscribe` on `topicfilter/doorbell/+/ring`", "`iot:Receive` on `topic/doorbell/*/ring`"] {
            assert!(why.contains(said), "{refusal:?}: {why}");
        }
        house.broker.set_policy(allowing(refusal));
        listener.connects().await;
        house.broker.publish(TOPIC, RING, 1);
        assert_eq!(listener.hears().await, message(false), "{refusal:?}");
    }
}

#[tokio::test]
async fn a_filter_that_is_refused_does_not_silence_the_others() {
    for refusal in [Refusal::Told, Refusal::Closed] {
        let house = IotHouse::mqtts(allowing(refusal)).await;
        let mut listener = Listener::start(house.settings("doorstep", &["old/ring", FILTER]));
        let why = listener.complains(true).await;
        assert!(why.contains("`topicfilter/old/ring`"), "{refusal:?}: {why}");
        // With the refusal that closes, one more connection is needed.
        let hears = async {
            loop {
                house.broker.publish(TOPIC, RING, 1);
                let next = tokio::time::timeout(Duration::from_millis(50), listener.hears());
                if let Ok(heard) = next.await {
                    return heard;
                }
            }
        };
        assert_eq!(tokio::time::timeout(PATIENCE, hears).await.unwrap(), message(false), "{refusal:?}");
    }
}

#[tokio::test]
async fn two_who_use_the_same_client_id_are_told_what_they_do() {
    let house = IotHouse::mqtts(Policy::open()).await;
    let mut one = Listener::start(house.settings("doorstep", &[FILTER]));
    let _other = Listener::start(house.settings("doorstep", &[FILTER]));
    let why = one.complains(true).await;
    assert!(why.contains("another program uses the same client id"), "{why}");
    assert!(why.contains("the client `doorstep`") && why.contains("`client_id`"), "{why}");
}

#[tokio::test]
async fn what_may_not_be_published_is_refused_with_the_reason() {
    let house = IotHouse::mqtts(allowing(Refusal::Closed)).await;
    let mut listener = Listener::start(house.settings("doorstep", &[]));
    listener.connects().await;
    let refused = listener.iot.publish("door/opened", 1, Bytes::new()).await;
    assert_eq!(refused, Err(IotError::Refused("door/opened".to_owned())));
    let why = listener.complains(true).await;
    assert!(why.contains("`iot:Publish` on `topic/door/opened`"), "{why}");
}

#[tokio::test]
async fn what_is_published_while_there_is_no_connection_goes_out_with_the_next() {
    let mut house = IotHouse::mqtts(Policy::open()).await;
    let mut listener = Listener::start(house.settings("doorstep", &[]));
    listener.connects().await;
    house.broker.set_fault(Some(Fault::DropPuback));
    let publisher = listener.iot.publisher();
    let ringing = tokio::spawn(async move { publisher.publish(TOPIC, 1, Bytes::from(RING)).await });
    let published = |event: &Event| matches!(event, Event::IotPublished { .. });
    house.hears_of(published).await;
    house.broker.set_fault(None);
    house.broker.disconnect("doorstep");
    house.hears_of(published).await;
    assert_eq!(ringing.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn wrong_certificates_names_and_ports_are_told_apart() {
    let house = IotHouse::mqtts(Policy::open()).await;
    let right = house.settings("doorstep", &[FILTER]);
    let strangers = Certificates::new();
    let trust = house.certificates.trust(THING);
    let at = |host: &str, port| IotEndpoint { host: host.to_owned(), port: Some(port), tls: true };
    let with = |trust| Settings { way: Way::Certificate(trust), ..right.clone() };
    let to = |endpoint| Settings { endpoint, ..right.clone() };
    let none = Trust { identity: None, ..trust.clone() };
    let foreign = Trust { identity: strangers.trust(THING).identity, ..trust };
    let closed = free_port();
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let plain_port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = plain.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for (settings, needs_owner, said) in [
        (with(strangers.trust(THING)), true, "is not believed: it was signed by an authority that this machine"),
        (with(none), true, "does not accept the certificate that we show it"),
        (with(foreign), true, "does not accept the certificate that we show it"),
        (to(at("127.0.0.1", house.address.port())), true, "is not believed: it is for another name"),
        (to(at("nobody.invalid", 443)), false, "cannot be found"),
        (to(at("localhost", closed)), false, "cannot be reached"),
        (to(at("localhost", plain_port)), true, "There is no TLS with AWS IoT at `localhost`"),
        (to(IotEndpoint { tls: false, ..house.endpoint() }), true, "over `ws://`"),
    ] {
        let why = Listener::start(settings).complains(needs_owner).await;
        assert!(why.contains(said), "{said}: {why}");
    }
}

#[tokio::test]
async fn whoever_stops_listening_says_goodbye() {
    let mut house = IotHouse::mqtts(Policy::open()).await;
    let mut listener = Listener::start(house.settings("doorstep", &[FILTER]));
    listener.connects().await;
    drop(listener);
    let parted = house.hears_of(|event| matches!(event, Event::IotDisconnected { .. })).await;
    let why = "the client said goodbye";
    assert_eq!(parted, Event::IotDisconnected { client_id: "doorstep".to_owned(), why });
}

/// A broker that is not ours, with certificates on both sides.
#[tokio::test]
async fn mosquitto_takes_us_for_a_thing() {
    let certificates = Certificates::new();
    let [server, server_key] = certificates.files("localhost");
    let authority = certificates.folder().join("authority.pem");
    let extra = format!(
        "allow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
         use_identity_as_username true\npersistence false",
        authority.display(),
        server.display(),
        server_key.display()
    );
    let mut mosquitto = Mosquitto::start_in(tempfile::tempdir().unwrap(), &extra).await;
    let settings = Settings {
        endpoint: IotEndpoint { host: "localhost".to_owned(), port: Some(mosquitto.port), tls: true },
        way: Way::Certificate(certificates.trust(THING)),
        client_id: "doorstep".to_owned(),
        filters: vec![FILTER.to_owned()],
        clean_session: false,
    };
    let mut listener = Listener::start(settings);
    listener.connects().await;
    assert!(mosquitto.log().contains(THING), "it knows us by our certificate's name");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, mosquitto.port));
    publish(&certificates, address, &[]).await;
    assert_eq!(listener.hears().await, message(false));
    listener.iot.publish(TOPIC, 1, Bytes::from("ours")).await.unwrap();
    assert_eq!(listener.hears().await.1, "ours");
    mosquitto.kill();
    listener.complains(false).await;
    mosquitto.start_again().await;
    listener.connects().await;
    publish(&certificates, address, &[]).await;
    assert_eq!(listener.hears().await, message(false));
}

/// Clients that are not ours, as AWS's documentation starts them on port 443.
#[tokio::test]
async fn mosquitto_s_clients_take_the_virtual_aws_iot_for_one() {
    let mut house = IotHouse::mqtts(Policy::open()).await;
    let alpn = ["--tls-alpn", "x-amzn-mqtt-ca"];
    let mut listening = mosquitto("mosquitto_sub", &house.certificates, house.address);
    listening.args(["-t", FILTER, "-C", "2", "-F", "%t|%q|%p"]).args(alpn).stdout(Stdio::piped());
    let listening = listening.kill_on_drop(true).spawn().unwrap();
    house.hears_of(|event| matches!(event, Event::IotSubscribed { .. })).await;
    publish(&house.certificates, house.address, &alpn).await;
    let mut listener = Listener::start(house.settings("doorstep", &[]));
    listener.connects().await;
    listener.iot.publish(TOPIC, 0, Bytes::from("ours")).await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, listening.wait_with_output()).await.unwrap().unwrap();
    let heard = String::from_utf8(heard.stdout).unwrap();
    assert_eq!(heard, format!("{TOPIC}|1|{RING}\n{TOPIC}|0|ours\n"));
}

async fn publish(certificates: &Certificates, broker: SocketAddr, options: &[&str]) {
    let mut command = mosquitto("mosquitto_pub", certificates, broker);
    let status = command.args(["-t", TOPIC, "-m", RING]).args(options).status().await.unwrap();
    assert!(status.success(), "mosquitto_pub failed");
}

/// As a thing of its own, with QoS 1.
fn mosquitto(program: &str, certificates: &Certificates, broker: SocketAddr) -> Command {
    let [certificate, key] = certificates.files(program);
    let mut command = Command::new(program);
    command.args(["-i", program, "-h", "localhost", "-p", &broker.port().to_string(), "-q", "1", "--cafile"]);
    command.arg(certificates.folder().join("authority.pem")).arg("--cert").arg(certificate).arg("--key").arg(key);
    command
}
