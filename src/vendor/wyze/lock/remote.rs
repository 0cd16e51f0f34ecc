//! Locks through Wyze's cloud: two interfaces, Ford and iot3, that say the same in different words (wyze-cloud
//! reference §8).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::cloud::{App, Cloud, CloudError, Host, Method};
use crate::model::{LockAction, LockState};

/// Which interface works a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    Ford,
    Iot3,
}

impl Interface {
    /// `None` for a model that Doorstep does not know.
    ///
    /// # Errors
    /// Why it cannot be worked, in a sentence for the owner.
    pub fn of(model: &str) -> Option<Result<Self, &'static str>> {
        match model {
            "YD.LO1" => Some(Ok(Self::Ford)),
            "DX_LB2" | "DX_PVLOC" => Some(Ok(Self::Iot3)),
            "YD_BT1" => Some(Err("it is worked over Bluetooth by a phone beside it, and by nothing else")),
            _ => None,
        }
    }
}

/// A lock of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// As the cloud lists it.
    pub mac: String,
    pub model: String,
    pub interface: Interface,
}

/// What a lock said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) online: bool,
    /// `Locked` or `Unlocked`; `None` when it said something that is neither.
    pub(super) bolt: Option<LockState>,
}

/// A lock as its life sees it. The seam by which tests put in a lock without a cloud.
pub(super) trait Bolt: Sync {
    /// Makes a command ready, which is sent when what this returns is awaited: once, and given up after `within`.
    ///
    /// # Errors
    /// `Renewing` when it cannot be sent now.
    fn prepare(
        &self,
        action: LockAction,
        within: Duration,
    ) -> Result<impl Future<Output = Result<(), CloudError>> + Send, CloudError>;

    fn read(&self) -> impl Future<Output = Result<Reading, CloudError>> + Send;

    /// Whether the lock has jammed since `since`, as far as it tells.
    fn has_jammed(&self, since: SystemTime) -> impl Future<Output = Result<bool, CloudError>> + Send;

    /// The cloud's clock.
    fn time(&self) -> SystemTime;
}

/// A lock behind the cloud.
pub(super) struct Remote<'a> {
    pub(super) lock: &'a Lock,
    pub(super) cloud: &'a Cloud,
}

const FORD_CONTROL: &str = "/openapi/lock/v1/control";
const FORD_INFO: &str = "/openapi/lock/v1/info";
const FORD_DIARY: &str = "/openapi/v1/safety/family_record";
const IOT3_ACTION: &str = "/app/v4/iot3/run-action";
const IOT3_PROPERTY: &str = "/app/v4/iot3/get-property";

impl Bolt for Remote<'_> {
    fn prepare(
        &self,
        action: LockAction,
        within: Duration,
    ) -> Result<impl Future<Output = Result<(), CloudError>> + Send, CloudError> {
        let once = self.cloud.once()?;
        Ok(async move {
            match self.lock.interface {
                Interface::Ford => {
                    let fields = self.ford(&[("action", ford_word(action))]);
                    once.ford(FORD_CONTROL, fields, within).await.map(drop)
                }
                Interface::Iot3 => {
                    let params = json!({ "action_id": ticket(), "type": 1, "username": self.cloud.email().expose() });
                    let body = self.iot3("run_action", &[("action", iot3_word(action).into()), ("params", params)]);
                    once.signed(App::Olive, Host::Api, IOT3_ACTION, body, within).await.map(drop)
                }
            }
        })
    }

    async fn read(&self) -> Result<Reading, CloudError> {
        match self.lock.interface {
            Interface::Ford => {
                let answer = self.cloud.ford(Method::GET, FORD_INFO, self.ford(&[("with_keypad", "1")])).await?;
                Ok(Reading::of_ford(&answer))
            }
            Interface::Iot3 => {
                let properties = json!(["lock::lock-status", "lock::door-status", "iot-device::iot-state"]);
                let body = self.iot3("get_property", &[("props", properties)]);
                Ok(Reading::of_iot3(&self.cloud.signed(App::Olive, Host::Api, IOT3_PROPERTY, body).await?))
            }
        }
    }

    async fn has_jammed(&self, since: SystemTime) -> Result<bool, CloudError> {
        if self.lock.interface == Interface::Iot3 {
            // It has no word for it that any client knows.
            return Ok(false);
        }
        let begin = millis(since).to_string();
        let diary = self.cloud.ford(Method::GET, FORD_DIARY, self.ford(&[("begin", &begin), ("limit", "20")])).await?;
        Ok(ends_jammed(&diary))
    }

    fn time(&self) -> SystemTime {
        self.cloud.server_now()
    }
}

impl Remote<'_> {
    fn ford(&self, fields: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
        // `YD.LO1.<uuid>`
        let uuid = self.lock.mac.rsplit('.').next().unwrap_or_default();
        fields.iter().chain(&[("uuid", uuid)]).map(|(key, value)| (*key, (*value).to_owned())).collect()
    }

    fn iot3(&self, command: &str, fields: &[(&str, Value)]) -> Value {
        let mut payload = json!({ "cmd": command, "tid": ticket(), "ts": millis(self.cloud.server_now()), "ver": 1 });
        for (key, value) in fields {
            payload[*key] = value.clone();
        }
        json!({ "payload": payload, "targetInfo": { "id": self.lock.mac, "model": self.lock.model } })
    }
}

