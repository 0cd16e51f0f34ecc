//! Over TLS the broker must be whom the machine trusts, under the name that was configured.

use std::path::PathBuf;
use std::process::Command;

use doorstep::config::MqttUrl;
use doorstep::doorbell::Registry;
use doorstep::model::MqttLink;
use doorstep::mqtt::{self, Broker, Settings};
use tokio_util::sync::CancellationToken;

use crate::support::mosquitto::{self, Mosquitto};
use crate::support::mqtt_house::{no_accounts, settings};

/// Set for the run of this test that trusts the broker's certificate, which only its environment can say.
const TRUSTING: &str = "DOORSTEP_TEST_TLS_PORT";
/// Where OpenSSL and its like look for whom to trust. Its folder is the broker's.
const CERTIFICATE: &str = "SSL_CERT_FILE";

#[tokio::test]
async fn hostile_broker_shows_a_certificate_of_nobody_known_or_for_another_name() {
    if let Ok(port) = std::env::var(TRUSTING) {
        return trusting(port.parse().unwrap()).await;
    }
    let broker = start().await;
    assert!(!connects("localhost", broker.port, &broker).await, "an unknown authority was believed");
    let this_test = std::thread::current().name().unwrap().to_owned();
    let trusting = Command::new(std::env::current_exe().unwrap())
        .args([&this_test, "--exact"])
        .env(TRUSTING, broker.port.to_string())
        .env(CERTIFICATE, broker.path("certificate"))
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&trusting.stdout);
    assert!(trusting.status.success() && report.contains("1 passed"), "{report}");
}

async fn trusting(port: u16) {
    let connected = client("localhost", port);
    let waited =
        tokio::time::timeout(mosquitto::PATIENCE, connected.clone().wait_for(|now| *now == MqttLink::Connected))
            .await
            .is_ok();
    assert!(waited, "a trusted certificate was not believed");
    let log = PathBuf::from(std::env::var_os(CERTIFICATE).unwrap()).with_file_name("log");
    let turned_away = || std::fs::read_to_string(&log).unwrap().matches("alert").count();
    let before = turned_away();
    let other_name = client("127.0.0.1", port);
    mosquitto::until("the client to turn away", || turned_away() > before).await;
    assert_ne!(*other_name.borrow(), MqttLink::Connected, "a certificate for another name was believed");
}

/// Whether the client gets through before the broker has seen it turn away.
async fn connects(host: &str, port: u16, broker: &Mosquitto) -> bool {
    let connected = client(host, port);
    broker.logs("alert").await;
    let now = *connected.borrow();
    now == MqttLink::Connected
}

fn client(host: &str, port: u16) -> tokio::sync::watch::Receiver<MqttLink> {
    let broker = Broker::At(MqttUrl::parse(&format!("mqtts://{host}:{port}")).unwrap());
    let settings = Settings { client_id: format!("doorstep-{host}"), ..settings(broker) };
    mqtt::start(settings, Registry::default(), no_accounts(), CancellationToken::new()).link()
}

async fn start() -> Mosquitto {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &file("key"), "-out", &file("certificate")])
        .output()
        .expect("install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let extra = format!("allow_anonymous true\ncertfile {}\nkeyfile {}", file("certificate"), file("key"));
    Mosquitto::start_in(folder, &extra).await
}
