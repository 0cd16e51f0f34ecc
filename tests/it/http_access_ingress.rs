//! The app inside Home Assistant: page, pictures and events below the prefix of its ingress, and who is named by it.

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, post};
use doorstep::secret::Token;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::http_access_page::{attack, foreign_site, untouched};
use crate::page::{LIVE, camera};
use crate::support::browser::Browser;
use crate::support::fake_lock::FakeLock;
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::{House, PATIENCE};
use crate::support::http::request_with;
use crate::support::ingress::{Ingress, PREFIX, USER};

const SDP: (&str, &str) = ("content-type", "application/sdp");

/// Locked for everybody else.
async fn house(whep: Router) -> House {
    House::with(FakeVendor::new(), Some(Token::new("Zq3vJ8xkLw5nB2yTf7Rm4Hc9Ds6Pg1Ua")), whep).await
}

#[tokio::test]
async fn a_picture_is_offered_and_ended_below_the_prefix() {
    let answer = async |Path(id): Path<String>| {
        (StatusCode::CREATED, [(header::LOCATION, format!("{id}/00ab12cd34ef5678"))], "v=0").into_response()
    };
    let house =
        house(Router::new().route("/whep/{id}", post(answer)).route("/whep/{id}/{s}", delete(async || "ended"))).await;
    let home = Ingress::before(house.ingress).await;
    let offers = format!("{PREFIX}whep/fake_1");
    assert_eq!(request_with(home.address, "POST", &offers, &[SDP], "v=0").await.status, 401, "without a session");
    let answer = request_with(home.address, "POST", &offers, &[SDP, Ingress::session()], "v=0").await;
    assert_eq!(answer.status, 201);
    let asked = url::Url::parse(&format!("http://{}{offers}", home.address)).unwrap();
    let session = asked.join(answer.header("location").unwrap()).unwrap();
    let ended = request_with(home.address, "DELETE", session.path(), &[Ingress::session()], "").await;
    assert_eq!((ended.status, ended.body.as_str()), (200, "ended"));
    assert_eq!(home.passed(), ["POST /whep/fake_1 HTTP/1.1", "DELETE /whep/fake_1/00ab12cd34ef5678 HTTP/1.1"]);
}

#[tokio::test]
async fn events_are_heard_below_the_prefix() {
    let house = house(Router::new()).await;
    let home = Ingress::before(house.ingress).await;
    let mut request = format!("ws://{}{PREFIX}api/events", home.address).into_client_request().unwrap();
    let own = HeaderValue::try_from(format!("http://{}", home.address)).unwrap();
    request.headers_mut().insert("origin", own);
    request.headers_mut().insert("cookie", HeaderValue::from_static(Ingress::session().1));
    let (mut events, _) = timeout(PATIENCE, connect_async(request)).await.unwrap().unwrap();
    let first = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap().into_text().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["type"], "snapshot");
}

#[tokio::test]
async fn the_page_lives_in_home_assistants_frame() {
    let browser = Browser::launch().await;
    let (whep, _, mut deleted) = camera(&browser).await;
    let house = house(whep).await;
    let home = Ingress::before(house.ingress).await;
    let frontend = browser.open(&format!("http://{}/", home.address)).await;
    let inside =
        |expression: &str| format!("(document => {expression})(document.getElementById('app').contentDocument)");
    frontend.until(&inside(LIVE)).await;
    frontend.until(&inside("document.getElementById('broker').textContent.includes('connected')")).await;
    house.vendor.ring("r1");
    frontend.until(&inside("document.querySelector('.banner')")).await;
    let asked = "document.defaultView.performance.getEntriesByType('resource').map((e) => new URL(e.name).pathname)";
    let asked = frontend.value(&inside(asked)).await;
    let asked = asked.as_array().unwrap();
    assert!(!asked.is_empty() && asked.iter().all(|path| path.as_str().unwrap().starts_with(PREFIX)), "{asked:?}");
    frontend.value("document.getElementById('app').remove()").await;
    timeout(PATIENCE, deleted.recv()).await.expect("the viewer was left behind");
    assert_eq!(browser.complaints().await, [""; 0]);
}

/// To a cookie, all ports of a host are one site: another program's page on Home Assistant's machine comes with it.
#[tokio::test]
async fn hostile_page_on_another_port_of_home_assistants_host_reaches_nothing_with_its_session() {
    let house = house(Router::new()).await;
    let home = Ingress::before(house.ingress).await;
    let browser = Browser::launch().await;
    let frontend = browser.open(&format!("http://{}/", home.address)).await;
    frontend.until("document.getElementById('app').contentDocument.querySelector('.card')").await;
    let passed = home.passed().len();
    let evil = browser.open(&format!("http://127.0.0.1:{}/", foreign_site().await)).await;
    evil.until("document.title === 'free kittens'").await;
    let base = format!("http://{}{PREFIX}", home.address);
    assert_eq!(attack(&evil, &base).await, json!([]));
    assert!(home.passed().len() > passed + 50, "the cookie did not come along, so nothing was tried");
    untouched(&house);
}

#[tokio::test]
async fn the_audit_log_has_home_assistants_user_and_not_the_one_a_browser_claims() {
    let lock = FakeLock::new("lock_1");
    let house = House::with_door(&lock, Some(Token::new("Zq3vJ8xkLw5nB2yTf7Rm4Hc9Ds6Pg1Ua"))).await;
    let home = Ingress::before(house.ingress).await;
    let headers = [("content-type", "application/json"), Ingress::session(), ("X-Remote-User-Id", "beef")];
    let path = format!("{PREFIX}api/doorbells/fake_1/unlock");
    let reply =
        timeout(Duration::from_secs(20), request_with(home.address, "POST", &path, &headers, "")).await.unwrap();
    assert_eq!(reply.status, 202);
    let log = std::fs::read_to_string(house.data.as_ref().unwrap().path().join("audit.jsonl")).unwrap();
    assert!(log.contains(&format!("\"http/ingress {USER}\"")) && !log.contains("beef"), "{log}");
}
