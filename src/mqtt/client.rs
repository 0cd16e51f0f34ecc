//! One connection to the broker after the other, each with a client of its own, so that nothing of a broken
//! one lives on but what the outbox knows.
//!
//! Two tasks: one owns the library's event loop and only polls it; the other hands it messages from the
//! outbox and never waits for it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ClientError, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing,
    Packet, QoS, StateError, SubscribeFilter, TlsConfiguration, Transport, mqttbytes,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, Failure};
use super::complaint::Complaint;
use super::instance::{Instance, Rival};
use super::publisher::Publisher;
use super::source::{Broker, Source};
use super::subscriptions::{self, Subscriptions};
use super::way;
use crate::clock::{self, Instant};
use crate::config::MqttUrl;
use crate::model::MqttLink;
use crate::net::supervise::jitter;

/// The largest packet that is taken; a larger one ends the connection before it is read.
const MAX_PACKET: usize = 256 * 1024;
/// A message that is larger and retained would end every connection. So the connection after such an end
/// takes packets up to this size, and the message can be refused and erased.
const MAX_PACKET_ONCE: usize = 8 * 1024 * 1024;
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
/// How long the last messages may take before the connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// A message from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) retained: bool,
    /// The broker may have delivered it before.
    pub(super) dup: bool,
    /// When it came off the socket.
    pub(super) received: Instant,
}

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
    fn patience(&self) -> Duration {
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

struct Connections {
    plan: Plan,
    publisher: Publisher,
    incoming: mpsc::Sender<Message>,
    finish: CancellationToken,
    link: watch::Sender<MqttLink>,
}

/// How a connection ended.
enum End {
    Finished,
    /// An older Doorstep uses the same client id.
    Yielded,
    Failed(Box<ConnectionError>),
    /// Nobody knows where the broker is.
    Unnamed(io::Error),
    /// Nothing was heard of the broker for one and a half keep-alives.
    Silent,
    /// The broker acknowledges what was not sent, or floods us: the poll task gave up.
    Overrun,
}

/// What the poll task has seen.
enum Progress {
    Connected,
    Subscribed {
        refused: bool,
    },
    Sent(u16),
    Acknowledged(u16),
    Alive,
    /// Somebody's mark on the instance topic.
    Instance(Bytes),
    Ended(Box<ConnectionError>),
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
        let mut live = Live {
            client,
            progress,
            wanted: self.plan.subscriptions.changes(),
            subscribed: BTreeSet::new(),
            heard: clock::now(),
            since: None,
            farewell: None,
        };
        let end = live.run(self, complaint).await;
        poll_task.abort();
        (end, live.since.map(|since| since.elapsed()))
    }
}

/// A connection as the publishing task sees it.
struct Live {
    client: AsyncClient,
    progress: mpsc::Receiver<Progress>,
    wanted: watch::Receiver<subscriptions::Topics>,
    /// What was asked for of it.
    subscribed: BTreeSet<String>,
    /// When the broker was last heard.
    heard: Instant,
    since: Option<Instant>,
    /// When a farewell that is under way must be over.
    farewell: Option<Instant>,
}

impl Live {
    async fn run(&mut self, shared: &mut Connections, complaint: &mut Complaint) -> End {
        let patience = shared.plan.patience();
        loop {
            let deadline = self.farewell.unwrap_or(self.heard + patience);
            tokio::select! {
                biased;
                progress = self.progress.recv() => {
                    let Some(progress) = progress else { return End::Overrun };
                    if let Some(end) = self.on_progress(progress, shared, complaint) {
                        return end;
                    }
                }
                () = shared.publisher.written() => {}
                // Seen to below, before anything is published.
                () = changed(&mut self.wanted), if self.since.is_some() => {}
                () = shared.finish.cancelled(), if self.farewell.is_none() => {
                    if self.since.is_none() {
                        return End::Finished;
                    }
                    self.farewell = Some(clock::now() + FAREWELL);
                }
                () = tokio::time::sleep_until(deadline) => {
                    return if self.farewell.is_some() { End::Finished } else { End::Silent };
                }
            }
            if self.hand_out(&shared.publisher).is_err() {
                return End::Overrun;
            }
            if shared.publisher.outbox().is_empty() {
                shared.publisher.tell_drained();
                if self.farewell.is_some() {
                    return self.say_goodbye().await;
                }
            }
        }
    }

