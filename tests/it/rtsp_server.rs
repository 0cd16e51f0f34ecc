//! What a client may rely on in the virtual RTSP server, and what it must not try.

use std::time::Duration;

use doorstep::secret::Password;
use doorstep::sim::rtsp::{self, Fault, Protection, RtspCommand, RtspEvent, RunningRtsp, Settings};
use md5::{Digest, Md5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);
const PASSWORD: &str = "not-a-real-password";

async fn server(settings: Settings) -> RunningRtsp {
    rtsp::start(settings, CancellationToken::new()).await.unwrap()
}

/// A client that says what a test wants it to say.
struct Client {
    socket: TcpStream,
    arrived: Vec<u8>,
    url: String,
    asked: u32,
    nonce: String,
    session: String,
}

impl Client {
    async fn connect(server: &RunningRtsp) -> Self {
        let socket = TcpStream::connect(server.address).await.unwrap();
        let (arrived, url) = (Vec::new(), server.url("live.sdp"));
        Self { socket, arrived, url, asked: 0, nonce: String::new(), session: String::new() }
    }

    /// The status of the reply, and its head.
    async fn ask(&mut self, method: &str, url: &str, headers: &str) -> (u16, String) {
        self.asked += 1;
        let session = if self.session.is_empty() { String::new() } else { format!("Session: {}\r\n", self.session) };
        let request = format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{session}{headers}\r\n", self.asked);
        self.socket.write_all(request.as_bytes()).await.unwrap();
        timeout(PATIENCE, self.reply()).await.expect("an answer")
    }

