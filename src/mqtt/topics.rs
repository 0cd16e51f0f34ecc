//! Every topic there is, made of the configured prefixes and of ids, never of names (docs/entities.md).

use crate::model::{DeviceId, DoorKind};

/// A switch of a doorbell that MQTT can flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    Talk,
    Stream,
}

impl Switch {
    pub(super) const ALL: [Self; 2] = [Self::Talk, Self::Stream];

    /// Its name in topics, in discovery and in `/result`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Talk => "talk",
            Self::Stream => "stream",
        }
    }
}

/// The commands that have to do with what a doorbell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SayTopic {
    /// A text or JSON is said.
    Say,
    /// Anything but nothing ends what is said.
    Stop,
    /// A clip, as Home Assistant's siren plays it.
    Siren,
    /// A clip by its name alone.
    Clip,
}

impl SayTopic {
    pub(super) const ALL: [Self; 4] = [Self::Say, Self::Stop, Self::Siren, Self::Clip];

    /// What the topic ends with.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Say => "say",
            Self::Stop => "say/stop",
            Self::Siren => "siren/set",
            Self::Clip => "clip/set",
        }
    }

    /// Its name in `/result`.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Say => "say",
            Self::Stop => "stop_saying",
            Self::Siren => "siren",
            Self::Clip => "clip",
        }
    }
}

/// What a message on a command topic is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Addressee {
    Switch(DeviceId, Switch),
    /// A door of a doorbell. Whether there is one is for others to know.
    Door(DeviceId, DoorKind),
    /// A doorbell is to take a still picture.
    Snapshot(DeviceId),
    /// A doorbell is to say something, or nothing more.
    Say(DeviceId, SayTopic),
    Rediscover,
}

#[derive(Debug, Clone)]
pub(super) struct Topics {
    base: String,
    discovery_prefix: String,
}

impl Topics {
    pub(super) fn new(base: String, discovery_prefix: String) -> Self {
        Self { base, discovery_prefix }
    }

    /// Whether `topic` is below the base topic, and can be published to.
    pub(super) fn is_ours(&self, topic: &str) -> bool {
        let below = topic.strip_prefix(&self.base).and_then(|rest| rest.strip_prefix('/'));
        below.is_some() && rumqttc::valid_topic(topic)
    }

    /// `online` while we are connected, `offline` by last will.
    pub(super) fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// Where the run that is connected leaves its mark.
    pub(super) fn instance(&self) -> String {
        format!("{}/bridge/instance", self.base)
    }

    /// How an account does, by its number.
    pub(super) fn account(&self, n: usize) -> String {
        format!("{}/bridge/account/{n}", self.base)
    }

    /// How it goes with go2rtc.
    pub(super) fn companion(&self) -> String {
        format!("{}/bridge/go2rtc", self.base)
    }

    /// Where a press has every account list its devices anew.
    pub(super) fn rediscover_command(&self) -> String {
        format!("{}/bridge/rediscover/set", self.base)
    }

    pub(super) fn bridge_result(&self) -> String {
        format!("{}/bridge/result", self.base)
    }

    /// Where Home Assistant says that it has started.
    pub(super) fn birth(&self) -> String {
        format!("{}/status", self.discovery_prefix)
    }

    /// The discovery of the device that stands for Doorstep itself. It carries the base topic, so that two
    /// Doorsteps on one broker are two devices.
    pub(super) fn bridge_discovery(&self) -> String {
        self.discovery(&self.bridge_device())
    }

    pub(super) fn bridge_device(&self) -> String {
        let base: String = self.base.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        format!("{base}_bridge")
    }

    pub(super) fn doorbell_discovery(&self, id: &DeviceId) -> String {
        self.discovery(&doorbell_device(id))
    }

    fn discovery(&self, object: &str) -> String {
        format!("{}/device/{object}/config", self.discovery_prefix)
    }

    /// What the topics of one doorbell begin with.
    pub(super) fn all_of(&self, id: &DeviceId) -> String {
        format!("{}/{id}/", self.base)
    }

