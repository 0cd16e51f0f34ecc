//! Calling a camera: CALLING, its acknowledgement, and the resources for media (gwell reference §4.6, §4.7).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode};
use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

const FLAGS: Flags = Flags::new(Mode::Session, Delivery::Acknowledged);

/// "Connect me." The server hands the same on to the camera.
///
/// Payload: `[0..2] options, 1 and 2 for the LAN · [2..4] zero · [4..8] link id · [8..16] caller · [16..24] callee ·
/// [24..26] zero · [26] 1 · [27..30] zero · [30..32] port · [32..40] zero · [40..44] address · [44..96] zero ·
/// [96..104] MTP key`
#[derive(Clone, PartialEq, Eq)]
pub struct Calling {
    /// Chosen by the caller for the call, not zero.
    pub link_id: u32,
    /// The caller's access id.
    pub caller: u64,
    /// The camera's TID.
    pub callee: u64,
    /// Where the caller waits for media, 0 without.
    pub port: u16,
    /// Likewise, [`Ipv4Addr::UNSPECIFIED`] without: over a relay only.
    pub address: Ipv4Addr,
    /// Key of RC5-32/6 for the media of this call.
    pub mtp_key: [u8; 8],
    /// Whether to call over the LAN only. The reference client never does.
    pub lan: bool,
}

impl Calling {
    const LEN: usize = 104;

    pub fn encode(&self, from: Identity, sqnum: u32) -> Frame {
        let mut payload = Vec::with_capacity(Self::LEN);
        payload.u16_le(if self.lan { 3 } else { 1 });
        payload.zeros(2);
        payload.u32_le(self.link_id);
        payload.u64_le(self.caller);
        payload.u64_le(self.callee);
        payload.bytes(&[0, 0, 1, 0, 0, 0]);
        payload.u16_le(self.port);
        payload.zeros(8);
        payload.bytes(&self.address.octets());
        payload.zeros(52);
        payload.bytes(&self.mtp_key);
        Frame::new(Kind::Calling, from, sqnum, FLAGS, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Calling, "CALLING")?;
        let options = reader.u16_le()?;
        reader.skip(2)?;
        let link_id = reader.u32_le()?;
        let (caller, callee) = (reader.u64_le()?, reader.u64_le()?);
        reader.skip(6)?;
        let port = reader.u16_le()?;
        reader.skip(8)?;
        let address = reader.array::<4>()?.into();
        reader.skip(52)?;
        let mtp_key = reader.array()?;
        Ok(Self { link_id, caller, callee, port, address, mtp_key, lan: options & 2 != 0 })
    }
}

impl fmt::Debug for Calling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link_id, caller, callee, port, address, lan, mtp_key: _ } = self;
        let mut shown = f.debug_struct("Calling");
        shown.field("link_id", link_id).field("caller", caller).field("callee", callee);
        shown.field("port", port).field("address", address).field("lan", lan).finish_non_exhaustive()
    }
}

/// The server has taken the call.
///
/// Payload: `[0..8] zero · [8..12] address · [12..14] port · [14..24] zero`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallingAck {
    /// Where the camera seems to be; all zero where that is not known.
    pub peer: SocketAddrV4,
}

impl CallingAck {
    /// The acknowledgement of this frame.
    pub fn encode(&self, calling: &Frame, from: Identity) -> Frame {
        let mut payload = Vec::with_capacity(24);
        payload.zeros(8);
        payload.bytes(&self.peer.ip().octets());
        payload.u16_le(self.peer.port());
        payload.zeros(10);
        calling.acknowledgement(from, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Calling, "CALLING ack")?;
        reader.skip(8)?;
        let address = Ipv4Addr::from(reader.array::<4>()?);
        Ok(Self { peer: SocketAddrV4::new(address, reader.u16_le()?) })
    }
}

/// How the camera can be reached.
///
/// Payload: `[0..4] zero · [4..8] link id · [8..64] zero · [64..66] outer port · [66..68] LAN port · [68..70] zero ·
/// [70..72] session port · [72..76] outer address · [76..80] LAN address`, and with relays `[80..96] zero ·
/// [96] number of relays · [97] zero · [98..] 16 bytes a relay`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtpReply {
    pub link_id: u32,
    /// As the server sees the camera. Zeros where it is not known, as in `lan`.
    pub outer: SocketAddrV4,
    pub lan: SocketAddrV4,
    pub session_port: u16,
    /// Up to [`Self::MAX_RELAYS`].
    pub relays: Vec<Relay>,
}

