//! `doorstep sim gwell-server` and, behind it, `doorstep sim gwell-camera`, as their first lines describe them.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::viewer::{Call, Viewer};
use crate::doorstep::Doorstep;

/// One account with one camera.
pub(super) struct House {
    server: Doorstep,
    camera: Doorstep,
    pub(super) address: SocketAddr,
    pub(super) access_id: String,
    pub(super) access_token: String,
    pub(super) device: String,
    pub(super) tid: u64,
    /// Where the camera is on its LAN.
    pub(super) on_lan: SocketAddr,
}

impl House {
    /// With these options of the server and of the camera.
    pub(super) async fn start(server_options: &[&str], camera_options: &[&str]) -> Self {
        let (mut server, first) = announced("gwell-server", server_options).await;
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text in {first}")).to_owned();
        let device = &first["cameras"][0];
        let (name, token) = (text(&device["name"]), text(&device["token"]));
        let (listen, tid) = (text(&first["listen"]), format!("--tid={}", text(&device["tid"])));
        let who = ["--server", &listen, "--name", &name, &tid, "--token", &token];
        let (camera, its_first) = announced("gwell-camera", &[&who, camera_options].concat()).await;
        event(&mut server, "certified", |event| event["who"]["camera"] == name).await;
        Self {
            server,
            camera,
            address: listen.parse().unwrap(),
            access_id: text(&first["access_id"]),
            access_token: text(&first["access_token"]),
            device: name,
            tid: text(&its_first["tid"]).parse().unwrap(),
            on_lan: text(&its_first["listen"]).parse().unwrap(),
        }
    }

    /// The client, on the camera's LAN.
    pub(super) fn call(&self) -> Viewer {
        self.call_with(Some(self.on_lan.ip()), &[])
    }

    pub(super) fn call_with(&self, camera: Option<IpAddr>, known: &[(&str, u64)]) -> Viewer {
        Viewer::call(&Call {
            server: self.address,
            access_id: &self.access_id,
            access_token: &self.access_token,
            device: &self.device,
            camera,
            known,
        })
    }

    /// The next event of the server's under this name that fits.
    pub(super) async fn server_tells(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        event(&mut self.server, name, fits).await
    }

    /// The same of the camera's.
    pub(super) async fn camera_tells(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        event(&mut self.camera, name, fits).await
    }

    /// Lets so much of the camera's datagrams get lost, in either direction.
    pub(super) async fn lose(&mut self, percent: u8) {
        self.camera.type_line(&format!("loss {percent}")).await;
    }

    /// Ends both; but for these checks, the camera must have found nothing wrong with its viewers, nor must the server.
    pub(super) async fn leave_content_but_for(mut self, known: &[&str]) {
        for process in [&mut self.camera, &mut self.server] {
            process.type_line("quit").await;
        }
        let lines = [self.camera.ended().await, self.server.ended().await].concat();
        let said: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let is_known = |event: &Value| event["name"].as_str().is_some_and(|name| known.contains(&name));
        let is_complaint = |event: &&Value| {
            event["ok"] == false || ["complaint", "dropped", "bad_command"].map(Value::from).contains(&event["event"])
        };
        let complaints: Vec<&Value> = said.iter().filter(is_complaint).filter(|event| !is_known(event)).collect();
        assert!(complaints.is_empty(), "the client was found at fault: {complaints:#?}");
    }

    pub(super) async fn leave_content(self) {
        self.leave_content_but_for(&[]).await;
    }
}

async fn announced(kind: &str, options: &[&str]) -> (Doorstep, Value) {
    let mut process = Doorstep::start(&[&["sim", kind], options].concat());
    let first = process
        .wait_for("announcement", |line| serde_json::from_str(line).ok().filter(|line: &Value| line["kind"] == kind))
        .await;
    (process, first)
}

async fn event(process: &mut Doorstep, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
    process
        .wait_for(name, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == name && fits(&event)).then_some(event)
        })
        .await
}
