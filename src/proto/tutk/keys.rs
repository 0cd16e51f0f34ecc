//! Identities and keys that the cloud's device record yields (docs/protocol/tutk.md §2).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The identity that both ends of every DTLS handshake name, and the user of the AV login with it.
pub const PSK_IDENTITY: &str = "AUTHPWD_admin";

/// The eight bytes that both ends put into every packet of one transport session.
pub type SessionId = [u8; 8];

/// A camera's P2P identity: 20 ASCII letters and digits. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uid([u8; Self::LEN]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a camera's UID has 20 letters and digits")]
pub struct InvalidUid;

impl Uid {
    pub const LEN: usize = 20;

    /// # Errors
    /// When `text` is not 20 ASCII letters and digits.
    pub fn parse(text: &str) -> Result<Self, InvalidUid> {
        let bytes: [u8; Self::LEN] = text.as_bytes().try_into().map_err(|_| InvalidUid)?;
        if bytes.iter().all(u8::is_ascii_alphanumeric) { Ok(Self(bytes)) } else { Err(InvalidUid) }
    }

    /// As it came in a packet: whatever 20 bytes the sender put there.
    pub(super) fn from_wire(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uid(***)")
    }
}

/// Eight ASCII characters that prove knowledge of ENR and MAC during discovery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthKey([u8; Self::LEN]);

impl AuthKey {
    pub const LEN: usize = 8;

    /// The first six bytes of SHA-256(ENR + upper-case MAC) in base64, with `+`, `/` and `=` replaced.
    pub fn derive(enr: &str, mac: &str) -> Self {
        let digest = Sha256::digest(format!("{enr}{}", mac.to_ascii_uppercase()));
        let mut key = [0; Self::LEN];
        // Six bytes are exactly eight base64 characters, so this cannot fail.
        let _ = STANDARD.encode_slice(&digest[..6], &mut key);
        Self(key.map(|character| match character {
            b'+' => b'Z',
            b'/' => b'9',
            b'=' => b'A',
            other => other,
        }))
    }

    pub(super) fn from_wire(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(***)")
    }
}

/// The pre-shared key of both DTLS channels, always 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Psk([u8; Self::LEN]);

impl Psk {
    pub const LEN: usize = 32;

    /// SHA-256(ENR), zero from its first zero byte on: the vendor's library takes the digest for a C
    /// string, yet still passes 32 bytes to DTLS.
    pub fn derive(enr: &str) -> Self {
        let mut key: [u8; Self::LEN] = Sha256::digest(enr).into();
        let end = key.iter().position(|&byte| byte == 0).unwrap_or(Self::LEN);
        key.iter_mut().skip(end).for_each(|byte| *byte = 0);
        Self(key)
    }

    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(***)")
    }
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    // Seed document §5, examples 1 and 2.
    #[test]
    fn the_psk_ends_at_the_first_zero_byte_of_the_digest() {
        let whole = hex!("3e5b96b8d6fc7264b531e1633de9526929d453cb47606c55d574a6e0ef5eb95f");
        let cut = hex!("16549c533b4e9812808f91000000000000000000000000000000000000000000");
        assert_eq!(Psk::derive("aKzdqckqZ8HUHFe5").as_bytes(), &whole);
        assert_eq!(Psk::derive("GkB9S7cX38GgzSC6").as_bytes(), &cut);
    }

    #[test]
    fn only_twenty_letters_and_digits_are_a_uid() {
        assert!(Uid::parse("HSBJYB5HSETGCDWD111A").is_ok());
        for text in ["", "HSBJYB5HSETGCDWD111", "HSBJYB5HSETGCDWD111AA", "HSBJYB5HSETGCDWD11 A", "HSBJYB5HSETGCDWD1ü1"]
        {
            assert_eq!(Uid::parse(text), Err(InvalidUid), "{text:?} was accepted");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let uid = Uid::parse("HSBJYB5HSETGCDWD111A").unwrap();
        let shown = format!("{uid:?} {:?} {:?}", AuthKey::derive("enr", "mac"), Psk::derive("enr"));
        assert_eq!(shown, "Uid(***) AuthKey(***) Psk(***)");
    }
}
