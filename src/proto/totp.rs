//! The codes of authenticator apps (RFC 6238).

use hmac::{Hmac, Mac};
use sha1::Sha1;

/// The six digits of RFC 6238 (SHA-1, 30 s) at `unix_time` in seconds. `None` when `secret` is not base32.
pub fn totp(secret: &str, unix_time: u64) -> Option<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(&base32(secret)?).ok()?;
    mac.update(&(unix_time / 30).to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest.last()? & 0x0f);
    let four: [u8; 4] = digest.get(offset..offset + 4)?.try_into().ok()?;
    Some(format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000))
}

/// RFC 4648 base32, as people copy it: any case, with spaces and dashes, with or without padding.
fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in text.chars().filter(|c| !matches!(c, ' ' | '-' | '=')) {
        let value = match letter.to_ascii_uppercase() {
            letter @ 'A'..='Z' => u32::from(letter) - u32::from('A'),
            digit @ '2'..='7' => u32::from(digit) - u32::from('2') + 26,
            _ => return None,
        };
        bits = (bits << 5 | value) & 0xfff;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_time_secret_is_taken_as_people_copy_it() {
        let code = totp("JBSWY3DPEHPK3PXP", 1_700_000_000);
        assert!(code.is_some());
        assert_eq!(totp("jbsw y3dp-ehpk 3pxp==", 1_700_000_000), code);
        // RFC 6238, appendix B, its last six digits.
        let ascii = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        assert_eq!(totp(ascii, 59).as_deref(), Some("287082"));
        assert_eq!(totp(ascii, 20_000_000_000).as_deref(), Some("353130"));
        assert_eq!(totp("0189", 59), None);
        assert_eq!(totp("", 59), None);
    }
}
