//! All that a broker knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::QoS;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::session::{Delivery, Link, Message, Session};
use super::{Action, Event, Fault, Policy, Principal};

/// Events that wait for a slow listener.
const EVENTS: usize = 256;
/// Clients, connected or kept.
const SESSIONS: usize = 1_000;
/// For how long a session is kept without a connection.
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

pub(super) struct World {
    pub(super) policy: Policy,
    pub(super) fault: Option<Fault>,
    pub(super) events: broadcast::Sender<Event>,
    sessions: BTreeMap<String, Session>,
    connections: u64,
}

impl World {
    pub(super) fn new(policy: Policy) -> Self {
        let events = broadcast::Sender::new(EVENTS);
        Self { policy, fault: None, events, sessions: BTreeMap::new(), connections: 0 }
    }

    /// Nobody may be listening.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub(super) fn set_fault(&mut self, fault: Option<Fault>) {
        self.fault = fault;
        if let Some(fault) = fault {
            self.tell(Event::IotFault { name: fault.name() });
        }
    }

    /// Takes the place of an earlier connection of the same client. Returns whether a session was kept for it; `None`
    /// when there are too many clients.
    pub(super) fn connect(&mut self, client_id: &str, who: &Principal, persistent: bool) -> Option<(Link, bool)> {
        self.sessions.retain(|_, session| session.link.is_some() || session.left.elapsed() < KEPT_FOR);
        if self.sessions.len() >= SESSIONS && !self.sessions.contains_key(client_id) {
            return None;
        }
        self.disconnect(client_id);
        let kept = self.sessions.remove(client_id).filter(|session| {
            // Another principal finds nothing of what somebody else has left.
            persistent && session.persistent && session.principal == who.name()
        });
        let session_present = kept.is_some();
        let mut session = kept.unwrap_or_else(|| Session::new(who.name(), persistent));
        if session.link.is_some() {
            session.part();
        }
        self.connections += 1;
        let link = Link { number: self.connections, cut: CancellationToken::new(), wake: Arc::new(Notify::new()) };
        session.link = Some(link.clone());
        self.sessions.insert(client_id.to_owned(), session);
        let (client_id, principal) = (client_id.to_owned(), who.name().to_owned());
        self.tell(Event::IotConnected { client_id, principal, session_present });
        Some((link, session_present))
    }

    /// The connection has ended. Another may have taken its place by now.
    pub(super) fn part(&mut self, client_id: &str, number: u64, why: &'static str) {
        if let Some(session) = self.session(client_id, number) {
            session.part();
            if !session.persistent {
                self.sessions.remove(client_id);
            }
        }
        self.tell(Event::IotDisconnected { client_id: client_id.to_owned(), why });
    }

    pub(super) fn disconnect(&self, client_id: &str) -> bool {
        let link = self.sessions.get(client_id).and_then(|session| session.link.as_ref());
        link.inspect(|link| link.cut.cancel()).is_some()
    }

    pub(super) fn clients(&self) -> Vec<String> {
        let connected = self.sessions.iter().filter(|(_, session)| session.link.is_some());
        connected.map(|(client_id, _)| client_id.clone()).collect()
    }

    /// If the connection is still the client's.
    pub(super) fn session(&mut self, client_id: &str, number: u64) -> Option<&mut Session> {
        let session = self.sessions.get_mut(client_id)?;
        let is_its = session.link.as_ref().is_some_and(|link| link.number == number);
        is_its.then_some(session)
    }

    /// Passes a message on to everybody who hears it and may receive it.
    pub(super) fn publish(&mut self, client_id: Option<&str>, message: &Message) {
        self.tell(Event::IotPublished {
            client_id: client_id.map(str::to_owned),
            topic: message.topic.clone(),
            qos: message.qos as u8,
        });
        let mut dropped = Vec::new();
        for (client_id, session) in &mut self.sessions {
            let Some(heard) = session.hears(&message.topic) else { continue };
            if !self.policy.allows(&session.principal, Action::Receive, &message.topic) {
                continue;
            }
            if let Some(crowded_out) = session.enqueue(message, heard) {
                dropped.push(Event::IotDropped { client_id: client_id.clone(), topic: crowded_out.topic });
            }
        }
        dropped.into_iter().for_each(|event| self.tell(event));
    }

    /// What a client is to be sent next.
    pub(super) fn next_for(&mut self, client_id: &str, number: u64) -> Option<Delivery> {
        if self.fault == Some(Fault::Silent) {
            return None;
        }
        let delivery = self.session(client_id, number)?.next()?;
        self.tell_delivered(client_id, &delivery);
        Some(delivery)
    }

    /// The same once more, if that is what the broker does wrong.
    pub(super) fn repeats(&self, client_id: &str, delivery: &Delivery) -> Option<Delivery> {
        let repeats = self.fault == Some(Fault::DuplicateDelivery) && delivery.message.qos == QoS::AtLeastOnce;
        let again = Delivery { dup: true, ..delivery.clone() };
        repeats.then(|| {
            self.tell_delivered(client_id, &again);
            again
        })
    }

    fn tell_delivered(&self, client_id: &str, delivery: &Delivery) {
        let Delivery { message, dup, .. } = delivery;
        let (topic, qos) = (message.topic.clone(), message.qos as u8);
        self.tell(Event::IotDelivered { client_id: client_id.to_owned(), topic, qos, dup: *dup });
    }
}
