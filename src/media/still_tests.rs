use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::*;
use crate::proto::wire::hex;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/pictures")
}

/// `name` as tests/vectors/pictures/make has made it.
fn vector(name: &str) -> (VideoCodec, Vec<u8>) {
    let codec = if name.ends_with("h265") { VideoCodec::H265 } else { VideoCodec::H264 };
    (codec, fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// What everybody sees of a JPEG.
struct Shown {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Shown {
    fn of(name: &str) -> Self {
        let (codec, keyframe) = vector(name);
        Self::jpeg(&jpeg(codec, &keyframe).unwrap_or_else(|why| panic!("{name}: {why}")))
    }

    fn jpeg(jpeg: &[u8]) -> Self {
        let mut decoder = jpeg_decoder::Decoder::new(jpeg);
        let rgb = decoder.decode().expect("it is a JPEG");
        let info = decoder.info().expect("it has been read");
        Self { width: info.width.into(), height: info.height.into(), rgb }
    }

    /// Red, green and blue, a hundredth of the way across and down being 1.
    fn at(&self, across: usize, down: usize) -> [u8; 3] {
        let (x, y) = (self.width * across / 100, self.height * down / 100);
        self.rgb[3 * (y * self.width + x)..][..3].try_into().unwrap()
    }
}

fn is_near(shown: [u8; 3], expected: [u8; 3]) -> bool {
    shown.iter().zip(expected).all(|(shown, expected)| shown.abs_diff(expected) <= 6)
}

#[test]
fn every_picture_is_decoded_to_the_bit_as_ffmpeg_does() {
    let expected = fs::read_to_string(folder().join("pictures.sha256")).unwrap();
    assert!(expected.lines().count() > 15);
    for line in expected.lines() {
        let (hash, name) = line.split_once("  ").unwrap();
        let (codec, keyframe) = vector(name);
        let Planes { luma, blue, red, .. } = decoded(codec, &keyframe).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(hex(&Sha256::digest([luma, blue, red].concat())), hash, "{name}");
    }
}

#[test]
fn a_jpeg_is_as_large_as_the_picture_without_what_is_cropped_away() {
    for (name, size) in [
        ("cropped_1080.h264", (1920, 1080)),
        ("cropped_odd.h264", (322, 246)),
        ("cropped_odd.h265", (322, 246)),
        ("grey.h264", (320, 240)),
        ("large_1920.h264", (2560, 1920)),
        ("square_1440.h265", (1440, 1440)),
        ("wide_1440.h264", (2560, 1440)),
    ] {
        let shown = Shown::of(name);
        assert_eq!((shown.width, shown.height), size, "{name}");
    }
}

#[test]
fn colours_are_those_that_were_filmed() {
    // SMPTE's bars have three quarters of full brightness: white, yellow, cyan, green, magenta, red, blue.
    const BARS: [[u8; 3]; 7] =
        [[191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0], [191, 0, 191], [191, 0, 0], [0, 0, 191]];
    // Across, in hundredths: those in high definition have grey at both sides.
    let (usual, high) = ([7, 21, 35, 50, 64, 78, 92], [18, 28, 39, 50, 60, 71, 82]);
    for (name, places) in
        [("full_range.h264", usual), ("cropped_1080.h264", high), ("square_1440.h265", high), ("wide_1440.h264", high)]
    {
        let shown = Shown::of(name);
        for (place, expected) in places.into_iter().zip(BARS) {
            let colour = shown.at(place, 30);
            assert!(is_near(colour, expected), "{name}: {colour:?} at {place} for {expected:?}");
        }
    }
}

#[test]
fn a_picture_without_colours_is_grey() {
    let shown = Shown::of("grey.h264");
    assert!(shown.rgb.chunks(3).all(|pixel| pixel.iter().all(|sample| sample.abs_diff(pixel[0]) <= 2)));
    assert!(shown.rgb.iter().any(|sample| *sample > 200) && shown.rgb.iter().any(|sample| *sample < 50));
}

#[test]
fn what_cannot_be_decoded_says_why() {
    for (name, expected) in
        [("lossless.h264", "lossless"), ("ten_bits.h265", "8 bits of 4:2:0"), ("whole_colours.h265", "8 bits of 4:2:0")]
    {
        let (codec, keyframe) = vector(name);
        let why = jpeg(codec, &keyframe).unwrap_err().to_string();
        assert!(why.contains(expected), "{name}: {why}");
    }
    for (codec, nothing) in
        [(VideoCodec::H264, &b""[..]), (VideoCodec::H265, b"\0\0\0\x01"), (VideoCodec::H264, b"\xff")]
    {
        assert_eq!(jpeg(codec, nothing), Err(NoPicture::Broken("it has no slice")));
    }
    let (_, other) = vector("main_640.h265");
    assert!(jpeg(VideoCodec::H264, &other).is_err());
}

#[test]
fn a_keyframe_that_claims_a_huge_picture_is_refused_before_anything_is_made_ready_for_it() {
    let mut sps = Bits::default();
    // ISO/IEC 14496-10 §7.3.2.1.1: baseline, level 5.1; 1024×1024 macroblocks.
    sps.fixed(8, 66).fixed(8, 0xc0).fixed(8, 51);
    for value in [0, 0, 0, 0, 1] {
        sps.golomb(value);
    }
    sps.fixed(1, 0).golomb(1_023).golomb(1_023).fixed(4, 0b1100).fixed(1, 1);
    let mut keyframe = b"\0\0\0\x01\x67".to_vec();
    keyframe.extend(sps.bytes());
    let (_, picture) = vector("baseline_cavlc.h264");
    keyframe.extend(picture);
    assert_eq!(jpeg(VideoCodec::H264, &keyframe), Err(TOO_LARGE));

    let mut sps = Bits::default();
    // ISO/IEC 23008-2 §7.3.2.2.1: the general profile, the size, and the rest as small as it may be.
    sps.fixed(8, 0b0000_0001).fixed(8, 1).fixed(32, 0x6000_0000).fixed(32, 0).fixed(16, 0).fixed(8, 186);
    sps.golomb(0).golomb(1).golomb(16_384).golomb(16_384).fixed(1, 0).golomb(0).golomb(0).golomb(4).fixed(1, 1);
    for value in [0, 0, 0, 0, 3, 0, 3, 0, 0] {
        sps.golomb(value);
    }
    sps.fixed(4, 0).golomb(0).fixed(5, 0).fixed(1, 1);
    let mut keyframe = b"\0\0\0\x01\x42\x01".to_vec();
    keyframe.extend(sps.bytes());
    assert_eq!(jpeg(VideoCodec::H265, &keyframe), Err(TOO_LARGE));
}

#[test]
fn a_keyframe_that_refers_to_thousands_of_pictures_is_refused_before_they_are_made_up() {
    for (references, side) in [(17, 20), (65_535, 20), (9, 160)] {
        let mut sps = Bits::default();
        // ISO/IEC 14496-10 §7.3.2.1.1, as above, with so many reference frames.
        sps.fixed(8, 66).fixed(8, 0xc0).fixed(8, 51);
        for value in [0, 12, 2, references] {
            sps.golomb(value);
        }
        sps.fixed(1, 1).golomb(side - 1).golomb(side - 1).fixed(4, 0b1100).fixed(1, 1);
        let keyframe = [b"\0\0\0\x01\x67", &sps.bytes()[..], b"\0\0\0\x01\x65\x88"].concat();
        let why = jpeg(VideoCodec::H264, &keyframe).unwrap_err().to_string();
        assert!(why.contains("more pictures"), "{references}: {why}");
    }
}

#[test]
fn parameter_sets_of_megabytes_are_not_read() {
    for (codec, header) in [(VideoCodec::H264, &b"\0\0\0\x01\x67"[..]), (VideoCodec::H265, b"\0\0\0\x01\x42\x01")] {
        let keyframe = [header, &vec![0xff; LONGEST_SET]].concat();
        assert_eq!(jpeg(codec, &keyframe), Err(NoPicture::Broken("its parameter sets are far too long")));
    }
}

#[test]
fn a_picture_that_would_be_too_many_bytes_is_made_smaller() {
    // Nothing compresses worse.
    let mut seed = 1_u32;
    let mut noise = |samples: usize| -> Vec<u8> {
        let next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        std::iter::repeat_with(next).take(samples).collect()
    };
    let (width, height) = (1_921, 1_081);
    let colours = Colours { full_range: true, bt709: Some(false) };
    let (luma, blue, red) = (noise(width * height), noise(960 * 540), noise(960 * 540));
    let jpeg = Planes { width, height, luma, blue, red, colours }.into_jpeg().unwrap();
    assert!(jpeg.len() <= LARGEST_JPEG, "{} bytes", jpeg.len());
    let shown = Shown::jpeg(&jpeg);
    assert_eq!((shown.width, shown.height), (960, 540));
}

#[test]
fn no_damaged_keyframe_does_more_than_fail() {
    for name in ["baseline_cavlc.h264", "high_8x8.h264", "pcm.h264", "cropped_odd.h265", "main_wpp_slices.h265"] {
        let (codec, whole) = vector(name);
        for seed in 1..=40_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut next = |below: usize| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random as usize % below
            };
            let mut keyframe = whole.clone();
            // The first bytes are what the rest is understood by.
            let reach = if next(2) == 0 { 80 } else { keyframe.len() };
            (0..=next(6)).for_each(|_| keyframe[next(reach)] ^= 1 << next(8));
            keyframe.truncate(whole.len() - next(4) * next(whole.len() / 4));
            if let Ok(jpeg) = jpeg(codec, &keyframe) {
                assert!(jpeg.len() <= LARGEST_JPEG, "{name}, seed {seed}");
            }
        }
    }
}

/// Writes bits, the first one on top.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn fixed(&mut self, bits: u32, value: u64) -> &mut Self {
        self.0.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    /// ISO/IEC 14496-10 §9.1.
    fn golomb(&mut self, value: u64) -> &mut Self {
        let bits = (value + 1).ilog2();
        self.fixed(bits, 0).fixed(bits + 1, value + 1)
    }

    /// With emulation prevention bytes (§7.4.1.1).
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for eight in self.0.chunks(8) {
            let byte = (0..8).fold(0, |byte, bit| byte << 1 | u8::from(eight.get(bit).copied().unwrap_or_default()));
            if byte <= 3 && bytes.ends_with(&[0, 0]) {
                bytes.push(3);
            }
            bytes.push(byte);
        }
        bytes
    }
}
