//! Which messages of AWS IoT are rings, and whose (kvs reference §6). No I/O, and whoever asks says what time it is.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use crate::clock::Instant;
use crate::model;
use crate::proto::kvs::ring;

/// What stands for a channel's name in the configuration of a topic.
const CHANNEL: &str = "{channel}";

/// Topics on which doorbells ring, as the owner writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topics(Vec<String>);

impl Topics {
    pub(super) fn new(templates: &[String]) -> Self {
        Self(templates.to_vec())
    }

    /// What is to be subscribed to, for channels of these names.
    pub(super) fn filters(&self, channels: &BTreeSet<&str>) -> Vec<String> {
        let filled = self.0.iter().flat_map(|template| match template.contains(CHANNEL) {
            true => channels.iter().map(|channel| template.replace(CHANNEL, channel)).collect(),
            false => vec![template.clone()],
        });
        // Each once, however many templates give it.
        filled.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whose ring it is: the topic says so where the owner has written `{channel}`, else the payload, else a level
    /// that is a channel's name, and a ring without a name is the only channel's.
    fn channel_of<'a>(&self, topic: &str, named: Option<&str>, channels: &BTreeSet<&'a str>) -> Option<&'a str> {
        let known = |name: &str| channels.get(name).copied();
        if let Some(name) = self.0.iter().find_map(|template| name_in(template, topic)) {
            return known(name);
        }
        if let Some(name) = named {
            return known(name);
        }
        let level = topic.split('/').find_map(known);
        level.or_else(|| channels.first().copied().filter(|_| channels.len() == 1))
    }
}

/// What stands in `topic` in the place of `{channel}`; `None` when it is no topic of this template.
fn name_in<'a>(template: &str, topic: &'a str) -> Option<&'a str> {
    let mut levels = topic.split('/');
    let mut name = None;
    for wanted in template.split('/') {
        if wanted == "#" {
            return name;
        }
        let level = levels.next()?;
        match wanted.split_once(CHANNEL) {
            Some((before, after)) => {
                let found = level.strip_prefix(before)?.strip_suffix(after)?;
                name = name.or(Some(found));
            }
            None if wanted == "+" || wanted == level => {}
            None => return None,
        }
    }
    name.filter(|_| levels.next().is_none())
}

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) retained: bool,
    /// It may have been delivered before.
    pub(super) dup: bool,
}

/// Now, by both clocks; the second one as AWS has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) wall: SystemTime,
}

/// Why a message makes nothing ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ignored {
    #[error("it was retained: nobody knows how old it is")]
    Retained,
    #[error("it is {0}")]
    NoRing(#[from] ring::NoRing),
    #[error("it does not say whose ring it is, or names no channel of this account")]
    Nobodys,
    #[error("it was told before")]
    Repeated,
    #[error("the doorbell has just rung")]
    Bounced,
    #[error("it waited at AWS while there was no connection, and is over")]
    Over,
}

/// Hears rings, each once.
#[derive(Debug)]
pub(super) struct Hearing {
    topics: Topics,
    /// The last ring of each channel.
    last: HashMap<String, Instant>,
    /// Of each channel, which times were told lately. Newest last.
    told: HashMap<String, Vec<(u64, Instant)>>,
    connected: Option<Instant>,
}

impl Hearing {
    /// AmebaPro2 does not debounce its button (§6).
    const ONE_RING: Duration = Duration::from_secs(1);
    /// QoS 1 delivers again what was not acknowledged.
    const REDELIVERED: Duration = Duration::from_secs(5);
    /// What says of itself that it is delivered again may come as late as a session is kept.
    const SESSION: Duration = Duration::from_secs(3_600);
    /// What has waited at AWS comes right behind the connection.
    const ARREARS: Duration = Duration::from_secs(10);
    /// A ring that is older than this is over. Doorbells' clocks that are off by more are not believed.
    const OVER: Duration = Duration::from_secs(60);
    /// Of one channel, in a session.
    const MOST_TOLD: usize = 64;

    pub(super) fn new(topics: Topics) -> Self {
        Self { topics, last: HashMap::new(), told: HashMap::new(), connected: None }
    }

