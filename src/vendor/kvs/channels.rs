//! The signaling channels of an account, each of which is a doorbell (kvs reference §2).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::VENDOR;
use super::models::MODEL;
use crate::aws::{Channel, Described};
use crate::config::{DoorbellOverride, IotEndpoint};
use crate::model::{Capability, DeviceId, DeviceInfo, Found, Role};
use crate::proto::wire::hex;

/// What is known of an account now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    channels: BTreeMap<DeviceId, Listed>,
    pub(super) rings: Rings,
}

/// Where rings are heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rings {
    /// Not found out yet; as far as is known they are.
    Unknown,
    At(IotEndpoint),
    /// Nowhere, for all that AWS tells; `why` in whole sentences.
    Nowhere {
        why: String,
    },
}

/// A channel as the owner or AWS names it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listed {
    /// `[a-zA-Z0-9_.-]{1,256}`
    pub(super) name: String,
    pub(super) standing: Standing,
    /// As AWS tells of it, where it does.
    pub(super) described: Option<Described>,
}

/// Whether it can be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Callable(Channel),
    /// Not now, or not at all.
    Not(Obstacle),
}

/// Why a channel cannot be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    /// Whole sentences.
    pub(super) why: String,
    /// Whether there is such a channel, which may ring all the same.
    pub(super) may_ring: bool,
}

/// What is kept for the next start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    channels: Vec<KeptChannel>,
    rings: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptChannel {
    name: String,
    arn: String,
}

impl Known {
    /// Of which nothing is known yet but where the owner says that it rings.
    pub(super) fn of(endpoint: Option<&IotEndpoint>) -> Self {
        let rings = endpoint.map_or(Rings::Unknown, |endpoint| Rings::At(endpoint.clone()));
        Self { channels: BTreeMap::new(), rings }
    }

    /// Begins with what an earlier run knew.
    pub(super) fn recall(&mut self, kept: Kept) {
        let listed = kept.channels.into_iter().map(|KeptChannel { name, arn }| Listed {
            standing: Standing::Callable(Channel { name: name.clone(), arn }),
            name,
            described: None,
        });
        self.learn(listed.collect());
        if self.rings == Rings::Unknown && !kept.rings {
            self.rings = Rings::Nowhere { why: "AWS has not been asked yet where rings are heard.".to_owned() };
        }
    }

    /// Takes over a complete listing. Whether anything is new.
    pub(super) fn learn(&mut self, listed: Vec<Listed>) -> bool {
        let channels = listed.into_iter().map(|listed| (id_of(&listed.name), listed)).collect();
        let before = std::mem::replace(&mut self.channels, channels);
        before != self.channels
    }

    /// Which one to call.
    pub(super) fn channel(&self, id: &DeviceId) -> Result<Channel, Obstacle> {
        match self.channels.get(id).map(|listed| &listed.standing) {
            Some(Standing::Callable(channel)) => Ok(channel.clone()),
            Some(Standing::Not(obstacle)) => Err(obstacle.clone()),
            None => Err(Obstacle {
                why: "AWS does not list its channel any more. If it should be there, make it anew.".to_owned(),
                may_ring: false,
            }),
        }
    }

    /// What AWS says of it.
    pub(super) fn record(&self, id: &DeviceId) -> Option<Value> {
        let mut record = self.channels.get(id)?.record();
        record["rings"] = match &self.rings {
            Rings::Unknown => "not known yet".into(),
            Rings::At(_) => "over AWS IoT".into(),
            Rings::Nowhere { why } => why.as_str().into(),
        };
        Some(record)
    }

    /// Whether AWS may soon tell otherwise of one.
    pub(super) fn is_changing(&self) -> bool {
        self.channels.values().any(Listed::is_changing)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Of every channel, in order.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.channels.values().map(|listed| listed.name.as_str()).collect()
    }

    pub(super) fn found(&self, wishes: &[DoorbellOverride]) -> Vec<Found> {
        let rings = self.rings.may_be_heard();
        let wish = |id: &DeviceId| wishes.iter().find(|wish| wish.id == *id);
        self.channels.iter().map(|(id, listed)| listed.found(id.clone(), rings, wish(id))).collect()
    }

    pub(super) fn to_keep(&self) -> Kept {
        let callable = self.channels.values().filter_map(|listed| match &listed.standing {
            Standing::Callable(channel) => Some(KeptChannel { name: channel.name.clone(), arn: channel.arn.clone() }),
            Standing::Not(_) => None,
        });
        Kept { channels: callable.collect(), rings: self.rings.may_be_heard() }
    }
}

impl Rings {
    pub(super) fn may_be_heard(&self) -> bool {
        !matches!(self, Self::Nowhere { .. })
    }
}

