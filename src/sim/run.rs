//! A virtual device without sockets, on sockets.

use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::net::drive::drive;
use crate::net::link::Datagrams;
use crate::proto::Session;

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
