//! The two nodes of a call, and what is told and heard there.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::{CallError, Calling};
use crate::clock;
use crate::proto::vivint::signaling::{self, Dialogue, Heard, Offer, TransactionUuid};
use crate::vendor::vivint::database::{Database, DatabaseError, Listener};

/// One call's signalling. Dropping it stops listening and leaves our own node empty.
pub(super) struct Signals {
    database: Database,
    own_path: String,
    camera_path: String,
    /// `None` once it is not to be listened to any more.
    own: Option<Listener>,
    cameras: Option<Listener>,
    dialogue: Dialogue,
    heard: VecDeque<Heard>,
    /// Of ours, each put after the one before. Full: further ones are dropped; the SDP has them too.
    candidates: mpsc::Sender<Value>,
    _putting: AbortOnDropHandle<()>,
}

impl Signals {
    const MOST_CANDIDATES: usize = 32;

    /// Begins to listen on our own node and on the camera's, where some of its replies might appear. What they hold
    /// is looked at before this returns.
    ///
    /// # Errors
    /// When our own node cannot be listened to.
    pub(super) async fn open(calling: Calling<'_>, uid: String) -> Result<Self, CallError> {
        let database = calling.database.clone();
        let own_path = signaling::path(Some(calling.panel), &uid);
        let camera_path = signaling::path(Some(calling.panel), calling.camera);
        let (own, cameras, emptied) = tokio::join!(
            database.listen(own_path.clone()),
            database.listen(camera_path.clone()),
            database.put_on_disconnect(&own_path, &Value::Null),
        );
        log_refusal("emptying our own node with the connection", emptied);
        let cameras = cameras.map_err(|error| tracing::debug!(%error, "the camera's node cannot be listened to")).ok();
        let (candidates, queue) = mpsc::channel(Self::MOST_CANDIDATES);
        let putting = tokio::spawn(put_each(database.clone(), camera_path.clone(), queue).in_current_span());
        let mut signals = Self {
            database,
            own_path,
            camera_path,
            own: Some(own?),
            cameras,
            dialogue: Dialogue::new(uid, calling.camera, now_ms()),
            heard: VecDeque::new(),
            candidates,
            _putting: AbortOnDropHandle::new(putting),
        };
        signals.look_at_leftovers().await;
        Ok(signals)
    }

    /// The first value of each node was there before us.
    async fn look_at_leftovers(&mut self) {
        let (own, cameras) = tokio::join!(next(&mut self.own), next(&mut self.cameras));
        for value in [own, cameras].into_iter().flatten() {
            self.take(&value);
        }
    }

    /// Puts our offer on the camera's node.
    ///
    /// # Errors
    /// When the database does not take it, or there is no randomness for a transaction.
    pub(super) async fn offer(&mut self, sdp: String) -> Result<(), CallError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| CallError::NoRandomness)?;
        // What was heard before is of another call.
        self.heard.clear();
        let offer = self.dialogue.offer(sdp, TransactionUuid::from_random(random), now_ms());
        Ok(self.database.put(&self.camera_path, &offer).await?)
    }

    /// Puts our answer to the camera's own offer on its node.
    ///
    /// # Errors
    /// When the database does not take it.
    pub(super) async fn answer(&mut self, sdp: String, offer: &Offer) -> Result<(), CallError> {
        let answer = self.dialogue.answer(sdp, offer, now_ms());
        Ok(self.database.put(&self.camera_path, &answer).await?)
    }

    /// Tells the camera an address of ours, in its turn.
    pub(super) fn tell_candidate(&self, candidate: &str) {
        let _dropped_when_full = self.candidates.try_send(self.dialogue.candidate(candidate, now_ms()));
    }

    /// What the camera has said. Never resolves when there is nothing to listen to any more: the call's time limit
    /// ends it then. May be cancelled.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            let value = tokio::select! {
                Some(value) = next(&mut self.own), if self.own.is_some() => value,
                Some(value) = next(&mut self.cameras), if self.cameras.is_some() => value,
                else => return std::future::pending().await,
            };
            self.take(&value);
        }
    }

    /// The next address of the camera. May be cancelled.
    pub(super) async fn candidate(&mut self) -> String {
        loop {
            if let Heard::Candidate(candidate) = self.next().await {
                return candidate;
            }
        }
    }

    /// The camera's offer, if it has called us meanwhile. May be cancelled.
    pub(super) async fn offered(&mut self) -> Offer {
        loop {
            if let Heard::Offer(offer) = self.next().await {
                return offer;
            }
        }
    }

    fn take(&mut self, value: &Value) {
        match self.dialogue.on_value(value) {
            Ok(heard) => self.heard.extend(heard),
            Err(why) => tracing::trace!(%why, "passed over a signalling message"),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        /// A database that does not take it now does so when the connection ends.
        const WITHIN: Duration = Duration::from_secs(2);
        let (database, path) = (self.database.clone(), std::mem::take(&mut self.own_path));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let emptying = async move {
                if let Ok(emptied) = tokio::time::timeout(WITHIN, database.put(&path, &Value::Null)).await {
                    log_refusal("emptying our own node", emptied);
                }
            };
            runtime.spawn(emptying.in_current_span());
        }
    }
}

/// The next value, or `None` when there is nothing to listen to any more. May be cancelled.
async fn next(listener: &mut Option<Listener>) -> Option<Value> {
    let value = listener.as_mut()?.next().await;
    if value.is_none() {
        tracing::debug!("the database lets us listen to a node no more");
        *listener = None;
    }
    value
}

/// Each after the one before was taken, and a while apart: the node shows a message only until the next one
/// (vivint reference §8).
async fn put_each(database: Database, path: String, mut queue: mpsc::Receiver<Value>) {
    while let Some(value) = queue.recv().await {
        log_refusal("telling an address of ours", database.put(&path, &value).await);
    }
}

/// What a call can do without.
fn log_refusal(what: &'static str, outcome: Result<(), DatabaseError>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, what, "the signalling database did not take it");
    }
}

fn now_ms() -> i64 {
    let since_1970 = clock::unix_now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
