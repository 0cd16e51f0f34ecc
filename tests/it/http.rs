//! What docs/http-api.md promises to programs, and what it keeps from strangers.

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorstep::clock::unix_now;
use doorstep::doorbell::ActionError;
use doorstep::doorbell::vendor::Retry;
use doorstep::model::{Account, AccountLink, DeviceId, DeviceInfo, Event, Link, MqttLink, RateLimit, Ring};
use doorstep::secret::Token;
use futures_util::{SinkExt, StreamExt};
use miniz_oxide::inflate::decompress_to_vec_zlib;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::fake_account::Asked;
use crate::support::fake_vendor::{FakeVendor, OnTalk};
use crate::support::house::{House, PATIENCE};
use crate::support::http::request_with;

const TALK: &str = "/api/doorbells/fake_1/talk";
const STREAM: &str = "/api/doorbells/fake_1/stream";
const ON: &str = r#"{"on":true}"#;
const OFF: &str = r#"{"on":false}"#;
const TOKEN: &str = "correct horse battery staple";
const BEARER: (&str, &str) = ("authorization", "Bearer correct horse battery staple");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_doorbell_is_told_with_everything_there_is_to_know() {
    let house = House::open().await;
    house.vendor.ring("r1");
    let mut state = house.doorbell.state();
    state.wait_for(|state| state.last_ring.is_some()).await.unwrap();
    let doorbell = house.get("/api/doorbells/fake_1").await.json();
    assert_eq!(house.get("/api/doorbells").await.json(), Value::from(vec![doorbell.clone()]));
    for (key, value) in [
        ("id", Value::from("fake_1")),
        ("name", "Front Door".into()),
        ("vendor", "fake".into()),
        ("model", "FAKE1".into()),
        ("capabilities", vec!["ring", "motion", "stream", "talk", "snapshot"].into()),
        ("link", "ready".into()),
        ("why", Value::Null),
        ("viewers", 0.into()),
        ("talking", false.into()),
        ("stream", false.into()),
        ("door", Value::Null),
        ("whep", "whep/fake_1".into()),
    ] {
        assert_eq!(doorbell[key], value, "{key}");
    }
    assert_eq!(doorbell["last_ring"]["event_id"], "r1");
    assert_eq!(doorbell["rings"][0], doorbell["last_ring"]);
    let unknown = house.get("/api/doorbells/nobody").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.error().contains("no such doorbell"), "{}", unknown.error());
}

#[tokio::test]
async fn the_talk_switch_opens_and_closes_the_speaker() {
    let house = House::open().await;
    let on = house.post(TALK, ON).await;
    assert_eq!((on.status, &on.json()["talking"]), (200, &true.into()));
    house.vendor.until("an open speaker", |seen| seen.speaker_open).await;
    assert_eq!(house.post(TALK, OFF).await.status, 200);
    house.vendor.until("a closed speaker", |seen| !seen.speaker_open).await;
}

#[tokio::test]
async fn a_refused_talk_names_the_doorbell_and_what_to_do() {
    let house = House::open().await;
    let talker = house.doorbell.start_talk(1).await.unwrap();
    let busy = house.post(TALK, ON).await;
    assert_eq!(busy.status, 409);
    assert_eq!(busy.error(), "Front Door: somebody else is talking. Wait until they have finished, then try again.");
    drop(talker);
    house.vendor.until("a closed speaker", |seen| !seen.speaker_open).await;

    house.vendor.on_talk(OnTalk::Refuses(ActionError::Refused { why: "its speaker is broken".into() }));
    let refused = house.post(TALK, ON).await;
    assert_eq!(refused.status, 502);
    assert!(refused.error().starts_with("Front Door: "), "{}", refused.error());

    house.vendor.end_life(Err(FakeVendor::error("it is unplugged", Retry::WaitForUser)));
    house.doorbell.state().wait_for(|state| matches!(state.link, Link::NeedsAttention { .. })).await.unwrap();
    let offline = house.post(TALK, ON).await;
    assert_eq!(offline.status, 503);
    assert!(offline.error().contains("it is unplugged"), "{}", offline.error());
    let doorbell = house.get("/api/doorbells/fake_1").await.json();
    assert_eq!((&doorbell["link"], &doorbell["why"]), (&"needs_attention".into(), &"it is unplugged".into()));
}

