//! One camera's frames, handed to whoever watches (ARCHITECTURE.md §5).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, broadcast, watch};

use super::gop::Gop;
use super::{Formats, Frame, FrameKind, VideoCodec};
use crate::clock::{self, Instant};

/// The fan-out of one camera: the vendor publishes, viewers subscribe. Cheap to clone.
#[derive(Clone)]
pub struct MediaHub(Arc<Shared>);

struct Shared {
    formats: watch::Sender<Formats>,
    demand: watch::Sender<usize>,
    /// The newest one of the camera session.
    keyframe: watch::Sender<Option<Keyframe>>,
    keyframe_asked: Notify,
    stream: Mutex<Stream>,
}

/// What changes with every frame.
#[derive(Default)]
struct Stream {
    live: Live,
    gop: Gop,
    seq: u64,
    session: SessionClock,
    /// Whether this session has had a keyframe of its present codec: nobody can decode what comes before.
    decodable: bool,
    /// When the first picture of this session came.
    pictures_since: Option<Instant>,
    keyframe: KeyframeRequest,
    counters: Counters,
}

/// A picture that needs no other, as it came from the camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyframe {
    pub codec: VideoCodec,
    /// One access unit in Annex B that begins with its parameter sets; at most 4 MiB.
    pub data: Bytes,
    /// When it arrived.
    pub at: Instant,
}

impl Keyframe {
    /// A camera that sends more is streamed but not photographed.
    const LARGEST: usize = 4 << 20;

    fn of(kind: FrameKind, data: &Bytes) -> Option<Self> {
        let FrameKind::Video { codec, keyframe: true } = kind else { return None };
        (data.len() <= Self::LARGEST).then(|| Self { codec, data: data.clone(), at: clock::now() })
    }
}

/// What has passed through a hub since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Published, video and audio.
    pub frames: u64,
    pub bytes: u64,
    /// Overtook a listener that was too slow, counted for each listener.
    pub lagged: u64,
}

impl MediaHub {
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            formats: watch::Sender::default(),
            demand: watch::Sender::default(),
            keyframe: watch::Sender::default(),
            keyframe_asked: Notify::new(),
            stream: Mutex::default(),
        }))
    }

    /// Whether both handles are of the same camera.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    // The camera's side.

    /// Hands a frame to every viewer. Never waits. `pts` counts from the beginning of the camera session.
    pub fn publish(&self, kind: FrameKind, pts: Duration, data: Bytes) {
        let mut stream = self.0.stream();
        if kind.is_video() {
            stream.pictures_since.get_or_insert_with(clock::now);
        }
        let new_format = self.0.formats.send_if_modified(|formats| match kind {
            FrameKind::Video { codec, .. } => formats.video.replace(codec) != Some(codec),
            FrameKind::Audio(format) => formats.audio.replace(format) != Some(format),
        });
        if new_format && kind.is_video() {
            stream.forget_pictures();
        }
        if !stream.live.has_room_for(&data) {
            stream.make_room();
            self.0.keyframe_asked.notify_one();
        }
        let data = stream.live.counted(data);
        if let Some(keyframe) = Keyframe::of(kind, &data) {
            self.0.keyframe.send_replace(Some(keyframe));
        }
        if let Some(frame) = stream.take_in(kind, pts, data) {
            // Under the lock, so that `listen` sees each frame either in the cache or live.
            let _nobody_listens = stream.live.frames.send(frame);
        }
    }

    /// What comes next is of another camera session, which takes the place of the one before without a gap: it
    /// begins with a keyframe, and what is cached stays good until then.
    pub fn begin_session(&self) {
        self.0.stream().session.end();
    }

    /// Forgets cached frames, formats, the newest keyframe and requests for one: the camera session has ended.
    pub fn reset(&self) {
        let mut stream = self.0.stream();
        stream.forget_pictures();
        stream.pictures_since = None;
        stream.keyframe.wanted = false;
        stream.session.end();
        drop(stream);
        self.0.keyframe.send_replace(None);
        self.0.formats.send_replace(Formats::default());
    }

    /// How many subscriptions there are now.
    pub fn demand(&self) -> watch::Receiver<usize> {
        self.0.demand.subscribe()
    }

    /// Resolves as soon as somebody watches.
    pub async fn watched(&self) {
        // The hub holds the sender, so waiting cannot fail.
        let _ = self.demand().wait_for(|&count| count > 0).await;
    }

    /// Resolves when nobody has watched for the whole of `linger`. Counts anew on each call: to be pinned
    /// outside of a loop.
    pub async fn unwatched_for(&self, linger: Duration) {
        let mut demand = self.demand();
        loop {
            let _ = demand.wait_for(|&count| count == 0).await;
            let somebody = demand.wait_for(|&count| count > 0);
            if tokio::time::timeout(linger, somebody).await.is_err() {
                return;
            }
        }
    }

    /// Resolves when viewers want a keyframe; at most once per 500 ms however many ask. A keyframe that comes
    /// by itself settles their wish. May be cancelled without losing it.
    pub async fn keyframe_wanted(&self) {
        loop {
            let due = self.0.stream().keyframe.take(clock::now());
            match due {
                Due::Now => return,
                Due::At(at) => tokio::time::sleep_until(at).await,
                Due::WhenAsked => self.0.keyframe_asked.notified().await,
            }
        }
    }

    // The viewers' side.

    /// A share in the demand: while one lives the camera is kept streaming.
    pub fn hold(&self) -> Demand {
        self.0.demand.send_modify(|count| *count += 1);
        Demand { hub: self.clone() }
    }

    /// Frames without demand: the cached GOP first, then live. Its first picture is a keyframe, and where the
    /// cache has none the camera is asked for it.
    pub fn listen(&self) -> FrameStream {
        let stream = self.0.stream();
        let cached = stream.gop.frames();
        let frames = stream.live.frames.subscribe();
        let keyframe_missing = cached.is_empty();
        let ask = keyframe_missing && stream.decodable;
        drop(stream);
        if ask {
            self.request_keyframe();
        }
        FrameStream { hub: Arc::downgrade(&self.0), cached, frames, keyframe_missing }
    }

    pub fn formats(&self) -> watch::Receiver<Formats> {
        self.0.formats.subscribe()
    }

    /// The newest keyframe of the present camera session, although its group of pictures may have been let go.
    pub fn newest_keyframe(&self) -> Option<Keyframe> {
        self.0.keyframe.borrow().clone()
    }

    /// The same, and each that comes.
    pub fn keyframes(&self) -> watch::Receiver<Option<Keyframe>> {
        self.0.keyframe.subscribe()
    }

    /// Asks the camera for a keyframe.
    pub fn request_keyframe(&self) {
        self.0.stream().keyframe.wanted = true;
        self.0.keyframe_asked.notify_one();
    }

    pub fn counters(&self) -> Counters {
        self.0.stream().counters
    }
}

