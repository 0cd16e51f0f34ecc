//! A vendor with one doorbell, in memory, that does what a test tells it and remembers what was done to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use doorstep::doorbell::guard::Permit;
use doorstep::doorbell::vendor::{BoxFuture, Retry};
use doorstep::doorbell::{
    AccountPort, ActionError, DevicePort, Doorbell, Options, Request, TalkLine, Vendor, VendorError,
};
use doorstep::media::{AudioFormat, FrameKind, MediaHub, VideoCodec};
use doorstep::model::{
    self, Capability, DeviceId, DeviceInfo, Event, Found, Link, LockAction, LockState, Ring, Role, State,
};
use doorstep::sim::clip::Clip;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// SPS, PPS and an IDR slice as far as their headers; nothing decodes it.
pub(crate) const KEYFRAME: &[u8] = b"\0\0\0\x01\x67\x42\xe0\x1f\0\0\0\x01\x68\xce\x3c\x80\0\0\0\x01\x65\x88\x84";
/// A slice that is no keyframe.
pub(crate) const DELTA: &[u8] = b"\0\0\0\x01\x41\x9a\x02";

/// How the next lives of the device end at once. A life beyond this script lasts until it is told to end.
pub(crate) enum Life {
    Fails(VendorError),
    Panics,
}

/// What the camera does when it is asked for its speaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnTalk {
    Opens(AudioFormat),
    Refuses(ActionError),
    /// Never answers.
    Hangs,
    /// Opens, and leaves its end of the line to a task that outlives the device.
    Leaks,
}

/// What the camera does when it is asked for a still picture.
#[derive(Debug, Clone)]
pub(crate) enum OnSnapshot {
    Takes(Bytes),
    Refuses(ActionError),
    /// Never answers.
    Hangs,
}

/// What the doorbell does when it is told to open its door.
#[derive(Debug, Clone)]
pub(crate) enum OnOpen {
    Opens,
    /// Does not open, or does not say so.
    Says(ActionError),
    /// Leaves it lying.
    Hangs,
}

/// A name that would change the title of a page that takes it for more than text.
pub(crate) const MARKUP: &str = "<img src=x onerror=\"document.title='owned'\"> Door";

/// A JPEG as far as its first marker; nothing decodes it.
pub(crate) const JPEG: &[u8] = b"\xff\xd8\xff\xe0 a visitor \xff\xd9";

/// What has been seen of the device so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Lives begun.
    pub(crate) lives: usize,
    /// Lives ended because they were asked to stop.
    pub(crate) farewells: usize,
    pub(crate) talks_asked: usize,
    pub(crate) talks_ended: usize,
    pub(crate) snapshots_asked: usize,
    pub(crate) opens_asked: usize,
    pub(crate) opened: usize,
    pub(crate) speaker_open: bool,
    /// What came out of the speaker, all talks together.
    pub(crate) heard: Vec<Bytes>,
}

/// The script and the notebook of the device.
pub(crate) struct FakeVendor {
    info: DeviceInfo,
    script: Mutex<Script>,
    seen: watch::Sender<Seen>,
    /// To the present life.
    orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
}

struct Script {
    lives: VecDeque<Life>,
    on_talk: OnTalk,
    on_snapshot: OnSnapshot,
    /// `None`: it has no opener.
    on_open: Option<OnOpen>,
    films: Option<Film>,
    on_battery: bool,
}

/// What the device sends while it is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Film {
    /// What nothing decodes.
    Headers,
    /// The virtual cameras' clip.
    Clip,
}

enum Order {
    Tell(Event),
    HangUp,
    AnswerTalk,
    AnswerSnapshot,
    AnswerOpen,
    End(Result<(), VendorError>),
    Set(Box<dyn FnOnce(&mut State) + Send>),
}

impl FakeVendor {
    /// A doorbell `fake_1` with ring, motion, picture and a PCMU speaker.
    pub(crate) fn new() -> Arc<Self> {
        use Capability::{Motion, Ring, Stream, Talk};
        Self::with([Ring, Motion, Stream, Talk])
    }

    pub(crate) fn with<const N: usize>(capabilities: [Capability; N]) -> Arc<Self> {
        Self::of(DeviceInfo {
            id: DeviceId::parse("fake_1").unwrap(),
            name: "Front Door".to_owned(),
            vendor: "fake",
            model: "FAKE1".to_owned(),
            firmware: Some("1.0".to_owned()),
            capabilities: capabilities.into(),
        })
    }

