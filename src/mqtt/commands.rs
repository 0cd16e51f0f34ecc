//! What the broker tells us to do, with an answer to each command on `/result`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::door::DoorQueue;
use super::poller::Message;
use super::publisher::Publisher;
use super::say::{self, SayQueue};
use super::snapshot::SnapshotQueue;
use super::topics::{Addressee, SayTopic, Switch, Topics};
use crate::clock::{self, Instant};
use crate::doorbell::{Accounts, ActionError, Doorbell};
use crate::model::{Capability, DeviceId, DoorKind};

/// A command is a word or a short JSON object; anything longer is none, unless it is to be said.
pub(super) const MAX_PAYLOAD: usize = 1_024;

/// What a payload asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub on: bool,
    /// Whatever the sender wants to see again in the answer: text of at most 64 bytes, a number, or null.
    pub id: Value,
}

impl Order {
    /// `ON`, `OFF` (any case), or `{"state":"ON","id":…}` with an optional id.
    ///
    /// # Errors
    /// `BadPayload` for anything else.
    pub fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(payload).ok().filter(|text| text.len() <= MAX_PAYLOAD);
        let text = text.ok_or(Refusal::BadPayload)?;
        if let Some(on) = parse_state(text) {
            return Ok(Self { on, id: Value::Null });
        }
        let object: Map<_, _> = serde_json::from_str(text).map_err(|_| Refusal::BadPayload)?;
        let on = object.get("state").and_then(Value::as_str).and_then(parse_state).ok_or(Refusal::BadPayload)?;
        Ok(Self { on, id: id_in(&object) })
    }
}

/// The sender's own id in a command that says nothing else, if there is one.
fn echo_of(payload: &[u8]) -> Value {
    let short = Some(payload).filter(|payload| payload.len() <= MAX_PAYLOAD);
    short.and_then(|json| serde_json::from_slice(json).ok()).map_or(Value::Null, |object| id_in(&object))
}

/// The sender's own id in a command.
pub(super) fn id_in(object: &Map<String, Value>) -> Value {
    object.get("id").filter(|id| is_echoed(id)).cloned().unwrap_or_default()
}

/// `ON` and `OFF`, in any case.
pub(super) fn parse_state(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("ON") => Some(true),
        _ if text.eq_ignore_ascii_case("OFF") => Some(false),
        _ => None,
    }
}

fn is_echoed(id: &Value) -> bool {
    id.is_number() || id.as_str().is_some_and(|id| id.len() <= 64)
}

/// Why a command was not even tried, in words for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("retained commands are refused and erased; publish without the retain flag")]
    Retained,
    #[error(r#"the payload must be ON, OFF or {{"state":"ON"}}"#)]
    BadPayload,
    #[error("the payload must be PRESS")]
    NoPress,
    #[error("the accounts were asked to list their devices less than 10 s ago")]
    TooSoon,
    #[error("there is no such doorbell")]
    UnknownDoorbell,
    #[error("busy: too many commands for this doorbell are waiting")]
    Busy,
}

/// What came of a command.
pub(super) struct Answer {
    /// `None` when it could not be read.
    pub(super) command: Option<&'static str>,
    pub(super) outcome: Result<(), String>,
    pub(super) took: Duration,
    /// The sender's own `id`; null without one.
    pub(super) id: Value,
}

impl Answer {
    pub(super) fn publish(self, topic: String, publisher: &Publisher) {
        self.publish_with(Map::new(), topic, publisher);
    }

    /// The same with what else there is to tell.
    pub(super) fn publish_with(self, more: Map<String, Value>, topic: String, publisher: &Publisher) {
        let mut answer = json!({
            "command": self.command,
            "ok": self.outcome.is_ok(),
            "error": self.outcome.err(),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "id": self.id,
        });
        for (name, value) in more {
            answer[name] = value;
        }
        publisher.answer(topic, answer.to_string());
    }
}

/// Where the commands for one doorbell go.
pub(super) struct Inbox {
    pub(super) switches: Queue,
    pub(super) snapshots: SnapshotQueue,
    pub(super) sayings: SayQueue,
    /// Of the doors that its owner has enabled.
    pub(super) doors: BTreeMap<DoorKind, DoorQueue>,
}

