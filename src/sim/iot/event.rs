//! What happens at a virtual AWS IoT.

use serde::Serialize;

/// What happened. Clients are named by their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    IotConnected {
        client_id: String,
        principal: String,
        /// What was kept for it was found.
        session_present: bool,
    },
    /// By its policy, or by a fault.
    IotConnectRefused {
        client_id: String,
        principal: String,
    },
    IotDisconnected {
        client_id: String,
        why: &'static str,
    },
    IotSubscribed {
        client_id: String,
        filter: String,
        qos: u8,
    },
    IotSubscribeRefused {
        client_id: String,
        filter: String,
    },
    /// Without a client id by the house itself.
    IotPublished {
        client_id: Option<String>,
        topic: String,
        qos: u8,
    },
    IotPublishRefused {
        client_id: String,
        topic: String,
    },
    IotDelivered {
        client_id: String,
        topic: String,
        qos: u8,
        dup: bool,
    },
    /// What was delivered with QoS 1 has come through.
    IotAcknowledged {
        client_id: String,
        topic: String,
    },
    /// The client was not there, or too slow, and too much was waiting for it.
    IotDropped {
        client_id: String,
        topic: String,
    },
    IotFault {
        name: &'static str,
    },
}
