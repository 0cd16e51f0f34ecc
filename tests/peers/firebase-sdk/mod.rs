//! Google's own SDK of its Realtime Database, `@firebase/database` (Apache-2.0), as a client of our virtual one.
//!
//! Needs `node`, and `npm ci --prefix tests/peers/firebase-sdk`.

use std::path::{Path, PathBuf};
use std::process::{Command as BlockingCommand, Stdio};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::promise;
use crate::vivint::VirtualVivint;
use crate::wait::PATIENCE;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("firebase_sdk_listens_sets_updates_and_removes", signals),
        promise("firebase_sdk_sends_and_reads_what_is_split", is_split),
        promise("firebase_sdk_leaves_its_last_words", leaves_last_words),
        promise("firebase_sdk_is_denied_what_is_not_its_own", is_denied),
        promise("firebase_sdk_comes_back_from_a_drop_and_an_expiry", comes_back),
        promise("firebase_sdk_follows_a_redirect_and_bears_every_framing", bears_every_framing),
    ]
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let has_node = BlockingCommand::new("node").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has_node {
        return Some("the Firebase SDK tests: `node` is not installed".into());
    }
    let installed = folder().join("node_modules/@firebase/database").is_dir();
    (!installed).then(|| "the Firebase SDK tests: `npm ci --prefix tests/peers/firebase-sdk` was not run".into())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/firebase-sdk")
}

pub(crate) struct Sdk {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Sdk {
    pub(crate) fn begin(vivint: &VirtualVivint, action: &str) -> Self {
        let mut node = Command::new("node");
        node.arg(folder().join("client.mjs")).arg(vivint.announcement.to_string()).arg(action);
        node.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = node.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, stdout }
    }

    pub(crate) async fn type_line(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// The next line, which is JSON.
    pub(crate) async fn says(&mut self) -> Value {
        let line = timeout(2 * PATIENCE, self.stdout.next_line()).await.expect("the SDK says something").unwrap();
        let Some(line) = line else { panic!("the SDK's program ended with {:?}", self.child.wait().await) };
        serde_json::from_str(&line).unwrap()
    }
}

async fn ask(vivint: &VirtualVivint, action: &str) -> Value {
    Sdk::begin(vivint, action).says().await
}

async fn signals() {
    let vivint = VirtualVivint::start("none").await;
    let offered = json!({"type": "sdp", "sdpType": "offer", "sdp": "x"});
    let wanted = json!({"first": null, "offered": offered, "answered": "answer", "time": "number", "last": null});
    assert_eq!(ask(&vivint, "signal").await, wanted);
}

async fn is_split() {
    let vivint = VirtualVivint::start("none").await;
    assert_eq!(ask(&vivint, "long").await, json!({"same": true}));
}

async fn leaves_last_words() {
    let vivint = VirtualVivint::start("none").await;
    let wanted = json!({"calling": {"calling": true}, "gone": {"calling": false}, "kept": null});
    assert_eq!(ask(&vivint, "farewell").await, wanted);
}

async fn is_denied() {
    let vivint = VirtualVivint::start("none").await;
    let said = ask(&vivint, "denied").await;
    for (what, why) in said.as_object().unwrap() {
        assert!(why.as_str().unwrap().to_lowercase().replace('_', " ").contains("permission denied"), "{what}: {why}");
    }
}

async fn comes_back() {
    let mut vivint = VirtualVivint::start("none").await;
    let mut sdk = Sdk::begin(&vivint, "trouble");
    for (round, fault) in ["db_drop", "db_auth_expired"].iter().enumerate() {
        assert_eq!(sdk.says().await, json!({"round": round + 1}));
        vivint.process.type_line(&format!("fault {fault}")).await;
        // Both of its clients are back, with a token each.
        vivint.event("database_disconnected").await;
        vivint.event("database_disconnected").await;
        vivint.event("database_authenticated").await;
        vivint.event("database_authenticated").await;
        sdk.type_line("").await;
    }
    let said = sdk.says().await;
    assert_eq!(said["heard"], json!([null, {"round": 1}, {"round": 2}]));
    assert!(said["signIns"].as_u64().unwrap() > 1, "no fresh token was asked for: {said}");
}

async fn bears_every_framing() {
    let mut vivint = VirtualVivint::start("none").await;
    for fault in ["db_redirect", "db_count_of_one", "db_small_pieces", "db_child_push", "db_merge_push"] {
        vivint.process.type_line(&format!("fault {fault}")).await;
        vivint.event("fault").await;
        assert_eq!(ask(&vivint, "signal").await["answered"], "answer", "{fault}");
    }
}
