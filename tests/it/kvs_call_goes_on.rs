//! A KVS call outlives its connections to the service: GO_AWAY, hang-ups, and masters that come late. Real sockets;
//! pictures are counted at the hub. (Bad networks: `kvs_call_loss`.)

use std::sync::Arc;
use std::time::Duration;

use doorstep::clock;
use doorstep::media::{Frame, FrameKind, FrameStream, MediaHub, VideoCodec};
use doorstep::proto::kvs::signaling::{Inbound, MessageType, StatusResponse};
use doorstep::rtc::kvs_call::{AskError, CallError, KvsCall, Wish};
use doorstep::sim::clip::Clip;
use doorstep::sim::kvs_camera::{self, CameraEvent, Settings};
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::crooked_line::{
    CrookedLine, Said, Script, answer, as_it_is, instead_of_the_answer, is_offer, nothing,
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

struct House {
    line: Arc<CrookedLine>,
    happened: broadcast::Receiver<CameraEvent>,
    hub: MediaHub,
    _stops: DropGuard,
}

impl House {
    async fn with(of_viewer: Script, of_service: Script) -> Self {
        let stop = CancellationToken::new();
        let camera = Arc::new(kvs_camera::start(Settings::default(), stop.clone()).await.unwrap());
        let happened = camera.events();
        let line = CrookedLine::to(camera, of_viewer, of_service).await;
        Self { line, happened, hub: MediaHub::new(), _stops: stop.drop_guard() }
    }

    async fn straight() -> Self {
        Self::with(Box::new(as_it_is), Box::new(as_it_is)).await
    }

    async fn call(&self) -> Result<KvsCall, CallError> {
        let wish = Wish { hub: self.hub.clone(), talk: true, channel: Some("commands") };
        timeout(PATIENCE, KvsCall::place_by(self.line.clone(), wish)).await.unwrap()
    }

    async fn is_asked(&self, times: usize) {
        let asked = async {
            while self.line.asked().len() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("asked for {:?} only", self.line.asked()));
    }

    /// Waits until the viewer has connected to the service once more.
    async fn connects(&mut self) -> String {
        let connects = async {
            loop {
                if let CameraEvent::Connected { viewer } = self.happened.recv().await.unwrap() {
                    return viewer;
                }
            }
        };
        timeout(PATIENCE, connects).await.expect("no connection")
    }
}

async fn pictures(frames: &mut FrameStream, count: usize) -> Vec<Arc<Frame>> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let frame = timeout(PATIENCE, frames.next()).await.expect("nothing comes any more").unwrap();
        seen.extend(frame.kind.is_video().then_some(frame));
    }
    seen
}

/// A picture that is missing leaves a gap between the times at which its neighbours were filmed. The first ones may
/// stand closer: the camera sends what it has kept all at once.
fn assert_none_is_missing(seen: &[Arc<Frame>]) {
    assert_eq!(seen[0].kind, FrameKind::Video { codec: VideoCodec::H264, keyframe: true });
    for pair in seen.windows(2) {
        let apart = pair[1].pts - pair[0].pts;
        assert!(apart < Clip::INTERVAL + Duration::from_millis(2), "{apart:?} between two pictures");
    }
}

#[tokio::test]
async fn row_28_no_picture_is_lost_when_the_service_says_go_away_and_hangs_up() {
    let mut house = House::straight().await;
    let mut frames = house.hub.listen();
    let _call = house.call().await.unwrap();
    let viewer = house.connects().await;
    let mut seen = pictures(&mut frames, 10).await;
    for _ in 0..2 {
        house.line.notice(MessageType::GoAway);
        assert_eq!(house.connects().await, viewer, "another viewer");
        seen.extend(pictures(&mut frames, 20).await);
        house.line.say(Said::HangUp);
        assert_eq!(house.connects().await, viewer, "another viewer");
        seen.extend(pictures(&mut frames, 20).await);
    }
    assert_none_is_missing(&seen);
    assert_eq!(house.line.asked(), vec![viewer; 5], "each connection has an address of its own");
}

#[tokio::test]
async fn row_28_a_call_whose_service_cannot_be_reached_again_goes_on_without_it() {
    let house = House::straight().await;
    let mut frames = house.hub.listen();
    let mut call = house.call().await.unwrap();
    house.line.refuse();
    house.line.say(Said::HangUp);
    house.is_asked(3).await;
    assert_none_is_missing(&pictures(&mut frames, 45).await);
    assert!(house.line.asked().len() < 10, "the cloud is asked without an end");
    assert!(timeout(Duration::ZERO, call.ended()).await.is_err(), "the call has ended");
}

