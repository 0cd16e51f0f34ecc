//! What is said over the data channel, as bytes: a protobuf message with one field of many, whose number says what it
//! is (vivint reference §9.1). Written by hand, so that it is not our client's own reading that is tested.

use bytes::Bytes;

/// The fields that this doorbell knows.
pub(super) mod field {
    pub(in super::super) const PING: u32 = 1;
    pub(in super::super) const PONG: u32 = 2;
    pub(in super::super) const TWO_WAY_TALK_START: u32 = 9;
    pub(in super::super) const TWO_WAY_TALK_START_RESPONSE: u32 = 10;
    pub(in super::super) const TWO_WAY_TALK_END: u32 = 11;
    pub(in super::super) const TWO_WAY_TALK_END_RESPONSE: u32 = 12;
    pub(in super::super) const GET_OLDEST_TIMESTAMP: u32 = 16;
    /// Nobody has seen it; presumably the response to the one before.
    pub(in super::super) const OLDEST_TIMESTAMP: u32 = 17;
    pub(in super::super) const GET_METADATA: u32 = 20;
    pub(in super::super) const METADATA: u32 = 21;
    /// No number that anybody has seen.
    pub(in super::super) const NOT_YET_INVENTED: u32 = 26;
}

/// Whether apps are known to send it.
pub(super) fn is_of_apps(field: u32) -> bool {
    matches!(field, 1 | 2 | 5 | 7 | 9 | 11 | 15 | 16 | 18 | 20 | 25)
}

/// The wire type of what has a length, which all these fields have.
const LENGTH_DELIMITED: u64 = 2;

/// A message of one field.
pub(super) fn encode(field: u32, body: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(body.len() + 6);
    put_varint(&mut bytes, u64::from(field) << 3 | LENGTH_DELIMITED);
    put_varint(&mut bytes, body.len() as u64);
    bytes.extend_from_slice(body);
    bytes.into()
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// The last field that has a length; `None` when there is none, or the bytes are no message.
pub(super) fn decode(mut bytes: &[u8]) -> Option<u32> {
    let mut last = None;
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        match key & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => bytes = bytes.get(8..)?,
            LENGTH_DELIMITED => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                bytes = bytes.get(length..)?;
                last = u32::try_from(key >> 3).ok();
            }
            5 => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    last
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        let all: Value = serde_json::from_str(include_str!("../../../../tests/vectors/vivint/vivint.json")).unwrap();
        all["datachannel"].clone()
    }

    fn bytes(hex: &Value) -> Vec<u8> {
        let hex = hex.as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn every_known_message_is_read_and_written() {
        let vectors = vectors();
        for message in vectors["valid"].as_array().unwrap() {
            let (bytes, field) = (bytes(&message["hex"]), message["field"].as_u64().unwrap() as u32);
            assert_eq!((decode(&bytes), &encode(field, &[])[..]), (Some(field), &bytes[..]), "{message}");
        }
    }

    #[test]
    fn odd_messages_are_what_they_should_be() {
        let read: Vec<_> =
            vectors()["tolerance"].as_array().unwrap().iter().map(|m| decode(&bytes(&m["hex"]))).collect();
        assert_eq!(read, [Some(10), Some(10), Some(10), Some(26), Some(2), None, None, None]);
    }

    #[test]
    fn no_bytes_panic() {
        for length in 0..12 {
            for byte in [0x00, 0x02, 0x0a, 0x7f, 0x80, 0xff] {
                let _any = decode(&vec![byte; length]);
            }
        }
        assert_eq!(decode(&encode(21, &[7; 300])), Some(21));
    }
}
