//! Microphones of every kind, over every kind of network, for as long as it takes.

use super::*;
use crate::media::codec::Encoder;
use crate::media::g711::Law;
use crate::media::tone::{level_db, noise, tone};
use tokio::time::sleep;

const PIECE: Duration = Duration::from_millis(20);
const PCM_16K: AudioFormat = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 16_000, channels: 1 };

/// Packet `n` of a microphone.
fn packet(format: AudioFormat, n: u32, payload: impl Into<Bytes>) -> MicPacket {
    let timestamp = (u64::from(n) * u64::from(format.rate_hz) / 50) as u32;
    MicPacket { format, ssrc: 1, sequence: n as u16, timestamp, payload: payload.into() }
}

/// 20 ms of a loud tone that says in its first two samples which packet it is.
fn numbered(n: u32) -> MicPacket {
    let mut payload: Vec<u8> = tone(8_000, 1_000.0, 0.02).into_iter().map(|sample| Law::Mu.encode(sample)).collect();
    payload[0] = (n >> 8) as u8;
    payload[1] = n as u8;
    packet(AudioFormat::PCMU, n, payload)
}

fn number(piece: &[u8]) -> u32 {
    u32::from(piece[0]) << 8 | u32::from(piece[1])
}

/// Packets of sound in `format`, from samples at its rate.
fn spoken(format: AudioFormat, samples: &[i16]) -> Vec<MicPacket> {
    let mut encoder = Encoder::new(AudioFormat { channels: 1, ..format }).unwrap();
    let pieces = samples.chunks_exact(format.rate_hz as usize / 50);
    pieces.zip(0..).map(|(piece, n)| packet(format, n, encoder.encode(piece).unwrap())).collect()
}

/// On time, each when it has been spoken.
fn on_time(packets: Vec<MicPacket>) -> Vec<(Duration, MicPacket)> {
    packets.into_iter().zip(0..).map(|(packet, n)| (PIECE * n, packet)).collect()
}

struct Random(u32);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % limit
    }
}

/// Of these packets `loss` percent are lost, and the others come up to `jitter` ms late.
fn over(packets: Vec<MicPacket>, loss: u32, jitter: u32, seed: u32) -> Vec<(Duration, MicPacket)> {
    let mut random = Random(seed);
    let mut arrivals = Vec::new();
    for (at, packet) in on_time(packets) {
        let late = Duration::from_millis(random.below(jitter + 1).into());
        if random.below(100) >= loss {
            arrivals.push((at + late, packet));
        }
    }
    arrivals.sort_by_key(|(at, _)| *at);
    arrivals
}

/// What the camera gets, and when, of packets that come when they come; and how the talk was.
async fn through(played: AudioFormat, arrivals: Vec<(Duration, MicPacket)>) -> (Vec<(Duration, Bytes)>, TalkLevel) {
    let (speaker, mut camera) = mpsc::channel(10);
    let begun = clock::now();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Some(piece) = camera.recv().await {
            heard.push((begun.elapsed(), piece));
        }
        heard
    });
    let microphone = arrivals[0].1.format;
    let mut talkback = Talkback::new(microphone, played, speaker).unwrap();
    for (at, packet) in arrivals {
        tokio::select! {
            biased;
            () = talkback.play() => panic!("the speaker was closed"),
            () = sleep_until(begun + at) => talkback.push(packet),
        }
    }
    tokio::select! {
        () = talkback.play() => panic!("the speaker was closed"),
        () = sleep(Duration::from_secs(1)) => {}
    }
    let level = talkback.level();
    drop(talkback);
    (heard.await.unwrap(), level)
}

/// The samples of pieces in a telephone codec, each at its time; silence where there is none.
fn timeline(pieces: &[(Duration, Bytes)], rate_hz: u32) -> Vec<i16> {
    let mut samples = Vec::new();
    for (at, piece) in pieces {
        let from = (at.as_micros() * u128::from(rate_hz) / 1_000_000) as usize;
        samples.resize(samples.len().max(from), 0);
        samples.extend(piece.iter().map(|&code| Law::Mu.decode(code)));
    }
    samples
}

