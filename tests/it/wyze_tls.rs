//! A cloud is believed only under its own name, with a certificate that is valid and of an authority that the
//! machine knows, and whatever is wrong is said precisely (requirement S17).

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use doorstep::config::{WyzeEndpoints, WyzeLogin};
use doorstep::net::http::{Client, HttpError, Method, Request};
use doorstep::net::tls::Distrust;
use doorstep::secret::{Email, Password, Token};
use doorstep::store::Store;
use doorstep::vendor::wyze::cloud::Cloud;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// Set for the run of the test that knows the authority, which only its environment can say: a folder.
const KNOWING: &str = "DOORSTEP_TEST_AUTHORITY";
const DAY: i64 = 86_400;

/// A certificate and its key.
struct Identity {
    certificate: X509,
    key: PKey<Private>,
}

/// What is asked of a certificate.
struct Wanted<'a> {
    name: &'a str,
    authority: bool,
    /// In seconds from now.
    valid: std::ops::Range<i64>,
}

impl<'a> Wanted<'a> {
    fn good(name: &'a str) -> Self {
        Self { name, authority: false, valid: -DAY..DAY }
    }

    /// Signed by `issuer`, or by itself.
    fn made(&self, issuer: Option<&Identity>) -> Identity {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", self.name).unwrap();
        let name = name.build();
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(key.public_key_to_der().unwrap().iter().map(|byte| u32::from(*byte)).sum());
        builder.set_serial_number(&serial.unwrap().to_asn1_integer().unwrap()).unwrap();
        let now = doorstep::clock::unix_now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        builder.set_not_before(&Asn1Time::from_unix(now + self.valid.start).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(now + self.valid.end).unwrap()).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(issuer.map_or(&*name, |issuer| issuer.certificate.subject_name())).unwrap();
        builder.set_pubkey(&key).unwrap();
        let mut constraints = BasicConstraints::new();
        constraints.critical();
        if self.authority {
            constraints.ca();
        }
        builder.append_extension(constraints.build().unwrap()).unwrap();
        let context = builder.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().dns(self.name).build(&context).unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(issuer.map_or(&key, |issuer| &issuer.key), MessageDigest::sha256()).unwrap();
        Identity { certificate: builder.build(), key }
    }
}

/// An HTTPS server that answers `{}`, for as long as the process lasts.
struct Server {
    port: u16,
    /// Bytes that were sent to it through TLS.
    received: Arc<AtomicUsize>,
}

impl Server {
    fn with(identity: &Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut acceptor = SslAcceptor::mozilla_modern_v5(SslMethod::tls()).unwrap();
        acceptor.set_private_key(&identity.key).unwrap();
        acceptor.set_certificate(&identity.certificate).unwrap();
        let acceptor = acceptor.build();
        let received = Arc::new(AtomicUsize::new(0));
        let count = received.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(mut stream) = acceptor.accept(socket.unwrap()) else { continue };
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap_or(0);
                count.fetch_add(read, Ordering::SeqCst);
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"));
                drop(stream.shutdown());
            }
        });
        Self { port, received }
    }

    async fn refused_for(&self) -> Option<Distrust> {
        let url = format!("https://localhost:{}/", self.port).parse().unwrap();
        match Client::new().send(Request::new(Method::GET, url)).await {
            Ok(_) => None,
            Err(HttpError::Untrusted { host, why }) => {
                assert_eq!(host, format!("localhost:{}", self.port));
                Some(why)
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_cloud_is_believed_if_its_certificate_is() {
    if let Ok(folder) = std::env::var(KNOWING) {
        return knowing(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let authority = Wanted { authority: true, valid: -DAY..DAY, name: "Authority of this test" }.made(None);
    let file = |name: &str| folder.path().join(name);
    fs::write(file("authority.pem"), authority.certificate.to_pem().unwrap()).unwrap();
    fs::write(file("key.pem"), authority.key.private_key_to_pem_pkcs8().unwrap()).unwrap();

    let unknown = Server::with(&Wanted::good("localhost").made(Some(&authority)));
    assert_eq!(unknown.refused_for().await, Some(Distrust::UnknownIssuer));
    assert_eq!(unknown.received.load(Ordering::SeqCst), 0);
    told_with_the_way_out(&unknown).await;

    let this_test = std::thread::current().name().unwrap().to_owned();
    let knowing = Command::new(std::env::current_exe().unwrap())
        .args([&this_test, "--exact"])
        .env(KNOWING, folder.path())
        .env("SSL_CERT_FILE", file("authority.pem"))
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&knowing.stdout);
    assert!(knowing.status.success() && report.contains("1 passed"), "{report}");
}

/// The part that knows the authority.
async fn knowing(folder: &str) {
    let read = |name: &str| fs::read(format!("{folder}/{name}")).unwrap();
    let authority = Identity {
        certificate: X509::from_pem(&read("authority.pem")).unwrap(),
        key: PKey::private_key_from_pem(&read("key.pem")).unwrap(),
    };
    let good = Server::with(&Wanted::good("localhost").made(Some(&authority)));
    assert_eq!(good.refused_for().await, None, "a known authority was not believed");
    assert!(good.received.load(Ordering::SeqCst) > 0);

    let expired = Wanted { valid: -2 * DAY..-DAY, ..Wanted::good("localhost") };
    let early = Wanted { valid: DAY..2 * DAY, ..Wanted::good("localhost") };
    let an_authority = Wanted { authority: true, ..Wanted::good("localhost") };
    for (what, identity, why) in [
        ("another name", Wanted::good("cloud.example").made(Some(&authority)), Distrust::WrongName),
        ("expired", expired.made(Some(&authority)), Distrust::Expired),
        ("not valid yet", early.made(Some(&authority)), Distrust::NotYetValid),
        ("signed by itself", Wanted::good("localhost").made(None), Distrust::UnknownIssuer),
        ("an authority signed by itself", an_authority.made(None), Distrust::Authority),
    ] {
        let server = Server::with(&identity);
        assert_eq!(server.refused_for().await, Some(why), "{what}");
        assert_eq!(server.received.load(Ordering::SeqCst), 0, "{what}: something was sent");
    }
}

/// Of an account whose cloud has such a certificate.
async fn told_with_the_way_out(server: &Server) {
    let at: url::Url = format!("https://localhost:{}", server.port).parse().unwrap();
    let [auth, api, core, lock, mars] = std::array::from_fn(|_| at.clone());
    let endpoints = WyzeEndpoints { auth, api, core, lock, mars, device_management: at };
    let login = WyzeLogin {
        email: Email::new("owner@example.net"),
        password: Password::new("hunter2"),
        key_id: Password::new("key id"),
        api_key: Token::new("api key"),
        totp_secret: None,
        ring_events: vec![10],
        poll: std::time::Duration::from_secs(5),
        endpoints,
        gwell: Default::default(),
    };
    let folder = tempfile::tempdir().unwrap();
    let client = Cloud::new(&login, &Store::open(folder.path()).unwrap());
    let error = client.app("/app/v2/home_page/get_object_list", serde_json::json!({})).await.unwrap_err().to_string();
    for part in ["authority that this machine does not know", "https://app.wyzecam.com", "endpoints", "SSL_CERT_FILE"] {
        assert!(error.contains(part), "{part} is missing: {error}");
    }
    assert_eq!(server.received.load(Ordering::SeqCst), 0, "the password was sent");
}
