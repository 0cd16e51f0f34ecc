//! One client's connection.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rumqttc::mqttbytes::v4::{
    Codec, ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish, SubAck, Subscribe, SubscribeReasonCode,
    UnsubAck, Unsubscribe,
};
use rumqttc::{Protocol, QoS};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::codec::Framed;

use super::session::{Delivery, Link, Message};
use super::topic::{is_filter, is_topic};
use super::{Action, Broker, Event, Fault, Principal, Refusal};
use crate::clock::{self, Instant};

/// A client that has not said CONNECT by then is none.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A client that does not read what it is sent for so long is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// What AWS IoT makes of any keep-alive, in seconds.
const KEEP_ALIVE: (u16, u16) = (30, 1_200);
const LONGEST_PAYLOAD: usize = 128 * 1024;
/// With a topic of 256 bytes.
const LONGEST_PACKET: usize = LONGEST_PAYLOAD + 1024;
const LONGEST_CLIENT_ID: usize = 128;
const FILTERS_AT_ONCE: usize = 8;

/// Why a connection ends.
type Why = &'static str;

const CUT: Why = "cut off, or another connection took its place";
const GONE: Why = "the client is gone";
const NOT_ALLOWED: Why = "its policy does not allow it";

pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin>(broker: &Broker, stream: S, who: Principal) {
    let codec = Codec { max_incoming_size: LONGEST_PACKET, max_outgoing_size: LONGEST_PACKET };
    let mut framed = Framed::new(stream, codec);
    let Ok(Some(Ok(Packet::Connect(connect)))) = timeout(CONNECT_WITHIN, framed.next()).await else { return };
    let is_silent = || broker.world().fault == Some(Fault::Silent);
    if is_silent() {
        // Until the client has had enough.
        while let Some(Ok(_)) = framed.next().await {}
        return;
    }
    let (link, session_present) = match admit(broker, &connect, &who) {
        Ok(admitted) => admitted,
        Err(code) => {
            if let Some(code) = code {
                let _ = timeout(WRITE_WITHIN, framed.send(connack(code, false))).await;
            }
            return;
        }
    };
    let mut connection = Connection { broker, who, client_id: connect.client_id, link, framed };
    let why = connection.run(session_present, patience(connect.keep_alive)).await;
    broker.world().part(&connection.client_id, connection.link.number, why);
    let _ = timeout(WRITE_WITHIN, connection.framed.close()).await;
}

fn connack(code: ConnectReturnCode, session_present: bool) -> Packet {
    Packet::ConnAck(ConnAck::new(code, session_present))
}

/// How long a client may say nothing: one and a half keep-alives.
fn patience(keep_alive: u16) -> Duration {
    let (shortest, longest) = KEEP_ALIVE;
    let seconds = if keep_alive == 0 { longest } else { keep_alive.clamp(shortest, longest) };
    Duration::from_secs(u64::from(seconds)).mul_f64(1.5)
}

/// Lets a client in, or says with which code not, `None` being none at all.
fn admit(broker: &Broker, connect: &Connect, who: &Principal) -> Result<(Link, bool), Option<ConnectReturnCode>> {
    let client_id = &connect.client_id;
    if connect.protocol != Protocol::V4 {
        return Err(Some(ConnectReturnCode::RefusedProtocolVersion));
    }
    if client_id.is_empty() || client_id.len() > LONGEST_CLIENT_ID {
        return Err(Some(ConnectReturnCode::BadClientId));
    }
    let mut world = broker.world();
    let refusal = match world.fault {
        Some(Fault::RefuseConnect) => Some(Refusal::Told),
        Some(Fault::CloseAfterConnect) => Some(Refusal::Closed),
        _ if world.policy.allows(who.name(), Action::Connect, client_id) => None,
        _ => Some(world.policy.refusal),
    };
    if let Some(refusal) = refusal {
        world.tell(Event::IotConnectRefused { client_id: client_id.clone(), principal: who.name().to_owned() });
        return Err((refusal == Refusal::Told).then_some(ConnectReturnCode::NotAuthorized));
    }
    world.connect(client_id, who, !connect.clean_session).ok_or(Some(ConnectReturnCode::ServiceUnavailable))
}

