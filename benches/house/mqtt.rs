//! How many messages a second the service publishes, each of which arrives.

use std::collections::BTreeSet;
use std::time::Duration;

use doorstep::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_util::task::AbortOnDropHandle;

use crate::figures::{Figures, Goal, Unit};
use crate::house::House;
use crate::mosquitto::{PATIENCE, Witness};
use crate::raw_broker::publish_packet;

const MESSAGES: usize = 20_000;
/// Commands under way at most, fewer than the service lets wait.
const UNDER_WAY: usize = 48;

/// Commands for the picture of a doorbell, each with a number, which the service answers each, at QoS 1, with that
/// number: from the first command to the last answer at mosquitto_sub.
pub(crate) async fn measure(figures: &mut Figures) {
    let house = House::open().await;
    let mut witness = house.broker.listen(&format!("doorstep/{}/result", house.id)).await;
    let mut publisher = Publisher::connect(house.broker.port).await;
    let topic = format!("doorstep/{}/stream/set", house.id);
    let (mut arrived, mut again) = (BTreeSet::new(), 0);
    let began = clock::now();
    for n in 0..MESSAGES {
        while n - arrived.len() >= UNDER_WAY {
            take(&mut witness, &mut arrived, &mut again).await;
        }
        let command = format!(r#"{{"state":"OFF","id":{n}}}"#);
        publisher.publish(&topic, &command).await;
    }
    // What does not come now is lost.
    let rest = async {
        while arrived.len() < MESSAGES {
            take(&mut witness, &mut arrived, &mut again).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, rest).await;
    let took = began.elapsed().as_secs_f64();
    figures.add("MQTT messages without loss", arrived.len() as f64 / took, Unit::PerSecond, Goal::AtLeast(5_000.0));
    figures.add("MQTT messages lost", (MESSAGES - arrived.len()) as f64, Unit::Count, Goal::AtMost(0.0));
    figures.add("MQTT messages that came twice", again as f64, Unit::Count, Goal::None);
    let dropped = house.metric("mqtt_messages_dropped_total").await + house.metric("mqtt_events_dropped_total").await;
    figures.add("MQTT messages counted as dropped", dropped, Unit::Count, Goal::AtMost(0.0));
}

async fn take(witness: &mut Witness, arrived: &mut BTreeSet<u64>, again: &mut usize) {
    let id = witness.next().await.json()["id"].as_u64().unwrap();
    *again += usize::from(!arrived.insert(id));
}

/// A client that only publishes, at QoS 0; a program for each message would be what is measured.
struct Publisher {
    stream: OwnedWriteHalf,
    /// Throws away what the broker says.
    _reading: AbortOnDropHandle<()>,
}

impl Publisher {
    async fn connect(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0").await.unwrap();
        let mut answer = [0; 4];
        tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, [0x20, 2, 0, 0], "CONNACK");
        let (mut from, stream) = stream.into_split();
        let reading = async move {
            let mut buffer = [0; 256];
            while matches!(from.read(&mut buffer).await, Ok(1..)) {}
        };
        Self { stream, _reading: AbortOnDropHandle::new(tokio::spawn(reading)) }
    }

    async fn publish(&mut self, topic: &str, payload: &str) {
        self.stream.write_all(&publish_packet(0x30, topic.as_bytes(), payload.as_bytes())).await.unwrap();
    }
}
