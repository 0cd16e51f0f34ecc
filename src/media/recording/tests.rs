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
    vector!("stereo.m4a", 44_100, 44_100, 2_048, SPREAD),
    vector!("mono.m4a", 16_000, 16_000, 2_048, QUARTER),
    vector!("fragments.m4a", 16_000, 16_000, 2_048, QUARTER),
];

fn read(file: &[u8]) -> Result<Recording, NotSound> {
    Recording::read(file, LONG)
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
