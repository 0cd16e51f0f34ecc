//! The MQTT face: discovery, state, events out; commands in (docs/entities.md lists topics and entities).

mod announce;
mod backoff;
mod bridge;
mod client;
mod commands;
mod complaint;
mod discovery;
mod door;
mod ending;
mod errands;
mod instance;
mod live;
pub mod outbox;
mod poller;
mod publisher;
mod report;
mod say;
mod snapshot;
mod source;
mod subscriptions;
mod topics;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clock;
use crate::doorbell::{Accounts, Doorbell, Registry};
use crate::model::{Companion, DeviceId, MqttLink};
use crate::net::supervise::jitter;
use announce::Announcer;
use bridge::Bridge;
use client::{Client, Plan};
use commands::{Commands, Inbox, Worker};
use discovery::Discovery;
use door::DoorWorker;
use instance::Instance;
use poller::Message;
use publisher::Publisher;
use report::Reporter;
use say::SayWorker;
use snapshot::SnapshotWorker;
use subscriptions::Subscriptions;
use topics::Topics;

pub use commands::{Order, Refusal};
pub use errands::{ButtonClient, MqttError, forget};
pub use publisher::Counters;
pub use source::{Ask, Broker, Unknown};

const ONLINE: &str = "online";
const OFFLINE: &str = "offline";

pub struct Settings {
    pub broker: Broker,
    /// A topic without wildcards and without a slash at its ends.
    pub discovery_prefix: String,
    /// A topic without wildcards and without a slash at its ends.
    pub base_topic: String,
    /// The same for every run of this installation, and no other's.
    pub client_id: String,
    pub version: &'static str,
    pub buttons: Vec<Button>,
    /// The page, once it is known where that is: as a browser of the household reaches it (`http://`, `https://`), or
    /// as Home Assistant opens it (`homeassistant://`).
    pub page_url: watch::Receiver<Option<String>>,
    /// How it goes with go2rtc; where it begins as `Off`, nothing is told of it.
    pub companion: watch::Receiver<Companion>,
}

/// A topic of somebody else's on which a message means that a doorbell's button was pressed.
pub struct Button {
    /// May hold the wildcards `+` and `#`.
    pub topic: String,
    /// What is published on a press. `None`: anything but `OFF` and the empty message.
    pub payload: Option<String>,
    pub doorbell: DeviceId,
}

impl Button {
    fn is_pressed_by(&self, message: &Message) -> bool {
        if message.retained || !rumqttc::matches(&message.topic, &self.topic) {
            return false;
        }
        match &self.payload {
            Some(payload) => message.payload == payload.as_bytes(),
            None => !message.payload.is_empty() && !message.payload.eq_ignore_ascii_case(b"OFF"),
        }
    }
}

/// The running face.
pub struct Mqtt {
    task: JoinHandle<()>,
    link: watch::Receiver<MqttLink>,
    publisher: Publisher,
}

