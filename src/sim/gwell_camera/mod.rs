//! A Wyze camera or doorbell with GWell firmware, as far as a network can tell (docs/protocol/gwell.md).
//!
//! [`start`] runs one on sockets; [`CameraSession`] is the same without them, for tests under virtual time.
//!
//! # The camera and its server
//! How a camera speaks with its P2P server is not published. [`gwell_server`](super::gwell_server) says what it and this
//! camera have agreed on. This camera's part in it:
//!
//! * It repeats its CertifyReq each 5 s until it has a session, acknowledges the reply as terminals do, and says that it
//!   is there each 20 s. When it has heard nothing from its server for 50 s it certifies itself anew.
//! * Asleep, it hears WakeUp and nothing else. It is awake `wake_delay` later, which it says with a heartbeat, and goes to
//!   sleep when there was no call for 5 s.
//! * It answers each CALLING for its TID, repeated ones too; they are one call.
//! * It registers itself at a call's relays as soon as it knows them, and again each 10 s.
//! * Until a viewer is heard, it sends meter requests wherever it may be: to its LAN address, to where the server sees it
//!   and through the relays. Then it answers where the viewer last asked for KCP engines or sent KCP from, or, once that way
//!   was silent for 3 s, where its meters come from.

mod checks;
pub mod command;
mod conversation;
mod fault;
mod meters;
mod session;
mod settings;
mod signalling;
mod stream;
mod viewer;
mod way;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

pub use fault::Fault;
pub use session::CameraSession;
pub use settings::Settings;

use super::made_up;
use super::run::{Running, run};
use crate::clock;
use crate::net::lanes::{Lanes, Streams};
use crate::proto::gwell::TCP;
use crate::proto::gwell::mtp::Mtp;
use crate::proto::gwell::session::Path;

/// What a running camera can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraCommand {
    /// The button was pressed. How GWell tells of it is unknown: whoever needs to know listens to the events.
    Ring,
    /// Something moved. As wordless on the wire as the button.
    Motion,
    /// The cloud wakes it, as its server can.
    Wake,
    /// The battery was taken out.
    Offline,
    Online,
    /// So much of its datagrams is lost from now on: 0 to 99.
    Loss {
        percent: u8,
    },
    /// Misbehaves from now on; `None` for no more.
    Fault(Option<Fault>),
}

/// What happened to a camera. Calls are named by their link ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum CameraEvent {
    /// Its server knows it, once more perhaps.
    LoggedIn {
        server: SocketAddr,
    },
    /// Its server does not take its token.
    Refused {
        code: u16,
    },
    Awake,
    Asleep,
    Called {
        link: u32,
        /// The access id; in quotes, since it has more digits than JSON's numbers.
        caller: String,
    },
    /// ACCEPT was sent.
    SessionStarted {
        link: u32,
        path: &'static str,
    },
    /// REJECT was sent.
    Rejected {
        link: u32,
    },
    /// AV_INIT has come, and media follow.
    Streaming {
        link: u32,
    },
    /// The viewer is heard on another way than before, and answered there.
    Moved {
        link: u32,
        path: &'static str,
    },
    /// Of a call too that never became a session.
    SessionEnded {
        link: u32,
        why: &'static str,
    },
    Ring,
    Motion,
    Offline,
    Online,
    Fault {
        name: &'static str,
    },
    Check {
        name: &'static str,
        ok: bool,
        violations: u64,
    },
}

/// A camera that runs until its token is cancelled or every sender of its commands is gone.
pub type RunningCamera = Running<Settings, CameraCommand, CameraEvent>;

/// Binds the camera's sockets and runs it in a task of its own; viewers come and go in it.
///
/// # Errors
/// When the address cannot be bound, or the operating system has no randomness.
pub async fn start(settings: Settings, stop: CancellationToken) -> io::Result<RunningCamera> {
    start_telling(settings, stop, broadcast::Sender::new(256)).await
}

/// The same for whoever must miss nothing: it has subscribed to `events` before.
///
/// # Errors
/// As [`start`].
pub async fn start_telling(
    mut settings: Settings,
    stop: CancellationToken,
    events: broadcast::Sender<CameraEvent>,
) -> io::Result<RunningCamera> {
    let listen = settings.paths.contains(&Path::LanTcp).then_some(settings.listen);
    let mut lanes = Lanes::bind(settings.listen, listen, Streams { lane: TCP, frame_len: Mtp::frame_len }).await?;
    let address = on_the_lan(lanes.local_addr()?, settings.server)?;
    settings.listen = address;
    let seed = settings.seed.map_or_else(made_up::random_seed, Ok)?;
    let session = CameraSession::new(settings.clone(), seed, clock::now().into_std(), clock::unix_now())
        .map_err(io::Error::other)?;
    // Commands wait for the camera; sixteen are more than anyone types ahead.
    let (commands, mut inbox) = mpsc::channel(16);
    let happened = events.clone();
    let task = tokio::spawn(async move {
        run("virtual camera", session, &mut lanes, &mut inbox, &stop, &happened).await;
        lanes.close().await;
    });
    Ok(RunningCamera { address, settings, commands, events, task })
}

/// The address of a socket as others reach it: of one on every interface, that from which the server is reached.
fn on_the_lan(mut address: SocketAddr, server: SocketAddr) -> io::Result<SocketAddr> {
    if address.ip().is_unspecified() {
        // Connecting a UDP socket sends nothing.
        let route = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        route.connect(server)?;
        address.set_ip(route.local_addr()?.ip());
    }
    Ok(address)
}
