//! The devices of an account as they are known now: what was listed, and what was told by push since (vivint
//! reference §3, §4).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::devices::{Device, Place, number, text};
use crate::clock::{self, Instant};
use crate::model::DeviceId;
use crate::proto::vivint::realtime::{Delta, Object};

/// More than any account has.
pub(super) const MOST_DEVICES: usize = 512;
const MOST_SYSTEMS: usize = 16;

/// Whose account it is, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthUser {
    /// `_id`
    pub user: String,
    /// `mbc`: where its messages are published.
    pub channel: Option<String>,
    /// `panid` of each system.
    pub panels: Vec<i64>,
}

impl AuthUser {
    /// `None` when it is none: an answer that cannot be understood must not look like an account without devices.
    pub fn read(body: &Value) -> Option<Self> {
        let user = one(body.get("u")?)?;
        let systems = many(user.get("system")?);
        let panels = systems.iter().filter_map(|system| number(system.get("panid")?)).take(MOST_SYSTEMS);
        let panels: Vec<i64> = panels.collect();
        if panels.is_empty() && !systems.is_empty() {
            return None;
        }
        let user = user.as_object()?;
        let owned = |key| text(user, key).map(str::to_owned);
        Some(Self { user: owned("_id").unwrap_or_default(), channel: owned("mbc"), panels })
    }
}

/// The object itself, or the only one of a list.
fn one(value: &Value) -> Option<&Value> {
    match value {
        Value::Array(list) => list.first().filter(|first| first.is_object()),
        value => Some(value).filter(|value| value.is_object()),
    }
}

/// A list, or the only one there is.
fn many(value: &Value) -> &[Value] {
    match value {
        Value::Array(list) => list,
        value => std::slice::from_ref(value),
    }
}

/// One device: what was said of it, and what that means.
#[derive(Debug, Clone)]
pub struct Record {
    fields: Object,
    pub(super) device: Device,
    /// When the cloud last told anything of it. `None` while it is only known from an earlier run.
    pub told: Option<Instant>,
    /// When it last told how it stands.
    pub state_told: Option<Instant>,
}

/// The devices of one system, and how many entries could not be read.
#[derive(Debug)]
pub struct Listing {
    pub records: Vec<Record>,
    pub skipped: usize,
}

impl Listing {
    /// `asked` is when the cloud was asked for it; `None` for one of an earlier run. `None` when it is no listing,
    /// which an empty one is.
    pub fn read(panel: i64, body: &Value, asked: Option<Instant>) -> Option<Self> {
        let partitions = many(one(body.get("system")?)?.get("par")?);
        let mut listing = Self { records: Vec::new(), skipped: 0 };
        for partition in partitions.iter().take(MOST_SYSTEMS) {
            let (Some(number), Some(devices)) = (partition.get("parid").and_then(number), partition.get("d")) else {
                listing.skipped += 1;
                continue;
            };
            many(devices).iter().for_each(|entry| listing.admit(panel, number, entry, asked));
        }
        (listing.skipped == 0 || !listing.records.is_empty()).then_some(listing)
    }

    fn admit(&mut self, panel: i64, partition: i64, entry: &Value, asked: Option<Instant>) {
        let fields = entry.as_object();
        let device = fields.and_then(|fields| fields.get("_id")).and_then(number);
        match (fields, device) {
            _ if self.records.len() >= MOST_DEVICES => self.skipped += 1,
            (Some(fields), Some(device)) if self.records.iter().all(|known| known.device.place.device != device) => {
                let place = Place { panel, partition, device };
                self.records.push(Record::new(place, fields.clone(), asked));
            }
            _ => self.skipped += 1,
        }
    }
}

impl Record {
    fn new(place: Place, fields: Object, asked: Option<Instant>) -> Self {
        let device = Device::read(place, &fields);
        Self { fields, device, told: asked, state_told: asked }
    }

    /// Whether it says what the device can do, which makes a doorbell of a camera.
    fn is_whole(&self) -> bool {
        self.fields.get("caca").is_some_and(Value::is_array)
    }

    /// Whether a record stays one when this is added to it. What is told by push is told again and again, and each
    /// time it may bring fields that nobody knows.
    fn has_room_for(&self, delta: &Delta) -> bool {
        const LARGEST: usize = 64 << 10;
        let size = |fields: &Object| json!(fields).to_string().len();
        size(&self.fields) + size(&delta.fields) <= LARGEST
    }

    fn apply(&mut self, delta: &Delta, at: Instant) {
        delta.merge_into(&mut self.fields);
        self.device = Device::read(self.device.place, &self.fields);
        self.told = Some(at);
        if delta.fields.contains_key("s") {
            self.state_told = Some(at);
        }
    }

    /// What is kept for the next start: who it is and how it is reached, and nothing that changes every other minute.
    fn row(&self) -> Value {
        const KEPT: &[&str] = &[
            "_id", "t", "act", "n", "uuid", "sv", "csv", "caca", "cda", "caip", "cap", "un", "pswd", "cdp", "cdps",
            "ciu", "cius", "ceu", "ceus",
        ];
        only(&self.fields, |key, _| KEPT.contains(&key)).into()
    }

    /// What is known of it, for whoever looks for a fault: only what is known to be no secret, and the names of what
    /// was withheld.
    pub fn diagnosis(&self) -> Value {
        let mut shown = only(&self.fields, |key, value| match value {
            Value::String(_) => PUBLIC_TEXTS.contains(&key),
            value => PUBLIC_NUMBERS.contains(&key) && has_no_text(value),
        });
        let withheld = self.fields.keys().filter(|key| !shown.contains_key(*key) && is_name(key));
        let withheld: Vec<&String> = withheld.collect();
        let withheld = json!(withheld);
        shown.insert("withheld".to_owned(), withheld);
        shown.into()
    }
}

