//! go2rtc's `/api` as far as streams are registered over it, on a real socket: as go2rtc 1.9.14 answers, and as one that
//! is set up badly, or is something else altogether.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// What is the matter with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manner {
    Well,
    /// Only with these credentials of HTTP Basic; with none, without.
    Login(&'static str),
    /// `api.allow_paths` has left out the streams.
    Hidden,
    /// Its configuration file cannot be written.
    ReadOnly,
    /// It was built or set up without WebRTC.
    NoWebrtc,
    /// Never answers.
    Slow,
    /// Another program, or none that speaks JSON.
    Garbage(&'static str),
    Status(u16),
}

/// What has become of it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    manner: Manner,
    /// Sources by name.
    pub(crate) streams: BTreeMap<String, Vec<String>>,
    /// Every request but those that only read: `PATCH doorstep_a`.
    pub(crate) changes: Vec<String>,
    pub(crate) reads: usize,
    /// Names of streams that somebody watches.
    watched: Vec<String>,
}

pub(crate) struct FakeGo2rtc {
    pub(crate) address: SocketAddr,
    seen: Arc<watch::Sender<Seen>>,
    serving: JoinHandle<()>,
}

impl FakeGo2rtc {
    pub(crate) async fn start(manner: Manner) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), manner).await
    }

    pub(crate) async fn start_at(address: SocketAddr, manner: Manner) -> Self {
        let seen = Seen { manner, streams: BTreeMap::new(), changes: Vec::new(), reads: 0, watched: Vec::new() };
        let seen = Arc::new(watch::Sender::new(seen));
        let router = Router::new().route("/api", any(about)).route("/api/streams", any(streams));
        let router = router.with_state(seen.clone());
        // Its second face is that of one with an `api.base_path`.
        let router = Router::new().nest("/behind/a/path", router.clone()).fallback_service(router);
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn behaves(&self, manner: Manner) {
        self.seen.send_modify(|seen| seen.manner = manner);
    }

    /// What its owner has written into its configuration file.
    pub(crate) fn has(&self, name: &str, sources: &[&str]) {
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        self.seen.send_modify(|seen| drop(seen.streams.insert(name.to_owned(), sources)));
    }

    /// Somebody watches this stream: it is told in another way from now on.
    pub(crate) fn is_watched(&self, name: &str) {
        self.seen.send_modify(|seen| seen.watched.push(name.to_owned()));
    }

    /// Leaves its address, which is given.
    pub(crate) async fn ends(mut self) -> SocketAddr {
        self.serving.abort();
        let _aborted = (&mut self.serving).await;
        self.address
    }

    /// It forgets what is in no file.
    pub(crate) fn restarts(&self) {
        self.seen.send_modify(|seen| seen.streams.clear());
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    pub(crate) async fn until(&self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        let waited = timeout(PATIENCE, seen.wait_for(condition)).await;
        match waited {
            Ok(seen) => seen.unwrap().clone(),
            Err(_) => panic!("go2rtc never saw: {what}; it saw {:?}", self.seen()),
        }
    }

    /// Waits until it was looked at twice more: whatever would have been done then has been done.
    pub(crate) async fn is_left_alone(&self) -> Seen {
        let reads = self.seen().reads;
        self.until("two more looks", |seen| seen.reads >= reads + 2).await
    }
}

impl Drop for FakeGo2rtc {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Desk = State<Arc<watch::Sender<Seen>>>;

async fn about(State(desk): Desk, headers: HeaderMap) -> Response {
    let manner = desk.borrow().manner.clone();
    match refusal(&manner, &headers).await {
        // Whatever else is hidden, this is not.
        Some(refusal) if manner != Manner::Hidden => refusal,
        _ => json_of(&json!({"version": "1.9.14", "rtsp": {"listen": ":8554"}, "host": "127.0.0.1:1984"})),
    }
}

async fn streams(
    State(desk): Desk,
    method: Method,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let manner = desk.borrow().manner.clone();
    if let Some(refusal) = refusal(&manner, &headers).await {
        return refusal;
    }
    let (name, src) = (query.get("name").cloned(), query.get("src").cloned().unwrap_or_default());
    if method == Method::GET {
        desk.send_modify(|seen| seen.reads += 1);
        return json_of(&told(&desk.borrow()));
    }
    let name = if method == Method::DELETE { src.clone() } else { name.expect("a name") };
    desk.send_modify(|seen| seen.changes.push(format!("{method} {name}")));
    if method != Method::DELETE && (manner == Manner::NoWebrtc || !src.starts_with("webrtc:")) {
        return (StatusCode::BAD_REQUEST, "streams: source not supported\n").into_response();
    }
    desk.send_modify(|seen| match (method.as_str(), seen.streams.get_mut(&name)) {
        ("DELETE", _) => drop(seen.streams.remove(&name)),
        // It changes every source that the stream has.
        ("PATCH", Some(known)) => known.iter_mut().for_each(|known| known.clone_from(&src)),
        _ => drop(seen.streams.insert(name, vec![src])),
    });
    match (method.as_str(), manner) {
        ("PUT" | "DELETE", Manner::ReadOnly) => (StatusCode::BAD_REQUEST, "read-only file system\n").into_response(),
        _ => StatusCode::OK.into_response(),
    }
}

/// One in use tells the address of its connection, without `webrtc:` and with much else.
fn told(seen: &Seen) -> Value {
    let producer = |name: &String, source: &String| match seen.watched.contains(name) {
        true => json!({
            "id": 7, "format_name": "webrtc", "protocol": "ws+udp", "remote_addr": "127.0.0.1:8555 host",
            "url": source.trim_start_matches("webrtc:"), "medias": ["video, recvonly, H264"], "bytes_recv": 1024,
        }),
        false => json!({ "url": source }),
    };
    let stream = |(name, sources): (&String, &Vec<String>)| {
        let producers: Vec<Value> = sources.iter().map(|source| producer(name, source)).collect();
        let producers = if producers.is_empty() { Value::Null } else { producers.into() };
        (name.clone(), json!({ "producers": producers, "consumers": null }))
    };
    Value::Object(seen.streams.iter().map(stream).collect())
}

async fn refusal(manner: &Manner, headers: &HeaderMap) -> Option<Response> {
    match manner {
        Manner::Login(expected) => {
            let sent = headers.get(header::AUTHORIZATION).and_then(|sent| sent.to_str().ok());
            let asked = [(header::WWW_AUTHENTICATE, "Basic realm=\"go2rtc\"")];
            (sent != Some(expected)).then(|| (StatusCode::UNAUTHORIZED, asked, "Unauthorized\n").into_response())
        }
        Manner::Hidden => Some((StatusCode::NOT_FOUND, "404 page not found\n").into_response()),
        Manner::Slow => std::future::pending().await,
        Manner::Garbage(body) => Some((StatusCode::OK, *body).into_response()),
        Manner::Status(status) => Some(StatusCode::from_u16(*status).unwrap().into_response()),
        Manner::Well | Manner::ReadOnly | Manner::NoWebrtc => None,
    }
}

fn json_of(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
