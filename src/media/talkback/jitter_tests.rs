//! Packets in every order and at every moment.

use super::*;
use crate::media::AudioFormat;

const LENGTH: Duration = Duration::from_millis(20);

/// A microphone of 20 ms packets and a line to it, on a clock of its own.
struct Bench {
    buffer: JitterBuffer,
    begun: Instant,
}

impl Bench {
    fn new() -> Self {
        let buffer = JitterBuffer::new(8_000);
        let begun = buffer.begun;
        Self { buffer, begun }
    }

    fn at(&self, ms: u64) -> Instant {
        self.begun + Duration::from_millis(ms)
    }

    /// The `n`th packet of the stream that begins with these numbers comes at `ms`. Whether it is taken.
    fn comes_of(&mut self, ms: u64, (ssrc, sequence, timestamp): (u32, u16, u32), n: u32) -> bool {
        let packet = MicPacket {
            format: AudioFormat::PCMU,
            ssrc,
            sequence: sequence.wrapping_add(n as u16),
            timestamp: timestamp.wrapping_add(160 * n),
            payload: Bytes::from(n.to_be_bytes().to_vec()),
        };
        let now = self.at(ms);
        self.buffer.insert(now, packet, LENGTH).is_some()
    }

    fn comes(&mut self, ms: u64, n: u32) -> bool {
        self.comes_of(ms, (1, 65_530, u32::MAX - 300), n)
    }

    /// What is played from `from` to `until`, a beat each 20 ms: the numbers of the packets, `None` for a gap.
    fn plays(&mut self, from: u64, until: u64) -> Vec<Option<u32>> {
        (from..until).step_by(20).filter_map(|ms| self.beat(ms)).collect()
    }

    /// `None` in a pause.
    fn beat(&mut self, ms: u64) -> Option<Option<u32>> {
        let now = self.at(ms);
        match self.buffer.take(now, |_| Worth::Speech) {
            Turn::Idle => None,
            Turn::Packet(held) => Some(Some(u32::from_be_bytes(held.payload[..].try_into().unwrap()))),
            Turn::Gap { .. } => Some(None),
        }
    }
}

fn all(numbers: std::ops::Range<u32>) -> Vec<Option<u32>> {
    numbers.map(Some).collect()
}

#[test]
fn packets_are_played_in_order_over_the_wrap_of_both_numbers() {
    let mut bench = Bench::new();
    let mut order: Vec<u32> = (0..40).collect();
    order.chunks_mut(2).for_each(|pair| pair.reverse());
    let mut played = Vec::new();
    for (n, ms) in order.into_iter().zip((0..).step_by(20)) {
        assert!(bench.comes(ms, n));
        played.extend(bench.beat(ms + 1));
    }
    played.extend(bench.plays(801, 900));
    let gaps = played.iter().filter(|piece| piece.is_none()).count();
    played.retain(Option::is_some);
    assert_eq!(played, all(0..40));
    assert!(gaps <= 5, "{gaps} gaps");
}

#[test]
fn a_packet_that_comes_twice_is_played_once() {
    let mut bench = Bench::new();
    for n in 0..20 {
        assert!(bench.comes(u64::from(n) * 20, n));
        assert!(!bench.comes(u64::from(n) * 20 + 1, n));
    }
    let mut played = bench.plays(40, 2_000);
    played.retain(Option::is_some);
    assert!(played.is_sorted() && played.len() <= 20, "{played:?}");
}

#[test]
fn the_first_packet_waits_forty_milliseconds_and_the_next_follow() {
    let mut bench = Bench::new();
    bench.comes(0, 0);
    assert_eq!(bench.buffer.due(|_| Worth::Speech), Some(bench.at(40)));
    assert_eq!(bench.beat(39), None);
    bench.comes(20, 1);
    bench.comes(40, 2);
    assert_eq!(bench.plays(40, 100), all(0..3));
}

#[test]
fn a_lost_packet_leaves_a_gap_of_its_length_and_comes_too_late_after_it() {
    let mut bench = Bench::new();
    let mut played = Vec::new();
    for n in 0..30 {
        let ms = u64::from(n) * 20;
        if n != 10 {
            bench.comes(ms, n);
        }
        played.extend(bench.beat(ms));
    }
    assert!(!bench.comes(590, 10), "its turn is over");
    let mut expected = all(0..28);
    expected[10] = None;
    assert_eq!(played, expected);
    assert_eq!((bench.buffer.counts.lost, bench.buffer.counts.late), (1, 1));
}

