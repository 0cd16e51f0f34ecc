//! Where a device's pictures are signalled (§7).

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::CloudEvent;
use super::call::Call;
use super::device::Device;
use super::reply::Refusal;
use super::settings::{IceServer, Stream};
use super::world::World;
use crate::proto::wyze::App;

/// These get their address encoded twice.
const ENCODED_TWICE: [&str; 1] = ["LD_CFP"];

/// `POST /app/v4/camera/get-streams`, as the web page asks.
pub(super) fn for_web(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    get_streams(world, call, App::Web)
}

/// `POST /app/v4/camera/get_streams`, as the bridges ask.
pub(super) fn for_app(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    get_streams(world, call, App::Olive)
}

fn get_streams(world: &mut World, call: &Call, app: App) -> Result<Value, Refusal> {
    call.signed(world, app)?;
    // The token stands here once more, without `Bearer`.
    if call.header("authorization") != call.header("access_token") {
        return Err(Refusal::Unauthorized);
    }
    if call.text("nonce").is_empty() {
        return Err(Refusal::PARAMETER);
    }
    let asked = call.json["device_list"].as_array().ok_or(Refusal::PARAMETER)?;
    asked.iter().map(|asked| one_stream(world, asked)).collect()
}

fn one_stream(world: &mut World, asked: &Value) -> Result<Value, Refusal> {
    if asked["provider"] != "webrtc" {
        return Err(Refusal::PARAMETER);
    }
    let is_it =
        |device: &&Device| asked["device_id"] == device.mac.as_str() && asked["device_model"] == device.model.as_str();
    let device = world.devices.iter().find(is_it).cloned().ok_or(Refusal::PARAMETER)?;
    // What Wyze says of a device without this kind of stream is not known.
    let stream = (world.settings.streams)(&device.mac).ok_or(Refusal::PARAMETER)?;
    world.tell(CloudEvent::Streams { device: device.mac.clone() });
    let (state, power) = (u8::from(device.online), u8::from(device.powered));
    let property = json!({"iot-device::iot-state": state, "iot-device::iot-power": power});
    let params = match device.online && device.powered {
        true => params(&device.model, &stream),
        false => json!({}),
    };
    Ok(json!({"device_id": device.mac, "property": property, "params": params}))
}

fn params(model: &str, stream: &Stream) -> Value {
    let url = match ENCODED_TWICE.contains(&model) {
        true => stream.signaling_url.replace('%', "%25"),
        false => stream.signaling_url.clone(),
    };
    json!({"signaling_url": url, "ice_servers": ice_servers(&stream.ice_servers), "auth_token": ""})
}

fn ice_servers(servers: &[IceServer]) -> Vec<Value> {
    let row =
        |server: &IceServer| json!({"url": server.url, "username": server.username, "credential": server.credential});
    servers.iter().map(row).collect()
}

/// `GET /signaling/device/<id>?use_trickle=true`: the look-up of the generation before, its address encoded as a
/// whole.
pub(super) fn signaling(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let token = call.header("authorization").strip_prefix("Bearer ").ok_or(Refusal::Unauthorized)?;
    world.check_token(token)?;
    let mac = call.path.rsplit('/').next().unwrap_or("");
    let device = world.devices.iter().find(|device| device.mac == mac).ok_or(Refusal::NotFound)?.mac.clone();
    let stream = (world.settings.streams)(&device).ok_or(Refusal::NotFound)?;
    world.tell(CloudEvent::Streams { device });
    let url = utf8_percent_encode(&stream.signaling_url, NON_ALPHANUMERIC).to_string();
    Ok(json!({"code": 1, "msg": "SUCCESS", "results": {
        "signalingUrl": url,
        "servers": ice_servers(&stream.ice_servers),
    }}))
}
