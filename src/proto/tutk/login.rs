//! The AV login and the acknowledgements that follow it (docs/protocol/tutk.md §6). They travel inside
//! DTLS.

use std::fmt;

use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

const VERSION: u16 = 0x000C;
const USERNAME: &str = "admin";
const CREDENTIAL_LEN: usize = 256;
const CAPABILITIES: u32 = 0x001F_07FB;
/// The reference gives 2 (automatic); 4 is what works on hardware.
const SECURITY_MODE: u32 = 4;

const LOGIN_FIRST: u16 = 0x0000;
const LOGIN_SECOND: u16 = 0x2000;
const LOGIN_RESPONSE: u16 = 0x2100;
const ACK: u16 = 0x0009;

/// Which of the two login messages: they are sent 10 ms apart, and the camera answers the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginStage {
    First,
    Second,
}

/// The part of a login message that both ends of both channels agree on.
///
/// Layout (little-endian): `[0..2] magic 0x0000 or 0x2000 · [2..4] version · [4..16] zero ·
/// [16..18] payload size · [18..20] flags · [20..24] random id`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginHead {
    pub stage: LoginStage,
    /// Of the client's choice; the answer repeats it. The second message's first byte is one higher.
    pub random_id: [u8; 4],
}

impl LoginHead {
    /// Reads the first 24 bytes, which is all that a camera's login on the back channel is known to have.
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new("AV login", message))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let stage = match reader.u16_le()? {
            LOGIN_FIRST => LoginStage::First,
            LOGIN_SECOND => LoginStage::Second,
            other => return Err(reader.invalid("magic", other)),
        };
        reader.skip(18)?;
        Ok(Self { stage, random_id: reader.array()? })
    }

    fn write(&self, message: &mut Vec<u8>) {
        let (magic, payload_size, flags) = match self.stage {
            LoginStage::First => (LOGIN_FIRST, 546, 1),
            LoginStage::Second => (LOGIN_SECOND, 548, 0),
        };
        message.u16_le(magic);
        message.u16_le(VERSION);
        message.zeros(12);
        message.u16_le(payload_size);
        message.u16_le(flags);
        message.bytes(&self.random_id);
    }
}

/// A whole login message: 570 bytes for the first, 572 for the second.
///
/// Layout after the head: `[24..280] user name · [280..536] password · [536..540] resend ·
/// [540..544] security mode · [544..552] zero · [552..556] capabilities · zero to the end`
#[derive(Clone, PartialEq, Eq)]
pub struct AvLogin {
    pub head: LoginHead,
    pub username: String,
    /// The ENR.
    pub password: String,
    /// Asks for the media format with retransmission, which nobody has described: always false.
    pub resend: bool,
    pub security_mode: u32,
    pub capabilities: u32,
}

impl AvLogin {
    /// Both messages, in the order in which they are sent.
    pub fn pair(enr: &str, random_id: [u8; 4]) -> [Self; 2] {
        let [first, rest @ ..] = random_id;
        let [a, b, c] = rest;
        let login = |stage, random_id| Self {
            head: LoginHead { stage, random_id },
            username: USERNAME.to_owned(),
            password: enr.to_owned(),
            resend: false,
            security_mode: SECURITY_MODE,
            capabilities: CAPABILITIES,
        };
        [login(LoginStage::First, random_id), login(LoginStage::Second, [first.wrapping_add(1), a, b, c])]
    }

    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("AV login", message);
        let head = LoginHead::read(&mut reader)?;
        let username = read_text(&mut reader)?;
        let password = read_text(&mut reader)?;
        let resend = reader.u32_le()? != 0;
        let security_mode = reader.u32_le()?;
        reader.skip(8)?;
        let capabilities = reader.u32_le()?;
        reader.skip(Self::padding(head.stage))?;
        Ok(Self { head, username, password, resend, security_mode, capabilities })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(572);
        self.head.write(&mut message);
        write_text(&mut message, &self.username);
        write_text(&mut message, &self.password);
        message.u32_le(self.resend.into());
        message.u32_le(self.security_mode);
        message.zeros(8);
        message.u32_le(self.capabilities);
        message.zeros(Self::padding(self.head.stage));
        message
    }

    fn padding(stage: LoginStage) -> usize {
        match stage {
            LoginStage::First => 14,
            LoginStage::Second => 16,
        }
    }
}

impl fmt::Debug for AvLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AvLogin").field("head", &self.head).finish_non_exhaustive()
    }
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let padded = reader.take(CREDENTIAL_LEN)?;
    let text = padded.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|error| reader.invalid("text", error.valid_up_to() as u64))?;
    Ok(text.to_owned())
}

/// Zero-padded or cut to 256 bytes.
fn write_text(message: &mut Vec<u8>, text: &str) {
    let end = message.len() + CREDENTIAL_LEN;
    message.extend(text.bytes().take(CREDENTIAL_LEN));
    message.resize(end, 0);
}

/// The answer to a login, from the camera on the main channel and from us on the back channel.
///
/// Layout of the 60 bytes (little-endian): `[0..2] 0x2100 · [2..4] version · [4] 0x10 for success ·
/// [16..20] 0x24 · [20..24] random id · [29] enabled · [31] two-way audio · [36..40] 4 ·
/// [40..44] capabilities · [54] 3 · [56] 2`, zero elsewhere
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvLoginResponse {
    /// 0x10 is success.
    pub response_type: u8,
    pub random_id: [u8; 4],
    pub enabled: bool,
    /// Whether the camera has a speaker.
    pub two_way: bool,
}

impl AvLoginResponse {
    pub const SUCCESS: u8 = 0x10;

    pub fn accept(random_id: [u8; 4]) -> Self {
        Self { response_type: Self::SUCCESS, random_id, enabled: true, two_way: true }
    }

