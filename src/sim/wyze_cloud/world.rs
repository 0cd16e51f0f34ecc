//! All that changes in a cloud, and the table of what it answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast, watch};

use super::account::{self, Account};
use super::call::Call;
use super::command::CloudCommand;
use super::device::Device;
use super::event_list::{self, EventLog, Scripted};
use super::fault::{Fault, Trouble};
use super::locks::{self, Lock};
use super::reply::{Dialect, Refusal};
use super::settings::Settings;
use super::{CloudEvent, Counts, NoSuchDevice, gwell, mangle, streams};
use crate::clock::{self, Instant};

pub(super) struct Cloud {
    world: Mutex<World>,
    /// False: no client gets through.
    pub(super) online: watch::Sender<bool>,
    /// After each request, which may have set a bolt in motion.
    pub(super) answered: Notify,
}

/// Everything that changes.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) devices: Vec<Device>,
    pub(super) account: Account,
    pub(super) log: EventLog,
    /// By the device's id.
    pub(super) locks: BTreeMap<String, Lock>,
    pub(super) trouble: Option<Trouble>,
    login_rate: Window,
    api_rate: Window,
    pub(super) counts: Counts,
    /// By path; at most [`World::PATHS`] different ones.
    pub(super) requests: HashMap<String, u64>,
    pub(super) events: broadcast::Sender<CloudEvent>,
}

/// How much of a [`Rate`](super::Rate) is used up.
struct Window {
    since: Instant,
    used: u32,
}

/// What the cloud says to a request.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
    pub(super) fault: Option<Fault>,
    pub(super) now_ms: u64,
    pub(super) remaining: u32,
    pub(super) reset_ms: u64,
}

impl Cloud {
    pub(super) fn new(settings: Settings) -> Self {
        let window = || Window { since: clock::now(), used: 0 };
        let world = World {
            devices: settings.devices.clone(),
            account: Account::default(),
            log: EventLog::default(),
            locks: BTreeMap::new(),
            trouble: settings.trouble.clone(),
            login_rate: window(),
            api_rate: window(),
            counts: Counts::default(),
            requests: HashMap::new(),
            events: broadcast::Sender::new(256),
            settings,
        };
        Self { world: Mutex::new(world), online: watch::Sender::new(true), answered: Notify::new() }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file, which is no answer like the others.
    pub(super) fn file(&self, call: &Call) -> Option<&'static [u8]> {
        let mut world = self.world();
        let file = event_list::picture(&world, &call.path)?;
        world.count(&call.path);
        Some(file)
    }

    pub(super) fn answer(&self, call: &Call) -> Answer {
        let answer = self.world().answer(call);
        self.answered.notify_one();
        answer
    }
}

impl World {
    const PATHS: usize = 256;