#[tokio::test]
async fn the_stream_switch_keeps_the_camera_up() {
    let house = House::open().await;
    let on = house.post(STREAM, ON).await;
    assert_eq!((on.status, &on.json()["stream"]), (200, &true.into()));
    house.doorbell.state().wait_for(|state| state.link == Link::Streaming).await.unwrap();
    assert_eq!(house.post(STREAM, OFF).await.json()["stream"], false);
    house.doorbell.state().wait_for(|state| state.link == Link::Ready).await.unwrap();
}

#[tokio::test]
async fn what_a_doorbell_cannot_do_is_not_there() {
    let house = House::with(FakeVendor::with([]), None, Router::new()).await;
    for path in [TALK, STREAM] {
        let reply = house.post(path, ON).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.error().starts_with("Front Door: this doorbell cannot do that"), "{}", reply.error());
    }
}

#[tokio::test]
async fn a_wrong_body_is_refused_with_a_sentence() {
    let house = House::open().await;
    for body in ["", "{", "true", "{}", r#"{"on":"yes"}"#, r#"{"on":true,"off":true}"#] {
        let reply = house.post(TALK, body).await;
        assert!((400..=422).contains(&reply.status), "{body:?} was answered with {}", reply.status);
        assert!(!reply.error().is_empty());
    }
    let deep = "[".repeat(100_000);
    assert!((400..=422).contains(&house.post(TALK, &deep).await.status));
    assert_eq!(house.post(TALK, &" ".repeat(256 * 1024 + 1)).await.status, 413);
    assert_eq!(house.vendor.seen().talks_asked, 0);
}

#[tokio::test]
async fn health_is_public_and_tells_no_name_and_no_id() {
    let house = House::locked(TOKEN).await;
    let reply = house.get("/health").await;
    assert_eq!(reply.status, 200);
    let health = reply.json();
    assert_eq!((&health["status"], &health["mqtt"]), (&"ok".into(), &"connected".into()));
    assert_eq!(health["doorbells"]["ready"], 1);
    assert!(!reply.body.contains("Front Door") && !reply.body.contains("fake_1"), "{}", reply.body);
    house.mqtt.send(MqttLink::Disconnected).unwrap();
    let health = house.get("/health").await.json();
    assert_eq!((&health["status"], &health["mqtt"]), (&"degraded".into(), &"disconnected".into()));
    house.mqtt.send(MqttLink::Off).unwrap();
    assert_eq!(house.get("/health").await.json()["status"], "ok", "no broker is no trouble");
}

#[tokio::test]
async fn metrics_count_by_id_and_never_by_name() {
    let house = House::open().await;
    house.vendor.ring("r1");
    house.doorbell.state().wait_for(|state| state.last_ring.is_some()).await.unwrap();
    let reply = house.get("/metrics").await;
    assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        "doorstep_build_info{version=\"1.2.3\"} 1",
        "doorstep_mqtt_connected 1",
        "doorstep_doorbell_link{id=\"fake_1\",link=\"ready\"} 1",
        "doorstep_doorbell_link{id=\"fake_1\",link=\"offline\"} 0",
        "doorstep_doorbell_viewers{id=\"fake_1\"} 0",
        "doorstep_doorbell_talking{id=\"fake_1\"} 0",
        "doorstep_rings_total{id=\"fake_1\"} 1",
        "doorstep_hub_frames_total{id=\"fake_1\"} 0",
        "doorstep_hub_bytes_total{id=\"fake_1\"} 0",
        "doorstep_hub_lagged_total{id=\"fake_1\"} 0",
        "# TYPE doorstep_viewer_packets_total counter",
        "doorstep_viewer_packets_total 7",
    ] {
        assert!(reply.body.lines().any(|known| known == line), "{line} is missing in:\n{}", reply.body);
    }
    assert!(!reply.body.contains("Front Door"));
}

