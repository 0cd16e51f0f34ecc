//! Home Assistant's Supervisor as far as an app asks it: answers what a test has written down, and remembers who asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use doorstep::secret::Token;
use doorstep::supervisor::Supervisor;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::mosquitto::until;

/// What opens it, and must never be seen anywhere else.
pub(crate) const TOKEN: &str = "canary-supervisor-5f0e2c";

/// One answer.
#[derive(Clone)]
pub(crate) enum Says {
    /// `{"result":"ok","data":…}`
    Data(Value),
    /// `{"result":"error","message":…}`
    Error(u16, &'static str),
    /// Anything at all, with its type.
    Raw(u16, &'static str, String),
    /// A file, with its type.
    File(&'static str, Vec<u8>),
}

/// One request: method, path and body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Value,
}

#[derive(Default)]
struct Book {
    answers: HashMap<String, Says>,
    calls: Vec<Call>,
    /// Calls without the right token.
    strangers: usize,
}

pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    book: Arc<Mutex<Book>>,
    serving: Option<JoinHandle<()>>,
}

impl Stub {
    /// An app `1a2b3c4d_doorstep` on a machine at 192.168.77.10, without an MQTT broker.
    pub(crate) async fn start() -> Self {
        let mut stub = Self::down().await;
        stub.come_up().await;
        stub
    }

    /// One that is not there yet: connections to it are refused.
    pub(crate) async fn down() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let stub = Self { address, book: Arc::default(), serving: None };
        stub.says("/services/mqtt", Says::Error(400, "Service not enabled"));
        stub.says("/addons/self/info", Says::Data(own()));
        stub.says("/network/info", Says::Data(network(&["192.168.77.10/24"])));
        stub.says("/discovery", Says::Data(json!({"uuid": "0f1e2d3c4b5a69788796a5b4c3d2e1f0"})));
        stub
    }

    pub(crate) async fn come_up(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let router = Router::new().fallback(answer).with_state(self.book.clone());
        self.serving = Some(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    }

    /// From now on.
    pub(crate) fn says(&self, path: &str, says: Says) {
        self.book.lock().unwrap().answers.insert(path.to_owned(), says);
    }

    /// That the broker is there.
    pub(crate) fn names_broker(&self, port: Value, login: Option<(&str, &str)>) {
        let (user, password) = login.unzip();
        self.says(
            "/services/mqtt",
            Says::Data(json!({"host": "127.0.0.1", "port": port, "username": user, "password": password,
                "ssl": false, "protocol": "3.1.1", "addon": "core_mosquitto"})),
        );
    }

    pub(crate) fn client(&self) -> Supervisor {
        Supervisor::new(self.url().parse().unwrap(), Token::new(TOKEN))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn calls(&self, path: &str) -> Vec<Call> {
        self.book.lock().unwrap().calls.iter().filter(|call| call.path == path).cloned().collect()
    }

    /// Waits until it was asked so often.
    pub(crate) async fn asked(&self, path: &str, times: usize) {
        until(&format!("{times} × {path}"), || self.calls(path).len() >= times).await;
    }

    pub(crate) fn strangers(&self) -> usize {
        self.book.lock().unwrap().strangers
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

pub(crate) fn own() -> Value {
    json!({"slug": "1a2b3c4d_doorstep", "hostname": "1a2b3c4d-doorstep", "version": "1.2.3", "ip_address": "172.30.33.5",
        "ingress_entry": "/api/hassio_ingress/abc", "ingress_url": "/api/hassio_ingress/abc/",
        "network": {"8555/tcp": 8555, "8555/udp": 8555, "8480/tcp": null}, "options": {}})
}

/// Of a machine with these IPv4 addresses, with the networks of its containers.
pub(crate) fn network(addresses: &[&str]) -> Value {
    json!({
        "interfaces": [
            {"interface": "docker0", "enabled": true, "connected": true, "primary": false,
             "ipv4": {"method": "manual", "address": ["172.17.0.1/16"]}},
            {"interface": "hassio", "enabled": true, "connected": true, "primary": false,
             "ipv4": {"method": "manual", "address": ["172.30.32.1/23"]}},
            {"interface": "end0", "type": "ethernet", "enabled": true, "connected": true, "primary": true,
             "ipv4": {"method": "auto", "address": addresses, "gateway": "192.168.77.1"},
             "ipv6": {"method": "auto", "address": ["fe80::1/64"]}}
        ],
        "docker": {"interface": "hassio", "address": "172.30.32.0/23", "gateway": "172.30.32.1", "dns": "172.30.32.3"},
        "host_internet": true, "supervisor_internet": true
    })
}

async fn answer(
    State(book): State<Arc<Mutex<Book>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut book = book.lock().unwrap();
    let is_ours = headers.get(header::AUTHORIZATION).is_some_and(|token| *token == *format!("Bearer {TOKEN}"));
    if !is_ours {
        book.strangers += 1;
        return error(401, "Unauthorized");
    }
    let path = uri.path().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    book.calls.push(Call { method: method.to_string(), path: path.clone(), body });
    match book.answers.get(&path).cloned() {
        Some(Says::Data(data)) => axum::Json(json!({"result": "ok", "data": data})).into_response(),
        Some(Says::Error(status, message)) => error(status, message),
        Some(Says::Raw(status, kind, text)) => {
            (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Some(Says::File(kind, file)) => ([(header::CONTENT_TYPE, kind)], file).into_response(),
        None => error(404, "Not found"),
    }
}

fn error(status: u16, message: &str) -> Response {
    let body = axum::Json(json!({"result": "error", "message": message}));
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}
