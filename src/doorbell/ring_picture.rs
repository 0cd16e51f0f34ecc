//! The picture that belongs to a ring. A ring is told first and waits for none.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::snapshot::{Look, Picture, checked};
use super::{ActionError, Doorbell, WeakDoorbell, lock};
use crate::config::RingPicture;
use crate::model::{Capability, Event, Ring};

/// The pictures of the last rings.
#[derive(Default)]
pub(super) struct Album {
    newest_last: VecDeque<Arc<Picture>>,
}

impl Album {
    const RINGS: usize = 5;
    /// All of them together.
    const LARGEST: usize = 2 << 20;

    fn of(&self, event_id: &str) -> Option<Arc<Picture>> {
        self.newest_last.iter().find(|picture| picture.ring.as_deref() == Some(event_id)).cloned()
    }

    fn put(&mut self, picture: Arc<Picture>) {
        self.newest_last.push_back(picture);
        while self.newest_last.len() > Self::RINGS || self.size() > Self::LARGEST {
            self.newest_last.pop_front();
        }
    }

    fn size(&self) -> usize {
        self.newest_last.iter().map(|picture| picture.jpeg.len()).sum()
    }
}

impl Doorbell {
    /// The picture that belongs to one of the last rings.
    pub fn ring_picture(&self, event_id: &str) -> Option<Arc<Picture>> {
        lock(&self.shared.pictures.album).of(event_id)
    }

    /// What its vendor's cloud has of a ring that it told of. The first picture of a ring stays.
    pub fn show_ring(&self, picture: Picture) {
        let Picture { at, jpeg, ring: Some(event_id) } = picture else { return };
        let known = lock(&self.shared.rings).told_as(&event_id, at);
        let (Some(ring), Ok(jpeg)) = (known, checked(jpeg)) else { return };
        if self.shared.ring_picture != RingPicture::Never {
            self.keep_of_ring(Picture { at, jpeg, ring: Some(ring.event_id) });
        }
    }

    /// From now on, until `stop` is cancelled or the last handle is gone. `looks`: at a camera that does not stream.
    pub(super) fn follow_rings(&self, looks: bool, stop: CancellationToken) {
        let span = tracing::info_span!("device", id = %self.shared.info.borrow().id);
        tokio::spawn(follow_rings(self.downgrade(), self.events(), looks, stop).instrument(span));
    }

    fn keep_of_ring(&self, picture: Picture) {
        let Some(event_id) = &picture.ring else { return };
        let mut album = lock(&self.shared.pictures.album);
        if album.of(event_id).is_some() {
            return;
        }
        tracing::debug!(event_id, "there is a picture of the ring");
        let picture = Arc::new(picture);
        album.put(picture.clone());
        drop(album);
        self.shared.tally.count_picture();
        self.shared.pictures.newest.send_replace(Some(picture));
    }

    /// Somebody stands there now: whoever has a picture of that first.
    async fn picture_ring(self, ring: Ring, looks: bool) {
        let mut pictures = self.pictures();
        let arrives = pictures.wait_for(|_| self.ring_picture(&ring.event_id).is_some());
        let taken = tokio::select! {
            _ = arrives => return,
            taken = timeout(Self::RING_WITHIN, self.visitor(looks)) => taken,
        };
        match taken {
            Ok(Ok(picture)) => {
                self.keep_of_ring(Picture { ring: Some(ring.event_id), ..Picture::clone(&picture) });
            }
            Ok(Err(why)) => tracing::debug!(%why, "there is no picture of the ring"),
            Err(_) => tracing::debug!("there is no picture of the ring"),
        }
    }

    /// How long after a ring whoever rang may still stand there.
    const RING_WITHIN: Duration = Duration::from_secs(30);

    /// From the stream, then the vendor's way, then a look at the camera; one that may not be looked at may be by
    /// others.
    async fn visitor(&self, looks: bool) -> Result<Arc<Picture>, ActionError> {
        if let Some(picture) = self.streamed_picture().await {
            return Ok(picture);
        }
        if let Ok(picture) = self.in_turn(self.vendors_picture_soon()).await {
            return Ok(picture);
        }
        let look = looks.then(|| Look::at(self));
        let keyframe = self.next_keyframe().await;
        drop(look);
        self.developed(keyframe?).await
    }
}

/// Has a picture taken after each ring, until `stop` is cancelled or the doorbell is gone.
async fn follow_rings(
    doorbell: WeakDoorbell,
    mut events: broadcast::Receiver<Event>,
    looks: bool,
    stop: CancellationToken,
) {
    /// A ring that finds so many under way gets none.
    const AT_ONCE: usize = 4;
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => match event {
                Ok(Event::Ring(ring)) if under_way.len() < AT_ONCE && is_there_still(&ring) => {
                    let Some(doorbell) = doorbell.upgrade() else { return };
                    if doorbell.info().capabilities.contains(&Capability::Snapshot) {
                        under_way.spawn(doorbell.picture_ring(ring, looks).in_current_span());
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            Some(_ended) = under_way.join_next() => {}
        }
    }
}

/// Whether a picture that is taken now would show who rang.
fn is_there_still(ring: &Ring) -> bool {
    ring.latency.is_none_or(|latency| latency <= Doorbell::RING_WITHIN)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn of(event_id: usize, bytes: usize) -> Arc<Picture> {
        let (at, jpeg) = (SystemTime::UNIX_EPOCH, vec![0xff; bytes].into());
        Arc::new(Picture { at, jpeg, ring: Some(event_id.to_string()) })
    }

    fn kept(album: &Album) -> Vec<usize> {
        (0..100).filter(|ring| album.of(&ring.to_string()).is_some()).collect()
    }

    #[test]
    fn the_last_five_rings_keep_their_pictures() {
        let mut album = Album::default();
        (0..12).for_each(|ring| album.put(of(ring, 1_000)));
        assert_eq!(kept(&album), [7, 8, 9, 10, 11]);
    }

    #[test]
    fn no_pictures_of_rings_take_more_than_two_mebibytes() {
        let mut album = Album::default();
        (0..3).for_each(|ring| album.put(of(ring, 1 << 20)));
        assert_eq!(kept(&album), [1, 2]);
        album.put(of(3, (2 << 20) + 1));
        assert_eq!(kept(&album), [0; 0]);
    }
}
