//! `doorstep check`: what is wrong is said, and the exit code tells scripts.

use std::path::PathBuf;

use doorstep::model::DeviceId;
use doorstep::sim::wyze_cloud::{self, CloudEvent, Device, RunningCloud, SecondFactor, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

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
    let (folder, _) = written(text);
    command("check", &folder, options).await
}

/// With the configuration and the data in `folder`.
async fn command(command: &str, folder: &TempDir, options: &[&str]) -> Ended {
    start_with(command, folder, options).ends().await
}

fn start(command: &str, folder: &TempDir) -> Program {
    start_with(command, folder, &[])
}

fn start_with(command: &str, folder: &TempDir, options: &[&str]) -> Program {
    let (file, data) = (folder.path().join("doorstep.yaml"), folder.path().join("data"));
    let arguments = [command, "--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
    Program::start(arguments.iter().chain(options))
}

/// A Wyze account with a doorbell that nobody has to reach, and two locks.
async fn cloud() -> (RunningCloud, DropGuard) {
    let devices = ["GW_BE1", "YD.LO1", "YD_BT1"].iter().zip(1..);
    let devices = devices.map(|(model, seed)| Device::generate(model, model, seed)).collect();
    let stop = CancellationToken::new();
    let cloud = wyze_cloud::start(Settings { devices, ..Settings::generate(1) }, stop.clone()).await.unwrap();
    (cloud, stop.drop_guard())
}

fn account(cloud: &RunningCloud, password: &str, more: &str) -> String {
    let Settings { email, key_id, api_key, .. } = &cloud.settings;
    let (email, key_id, api_key, url) = (email.expose(), key_id.expose(), api_key.expose(), cloud.url());
    format!(
        "wyze:\n  - {{email: \"{email}\", password: \"{password}\", key_id: \"{key_id}\", api_key: \"{api_key}\", \
         endpoints: {{auth: \"{url}\", api: \"{url}\", core: \"{url}\", lock: \"{url}\", \
             mars: \"{url}\", device_management: \"{url}\"}}}}\n{more}"
    )
}

#[tokio::test]
async fn the_first_steps_with_an_account_make_one_login_and_forget_forgets_it() {
    let (cloud, _stop) = cloud().await;
    let (folder, _) = written(&account(&cloud, cloud.settings.password.expose(), ""));
    for _step in 0..2 {
        let devices = command("devices", &folder, &[]).await;
        assert_eq!(devices.status.code(), Some(0), "{devices:?}");
        assert!(devices.said.contains("It is worked over Bluetooth from beside it"), "{devices:?}");
        let check = command("check", &folder, &[]).await;
        assert_eq!((check.status.code(), check.said.as_str()), (Some(0), "GW_BE1: reached"), "{check:?}");
    }
    assert_eq!(cloud.counts().logins, 1);

    let forget = command("forget", &folder, &[]).await;
    assert_eq!((forget.status.code(), forget.said.as_str()), (Some(0), "stored data deleted"), "{forget:?}");
    let left = std::fs::read_to_string(folder.path().join("data/state.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&left).unwrap()["entries"], json!({}));
}

#[tokio::test]
async fn a_refused_password_is_tried_once_however_often_somebody_looks() {
    let (cloud, _stop) = cloud().await;
    let (folder, _) = written(&account(&cloud, "not this one", ""));
    for (name, code) in [("devices", 1), ("check", 2), ("devices", 1)] {
        let ended = command(name, &folder, &[]).await;
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        assert!(format!("{ended:?}").contains("Wyze refused the login: e-mail, password"), "{ended:?}");
    }
    assert_eq!(cloud.requests_to("/api/user/login"), 1);
}

#[tokio::test]
async fn check_names_the_door_whose_lock_there_is_not_and_the_one_that_cannot_be_worked() {
    let (cloud, _stop) = cloud().await;
    let id = |model: &str| {
        let devices = cloud.devices();
        let device = devices.iter().find(|device| device.model == model).unwrap();
        DeviceId::from_hardware("wyze", &device.mac)
    };
    for (lock, well) in [(id("YD.LO1"), true), (id("YD_BT1"), false), (DeviceId::from_hardware("wyze", "none"), false)]
    {
        let doors = format!("doorbells:\n  - {{id: {}, unlock: {lock}}}\n", id("GW_BE1"));
        let ended = check(&account(&cloud, cloud.settings.password.expose(), &doors), &[]).await;
        assert_eq!(ended.status.code(), Some(if well { 0 } else { 2 }), "{ended:?}");
        let said = format!("GW_BE1, its door: No account has listed the lock `{lock}`");
        assert_eq!(ended.said.contains(&said), !well, "{ended:?}");
    }
}

/// A cloud whose login takes a code by text message, and a configuration for it.
async fn cloud_with_sms() -> (RunningCloud, DropGuard, TempDir) {
    let stop = CancellationToken::new();
    let devices = vec![Device::generate("GW_BE1", "GW_BE1", 1)];
    let settings = Settings { devices, second_factor: SecondFactor::Sms, ..Settings::generate(1) };
    let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
    let (folder, _) = written(&account(&cloud, cloud.settings.password.expose(), ""));
    (cloud, stop.drop_guard(), folder)
}

async fn sms(events: &mut broadcast::Receiver<CloudEvent>) -> String {
    loop {
        if let CloudEvent::SmsSent { code } = events.recv().await.unwrap() {
            return code;
        }
    }
}

#[tokio::test]
async fn check_takes_the_code_of_a_text_message_and_the_login_is_kept() {
    let (cloud, _stop, folder) = cloud_with_sms().await;
    let mut events = cloud.events();
    let mut check = start("check", &folder);
    check.says("a place for the code", |line| line == "Type the code here instead, then press Enter.").await;
    let code = sms(&mut events).await;
    check.type_line("the code is").await;
    check.says("what a code is", |line| line == "A code is 4 to 10 digits.").await;
    let wrong = if code == "0000" { "1111" } else { "0000" };
    check.type_line(wrong).await;
    check.says("that it was refused", |line| line.contains("Wyze refused that code")).await;
    let (half, rest) = code.split_at(3);
    check.type_line(&format!(" {half} {rest} ")).await;
    let ended = check.ends().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.said.ends_with("GW_BE1: reached"), "{ended:?}");
    assert!(!format!("{ended:?}").contains(&code), "the code was repeated: {ended:?}");

    let again = command("check", &folder, &[]).await;
    assert_eq!((again.status.code(), again.said.as_str()), (Some(0), "GW_BE1: reached"), "{again:?}");
}

#[tokio::test]
async fn check_waits_for_nobody_when_nobody_can_type() {
    let (_cloud, _stop, folder) = cloud_with_sms().await;
    let ended = start("check", &folder).without_input().ends().await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.said.contains("Wyze has sent a code by SMS"), "{ended:?}");
    assert!(ended.said.ends_with("No code was typed."), "{ended:?}");
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
