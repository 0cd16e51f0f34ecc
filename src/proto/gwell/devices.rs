//! Init info and the list of devices (gwell reference §4.3).

use super::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode};
use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

const FLAGS: Flags = Flags::new(Mode::Session, Delivery::Forgotten);

/// "Which devices are mine?" Always by access id.
///
/// Payload: `[0..3] 3E 00 00 · [3] sub-mode 2 · [4..38] zero`. Of the zeros some are credentials in the vendor's
/// software; which, nobody knows, and no server asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitInfo {
    pub access_id: u64,
    pub sqnum: u32,
}

impl InitInfo {
    const LEN: usize = 38;
    const HEAD: [u8; 4] = [0x3E, 0, 0, 2];

    pub fn encode(&self) -> Frame {
        let mut payload = Vec::with_capacity(Self::LEN);
        payload.bytes(&Self::HEAD);
        payload.zeros(Self::LEN - Self::HEAD.len());
        Frame::new(Kind::InitInfo, Identity::Terminal(self.access_id), self.sqnum, FLAGS, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        frame.reader(Kind::InitInfo, "init info")?.skip(Self::LEN)?;
        Ok(Self { access_id: frame.id, sqnum: frame.sqnum })
    }
}

/// All devices of the account.
///
/// Payload: `[0..4] flags · [4..6] number of devices · [6..8] number of those offline, or flags · [8..] 44 bytes a
/// device`. The reference client reads the two numbers as one, and fails when a device is offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList {
    /// Up to [`Self::MAX_DEVICES`].
    pub devices: Vec<Listed>,
    pub offline: u16,
}

/// `[0..8] TID · [8..10] status · [10..12] attribute · [12..44] name, up to its first zero`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub tid: u64,
    /// What its values mean is not known.
    pub status: u16,
    /// As little known.
    pub attribute: u16,
    /// `GW_<model>_<MAC>`, up to 32 bytes.
    pub name: String,
}

impl DeviceList {
    pub const MAX_DEVICES: usize = 32;
    const STRUCTURE: &str = "device list";

    pub fn encode(&self, from: Identity, sqnum: u32) -> Frame {
        Frame::new(Kind::Devices, from, sqnum, FLAGS, self.payload())
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        frame.reader(Kind::Devices, Self::STRUCTURE)?;
        Self::of_payload(&frame.payload)
    }

    fn payload(&self) -> Vec<u8> {
        let devices = self.devices.get(..Self::MAX_DEVICES).unwrap_or(&self.devices);
        let mut payload = Vec::with_capacity(8 + devices.len() * Listed::LEN);
        payload.zeros(4);
        payload.u16_le(devices.len() as u16);
        payload.u16_le(self.offline);
        devices.iter().for_each(|device| device.encode(&mut payload));
        payload
    }

    pub(super) fn of_payload(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(Self::STRUCTURE, payload);
        reader.skip(4)?;
        let count = reader.u16_le()?;
        if usize::from(count) > Self::MAX_DEVICES {
            return Err(reader.invalid("number of devices", count));
        }
        let offline = reader.u16_le()?;
        let devices: Result<_, _> = (0..count).map(|_| Listed::decode(&mut reader)).collect();
        Ok(Self { devices: devices?, offline })
    }
}

impl Listed {
    const LEN: usize = 44;
    const NAME_LEN: usize = 32;

    fn encode(&self, bytes: &mut Vec<u8>) {
        let name = self.name.as_bytes();
        let name = name.get(..Self::NAME_LEN).unwrap_or(name);
        bytes.u64_le(self.tid);
        bytes.u16_le(self.status);
        bytes.u16_le(self.attribute);
        bytes.bytes(name);
        bytes.zeros(Self::NAME_LEN - name.len());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (tid, status, attribute) = (reader.u64_le()?, reader.u16_le()?, reader.u16_le()?);
        let field = reader.take(Self::NAME_LEN)?;
        let name = field.split(|&byte| byte == 0).next().unwrap_or(field);
        let name = std::str::from_utf8(name).map_err(|error| reader.invalid("name", error.valid_up_to() as u64))?;
        Ok(Self { tid, status, attribute, name: name.to_owned() })
    }
}
