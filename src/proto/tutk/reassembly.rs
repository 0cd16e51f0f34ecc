//! Frames from media packets: any order, any repetition, and short loss without harm to what follows
//! (docs/protocol/tutk.md §10).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::frame::{FrameInfo, MediaChannel, MediaPacket};

/// How long a complete frame waits for the one before it: the shortest, and what a network may make of it whose datagrams
/// overtake each other by more.
const REORDER_WINDOW: Duration = Duration::from_millis(50);
const LONGEST_WINDOW: Duration = Duration::from_millis(250);
/// How long an incomplete frame may go without a new packet.
const PARTIAL_LIFE: Duration = Duration::from_secs(1);
/// How long a released frame's packets count as repetitions. Longer, and a camera that begins to count
/// anew would be taken for one that repeats itself.
const REPETITION_LIFE: Duration = Duration::from_millis(500);
/// Limits S19: bytes of one frame, and of everything kept for one camera.
const MAX_FRAME: usize = 2 * 1024 * 1024;
const MAX_CAMERA: usize = 8 * 1024 * 1024;
/// What a packet costs beside its payload, so that a million empty ones count too: its place in the tree, and what the
/// allocator takes for a byte.
const PACKET_COST: usize = 128;
/// Frames that may be incomplete at once.
const MAX_PARTIALS: usize = 16;
/// Complete frames that may wait for the one before them: however little a camera puts into each.
const MAX_WAITING: usize = 32;
/// Frames of which we remember that they are over.
const REMEMBERED: usize = 64;
/// After this many waits in vain the camera's "previous frame number" is taken for meaningless.
const PATIENCE: u8 = 8;

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    pub channel: MediaChannel,
    pub frame_no: u32,
    pub info: FrameInfo,
    pub data: Vec<u8>,
    /// Whether frames of this medium are missing before it.
    pub gap: bool,
}

/// The frames of one camera that are not yet complete, or not yet their turn.
///
/// A frame names its predecessor. It is released at once when that one has been released or given up,
/// and after a [`Window`] otherwise; one that comes when a frame behind it is out is dropped. Whether pictures of both
/// channels count together is not known, so numbers of two channels are only compared for equality.
#[derive(Debug, Default)]
pub struct Reassembly {
    partials: BTreeMap<(MediaChannel, u32), Partial>,
    /// Complete, in order of completion.
    waiting: Vec<Waiting>,
    /// Oldest first.
    over: VecDeque<Over>,
    /// Bounded by [`MAX_CAMERA`] with the two above; emptied by the caller after each call.
    ready: VecDeque<Assembled>,
    bytes: usize,
    window: Window,
    video: Medium,
    audio: Medium,
}

/// How long it is worth waiting: a little longer than would have been enough for what came too late, and ever shorter
/// while it is waited in vain.
#[derive(Debug)]
struct Window(Duration);

impl Default for Window {
    fn default() -> Self {
        Self(REORDER_WINDOW)
    }
}

impl Window {
    /// `needed` would have been enough. What is later than any wait may be does not count.
    fn was_too_short(&mut self, needed: Duration) {
        if needed <= LONGEST_WINDOW {
            self.0 = self.0.max(needed.mul_f64(1.25)).min(LONGEST_WINDOW);
        }
    }

    fn was_in_vain(&mut self) {
        self.0 = self.0.mul_f64(0.9).max(REORDER_WINDOW);
    }
}

#[derive(Debug)]
struct Partial {
    total: u16,
    packets: BTreeMap<u16, Vec<u8>>,
    info: Option<FrameInfo>,
    prev_frame_no: u32,
    touched: Instant,
    cost: usize,
}

#[derive(Debug)]
struct Waiting {
    frame: Assembled,
    prev_frame_no: u32,
    came: Instant,
    until: Instant,
}

#[derive(Debug)]
struct Over {
    channel: MediaChannel,
    frame_no: u32,
    prev_frame_no: u32,
    /// When it was complete, if it ever was.
    came: Option<Instant>,
    at: Instant,
}

#[derive(Debug)]
struct Medium {
    started: bool,
    patience: u8,
    /// A frame was given up, and the next one has not said so yet.
    gap: bool,
}

impl Default for Medium {
    fn default() -> Self {
        Self { started: false, patience: PATIENCE, gap: false }
    }
}

/// What is known of the frame before a complete one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Released,
    GivenUp,
    Unknown,
}

impl Reassembly {
    /// Takes a packet in. Packets that repeat one, or contradict their frame, are dropped.
    pub fn push(&mut self, now: Instant, packet: MediaPacket) {
        let header = &packet.header;
        let key = (header.channel, header.frame_no);
        let is_impossible = header.index() >= header.total;
        if is_impossible || self.is_repetition(key, now) {
            return;
        }
        if let Some(needed) = wait_needed(&self.over, key, now) {
            return self.window.was_too_short(needed);
        }
        if self.partials.get(&key).is_some_and(|partial| partial.total != header.total) {
            // The camera counts anew.
            self.forget(key);
        }
        self.insert(key, now, packet);
        self.finish(key, now);
        self.keep_limits(now);
        self.release(now);
    }

