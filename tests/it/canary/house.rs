//! The house in which everything happens: the demo, the service beside it, their broker, and who stands around them.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use axum::routing::any;
use doorstep::config::{self, Config};
use doorstep::doorbell::{Doorbell, Options, Vendor};
use doorstep::model::{Capability, DeviceId, DeviceInfo};
use doorstep::proto::tutk::keys::{AuthKey, Psk};
use doorstep::proto::wyze::{App, mars_request_id, password_hash};
use futures_util::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::marks::Marks;
use crate::support::demo::Demo;
use crate::support::fake_go2rtc::{FakeGo2rtc, Manner};
use crate::support::http::{Reply, request_with, serve};
use crate::support::impair::{self, Line};
use crate::support::mosquitto::{Mosquitto, free_port, until};
use crate::support::program::Program;
use crate::support::service::Page;
use crate::support::sound_file::wav;

const MQTT_USER: &str = "keeper";
const MQTT_PASSWORD: &str = "Ux7pQz31kVbN:/+ö";
pub(super) const TOKEN: &str = "9c41d07e5ab2f86310fe7cd24e918a5d";
pub(super) const UNLOCK_SECRET: &str = "q7Yw2LmZ8xTn4RbK6vHs3JdF9pGc5XaE";
const SPEECH_TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.kQ4vZs7mXw2p.u8Rt";
const GO2RTC_PASSWORD: &str = "Hd4nTq8ZwLx2";
/// In whatever is said.
pub(super) const SAID: &str = "k7wq2mzt8xrn";
/// In every part of an address but its host.
pub(super) const ADDRESSED: &str = "vb3jx9qkz6tw";
/// Of sound, as Home Assistant calls it.
const SPOKEN: &str = "hy5mp2rs8dfc";
/// A door that only signed commands open, and its lock.
pub(super) const LOCK: &str = "wyze_yd_lo1_0123456789abcdef0123456789abcdef";

/// All six of the demo, in its order.
pub(super) struct Ids {
    pub(super) all: Vec<String>,
    pub(super) lan: String,
    pub(super) lan_new: String,
    pub(super) called: String,
    pub(super) vivint: String,
    pub(super) kvs: String,
}

pub(super) struct Canary {
    pub(super) broker: Mosquitto,
    /// Between the service and the broker.
    pub(super) line: impair::Tcp,
    pub(super) demo: Demo,
    pub(super) program: Program,
    /// The service's, and the demo's own.
    pub(super) page: Page,
    pub(super) demo_page: Page,
    pub(super) ids: Ids,
    pub(super) go2rtc: FakeGo2rtc,
    /// Has sound at every address.
    pub(super) sounds: SocketAddr,
    pub(super) marks: Marks,
    /// What was answered over HTTP, and what the diagnostics and metrics were.
    pub(super) answers: String,
    pub(super) reports: String,
    messages: Messages,
    events: Arc<Mutex<String>>,
    listeners: Vec<AbortOnDropHandle<()>>,
    folder: TempDir,
}

/// A place, all that came out there, and a word of it that everybody may see.
pub(super) type Place = (&'static str, String, &'static str);

pub(super) struct Ended {
    pub(super) places: Vec<Place>,
    pub(super) marks: Marks,
}

