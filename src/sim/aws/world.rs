//! All that changes in a virtual AWS.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::command::{AwsCommand, NoSuchChannel};
use super::event::Event;
use super::exception::Exception;
use super::fault::{Fault, Trouble};
use super::settings::{ChannelSettings, Settings};
use super::signaling::{Notice, Relay};
use super::signature::Key;
use crate::clock::{self, Instant};
use crate::secret::{Password, Token};
use crate::sim::iot::{self, Broker, Grant};
use crate::sim::made_up::random_hex;
use crate::sim::signaling::Rate;

pub(super) struct Cloud {
    world: Mutex<World>,
    pub(super) broker: Broker,
    pub(super) stop: CancellationToken,
    /// That wait for one connection; one that is further behind than 16 misses the oldest.
    pub(super) notices: broadcast::Sender<Notice>,
    /// After a frame was kept, which must not be kept too long.
    pub(super) kept: Notify,
    /// Cancelled when all connections are cut; as long as nobody gets through it stays so.
    line: Mutex<CancellationToken>,
}

/// Everything that changes.
pub(super) struct World {
    pub(super) settings: Settings,
    started: SystemTime,
    pub(super) channels: Vec<Channel>,
    /// Temporary keys, the oldest first; at most [`World::ISSUED`].
    issued: VecDeque<Key>,
    pub(super) trouble: Option<Trouble>,
    /// Of what, and of which channel.
    rates: HashMap<(&'static str, String), Rate>,
    /// By path; at most [`World::PATHS`] different ones.
    pub(super) requests: HashMap<String, u64>,
    pub(super) events: broadcast::Sender<Event>,
}

pub(super) struct Channel {
    pub(super) settings: ChannelSettings,
    pub(super) arn: String,
    pub(super) created_ms: u64,
    pub(super) version: String,
    pub(super) relay: Relay,
}

impl Cloud {
    pub(super) fn new(settings: Settings, stop: CancellationToken) -> Self {
        let broker = Broker::new(settings.policy.clone());
        let trouble = settings.trouble.clone();
        let cloud = Self {
            world: Mutex::new(World::new(settings)),
            broker,
            stop,
            notices: broadcast::Sender::new(16),
            kept: Notify::new(),
            line: Mutex::default(),
        };
        if trouble.is_some() {
            cloud.begin(trouble);
        }
        cloud
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a connection that begins now is cut by.
    pub(super) fn cut(&self) -> CancellationToken {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cuts every connection, and lets new ones through or not.
    fn cut_all(&self, online: bool) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.cancel();
        if online {
            *line = CancellationToken::new();
        }
    }

    pub(super) fn obey(&self, command: AwsCommand) -> Result<(), NoSuchChannel> {
        match command {
            AwsCommand::Notice(notice) => {
                self.world().tell(Event::Noticed { message: notice.name().to_owned() });
                // Nobody being connected is fine.
                let _ = self.notices.send(notice);
            }
            AwsCommand::Trouble(trouble) => self.begin(trouble),
            AwsCommand::IotFault(fault) => self.broker.set_fault(fault),
            AwsCommand::Policy(policy) => {
                self.world().settings.policy = policy;
                self.set_policy();
            }
            AwsCommand::Turn(turn) => self.world().settings.turn = turn,
            AwsCommand::Ring { channel } => self.ring(channel)?,
            AwsCommand::Drop => {
                self.cut_all(true);
                self.world().tell(Event::Dropped);
            }
            AwsCommand::Online(online) => {
                self.cut_all(online);
                self.world().tell(if online { Event::Online } else { Event::Offline });
            }
        }
        Ok(())
    }

    /// As the Linux doorbell publishes it (kvs reference §6).
    fn ring(&self, channel: Option<String>) -> Result<(), NoSuchChannel> {
        let name = {
            let world = self.world();
            let is_it = |own: &&Channel| channel.as_ref().is_none_or(|asked| own.settings.name == *asked);
            let found = world.channels.iter().find(is_it).map(|found| found.settings.name.clone());
            found.ok_or_else(|| NoSuchChannel(channel.unwrap_or_default()))?
        };
        let payload = format!(r#"{{"event": "ring", "channel": "{name}", "timestamp": {}}}"#, clock::unix_seconds());
        self.broker.publish(&format!("doorbell/{name}/ring"), payload, 1);
        self.world().tell(Event::Ring { channel: name });
        Ok(())
    }

    fn begin(&self, trouble: Option<Trouble>) {
        self.world().begin(trouble);
        self.set_policy();
    }

    /// That of the settings, as a fault leaves it.
    fn set_policy(&self) {
        let (mut policy, fault) = {
            let world = self.world();
            (world.settings.policy.clone(), world.trouble.as_ref().map(|trouble| trouble.fault))
        };
        let change = |grant: &mut Grant| match (fault, grant.action) {
            (Some(Fault::PolicyConnect), iot::Action::Connect) => {
                "client/somebody-else".clone_into(&mut grant.resource)
            }
            (Some(Fault::PolicySubscribe), iot::Action::Subscribe) => "topic/*".clone_into(&mut grant.resource),
            _ => {}
        };
        policy.grants.iter_mut().for_each(change);
        self.broker.set_policy(policy);
    }
}

impl World {
    const PATHS: usize = 256;
    const ISSUED: usize = 256;

    fn new(settings: Settings) -> Self {
        let mut world = Self {
            started: clock::unix_now(),
            channels: Vec::new(),
            issued: VecDeque::new(),
            trouble: None,
            rates: HashMap::new(),
            requests: HashMap::new(),
            events: broadcast::Sender::new(256),
            settings,
        };
        for channel in world.settings.channels.clone() {
            world.open(channel);
        }
        world
    }

    /// Makes a channel; its ARN.
    pub(super) fn open(&mut self, settings: ChannelSettings) -> String {
        let created_ms = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let arn = format!("{}channel/{}/{created_ms}", self.arn_of("kinesisvideo"), settings.name);
        let (version, relay) = (random_hex(20), Relay::default());
        self.channels.push(Channel { settings, arn: arn.clone(), created_ms, version, relay });
        arn
    }

    /// Deletes a channel; whoever is connected to it is cut off.
    pub(super) fn close(&mut self, arn: &str) {
        self.channels.retain(|channel| channel.arn != arn);
        self.rates.retain(|(_, of), _| of != arn);
    }

    /// `arn:aws:kinesisvideo:us-east-1:123456789012:`
    pub(super) fn arn_of(&self, service: &str) -> String {
        let Settings { region, account, .. } = &self.settings;
        let partition = if region.starts_with("cn-") { "aws-cn" } else { "aws" };
        format!("arn:{partition}:{service}:{region}:{account}:")
    }

    pub(super) fn channel(&mut self, arn: &str) -> Option<&mut Channel> {
        self.channels.iter_mut().find(|channel| channel.arn == arn)
    }

    /// One of the settings, or a temporary one that was given out.
    pub(super) fn key(&self, id: &str) -> Option<Key> {
        if let Some(key) = self.issued.iter().find(|key| key.id == id) {
            return Some(key.clone());
        }
        let key = self.settings.keys.iter().find(|key| key.id == id)?;
        Some(Key {
            id: key.id.clone(),
            secret: key.secret.clone(),
            token: key.token.clone(),
            expires: key.expires_in.map(|life| self.started + life),
            arn: format!("arn:aws:iam::{}:user/doorstep", self.settings.account),
            denied: key.denied.clone(),
        })
    }

    /// Gives out temporary credentials for `arn`, which may not do what is `denied`.
    pub(super) fn issue(&mut self, arn: String, denied: Vec<String>, life: Duration) -> Key {
        let key = Key {
            id: format!("ASIA{}", random_hex(16).to_uppercase()),
            secret: Password::new(random_hex(40)),
            // Has each character that a client could spoil by encoding it anew.
            token: Some(Token::new(format!("IQoJb3JpZ2luX2VjEXAMPLE//////////wEa+{}/def=ghi==", random_hex(32)))),
            expires: Some(self.now() + life),
            arn,
            denied,
        };
        if self.issued.len() == Self::ISSUED {
            self.issued.pop_front();
        }
        self.issued.push_back(key.clone());
        self.tell(Event::Credentials { access_key_id: key.id.clone(), to: key.arn.clone() });
        key
    }

    fn begin(&mut self, trouble: Option<Trouble>) {
        if trouble.as_ref().is_some_and(|trouble| trouble.fault == Fault::ExpiredToken) {
            let now = self.now();
            self.issued.iter_mut().for_each(|key| key.expires = Some(now));
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

    /// AWS's own clock.
    pub(super) fn now(&self) -> SystemTime {
        clock::unix_now() + if self.has(Fault::SkewedClock) { Fault::SKEW } else { Duration::ZERO }
    }

    /// Spends one of `most` in this second.
    ///
    /// # Errors
    /// `ClientLimitExceededException`.
    pub(super) fn spend(&mut self, what: &'static str, of: &str, most: usize) -> Result<(), Exception> {
        let rate = self.rates.entry((what, of.to_owned())).or_insert_with(|| Rate::of(most));
        if rate.allows(clock::now()) { Ok(()) } else { Err(Exception::limit("Rate exceeded")) }
    }

    pub(super) fn count(&mut self, path: &str) {
        if self.requests.len() < Self::PATHS || self.requests.contains_key(path) {
            *self.requests.entry(path.to_owned()).or_default() += 1;
        }
    }

    /// Lets go of frames that have waited for too long, and says when the next will have.
    pub(super) fn sweep(&mut self, now: Instant) -> Option<Instant> {
        let mut lost = Vec::new();
        for channel in &mut self.channels {
            for frame in channel.relay.sweep(now) {
                lost.push(frame.lost(&channel.settings.name));
            }
        }
        lost.into_iter().for_each(|event| self.tell(event));
        self.channels.iter().filter_map(|channel| channel.relay.next_sweep()).min()
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}
