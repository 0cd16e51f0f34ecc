//! How a connection ended, and what follows from that.

use std::io;

use rumqttc::{ConnectReturnCode, ConnectionError, StateError, mqttbytes};

use super::backoff::Failure;

/// The largest packet that is taken; a larger one ends the connection before it is read.
pub(super) const MAX_PACKET: usize = 256 * 1024;
/// A message that is larger and retained would end every connection. So the connection after such an end
/// takes packets up to this size, and the message can be refused and erased.
const MAX_PACKET_ONCE: usize = 8 * 1024 * 1024;

/// How a connection ended.
pub(super) enum End {
    Finished,
    /// An older Doorstep uses the same client id.
    Yielded,
    Failed(Box<ConnectionError>),
    /// Nobody knows where the broker is.
    Unnamed(io::Error),
    /// Nothing was heard of the broker for one and a half keep-alives.
    Silent,
    /// The broker acknowledges what was not sent, or floods us: the poll task gave up.
    Overrun,
}

/// How large a packet the next connection takes.
pub(super) fn next_limit(end: &End) -> usize {
    use mqttbytes::Error::PayloadSizeLimitExceeded;
    let End::Failed(error) = end else { return MAX_PACKET };
    match error.as_ref() {
        ConnectionError::MqttState(StateError::Deserialization(PayloadSizeLimitExceeded(size)))
            if *size <= MAX_PACKET_ONCE =>
        {
            MAX_PACKET_ONCE
        }
        _ => MAX_PACKET,
    }
}

/// The kind of failure, and a reason for the log that is the same as long as the cause is.
pub(super) fn diagnose(end: &End, was_connected: bool) -> (Failure, String) {
    let error = match end {
        End::Failed(error) => error,
        End::Unnamed(error) => return (Failure::Unnamed, error.to_string()),
        End::Silent => return (Failure::Dropped, "the broker has fallen silent".to_owned()),
        _ => return (Failure::Dropped, "the broker acknowledges more than was sent".to_owned()),
    };
    match error.as_ref() {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => (Failure::Login, "the broker refuses our user name or password".to_owned()),
        ConnectionError::ConnectionRefused(code) => (Failure::Dropped, format!("the broker refuses us: {code:?}")),
        ConnectionError::Io(error) if !was_connected => (Failure::Absent, error.to_string()),
        ConnectionError::NetworkTimeout if !was_connected => (Failure::Absent, "no answer".to_owned()),
        error => (Failure::Dropped, error.to_string()),
    }
}
