//! What a virtual camera can be told to do wrong.

use std::fmt;
use std::str::FromStr;

/// One way of misbehaving. A camera has at most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Takes every datagram and answers none.
    NoAnswer,
    /// Answers discovery in both families, whatever it was started as, and then speaks the one chosen.
    BothFamilies,
    /// Answers the AV login without success, and the K-authentication with `connectionRes` 2.
    LoginRefused,
    /// Derives its DTLS key from another ENR.
    WrongPsk,
    /// Sends every media packet twice.
    Duplicate,
    /// Sends every tenth media packet after the one that follows it.
    Swap,
    /// Does not send every twentieth media packet.
    Loss,
    /// Keeps the session and sends nothing more in it, neither media nor keepalives.
    Freeze,
    /// Goes on from another UDP port; each time it is set, it moves again.
    PortChange,
    /// Consents to talk and never opens the back channel.
    NoBackChannel,
    /// Has an ENR whose SHA-256 holds a zero byte, so that the key ends there.
    EnrWithNul,
    /// Sends no media for two seconds, once, and then goes on.
    MediaGap,
}

impl Fault {
    pub const ALL: [Self; 12] = [
        Self::NoAnswer,
        Self::BothFamilies,
        Self::LoginRefused,
        Self::WrongPsk,
        Self::Duplicate,
        Self::Swap,
        Self::Loss,
        Self::Freeze,
        Self::PortChange,
        Self::NoBackChannel,
        Self::EnrWithNul,
        Self::MediaGap,
    ];

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::BothFamilies => "both-families",
            Self::LoginRefused => "login-refused",
            Self::WrongPsk => "wrong-psk",
            Self::Duplicate => "duplicate",
            Self::Swap => "swap",
            Self::Loss => "loss",
            Self::Freeze => "freeze",
            Self::PortChange => "port-change",
            Self::NoBackChannel => "no-back-channel",
            Self::EnrWithNul => "enr-with-nul",
            Self::MediaGap => "media-gap",
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
        let error = "frieze".parse::<Fault>().unwrap_err().to_string();
        assert!(error.starts_with("no fault is called `frieze`; there are `no-answer`, "), "{error}");
    }
}
