//! Amazon's Kinesis Video Streams, as far as WebRTC goes (docs/protocol/kvs.md). Wyze's WebRTC doorbells speak it too.

pub mod ring;
pub mod signaling;
pub mod sigv4;
