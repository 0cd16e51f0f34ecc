//! What app and camera say to each other on the data channel `channel`: protobuf, one message a datagram (vivint
//! reference §9.1).
//!
//! Field numbers are attested, the insides of the messages are not: the working client sends and takes them empty. So
//! every body is kept as the bytes that it came as, and what a message is depends on its top-level field alone.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint, skip_field};

/// The label of the channel, made by whoever offers.
pub const LABEL: &str = "channel";

/// The one message there is: one body of many.
#[derive(Clone, PartialEq, prost::Message)]
struct DataChannelMessage {
    #[prost(oneof = "Body", tags = "1, 2, 5, 7, 9, 10, 11, 12, 15, 16, 18, 20, 21, 25")]
    body: Option<Body>,
}

/// A message of which the name is known. Each carries its body: of all that we send it is empty, of none that we are
/// sent is it understood.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Body {
    #[prost(bytes = "bytes", tag = "1")]
    Ping(Bytes),
    #[prost(bytes = "bytes", tag = "2")]
    Pong(Bytes),
    #[prost(bytes = "bytes", tag = "5")]
    SetCameraSettings(Bytes),
    #[prost(bytes = "bytes", tag = "7")]
    GetCameraSettings(Bytes),
    #[prost(bytes = "bytes", tag = "9")]
    TwoWayTalkStart(Bytes),
    /// With any body it is consent.
    #[prost(bytes = "bytes", tag = "10")]
    TwoWayTalkStartResponse(Bytes),
    #[prost(bytes = "bytes", tag = "11")]
    TwoWayTalkEnd(Bytes),
    #[prost(bytes = "bytes", tag = "12")]
    TwoWayTalkEndResponse(Bytes),
    #[prost(bytes = "bytes", tag = "15")]
    PlayPauseSeek(Bytes),
    #[prost(bytes = "bytes", tag = "16")]
    GetOldestTimestamp(Bytes),
    #[prost(bytes = "bytes", tag = "18")]
    GetClipRequest(Bytes),
    #[prost(bytes = "bytes", tag = "20")]
    GetMetadataRequest(Bytes),
    #[prost(bytes = "bytes", tag = "21")]
    GetMetadataResponse(Bytes),
    #[prost(bytes = "bytes", tag = "25")]
    GetDptzConfigRequest(Bytes),
}

impl Body {
    /// As logs and diagnoses name it.
    pub fn name(&self) -> &'static str {
        self.parts().1
    }

    /// The number of its field.
    pub fn field(&self) -> u32 {
        self.parts().0
    }

    pub fn body(&self) -> &Bytes {
        self.parts().2
    }

    /// The whole message, ready to be sent.
    pub fn to_bytes(&self) -> Bytes {
        DataChannelMessage { body: Some(self.clone()) }.encode_to_vec().into()
    }

    fn parts(&self) -> (u32, &'static str, &Bytes) {
        match self {
            Self::Ping(body) => (1, "ping", body),
            Self::Pong(body) => (2, "pong", body),
            Self::SetCameraSettings(body) => (5, "set_camera_settings", body),
            Self::GetCameraSettings(body) => (7, "get_camera_settings", body),
            Self::TwoWayTalkStart(body) => (9, "two_way_talk_start", body),
            Self::TwoWayTalkStartResponse(body) => (10, "two_way_talk_start_response", body),
            Self::TwoWayTalkEnd(body) => (11, "two_way_talk_end", body),
            Self::TwoWayTalkEndResponse(body) => (12, "two_way_talk_end_response", body),
            Self::PlayPauseSeek(body) => (15, "play_pause_seek", body),
            Self::GetOldestTimestamp(body) => (16, "get_oldest_timestamp", body),
            Self::GetClipRequest(body) => (18, "get_clip_request", body),
            Self::GetMetadataRequest(body) => (20, "get_metadata_request", body),
            Self::GetMetadataResponse(body) => (21, "get_metadata_response", body),
            Self::GetDptzConfigRequest(body) => (25, "get_dptz_config_request", body),
        }
    }
}

/// What was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Of several in one message the last. Fields that are not known are passed over.
    Known(Body),
    /// Nothing that is known; the last of its fields. The body of one that holds no bytes is its value as it was
    /// written. Responses 6, 8, 17 and 19 are presumed, and would be told as this.
    Unknown {
        field: u32,
        body: Bytes,
    },
    Empty,
}

impl Received {
    /// # Errors
    /// `Undecodable`: to be passed over; the channel stays open.
    pub fn decode(message: Bytes) -> Result<Self, Undecodable> {
        let known = DataChannelMessage::decode(message.clone())?.body;
        if let Some(body) = known {
            return Ok(Self::Known(body));
        }
        Ok(last_field(message)?.map_or(Self::Empty, |(field, body)| Self::Unknown { field, body }))
    }

