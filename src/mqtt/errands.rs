//! Short or small connections beside the service's own: forgetting what was retained, pressing a button.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Plan};
use super::publisher::Publisher;
use super::source::Broker;
use super::subscriptions::Subscriptions;
use crate::config::MqttUrl;
use crate::model::MqttLink;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MqttError {
    #[error("the MQTT broker at {host}:{port} could not be used within {}s; see the log for its reason", .within.as_secs())]
    Unreachable { host: String, port: u16, within: Duration },
}

/// Clears retained topics at the broker and returns how many.
///
/// # Errors
/// When the broker has not confirmed them all within 15 s.
pub async fn forget(url: &MqttUrl, topics: &[String]) -> Result<usize, MqttError> {
    const WITHIN: Duration = Duration::from_secs(15);
    let publisher = Publisher::default();
    topics.iter().for_each(|topic| publisher.clear(topic));
    let finish = CancellationToken::new();
    let client = Client::start(plan(url, "forget"), publisher.clone(), mpsc::channel(1).0, finish.clone());
    let cleared = tokio::time::timeout(WITHIN, publisher.drained()).await.is_ok();
    finish.cancel();
    client.finished().await;
    let failure = || MqttError::Unreachable { host: url.host.clone(), port: url.port, within: WITHIN };
    cleared.then_some(topics.len()).ok_or_else(failure)
}

/// A button on the broker: the wired button of a virtual doorbell. Stays connected, so that a press is
/// there at once; disconnects when dropped.
pub struct ButtonClient {
    publisher: Publisher,
    client: Client,
}

impl ButtonClient {
    pub fn start(url: &MqttUrl) -> Self {
        let publisher = Publisher::default();
        let incoming = mpsc::channel(1).0;
        let client = Client::start(plan(url, "button"), publisher.clone(), incoming, CancellationToken::new());
        Self { publisher, client }
    }

    pub fn link(&self) -> watch::Receiver<MqttLink> {
        self.client.link()
    }

    /// Publishes `payload`, not retained. Without a connection it waits for one, at most 30 s.
    pub fn press(&self, topic: &str, payload: &str) {
        self.publisher.send(topic.to_owned(), payload.to_owned());
    }
}

fn plan(url: &MqttUrl, errand: &str) -> Plan {
    let random = getrandom::u64().unwrap_or_default();
    Plan {
        broker: Broker::At(url.clone()),
        client_id: format!("doorstep-{errand}-{random:016x}"),
        keep_alive: Plan::KEEP_ALIVE,
        will: None,
        filters: Vec::new(),
        subscriptions: Subscriptions::default(),
        instance: None,
    }
}
