//! One connection to the broker after the other, each with a client of its own, so that nothing of a broken
//! one lives on but what the outbox knows.
//!
//! Two tasks: one owns the library's event loop and only polls it ([`Poller`]); the other hands it messages from the
//! outbox and never waits for it ([`Live`]).

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, LastWill, MqttOptions, QoS, TlsConfiguration, Transport};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::complaint::Complaint;
use super::ending::{End, MAX_PACKET, diagnose, next_limit};
use super::instance::Instance;
use super::live::Live;
use super::poller::{Message, Poller};
use super::publisher::Publisher;
use super::source::{Broker, Source};
use super::subscriptions::Subscriptions;
use super::way;
use crate::clock;
use crate::config::MqttUrl;
use crate::model::MqttLink;
use crate::net::supervise::jitter;

/// The largest packet that is sent: a picture of 4 MiB with its topic. One that the broker does not take ends the
/// connection, and is not sent again.
const MAX_SENT: usize = 4 * 1024 * 1024 + 1024;
/// More than the outbox ever has in flight, so that packet ids in use never collide.
const CLIENT_IN_FLIGHT: u16 = 64;
/// Requests on their way to the poll task: the outbox's flights, subscriptions and the farewell. Where they are
/// more, the connection ends, and the next one begins with what there is then.
const REQUESTS: usize = 64;
/// Reports of the poll task: written and acknowledged for each flight, and a few more. Overrun ends the connection.
const PROGRESS: usize = 64;

/// What a connection is made of.
pub(super) struct Plan {
    pub(super) broker: Broker,
    pub(super) client_id: String,
    pub(super) keep_alive: Duration,
    /// The retained topic that says `offline` when we vanish.
    pub(super) will: Option<String>,
    /// Subscribed as long as there is a connection.
    pub(super) filters: Vec<String>,
    /// Subscribed as well, while they are here.
    pub(super) subscriptions: Subscriptions,
    pub(super) instance: Option<Instance>,
}

impl Plan {
    pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

    /// A broker drops us after one and a half keep-alives without a word; we hold it to the same.
    pub(super) fn patience(&self) -> Duration {
        self.keep_alive.mul_f64(1.5)
    }

    fn options(&self, url: &MqttUrl, host: String, max_packet: usize) -> MqttOptions {
        let mut options = MqttOptions::new(&self.client_id, host, url.port);
        options.set_keep_alive(self.keep_alive).set_clean_session(true).set_inflight(CLIENT_IN_FLIGHT);
        options.set_max_packet_size(max_packet, MAX_SENT);
        if let Some(topic) = &self.will {
            options.set_last_will(LastWill::new(topic, super::OFFLINE, QoS::AtLeastOnce, true));
        }
        if let Some((user, password)) = &url.login {
            options.set_credentials(user, password.expose());
        }
        if url.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls_config()))));
        }
        options
    }
}

/// Trusts what the machine trusts.
fn tls_config() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        tracing::error!("no certificate authority is known to this machine; install its package `ca-certificates`");
    }
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring carries TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A running client.
pub(super) struct Client {
    task: JoinHandle<()>,
    link: watch::Receiver<MqttLink>,
}

impl Client {
    /// Connects and keeps connected until `finish` is cancelled; then what is still in the outbox is sent
    /// (at most 1 s) and the connection closed.
    ///
    /// `incoming` gets the messages; while it is full they are dropped and counted.
    pub(super) fn start(
        plan: Plan,
        publisher: Publisher,
        incoming: mpsc::Sender<Message>,
        finish: CancellationToken,
    ) -> Self {
        let (tell, link) = watch::channel(MqttLink::Disconnected);
        let connections = Connections { plan, publisher, incoming, finish, link: tell };
        Self { task: tokio::spawn(connections.run()), link }
    }

    /// `Waiting`, `Disconnected` or `Connected`.
    pub(super) fn link(&self) -> watch::Receiver<MqttLink> {
        self.link.clone()
    }

