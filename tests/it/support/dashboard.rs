//! A Home Assistant as the dashboard card meets it: the frontend's `hass` (`dashboard/dashboard.js`), WebSocket
//! commands, the companion integration's proxy and the Supervisor's ingress.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::browser::{Browser, Page};
use super::http::{request_with, serve};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/dashboard");
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/assets");
/// Stricter than Home Assistant's own.
const CSP: &str = "default-src 'self'; img-src 'self' data:; connect-src 'self' http:; script-src 'self' http:";
const APP: &str = "a0d7b954_doorstep";
/// The page that the app's devices link to.
const APP_PAGE: &str = "homeassistant://hassio/ingress/a0d7b954_doorstep";
const INGRESS: &str = "/api/hassio_ingress/sEcReT/";
/// Where a reverse proxy of the owner's has Doorstep, on the address of Home Assistant.
const BESIDE: &str = "/doorstep/";
const ENTRY: &str = "/api/doorstep/entry_1/";
const PICTURE: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" width="640" height="360"><rect width="640" height="360" fill="white"/></svg>"#;

/// What this Home Assistant has, by which Doorstep can be reached.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Has {
    Nothing,
    Integration,
    /// A Supervisor whose ingress has WebSocket commands of its own (Core 2026).
    Supervisor,
    /// One that is only passed on to by `supervisor/api`.
    OldSupervisor,
}

pub(crate) struct HomeAssistant {
    pub(crate) address: SocketAddr,
    world: Arc<World>,
}

struct World {
    doorstep: SocketAddr,
    has: Mutex<Has>,
    /// Ingress sessions that are good.
    sessions: Mutex<BTreeSet<String>>,
    made: AtomicUsize,
    /// Method and path of whatever was passed on to Doorstep.
    passed: Mutex<Vec<String>>,
}

impl HomeAssistant {
    /// In front of the Doorstep at this address.
    pub(crate) async fn start(doorstep: SocketAddr, has: Has) -> Self {
        let world = Arc::new(World {
            doorstep,
            has: Mutex::new(has),
            sessions: Mutex::default(),
            made: AtomicUsize::new(1),
            passed: Mutex::default(),
        });
        let address = serve(Router::new().fallback(answer).with_state(world.clone())).await;
        Self { address, world }
    }

    /// A dashboard that shows this doorbell's device; without a card yet.
    pub(crate) async fn open(&self, browser: &Browser, doorbell: &str) -> Page {
        self.open_as(browser, &self.address.to_string(), &format!("doorbell={doorbell}")).await
    }

    /// The same under another name of this machine, with further words for the dashboard.
    pub(crate) async fn open_as(&self, browser: &Browser, host: &str, query: &str) -> Page {
        let page = browser.open(&format!("http://{host}/?page={APP_PAGE}&{query}")).await;
        page.until("window.ready").await;
        page
    }

    pub(crate) fn becomes(&self, has: Has) {
        *self.world.has.lock().unwrap() = has;
    }

    /// Every ingress session is over, as after a restart of the Supervisor.
    pub(crate) fn ends_sessions(&self) {
        self.world.sessions.lock().unwrap().clear();
    }

    pub(crate) fn passed(&self) -> Vec<String> {
        self.world.passed.lock().unwrap().clone()
    }
}