    pub(super) fn availability(&self, id: &DeviceId) -> String {
        self.of(id, "availability")
    }

    pub(super) fn ring(&self, id: &DeviceId) -> String {
        self.of(id, "ring")
    }

    pub(super) fn motion(&self, id: &DeviceId) -> String {
        self.of(id, "motion")
    }

    pub(super) fn info(&self, id: &DeviceId) -> String {
        self.of(id, "info")
    }

    pub(super) fn result(&self, id: &DeviceId) -> String {
        self.of(id, "result")
    }

    pub(super) fn switch(&self, id: &DeviceId, switch: Switch) -> String {
        self.of(id, switch.word())
    }

    pub(super) fn switch_command(&self, id: &DeviceId, switch: Switch) -> String {
        format!("{}/set", self.switch(id, switch))
    }

    /// Whether there is anything in the way of talk at present.
    pub(super) fn talk_availability(&self, id: &DeviceId) -> String {
        self.of(id, "talk/availability")
    }

    /// The picture that was taken last.
    pub(super) fn snapshot(&self, id: &DeviceId) -> String {
        self.of(id, "snapshot")
    }

    /// Where anything but nothing has a picture taken.
    pub(super) fn snapshot_command(&self, id: &DeviceId) -> String {
        self.of(id, "snapshot/take")
    }

    /// The picture that belongs to the last ring.
    pub(super) fn ring_picture(&self, id: &DeviceId) -> String {
        self.of(id, "ring/picture")
    }

    pub(super) fn say_command(&self, id: &DeviceId, topic: SayTopic) -> String {
        self.of(id, topic.path())
    }

    /// Whether a clip is played. Only with clips there are this topic and the next.
    pub(super) fn siren(&self, id: &DeviceId) -> String {
        self.of(id, "siren")
    }

    /// Which clip is played.
    pub(super) fn clip(&self, id: &DeviceId) -> String {
        self.of(id, "clip")
    }

    /// How a door stands. Only an enabled one has this topic and the next two.
    pub(super) fn door(&self, id: &DeviceId, kind: DoorKind) -> String {
        self.of(id, kind.word())
    }

    /// Whether commands for the door are taken at present.
    pub(super) fn door_availability(&self, id: &DeviceId, kind: DoorKind) -> String {
        format!("{}/availability", self.door(id, kind))
    }

    pub(super) fn door_command(&self, id: &DeviceId, kind: DoorKind) -> String {
        format!("{}/set", self.door(id, kind))
    }

    /// Subscribed, so that commands for doorbells that are gone can be refused and erased too.
    pub(super) fn command_filters(&self) -> Vec<String> {
        let switches = Switch::ALL.into_iter().map(|switch| format!("{}/+/{}/set", self.base, switch.word()));
        let sayings = SayTopic::ALL.into_iter().map(|topic| format!("{}/+/{}", self.base, topic.path()));
        let others = [format!("{}/+/snapshot/take", self.base), self.rediscover_command()];
        switches.chain(sayings).chain(others).collect()
    }

    /// What a command topic is for; `None` for every other topic.
    pub(super) fn parse_command(&self, topic: &str) -> Option<Addressee> {
        let (whose, path) = topic.strip_prefix(&self.base)?.strip_prefix('/')?.split_once('/')?;
        if let Some(topic) = SayTopic::ALL.into_iter().find(|topic| topic.path() == path) {
            return Some(Addressee::Say(DeviceId::parse(whose).ok()?, topic));
        }
        let (what, verb) = path.split_once('/')?;
        if (whose, what, verb) == ("bridge", "rediscover", "set") {
            return Some(Addressee::Rediscover);
        }
        let id = DeviceId::parse(whose).ok()?;
        match (what, verb) {
            ("snapshot", "take") => Some(Addressee::Snapshot(id)),
            ("lock", "set") => Some(Addressee::Door(id, DoorKind::Lock)),
            ("garage", "set") => Some(Addressee::Door(id, DoorKind::Garage)),
            (_, "set") => {
                let switch = Switch::ALL.into_iter().find(|switch| switch.word() == what)?;
                Some(Addressee::Switch(id, switch))
            }
            _ => None,
        }
    }

