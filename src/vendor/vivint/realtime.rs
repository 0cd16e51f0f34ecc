//! Hears what happens at an account's devices: a long poll at PubNub (vivint reference §4).

#[cfg(test)]
mod listener_tests;
mod pubnub;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::Vivint;
use super::devices::Device;
use super::systems::AuthUser;
use crate::clock::{self, Instant};
use crate::model::{AccountLink, DeviceId, Event, Motion, MotionKind, Ring};
use crate::net::supervise::{Backoff, jitter};
use crate::proto::vivint::realtime::{CameraEvent, Change, Cursor, Delta, Message, Reply, Timetoken, Update};
use crate::vendor::desk::Desk;
pub(super) use pubnub::PubNub;
use pubnub::{PollError, Wire};

/// Where the account's messages are published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Channel {
    /// Not asked yet.
    #[default]
    Unknown,
    /// Vivint names none.
    None,
    Named(Subscription),
}

impl Channel {
    pub(super) fn of(user: &AuthUser) -> Self {
        let named = |mbc| Subscription {
            channel: format!("PlatformChannel#{mbc}"),
            subscriber: format!("pn-{}", user.user.to_uppercase()),
        };
        user.channel.as_ref().map_or(Self::None, |mbc| Self::Named(named(mbc)))
    }
}

/// Who listens to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    channel: String,
    subscriber: String,
}

/// Listens as long as the account lives.
pub(super) struct Listener<'a, W> {
    vivint: &'a Vivint,
    desk: &'a Desk,
    /// Full: whoever listens waits, since rings must not be lost.
    events: mpsc::Sender<(DeviceId, Event)>,
    wire: W,
    /// When each camera rang last.
    rang: HashMap<DeviceId, SystemTime>,
}

/// How far a channel has been read, and how well that goes.
struct Reading {
    cursor: Cursor,
    /// When the last answer came.
    heard: Instant,
    /// Since when nothing can be heard.
    lost: Option<Instant>,
    failures: u32,
    backoff: Backoff,
}

impl Reading {
    fn new() -> Self {
        let backoff = Backoff::default();
        Self { cursor: Cursor::BEGINNING, heard: clock::now(), lost: None, failures: 0, backoff }
    }
}

impl<'a, W: Wire> Listener<'a, W> {
    /// A channel without an answer for so long has gone silent, whatever its connection looks like.
    const SILENT: Duration = Duration::from_secs(6 * 60);
    /// What was told in a longer gap may be lost.
    const GAP: Duration = Duration::from_secs(60);
    /// Between two polls of which the first brought nothing.
    const NOT_SOONER: Duration = Duration::from_secs(1);
    /// The first failure may be a connection that had grown old.
    const TELL_AFTER: u32 = 2;
    /// A place from which so many answers could not be read is given up.
    const UNREADABLE_AFTER: u32 = 5;

    pub(super) fn new(vivint: &'a Vivint, desk: &'a Desk, events: mpsc::Sender<(DeviceId, Event)>, wire: W) -> Self {
        Self { vivint, desk, events, wire, rang: HashMap::new() }
    }

    pub(super) async fn run(&mut self) {
        let mut channels = self.vivint.account.channel.subscribe();
        loop {
            let channel = channels.borrow_and_update().clone();
            let changed = async {
                // It goes with the account, which is us.
                if channels.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = changed => {}
                () = self.hear(&channel) => {}
            }
        }
    }

    /// As long as the account's channel is this one.
    async fn hear(&mut self, channel: &Channel) {
        match channel {
            Channel::Unknown => {}
            Channel::None => self.desk.push_is(failing(NO_CHANNEL)).await,
            Channel::Named(subscription) => self.subscribe(subscription).await,
        }
        std::future::pending().await
    }

    async fn subscribe(&mut self, subscription: &Subscription) {
        let mut reading = Reading::new();
        loop {
            let begun = clock::now();
            match self.poll_or_complain(subscription, &reading).await {
                Ok(reply) => {
                    let leads_on = reply.leads_on(&reading.cursor);
                    self.take(reply, &mut reading).await;
                    if !leads_on {
                        // Something on the way that holds no request open must not make us ask without end.
                        tokio::time::sleep_until(begun + Self::NOT_SOONER).await;
                    }
                }
                Err(error) => self.fail(&error, begun, &mut reading).await,
            }
        }
    }

    async fn poll_or_complain(&self, subscription: &Subscription, reading: &Reading) -> Result<Reply, PollError> {
        let silent = async {
            tokio::time::sleep_until(reading.heard + Self::SILENT).await;
            self.desk.push_is(failing(SILENT)).await;
            std::future::pending().await
        };
        tokio::select! {
            reply = self.wire.poll(subscription, &reading.cursor) => reply,
            never = silent => never,
        }
    }

