//! On what, when, and beside how much other work the figures were taken.

use std::fs;
use std::time::SystemTime;

pub(crate) fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "DEBUG BUILD, figures mean nothing" } else { "release build" };
    let version = env!("CARGO_PKG_VERSION");
    let today = humantime::format_rfc3339_seconds(now()).to_string();
    format!("doorstep {version}, {build}, {today}\n{}, {cores} cores, load {}", processor(), load())
}

/// Runnable processes on average over 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let averages = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn processor() -> String {
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    named.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn now() -> SystemTime {
    doorstep::clock::unix_now()
}