impl Default for MediaHub {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    /// Nothing panics while it holds this lock, so a poisoned one is as good as any.
    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The frames on their way to the listeners.
struct Live {
    /// Full: a listener that is this many frames behind loses the oldest and resumes at the next keyframe.
    frames: broadcast::Sender<Arc<Frame>>,
    /// Of these frames, as long as anybody has them.
    bytes: Arc<AtomicUsize>,
}

impl Default for Live {
    fn default() -> Self {
        Self { frames: broadcast::channel(Self::FRAMES).0, bytes: Arc::default() }
    }
}

impl Live {
    /// About 3 s of video at 30 pictures a second with its sound.
    const FRAMES: usize = 256;
    /// Twice what the cache may hold, and 8 s of what the best camera sends.
    const BYTES: usize = 8 << 20;

    fn has_room_for(&self, data: &Bytes) -> bool {
        self.bytes.load(Ordering::Relaxed) + data.len() <= Self::BYTES
    }

    /// The same, counted until it is let go.
    fn counted(&self, data: Bytes) -> Bytes {
        self.bytes.fetch_add(data.len(), Ordering::Relaxed);
        Bytes::from_owner(Counted { data, bytes: self.bytes.clone() })
    }
}

struct Counted {
    data: Bytes,
    bytes: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.data.len(), Ordering::Relaxed);
    }
}

impl Stream {
    /// Frames larger than any camera's must not fill the memory behind a listener that does not keep up with them.
    /// Whoever has not taken what is there yet goes on with the next keyframe.
    fn make_room(&mut self) {
        self.forget_pictures();
        self.live = Live::default();
        self.keyframe.wanted = true;
    }

    /// What comes next builds on nothing that came before.
    fn forget_pictures(&mut self) {
        self.gop.clear();
        self.decodable = false;
    }

