//! No secret leaves Doorstep: not into a log at trace level, not into an answer, not to the broker.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use doorstep::model::DeviceId;
use doorstep::proto::tutk::keys::{AuthKey, Psk};
use doorstep::proto::wyze::password_hash;
use doorstep::secret::Token;
use doorstep::sim::gwell_camera::{self, RunningCamera};
use doorstep::sim::gwell_server::{self, RunningServer};
use doorstep::sim::kvs_camera;
use doorstep::sim::vivint;
use doorstep::sim::wyze_cloud::{
    self, CloudCommand, Device, Fault, GwellUser, IceServer, RunningCloud, SecondFactor, Stream,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::installation;
use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::program::Program;
use crate::support::service::{PATIENCE, Page};
use crate::support::viewer::{Manners, Viewer};
use crate::support::vivint_hand::quick;

const USER: &str = "doorkeeper";
const PASSWORD: &str = "Ux7pQz31kVbN";
const TOKEN: &str = "4f6b0c7d9e2a815346fb7cd02e918a5d";
/// Home Assistant's, for spoken text.
const SPEECH_TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.kQ4vZs7mXw2p";
/// In whatever is said and in every part of an address but its host.
const SAID: &str = "k7wq2mzt8xrn";

/// A virtual camera as a process of its own, which announces its credentials on standard output.
struct Sim {
    program: Program,
    told: Value,
}

impl Sim {
    async fn start(options: &[&str]) -> Self {
        let arguments = ["sim", "tutk-camera"].iter().chain(options);
        let mut program = Program::start_with(arguments, |command| {
            command.env("DOORSTEP_LOG", "trace");
        });
        let told = program.says("its credentials", |line| line.contains("\"enr\"")).await;
        Self { program, told: serde_json::from_str(&told).unwrap() }
    }

    fn field(&self, name: &str) -> &str {
        self.told[name].as_str().unwrap()
    }

    fn id(&self) -> String {
        format!("wyze_{}", self.field("mac").to_ascii_lowercase())
    }

    async fn tells(&mut self, event: &str) {
        let wanted = format!("\"event\":\"{event}\"");
        self.program.says(event, |line| line.contains(&wanted)).await;
    }

    fn yaml(&self) -> String {
        let [model, mac, uid, enr, listen] = ["model", "mac", "uid", "enr", "listen"].map(|name| self.field(name));
        format!("{{name: Door, model: {model}, mac: {mac}, uid: {uid}, enr: {enr}, address: \"{listen}\"}}")
    }

    /// Everything that only its owner should know, in every spelling that a slip could give it.
    fn secrets(&self) -> Vec<(&'static str, String)> {
        let [mac, uid, enr] = ["mac", "uid", "enr"].map(|name| self.field(name));
        let pairs: Vec<&str> = (0..6).map(|at| &mac[2 * at..2 * at + 2]).collect();
        let (psk, auth_key) = (Psk::derive(enr), AuthKey::derive(enr, mac));
        let mut secrets = vec![
            ("MAC", mac.to_owned()),
            ("MAC with colons", pairs.join(":")),
            ("AuthKey", String::from_utf8(auth_key.as_bytes().to_vec()).unwrap()),
        ];
        for (name, bytes) in [("UID", uid.as_bytes()), ("ENR", enr.as_bytes()), ("PSK", psk.as_bytes())] {
            secrets.push((name, String::from_utf8_lossy(bytes).into_owned()));
            secrets.push((name, bytes.iter().map(|byte| format!("{byte:02x}")).collect()));
            secrets.push((name, STANDARD.encode(bytes)));
            secrets.push((name, format!("{bytes:?}").trim_matches(['[', ']']).to_owned()));
        }
        secrets
    }
}

/// What went out, by where.
struct Outside(Vec<(&'static str, String)>);

impl Outside {
    fn assert_without(&self, name: &str, secret: &str) {
        for (place, text) in &self.0 {
            let (text, secret) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
            if let Some(at) = text.find(&secret) {
                let from = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
                let line: String = text[from..].lines().next().unwrap_or_default().chars().take(600).collect();
                panic!("{place} shows the {name}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn no_secret_is_in_any_log_answer_or_message() {
    let broker = Mosquitto::start().await;
    let mut messages = broker.listen("#").await;
    let old = Sim::start(&["--protocol", "old"]).await;
    let new = Sim::start(&["--protocol", "new", "--audio", "pcm"]).await;
    let refusing = Sim::start(&["--protocol", "both", "--fault", "login-refused"]).await;
    let mut cameras = [old, new, refusing];

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorstep.yaml");
    std::fs::write(&file, configuration(broker.port, &cameras)).unwrap();
    let data = folder.path().join("data");
    let mut program = start(&["run"], &file, &data, "trace");
    let address = program.page().await;
    let page = Page::locked(address, TOKEN);
    let mut answers = String::new();
    let mut note = |what: std::fmt::Arguments| writeln!(answers, "{what}").unwrap();

    let mut request = format!("ws://{address}/api/events").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let (mut events, _) = connect_async(request).await.unwrap();
    for camera in &mut cameras[..2] {
        let id = camera.id();
        page.is(&id, "ready").await;
        let url = format!("http://{SAID}:{SAID}@127.0.0.1:1/{SAID}?{SAID}#{SAID}");
        for saying in [json!({ "text": SAID }), json!({ "url": url })] {
            let reply = page.post(&format!("/api/doorbells/{id}/say"), &saying.to_string()).await;
            assert_eq!(reply.status, 502, "nobody is there: {reply:?}");
            note(format_args!("{reply:?}"));
        }
        let viewer = page.watch(&id, Manners { speaks: true, ..Manners::default() }).await;
        broker.publish(&format!("home/{id}/button"), "ON", &[]);
        for event in ["talk_started", "talk_audio"] {
            camera.tells(event).await;
        }
        note(format_args!("{:?}", page.doorbell(&id).await));
        viewer.leave();
        camera.tells("talk_ended").await;
        for payload in ["ON", "OFF", "nonsense"] {
            broker.publish(&format!("doorstep/{id}/talk/set"), payload, &[]);
        }
    }
    let refused = cameras[2].id();
    page.is(&refused, "needs_attention").await;
    note(format_args!("{:?}", page.offer(&refused, &Viewer::new(Manners::default()).await.offer).await));
    for path in ["/", "/api/doorbells", "/metrics", "/health", "/api/doorbells/nobody", "/app.js"] {
        note(format_args!("{:?}", page.get(path).await));
        note(format_args!("{:?}", Page::at(address).get(path).await));
        note(format_args!("{:?}", Page::locked(address, "a wrong token").get(path).await));
    }

    let ticket = page.post(&format!("/api/doorbells/{refused}/ticket"), "").await.json()["ticket"].clone();
    let ticket = ticket.as_str().expect("a ticket").to_owned();
    for path in [format!("/whep/{refused}?ticket={ticket}"), format!("/api/events?ticket={ticket}&key={ticket}")] {
        for _ in 0..2 {
            note(format_args!("{:?}", Page::at(address).post(&path, "").await));
        }
    }

    program.terminate();
    while let Some(Ok(message)) = events.next().await {
        note(format_args!("{message:?}"));
    }
    let ended = program.ends().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains("TRACE"), "nothing was logged at trace level");
    let told: String = messages.until_fence().await.iter().map(|heard| format!("{heard}\n")).collect();
    assert!(told.contains("/ring|") && told.contains("/result|"), "{told}");
    let mut secrets = vec![
        ("MQTT password", PASSWORD.to_owned()),
        ("MQTT password", STANDARD.encode(PASSWORD)),
        ("HTTP token", TOKEN.to_owned()),
        ("HTTP token", URL_SAFE_NO_PAD.encode(TOKEN)),
        ("ticket", ticket),
        ("token for speech", SPEECH_TOKEN.to_owned()),
        ("saying", SAID.to_owned()),
        ("login of an address", STANDARD.encode(format!("{SAID}:{SAID}"))),
    ];
    let mut outside = vec![("the log", ended.log), ("standard output", ended.said), ("HTTP", answers), ("MQTT", told)];
    for mut camera in cameras {
        secrets.extend(camera.secrets());
        camera.program.type_line("quit").await;
        // By design a doorbell's id ends in its MAC address.
        let id = camera.id();
        let log = camera.program.ends().await.log;
        outside.push(("a virtual camera's log", log));
        outside.iter_mut().for_each(|(_, text)| *text = text.replace(&id, "wyze_*"));
    }
    let outside = Outside(outside);
    for (name, secret) in secrets {
        outside.assert_without(name, &secret);
    }
}

const UNLOCK_SECRET: &str = "q7Yw2LmZ8xTn4RbK6vHs3JdF9pGc5XaE";
const TURN_USER: &str = "1763712000:djE6YXJuOmF3czp";
const TURN_PASSWORD: &str = "Zt4uWq9rVb2nLk7y";

/// A virtual cloud with a doorbell that is called, one that is not there, and a lock.
struct Account {
    cloud: RunningCloud,
    called: Device,
    away: Device,
    lock: Device,
    /// Every signed address that was given out.
    urls: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

impl Account {
    async fn open() -> Self {
        let stop = CancellationToken::new();
        let camera = kvs_camera::start(kvs_camera::Settings::default(), stop.clone()).await.unwrap();
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = format!("turn:{}?transport=udp", relay.local_addr().unwrap());
        let urls = Arc::new(Mutex::new(Vec::new()));
        let given_out = urls.clone();
        let streams = move |_: &str| {
            // As long as it is here, it takes what it is sent and says nothing.
            let _relay = &relay;
            let signaling_url = camera.url_for("viewer").expose().to_owned();
            given_out.lock().unwrap().push(signaling_url.clone());
            let server =
                IceServer { url: server.clone(), username: TURN_USER.to_owned(), credential: TURN_PASSWORD.to_owned() };
            Some(Stream { signaling_url, ice_servers: vec![server] })
        };
        let generated = wyze_cloud::Settings::generate(15);
        let [called, away, lock, gateway] = ["GW_BE1", "HL_DB2", "YD.LO1", "YD.GW1"]
            .map(|model| generated.devices.iter().find(|device| device.model == model).unwrap().clone());
        let settings = wyze_cloud::Settings {
            second_factor: SecondFactor::totp(15),
            devices: vec![called.clone(), away.clone(), lock.clone(), gateway],
            lock_travel: Duration::ZERO,
            streams: Arc::new(streams),
            ..generated
        };
        let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
        Self { cloud, called, away, lock, urls, _stop: stop.drop_guard() }
    }

    fn totp(&self) -> &str {
        let SecondFactor::Totp(secret) = &self.cloud.settings.second_factor else { panic!("a code is asked for") };
        secret.expose()
    }

    fn configuration(&self, broker: u16) -> String {
        let wyze_cloud::Settings { email, password, key_id, api_key, .. } = &self.cloud.settings;
        let (email, password, key_id, api_key) = (email.expose(), password.expose(), key_id.expose(), api_key.expose());
        let (port, totp, url) = (free_port(), self.totp(), self.cloud.url());
        let (doorbell, lock) = (id(&self.called), id(&self.lock));
        format!(
            "mqtt: {{url: \"mqtt://{USER}:{PASSWORD}@127.0.0.1:{broker}\"}}\n\
             http: {{listen: \"127.0.0.1:0\", token: \"{TOKEN}\"}}\ngo2rtc: {{enabled: false}}\nmedia: {{port: {port}}}\n\
             wyze:\n  - {{email: {email}, password: \"{password}\", key_id: \"{key_id}\", api_key: \"{api_key}\", \
             totp_secret: \"{totp}\", poll_s: 1, \
             endpoints: {{auth: \"{url}\", api: \"{url}\", core: \"{url}\", lock: \"{url}\", \
             mars: \"{url}\", device_management: \"{url}\"}}}}\n\
             doorbells:\n  - {{id: {doorbell}, unlock: {lock}, unlock_secret: {UNLOCK_SECRET}}}\n"
        )
    }

    /// Everything of it that only its owner should know.
    fn secrets(&self) -> Vec<(&'static str, String)> {
        let wyze_cloud::Settings { email, password, key_id, api_key, .. } = &self.cloud.settings;
        let mut secrets = vec![
            ("e-mail address", email.expose().to_owned()),
            ("password", password.expose().to_owned()),
            ("password's hash", password_hash(password.expose())),
            ("key id", key_id.expose().to_owned()),
            ("API key", api_key.expose().to_owned()),
            ("authenticator's secret", self.totp().to_owned()),
            ("secret of the door", UNLOCK_SECRET.to_owned()),
            ("name at the relay", TURN_USER.to_owned()),
            ("password at the relay", TURN_PASSWORD.to_owned()),
            ("lock's id", self.lock.mac.clone()),
            ("lock's UUID", self.lock.mac.rsplit('.').next().unwrap().to_owned()),
            ("camera's MAC", self.called.mac.rsplit('_').next().unwrap().to_owned()),
            ("camera's MAC", self.away.mac.clone()),
            ("camera's UID", self.away.uid.clone()),
            ("camera's ENR", self.away.enr.expose().to_owned()),
        ];
        for url in self.urls.lock().unwrap().iter() {
            let (_, query) = url.split_once('?').unwrap();
            secrets.extend(query.split('&').filter_map(|parameter| {
                let (name, value) = parameter.split_once('=')?;
                ["X-Amz-Credential", "X-Amz-Security-Token", "X-Amz-Signature"]
                    .contains(&name)
                    .then(|| ("signed address", value.to_owned()))
            }));
        }
        secrets
    }
}

fn id(device: &Device) -> String {
    DeviceId::from_hardware("wyze", &device.mac).to_string()
}

/// What the service has stored of its login: tokens, and the name of this installation.
fn stored(data: &Path) -> Vec<(&'static str, String)> {
    let state: Value = serde_json::from_slice(&std::fs::read(data.join("state.json")).unwrap()).unwrap();
    let entries = state["entries"].as_object().unwrap();
    let account = entries.iter().find(|(key, _)| key.starts_with("wyze_account_")).unwrap().1;
    let texts = [&account["tokens"]["access"], &account["tokens"]["refresh"], &entries["wyze_phone_id"]];
    texts.map(|text| ("stored token", text.as_str().unwrap().to_owned())).into()
}

/// The program with this configuration and data folder.
fn start(command: &[&str], file: &Path, data: &Path, log: &str) -> Program {
    let places = ["--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
    Program::start_with(command.iter().chain(&places), |command| {
        command.env("DOORSTEP_LOG", log);
    })
}

/// What one command of the program says and logs.
async fn output(command: &[&str], file: &Path, data: &Path) -> String {
    let ended = start(command, file, data, "trace").ends().await;
    format!("{}\n{}", ended.said, ended.log)
}

#[tokio::test]
async fn no_secret_of_an_account_a_lock_or_a_call_is_in_any_log_answer_or_message() {
    let broker = Mosquitto::start().await;
    let mut messages = broker.listen("#").await;
    let account = Account::open().await;
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("doorstep.yaml"), folder.path().join("data"));
    std::fs::write(&file, account.configuration(broker.port)).unwrap();
    let mut program = start(&["run"], &file, &data, "trace,tungstenite::protocol=trace");
    let page = Page::locked(program.page().await, TOKEN);
    let mut answers = String::new();
    let mut note = |what: &dyn std::fmt::Debug| writeln!(answers, "{what:?}").unwrap();

    let doorbell = id(&account.called);
    until("the doorbell is there", async || page.get(&format!("/api/doorbells/{doorbell}")).await.status == 200).await;
    let mut secrets = stored(&data);
    let viewer = page.watch(&doorbell, Manners { speaks: true, ..Manners::default() }).await;
    note(&page.is(&doorbell, "streaming").await);
    // Tells a secret, since that is what it is for: in its answer, and nowhere else.
    assert!(page.get(&format!("/api/wyze/{doorbell}/kvs")).await.body.contains(TURN_PASSWORD));
    page.until(&doorbell, "the lock says how it stands", |doorbell| doorbell["door"]["lock"] == "LOCKED").await;
    let unlocked = page.post(&format!("/api/doorbells/{doorbell}/unlock"), "{}").await;
    assert!(unlocked.body.contains(r#""ok":true"#), "{unlocked:?}");
    note(&unlocked);
    for payload in ["LOCK", r#"{"cmd":"unlock","id":"a","ts":1,"mac":"b"}"#, "nonsense"] {
        broker.publish(&format!("doorstep/{doorbell}/lock/set"), payload, &[]);
    }
    for fault in [Fault::Expired, Fault::Html, Fault::Reset, Fault::RefreshRevoked] {
        account.cloud.obey(CloudCommand::Trouble(Some(fault.into()))).unwrap();
        note(&page.post("/api/accounts/rediscover", "").await);
        note(&page.get(&format!("/api/wyze/{doorbell}/kvs")).await.status);
        note(&page.post(&format!("/api/doorbells/{doorbell}/lock"), "{}").await);
        secrets.extend(stored(&data));
    }
    account.cloud.obey(CloudCommand::Trouble(None)).unwrap();
    for path in ["/api/doorbells", "/api/accounts", "/metrics", "/health"] {
        note(&page.get(path).await);
    }
    viewer.leave();
    program.terminate();
    let ended = program.ends().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains("TRACE") && ended.log.contains("the lock has moved"), "{}", ended.log);
    secrets.extend(stored(&data));
    let commands = [&["devices"][..], &["devices", "--json"], &["check"]];
    let mut outside = vec![("the log", ended.log), ("standard output", ended.said), ("HTTP", answers)];
    for command in commands {
        outside.push(("a command", output(command, &file, &data).await));
    }
    outside.push(("MQTT", messages.until_fence().await.iter().map(|heard| format!("{heard}\n")).collect()));
    outside.push(("the audit log", std::fs::read_to_string(data.join("audit.jsonl")).unwrap()));
    // By design an id holds what the cloud calls the device.
    for id in [&account.called, &account.away, &account.lock].map(id) {
        outside.iter_mut().for_each(|(_, text)| *text = text.replace(&id, "wyze_*"));
    }
    secrets.extend(account.secrets());
    assert!(secrets.iter().any(|(name, _)| *name == "signed address"), "nobody was called");
    let outside = Outside(outside);
    for (name, secret) in secrets {
        outside.assert_without(name, &secret);
    }
}

#[tokio::test]
async fn no_secret_of_an_account_that_is_added_on_the_page_is_in_any_log_answer_or_message() {
    const MARKERS: [&str; 5] =
        ["Wr0ngM4rkerPass", "SecretKeyM4rker0123", "SessionM4rker4567", "PrivateM4rker89ab", "CertM4rkerCdef"];
    let (broker, stop) = (Mosquitto::start().await, CancellationToken::new());
    let mut messages = broker.listen("#").await;
    let wyze = wyze_cloud::start(wyze_cloud::Settings::generate(16), stop.clone()).await.unwrap();
    let settings = vivint::Settings { second_factor: vivint::SecondFactor::None, ..quick(16) };
    let vivint = vivint::start(settings, stop.clone()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("doorstep.yaml"), folder.path().join("data"));
    let configuration = format!(
        "mqtt: {{url: \"mqtt://127.0.0.1:{}\"}}\nhttp: {{listen: \"127.0.0.1:0\", token: \"{TOKEN}\"}}\ngo2rtc: {{enabled: false}}\n\
         media: {{port: {}}}\n",
        broker.port,
        free_port()
    );
    std::fs::write(&file, configuration).unwrap();
    let mut program = start(&["run"], &file, &data, "trace");
    let page = Page::locked(program.page().await, TOKEN);
    let mut answers = String::new();
    let mut note = |what: &dyn std::fmt::Debug| writeln!(answers, "{what:?}").unwrap();
    let [wrong, secret_key, session, private, certificate] = MARKERS;
    let pem = |text: &str| format!("-----BEGIN X-----\n{text}\n-----END X-----");
    let nowhere = json!({"kinesisvideo": "http://127.0.0.1:1", "iot": "http://127.0.0.1:1"});
    for body in [
        installation::wyze(&wyze, Some(wrong)),
        installation::vivint(&vivint, None),
        json!({"vendor": "kvs", "region": "eu-central-1", "channels": ["a"], "access_key_id": "AKIAIOSFODNN7EXAMPLE",
               "secret_access_key": secret_key, "session_token": session, "endpoints": nowhere}),
        json!({"vendor": "kvs", "region": "eu-central-1", "channels": ["b"], "thing": "t", "role_alias": "r",
               "credentials_endpoint": "nowhere.invalid", "certificate": pem(certificate), "private_key": pem(private),
               "endpoints": nowhere}),
        // With a slip each.
        json!({"vendor": "wyze", "email": wyze.settings.email.expose(), "password": [wrong], "api_key": {"is": session}}),
        json!({"vendor": "kvs", "region": secret_key, "secret_access_key": format!("{secret_key} "), "totp": session}),
    ] {
        note(&page.post("/api/accounts", &body.to_string()).await);
    }
    note(&page.account_is(100, "needs_attention").await);
    note(&page.account_is(101, "ready").await);
    let right = json!({"password": wyze.settings.password.expose()}).to_string();
    note(&page.send("PUT", "/api/accounts/100", "application/json", &right).await);
    note(&page.account_is(100, "ready").await);
    let mut secrets = stored(&data);
    for path in ["/", "/api/doorbells", "/api/accounts", "/metrics", "/health"] {
        note(&page.get(path).await);
    }
    let outputs = [output(&["devices"], &file, &data).await, output(&["check", "--offline"], &file, &data).await];
    for n in 100..=103 {
        note(&page.send("DELETE", &format!("/api/accounts/{n}"), "application/json", "").await);
    }
    program.terminate();
    let ended = program.ends().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains("an account was corrected"), "{}", ended.log);
    let kept = std::fs::read_to_string(data.join("state.json")).unwrap();
    let told = messages.until_fence().await.iter().map(|heard| format!("{heard}\n")).collect();
    let outside = Outside(vec![
        ("the log", ended.log),
        ("standard output", ended.said),
        ("HTTP", answers),
        ("MQTT", told),
        ("a command", outputs.concat()),
        ("the store, after all are gone,", kept),
    ]);
    let (wyze, vivint) = (&wyze.settings, &vivint.settings);
    secrets.retain(|(_, secret)| !outside.0[5].1.contains(&format!("wyze_phone_id\": \"{secret}")));
    secrets.extend(MARKERS.map(|marker| ("marker", marker.to_owned())));
    secrets.extend([
        ("wrong password's hash", password_hash(wrong)),
        ("e-mail address", wyze.email.expose().to_owned()),
        ("password", wyze.password.expose().to_owned()),
        ("password's hash", password_hash(wyze.password.expose())),
        ("key id", wyze.key_id.expose().to_owned()),
        ("API key", wyze.api_key.expose().to_owned()),
        ("user name", vivint.username.expose().to_owned()),
        ("Vivint password", vivint.password.expose().to_owned()),
    ]);
    for (name, secret) in secrets {
        outside.assert_without(name, &secret);
    }
    stop.cancel();
}

/// A GWell doorbell, its P2P server, and the cloud that gives the token. Its secrets as the program could spell them.
struct GwellAccount {
    cloud: RunningCloud,
    doorbell: Device,
    server: RunningServer,
    secrets: Vec<(&'static str, String)>,
    _camera: RunningCamera,
    _stop: DropGuard,
}

impl GwellAccount {
    async fn open() -> Self {
        let stop = CancellationToken::new();
        let doorbell = Device::generate("GW_GC1", "Gate", 15);
        let mut settings = gwell_server::Settings::generate(15);
        settings.cameras[0].name.clone_from(&doorbell.mac);
        let camera = settings.cameras[0].clone();
        let terminal = settings.terminals[0].clone();
        let server = gwell_server::start(settings, stop.clone()).await.unwrap();
        let settings = gwell_camera::Settings::new(server.address, camera.name.clone(), camera.token.clone());
        let camera_runs = gwell_camera::start(settings, stop.clone()).await.unwrap();
        let (access_id, access_token) = terminal.to_text();
        let mut secrets = vec![
            ("access id", access_id.clone()),
            ("access id", access_id.parse::<u64>().unwrap().cast_signed().to_string()),
            ("camera's TID", camera.tid().to_string()),
            ("access token", access_token.clone()),
            ("camera's name", doorbell.mac.rsplit('_').next().unwrap().to_owned()),
        ];
        // Its halves: what it shows to the server, and the key R at its end.
        let bytes: Vec<u8> =
            (0..64).map(|at| u8::from_str_radix(&access_token[2 * at..2 * at + 2], 16).unwrap()).collect();
        for part in [&bytes[..16], &bytes[16..32], &bytes[32..48], &bytes[48..]] {
            secrets.push(("part of the token", part.iter().map(|byte| format!("{byte:02x}")).collect()));
            secrets.push(("part of the token", format!("{part:?}").trim_matches(['[', ']']).to_owned()));
            secrets.push(("part of the token", STANDARD.encode(part)));
        }
        let user = move |_: &str| {
            let access_token = Token::new(access_token.clone());
            Some(GwellUser { access_id: access_id.clone(), access_token, expire: None })
        };
        let settings = wyze_cloud::Settings {
            devices: vec![doorbell.clone()],
            gwell: Arc::new(user),
            ..wyze_cloud::Settings::generate(15)
        };
        let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
        Self { cloud, doorbell, server, secrets, _camera: camera_runs, _stop: stop.drop_guard() }
    }

    fn configuration(&self, broker: u16) -> String {
        let wyze_cloud::Settings { email, password, key_id, api_key, .. } = &self.cloud.settings;
        let (email, password, key_id, api_key) = (email.expose(), password.expose(), key_id.expose(), api_key.expose());
        let (port, url, server) = (free_port(), self.cloud.url(), self.server.address);
        format!(
            "mqtt: {{url: \"mqtt://{USER}:{PASSWORD}@127.0.0.1:{broker}\"}}\n\
             http: {{listen: \"127.0.0.1:0\", token: \"{TOKEN}\"}}\ngo2rtc: {{enabled: false}}\nmedia: {{port: {port}}}\n\
             wyze:\n  - {{email: {email}, password: \"{password}\", key_id: \"{key_id}\", api_key: \"{api_key}\", \
             gwell: {{servers: [\"{server}\"], stagger_s: 0}}, \
             endpoints: {{auth: \"{url}\", api: \"{url}\", core: \"{url}\", lock: \"{url}\", \
             mars: \"{url}\", device_management: \"{url}\"}}}}\n\
             doorbells:\n  - {{id: {}, transport: gwell}}\n",
            id(&self.doorbell)
        )
    }
}

#[tokio::test]
async fn no_secret_of_a_gwell_account_is_in_any_log_answer_or_message() {
    let broker = Mosquitto::start().await;
    let mut messages = broker.listen("#").await;
    let account = GwellAccount::open().await;
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("doorstep.yaml"), folder.path().join("data"));
    std::fs::write(&file, account.configuration(broker.port)).unwrap();
    let mut program = start(&["run"], &file, &data, "trace");
    let page = Page::locked(program.page().await, TOKEN);
    let mut answers = String::new();
    let mut note = |what: &dyn std::fmt::Debug| writeln!(answers, "{what:?}").unwrap();

    let doorbell = id(&account.doorbell);
    until("the doorbell is there", async || page.get(&format!("/api/doorbells/{doorbell}")).await.status == 200).await;
    let viewer = page.watch(&doorbell, Manners { speaks: true, ..Manners::default() }).await;
    note(&page.is(&doorbell, "streaming").await);
    broker.publish(&format!("doorstep/{doorbell}/talk/set"), "ON", &[]);
    for path in ["/api/doorbells", "/api/accounts", "/metrics", "/health"] {
        note(&page.get(path).await);
    }
    viewer.leave();
    program.terminate();
    let ended = program.ends().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains("TRACE") && ended.log.contains("the camera accepts the stream"), "{}", ended.log);
    let mut outside = vec![("the log", ended.log), ("standard output", ended.said), ("HTTP", answers)];
    for command in [&["devices"][..], &["devices", "--json"], &["check"]] {
        outside.push(("a command", output(command, &file, &data).await));
    }
    outside.push(("MQTT", messages.until_fence().await.iter().map(|heard| format!("{heard}\n")).collect()));
    // By design an id holds what the cloud calls the device.
    outside.iter_mut().for_each(|(_, text)| *text = text.replace(&doorbell, "wyze_*"));
    let outside = Outside(outside);
    for (name, secret) in &account.secrets {
        outside.assert_without(name, secret);
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "it never came to this: {what}");
}

fn configuration(broker: u16, cameras: &[Sim]) -> String {
    let mut text = format!(
        "mqtt: {{url: \"mqtt://{USER}:{PASSWORD}@127.0.0.1:{broker}\"}}\n\
         http: {{listen: \"127.0.0.1:0\", token: \"{TOKEN}\"}}\ngo2rtc: {{enabled: false}}\nmedia: {{port: {}}}\n\
         say: {{url: \"http://127.0.0.1:1\", token: {SPEECH_TOKEN}, allow: [127.0.0.1]}}\nwyze:\n  - cameras:\n",
        free_port()
    );
    for camera in cameras {
        writeln!(text, "      - {}", camera.yaml()).unwrap();
    }
    text += "doorbells:\n";
    for camera in cameras {
        writeln!(text, "  - {{id: {0}, ring_topic: home/{0}/button}}", camera.id()).unwrap();
    }
    text
}
