//! WHEP as docs/interfaces.md §3 promises it, and the microphone that becomes talk.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorstep::doorbell::{ActionError, Doorbell, Registry};
use doorstep::http::whep;
use doorstep::media::{FrameKind, VideoCodec};
use doorstep::model::{Capability, State};
use doorstep::rtc::Viewers;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::fake_vendor::{FakeVendor, OnTalk, Seen};
use crate::support::http::{Reply, request, serve_whep};
use crate::support::viewer::{Manners, Viewer, speech, switchboard};

const PATIENCE: Duration = Duration::from_secs(20);
const PATH: &str = "/whep/fake_1";
const SDP: &str = "application/sdp";

pub(crate) struct House {
    pub(crate) vendor: Arc<FakeVendor>,
    pub(crate) doorbell: Doorbell,
    pub(crate) viewers: Viewers,
    pub(crate) http: SocketAddr,
    _stop: DropGuard,
}

impl House {
    async fn new(vendor: Arc<FakeVendor>) -> Self {
        let stop = CancellationToken::new();
        let viewers = switchboard(Ipv4Addr::LOCALHOST.into(), &stop).await;
        let doorbells = Registry::default();
        let doorbell = vendor.doorbell(&stop);
        doorbells.insert(doorbell.clone());
        let http = serve_whep(whep::Routes::new(doorbells, viewers.clone())).await;
        Self { vendor, doorbell, viewers, http, _stop: stop.drop_guard() }
    }

    /// With a camera that films whenever it is watched.
    pub(crate) async fn filming() -> Self {
        let vendor = FakeVendor::new();
        vendor.films();
        Self::new(vendor).await
    }

    pub(crate) async fn post(&self, offer: &str) -> Reply {
        request(self.http, "POST", PATH, SDP, offer).await
    }

    pub(crate) async fn camera(&self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        timeout(PATIENCE, self.vendor.until(what, condition)).await.expect(what)
    }

    pub(crate) async fn until(&self, what: &str, condition: impl FnMut(&State) -> bool) {
        let mut state = self.doorbell.state();
        let reached = timeout(PATIENCE, state.wait_for(condition)).await;
        assert!(reached.is_ok_and(|state| state.is_ok()), "{what}: {:?}", self.doorbell.state().borrow());
    }
}

/// Where the session is, seen from the address that was posted to (RFC 3986 §5.2).
pub(crate) fn resolved(reply: &Reply) -> String {
    let location = reply.header("location").expect("a Location");
    assert!(!location.starts_with('/') && !location.contains("://"), "{location} is not relative");
    format!("/whep/{location}")
}

#[tokio::test]
async fn an_offer_is_answered_and_the_session_can_be_deleted_once() {
    let house = House::filming().await;
    let viewer = Viewer::new(Manners::default()).await;
    let answer = house.post(&viewer.offer).await;
    assert_eq!((answer.status, answer.header("content-type")), (201, Some(SDP)), "{answer:?}");
    let (mut seen, task) = viewer.play(&answer.body, Arc::default());
    let playing = timeout(PATIENCE, seen.wait_for(|seen| seen.video.len() > 5)).await;
    assert!(playing.is_ok_and(|seen| seen.is_ok()), "the picture does not come");
    house.until("a viewer is counted", |state| state.viewers == 1).await;

    let session = resolved(&answer);
    let fragment = "a=ice-ufrag:x\r\na=candidate:9 1 udp 1 127.0.0.1 9 typ host\r\na=candidate:nonsense\r\n";
    let trickled = request(house.http, "PATCH", &session, "application/trickle-ice-sdpfrag", fragment).await;
    assert_eq!(trickled.status, 204);
    assert_eq!(request(house.http, "DELETE", &session, SDP, "").await.status, 200);
    assert_eq!(request(house.http, "DELETE", &session, SDP, "").await.status, 404);
    assert_eq!(request(house.http, "PATCH", &session, SDP, fragment).await.status, 404);
    house.until("nobody watches", |state| state.viewers == 0).await;
    task.abort();
}

