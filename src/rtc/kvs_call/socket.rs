//! The WebSocket to the signalling service.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, http};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::{CallError, Signalling};
use crate::net::tls::Trust;
use crate::proto::kvs::signaling::{Inbound, MAX_FRAME, Outbound};

/// An open way to the signalling service: of a viewer or of a camera, the address says which (kvs reference §3). The
/// service is answered when it pings, as long as [`Socket::next`] is waited for.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    const OPEN_WITHIN: Duration = Duration::from_secs(10);

    /// The address goes out byte for byte: it is signed.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`. Neither repeats the address.
    pub async fn open(signalling: &Signalling) -> Result<Self, CallError> {
        let url = signalling.url.expose();
        let limits = WebSocketConfig::default().max_message_size(Some(MAX_FRAME)).max_frame_size(Some(MAX_FRAME));
        let trust = Trust { authority: signalling.authority.clone(), identity: None };
        let tls = url.starts_with("wss:").then(|| Connector::Rustls(Arc::new(trust.client_config())));
        let opening = connect_async_tls_with_config(url, Some(limits), true, tls);
        match tokio::time::timeout(Self::OPEN_WITHIN, opening).await {
            Ok(Ok((socket, _response))) => Ok(Self(socket)),
            Ok(Err(Error::Http(response))) => Err(refused(&response)),
            Ok(Err(error)) => Err(CallError::Unreachable(without_address(&error))),
            Err(_) => Err(CallError::Unreachable("it did not answer within 10 s".to_owned())),
        }
    }

    /// # Errors
    /// `Unreachable`: the connection is over.
    pub async fn send(&mut self, message: &Outbound) -> Result<(), CallError> {
        self.send_text(message.encode()).await
    }

    /// A frame in the words of another client.
    ///
    /// # Errors
    /// `Unreachable`: the connection is over.
    pub async fn send_text(&mut self, frame: String) -> Result<(), CallError> {
        let sent = self.0.send(Message::text(frame)).await;
        sent.map_err(|error| CallError::Unreachable(without_address(&error)))
    }

    /// Keeps what is between us and the service from forgetting the connection.
    pub async fn ping(&mut self) {
        // A connection that is over says so by the next frame.
        let _over = self.0.send(Message::Ping(Vec::new().into())).await;
    }

    /// The next frame that can be read; `None` when the service has closed. May be cancelled.
    pub async fn next(&mut self) -> Option<Inbound> {
        loop {
            let text = match self.0.next().await?.ok()? {
                Message::Text(text) => text,
                Message::Close(_) => return None,
                _ => continue,
            };
            match Inbound::decode(&text) {
                Ok(frame) => return Some(frame),
                // Amazon sends empty ones now and then, and its own clients pass over all of them.
                Err(error) => tracing::debug!(%error, "a frame is passed over"),
            }
        }
    }
}

/// What the service says instead of opening the WebSocket. Browsers cannot see it; it is the only clue there is.
fn refused(response: &http::Response<Option<Vec<u8>>>) -> CallError {
    let body = response.body().as_deref().unwrap_or_default();
    CallError::Refused { status: response.status().as_u16(), why: clue(&String::from_utf8_lossy(body)) }
}

/// The first line of a message, without what it quotes: there services repeat parts of the signed address.
fn clue(body: &str) -> String {
    const LONGEST: usize = 160;
    let message = serde_json::from_str::<serde_json::Value>(body).ok();
    let message = message.as_ref().and_then(|json| json.get("message").or_else(|| json.get("Message"))?.as_str());
    let line = message.unwrap_or(body).lines().next().unwrap_or_default();
    let unquoted = line.split(['\'', '"', '`']).step_by(2).collect::<Vec<_>>().join("…");
    let words = unquoted.split_whitespace().filter(|word| !word.contains("://") && !word.contains("X-Amz-"));
    let printable = words.collect::<Vec<_>>().join(" ");
    printable.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

fn without_address(error: &Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        Error::Tls(error) => error.to_string(),
        Error::Url(_) | Error::HttpFormat(_) => "its address is not one".to_owned(),
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_) => "the connection broke".to_owned(),
        _ => "it does not speak WebSocket".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SignedUrl;

    #[test]
    fn the_clue_is_the_first_line_without_what_it_quotes() {
        let clues = [
            (r#"{"message":"Signature expired: 1 is now earlier"}"#, "Signature expired: 1 is now earlier"),
            (
                r#"{"Message":"Credential must have 5 elements, got 'AKIA/x'"}"#,
                "Credential must have 5 elements, got …",
            ),
            (
                "The signature does not match.\n\nThe Canonical String should have been\n'GET\n/\nX-Amz-Security-Token=x'",
                "The signature does not match.",
            ),
            ("wss://host/?X-Amz-Signature=1 is X-Amz-Expires=2 over", "is over"),
            ("", ""),
        ];
        for (body, expected) in clues {
            assert_eq!(clue(body), expected, "{body}");
        }
        assert!(clue(&"long ".repeat(1_000)).len() <= 160);
    }

    #[tokio::test]
    async fn an_address_is_never_repeated() {
        for url in
            ["wss://127.0.0.1:1/?token=geheim", "ws:/geheim", "geheim", "ws://127.0.0.1:1/ geheim", "http://geheim"]
        {
            let (url, client_id) = (SignedUrl::new(url), "viewer-1".to_owned());
            let signalling = Signalling { url, client_id, ice_servers: vec![], authority: None };
            let error = Socket::open(&signalling).await.err().expect("nobody is there");
            let said = format!("{error} {error:?}");
            assert!(!said.contains("geheim"), "{said}");
        }
    }
}
