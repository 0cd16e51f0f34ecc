//! HTTP/1.1 by hand, so that status, headers and body are seen as they go over the wire.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use doorstep::http::whep::Routes;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
    /// The body as it came.
    pub(crate) bytes: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.headers.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The sentence of a refusal.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().expect("an `error`").to_owned()
    }
}

/// Serves on a free loopback port until the test ends.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// WHEP alone, without the guards of the HTTP face.
pub(crate) async fn serve_whep(whep: Routes) -> SocketAddr {
    serve(Router::new().route("/whep/{id}", whep.offers).route("/whep/{id}/{session}", whep.sessions)).await
}

pub(crate) async fn request(to: SocketAddr, method: &str, path: &str, content_type: &str, body: &str) -> Reply {
    request_with(to, method, path, &[("content-type", content_type)], body).await
}

/// One request on a connection of its own. `headers` may replace `host`.
pub(crate) async fn request_with(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Reply {
    let stream = TcpStream::connect(to).await.unwrap();
    exchange(stream, to, method, path, headers, body).await.unwrap_or_else(|raw| panic!("no HTTP answer: {raw:?}"))
}

/// The same from one of this machine's own addresses. `None` when the connection is closed without an answer.
pub(crate) async fn request_from(
    from: Ipv4Addr,
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Option<Reply> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let stream = socket.connect(to).await.unwrap();
    match exchange(stream, to, method, path, headers, body).await {
        Err(nothing) if nothing.is_empty() => None,
        reply => Some(reply.unwrap_or_else(|raw| panic!("no HTTP answer: {raw:?}"))),
    }
}

/// What came back when it is no HTTP.
async fn exchange(
    mut stream: TcpStream,
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Result<Reply, String> {
    let body = body.as_ref();
    let length = body.len();
    let host = if headers.iter().any(|(name, _)| *name == "host") { String::new() } else { format!("host: {to}\r\n") };
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head =
        format!("{method} {path} HTTP/1.1\r\n{host}connection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    // Who is refused may find the other end closed.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body).await;
    let mut raw = Vec::new();
    let whole = timeout(Duration::from_secs(30), stream.read_to_end(&mut raw)).await;
    whole.expect("an answer within 30 s").unwrap_or_default();
    let text = String::from_utf8_lossy(&raw);
    let end = raw.windows(4).position(|end| end == b"\r\n\r\n").ok_or_else(|| text.clone().into_owned())?;
    let (head, body) = (str::from_utf8(&raw[..end]).unwrap(), &raw[end + 4..]);
    let (status_line, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
    let text = String::from_utf8_lossy(body).into_owned();
    Ok(Reply { status, headers: headers.to_owned(), body: text, bytes: body.to_owned() })
}
