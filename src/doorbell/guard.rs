//! Who may open a door: everything that is asked before a lock is touched (requirements S7 to S11).
//!
//! An [`Attempt`] passes four stages. Each is a type that only the stage before leads to, so that none can be left
//! out: `Wish` (understood) → `Order` (authentic and fresh) → `Admission` (no repetition, within the limits, counted)
//! → [`Permit`] (written down on the disk, and still fresh). There are no I/O and no clocks here: whoever asks says
//! what time it is. docs/unlock.md tells owners the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::ActionError;
use super::audit::Synced;
use crate::clock::Instant;
use crate::model::{DeviceId, DoorKind, LockAction, Mechanism};
use crate::proto::wire::hex;
use crate::secret::Password;

/// Somebody wants a door locked or opened.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub via: Via,
    /// When the wish reached this process. It is not acted on when it has grown old.
    pub received: Instant,
}

/// How the wish came.
#[derive(Debug, Clone)]
pub enum Via {
    /// A message on the door's own command topic, as it stood.
    Mqtt { payload: Bytes, retained: bool, dup: bool },
    /// A request that has passed the HTTP face's own guards; `who` goes into the audit log.
    Http { who: Arc<str>, action: LockAction },
}

/// The guard's word that one action may be carried out once. Nothing else makes one.
#[derive(Debug)]
pub struct Permit {
    action: LockAction,
    received: Instant,
}

impl Permit {
    pub fn action(&self) -> LockAction {
        self.action
    }

    /// Spends the permit. A device does so right before it touches the lock, since it may have been busy for longer
    /// than a wish to open a door lasts.
    ///
    /// # Errors
    /// `Refused` when the wish has grown old; the lock must then be left alone.
    pub fn redeem(self, now: Instant) -> Result<LockAction, ActionError> {
        still_fresh(self.received, now)?;
        Ok(self.action)
    }
}

/// Why an attempt is refused, in words for whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("retained commands are refused and erased; publish without the retain flag")]
    Retained,
    #[error("old commands may arrive in the first 2 s with the broker, so none is taken then; send it again")]
    Startup,
    #[error("it was delivered a second time and nobody knows how old it is; send a new one")]
    Redelivered,
    #[error("it had waited for more than 5 s; send it again")]
    TooOld,
    #[error("the payload must be {}", commands(*.0))]
    NotACommand(DoorKind),
    #[error(r#"the payload must be OPEN, UNLOCK or {{"cmd":"unlock","id":"…","ts":…}}"#)]
    NotAnOpening,
    #[error("OPEN is for latches, and this lock has none; send UNLOCK")]
    NoLatch,
    #[error("the opener of this door can open it and cannot lock it")]
    OnlyOpens,
    #[error("commands for this door must carry a `mac` made with its `unlock_secret`")]
    NotSigned,
    #[error("the `mac` is not the one that `unlock_secret` gives for this command at this door")]
    WrongMac,
    #[error("it carries a `mac`, but this door has no `unlock_secret` to hold it against; configure one")]
    NoSecret,
    #[error("`ts` (in whole seconds) is more than 10 s off the clock of this machine; compare the two clocks")]
    WrongTime,
    #[error("`ts` is older than commands that are no longer remembered, because this machine's clock was set back")]
    Forgotten,
    #[error("a command with this `id` was accepted before; give each one an `id` of its own")]
    UsedId,
    #[error("the same command was accepted within the last 3 s and is carried out once")]
    Repeated,
    #[error("the door was opened 3 times within a minute; wait until the minute is over")]
    ThreeAMinute,
    #[error("the door was opened 20 times within an hour; wait until the hour is over")]
    TwentyAnHour,
}

fn commands(kind: DoorKind) -> String {
    let [close, open] = [LockAction::Lock, LockAction::Unlock].map(|action| kind.command(action));
    let (plain_close, plain_open) = (close.to_ascii_uppercase(), open.to_ascii_uppercase());
    format!(r#"{plain_close}, {plain_open} or {{"cmd":"{open}","id":"…","ts":…}}"#)
}

impl Refusal {
    fn not_a_command(mechanism: &Mechanism) -> Self {
        match mechanism {
            Mechanism::Lock(_) | Mechanism::Garage(_) => Self::NotACommand(mechanism.kind()),
            Mechanism::Opener(_) => Self::NotAnOpening,
        }
    }
}

impl From<Refusal> for ActionError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { why: refusal.to_string() }
    }
}

