//! The REST API: the account, its system, and what its devices are told to do (§3).

use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use super::call::Call;
use super::devices::HOUSE;
use super::reply::{Refusal, Reply};
use super::settings::Settings;
use super::tokens::Purpose;
use super::world::{Due, World};
use super::{Event, Fault, images};

/// Everything below `/api/`.
pub(super) fn answer(world: &mut World, call: &Call, path: &str) -> Result<Reply, Refusal> {
    world.tokens.check(Purpose::Access, call.bearer()).map_err(|_| Refusal::unauthorized())?;
    if world.has(Fault::CodeDemanded) {
        let why = "Multi-factor authentication required";
        return Err(Refusal::new(StatusCode::FORBIDDEN, &json!({"msg": why}), why));
    }
    let (panel, partition) = (world.settings.panel.to_string(), Settings::PARTITION.to_string());
    let segments: Vec<&str> = path.split('/').collect();
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["authuser"]) => Ok(Reply::json(&account(world))),
        ("GET", ["systems", own]) if *own == panel => Ok(Reply::json(&list(world))),
        ("GET", ["system", own, "device", id]) if *own == panel => one(world, id),
        ("GET", ["panel-login", own]) if *own == panel => Ok(Reply::json(&panel_login(world))),
        ("PUT", [own, part, "locks", id]) if *own == panel && *part == partition => lock(world, call, id),
        ("PUT", [own, part, "door", id]) if *own == panel && *part == partition => door(world, call, id),
        ("GET", [own, part, id, "request-camera-thumbnail"]) if *own == panel && *part == partition => {
            request_thumbnail(world, id)
        }
        ("GET", [own, part, id, "camera-thumbnail"]) if *own == panel && *part == partition => {
            thumbnail(world, call, id)
        }
        _ => Err(Refusal::not_found()),
    }
}

fn account(world: &World) -> Value {
    let settings = &world.settings;
    let partition = json!({"parid": Settings::PARTITION, "panid": settings.panel});
    let mut user = json!({
        "_id": settings.uid, "n": "Virtual User", "e": settings.username.expose(), "mbc": settings.message_channel,
        "pngid": "p0", "ad": true, "grpid": [], "stg": {},
        "system": [{"panid": settings.panel, "sn": HOUSE, "ad": true, "par": [partition]}],
    });
    if world.has(Fault::NoMessageChannel) {
        user.as_object_mut().and_then(|user| user.remove("mbc"));
    }
    let user = if world.has(Fault::UserList) { json!([user]) } else { user };
    json!({"u": user, "is_read_only": false, "rs": "", "keep_signed_in": true})
}

fn list(world: &mut World) -> Value {
    let mut system = world.system.clone();
    let devices = system["system"]["par"][0]["d"].as_array_mut();
    world.tell(Event::List { devices: devices.as_ref().map_or(0, |devices| devices.len()) });
    match (world.trouble.as_ref().map(|trouble| trouble.fault), devices) {
        (Some(Fault::MissingFields), Some(devices)) => devices.iter_mut().for_each(strip),
        (Some(Fault::BrokenDevice), Some(devices)) => break_between(devices),
        (Some(Fault::WrongTypes), Some(devices)) => devices.iter_mut().for_each(confuse),
        _ => {}
    }
    system
}

fn strip(device: &mut Value) {
    if let Some(fields) = device.as_object_mut() {
        fields.retain(|name, _| matches!(name.as_str(), "_id" | "t"));
    }
}

fn break_between(devices: &mut Vec<Value>) {
    devices.insert(devices.len() / 2, json!({"_id": "twelve", "t": ["camera_device"], "n": null, "caca": "none"}));
    devices.insert(0, Value::Null);
    devices.push(json!("camera_device"));
    devices.push(json!({}));
}

/// Texts become numbers, numbers texts, and so on all the way down; the id stays, so that the rest is looked at.
fn confuse(device: &mut Value) {
    let fields = device.as_object_mut().into_iter().flatten();
    fields.filter(|(name, _)| !matches!(name.as_str(), "_id" | "t")).for_each(|(_, value)| swap(value));
}

