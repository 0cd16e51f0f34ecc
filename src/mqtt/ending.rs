//! How a connection ended, and what follows from that.

use std::io;

use rumqttc::mqttbytes::Error as FormatError;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError};

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
    /// It is heard, and one of our messages has waited as long for its acknowledgement.
    Unacknowledged,
    /// The broker acknowledges what was not sent, or floods us: the poll task gave up.
    Overrun,
}

/// How large a packet the next connection takes.
pub(super) fn next_limit(end: &End) -> usize {
    let End::Failed(error) = end else { return MAX_PACKET };
    match error.as_ref() {
        ConnectionError::MqttState(StateError::Deserialization(FormatError::PayloadSizeLimitExceeded(size)))
            if *size <= MAX_PACKET_ONCE =>
        {
            MAX_PACKET_ONCE
        }
        _ => MAX_PACKET,
    }
}

/// The kind of failure, and a reason for the log that is the same as long as the cause is. Nothing in it is of the
/// broker's making: that could be another text each time, and our own login.
pub(super) fn diagnose(end: &End, was_connected: bool) -> (Failure, String) {
    let error = match end {
        End::Failed(error) => error,
        End::Unnamed(error) => return (Failure::Unnamed, error.to_string()),
        End::Silent => return (Failure::Dropped, "the broker has fallen silent".to_owned()),
        End::Unacknowledged => return (Failure::Dropped, "the broker does not acknowledge what we publish".to_owned()),
        _ => return (Failure::Dropped, "the broker acknowledges more than was sent".to_owned()),
    };
    match error.as_ref() {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => (Failure::Login, "the broker refuses our user name or password".to_owned()),
        ConnectionError::ConnectionRefused(code) => (Failure::Dropped, format!("the broker refuses us: {code:?}")),
        ConnectionError::Io(error) if !was_connected => (Failure::Absent, error.to_string()),
        ConnectionError::NetworkTimeout if !was_connected => (Failure::Absent, "no answer".to_owned()),
        // What forwards a port, as Docker does, takes connections for a broker that is not there, and closes them.
        ConnectionError::MqttState(error) if !was_connected && is_closed(error) => {
            (Failure::Absent, protocol_error(error))
        }
        ConnectionError::MqttState(error) => (Failure::Dropped, protocol_error(error)),
        ConnectionError::NotConnAck(_) => (Failure::Dropped, NO_MQTT.to_owned()),
        error => (Failure::Dropped, error.to_string()),
    }
}

/// Whether the connection was closed without a word.
fn is_closed(error: &StateError) -> bool {
    match error {
        StateError::ConnectionAborted => true,
        StateError::Deserialization(FormatError::Io(error)) => error.kind() == std::io::ErrorKind::ConnectionReset,
        _ => false,
    }
}

const NO_MQTT: &str = "what the broker sends is not MQTT 3.1.1";

fn protocol_error(error: &StateError) -> String {
    match error {
        StateError::Deserialization(FormatError::Io(error)) => error.to_string(),
        StateError::Deserialization(FormatError::PayloadSizeLimitExceeded(_)) => {
            "the broker sends a larger packet than we take".to_owned()
        }
        StateError::Deserialization(FormatError::OutgoingPacketTooLarge { .. }) => {
            "a message of ours is too large".to_owned()
        }
        StateError::Unsolicited(_) => "the broker acknowledges what was not sent".to_owned(),
        StateError::Deserialization(_) | StateError::WrongPacket => NO_MQTT.to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::mqttbytes::v4::{Connect, Login};
    use rumqttc::{Packet, mqttbytes};

    use super::*;

    fn reason(error: ConnectionError) -> String {
        diagnose(&End::Failed(Box::new(error)), true).1
    }

    #[test]
    fn one_cause_has_one_reason_whatever_the_broker_writes() {
        let unsolicited = |id| reason(ConnectionError::MqttState(StateError::Unsolicited(id)));
        assert_eq!(unsolicited(1), unsolicited(2));
        let malformed = |error| reason(ConnectionError::MqttState(StateError::Deserialization(error)));
        assert_eq!(malformed(FormatError::InvalidPacketType(15)), malformed(FormatError::InvalidQoS(3)));
        let too_large = FormatError::PayloadSizeLimitExceeded;
        assert_eq!(malformed(too_large(300_000)), malformed(too_large(400_000)));
    }

    #[test]
    fn row_01_a_port_that_is_forwarded_to_no_broker_is_an_absent_one() {
        let closed = || End::Failed(Box::new(ConnectionError::MqttState(StateError::ConnectionAborted)));
        assert_eq!(diagnose(&closed(), false).0, Failure::Absent);
        assert_eq!(diagnose(&closed(), true).0, Failure::Dropped);
    }

    /// As whatever stands on a port that returns what it gets.
    #[test]
    fn a_login_that_is_sent_back_is_not_in_the_reason() {
        let mut connect = Connect::new("doorstep");
        connect.login = Some(Login::new("ada", "SECRET-PASSWORD"));
        let error = ConnectionError::NotConnAck(Packet::Connect(connect));
        assert!(error.to_string().contains("SECRET-PASSWORD"), "the library hides it by itself now");
        assert_eq!(reason(error), NO_MQTT);
    }

    #[test]
    fn a_packet_that_is_somewhat_too_large_is_taken_the_next_time() {
        let too_large = |size| {
            let error = StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(size));
            next_limit(&End::Failed(Box::new(ConnectionError::MqttState(error))))
        };
        assert_eq!(too_large(MAX_PACKET + 1), MAX_PACKET_ONCE);
        assert_eq!(too_large((1 << 28) - 1), MAX_PACKET);
        assert_eq!(next_limit(&End::Silent), MAX_PACKET);
    }
}
