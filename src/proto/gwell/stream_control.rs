//! AVSTREAMCTL: asking for a stream, and ending it (gwell reference §8).

use crate::proto::wire::{DecodeError, Reader, Writer};

const STRUCTURE: &str = "AVSTREAMCTL";
const LEN: usize = 76;
pub(super) const TYPE: u8 = 3;
/// Live, as opposed to what is on the camera's card.
const LIVE: u32 = 1;
const CALL: u32 = 1;
const USER_DATA: usize = 32;
/// Behind the user data: the channel, 0, and what nobody knows.
const TAIL: usize = 20;

/// One message, never encrypted; INITREQ and ACCEPT on the ctrl conversation, the others on data.
///
/// Layout: `[0] 3 · [1] 2, or 0 in START · [2..4] 76 · [4..8] stream id · [8..12] action · [12..16] reason · [16..20] connection
/// type · [20..24] call action · [24..56] user data · [56..76] zeros`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamControl {
    pub action: Action,
    /// Random. A camera takes 0 and never sends a picture for it.
    pub stream_id: u32,
    /// Of a refusal; 0 in all others.
    pub reason: u32,
    /// What is asked for in INITREQ. In others it means nothing.
    pub definition: Definition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    InitReq,
    Accept,
    Reject,
    Stop,
    Close,
    /// From the viewer: start. From the camera: started.
    Start,
}

impl Action {
    const ALL: [Self; 6] = [Self::InitReq, Self::Accept, Self::Reject, Self::Stop, Self::Close, Self::Start];

    fn number(self) -> u32 {
        match self {
            Self::InitReq => 1,
            Self::Accept => 2,
            Self::Reject => 3,
            Self::Stop => 4,
            Self::Close => 5,
            Self::Start => 6,
        }
    }
}

/// The first byte of the user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definition {
    Low,
    Sd,
    Hd,
    Other(u8),
}

impl Definition {
    fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Low,
            1 => Self::Sd,
            2 => Self::Hd,
            other => Self::Other(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Low => 0,
            Self::Sd => 1,
            Self::Hd => 2,
            Self::Other(other) => other,
        }
    }
}

impl StreamControl {
    pub fn init_req(stream_id: u32, definition: Definition) -> Self {
        Self { definition, ..Self::of(Action::InitReq, stream_id) }
    }

    /// Any but INITREQ, without a reason.
    pub fn of(action: Action, stream_id: u32) -> Self {
        Self { action, stream_id, reason: 0, definition: Definition::Low }
    }

    pub fn encode(&self) -> Vec<u8> {
        let asks = self.action == Action::InitReq;
        let mut message = Vec::with_capacity(LEN);
        message.u8(TYPE);
        message.u8(if self.action == Action::Start { 0 } else { 2 });
        message.u16_le(LEN as u16);
        message.u32_le(self.stream_id);
        message.u32_le(self.action.number());
        message.u32_le(self.reason);
        message.u32_le(if asks { LIVE } else { 0 });
        message.u32_le(if asks { CALL } else { 0 });
        message.u8(self.definition.byte());
        message.zeros(USER_DATA - 1);
        message.zeros(TAIL);
        message
    }

    /// What stands behind the user data is not looked at, and need not be there.
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(STRUCTURE, message);
        let kind = reader.u8()?;
        if kind != TYPE {
            return Err(reader.invalid("type", kind));
        }
        reader.skip(3)?;
        let stream_id = reader.u32_le()?;
        let number = reader.u32_le()?;
        let action = Action::ALL.into_iter().find(|action| action.number() == number);
        let action = action.ok_or_else(|| reader.invalid("action", number))?;
        let reason = reader.u32_le()?;
        reader.skip(8)?;
        let definition = Definition::of(reader.array::<USER_DATA>()?[0]);
        Ok(Self { action, stream_id, reason, definition })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_read_as_it_was_written() {
        for action in Action::ALL {
            for definition in [Definition::Low, Definition::Sd, Definition::Hd, Definition::Other(9)] {
                let control = StreamControl { action, stream_id: 0xCAFE_BABE, reason: 7, definition };
                assert_eq!(StreamControl::decode(&control.encode()), Ok(control));
            }
        }
    }

    #[test]
    fn an_unknown_action_or_type_is_an_error() {
        let mut message = StreamControl::of(Action::Start, 1).encode();
        message[8] = 9;
        assert!(StreamControl::decode(&message).is_err());
        message[8] = 6;
        message[0] = 4;
        assert!(StreamControl::decode(&message).is_err());
    }

    #[test]
    fn every_truncation_of_what_is_read_is_an_error() {
        let message = StreamControl::init_req(1, Definition::Hd).encode();
        for len in 0..LEN - TAIL {
            assert!(StreamControl::decode(&message[..len]).is_err(), "{len} bytes were accepted");
        }
    }
}
