//! A real browser as the peer, by `tests/peers/chromium`. Where it is not installed the test says so and is skipped.

#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/chromium");
/// Its own limit is 20 s; a browser on a busy machine takes a few more to start and to end.
const PATIENCE: Duration = Duration::from_secs(50);

/// What the browser reports of playing this WHEP address; `None`, and a line that says why, without a browser.
pub(crate) async fn play(url: &str, arguments: &[&str]) -> Option<Value> {
    if let Some(missing) = missing().await {
        println!("SKIPPED: no test with a browser, {missing}");
        return None;
    }
    let run = Command::new("node")
        .arg("play.mjs")
        .arg(url)
        .args(arguments)
        .current_dir(FOLDER)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, run).await.expect("the browser ends in time").expect("node runs");
    let report = String::from_utf8_lossy(&output.stdout);
    let read = serde_json::from_str(report.trim());
    Some(read.unwrap_or_else(|_| panic!("no report: {report}{}", String::from_utf8_lossy(&output.stderr))))
}

async fn missing() -> Option<&'static str> {
    let browser = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    match () {
        () if !node.is_ok_and(|status| status.success()) => Some("node is not installed"),
        () if !Path::new(&browser).exists() => Some("Chromium is not installed"),
        () if !Path::new(FOLDER).join("node_modules/playwright-core").exists() => {
            Some("playwright-core is not (run `npm ci` in tests/peers/chromium)")
        }
        () => None,
    }
}