/// Takes commands off the broker's hands.
pub(super) struct Commands {
    topics: Topics,
    publisher: Publisher,
    accounts: Accounts,
    last_complaint: Option<Instant>,
    last_rediscovery: Option<Instant>,
}

impl Commands {
    /// Refusals are counted each, and logged at most this often.
    const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
    /// Each listing costs requests that a cloud counts.
    const REDISCOVER_EVERY: Duration = Duration::from_secs(10);

    pub(super) fn new(topics: Topics, publisher: Publisher, accounts: Accounts) -> Self {
        Self { topics, publisher, accounts, last_complaint: None, last_rediscovery: None }
    }

    /// Gives the command in `message` to its doorbell's queue, or answers why not. Anything that is no command
    /// is passed over.
    pub(super) fn take<'a>(&mut self, message: &Message, inbox_of: impl FnOnce(&DeviceId) -> Option<&'a Inbox>) {
        // An erased message, by us or by somebody else, tells its subscribers so with an empty payload.
        if message.payload.is_empty() {
            return;
        }
        match self.topics.parse_command(&message.topic) {
            Some(Addressee::Switch(id, switch)) => self.take_switch(message, &id, switch, inbox_of(&id)),
            Some(Addressee::Door(id, kind)) => {
                if let Some(door) = inbox_of(&id).and_then(|inbox| inbox.doors.get(&kind)) {
                    self.take_attempt(message, &id, door);
                }
            }
            Some(Addressee::Snapshot(id)) => self.take_snapshot(message, &id, inbox_of(&id)),
            Some(Addressee::Say(id, topic)) => self.take_saying(message, &id, topic, inbox_of(&id)),
            Some(Addressee::Rediscover) => self.take_rediscover(message),
            None => {}
        }
    }

    fn take_switch(&mut self, message: &Message, id: &DeviceId, switch: Switch, inbox: Option<&Inbox>) {
        let (result, command) = (self.topics.result(id), Some(switch.word()));
        if message.retained {
            self.publisher.erase(message.topic.clone());
            return self.refuse(result, command, Value::Null, Refusal::Retained);
        }
        let order = match Order::parse(&message.payload) {
            Ok(order) => order,
            Err(refusal) => return self.refuse(result, command, Value::Null, refusal),
        };
        let echo = order.id.clone();
        match inbox {
            None => self.refuse(result, command, echo, Refusal::UnknownDoorbell),
            Some(inbox) if inbox.switches.0.try_send((switch, order)).is_err() => {
                self.refuse(result, command, echo, Refusal::Busy);
            }
            Some(_) => {}
        }
    }

    fn take_snapshot(&mut self, message: &Message, id: &DeviceId, inbox: Option<&Inbox>) {
        let (result, command) = (self.topics.result(id), Some(SnapshotQueue::COMMAND));
        if message.retained {
            self.publisher.erase(message.topic.clone());
            return self.refuse(result, command, Value::Null, Refusal::Retained);
        }
        let echo = echo_of(&message.payload);
        match inbox {
            None => self.refuse(result, command, echo, Refusal::UnknownDoorbell),
            Some(inbox) if !inbox.snapshots.put(echo.clone(), message.received) => {
                self.refuse(result, command, echo, Refusal::Busy);
            }
            Some(_) => {}
        }
    }

    fn take_saying(&mut self, message: &Message, id: &DeviceId, topic: SayTopic, inbox: Option<&Inbox>) {
        let (result, command) = (self.topics.result(id), Some(topic.command()));
        if message.retained {
            self.publisher.erase(message.topic.clone());
            return self.refuse(result, command, Value::Null, Refusal::Retained);
        }
        let order = match say::Order::parse(topic, message) {
            Ok(order) => order,
            Err((why, echo)) => return self.refuse(result, command, echo, why),
        };
        let echo = order.id.clone();
        match inbox {
            None => self.refuse(result, command, echo, Refusal::UnknownDoorbell),
            Some(inbox) if !inbox.sayings.put(order) => self.refuse(result, command, echo, Refusal::Busy),
            Some(_) => {}
        }
    }

    /// Every message for a door is the guard's to judge, a retained one too: it goes into the audit log.
    fn take_attempt(&mut self, message: &Message, id: &DeviceId, door: &DoorQueue) {
        if message.retained {
            self.publisher.erase(message.topic.clone());
        }
        if !door.put(message) {
            self.refuse(self.topics.result(id), None, Value::Null, Refusal::Busy);
        }
    }

    fn take_rediscover(&mut self, message: &Message) {
        let (result, command) = (self.topics.bridge_result(), Some("rediscover"));
        if message.retained {
            self.publisher.erase(message.topic.clone());
            return self.refuse(result, command, Value::Null, Refusal::Retained);
        }
        if message.payload != b"PRESS".as_slice() {
            return self.refuse(result, command, Value::Null, Refusal::NoPress);
        }
        if self.last_rediscovery.is_some_and(|last| last.elapsed() < Self::REDISCOVER_EVERY) {
            return self.refuse(result, command, Value::Null, Refusal::TooSoon);
        }
        self.last_rediscovery = Some(clock::now());
        self.accounts.rediscover();
        let answer = Answer { command, outcome: Ok(()), took: message.received.elapsed(), id: Value::Null };
        answer.publish(result, &self.publisher);
    }

    fn refuse(&mut self, result: String, command: Option<&'static str>, id: Value, refusal: impl Display) {
        self.publisher.count_refused_command();
        if self.last_complaint.is_none_or(|last| last.elapsed() >= Self::COMPLAIN_EVERY) {
            self.last_complaint = Some(clock::now());
            tracing::warn!(topic = result, command, reason = %refusal, "MQTT command refused");
        }
        let outcome = Err(refusal.to_string());
        Answer { command, outcome, took: Duration::ZERO, id }.publish(result, &self.publisher);
    }
}

