//! Google's services and the exchange before them as a test plays them: an HTTP server, and a database that says only
//! what the test has it say.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorstep::config::VivintEndpoints;
use doorstep::doorbell::VendorError;
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::proto::vivint::database::frames::Collector;
use doorstep::secret::Token;
use doorstep::vendor::vivint::IdTokens;
use doorstep::vendor::vivint::firebase::Firebase;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use url::Url;

pub(crate) const PANEL: i64 = 7_001_000_200_030_004;
pub(crate) const CAMERA: &str = "3b6f0c52-5a0e-4c1f-9d57-0a1b2c3d4e5f";
/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What was asked of the HTTP server, and what it is to answer.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) exchanges: AtomicUsize,
    pub(crate) sign_ins: AtomicUsize,
    pub(crate) refreshes: AtomicUsize,
    /// Answers in place of the usual ones, to whatever is asked next.
    pub(crate) answers: Mutex<VecDeque<(StatusCode, Value)>>,
    /// Method, path and query, and what came with it.
    pub(crate) log: Mutex<Vec<String>>,
    /// Of the id tokens, in seconds.
    pub(crate) life_s: Mutex<Option<String>>,
    /// How often a new login was asked for.
    pub(crate) renewals: AtomicUsize,
}

/// The HTTP server. Its database is at `database`.
pub(crate) struct Google {
    pub(crate) asked: Arc<Asked>,
    pub(crate) firebase: Firebase,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Google {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Google {
    pub(crate) async fn start(database: SocketAddr) -> Self {
        let asked = Arc::new(Asked::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = |path: &str| Url::parse(&format!("http://{}{path}", listener.local_addr().unwrap())).unwrap();
        let endpoints = VivintEndpoints {
            exchange: url("/exchange"),
            identity_toolkit: url(""),
            secure_token: url(""),
            ..VivintEndpoints::default()
        };
        let firebase = Firebase::new(Token::new("api-key-canary"), endpoints, Arc::new(Login(asked.clone())));
        let router = Router::new().fallback(answer).with_state((asked.clone(), database));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { asked, firebase, server }
    }

    pub(crate) fn answer_next(&self, status: u16, body: Value) {
        self.asked.answers.lock().unwrap().push_back((StatusCode::from_u16(status).unwrap(), body));
    }
}

/// The account.
struct Login(Arc<Asked>);

impl IdTokens for Login {
    fn id_token(&self, renew: bool) -> BoxFuture<'_, Result<Token, VendorError>> {
        let renewals = self.0.renewals.fetch_add(usize::from(renew), Ordering::SeqCst) + usize::from(renew);
        Box::pin(async move { Ok(Token::new(format!("login-{renewals}"))) })
    }
}

type Playing = (Arc<Asked>, SocketAddr);

async fn answer(
    State((asked, database)): State<Playing>,
    method: Method,
    uri: Uri,
    headers: axum::http::HeaderMap,
    body: String,
) -> axum::response::Response {
    let bearer = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    asked.log.lock().unwrap().push(format!("{method} {uri} {}", bearer.unwrap_or(body)));
    let path = uri.path().to_owned();
    let counter = match path.as_str() {
        "/exchange" => &asked.exchanges,
        "/v1/token" => &asked.refreshes,
        _ => &asked.sign_ins,
    };
    let count = counter.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some((status, body)) = asked.answers.lock().unwrap().pop_front() {
        return (status, Json(body)).into_response();
    }
    // Long enough that callers who do not wait for each other would show.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let life = asked.life_s.lock().unwrap().clone().unwrap_or_else(|| "3600".to_owned());
    Json(match path.as_str() {
        "/exchange" => json!({ "custom-token": custom_token(database) }),
        "/v1/token" => json!({
            "expires_in": life, "token_type": "Bearer", "refresh_token": format!("refresh-r{count}"),
            "id_token": format!("id-token-r{count}"), "user_id": "me", "project_id": "0",
        }),
        _ => json!({
            "kind": "identitytoolkit#VerifyCustomTokenResponse", "idToken": format!("id-token-{count}"),
            "refreshToken": format!("refresh-{count}"), "expiresIn": life, "localId": "me",
        }),
    })
    .into_response()
}

fn custom_token(database: SocketAddr) -> String {
    let claims = json!({
        "sig_server": { "1": "https://not-this.test", PANEL.to_string(): format!("http://{database}/?ns=panel-db") },
        "devices": { PANEL.to_string(): [CAMERA] },
    });
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(json!({ "uid": "me", "claims": claims }).to_string()))
}

/// A database that the test plays by hand.
pub(crate) struct Base(TcpListener);

impl Base {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next connection. Nothing has been said yet.
    pub(crate) async fn connected(&self) -> Caller {
        timeout(PATIENCE, self.accept()).await.expect("nobody connects")
    }

