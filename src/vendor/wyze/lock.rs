//! One life of a lock: how it stands, asked now and again, and the commands that the guard has let through
//! (wyze-cloud reference §8).
//!
//! A command is one call, whatever comes of it. What the lock does is never concluded from the command, only from
//! what the lock says afterwards.

#[cfg(test)]
mod life_tests;
mod remote;

use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::cloud::{Cloud, CloudError};
use crate::clock::{self, Instant};
use crate::doorbell::{ActionError, DevicePort, Request, VendorError};
use crate::model::{Door, Link, LockAction, LockState, State};
use crate::vendor::lock::{Word, moving, reached, refuse_others};
use remote::{Bolt, Reading, Remote};
pub use remote::{Interface, Lock};

/// How often the lock is asked how it stands.
const POLL: Duration = Duration::from_secs(60);
/// How often while it moves.
const STEP: Duration = Duration::from_secs(1);
/// How long the cloud may take to take the command, and the lock to follow it.
const COMMAND: Duration = Duration::from_secs(8);
const FOLLOW: Duration = Duration::from_secs(15);
/// How long both may take together: whoever asked waits for 20 s.
const ANSWER: Duration = Duration::from_secs(18);
/// Every so many steps the lock's diary is asked whether it has jammed.
const DIARY_EVERY: u32 = 4;

type Reply = oneshot::Sender<Result<LockState, ActionError>>;

/// Until `stop` is cancelled or the doorbell is gone.
///
/// # Errors
/// When the cloud cannot be asked.
pub async fn live(lock: &Lock, cloud: &Cloud, port: DevicePort, stop: CancellationToken) -> Result<(), VendorError> {
    let DevicePort { requests, state, .. } = port;
    let life = Life { bolt: Remote { lock, cloud }, state, jammed_at: None };
    life.run(requests, &stop).await.map_err(VendorError::from)
}

struct Life<B> {
    bolt: B,
    state: watch::Sender<State>,
    /// What the lock said of its bolt when it had jammed. As long as it says nothing else, it is stuck.
    jammed_at: Option<Option<LockState>>,
}

impl<B: Bolt> Life<B> {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>, stop: &CancellationToken) -> Result<(), CloudError> {
        let mut next_poll = clock::now();
        loop {
            let polled = async {
                tokio::time::sleep_until(next_poll).await;
                self.bolt.read().await
            };
            // A poll that a command interrupts is worth nothing: the lock is asked after the command anyway.
            let request = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                request = requests.recv() => request,
                reading = polled => {
                    self.take(reading)?;
                    next_poll = clock::now() + POLL;
                    continue;
                }
            };
            match request {
                None => return Ok(()),
                Some(Request::WorkLock { permit, reply }) => {
                    let working = self.work(permit, reply);
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = working => {}
                        () = refuse_others(&mut requests) => return Ok(()),
                    }
                    next_poll = clock::now() + STEP;
                }
                Some(other) => other.refuse(ActionError::Unsupported("it is a lock")),
            }
        }
    }

    /// Carries out one command and tells how the lock stands afterwards.
    async fn work(&mut self, word: impl Word, reply: Reply) {
        // Whoever has given up does not expect the door to open any more.
        if reply.is_closed() {
            return;
        }
        let began = Began { at: clock::now(), theirs: self.bolt.time() };
        let action = word.action();
        let sent = match self.bolt.prepare(action, COMMAND) {
            Err(error) => Err(error.into()),
            Ok(command) => match word.spend() {
                Err(stale) => Err(stale),
                Ok(_) => {
                    let before = self.state.borrow().door.clone();
                    self.show(Some(moving(action)));
                    tracing::info!(?action, "the lock is told to move");
                    command.await.map_err(|error| {
                        if !error.leaves_unknown() {
                            self.state.send_modify(|state| state.door = before);
                        }
                        ActionError::from(error)
                    })
                }
            },
        };
        match sent {
            Ok(()) => {
                let deadline = (clock::now() + FOLLOW).min(began.at + ANSWER);
                drop(reply.send(self.follow(action, &began, deadline).await));
            }
            Err(error) => {
                tracing::warn!(%error, "the lock was not told, or has not said that it heard");
                let unknown = error == ActionError::Timeout;
                drop(reply.send(Err(error)));
                if unknown {
                    // Nobody waits for it any more, but the truth comes out.
                    let _truth = self.follow(action, &began, clock::now() + FOLLOW).await;
                }
            }
        }
    }

    /// Asks the lock until it stands where it was told to, has jammed, or the time is over.
    async fn follow(&mut self, action: LockAction, began: &Began, deadline: Instant) -> Result<LockState, ActionError> {
        let wanted = reached(action);
        let mut last = None;
        for step in 1.. {
            tokio::time::sleep(STEP).await;
            if clock::now() >= deadline {
                break;
            }
            match tokio::time::timeout_at(deadline, self.bolt.read()).await {
                // Of a lock that is offline the cloud only knows how it stood.
                Ok(Ok(Reading { online, bolt })) => last = bolt.filter(|_| online),
                // The next step may fare better.
                Ok(Err(error)) => tracing::debug!(%error, "the lock could not be asked"),
                Err(_) => break,
            }
            if last == Some(wanted) {
                self.jammed_at = None;
                self.show(last);
                tracing::info!(state = wanted.word(), took_ms = began.at.elapsed().as_millis(), "the lock has moved");
                return Ok(wanted);
            }
            if step % DIARY_EVERY == 0 && self.has_jammed(began, deadline).await {
                tracing::warn!("the lock has jammed");
                self.jammed_at = Some(last);
                self.show(Some(LockState::Jammed));
                return Ok(LockState::Jammed);
            }
        }
        self.show(last);
        Err(ActionError::Timeout)
    }

    async fn has_jammed(&self, began: &Began, deadline: Instant) -> bool {
        let asked = tokio::time::timeout_at(deadline, self.bolt.has_jammed(began.theirs)).await;
        matches!(asked, Ok(Ok(true)))
    }

    /// What the lock said when it was asked without a reason.
    fn take(&mut self, reading: Result<Reading, CloudError>) -> Result<(), CloudError> {
        let reading = match reading {
            Err(CloudError::DeviceOffline) => Reading { online: false, bolt: None },
            Err(error) => {
                // How it stood is no longer known, and saying so is better than a door that seems locked.
                self.show(None);
                return Err(error);
            }
            Ok(reading) => reading,
        };
        self.link(reading.online);
        if self.jammed_at.is_some_and(|at| at != reading.bolt && reading.bolt.is_some()) {
            self.jammed_at = None;
        }
        self.show(match (reading.online, self.jammed_at) {
            (false, _) => None,
            (true, Some(_)) => Some(LockState::Jammed),
            (true, None) => reading.bolt,
        });
        Ok(())
    }

    fn link(&self, online: bool) {
        let (link, last_error) = match online {
            true => (Link::Ready, None),
            false => (Link::Offline, Some(CloudError::DeviceOffline.to_string())),
        };
        self.state.send_if_modified(|state| {
            let news = state.link != link || state.last_error != last_error;
            (state.link, state.last_error) = (link, last_error);
            news
        });
    }

    fn show(&self, lock: Option<LockState>) {
        self.state.send_if_modified(|state| {
            let door = Some(Door { lock, blocked: None });
            let news = state.door != door;
            state.door = door;
            news
        });
    }
}

/// When a command was given, by our clock and by the cloud's.
struct Began {
    at: Instant,
    theirs: SystemTime,
}
