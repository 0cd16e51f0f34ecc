//! K-commands and the IOCTRL frames that carry them (docs/protocol/tutk.md §7, §8).

use serde_json::{Value, json};

use super::xxtea;
use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

/// Command numbers.
pub mod id {
    pub const AUTH: u16 = 10_000;
    pub const CHALLENGE: u16 = 10_001;
    pub const CHALLENGE_RESPONSE: u16 = 10_002;
    pub const AUTH_RESULT: u16 = 10_003;
    pub const CONTROL_CHANNEL: u16 = 10_010;
    pub const CONTROL_CHANNEL_RESPONSE: u16 = 10_011;
    pub const SET_RESOLUTION_DB: u16 = 10_052;
    pub const SET_RESOLUTION_DB_RESPONSE: u16 = 10_053;
    pub const SET_RESOLUTION: u16 = 10_056;
    pub const SET_RESOLUTION_RESPONSE: u16 = 10_057;
}

const HL: [u8; 2] = *b"HL";
const HL_VERSION: u8 = 5;

/// One K-command: a 16-byte header and a payload of up to 65 535 bytes.
///
/// Layout (little-endian): `[0..2] "HL" · [2] version 5 · [3] zero · [4..6] command ·
/// [6..8] payload length · [8..16] zero · [16..] payload`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KCommand {
    /// See [`id`].
    pub command: u16,
    pub payload: Vec<u8>,
}

impl KCommand {
    pub fn new(command: u16, payload: Vec<u8>) -> Self {
        Self { command, payload }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("K-command", bytes);
        let magic: [u8; 2] = reader.array()?;
        if magic != HL {
            return Err(reader.invalid("magic", u16::from_le_bytes(magic)));
        }
        reader.skip(2)?;
        let command = reader.u16_le()?;
        let len = reader.u16_le()?;
        reader.skip(8)?;
        Ok(Self { command, payload: reader.take(len.into())?.to_vec() })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.payload.len());
        bytes.bytes(&HL);
        bytes.u8(HL_VERSION);
        bytes.zeros(1);
        bytes.u16_le(self.command);
        bytes.u16_le(self.payload.len() as u16);
        bytes.zeros(8);
        bytes.bytes(&self.payload);
        bytes
    }

    fn reader(&self, structure: &'static str, command: u16) -> Result<Reader<'_>, DecodeError> {
        let reader = Reader::new(structure, &self.payload);
        if self.command == command { Ok(reader) } else { Err(reader.invalid("command", self.command)) }
    }
}

const CONTROL: u16 = 0x000C;
const IOCTRL: u16 = 0x7000;
const CHANNEL_MESSAGE: u16 = 0x1000;
const IOTYPE_K_COMMAND: u16 = 0x0100;
/// Before this offset no reply has its K-command.
const EARLIEST_HL: usize = 32;

/// The frame a K-command travels in.
///
/// Layout (little-endian): `[0..2] 0x000C · [2..4] version · [4..8] AV sequence · [8..16] zero ·
/// [16..18] 0x7000 · [18..20] command sequence · [20..24] 1 · [24..28] HL length + 4 ·
/// [28..32] command sequence · [32..36] zero · [36..38] IOTYPE 0x0100 · [38..40] zero · [40..] HL`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoCtrl {
    /// One counter for ACKs and IOCTRL frames together, from 0.
    pub av_seq: u32,
    /// Counts IOCTRL frames, from 0.
    pub command_seq: u16,
    pub command: KCommand,
}