    pub(super) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// There is a connection, or another one.
    pub(super) fn connected(&mut self, at: Instant) {
        self.connected = Some(at);
    }

    /// The name of the channel that rings, and the ring.
    ///
    /// # Errors
    /// [`Ignored`].
    pub(super) fn hear<'a>(
        &mut self,
        message: Message<'_>,
        channels: &BTreeSet<&'a str>,
        now: Now,
    ) -> Result<(&'a str, model::Ring), Ignored> {
        if message.retained {
            return Err(Ignored::Retained);
        }
        let ring = ring::parse(message.payload)?;
        let channel = self.topics.channel_of(message.topic, ring.channel.as_deref(), channels);
        let channel = channel.ok_or(Ignored::Nobodys)?;
        match ring.timestamp {
            Some(timestamp) => {
                self.is_first(channel, timestamp, message.dup, now.at)?;
                self.is_fresh(timestamp, now)?;
            }
            // Nothing tells one press from the other; what is delivered again is the one that was heard lately.
            None if message.dup && self.has_rung_within(channel, Self::OVER, now.at) => return Err(Ignored::Repeated),
            None => {}
        }
        let bounces = self.has_rung_within(channel, Self::ONE_RING, now.at);
        self.last.insert(channel.to_owned(), now.at);
        if bounces {
            return Err(Ignored::Bounced);
        }
        Ok((channel, told(channel, ring.timestamp, now.wall)))
    }

    fn has_rung_within(&self, channel: &str, within: Duration, at: Instant) -> bool {
        self.last.get(channel).is_some_and(|last| at.saturating_duration_since(*last) < within)
    }

    fn is_first(&mut self, channel: &str, timestamp: u64, dup: bool, at: Instant) -> Result<(), Ignored> {
        let told = self.told.entry(channel.to_owned()).or_default();
        told.retain(|(_, when)| at.saturating_duration_since(*when) < Self::SESSION);
        let within = if dup { Self::SESSION } else { Self::REDELIVERED };
        let is_known =
            |(known, when): &(u64, Instant)| *known == timestamp && at.saturating_duration_since(*when) < within;
        if told.iter().any(is_known) {
            return Err(Ignored::Repeated);
        }
        if told.len() >= Self::MOST_TOLD {
            told.remove(0);
        }
        told.push((timestamp, at));
        Ok(())
    }

    /// A doorbell's clock may be wrong: only what comes with a new connection is held against it.
    fn is_fresh(&self, timestamp: u64, now: Now) -> Result<(), Ignored> {
        let is_arrears =
            self.connected.is_some_and(|connected| now.at.saturating_duration_since(connected) < Self::ARREARS);
        let age = age(timestamp, now.wall).unwrap_or_default();
        let is_over = is_arrears && age > Self::OVER && age < Self::SESSION + Self::OVER;
        if is_over { Err(Ignored::Over) } else { Ok(()) }
    }
}

/// How long ago that was, if it was. A clock that is a little ahead of AWS's is as good as right.
fn age(timestamp: u64, wall: SystemTime) -> Option<Duration> {
    const AHEAD: Duration = Duration::from_secs(2);
    let pressed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(timestamp))?;
    match wall.duration_since(pressed) {
        Ok(age) => Some(age),
        Err(future) => (future.duration() <= AHEAD).then_some(Duration::ZERO),
    }
}

/// The doorbell's time is believed when it makes sense; it counts whole seconds. The id is another for every ring, as a
/// clock that stands still must not silence a doorbell.
fn told(channel: &str, timestamp: Option<u64>, wall: SystemTime) -> model::Ring {
    let latency = timestamp.and_then(|timestamp| age(timestamp, wall)).filter(|age| *age < Hearing::OVER);
    let unix_ms = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    model::Ring {
        at: latency.map_or(wall, |latency| wall - latency),
        event_id: format!("{channel}_{unix_ms}"),
        source: "push",
        latency,
    }
}

#[cfg(test)]
#[path = "rings_tests.rs"]
mod tests;
