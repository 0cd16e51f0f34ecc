//! Every route at both entrances, by every method, for those who may not: refused, and nothing has happened
//! (reliability.md S1, S3, S5, row 43).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use axum::Router;
use axum::routing::any;
use doorstep::http;
use doorstep::secret::Token;

use crate::support::fake_account::Asked;
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::House;
use crate::support::http::{Reply, request_from};
use crate::support::ingress::Ingress;
use crate::support::score::{Figure, tally};

const TOKEN: &str = "Zq3vJ8xkLw5nB2yTf7Rm4Hc9Ds6Pg1Ua";
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Who may use a route.
#[derive(Clone, Copy, PartialEq)]
enum Opens {
    /// Whoever asks.
    All,
    /// The same, and pages of other sites may load it.
    Anywhere,
    /// Whoever has the token.
    Token,
    /// The same, also as the password of HTTP Basic.
    Password,
}

use Opens::{All, Anywhere, Password, Token as Bearer};

/// Every route there is, with whom it opens for and the methods it takes.
const WALK: [(&str, Opens, &[&str]); 31] = [
    ("/", Bearer, &["GET", "HEAD"]),
    ("/api/access", Bearer, &["GET", "HEAD"]),
    ("/api/access/token", Bearer, &["POST"]),
    ("/api/accounts", Bearer, &["GET", "HEAD", "POST"]),
    ("/api/accounts/{n}", Bearer, &["PUT", "DELETE"]),
    ("/api/accounts/rediscover", Bearer, &["POST"]),
    ("/api/accounts/{n}/code", Bearer, &["POST"]),
    ("/api/clips", Bearer, &["GET", "HEAD"]),
    ("/api/clips/{name}", Bearer, &["PUT", "DELETE"]),
    ("/api/doorbells", Bearer, &["GET", "HEAD"]),
    ("/api/doorbells/{id}", Bearer, &["GET", "HEAD"]),
    ("/api/doorbells/{id}/diagnostics", Bearer, &["GET", "HEAD"]),
    // These three are not enabled, and then they are not there by any method.
    ("/api/doorbells/{id}/garage", Bearer, &METHODS),
    ("/api/doorbells/{id}/lock", Bearer, &METHODS),
    ("/api/doorbells/{id}/rings/{picture}", Bearer, &["GET", "HEAD"]),
    ("/api/doorbells/{id}/say", Bearer, &["POST", "DELETE"]),
    ("/api/doorbells/{id}/snapshot.jpg", Bearer, &["GET", "HEAD"]),
    ("/api/doorbells/{id}/stream", Bearer, &["POST"]),
    ("/api/doorbells/{id}/talk", Bearer, &["POST"]),
    ("/api/doorbells/{id}/ticket", Bearer, &["POST"]),
    ("/api/doorbells/{id}/unlock", Bearer, &METHODS),
    ("/api/events", Bearer, &["GET", "HEAD"]),
    ("/api/streams", Password, &["GET", "HEAD"]),
    ("/api/ws", Password, &["GET", "HEAD"]),
    ("/api/wyze/{id}/kvs", Password, &["GET", "HEAD"]),
    // As are all files of the page, which hold nothing of the house.
    ("/assets/style.css", All, &["GET", "HEAD"]),
    ("/card.js", Anywhere, &["GET", "HEAD"]),
    ("/health", All, &["GET", "HEAD"]),
    ("/metrics", Bearer, &["GET", "HEAD"]),
    // The house's own WHEP takes any method.
    ("/whep/{id}", Bearer, &METHODS),
    ("/whep/{id}/{session}", Bearer, &METHODS),
];

/// Beside the routes: where there is nothing, there is nothing to be told without the token.
const NOWHERE: [(&str, Opens, &[&str]); 5] = [
    ("/nothing", Bearer, &[]),
    ("/api", Bearer, &[]),
    ("/api/doorbells/", Bearer, &[]),
    ("//health", Bearer, &[]),
    ("/assets/../api/doorbells", Bearer, &[]),
];

/// A new address of this machine for each request, so that nobody runs out of patience with it.
struct Strangers(u32);

impl Strangers {
    fn next(&mut self) -> Ipv4Addr {
        self.0 += 1;
        Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + self.0)
    }
}

