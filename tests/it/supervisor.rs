//! As an app of Home Assistant: what the Supervisor is asked, what follows from its answers, and that nothing else waits
//! for them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use doorstep::app::{self, Home, Running, Settings};
use doorstep::config::{self, Place};
use doorstep::secret::Token;
use doorstep::store::Store;
use doorstep::supervisor::{Supervisor, SupervisorError};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tracing::Level;

use crate::support::log::Log;
use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::program::Program;
use crate::support::service::{Camera, Page, configuration};
use crate::support::supervisor::{Says, Stub, TOKEN, network, own};
use crate::support::viewer::{Manners, Viewer};

const BROKER: &str = "/services/mqtt";
const OWN: &str = "/addons/self/info";
const NETWORK: &str = "/network/info";
const DISCOVERY: &str = "/discovery";

/// The service as an app: its Supervisor is the stub, and ingress comes from loopback.
struct App {
    running: Running,
    page: Page,
    _data: TempDir,
}

impl App {
    async fn start(stub: &Stub, options: &str) -> Self {
        Self::with(stub, options, |_| {}).await
    }

    async fn with(stub: &Stub, options: &str, change: impl FnOnce(&mut Home)) -> Self {
        let config = config::parse_at(options, "/data/options.json", Place::App).unwrap();
        let data = tempfile::tempdir().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut home = Home {
            ingress_peer: any.ip(),
            ingress_listen: any,
            direct_listen: any,
            go2rtc: None,
            ..Home::new(stub.client())
        };
        change(&mut home);
        let settings = Settings { config, data: data.path().join("data"), demo: false, home: Some(home) };
        let running = app::start(settings).await.unwrap();
        Self { page: Page::at(running.page), running, _data: data }
    }

