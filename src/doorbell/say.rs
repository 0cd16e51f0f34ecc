//! A doorbell that speaks by itself: one sound after the other, each whole before the speaker is opened.
//!
//! What is to be said passes two stages, both on one task: its sound is prepared, and then it is played. While one
//! thing is played the next is prepared and no further one, so that at most two recordings are in memory. The speaker
//! stays open from one thing to the next if the next is ready.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::voice::{Source, Unspoken};
use super::{ActionError, Doorbell, Shared, TalkGrant, lock, stopped};
use crate::clock::{self, Instant};
use crate::media::playback::{self, Pieces, Played, Volume};
use crate::media::{AudioFormat, Recording};
use crate::model::Speaking;

/// Something to be said at a door.
#[derive(Debug, Clone, PartialEq)]
pub struct Saying {
    pub source: Source,
    pub volume: Volume,
    /// Over and over until so much time has passed, at most 60 s; `None`: once.
    pub repeat_for: Option<Duration>,
}

impl Saying {
    pub fn once(source: Source) -> Self {
        Self { source, volume: Volume::FULL, repeat_for: None }
    }
}

/// What came of a saying that was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// In the queue behind others.
    pub waited: Duration,
    /// Until its sound was there.
    pub prepared: Duration,
    /// From asking for the speaker until it was open. Zero where it was open from what was said before.
    pub opened: Duration,
    /// How much was played.
    pub played: Duration,
    /// Whether that was all of it; otherwise somebody stopped it, or the doorbell did.
    pub whole: bool,
}

/// Why nothing was said, in words for the owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SayError {
    #[error("{} things wait to be said already", Doorbell::SAYINGS)]
    Full,
    #[error("it was stopped before it began")]
    Stopped,
    #[error("{0}")]
    Unspoken(#[from] Unspoken),
    /// `Busy` while somebody talks.
    #[error("{0}")]
    Action(#[from] ActionError),
}

impl Doorbell {
    /// How many things may wait while one is said.
    pub const SAYINGS: usize = 4;
    /// Whose microphone it is while the doorbell speaks by itself.
    pub const OWN_VOICE: u64 = u64::MAX;

    /// Says it once everything before it has been said. What has been taken on goes on although nobody waits for it.
    ///
    /// # Errors
    /// `SayError`, in which case nothing was played.
    pub async fn say(&self, saying: Saying) -> Result<Said, SayError> {
        self.take_on(saying)?.await
    }

    /// The same in two steps: it is taken on, or refused at once, and then it is said, whether or not anybody waits
    /// for what comes of it.
    ///
    /// # Errors
    /// What is known at once: `Busy` while somebody talks, `Full`, or that this doorbell cannot speak now.
    pub fn take_on(
        &self,
        saying: Saying,
    ) -> Result<impl Future<Output = Result<Said, SayError>> + Send + use<>, SayError> {
        let (reply, answer) = oneshot::channel();
        self.try_take_on(saying, reply).inspect_err(|why| self.shared.tally.count(&Err(why.clone())))?;
        Ok(async { answer.await.map_err(|_| stopped())? })
    }

    fn try_take_on(&self, saying: Saying, reply: Reply) -> Result<(), SayError> {
        self.may_talk()?;
        if self.shared.state.borrow().microphone.is_some_and(|viewer| viewer != Self::OWN_VOICE) {
            return Err(ActionError::Busy.into());
        }
        self.shared.sayings.take_on(self, saying, reply)
    }

    /// Ends what is being said, and forgets what waits.
    pub fn stop_saying(&self) {
        self.shared.sayings.silence();
    }
}

/// What is to be said at one doorbell, as its handles see it.
pub(super) struct Sayings {
    /// One for what is being said and each that waits.
    places: Arc<Semaphore>,
    /// Never full: whoever sends has a place.
    jobs: mpsc::Sender<(Source, Job)>,
    /// Of the doorbell.
    stop: CancellationToken,
    /// Cancelled when all that was taken on until then is to end.
    silence: Mutex<CancellationToken>,
    /// The longest a talk may last.
    talk_limit: Duration,
}

impl Sayings {
    const PLACES: usize = Doorbell::SAYINGS + 1;

    /// With the task that says it all, until `stop` is cancelled or the doorbell is gone.
    pub(super) fn new(talk_limit: Duration, stop: &CancellationToken) -> (Self, impl Future<Output = ()> + use<>) {
        let (jobs, inbox) = mpsc::channel(Self::PLACES);
        let places = Arc::new(Semaphore::new(Self::PLACES));
        let silence = Mutex::new(stop.child_token());
        (Self { places, jobs, stop: stop.clone(), silence, talk_limit }, work(inbox, stop.clone()))
    }

    fn take_on(&self, doorbell: &Doorbell, saying: Saying, reply: Reply) -> Result<(), SayError> {
        let permit = self.places.clone().try_acquire_owned().map_err(|_| SayError::Full)?;
        let place = Place { permit: Some(permit), doorbell: doorbell.clone() };
        let (speaking, Saying { source, volume, repeat_for }) = (saying.speaking(), saying);
        let (asked, silence) = (clock::now(), lock(&self.silence).clone());
        let job = Job { speaking, volume, repeat_for, place, asked, silence, reply };
        self.jobs.try_send((source, job)).map_err(|_| stopped())?;
        doorbell.shared.count_waiting();
        Ok(())
    }

    fn silence(&self) {
        let until_now = std::mem::replace(&mut *lock(&self.silence), self.stop.child_token());
        until_now.cancel();
    }

    /// How many wait behind the one that is said.
    fn waiting(&self) -> usize {
        Self::PLACES.saturating_sub(self.places.available_permits()).saturating_sub(1)
    }
}

type Reply = oneshot::Sender<Result<Said, SayError>>;

/// Something that was taken on, but for its source, which is let go of as soon as its sound is there.
struct Job {
    speaking: Speaking,
    volume: Volume,
    repeat_for: Option<Duration>,
    place: Place,
    asked: Instant,
    silence: CancellationToken,
    reply: Reply,
}

/// Among those that are said and wait. Keeps the doorbell alive.
struct Place {
    permit: Option<OwnedSemaphorePermit>,
    doorbell: Doorbell,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        self.doorbell.shared.count_waiting();
    }
}