async fn house() -> House {
    let whep = Router::new().fallback(any(async || "answer"));
    House::with(FakeVendor::new(), Some(Token::new(TOKEN)), whep).await
}

fn address(path: &str) -> String {
    path.replace("{id}", "fake_1")
        .replace("{n}", "0")
        .replace("{session}", "0123456789abcdef")
        .replace("{picture}", "r1.jpg")
}

fn untouched(house: &House) {
    let (seen, state) = (house.vendor.seen(), house.doorbell.state());
    assert_eq!((seen.talks_asked, seen.opens_asked), (0, 0), "a refused request had an effect");
    assert_eq!(house.account.asked(), Asked::default(), "a refused request had an effect");
    assert!(!state.borrow().stream_switch, "a refused request had an effect");
    assert_eq!(house.tokens.generated_since(), None, "a refused request had an effect");
}

#[test]
fn every_route_is_walked() {
    let known: BTreeSet<&str> =
        WALK.iter().map(|(path, ..)| *path).filter(|path| !path.starts_with("/assets/")).collect();
    let there: BTreeSet<&str> = http::paths().filter(|path| !path.starts_with("/assets/")).collect();
    let new: Vec<_> = there.difference(&known).collect();
    let gone: Vec<_> = known.difference(&there).collect();
    assert!(new.is_empty() && gone.is_empty(), "say in WALK whom they open for: {new:?}; no longer there: {gone:?}");
}

