//! Ways to log in to AWS: a role that is taken on, and a thing's certificate, which AWS IoT's credentials provider sees
//! over mutual TLS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorstep::aws::{Action, Aws, AwsError, Role, Settings};
use doorstep::config::{KvsIdentity, KvsLogin};
use doorstep::net::supervise::Retry;
use doorstep::net::tls::PemError;
use doorstep::secret::{Password, Pem};
use futures_util::future::join_all;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::support::fake_aws::{
    KEY, ROLE, Reply, Seen, Server, TEMPORARY_KEY, TEMPORARY_SECRET, TOKEN, channel, claim_of, healthy, ok, rfc3339,
    router,
};

#[tokio::test]
async fn a_role_is_taken_on_once_for_all_who_ask() {
    let server = Server::start(healthy).await;
    let settings = Settings { role_arn: Some(ROLE.to_owned()), ..server.settings() };
    let aws = Aws::new(settings).unwrap();
    let all = join_all((0..10).map(|_| aws.describe("doorbell-channel"))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(server.count("/"), 1, "{:?}", server.asked());
    let assume = server.seen.lock().unwrap().iter().find(|seen| seen.path == "/").unwrap().clone();
    assert_eq!(
        assume.body,
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdoorbell-viewer\
         &RoleSessionName=doorstep"
    );
    let (claim, of_the_role) = (assume.signer(), server.last().signer());
    assert_eq!((&*claim.service, &*claim.access_key_id), ("sts", KEY));
    assert_eq!(of_the_role.access_key_id, TEMPORARY_KEY);
    assert!(of_the_role.signed_headers.contains(&"x-amz-security-token".to_owned()));
    let signalling = aws.signalling(&channel(), Role::Viewer, "v").await.unwrap();
    assert_eq!(claim_of(&signalling.url).1.session_token.as_deref(), Some(TOKEN));
}

#[tokio::test]
async fn row_14_a_role_that_is_refused_is_not_asked_for_again_and_again() {
    let server = Server::start(|_| Reply {
        status: 403,
        headers: Vec::new(),
        body: b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>User is not</Message></Error></ErrorResponse>"
            .to_vec(),
    })
    .await;
    let aws = Aws::new(Settings { role_arn: Some(ROLE.to_owned()), ..server.settings() }).unwrap();
    for _ in 0..20 {
        let error = aws.describe("doorbell-channel").await.unwrap_err();
        assert_eq!(error, AwsError::AccessDenied { action: Action::AssumeRole });
    }
    assert!(server.asked().len() <= 5, "asked {} times", server.asked().len());
}

/// A thing's certificate authority, and what it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::<String>::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap() }
    }

    fn sign(&self, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.extended_key_usages = vec![usage];
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn thing(&self) -> KvsIdentity {
        let (certificate, key) = self.sign(ExtendedKeyUsagePurpose::ClientAuth);
        KvsIdentity { certificate: Pem::new(&certificate.pem()), private_key: Pem::new(&key.serialize_pem()) }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// One that wants to see a certificate of `self`.
    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider.clone()).build().unwrap();
        let (certificate, key) = self.sign(ExtendedKeyUsagePurpose::ServerAuth);
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let configuration = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        TlsAcceptor::from(Arc::new(configuration))
    }

    /// The credentials provider.
    async fn provider(&self, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Url, Arc<Mutex<Vec<Seen>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (url, seen) = (format!("https://localhost:{}", listener.local_addr().unwrap().port()), Arc::default());
        let (acceptor, router) = (self.acceptor(), router(Arc::clone(&seen), answer));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
                tokio::spawn(async move {
                    let stream = TokioIo::new(acceptor.accept(socket).await?);
                    http1::Builder::new().serve_connection(stream, service).await.map_err(std::io::Error::other)
                });
            }
        });
        (url.parse().unwrap(), seen)
    }
}

