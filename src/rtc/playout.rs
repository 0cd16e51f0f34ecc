//! What one viewer is still to be sent: joining at a keyframe, pacing, and RTP timestamps that only go forward.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::peer::Medium;
use crate::media::VideoCodec;

/// One access unit, packetized once for all viewers of a stream.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) codec: VideoCodec,
    pub(super) keyframe: bool,
    /// 90 kHz.
    pub(super) ticks: u64,
    pub(super) payloads: Vec<Bytes>,
}

/// One RTP packet without what differs between viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) medium: Medium,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: Bytes,
}

/// Packets that leave at once. More overran the receive buffer of an ordinary viewer (212 992 bytes by default,
/// counted with the kernel's overhead).
const BURST: usize = 64;
/// Pause between bursts: 38 MB/s, so that even a keyframe of a 4K camera is out within a frame's time.
const PAUSE: Duration = Duration::from_millis(2);
/// A viewer's backlog; what a GOP of 4 MiB takes. Beyond it everything up to the next keyframe is dropped.
const MAX_QUEUE: usize = 4_096;
/// Distance of replayed pictures in ticks: short enough that a GOP fits between two live pictures, so that
/// showing the past costs the viewer no delay.
const REPLAY_STEP: u32 = 60;
/// A replay answers all the keyframe requests of this long.
const REPLAY_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Playout {
    /// Random, as RFC 3550 §5.1 wants it.
    offset: u32,
    last_video: Option<u32>,
    queue: VecDeque<Packet>,
    waits_for_keyframe: bool,
    replayed_at: Option<Instant>,
    /// No burst before this.
    resume: Option<Instant>,
    dropped: u64,
}

impl Playout {
    pub(super) fn new(offset: u32) -> Self {
        Self {
            offset,
            last_video: None,
            queue: VecDeque::new(),
            waits_for_keyframe: true,
            replayed_at: None,
            resume: None,
            dropped: 0,
        }
    }

    /// A live picture.
    pub(super) fn picture(&mut self, picture: &Picture) {
        if self.waits_for_keyframe && !picture.keyframe {
            return;
        }
        self.waits_for_keyframe = false;
        let timestamp = self.offset.wrapping_add(picture.ticks as u32);
        // Behind a replay the live picture may be a hair too early.
        let timestamp = match self.last_video {
            Some(last) if !is_after(timestamp, last) => last.wrapping_add(1),
            _ => timestamp,
        };
        self.push(picture, timestamp);
    }

    /// The pictures since the last keyframe, at once, so that the viewer sees the present: on joining, and when
    /// it asks for a keyframe. Does nothing shortly after the last time.
    pub(super) fn replay(&mut self, now: Instant, gop: &[Arc<Picture>]) {
        let recent = self.replayed_at.is_some_and(|at| now.duration_since(at) < REPLAY_PAUSE);
        let Some(newest) = gop.last().filter(|_| !recent) else { return };
        self.replayed_at = Some(now);
        self.queue.retain(|packet| packet.medium == Medium::Audio);
        self.waits_for_keyframe = false;
        let length = REPLAY_STEP.wrapping_mul(gop.len() as u32);
        let joining = self.offset.wrapping_add(newest.ticks as u32).wrapping_sub(length);
        let mut timestamp = self.last_video.unwrap_or(joining);
        for picture in gop {
            timestamp = timestamp.wrapping_add(REPLAY_STEP);
            self.push(picture, timestamp);
            if self.waits_for_keyframe {
                // It found no room, so what follows could not be decoded.
                return;
            }
        }
    }

    fn push(&mut self, picture: &Picture, timestamp: u32) {
        if self.queue.len() + picture.payloads.len() > MAX_QUEUE {
            return self.cut();
        }
        self.last_video = Some(timestamp);
        let last = picture.payloads.len().saturating_sub(1);
        self.queue.extend(picture.payloads.iter().enumerate().map(|(index, payload)| Packet {
            medium: Medium::Video,
            timestamp,
            marker: index == last,
            payload: payload.clone(),
        }));
    }

