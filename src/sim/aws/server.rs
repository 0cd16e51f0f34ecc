//! The listeners, every host of AWS behind them, and what a fault does to an answer.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::call::{Call, Line};
use super::certificates::{Certificates, MQTT};
use super::event::Event;
use super::exception::{Dialect, Exception, respond};
use super::fault::Fault;
use super::signature::authenticate;
use super::world::{Cloud, World};
use super::{control, signaling, sts};
use crate::sim::http_date;
use crate::sim::iot::{Principal, SUBPROTOCOLS};
use crate::sim::listener::{self, Hangup};
use crate::sim::made_up::random_hex;

const LARGEST_REQUEST: usize = 1_024 * 1_024;
/// A client that has not agreed on TLS by then is none.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves HTTP until `stop`.
pub(super) async fn serve_plain(listener: TcpListener, cloud: Arc<Cloud>) {
    let stop = cloud.stop.clone();
    listener::accept(listener, stop, |socket| {
        let cloud = Arc::clone(&cloud);
        async move {
            let Ok(handle) = listener::own_handle(&socket) else { return };
            let cut = cloud.cut();
            let router = router(&cloud, Line { tls: false, thing: None, cut: cut.clone() });
            listener::attend(socket, &handle, router, cut.cancelled_owned()).await;
        }
    })
    .await;
}

/// Which of the two listeners with TLS it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secure {
    /// HTTPS, and MQTT where ALPN says so.
    Https,
    Mqtts,
}

/// Serves HTTPS or MQTT until `stop`.
pub(super) async fn serve_secure(
    listener: TcpListener,
    cloud: Arc<Cloud>,
    certificates: Arc<Certificates>,
    kind: Secure,
) {
    let config: Arc<ServerConfig> = match kind {
        Secure::Https => certificates.tls.clone(),
        Secure::Mqtts => certificates.mqtts.clone(),
    };
    let (acceptor, stop) = (TlsAcceptor::from(config), cloud.stop.clone());
    listener::accept(listener, stop, |socket| {
        let (cloud, certificates, acceptor) = (Arc::clone(&cloud), Arc::clone(&certificates), acceptor.clone());
        async move {
            let cut = cloud.cut();
            let Ok(handle) = listener::own_handle(&socket) else { return };
            let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket));
            let Some(Ok(Ok(stream))) = cut.run_until_cancelled(handshake).await else { return };
            let thing = thing(&certificates, &stream);
            let is_mqtt = kind == Secure::Mqtts || stream.get_ref().1.alpn_protocol() == Some(MQTT);
            if !is_mqtt {
                let router = router(&cloud, Line { tls: true, thing, cut: cut.clone() });
                listener::attend(stream, &handle, router, cut.cancelled_owned()).await;
            } else if let Some(thing) = thing {
                let served = cloud.broker.serve(stream, Principal::new(&*thing));
                cut.run_until_cancelled(served).await;
            }
        }
    })
    .await;
}

fn thing(certificates: &Certificates, stream: &TlsStream<TcpStream>) -> Option<Arc<str>> {
    certificates.thing(stream.get_ref().1.peer_certificates()?.first()?)
}

fn router(cloud: &Arc<Cloud>, line: Line) -> Router {
    Router::new().fallback(answer).layer(Extension(line)).with_state(Arc::clone(cloud))
}

async fn answer(
    State(cloud): State<Arc<Cloud>>,
    Extension(line): Extension<Line>,
    Extension(hangup): Extension<Hangup>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_REQUEST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let call = Call::new(head.method, &head.uri, head.headers, body, line);
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
        Some(Fault::Slow) => tokio::time::sleep(Fault::LATE).await,
        _ => {}
    }
    let response = match instead(fault) {
        Some(response) => response,
        None => carry_out(&cloud, &call, upgrade),
    };
    let now = cloud.world().now();
    with_headers(response, now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64, &call)
}

/// What a fault answers without carrying anything out.
fn instead(fault: Option<Fault>) -> Option<Response<Body>> {
    match fault? {
        Fault::ServerError => Some(respond(StatusCode::INTERNAL_SERVER_ERROR, "text/html", BROKEN.to_owned())),
        Fault::EndpointHtml => Some(respond(StatusCode::OK, "text/html", PORTAL.to_owned())),
        _ => None,
    }
}

