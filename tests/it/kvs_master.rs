//! The virtual KVS camera: strict about what a viewer sends, and a camera to whoever keeps the rules. Real sockets.

use std::sync::Arc;
use std::time::Duration;

use doorstep::proto::kvs::signaling::{FrameError, Inbound, MessageType, Outbound, Payload};
use doorstep::sim::kvs_camera::{
    self, CameraCommand, CameraEvent, Fault, Gathering, Limits, RunningKvsCamera, Settings,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::told;
use crate::support::viewer::{Manners, Seen, Viewer};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Camera {
    running: RunningKvsCamera,
    happened: broadcast::Receiver<CameraEvent>,
    _stop: DropGuard,
}

impl Camera {
    async fn start(settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let running = kvs_camera::start(settings, stop.clone()).await.unwrap();
        let happened = running.events();
        Self { running, happened, _stop: stop.drop_guard() }
    }

    async fn with_fault(fault: Fault) -> Self {
        Self::start(Settings { fault: Some(fault), ..Settings::default() }).await
    }

    async fn dial(&self, client_id: &str) -> Line {
        let url = self.running.url_for(client_id);
        let (socket, _) = timeout(PATIENCE, connect_async(url.expose())).await.unwrap().unwrap();
        Line { socket, broken: Vec::new() }
    }

    /// Calls as a viewer of these manners would, and plays what comes.
    async fn call(&self, manners: Manners) -> Call {
        let mut line = self.dial("viewer-1").await;
        let viewer = Viewer::new(manners).await;
        line.send(offer(&viewer)).await;
        let answer = line.answer().await;
        let leave = Arc::new(Notify::new());
        let (seen, task) = viewer.play(&answer, leave.clone());
        Call { line, answer, seen, leave, task }
    }

    /// The next event that `accept` takes.
    async fn happens(&mut self, what: &str, accept: impl Fn(&CameraEvent) -> bool) -> CameraEvent {
        told::happens(&mut self.happened, what, accept).await
    }

    async fn breaks(&mut self, check: &str) {
        let broken =
            |event: &CameraEvent| matches!(event, CameraEvent::Check { name, ok: false, .. } if *name == check);
        self.happens(check, broken).await;
    }

    async fn command(&self, command: CameraCommand) {
        self.running.commands.send(command).await.unwrap();
    }
}

/// A viewer's WebSocket.
struct Line {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What could not be read on the way to what was waited for.
    broken: Vec<FrameError>,
}

impl Line {
    async fn send(&mut self, frame: impl Into<Message>) {
        self.socket.send(frame.into()).await.unwrap();
    }

    /// The next frame that can be read; `None` at the end.
    async fn next(&mut self) -> Option<Inbound> {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("a frame within the time");
            let Some(Ok(Message::Text(text))) = message else { return None };
            match Inbound::decode(&text) {
                Ok(message) => return Some(message),
                Err(error) => self.broken.push(error),
            }
        }
    }

    /// The answer with all candidates in it, wherever they came.
    async fn answer(&mut self) -> String {
        let (mut answer, mut candidates) = (String::new(), String::new());
        while answer.is_empty() || !has_candidates(&(answer.clone() + &candidates)) {
            match self.next().await.expect("an answer").payload {
                Some(Payload::Answer { sdp }) => answer = sdp,
                Some(Payload::Candidate { candidate, .. }) => candidates += &format!("a={candidate}\r\n"),
                other => assert_eq!(other, None),
            }
        }
        answer + &candidates
    }

    async fn status(&mut self) -> (String, String) {
        let message = self.next().await.expect("a status");
        assert_eq!(message.message_type, MessageType::StatusResponse);
        let status = message.status.unwrap();
        assert_eq!(status.correlation_id, "c-1");
        (status.error_type, status.description)
    }

    async fn ends(&mut self) {
        while self.next().await.is_some() {}
    }
}

