//! TransCode, the obfuscation of every OLD packet (docs/protocol/tutk.md §3.1). It hides nothing from
//! whoever knows the key, which is the same for everyone; secrecy is DTLS's work.

/// Repeated for each block. The library's string is longer; no byte after these is ever used.
const KEY: [u8; 16] = *b"Charlie is the d";
const BLOCK: usize = 16;
/// How much of a packet's body is ciphered when bit 0 of its byte 3 is set.
const PARTIAL_BODY: usize = 48;

const PERMUTATION_16: [usize; 16] = [11, 9, 8, 15, 13, 10, 12, 14, 2, 1, 5, 0, 6, 4, 7, 3];
const PERMUTATION_8: [usize; 8] = [7, 4, 3, 2, 1, 6, 5, 0];
const PERMUTATION_4: [usize; 4] = [2, 3, 0, 1];
const PERMUTATION_2: [usize; 2] = [1, 0];

/// Ciphers a whole datagram in place.
///
/// The first 16 bytes stand alone. When bit 0 of byte 3 (the mode) is set, only the next 48 are
/// ciphered and the rest stays clear.
pub fn encipher(datagram: &mut [u8]) {
    let partial = is_partial(datagram);
    let (head, body) = datagram.split_at_mut(BLOCK.min(datagram.len()));
    encipher_run(head);
    encipher_run(ciphered_part(body, partial));
}

/// The inverse of [`encipher`]; learns the mode from the deciphered first block.
pub fn decipher(datagram: &mut [u8]) {
    let (head, body) = datagram.split_at_mut(BLOCK.min(datagram.len()));
    decipher_run(head);
    let partial = is_partial(head);
    decipher_run(ciphered_part(body, partial));
}

fn is_partial(plain: &[u8]) -> bool {
    plain.get(3).is_some_and(|mode| mode & 1 != 0)
}

fn ciphered_part(body: &mut [u8], partial: bool) -> &mut [u8] {
    let len = if partial { PARTIAL_BODY.min(body.len()) } else { body.len() };
    body.split_at_mut(len).0
}

/// Ciphers bytes of any length in place, without the rule for packets: whole blocks are rotated, xored,
/// permuted and rotated again; a tail is only xored and permuted.
pub fn encipher_run(bytes: &mut [u8]) {
    let (blocks, tail) = bytes.as_chunks_mut::<BLOCK>();
    for block in blocks {
        rotate_words(block, |word, offset| word.rotate_right(offset + 1));
        xor_key(block);
        permute(block);
        rotate_words(block, |word, offset| word.rotate_right(offset + 3));
    }
    xor_key(tail);
    permute(tail);
}

/// The inverse of [`encipher_run`].
pub fn decipher_run(bytes: &mut [u8]) {
    let (blocks, tail) = bytes.as_chunks_mut::<BLOCK>();
    for block in blocks {
        rotate_words(block, |word, offset| word.rotate_left(offset + 3));
        permute(block);
        xor_key(block);
        rotate_words(block, |word, offset| word.rotate_left(offset + 1));
    }
    permute(tail);
    xor_key(tail);
}

/// Applies `rotate` to each little-endian word and its byte offset in the block.
fn rotate_words(block: &mut [u8; BLOCK], rotate: impl Fn(u32, u32) -> u32) {
    let (words, _) = block.as_chunks_mut::<4>();
    for (word, offset) in words.iter_mut().zip([0, 4, 8, 12]) {
        *word = rotate(u32::from_le_bytes(*word), offset).to_le_bytes();
    }
}

fn xor_key(bytes: &mut [u8]) {
    bytes.iter_mut().zip(KEY).for_each(|(byte, key)| *byte ^= key);
}

/// Each permutation is its own inverse; lengths without one stay as they are.
fn permute(bytes: &mut [u8]) {
    let order: &[usize] = match bytes.len() {
        16 => &PERMUTATION_16,
        8 => &PERMUTATION_8,
        4 => &PERMUTATION_4,
        2 => &PERMUTATION_2,
        _ => return,
    };
    let mut from = [0; BLOCK];
    from.iter_mut().zip(bytes.iter()).for_each(|(to, byte)| *to = *byte);
    bytes.iter_mut().zip(order).for_each(|(byte, &index)| *byte = from[index]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deciphering_undoes_enciphering_at_every_length_and_mode() {
        for len in 0..200 {
            for mode in [0x02, 0x0A, 0x0B] {
                let mut plain: Vec<u8> = (0..len).map(|i| (i * 37 + 11) as u8).collect();
                if let Some(byte) = plain.get_mut(3) {
                    *byte = mode;
                }
                let mut bytes = plain.clone();
                encipher(&mut bytes);
                decipher(&mut bytes);
                assert_eq!(bytes, plain, "{len} bytes in mode {mode:#x}");
            }
        }
    }

    #[test]
    fn data_beyond_the_ciphered_part_stays_clear() {
        let mut bytes = vec![0x0B; 200];
        encipher(&mut bytes);
        assert!(bytes.iter().skip(64).all(|&byte| byte == 0x0B), "the cipher touched what it must leave alone");
        assert!(bytes.iter().take(64).any(|&byte| byte != 0x0B));
    }
}