impl Listed {
    pub(super) fn of(described: Described) -> Self {
        let channel = described.channel.clone();
        let why = match (described.single_master, described.active) {
            (true, true) => None,
            (false, _) => Some(
                "Its channel is of the type FULL_MESH, in which there is no doorbell to call. Make a channel of the \
                 type SINGLE_MASTER for it."
                    .to_owned(),
            ),
            (true, false) => Some(
                "AWS says that its channel is being made, changed or deleted, and only an ACTIVE one can be called. It \
                 is looked at again in a minute."
                    .to_owned(),
            ),
        };
        let standing = match why {
            None => Standing::Callable(channel.clone()),
            Some(why) => Standing::Not(Obstacle { why, may_ring: true }),
        };
        Self { name: channel.name, standing, described: Some(described) }
    }

    /// One that the owner has named, perhaps by its ARN, and that AWS does not describe.
    pub(super) fn undescribed(name_or_arn: &str, obstacle: Obstacle) -> Self {
        Self { name: Channel::name_in(name_or_arn).to_owned(), standing: Standing::Not(obstacle), described: None }
    }

    /// Nothing secret, and not whose account it is.
    fn record(&self) -> Value {
        let part = match &self.standing {
            Standing::Callable(channel) => channel.arn.split_once(":channel/").map(|(_, part)| part),
            Standing::Not(_) => None,
        };
        let mut record = json!({ "channel": part.unwrap_or(&self.name) });
        if let Some(described) = &self.described {
            record["active"] = described.active.into();
            record["single_master"] = described.single_master.into();
            record["message_ttl_s"] = described.message_ttl.map(|ttl| ttl.as_secs()).into();
        }
        record
    }

    fn is_changing(&self) -> bool {
        self.described.as_ref().is_some_and(|described| described.single_master && !described.active)
    }

    fn found(&self, id: DeviceId, rings: bool, wish: Option<&DoorbellOverride>) -> Found {
        let has_button = wish.is_some_and(|wish| wish.ring_topic.is_some());
        let obstacle = match &self.standing {
            Standing::Callable(_) => None,
            Standing::Not(obstacle) => Some(obstacle),
        };
        let rings = rings && obstacle.is_none_or(|obstacle| obstacle.may_ring);
        // Whether its program opens a door shows only when it is told to.
        let capabilities = [
            (Capability::Ring, rings || has_button),
            (Capability::Stream, true),
            (Capability::Talk, true),
            (Capability::Unlock, true),
        ];
        let info = DeviceInfo {
            id,
            name: self.name.clone(),
            vendor: VENDOR,
            model: MODEL.to_owned(),
            firmware: None,
            capabilities: capabilities.into_iter().filter_map(|(can, has)| has.then_some(can)).collect(),
        };
        let obstacle = obstacle.map(|obstacle| obstacle.why.clone());
        Found { info, role: Role::Doorbell, address: None, transport: Some("webrtc"), obstacle, talk_obstacle: None }
    }
}

/// `kvs_<name>` for a short name of `[a-z0-9-]` only, its `-` as `_`. Every other one gets six hexadecimal digits of its
/// hash behind it, since two of them may be spelled alike in an id: `Front.Door` is `kvs_front_door_8f2c1a`.
pub(super) fn id_of(name: &str) -> DeviceId {
    let hash = hex(Sha256::digest(name).get(..HASHED / 2).unwrap_or_default());
    let spelled = DeviceId::from_hardware(VENDOR, name);
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let short = name.len() <= LONGEST - PREFIX;
    if plain && short && !looks_hashed(name) {
        return spelled;
    }
    let cut = spelled.as_str().get(PREFIX..).unwrap_or_default();
    let cut = cut.get(..LONGEST - PREFIX - 1 - HASHED).unwrap_or(cut);
    DeviceId::from_hardware(VENDOR, &format!("{cut}_{hash}"))
}

/// Of an id.
const LONGEST: usize = 64;
/// `kvs_`
const PREFIX: usize = VENDOR.len() + 1;
const HASHED: usize = 6;

/// Whether a plain name ends as only ids of others do.
fn looks_hashed(name: &str) -> bool {
    let ending = name.rsplit_once('-').map(|(_, ending)| ending);
    ending.is_some_and(|ending| ending.len() == HASHED && ending.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_is_its_id() {
        assert_eq!(id_of("doorbell-channel").as_str(), "kvs_doorbell_channel");
        assert_eq!(id_of("front2").as_str(), "kvs_front2");
    }

    #[test]
    fn no_two_names_have_one_id() {
        let long = ["x".repeat(61), "x".repeat(62), "x".repeat(256)];
        let names = ["front-door", "front_door", "front.door", "Front-Door", "FRONT-DOOR", "front--door", "front"];
        let mut all: Vec<String> = names.iter().map(|name| (*name).to_owned()).chain(long).collect();
        // Spelled as another one's id is.
        all.push(id_of("Front-Door").as_str().trim_start_matches("kvs_").replace('_', "-"));
        let ids: BTreeSet<DeviceId> = all.iter().map(|name| id_of(name)).collect();
        assert_eq!(ids.len(), all.len(), "{ids:?}");
        assert!(ids.iter().all(|id| DeviceId::parse(id.as_str()).is_ok()));
    }
}