#[tokio::test]
async fn row_28_a_service_that_says_go_away_without_an_end_is_left_alone() {
    let house = House::with(Box::new(as_it_is), Box::new(as_it_is)).await;
    let mut frames = house.hub.listen();
    let _call = house.call().await.unwrap();
    let nags = async {
        loop {
            house.line.notice(MessageType::GoAway);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = nags => {}
        seen = pictures(&mut frames, 60) => assert_none_is_missing(&seen),
    }
    assert!(house.line.asked().len() <= 9, "{} connections", house.line.asked().len());
}

#[tokio::test]
async fn a_service_that_hangs_up_before_the_answer_is_called_once_more_as_somebody_else() {
    let hangs_up_at_first = |connection: usize, frame: &str| match connection {
        0 if is_offer(frame) => vec![Said::HangUp],
        _ => as_it_is(connection, frame),
    };
    let house = House::with(Box::new(hangs_up_at_first), Box::new(as_it_is)).await;
    let mut frames = house.hub.listen();
    let _call = house.call().await.unwrap();
    assert_none_is_missing(&pictures(&mut frames, 5).await);
    let asked = house.line.asked();
    assert!(matches!(&asked[..], [first, second] if first != second), "{asked:?}");

    let house = House::with(Box::new(|_, _| vec![Said::HangUp]), Box::new(as_it_is)).await;
    let error = house.call().await.err().expect("there is an answer");
    assert!(matches!(error, CallError::ServiceClosed), "{error}");
    assert_eq!(house.line.asked().len(), 2);
}

#[tokio::test]
async fn a_camera_that_comes_late_is_called_once_more_as_somebody_else() {
    let swallows_at_first = |connection: usize, frame: &str| match connection {
        0 => vec![],
        _ => as_it_is(connection, frame),
    };
    let house = House::with(Box::new(swallows_at_first), Box::new(as_it_is)).await;
    let begun = clock::now();
    let mut frames = house.hub.listen();
    let _call = house.call().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(10), "given up after {:?}", begun.elapsed());
    assert_none_is_missing(&pictures(&mut frames, 5).await);
    let asked = house.line.asked();
    assert!(matches!(&asked[..], [first, second] if first != second), "{asked:?}");
}

fn status(code: &str, error_type: &str) -> String {
    let status = StatusResponse {
        correlation_id: "offer".to_owned(),
        error_type: error_type.to_owned(),
        status_code: code.to_owned(),
        description: "viewer-1 at wss://secret".to_owned(),
    };
    Inbound { status: Some(status), ..Inbound::notice(MessageType::StatusResponse) }.encode()
}

/// What a service refuses in the midst of a call is about its own line: a new one is opened when it hangs up over it,
/// and not a picture is missing. The same for a relay that goes, where the call has none.
#[tokio::test]
async fn row_28_no_picture_is_lost_over_statuses_and_relays_of_a_call_that_stands() {
    let mut house = House::straight().await;
    let mut frames = house.hub.listen();
    let mut call = house.call().await.unwrap();
    let viewer = house.connects().await;
    let mut seen = pictures(&mut frames, 10).await;
    for (code, error_type) in [
        ("400", "InvalidArgumentException"),
        ("403", "AccessDeniedException"),
        ("404", "ResourceNotFoundException"),
        ("429", "ClientLimitExceededException"),
        ("500", "InternalFailure"),
    ] {
        house.line.say(Said::Frame(status(code, error_type)));
        house.line.notice(MessageType::ReconnectIceServer);
        seen.extend(pictures(&mut frames, 10).await);
    }
    assert_eq!(house.line.asked(), [viewer.as_str()], "a call that stands was placed anew");
    house.line.say(Said::HangUp);
    assert_eq!(house.connects().await, viewer, "another viewer");
    seen.extend(pictures(&mut frames, 20).await);
    assert_none_is_missing(&seen);
    assert_eq!(house.line.asked().len(), 2, "one new connection");
    assert!(timeout(Duration::ZERO, call.ended()).await.is_err(), "the call has ended");
}

#[tokio::test]
async fn row_28_what_the_service_says_of_an_offer_that_it_cannot_deliver_is_told() {
    let status = status("404", "ResourceNotFoundException");
    let house =
        House::with(Box::new(as_it_is), instead_of_the_answer(move |_| vec![Said::Frame(status.clone())])).await;
    let placed = KvsCall::place(&house.line.signalling_for("viewer-1"), house.hub.clone(), false).await;
    let error = placed.err().expect("there is an answer").to_string();
    assert_eq!(error, "the doorbell did not answer (ResourceNotFoundException)");
}

#[tokio::test]
async fn nobody_is_called_where_the_cloud_gives_no_address() {
    let house = House::with(Box::new(nothing), Box::new(nothing)).await;
    house.line.refuse();
    let error = house.call().await.err().expect("there is an answer");
    assert!(matches!(&error, CallError::Exchange(_)), "{error:?}");
    assert_eq!(error.to_string(), "the cloud is away");
    assert_eq!(house.line.asked().len(), 1);
}

/// Without its section an answer breaks RFC 9429, and says the same.
#[tokio::test]
async fn a_camera_that_refuses_the_data_channel_is_seen_and_says_so_when_it_is_asked() {
    let without_its_section = |sdp: &str| {
        let sections: Vec<&str> = sdp.split_inclusive("\r\n").collect();
        let mut kept = true;
        let text: String = sections
            .into_iter()
            .filter(|line| {
                kept = if line.starts_with("m=") { !line.starts_with("m=application") } else { kept };
                kept
            })
            .collect();
        vec![answer(&text)]
    };
    for script in [Box::new(as_it_is) as Script, instead_of_the_answer(without_its_section)] {
        let house = House::with(Box::new(as_it_is), script).await;
        let mut frames = house.hub.listen();
        let call = house.call().await.unwrap();
        assert_none_is_missing(&pictures(&mut frames, 5).await);
        let commands = call.commands().expect("one was wished for");
        let reply = commands.ask(r#"{"action":"open_door"}"#, |_| true, PATIENCE).await;
        assert_eq!(reply, Err(AskError::NotOpen));
        assert_eq!(commands.opened(PATIENCE).await, Err(AskError::NotOpen));
        pictures(&mut frames, 20).await;
    }
}
