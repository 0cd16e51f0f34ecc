//! Annex B of H.264 and H.265: NAL units, parameter sets and keyframes.
//!
//! Cameras differ: some send parameter sets with every keyframe, some once, some as an access unit of their own,
//! some behind a delimiter. [`AccessUnits`] makes all of them what [`FrameKind::Video`] promises.
//!
//! [`FrameKind::Video`]: super::FrameKind::Video

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use super::VideoCodec;

/// The NAL units of `annex_b` without their start codes and trailing zeros. Start codes may have 3 or 4 bytes;
/// what stands before the first one is no NAL unit.
pub fn nals(annex_b: &[u8]) -> Nals<'_> {
    Nals { rest: after_start_code(annex_b) }
}

/// See [`nals`].
#[derive(Debug, Clone)]
pub struct Nals<'a> {
    /// Behind a start code.
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Nals<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let (nal, next) = match find_start_code(rest) {
                Some(at) => (&rest[..at], after_start_code(&rest[at..])),
                None => (rest, None),
            };
            self.rest = next;
            // A NAL unit never ends with a zero byte: it is the first of a longer start code, or padding.
            let len = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if len > 0 {
                return Some(&nal[..len]);
            }
        }
    }
}

const START_CODE: [u8; 3] = [0, 0, 1];

fn find_start_code(bytes: &[u8]) -> Option<usize> {
    // Looks for the 1, which is rarer than zeros and found fast.
    let mut from = 2;
    while let Some(found) = bytes.get(from..)?.iter().position(|&byte| byte == 1) {
        let one = from + found;
        if bytes[one - 2..=one] == START_CODE {
            return Some(one - 2);
        }
        from = one + 1;
    }
    None
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    find_start_code(bytes).map(|at| &bytes[at + START_CODE.len()..])
}

/// What a NAL unit is for, as far as carrying it needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NalKind {
    /// H.265 only.
    VideoParameterSet,
    SequenceParameterSet,
    PictureParameterSet,
    Delimiter,
    /// A slice of a picture from which decoding can begin (H.264 IDR, H.265 IRAP).
    KeySlice,
    Slice,
    /// Supplemental information and the rest.
    Other,
}

impl NalKind {
    /// By the header: ISO/IEC 14496-10 table 7-1, ISO/IEC 23008-2 table 7-1. `nal` has no start code.
    pub fn of(codec: VideoCodec, nal: &[u8]) -> Self {
        let header = nal.first().copied().unwrap_or_default();
        match codec {
            VideoCodec::H264 => match header & 0x1f {
                1..=4 => Self::Slice,
                5 => Self::KeySlice,
                7 => Self::SequenceParameterSet,
                8 => Self::PictureParameterSet,
                9 => Self::Delimiter,
                _ => Self::Other,
            },
            VideoCodec::H265 => match (header >> 1) & 0x3f {
                0..=15 => Self::Slice,
                16..=23 => Self::KeySlice,
                32 => Self::VideoParameterSet,
                33 => Self::SequenceParameterSet,
                34 => Self::PictureParameterSet,
                35 => Self::Delimiter,
                _ => Self::Other,
            },
        }
    }

    /// The parameter sets that a decoder needs, in the order in which it needs them.
    pub fn parameter_sets(codec: VideoCodec) -> &'static [Self] {
        match codec {
            VideoCodec::H264 => &[Self::SequenceParameterSet, Self::PictureParameterSet],
            VideoCodec::H265 => &[Self::VideoParameterSet, Self::SequenceParameterSet, Self::PictureParameterSet],
        }
    }

    pub(super) fn is_parameter_set(self) -> bool {
        matches!(self, Self::VideoParameterSet | Self::SequenceParameterSet | Self::PictureParameterSet)
    }
}

/// A picture as the hub takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Decoding can begin here: `data` begins with all parameter sets.
    pub keyframe: bool,
    /// Annex B.
    pub data: Bytes,
}

/// The access units of one camera session. Remembers parameter sets and puts them before keyframes that come
/// without.
#[derive(Debug)]
pub struct AccessUnits {
    codec: VideoCodec,
    sets: BTreeMap<NalKind, Vec<Bytes>>,
}

