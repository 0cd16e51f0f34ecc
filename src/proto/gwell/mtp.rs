//! MTP, the datagrams between a terminal and a camera or a relay (gwell reference §5).

use crate::proto::wire::{DecodeError, Reader, Writer};

const STRUCTURE: &str = "MTP frame";
const MAGIC: u8 = 0xC0;
const URGENT: u8 = 0x80;
/// Either bit says that a TID stands behind the header; we write the lower one.
const EXTENDED: u8 = 0x60;
const EXTENDED_WRITTEN: u8 = 0x20;
/// Set on ordinary frames over UDP.
const DATAGRAM: u8 = 0x10;
const HEADER: usize = 6;
const EXTENDED_HEADER: usize = 14;
/// The length has eleven bits.
const MAX_FRAME: usize = 0x7FF;
/// The checksum covers this many words of two bytes behind the header.
const CHECKED_WORDS: usize = 12;

/// What a payload may have at most, with either header.
pub const MAX_PAYLOAD: usize = MAX_FRAME - EXTENDED_HEADER;

/// One frame: over UDP a datagram, over TCP one of many that follow each other.
///
/// Layout: `[0] 0xC0 · [1] flags · [2] length & 7 · [3] length >> 3 · [4..6] checksum ^ u16 of [2..4] · [6..14] destination TID
/// where extended · payload`. The length is of the whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mtp<'a> {
    pub urgent: bool,
    /// The destination's TID, which makes the frame an extended one: a relay passes it on.
    pub to: Option<u64>,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: &'a [u8],
}

/// What carries a frame: it shows in the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    Datagram,
    Stream,
}

impl<'a> Mtp<'a> {
    pub fn encode(&self, carrier: Carrier) -> Vec<u8> {
        debug_assert!(self.payload.len() <= MAX_PAYLOAD, "a payload of {} bytes", self.payload.len());
        let header = if self.to.is_some() { EXTENDED_HEADER } else { HEADER };
        let len = header + self.payload.len();
        let length = [(len & 7) as u8, (len >> 3) as u8];
        let mut frame = Vec::with_capacity(len);
        frame.u8(MAGIC);
        frame.u8(self.flags(carrier));
        frame.bytes(&length);
        frame.u16_le(0);
        if let Some(tid) = self.to {
            frame.bytes(&tid.to_le_bytes());
        }
        frame.bytes(self.payload);
        let sealed = checksum(&frame[HEADER..]) ^ u16::from_le_bytes(length);
        frame[4..6].copy_from_slice(&sealed.to_le_bytes());
        frame
    }

    fn flags(&self, carrier: Carrier) -> u8 {
        let urgent = if self.urgent { URGENT } else { 0 };
        let form = match (self.to, carrier) {
            (Some(_), _) => EXTENDED_WRITTEN,
            (None, Carrier::Datagram) => DATAGRAM,
            (None, Carrier::Stream) => 0,
        };
        urgent | form
    }

    /// Reads the frame with which `datagram` begins; what stands behind its length is ignored.
    ///
    /// # Errors
    /// Another magic number, a length beyond the datagram or below the header's, a wrong checksum.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let mut head = Reader::new(STRUCTURE, datagram);
        let first_four @ [magic, flags, low, high] = head.array()?;
        let sealed = head.u16_le()?;
        let len = Self::frame_len(first_four).ok_or_else(|| head.invalid("magic or length", magic))?;
        let body = Reader::new(STRUCTURE, datagram).take(len)?.get(HEADER..).unwrap_or_default();
        if checksum(body) ^ u16::from_le_bytes([low, high]) != sealed {
            return Err(head.invalid("checksum", sealed));
        }
        let mut body = Reader::new(STRUCTURE, body);
        let to = match flags & EXTENDED {
            0 => None,
            _ => Some(u64::from_le_bytes(body.array()?)),
        };
        Ok(Self { urgent: flags & URGENT != 0, to, payload: body.rest() })
    }

    /// How long the frame is that begins like this, or `None` if none does: what a stream of frames is cut by.
    pub fn frame_len(first_four: [u8; 4]) -> Option<usize> {
        let [magic, _, low, high] = first_four;
        let len = usize::from(low & 7) | usize::from(high) << 3;
        (magic == MAGIC && len >= HEADER).then_some(len)
    }
}

/// Of what stands behind the header, the TID included.
fn checksum(body: &[u8]) -> u16 {
    let words = body.chunks_exact(2).take(CHECKED_WORDS).map(|word| u16::from_le_bytes([word[0], word[1]]));
    words.zip(0..).fold(0, |sum, (word, turn)| sum ^ word.rotate_left(turn))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENDED_FRAME: [u8; 38] =
        hex_literal::hex!("c0200604c7efeeffc000efbe0000000102030405060708090a0b0c0d0e0f1011121314151617");

    #[test]
    fn reads_and_writes_an_extended_frame() {
        let frame = Mtp::decode(&EXTENDED_FRAME).unwrap();
        assert_eq!(frame, Mtp { urgent: false, to: Some(0xBEEF_00C0_FFEE), payload: &(0..24).collect::<Vec<u8>>() });
        assert_eq!(frame.encode(Carrier::Datagram), EXTENDED_FRAME);
        assert_eq!(frame.encode(Carrier::Stream), EXTENDED_FRAME);
    }

    #[test]
    fn the_longest_payload_makes_a_readable_frame() {
        let payload = [7; MAX_PAYLOAD];
        for to in [None, Some(1)] {
            let frame = Mtp { urgent: true, to, payload: &payload };
            assert_eq!(Mtp::decode(&frame.encode(Carrier::Datagram)), Ok(frame));
        }
    }

    #[test]
    fn what_follows_a_frame_is_left_alone() {
        let mut two = EXTENDED_FRAME.to_vec();
        two.extend(EXTENDED_FRAME);
        assert_eq!(Mtp::decode(&two), Mtp::decode(&EXTENDED_FRAME));
    }

    #[test]
    fn every_truncation_is_an_error() {
        for len in 0..EXTENDED_FRAME.len() {
            assert!(Mtp::decode(&EXTENDED_FRAME[..len]).is_err(), "{len} bytes were accepted");
        }
    }

    #[test]
    fn every_flipped_bit_under_the_checksum_is_an_error() {
        // The flags, and what comes after twelve words, are not covered.
        for at in (0..30 * 8).filter(|at| at / 8 != 1) {
            let mut flipped = EXTENDED_FRAME;
            flipped[at / 8] ^= 1 << (at % 8);
            // Five bits of the length's low byte have no meaning, but the checksum tells.
            assert!(Mtp::decode(&flipped).is_err(), "bit {at} was accepted");
        }
    }

    #[test]
    fn a_length_below_the_header_is_no_frame() {
        assert_eq!(Mtp::frame_len([0xC0, 0x10, 5, 0]), None);
        assert_eq!(Mtp::frame_len([0xC0, 0x10, 6, 0]), Some(6));
        assert_eq!(Mtp::frame_len([0xC1, 0x10, 6, 0]), None);
        assert_eq!(Mtp::frame_len([0xC0, 0x10, 7, 0xFF]), Some(MAX_FRAME));
    }
}
