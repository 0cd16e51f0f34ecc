//! The whole service on loopback against virtual cameras: real UDP, real HTTP, and a real broker where there is one.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use doorstep::app::{self, Running, Settings};
use doorstep::config;
use doorstep::sim::tutk_camera::{self, CameraCommand, CameraEvent, RunningCamera};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::http::{Reply, request_with};
use super::viewer::{Manners, Seen, Viewer};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// A virtual camera, and everything that it has told.
pub(crate) struct Camera {
    pub(crate) settings: tutk_camera::Settings,
    pub(crate) address: SocketAddr,
    running: RunningCamera,
    told: watch::Receiver<Vec<CameraEvent>>,
    _stop: DropGuard,
}

impl Camera {
    /// Its credentials follow from `seed`, so two cameras of one test take two seeds.
    pub(crate) async fn start(seed: u64, change: impl FnOnce(&mut tutk_camera::Settings)) -> Self {
        let mut settings = tutk_camera::Settings::generate(seed);
        change(&mut settings);
        let stop = CancellationToken::new();
        let running = tutk_camera::start(settings, stop.clone()).await.unwrap();
        let (notebook, told) = watch::channel(Vec::new());
        tokio::spawn(write_down(running.events(), notebook));
        Self { settings: running.settings.clone(), address: running.address, running, told, _stop: stop.drop_guard() }
    }

    pub(crate) fn id(&self) -> String {
        format!("wyze_{}", self.settings.mac.to_ascii_lowercase())
    }

    /// What happens from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<CameraEvent> {
        self.running.events()
    }

    pub(crate) fn button_topic(&self) -> String {
        format!("home/{}/button", self.id())
    }

    pub(crate) async fn obey(&self, command: CameraCommand) {
        self.running.commands.send(command).await.unwrap();
    }

    /// Everything so far.
    pub(crate) fn told(&self) -> Vec<CameraEvent> {
        self.told.borrow().clone()
    }

    pub(crate) fn count(&self, is_it: impl Fn(&CameraEvent) -> bool) -> usize {
        self.told.borrow().iter().filter(|event| is_it(event)).count()
    }

    /// Waits until what it has told since the beginning fulfils the condition.
    pub(crate) async fn tells(&self, what: &str, mut condition: impl FnMut(&[CameraEvent]) -> bool) {
        let mut told = self.told.clone();
        let heard = timeout(PATIENCE, told.wait_for(|events| condition(events))).await;
        assert!(heard.is_ok_and(|events| events.is_ok()), "the camera never told: {what}; it told {:?}", self.told());
    }

    /// That the first visit, on which the service learns whether the keys are right, is over.
    pub(crate) async fn is_left_alone(&self) {
        self.tells("the end of the first visit", |events| {
            matches!(events.last(), Some(CameraEvent::SessionEnded { .. }))
        })
        .await;
    }

    /// That its talk has been ended, and then its session, by a service that is no more: what that sent is in the
    /// camera's socket by now.
    pub(crate) async fn hears_the_farewell(&self) {
        let farewell = self.tells("the farewell", |events| {
            matches!(events, [.., CameraEvent::TalkEnded { .. }, CameraEvent::SessionEnded { .. }])
        });
        assert!(timeout(Duration::from_secs(1), farewell).await.is_ok(), "{:?}", self.told());
    }

    /// Every check that the camera makes of its client was passed.
    pub(crate) fn assert_well_treated(&self) {
        let broken: Vec<_> =
            self.told().into_iter().filter(|event| matches!(event, CameraEvent::Check { ok: false, .. })).collect();
        assert!(broken.is_empty(), "the camera complains: {broken:?}");
    }

    /// Its entry under `wyze[].cameras`.
    pub(crate) fn yaml(&self, address: SocketAddr) -> String {
        let tutk_camera::Settings { model, mac, enr, .. } = &self.settings;
        let (uid, enr) = (self.settings.uid_text(), enr.expose());
        format!("{{name: Front Door, model: {model}, mac: {mac}, uid: {uid}, enr: \"{enr}\", address: \"{address}\"}}")
    }
}