struct Call {
    line: Line,
    answer: String,
    seen: watch::Receiver<Seen>,
    leave: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Call {
    async fn sees(&mut self, what: &str, condition: impl FnMut(&Seen) -> bool) {
        let seen = timeout(PATIENCE, self.seen.wait_for(condition)).await;
        assert!(seen.is_ok_and(|seen| seen.is_ok()), "the viewer never saw {what}");
    }

    async fn leaves(self) {
        self.leave.notify_one();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn has_candidates(sdp: &str) -> bool {
    sdp.contains("a=candidate:")
}

fn offer(viewer: &Viewer) -> String {
    let payload = Payload::Offer { sdp: viewer.offer.clone() };
    Outbound { payload, recipient_client_id: None, correlation_id: Some("c-1".to_owned()) }.encode()
}

fn candidate(candidate: &str) -> String {
    let payload = Payload::Candidate {
        candidate: candidate.to_owned(),
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    };
    Outbound { payload, recipient_client_id: None, correlation_id: Some("c-1".to_owned()) }.encode()
}

fn pictures_and_sound(seen: &Seen) -> bool {
    seen.pictures().len() >= 20 && seen.audio.len() >= 20
}

async fn shows_and_listens(gathering: Gathering) {
    let mut camera = Camera::start(Settings { gathering, ..Settings::default() }).await;
    let mut call = camera.call(Manners { speaks: true, ..Manners::default() }).await;
    call.sees("a second of the clip", pictures_and_sound).await;
    camera.happens("talk", |event| matches!(event, CameraEvent::TalkStarted { viewer } if viewer == "viewer-1")).await;
    let the_tone = |hz: &Option<f64>| hz.is_some_and(|hz| (hz - 1_000.0).abs() < 20.0);
    let heard = |event: &CameraEvent| matches!(event, CameraEvent::TalkAudio { tone_hz, .. } if the_tone(tone_hz));
    camera.happens("the viewer's tone", heard).await;
    call.leaves().await;
    camera.happens("the end of the talk", |event| matches!(event, CameraEvent::TalkEnded { .. })).await;
    camera.happens("the last viewer's end", |event| *event == CameraEvent::Watching { viewers: 0 }).await;
}

#[tokio::test]
async fn a_camera_with_all_candidates_in_its_answer_shows_and_listens() {
    shows_and_listens(Gathering::Complete).await;
}

#[tokio::test]
async fn a_camera_that_trickles_shows_and_listens() {
    shows_and_listens(Gathering::Trickle).await;
}

#[tokio::test]
async fn pictures_go_on_without_the_signaling_and_after_go_away() {
    let limits = Limits { grace: Duration::from_millis(50), ..Limits::default() };
    let mut camera = Camera::start(Settings { limits, fault: Some(Fault::GoAway), ..Settings::default() }).await;
    let mut call = camera.call(Manners::default()).await;
    assert_eq!(call.line.next().await, Some(Inbound::notice(MessageType::GoAway)));
    call.line.ends().await;
    camera.happens("the end of the line", |event| matches!(event, CameraEvent::Disconnected { .. })).await;
    let before = call.seen.borrow().video.len();
    call.sees("more of the clip", |seen| seen.video.len() > before + 20).await;
    call.task.abort();
}

#[tokio::test]
async fn candidates_that_overtake_a_late_answer_find_the_camera() {
    let mut camera = Camera::with_fault(Fault::LateAnswer).await;
    let mut line = camera.dial("viewer-1").await;
    let viewer = Viewer::new(Manners::default()).await;
    let (kept, trickled): (Vec<&str>, Vec<&str>) =
        viewer.offer.lines().partition(|line| !line.starts_with("a=candidate:"));
    let payload = Payload::Offer { sdp: kept.join("\r\n") + "\r\n" };
    line.send(Outbound { payload, recipient_client_id: Some(String::new()), correlation_id: None }.encode()).await;
    for trickled in trickled {
        line.send(candidate(trickled.trim_start_matches("a="))).await;
    }
    line.send(candidate("")).await;
    camera.happens("offer", |event| matches!(event, CameraEvent::Offer { .. })).await;
    let answer = line.answer().await;
    let (mut seen, task) = viewer.play(&answer, Arc::default());
    timeout(PATIENCE, seen.wait_for(pictures_and_sound)).await.expect("pictures and sound").unwrap();
    task.abort();
}

#[tokio::test]
async fn each_odd_way_of_answering_can_be_lived_with() {
    for (fault, broken) in [
        (Fault::EarlyCandidates, 0),
        // The empty one.
        (Fault::EmptyFrame, 1),
        (Fault::TruncatedFrame, 1),
    ] {
        let camera = Camera::with_fault(fault).await;
        let mut call = camera.call(Manners::default()).await;
        call.sees("the clip", pictures_and_sound).await;
        assert_eq!(call.line.broken.len(), broken, "{fault}: {:?}", call.line.broken);
        call.task.abort();
    }
}

#[tokio::test]
async fn a_camera_without_a_speaker_says_so() {
    let mut camera = Camera::with_fault(Fault::Recvonly).await;
    let mut call = camera.call(Manners { speaks: true, ..Manners::default() }).await;
    assert!(!call.answer.contains("a=sendrecv") && !call.answer.contains("a=recvonly"), "{}", call.answer);
    camera.happens("answer", |event| matches!(event, CameraEvent::Answered { talk: false, .. })).await;
    call.sees("the clip", pictures_and_sound).await;
    call.task.abort();
}

#[tokio::test]
async fn a_camera_that_vanishes_says_no_word() {
    let mut camera = Camera::start(Settings::default()).await;
    let mut call = camera.call(Manners::default()).await;
    call.sees("the clip", pictures_and_sound).await;
    camera.command(CameraCommand::Fault(Some(Fault::Vanish))).await;
    camera.happens("the end of all pictures", |event| *event == CameraEvent::Watching { viewers: 0 }).await;
    assert!(!call.seen.borrow().closed, "the viewer was told");
    // Nor does it answer anybody else.
    call.line.send(offer(&Viewer::new(Manners::default()).await)).await;
    camera.happens("silence", |event| matches!(event, CameraEvent::NotAnswered { .. })).await;
    // Plugged in again, it does.
    camera.command(CameraCommand::Fault(None)).await;
    camera.happens("power", |event| *event == CameraEvent::Fault { name: "none" }).await;
    call.line.send(offer(&Viewer::new(Manners::default()).await)).await;
    assert!(has_candidates(&call.line.answer().await));
    call.task.abort();
}

#[tokio::test]
async fn an_absent_camera_answers_nobody() {
    let mut camera = Camera::with_fault(Fault::NoAnswer).await;
    let mut line = camera.dial("viewer-1").await;
    line.send(offer(&Viewer::new(Manners::default()).await)).await;
    camera.happens("silence", |event| matches!(event, CameraEvent::NotAnswered { .. })).await;
}

#[tokio::test]
async fn what_a_strict_service_refuses_is_refused_with_the_reason() {
    let long = Payload::Offer { sdp: "v".repeat(10_000) };
    let long = Outbound { payload: long, recipient_client_id: None, correlation_id: Some("c-1".to_owned()) }.encode();
    let answer = Payload::Answer { sdp: "v=0\r\n".to_owned() };
    let answer = Outbound { payload: answer, recipient_client_id: None, correlation_id: Some("c-1".to_owned()) };
    for (frame, check) in [
        (r#"{"action":"SDP_OFFER","correlationId":"c-1"}"#.to_owned(), "frame"),
        (r#"{"action":"SDP_OFFER","messagePayload":"e30=","CorrelationId":"c-1"}"#.to_owned(), "frame"),
        (long, "payload_size"),
        (answer.encode(), "action"),
        (candidate("candidate:1 1 udp 1 192.0.2.1 9 typ host"), "offer_first"),
    ] {
        let mut camera = Camera::start(Settings::default()).await;
        let mut line = camera.dial("viewer-1").await;
        line.send(frame).await;
        camera.breaks(check).await;
        let (error, why) = line.status().await;
        assert_eq!(error, "InvalidArgumentException", "{check}: {why}");
    }
}

#[tokio::test]
async fn offers_and_candidates_come_no_faster_than_amazon_takes_them() {
    let mut camera = Camera::with_fault(Fault::NoAnswer).await;
    let mut line = camera.dial("viewer-1").await;
    let offer = offer(&Viewer::new(Manners::default()).await);
    for _ in 0..20 {
        line.send(offer.clone()).await;
    }
    camera.breaks("offer_rate").await;
    assert_eq!(line.status().await.0, "ClientLimitExceededException");
    let mut line = camera.dial("viewer-2").await;
    line.send(offer).await;
    for _ in 0..80 {
        line.send(candidate("candidate:1 1 udp 1 192.0.2.1 9 typ host")).await;
    }
    camera.breaks("candidate_rate").await;
    assert_eq!(line.status().await.0, "ClientLimitExceededException");
}

#[tokio::test]
async fn an_offer_that_the_camera_cannot_use_gets_no_answer() {
    let mut camera = Camera::start(Settings::default()).await;
    let mut line = camera.dial("viewer-1").await;
    let viewer = Viewer::new(Manners::default()).await;
    let payload = Payload::Offer { sdp: viewer.offer.replace("packetization-mode=1", "packetization-mode=0") };
    line.send(Outbound { payload, recipient_client_id: None, correlation_id: None }.encode()).await;
    camera.breaks("offer").await;
    camera.happens("silence", |event| matches!(event, CameraEvent::NotAnswered { .. })).await;
}

/// Status and body of a refused handshake.
async fn refusal(url: &str) -> (u16, String) {
    match timeout(PATIENCE, connect_async(url)).await.unwrap() {
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            (response.status().as_u16(), String::from_utf8(body).unwrap())
        }
        other => panic!("{:?}", other.map(|(_, response)| response)),
    }
}

#[tokio::test]
async fn only_an_address_as_it_was_handed_out_opens_the_door() {
    let mut camera = Camera::start(Settings::default()).await;
    let url = camera.running.url_for("viewer-1").expose().to_owned();
    for changed in [
        url.replace("X-Amz-Expires=299", "X-Amz-Expires=600"),
        url.replace("viewer-1", "viewer-2"),
        url.replace("%2F", "/"),
        url.replace('%', "%25"),
        url.split('?').next().unwrap().to_owned(),
    ] {
        let (status, body) = refusal(&changed).await;
        assert!(status == 403 && body.contains("message"), "{status} {body}");
        camera.happens("refusal", |event| matches!(event, CameraEvent::Refused { status: 403, .. })).await;
    }
    assert!(connect_async(&url).await.is_ok());
    camera.command(CameraCommand::Fault(Some(Fault::Refuse))).await;
    camera.happens("fault", |event| *event == CameraEvent::Fault { name: "refuse" }).await;
    assert_eq!(refusal(camera.running.url_for("viewer-1").expose()).await.0, 403);
}

#[tokio::test]
async fn a_channel_has_ten_viewers_and_each_of_them_once() {
    let mut camera = Camera::start(Settings::default()).await;
    let mut lines = Vec::new();
    for n in 0..10 {
        lines.push(camera.dial(&format!("viewer-{n}")).await);
    }
    let (status, body) = refusal(camera.running.url_for("viewer-10").expose()).await;
    assert!(status == 400 && body.contains("ClientLimitExceededException"), "{status} {body}");
    lines.push(camera.dial("viewer-0").await);
    lines.first_mut().unwrap().ends().await;
    // The place is free again when a viewer leaves.
    drop(lines);
    for _ in 0..11 {
        camera.happens("end", |event| matches!(event, CameraEvent::Disconnected { .. })).await;
    }
    camera.dial("viewer-10").await;
}

#[tokio::test]
async fn the_service_hangs_up_on_the_idle_and_sends_the_old_away() {
    let short = Duration::from_millis(50);
    let limits = Limits { idle: short, ..Limits::default() };
    let camera = Camera::start(Settings { limits, ..Settings::default() }).await;
    assert_eq!(camera.dial("viewer-1").await.next().await, None);

    let limits = Limits { connection: short, grace: short, ..Limits::default() };
    let camera = Camera::start(Settings { limits, ..Settings::default() }).await;
    let mut line = camera.dial("viewer-1").await;
    assert_eq!(line.next().await, Some(Inbound::notice(MessageType::GoAway)));
    assert_eq!(line.next().await, None);
}

#[tokio::test]
async fn notices_reach_every_viewer() {
    let mut camera = Camera::start(Settings::default()).await;
    let mut lines = [camera.dial("viewer-1").await, camera.dial("viewer-2").await];
    for _ in &lines {
        camera.happens("connection", |event| matches!(event, CameraEvent::Connected { .. })).await;
    }
    camera.command(CameraCommand::Notice(MessageType::ReconnectIceServer)).await;
    for line in &mut lines {
        assert_eq!(line.next().await, Some(Inbound::notice(MessageType::ReconnectIceServer)));
    }
}

#[tokio::test]
async fn a_camera_that_stops_tells_its_viewers() {
    let stop = CancellationToken::new();
    let running = kvs_camera::start(Settings::default(), stop.clone()).await.unwrap();
    let happened = running.events();
    let camera = Camera { running, happened, _stop: CancellationToken::new().drop_guard() };
    let mut call = camera.call(Manners::default()).await;
    call.sees("the clip", pictures_and_sound).await;
    stop.cancel();
    timeout(PATIENCE, camera.running.stopped()).await.expect("it stops");
    call.sees("the end", |seen| seen.closed).await;
}
