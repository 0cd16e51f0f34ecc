//! Doorbells on Amazon's Kinesis Video Streams that ring over AWS IoT.

/// Its name in ids, topics and logs.
pub const VENDOR: &str = "kvs";
