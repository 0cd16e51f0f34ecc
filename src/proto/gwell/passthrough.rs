//! Media frames through the P2P server (gwell reference §4.10).

use super::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode};
use super::port_status::NetworkDetect;
use crate::proto::DecodeError;
use crate::proto::wire::Writer;

const FLAGS: Flags = Flags::new(Mode::Session, Delivery::Acknowledged);
/// Bit 0 of the first byte tells what is said to the server from what it hands on.
const SAID: u32 = 3;

/// What a frame of kind [`Kind::Inner`] holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inner {
    NetworkDetect(NetworkDetect),
    Control(PassthroughControl),
    Data(PassthroughData),
}

impl Inner {
    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Inner, "P2P inner message")?;
        if reader.u32_le()? & 1 == 0 {
            return PassthroughData::decode(frame).map(Self::Data);
        }
        reader.skip(24)?;
        match reader.u8()? {
            NetworkDetect::COMMAND => NetworkDetect::decode(frame).map(Self::NetworkDetect),
            _ => PassthroughControl::decode(frame).map(Self::Control),
        }
    }
}

/// Prepares the passage of media through the server.
///
/// Payload: `[0..4] 3 · [4..12] TID · [12..20] access id · [20..28] zero · [28] command · [29..32] zero ·
/// [32..36] link id · [36..52] zero`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassthroughControl {
    pub tid: u64,
    pub access_id: u64,
    pub command: u8,
    pub link_id: u32,
}

impl PassthroughControl {
    /// The only command known.
    pub const CREATE_KCP: u8 = 1;

    pub fn encode(&self, from: Identity, sqnum: u32) -> Frame {
        let mut payload = Vec::with_capacity(52);
        payload.u32_le(SAID);
        payload.u64_le(self.tid);
        payload.u64_le(self.access_id);
        payload.zeros(8);
        payload.u8(self.command);
        payload.zeros(3);
        payload.u32_le(self.link_id);
        payload.zeros(16);
        Frame::new(Kind::Inner, from, sqnum, FLAGS, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Inner, "passthrough control")?;
        let head = reader.u32_le()?;
        if head & 1 == 0 {
            return Err(reader.invalid("head", head));
        }
        let (tid, access_id) = (reader.u64_le()?, reader.u64_le()?);
        reader.skip(8)?;
        let command = reader.u8()?;
        reader.skip(3)?;
        let link_id = reader.u32_le()?;
        reader.skip(16)?;
        Ok(Self { tid, access_id, command, link_id })
    }
}

/// One MTP frame through the server.
///
/// Payload: `[0..4] zero · [4..12] TID · [12..20] access id · [20..24] message id · [24..26] length · [26..28] zero ·
/// [28..] MTP frame`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassthroughData {
    pub tid: u64,
    pub access_id: u64,
    pub message_id: u32,
    /// Up to 2047 bytes, like every MTP frame.
    pub mtp: Vec<u8>,
}

impl PassthroughData {
    pub fn encode(&self, from: Identity, sqnum: u32) -> Frame {
        let mut payload = Vec::with_capacity(28 + self.mtp.len());
        payload.zeros(4);
        payload.u64_le(self.tid);
        payload.u64_le(self.access_id);
        payload.u32_le(self.message_id);
        payload.u16_le(u16::try_from(self.mtp.len()).unwrap_or(u16::MAX));
        payload.zeros(2);
        payload.bytes(&self.mtp);
        Frame::new(Kind::Inner, from, sqnum, FLAGS, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Inner, "passthrough data")?;
        let head = reader.u32_le()?;
        if head & 1 != 0 {
            return Err(reader.invalid("head", head));
        }
        let (tid, access_id) = (reader.u64_le()?, reader.u64_le()?);
        let message_id = reader.u32_le()?;
        let len = reader.u16_le()?;
        reader.skip(2)?;
        Ok(Self { tid, access_id, message_id, mtp: reader.take(usize::from(len))?.to_vec() })
    }
}
