//! What MQTT is told of one doorbell: its state as retained topics, its events as they happen.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::discovery::Discovery;
use super::publisher::Publisher;
use super::topics::{Switch, Topics};
use super::{OFFLINE, ONLINE};
use crate::clock;
use crate::doorbell::Doorbell;
use crate::media::{AudioFormat, Formats};
use crate::model::{Capability, DeviceInfo, Event, Link, State};

/// Tells everything about one doorbell until dropped. Listens from the moment it is made.
pub(super) struct Reporter {
    doorbell: Doorbell,
    topics: Topics,
    publisher: Publisher,
    page_url: Option<String>,
    events: broadcast::Receiver<Event>,
    state: watch::Receiver<State>,
    formats: watch::Receiver<Formats>,
}

impl Reporter {
    /// Publishes discovery and the present state at once.
    pub(super) fn new(doorbell: Doorbell, discovery: &Discovery, publisher: Publisher) -> Self {
        let info = doorbell.info();
        let payload = discovery.doorbell(&info).to_string();
        publisher.set(&discovery.topics.doorbell_discovery(&info.id), payload);
        let mut reporter = Self {
            events: doorbell.events(),
            state: doorbell.state(),
            formats: doorbell.media().formats(),
            topics: discovery.topics.clone(),
            page_url: discovery.page_url.clone(),
            doorbell,
            publisher,
        };
        reporter.tell_state();
        reporter
    }

    /// An event is told the moment it happens, before any state. Once `close` is cancelled the doorbell is
    /// told to be offline, and nothing more.
    pub(super) async fn run(mut self, close: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = close.cancelled() => return self.tell_offline(),
                event = self.events.recv() => match event {
                    Ok(event) => self.tell_event(&event),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::warn!(id = %self.info().id, missed, "events came faster than they could be published");
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Ok(()) = self.state.changed() => self.tell_state(),
                Ok(()) = self.formats.changed() => self.tell_state(),
                else => return,
            }
        }
    }

    fn info(&self) -> Arc<DeviceInfo> {
        self.doorbell.info()
    }

    fn tell_event(&self, event: &Event) {
        let id = &self.info().id;
        match event {
            Event::Ring(ring) => {
                let at = clock::rfc3339(ring.at);
                let payload = json!({"event_type": "ring", "id": ring.event_id, "at": at, "source": ring.source});
                self.publisher.send(self.topics.ring(id), payload.to_string());
            }
            Event::Motion(motion) => {
                let at = clock::rfc3339(motion.at);
                let payload = json!({"event_type": motion.kind, "id": motion.event_id, "at": at});
                self.publisher.send(self.topics.motion(id), payload.to_string());
            }
        }
    }

    fn tell_state(&mut self) {
        let state = self.state.borrow_and_update().clone();
        let formats = *self.formats.borrow_and_update();
        self.publish(&state, formats);
    }

    fn tell_offline(&self) {
        let last_ring = self.state.borrow().last_ring.clone();
        self.publish(&State { last_ring, ..State::default() }, Formats::default());
    }

    fn publish(&self, state: &State, formats: Formats) {
        let info = self.doorbell.info();
        let online = if state.link.is_available() { ONLINE } else { OFFLINE };
        self.publisher.set(&self.topics.availability(&info.id), online);
        for (capability, switch, on) in
            [(Capability::Talk, Switch::Talk, state.talking), (Capability::Stream, Switch::Stream, state.stream_switch)]
        {
            if info.capabilities.contains(&capability) {
                self.publisher.set(&self.topics.switch(&info.id, switch), if on { "ON" } else { "OFF" });
            }
        }
        self.publisher.set(&self.topics.info(&info.id), self.attributes(state, formats).to_string());
    }

    fn attributes(&self, state: &State, formats: Formats) -> serde_json::Value {
        let why = match &state.link {
            Link::NeedsAttention { why } => Some(why),
            _ => None,
        };
        let mut attributes = json!({
            "link": state.link.word(),
            "transport": state.transport,
            "viewers": state.viewers,
            "codecs": { "video": formats.video, "audio": formats.audio.map(spelt) },
            "last_error": state.last_error.as_ref().or(why),
            "last_ring": state.last_ring.as_ref().map(|ring| clock::rfc3339(ring.at)),
        });
        if let (Some(page), true) = (&self.page_url, self.info().capabilities.contains(&Capability::Stream)) {
            let whep = format!("{}/whep/{}", page.trim_end_matches('/'), self.info().id);
            attributes["streams"] = json!({ "whep": whep });
        }
        attributes
    }
}

/// `pcmu/8000`, `opus/48000/2`.
fn spelt(format: AudioFormat) -> String {
    let codec = serde_json::to_value(format.codec).unwrap_or_default();
    let codec = codec.as_str().unwrap_or_default();
    match format.channels {
        1 => format!("{codec}/{}", format.rate_hz),
        channels => format!("{codec}/{}/{channels}", format.rate_hz),
    }
}

/// Takes everything away that was retained of a doorbell.
pub(super) fn withdraw(info: &DeviceInfo, topics: &Topics, publisher: &Publisher) {
    let id = &info.id;
    publisher.clear(&topics.doorbell_discovery(id));
    for topic in [topics.availability(id), topics.info(id)] {
        publisher.clear(&topic);
    }
    for (capability, switch) in [(Capability::Talk, Switch::Talk), (Capability::Stream, Switch::Stream)] {
        if info.capabilities.contains(&capability) {
            publisher.clear(&topics.switch(id, switch));
        }
    }
}
