//! What MQTT is told of one doorbell: its state as retained topics, its events as they happen.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::announce::Announcer;
use super::discovery::Discovery;
use super::publisher::Publisher;
use super::topics::{Switch, Topics};
use super::{OFFLINE, ONLINE};
use crate::clock;
use crate::doorbell::voice::Clips;
use crate::doorbell::{Doorbell, Picture};
use crate::media::{AudioFormat, Formats};
use crate::model::{Capability, DeviceId, DeviceInfo, Event, Link, State};

/// What Home Assistant takes for an unknown state.
const UNKNOWN: &str = "None";

/// Tells everything about one doorbell until dropped. Listens from the moment it is made.
pub(super) struct Reporter {
    doorbell: Doorbell,
    discovery: Discovery,
    announcer: Announcer,
    publisher: Publisher,
    infos: watch::Receiver<Arc<DeviceInfo>>,
    events: broadcast::Receiver<Event>,
    state: watch::Receiver<State>,
    formats: watch::Receiver<Formats>,
    page_url: watch::Receiver<Option<String>>,
    clips: watch::Receiver<Clips>,
    pictures: watch::Receiver<Option<Arc<Picture>>>,
    /// The ring whose picture was told last, and when that was taken.
    told_picture: Option<(String, SystemTime)>,
}

impl Reporter {
    /// Publishes discovery and the present state at once.
    pub(super) fn new(doorbell: Doorbell, discovery: Discovery, announcer: Announcer, publisher: Publisher) -> Self {
        let mut reporter = Self {
            infos: doorbell.infos(),
            events: doorbell.events(),
            state: doorbell.state(),
            formats: doorbell.media().formats(),
            page_url: discovery.page_url.clone(),
            clips: doorbell.voice().clips(),
            pictures: doorbell.pictures(),
            told_picture: None,
            doorbell,
            discovery,
            announcer,
            publisher,
        };
        reporter.announce();
        reporter.tell_state();
        reporter
    }

