//! One viewer's WebSocket: its frames are checked and passed to the master, and the master's to it (kvs
//! reference §4).

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use tokio::sync::{broadcast, mpsc};

use super::CameraEvent;
use super::checks::Check;
use super::fault::Fault;
use super::master::NotAnswered;
use super::reply;
use super::service::{Seat, Service};
use crate::clock::{self, Instant};
use crate::proto::kvs::signaling::{Inbound, MessageType, Payload};
use crate::rtc::Answered;
use crate::sim::signaling::{self, CANDIDATES_PER_SECOND, Examiner, OFFERS_PER_SECOND, Refused};

/// That wait for the camera's answer; more are dropped.
const MAX_WAITING: usize = 64;

/// What becomes of one offer.
type Outcome = Result<Answered, NotAnswered>;

pub(super) struct Connection {
    service: Arc<Service>,
    seat: Seat,
    socket: WebSocket,
    notices: broadcast::Receiver<MessageType>,
    /// What the master says to the latest offer.
    outcomes: Option<mpsc::Receiver<Outcome>>,
    offered: bool,
    call: Option<u64>,
    /// Candidates that came before the camera has answered.
    waiting: Vec<String>,
    examiner: Examiner,
    goes_away_at: Instant,
    hangs_up_at: Option<Instant>,
}

impl Connection {
    pub(super) fn new(service: Arc<Service>, seat: Seat, socket: WebSocket) -> Self {
        Self {
            notices: service.notices(),
            outcomes: None,
            offered: false,
            call: None,
            waiting: Vec::new(),
            examiner: Examiner::new(OFFERS_PER_SECOND, CANDIDATES_PER_SECOND),
            goes_away_at: clock::now() + service.limits.connection,
            hangs_up_at: None,
            service,
            seat,
            socket,
        }
    }

    pub(super) async fn run(mut self) {
        let viewer = self.seat.client_id.clone();
        self.service.master.tell(CameraEvent::Connected { viewer: viewer.clone() });
        let why = self.attend().await;
        self.service.master.tell(CameraEvent::Disconnected { viewer, why });
    }

