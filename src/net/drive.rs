//! The only loop that joins a [`Session`] to sockets.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::link::{Datagram, Datagrams};
use crate::clock::{self, Instant};
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
/// starve a keepalive. Of packets it takes no more than [`Pace`] lets it: what one peer floods us with costs its own
/// session alone. `on_event` must not block.
pub async fn drive<S: Session, D: Datagrams>(
    mut session: S,
    link: &mut D,
    commands: &mut mpsc::Receiver<S::Command>,
    stop: &CancellationToken,
    mut on_event: impl FnMut(S::Event),
) -> Result<(), DriveError<S::Error>> {
    let mut pace = Pace::new(clock::now());
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
            datagram = pace.recv(link) => {
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

/// How many datagrams a peer may have looked at. What is beyond waits in the socket, which drops what it has no room
/// for. A camera sends some 1 000 in a second, and those of a keyframe all at once.
struct Pace {
    /// The datagrams so far have used up the time until then.
    used_up: Instant,
}

impl Pace {
    const APART: Duration = Duration::from_micros(250);
    /// At [`Self::APART`], 2 000 datagrams.
    const BURST: Duration = Duration::from_millis(500);

    fn new(now: Instant) -> Self {
        Self { used_up: now }
    }

    /// The next datagram, when its time has come. May be cancelled without losing one.
    async fn recv(&mut self, link: &mut impl Datagrams) -> io::Result<Datagram> {
        let ahead = self.used_up.saturating_duration_since(clock::now());
        if let Some(wait) = ahead.checked_sub(Self::BURST) {
            tokio::time::sleep(wait).await;
        }
        let datagram = link.recv().await?;
        self.used_up = self.used_up.max(clock::now()) + Self::APART;
        Ok(datagram)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::proto::Lane;

    /// A peer that always has something to say.
    struct Flood;

    impl Datagrams for Flood {
        fn send(&mut self, _: Lane, _: SocketAddr, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        async fn recv(&mut self) -> io::Result<Datagram> {
            Ok(Datagram { lane: Lane::MAIN, from: ([127, 0, 0, 1], 1).into(), payload: Vec::new() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_taken_at_the_pace_of_a_busy_camera_and_a_keyframe_at_once() {
        let begun = clock::now();
        let (mut pace, mut taken) = (Pace::new(begun), vec![0_u32; 10]);
        while let Some(count) = taken.get_mut(begun.elapsed().as_secs() as usize) {
            pace.recv(&mut Flood).await.unwrap();
            *count += 1;
        }
        let [first, others @ ..] = &taken[..] else { unreachable!() };
        assert!((5_900..6_100).contains(first), "{taken:?}");
        assert!(others.iter().all(|taken| (3_900..4_100).contains(taken)), "{taken:?}");
    }
}
