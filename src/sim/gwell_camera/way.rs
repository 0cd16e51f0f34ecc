//! The ways between a camera and a viewer.

use std::net::SocketAddr;

use crate::proto::gwell::session::Path;

/// One way to a viewer, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In the stream that the viewer at this address has opened.
    LanTcp(SocketAddr),
    LanUdp(SocketAddr),
    RelayTcp(SocketAddr),
    RelayUdp(SocketAddr),
    Passthrough,
}

impl Way {
    pub(super) fn path(self) -> Path {
        match self {
            Self::LanTcp(_) => Path::LanTcp,
            Self::LanUdp(_) => Path::LanUdp,
            Self::RelayTcp(_) => Path::RelayTcp,
            Self::RelayUdp(_) => Path::RelayUdp,
            Self::Passthrough => Path::Passthrough,
        }
    }
}

/// As events name a path.
pub(super) fn name(path: Path) -> &'static str {
    match path {
        Path::LanTcp => "lan_tcp",
        Path::LanUdp => "lan_udp",
        Path::RelayTcp => "relay_tcp",
        Path::RelayUdp => "relay_udp",
        Path::Passthrough => "passthrough",
    }
}
