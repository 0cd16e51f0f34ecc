//! The HTTP face over a fake doorbell on a real socket, and the plainest client there is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use doorstep::doorbell::{Doorbell, Registry};
use doorstep::http::{Face, router, serve};
use doorstep::secret::Token;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake_vendor::FakeVendor;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where the house is served as well, as behind a proxy that takes the prefix away.
pub(crate) const PREFIX: &str = "/behind/a/prefix/";

/// One doorbell, `fake_1`, behind the HTTP face.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) vendor: Arc<FakeVendor>,
    pub(crate) doorbell: Doorbell,
    pub(crate) doorbells: Registry,
    pub(crate) mqtt: watch::Sender<Option<bool>>,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(FakeVendor::new(), None, Router::new()).await
    }

    pub(crate) async fn locked(token: &str) -> Self {
        Self::with(FakeVendor::new(), Some(Token::new(token)), Router::new()).await
    }

    pub(crate) async fn with(vendor: Arc<FakeVendor>, token: Option<Token>, whep: Router) -> Self {
        let stop = CancellationToken::new();
        let doorbells = Registry::default();
        let doorbell = vendor.doorbell(&stop);
        doorbells.insert(doorbell.clone());
        vendor.lives(1).await;
        let (mqtt, mqtt_connected) = watch::channel(Some(true));
        let face = Face {
            doorbells: doorbells.clone(),
            mqtt_connected,
            whep,
            counters: Arc::new(|| vec![("viewer_packets_total", 7.0)]),
            version: "1.2.3",
            token,
            names: vec!["door.example".to_owned()],
            demo: true,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let face = router(face, address).unwrap();
        let both = Router::new().nest_service(PREFIX, face.clone()).fallback_service(face);
        let serving = tokio::spawn(serve(listener, both, stop.clone()));
        Self { address, vendor, doorbell, doorbells, mqtt, stop, serving }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body.as_bytes()).await
    }

    /// One request on a connection of its own. `headers` may replace `host`.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let exchange = async {
            let mut connection = TcpStream::connect(self.address).await.unwrap();
            connection.write_all((head + "\r\n").as_bytes()).await.unwrap();
            // A refusal may come, and the connection close, before the whole body went out.
            let _ = connection.write_all(body).await;
            let mut answer = Vec::new();
            let _ = connection.read_to_end(&mut answer).await;
            answer
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("no answer");
        Reply::read(&answer)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    fn read(answer: &[u8]) -> Self {
        let answer = String::from_utf8_lossy(answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole answer: {answer:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The sentence of a refusal.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().expect("an `error`").to_owned()
    }
}
