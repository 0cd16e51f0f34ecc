//! Still pictures: where they come from, and which one is the newest.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{ActionError, Command, Doorbell, Request};
use crate::clock;
use crate::model::Capability;

/// A still picture, as it is kept and told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// When it was taken, as far as that is known; otherwise when it arrived.
    pub at: SystemTime,
    pub jpeg: Bytes,
    /// The ring that it belongs to: its `event_id`.
    pub ring: Option<String>,
}

/// A camera that must be woken by its cloud first takes ten seconds and more.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(30);

impl Doorbell {
    /// The newest picture, whoever had it taken. Changes with each.
    pub fn pictures(&self) -> watch::Receiver<Option<Arc<Picture>>> {
        self.shared.picture.subscribe()
    }

    /// The newest picture that can be had without waking the camera: out of its stream while it streams, otherwise the
    /// one that was taken last.
    pub async fn known_picture(&self) -> Option<Arc<Picture>> {
        self.shared.picture.borrow().clone()
    }

    /// The picture that belongs to one of the last rings.
    pub fn ring_picture(&self, event_id: &str) -> Option<Arc<Picture>> {
        self.shared.picture.borrow().clone().filter(|picture| picture.ring.as_deref() == Some(event_id))
    }

    /// A still picture, taken now: a JPEG of at most 4 MiB. One at a time, within 30 s; what has begun goes on
    /// although nobody waits for it.
    ///
    /// # Errors
    /// `Unsupported` where none can be taken, `BeingTaken` while another is, otherwise why the camera or its cloud
    /// did not take one.
    pub async fn take_snapshot(&self) -> Result<Bytes, ActionError> {
        if !self.info().capabilities.contains(&Capability::Snapshot) {
            return Err(ActionError::Unsupported("it takes no still pictures"));
        }
        let turn = self.shared.snapshot.clone().try_lock_owned().map_err(|_| ActionError::BeingTaken)?;
        let doorbell = self.clone();
        let taking = tokio::spawn(async move {
            let _turn = turn;
            let picture = doorbell.ask(|reply| Command::Device(Request::TakeSnapshot { reply }));
            timeout(SNAPSHOT_WITHIN, picture).await.unwrap_or(Err(ActionError::Timeout))
        });
        let jpeg = picture(taking.await.unwrap_or(Err(ActionError::Timeout))?)?;
        let taken = Picture { at: clock::unix_now(), jpeg: jpeg.clone(), ring: None };
        self.shared.picture.send_replace(Some(Arc::new(taken)));
        Ok(jpeg)
    }
}

/// What a device has given for a picture, if it is one that can be passed on.
fn picture(given: Bytes) -> Result<Bytes, ActionError> {
    const LARGEST: usize = 4 << 20;
    let refused = |why: &str| Err(ActionError::Refused { why: why.to_owned() });
    match &given[..] {
        [0xff, 0xd8, 0xff, ..] if given.len() <= LARGEST => Ok(given),
        [0xff, 0xd8, 0xff, ..] => refused("its picture has more than 4 MiB"),
        _ => refused("what it sent is no JPEG"),
    }
}
