//! What a server says that it has (RFC 4566, RFC 2326 appendix C, RFC 6184 §8.2, RFC 7587 §7).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::track::{VIDEO_PAYLOAD_TYPE, VIDEO_RATE_HZ, audio_payload};
use crate::media::h26x::{NalKind, nals};
use crate::media::{AudioCodec, AudioFormat, VideoCodec};
use crate::sim::clip::Clip;

/// What follows the path of a presentation in the address of a track.
pub(super) const TRACKS: [&str; 2] = ["track0", "track1"];
pub(super) const VIDEO: usize = 0;

pub(super) fn describe(clip: &Clip, audio: Option<AudioFormat>) -> String {
    let mut sdp = String::from(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=Doorstep virtual camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
         a=control:*\r\na=range:npt=now-\r\n",
    );
    let _infallible = write!(
        sdp,
        "m=video 0 RTP/AVP {VIDEO_PAYLOAD_TYPE}\r\na=rtpmap:{VIDEO_PAYLOAD_TYPE} H264/{VIDEO_RATE_HZ}\r\n\
         a=fmtp:{VIDEO_PAYLOAD_TYPE} packetization-mode=1{}\r\na=control:{}\r\n",
        parameters(clip),
        TRACKS[VIDEO],
    );
    if let Some((payload_type, rate_hz, format)) = audio.and_then(|f| audio_payload(f).map(|(t, r)| (t, r, f))) {
        let encoding = match format.codec {
            AudioCodec::Pcmu => "PCMU/8000".to_owned(),
            AudioCodec::Pcma => "PCMA/8000".to_owned(),
            _ => format!("opus/{rate_hz}/2"),
        };
        let _infallible = write!(
            sdp,
            "m=audio 0 RTP/AVP {payload_type}\r\na=rtpmap:{payload_type} {encoding}\r\na=control:{}\r\n",
            TRACKS[1],
        );
    }
    sdp
}

/// Of the clip's first picture.
fn parameters(clip: &Clip) -> String {
    let first = clip.access_unit(0).data;
    let of_kind = |kind| nals(&first).filter(move |nal| NalKind::of(VideoCodec::H264, nal) == kind);
    let sets = NalKind::parameter_sets(VideoCodec::H264).iter().flat_map(|&kind| of_kind(kind));
    let sets = sets.map(|set| STANDARD.encode(set)).collect::<Vec<_>>().join(",");
    let profile = of_kind(NalKind::SequenceParameterSet).next().and_then(|set| set.get(1..4));
    let profile: String = profile.into_iter().flatten().map(|byte| format!("{byte:02X}")).collect();
    format!(";profile-level-id={profile};sprop-parameter-sets={sets}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_what_is_sent() {
        let sdp = describe(&Clip::h264(), Some(AudioFormat::OPUS));
        assert!(sdp.contains("a=rtpmap:97 opus/48000/2\r\n"), "{sdp}");
        assert!(sdp.contains(";profile-level-id=42C01E;sprop-parameter-sets=Z0LAH"), "{sdp}");
        assert!(describe(&Clip::h264(), Some(AudioFormat::PCMU)).contains("m=audio 0 RTP/AVP 0\r\n"));
        assert!(!describe(&Clip::h264(), None).contains("m=audio"));
    }
}
