//! A headless Chromium, driven over its own debugging protocol.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::house::PATIENCE;

const ARGUMENTS: [&str; 14] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--remote-debugging-port=0",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    // Candidates with addresses instead of mDNS names, which a machine without multicast cannot resolve.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--window-size=1280,900",
];

/// Ends with the test.
#[derive(Clone)]
pub(crate) struct Browser(Arc<Mutex<Connection>>);

struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    calls: u64,
    /// Errors that pages have reported so far.
    complaints: Vec<String>,
    _process: Child,
    _profile: TempDir,
}

/// One tab.
#[derive(Clone)]
pub(crate) struct Page {
    browser: Browser,
    session: String,
}

impl Browser {
    /// Fails where there is no Chromium: a page that nobody looked at must not count as passed.
    pub(crate) async fn launch() -> Self {
        Self::launch_with(&[]).await
    }

    /// With further arguments.
    pub(crate) async fn launch_with(arguments: &[String]) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let process = Command::new(&program)
            .args(ARGUMENTS)
            .args(arguments)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("`{program}`: {error}. Install chromium, or set CHROMIUM to its path."));
        let told = profile.path().join("DevToolsActivePort");
        let address = until("Chromium to start", async || {
            let told = std::fs::read_to_string(&told).ok()?;
            let (port, path) = told.split_once('\n')?;
            (!path.is_empty()).then(|| format!("ws://127.0.0.1:{port}{}", path.trim()))
        });
        let (socket, _) = connect_async(address.await).await.unwrap();
        let connection = Connection { socket, calls: 0, complaints: Vec::new(), _process: process, _profile: profile };
        Self(Arc::new(Mutex::new(connection)))
    }

    pub(crate) async fn open(&self, url: &str) -> Page {
        let target = self.call("", "Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call("", "Target.attachToTarget", attach).await;
        let page = Page { browser: self.clone(), session: session["sessionId"].as_str().unwrap().to_owned() };
        page.call("Runtime.enable", json!({})).await;
        page.call("Log.enable", json!({})).await;
        page.go(url).await;
        page
    }

    /// What pages have complained about so far: uncaught errors and what the browser itself reports.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        self.0.lock().await.complaints.clone()
    }

    async fn call(&self, session: &str, method: &str, parameters: Value) -> Value {
        let mut connection = self.0.lock().await;
        timeout(PATIENCE, connection.call(session, method, parameters)).await.unwrap_or_else(|_| panic!("{method}"))
    }
}

impl Connection {
    async fn call(&mut self, session: &str, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut call = json!({ "id": id, "method": method, "params": parameters });
        if !session.is_empty() {
            call["sessionId"] = session.into();
        }
        self.socket.send(Message::text(call.to_string())).await.unwrap();
        loop {
            let Message::Text(text) = self.socket.next().await.expect("Chromium is gone").unwrap() else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.hear(&message);
        }
    }

    fn hear(&mut self, message: &Value) {
        let entry = &message["params"]["entry"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(message["params"].to_string()),
            Some("Log.entryAdded") if entry["level"] == "error" => self.complaints.push(entry["text"].to_string()),
            _ => {}
        }
    }
}

impl Page {
    pub(crate) async fn go(&self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
    }

    /// As a browser that has never been here.
    pub(crate) async fn without_cache(&self) {
        self.call("Network.enable", json!({})).await;
        self.call("Network.setCacheDisabled", json!({ "cacheDisabled": true })).await;
    }

    /// The value of a JavaScript expression, awaited if it is a promise.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        let evaluation = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", evaluation).await;
        assert!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    /// Waits until the expression is true. One that cannot be evaluated yet counts as false.
    pub(crate) async fn until(&self, expression: &str) {
        let expression = format!("(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()");
        until(&expression, async || (self.value(&expression).await == true).then_some(())).await;
    }

    /// A window of this width, seen by somebody who likes it `light` or `dark`.
    pub(crate) async fn look(&self, width: u32, scheme: &str) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let likes = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", likes).await;
    }

    /// What is seen, as PNG.
    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// Presses or releases the mouse button in the middle of the element.
    pub(crate) async fn mouse(&self, kind: &str, selector: &str) {
        self.mouse_on(kind, &format!("document.querySelector({selector:?})")).await;
    }

    /// The same of the element that an expression stands for.
    pub(crate) async fn mouse_on(&self, kind: &str, element: &str) {
        let middle = format!(
            "(() => {{ const e = {element}; e.scrollIntoView({{ block: 'center' }});
             const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] }})()"
        );
        let middle = self.value(&middle).await;
        let event = json!({ "type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", event).await;
    }

    /// `keyDown` or `keyUp` of the space bar.
    pub(crate) async fn space(&self, kind: &str) {
        let event = json!({ "type": kind, "key": " ", "code": "Space", "windowsVirtualKeyCode": 32 });
        self.call("Input.dispatchKeyEvent", event).await;
    }

    /// Presses and releases the key that closes things.
    pub(crate) async fn escape(&self) {
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27 });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        self.browser.call(&self.session, method, parameters).await
    }
}

/// Asks again and again until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
