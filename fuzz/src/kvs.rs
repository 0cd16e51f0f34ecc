//! What Amazon's signaling service and its clients send: it must not panic, and what is read must be written so that
//! it reads the same again.

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
