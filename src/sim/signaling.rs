//! What Amazon's signaling service holds its clients to, whoever plays the service (kvs reference §4).

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::ws::Message;

use crate::clock::Instant;
use crate::proto::kvs::signaling::{FrameError, Inbound, MessageType, Outbound, Payload, StatusResponse};

/// At a time, in one channel (Amazon's quota).
pub(super) const MAX_VIEWERS: usize = 10;
/// Amazon's quotas, for each connection.
pub(super) const OFFERS_PER_SECOND: usize = 5;
pub(super) const CANDIDATES_PER_SECOND: usize = 20;

/// How long the service bears a connection (Amazon's quotas).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Then it says GO_AWAY.
    pub connection: Duration,
    /// Between GO_AWAY and the end.
    pub grace: Duration,
    /// Without a frame.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let [connection, grace, idle] = [3_600, 60, 600].map(Duration::from_secs);
        Self { connection, grace, idle }
    }
}

/// One rule that the service makes for each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// Frames are text.
    Text,
    /// A frame is the JSON that it should be, with a payload of the kind that its action says.
    Frame,
    /// No payload is longer than Amazon takes.
    PayloadSize,
    /// A correlation id has 1 to 256 letters, digits, `_`, `.` or `-`.
    CorrelationId,
    /// At most so many offers and answers a second.
    OfferRate,
    /// At most so many candidates a second.
    CandidateRate,
}

impl Rule {
    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Frame => "frame",
            Self::PayloadSize => "payload_size",
            Self::CorrelationId => "correlation_id",
            Self::OfferRate => "offer_rate",
            Self::CandidateRate => "candidate_rate",
        }
    }
}

/// Why a frame is not relayed.
pub(super) struct Refused {
    error_type: &'static str,
    pub(super) why: String,
}

impl Refused {
    pub(super) fn invalid(why: impl ToString) -> Self {
        Self { error_type: "InvalidArgumentException", why: why.to_string() }
    }

    fn of(rule: Rule, why: impl ToString) -> Self {
        match rule {
            Rule::OfferRate | Rule::CandidateRate => {
                Self { error_type: "ClientLimitExceededException", why: why.to_string() }
            }
            Rule::Text | Rule::Frame | Rule::PayloadSize | Rule::CorrelationId => Self::invalid(why),
        }
    }

    /// What the sender is told, which Amazon does only where it was given a correlation id.
    pub(super) fn report(&self, frame: &str) -> Option<String> {
        let correlation_id = Outbound::correlation_id_of(frame)?;
        Some(status(correlation_id, self.error_type, &self.why))
    }
}

/// A STATUS_RESPONSE.
pub(super) fn status(correlation_id: String, error_type: &str, description: &str) -> String {
    let status = StatusResponse {
        correlation_id,
        error_type: error_type.to_owned(),
        status_code: "400".to_owned(),
        description: description.to_owned(),
    };
    Inbound { status: Some(status), ..Inbound::notice(MessageType::StatusResponse) }.encode()
}

/// Looks at the frames of one connection.
pub(super) struct Examiner {
    offers: Rate,
    candidates: Rate,
}

impl Examiner {
    /// So many offers and candidates a second.
    pub(super) fn new(offers: usize, candidates: usize) -> Self {
        Self { offers: Rate::of(offers), candidates: Rate::of(candidates) }
    }

    /// What the service would relay. Each rule's standing is noted.
    pub(super) fn examine(
        &mut self,
        message: &Message,
        now: Instant,
        mut note: impl FnMut(Rule, bool),
    ) -> Result<Outbound, Refused> {
        let is_text = matches!(message, Message::Text(_));
        noted(&mut note, Rule::Text, is_text.then_some(()).ok_or("the frame is not text"))?;
        let decoded = Outbound::decode(text(message));
        let too_long = matches!(decoded, Err(FrameError::PayloadTooLong(_)));
        noted(&mut note, Rule::PayloadSize, (!too_long).then_some(()).ok_or("messagePayload is too long"))?;
        let outbound = noted(&mut note, Rule::Frame, decoded)?;
        let well_formed = outbound.correlation_id.as_deref().is_none_or(is_id);
        let why = "correlationId has other characters than [a-zA-Z0-9_.-]";
        noted(&mut note, Rule::CorrelationId, well_formed.then_some(()).ok_or(why))?;
        let (rule, rate) = match outbound.payload {
            Payload::Candidate { .. } => (Rule::CandidateRate, &mut self.candidates),
            Payload::Offer { .. } | Payload::Answer { .. } => (Rule::OfferRate, &mut self.offers),
        };
        noted(&mut note, rule, rate.allows(now).then_some(()).ok_or("more than are taken in a second"))?;
        Ok(outbound)
    }
}

fn noted<T, E: ToString>(note: &mut impl FnMut(Rule, bool), rule: Rule, outcome: Result<T, E>) -> Result<T, Refused> {
    note(rule, outcome.is_ok());
    outcome.map_err(|why| Refused::of(rule, why))
}

/// Empty for what is no text.
pub(super) fn text(message: &Message) -> &str {
    match message {
        Message::Text(text) => text.as_str(),
        _ => "",
    }
}

/// What Amazon takes as the id of a client or a message, and as a channel's name.
pub(super) fn is_id(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// So many within any second.
#[derive(Debug)]
pub(super) struct Rate {
    /// When each of the latest came, the oldest first.
    latest: VecDeque<Instant>,
    most: usize,
}

impl Rate {
    pub(super) fn of(most: usize) -> Self {
        Self { latest: VecDeque::new(), most }
    }

    pub(super) fn allows(&mut self, now: Instant) -> bool {
        self.latest.retain(|at| now.duration_since(*at) < Duration::from_secs(1));
        let allowed = self.latest.len() < self.most;
        if allowed {
            self.latest.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_of_any_second() {
        let mut rate = Rate::of(2);
        let mut allows = || rate.allows(clock::now());
        assert_eq!([allows(), allows(), allows()], [true, true, false]);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(!allows());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!([allows(), allows(), allows()], [true, true, false]);
    }

    #[test]
    fn an_id_is_what_amazon_takes() {
        assert!(is_id("1700000000123") && is_id("a-B_c.9") && is_id(&"x".repeat(256)));
        assert!(!is_id("") && !is_id("a b") && !is_id("ü") && !is_id(&"x".repeat(257)));
    }
}
