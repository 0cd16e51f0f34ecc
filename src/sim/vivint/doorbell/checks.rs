//! What a doorbell verifies about the apps that call it (vivint reference §8, §9).

use crate::sim::checks;

/// One rule that an app keeps or breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    /// The offer can be answered: sound first, then the data channel.
    Offer,
    /// Each call has a transaction of its own: a random UUID.
    Transaction,
    /// `_timestamp` is now, in milliseconds.
    Timestamp,
    /// For a talk, no video source is named.
    VideoSource,
    /// A candidate comes with `sdpMLineIndex` and behind an offer.
    Candidate,
    /// What is said over the channel is a message, and one that apps send.
    Message,
    /// A Ping is the first thing that is said.
    PingFirst,
    /// Who talks says when it is over, before hanging up.
    Farewell,
}

impl Check {
    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Transaction => "transaction",
            Self::Timestamp => "timestamp",
            Self::VideoSource => "video_source",
            Self::Candidate => "candidate",
            Self::Message => "message",
            Self::PingFirst => "ping_first",
            Self::Farewell => "farewell",
        }
    }
}

pub(super) type Checks = checks::Checks<Check>;