async fn work(inbox: mpsc::Receiver<(Source, Job)>, stop: CancellationToken) {
    // One: while a thing is played the next waits here, or its place is taken while it is prepared.
    let (ready, turns) = mpsc::channel(1);
    tokio::join!(prepare_each(inbox, ready, stop), play_each(turns));
}

async fn prepare_each(mut inbox: mpsc::Receiver<(Source, Job)>, ready: mpsc::Sender<Turn>, stop: CancellationToken) {
    while let Ok(place) = ready.reserve().await {
        let job = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            job = inbox.recv() => job,
        };
        let Some((source, job)) = job else { return };
        // Where there is nothing to play the place is free again.
        if let Some(turn) = job.prepare(source).await {
            place.send(turn);
        }
    }
}

async fn play_each(mut turns: mpsc::Receiver<Turn>) {
    let (mut next, mut open) = (turns.recv().await, None);
    while let Some(Turn { job, recording, prepared }) = next {
        let shared = job.place.doorbell.shared.clone();
        shared.show_speaking(Some(job.speaking.clone()));
        let played = job.play(recording, prepared, open.take()).await;
        next = turns.try_recv().ok();
        let result = match played {
            Ok((said, speaker)) if said.whole && next.is_some() => {
                open = Some(speaker);
                Ok(said)
            }
            Ok((said, speaker)) => {
                speaker.close(said.whole).await;
                Ok(said)
            }
            Err(why) => Err(why),
        };
        if next.is_none() {
            shared.show_speaking(None);
        }
        job.answer(result);
        drop(shared);
        if next.is_none() {
            next = turns.recv().await;
        }
    }
}

/// Something whose sound is there.
struct Turn {
    job: Job,
    recording: Recording,
    /// How long that took.
    prepared: Duration,
}

impl Job {
    /// With its sound, unless that is no use: then whoever waits is told why.
    async fn prepare(self, source: Source) -> Option<Turn> {
        let begun = clock::now();
        // A task of its own: whatever happens to it, there is a result.
        let sound = tokio::spawn(self.place.doorbell.voice().sound(source).in_current_span());
        let sound = tokio::select! {
            biased;
            () = self.silence.cancelled() => Err(SayError::Stopped),
            sound = AbortOnDropHandle::new(sound) => match sound {
                Ok(sound) => sound.map_err(SayError::from).and_then(|recording| self.checked(recording)),
                Err(panic) => {
                    tracing::error!(%panic, "finding the sound failed; this is a bug");
                    Err(Unspoken::Unavailable("An internal error, which the log describes.".to_owned()).into())
                }
            },
        };
        match sound {
            Ok(recording) => Some(Turn { job: self, recording, prepared: begun.elapsed() }),
            Err(why) => {
                self.answer(Err(why));
                None
            }
        }
    }

    /// How long it takes to say.
    fn length(&self, recording: &Recording) -> Duration {
        self.repeat_for.map_or(recording.duration(), |time| time.min(Source::LONGEST_SOUND))
    }

    /// Nothing is begun that the doorbell could not say to its end.
    fn checked(&self, recording: Recording) -> Result<Recording, SayError> {
        let (length, limit) = (self.length(&recording), self.place.doorbell.shared.sayings.talk_limit);
        if length + Speaker::LAST_WORD <= limit {
            return Ok(recording);
        }
        Err(SayError::Unspoken(Unspoken::Unusable(format!(
            "It lasts {:.1} s, which is too long for this doorbell, where a talk ends after {} s (`talk_limit_s`).",
            length.as_secs_f32(),
            limit.as_secs(),
        ))))
    }

