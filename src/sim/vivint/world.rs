//! All that changes in a cloud, and the table of what it answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::command::Command;
use super::devices::{self, ctd};
use super::fault::{Fault, Trouble};
use super::login::Logins;
use super::pubnub::Channel;
use super::reply::{Refusal, Reply};
use super::settings::Settings;
use super::tokens::{Purpose, Tokens};
use super::tree::Tree;
use super::{Counts, Event, NotObeyed, api, firebase, images, login, pubnub};
use crate::clock::{self, Instant};
use crate::secret::Password;
use crate::sim::made_up::random_hex;

pub(super) struct Cloud {
    world: Mutex<World>,
    /// What the database holds.
    pub(super) tree: Tree,
    /// False: no client gets through.
    pub(super) online: watch::Sender<bool>,
    /// Something new is due.
    pub(super) planned: Notify,
    /// The fault that has just begun, for every connection to the database; `None` for no more of it. One that is 16 behind misses the oldest.
    pub(super) incidents: broadcast::Sender<Option<Fault>>,
}

/// Everything that changes.
pub(super) struct World {
    pub(super) settings: Settings,
    /// `http://` and the address.
    pub(super) origin: String,
    /// What `systems/{panid}` tells.
    pub(super) system: Value,
    pub(super) logins: Logins,
    pub(super) tokens: Tokens,
    /// Firebase's refresh tokens.
    pub(super) firebase_refresh: Vec<String>,
    pub(super) channel: Channel,
    /// What signs the addresses of pictures.
    pub(super) image_key: String,
    agenda: Vec<(Instant, Due)>,
    pub(super) trouble: Option<Trouble>,
    pub(super) counts: Counts,
    /// By path; at most [`World::PATHS`] different ones.
    pub(super) requests: HashMap<String, u64>,
    pub(super) events: broadcast::Sender<Event>,
}

/// What happens later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Bolt { device: i64, locked: bool },
    Door { device: i64, open: bool },
    Picture { device: i64 },
}

