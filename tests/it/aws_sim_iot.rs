//! AWS IoT of the virtual AWS: over signed WebSockets of both of AWS's styles, and with a thing's certificate on a port
//! of its own or by ALPN (kvs reference §6). Packets are written by hand here.

use std::sync::Arc;

use doorstep::net::tls::{Authority, Identity, Trust};
use doorstep::secret::{Password, Pem};
use doorstep::sim::aws::{AwsCommand, Event, Fault, RunningAws, Settings};
use doorstep::sim::iot::{self, Policy, Refusal};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message, http};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::aws_hand::{AwsHand, CHANNEL, PATIENCE, Signer, hurried};

/// MQTT 3.1.1 §3.1: a clean session, 60 s.
fn connect(client_id: &str) -> Vec<u8> {
    let length = u8::try_from(client_id.len()).unwrap();
    let head = [&[0x10, 12 + length, 0, 4][..], b"MQTT", &[4, 2, 0, 60, 0, length]].concat();
    [&head, client_id.as_bytes()].concat()
}

/// §3.8, with packet id 1 and QoS 1.
fn subscribe(filter: &str) -> Vec<u8> {
    let length = u8::try_from(filter.len()).unwrap();
    [&[0x82, 5 + length, 0, 1, 0, length], filter.as_bytes(), &[1]].concat()
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const SUBACK: [u8; 5] = [0x90, 3, 0, 1, 1];

/// An address of AWS IoT, signed as one of AWS's SDKs does it.
struct Address {
    host: String,
    query: String,
}

fn signed(hand: &AwsHand, host: &str, headers: &[(&str, &str)]) -> Address {
    let signer = Signer { service: "iotdevicegateway", expires: None, ..hand.signer() };
    Address { host: host.to_owned(), query: signer.presign(host, "/mqtt", &[], headers) }
}

/// Opens a WebSocket at `to`, whatever the address says of the host; the sub-protocol that was agreed on, too.
async fn open(
    to: &RunningAws,
    address: &Address,
    subprotocol: &str,
) -> Result<(WebSocketStream<TcpStream>, String), u16> {
    let mut request = format!("ws://{}/mqtt?{}", address.host, address.query).into_client_request().unwrap();
    if !subprotocol.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", subprotocol.parse().unwrap());
    }
    let stream = TcpStream::connect(to.plain).await.unwrap();
    match timeout(PATIENCE, client_async(request, stream)).await.expect("an answer") {
        Ok((socket, response)) => {
            let agreed = response.headers().get(http::header::SEC_WEBSOCKET_PROTOCOL);
            Ok((socket, agreed.expect("a sub-protocol").to_str().unwrap().to_owned()))
        }
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn says(socket: &mut WebSocketStream<TcpStream>, packet: Vec<u8>, answer: &[u8]) {
    socket.send(Message::binary(packet)).await.unwrap();
    let Some(Ok(Message::Binary(came))) = timeout(PATIENCE, socket.next()).await.expect("an answer") else {
        panic!("no answer")
    };
    assert_eq!(came, answer);
}

#[tokio::test]
async fn both_of_aws_s_ways_to_sign_and_both_sub_protocols_are_taken() {
    let hand = AwsHand::start().await;
    let (host, bare) = (hand.aws.plain.to_string(), hand.aws.plain.ip().to_string());
    for (host, headers, subprotocol) in [
        (&host, &[][..], "mqttv3.1"),
        (&host, &[("connection", "Upgrade")][..], "mqtt"),
        // AWS's C library leaves the port out of `host` (kvs reference §6).
        (&bare, &[("connection", "Upgrade")][..], "mqtt"),
    ] {
        let (mut socket, agreed) = open(&hand.aws, &signed(&hand, host, headers), subprotocol).await.unwrap();
        assert_eq!(agreed, subprotocol);
        says(&mut socket, connect("viewer"), &CONNACK).await;
        says(&mut socket, subscribe("doorbell/+/ring"), &SUBACK).await;
    }
}

#[tokio::test]
async fn a_session_token_stands_outside_of_what_is_signed() {
    let mut settings = hurried();
    settings.keys[0].token = Some(doorstep::secret::Token::new("IQoJ/b3+=="));
    let hand = AwsHand::at(settings).await;
    let address = signed(&hand, &hand.aws.plain.to_string(), &[]);
    assert!(open(&hand.aws, &address, "mqtt").await.is_ok());
    // Elsewhere in the query it is as good.
    let (query, token) = address.query.rsplit_once('&').unwrap();
    assert!(token.starts_with("X-Amz-Security-Token="), "{token}");
    let moved = Address { query: format!("{token}&{query}"), ..address };
    assert!(open(&hand.aws, &moved, "mqtt").await.is_ok());
    let without = Address { host: moved.host.clone(), query: query.to_owned() };
    assert_eq!(open(&hand.aws, &without, "mqtt").await.err(), Some(403));
    let another = Address { query: format!("{query}&X-Amz-Security-Token=x"), host: moved.host };
    assert_eq!(open(&hand.aws, &another, "mqtt").await.err(), Some(403));
}

#[tokio::test]
async fn a_websocket_is_refused_without_signature_or_sub_protocol() {
    let hand = AwsHand::start().await;
    let host = hand.aws.plain.to_string();
    let good = signed(&hand, &host, &[]);
    let of_video = Address { query: hand.signer().presign(&host, "/mqtt", &[], &[]), host: host.clone() };
    let elsewhere = Address { host: "elsewhere".to_owned(), query: good.query.clone() };
    for (address, subprotocol, status) in [
        (&Address { host, query: String::new() }, "mqtt", 403),
        (&of_video, "mqtt", 403),
        (&elsewhere, "mqtt", 403),
        (&good, "", 400),
        (&good, "amqp", 400),
    ] {
        assert_eq!(open(&hand.aws, address, subprotocol).await.err(), Some(status), "{} {subprotocol}", address.query);
    }
}

fn trust(hand: &AwsHand, of: &AwsHand) -> Trust {
    let authority = Pem::Text(Password::new(&*hand.aws.authority_pem));
    let identity = of.aws.identity().unwrap();
    Trust {
        authority: Some(Authority::load(&authority).unwrap()),
        identity: Some(Identity::load(&identity.certificate, &identity.private_key).unwrap()),
    }
}

async fn over_tls(trust: &Trust, port: u16, alpn: Option<&[u8]>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = trust.client_config();
    config.alpn_protocols = alpn.into_iter().map(<[u8]>::to_vec).collect();
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

async fn converses<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> std::io::Result<()> {
    stream.write_all(&connect("doorbell")).await?;
    let mut answer = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer")?;
    assert_eq!(answer, CONNACK);
    Ok(())
}

#[tokio::test]
async fn a_thing_is_known_by_its_certificate_on_both_ports() {
    let (mut hand, other) = (AwsHand::start().await, AwsHand::start().await);
    let own = trust(&hand, &hand);
    let (mqtts, tls) = (hand.aws.mqtts.port(), hand.aws.tls.port());
    for (port, alpn) in [(mqtts, None), (mqtts, Some(&b"x-amzn-mqtt-ca"[..])), (tls, Some(b"x-amzn-mqtt-ca"))] {
        converses(over_tls(&own, port, alpn).await.unwrap()).await.unwrap();
        let connected = |event: &Event| match event {
            Event::Iot(iot::Event::IotConnected { principal, .. }) => principal == "doorbell-thing",
            _ => false,
        };
        hand.happens("a thing", connected).await;
    }
    let nobody = Trust { identity: None, ..own };
    for trust in [nobody, trust(&hand, &other)] {
        for (port, alpn) in [(mqtts, None), (tls, Some(&b"x-amzn-mqtt-ca"[..]))] {
            let refused = match over_tls(&trust, port, alpn).await {
                Ok(stream) => converses(stream).await.is_err(),
                Err(_) => true,
            };
            assert!(refused, "a stranger was let in at port {port}");
        }
    }
}

#[tokio::test]
async fn a_ring_reaches_who_listens_for_it() {
    let hand = AwsHand::start().await;
    let address = signed(&hand, &hand.aws.plain.to_string(), &[]);
    let (mut socket, _) = open(&hand.aws, &address, "mqtt").await.unwrap();
    says(&mut socket, connect("viewer"), &CONNACK).await;
    says(&mut socket, subscribe("doorbell/+/ring"), &SUBACK).await;
    assert!(hand.aws.obey(AwsCommand::Ring { channel: Some("nobody".into()) }).is_err());
    hand.command(AwsCommand::Ring { channel: None });
    let Some(Ok(Message::Binary(packet))) = timeout(PATIENCE, socket.next()).await.expect("a ring") else {
        panic!("no ring")
    };
    let text = String::from_utf8_lossy(&packet);
    assert!(text.contains(&format!("doorbell/{CHANNEL}/ring")), "{text}");
    assert!(text.contains(r#"{"event": "ring", "channel": "doorbell-channel", "timestamp": "#), "{text}");
    hand.command(AwsCommand::Drop);
    assert!(!matches!(timeout(PATIENCE, socket.next()).await.expect("the end"), Some(Ok(Message::Binary(_)))));
}

#[tokio::test]
async fn a_policy_that_a_fault_spoils_refuses_what_it_should_allow() {
    let policy = Policy { refusal: Refusal::Told, ..Policy::open() };
    let hand = AwsHand::at(Settings { policy, ..hurried() }).await;
    let host = hand.aws.plain.to_string();
    hand.fault(Some(Fault::PolicyConnect));
    let (mut socket, _) = open(&hand.aws, &signed(&hand, &host, &[]), "mqtt").await.unwrap();
    says(&mut socket, connect("viewer"), &[0x20, 2, 0, 5]).await;
    hand.fault(Some(Fault::PolicySubscribe));
    let (mut socket, _) = open(&hand.aws, &signed(&hand, &host, &[]), "mqtt").await.unwrap();
    says(&mut socket, connect("viewer"), &CONNACK).await;
    says(&mut socket, subscribe("doorbell/+/ring"), &[0x90, 3, 0, 1, 0x80]).await;
    hand.fault(None);
    says(&mut socket, subscribe("doorbell/+/ring"), &SUBACK).await;
}
