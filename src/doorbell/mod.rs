//! The vendor-neutral doorbell: a handle that faces hold, and an actor that keeps its rules
//! (ARCHITECTURE.md §5).

pub mod accounts;
mod actor;
pub mod audit;
pub mod door;
pub mod guard;
mod lives;
mod open_talks;
pub mod registry;
mod ring_log;
mod ring_picture;
pub mod say;
mod snapshot;
mod talk;
mod tally;
pub mod vendor;
pub mod voice;
pub mod wording;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::config::RingPicture;
use crate::media::{AudioFormat, Demand, MediaHub};
use crate::model::{self, Capability, DeviceInfo, DoorKind, Event, LockState, Ring, State, TalkLevel};
use crate::rtc::kvs_call::Signalling;
use guard::Permit;
use ring_log::RingLog;
use say::Sayings;
use snapshot::Pictures;
use tally::Tally;

pub use accounts::Accounts;
pub use door::Door;
pub use open_talks::OpenTalks;
pub use registry::Registry;
pub use say::{Said, SayError, Saying};
pub use snapshot::Picture;
pub use talk::ANSWER_WITHIN;
pub use vendor::{AccountPort, DevicePort, Question, Request, TalkLine, Vendor, VendorError};
pub use voice::Voice;

/// Why an action did not happen, in words for the owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    #[error("somebody else is talking")]
    Busy,
    /// By itself.
    #[error("the doorbell is saying something")]
    Speaking,
    #[error("a picture of it is being taken already")]
    BeingTaken,
    #[error("this doorbell cannot do that: {0}")]
    Unsupported(&'static str),
    /// `why` is whole sentences: what happened and what to do.
    #[error("{why}")]
    Offline { why: String },
    #[error("the doorbell did not answer in time")]
    Timeout,
    #[error("the doorbell refused: {why}")]
    Refused { why: String },
}

/// The speaker, until dropped. `audio` is closed when the talk has ended for another reason: the switch was
/// turned off, the talk limit passed, the camera ended it, or nothing was sent for 3 s.
#[derive(Debug)]
pub struct TalkGrant {
    /// What the camera plays; `audio` takes nothing else.
    pub format: AudioFormat,
    /// About 20 ms a piece. Holds 200 ms; a piece that finds it full is best dropped by its sender. An empty one says
    /// that the microphone lives and is silent.
    pub audio: mpsc::Sender<Bytes>,
}

/// What the owner wants otherwise for one doorbell.
#[derive(Clone)]
pub struct Options {
    /// In place of the name that the vendor's account has for it.
    pub name: Option<String>,
    /// The longest a talk may last, whoever holds it.
    pub talk_limit: Duration,
    /// The doors that the owner has enabled for it.
    pub doors: Doors,
    pub ring_picture: RingPicture,
    /// Where the sound for what it is to say comes from.
    pub voice: Arc<dyn Voice>,
    /// Where it is remembered that its speaker is open.
    pub open_talks: OpenTalks,
}

/// The doors beside a doorbell.
pub type Doors = BTreeMap<DoorKind, Arc<Door>>;

impl Default for Options {
    fn default() -> Self {
        Self {
            name: None,
            talk_limit: Duration::from_secs(120),
            doors: Doors::new(),
            ring_picture: RingPicture::default(),
            voice: Arc::new(voice::Mute),
            open_talks: OpenTalks::default(),
        }
    }
}

