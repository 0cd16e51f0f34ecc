//! A Vivint camera's RTSP over bad lines (reliability rows 19 to 23). TCP keeps what it carries: what is lost comes late.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use doorstep::clock::{self, Instant};
use doorstep::media::h26x::nals;
use doorstep::media::{Frame, FrameStream};
use doorstep::model::Link;
use doorstep::secret::Password;
use doorstep::sim::clip::Clip;
use doorstep::sim::rtsp::{self, RunningRtsp, Settings};
use doorstep::vendor::vivint::devices::Lan;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::impair::{self, Done, Line, Mode};
use crate::support::vivint_camera::{Life, VivintCamera};

/// The longest that anything here takes is the time-out of a silent stream.
const PATIENCE: Duration = Duration::from_secs(25);
const MS: Duration = Duration::from_millis(1);

/// A camera's server, and the line to it.
struct House {
    camera: Arc<VivintCamera>,
    line: impair::Tcp,
    _server: RunningRtsp,
}

impl House {
    async fn behind(line: Line, seed: u64) -> Self {
        let _server = rtsp::start(Settings::default(), CancellationToken::new()).await.unwrap();
        let line = impair::Tcp::to(_server.address.port(), line, seed).await;
        let SocketAddr::V4(server) = _server.address else { panic!("not IPv4") };
        let lan = Lan {
            host: *server.ip(),
            port: line.port,
            user: "viewer".into(),
            password: Password::new("not-a-real-password"),
            hd: Some("live.sdp".into()),
            sd: None,
        };
        let camera = VivintCamera::new();
        camera.change(|camera| camera.lan = Some(lan));
        Self { camera, line, _server }
    }
}

async fn picture(frames: &mut FrameStream) -> (Instant, Arc<Frame>) {
    loop {
        let frame = timeout(PATIENCE, frames.next()).await.expect("nothing comes any more").expect("the hub is gone");
        if frame.kind.is_video() {
            return (clock::now(), frame);
        }
    }
}

/// That the next pictures are those of the clip from here on, bit by bit; when they came.
async fn follow(frames: &mut FrameStream, from: u64, count: u64) -> Vec<(Instant, Duration)> {
    let clip = Clip::h264();
    let mut seen = Vec::new();
    for n in from..from + count {
        let (at, frame) = picture(frames).await;
        let unit = clip.access_unit(n);
        assert_eq!(nals(&frame.data).collect::<Vec<_>>(), nals(&unit.data).collect::<Vec<_>>(), "picture {n}");
        seen.push((at, frame.pts));
    }
    seen
}

/// What the line has done to 60 pictures, of which none is missing.
async fn nothing_is_missing(line: Line, seed: u64) -> Done {
    let house = House::behind(line, seed).await;
    let life = Life::begin(&house.camera);
    let _demand = life.media.hold();
    let seen = follow(&mut life.media.listen(), 0, 60).await;
    let stall = seen.windows(2).map(|two| two[1].0 - two[0].0).max().unwrap();
    assert!(stall <= Duration::from_secs(2), "no picture for {stall:?}");
    life.leave().await.unwrap();
    house.line.done()
}

#[tokio::test]
async fn row_19_rtsp_misses_nothing_at_20_percent_loss() {
    let done = nothing_is_missing(Line { loss: 0.2, ..Line::late(5 * MS) }, 19).await;
    assert!(done.lost > 5, "{done:?}");
}

#[tokio::test]
async fn row_21_rtsp_is_byte_for_byte_what_was_sent_however_segments_come() {
    let done = nothing_is_missing(Line { reorder: 0.25, duplicate: 0.1, ..Line::late(5 * MS) }, 21).await;
    assert!(done.overtaken > 5, "{done:?}");
}

#[tokio::test]
async fn row_20_rtsp_goes_on_behind_a_burst_of_300_ms() {
    let house = House::behind(Line::default(), 20).await;
    let life = Life::begin(&house.camera);
    let _demand = life.media.hold();
    let mut frames = life.media.listen();
    follow(&mut frames, 0, 20).await;
    house.line.mode(Mode::Silent);
    let silence = timeout(300 * MS, follow(&mut frames, 20, 10)).await;
    assert!(silence.is_err(), "pictures came through a dead line");
    house.line.mode(Mode::Passes);
    let over = clock::now();
    let (at, _) = picture(&mut frames).await;
    assert!(at - over <= Duration::from_secs(1), "a picture {:?} behind the burst", at - over);
    assert_eq!(house.line.taken(), 1, "it was connected to again");
    life.leave().await.unwrap();
}

/// RTSP authenticates nothing that it carries, and TCP's checksum is what keeps bits from flipping. Behind one that did
/// so all the same nothing panics: pictures go on, or the stream ends in a sentence and the next one is whole.
#[tokio::test]
async fn row_22_rtsp_with_flipped_bits_goes_on_or_ends_in_a_sentence() {
    for seed in 0..4 {
        let house = House::behind(Line::default(), seed).await;
        let life = Life::begin(&house.camera);
        let _demand = life.media.hold();
        let mut frames = life.media.listen();
        follow(&mut frames, 0, 10).await;
        house.line.set(Line { flip: 0.1, ..Line::default() });
        let mut state = life.state.clone();
        let over = async {
            let _ended = state.wait_for(|state| state.link != Link::Streaming).await;
        };
        let _either = tokio::select! {
            () = over => None,
            ended = timeout(2_000 * MS, async { loop { picture(&mut frames).await; } }) => Some(ended),
        };
        assert!(house.line.done().flipped > 0, "seed {seed}: nothing was spoilt");
        house.line.set(Line::default());
        match life.leave().await {
            Ok(()) => println!("seed {seed}: it went on"),
            Err(error) => {
                println!("seed {seed}: {error}");
                assert!(error.to_string().ends_with('.'), "seed {seed}: {error}");
            }
        }
        let life = Life::begin(&house.camera);
        let _demand = life.media.hold();
        follow(&mut life.media.listen(), 0, 5).await;
    }
}

#[tokio::test]
async fn row_23_rtsp_is_not_late_for_jitter_on_a_narrow_line() {
    let line = Line { jitter: 100 * MS, rate: Some(1_000_000), ..Line::late(100 * MS) };
    let house = House::behind(line, 23).await;
    let life = Life::begin(&house.camera);
    let _demand = life.media.hold();
    let mut frames = life.media.listen();
    // The first keyframe is a large one.
    follow(&mut frames, 0, 20).await;
    let seen = follow(&mut frames, 20, 80).await;
    let late: Vec<Duration> = seen.iter().map(|(at, pts)| (*at - seen[0].0 + seen[79].1) - *pts).collect();
    let over = *late.iter().max().unwrap() - *late.iter().min().unwrap();
    println!("{over:?} over what it takes at best");
    assert!(over <= 500 * MS, "{over:?}");
    life.leave().await.unwrap();
}