/// Connects and publishes every account, and every doorbell of the registry, now and later, until `stop` is
/// cancelled.
pub fn start(settings: Settings, doorbells: Registry, accounts: Accounts, stop: CancellationToken) -> Mqtt {
    let topics = Topics::new(settings.base_topic, settings.discovery_prefix);
    let publisher = Publisher::default();
    let discovery = Discovery { topics: topics.clone(), version: settings.version, page_url: settings.page_url };
    publisher.set(&topics.status(), ONLINE);
    let subscriptions = Subscriptions::default();
    let announcer = Announcer::new(topics.clone(), publisher.clone(), subscriptions.clone());
    let bridge = Bridge {
        accounts: accounts.clone(),
        discovery: discovery.clone(),
        announcer: announcer.clone(),
        publisher: publisher.clone(),
        companion: settings.companion,
    };
    let bridge = bridge.follow();
    let instance = Instance::new(topics.instance(), clock::unix_now(), getrandom::u64().unwrap_or_default());
    publisher.set(instance.topic(), instance.mark().to_owned());

    let mut filters = topics.command_filters();
    filters.push(topics.birth());
    filters.push(topics.instance());
    let mut buttons = settings.buttons;
    buttons.retain(is_usable);
    filters.extend(buttons.iter().map(|button| button.topic.clone()).collect::<BTreeSet<_>>());

    let plan = Plan {
        broker: settings.broker,
        client_id: settings.client_id,
        keep_alive: Plan::KEEP_ALIVE,
        will: Some(topics.status()),
        filters,
        subscriptions: subscriptions.clone(),
        instance: Some(instance),
    };
    let finish = CancellationToken::new();
    let (deliver, incoming) = mpsc::channel(Face::INCOMING);
    let client = Client::start(plan, publisher.clone(), deliver, finish.clone());
    let link = client.link();
    let commands = Commands::new(topics, publisher.clone(), accounts);
    let face = Face {
        discovery,
        announcer,
        subscriptions,
        publisher: publisher.clone(),
        commands,
        buttons,
        doorbells,
        present: BTreeMap::new(),
        resending: None,
        _bridge: bridge,
    };
    let task = tokio::spawn(face.run(incoming, client, finish, stop));
    Mqtt { task, link, publisher }
}

fn is_usable(button: &Button) -> bool {
    let usable = rumqttc::valid_filter(&button.topic);
    if !usable {
        tracing::error!(id = %button.doorbell, topic = button.topic, "`ring_topic` is not an MQTT topic; it is left out");
    }
    usable
}

impl Mqtt {
    /// `Waiting`, `Disconnected` or `Connected`.
    pub fn link(&self) -> watch::Receiver<MqttLink> {
        self.link.clone()
    }

    /// Every topic that was ever retained, for [`forget`]; the caller stores it.
    pub fn retained_topics(&self) -> watch::Receiver<BTreeSet<String>> {
        self.publisher.retained()
    }

    /// Reads what went wrong so far, as often as it is called.
    pub fn counters(&self) -> impl Fn() -> Counters + Send + Sync + use<> {
        let publisher = self.publisher.clone();
        move || publisher.counters()
    }

    /// Resolves when, after the stop, `offline` is published and acknowledged (at most 1 s) and the
    /// connection closed.
    pub async fn closed(self) {
        let _ = self.task.await;
    }
}

/// One doorbell on MQTT; its tasks end with it.
struct Present {
    doorbell: Doorbell,
    inbox: Inbox,
    report: AbortOnDropHandle<()>,
    close: CancellationToken,
    _work: [AbortOnDropHandle<()>; 3],
}

impl Present {
    /// Tells that it is offline; after this nothing more is told of it.
    async fn close(self) {
        self.close.cancel();
        let _ = self.report.await;
    }
}

struct Face {
    discovery: Discovery,
    announcer: Announcer,
    subscriptions: Subscriptions,
    publisher: Publisher,
    commands: Commands,
    buttons: Vec<Button>,
    doorbells: Registry,
    present: BTreeMap<DeviceId, Present>,
    resending: Option<AbortOnDropHandle<()>>,
    _bridge: AbortOnDropHandle<()>,
}

impl Face {
    /// Messages from the broker that wait; further ones are dropped and counted.
    const INCOMING: usize = 64;

