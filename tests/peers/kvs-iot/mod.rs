//! AWS's own SDKs for AWS IoT (Apache-2.0), v2 for Python and v1 for JavaScript, at our virtual AWS IoT; and our client
//! as it hears the rings that they publish.
//!
//! They need `python3 -m venv tests/peers/kvs-iot/.venv`, `tests/peers/kvs-iot/.venv/bin/pip install -r
//! tests/peers/kvs-iot/requirements.txt`, and `npm ci --prefix tests/peers/kvs-iot`.

use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Stdio};

use bytes::Bytes;
use doorstep::aws::iot::{Iot, News, Settings, Way};
use doorstep::config::IotEndpoint;
use doorstep::secret::Token;
use doorstep::sim::aws::Event;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::kvs::{self, House};
use crate::program::Program;
use crate::promise;
use crate::told::happens;
use crate::wait::PATIENCE;

const FILTER: &str = "doorbell/+/ring";
const TOPIC: &str = "doorbell/doorbell-channel/ring";
const RING: &str = r#"{"event":"ring","device":"doorbell-master"}"#;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("aws_iot_sdk_v2_rings_and_hears_rings_with_a_certificate", || rings(Sdk::Certificate)),
        promise("aws_iot_sdk_v2_rings_and_hears_rings_at_the_port_of_the_web", || rings(Sdk::CertificateByAlpn)),
        promise("aws_iot_sdk_v2_rings_and_hears_rings_over_a_signed_websocket", || rings(Sdk::Signed)),
        promise("aws_iot_sdk_v1_rings_and_hears_rings_over_a_signed_websocket", || rings(Sdk::First)),
        promise("aws_iot_sdks_are_kept_out_without_the_right_keys", are_kept_out),
    ]
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let found = Blocking::new(python()).args(["-c", "import awsiot"]).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        return Some("the AWS IoT SDK tests: no virtual environment with `awsiotsdk` in tests/peers/kvs-iot".into());
    }
    let is_there = folder().join("node_modules/aws-iot-device-sdk/package.json").is_file();
    (!is_there).then(|| "the AWS IoT SDK tests: `npm ci --prefix tests/peers/kvs-iot` has not been run".into())
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/kvs-iot"))
}

fn python() -> PathBuf {
    folder().join(".venv/bin/python")
}

/// Which SDK, and how it comes.
#[derive(Clone, Copy, PartialEq)]
enum Sdk {
    /// To 8883.
    Certificate,
    /// To 443, where the protocol is agreed on by ALPN.
    CertificateByAlpn,
    Signed,
    /// Signed too, by v1.
    First,
}

impl Sdk {
    fn start(self, house: &House, keys: &Value) -> Program {
        let port = if self == Self::Certificate { house.aws.mqtts.port() } else { house.aws.tls.port() };
        let place = json!({
            "host": "localhost",
            "port": port,
            "authority": house.authority(),
            "region": house.aws.settings.region,
            "client_id": "sdk",
            "filter": FILTER,
            "identity": house.identity(),
            "keys": keys,
        });
        let mut command = match self {
            Self::First => Command::new("node"),
            _ => Command::new(python()),
        };
        match self {
            Self::Certificate => command.arg(folder().join("sdk2.py")).arg(place.to_string()).arg("certificate"),
            Self::CertificateByAlpn => command.arg(folder().join("sdk2.py")).arg(place.to_string()).arg("alpn"),
            Self::Signed => command.arg(folder().join("sdk2.py")).arg(place.to_string()).arg("signed"),
            Self::First => command.arg(folder().join("sdk1.mjs")).arg(place.to_string()),
        };
        Program::run({
            command.env("NODE_EXTRA_CA_CERTS", house.authority());
            command
        })
    }
}

/// Our client, connected: with a certificate where the SDK has one, else signed.
async fn listen(house: &House, sdk: Sdk) -> Iot {
    let aws = house.ourselves();
    let (way, port) = match sdk {
        Sdk::Certificate => (Way::Certificate(aws.trust()), house.aws.mqtts.port()),
        Sdk::CertificateByAlpn => (Way::Certificate(aws.trust()), house.aws.tls.port()),
        Sdk::Signed | Sdk::First => (Way::Signed(aws), house.aws.tls.port()),
    };
    let settings = Settings {
        endpoint: IotEndpoint { host: "localhost".to_owned(), port: Some(port), tls: true },
        way,
        client_id: "doorbell-thing-doorstep".to_owned(),
        filters: vec![FILTER.to_owned()],
        clean_session: true,
    };
    let mut iot = Iot::start(settings, house.stop.clone());
    assert_eq!(news(&mut iot).await, News::Connected);
    iot
}

async fn news(iot: &mut Iot) -> News {
    timeout(PATIENCE, iot.next()).await.expect("our client has nothing to tell")
}

async fn rings(sdk: Sdk) {
    let mut settings = kvs::settings();
    // Temporary keys, whose token each SDK has its own way with (kvs reference §6).
    settings.keys[0].token = Some(Token::new("IQoJb3JpZ2luX2VjEJ+/A=="));
    let house = House::start(settings).await;
    let mut ours = listen(&house, sdk).await;
    let mut theirs = sdk.start(&house, &house.account()["keys"]);
    theirs.says("connected").await;
    assert_eq!(theirs.says("granted").await, 1);
    for qos in [0, 1] {
        theirs.tell(&json!({ "topic": TOPIC, "payload": RING, "qos": qos })).await;
        let ring = News::Message {
            topic: TOPIC.to_owned(),
            payload: Bytes::from_static(RING.as_bytes()),
            retained: false,
            dup: false,
        };
        assert_eq!(news(&mut ours).await, ring, "with QoS {qos}");
        theirs.says("published").await;
        let elsewhere = format!("doorbell/of-ours-{qos}/ring");
        ours.publish(&elsewhere, qos, Bytes::from_static(RING.as_bytes())).await.unwrap();
        let heard = theirs.says_with("message", |said| said["topic"] == *elsewhere).await;
        assert_eq!((&heard["message"], &heard["qos"], &heard["retain"]), (&json!(RING), &json!(qos), &json!(false)));
        // What we have published comes to us too.
        assert!(matches!(news(&mut ours).await, News::Message { topic, .. } if topic == elsewhere));
    }
}

async fn are_kept_out() {
    let house = House::start(kvs::settings()).await;
    let mut keys = house.account()["keys"].clone();
    keys["secret_access_key"] = "x".repeat(40).into();
    for (sdk, its_word_for_it) in [(Sdk::Signed, "refused"), (Sdk::First, "interrupted")] {
        let mut events = house.aws.events();
        let mut theirs = sdk.start(&house, &keys);
        happens(&mut events, "the refusal", is_refusal).await;
        theirs.says(its_word_for_it).await;
    }
}

fn is_refusal(event: &Event) -> bool {
    matches!(event, Event::Refused { path, status: 403, kind: "InvalidSignatureException", .. } if path == "/mqtt")
}
