//! What client and server say to each other: JSON in an envelope (vivint reference §7.3 to §7.5).
//!
//! `{"t":"c","d":{"t":code,"d":payload}}` is about the connection; `{"t":"d","d":{…}}` is a request
//! (`{"r":number,"a":action,"b":body}`), the reply to one (`{"r":number,"b":{"s":status,"d":data}}`) or a push
//! (`{"a":code,"b":body}`).
//!
//! No message prints what is in it: tokens, and calls with their ICE passwords.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::path::Path;

/// Why a message cannot be read. No text of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("database message: not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    #[error("database message: not the expected envelope")]
    NotAnEnvelope,
    #[error("database message: `{0}` without what belongs to it")]
    Incomplete(&'static str),
}

/// The server's first words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its time, in Unix milliseconds.
    #[serde(rename = "ts")]
    pub unix_ms: i64,
    /// Of the protocol: `5`.
    #[serde(rename = "v")]
    pub version: String,
    /// Which host, perhaps with a port, to connect to the next time.
    #[serde(rename = "h")]
    pub host: String,
    /// What this connection is called; the next one may name it.
    #[serde(rename = "s")]
    pub session: String,
}

/// What the server says.
#[derive(Clone, PartialEq)]
pub enum FromServer {
    Hello(Hello),
    /// Close, and connect to this host.
    Redirect(String),
    /// It wants no more of this client, for the reason it gives.
    Shutdown(String),
    /// Something went wrong; the connection goes on.
    Error(String),
    Pong,
    Reply(Reply),
    Push(Push),
    /// What a later version may say, or a client with several transports be told.
    Unknown,
}

/// The answer to a request. Replies come in any order.
#[derive(Clone, PartialEq)]
pub struct Reply {
    pub request: u64,
    /// `ok`, or what went wrong: `permission_denied`, `expired_token`, `invalid_token`, `datastale` …
    pub status: String,
    /// Of an `ok` what was asked for, otherwise a text.
    pub data: Value,
}

impl Reply {
    pub const OK: &'static str = "ok";

    pub fn ok(request: u64, data: Value) -> Self {
        Self { request, status: Self::OK.to_owned(), data }
    }
}

/// What the server says unasked.
#[derive(Clone, PartialEq)]
pub enum Push {
    /// The value there is now this.
    Value {
        path: Path,
        value: Value,
    },
    /// These children there, each a name or a path below, are now these.
    Merge {
        path: Path,
        children: Map<String, Value>,
    },
    /// A listen is over: its permission was lost.
    ListenRevoked {
        path: Path,
    },
    /// The login is over: its token has expired, or was revoked.
    AuthRevoked {
        status: String,
        why: String,
    },
    AppCheckRevoked,
    /// For developers of rules. May repeat what is secret.
    SecurityDebug(String),
    Unknown,
}

/// What a client says.
#[derive(Clone)]
pub enum FromClient {
    Ping,
    Request { number: u64, action: Action },
}

/// What a client can ask for.
#[derive(Clone)]
pub enum Action {
    /// Statistics about the client. A server may not answer.
    Stats(Value),
    Auth {
        /// The id token.
        credential: String,
    },
    Unauth,
    /// The present value is pushed first, then the reply comes; then every change is pushed.
    Listen {
        path: Path,
    },
    Unlisten {
        path: Path,
    },
    /// Overwrites; null deletes. Told to every listener, the writer included, before the reply.
    Put {
        path: Path,
        value: Value,
    },
    Merge {
        path: Path,
        children: Map<String, Value>,
    },
    /// A put that the server makes when this client's connection is over.
    OnDisconnectPut {
        path: Path,
        value: Value,
    },
    OnDisconnectMerge {
        path: Path,
        children: Map<String, Value>,
    },
    OnDisconnectCancel {
        path: Path,
    },
    Get {
        path: Path,
    },
    /// What is not known here.
    Unknown,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    t: String,
    d: T,
}

impl FromServer {
    /// # Errors
    /// [`MessageError`]. What has a code that is not known, or far too many parts, is `Unknown` and no error.
    pub fn decode(message: &str) -> Result<Self, MessageError> {
        if has_too_many_parts(message) {
            return Ok(Self::Unknown);
        }
        match envelope(message)? {
            Envelope { t, d } if t == "c" => Self::decode_control(d),
            Envelope { t, mut d } if t == "d" => match (d["r"].as_u64(), d["a"].as_str()) {
                (Some(request), _) => {
                    let status = text(&d["b"]["s"]).ok_or(MessageError::Incomplete("r"))?;
                    Ok(Self::Reply(Reply { request, status, data: take(&mut take(&mut d, "b"), "d") }))
                }
                (None, Some(code)) => {
                    let code = code.to_owned();
                    Push::decode(&code, take(&mut d, "b")).map(Self::Push)
                }
                (None, None) => Err(MessageError::NotAnEnvelope),
            },
            _ => Ok(Self::Unknown),
        }
    }

