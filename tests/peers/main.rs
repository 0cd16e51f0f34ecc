//! Other people's programs against ours:
//! `GO2RTC=/path/to/go2rtc WYZE_PYTHON=/path/to/python AIORTC_PYTHON=/path/to/python cargo nextest run --test peers`.
//!
//! A peer that is not installed is named on standard error, and its tests count as skipped
//! (`--ignored` runs them all the same, to fail with what is missing).

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod aiortc;
mod doorstep;
mod ffmpeg;
mod firebase;
#[path = "firebase-sdk/mod.rs"]
mod firebase_sdk;
mod go2rtc;
mod gwell;
mod home_assistant;
mod household;
mod http;
mod kvs;
#[path = "../it/support/kvs_hand.rs"]
mod kvs_hand;
#[path = "kvs-iot/mod.rs"]
mod kvs_iot;
#[path = "kvs-js/mod.rs"]
mod kvs_js;
#[path = "kvs-python/mod.rs"]
mod kvs_python;
mod program;
mod rtsp;
#[path = "../it/support/told.rs"]
mod told;
mod turn;
mod vivint;
mod wait;
mod wav;
mod wyze;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

type Tests = fn() -> Vec<Trial>;
/// Why they cannot run here.
type Missing = fn() -> Option<String>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let peers: [(Tests, Missing); 14] = [
        (go2rtc::tests, go2rtc::missing),
        (rtsp::tests, rtsp::missing),
        (aiortc::tests, aiortc::missing),
        (turn::tests, turn::missing),
        (wyze::tests, wyze::missing),
        (vivint::tests, vivint::missing),
        (firebase::tests, firebase::missing),
        (firebase_sdk::tests, firebase_sdk::missing),
        (household::tests, household::missing),
        (kvs_js::tests, kvs_js::missing),
        (kvs_python::tests, kvs_python::missing),
        (kvs_iot::tests, kvs_iot::missing),
        (gwell::tests, gwell::missing),
        (home_assistant::tests, home_assistant::missing),
    ];
    let mut trials = Vec::new();
    for (tests, missing) in peers {
        let mut tests = tests();
        tests.retain(|trial| is_wanted(trial.name(), &arguments));
        // To look for what is installed takes time, which only those who are asked for it have.
        let Some(missing) = (!tests.is_empty()).then(missing) else { continue };
        missing.iter().for_each(|what| report_skipped(what));
        trials.extend(tests.into_iter().map(|trial| trial.with_ignored_flag(missing.is_some())));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// By the name on the command line; what else is said there is looked at later.
fn is_wanted(name: &str, arguments: &Arguments) -> bool {
    match &arguments.filter {
        Some(wanted) if arguments.exact => name == wanted,
        Some(wanted) => name.contains(wanted),
        None => true,
    }
}

#[expect(clippy::print_stderr, reason = "the list of tests has standard output for itself")]
fn report_skipped(what: &str) {
    eprintln!("SKIPPED: {what}");
}

/// A test by the name of its promise; a panic is its failure.
fn promise<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, || {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(test());
        Ok(())
    })
}
