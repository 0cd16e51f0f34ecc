//! Which speakers are open, on the disk. A process that is killed in a talk tells no camera that it is over; its
//! successor finds the doorbell here and does (row 36 of the fault matrix).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{ActionError, Doorbell, lock};
use crate::clock::{self, Instant};
use crate::model::DeviceId;
use crate::store::Store;

/// The open talks of all doorbells. Cheap to clone; all clones are one. The default keeps nothing.
#[derive(Clone, Default)]
pub struct OpenTalks(Option<Arc<Inner>>);

struct Inner {
    store: Store,
    open: Mutex<Opened>,
    /// What another process has left and nobody has ended yet.
    left: Mutex<BTreeSet<DeviceId>>,
    /// Held while the disk is written to.
    writing: Mutex<()>,
}

/// Each with when it began, in seconds since 1970.
type Opened = BTreeMap<DeviceId, u64>;

/// Where in the store they are.
const KEY: &str = "talks_open_since";
/// A camera that has heard nothing for so long listens to nobody any more, and needs no speaker opened and closed.
const ENDS_BY_ITSELF: Duration = Duration::from_secs(3_600);

impl OpenTalks {
    pub fn kept_in(store: Store) -> Self {
        let mut open: Opened = store.get(KEY).unwrap_or_default();
        // A clock that was put back makes nothing old.
        open.retain(|_, began| unix_seconds().saturating_sub(*began) < ENDS_BY_ITSELF.as_secs());
        let left = open.keys().cloned().collect();
        let (open, left) = (Mutex::new(open), Mutex::new(left));
        Self(Some(Arc::new(Inner { store, open, left, writing: Mutex::default() })))
    }

    /// The speaker of this doorbell is about to be opened. The writing has begun when this returns.
    pub(super) fn opens(&self, id: &DeviceId) -> Written {
        self.write(|open| {
            let known = open.contains_key(id);
            open.entry(id.clone()).or_insert_with(unix_seconds);
            !known
        })
    }

    /// It was not opened. What was open before may still be.
    pub(super) fn stays_shut(&self, id: &DeviceId) -> Written {
        if self.was_left(id) { Written::default() } else { self.closes(id) }
    }

    /// The talk at this doorbell is over.
    pub(super) fn closes(&self, id: &DeviceId) -> Written {
        if let Some(inner) = &self.0 {
            lock(&inner.left).remove(id);
        }
        self.write(|open| open.remove(id).is_some())
    }

    fn write(&self, change: impl FnOnce(&mut Opened) -> bool) -> Written {
        let Some(inner) = self.0.clone().filter(|inner| change(&mut lock(&inner.open))) else {
            return Written::default();
        };
        Written(Some((tokio::task::spawn_blocking(move || inner.save()), clock::now() + Written::WITHIN)))
    }

    /// Whether another process has left a talk at this doorbell open that nobody has ended.
    pub(super) fn was_left(&self, id: &DeviceId) -> bool {
        self.0.as_ref().is_some_and(|inner| lock(&inner.left).contains(id))
    }
}

impl Inner {
    /// Whoever comes last writes what is so then, in whatever order they were sent.
    fn save(&self) {
        let _turn = lock(&self.writing);
        let open = lock(&self.open).clone();
        // When the disk refuses, the store warns once.
        let _lasts_as_long_as_the_process = self.store.put(KEY, &open);
    }
}

fn unix_seconds() -> u64 {
    clock::unix_now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A change on its way to the disk; none by default. It goes on when this is dropped.
#[derive(Default)]
pub(super) struct Written(Option<(JoinHandle<()>, Instant)>);

impl Written {
    /// A disk that takes longer keeps no visitor waiting.
    const WITHIN: Duration = Duration::from_secs(1);

    /// Resolves when it is there. May be called again after it was cancelled.
    pub(super) async fn done(&mut self) {
        if let Some((writing, by)) = &mut self.0 {
            let _late_or_failed = timeout_at(*by, writing).await;
            self.0 = None;
        }
    }
}

/// Whose microphone it is while a talk is closed that another process has left open.
const CLOSER: u64 = Doorbell::OWN_VOICE - 1;
/// For a camera that is away; after so long its own session has ended too.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5 * 60);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Ends the talk that another process has left open, as soon as the doorbell can be reached: cameras stop listening
/// when they are told to, also by another session than the one that they listen to.
pub(super) async fn end_what_was_left(doorbell: Doorbell, talks: OpenTalks, stop: CancellationToken) {
    let ended = tokio::select! {
        () = stop.cancelled() => return,
        ended = end(&doorbell, clock::now() + GIVEN_UP_AFTER) => ended,
    };
    match ended {
        Ok(()) => tracing::info!("a talk that was open when Doorstep was killed has been ended"),
        Err(why) => {
            tracing::warn!(%why, "the doorbell could not be told that the talk is over in which Doorstep was killed");
            talks.closes(&doorbell.info().id).done().await;
        }
    }
}

/// Opens the speaker and closes it, by `deadline`.
async fn end(doorbell: &Doorbell, deadline: Instant) -> Result<(), ActionError> {
    let (mut state, mut pause) = (doorbell.state(), Duration::from_millis(250));
    loop {
        if timeout_at(deadline, state.wait_for(|state| state.link.is_available())).await.is_err() {
            return Err(ActionError::Offline { why: doorbell.shared.why_offline() });
        }
        match doorbell.start_talk(CLOSER).await {
            // Whoever talks now will end it.
            Ok(_) | Err(ActionError::Busy | ActionError::Speaking) => return Ok(()),
            Err(why @ ActionError::Unsupported(_)) => return Err(why),
            Err(why) if clock::now() + pause >= deadline => return Err(why),
            Err(_) => sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