/// A doorbell as faces see it. Cheap to clone. The doorbell stops when its token is cancelled or its last
/// handle is dropped.
#[derive(Clone)]
pub struct Doorbell {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

/// A handle that keeps no doorbell alive: of what belongs to it.
struct WeakDoorbell {
    shared: Weak<Shared>,
    commands: mpsc::WeakSender<Command>,
}

impl WeakDoorbell {
    fn upgrade(&self) -> Option<Doorbell> {
        Some(Doorbell { shared: self.shared.upgrade()?, commands: self.commands.upgrade()? })
    }
}

/// What handles, the actor and the lives of the device have in common.
struct Shared {
    info: watch::Sender<Arc<DeviceInfo>>,
    /// In place of the name that the vendor's account has for it.
    name: Option<String>,
    doors: Doors,
    voice: Arc<dyn Voice>,
    tally: Tally,
    sayings: Sayings,
    state: watch::Sender<State>,
    events: broadcast::Sender<Event>,
    media: MediaHub,
    rings: Mutex<RingLog>,
    /// Held while the stream switch is on.
    stream_switch: Mutex<Option<Demand>>,
    /// How many looks at the camera there are at present, each for a still picture.
    looks: Mutex<usize>,
    pictures: Pictures,
    ring_picture: RingPicture,
}

/// What a handle asks of the actor.
enum Command {
    StartTalk { viewer: u64, reply: oneshot::Sender<Result<TalkGrant, ActionError>> },
    SwitchTalk { on: bool, reply: oneshot::Sender<Result<(), ActionError>> },
    Device(Request),
}

impl Doorbell {
    /// A full queue makes the caller wait; the actor never waits for anybody while it empties it.
    const COMMANDS: usize = 16;
    /// A listener that is more events behind than this loses the oldest.
    const EVENTS: usize = 64;
    /// How long a device may think about a diagnosis.
    const DIAGNOSED_WITHIN: Duration = Duration::from_secs(20);

    /// Starts the doorbell: from now on its device is kept alive until `stop` is cancelled.
    pub fn spawn(vendor: Arc<dyn Vendor>, info: DeviceInfo, options: Options, stop: CancellationToken) -> Self {
        let Options { talk_limit, open_talks, ring_picture, .. } = options;
        let doors = options.doors.iter().map(|(kind, door)| (*kind, door.state().borrow().clone())).collect();
        let looks = ring_picture.looks(vendor.is_on_battery(&info.model));
        let info = as_owner_wants(info, options.name.as_deref(), &options.doors);
        let span = tracing::info_span!("device", id = %info.id);
        let (sayings, speaking) = Sayings::new(talk_limit, &stop);
        tokio::spawn(speaking.instrument(span.clone()));
        let shared = Arc::new(Shared {
            info: watch::Sender::new(Arc::new(info)),
            name: options.name,
            doors: options.doors,
            voice: options.voice,
            tally: Tally::default(),
            sayings,
            state: watch::Sender::new(State { doors, ..State::default() }),
            pictures: Pictures::default(),
            ring_picture,
            events: broadcast::channel(Self::EVENTS).0,
            media: MediaHub::new(),
            rings: Mutex::default(),
            stream_switch: Mutex::default(),
            looks: Mutex::default(),
        });
        let (commands, inbox) = mpsc::channel(Self::COMMANDS);
        let terms = talk::Terms { limit: talk_limit, open_talks: open_talks.clone() };
        actor::spawn(vendor, shared.clone(), terms, inbox, stop.clone());
        let doorbell = Self { shared, commands };
        if ring_picture != RingPicture::Never {
            doorbell.follow_rings(looks, stop.clone());
        }
        if open_talks.was_left(&doorbell.info().id) {
            tokio::spawn(open_talks::end_what_was_left(doorbell.clone(), open_talks, stop).instrument(span));
        }
        doorbell.doors().values().for_each(|door| door.belongs_to(&doorbell));
        doorbell
    }

    fn downgrade(&self) -> WeakDoorbell {
        WeakDoorbell { shared: Arc::downgrade(&self.shared), commands: self.commands.downgrade() }
    }

    /// Resolves when the doorbell has stopped: its talk is over and its device has said farewell.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }

    /// As its account knows it now.
    pub fn info(&self) -> Arc<DeviceInfo> {
        self.shared.info.borrow().clone()
    }

    /// Changes when its owner renames it, or its firmware changes.
    pub fn infos(&self) -> watch::Receiver<Arc<DeviceInfo>> {
        self.shared.info.subscribe()
    }

