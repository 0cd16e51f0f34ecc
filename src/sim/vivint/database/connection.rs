//! One client of the database, from its hello to what is written when it is gone.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::ws::{Message, WebSocket};
use serde_json::{Map, Value, json};
use tokio::sync::{broadcast, mpsc};

use super::frames::{Assembly, Cut, frames};
use super::rules::{changed_children, is_allowed, normal, now_ms, with_server_values};
use crate::clock::{self, Instant};
use crate::sim::made_up::random_hex;
use crate::sim::vivint::tokens::{Bad, Purpose};
use crate::sim::vivint::world::Cloud;
use crate::sim::vivint::{Event, Fault};

const LATE: Duration = Duration::from_secs(3);
/// Of the pieces that a fault makes.
const SMALL: usize = 100;
/// Of the value that a fault sends.
const HUGE: usize = 11 * 1_024 * 1_024;

pub(super) struct Connection {
    cloud: Arc<Cloud>,
    socket: WebSocket,
    /// As the client calls this server.
    host: String,
    incidents: broadcast::Receiver<Option<Fault>>,
    assembly: Assembly,
    /// Until when the client is authenticated.
    authenticated: Option<Instant>,
    listens: Vec<Listen>,
    /// What is written when it is gone.
    last_words: Vec<(String, Value)>,
}

struct Listen {
    path: String,
    /// Of a query, which its pushes repeat.
    tag: Option<Value>,
    values: mpsc::Receiver<Value>,
    told: Value,
}

/// Why a connection is over.
struct Over;

type Going = Result<(), Over>;

