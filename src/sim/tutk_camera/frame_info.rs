//! What the camera says about each frame (seed §10, reference §8).

use std::time::Duration;

use crate::media::{AudioCodec, AudioFormat, VideoCodec};
use crate::proto::tutk::frame::{AudioFlags, CodecId, FrameInfo};
use crate::sim::clip::Clip;

/// 360P, as FRAMEINFO counts sizes.
const FRAME_SIZE: u8 = 1;
/// What cameras were seen to say with 360P.
const BITRATE: u8 = 30;
const KEYFRAME: u8 = 1;

/// Of a picture that was taken `at`, in wall time since 1970. The packetiser fills in number and size.
pub(super) fn of_picture(codec: VideoCodec, keyframe: bool, at: Duration, mac: &str) -> FrameInfo {
    let codec = match codec {
        VideoCodec::H264 => CodecId::H264,
        VideoCodec::H265 => CodecId::H265,
    };
    let flags = if keyframe { KEYFRAME } else { 0 };
    let info = blank(codec, flags, at, mac);
    FrameInfo { fps: Clip::PICTURES_PER_SECOND, frame_size: FRAME_SIZE, bitrate: BITRATE, ..info }
}

/// Of a packet of sound whose first sample was taken `at`.
pub(super) fn of_sound(format: AudioFormat, at: Duration, mac: &str) -> FrameInfo {
    let AudioFormat { rate_hz, channels, .. } = format;
    blank(codec_id(format.codec), AudioFlags { rate_hz, channels }.to_wire(), at, mac)
}

fn codec_id(codec: AudioCodec) -> CodecId {
    match codec {
        AudioCodec::Pcmu => CodecId::Pcmu,
        AudioCodec::Pcma => CodecId::Pcma,
        AudioCodec::Pcm => CodecId::Pcm,
        AudioCodec::Aac => CodecId::AacWyze,
        AudioCodec::Opus => CodecId::Opus,
    }
}

/// The format that a talk frame names; `None` for codecs that no camera of ours has.
pub(super) fn audio_format(codec: CodecId, flags: u8) -> Option<AudioFormat> {
    let codec = match codec {
        CodecId::Pcmu => AudioCodec::Pcmu,
        CodecId::Pcma => AudioCodec::Pcma,
        CodecId::Pcm => AudioCodec::Pcm,
        CodecId::Opus => AudioCodec::Opus,
        codec if codec.is_aac() => AudioCodec::Aac,
        _ => return None,
    };
    let AudioFlags { rate_hz, channels } = AudioFlags::from_wire(flags);
    Some(AudioFormat { codec, rate_hz, channels })
}

fn blank(codec: CodecId, flags: u8, at: Duration, mac: &str) -> FrameInfo {
    let mut device_id = [0; 16];
    device_id.iter_mut().zip(mac.bytes()).for_each(|(to, byte)| *to = byte);
    FrameInfo {
        codec,
        flags,
        camera_index: 0,
        online_num: 1,
        fps: 0,
        frame_size: 0,
        bitrate: 0,
        timestamp_us: at.subsec_micros(),
        timestamp_s: at.as_secs() as u32,
        payload_size: 0,
        frame_no: 0,
        device_id,
    }
}
