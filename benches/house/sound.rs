//! Files of sound to samples, and samples to what a speaker takes: the work of this process, without a house.

use std::process::{Command, Stdio};
use std::time::Duration;

use doorstep::clock;
use doorstep::media::playback::{self, Volume};
use doorstep::media::{AudioCodec, AudioFormat, Recording};

use crate::figures::{Figures, Goal, Unit};

const TRIES: usize = 20;
const SECONDS: &str = "10";

/// What `ffmpeg` is told for each format.
const FILES: [(&str, &[&str], Goal); 6] = [
    ("MP3", &["-c:a", "libmp3lame", "-b:a", "128k", "-f", "mp3"], Goal::AtMost(50.0)),
    ("WAV", &["-c:a", "pcm_s16le", "-f", "wav"], Goal::None),
    ("Ogg Opus", &["-c:a", "libopus", "-b:a", "64k", "-ar", "48000", "-f", "ogg"], Goal::None),
    ("Ogg Vorbis", &["-c:a", "libvorbis", "-q:a", "3", "-f", "ogg"], Goal::None),
    ("FLAC", &["-c:a", "flac", "-f", "flac"], Goal::None),
    ("AAC", &["-c:a", "aac", "-b:a", "128k", "-f", "adts"], Goal::None),
];

const PCM_16K: AudioFormat = AudioFormat { codec: AudioCodec::Pcm, rate_hz: 16_000, channels: 1 };
const SPEAKERS: [(&str, AudioFormat); 4] = [
    ("PCMU 8 kHz", AudioFormat::PCMU),
    ("PCMA 8 kHz", AudioFormat::PCMA),
    ("PCM 16 kHz", PCM_16K),
    ("Opus 48 kHz stereo", AudioFormat::OPUS),
];

pub(crate) fn measure(figures: &mut Figures) {
    for (name, options, goal) in FILES {
        let file = file(options);
        let ms = median(|| drop(read(&file)));
        figures.add(&format!("sound, 10 s of {name} (44.1 kHz stereo) decoded"), ms, Unit::Milliseconds, goal);
    }
    let recording = read(&file(FILES[0].1));
    for (name, format) in SPEAKERS {
        let pieces = || playback::pieces(recording.clone(), format, Volume::FULL).unwrap();
        let ms = median(|| assert!(pieces().count() >= 500));
        figures.add(
            &format!("sound, 10 s of 44.1 kHz made for a speaker of {name}"),
            ms,
            Unit::Milliseconds,
            Goal::None,
        );
        let ms = median(|| assert!(pieces().next().is_some()));
        figures.add(&format!("sound, the first piece of it for {name}"), ms, Unit::Milliseconds, Goal::None);
    }
}

fn read(file: &[u8]) -> Recording {
    Recording::read(file, Duration::from_secs(60)).unwrap()
}

/// Pink noise, which no codec gets cheaply.
fn file(options: &[&str]) -> Vec<u8> {
    let noise = format!("anoisesrc=color=pink:sample_rate=44100:amplitude=0.3:seed=1:duration={SECONDS}");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-loglevel", "error", "-f", "lavfi", "-i", &noise, "-ac", "2"]).args(options).arg("-");
    let output = ffmpeg.stdin(Stdio::null()).output().expect("ffmpeg makes the files");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn median(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..TRIES)
        .map(|_| {
            let began = clock::now();
            work();
            began.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[TRIES / 2]
}
