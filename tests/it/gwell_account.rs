//! GWell cameras of a Wyze account: what is asked of the cloud for them, what is remembered, and what becomes of a
//! session that fails. The sessions are scripted; the cloud is a virtual one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::config::{HostPort, WyzeEndpoints, WyzeLogin};
use doorstep::doorbell::vendor::{BoxFuture, Retry};
use doorstep::doorbell::{ActionError, DevicePort, Request, VendorError};
use doorstep::media::{AudioCodec, AudioFormat, MediaHub, VideoCodec};
use doorstep::model::{DeviceId, DeviceInfo, Link, State};
use doorstep::net::drive::DriveError;
use doorstep::proto::gwell::session::{AvFrame, Command, Event, KnownDevice, Media, Path, SessionError, Setup};
use doorstep::secret::Token;
use doorstep::sim::wyze_cloud::{
    self, CloudCommand, CloudEvent, Device, Fault, GwellUser, RunningCloud, Settings, Trouble,
};
use doorstep::store::Store;
use doorstep::vendor::wyze::cloud::Cloud;
use doorstep::vendor::wyze::gwell::{Camera, Gwell, OnEvent, Sessions, live, talk};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::told;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const MARS: &str = "/plugin/mars/v2/regist_gw_user/";
const SERVER: ([u8; 4], u16) = ([127, 0, 0, 9], 28_800);

/// A cloud with one camera, and the folder of the service that asks it.
struct Place {
    cloud: RunningCloud,
    camera: Device,
    data: TempDir,
    _cloud_stops: DropGuard,
}

impl Place {
    /// `ends` says when each further token ends, in seconds from now; when it is used up, in a week.
    async fn with(model: &str, ends: impl Into<VecDeque<u64>>) -> Self {
        let camera = Device::generate(model, "Gate", 5);
        let (ends, given) = (Mutex::new(ends.into()), Mutex::new(0_u64));
        let gwell = move |_: &str| {
            let mut given = given.lock().unwrap();
            *given += 1;
            let expire = ends.lock().unwrap().pop_front().map(|seconds| clock::unix_seconds() + seconds);
            Some(GwellUser { access_id: given.to_string(), access_token: Token::new("5a".repeat(64)), expire })
        };
        let settings = Settings { devices: vec![camera.clone()], gwell: Arc::new(gwell), ..Settings::generate(3) };
        let stop = CancellationToken::new();
        let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
        Self { cloud, camera, data: tempfile::tempdir().unwrap(), _cloud_stops: stop.drop_guard() }
    }

    async fn open() -> Self {
        Self::with("GW_GC1", []).await
    }

    fn login(&self) -> WyzeLogin {
        let settings = &self.cloud.settings;
        let at = || self.cloud.url().parse().unwrap();
        WyzeLogin {
            email: settings.email.clone(),
            password: settings.password.clone(),
            key_id: settings.key_id.clone(),
            api_key: settings.api_key.clone(),
            totp_secret: None,
            ring_events: vec![10],
            poll: Duration::from_secs(5),
            endpoints: WyzeEndpoints {
                auth: at(),
                api: at(),
                core: at(),
                lock: at(),
                mars: at(),
                device_management: at(),
            },
            gwell: doorstep::config::Gwell {
                servers: vec![],
                list_servers: vec![HostPort { host: "localhost".to_owned(), port: 51_701 }],
                stagger: Duration::ZERO,
            },
        }
    }

    /// A start of the service, and the life of its camera.
    fn start(&self, script: Vec<Act>) -> Life {
        let store = Store::open(&self.data.path().join("data")).unwrap();
        let login = self.login();
        let gwell = Gwell::new(Cloud::new(&login, &store), &login, &store);
        let camera = Camera {
            name: self.camera.mac.clone(),
            model: self.camera.model.clone(),
            sleeps: self.camera.model == "GW_BE1",
            address: None,
        };
        Life::of(gwell, camera, script)
    }

    /// Requests of any kind.
    fn asked(&self) -> u64 {
        self.cloud.requests_to("/")
    }
}