impl IoCtrl {
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("IOCTRL frame", message);
        let magic = reader.u16_le()?;
        if magic != CONTROL {
            return Err(reader.invalid("magic", magic));
        }
        reader.skip(2)?;
        let av_seq = reader.u32_le()?;
        reader.skip(8)?;
        let ioctrl = reader.u16_le()?;
        if ioctrl != IOCTRL {
            return Err(reader.invalid("IOCTRL magic", ioctrl));
        }
        let command_seq = reader.u16_le()?;
        reader.skip(16)?;
        let io_type = reader.u16_le()?;
        if io_type != IOTYPE_K_COMMAND {
            return Err(reader.invalid("IOTYPE", io_type));
        }
        reader.skip(2)?;
        Ok(Self { av_seq, command_seq, command: KCommand::decode(reader.rest())? })
    }

    pub fn encode(&self) -> Vec<u8> {
        let command = self.command.encode();
        let mut message = Vec::with_capacity(40 + command.len());
        message.u16_le(CONTROL);
        message.u16_le(CONTROL);
        message.u32_le(self.av_seq);
        message.zeros(8);
        message.u16_le(IOCTRL);
        message.u16_le(self.command_seq);
        message.u32_le(1);
        message.u32_le(command.len() as u32 + 4);
        message.u32_le(self.command_seq.into());
        message.zeros(4);
        message.u16_le(IOTYPE_K_COMMAND);
        message.zeros(2);
        message.bytes(&command);
        message
    }
}

/// A control message as a camera may send it: its first word is 0x000C, 0x1000 or 0x7000, and its
/// K-command stands somewhere behind offset 32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlMessage {
    /// Only 0x000C messages have one; ACKs report the highest.
    pub av_seq: Option<u32>,
    /// `None` when no K-command was found, which is not an error: other traffic shares these words.
    pub command: Option<KCommand>,
}

impl ControlMessage {
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("control message", message);
        let magic = reader.u16_le()?;
        if ![CONTROL, CHANNEL_MESSAGE, IOCTRL].contains(&magic) {
            return Err(reader.invalid("magic", magic));
        }
        reader.skip(2)?;
        let av_seq = reader.u32_le()?;
        let tail = message.get(EARLIEST_HL..).unwrap_or_default();
        let command = (0..tail.len()).filter_map(|at| tail.get(at..)).filter(|rest| rest.starts_with(&HL));
        let command = command.map(KCommand::decode).find_map(Result::ok);
        Ok(Self { av_seq: (magic == CONTROL).then_some(av_seq), command })
    }
}

/// K10000: opens the authentication and names the audio codecs we like, by codec id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRequest {
    pub audio_encoders: Vec<u16>,
}

impl Default for AuthRequest {
    /// µ-law, A-law, PCM: the list that is known to work.
    fn default() -> Self {
        Self { audio_encoders: vec![137, 138, 140] }
    }
}

impl AuthRequest {
    pub fn command(&self) -> KCommand {
        let list = json!({"cameraInfo": {"audioEncoderList": self.audio_encoders}});
        KCommand::new(id::AUTH, list.to_string().into_bytes())
    }

    pub fn decode(command: &KCommand) -> Result<Self, DecodeError> {
        let reader = command.reader("K10000", id::AUTH)?;
        let json = serde_json::from_slice::<Value>(&command.payload).map_err(|_| reader.invalid("JSON", 0u8))?;
        let list = json.pointer("/cameraInfo/audioEncoderList").and_then(Value::as_array);
        let list = list.ok_or_else(|| reader.invalid("audioEncoderList", 0u8))?;
        let codecs = list.iter().filter_map(Value::as_u64).filter_map(|codec| codec.try_into().ok());
        Ok(Self { audio_encoders: codecs.collect() })
    }
}

/// K10001: `[0] status · [1..17] 16 enciphered bytes`. The status says with which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// 1: a constant key; 3: the first half of the ENR; 6: both halves. Others are treated as 1.
    pub status: u8,
    pub challenge: [u8; 16],
}

impl Challenge {
    /// Poses `plain` so that only who knows `enr` can answer: the camera's side of [`Self::answer`].
    pub fn pose(status: u8, plain: &[u8; 16], enr: &str) -> Self {
        let challenge = keys(status, enr).iter().rev().fold(*plain, |text, key| xxtea::encrypt(&text, key));
        Self { status, challenge }
    }

