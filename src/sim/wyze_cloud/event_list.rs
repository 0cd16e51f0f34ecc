//! What happened at the devices, as both generations of the event list tell it (§4).

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use super::CloudEvent;
use super::call::Call;
use super::device::Device;
use super::reply::Refusal;
use super::world::World;
use crate::clock::{self, Instant};
use crate::proto::wyze::App;
use crate::sim::made_up::random_hex;

/// The oldest are forgotten.
const REMEMBERED: usize = 1_000;
/// How late an event is listed under [`super::Fault::LateEvents`].
const LATE: Duration = Duration::from_secs(20);

/// The value that says that the button was pressed.
pub(super) const RANG: u32 = 10;
const MOVED: u32 = 13;

/// Something for the cloud to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scripted {
    /// By its id; the account's first doorbell when it is not named.
    pub device: Option<String>,
    /// 10 rang, 13 moved, 2 made a sound; the list knows more.
    pub value: u32,
    /// 101 person, 102 vehicle, 103 pet, 104 package.
    pub tags: Vec<u32>,
    /// How long ago it happened.
    pub ago: Duration,
}

impl Scripted {
    /// The button of the first doorbell, now.
    pub fn ring() -> Self {
        Self { device: None, value: RANG, tags: Vec::new(), ago: Duration::ZERO }
    }

    /// Something moved before the first doorbell, now.
    pub fn motion(tags: &[u32]) -> Self {
        Self { value: MOVED, tags: tags.to_vec(), ..Self::ring() }
    }

    /// The same at the device with this id.
    pub fn at(self, device: &str) -> Self {
        Self { device: Some(device.to_owned()), ..self }
    }
}

#[derive(Default)]
pub(super) struct EventLog(VecDeque<Happening>);

#[derive(Clone)]
struct Happening {
    id: String,
    mac: String,
    model: String,
    value: u32,
    tags: Vec<u32>,
    at_ms: u64,
    listed_from: Instant,
    files_from: Instant,
}

impl EventLog {
    /// Its id, by which clients tell it from others.
    pub(super) fn add(
        &mut self,
        what: &Scripted,
        device: &Device,
        now_ms: u64,
        late: bool,
        upload: Duration,
    ) -> String {
        let listed_from = clock::now() + if late { LATE } else { Duration::ZERO };
        let id = random_hex(32);
        self.0.truncate(REMEMBERED - 1);
        self.0.push_front(Happening {
            id: id.clone(),
            mac: device.mac.clone(),
            model: device.model.clone(),
            value: what.value,
            tags: what.tags.clone(),
            at_ms: now_ms.saturating_sub(what.ago.as_millis() as u64),
            listed_from,
            files_from: listed_from + upload,
        });
        id
    }
}

/// Where the files of events are, which whoever has the address may fetch. The path is made up.
const FILES: &str = "/event-files/";
/// The porch at dusk, on which every virtual camera looks.
const PICTURE: &[u8] = include_bytes!("../assets/porch.jpg");

/// `GET /event-files/{event}.jpg`. There are no films.
pub(super) fn picture(world: &World, path: &str) -> Option<&'static [u8]> {
    let event = path.strip_prefix(FILES)?.strip_suffix(".jpg")?;
    world.log.0.iter().any(|known| known.id == event && known.has_files()).then_some(PICTURE)
}

/// `POST /app/v2/device/get_event_list`, with the common body.
pub(super) fn version_2(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    call.common(world)?;
    let mut devices = call.list("device_mac_list");
    devices.extend(Some(call.text("device_mac").to_owned()).filter(|mac| !mac.is_empty()));
    list(world, call, &devices, 2)
}

/// `POST /app/v4/device/get_event_list`, signed.
pub(super) fn version_4(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    call.signed(world, App::Olive)?;
    if call.text("nonce").is_empty() {
        return Err(Refusal::PARAMETER);
    }
    list(world, call, &call.list("device_id_list"), 4)
}

fn list(world: &mut World, call: &Call, devices: &[String], version: u8) -> Result<Value, Refusal> {
    let (begin, end) = (call.number("begin_time"), call.number("end_time"));
    let (count, order) = (call.number("count"), call.number("order_by"));
    let (Some(begin), Some(end), Some(count @ 1..=20), Some(order @ 1..=2)) = (begin, end, count, order) else {
        return Err(Refusal::PARAMETER);
    };
    let (values, tags) = (call.list("event_value_list"), call.list("event_tag_list"));
    let wanted = |event: &&Happening| {
        let any = |wanted: &[String], own: &[String]| wanted.is_empty() || own.iter().any(|own| wanted.contains(own));
        let own_tags: Vec<String> = event.tags.iter().map(u32::to_string).collect();
        clock::now() >= event.listed_from
            && (begin..=end).contains(&event.at_ms)
            && any(devices, std::slice::from_ref(&event.mac))
            && any(&values, &[event.value.to_string()])
            && any(&tags, &own_tags)
    };
    let mut found: Vec<&Happening> = world.log.0.iter().filter(wanted).collect();
    // Newest first, unless asked for the other way round.
    found.sort_by_key(|event| std::cmp::Reverse(event.at_ms));
    if order == 1 {
        found.reverse();
    }
    found.truncate(count as usize);
    let rows: Vec<Value> = found.iter().map(|event| event.row(version, call.header("host"))).collect();
    world.tell(CloudEvent::Events { version, listed: rows.len() });
    Ok(json!({"event_list": rows}))
}

impl Happening {
    /// `host` is where the cloud was asked.
    fn row(&self, version: u8, host: &str) -> Value {
        let files = if self.has_files() { vec![self.file(1, host), self.file(2, host)] } else { Vec::new() };
        let mut row = json!({
            "event_id": self.id,
            "device_model": self.model,
            "event_category": 1,
            "event_value": self.value.to_string(),
            "event_ts": self.at_ms,
            "event_ack_result": 0,
            "file_list": files,
            "tag_list": self.tags,
            "event_params": {},
            "recognized_instance_list": [],
            "read_state": 0,
        });
        row[if version == 2 { "device_mac" } else { "device_id" }] = Value::from(self.mac.as_str());
        row
    }

    fn has_files(&self) -> bool {
        clock::now() >= self.files_from
    }

    /// 1 a picture, 2 a film.
    fn file(&self, kind: u8, host: &str) -> Value {
        let name = format!("{}.{}", self.id, if kind == 1 { "jpg" } else { "mp4" });
        json!({
            "file_id": name,
            "type": kind,
            "url": format!("http://{host}{FILES}{name}"),
            "status": 1,
            "en_algorithm": 0,
            "en_password": "",
            "is_ai": 0,
            "ai_tag_list": [],
            "ai_url": "",
            "file_params": {},
        })
    }
}
