//! Who is connected to a channel, and frames on their way from one to another.

use std::collections::{HashMap, VecDeque};

use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::event::Event;
use super::super::exception::Exception;
use crate::clock::Instant;
use crate::proto::kvs::signaling::Action;
use crate::sim::signaling::{MAX_VIEWERS, status};

/// Frames that wait for one connection to send them; more are lost.
const INBOX: usize = 256;
/// Frames that wait in one channel for clients that are not there; the oldest is lost to a newer one.
const KEPT: usize = 128;

/// One end of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::sim::aws) enum Party {
    Master,
    /// By its client id.
    Viewer(String),
}

impl Party {
    pub(in crate::sim::aws) fn client_id(&self) -> Option<String> {
        match self {
            Self::Master => None,
            Self::Viewer(id) => Some(id.clone()),
        }
    }

    pub(in crate::sim::aws) fn role(&self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Viewer(_) => "VIEWER",
        }
    }
}

/// What somebody wants passed on.
#[derive(Debug, Clone)]
pub(in crate::sim::aws) struct Frame {
    pub(in crate::sim::aws) from: Party,
    pub(in crate::sim::aws) to: Party,
    pub(in crate::sim::aws) action: Action,
    /// As it came: the service does not look into it but to refuse it.
    pub(in crate::sim::aws) payload: String,
    pub(in crate::sim::aws) correlation_id: Option<String>,
}

impl Frame {
    pub(super) fn message(&self) -> &'static str {
        match self.action {
            Action::SdpOffer => "SDP_OFFER",
            Action::SdpAnswer => "SDP_ANSWER",
            Action::IceCandidate => "ICE_CANDIDATE",
        }
    }

    /// As its receiver gets it. Only the master is told by whom it is.
    pub(super) fn inbound(&self) -> String {
        let mut frame = json!({ "messagePayload": self.payload, "messageType": self.message() });
        if let (Party::Master, Some(sender)) = (&self.to, self.from.client_id()) {
            frame["senderClientId"] = sender.into();
        }
        frame.to_string()
    }

    pub(in crate::sim::aws) fn lost(&self, channel: &str) -> Event {
        let (from, to) = (self.from.client_id(), self.to.client_id());
        Event::Lost { channel: channel.to_owned(), message: self.message(), from, to }
    }
}

/// What a connection is to send.
#[derive(Debug)]
pub(in crate::sim::aws) enum Outgoing {
    Relayed(Frame),
    /// A STATUS_RESPONSE.
    Report(String),
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    On,
    Kept,
    /// Its receiver does not read.
    Lost,
}

/// A connection's place in a channel, free again when dropped.
pub(super) struct Seat {
    pub(super) inbox: mpsc::Receiver<Outgoing>,
    /// Cancelled when the same client has connected anew, which Amazon does not tell the older connection, or when the
    /// channel is gone.
    pub(super) replaced: CancellationToken,
}

struct Taken {
    /// Closed when the seat is free again.
    outbox: mpsc::Sender<Outgoing>,
    replaced: CancellationToken,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.replaced.cancel();
    }
}

struct Kept {
    frame: Frame,
    until: Instant,
}

/// One channel's connections.
#[derive(Default)]
pub(in crate::sim::aws) struct Relay {
    seats: HashMap<Party, Taken>,
    kept: VecDeque<Kept>,
}

impl Relay {
    pub(in crate::sim::aws) fn full() -> Exception {
        Exception::limit("The maximum number of viewers of this channel is connected.")
    }

    /// Takes a seat, in place of whoever has it, and hands over what waits for it.
    ///
    /// # Errors
    /// An eleventh viewer's.
    pub(super) fn sit(&mut self, party: &Party) -> Result<Seat, Exception> {
        self.clear();
        let viewers = self.seats.keys().filter(|taken| **taken != Party::Master).count();
        if *party != Party::Master && viewers >= MAX_VIEWERS && !self.seats.contains_key(party) {
            return Err(Self::full());
        }
        let replaced = CancellationToken::new();
        let (outbox, inbox) = mpsc::channel(INBOX);
        let (waiting, others) = std::mem::take(&mut self.kept).into_iter().partition(|kept| kept.frame.to == *party);
        self.kept = others;
        let waiting: VecDeque<Kept> = waiting;
        for kept in waiting {
            // Fewer wait than there is room for.
            let _ = outbox.try_send(Outgoing::Relayed(kept.frame));
        }
        self.seats.insert(party.clone(), Taken { outbox, replaced: replaced.clone() });
        Ok(Seat { inbox, replaced })
    }