    /// Plays it, through `open` if that speaker stays open for long enough. The speaker is not closed afterwards.
    async fn play(
        &self,
        recording: Recording,
        prepared: Duration,
        open: Option<Speaker>,
    ) -> Result<(Said, Speaker), SayError> {
        let turn = clock::now();
        let waited = (turn - self.asked).saturating_sub(prepared);
        let length = self.length(&recording);
        let (speaker, opened) = tokio::select! {
            biased;
            () = self.silence.cancelled() => return Err(SayError::Stopped),
            speaker = self.speaker(open, length) => speaker?,
        };
        let pieces = self.pieces(recording, speaker.grant.format)?;
        let (begun, length) = (clock::now(), pieces.duration());
        let Played { duration: played, whole } = tokio::select! {
            biased;
            () = self.silence.cancelled() => Played { duration: begun.elapsed().min(length), whole: false },
            played = playback::play(pieces, &speaker.grant.audio) => played,
        };
        let source = self.speaking.source;
        tracing::info!(source, played_ms = played.as_millis() as u64, whole, "said");
        Ok((Said { waited, prepared, opened, played, whole }, speaker))
    }

    /// Also how long it took to open.
    async fn speaker(&self, open: Option<Speaker>, length: Duration) -> Result<(Speaker, Duration), ActionError> {
        match open {
            Some(open) if open.lasts(length) => return Ok((open, Duration::ZERO)),
            Some(open) => open.close(true).await,
            None => {}
        }
        let asked = clock::now();
        let speaker = Speaker::open(&self.place.doorbell).await?;
        Ok((speaker, asked.elapsed()))
    }

    /// As the camera takes them, over and over if that is wanted.
    fn pieces(&self, recording: Recording, format: AudioFormat) -> Result<Pieces, ActionError> {
        let pieces = match self.repeat_for {
            Some(_) => {
                let length = self.length(&recording);
                playback::repeated(recording, length, format, self.volume)
            }
            None => playback::pieces(recording, format, self.volume),
        };
        pieces.map_err(|_| ActionError::Unsupported("no sound can be made for its speaker"))
    }

    fn answer(self, result: Result<Said, SayError>) {
        let Self { reply, place, .. } = self;
        place.doorbell.shared.tally.count(&result);
        drop(place);
        // Whoever asked may have left.
        let _asker_left = reply.send(result);
    }
}

/// The doorbell's own grant of the speaker.
struct Speaker {
    grant: TalkGrant,
    doorbell: Doorbell,
    /// When the talk limit ends it.
    ends: Instant,
}

impl Speaker {
    /// What a device may have in hand when the last piece's time is over: three pieces.
    const IN_HAND: Duration = Duration::from_millis(60);
    /// How much longer than the sound a talk must last, so that the end is heard.
    const LAST_WORD: Duration = Duration::from_millis(500);

    async fn open(doorbell: &Doorbell) -> Result<Self, ActionError> {
        let grant = doorbell.start_talk(Doorbell::OWN_VOICE).await?;
        let ends = clock::now() + doorbell.shared.sayings.talk_limit;
        Ok(Self { grant, doorbell: doorbell.clone(), ends })
    }

    fn lasts(&self, length: Duration) -> bool {
        !self.grant.audio.is_closed() && clock::now() + length + Self::LAST_WORD <= self.ends
    }

    /// Lets go of it, and resolves when it is free. `to_the_end`: what was sent is heard before.
    async fn close(self, to_the_end: bool) {
        let Self { grant, doorbell, .. } = self;
        if to_the_end {
            // Everything was taken, and is heard within a few pieces' time.
            let _ended_meanwhile = timeout(Self::IN_HAND, grant.audio.closed()).await;
        }
        drop(grant);
        let mut state = doorbell.state();
        tokio::select! {
            _ = state.wait_for(|state| state.microphone != Some(Doorbell::OWN_VOICE)) => {}
            () = doorbell.stopped() => {}
        }
    }
}

impl Saying {
    fn speaking(&self) -> Speaking {
        let clip = match &self.source {
            Source::Clip(name) => Some(name.clone()),
            Source::Text(_) | Source::Url(_) | Source::File(_) => None,
        };
        Speaking { source: self.source.word(), clip, queued: 0 }
    }
}

impl Shared {
    fn show_speaking(&self, speaking: Option<Speaking>) {
        self.state.send_if_modified(|state| {
            let queued = self.sayings.waiting();
            let speaking = speaking.map(|speaking| Speaking { queued, ..speaking });
            let news = state.speaking != speaking;
            state.speaking = speaking;
            news
        });
    }

    fn count_waiting(&self) {
        self.state.send_if_modified(|state| {
            let Some(speaking) = &mut state.speaking else { return false };
            let waiting = self.sayings.waiting();
            std::mem::replace(&mut speaking.queued, waiting) != waiting
        });
    }
}
