//! What a virtual camera can be told to do wrong.

use crate::proto::gwell::session::Path;
use crate::sim::fault::faults;

faults! {
    /// One way of misbehaving. A camera has at most one at a time.
    pub enum Fault {
        /// Keeps its calls and sends nothing more in them, neither media nor meters.
        Silent = "silent",
        /// Answers no INITREQ.
        NoAccept = "no-accept",
        /// Refuses every INITREQ.
        Reject = "reject",
        /// Sends STOP to everybody who watches, once they have seen something.
        Stop = "stop",
        /// Sends CLOSE to everybody who watches, once they have seen something.
        Close = "close",
        /// Drops a viewer whose meters have not come for 20 s, and not for 119 s only.
        MeterStarvation = "meter-starvation",
        /// Does not echo START.
        NoStarted = "no-started",
        /// Neither hears nor answers over UDP on its LAN.
        NoLanUdp = "no-lan-udp",
        /// Neither hears nor answers over TCP on its LAN; connections are taken.
        NoLanTcp = "no-lan-tcp",
        /// Neither hears nor answers on its LAN.
        NoLan = "no-lan",
        /// Neither hears nor answers through TCP relays.
        NoRelayTcp = "no-relay-tcp",
        /// Neither hears nor answers through UDP relays.
        NoRelayUdp = "no-relay-udp",
        /// Neither hears nor answers through its server.
        NoPassthrough = "no-passthrough",
        /// Neither hears nor answers but through its server.
        PassthroughOnly = "passthrough-only",
        /// Leaves the sound out.
        VideoOnly = "video-only",
        /// Puts packets of sound in front of a picture, in one message with its beginning.
        AudioInterleaved = "audio-interleaved",
        /// Sends every media datagram twice.
        Duplicate = "duplicate",
        /// Sends every tenth media datagram with a wrong checksum.
        WrongChecksum = "wrong-checksum",
        /// Sends fragments of messages that never end.
        EndlessFragments = "endless-fragments",
    }
}

impl Fault {
    /// Whether it leaves this path without a sign of life.
    pub(super) fn kills(self, path: Path) -> bool {
        match self {
            Self::NoLanUdp => path == Path::LanUdp,
            Self::NoLanTcp => path == Path::LanTcp,
            Self::NoLan => matches!(path, Path::LanTcp | Path::LanUdp),
            Self::NoRelayTcp => path == Path::RelayTcp,
            Self::NoRelayUdp => path == Path::RelayUdp,
            Self::NoPassthrough => path == Path::Passthrough,
            Self::PassthroughOnly => path != Path::Passthrough,
            _ => false,
        }
    }
}
