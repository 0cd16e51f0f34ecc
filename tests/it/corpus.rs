//! Everything in `fuzz/corpus` is survived, and so are bytes made up from a seed. The fuzz targets
//! run by hand (`fuzz/run`).

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use doorstep::sim::dice::Dice;

#[expect(unreachable_pub, reason = "the fuzz package, whose files these are, needs it")]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use crate::support::score::{Figure, tally};
use fuzz::{TARGETS, Target};

/// Names and contents.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = files.map(|file| file.unwrap().path());
    let mut corpus: Vec<_> = files.map(|file| (file.display().to_string(), fs::read(&file).unwrap())).collect();
    corpus.sort();
    corpus
}

fn survives(target: Target, bytes: &[u8]) -> bool {
    catch_unwind(|| target(bytes)).is_ok()
}

#[test]
fn every_target_survives_its_corpus() {
    let (mut replayed, mut fallen) = (0, Vec::new());
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        replayed += corpus.len();
        fallen.extend(corpus.into_iter().filter(|(_, bytes)| !survives(*target, bytes)).map(|(file, _)| file));
    }
    tally(Figure::InputsSurvived, replayed - fallen.len(), replayed);
    assert!(fallen.is_empty(), "{fallen:#?}");
}

#[test]
fn every_corpus_has_its_target() {
    let known: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")).unwrap();
    let mut names: Vec<String> = folders.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, known);
}

#[test]
fn bytes_of_the_corpus_shaken_by_a_seed_are_survived() {
    let (mut made_up, mut fallen) = (0, Vec::new());
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        // The DTLS target sets up two OpenSSL contexts each time, the converter a decoder and an encoder, a connection
        // all routes; a keyframe and a recording are decoded.
        let rounds = match *name {
            "tutk_dtls" | "media_convert" | "media_still" | "http_connection" => 100,
            "media_recording" => 500,
            _ => 2_000,
        };
        made_up += rounds as usize;
        fallen.extend((0..rounds).map(|seed| (seed, shaken(&corpus, seed))).filter_map(|(seed, bytes)| {
            (!survives(*target, &bytes)).then(|| format!("{name} fell over seed {seed}: {bytes:02x?}"))
        }));
    }
    tally(Figure::InputsSurvived, made_up - fallen.len(), made_up);
    assert!(fallen.is_empty(), "{}", fallen.join("\n"));
}

/// One of these with some bytes changed, and perhaps cut short.
fn shaken(corpus: &[(String, Vec<u8>)], seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut bytes = dice.pick(corpus).1.clone();
    for _ in 0..=seed % 5 {
        let at = u32::from_le_bytes(dice.bytes()) as usize % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = dice.bytes::<1>()[0];
        }
    }
    if dice.roll(0.2) {
        bytes.truncate(u32::from_le_bytes(dice.bytes()) as usize % (bytes.len() + 1));
    }
    bytes
}
