//! WebRTC cameras over bad networks (reliability rows 19 to 23): a KVS call whose media pass a bad line. The protocol
//! library keeps the machine's time, so these run on real sockets, several lines at once.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorstep::clock::{self, Instant};
use doorstep::media::h26x::nals;
use doorstep::media::{Frame, FrameStream, MediaHub};
use doorstep::rtc::kvs_call::{KvsCall, Wish};
use doorstep::sim::clip::Clip;
use doorstep::sim::kvs_camera::{self, Settings};
use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::crooked_line::{CrookedLine, answer, as_it_is, instead_of_the_answer, is_offer};
use crate::support::impair::{self, Done, Line};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const MS: Duration = Duration::from_millis(1);

/// A camera, and the only way to it.
struct House {
    line: Arc<CrookedLine>,
    hub: MediaHub,
    /// `None` before there is an answer.
    way: Arc<Mutex<Option<impair::Udp>>>,
    _stops: DropGuard,
}

impl House {
    async fn behind(line: Line, seed: u64) -> Self {
        let stop = CancellationToken::new();
        let camera = Arc::new(kvs_camera::start(Settings::default(), stop.clone()).await.unwrap());
        let way: Arc<Mutex<Option<impair::Udp>>> = Arc::default();
        let kept = way.clone();
        let by_one_way = instead_of_the_answer(move |sdp| {
            let camera: SocketAddr = sdp.lines().find_map(udp_address).expect("no candidate");
            let way = impair::Udp::to(camera, line, seed);
            let only = format!("a=candidate:1 1 udp 2130706431 {} {} typ host", way.address.ip(), way.address.port());
            *kept.lock().unwrap() = Some(way);
            let others = sdp.lines().filter(|line| !line.starts_with("a=candidate:"));
            vec![answer(&others.chain([only.as_str()]).map(|line| format!("{line}\r\n")).collect::<String>())]
        });
        // The camera learns of the viewer by its checks alone.
        let only_offers = |connection: usize, frame: &str| match is_offer(frame) {
            true => as_it_is(connection, frame),
            false => vec![],
        };
        let line = CrookedLine::to(camera, Box::new(only_offers), by_one_way).await;
        Self { line, hub: MediaHub::new(), way, _stops: stop.drop_guard() }
    }

    async fn call(&self) -> KvsCall {
        let wish = Wish { hub: self.hub.clone(), talk: true, channel: None };
        timeout(PATIENCE, KvsCall::place_by(self.line.clone(), wish)).await.unwrap().unwrap()
    }

    fn set(&self, line: Line) {
        self.way.lock().unwrap().as_ref().unwrap().set(line);
    }

    fn done(&self) -> Done {
        self.way.lock().unwrap().as_ref().unwrap().done()
    }
}

fn udp_address(line: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = line.strip_prefix("a=candidate:")?.split(' ').collect();
    (words[2] == "udp" && words[4] == "127.0.0.1").then(|| format!("{}:{}", words[4], words[5]).parse().unwrap())
}

/// Pictures with the time at which they came.
async fn pictures(frames: &mut FrameStream, count: usize) -> Vec<(Instant, Arc<Frame>)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let frame = timeout(PATIENCE, frames.next()).await.expect("nothing comes any more").unwrap();
        seen.extend(frame.kind.is_video().then(|| (clock::now(), frame)));
    }
    seen
}

/// That each picture is one of the clip, and newer than the one before it.
fn assert_whole(seen: &[(Instant, Arc<Frame>)]) {
    let clip = Clip::h264();
    let units = |data: &[u8]| nals(data).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let whole: Vec<_> = (0..200).map(|n| units(&clip.access_unit(n).data)).collect();
    for (_, frame) in seen {
        assert!(whole.contains(&units(&frame.data)), "a picture that the clip does not have at {:?}", frame.pts);
    }
    assert!(seen.windows(2).all(|two| two[0].1.pts < two[1].1.pts), "a picture comes again or too late");
}

