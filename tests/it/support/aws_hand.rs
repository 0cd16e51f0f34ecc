//! A client of a virtual AWS that does everything by hand, wrong things too.

use std::net::SocketAddr;
use std::time::Duration;

use doorstep::clock;
use doorstep::proto::kvs::signaling::Inbound;
use doorstep::proto::kvs::sigv4::{Keys, Request, Scope, TokenMode, amz_date, authorization, presigned_query, query};
use doorstep::sim::aws::{self, AccessKey, AwsCommand, Event, Fault, Quotas, RunningAws, Settings, Trouble};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::http::{Reply, request_with};
use super::told;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const CHANNEL: &str = "doorbell-channel";
pub(crate) const DESCRIBE: &str = "/describeSignalingChannel";
pub(crate) const LIST: &str = "/listSignalingChannels";
pub(crate) const ENDPOINT: &str = "/getSignalingChannelEndpoint";
pub(crate) const ICE: &str = "/v1/get-ice-server-config";

pub(crate) struct AwsHand {
    pub(crate) aws: RunningAws,
    happened: broadcast::Receiver<Event>,
    _stop: DropGuard,
}

/// One account, and quotas that nobody exceeds by haste.
pub(crate) fn hurried() -> Settings {
    Settings { quotas: Quotas::GENEROUS, ..Settings::generate(1) }
}

/// With what, for what and when something is signed.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) region: String,
    pub(crate) service: &'static str,
    /// In seconds from now.
    pub(crate) skew: i64,
    pub(crate) expires: Option<u64>,
}

impl Signer {
    fn keys(&self) -> Keys<'_> {
        Keys { access_key_id: &self.id, secret_access_key: &self.secret, session_token: self.token.as_deref() }
    }

    fn date(&self) -> String {
        amz_date(clock::unix_seconds().saturating_add_signed(self.skew))
    }

    /// The query of an address at `host`, with parameters of its own.
    pub(crate) fn presign(&self, host: &str, path: &str, own: &[(&str, &str)], headers: &[(&str, &str)]) -> String {
        let (date, own) = (self.date(), query(own));
        let scope = Scope { region: &self.region, service: self.service, amz_date: &date };
        let headers = [headers, &[("host", host)]].concat();
        let request = Request { method: "GET", path, query: &own, headers: &headers, body: b"" };
        presigned_query(&request, &self.keys(), &scope, self.expires, TokenMode::of(self.service))
    }

    /// One request with botocore's set of headers.
    pub(crate) async fn ask(&self, to: SocketAddr, method: &str, target: &str, kind: &str, body: &str) -> Reply {
        let host = to.to_string();
        self.ask_as(&host, to, method, target, kind, body).await
    }

    pub(crate) async fn ask_as(
        &self,
        host: &str,
        to: SocketAddr,
        method: &str,
        target: &str,
        kind: &str,
        body: &str,
    ) -> Reply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let date = self.date();
        let scope = Scope { region: &self.region, service: self.service, amz_date: &date };
        let signed = [("content-type", kind), ("host", host)];
        let request = Request { method, path, query, headers: &signed, body: body.as_bytes() };
        let authorization = authorization(&request, &self.keys(), &scope);
        let mut headers = vec![
            ("content-type", kind),
            ("host", host),
            ("x-amz-date", date.as_str()),
            ("authorization", authorization.as_str()),
        ];
        headers.extend(self.token.as_deref().map(|token| ("x-amz-security-token", token)));
        request_with(to, method, target, &headers, body).await
    }
}

impl AwsHand {
    pub(crate) async fn at(settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let aws = aws::start(settings, stop.clone()).await.unwrap();
        Self { happened: aws.events(), aws, _stop: stop.drop_guard() }
    }

    pub(crate) async fn start() -> Self {
        Self::at(hurried()).await
    }

    pub(crate) async fn with_fault(fault: Fault) -> Self {
        Self::at(Settings { trouble: Some(fault.into()), ..hurried() }).await
    }

