//! Locks: the bolt itself, and the two interfaces that work it (§8).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::call::Call;
use super::device::Device;
use super::reply::Refusal;
use super::world::World;
use super::{CloudEvent, Fault};
use crate::clock::{self, Instant};
use crate::proto::wyze::{self, App};
use crate::sim::made_up::random_hex;

/// How wrong the clock of a request to the lock interface may be. That one of a day is too wrong is known, the
/// limit is a guess.
const SKEW: Duration = Duration::from_secs(300);
/// What the diary of a lock holds at most; the oldest entries are forgotten.
const DIARY: usize = 500;

const UNLOCKED: u32 = 2_203;
const LOCKED: u32 = 2_216;
const JAMMED: u32 = 2_221;
/// Source of a diary's entry: not at the door.
const REMOTE: u8 = 9;

#[derive(Default)]
pub(super) struct Lock {
    unlocked: bool,
    moving: Option<Moving>,
    /// Newest first.
    diary: VecDeque<Entry>,
}

#[derive(Clone, Copy)]
struct Moving {
    to_unlocked: bool,
    until: Instant,
}

struct Entry {
    what: u32,
    at_ms: u64,
}

impl Lock {
    pub(super) fn is_unlocked(&self) -> bool {
        self.unlocked
    }
}

impl World {
    /// Starts the bolt. Where it was on its way, it turns to where it is wanted now.
    fn work_lock(&mut self, mac: &str, unlock: bool) {
        let until = clock::now() + self.settings.lock_travel;
        self.lock(mac).moving = Some(Moving { to_unlocked: unlock, until });
        let device = mac.to_owned();
        self.tell(if unlock { CloudEvent::Unlocking { device } } else { CloudEvent::Locking { device } });
        self.settle_locks();
    }

    fn lock(&mut self, mac: &str) -> &mut Lock {
        self.locks.entry(mac.to_owned()).or_default()
    }

    /// When the next bolt arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.locks.values().filter_map(|lock| lock.moving).map(|moving| moving.until).min()
    }

    /// Lets the bolts arrive whose time has come.
    pub(super) fn settle_locks(&mut self) {
        let is_due = |lock: &Lock| lock.moving.is_some_and(|moving| moving.until <= clock::now());
        let due: Vec<String> = self.locks.iter().filter(|(_, lock)| is_due(lock)).map(|(mac, _)| mac.clone()).collect();
        for device in due {
            let jammed = self.has(Fault::Jammed);
            let at_ms = self.now_ms();
            let lock = self.lock(&device);
            let Some(moving) = lock.moving.take() else { continue };
            let (what, event) = match (jammed, moving.to_unlocked) {
                (true, _) => (JAMMED, CloudEvent::Jammed { device }),
                (false, true) => (UNLOCKED, CloudEvent::Unlocked { device }),
                (false, false) => (LOCKED, CloudEvent::Locked { device }),
            };
            if !jammed {
                lock.unlocked = moving.to_unlocked;
            }
            lock.diary.truncate(DIARY - 1);
            lock.diary.push_front(Entry { what, at_ms });
            self.tell(event);
        }
    }

    fn ford_lock(&self, uuid: &str) -> Result<Device, Refusal> {
        let found = self.devices.iter().find(|device| device.uuid() == uuid && device.is_ford_lock());
        found.cloned().ok_or(Refusal::PARAMETER)
    }
}

/// The fields of a request to the lock interface whose signature, clock and token are good.
fn ford_fields(world: &World, call: &Call) -> Result<BTreeMap<String, String>, Refusal> {
    let mut fields = match call.json.as_object() {
        Some(body) => body
            .iter()
            .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect::<Option<BTreeMap<_, _>>>()
            .ok_or(Refusal::FORD_SIGN)?,
        None => call.query.clone(),
    };
    let sign = fields.remove("sign").unwrap_or_default();
    let signed = fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let method = call.method.as_str().to_lowercase();
    let key_fits = fields.get("key").is_some_and(|key| key == wyze::FORD_KEY);
    if !key_fits || sign != wyze::ford_sign(&method, &call.path, &signed) {
        return Err(Refusal::FORD_SIGN);
    }
    let told_ms: u64 = fields.get("timestamp").and_then(|text| text.parse().ok()).unwrap_or(0);
    if u128::from(told_ms.abs_diff(world.now_ms())) > SKEW.as_millis() {
        return Err(Refusal::FORD_TIMESTAMP);
    }
    let token = fields.get("access_token").or_else(|| fields.get("accessToken"));
    world.check_token(token.map_or("", String::as_str))?;
    Ok(fields)
}

fn field<'a>(fields: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

/// `POST /openapi/lock/v1/control`. A lock that only speaks Bluetooth is refused.
pub(super) fn ford_control(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let fields = ford_fields(world, call)?;
    let unlock = match field(&fields, "action") {
        "remoteUnlock" => true,
        "remoteLock" => false,
        _ => return Err(Refusal::PARAMETER),
    };
    let device = world.ford_lock(field(&fields, "uuid"))?;
    if !device.online {
        return Err(Refusal::DEVICE_OFFLINE);
    }
    world.work_lock(&device.mac, unlock);
    Ok(json!({}))
}

