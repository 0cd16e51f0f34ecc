//! A WebSocket to the virtual signalling database, frame by frame.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::vivint_hand::{Hand, PATIENCE};

pub(crate) struct Wire {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) request: u64,
}

impl Wire {
    pub(crate) async fn connect(host: &str) -> Self {
        let address = format!("ws://{host}/.ws?v=5&ns=virtual");
        let (socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
        Self { socket, request: 0 }
    }

    /// Past the hello.
    pub(crate) async fn greeted(hand: &Hand) -> Self {
        let mut wire = Self::connect(&hand.vivint.address.to_string()).await;
        let hello = wire.message().await;
        assert_eq!(hello["d"]["t"], "h", "{hello}");
        wire
    }

    pub(crate) async fn authenticated(hand: &Hand) -> Self {
        let mut wire = Self::greeted(hand).await;
        let token = hand.firebase_token().await;
        assert_eq!(wire.ask("auth", json!({"cred": token})).await["s"], "ok");
        wire
    }

    /// One text frame; `None` when the connection is over.
    pub(crate) async fn frame(&mut self) -> Option<String> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a frame comes") {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next message, put together as a client of Google's would.
    pub(crate) async fn message(&mut self) -> Value {
        let first = self.frame().await.expect("the connection is open");
        let Some(pieces) = first.parse::<usize>().ok().filter(|_| first.len() <= 6) else {
            return serde_json::from_str(&first).unwrap();
        };
        let mut text = String::new();
        for _ in 0..pieces {
            text += &self.frame().await.unwrap();
        }
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn send_frame(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn request(&mut self, action: &str, body: Value) {
        self.request += 1;
        let message = json!({"t": "d", "d": {"r": self.request, "a": action, "b": body}});
        self.send_frame(&message.to_string()).await;
    }

    /// The reply's body, which must be the very next message.
    pub(crate) async fn ask(&mut self, action: &str, body: Value) -> Value {
        self.request(action, body).await;
        self.reply().await
    }

    pub(crate) async fn reply(&mut self) -> Value {
        let message = self.message().await;
        assert_eq!(message["d"]["r"], self.request, "{message}");
        message["d"]["b"].clone()
    }

    /// Code and body of the next message, which must be a push.
    pub(crate) async fn push(&mut self) -> (String, Value) {
        let message = self.message().await;
        assert!(message["t"] == "d" && message["d"].get("r").is_none(), "{message}");
        (message["d"]["a"].as_str().unwrap().to_owned(), message["d"]["b"].clone())
    }

    /// What is there when listening begins.
    pub(crate) async fn listen(&mut self, path: &str) -> Value {
        self.request("q", json!({"p": format!("/{path}"), "h": ""})).await;
        let (code, body) = self.push().await;
        assert_eq!((code.as_str(), &body["p"]), ("d", &json!(path)), "{body}");
        assert_eq!(self.reply().await, json!({"s": "ok", "d": {}}));
        body["d"].clone()
    }

    pub(crate) async fn put(&mut self, path: &str, value: &Value) -> Value {
        self.ask("p", json!({"p": format!("/{path}"), "d": value})).await
    }
}
