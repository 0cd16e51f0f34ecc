//! A virtual AWS IoT behind sockets: TLS that asks for certificates, and WebSockets at signed addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use doorstep::aws::iot::{Iot, News, Pace, Settings, Way};
use doorstep::aws::{self, Aws};
use doorstep::config::{AwsKeys, IotEndpoint, KvsEndpoints, KvsLogin};
use doorstep::net::tls::{Authority, Identity, Trust};
use doorstep::proto::kvs::sigv4::{self, Claim};
use doorstep::secret::{Password, Pem, Token};
use doorstep::sim::iot::{Broker, Event, Policy, Principal, SUBPROTOCOLS};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::mosquitto::PATIENCE;
use super::told;

pub(crate) const ALPN: &[u8] = b"x-amzn-mqtt-ca";
pub(crate) const THING: &str = "doorstep-thing";
const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "IQoJb3JpZ2luX2VjE+/x==";

/// Quick enough for a test, and as slow as AWS IoT's seconds are where an address is signed anew.
pub(crate) const QUICK: Pace = Pace {
    trouble: Duration::from_millis(40),
    owner: Duration::from_millis(150),
    keep_alive: Duration::from_secs(30),
    answer: Duration::from_secs(10),
};

/// A certificate authority, whose files foreign programs read.
pub(crate) struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, in PEM and in DER.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
    certificate_der: CertificateDer<'static>,
    key_der: PrivatePkcs8KeyDer<'static>,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "An authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let own = Self { authority, folder: tempfile::tempdir().unwrap() };
        own.write("authority.pem", &own.pem());
        own
    }

    pub(crate) fn pem(&self) -> String {
        self.authority.pem()
    }

    /// For a server of this machine, or a thing by its name.
    pub(crate) fn make(&self, name: &str) -> Made {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let key_der = PrivatePkcs8KeyDer::from(key.serialize_der());
        Made {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            certificate_der: certificate.der().clone(),
            key_der,
        }
    }

    /// Writes it where foreign programs can read it; the paths of certificate and key.
    pub(crate) fn files(&self, name: &str) -> [PathBuf; 2] {
        let made = self.make(name);
        [self.write(&format!("{name}.pem"), &made.certificate), self.write(&format!("{name}.key"), &made.key)]
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// As a client that shows the certificate of a thing.
    pub(crate) fn trust(&self, thing: &str) -> Trust {
        let made = self.make(thing);
        let pem = |text: String| Pem::Text(Password::new(text));
        Trust {
            authority: Some(Authority::load(&pem(self.pem())).unwrap()),
            identity: Some(Identity::load(&pem(made.certificate), &pem(made.key)).unwrap()),
        }
    }

    fn server(&self, asks_for_certificate: bool, alpn: &[&[u8]]) -> TlsAcceptor {
        let made = self.make("localhost");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = if asks_for_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        } else {
            builder.unwrap().with_no_client_auth()
        };
        let mut config = builder.with_single_cert(vec![made.certificate_der], made.key_der.into()).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The broker and where it listens.
pub(crate) struct IotHouse {
    pub(crate) broker: Broker,
    pub(crate) address: SocketAddr,
    pub(crate) certificates: Certificates,
    seen: Seen,
    tls: bool,
    events: broadcast::Receiver<Event>,
}

/// What came with connections: ALPN, or the query of a signed address.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn push(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

#[derive(Clone)]
struct Shop {
    broker: Broker,
    seen: Seen,
}

impl IotHouse {
    /// TLS for things, which show certificates.
    pub(crate) async fn mqtts(policy: Policy) -> Self {
        Self::start(policy, true, |certificates| {
            let acceptor = certificates.server(true, &[ALPN, b"http/1.1"]);
            move |shop: Shop, socket| {
                let acceptor = acceptor.clone();
                async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let alpn = stream.get_ref().1.alpn_protocol().unwrap_or_default();
                    shop.seen.push(String::from_utf8(alpn.to_vec()).unwrap());
                    shop.broker.serve(stream, Principal::new(THING)).await;
                }
            }
        })
        .await
    }

    /// Signed WebSockets in the clear.
    pub(crate) async fn ws(policy: Policy) -> Self {
        Self::start(policy, false, |_| |shop, socket| serve_http(shop, socket)).await
    }

    pub(crate) async fn wss(policy: Policy) -> Self {
        Self::start(policy, true, |certificates| {
            let acceptor = certificates.server(false, &[]);
            move |shop, socket| {
                let acceptor = acceptor.clone();
                async move {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        serve_http(shop, stream).await;
                    }
                }
            }
        })
        .await
    }

    async fn start<F, A>(policy: Policy, tls: bool, attend: impl FnOnce(&Certificates) -> F) -> Self
    where
        F: Fn(Shop, tokio::net::TcpStream) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let certificates = Certificates::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let broker = Broker::new(policy);
        let shop = Shop { broker: broker.clone(), seen: Seen::default() };
        let (seen, events) = (shop.seen.clone(), broker.events());
        let attend = attend(&certificates);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                tokio::spawn(attend(shop.clone(), socket));
            }
        });
        Self { broker, address, certificates, seen, tls, events }
    }

    pub(crate) fn endpoint(&self) -> IotEndpoint {
        IotEndpoint { host: "localhost".to_owned(), port: Some(self.address.port()), tls: self.tls }
    }

    /// With a certificate.
    pub(crate) fn settings(&self, client_id: &str, filters: &[&str]) -> Settings {
        Settings {
            endpoint: self.endpoint(),
            way: Way::Certificate(self.certificates.trust(THING)),
            client_id: client_id.to_owned(),
            filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
            clean_session: true,
        }
    }

    /// With keys.
    pub(crate) fn signed(&self, client_id: &str, filters: &[&str], secret: &str) -> Settings {
        let url = || "http://127.0.0.1:1".parse().unwrap();
        let keys = AwsKeys {
            access_key_id: KEY_ID.to_owned(),
            secret_access_key: Password::new(secret),
            session_token: Some(Token::new(TOKEN)),
        };
        let endpoints = KvsEndpoints {
            kinesisvideo: url(),
            sts: url(),
            iot: url(),
            ice_servers: Vec::new(),
            authority: Some(Pem::Text(Password::new(self.certificates.pem()))),
        };
        let (region, login) = ("us-east-1".to_owned(), KvsLogin::Keys(keys));
        let aws = Aws::new(aws::Settings { region, login, role_arn: None, endpoints, identity: None }).unwrap();
        Settings { way: Way::Signed(aws), ..self.settings(client_id, filters) }
    }

    pub(crate) fn well_signed(&self, client_id: &str, filters: &[&str]) -> Settings {
        self.signed(client_id, filters, SECRET)
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.0.lock().unwrap().clone()
    }

    /// Waits for an event of the broker.
    pub(crate) async fn hears_of(&mut self, what: impl Fn(&Event) -> bool) -> Event {
        told::happens(&mut self.events, "it", what).await
    }
}

