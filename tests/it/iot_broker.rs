//! The virtual AWS IoT is as strict as AWS is, and nothing that a client sends brings it down.

use std::time::Duration;

use doorstep::clock;
use doorstep::sim::dice::Dice;
use doorstep::sim::iot::{Broker, Event, Fault, Policy, Principal};
use futures_util::{SinkExt, StreamExt};
use rumqttc::mqttbytes::v4::{
    Codec, ConnAck, Connect, Packet, PubAck, Publish, Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use rumqttc::{ConnectReturnCode, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::codec::Framed;

/// A client by hand, over memory.
struct Client(Framed<DuplexStream, Codec>);

fn join(broker: &Broker) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let broker = broker.clone();
    tokio::spawn(async move { broker.serve(theirs, Principal::new("thing")).await });
    ours
}

impl Client {
    /// Says CONNECT and reads CONNACK; whether a session was kept.
    async fn connect(broker: &Broker, id: &str, clean_session: bool, keep_alive: u16) -> (Self, bool) {
        let codec = Codec { max_incoming_size: 1 << 20, max_outgoing_size: 1 << 20 };
        let mut client = Self(Framed::new(join(broker), codec));
        client.send(Packet::Connect(Connect { clean_session, keep_alive, ..Connect::new(id) })).await;
        match client.next().await {
            Some(Packet::ConnAck(ConnAck { session_present, code: ConnectReturnCode::Success })) => {
                (client, session_present)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn send(&mut self, packet: Packet) {
        self.0.send(packet).await.unwrap();
    }

    /// `None` when it was hung up on.
    async fn next(&mut self) -> Option<Packet> {
        self.0.next().await.map(Result::unwrap)
    }

    async fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Option<Packet> {
        let filters = filters.iter().map(|(path, qos)| SubscribeFilter::new((*path).to_owned(), *qos)).collect();
        self.send(Packet::Subscribe(Subscribe { pkid: 1, filters })).await;
        self.next().await
    }

    async fn hears(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }
}

/// Without a goodbye.
async fn leaves(client: Client, broker: &Broker) {
    drop(client);
    while !broker.clients().is_empty() {
        tokio::task::yield_now().await;
    }
}

fn publish(topic: &str, qos: QoS, length: usize) -> Packet {
    Packet::Publish(Publish { pkid: 1, ..Publish::new(topic, qos, vec![b'x'; length]) })
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_for_one_and_a_half_keep_alives_is_gone() {
    // Below 30 s AWS IoT keeps alive for 30 s, and without for 20 minutes.
    for (keep_alive, patience) in [(5, 45), (60, 90), (0, 1_800), (2_000, 1_800)] {
        let broker = Broker::new(Policy::open());
        let (mut client, _) = Client::connect(&broker, "a", true, keep_alive).await;
        let since = clock::now();
        assert_eq!(client.next().await, None);
        assert_eq!(since.elapsed().as_secs(), patience, "keep-alive {keep_alive}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_aws_iot_does_not_take_ends_the_connection() {
    let filter = |path: &str, qos| Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new(path, qos) });
    let nine = (0..9).map(|number| SubscribeFilter::new(number.to_string(), QoS::AtMostOnce)).collect();
    for packet in [
        publish("a", QoS::ExactlyOnce, 1),
        publish("a/+", QoS::AtMostOnce, 1),
        publish("1/2/3/4/5/6/7/8/9", QoS::AtLeastOnce, 1),
        publish("a", QoS::AtMostOnce, 128 * 1024 + 1),
        publish("a", QoS::AtMostOnce, 512 * 1024),
        filter("a", QoS::ExactlyOnce),
        filter("a/#/b", QoS::AtMostOnce),
        filter("1/2/3/4/5/6/7/8/9", QoS::AtMostOnce),
        Packet::Subscribe(Subscribe { pkid: 1, filters: nine }),
        Packet::Connect(Connect::new("a")),
        Packet::PingResp,
        Packet::Disconnect,
    ] {
        let broker = Broker::new(Policy::open());
        let (mut client, _) = Client::connect(&broker, "a", true, 60).await;
        let since = clock::now();
        client.send(packet.clone()).await;
        assert_eq!(client.next().await, None, "{packet:?}");
        assert_eq!(since.elapsed(), Duration::ZERO, "{packet:?}");
        assert!(broker.clients().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_session_is_there_again_with_all_that_came_meanwhile() {
    let broker = Broker::new(Policy::open());
    let (mut client, present) = Client::connect(&broker, "a", false, 60).await;
    assert!(!present);
    client.subscribe(&[("doorbell/+/ring", QoS::AtLeastOnce), ("lamp", QoS::AtMostOnce)]).await;
    broker.publish("doorbell/a/ring", "1", 1);
    let unacknowledged = client.hears().await;
    assert!(!unacknowledged.dup);
    broker.publish("doorbell/a/ring", "2", 1);
    let second = client.hears().await;
    client.send(Packet::PubAck(PubAck::new(second.pkid))).await;
    client.send(Packet::PingReq).await;
    assert_eq!(client.next().await, Some(Packet::PingResp));
    leaves(client, &broker).await;
    for number in 3..110 {
        broker.publish("doorbell/a/ring", number.to_string(), 1);
        broker.publish("lamp", "on", 1);
    }
    let (mut client, present) = Client::connect(&broker, "a", false, 60).await;
    assert!(present);
    let mut heard = Vec::new();
    for _ in 0..100 {
        let publish = client.hears().await;
        client.send(Packet::PubAck(PubAck::new(publish.pkid))).await;
        heard.push((String::from_utf8(publish.payload.to_vec()).unwrap(), publish.dup));
    }
    // A hundred wait, the oldest made room.
    let kept = (10..110).map(|number| (number.to_string(), false)).collect::<Vec<_>>();
    assert_eq!(heard, kept);
    leaves(client, &broker).await;
    tokio::time::advance(Duration::from_secs(3_601)).await;
    let (_, present) = Client::connect(&broker, "a", false, 60).await;
    assert!(!present, "an hour later it is forgotten");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_comes_again_marked() {
    let broker = Broker::new(Policy::open());
    let (mut client, _) = Client::connect(&broker, "a", false, 60).await;
    client.subscribe(&[("#", QoS::AtLeastOnce)]).await;
    broker.publish("a", "1", 1);
    assert!(!client.hears().await.dup);
    // Another connection takes its place, without this one having ended.
    let (mut other, present) = Client::connect(&broker, "a", false, 60).await;
    assert!(present && other.hears().await.dup);
    assert_eq!(client.next().await, None, "there is one connection of a client");
    assert_eq!(broker.clients(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn too_much_is_refused_and_said() {
    let broker = Broker::new(Policy::open());
    let (mut client, _) = Client::connect(&broker, "a", true, 60).await;
    for number in 0..50 {
        client.subscribe(&[(&number.to_string(), QoS::AtMostOnce)]).await;
    }
    match client.subscribe(&[("one/more", QoS::AtMostOnce)]).await {
        Some(Packet::SubAck(answer)) => assert_eq!(answer.return_codes, [SubscribeReasonCode::Failure]),
        other => panic!("{other:?}"),
    }
    for bad in ["", &"a".repeat(129)] {
        let mut client =
            Client(Framed::new(join(&broker), Codec { max_incoming_size: 1 << 20, max_outgoing_size: 1 << 20 }));
        client.send(Packet::Connect(Connect::new(bad))).await;
        let refused = ConnAck::new(ConnectReturnCode::BadClientId, false);
        assert_eq!(client.next().await, Some(Packet::ConnAck(refused)));
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn faults_do_what_they_say() {
    let broker = Broker::new(Policy::open());
    let mut events = broker.events();
    broker.set_fault(Some(Fault::CloseAfterConnack));
    assert_eq!(events.recv().await.unwrap(), Event::IotFault { name: "close-after-connack" });
    let (mut client, _) = Client::connect(&broker, "a", true, 60).await;
    assert_eq!(client.next().await, None);
    broker.set_fault(None);
    let (mut client, _) = Client::connect(&broker, "a", true, 60).await;
    broker.set_fault(Some(Fault::DropPuback));
    client.send(publish("a", QoS::AtLeastOnce, 1)).await;
    client.send(Packet::PingReq).await;
    assert_eq!(client.next().await, Some(Packet::PingResp), "and no PUBACK before it");
    broker.set_fault(Some(Fault::RefuseSubscribe));
    assert!(matches!(client.subscribe(&[("a", QoS::AtMostOnce)]).await, Some(Packet::SubAck(answer))
        if answer.return_codes == [SubscribeReasonCode::Failure]));
    broker.set_fault(Some(Fault::CloseAfterSubscribe));
    assert_eq!(client.subscribe(&[("a", QoS::AtMostOnce)]).await, None);
}

#[tokio::test]
async fn no_bytes_bring_the_broker_down() {
    let whole: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a\x82\x06\0\x01\0\x01#\x01\x32\x06\0\x01a\0\x07x\xc0\0";
    for seed in 0..3_000 {
        let mut dice = Dice::new(seed);
        let mut bytes = whole.to_vec();
        for _ in 0..=seed % 6 {
            let at = u32::from_le_bytes(dice.bytes()) as usize % bytes.len();
            bytes[at] = dice.bytes::<1>()[0];
        }
        if dice.roll(0.3) {
            bytes.truncate(u32::from_le_bytes(dice.bytes()) as usize % (bytes.len() + 1));
        }
        let broker = Broker::new(Policy::open());
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        let serving = tokio::spawn({
            let broker = broker.clone();
            async move { broker.serve(theirs, Principal::new("thing")).await }
        });
        ours.write_all(&bytes).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut answers = Vec::new();
        ours.read_to_end(&mut answers).await.unwrap();
        assert!(serving.await.is_ok(), "seed {seed}: {bytes:02x?}");
        assert!(broker.clients().is_empty(), "seed {seed}: {bytes:02x?}");
    }
}
