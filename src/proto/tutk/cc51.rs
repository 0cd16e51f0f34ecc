//! NEW transport packets, both directions (docs/protocol/tutk.md §4). They are sent in the clear and
//! carry an HMAC-SHA1 over their header.

use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::Channel;
use super::keys::{AuthKey, SessionId, Uid};
use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

/// The first two bytes of every NEW packet, little-endian.
pub const MAGIC: u16 = 0xCC51;
const DISCOVERY: u16 = 0x1002;
const DTLS: u16 = 0x1502;
const KEEPALIVE: u16 = 0x1202;

const HMAC_LEN: usize = 20;
/// What the payload size in the header does not count: everything up to and including the reserved field.
const UNCOUNTED: usize = 12;
/// Where the HMAC of a discovery packet ends its range; that of the other two ends at 28.
const DISCOVERY_HEADER: usize = 32;
const HEADER: usize = 28;

/// SDK 4.3.8.0, and what follows it in every discovery packet.
const SDK_VERSION: [u8; 8] = [0x00, 0x08, 0x03, 0x04, 0x1D, 0, 0, 0];
/// The low byte of the sequence field of a DTLS packet; the high byte is the channel.
const DTLS_SEQUENCE: u8 = 0x10;

/// What both ends make and check HMACs with: the UID followed by the auth key.
#[derive(Clone)]
pub struct HmacKey([u8; Uid::LEN + AuthKey::LEN]);

impl HmacKey {
    pub fn new(uid: &Uid, auth_key: &AuthKey) -> Self {
        let mut key = [0; Uid::LEN + AuthKey::LEN];
        let bytes = uid.as_bytes().iter().chain(auth_key.as_bytes());
        key.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
        Self(key)
    }

    /// HMAC-SHA1 of `bytes`.
    pub fn sign(&self, bytes: &[u8]) -> [u8; HMAC_LEN] {
        self.mac(bytes).finalize().into_bytes().into()
    }

    /// Whether `hmac` is that of `bytes`, found out in constant time.
    pub fn verify(&self, bytes: &[u8], hmac: &[u8]) -> bool {
        self.mac(bytes).verify_slice(hmac).is_ok()
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha1> {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(bytes);
        mac
    }
}

impl std::fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HmacKey(***)")
    }
}

/// One NEW packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// 0x1002
    Discovery(Discovery),
    /// 0x1502
    Dtls(Dtls),
    /// 0x1202
    Keepalive(Keepalive),
}

/// A received packet, and whether its HMAC was right. Nobody has seen yet whether every camera's is,
/// so that a wrong one is counted and not refused; DTLS protects what matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub packet: Packet,
    pub authentic: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// 0x0000, from the client.
    Request,
    /// 0xFFFF, from the camera.
    Response,
}

/// One of the four packets of the discovery handshake (§4.2).
///
/// Layout (little-endian): `[0..2] magic · [2..4] zero · [4..6] command · [6..8] payload size, from 12 on ·
/// [8..10] direction · [10..12] zero · [12..14] sequence · [14..16] ticket · [16..24] session id ·
/// [24..32] SDK version · [32..52] HMAC of [0..32]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    pub direction: Direction,
    /// 0 and 2 from the client, 1 and 3 from the camera.
    pub sequence: u16,
    /// 0 until the camera has given one.
    pub ticket: u16,
    pub session_id: SessionId,
}

/// One DTLS datagram (§4.3): header as above, with `[12] 0x10 · [13] channel · [24..28] one ·
/// [28..n] payload · [n..n+20] HMAC of [0..28]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dtls {
    pub direction: Direction,
    pub channel: Channel,
    pub ticket: u16,
    pub session_id: SessionId,
    pub payload: Vec<u8>,
}

/// A sign of life (§4.4): header as above, with `[16..20] counter · [20..28] session id ·
/// [28..48] HMAC of [0..28]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepalive {
    pub direction: Direction,
    /// 2, 4, 6, … for the client.
    pub counter: u32,
    pub session_id: SessionId,
}

impl Packet {
    /// Whether a datagram claims to be of this family.
    pub fn recognises(datagram: &[u8]) -> bool {
        datagram.starts_with(&MAGIC.to_le_bytes())
    }

    pub fn decode(datagram: &[u8], key: &HmacKey) -> Result<Received, DecodeError> {
        let mut reader = Reader::new("0xCC51 packet", datagram);
        let magic = reader.u16_le()?;
        if magic != MAGIC {
            return Err(reader.invalid("magic", magic));
        }
        reader.skip(2)?;
        let command = reader.u16_le()?;
        let size = reader.u16_le()?;
        // The reference client does not look at the direction either, so anything but 0 is a response.
        let direction = if reader.u16_le()? == 0 { Direction::Request } else { Direction::Response };
        reader.skip(2)?;
        if reader.remaining() < usize::from(size) {
            return Err(DecodeError::Truncated { structure: "0xCC51 packet", len: datagram.len() });
        }
        let header_len = if command == DISCOVERY { DISCOVERY_HEADER } else { HEADER };
        let packet = match command {
            DISCOVERY => Self::Discovery(Discovery::decode(direction, reader)?),
            DTLS => Self::Dtls(Dtls::decode(direction, reader)?),
            KEEPALIVE => Self::Keepalive(Keepalive::decode(direction, reader)?),
            other => return Err(reader.invalid("command", other)),
        };
        Ok(Received { authentic: is_authentic(datagram, header_len, &packet, key), packet })
    }

