//! Tones through every conversion, and rubbish.

use super::*;
use crate::media::tone::{level_db, tone};

const PCM_8K: AudioFormat = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 8_000, channels: 1 };
const PCM_16K: AudioFormat = AudioFormat { rate_hz: 16_000, ..PCM_8K };
const PCM_48K: AudioFormat = AudioFormat { rate_hz: 48_000, ..PCM_8K };
const PCM_16K_STEREO: AudioFormat = AudioFormat { channels: 2, ..PCM_16K };
const PCMU_16K: AudioFormat = AudioFormat { rate_hz: 16_000, ..AudioFormat::PCMU };
const PCMA_16K: AudioFormat = AudioFormat { rate_hz: 16_000, ..AudioFormat::PCMA };
const AAC_16K: AudioFormat = AudioFormat { codec: AudioCodec::Aac, rate_hz: 16_000, channels: 1 };
const AAC_44K_STEREO: AudioFormat = AudioFormat { codec: AudioCodec::Aac, rate_hz: 44_100, channels: 2 };

const TELEPHONE: [AudioFormat; 6] = [AudioFormat::PCMU, AudioFormat::PCMA, PCM_8K, PCM_16K, PCMU_16K, PCMA_16K];

/// Mono samples as payloads of `format`, 33 ms each where the codec allows it.
fn coded(samples: &[i16], format: AudioFormat) -> Vec<Bytes> {
    let rate_hz = if format.codec == AudioCodec::Opus { 48_000 } else { format.rate_hz };
    let opus = format.codec == AudioCodec::Opus;
    let piece = if opus { 960 } else { rate_hz as usize * 33 / 1_000 };
    let mut encoder = Encoder::new(AudioFormat { rate_hz, channels: 1, ..format }).expect("a usual format");
    let whole = samples.chunks_exact(piece);
    let rest = if opus { &[][..] } else { whole.remainder() };
    let rest = (!rest.is_empty()).then_some(rest);
    whole.chain(rest).map(|piece| encoder.encode(piece).expect("20 ms or plain samples")).collect()
}

/// What a listener hears of payloads: mono samples at the rate of the format.
fn heard(payloads: &[Bytes], format: AudioFormat) -> Vec<i16> {
    let mut decoder = Decoder::new(AudioFormat { channels: 1, ..format }).expect("a usual format");
    let mut samples = Vec::new();
    payloads.iter().for_each(|payload| decoder.decode(payload, &mut samples));
    samples
}

fn converted(from: AudioFormat, to: AudioFormat, payloads: &[Bytes]) -> Vec<Bytes> {
    let mut converter = Converter::new(from, to).unwrap();
    payloads.iter().flat_map(|payload| converter.push(payload)).collect()
}

/// Raw data blocks of an ADTS file (ISO/IEC 13818-7 §6.2): a header of 7 bytes, which holds the length.
fn raw_data_blocks(adts: &'static [u8]) -> Vec<Bytes> {
    let mut blocks = Vec::new();
    let mut rest = adts;
    while let [0xff, 0xf1, _, a, b, c, ..] = *rest {
        let len = usize::from(a & 3) << 11 | usize::from(b) << 3 | usize::from(c) >> 5;
        blocks.push(Bytes::from_static(&rest[7..len]));
        rest = &rest[len..];
    }
    assert!(rest.is_empty(), "not an ADTS frame: {rest:?}");
    blocks
}

fn aac_16k() -> Vec<Bytes> {
    raw_data_blocks(include_bytes!("../../tests/vectors/aac/tone_1khz_16k_mono.adts"))
}

fn aac_44k_stereo() -> Vec<Bytes> {
    raw_data_blocks(include_bytes!("../../tests/vectors/aac/tone_1khz_44k_stereo.adts"))
}

fn ways() -> impl Iterator<Item = (AudioFormat, AudioFormat)> {
    let all = || TELEPHONE.into_iter().chain([AudioFormat::OPUS]);
    all().flat_map(move |from| all().map(move |to| (from, to)))
}