    async fn accept(&self) -> Caller {
        let (socket, _) = self.0.accept().await.unwrap();
        let mut asked_for = String::new();
        #[expect(clippy::result_large_err, reason = "the library's own type")]
        let look = |request: &Request, response: Response| {
            asked_for = request.uri().to_string();
            Ok(response)
        };
        let stream = tokio_tungstenite::accept_hdr_async(socket, look).await.unwrap();
        Caller { stream, asked_for, collector: Collector::default(), announces: false }
    }

    /// The next connection, which has said hello and whose token was taken.
    pub(crate) async fn ready(&self) -> Caller {
        let mut caller = self.connected().await;
        caller.hello(&self.address().to_string()).await;
        caller.accept_token().await;
        caller
    }

    /// Nobody connects for so long.
    pub(crate) async fn is_left_alone(&self, time: Duration) {
        assert!(timeout(time, self.0.accept()).await.is_err(), "somebody connects");
    }
}

/// The client of one connection.
pub(crate) struct Caller {
    stream: WebSocketStream<TcpStream>,
    /// Path and query.
    pub(crate) asked_for: String,
    collector: Collector,
    /// Whether every message is announced by a count, as firebase-server does it.
    pub(crate) announces: bool,
}

impl Caller {
    pub(crate) async fn text(&mut self, frame: impl Into<String>) {
        self.stream.send(Message::text(frame.into())).await.unwrap();
    }

    /// As far as the other side takes it.
    pub(crate) async fn try_text(&mut self, frame: &str) -> Result<(), Error> {
        self.stream.send(Message::text(frame)).await
    }

    pub(crate) async fn say(&mut self, message: Value) {
        if self.announces {
            self.text("1").await;
        }
        self.text(message.to_string()).await;
    }

    pub(crate) async fn hello(&mut self, host: &str) {
        let hello = json!({ "ts": 1_795_225_126_955_i64, "v": "5", "h": host, "s": "session-1" });
        self.say(json!({ "t": "c", "d": { "t": "h", "d": hello } })).await;
    }

    pub(crate) async fn control(&mut self, code: &str, payload: &str) {
        self.say(json!({ "t": "c", "d": { "t": code, "d": payload } })).await;
    }

    pub(crate) async fn push(&mut self, code: &str, body: Value) {
        self.say(json!({ "t": "d", "d": { "a": code, "b": body } })).await;
    }

    pub(crate) async fn reply(&mut self, request: &Value, status: &str, data: Value) {
        self.say(json!({ "t": "d", "d": { "r": request["r"], "b": { "s": status, "d": data } } })).await;
    }

    /// The next request, which must be this one.
    pub(crate) async fn asked(&mut self, action: &str) -> Value {
        let request = timeout(PATIENCE, self.next()).await.unwrap_or_else(|_| panic!("no `{action}` comes"));
        let request = request.unwrap_or_else(|| panic!("it closed instead of `{action}`"));
        assert_eq!(request["d"]["a"], action, "{request}");
        request["d"].clone()
    }

    /// Gives the token.
    pub(crate) async fn accept_token(&mut self) -> String {
        let auth = self.asked("auth").await;
        self.reply(&auth, "ok", json!({ "auth": { "uid": "me" }, "expires": 1 })).await;
        auth["b"]["cred"].as_str().unwrap().to_owned()
    }

    /// It listens to `path`, where `present` is.
    pub(crate) async fn accept_listen(&mut self, path: &str, present: Value) {
        let listen = self.asked("q").await;
        assert_eq!(listen["b"]["p"], format!("/{path}"));
        self.push("d", json!({ "p": path, "d": present })).await;
        self.reply(&listen, "ok", json!({})).await;
    }

    /// The connection is over, and nothing was said before.
    pub(crate) async fn closes(&mut self) {
        let end = timeout(PATIENCE, self.next()).await.expect("it does not close");
        assert_eq!(end, None);
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            match self.stream.next().await?.ok()? {
                Message::Text(text) => {
                    if let Some(message) = self.collector.collect(&text).unwrap() {
                        return Some(serde_json::from_str(&message).unwrap());
                    }
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}
