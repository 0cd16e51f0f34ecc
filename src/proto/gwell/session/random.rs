//! Keys, nonces and ids from the one seed that a session is given.

use sha2::{Digest, Sha256};

/// SHA-256 over the seed and a counter: nobody who knows some of what was drawn can tell the rest.
pub(super) struct Random {
    seed: [u8; 32],
    drawn: u64,
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(32) {
            let block: [u8; 32] = Sha256::new().chain_update(self.seed).chain_update(self.next()).finalize().into();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        bytes
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// 15 bits, as the flags of a frame hold them.
    pub(super) fn nonce(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes()) >> 1
    }

    /// A link id's low byte begins its KCP segments, and a 0 there begins a control message (reference §5).
    pub(super) fn link_id(&mut self) -> u32 {
        loop {
            let id = self.u32();
            if id & 0xFF != 0 {
                return id;
            }
        }
    }

    /// No picture comes for stream 0 (reference §8).
    pub(super) fn stream_id(&mut self) -> u32 {
        self.u32().max(1)
    }

    fn next(&mut self) -> [u8; 8] {
        self.drawn += 1;
        self.drawn.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_twice_and_the_same_seed_draws_the_same() {
        let mut random = Random::new([7; 32]);
        let (first, second) = (random.bytes::<40>(), random.bytes::<40>());
        assert_ne!(first, second);
        assert_ne!(first[..8], first[32..]);
        assert_eq!(Random::new([7; 32]).bytes::<40>(), first);
        assert_ne!(Random::new([8; 32]).bytes::<40>(), first);
    }

    #[test]
    fn a_link_id_never_looks_like_a_control_message() {
        let mut random = Random::new([1; 32]);
        for _ in 0..5_000 {
            assert_ne!(random.link_id() & 0xFF, 0);
        }
    }
}
