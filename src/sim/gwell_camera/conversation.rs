//! The two KCP conversations of a call, in segments on one side and in messages on the other (gwell reference §7).

use std::time::Duration;

use super::checks::{Check, Checks};
use crate::proto::gwell::kcp::{self, Arq, Conversations, Kcp, Windows};

/// Beyond so many segments that wait, nothing is added: the viewer does not keep up, or is gone.
const MOST_WAITING: usize = 512;
/// What a viewer's window must reach: one that was opened for 64 segments stalls when one is lost (seed, rule 4).
const WIDE: u16 = 256;

pub(super) struct Conversation {
    ids: Conversations,
    data: Kcp,
    ctrl: Kcp,
    /// The widest that the viewer's window for data was.
    window: u16,
}

impl Conversation {
    pub(super) fn new(link_id: u32) -> Self {
        let ids = kcp::conversations(link_id);
        Self { ids, data: Kcp::new(ids.data, Windows::DATA), ctrl: Kcp::new(ids.ctrl, Windows::CTRL), window: 0 }
    }

    /// Takes segments of either. Those that cannot be are left out, as a real camera's engine does: the public Go
    /// client acknowledges on one conversation what it has of the other (gwell reference §7).
    pub(super) fn on_segments(&mut self, segments: &[u8]) {
        for (conversation, run) in kcp::by_conversation(segments) {
            let engine = match conversation {
                id if id == self.ids.data => {
                    self.window = self.window.max(window_of(run));
                    &mut self.data
                }
                id if id == self.ids.ctrl => &mut self.ctrl,
                _ => continue,
            };
            if let Err(error) = engine.input(run) {
                tracing::trace!(%error, "segments left out");
            }
        }
    }

    /// The next whole message of either.
    pub(super) fn message(&mut self) -> Option<Vec<u8>> {
        self.ctrl.recv().or_else(|| self.data.recv())
    }

    pub(super) fn send_ctrl(&mut self, message: &[u8]) {
        queue(&mut self.ctrl, message);
    }

    pub(super) fn send_data(&mut self, message: &[u8]) {
        queue(&mut self.data, message);
    }

    /// Whether the viewer keeps up.
    pub(super) fn has_room(&self) -> bool {
        self.data.backlog() < MOST_WAITING
    }

    /// What is to be said of a viewer that has acknowledged media for a while.
    pub(super) fn judge(&self, checks: &mut Checks) {
        checks.note(Check::Window, self.window >= WIDE);
    }

    pub(super) fn update(&mut self, unix_ms: u64) {
        self.ctrl.update(wrapped(unix_ms));
        self.data.update(wrapped(unix_ms));
    }

    /// A payload to send.
    pub(super) fn poll(&mut self) -> Option<Vec<u8>> {
        self.ctrl.poll().or_else(|| self.data.poll())
    }

    pub(super) fn due_in(&self, unix_ms: u64) -> Duration {
        let now_ms = wrapped(unix_ms);
        self.ctrl.due_in(now_ms).min(self.data.due_in(now_ms))
    }
}

/// KCP's clock.
fn wrapped(unix_ms: u64) -> u32 {
    unix_ms as u32
}

fn queue(engine: &mut Kcp, message: &[u8]) {
    // Full: whoever does not take what is sent does not see it.
    if let Err(error) = engine.send(message) {
        tracing::debug!(%error, "message left out");
    }
}

/// What the first segment says of its sender's window.
fn window_of(segment: &[u8]) -> u16 {
    segment.get(6..8).and_then(<[u8]>::first_chunk).copied().map_or(0, u16::from_le_bytes)
}