impl Reading {
    /// `hardlock` is 1 locked, 2 unlocked, as working clients have it. The app has other numbers for another field.
    fn of_ford(answer: &Value) -> Self {
        let device = &answer["device"];
        let bolt = match number(&device["locker_status"]["hardlock"]) {
            Some(1) => Some(LockState::Locked),
            Some(2) => Some(LockState::Unlocked),
            _ => None,
        };
        Self { online: number(&device["onoff_line"]) == Some(1), bolt }
    }

    /// `lock-status` is true when locked. A lock that says nothing of its connection has answered, so it has one.
    fn of_iot3(data: &Value) -> Self {
        let properties = &data["props"];
        let bolt = match number(&properties["lock::lock-status"]) {
            Some(1) => Some(LockState::Locked),
            Some(0) => Some(LockState::Unlocked),
            _ => None,
        };
        Self { online: number(&properties["iot-device::iot-state"]) != Some(0), bolt }
    }
}

/// Whether the newest entry of a diary that is about the bolt says that it is stuck.
fn ends_jammed(diary: &Value) -> bool {
    const UNLOCKED: i64 = 2203;
    const LOCKED: i64 = 2216;
    const JAMMED: i64 = 2221;
    let entries = diary["family_record"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_bolt = entries.iter().filter_map(|entry| Some((number(&entry["time"])?, number(&entry["eventid"])?)));
    let newest = of_bolt.filter(|(_, what)| [UNLOCKED, LOCKED, JAMMED].contains(what)).max_by_key(|(at, _)| *at);
    newest.is_some_and(|(_, what)| what == JAMMED)
}

fn ford_word(action: LockAction) -> &'static str {
    match action {
        LockAction::Lock => "remoteLock",
        LockAction::Unlock => "remoteUnlock",
    }
}

fn iot3_word(action: LockAction) -> &'static str {
    match action {
        LockAction::Lock => "lock::lock",
        LockAction::Unlock => "lock::unlock",
    }
}

/// A number of five digits, which iot3 gives back.
fn ticket() -> u32 {
    10_000 + getrandom::u32().unwrap_or_default() % 90_000
}

/// A number, be it written as a text or a truth.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::String(text) => match text.trim() {
            "true" => Some(1),
            "false" => Some(0),
            text => text.parse().ok(),
        },
        value => value.as_i64(),
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_worked_by_the_interface_that_it_has() {
        assert_eq!(Interface::of("YD.LO1"), Some(Ok(Interface::Ford)));
        assert_eq!(Interface::of("DX_LB2"), Some(Ok(Interface::Iot3)));
        assert_eq!(Interface::of("DX_PVLOC"), Some(Ok(Interface::Iot3)));
        assert!(matches!(Interface::of("YD_BT1"), Some(Err(why)) if why.contains("Bluetooth")));
        assert_eq!(Interface::of("HL_DB2"), None);
    }

    #[test]
    fn a_state_that_nobody_knows_is_neither_locked_nor_unlocked() {
        let ford = |hardlock: Value| {
            Reading::of_ford(&json!({ "device": { "onoff_line": 1, "locker_status": { "hardlock": hardlock } } })).bolt
        };
        assert_eq!(ford(json!(1)), Some(LockState::Locked));
        assert_eq!(ford(json!("2")), Some(LockState::Unlocked));
        for unknown in [json!(0), json!(3), json!(null), json!([]), json!("open"), json!(1.5)] {
            assert_eq!(ford(unknown.clone()), None, "{unknown}");
        }
        let iot3 = |status: Value| Reading::of_iot3(&json!({ "props": { "lock::lock-status": status } })).bolt;
        assert_eq!(iot3(json!(true)), Some(LockState::Locked));
        assert_eq!(iot3(json!(0)), Some(LockState::Unlocked));
        for unknown in [json!(2), json!(null), json!("jammed"), json!({})] {
            assert_eq!(iot3(unknown.clone()), None, "{unknown}");
        }
        for nonsense in [json!(null), json!([]), json!("text"), json!({ "device": [], "props": 1 })] {
            assert_eq!(Reading::of_ford(&nonsense), Reading { online: false, bolt: None });
            assert_eq!(Reading::of_iot3(&nonsense).bolt, None);
        }
    }

    #[test]
    fn a_diary_ends_jammed_when_its_newest_word_on_the_bolt_is_that() {
        let diary = |entries: &[(i64, i64)]| {
            let entries: Vec<Value> = entries.iter().map(|(what, at)| json!({ "eventid": what, "time": at })).collect();
            ends_jammed(&json!({ "family_record": entries }))
        };
        assert!(diary(&[(2221, 5)]));
        assert!(diary(&[(2203, 1), (2221, 5), (2214, 9)]));
        assert!(!diary(&[(2221, 5), (2216, 6)]));
        assert!(!diary(&[]));
        assert!(!ends_jammed(&json!({ "family_record": "none" })));
    }
}