    fn of(&self, id: &DeviceId, what: &str) -> String {
        format!("{}/{id}/{what}", self.base)
    }
}

/// The identifier of a doorbell's device in Home Assistant.
pub(super) fn doorbell_device(id: &DeviceId) -> String {
    format!("doorstep_{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(base: &str) -> Topics {
        Topics { base: base.to_owned(), discovery_prefix: "homeassistant".to_owned() }
    }

    #[test]
    fn a_command_topic_is_read_back() {
        let id = DeviceId::parse("wyze_1").unwrap();
        for topics in [topics("doorstep"), topics("house/door")] {
            for switch in Switch::ALL {
                let addressee = Some(Addressee::Switch(id.clone(), switch));
                assert_eq!(topics.parse_command(&topics.switch_command(&id, switch)), addressee);
            }
            for kind in [DoorKind::Lock, DoorKind::Garage] {
                let addressee = Some(Addressee::Door(id.clone(), kind));
                assert_eq!(topics.parse_command(&topics.door_command(&id, kind)), addressee);
            }
            for topic in SayTopic::ALL {
                let addressee = Some(Addressee::Say(id.clone(), topic));
                assert_eq!(topics.parse_command(&topics.say_command(&id, topic)), addressee);
            }
            assert_eq!(topics.parse_command(&topics.snapshot_command(&id)), Some(Addressee::Snapshot(id.clone())));
            assert_eq!(topics.parse_command(&topics.rediscover_command()), Some(Addressee::Rediscover));
        }
    }

    #[test]
    fn anything_else_is_no_command() {
        let topics = topics("doorstep");
        for topic in [
            "",
            "doorstep",
            "doorstep/",
            "doorstep/a/talk",
            "doorstep/a/talk/set/x",
            "doorstep/a/lock",
            "doorstep/a/lock/set/x",
            "doorstep/a/rediscover/set",
            "doorstep/a/garage",
            "doorstep/a/garage/take",
            "doorstep/a/snapshot",
            "doorstep/a/snapshot/set",
            "doorstep/a/say/set",
            "doorstep/a/say/stop/x",
            "doorstep/a/siren",
            "doorstep/a/clip",
            "doorstep/a/ring/picture",
            "doorstep/say",
            "doorstep/A B/say",
            "doorstep/bridge/rediscover/take",
            "doorstep/A B/talk/set",
            "doorstep//talk/set",
            "doorstepx/a/talk/set",
            "other/a/talk/set",
        ] {
            assert_eq!(topics.parse_command(topic), None, "{topic}");
        }
    }

    #[test]
    fn the_node_red_flow_speaks_of_topics_that_there_are() {
        let flow: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../docs/node-red/doorstep-flow.json")).unwrap();
        let (topics, id) = (topics("doorstep"), DeviceId::parse("wyze_1").unwrap());
        let (mut heard, mut sent) = (Vec::new(), Vec::new());
        for node in flow {
            if node["type"] == "mqtt in" {
                heard.push(node["topic"].as_str().unwrap().replace('+', id.as_str()));
            }
            let rules = node["rules"].as_array().into_iter().flatten().filter(|rule| rule["p"] == "topic");
            // JSONata: `"doorstep/" & $env("DOORBELL") & "/talk/set"`.
            let join = |rule: &serde_json::Value| rule["to"].as_str().unwrap().replace("$env(\"DOORBELL\")", "wyze_1");
            sent.extend(rules.map(|rule| join(rule).replace([' ', '&', '"'], "")));
        }
        let told = [topics.ring(&id), topics.motion(&id), topics.result(&id)];
        assert!(!heard.is_empty() && heard.iter().all(|topic| told.contains(topic)), "{heard:?}");
        assert!(sent.len() >= 5 && sent.iter().all(|topic| topics.parse_command(topic).is_some()), "{sent:?}");
    }
}
