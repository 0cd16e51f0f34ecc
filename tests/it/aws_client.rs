//! An account at AWS, asked over HTTP: everything is signed as AWS wants it, what can be remembered is, and whatever is
//! answered is survived.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use doorstep::aws::{Action, Aws, AwsError, Channel, Role, Settings};
use doorstep::clock;
use doorstep::config::{AwsKeys, IotEndpoint, KvsEndpoints, KvsIdentity, KvsLogin};
use doorstep::net::http::HttpError;
use doorstep::net::supervise::Retry;
use doorstep::net::tls::PemError;
use doorstep::proto::kvs::sigv4::{self, Claim};
use doorstep::secret::{Password, Pem, SignedUrl, Token};
use futures_util::future::join_all;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TEMPORARY_KEY: &str = "ASIAIOSFODNN7EXAMPLE";
const TEMPORARY_SECRET: &str = "temporary/secret";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE//wEaCXVz+abc/def=ghi==";
const ARN: &str = "arn:aws:kinesisvideo:us-east-1:123456789012:channel/doorbell-channel/1700000000000";
const ROLE: &str = "arn:aws:iam::123456789012:role/doorbell-viewer";

/// A request as it came.
#[derive(Clone)]
struct Seen {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Seen {
    async fn of(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.iter().map(header).collect(),
            body: String::from_utf8(axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap(),
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// What it claims, which must be so.
    fn signer(&self) -> Claim {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let (method, path, query, body) = (&*self.method, &*self.path, &*self.query, self.body.as_bytes());
        let request = sigv4::Request { method, path, query, headers: &headers, body };
        let claim = Claim::of(&request).unwrap();
        let (secret, token) = if claim.access_key_id == KEY { (SECRET, None) } else { (TEMPORARY_SECRET, Some(TOKEN)) };
        assert!(claim.holds(&request, secret), "{} {} is wrongly signed", self.method, self.path);
        assert!(claim.has_token(token));
        claim
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn ok(json: &Value) -> Reply {
    Reply { status: 200, headers: Vec::new(), body: json.to_string().into_bytes() }
}

fn refusal(status: u16, kind: &str) -> Reply {
    let headers = vec![("x-amzn-errortype", kind.to_owned())];
    Reply { status, headers, body: br#"{"Message":"no"}"#.to_vec() }
}

/// Answers as a test wants it, and remembers what it was asked.
struct Server {
    at: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer).await
    }

    async fn start_at(at: &str, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let (at, seen) = (listener.local_addr().unwrap(), Arc::default());
        let router = router(Arc::clone(&seen), answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { at, seen }
    }

    fn url(&self) -> Url {
        format!("http://{}", self.at).parse().unwrap()
    }

    /// The paths that were asked for.
    fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.path.clone()).collect()
    }

    fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| *asked == path).count()
    }

    fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    fn settings(&self) -> Settings {
        let url = self.url();
        let keys =
            AwsKeys { access_key_id: KEY.to_owned(), secret_access_key: Password::new(SECRET), session_token: None };
        let endpoints = KvsEndpoints {
            kinesisvideo: url.clone(),
            sts: url.clone(),
            iot: url,
            ice_servers: vec!["stun:127.0.0.1:3478".to_owned()],
            authority: None,
        };
        Settings {
            region: "us-east-1".to_owned(),
            login: KvsLogin::Keys(keys),
            role_arn: None,
            endpoints,
            identity: None,
        }
    }