/// What an attempt asks for, as yet believed by nobody.
#[derive(Debug)]
pub struct Wish {
    action: LockAction,
    stamp: Option<Stamp>,
    mac: Option<String>,
}

/// What makes one command different from every other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    /// 1 to 64 visible ASCII characters.
    id: String,
    /// When it was made, in seconds since 1970.
    ts: u64,
}

impl Wish {
    /// Anything longer than a JSON command with the longest `id` is none.
    const LONGEST: usize = 1_024;
    const LONGEST_ID: usize = 64;

    /// What `via` asks of a door with this mechanism: `LOCK` or `UNLOCK` (`CLOSE` or `OPEN`), exactly so, or one JSON
    /// object without a key that is not known. To an opener, `OPEN` says the same as `UNLOCK`.
    pub fn read(mechanism: &Mechanism, via: &Via) -> Result<Self, Refusal> {
        use Mechanism::{Garage, Lock, Opener};
        let plain = |action| Ok(Self { action, stamp: None, mac: None });
        let payload = match via {
            Via::Http { action, .. } => return plain(*action),
            Via::Mqtt { payload, .. } => &payload[..],
        };
        match (mechanism, payload) {
            (Lock(_) | Opener(_), b"LOCK") | (Garage(_), b"CLOSE") => plain(LockAction::Lock),
            (Lock(_) | Opener(_), b"UNLOCK") | (Garage(_) | Opener(_), b"OPEN") => plain(LockAction::Unlock),
            (Lock(_), b"OPEN") => Err(Refusal::NoLatch),
            (_, json) if json.starts_with(b"{") && json.len() <= Self::LONGEST => {
                Self::read_json(mechanism.kind(), json).ok_or_else(|| Refusal::not_a_command(mechanism))
            }
            _ => Err(Refusal::not_a_command(mechanism)),
        }
    }

    fn read_json(kind: DoorKind, json: &[u8]) -> Option<Self> {
        /// The same key twice is an error, too.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Json {
            cmd: String,
            id: String,
            ts: u64,
            mac: Option<String>,
        }
        let Json { cmd, id, ts, mac } = serde_json::from_slice(json).ok()?;
        let action = [LockAction::Lock, LockAction::Unlock].into_iter().find(|action| kind.command(*action) == cmd);
        let usable = (1..=Self::LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        action.filter(|_| usable).map(|action| Self { action, stamp: Some(Stamp { id, ts }), mac })
    }

    pub fn action(&self) -> LockAction {
        self.action
    }

    /// The sender's own `id`.
    pub fn id(&self) -> Option<&str> {
        self.stamp.as_ref().map(|stamp| &*stamp.id)
    }
}

/// A wish of somebody who may have it.
#[derive(Debug)]
pub(super) struct Order {
    action: LockAction,
    received: Instant,
    stamp: Option<Stamp>,
}

/// An order that the guard has counted as carried out. It must be written down before anything happens.
#[derive(Debug)]
pub(super) struct Admission {
    action: LockAction,
    received: Instant,
    stamped: bool,
}

impl Admission {
    /// Whether the guard's memory has grown by it, which must be on the disk as well.
    pub(super) fn is_remembered(&self) -> bool {
        self.stamped
    }

    /// How long the wish lasts.
    pub(super) fn lasts_until(&self) -> Instant {
        self.received + FRESH_FOR
    }

    /// The permit, once the audit log has the order on the disk. Writing may have taken long.
    pub(super) fn permit(self, _on_disk: Synced, now: Instant) -> Result<Permit, Refusal> {
        still_fresh(self.received, now)?;
        Ok(Permit { action: self.action, received: self.received })
    }
}

/// A door left open by an old command is worse than one that must be asked again (S9).
const FRESH_FOR: Duration = Duration::from_secs(5);