    /// Waits until the broker's word in `/health` is this.
    async fn mqtt_is(&self, word: &str) {
        let waiting = async {
            while self.page.get("/health").await.json()["mqtt"] != word {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let became = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        assert!(became.is_ok(), "the broker never was {word}: {:?}", self.page.get("/health").await);
    }
}

/// Options without doorbells, on a free port.
fn options() -> String {
    format!(r#"{{"media": {{"port": {}}}}}"#, free_port())
}

/// With a camera, and an address of the owner's own for viewers.
fn with_camera(camera: &Camera, port: u16, address: &str) -> String {
    let options = configuration(None, "127.0.0.1:0", port, &[camera]);
    options.replace(&format!("port: {port}"), &format!("port: {port}, addresses: [{address}]"))
}

#[tokio::test]
async fn the_brokers_login_is_fetched_whatever_its_port_is_written_as() {
    let broker = Mosquitto::start_knowing("addons", "p@ss/w#rd-canary").await;
    for port in [json!(broker.port), json!(broker.port.to_string())] {
        let (log, _logging) = Log::capture(Level::TRACE);
        let stub = Stub::start().await;
        stub.names_broker(port, Some(("addons", "p@ss/w#rd-canary")));
        let app = App::start(&stub, &options()).await;
        app.mqtt_is("connected").await;
        assert_eq!(broker.retained("doorstep/status").await[0].payload, "online");
        assert!(broker.log().contains("u'addons'"), "{}", broker.log());
        assert_eq!((stub.calls(BROKER).len(), stub.strangers()), (1, 0));
        stub.asked(DISCOVERY, 1).await;
        app.running.stop().await;
        assert_eq!(broker.retained("doorstep/status").await[0].payload, "offline");
        let announced = stub.calls(DISCOVERY)[0].body["config"]["token"].as_str().unwrap().to_owned();
        log.holds_none_of(&[TOKEN, "p@ss/w#rd-canary", &announced]);
    }
}

#[tokio::test]
async fn a_broker_that_starts_later_is_waited_for() {
    let (log, _logging) = Log::capture(Level::TRACE);
    let broker = Mosquitto::start().await;
    let stub = Stub::start().await;
    let app = App::start(&stub, &options()).await;
    app.mqtt_is("waiting").await;
    assert_eq!(app.page.get("/health").await.json()["status"], "degraded");
    stub.asked(BROKER, 2).await;
    stub.names_broker(json!(broker.port), None);
    app.mqtt_is("connected").await;
    assert_eq!(log.count("WARN", "Home Assistant has no MQTT broker yet. Install and start one"), 1, "{}", log.text());
    assert_eq!(log.count("INFO", "the MQTT broker is known now"), 1);
    app.running.stop().await;
}

#[tokio::test]
async fn a_supervisor_that_is_down_at_boot_keeps_nothing_else_from_working() {
    let broker = Mosquitto::start().await;
    let camera = Camera::start(71, |_| {}).await;
    let mut stub = Stub::down().await;
    stub.names_broker(json!(broker.port), None);
    let app = App::start(&stub, &with_camera(&camera, free_port(), "127.0.0.1")).await;
    assert_eq!(app.page.get("/").await.status, 200);
    app.page.is(&camera.id(), "ready").await;
    let mut watching = app.page.watch(&camera.id(), Manners::default()).await;
    watching.sees("a picture", |seen| !seen.pictures().is_empty()).await;
    app.mqtt_is("waiting").await;
    stub.come_up().await;
    app.mqtt_is("connected").await;
    stub.asked(DISCOVERY, 1).await;
    let bridge = broker.retained("homeassistant/device/doorstep_bridge/config").await;
    assert_eq!(bridge[0].json()["device"]["configuration_url"], "homeassistant://hassio/ingress/1a2b3c4d_doorstep");
    watching.leave();
    app.running.stop().await;
}

#[tokio::test]
async fn a_broker_whose_password_has_changed_is_asked_for_again() {
    let mut broker = Mosquitto::start_knowing("addons", "old-canary").await;
    let stub = Stub::start().await;
    stub.names_broker(json!(broker.port), Some(("addons", "old-canary")));
    let app = App::start(&stub, &options()).await;
    app.mqtt_is("connected").await;
    stub.names_broker(json!(broker.port), Some(("addons", "new-canary")));
    broker.kill();
    app.mqtt_is("disconnected").await;
    broker.change_user("addons", "new-canary");
    broker.start_again().await;
    app.mqtt_is("connected").await;
    assert_eq!(stub.calls(BROKER).len(), 2, "asked in a storm");
    assert_eq!(broker.retained("doorstep/status").await[0].payload, "online");
    app.running.stop().await;
}

#[tokio::test]
async fn a_broker_of_the_owners_own_is_preferred() {
    let broker = Mosquitto::start().await;
    let stub = Stub::start().await;
    let options = format!("{{mqtt: {{url: \"mqtt://127.0.0.1:{}\"}}, media: {{port: {}}}}}", broker.port, free_port());
    let app = App::start(&stub, &options).await;
    app.mqtt_is("connected").await;
    stub.asked(DISCOVERY, 1).await;
    assert!(stub.calls(BROKER).is_empty());
    app.running.stop().await;
}

#[tokio::test]
async fn what_is_missing_in_the_apps_configuration_is_named() {
    let (log, _logging) = Log::capture(Level::TRACE);
    let stub = Stub::start().await;
    for path in [BROKER, NETWORK, DISCOVERY] {
        stub.says(path, Says::Error(403, "Forbidden"));
    }
    let app = App::start(&stub, &options()).await;
    stub.asked(BROKER, 3).await;
    for needs in ["services: [\"mqtt:want\"]", "hassio_api: true", "discovery: [\"doorstep\"]"] {
        assert_eq!(log.count("", &format!("lacks `{needs}`")), 1, "{needs}: {}", log.text());
    }
    assert_eq!((stub.calls(NETWORK).len(), stub.calls(DISCOVERY).len()), (1, 1), "what cannot help is tried again");
    app.running.stop().await;
}

#[tokio::test]
async fn every_answer_that_is_none_is_told_in_a_sentence() {
    let stub = Stub::start().await;
    let ask = async |says| {
        stub.says(OWN, says);
        stub.client().own().await.unwrap_err().to_string()
    };
    let html = |status| Says::Raw(status, "text/html", "<html>Bad Gateway</html>".to_owned());
    let json = |text: &str| Says::Raw(200, "application/json", text.to_owned());
    let asked = "Home Assistant's Supervisor was asked which app this is, and its answer cannot be used:";
    let could_not = "Home Assistant's Supervisor could not be asked which app this is:";
    let at = stub.address;
    for (says, sentence) in [
        (html(502), "Home Assistant's Supervisor answered 502 when it was asked which app this is.".to_owned()),
        (html(200), format!("{could_not} `{at}` sent a web page where data was expected.")),
        (json("{\"result\":"), format!("{could_not} `{at}` sent something that cannot be read.")),
        (json(&"[".repeat(1_000)), format!("{could_not} `{at}` sent something nested more than 32 deep.")),
        (json(&"[".repeat(5 << 20)), format!("{could_not} `{at}` sent more than 4 MiB.")),
        (json("[]"), format!("{asked} it does not say that all is well.")),
        (json("{\"result\":\"error\",\"message\":\"canary\"}"), format!("{asked} it does not say that all is well.")),
        (json("{\"result\":\"ok\",\"data\":[]}"), format!("{asked} it holds no data.")),
        (json("{\"result\":\"ok\",\"data\":{\"slug\":7}}"), format!("{asked} it names no slug.")),
    ] {
        assert_eq!(ask(says).await, sentence);
    }
    let stranger = Supervisor::new(stub.url().parse().unwrap(), Token::new("another"));
    assert_eq!(stranger.own().await, Err(SupervisorError::UnknownToken));
    let nobody = Stub::down().await.client().own().await.unwrap_err().to_string();
    assert!(nobody.starts_with(could_not) && nobody.contains("refused"), "{nobody}");
}

#[tokio::test]
async fn ingress_is_for_the_supervisor_alone() {
    let stub = Stub::start().await;
    let app = App::with(&stub, &options(), |home| home.ingress_peer = "172.30.32.2".parse().unwrap()).await;
    let mut stranger = TcpStream::connect(app.running.page).await.unwrap();
    // It has said nothing yet.
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), stranger.read_to_end(&mut answer)).await;
    assert!(closed.is_ok() && answer.is_empty(), "{closed:?} {answer:?}");
    app.running.stop().await;
}

#[tokio::test]
async fn the_integration_is_announced_with_a_token_that_opens_the_direct_listener() {
    let stub = Stub::start().await;
    stub.says(DISCOVERY, Says::Error(502, "not yet"));
    let app = App::start(&stub, &options()).await;
    stub.asked(DISCOVERY, 1).await;
    stub.says(DISCOVERY, Says::Data(json!({"uuid": "0f1e"})));
    stub.asked(DISCOVERY, 2).await;
    let call = stub.calls(DISCOVERY).remove(1);
    let direct = app.running.direct;
    let config = &call.body["config"];
    assert_eq!((call.method.as_str(), &call.body["service"]), ("POST", &json!("doorstep")));
    assert_eq!((&config["host"], &config["port"]), (&json!("1a2b3c4d-doorstep"), &json!(direct.port())));
    let token = config["token"].as_str().unwrap();
    assert!(token.len() >= 32 && token != TOKEN);
    assert_eq!(Page::at(direct).get("/api/doorbells").await.status, 401);
    assert_eq!(
        Page::locked(direct, "a-token-that-somebody-made-up-0123456789").get("/api/doorbells").await.status,
        401
    );
    assert_eq!(Page::locked(direct, token).get("/api/doorbells").await.status, 200);
    assert_eq!(app.page.get("/api/doorbells").await.status, 200, "ingress asks for none");
    app.running.stop().await;
}

#[tokio::test]
async fn viewers_are_sent_to_the_host_and_never_to_the_container() {
    let camera = Camera::start(72, |_| {}).await;
    let port = free_port();
    let stub = Stub::start().await;
    let mut published = own();
    published["network"] = json!({format!("{port}/udp"): 18_555, format!("{port}/tcp"): 18_555});
    stub.says(OWN, Says::Data(published));
    stub.says(NETWORK, Says::Data(network(&["192.168.77.10/24", "10.7.0.2/16"])));
    let app = App::start(&stub, &with_camera(&camera, port, "203.0.113.9")).await;
    app.page.is(&camera.id(), "ready").await;
    stub.asked(NETWORK, 1).await;
    let mut told = BTreeSet::new();
    // Its answer is on its way.
    for _ in 0..50 {
        told = candidates(&app.page.offer(&camera.id(), &Viewer::new(Manners::default()).await.offer).await.body);
        if told.len() > 1 {
            break;
        }
    }
    let expected = ["10.7.0.2:18555", "192.168.77.10:18555", "203.0.113.9:18555"].map(|at| at.parse().unwrap());
    assert_eq!(told, BTreeSet::from(expected));
    app.running.stop().await;
}

/// Where an answer says that we are.
fn candidates(sdp: &str) -> BTreeSet<SocketAddr> {
    let lines = sdp.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    let words = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    words.map(|words| SocketAddr::new(words[4].parse::<IpAddr>().unwrap(), words[5].parse().unwrap())).collect()
}

#[tokio::test]
async fn the_command_line_knows_where_it_runs() {
    let broker = Mosquitto::start_knowing("addons", "canary-password").await;
    let stub = Stub::start().await;
    stub.names_broker(json!(broker.port), Some(("addons", "canary-password")));
    let folder = tempfile::tempdir().unwrap();
    // The app does not stay root.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(file("options.json"), r#"{"mqtt": {"base_topic": "door"}}"#).unwrap();
    let run = |command: &str, more: &[&str], token: &'static str| {
        let paths = ["--config".to_owned(), file("options.json"), "--data".to_owned(), file("data")];
        let arguments = [command.to_owned()].into_iter().chain(paths).chain(more.iter().map(|word| (*word).to_owned()));
        Program::start_with(arguments, |process| {
            process.env("SUPERVISOR_TOKEN", token).env("SUPERVISOR_API", stub.url()).env("DOORSTEP_LOG", "trace");
        })
        .ends()
    };
    let app = run("check", &["--offline"], TOKEN).await;
    assert_eq!(app.status.code(), Some(0), "{app:?}");
    let alone = run("check", &["--offline"], "").await;
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
    assert!(alone.log.contains("mqtt.url: missing; expected a broker's address"), "{alone:?}");

    Store::open(&folder.path().join("data")).unwrap().put("mqtt_retained_topics", &["door/left"]).unwrap();
    broker.publish("door/left", "there", &["-r"]);
    let forgotten = run("forget", &[], TOKEN).await;
    assert_eq!(forgotten.status.code(), Some(0), "{forgotten:?}");
    assert!(forgotten.said.contains("1 retained topics cleared"), "{forgotten:?}");
    assert!(broker.log().contains("u'addons'"), "{}", broker.log());
    assert_eq!(broker.retained("door/#").await, []);
    for secret in [TOKEN, "canary-password"] {
        assert!(!forgotten.log.contains(secret) && !forgotten.said.contains(secret), "{forgotten:?}");
    }
}