// Events.

pub(crate) type Listener = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn listen(house: &House, headers: &[(&'static str, String)]) -> Result<Listener, Error> {
    let mut request = format!("ws://{}/api/events", house.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    timeout(PATIENCE, connect_async(request)).await.expect("no answer").map(|(listener, _)| listener)
}

/// The next message that satisfies `wanted`.
pub(crate) async fn news(listener: &mut Listener, wanted: impl Fn(&Value) -> bool) -> Value {
    let search = async {
        loop {
            if let Message::Text(text) = listener.next().await.expect("the end").expect("a message") {
                let message: Value = serde_json::from_str(&text).unwrap();
                if wanted(&message) {
                    return message;
                }
            }
        }
    };
    timeout(PATIENCE, search).await.expect("it was not told")
}

fn refusal(result: Result<Listener, Error>) -> u16 {
    match result {
        Err(Error::Http(reply)) => reply.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the connection was let in"),
    }
}

#[tokio::test]
async fn a_listener_is_told_everything_first_and_then_what_happens() {
    let house = House::open().await;
    let mut listener = listen(&house, &[]).await.unwrap();
    let first = news(&mut listener, |_| true).await;
    assert_eq!((&first["type"], &first["mqtt"]), (&"snapshot".into(), &"connected".into()));
    assert_eq!((&first["version"], &first["doorbells"][0]["id"]), (&"1.2.3".into(), &"fake_1".into()));
    assert!(first["demo_hint"].as_str().unwrap().contains("ring"));

    house.vendor.ring("r1");
    let ring = news(&mut listener, |message| message["type"] == "ring").await;
    assert_eq!((&ring["id"], &ring["event_id"], &ring["source"]), (&"fake_1".into(), &"r1".into(), &"cloud".into()));
    house.doorbell.switch_stream(true);
    news(&mut listener, |message| message["type"] == "state" && message["doorbell"]["link"] == "streaming").await;
    house.mqtt.send(MqttLink::Disconnected).unwrap();
    news(&mut listener, |message| message["type"] == "mqtt" && message["mqtt"] == "disconnected").await;
}

#[tokio::test]
async fn a_listener_learns_of_doorbells_that_come_and_go() {
    let house = House::open().await;
    let mut listener = listen(&house, &[]).await.unwrap();
    let count = |n: usize| {
        move |message: &Value| message["type"] == "snapshot" && message["doorbells"].as_array().unwrap().len() == n
    };
    news(&mut listener, count(1)).await;
    let second = DeviceInfo {
        id: DeviceId::parse("fake_2").unwrap(),
        name: "Garden".into(),
        ..DeviceInfo::clone(&house.doorbell.info())
    };
    let vendor = FakeVendor::of(second);
    house.doorbells.insert(vendor.doorbell(&house.stop));
    news(&mut listener, count(2)).await;
    vendor.lives(1).await;
    vendor.ring("g1");
    news(&mut listener, |message| message["type"] == "ring" && message["id"] == "fake_2").await;
    house.doorbells.remove(&DeviceId::parse("fake_2").unwrap());
    news(&mut listener, count(1)).await;
}

#[tokio::test]
async fn a_listener_that_talks_too_much_is_dropped() {
    let house = House::open().await;
    let mut listener = listen(&house, &[]).await.unwrap();
    listener.send(Message::text("x".repeat(64 * 1024))).await.unwrap();
    let end = async { while let Some(Ok(_)) = listener.next().await {} };
    timeout(PATIENCE, end).await.expect("it was kept");
}

/// Its announced length would be reserved in memory.
#[tokio::test]
async fn a_listener_that_announces_a_long_message_is_dropped_before_it_comes() {
    let house = House::open().await;
    let mut listener = listen(&house, &[]).await.unwrap();
    // A masked text frame of 15 MiB, without its content.
    let head = [&[0x81, 0xff][..], &(15_u64 << 20).to_be_bytes(), &[0; 4]].concat();
    listener.get_mut().write_all(&head).await.unwrap();
    let end = async { while let Some(Ok(_)) = listener.next().await {} };
    timeout(PATIENCE, end).await.expect("it was kept");
}

#[tokio::test]
async fn there_is_room_for_64_listeners_and_one_leaves_room_for_another() {
    let house = House::open().await;
    let mut listeners = Vec::new();
    for _ in 0..64 {
        listeners.push(listen(&house, &[]).await.unwrap());
    }
    assert_eq!(refusal(listen(&house, &[]).await), 503);
    drop(listeners.pop());
    let again = async {
        while listen(&house, &[]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("the place stayed taken");
}

#[tokio::test]
async fn stopping_takes_less_than_a_second_whoever_listens() {
    let mut house = House::open().await;
    let mut listener = listen(&house, &[]).await.unwrap();
    news(&mut listener, |message| message["type"] == "snapshot").await;
    // Somebody who never finishes a request.
    let mut stuck = TcpStream::connect(house.address).await.unwrap();
    stuck.write_all(b"POST /api/doorbells/fake_1/talk HTTP/1.1\r\n").await.unwrap();
    house.stop.cancel();
    timeout(Duration::from_secs(1), &mut house.serving).await.expect("over a second").unwrap();
    let goodbye = async {
        loop {
            if let Some(Ok(Message::Close(Some(frame)))) = listener.next().await {
                return frame;
            }
        }
    };
    assert_eq!(u16::from(timeout(PATIENCE, goodbye).await.expect("no goodbye").code), 1001);
}

// Strangers.

#[tokio::test]
async fn the_token_opens_requests_and_events() {
    let house = House::locked(TOKEN).await;
    assert_eq!(house.get("/api/doorbells").await.status, 401);
    assert_eq!(house.send("GET", "/api/doorbells", &[BEARER], b"").await.status, 200);
    assert_eq!(
        house.get("/api/doorbells?token=correct horse battery staple".replace(' ', "%20").as_str()).await.status,
        401
    );
    assert_eq!(refusal(listen(&house, &[]).await), 401);
    assert!(listen(&house, &[("authorization", BEARER.1.into())]).await.is_ok());
    // As a browser has to do it.
    let protocols = format!("doorstep, bearer.{}", URL_SAFE_NO_PAD.encode(TOKEN));
    let mut listener = listen(&house, &[("sec-websocket-protocol", protocols)]).await.unwrap();
    news(&mut listener, |message| message["type"] == "snapshot").await;
}

#[tokio::test]
async fn the_eleventh_wrong_token_of_a_minute_has_to_wait() {
    let house = House::locked(TOKEN).await;
    for _ in 0..10 {
        let wrong = house.send("GET", "/api/doorbells", &[("authorization", "Bearer guess")], b"").await;
        assert_eq!(wrong.status, 401);
    }
    let waits = house.send("GET", "/api/doorbells", &[BEARER], b"").await;
    assert_eq!(waits.status, 429);
    let wait: u64 = waits.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
    assert_eq!(house.get("/health").await.status, 200, "the public side must not suffer");
}

#[tokio::test]
async fn without_the_token_the_page_asks_for_it() {
    let house = House::locked(TOKEN).await;
    let page = house.get("/").await;
    assert_eq!(page.status, 401);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.body.contains("sign-in-form"));
    let guess = house.send("GET", "/", &[("authorization", "Bearer guess")], b"").await;
    assert_eq!((guess.status, guess.header("www-authenticate")), (401, Some("Bearer")));
}

/// Row 43 of the fault matrix: pages of other sites.
#[tokio::test]
async fn other_sites_can_neither_read_nor_act() {
    let house = House::open().await;
    let own = format!("http://{}", house.address);
    let origin = |origin| [JSON, ("origin", origin)];
    for (method, path, body) in [
        ("GET", "/", ""),
        ("GET", "/api/doorbells", ""),
        ("GET", "/api/wyze/fake_1/kvs", ""),
        ("POST", TALK, ON),
        ("POST", STREAM, ON),
        ("POST", "/api/doorbells/fake_1/unlock", ""),
        ("POST", "/api/accounts/rediscover", ""),
        ("POST", "/api/accounts/0/code", r#"{"code":"123456"}"#),
    ] {
        for evil in ["http://evil.example", "null", "http://127.0.0.1:1", "https://evil.example:8480"] {
            let reply = house.send(method, path, &origin(evil), body.as_bytes()).await;
            assert_eq!(reply.status, 403, "{method} {path} from {evil}");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
        for evil in ["evil.example", "evil.example:8480", "127.0.0.1.nip.io", "localhost.evil.example"] {
            let reply = house.send(method, path, &[JSON, ("host", evil)], body.as_bytes()).await;
            assert_eq!(reply.status, 403, "{method} {path} as {evil}");
        }
    }
    for form in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"] {
        let reply = house.send("POST", TALK, &[("content-type", form)], ON.as_bytes()).await;
        assert_eq!(reply.status, 415, "{form}");
    }
    assert_eq!(house.send("POST", TALK, &[], ON.as_bytes()).await.status, 415, "no type at all");
    assert_eq!(refusal(listen(&house, &[("origin", "http://evil.example".into())]).await), 403);
    assert_eq!(refusal(listen(&house, &[("host", "evil.example".into())]).await), 403);
    assert_eq!(house.vendor.seen().talks_asked, 0, "a refused request had an effect");
    assert_eq!(house.account.asked(), Asked::default(), "a refused request had an effect");
    assert!(!house.doorbell.state().borrow().stream_switch, "a refused request had an effect");

    let proxied = [("host", "door.example"), ("origin", "https://door.example"), JSON];
    assert_eq!(house.send("POST", STREAM, &proxied, OFF.as_bytes()).await.status, 200, "a configured name");
    assert_eq!(house.send("POST", STREAM, &origin(&own), ON.as_bytes()).await.status, 200, "the page's own request");
    assert!(listen(&house, &[("origin", own)]).await.is_ok());
}

#[tokio::test]
async fn every_reply_wears_the_security_headers() {
    let house = House::locked(TOKEN).await;
    for (path, status) in [("/", 401), ("/health", 200), ("/assets/app.js", 200), ("/nothing", 401), ("/metrics", 401)]
    {
        let reply = house.get(path).await;
        assert_eq!(reply.status, status, "{path}");
        let csp = reply.header("content-security-policy").unwrap();
        assert!(csp.starts_with("default-src 'self'") && !csp.contains("unsafe"), "{path}: {csp}");
        assert!(csp.contains("frame-ancestors 'none'") && csp.contains("trusted-types 'none'"), "{path}: {csp}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
        assert_eq!(reply.header("cross-origin-opener-policy"), Some("same-origin"), "{path}");
        let kept = if path.starts_with("/assets/") { "no-cache" } else { "no-store" };
        assert_eq!(reply.header("cache-control"), Some(kept), "{path}");
    }
}

#[tokio::test]
async fn home_assistant_alone_shows_the_page_in_a_frame() {
    let house = House::open().await;
    let page = request_with(house.ingress, "GET", "/", &[], "").await;
    let csp = page.header("content-security-policy").unwrap();
    assert!(csp.starts_with("default-src 'self'") && csp.contains("frame-ancestors 'self'"), "{csp}");
}

#[tokio::test]
async fn whep_stands_behind_the_same_guards() {
    let whep = Router::new().route("/whep/{id}", post(async || "answer"));
    let house = House::with(FakeVendor::new(), Some(Token::new(TOKEN)), whep).await;
    let sdp = ("content-type", "application/sdp");
    assert_eq!(house.send("POST", "/whep/fake_1", &[sdp], b"v=0").await.status, 401);
    assert_eq!(house.send("POST", "/whep/fake_1", &[sdp, BEARER], b"v=0").await.status, 200);
    let foreign = [sdp, BEARER, ("origin", "http://evil.example")];
    assert_eq!(house.send("POST", "/whep/fake_1", &foreign, b"v=0").await.status, 403);
}

#[tokio::test]
async fn a_page_that_is_known_is_not_sent_again() {
    let house = House::open().await;
    for path in ["/", "/assets/app.js", "/assets/style.css"] {
        let etag = house.get(path).await.header("etag").unwrap().to_owned();
        let strong = etag.strip_prefix("W/").unwrap().to_owned();
        for known in [etag.clone(), strong, format!("\"old\", {etag}")] {
            let again = house.send("GET", path, &[("if-none-match", &known)], b"").await;
            assert_eq!((again.status, again.body.as_str()), (304, ""), "{path} {known}");
        }
        assert_eq!(house.send("GET", path, &[("if-none-match", "\"old\"")], b"").await.status, 200);
    }
}

#[tokio::test]
async fn a_page_is_sent_deflated_to_whoever_can_read_that() {
    let house = House::open().await;
    for path in ["/", "/assets/app.js", "/card.js"] {
        let plain = house.send("GET", path, &[("accept-encoding", "gzip, br, deflate;q=0")], b"").await;
        assert_eq!((plain.status, plain.header("content-encoding")), (200, None), "{path}");
        let packed = house.send("GET", path, &[("accept-encoding", "gzip, deflate, br")], b"").await;
        assert_eq!(packed.header("content-encoding"), Some("deflate"), "{path}");
        assert_eq!(packed.header("vary"), Some("accept-encoding"), "{path}");
        assert_eq!(decompress_to_vec_zlib(&packed.bytes).unwrap(), plain.bytes, "{path}");
        assert!(packed.bytes.len() * 2 < plain.bytes.len(), "{path}: {} bytes", packed.bytes.len());
    }
}

// Accounts.

fn stands(link: AccountLink) -> Account {
    let rate_limit =
        RateLimit { remaining: 298, resets_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600) };
    Account { link, devices: 3, rate_limit: Some(rate_limit), ..Account::default() }
}

/// Waits until the house has heard how its account stands.
async fn until_account(house: &House, link: &str) -> Value {
    let heard = async {
        loop {
            let account = house.get("/api/accounts").await.json()[0].clone();
            if account["link"] == link {
                return account;
            }
        }
    };
    timeout(PATIENCE, heard).await.expect("it was not heard of")
}

#[tokio::test]
async fn an_account_is_told_with_its_trouble() {
    let house = House::open().await;
    let starting = house.get("/api/accounts").await.json();
    assert_eq!(starting[0]["link"], "starting");
    let mut listener = listen(&house, &[]).await.unwrap();
    let first = news(&mut listener, |_| true).await;
    assert_eq!(first["accounts"], starting);

    house.account.stands(stands(AccountLink::NeedsAttention { why: "The password was refused.".into() }));
    let told = news(&mut listener, |message| message["type"] == "accounts").await["accounts"][0].clone();
    let expected = json!({
        "n": 0, "vendor": "fake", "label": "y…@example.com", "added_here": false, "link": "needs_attention",
        "why": "The password was refused.", "devices": 3, "doorbells": 0, "doors": [],
        "rate_limit": {"remaining": 298, "resets_at": "2026-01-01T00:00:00.000Z"},
    });
    assert_eq!(told, expected);
    assert_eq!(until_account(&house, "needs_attention").await, expected);
}

#[tokio::test]
async fn health_and_metrics_tell_of_accounts_without_names() {
    let house = House::open().await;
    let health = house.get("/health").await.json();
    assert_eq!((&health["status"], &health["accounts"]), (&"ok".into(), &json!({"fake": "ok"})));
    let why = || "trouble of owner@example.org".to_owned();
    for link in [
        AccountLink::Failing { why: why() },
        AccountLink::NeedsCode { why: why() },
        AccountLink::NeedsAttention { why: why() },
    ] {
        let word = link.word();
        house.account.stands(stands(link));
        until_account(&house, word).await;
        let reply = house.get("/health").await;
        assert_eq!(reply.json()["status"], "degraded", "{word}");
        assert_eq!(reply.json()["accounts"], json!({"fake": "degraded"}), "{word}");
        let metrics = house.get("/metrics").await.body;
        for line in [
            &format!("doorstep_account_link{{vendor=\"fake\",n=\"0\",link=\"{word}\"}} 1"),
            "doorstep_account_link{vendor=\"fake\",n=\"0\",link=\"ready\"} 0",
            "doorstep_account_rate_limit_remaining{vendor=\"fake\",n=\"0\"} 298",
        ] {
            assert!(metrics.lines().any(|known| known == line), "{line} is missing in:\n{metrics}");
        }
        assert!(!reply.body.contains("owner") && !metrics.contains("owner"));
    }
    house.account.stands(stands(AccountLink::Ready));
    until_account(&house, "ready").await;
    assert_eq!(house.get("/health").await.json()["status"], "ok");
}

#[tokio::test]
async fn an_account_gets_the_code_that_it_waits_for_and_no_other() {
    let house = House::open().await;
    let code = async |n: &str, body: &str| house.post(&format!("/api/accounts/{n}/code"), body).await;
    let right = r#"{"code":"123456"}"#;
    assert_eq!(code("0", right).await.status, 409, "nobody asked for it");
    house.account.stands(stands(AccountLink::NeedsCode { why: "Wyze has sent a code.".into() }));
    until_account(&house, "needs_code").await;
    for other in ["1", "-1", "x", "%ff", "18446744073709551616"] {
        let reply = code(other, right).await;
        assert_eq!(reply.status, 404, "{other}");
        assert!(reply.error().starts_with("There is no such account"), "{}", reply.error());
    }
    for wrong in [
        "",
        "{}",
        r#"{"code":123456}"#,
        r#"{"code":"123"}"#,
        r#"{"code":"12345678901"}"#,
        r#"{"code":"12345a"}"#,
        r#"{"code":"１２３４５６"}"#,
        r#"{"code":"123456","n":1}"#,
        r#"[["123456"]]"#,
    ] {
        let reply = code("0", wrong).await;
        assert_eq!(reply.status, 422, "{wrong}");
        assert!(!reply.body.contains("1234"), "a code was repeated: {}", reply.body);
    }
    assert_eq!(code("0", right).await.status, 202);
    house.account.until_asked(|asked| asked.codes == ["123456"]).await;
}

#[tokio::test]
async fn devices_are_listed_anew_when_somebody_asks() {
    let house = House::open().await;
    let anew = "/api/accounts/rediscover";
    until_account(&house, "starting").await;
    assert_eq!(house.post(anew, r#"{"now":true}"#).await.status, 422);
    assert_eq!(house.send("POST", anew, &[("content-type", "text/plain")], b"").await.status, 415);
    assert_eq!(house.get(anew).await.status, 405);
    assert_eq!(house.account.asked().rediscoveries, 0);
    let reply = house.post(anew, "").await;
    assert_eq!((reply.status, &reply.json()[0]["n"]), (202, &0.into()));
    house.account.until_asked(|asked| asked.rediscoveries == 1).await;
}

#[tokio::test]
async fn a_listener_learns_that_a_doorbell_was_renamed() {
    let house = House::open().await;
    let mut listener = listen(&house, &[]).await.unwrap();
    news(&mut listener, |message| message["type"] == "snapshot").await;
    house.doorbell.update(DeviceInfo { name: "Back Door".into(), ..DeviceInfo::clone(&house.doorbell.info()) });
    news(&mut listener, |message| message["type"] == "state" && message["doorbell"]["name"] == "Back Door").await;
}

#[tokio::test]
async fn a_ring_is_told_with_how_late_it_was_known() {
    let house = House::open().await;
    let latency = Some(Duration::from_millis(1_250));
    house.vendor.tell(Event::Ring(Ring { at: unix_now(), event_id: "r1".into(), source: "cloud", latency }));
    house.doorbell.state().wait_for(|state| state.last_ring.is_some()).await.unwrap();
    assert_eq!(house.get("/api/doorbells/fake_1").await.json()["last_ring"]["latency_ms"], 1_250);
    let metrics = house.get("/metrics").await.body;
    let line = "doorstep_ring_latency_seconds{id=\"fake_1\"} 1.25";
    assert!(metrics.lines().any(|known| known == line), "{metrics}");
}
