//! A call over KVS signalling to a virtual camera, and the life of a Wyze camera that is called so. Real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::doorbell::vendor::BoxFuture;
use doorstep::doorbell::{ActionError, DevicePort, Request, TalkLine, VendorError};
use doorstep::media::{AudioFormat, Frame, FrameKind, FrameStream, MediaHub, VideoCodec};
use doorstep::model::{DeviceId, DeviceInfo, Link, State};
use doorstep::rtc::kvs_call::{CallError, Ending, KvsCall, Signalling};
use doorstep::sim::kvs_camera::{
    self, CameraCommand, CameraEvent, Fault, Gathering, Limits, RunningKvsCamera, Settings,
};
use doorstep::vendor::wyze::webrtc::{Streams, live};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::told;
use crate::support::viewer::speech;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

struct Camera {
    running: Arc<RunningKvsCamera>,
    happened: broadcast::Receiver<CameraEvent>,
    stop: CancellationToken,
    _stops: DropGuard,
}

impl Camera {
    async fn start(settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let running = Arc::new(kvs_camera::start(settings, stop.clone()).await.unwrap());
        let happened = running.events();
        Self { running, happened, _stops: stop.clone().drop_guard(), stop }
    }

    async fn with_fault(fault: Fault) -> Self {
        Self::start(Settings { fault: Some(fault), ..Settings::default() }).await
    }

    async fn call(&self, hub: &MediaHub, talk: bool) -> Result<KvsCall, CallError> {
        timeout(PATIENCE, KvsCall::place(&signalling(&self.running, "viewer-1"), hub.clone(), talk)).await.unwrap()
    }

    async fn happens(&mut self, what: &str, accept: impl Fn(&CameraEvent) -> bool) {
        told::happens(&mut self.happened, what, accept).await;
    }

    async fn hears_a_tone(&mut self) {
        self.happens(
            "tone of 1 kHz",
            |event| matches!(event, CameraEvent::TalkAudio { tone_hz: Some(hz), .. } if (hz - 1_000.0).abs() < 20.0),
        )
        .await;
    }

    async fn is_watched_by(&mut self, viewers: usize) {
        self.happens("viewers", |event| *event == CameraEvent::Watching { viewers }).await;
    }

    /// The rules that were broken since the beginning of the listening.
    fn broken(&mut self) -> Vec<CameraEvent> {
        std::iter::from_fn(|| self.happened.try_recv().ok())
            .filter(|event| matches!(event, CameraEvent::Check { ok: false, .. }))
            .collect()
    }
}

fn signalling(camera: &RunningKvsCamera, client_id: &str) -> Signalling {
    Signalling { url: camera.url_for(client_id), client_id: client_id.to_owned(), ice_servers: vec![], authority: None }
}

/// Twenty pictures, and what else came until then.
async fn watch_a_second(frames: &mut FrameStream) -> Vec<Arc<Frame>> {
    let mut seen: Vec<Arc<Frame>> = Vec::new();
    while seen.iter().filter(|frame| frame.kind.is_video()).count() < 20 {
        seen.push(timeout(PATIENCE, frames.next()).await.expect("nothing comes any more").unwrap());
    }
    seen
}

fn assert_whole(seen: &[Arc<Frame>]) {
    let pictures: Vec<_> = seen.iter().filter(|frame| frame.kind.is_video()).collect();
    assert_eq!(pictures[0].kind, FrameKind::Video { codec: VideoCodec::H264, keyframe: true });
    assert!(pictures.windows(2).all(|pair| pair[0].pts < pair[1].pts && pair[0].data != pair[1].data));
    let sound = seen.iter().filter(|frame| frame.kind == FrameKind::Audio(AudioFormat::PCMU));
    assert!(sound.count() >= 20, "too little sound");
}

/// The tone of the tests' microphones, in time, as long as anybody takes it.
fn speak(mut send: impl FnMut(Bytes) -> bool + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        while send(speech()) {
            beat.tick().await;
        }
    })
}

