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
mod household;
mod http;
mod kvs;
#[path = "kvs-iot/mod.rs"]
mod kvs_iot;
#[path = "kvs-js/mod.rs"]
mod kvs_js;
#[path = "kvs-python/mod.rs"]
mod kvs_python;
mod program;
#[path = "../it/support/kvs_hand.rs"]
mod kvs_hand;
mod rtsp;
mod turn;
mod vivint;
mod wait;
mod wav;
mod wyze;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let peers = [
        (go2rtc::tests(), go2rtc::missing()),
        (rtsp::tests(), rtsp::missing()),
        (aiortc::tests(), aiortc::missing()),
        (turn::tests(), turn::missing()),
        (wyze::tests(), wyze::missing()),
        (vivint::tests(), vivint::missing()),
        (firebase::tests(), firebase::missing()),
        (firebase_sdk::tests(), firebase_sdk::missing()),
        (household::tests(), household::missing()),
        (kvs_js::tests(), kvs_js::missing()),
        (kvs_python::tests(), kvs_python::missing()),
        (kvs_iot::tests(), kvs_iot::missing()),
    ];
    let trials = peers.into_iter().flat_map(|(tests, missing)| {
        missing.iter().for_each(|what| report_skipped(what));
        tests.into_iter().map(move |trial| trial.with_ignored_flag(missing.is_some()))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
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
