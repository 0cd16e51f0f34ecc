//! ThroughTek's IOTC/AV protocol as Wyze cameras speak it (docs/protocol/tutk.md).
//!
//! From the wire inwards: [`iotc`] (OLD) or [`cc51`] (NEW) carry [`dtls`] datagrams, in which travel
//! [`login`], [`kcommand`], [`frame`] and [`talk`] messages.

pub mod cc51;
pub mod dtls;
pub mod frame;
pub mod iotc;
pub mod kcommand;
pub mod keys;
pub mod login;
pub mod reassembly;
pub mod session;
pub mod talk;
pub mod timeline;
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
mod tests {
    use std::time::Instant;

    use crate::proto::DecodeError;

    /// An arbitrary moment from which a test counts.
    #[expect(clippy::disallowed_methods, reason = "tests need one Instant, and there is no other way to make one")]
    pub(super) fn start_of_time() -> Instant {
        Instant::now()
    }

    /// Numbers that look like chance and are the same for the same seed (SplitMix64).
    pub(super) struct Dice(u64);

    impl Dice {
        pub(super) fn new(seed: u64) -> Self {
            Self(seed)
        }

        pub(super) fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z ^ (z >> 31)) % end
        }

        pub(super) fn percent(&mut self, chance: u64) -> bool {
            self.below(100) < chance
        }
    }

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