fn given(request: &Seen) -> Reply {
    assert_eq!(request.path, "/role-aliases/doorbell-viewer/credentials");
    match request.header("x-amzn-iot-thingname") {
        "front-door" => ok(&json!({ "credentials": {
            "accessKeyId": TEMPORARY_KEY, "secretAccessKey": TEMPORARY_SECRET, "sessionToken": TOKEN,
            "expiration": rfc3339(Duration::from_secs(3_600)),
        } })),
        _ => Reply { status: 403, headers: Vec::new(), body: br#"{"message":"Access Denied"}"#.to_vec() },
    }
}

fn certificate_login(endpoint: Url, thing: &str, identity: KvsIdentity) -> KvsLogin {
    let (role_alias, thing) = ("doorbell-viewer".to_owned(), thing.to_owned());
    KvsLogin::Certificate { endpoint, role_alias, thing, identity }
}

#[tokio::test]
async fn a_certificate_is_a_login_for_everything() {
    let (server, authority) = (Server::start(healthy).await, Authority::new());
    let (provider, seen) = authority.provider(given).await;
    let settings = |thing: &str, identity: KvsIdentity| {
        let mut settings = server.settings();
        settings.login = certificate_login(provider.clone(), thing, identity);
        settings.endpoints.authority = Some(Pem::new(&authority.issuer.pem()));
        settings
    };
    let aws = Aws::new(settings("front-door", authority.thing())).unwrap();
    aws.describe("doorbell-channel").await.unwrap();
    aws.describe("doorbell-channel").await.unwrap();
    assert_eq!(server.last().signer().access_key_id, TEMPORARY_KEY);
    assert_eq!(seen.lock().unwrap().len(), 1, "the keys are not kept");
    assert!(aws.trust().identity.is_some(), "AWS IoT is to see the certificate too");

    let other_thing = Aws::new(settings("back-door", authority.thing())).unwrap();
    let error = other_thing.describe("doorbell-channel").await.unwrap_err();
    assert_eq!(error, AwsError::AccessDenied { action: Action::AssumeRoleWithCertificate });
    assert!(error.to_string().contains("check `thing`, `role_alias`"), "{error}");

    let stranger = Aws::new(settings("front-door", Authority::new().thing())).unwrap();
    let error = stranger.describe("doorbell-channel").await.unwrap_err();
    assert!(matches!(error, AwsError::Unreachable(_)), "{error:?}");

    let mut with_role = settings("front-door", authority.thing());
    with_role.role_arn = Some(ROLE.to_owned());
    Aws::new(with_role).unwrap().describe("doorbell-channel").await.unwrap();
    assert_eq!(server.count("/"), 1, "the role is taken on with what the certificate gave");
}

#[tokio::test]
async fn row_16_a_provider_that_answers_anything_is_survived() {
    let (server, authority) = (Server::start(healthy).await, Authority::new());
    let half = json!({ "credentials": { "accessKeyId": "A", "secretAccessKey": "", "sessionToken": "t" } }).to_string();
    for body in ["", "{}", "<html>", r#"{"credentials":[]}"#, &half].map(str::to_owned) {
        let shown = body.clone();
        let answer = move |_: &Seen| Reply { status: 200, headers: Vec::new(), body: body.clone().into_bytes() };
        let (provider, _) = authority.provider(answer).await;
        let mut settings = server.settings();
        settings.login = certificate_login(provider, "front-door", authority.thing());
        settings.endpoints.authority = Some(Pem::new(&authority.issuer.pem()));
        let error = Aws::new(settings).unwrap().credentials().await.unwrap_err();
        let is_it = matches!(error, AwsError::Unreadable { action: Action::AssumeRoleWithCertificate, .. });
        assert!(is_it, "{shown}: {error:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_none_is_told_at_once() {
    let (server, authority) = (Server::start(healthy).await, Authority::new());
    let (one, other) = (authority.thing(), authority.thing());
    let mixed = KvsIdentity { private_key: other.private_key, ..one.clone() };
    let new = |identity| Aws::new(Settings { identity: Some(identity), ..server.settings() });
    assert!(matches!(new(mixed), Err(AwsError::Pem(PemError::Mismatch(_)))));
    let missing = KvsIdentity { certificate: Pem::new("/nowhere/certificate.pem"), ..one };
    let error = new(missing).unwrap_err();
    assert!(error.to_string().contains("`/nowhere/certificate.pem` cannot be read"), "{error}");
    assert_eq!(error.retry(), Retry::WaitForUser);
    let mut settings = server.settings();
    settings.endpoints.authority = Some(Pem::Text(Password::new("-----BEGIN nothing")));
    assert!(matches!(Aws::new(settings), Err(AwsError::Pem(PemError::NoCertificate(_)))));
}
