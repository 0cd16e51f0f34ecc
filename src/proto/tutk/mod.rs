//! ThroughTek's IOTC/AV protocol as Wyze cameras speak it (docs/protocol/tutk.md).
//!
//! From the wire inwards: [`iotc`] (OLD) or [`cc51`] (NEW) carry [`dtls`] datagrams, in which travel
//! [`login`], [`kcommand`], [`frame`] and [`talk`] messages.

pub mod cc51;
pub mod dtls;
pub mod iotc;
pub mod kcommand;
pub mod keys;
pub mod login;
pub mod transcode;
pub mod xxtea;

/// Which of the two DTLS conversations of a session a datagram belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The camera is the DTLS server; everything but talk.
    Main,
    /// The camera is the DTLS client; talk.
    Back,
}

impl Channel {
    fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Main),
            1 => Some(Self::Back),
            _ => None,
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::Main => 0,
            Self::Back => 1,
        }
    }
}

#[cfg(test)]
mod checks {
    use crate::proto::DecodeError;

    pub(super) fn every_truncation_is_refused<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{len} of {} bytes were accepted", bytes.len());
        }
    }

    pub(super) fn every_flipped_bit_is_survived<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&flipped);
        }
    }
}
