//! What the camera verifies about its client (reference §10), and how it stands.

use std::collections::{BTreeMap, VecDeque};

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

/// One change of a check's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) check: Check,
    pub(super) ok: bool,
    /// How often any check was broken since the camera started, this time included.
    pub(super) violations: u64,
}

/// The standing of every check that was made; tells of each change once.
#[derive(Debug, Default)]
pub(super) struct Checks {
    standing: BTreeMap<Check, bool>,
    violations: u64,
    news: VecDeque<Verdict>,
}

impl Checks {
    /// Makes a check and returns its outcome.
    pub(super) fn note(&mut self, check: Check, ok: bool) -> bool {
        self.violations += u64::from(!ok);
        if self.standing.insert(check, ok) != Some(ok) {
            self.news.push_back(Verdict { check, ok, violations: self.violations });
        }
        ok
    }

    /// The next change that was not told yet.
    pub(super) fn news(&mut self) -> Option<Verdict> {
        self.news.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_told_once_and_again_when_it_changes() {
        let mut checks = Checks::default();
        for ok in [true, true, false, false, true] {
            checks.note(Check::Hmac, ok);
        }
        checks.note(Check::Uid, true);
        let told: Vec<_> = std::iter::from_fn(|| checks.news()).map(|v| (v.check.name(), v.ok, v.violations)).collect();
        assert_eq!(told, [("hmac", true, 0), ("hmac", false, 1), ("hmac", true, 2), ("uid", true, 2)]);
    }
}
