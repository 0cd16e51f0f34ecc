//! Every host of the cloud on one listener, and what a fault does to an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::any;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::fault::Fault;
use super::reply::{Refusal, Reply};
use super::world::Cloud;
use super::{Event, database, pubnub};
use crate::sim::listener::{self, Hangup};

const LARGEST_REQUEST: usize = 1_024 * 1_024;
const STALL: Duration = Duration::from_secs(30);
const SUBSCRIBE: &str = "/v2/subscribe/";

/// Serves until `stop`, and cuts every client off then.
pub(super) async fn serve(listener: TcpListener, cloud: Arc<Cloud>, stop: CancellationToken) {
    let online = cloud.online.subscribe();
    let router =
        Router::new().route("/.ws", any(connect)).fallback(answer).layer(Extension(stop.clone())).with_state(cloud);
    listener::serve(listener, router, online, stop).await;
}

/// The database, which is spoken to over a WebSocket and in no other way.
async fn connect(
    State(cloud): State<Arc<Cloud>>,
    Extension(stop): Extension<CancellationToken>,
    Extension(hangup): Extension<Hangup>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response<Body> {
    let call = Call::new(axum::http::Method::GET, &uri, headers, &axum::body::Bytes::new());
    if let Err(refusal) = meet(&cloud, &call, &hangup).await {
        return refused(&cloud, &call, refusal).response();
    }
    match upgrade {
        Ok(upgrade) => database::upgrade(cloud, &call, upgrade, stop),
        Err(rejection) => rejection.into_response(),
    }
}

async fn answer(
    State(cloud): State<Arc<Cloud>>,
    Extension(hangup): Extension<Hangup>,
    request: Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_REQUEST).await else {
        return Reply::html(StatusCode::PAYLOAD_TOO_LARGE, "").response();
    };
    let call = Call::new(head.method, &head.uri, head.headers, &body);
    let outcome = match meet(&cloud, &call, &hangup).await {
        Ok(()) => carry_out(&cloud, &call).await,
        Err(refusal) => Err(refusal),
    };
    let reply = outcome.unwrap_or_else(|refusal| refused(&cloud, &call, refusal));
    let fault = cloud.world().fault_at(&call.path);
    garble(fault, reply).response()
}

/// What a fault does before anything is carried out.
async fn meet(cloud: &Cloud, call: &Call, hangup: &Hangup) -> Result<(), Refusal> {
    let fault = {
        let mut world = cloud.world();
        world.count(&call.path);
        world.fault_at(&call.path)
    };
    match fault {
        Some(Fault::Reset) => {
            hangup.now();
            std::future::pending().await
        }
        Some(Fault::Stall) => tokio::time::sleep(STALL).await,
        _ => {}
    }
    fault.and_then(instead).map_or(Ok(()), Err)
}

fn refused(cloud: &Cloud, call: &Call, refusal: Refusal) -> Reply {
    cloud.world().tell(Event::Refused { path: call.path.clone(), why: refusal.why });
    refusal.reply
}

async fn carry_out(cloud: &Arc<Cloud>, call: &Call) -> Result<Reply, Refusal> {
    match call.path.strip_prefix(SUBSCRIBE) {
        Some(path) if call.method == "GET" => pubnub::subscribe(Arc::clone(cloud), call, path).await,
        _ => cloud.answer(call),
    }
}

/// What a fault answers without carrying anything out.
fn instead(fault: Fault) -> Option<Refusal> {
    let (reply, why) = match fault {
        Fault::ServerError => (Reply::html(StatusCode::INTERNAL_SERVER_ERROR, BROKEN), "HTTP 500"),
        Fault::TooMany => {
            let reply = Reply::html(StatusCode::TOO_MANY_REQUESTS, "");
            (reply.and(header::RETRY_AFTER, "7".to_owned()), "HTTP 429")
        }
        Fault::Blocked => return Some(Refusal::blocked()),
        Fault::Html => (Reply::html(StatusCode::OK, MAINTENANCE), "a web page"),
        _ => return None,
    };
    Some(Refusal { reply, why })
}

fn garble(fault: Option<Fault>, mut reply: Reply) -> Reply {
    match fault {
        Some(Fault::BadJson) => reply.body.truncate(reply.body.len() / 2),
        // The rest of the answer; the list of devices is spoilt where it is made.
        Some(Fault::WrongTypes) => {
            let own: Result<Value, _> = serde_json::from_slice(&reply.body);
            if let Ok(Value::Object(fields)) = own
                && !fields.contains_key("system")
            {
                reply.body = Value::Array(fields.into_iter().map(|(_, value)| value).collect()).to_string().into();
            }
        }
        _ => {}
    }
    reply
}

const BROKEN: &str = "<html><head><title>500 Internal Server Error</title></head><body></body></html>\n";
const MAINTENANCE: &str = "<!doctype html><html><body><h1>We will be back soon</h1></body></html>\n";