/// The share of the pictures that is shown, and the longest time without one, of 100 pictures.
async fn watched(line: Line, seed: u64) -> (f64, Duration, Done) {
    let house = House::behind(line, seed).await;
    let mut frames = house.hub.listen();
    let _call = house.call().await;
    // The first ones come all at once: the camera sends what it has kept.
    pictures(&mut frames, 20).await;
    let seen = pictures(&mut frames, 100).await;
    assert_whole(&seen);
    let stall = seen.windows(2).map(|two| two[1].0 - two[0].0).max().unwrap();
    let filmed = (seen[99].1.pts - seen[0].1.pts).as_secs_f64() / Clip::INTERVAL.as_secs_f64() + 1.0;
    (100.0 / filmed, stall, house.done())
}

/// What is lost is asked for again (NACK), for as long as the 300 ms allow for which a picture waits.
#[tokio::test]
async fn row_19_webrtc_comes_about_and_shows_the_pictures_at_5_10_and_20_percent_loss() {
    let lines = [(0.05, 0.999), (0.1, 0.99), (0.2, 0.9)];
    let watched =
        join_all(lines.map(|(loss, share)| async move { (loss, share, watched(Line::lossy(loss), 19).await) }));
    for (loss, least, (share, stall, done)) in watched.await {
        println!("{loss} lost: {:.1} % of the pictures, longest stall {stall:?}, {done:?}", share * 100.0);
        assert!(done.lost > 0);
        assert!(share >= least, "{:.1} % of the pictures at a loss of {loss}", share * 100.0);
        assert!(stall <= Duration::from_secs(2), "no picture for {stall:?} at a loss of {loss}");
    }
}

#[tokio::test]
async fn row_20_webrtc_shows_a_picture_within_a_second_of_a_burst_of_300_ms() {
    let house = House::behind(Line::default(), 20).await;
    let mut frames = house.hub.listen();
    let _call = house.call().await;
    pictures(&mut frames, 20).await;
    let before = house.done().lost;
    house.set(Line::dead());
    tokio::time::sleep(300 * MS).await;
    house.set(Line::default());
    let over = clock::now();
    assert!(house.done().lost > before, "nothing was lost");
    let (at, _) = loop {
        let (at, frame) = pictures(&mut frames, 1).await.remove(0);
        if at > over {
            break (at, frame);
        }
    };
    assert!(at - over <= Duration::from_secs(1), "a picture {:?} behind the burst", at - over);
    assert_whole(&pictures(&mut frames, 40).await);
    assert_eq!(house.line.asked().len(), 1, "it was called again");
}

#[tokio::test]
async fn row_21_webrtc_shows_each_picture_once_and_in_order_however_datagrams_come() {
    let line = Line { reorder: 0.25, duplicate: 0.1, ..Line::late(5 * MS) };
    let (share, _, done) = watched(line, 21).await;
    assert!(done.overtaken > 50 && done.doubled > 20, "{done:?}");
    assert!(share > 0.999, "{:.1} % of the pictures", share * 100.0);
}

#[tokio::test]
async fn row_22_webrtc_lets_no_corrupt_picture_pass() {
    let (share, stall, done) = watched(Line { flip: 0.02, ..Line::default() }, 22).await;
    println!("{:.1} % of the pictures, longest stall {stall:?}, {done:?}", share * 100.0);
    assert!(done.flipped > 0, "{done:?}");
}

#[tokio::test]
async fn row_23_webrtc_is_not_late_for_jitter_on_a_narrow_line() {
    let line = Line { jitter: 100 * MS, rate: Some(1_000_000), ..Line::late(100 * MS) };
    let house = House::behind(line, 23).await;
    let mut frames = house.hub.listen();
    let _call = house.call().await;
    // The first ones come all at once: the camera sends what it has kept.
    pictures(&mut frames, 20).await;
    let seen = pictures(&mut frames, 100).await;
    let begun = seen[0].0;
    // A picture's time starts anywhere.
    let late: Vec<Duration> = seen.iter().map(|(at, frame)| (*at - begun + seen[99].1.pts) - frame.pts).collect();
    let over = *late.iter().max().unwrap() - *late.iter().min().unwrap();
    println!("{over:?} over what it takes at best, {:?}", house.done());
    assert_whole(&seen);
    assert!(over <= 500 * MS, "{over:?}");
}
