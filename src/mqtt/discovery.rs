//! What Home Assistant is told of each doorbell: one device payload with every entity
//! (its MQTT discovery as of 2026.11; docs/entities.md lists the entities).

use serde_json::{Value, json};
use tokio::sync::watch;

use super::topics::{SayTopic, Switch, Topics, doorbell_device};
use crate::doorbell::{Door, Doors};
use crate::model::{Capability, ClipName, DeviceInfo, DoorKind, MotionKind, OpenerEntity};

/// What is the same for every device.
#[derive(Clone)]
pub(super) struct Discovery {
    pub(super) topics: Topics,
    pub(super) version: &'static str,
    /// The page, as a browser or Home Assistant reaches it.
    pub(super) page_url: watch::Receiver<Option<String>>,
}

impl Discovery {
    /// The device that stands for Doorstep itself; doorbells point to it, so it is published first. `accounts`
    /// are numbers and vendors; `companion` says whether go2rtc is wanted.
    pub(super) fn bridge(&self, accounts: &[(usize, &str)], companion: bool) -> Value {
        let mut components = serde_json::Map::new();
        let mut add = |key: String, mut component: Value| {
            component["unique_id"] = json!(format!("{}_{key}", self.topics.bridge_device()));
            components.insert(key, component);
        };
        add("connection".to_owned(), self.bridge_connection());
        add("rediscover".to_owned(), self.rediscover());
        if companion {
            add("go2rtc".to_owned(), self.companion());
        }
        for (at, (n, vendor)) in accounts.iter().enumerate() {
            let of_vendor = accounts.iter().take(at + 1).filter(|(_, other)| other == vendor).count();
            add(format!("account_{n}"), self.account(*n, vendor, of_vendor));
        }
        let mut about = json!({
            "identifiers": [self.topics.bridge_device()],
            "name": "Doorstep",
            "manufacturer": "Doorstep",
            "model": "Bridge",
            "sw_version": self.version,
        });
        self.link_page(&mut about);
        json!({
            "device": about,
            "origin": self.origin(),
            "components": components,
        })
    }

    fn bridge_connection(&self) -> Value {
        json!({
            "platform": "binary_sensor",
            "name": "Connection",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": self.topics.status(),
            "payload_on": super::ONLINE,
            "payload_off": super::OFFLINE,
        })
    }

    fn rediscover(&self) -> Value {
        json!({
            "platform": "button",
            "name": "Rediscover",
            "icon": "mdi:magnify",
            "entity_category": "diagnostic",
            "command_topic": self.topics.rediscover_command(),
            "payload_press": "PRESS",
            "retain": false,
            "qos": 1,
            "availability": [{"topic": self.topics.status()}],
        })
    }

    /// Whether go2rtc has our streams, with the reason and their number as attributes.
    fn companion(&self) -> Value {
        json!({
            "platform": "sensor",
            "name": "go2rtc",
            "icon": "mdi:video-switch",
            "entity_category": "diagnostic",
            "state_topic": self.topics.companion(),
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": self.topics.companion(),
            "availability": [{"topic": self.topics.status()}],
        })
    }

    /// How an account does, with the reason and its limits as attributes. Of several of one vendor, all but the
    /// first are numbered.
    fn account(&self, n: usize, vendor: &str, of_vendor: usize) -> Value {
        let name = format!("{} account", capitalised(vendor));
        json!({
            "platform": "sensor",
            "name": if of_vendor > 1 { format!("{name} {of_vendor}") } else { name },
            "icon": "mdi:account",
            "entity_category": "diagnostic",
            "state_topic": self.topics.account(n),
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": self.topics.account(n),
            "availability": [{"topic": self.topics.status()}],
        })
    }