async fn answer(State(world): State<Arc<World>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let has = *world.has.lock().unwrap();
    if let Some(rest) = path.strip_prefix(ENTRY) {
        let signed_in = header_of(request.headers(), "authorization") == "Bearer of-the-frontend";
        return if signed_in && has == Has::Integration && is_passed_on(request.method().as_str(), rest) {
            world.pass(&format!("/{rest}"), request, &[]).await
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        };
    }
    if let Some(rest) = path.strip_prefix(INGRESS) {
        let cookie = header_of(request.headers(), "cookie").to_owned();
        let good =
            cookie.strip_prefix("ingress_session=").is_some_and(|id| world.sessions.lock().unwrap().contains(id));
        let prefix = [("x-ingress-path", INGRESS.trim_end_matches('/'))];
        return if good {
            world.pass(&format!("/{rest}"), request, &prefix).await
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        };
    }
    if let Some(rest) = path.strip_prefix(BESIDE) {
        let bearer = header_of(request.headers(), "authorization").to_owned();
        let headers = [("authorization", bearer.as_str())];
        return world.pass(&format!("/{rest}"), request, if bearer.is_empty() { &[] } else { &headers }).await;
    }
    match path.as_str() {
        "/ws" => {
            let command = to_bytes(request.into_body(), 4096).await.unwrap();
            axum::Json(world.command(&serde_json::from_slice(&command).unwrap())).into_response()
        }
        // As the integration does: from Doorstep, without a token.
        "/local/doorstep-card.js" => world.pass("/card.js", request, &[]).await,
        "/" => file(&Path::new(HERE).join("index.html")),
        // The picture of an entity, whose address has its token.
        "/api/camera_proxy/camera.bild" | "/api/image_proxy/image.besuch" => {
            world.passed.lock().unwrap().push(request.uri().to_string());
            ([(header::CONTENT_TYPE, "image/svg+xml")], PICTURE).into_response()
        }
        _ => match path.strip_prefix("/sources/") {
            Some(source) => file(&Path::new(SOURCES).join(source)),
            None => file(&Path::new(HERE).join(&path[1..])),
        },
    }
}

/// What the companion integration passes on, and nothing else.
fn is_passed_on(method: &str, path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        (method, &*parts),
        ("GET", ["api", "doorbells"] | ["api", "doorbells", _])
            | ("POST", ["whep", _] | ["api", "doorbells", _, "talk"])
            | ("PATCH" | "DELETE", ["whep", _, _])
    )
}

impl World {
    /// Passes a request on to Doorstep, and its answer back.
    async fn pass(&self, path: &str, request: Request, headers: &[(&str, &str)]) -> Response {
        let method = request.method().to_string();
        let kind = header_of(request.headers(), "content-type").to_owned();
        let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
        self.passed.lock().unwrap().push(format!("{method} {path}"));
        let mut headers = headers.to_vec();
        if !kind.is_empty() {
            headers.push(("content-type", &kind));
        }
        let reply = request_with(self.doorstep, &method, path, &headers, str::from_utf8(&body).unwrap()).await;
        let mut response = (StatusCode::from_u16(reply.status).unwrap(), reply.bytes.clone()).into_response();
        for name in [header::CONTENT_TYPE, header::LOCATION] {
            if let Some(value) = reply.header(name.as_str()) {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        response
    }

    /// The answer to a WebSocket command: `result` or `error`.
    fn command(&self, command: &Value) -> Value {
        let has = *self.has.lock().unwrap();
        let kind = command["type"].as_str().unwrap();
        let old =
            (has == Has::OldSupervisor && kind == "supervisor/api").then(|| command["endpoint"].as_str().unwrap());
        match (has, old.unwrap_or(kind)) {
            (Has::Integration, "doorstep/instances") => {
                json!({"result": [{"id": "entry_1", "title": "Doorstep", "version": "0"}]})
            }
            (Has::Supervisor, "supervisor/ingress/info") if command["slug"] == APP => self.info(),
            (Has::OldSupervisor, "/addons/a0d7b954_doorstep/info") => self.info(),
            (Has::Supervisor, "supervisor/ingress/session") | (Has::OldSupervisor, "/ingress/session") => {
                self.session()
            }
            (Has::Supervisor, "supervisor/ingress/validate_session") => self.validate(&command["session"]),
            (Has::OldSupervisor, "/ingress/validate_session") => self.validate(&command["data"]["session"]),
            _ => json!({"error": {"code": "unknown_command", "message": "Unknown command."}}),
        }
    }

    fn info(&self) -> Value {
        json!({"result": {"name": "Doorstep", "slug": APP, "state": "started", "ingress_url": INGRESS}})
    }

    fn session(&self) -> Value {
        let session = format!("session{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.sessions.lock().unwrap().insert(session.clone());
        json!({"result": {"session": session}})
    }

    fn validate(&self, session: &Value) -> Value {
        if self.sessions.lock().unwrap().contains(session.as_str().unwrap()) {
            json!({"result": null})
        } else {
            json!({"error": {"code": "unknown_error", "message": ""}})
        }
    }
}

fn header_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn file(path: &Path) -> Response {
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html",
        Some("css") => "text/css",
        _ => "text/javascript",
    };
    match std::fs::read(path) {
        Ok(text) => ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, CSP)], text).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}
