//! Amazon's cloud as a client of it: credentials, the control plane of Kinesis Video Streams, and AWS IoT. Both ends
//! of a call need it, the one who rings at a doorbell's channel and the doorbell itself.

mod call;
mod client;
pub mod control;
mod credentials;
mod error;
pub mod iot;
pub mod sts;

use std::fmt;

pub use client::{Aws, Settings};
pub use control::Described;
pub use credentials::Credentials;
pub use error::{Action, AwsError};

/// A signaling channel: one doorbell (kvs reference §2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Channel {
    pub name: String,
    /// `arn:aws:kinesisvideo:us-east-1:123456789012:channel/doorbell-channel/1700000000000`
    pub arn: String,
}

impl Channel {
    /// The name in a name or an ARN.
    pub fn name_in(name_or_arn: &str) -> &str {
        match name_or_arn.starts_with("arn:") {
            true => name_or_arn.split('/').nth(1).unwrap_or(name_or_arn),
            false => name_or_arn,
        }
    }
}

/// Which end of a channel somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The doorbell, of which there is one.
    Master,
    /// Who calls it.
    Viewer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "MASTER",
            Self::Viewer => "VIEWER",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_known_by_its_name_and_by_its_arn() {
        let arn = "arn:aws:kinesisvideo:us-east-1:123456789012:channel/doorbell-channel/1700000000000";
        assert_eq!(Channel::name_in(arn), "doorbell-channel");
        assert_eq!(Channel::name_in("doorbell-channel"), "doorbell-channel");
    }
}