/// What a scripted session does.
enum Act {
    /// Fails before there is a picture.
    Fail(SessionError),
    /// Hears that the token is taken, and nothing more, and fails.
    CertifyAndFail(SessionError),
    /// Shows a picture and fails.
    ShowAndFail(SessionError),
    /// Shows a picture and goes on.
    Show,
    /// Says that the newer token is not taken, once it comes, and goes on.
    ShowAndRefuseRenewal,
    /// The camera does not answer.
    Call,
}

/// Plays the acts one after another.
struct Script {
    acts: Mutex<VecDeque<Act>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// What a session was begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    access_id: u64,
    known: usize,
    servers: Vec<String>,
    list_servers: bool,
    /// The access ids of the tokens that came later.
    renewed: Vec<u64>,
}

impl Sessions for Script {
    fn run<'a>(
        &'a self,
        setup: Setup,
        mut commands: mpsc::Receiver<Command>,
        stop: &'a CancellationToken,
        mut tell: OnEvent,
    ) -> BoxFuture<'a, Result<(), DriveError<SessionError>>> {
        let act = self.acts.lock().unwrap().pop_front().expect("an act for every session");
        let nth = self.seen.lock().unwrap().len();
        assert!(setup.local.ip().is_loopback() && !setup.device.is_empty());
        self.seen.lock().unwrap().push(Seen {
            access_id: setup.token.access_id(),
            known: setup.known.len(),
            servers: setup.servers.iter().map(ToString::to_string).collect(),
            list_servers: !setup.list_servers.is_empty(),
            renewed: vec![],
        });
        let device = setup.device;
        Box::pin(async move {
            match act {
                Act::Fail(error) => return Err(DriveError::Session(error)),
                Act::Call => {}
                Act::CertifyAndFail(_) => tell(Event::Certified { server: SERVER.into() }),
                Act::Show | Act::ShowAndFail(_) | Act::ShowAndRefuseRenewal => {
                    tell(Event::Certified { server: SERVER.into() });
                    tell(Event::Listed(vec![KnownDevice { name: device, tid: 7 }]));
                    tell(Event::Found { path: Path::LanUdp });
                    tell(Event::Accepted);
                    tell(Event::Frame(frame(
                        Media::Video,
                        &[0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 1, 0, 0, 0, 1, 0x65],
                    )));
                    tell(Event::Frame(frame(Media::Audio, &[0xff; 320])));
                }
            }
            if let Act::ShowAndFail(error) | Act::CertifyAndFail(error) = act {
                // What was told is looked after first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Err(DriveError::Session(error));
            }
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    command = commands.recv() => match command {
                        Some(Command::Renew(token)) => {
                            self.seen.lock().unwrap()[nth].renewed.push(token.access_id());
                            if matches!(act, Act::ShowAndRefuseRenewal) {
                                tell(Event::NotRenewed { code: Some(8_020) });
                            }
                        }
                        None => return Ok(()),
                    },
                }
            }
        })
    }
}

fn frame(media: Media, data: &[u8]) -> AvFrame {
    AvFrame { media, pts: Duration::ZERO, data: Bytes::copy_from_slice(data), gap: false }
}

struct Life {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<State>,
    media: MediaHub,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), VendorError>>,
}

impl Life {
    fn of(gwell: Gwell, camera: Camera, script: Vec<Act>) -> Self {
        let info = DeviceInfo {
            id: DeviceId::from_hardware("wyze", &camera.name),
            name: "Gate".to_owned(),
            vendor: "wyze",
            model: camera.model.clone(),
            firmware: None,
            capabilities: [].into(),
        };
        let (requests, inbox) = mpsc::channel(4);
        let (events, _) = mpsc::channel(4);
        let (state_sender, state) = watch::channel(State::default());
        let (media, stop, seen) = (MediaHub::new(), CancellationToken::new(), Arc::<Mutex<Vec<Seen>>>::default());
        let port =
            DevicePort { info: Arc::new(info), requests: inbox, state: state_sender, events, media: media.clone() };
        let script = Script { acts: Mutex::new(script.into()), seen: seen.clone() };
        let stopping = stop.clone();
        let task = tokio::spawn(async move { live(&gwell, &camera, &script, port, stopping).await });
        Self { requests, state, media, seen, stop, task }
    }

