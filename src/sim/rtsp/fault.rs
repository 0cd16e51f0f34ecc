//! What a virtual RTSP server can be told to do wrong.

use std::fmt;
use std::str::FromStr;

/// One way of misbehaving. A server has at most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Takes connections and answers nothing.
    Deaf,
    /// Pictures and sound stop without a word; requests are answered.
    Silent,
    /// Data comes on channels that nobody has asked for.
    WrongChannel,
    /// What comes on the channels is no RTP.
    BrokenRtp,
    /// A frame says that it has 65,535 bytes, and the next one begins behind its fourth.
    HugeFrame,
    /// Bytes without form between the frames.
    Garbage,
    /// Some packets of the picture are left out, as by a camera that cannot keep up.
    Skips,
    /// The description says that it has 4 GiB.
    HugeReply,
    /// The description has a medium without a format.
    BadDescription,
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::Deaf,
        Self::Silent,
        Self::WrongChannel,
        Self::BrokenRtp,
        Self::HugeFrame,
        Self::Garbage,
        Self::Skips,
        Self::HugeReply,
        Self::BadDescription,
    ];

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deaf => "deaf",
            Self::Silent => "silent",
            Self::WrongChannel => "wrong-channel",
            Self::BrokenRtp => "broken-rtp",
            Self::HugeFrame => "huge-frame",
            Self::Garbage => "garbage",
            Self::Skips => "skips",
            Self::HugeReply => "huge-reply",
            Self::BadDescription => "bad-description",
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
        let error = "quiet".parse::<Fault>().unwrap_err().to_string();
        assert!(error.starts_with("no fault is called `quiet`; there are `deaf`, "), "{error}");
    }
}