/// The one table of what there is.
fn carry_out(
    cloud: &Arc<Cloud>,
    call: &Call,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response<Body> {
    let of_channels = |carry_out: fn(&mut World, &Call) -> Result<Value, Exception>| {
        (Dialect::Video, json_of(cloud, call, carry_out))
    };
    let (dialect, outcome) = match (call.method.as_str(), call.path.as_str()) {
        ("OPTIONS", _) => (Dialect::Plain, Ok(StatusCode::OK.into_response())),
        ("GET", "/") => (Dialect::Plain, signaling::connect(cloud, call, upgrade)),
        ("GET", "/mqtt") => (Dialect::Plain, iot(cloud, call, upgrade)),
        ("POST", "/") => {
            let text = sts::answer(&mut cloud.world(), call);
            (Dialect::Sts, text.map(|text| respond(StatusCode::OK, "text/xml", text)))
        }
        ("POST", "/describeSignalingChannel") => of_channels(control::describe),
        ("POST", "/listSignalingChannels") => of_channels(control::list),
        ("POST", "/getSignalingChannelEndpoint") => of_channels(control::endpoint),
        ("POST", "/createSignalingChannel") => of_channels(control::create),
        ("POST", "/deleteSignalingChannel") => of_channels(control::delete),
        ("POST", "/v1/get-ice-server-config") => of_channels(control::ice_servers),
        ("GET", "/endpoint") => (Dialect::Plain, json_of(cloud, call, control::iot_endpoint)),
        ("GET", path) if path.starts_with("/role-aliases/") => (Dialect::Plain, json_of(cloud, call, sts::for_thing)),
        _ => (Dialect::Plain, Err(Exception::unknown_operation())),
    };
    outcome.unwrap_or_else(|exception| {
        let Exception { status, kind, message } = exception.clone();
        let path = call.path.clone();
        cloud.world().tell(Event::Refused { path, status: status.as_u16(), kind, why: message });
        exception.response(dialect)
    })
}

fn json_of(
    cloud: &Cloud,
    call: &Call,
    carry_out: fn(&mut World, &Call) -> Result<Value, Exception>,
) -> Result<Response<Body>, Exception> {
    let mut world = cloud.world();
    let fault = world.fault_at(&call.path);
    if fault == Some(Fault::Throttled) {
        return Err(Exception::limit("Rate exceeded"));
    }
    let mut answer = carry_out(&mut world, call)?;
    if fault == Some(Fault::UnknownFields) {
        extend(&mut answer);
    }
    let mut text = answer.to_string();
    if fault == Some(Fault::Truncated) {
        // Whatever is in it, this is ASCII.
        text.truncate(text.len() / 2);
    }
    Ok(respond(StatusCode::OK, "application/json", text))
}

/// Puts a field that nobody knows into each object.
fn extend(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(extend),
        Value::Object(fields) => {
            fields.values_mut().for_each(extend);
            fields.insert("NotYetInvented".to_owned(), json!({ "Of": ["any", 1, null] }));
        }
        _ => {}
    }
}

/// AWS IoT over a WebSocket, signed in either of the two ways that AWS's SDKs have (kvs reference §6).
fn iot(
    cloud: &Arc<Cloud>,
    call: &Call,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response<Body>, Exception> {
    let caller = authenticate(&cloud.world(), call, "iotdevicegateway")?;
    let upgrade = upgrade.map_err(|_| Exception::not_a_websocket())?.protocols(SUBPROTOCOLS);
    if upgrade.selected_protocol().is_none() {
        return Err(Exception::not_a_websocket());
    }
    let (cloud, cut) = (Arc::clone(cloud), call.line.cut.clone());
    Ok(upgrade.on_upgrade(async move |socket| {
        let served = cloud.broker.serve_websocket(socket, Principal::new(caller.key_id));
        tokio::select! {
            () = cloud.stop.cancelled() => {}
            () = cut.cancelled() => {}
            () = served => {}
        }
    }))
}

/// What each answer says of itself, and to pages of other origins, from which AWS lets itself be asked.
fn with_headers(mut response: Response<Body>, now_ms: u64, call: &Call) -> Response<Body> {
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::DATE, &http_date::http(now_ms));
    set(HeaderName::from_static("x-amzn-requestid"), &random_hex(32));
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "x-amzn-ErrorType,x-amzn-RequestId,Date");
    if call.method == Method::OPTIONS {
        set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS");
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, call.header("access-control-request-headers"));
        set(header::ACCESS_CONTROL_MAX_AGE, "600");
    }
    response
}

const BROKEN: &str = "<html><head><title>500 Internal Server Error</title></head><body></body></html>\n";
const PORTAL: &str = "<!doctype html><html><body><h1>Welcome to our guest network</h1></body></html>\n";