    /// One doorbell: its device, and an entity for each thing it can do. `doors` are those beside it, `clips` what it
    /// can be made to play.
    pub(super) fn doorbell(&self, info: &DeviceInfo, doors: &Doors, clips: &[ClipName]) -> Value {
        let can = |capability| info.capabilities.contains(&capability);
        let mut components = serde_json::Map::new();
        let mut add = |key: &str, component: Value| drop(components.insert(key.to_owned(), component));
        if can(Capability::Ring) {
            add("ring", self.ring(info));
            add("ring_trigger", self.ring_trigger(info));
            add("last_ring", self.last_ring(info));
        }
        if can(Capability::Motion) {
            add("motion", self.motion(info));
        }
        if can(Capability::Talk) {
            add("talk", self.talk(info));
            add("say", self.say(info));
            add("stop_saying", self.stop_saying(info));
        }
        if can(Capability::Talk) && !clips.is_empty() {
            add("clips", self.clips(info, clips));
            add("clip", self.clip(info, clips));
        }
        if can(Capability::Stream) {
            add("stream", self.switch(info, Switch::Stream, "Stream", "mdi:video"));
            add("viewers", self.viewers(info));
        }
        if can(Capability::Snapshot) {
            add("snapshot", self.snapshot(info));
            add("take_snapshot", self.take_snapshot(info));
        }
        if can(Capability::Snapshot) && can(Capability::Ring) {
            add("ring_picture", self.ring_picture(info));
        }
        for door in doors.values() {
            let (key, component) = self.door(info, door);
            add(key, component);
        }
        add("connection", self.connection(info));
        add("link", self.link(info));
        json!({
            "device": self.device(info),
            "origin": self.origin(),
            "availability": [{"topic": self.topics.status()}, {"topic": self.topics.availability(&info.id)}],
            "availability_mode": "all",
            "qos": 1,
            "components": components,
        })
    }

    fn origin(&self) -> Value {
        json!({"name": "Doorstep", "sw_version": self.version})
    }

    fn device(&self, info: &DeviceInfo) -> Value {
        let mut device = json!({
            "identifiers": [doorbell_device(&info.id)],
            "name": info.name,
            "manufacturer": capitalised(info.vendor),
            "model": info.model,
            "via_device": self.topics.bridge_device(),
        });
        if let Some(firmware) = &info.firmware {
            device["sw_version"] = json!(firmware);
        }
        self.link_page(&mut device);
        device
    }

    fn link_page(&self, device: &mut Value) {
        if let Some(url) = &*self.page_url.borrow() {
            device["configuration_url"] = json!(url);
        }
    }

    fn ring(&self, info: &DeviceInfo) -> Value {
        let ring = json!({
            "device_class": "doorbell",
            "event_types": ["ring"],
            "state_topic": self.topics.ring(&info.id),
        });
        entity(info, "event", "ring", "Ring", ring)
    }

    /// The same ring in the editor of automations, under the device.
    fn ring_trigger(&self, info: &DeviceInfo) -> Value {
        json!({
            "platform": "device_automation",
            "automation_type": "trigger",
            "type": "button_short_press",
            "subtype": "doorbell",
            "topic": self.topics.ring(&info.id),
            "payload": "ring",
            "value_template": "{{ value_json.event_type }}",
        })
    }

    fn last_ring(&self, info: &DeviceInfo) -> Value {
        let last_ring = json!({
            "device_class": "timestamp",
            "state_topic": self.topics.info(&info.id),
            "value_template": "{{ value_json.last_ring }}",
        });
        entity(info, "sensor", "last_ring", "Last ring", last_ring)
    }

    fn motion(&self, info: &DeviceInfo) -> Value {
        let motion = json!({
            "device_class": "motion",
            "event_types": MotionKind::ALL,
            "state_topic": self.topics.motion(&info.id),
        });
        entity(info, "event", "motion", "Motion", motion)
    }

    fn switch(&self, info: &DeviceInfo, switch: Switch, name: &str, icon: &str) -> Value {
        let topics = json!({
            "icon": icon,
            "state_topic": self.topics.switch(&info.id, switch),
            "command_topic": self.topics.switch_command(&info.id, switch),
            "optimistic": false,
        });
        entity(info, "switch", switch.word(), name, topics)
    }

    fn talk(&self, info: &DeviceInfo) -> Value {
        let mut talk = self.switch(info, Switch::Talk, "Talk", "mdi:microphone");
        talk["availability"] = self.talk_availability(info);
        talk
    }

    /// Unavailable while nobody could talk, beside whatever else makes an entity of this doorbell so.
    fn talk_availability(&self, info: &DeviceInfo) -> Value {
        let topics =
            [self.topics.status(), self.topics.availability(&info.id), self.topics.talk_availability(&info.id)];
        topics.iter().map(|topic| json!({"topic": topic})).collect()
    }

    /// Home Assistant sends the message as it is.
    fn say(&self, info: &DeviceInfo) -> Value {
        let say = json!({
            "icon": "mdi:bullhorn",
            "command_topic": self.topics.say_command(&info.id, SayTopic::Say),
            "retain": false,
            "availability": self.talk_availability(info),
        });
        entity(info, "notify", "say", "Say", say)
    }

