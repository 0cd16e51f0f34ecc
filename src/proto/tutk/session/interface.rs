//! What a session is given, told, and tells.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::{Quality, Silence, SoundFormat, Transport};
use crate::proto::tutk::dtls::{DtlsError, DtlsFactory};
use crate::proto::tutk::frame::CodecId;
use crate::proto::tutk::keys::{SessionId, Uid};

/// What a session is made of. `uid`, `enr`, `mac` and `model` come from the cloud's device record.
pub struct Setup {
    pub uid: Uid,
    pub enr: String,
    pub mac: String,
    /// Decides about the resolution command.
    pub model: String,
    /// Where the camera listens; its answers may change the port.
    pub address: SocketAddr,
    /// The only transport to try; without one both are, and the camera's first answer decides.
    pub transport: Option<Transport>,
    pub quality: Quality,
    pub random: SessionRandom,
    pub unix_time: u32,
    pub dtls: DtlsFactory,
}

impl Setup {
    pub(super) fn tries(&self, transport: Transport) -> bool {
        self.transport.is_none_or(|only| only == transport)
    }
}

/// The numbers that a session may choose freely and should not repeat.
#[derive(Debug, Clone, Copy)]
pub struct SessionRandom {
    pub session_id: SessionId,
    /// In the AV login.
    pub login_id: [u8; 4],
    /// In K10002.
    pub auth_id: [u8; 4],
}

impl SessionRandom {
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [session_id @ .., a, b, c, d, e, f, g, h] = bytes;
        Self { session_id, login_id: [a, b, c, d], auth_id: [e, f, g, h] }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Open the way to the speaker; answered by [`Event::TalkOpen`] or [`Event::TalkClosed`].
    StartTalk,
    /// Some 20 ms of sound in the format that [`Event::TalkOpen`] named; AAC without ADTS header.
    /// Dropped while the line is not open.
    Audio(Bytes),
    StopTalk,
    /// At most one in two seconds goes out, however many are asked for.
    RequestKeyframe,
    SetQuality(Quality),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The camera is there: it answered the search. Nothing is open yet.
    Answered,
    /// The camera answered and a transport session is open.
    Found {
        transport: Transport,
    },
    /// The camera took our credentials; frames follow.
    LoggedIn {
        firmware: Option<String>,
        two_way: bool,
    },
    Frame(AvFrame),
    /// The speaker is open, and sound for it must be of this format.
    TalkOpen {
        format: SoundFormat,
    },
    /// The talk is over, or never came to be.
    TalkClosed {
        why: TalkEnd,
    },
    /// A packet's HMAC was wrong; told once a session. It is used all the same, as DTLS protects what is in it.
    WrongHmac,
}

/// One picture, or one packet of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvFrame {
    pub media: Media,
    /// Since the first frame of the session; never goes back in one medium.
    pub pts: Duration,
    /// Pictures: Annex B as the camera sent it. AAC: without ADTS header.
    pub data: Bytes,
    /// Whether frames of this medium were lost before it. After a gap, pictures are damaged until the
    /// next keyframe.
    pub gap: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    Video { codec: CodecId, keyframe: bool },
    Audio(SoundFormat),
}

/// Why a talk is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TalkEnd {
    #[error("the talk was ended here")]
    Asked,
    #[error("the camera ended the talk")]
    ClosedByCamera,
    #[error("the camera did not open its speaker in time")]
    NoAnswer,
    #[error("the camera sends no sound, so the format its speaker takes is not known")]
    NoSound,
    #[error("the way to the speaker failed: {0}")]
    Failed(DtlsError),
}

/// Why a session is over, by what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Wrong address, off, or on another network: list the devices again, try later.
    #[error("the camera does not answer at its address")]
    NotFound,
    /// Try again.
    #[error("the camera stopped answering during the {step}")]
    NoAnswer { step: &'static str },
    /// The ENR is not, or no longer, the camera's: list the devices again, once.
    #[error("the camera does not accept the key from the account")]
    WrongKey,
    /// The camera knows the key but not the login, for example because too many viewers are connected.
    #[error("the camera refused the AV login with code {response_type:#04x}")]
    LoginRefused { response_type: u8 },
    /// As [`Self::LoginRefused`], one step later.
    #[error("the camera refused the authentication with result {result:?}")]
    AuthRefused { result: String },
    /// Try again at once.
    #[error("the camera has stopped sending {}", .0.what())]
    Silent(Silence),
    /// Try again at once.
    #[error("the camera closed the session")]
    Closed,
    #[error("the encrypted channel to the camera failed: {0}")]
    Dtls(DtlsError),
}
