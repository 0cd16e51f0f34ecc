//! What a client of GWell's protocol asks of the cloud: a token, and to have a battery doorbell woken (gwell reference
//! §3.1, §4.6; Wyze cloud reference §7).

use serde_json::{Value, json};

use super::CloudEvent;
use super::account::USER_ID;
use super::call::Call;
use super::reply::Refusal;
use super::settings::GwellUser;
use super::world::World;
use crate::proto::wyze::{self, App};

/// The longest that anybody has been seen to ask for: a week. That more is refused is made up.
const LONGEST_MINUTES: u64 = 10_080;

/// `POST /plugin/mars/v2/regist_gw_user/<id>`
pub(super) fn register_user(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    signed(world, call)?;
    let minutes = call.number("ttl_minutes").unwrap_or_default();
    if !(1..=LONGEST_MINUTES).contains(&minutes) || call.text("unique_id").is_empty() {
        return Err(Refusal::PARAMETER);
    }
    let mac = call.path.rsplit('/').next().unwrap_or("");
    let device = world.devices.iter().find(|device| device.mac == mac).ok_or(Refusal::NOT_GWELL)?.mac.clone();
    let GwellUser { access_id, access_token, expire } = (world.settings.gwell)(&device).ok_or(Refusal::NOT_GWELL)?;
    world.tell(CloudEvent::GwellToken { device });
    let mut user = json!({"accessId": access_id, "accessToken": access_token.expose()});
    if let Some(expire) = expire {
        user["expireTime"] = expire.into();
    }
    Ok(user)
}

/// `POST /device-management/api/action/run_action_batch`. Of all actions it knows the one that wakes.
pub(super) fn run_actions(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    signed(world, call)?;
    if call.header("authorization") != call.header("access_token") {
        return Err(Refusal::Unauthorized);
    }
    let targets = call.json["targetDevices"].as_array().ok_or(Refusal::PARAMETER)?;
    for target in targets {
        let device = target_of(world, call, target).ok_or(Refusal::PARAMETER)?;
        if !wakes(&target["capabilities"]) {
            return Err(Refusal::PARAMETER);
        }
        world.tell(CloudEvent::Woken { device });
    }
    Ok(json!({}))
}

/// A good signature, and a request id that belongs to the nonce.
fn signed(world: &World, call: &Call) -> Result<(), Refusal> {
    call.signed(world, App::Olive)?;
    let nonce = call.text("nonce");
    let complete = !nonce.is_empty() && call.header("requestid") == wyze::mars_request_id(nonce);
    if complete { Ok(()) } else { Err(Refusal::PARAMETER) }
}

fn target_of(world: &World, call: &Call, target: &Value) -> Option<String> {
    let info = &target["targetInfo"];
    let is_owner = call.text("userId") == USER_ID && target["userId"] == USER_ID && info["type"] == "DEVICE";
    let found = world.devices.iter().find(|device| info["id"] == device.mac.as_str())?;
    (is_owner && info["productModel"] == found.model.as_str()).then(|| found.mac.clone())
}

fn wakes(capabilities: &Value) -> bool {
    let capability = &capabilities[0];
    let function = &capability["functions"][0];
    capability["name"] == "iot-device" && function["name"] == "wakeup" && function["in"]["wakeup-live-view"] == 1
}