    /// Whether a message is one of these, before its fields are trusted.
    pub fn recognises(message: &[u8]) -> bool {
        message.starts_with(&LOGIN_RESPONSE.to_le_bytes())
    }

    /// Cameras are only known to send the first 32 bytes.
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("AV login response", message);
        let magic = reader.u16_le()?;
        if magic != LOGIN_RESPONSE {
            return Err(reader.invalid("magic", magic));
        }
        reader.skip(2)?;
        let response_type = reader.u8()?;
        reader.skip(15)?;
        let random_id = reader.array()?;
        reader.skip(5)?;
        let enabled = reader.u8()? == 1;
        reader.skip(1)?;
        let two_way = reader.u8()? == 1;
        Ok(Self { response_type, random_id, enabled, two_way })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(60);
        message.u16_le(LOGIN_RESPONSE);
        message.u16_le(VERSION);
        message.u8(self.response_type);
        message.zeros(11);
        message.u32_le(0x24);
        message.bytes(&self.random_id);
        message.zeros(5);
        message.u8(self.enabled.into());
        message.zeros(1);
        message.u8(self.two_way.into());
        message.zeros(4);
        message.u32_le(4);
        message.u32_le(CAPABILITIES);
        message.zeros(10);
        message.u16_le(3);
        message.u16_le(2);
        message.zeros(2);
        message
    }
}

/// The client's sign of life, every 100 ms for the whole session.
///
/// Layout (little-endian, 24 bytes): `[0..2] 0x0009 · [2..4] version · [4..8] AV sequence ·
/// [8..10] rx start · [10..12] rx end · [12..14] count · [14..16] zero · [16..20] count << 16 ·
/// [20..22] clock, milliseconds · [22..24] zero`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// One counter for ACKs and IOCTRL frames together, from 0.
    pub av_seq: u32,
    /// The range of control messages received; both 0xFFFF until there was one.
    pub rx_start: u16,
    pub rx_end: u16,
    /// 1, 2, 3, …
    pub count: u16,
    pub clock_ms: u16,
}

impl Ack {
    pub fn recognises(message: &[u8]) -> bool {
        message.starts_with(&ACK.to_le_bytes())
    }

    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("ACK", message);
        let magic = reader.u16_le()?;
        if magic != ACK {
            return Err(reader.invalid("magic", magic));
        }
        reader.skip(2)?;
        let av_seq = reader.u32_le()?;
        let rx_start = reader.u16_le()?;
        let rx_end = reader.u16_le()?;
        let count = reader.u16_le()?;
        reader.skip(6)?;
        let clock_ms = reader.u16_le()?;
        reader.skip(2)?;
        Ok(Self { av_seq, rx_start, rx_end, count, clock_ms })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(24);
        message.u16_le(ACK);
        message.u16_le(VERSION);
        message.u32_le(self.av_seq);
        message.u16_le(self.rx_start);
        message.u16_le(self.rx_end);
        message.u16_le(self.count);
        message.zeros(2);
        message.u32_le(u32::from(self.count) << 16);
        message.u16_le(self.clock_ms);
        message.zeros(2);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tutk::tests as checks;

    const ACKNOWLEDGEMENT: Ack = Ack { av_seq: 9, rx_start: 3, rx_end: 5, count: 4, clock_ms: 777 };

    #[test]
    fn every_message_survives_the_way_there_and_back() {
        for login in AvLogin::pair("aKzdqckqZ8HUHFe5", [255, 2, 3, 4]) {
            assert_eq!(AvLogin::decode(&login.encode()), Ok(login.clone()));
            assert_eq!(LoginHead::decode(&login.encode()), Ok(login.head));
        }
        let response = AvLoginResponse { two_way: false, ..AvLoginResponse::accept([0, 2, 3, 4]) };
        assert_eq!(AvLoginResponse::decode(&response.encode()), Ok(response));
        assert_eq!(Ack::decode(&ACKNOWLEDGEMENT.encode()), Ok(ACKNOWLEDGEMENT));
    }

    #[test]
    fn the_second_login_counts_on_without_carry() {
        let [first, second] = AvLogin::pair("enr", [255, 2, 3, 4]);
        assert_eq!((first.head.random_id, second.head.random_id), ([255, 2, 3, 4], [0, 2, 3, 4]));
        assert_eq!((first.encode().len(), second.encode().len()), (570, 572));
    }

    #[test]
    fn a_login_shows_no_password() {
        let [login, _] = AvLogin::pair("aKzdqckqZ8HUHFe5", [1; 4]);
        assert!(!format!("{login:?}").contains("aKzd"));
    }

    #[test]
    fn every_truncation_is_an_error() {
        for login in AvLogin::pair("aKzdqckqZ8HUHFe5", [1, 2, 3, 4]) {
            checks::every_truncation_is_refused(&login.encode(), AvLogin::decode);
            checks::every_truncation_is_refused(&login.encode()[..24], LoginHead::decode);
        }
        let response = AvLoginResponse::accept([1, 2, 3, 4]).encode();
        checks::every_truncation_is_refused(&response[..32], AvLoginResponse::decode);
        checks::every_truncation_is_refused(&ACKNOWLEDGEMENT.encode(), Ack::decode);
    }

    #[test]
    fn no_flipped_bit_panics() {
        for login in AvLogin::pair("aKzdqckqZ8HUHFe5", [1, 2, 3, 4]) {
            checks::every_flipped_bit_is_survived(&login.encode(), AvLogin::decode);
        }
        checks::every_flipped_bit_is_survived(&AvLoginResponse::accept([1; 4]).encode(), AvLoginResponse::decode);
        checks::every_flipped_bit_is_survived(&ACKNOWLEDGEMENT.encode(), Ack::decode);
    }
}
