//! GWell cameras of a Wyze account, from the doorbell's handle to the camera: a virtual cloud, P2P server and cameras on
//! real sockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorstep::clock::{self, Instant};
use doorstep::config;
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::voice::{Mute, Source};
use doorstep::doorbell::{Accounts, ActionError, Doorbell, Registry, SayError, Saying};
use doorstep::media::{AudioCodec, Demand, FrameKind};
use doorstep::model::{Capability, DeviceId, Link};
use doorstep::proto::gwell::token::AccessToken;
use doorstep::secret::Token;
use doorstep::sim::gwell_camera::{self, CameraEvent, RunningCamera};
use doorstep::sim::gwell_server::{self, CameraAccount, Event, Limits, Quirk, RunningServer, ServerCommand, Who};
use doorstep::sim::wyze_cloud::{self, CloudCommand, Device, GwellUser, RunningCloud};
use doorstep::store::Store;
use doorstep::vendor;
use doorstep::vendor::wyze::gwell::talk;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::told;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A cloud, a P2P server that takes the cloud's tokens, and cameras that have logged in there.
struct Place {
    cloud: RunningCloud,
    server: RunningServer,
    cameras: Vec<RunningCamera>,
    /// What the cloud gives whoever asks.
    token: Arc<Mutex<AccessToken>>,
    data: TempDir,
    _all_stops: DropGuard,
}

impl Place {
    /// With so many cameras, and as many more that are dead: on the account, and not to be heard of.
    async fn with(alive: usize, dead: usize, change: impl FnOnce(&mut gwell_server::Settings)) -> Self {
        let stop = CancellationToken::new();
        let mut settings = gwell_server::Settings::with_cameras(11, alive + dead);
        change(&mut settings);
        let server = gwell_server::start(settings, stop.clone()).await.unwrap();
        let mut happens = server.events();
        let mut cameras = Vec::new();
        for account in &server.settings.cameras[dead..] {
            let settings = gwell_camera::Settings::new(server.address, &account.name, account.token.clone());
            cameras.push(gwell_camera::start(settings, stop.clone()).await.unwrap());
            let is_it = |event: &Event| matches!(event, Event::Certified { who: Who::Camera(name), .. } if *name == account.name);
            told::happens(&mut happens, "the camera's login", is_it).await;
        }
        let token = Arc::new(Mutex::new(server.settings.terminals[0].clone()));
        let cloud = wyze_cloud::start(cloud(&server.settings, token.clone()), stop.clone()).await.unwrap();
        Self { cloud, server, cameras, token, data: tempfile::tempdir().unwrap(), _all_stops: stop.drop_guard() }
    }

