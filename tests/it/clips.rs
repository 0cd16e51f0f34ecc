//! The folder of clips: what is dropped there can be said without a restart, and nothing else of the machine can.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::doorbell::Voice;
use doorstep::doorbell::voice::{Clips, NotKept, Source, Unspoken};
use doorstep::model::ClipName;
use doorstep::sim::tone;
use doorstep::speech::{Settings, Speech};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Level;

use crate::support::log::Log;
use crate::support::sound_file::wav;

const PATIENCE: Duration = Duration::from_secs(20);

struct House {
    speech: Speech,
    outside: TempDir,
    _stop: DropGuard,
}

impl House {
    /// With what `fill` puts into the folder before the start.
    fn open(fill: impl FnOnce(&Path)) -> Self {
        let (outside, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let clips = outside.path().join("clips");
        fs::create_dir(&clips).unwrap();
        fill(&clips);
        let settings = Settings {
            assistant: None,
            engine: None,
            language: None,
            clips,
            allow: Default::default(),
            own_ports: Vec::new(),
        };
        Self { speech: Speech::start(settings, stop.clone()), outside, _stop: stop.drop_guard() }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.outside.path().join("clips").join(file)
    }

    /// Waits until these are the clips.
    async fn are(&self, names: &[&str]) -> Clips {
        let mut clips = self.speech.clips();
        let so = clips.wait_for(|clips| clips.keys().map(ClipName::as_str).eq(names.iter().copied()));
        let so = tokio::time::timeout(PATIENCE, so).await.map(|clips| clips.unwrap().clone());
        so.unwrap_or_else(|_| panic!("not {names:?} but {:?}", self.speech.clips().borrow()))
    }

    async fn tone_of(&self, clip: &str) -> f64 {
        let sound = self.speech.sound(Source::Clip(name(clip))).await.unwrap();
        tone::listen(&sound.samples, sound.rate_hz).tone_hz.expect("a tone")
    }

    async fn keep(&self, clip: &str, file: Vec<u8>) -> Result<(), NotKept> {
        self.speech.keep(name(clip), Bytes::from(file)).await
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut files: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }
}

fn name(clip: &str) -> ClipName {
    ClipName::parse(clip).unwrap()
}

/// Waits until the log says of each of these files that it is left out.
async fn told(log: &Log, files: &[&str]) {
    let all = async {
        while !files.iter().all(|file| log.count("WARN", file) > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{}", log.text()));
}

fn near(heard: f64, tone_hz: f64) -> bool {
    (heard / tone_hz - 1.0).abs() < 0.02
}

#[tokio::test]
async fn a_file_that_is_dropped_is_a_clip_and_one_that_is_taken_away_is_none() {
    let house = House::open(|_| {});
    house.are(&[]).await;
    fs::write(house.path("Back door.WAV"), wav(16_000, 440.0, 1.5)).unwrap();
    let clips = house.are(&["back_door"]).await;
    assert_eq!(clips[&name("back_door")], Duration::from_millis(1_500));
    assert!(near(house.tone_of("back_door").await, 440.0));

    // Another sound in its place counts, too.
    fs::write(house.path("Back door.WAV"), wav(8_000, 660.0, 1.0)).unwrap();
    let changed = async {
        while house.speech.clips().borrow()[&name("back_door")] != Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("the new sound is noticed");
    assert!(near(house.tone_of("back_door").await, 660.0));

    fs::remove_file(house.path("Back door.WAV")).unwrap();
    house.are(&[]).await;
    let said = house.speech.sound(Source::Clip(name("back_door"))).await.unwrap_err();
    assert!(matches!(&said, Unspoken::Unusable(_)) && said.to_string().starts_with("There is no clip `back_door`. "));
}

#[tokio::test]
async fn what_is_no_sound_is_told_of_once_and_left_out() {
    let (log, _logging) = Log::capture(Level::INFO);
    let house = House::open(|folder| {
        fs::write(folder.join("good.wav"), wav(16_000, 440.0, 0.5)).unwrap();
        // Text in the place of sound, nothing at all, and sound that is too much.
        fs::write(folder.join("text.mp3"), "this is no sound\n").unwrap();
        fs::write(folder.join("empty.ogg"), "").unwrap();
        fs::write(folder.join("long.wav"), wav(8_000, 440.0, 61.0)).unwrap();
        File::create(folder.join("large.flac")).unwrap().set_len((10 << 20) + 1).unwrap();
        fs::write(folder.join("!!!.wav"), wav(16_000, 440.0, 0.5)).unwrap();
        // The same name twice.
        fs::write(folder.join("twice.wav"), wav(16_000, 500.0, 0.5)).unwrap();
        fs::write(folder.join("Twice!.wav"), wav(16_000, 700.0, 0.5)).unwrap();
        // Nobody's business.
        fs::write(folder.join("read me.txt"), "hello").unwrap();
        fs::write(folder.join(".hidden.wav"), wav(16_000, 440.0, 0.5)).unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
    });
    house.are(&["good", "twice"]).await;
    assert!(near(house.tone_of("twice").await, 500.0), "the one that has the clip's own name");
    let left_out = ["text.mp3", "empty.ogg", "long.wav", "large.flac", "!!!.wav", "Twice!.wav"];
    told(&log, &left_out).await;
    // Two more looks, as a new file shows.
    for more in ["more", "most"] {
        fs::write(house.path(&format!("{more}.wav")), wav(16_000, 440.0, 0.5)).unwrap();
        let mut clips = house.speech.clips();
        let there = clips.wait_for(|clips| clips.contains_key(&name(more)));
        tokio::time::timeout(PATIENCE, there).await.unwrap().unwrap();
    }
    assert_eq!(log.complaints().len(), left_out.len(), "{}", log.text());
}

#[tokio::test]
async fn no_link_leads_out_of_the_folder_and_no_pipe_or_device_is_waited_for() {
    let (log, _logging) = Log::capture(Level::INFO);
    let house = House::open(|folder| {
        let secret = folder.parent().unwrap().join("secret.wav");
        fs::write(&secret, wav(16_000, 440.0, 0.5)).unwrap();
        fs::create_dir(folder.join("more")).unwrap();
        fs::write(folder.join("more/inside.wav"), wav(16_000, 550.0, 0.5)).unwrap();
        symlink(&secret, folder.join("out.wav")).unwrap();
        symlink("../secret.wav", folder.join("up.wav")).unwrap();
        symlink("/dev/zero", folder.join("zero.wav")).unwrap();
        symlink("loop.wav", folder.join("loop.wav")).unwrap();
        symlink("more/inside.wav", folder.join("inside.wav")).unwrap();
        assert!(Command::new("mkfifo").arg(folder.join("pipe.wav")).status().unwrap().success());
        fs::create_dir(folder.join("folder.wav")).unwrap();
    });
    house.are(&["inside"]).await;
    assert!(near(house.tone_of("inside").await, 550.0));
    let left_out = ["out.wav", "up.wav", "zero.wav", "loop.wav", "pipe.wav", "folder.wav"];
    told(&log, &left_out).await;
    assert_eq!(log.complaints().len(), left_out.len(), "{}", log.text());
}

#[tokio::test]
async fn a_clip_that_is_put_in_place_while_it_is_said_is_whole_or_not_there() {
    let house = House::open(|folder| fs::write(folder.join("a.wav"), wav(16_000, 440.0, 0.5)).unwrap());
    house.are(&["a"]).await;
    // Since the last look a pipe and a link have taken the places of files.
    fs::remove_file(house.path("a.wav")).unwrap();
    assert!(Command::new("mkfifo").arg(house.path("a.wav")).status().unwrap().success());
    let said = tokio::time::timeout(PATIENCE, house.speech.sound(Source::Clip(name("a")))).await.expect("an answer");
    assert!(matches!(said, Err(Unspoken::Unusable(_))), "{said:?}");
}

/// The owner's other programs write there, too.
#[tokio::test]
async fn whatever_waits_in_the_place_of_a_clip_is_neither_written_through_nor_waited_for() {
    let house = House::open(|folder| {
        let other = folder.parent().unwrap().join("other");
        fs::write(&other, "precious").unwrap();
        symlink(&other, folder.join(".bell.next")).unwrap();
        symlink(&other, folder.join("bell.wav")).unwrap();
        assert!(Command::new("mkfifo").arg(folder.join(".gong.next")).status().unwrap().success());
    });
    for clip in ["bell", "gong"] {
        let kept = tokio::time::timeout(PATIENCE, house.keep(clip, wav(16_000, 440.0, 0.5))).await;
        assert_eq!(kept.expect("an answer"), Ok(()), "{clip}");
    }
    assert_eq!(fs::read(house.outside.path().join("other")).unwrap(), b"precious");
    house.are(&["bell", "gong"]).await;
    assert_eq!(house.files(), ["bell.wav", "gong.wav"]);
}

#[tokio::test]
async fn a_clip_is_kept_under_its_name_at_once_and_in_place_of_others() {
    let house = House::open(|folder| {
        fs::write(folder.join("Bell.mp3"), wav(16_000, 440.0, 0.5)).unwrap();
        fs::write(folder.join("bell.wav"), wav(16_000, 440.0, 0.5)).unwrap();
    });
    house.are(&["bell"]).await;
    house.keep("bell", wav(16_000, 800.0, 0.5)).await.unwrap();
    assert_eq!(house.files(), ["bell.wav"]);
    assert!(near(house.tone_of("bell").await, 800.0));
    house.keep("new", wav(16_000, 900.0, 0.5)).await.unwrap();
    assert!(house.speech.clips().borrow().contains_key(&name("new")), "it is there when the answer is");

    for (file, why) in [(Vec::new(), "nothing"), (b"no sound".to_vec(), "text"), (vec![0; (10 << 20) + 1], "too much")]
    {
        let said = house.keep("bell", file).await.unwrap_err();
        assert!(matches!(&said, NotKept::Unusable(_)), "{why}: {said}");
        assert!(said.to_string().ends_with('.'), "{said}");
    }
    assert!(near(house.tone_of("bell").await, 800.0), "the one before is kept");
    assert_eq!(house.files(), ["bell.wav", "new.wav"], "nothing half is left");

    assert_eq!(house.speech.remove(name("bell")).await, Ok(true));
    assert_eq!(house.speech.remove(name("bell")).await, Ok(false));
    assert_eq!(house.files(), ["new.wav"]);
    assert_eq!(house.speech.clips().borrow().len(), 1);
}

#[tokio::test]
async fn there_are_at_most_sixty_four() {
    let (log, _logging) = Log::capture(Level::INFO);
    let house = House::open(|folder| {
        for n in 0..66 {
            fs::write(folder.join(format!("clip {n:02}.wav")), wav(8_000, 440.0, 0.1)).unwrap();
        }
    });
    let mut clips = house.speech.clips();
    let there = clips.wait_for(|clips| clips.len() == 64);
    tokio::time::timeout(PATIENCE, there).await.unwrap().unwrap();
    told(&log, &["clip 64.wav", "clip 65.wav"]).await;
    assert_eq!(log.complaints().len(), 2, "{}", log.text());
    let said = house.keep("more", wav(8_000, 440.0, 0.1)).await.unwrap_err();
    assert!(matches!(&said, NotKept::Full(_)), "{said}");
    house.keep("clip_07", wav(8_000, 440.0, 0.2)).await.unwrap();
    let long = Duration::from_millis(200);
    assert_eq!(house.speech.clips().borrow()[&name("clip_07")], long, "one that is there may be replaced");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_made_for_the_first_clip() {
    let house = House::open(|_| {});
    fs::remove_dir(house.path("")).unwrap();
    assert_eq!(house.speech.remove(name("a")).await, Ok(false));
    house.keep("a", wav(8_000, 440.0, 0.1)).await.unwrap();
    assert_eq!(house.files(), ["a.wav"]);
    fs::remove_dir_all(house.path("")).unwrap();
    fs::write(house.outside.path().join("clips"), "a file in its place").unwrap();
    let said = house.keep("a", wav(8_000, 440.0, 0.1)).await.unwrap_err();
    assert!(matches!(&said, NotKept::Unwritable(_)), "{said}");
}

#[tokio::test]
async fn a_clip_is_ready_long_before_a_speaker_is() {
    let house = House::open(|folder| fs::write(folder.join("long.wav"), wav(48_000, 440.0, 60.0)).unwrap());
    house.are(&["long"]).await;
    let mut took = Vec::new();
    for _ in 0..2 {
        let began = clock::now();
        let sound = house.speech.sound(Source::Clip(name("long"))).await.unwrap();
        took.push(began.elapsed());
        assert_eq!(sound.duration(), Duration::from_secs(60));
    }
    println!("60 s of sound were ready in {took:?}");
    assert!(took.iter().all(|took| *took < Duration::from_secs(2)), "{took:?}");
}