fn still_fresh(received: Instant, now: Instant) -> Result<(), Refusal> {
    if now.saturating_duration_since(received) > FRESH_FOR { Err(Refusal::TooOld) } else { Ok(()) }
}

/// The guard of one door.
pub(super) struct Guard {
    /// Whose door it is, and which of its doors: signatures are for this one alone.
    doorbell: DeviceId,
    mechanism: Mechanism,
    secret: Option<Password>,
    /// When the command topic was last subscribed to.
    subscribed: Option<Instant>,
    /// The last order that was admitted.
    last: Option<(LockAction, Instant)>,
    /// When the door was opened, oldest first, no more than the largest limit asks for.
    unlocks: Vec<Instant>,
    memory: Memory,
}

impl Guard {
    /// What a broker may deliver late comes at once after subscribing.
    const QUIET: Duration = Duration::from_secs(2);
    const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(10);
    const REPEATED_WITHIN: Duration = Duration::from_secs(3);
    /// The shortest first.
    const LIMITS: [(usize, Duration, Refusal); 2] =
        [(3, Duration::from_secs(60), Refusal::ThreeAMinute), (20, Duration::from_secs(3_600), Refusal::TwentyAnHour)];

    /// `memory` is what an earlier run has kept of this door.
    pub(super) fn new(doorbell: DeviceId, mechanism: Mechanism, secret: Option<Password>, memory: Memory) -> Self {
        Self { doorbell, mechanism, secret, subscribed: None, last: None, unlocks: Vec::new(), memory }
    }

    pub(super) fn subscribed(&mut self, now: Instant) {
        self.subscribed = Some(now);
    }

