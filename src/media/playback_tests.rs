//! What comes out of a speaker, and when.

use super::*;
use crate::media::codec::Decoder;
use crate::media::tone::{level_db, tone};

const PCM_8K: AudioFormat = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 8_000, channels: 1 };
const PCM_16K: AudioFormat = AudioFormat { rate_hz: 16_000, ..PCM_8K };
const SPEAKERS: [AudioFormat; 6] =
    [AudioFormat::PCMU, AudioFormat::PCMA, PCM_8K, PCM_16K, AudioFormat { channels: 2, ..PCM_16K }, AudioFormat::OPUS];

fn recording(rate_hz: u32, seconds: f64) -> Recording {
    Recording { samples: tone(rate_hz, 1_000.0, seconds), rate_hz }
}

/// One channel at the speaker's rate.
fn heard(pieces: &[Bytes], format: AudioFormat) -> Vec<i16> {
    let mut decoder = Decoder::new(AudioFormat { channels: 1, ..format }).unwrap();
    let mut samples = Vec::new();
    pieces.iter().for_each(|piece| decoder.decode(piece, &mut samples));
    let channels = if format.codec == AudioCodec::Opus { 1 } else { usize::from(format.channels) };
    samples.into_iter().step_by(channels).collect()
}

fn played(recording: Recording, format: AudioFormat) -> Vec<i16> {
    heard(&pieces(recording, format, Volume::FULL).unwrap().collect::<Vec<_>>(), format)
}

#[test]
fn a_tone_is_the_same_tone_at_every_speaker_whatever_its_rate_was() {
    for rate_hz in [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000] {
        for format in SPEAKERS {
            let samples = played(recording(rate_hz, 0.5), format);
            let sounding = &samples[..format.rate_hz as usize / 2];
            let level = level_db(sounding, format.rate_hz, 1_000.0);
            assert!((level + 12.04).abs() < 1.0, "{rate_hz} → {format:?}: {level} dB");
            for other_hz in [500.0, 2_000.0, 3_000.0] {
                let ghost = level_db(sounding, format.rate_hz, other_hz);
                assert!(ghost < level - 25.0, "{rate_hz} → {format:?}: {ghost} dB at {other_hz} Hz");
            }
        }
    }
}

/// A word that is cut off is what resampler and encoder keep for themselves.
#[test]
fn the_last_20_ms_of_a_word_are_heard_in_full_and_silence_after_them() {
    for rate_hz in [8_000, 16_000, 22_050, 48_000] {
        for format in SPEAKERS {
            let quiet = (f64::from(rate_hz) * 0.3) as usize;
            let mut word = recording(rate_hz, 0.32);
            word.samples[..quiet].fill(0);
            let mut awaited = word.clone();
            awaited.samples.resize(rate_hz as usize / 2, 0);
            let energy = |samples: &[i16]| samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
            let samples = played(word, format);
            // The fade takes a fifth of the word's end.
            let part = energy(&samples) / energy(&played(awaited, format));
            assert!((0.7..1.3).contains(&part), "{rate_hz} → {format:?}: {part} of it is heard");
            let last = samples.last().unwrap().unsigned_abs();
            assert!(last < 300, "{rate_hz} → {format:?} ends at {last}");
        }
    }
}

#[test]
fn pieces_are_20_ms_and_as_many_as_the_recording_needs() {
    for format in SPEAKERS.into_iter().filter(|format| format.codec != AudioCodec::Opus) {
        let bytes = if format.codec == AudioCodec::Pcm { 2 } else { 1 };
        let bytes = bytes * format.rate_hz as usize / 50 * usize::from(format.channels);
        let all = pieces(recording(22_050, 1.01), format, Volume::FULL).unwrap();
        assert_eq!(all.duration(), Duration::from_millis(1_020), "{format:?}");
        let all: Vec<Bytes> = all.collect();
        assert_eq!(all.len(), 51, "{format:?}");
        assert!(all.iter().all(|piece| piece.len() == bytes), "{format:?}");
    }
}

#[test]
fn a_quarter_of_the_volume_is_12_db_less_and_none_is_silence() {
    let volume = |volume| pieces(recording(8_000, 0.5), PCM_8K, Volume::new(volume).unwrap()).unwrap();
    let quiet = heard(&volume(0.25).collect::<Vec<_>>(), PCM_8K);
    assert!((level_db(&quiet, 8_000, 1_000.0) + 24.08).abs() < 0.1);
    assert!(heard(&volume(0.0).collect::<Vec<_>>(), PCM_8K).iter().all(|sample| *sample == 0));
}

#[test]
fn what_is_as_loud_as_can_be_stays_so_and_never_wraps() {
    for sample in [i16::MIN, i16::MAX] {
        let loud = Recording { samples: vec![sample; 800], rate_hz: 8_000 };
        let samples = played(loud, PCM_8K);
        assert_eq!(samples[400], sample);
        assert!(samples.iter().all(|heard| *heard == 0 || (*heard < 0) == (sample < 0)), "{samples:?}");
    }
}

#[test]
fn a_recording_swells_and_fades_so_that_nothing_clicks() {
    let loud = Recording { samples: vec![20_000; 1_600], rate_hz: 8_000 };
    let samples = played(loud, PCM_8K);
    let jump = samples.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
    assert!(jump < 600 && samples[0] < 600 && samples[1_599] < 600, "a jump of {jump}");
}

#[test]
fn what_is_repeated_lasts_as_long_as_is_wanted_without_a_gap_between_the_rounds() {
    for lasting in [0.05, 0.3, 1.0] {
        let lasting = Duration::from_secs_f64(lasting);
        let round = recording(16_000, 0.105);
        let all: Vec<Bytes> = repeated(round, lasting, PCM_16K, Volume::FULL).unwrap().collect();
        assert_eq!(all.len(), lasting.as_millis().div_ceil(20) as usize);
        let samples = heard(&all, PCM_16K);
        let silent = samples.split(|sample| sample.abs() > 500).map(<[i16]>::len);
        let end = all.len() * 320 - (lasting.as_secs_f64() * 16_000.0) as usize;
        assert!(silent.max().unwrap() < 160 + end, "there is a gap");
    }
}

#[test]
fn nothing_makes_no_piece_and_what_cannot_be_encoded_is_refused() {
    let nothing = Recording { samples: Vec::new(), rate_hz: 8_000 };
    assert_eq!(pieces(nothing.clone(), PCM_8K, Volume::FULL).unwrap().count(), 0);
    assert_eq!(repeated(nothing, Duration::from_secs(5), PCM_8K, Volume::FULL).unwrap().count(), 0);
    let aac = AudioFormat { codec: AudioCodec::Aac, ..PCM_16K };
    assert!(pieces(recording(16_000, 0.1), aac, Volume::FULL).is_err());
    for rate_hz in [0, 1, 10_000_000] {
        let odd = Recording { samples: vec![0; 10], rate_hz };
        assert!(pieces(odd, PCM_8K, Volume::FULL).is_err(), "{rate_hz}");
    }
}
