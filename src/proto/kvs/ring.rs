//! What a doorbell publishes over AWS IoT when somebody presses its button (kvs reference §6).

use serde::Serialize;
use serde_json::{Map, Value};

/// A press. The masters agree on nothing but that there was one: the Linux one names its channel and the time, the
/// AmebaPro2 one itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ring {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Seconds since 1970, by the doorbell's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// Why a payload is no ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRing {
    #[error("a ring that is no JSON object")]
    Unreadable,
    #[error("an event other than `ring`")]
    OtherEvent,
}

/// Reads a payload: a JSON object whose `event` is `ring`. What else is in it may be missing or of any type.
///
/// # Errors
/// [`NoRing`].
pub fn parse(payload: &[u8]) -> Result<Ring, NoRing> {
    let object: Map<String, Value> = serde_json::from_slice(payload).map_err(|_| NoRing::Unreadable)?;
    if object.get("event").and_then(Value::as_str) != Some(EVENT) {
        return Err(NoRing::OtherEvent);
    }
    let text = |key| object.get(key).and_then(Value::as_str).map(str::to_owned);
    let timestamp = object.get("timestamp").and_then(seconds);
    Ok(Ring { channel: text("channel"), timestamp, device: text("device") })
}

impl Ring {
    /// As a doorbell publishes it.
    pub fn encode(&self) -> String {
        #[derive(Serialize)]
        struct Payload<'a> {
            event: &'static str,
            #[serde(flatten)]
            ring: &'a Ring,
        }
        let payload = Payload { event: EVENT, ring: self };
        serde_json::to_string(&payload).unwrap_or_else(|_| unreachable!("texts and a number"))
    }
}

const EVENT: &str = "ring";

/// Python's `time.time()` has a fraction.
fn seconds(value: &Value) -> Option<u64> {
    let fractional = || value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds)).map(|seconds| seconds as u64);
    value.as_u64().or_else(fractional)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux() -> (String, Ring) {
        let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/kvs/doorbell.json")).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        let vector = vectors.iter().find(|vector| vector["id"] == "iot-ring-linux-master").unwrap();
        let payload = vector["out"]["payload"].as_str().unwrap().to_owned();
        let ring = Ring { channel: Some("doorbell-channel".to_owned()), timestamp: Some(1_795_225_197), device: None };
        (payload, ring)
    }

    #[test]
    fn both_masters_rings_are_read_and_written() {
        let ameba = r#"{"event":"ring","device":"doorbell-master"}"#;
        let device = Ring { device: Some("doorbell-master".to_owned()), ..Ring::default() };
        assert_eq!(device.encode(), ameba);
        for (payload, ring) in [linux(), (ameba.to_owned(), device)] {
            assert_eq!(parse(payload.as_bytes()), Ok(ring.clone()));
            assert_eq!(parse(ring.encode().as_bytes()), Ok(ring));
        }
    }

    #[test]
    fn a_ring_is_one_whatever_else_is_in_it() {
        let nothing = Ok(Ring::default());
        for payload in [
            r#"{"event":"ring"}"#,
            r#"{"event":"ring","channel":7,"timestamp":"now","device":null}"#,
            r#"{"event":"ring","channel":["a"],"timestamp":-1,"device":{"id":"a"}}"#,
            r#"{"event":"ring","timestamp":1e300}"#,
            " {\"\\u0065vent\" :\n\"ring\", \"button\":true} ",
        ] {
            assert_eq!(parse(payload.as_bytes()), nothing, "{payload}");
        }
        let fraction = parse(br#"{"event":"ring","timestamp":1700000000.75}"#);
        assert_eq!(fraction.unwrap().timestamp, Some(1_700_000_000));
    }

    #[test]
    fn what_is_cut_off_or_no_ring_is_none() {
        let (whole, _) = linux();
        for end in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..end]), Err(NoRing::Unreadable), "{end}");
        }
        let nonsense: [&[u8]; 7] =
            [b"ring", b"[]", b"\"ring\"", b"null", b"\xff\xfe", b"\0", b"{\"event\":\"ring\"}{\"event\":\"ring\"}"];
        for payload in nonsense {
            assert_eq!(parse(payload), Err(NoRing::Unreadable));
        }
        let deep = [b"{\"event\":\"ring\",\"x\":".to_vec(), vec![b'['; 100_000]].concat();
        assert_eq!(parse(&deep), Err(NoRing::Unreadable));
        for payload in [r#"{}"#, r#"{"event":"RING"}"#, r#"{"event":["ring"]}"#, r#"{"eventType":"ring"}"#] {
            assert_eq!(parse(payload.as_bytes()), Err(NoRing::OtherEvent), "{payload}");
        }
    }
}
