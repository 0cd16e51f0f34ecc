//! What a virtual P2P server is made of.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::quirk::Quirk;
use crate::proto::gwell::token::AccessToken;
use crate::sim::dice::Dice;
use crate::sim::made_up::text;

/// A camera that may log in.
#[derive(Debug, Clone)]
pub struct CameraAccount {
    /// As terminals find it in their lists: `GW_<model>_<MAC>`.
    pub name: String,
    /// What the camera logs in with. Its access id is the TID.
    pub token: AccessToken,
    /// The access id of whose list it is in.
    pub owner: u64,
    /// It sleeps between calls: WakeUp goes before each.
    pub sleeps: bool,
}

impl CameraAccount {
    pub fn tid(&self) -> u64 {
        self.token.access_id()
    }

    /// A doorbell of `owner` whose TID and token follow from the dice.
    pub(super) fn generate(owner: u64, dice: &mut Dice) -> Self {
        let mac = text(dice, 12, b"0123456789ABCDEF");
        Self { name: format!("GW_DBD_{mac}"), token: token(Vec::new(), dice), owner, sleeps: false }
    }
}

/// Which relays are named to the two sides of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relays {
    pub tcp: bool,
    pub udp: bool,
}

/// When a session is dropped. What is not known of the vendor's servers is said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many MTP frames at the P2P port are overlooked. The vendor's servers take about three minutes to lose
    /// patience (seed, "Stream Stability Fixes"); none are overlooked here.
    pub mtp_frames: u32,
    /// Heartbeats may not come more often. The SDK's interval is 35 to 50 s.
    pub heartbeat_least: Duration,
    /// One must come in this time. Two may be lost in a row at 40 s.
    pub heartbeat_most: Duration,
    /// During a call, one 0xCA must come in this time; the SDK's interval is 10 s.
    pub keepalive: Duration,
    /// For how long after CALLING a terminal may probe: heartbeats and 0xCA of other kinds are fine (§6).
    pub probing: Duration,
    /// Sessions of one account that begin closer to each other get each other's frames in place of their own. The
    /// authors of the seed keep 15 s between them; zero is for a server that confuses nobody.
    pub min_stagger: Duration,
    /// A camera's session is over when nothing was heard for so long; it beats every 20 s.
    pub camera_silence: Duration,
    /// A relay forgets a pair that was silent for so long.
    pub relay_silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mtp_frames: 0,
            heartbeat_least: Duration::from_secs(20),
            heartbeat_most: Duration::from_secs(125),
            keepalive: Duration::from_secs(45),
            probing: Duration::from_secs(75),
            min_stagger: Duration::ZERO,
            camera_silence: Duration::from_secs(90),
            relay_silence: Duration::from_secs(120),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// The P2P port; 0 for any free one. The list server and the relays take free ports of the same address.
    pub listen: SocketAddr,
    /// What terminals and cameras are told to send to in place of `listen`'s address, for a server behind one.
    pub advertise: Option<Ipv4Addr>,
    /// Other P2P servers that the list server names, before this one.
    pub listed_before: Vec<SocketAddr>,
    /// Accounts. Several tokens of one access id are all good.
    pub terminals: Vec<AccessToken>,
    pub cameras: Vec<CameraAccount>,
    pub relays: Relays,
    pub limits: Limits,
    /// How it misbehaves from the start.
    pub quirks: Vec<Quirk>,
    /// What the ids of its sessions follow from; `None` for any.
    pub seed: Option<u64>,
}

impl Settings {
    /// One account with one camera on any free loopback port, without relays; its tokens follow from the seed.
    pub fn generate(seed: u64) -> Self {
        Self::with_cameras(seed, 1)
    }

    /// The same with so many cameras.
    pub fn with_cameras(seed: u64, cameras: usize) -> Self {
        let mut dice = Dice::new(seed);
        let account = token(dice.bytes::<80>().to_vec(), &mut dice);
        let owner = account.access_id();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: None,
            listed_before: Vec::new(),
            terminals: vec![account],
            cameras: (0..cameras).map(|_| CameraAccount::generate(owner, &mut dice)).collect(),
            relays: Relays::default(),
            limits: Limits::default(),
            quirks: Vec::new(),
            seed: None,
        }
    }
}

fn token(extra: Vec<u8>, dice: &mut Dice) -> AccessToken {
    // Zero is nobody's id.
    let access_id = u64::from_le_bytes(dice.bytes()).max(1);
    AccessToken::of_parts(access_id, dice.bytes(), extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_cameras_follow_from_the_seed_and_differ_from_each_other() {
        let settings = Settings::with_cameras(1, 3);
        let again = Settings::with_cameras(1, 3);
        assert!(settings.terminals == again.terminals && settings.terminals != Settings::generate(2).terminals);
        let mut tids: Vec<u64> = settings.cameras.iter().map(CameraAccount::tid).collect();
        assert_eq!(tids, again.cameras.iter().map(CameraAccount::tid).collect::<Vec<_>>());
        tids.push(settings.terminals[0].access_id());
        tids.sort_unstable();
        tids.dedup();
        assert_eq!(tids.len(), 4, "an id is used twice");
    }
}
