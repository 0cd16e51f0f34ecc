//! One connection to AWS IoT, over which doorbells ring (kvs reference §6): MQTT 3.1.1 with a certificate, or over a
//! WebSocket whose address is signed anew each time. It is made again and again until it is told to stop: what the
//! network or a policy refuses today may go well tomorrow.

mod connection;
mod diagnosis;
mod inbox;
mod orders;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Aws;
use crate::config::IotEndpoint;
use crate::net::tls::Trust;
use inbox::Inbox;
pub use orders::{IotError, Publisher};
use worker::Worker;

/// What a connection is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    pub endpoint: IotEndpoint,
    pub way: Way,
    /// Nobody else may use it: AWS IoT closes the older of two connections.
    pub client_id: String,
    /// Subscribed at QoS 1, each by itself. Without any there is nothing to hear.
    pub filters: Vec<String>,
    /// False: what is published with QoS 1 while there is no connection comes later, at AWS within an hour.
    pub clean_session: bool,
}

/// How to say who we are.
#[derive(Debug, Clone)]
pub enum Way {
    /// With the identity's certificate, to port 8883, or to another with ALPN, as 443 asks for it.
    Certificate(Trust),
    /// With credentials, over a WebSocket at an address that is signed for each connection.
    Signed(Aws),
}

impl Way {
    /// A certificate is the better way where there is one, but nobody asks for one in the clear.
    pub fn to(endpoint: &IotEndpoint, aws: &Aws) -> Self {
        let trust = aws.trust();
        if endpoint.tls && trust.identity.is_some() { Self::Certificate(trust) } else { Self::Signed(aws.clone()) }
    }
}

/// What takes how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Until the next attempt after trouble that passes. Doubles to the sixtyfold; half of it more or less, by chance.
    pub trouble: Duration,
    /// Until the next attempt after what the owner has to mend, up to twice as long.
    pub owner: Duration,
    /// Between two pings. AWS IoT takes 30 to 1200 s.
    pub keep_alive: Duration,
    /// A ping or a subscription that is not answered for so long never will be.
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let [trouble, owner, keep_alive, answer] = [1, 30, 30, 10].map(Duration::from_secs);
        Self { trouble, owner, keep_alive, answer }
    }
}

/// A connection that is kept up. Ends when it is dropped.
pub struct Iot {
    inbox: Arc<Inbox>,
    publisher: Publisher,
    _stop: DropGuard,
}

/// What there is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// And subscribed to everything.
    Connected,
    Message {
        topic: String,
        payload: Bytes,
        retained: bool,
        /// It may have been delivered before.
        dup: bool,
    },
    /// Not connected, or not subscribed to everything. Told once, and again when the reason has changed.
    Trouble {
        /// Whole sentences.
        why: String,
        /// Trying again does not help (it is tried all the same).
        needs_owner: bool,
    },
}

impl Iot {
    /// Payloads that AWS IoT takes have up to so many bytes.
    pub const LONGEST_PAYLOAD: usize = 128 * 1024;

    /// Connects in a task of its own until `stop`.
    pub fn start(settings: Settings, stop: CancellationToken) -> Self {
        Self::start_with(settings, Pace::default(), stop)
    }

    /// At another pace than is good for AWS.
    pub fn start_with(settings: Settings, pace: Pace, stop: CancellationToken) -> Self {
        let stop = stop.child_token();
        let inbox = Arc::new(Inbox::default());
        let (publisher, orders) = orders::channel();
        let worker = Worker::new(settings, pace, inbox.clone(), orders, stop.clone());
        tokio::spawn(worker.run());
        Self { inbox, publisher, _stop: stop.drop_guard() }
    }

    /// What happens next. Never resolves once it was told to stop. May be cancelled at any time.
    ///
    /// 64 messages wait for whoever does not ask; each further one takes the place of the oldest. Of the connection's
    /// state only the latest waits.
    pub async fn next(&mut self) -> News {
        self.inbox.next().await
    }

    /// As [`Publisher::publish`].
    ///
    /// # Errors
    /// [`IotError`].
    pub async fn publish(&self, topic: &str, qos: u8, payload: Bytes) -> Result<(), IotError> {
        self.publisher.publish(topic, qos, payload).await
    }

    /// Publishes over this connection as long as it is there.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }
}
