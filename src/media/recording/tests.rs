//! Files of other programs, the same files broken, and files that lie.

use super::*;
use crate::media::tone::level_db;

const LONG: Duration = Duration::from_secs(60);

/// A tone of 1 kHz at a quarter of full scale.
struct Vector {
    name: &'static str,
    file: &'static [u8],
    rate_hz: u32,
    /// That it must last.
    samples: usize,
    /// By which that may be wrong: one frame of the codec, where it pads.
    frame: usize,
    level_db: f64,
}

const QUARTER: f64 = -12.04;
/// FFmpeg spreads one channel over two.
const SPREAD: f64 = -15.05;

macro_rules! vector {
    ($name:literal, $rate_hz:literal, $samples:literal, $frame:literal, $level_db:expr) => {
        Vector {
            name: $name,
            file: include_bytes!(concat!("../../../tests/vectors/sound/", $name)),
            rate_hz: $rate_hz,
            samples: $samples,
            frame: $frame,
            level_db: $level_db,
        }
    };
}

const VECTORS: &[Vector] = &[
    vector!("u8.wav", 8_000, 2_400, 0, QUARTER),
    vector!("s16le.wav", 8_000, 2_400, 0, QUARTER),
    vector!("s24le.wav", 8_000, 2_400, 0, QUARTER),
    vector!("s32le.wav", 8_000, 2_400, 0, QUARTER),
    vector!("f32le.wav", 8_000, 2_400, 0, QUARTER),
    vector!("f64le.wav", 8_000, 2_400, 0, QUARTER),
    vector!("mulaw.wav", 8_000, 2_400, 0, QUARTER),
    vector!("alaw.wav", 8_000, 2_400, 0, QUARTER),
    vector!("stereo.wav", 16_000, 4_800, 0, SPREAD),
    vector!("surround.wav", 8_000, 1_600, 0, QUARTER),
    vector!("piped.wav", 22_050, 8_820, 0, QUARTER),
    vector!("stereo.mp3", 44_100, 44_100, 0, SPREAD),
    vector!("mono.mp3", 22_050, 22_050, 0, QUARTER),
    vector!("bare.mp3", 44_100, 46_080, 0, QUARTER),
    vector!("mono.opus", 48_000, 48_000, 0, QUARTER),
    vector!("stereo.opus", 48_000, 48_480, 0, SPREAD),
    vector!("speech.opus", 48_000, 24_000, 0, QUARTER),
    vector!("stereo.vorbis.ogg", 44_100, 44_100, 128, SPREAD),
    vector!("mono.vorbis.ogg", 16_000, 16_000, 0, QUARTER),
    vector!("mono.flac", 22_050, 5_512, 1, QUARTER),
    vector!("stereo.flac", 48_000, 4_800, 0, SPREAD),
    vector!("mono.aac", 24_000, 25_600, 0, QUARTER),
    vector!("stereo.m4a", 44_100, 44_100, 0, SPREAD),
    vector!("mono.m4a", 16_000, 16_000, 0, QUARTER),
];

fn read(file: &[u8]) -> Result<Recording, NotSound> {
    Recording::read(file, LONG)
}

fn vector(name: &str) -> &'static Vector {
    VECTORS.iter().find(|vector| vector.name == name).expect("one of the vectors")
}

