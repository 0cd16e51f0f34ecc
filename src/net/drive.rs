//! The only loop that joins a [`Session`] to sockets.

use std::io;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::link::Datagrams;
use crate::clock;
use crate::proto::{Output, Session};

/// Why a driven session is over.
#[derive(Debug, thiserror::Error)]
pub enum DriveError<E: std::error::Error> {
    #[error(transparent)]
    Session(E),
    #[error("the socket failed")]
    Socket(#[source] io::Error),
}

/// Runs `session` until `stop` is cancelled (`Ok`), every sender of `commands` is gone (`Ok`), or it fails.
/// However it ends, the peer hears a farewell; only a socket that failed carries none.
///
/// Looks at shutdown first, then timers, then commands, then packets, so that a flood of video cannot
/// starve a keepalive. `on_event` must not block.
pub async fn drive<S: Session, D: Datagrams>(
    mut session: S,
    link: &mut D,
    commands: &mut mpsc::Receiver<S::Command>,
    stop: &CancellationToken,
    mut on_event: impl FnMut(S::Event),
) -> Result<(), DriveError<S::Error>> {
    loop {
        flush(&mut session, link, &mut on_event)?;
        let deadline = session.deadline();
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => return farewell(session, link, on_event),
            () = sleep_until(deadline) => session.on_timeout(clock::now().into_std()),
            command = commands.recv() => match command {
                Some(command) => session.on_command(clock::now().into_std(), command),
                None => return farewell(session, link, on_event),
            },
            datagram = link.recv() => {
                let datagram = datagram.map_err(DriveError::Socket)?;
                session.on_datagram(clock::now().into_std(), datagram.lane, datagram.from, &datagram.payload)
            }
        };
        if let Err(error) = outcome {
            // What failed may be one direction only: a camera that hears us must not be left with an open speaker.
            let _the_first_error_counts = farewell(session, link, on_event);
            return Err(DriveError::Session(error));
        }
    }
}

fn farewell<S: Session, D: Datagrams>(
    mut session: S,
    link: &mut D,
    mut on_event: impl FnMut(S::Event),
) -> Result<(), DriveError<S::Error>> {
    session.on_close(clock::now().into_std());
    flush(&mut session, link, &mut on_event)
}

fn flush<S: Session, D: Datagrams>(
    session: &mut S,
    link: &mut D,
    on_event: &mut impl FnMut(S::Event),
) -> Result<(), DriveError<S::Error>> {
    while let Some(output) = session.poll() {
        match output {
            Output::Send { lane, to, payload } => link.send(lane, to, &payload).map_err(DriveError::Socket)?,
            Output::Event(event) => on_event(event),
        }
    }
    Ok(())
}

async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
