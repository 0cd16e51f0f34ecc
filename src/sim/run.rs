//! A virtual device without sockets, on sockets.

use std::net::SocketAddr;

use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::net::drive::drive;
use crate::net::link::Datagrams;
use crate::proto::Session;

/// A virtual camera that runs until its token is cancelled or every sender of `commands` is gone.
pub struct Running<Settings, Command, Event> {
    /// Where its clients reach it, on its LAN.
    pub address: SocketAddr,
    pub settings: Settings,
    pub commands: mpsc::Sender<Command>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) task: JoinHandle<()>,
}

impl<Settings, Command, Event: Clone> Running<Settings, Command, Event> {
    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// What was typed for it. One that has stopped closes its events too, which ends the console.
    pub async fn obey(&self, command: Option<Command>) {
        if let Some(command) = command {
            let _stopped = self.commands.send(command).await;
        }
    }

    /// Waits until a camera that was told to stop has said goodbye to its clients.
    pub async fn stopped(self) {
        drop(self.commands);
        // A panic has been reported where it happened.
        let _ = self.task.await;
    }
}

/// Drives a device until `stop` is cancelled or nobody can command it any more, and tells what happens to whoever
/// listens. `what` names it where its socket fails.
pub(super) async fn run<S: Session, D: Datagrams>(
    what: &str,
    session: S,
    link: &mut D,
    commands: &mut mpsc::Receiver<S::Command>,
    stop: &CancellationToken,
    events: &broadcast::Sender<S::Event>,
) {
    let tell = |event| {
        // Nobody listening is fine.
        let _ = events.send(event);
    };
    if let Err(error) = drive(session, link, commands, stop, tell).await {
        tracing::error!(%error, "the {what}'s socket failed; restart it");
    }
}
