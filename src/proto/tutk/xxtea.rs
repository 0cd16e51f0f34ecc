//! XXTEA, the cipher of the K-command challenge (docs/protocol/tutk.md §7.2).

const DELTA: u32 = 0x9E37_79B9;

/// A 128-bit key as four little-endian words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u32; 4]);

impl Key {
    pub fn new(bytes: &[u8; 16]) -> Self {
        Self(words_of(bytes))
    }
}

/// Enciphers one 16-byte challenge.
pub fn encrypt(challenge: &[u8; 16], key: &Key) -> [u8; 16] {
    let mut words = words_of(challenge);
    encrypt_words(&mut words, key);
    bytes_of(&words)
}

/// The inverse of [`encrypt`].
pub fn decrypt(challenge: &[u8; 16], key: &Key) -> [u8; 16] {
    let mut words = words_of(challenge);
    decrypt_words(&mut words, key);
    bytes_of(&words)
}

/// Enciphers two or more words in place; fewer are left alone, for which XXTEA is not defined.
pub fn encrypt_words(words: &mut [u32], key: &Key) {
    let count = words.len();
    if count < 2 {
        return;
    }
    let mut sum = 0u32;
    for _ in 0..rounds(count) {
        sum = sum.wrapping_add(DELTA);
        for p in 0..count {
            let before = words[(p + count - 1) % count];
            let after = words[(p + 1) % count];
            words[p] = words[p].wrapping_add(mix(sum, after, before, p, key));
        }
    }
}

/// The inverse of [`encrypt_words`].
pub fn decrypt_words(words: &mut [u32], key: &Key) {
    let count = words.len();
    if count < 2 {
        return;
    }
    let mut sum = rounds(count).wrapping_mul(DELTA);
    for _ in 0..rounds(count) {
        for p in (0..count).rev() {
            let before = words[(p + count - 1) % count];
            let after = words[(p + 1) % count];
            words[p] = words[p].wrapping_sub(mix(sum, after, before, p, key));
        }
        sum = sum.wrapping_sub(DELTA);
    }
}

fn rounds(count: usize) -> u32 {
    6 + (52 / count) as u32
}

fn mix(sum: u32, y: u32, z: u32, p: usize, key: &Key) -> u32 {
    let e = (sum >> 2) & 3;
    let word = key.0[(p & 3) ^ e as usize];
    (((z >> 5) ^ (y << 2)).wrapping_add((y >> 3) ^ (z << 4))) ^ ((sum ^ y).wrapping_add(word ^ z))
}

fn words_of(bytes: &[u8; 16]) -> [u32; 4] {
    let (words, _) = bytes.as_chunks::<4>();
    [0, 1, 2, 3].map(|i: usize| u32::from_le_bytes(words[i]))
}

fn bytes_of(words: &[u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (chunks, _) = bytes.as_chunks_mut::<4>();
    chunks.iter_mut().zip(words).for_each(|(chunk, word)| *chunk = word.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decrypting_undoes_encrypting() {
        let key = Key::new(b"ABCDEFGHIJKLMNOP");
        for count in 2..40u32 {
            let plain: Vec<u32> = (0..count).map(|i| i.wrapping_mul(0x9E37_79B1)).collect();
            let mut words = plain.clone();
            encrypt_words(&mut words, &key);
            assert_ne!(words, plain, "{count} words came out unchanged");
            decrypt_words(&mut words, &key);
            assert_eq!(words, plain, "{count} words");
        }
    }

    #[test]
    fn too_few_words_are_left_alone() {
        for words in [vec![], vec![7]] {
            let mut same = words.clone();
            decrypt_words(&mut same, &Key::new(&[1; 16]));
            assert_eq!(same, words);
        }
    }
}