    async fn until(&mut self, what: &str, condition: impl FnMut(&State) -> bool) -> State {
        match timeout(PATIENCE, self.state.wait_for(condition)).await {
            Ok(Ok(state)) => state.clone(),
            other => panic!("the camera never was: {what}; {:?}", other.map(|state| state.map(|state| state.clone()))),
        }
    }

    async fn streams(&mut self) {
        self.until("streaming", |state| state.link == Link::Streaming).await;
    }

    /// Waits for the sessions to be so.
    async fn sessions(&self, what: &str, are_so: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let waiting = async {
            while !are_so(&self.seen()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "never {what}: {:#?}", self.seen());
        self.seen()
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    async fn ends(self) -> Result<(), VendorError> {
        timeout(PATIENCE, self.task).await.expect("the life goes on").unwrap()
    }

    async fn stops(self) {
        self.stop.cancel();
        self.ends().await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_asked_for_a_camera_that_nobody_watches_and_a_picture_comes_when_somebody_does() {
    let place = Place::open().await;
    let mut life = place.start(vec![Act::Show]);
    life.until("ready", |state| state.link == Link::Ready).await;
    assert_eq!(place.asked(), 0, "the cloud was asked for nobody");
    let mut frames = life.media.listen();
    let watching = life.media.hold();
    life.streams().await;
    assert_eq!(life.state.borrow().transport, Some("gwell_lan_udp"));
    let picture = timeout(PATIENCE, frames.next()).await.unwrap().unwrap();
    assert!(picture.kind.is_keyframe());
    let formats = *life.media.formats().borrow();
    let sound = AudioFormat { codec: AudioCodec::Pcmu, rate_hz: 16_000, channels: 1 };
    assert_eq!((formats.video, formats.audio), (Some(VideoCodec::H264), Some(sound)));
    drop(watching);
    let ready = life.until("ready again", |state| state.link == Link::Ready).await;
    assert_eq!(ready.transport, None);
    life.stops().await;
}

#[tokio::test]
async fn a_restart_asks_the_cloud_for_nothing() {
    let place = Place::open().await;
    let mut life = place.start(vec![Act::Show]);
    let watching = life.media.hold();
    life.streams().await;
    // A start of its own knows nothing yet, and asks for the P2P servers.
    let first = life.sessions("begun", |seen| !seen.is_empty()).await.remove(0);
    assert_eq!((first.known, first.servers.len(), first.list_servers), (0, 0, true));
    drop(watching);
    life.until("ready again", |state| state.link == Link::Ready).await;
    life.stops().await;
    assert_eq!(place.cloud.counts().gwell_tokens, 1);

    let asked = place.asked();
    place.cloud.obey(CloudCommand::Online { device: None, online: false }).unwrap();
    for _ in 0..2 {
        let mut life = place.start(vec![Act::Show]);
        let watching = life.media.hold();
        life.streams().await;
        let again = life.seen().remove(0);
        assert_eq!((again.access_id, again.known, again.list_servers), (first.access_id, 1, false));
        assert_eq!(again.servers, [std::net::SocketAddr::from(SERVER).to_string()]);
        drop(watching);
        life.stops().await;
    }
    assert_eq!(place.asked(), asked, "a restart asked the cloud");
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_asked_for_anew_once() {
    let refused = || SessionError::NotCertified { code: Some(8_020) };
    let place = Place::open().await;
    let mut life = place.start(vec![Act::Fail(refused()), Act::Show]);
    let watching = life.media.hold();
    life.streams().await;
    let ids: Vec<u64> = life.seen().iter().map(|seen| seen.access_id).collect();
    assert_eq!(ids, [1, 2]);
    drop(watching);
    life.stops().await;

    let life = place.start(vec![Act::Fail(refused()), Act::Fail(refused())]);
    let _watching = life.media.hold();
    let seen = life.seen.clone();
    let error = life.ends().await.unwrap_err();
    let ids: Vec<u64> = seen.lock().unwrap().iter().map(|seen| seen.access_id).collect();
    assert_eq!(ids, [2, 3], "the one that worked first, then a new one, and no third");
    assert_eq!(error.retry, Retry::Backoff);
    assert!(error.what.contains("(code 8020)") && error.what.contains("Wyze's app"), "{}", error.what);
}

#[tokio::test]
async fn a_token_that_ends_soon_is_not_begun_with() {
    let place = Place::with("GW_GC1", [3_000, 3_000]).await;
    for id in [1, 2] {
        let mut life = place.start(vec![Act::Show]);
        let _watching = life.media.hold();
        life.streams().await;
        assert_eq!(life.seen()[0].access_id, id);
        life.stops().await;
    }
}

#[tokio::test]
async fn a_session_gets_a_newer_token_before_its_own_ends() {
    let place = Place::with("GW_GC1", [3_602]).await;
    let mut life = place.start(vec![Act::Show]);
    let _watching = life.media.hold();
    life.streams().await;
    let seen = life.sessions("renewed", |seen| seen[0].renewed.len() == 1).await;
    assert_eq!((seen[0].access_id, seen[0].renewed.as_slice()), (1, &[2][..]));
    assert_eq!(seen.len(), 1, "the session was begun anew");
    life.stops().await;
    // The newest is what the next start has.
    let mut life = place.start(vec![Act::Show]);
    let _watching = life.media.hold();
    life.streams().await;
    assert_eq!(life.seen()[0].access_id, 2);
    life.stops().await;
}

#[tokio::test]
async fn a_cloud_whose_tokens_are_about_to_end_is_not_asked_again_and_again() {
    let place = Place::with("GW_GC1", [3_601; 20]).await;
    let mut life = place.start(vec![Act::Show]);
    let watching = life.media.hold();
    life.streams().await;
    life.sessions("renewed", |seen| !seen[0].renewed.is_empty()).await;
    // As long as two more such tokens would last.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(life.seen()[0].renewed, [2]);
    drop(watching);
    life.until("ready again", |state| state.link == Link::Ready).await;
    life.stops().await;
}

#[tokio::test]
async fn a_server_that_only_says_that_it_took_the_token_is_not_remembered() {
    let place = Place::open().await;
    for _ in 0..2 {
        let life = place.start(vec![Act::CertifyAndFail(SessionError::NotCalled)]);
        let _watching = life.media.hold();
        let seen = life.seen.clone();
        life.ends().await.unwrap_err();
        assert!(seen.lock().unwrap()[0].list_servers, "it is gone to again");
    }
}

#[tokio::test]
async fn a_newer_token_that_is_not_taken_is_forgotten() {
    let place = Place::with("GW_GC1", [3_602]).await;
    let mut life = place.start(vec![Act::ShowAndRefuseRenewal]);
    let watching = life.media.hold();
    life.streams().await;
    life.sessions("renewed", |seen| seen[0].renewed == [2]).await;
    drop(watching);
    life.until("ready again", |state| state.link == Link::Ready).await;
    life.stops().await;
    let mut life = place.start(vec![Act::Show]);
    let _watching = life.media.hold();
    life.streams().await;
    assert_eq!(life.seen()[0].access_id, 3);
    life.stops().await;
}

#[tokio::test]
async fn a_p2p_server_that_is_gone_is_asked_for_anew_once() {
    let place = Place::open().await;
    let mut life = place.start(vec![Act::ShowAndFail(SessionError::Closed)]);
    let _watching = life.media.hold();
    life.streams().await;
    let closed = life.ends().await.unwrap_err();
    assert!(closed.what.starts_with("The camera ended the stream."), "{}", closed.what);

    let life = place.start(vec![Act::Fail(SessionError::NoServer), Act::Fail(SessionError::NoServer)]);
    let _watching = life.media.hold();
    let seen = life.seen.clone();
    let error = life.ends().await.unwrap_err();
    let asked: Vec<(usize, bool)> =
        seen.lock().unwrap().iter().map(|seen| (seen.servers.len(), seen.list_servers)).collect();
    assert_eq!(asked, [(1, false), (0, true)]);
    assert!(error.what.contains("firewall"), "{}", error.what);
}

#[tokio::test]
async fn a_camera_that_falls_silent_is_called_again_while_somebody_watches() {
    let place = Place::open().await;
    let silent = || Act::ShowAndFail(SessionError::Silent);
    let mut life = place.start(vec![silent(), silent(), Act::Show]);
    let mut frames = life.media.listen();
    let watching = life.media.hold();
    life.sessions("called a third time", |seen| seen.len() == 3).await;
    life.streams().await;
    assert!(life.state.borrow().last_error.is_none());
    for _ in 0..3 {
        let is_picture = async { while !frames.next().await.unwrap().kind.is_keyframe() {} };
        timeout(PATIENCE, is_picture).await.expect("a picture of each call, in one stream");
    }
    drop(watching);
    life.stops().await;
    assert_eq!(place.cloud.counts().gwell_tokens, 1);
}

#[tokio::test]
async fn a_battery_doorbell_is_woken_when_it_is_called_and_no_other_is() {
    for (model, wakes) in [("GW_BE1", 1), ("GW_GC1", 0)] {
        let place = Place::with(model, []).await;
        let mut events = place.cloud.events();
        let mut life = place.start(vec![if wakes > 0 { Act::Call } else { Act::Show }]);
        let watching = life.media.hold();
        if wakes > 0 {
            told::happens(&mut events, "the call", |event| matches!(event, CloudEvent::Woken { .. })).await;
        } else {
            life.streams().await;
        }
        drop(watching);
        life.until("ready again", |state| state.link == Link::Ready).await;
        life.stops().await;
        assert_eq!(place.cloud.counts().wakes, wakes, "{model}");
    }
}

#[tokio::test]
async fn a_worn_out_login_is_renewed_and_the_token_asked_for_again() {
    let place = Place::open().await;
    let mut life = place.start(vec![Act::Show]);
    let watching = life.media.hold();
    life.streams().await;
    drop(watching);
    life.stops().await;
    place.cloud.obey(CloudCommand::Trouble(Some(Trouble::from(Fault::Expired)))).unwrap();
    let mut life = place.start(vec![Act::Fail(SessionError::NotCertified { code: None }), Act::Show]);
    let _watching = life.media.hold();
    life.streams().await;
    let counts = place.cloud.counts();
    assert_eq!((counts.logins, counts.refreshes, counts.gwell_tokens), (1, 1, 2));
    assert_eq!(place.cloud.requests_to(MARS), 3, "the token was asked for, refused, and asked for again");
    life.stops().await;
}

#[tokio::test]
async fn a_camera_that_is_none_of_gwells_says_so_and_waits_for_its_owner() {
    let place = Place::open().await;
    place.cloud.obey(CloudCommand::Remove { device: place.camera.mac.clone() }).unwrap();
    let life = place.start(vec![]);
    let _watching = life.media.hold();
    let error = life.ends().await.unwrap_err();
    assert_eq!(error.retry, Retry::WaitForUser);
    assert!(error.what.contains("GWell does not reach this camera") && error.what.contains("`transport`"));
}

#[tokio::test]
async fn whoever_wants_to_talk_hears_why_nobody_can() {
    let place = Place::open().await;
    let mut life = place.start(vec![Act::Show]);
    let mut watching = None;
    for moment in ["idle", "streaming"] {
        let (reply, answer) = oneshot::channel();
        life.requests.send(Request::StartTalk { reply }).await.unwrap();
        match timeout(PATIENCE, answer).await.unwrap().unwrap() {
            Err(ActionError::Refused { why }) => assert_eq!(why, talk::UNKNOWN),
            other => panic!("{moment}: {other:?}"),
        }
        watching = Some(life.media.hold());
        life.streams().await;
    }
    drop(watching);
    life.stops().await;
}
