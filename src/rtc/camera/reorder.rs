//! RTP packets of one stream back in their order: what overtook is held until what it overtook has come, or is
//! given up.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rtc::rtp;

use crate::clock::Instant;

/// A packet in its turn.
#[derive(Debug)]
pub struct Ordered {
    pub packet: rtp::Packet,
    /// Packets between this one and the one before it were lost.
    pub gap: bool,
}

/// Holds at most [`Reorder::MOST`] packets of [`Reorder::LARGEST`] bytes together, and none for longer than its
/// patience; beyond that the missing ones count as lost.
#[derive(Debug)]
pub struct Reorder {
    patience: Duration,
    /// The extended sequence number that comes next; `None` before the first packet.
    next: Option<u64>,
    waiting: BTreeMap<u64, rtp::Packet>,
    bytes: usize,
    /// Since when the packets that wait have waited for the one at `next`.
    missed_since: Option<Instant>,
    /// The numbering began anew: what was before it is not known to be complete.
    restarted: bool,
}

impl Reorder {
    /// A keyframe of 500 kB.
    const MOST: usize = 512;
    const LARGEST: usize = 1 << 20;
    /// A packet further off than this is of a numbering that began anew (RFC 3550 A.1 has it so).
    const LEAP: u64 = 3_000;
    /// Room below the first number, for what it has overtaken.
    const START: u64 = 1 << 32;

    pub fn new(patience: Duration) -> Self {
        Self { patience, next: None, waiting: BTreeMap::new(), bytes: 0, missed_since: None, restarted: false }
    }

    /// Takes a packet as it arrives. [`Self::pop`] until `None` must follow.
    pub fn push(&mut self, packet: rtp::Packet, now: Instant) {
        let number = u64::from(packet.header.sequence_number);
        let Some(next) = self.next else {
            self.next = Some(Self::START + number);
            return self.hold(Self::START + number, packet);
        };
        let extended = extend(number as u16, next);
        if extended.abs_diff(next) > Self::LEAP {
            self.restart(number);
            return self.hold(Self::START + number, packet);
        }
        // Come too late, or twice.
        if extended < next || self.waiting.contains_key(&extended) {
            return;
        }
        if extended > next {
            self.missed_since.get_or_insert(now);
        }
        self.hold(extended, packet);
    }

    /// The packet whose turn it is.
    pub fn pop(&mut self, now: Instant) -> Option<Ordered> {
        let next = self.next?;
        let (&first, _) = self.waiting.first_key_value()?;
        if first != next && !self.is_out_of_patience(now) {
            return None;
        }
        let (_, packet) = self.waiting.pop_first()?;
        self.bytes -= packet.payload.len();
        self.next = Some(first + 1);
        let in_turn = self.waiting.first_key_value().is_none_or(|(&second, _)| second == first + 1);
        if in_turn {
            self.missed_since = None;
        } else if first == next {
            // Another gap behind the one that has just been filled.
            self.missed_since = Some(now);
        }
        let gap = first != next || std::mem::take(&mut self.restarted);
        Some(Ordered { packet, gap })
    }

    fn is_out_of_patience(&self, now: Instant) -> bool {
        let waited = self.missed_since.is_some_and(|since| now.duration_since(since) >= self.patience);
        waited || self.waiting.len() >= Self::MOST || self.bytes >= Self::LARGEST
    }

    fn restart(&mut self, number: u64) {
        self.waiting.clear();
        self.bytes = 0;
        self.missed_since = None;
        self.next = Some(Self::START + number);
        self.restarted = true;
    }

    fn hold(&mut self, number: u64, mut packet: rtp::Packet) {
        if self.next != Some(number) {
            // A copy: the payload is a slice of a buffer for many datagrams, and would keep all of it.
            packet.payload = Bytes::copy_from_slice(&packet.payload);
        }
        self.bytes += packet.payload.len();
        self.waiting.insert(number, packet);
    }
}