    pub(crate) fn fault(&self, fault: Option<Fault>) {
        self.command(AwsCommand::Trouble(fault.map(Trouble::from)));
    }

    pub(crate) fn command(&self, command: AwsCommand) {
        self.aws.obey(command).unwrap();
    }

    pub(crate) fn arn(&self) -> String {
        self.aws.arn(&self.aws.settings.channels[0].name).unwrap()
    }

    /// As the owner of the first key signs.
    pub(crate) fn signer(&self) -> Signer {
        self.signer_with(&self.aws.settings.keys[0])
    }

    pub(crate) fn signer_with(&self, key: &AccessKey) -> Signer {
        Signer {
            id: key.id.clone(),
            secret: key.secret.expose().to_owned(),
            token: key.token.as_ref().map(|token| token.expose().to_owned()),
            region: self.aws.settings.region.clone(),
            service: "kinesisvideo",
            skew: 0,
            expires: Some(299),
        }
    }

    /// To the control plane.
    pub(crate) async fn ask(&self, path: &str, body: Value) -> Reply {
        self.ask_by(&self.signer(), path, body).await
    }

    pub(crate) async fn ask_by(&self, signer: &Signer, path: &str, body: Value) -> Reply {
        signer.ask(self.aws.plain, "POST", path, "application/json", &body.to_string()).await
    }

    /// The address of a WebSocket to the signaling service; without an id, the master's.
    pub(crate) fn url(&self, client_id: Option<&str>) -> String {
        self.url_by(&self.signer(), &self.arn(), client_id)
    }

    pub(crate) fn url_by(&self, signer: &Signer, arn: &str, client_id: Option<&str>) -> String {
        let mut own = vec![("X-Amz-ChannelARN", arn)];
        own.extend(client_id.map(|id| ("X-Amz-ClientId", id)));
        let host = self.aws.plain.to_string();
        format!("ws://{host}/?{}", signer.presign(&host, "/", &own, &[]))
    }

    pub(crate) async fn dial(&self, client_id: Option<&str>) -> Line {
        Line::open(&self.url(client_id))
            .await
            .unwrap_or_else(|refusal| panic!("{client_id:?} was refused: {refusal:?}"))
    }

    /// The next event that `accept` takes.
    pub(crate) async fn happens(&mut self, what: &str, accept: impl Fn(&Event) -> bool) -> Event {
        told::happens(&mut self.happened, what, accept).await
    }
}

/// What is said instead of opening a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// As `x-amzn-ErrorType` says it.
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// A WebSocket to the signaling service.
pub(crate) struct Line(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Line {
    pub(crate) async fn open(url: &str) -> Result<Self, Refusal> {
        match timeout(PATIENCE, connect_async(url)).await.expect("an answer") {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::Error::Http(response)) => {
                let body: Value =
                    serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default();
                let kind = response.headers().get("x-amzn-errortype").map(|kind| kind.to_str().unwrap().to_owned());
                Err(Refusal {
                    status: response.status().as_u16(),
                    kind: kind.unwrap_or_default(),
                    message: body["message"].as_str().unwrap_or_default().to_owned(),
                })
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: impl Into<Message>) {
        self.0.send(frame.into()).await.unwrap();
    }

    /// The next text as it came; `None` at the end.
    pub(crate) async fn text(&mut self) -> Option<String> {
        loop {
            return match timeout(PATIENCE, self.0.next()).await.expect("a frame within the time") {
                Some(Ok(Message::Text(text))) => Some(text.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                _ => None,
            };
        }
    }

    pub(crate) async fn json(&mut self) -> Value {
        let text = self.text().await.expect("a frame");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    /// The next frame that can be read.
    pub(crate) async fn inbound(&mut self) -> Inbound {
        loop {
            if let Ok(frame) = Inbound::decode(&self.text().await.expect("a frame")) {
                return frame;
            }
        }
    }

    pub(crate) async fn ends(&mut self) {
        while self.text().await.is_some() {}
    }
}