    pub(super) async fn finished(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) struct Connections {
    pub(super) plan: Plan,
    pub(super) publisher: Publisher,
    incoming: mpsc::Sender<Message>,
    pub(super) finish: CancellationToken,
    pub(super) link: watch::Sender<MqttLink>,
}

impl Connections {
    async fn run(mut self) {
        let mut source = Source::new(self.plan.broker.clone());
        let mut backoff = Backoff::default();
        let mut complaint = Complaint::new(source.remedy());
        let mut max_packet = MAX_PACKET;
        let finish = self.finish.clone();
        while let Some(url) = finish.run_until_cancelled(source.url(&self.link)).await {
            let (end, lived) = match finish.run_until_cancelled(way::to(&url)).await {
                Some(Ok(host)) => self.connection(&url, host, max_packet, &mut complaint).await,
                Some(Err(error)) => (End::Unnamed(error), None),
                None => return,
            };
            self.publisher.outbox().on_disconnected();
            self.link.send_replace(MqttLink::Disconnected);
            if matches!(end, End::Finished | End::Yielded) {
                return;
            }
            if let (Some(instance), true) = (&mut self.plan.instance, lived >= Some(Backoff::STABLE_AFTER)) {
                instance.on_stable();
            }
            max_packet = next_limit(&end);
            let (failure, reason) = diagnose(&end, lived.is_some());
            match finish.run_until_cancelled(source.ended(failure, lived.is_some())).await {
                Some(true) => continue,
                Some(false) => {}
                None => return,
            }
            let wait = backoff.next(failure, lived, jitter());
            complaint.about(failure, reason, wait);
            finish.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    /// One connection, from the attempt to its end, and how long it was up.
    async fn connection(
        &mut self,
        url: &MqttUrl,
        host: String,
        max_packet: usize,
        complaint: &mut Complaint,
    ) -> (End, Option<Duration>) {
        let (client, mut event_loop) = AsyncClient::new(self.plan.options(url, host, max_packet), REQUESTS);
        event_loop.network_options.set_tcp_nodelay(true);
        let (reports, progress) = mpsc::channel(PROGRESS);
        let instance_topic = self.plan.instance.as_ref().map(|instance| instance.topic().to_owned());
        let poller = Poller {
            reports,
            incoming: self.incoming.clone(),
            publisher: self.publisher.clone(),
            instance_topic,
            subscriptions: self.plan.subscriptions.clone(),
            unconfirmed: 0,
            patience: self.plan.patience(),
            polled: clock::now(),
        };
        let poll_task = tokio::spawn(poller.run(event_loop));
        let mut live = Live::new(client, progress, self.plan.subscriptions.changes());
        let end = live.run(self, complaint).await;
        poll_task.abort();
        (end, live.lived())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

    async fn listen() -> (TcpListener, Broker) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        (listener, Broker::At(MqttUrl::parse(&url).unwrap()))
    }

    fn plan(broker: Broker) -> Plan {
        Plan {
            broker,
            client_id: "doorstep-test".to_owned(),
            keep_alive: Duration::from_secs(1),
            will: None,
            filters: Vec::new(),
            subscriptions: Subscriptions::default(),
            instance: None,
        }
    }

    fn client(broker: Broker) -> Client {
        Client::start(plan(broker), Publisher::default(), mpsc::channel(1).0, CancellationToken::new())
    }

    async fn accept(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut connect = [0; 512];
        assert!(stream.read(&mut connect).await.unwrap() > 0, "closed before CONNECT");
        stream.write_all(&CONNACK).await.unwrap();
        stream
    }

    /// At most one and a half keep-alives, here of 1 s, and two seconds.
    #[tokio::test]
    async fn row_04_a_broker_that_has_fallen_silent_is_left_and_tried_again() {
        let (listener, broker) = listen().await;
        let client = client(broker);
        let _silent = accept(&listener).await;
        client.link().wait_for(|link| *link == MqttLink::Connected).await.unwrap();
        let again = tokio::time::timeout(Duration::from_millis(3_500), accept(&listener)).await;
        assert!(again.is_ok(), "still waiting for a dead connection");
    }

    /// It answers every ping, so it is there; and nothing that it was told is known to have arrived.
    #[tokio::test]
    async fn hostile_broker_never_acknowledges_and_is_left_as_if_it_were_silent() {
        let (listener, broker) = listen().await;
        let publisher = Publisher::default();
        let _client = Client::start(plan(broker), publisher.clone(), mpsc::channel(1).0, CancellationToken::new());
        let mut stream = accept(&listener).await;
        let connected = clock::now();
        publisher.set("door/info", "{}");
        let (mut heard, mut pings) = (Vec::new(), 0);
        while connected.elapsed() < Duration::from_millis(3_500) {
            let mut bytes = [0; 256];
            // A client pings once in a keep-alive.
            let read = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut bytes)).await;
            match read.expect("neither a ping nor an end").unwrap_or(0) {
                0 => break,
                n if bytes[..n].ends_with(&[0xc0, 0]) => {
                    pings += 1;
                    stream.write_all(&[0xd0, 0]).await.unwrap();
                    heard.extend(&bytes[..n]);
                }
                n => heard.extend(&bytes[..n]),
            }
        }
        let left = connected.elapsed();
        assert!(heard.windows(9).any(|bytes: &[u8]| bytes == b"door/info"), "it was told nothing");
        assert!(pings >= 1 && (1_500..3_500).contains(&left.as_millis()), "left after {left:?} and {pings} pings");
        accept(&listener).await;
    }

    #[tokio::test]
    async fn hostile_broker_sends_what_is_no_mqtt() {
        let nonsense: [&[u8]; 14] = [
            b"HTTP/1.1 400 Bad Request",
            &[0; 64],
            &[0xff; 64],
            // PUBLISH: a topic that is no UTF-8, one that is longer than its packet, QoS 3, an id of 0, nothing at all.
            &[0x32, 5, 0, 1, 0xff, 0, 1],
            &[0x30, 4, 0xff, 0xff, b'a', b'b'],
            &[0x36, 7, 0, 1, b'a', 0, 1, b'O', b'N'],
            &[0x32, 5, 0, 1, b'a', 0, 0],
            &[0x30, 0],
            // Acknowledgements of what was never sent, and ones without an id.
            &[0x40, 2, 9, 9],
            &[0x40, 1, 9],
            &[0x90, 2, 0, 1],
            &[0x90, 3, 0, 1, 77],
            // What only clients say; a second CONNACK.
            &[0x82, 6, 0, 1, 0, 1, b'a', 1],
            &CONNACK,
        ];
        futures_util::future::join_all(nonsense.map(survives)).await;
    }

    #[tokio::test]
    async fn hostile_broker_closes_in_the_middle_of_a_packet() {
        let (listener, broker) = listen().await;
        let _client = client(broker);
        let mut stream = accept(&listener).await;
        stream.write_all(&[0x30, 99, 0, 3, b'a']).await.unwrap();
        drop(stream);
        accept(&listener).await;
    }

    async fn survives(nonsense: &[u8]) {
        let (listener, broker) = listen().await;
        let _client = client(broker);
        let mut stream = accept(&listener).await;
        stream.write_all(nonsense).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(4), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "took {nonsense:?} for MQTT");
        accept(&listener).await;
    }
}
