//! Subscriptions, by id and by token (gwell reference §4.5).

use super::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode};
use super::token::AccessToken;
use crate::proto::DecodeError;
use crate::proto::wire::Writer;

const FLAGS: Flags = Flags::new(Mode::Session, Delivery::Forgotten);

/// "Tell me of what is mine." Payload: `[0..4] 00 01 00 00 · [4..12] access id`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeById {
    /// The account's own, not a device's.
    pub access_id: u64,
}

impl SubscribeById {
    const STRUCTURE: &str = "subscription by id";
    const HEAD: [u8; 4] = [0, 1, 0, 0];

    pub fn encode(&self, from: Identity, sqnum: u32) -> Frame {
        let mut payload = Vec::with_capacity(12);
        payload.bytes(&Self::HEAD);
        payload.u64_le(self.access_id);
        Frame::new(Kind::Subscribe, from, sqnum, FLAGS, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Subscribe, Self::STRUCTURE)?;
        let head: [u8; 4] = reader.array()?;
        if head != Self::HEAD {
            return Err(reader.invalid("head", u32::from_le_bytes(head)));
        }
        Ok(Self { access_id: reader.u64_le()? })
    }
}

/// "Tell me of these." Payload: `[0] number of entries · [1..4] zero · [4..] 80 bytes each`, the extra of the token.
#[derive(Clone, PartialEq, Eq)]
pub struct SubscribeByToken {
    /// As [`AccessToken::extra`], of which there is none without a device.
    pub extra: Vec<u8>,
}

impl SubscribeByToken {
    pub fn encode(&self, from: Identity, sqnum: u32) -> Frame {
        let mut payload = Vec::with_capacity(4 + self.extra.len());
        payload.u8((self.extra.len() / AccessToken::ENTRY_LEN) as u8);
        payload.zeros(3);
        payload.bytes(&self.extra);
        Frame::new(Kind::Subscribe, from, sqnum, FLAGS, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Subscribe, "subscription by token")?;
        let entries = reader.u8()?;
        let by_id = reader.u8()?;
        if entries == 0 || by_id != 0 {
            return Err(reader.invalid("head", by_id));
        }
        reader.skip(2)?;
        let extra = reader.take(usize::from(entries) * AccessToken::ENTRY_LEN)?;
        Ok(Self { extra: extra.to_vec() })
    }
}

impl std::fmt::Debug for SubscribeByToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SubscribeByToken(***)")
    }
}

/// The answer to either, to the frame with this sqnum. What its 32 bytes of payload say is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeReply {
    pub request: u32,
}

impl SubscribeReply {
    pub fn encode(&self, from: Identity) -> Frame {
        Frame::new(Kind::SubscribeReply, from, 0, FLAGS, vec![0; 32]).answering(self.request)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let reader = frame.reader(Kind::SubscribeReply, "subscribe reply")?;
        let request = frame.acked.ok_or_else(|| reader.invalid("flags", frame.flags.0))?;
        Ok(Self { request })
    }
}
