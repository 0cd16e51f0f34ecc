//! Whether a client's acknowledgements keep their promises (reference §5).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::checks::{Check, Checks};
use crate::proto::tutk::login::Ack;

/// Without an ACK for this long the client is gone.
const SILENCE: Duration = Duration::from_secs(5);
/// Over at least this long the cadence is judged.
const WINDOW: Duration = Duration::from_secs(1);
/// The mean distance of two ACKs should be 100 ms. The limits leave room for a busy machine, for some
/// loss, and for the extra ACK that follows each control message.
const SHORTEST: Duration = Duration::from_millis(60);
const LONGEST: Duration = Duration::from_millis(170);
/// So many frames may be lost in a row before the counter looks wrong.
const LONGEST_GAP: u32 = 20;
const REMEMBERED: usize = 64;

#[derive(Debug)]
pub(super) struct Acks {
    last: Option<Ack>,
    heard: Instant,
    window_start: Option<Instant>,
    in_window: u32,
}

impl Acks {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: None, heard: now, window_start: None, in_window: 0 }
    }

    /// `sent` control messages were sent so far, numbered from 0.
    pub(super) fn on_ack(&mut self, now: Instant, ack: &Ack, exact: bool, sent: u32, checks: &mut Checks) {
        self.heard = now;
        self.judge_cadence(now, checks);
        let counts = self.last.map_or(ack.count > 0, |last| (1..1_000).contains(&ack.count.wrapping_sub(last.count)));
        let received = ack.rx_end == u16::MAX || u32::from(ack.rx_end) < sent;
        checks.note(Check::AckFields, exact && counts && received);
        self.last = Some(*ack);
    }

    /// The cadence is judged from now on.
    pub(super) fn begin_cadence(&mut self, now: Instant) {
        self.window_start = Some(now);
        self.in_window = 0;
    }

    /// Judges when an ACK comes, so that a client which left is not blamed for its silence.
    fn judge_cadence(&mut self, now: Instant, checks: &mut Checks) {
        let Some(start) = self.window_start else { return };
        self.in_window += 1;
        let elapsed = now.saturating_duration_since(start);
        if elapsed >= WINDOW {
            checks.note(Check::AckCadence, (SHORTEST..=LONGEST).contains(&(elapsed / self.in_window)));
            self.begin_cadence(now);
        }
    }

    /// When a client that sends no more ACKs counts as gone.
    pub(super) fn gone_at(&self) -> Instant {
        self.heard + SILENCE
    }
}

/// The counter that ACKs and IOCTRL frames share.
#[derive(Debug, Default)]
pub(super) struct AvSeq {
    next: u32,
    used: VecDeque<(u32, Vec<u8>)>,
}

impl AvSeq {
    /// A number belongs to one frame, which may be repeated unchanged, and numbers follow each other.
    pub(super) fn on_frame(&mut self, seq: u32, frame: &[u8], checks: &mut Checks) {
        let taken = self.used.iter().any(|(used, by)| *used == seq && by != frame);
        let follows = seq <= self.next.saturating_add(LONGEST_GAP);
        checks.note(Check::AvSeq, follows && !taken);
        self.next = self.next.max(seq.saturating_add(1));
        self.used.push_back((seq, frame.to_vec()));
        if self.used.len() > REMEMBERED {
            self.used.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(checks: &mut Checks) -> Option<(&'static str, bool)> {
        std::iter::from_fn(|| checks.news()).last().map(|verdict| (verdict.check.name(), verdict.ok))
    }

    #[test]
    fn two_frames_with_one_number_are_a_violation_and_a_repeated_one_is_not() {
        let mut checks = Checks::default();
        let mut seq = AvSeq::default();
        for (n, frame) in [(0, b"a"), (1, b"b"), (1, b"b"), (2, b"c")] {
            seq.on_frame(n, frame, &mut checks);
        }
        assert_eq!(last(&mut checks), Some(("av_seq", true)));
        seq.on_frame(2, b"d", &mut checks);
        assert_eq!(last(&mut checks), Some(("av_seq", false)));
    }

    #[test]
    fn a_counter_that_leaps_is_a_violation() {
        let mut checks = Checks::default();
        AvSeq::default().on_frame(1_000, b"a", &mut checks);
        assert_eq!(last(&mut checks), Some(("av_seq", false)));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an arbitrary start of virtual time")]
    fn a_lame_client_is_told_apart_from_a_steady_one() {
        let start = Instant::now();
        for (every_ms, ok) in [(100, true), (300, false)] {
            let mut checks = Checks::default();
            let mut acks = Acks::new(start);
            acks.begin_cadence(start);
            let mut now = start;
            for count in 1..12 {
                now += Duration::from_millis(every_ms);
                let ack = Ack { av_seq: 0, rx_start: u16::MAX, rx_end: u16::MAX, count, clock_ms: 0 };
                acks.on_ack(now, &ack, true, 0, &mut checks);
                assert!(now < acks.gone_at());
            }
            assert_eq!(last(&mut checks), Some(("ack_cadence", ok)), "an ACK each {every_ms} ms");
            assert_eq!(acks.gone_at(), now + SILENCE);
        }
    }
}