impl Cloud {
    pub(super) fn new(settings: Settings, origin: String) -> Self {
        let world = World {
            system: devices::system(&settings),
            logins: Logins::default(),
            tokens: Tokens::default(),
            firebase_refresh: Vec::new(),
            channel: Channel::default(),
            image_key: random_hex(32),
            agenda: Vec::new(),
            trouble: settings.trouble.clone(),
            counts: Counts::default(),
            requests: HashMap::new(),
            events: broadcast::Sender::new(256),
            origin,
            settings,
        };
        Self {
            world: Mutex::new(world),
            tree: Tree::default(),
            online: watch::Sender::new(true),
            planned: Notify::new(),
            incidents: broadcast::Sender::new(16),
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answer(&self, call: &Call) -> Result<Reply, Refusal> {
        let answer = self.world().route(call);
        self.planned.notify_one();
        answer
    }

    /// Passes on what happens elsewhere in the account, until `stop`.
    pub(super) fn report<E: Clone + Send + 'static>(
        self: &Arc<Self>,
        mut events: broadcast::Receiver<E>,
        stop: &CancellationToken,
        named: impl Fn(E) -> Event + Send + 'static,
    ) {
        let cloud = Arc::clone(self);
        let reporting = async move {
            loop {
                match events.recv().await {
                    Ok(event) => cloud.world().tell(named(event)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(reporting));
    }

    /// # Errors
    /// When the command names a device that the account does not have.
    pub(super) fn obey(&self, command: Command) -> Result<(), NotObeyed> {
        let incident = match &command {
            Command::Trouble(trouble) => Some(trouble.as_ref().map(|trouble| trouble.fault)),
            _ => None,
        };
        if let Command::Online { device: None, online } = command {
            self.world().tell(if online { Event::Online } else { Event::Offline });
            self.online.send_replace(online);
            return Ok(());
        }
        self.world().obey(command)?;
        if let Some(fault) = incident {
            // Nobody being connected is fine.
            let _ = self.incidents.send(fault);
        }
        Ok(())
    }
}

impl World {
    const PATHS: usize = 256;

    /// The one table of what there is, besides the long poll and the database.
    fn route(&mut self, call: &Call) -> Result<Reply, Refusal> {
        match (call.method.as_str(), call.path.as_str()) {
            ("GET", "/oauth2/auth") => login::authorize(self, call),
            ("POST", "/oauth2/token") => login::token(self, call),
            ("POST", "/idp/api/submit") => login::submit(self, call),
            ("POST", "/idp/api/validate") => login::validate(self, call),
            ("GET" | "POST", "/") if call.query("custom-token") == "true" => firebase::exchange(self, call),
            ("POST", "/v1/accounts:signInWithCustomToken") => firebase::sign_in(self, call),
            ("POST", "/v1/token") => firebase::refresh(self, call),
            (_, path) => match path.split_once('/').and_then(|(_, path)| path.split_once('/')) {
                Some(("api", path)) => api::answer(self, call, path),
                Some(("images", path)) => images::answer(self, call, path),
                Some(("v2", path)) if path.starts_with(PRESENCE) => pubnub::presence(self, &path[PRESENCE.len()..]),
                _ => Err(Refusal::not_found()),
            },
        }
    }

    /// Where the tokens say that the database is.
    pub(super) fn database(&self) -> String {
        format!("{}/?ns=virtual", self.origin)
    }

    fn devices(&self) -> impl Iterator<Item = &Value> {
        self.system["system"]["par"][0]["d"].as_array().into_iter().flatten()
    }

    pub(super) fn record(&self, device: i64) -> Option<&Value> {
        self.devices().find(|record| record["_id"] == device)
    }

    /// Merges the delta into the device and tells every subscriber.
    pub(super) fn update(&mut self, device: i64, delta: Value) {
        let devices = self.system["system"]["par"][0]["d"].as_array_mut().into_iter().flatten();
        for record in devices.filter(|record| record["_id"] == device) {
            if let (Some(record), Some(delta)) = (record.as_object_mut(), delta.as_object()) {
                record.extend(delta.clone());
            }
        }
        self.tell_delta("u", delta);
    }

    /// Tells every subscriber of an edge, which leaves the device as it was.
    fn tell_delta(&mut self, operation: &str, delta: Value) {
        let (panel, partition) = (self.settings.panel, Settings::PARTITION);
        let context = json!({"mid": random_hex(24), "ts": ctd(clock::unix_now())});
        self.publish(json!({
            "_id": format!("{panel}|{partition}"), "t": "account_partition", "op": operation, "panid": panel,
            "parid": partition, "da": {"d": [delta], "plctx": context},
        }));
    }

    pub(super) fn obey(&mut self, command: Command) -> Result<(), NotObeyed> {
        match command {
            Command::Ring { device } => self.ring(device)?,
            Command::Motion { device } => {
                let (device, act) = self.chosen(device, "camera_device")?;
                self.tell_delta("u", json!({"_id": device, "act": act, "vdt": true}));
                self.tell(Event::Motion { device });
            }
            Command::Picture { device } => {
                let (device, _) = self.chosen(device, "camera_device")?;
                self.take_picture(device);
            }
            Command::Lock { device, locked } => {
                let (device, _) = self.chosen(device, "door_lock_device")?;
                self.move_bolt(device, locked);
            }
            Command::Door { device, open } => {
                let (device, _) = self.chosen(device, "garage_door_device")?;
                self.move_door(device, open);
            }
            Command::Online { device: Some(device), online } => {
                self.record(device).ok_or(NotObeyed::NoSuchDevice(device))?;
                self.update(device, json!({"_id": device, "ol": online}));
                self.tell(if online { Event::DeviceOnline { device } } else { Event::DeviceOffline { device } });
            }
            // The listener's business.
            Command::Online { device: None, .. } => {}
            Command::Push(delta) => self.tell_delta("u", delta),
            Command::Remove { device } => {
                self.record(device).ok_or(NotObeyed::NoSuchDevice(device))?;
                if let Some(devices) = self.system["system"]["par"][0]["d"].as_array_mut() {
                    devices.retain(|record| record["_id"] != device);
                }
                self.tell_delta("d", json!({"_id": device}));
                self.tell(Event::Removed { device });
            }
            Command::Rename { device, name } => {
                self.record(device).ok_or(NotObeyed::NoSuchDevice(device))?;
                self.update(device, json!({"_id": device, "n": name}));
            }
            Command::Password(password) => self.settings.password = password,
            Command::Rotate => {
                self.settings.panel_login.password = Password::new(random_hex(16));
                self.tell(Event::Rotated);
            }
            Command::Expire => {
                self.tokens.expire(&[Purpose::Access, Purpose::Id, Purpose::Custom]);
                self.tell(Event::Expired);
            }
            Command::Trouble(trouble) => self.begin(trouble),
            // The cameras' business.
            Command::Pictures { .. } | Command::Doorbell { .. } | Command::Call { .. } => {}
        }
        Ok(())
    }

    /// The id and `act` of this device, or of the first of this type; cameras that ring come first.
    fn chosen(&self, device: Option<i64>, kind: &str) -> Result<(i64, String), NotObeyed> {
        let mut of_kind = self.devices().filter(|record| record["t"] == kind);
        let found = match device {
            Some(id) => of_kind.find(|record| record["_id"] == id),
            None => of_kind.next(),
        };
        let record = found.ok_or(NotObeyed::NoSuchDevice(device.unwrap_or_default()))?;
        Ok((record["_id"].as_i64().unwrap_or_default(), record["act"].as_str().unwrap_or_default().to_owned()))
    }

    fn ring(&mut self, device: Option<i64>) -> Result<(), NotObeyed> {
        let (device, act) = self.chosen(device, "camera_device")?;
        // Older models say it with a truth value.
        let pressed = if act.starts_with("vivint_") { json!(1) } else { json!(true) };
        let times = if self.has(Fault::DuplicateRings) { 2 } else { 1 };
        for _ in 0..times {
            self.tell_delta("u", json!({"_id": device, "act": act, "dng": pressed}));
        }
        self.tell(Event::Ring { device });
        Ok(())
    }

    fn take_picture(&mut self, device: i64) {
        self.update(device, json!({"_id": device, "ctd": ctd(clock::unix_now())}));
        self.tell(Event::ThumbnailTaken { device });
    }

    fn move_bolt(&mut self, device: i64, locked: bool) {
        let act = self.record(device).map_or(Value::Null, |record| record["act"].clone());
        self.update(device, json!({"_id": device, "act": act, "op": 1, "s": locked, "t": "door_lock_device"}));
        self.tell(if locked { Event::Locked { device } } else { Event::Unlocked { device } });
    }

    fn move_door(&mut self, device: i64, open: bool) {
        self.update(device, json!({"_id": device, "s": if open { 5 } else { 1 }, "t": "garage_door_device"}));
        self.tell(if open { Event::DoorOpened { device } } else { Event::DoorClosed { device } });
    }

    pub(super) fn later(&mut self, after: Duration, due: Due) {
        self.agenda.push((clock::now() + after, due));
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.agenda.iter().map(|(at, _)| *at).min()
    }

    /// Carries out what is due.
    pub(super) fn settle(&mut self) {
        let now = clock::now();
        let (due, later) = std::mem::take(&mut self.agenda).into_iter().partition(|(at, _)| *at <= now);
        self.agenda = later;
        let due: Vec<(Instant, Due)> = due;
        for (_, due) in due {
            match due {
                Due::Bolt { device, locked } => self.move_bolt(device, locked),
                Due::Door { device, open } => self.move_door(device, open),
                Due::Picture { device } => self.take_picture(device),
            }
        }
    }

    fn begin(&mut self, trouble: Option<Trouble>) {
        match trouble.as_ref().map(|trouble| trouble.fault) {
            Some(Fault::RefreshRevoked) => {
                self.tokens.expire(&[Purpose::Access, Purpose::Id, Purpose::Custom]);
                self.logins.revoke_refresh();
            }
            Some(Fault::AuthExpired) => self.tokens.expire(&[Purpose::Firebase]),
            _ => {}
        }
        self.tell(Event::Fault { name: trouble.as_ref().map_or("none", |trouble| trouble.fault.name()) });
        self.trouble = trouble;
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.fault == fault)
    }

    /// The fault that shows in answers to this path.
    pub(super) fn fault_at(&self, path: &str) -> Option<Fault> {
        self.trouble.as_ref().filter(|trouble| path.starts_with(&trouble.at)).map(|trouble| trouble.fault)
    }

    pub(super) fn count(&mut self, path: &str) {
        if self.requests.len() < Self::PATHS || self.requests.contains_key(path) {
            *self.requests.entry(path.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.counts.count(&event);
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}

const PRESENCE: &str = "presence/sub-key/";