    /// `gwell` is of the account.
    fn house(&self, gwell: &str) -> House {
        let wyze_cloud::Settings { email, password, key_id, api_key, .. } = &self.cloud.settings;
        let url = self.cloud.url();
        let text = format!(
            "wyze:\n  - email: {}\n    password: {}\n    key_id: {}\n    api_key: {}\n    gwell: {gwell}\n    \
             endpoints: {{auth: \"{url}\", api: \"{url}\", core: \"{url}\", lock: \"{url}\", mars: \"{url}\", \
             device_management: \"{url}\"}}\n",
            email.expose(),
            password.expose(),
            key_id.expose(),
            api_key.expose(),
        );
        let config = config::parse(&text, "test").unwrap_or_else(|errors| panic!("{errors}"));
        let store = Store::open(&self.data.path().join("data")).unwrap();
        let (stop, doorbells) = (CancellationToken::new(), Registry::default());
        let wishes = Wishes {
            options: Default::default(),
            locks: Default::default(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let accounts =
            Accounts::start(vendor::all(&config, &store), wishes, doorbells.clone(), Registry::default(), &stop);
        House { doorbells, _accounts: accounts, stop }
    }

    /// Goes to the P2P server at once.
    fn house_of_server(&self, stagger_s: u64) -> House {
        self.house(&format!("{{servers: [\"{}\"], stagger_s: {stagger_s}}}", self.server.address))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.server.settings.cameras.iter().map(|camera| camera.name.as_str())
    }
}

/// One account, which has the tokens and the cameras of the P2P server. All are of a model that speaks nothing else.
fn cloud(p2p: &gwell_server::Settings, token: Arc<Mutex<AccessToken>>) -> wyze_cloud::Settings {
    let user = move |_: &str| {
        let (access_id, access_token) = token.lock().unwrap().to_text();
        Some(GwellUser { access_id, access_token: Token::new(access_token), expire: None })
    };
    let device = |(n, account): (usize, &CameraAccount)| Device {
        mac: account.name.clone(),
        ..Device::generate("GW_WC", &format!("Window {n}"), n as u64)
    };
    wyze_cloud::Settings {
        devices: p2p.cameras.iter().enumerate().map(device).collect(),
        gwell: Arc::new(user),
        ..wyze_cloud::Settings::generate(4)
    }
}

struct House {
    doorbells: Registry,
    _accounts: Accounts,
    stop: CancellationToken,
}

impl House {
    async fn doorbell(&self, camera: &str) -> Doorbell {
        let id = DeviceId::from_hardware("wyze", camera);
        let waiting = async {
            loop {
                match self.doorbells.get(&id) {
                    Some(doorbell) => return doorbell,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{camera} never appeared"))
    }

    async fn end(self) {
        self.stop.cancel();
        for doorbell in self.doorbells.all() {
            timeout(PATIENCE, doorbell.stopped()).await.expect("a camera does not stop");
        }
    }
}

/// Watches until there are pictures and sound.
async fn watch(doorbell: &Doorbell) -> Demand {
    let demand = doorbell.watch();
    let mut frames = demand.hub().listen();
    let (mut pictures, mut sounds) = (0, 0);
    let watching = async {
        while pictures < 5 || sounds < 5 {
            match frames.next().await.unwrap().kind {
                FrameKind::Video { .. } => pictures += 1,
                FrameKind::Audio(format) => {
                    assert_eq!((format.codec, format.rate_hz, format.channels), (AudioCodec::Pcmu, 16_000, 1));
                    sounds += 1;
                }
            }
        }
    };
    if timeout(PATIENCE, watching).await.is_err() {
        panic!("{}: {pictures} pictures, {sounds} sounds; {:?}", doorbell.info().name, doorbell.state().borrow());
    }
    demand
}

fn session_ended(event: &CameraEvent) -> Option<&'static str> {
    match event {
        CameraEvent::SessionEnded { why, .. } => Some(*why),
        _ => None,
    }
}

#[tokio::test]
async fn a_picture_comes_over_gwell_and_the_camera_hears_when_nobody_watches_any_more() {
    let place = Place::with(1, 0, |_| {}).await;
    let house = place.house_of_server(0);
    let doorbell = house.doorbell(place.names().next().unwrap()).await;
    assert!(!doorbell.info().capabilities.contains(&Capability::Talk));
    let watching = watch(&doorbell).await;
    let state = doorbell.state().borrow().clone();
    assert_eq!(state.link, Link::Streaming);
    assert!(state.transport.is_some_and(|way| way.starts_with("gwell_lan_")), "{:?}", state.transport);
    assert_eq!(state.talk_obstacle.as_deref(), Some(talk::UNKNOWN));
    let obstacle = ActionError::Offline { why: talk::UNKNOWN.to_owned() };
    assert_eq!(doorbell.start_talk(1).await.map(drop), Err(obstacle.clone()));
    let said = doorbell.say(Saying::once(Source::Text("hello".to_owned()))).await;
    assert_eq!(said, Err(SayError::Action(obstacle)), "and nothing was asked of whoever speaks");

    let mut happens = place.cameras[0].events();
    drop(watching);
    println!("told: {}", told::first(&mut happens, "the farewell", session_ended).await);
    let mut state = doorbell.state();
    let ready = timeout(PATIENCE, state.wait_for(|state| state.link == Link::Ready)).await;
    assert_eq!(ready.expect("it is not ready again").unwrap().transport, None);
    house.end().await;
}

#[tokio::test]
async fn stopping_tells_the_camera() {
    let place = Place::with(1, 0, |_| {}).await;
    let house = place.house_of_server(0);
    let doorbell = house.doorbell(place.names().next().unwrap()).await;
    let _watching = watch(&doorbell).await;
    let mut happens = place.cameras[0].events();
    house.end().await;
    told::first(&mut happens, "the farewell", session_ended).await;
}

#[tokio::test]
async fn after_a_restart_a_picture_comes_while_the_cloud_and_the_list_server_are_away() {
    let place = Place::with(1, 0, |_| {}).await;
    let camera = place.names().next().unwrap();
    let gwell = format!("{{list_servers: [\"{}\"], stagger_s: 0}}", place.server.list_address);
    let house = place.house(&gwell);
    drop(watch(&house.doorbell(camera).await).await);
    house.end().await;
    assert_eq!(place.cloud.counts().gwell_tokens, 1);

    let asked = place.cloud.requests_to("/");
    place.cloud.obey(CloudCommand::Online { device: None, online: false }).unwrap();
    place.server.obey(ServerCommand::Begin(Quirk::SilentList)).unwrap();
    let house = place.house(&gwell);
    drop(watch(&house.doorbell(camera).await).await);
    house.end().await;
    assert_eq!(place.cloud.requests_to("/"), asked);
}

#[tokio::test]
async fn a_kept_token_that_is_good_no_more_is_replaced_and_the_picture_comes() {
    let place = Place::with(1, 0, |_| {}).await;
    let house = place.house_of_server(0);
    let doorbell = house.doorbell(place.names().next().unwrap()).await;
    drop(watch(&doorbell).await);
    let mut state = doorbell.state();
    drop(timeout(PATIENCE, state.wait_for(|state| state.link == Link::Ready)).await.unwrap().unwrap());

    let access_id = place.server.settings.terminals[0].access_id();
    let newer = AccessToken::of_parts(access_id, [9; 64], vec![]);
    place.server.obey(ServerCommand::Revoke { access_id }).unwrap();
    place.server.obey(ServerCommand::Token(newer.clone())).unwrap();
    *place.token.lock().unwrap() = newer;
    drop(watch(&doorbell).await);
    assert_eq!(place.cloud.counts().gwell_tokens, 2);
    house.end().await;
}

#[tokio::test]
async fn a_server_that_takes_no_token_is_told_of() {
    let place = Place::with(1, 0, |settings| settings.quirks.push(Quirk::TokenRevoked)).await;
    let house = place.house_of_server(0);
    let doorbell = house.doorbell(place.names().next().unwrap()).await;
    let _watching = doorbell.watch();
    let mut state = doorbell.state();
    let failed = timeout(PATIENCE, state.wait_for(|state| state.last_error.is_some())).await;
    let why = failed.expect("it says nothing").unwrap().last_error.clone().unwrap();
    assert!(why.contains("does not take the token") && why.contains("(code 8020)"), "{why}");
    house.end().await;
}

/// The server gives each other's frames to sessions that begin together.
#[tokio::test]
async fn eight_cameras_begin_one_after_the_other_and_a_dead_one_delays_none_of_them() {
    const STAGGER: Duration = Duration::from_secs(1);
    let limits = Limits { min_stagger: STAGGER.mul_f64(0.9), ..Limits::default() };
    let place = Place::with(7, 1, |settings| settings.limits = limits).await;
    let mut happens = place.server.events();
    let house = place.house_of_server(STAGGER.as_secs());
    let mut doorbells = Vec::new();
    for camera in place.names() {
        doorbells.push(house.doorbell(camera).await);
    }
    let (dead, alive) = doorbells.split_first().unwrap();
    // The dead one is first in the queue.
    let calling = dead.watch();
    let mut state = dead.state();
    drop(timeout(PATIENCE, state.wait_for(|state| state.link == Link::Connecting)).await.unwrap().unwrap());
    let begun = clock::now();
    let watching: Vec<_> = alive
        .iter()
        .cloned()
        .map(|doorbell| tokio::spawn(async move { (watch(&doorbell).await, clock::now()) }))
        .collect();
    let mut seen: Vec<(Demand, Instant)> = Vec::new();
    for watching in watching {
        seen.push(watching.await.unwrap());
    }
    let last = seen.iter().map(|(_, at)| *at).max().unwrap() - begun;
    println!("all seven are seen after {last:?}");
    assert!(last < 7 * STAGGER + Duration::from_secs(20), "they waited for the dead one: {last:?}");
    assert_eq!(dead.state().borrow().link, Link::Connecting, "it is called all the while");
    let mut terminals = 0;
    while let Ok(event) = happens.try_recv() {
        assert!(!matches!(event, Event::Complaint { .. }), "{event:?}");
        terminals += usize::from(matches!(event, Event::Certified { who: Who::Terminal(_), .. }));
    }
    assert_eq!(terminals, 8, "a session was begun more than once");
    drop((seen, calling));
    house.end().await;
}