#[test]
fn a_tone_stays_the_tone_it_was_through_every_conversion() {
    for (from, to) in ways() {
        let source_hz = if from.codec == AudioCodec::Opus { 48_000 } else { from.rate_hz };
        let payloads = converted(from, to, &coded(&tone(source_hz, 1_000.0, 1.0), from));
        let samples = heard(&payloads, to);
        let level = level_db(&samples, to.rate_hz, 1_000.0);
        // A quarter of full scale is -12.04 dB.
        assert!((level + 12.04).abs() < 1.0, "{from:?} → {to:?}: {level} dB");
        for other_hz in [500.0, 2_000.0, 3_000.0] {
            let ghost = level_db(&samples, to.rate_hz, other_hz);
            assert!(ghost < level - 25.0, "{from:?} → {to:?}: {ghost} dB at {other_hz} Hz");
        }
    }
}

#[test]
fn pieces_are_20_ms_whatever_came_in() {
    for (from, to) in ways().filter(|(from, to)| from.codec != AudioCodec::Opus && to.codec != AudioCodec::Opus) {
        let bytes = if to.codec == AudioCodec::Pcm { 2 } else { 1 } * to.rate_hz as usize / 50;
        for piece in converted(from, to, &coded(&tone(from.rate_hz, 1_000.0, 0.5), from)) {
            assert_eq!(piece.len(), bytes, "{from:?} → {to:?}");
        }
    }
}

#[test]
fn ten_minutes_stay_ten_minutes() {
    const PIECES: usize = 600 * 50;
    for from in [AudioFormat::PCMU, AudioFormat::PCMA] {
        let mut converter = Converter::new(from, AudioFormat::PCMU).unwrap();
        let payload = [0xd5; 173];
        let (mut sent, mut pieces) = (0, 0);
        while sent < PIECES * 160 {
            sent += payload.len();
            pieces += converter.push(&payload).len();
            assert_eq!(pieces, sent / 160, "{from:?} drifted");
        }
    }
    let packet = coded(&tone(48_000, 1_000.0, 0.02), AudioFormat::OPUS).remove(0);
    let mut converter = Converter::new(AudioFormat::OPUS, AudioFormat::PCMU).unwrap();
    let pieces: usize = (0..PIECES).map(|_| converter.push(&packet).len()).sum();
    assert_eq!(pieces, PIECES, "Opus drifted");
}

/// That the rate is exact after every push, the tests of the resampler show.
#[test]
fn a_minute_at_another_rate_stays_a_minute() {
    const PIECES: usize = 60 * 50;
    let mut converter = Converter::new(PCM_16K, AudioFormat::PCMA).unwrap();
    let pieces: usize = (0..PIECES).map(|_| converter.push(&[0; 640]).len()).sum();
    assert_eq!(pieces, PIECES);
}

#[test]
fn aac_becomes_opus_with_its_tone_and_its_length() {
    for (from, blocks, level) in [(AAC_16K, aac_16k(), -12.04), (AAC_44K_STEREO, aac_44k_stereo(), -21.07)] {
        let packets = converted(from, AudioFormat::OPUS, &blocks);
        let seconds = blocks.len() as f64 * 1_024.0 / f64::from(from.rate_hz);
        let pieces = packets.len() as f64;
        assert!((seconds * 50.0 - 1.2..=seconds * 50.0).contains(&pieces), "{seconds} s became {pieces} × 20 ms");
        let samples = heard(&packets, AudioFormat::OPUS);
        // Without the silence that FFmpeg's encoder appends.
        let samples = &samples[..samples.len() * 9 / 10];
        let heard = level_db(samples, 48_000, 1_000.0);
        assert!((heard - level).abs() < 1.0, "{from:?}: {heard} dB");
        assert!(level_db(samples, 48_000, 2_000.0) < heard - 30.0, "{from:?} is distorted");
    }
}

#[test]
fn aac_reaches_a_telephone_codec_too() {
    let samples = heard(&converted(AAC_44K_STEREO, AudioFormat::PCMU, &aac_44k_stereo()), AudioFormat::PCMU);
    let level = level_db(&samples[..samples.len() * 9 / 10], 8_000, 1_000.0);
    assert!((level + 21.07).abs() < 1.0, "{level} dB");
}

