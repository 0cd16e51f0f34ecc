//! The HTTP face over a fake doorbell on a real socket.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::routing::{any_service, get};
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{Accounts, Doorbell, Options, Registry};
use doorstep::http::{
    About, Direct, Entrance, Face, MediaKeys, Setup, SetupError, Tickets, Tokens, go2rtc, router, serve, whep,
};
use doorstep::model::{Capability, DoorKind, MqttLink, OpenerEntity};
use doorstep::secret::Token;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake_account::FakeAccount;
use super::fake_lock::{FakeLock, door, opener};
use super::fake_vendor::{FakeVendor, OnOpen};
use super::fake_voice::FakeVoice;
use super::http::{Reply, request_with};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where the house is served as well, as behind a proxy that takes the prefix away.
pub(crate) const PREFIX: &str = "/behind/a/prefix/";

/// The site whose pages may call the API.
pub(crate) const LISTED: &str = "http://card.example:8123";

/// Accounts as they are: nobody adds one.
pub(crate) struct NoSetup;

impl Setup for NoSetup {
    fn about(&self, _: usize) -> About {
        About { label: "y…@example.com".to_owned(), added_here: false }
    }

    fn add(&self, _: Value) -> BoxFuture<'static, Result<usize, SetupError>> {
        Box::pin(async { Err(SetupError::Full(0)) })
    }

    fn correct(&self, _: usize, _: Value) -> BoxFuture<'static, Result<(), SetupError>> {
        Box::pin(async { Err(SetupError::Configured) })
    }

    fn remove(&self, _: usize) -> BoxFuture<'static, Result<(), SetupError>> {
        Box::pin(async { Err(SetupError::Configured) })
    }
}

/// One doorbell, `fake_1`, and an account behind the HTTP face.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    /// The entrance of Home Assistant, whose Supervisor is at 127.0.0.1 here.
    pub(crate) ingress: SocketAddr,
    /// What opens `address`, unless it is empty.
    pub(crate) tokens: Tokens,
    pub(crate) keys: MediaKeys,
    pub(crate) vendor: Arc<FakeVendor>,
    pub(crate) account: Arc<FakeAccount>,
    pub(crate) doorbell: Doorbell,
    pub(crate) doorbells: Registry,
    pub(crate) mqtt: watch::Sender<MqttLink>,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    /// Where a door's records are.
    pub(crate) data: Option<TempDir>,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(FakeVendor::new(), None, Router::new()).await
    }

    pub(crate) async fn locked(token: &str) -> Self {
        Self::with(FakeVendor::new(), Some(Token::new(token)), Router::new()).await
    }

    pub(crate) async fn with(vendor: Arc<FakeVendor>, token: Option<Token>, whep: Router) -> Self {
        Self::build(Options::default(), vendor, token, whep, CancellationToken::new()).await
    }

    /// With a voice, which keeps the clips too.
    pub(crate) async fn with_voice(voice: &Arc<FakeVoice>, vendor: Arc<FakeVendor>) -> Self {
        Self::build(voice.options(), vendor, None, Router::new(), CancellationToken::new()).await
    }

    /// Without a picture, with a door that this lock bolts.
    pub(crate) async fn with_door(lock: &Arc<FakeLock>, token: Option<Token>) -> Self {
        Self::with_doors([(DoorKind::Lock, lock)], token).await
    }

    /// The same with several doors.
    pub(crate) async fn with_doors<const N: usize>(
        doors: [(DoorKind, &Arc<FakeLock>); N],
        token: Option<Token>,
    ) -> Self {
        let (stop, locks, data) = (CancellationToken::new(), Registry::default(), tempfile::tempdir().unwrap());
        for (_, lock) in doors {
            lock.live(&locks, &stop).await;
        }
        let doors = doors.map(|(kind, lock)| door(kind, lock, None, &locks, data.path()));
        let options = Options { doors: doors.into(), ..Options::default() };
        let mut house = Self::build(options, FakeVendor::with([Capability::Ring]), token, Router::new(), stop).await;
        house.data = Some(data);
        house
    }

    /// Without a picture, with a door that an opener in the doorbell opens.
    pub(crate) async fn with_opener(on_open: OnOpen) -> Self {
        let (vendor, data) = (FakeVendor::with([Capability::Ring]), tempfile::tempdir().unwrap());
        vendor.on_open(on_open);
        let doors = [opener(OpenerEntity::default(), None, data.path())].into();
        let options = Options { doors, ..Options::default() };
        let mut house = Self::build(options, vendor, None, Router::new(), CancellationToken::new()).await;
        house.data = Some(data);
        let mut state = house.doorbell.state();
        state.wait_for(|state| state.doors.values().all(|door| door.blocked.is_none())).await.unwrap();
        house
    }

    async fn build(
        options: Options,
        vendor: Arc<FakeVendor>,
        token: Option<Token>,
        whep: Router,
        stop: CancellationToken,
    ) -> Self {
        let (doorbells, voice) = (Registry::default(), options.voice.clone());
        let doorbell = vendor.doorbell_with(options, &stop);
        doorbells.insert(doorbell.clone());
        vendor.lives(1).await;
        let account = FakeAccount::new();
        let no_wishes = Wishes {
            options: HashMap::new(),
            locks: BTreeSet::new(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let accounts = Accounts::start(vec![account.clone()], no_wishes, doorbells.clone(), Registry::default(), &stop);
        let (mqtt, link) = watch::channel(MqttLink::Connected);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tokens = Tokens::of_config(token.as_ref());
        let keys = MediaKeys::default();
        let face = Face {
            doorbells: doorbells.clone(),
            accounts,
            voice,
            setup: Arc::new(NoSetup),
            mqtt: link,
            whep: of_router(whep),
            go2rtc: go2rtc::Routes { streams: get(async || "streams"), signalling: get(async || "a socket") },
            counters: Arc::new(|| vec![("viewer_packets_total", 7.0)]),
            version: "1.2.3",
            direct: Some(Direct { listen: address, tokens: tokens.clone() }),
            tickets: Tickets::default(),
            keys: keys.clone(),
            names: vec!["door.example".to_owned()],
            origins: vec![LISTED.to_owned()],
            demo: true,
        };
        let ingress = serve_ingress(face.clone(), &stop).await;
        let entrance = Entrance::Direct { tokens: tokens.clone() };
        let face = router(face, &entrance, address).unwrap();
        let both = Router::new().nest_service(PREFIX, face.clone()).fallback_service(face);
        let serving = tokio::spawn(serve(listener, &entrance, both, stop.clone()));
        Self { address, ingress, tokens, keys, vendor, account, doorbell, doorbells, mqtt, stop, serving, data: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body.as_bytes()).await
    }

    /// One request on a connection of its own. `headers` may replace `host`.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        request_with(self.address, method, path, headers, body).await
    }
}

/// The two routes of WHEP, answered by a router that has them by the same addresses.
fn of_router(whep: Router) -> whep::Routes {
    // What the face's own router has matched would be counted among the inner one's matches.
    let anew = middleware::from_fn(async |mut request: Request, next: Next| {
        request.extensions_mut().clear();
        next.run(request).await
    });
    whep::Routes { offers: any_service(whep.clone()).layer(anew.clone()), sessions: any_service(whep).layer(anew) }
}

async fn serve_ingress(face: Face, stop: &CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let entrance = Entrance::Ingress { peer: Ipv4Addr::LOCALHOST.into() };
    let router = router(face, &entrance, address).unwrap();
    tokio::spawn(serve(listener, &entrance, router, stop.clone()));
    address
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