    /// Releases what has waited long enough.
    pub fn on_timeout(&mut self, now: Instant) {
        self.release(now);
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    pub fn poll(&mut self) -> Option<Assembled> {
        self.ready.pop_front()
    }

    fn is_repetition(&self, key: (MediaChannel, u32), now: Instant) -> bool {
        let waits = self.waiting.iter().any(|waiting| (waiting.frame.channel, waiting.frame.frame_no) == key);
        waits
            || self
                .over
                .iter()
                .any(|over| (over.channel, over.frame_no) == key && now.duration_since(over.at) < REPETITION_LIFE)
    }

    fn insert(&mut self, key: (MediaChannel, u32), now: Instant, packet: MediaPacket) {
        let partial = self.partials.entry(key).or_insert_with(|| Partial {
            total: packet.header.total,
            packets: BTreeMap::new(),
            info: None,
            prev_frame_no: packet.header.prev_frame_no,
            touched: now,
            cost: 0,
        });
        let std::collections::btree_map::Entry::Vacant(slot) = partial.packets.entry(packet.header.index()) else {
            return;
        };
        let cost = packet.payload.len() + PACKET_COST;
        slot.insert(packet.payload);
        partial.info = partial.info.take().or(packet.info);
        partial.touched = now;
        partial.cost += cost;
        self.bytes += cost;
    }

    /// Moves a frame on if its last packet has come, or gives it up if it has grown too large.
    fn finish(&mut self, key: (MediaChannel, u32), now: Instant) {
        let Some(partial) = self.partials.get(&key) else { return };
        if partial.cost > MAX_FRAME {
            return self.give_up(key, now);
        }
        if partial.packets.len() != usize::from(partial.total) {
            return;
        }
        let Some(partial) = self.forget(key) else { return };
        let data = partial.packets.into_values().collect::<Vec<_>>().concat();
        let prev_frame_no = partial.prev_frame_no;
        let fits = |info: &FrameInfo| [0, data.len()].contains(&(info.payload_size as usize));
        let Some(info) = partial.info.filter(fits) else {
            return self.mark_over(key, prev_frame_no, now, None);
        };
        self.bytes += data.len();
        let (channel, frame_no) = key;
        let frame = Assembled { channel, frame_no, info, data, gap: false };
        self.waiting.push(Waiting { frame, prev_frame_no, came: now, until: now + self.window.0 });
    }

    fn keep_limits(&mut self, now: Instant) {
        while let Some((&key, oldest)) = self.partials.iter().min_by_key(|(_, partial)| partial.touched) {
            let stale = now.duration_since(oldest.touched) >= PARTIAL_LIFE;
            if !stale && self.partials.len() <= MAX_PARTIALS && self.bytes <= MAX_CAMERA {
                break;
            }
            self.give_up(key, now);
        }
    }

    fn give_up(&mut self, key: (MediaChannel, u32), now: Instant) {
        if let Some(partial) = self.forget(key) {
            self.mark_over(key, partial.prev_frame_no, now, None);
        }
    }

    fn forget(&mut self, key: (MediaChannel, u32)) -> Option<Partial> {
        let partial = self.partials.remove(&key)?;
        self.bytes -= partial.cost;
        Some(partial)
    }

    /// `came`: when it was complete; `None` for a frame that is given up.
    fn mark_over(
        &mut self,
        (channel, frame_no): (MediaChannel, u32),
        prev_frame_no: u32,
        at: Instant,
        came: Option<Instant>,
    ) {
        if came.is_none() {
            self.medium(channel).gap = true;
        }
        self.over.push_back(Over { channel, frame_no, prev_frame_no, came, at });
        if self.over.len() > REMEMBERED {
            self.over.pop_front();
        }
    }

    fn release(&mut self, now: Instant) {
        self.drop_late(now);
        while let Some((index, link)) = self.next_release(now) {
            let Waiting { mut frame, prev_frame_no, came, .. } = self.waiting.remove(index);
            self.bytes -= frame.data.len();
            let medium = self.medium(frame.channel);
            let missed = link == Link::Unknown && medium.started && medium.patience > 0;
            if missed {
                self.window.was_in_vain();
            }
            let medium = self.medium(frame.channel);
            frame.gap = medium.started && (missed || medium.gap);
            medium.patience = match link {
                Link::Released | Link::GivenUp => PATIENCE,
                Link::Unknown => medium.patience.saturating_sub(1),
            };
            medium.started = true;
            medium.gap = false;
            // What is still incomplete of the frame before it has come too late.
            let before: Vec<_> =
                self.partials.keys().filter(|key| is_before(**key, &frame, prev_frame_no)).copied().collect();
            before.into_iter().for_each(|key| drop(self.forget(key)));
            self.mark_over((frame.channel, frame.frame_no), prev_frame_no, now, Some(came));
            self.ready.push_back(frame);
            self.drop_late(now);
        }
    }

    /// Which waiting frame may go, if any, and how it is joined to what went before.
    fn next_release(&self, now: Instant) -> Option<(usize, Link)> {
        let linked = self.waiting.iter().enumerate().map(|(index, waiting)| (index, self.link(waiting)));
        if let Some(found) = linked.clone().find(|(_, link)| *link != Link::Unknown) {
            return Some(found);
        }
        let over_budget = self.bytes > MAX_CAMERA || self.waiting.len() > MAX_WAITING;
        let impatient = |waiting: &Waiting| over_budget || now >= waiting.until || self.needs_no_predecessor(waiting);
        let first = self.waiting.iter().position(impatient)?;
        Some((self.earliest_before(first), Link::Unknown))
    }

    fn link(&self, waiting: &Waiting) -> Link {
        if self.predecessor_of(waiting).is_some() {
            return Link::Unknown;
        }
        let is_same_medium = |over: &&Over| over.channel.is_audio() == waiting.frame.channel.is_audio();
        let mut predecessors = self.over.iter().rev().filter(|over| over.frame_no == waiting.prev_frame_no);
        let found = predecessors.clone().find(is_same_medium).or_else(|| predecessors.next());
        match found {
            Some(over) if over.came.is_some() => Link::Released,
            Some(_) => Link::GivenUp,
            None => Link::Unknown,
        }
    }

    fn needs_no_predecessor(&self, waiting: &Waiting) -> bool {
        let medium = if waiting.frame.channel.is_audio() { &self.audio } else { &self.video };
        medium.patience == 0 || (!medium.started && waiting.frame.channel != MediaChannel::PVideo)
    }

    /// Of a chain of waiting frames that ends with the one at `index`, the first.
    fn earliest_before(&self, mut index: usize) -> usize {
        // Hostile numbers may form a circle, so the chain is followed no further than it can be long.
        for _ in 0..self.waiting.len() {
            match self.waiting.get(index).and_then(|waiting| self.predecessor_of(waiting)) {
                Some(before) => index = before,
                None => break,
            }
        }
        index
    }

    /// Where the frame before this one waits, if it does.
    fn predecessor_of(&self, waiting: &Waiting) -> Option<usize> {
        let is_predecessor = |other: &Waiting| {
            other.frame.frame_no == waiting.prev_frame_no
                && other.frame.channel.is_audio() == waiting.frame.channel.is_audio()
                && waiting.frame.frame_no != waiting.prev_frame_no
        };
        self.waiting.iter().position(is_predecessor)
    }

    /// Drops complete frames whose successor is gone already.
    fn drop_late(&mut self, now: Instant) {
        let over = &self.over;
        let mut freed = 0;
        self.waiting.retain(|waiting| {
            let late = wait_needed(over, (waiting.frame.channel, waiting.frame.frame_no), now).is_some();
            freed += if late { waiting.frame.data.len() } else { 0 };
            !late
        });
        self.bytes -= freed;
    }

    fn medium(&mut self, channel: MediaChannel) -> &mut Medium {
        if channel.is_audio() { &mut self.audio } else { &mut self.video }
    }
}

/// How long the frames that were released and are behind this one would have had to wait for it: its successor, or others
/// of its channel. `None` if none was. Within a channel numbers grow; a camera that begins to count anew is further off, or
/// later.
fn wait_needed(over: &VecDeque<Over>, (channel, frame_no): (MediaChannel, u32), now: Instant) -> Option<Duration> {
    let is_next = |over: &Over| {
        over.prev_frame_no == frame_no
            && over.prev_frame_no != over.frame_no
            && over.channel.is_audio() == channel.is_audio()
    };
    let is_behind = |over: &Over| {
        let ahead = over.frame_no.wrapping_sub(frame_no) as usize;
        over.channel == channel && (1..=REMEMBERED).contains(&ahead)
    };
    let lately = over.iter().filter(|over| now.duration_since(over.at) < REPETITION_LIFE);
    let behind = lately.filter(|over| is_next(over) || is_behind(over));
    behind.filter_map(|over| over.came).map(|came| now.duration_since(came)).max()
}

fn is_before((channel, frame_no): (MediaChannel, u32), frame: &Assembled, prev_frame_no: u32) -> bool {
    channel.is_audio() == frame.channel.is_audio() && frame_no == prev_frame_no && prev_frame_no != frame.frame_no
}

#[cfg(test)]
#[path = "reassembly_tests.rs"]
mod tests;