    fn decode_control(control: Value) -> Result<Self, MessageError> {
        let Envelope { t, d } = part::<Envelope<Option<Value>>>(control).ok_or(MessageError::NotAnEnvelope)?;
        let payload = d.unwrap_or_default();
        Ok(match t.as_str() {
            "h" => Self::Hello(part(payload).ok_or(MessageError::Incomplete("h"))?),
            "r" => Self::Redirect(text(&payload).ok_or(MessageError::Incomplete("r"))?),
            "s" => Self::Shutdown(text(&payload).unwrap_or_default()),
            "e" => Self::Error(text(&payload).unwrap_or_default()),
            "o" => Self::Pong,
            _ => Self::Unknown,
        })
    }

    pub fn encode(&self) -> String {
        match self {
            Self::Hello(hello) => control("h", hello),
            Self::Redirect(host) => control("r", host),
            Self::Shutdown(why) => control("s", why),
            Self::Error(why) => control("e", why),
            Self::Pong => control("o", Value::Null),
            Self::Reply(Reply { request, status, data }) => {
                envelop("d", json!({ "r": request, "b": { "s": status, "d": data } }))
            }
            Self::Push(push) => push.encode(),
            Self::Unknown => control("?", Value::Null),
        }
    }
}

impl Push {
    fn decode(code: &str, mut body: Value) -> Result<Self, MessageError> {
        Ok(match code {
            "d" => Self::Value { path: path(&body).ok_or(MessageError::Incomplete("d"))?, value: take(&mut body, "d") },
            "m" => {
                let (path, children) =
                    path(&body).zip(part(take(&mut body, "d"))).ok_or(MessageError::Incomplete("m"))?;
                Self::Merge { path, children }
            }
            "c" => Self::ListenRevoked { path: path(&body).ok_or(MessageError::Incomplete("c"))? },
            "ac" => Self::AuthRevoked {
                status: text(&body["s"]).unwrap_or_default(),
                why: text(&body["d"]).unwrap_or_default(),
            },
            "apc" => Self::AppCheckRevoked,
            "sd" => Self::SecurityDebug(text(&body["msg"]).unwrap_or_default()),
            _ => Self::Unknown,
        })
    }

    fn encode(&self) -> String {
        let (code, body) = match self {
            Self::Value { path, value } => ("d", json!({ "p": path.push(), "d": value })),
            Self::Merge { path, children } => ("m", json!({ "p": path.push(), "d": children })),
            Self::ListenRevoked { path } => ("c", json!({ "p": path.push() })),
            Self::AuthRevoked { status, why } => ("ac", json!({ "s": status, "d": why })),
            Self::AppCheckRevoked => ("apc", json!({})),
            Self::SecurityDebug(message) => ("sd", json!({ "msg": message })),
            Self::Unknown => ("?", Value::Null),
        };
        envelop("d", json!({ "a": code, "b": body }))
    }
}

impl FromClient {
    /// # Errors
    /// [`MessageError`]. An action that is not known is [`Action::Unknown`]: whoever asked waits for a reply.
    pub fn decode(message: &str) -> Result<Self, MessageError> {
        match envelope(message)? {
            Envelope { t, d } if t == "c" && d["t"] == "p" => Ok(Self::Ping),
            Envelope { t, mut d } if t == "d" => {
                let number = d["r"].as_u64().ok_or(MessageError::NotAnEnvelope)?;
                let code = text(&d["a"]).ok_or(MessageError::NotAnEnvelope)?;
                Ok(Self::Request { number, action: Action::decode(&code, take(&mut d, "b"))? })
            }
            _ => Err(MessageError::NotAnEnvelope),
        }
    }

    pub fn encode(&self) -> String {
        match self {
            Self::Ping => control("p", json!({})),
            Self::Request { number, action } => {
                let (code, body) = action.parts();
                envelop("d", json!({ "r": number, "a": code, "b": body }))
            }
        }
    }
}

