//! What Vivint tells over PubNub: replies of a subscription, the updates in them, and which of these are events
//! (vivint reference §4).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};

/// A JSON object.
pub type Object = Map<String, Value>;

/// One reply of a subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Where to go on reading.
    pub cursor: Cursor,
    /// In the order in which they were published.
    pub messages: Vec<Message>,
}

/// A place in what is published. Begins at 0, which the server answers at once with the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub timetoken: u64,
    pub region: u64,
}

/// One message that was published on the account's channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub published: Option<Timetoken>,
    pub payload: Value,
}

/// When something was published: counts 100 ns since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timetoken(pub u64);

impl Timetoken {
    pub fn since_1970(self) -> Duration {
        const A_SECOND: u64 = 10_000_000;
        Duration::new(self.0 / A_SECOND, (self.0 % A_SECOND) as u32 * 100)
    }
}

impl Cursor {
    pub const BEGINNING: Self = Self { timetoken: 0, region: 0 };
}

impl Reply {
    /// `None` when it does not say where to go on. A message that is none is left out.
    pub fn read(body: &Value) -> Option<Self> {
        let cursor = body.get("t")?;
        let cursor =
            Cursor { timetoken: number(cursor.get("t")?)?, region: cursor.get("r").and_then(number).unwrap_or(0) };
        let messages = body.get("m").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Some(Self { cursor, messages: messages.iter().filter_map(Message::read).collect() })
    }

    /// Whether it says anything to whoever asked for what came after `asked`: messages and a place behind them, or,
    /// at the beginning, where that is.
    pub fn leads_on(&self, asked: &Cursor) -> bool {
        self.cursor != *asked && (*asked == Cursor::BEGINNING || !self.messages.is_empty())
    }
}

impl Message {
    fn read(message: &Value) -> Option<Self> {
        let published = message.get("p").and_then(|place| number(place.get("t")?)).map(Timetoken);
        Some(Self { published, payload: message.get("d")?.clone() })
    }
}

/// A number, or its text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// What changed in a system.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// `panid`
    pub panel: i64,
    pub change: Change,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Fields of the system, or of a partition itself: how the panel is armed, and the like.
    Panel,
    /// Devices have come or gone.
    Inventory,
    /// Changed fields of devices, each with its `_id`.
    Devices(Vec<Delta>),
}

/// The changed fields of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// `_id`
    pub device: i64,
    pub fields: Object,
}

impl Update {
    /// `None` for what names no system.
    pub fn read(payload: &Value) -> Option<Self> {
        let panel = payload.get("panid")?;
        let panel = panel.as_i64().or_else(|| panel.as_str()?.parse().ok())?;
        let devices = payload.get("da").and_then(|data| data.get("d")).and_then(Value::as_array);
        let change = match (payload.get("op").and_then(Value::as_str), devices) {
            (Some("c" | "d"), _) => Change::Inventory,
            (_, Some(devices)) if payload.get("t").is_some_and(|kind| kind == "account_partition") => {
                Change::Devices(devices.iter().filter_map(Delta::read).collect())
            }
            _ => Change::Panel,
        };
        Some(Self { panel, change })
    }
}

/// What a camera's delta tells besides the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraEvent {
    ThumbnailReady,
    Ring,
    /// A clip has been recorded.
    VideoReady,
    Motion,
}

impl Delta {
    fn read(delta: &Value) -> Option<Self> {
        let fields = delta.as_object()?;
        Some(Self { device: fields.get("_id")?.as_i64()?, fields: fields.clone() })
    }

    /// Read as a camera's. The order of the rules is Vivint's: the first that fits counts.
    pub fn camera_event(&self) -> Option<CameraEvent> {
        let says = |key: &str| self.fields.get(key).is_some_and(is_truthy);
        let keys: BTreeSet<&str> = self.fields.keys().map(String::as_str).collect();
        let is_just = |wanted: [&str; 3]| keys == BTreeSet::from(wanted);
        match () {
            () if says("ctd") => Some(CameraEvent::ThumbnailReady),
            () if says("dng") => Some(CameraEvent::Ring),
            () if keys == BTreeSet::from(["_id", "t"]) => Some(CameraEvent::VideoReady),
            () if says("vdt") || is_just(["_id", "act", "s"]) || is_just(["_id", "deter_on_duty", "t"]) => {
                Some(CameraEvent::Motion)
            }
            () => None,
        }
    }

    /// Brings what is known of the device up to date. A ring and a visitor are moments and not kept, so that nothing
    /// can tell them again.
    pub fn merge_into(&self, device: &mut Object) {
        const MOMENTS: [&str; 2] = ["dng", "vdt"];
        for (key, value) in self.fields.iter().filter(|(key, _)| !MOMENTS.contains(&key.as_str())) {
            device.insert(key.clone(), value.clone());
        }
    }
}

