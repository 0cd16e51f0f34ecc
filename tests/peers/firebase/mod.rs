//! firebase-server (MIT, github.com/urish/firebase-server) as the database: what the protocol is, somebody else says.
//!
//! `npm ci --prefix tests/peers/firebase` installs it. It knows nothing of what is written at the end of a connection.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::Uri;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorstep::clock;
use doorstep::config::VivintEndpoints;
use doorstep::doorbell::VendorError;
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::secret::Token;
use doorstep::vendor::vivint::IdTokens;
use doorstep::vendor::vivint::database::{Database, DatabaseError, Listener};
use doorstep::vendor::vivint::firebase::Firebase;
use hmac::{Hmac, Mac};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::promise;
use crate::wait::PATIENCE;

const PANEL: i64 = 7_001_000_200_030_004;
const PLACE: &str = "groups/7001000200030004/devices/me/msg";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("firebase::what_is_put_is_in_the_database_and_comes_back_as_an_echo", puts),
        promise("firebase::what_others_write_is_told", hears),
        promise("firebase::what_the_rules_forbid_is_refused", forbidden),
        promise("firebase::a_token_that_has_expired_is_replaced", expired),
        promise("firebase::a_cut_connection_is_there_again_and_listens", cut),
    ]
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let is_there = folder().join("node_modules/firebase-server/package.json").is_file();
    (!is_there).then(|| "the firebase-server tests: `npm ci --prefix tests/peers/firebase` has not been run".to_owned())
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/firebase"))
}

/// A running server. Killed when dropped.
struct Server {
    _process: Child,
    asks: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
    port: u64,
}

impl Server {
    async fn start() -> Self {
        let mut command = Command::new("node");
        command.arg(folder().join("server.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let asks = process.stdin.take().unwrap();
        let says = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut server = Self { _process: process, asks, says, port: 0 };
        server.port = server.says().await.as_u64().unwrap();
        server
    }

    async fn says(&mut self) -> Value {
        let line = timeout(PATIENCE, self.says.next_line()).await.expect("the server says nothing").unwrap();
        serde_json::from_str(&line.expect("the server has ended")).unwrap()
    }

    async fn ask(&mut self, question: Value) -> Value {
        self.asks.write_all(format!("{question}\n").as_bytes()).await.unwrap();
        self.says().await
    }
}

/// Who gives out tokens, and how long the first ones live, in seconds.
struct Issuer {
    issued: AtomicU32,
    lives_s: Mutex<Vec<i64>>,
}

impl Issuer {
    /// A token as firebase-server verifies it.
    fn token(&self) -> String {
        let life = self.lives_s.lock().unwrap().pop().unwrap_or(3_600);
        let now = clock::unix_now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let claims = json!({ "sub": "me", "user_id": "me", "iat": now - 60, "exp": now + life, "jti": number });
        let signed = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "HS256" })), part(claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(b"firebase-peer").unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

struct Login;

impl IdTokens for Login {
    fn id_token(&self, _renew: bool) -> BoxFuture<'_, Result<Token, VendorError>> {
        Box::pin(async { Ok(Token::new("login")) })
    }
}

async fn issue(State(issuer): State<Arc<Issuer>>, uri: Uri) -> Json<Value> {
    let payload = URL_SAFE_NO_PAD.encode(json!({ "uid": "me" }).to_string());
    Json(match uri.path() {
        "/exchange" => json!({ "custom-token": format!("e30.{payload}.c2ln") }),
        _ => json!({ "idToken": issuer.token(), "refreshToken": "again", "expiresIn": "3600", "localId": "me" }),
    })
}

/// Our client at a server of its own.
struct House {
    server: Server,
    issuer: Arc<Issuer>,
    database: Database,
    _stops: DropGuard,
}

impl House {
    async fn start() -> Self {
        Self::with_lives(vec![]).await
    }