impl AccessUnits {
    /// Per kind. Cameras send one or two; the standards allow 256 picture parameter sets.
    const MOST_SETS: usize = 16;

    pub fn new(codec: VideoCodec) -> Self {
        Self { codec, sets: BTreeMap::new() }
    }

    pub fn codec(&self) -> VideoCodec {
        self.codec
    }

    /// One access unit from the camera, as it came. `None` when it shows no picture, or a keyframe
    /// whose parameter sets are not known yet.
    ///
    /// What already is as it should be is passed on without a copy.
    pub fn push(&mut self, data: Bytes) -> Option<AccessUnit> {
        let kinds: Vec<NalKind> = nals(&data).map(|nal| NalKind::of(self.codec, nal)).collect();
        if kinds.iter().any(|kind| kind.is_parameter_set()) {
            self.remember(&data);
        }
        if !kinds.contains(&NalKind::KeySlice) {
            return kinds.contains(&NalKind::Slice).then_some(AccessUnit { keyframe: false, data });
        }
        let data = if self.begins_with_its_sets(&kinds) { data } else { self.with_sets(&data)? };
        Some(AccessUnit { keyframe: true, data })
    }

    fn begins_with_its_sets(&self, kinds: &[NalKind]) -> bool {
        let needed = NalKind::parameter_sets(self.codec);
        let key_slice = kinds.iter().position(|&kind| kind == NalKind::KeySlice).unwrap_or_default();
        kinds.first() == needed.first() && needed.iter().all(|kind| kinds[..key_slice].contains(kind))
    }

    fn remember(&mut self, data: &Bytes) {
        let mut sets: BTreeMap<NalKind, Vec<Bytes>> = BTreeMap::new();
        for nal in nals(data) {
            let kind = NalKind::of(self.codec, nal);
            if kind.is_parameter_set() {
                let seen = sets.entry(kind).or_default();
                if seen.len() < Self::MOST_SETS {
                    // A copy: a slice of `data` would keep the whole picture in memory.
                    seen.push(Bytes::copy_from_slice(nal));
                }
            }
        }
        self.sets.append(&mut sets);
    }

    /// `data` behind all parameter sets, without its delimiter, which would have to stand before them.
    fn with_sets(&self, data: &Bytes) -> Option<Bytes> {
        let mut whole = BytesMut::with_capacity(data.len() + 256);
        for kind in NalKind::parameter_sets(self.codec) {
            self.sets.get(kind)?.iter().for_each(|set| put_nal(&mut whole, set));
        }
        let is_picture = |nal: &&[u8]| {
            let kind = NalKind::of(self.codec, nal);
            !kind.is_parameter_set() && kind != NalKind::Delimiter
        };
        nals(data).filter(is_picture).for_each(|nal| put_nal(&mut whole, nal));
        Some(whole.freeze())
    }
}