#[test]
fn every_format_is_read_with_its_rate_length_tone_and_level() {
    for vector in VECTORS {
        let name = vector.name;
        let recording = read(vector.file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(recording.rate_hz, vector.rate_hz, "{name}");
        let wrong = recording.samples.len().abs_diff(vector.samples);
        assert!(wrong <= vector.frame, "{name}: {} samples in place of {}", recording.samples.len(), vector.samples);
        let level = level_db(&recording.samples, vector.rate_hz, 1_000.0);
        assert!((level - vector.level_db).abs() < 0.5, "{name}: {level} dB");
        for other_hz in [500.0, 2_000.0, 3_000.0] {
            let ghost = level_db(&recording.samples, vector.rate_hz, other_hz);
            assert!(ghost < level - 30.0, "{name}: {ghost} dB at {other_hz} Hz");
        }
    }
}

#[test]
fn what_lasts_too_long_is_refused_and_what_just_fits_is_not() {
    for vector in VECTORS {
        let whole = read(vector.file).unwrap().duration();
        assert!(Recording::read(vector.file, whole + Duration::from_millis(1)).is_ok(), "{}", vector.name);
        let longest = whole - Duration::from_millis(50);
        assert_eq!(Recording::read(vector.file, longest), Err(NotSound::TooLong(longest)), "{}", vector.name);
    }
}

/// Whatever is left of a file is no sound, or no more sound than there was.
#[test]
fn no_truncated_file_becomes_more_than_it_was() {
    for vector in VECTORS {
        for len in (0..vector.file.len()).step_by(vector.file.len() / 97 + 1) {
            if let Ok(recording) = read(&vector.file[..len]) {
                let most = vector.samples + vector.frame + 2_304;
                assert!(recording.samples.len() <= most, "{} of {len} bytes: {}", vector.name, recording.samples.len());
            }
        }
    }
}

#[test]
fn what_is_no_sound_is_told_from_what_is_broken() {
    let id3 = |size: u8| [b"ID3\x04\0\0\0\0\0".as_slice(), &[size], &[0; 20]].concat();
    let ogg = include_bytes!("../../../fuzz/corpus/media_recording/ogg_without_sound");
    for (file, why) in [
        (b"".to_vec(), NotSound::UnknownFormat),
        (b"<!doctype html><title>Not found</title>".to_vec(), NotSound::UnknownFormat),
        (vec![0; 1_000], NotSound::UnknownFormat),
        (id3(20), NotSound::UnknownFormat),
        (id3(21), NotSound::Broken("it ends within its ID3 tag")),
        (b"RIFF\x04\0\0\0WAVE".to_vec(), NotSound::Empty),
        (b"RIFF\x04\0\0\0WAVEdata\0\0\0\0".to_vec(), NotSound::Broken("its samples come before their format")),
        (ogg.to_vec(), NotSound::Unsupported("what is in this Ogg file")),
        (b"\xff\xfd\x84\x00".to_vec(), NotSound::Unsupported("MPEG layer II")),
        (
            include_bytes!("../../../tests/vectors/sound/fragments.m4a").to_vec(),
            NotSound::Unsupported("MP4 in fragments"),
        ),
    ] {
        assert_eq!(read(&file), Err(why), "{:?}", &file[..file.len().min(20)]);
    }
}

/// AudioSpecificConfig of HE-AAC: object type 5 in place of 2.
#[test]
fn aac_of_another_kind_is_refused_with_a_word_on_what_is_played() {
    let mut file = vector("mono.m4a").file.to_vec();
    let at = file.windows(2).rposition(|bytes| bytes == [0x14, 0x08]).expect("AAC-LC, 16 kHz, mono");
    file[at] = 5 << 3 | file[at] & 7;
    let refused = read(&file).unwrap_err().to_string();
    assert!(refused.contains("AAC-LC"), "{refused}");
}

#[test]
fn files_that_were_put_behind_each_other_are_played_to_the_end() {
    for (name, slack) in [("mono.opus", 0), ("mono.vorbis.ogg", 0), ("stereo.mp3", 3_000), ("mono.aac", 0)] {
        let vector = vector(name);
        let recording = read(&[vector.file, vector.file].concat()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let more = recording.samples.len().checked_sub(2 * vector.samples);
        assert!(more.is_some_and(|more| more <= slack), "{name}: {} samples", recording.samples.len());
    }
}

/// Tags with pictures may be larger than the sound.
#[test]
fn tags_before_and_behind_the_sound_are_passed_over() {
    let picture = [b"ID3\x03\0\0\0\x3d\x09\0".as_slice(), &[0xff; 0x3d << 14 | 9 << 7]].concat();
    for name in ["mono.mp3", "mono.aac"] {
        let vector = vector(name);
        let samples = |file: &[u8]| read(file).map(|recording| recording.samples.len());
        assert_eq!(samples(&[&picture, vector.file].concat()), Ok(vector.samples), "{name}");
        assert_eq!(samples(&[&picture, &picture, vector.file].concat()), Ok(vector.samples), "{name}, twice");
        let tag = [b"TAG".as_slice(), &[b' '; 125]].concat();
        assert_eq!(samples(&[vector.file, &tag].concat()), Ok(vector.samples), "{name}, behind it");
    }
}

#[test]
fn opus_is_played_with_the_gain_that_its_head_tells() {
    let mut file = vector("mono.opus").file.to_vec();
    let gain = file.windows(8).position(|bytes| bytes == b"OpusHead").unwrap() + 16;
    file[gain..gain + 2].copy_from_slice(&(-6_i16 << 8).to_le_bytes());
    let recording = read(&file).unwrap();
    let level = level_db(&recording.samples, recording.rate_hz, 1_000.0);
    assert!((level - QUARTER + 6.0).abs() < 0.5, "{level} dB");
}

#[test]
fn a_header_of_billions_makes_nobody_wait_and_takes_no_memory() {
    for name in ["u8.wav", "s16le.wav", "f64le.wav"] {
        let mut file = vector(name).file.to_vec();
        let data = file.windows(4).position(|bytes| bytes == b"data").unwrap();
        for (size, read_well) in [(0, true), (u32::MAX, true), (0x7fff_ffff, true), (0x0fff_ffff, false)] {
            file[data + 4..data + 8].copy_from_slice(&size.to_le_bytes());
            let samples = read(&file).map(|recording| recording.samples.len());
            let expected = if read_well { Ok(2_400) } else { Err(NotSound::Broken("it ends before its sound does")) };
            assert_eq!(samples, expected, "{name} of {size:#x} bytes");
        }
    }
}

#[test]
fn streams_that_take_back_all_they_said_are_not_decoded_for_ever() {
    let mut file = vector("mono.opus").file.to_vec();
    // Its last page now ends before its first sample.
    let last = file.windows(5).rposition(|bytes| bytes == b"OggS\0").unwrap();
    file[last + 6..last + 14].fill(0);
    let longest = Duration::from_secs(5);
    assert_eq!(Recording::read(&file.repeat(60), longest), Err(NotSound::TooLong(longest)));
}
