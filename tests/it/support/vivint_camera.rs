//! A Vivint account with one camera, in memory, that says what a test wants it to say.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use doorstep::doorbell::vendor::{BoxFuture, Retry};
use doorstep::doorbell::{ActionError, DevicePort, Question, Request, TalkLine, VendorError};
use doorstep::media::{AudioFormat, MediaHub};
use doorstep::model::{DeviceId, DeviceInfo, State};
use doorstep::vendor::vivint::camera::{self, Services, TalkReply, Worked};
use doorstep::vendor::vivint::devices::{Camera, Lan, Place, Relayed};
use doorstep::vendor::vivint::rtsp::{Login, Wish};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(25);

/// What has been asked so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) relisted: usize,
    pub(crate) renewed: usize,
    pub(crate) thumbnails_asked: usize,
    pub(crate) talks: usize,
    pub(crate) farewells: usize,
}

/// The account and what stands behind it.
pub(crate) struct VivintCamera {
    script: Mutex<Script>,
    worked: Worked,
    newest: watch::Sender<Option<SystemTime>>,
    seen: watch::Sender<Seen>,
}

struct Script {
    camera: Camera,
    lan_after_relisting: Option<Lan>,
    panel_login: Option<Login>,
    panel_login_after_renewal: Option<Login>,
    /// What the camera does when it is asked for a still picture: takes one at this time.
    takes_one_at: Option<SystemTime>,
    picture: Bytes,
    obstacle: Option<String>,
}

impl VivintCamera {
    /// A camera to which no way leads.
    pub(crate) fn new() -> Arc<Self> {
        let camera = Camera {
            place: Place { panel: 7_001_000_200_030_004, partition: 1, device: 27 },
            uuid: None,
            actual_type: "vivint_dbc350_camera_device".to_owned(),
            lan: None,
            panel: Relayed::default(),
            external: Relayed::default(),
            thumbnail_at: None,
            speaks: true,
            rings: true,
            online: Some(true),
        };
        let script = Script {
            camera,
            lan_after_relisting: None,
            panel_login: None,
            panel_login_after_renewal: None,
            takes_one_at: None,
            picture: Bytes::from_static(b"\xff\xd8\xff\xe0picture"),
            obstacle: None,
        };
        Arc::new(Self {
            script: Mutex::new(script),
            worked: Worked::default(),
            newest: watch::Sender::default(),
            seen: watch::Sender::default(),
        })
    }

    pub(crate) fn info(id: DeviceId) -> DeviceInfo {
        DeviceInfo {
            id,
            name: "Front Door".to_owned(),
            vendor: "vivint",
            model: "DBC350".to_owned(),
            firmware: None,
            capabilities: BTreeSet::new(),
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Camera)) {
        change(&mut self.script.lock().unwrap().camera);
    }

    pub(crate) fn on_relisting(&self, lan: Lan) {
        self.script.lock().unwrap().lan_after_relisting = Some(lan);
    }

    pub(crate) fn set_panel_login(&self, login: Login) {
        self.script.lock().unwrap().panel_login = Some(login);
    }

    pub(crate) fn on_renewal(&self, login: Login) {
        self.script.lock().unwrap().panel_login_after_renewal = Some(login);
    }

    pub(crate) fn on_request_takes_one_at(&self, at: SystemTime) {
        self.script.lock().unwrap().takes_one_at = Some(at);
    }

    pub(crate) fn newest_is(&self, at: SystemTime) {
        self.newest.send_replace(Some(at));
    }

    pub(crate) fn picture_is(&self, picture: Bytes) {
        self.script.lock().unwrap().picture = picture;
    }

    pub(crate) fn obstacle_is(&self, obstacle: &str) {
        self.script.lock().unwrap().obstacle = Some(obstacle.to_owned());
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    pub(crate) async fn until(&self, what: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        timeout(PATIENCE, seen.wait_for(|seen| what(seen))).await.expect("it is asked").unwrap();
    }
}

impl Services for VivintCamera {
    fn camera(&self) -> Result<Camera, VendorError> {
        Ok(self.script.lock().unwrap().camera.clone())
    }

    fn relisted(&self) -> BoxFuture<'_, Result<Camera, VendorError>> {
        self.seen.send_modify(|seen| seen.relisted += 1);
        let mut script = self.script.lock().unwrap();
        if let Some(lan) = script.lan_after_relisting.take() {
            script.camera.lan = Some(lan);
        }
        let camera = script.camera.clone();
        Box::pin(async { Ok(camera) })
    }

