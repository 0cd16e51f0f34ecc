//! One connection, from the attempt to its end.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Outgoing, Packet, Publish, QoS, SubAck,
    SubscribeReasonCode,
};
use tokio_util::sync::CancellationToken;

use super::diagnosis::{self, End, Step};
use super::inbox::Inbox;
use super::orders::{IotError, Order, Orders};
use super::{Iot, News, Pace, Settings};
use crate::clock::{self, Instant};
use crate::net::supervise::jitter;

/// Host, socket, TLS, WebSocket and CONNACK together.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// What is closed so soon after something was published was closed for it.
const SOON: Duration = Duration::from_secs(2);
/// How many messages may be unacknowledged. Further ones wait where they came from.
const IN_FLIGHT: u16 = 16;
/// The library's queue: what is published, a subscription and the farewell.
const REQUESTS: usize = IN_FLIGHT as usize + 8;
/// A refused filter is asked for again after so many of the owner's waits if the others are heard, since asking may cost
/// the connection.
const SELDOM: u32 = 10;

/// The longest topic is of 256 bytes.
const LONGEST_PACKET: usize = Iot::LONGEST_PAYLOAD + 1024;

/// What all ways have in common.
pub(super) fn tune(options: &mut MqttOptions, settings: &Settings, pace: Pace) {
    // Nothing can be kept for a client without a name, and the library panics over it.
    let clean_session = settings.clean_session || settings.client_id.is_empty();
    options.set_keep_alive(pace.keep_alive).set_clean_session(clean_session).set_inflight(IN_FLIGHT);
    options.set_max_packet_size(LONGEST_PACKET, LONGEST_PACKET);
}

/// How a connection went.
pub(super) struct Ended {
    pub(super) end: End,
    /// What it was at when it ended.
    pub(super) step: Step,
    /// Since CONNACK.
    pub(super) lived: Option<Duration>,
}

pub(super) struct Connection<'a> {
    settings: &'a Settings,
    pace: Pace,
    inbox: &'a Inbox,
    orders: &'a mut Orders,
    /// Filters whose subscription has ended connections.
    suspects: &'a mut BTreeSet<String>,
    client: AsyncClient,
    /// When CONNACK came.
    since: Option<Instant>,
    filters: Filters,
    /// Handed to the library, which has not written them yet.
    handed: VecDeque<Order>,
    /// Written with QoS 1, by packet id.
    unconfirmed: HashMap<u16, Order>,
    /// The latest message that AWS IoT has not acknowledged.
    published: Option<(String, Instant)>,
    /// When the answer to a ping must have come.
    pong_due: Option<Instant>,
    /// When a farewell that is under way must be over.
    leaving: Option<Instant>,
}

/// What is subscribed to, and what is not yet.
struct Filters {
    waiting: VecDeque<String>,
    asked: Option<(String, Instant)>,
    accepted: usize,
    /// By an answer, or by the end of connections before.
    refused: BTreeSet<String>,
    ask_again: Option<Instant>,
}

impl Filters {
    /// Those that ended connections come later, unless there are no others.
    fn new(all: &[String], suspects: &BTreeSet<String>) -> Self {
        let waiting = all.iter().filter(|filter| !suspects.contains(*filter)).cloned().collect();
        let mut filters = Self { waiting, asked: None, accepted: 0, refused: suspects.clone(), ask_again: None };
        if filters.waiting.is_empty() {
            filters.ask_for_refused();
        }
        filters
    }

    fn ask_for_refused(&mut self) {
        self.waiting = std::mem::take(&mut self.refused).into_iter().collect();
    }
}

impl<'a> Connection<'a> {
    /// Connects with `options` and stays connected for as long as it goes well.
    pub(super) async fn run(
        options: MqttOptions,
        (settings, pace): (&'a Settings, Pace),
        inbox: &'a Inbox,
        orders: &'a mut Orders,
        suspects: &'a mut BTreeSet<String>,
        stop: &CancellationToken,
    ) -> Ended {
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
        event_loop.network_options.set_tcp_nodelay(true);
        event_loop.network_options.set_connection_timeout(CONNECT_WITHIN.as_secs());
        let mut connection = Self {
            settings,
            pace,
            inbox,
            orders,
            client,
            since: None,
            filters: Filters::new(&settings.filters, suspects),
            suspects,
            handed: VecDeque::new(),
            unconfirmed: HashMap::new(),
            published: None,
            pong_due: None,
            leaving: None,
        };
        let end = connection.drive(&mut event_loop, stop).await;
        let step = connection.step();
        connection.orders.connected.send_replace(false);
        connection.save_orders(&end);
        Ended { end, step, lived: connection.since.map(|since| since.elapsed()) }
    }

    async fn drive(&mut self, event_loop: &mut EventLoop, stop: &CancellationToken) -> End {
        loop {
            let event = match self.poll(event_loop, stop).await {
                Ok(event) => event,
                Err(end) => return end,
            };
            if let Err(end) = self.on_event(event) {
                return end;
            }
        }
    }

    /// The next event. The library is not interrupted meanwhile: what it is writing would be lost.
    async fn poll(&mut self, event_loop: &mut EventLoop, stop: &CancellationToken) -> Result<Event, End> {
        let poll = event_loop.poll();
        tokio::pin!(poll);
        loop {
            let deadline = self.deadline();
            let timer = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                event = &mut poll => return event.map_err(|error| self.ended(error)),
                () = stop.cancelled(), if self.leaving.is_none() => self.leave()?,
                () = timer => self.on_time()?,
                order = self.orders.next(), if self.takes_orders() => self.hand_out(order),
            }
        }
    }

