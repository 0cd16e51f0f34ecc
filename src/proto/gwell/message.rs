//! Messages of the KCP conversations, and their encryption (gwell reference §9).

use super::rc5::Rc5;
use super::stream_control::{self, StreamControl};
use crate::proto::wire::{DecodeError, Reader, Writer};

const STRUCTURE: &str = "message";
const HEADER: usize = 4;
const COMMAND: u8 = 2;
const AV: u8 = 4;
const SUB_TYPE: u8 = 2;
/// As long as the head of an AV block: it may be the viewer's word that it has none to send.
const AV_INIT: [u8; 28] = [0; 28];

/// One message: `[0] type · [1] sub-type · [2..4] length with these four bytes · payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Control(StreamControl),
    /// A part of the stream of AV blocks, decrypted.
    Av(Vec<u8>),
    /// Decrypted; nobody knows what they mean.
    Command(Vec<u8>),
}

impl Message {
    /// The payload of `Av` and `Command` has 65 531 bytes at most, and should have 1 004
    /// ([`super::av::MAX_PAYLOAD`]).
    pub fn encode(&self, key: &Rc5) -> Vec<u8> {
        match self {
            Self::Control(control) => control.encode(),
            Self::Av(payload) => encrypted(AV, payload, key),
            Self::Command(payload) => encrypted(COMMAND, payload, key),
        }
    }

    /// # Errors
    /// A type that is none of these, or less than a header. A length beyond the message means the message: the public Go
    /// client reads it like that.
    pub fn decode(message: &[u8], key: &Rc5) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(STRUCTURE, message);
        let kind = reader.u8()?;
        reader.skip(1)?;
        let declared = usize::from(reader.u16_le()?);
        if kind == stream_control::TYPE {
            return StreamControl::decode(message).map(Self::Control);
        }
        if declared < HEADER {
            return Err(reader.invalid("length", declared as u64));
        }
        let len = reader.remaining().min(declared - HEADER);
        let encrypted = reader.take(len)?;
        match kind {
            AV => Ok(Self::Av(decrypted(encrypted, key))),
            COMMAND => Ok(Self::Command(decrypted(encrypted, key))),
            _ => Err(reader.invalid("type", kind)),
        }
    }
}

/// What a viewer sends behind START. Without it no camera begins to encode.
pub fn viewer_av_init(key: &Rc5) -> Vec<u8> {
    encrypted(AV, &AV_INIT, key)
}

fn encrypted(kind: u8, payload: &[u8], key: &Rc5) -> Vec<u8> {
    let len = HEADER + payload.len();
    debug_assert!(len <= usize::from(u16::MAX), "a message of {len} bytes");
    let mut message = Vec::with_capacity(len);
    message.u8(kind);
    message.u8(SUB_TYPE);
    message.u16_le(len as u16);
    message.bytes(payload);
    key.encrypt(&mut message[HEADER..]);
    message
}

fn decrypted(payload: &[u8], key: &Rc5) -> Vec<u8> {
    let mut plain = payload.to_vec();
    key.decrypt(&mut plain);
    plain
}

#[cfg(test)]
mod tests {
    use super::super::stream_control::Action;
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_was_written() {
        let key = Rc5::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
        for message in [
            Message::Control(StreamControl::of(Action::Accept, 5)),
            Message::Av((0..100).collect()),
            Message::Av(Vec::new()),
            Message::Command((0..9).collect()),
        ] {
            assert_eq!(Message::decode(&message.encode(&key), &key), Ok(message));
        }
    }

    #[test]
    fn a_type_or_length_that_cannot_be_is_an_error() {
        let key = Rc5::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
        for message in [&[][..], &[4], &[4, 2, 4], &[4, 2, 3, 0], &[1, 2, 4, 0], &[5, 2, 4, 0]] {
            assert!(Message::decode(message, &key).is_err(), "{message:?} was accepted");
        }
    }

    #[test]
    fn what_stands_behind_the_length_is_no_part_of_the_message() {
        let key = Rc5::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut message = Message::Av(vec![7; 20]).encode(&key);
        message.extend([9; 5]);
        assert_eq!(Message::decode(&message, &key), Ok(Message::Av(vec![7; 20])));
    }
}