    fn on_progress(&mut self, progress: Progress, shared: &mut Connections, complaint: &mut Complaint) -> Option<End> {
        if !matches!(progress, Progress::Sent(_)) {
            self.heard = clock::now();
        }
        match progress {
            Progress::Connected => return self.on_connected(shared),
            Progress::Subscribed { refused } => {
                if refused {
                    tracing::error!(
                        "the broker does not let us subscribe to every topic; check the user's rights (ACL) there"
                    );
                }
                complaint.settle();
                shared.link.send_replace(MqttLink::Connected);
            }
            Progress::Sent(packet_id) => shared.publisher.outbox().on_sent(packet_id),
            Progress::Acknowledged(packet_id) => shared.publisher.outbox().on_acknowledged(packet_id),
            Progress::Alive => {}
            Progress::Instance(mark) => return self.on_instance(&mark, shared),
            Progress::Ended(_) if self.farewell.is_some() => return Some(End::Finished),
            Progress::Ended(error) => return Some(End::Failed(error)),
        }
        None
    }

    /// Subscribes first: what follows in the same connection may be answered at once.
    fn on_connected(&mut self, shared: &mut Connections) -> Option<End> {
        self.since = Some(self.heard);
        shared.plan.instance.iter_mut().for_each(Instance::on_connected);
        self.subscribed = self.wanted.borrow_and_update().keys().cloned().collect();
        let filters: Vec<_> = shared.plan.filters.iter().chain(&self.subscribed).map(|topic| filter(topic)).collect();
        if filters.is_empty() {
            shared.link.send_replace(MqttLink::Connected);
        } else if self.client.try_subscribe_many(filters).is_err() {
            return Some(End::Overrun);
        }
        shared.publisher.outbox().on_connected();
        None
    }

    fn on_instance(&self, mark: &Bytes, shared: &mut Connections) -> Option<End> {
        let instance = shared.plan.instance.as_mut()?;
        match instance.on_mark(mark) {
            Rival::None => None,
            Rival::Younger => {
                tracing::warn!(
                    client_id = shared.plan.client_id,
                    "another Doorstep connects to this broker under our client id; stop it or give it its own"
                );
                None
            }
            Rival::Older => {
                tracing::error!(
                    client_id = shared.plan.client_id,
                    "another Doorstep, started before this one, uses this broker under the same client id; \
                     MQTT is off here until one of the two is stopped and this one restarted"
                );
                Some(End::Yielded)
            }
        }
    }

    /// Gives the client what the outbox allows. Never waits.
    fn hand_out(&mut self, publisher: &Publisher) -> Result<(), ClientError> {
        self.follow_subscriptions()?;
        let mut outbox = publisher.outbox();
        while let Some(publish) = outbox.next(clock::now()) {
            // Whoever wanted to hear what a topic had retained before this message said so before it.
            self.follow_subscriptions()?;
            // It fails when the poll task is gone, whose last report is on its way; the outbox forgets nothing.
            let _ = self.client.try_publish(publish.topic, QoS::AtLeastOnce, publish.retain, publish.payload);
        }
        Ok(())
    }

    /// Subscribes what has come and unsubscribes what has gone.
    ///
    /// # Errors
    /// When there are more requests than fit.
    fn follow_subscriptions(&mut self) -> Result<(), ClientError> {
        if self.since.is_none() || !self.wanted.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let wanted: BTreeSet<_> = self.wanted.borrow_and_update().keys().cloned().collect();
        for topic in self.subscribed.difference(&wanted) {
            self.client.try_unsubscribe(topic)?;
        }
        let new: Vec<_> = wanted.difference(&self.subscribed).map(|topic| filter(topic)).collect();
        if !new.is_empty() {
            self.client.try_subscribe_many(new)?;
        }
        self.subscribed = wanted;
        Ok(())
    }

    /// Everything is acknowledged: DISCONNECT, so that the broker does not send our last will.
    async fn say_goodbye(&mut self) -> End {
        if self.client.try_disconnect().is_ok() {
            let closed = async { while !matches!(self.progress.recv().await, Some(Progress::Ended(_)) | None) {} };
            let _ = tokio::time::timeout(FAREWELL, closed).await;
        }
        End::Finished
    }
}

