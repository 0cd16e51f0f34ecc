//! What Amazon's signaling service and its clients send, and what doorbells publish: it must not panic, and what is read must be written so that
//! it reads the same again.

use doorstep::proto::kvs::ring;
use doorstep::proto::kvs::signaling::{Inbound, Outbound};

pub fn signaling(data: &[u8]) {
    let Ok(frame) = std::str::from_utf8(data) else { return };
    if let Ok(message) = Outbound::decode(frame) {
        assert_eq!(Outbound::decode(&message.encode()).as_ref(), Ok(&message));
        assert_eq!(Outbound::correlation_id_of(frame), message.correlation_id);
    }
    if let Ok(message) = Inbound::decode(frame) {
        assert_eq!(Inbound::decode(&message.encode()).as_ref(), Ok(&message));
    }
}

pub fn ring(data: &[u8]) {
    if let Ok(ring) = ring::parse(data) {
        assert_eq!(ring::parse(ring.encode().as_bytes()), Ok(ring));
    }
}
