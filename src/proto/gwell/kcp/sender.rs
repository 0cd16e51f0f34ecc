//! What goes out: messages as segments, each repeated until it is acknowledged.

use std::collections::VecDeque;

use super::segment::{Command, Segment};
use super::{INTERVAL_MS, KcpError, MSS};

/// A segment that so many later ones have overtaken is lost.
const OVERTAKEN: u32 = 10;
/// A segment sent more often than this is repeated by its timer only.
const MOST_FAST_REPEATS: u32 = 5;
const FIRST_RTO_MS: u32 = 200;
const MIN_RTO_MS: u32 = 100;
const MAX_RTO_MS: u32 = 60_000;
/// How long to wait before asking a peer whose window is shut; half as long again each time.
const FIRST_ASK_MS: u32 = 7_000;
const MAX_ASK_MS: u32 = 120_000;
/// Segments that wait or are on their way: about 1.4 MB. Beyond it messages are refused: their sender has to slow down.
const MAX_BACKLOG: usize = 1_024;
/// What a message may be cut into; the fragment number has eight bits.
const MAX_FRAGMENTS: usize = 255;

/// The sending half of a conversation.
#[derive(Debug)]
pub(super) struct Sender {
    window: u16,
    /// As the peer told it last.
    peer_window: u16,
    /// The first that is not acknowledged.
    una: u32,
    next: u32,
    /// Not sent yet. Bounded by [`MAX_BACKLOG`] with `flight`.
    queue: VecDeque<(u8, Vec<u8>)>,
    /// Sent and not acknowledged, by number.
    flight: VecDeque<InFlight>,
    trip: RoundTrip,
    asking: Option<Asking>,
}

#[derive(Debug)]
struct InFlight {
    sn: u32,
    fragment: u8,
    data: Vec<u8>,
    repeat_at: u32,
    rto: u32,
    /// By how many acknowledgements of later segments.
    overtaken: u32,
    sent: u32,
}

/// When a peer whose window is shut is asked next.
#[derive(Debug)]
struct Asking {
    wait: u32,
    at: u32,
}

#[derive(Debug)]
struct RoundTrip {
    /// Smoothed, and its variation; nothing before the first acknowledgement.
    smooth: Option<(u32, u32)>,
    rto: u32,
}

impl RoundTrip {
    fn measure(&mut self, rtt: u32) {
        let (smooth, variation) = match self.smooth {
            None => (rtt, rtt / 2),
            Some((smooth, variation)) => ((7 * smooth + rtt) / 8, (3 * variation + smooth.abs_diff(rtt)) / 4),
        };
        self.smooth = Some((smooth.max(1), variation));
        self.rto = (smooth.max(1) + INTERVAL_MS.max(4 * variation)).clamp(MIN_RTO_MS, MAX_RTO_MS);
    }
}

impl Sender {
    pub(super) fn new(window: u16) -> Self {
        let trip = RoundTrip { smooth: None, rto: FIRST_RTO_MS };
        // Of a peer that has not spoken yet every KCP assumes that it takes something.
        let peer_window = window;
        Self {
            window,
            peer_window,
            una: 0,
            next: 0,
            queue: VecDeque::new(),
            flight: VecDeque::new(),
            trip,
            asking: None,
        }
    }

    pub(super) fn push(&mut self, message: &[u8]) -> Result<(), KcpError> {
        let count = message.len().div_ceil(MSS).max(1);
        if count > MAX_FRAGMENTS {
            return Err(KcpError::TooLong { len: message.len() });
        }
        if self.backlog() + count > MAX_BACKLOG {
            return Err(KcpError::Full);
        }
        let mut pieces = message.chunks(MSS);
        let fragments = (0..count).rev().map(|follow| (follow as u8, pieces.next().unwrap_or_default().to_vec()));
        self.queue.extend(fragments);
        Ok(())
    }

    pub(super) fn backlog(&self) -> usize {
        self.queue.len() + self.flight.len()
    }

    /// What every segment of the peer tells of ours. An `una` beyond what was sent is not believed, and no harm: the
    /// public Go client acknowledges one conversation with the other's (gwell reference §7).
    pub(super) fn on_peer(&mut self, window: u16, una: u32) {
        self.peer_window = window;
        if una.wrapping_sub(self.una) <= self.next.wrapping_sub(self.una) {
            while self.flight.front().is_some_and(|first| is_before(first.sn, una)) {
                self.flight.pop_front();
            }
            self.shrink();
        }
    }

