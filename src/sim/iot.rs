//! AWS IoT, as far as an MQTT client can tell (kvs reference §6): MQTT 3.1.1 with QoS 0 and 1, policies, clients that take
//! each other's place, and sessions that outlive their connections.
//!
//! It listens nowhere: whoever has a connection and knows who is at its other end hands both to [`Broker::serve`], or to
//! [`Broker::serve_websocket`] after an upgrade. There the sub-protocol is agreed on before: of [`SUBPROTOCOLS`] the one
//! that the client has asked for is echoed, which is what axum's `WebSocketUpgrade::protocols(SUBPROTOCOLS)` does.
//!
//! As at AWS there is no QoS 2, topics have 7 slashes at most, payloads 128 KiB, a SUBSCRIBE 8 filters, a connection 50,
//! keep-alives are held to 30..1200 s, and most of what is not allowed ends the connection without a word. Left out:
//! retained messages, wills, MQTT 5, shared subscriptions.

mod connection;
mod event;
mod fault;
mod policy;
mod session;
mod topic;
mod websocket;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::WebSocket;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast;

pub use event::Event;
pub use fault::Fault;
pub use policy::{Action, Grant, Policy, Refusal};
use session::Message;
use world::World;

/// What a WebSocket may carry; the second is an old SDK's name for the same.
pub const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Who is at the other end of a connection: a thing by its certificate, or the owner of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(String);

impl Principal {
    /// By the name that grants know it by.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A broker that lives as long as one of its clones or connections.
#[derive(Clone)]
pub struct Broker {
    world: Arc<Mutex<World>>,
}

impl Broker {
    pub fn new(policy: Policy) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(policy))) }
    }

    /// Serves one client until either side is through with the other. Dropping the future cuts the client off.
    pub async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin>(&self, stream: S, who: Principal) {
        connection::serve(self, stream, who).await;
    }

    /// The same over a WebSocket that has been upgraded.
    pub async fn serve_websocket(&self, socket: WebSocket, who: Principal) {
        self.serve(websocket::stream(socket), who).await;
    }

    /// Publishes for nobody in particular, whatever the policy says of it; who may receive it is asked.
    pub fn publish(&self, topic: &str, payload: impl Into<Bytes>, qos: u8) {
        let message = Message { topic: topic.to_owned(), payload: payload.into(), qos: session::qos(qos) };
        self.world().publish(None, &message);
    }

    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.world().events.subscribe()
    }

    /// From now on; connections that there are keep what they have subscribed to.
    pub fn set_policy(&self, policy: Policy) {
        self.world().policy = policy;
    }

    /// At most one at a time; `None` behaves.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.world().set_fault(fault);
    }

    /// Cuts a client off. Whether there was one.
    pub fn disconnect(&self, client_id: &str) -> bool {
        self.world().disconnect(client_id)
    }

    /// Who is connected, by client id.
    pub fn clients(&self) -> Vec<String> {
        self.world().clients()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
