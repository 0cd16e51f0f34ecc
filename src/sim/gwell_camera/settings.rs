//! What a virtual camera is made of.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::fault::Fault;
use crate::proto::gwell::session::Path;
use crate::proto::gwell::token::AccessToken;

#[derive(Debug, Clone)]
pub struct Settings {
    /// The P2P server that it logs in to.
    pub server: SocketAddr,
    /// As servers list it, `GW_…`.
    pub name: String,
    /// Its own, with which it logs in: the access id is the TID.
    pub token: AccessToken,
    /// Where viewers on its LAN reach it, over UDP and TCP; port 0 for any free one.
    pub listen: SocketAddr,
    /// The ways on which media may go.
    pub paths: BTreeSet<Path>,
    /// What its pictures are filled up to; `None` leaves the clip as it is.
    pub kbit_per_second: Option<u32>,
    /// Whether it has a microphone: 16 kHz µ-law.
    pub sound: bool,
    /// How it misbehaves from the start.
    pub fault: Option<Fault>,
    /// Whether it sleeps until it is woken, and again when nobody watches any more.
    pub sleeps: bool,
    /// From the wake-up until it hears calls.
    pub wake_delay: Duration,
    /// How long it lets anybody watch before it falls silent, as doorbells on batteries do.
    pub live_for: Option<Duration>,
    /// A viewer whose meters do not come for so long is dropped.
    pub patience: Duration,
    /// How many may watch at a time.
    pub max_viewers: usize,
    /// Which part of its datagrams is lost, in either direction: 0 to 1.
    pub loss: f64,
    /// What is random in a running camera follows from it; another each time where there is none.
    pub seed: Option<u64>,
}

impl Settings {
    /// What cameras are said to grant (gwell reference §5).
    const PATIENCE: Duration = Duration::from_secs(119);

    /// A camera with mains power, picture and sound on any free loopback port, and with every path.
    pub fn new(server: SocketAddr, name: impl Into<String>, token: AccessToken) -> Self {
        Self {
            server,
            name: name.into(),
            token,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            paths: [Path::LanTcp, Path::LanUdp, Path::RelayTcp, Path::RelayUdp, Path::Passthrough].into(),
            kbit_per_second: None,
            sound: true,
            fault: None,
            sleeps: false,
            wake_delay: Duration::from_secs(3),
            live_for: None,
            patience: Self::PATIENCE,
            max_viewers: 4,
            loss: 0.0,
            seed: None,
        }
    }

    /// By which servers and viewers know it.
    pub fn tid(&self) -> u64 {
        self.token.access_id()
    }
}
