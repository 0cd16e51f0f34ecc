//! Looking for a P2P server: asking those who know, then who of those named answers (gwell reference §3.2, §11 step 0).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::random::Random;
use crate::proto::gwell::directory::{DetectRequest, ListReply, ListRequest, Reachable};
use crate::proto::gwell::gutes::Frame;

/// What a list server has for its answer before the next is asked as well.
const LIST_HEAD_START: Duration = Duration::from_secs(2);
/// And what the last one has, so that a bad network alone ends no search.
const LIST_LIMIT: Duration = Duration::from_secs(6);
/// Who was asked last is asked again, for what was lost on the way.
const AGAIN: Duration = Duration::from_millis(500);
/// The reference client asks in clear, and others say that the servers do not hear that.
const CLEAR_AFTER: Duration = Duration::from_secs(1);
const DETECT_HEAD_START: Duration = Duration::from_millis(250);
const DETECT_LIMIT: Duration = Duration::from_secs(2);
/// Whatever is shorter is no answer to a detection.
const MIN_REPLY: usize = 24;
/// Of those that lists name.
const MAX_SERVERS: usize = 20;

/// Asked one after the other, without forgetting the ones before.
pub(super) struct Search {
    step: Step,
    asked: usize,
    next: Instant,
    again: Option<Instant>,
    until: Option<Instant>,
}

enum Step {
    List { servers: Vec<SocketAddr>, in_clear: Option<(Instant, ListRequest)> },
    Detect { servers: Vec<SocketAddr> },
}

/// Where a search has led.
pub(super) enum Found {
    /// The one that answered first, before all others.
    Servers(Vec<SocketAddr>),
    Nothing,
}

impl Search {
    pub(super) fn new(list_servers: Vec<SocketAddr>, now: Instant) -> Self {
        Self {
            step: Step::List { servers: list_servers, in_clear: None },
            asked: 0,
            next: now,
            again: None,
            until: None,
        }
    }

    pub(super) fn has_asked(&self, address: SocketAddr) -> bool {
        let (Step::List { servers, .. } | Step::Detect { servers }) = &self.step;
        servers.iter().take(self.asked).any(|server| *server == address)
    }

    pub(super) fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<Found> {
        match &self.step {
            Step::List { .. } => {
                let servers = servers_in(from, datagram)?;
                *self = Self { step: Step::Detect { servers }, asked: 0, next: now, again: None, until: None };
                None
            }
            Step::Detect { servers } if datagram.len() >= MIN_REPLY => {
                let mut servers = servers.clone();
                servers.sort_by_key(|server| *server != from);
                Some(Found::Servers(servers))
            }
            Step::Detect { .. } => None,
        }
    }

    /// What is to be sent now, and whether the search is over.
    pub(super) fn on_timeout(
        &mut self,
        now: Instant,
        random: &mut Random,
    ) -> (Vec<(SocketAddr, Vec<u8>)>, Option<Found>) {
        let (Step::List { servers, .. } | Step::Detect { servers }) = &self.step;
        if servers.is_empty() || self.until.is_some_and(|until| now >= until) {
            return (Vec::new(), Some(self.exhausted()));
        }
        let mut due = Vec::new();
        match &mut self.step {
            Step::List { servers, in_clear } => {
                let before = self.asked.checked_sub(1).and_then(|last| servers.get(last));
                if let (Some(server), Some((_, request))) = (before, in_clear.take_if(|(at, _)| now >= *at)) {
                    due.push((*server, request.encode().to_plain()));
                }
                let request = list_request(random);
                if now >= self.next
                    && let Some(server) = servers.get(self.asked)
                {
                    due.push((*server, request.encode().seal(None)));
                    *in_clear = Some((now + CLEAR_AFTER, request));
                    self.asked += 1;
                    self.next = now + LIST_HEAD_START;
                    self.again = Some(now + AGAIN);
                } else if let (Some(server), Some(_)) = (before, self.again.take_if(|at| now >= *at)) {
                    due.push((*server, request.encode().seal(None)));
                    self.again = Some(now + AGAIN);
                }
            }
            Step::Detect { servers } => {
                let before = self.asked.checked_sub(1).and_then(|last| servers.get(last));
                if now >= self.next
                    && let Some(server) = servers.get(self.asked)
                {
                    due.push((*server, detect_request(random).encode().seal(None)));
                    self.asked += 1;
                    self.next = now + DETECT_HEAD_START;
                    self.again = Some(now + AGAIN);
                } else if let (Some(server), Some(_)) = (before, self.again.take_if(|at| now >= *at)) {
                    due.push((*server, detect_request(random).encode().seal(None)));
                    self.again = Some(now + AGAIN);
                }
            }
        }
        self.close_when_all_are_asked(now);
        (due, None)
    }

    fn close_when_all_are_asked(&mut self, now: Instant) {
        let (servers, limit) = match &self.step {
            Step::List { servers, .. } => (servers, LIST_LIMIT),
            Step::Detect { servers } => (servers, DETECT_LIMIT),
        };
        if self.asked == servers.len() && self.until.is_none() {
            self.until = Some(now + limit);
        }
    }

    /// A server may not answer a detection and take a certification all the same.
    fn exhausted(&self) -> Found {
        match &self.step {
            Step::List { .. } => Found::Nothing,
            Step::Detect { servers } => Found::Servers(servers.clone()),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        let in_clear = match &self.step {
            Step::List { in_clear, .. } => in_clear.as_ref().map(|(at, _)| *at),
            Step::Detect { .. } => None,
        };
        let next = self.until.unwrap_or(self.next);
        in_clear.into_iter().chain(self.again).fold(next, Instant::min)
    }
}

fn servers_in(from: SocketAddr, datagram: &[u8]) -> Option<Vec<SocketAddr>> {
    let frame = Frame::open(datagram, None).or_else(|_| Frame::of_plain(datagram)).ok()?;
    let reply = ListReply::decode(&frame, Reachable::from(from.ip())).ok()?;
    Some(reply.servers.iter().map(|server| server.socket_address()).take(MAX_SERVERS).collect())
}

fn list_request(random: &mut Random) -> ListRequest {
    ListRequest { id: random.u64(), sqnum: random.u32(), noise: random.bytes() }
}

/// For P2P servers and cameras alike.
pub(super) fn detect_request(random: &mut Random) -> DetectRequest {
    DetectRequest { id: random.u64(), sqnum: random.u32(), noise: random.bytes() }
}
