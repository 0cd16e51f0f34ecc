//! What a camera is offered, and as which payload types.

use webrtc::error::Error;
use webrtc::peer_connection::MediaEngine;

use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_PCMA, MIME_TYPE_PCMU,
};
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};

use super::Sound;
use crate::media::AudioFormat;

/// H.264 and nothing else, in packets of one mode: `42e01f` first, which strict cameras insist on; then baseline and
/// high, for those that mirror what they send (kvs reference §5).
const VIDEO: [(u8, &str); 3] = [(102, "42e01f"), (104, "42001f"), (106, "640c1f")];

const SOUND: [(u8, AudioFormat); 3] = [(111, AudioFormat::OPUS), (0, AudioFormat::PCMU), (8, AudioFormat::PCMA)];

pub(super) fn is_video(payload_type: u8) -> bool {
    VIDEO.iter().any(|(offered, _)| *offered == payload_type)
}

/// The formats that this end takes, the best first.
pub(super) fn formats(sound: Sound) -> Vec<AudioFormat> {
    match sound {
        Sound::None => vec![],
        Sound::Receive => SOUND.iter().map(|(_, format)| *format).collect(),
        Sound::Both(formats) => formats.to_vec(),
    }
}

/// The sound of one call: its formats, the best first, and the payload types that they go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SoundCodecs(Vec<(u8, AudioFormat)>);

impl SoundCodecs {
    /// What we offer. A format that WebRTC does not have is left out.
    pub(super) fn offered(sound: Sound) -> Self {
        let known = |format: AudioFormat| SOUND.into_iter().find(|(_, known)| *known == format);
        Self(formats(sound).into_iter().filter_map(known).collect())
    }

    /// The one that was chosen of an offer, if any was.
    pub(super) fn chosen(choice: Option<(u8, AudioFormat)>) -> Self {
        Self(choice.into_iter().collect())
    }

    pub(super) fn first(&self) -> Option<AudioFormat> {
        self.0.first().map(|(_, format)| *format)
    }

    pub(super) fn format(&self, payload_type: u8) -> Option<AudioFormat> {
        self.0.iter().find(|(known, _)| *known == payload_type).map(|(_, format)| *format)
    }

    pub(super) fn payload_type(&self, format: AudioFormat) -> Option<u8> {
        self.0.iter().find(|(_, known)| *known == format).map(|(payload_type, _)| *payload_type)
    }

    pub(super) fn payload_types(&self) -> Vec<u8> {
        self.0.iter().map(|(payload_type, _)| *payload_type).collect()
    }

    pub(super) fn register(&self, engine: &mut MediaEngine) -> Result<(), Error> {
        for &(payload_type, format) in &self.0 {
            let codec = RTCRtpCodecParameters { rtp_codec: sound_codec(format), payload_type };
            engine.register_codec(codec, RtpCodecKind::Audio)?;
        }
        Ok(())
    }
}

/// The H.264 of one call: payload types and what stands in their `a=fmtp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VideoCodecs(Vec<(u8, String)>);

impl VideoCodecs {
    pub(super) fn none() -> Self {
        Self(vec![])
    }

    /// What we offer to take.
    pub(super) fn offered() -> Self {
        let parameters = |profile| format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}");
        Self(VIDEO.iter().map(|(payload_type, profile)| (*payload_type, parameters(profile))).collect())
    }

    /// The one that was chosen of an offer, if any was; its parameters go back as they came.
    pub(super) fn chosen(choice: Option<(u8, String)>) -> Self {
        Self(choice.into_iter().collect())
    }

    pub(super) fn first(&self) -> Option<RTCRtpCodecParameters> {
        self.all().next()
    }

    pub(super) fn payload_types(&self) -> Vec<u8> {
        self.0.iter().map(|(payload_type, _)| *payload_type).collect()
    }

    pub(super) fn register(&self, engine: &mut MediaEngine) -> Result<(), Error> {
        self.all().try_for_each(|codec| engine.register_codec(codec, RtpCodecKind::Video))
    }

    fn all(&self) -> impl Iterator<Item = RTCRtpCodecParameters> {
        let codec = |(payload_type, fmtp): &(u8, String)| (*payload_type, video_codec(fmtp));
        self.0.iter().map(codec).map(|(payload_type, rtp_codec)| RTCRtpCodecParameters { rtp_codec, payload_type })
    }
}

fn video_codec(fmtp: &str) -> RTCRtpCodec {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() };
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: vec![feedback("ccm", "fir")],
    }
}

pub(super) fn sound_codec(format: AudioFormat) -> RTCRtpCodec {
    let (mime_type, channels, fmtp) = match format {
        AudioFormat::PCMU => (MIME_TYPE_PCMU, 0, ""),
        AudioFormat::PCMA => (MIME_TYPE_PCMA, 0, ""),
        _ => (MIME_TYPE_OPUS, 2, "minptime=10;useinbandfec=1"),
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate: format.rate_hz,
        channels,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: vec![],
    }
}
