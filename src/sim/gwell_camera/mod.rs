//! A Wyze camera or doorbell with GWell firmware, as far as a network can tell (docs/protocol/gwell.md §4.6–§12).
//!
//! [`start`] runs one on sockets; [`CameraSession`] is the same without them, for tests under virtual time.
//!
//! # The camera and its server
//! Nobody has published how a camera speaks with its P2P server; only the terminals' side is known. What follows is
//! what this camera and the virtual server (`sim::gwell_server`) have agreed on, in the frames that terminals use.
//!
//! * **Login.** The camera certifies itself as a terminal does, with a token of its own whose access id is the TID:
//!   CertifyReq (0x0C, proto 0x7F, id = TID), repeated every 5 s → CertifyResp (0x0D) with its session id, which the
//!   camera acknowledges as terminals do. A code other than 0 is told, and the camera tries again after 5 s.
//! * **Heartbeat** 0xA0, mode 2, proto 0x7F, id = TID, every 20 s. It keeps the way from the server open. The server
//!   answers a camera's with a frame of the same kind (mode 2, proto 0x7E, id = session id); a camera that hears nothing
//!   from its server for 50 s certifies itself anew.
//! * **A call.** For every CALLING of a terminal, repeated ones too, the server sends the camera, in the camera's own
//!   session (mode 2, proto 0x7E, id = session id):
//!   1. where the camera sleeps, WakeUp (0xBB, empty payload): after its `wake_delay` the camera is awake, and says so with
//!      a heartbeat. Before that it takes no call; the caller's next CALLING reaches it. One that is awake ignores 0xBB.
//!   2. [`Calling`](crate::proto::gwell::calling::Calling): the terminal's, with its link id, caller (access id), callee
//!      (TID), port and address on its LAN (0 where it named none) and MTP key.
//!   3. [`MtpReply`](crate::proto::gwell::calling::MtpReply): `outer` is where the server sees the caller, and `relays`
//!      those that it names to the caller, if any.
//!
//!   The camera answers 2. with a Calling frame (mode 2, proto 0x7E, id = session id): link id, caller and callee as
//!   they came, its own LAN address and UDP port, the MTP key zero. Its TCP listener, if it has one, has the same port
//!   number. With it the server fills the MtpReply for the caller: LAN address, LAN port and session port are the camera's.
//! * **Relays.** The camera registers itself at each relay as terminals do: a round-0 meter request with the
//!   urgent bit, over UDP and over TCP, again every 10 s. To UDP relays it sends extended frames whose destination is the
//!   caller's access id; over TCP plain ones. A relay tells calls apart by the link id that every payload shows: in a
//!   control message at `[4..8]`, else as the KCP conversation without its top bit. So one stream of a camera may carry
//!   several calls.
//! * **Passthrough.** PassthroughData (0xB9) goes from camera to caller and back, the server enciphering it anew in either's
//!   session; TID and access id stay. PassthroughControl from a caller is passed on likewise.
//! * **Ending.** Nothing is said to the server; it forgets a call as it likes.

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
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use fault::Fault;
pub use session::CameraSession;
pub use settings::Settings;

use super::made_up;
use crate::clock;
use crate::net::drive::drive;
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

/// A camera that runs until its token is cancelled or every sender of `commands` is gone.
pub struct RunningCamera {
    /// Where viewers on its LAN reach it.
    pub address: SocketAddr,
    pub settings: Settings,
    pub commands: mpsc::Sender<CameraCommand>,
    events: broadcast::Sender<CameraEvent>,
    task: JoinHandle<()>,
}

impl RunningCamera {
    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<CameraEvent> {
        self.events.subscribe()
    }

    /// Waits until a camera that was told to stop has said goodbye to its viewers.
    pub async fn stopped(self) {
        drop(self.commands);
        // A panic has been reported where it happened.
        let _ = self.task.await;
    }
}

/// Binds the camera's sockets and runs it in a task of its own; viewers come and go in it.
///
/// # Errors
/// When the address cannot be bound, or the operating system has no randomness.
pub async fn start(mut settings: Settings, stop: CancellationToken) -> io::Result<RunningCamera> {
    let listen = settings.paths.contains(&Path::LanTcp).then_some(settings.listen);
    let mut lanes = Lanes::bind(settings.listen, listen, Streams { lane: TCP, frame_len: Mtp::frame_len }).await?;
    let address = on_the_lan(lanes.local_addr()?, settings.server)?;
    settings.listen = address;
    let seed = settings.seed.map_or_else(made_up::random_seed, Ok)?;
    let session = CameraSession::new(settings.clone(), seed, clock::now().into_std(), clock::unix_now())
        .map_err(io::Error::other)?;
    // Commands wait for the camera; sixteen are more than anyone types ahead.
    let (commands, mut inbox) = mpsc::channel(16);
    let events = broadcast::Sender::new(256);
    let happened = events.clone();
    let task = tokio::spawn(async move {
        let tell = |event| {
            // Nobody listening is fine.
            let _ = happened.send(event);
        };
        if let Err(error) = drive(session, &mut lanes, &mut inbox, &stop, tell).await {
            tracing::error!(%error, "the virtual camera's socket failed; restart it");
        }
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