    /// The number of the field, and what is in it.
    pub fn field(&self) -> Option<(u32, &Bytes)> {
        match self {
            Self::Known(body) => Some((body.field(), body.body())),
            Self::Unknown { field, body } => Some((*field, body)),
            Self::Empty => None,
        }
    }
}

impl std::fmt::Display for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(body) => f.write_str(body.name()),
            Self::Unknown { field, .. } => write!(f, "unknown:{field}"),
            Self::Empty => f.write_str("empty"),
        }
    }
}

/// The engine's own words stay inside: they may name what was in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a DataChannelMessage")]
pub struct Undecodable(#[from] prost::DecodeError);

fn last_field(mut rest: Bytes) -> Result<Option<(u32, Bytes)>, Undecodable> {
    let mut last = None;
    while !rest.is_empty() {
        let (field, wire_type) = decode_key(&mut rest)?;
        let mut value = rest.clone();
        skip_field(wire_type, field, &mut rest, Default::default())?;
        value.truncate(value.len() - rest.len());
        if wire_type == WireType::LengthDelimited {
            decode_varint(&mut value)?;
        }
        last = Some((field, value));
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        let file = include_str!("../../../tests/vectors/vivint/vivint.json");
        serde_json::from_str::<Value>(file).unwrap()["datachannel"].take()
    }

    fn unhex(text: &Value) -> Bytes {
        let text = text.as_str().unwrap();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn every_message_is_read_and_written_as_the_vectors_have_it() {
        let vectors = vectors();
        let valid = vectors["valid"].as_array().unwrap();
        assert_eq!(valid.len(), 14);
        for vector in valid {
            let bytes = unhex(&vector["hex"]);
            let Received::Known(body) = Received::decode(bytes.clone()).unwrap() else { panic!("{vector}") };
            assert_eq!(body.name(), vector["name"].as_str().unwrap());
            assert_eq!(u64::from(body.field()), vector["field"].as_u64().unwrap());
            assert!(body.body().is_empty());
            assert_eq!(body.to_bytes(), bytes, "{vector}");
        }
    }

    #[test]
    fn what_is_odd_is_tolerated_as_the_vectors_expect() {
        let vectors = vectors();
        let tolerance = vectors["tolerance"].as_array().unwrap();
        assert_eq!(tolerance.len(), 8);
        for vector in tolerance {
            let expected = vector["expect"].as_str().unwrap();
            let told = match Received::decode(unhex(&vector["hex"])) {
                Ok(Received::Empty) => "no body set".to_owned(),
                Ok(received) => received.to_string(),
                Err(_) if expected.starts_with("prost") => "prost: wire type mismatch".to_owned(),
                Err(_) => "decode error".to_owned(),
            };
            assert!(expected.starts_with(&told), "{}: {told}", vector["case"]);
        }
    }

    #[test]
    fn bodies_are_kept_for_whoever_looks_for_a_fault() {
        let received = Received::decode(Bytes::from_static(b"\x52\x06\x12\x04busy")).unwrap();
        assert_eq!(received, Received::Known(Body::TwoWayTalkStartResponse(Bytes::from_static(b"\x12\x04busy"))));
        let Received::Known(body) = received else { panic!() };
        assert_eq!(body.to_bytes(), &b"\x52\x06\x12\x04busy"[..]);
        // Field 17, which may be the answer to 16, with three bytes; and a varint of field 3.
        let response = Received::decode(Bytes::from_static(b"\x8a\x01\x03\x08\x96\x01")).unwrap();
        assert_eq!(response.field(), Some((17, &Bytes::from_static(b"\x08\x96\x01"))));
        let number = Received::decode(Bytes::from_static(b"\x18\x96\x01")).unwrap();
        assert_eq!(number.field(), Some((3, &Bytes::from_static(b"\x96\x01"))));
    }

    #[test]
    fn of_several_bodies_the_last_counts() {
        let both = Received::decode(Bytes::from_static(&[0x52, 0x02, 0x08, 0x01, 0x62, 0x00])).unwrap();
        assert_eq!(both.to_string(), "two_way_talk_end_response");
        let twice = Received::decode(Bytes::from_static(&[0x52, 0x02, 0x08, 0x01, 0x52, 0x00])).unwrap();
        assert_eq!(twice.field(), Some((10, &Bytes::new())));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_read_or_refused() {
        let message = [0x52, 0x06, 0x12, 0x04, 0x62, 0x75, 0x73, 0x79];
        for len in 1..message.len() {
            assert!(Received::decode(Bytes::copy_from_slice(&message[..len])).is_err(), "{len} bytes were accepted");
        }
        for bit in 0..message.len() * 8 {
            let mut flipped = message;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _either = Received::decode(Bytes::copy_from_slice(&flipped));
        }
    }
}