impl Action {
    fn decode(code: &str, mut body: Value) -> Result<Self, MessageError> {
        let known = ["s", "auth", "unauth", "q", "n", "p", "m", "o", "om", "oc", "g"];
        let Some(code) = known.into_iter().find(|known| *known == code) else { return Ok(Self::Unknown) };
        let path = path(&body);
        let action = match code {
            "s" => Some(Self::Stats(take(&mut body, "c"))),
            "auth" => text(&body["cred"]).map(|credential| Self::Auth { credential }),
            "unauth" => Some(Self::Unauth),
            "q" => path.map(|path| Self::Listen { path }),
            "n" => path.map(|path| Self::Unlisten { path }),
            "p" => path.map(|path| Self::Put { path, value: take(&mut body, "d") }),
            "o" => path.map(|path| Self::OnDisconnectPut { path, value: take(&mut body, "d") }),
            "oc" => path.map(|path| Self::OnDisconnectCancel { path }),
            "g" => path.map(|path| Self::Get { path }),
            "m" => path.zip(part(take(&mut body, "d"))).map(|(path, children)| Self::Merge { path, children }),
            _ => {
                path.zip(part(take(&mut body, "d"))).map(|(path, children)| Self::OnDisconnectMerge { path, children })
            }
        };
        action.ok_or(MessageError::Incomplete(code))
    }

    /// Its code and its body.
    fn parts(&self) -> (&'static str, Value) {
        let at = |path: &Path| json!({ "p": path.request() });
        let with = |path: &Path, data: Value| json!({ "p": path.request(), "d": data });
        match self {
            Self::Stats(counts) => ("s", json!({ "c": counts })),
            Self::Auth { credential } => ("auth", json!({ "cred": credential })),
            Self::Unauth => ("unauth", json!({})),
            // The hash of what the client has already: nothing.
            Self::Listen { path } => ("q", json!({ "p": path.request(), "h": "" })),
            Self::Unlisten { path } => ("n", at(path)),
            Self::Put { path, value } => ("p", with(path, value.clone())),
            Self::Merge { path, children } => ("m", with(path, children.clone().into())),
            Self::OnDisconnectPut { path, value } => ("o", with(path, value.clone())),
            Self::OnDisconnectMerge { path, children } => ("om", with(path, children.clone().into())),
            Self::OnDisconnectCancel { path } => ("oc", with(path, Value::Null)),
            Self::Get { path } => ("g", json!({ "p": path.request(), "q": {} })),
            Self::Unknown => ("?", json!({})),
        }
    }
}

fn envelope(message: &str) -> Result<Envelope<Value>, MessageError> {
    let value: Value = serde_json::from_str(message).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        MessageError::NotJson { line, column }
    })?;
    part(value).ok_or(MessageError::NotAnEnvelope)
}

/// A value of a few bytes takes some hundred once it is read: what fits into a message would not fit into a small
/// machine. Nothing of use has a hundredth of these.
fn has_too_many_parts(message: &str) -> bool {
    const MOST_PARTS: usize = 1 << 17;
    // Those in texts are counted too: there are few.
    message.bytes().filter(|byte| matches!(byte, b'{' | b'[' | b',')).count() > MOST_PARTS
}

fn control(code: &str, payload: impl Serialize) -> String {
    envelop("c", json!({ "t": code, "d": payload }))
}

fn envelop(kind: &str, content: Value) -> String {
    json!({ "t": kind, "d": content }).to_string()
}

fn part<T: for<'de> Deserialize<'de>>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

/// What is there under `key`: in whatever the other side has sent, where indexing would panic.
fn take(value: &mut Value, key: &str) -> Value {
    value.get_mut(key).map_or(Value::Null, Value::take)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn path(body: &Value) -> Option<Path> {
    Path::parse(body["p"].as_str()?)
}

impl fmt::Debug for FromServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(_) => f.write_str("Hello"),
            Self::Redirect(_) => f.write_str("Redirect"),
            Self::Shutdown(_) => f.write_str("Shutdown"),
            Self::Error(_) => f.write_str("Error"),
            Self::Pong => f.write_str("Pong"),
            Self::Reply(reply) => write!(f, "Reply({}, {:?})", reply.request, reply.status),
            Self::Push(push) => push.fmt(f),
            Self::Unknown => f.write_str("Unknown"),
        }
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value { .. } => "Value",
            Self::Merge { .. } => "Merge",
            Self::ListenRevoked { .. } => "ListenRevoked",
            Self::AuthRevoked { .. } => "AuthRevoked",
            Self::AppCheckRevoked => "AppCheckRevoked",
            Self::SecurityDebug(_) => "SecurityDebug",
            Self::Unknown => "Unknown",
        })
    }
}

