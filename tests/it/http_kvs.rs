//! `GET /api/wyze/{id}/kvs` says what go2rtc's `#format=wyze` sources read, to whoever may ask.

use std::sync::{Arc, Mutex};

use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::{AccountPort, ActionError, DevicePort, Doorbell, Options, Request, Vendor, VendorError};
use doorstep::model::{Capability, DeviceId, DeviceInfo, Found, Link};
use doorstep::rtc::kvs_call::{IceServer, Signalling};
use doorstep::secret::{Password, SignedUrl, Token};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::fake_vendor::FakeVendor;
use crate::support::house::House;

const KVS: &str = "/api/wyze/called_1/kvs";
const TOKEN: &str = "correct:horse battery";

/// A doorbell that is called over KVS signalling, as its cloud arranges it.
struct Called(Mutex<Option<Result<Signalling, ActionError>>>);

impl Called {
    /// Into the house, ready to be called. `None` leaves the wish for a call lying.
    async fn into(house: &House, arrangement: Option<Result<Signalling, ActionError>>) {
        let info = DeviceInfo {
            id: DeviceId::parse("called_1").unwrap(),
            name: "Gate".to_owned(),
            vendor: "fake",
            model: "CALLED".to_owned(),
            firmware: None,
            capabilities: [Capability::Stream].into(),
        };
        let vendor = Arc::new(Self(Mutex::new(arrangement)));
        let doorbell = Doorbell::spawn(vendor, info, Options::default(), house.stop.clone());
        doorbell.state().wait_for(|state| state.link == Link::Ready).await.unwrap();
        house.doorbells.insert(doorbell);
    }
}

fn signalling() -> Signalling {
    Signalling {
        url: SignedUrl::new("wss://v-1.kinesisvideo.example/?X-Amz-Signature=a%2Bb&X-Amz-Date=1"),
        client_id: "phone 1".to_owned(),
        ice_servers: vec![
            IceServer {
                urls: vec!["stun:stun.example:443".to_owned()],
                username: String::new(),
                credential: Password::new(""),
            },
            IceServer {
                urls: vec!["turn:t.example:443?transport=udp".to_owned(), "turns:t.example:443".to_owned()],
                username: "user".to_owned(),
                credential: Password::new("ice password"),
            },
        ],
        authority: None,
    }
}

#[tokio::test]
async fn a_call_is_told_in_go2rtcs_words() {
    let house = House::open().await;
    Called::into(&house, Some(Ok(signalling()))).await;
    let reply = house.get(KVS).await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
    let expected = json!({
        "ClientId": "phone 1",
        "cam": "called_1",
        "result": "ok",
        "servers": [
            {"urls": ["stun:stun.example:443"], "username": "", "credential": ""},
            {
                "urls": ["turn:t.example:443?transport=udp", "turns:t.example:443"],
                "username": "user", "credential": "ice password"
            },
        ],
        "signalingUrl": "wss://v-1.kinesisvideo.example/?X-Amz-Signature=a%2Bb&X-Amz-Date=1",
    });
    assert_eq!(reply.json(), expected);
}

#[tokio::test]
async fn a_call_that_cannot_be_made_says_why_where_go2rtc_looks() {
    let house = House::open().await;
    let why = "Wyze does not answer. Try again.".to_owned();
    Called::into(&house, Some(Err(ActionError::Offline { why }))).await;
    for (path, status, sentence) in [
        ("/api/wyze/nobody/kvs", 404, "There is no such doorbell."),
        ("/api/wyze/fake_1/kvs", 404, "Front Door: this doorbell cannot do that"),
        (KVS, 503, "Gate: Wyze does not answer. Try again."),
    ] {
        let reply = house.get(path).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.error().starts_with(sentence), "{path}: {}", reply.error());
        assert_eq!(reply.json()["result"], reply.error(), "{path}");
    }
    assert_eq!(house.post(KVS, "{}").await.status, 405);
}

#[tokio::test]
async fn who_asks_for_a_call_is_answered_before_go2rtc_gives_up() {
    let house = House::open().await;
    Called::into(&house, None).await;
    let reply = house.get(KVS).await;
    assert_eq!(reply.status, 503);
    assert!(reply.error().contains("did not answer in time"), "{}", reply.error());
}

#[tokio::test]
async fn the_token_may_come_as_a_password_and_for_nothing_else() {
    let house = House::with(FakeVendor::new(), Some(Token::new(TOKEN)), Router::new()).await;
    Called::into(&house, Some(Ok(signalling()))).await;
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("doorstep:{password}")));
    let get = async |path, value: &str| house.send("GET", path, &[("authorization", value)], b"").await;
    assert_eq!(house.get(KVS).await.status, 401);
    assert_eq!(get(KVS, &basic("guess")).await.status, 401);
    assert_eq!(get(KVS, "Basic nonsense").await.status, 401);
    assert_eq!(get(KVS, &basic(TOKEN)).await.status, 200);
    assert_eq!(get(KVS, &format!("Bearer {TOKEN}")).await.status, 200);
    assert_eq!(get("/api/doorbells", &basic(TOKEN)).await.status, 401);
    let switch = [("authorization", basic(TOKEN)), ("content-type", "application/json".to_owned())];
    let switch = switch.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(house.send("POST", "/api/doorbells/fake_1/talk", &switch, br#"{"on":true}"#).await.status, 401);
    for _ in 0..10 {
        get(KVS, &basic("guess")).await;
    }
    assert_eq!(get(KVS, &basic(TOKEN)).await.status, 429, "passwords could be guessed");
    // No browser may be led to ask for a password and to send it ever after.
    assert_eq!(house.get(KVS).await.header("www-authenticate"), Some("Bearer"));
}

impl Vendor for Called {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Vec<Found>, VendorError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn run_account(
        self: Arc<Self>,
        _: AccountPort,
        _: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(std::future::pending())
    }

    fn run_device(
        self: Arc<Self>,
        mut port: DevicePort,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), VendorError>> {
        Box::pin(async move {
            port.state.send_modify(|state| state.link = Link::Ready);
            let mut unanswered = Vec::new();
            loop {
                let request = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    Some(request) = port.requests.recv() => request,
                };
                let arrangement = self.0.lock().unwrap().clone();
                match (request, arrangement) {
                    (Request::ArrangeCall { reply }, Some(arrangement)) => drop(reply.send(arrangement)),
                    (request, _) => unanswered.push(request),
                }
            }
        })
    }
}