/// What a request comes to: `s` and `d` of the reply.
type Outcome = (&'static str, Value);

const OK: &str = "ok";

fn denied() -> Outcome {
    ("permission_denied", json!("Permission denied"))
}

impl Connection {
    pub(super) fn new(cloud: Arc<Cloud>, socket: WebSocket, host: String) -> Self {
        Self {
            incidents: cloud.incidents.subscribe(),
            cloud,
            socket,
            host,
            assembly: Assembly::default(),
            authenticated: None,
            listens: Vec::new(),
            last_words: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        self.cloud.world().tell(Event::DatabaseConnected);
        let mut online = self.cloud.online.subscribe();
        tokio::select! {
            _ = online.wait_for(|online| !online) => {}
            _ = self.attend() => {}
        }
        self.listens.clear();
        for (path, value) in std::mem::take(&mut self.last_words) {
            self.cloud.tree.put(&path, with_server_values(value));
        }
        self.cloud.world().tell(Event::DatabaseDisconnected);
    }

    async fn attend(&mut self) -> Going {
        self.greet().await?;
        loop {
            while self.has(Fault::Mute) {
                // Any other fault, or none, ends it.
                if let Ok(Some(fault)) = self.incidents.recv().await {
                    self.suffer(fault).await?;
                }
            }
            let expires = self.authenticated;
            tokio::select! {
                incident = self.incidents.recv() => if let Ok(Some(fault)) = incident { self.suffer(fault).await? },
                () = at(expires) => self.revoke().await?,
                (listen, value) = next_value(&mut self.listens), if expires.is_some() => self.pass_on(listen, value).await?,
                frame = self.socket.recv() => match frame {
                    Some(Ok(Message::Text(text))) => self.take(&text).await?,
                    Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over),
                },
            }
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.cloud.world().has(fault)
    }

    async fn greet(&mut self) -> Going {
        if self.has(Fault::Redirect) && !self.host.starts_with("localhost") {
            // Another name of this machine, so that the client is seen to follow.
            let port = self.host.rsplit(':').next().unwrap_or_default();
            self.control("r", json!(format!("localhost:{port}"))).await?;
            return self.ended().await;
        }
        if self.has(Fault::LateHello) {
            tokio::time::sleep(LATE).await;
        }
        if self.has(Fault::NoHello) {
            return self.ended().await;
        }
        self.control("h", json!({"ts": now_ms(), "v": "5", "h": self.host, "s": random_hex(32)})).await?;
        if self.has(Fault::Shutdown) { self.suffer(Fault::Shutdown).await } else { Ok(()) }
    }

    /// Waits for the client to leave.
    async fn ended(&mut self) -> Going {
        while let Some(Ok(_)) = self.socket.recv().await {}
        Err(Over)
    }

    /// What the beginning of a fault does to this connection.
    async fn suffer(&mut self, fault: Fault) -> Going {
        match fault {
            Fault::AuthExpired if self.authenticated.is_some() => self.revoke().await,
            Fault::ListenRevoked => self.revoke_listens().await,
            Fault::Shutdown => {
                self.control("s", json!("The virtual database is shutting down")).await?;
                Err(Over)
            }
            Fault::Drop => Err(Over),
            _ => Ok(()),
        }
    }

    /// What the client listens to waits for its next token.
    async fn revoke(&mut self) -> Going {
        self.authenticated = None;
        self.push("ac", json!({"s": "expired_token", "d": "Auth token is expired."})).await
    }

    async fn revoke_listens(&mut self) -> Going {
        for listen in std::mem::take(&mut self.listens) {
            self.push("c", json!({"p": listen.path})).await?;
        }
        Ok(())
    }

    async fn take(&mut self, frame: &str) -> Going {
        let message = match self.assembly.take(frame) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(()),
            Err(too_much) => return self.complain(&too_much.to_string()).await,
        };
        let Ok(message) = serde_json::from_str::<Value>(&message) else {
            return self.complain("a message that is no JSON").await;
        };
        let body = &message["d"];
        match message["t"].as_str() {
            Some("c") if body["t"] == "p" => self.control("o", Value::Null).await,
            Some("c") => Ok(()),
            Some("d") => self.request(body).await,
            _ => self.complain("a message that is neither control nor data").await,
        }
    }

    /// Says what is wrong, and ends it.
    async fn complain(&mut self, about: &str) -> Going {
        self.control("e", json!(about)).await?;
        Err(Over)
    }

    async fn request(&mut self, request: &Value) -> Going {
        let (body, path) = (&request["b"], normal(request["b"]["p"].as_str().unwrap_or_default()));
        let action = request["a"].as_str().unwrap_or_default();
        let outcome = match action {
            "s" => (OK, json!("")),
            "auth" => self.authenticate(body["cred"].as_str().unwrap_or_default()),
            "unauth" => {
                self.authenticated = None;
                self.revoke_listens().await?;
                (OK, json!(""))
            }
            "n" => {
                let tag = body.get("t");
                self.listens.retain(|listen| listen.path != path || listen.tag.as_ref() != tag);
                (OK, json!(""))
            }
            "q" | "p" | "m" | "o" | "om" | "oc" | "g" if !self.may(action, &path) => denied(),
            "q" => {
                self.listen(&path, body.get("t")).await?;
                (OK, json!({}))
            }
            "g" => (OK, self.cloud.tree.get(&path)),
            "p" | "m" => {
                let outcome = self.write(action, &path, &body["d"]);
                // The writer hears of it before its own `ok` (§7.5).
                self.echo().await?;
                outcome
            }
            _ => self.plan(action, path.clone(), &body["d"]),
        };
        let (status, data) = outcome;
        if status != OK {
            self.cloud.world().tell(Event::DatabaseRefused { action: action.to_owned(), path: path.clone() });
        }
        self.data(json!({"r": request["r"], "b": {"s": status, "d": data}})).await?;
        self.afterwards(action, &path, &body["d"]).await
    }

    fn may(&self, action: &str, path: &str) -> bool {
        let world = self.cloud.world();
        let denied = match action {
            "q" | "g" => Fault::ListenDenied,
            _ => Fault::WriteDenied,
        };
        self.authenticated.is_some() && !world.has(denied) && is_allowed(path, world.settings.panel)
    }

    fn authenticate(&mut self, credential: &str) -> Outcome {
        let mut world = self.cloud.world();
        if world.has(Fault::AuthRefused) {
            return ("invalid_token", json!("Could not parse auth token."));
        }
        match world.tokens.check(Purpose::Firebase, credential) {
            Err(Bad::Unknown) => ("invalid_token", json!("Could not parse auth token.")),
            Err(Bad::Expired) => ("expired_token", json!("Auth token is expired.")),
            Ok(until) => {
                self.authenticated = Some(until);
                let uid = world.settings.uid.clone();
                world.tell(Event::DatabaseAuthenticated);
                let auth = json!({"uid": uid, "provider": "custom", "token": {"sub": uid, "user_id": uid}});
                (OK, json!({"auth": auth, "expires": unix(until)}))
            }
        }
    }

    /// First the present value, then `ok`.
    async fn listen(&mut self, path: &str, tag: Option<&Value>) -> Going {
        if self.has(Fault::Stale) {
            self.leave_leftovers(path);
        }
        let mut values = self.cloud.tree.watch(path);
        let told = values.try_recv().unwrap_or_default();
        let listen = Listen { path: path.to_owned(), tag: tag.cloned(), values, told: told.clone() };
        let body = listen.body(path, told);
        self.listens.retain(|listen| listen.path != path || listen.tag.as_ref() != tag);
        self.listens.push(listen);
        self.cloud.world().tell(Event::DatabaseListening { path: path.to_owned() });
        self.push("d", body).await
    }

    fn write(&self, action: &str, path: &str, value: &Value) -> Outcome {
        let value = with_server_values(value.clone());
        match (action, value) {
            ("m", Value::Object(children)) => self.cloud.tree.merge(path, children),
            ("m", _) => return ("invalid", json!("The data of a merge is no object")),
            (_, value) => self.cloud.tree.put(path, value),
        }
        self.cloud.world().tell(Event::DatabaseWritten { path: path.to_owned() });
        (OK, json!(""))
    }

    /// `o`, `om`, `oc`, and whatever is unknown.
    fn plan(&mut self, action: &str, path: String, value: &Value) -> Outcome {
        match (action, value) {
            ("o", value) => self.last_words.push((path, value.clone())),
            ("om", Value::Object(children)) => {
                let each = children.iter().map(|(name, value)| (format!("{path}/{name}"), value.clone()));
                self.last_words.extend(each);
            }
            ("oc", _) => {
                let below = format!("{path}/");
                self.last_words.retain(|(own, _)| *own != path && !own.starts_with(&below));
            }
            _ => return ("invalid", json!("Unknown action")),
        }
        (OK, json!(""))
    }

    /// What a fault does behind the reply.
    async fn afterwards(&mut self, action: &str, path: &str, value: &Value) -> Going {
        let is_offer = value["type"] == "sdp" && value["sdpType"] == "offer";
        if action == "p" && is_offer && self.has(Fault::Intruder) {
            self.cloud.tree.put(path, intruding_offer());
        }
        if action == "q" && self.has(Fault::Huge) {
            self.push("d", json!({"p": path, "d": {"type": "x".repeat(HUGE)}})).await?;
        }
        Ok(())
    }

    /// Whatever this client listens to and has not heard of.
    async fn echo(&mut self) -> Going {
        for at in 0..self.listens.len() {
            while let Some(Ok(value)) = self.listens.get_mut(at).map(|listen| listen.values.try_recv()) {
                self.pass_on(at, Some(value)).await?;
            }
        }
        Ok(())
    }

    async fn pass_on(&mut self, at: usize, value: Option<Value>) -> Going {
        // One that fell too far behind.
        let Some(value) = value else { return Err(Over) };
        let fault = self.cloud.world().trouble.as_ref().map(|trouble| trouble.fault);
        let Some(listen) = self.listens.get_mut(at) else { return Ok(()) };
        let before = std::mem::replace(&mut listen.told, value.clone());
        let children = changed_children(&before, &value);
        let pushes = match (fault, children) {
            (Some(Fault::ChildPush), Some(children)) => {
                let of_child = |(name, value)| ("d", listen.body(&format!("{}/{name}", listen.path), value));
                children.into_iter().map(of_child).collect()
            }
            (Some(Fault::MergePush), Some(children)) => vec![("m", listen.body(&listen.path, children.into()))],
            (Some(Fault::ForeignPush), _) => {
                let foreign = json!({"p": "groups/1/devices/nobody/msg", "d": value.clone()});
                vec![("d", foreign), ("d", listen.body(&listen.path, value))]
            }
            _ => vec![("d", listen.body(&listen.path, value))],
        };
        for (code, body) in pushes {
            self.push(code, body).await?;
        }
        Ok(())
    }

    /// What a call of an hour ago left on this node, if it is a message node and empty.
    fn leave_leftovers(&self, path: &str) {
        let world = self.cloud.world();
        let (uid, panel) = (&world.settings.uid, world.settings.panel);
        let camera = world.settings.signalled().next().unwrap_or_default();
        let then = now_ms() - 3_600_000;
        let left = if path == format!("groups/{panel}/devices/{uid}/msg") {
            json!({
                "type": "sdp", "sdpType": "answer", "sdp": NOTHING, "transactionUuid": NOBODY, "from": camera,
                "_timestamp": then,
            })
        } else {
            let candidate = "candidate:1 1 udp 2130706431 192.0.2.2 46154 typ host";
            json!({"type": "ice", "candidate": candidate, "sdpMLineIndex": 0, "from": uid, "_timestamp": then})
        };
        if path.ends_with("/msg") && self.cloud.tree.get(path).is_null() {
            self.cloud.tree.put(path, left);
        }
    }

    async fn control(&mut self, code: &str, payload: Value) -> Going {
        self.send(&json!({"t": "c", "d": {"t": code, "d": payload}})).await
    }

    async fn push(&mut self, code: &str, body: Value) -> Going {
        self.data(json!({"a": code, "b": body})).await
    }

    async fn data(&mut self, data: Value) -> Going {
        self.send(&json!({"t": "d", "d": data})).await
    }

    async fn send(&mut self, message: &Value) -> Going {
        let cut = match self.cloud.world().trouble.as_ref().map(|trouble| trouble.fault) {
            Some(Fault::CountOfOne) => Cut::CountOfOne,
            Some(Fault::SmallPieces) => Cut::Pieces(SMALL),
            Some(Fault::LyingCount) => Cut::LyingCount,
            _ => Cut::Usual,
        };
        for frame in frames(&message.to_string(), cut) {
            self.socket.send(Message::text(frame)).await.map_err(|_| Over)?;
        }
        Ok(())
    }
}

impl Listen {
    fn body(&self, path: &str, value: Value) -> Value {
        let mut body = Map::from_iter([("p".to_owned(), json!(path)), ("d".to_owned(), value)]);
        if let Some(tag) = &self.tag {
            body.insert("t".to_owned(), tag.clone());
        }
        Value::Object(body)
    }
}

/// The next value of any of them, `None` of one that was cut off.
async fn next_value(listens: &mut [Listen]) -> (usize, Option<Value>) {
    poll_fn(|context| {
        for (at, listen) in listens.iter_mut().enumerate() {
            if let Poll::Ready(value) = listen.values.poll_recv(context) {
                return Poll::Ready((at, value));
            }
        }
        Poll::Pending
    })
    .await
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// In seconds of Unix time.
fn unix(at: Instant) -> u64 {
    let wall: SystemTime = clock::unix_now() + at.saturating_duration_since(clock::now());
    wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// An SDP that offers nothing.
const NOTHING: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

fn intruding_offer() -> Value {
    json!({
        "type": "sdp", "sdpType": "offer", "sdp": NOTHING, "transactionUuid": NOBODY,
        "from": "0123456789abcdef01234567", "videoSource": {"type": "nosource"}, "_timestamp": now_ms(),
    })
}
