//! What the cloud gives for a camera: the account's id and its token (gwell reference §3.1).

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::proto::wire::hex;

/// The cloud writes base64 with padding and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An access token, read.
///
/// Text: 128 hexadecimal digits, then base64. The 64 bytes are `[0..48] token data · [48..64] certify key`; what the
/// base64 holds is a list of 80-byte entries, one a device, for the subscription by token.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    access_id: u64,
    bytes: [u8; Self::LEN],
    extra: Vec<u8>,
}

/// Why two texts are not an account's id and token. Neither is repeated: they are credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the access id is not a number of 64 bits")]
    AccessId,
    #[error("the access token does not begin with 128 hexadecimal digits")]
    AccessToken,
}

impl AccessToken {
    pub const LEN: usize = 64;
    /// One device's entry in [`Self::extra`].
    pub const ENTRY_LEN: usize = 80;
    /// A subscription counts the entries in one byte.
    const MAX_ENTRIES: usize = 255;

    /// Reads what the cloud gave. The id may be negative: the vendor's software takes it for a signed number.
    pub fn parse(access_id: &str, access_token: &str) -> Result<Self, TokenError> {
        let access_id = access_id.trim();
        let signed = || access_id.parse::<i64>().map(i64::cast_unsigned);
        let access_id = access_id.parse().or_else(|_| signed()).map_err(|_| TokenError::AccessId)?;
        let (digits, extra) = access_token.trim().split_at_checked(2 * Self::LEN).ok_or(TokenError::AccessToken)?;
        let bytes = unhex(digits).ok_or(TokenError::AccessToken)?;
        Ok(Self::of_parts(access_id, bytes, BASE64.decode(extra).unwrap_or_default()))
    }

    /// Entries that are not whole are left out, all of them: they would be refused.
    pub fn of_parts(access_id: u64, bytes: [u8; Self::LEN], extra: Vec<u8>) -> Self {
        let whole = extra.len().is_multiple_of(Self::ENTRY_LEN) && extra.len() <= Self::MAX_ENTRIES * Self::ENTRY_LEN;
        Self { access_id, bytes, extra: if whole { extra } else { Vec::new() } }
    }

    /// The id and the token as the cloud writes them.
    pub fn to_text(&self) -> (String, String) {
        (self.access_id.to_string(), hex(&self.bytes) + &BASE64.encode(&self.extra))
    }

    pub fn access_id(&self) -> u64 {
        self.access_id
    }

    /// Whole entries of [`Self::ENTRY_LEN`] bytes, or nothing.
    pub fn extra(&self) -> &[u8] {
        &self.extra
    }

    /// What a signature proves to know.
    pub(super) fn token_data(&self) -> &[u8; 48] {
        self.bytes.first_chunk().expect("64 bytes hold 48")
    }

    /// Key of RC5-64/6 and of HMAC-MD5 in a CertifyReq.
    pub(super) fn certify_key(&self) -> &[u8; 16] {
        self.bytes.last_chunk().expect("64 bytes hold 16")
    }
}

fn unhex(digits: &str) -> Option<[u8; AccessToken::LEN]> {
    let mut bytes = [0; AccessToken::LEN];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = (nibble(high)? << 4) | nibble(low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_way_to_text_and_back() {
        for extra in [vec![], vec![7; 80], vec![9; 240]] {
            let token = AccessToken::of_parts(u64::MAX - 3, [0xA5; 64], extra);
            let (id, text) = token.to_text();
            assert_eq!(AccessToken::parse(&id, &text), Ok(token));
        }
    }

    #[test]
    fn extra_that_is_no_whole_entries_is_no_extra() {
        let digits = "5a".repeat(64);
        for extra in ["", "!!", "AAAA", &BASE64.encode([1; 81])] {
            assert_eq!(AccessToken::parse("1", &format!("{digits}{extra}")).unwrap().extra(), [0; 0], "{extra:?}");
        }
    }

    #[test]
    fn padding_is_not_needed() {
        let text = format!("{}{}", "5a".repeat(64), BASE64.encode([1; 80]));
        let bare = text.trim_end_matches('=');
        assert_ne!(bare, text);
        assert_eq!(AccessToken::parse("1", bare).unwrap().extra(), [1; 80]);
    }

    #[test]
    fn other_texts_are_no_token() {
        let digits = "5a".repeat(64);
        let odd = format!("{}ü", "5a".repeat(63));
        assert_eq!(AccessToken::parse("", &digits), Err(TokenError::AccessId));
        assert_eq!(AccessToken::parse("18446744073709551616", &digits), Err(TokenError::AccessId));
        for text in ["", "5a", &digits[1..], &odd, &digits.replace("5a", "+a")] {
            assert_eq!(AccessToken::parse("1", text), Err(TokenError::AccessToken), "{text:?}");
        }
    }

    #[test]
    fn debug_shows_no_token() {
        assert_eq!(format!("{:?}", AccessToken::of_parts(1, [0xA5; 64], vec![])), "AccessToken(***)");
    }
}