#[tokio::test]
async fn row_43_no_route_of_the_direct_entrance_opens_for_a_stranger() {
    let (house, mut strangers) = (house().await, Strangers(0));
    let (right, basic) = (format!("Bearer {TOKEN}"), "Basic Z3Vlc3M6Z3Vlc3M=");
    let json = ("content-type", "application/json");
    // Routes of which no method opens for who has no token, of those that have to.
    let (mut opened, mut locked, mut wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::<String>::new());
    for ((path, opens, _), method) in WALK.into_iter().chain(NOWHERE).flat_map(|route| METHODS.map(|m| (route, m))) {
        let is_public = matches!(opens, All | Anywhere);
        let is_page = is_public && matches!(method, "GET" | "HEAD");
        let is_post = method == "POST";
        // Public files take no other method from anybody.
        let stranger = if is_page {
            200
        } else if is_public {
            405
        } else {
            401
        };
        type Header<'a> = (&'a str, &'a str);
        let cases: [(&str, &[Header<'_>], u16); 9] = [
            ("nothing", &[json], stranger),
            ("a wrong token", &[json, ("authorization", "Bearer guess")], stranger),
            ("a wrong password", &[json, ("authorization", basic)], stranger),
            ("an unknown scheme", &[json, ("authorization", "Digest x")], stranger),
            ("another site", &[json, ("authorization", &right), ("origin", "http://evil.example")], 403),
            ("a sandboxed frame", &[json, ("authorization", &right), ("origin", "null")], 403),
            ("another host", &[json, ("authorization", &right), ("host", "evil.example")], 403),
            ("a form", &[("content-type", "text/plain")], if is_post { 415 } else { stranger }),
            ("who claims to be Home Assistant's user", &[json, ("x-remote-user-id", "abc")], stranger),
        ];
        for (who, headers, status) in cases {
            let reply = request_from(strangers.next(), house.address, method, &address(path), headers, "{}").await;
            let reply = reply.unwrap_or_else(|| panic!("{method} {path}: no answer"));
            let (status, reader) = if opens == Anywhere { (stranger, Some("*")) } else { (status, None) };
            if !is_public {
                locked.insert(path);
            }
            if !is_public && !matches!(reply.status, 401 | 403 | 415) {
                opened.insert(path);
            }
            wrong.extend((reply.status != status).then(|| format!("{method} {path} for {who}: {}", reply.status)));
            assert_eq!(reply.header("access-control-allow-origin"), reader, "{method} {path} for {who}");
        }
    }
    tally(Figure::RoutesRefusing, locked.len() - opened.len(), locked.len());
    assert_eq!((opened, wrong), Default::default());
    untouched(&house);
}

/// Or the walk would prove nothing.
#[tokio::test]
async fn every_route_opens_for_the_token_by_its_own_methods() {
    let house = house().await;
    let (right, basic) = (format!("Bearer {TOKEN}"), format!("Basic {}", base64(&format!("any:{TOKEN}"))));
    let ask = async |method: &str, path: &str, authorization: &str| -> Reply {
        let headers = [("content-type", "application/json"), ("authorization", authorization)];
        house.send(method, &address(path), &headers, b"{}").await
    };
    for ((path, opens, methods), method) in WALK.into_iter().flat_map(|route| METHODS.map(|m| (route, m))) {
        let status = ask(method, path, &right).await.status;
        // Which token is made by whom is another promise.
        let refused = matches!(status, 401 | 415) || (status == 403 && path != "/api/access/token");
        assert!(!refused, "{method} {path}: {status}");
        assert_eq!(status == 405, !methods.contains(&method), "{method} {path}: {status}");
        let by_password = ask(method, path, &basic).await.status;
        assert_eq!(by_password == 401, opens == Bearer, "{method} {path} by password: {by_password}");
    }
}

#[tokio::test]
async fn row_43_at_home_assistants_entrance_other_sites_are_refused_and_nobody_is_asked_for_a_token() {
    let house = house().await;
    let json = ("content-type", "application/json");
    let walk = WALK.into_iter().filter(|(_, opens, _)| *opens != Anywhere);
    for ((path, opens, _), method) in walk.flat_map(|route| METHODS.map(|m| (route, m))) {
        let is_page = (opens == All || path == "/") && path != "/health" && matches!(method, "GET" | "HEAD");
        let post = method == "POST";
        type Header<'a> = (&'a str, &'a str);
        let cases: [(&str, &[Header<'_>], u16); 5] = [
            ("another site", &[json, ("origin", "http://evil.example")], 403),
            ("another port of Home Assistant's host", &[json, ("origin", "http://127.0.0.1:1")], 403),
            ("another site over TLS", &[json, ("sec-fetch-site", "cross-site")], if is_page { 200 } else { 403 }),
            ("a sibling's page over TLS", &[json, ("sec-fetch-site", "same-site")], if is_page { 200 } else { 403 }),
            ("a form", &[("content-type", "text/plain"), ("origin", "null")], 403),
        ];
        for (who, headers, status) in cases {
            let reply = request_from(Ipv4Addr::LOCALHOST, house.ingress, method, &address(path), headers, "{}").await;
            assert_eq!(reply.unwrap().status, status, "{method} {path} for {who}");
        }
        let form = [("content-type", "text/plain"), ("host", "any.name.of.home.assistant")];
        if post {
            let reply = request_from(Ipv4Addr::LOCALHOST, house.ingress, method, &address(path), &form, "{}").await;
            assert_eq!(reply.unwrap().status, 415, "{path}");
        }
    }
    untouched(&house);
    let named = [json, ("host", "home.example"), Ingress::session()];
    for (path, ..) in WALK {
        let reply = request_from(Ipv4Addr::LOCALHOST, house.ingress, "GET", &address(path), &named, "").await.unwrap();
        assert!(!matches!(reply.status, 401 | 403), "{path}: {}", reply.status);
    }
}

#[tokio::test]
async fn home_assistants_entrance_is_closed_to_every_other_address_before_a_byte_is_read() {
    let (house, mut strangers) = (house().await, Strangers(70_000));
    for (path, ..) in WALK {
        let right = format!("Bearer {TOKEN}");
        let headers = [("authorization", &*right), ("x-remote-user-id", "abc"), ("x-forwarded-for", "127.0.0.1")];
        let reply = request_from(strangers.next(), house.ingress, "GET", &address(path), &headers, "").await;
        assert!(reply.is_none(), "{path} was answered");
    }
    // Somebody who says nothing is not waited for.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((strangers.next(), 0).into()).unwrap();
    let silent = socket.connect(house.ingress).await.unwrap();
    let closed = tokio::time::timeout(crate::support::house::PATIENCE, silent.readable()).await;
    closed.expect("it was kept").unwrap();
    assert!(matches!(silent.try_read(&mut [0; 8]), Ok(0) | Err(_)));
    assert_eq!(request_from(Ipv4Addr::LOCALHOST, house.ingress, "GET", "/", &[], "").await.unwrap().status, 200);
}

fn base64(text: &str) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}
