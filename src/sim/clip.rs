//! The clip that every virtual camera plays: a doorbell's view at dusk with a running clock.
//!
//! Drawn and encoded by `tools/make-clip/make_clip.py`; its sound is [`super::sound`].

use std::time::Duration;

use bytes::Bytes;

use crate::media::VideoCodec;

const H264: &[u8] = include_bytes!("assets/porch.h264");
const H265: &[u8] = include_bytes!("assets/porch.h265");

/// One picture of the endless clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Annex B. A keyframe begins with its parameter sets; there is no access unit delimiter, and no SEI but in a
    /// clip that was filled up.
    pub data: Bytes,
    pub keyframe: bool,
    /// Since the clip's first picture; goes on over the end of the loop.
    pub pts: Duration,
}

/// 640×360, 20 pictures a second, 10 s, a keyframe each second.
#[derive(Debug, Clone)]
pub struct Clip {
    codec: VideoCodec,
    pictures: Vec<Picture>,
}

#[derive(Debug, Clone)]
struct Picture {
    data: Bytes,
    keyframe: bool,
}

impl Clip {
    pub const PICTURES_PER_SECOND: u8 = 20;
    pub const INTERVAL: Duration = Duration::from_millis(1_000 / Self::PICTURES_PER_SECOND as u64);

    /// Constrained baseline, level 3.0; the first NAL unit of a keyframe is its SPS.
    pub fn h264() -> Self {
        Self::split(VideoCodec::H264, H264)
    }

    /// Main profile; the first NAL unit of a keyframe is its VPS.
    pub fn h265() -> Self {
        Self::split(VideoCodec::H265, H265)
    }

    pub fn of(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::H264 => Self::h264(),
            VideoCodec::H265 => Self::h265(),
        }
    }

    /// The same clip at a constant rate: what a picture lacks to its share is made up with an SEI message of user
    /// data, which decoders pass over. A larger picture stays as it is. (Filler data would be the standard's own way, but is taken out before RTP.)
    pub fn filled_up_to(mut self, kbit_per_second: u32) -> Self {
        let share = kbit_per_second as usize * 125 / usize::from(Self::PICTURES_PER_SECOND);
        for picture in &mut self.pictures {
            let filling = user_data(self.codec, share.saturating_sub(picture.data.len()));
            // In front of the slice, which is the last unit, and behind the parameter sets.
            let slice = start_codes(&picture.data).last().copied().unwrap_or_default();
            let (before, slice) = picture.data.split_at(slice);
            picture.data = [before, &filling, slice].concat().into();
        }
        self
    }

    pub fn codec(&self) -> VideoCodec {
        self.codec
    }

    /// Picture `n` since the beginning; the clip begins anew after its last one.
    pub fn access_unit(&self, n: u64) -> AccessUnit {
        let Picture { data, keyframe } = &self.pictures[self.index(n)];
        let pts = Duration::from_nanos(Self::INTERVAL.as_nanos() as u64 * n);
        AccessUnit { data: data.clone(), keyframe: *keyframe, pts }
    }

    /// The first keyframe at or after picture `n`.
    pub fn next_keyframe(&self, n: u64) -> u64 {
        (n..).find(|&n| self.pictures[self.index(n)].keyframe).expect("the clip has keyframes")
    }

    /// Every picture from the first one on, without end.
    pub fn access_units(&self) -> impl Iterator<Item = AccessUnit> + '_ {
        (0..).map(|n| self.access_unit(n))
    }

    fn index(&self, n: u64) -> usize {
        (n % self.pictures.len() as u64) as usize
    }

    /// Cuts an Annex B stream of one-slice pictures after each slice.
    fn split(codec: VideoCodec, stream: &'static [u8]) -> Self {
        let starts = start_codes(stream);
        let ends = starts.iter().copied().skip(1).chain([stream.len()]);
        let mut pictures = Vec::new();
        let mut begin = 0;
        for (start, end) in starts.iter().copied().zip(ends) {
            if let Some(keyframe) = slice_kind(codec, &stream[start..end]) {
                pictures.push(Picture { data: Bytes::from_static(&stream[begin..end]), keyframe });
                begin = end;
            }
        }
        Self { codec, pictures }
    }
}