async fn shows_and_listens(gathering: Gathering) {
    let mut camera = Camera::start(Settings { gathering, ..Settings::default() }).await;
    let hub = MediaHub::new();
    let mut frames = hub.listen();
    let call = camera.call(&hub, true).await.unwrap();
    assert_whole(&watch_a_second(&mut frames).await);
    assert_eq!(call.talk_format(), Some(AudioFormat::PCMU));
    assert_eq!(camera.broken(), []);
    let call = Arc::new(call);
    let speaker = call.clone();
    let speaking = speak(move |piece| {
        speaker.send_audio(piece);
        true
    });
    camera.hears_a_tone().await;
    speaking.abort();
    let _aborted = speaking.await;
    Arc::into_inner(call).unwrap().close().await;
    camera.is_watched_by(0).await;
    assert_eq!(camera.broken(), []);
}

#[tokio::test]
async fn a_camera_with_all_candidates_in_its_answer_is_seen_and_hears() {
    shows_and_listens(Gathering::Complete).await;
}

#[tokio::test]
async fn a_camera_that_trickles_is_seen_and_hears() {
    shows_and_listens(Gathering::Trickle).await;
}

#[tokio::test]
async fn each_odd_way_of_answering_can_be_lived_with() {
    for fault in [Fault::EarlyCandidates, Fault::EmptyFrame, Fault::TruncatedFrame, Fault::LateAnswer] {
        let camera = Camera::with_fault(fault).await;
        let hub = MediaHub::new();
        let mut frames = hub.listen();
        let _call = camera.call(&hub, false).await.unwrap_or_else(|error| panic!("{fault}: {error}"));
        assert_whole(&watch_a_second(&mut frames).await);
    }
}

#[tokio::test]
async fn pictures_go_on_when_the_service_hangs_up() {
    let limits = Limits { grace: Duration::ZERO, ..Limits::default() };
    let mut camera = Camera::start(Settings { limits, fault: Some(Fault::GoAway), ..Settings::default() }).await;
    let hub = MediaHub::new();
    let mut frames = hub.listen();
    let _call = camera.call(&hub, false).await.unwrap();
    camera.happens("the end of the line", |event| matches!(event, CameraEvent::Disconnected { .. })).await;
    for _ in 0..3 {
        watch_a_second(&mut frames).await;
    }
}

#[tokio::test]
async fn a_service_that_refuses_says_why_and_the_address_stays_secret() {
    let camera = Camera::with_fault(Fault::Refuse).await;
    let error = camera.call(&MediaHub::new(), false).await.err().unwrap();
    assert!(matches!(error, CallError::Refused { status: 403, .. }), "{error}");
    let camera = Camera::with_fault(Fault::Recvonly).await;
    let mut changed = signalling(&camera.running, "viewer-1");
    changed.url = doorstep::secret::SignedUrl::new(changed.url.expose().replace('%', "%25"));
    let error = KvsCall::place(&changed, MediaHub::new(), false).await.err().unwrap();
    let CallError::Refused { status: 403, why } = &error else { panic!("{error}") };
    assert_eq!(why, "Credential must have exactly 5 slash-delimited elements");
    assert!(!format!("{error:?}").contains("X-Amz"));
}

