//! The retained discovery payload of each device, changed in such a way that Home Assistant follows: what an
//! update leaves out, it keeps; what is reduced to its platform, it removes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::publisher::Publisher;
use super::subscriptions::Subscriptions;
use super::topics::Topics;

/// Publishes devices. Cheap to clone.
#[derive(Clone)]
pub(super) struct Announcer {
    topics: Topics,
    publisher: Publisher,
    subscriptions: Subscriptions,
    devices: Arc<Mutex<BTreeMap<String, Device>>>,
}

/// A payload, and the components that it has no more.
struct Device {
    payload: Value,
    /// Platform by component. They stay in the payload, reduced to that, until the next start: whoever was away
    /// hears of them too, and to whoever never knew them they mean nothing.
    gone: BTreeMap<String, String>,
}

impl Announcer {
    /// The service's, the doorbell's, and that of the component.
    const MOST_AVAILABILITIES: usize = 3;

    pub(super) fn new(topics: Topics, publisher: Publisher, subscriptions: Subscriptions) -> Self {
        Self { topics, publisher, subscriptions, devices: Arc::default() }
    }

    /// Lets the device of `topic` be as `payload` describes it.
    ///
    /// The topic is subscribed before it is published to, so that the broker tells what a former run has left there.
    pub(super) fn announce(&self, topic: &str, payload: Value) {
        self.subscriptions.add(topic.to_owned());
        self.with(|devices| {
            let device = Device { payload, gone: BTreeMap::new() };
            let device = match devices.remove(topic) {
                Some(known) => device.instead_of(known),
                None => device,
            };
            self.publisher.set(topic, device.to_string());
            devices.insert(topic.to_owned(), device);
        });
    }

    /// Takes the device away.
    pub(super) fn withdraw(&self, topic: &str) {
        self.subscriptions.remove(topic);
        self.with(|devices| devices.remove(topic));
        self.publisher.clear(topic);
    }

    /// Takes note of what the broker had retained, and away what belonged to components that are no more. Whether
    /// `topic` is that of a device.
    pub(super) fn on_retained(&self, topic: &str, payload: &[u8]) -> bool {
        self.with(|devices| {
            let Some(device) = devices.get_mut(topic) else { return false };
            if let Ok(found) = serde_json::from_slice::<Value>(payload) {
                let buried = device.bury(&found);
                self.publisher.set(topic, device.to_string());
                self.clear_what_they_retained(&buried, &found);
            }
            true
        })
    }