    /// Takes over what its account says of it now.
    pub fn update(&self, info: DeviceInfo) {
        self.shared.update(info);
    }

    /// The door of this kind beside it; `None` unless the owner has enabled it.
    pub fn door(&self, kind: DoorKind) -> Option<&Arc<Door>> {
        self.shared.doors.get(&kind)
    }

    /// Every door beside it that the owner has enabled.
    pub fn doors(&self) -> &Doors {
        &self.shared.doors
    }

    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// A reason for the camera to stream: the first one starts it, the last one stops it.
    pub fn watch(&self) -> Demand {
        self.shared.media.hold()
    }

    pub fn media(&self) -> &MediaHub {
        &self.shared.media
    }

    /// The last 20 rings, newest first.
    pub fn rings(&self) -> Vec<Ring> {
        lock(&self.shared.rings).newest_first()
    }

    /// How often it rang since the service started.
    pub fn rings_total(&self) -> u64 {
        lock(&self.shared.rings).total()
    }

    /// Something that its account heard of. What was told before is dropped.
    pub fn tell(&self, event: Event) {
        let _device = tracing::info_span!("device", id = %self.shared.info.borrow().id).entered();
        self.shared.tell(event);
    }

    /// A press of the button that was heard elsewhere than in the vendor's cloud, by a wire or a radio.
    /// Presses of one source within 1 s are one.
    pub fn press(&self, source: &'static str) {
        self.shared.press(source);
    }

    /// Opens the speaker for one viewer's microphone. Dropping the grant closes it, unless the switch holds it.
    ///
    /// # Errors
    /// `Busy` while another viewer talks, `Speaking` while the doorbell says something, `Offline` and `Timeout` when
    /// the camera cannot be reached, or while there is another obstacle to talk, `Unsupported` without a speaker.
    pub async fn start_talk(&self, viewer: u64) -> Result<TalkGrant, ActionError> {
        self.may_talk()?;
        self.ask(|reply| Command::StartTalk { viewer, reply }).await
    }

    /// Holds the speaker open for whichever microphone comes (MQTT switch, API), or lets it go. On twice is on.
    /// Off ends every talk, a viewer's too, and what the doorbell says and was to say: whoever sees the switch on can
    /// silence the door.
    ///
    /// # Errors
    /// As `start_talk`. Letting go never fails.
    pub async fn switch_talk(&self, on: bool) -> Result<(), ActionError> {
        if !on {
            self.stop_saying();
            let _nothing_to_end = self.ask(|reply| Command::SwitchTalk { on, reply }).await;
            return Ok(());
        }
        self.may_talk()?;
        self.ask(|reply| Command::SwitchTalk { on, reply }).await
    }

    /// How a talk that is over came from its microphone.
    pub fn heard(&self, talk: TalkLevel) {
        self.shared.state.send_modify(|state| state.talk_level = Some(talk));
    }

    /// Keeps a camera session up without a viewer, or no longer.
    pub fn switch_stream(&self, on: bool) {
        self.shared.switch_stream(on);
    }

    /// Where the sound for what it is to say comes from.
    pub fn voice(&self) -> &Arc<dyn Voice> {
        &self.shared.voice
    }

    /// Arranges a call to the camera that another program will make (go2rtc).
    ///
    /// # Errors
    /// `Unsupported` when the camera is not called that way, otherwise why the vendor's cloud did not arrange it.
    pub async fn arrange_call(&self) -> Result<Signalling, ActionError> {
        self.ask(|reply| Command::Device(Request::ArrangeCall { reply })).await
    }

    /// What is known of the device, or what it answers. Nothing secret is in it.
    ///
    /// # Errors
    /// `Unsupported` where that cannot be asked, otherwise why there is no answer within 20 s.
    pub async fn diagnose(&self, question: Question) -> Result<Value, ActionError> {
        let answer = self.ask(|reply| Command::Device(Request::Diagnose { question, reply }));
        timeout(Self::DIAGNOSED_WITHIN, answer).await.unwrap_or(Err(ActionError::Timeout))
    }