    /// One packet of sound; `ticks` in the clock of its format.
    pub(super) fn sound(&mut self, ticks: u64, payload: &Bytes) {
        // Sound is small: its share of the backlog is not worth a limit of its own.
        if self.queue.len() < MAX_QUEUE {
            let timestamp = self.offset.wrapping_add(ticks as u32);
            self.queue.push_back(Packet { medium: Medium::Audio, timestamp, marker: false, payload: payload.clone() });
        }
    }

    /// Drops what waits; the viewer cannot take it. It goes on at the next keyframe, which is not asked for:
    /// that would only make more of what it cannot take.
    pub(super) fn cut(&mut self) {
        self.dropped += self.queue.len() as u64;
        self.queue.clear();
        self.waits_for_keyframe = true;
    }

    /// The packets that may leave now.
    pub(super) fn burst(&mut self, now: Instant) -> impl Iterator<Item = Packet> + '_ {
        let held = self.resume.is_some_and(|resume| now < resume);
        let count = if held { 0 } else { self.queue.len().min(BURST) };
        if !held {
            self.resume = (count == BURST).then_some(now + PAUSE);
        }
        self.queue.drain(..count)
    }

    /// When [`Self::burst`] has something again; `None` when nothing waits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.resume.filter(|_| !self.queue.is_empty())
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// In the arithmetic of RTP timestamps, which wrap.
fn is_after(timestamp: u32, other: u32) -> bool {
    timestamp != other && timestamp.wrapping_sub(other) < 1 << 31
}

/// The pictures since the last keyframe of one stream.
#[derive(Debug, Default)]
pub(super) struct Gop {
    pictures: Vec<Arc<Picture>>,
    bytes: usize,
    began: Option<Instant>,
}

/// As much as the hub keeps: a longer past is not worth its memory, nor a viewer's time.
const MAX_GOP_BYTES: usize = 4 << 20;
const MAX_GOP_TICKS: u64 = 2 * 90_000;

impl Gop {
    pub(super) fn push(&mut self, now: Instant, picture: &Arc<Picture>) {
        if picture.keyframe {
            *self = Self { pictures: Vec::new(), bytes: 0, began: Some(now) };
        }
        self.bytes += picture.payloads.iter().map(Bytes::len).sum::<usize>();
        let began = self.pictures.first().map_or(picture.ticks, |first| first.ticks);
        if self.began.is_none() || self.bytes > MAX_GOP_BYTES || picture.ticks.saturating_sub(began) > MAX_GOP_TICKS {
            return *self = Self::default();
        }
        self.pictures.push(picture.clone());
    }

    pub(super) fn pictures(&self) -> &[Arc<Picture>] {
        &self.pictures
    }

