//! What a virtual doorbell can be told to do wrong in calls.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One way of misbehaving. A doorbell has at most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Answers no offer.
    NoAnswer,
    /// Answers after [`Fault::LATE`].
    LateAnswer,
    /// Hangs up when it is to talk.
    CloseChannel,
    /// Its consent to a talk has a body, of which nobody knows the meaning.
    ConsentWithBody,
    /// Talks without saying so.
    NoConsent,
    /// Answers no Ping.
    NoPong,
    /// Pings by itself when the channel opens.
    Pings,
    /// Leaves yesterday's candidate and answer on the app's node in front of its own.
    Stale,
    /// Another app of the household offers on the doorbell's node while it is called.
    ForeignOffer,
    /// Sends its candidates with a line end, as a client does that others have got used to.
    CandidateLineEnds,
    /// Sends bytes that are no message, and one that nobody knows, in front of each consent.
    Garbage,
}

impl Fault {
    /// How late a late answer is: later than usual, and before anybody gives up.
    pub const LATE: Duration = Duration::from_secs(4);

    pub const ALL: [Self; 11] = [
        Self::NoAnswer,
        Self::LateAnswer,
        Self::CloseChannel,
        Self::ConsentWithBody,
        Self::NoConsent,
        Self::NoPong,
        Self::Pings,
        Self::Stale,
        Self::ForeignOffer,
        Self::CandidateLineEnds,
        Self::Garbage,
    ];

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::LateAnswer => "late-answer",
            Self::CloseChannel => "close-channel",
            Self::ConsentWithBody => "consent-with-body",
            Self::NoConsent => "no-consent",
            Self::NoPong => "no-pong",
            Self::Pings => "pings",
            Self::Stale => "stale",
            Self::ForeignOffer => "foreign-offer",
            Self::CandidateLineEnds => "candidate-line-ends",
            Self::Garbage => "garbage",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fault's name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no fault of a doorbell is called `{name}`; there are {}", names())]
pub struct UnknownFault {
    name: String,
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == name);
        found.ok_or_else(|| UnknownFault { name: name.to_owned() })
    }
}

fn names() -> String {
    Fault::ALL.map(|fault| format!("`{fault}`")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name_and_no_other() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        let error = "stale-".parse::<Fault>().unwrap_err().to_string();
        assert!(error.starts_with("no fault of a doorbell is called `stale-`; there are `no-answer`, "), "{error}");
    }
}
