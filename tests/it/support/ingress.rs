//! What lies between a browser and an app of Home Assistant: Core's and Supervisor's ingress, which take the prefix
//! away, ask for the session's cookie, and hand all else on with headers of their own (as of Core 2026.11: `Host`,
//! `Origin` and `Cookie` are the browser's).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// The app's part of Home Assistant's address.
pub(crate) const PREFIX: &str = "/api/hassio_ingress/Wv1xGq-8rTzB/";
/// Who is signed in.
pub(crate) const USER: &str = "5e1b2c3d4f5a69788796a5b4c3d2e1f0";
const COOKIE: &str = "ingress_session=0f1e2d3c4b5a";
/// Home Assistant's own page, with the app in a frame.
const FRONTEND: &str = "<!doctype html><title>Home Assistant</title><link rel=icon href='data:,'><iframe id=app style='width:100%;height:850px' \
                        allow='microphone' src='/api/hassio_ingress/Wv1xGq-8rTzB/'></iframe>";

/// Home Assistant, running.
pub(crate) struct Ingress {
    pub(crate) address: SocketAddr,
    /// Request lines that reached the app, as it saw them.
    passed: Arc<Mutex<Vec<String>>>,
}

impl Ingress {
    /// In front of the app at `app`.
    pub(crate) async fn before(app: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, passed) = (listener.local_addr().unwrap(), Arc::default());
        let ingress = Self { address, passed: Arc::clone(&passed) };
        tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                tokio::spawn(attend(browser, app, passed.clone()));
            }
        });
        ingress
    }

    pub(crate) fn passed(&self) -> Vec<String> {
        self.passed.lock().unwrap().clone()
    }

    /// The cookie that a browser holds after it has opened the app, as a request header.
    pub(crate) fn session() -> (&'static str, &'static str) {
        ("cookie", COOKIE)
    }
}

/// One request, for `connection: close` is said to both sides unless it becomes a WebSocket.
async fn attend(mut browser: TcpStream, app: SocketAddr, passed: Arc<Mutex<Vec<String>>>) {
    let Some((head, rest)) = head(&mut browser).await else { return };
    let (line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
    let target = line.split(' ').nth(1).unwrap_or_default();
    let Some(path) = target.strip_prefix(PREFIX) else {
        return answer(&mut browser, if target == "/" { FRONTEND } else { "404" }).await;
    };
    let has_session =
        fields.lines().any(|field| field.to_ascii_lowercase().starts_with("cookie:") && field.contains(COOKIE));
    if !has_session {
        let refusal = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _ = browser.write_all(refusal.as_bytes()).await;
        return;
    }
    let line = line.replacen(&format!("{PREFIX}{path}"), &format!("/{path}"), 1);
    passed.lock().unwrap().push(line.clone());
    let Ok(mut app) = TcpStream::connect(app).await else { return };
    let _ = app.write_all(format!("{line}\r\n{}\r\n", own_headers(fields)).as_bytes()).await;
    let _ = app.write_all(&rest).await;
    let _ = copy_bidirectional(&mut browser, &mut app).await;
}

/// The browser's headers but for those that only Supervisor may set, and the two proxies' own.
fn own_headers(fields: &str) -> String {
    let upgrades = fields.to_ascii_lowercase().contains("upgrade: websocket");
    let value = |wanted: &str| {
        let mut fields = fields.lines().filter_map(|field| field.split_once(": "));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned())
    };
    let kept = fields.lines().filter(|field| {
        let name = field.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !name.starts_with("x-remote-user-") && (upgrades || name != "connection")
    });
    let mut headers: String = kept.map(|field| format!("{field}\r\n")).collect();
    let host = value("x-forwarded-host").or_else(|| value("host")).unwrap_or_default();
    headers += &format!("x-hass-source: core.ingress\r\nx-ingress-path: {}\r\n", PREFIX.trim_end_matches('/'));
    headers += &format!("x-forwarded-for: 127.0.0.1, 172.30.32.1\r\nx-forwarded-host: {host}\r\n");
    headers += &format!("x-forwarded-proto: http\r\nx-remote-user-id: {USER}\r\nx-remote-user-name: anna\r\n");
    if !upgrades {
        headers += "connection: close\r\n";
    }
    headers
}

/// A request's head without the empty line, and what came behind it.
async fn head(browser: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            bytes.truncate(end + 2);
            return Some((String::from_utf8(bytes).ok()?, rest));
        }
        if browser.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn answer(browser: &mut TcpStream, body: &str) {
    let status = if body == "404" { "404 Not Found" } else { "200 OK" };
    let cookie = format!("set-cookie: {COOKIE}; path=/api/hassio_ingress/; SameSite=Strict; HttpOnly\r\n");
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html\r\n{cookie}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = browser.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await;
}