#[test]
fn a_microphone_that_is_let_go_leaves_no_more_than_four_gaps() {
    let mut bench = Bench::new();
    (0..10).for_each(|n| assert!(bench.comes(u64::from(n) * 20, n)));
    let played = bench.plays(40, 3_000);
    assert_eq!(played.iter().filter(|piece| piece.is_none()).count(), 4, "{played:?}");
    assert!(!bench.buffer.is_playing());
}

#[test]
fn after_a_pause_the_first_word_is_whole_whether_the_senders_clock_went_on_or_not() {
    for (paused, passed) in [(400, 400), (5_000, 5_000), (400, 0), (1_500, 0), (60_000, 0), (600, 9_000_000)] {
        let mut bench = Bench::new();
        let mut before = Vec::new();
        for n in 0..30 {
            bench.comes(u64::from(n) * 20, n);
            before.extend(bench.beat(u64::from(n) * 20));
        }
        before.extend(bench.plays(600, 700));
        before.retain(Option::is_some);
        assert_eq!(before, all(0..30));
        let mut played = Vec::new();
        for n in 0..30 {
            let ms = 600 + paused + u64::from(n) * 20;
            let numbers = (1, 65_530_u16.wrapping_add(30), (u32::MAX - 300).wrapping_add(160 * 30 + 8 * passed as u32));
            assert!(bench.comes_of(ms, numbers, n), "packet {n} after {paused} ms");
            played.extend(bench.beat(ms));
        }
        played.extend(bench.plays(600 + paused + 600, 600 + paused + 900));
        played.retain(Option::is_some);
        assert_eq!(played, all(0..30), "after {paused} ms, of which its clock knows {passed}");
    }
}

#[test]
fn a_sender_that_begins_anew_is_followed_and_a_stray_packet_is_not() {
    let mut bench = Bench::new();
    for n in 0..50 {
        bench.comes(u64::from(n) * 20, n);
        bench.beat(u64::from(n) * 20);
    }
    assert!(!bench.comes_of(990, (9, 4_000, 77), 0), "one packet of another stream");
    bench.comes(1_000, 50);
    bench.plays(1_000, 1_100);
    for (ssrc, sequence, timestamp) in [(2, 7, 0), (2, 20_000, 5_000_000), (2, 19_990, 1)] {
        let begun = bench.buffer.newest_end_ms() + 200;
        let mut played = Vec::new();
        for n in 0..50 {
            let ms = begun + u64::from(n) * 20;
            bench.comes_of(ms, (ssrc, sequence, timestamp), n);
            played.extend(bench.beat(ms));
        }
        played.extend(bench.plays(begun + 1_000, begun + 1_200));
        played.retain(Option::is_some);
        assert_eq!(played, all(0..50), "{ssrc} {sequence} {timestamp}");
    }
}

#[test]
fn of_a_burst_after_the_network_stood_still_only_the_newest_is_played() {
    for stood_still in [300, 900, 3_000] {
        let mut bench = Bench::new();
        for n in 0..50 {
            bench.comes(u64::from(n) * 20, n);
            bench.beat(u64::from(n) * 20);
        }
        let burst = stood_still / 20;
        let now = 1_000 + stood_still;
        bench.plays(1_000, now);
        for n in 0..burst {
            bench.comes(now, 50 + n as u32);
        }
        let mut last = None;
        for n in 0..100 {
            let ms = now + n * 20;
            bench.comes(ms, 50 + (burst + n) as u32);
            if let Some(Some(played)) = bench.beat(ms) {
                let delay = ms - u64::from(played) * 20;
                assert!(delay <= 250, "{delay} ms behind after {stood_still} ms");
                last = Some(played);
            }
        }
        assert!(last.is_some_and(|last| u64::from(last) > 50 + burst + 85), "it has stopped at {last:?}");
    }
}

#[test]
fn nothing_grows_whatever_comes() {
    let mut bench = Bench::new();
    let mut seed = 42_u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 8
    };
    for ms in 0..20_000 {
        bench.comes_of(ms, (random() % 3, random() as u16, random() << 8), random() % 50);
        if ms % 20 == 0 {
            bench.beat(ms);
        }
        assert!(bench.buffer.waiting.len() <= JitterBuffer::HELD);
        assert!(bench.buffer.delays.recent.len() <= Delays::MOST);
    }
}

impl JitterBuffer {
    fn newest_end_ms(&self) -> u64 {
        self.source.as_ref().map_or(0, |source| source.end as u64 / 1_000)
    }
}