async fn write_down(mut events: broadcast::Receiver<CameraEvent>, notebook: watch::Sender<Vec<CameraEvent>>) {
    loop {
        match events.recv().await {
            Ok(event) => notebook.send_modify(|all| all.push(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => panic!("{missed} events of the camera were missed"),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What an owner of these cameras would write, each with a wired button.
pub(crate) fn configuration(broker: Option<u16>, http: &str, media_port: u16, cameras: &[&Camera]) -> String {
    let mut text = format!("http: {{listen: \"{http}\"}}\nmedia: {{port: {media_port}}}\ngo2rtc: {{enabled: false}}\n");
    if let Some(port) = broker {
        writeln!(text, "mqtt: {{url: \"mqtt://127.0.0.1:{port}\"}}").unwrap();
    }
    text += "wyze:\n  - cameras:\n";
    for camera in cameras {
        writeln!(text, "      - {}", camera.yaml(camera.address)).unwrap();
    }
    text += "doorbells:\n";
    for camera in cameras {
        writeln!(text, "  - {{id: {}, ring_topic: {}}}", camera.id(), camera.button_topic()).unwrap();
    }
    text
}

/// The service in this process, on free ports.
pub(crate) struct Service {
    pub(crate) running: Running,
    pub(crate) page: Page,
    _data: TempDir,
}

impl Service {
    pub(crate) async fn start(broker: Option<u16>, cameras: &[&Camera]) -> Self {
        Self::configured(&configuration(broker, "127.0.0.1:0", 1, cameras)).await
    }

    /// The media port of the text is replaced by a free one.
    pub(crate) async fn configured(text: &str) -> Self {
        let mut config = config::parse(text, "doorstep.yaml").unwrap();
        config.media.port = 0;
        let data = tempfile::tempdir().unwrap();
        let settings = Settings { config, data: data.path().join("data"), demo: false, home: None };
        let running = app::start(settings).await.unwrap();
        Self { page: Page::at(running.page), running, _data: data }
    }
}

/// A service's HTTP face.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) address: SocketAddr,
    authorization: Option<String>,
}

impl Page {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, authorization: None }
    }

    pub(crate) fn locked(address: SocketAddr, token: &str) -> Self {
        Self { address, authorization: Some(format!("Bearer {token}")) }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "application/json", "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, "application/json", body).await
    }

    /// A viewer's offer for this doorbell's picture.
    pub(crate) async fn offer(&self, id: &str, sdp: &str) -> Reply {
        self.send("POST", &format!("/whep/{id}"), "application/sdp", sdp).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, content_type: &str, body: impl AsRef<[u8]>) -> Reply {
        let authorization = self.authorization.as_deref().map(|value| ("authorization", value));
        let headers: Vec<_> = [("content-type", content_type)].into_iter().chain(authorization).collect();
        request_with(self.address, method, path, &headers, body).await
    }

    pub(crate) async fn doorbell(&self, id: &str) -> Value {
        let reply = self.get(&format!("/api/doorbells/{id}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        serde_json::from_str(&reply.body).unwrap()
    }

    /// Asks until the doorbell is as wanted, and returns how it is then.
    pub(crate) async fn until(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waiting = async {
            loop {
                last = self.doorbell(id).await;
                if wanted(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let came = timeout(PATIENCE, waiting).await;
        assert!(came.is_ok(), "the doorbell never came to this: {what}; it is {last}");
        last
    }

    pub(crate) async fn is(&self, id: &str, link: &str) -> Value {
        self.until(id, link, |doorbell| doorbell["link"] == link).await
    }

    /// A viewer of this doorbell, by WHEP.
    pub(crate) async fn watch(&self, id: &str, manners: Manners) -> Watching {
        let viewer = Viewer::new(manners).await;
        let reply = self.offer(id, &viewer.offer).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let leave = Arc::new(Notify::new());
        let (seen, task) = viewer.play(&reply.body, leave.clone());
        Watching { seen, leave, task }
    }
}

/// A viewer at work.
pub(crate) struct Watching {
    seen: watch::Receiver<Seen>,
    leave: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watching {
    pub(crate) async fn sees(&mut self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let seen = timeout(PATIENCE, self.seen.wait_for(condition)).await.map(|seen| seen.map(|seen| seen.clone()));
        if let Ok(Ok(seen)) = seen {
            return seen;
        }
        let seen = self.seen.borrow();
        panic!("never seen: {what}; {} pictures, connected {}", seen.pictures().len(), seen.connected)
    }

    /// As of now.
    pub(crate) fn now(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Closes the page.
    pub(crate) fn leave(&self) {
        self.leave.notify_one();
    }

    /// Loses its network.
    pub(crate) fn vanish(&self) {
        self.task.abort();
    }
}
