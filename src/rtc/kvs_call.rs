//! A call to a camera that is arranged over Amazon's KVS signalling frames (kvs reference §4): what AWS doorbells
//! and Wyze's WebRTC doorbells have in common.

use crate::secret::{Password, SignedUrl};

/// Where and as whom to call, as the vendor's cloud says. Good for one call, some minutes long.
#[derive(Debug, Clone)]
pub struct Signalling {
    /// `wss://` (or `ws://` of a virtual cloud), presigned: it goes out byte for byte.
    pub url: SignedUrl,
    /// Who we are to the camera; new for every call.
    pub client_id: String,
    pub ice_servers: Vec<IceServer>,
}

/// A STUN or TURN server.
#[derive(Debug, Clone)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`.
    pub urls: Vec<String>,
    pub username: String,
    pub credential: Password,
}