/// The number nearest to `near` that ends in these 16 bits.
fn extend(number: u16, near: u64) -> u64 {
    let ahead = number.wrapping_sub(near as u16) as i16;
    near.wrapping_add_signed(i64::from(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn packet(number: u16) -> rtp::Packet {
        let header = rtp::Header { sequence_number: number, ..Default::default() };
        rtp::Packet { header, payload: Bytes::from_static(b"x") }
    }

    fn popped(reorder: &mut Reorder, now: Instant) -> Vec<(u16, bool)> {
        std::iter::from_fn(|| reorder.pop(now)).map(|o| (o.packet.header.sequence_number, o.gap)).collect()
    }

    /// All that comes out when these numbers arrive 1 ms apart.
    fn order(numbers: &[u16]) -> Vec<(u16, bool)> {
        let (mut reorder, mut now) = (Reorder::new(PATIENCE), clock::now());
        let mut out = Vec::new();
        for &number in numbers {
            now += Duration::from_millis(1);
            reorder.push(packet(number), now);
            out.extend(popped(&mut reorder, now));
        }
        out
    }

    #[test]
    fn what_is_in_order_passes_at_once_also_over_the_end_of_the_numbers() {
        assert_eq!(order(&[65_534, 65_535, 0, 1]), [(65_534, false), (65_535, false), (0, false), (1, false)]);
    }

    #[test]
    fn what_overtook_waits_and_what_comes_twice_is_dropped() {
        let in_order = [(7, false), (8, false), (9, false), (10, false), (11, false)];
        assert_eq!(order(&[7, 9, 10, 9, 8, 8, 7, 11]), in_order);
    }

    #[test]
    fn a_lost_packet_is_given_up_when_patience_ends() {
        let (mut reorder, begun) = (Reorder::new(PATIENCE), clock::now());
        for number in [1, 3, 4] {
            reorder.push(packet(number), begun);
        }
        assert_eq!(popped(&mut reorder, begun), [(1, false)]);
        reorder.push(packet(5), begun + PATIENCE / 2);
        assert_eq!(popped(&mut reorder, begun + PATIENCE / 2), []);
        assert_eq!(popped(&mut reorder, begun + PATIENCE), [(3, true), (4, false), (5, false)]);
    }

    #[test]
    fn each_gap_has_a_patience_of_its_own() {
        let (mut reorder, begun) = (Reorder::new(PATIENCE), clock::now());
        for number in [1, 3, 5] {
            reorder.push(packet(number), begun);
        }
        assert_eq!(popped(&mut reorder, begun), [(1, false)]);
        let later = begun + PATIENCE / 2;
        reorder.push(packet(2), later);
        assert_eq!(popped(&mut reorder, later), [(2, false), (3, false)]);
        assert_eq!(popped(&mut reorder, begun + PATIENCE), []);
        assert_eq!(popped(&mut reorder, later + PATIENCE), [(5, true)]);
    }

    #[test]
    fn a_numbering_that_begins_anew_is_a_gap() {
        assert_eq!(order(&[100, 101, 40_000, 40_001]), [(100, false), (101, false), (40_000, true), (40_001, false)]);
    }

    #[test]
    fn never_more_is_held_than_the_limits() {
        let (mut reorder, now) = (Reorder::new(PATIENCE), clock::now());
        reorder.push(packet(0), now);
        assert_eq!(popped(&mut reorder, now).len(), 1);
        for number in 0..10_000_u32 {
            // Every other one is missing.
            let number = (2 + 2 * number) as u16;
            let payload = Bytes::from(vec![0; 60_000]);
            reorder.push(rtp::Packet { payload, ..packet(number) }, now);
            while reorder.pop(now).is_some() {}
            assert!(reorder.waiting.len() <= Reorder::MOST && reorder.bytes <= Reorder::LARGEST + 60_000);
        }
    }
}