    /// What must be on the disk before an admitted order is carried out.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Whether `wish`, which came with `attempt`, is from somebody who may have it, and wants it now. Nothing is
    /// counted or remembered yet, so whoever is refused here uses up nobody's limits.
    pub(super) fn check(
        &self,
        wish: Wish,
        attempt: &Attempt,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Order, Refusal> {
        let received = attempt.received;
        if let Via::Mqtt { retained, dup, .. } = attempt.via {
            self.check_delivery(retained, dup && wish.stamp.is_none(), received)?;
            self.check_mac(&wish)?;
        }
        if let Some(stamp) = &wish.stamp {
            check_time(stamp.ts, wall)?;
        }
        still_fresh(received, now)?;
        match (&self.mechanism, wish.action) {
            (Mechanism::Opener(_), LockAction::Lock) => Err(Refusal::OnlyOpens),
            (_, action) => Ok(Order { action, received, stamp: wish.stamp }),
        }
    }

    /// `redelivered`: the broker sends it once more, and it says of itself neither which nor how old it is.
    fn check_delivery(&self, retained: bool, redelivered: bool, received: Instant) -> Result<(), Refusal> {
        if retained {
            return Err(Refusal::Retained);
        }
        if self.subscribed.is_none_or(|subscribed| received < subscribed + Self::QUIET) {
            return Err(Refusal::Startup);
        }
        if redelivered { Err(Refusal::Redelivered) } else { Ok(()) }
    }

    fn check_mac(&self, wish: &Wish) -> Result<(), Refusal> {
        match (&self.secret, &wish.stamp, &wish.mac) {
            (None, _, None) => Ok(()),
            // Whoever signs believes that signatures are asked for.
            (None, _, Some(_)) => Err(Refusal::NoSecret),
            (Some(secret), Some(stamp), Some(mac)) => {
                let expected = self.mac_of(secret, wish.action, stamp).ok_or(Refusal::WrongMac)?;
                if bool::from(expected.as_bytes().ct_eq(mac.as_bytes())) { Ok(()) } else { Err(Refusal::WrongMac) }
            }
            (Some(_), _, _) => Err(Refusal::NotSigned),
        }
    }

    /// HMAC-SHA256 under `secret` as 64 lower-case hex digits, over five lines without one at the end:
    /// `doorstep lock 1`, the doorbell's id, `lock` or `unlock`, `id`, `ts`. At a garage door the first is
    /// `doorstep garage 1` and the third `close` or `open`; an opener's are a lock's. No part can hold a line break,
    /// so that no two commands have the same text.
    fn mac_of(&self, secret: &Password, action: LockAction, Stamp { id, ts }: &Stamp) -> Option<String> {
        let (doorbell, kind) = (&self.doorbell, self.mechanism.kind());
        let text = format!("doorstep {} 1\n{doorbell}\n{}\n{id}\n{ts}", kind.word(), kind.command(action));
        // HMAC takes keys of any length, so there always is one.
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
        mac.update(text.as_bytes());
        Some(hex(&mac.finalize().into_bytes()))
    }

    /// Lets an order pass once, and counts it from now on.
    pub(super) fn admit(&mut self, order: Order, now: Instant, wall: SystemTime) -> Result<Admission, Refusal> {
        if self.is_repetition(&order) {
            return Err(Refusal::Repeated);
        }
        if order.action == LockAction::Unlock
            && let Some((refusal, _)) = self.limit(now)
        {
            return Err(refusal);
        }
        let stamped = order.stamp.is_some();
        if let Some(stamp) = order.stamp {
            self.memory.take(stamp, wall)?;
        }
        self.last = Some((order.action, now));
        if order.action == LockAction::Unlock {
            self.unlocks.push(now);
            let kept = Self::LIMITS.map(|(most, ..)| most).into_iter().max().unwrap_or_default();
            self.unlocks.drain(..self.unlocks.len().saturating_sub(kept));
        }
        Ok(Admission { action: order.action, received: order.received, stamped })
    }

    /// Counts from when an order came, not from when its turn came: a copy may have waited behind the original.
    /// A second UNLOCK is one although the door was locked in between. A second LOCK is not if the door was unlocked
    /// in between: better once too often.
    fn is_repetition(&self, order: &Order) -> bool {
        let same = match order.action {
            LockAction::Unlock => self.unlocks.last().copied(),
            LockAction::Lock => self.last.filter(|(action, _)| *action == LockAction::Lock).map(|(_, at)| at),
        };
        same.is_some_and(|accepted| order.received <= accepted + Self::REPEATED_WITHIN)
    }

    /// Why unlocking is refused for now, and until when.
    pub(super) fn limit(&self, now: Instant) -> Option<(Refusal, Instant)> {
        let reached = Self::LIMITS.iter().filter_map(|(most, within, refusal)| {
            let oldest = self.unlocks.len().checked_sub(*most).and_then(|at| self.unlocks.get(at))?;
            Some((*refusal, *oldest + *within)).filter(|(_, until)| *until > now)
        });
        reached.max_by_key(|(_, until)| *until)
    }
}

fn check_time(ts: u64, wall: SystemTime) -> Result<(), Refusal> {
    let sent = UNIX_EPOCH.checked_add(Duration::from_secs(ts)).ok_or(Refusal::WrongTime)?;
    let apart = wall.duration_since(sent).unwrap_or_else(|ahead| ahead.duration());
    if apart > Guard::CLOCKS_DIFFER_BY { Err(Refusal::WrongTime) } else { Ok(()) }
}

/// The ids of accepted commands, which must not be accepted again. On the disk between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Each with its `ts`.
    ids: BTreeMap<String, u64>,
    /// The newest `ts` of those that were forgotten. Whatever is not newer might be one of them: without this, a
    /// clock that is set back would let old commands in again.
    forgotten: u64,
}

impl Memory {
    /// Far longer than a `ts` is taken for fresh.
    const REMEMBERED_FOR: Duration = Duration::from_secs(600);

    fn take(&mut self, stamp: Stamp, wall: SystemTime) -> Result<(), Refusal> {
        let now = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let old = self.ids.extract_if(.., |_, ts| ts.saturating_add(Self::REMEMBERED_FOR.as_secs()) < now);
        self.forgotten = old.map(|(_, ts)| ts).fold(self.forgotten, u64::max);
        if stamp.ts <= self.forgotten {
            return Err(Refusal::Forgotten);
        }
        if self.ids.contains_key(&stamp.id) {
            return Err(Refusal::UsedId);
        }
        self.ids.insert(stamp.id, stamp.ts);
        Ok(())
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
