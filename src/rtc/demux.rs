//! What a datagram on the shared port is, and whose it is (RFC 7983, RFC 8445 §7.3, RFC 8489).

use hmac::{Hmac, Mac};
use sha1::Sha1;

/// What may share a WebRTC port, by the first byte (RFC 7983 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Stun,
    Dtls,
    Rtp,
}

/// `None` for everything that has no business here (ZRTP, TURN channels, QUIC, noise).
pub fn kind(datagram: &[u8]) -> Option<Kind> {
    match datagram.first()? {
        0..=3 => Some(Kind::Stun),
        20..=63 => Some(Kind::Dtls),
        128..=191 => Some(Kind::Rtp),
        _ => None,
    }
}

/// The SSRC that RTP or RTCP says it is of (RFC 3550 §5.1 and §6.4, told apart as in RFC 5761 §4).
pub fn ssrc(datagram: &[u8]) -> Option<u32> {
    let at = if matches!(datagram.get(1)?, 192..=223) { 4 } else { 8 };
    let bytes = datagram.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const USE_CANDIDATE: u16 = 0x0025;
/// Type and length of MESSAGE-INTEGRITY, and its HMAC-SHA1.
const INTEGRITY_LENGTH: usize = 4 + 20;

/// A STUN message of which only the frame has been checked: header, cookie, length.
#[derive(Debug, Clone, Copy)]
pub struct Stun<'a>(&'a [u8]);

impl<'a> Stun<'a> {
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let header = datagram.get(..HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let whole = header[4..8] == MAGIC_COOKIE && datagram.len() == HEADER + length;
        whole.then_some(Self(datagram))
    }

    pub fn is_binding_request(&self) -> bool {
        self.0.starts_with(&BINDING_REQUEST)
    }

    pub fn is_binding_success(&self) -> bool {
        self.0.starts_with(&BINDING_SUCCESS)
    }

    /// Whether the controlling side nominates the pair that this request came over.
    pub fn nominates(&self) -> bool {
        self.is_binding_request() && self.attribute(USE_CANDIDATE).is_some()
    }

    /// The receiver's part of USERNAME: what stands before the colon.
    pub fn local_ufrag(&self) -> Option<&'a str> {
        let (_, name) = self.attribute(USERNAME)?;
        std::str::from_utf8(name).ok()?.split(':').next()
    }

    /// Whether MESSAGE-INTEGRITY was made with this password (RFC 8489 §14.5: HMAC-SHA1 over what stands
    /// before it, the header's length counting up to its end).
    pub fn is_signed_with(&self, password: &str) -> bool {
        let Some((at, signature)) = self.attribute(MESSAGE_INTEGRITY) else { return false };
        let Some(length) = u16::try_from(at + INTEGRITY_LENGTH - HEADER).ok() else { return false };
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(password.as_bytes()) else { return false };
        mac.update(&self.0[..2]);
        mac.update(&length.to_be_bytes());
        mac.update(&self.0[4..at]);
        mac.verify_slice(signature).is_ok()
    }

    /// Where the first attribute of this type begins, and its value.
    fn attribute(&self, wanted: u16) -> Option<(usize, &'a [u8])> {
        let mut at = HEADER;
        while let Some(&[t0, t1, l0, l1]) = self.0.get(at..at + 4) {
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let value = self.0.get(at + 4..at + 4 + length)?;
            if u16::from_be_bytes([t0, t1]) == wanted {
                return Some((at, value));
            }
            at += 4 + length.next_multiple_of(4);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// RFC 5769 §2.1, sample request: ufrag "evtj", password "VOkJxbRl1RmTxUk/WvJxBt".
    const REQUEST: [u8; 108] = hex!(
        "00 01 00 58 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86 fa 87 df ae"
        "80 22 00 10 53 54 55 4e 20 74 65 73 74 20 63 6c 69 65 6e 74"
        "00 24 00 04 6e 00 01 ff"
        "80 29 00 08 93 2f f9 b1 51 26 3b 36"
        "00 06 00 09 65 76 74 6a 3a 68 36 76 59 20 20 20"
        "00 08 00 14 9a ea a7 0c bf d8 cb 56 78 1e f2 b5 b2 d3 f2 49 c1 b5 71 a2"
        "80 28 00 04 e5 7a 3b cf"
    );
    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    #[test]
    fn the_rfc_sample_request_is_read_and_verified() {
        let stun = Stun::parse(&REQUEST).unwrap();
        assert!(stun.is_binding_request() && !stun.is_binding_success());
        assert_eq!(stun.local_ufrag(), Some("evtj"));
        assert!(stun.is_signed_with(PASSWORD));
        assert!(!stun.is_signed_with("another password of mine"));
        assert!(!stun.nominates());
    }

    #[test]
    fn a_flipped_bit_before_the_signature_breaks_it() {
        // What follows MESSAGE-INTEGRITY (FINGERPRINT) is not covered by it.
        for bit in 0..(REQUEST.len() - 8) * 8 {
            let mut forged = REQUEST;
            forged[bit / 8] ^= 1 << (bit % 8);
            let accepted = Stun::parse(&forged).is_some_and(|stun| stun.is_signed_with(PASSWORD));
            // The header's own length field is replaced by the computed one, and checked by `parse`.
            assert!(!accepted, "bit {bit} of byte {} was accepted", bit / 8);
        }
    }

    #[test]
    fn no_truncation_and_no_odd_length_is_taken_for_a_message() {
        for len in 0..REQUEST.len() {
            assert!(Stun::parse(&REQUEST[..len]).is_none(), "{len} bytes were accepted");
        }
        let mut overlong = REQUEST;
        overlong[22] = 0xff;
        let stun = Stun::parse(&overlong).unwrap();
        assert!(stun.local_ufrag().is_none() && !stun.is_signed_with(PASSWORD));
    }

    #[test]
    fn the_ssrc_stands_elsewhere_in_reports_than_in_media() {
        let media = hex!("80 60 00 01 00 00 00 00 01 02 03 04");
        let report = hex!("80 c9 00 01 01 02 03 04");
        assert_eq!([ssrc(&media), ssrc(&report)], [Some(0x0102_0304); 2]);
        assert_eq!([ssrc(&media[..11]), ssrc(&report[..7]), ssrc(&[0x80])], [None; 3]);
    }

    #[test]
    fn first_bytes_part_the_protocols() {
        let all = (0..=255u8).map(|first| kind(&[first]));
        let count = |wanted| all.clone().filter(|kind| *kind == wanted).count();
        assert_eq!(count(Some(Kind::Stun)), 4);
        assert_eq!(count(Some(Kind::Dtls)), 44);
        assert_eq!(count(Some(Kind::Rtp)), 64);
        assert_eq!(kind(&[]), None);
    }
}
