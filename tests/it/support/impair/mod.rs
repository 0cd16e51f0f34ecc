//! A bad network: the fates of datagrams, for tests in virtual time, and relays for UDP and TCP on loopback, for those
//! on real sockets. All faults come from a seed.
//!
//! What becomes of the nth datagram of a direction, or of the nth block of a connection, depends on the seed, the
//! [`Line`] and n alone, never on the machine's speed. Time does depend on it: over sockets a delay is at least as long
//! as it says.

mod fate;
mod tcp;
mod udp;

use std::time::Duration;

pub(crate) use fate::{Arrival, Counted, Done, Fates};
pub(crate) use tcp::Tcp;
pub(crate) use udp::Udp;

/// How bad a line is, each way. Probabilities are of each datagram, 0 to 1.
///
/// TCP hides what happens to packets, so in a connection a lost or overtaken block of 1500 bytes comes late, as one
/// sent again does, and none is doubled.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) loss: f64,
    /// That a burst of losses begins, and how many datagrams it takes.
    pub(crate) burst: Option<(f64, u32)>,
    pub(crate) duplicate: f64,
    /// A reordered datagram waits [`Line::REORDER_BY`] longer than the others.
    pub(crate) reorder: f64,
    /// That one bit of a datagram, or of a block of a connection, is another.
    pub(crate) flip: f64,
    /// What every datagram takes.
    pub(crate) delay: Duration,
    /// Up to so much longer or, as far as there is delay, shorter.
    pub(crate) jitter: Duration,
    /// Bits per second. A datagram that does not fit into [`Line::QUEUE`] of it is lost; a connection waits.
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

    /// Loss of `loss`, a tenth as many datagrams doubled and overtaken, and 5 ms of delay.
    pub(crate) fn rough(loss: f64) -> Self {
        Self { loss, duplicate: loss / 10.0, reorder: loss / 10.0, ..Self::late(Duration::from_millis(5)) }
    }

    /// Nothing comes through.
    pub(crate) fn dead() -> Self {
        Self::lossy(1.0)
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
    /// Closes connections, those there are and those that come. Nobody listens where datagrams are sent, which the
    /// sender's kernel is told.
    Refuses,
}
