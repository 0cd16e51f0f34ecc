//! Still pictures: where they come from, and which one is the newest.
//!
//! A camera that streams anyhow has just sent one. Otherwise its vendor may have a way of its own, and where it has
//! none, or that fails, somebody has to look at the camera for a moment.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::Instrument;

use super::ring_picture::Album;
use super::{ActionError, Command, Doorbell, Request, lock};
use crate::clock::{self, Instant};
use crate::media::{Demand, Keyframe, still};
use crate::model::{Capability, Link};

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
/// What the vendor's own way may take of that, where there is another.
const VENDOR_WITHIN: Duration = Duration::from_secs(15);
/// How old what a stream has shown may be.
const FRESH: Duration = Duration::from_secs(2);
/// How long a camera that was asked for a keyframe is waited for.
const KEYFRAME_WITHIN: Duration = Duration::from_secs(2);

/// A picture, and when it arrived.
type Arrived = (Instant, Arc<Picture>);

/// What a doorbell has of pictures.
#[derive(Default)]
pub(super) struct Pictures {
    pub(super) newest: watch::Sender<Option<Arc<Picture>>>,
    /// Held while somebody waits for one that is taken now.
    asked: Arc<tokio::sync::Mutex<()>>,
    /// The one that a camera without a stream was asked for last, for whatever. Held while it is.
    turn: tokio::sync::Mutex<Option<Arrived>>,
    /// Held while a keyframe is decoded.
    developed: Arc<tokio::sync::Mutex<Developed>>,
    pub(super) album: std::sync::Mutex<Album>,
}

/// Keyframes by when they arrived.
#[derive(Default)]
struct Developed {
    /// The last one that was decoded.
    shown: Option<Arrived>,
    /// The last one that could not be, and why.
    spoilt: Option<(Instant, ActionError)>,
}

/// Has a camera stream for a moment, for nobody who watches.
pub(super) struct Look {
    doorbell: Doorbell,
    demand: Option<Demand>,
}

impl Look {
    pub(super) fn at(doorbell: &Doorbell) -> Self {
        // Both at once, or else somebody would seem to watch.
        let mut looks = lock(&doorbell.shared.looks);
        *looks += 1;
        Self { doorbell: doorbell.clone(), demand: Some(doorbell.watch()) }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut looks = lock(&self.doorbell.shared.looks);
        self.demand = None;
        *looks -= 1;
    }
}

impl Doorbell {
    /// The newest picture, whoever had it taken. Changes with each.
    pub fn pictures(&self) -> watch::Receiver<Option<Arc<Picture>>> {
        self.shared.pictures.newest.subscribe()
    }

    /// The newest picture that can be had without waking the camera: out of its stream while it streams, otherwise the
    /// last one that there was.
    pub async fn known_picture(&self) -> Option<Arc<Picture>> {
        if let Some(keyframe) = self.media().newest_keyframe()
            && let Ok(picture) = self.developed(keyframe).await
        {
            return Some(picture);
        }
        let taken = self.shared.pictures.newest.borrow().clone();
        let seen = self.shared.pictures.developed.lock().await.shown.as_ref().map(|(_, picture)| picture.clone());
        taken.into_iter().chain(seen).max_by_key(|picture| picture.at)
    }

    /// A still picture, taken now: a JPEG of at most 4 MiB. One at a time, within 30 s; what has begun goes on
    /// although nobody waits for it. One that is being taken of a ring is shared.
    ///
    /// # Errors
    /// `Unsupported` where none can be taken, `BeingTaken` while somebody else has one taken, otherwise why the camera
    /// or its cloud did not take one.
    pub async fn take_snapshot(&self) -> Result<Bytes, ActionError> {
        if !self.info().capabilities.contains(&Capability::Snapshot) {
            return Err(ActionError::Unsupported("it takes no still pictures"));
        }
        let asked = self.shared.pictures.asked.clone().try_lock_owned().map_err(|_| ActionError::BeingTaken)?;
        let doorbell = self.clone();
        let taking = async move {
            let _asked = asked;
            let taken = timeout(SNAPSHOT_WITHIN, doorbell.picture_now()).await;
            let picture = taken.unwrap_or_else(|_| Err(doorbell.why_unseen()))?;
            doorbell.shared.tally.count_picture();
            doorbell.shared.pictures.newest.send_replace(Some(picture.clone()));
            Ok(picture.jpeg.clone())
        };
        tokio::spawn(taking.in_current_span()).await.unwrap_or(Err(ActionError::Timeout))
    }

    async fn picture_now(&self) -> Result<Arc<Picture>, ActionError> {
        match self.streamed_picture().await {
            Some(picture) => Ok(picture),
            None => self.in_turn(self.asked_picture()).await,
        }
    }

    /// What `taking` takes once nothing else is being taken, or what was taken meanwhile.
    pub(super) async fn in_turn(
        &self,
        taking: impl Future<Output = Result<Arc<Picture>, ActionError>>,
    ) -> Result<Arc<Picture>, ActionError> {
        let began = clock::now();
        let mut turn = self.shared.pictures.turn.lock().await;
        if let Some((at, meanwhile)) = &*turn
            && *at >= began
        {
            return Ok(meanwhile.clone());
        }
        let picture = taking.await?;
        *turn = Some((clock::now(), picture.clone()));
        Ok(picture)
    }