struct Connection<'a, S> {
    broker: &'a Broker,
    who: Principal,
    client_id: String,
    link: Link,
    framed: Framed<S, Codec>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection<'_, S> {
    async fn run(&mut self, session_present: bool, patience: Duration) -> Why {
        let cut = self.link.cut.clone();
        tokio::select! {
            biased;
            () = cut.cancelled() => CUT,
            why = self.attend(session_present, patience) => why,
        }
    }

    async fn attend(&mut self, session_present: bool, patience: Duration) -> Why {
        let begun = async {
            self.send(connack(ConnectReturnCode::Success, session_present)).await?;
            if self.fault() == Some(Fault::CloseAfterConnack) {
                return Err("it was told to close it");
            }
            self.deliver().await
        };
        if let Err(why) = begun.await {
            return why;
        }
        let mut heard = clock::now();
        loop {
            if let Err(why) = self.turn(&mut heard, patience).await {
                return why;
            }
        }
    }

    async fn turn(&mut self, heard: &mut Instant, patience: Duration) -> Result<(), Why> {
        let wake = self.link.wake.clone();
        tokio::select! {
            packet = self.framed.next() => {
                *heard = clock::now();
                match packet {
                    Some(Ok(packet)) => self.take(packet).await,
                    Some(Err(_)) => Err("the client sends what cannot be read"),
                    None => Err(GONE),
                }
            }
            () = wake.notified() => self.deliver().await,
            () = tokio::time::sleep_until(*heard + patience) => Err("the client has fallen silent"),
        }
    }

    async fn take(&mut self, packet: Packet) -> Result<(), Why> {
        if self.fault() == Some(Fault::Silent) {
            return Ok(());
        }
        match packet {
            Packet::Publish(publish) => self.publish(publish).await,
            Packet::PubAck(ack) => self.acknowledged(ack.pkid).await,
            Packet::Subscribe(subscribe) => self.subscribe(subscribe).await,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe).await,
            Packet::PingReq => self.send(Packet::PingResp).await,
            Packet::Disconnect => Err("the client said goodbye"),
            _ => Err("the client sends what only a broker sends, or QoS 2"),
        }
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), Why> {
        let Publish { topic, payload, qos, pkid, .. } = publish;
        if qos == QoS::ExactlyOnce || !is_topic(&topic) || payload.len() > LONGEST_PAYLOAD {
            return Err("it published what AWS IoT does not take");
        }
        let acknowledges = {
            let mut world = self.broker.world();
            if !world.policy.allows(self.who.name(), Action::Publish, &topic) {
                world.tell(Event::IotPublishRefused { client_id: self.client_id.clone(), topic });
                return Err(NOT_ALLOWED);
            }
            world.publish(Some(&self.client_id), &Message { topic, payload, qos });
            qos == QoS::AtLeastOnce && world.fault != Some(Fault::DropPuback)
        };
        if acknowledges { self.send(Packet::PubAck(PubAck::new(pkid))).await } else { Ok(()) }
    }

    async fn acknowledged(&mut self, packet_id: u16) -> Result<(), Why> {
        {
            let mut world = self.broker.world();
            let session = world.session(&self.client_id, self.link.number).ok_or(CUT)?;
            // A repeated delivery is acknowledged twice.
            if let Some(message) = session.acknowledged(packet_id) {
                let client_id = self.client_id.clone();
                world.tell(Event::IotAcknowledged { client_id, topic: message.topic });
            }
        }
        self.deliver().await
    }

    async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), Why> {
        if subscribe.filters.len() > FILTERS_AT_ONCE {
            return Err("it subscribed to too much at once");
        }
        let mut codes = Vec::new();
        for wanted in subscribe.filters {
            if wanted.qos == QoS::ExactlyOnce || !is_filter(&wanted.path) {
                return Err("it subscribed to what AWS IoT does not have");
            }
            codes.push(self.subscribe_to(&wanted.path, wanted.qos)?);
        }
        self.send(Packet::SubAck(SubAck::new(subscribe.pkid, codes))).await
    }

    fn subscribe_to(&self, filter: &str, qos: QoS) -> Result<SubscribeReasonCode, Why> {
        let mut world = self.broker.world();
        let refusal = match world.fault {
            Some(Fault::RefuseSubscribe) => Some(Refusal::Told),
            Some(Fault::CloseAfterSubscribe) => Some(Refusal::Closed),
            _ if world.policy.allows(self.who.name(), Action::Subscribe, filter) => None,
            _ => Some(world.policy.refusal),
        };
        let (client_id, filter) = (self.client_id.clone(), filter.to_owned());
        let session = world.session(&client_id, self.link.number).ok_or(CUT)?;
        if refusal.is_none() && session.subscribe(&filter, qos) {
            world.tell(Event::IotSubscribed { client_id, filter, qos: qos as u8 });
            return Ok(SubscribeReasonCode::Success(qos));
        }
        world.tell(Event::IotSubscribeRefused { client_id, filter });
        if refusal == Some(Refusal::Closed) { Err(NOT_ALLOWED) } else { Ok(SubscribeReasonCode::Failure) }
    }

    async fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<(), Why> {
        if let Some(session) = self.broker.world().session(&self.client_id, self.link.number) {
            unsubscribe.topics.iter().for_each(|filter| session.unsubscribe(filter));
        }
        self.send(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid))).await
    }

    /// All that waits and may be sent.
    async fn deliver(&mut self) -> Result<(), Why> {
        loop {
            let Some(delivery) = self.broker.world().next_for(&self.client_id, self.link.number) else {
                return Ok(());
            };
            let again = self.broker.world().repeats(&self.client_id, &delivery);
            self.send(packet(delivery)).await?;
            if let Some(again) = again {
                self.send(packet(again)).await?;
            }
        }
    }

    async fn send(&mut self, packet: Packet) -> Result<(), Why> {
        match timeout(WRITE_WITHIN, self.framed.send(packet)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(GONE),
            Err(_) => Err("the client does not read"),
        }
    }

    fn fault(&self) -> Option<Fault> {
        self.broker.world().fault
    }
}

fn packet(delivery: Delivery) -> Packet {
    let Delivery { message: Message { topic, payload, qos }, dup, packet_id } = delivery;
    Packet::Publish(Publish { dup, qos, retain: false, topic, pkid: packet_id, payload })
}