/// The commands that wait for one doorbell. While it is full, further ones are answered `busy`.
pub(super) struct Queue(mpsc::Sender<(Switch, Order)>);

/// The other end of a [`Queue`]: carries commands out one after the other, so that ON then OFF ends in off.
pub(super) struct Worker {
    doorbell: Doorbell,
    topics: Topics,
    publisher: Publisher,
    orders: mpsc::Receiver<(Switch, Order)>,
}

impl Worker {
    const QUEUE: usize = 8;

    pub(super) fn new(doorbell: Doorbell, topics: Topics, publisher: Publisher) -> (Queue, Self) {
        let (queue, orders) = mpsc::channel(Self::QUEUE);
        (Queue(queue), Self { doorbell, topics, publisher, orders })
    }

    pub(super) async fn run(mut self) {
        while let Some((switch, order)) = self.orders.recv().await {
            let began = clock::now();
            let outcome = self.flip(switch, order.on).await.map_err(|error| error.to_string());
            let answer = Answer { command: Some(switch.word()), outcome, took: began.elapsed(), id: order.id };
            answer.publish(self.topics.result(&self.doorbell.info().id), &self.publisher);
        }
    }

    async fn flip(&self, switch: Switch, on: bool) -> Result<(), ActionError> {
        match switch {
            Switch::Talk => self.doorbell.switch_talk(on).await,
            Switch::Stream if !self.doorbell.info().capabilities.contains(&Capability::Stream) => {
                Err(ActionError::Unsupported("it has no picture"))
            }
            Switch::Stream => {
                self.doorbell.switch_stream(on);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_and_off_are_understood_in_any_case_and_as_json() {
        for (payload, on, id) in [
            ("ON", true, json!(null)),
            ("off", false, json!(null)),
            (r#"{"state":"ON"}"#, true, json!(null)),
            (r#"{"state":"Off","id":"x1"}"#, false, json!("x1")),
            (r#" {"id":7,"state":"on","more":[1]} "#, true, json!(7)),
            (r#"{"state":"ON","id":{"a":1}}"#, true, json!(null)),
        ] {
            assert_eq!(Order::parse(payload.as_bytes()), Ok(Order { on, id }), "{payload}");
        }
    }

    #[test]
    fn anything_else_is_a_bad_payload() {
        let long = "x".repeat(1 << 20);
        let deep = "[".repeat(1_000);
        let cases: [&[u8]; 12] = [
            b"",
            b"1",
            b"true",
            b" ON",
            b"ON\n",
            b"TOGGLE",
            b"{}",
            br#"{"state":true}"#,
            br#"{"state":"ON""#,
            b"\xff\xfe",
            long.as_bytes(),
            deep.as_bytes(),
        ];
        for payload in cases {
            assert_eq!(Order::parse(payload), Err(Refusal::BadPayload), "{:?}", payload.get(..20));
        }
    }
}
