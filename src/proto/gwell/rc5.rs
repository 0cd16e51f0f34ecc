//! RC5-32/6 and RC5-64/6 as GWell uses them: block by block, a shorter tail in the clear (gwell reference §1.1,
//! §1.2).

use std::fmt;
use std::sync::Arc;

use cipher::array::Array;
use cipher::consts::{U4, U6, U8, U12, U16, U20, U24, U28, U32};
use cipher::typenum::Unsigned;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use rc5::RC5;

/// RC5-32/6: blocks of 8 bytes, for frames and media.
#[derive(Clone)]
pub struct Rc5(Arc<dyn Blocks>);

/// RC5-64/6: blocks of 16 bytes, for the random number of a CertifyReq.
#[derive(Clone)]
pub struct Rc5Wide(Arc<dyn Blocks>);

/// A cipher whose key length, which is part of the crate's types, no longer shows.
trait Blocks: Send + Sync {
    fn encrypt(&self, data: &mut [u8]);
    fn decrypt(&self, data: &mut [u8]);
}

impl<C: BlockCipherEncrypt + BlockCipherDecrypt + Send + Sync> Blocks for C {
    fn encrypt(&self, data: &mut [u8]) {
        let (blocks, _tail) = Array::slice_as_chunks_mut(data);
        self.encrypt_blocks(blocks);
    }

    fn decrypt(&self, data: &mut [u8]) {
        let (blocks, _tail) = Array::slice_as_chunks_mut(data);
        self.decrypt_blocks(blocks);
    }
}

/// The longest key of GWell, which is the session's.
const LONGEST_KEY: usize = 32;

/// The cipher for a key of up to [`LONGEST_KEY`] bytes. RC5 takes its key in whole words, filled up with zeros, so a
/// key is the same as one that is filled up to the next of `$size`, which are the whole words.
macro_rules! keyed {
    ($word:ty, $key:expr, [$($size:ty),+]) => {{
        let key = $key.get(..LONGEST_KEY).unwrap_or($key);
        let mut cipher: Option<Arc<dyn Blocks>> = None;
        $(if cipher.is_none() && key.len() <= <$size>::USIZE {
            let mut filled = Array::<u8, $size>::default();
            filled[..key.len()].copy_from_slice(key);
            cipher = Some(Arc::new(RC5::<$word, U6, $size>::new(&filled)));
        })+
        cipher.expect("the last size is LONGEST_KEY")
    }};
}

impl Rc5 {
    /// Of keys longer than 32 bytes, of which GWell has none, the first 32 count.
    pub fn new(key: &[u8]) -> Self {
        Self(keyed!(u32, key, [U4, U8, U12, U16, U20, U24, U28, U32]))
    }

    /// Enciphers every whole block of 8 bytes. The tail stays as it is.
    pub fn encrypt(&self, data: &mut [u8]) {
        self.0.encrypt(data);
    }

    /// The inverse of [`Self::encrypt`].
    pub fn decrypt(&self, data: &mut [u8]) {
        self.0.decrypt(data);
    }
}

impl Rc5Wide {
    /// Of keys longer than 32 bytes, of which GWell has none, the first 32 count.
    pub fn new(key: &[u8]) -> Self {
        Self(keyed!(u64, key, [U8, U16, U24, U32]))
    }

    /// Enciphers every whole block of 16 bytes. The tail stays as it is.
    pub fn encrypt(&self, data: &mut [u8]) {
        self.0.encrypt(data);
    }

    /// The inverse of [`Self::encrypt`].
    pub fn decrypt(&self, data: &mut [u8]) {
        self.0.decrypt(data);
    }
}

impl fmt::Debug for Rc5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rc5(***)")
    }
}

impl fmt::Debug for Rc5Wide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rc5Wide(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_shorter_than_a_block_stays_clear() {
        for len in 0..40 {
            let plain: Vec<u8> = (0..len).collect();
            let (mut narrow, mut wide) = (plain.clone(), plain.clone());
            Rc5::new(&[1; 8]).encrypt(&mut narrow);
            Rc5Wide::new(&[1; 16]).encrypt(&mut wide);
            for (sealed, block) in [(&narrow, 8), (&wide, 16)] {
                let whole = plain.len() / block * block;
                assert_eq!(sealed[whole..], plain[whole..]);
                assert!(sealed[..whole].chunks(block).zip(plain.chunks(block)).all(|(sealed, plain)| sealed != plain));
            }
        }
    }

    #[test]
    fn every_length_of_a_key_is_a_cipher() {
        for len in 0..=300 {
            let key = vec![0xA5; len];
            let mut data = [7; 32];
            Rc5::new(&key).encrypt(&mut data);
            assert_ne!(data, [7; 32]);
            Rc5::new(&key).decrypt(&mut data);
            Rc5Wide::new(&key).encrypt(&mut data);
            assert_ne!(data, [7; 32]);
            Rc5Wide::new(&key).decrypt(&mut data);
            assert_eq!(data, [7; 32], "{len} bytes of key");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?} {:?}", Rc5::new(&[1; 8]), Rc5Wide::new(&[1; 16])), "Rc5(***) Rc5Wide(***)");
    }
}