    /// Frames before it are passed over.
    async fn reply(&mut self) -> (u16, String) {
        loop {
            match self.arrived[..] {
                [b'$', _, high, low, ..] => {
                    let length = 4 + usize::from(u16::from_be_bytes([high, low]));
                    if self.arrived.len() >= length {
                        self.arrived.drain(..length);
                        continue;
                    }
                }
                _ => {
                    if let Some(end) = self.arrived.windows(4).position(|four| four == b"\r\n\r\n") {
                        let head = String::from_utf8(self.arrived.drain(..end + 4).collect()).unwrap();
                        let body = header(&head, "Content-Length").map_or(0, |length| length.parse().unwrap());
                        while self.arrived.len() < body {
                            self.more().await;
                        }
                        self.arrived.drain(..body);
                        assert_eq!(header(&head, "CSeq"), Some(self.asked.to_string().as_str()));
                        return (head[9..12].parse().unwrap(), head);
                    }
                }
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        assert!(self.socket.read_buf(&mut self.arrived).await.unwrap() > 0, "the server hung up");
    }

    /// With the login, in the way that counts nothing.
    async fn prove(&mut self, method: &str, url: &str, headers: &str, password: &str) -> (u16, String) {
        if self.nonce.is_empty() {
            let (status, head) = self.ask(method, url, headers).await;
            assert_eq!(status, 401);
            self.nonce = nonce(&head);
        }
        let secret = md5(&format!("viewer:Doorstep virtual camera:{password}"));
        let response = md5(&format!("{secret}:{}:{}", self.nonce, md5(&format!("{method}:{url}"))));
        let login = format!(
            "Authorization: Digest username=\"viewer\", realm=\"Doorstep virtual camera\", nonce=\"{}\", \
             uri=\"{url}\", response=\"{response}\"\r\n",
            self.nonce
        );
        self.ask(method, url, &format!("{headers}{login}")).await
    }

    async fn set_up(&mut self, transport: &str) -> (u16, String) {
        let url = format!("{}/track0", self.url);
        let (status, head) = self.prove("SETUP", &url, &format!("Transport: {transport}\r\n"), PASSWORD).await;
        if let Some(session) = header(&head, "Session") {
            self.session = session.split(';').next().unwrap().to_owned();
        }
        (status, head)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn nonce(head: &str) -> String {
    head.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn md5(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn only_the_login_of_the_hour_is_let_in() {
    let server = server(Settings { protection: Protection::Legacy, ..Settings::default() }).await;
    let mut client = Client::connect(&server).await;
    let url = client.url.clone();
    let mut happened = server.events();
    assert_eq!(client.prove("DESCRIBE", &url, "", "another").await.0, 401);
    let refused = RtspEvent::Refused { client: 1, status: 401, why: "a wrong user or password" };
    assert_eq!(happened.recv().await.unwrap(), refused, "the question for a login is no refusal");
    assert_eq!(client.prove("DESCRIBE", &url, "", PASSWORD).await.0, 200);
    server.obey(RtspCommand::Password(Password::new("another")));
    assert_eq!(client.prove("DESCRIBE", &url, "", PASSWORD).await.0, 401);
    assert_eq!(client.prove("DESCRIBE", &url, "", "another").await.0, 200);
}

#[tokio::test]
async fn an_old_nonce_is_called_stale_and_a_wrong_password_is_not() {
    let server = server(Settings::default()).await;
    let mut client = Client::connect(&server).await;
    let url = client.url.clone();
    assert_eq!(client.prove("DESCRIBE", &url, "", PASSWORD).await.0, 200);
    server.obey(RtspCommand::ForgetNonces);
    let (status, head) = client.prove("DESCRIBE", &url, "", "another").await;
    assert!(status == 401 && !head.contains("stale"), "{head}");
    let (status, head) = client.prove("DESCRIBE", &url, "", PASSWORD).await;
    assert!(status == 401 && head.contains("stale=true"), "{head}");
    client.nonce = nonce(&head);
    assert_eq!(client.prove("DESCRIBE", &url, "", PASSWORD).await.0, 200);
}

#[tokio::test]
async fn it_plays_over_the_connection_that_asked_and_nowhere_else() {
    let server = server(Settings::default()).await;
    let mut client = Client::connect(&server).await;
    let url = client.url.clone();
    let mut happened = server.events();
    assert_eq!(client.prove("PLAY", &url, "", PASSWORD).await.0, 454, "PLAY before SETUP");
    assert_eq!(client.set_up("RTP/AVP;unicast;client_port=4000-4001").await.0, 461);
    let either = "RTP/AVP;unicast;client_port=4000-4001,RTP/AVP/TCP;unicast;interleaved=4-5";
    let (status, head) = client.set_up(either).await;
    assert_eq!((status, header(&head, "Transport")), (200, Some("RTP/AVP/TCP;unicast;interleaved=4-5")));
    let (status, head) = client.prove("PLAY", &url, "", PASSWORD).await;
    let info = header(&head, "RTP-Info").unwrap();
    assert!(status == 200 && info.starts_with(&format!("url={url}/track0;seq=")), "{head}");
    while client.arrived.len() < 16 {
        client.more().await;
    }
    assert_eq!(client.arrived[..2], [b'$', 5], "a sender report comes first");
    assert_eq!(client.prove("GET_PARAMETER", &url, "", PASSWORD).await.0, 200);
    assert_eq!(client.prove("RECORD", &url, "", PASSWORD).await.0, 501);
    assert_eq!(client.prove("TEARDOWN", &url, "", PASSWORD).await.0, 200);
    let mut told = Vec::new();
    while !matches!(told.last(), Some(RtspEvent::End { .. })) {
        told.push(happened.recv().await.unwrap());
    }
    assert!(told.contains(&RtspEvent::Play { client: 1, path: "live.sdp".into() }), "{told:?}");
    assert!(told.contains(&RtspEvent::KeepAlive { client: 1 }), "{told:?}");
    assert_eq!(told.last(), Some(&RtspEvent::End { client: 1, why: "the client has ended it" }));
}

#[tokio::test]
async fn clients_are_bounded_and_one_that_is_not_heard_is_let_go() {
    let settings = Settings { clients: 1, session: Duration::from_secs(1), ..Settings::default() };
    let server = server(settings).await;
    let mut first = Client::connect(&server).await;
    assert_eq!(first.ask("OPTIONS", "*", "").await.0, 200);
    let mut second = Client::connect(&server).await;
    assert_eq!(second.ask("OPTIONS", "*", "").await.0, 503);
    let mut happened = server.events();
    assert_eq!(first.set_up("RTP/AVP/TCP;unicast;interleaved=0-1").await.0, 200);
    let lost = RtspEvent::End { client: 1, why: "the client has not been heard for too long" };
    let gone = async { while happened.recv().await.unwrap() != lost {} };
    timeout(PATIENCE, gone).await.expect("a session without a sign of life ends");
}

#[tokio::test]
async fn a_server_that_is_told_to_hang_up_does_and_takes_new_connections() {
    let server = server(Settings::default()).await;
    let mut client = Client::connect(&server).await;
    assert_eq!(client.ask("OPTIONS", "*", "").await.0, 200);
    server.obey(RtspCommand::HangUp);
    assert_eq!(timeout(PATIENCE, client.socket.read_u8()).await.unwrap().ok(), None);
    server.obey(RtspCommand::Fault(Some(Fault::Silent)));
    assert_eq!(Client::connect(&server).await.ask("OPTIONS", "*", "").await.0, 200);
}
