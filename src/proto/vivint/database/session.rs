//! A client's side of the database, over as many connections as it takes (vivint reference §7).
//!
//! It is told the time and handed text frames; it answers with frames to send and with what happened. What is
//! listened to is listened to again on the next connection; a put is never repeated, because in signalling whoever
//! it was for has moved on.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::events::clue;
use super::frames::{Collector, KEEP_ALIVE, split};
use super::message::{Action, FromClient, FromServer, Hello, Push, Reply};
use super::path::Path;
use super::value;

pub use super::events::{Event, Output, Refusal, SessionError, WriteError, WriteId};

enum Phase {
    /// No connection, or one that is to be closed.
    Closed,
    AwaitingHello {
        until: Instant,
        token: String,
    },
    /// `again`: the token before this one was refused.
    Authenticating {
        again: bool,
    },
    AwaitingToken,
    Ready,
}

/// A request that has no reply yet.
struct Pending {
    asked: Asked,
    until: Instant,
}

enum Asked {
    Auth,
    Listen(Path),
    Write(Write),
    /// Once more, on a later connection.
    OnDisconnect(Path),
}

struct Write {
    id: WriteId,
    path: Path,
    value: Value,
    on_disconnect: bool,
}

/// A place that is listened to.
#[derive(Default)]
struct Listen {
    state: Telling,
    /// The last that was told; `None` before the first, and while it is larger than anything of use.
    value: Option<Value>,
}

/// How far the server is with telling of a place on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Telling {
    #[default]
    Unasked,
    Asked {
        /// Whether the present value has come.
        told: bool,
    },
    Agreed,
}

pub struct Session {
    phase: Phase,
    collector: Collector,
    /// When a message that has begun must be complete.
    complete_until: Option<Instant>,
    /// The number of the last request; they go on over connections.
    last_request: u64,
    last_write: u64,
    pending: BTreeMap<u64, Pending>,
    /// Writes that wait for a new token to be accepted, and until when. With the pending ones they are at most
    /// [`Session::MAX_WRITES`]; then further ones are `Busy`.
    waiting: VecDeque<(Instant, Write)>,
    listens: BTreeMap<Path, Listen>,
    /// At most [`Session::MAX_WRITES`].
    on_disconnects: BTreeMap<Path, Value>,
    /// Whether this connection knows of those.
    registered: bool,
    /// Since when neither side has said anything.
    silent_since: Instant,
    outputs: VecDeque<Output>,
}

impl Session {
    pub const HELLO_WITHIN: Duration = Duration::from_secs(30);
    pub const REPLY_WITHIN: Duration = Duration::from_secs(10);
    /// As the official client has it.
    pub const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(45);
    /// How many writes may be under way, and how many places have something that is written at the end.
    pub const MAX_WRITES: usize = 64;

