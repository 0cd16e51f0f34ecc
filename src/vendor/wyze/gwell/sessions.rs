//! Sessions over real sockets, and the seam by which tests put in others.

use std::net::Ipv4Addr;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::doorbell::vendor::BoxFuture;
use crate::net::drive::{DriveError, drive};
use crate::net::lanes::{Lanes, Streams};
use crate::proto::gwell;
use crate::proto::gwell::mtp::Mtp;
use crate::proto::gwell::session::{ClientSession, Command, Event, SessionError, Setup};

/// Told of everything that happens in a session. It must not block.
pub type OnEvent = Box<dyn FnMut(Event) + Send>;

/// Who has a session with a camera.
pub trait Sessions: Sync {
    /// One whole session, until it fails, `stop` is cancelled or nobody holds the other end of `commands`; then the
    /// camera hears a farewell. `setup.local` has our address, and gets its port here.
    fn run<'a>(
        &'a self,
        setup: Setup,
        commands: mpsc::Receiver<Command>,
        stop: &'a CancellationToken,
        on_event: OnEvent,
    ) -> BoxFuture<'a, Result<(), DriveError<SessionError>>>;
}

/// What every camera gets.
pub struct OverSockets;

impl Sessions for OverSockets {
    fn run<'a>(
        &'a self,
        mut setup: Setup,
        mut commands: mpsc::Receiver<Command>,
        stop: &'a CancellationToken,
        on_event: OnEvent,
    ) -> BoxFuture<'a, Result<(), DriveError<SessionError>>> {
        Box::pin(async move {
            // All networks: a relay may be behind another one than the camera.
            let anywhere = (Ipv4Addr::UNSPECIFIED, 0).into();
            let streams = Streams { lane: gwell::TCP, frame_len: Mtp::frame_len };
            let mut lanes = Lanes::bind(anywhere, None, streams).await.map_err(DriveError::Socket)?;
            setup.local.set_port(lanes.local_addr().map_err(DriveError::Socket)?.port());
            let session = ClientSession::new(setup, clock::now().into_std());
            let outcome = drive(session, &mut lanes, &mut commands, stop, on_event).await;
            // The farewell goes out.
            lanes.close().await;
            outcome
        })
    }
}
