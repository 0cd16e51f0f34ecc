//! What apps and doorbells write to each other's nodes (vivint reference §8).

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::clock;

/// The node of a device or an app.
pub(super) fn path(system: i64, device: &str) -> String {
    format!("groups/{system}/devices/{device}/msg")
}

/// What somebody has written to the doorbell's node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Signal {
    Offer { app: String, sdp: String, transaction: String, sent: Option<SystemTime>, video_source: Value },
    Answer { app: String, sdp: String, transaction: Option<String> },
    Candidate { app: String, candidate: String, has_section: bool },
}

impl Signal {
    /// `None` for what is no message, or does not say whose it is.
    pub(super) fn parse(message: &Value) -> Option<Self> {
        let text = |name: &str| message[name].as_str().map(str::to_owned);
        let app = text("from")?;
        match (message["type"].as_str()?, message["sdpType"].as_str()) {
            ("sdp", Some("offer")) => Some(Self::Offer {
                app,
                sdp: text("sdp")?,
                transaction: text("transactionUuid")?,
                sent: message["_timestamp"].as_u64().map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms)),
                video_source: message["videoSource"].clone(),
            }),
            ("sdp", Some("answer")) => {
                Some(Self::Answer { app, sdp: text("sdp")?, transaction: text("transactionUuid") })
            }
            ("ice", _) => {
                let has_section = message["sdpMLineIndex"].is_u64();
                Some(Self::Candidate { app, candidate: text("candidate")?, has_section })
            }
            _ => None,
        }
    }
}

/// An offer or answer. `kind` is one of these words.
pub(super) fn description(kind: &str, sdp: &str, transaction: &str, from: &str, sent: SystemTime) -> Value {
    json!({
        "type": "sdp",
        "sdpType": kind,
        "sdp": sdp,
        "transactionUuid": transaction,
        "from": from,
        "_timestamp": milliseconds(sent),
    })
}

pub(super) fn candidate(candidate: &str, from: &str, sent: SystemTime) -> Value {
    json!({
        "type": "ice",
        "candidate": candidate,
        "sdpMLineIndex": 0,
        "from": from,
        "_timestamp": milliseconds(sent),
    })
}

fn milliseconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Whether a message was sent about now.
pub(super) fn is_fresh(sent: SystemTime) -> bool {
    /// Clocks differ (§8).
    const SKEW: Duration = Duration::from_secs(60);
    let now = clock::unix_now();
    let apart = now.duration_since(sent).or_else(|_| sent.duration_since(now));
    apart.is_ok_and(|apart| apart <= SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> Value {
        let all: Value = serde_json::from_str(include_str!("../../../../tests/vectors/vivint/vivint.json")).unwrap();
        all["signaling"].clone()
    }

    fn at(message: &Value) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(message["_timestamp"].as_u64().unwrap())
    }

    #[test]
    fn what_an_app_writes_is_read() {
        let vectors = vectors();
        let Some(Signal::Offer { app, transaction, video_source, .. }) = Signal::parse(&vectors["offer"]) else {
            panic!("no offer");
        };
        assert_eq!(json!(app), vectors["offer"]["from"]);
        assert_eq!(
            (json!(transaction), video_source["type"].as_str()),
            (vectors["offer"]["transactionUuid"].clone(), Some("nosource"))
        );
        let candidate = Signal::parse(&vectors["ice_from_app"]);
        assert!(matches!(candidate, Some(Signal::Candidate { has_section: true, .. })), "{candidate:?}");
    }

    #[test]
    fn what_a_doorbell_writes_is_as_it_was_seen() {
        let vectors = vectors();
        let answer = &vectors["answer"];
        let text = |name: &str| answer[name].as_str().unwrap();
        let ours = description("answer", text("sdp"), text("transactionUuid"), text("from"), at(answer));
        assert_eq!(ours, *answer);
        let ice = &vectors["ice_from_app"];
        assert_eq!(candidate(ice["candidate"].as_str().unwrap(), ice["from"].as_str().unwrap(), at(ice)), *ice);
    }

    #[test]
    fn what_is_no_message_is_none() {
        let nothing = [
            json!(null),
            json!("text"),
            json!({"type": "sdp", "sdpType": "offer", "sdp": "v=0"}),
            json!({"type": "sdp", "sdpType": "offer", "from": "a", "sdp": 1, "transactionUuid": "b"}),
            json!({"type": "sdp", "from": "a", "sdp": "v=0"}),
            json!({"type": "bye", "from": "a"}),
            json!({"type": "ice", "from": "a"}),
        ];
        for message in nothing {
            assert_eq!(Signal::parse(&message), None, "{message}");
        }
    }
}