impl Canary {
    pub(super) async fn start() -> Self {
        let broker = Mosquitto::start_knowing(MQTT_USER, MQTT_PASSWORD).await;
        let folder = tempfile::tempdir().unwrap();
        let messages = Messages::of(broker.port, folder.path());
        let line = impair::Tcp::to(broker.port, Line::default(), 1).await;
        let go2rtc = FakeGo2rtc::start(Manner::Login(basic())).await;
        let sounds = serve(Router::new().fallback(any(sound))).await;

        let saved = folder.path().join("demo.yaml");
        let demo = demo(broker.port, folder.path(), &saved).await;
        let saved = std::fs::read_to_string(&saved).unwrap();
        let text = configuration(&saved, line.port, &go2rtc.url(), sounds);
        let file = folder.path().join("doorstep.yaml");
        std::fs::write(&file, &text).unwrap();
        let mut program = start(&["run"], &file, &folder.path().join("data"));
        let address = program.page().await;
        let (page, demo_page) = (Page::locked(address, TOKEN), Page::at(demo.page));
        let events = Arc::new(Mutex::new(String::new()));
        let listeners = vec![listen(demo.page, None, &events).await, listen(address, Some(TOKEN), &events).await];
        let mut canary = Self {
            ids: Ids::of(&demo.ids),
            marks: configured(&config::parse(&text, "doorstep.yaml").unwrap()),
            answers: String::new(),
            reports: String::new(),
            broker,
            line,
            demo,
            program,
            page,
            demo_page,
            go2rtc,
            sounds,
            messages,
            events,
            listeners,
            folder,
        };
        for id in canary.ids.all.clone() {
            canary.page.is(&id, "ready").await;
        }
        canary.remember_what_is_stored();
        canary.remember_the_token_of_gwell().await;
        canary
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Keeps what was answered, to be searched. A file of sound or a picture has headers only.
    pub(super) fn note(&mut self, reply: &Reply) {
        let is_text = !reply.header("content-type").unwrap_or_default().starts_with("image/");
        let body = if is_text { &*reply.body } else { "" };
        self.answers.push_str(&format!("{} {}\n{body}\n", reply.status, reply.headers));
    }

    pub(super) fn remember_what_is_stored(&mut self) {
        for data in [self.data(), self.folder.path().join("demo")] {
            stored(&data, &mut self.marks);
        }
    }

    /// The demo's cloud gives its owner's token to whoever has logged in, as the service did.
    async fn remember_the_token_of_gwell(&mut self) {
        let config = config::load(&self.folder.path().join("demo.yaml"), config::Place::Standalone).unwrap();
        let mars = &config.wyze[0].login.as_ref().unwrap().endpoints.mars;
        let cloud = mars.socket_addrs(|| None).unwrap()[0];
        let access = entries(&self.data()).find(|(key, _)| key.starts_with("wyze_account_")).unwrap().1;
        let access = access["tokens"]["access"].as_str().unwrap().to_owned();
        let body = json!({"ttl_minutes": 60, "nonce": "1763712000", "unique_id": "canary"}).to_string();
        let signature = App::Olive.signature2(&access, body.as_bytes());
        let request_id = mars_request_id("1763712000");
        let headers = [
            ("content-type", "application/json"),
            ("access_token", &access),
            ("appid", App::Olive.id()),
            ("signature2", &signature),
            ("requestid", &request_id),
        ];
        let path = "/plugin/mars/v2/regist_gw_user/GW_DBD_D03F27AABBCC";
        let reply = request_with(cloud, "POST", path, &headers, body).await;
        let user = reply.json();
        let field = |name: &str| user["data"][name].as_str().unwrap_or_else(|| panic!("{user}")).to_owned();
        self.marks.add("GWell's access id", field("accessId"));
        let token = field("accessToken");
        let bytes: Vec<u8> = (0..64).map(|at| u8::from_str_radix(&token[2 * at..2 * at + 2], 16).unwrap()).collect();
        self.marks.add("GWell's access token", &bytes);
    }

    /// Stops everything in the middle of a talk, looks in from outside as an owner would, and gathers what came out.
    pub(super) async fn ends(mut self) -> Ended {
        self.remember_what_is_stored();
        self.program.terminate();
        let ended = self.program.ends().await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        let data = self.folder.path().join("data");
        let audit = std::fs::read_to_string(data.join("audit.jsonl")).unwrap();
        let file = self.folder.path().join("doorstep.yaml");
        let (list, json, check) = tokio::join!(
            output(&["devices"], &file, &data),
            output(&["devices", "--json"], &file, &data),
            output(&["check"], &file, &data),
        );
        let mistaken = self.folder.path().join("mistaken.yaml");
        std::fs::write(&mistaken, with_mistakes(&std::fs::read_to_string(&file).unwrap())).unwrap();
        let mistakes = output(&["check", "--offline"], &mistaken, &data).await;
        stored(&data, &mut self.marks);
        let forgotten = output(&["forget"], &file, &data).await;
        self.demo.program.type_line("quit").await;
        let demo = self.demo.program.ends().await;
        assert_eq!(demo.status.code(), Some(0), "{}", demo.log);
        drop(self.listeners);
        let events = self.events.lock().unwrap().clone();
        let messages = self.messages.all(&self.broker).await;
        let mut places = vec![
            ("the demo's log", demo.log, "TRACE hyper"),
            ("the demo's standard output", without_names(&demo.said), "demo ready"),
            ("the log", ended.log, "TRACE hyper"),
            ("HTTP", self.answers, "\"doorbells\":"),
            ("a diagnosis or the metrics", self.reports, "doorstep_doorbell"),
            ("an event", events, "Front Door"),
            ("MQTT", messages, "canary/status|online"),
            ("the audit log", audit, "\"result\":\"allowed\""),
            ("`devices`", list, "Front Door"),
            ("`devices --json`", json, "\"Front Door\""),
            ("`check`", check, "Front Door"),
            ("a configuration's mistakes", mistakes, "did you mean"),
            ("`forget`", forgotten, "stored data deleted"),
        ];
        // By design an id holds what the cloud calls the device.
        for id in self.ids.all.iter().map(String::as_str).chain([LOCK]) {
            places.iter_mut().for_each(|(_, text, _)| *text = text.replace(id, "the_id"));
        }
        Ended { places, marks: self.marks }
    }
}

impl Ids {
    fn of(ids: &[String]) -> Self {
        let [lan, lan_new, called, _, vivint, kvs] = &ids.to_vec()[..] else { panic!("not all six: {ids:?}") };
        let [lan, lan_new, called, vivint, kvs] = [lan, lan_new, called, vivint, kvs].map(Clone::clone);
        Self { all: ids.to_vec(), lan, lan_new, called, vivint, kvs }
    }