    /// Works the lock or garage door that this is, or the opener that it has. Only the guard makes permits.
    async fn work_lock(&self, permit: Permit) -> Result<LockState, ActionError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Device(Request::WorkLock { permit, reply })).await?;
        // A device that ends without an answer may have asked the lock.
        answer.await.unwrap_or(Err(ActionError::Timeout))
    }

    /// Without asking the device.
    fn may_talk(&self) -> Result<(), ActionError> {
        // Also of a speaker that nobody knows how to reach, which is no capability.
        if let Some(why) = self.shared.state.borrow().talk_obstacle.clone() {
            return Err(ActionError::Offline { why });
        }
        let has_speaker = self.info().capabilities.contains(&Capability::Talk);
        if has_speaker { Ok(()) } else { Err(ActionError::Unsupported("it has no speaker")) }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, ActionError>>) -> Command,
    ) -> Result<T, ActionError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn send(&self, command: Command) -> Result<(), ActionError> {
        self.commands.send(command).await.map_err(|_| stopped())
    }
}

impl Shared {
    fn update(&self, info: DeviceInfo) {
        let info = as_owner_wants(info, self.name.as_deref(), &self.doors);
        self.info.send_if_modified(|known| {
            let news = **known != info;
            if news {
                *known = Arc::new(info);
            }
            news
        });
    }

    /// Passes on what has not been told before.
    fn tell(&self, event: Event) {
        let mut rings = lock(&self.rings);
        if !rings.is_news(&event) {
            return;
        }
        if let Event::Ring(ring) = &event {
            rings.keep(ring.clone());
            self.state.send_modify(|state| state.last_ring = Some(ring.clone()));
            tracing::info!(source = ring.source, "the doorbell rang");
        }
        let _nobody_listens = self.events.send(event);
    }

    fn press(&self, source: &'static str) {
        // Whoever heard the button does not log under the doorbell's name.
        let _device = tracing::info_span!("device", id = %self.info.borrow().id).entered();
        let pressed = lock(&self.rings).pressed(source);
        if let Some(ring) = pressed {
            self.tell(Event::Ring(ring));
        }
    }

    fn show_door(&self, kind: DoorKind, door: &model::Door) {
        self.state.send_if_modified(|state| state.doors.insert(kind, door.clone()).as_ref() != Some(door));
    }

    fn switch_stream(&self, on: bool) {
        let mut held = lock(&self.stream_switch);
        if held.is_some() == on {
            return;
        }
        *held = on.then(|| self.media.hold());
        self.state.send_modify(|state| state.stream_switch = on);
    }

    /// Brings `viewers` up to date: everybody who wants frames except the stream switch and who takes a still picture.
    fn count_viewers(&self) {
        let (switch, looks) = (lock(&self.stream_switch), lock(&self.looks));
        let viewers = self.media.demand().borrow().saturating_sub(usize::from(switch.is_some()) + *looks);
        drop((switch, looks));
        self.state.send_if_modified(|state| std::mem::replace(&mut state.viewers, viewers) != viewers);
    }
}

fn stopped() -> ActionError {
    ActionError::Offline { why: "It is being shut down. Try again when it is back.".to_owned() }
}

/// The owner's own name stands, no name holds more than a name, only an enabled door is one, and whoever streams can be
/// photographed.
fn as_owner_wants(mut info: DeviceInfo, name: Option<&str>, doors: &Doors) -> DeviceInfo {
    if let Some(name) = name {
        name.clone_into(&mut info.name);
    }
    info.name = info.shown_name();
    info.capabilities.retain(|capability| !matches!(capability, Capability::Unlock | Capability::Garage));
    info.capabilities.extend(doors.keys().map(|kind| kind.capability()));
    if info.capabilities.contains(&Capability::Stream) {
        info.capabilities.insert(Capability::Snapshot);
    }
    info
}

/// Nothing panics while it holds one of these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