    /// The vendor's way, then a look at the camera.
    async fn asked_picture(&self) -> Result<Arc<Picture>, ActionError> {
        if !self.info().capabilities.contains(&Capability::Stream) {
            return self.vendors_picture().await;
        }
        let not_given = match self.vendors_picture_soon().await {
            Ok(picture) => return Ok(picture),
            Err(why) => why,
        };
        match self.look().await {
            // What the vendor says of its own way is the better reason.
            Err(_) if !matches!(not_given, ActionError::Unsupported(_)) => Err(not_given),
            looked => looked,
        }
    }

    /// What the camera shows at present; `None` while it does not stream, or shows nothing that can be decoded.
    pub(super) async fn streamed_picture(&self) -> Option<Arc<Picture>> {
        let keyframe = self.fresh_keyframe().await?;
        let developed = self.developed(keyframe).await;
        developed.inspect_err(|why| tracing::debug!(%why, "no picture out of the stream")).ok()
    }

    async fn fresh_keyframe(&self) -> Option<Keyframe> {
        let newest = self.media().newest_keyframe()?;
        if newest.at.elapsed() <= FRESH {
            return Some(newest);
        }
        let mut keyframes = self.media().keyframes();
        self.media().request_keyframe();
        let next = keyframes.wait_for(|next| next.as_ref().is_none_or(|next| next.at > newest.at));
        match timeout(KEYFRAME_WITHIN, next).await {
            // `None` when the stream has ended.
            Ok(Ok(next)) => next.clone(),
            // A camera that sends them when it pleases.
            _ => Some(newest),
        }
    }

    /// As the vendor takes them: of most vendors `Unsupported`.
    async fn vendors_picture(&self) -> Result<Arc<Picture>, ActionError> {
        let given = self.ask(|reply| Command::Device(Request::TakeSnapshot { reply })).await?;
        let jpeg = checked(given)?;
        Ok(Arc::new(Picture { at: clock::unix_now(), jpeg, ring: None }))
    }

    /// The same in time for another way, where there is one.
    pub(super) async fn vendors_picture_soon(&self) -> Result<Arc<Picture>, ActionError> {
        timeout(VENDOR_WITHIN, self.vendors_picture()).await.unwrap_or(Err(ActionError::Timeout))
    }

    /// Has the camera stream until it has shown a picture.
    async fn look(&self) -> Result<Arc<Picture>, ActionError> {
        if let Link::NeedsAttention { why } = &self.shared.state.borrow().link {
            return Err(ActionError::Offline { why: why.clone() });
        }
        let look = Look::at(self);
        let keyframe = self.next_keyframe().await;
        drop(look);
        self.developed(keyframe?).await
    }

    /// The first one as soon as the camera streams, for whomever.
    pub(super) async fn next_keyframe(&self) -> Result<Keyframe, ActionError> {
        let mut keyframes = self.media().keyframes();
        let shown = keyframes.wait_for(Option::is_some).await.ok().and_then(|keyframe| keyframe.clone());
        // The hub lives as long as the doorbell.
        shown.ok_or(ActionError::Timeout)
    }

    /// The picture of a keyframe, or of a newer one. Each is decoded once, however many ask for it, whether they wait for
    /// the picture or not, and also when there is none in it.
    pub(super) async fn developed(&self, keyframe: Keyframe) -> Result<Arc<Picture>, ActionError> {
        let mut developed = self.shared.pictures.developed.clone().lock_owned().await;
        let arrived = keyframe.at;
        match &*developed {
            Developed { shown: Some((at, picture)), .. } if *at >= arrived => return Ok(picture.clone()),
            Developed { spoilt: Some((at, why)), .. } if *at == arrived => return Err(why.clone()),
            _ => {}
        }
        let at = clock::unix_now() - arrived.elapsed();
        let developing = async move {
            let jpeg = decoded(keyframe).await.inspect_err(|why| developed.spoilt = Some((arrived, why.clone())))?;
            let picture = Arc::new(Picture { at, jpeg, ring: None });
            developed.shown = Some((arrived, picture.clone()));
            Ok(picture)
        };
        tokio::spawn(developing.in_current_span()).await.unwrap_or(Err(ActionError::Timeout))
    }

    fn why_unseen(&self) -> ActionError {
        match &self.shared.state.borrow().last_error {
            Some(why) => ActionError::Offline { why: why.clone() },
            None => ActionError::Timeout,
        }
    }
}

async fn decoded(keyframe: Keyframe) -> Result<Bytes, ActionError> {
    /// In the whole house: each takes a core and some ten megabytes.
    static DECODERS: Semaphore = Semaphore::const_new(2);
    let decoder = DECODERS.acquire().await;
    let decoded = tokio::task::spawn_blocking(move || {
        let _decoder = decoder;
        still::jpeg(keyframe.codec, &keyframe.data)
    });
    match decoded.await {
        Ok(Ok(jpeg)) => Ok(jpeg),
        Ok(Err(why)) => Err(ActionError::Refused { why: why.to_string() }),
        Err(panic) => {
            tracing::error!(%panic, "a keyframe has upset the decoder; this is a bug");
            Err(ActionError::Refused { why: "its keyframe cannot be decoded".to_owned() })
        }
    }
}

/// What a device has given for a picture, if it is one that can be passed on.
pub(super) fn checked(given: Bytes) -> Result<Bytes, ActionError> {
    const LARGEST: usize = 4 << 20;
    let refused = |why: &str| Err(ActionError::Refused { why: why.to_owned() });
    match &given[..] {
        [0xff, 0xd8, 0xff, ..] if given.len() <= LARGEST => Ok(given),
        [0xff, 0xd8, 0xff, ..] => refused("its picture has more than 4 MiB"),
        _ => refused("what it sent is no JPEG"),
    }
}
