//! One connection of an MQTT 3.1.1 client, packet by packet: what it sends is read, what it gets is made by hand.

use doorstep::mqtt::Broker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::mosquitto::{self, PATIENCE};

pub(crate) struct RawBroker {
    listener: TcpListener,
    stream: Option<TcpStream>,
}

/// What the client sent, as far as a test looks at it.
#[derive(Debug)]
pub(crate) enum Packet {
    Subscribe { packet_id: [u8; 2], filters: Vec<String> },
    Publish { topic: String, payload: Vec<u8> },
    Other(u8),
}

impl RawBroker {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), stream: None }
    }

    pub(crate) fn settings(&self) -> Broker {
        mosquitto::settings(self.listener.local_addr().unwrap().port())
    }

    /// Takes the next connection and lets it in.
    pub(crate) async fn accept(&mut self) {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept()).await.expect("nobody came").unwrap();
        self.stream = Some(stream);
        assert!(matches!(self.next().await, Packet::Other(0x10)), "no CONNECT");
        self.write(&[0x20, 2, 0, 0]).await;
    }

    /// The next packet. A published one is acknowledged.
    pub(crate) async fn next(&mut self) -> Packet {
        let (header, body) = tokio::time::timeout(PATIENCE, self.read()).await.expect("the client has fallen silent");
        let text = |at: usize| {
            let length = usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
            (String::from_utf8(body[at + 2..at + 2 + length].to_vec()).unwrap(), at + 2 + length)
        };
        match header & 0xf0 {
            0x30 => {
                let (topic, end) = text(0);
                self.write(&[0x40, 2, body[end], body[end + 1]]).await;
                Packet::Publish { topic, payload: body[end + 2..].to_vec() }
            }
            0x80 => {
                let (mut filters, mut at) = (Vec::new(), 2);
                while at < body.len() {
                    let (filter, end) = text(at);
                    filters.push(filter);
                    at = end + 1;
                }
                Packet::Subscribe { packet_id: [body[0], body[1]], filters }
            }
            kind => Packet::Other(kind),
        }
    }

    /// Waits for a SUBSCRIBE to `filter`, and returns what its confirmation needs.
    pub(crate) async fn subscribe_to(&mut self, filter: &str) -> ([u8; 2], usize) {
        loop {
            if let Packet::Subscribe { packet_id, filters } = self.next().await {
                let found = filters.iter().any(|wanted| wanted == filter);
                if found {
                    return (packet_id, filters.len());
                }
                self.confirm((packet_id, filters.len())).await;
            }
        }
    }

    /// SUBACK: everything at QoS 1.
    pub(crate) async fn confirm(&mut self, (packet_id, filters): ([u8; 2], usize)) {
        let mut packet = vec![0x90, u8::try_from(2 + filters).unwrap(), packet_id[0], packet_id[1]];
        packet.resize(packet.len() + filters, 1);
        self.write(&packet).await;
    }

    /// At QoS 1, `dup` as a broker that delivers once more.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str, dup: bool) {
        let header = if dup { 0x3a } else { 0x32 };
        self.write(&publish_packet(header, topic.as_bytes(), payload.as_bytes())).await;
    }

    /// The payload of the next message on `topic`.
    pub(crate) async fn published(&mut self, topic: &str) -> serde_json::Value {
        loop {
            match self.next().await {
                Packet::Publish { topic: heard, payload } if heard == topic => {
                    return serde_json::from_slice(&payload).unwrap();
                }
                _ => {}
            }
        }
    }

    async fn read(&mut self) -> (u8, Vec<u8>) {
        read_packet(self.stream.as_mut().expect("accept first")).await.unwrap()
    }

    async fn write(&mut self, packet: &[u8]) {
        self.stream.as_mut().expect("accept first").write_all(packet).await.unwrap();
    }
}

/// The first byte of the next packet, and what follows its length.
pub(crate) async fn read_packet(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let header = stream.read_u8().await?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((header, body))
}

/// PUBLISH with this first byte (`0x30`, and `1` for retained, `2` for QoS 1, `8` for a repetition). At QoS 1 its id is
/// 77.
pub(crate) fn publish_packet(header: u8, topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend(topic);
    if header & 0x06 != 0 {
        body.extend([0, 77]);
    }
    body.extend(payload);
    let mut packet = vec![header];
    let mut rest = body.len();
    while rest >= 128 {
        packet.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    packet.push(rest as u8);
    packet.extend(body);
    packet
}