fn swap(value: &mut Value) {
    match value {
        Value::String(_) => *value = json!(7),
        Value::Number(_) => *value = json!("seven"),
        Value::Bool(_) => *value = json!([]),
        Value::Array(items) => items.iter_mut().for_each(swap),
        Value::Object(fields) => fields.values_mut().for_each(swap),
        Value::Null => {}
    }
}

/// Shaped like the list, with one device in it.
fn one(world: &World, id: &str) -> Result<Reply, Refusal> {
    let device = device(world, id, None)?;
    let mut system = world.system.clone();
    system["system"]["par"][0]["d"] = json!([world.record(device)]);
    Ok(Reply::json(&system))
}

fn panel_login(world: &mut World) -> Value {
    world.tell(Event::PanelLogin);
    let login = &world.settings.panel_login;
    json!({"n": login.user, "pswd": login.password.expose()})
}

/// The device of this id, if it is of this type.
fn device(world: &World, id: &str, kind: Option<&str>) -> Result<i64, Refusal> {
    let id = id.parse().map_err(|_| Refusal::not_found())?;
    let record = world.record(id).ok_or_else(Refusal::not_found)?;
    if kind.is_none_or(|kind| record["t"] == kind) { Ok(id) } else { Err(Refusal::not_found()) }
}

fn invalid(why: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, &json!({"msg": "Invalid request"}), why)
}

/// `{"s": true, "_id": 40}`. The reply carries no state: that is pushed when the bolt has arrived.
fn lock(world: &mut World, call: &Call, id: &str) -> Result<Reply, Refusal> {
    let device = commanded(world, call, id, "door_lock_device")?;
    let locked = call.json["s"].as_bool().ok_or_else(|| invalid("`s` is no truth value"))?;
    world.tell(if locked { Event::Locking { device } } else { Event::Unlocking { device } });
    if !world.has(Fault::Jammed) {
        world.later(world.settings.travel, Due::Bolt { device, locked });
    }
    Ok(Reply::json(&json!({})))
}

/// `{"s": 4, "_id": 61}` opens and 2 closes.
fn door(world: &mut World, call: &Call, id: &str) -> Result<Reply, Refusal> {
    let device = commanded(world, call, id, "garage_door_device")?;
    let open = match call.json["s"].as_i64() {
        Some(4) => true,
        Some(2) => false,
        _ => return Err(invalid("`s` is neither 4 nor 2")),
    };
    world.tell(if open { Event::DoorOpening { device } } else { Event::DoorClosing { device } });
    if !world.has(Fault::Jammed) {
        world.update(device, json!({"_id": device, "s": if open { 4 } else { 2 }, "t": "garage_door_device"}));
        world.later(world.settings.travel, Due::Door { device, open });
    }
    Ok(Reply::json(&json!({})))
}

fn commanded(world: &World, call: &Call, id: &str, kind: &str) -> Result<i64, Refusal> {
    let device = device(world, id, Some(kind))?;
    if !call.header(header::CONTENT_TYPE).starts_with("application/json") {
        return Err(invalid("the content type is not JSON"));
    }
    if call.json["_id"] != device {
        return Err(invalid("`_id` is not the device of the path"));
    }
    Ok(device)
}

fn request_thumbnail(world: &mut World, id: &str) -> Result<Reply, Refusal> {
    let device = device(world, id, Some("camera_device"))?;
    world.tell(Event::ThumbnailAsked { device });
    world.later(world.settings.exposure, Due::Picture { device });
    Ok(Reply::json(&json!({})))
}

fn thumbnail(world: &mut World, call: &Call, id: &str) -> Result<Reply, Refusal> {
    let device = device(world, id, Some("camera_device"))?;
    let time: u64 = call.query("time").parse().map_err(|_| invalid("`time` is no number of milliseconds"))?;
    Ok(Reply::redirect(images::address(world, device, time)))
}