    pub fn encode(&self, key: &HmacKey) -> Vec<u8> {
        let mut packet = match self {
            Self::Discovery(discovery) => discovery.header(),
            Self::Dtls(dtls) => dtls.header(),
            Self::Keepalive(keepalive) => keepalive.header(),
        };
        let hmac = key.sign(&packet);
        if let Self::Dtls(dtls) = self {
            packet.bytes(&dtls.payload);
        }
        packet.bytes(&hmac);
        packet
    }
}

/// The HMAC stands right after the header, except behind a DTLS payload, where it ends the datagram.
fn is_authentic(datagram: &[u8], header_len: usize, packet: &Packet, key: &HmacKey) -> bool {
    let at = match packet {
        Packet::Dtls(dtls) => header_len + dtls.payload.len(),
        _ => header_len,
    };
    let (Some(header), Some(hmac)) = (datagram.get(..header_len), datagram.get(at..at + HMAC_LEN)) else {
        return false;
    };
    key.verify(header, hmac)
}

fn header(command: u16, direction: Direction, payload_size: usize) -> Vec<u8> {
    let mut packet = Vec::with_capacity(UNCOUNTED + payload_size);
    packet.u16_le(MAGIC);
    packet.u16_le(0);
    packet.u16_le(command);
    packet.u16_le(payload_size as u16);
    packet.u16_le(match direction {
        Direction::Request => 0,
        Direction::Response => 0xFFFF,
    });
    packet.u16_le(0);
    packet
}

impl Discovery {
    fn decode(direction: Direction, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let sequence = reader.u16_le()?;
        let ticket = reader.u16_le()?;
        let session_id = reader.array()?;
        reader.skip(SDK_VERSION.len() + HMAC_LEN)?;
        Ok(Self { direction, sequence, ticket, session_id })
    }

    fn header(&self) -> Vec<u8> {
        let mut packet = header(DISCOVERY, self.direction, DISCOVERY_HEADER - UNCOUNTED + HMAC_LEN);
        packet.u16_le(self.sequence);
        packet.u16_le(self.ticket);
        packet.bytes(&self.session_id);
        packet.bytes(&SDK_VERSION);
        packet
    }
}

impl Dtls {
    fn decode(direction: Direction, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        reader.skip(1)?;
        let channel = reader.u8()?;
        let channel = Channel::from_wire(channel).ok_or_else(|| reader.invalid("channel", channel))?;
        let ticket = reader.u16_le()?;
        let session_id = reader.array()?;
        reader.skip(4)?;
        let len = reader.remaining().saturating_sub(HMAC_LEN);
        let payload = reader.take(len)?.to_vec();
        reader.skip(HMAC_LEN)?;
        Ok(Self { direction, channel, ticket, session_id, payload })
    }

    fn header(&self) -> Vec<u8> {
        let mut packet = header(DTLS, self.direction, HEADER - UNCOUNTED + self.payload.len() + HMAC_LEN);
        packet.u8(DTLS_SEQUENCE);
        packet.u8(self.channel.to_wire());
        packet.u16_le(self.ticket);
        packet.bytes(&self.session_id);
        packet.u32_le(1);
        packet
    }
}

impl Keepalive {
    fn decode(direction: Direction, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        reader.skip(4)?;
        let counter = reader.u32_le()?;
        let session_id = reader.array()?;
        reader.skip(HMAC_LEN)?;
        Ok(Self { direction, counter, session_id })
    }

    fn header(&self) -> Vec<u8> {
        let mut packet = header(KEEPALIVE, self.direction, HEADER - UNCOUNTED + HMAC_LEN);
        packet.zeros(4);
        packet.u32_le(self.counter);
        packet.bytes(&self.session_id);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tutk::tests as checks;

    fn key() -> HmacKey {
        let uid = Uid::parse("HSBJYB5HSETGCDWD111A").unwrap();
        HmacKey::new(&uid, &AuthKey::derive("aKzdqckqZ8HUHFe5", "AABBCCDDEEFF"))
    }

    fn packets() -> Vec<Packet> {
        let session_id = [1, 2, 3, 4, 5, 6, 7, 8];
        let direction = Direction::Response;
        vec![
            Packet::Discovery(Discovery { direction, sequence: 3, ticket: 0x1234, session_id }),
            Packet::Dtls(Dtls { direction, channel: Channel::Back, ticket: 9, session_id, payload: vec![0x16; 60] }),
            Packet::Keepalive(Keepalive { direction: Direction::Request, counter: 4, session_id }),
        ]
    }

    #[test]
    fn every_packet_survives_the_way_there_and_back() {
        for packet in packets() {
            assert_eq!(Packet::decode(&packet.encode(&key()), &key()), Ok(Received { packet, authentic: true }));
        }
    }

    #[test]
    fn a_changed_header_or_a_foreign_key_is_noticed() {
        let stranger = HmacKey::new(&Uid::parse("ABCDEFGHIJKLMNOPQRST").unwrap(), &AuthKey::derive("x", "y"));
        for packet in packets() {
            let bytes = packet.encode(&key());
            assert!(!Packet::decode(&bytes, &stranger).unwrap().authentic, "{packet:?} with a foreign key");
            let mut changed = bytes.clone();
            changed[16] ^= 1;
            assert!(!Packet::decode(&changed, &key()).unwrap().authentic, "{packet:?} with another session id");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        for packet in packets() {
            checks::every_truncation_is_refused(&packet.encode(&key()), |bytes| Packet::decode(bytes, &key()));
        }
    }

    #[test]
    fn no_flipped_bit_panics() {
        for packet in packets() {
            checks::every_flipped_bit_is_survived(&packet.encode(&key()), |bytes| Packet::decode(bytes, &key()));
        }
    }
}