    fn stop_saying(&self, info: &DeviceInfo) -> Value {
        let stop = json!({
            "icon": "mdi:volume-off",
            "command_topic": self.topics.say_command(&info.id, SayTopic::Stop),
            "payload_press": "STOP",
            "retain": false,
        });
        entity(info, "button", "stop_saying", "Stop saying", stop)
    }

    /// The clips as a siren's tones, with volume and duration.
    fn clips(&self, info: &DeviceInfo, clips: &[ClipName]) -> Value {
        let siren = json!({
            "icon": "mdi:playlist-music",
            "state_topic": self.topics.siren(&info.id),
            "command_topic": self.topics.say_command(&info.id, SayTopic::Siren),
            "available_tones": clips,
            "support_duration": true,
            "support_volume_set": true,
            "optimistic": false,
            "retain": false,
            "availability": self.talk_availability(info),
        });
        entity(info, "siren", "clips", "Clips", siren)
    }

    /// The clips as a list of which one is chosen: it is played once.
    fn clip(&self, info: &DeviceInfo, clips: &[ClipName]) -> Value {
        let select = json!({
            "icon": "mdi:playlist-play",
            "state_topic": self.topics.clip(&info.id),
            "command_topic": self.topics.say_command(&info.id, SayTopic::Clip),
            "options": clips,
            "optimistic": false,
            "retain": false,
            "availability": self.talk_availability(info),
        });
        entity(info, "select", "clip", "Clip", select)
    }

    /// The picture that was taken last. It stands although the doorbell is away.
    fn snapshot(&self, info: &DeviceInfo) -> Value {
        let snapshot = json!({
            "topic": self.topics.snapshot(&info.id),
            "availability": [{"topic": self.topics.status()}],
        });
        entity(info, "camera", "snapshot", "Snapshot", snapshot)
    }

    /// The picture that belongs to the last ring. When it changes, it is there.
    fn ring_picture(&self, info: &DeviceInfo) -> Value {
        let picture = json!({
            "image_topic": self.topics.ring_picture(&info.id),
            "content_type": "image/jpeg",
            "availability": [{"topic": self.topics.status()}],
        });
        entity(info, "image", "ring_picture", "Ring picture", picture)
    }

    fn take_snapshot(&self, info: &DeviceInfo) -> Value {
        let take = json!({
            "icon": "mdi:camera",
            "command_topic": self.topics.snapshot_command(&info.id),
            "payload_press": "TAKE",
            "retain": false,
        });
        entity(info, "button", "take_snapshot", "Take snapshot", take)
    }

    /// Home Assistant's locks, buttons and covers cannot sign, so that a door which wants it is only shown.
    fn door(&self, info: &DeviceInfo, door: &Door) -> (&'static str, Value) {
        match (door.kind(), door.wants_signature(), door.opener()) {
            (DoorKind::Lock, false, None) => ("lock", self.lock(info)),
            (DoorKind::Lock, false, Some(OpenerEntity::Lock)) => ("lock", self.opener_lock(info)),
            (DoorKind::Lock, false, Some(OpenerEntity::Button)) => ("open_door", self.open_door(info)),
            (DoorKind::Lock, true, _) => ("lock_state", self.lock_state(info)),
            (DoorKind::Garage, false, _) => ("garage", self.garage(info)),
            (DoorKind::Garage, true, _) => ("garage_state", self.garage_state(info)),
        }
    }

    /// Status of the service, and whether commands for the door are taken.
    fn door_availability(&self, info: &DeviceInfo, kind: DoorKind) -> Value {
        json!([{"topic": self.topics.status()}, {"topic": self.topics.door_availability(&info.id, kind)}])
    }

    /// Not tied to the doorbell's availability: the lock is another device, and `blocked` says when it cannot be
    /// worked. Never optimistic: Home Assistant would take it for unlocked at its start.
    fn lock(&self, info: &DeviceInfo) -> Value {
        let lock = json!({
            "state_topic": self.topics.door(&info.id, DoorKind::Lock),
            "command_topic": self.topics.door_command(&info.id, DoorKind::Lock),
            "payload_lock": "LOCK",
            "payload_unlock": "UNLOCK",
            "optimistic": false,
            "retain": false,
            "availability": self.door_availability(info, DoorKind::Lock),
        });
        entity(info, "lock", "lock", "Lock", lock)
    }

    /// An opener as a lock that can be opened, too. Home Assistant's locks must be able to lock: that is refused.
    fn opener_lock(&self, info: &DeviceInfo) -> Value {
        let mut lock = self.lock(info);
        lock["payload_open"] = json!("OPEN");
        lock
    }

