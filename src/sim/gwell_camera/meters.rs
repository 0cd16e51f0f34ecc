//! Signs of life in both directions (gwell reference §5).

use std::time::{Duration, Instant};

use super::checks::{Check, Checks};
use crate::proto::gwell::control::{Control, Meter, Route};

/// Real cameras send one each 1 to 2 s.
const EVERY: Duration = Duration::from_millis(1_500);
/// While it is not known where the viewer is, so that it finds the camera.
const EVERY_AT_FIRST: Duration = Duration::from_millis(500);
/// A viewer owes one each 2 s; some that are lost are the network's fault.
const LATE: Duration = Duration::from_secs(11);
/// Our requests without an answer until it is the viewer's fault.
const UNANSWERED: u32 = 10;

pub(super) struct Meters {
    route: Route,
    round: u32,
    next: Instant,
    /// The viewer's last request.
    heard: Instant,
    unanswered: u32,
}

impl Meters {
    pub(super) fn begin(now: Instant, route: Route) -> Self {
        Self { route, round: 0, next: now, heard: now, unanswered: 0 }
    }

    /// The viewer may be heard any moment.
    pub(super) fn hasten(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    /// From the camera to its viewer.
    pub(super) fn route(&self) -> Route {
        self.route
    }

    pub(super) fn on_request(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) fn on_ack(&mut self, checks: &mut Checks) {
        self.unanswered = 0;
        checks.note(Check::MeterAcks, true);
    }

    /// The request that is due.
    pub(super) fn take(&mut self, now: Instant, unix_ms: u64, found: bool) -> Option<Control> {
        if now < self.next {
            return None;
        }
        self.next = now + if found { EVERY } else { EVERY_AT_FIRST };
        self.round += 1;
        self.unanswered += u32::from(found);
        Some(Control::Meter(self.route, Meter::new(self.round, unix_ms)))
    }

    /// What is to be said of a viewer that watches since then.
    pub(super) fn judge(&self, now: Instant, since: Instant, checks: &mut Checks) {
        checks.note(Check::Meters, now < self.heard.max(since) + LATE);
        if self.unanswered > UNANSWERED {
            checks.note(Check::MeterAcks, false);
        }
    }

    /// Whether the viewer has been forgotten, at a camera of so much patience.
    pub(super) fn are_starved(&self, now: Instant, patience: Duration) -> bool {
        now >= self.heard + patience
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next
    }
}