/// As Vivint's own programs take a field for true: anything but nothing.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PANEL: i64 = 7_001_000_200_030_004;

    fn vectors() -> Value {
        let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/vivint/vivint.json")).unwrap();
        file["pubnub"].clone()
    }

    fn deltas(payload: &Value) -> Vec<Delta> {
        match Update::read(payload).unwrap() {
            Update { panel: PANEL, change: Change::Devices(deltas) } => deltas,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_vector_of_the_push_channel_is_understood() {
        for (name, vector) in vectors().as_object().unwrap() {
            // Each stands there twice: alone, and in the reply of a subscription.
            let reply = Reply::read(&vector["subscribe_reply"]).unwrap();
            assert_eq!(reply.cursor, Cursor { timetoken: 17_952_249_368_811_018, region: 4 }, "{name}");
            let [message] = &reply.messages[..] else { panic!("{name}: {reply:?}") };
            assert_eq!(message.payload, vector["message"], "{name}");
            assert_eq!(message.published, Some(Timetoken(17_952_249_368_811_018)), "{name}");
            understands(name, &message.payload, &vector["event"]);
        }
    }

    fn understands(name: &str, payload: &Value, event: &Value) {
        let camera = |wanted: Option<CameraEvent>| {
            let [delta] = &deltas(payload)[..] else { panic!("{name}") };
            assert_eq!(delta.camera_event(), wanted, "{name}");
            let word = wanted.map(|event| match event {
                CameraEvent::ThumbnailReady => "thumbnail_ready",
                CameraEvent::Ring => "doorbell_ding",
                CameraEvent::VideoReady => "video_ready",
                CameraEvent::Motion => "motion_detected",
            });
            assert_eq!(event.as_str(), word, "{name}");
        };
        let state = |device, wanted: Value| {
            let [delta] = &deltas(payload)[..] else { panic!("{name}") };
            let mut known = json!({"_id": device, "n": "kept"}).as_object().unwrap().clone();
            delta.merge_into(&mut known);
            assert_eq!((delta.device, &known["s"], &known["n"]), (device, &wanted, &json!("kept")), "{name}");
        };
        match name {
            "ring" | "ring_bool_variant" => camera(Some(CameraEvent::Ring)),
            "ring_cleared" | "wifi_only" => camera(None),
            "visitor" | "motion_state_only" | "motion_deter" => camera(Some(CameraEvent::Motion)),
            "thumbnail" => camera(Some(CameraEvent::ThumbnailReady)),
            "video_ready" => camera(Some(CameraEvent::VideoReady)),
            "lock" => state(40, json!(false)),
            "garage" => state(61, json!(4)),
            "panel" | "system" => assert_eq!(Update::read(payload).unwrap().change, Change::Panel, "{name}"),
            "deleted" => assert_eq!(Update::read(payload).unwrap().change, Change::Inventory),
            "no_panid" => assert_eq!(Update::read(payload), None),
            name => panic!("no test for the vector {name}"),
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let event = |fields: Value| Delta::read(&fields).unwrap().camera_event();
        assert_eq!(event(json!({"_id": 1, "ctd": "2026", "dng": 1, "vdt": 1})), Some(CameraEvent::ThumbnailReady));
        assert_eq!(event(json!({"_id": 1, "ctd": "", "dng": 1, "vdt": 1})), Some(CameraEvent::Ring));
        assert_eq!(event(json!({"_id": 1, "dng": false, "vdt": 1})), Some(CameraEvent::Motion));
        assert_eq!(event(json!({"_id": 1, "act": "x", "s": 0})), Some(CameraEvent::Motion));
        assert_eq!(event(json!({"_id": 1, "act": "x", "s": 0, "wiss": 7})), None);
        assert_eq!(event(json!({"_id": 1})), None);
    }

    #[test]
    fn a_ring_is_never_kept() {
        let mut device = Object::new();
        let delta = Delta::read(&json!({"_id": 27, "dng": 1, "vdt": true, "wiss": 71})).unwrap();
        delta.merge_into(&mut device);
        assert_eq!(Value::Object(device), json!({"_id": 27, "wiss": 71}));
    }

    #[test]
    fn messages_keep_their_order_and_one_that_is_none_harms_no_other() {
        let body = json!({"t": {"t": 5, "r": "2"}, "m": [
            {"d": 1}, 7, null, {"p": {"t": "x"}, "d": 2}, {"p": {"t": "30"}}, {"p": {"t": "30"}, "d": 3, "zz": []},
        ]});
        let reply = Reply::read(&body).unwrap();
        assert_eq!(reply.cursor, Cursor { timetoken: 5, region: 2 });
        let payloads: Vec<&Value> = reply.messages.iter().map(|message| &message.payload).collect();
        assert_eq!(payloads, [&json!(1), &json!(2), &json!(3)]);
        assert_eq!(reply.messages[2].published, Some(Timetoken(30)));
        for nonsense in [json!({}), json!([]), json!({"t": "5"}), json!({"t": {"r": 4}}), json!({"t": {"t": -1}})] {
            assert_eq!(Reply::read(&nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_timetoken_is_a_time() {
        assert_eq!(Timetoken(17_952_249_368_811_018).since_1970(), Duration::new(1_795_224_936, 881_101_800));
    }

    #[test]
    fn what_is_odd_in_an_update_is_left_out() {
        let change = |payload: Value| Update::read(&payload).map(|update| update.change);
        let odd = json!({"panid": "7", "t": "account_partition", "da": {"d": [1, {}, {"_id": "x"}, {"_id": 3}]}});
        assert!(matches!(change(odd), Some(Change::Devices(deltas)) if deltas.len() == 1 && deltas[0].device == 3));
        for data in [json!(null), json!([]), json!({"d": {}}), json!("d")] {
            assert_eq!(change(json!({"panid": 7, "t": "account_partition", "da": data})), Some(Change::Panel));
        }
        for payload in [json!(null), json!("x"), json!({"panid": null}), json!({"panid": 1.5})] {
            assert_eq!(Update::read(&payload), None);
        }
    }
}
