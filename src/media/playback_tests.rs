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

/// A task that the machine comes to late, each time by up to `late`.
async fn sluggish<F: Future>(task: F, late: Duration, seed: u64) -> F::Output {
    let (mut task, mut wait, mut state) = (Box::pin(task), None, seed);
    std::future::poll_fn(move |context| {
        let wait_now = wait.get_or_insert_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Box::pin(tokio::time::sleep(late.mul_f64((state >> 40) as f64 / (1 << 24) as f64)))
        });
        std::task::ready!(wait_now.as_mut().poll(context));
        wait = None;
        task.as_mut().poll(context)
    })
    .await
}

/// When each of `count` pieces came to a device that takes them at once.
async fn arrivals(count: usize, late: Duration, seed: u64) -> Vec<Duration> {
    let (speaker, mut device) = mpsc::channel(10);
    let begun = clock::now();
    let played = tokio::spawn(async move {
        sluggish(play(std::iter::repeat_n(Bytes::from_static(&[0; 160]), count), &speaker), late, seed).await
    });
    let mut at = Vec::with_capacity(count);
    while device.recv().await.is_some() {
        at.push(begun.elapsed());
    }
    assert!(played.await.unwrap().whole);
    at
}

#[tokio::test(start_paused = true)]
async fn in_ten_minutes_on_a_busy_machine_sound_never_drifts_by_more_than_a_frame() {
    const COUNT: usize = 600 * 50;
    // Timers of the runtime end on whole milliseconds.
    const ROUNDED: Duration = Duration::from_millis(3);
    for (seed, late_ms) in [(1, 0), (2, 10), (3, 17), (4, 90)] {
        let late = Duration::from_millis(late_ms);
        let at = arrivals(COUNT, late, seed).await;
        assert_eq!(at.len(), COUNT);
        for (n, came) in at.iter().enumerate() {
            let due = at[0] + PIECE * n as u32;
            // As late as the machine was this time, which is less than a frame for the first three, and no later.
            assert!(
                (due..=due + late + ROUNDED).contains(came),
                "seed {seed}: piece {n}, due at {due:?}, came at {came:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_made_up_for_by_half_of_what_a_device_can_hold_and_not_more() {
    let (speaker, mut device) = mpsc::channel(10);
    let playing = tokio::spawn(async move { play((0..50).map(|n| Bytes::copy_from_slice(&[n])), &speaker).await });
    let mut at = Vec::new();
    while let Some(piece) = device.recv().await {
        at.push(clock::now());
        if piece[0] == 9 {
            // The whole machine stands still.
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
    assert!(playing.await.unwrap().whole);
    let burst = at.iter().filter(|time| **time - at[10] < Duration::from_millis(1)).count() - 10;
    assert_eq!(burst, 6, "the piece that was due and 100 ms");
    assert_eq!(at[49] - at[15], PIECE * 34, "the beat goes on");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_takes_nothing_more_ends_it_within_three_seconds() {
    let (speaker, device) = mpsc::channel(10);
    let begun = clock::now();
    let played = play((0..500).map(|_| Bytes::new()), &speaker).await;
    assert_eq!(played, Played { duration: PIECE * 10, whole: false });
    assert_eq!(begun.elapsed(), PIECE * 10 + PATIENCE);
    drop(device);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_takes_too_little_gets_all_of_a_short_word_and_no_endless_one() {
    for (pieces, whole) in [(100, true), (2_000, false)] {
        let (speaker, mut device) = mpsc::channel(10);
        let slow = tokio::spawn(async move {
            while device.recv().await.is_some() {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        });
        let begun = clock::now();
        let played = play((0..pieces).map(|_| Bytes::new()), &speaker).await;
        assert_eq!(played.whole, whole, "{pieces} pieces");
        assert!(begun.elapsed() <= played.duration + PATIENCE + LATE + PIECE * 10, "{pieces}: {:?}", begun.elapsed());
        drop(speaker);
        slow.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn playing_ends_when_the_last_piece_is_over_and_taken_or_the_speaker_closes() {
    let (speaker, mut device) = mpsc::channel(10);
    let begun = clock::now();
    let playing = tokio::spawn(async move { play((0..5).map(|_| Bytes::new()), &speaker).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!playing.is_finished(), "nothing has been taken yet");
    while device.recv().await.is_some() {}
    assert_eq!(playing.await.unwrap(), Played { duration: PIECE * 5, whole: true });
    assert_eq!(begun.elapsed(), Duration::from_millis(500));

    let (speaker, mut device) = mpsc::channel(10);
    let playing = tokio::spawn(async move { play((0..50).map(|_| Bytes::new()), &speaker).await });
    for _ in 0..3 {
        device.recv().await.unwrap();
    }
    drop(device);
    assert_eq!(playing.await.unwrap(), Played { duration: PIECE * 3, whole: false });
}

/// A tenth of a second of a file is there as soon as all of a minute.
#[test]
fn the_first_piece_of_a_minute_costs_no_more_than_a_few() {
    for format in SPEAKERS {
        let begun = clock::now();
        let minute = Recording { samples: vec![0; 60 * 44_100], rate_hz: 44_100 };
        let first = pieces(minute, format, Volume::FULL).unwrap().next();
        assert!(first.is_some());
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(250), "{format:?}: {took:?}");
    }
}