    fn ended(&self, error: ConnectionError) -> End {
        if self.leaving.is_some() { End::Stopped } else { End::Lost(Box::new(error)) }
    }

    fn takes_orders(&self) -> bool {
        let room = self.handed.len() + self.unconfirmed.len() < usize::from(IN_FLIGHT);
        self.since.is_some() && self.leaving.is_none() && room
    }

    fn deadline(&self) -> Option<Instant> {
        let suback = self.filters.asked.as_ref().map(|(_, asked)| *asked + self.pace.answer);
        [self.leaving, suback, self.pong_due, self.filters.ask_again].into_iter().flatten().min()
    }

    fn on_time(&mut self) -> Result<(), End> {
        if self.leaving.is_some() {
            return Err(End::Stopped);
        }
        let now = clock::now();
        if self.filters.ask_again.take_if(|at| *at <= now).is_some() {
            self.filters.ask_for_refused();
            return self.subscribe();
        }
        Err(End::Silent)
    }

    /// Says goodbye, so that AWS IoT does not take it for an accident.
    fn leave(&mut self) -> Result<(), End> {
        if self.since.is_none() || self.client.try_disconnect().is_err() {
            return Err(End::Stopped);
        }
        self.leaving = Some(clock::now() + FAREWELL);
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), End> {
        if matches!(event, Event::Incoming(_)) {
            self.pong_due = None;
        }
        match event {
            Event::Incoming(Packet::ConnAck(_)) => return self.on_connected(),
            Event::Incoming(Packet::SubAck(answer)) => return self.on_answer(&answer),
            Event::Incoming(Packet::Publish(message)) => self.on_message(message),
            Event::Incoming(Packet::PubAck(ack)) => {
                self.published = None;
                if let Some(order) = self.unconfirmed.remove(&ack.pkid) {
                    order.end(Ok(()));
                }
            }
            Event::Outgoing(Outgoing::Publish(packet_id)) => self.on_written(packet_id),
            Event::Outgoing(Outgoing::PingReq) => self.pong_due = Some(clock::now() + self.pace.answer),
            Event::Outgoing(Outgoing::Disconnect) => return Err(End::Stopped),
            _ => {}
        }
        Ok(())
    }

    fn on_connected(&mut self) -> Result<(), End> {
        tracing::debug!(host = self.settings.endpoint.host, "AWS IoT has let us in");
        self.since = Some(clock::now());
        self.orders.connected.send_replace(true);
        self.subscribe()
    }

    /// One filter at a time, so that the end of the connection is the answer to one.
    fn subscribe(&mut self) -> Result<(), End> {
        let Some(filter) = self.filters.waiting.pop_front() else {
            self.settle();
            return Ok(());
        };
        // The library takes none that MQTT does not know.
        if self.client.try_subscribe(&filter, QoS::AtLeastOnce).is_err() {
            self.filters.refused.insert(filter);
            return self.subscribe();
        }
        self.filters.asked = Some((filter, clock::now()));
        Ok(())
    }

    fn on_answer(&mut self, answer: &SubAck) -> Result<(), End> {
        let Some((filter, _)) = self.filters.asked.take() else { return Ok(()) };
        self.suspects.remove(&filter);
        if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
            self.filters.refused.insert(filter);
        } else {
            self.filters.accepted += 1;
        }
        self.subscribe()
    }

    /// Every filter has its answer.
    fn settle(&mut self) {
        let Some(first) = self.filters.refused.first() else {
            self.inbox.tell(News::Connected);
            return;
        };
        let why = diagnosis::not_subscribed(self.settings, first, self.filters.refused.len());
        self.inbox.tell(News::Trouble { why, needs_owner: true });
        let rarer = if self.filters.accepted == 0 { 1 } else { SELDOM };
        self.filters.ask_again = Some(clock::now() + self.pace.owner.mul_f64(1.0 + jitter()) * rarer);
    }

    fn on_message(&self, message: Publish) {
        let Publish { topic, payload, retain, dup, .. } = message;
        self.inbox.deliver(News::Message { topic, payload, retained: retain, dup });
    }

    fn hand_out(&mut self, order: Order) {
        let payload = order.payload.to_vec();
        // The library's queue has room for all that may be in flight.
        match self.client.try_publish(&order.topic, order.qos, false, payload) {
            Ok(()) => self.handed.push_back(order),
            Err(_) => order.end(Err(IotError::Busy)),
        }
    }

    /// The library writes in the order in which it was asked.
    fn on_written(&mut self, packet_id: u16) {
        let Some(order) = self.handed.pop_front() else { return };
        self.published = Some((order.topic.clone(), clock::now()));
        if order.qos == QoS::AtMostOnce {
            order.end(Ok(()));
        } else {
            self.unconfirmed.insert(packet_id, order);
        }
    }

    fn step(&mut self) -> Step {
        if self.since.is_none() {
            return Step::Connect;
        }
        if let Some((filter, _)) = self.filters.asked.take() {
            return Step::Subscribe(filter);
        }
        match self.published.take() {
            Some((topic, at)) if at.elapsed() < SOON => Step::Publish(topic),
            _ => Step::Listen,
        }
    }

    /// What was under way is sent once more, unless it is what ends connections.
    fn save_orders(&mut self, end: &End) {
        let was_closed = end.was_closed();
        for (_, order) in self.unconfirmed.drain() {
            if let Some(order) = if was_closed { order.after_cut() } else { Some(order) } {
                self.orders.put_back(order);
            }
        }
        for order in self.handed.drain(..) {
            self.orders.put_back(order);
        }
    }
}
