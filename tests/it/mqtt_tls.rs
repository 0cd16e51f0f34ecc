//! Over TLS the broker must be whom the machine trusts, under the name that was configured.

use std::process::Command;
use std::time::Duration;

use doorstep::config::{self, MqttUrl};
use doorstep::doorbell::Registry;
use doorstep::mqtt::{self, Settings};
use tokio_util::sync::CancellationToken;

use crate::support::mosquitto::{self, Mosquitto};

/// Set for the run of this test that trusts the broker's certificate, which only its environment can say.
const TRUSTING: &str = "DOORSTEP_TEST_TLS_PORT";

#[tokio::test]
async fn a_broker_is_believed_if_its_certificate_is() {
    if let Ok(port) = std::env::var(TRUSTING) {
        return trusting(port.parse().unwrap()).await;
    }
    let Some(broker) = start().await else { return };
    assert!(!connects("localhost", broker.port, &broker).await, "an unknown authority was believed");
    let this_test = std::thread::current().name().unwrap().to_owned();
    let trusting = Command::new(std::env::current_exe().unwrap())
        .args([&this_test, "--exact"])
        .env(TRUSTING, broker.port.to_string())
        .env("SSL_CERT_FILE", broker.path("certificate"))
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&trusting.stdout);
    assert!(trusting.status.success() && report.contains("1 passed"), "{report}");
}

async fn trusting(port: u16) {
    let connected = client("localhost", port);
    let waited = tokio::time::timeout(mosquitto::PATIENCE, connected.clone().wait_for(|now| *now)).await.is_ok();
    assert!(waited, "a trusted certificate was not believed");
    let other_name = client("127.0.0.1", port);
    // As long as the right name took many times over.
    let waited = tokio::time::timeout(Duration::from_secs(1), other_name.clone().wait_for(|now| *now)).await.is_ok();
    assert!(!waited, "a certificate for another name was believed");
}

/// Whether the client gets through before the broker has seen it turn away.
async fn connects(host: &str, port: u16, broker: &Mosquitto) -> bool {
    let connected = client(host, port);
    broker.logs("alert").await;
    *connected.borrow()
}

fn client(host: &str, port: u16) -> tokio::sync::watch::Receiver<bool> {
    let broker =
        config::Mqtt { url: MqttUrl::parse(&format!("mqtts://{host}:{port}")).unwrap(), ..mosquitto::settings(port) };
    let client_id = format!("doorstep-{host}");
    let settings = Settings { broker, client_id, version: "1.2.3", buttons: Vec::new(), page_url: None };
    mqtt::start(settings, Registry::default(), CancellationToken::new()).connected()
}

async fn start() -> Option<Mosquitto> {
    if !mosquitto::is_installed() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &file("key"), "-out", &file("certificate")])
        .output();
    let Ok(made) = made else {
        mosquitto::skip("openssl is not installed");
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let extra = format!("allow_anonymous true\ncertfile {}\nkeyfile {}", file("certificate"), file("key"));
    Mosquitto::start_in(folder, &extra).await
}
