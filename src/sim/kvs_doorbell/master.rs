//! The doorbell itself: who is let in, and what its owner wants of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::bell::Bell;
use super::door::Door;
use super::fault::Fault;
use super::film::Film;
use super::line::Line;
use super::profile::Habits;
use super::program::Program;
use super::viewer::Visit;
use super::{Command, Event, Settings, Tell};
use crate::aws::{Aws, Channel, Role};
use crate::clock::{self, Instant};
use crate::media::MediaHub;
use crate::proto::kvs::signaling::{Inbound, Payload};
use crate::rtc::camera::{IceServer, TextChannel};
use crate::sim::dice::Dice;
use crate::sim::made_up;

/// Frames that wait for the service. Full: they are dropped; who waited so long has been lost meanwhile.
const OUTBOUND: usize = 64;
/// Frames of the service that wait to be looked at. Full: the service waits.
const INBOUND: usize = 64;
/// Candidates of a viewer that wait while its answer is made. Full: the last ones are dropped; so many lead nowhere.
const CANDIDATES: usize = 32;

/// What all viewers share.
pub(super) struct Doorbell {
    aws: Aws,
    /// Name or ARN.
    name: String,
    pub(super) habits: Habits,
    pub(super) loopback: bool,
    pub(super) film: MediaHub,
    pub(super) speaker: Option<Program>,
    pub(super) door: Door,
    pub(super) tell: Tell,
    fault: watch::Sender<Option<Fault>>,
    channel: watch::Sender<Option<Channel>>,
    own_channels: Mutex<BTreeMap<String, TextChannel>>,
    numbers: AtomicU64,
}

impl Doorbell {
    pub(super) fn new(aws: Aws, settings: &Settings, loopback: bool, tell: Tell, stop: &CancellationToken) -> Self {
        let (habits, fault) = (settings.profile.habits(), watch::Sender::new(settings.fault));
        let film = Film {
            hub: MediaHub::new(),
            format: habits.sound[0],
            video_from: settings.video_from.clone(),
            sound_from: settings.sound_from.clone(),
            fault: fault.subscribe(),
            tell: tell.clone(),
        };
        let hub = film.hub.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(film.run()));
        let (opener, led) = (settings.opener.clone(), settings.led.clone());
        Self {
            aws,
            name: settings.channel.clone(),
            habits,
            loopback,
            film: hub,
            speaker: settings.speaker.clone(),
            door: Door::new(opener, led, fault.subscribe(), tell.clone()),
            tell,
            fault,
            channel: watch::Sender::new(None),
            own_channels: Mutex::default(),
            numbers: AtomicU64::new(1),
        }
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        *self.fault.borrow()
    }

    /// One that has not been given out before.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Fresh ones: they are good for some minutes. Without them calls at home work all the same.
    pub(super) async fn ice_servers(&self) -> Vec<IceServer> {
        let Some(channel) = self.channel.borrow().clone() else { return Vec::new() };
        let servers = self.aws.ice_servers(&channel, Role::Master, "MASTER").await;
        servers.unwrap_or_else(|error| {
            tracing::warn!(%error, "a viewer is answered without STUN and TURN");
            Vec::new()
        })
    }

    pub(super) fn own_channels(&self) -> MutexGuard<'_, BTreeMap<String, TextChannel>> {
        // Nothing panics while it holds this lock, so a poisoned one is as good as any.
        self.own_channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As AWS's Python sample does: to everybody, in these words.
    pub(super) async fn pass_on(&self, text: &str) {
        let everybody: Vec<TextChannel> = self.own_channels().values().cloned().collect();
        for channel in everybody {
            let _not_open = channel.send(&format!("broadcast: {text}")).await;
        }
    }
}

/// A viewer's place.
struct Seat {
    offer: String,
    remote: mpsc::Sender<String>,
    visit: AbortHandle,
}

pub(super) struct Master {
    doorbell: Arc<Doorbell>,
    bell: Bell,
    viewers: HashMap<String, Seat>,
    /// Who ends one frees its place.
    visits: JoinSet<()>,
    outbound: mpsc::Sender<String>,
    inbound: mpsc::Receiver<Inbound>,
    /// What the line is told.
    connected: watch::Sender<bool>,
    online: bool,
    /// When a master that is late comes online.
    online_at: Option<Instant>,
    dice: Dice,
    stop: CancellationToken,
}

