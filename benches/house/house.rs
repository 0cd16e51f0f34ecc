//! A service with one virtual doorbell and a broker.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::http::{Reply, request};
use crate::mosquitto::{Mosquitto, free_port};
use crate::process::Process;

/// Longer than a browser takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const KBIT_PER_SECOND: &str = "2000";

pub(crate) struct House {
    pub(crate) camera: Process,
    pub(crate) service: Process,
    pub(crate) page: SocketAddr,
    /// Of the doorbell.
    pub(crate) id: String,
    pub(crate) broker: Mosquitto,
    /// What the doorbell itself needs, where that is another process.
    _cloud: Option<Process>,
    _folder: TempDir,
}

impl House {
    /// A Wyze camera of 2 Mbit/s. Resolves when it was reached and its session is closed again.
    pub(crate) async fn open() -> Self {
        let sim = ["sim", "tutk-camera", "--bitrate", KBIT_PER_SECOND, "--audio", "pcmu"];
        let mut house = Self::of(&sim, "tutk-camera", |camera| wyze(std::slice::from_ref(camera))).await;
        house.doorbell(|doorbell| doorbell["link"] == "ready").await;
        house
    }

    /// A Vivint account. Resolves as soon as its doorbell with a speaker is known, when nothing has been asked of it.
    pub(crate) async fn vivint() -> Self {
        let mut house = Self::of(&["sim", "vivint", "--second-factor", "totp"], "\"vivint\"", vivint).await;
        let speaks = |doorbell: &Value| doorbell["capabilities"].as_array().unwrap().contains(&"talk".into());
        house.doorbell(speaks).await;
        house
    }

    /// A doorbell at a virtual AWS. Resolves when it can be called and heard.
    pub(crate) async fn kvs() -> Self {
        let (mut house, cloud) =
            Self::with(&["sim", "aws", "--channel", "measured"], "\"aws\"", async |cloud: &Value| kvs(cloud)).await;
        let word = |key: &str| cloud[key].as_str().unwrap();
        let iot = format!("ws://{}", word("plain"));
        let doorbell = Process::start(&[
            "sim",
            "kvs-doorbell",
            "--channel",
            "measured",
            "--region",
            word("region"),
            "--endpoint",
            word("url"),
            "--iot-endpoint",
            &iot,
            "--access-key-id",
            word("access_key_id"),
            "--secret-access-key",
            word("secret_access_key"),
        ]);
        house._cloud = Some(std::mem::replace(&mut house.camera, doorbell));
        house.doorbell(|doorbell| doorbell["link"] == "ready").await;
        house.camera.line("bell_connected").await;
        house
    }

    async fn of(sim: &[&str], kind: &str, account: fn(&Value) -> String) -> Self {
        Self::with(sim, kind, async |announced: &Value| account(announced)).await.0
    }

    /// The house, and what its virtual device or cloud has announced.
    pub(crate) async fn with(sim: &[&str], kind: &str, account: impl AsyncFnOnce(&Value) -> String) -> (Self, Value) {
        let broker = Mosquitto::start().await;
        let mut camera = Process::start(sim);
        let (_, announced) = camera.line(kind).await;
        let page = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("doorstep.yaml");
        let announced: Value = serde_json::from_str(&announced).unwrap();
        std::fs::write(&config, configuration(&account(&announced).await, page, &broker)).unwrap();
        let data = folder.path().join("data");
        let service = Process::start(&["run", "--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()]);
        while TcpStream::connect(page).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (Self { camera, service, page, id: String::new(), broker, _cloud: None, _folder: folder }, announced)
    }

    /// Waits for a doorbell like this one, and measures that one from now on.
    pub(crate) async fn doorbell(&mut self, is_it: impl Fn(&Value) -> bool) {
        loop {
            let doorbells: Value = serde_json::from_str(&self.get("/api/doorbells").await.body).unwrap();
            if let Some(doorbell) = doorbells.as_array().unwrap().iter().find(|doorbell| is_it(doorbell)) {
                self.id = doorbell["id"].as_str().unwrap().to_owned();
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nobody wants anything of the doorbell any more.
    pub(crate) async fn is_left_alone(&self) {
        let path = format!("/api/doorbells/{}", self.id);
        loop {
            let doorbell: Value = serde_json::from_str(&self.get(&path).await.body).unwrap();
            if doorbell["link"] == "ready" && doorbell["talking"] == false {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        request(self.page, "POST", path, "application/json", body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        request(self.page, "GET", path, "text/plain", "").await
    }

    /// One figure of `/metrics` that has no labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").await.body;
        let value =
            metrics.lines().find_map(|line| line.strip_prefix("doorstep_")?.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no metric {name}")).parse().unwrap()
    }
}

fn configuration(account: &str, page: SocketAddr, broker: &Mosquitto) -> String {
    let (broker, media) = (broker.port, free_port());
    format!(
        "mqtt: {{url: \"mqtt://127.0.0.1:{broker}\"}}\nhttp: {{listen: \"{page}\"}}\ngo2rtc: {{enabled: false}}\nmedia: {{port: {media}}}\n{account}"
    )
}

/// An account of nothing but these cameras.
pub(crate) fn wyze(cameras: &[Value]) -> String {
    let entry = |camera: &Value| {
        let word = |key: &str| camera[key].as_str().unwrap();
        format!(
            "      - {{name: Measured, model: {}, mac: {}, uid: {}, enr: {}, address: \"{}\"}}\n",
            word("model"),
            word("mac"),
            word("uid"),
            word("enr"),
            word("listen"),
        )
    };
    format!("wyze:\n  - cameras:\n{}", cameras.iter().map(entry).collect::<String>())
}

fn kvs(cloud: &Value) -> String {
    let word = |key: &str| cloud[key].as_str().unwrap();
    format!(
        "kvs:\n  - {{region: {}, access_key_id: {}, secret_access_key: \"{}\", iot_endpoint: \"ws://{}\", \
         endpoints: {{kinesisvideo: \"{}\", ice_servers: []}}}}\ndoorbells:\n  - {{id: kvs_measured, unlock: self}}\n",
        word("region"),
        word("access_key_id"),
        word("secret_access_key"),
        word("plain"),
        word("url"),
    )
}

/// Every ring counts.
fn vivint(account: &Value) -> String {
    let word = |key: &str| account[key].to_string();
    let url = word("url");
    let hosts = ["identity", "api", "pubnub", "exchange", "identity_toolkit", "secure_token"];
    let hosts: String = hosts.map(|host| format!("{host}: {url}, ")).concat();
    format!(
        "vivint:\n  - {{username: {}, password: {}, totp_secret: {}, firebase_api_key: {}, ring_quiet_s: 0, \
         endpoints: {{{hosts}pubnub_key: {}, ice_servers: []}}}}\n",
        word("username"),
        word("password"),
        word("totp_secret"),
        word("firebase_api_key"),
        word("pubnub_key"),
    )
}