    /// `None` for a picture that nobody can decode.
    fn take_in(&mut self, kind: FrameKind, pts: Duration, data: Bytes) -> Option<Arc<Frame>> {
        if kind.is_keyframe() {
            self.decodable = true;
            self.keyframe.wanted = false;
        }
        if kind.is_video() && !self.decodable {
            return None;
        }
        let frame = Arc::new(Frame { seq: self.seq, kind, pts: self.session.continued(pts), data });
        self.seq += 1;
        self.counters.frames += 1;
        self.counters.bytes += frame.data.len() as u64;
        self.gop.push(&frame);
        Some(frame)
    }
}

/// Makes one clock of many sessions, so that a viewer who sees the camera come back sees time go on.
#[derive(Default)]
struct SessionClock {
    begun_at: Duration,
    newest: Option<(Duration, Instant)>,
    ended: bool,
}

impl SessionClock {
    fn continued(&mut self, pts: Duration) -> Duration {
        let now = clock::now();
        if let (true, Some((newest, at))) = (self.ended, self.newest) {
            self.begun_at = newest + now.duration_since(at);
        }
        self.ended = false;
        let pts = self.begun_at.saturating_add(pts);
        let newest = self.newest.map_or(pts, |(newest, _)| newest.max(pts));
        self.newest = Some((newest, now));
        pts
    }

    fn end(&mut self) {
        self.ended = true;
    }
}

/// The wish for a keyframe, of however many viewers.
#[derive(Default)]
struct KeyframeRequest {
    wanted: bool,
    passed_on: Option<Instant>,
}

enum Due {
    Now,
    At(Instant),
    WhenAsked,
}

impl KeyframeRequest {
    const APART: Duration = Duration::from_millis(500);

    fn take(&mut self, now: Instant) -> Due {
        if !self.wanted {
            return Due::WhenAsked;
        }
        match self.passed_on.map(|last| last + Self::APART) {
            Some(next) if now < next => Due::At(next),
            _ => {
                *self = Self { wanted: false, passed_on: Some(now) };
                Due::Now
            }
        }
    }
}

/// One listener's frames. A listener that lags loses frames and resumes at the next keyframe; sound goes on.
pub struct FrameStream {
    hub: Weak<Shared>,
    cached: VecDeque<Arc<Frame>>,
    frames: broadcast::Receiver<Arc<Frame>>,
    keyframe_missing: bool,
}

impl FrameStream {
    /// The next frame; `None` when the hub is gone. May be cancelled without losing a frame.
    pub async fn next(&mut self) -> Option<Arc<Frame>> {
        loop {
            if let Some(frame) = self.cached.pop_front() {
                return Some(frame);
            }
            match self.frames.recv().await {
                Ok(frame) if self.is_shown(&frame) => return Some(frame),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(frames)) => self.lagged(frames),
                Err(broadcast::error::RecvError::Closed) => self.join_anew()?,
            }
        }
    }

    fn is_shown(&mut self, frame: &Frame) -> bool {
        self.keyframe_missing &= !frame.kind.is_keyframe();
        !(self.keyframe_missing && frame.kind.is_video())
    }

    /// What was on its way is let go, or the hub is gone. Whoever has kept up with it misses nothing: the cache has what
    /// has come since.
    fn join_anew(&mut self) -> Option<()> {
        let hub = self.hub.upgrade()?;
        let mut stream = hub.stream();
        self.cached = stream.gop.frames();
        self.keyframe_missing = self.cached.is_empty();
        self.frames = stream.live.frames.subscribe();
        stream.counters.lagged += 1;
        Some(())
    }

    fn lagged(&mut self, frames: u64) {
        self.keyframe_missing = true;
        if let Some(hub) = self.hub.upgrade() {
            hub.stream().counters.lagged += frames;
        }
    }
}

/// Keeps the camera streaming until it is dropped.
pub struct Demand {
    hub: MediaHub,
}

impl Demand {
    pub fn hub(&self) -> &MediaHub {
        &self.hub
    }

    /// What the camera sends: waits for its first picture, and for its sound until 1 s after that.
    pub async fn formats(&self) -> Formats {
        const SOUND_FOLLOWS_WITHIN: Duration = Duration::from_secs(1);
        let mut formats = self.hub.formats();
        let seen = formats.wait_for(|f| f.video.is_some()).await.map(|f| *f).unwrap_or_default();
        let since = self.hub.0.stream().pictures_since.unwrap_or_else(clock::now);
        let both = tokio::time::timeout_at(since + SOUND_FOLLOWS_WITHIN, formats.wait_for(|f| f.audio.is_some()));
        both.await.ok().and_then(Result::ok).map_or(seen, |f| *f)
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.hub.0.demand.send_modify(|count| *count -= 1);
    }
}
