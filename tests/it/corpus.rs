//! Everything in `fuzz/corpus` is survived, and so are bytes made up from a seed. The fuzz targets
//! themselves run by hand (`fuzz/Cargo.toml`).

use std::fs;
use std::path::Path;

use doorstep::sim::lossy_link::Dice;

#[expect(unreachable_pub, reason = "the fuzz package, whose files these are, needs it")]
#[path = "../../fuzz/src/gwell.rs"]
mod gwell;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/gwell_media.rs"]
mod gwell_media;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/inputs.rs"]
mod inputs;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/kvs.rs"]
mod kvs;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/media.rs"]
mod media;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/pieces.rs"]
mod pieces;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/rtc.rs"]
mod rtc;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/sound.rs"]
mod sound;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/tutk.rs"]
mod tutk;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../../fuzz/src/vivint.rs"]
mod vivint;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("config", inputs::config),
    ("gwell_av", gwell_media::av),
    ("gwell_gutes", gwell::gutes),
    ("gwell_kcp", gwell_media::kcp),
    ("gwell_mtp", gwell_media::mtp),
    ("http_account", inputs::http_account),
    ("http_command", inputs::http_command),
    ("kvs_ring", kvs::ring),
    ("kvs_signaling", kvs::signaling),
    ("kvs_sigv4", kvs::sigv4),
    ("media_access_units", media::access_units),
    ("media_convert", media::convert),
    ("media_recording", sound::recording),
    ("media_still", media::still),
    ("mqtt_command", inputs::mqtt_command),
    ("rtc_demux", rtc::demux),
    ("rtc_framing", rtc::framing),
    ("rtc_offer", rtc::offer),
    ("tutk_cc51", tutk::cc51),
    ("tutk_dtls", tutk::dtls),
    ("tutk_frame", tutk::frame),
    ("tutk_iotc", tutk::iotc),
    ("tutk_kcommand", tutk::kcommand),
    ("tutk_login", tutk::login),
    ("tutk_reassembly", tutk::reassembly),
    ("tutk_session", tutk::session),
    ("tutk_talk", tutk::talk),
    ("tutk_transcode", tutk::transcode),
    ("vivint_channel", vivint::channel),
    ("vivint_database_message", vivint::database_message),
    ("vivint_database_session", vivint::database_session),
    ("vivint_login", vivint::login),
    ("vivint_realtime", vivint::realtime),
    ("vivint_signaling", vivint::signaling),
];

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
fn every_fuzz_target_is_replayed_and_has_a_corpus() {
    let known: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for (folder, suffix) in [("fuzz/fuzz_targets", ".rs"), ("fuzz/corpus", "")] {
        let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.map(|name| name.trim_end_matches(suffix).to_owned()).collect();
        names.sort();
        assert_eq!(names, known, "{folder}");
    }
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