    fn aws(&self) -> Aws {
        Aws::new(self.settings()).unwrap()
    }
}

fn router(seen: Arc<Mutex<Vec<Seen>>>, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Router {
    let answer = Arc::new(answer);
    Router::new().fallback(move |request: Request| {
        let (seen, answer) = (seen.clone(), answer.clone());
        async move {
            let request = Seen::of(request).await;
            seen.lock().unwrap().push(request.clone());
            let reply = answer(&request);
            let mut response = Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            response.body(Body::from(reply.body)).unwrap()
        }
    })
}

fn channel() -> Channel {
    Channel { name: "doorbell-channel".to_owned(), arn: ARN.to_owned() }
}

fn channel_info(name: &str) -> Value {
    json!({
        "ChannelName": name,
        "ChannelARN": ARN.replace("doorbell-channel", name),
        "ChannelType": "SINGLE_MASTER",
        "ChannelStatus": "ACTIVE",
        "CreationTime": 1_700_000_000.0,
        "SingleMasterConfiguration": { "MessageTtlSeconds": 60 },
        "Version": "abcDEF123",
    })
}

/// What a healthy AWS says, with its channel endpoints at the address that was asked.
fn healthy(request: &Seen) -> Reply {
    let host = request.header("host");
    match &*request.path {
        "/describeSignalingChannel" => ok(&json!({ "ChannelInfo": channel_info("doorbell-channel") })),
        "/listSignalingChannels" => ok(&json!({ "ChannelInfoList": [channel_info("doorbell-channel")] })),
        "/getSignalingChannelEndpoint" => ok(&json!({ "ResourceEndpointList": [
            { "Protocol": "WEBRTC", "ResourceEndpoint": format!("https://{host}") },
            { "Protocol": "WSS", "ResourceEndpoint": format!("ws://{host}") },
            { "Protocol": "HTTPS", "ResourceEndpoint": format!("http://{host}"), "New": {} },
        ] })),
        "/v1/get-ice-server-config" => ok(&json!({ "IceServerList": [
            { "Uris": ["turn:127.0.0.1:3479?transport=udp", "turns:127.0.0.1:443?transport=tcp", "gopher:x"],
              "Username": "user", "Password": "relay password", "Ttl": 300 },
            { "Uris": "none" },
        ] })),
        "/endpoint" => ok(&json!({ "endpointAddress": "abc-ats.iot.us-east-1.amazonaws.com" })),
        "/" => assumed(&rfc3339(Duration::from_secs(3_600))),
        path => panic!("{path} is not asked for"),
    }
}

fn rfc3339(from_now: Duration) -> String {
    clock::rfc3339(clock::unix_now() + from_now)
}

fn assumed(expiration: &str) -> Reply {
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
         <AccessKeyId>{TEMPORARY_KEY}</AccessKeyId><SecretAccessKey>{TEMPORARY_SECRET}</SecretAccessKey>\
         <SessionToken>{TOKEN}</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>"
    );
    Reply { status: 200, headers: vec![("content-type", "text/xml".to_owned())], body: body.into_bytes() }
}

/// What a presigned address claims where it is believed.
fn claim_of(url: &SignedUrl) -> (Url, Claim) {
    let url: Url = url.expose().parse().unwrap();
    let host = url
        .port()
        .map_or_else(|| url.host_str().unwrap().to_owned(), |port| format!("{}:{port}", url.host_str().unwrap()));
    let headers = [("host".to_owned(), host)].to_vec();
    let (path, query) = (url.path().to_owned(), url.query().unwrap().to_owned());
    let claim = Seen { method: "GET".to_owned(), path, query, headers, body: String::new() }.signer();
    (url, claim)
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_channel_is_described_by_its_name_or_its_arn() {
    let server = Server::start(healthy).await;
    let aws = server.aws();
    let described = aws.describe("doorbell-channel").await.unwrap();
    assert_eq!(described.channel, channel());
    assert!(described.active && described.single_master);
    assert_eq!(described.message_ttl, Some(Duration::from_secs(60)));
    assert_eq!(server.last().json(), json!({ "ChannelName": "doorbell-channel" }));
    aws.describe(ARN).await.unwrap();
    assert_eq!(server.last().json(), json!({ "ChannelARN": ARN }));
    let claim = server.last().signer();
    assert_eq!((&*claim.region, &*claim.service), ("us-east-1", "kinesisvideo"));
    assert_eq!(claim.signed_headers, ["content-type", "host", "x-amz-date"]);
}

#[tokio::test]
async fn what_is_signed_as_host_is_what_is_sent_over_ipv6_too() {
    if TcpListener::bind("[::1]:0").await.is_err() {
        return println!("skipped: this machine has no IPv6");
    }
    let server = Server::start_at("[::1]:0", healthy).await;
    server.aws().describe("doorbell-channel").await.unwrap();
    assert_eq!(server.last().header("host"), server.at.to_string());
    server.last().signer();
    let signalling = server.aws().signalling(&channel(), Role::Viewer, "viewer-1").await.unwrap();
    assert_eq!(claim_of(&signalling.url).0.host_str(), Some("[::1]"));
}

#[tokio::test]
async fn every_page_of_channels_is_read_and_what_is_no_channel_left_out() {
    let server = Server::start(|request| match request.json()["NextToken"].as_str() {
        None => ok(&json!({ "ChannelInfoList": [channel_info("a"), { "ChannelName": "half" }], "NextToken": "2" })),
        Some("2") => ok(&json!({ "ChannelInfoList": [channel_info("b"), channel_info("b/#")], "NextToken": "3" })),
        Some(_) => ok(&json!({ "ChannelInfoList": [
            { "ChannelName": "c", "ChannelARN": ARN, "ChannelType": "FULL_MESH", "ChannelStatus": "DELETING" },
        ], "NextToken": null })),
    })
    .await;
    let list = server.aws().list().await.unwrap();
    let names: Vec<&str> = list.iter().map(|described| &*described.channel.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(!list[2].active && !list[2].single_master && list[0].active);
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_list_that_does_not_end_is_ended() {
    let turns = Server::start(|_| ok(&json!({ "ChannelInfoList": [channel_info("a")], "NextToken": "same" }))).await;
    assert_eq!(turns.aws().list().await.unwrap().len(), 2);
    let count = Mutex::new(0);
    let grows = Server::start(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        ok(&json!({ "ChannelInfoList": [channel_info("a")], "NextToken": count.to_string() }))
    })
    .await;
    assert_eq!(grows.aws().list().await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_call_is_presigned_anew_over_what_is_remembered() {
    let server = Server::start(healthy).await;
    let aws = server.aws();
    let asked = aws.clone();
    // On a task of its own, as callers do it.
    let viewer = tokio::spawn(async move { asked.signalling(&channel(), Role::Viewer, "viewer-1").await });
    let viewer = viewer.await.unwrap().unwrap();
    assert_eq!(viewer.client_id, "viewer-1");
    let (url, claim) = claim_of(&viewer.url);
    assert_eq!((url.scheme(), url.path()), ("ws", "/"));
    assert_eq!(claim.expires, Some(299));
    assert_eq!(parameter(&url, "X-Amz-ChannelARN").as_deref(), Some(ARN));
    assert_eq!(parameter(&url, "X-Amz-ClientId").as_deref(), Some("viewer-1"));
    let urls: Vec<&str> = viewer.ice_servers.iter().flat_map(|server| &server.urls).map(|url| &**url).collect();
    let relays = ["turn:127.0.0.1:3479?transport=udp", "turns:127.0.0.1:443?transport=tcp"];
    assert_eq!(urls, ["stun:127.0.0.1:3478", relays[0], relays[1]]);
    let ice = server.last();
    assert_eq!(ice.json(), json!({ "ChannelARN": ARN, "ClientId": "viewer-1", "Service": "TURN" }));
    ice.signer();

    let again = aws.signalling(&channel(), Role::Viewer, "viewer-2").await.unwrap();
    assert_eq!(parameter(&claim_of(&again.url).0, "X-Amz-ClientId").as_deref(), Some("viewer-2"));
    assert_eq!(server.asked().len(), 2, "{:?}", server.asked());

    let master = aws.signalling(&channel(), Role::Master, "").await.unwrap();
    assert_eq!(parameter(&claim_of(&master.url).0, "X-Amz-ClientId"), None);
    assert_eq!(server.last().json(), json!({ "ChannelARN": ARN, "Service": "TURN" }));
    assert_eq!(server.asked().len(), 4, "the other end has endpoints of its own");

    assert_eq!(aws.ice_servers(&channel(), Role::Viewer, "viewer-2").await.unwrap().len(), 2);
    assert_eq!(server.count("/v1/get-ice-server-config"), 3, "fresh ones were wanted");
    aws.forget(&channel());
    aws.signalling(&channel(), Role::Viewer, "viewer-3").await.unwrap();
    assert_eq!(server.count("/getSignalingChannelEndpoint"), 3);
}

#[tokio::test]
async fn relays_that_expire_at_once_are_asked_for_each_time() {
    let server = Server::start(|request| match &*request.path {
        "/v1/get-ice-server-config" => {
            ok(&json!({ "IceServerList": [{ "Uris": ["turn:h:1"], "Username": "u", "Password": "p", "Ttl": 30 }] }))
        }
        _ => healthy(request),
    })
    .await;
    let aws = server.aws();
    for _ in 0..2 {
        aws.signalling(&channel(), Role::Viewer, "v").await.unwrap();
    }
    assert_eq!(server.count("/v1/get-ice-server-config"), 2);
    assert_eq!(server.count("/getSignalingChannelEndpoint"), 1);
}

#[tokio::test]
async fn endpoints_that_lead_nowhere_any_more_are_asked_for_again() {
    let moved = Arc::new(AtomicBool::new(false));
    let has_moved = moved.clone();
    let server = Server::start(move |request| match &*request.path {
        "/getSignalingChannelEndpoint" if !has_moved.load(Ordering::SeqCst) => ok(&json!({ "ResourceEndpointList": [
            { "Protocol": "WSS", "ResourceEndpoint": "wss://old.example" },
            { "Protocol": "HTTPS", "ResourceEndpoint": format!("http://{}/old", request.header("host")) },
        ] })),
        "/old/v1/get-ice-server-config" if has_moved.load(Ordering::SeqCst) => {
            refusal(404, "ResourceNotFoundException")
        }
        "/old/v1/get-ice-server-config" => ok(&json!({ "IceServerList": [] })),
        _ => healthy(request),
    })
    .await;
    let aws = server.aws();
    let old = aws.signalling(&channel(), Role::Viewer, "v").await.unwrap();
    assert!(old.url.expose().starts_with("wss://old.example/?"));
    moved.store(true, Ordering::SeqCst);
    assert_eq!(aws.ice_servers(&channel(), Role::Viewer, "v").await.unwrap().len(), 2);
    let new = aws.signalling(&channel(), Role::Viewer, "v").await.unwrap();
    assert!(new.url.expose().starts_with(&format!("ws://{}/?", server.at)));
}

#[tokio::test]
async fn a_call_goes_without_relays_where_aws_gives_none() {
    for status in [403, 500, 400] {
        let server = Server::start(move |request| match &*request.path {
            "/v1/get-ice-server-config" if status == 403 => refusal(403, "AccessDeniedException"),
            "/v1/get-ice-server-config" => refusal(status, "Whatever"),
            _ => healthy(request),
        })
        .await;
        let signalling = server.aws().signalling(&channel(), Role::Viewer, "v").await.unwrap();
        assert_eq!(signalling.ice_servers.len(), 1, "HTTP {status}");
        assert_eq!(signalling.ice_servers[0].urls, ["stun:127.0.0.1:3478"]);
    }
}

#[tokio::test]
async fn endpoints_to_which_nothing_may_be_sent_are_refused() {
    for (wss, https, of) in [
        ("ws://signalling.example", "https://h.example", "WSS"),
        ("wss://signalling.example", "http://h.example", "HTTPS"),
        ("https://signalling.example", "https://h.example", "WSS"),
        ("wss://signalling.example?x=y", "https://h.example", "WSS"),
        ("wss://user@signalling.example", "https://h.example", "WSS"),
        ("", "https://h.example", "WSS"),
        ("wss://signalling.example", "file:///etc/passwd", "HTTPS"),
    ] {
        let server = Server::start(move |_| {
            ok(&json!({ "ResourceEndpointList": [
                { "Protocol": "WSS", "ResourceEndpoint": wss }, { "Protocol": "HTTPS", "ResourceEndpoint": https },
            ] }))
        })
        .await;
        match server.aws().signalling(&channel(), Role::Viewer, "v").await.unwrap_err() {
            AwsError::Unreadable { action: Action::GetSignalingChannelEndpoint, what } => {
                assert!(what.contains(of), "{wss} {https}: {what}");
            }
            error => panic!("{wss} {https}: {error:?}"),
        }
    }
}

/// Tells another time, and refuses what is signed five minutes off.
fn at_another_time(ahead_s: i64, request: &Seen) -> Reply {
    let now = clock::unix_seconds().checked_add_signed(ahead_s).unwrap();
    let date = http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(now));
    let mut reply = match request.signer().signed_at.abs_diff(now) > 300 {
        true => Reply {
            body: br#"{"message":"Signature expired: 20250101T000000Z is now earlier than 20250101T010000Z"}"#.to_vec(),
            ..refusal(403, "InvalidSignatureException")
        },
        false => healthy(request),
    };
    reply.headers.push(("date", date));
    reply
}

/// As servers write it: `Sat, 12 Oct 2024 19:50:31 GMT`. The day of the week counts for nothing.
fn http_date(at: SystemTime) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = clock::rfc3339(at);
    let month = MONTHS[text[5..7].parse::<usize>().unwrap() - 1];
    format!("Sat, {} {month} {} {} GMT", &text[8..10], &text[..4], &text[11..19])
}

#[tokio::test]
async fn a_wrong_clock_costs_one_request() {
    for ahead_s in [7_200, -7_200, 40 * 365 * 86_400] {
        let server = Server::start(move |request| at_another_time(ahead_s, request)).await;
        let aws = server.aws();
        aws.describe("doorbell-channel").await.unwrap();
        assert_eq!(server.asked().len(), 2, "asked, told the time, and asked again");
        aws.describe("doorbell-channel").await.unwrap();
        assert_eq!(server.asked().len(), 3, "the time is known now");
        let there = aws.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let off = there.abs_diff(clock::unix_seconds().checked_add_signed(ahead_s).unwrap());
        assert!(off <= 2, "{off} s off");
        let signalling = aws.signalling(&channel(), Role::Viewer, "v").await.unwrap();
        assert!(claim_of(&signalling.url).1.signed_at.abs_diff(there) <= 2, "the address is of another time");
    }
}

#[tokio::test]
async fn a_service_that_always_finds_the_clock_wrong_is_asked_twice() {
    let server = Server::start(|_| {
        let mut reply = refusal(403, "RequestTimeTooSkewed");
        reply.headers.push(("date", "Sat, 01 Jan 2022 00:00:00 GMT".to_owned()));
        reply
    })
    .await;
    let error = server.aws().describe("doorbell-channel").await.unwrap_err();
    assert_eq!(error, AwsError::Skew);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_told_for_what_it_is() {
    const ACTION: Action = Action::DescribeSignalingChannel;
    let no_channel =
        || AwsError::NoSuchChannel { channel: "doorbell-channel".to_owned(), region: "us-east-1".to_owned() };
    let login = |kind: &str| AwsError::Credentials { action: ACTION, kind: kind.to_owned() };
    let refused = |status, kind: &str| AwsError::Refused { action: ACTION, status, kind: kind.to_owned() };
    let json = "application/json";
    let cases = [
        (404, "ResourceNotFoundException", json, "{}", no_channel()),
        (404, "ResourceNotFoundException:http://internal.amazon.com/x/", json, "", no_channel()),
        (404, "", json, r#"{"__type":"com.amazon.kinesis#ResourceNotFoundException","message":"x"}"#, no_channel()),
        (401, "AccessDeniedException", json, r#"{"Message":"x"}"#, AwsError::AccessDenied { action: ACTION }),
        (403, "AccessDeniedException", json, r#"{"message":"x"}"#, AwsError::AccessDenied { action: ACTION }),
        (403, "", json, r#"{"message":"Forbidden"}"#, AwsError::AccessDenied { action: ACTION }),
        (403, "UnrecognizedClientException", json, "{}", login("UnrecognizedClientException")),
        (403, "ExpiredTokenException", json, "{}", login("ExpiredTokenException")),
        (403, "InvalidSignatureException", json, r#"{"message":"does not match"}"#, login("InvalidSignatureException")),
        (403, "InvalidSignatureException", json, r#"{"message":"Signature not yet current: x"}"#, AwsError::Skew),
        (403, "RequestTimeTooSkewed", json, "{}", AwsError::Skew),
        (400, "ClientLimitExceededException", json, "{}", AwsError::Throttled { action: ACTION, wait: None }),
        (429, "", "text/html", "<html>slow", AwsError::Throttled { action: ACTION, wait: None }),
        (503, "", "text/html", "<html>down", AwsError::Trouble { action: ACTION, status: 503 }),
        (500, "InternalFailure", json, "{}", AwsError::Trouble { action: ACTION, status: 500 }),
        (400, "InvalidArgumentException", json, "{}", refused(400, "InvalidArgumentException")),
        (400, "<script>alert(1)</script>", json, "\u{0}", refused(400, "")),
        (418, "", "text/html", "<html>", refused(418, "")),
    ];
    for (status, kind, content_type, body, error) in cases {
        let server = Server::start(move |_| {
            let mut reply = refusal(status, kind);
            reply.headers.retain(|(_, value)| !value.is_empty());
            reply.headers.push(("content-type", content_type.to_owned()));
            Reply { body: body.as_bytes().to_vec(), ..reply }
        })
        .await;
        assert_eq!(server.aws().describe("doorbell-channel").await.unwrap_err(), error, "{status} {kind} {body}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_told_and_survived() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let huge = "x".repeat(5 << 20);
    let far = json!({ "ChannelInfo": { "ChannelName": "a/b", "ChannelARN": ARN } }).to_string();
    let bodies = ["", "null", "[]", "{}", "{\"ChannelInfo\":{}}", "<html>login</html>", &deep, &huge, &far];
    for body in bodies.map(str::to_owned) {
        let shown: String = body.chars().take(40).collect();
        let server = Server::start(move |_| Reply { status: 200, headers: vec![], body: body.clone().into_bytes() });
        let aws = server.await.aws();
        match aws.describe("doorbell-channel").await.unwrap_err() {
            AwsError::Unreadable { .. } | AwsError::Unreachable(HttpError::TooLarge { .. }) => {}
            error => panic!("{shown}: {error:?}"),
        }
        for outcome in [aws.list().await.map(drop), aws.iot_endpoint().await.map(drop)] {
            assert!(outcome.is_err(), "{shown}");
        }
        aws.signalling(&channel(), Role::Viewer, "v").await.unwrap_err();
    }
}

#[tokio::test]
async fn what_the_owner_is_told_says_what_to_type() {
    let server = Server::start(|_| refusal(403, "AccessDeniedException")).await;
    let aws = server.aws();
    let told = |error: AwsError| (error.to_string(), error.retry());
    let (list, retry) = told(aws.list().await.unwrap_err());
    assert_eq!(
        list,
        "AWS does not allow `kinesisvideo:ListSignalingChannels`. Name the channels under `kvs[].channels` in the \
         configuration and restart Doorstep, or allow it in the policy of the login."
    );
    assert!(matches!(retry, Retry::After(_)));
    let (endpoint, _) = told(aws.iot_endpoint().await.unwrap_err());
    assert!(endpoint.contains("Write `iot_endpoint` under `kvs`"), "{endpoint}");
    let nobody: Url = "http://127.0.0.1:9".parse().unwrap();
    let endpoints = KvsEndpoints { kinesisvideo: nobody, ..server.settings().endpoints };
    let unreachable = Aws::new(Settings { endpoints, ..server.settings() }).unwrap();
    let (unreachable, retry) = told(unreachable.list().await.unwrap_err());
    assert!(unreachable.contains("`127.0.0.1:9` cannot be reached"), "{unreachable}");
    assert_eq!(retry, Retry::Backoff);
}

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
async fn a_role_that_is_refused_is_not_asked_for_again_and_again() {
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

#[tokio::test]
async fn aws_iot_is_found_and_its_address_signed_with_the_token_behind() {
    let server = Server::start(healthy).await;
    let aws = Aws::new(Settings { role_arn: Some(ROLE.to_owned()), ..server.settings() }).unwrap();
    let endpoint = aws.iot_endpoint().await.unwrap();
    assert_eq!(endpoint, IotEndpoint { host: "abc-ats.iot.us-east-1.amazonaws.com".to_owned(), port: None, tls: true });
    let asked = server.last();
    assert_eq!((&*asked.method, &*asked.query), ("GET", "endpointType=iot%3AData-ATS"));
    assert_eq!(asked.signer().service, "iot");

    for (text, base) in [
        ("abc-ats.iot.us-east-1.amazonaws.com", "wss://abc-ats.iot.us-east-1.amazonaws.com/mqtt?"),
        ("mqtts://iot.example:8883", "wss://iot.example/mqtt?"),
        ("wss://iot.example:443", "wss://iot.example/mqtt?"),
        ("wss://iot.example:8443", "wss://iot.example:8443/mqtt?"),
        ("ws://127.0.0.1:9001", "ws://127.0.0.1:9001/mqtt?"),
        ("ws://[::1]:9001", "ws://[::1]:9001/mqtt?"),
    ] {
        let signed = aws.iot_url(&IotEndpoint::parse(text).unwrap()).await.unwrap();
        assert!(signed.expose().starts_with(base), "{text}");
        let (url, claim) = claim_of(&signed);
        assert_eq!((&*claim.service, claim.expires), ("iotdevicegateway", None));
        let token = url.query_pairs().last().unwrap();
        assert_eq!((&*token.0, &*token.1), ("X-Amz-Security-Token", TOKEN), "{text}");
    }
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
async fn a_provider_that_answers_anything_is_survived() {
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

/// AWS's refusal of a signature repeats the whole canonical request, with the token.
#[tokio::test]
async fn nothing_that_is_shown_shows_a_secret() {
    let server = Server::start(|request| {
        let told: Vec<String> = request.headers.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        let body = json!({ "message": format!("The Canonical String should have been {told:?} {SECRET} {TOKEN}") });
        Reply { body: body.to_string().into_bytes(), ..refusal(403, "SignatureDoesNotMatch") }
    })
    .await;
    let keys = AwsKeys {
        access_key_id: TEMPORARY_KEY.to_owned(),
        secret_access_key: Password::new(TEMPORARY_SECRET),
        session_token: Some(Token::new(TOKEN)),
    };
    let settings = Settings { login: KvsLogin::Keys(keys), ..server.settings() };
    let mut shown = format!("{settings:?}");
    let aws = Aws::new(settings).unwrap();
    let error = aws.describe("doorbell-channel").await.unwrap_err();
    let signalling = Server::start(healthy).await.aws().signalling(&channel(), Role::Viewer, "v").await.unwrap();
    let url = aws.iot_url(&IotEndpoint::parse("iot.example").unwrap()).await.unwrap();
    let credentials = aws.credentials().await.unwrap();
    shown += &format!("{aws:?} {error:?} {error} {credentials:?} {signalling:?} {url:?}");
    shown += &format!("{:?}", server.last().signer());
    for secret in [SECRET, TEMPORARY_SECRET, TOKEN, "X-Amz-Signature", "relay password", "Canonical String"] {
        assert!(!shown.contains(secret), "{secret} is shown: {shown}");
    }
    assert!(shown.contains(TEMPORARY_KEY), "{shown}");
}
