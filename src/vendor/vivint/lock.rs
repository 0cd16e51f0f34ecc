//! One life of a lock or a garage door: how it stands, as it is told, and the commands that the guard has let through
//! (vivint reference §3, §3.5).
//!
//! A command is one call, whatever comes of it. What the lock does is never concluded from the command, only from
//! what is told of it afterwards.

#[cfg(test)]
mod life_tests;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Vivint;
use super::cloud::{Cloud, CloudError, Once};
use super::devices::{Device, Kind, Place};
use super::systems::Systems;
use crate::clock::{self, Instant};
use crate::doorbell::vendor::Request;
use crate::doorbell::{ActionError, DevicePort, VendorError};
use crate::model::{DeviceId, Door, Link, LockAction, LockState, State};
use crate::vendor::lock::{Word, busy, moving, reached, refuse_others};

/// How long the login may take to be renewed: a wish to open a door lasts no longer.
const RENEWAL: Duration = Duration::from_secs(4);
/// How long the cloud may take to take the command.
const COMMAND: Duration = Duration::from_secs(8);
/// What was told longer ago says nothing any more; the account lists every 5 min.
const STALE: Duration = Duration::from_secs(11 * 60);

/// What is done while a command is not confirmed, and how long after it was given. Whoever asked waits for 20 s.
const STEPS: [(Duration, Step); 5] = [
    (Duration::from_secs(5), Step::Refresh),
    (Duration::from_secs(12), Step::Refresh),
    (Duration::from_secs(18), Step::Answer),
    (Duration::from_secs(30), Step::Refresh),
    (Duration::from_secs(36), Step::GiveUp),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Have the cloud say how it stands: a push may be lost.
    Refresh,
    /// Tell who asked that nobody knows.
    Answer,
    /// Show what the cloud says, whatever was wanted.
    GiveUp,
}

type Reply = oneshot::Sender<Result<LockState, ActionError>>;

/// Until `stop` is cancelled or the doorbell is gone.
///
/// # Errors
/// None at present: what fails is told to whoever asked, or is the account's.
pub(super) async fn live(
    vivint: &Vivint,
    device: &Device,
    port: DevicePort,
    stop: CancellationToken,
) -> Result<(), VendorError> {
    let DevicePort { requests, state, .. } = port;
    let bolt = Remote { cloud: &vivint.cloud, place: device.place, is_garage: matches!(device.kind, Kind::Garage(_)) };
    Life::new(vivint, device.place.id(), bolt, state).run(requests, &stop).await;
    Ok(())
}

/// What a command is given to.
trait Bolt {
    /// Leave to give one command.
    type Leave: Send;

    /// Waits until a command can be given at once.
    fn prepare(&self) -> impl Future<Output = Result<Self::Leave, CloudError>> + Send;

    fn give(&self, leave: Self::Leave, action: LockAction) -> impl Future<Output = Result<(), CloudError>> + Send;
}

struct Remote<'a> {
    cloud: &'a Cloud,
    place: Place,
    is_garage: bool,
}

impl Bolt for Remote<'_> {
    type Leave = Once;

    async fn prepare(&self) -> Result<Once, CloudError> {
        self.cloud.once().await
    }

    async fn give(&self, once: Once, action: LockAction) -> Result<(), CloudError> {
        match self.is_garage {
            true => once.set_garage(self.place, action == LockAction::Unlock, COMMAND).await,
            false => once.set_lock(self.place, action == LockAction::Lock, COMMAND).await,
        }
    }
}

struct Life<'a, B> {
    vivint: &'a Vivint,
    id: DeviceId,
    bolt: B,
    known: watch::Receiver<Systems>,
    state: watch::Sender<State>,
    moving: Option<Moving>,
}

/// A command that was given and is not confirmed.
struct Moving {
    action: LockAction,
    /// What was told before says nothing of it.
    since: Instant,
    steps: std::slice::Iter<'static, (Duration, Step)>,
    /// Who waits for the outcome; `None` when he has been told.
    reply: Option<Reply>,
}

impl Moving {
    fn new(action: LockAction, since: Instant, reply: Option<Reply>) -> Self {
        Self { action, since, steps: STEPS.iter(), reply }
    }

    fn next_step(&self) -> Option<Instant> {
        self.steps.as_slice().first().map(|(after, _)| self.since + *after)
    }

    fn answer(&mut self, outcome: Result<LockState, ActionError>) {
        if let Some(reply) = self.reply.take() {
            let _asker_left = reply.send(outcome);
        }
    }
}

/// What is known of the lock.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    online: bool,
    /// Whether it was told lately.
    heard: bool,
    lock: Option<LockState>,
    /// When that was told.
    at: Option<Instant>,
    /// When it counts no more.
    until: Option<Instant>,
}