    /// The plain bytes that K10002 must carry.
    pub fn answer(&self, enr: &str) -> [u8; 16] {
        keys(self.status, enr).iter().fold(self.challenge, |text, key| xxtea::decrypt(&text, key))
    }

    pub fn command(&self) -> KCommand {
        KCommand::new(id::CHALLENGE, [&[self.status][..], &self.challenge].concat())
    }

    pub fn decode(command: &KCommand) -> Result<Self, DecodeError> {
        let mut reader = command.reader("K10001", id::CHALLENGE)?;
        Ok(Self { status: reader.u8()?, challenge: reader.array()? })
    }
}

/// The keys to decipher with, one after the other.
///
/// The constant one is sixteen letters F, not sixteen bytes 0xFF. It also stands in for the second half
/// of an ENR that has no more than 16 characters, and for everything when status 6 meets a shorter one.
fn keys(status: u8, enr: &str) -> Vec<xxtea::Key> {
    let constant = xxtea::Key::new(&[b'F'; 16]);
    let (first, second) = (padded_key(enr.bytes()), padded_key(enr.bytes().skip(16)));
    match (status, enr.len()) {
        (3, _) => vec![first],
        (6, 17..) => vec![first, second],
        (6, 16) => vec![first, constant],
        _ => vec![constant],
    }
}

/// Sixteen bytes, cut or padded with zeros.
fn padded_key(bytes: impl Iterator<Item = u8>) -> xxtea::Key {
    let mut key = [0; 16];
    key.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    xxtea::Key::new(&key)
}

/// K10002: `[0..16] answer · [16..20] session id · [20] video wanted · [21] audio wanted`. What is wanted
/// starts right after K10003.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChallengeResponse {
    pub answer: [u8; 16],
    /// Of the client's choice.
    pub session_id: [u8; 4],
    pub video: bool,
    pub audio: bool,
}

impl ChallengeResponse {
    pub fn command(&self) -> KCommand {
        let mut payload = Vec::with_capacity(22);
        payload.bytes(&self.answer);
        payload.bytes(&self.session_id);
        payload.u8(self.video.into());
        payload.u8(self.audio.into());
        KCommand::new(id::CHALLENGE_RESPONSE, payload)
    }

    pub fn decode(command: &KCommand) -> Result<Self, DecodeError> {
        let mut reader = command.reader("K10002", id::CHALLENGE_RESPONSE)?;
        let answer = reader.array()?;
        let session_id = reader.array()?;
        Ok(Self { answer, session_id, video: reader.u8()? == 1, audio: reader.u8()? == 1 })
    }
}

/// K10003: whether we are in, and what the camera says of itself, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthResult {
    /// `connectionRes`; `"1"` is success.
    pub connection_res: Option<String>,
    pub firmware: Option<String>,
    pub model: Option<String>,
    pub mac: Option<String>,
    pub video: Option<bool>,
    pub audio: Option<bool>,
}

impl AuthResult {
    /// Success, also when the camera does not say.
    pub fn is_accepted(&self) -> bool {
        self.connection_res.as_deref().is_none_or(|result| result == "1")
    }

    /// Spells `channelResquestResult` as cameras do.
    pub fn command(&self) -> KCommand {
        let flag = |on: Option<bool>| on.map(|on| if on { "1" } else { "0" });
        let json = json!({
            "connectionRes": self.connection_res,
            "cameraInfo": {
                "basicInfo": {"firmware": self.firmware, "mac": self.mac, "model": self.model},
                "channelResquestResult": {"audio": flag(self.audio), "video": flag(self.video)},
            },
        });
        KCommand::new(id::AUTH_RESULT, json.to_string().into_bytes())
    }

