//! What the service and the camera behind it verify about a viewer (kvs reference §4, §5).

use crate::sim::checks;
use crate::sim::signaling::Rule;

/// One rule that a viewer keeps or breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    /// Amazon's service makes it for every client.
    Service(Rule),
    /// A viewer offers and does not answer.
    Action,
    /// Candidates come behind the offer that they belong to.
    OfferFirst,
    /// A candidate is one, or empty.
    Candidate,
    /// The offer can be answered: it has sections with names, and H.264 with packetization mode 1.
    Offer,
}

impl Check {
    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Service(rule) => rule.name(),
            Self::Action => "action",
            Self::OfferFirst => "offer_first",
            Self::Candidate => "candidate",
            Self::Offer => "offer",
        }
    }
}

pub(super) type Checks = checks::Checks<Check>;
