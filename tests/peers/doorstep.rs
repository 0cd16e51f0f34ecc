//! Our own program as its users start it.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::http::{free_address, request};
use crate::wait::PATIENCE;

/// A running `doorstep`, and the lines it wrote. Killed when dropped.
pub(crate) struct Doorstep {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    read: Vec<String>,
}

impl Doorstep {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_doorstep"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, stdout, read: Vec::new() }
    }

    /// The next line for which `pick` has a value, among those not looked at before.
    pub(crate) async fn wait_for<T>(&mut self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let search = async {
            loop {
                let line = self.stdout.next_line().await.unwrap()?;
                let picked = pick(&line);
                self.read.push(line);
                if picked.is_some() {
                    return picked;
                }
            }
        };
        let found = timeout(PATIENCE, search).await;
        match found {
            Ok(Some(picked)) => picked,
            Ok(None) => panic!("doorstep ended before {what}; it wrote {:#?}", self.read),
            Err(_) => panic!("doorstep wrote no {what} within {PATIENCE:?}, only {:#?}", self.read),
        }
    }

    pub(crate) async fn type_line(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Waits for the end and gives every line that was ever written.
    pub(crate) async fn ended(mut self) -> Vec<String> {
        while let Some(line) = timeout(PATIENCE, self.stdout.next_line()).await.unwrap().unwrap() {
            self.read.push(line);
        }
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "doorstep ended with {status}; it wrote {:#?}", self.read);
        self.read
    }
}

/// `doorstep sim tutk-camera`, which reports each thing that happens to it as one JSON object.
pub(crate) struct VirtualCamera {
    process: Doorstep,
    go2rtc_url: String,
}

impl VirtualCamera {
    pub(crate) async fn start(options: &[&str]) -> Self {
        let mut process = Doorstep::start(&[&["sim", "tutk-camera"], options].concat());
        let go2rtc_url = process
            .wait_for("announcement", |line| {
                let announced: Value = serde_json::from_str(line).ok()?;
                Some(announced["go2rtc"].as_str()?.to_owned())
            })
            .await;
        Self { process, go2rtc_url }
    }

    /// What go2rtc calls this camera: the announcement's own words.
    pub(crate) fn go2rtc_url(&self) -> &str {
        &self.go2rtc_url
    }

    /// The next event of this name for which `accept` holds.
    pub(crate) async fn event(&mut self, name: &str, accept: impl Fn(&Value) -> bool) -> Value {
        self.process
            .wait_for(name, |line| {
                let event: Value = serde_json::from_str(line).ok()?;
                (event["event"] == name && accept(&event)).then_some(event)
            })
            .await
    }

    /// Begins a fault by its name.
    pub(crate) async fn misbehave(&mut self, fault: &str) {
        self.process.type_line(&format!("fault {fault}")).await;
        self.event("fault", |event| event["name"] == fault).await;
    }

    /// Ends the camera, which must have had no complaint about its client in all its life.
    pub(crate) async fn leave_content(mut self) {
        self.process.type_line("quit").await;
        let written = self.process.ended().await;
        let complaints: Vec<&String> = written.iter().filter(|line| line.contains(r#""ok":false"#)).collect();
        assert!(complaints.is_empty(), "the camera found its client at fault: {complaints:#?}");
    }
}

/// `doorstep demo` with one virtual doorbell.
pub(crate) struct Demo {
    process: Doorstep,
    page: SocketAddr,
    doorbell: String,
}

impl Demo {
    pub(crate) async fn start(kind: &str) -> Self {
        let (page, media) = (free_address().to_string(), free_address().port().to_string());
        let mut process = Doorstep::start(&["demo", "--only", kind, "--http", &page, "--media-port", &media]);
        let (page, doorbell) = process
            .wait_for("ready line", |line| {
                let (_, page) = line.strip_prefix("demo ready: ")?.split_once("http://")?;
                let doorbell = line.rsplit(' ').next()?;
                Some((page.split('/').next()?.parse().ok()?, doorbell.to_owned()))
            })
            .await;
        Self { process, page, doorbell }
    }

    pub(crate) fn whep_url(&self) -> String {
        format!("http://{}/whep/{}", self.page, self.doorbell)
    }

    /// go2rtc's name of the call that our service arranges.
    pub(crate) fn go2rtc_source(&self) -> String {
        format!("webrtc:http://{}/api/wyze/{}/kvs#format=wyze", self.page, self.doorbell)
    }

    /// The doorbell as the API tells of it.
    pub(crate) async fn doorbell(&self) -> Value {
        let (status, body) = request(self.page, "GET", &format!("/api/doorbells/{}", self.doorbell)).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) async fn leave(mut self) {
        self.process.type_line("quit").await;
        self.process.ended().await;
    }
}
