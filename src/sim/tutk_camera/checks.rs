//! What the camera verifies about its client (reference §10).

use crate::sim::checks;

/// One promise of the protocol that a client keeps or breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Check {
    /// Discovery and session request name this camera.
    Uid,
    /// OLD discovery, stage 1, carries the auth key.
    AuthKey,
    /// NEW: every packet's HMAC-SHA1.
    Hmac,
    /// Session id, ticket and direction of every later packet are those of discovery.
    SessionId,
    /// Keepalives are answered, by the first 8 body bytes (OLD) or with 2, 4, 6 … (NEW).
    Keepalive,
    /// The first AV login: 570 bytes, user, password, no resend, security mode 4.
    AvLogin1,
    /// The second AV login: 572 bytes, the same with the random id's first byte one higher.
    AvLogin2,
    /// ACKs keep their cadence of one each 100 ms.
    AckCadence,
    /// ACKs count from 1, and report what was received.
    AckFields,
    /// ACKs and IOCTRL frames share one counter from 0.
    AvSeq,
    /// IOCTRL frames count commands from 0, twice, and state their true size.
    IoctrlFields,
    /// K10002 holds the deciphered challenge.
    ChallengeResponse,
    /// K10002 asks for both streams.
    StreamFlags,
    /// K10052 from clients of old doorbell models, K10056 from the others.
    ResolutionCommand,
    /// Talk: the 60-byte login answer, with the camera's random id.
    TalkLoginAnswer,
    /// Talk: 0x00000001 in the first frame, 0x00100001 afterwards.
    TalkFrameFlags,
    /// Talk: TxSeq and FrameNo from 1, PrevFrameNo one behind, the payload size with its FRAMEINFO.
    TalkFrameNumbers,
    /// Talk: codec, rate and channels are those of the camera's own microphone.
    TalkCodec,
}

impl Check {
    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uid => "uid",
            Self::AuthKey => "auth_key",
            Self::Hmac => "hmac",
            Self::SessionId => "session_id",
            Self::Keepalive => "keepalive",
            Self::AvLogin1 => "av_login_1",
            Self::AvLogin2 => "av_login_2",
            Self::AckCadence => "ack_cadence",
            Self::AckFields => "ack_fields",
            Self::AvSeq => "av_seq",
            Self::IoctrlFields => "ioctrl_fields",
            Self::ChallengeResponse => "challenge_response",
            Self::StreamFlags => "stream_flags",
            Self::ResolutionCommand => "resolution_command",
            Self::TalkLoginAnswer => "talk_login_answer",
            Self::TalkFrameFlags => "talk_frame_flags",
            Self::TalkFrameNumbers => "talk_frame_numbers",
            Self::TalkCodec => "talk_codec",
        }
    }
}

pub(super) type Checks = checks::Checks<Check>;