    async fn with_lives(lives_s: Vec<i64>) -> Self {
        let server = Server::start().await;
        let issuer = Arc::new(Issuer { issued: AtomicU32::new(0), lives_s: Mutex::new(lives_s) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = |path: &str| Url::parse(&format!("http://{}{path}", listener.local_addr().unwrap())).unwrap();
        let endpoints = VivintEndpoints {
            exchange: url("/exchange"),
            identity_toolkit: url(""),
            secure_token: url(""),
            database: Some(Url::parse(&format!("http://127.0.0.1:{}/?ns=peer", server.port)).unwrap()),
            ..VivintEndpoints::default()
        };
        let router = Router::new().fallback(issue).with_state(issuer.clone());
        let stop = CancellationToken::new();
        let serve = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(serve.into_future());
        let firebase = Firebase::new(Token::new("key"), endpoints, Arc::new(Login));
        let database = Database::start(firebase, PANEL, stop.clone());
        let house = Self { server, issuer, database, _stops: stop.drop_guard() };
        assert_eq!(timeout(PATIENCE, house.database.ready()).await.expect("it does not become ready").unwrap(), "me");
        house
    }

    async fn listen(&self) -> Listener {
        timeout(PATIENCE, self.database.listen(PLACE.to_owned())).await.unwrap().unwrap()
    }
}

async fn next(listener: &mut Listener) -> Value {
    timeout(PATIENCE, listener.next()).await.expect("nothing is told").expect("the listening has ended")
}

async fn puts() {
    let mut house = House::start().await;
    let mut listener = house.listen().await;
    assert_eq!(next(&mut listener).await, Value::Null);
    // Of several pieces there and back. (Its own cut characters beyond the 65 536 most usual in half.)
    let offer = json!({ "type": "sdp", "sdpType": "offer", "sdp": "a=ä水\r\n".repeat(8_000), "_timestamp": 1 });
    house.database.put(PLACE, &offer).await.unwrap();
    assert_eq!(next(&mut listener).await, offer);
    assert_eq!(house.server.ask(json!({ "get": PLACE })).await, offer);
    house.database.put(PLACE, &Value::Null).await.unwrap();
    assert_eq!(next(&mut listener).await, Value::Null);
    assert_eq!(house.server.ask(json!({ "get": PLACE })).await, Value::Null);
}

async fn hears() {
    let mut house = House::start().await;
    house.server.ask(json!({ "set": PLACE, "value": { "type": "ice" } })).await;
    let mut listener = house.listen().await;
    assert_eq!(next(&mut listener).await, json!({ "type": "ice" }));
    house.server.ask(json!({ "set": format!("{PLACE}/candidate"), "value": "c" })).await;
    assert_eq!(next(&mut listener).await, json!({ "type": "ice", "candidate": "c" }));
    house.server.ask(json!({ "set": "groups/7001000200030004/devices", "value": null })).await;
    assert_eq!(next(&mut listener).await, Value::Null);
}

async fn forbidden() {
    let house = House::start().await;
    let put = house.database.put("groups/1/devices/me/msg", &json!(1)).await;
    assert!(matches!(&put, Err(DatabaseError::Refused(why)) if why.status == "permission_denied"), "{put:?}");
    let listen = house.database.listen("groups/1/devices/me/msg".to_owned()).await;
    assert!(matches!(listen.err(), Some(DatabaseError::Refused(why)) if why.status == "permission_denied"));
    house.database.put(PLACE, &json!(1)).await.unwrap();
}

async fn expired() {
    let house = House::with_lives(vec![-30]).await;
    assert_eq!(house.issuer.issued.load(Ordering::SeqCst), 2);
    house.database.put(PLACE, &json!(1)).await.unwrap();
}

async fn cut() {
    let mut house = House::start().await;
    let mut listener = house.listen().await;
    assert_eq!(next(&mut listener).await, Value::Null);
    let began = clock::now();
    let mut connection = house.database.connection();
    house.server.ask(json!({ "drop": true })).await;
    timeout(PATIENCE, connection.wait_for(|connections| *connections == 2)).await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    house.server.ask(json!({ "set": PLACE, "value": "there" })).await;
    assert_eq!(next(&mut listener).await, "there");
}