    /// Takes either spelling of the channel result, and text or number for each value.
    pub fn decode(command: &KCommand) -> Result<Self, DecodeError> {
        let reader = command.reader("K10003", id::AUTH_RESULT)?;
        let start = command.payload.iter().position(|&byte| byte == b'{').unwrap_or(command.payload.len());
        let text = command.payload.get(start..).unwrap_or_default();
        // Cameras may pad with zeros, so what follows the first value is ignored.
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
        let Some(Ok(json)) = values.next() else { return Err(reader.invalid("JSON", 0u8)) };
        let text = |path: &str| json.pointer(path).and_then(text_of);
        let channel = |name: &str| {
            ["channelResquestResult", "channelRequestResult"]
                .iter()
                .find_map(|spelling| text(&format!("/cameraInfo/{spelling}/{name}")))
                .map(|value| value == "1")
        };
        Ok(Self {
            connection_res: text("/connectionRes"),
            firmware: text("/cameraInfo/basicInfo/firmware"),
            model: text("/cameraInfo/basicInfo/model"),
            mac: text("/cameraInfo/basicInfo/mac"),
            video: channel("video"),
            audio: channel("audio"),
        })
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    Video = 1,
    Audio = 2,
    /// Talk.
    ReturnAudio = 3,
    /// Raw data transfer.
    Rdt = 4,
}

/// K10010: `[0] media type · [1] 1 to enable, 2 to disable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlChannel {
    pub media: MediaType,
    pub enable: bool,
}

impl ControlChannel {
    pub fn command(&self) -> KCommand {
        KCommand::new(id::CONTROL_CHANNEL, vec![self.media as u8, if self.enable { 1 } else { 2 }])
    }

    pub fn decode(command: &KCommand) -> Result<Self, DecodeError> {
        let mut reader = command.reader("K10010", id::CONTROL_CHANNEL)?;
        let media = match reader.u8()? {
            1 => MediaType::Video,
            2 => MediaType::Audio,
            3 => MediaType::ReturnAudio,
            4 => MediaType::Rdt,
            other => return Err(reader.invalid("media type", other)),
        };
        match reader.u8()? {
            1 => Ok(Self { media, enable: true }),
            2 => Ok(Self { media, enable: false }),
            other => Err(reader.invalid("enable", other)),
        }
    }
}

/// How good a picture the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Quality {
    /// The best that the model has.
    #[default]
    Hd,
    /// 640×360.
    Sd,
}

/// Which of the two resolution commands a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolutionCommand {
    /// K10052: `[0..2] bitrate · [2] frame size · [3] pictures a second · [4..6] zero`
    Db,
    /// K10056: `[0] frame size · [1..3] bitrate · [3..5] pictures a second`
    General,
}

impl ResolutionCommand {
    /// K10052 for some older doorbells and outdoor cameras, K10056 for everything else.
    pub fn of_model(model: &str) -> Self {
        match model {
            "WYZEDB3" | "WVOD1" | "HL_WCO2" | "WYZEC1" => Self::Db,
            _ => Self::General,
        }
    }

    /// The number of the answer.
    pub fn response(self) -> u16 {
        match self {
            Self::Db => id::SET_RESOLUTION_DB_RESPONSE,
            Self::General => id::SET_RESOLUTION_RESPONSE,
        }
    }
}

/// What K10052 or K10056 asks for. Either also makes the encoder begin anew, with a keyframe, as far as
/// is known (§8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// 0 is 1080P, 1 360P, 2 720P, 3 2K, 4 floodlight; one higher on the wire.
    pub frame_size: u8,
    /// Kilobytes a second: 240 is the most, 60 is usual for 360P.
    pub bitrate: u16,
}

impl Resolution {
    const FRAME_SIZE_360P: u8 = 1;

    /// What to ask of `model` for `quality`.
    pub fn of_model(model: &str, quality: Quality) -> Self {
        let best = match model {
            "HL_CFL2" => 4,
            "HL_CAM3P" | "HL_PANP" | "HL_CAM4" | "HL_DB2" => 3,
            _ => 0,
        };
        match quality {
            Quality::Hd => Self { frame_size: best, bitrate: 240 },
            Quality::Sd => Self { frame_size: Self::FRAME_SIZE_360P, bitrate: 60 },
        }
    }