    /// An acknowledgement of one segment, sent at `ts`.
    pub(super) fn on_ack(&mut self, sn: u32, ts: u32, now: u32) -> Result<(), KcpError> {
        if !is_before(sn, self.next) {
            return Err(KcpError::Unsent { sn });
        }
        let rtt = now.wrapping_sub(ts);
        // What is older, or from the future, tells nothing about the way.
        if rtt <= MAX_RTO_MS {
            self.trip.measure(rtt);
        }
        if let Some(at) = self.flight.iter().position(|segment| segment.sn == sn) {
            self.flight.remove(at);
            self.shrink();
        }
        Ok(())
    }

    /// The latest segment that a datagram acknowledged has overtaken those before it.
    pub(super) fn on_latest_ack(&mut self, sn: u32) {
        for segment in self.flight.iter_mut().filter(|segment| is_before(segment.sn, sn)) {
            segment.overtaken += 1;
        }
    }

    fn shrink(&mut self) {
        self.una = self.flight.front().map_or(self.next, |first| first.sn);
    }

    /// Whether the peer's window is shut and it is time to ask whether it still is.
    pub(super) fn asks(&mut self, now: u32) -> bool {
        if self.peer_window != 0 {
            self.asking = None;
            return false;
        }
        let Some(asking) = &mut self.asking else {
            self.asking = Some(Asking { wait: FIRST_ASK_MS, at: now.wrapping_add(FIRST_ASK_MS) });
            return false;
        };
        let due = !is_before(now, asking.at);
        if due {
            asking.wait = (asking.wait + asking.wait / 2).min(MAX_ASK_MS);
            asking.at = now.wrapping_add(asking.wait);
        }
        due
    }

    /// Gives `emit` every segment whose time has come: new ones as far as both windows let, and those to repeat.
    pub(super) fn flush(&mut self, now: u32, mut emit: impl FnMut(Segment<'_>)) {
        self.launch(now);
        let rto = self.trip.rto;
        for segment in self.flight.iter_mut().filter_map(|segment| segment.is_due(now, rto).then_some(segment)) {
            emit(Segment {
                conversation: 0,
                command: Command::Push,
                fragment: segment.fragment,
                window: 0,
                ts: now,
                sn: segment.sn,
                una: 0,
                data: &segment.data,
            });
        }
    }

    fn launch(&mut self, now: u32) {
        while self.has_room()
            && let Some((fragment, data)) = self.queue.pop_front()
        {
            let (sn, rto) = (self.next, self.trip.rto);
            self.next = sn.wrapping_add(1);
            self.flight.push_back(InFlight { sn, fragment, data, repeat_at: now, rto, overtaken: 0, sent: 0 });
        }
    }

    fn has_room(&self) -> bool {
        self.next.wrapping_sub(self.una) < u32::from(self.window.min(self.peer_window))
    }

    /// How long until something is to be sent, if the peer stays silent.
    pub(super) fn due_in_ms(&self, now: u32) -> Option<u32> {
        let overtaken = self.flight.iter().any(InFlight::is_overtaken);
        if overtaken || (self.has_room() && !self.queue.is_empty()) {
            return Some(0);
        }
        // A window that has just been found shut has no time to ask yet.
        let asking = (self.peer_window == 0).then(|| self.asking.as_ref().map_or(now, |asking| asking.at));
        let times = self.flight.iter().map(|segment| segment.repeat_at).chain(asking);
        times.map(|at| at.wrapping_sub(now).cast_signed().max(0).cast_unsigned()).min()
    }
}

impl InFlight {
    /// Whether it has to be sent now; then it counts as sent.
    fn is_due(&mut self, now: u32, rto: u32) -> bool {
        if self.sent == 0 {
            self.rto = rto;
            self.repeat_at = now.wrapping_add(rto + rto / 8);
        } else if !is_before(now, self.repeat_at) {
            self.rto = (self.rto + self.rto.max(rto)).min(MAX_RTO_MS);
            self.repeat_at = now.wrapping_add(self.rto);
        } else if self.is_overtaken() {
            self.overtaken = 0;
            self.repeat_at = now.wrapping_add(self.rto);
        } else {
            return false;
        }
        self.sent += 1;
        true
    }

    fn is_overtaken(&self) -> bool {
        self.overtaken >= OVERTAKEN && self.sent <= MOST_FAST_REPEATS
    }
}

/// Numbers and times wrap: the shorter way round decides.
fn is_before(earlier: u32, later: u32) -> bool {
    earlier.wrapping_sub(later).cast_signed() < 0
}
