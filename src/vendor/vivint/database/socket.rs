//! The WebSocket to a database (vivint reference §7.1).

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use url::{Host, Url};

use crate::clock::{self, Instant};
use crate::net::tls;
use crate::proto::vivint::database::frames::MAX_MESSAGE;
use crate::vendor::vivint::firebase::namespace;

/// Which database, at whichever host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    scheme: &'static str,
    /// With its port where that is not the usual one.
    pub(super) host: String,
    namespace: String,
}

impl Place {
    /// What Google's hosts end in: one of them may send to another, and to nobody else (reliability S17).
    const GOOGLES: [&str; 2] = [".firebaseio.com", ".firebasedatabase.app"];

    /// `None` for what is no address of a database. `http` means `ws`.
    pub(super) fn of(database: &Url) -> Option<Self> {
        let scheme = match database.scheme() {
            "https" | "wss" => "wss",
            "http" | "ws" => "ws",
            _ => return None,
        };
        let name = database.host_str()?;
        let host = database.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        Some(Self { scheme, host, namespace: namespace(database) })
    }

    /// The address of this database at a host that the server has named. `last`: what the connection before was
    /// called. `None` where that is no host, or one to which our token may not go.
    fn at(&self, host: &str, last: Option<&str>) -> Option<Url> {
        let mut url = Url::parse(&format!("{}://{host}/.ws", self.scheme)).ok()?;
        let is_only_a_host = url.path() == "/.ws" && url.username().is_empty() && url.password().is_none();
        if !is_only_a_host || host.contains(['?', '#', '\\']) || !self.may_send_to(&url) {
            return None;
        }
        url.query_pairs_mut().append_pair("v", "5").append_pair("ns", &self.namespace);
        if let Some(last) = last {
            url.query_pairs_mut().append_pair("ls", last);
        }
        Some(url)
    }

    /// Whether a host has the same owner as this database. A server of one's own sends to itself, whatever this machine
    /// is called.
    fn may_send_to(&self, named: &Url) -> bool {
        let Ok(own) = Url::parse(&format!("{}://{}", self.scheme, self.host)) else { return false };
        let is_googles =
            |url: &Url| url.domain().is_some_and(|name| Self::GOOGLES.iter().any(|end| name.ends_with(end)));
        match is_googles(&own) {
            true => is_googles(named),
            false => own.host() == named.host() || (is_this_machine(&own) && is_this_machine(named)),
        }
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// An open connection.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    heard: Instant,
    pinged: bool,
}

impl Socket {
    /// A connection that nothing comes over may have been forgotten by what is between us, and a call must not be
    /// the first to notice. This is the WebSocket's own question, below the database's protocol.
    const PING_AFTER: Duration = Duration::from_secs(30);
    const PONG_WITHIN: Duration = Duration::from_secs(10);
    const SENT_WITHIN: Duration = Duration::from_secs(10);
    const CLOSED_WITHIN: Duration = Duration::from_secs(1);

    /// # Errors
    /// Why there is no connection, without the address.
    pub(super) async fn open(place: &Place, host: &str, last: Option<&str>, within: Duration) -> Result<Self, String> {
        let url = place.at(host, last).ok_or("it names a host that is none of its own")?;
        let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let tls = (place.scheme == "wss").then(|| Connector::Rustls(Arc::new(tls::client_config())));
        let opening = connect_async_tls_with_config(url.as_str(), Some(limits), true, tls);
        match timeout(within, opening).await {
            Ok(Ok((stream, _response))) => Ok(Self { stream, heard: clock::now(), pinged: false }),
            Ok(Err(error)) => Err(without_address(&error)),
            Err(_) => Err(format!("it did not answer within {} s", within.as_secs())),
        }
    }

    pub(super) async fn send(&mut self, frame: String) -> Result<(), String> {
        match timeout(Self::SENT_WITHIN, self.stream.send(Message::text(frame))).await {
            Ok(sent) => sent.map_err(|error| without_address(&error)),
            Err(_) => Err("it takes nothing any more".to_owned()),
        }
    }

    /// The next text frame. May be cancelled.
    ///
    /// # Errors
    /// Why there will be none.
    pub(super) async fn next(&mut self) -> Result<String, String> {
        loop {
            let patience = if self.pinged { Self::PING_AFTER + Self::PONG_WITHIN } else { Self::PING_AFTER };
            let message = tokio::select! {
                message = self.stream.next() => message,
                () = sleep_until(self.heard + patience) => {
                    self.ping().await?;
                    continue;
                }
            };
            (self.heard, self.pinged) = (clock::now(), false);
            match message {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Close(_))) | None => return Err("it closed the connection".to_owned()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(without_address(&error)),
            }
        }
    }