fn loud(piece: &Bytes) -> bool {
    piece.iter().any(|&code| Law::Mu.decode(code).unsigned_abs() > 1_000)
}

#[tokio::test(start_paused = true)]
async fn speech_leaves_at_twenty_millisecond_steps_in_order_and_as_it_was_said() {
    let said: Vec<_> = (0..100).map(numbered).collect();
    let (pieces, level) = through(AudioFormat::PCMU, on_time(said.clone())).await;
    for ((n, said), (at, piece)) in (0..).zip(&said).zip(&pieces) {
        assert_eq!((piece, *at), (&said.payload, Duration::from_millis(40) + PIECE * n));
    }
    assert_eq!((level.packets, level.lost, level.late, level.suppressed_percent), (100, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn loss_reordering_and_jitter_leave_few_holes_and_little_delay() {
    for (loss, jitter) in [(0, 0), (0, 60), (5, 20), (10, 100), (20, 60), (20, 200)] {
        let seed = 1_000 * loss + jitter;
        let said = (0..3_000).map(numbered).collect();
        let (pieces, level) = through(AudioFormat::PCMU, over(said, loss, jitter, seed)).await;
        let heard: Vec<_> = pieces.iter().filter(|(_, piece)| loud(piece)).collect();
        let share = heard.len() as f64 / 3_000.0;
        let slowest = heard.iter().map(|(at, piece)| at.saturating_sub(PIECE * number(piece))).max().unwrap();
        let genuine: std::collections::BTreeSet<_> = heard.iter().map(|(_, piece)| number(piece)).collect();
        let longest = heard.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
        let what = format!("loss {loss} %, jitter {jitter} ms, seed {seed}: {share} heard, {level:?}");
        assert!(share > 0.97, "{what}");
        assert!(genuine.len() as f64 > 3_000.0 * (0.95 - f64::from(loss) / 100.0), "{what}: {}", genuine.len());
        // A repetition of the one before is as old as that.
        assert!(slowest <= Duration::from_millis(250) + PIECE, "{what}: {slowest:?}");
        assert!(longest <= Duration::from_millis(100), "{what}: nothing for {longest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_delay_is_small_where_the_network_is_good() {
    let mut samples = syllables(20);
    samples.extend(tone(8_000, 1_000.0, 1.0));
    let (_, level) = through(AudioFormat::PCMU, over(spoken(AudioFormat::PCMU, &samples), 0, 4, 3)).await;
    assert!((20..=50).contains(&level.delay_ms), "{level:?}");
}

/// Something like speech: for each second 0.6 s of a buzz with harmonics, and silence.
fn syllables(seconds: u32) -> Vec<i16> {
    let buzz: Vec<i16> =
        tone(8_000, 220.0, 0.6).iter().zip(tone(8_000, 1_540.0, 0.6)).map(|(a, b)| a + b / 2).collect();
    let mut second = buzz;
    second.resize(8_000, 0);
    second.repeat(seconds as usize)
}

#[tokio::test(start_paused = true)]
async fn in_ten_minutes_neither_clock_lets_the_talk_drift_by_more_than_a_frame() {
    for parts_per_million in [-300_i64, 0, 300] {
        let samples = syllables(600);
        let ticks = |n: u32| {
            let exact = 20_000_000 * i64::from(n);
            Duration::from_nanos((exact + exact / 1_000_000 * parts_per_million) as u64)
        };
        let packets = spoken(AudioFormat::PCMU, &samples);
        let arrivals: Vec<_> = packets.into_iter().zip(0..).map(|(packet, n)| (ticks(n), packet)).collect();
        let (pieces, level) = through(AudioFormat::PCMU, arrivals).await;
        let begins: Vec<Duration> =
            pieces.windows(2).filter(|pair| !loud(&pair[0].1) && loud(&pair[1].1)).map(|pair| pair[1].0).collect();
        assert_eq!(begins.len(), 599, "every syllable but the first, which nothing precedes, {level:?}");
        // After two minutes even the slower clock has used up what the beginning left.
        let delays: Vec<Duration> = begins.iter().zip(1..).map(|(at, second)| *at - ticks(second * 50)).collect();
        let (least, most) = (delays[120..].iter().min().unwrap(), delays[120..].iter().max().unwrap());
        assert!(*most - *least <= PIECE, "{parts_per_million} ppm: {least:?} to {most:?}, {level:?}");
        for pair in pieces.windows(2) {
            assert!(pair[1].0 - pair[0].0 >= PIECE, "a burst at {:?}", pair[0].0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_twenty_milliseconds_of_a_word_after_silence_arrive_as_they_were_said() {
    for (played, background) in [(AudioFormat::PCMU, false), (AudioFormat::PCMU, true), (AudioFormat::PCMA, false)] {
        // A soft beginning, which is what is lost first.
        let word: Vec<i16> = tone(8_000, 400.0, 0.5)
            .into_iter()
            .zip(0..)
            .map(|(sample, n)| (i32::from(sample) * (n + 1).min(1_600) / 1_600) as i16)
            .collect();
        let mut samples = vec![0; 8_000 * 8 + 77];
        if background {
            samples = noise(8_000, 8.0, 5).into_iter().map(|sample| sample / 200).collect();
            samples.extend([0; 77]);
        }
        let onset = samples.len();
        samples.extend(&word);
        samples.resize(samples.len() + 8_000, 0);
        let (pieces, level) = through(played, on_time(spoken(AudioFormat::PCMU, &samples))).await;
        let silent = pieces.iter().filter(|(_, piece)| piece.is_empty()).count();
        assert!(silent > 100, "{silent} pieces of silence were left out");
        assert!(level.suppressed_percent > 30, "{level:?}");
        let law = if played == AudioFormat::PCMU { Law::Mu } else { Law::A };
        let mut heard = Vec::new();
        for (_, piece) in pieces.iter().skip_while(|(at, _)| *at < Duration::from_secs(7)) {
            heard.extend(piece.iter().map(|&code| law.decode(code)));
        }
        let wanted = &samples[onset..onset + 160];
        let best = (0..heard.len() - 160).map(|from| correlation(wanted, &heard[from..from + 160])).fold(0.0, f64::max);
        assert!(best > 0.99, "{played:?}, background {background}: {best}");
    }
}

/// 1 for the same sound, whatever its level, as long as that is not less than half.
fn correlation(wanted: &[i16], heard: &[i16]) -> f64 {
    let product = |a: &[i16], b: &[i16]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let (own, other) = (product(wanted, wanted), product(heard, heard));
    if other < own / 4.0 { 0.0 } else { product(wanted, heard) / (own * other).sqrt() }
}

#[tokio::test(start_paused = true)]
async fn while_nobody_speaks_the_speaker_is_told_that_the_microphone_lives() {
    for format in [AudioFormat::PCMU, AudioFormat::OPUS] {
        let said = spoken(format, &vec![0; format.rate_hz as usize * 60]);
        let (pieces, level) = through(format, on_time(said)).await;
        let (first_second, rest) = pieces.split_at(pieces.partition_point(|(_, piece)| !piece.is_empty()));
        assert!((45..=100).contains(&first_second.len()), "{format:?}: {} pieces", first_second.len());
        assert!(rest.iter().all(|(_, piece)| piece.is_empty()), "{format:?}: silence was sent");
        assert!(rest.windows(2).all(|pair| pair[1].0 - pair[0].0 < Duration::from_millis(100)));
        assert!(rest.len() > 2_800, "{format:?}: {}", rest.len());
        assert_eq!((level.rms_db, level.suppressed_percent), (-100, 99), "{format:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn opus_is_passed_on_as_it_came_and_a_lost_packet_is_one_to_make_up_for() {
    let said = spoken(AudioFormat::OPUS, &tone(48_000, 440.0, 4.0));
    let mut arrivals = on_time(said.clone());
    arrivals.remove(100);
    let (pieces, _) = through(AudioFormat::OPUS, arrivals).await;
    for (n, (said, (_, piece))) in said.iter().zip(&pieces).enumerate() {
        match n {
            100 => assert_eq!(piece.len(), 1, "a packet without a frame"),
            _ => assert_eq!(*piece, said.payload, "packet {n}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lost_opus_is_made_up_for_on_the_way_to_another_codec() {
    let said = spoken(AudioFormat::OPUS, &tone(48_000, 440.0, 10.0));
    for (loss, jitter, silent) in [(0, 0, 6), (10, 20, 20), (20, 60, 45)] {
        let (pieces, level) = through(AudioFormat::PCMU, over(said.clone(), loss, jitter, 9)).await;
        let samples = timeline(&pieces, 8_000);
        let holes = samples.chunks(160).filter(|piece| level_of(piece) < -30.0).count();
        // Decoders let what is lost two times in a row fade.
        assert!(holes <= silent, "{loss} % lost: {holes} of 500 pieces are silent, {level:?}");
        assert!(level_db(&samples, 8_000, 440.0) > -20.0, "{loss} % lost");
    }
}

fn level_of(samples: &[i16]) -> f64 {
    let power = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / samples.len() as f64;
    10.0 * (power / 32_768_f64.powi(2)).log10()
}

#[tokio::test(start_paused = true)]
async fn packets_of_any_length_become_pieces_of_twenty_milliseconds() {
    for length in [10_u32, 20, 30, 60] {
        let samples = tone(8_000, 1_000.0, 3.0);
        let codes: Vec<u8> = samples.iter().map(|&sample| Law::Mu.encode(sample)).collect();
        let packets = codes.chunks_exact(8 * length as usize).zip(0_u32..).map(|(payload, n)| {
            let mut packet = packet(AudioFormat::PCMU, n, payload.to_vec());
            packet.timestamp = n * 8 * length;
            (Duration::from_millis((n * length).into()), packet)
        });
        let (pieces, level) = through(PCM_16K, packets.collect()).await;
        assert!(pieces.iter().all(|(_, piece)| piece.len() == 640), "{length} ms");
        assert!((145..=158).contains(&pieces.len()), "{length} ms: {} pieces, {level:?}", pieces.len());
        let steps: Vec<_> = pieces.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(steps.iter().all(|step| *step == PIECE), "{length} ms: {steps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_it_lets_go_of_the_speaker_with_nothing_said_afterwards() {
    let (speaker, mut camera) = mpsc::channel(4);
    let mut talkback = Talkback::new(AudioFormat::PCMU, AudioFormat::PCMU, speaker).unwrap();
    (0..5).for_each(|n| talkback.push(numbered(n)));
    let first = tokio::select! {
        () = talkback.play() => None,
        piece = camera.recv() => piece,
    };
    assert!(first.is_some());
    drop(talkback);
    assert!(camera.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_microphone_hears_that_the_speaker_was_closed() {
    let (speaker, camera) = mpsc::channel(4);
    let mut talkback = Talkback::new(AudioFormat::PCMU, AudioFormat::PCMU, speaker).unwrap();
    drop(camera);
    talkback.play().await;
}

#[tokio::test(start_paused = true)]
async fn rubbish_is_survived() {
    let mut random = Random(77);
    for format in [AudioFormat::PCMU, AudioFormat::OPUS] {
        let arrivals = (0_u32..5_000).map(|n| {
            let payload: Vec<u8> = (0..random.below(200)).map(|_| random.below(256) as u8).collect();
            let (sequence, timestamp) = (random.below(1 << 16) as u16, random.below(u32::MAX));
            let ssrc = random.below(2);
            let at = Duration::from_millis(u64::from(n) * u64::from(random.below(3)));
            (at, MicPacket { format, ssrc, sequence, timestamp, payload: payload.into() })
        });
        let mut arrivals: Vec<_> = arrivals.collect();
        arrivals.sort_by_key(|(at, _)| *at);
        through(AudioFormat::PCMA, arrivals).await;
    }
}
