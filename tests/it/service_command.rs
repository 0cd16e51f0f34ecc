//! `doorstep check`: what is wrong is said, and the exit code tells scripts.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::mosquitto::free_port;
use crate::support::program::{Ended, Program};
use crate::support::service::{Camera, configuration};

/// A configuration in a file of its own.
fn written(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorstep.yaml");
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

async fn check(text: &str, options: &[&str]) -> Ended {
    let (_folder, file) = written(text);
    let arguments = ["check", "--config", file.to_str().unwrap()];
    Program::start(arguments.iter().chain(options)).ends().await
}

#[tokio::test]
async fn check_reaches_each_doorbell_and_says_so() {
    let camera = Camera::start(1, |_| {}).await;
    let text = configuration(None, "127.0.0.1:8480", 8555, &[&camera]);
    let ended = check(&text, &[]).await;
    assert_eq!((ended.status.code(), ended.said.as_str()), (Some(0), "Front Door: reached"), "{ended:?}");
    camera.assert_well_treated();
}

#[tokio::test]
async fn check_names_the_doorbell_that_cannot_be_reached_and_what_to_do() {
    let camera = Camera::start(1, |_| {}).await;
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let ended = check(&format!("wyze:\n  - cameras:\n      - {}\n", camera.yaml(nowhere)), &[]).await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.said.starts_with("Front Door: The camera does not answer at"), "{ended:?}");
    assert!(ended.said.contains("Check that it has power"), "{ended:?}");
    assert_eq!(ended.said.lines().count(), 1, "{ended:?}");
}

#[tokio::test]
async fn check_offline_reads_the_configuration_and_reaches_for_nothing() {
    let camera = Camera::start(1, |_| {}).await;
    let text = configuration(None, "127.0.0.1:8480", 8555, &[&camera]);
    let ended = check(&text, &["--offline"]).await;
    assert_eq!((ended.status.code(), ended.said.as_str()), (Some(0), "the configuration is right"), "{ended:?}");
    assert_eq!(camera.told(), []);
}

#[tokio::test]
async fn a_wrong_configuration_is_shown_with_its_place_and_ends_with_2() {
    let (_folder, file) = written("http:\n  listn: 127.0.0.1:8480\n");
    let file = file.to_str().unwrap();
    for command in ["check", "run"] {
        let ended = Program::start([command, "--config", file]).ends().await;
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        let expected = format!("{file}:2:3: http.listn: unknown key; did you mean `listen`?");
        assert!(ended.log.contains(&expected) && ended.said.is_empty(), "{ended:?}");
    }
}

#[test]
fn a_reader_that_had_enough_is_no_failure() {
    let (_folder, file) = written("{}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_doorstep"));
    let command = command.args(["check", "--offline", "--config", file.to_str().unwrap()]).stdout(writer);
    assert_eq!(command.status().unwrap().code(), Some(0));
}