/// `GET /openapi/lock/v1/info`. No client knows a number of `hardlock` for a bolt on its way: until it arrives, the
/// side that it left is told.
pub(super) fn ford_info(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let fields = ford_fields(world, call)?;
    let device = world.ford_lock(field(&fields, "uuid"))?;
    let unlocked = world.lock(&device.mac).unlocked;
    let hardlock = if unlocked { 2 } else { 1 };
    Ok(json!({"device": {
        "uuid": device.uuid(),
        "parent": device.parent.as_ref().and_then(|gateway| gateway.mac.rsplit('.').next()),
        "onoff_line": u8::from(device.online),
        "door_open_status": 0,
        "trash_mode": 2,
        "power": 87,
        "locker_status": {"hardlock": hardlock, "door": 2},
    }}))
}

/// `GET /openapi/v1/safety/family_record`: the diary, newest first.
pub(super) fn ford_diary(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let (fields, uuid, entries) = diary(world, call)?;
    let number = |name, usual: usize| field(&fields, name).parse().unwrap_or(usual);
    let shown = entries.into_iter().skip(number("offset", 0)).take(number("limit", 20));
    let rows: Vec<Value> = shown
        .map(|(what, at_ms)| {
            let detail = json!({"id": 1, "source": REMOTE, "source_name": "App", "time": at_ms});
            json!({"eventid": what, "uuid": uuid, "time": at_ms, "master": "", "priority": 0, "processed": 0,
                   "detail": detail})
        })
        .collect();
    Ok(json!({"family_record": rows}))
}

/// `GET /openapi/v1/safety/count`, as wyze-sdk asks.
pub(super) fn ford_diary_length(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    Ok(json!({"cnt": diary(world, call)?.2.len()}))
}

type Diary = (BTreeMap<String, String>, String, Vec<(u32, u64)>);

fn diary(world: &mut World, call: &Call) -> Result<Diary, Refusal> {
    let fields = ford_fields(world, call)?;
    let device = world.ford_lock(field(&fields, "uuid"))?;
    let begin: i64 = field(&fields, "begin").parse().map_err(|_| Refusal::PARAMETER)?;
    let end: i64 = field(&fields, "end").parse().unwrap_or(i64::MAX);
    let within = |entry: &&Entry| (begin..=end).contains(&i64::try_from(entry.at_ms).unwrap_or(i64::MAX));
    let entries = world.lock(&device.mac).diary.iter().filter(within).map(|entry| (entry.what, entry.at_ms)).collect();
    Ok((fields, device.uuid().to_owned(), entries))
}

/// `GET /openapi/v1/device`: locks and gateways once more, as the lock interface knows them.
pub(super) fn ford_devices(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    ford_fields(world, call)?;
    let devices = world.devices.iter().filter(|device| device.is_ford_lock() || device.model == "YD.GW1");
    let rows: Vec<Value> = devices
        .map(|device| {
            let model = if device.is_ford_lock() { "XNLL901" } else { "DC-CW01" };
            json!({"uuid": device.uuid(), "model": model, "nickname": device.nickname, "mac": device.mac})
        })
        .collect();
    Ok(json!({"devices": rows}))
}

/// `GET /openapi/v1/crypt_secret`, with which Wyze's app enciphers key-pad codes.
pub(super) fn ford_secret(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    ford_fields(world, call)?;
    Ok(json!({"secret": random_hex(64)}))
}

/// `POST /app/v4/iot3/run-action`. It says yes once the command is on its way, not once the bolt has moved.
pub(super) fn iot3_action(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let device = iot3_lock(world, call)?;
    let payload = &call.json["payload"];
    let unlock = match payload["action"].as_str() {
        Some("lock::unlock") => true,
        Some("lock::lock") => false,
        _ => return Err(Refusal::PARAMETER),
    };
    let params = &payload["params"];
    let complete = payload["cmd"] == "run_action" && params["action_id"].is_u64() && params["username"].is_string();
    if !complete {
        return Err(Refusal::PARAMETER);
    }
    if !device.online {
        return Err(Refusal::DEVICE_OFFLINE);
    }
    world.work_lock(&device.mac, unlock);
    Ok(json!({}))
}

/// `POST /app/v4/iot3/get-property`: the properties that were asked for, as far as there are such.
pub(super) fn iot3_properties(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let device = iot3_lock(world, call)?;
    let unlocked = world.lock(&device.mac).unlocked;
    let property = |name: &str| match name {
        "lock::lock-status" => Some(json!(!unlocked)),
        // True says that it is shut.
        "lock::door-status" => Some(json!(true)),
        "iot-device::iot-state" => Some(json!(device.online)),
        "battery::battery-level" => Some(json!(87)),
        "battery::power-source" => Some(json!(1)),
        "device-info::firmware-ver" => Some(json!(device.firmware)),
        _ => None,
    };
    let asked = call.json["payload"]["props"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let told: serde_json::Map<_, _> = asked.filter_map(|name| Some((name.to_owned(), property(name)?))).collect();
    Ok(json!({"props": told}))
}

fn iot3_lock(world: &World, call: &Call) -> Result<Device, Refusal> {
    call.signed(world, App::Olive)?;
    let target = &call.json["targetInfo"];
    let is_it = |device: &&Device| target["id"] == device.mac.as_str() && target["model"] == device.model.as_str();
    let found = world.devices.iter().find(is_it).filter(|device| device.is_iot3_lock());
    found.cloned().ok_or(Refusal::PARAMETER)
}