/// `[0..8] session · [8..10] flags, 4 for TCP · [10..12] port · [12..16] address`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    pub session: u64,
    pub tcp: bool,
    pub address: SocketAddrV4,
}

impl MtpReply {
    pub const MAX_RELAYS: usize = 32;
    /// Less than this after the addresses holds no relays.
    const RELAYS_HEAD_LEN: usize = 19;

    pub fn encode(&self, from: Identity, sqnum: u32) -> Frame {
        let relays = self.relays.get(..Self::MAX_RELAYS).unwrap_or(&self.relays);
        let mut payload = Vec::with_capacity(98 + relays.len() * 16);
        payload.zeros(4);
        payload.u32_le(self.link_id);
        payload.zeros(56);
        payload.u16_le(self.outer.port());
        payload.u16_le(self.lan.port());
        payload.zeros(2);
        payload.u16_le(self.session_port);
        payload.bytes(&self.outer.ip().octets());
        payload.bytes(&self.lan.ip().octets());
        if !relays.is_empty() {
            payload.zeros(16);
            payload.u8(relays.len() as u8);
            payload.zeros(1);
            relays.iter().for_each(|relay| relay.encode(&mut payload));
        }
        Frame::new(Kind::MtpReply, from, sqnum, FLAGS, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::MtpReply, "MTP_RES response")?;
        reader.skip(4)?;
        let link_id = reader.u32_le()?;
        reader.skip(56)?;
        let (outer_port, lan_port) = (reader.u16_le()?, reader.u16_le()?);
        reader.skip(2)?;
        let session_port = reader.u16_le()?;
        let outer = SocketAddrV4::new(reader.array::<4>()?.into(), outer_port);
        let lan = SocketAddrV4::new(reader.array::<4>()?.into(), lan_port);
        Ok(Self { link_id, outer, lan, session_port, relays: Self::relays(reader)? })
    }

    fn relays(mut reader: Reader<'_>) -> Result<Vec<Relay>, DecodeError> {
        if reader.remaining() < Self::RELAYS_HEAD_LEN {
            return Ok(Vec::new());
        }
        reader.skip(16)?;
        let count = reader.u8()?;
        if usize::from(count) > Self::MAX_RELAYS {
            return Err(reader.invalid("number of relays", count));
        }
        reader.skip(1)?;
        (0..count).map(|_| Relay::decode(&mut reader)).collect()
    }
}

impl Relay {
    const TCP: u16 = 4;

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.u64_le(self.session);
        bytes.u16_le(if self.tcp { Self::TCP } else { 0 });
        bytes.u16_le(self.address.port());
        bytes.bytes(&self.address.ip().octets());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let session = reader.u64_le()?;
        let flags = reader.u16_le()?;
        let port = reader.u16_le()?;
        let address = SocketAddrV4::new(reader.array::<4>()?.into(), port);
        Ok(Self { session, tcp: flags & Self::TCP != 0, address })
    }
}

/// "Media will come from here", to the server. Its ids lie at odd places.
///
/// Payload: `[0..2] zero · [2..6] link id · [6..14] caller · [14..22] callee · [22..98] zero`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MtpRequest {
    pub link_id: u32,
    pub caller: u64,
    pub callee: u64,
}

impl MtpRequest {
    const LEN: usize = 98;

    pub fn encode(&self, from: Identity) -> Frame {
        let mut payload = Vec::with_capacity(Self::LEN);
        payload.zeros(2);
        payload.u32_le(self.link_id);
        payload.u64_le(self.caller);
        payload.u64_le(self.callee);
        payload.zeros(76);
        Frame::new(Kind::MtpRequest, from, 0, FLAGS, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::MtpRequest, "MTP_RES request")?;
        reader.skip(2)?;
        let request = Self { link_id: reader.u32_le()?, caller: reader.u64_le()?, callee: reader.u64_le()? };
        reader.skip(76)?;
        Ok(request)
    }
}