    /// An opener as a button, under another key than a lock, so that the one goes when the other comes.
    fn open_door(&self, info: &DeviceInfo) -> Value {
        let button = json!({
            "icon": "mdi:door-open",
            "command_topic": self.topics.door_command(&info.id, DoorKind::Lock),
            "payload_press": "OPEN",
            "retain": false,
            "availability": self.door_availability(info, DoorKind::Lock),
        });
        entity(info, "button", "open_door", "Open door", button)
    }

    /// On is open. What is neither locked nor unknown counts as open.
    fn lock_state(&self, info: &DeviceInfo) -> Value {
        let state = json!({
            "device_class": "lock",
            "state_topic": self.topics.door(&info.id, DoorKind::Lock),
            "value_template": "{{ {'LOCKED': 'OFF', 'None': 'None'}.get(value, 'ON') }}",
            "availability": [{"topic": self.topics.status()}],
        });
        entity(info, "binary_sensor", "lock_state", "Lock", state)
    }

    /// As the lock. These motors can be told to open and to close, but not to stop. The words of its states are Home
    /// Assistant's own, but for one: a cover that has `stopped` while it was closing it shows as closed, and this one
    /// stands half-way then.
    fn garage(&self, info: &DeviceInfo) -> Value {
        let garage = json!({
            "device_class": "garage",
            "state_topic": self.topics.door(&info.id, DoorKind::Garage),
            "value_template": "{{ 'open' if value == 'stopped' else value }}",
            "command_topic": self.topics.door_command(&info.id, DoorKind::Garage),
            "payload_open": "OPEN",
            "payload_close": "CLOSE",
            "payload_stop": null,
            "optimistic": false,
            "retain": false,
            "availability": self.door_availability(info, DoorKind::Garage),
        });
        entity(info, "cover", "garage", "Garage door", garage)
    }

    /// On is open. What is neither closed nor unknown counts as open.
    fn garage_state(&self, info: &DeviceInfo) -> Value {
        let state = json!({
            "device_class": "garage_door",
            "state_topic": self.topics.door(&info.id, DoorKind::Garage),
            "value_template": "{{ {'closed': 'OFF', 'None': 'None'}.get(value, 'ON') }}",
            "availability": [{"topic": self.topics.status()}],
        });
        entity(info, "binary_sensor", "garage_state", "Garage door", state)
    }

    fn viewers(&self, info: &DeviceInfo) -> Value {
        let viewers = json!({
            "entity_category": "diagnostic",
            "icon": "mdi:eye",
            "state_class": "measurement",
            "state_topic": self.topics.info(&info.id),
            "value_template": "{{ value_json.viewers }}",
        });
        entity(info, "sensor", "viewers", "Viewers", viewers)
    }

    /// Off, rather than unavailable, while the doorbell cannot be reached.
    fn connection(&self, info: &DeviceInfo) -> Value {
        let connection = json!({
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": self.topics.availability(&info.id),
            "payload_on": super::ONLINE,
            "payload_off": super::OFFLINE,
            "availability": [{"topic": self.topics.status()}],
        });
        entity(info, "binary_sensor", "connection", "Connection", connection)
    }

    /// How the doorbell is reached, with transport, codecs and last error as attributes.
    fn link(&self, info: &DeviceInfo) -> Value {
        let link = json!({
            "entity_category": "diagnostic",
            "icon": "mdi:lan-connect",
            "state_topic": self.topics.info(&info.id),
            "value_template": "{{ value_json.link }}",
            "json_attributes_topic": self.topics.info(&info.id),
            "availability": [{"topic": self.topics.status()}],
        });
        entity(info, "sensor", "link", "Link", link)
    }
}

/// `component` with what every entity needs.
fn entity(info: &DeviceInfo, platform: &str, key: &str, name: &str, mut component: Value) -> Value {
    component["platform"] = json!(platform);
    component["unique_id"] = json!(format!("{}_{key}", doorbell_device(&info.id)));
    component["default_entity_id"] = json!(format!("{platform}.{}_{key}", slug(info)));
    component["name"] = json!(name);
    component
}

/// The owner's name as entity ids are spelt (`Front Door!` → `front_door`); the id where nothing is left.
fn slug(info: &DeviceInfo) -> String {
    let lowered = info.name.to_lowercase();
    let words = lowered.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut slug = words.collect::<Vec<_>>().join("_");
    slug.truncate(50);
    if slug.is_empty() { info.id.to_string() } else { slug }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
