//! What a session is given, told, and tells.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use crate::proto::gwell::token::AccessToken;

/// What a session is made of.
pub struct Setup {
    pub token: AccessToken,
    /// The camera's name at the P2P server: the `mac` of the cloud's listing, `GW_…`.
    pub device: String,
    /// What the account's earlier sessions learnt of its devices: a server may leave the list out (reference §11).
    pub known: Vec<KnownDevice>,
    /// P2P servers to go to at once, in this order. With none they are asked for.
    pub servers: Vec<SocketAddr>,
    /// Who knows the P2P servers, in the order to ask.
    pub list_servers: Vec<SocketAddr>,
    /// The camera's address on the LAN, where the owner said one.
    pub camera: Option<IpAddr>,
    /// Where our UDP socket is, as a camera on the LAN reaches it.
    pub local: SocketAddr,
    /// Never repeated: keys, link id, stream id and nonces are drawn from it.
    pub seed: [u8; 32],
    /// Of the instant at which the session is made, in milliseconds.
    pub unix_ms: u64,
}

/// A device as a P2P server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDevice {
    pub name: String,
    pub tid: u64,
}

/// How media reach us, in the order of preference (seed, "Transport Priority").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    LanTcp,
    LanUdp,
    RelayTcp,
    RelayUdp,
    Passthrough,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A newer token, in mid-session: the session certifies itself anew while media go on.
    Renew(AccessToken),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The P2P server took the token. Nothing proves yet that it is one.
    Certified {
        server: SocketAddr,
    },
    /// What the server lists, for the account's other sessions.
    Listed(Vec<KnownDevice>),
    /// The camera answered, or media have moved to another path.
    Found {
        path: Path,
    },
    /// The camera has accepted the stream; media follow.
    Accepted,
    Frame(AvFrame),
    /// The renewed token was not taken; media go on as long as the camera sends.
    NotRenewed {
        code: Option<u16>,
    },
}

/// One picture, or one packet of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvFrame {
    pub media: Media,
    /// The camera's own time, in microseconds: picture and sound share the clock.
    pub pts: Duration,
    /// Pictures: one access unit in Annex B. Sound: G.711 µ-law.
    pub data: Bytes,
    /// Whether something of this medium was lost before it.
    pub gap: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    Video,
    /// 16 kHz, one channel.
    Audio,
}

/// What was dropped, by why, since the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Not from the server, the camera or a relay.
    pub strangers: u64,
    /// GUTES or MTP with a wrong checksum, or of an impossible form.
    pub broken: u64,
    /// Of another session: another link id or TID.
    pub foreign: u64,
    /// KCP segments outside of what may be: conversation, window, fragment, length.
    pub kcp: u64,
    /// Messages and AV blocks that could not be read.
    pub media: u64,
}

/// Why a session is over, by what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Try again later.
    #[error("no P2P server answers")]
    NoServer,
    /// Fetch the token anew, once.
    #[error("the P2P server does not take the token{}", code.map(|code| format!(" (code {code})")).unwrap_or_default())]
    NotCertified { code: Option<u16> },
    /// Not on this account any more, or the wrong account.
    #[error("the P2P server does not list the camera")]
    NotListed,
    /// Wake it, try again.
    #[error("the camera does not take the call")]
    NotCalled,
    /// Every path was tried.
    #[error("no way leads to the camera")]
    NoPath,
    /// Too many viewers, or not streamable over GWell.
    #[error("the camera does not accept the stream{}", reason.map(|reason| format!(" (reason {reason})")).unwrap_or_default())]
    NotAccepted { reason: Option<u32> },
    /// Try again at once.
    #[error("the camera sent no picture")]
    NoPicture,
    /// Try again at once.
    #[error("the camera has stopped sending")]
    Silent,
    /// Try again.
    #[error("the camera ended the stream")]
    Closed,
    #[error("the stream cannot be read: {0}")]
    Unreadable(&'static str),
}