    pub fn command(&self, kind: ResolutionCommand) -> KCommand {
        let frame_size = self.frame_size.wrapping_add(1);
        let mut payload = Vec::with_capacity(6);
        match kind {
            ResolutionCommand::Db => {
                payload.u16_le(self.bitrate);
                payload.u8(frame_size);
                payload.zeros(3);
                KCommand::new(id::SET_RESOLUTION_DB, payload)
            }
            ResolutionCommand::General => {
                payload.u8(frame_size);
                payload.u16_le(self.bitrate);
                payload.zeros(2);
                KCommand::new(id::SET_RESOLUTION, payload)
            }
        }
    }

    /// Reads either command and says which it was.
    pub fn decode(command: &KCommand) -> Result<(ResolutionCommand, Self), DecodeError> {
        let mut reader = Reader::new("resolution command", &command.payload);
        match command.command {
            id::SET_RESOLUTION_DB => {
                let bitrate = reader.u16_le()?;
                let frame_size = reader.u8()?.wrapping_sub(1);
                reader.skip(3)?;
                Ok((ResolutionCommand::Db, Self { frame_size, bitrate }))
            }
            id::SET_RESOLUTION => {
                let frame_size = reader.u8()?.wrapping_sub(1);
                let bitrate = reader.u16_le()?;
                reader.skip(2)?;
                Ok((ResolutionCommand::General, Self { frame_size, bitrate }))
            }
            other => Err(reader.invalid("command", other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tutk::tests as checks;

    fn result() -> AuthResult {
        AuthResult {
            connection_res: Some("1".to_owned()),
            firmware: Some("4.52.9.4188".to_owned()),
            model: Some("HL_CAM4".to_owned()),
            mac: None,
            video: Some(true),
            audio: Some(false),
        }
    }

    fn commands() -> Vec<KCommand> {
        let response = ChallengeResponse { answer: [9; 16], session_id: [1, 2, 3, 4], video: true, audio: false };
        vec![
            AuthRequest::default().command(),
            Challenge { status: 3, challenge: [7; 16] }.command(),
            response.command(),
            result().command(),
            ControlChannel { media: MediaType::ReturnAudio, enable: false }.command(),
            Resolution::of_model("HL_DB2", Quality::Hd).command(ResolutionCommand::General),
            Resolution::of_model("WYZEDB3", Quality::Sd).command(ResolutionCommand::Db),
        ]
    }

    /// Decodes as whatever the number says.
    fn decode_typed(command: &KCommand) -> Result<KCommand, DecodeError> {
        match command.command {
            id::AUTH => AuthRequest::decode(command).map(|c| c.command()),
            id::CHALLENGE => Challenge::decode(command).map(|c| c.command()),
            id::CHALLENGE_RESPONSE => ChallengeResponse::decode(command).map(|c| c.command()),
            id::AUTH_RESULT => AuthResult::decode(command).map(|c| c.command()),
            id::CONTROL_CHANNEL => ControlChannel::decode(command).map(|c| c.command()),
            _ => Resolution::decode(command).map(|(kind, c)| c.command(kind)),
        }
    }

    #[test]
    fn every_command_survives_the_way_there_and_back() {
        for (seq, command) in commands().into_iter().enumerate() {
            assert_eq!(decode_typed(&command), Ok(command.clone()));
            let frame = IoCtrl { av_seq: 7, command_seq: seq as u16, command: command.clone() };
            assert_eq!(IoCtrl::decode(&frame.encode()), Ok(frame.clone()));
            let found = ControlMessage::decode(&frame.encode());
            assert_eq!(found, Ok(ControlMessage { av_seq: Some(7), command: Some(command) }));
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        for command in commands() {
            checks::every_truncation_is_refused(&command.encode(), KCommand::decode);
            let frame = IoCtrl { av_seq: 7, command_seq: 0, command: command.clone() };
            checks::every_truncation_is_refused(&frame.encode(), IoCtrl::decode);
            for len in 0..command.payload.len() {
                let cut = KCommand::new(command.command, command.payload[..len].to_vec());
                assert!(decode_typed(&cut).is_err(), "K{} with {len} bytes was accepted", command.command);
            }
        }
    }

    #[test]
    fn no_flipped_bit_panics() {
        for command in commands() {
            let frame = IoCtrl { av_seq: 7, command_seq: 0, command }.encode();
            checks::every_flipped_bit_is_survived(&frame, |bytes| {
                IoCtrl::decode(bytes).and_then(|frame| decode_typed(&frame.command))
            });
            checks::every_flipped_bit_is_survived(&frame, ControlMessage::decode);
        }
    }

    #[test]
    fn a_reply_is_found_wherever_it_stands() {
        let challenge = Challenge { status: 1, challenge: [7; 16] }.command();
        for (magic, at) in [(CHANNEL_MESSAGE, 32), (IOCTRL, 33), (CONTROL, 44)] {
            let mut message = magic.to_le_bytes().to_vec();
            message.resize(at, 0);
            message.extend(challenge.encode());
            let found = ControlMessage::decode(&message).unwrap();
            assert_eq!(found.command.as_ref(), Some(&challenge), "at {at} under {magic:#x}");
            assert_eq!(found.av_seq.is_some(), magic == CONTROL);
        }
    }

    #[test]
    fn a_challenge_is_answered_with_what_the_camera_hid() {
        let plain = *b"sixteen byte msg";
        for enr in ["short", "exactly16letters", "nineteen letters ok", "0123456789abcdefGHIJKLMNOPQRSTUV"] {
            for status in [1, 3, 6, 9] {
                let challenge = Challenge::pose(status, &plain, enr);
                assert_ne!(challenge.challenge, plain);
                assert_eq!(challenge.answer(enr), plain, "status {status}, ENR of {} characters", enr.len());
            }
        }
    }

    #[test]
    fn both_spellings_of_the_channel_result_are_read() {
        for spelling in ["channelResquestResult", "channelRequestResult"] {
            let json = format!(r#"{{"connectionRes":1,"cameraInfo":{{"{spelling}":{{"audio":"0","video":"1"}}}}}}"#);
            let padded = [b"\0\0".as_slice(), json.as_bytes(), b"\0"].concat();
            let result = AuthResult::decode(&KCommand::new(id::AUTH_RESULT, padded)).unwrap();
            assert_eq!((result.audio, result.video), (Some(false), Some(true)), "{spelling}");
            assert!(result.is_accepted());
        }
    }

    #[test]
    fn a_refusal_is_a_refusal() {
        for refusal in [r#"{"connectionRes":"2"}"#, r#"{"connectionRes":0}"#] {
            let result = AuthResult::decode(&KCommand::new(id::AUTH_RESULT, refusal.into())).unwrap();
            assert!(!result.is_accepted(), "{refusal}");
        }
    }

    #[test]
    fn the_model_decides_about_the_resolution_command() {
        assert_eq!(ResolutionCommand::of_model("WYZEDB3"), ResolutionCommand::Db);
        assert_eq!(ResolutionCommand::of_model("HL_DB2"), ResolutionCommand::General);
        assert_eq!(Resolution::of_model("HL_DB2", Quality::Hd).frame_size, 3);
        assert_eq!(Resolution::of_model("HL_CFL2", Quality::Hd).frame_size, 4);
        assert_eq!(Resolution::of_model("WYZE_CAKP2JFUS", Quality::Hd).frame_size, 0);
        assert_eq!(Resolution::of_model("HL_CAM4", Quality::Sd), Resolution { frame_size: 1, bitrate: 60 });
    }
}