    /// Until one of both sides ends it; why.
    async fn attend(&mut self) -> &'static str {
        let stop = self.service.stop.clone();
        let replaced = self.seat.replaced.clone();
        let mut idle_at = clock::now() + self.service.limits.idle;
        loop {
            let hangs_up_at = self.hangs_up_at.unwrap_or(idle_at).min(idle_at);
            let sent = tokio::select! {
                () = stop.cancelled() => return "stopping",
                () = replaced.cancelled() => return "replaced by another connection of the same viewer",
                () = tokio::time::sleep_until(hangs_up_at) => return "hung up",
                () = tokio::time::sleep_until(self.goes_away_at), if self.hangs_up_at.is_none() => {
                    self.say(MessageType::GoAway).await
                }
                Ok(notice) = self.notices.recv() => self.say(notice).await,
                outcome = outcome(&mut self.outcomes) => self.settle(outcome).await,
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Close(_))) | None => return "closed by the viewer",
                    Some(Err(_)) => return "cut off",
                    Some(Ok(message)) => {
                        idle_at = clock::now() + self.service.limits.idle;
                        self.take(message).await
                    }
                },
            };
            if sent.is_err() {
                return "cut off";
            }
        }
    }

    async fn say(&mut self, notice: MessageType) -> Result<(), axum::Error> {
        if notice == MessageType::GoAway {
            self.hangs_up_at = Some(clock::now() + self.service.limits.grace);
        }
        self.send(Inbound::notice(notice).encode()).await
    }

    async fn send(&mut self, frame: String) -> Result<(), axum::Error> {
        self.socket.send(Message::text(frame)).await
    }

    async fn take(&mut self, message: Message) -> Result<(), axum::Error> {
        if matches!(message, Message::Ping(_) | Message::Pong(_) | Message::Close(_)) {
            return Ok(());
        }
        match self.examine(&message) {
            Ok(payload) => self.relay(payload).await,
            Err(refused) => {
                tracing::debug!(viewer = self.seat.client_id, why = refused.why, "frame refused");
                if let Some(report) = refused.report(signaling::text(&message)) {
                    return self.send(report).await;
                }
            }
        }
        Ok(())
    }

    /// What Amazon's service would relay, and this camera has a use for.
    fn examine(&mut self, message: &Message) -> Result<Payload, Refused> {
        let service = &self.service;
        let note = |rule, ok| {
            service.note(Check::Service(rule), ok);
        };
        let payload = self.examiner.examine(message, clock::now(), note)?.payload;
        self.check(Check::Action, !matches!(payload, Payload::Answer { .. }), "a viewer sends no SDP_ANSWER")?;
        if let Payload::Candidate { candidate, .. } = &payload {
            self.check(Check::OfferFirst, self.offered, "a candidate before the offer")?;
            let is_one = candidate.is_empty() || candidate.starts_with("candidate:");
            self.check(Check::Candidate, is_one, "a candidate that is none")?;
        }
        Ok(payload)
    }

    fn check(&self, check: Check, ok: bool, why: &str) -> Result<(), Refused> {
        if self.service.note(check, ok) { Ok(()) } else { Err(Refused::invalid(why)) }
    }

    async fn relay(&mut self, payload: Payload) {
        match payload {
            Payload::Offer { sdp } => self.offer(sdp).await,
            Payload::Candidate { candidate, .. } => match self.call {
                Some(call) => self.service.master.add_candidate(call, &candidate).await,
                None if self.waiting.len() < MAX_WAITING => self.waiting.push(candidate),
                None => {}
            },
            // Refused above.
            Payload::Answer { .. } => {}
        }
    }

    /// A second offer of the same viewer ends what came of the first.
    async fn offer(&mut self, sdp: String) {
        self.offered = true;
        self.waiting.clear();
        if let Some(call) = self.call.take() {
            self.service.master.close(call).await;
        }
        let (service, viewer) = (self.service.clone(), self.seat.client_id.clone());
        service.master.tell(CameraEvent::Offer { viewer: viewer.clone() });
        // One offer, one outcome. It is dropped with the connection, and then nobody is left to be answered.
        let (sender, outcomes) = mpsc::channel(1);
        self.outcomes = Some(outcomes);
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = service.master.answer(&viewer, &sdp) => outcome,
                () = sender.closed() => return,
            };
            let _ = sender.send(outcome).await;
        });
    }

    /// Sends what the camera answers, or leaves the viewer waiting.
    async fn settle(&mut self, outcome: Outcome) -> Result<(), axum::Error> {
        self.outcomes = None;
        let viewer = self.seat.client_id.clone();
        let answered = match outcome {
            Ok(answered) => answered,
            Err(not_answered) => {
                if not_answered.is_the_viewers_fault() {
                    self.service.note(Check::Offer, false);
                }
                self.service.master.tell(CameraEvent::NotAnswered { viewer, why: not_answered.to_string() });
                return Ok(());
            }
        };
        self.service.note(Check::Offer, true);
        self.call = Some(answered.viewer);
        let talk = answered.sdp.lines().any(|line| line == "a=sendrecv" || line == "a=recvonly");
        self.service.master.tell(CameraEvent::Answered { viewer, talk });
        for candidate in std::mem::take(&mut self.waiting) {
            self.service.master.add_candidate(answered.viewer, &candidate).await;
        }
        let fault = self.service.master.fault();
        for frame in reply::frames(&answered.sdp, self.service.gathering, fault) {
            self.send(frame).await?;
        }
        if fault == Some(Fault::GoAway) { self.say(MessageType::GoAway).await } else { Ok(()) }
    }
}

/// Waits for ever where no offer is open.
async fn outcome(outcomes: &mut Option<mpsc::Receiver<Outcome>>) -> Outcome {
    match outcomes {
        Some(outcomes) => outcomes.recv().await.unwrap_or(Err(NotAnswered::Away)),
        None => std::future::pending().await,
    }
}