fn put_nal(whole: &mut BytesMut, nal: &[u8]) {
    whole.put_u8(0);
    whole.put_slice(&START_CODE);
    whole.put_slice(nal);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: &[u8] = &[0x67, 0x42, 0xe0, 0x1f];
    const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
    const IDR: &[u8] = &[0x65, 0x88, 0x84];
    const SEI: &[u8] = &[0x06, 0x05, 0x01, 0x80];
    const AUD: &[u8] = &[0x09, 0x10];
    const SLICE: &[u8] = &[0x41, 0x9a, 0x02];
    const VPS_265: &[u8] = &[0x40, 0x01, 0x0c];
    const SPS_265: &[u8] = &[0x42, 0x01, 0x01];
    const PPS_265: &[u8] = &[0x44, 0x01, 0xc1];
    const IDR_265: &[u8] = &[0x26, 0x01, 0xaf];
    const SLICE_265: &[u8] = &[0x02, 0x01, 0xd0];

    fn annex_b(nals: &[&[u8]]) -> Bytes {
        nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
    }

    #[test]
    fn start_codes_of_three_and_four_bytes_and_padding_are_understood() {
        let stream =
            b"junk\0\0\x01\x67\x42\0\0\0\x01\x68\xce\0\0\0\0\0\x01\x65\x88\0\0\x03\x01\0\0\0\0\x01\0\0\x01\x09\0\0";
        let found: Vec<&[u8]> = nals(stream).collect();
        assert_eq!(found, [&b"\x67\x42"[..], b"\x68\xce", b"\x65\x88\0\0\x03\x01", b"\x09"]);
    }

    #[test]
    fn no_byte_string_panics_or_loops() {
        for stream in [&b""[..], b"\0", b"\0\0\x01", b"\0\0\0\x01", b"\0\0\x01\0\0\x01", b"\x01\x01\x01", b"\0\x01"] {
            assert_eq!(nals(stream).count(), 0, "{stream:?}");
        }
        // Every string of five bytes out of those that matter.
        for n in 0..4_u32.pow(5) {
            let stream: Vec<u8> = (0..5).map(|digit| [0, 1, 3, 0x65][(n >> (2 * digit)) as usize & 3]).collect();
            for nal in nals(&stream) {
                assert!(!nal.is_empty() && !nal.ends_with(&[0]), "{nal:?} in {stream:?}");
            }
            for codec in [VideoCodec::H264, VideoCodec::H265] {
                AccessUnits::new(codec).push(stream.clone().into());
            }
        }
    }

    #[test]
    fn a_keyframe_that_brings_its_sets_is_passed_on_untouched() {
        let whole = annex_b(&[SPS, PPS, SEI, IDR]);
        let passed = AccessUnits::new(VideoCodec::H264).push(whole.clone()).unwrap();
        assert_eq!(passed, AccessUnit { keyframe: true, data: whole.clone() });
        assert_eq!(passed.data.as_ptr(), whole.as_ptr(), "it was copied");
    }

    #[test]
    fn a_keyframe_without_sets_gets_those_seen_last() {
        let mut units = AccessUnits::new(VideoCodec::H264);
        assert_eq!(units.push(annex_b(&[IDR])), None, "nobody could decode it");
        assert_eq!(units.push(annex_b(&[SPS, PPS])), None, "no picture is in it");
        assert_eq!(units.push(annex_b(&[IDR])).unwrap().data, annex_b(&[SPS, PPS, IDR]));
        let other_sps: &[u8] = &[0x67, 0x64, 0x00, 0x28];
        assert_eq!(units.push(annex_b(&[other_sps])), None);
        assert_eq!(units.push(annex_b(&[IDR])).unwrap().data, annex_b(&[other_sps, PPS, IDR]));
    }

    #[test]
    fn a_keyframe_begins_with_its_sets_whatever_the_camera_put_first() {
        let mut units = AccessUnits::new(VideoCodec::H264);
        let second_pps: &[u8] = &[0x68, 0x5e, 0x3c, 0x80];
        let unit = units.push(annex_b(&[AUD, SEI, SPS, PPS, second_pps, IDR, IDR])).unwrap();
        assert_eq!(unit, AccessUnit { keyframe: true, data: annex_b(&[SPS, PPS, second_pps, SEI, IDR, IDR]) });
    }

    #[test]
    fn sets_behind_the_picture_do_not_count_as_before_it() {
        let mut units = AccessUnits::new(VideoCodec::H264);
        let unit = units.push(annex_b(&[SPS, IDR, PPS])).unwrap();
        assert_eq!(unit.data, annex_b(&[SPS, PPS, IDR]));
    }

    #[test]
    fn a_picture_in_between_is_passed_on_untouched() {
        let data = annex_b(&[AUD, SLICE]);
        let unit = AccessUnits::new(VideoCodec::H264).push(data.clone());
        assert_eq!(unit, Some(AccessUnit { keyframe: false, data }));
    }

    #[test]
    fn h265_begins_with_its_video_parameter_set() {
        let mut units = AccessUnits::new(VideoCodec::H265);
        let whole = annex_b(&[VPS_265, SPS_265, PPS_265, IDR_265]);
        assert_eq!(units.push(whole.clone()), Some(AccessUnit { keyframe: true, data: whole.clone() }));
        assert_eq!(units.push(annex_b(&[IDR_265])).unwrap().data, whole);
        assert!(!units.push(annex_b(&[SLICE_265])).unwrap().keyframe);
        assert_eq!(AccessUnits::new(VideoCodec::H265).push(annex_b(&[SPS_265, PPS_265, IDR_265])), None);
    }
}
