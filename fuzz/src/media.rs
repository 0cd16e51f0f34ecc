//! What comes from cameras and microphones as pictures and sound: it must not panic, and what comes out must
//! be what the next in line relies on.

use bytes::Bytes;
use doorstep::media::convert::Converter;
use doorstep::media::h26x::{AccessUnits, NalKind, nals};
use doorstep::media::{AudioCodec, AudioFormat, VideoCodec};

use super::pieces::pieces;

/// Access units of a session, each behind its length; the first byte says of which codec.
pub fn access_units(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let codec = if first & 1 == 0 { VideoCodec::H264 } else { VideoCodec::H265 };
    let mut units = AccessUnits::new(codec);
    for piece in pieces(data) {
        assert!(nals(piece).all(|nal| nal.last().is_some_and(|byte| *byte != 0)), "a NAL unit is padded");
        let Some(unit) = units.push(Bytes::copy_from_slice(piece)) else { continue };
        if !unit.keyframe {
            continue;
        }
        let kinds: Vec<NalKind> = nals(&unit.data).map(|nal| NalKind::of(codec, nal)).collect();
        assert_eq!(kinds.first(), NalKind::parameter_sets(codec).first(), "a keyframe without its sets: {kinds:?}");
        assert_eq!(units.push(unit.data.clone()), Some(unit), "it was not yet as it should be");
    }
}

/// A keyframe; the first byte says of which codec. The decoders are strangers', and may only fail.
pub fn still(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let codec = if first & 1 == 0 { VideoCodec::H264 } else { VideoCodec::H265 };
    if let Ok(jpeg) = doorstep::media::still::jpeg(codec, data) {
        assert!(jpeg.starts_with(&[0xff, 0xd8, 0xff]) && jpeg.ends_with(&[0xff, 0xd9]), "half a picture");
        assert!(jpeg.len() <= 400_000, "{} bytes", jpeg.len());
    }
}

const fn format(codec: AudioCodec, rate_hz: u32, channels: u8) -> AudioFormat {
    AudioFormat { codec, rate_hz, channels }
}

const FORMATS: [AudioFormat; 9] = [
    AudioFormat::PCMU,
    AudioFormat::PCMA,
    AudioFormat::OPUS,
    format(AudioCodec::Opus, 16_000, 1),
    format(AudioCodec::Pcm, 8_000, 1),
    format(AudioCodec::Pcm, 16_000, 1),
    format(AudioCodec::Pcm, 44_100, 2),
    format(AudioCodec::Aac, 16_000, 1),
    format(AudioCodec::Aac, 44_100, 2),
];

/// Payloads of one talk or stream, each behind its length; the first two bytes say from what to what.
pub fn convert(data: &[u8]) {
    let Some(([from, to], data)) = data.split_first_chunk() else { return };
    let [from, to] = [from, to].map(|index| FORMATS[usize::from(*index) % FORMATS.len()]);
    let Ok(mut converter) = Converter::new(from, to) else { return };
    for piece in pieces(data) {
        for sound in converter.push(piece) {
            assert!(!piece.is_empty() || sound.is_empty(), "sound was made of nothing");
            let sample = match to.codec {
                AudioCodec::Pcmu | AudioCodec::Pcma => 1,
                AudioCodec::Pcm => 2,
                AudioCodec::Aac | AudioCodec::Opus => continue,
            };
            let samples = to.rate_hz as usize / 50 * usize::from(to.channels);
            assert_eq!(sound.len(), sample * samples, "a piece that does not last 20 ms");
        }
    }
}