    /// One with a ring alone, called [`MARKUP`], of a model that would be markup too.
    pub(crate) fn called_markup() -> Arc<Self> {
        Self::of(DeviceInfo {
            id: DeviceId::parse("fake_1").unwrap(),
            name: MARKUP.to_owned(),
            vendor: "fake",
            model: "<b>MODEL</b>".to_owned(),
            firmware: None,
            capabilities: [Capability::Ring].into(),
        })
    }

    pub(crate) fn of(info: DeviceInfo) -> Arc<Self> {
        let on_talk = OnTalk::Opens(AudioFormat::PCMU);
        let on_snapshot = OnSnapshot::Takes(Bytes::from_static(JPEG));
        let script = Mutex::new(Script {
            lives: VecDeque::new(),
            on_talk,
            on_snapshot,
            on_open: None,
            films: None,
            on_battery: false,
        });
        Arc::new(Self { info, script, seen: watch::Sender::default(), orders: Mutex::default() })
    }

    /// The doorbell, alive until the test ends or `stop` is cancelled.
    pub(crate) fn doorbell(self: &Arc<Self>, stop: &CancellationToken) -> Doorbell {
        self.doorbell_with(Options::default(), stop)
    }

    pub(crate) fn doorbell_with(self: &Arc<Self>, options: Options, stop: &CancellationToken) -> Doorbell {
        Doorbell::spawn(self.clone(), self.info.clone(), options, stop.clone())
    }

    fn found(&self) -> Found {
        let info = self.info.clone();
        Found { info, role: Role::Doorbell, address: None, transport: None, obstacle: None, talk_obstacle: None }
    }

    // The script.

    pub(crate) fn then_life(&self, life: Life) {
        self.script.lock().unwrap().lives.push_back(life);
    }

    pub(crate) fn on_talk(&self, what: OnTalk) {
        self.script.lock().unwrap().on_talk = what;
    }

    pub(crate) fn on_snapshot(&self, what: OnSnapshot) {
        self.script.lock().unwrap().on_snapshot = what;
    }

    /// From its next life on it has an opener, which is locked at rest.
    pub(crate) fn on_open(&self, what: OnOpen) {
        self.script.lock().unwrap().on_open = Some(what);
    }

    /// From its next life on the device sends pictures (20 a second, a keyframe each second) and PCMU
    /// whenever it is watched.
    pub(crate) fn films(&self) {
        self.script.lock().unwrap().films = Some(Film::Headers);
    }

    /// The same with pictures that can be decoded.
    pub(crate) fn films_the_clip(&self) {
        self.script.lock().unwrap().films = Some(Film::Clip);
    }

    /// From its next doorbell on it lives on a battery.
    pub(crate) fn has_a_battery(&self) {
        self.script.lock().unwrap().on_battery = true;
    }

    pub(crate) fn error(what: &str, retry: Retry) -> VendorError {
        VendorError { vendor: "fake", what: what.to_owned(), retry, source: None }
    }

    // What the device does now.

    pub(crate) fn tell(&self, event: Event) {
        self.order(Order::Tell(event));
    }

    pub(crate) fn ring(&self, event_id: &str) {
        let at = doorstep::clock::unix_now();
        self.tell(Event::Ring(Ring { at, event_id: event_id.to_owned(), source: "cloud", latency: None }));
    }

    /// Closes the speaker from the camera's side.
    pub(crate) fn hang_up(&self) {
        self.order(Order::HangUp);
    }

    /// Opens the speaker for the first request that `OnTalk::Hangs` has left lying.
    pub(crate) fn answer_talk(&self) {
        self.order(Order::AnswerTalk);
    }

    /// Takes the first picture that `OnSnapshot::Hangs` has left lying.
    pub(crate) fn answer_snapshot(&self) {
        self.order(Order::AnswerSnapshot);
    }

    /// Opens the door for the first request that `OnOpen::Hangs` has left lying.
    pub(crate) fn answer_open(&self) {
        self.order(Order::AnswerOpen);
    }

    pub(crate) fn end_life(&self, how: Result<(), VendorError>) {
        self.order(Order::End(how));
    }

    pub(crate) fn set_state(&self, change: impl FnOnce(&mut State) + Send + 'static) {
        self.order(Order::Set(Box::new(change)));
    }

    fn order(&self, order: Order) {
        let orders = self.orders.lock().unwrap();
        let device = orders.as_ref().expect("the device has not lived yet: await `lives(1)` first");
        assert!(device.send(order).is_ok(), "the device is between two lives");
    }