fn filter(topic: &str) -> SubscribeFilter {
    SubscribeFilter::new(topic.to_owned(), QoS::AtLeastOnce)
}

/// Resolves when there is something that `has_changed` shows; it stays to be seen.
async fn changed(wanted: &mut watch::Receiver<subscriptions::Topics>) {
    if wanted.changed().await.is_err() {
        return std::future::pending().await;
    }
    wanted.mark_changed();
}

/// The task that polls and does nothing else. Nothing may cancel a `poll` but the end of its connection:
/// a message that is being written would be lost unnoticed.
struct Poller {
    reports: mpsc::Sender<Progress>,
    incoming: mpsc::Sender<Message>,
    publisher: Publisher,
    instance_topic: Option<String>,
    subscriptions: Subscriptions,
    /// Subscriptions that the broker has not confirmed yet.
    unconfirmed: usize,
    /// A connection on which nothing has happened for longer was not looked at.
    patience: Duration,
    /// When something last happened on it.
    polled: Instant,
}

impl Poller {
    async fn run(mut self, mut event_loop: EventLoop) {
        loop {
            let report = match event_loop.poll().await {
                Ok(event) => self.report(event),
                Err(error) => Some(Progress::Ended(Box::new(error))),
            };
            let Some(report) = report else { continue };
            let last = matches!(report, Progress::Ended(_));
            if self.reports.try_send(report).is_err() || last {
                return;
            }
        }
    }

    fn report(&mut self, event: Event) -> Option<Progress> {
        // Each keep-alive there is a ping at least. Without, this process was stopped (`docker pause`, a debugger), and
        // what has waited for it in the socket may be hours old.
        let now = clock::now();
        if now.saturating_duration_since(std::mem::replace(&mut self.polled, now)) > self.patience {
            self.subscriptions.tell_doors();
        }
        match event {
            Event::Incoming(Packet::ConnAck(_)) => Some(Progress::Connected),
            Event::Outgoing(Outgoing::Subscribe(_)) => {
                self.unconfirmed += 1;
                None
            }
            Event::Incoming(Packet::SubAck(granted)) => {
                self.unconfirmed = self.unconfirmed.saturating_sub(1);
                // Here, and not where it is reported to: what was retained comes right behind.
                self.subscriptions.tell_doors();
                let refused = granted.return_codes.contains(&mqttbytes::v4::SubscribeReasonCode::Failure);
                Some(Progress::Subscribed { refused })
            }
            Event::Incoming(Packet::PubAck(ack)) => Some(Progress::Acknowledged(ack.pkid)),
            Event::Incoming(Packet::PingResp) => Some(Progress::Alive),
            Event::Incoming(Packet::Publish(publish)) => self.deliver(publish),
            Event::Outgoing(Outgoing::Publish(packet_id)) => Some(Progress::Sent(packet_id)),
            _ => None,
        }
    }

    fn deliver(&self, publish: mqttbytes::v4::Publish) -> Option<Progress> {
        if Some(&publish.topic) == self.instance_topic.as_ref() {
            // Only what was there before us says that somebody else has been connected meanwhile.
            return publish.retain.then_some(Progress::Instance(publish.payload));
        }
        // A broker may deliver before it confirms.
        if self.unconfirmed > 0 {
            self.subscriptions.tell_door(&publish.topic);
        }
        let message = Message {
            topic: publish.topic,
            payload: publish.payload,
            retained: publish.retain,
            dup: publish.dup,
            received: clock::now(),
        };
        if self.incoming.try_send(message).is_err() {
            self.publisher.count_dropped_message();
        }
        None
    }
}

/// How large a packet the next connection takes.
fn next_limit(end: &End) -> usize {
    use mqttbytes::Error::PayloadSizeLimitExceeded;
    let End::Failed(error) = end else { return MAX_PACKET };
    match error.as_ref() {
        ConnectionError::MqttState(StateError::Deserialization(PayloadSizeLimitExceeded(size)))
            if *size <= MAX_PACKET_ONCE =>
        {
            MAX_PACKET_ONCE
        }
        _ => MAX_PACKET,
    }
}