    /// Of each component once, and not more than any of ours had: anybody may have written it.
    fn clear_what_they_retained(&self, buried: &BTreeMap<String, String>, found: &Value) {
        let present = self.publisher.outbox().topics();
        // Events are never retained.
        let gone = buried.iter().filter(|(_, platform)| *platform != "event");
        for component in gone.filter_map(|(key, _)| components(found)?.get(key)) {
            // Pictures are nobody's state: they are taken away once.
            let picture = match component["platform"].as_str() {
                Some("camera") => component["topic"].as_str(),
                Some("image") => component["image_topic"].as_str(),
                _ => None,
            };
            picture
                .filter(|topic| self.topics.is_ours(topic))
                .into_iter()
                .for_each(|topic| self.publisher.take_down(topic.to_owned()));
            let availability = component["availability"].as_array().into_iter().flatten().map(|entry| &entry["topic"]);
            let availability = availability.take(Self::MOST_AVAILABILITIES);
            let topics = availability.chain([&component["state_topic"]]).filter_map(Value::as_str);
            // A button shows no state, but a door's has one beside its commands.
            let beside = component["command_topic"].as_str().and_then(|topic| topic.strip_suffix("/set"));
            let topics = topics.chain(beside);
            topics
                .filter(|topic| self.topics.is_ours(topic) && !present.iter().any(|present| present == topic))
                .for_each(|topic| self.publisher.clear(topic));
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Device>) -> T) -> T {
        work(&mut self.devices.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Device {
    /// More components than any device of ours ever had are not ours.
    const MOST_GONE: usize = 32;

    fn instead_of(mut self, former: Self) -> Self {
        self.gone = former.gone;
        self.bury(&former.payload);
        self
    }

    /// Notes which components of `former` there are no more, and returns those of them that were not known to be
    /// gone. Anybody may have written it.
    fn bury(&mut self, former: &Value) -> BTreeMap<String, String> {
        let present = components(&self.payload);
        let gone = components(former)
            .into_iter()
            .flatten()
            .filter_map(|(key, component)| Some((key, component.as_object()?)))
            .filter(|(_, component)| component.len() > 1)
            .filter_map(|(key, component)| Some((key, component.get("platform")?.as_str()?)))
            .filter(|(key, platform)| is_word(key) && is_word(platform));
        self.gone.retain(|key, _| present.is_none_or(|present| !present.contains_key(key)));
        let news = gone.filter(|(key, _)| {
            !self.gone.contains_key(*key) && present.is_none_or(|present| !present.contains_key(*key))
        });
        let room = Self::MOST_GONE.saturating_sub(self.gone.len());
        let news: BTreeMap<_, _> = news.map(|(key, platform)| (key.clone(), platform.to_owned())).take(room).collect();
        self.gone.extend(news.clone());
        news
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut payload = self.payload.clone();
        if let Some(components) = payload.get_mut("components").and_then(Value::as_object_mut) {
            components.extend(self.gone.iter().map(|(key, platform)| (key.clone(), json!({"platform": platform}))));
        }
        payload.fmt(f)
    }
}

fn components(payload: &Value) -> Option<&Map<String, Value>> {
    payload.get("components")?.as_object()
}

fn is_word(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(components: Value) -> Device {
        Device { payload: json!({"device": {}, "components": components}), gone: BTreeMap::new() }
    }

    fn shown(device: &Device) -> Value {
        serde_json::from_str::<Value>(&device.to_string()).unwrap()["components"].clone()
    }

    #[test]
    fn what_is_gone_is_reduced_to_its_platform_until_it_comes_back() {
        let both =
            || json!({"lock": {"platform": "lock", "name": "Lock"}, "ring": {"platform": "event", "name": "Ring"}});
        let ring = || json!({"ring": {"platform": "event", "name": "Ring"}});
        let without = device(ring()).instead_of(device(both()));
        assert_eq!(
            shown(&without),
            json!({"lock": {"platform": "lock"}, "ring": {"platform": "event", "name": "Ring"}})
        );
        let still_without = device(ring()).instead_of(without);
        assert_eq!(shown(&still_without)["lock"], json!({"platform": "lock"}));
        assert_eq!(shown(&device(both()).instead_of(still_without)), both());
    }

    #[test]
    fn what_a_former_run_has_removed_is_not_removed_for_ever() {
        let mut device = device(json!({}));
        device.bury(&json!({"components": {"lock": {"platform": "lock"}}}));
        assert_eq!(shown(&device), json!({}));
    }

    #[test]
    fn a_foreign_payload_on_our_topic_adds_nothing_but_short_words() {
        let foreign = [
            json!(7),
            json!({"components": []}),
            json!({"components": {"a": 1, "b": {"name": "x", "more": 1}, "c": {"platform": 7, "name": "x"}}}),
            json!({"components": {"": {"platform": "lock", "name": "x"}, "A B": {"platform": "lock", "name": "x"}}}),
            json!({"components": {"x": {"platform": "l".repeat(99), "name": "x"}}}),
        ];
        let mut device = device(json!({"ring": {"platform": "event", "name": "Ring"}}));
        for found in &foreign {
            device.bury(found);
        }
        let many: Map<_, _> = (0..99).map(|n| (format!("k{n}"), json!({"platform": "lock", "name": "x"}))).collect();
        assert_eq!(device.gone, BTreeMap::new());
        let buried = device.bury(&json!({"components": many}));
        assert_eq!((buried.len(), device.gone.len()), (Device::MOST_GONE, Device::MOST_GONE));
        let more: Map<_, _> = (0..99).map(|n| (format!("m{n}"), json!({"platform": "lock", "name": "x"}))).collect();
        assert_eq!(device.bury(&json!({"components": more})), BTreeMap::new());
        assert_eq!(device.gone.len(), Device::MOST_GONE, "of all payloads together");
    }
}
