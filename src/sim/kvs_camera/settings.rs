//! What a virtual KVS camera is made of.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::fault::Fault;
use crate::media::{AudioFormat, VideoCodec};
use crate::sim::signaling::Limits;

/// How the camera tells its own candidates (kvs reference §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gathering {
    /// All of them in the answer, none behind it: AWS's Python sample.
    Complete,
    /// None in the answer, each in a frame of its own, as AWS's C SDK writes them: `sdpMid` "0" and index 0 whatever
    /// the section is called, UDP only, with a useless `raddr` and words of its own at the end.
    Trickle,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// As it stands in its ARN: letters, digits, `_`, `.`, `-`.
    pub channel: String,
    /// Where the signaling service listens; port 0 for any free one.
    pub listen: SocketAddr,
    /// Where the camera's pictures come from, on a port that the system chooses. A viewer that knows no loopback
    /// (go2rtc) needs the unspecified address here, which is all interfaces.
    pub media: IpAddr,
    pub codec: VideoCodec,
    /// None for a camera without a microphone.
    pub audio: Option<AudioFormat>,
    pub gathering: Gathering,
    pub limits: Limits,
    /// How it misbehaves from the start.
    pub fault: Option<Fault>,
}

impl Default for Settings {
    /// A camera that only this machine can reach: H.264 and µ-law, candidates in its answer.
    fn default() -> Self {
        Self {
            channel: "doorbell-channel".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            media: Ipv4Addr::LOCALHOST.into(),
            codec: VideoCodec::H264,
            audio: Some(AudioFormat::PCMU),
            gathering: Gathering::Complete,
            limits: Limits::default(),
            fault: None,
        }
    }
}