    async fn take(&mut self, reply: Reply, reading: &mut Reading) {
        let missed = reading.lost.is_some_and(|since| since.elapsed() > Self::GAP);
        let begins = reading.cursor == Cursor::BEGINNING;
        *reading = Reading { cursor: reply.cursor, ..Reading::new() };
        self.desk.push_is(None).await;
        for message in reply.messages {
            self.read(message).await;
        }
        if missed || begins {
            self.vivint.relist.notify_one();
        }
    }

    async fn fail(&self, error: &PollError, begun: Instant, reading: &mut Reading) {
        tracing::debug!(%error, "the push channel was not heard");
        reading.lost.get_or_insert(begun);
        reading.failures += 1;
        let is_silent = reading.heard.elapsed() >= Self::SILENT;
        if is_silent {
            self.desk.push_is(failing(SILENT)).await;
        } else if reading.failures >= Self::TELL_AFTER {
            self.desk.push_is(failing(cannot_ask(error))).await;
        }
        if error.is_of_its_place() && reading.failures.is_multiple_of(Self::UNREADABLE_AFTER) {
            reading.cursor = Cursor::BEGINNING;
        }
        tokio::time::sleep(reading.backoff.next(Duration::ZERO, jitter())).await;
    }

    async fn read(&mut self, message: Message) {
        let Some(update) = Update::read(&message.payload) else { return };
        match update.change {
            Change::Panel => {}
            Change::Inventory if self.vivint.known.borrow().has_panel(update.panel) => self.vivint.relist.notify_one(),
            Change::Inventory => {}
            Change::Devices(deltas) => {
                for delta in deltas {
                    self.hear_of(update.panel, &delta, message.published).await;
                }
            }
        }
    }

    async fn hear_of(&mut self, panel: i64, delta: &Delta, published: Option<Timetoken>) {
        let Some(device) = self.vivint.apply(panel, delta) else { return };
        if device.camera().is_none() {
            return;
        }
        let id = device.place.id();
        let event = match delta.camera_event() {
            Some(CameraEvent::Ring) => self.ring(&device, published),
            Some(CameraEvent::Motion) => Some(motion(&id, published)),
            Some(CameraEvent::ThumbnailReady | CameraEvent::VideoReady) | None => None,
        };
        if let Some(event) = event {
            let _house_gone = self.events.send((id, event)).await;
        }
    }

    /// `None` when the same camera has just rung: Vivint tells a ring more than once.
    fn ring(&mut self, device: &Device, published: Option<Timetoken>) -> Option<Event> {
        if !device.camera()?.rings {
            return None;
        }
        let (id, at) = (device.place.id(), time(published));
        let quiet = self.vivint.account.config.ring_quiet;
        let apart = |before: &SystemTime| at.duration_since(*before).unwrap_or_else(|earlier| earlier.duration());
        if self.rang.get(&id).is_some_and(|before| apart(before) < quiet) {
            tracing::debug!(%id, "a ring that was told before is told again");
            return None;
        }
        self.rang.insert(id.clone(), at);
        let latency = published.and_then(|_| clock::unix_now().duration_since(at).ok());
        Some(Event::Ring(Ring { at, event_id: event_id(&id, at), source: "push", latency }))
    }

    /// Says goodbye where anybody was said to listen.
    pub(super) async fn leave(&self) {
        let channel = self.vivint.account.channel.borrow().clone();
        if let Channel::Named(subscription) = channel {
            self.wire.leave(&subscription).await;
        }
    }
}

const NO_CHANNEL: &str = "Vivint names no message channel for this account, so rings and motion are not heard of; \
                          the locks are asked every 5 minutes. Vivint's app may need to be logged in once.";
const SILENT: &str = "Vivint's push service (PubNub) has not answered for over 6 minutes, so rings and motion are \
                      not heard of. It is being asked again. If it lasts, see whether something between here and \
                      the internet cuts requests that take minutes.";

/// Of an account from which nothing is heard.
fn failing(why: impl Into<String>) -> Option<AccountLink> {
    Some(AccountLink::Failing { why: why.into() })
}

fn cannot_ask(error: &PollError) -> String {
    format!(
        "Rings and motion are not heard of at present: Vivint's push service (PubNub) cannot be asked, {error}. It is \
         being tried again."
    )
}

fn motion(id: &DeviceId, published: Option<Timetoken>) -> Event {
    let at = time(published);
    Event::Motion(Motion { at, event_id: event_id(id, at), kind: MotionKind::Motion })
}

/// When it happened: when it was published, as far as that is told.
fn time(published: Option<Timetoken>) -> SystemTime {
    let published = published.and_then(|at| SystemTime::UNIX_EPOCH.checked_add(at.since_1970()));
    published.unwrap_or_else(clock::unix_now)
}

fn event_id(id: &DeviceId, at: SystemTime) -> String {
    let since_1970 = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{id}_{}", since_1970.as_micros())
}
