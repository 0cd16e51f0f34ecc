//! For go2rtc: calls to Wyze's WebRTC doorbells, arranged in the words of its `#format=wyze` sources
//! (wyze-cloud reference §7; go2rtc, `internal/webrtc/kinesis.go` and `UnmarshalICEServers`).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use super::api::{find, refused};
use super::{ApiError, House};
use crate::doorbell::ActionError;
use crate::model::DeviceId;
use crate::rtc::kvs_call::{IceServer, Signalling};

/// Somewhat less than go2rtc waits, so that it is told the reason.
const ARRANGED_WITHIN: Duration = Duration::from_millis(4_500);

/// Holds the keys to one call: whoever has it may make that call.
#[derive(Serialize)]
pub(super) struct Call {
    #[serde(rename = "ClientId")]
    client_id: String,
    cam: DeviceId,
    result: &'static str,
    servers: Vec<Server>,
    #[serde(rename = "signalingUrl")]
    signaling_url: String,
}

#[derive(Serialize)]
struct Server {
    urls: Vec<String>,
    username: String,
    credential: String,
}

impl Call {
    fn new(cam: DeviceId, signalling: Signalling) -> Self {
        let Signalling { url, client_id, ice_servers, authority: _ } = signalling;
        let servers = ice_servers.into_iter().map(Server::from).collect();
        Self { client_id, cam, result: "ok", servers, signaling_url: url.expose().to_owned() }
    }
}

impl From<IceServer> for Server {
    fn from(server: IceServer) -> Self {
        let credential = server.credential.expose().to_owned();
        Self { urls: server.urls, username: server.username, credential }
    }
}

/// go2rtc looks at `result` alone, and logs it.
pub(super) struct Refusal(ApiError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let sentence = self.0.to_string();
        (self.0.status(), Json(json!({ "error": sentence, "result": sentence }))).into_response()
    }
}

pub(super) async fn call(State(house): State<Arc<House>>, Path(id): Path<String>) -> Result<Json<Call>, Refusal> {
    let doorbell = find(&house, &id).map_err(Refusal)?;
    let arranged = timeout(ARRANGED_WITHIN, doorbell.arrange_call()).await.unwrap_or(Err(ActionError::Timeout));
    let signalling = arranged.map_err(|why| Refusal(refused(&doorbell, why)))?;
    Ok(Json(Call::new(doorbell.info().id.clone(), signalling)))
}
