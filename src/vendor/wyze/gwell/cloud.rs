//! What GWell's cameras need of Wyze's cloud: a token for the P2P servers, and to be woken.

use serde_json::json;

use super::super::cloud::{App, Cloud, CloudError, Host};
use super::life::Camera;
use super::token::UserToken;
use crate::clock::unix_seconds;

/// Registers this installation as a user of one camera (gwell reference §3.1; wyze-cloud reference §7).
///
/// # Errors
/// `NotGwell` when the camera is none of GWell's.
pub(super) async fn register(cloud: &Cloud, camera: &str) -> Result<UserToken, CloudError> {
    let path = format!("/plugin/mars/v2/regist_gw_user/{camera}");
    let body = json!({ "ttl_minutes": UserToken::LIFE.as_secs() / 60, "unique_id": cloud.phone_id() });
    let data = cloud.signed(App::Olive, Host::Mars, &path, body).await?;
    UserToken::read(&data, unix_seconds()).ok_or_else(|| CloudError::Misunderstood("no token of GWell".to_owned()))
}

/// Has a sleeping camera woken for somebody who wants to see its picture, which may take it tens of seconds (gwell
/// reference §4.6).
pub(super) async fn wake(cloud: &Cloud, camera: &Camera) -> Result<(), CloudError> {
    const PATH: &str = "/device-management/api/action/run_action_batch";
    let owner = cloud.user_id();
    let function = json!({ "name": "wakeup", "separator": "::", "in": { "wakeup-live-view": 1 } });
    let target = json!({
        "capabilities": [{ "iid": "", "name": "iot-device", "functions": [function] }],
        "targetInfo": { "id": camera.name, "productModel": camera.model, "type": "DEVICE" },
        "userId": owner,
    });
    let body = json!({ "targetDevices": [target], "userId": owner });
    cloud.signed(App::Olive, Host::DeviceManagement, PATH, body).await.map(drop)
}
