//! Everything in `fuzz/corpus` is survived, and so are bytes made up from a seed. The fuzz targets
//! run by hand (`fuzz/run`).

use std::fs;
use std::path::Path;

use doorstep::sim::lossy_link::Dice;

#[expect(unreachable_pub, reason = "the fuzz package, whose files these are, needs it")]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use fuzz::TARGETS;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn every_target_survives_its_corpus() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        corpus.iter().for_each(|bytes| target(bytes));
    }
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
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        // The DTLS target sets up two OpenSSL contexts each time, the converter a decoder and an encoder; a keyframe
        // and a recording are decoded.
        let rounds = match *name {
            "tutk_dtls" | "media_convert" | "media_still" => 100,
            "media_recording" => 500,
            _ => 2_000,
        };
        for seed in 0..rounds {
            let mut dice = Dice::new(seed);
            let mut bytes = dice.pick(&corpus).clone();
            for _ in 0..=seed % 5 {
                let at = u32::from_le_bytes(dice.bytes()) as usize % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = dice.bytes::<1>()[0];
                }
            }
            if dice.roll(0.2) {
                bytes.truncate(u32::from_le_bytes(dice.bytes()) as usize % (bytes.len() + 1));
            }
            let survived = std::panic::catch_unwind(|| target(&bytes));
            assert!(survived.is_ok(), "{name} fell over seed {seed}: {bytes:02x?}");
        }
    }
}