#[test]
fn stereo_becomes_mono_and_mono_both_sides() {
    let both: Vec<i16> = tone(16_000, 1_000.0, 0.5).into_iter().flat_map(|sample| [sample, 0]).collect();
    let payload: Vec<u8> = both.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let pieces = converted(PCM_16K_STEREO, PCM_16K, &[payload.into()]);
    let level = level_db(&heard(&pieces, PCM_16K), 16_000, 1_000.0);
    assert!((level + 18.06).abs() < 0.2, "half of -12 dB, not {level} dB");
    let pieces = converted(PCM_16K, PCM_16K_STEREO, &[Bytes::from_static(&[1, 2].as_slice().repeat(320).leak()[..])]);
    assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [1_280]);
    assert!(pieces[0].as_chunks::<4>().0.iter().all(|frame| *frame == [1, 2, 1, 2]));
}

#[test]
fn opus_packets_pass_as_they_are() {
    let mono = AudioFormat { channels: 1, ..AudioFormat::OPUS };
    let packet = coded(&tone(48_000, 1_000.0, 0.02), mono).remove(0);
    assert_eq!(converted(mono, AudioFormat::OPUS, std::slice::from_ref(&packet)), [packet]);
}

#[test]
fn rubbish_yields_little_and_breaks_nothing() {
    const SEED: u64 = 0x2545_f491_4f6c_dd1d;
    let mut random = SEED;
    let formats = || TELEPHONE.into_iter().chain([AudioFormat::OPUS, AAC_16K, AAC_44K_STEREO]);
    for from in formats() {
        for to in [AudioFormat::PCMU, AudioFormat::OPUS, PCM_16K] {
            let Ok(mut converter) = Converter::new(from, to) else { continue };
            for len in (0..200).chain([1_275, 1_276, 5_000]) {
                let payload: Vec<u8> = (0..len)
                    .map(|_| {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        (random >> 32) as u8
                    })
                    .collect();
                let bytes: usize = converter.push(&payload).iter().map(Bytes::len).sum();
                // The worst are 120 ms of Opus to 16-bit samples, and 1024 samples of AAC.
                assert!(bytes <= 4 * len + 8_192, "seed {SEED:#x}: {len} bytes of {from:?} became {bytes} of {to:?}");
            }
        }
    }
}

#[test]
fn broken_aac_frames_break_no_later_ones() {
    let blocks = aac_16k();
    let mut converter = Converter::new(AAC_16K, AudioFormat::OPUS).unwrap();
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = SEED;
    for _ in 0..30 {
        for block in &blocks {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut broken = block.to_vec();
            let at = (random >> 33) as usize % broken.len();
            broken[at] ^= 1 << (random >> 61);
            converter.push(&broken);
            converter.push(&block[..at]);
        }
    }
    let packets: Vec<Bytes> = blocks.iter().flat_map(|block| converter.push(block)).collect();
    let samples = heard(&packets, AudioFormat::OPUS);
    let level = level_db(&samples[..samples.len() * 9 / 10], 48_000, 1_000.0);
    assert!((level + 12.04).abs() < 1.0, "seed {SEED:#x}: {level} dB");
}

#[test]
fn what_nobody_can_play_is_refused() {
    for (from, to) in [
        (AudioFormat::OPUS, AAC_16K),
        (AudioFormat::PCMU, AAC_16K),
        (AAC_44K_STEREO, AAC_16K),
        (AudioFormat { rate_hz: 0, ..PCM_8K }, PCM_8K),
        (AudioFormat { rate_hz: 7_999, ..PCM_8K }, PCM_8K),
        (AudioFormat { channels: 0, ..PCM_8K }, PCM_8K),
        (AudioFormat { channels: 6, ..PCM_48K }, PCM_8K),
    ] {
        assert_eq!(Converter::new(from, to).err(), Some(Unsupported { from, to }));
    }
}

#[test]
fn browsers_get_what_they_play_and_everything_can_become_it() {
    assert_eq!(browser_format(AudioFormat::PCMU), AudioFormat::PCMU);
    assert_eq!(browser_format(AudioFormat::PCMA), AudioFormat::PCMA);
    assert_eq!(browser_format(PCM_16K), AudioFormat::PCMU);
    assert_eq!(browser_format(AAC_16K), AudioFormat::OPUS);
    assert_eq!(browser_format(AudioFormat { channels: 1, ..AudioFormat::OPUS }), AudioFormat::OPUS);
    for camera in TELEPHONE.into_iter().chain([AudioFormat::OPUS, AAC_16K, AAC_44K_STEREO]) {
        assert!(Converter::new(camera, browser_format(camera)).is_ok(), "{camera:?}");
    }
}