    async fn run(
        mut self,
        mut incoming: mpsc::Receiver<Message>,
        client: Client,
        finish: CancellationToken,
        stop: CancellationToken,
    ) {
        let mut changes = self.doorbells.changes();
        changes.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = changes.changed() => {
                    let doorbells = changes.borrow_and_update().clone();
                    self.follow(doorbells).await;
                }
                Some(message) = incoming.recv() => self.on_message(&message),
            }
        }
        self.say_offline().await;
        finish.cancel();
        client.finished().await;
    }

    /// Publishes doorbells that have come and withdraws those that have gone.
    async fn follow(&mut self, doorbells: BTreeMap<DeviceId, Doorbell>) {
        let is_here = |present: &Present| {
            let doorbell = &present.doorbell;
            doorbells.get(&doorbell.info().id).is_some_and(|now| now.media().same(doorbell.media()))
        };
        let gone: Vec<_> = self.present.extract_if(.., |_, present| !is_here(present)).collect();
        for (id, present) in gone {
            for kind in present.doorbell.doors().keys() {
                self.subscriptions.remove(&self.discovery.topics.door_command(&id, *kind));
            }
            let info = present.doorbell.info();
            present.close().await;
            report::withdraw(&info, &self.discovery.topics, &self.announcer, &self.publisher);
        }
        for (id, doorbell) in doorbells {
            if !self.present.contains_key(&id) {
                let present = self.open(&id, doorbell);
                self.present.insert(id, present);
            }
        }
    }

    fn open(&self, id: &DeviceId, doorbell: Doorbell) -> Present {
        let (discovery, publisher) = (self.discovery.clone(), self.publisher.clone());
        let close = CancellationToken::new();
        let (switches, worker) = Worker::new(doorbell.clone(), discovery.topics.clone(), publisher.clone());
        let (snapshots, photographer) =
            SnapshotWorker::new(doorbell.clone(), discovery.topics.clone(), publisher.clone());
        let (sayings, speaker) = SayWorker::new(doorbell.clone(), discovery.topics.clone(), publisher.clone());
        let doors = doorbell.doors().iter().map(|(kind, door)| {
            let (queue, worker) = DoorWorker::new(door.clone(), discovery.topics.result(id), publisher.clone());
            tokio::spawn(worker.run(close.clone()));
            self.subscriptions.add_door(discovery.topics.door_command(id, *kind), door.clone());
            (*kind, queue)
        });
        let inbox = Inbox { switches, snapshots, sayings, doors: doors.collect() };
        let reporter = Reporter::new(doorbell.clone(), discovery, self.announcer.clone(), publisher);
        Present {
            doorbell,
            inbox,
            report: AbortOnDropHandle::new(tokio::spawn(reporter.run(close.clone()))),
            close,
            _work: [tokio::spawn(worker.run()), tokio::spawn(photographer.run()), tokio::spawn(speaker.run())]
                .map(AbortOnDropHandle::new),
        }
    }

    fn on_message(&mut self, message: &Message) {
        if message.topic == self.discovery.topics.birth() {
            return self.on_birth(message);
        }
        if message.retained && self.announcer.on_retained(&message.topic, &message.payload) {
            return;
        }
        for button in self.buttons.iter().filter(|button| button.is_pressed_by(message)) {
            if let Some(present) = self.present.get(&button.doorbell) {
                present.doorbell.press("button");
            }
        }
        self.commands.take(message, |id| self.present.get(id).map(|present| &present.inbox));
    }

    /// Home Assistant has started: it is told everything once more, spread so that it can follow.
    /// A retained birth is of before our connect, after which everything was told anyway.
    fn on_birth(&mut self, message: &Message) {
        if message.retained || message.payload != ONLINE.as_bytes() {
            return;
        }
        let instance = self.discovery.topics.instance();
        let mut topics = self.publisher.outbox().topics();
        topics.retain(|topic| *topic != instance);
        let resend = resend_spread(self.publisher.clone(), topics);
        self.resending = Some(AbortOnDropHandle::new(tokio::spawn(resend)));
    }

    async fn say_offline(&mut self) {
        self.resending = None;
        for present in std::mem::take(&mut self.present).into_values() {
            present.close().await;
        }
        self.publisher.set(&self.discovery.topics.status(), OFFLINE);
    }
}

/// Begins after 0.5 to 1 s and takes at most 2 s.
async fn resend_spread(publisher: Publisher, topics: Vec<String>) {
    tokio::time::sleep(Duration::from_secs_f64(0.5 + jitter() / 2.0)).await;
    let gap = Duration::from_secs(2) / u32::try_from(topics.len().max(1)).unwrap_or(u32::MAX);
    for topic in topics {
        publisher.resend(&topic);
        tokio::time::sleep(gap.min(Duration::from_millis(100))).await;
    }
}
