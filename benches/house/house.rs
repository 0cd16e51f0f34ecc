//! A service with one virtual camera of 2 Mbit/s and, where mosquitto is installed, a broker.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::http::{Reply, request};
use crate::mosquitto::{Mosquitto, free_port};
use crate::process::Process;

const KBIT_PER_SECOND: &str = "2000";

pub(crate) struct House {
    pub(crate) camera: Process,
    pub(crate) service: Process,
    pub(crate) page: SocketAddr,
    /// Of the doorbell.
    pub(crate) id: String,
    _broker: Mosquitto,
    _folder: TempDir,
}

impl House {
    /// Resolves when the camera was reached and its session is closed again.
    pub(crate) async fn open() -> Self {
        let broker = Mosquitto::start().await;
        let mut camera = Process::start(&["sim", "tutk-camera", "--bitrate", KBIT_PER_SECOND, "--audio", "pcmu"]);
        let (_, announced) = camera.line("tutk-camera").await;
        let page = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("doorstep.yaml");
        let announced: Value = serde_json::from_str(&announced).unwrap();
        std::fs::write(&config, configuration(&announced, page, &broker)).unwrap();
        let data = folder.path().join("data");
        let service = Process::start(&["run", "--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()]);
        let mut house = Self { camera, service, page, id: String::new(), _broker: broker, _folder: folder };
        house.is_ready().await;
        house
    }

    async fn is_ready(&mut self) {
        while TcpStream::connect(self.page).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        loop {
            let doorbells: Value = serde_json::from_str(&self.get("/api/doorbells").await.body).unwrap();
            let doorbell = doorbells.get(0).unwrap_or(&doorbells["doorbells"][0]);
            if doorbell["link"] == "ready" {
                self.id = doorbell["id"].as_str().unwrap().to_owned();
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
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

fn configuration(camera: &Value, page: SocketAddr, broker: &Mosquitto) -> String {
    let word = |key: &str| camera[key].as_str().unwrap();
    format!(
        "mqtt: {{url: \"mqtt://127.0.0.1:{}\"}}\nhttp: {{listen: \"{page}\"}}\nmedia: {{port: {}}}\nwyze:\n  - cameras:\n      - {{name: Measured, \
         model: {}, mac: {}, uid: {}, enr: {}, address: \"{}\"}}\n",
        broker.port,
        free_port(),
        word("model"),
        word("mac"),
        word("uid"),
        word("enr"),
        word("listen"),
    )
}
