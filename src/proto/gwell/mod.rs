//! GWell (IoTVideo), the peer-to-peer protocol of Wyze's `GW_` doorbells and cameras: signalling over GUTES frames with a
//! P2P server, media over MTP datagrams with the camera (docs/protocol/gwell.md).

pub mod av;
pub mod calling;
pub mod certify;
pub mod control;
pub mod devices;
pub mod directory;
pub mod gutes;
pub mod hash;
pub mod kcp;
pub mod message;
pub mod mtp;
pub mod passthrough;
pub mod port_status;
pub mod rc5;
pub mod session;
pub mod stream_control;
pub mod subscribe;
pub mod token;

#[cfg(test)]
mod gutes_tests;
#[cfg(test)]
mod gutes_vectors;

use crate::proto::Lane;

/// Streams of MTP frames over TCP, to cameras and relays. UDP, to whomever, is [`Lane::MAIN`].
pub const TCP: Lane = Lane(1);