impl Master {
    pub(super) fn start(doorbell: Arc<Doorbell>, bell: Bell, stop: CancellationToken) -> Self {
        let (outbound, frames) = mpsc::channel(OUTBOUND);
        let (arrived, inbound) = mpsc::channel(INBOUND);
        let connected = watch::Sender::new(false);
        // Without randomness all doorbells reconnect at the same moments, which is no reason to ring nowhere.
        let dice = |n: u64| Dice::new(made_up::random_seed().unwrap_or(n));
        let line = Line {
            aws: doorbell.aws.clone(),
            name: doorbell.name.clone(),
            wanted: connected.subscribe(),
            channel: doorbell.channel.clone(),
            outbound: frames,
            inbound: arrived,
            tell: doorbell.tell.clone(),
            dice: dice(1),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(line.run()));
        let online = doorbell.habits.late.is_none();
        Self {
            doorbell,
            bell,
            viewers: HashMap::new(),
            visits: JoinSet::new(),
            outbound,
            inbound,
            connected,
            online,
            online_at: None,
            dice: dice(2),
            stop,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.connect();
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(command) = commands.recv() => self.obey(command),
                Some(frame) = self.inbound.recv() => self.take(frame),
                Some(ended) = self.visits.join_next_with_id() => {
                    let visit = ended.map_or_else(|failed| failed.id(), |(id, ())| id);
                    self.viewers.retain(|_, seat| seat.visit.id() != visit);
                }
                () = sleep_until(self.online_at.unwrap_or_else(clock::now)), if self.online_at.is_some() => {
                    (self.online, self.online_at) = (true, None);
                    self.connect();
                }
            }
        }
        self.visits.shutdown().await;
    }

    /// Passes on to the line what is wanted now.
    fn connect(&self) {
        self.connected.send_replace(self.online && self.doorbell.fault() != Some(Fault::Leaves));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Ring => self.ring(),
            Command::Online(online) => (self.online, self.online_at) = (online, None),
            Command::Fault(fault) => {
                self.doorbell.fault.send_replace(fault);
                self.doorbell.tell.tell(Event::Fault { name: fault.map_or("none", Fault::name) });
            }
        }
        self.connect();
    }

    /// The master on Linux is a program that is started anew for each ring; a call that there is goes on here.
    fn ring(&mut self) {
        self.bell.press();
        if let Some((least, most)) = self.doorbell.habits.late
            && self.viewers.is_empty()
        {
            self.online = false;
            self.online_at = Some(clock::now() + least + (most - least).mul_f64(self.share()));
        }
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        f64::from(u32::from_le_bytes(self.dice.bytes())) / f64::from(u32::MAX)
    }

    fn take(&mut self, frame: Inbound) {
        let Some(viewer) = frame.sender_client_id else { return };
        match frame.payload {
            Some(Payload::Offer { sdp }) => self.offer(viewer, sdp),
            Some(Payload::Candidate { candidate, .. }) => {
                if let Some(seat) = self.viewers.get(&viewer) {
                    let _full = seat.remote.try_send(candidate);
                }
            }
            Some(Payload::Answer { .. }) | None => {}
        }
    }

    fn offer(&mut self, viewer: String, offer: String) {
        let tell = self.doorbell.tell.clone();
        tell.tell(Event::Offer { viewer: viewer.clone() });
        match self.viewers.get(&viewer) {
            // It was repeated because the answer took its time; a second one would not fit the first.
            Some(seat) if seat.offer == offer => return,
            Some(seat) => {
                seat.visit.abort();
                self.viewers.remove(&viewer);
                let why = "it has made another offer".to_owned();
                tell.tell(Event::Left { viewer: viewer.clone(), why });
            }
            None if self.viewers.len() >= self.doorbell.habits.most_viewers => {
                return tell.tell(Event::NotAnswered { viewer, why: "every place is taken" });
            }
            None => {}
        }
        self.seat(viewer, offer);
    }

    fn seat(&mut self, viewer: String, offer: String) {
        let (remote, candidates) = mpsc::channel(CANDIDATES);
        let visit = Visit {
            doorbell: self.doorbell.clone(),
            viewer: viewer.clone(),
            offer: offer.clone(),
            remote: candidates,
            outbound: self.outbound.clone(),
        };
        let visit = self.visits.spawn(visit.run());
        self.viewers.insert(viewer, Seat { offer, remote, visit });
    }
}