    // What was done to it.

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what was seen of the device satisfies `condition`.
    pub(crate) async fn until(&self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(86_400), seen.wait_for(condition)).await;
        match waited {
            Ok(seen) => seen.expect("the fake vendor is gone").clone(),
            Err(_) => panic!("the device never saw: {what}; it saw {:?}", self.seen()),
        }
    }

    /// Waits until the device has begun its `n`th life.
    pub(crate) async fn lives(&self, n: usize) {
        self.until("a life", |seen| seen.lives >= n).await;
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
    }
}

impl Vendor for FakeVendor {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn is_on_battery(&self, _: &str) -> bool {
        self.script.lock().unwrap().on_battery
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async { Ok(vec![self.found()]) })
    }

    fn run_account(
        self: Arc<Self>,
        port: AccountPort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            port.listings.send(vec![self.found()]).await.expect("the house listens");
            stop.cancelled().await;
            Ok(())
        })
    }

    fn run_device(
        self: Arc<Self>,
        port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            let (orders, inbox) = mpsc::unbounded_channel();
            *self.orders.lock().unwrap() = Some(orders);
            self.note(|seen| seen.lives += 1);
            let scripted = self.script.lock().unwrap().lives.pop_front();
            match scripted {
                Some(Life::Fails(error)) => return Err(error),
                Some(Life::Panics) => panic!("the fake device was told to panic"),
                None => {}
            }
            Device::new(self, port).live(inbox, stop).await
        })
    }
}

/// One life.
struct Device {
    vendor: Arc<FakeVendor>,
    port: DevicePort,
    line: Option<mpsc::Receiver<Bytes>>,
    unanswered: VecDeque<oneshot::Sender<Result<TalkLine, ActionError>>>,
    untaken: VecDeque<oneshot::Sender<Result<Bytes, ActionError>>>,
    unopened: VecDeque<(Permit, oneshot::Sender<Result<LockState, ActionError>>)>,
}

impl Device {
    fn new(vendor: Arc<FakeVendor>, port: DevicePort) -> Self {
        if vendor.script.lock().unwrap().on_open.is_some() {
            port.state.send_modify(|state| state.door = Some(stands(LockState::Locked)));
        }
        let (unanswered, untaken, unopened) = Default::default();
        Self { vendor, port, line: None, unanswered, untaken, unopened }
    }

    async fn live(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Order>,
        stop: CancellationToken,
    ) -> Result<(), VendorError> {
        let films = self.vendor.script.lock().unwrap().films;
        let mut demand = self.port.media.demand();
        let mut camera = Camera::new(self.port.media.clone(), films);
        loop {
            let watched = *demand.borrow_and_update() > 0;
            self.port.state.send_if_modified(|state| {
                let link = if watched { Link::Streaming } else { Link::Ready };
                std::mem::replace(&mut state.link, link.clone()) != link
            });
            tokio::select! {
                () = stop.cancelled() => {
                    self.close_speaker();
                    self.vendor.note(|seen| seen.farewells += 1);
                    return Ok(());
                }
                order = orders.recv() => match order.expect("the vendor holds the sender") {
                    Order::Tell(event) => self.port.events.send(event).await.expect("the doorbell listens"),
                    Order::HangUp => self.close_speaker(),
                    Order::AnswerTalk => {
                        let reply = self.unanswered.pop_front().expect("a request for the speaker");
                        self.open_speaker(AudioFormat::PCMU, reply);
                    }
                    Order::AnswerSnapshot => {
                        let reply = self.untaken.pop_front().expect("a request for a picture");
                        let _asker_left = reply.send(Ok(Bytes::from_static(JPEG)));
                    }
                    Order::AnswerOpen => {
                        let (permit, reply) = self.unopened.pop_front().expect("a request to open");
                        let _asker_left = reply.send(self.open(permit));
                    }
                    Order::End(how) => {
                        self.close_speaker();
                        return how;
                    }
                    Order::Set(change) => self.port.state.send_modify(change),
                },
                Some(request) = self.port.requests.recv() => self.answer(request),
                piece = hear(&mut self.line) => match piece {
                    Some(piece) => self.vendor.note(|seen| seen.heard.push(piece)),
                    None => self.close_speaker(),
                },
                _ = demand.changed() => {}
                () = camera.tick(), if watched && films.is_some() => {}
            }
        }
    }