    /// Those one can talk to.
    pub(super) fn speakers(&self) -> [&str; 5] {
        [&self.lan, &self.lan_new, &self.called, &self.vivint, &self.kvs]
    }
}

/// A doorbell with a picture, of this vendor.
pub(super) fn doorbell_of(vendor: Arc<dyn Vendor>, stop: CancellationToken) -> Doorbell {
    let info = DeviceInfo {
        id: DeviceId::parse("fake_1").unwrap(),
        name: "Front Door".to_owned(),
        vendor: "fake",
        model: "FAKE1".to_owned(),
        firmware: None,
        capabilities: [Capability::Stream].into(),
    };
    Doorbell::spawn(vendor, info, Options::default(), stop)
}

async fn demo(broker: u16, folder: &Path, saved: &Path) -> Demo {
    let password: String = url::form_urlencoded::byte_serialize(MQTT_PASSWORD.as_bytes()).collect();
    let mqtt = format!("mqtt://{MQTT_USER}:{password}@127.0.0.1:{broker}");
    let (http, media) = (format!("127.0.0.1:{}", free_port()), free_port().to_string());
    let data = folder.join("demo");
    let arguments = ["demo", "--http", &http, "--media-port", &media, "--mqtt", &mqtt];
    let files = ["--data", data.to_str().unwrap(), "--save-config", saved.to_str().unwrap()];
    let program = Program::start_with(arguments.iter().chain(&files), |command| {
        command.env("DOORSTEP_LOG", "trace");
    });
    Demo::ready(program).await
}

/// What the demo has written down, with all that it does not have.
fn configuration(saved: &str, broker: u16, go2rtc: &str, sounds: SocketAddr) -> String {
    let (_, houses) = saved.split_once("go2rtc: {enabled: false}\n").expect("the demo has no go2rtc");
    let houses = houses.replace(&format!("unlock: {LOCK}"), &format!("unlock: {LOCK}, unlock_secret: {UNLOCK_SECRET}"));
    assert!(houses.contains(UNLOCK_SECRET), "the first door has no lock: {houses}");
    let password: String = url::form_urlencoded::byte_serialize(MQTT_PASSWORD.as_bytes()).collect();
    let port = free_port();
    format!(
        "mqtt: {{url: \"mqtt://{MQTT_USER}:{password}@127.0.0.1:{broker}\", base_topic: canary, \
         discovery_prefix: canary_discovery}}\n\
         http: {{listen: \"127.0.0.1:0\", token: \"{TOKEN}\"}}\nmedia: {{port: {port}}}\n\
         go2rtc: {{enabled: true, url: \"{go2rtc}\", username: {MQTT_USER}, password: \"{GO2RTC_PASSWORD}\"}}\n\
         say: {{url: \"http://{sounds}\", token: {SPEECH_TOKEN}, allow: [127.0.0.1]}}\n{houses}"
    )
}

/// The virtual devices and clouds tell what happens at whom: these names are theirs to tell, and nothing else is.
fn without_names(said: &str) -> String {
    let nameless = |line: &str| match serde_json::from_str(line) {
        Ok(Value::Object(mut told)) => {
            told.retain(|key, _| !["device", "caller", "path"].contains(&key.as_str()));
            format!("{}\n", Value::Object(told))
        }
        _ => format!("{line}\n"),
    };
    said.lines().map(nameless).collect()
}

/// Secrets where they do not belong, and keys that are none.
fn with_mistakes(text: &str) -> String {
    let text = text.replace("password: \"", "pasword: \"").replace("enabled: true", "enabled: \"TRUE-ish\"");
    format!("{text}nonsense: {SPEECH_TOKEN}\nlog_level: {UNLOCK_SECRET}\n")
}

/// What fake go2rtc takes, for as long as the test runs.
fn basic() -> &'static str {
    use base64::Engine;
    let login = base64::engine::general_purpose::STANDARD.encode(format!("{MQTT_USER}:{GO2RTC_PASSWORD}"));
    format!("Basic {login}").leak()
}