impl fmt::Debug for FromClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping => f.write_str("Ping"),
            Self::Request { number, action } => write!(f, "Request({number}, {action:?})"),
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Action({})", self.parts().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> Map<String, Value> {
        let text = include_str!("../../../../tests/vectors/vivint/vivint.json");
        part(serde_json::from_str::<Value>(text).unwrap()["rtdb_frames"].take()).unwrap()
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// The kind that each message of the vectors is.
    fn kind(name: &str, message: &str) -> Option<&'static str> {
        let request = |action: &Action| match action {
            Action::Stats(counts) => (counts["sdk.node.12-19-0"] == 1).then_some("client_stats"),
            Action::Auth { credential } => (credential == "<firebase id token>").then_some("client_auth"),
            Action::Unauth => Some("unauth"),
            Action::Listen { .. } => Some("client_listen"),
            Action::Unlisten { .. } => Some("client_unlisten"),
            Action::Put { value, .. } => match (value["type"].as_str(), value) {
                (Some("sdp"), _) => Some("client_put_offer"),
                (Some("ice"), _) => Some("client_put_ice"),
                (_, Value::Null) => Some("client_remove"),
                _ => None,
            },
            Action::Merge { children, .. } => {
                (children["_timestamp"] == json!({".sv": "timestamp"})).then_some("client_merge_server_ts")
            }
            Action::OnDisconnectPut { value, .. } => value.is_null().then_some("client_ondisconnect_remove"),
            Action::Get { .. } => Some("client_get"),
            Action::OnDisconnectMerge { .. } | Action::OnDisconnectCancel { .. } | Action::Unknown => None,
        };
        let reply = |reply: &Reply| match (reply.request, reply.status.as_str()) {
            (1, "ok") => Some("reply_ok"),
            (2, "ok") => (reply.data["auth"]["uid"] == "a1b2c3d4e5f60718293a4b5c").then_some("reply_auth_ok"),
            (2, "invalid_token") => (reply.data == "Could not parse auth token.").then_some("reply_auth_invalid"),
            (2, "expired_token") => (reply.data == "Auth token is expired.").then_some("reply_auth_expired"),
            (3, "ok") => Some("reply_listen_ok"),
            (3, "permission_denied") => (reply.data == "Permission denied").then_some("reply_permission_denied"),
            (8, "ok") => reply.data.is_null().then_some("reply_get"),
            _ => None,
        };
        let push = |push: &Push| match push {
            Push::Value { value: Value::Null, .. } => Some("push_initial_null"),
            Push::Value { value: Value::String(text), .. } => (text == "answer").then_some("push_child_write"),
            Push::Value { value, .. } => (value["sdpType"] == "answer").then_some("push_answer"),
            Push::Merge { children, .. } => (children["_timestamp"] == 1_795_225_127_003_i64).then_some("push_merge"),
            Push::ListenRevoked { .. } => Some("push_listen_revoked"),
            Push::AuthRevoked { status, why } => {
                (status == "expired_token" && why == "Auth token is expired.").then_some("push_auth_revoked")
            }
            Push::AppCheckRevoked | Push::SecurityDebug(_) | Push::Unknown => None,
        };
        if name.starts_with("client") || name == "unauth" {
            return match FromClient::decode(message).ok()? {
                FromClient::Ping => Some("client_ping"),
                FromClient::Request { action, .. } => request(&action),
            };
        }
        match FromServer::decode(message).ok()? {
            FromServer::Hello(hello) => {
                (hello.version == "5" && hello.unix_ms == 1_795_225_126_955).then_some("server_hello")
            }
            FromServer::Redirect(host) => (host == "s-usc1f-nss-0001.example-db.test").then_some("server_redirect"),
            FromServer::Shutdown(why) => (why == "human readable reason").then_some("server_shutdown"),
            FromServer::Error(why) => (why == "text").then_some("server_error"),
            FromServer::Pong => Some("server_pong"),
            FromServer::Reply(answer) => reply(&answer),
            FromServer::Push(unasked) => push(&unasked),
            FromServer::Unknown => None,
        }
    }

    #[test]
    fn every_message_of_the_vectors_is_read_as_what_it_is_and_written_back() {
        for (name, message) in vectors() {
            let message = message.as_str().unwrap();
            if name == "client_keepalive" {
                assert_eq!(message, super::super::frames::KEEP_ALIVE);
                continue;
            }
            assert_eq!(kind(&name, message), Some(name.as_str()), "{message}");
            let written = match FromClient::decode(message) {
                Ok(said) if name.starts_with("client") || name == "unauth" => said.encode(),
                _ => FromServer::decode(message).unwrap().encode(),
            };
            assert_eq!(json(&written), json(message), "{name}");
        }
    }

    #[test]
    fn what_the_vectors_lack_is_read_and_written_too() {
        let at = || Path::parse("a/b").unwrap();
        let children: Map<String, Value> = part(json!({"c": 1})).unwrap();
        let action = |action| FromClient::Request { number: 1, action }.encode();
        for (written, code) in [
            (action(Action::OnDisconnectMerge { path: at(), children: children.clone() }), "om"),
            (action(Action::OnDisconnectCancel { path: at() }), "oc"),
            (action(Action::Unknown), "?"),
        ] {
            assert_eq!(json(&written)["d"]["a"], code);
            assert_eq!(json(&FromClient::decode(&written).unwrap().encode()), json(&written));
        }
        for push in [
            Push::AppCheckRevoked,
            Push::SecurityDebug("text".to_owned()),
            Push::Merge { path: at(), children },
            Push::Unknown,
        ] {
            let said = FromServer::Push(push);
            assert!(FromServer::decode(&said.encode()) == Ok(said.clone()), "{said:?}");
        }
    }

    #[test]
    fn codes_that_are_not_known_are_no_errors() {
        for text in [
            r#"{"t":"c","d":{"t":"n","d":null}}"#,
            r#"{"t":"c","d":{"t":"a"}}"#,
            r#"{"t":"x","d":1}"#,
            r#"{"t":"d","d":{"a":"new","b":{}}}"#,
        ] {
            assert!(FromServer::decode(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_message_is_an_error_and_every_truncation_is_one() {
        for text in ["", "0", "null", "[]", "{}", r#"{"t":"d"}"#, r#"{"t":1,"d":{}}"#, r#"{"t":"d","d":{}}"#] {
            assert!(FromServer::decode(text).is_err(), "{text}");
            assert!(FromClient::decode(text).is_err(), "{text}");
        }
        for text in [
            r#"{"t":"c","d":{"t":"h","d":{}}}"#,
            r#"{"t":"c","d":{"t":"r","d":{}}}"#,
            r#"{"t":"d","d":{"a":"d","b":{"d":1}}}"#,
            r#"{"t":"d","d":{"a":"m","b":{"p":"a","d":1}}}"#,
            r#"{"t":"d","d":{"r":1,"b":{}}}"#,
        ] {
            assert!(matches!(FromServer::decode(text), Err(MessageError::Incomplete(_))), "{text}");
        }
        for (name, message) in vectors().iter().filter(|(name, _)| *name != "client_keepalive") {
            let message = message.as_str().unwrap();
            for (at, _) in message.char_indices() {
                assert!(FromServer::decode(&message[..at]).is_err(), "{at} bytes of {name} were accepted");
                assert!(FromClient::decode(&message[..at]).is_err(), "{at} bytes of {name} were accepted");
            }
        }
    }

    #[test]
    fn a_message_of_too_many_parts_is_not_taken_apart() {
        let push = |value: &str| format!(r#"{{"t":"d","d":{{"a":"d","b":{{"p":"a","d":{value}}}}}}}"#);
        for part in [r#"{"":0}"#, "[]", "0"] {
            let listed = |times| push(&format!("[{}]", vec![part; times].join(",")));
            assert!(FromServer::decode(&listed(200_000)) == Ok(FromServer::Unknown), "{part}");
            assert!(matches!(FromServer::decode(&listed(1_000)), Ok(FromServer::Push(_))), "{part}");
        }
        let long = push(&format!("{:?}", "x".repeat(10 << 20)));
        assert!(matches!(FromServer::decode(&long), Ok(FromServer::Push(_))));
    }

    #[test]
    fn nothing_that_is_in_a_message_is_printed() {
        let canary = || Path::parse("canary").unwrap();
        let (auth, put) =
            (Action::Auth { credential: "canary".to_owned() }, Action::Put { path: canary(), value: "canary".into() });
        let push = FromServer::Push(Push::Value { path: canary(), value: "canary".into() });
        let reply = FromServer::Reply(Reply::ok(7, "canary".into()));
        assert_eq!(format!("{auth:?} {put:?} {push:?} {reply:?}"), "Action(auth) Action(p) Value Reply(7, \"ok\")");
    }
}
