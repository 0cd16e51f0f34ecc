//! Patience with those who guess at the token (reliability.md S6).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Instant;

/// Wrong tokens that one address may send within `WINDOW`.
const FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// The first refusal of an address lasts this long, each further one twice as long as the one before.
const FIRST_BLOCK: Duration = Duration::from_secs(60);
const LONGEST_BLOCK: Duration = Duration::from_secs(15 * 60);
/// An address that was quiet for so long starts anew.
const FORGET: Duration = Duration::from_secs(60 * 60);
/// Addresses remembered; the one that was quiet longest makes room.
const ADDRESSES: usize = 1024;

/// What each address has tried.
#[derive(Default)]
pub(super) struct Patience(Mutex<HashMap<IpAddr, Attempts>>);

#[derive(Clone, Copy)]
struct Attempts {
    failures: u32,
    since: Instant,
    blocks: u32,
    blocked_until: Instant,
    last: Instant,
}

impl Patience {
    /// How long this address still has to wait. Asked before its token is looked at, so that a guess made while
    /// blocked is answered without being tried.
    pub(super) fn wait(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.lock().get(&household(peer))?.blocked_until;
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    pub(super) fn failed(&self, peer: IpAddr, now: Instant) {
        let (peer, mut attempts) = (household(peer), self.lock());
        make_room(&mut attempts, peer, now);
        attempts.entry(peer).or_insert_with(|| Attempts::new(now)).fail(now);
    }

    pub(super) fn succeeded(&self, peer: IpAddr) {
        self.lock().remove(&household(peer));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Attempts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempts {
    fn new(now: Instant) -> Self {
        Self { failures: 0, since: now, blocks: 0, blocked_until: now, last: now }
    }

    fn fail(&mut self, now: Instant) {
        if now - self.last > FORGET {
            *self = Self::new(now);
        }
        if now - self.since > WINDOW {
            (self.failures, self.since) = (0, now);
        }
        self.last = now;
        self.failures += 1;
        if self.failures == FAILURES {
            let block = FIRST_BLOCK * (1 << self.blocks.min(8));
            self.blocked_until = now + block.min(LONGEST_BLOCK);
            self.blocks += 1;
            self.failures = 0;
        }
    }
}

/// An IPv6 host owns a /64 and could guess from all of it; it counts as one address.
fn household(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

fn make_room(attempts: &mut HashMap<IpAddr, Attempts>, peer: IpAddr, now: Instant) {
    if attempts.len() < ADDRESSES || attempts.contains_key(&peer) {
        return;
    }
    attempts.retain(|_, a| now - a.last <= FORGET);
    let quietest = attempts.iter().min_by_key(|(_, a)| a.last).map(|(peer, _)| *peer);
    if let Some(quietest) = quietest.filter(|_| attempts.len() >= ADDRESSES) {
        attempts.remove(&quietest);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::clock;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2));

    fn blocked_for(patience: &Patience, peer: IpAddr, now: Instant) -> Duration {
        for _ in 0..FAILURES {
            assert_eq!(patience.wait(peer, now), None);
            patience.failed(peer, now);
        }
        patience.wait(peer, now).expect("an eleventh guess was free")
    }

    #[test]
    fn guessing_is_answered_slower_and_slower_up_to_a_bound() {
        let (patience, mut now) = (Patience::default(), clock::now());
        for minutes in [1, 2, 4, 8, 15, 15] {
            let wait = blocked_for(&patience, HOME, now);
            assert_eq!(wait, Duration::from_secs(60 * minutes));
            now += wait;
        }
    }

    #[test]
    fn ten_failures_count_when_they_come_within_a_minute() {
        let now = clock::now();
        for (later, waits) in [(WINDOW, true), (WINDOW + Duration::from_nanos(1), false)] {
            let patience = Patience::default();
            (1..FAILURES).for_each(|_| patience.failed(HOME, now));
            patience.failed(HOME, now + later);
            assert_eq!(patience.wait(HOME, now + later).is_some(), waits, "{later:?}");
        }
    }

    #[test]
    fn an_address_that_was_quiet_for_more_than_an_hour_begins_anew() {
        let now = clock::now();
        for (quiet, wait) in [(FORGET, 2 * FIRST_BLOCK), (FORGET + Duration::from_nanos(1), FIRST_BLOCK)] {
            let patience = Patience::default();
            assert_eq!(blocked_for(&patience, HOME, now), FIRST_BLOCK);
            assert_eq!(blocked_for(&patience, HOME, now + quiet), wait, "{quiet:?}");
        }
        let patience = Patience::default();
        blocked_for(&patience, HOME, now);
        // One guess now and then is not quiet.
        (1..4).for_each(|n| patience.failed(HOME, now + n * FORGET));
        assert_eq!(blocked_for(&patience, HOME, now + 4 * FORGET), 2 * FIRST_BLOCK);
    }

    #[test]
    fn a_guesser_does_not_shut_out_other_addresses() {
        let (patience, now) = (Patience::default(), clock::now());
        blocked_for(&patience, HOME, now);
        assert_eq!(patience.wait(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 3)), now), None);
    }

    #[test]
    fn the_right_token_makes_up_for_wrong_ones() {
        let (patience, now) = (Patience::default(), clock::now());
        for _ in 0..10 * FAILURES {
            patience.failed(HOME, now);
            assert_eq!(patience.wait(HOME, now), None);
            patience.succeeded(HOME);
        }
    }

    #[test]
    fn one_ipv6_network_is_one_guesser() {
        let (patience, now) = (Patience::default(), clock::now());
        let host = |host: u128| IpAddr::V6(Ipv6Addr::from((0x2001_0db8 << 96) | host));
        (1..=FAILURES).for_each(|n| patience.failed(host(n.into()), now));
        assert!(patience.wait(host(77), now).is_some(), "a new host of the same /64 could go on guessing");
    }

    #[test]
    fn a_million_guessers_cannot_fill_the_memory() {
        let (patience, now) = (Patience::default(), clock::now());
        for n in 0..(ADDRESSES as u32 * 3) {
            let guesser = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
            patience.failed(guesser, now + Duration::from_millis(n.into()));
        }
        assert!(patience.lock().len() <= ADDRESSES);
        let known = *patience.lock().keys().next().unwrap();
        patience.failed(known, now + Duration::from_secs(60));
        assert_eq!(patience.lock().len(), ADDRESSES, "one that is known needs no room");
    }

    #[test]
    fn where_there_is_no_room_all_are_forgotten_that_were_quiet_for_more_than_an_hour() {
        let now = clock::now();
        for (later, remembered) in [(FORGET, ADDRESSES), (FORGET + Duration::from_nanos(1), 1)] {
            let patience = Patience::default();
            let guessers = (0..ADDRESSES as u32).map(|n| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)));
            guessers.for_each(|guesser| patience.failed(guesser, now));
            patience.failed(HOME, now + later);
            assert_eq!(patience.lock().len(), remembered, "{later:?}");
        }
    }
}