    fn clear(&mut self) {
        self.seats.retain(|_, taken| !taken.outbox.is_closed());
    }

    /// Hands a frame to whom it is for, or keeps it until then.
    pub(super) fn pass(&mut self, frame: Frame, until: Instant) -> Passed {
        self.clear();
        if let Some(taken) = self.seats.get(&frame.to) {
            let sent = taken.outbox.try_send(Outgoing::Relayed(frame));
            return if sent.is_ok() { Passed::On } else { Passed::Lost };
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept { frame, until });
        Passed::Kept
    }

    /// Lets go of what has waited too long, and tells the senders that have asked to be told.
    pub(in crate::sim::aws) fn sweep(&mut self, now: Instant) -> Vec<Frame> {
        let (over, waiting): (VecDeque<Kept>, _) =
            std::mem::take(&mut self.kept).into_iter().partition(|kept| kept.until <= now);
        self.kept = waiting;
        let over: Vec<Frame> = over.into_iter().map(|kept| kept.frame).collect();
        for frame in &over {
            if let (Some(taken), Some(id)) = (self.seats.get(&frame.from), &frame.correlation_id) {
                // The name of this failure is a guess.
                let report = status(id.clone(), "ResourceNotFoundException", "the recipient is not connected");
                let _ = taken.outbox.try_send(Outgoing::Report(report));
            }
        }
        over
    }

    pub(in crate::sim::aws) fn next_sweep(&self) -> Option<Instant> {
        self.kept.iter().map(|kept| kept.until).min()
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    fn viewer(n: usize) -> Party {
        Party::Viewer(format!("viewer-{n}"))
    }

    fn offer(correlation_id: Option<&str>) -> Frame {
        let (from, to, payload) = (viewer(1), Party::Master, "e30=".to_owned());
        Frame { from, to, action: Action::SdpOffer, payload, correlation_id: correlation_id.map(str::to_owned) }
    }

    #[tokio::test]
    async fn what_waits_is_handed_over_and_never_more_than_is_kept() {
        let mut relay = Relay::default();
        let until = clock::now() + Duration::from_secs(60);
        for _ in 0..KEPT + 5 {
            assert_eq!(relay.pass(offer(None), until), Passed::Kept);
        }
        let mut master = relay.sit(&Party::Master).unwrap();
        let mut came = 0;
        while let Ok(Outgoing::Relayed(frame)) = master.inbox.try_recv() {
            assert!(frame.inbound().contains(r#""senderClientId":"viewer-1""#), "{}", frame.inbound());
            came += 1;
        }
        assert_eq!((came, relay.waiting()), (KEPT, 0));
        assert_eq!(relay.pass(offer(None), until), Passed::On);
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_has_asked_is_told_of_what_was_lost() {
        let mut relay = Relay::default();
        let mut sender = relay.sit(&viewer(1)).unwrap();
        let until = clock::now() + Duration::from_secs(5);
        relay.pass(offer(None), until);
        relay.pass(offer(Some("c-1")), until);
        assert_eq!(relay.sweep(clock::now()).len(), 0);
        assert_eq!(relay.next_sweep(), Some(until));
        assert_eq!(relay.sweep(until).len(), 2);
        let Ok(Outgoing::Report(report)) = sender.inbox.try_recv() else { panic!("no report") };
        assert!(report.contains(r#""correlationId":"c-1""#), "{report}");
        assert!(sender.inbox.try_recv().is_err() && relay.next_sweep().is_none());
    }

    #[tokio::test]
    async fn the_same_client_takes_its_own_place_and_an_eleventh_finds_none() {
        let mut relay = Relay::default();
        let mut seats: Vec<Seat> = (0..MAX_VIEWERS).map(|n| relay.sit(&viewer(n)).unwrap()).collect();
        assert_eq!(relay.sit(&viewer(99)).err(), Some(Relay::full()));
        let again = relay.sit(&viewer(0)).unwrap();
        assert!(seats[0].replaced.is_cancelled() && !seats[1].replaced.is_cancelled());
        // The older connection leaves and takes nobody's seat away.
        drop(seats.remove(0));
        assert!(!again.replaced.is_cancelled() && relay.sit(&viewer(99)).is_err());
        drop(seats.remove(0));
        assert!(relay.sit(&viewer(99)).is_ok() && relay.sit(&Party::Master).is_ok());
    }
}