impl<'a, B: Bolt> Life<'a, B> {
    fn new(vivint: &'a Vivint, id: DeviceId, bolt: B, state: watch::Sender<State>) -> Self {
        Self { vivint, id, bolt, known: vivint.known.subscribe(), state, moving: None }
    }

    async fn run(mut self, mut requests: mpsc::Receiver<Request>, stop: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                request = requests.recv() => match request {
                    None => return,
                    Some(Request::WorkLock { permit, reply }) => tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.work(permit, reply) => {}
                        () = refuse_others(&mut requests) => return,
                    },
                    Some(other) => self.vivint.answer(&self.id, other, "it is a lock"),
                },
                () = self.turn() => {}
            }
        }
    }

    /// Shows what is known, and waits until there is something new to show or to do.
    async fn turn(&mut self) {
        let told = self.look();
        let step = self.moving.as_ref().and_then(Moving::next_step);
        tokio::select! {
            Ok(()) = self.known.changed() => {}
            () = at(step) => self.step(),
            () = at(told.until) => {}
        }
    }

    /// Gives one command. How it ends is seen by looking.
    async fn work(&mut self, word: impl Word, reply: Reply) {
        // Whoever has given up does not expect the door to open any more.
        if reply.is_closed() {
            return;
        }
        if self.moving.as_ref().is_some_and(|moving| moving.reply.is_some()) {
            let _asker_left = reply.send(Err(busy()));
            return;
        }
        let action = word.action();
        let ready = match tokio::time::timeout(RENEWAL, self.bolt.prepare()).await.unwrap_or(Err(CloudError::Renewing))
        {
            Ok(ready) => ready,
            Err(error) => return refuse(reply, error.into()),
        };
        // Right before the lock is touched.
        if let Err(stale) = word.spend() {
            return refuse(reply, stale);
        }
        let since = clock::now();
        self.show(Some(moving(action)));
        tracing::info!(?action, "the lock is told to move");
        match self.bolt.give(ready, action).await {
            Ok(()) => self.moving = Some(Moving::new(action, since, Some(reply))),
            Err(error) if error.leaves_unknown() => {
                // Nobody is told more than that, but the truth comes out.
                refuse(reply, error.into());
                self.moving = Some(Moving::new(action, since, None));
            }
            Err(error) => refuse(reply, error.into()),
        }
    }

    /// Shows what is known, and ends a command that it confirms.
    fn look(&mut self) -> Told {
        let told = self.told();
        self.link(told);
        let Some(moving) = &mut self.moving else {
            self.show(told.lock.filter(|_| told.online));
            return told;
        };
        let news = told.lock.filter(|_| told.online && told.at.is_some_and(|at| at > moving.since));
        match news {
            Some(state) if state == reached(moving.action) || state == LockState::Jammed => {
                tracing::info!(
                    state = state.word(),
                    took_ms = moving.since.elapsed().as_millis(),
                    "the lock has moved"
                );
                moving.answer(Ok(state));
                self.moving = None;
                self.show(Some(state));
            }
            // The cloud may not have heard from the lock since.
            _ => {
                let shown = self::moving(moving.action);
                self.show(Some(shown));
            }
        }
        told
    }

    fn step(&mut self) {
        let told = self.told();
        let Some(moving) = &mut self.moving else { return };
        match moving.steps.next() {
            Some((_, Step::Refresh)) => self.vivint.relist.notify_one(),
            Some((_, Step::Answer)) => {
                // A garage door takes longer than anybody waits, and says that it is on its way.
                let on_its_way =
                    told.at.is_some_and(|at| at > moving.since) && told.lock == Some(self::moving(moving.action));
                let outcome = if on_its_way { Ok(self::moving(moving.action)) } else { Err(ActionError::Timeout) };
                moving.answer(outcome);
            }
            Some((_, Step::GiveUp)) | None => {
                tracing::warn!("the lock has not said that it has moved");
                self.moving = None;
            }
        }
    }

    fn told(&mut self) -> Told {
        let known = self.known.borrow_and_update();
        let Some(record) = known.get(&self.id) else { return Told::default() };
        let until = record.told.map(|told| told + STALE);
        let counts = until.is_some_and(|until| clock::now() < until);
        Told {
            online: record.device.online.unwrap_or(true),
            heard: counts,
            lock: record.device.door().filter(|_| counts),
            at: record.state_told,
            until: until.filter(|_| counts),
        }
    }

    fn link(&self, told: Told) {
        let why = match told {
            Told { online: false, .. } => Some("Vivint says that the device is offline."),
            Told { heard: false, .. } => Some(
                "Vivint has said nothing of it for over 11 minutes, or since Doorstep was started: see how the account \
                 does.",
            ),
            _ => None,
        };
        let link = if why.is_none() { Link::Ready } else { Link::Offline };
        let last_error = why.map(str::to_owned);
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

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn refuse(reply: Reply, error: ActionError) {
    tracing::warn!(%error, "the lock was not told, or has not said that it heard");
    let _asker_left = reply.send(Err(error));
}