/// One SEI unit of about `bytes` bytes that holds user data without meaning (H.264 D.1.7, H.265 D.2.7);
/// nothing where they do not suffice for one.
fn user_data(codec: VideoCodec, bytes: usize) -> Vec<u8> {
    const USER_DATA_UNREGISTERED: u8 = 5;
    const UUID: &[u8; 16] = b"doorstep filling";
    let header: &[u8] = match codec {
        VideoCodec::H264 => &[0, 0, 0, 1, 6],
        VideoCodec::H265 => &[0, 0, 0, 1, 39 << 1, 1],
    };
    let Some(rest) = bytes.checked_sub(header.len() + 3 + UUID.len()) else { return Vec::new() };
    // The size itself is written as so many bytes of 255, and one for what is left.
    let filling = rest - rest / 256;
    let size = UUID.len() + filling;
    let mut unit = header.to_vec();
    unit.push(USER_DATA_UNREGISTERED);
    unit.resize(unit.len() + size / 255, 0xFF);
    unit.push((size % 255) as u8);
    unit.extend(UUID);
    // No two zero bytes in a row, so nothing has to be escaped.
    unit.resize(unit.len() + filling, 0xAA);
    unit.push(0x80);
    unit
}

/// Where each start code begins, its leading zero byte included.
fn start_codes(stream: &[u8]) -> Vec<usize> {
    let three_bytes = stream.windows(3).enumerate().filter(|(_, window)| *window == [0, 0, 1]);
    three_bytes.map(|(at, _)| if at > 0 && stream[at - 1] == 0 { at - 1 } else { at }).collect()
}

/// For a NAL unit with its start code: whether it is a slice, and then whether of a keyframe.
fn slice_kind(codec: VideoCodec, unit: &[u8]) -> Option<bool> {
    let header = nal_header(unit)?;
    match codec {
        VideoCodec::H264 => match header & 0x1F {
            5 => Some(true),
            1 => Some(false),
            _ => None,
        },
        VideoCodec::H265 => match (header >> 1) & 0x3F {
            16..=21 => Some(true),
            0..=9 => Some(false),
            _ => None,
        },
    }
}

/// The byte after a start code of three or four bytes.
fn nal_header(unit: &[u8]) -> Option<u8> {
    unit.iter().copied().skip_while(|&byte| byte == 0).nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plays_ten_seconds_with_a_keyframe_each_second_and_goes_on() {
        for clip in [Clip::h264(), Clip::h265()] {
            let units: Vec<_> = clip.access_units().take(401).collect();
            assert!(units.iter().enumerate().all(|(n, unit)| unit.keyframe == (n % 20 == 0)));
            assert!(units.windows(2).all(|pair| pair[1].pts - pair[0].pts == Clip::INTERVAL));
            assert_eq!(units[0].data, units[200].data, "the loop is 200 pictures long");
            assert_ne!(units[0].data, units[20].data, "something moves");
            assert_eq!(clip.next_keyframe(181), 200);
        }
    }

    #[test]
    fn keyframes_begin_with_their_parameter_sets() {
        let nal_types = |clip: &Clip, shift: u8, mask: u8| -> Vec<u8> {
            let unit = clip.access_unit(0).data;
            start_codes(&unit)
                .iter()
                .filter_map(|&at| nal_header(&unit[at..]))
                .map(|byte| (byte >> shift) & mask)
                .collect()
        };
        assert_eq!(nal_types(&Clip::h264(), 0, 0x1F), [7, 8, 5], "SPS, PPS, IDR");
        assert_eq!(nal_types(&Clip::h265(), 1, 0x3F), [32, 33, 34, 20], "VPS, SPS, PPS, IDR");
    }

    #[test]
    fn a_filled_up_clip_has_the_rate_that_was_asked_for_and_the_same_pictures() {
        for clip in [Clip::h264(), Clip::h265()] {
            let filled = clip.clone().filled_up_to(4_000);
            let second: usize = filled.access_units().skip(40).take(20).map(|unit| unit.data.len()).sum();
            assert!(second.abs_diff(500_000) < 50, "{:?}: {second} bytes a second", clip.codec());
            for (unit, plain) in filled.access_units().zip(clip.access_units()).take(200) {
                let (sei, slice) = (start_codes(&unit.data), start_codes(&plain.data));
                assert_eq!(unit.data[..sei[sei.len() - 2]], plain.data[..slice[slice.len() - 1]], "parameter sets");
                assert_eq!(unit.data[sei[sei.len() - 1]..], plain.data[slice[slice.len() - 1]..], "slice");
            }
        }
        let clip = Clip::h264();
        assert_eq!(clip.clone().filled_up_to(1).access_unit(3), clip.access_unit(3), "no picture is made smaller");
    }

    #[test]
    fn no_byte_of_the_assets_is_lost_between_pictures() {
        for (clip, asset) in [(Clip::h264(), H264), (Clip::h265(), H265)] {
            let played: Vec<u8> = clip.access_units().take(200).flat_map(|unit| unit.data).collect();
            assert!(played == asset, "{:?} differs from its asset", clip.codec());
        }
    }
}