    async fn ping(&mut self) -> Result<(), String> {
        if self.pinged {
            return Err("nothing has come over the connection any more".to_owned());
        }
        let ping = Message::Ping(Vec::new().into());
        self.stream.feed(ping).await.map_err(|error| without_address(&error))?;
        self.pinged = true;
        self.stream.flush().await.map_err(|error| without_address(&error))
    }

    /// Says farewell.
    pub(super) async fn close(mut self) {
        // Whoever does not answer is left all the same.
        let _farewell = timeout(Self::CLOSED_WITHIN, self.stream.close(None)).await;
    }
}

fn without_address(error: &Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        Error::Tls(error) => error.to_string(),
        Error::Http(response) => format!("it answered with HTTP {}", response.status().as_u16()),
        Error::Capacity(_) => format!("it sent more than {} MiB at once", MAX_MESSAGE >> 20),
        Error::Url(_) | Error::HttpFormat(_) => "its address is not one".to_owned(),
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_) => "the connection broke".to_owned(),
        _ => "it does not speak WebSocket".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Place {
        Place::of(&Url::parse(url).unwrap()).unwrap()
    }

    fn address(url: &str) -> String {
        let place = place(url);
        place.at(&place.host, None).unwrap().to_string()
    }

    #[test]
    fn the_namespace_is_the_first_label_unless_it_is_said() {
        assert_eq!(address("https://my-db.firebaseio.com"), "wss://my-db.firebaseio.com/.ws?v=5&ns=my-db");
        assert_eq!(
            address("https://my-db.europe-west1.firebasedatabase.app/"),
            "wss://my-db.europe-west1.firebasedatabase.app/.ws?v=5&ns=my-db"
        );
        assert_eq!(address("http://127.0.0.1:9000/?ns=mine"), "ws://127.0.0.1:9000/.ws?v=5&ns=mine");
        assert_eq!(address("http://[::1]:9000/?ns=mine"), "ws://[::1]:9000/.ws?v=5&ns=mine");
        assert!(Place::of(&Url::parse("ftp://my-db.firebaseio.com").unwrap()).is_none());
    }

    #[test]
    fn elsewhere_the_same_database_is_asked_for() {
        let url = place("https://my-db.firebaseio.com").at("s-usc1f-nss-0001.firebaseio.com:444", Some("a&b"));
        assert_eq!(url.unwrap().as_str(), "wss://s-usc1f-nss-0001.firebaseio.com:444/.ws?v=5&ns=my-db&ls=a%26b");
    }

    #[test]
    fn a_host_that_is_none_is_not_connected_to() {
        let place = place("https://my-db.firebaseio.com");
        for host in ["", "a/b", "a?b", "a#b", "user@a", "a b", "a:99999", "a\\b", "a:x"] {
            assert_eq!(place.at(host, None), None, "{host}");
        }
    }

    #[test]
    fn a_token_goes_to_no_host_of_another_owner() {
        for (own, named, may) in [
            ("https://my-db.firebaseio.com", "s-usc1f-nss-0001.firebaseio.com", true),
            ("https://my-db.firebaseio.com", "my-db.europe-west1.firebasedatabase.app", true),
            ("https://my-db.firebaseio.com", "evil.example", false),
            ("https://my-db.firebaseio.com", "firebaseio.com.evil.example", false),
            ("https://my-db.firebaseio.com", "evilfirebaseio.com", false),
            ("https://my-db.firebaseio.com", "127.0.0.1", false),
            ("https://db.example", "db.example:444", true),
            ("https://db.example", "s-1.firebaseio.com", false),
            ("https://db.example", "other.example", false),
            ("http://127.0.0.1:9000/?ns=x", "localhost:9001", true),
            ("http://127.0.0.1:9000/?ns=x", "192.0.2.7:9001", false),
        ] {
            assert_eq!(place(own).at(named, None).is_some(), may, "{own} sends to {named}");
        }
    }

    #[tokio::test]
    async fn an_address_is_never_repeated() {
        for url in ["https://127.0.0.1:1/?ns=geheim", "http://127.0.0.1:1/?ns=geheim"] {
            let place = place(url);
            let error = Socket::open(&place, &place.host, Some("geheim"), Duration::from_secs(5)).await.err();
            assert!(!error.expect("nobody is there").contains("geheim"));
        }
    }
}