    /// An event is told the moment it happens, before any state. Once `close` is cancelled the doorbell is
    /// told to be offline, and nothing more.
    pub(super) async fn run(mut self, close: CancellationToken) {
        // There may have been one before us.
        self.pictures.mark_changed();
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
                Ok(()) = self.infos.changed() => self.tell_anew(),
                Ok(()) = self.clips.changed() => self.tell_anew(),
                Ok(()) = self.page_url.changed() => {
                    self.announce();
                    self.tell_state();
                }
                Ok(()) = self.state.changed() => self.tell_state(),
                Ok(()) = self.formats.changed() => self.tell_state(),
                Ok(()) = self.pictures.changed() => self.tell_pictures(),
                else => return,
            }
        }
    }

    fn info(&self) -> Arc<DeviceInfo> {
        self.doorbell.info()
    }

    fn topics(&self) -> &Topics {
        &self.discovery.topics
    }

    /// What there is of it may have changed.
    fn tell_anew(&mut self) {
        self.announce();
        self.tell_state();
        self.clear_the_rest();
    }

    /// Before any state, so that whoever is new to the doorbell hears that too.
    fn announce(&mut self) {
        let info = self.infos.borrow_and_update().clone();
        let clips = self.clips.borrow_and_update().keys().cloned().collect::<Vec<_>>();
        let payload = self.discovery.doorbell(&info, self.doorbell.doors(), &clips);
        self.announcer.announce(&self.topics().doorbell_discovery(&info.id), payload);
    }

    fn tell_event(&self, event: &Event) {
        let id = &self.info().id;
        match event {
            Event::Ring(ring) => {
                let at = clock::rfc3339(ring.at);
                let mut payload = json!({"event_type": "ring", "id": ring.event_id, "at": at, "source": ring.source});
                if let Some(latency) = ring.latency {
                    payload["latency_ms"] = json!(milliseconds(latency));
                }
                self.publisher.send(self.topics().ring(id), payload.to_string());
            }
            Event::Motion(motion) => {
                let at = clock::rfc3339(motion.at);
                let payload = json!({"event_type": motion.kind, "id": motion.event_id, "at": at});
                self.publisher.send(self.topics().motion(id), payload.to_string());
            }
        }
    }

    fn tell_state(&mut self) {
        let state = self.state.borrow_and_update().clone();
        let formats = *self.formats.borrow_and_update();
        self.publish(&state, formats);
    }

    /// Every new picture; and apart from those that were taken since, the one that belongs to the last ring, as soon as
    /// there is one.
    fn tell_pictures(&mut self) {
        let newest = self.pictures.borrow_and_update().clone();
        let info = self.info();
        let (Some(newest), true) = (newest, info.capabilities.contains(&Capability::Snapshot)) else { return };
        self.publisher.show(self.topics().snapshot(&info.id), newest.jpeg.clone());
        let Some(ring) = self.state.borrow().last_ring.as_ref().map(|ring| ring.event_id.clone()) else { return };
        let is_of_it = newest.ring.as_ref() == Some(&ring);
        let Some(picture) = self.doorbell.ring_picture(&ring).or(is_of_it.then_some(newest)) else { return };
        let told = Some((ring, picture.at));
        if told != self.told_picture {
            self.told_picture = told;
            self.publisher.show(self.topics().ring_picture(&info.id), picture.jpeg.clone());
        }
    }

    /// Takes away what stands for something that the doorbell cannot do any more.
    fn clear_the_rest(&self) {
        let present: Vec<_> = self.messages(&self.state.borrow(), *self.formats.borrow());
        let present: Vec<_> = present.into_iter().map(|(topic, _)| topic).collect();
        let info = self.info();
        if !info.capabilities.contains(&Capability::Snapshot) {
            let pictures = [self.topics().snapshot(&info.id), self.topics().ring_picture(&info.id)].into_iter();
            let told = pictures.filter(|topic| self.publisher.has_retained(topic));
            told.for_each(|topic| self.publisher.take_down(topic));
        }
        clear(&self.info().id, self.topics(), &self.publisher, &present);
    }

    fn tell_offline(&self) {
        let last_ring = self.state.borrow().last_ring.clone();
        self.publish(&State { last_ring, ..State::default() }, Formats::default());
    }

    fn publish(&self, state: &State, formats: Formats) {
        for (topic, payload) in self.messages(state, formats) {
            self.publisher.set(&topic, payload);
        }
    }

    /// Everything that is retained of the doorbell beside its discovery.
    fn messages(&self, state: &State, formats: Formats) -> Vec<(String, String)> {
        let (info, topics) = (self.info(), self.topics());
        let can = |capability| info.capabilities.contains(&capability);
        let available = |yes| if yes { ONLINE } else { OFFLINE }.to_owned();
        let on = |yes| if yes { "ON" } else { "OFF" }.to_owned();
        let mut messages = vec![(topics.availability(&info.id), available(state.link.is_available()))];
        if can(Capability::Talk) {
            messages.push((topics.switch(&info.id, Switch::Talk), on(state.talking)));
            messages.push((topics.talk_availability(&info.id), available(state.talk_obstacle.is_none())));
            let clips = self.clips.borrow();
            if !clips.is_empty() {
                let clip = state.speaking.as_ref().and_then(|speaking| speaking.clip.as_ref());
                let clip = clip.filter(|clip| clips.contains_key(clip));
                messages.push((topics.siren(&info.id), on(clip.is_some())));
                messages.push((topics.clip(&info.id), clip.map_or(UNKNOWN, |clip| clip.as_str()).to_owned()));
            }
        }
        if can(Capability::Stream) {
            messages.push((topics.switch(&info.id, Switch::Stream), on(state.stream_switch)));
        }
        for kind in self.doorbell.doors().keys() {
            let door = state.doors.get(kind);
            let stands = door.and_then(|door| door.lock).map_or(UNKNOWN, |state| kind.state_word(state));
            messages.push((topics.door(&info.id, *kind), stands.to_owned()));
            let works = door.is_some_and(|door| door.blocked.is_none());
            messages.push((topics.door_availability(&info.id, *kind), available(works)));
        }
        messages.push((topics.info(&info.id), self.attributes(state, formats).to_string()));
        messages
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
            "talk_obstacle": state.talk_obstacle,
            "speaking": state.speaking,
            "last_ring": state.last_ring.as_ref().map(|ring| clock::rfc3339(ring.at)),
            "last_ring_latency_ms": state.last_ring.as_ref().and_then(|ring| ring.latency).map(milliseconds),
        });
        for (kind, door) in &state.doors {
            attributes[format!("{}_blocked", kind.word())] = json!(door.blocked);
        }
        // What only Home Assistant can open leads no player anywhere.
        let page = self.discovery.page_url.borrow().clone().filter(|page| page.starts_with("http"));
        if let (Some(page), true) = (page, self.info().capabilities.contains(&Capability::Stream)) {
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

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Takes everything away that was retained of a doorbell.
pub(super) fn withdraw(info: &DeviceInfo, topics: &Topics, announcer: &Announcer, publisher: &Publisher) {
    announcer.withdraw(&topics.doorbell_discovery(&info.id));
    clear(&info.id, topics, publisher, &[]);
    if info.capabilities.contains(&Capability::Snapshot) {
        publisher.take_down(topics.snapshot(&info.id));
        publisher.take_down(topics.ring_picture(&info.id));
    }
}

fn clear(id: &DeviceId, topics: &Topics, publisher: &Publisher, all_but: &[String]) {
    let all = publisher.outbox().topics();
    let ours = all.iter().filter(|topic| topic.starts_with(&topics.all_of(id)));
    ours.filter(|topic| !all_but.contains(topic)).for_each(|topic| publisher.clear(topic));
}
