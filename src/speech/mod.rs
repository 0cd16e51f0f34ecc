//! The voice of the service: text that Home Assistant speaks, sound from an address, and the folder of clips.

mod clips;
mod lately;
mod tts;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use url::Url;

use crate::doorbell::Voice;
use crate::doorbell::vendor::BoxFuture;
use crate::doorbell::voice::{Clips, NotKept, Source, Unspoken};
use crate::media::{NotSound, Recording};
use crate::model::ClipName;
use crate::net::fetch::{FetchError, Fetcher};
use crate::secret::Token;
use clips::{Complaint, Folder};
use tts::Speaker;

/// Between two looks into the folder of clips. One costs some microseconds a file.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Whom to ask for sound.
pub struct Settings {
    /// Home Assistant up to `/api`, and what opens it.
    pub assistant: Option<(Url, Token)>,
    /// The engine that speaks; `None`: the first that Home Assistant has.
    pub engine: Option<String>,
    pub language: Option<String>,
    /// The folder of clips. It need not be there.
    pub clips: PathBuf,
    /// From where sound may be fetched whatever the address is, as [`Fetcher::new`] has it.
    pub allow: BTreeSet<String>,
    /// Where this program itself listens.
    pub own_ports: Vec<u16>,
}

/// Finds the sound for whatever is to be said. Cheap to clone.
#[derive(Clone)]
pub struct Speech {
    speaker: Option<Arc<Speaker>>,
    fetcher: Arc<Fetcher>,
    folder: Arc<Folder>,
}

impl Speech {
    /// Looks after the folder of clips until `stop`.
    pub fn start(settings: Settings, stop: CancellationToken) -> Self {
        let Settings { assistant, engine, language, clips, allow, own_ports } = settings;
        let speaker = assistant.map(|assistant| Arc::new(Speaker::new(assistant, engine, language)));
        let folder = Arc::new(Folder::new(clips));
        tokio::spawn(stop.run_until_cancelled_owned(look_after(folder.clone())));
        Self { speaker, fetcher: Arc::new(Fetcher::new(allow, own_ports)), folder }
    }

    async fn find(&self, source: Source) -> Result<Recording, Unspoken> {
        match source {
            Source::Text(text) => match &self.speaker {
                Some(speaker) => speaker.speak(&text).await,
                None => Err(Unspoken::Unavailable(
                    "There is nobody here who speaks text. Play a clip, or let Doorstep ask a Home Assistant: `say.url` and \
                     `say.token` in its configuration name one."
                        .to_owned(),
                )),
            },
            Source::Url(url) => {
                let file = self.fetcher.fetch(url).await.map_err(not_fetched)?;
                read(file, "What was fetched").await
            }
            Source::Clip(name) => {
                let folder = self.folder.clone();
                let found = on_the_disk(move || folder.sound(&name)).await;
                found.unwrap_or_else(|| Err(Unspoken::Unusable("The clip cannot be played.".to_owned())))
            }
            Source::File(file) => read(file, "The file").await,
        }
    }
}

impl Voice for Speech {
    fn sound(&self, source: Source) -> BoxFuture<'static, Result<Recording, Unspoken>> {
        let own = self.clone();
        Box::pin(async move { own.find(source).await })
    }

    fn clips(&self) -> watch::Receiver<Clips> {
        self.folder.clips()
    }

    fn keep(&self, name: ClipName, file: Bytes) -> BoxFuture<'static, Result<(), NotKept>> {
        let folder = self.folder.clone();
        Box::pin(async move {
            let kept = decoding(move || folder.keep(&name, &file)).await;
            kept.unwrap_or_else(|| Err(NotKept::Unusable("The file cannot be read.".to_owned())))
        })
    }

    fn remove(&self, name: ClipName) -> BoxFuture<'static, Result<bool, NotKept>> {
        let folder = self.folder.clone();
        Box::pin(async move {
            let removed = on_the_disk(move || folder.remove(&name)).await;
            removed.unwrap_or_else(|| Err(NotKept::Unwritable("The folder of clips cannot be changed.".to_owned())))
        })
    }
}

async fn look_after(folder: Arc<Folder>) {
    loop {
        let folder = folder.clone();
        for Complaint { file, why } in on_the_disk(move || folder.look()).await.unwrap_or_default() {
            warn!(?file, why, "no clip is made of a file in the folder of clips");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Work that would hold up the runtime. `None` when it panicked.
async fn on_the_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    spawn_blocking(work).await.inspect_err(|error| error!(%error, "reading sound failed; this is a bug")).ok()
}

/// The same, of files that anybody may have sent: whatever many doorbells are told to say at once, the pictures of all
/// of them go on. It goes on itself although nobody waits for it any more, and counts for so long.
async fn decoding<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    static DECODERS: Semaphore = Semaphore::const_new(2);
    let decoder = DECODERS.acquire().await;
    on_the_disk(move || {
        let _decoder = decoder;
        work()
    })
    .await
}

/// The sound in `file`; `what` begins the sentence about one that cannot be played.
async fn read(file: Bytes, what: &'static str) -> Result<Recording, Unspoken> {
    if file.len() > Source::LARGEST_FILE {
        return Err(Unspoken::Unusable(format!("{what} has more than {} MiB.", Source::LARGEST_FILE >> 20)));
    }
    let read = decoding(move || Recording::read(&file, Source::LONGEST_SOUND)).await;
    let read = read.unwrap_or(Err(NotSound::UnknownFormat));
    read.map_err(|why| Unspoken::Unusable(format!("{what} cannot be played: {why}.")))
}

fn not_fetched(error: FetchError) -> Unspoken {
    match &error {
        FetchError::Scheme => Unspoken::Unusable(format!("The sound was not fetched: {error}.")),
        FetchError::Refused { host } => Unspoken::Forbidden(format!(
            "The sound was not fetched: {error}. If you want that, add `{host}` to `say.allow` in the configuration."
        )),
        _ => Unspoken::Unavailable(format!("The sound was not fetched: {error}.")),
    }
}
