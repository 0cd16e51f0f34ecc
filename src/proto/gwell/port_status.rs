//! Network detection, port status and the heartbeat (gwell reference §4.4, §4.8, §4.9).

use std::net::IpAddr;

use super::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode, Proto};
use crate::proto::DecodeError;
use crate::proto::wire::Writer;

/// "Which of my ports do you see?", between caller, camera and relays, and to the server for being online. Its frames
/// say proto 0x7F though the id is the session's, and do not count.
///
/// Payload: `[0..4] zero · [4..12] TID · [12..16] link id · [16] and [17] purpose · [18..20] zero · [20..28] ports`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortStatus {
    pub tid: u64,
    pub link_id: u32,
    pub kind: PortKind,
    /// Of relays, where there are any.
    pub ports: [u16; 4],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// "Are you there?"
    Probe,
    /// To bring relays into use.
    Relay,
    /// The same once more: its third round.
    RelayAgain,
    /// To the server every 10 s while media flow, or it ends the session.
    Online,
    Other(u8, u8),
}

impl PortKind {
    fn from_wire(bytes: [u8; 2]) -> Self {
        match bytes {
            [0, 1] => Self::Probe,
            [1, 1] => Self::Relay,
            [1, 2] => Self::RelayAgain,
            [1, 3] => Self::Online,
            [first, second] => Self::Other(first, second),
        }
    }

    fn to_wire(self) -> [u8; 2] {
        match self {
            Self::Probe => [0, 1],
            Self::Relay => [1, 1],
            Self::RelayAgain => [1, 2],
            Self::Online => [1, 3],
            Self::Other(first, second) => [first, second],
        }
    }
}

impl PortStatus {
    const FLAGS: Flags = Flags::new(Mode::Header, Delivery::Forgotten);

    /// As a question (0xCA).
    pub fn encode(&self, from: Identity) -> Frame {
        self.frame(Kind::PortStatus, from)
    }

    /// As the answer (0xCB) to whoever asked: the question's own words.
    pub fn encode_reply(&self, from: Identity) -> Frame {
        self.frame(Kind::PortStatusReply, from)
    }

    /// Reads a question or an answer; the frame's kind tells which.
    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let kind = if frame.kind == Kind::PortStatusReply { frame.kind } else { Kind::PortStatus };
        let mut reader = frame.reader(kind, "port status")?;
        reader.skip(4)?;
        let tid = reader.u64_le()?;
        let link_id = reader.u32_le()?;
        let kind = PortKind::from_wire(reader.array()?);
        reader.skip(2)?;
        let ports = [reader.u16_le()?, reader.u16_le()?, reader.u16_le()?, reader.u16_le()?];
        Ok(Self { tid, link_id, kind, ports })
    }

    fn frame(&self, kind: Kind, from: Identity) -> Frame {
        let mut payload = Vec::with_capacity(28);
        payload.zeros(4);
        payload.u64_le(self.tid);
        payload.u32_le(self.link_id);
        payload.bytes(&self.kind.to_wire());
        payload.zeros(2);
        self.ports.iter().for_each(|&port| payload.u16_le(port));
        Frame { proto: Proto::Terminal, ..Frame::new(kind, from, 0, Self::FLAGS, payload) }
    }
}

/// "I am still here", to the server, every 40 s while media flow. Always by access id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    pub access_id: u64,
    pub sqnum: u32,
}

impl Heartbeat {
    const FLAGS: Flags = Flags::new(Mode::Session, Delivery::Forgotten);
    const LEN: usize = 20;

    pub fn encode(&self) -> Frame {
        let from = Identity::Terminal(self.access_id);
        Frame::new(Kind::Heartbeat, from, self.sqnum, Self::FLAGS, vec![0; Self::LEN])
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        frame.reader(Kind::Heartbeat, "heartbeat")?.skip(Self::LEN)?;
        Ok(Self { access_id: frame.id, sqnum: frame.sqnum })
    }
}

/// Asks the server to have the camera look for us on its LAN.
///
/// Payload: `[0..4] 3 · [4..12] TID · [12..20] access id · [20..28] zero · [28] 5 · [29..52] zero · [52..54] timeout in
/// ms · [54..56] number of probes · [56..184] our LAN address as text, up to its first zero`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkDetect {
    pub tid: u64,
    pub access_id: u64,
    /// In milliseconds.
    pub timeout_ms: u16,
    pub probes: u16,
    pub address: IpAddr,
}

impl NetworkDetect {
    pub(super) const COMMAND: u8 = 5;
    const FLAGS: Flags = Flags::new(Mode::Header, Delivery::Acknowledged).with(Flags::DETECTION);
    const ADDRESS_LEN: usize = 128;

    /// With 3 s and 5 probes, like the reference client's.
    pub fn new(tid: u64, access_id: u64, address: IpAddr) -> Self {
        Self { tid, access_id, timeout_ms: 3000, probes: 5, address }
    }

    pub fn encode(&self, from: Identity, sqnum: u32, nonce: u16) -> Frame {
        let address = self.address.to_string();
        let mut payload = Vec::with_capacity(184);
        payload.u32_le(3);
        payload.u64_le(self.tid);
        payload.u64_le(self.access_id);
        payload.zeros(8);
        payload.u8(Self::COMMAND);
        payload.zeros(23);
        payload.u16_le(self.timeout_ms);
        payload.u16_le(self.probes);
        payload.bytes(address.as_bytes());
        payload.zeros(Self::ADDRESS_LEN - address.len());
        Frame::new(Kind::Inner, from, sqnum, Self::FLAGS.with_nonce(nonce), payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Inner, "network detection")?;
        reader.skip(4)?;
        let (tid, access_id) = (reader.u64_le()?, reader.u64_le()?);
        reader.skip(8)?;
        let command = reader.u8()?;
        if command != Self::COMMAND {
            return Err(reader.invalid("command", command));
        }
        reader.skip(23)?;
        let (timeout_ms, probes) = (reader.u16_le()?, reader.u16_le()?);
        let text = reader.take(Self::ADDRESS_LEN)?;
        let text = text.split(|&byte| byte == 0).next().unwrap_or(text);
        let address = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let address = address.ok_or_else(|| reader.invalid("length of the address", text.len() as u64))?;
        Ok(Self { tid, access_id, timeout_ms, probes, address })
    }
}