/// HTTP with one route, as AWS IoT has it.
async fn serve_http<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(shop: Shop, stream: S) {
    let router = Router::new().route("/mqtt", axum::routing::get(upgrade)).with_state(shop);
    let service = TowerToHyperService::new(router);
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn upgrade(State(shop): State<Shop>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let host = parts.headers["host"].to_str().unwrap().to_owned();
    let asked = sigv4::Request { method: "GET", path: "/mqtt", query: &query, headers: &[("host", &*host)], body: b"" };
    shop.seen.push(query.clone());
    let is_signed = Claim::of(&asked).is_ok_and(|claim| claim.holds(&asked, SECRET) && claim.has_token(Some(TOKEN)));
    if !is_signed {
        return (StatusCode::FORBIDDEN, r#"{"message":"Forbidden","traceId":"7"}"#).into_response();
    }
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.unwrap();
    upgrade
        .protocols(SUBPROTOCOLS)
        .on_upgrade(async move |socket| shop.broker.serve_websocket(socket, Principal::new(KEY_ID)).await)
}

/// A connection of ours, and what it has told so far.
pub(crate) struct Listener {
    pub(crate) iot: Iot,
}

impl Listener {
    pub(crate) fn start(settings: Settings) -> Self {
        Self::start_with(settings, QUICK)
    }

    pub(crate) fn start_with(settings: Settings, pace: Pace) -> Self {
        Self { iot: Iot::start_with(settings, pace, CancellationToken::new()) }
    }

    /// Waits for news; what comes before is passed over.
    pub(crate) async fn next_that(&mut self, what: &str, is_it: impl Fn(&News) -> bool) -> News {
        let mut passed = Vec::new();
        let found = async {
            loop {
                let news = self.iot.next().await;
                if is_it(&news) {
                    return news;
                }
                passed.push(news);
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("never told: {what}, but {passed:?}"))
    }

    pub(crate) async fn connects(&mut self) {
        self.next_that("connected", |news| *news == News::Connected).await;
    }

    /// The next message: topic, payload, and whether it may have come before.
    pub(crate) async fn hears(&mut self) -> (String, String, bool) {
        match self.next_that("a message", |news| matches!(news, News::Message { .. })).await {
            News::Message { topic, payload, dup, .. } => (topic, String::from_utf8(payload.to_vec()).unwrap(), dup),
            other => panic!("{other:?}"),
        }
    }

    /// Waits for trouble that the owner has to mend, or that passes.
    pub(crate) async fn complains(&mut self, needs_owner: bool) -> String {
        let is_it = |news: &News| matches!(news, News::Trouble { needs_owner: own, .. } if *own == needs_owner);
        match self.next_that("trouble", is_it).await {
            News::Trouble { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }
}
