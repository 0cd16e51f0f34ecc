//! Credentials and ids that nobody else has.

use std::io;

use super::dice::Dice;

pub(super) const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
pub(super) const LETTERS_AND_DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

pub(super) fn text(dice: &mut Dice, len: usize, alphabet: &[u8]) -> String {
    (0..len).map(|_| char::from(*dice.pick(alphabet))).collect()
}

/// 32 hexadecimal digits and four dashes.
pub(super) fn uuid(dice: &mut Dice) -> String {
    let mut digits = |len| text(dice, len, b"0123456789abcdef");
    [digits(8), digits(4), digits(4), digits(4), digits(12)].join("-")
}

/// A secret that nobody can foretell: `len` hexadecimal digits. Of the operating system, since tokens must differ
/// between two clouds of one seed.
pub(super) fn random_hex(len: usize) -> String {
    // Without randomness the token repeats, which a virtual cloud survives.
    text(&mut Dice::new(random_seed().unwrap_or_default()), len, b"0123456789abcdef")
}

/// # Errors
/// When the operating system has no randomness.
pub(super) fn random_seed() -> io::Result<u64> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Ok(u64::from_le_bytes(seed))
}
