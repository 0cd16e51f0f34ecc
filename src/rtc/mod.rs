//! WebRTC: the only place that names `rtc` and `webrtc`. Every viewer sits on one UDP port; each camera has a
//! connection of its own.

mod allowance;
pub mod camera;
mod certificate;
pub mod demux;
mod feed;
mod feedback;
pub mod framing;
mod interfaces;
pub mod kvs_call;
pub(crate) mod packetize;
mod peer;
mod playout;
mod rtp_stream;
mod sdp;
mod switchboard;
mod tcp;
mod timeline;
mod udp;
mod viewers;

pub use crate::media::talkback::MicPacket;
pub(crate) use camera::{Depacketizer, Piece, RtpClock};
pub use certificate::{Certificate, CertificateError};
pub use interfaces::is_this_machine;
pub use sdp::{AnswerError, Offer};
pub use viewers::{Answered, Counters, Settings, Viewers};
