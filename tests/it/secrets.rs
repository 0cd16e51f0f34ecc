//! No secret leaves Doorstep: not into a log at trace level, not into an answer, not to the broker.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use doorstep::proto::tutk::keys::{AuthKey, Psk};
use futures_util::StreamExt;
use serde_json::Value;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::program::Program;
use crate::support::service::Page;
use crate::support::viewer::{Manners, Viewer};

const USER: &str = "doorkeeper";
const PASSWORD: &str = "Ux7pQz31kVbN";
const TOKEN: &str = "4f6b0c7d9e2a815346fb7cd02e918a5d";

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
    let arguments = ["run", "--config", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let mut program = Program::start_with(arguments, |command| {
        command.env("DOORSTEP_LOG", "trace");
    });
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

fn configuration(broker: u16, cameras: &[Sim]) -> String {
    let mut text = format!(
        "mqtt: {{url: \"mqtt://{USER}:{PASSWORD}@127.0.0.1:{broker}\"}}\n\
         http: {{listen: \"127.0.0.1:0\", token: \"{TOKEN}\"}}\nmedia: {{port: {}}}\nwyze:\n  - cameras:\n",
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