    fn answer(&mut self, request: Request) {
        let reply = match request {
            Request::StartTalk { reply } => reply,
            Request::TakeSnapshot { reply } => return self.take_snapshot(reply),
            Request::WorkLock { permit, reply } => return self.work(permit, reply),
            Request::Diagnose { question, reply } => {
                let _asker_left = reply.send(Ok(serde_json::json!({ "asked": question, "firmware": "1.0" })));
                return;
            }
            other => return other.refuse(ActionError::Unsupported("it is made for talk")),
        };
        self.vendor.note(|seen| seen.talks_asked += 1);
        let what = self.vendor.script.lock().unwrap().on_talk.clone();
        match what {
            OnTalk::Opens(format) => self.open_speaker(format, reply),
            OnTalk::Refuses(error) => drop(reply.send(Err(error))),
            OnTalk::Hangs => self.unanswered.push_back(reply),
            OnTalk::Leaks => {
                let (audio, mut line) = mpsc::channel(10);
                let _asker_left = reply.send(Ok(TalkLine { format: AudioFormat::PCMU, audio }));
                tokio::spawn(async move { while line.recv().await.is_some() {} });
            }
        }
    }

    fn take_snapshot(&mut self, reply: oneshot::Sender<Result<Bytes, ActionError>>) {
        self.vendor.note(|seen| seen.snapshots_asked += 1);
        let what = self.vendor.script.lock().unwrap().on_snapshot.clone();
        match what {
            OnSnapshot::Takes(picture) => drop(reply.send(Ok(picture))),
            OnSnapshot::Refuses(error) => drop(reply.send(Err(error))),
            OnSnapshot::Hangs => self.untaken.push_back(reply),
        }
    }

    fn work(&mut self, permit: Permit, reply: oneshot::Sender<Result<LockState, ActionError>>) {
        self.vendor.note(|seen| seen.opens_asked += 1);
        assert_eq!(permit.action(), LockAction::Unlock, "an opener was told to lock");
        let what = self.vendor.script.lock().unwrap().on_open.clone();
        let outcome = match what {
            Some(OnOpen::Opens) => self.open(permit),
            Some(OnOpen::Says(why)) => Err(why),
            Some(OnOpen::Hangs) => return self.unopened.push_back((permit, reply)),
            None => Err(ActionError::Unsupported("it has no opener")),
        };
        let _asker_left = reply.send(outcome);
    }

    fn open(&self, permit: Permit) -> Result<LockState, ActionError> {
        permit.redeem(doorstep::clock::now())?;
        self.vendor.note(|seen| seen.opened += 1);
        self.port.state.send_modify(|state| state.door = Some(stands(LockState::Unlocked)));
        Ok(LockState::Unlocked)
    }

    fn open_speaker(&mut self, format: AudioFormat, reply: oneshot::Sender<Result<TalkLine, ActionError>>) {
        let (audio, line) = mpsc::channel(10);
        if reply.send(Ok(TalkLine { format, audio })).is_ok() {
            self.line = Some(line);
            self.vendor.note(|seen| seen.speaker_open = true);
        }
    }

    fn close_speaker(&mut self) {
        if self.line.take().is_some() {
            self.vendor.note(|seen| {
                seen.speaker_open = false;
                seen.talks_ended += 1;
            });
        }
    }
}

fn stands(lock: LockState) -> model::Door {
    model::Door { lock: Some(lock), blocked: None }
}

async fn hear(line: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match line {
        Some(line) => line.recv().await,
        None => std::future::pending().await,
    }
}

/// 20 pictures a second and 20 ms of PCMU silence between.
struct Camera {
    media: MediaHub,
    clip: Option<Clip>,
    interval: tokio::time::Interval,
    ticks: u32,
}

impl Camera {
    const TICK: Duration = Duration::from_millis(10);

    fn new(media: MediaHub, film: Option<Film>) -> Self {
        let clip = (film == Some(Film::Clip)).then(Clip::h264);
        Self { media, clip, interval: tokio::time::interval(Self::TICK), ticks: 0 }
    }

    async fn tick(&mut self) {
        self.interval.tick().await;
        let pts = Self::TICK * self.ticks;
        if self.ticks.is_multiple_of(5) {
            let (keyframe, data) = self.picture();
            self.media.publish(FrameKind::Video { codec: VideoCodec::H264, keyframe }, pts, data);
        }
        if self.ticks.is_multiple_of(2) {
            self.media.publish(FrameKind::Audio(AudioFormat::PCMU), pts, Bytes::from_static(&[0xff; 160]));
        }
        self.ticks += 1;
    }

    fn picture(&self) -> (bool, Bytes) {
        if let Some(clip) = &self.clip {
            let picture = clip.access_unit(u64::from(self.ticks) / 5);
            return (picture.keyframe, picture.data);
        }
        let keyframe = self.ticks.is_multiple_of(100);
        (keyframe, Bytes::from_static(if keyframe { KEYFRAME } else { DELTA }))
    }
}