    fn answer(&mut self, call: &Call) -> Answer {
        self.count(&call.path);
        let mut fault = self.fault_at(&call.path);
        let (remaining, resets_in) = self.spend(call);
        let now_ms = self.now_ms();
        let too_many =
            matches!(fault, Some(Fault::TooMany | Fault::TooManySeconds | Fault::TooManyDate | Fault::TooManyAbsurd));
        let (status, mut body) = match fault {
            _ if too_many || remaining.is_none() => (StatusCode::TOO_MANY_REQUESTS, Value::Null),
            // Nothing is carried out here; the page is made where the answer is sent.
            Some(Fault::ForbiddenHtml | Fault::ServerError | Fault::Html | Fault::GzipBomb) => {
                (StatusCode::OK, Value::Null)
            }
            _ => {
                let (dialect, outcome) = self.route(call);
                if let Err(refusal) = &outcome {
                    self.tell(CloudEvent::Refused { path: call.path.clone(), why: refusal.why() });
                }
                dialect.tell(&outcome, now_ms)
            }
        };
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.tell(CloudEvent::Refused { path: call.path.clone(), why: "HTTP 429" });
            fault = fault.filter(|_| too_many);
        }
        if let Some(fault) = fault {
            mangle::garble(fault, &mut body);
        }
        let remaining = if too_many { 0 } else { remaining.unwrap_or(0) };
        let reset_ms = now_ms + resets_in.as_millis() as u64;
        Answer { status, body: body.to_string(), fault, now_ms, remaining, reset_ms }
    }

    /// The one table of what there is.
    fn route(&mut self, call: &Call) -> (Dialect, Result<Value, Refusal>) {
        match (call.method.as_str(), call.path.as_str()) {
            ("POST", "/api/user/login") => (Dialect::Bare, account::log_in(self, call)),
            ("POST", "/user/login") => (Dialect::Bare, account::log_in_with_code(self, call)),
            ("POST", "/user/login/sendSmsCode") => (Dialect::Bare, account::send_sms(self, call)),
            ("POST", "/app/user/refresh_token") => (Dialect::Text, account::refresh(self, call)),
            ("POST", "/app/v2/home_page/get_object_list") => (Dialect::Text, self.list(call)),
            ("POST", "/app/v2/device/get_event_list") => (Dialect::Text, event_list::version_2(self, call)),
            ("POST", "/app/v4/device/get_event_list") => (Dialect::Number, event_list::version_4(self, call)),
            ("POST", "/app/v4/camera/get-streams") => (Dialect::Text, streams::for_web(self, call)),
            ("POST", "/app/v4/camera/get_streams") => (Dialect::Number, streams::for_app(self, call)),
            ("POST", "/app/v4/iot3/run-action") => (Dialect::Text, locks::iot3_action(self, call)),
            ("POST", "/app/v4/iot3/get-property") => (Dialect::Text, locks::iot3_properties(self, call)),
            ("POST", "/openapi/lock/v1/control") => (Dialect::Ford, locks::ford_control(self, call)),
            ("GET", "/openapi/lock/v1/info") => (Dialect::Ford, locks::ford_info(self, call)),
            ("GET", "/openapi/v1/safety/family_record") => (Dialect::Ford, locks::ford_diary(self, call)),
            ("GET", "/openapi/v1/safety/count") => (Dialect::Ford, locks::ford_diary_length(self, call)),
            ("GET", "/openapi/v1/device") => (Dialect::Ford, locks::ford_devices(self, call)),
            ("GET", "/openapi/v1/crypt_secret") => (Dialect::Ford, locks::ford_secret(self, call)),
            ("GET", path) if path.starts_with("/signaling/device/") => (Dialect::Bare, streams::signaling(self, call)),
            ("POST", path) if path.starts_with("/plugin/mars/v2/regist_gw_user/") => {
                (Dialect::Number, gwell::register_user(self, call))
            }
            ("POST", "/device-management/api/action/run_action_batch") => {
                (Dialect::Number, gwell::run_actions(self, call))
            }
            _ => (Dialect::Bare, Err(Refusal::NotFound)),
        }
    }

    fn list(&mut self, call: &Call) -> Result<Value, Refusal> {
        call.common(self)?;
        let unlocked = |device: &Device| self.locks.get(&device.mac).is_some_and(Lock::is_unlocked);
        let rows: Vec<Value> = self.devices.iter().map(|device| device.row(unlocked(device))).collect();
        self.tell(CloudEvent::List { devices: rows.len() });
        Ok(json!({"device_list": rows, "device_group_list": [], "device_sort_list": []}))
    }

    pub(super) fn obey(&mut self, command: CloudCommand) -> Result<(), NoSuchDevice> {
        match command {
            CloudCommand::Happen(what) => return self.happen(&what),
            CloudCommand::Trouble(trouble) => {
                self.begin(trouble);
                return Ok(());
            }
            CloudCommand::Password(password) => self.settings.password = password,
            CloudCommand::Add(device) => self.devices.push(*device),
            CloudCommand::Remove { device } => {
                self.device(&device)?;
                self.devices.retain(|own| own.mac != device);
            }
            CloudCommand::Rename { device, nickname } => self.device(&device)?.nickname = nickname,
            CloudCommand::Address { device, address } => self.device(&device)?.address = address,
            CloudCommand::Power { device, on } => self.device(&device)?.powered = on,
            CloudCommand::Online { device: Some(device), online } => self.device(&device)?.online = online,
            // The listener's business.
            CloudCommand::Online { device: None, .. } => return Ok(()),
        }
        self.tell(CloudEvent::DevicesChanged);
        Ok(())
    }

    fn device(&mut self, id: &str) -> Result<&mut Device, NoSuchDevice> {
        self.devices.iter_mut().find(|device| device.mac == id).ok_or_else(|| NoSuchDevice(id.to_owned()))
    }

    fn happen(&mut self, what: &Scripted) -> Result<(), NoSuchDevice> {
        let found = match &what.device {
            Some(id) => self.devices.iter().find(|device| device.mac == *id),
            None => self.devices.iter().find(|device| device.is_doorbell()),
        };
        let device = found.cloned().ok_or_else(|| NoSuchDevice(what.device.clone().unwrap_or_default()))?;
        let (now_ms, late, upload) = (self.now_ms(), self.has(Fault::LateEvents), self.settings.upload);
        let id = self.log.add(what, &device, now_ms, late, upload);
        self.tell(match what.value {
            event_list::RANG => CloudEvent::Ring { device: device.mac, id },
            value => CloudEvent::Happened { device: device.mac, value, id },
        });
        Ok(())
    }

    fn begin(&mut self, trouble: Option<Trouble>) {
        match trouble.as_ref().map(|trouble| trouble.fault) {
            Some(Fault::Unauthorized) => self.account.refuse_access(Refusal::Unauthorized),
            Some(Fault::Expired) => self.account.refuse_access(Refusal::EXPIRED),
            Some(Fault::RefreshRevoked) => self.account.revoke_all(),
            _ => {}
        }
        self.tell(CloudEvent::Fault { name: trouble.as_ref().map_or("none", |trouble| trouble.fault.name()) });
        self.trouble = trouble;
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.fault == fault)
    }

    /// The fault that shows in answers to this path.
    pub(super) fn fault_at(&self, path: &str) -> Option<Fault> {
        self.trouble.as_ref().filter(|trouble| path.starts_with(&trouble.at)).map(|trouble| trouble.fault)
    }

    pub(super) fn check_token(&self, token: &str) -> Result<(), Refusal> {
        self.account.check(token, self.settings.token_life)
    }

    /// The cloud's own clock, in milliseconds of Unix time.
    pub(super) fn now_ms(&self) -> u64 {
        let skew = if self.has(Fault::ClockSkew) { Duration::from_secs(86_400) } else { Duration::ZERO };
        let since = clock::unix_now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (since + skew).as_millis() as u64
    }

    /// How many requests are left in this window (`None`: this one is too many already), and how long it goes on.
    fn spend(&mut self, call: &Call) -> (Option<u32>, Duration) {
        let is_login = call.path.starts_with("/api/user/") || call.path.starts_with("/user/");
        let (rate, window) = match is_login {
            true => (self.settings.login_rate, &mut self.login_rate),
            false => (self.settings.api_rate, &mut self.api_rate),
        };
        if window.since.elapsed() >= rate.per {
            *window = Window { since: clock::now(), used: 0 };
        }
        window.used = window.used.saturating_add(1);
        (rate.requests.checked_sub(window.used), rate.per.saturating_sub(window.since.elapsed()))
    }

    fn count(&mut self, path: &str) {
        if self.requests.len() < Self::PATHS || self.requests.contains_key(path) {
            *self.requests.entry(path.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn tell(&mut self, event: CloudEvent) {
        let counts = &mut self.counts;
        match &event {
            CloudEvent::Login { .. } => counts.logins += 1,
            CloudEvent::Refresh => counts.refreshes += 1,
            CloudEvent::List { .. } => counts.lists += 1,
            CloudEvent::Events { .. } => counts.event_lists += 1,
            CloudEvent::Streams { .. } => counts.streams += 1,
            CloudEvent::GwellToken { .. } => counts.gwell_tokens += 1,
            CloudEvent::Woken { .. } => counts.wakes += 1,
            CloudEvent::Unlocking { .. } => counts.unlocks += 1,
            CloudEvent::Locking { .. } => counts.locks += 1,
            CloudEvent::Refused { .. } => counts.refused += 1,
            _ => {}
        }
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}