    fn panel_login(&self, renew: bool) -> BoxFuture<'_, Result<Login, VendorError>> {
        let mut script = self.script.lock().unwrap();
        if renew {
            self.seen.send_modify(|seen| seen.renewed += 1);
            if let Some(login) = script.panel_login_after_renewal.take() {
                script.panel_login = Some(login);
            }
        }
        let what = "The cloud is away.".to_owned();
        let gone = VendorError { vendor: "vivint", what, retry: Retry::Backoff, source: None };
        let login = script.panel_login.clone().ok_or(gone);
        Box::pin(async { login })
    }

    fn wish(&self) -> Wish {
        Wish::default()
    }

    fn worked(&self) -> &Worked {
        &self.worked
    }

    fn request_thumbnail(&self) -> BoxFuture<'_, Result<(), VendorError>> {
        self.seen.send_modify(|seen| seen.thumbnails_asked += 1);
        if let Some(at) = self.script.lock().unwrap().takes_one_at {
            self.newest.send_replace(Some(at));
        }
        Box::pin(async { Ok(()) })
    }

    fn newest_thumbnail(&self) -> Option<SystemTime> {
        *self.newest.borrow()
    }

    fn newer_thumbnail(&self, than: Option<SystemTime>) -> BoxFuture<'_, SystemTime> {
        let mut newest = self.newest.subscribe();
        Box::pin(async move { newest.wait_for(|at| *at > than).await.unwrap().unwrap() })
    }

    /// The picture and behind it when it was taken.
    fn thumbnail(&self, taken_at: SystemTime) -> BoxFuture<'_, Result<Bytes, VendorError>> {
        let since_1970 = taken_at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let picture = [&self.script.lock().unwrap().picture[..], since_1970.to_string().as_bytes()].concat();
        Box::pin(async { Ok(picture.into()) })
    }

    fn record(&self) -> Option<Value> {
        Some(json!({"_id": 27}))
    }

    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Value, ActionError>> {
        Box::pin(async move { Ok(json!(question)) })
    }

    fn talk_obstacle(&self) -> Option<String> {
        self.script.lock().unwrap().obstacle.clone()
    }

    fn warm(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Says farewell for a second.
    fn talk(&self, reply: TalkReply, stop: CancellationToken) -> BoxFuture<'_, Result<(), VendorError>> {
        Box::pin(async move {
            self.seen.send_modify(|seen| seen.talks += 1);
            let (audio, mut pieces) = mpsc::channel(10);
            let _gave_up = reply.send(Ok(TalkLine { format: AudioFormat::OPUS, audio }));
            tokio::select! {
                () = async { while pieces.recv().await.is_some() {} } => {}
                () = stop.cancelled() => {}
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.seen.send_modify(|seen| seen.farewells += 1);
            Ok(())
        })
    }
}

/// One life of a camera.
pub(crate) struct Life {
    pub(crate) media: MediaHub,
    pub(crate) state: watch::Receiver<State>,
    pub(crate) requests: mpsc::Sender<Request>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), VendorError>>,
}

impl Life {
    pub(crate) fn begin(camera: &Arc<VivintCamera>) -> Self {
        let (requests, inbox) = mpsc::channel(8);
        // Nobody listens to what happens at it.
        let (events, _) = mpsc::channel(8);
        let state = watch::Sender::default();
        let media = MediaHub::new();
        let info = Arc::new(VivintCamera::info(DeviceId::parse("vivint_1_27").unwrap()));
        let port = DevicePort { info, requests: inbox, state: state.clone(), events, media: media.clone() };
        let stop = CancellationToken::new();
        let (camera, its_stop) = (Arc::clone(camera), stop.clone());
        let task = tokio::spawn(async move { camera::live(&*camera, port, its_stop).await });
        Self { media, state: state.subscribe(), requests, stop, task }
    }

    pub(crate) async fn until(&self, what: impl Fn(&State) -> bool) {
        let mut state = self.state.clone();
        let reached = timeout(PATIENCE, state.wait_for(|state| what(state))).await;
        assert!(matches!(reached, Ok(Ok(_))), "it stands at {:?}", self.state.borrow());
    }

    /// By itself.
    pub(crate) async fn ended(self) -> Result<(), VendorError> {
        self.task.await.unwrap()
    }

    /// As it was asked to.
    pub(crate) async fn leave(self) -> Result<(), VendorError> {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("the life ends when it is asked to").unwrap()
    }
}
