//! What a virtual KVS camera, or the service in front of it, can be told to do wrong.

use std::fmt;
use std::str::FromStr;

/// One way of misbehaving. A camera has at most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Takes every offer and answers none, as when the camera is not connected to the service.
    NoAnswer,
    /// An empty frame and one of an unknown type in front of each answer.
    EmptyFrame,
    /// The service says GO_AWAY behind each answer, and hangs up some time later.
    GoAway,
    /// Answers after [`Fault::LATE`].
    LateAnswer,
    /// Sends its candidates before its answer.
    EarlyCandidates,
    /// Each answer's frame is sent cut in half, and then whole.
    TruncatedFrame,
    /// Takes no connection: HTTP 403.
    Refuse,
    /// The camera's cable is cut: pictures and sound stop without a word, and offers are not answered.
    Vanish,
    /// The camera has no speaker: it answers `sendrecv` with `sendonly`.
    Recvonly,
}

impl Fault {
    /// How late a late answer is: later than usual, and before anybody gives up.
    pub const LATE: std::time::Duration = std::time::Duration::from_secs(4);

    pub const ALL: [Self; 9] = [
        Self::NoAnswer,
        Self::EmptyFrame,
        Self::GoAway,
        Self::LateAnswer,
        Self::EarlyCandidates,
        Self::TruncatedFrame,
        Self::Refuse,
        Self::Vanish,
        Self::Recvonly,
    ];

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::EmptyFrame => "empty-frame",
            Self::GoAway => "go-away",
            Self::LateAnswer => "late-answer",
            Self::EarlyCandidates => "early-candidates",
            Self::TruncatedFrame => "truncated-frame",
            Self::Refuse => "refuse",
            Self::Vanish => "vanish",
            Self::Recvonly => "recvonly",
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
#[error("no fault is called `{name}`; there are {}", names())]
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
        let error = "vanished".parse::<Fault>().unwrap_err().to_string();
        assert!(error.starts_with("no fault is called `vanished`; there are `no-answer`, "), "{error}");
    }
}
