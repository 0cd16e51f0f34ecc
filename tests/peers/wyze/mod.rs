//! The public Python clients of Wyze's cloud as those of our virtual one: wyzeapy (GPL-3.0, a program of its own here)
//! and wyze-sdk (Unlicense), in the versions of `requirements.txt`.
//!
//! `$WYZE_PYTHON` names a Python, 3.11 or newer, that has them; without it, that of a virtual environment here:
//! `python3 -m venv tests/peers/wyze/.venv && tests/peers/wyze/.venv/bin/pip install -r tests/peers/wyze/requirements.txt`

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command as BlockingCommand, Stdio};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::doorstep::Doorstep;
use crate::promise;
use crate::wait::PATIENCE;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("wyzeapy_is_let_in_refused_and_refreshed", || is_let_in("wyzeapy", "refused")),
        promise("wyze_sdk_is_let_in_refused_and_refreshed", || is_let_in("wyze_sdk", "Invalid User Name or Password.")),
        promise("wyzeapy_shows_the_second_factor", || shows_the_second_factor("wyzeapy")),
        promise("wyze_sdk_shows_the_second_factor", || shows_the_second_factor("wyze_sdk")),
        promise("wyzeapy_finds_every_device", || finds_every_device("wyzeapy")),
        promise("wyze_sdk_finds_every_device", || finds_every_device("wyze_sdk")),
        promise("wyzeapy_hears_a_ring_and_sees_who_came", || hears_a_ring("wyzeapy", ["10", "13"], json!([101, 104]))),
        promise("wyze_sdk_hears_a_ring_and_sees_who_came", || {
            hears_a_ring("wyze_sdk", ["Doorbell rang", "Motion"], json!(["Person", "Package"]))
        }),
        promise("wyzeapy_opens_a_door_and_shuts_it", || {
            opens_a_door("wyzeapy", json!({"available": true, "unlocked": [false, true, false]}))
        }),
        promise("wyze_sdk_opens_a_door_and_shuts_it", || {
            let seen = json!({"online": true, "hardlock": [1, 2, 1], "diary": ["Locked", "Unlocked"]});
            opens_a_door("wyze_sdk", seen)
        }),
        promise("wyzeapy_finds_a_stream", finds_a_stream),
    ]
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let Some(python) = python() else {
        return Some(
            "the Wyze tests: no virtual environment in tests/peers/wyze, and `$WYZE_PYTHON` names no file".into(),
        );
    };
    let has_both = BlockingCommand::new(&python)
        .args(["-c", "import wyzeapy, wyze_sdk"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    (!has_both).then(|| format!("the Wyze tests: {} has no wyzeapy or no wyze-sdk", python.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/wyze")
}

fn python() -> Option<PathBuf> {
    let python = env::var_os("WYZE_PYTHON").map_or_else(|| folder().join(".venv/bin/python"), PathBuf::from);
    python.is_file().then_some(python)
}

/// `doorstep sim wyze-cloud`.
struct VirtualCloud {
    process: Doorstep,
    /// Its first line, which is all that a client needs.
    announcement: Value,
}

impl VirtualCloud {
    async fn start(options: &[&str]) -> Self {
        let mut process = Doorstep::start(&[&["sim", "wyze-cloud"], options].concat());
        let announcement = process
            .wait_for("announcement", |line| {
                serde_json::from_str(line).ok().filter(|line: &Value| line["kind"] == "wyze-cloud")
            })
            .await;
        Self { process, announcement }
    }

    fn devices(&self) -> Vec<Value> {
        let wanted = |device: &Value| json!({"id": device["id"], "model": device["model"], "name": device["name"]});
        self.announcement["devices"].as_array().unwrap().iter().map(wanted).collect()
    }

    fn id_of(&self, model: &str) -> String {
        let devices = self.announcement["devices"].as_array().unwrap();
        devices.iter().find(|device| device["model"] == model).unwrap()["id"].as_str().unwrap().to_owned()
    }

    async fn event(&mut self, name: &str) -> Value {
        self.process
            .wait_for(name, |line| serde_json::from_str(line).ok().filter(|event: &Value| event["event"] == name))
            .await
    }

    /// What `client` says after this action.
    async fn ask(&self, client: &str, action: &str) -> Value {
        self.begin(client, action).said("").await
    }

    fn begin(&self, client: &str, action: &str) -> Client {
        let mut python = Command::new(python().expect("Python is installed"));
        python.arg(folder().join(format!("{client}_client.py"))).arg(self.announcement.to_string()).arg(action);
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Client { process: python.spawn().unwrap(), what: format!("{client} {action}") }
    }
}

struct Client {
    process: tokio::process::Child,
    what: String,
}

impl Client {
    /// What it says in the end, having been told `input`.
    async fn said(mut self, input: &str) -> Value {
        let mut stdin = self.process.stdin.take().unwrap();
        // It may have ended with a complaint, which is shown below.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = timeout(2 * PATIENCE, self.process.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("{} takes too long", self.what)).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaint}", self.what);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

async fn is_let_in(client: &'static str, refusal: &'static str) {
    let mut cloud = VirtualCloud::start(&[]).await;
    let token = cloud.ask(client, "login").await;
    assert!(token.as_str().is_some_and(|token| token.starts_with("lvtx.")), "{token}");
    assert_eq!(cloud.ask(client, "wrong_password").await, refusal);
    cloud.event("refused").await;
    let refreshed = cloud.ask(client, "refresh").await;
    assert_eq!(refreshed, json!({"changed": true, "devices": cloud.devices().len()}));
    cloud.event("refresh").await;
}

async fn shows_the_second_factor(client: &'static str) {
    let mut cloud = VirtualCloud::start(&["--second-factor", "totp"]).await;
    assert!(cloud.ask(client, "login").await.is_string());
    assert_eq!(cloud.event("login").await["second_factor"], true);

    let mut cloud = VirtualCloud::start(&["--second-factor", "sms"]).await;
    let login = cloud.begin(client, "login");
    let code = cloud.event("sms_sent").await["code"].as_str().unwrap().to_owned();
    assert!(login.said(&format!("{code}\n")).await.is_string());
    assert_eq!(cloud.event("login").await["second_factor"], true);
}

async fn finds_every_device(client: &'static str) {
    let cloud = VirtualCloud::start(&[]).await;
    assert_eq!(cloud.ask(client, "devices").await, Value::from(cloud.devices()));
}

async fn hears_a_ring(client: &'static str, [ring, motion]: [&'static str; 2], tags: Value) {
    let mut cloud = VirtualCloud::start(&[]).await;
    let (bell, gate) = (cloud.id_of("WYZEDB3"), cloud.id_of("GW_BE1"));
    cloud.process.type_line(&format!("ring {bell} 2")).await;
    cloud.process.type_line(&format!("motion {gate} 101 104")).await;
    cloud.event("happened").await;
    let newest_first = json!([
        {"device": gate, "value": motion, "tags": tags},
        {"device": bell, "value": ring, "tags": []},
    ]);
    assert_eq!(cloud.ask(client, "events").await, newest_first);
}

async fn opens_a_door(client: &'static str, seen: Value) {
    let mut cloud = VirtualCloud::start(&[]).await;
    assert_eq!(cloud.ask(client, "lock").await, seen);
    let lock = cloud.id_of("YD.LO1");
    for event in ["unlocking", "unlocked", "locking", "locked"] {
        assert_eq!(cloud.event(event).await["device"], lock, "{event}");
    }
}

async fn finds_a_stream() {
    let cloud = VirtualCloud::start(&["--signaling-url", "wss://127.0.0.1:1/?token=a%2Fb"]).await;
    assert_eq!(cloud.ask("wyzeapy", "streams").await, "wss://127.0.0.1:1/?token=a%2Fb");
}