/// Home Assistant's engine, and sound everywhere else.
async fn sound(uri: Uri) -> Vec<u8> {
    match uri.path() {
        "/api/template" => b"tts.piper".to_vec(),
        "/api/tts_get_url" => json!({"path": format!("/api/tts_proxy/{SPOKEN}.wav")}).to_string().into_bytes(),
        _ => wav(8_000, 440.0, 0.3),
    }
}

/// Everything in a configuration that its owner alone should know, and what follows from it.
fn configured(config: &Config) -> Marks {
    let mut marks = Marks::default();
    marks.add_all([
        ("the broker's password", MQTT_PASSWORD),
        ("the HTTP token", TOKEN),
        ("the secret of a door", UNLOCK_SECRET),
        ("Home Assistant's token", SPEECH_TOKEN),
        ("go2rtc's password", GO2RTC_PASSWORD),
        ("what was said", SAID),
        ("the address of a sound", ADDRESSED),
        ("the address of what was spoken", SPOKEN),
    ]);
    marks.add("the hash of the HTTP token", Sha256::digest(TOKEN));
    let wyze = config.wyze[0].login.as_ref().unwrap();
    marks.add_all([
        ("Wyze's e-mail address", wyze.email.expose()),
        ("Wyze's password", wyze.password.expose()),
        ("Wyze's password, hashed", &password_hash(wyze.password.expose())),
        ("Wyze's key id", wyze.key_id.expose()),
        ("Wyze's API key", wyze.api_key.expose()),
    ]);
    let vivint = &config.vivint[0];
    let optional = [&vivint.password, &vivint.totp_secret].map(|secret| secret.as_ref().unwrap().expose());
    marks.add_all([
        ("Vivint's user name", vivint.username.expose()),
        ("Vivint's password", optional[0]),
        ("Vivint's authenticator", optional[1]),
        ("Firebase's key", vivint.firebase_api_key.as_ref().unwrap().expose()),
    ]);
    let config::KvsLogin::Keys(keys) = &config.kvs[0].login else { panic!("the demo's AWS account has keys") };
    marks.add("AWS's secret key", keys.secret_access_key.expose());
    // Their values are made on the way, and are known by what stands before them.
    marks.add_all([
        ("a signed address", "X-Amz-Signature="),
        ("a signed address", "X-Amz-Credential="),
        ("a signed address", "X-Amz-Security-Token="),
        ("a signed request", "AWS4-HMAC-SHA256 "),
        ("an ICE password", "a=ice-pwd"),
        ("an ICE user name", "a=ice-ufrag"),
        ("a fingerprint", "a=fingerprint"),
        ("a relay's login", "\"credential\":"),
        ("a private key", "BEGIN PRIVATE KEY"),
        ("a token in a header", "Bearer ey"),
    ]);
    marks
}

