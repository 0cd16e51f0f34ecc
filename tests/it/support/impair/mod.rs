//! A bad network between two programs: relays for UDP and TCP on loopback whose faults come from a seed.
//!
//! What becomes of the nth datagram of a direction depends on the seed, the [`Line`] and n alone, never on the
//! machine's speed. Time does depend on it: a delay is at least as long as it says.

mod fate;
mod tcp;
mod udp;

use std::time::Duration;

pub(crate) use fate::Fates;
pub(crate) use tcp::Tcp;
pub(crate) use udp::Udp;

/// How bad a line is, each way. Probabilities are of each datagram, 0 to 1.
///
/// TCP hides what happens to packets, so over [`Tcp`] a lost or overtaken piece comes late, as one sent again does,
/// and none is doubled.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) loss: f64,
    /// That a burst of losses begins, and how many datagrams it takes.
    pub(crate) burst: Option<(f64, u32)>,
    pub(crate) duplicate: f64,
    /// A reordered datagram waits [`Line::REORDER_BY`] longer than the others.
    pub(crate) reorder: f64,
    /// That one bit of a datagram, or of 1500 bytes of a connection, is another.
    pub(crate) flip: f64,
    /// What every datagram takes.
    pub(crate) delay: Duration,
    /// Up to so much longer or, as far as there is delay, shorter.
    pub(crate) jitter: Duration,
    /// Bits per second; what does not fit into [`Line::QUEUE`] of it is lost.
    pub(crate) rate: Option<u32>,
}

impl Line {
    pub(crate) const REORDER_BY: Duration = Duration::from_millis(15);
    /// How long a datagram may wait for the ones before it.
    pub(crate) const QUEUE: Duration = Duration::from_millis(500);
    /// How late TCP is with what was lost.
    pub(crate) const RETRANSMISSION: Duration = Duration::from_millis(200);

    pub(crate) fn lossy(loss: f64) -> Self {
        Self { loss, ..Self::default() }
    }

    pub(crate) fn late(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// What a relay does with everything, for as long as it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// As the line is.
    #[default]
    Passes,
    /// Half open: nothing comes through in either direction, and nobody is told.
    Silent,
    /// Closes connections, those there are and those that come; datagrams are lost.
    Refuses,
}