#[tokio::test]
async fn a_camera_that_does_not_answer_is_asked_twice_and_given_up() {
    let mut camera = Camera::with_fault(Fault::NoAnswer).await;
    let begun = clock::now();
    let error = camera.call(&MediaHub::new(), false).await.err().unwrap();
    assert!(matches!(error, CallError::NoAnswer { .. }), "{error}");
    assert!((Duration::from_secs(9)..Duration::from_secs(14)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    for time in ["once", "twice"] {
        camera.happens(time, |event| matches!(event, CameraEvent::Offer { .. })).await;
    }
}

#[tokio::test]
async fn a_camera_without_speaker_is_seen_all_the_same() {
    let camera = Camera::with_fault(Fault::Recvonly).await;
    let hub = MediaHub::new();
    let mut frames = hub.listen();
    let call = camera.call(&hub, true).await.unwrap();
    assert_eq!(call.talk_format(), None);
    assert_whole(&watch_a_second(&mut frames).await);
}

#[tokio::test]
async fn a_camera_that_vanishes_or_says_good_bye_is_noticed_within_five_seconds() {
    for vanishes in [true, false] {
        let camera = Camera::start(Settings::default()).await;
        let hub = MediaHub::new();
        let mut frames = hub.listen();
        let mut call = camera.call(&hub, false).await.unwrap();
        watch_a_second(&mut frames).await;
        match vanishes {
            true => camera.running.commands.send(CameraCommand::Fault(Some(Fault::Vanish))).await.unwrap(),
            false => camera.stop.cancel(),
        }
        let begun = clock::now();
        let error = timeout(PATIENCE, call.ended()).await.expect("the call goes on");
        let expected = if vanishes { Ending::Lost } else { Ending::HungUp };
        assert!(matches!(error, CallError::Ended(ending) if ending == expected), "{error}, not {expected}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{expected} after {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn calls_that_are_over_leave_no_socket_behind() {
    let mut camera = Camera::start(Settings::default()).await;
    let sockets = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let before = sockets();
    for _ in 0..5 {
        let hub = MediaHub::new();
        let mut frames = hub.listen();
        let call = camera.call(&hub, true).await.unwrap();
        timeout(PATIENCE, frames.next()).await.unwrap();
        call.close().await;
        camera.is_watched_by(0).await;
    }
    let all_closed = async {
        while sockets() > before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, all_closed).await.unwrap_or_else(|_| panic!("{} of {before} are left", sockets()));
}

/// A Wyze camera that is called over WebRTC, and its doorbell's side of it.
struct Life {
    camera: Camera,
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<State>,
    media: MediaHub,
    asked: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), VendorError>>,
}

/// In place of Wyze's cloud.
struct Cloud {
    camera: Arc<RunningKvsCamera>,
    asked: Arc<AtomicUsize>,
}

impl Streams for Cloud {
    fn ask(&self) -> BoxFuture<'_, Result<Signalling, VendorError>> {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { Ok(signalling(&self.camera, &format!("viewer-{n}"))) })
    }
}

impl Life {
    fn of(camera: Camera) -> Self {
        let info = DeviceInfo {
            id: DeviceId::from_hardware("wyze", "GW_BE1_1"),
            name: "Front door".to_owned(),
            vendor: "wyze",
            model: "GW_BE1".to_owned(),
            firmware: None,
            capabilities: [].into(),
        };
        let (requests, inbox) = mpsc::channel(4);
        let (events, _) = mpsc::channel(4);
        let (state_sender, state) = watch::channel(State::default());
        let (media, stop, asked) = (MediaHub::new(), CancellationToken::new(), Arc::default());
        let port =
            DevicePort { info: Arc::new(info), requests: inbox, state: state_sender, events, media: media.clone() };
        let cloud = Cloud { camera: camera.running.clone(), asked: Arc::clone(&asked) };
        let stopping = stop.clone();
        let task = tokio::spawn(async move { live(&cloud, port, stopping).await });
        Self { camera, requests, state, media, asked, stop, task }
    }

    async fn until(&mut self, what: &str, condition: impl FnMut(&State) -> bool) -> State {
        match timeout(PATIENCE, self.state.wait_for(condition)).await {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!("the doorbell never was: {what}"),
        }
    }

    async fn asks<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, ActionError>>) -> Request,
    ) -> Result<T, ActionError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.unwrap();
        timeout(PATIENCE, answer).await.unwrap().unwrap()
    }

    async fn start_talk(&self) -> Result<TalkLine, ActionError> {
        self.asks(|reply| Request::StartTalk { reply }).await
    }

    async fn ends(self) -> Result<(), VendorError> {
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_wyze_camera_is_called_when_somebody_watches_and_left_when_nobody_does() {
    let mut life = Life::of(Camera::start(Settings::default()).await);
    life.until("ready", |state| state.link == Link::Ready).await;
    assert_eq!(life.asked.load(Ordering::Relaxed), 0, "the cloud was asked for nobody");
    let mut frames = life.media.listen();
    let watching = life.media.hold();
    life.until("streaming", |state| state.link == Link::Streaming && state.transport == Some("webrtc")).await;
    assert_whole(&watch_a_second(&mut frames).await);
    drop(watching);
    let ready = life.until("ready again", |state| state.link == Link::Ready).await;
    assert_eq!(ready.transport, None);
    life.camera.is_watched_by(0).await;
    assert_eq!(life.asked.load(Ordering::Relaxed), 1);
    life.stop.cancel();
    life.ends().await.unwrap();
}

#[tokio::test]
async fn a_wyze_camera_is_called_for_a_talk_too_and_hears_it() {
    let mut life = Life::of(Camera::start(Settings::default()).await);
    let TalkLine { format, audio } = life.start_talk().await.unwrap();
    assert_eq!(format, AudioFormat::PCMU);
    let speaking = speak(move |piece| audio.try_send(piece).is_ok());
    life.camera.hears_a_tone().await;
    speaking.abort();
    life.until("ready again", |state| state.link == Link::Ready).await;
}

#[tokio::test]
async fn a_wyze_camera_without_speaker_refuses_a_talk_and_is_seen_on() {
    let mut life = Life::of(Camera::with_fault(Fault::Recvonly).await);
    let _watching = life.media.hold();
    let refused = life.start_talk().await.err().unwrap();
    assert!(matches!(&refused, ActionError::Refused { why } if why.contains("does not take sound")), "{refused}");
    life.until("streaming", |state| state.link == Link::Streaming).await;
}

#[tokio::test]
async fn a_camera_that_does_not_answer_when_asked_for_its_speaker_is_called_without() {
    let mut life = Life::of(Camera::with_fault(Fault::NoAnswer).await);
    let _watching = life.media.hold();
    for time in ["offer", "offer again"] {
        life.camera.happens(time, |event| matches!(event, CameraEvent::Offer { .. })).await;
    }
    life.camera.running.commands.send(CameraCommand::Fault(None)).await.unwrap();
    let answered = |event: &CameraEvent| matches!(event, CameraEvent::Answered { talk: false, .. });
    life.camera.happens("answer", answered).await;
    life.until("streaming", |state| state.link == Link::Streaming).await;
    assert!(life.start_talk().await.is_err(), "it was not asked for its speaker");
}

#[tokio::test]
async fn another_program_gets_an_address_of_its_own_while_the_camera_is_watched() {
    let mut life = Life::of(Camera::start(Settings::default()).await);
    let _watching = life.media.hold();
    life.until("streaming", |state| state.link == Link::Streaming).await;
    let arranged = life.asks(|reply| Request::ArrangeCall { reply }).await.unwrap();
    assert_eq!(arranged.client_id, "viewer-1");
    let hub = MediaHub::new();
    let mut theirs = hub.listen();
    let _call = KvsCall::place(&arranged, hub.clone(), false).await.unwrap();
    watch_a_second(&mut theirs).await;
    assert_eq!(life.state.borrow().link, Link::Streaming, "our own call was ended by it");
}

#[tokio::test]
async fn the_end_of_a_call_ends_the_life_with_a_sentence() {
    let mut life = Life::of(Camera::start(Settings::default()).await);
    let _watching = life.media.hold();
    life.until("streaming", |state| state.link == Link::Streaming).await;
    life.camera.running.commands.send(CameraCommand::Fault(Some(Fault::Vanish))).await.unwrap();
    let error = life.ends().await.unwrap_err();
    let expected = "The call to the camera failed: the doorbell can no longer be reached. It is being tried again. \
                    Check its power and its Wi-Fi if this goes on.";
    assert_eq!(error.what, expected);
}
