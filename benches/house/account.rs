//! An account with eight doorbells: how soon it is there after a start, and how late its rings are.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorstep::clock;
use serde_json::Value;
use tempfile::TempDir;

use crate::figures::{Figures, Goal, Unit};
use crate::mosquitto::{Mosquitto, Witness, free_port};
use crate::process::Process;

/// On the LAN, where nobody answers, and called through the cloud, in turn.
const MODELS: &str = "HL_DB2,GW_BE1,WYZEDB3,AN_RDB1,HL_DB2,GW_BE1,WYZEDB3,GW_DBD";
const DOORBELLS: usize = 8;
const POLL: Duration = Duration::from_secs(1);
const RINGS: usize = 20;
/// Between two rings, so that they meet the poll in every phase.
const UNEVEN: Duration = Duration::from_millis(1_370);

/// The first start logs in; the second finds its token and is the one that is measured.
pub(crate) async fn measure(figures: &mut Figures) {
    let broker = Mosquitto::start().await;
    let mut cloud = Process::start(&["sim", "wyze-cloud", "--devices", MODELS]);
    let announced: Value = serde_json::from_str(&cloud.line("wyze-cloud").await.1).unwrap();
    let folder = Folder::new(&announced, &broker);
    let (first, _) = folder.start(&broker).await;
    drop(first);
    let (service, took) = folder.start(&broker).await;
    let cold = took.as_secs_f64() * 1_000.0;
    figures.add("8 doorbells at MQTT after a start with a kept token", cold, Unit::Milliseconds, Goal::AtMost(2_000.0));
    let mut times = rings(&mut cloud, &announced, &broker).await;
    times.iter_mut().for_each(|time| *time = time.saturating_sub(POLL));
    figures.add_times(
        "ring in the cloud to MQTT, beyond the poll interval",
        &mut times,
        Goal::None,
        Goal::AtMost(100.0),
    );
    drop(service);
}

async fn rings(cloud: &mut Process, announced: &Value, broker: &Mosquitto) -> Vec<Duration> {
    let mut witness = broker.listen("doorstep/+/ring").await;
    let mut times = Vec::with_capacity(RINGS);
    for n in 0..RINGS {
        let doorbell = announced["devices"][n % DOORBELLS]["id"].as_str().unwrap();
        let pressed = clock::now();
        cloud.type_line(&format!("ring {doorbell}")).await;
        witness.next().await;
        times.push(pressed.elapsed());
        tokio::time::sleep(UNEVEN).await;
    }
    times
}

/// What outlasts a start.
struct Folder {
    _folder: TempDir,
    config: PathBuf,
    data: PathBuf,
}

impl Folder {
    fn new(account: &Value, broker: &Mosquitto) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (config, data) = (folder.path().join("doorstep.yaml"), folder.path().join("data"));
        std::fs::write(&config, configuration(account, broker)).unwrap();
        Self { _folder: folder, config, data }
    }

    /// The service, and how long it took until each doorbell was announced.
    async fn start(&self, broker: &Mosquitto) -> (Process, Duration) {
        // Behind what an earlier start has left there.
        let mut witness = broker.listen("homeassistant/device/+/config").await;
        witness.until_fence().await;
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let began = clock::now();
        let service = Process::start(&["run", "--config", &text(&self.config), "--data", &text(&self.data)]);
        all_announced(&mut witness).await;
        (service, began.elapsed())
    }
}

async fn all_announced(witness: &mut Witness) {
    let mut announced = BTreeSet::new();
    while announced.len() < DOORBELLS {
        let heard = witness.next().await;
        if heard.topic.contains("/doorstep_wyze_") {
            announced.insert(heard.topic);
        }
    }
}

fn configuration(account: &Value, broker: &Mosquitto) -> String {
    let word = |key: &str| account[key].to_string();
    let url = word("url");
    let page = SocketAddr::from(([127, 0, 0, 1], free_port()));
    format!(
        "mqtt: {{url: \"mqtt://127.0.0.1:{}\"}}\nhttp: {{listen: \"{page}\"}}\nmedia: {{port: {}}}\nwyze:\n  \
         - {{email: {}, password: {}, key_id: {}, api_key: {}, poll_s: {}, \
         endpoints: {{auth: {url}, api: {url}, core: {url}, lock: {url}, mars: {url}, \
         device_management: {url}}}}}\n",
        broker.port,
        free_port(),
        word("email"),
        word("password"),
        word("key_id"),
        word("api_key"),
        POLL.as_secs(),
    )
}