/// Fields of a device whose texts tell nothing of its owner, its address or its login.
const PUBLIC_TEXTS: &[&str] =
    &["t", "act", "sv", "csv", "ts", "ctd", "hdr", "sdr", "zpd", "ccty", "wireless_band", "cap"];
/// And those whose numbers and switches do not.
const PUBLIC_NUMBERS: &[&str] = &[
    "_id",
    "s",
    "ol",
    "bl",
    "lb",
    "b",
    "ta",
    "op",
    "caca",
    "fea",
    "fwv",
    "hidden",
    "wiss",
    "rssi",
    "wchn",
    "art",
    "cda",
    "cap",
    "caco",
    "casr",
    "cpri",
    "ccom",
    "cex",
    "cxs",
    "cir",
    "cled",
    "cflp",
    "nv",
    "vql",
    "deter_on_duty",
    "uses_dvr",
    "er",
    "manid",
    "prtid",
    "prid",
    "nid",
    "pant",
];

fn only(fields: &Object, wanted: impl Fn(&str, &Value) -> bool) -> Object {
    let kept = fields.iter().filter(|(key, value)| wanted(key, value));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>()
}

fn has_no_text(value: &Value) -> bool {
    match value {
        Value::String(_) => false,
        Value::Array(list) => list.iter().all(has_no_text),
        Value::Object(fields) => fields.iter().all(|(key, value)| is_name(key) && has_no_text(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// What a field can be called, rather than what somebody may have put in its place.
fn is_name(key: &str) -> bool {
    key.len() <= 32 && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// All devices.
#[derive(Default)]
pub struct Systems {
    now: BTreeMap<DeviceId, Record>,
    /// Of the listing before: a device that is missing once may only have been left out.
    before: BTreeMap<DeviceId, Record>,
    /// What was told lately. A listing that was asked for before does not know of it.
    pushed: VecDeque<Pushed>,
}

struct Pushed {
    at: Instant,
    id: DeviceId,
    delta: Delta,
}

impl Systems {
    /// No listing takes longer.
    const REMEMBERED: Duration = Duration::from_secs(120);
    const MOST_PUSHED: usize = 256;

    /// Takes over a complete listing, which was asked for at `asked`. What was known before stands for a device that
    /// says no more what it can do: no doorbell turns into something else, but a cloud may garble its answer.
    pub fn learn(&mut self, records: Vec<Record>, asked: Instant) {
        let now = records.into_iter().map(|record| (record.device.place.id(), record)).collect();
        self.before = std::mem::replace(&mut self.now, now);
        for (id, record) in &mut self.now {
            if let Some(before) = self.before.get(id).filter(|before| before.is_whole() && !record.is_whole()) {
                record.clone_from(before);
            }
        }
        for Pushed { at, id, delta } in self.pushed.iter().filter(|pushed| pushed.at >= asked) {
            if let Some(record) = self.now.get_mut(id) {
                record.apply(delta, *at);
            }
        }
    }

    /// Takes over what was told of one device. The device, if it is known.
    pub fn apply(&mut self, panel: i64, delta: &Delta) -> Option<&Record> {
        let at = clock::now();
        let id = Place { panel, partition: 0, device: delta.device }.id();
        let record = self.now.get_mut(&id).filter(|record| record.has_room_for(delta))?;
        record.apply(delta, at);
        self.pushed.retain(|pushed| pushed.at.elapsed() < Self::REMEMBERED);
        if self.pushed.len() == Self::MOST_PUSHED {
            self.pushed.pop_front();
        }
        self.pushed.push_back(Pushed { at, id, delta: delta.clone() });
        Some(record)
    }

    pub fn get(&self, id: &DeviceId) -> Option<&Record> {
        self.now.get(id).or_else(|| self.before.get(id))
    }

    pub fn all(&self) -> impl Iterator<Item = &Record> {
        self.now.values()
    }

    pub fn is_empty(&self) -> bool {
        self.now.is_empty()
    }

    pub fn has_panel(&self, panel: i64) -> bool {
        self.now.values().any(|record| record.device.place.panel == panel)
    }

    /// Those of one system.
    pub fn of_panel(&self, panel: i64) -> impl Iterator<Item = &Record> {
        self.now.values().filter(move |record| record.device.place.panel == panel)
    }

    /// A listing of these devices, to keep over a restart. Their secrets are in the clear, for the store.
    pub fn to_keep(&self) -> Value {
        let mut places: BTreeMap<(i64, i64), Vec<Value>> = BTreeMap::new();
        for record in self.now.values() {
            let Place { panel, partition, .. } = record.device.place;
            places.entry((panel, partition)).or_default().push(record.row());
        }
        let partitions = places.into_iter();
        let partitions = partitions.map(|((panel, parid), d)| json!({"panid": panel, "parid": parid, "d": d}));
        partitions.collect::<Vec<_>>().into()
    }

    /// What [`Self::to_keep`] has kept.
    pub fn kept(kept: &Value) -> Vec<Record> {
        let listing = |partition: &Value| {
            let panel = number(partition.get("panid")?)?;
            Some(Listing::read(panel, &json!({"system": {"par": [partition]}}), None)?.records)
        };
        many(kept).iter().filter_map(listing).flatten().collect()
    }
}

#[cfg(test)]
mod tests;