/// Every text in the store is a secret but what is known to be none: what is new there is one.
fn stored(data: &Path, marks: &mut Marks) {
    const PUBLIC_ENTRIES: [&str; 4] = ["mqtt_", "kvs_channels_", "kvs_client_id_", "open_talks"];
    const PUBLIC: [&str; 22] = [
        "act",
        "csv",
        "sv",
        "n",
        "t",
        "name",
        "nickname",
        "un",
        "caip",
        "ip",
        "cda",
        "cdp",
        "cdps",
        "ceu",
        "ceus",
        "ciu",
        "cius",
        "firmware_ver",
        "product_model",
        "product_type",
        "vendor",
        "label",
    ];
    for (key, value) in entries(data) {
        if !PUBLIC_ENTRIES.iter().any(|public| key.starts_with(public)) {
            leaves(&value, &key, &mut |name, text| {
                if !PUBLIC.contains(&name) {
                    marks.add(&format!("`{name}` of `{key}` in the store"), text);
                }
            });
        }
    }
    let devices = entries(data).filter(|(key, _)| key.starts_with("wyze_devices_"));
    for device in devices.flat_map(|(_, listed)| listed["device_list"].as_array().cloned().unwrap_or_default()) {
        let mac = device["mac"].as_str().unwrap();
        marks.add("a camera's MAC address", mac.rsplit('_').next().unwrap());
        if let Some(enr) = device["enr"].as_str() {
            marks.add("a camera's key", Psk::derive(enr).as_bytes());
            marks.add("a camera's key", AuthKey::derive(enr, mac).as_bytes());
            let pairs: Vec<&str> = (0..6).map(|at| &mac[2 * at..2 * at + 2]).collect();
            marks.add("a camera's MAC address", pairs.join(":"));
        }
    }
}

fn entries(data: &Path) -> impl Iterator<Item = (String, Value)> + use<> {
    let state: Value = serde_json::from_slice(&std::fs::read(data.join("state.json")).unwrap()).unwrap();
    state["entries"].as_object().unwrap().clone().into_iter()
}

/// Each text, and the key under which it stands.
fn leaves(value: &Value, key: &str, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => found(key, text),
        Value::Array(all) => all.iter().for_each(|value| leaves(value, key, found)),
        Value::Object(all) => all.iter().for_each(|(key, value)| leaves(value, key, found)),
        _ => {}
    }
}

fn start(command: &[&str], file: &Path, data: &Path) -> Program {
    let places = ["--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
    Program::start_with(command.iter().chain(&places), |command| {
        command.env("DOORSTEP_LOG", "trace");
    })
}

/// What one command says and logs.
async fn output(command: &[&str], file: &Path, data: &Path) -> String {
    let ended = start(command, file, data).ends().await;
    format!("{}\n{}", ended.said, ended.log)
}

/// Writes down what the service tells its pages.
async fn listen(address: SocketAddr, token: Option<&str>, to: &Arc<Mutex<String>>) -> AbortOnDropHandle<()> {
    let mut request = format!("ws://{address}/api/events").into_client_request().unwrap();
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let (mut events, _) = connect_async(request).await.unwrap();
    let to = to.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(Ok(message)) = events.next().await {
            to.lock().unwrap().push_str(&format!("{message}\n"));
        }
    }))
}

/// Everything that is published, in a file as long as it gets.
struct Messages {
    file: PathBuf,
    child: Child,
}

/// What the test itself publishes is no answer to anybody.
const COMMANDS: [&str; 3] = ["/set", "/say", "/button"];

impl Messages {
    fn of(port: u16, folder: &Path) -> Self {
        let file = folder.join("messages");
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", "#", "-F", "%t|%p"]);
        let child = command.stdout(File::create(&file).unwrap()).stderr(Stdio::null()).spawn().unwrap();
        Self { file, child }
    }

    /// Once all that was published before is there.
    async fn all(&mut self, broker: &Mosquitto) -> String {
        const FENCE: &str = "test/fence";
        let read = || {
            let mut bytes = Vec::new();
            File::open(&self.file).unwrap().read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        broker.publish(FENCE, "up", &["-q", "1"]);
        until("every message", || read().contains(FENCE)).await;
        let is_command = |line: &&str| {
            line.split('|').next().is_some_and(|topic| COMMANDS.iter().any(|command| topic.ends_with(command)))
        };
        read().lines().filter(|line| !is_command(line)).map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Longer than anything takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