    /// Whether the keyframe is so young that another would bring nothing.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.began.is_some_and(|began| now.duration_since(began) < Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(keyframe: bool, number: u64, packets: usize) -> Arc<Picture> {
        let payloads = (0..packets).map(|index| Bytes::from(vec![number as u8, index as u8])).collect();
        Arc::new(Picture { codec: VideoCodec::H264, keyframe, ticks: number * 3_000, payloads })
    }

    fn all(playout: &mut Playout, now: &mut Instant) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            let burst: Vec<_> = playout.burst(*now).collect();
            if burst.is_empty() {
                return packets;
            }
            assert!(burst.len() <= BURST);
            packets.extend(burst);
            *now = playout.deadline().unwrap_or(*now);
        }
    }

    fn now() -> Instant {
        crate::clock::now().into_std()
    }

    #[test]
    fn nothing_is_sent_before_a_keyframe() {
        let (mut playout, mut now) = (Playout::new(7), now());
        playout.picture(&picture(false, 1, 3));
        assert!(all(&mut playout, &mut now).is_empty());
        playout.picture(&picture(true, 2, 3));
        playout.picture(&picture(false, 3, 1));
        let sent = all(&mut playout, &mut now);
        assert_eq!(sent.iter().map(|packet| packet.payload[0]).collect::<Vec<_>>(), [2, 2, 2, 3]);
        assert_eq!(sent.iter().map(|packet| packet.marker).collect::<Vec<_>>(), [false, false, true, true]);
        assert_eq!(sent[3].timestamp - sent[0].timestamp, 3_000);
    }

    #[test]
    fn a_joining_viewer_gets_the_gop_and_timestamps_that_never_go_back() {
        for offset in [0, 5, u32::MAX - 100_000, u32::MAX] {
            let (mut playout, mut now) = (Playout::new(offset), now());
            let gop: Vec<_> = (0..40).map(|number| picture(number == 0, number, 5)).collect();
            playout.replay(now, &gop);
            playout.picture(&picture(false, 40, 2));
            now += REPLAY_PAUSE;
            playout.replay(now, &gop);
            playout.picture(&picture(false, 41, 2));
            let sent = all(&mut playout, &mut now);
            assert_eq!(sent[0].payload[0], 0, "the replay begins with the keyframe");
            for pair in sent.windows(2) {
                let (earlier, later) = (pair[0].timestamp, pair[1].timestamp);
                assert!(!is_after(earlier, later), "{earlier} is followed by {later}");
                assert_eq!(pair[0].marker, earlier != later, "the marker ends a picture");
            }
        }
    }

    #[test]
    fn requests_that_follow_a_replay_are_answered_by_it() {
        let (mut playout, mut now) = (Playout::new(0), now());
        let gop = [picture(true, 0, 5)];
        playout.replay(now, &gop);
        playout.replay(now + Duration::from_millis(100), &gop);
        assert_eq!(all(&mut playout, &mut now).len(), 5);
    }

    #[test]
    fn a_viewer_that_falls_behind_goes_on_at_a_keyframe() {
        let (mut playout, mut now) = (Playout::new(0), now());
        playout.picture(&picture(true, 0, MAX_QUEUE));
        playout.picture(&picture(false, 1, 1));
        assert_eq!(playout.dropped(), MAX_QUEUE as u64);
        playout.picture(&picture(false, 2, 1));
        assert!(all(&mut playout, &mut now).is_empty());
        playout.picture(&picture(true, 3, 1));
        assert_eq!(all(&mut playout, &mut now).len(), 1);
    }

    #[test]
    fn of_a_gop_that_finds_no_room_no_picture_is_sent_without_those_before_it() {
        let (mut playout, mut now) = (Playout::new(0), now());
        let gop: Vec<_> = (0..5).map(|number| picture(number == 0, number, 1_500)).collect();
        playout.replay(now, &gop);
        assert!(all(&mut playout, &mut now).is_empty());
        playout.picture(&picture(true, 5, 1));
        assert_eq!(all(&mut playout, &mut now).len(), 1);
    }

    #[test]
    fn a_gop_that_grows_too_long_is_forgotten_until_the_next_keyframe() {
        let now = now();
        let mut gop = Gop::default();
        gop.push(now, &picture(false, 0, 1));
        assert!(gop.pictures().is_empty(), "it has no keyframe");
        (1..=61).for_each(|number| gop.push(now, &picture(number == 1, number, 1)));
        assert_eq!(gop.pictures().len(), 61);
        gop.push(now, &picture(false, 62, 1));
        assert!(gop.pictures().is_empty() && !gop.is_fresh(now), "it spans more than 2 s");
        gop.push(now, &picture(false, 63, 1));
        gop.push(now, &picture(true, 64, 1));
        assert!(gop.pictures().len() == 1 && gop.is_fresh(now));
        assert!(!gop.is_fresh(now + Duration::from_secs(1)));
    }
}
