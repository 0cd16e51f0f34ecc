//! What happens in a virtual AWS.

use serde::Serialize;

/// What happened. Clients of the signaling service are named by their ids, masters by none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Somebody who may was answered.
    Called {
        /// As a policy names it: `kinesisvideo:DescribeSignalingChannel`.
        action: String,
        /// Whoever signed it: an access key's id, or a thing.
        by: String,
    },
    /// A request was not carried out, or a WebSocket not opened.
    Refused {
        path: String,
        status: u16,
        kind: &'static str,
        why: String,
    },
    /// Temporary credentials were given out.
    Credentials {
        access_key_id: String,
        to: String,
    },
    /// A WebSocket to the signaling service was opened.
    Connected {
        channel: String,
        role: &'static str,
        client_id: Option<String>,
    },
    Disconnected {
        channel: String,
        role: &'static str,
        client_id: Option<String>,
        why: &'static str,
    },
    /// A frame reached who it is for.
    Relayed {
        channel: String,
        message: &'static str,
        from: Option<String>,
        to: Option<String>,
    },
    /// Who a frame is for is not there; it waits for some time.
    Kept {
        channel: String,
        message: &'static str,
        from: Option<String>,
        to: Option<String>,
    },
    /// A frame waited too long, or too many wait.
    Lost {
        channel: String,
        message: &'static str,
        from: Option<String>,
        to: Option<String>,
    },
    /// A frame breaks a rule.
    FrameRefused {
        channel: String,
        client_id: Option<String>,
        why: String,
    },
    /// The service has told its clients that they must go, or that their relays will.
    Noticed {
        message: String,
    },
    /// A doorbell's ring was published by the house.
    Ring {
        channel: String,
    },
    Offline,
    Online,
    /// Every connection was cut.
    Dropped,
    Fault {
        name: &'static str,
    },
    /// At AWS IoT, in its own words.
    #[serde(untagged)]
    Iot(crate::sim::iot::Event),
}
