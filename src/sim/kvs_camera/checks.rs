//! What the service and the camera behind it verify about a viewer (kvs reference §4, §5).

use crate::sim::checks;

/// One rule that a viewer keeps or breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    /// Frames are text.
    Text,
    /// A frame is the JSON that it should be, with a payload of the kind that its action says.
    Frame,
    /// No payload is longer than Amazon takes.
    PayloadSize,
    /// A correlation id has 1 to 256 letters, digits, `_`, `.` or `-`.
    CorrelationId,
    /// A viewer offers and does not answer.
    Action,
    /// Candidates come behind the offer that they belong to.
    OfferFirst,
    /// A candidate is one, or empty.
    Candidate,
    /// At most 5 offers a second.
    OfferRate,
    /// At most 20 candidates a second.
    CandidateRate,
    /// The offer can be answered: it has sections with names, and H.264 with packetization mode 1.
    Offer,
}

impl Check {
    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Frame => "frame",
            Self::PayloadSize => "payload_size",
            Self::CorrelationId => "correlation_id",
            Self::Action => "action",
            Self::OfferFirst => "offer_first",
            Self::Candidate => "candidate",
            Self::OfferRate => "offer_rate",
            Self::CandidateRate => "candidate_rate",
            Self::Offer => "offer",
        }
    }
}

pub(super) type Checks = checks::Checks<Check>;