    pub fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Closed,
            collector: Collector::default(),
            complete_until: None,
            last_request: 0,
            last_write: 0,
            pending: BTreeMap::new(),
            waiting: VecDeque::new(),
            listens: BTreeMap::new(),
            on_disconnects: BTreeMap::new(),
            registered: false,
            silent_since: now,
            outputs: VecDeque::new(),
        }
    }

    /// A WebSocket is open. Nothing is sent before the server's hello, then `token`.
    pub fn on_open(&mut self, now: Instant, token: String) {
        self.on_close();
        self.phase = Phase::AwaitingHello { until: now + Self::HELLO_WITHIN, token };
        self.silent_since = now;
    }

    /// A text frame came.
    ///
    /// # Errors
    /// [`SessionError`]: close the WebSocket, and tell `on_close`.
    pub fn on_frame(&mut self, now: Instant, frame: &str) -> Result<(), SessionError> {
        if matches!(self.phase, Phase::Closed) {
            return Ok(());
        }
        self.silent_since = now;
        let message = self.collector.collect(frame)?;
        self.complete_until = self.collector.is_collecting().then(|| now + Self::REPLY_WITHIN);
        match message {
            Some(message) => self.on_message(now, FromServer::decode(&message)?),
            None => Ok(()),
        }
    }

    /// The WebSocket is closed: what was to be written fails, what is listened to is kept.
    pub fn on_close(&mut self) {
        self.phase = Phase::Closed;
        self.collector = Collector::default();
        self.complete_until = None;
        self.registered = false;
        for (_, pending) in std::mem::take(&mut self.pending) {
            if let Asked::Write(write) = pending.asked {
                self.done(write.id, Err(WriteError::Lost));
            }
        }
        for (_, write) in std::mem::take(&mut self.waiting) {
            self.done(write.id, Err(WriteError::NotConnected));
        }
        self.listens.values_mut().for_each(|listen| listen.state = Telling::Unasked);
    }

    /// The time that `deadline` named has come, or is past.
    ///
    /// # Errors
    /// As those of `on_frame`.
    pub fn on_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        match self.phase {
            Phase::Closed => {}
            Phase::AwaitingHello { until, .. } if until <= now => return Err(SessionError::NoHello),
            _ if self.answer_until().is_some_and(|until| until <= now) => return Err(SessionError::NoReply),
            Phase::AwaitingHello { .. } => {}
            _ if self.silent_since + Self::KEEP_ALIVE_AFTER <= now => {
                self.silent_since = now;
                self.outputs.push_back(Output::Send(KEEP_ALIVE.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives the server a new token on this connection. Writes wait until it is accepted.
    pub fn authenticate(&mut self, now: Instant, token: String) {
        let again = match self.phase {
            Phase::AwaitingToken => true,
            Phase::Ready => false,
            Phase::Closed | Phase::AwaitingHello { .. } | Phase::Authenticating { .. } => return,
        };
        self.phase = Phase::Authenticating { again };
        self.request(now, &Action::Auth { credential: token }, Asked::Auth);
    }

    /// Tells of this place from now on, over reconnects too. A place that is listened to already stays so.
    pub fn listen(&mut self, now: Instant, path: Path) {
        self.listens.entry(path).or_default();
        if matches!(self.phase, Phase::Ready) {
            self.ask_to_listen(now);
        }
    }

    pub fn unlisten(&mut self, now: Instant, path: &Path) {
        if self.listens.remove(path).is_some_and(|listen| listen.state != Telling::Unasked) {
            // Nobody waits for the reply, and firebase-server gives none.
            self.say(now, &Action::Unlisten { path: path.clone() });
        }
    }

    /// Whether the server has accepted the token that it was given last.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// The last value that was told of a place that is listened to.
    pub fn value(&self, path: &Path) -> Option<&Value> {
        self.listens.get(path)?.value.as_ref()
    }

    /// Whether the server has agreed, on this connection, to tell of the place.
    pub fn is_listening(&self, path: &Path) -> bool {
        self.listens.get(path).is_some_and(|listen| listen.state == Telling::Agreed)
    }

    /// Writes once, if there is a connection. What becomes of it is told by [`Event::Done`].
    ///
    /// # Errors
    /// `NotConnected`, `Busy`.
    pub fn put(&mut self, now: Instant, path: Path, value: Value) -> Result<WriteId, WriteError> {
        self.write(now, path, value, false)
    }

    /// Has the server write when this connection is over, and, once it has agreed, every later one too.
    ///
    /// # Errors
    /// `NotConnected`, `Busy`.
    pub fn put_on_disconnect(&mut self, now: Instant, path: Path, value: Value) -> Result<WriteId, WriteError> {
        if self.on_disconnects.len() >= Self::MAX_WRITES && !self.on_disconnects.contains_key(&path) {
            return Err(WriteError::Busy);
        }
        self.write(now, path, value, true)
    }

    /// Called until `None` after each of the above.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `on_timeout` is due. Moves forward each time it fires.
    pub fn deadline(&self) -> Option<Instant> {
        let answer = self.answer_until();
        match self.phase {
            Phase::Closed => None,
            Phase::AwaitingHello { until, .. } => answer.into_iter().chain([until]).min(),
            _ => answer.into_iter().chain([self.silent_since + Self::KEEP_ALIVE_AFTER]).min(),
        }
    }
}

// What the server says.
impl Session {
    fn on_message(&mut self, now: Instant, message: FromServer) -> Result<(), SessionError> {
        match message {
            FromServer::Hello(hello) => self.on_hello(now, hello),
            FromServer::Redirect(host) => {
                self.phase = Phase::Closed;
                self.event(Event::Redirect { host });
            }
            FromServer::Shutdown(why) => return Err(SessionError::Shutdown { why: clue(&why) }),
            FromServer::Error(_) => self.event(Event::Told("the database reports an error")),
            FromServer::Reply(reply) => return self.on_reply(now, reply),
            FromServer::Push(push) => self.on_push(push),
            FromServer::Pong | FromServer::Unknown => {}
        }
        Ok(())
    }

    fn on_hello(&mut self, now: Instant, hello: Hello) {
        match std::mem::replace(&mut self.phase, Phase::Authenticating { again: false }) {
            Phase::AwaitingHello { token, .. } => {
                self.event(Event::Hello { host: hello.host, session: hello.session });
                self.request(now, &Action::Auth { credential: token }, Asked::Auth);
            }
            other => self.phase = other,
        }
    }

    fn on_reply(&mut self, now: Instant, reply: Reply) -> Result<(), SessionError> {
        let Some(pending) = self.pending.remove(&reply.request) else { return Ok(()) };
        let result = match reply.status.as_str() {
            Reply::OK => Ok(reply.data),
            status => Err(Refusal::new(status, reply.data.as_str().unwrap_or_default())),
        };
        match pending.asked {
            Asked::Auth => return self.on_authenticated(now, result),
            Asked::Listen(path) => self.on_listening(path, result.map(drop)),
            Asked::Write(write) => self.on_written(write, result.map(drop)),
            Asked::OnDisconnect(path) if result.is_err() => drop(self.on_disconnects.remove(&path)),
            Asked::OnDisconnect(_) => {}
        }
        Ok(())
    }

    fn on_authenticated(&mut self, now: Instant, result: Result<Value, Refusal>) -> Result<(), SessionError> {
        let Phase::Authenticating { again } = self.phase else { return Ok(()) };
        match result {
            Ok(data) => {
                self.phase = Phase::Ready;
                let uid = data.pointer("/auth/uid").and_then(Value::as_str).map(str::to_owned);
                self.event(Event::Authenticated { uid });
                self.ask_to_listen(now);
                self.write_what_waited(now);
                Ok(())
            }
            // It may have expired since it was made.
            Err(refusal) if !again && ["expired_token", "invalid_token"].contains(&refusal.status.as_str()) => {
                self.want_token();
                Ok(())
            }
            Err(refusal) => Err(SessionError::AuthRefused(refusal)),
        }
    }

    fn on_listening(&mut self, path: Path, result: Result<(), Refusal>) {
        let Some(listen) = self.listens.get_mut(&path) else { return };
        match (result, std::mem::replace(&mut listen.state, Telling::Agreed)) {
            (Err(why), _) => self.revoke(path, why),
            (Ok(()), before) => {
                // Nothing was told: there is nothing, as we said when we asked.
                if before == (Telling::Asked { told: false }) {
                    self.keep(&path, Value::Null);
                }
                self.event(Event::Listening { path });
            }
        }
    }

    fn on_written(&mut self, write: Write, result: Result<(), Refusal>) {
        if write.on_disconnect {
            match &result {
                Ok(()) => drop(self.on_disconnects.insert(write.path, write.value)),
                Err(_) => drop(self.on_disconnects.remove(&write.path)),
            }
        }
        self.done(write.id, result.map_err(WriteError::Refused));
    }

    fn on_push(&mut self, push: Push) {
        match push {
            Push::Value { path, value } => self.on_writes(&[(path, value)]),
            Push::Merge { path, children } => {
                let children = children.into_iter();
                let writes: Vec<_> = children.filter_map(|(key, value)| Some((path.child(&key)?, value))).collect();
                self.on_writes(&writes);
            }
            Push::ListenRevoked { path } => self.on_listen_revoked(path),
            Push::AuthRevoked { .. } if matches!(self.phase, Phase::Ready) => self.want_token(),
            // The token that is being checked is a newer one than that which is revoked.
            Push::AuthRevoked { .. } | Push::Unknown => {}
            Push::AppCheckRevoked => self.event(Event::Told("the database's check of the app was revoked")),
            Push::SecurityDebug(_) => self.event(Event::Told("the database explains its rules")),
        }
    }

    fn on_listen_revoked(&mut self, path: Path) {
        let Some(listen) = self.listens.get_mut(&path) else { return };
        match self.phase {
            // The login is gone, and every permission with it: with the next login it is asked for anew.
            Phase::AwaitingToken | Phase::Authenticating { .. } => listen.state = Telling::Unasked,
            _ => self.revoke(path, Refusal::new("permission_denied", "the permission to listen was lost")),
        }
    }

    /// What was written where. Each place that is listened to is told of once.
    fn on_writes(&mut self, writes: &[(Path, Value)]) {
        let mut changed = vec![];
        for (listened, listen) in &mut self.listens {
            let concerned = writes.iter().filter(|(path, _)| touches(path, listened));
            let now = concerned.fold(None, |now, write| after(now.or_else(|| listen.value.clone()), listened, write));
            if let Some(now) = now {
                if let Telling::Asked { told } = &mut listen.state {
                    *told = true;
                }
                changed.push((listened.clone(), now));
            }
        }
        changed.into_iter().for_each(|(path, value)| self.keep(&path, value));
    }

    /// Keeps what is at a listened place, and tells of it if it is another than before.
    fn keep(&mut self, path: &Path, value: Value) {
        let Some(listen) = self.listens.get_mut(path) else { return };
        if value::is_too_large(&value) {
            listen.value = None;
            self.event(Event::Told("what is at a listened place is too large"));
        } else if listen.value.as_ref() != Some(&value) {
            listen.value = Some(value.clone());
            self.event(Event::Value { path: path.clone(), value });
        }
    }

    fn revoke(&mut self, path: Path, why: Refusal) {
        self.listens.remove(&path);
        self.event(Event::Revoked { path, why });
    }
}

// What is said to the server.
impl Session {
    fn want_token(&mut self) {
        self.phase = Phase::AwaitingToken;
        self.event(Event::TokenWanted);
    }

    /// Asks for every listened place that this connection does not tell of.
    fn ask_to_listen(&mut self, now: Instant) {
        let mut unasked = vec![];
        for (path, listen) in self.listens.iter_mut().filter(|(_, listen)| listen.state == Telling::Unasked) {
            listen.state = Telling::Asked { told: false };
            unasked.push(path.clone());
        }
        for path in unasked {
            self.request(now, &Action::Listen { path: path.clone() }, Asked::Listen(path));
        }
    }

    fn write(&mut self, now: Instant, path: Path, value: Value, on_disconnect: bool) -> Result<WriteId, WriteError> {
        if self.pending.len() + self.waiting.len() >= Self::MAX_WRITES {
            return Err(WriteError::Busy);
        }
        self.last_write += 1;
        let id = WriteId(self.last_write);
        let write = Write { id, path, value, on_disconnect };
        match self.phase {
            Phase::Closed | Phase::AwaitingHello { .. } => return Err(WriteError::NotConnected),
            Phase::Ready => self.send_write(now, write),
            Phase::Authenticating { .. } | Phase::AwaitingToken => {
                self.waiting.push_back((now + Self::REPLY_WITHIN, write));
            }
        }
        Ok(id)
    }

    /// The writes that a new token was needed for, in the official client's order: those on disconnect come last,
    /// the ones of earlier connections among them.
    fn write_what_waited(&mut self, now: Instant) {
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(_, write)| write);
        let (last, first): (Vec<_>, Vec<_>) = waiting.partition(|write| write.on_disconnect);
        first.into_iter().for_each(|write| self.send_write(now, write));
        let known = std::mem::replace(&mut self.registered, true);
        let unknown = if known { BTreeMap::new() } else { self.on_disconnects.clone() };
        for (path, value) in unknown {
            let action = Action::OnDisconnectPut { path: path.clone(), value };
            self.request(now, &action, Asked::OnDisconnect(path));
        }
        last.into_iter().for_each(|write| self.send_write(now, write));
    }

    fn send_write(&mut self, now: Instant, write: Write) {
        let (path, value) = (write.path.clone(), write.value.clone());
        let action = match write.on_disconnect {
            true => Action::OnDisconnectPut { path, value },
            false => Action::Put { path, value },
        };
        self.request(now, &action, Asked::Write(write));
    }

    /// Says something that is to be replied to.
    fn request(&mut self, now: Instant, action: &Action, asked: Asked) {
        let number = self.say(now, action);
        self.pending.insert(number, Pending { asked, until: now + Self::REPLY_WITHIN });
    }

    fn say(&mut self, now: Instant, action: &Action) -> u64 {
        self.last_request += 1;
        let message = FromClient::Request { number: self.last_request, action: action.clone() };
        self.outputs.extend(split(&message.encode()).into_iter().map(Output::Send));
        self.silent_since = now;
        self.last_request
    }

    /// When the server must have answered what it was asked first, and have completed what it began.
    fn answer_until(&self) -> Option<Instant> {
        let replies = self.pending.values().map(|pending| pending.until);
        let waiting = self.waiting.front().map(|(until, _)| *until);
        replies.chain(waiting).chain(self.complete_until).min()
    }

    fn done(&mut self, write: WriteId, outcome: Result<(), WriteError>) {
        self.event(Event::Done { write, outcome });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// Whether a write at `path` changes what is at `listened`.
fn touches(path: &Path, listened: &Path) -> bool {
    listened.below(path).is_some() || path.below(listened).is_some()
}

/// What is at `listened` after a write; `None` while it is not known as a whole.
fn after(now: Option<Value>, listened: &Path, (path, written): &(Path, Value)) -> Option<Value> {
    if let Some(keys) = listened.below(path) {
        return Some(value::at(written.clone(), keys));
    }
    let mut now = now?;
    value::put(&mut now, path.below(listened)?, written.clone());
    Some(now)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