/// The kind of failure, and a reason for the log that is the same as long as the cause is.
fn diagnose(end: &End, was_connected: bool) -> (Failure, String) {
    let error = match end {
        End::Failed(error) => error,
        End::Unnamed(error) => return (Failure::Unnamed, error.to_string()),
        End::Silent => return (Failure::Dropped, "the broker has fallen silent".to_owned()),
        _ => return (Failure::Dropped, "the broker acknowledges more than was sent".to_owned()),
    };
    match error.as_ref() {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => (Failure::Login, "the broker refuses our user name or password".to_owned()),
        ConnectionError::ConnectionRefused(code) => (Failure::Dropped, format!("the broker refuses us: {code:?}")),
        ConnectionError::Io(error) if !was_connected => (Failure::Absent, error.to_string()),
        ConnectionError::NetworkTimeout if !was_connected => (Failure::Absent, "no answer".to_owned()),
        error => (Failure::Dropped, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell::Door;
    use crate::doorbell::guard::{Attempt, Via};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

    async fn listen() -> (TcpListener, Broker) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        (listener, Broker::At(MqttUrl::parse(&url).unwrap()))
    }

    fn client(broker: Broker) -> Client {
        let plan = Plan {
            broker,
            client_id: "doorstep-test".to_owned(),
            keep_alive: Duration::from_secs(1),
            will: None,
            filters: Vec::new(),
            subscriptions: Subscriptions::default(),
            instance: None,
        };
        Client::start(plan, Publisher::default(), mpsc::channel(1).0, CancellationToken::new())
    }

    async fn accept(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut connect = [0; 512];
        assert!(stream.read(&mut connect).await.unwrap() > 0, "closed before CONNECT");
        stream.write_all(&CONNACK).await.unwrap();
        stream
    }

    /// Fault matrix, row 4: at most one and a half keep-alives and two seconds.
    #[tokio::test]
    async fn a_broker_that_has_fallen_silent_is_left_and_tried_again() {
        let (listener, broker) = listen().await;
        let client = client(broker);
        let _silent = accept(&listener).await;
        client.link().wait_for(|link| *link == MqttLink::Connected).await.unwrap();
        let again = tokio::time::timeout(Duration::from_millis(3_500), accept(&listener)).await;
        assert!(again.is_ok(), "still waiting for a dead connection");
    }

    #[tokio::test]
    async fn bytes_that_are_no_mqtt_end_the_connection_and_nothing_else() {
        let nonsense: [&[u8]; 5] =
            [b"HTTP/1.1 400 Bad Request", &[0; 64], &[0xff; 64], &[0x32, 5, 0, 1, 0xff, 0, 1], &[0x40, 2, 9, 9]];
        futures_util::future::join_all(nonsense.map(survives)).await;
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

    #[tokio::test(start_paused = true)]
    async fn what_has_waited_in_the_socket_while_this_process_was_stopped_opens_no_door() {
        const TOPIC: &str = "doorstep/fake_1/lock/set";
        let folder = tempfile::tempdir().unwrap();
        let (door, subscriptions) = (Door::pretended(folder.path()), Subscriptions::default());
        subscriptions.add_door(TOPIC.to_owned(), door.clone());
        let (incoming, mut messages) = mpsc::channel(1);
        let mut poller = Poller {
            reports: mpsc::channel(1).0,
            incoming,
            publisher: Publisher::default(),
            instance_topic: None,
            subscriptions,
            unconfirmed: 0,
            patience: Duration::from_secs(22),
            polled: clock::now(),
        };
        for (stopped_for, expected) in
            [(15, "No account has listed the lock"), (3_600, "the doorbell refused: old commands may arrive")]
        {
            tokio::time::advance(Duration::from_secs(stopped_for)).await;
            // The ping that was due comes first, or not.
            poller.report(Event::Outgoing(Outgoing::PingReq));
            let unlock = mqttbytes::v4::Publish::new(TOPIC, QoS::AtLeastOnce, "UNLOCK");
            poller.report(Event::Incoming(Packet::Publish(unlock)));
            let Message { payload, retained, dup, received, .. } = messages.try_recv().unwrap();
            let attempt = Attempt { via: Via::Mqtt { payload, retained, dup }, received };
            let refused = door.work(attempt).await.outcome.unwrap_err().to_string();
            assert!(refused.starts_with(expected), "after {stopped_for} s: {refused}");
        }
    }
}