#[tokio::test]
async fn each_refusal_has_its_status_and_a_plain_sentence() {
    let house = House::filming().await;
    let good = Viewer::new(Manners::default()).await.offer;
    let no_h264 = good.replace("H264/90000", "VP8/90000");
    let table: [(&str, &str, &str, &str, u16); 8] = [
        ("POST", "/whep/nobody", SDP, &good, 404),
        ("POST", "/whep/..%2Fetc", SDP, &good, 404),
        ("POST", PATH, SDP, "hello", 400),
        ("POST", PATH, SDP, &no_h264, 406),
        ("POST", PATH, "text/html", &good, 415),
        ("DELETE", "/whep/fake_1/0123456789abcdef", SDP, "", 404),
        ("DELETE", "/whep/fake_1/+123456789abcdef", SDP, "", 404),
        ("PATCH", "/whep/fake_1/elsewhere", SDP, "", 404),
    ];
    for (method, path, content_type, body, status) in table {
        let reply = request(house.http, method, path, content_type, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        let sentence = reply.body.trim();
        assert!(sentence.ends_with('.') && sentence.lines().count() == 1, "{method} {path} says {sentence:?}");
        assert!(reply.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{reply:?}");
    }
    for (length, status) in [(64 * 1024, 400), (64 * 1024 + 1, 413)] {
        let long = request(house.http, "POST", PATH, SDP, &"a".repeat(length)).await;
        assert_eq!(long.status, status, "{length} bytes");
    }
    assert_eq!(request(house.http, "OPTIONS", PATH, SDP, "").await.status, 204);
    assert_eq!(house.viewers.counters().viewers, 0);
}

#[tokio::test]
async fn h265_for_a_browser_without_it_is_not_acceptable_and_says_what_to_do() {
    let house = House::new(FakeVendor::new()).await;
    let idr = Bytes::from_static(b"\0\0\0\x01\x26\x01\xaf");
    let kind = FrameKind::Video { codec: VideoCodec::H265, keyframe: true };
    house.doorbell.media().publish(kind, Duration::ZERO, idr);
    let refused = house.post(&Viewer::new(Manners::default()).await.offer).await;
    assert_eq!(refused.status, 406);
    assert!(refused.body.contains("H.265") && refused.body.contains("go2rtc"), "{}", refused.body);
}

#[tokio::test]
async fn a_camera_that_does_not_answer_within_ten_seconds_is_unavailable() {
    let house = House::new(FakeVendor::new()).await;
    let asked = doorstep::clock::now();
    let refused = house.post(&Viewer::new(Manners::default()).await.offer).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(asked.elapsed() < Duration::from_secs(11), "it took {:?}", asked.elapsed());
    house.until("the camera is let go", |state| state.viewers == 0).await;
}

#[tokio::test]
async fn a_microphone_takes_the_speaker_and_gives_it_back() {
    let house = House::filming().await;
    let viewer = Viewer::new(Manners { speaks: true, ..Default::default() }).await;
    let answer = house.post(&viewer.offer).await;
    let (_seen, task) = viewer.play(&answer.body, Arc::default());
    house.until("the microphone has the speaker", |state| state.talking).await;
    let heard = house.camera("speech", |camera| camera.heard.len() >= 20).await.heard;
    // What a busy machine sends late is made up for by what came before, and fades.
    let as_said = heard.iter().filter(|piece| **piece == speech()).count();
    assert!(as_said * 10 >= heard.len() * 9, "the speech was changed on its way: {as_said} of {}", heard.len());
    assert!(heard.iter().all(|piece| piece.len() == speech().len()), "a piece is cut");
    task.abort();
    house.until("silence gives the speaker back", |state| !state.talking).await;
}

#[tokio::test]
async fn row_32_a_second_microphone_is_not_mixed_in() {
    let house = House::filming().await;
    let speaks = Manners { speaks: true, ..Default::default() };
    let first = Viewer::new(speaks).await;
    let answer = house.post(&first.offer).await;
    let (_, first) = first.play(&answer.body, Arc::default());
    house.until("the first has the speaker", |state| state.talking).await;
    let second = Viewer::new(speaks).await;
    let answer = house.post(&second.offer).await;
    let (mut seen, second) = second.play(&answer.body, Arc::default());
    let playing = timeout(PATIENCE, seen.wait_for(|seen| seen.video.len() > 5)).await;
    assert!(playing.is_ok_and(|seen| seen.is_ok()), "the second sees the picture");
    assert_eq!(house.vendor.seen().talks_asked, 1);
    first.abort();
    house.camera("the second, when the first is gone", |camera| camera.talks_asked == 2).await;
    second.abort();
}

#[tokio::test]
async fn a_viewer_that_leaves_while_the_speaker_is_opening_is_in_nobodys_way() {
    let vendor = FakeVendor::new();
    vendor.films();
    vendor.on_talk(OnTalk::Hangs);
    let house = House::new(vendor).await;
    let viewer = Viewer::new(Manners { speaks: true, ..Default::default() }).await;
    let answer = house.post(&viewer.offer).await;
    let _viewer = viewer.play(&answer.body, Arc::default());
    house.camera("a wish to talk", |camera| camera.talks_asked == 1).await;
    request(house.http, "DELETE", &resolved(&answer), SDP, "").await;
    // Whoever comes now waits for the speaker, as soon as the doorbell knows.
    while let Ok(refused) = timeout(Duration::from_millis(200), house.doorbell.start_talk(2)).await {
        assert_eq!(refused.map(|_| ()), Err(ActionError::Busy));
    }
    let (second, ()) = tokio::join!(house.doorbell.start_talk(2), async { house.vendor.answer_talk() });
    assert!(second.is_ok(), "{second:?}");
    assert_eq!(house.vendor.seen().talks_asked, 1);
}

#[tokio::test]
async fn a_doorbell_without_a_speaker_is_offered_no_microphone() {
    let vendor = FakeVendor::with([Capability::Ring, Capability::Stream]);
    vendor.films();
    let house = House::new(vendor).await;
    let viewer = Viewer::new(Manners { speaks: true, ..Default::default() }).await;
    let answer = house.post(&viewer.offer).await;
    assert_eq!(answer.status, 201);
    assert!(!answer.body.contains("a=sendrecv") && !answer.body.contains("a=recvonly"), "{}", answer.body);
}
