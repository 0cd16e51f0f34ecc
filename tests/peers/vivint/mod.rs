//! vivintpy, the public Python client of Vivint's cloud that Home Assistant's integration uses (MIT), as that of our
//! virtual account, in the version of `requirements.txt`.
//!
//! `$VIVINT_PYTHON` names a Python, 3.11 or newer, that has it; without it, that of a virtual environment here:
//! `python3 -m venv tests/peers/vivint/.venv && tests/peers/vivint/.venv/bin/pip install -r tests/peers/vivint/requirements.txt`

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command as BlockingCommand, Stdio};

use doorstep::clock;
use doorstep::proto::totp::totp;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::doorstep::Doorstep;
use crate::promise;
use crate::wait::PATIENCE;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("vivintpy_is_let_in_by_text_message_and_by_authenticator", is_let_in),
        promise("vivintpy_is_told_what_is_wrong", is_told_what_is_wrong),
        promise("vivintpy_refreshes_and_no_token_works_twice", refreshes),
        promise("vivintpy_finds_every_device", finds_every_device),
        promise("vivintpy_hears_a_ring_a_visitor_and_a_thumbnail", hears_events),
        promise("vivintpy_opens_doors_and_shuts_them", opens_doors),
        promise("vivintpy_finds_pictures_and_thumbnails", finds_pictures),
    ]
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let Some(python) = python() else {
        let what = "no virtual environment in tests/peers/vivint, and `$VIVINT_PYTHON` names no file";
        return Some(format!("the Vivint tests: {what}"));
    };
    let has_it = BlockingCommand::new(&python)
        .args(["-c", "import vivintpy.account"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    (!has_it).then(|| format!("the Vivint tests: {} has no vivintpy", python.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/vivint")
}

fn python() -> Option<PathBuf> {
    let python = env::var_os("VIVINT_PYTHON").map_or_else(|| folder().join(".venv/bin/python"), PathBuf::from);
    python.is_file().then_some(python)
}

/// `doorstep sim vivint`.
pub(crate) struct VirtualVivint {
    pub(crate) process: Doorstep,
    /// Its first line, which is all that a client needs.
    pub(crate) announcement: Value,
}

impl VirtualVivint {
    pub(crate) async fn start(second_factor: &str) -> Self {
        let mut process = Doorstep::start(&["sim", "vivint", "--second-factor", second_factor]);
        let announcement = process
            .wait_for("announcement", |line| {
                serde_json::from_str(line).ok().filter(|line: &Value| line["kind"] == "vivint")
            })
            .await;
        Self { process, announcement }
    }

    pub(crate) async fn event(&mut self, name: &str) -> Value {
        self.event_with(name, |_| true).await
    }

    pub(crate) async fn event_with(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let pick =
            |line: &str| serde_json::from_str(line).ok().filter(|event: &Value| event["event"] == name && fits(event));
        self.process.wait_for(name, pick).await
    }

    fn begin(&self, action: &str) -> Client {
        let mut python = Command::new(python().expect("Python is installed"));
        python.arg(folder().join("vivintpy_client.py")).arg(self.announcement.to_string()).arg(action);
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Client { process: python.spawn().unwrap(), what: format!("vivintpy {action}") }
    }

    /// A client that has typed the code of its text message.
    async fn logged_in(&mut self, action: &str) -> Client {
        let mut client = self.begin(action);
        let code = self.event("sms_sent").await["code"].as_str().unwrap().to_owned();
        client.type_line(&code).await;
        client
    }

    /// What a client says after this action.
    async fn ask(&mut self, action: &str) -> Value {
        self.logged_in(action).await.said().await
    }

    /// Somebody polls for what comes from now on.
    async fn is_listened_to(&mut self) {
        self.event_with("subscribed", |event| event["from_now"] == false).await;
    }
}

struct Client {
    process: Child,
    what: String,
}

impl Client {
    async fn type_line(&mut self, line: &str) {
        let stdin = self.process.stdin.as_mut().unwrap();
        // It may have ended with a complaint, which is shown below.
        let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
    }

    /// What it says in the end.
    async fn said(self) -> Value {
        let output = timeout(2 * PATIENCE, self.process.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("{} takes too long", self.what)).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaint}", self.what);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

async fn is_let_in() {
    let all = json!(["access_token", "expires_in", "id_token", "refresh_token", "scope", "token_type"]);
    let mut vivint = VirtualVivint::start("sms").await;
    assert_eq!(vivint.ask("login").await, all);
    assert_eq!(vivint.event("login").await["second_factor"], true);

    let mut vivint = VirtualVivint::start("totp").await;
    let mut client = vivint.begin("login");
    client.type_line(&authenticator_code(&vivint)).await;
    assert_eq!(client.said().await, all);
    assert_eq!(vivint.event("login").await["second_factor"], true);
}

fn authenticator_code(vivint: &VirtualVivint) -> String {
    let secret = vivint.announcement["totp_secret"].as_str().unwrap();
    let since_1970 = clock::unix_now().duration_since(std::time::UNIX_EPOCH).unwrap();
    totp(secret, since_1970.as_secs()).unwrap()
}

async fn is_told_what_is_wrong() {
    let vivint = VirtualVivint::start("sms").await;
    assert_eq!(vivint.begin("wrong_password").said().await, "Invalid username and/or password");
    let mut client = vivint.begin("wrong_code");
    client.type_line("12345").await;
    assert_eq!(client.said().await, "Code is not valid");
}

async fn refreshes() {
    let mut vivint = VirtualVivint::start("sms").await;
    let again = "invalid_grant: The refresh token is invalid.";
    assert_eq!(vivint.ask("refresh").await, json!({"changed": true, "systems": 1, "again": again}));
    vivint.event("refresh").await;
}

async fn finds_every_device() {
    let mut vivint = VirtualVivint::start("sms").await;
    let class = |kind: &Value| match kind.as_str().unwrap() {
        "panel" => "VivintDevice",
        "camera" => "Camera",
        "lock" => "DoorLock",
        "garage" => "GarageDoor",
        other => panic!("a {other}"),
    };
    let devices = vivint.announcement["devices"].as_array().unwrap();
    let wanted = devices
        .iter()
        .map(|device| json!({"id": device["id"], "name": device["name"], "type": class(&device["kind"])}));
    let wanted: Vec<Value> = wanted.collect();
    assert_eq!(vivint.ask("devices").await, Value::from(wanted));
}

async fn hears_events() {
    let mut vivint = VirtualVivint::start("sms").await;
    let client = vivint.logged_in("events").await;
    vivint.is_listened_to().await;
    for command in ["ring 27", "motion 27", "push {\"_id\": 27, \"wiss\": 71}", "picture 27"] {
        vivint.process.type_line(command).await;
    }
    assert_eq!(client.said().await, json!(["doorbell_ding", "motion_detected", "thumbnail_ready"]));
}

async fn opens_doors() {
    let mut vivint = VirtualVivint::start("sms").await;
    let mut client = vivint.logged_in("doors").await;
    vivint.is_listened_to().await;
    client.type_line("listened to").await;
    assert_eq!(client.said().await, json!([true, true, false, false]));
    for event in ["unlocking", "unlocked", "door_opening", "door_opened", "locked", "door_closed"] {
        vivint.event(event).await;
    }
}

async fn finds_pictures() {
    let mut vivint = VirtualVivint::start("sms").await;
    let seen = vivint.ask("pictures").await;
    let announced = vivint.announcement.clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let login = format!("rtsp://{}:{}@", text(&announced["panel_user"]), text(&announced["panel_password"]));
    let at_panel = |device: &Value| text(&device["panel_rtsp"]).replace("rtsp://", &login);
    let (front, side) = (&announced["devices"][1], &announced["devices"][2]);
    let urls = json!({"Front Doorbell": [front["rtsp"], at_panel(front)], "Side Doorbell": [null, at_panel(side)]});
    assert_eq!(seen, json!({"urls": urls, "type": "image/jpeg", "jpeg": "ffd8ff"}));
    vivint.event("thumbnail_read").await;
}
