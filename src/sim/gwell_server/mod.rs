//! The P2P service of GWell cameras, as far as a network can tell (docs/protocol/gwell.md): the P2P server, the list
//! server, a UDP and a TCP relay, and passthrough, for some accounts and their cameras.
//!
//! [`start`] runs one on sockets; [`ServerSession`] is the same without them, for tests under virtual time. Written from
//! the reference and not from our client. What the reference does not know is said where it is made up.
//!
//! # The server and its cameras
//! How a camera speaks with its P2P server is not published. What follows is what this server and
//! `sim::gwell_camera` have agreed on, in the frames that terminals use.
//!
//! * **Login.** A camera certifies itself as a terminal does, with a token of its own whose access id is its TID. It has
//!   one session: a CertifyReq from another address takes the place of the one before, one from the same renews it.
//! * **Heartbeat.** 0xA0 by access id, every 20 s. The server answers a camera's with a frame of the same kind (mode 2, by
//!   session id), which tells the camera that it is still known. A camera that is silent for
//!   [`Limits::camera_silence`] is forgotten, unless its account says that it sleeps.
//! * **A call.** CALLING that comes from a terminal, repeated ones too, goes on to the camera in the camera's own session
//!   (mode 2, by session id):
//!   1. to one that sleeps, WakeUp (0xBB, empty payload) first;
//!   2. CALLING with the terminal's link id, caller, callee, address, port and MTP key;
//!   3. MtpReply: `outer` is where the server sees the caller, `lan` what the caller said, and `relays` those that are
//!      named to both.
//!
//!   A call that no camera took yet is passed on again with each heartbeat and login of the camera: one that has
//!   just woken, or was not there, hears of it without another CALLING.
//! * **The answer.** A CALLING frame back, by session id: link id, caller and callee as they came, the camera's own LAN
//!   address and UDP port (its TCP listener, if it has one, has the same number), key zero. The caller is told the
//!   acknowledgement 0xA4 with that address, and 0xA3 with the address at which the server sees the camera as `outer`.
//! * **Relays.** Either side registers itself with a meter request of round 0 that is no extended frame, over UDP
//!   and over TCP, and again whenever it likes. Registrations are taken for calls that the server has passed on, and go
//!   no further. Whatever else comes is passed on as it is: over UDP extended frames only, whose destination is the
//!   other side's access id or TID; over TCP either form. Calls are told apart by the link id that each payload shows.
//! * **Passthrough.** Data and control go from one side to the other, enciphered anew; TID and access id stay.
//! * **The end.** Nobody says that a call is over. Where the server ends the caller's session, the camera gets a
//!   PassthroughControl with command [`ServerSession::CALL_OVER`] and the link id, and the terminal a CertifyResp with
//!   code 3 ("kicked").

mod calling;
mod calls;
mod command;
pub(super) mod console;
mod event;
mod link;
mod options;
mod quirk;
mod relay;
mod rules;
mod session;
mod sessions;
mod settings;
mod signalling;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use command::{ServerCommand, parse};
pub use event::{Event, Side, Who};
pub use link::{Addresses, LIST, UDP_RELAY};
pub use options::GwellServerOptions;
pub use quirk::Quirk;
pub use session::{Held, ServerSession};
pub use settings::{CameraAccount, Limits, Relays, Settings};

use super::made_up::random_seed;
use super::run::run;
use crate::clock;
use link::ServerLink;

/// A server that runs until its token is cancelled, or nobody holds this any more.
pub struct RunningServer {
    /// The P2P port.
    pub address: SocketAddr,
    pub list_address: SocketAddr,
    pub udp_relay: SocketAddr,
    pub tcp_relay: SocketAddr,
    pub settings: Settings,
    commands: mpsc::Sender<ServerCommand>,
    events: broadcast::Sender<Event>,
    task: JoinHandle<()>,
}

/// A server could not be told something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotObeyed {
    #[error("the virtual server has stopped, or has too many commands to carry out")]
    Busy,
    #[error("no camera is called `{0}`")]
    NoSuchCamera(String),
}

impl RunningServer {
    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Carries out a command before any datagram that arrives from now on.
    ///
    /// # Errors
    /// When the server has stopped, 64 commands wait, or there is no camera of the name.
    pub fn obey(&self, command: ServerCommand) -> Result<(), NotObeyed> {
        if let ServerCommand::Wake { camera } = &command
            && !self.settings.cameras.iter().any(|own| own.name == *camera)
        {
            return Err(NotObeyed::NoSuchCamera(camera.clone()));
        }
        self.commands.try_send(command).map_err(|_| NotObeyed::Busy)
    }

    /// Waits until a server that was told to stop is gone.
    pub async fn stopped(self) {
        drop(self.commands);
        // A panic has been reported where it happened.
        let _ = self.task.await;
    }
}

/// Binds the sockets and serves in a task of its own.
///
/// # Errors
/// When an address cannot be bound, or the operating system has no randomness.
pub async fn start(settings: Settings, stop: CancellationToken) -> io::Result<RunningServer> {
    let mut link = ServerLink::bind(settings.listen).await?;
    let addresses = advertised(link.addresses()?, settings.advertise);
    let seed = settings.seed.map_or_else(random_seed, Ok)?;
    let session = ServerSession::new(settings.clone(), addresses, seed, clock::now().into_std());
    // Commands wait for the server; 64 are more than a test gives at once.
    let (commands, mut inbox) = mpsc::channel(64);
    let events = broadcast::Sender::new(256);
    let happened = events.clone();
    let task = tokio::spawn(async move {
        run("virtual P2P server", session, &mut link, &mut inbox, &stop, &happened).await;
    });
    let Addresses { signalling: address, list: list_address, udp_relay, tcp_relay } = addresses;
    Ok(RunningServer { address, list_address, udp_relay, tcp_relay, settings, commands, events, task })
}

/// Where clients send to: what listens everywhere is reached on this machine, unless something else is said.
fn advertised(bound: Addresses, advertise: Option<Ipv4Addr>) -> Addresses {
    let reached = |at: SocketAddr| match advertise {
        Some(address) => SocketAddr::new(address.into(), at.port()),
        None if at.ip().is_unspecified() => SocketAddr::new(IpAddr::from(Ipv4Addr::LOCALHOST), at.port()),
        None => at,
    };
    Addresses {
        signalling: reached(bound.signalling),
        list: reached(bound.list),
        udp_relay: reached(bound.udp_relay),
        tcp_relay: reached(bound.tcp_relay),
    }
}
