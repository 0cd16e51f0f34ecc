//! Viewers get their pictures over the one port, and nothing of them stays behind.

#![allow(clippy::print_stdout, reason = "seeds and figures belong to the report")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorstep::media::{AudioFormat, FrameKind, MediaHub, VideoCodec};
use doorstep::rtc::{AnswerError, Counters, MicPacket, Viewers};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::impair::{self, Line};
use crate::support::viewer::{Manners, Prank, Seen, Transport, Viewer, speech, switchboard};

const PATIENCE: Duration = Duration::from_secs(20);
const FRAME: Duration = Duration::from_millis(33);

/// A camera that films, and all who watch it.
pub(crate) struct House {
    pub(crate) viewers: Viewers,
    pub(crate) hub: MediaHub,
    /// The number of pictures published.
    published: watch::Receiver<u32>,
    _stop: DropGuard,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::bound_to(Ipv4Addr::LOCALHOST.into()).await
    }

    async fn bound_to(bind: IpAddr) -> Self {
        let stop = CancellationToken::new();
        let viewers = switchboard(bind, &stop).await;
        let hub = MediaHub::new();
        let (count, published) = watch::channel(0);
        tokio::spawn(stop.clone().run_until_cancelled_owned(film(hub.clone(), count)));
        Self { viewers, hub, published, _stop: stop.drop_guard() }
    }

    pub(crate) async fn join(&self, manners: Manners) -> Joined {
        self.join_with(manners, None).await
    }

    async fn join_with(&self, manners: Manners, mic: Option<mpsc::Sender<MicPacket>>) -> Joined {
        self.join_at(&self.hub, manners, mic).await
    }

    async fn join_at(&self, hub: &MediaHub, manners: Manners, mic: Option<mpsc::Sender<MicPacket>>) -> Joined {
        self.joined(hub, Viewer::new(manners).await, mic).await
    }

    /// Who is told what to do.
    pub(crate) async fn join_hostile(&self, hub: &MediaHub, manners: Manners) -> (Joined, mpsc::Sender<Prank>) {
        let mut viewer = Viewer::new(manners).await;
        let (pranks, told) = mpsc::channel(64);
        viewer.pranks = Some(told);
        // As the microphone's owner would: what it says is taken, and nobody listens.
        let mic = viewer.speaks().then(|| mpsc::channel(50));
        let (mic, nobody) = mic.unzip();
        let joined = self.joined(hub, viewer, mic).await;
        (Joined { _nobody: nobody, ..joined }, pranks)
    }

    /// Who reaches us over this line only.
    pub(crate) async fn join_behind(&self, line: Line, seed: u64) -> (Joined, impair::Udp) {
        let mut viewer = Viewer::new(Manners::default()).await;
        let offer = viewer.offer.lines().filter(|line| !line.starts_with("a=candidate:"));
        viewer.offer = offer.map(|line| format!("{line}\r\n")).collect();
        let port = self.viewers.port();
        let relay = impair::Udp::to((Ipv4Addr::LOCALHOST, port).into(), line, seed);
        let answered = self.viewers.answer(&viewer.offer, self.hub.hold(), None).await.unwrap();
        let (ours, theirs) = (format!(" {port} typ host"), format!(" {} typ host", relay.address.port()));
        let sdp = answered.sdp.replace(&ours, &theirs);
        (Joined::playing(viewer, answered.viewer, sdp), relay)
    }

    async fn joined(&self, hub: &MediaHub, viewer: Viewer, mic: Option<mpsc::Sender<MicPacket>>) -> Joined {
        let answered = self.viewers.answer(&viewer.offer, hub.hold(), mic).await.unwrap();
        Joined::playing(viewer, answered.viewer, answered.sdp)
    }

    pub(crate) async fn counted(&self, what: &str, condition: impl Fn(&Counters) -> bool) {
        let until = async {
            while !condition(&self.viewers.counters()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let counted = timeout(PATIENCE, until).await;
        assert!(counted.is_ok(), "{what}: {:?}", self.viewers.counters());
    }

    pub(crate) async fn empty(&self) {
        self.counted("something is left", |c| (c.viewers, c.sources, c.streams, c.tcp_connections) == (0, 0, 0, 0))
            .await;
        let mut demand = self.hub.demand();
        let released = timeout(PATIENCE, demand.wait_for(|count| *count == 0)).await;
        assert!(released.is_ok_and(|demand| demand.is_ok()), "the camera is kept streaming");
    }
}

pub(crate) struct Joined {
    pub(crate) id: u64,
    sdp: String,
    pub(crate) seen: watch::Receiver<Seen>,
    leave: Arc<Notify>,
    pub(crate) task: JoinHandle<()>,
    _nobody: Option<mpsc::Receiver<MicPacket>>,
}

impl Joined {
    fn playing(viewer: Viewer, id: u64, sdp: String) -> Self {
        let leave = Arc::new(Notify::new());
        let (seen, task) = viewer.play(&sdp, leave.clone());
        Self { id, sdp, seen, leave, task, _nobody: None }
    }

    pub(crate) async fn sees(&mut self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let seen = timeout(PATIENCE, self.seen.wait_for(condition)).await.map(|seen| seen.map(|seen| seen.clone()));
        if let Ok(seen) = seen {
            return seen.expect("the viewer plays on");
        }
        let seen = self.seen.borrow();
        let (connected, packets, pictures) = (seen.connected, seen.video.len(), seen.pictures().len());
        panic!("{what}: connected {connected}, {packets} video packets, {pictures} whole pictures")
    }
}

/// One picture: a slice that holds its number and then only the number's lowest byte, of a size that varies.
fn picture(number: u32) -> Bytes {
    let keyframe = number.is_multiple_of(30);
    let mut data = if keyframe { b"\0\0\0\x01\x67\x42\xe0\x1f\0\0\0\x01\x68\xce\x3c\x80".to_vec() } else { Vec::new() };
    data.extend([0, 0, 0, 1]);
    data.extend(slice(number));
    data.into()
}

fn slice(number: u32) -> Vec<u8> {
    let (header, size) =
        if number.is_multiple_of(30) { (0x65, 24_000) } else { (0x41, 600 + 97 * (number as usize % 60)) };
    let mut slice = vec![header];
    slice.extend([21, 14, 7, 0].map(|shift| (number >> shift) as u8 | 0x80));
    slice.resize(size, number as u8 | 0x80);
    slice
}

fn number_of(slice: &[u8]) -> u32 {
    slice[1..5].iter().fold(0, |number, byte| number << 7 | u32::from(byte & 0x7f))
}

/// Publishes a picture 30 times a second and 20 ms of sound with each.
async fn film(hub: MediaHub, published: watch::Sender<u32>) {
    let mut ticks = tokio::time::interval(FRAME);
    for number in 0u32.. {
        ticks.tick().await;
        let pts = FRAME * number;
        hub.publish(
            FrameKind::Video { codec: VideoCodec::H264, keyframe: number.is_multiple_of(30) },
            pts,
            picture(number),
        );
        hub.publish(FrameKind::Audio(AudioFormat::PCMU), pts, Bytes::from_static(&[0xd5; 160]));
        published.send_replace(number + 1);
    }
}

/// The numbers of the whole pictures, each of which must be what was published.
pub(crate) fn numbers(seen: &Seen) -> Vec<u32> {
    let pictures = seen.pictures();
    let numbers: Vec<u32> = pictures.iter().map(|picture| number_of(picture)).collect();
    for (number, picture) in numbers.iter().zip(&pictures) {
        assert_eq!(picture.len(), slice(*number).len(), "picture {number} has another size");
        assert_eq!(*picture, slice(*number), "picture {number} was changed on its way");
    }
    numbers
}

#[tokio::test]
async fn a_viewer_sees_a_keyframe_first_and_then_every_picture() {
    let house = House::new().await;
    house.published.clone().wait_for(|count| *count >= 20).await.unwrap();
    let mut viewer = house.join(Manners::default()).await;
    let seen = viewer.sees("80 pictures and sound", |seen| seen.pictures().len() >= 80 && seen.audio.len() >= 20).await;
    let numbers = numbers(&seen);
    assert_eq!(numbers[0], 0, "the cached GOP comes first, from its keyframe");
    let gaps: Vec<_> = numbers.windows(2).filter(|pair| pair[0] + 1 != pair[1]).collect();
    assert!(gaps.is_empty(), "between these pictures something is missing or doubled: {gaps:?}");
    assert!(seen.audio.iter().all(|(payload_type, payload)| *payload_type == 0 && payload[..] == [0xd5; 160]));
    let timestamps: Vec<u32> = seen.video.values().map(|(timestamp, ..)| *timestamp).collect();
    assert!(timestamps.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) < 1 << 31), "a timestamp goes back");
    let counters = house.viewers.counters();
    println!("{} datagrams in {} system calls", counters.datagrams_sent, counters.send_calls);
    viewer.task.abort();
}

#[tokio::test]
async fn five_percent_loss_is_repaired() {
    let seed = 20_261_121;
    println!("seed {seed}");
    let house = House::new().await;
    let mut viewer = house.join(Manners { loss: 5, seed, ..Default::default() }).await;
    let count = |seen: &Seen| numbers(seen).last().map_or(0, |last| last - numbers(seen)[0]);
    let seen = viewer.sees("120 pictures", |seen| count(seen) >= 120).await;
    let shown = numbers(&seen).len() as f64 / f64::from(count(&seen) + 1);
    println!("{} packets lost, {:.1} % of the pictures whole", seen.lost, shown * 100.0);
    assert!(seen.lost >= 20, "only {} packets were lost, which tests nothing", seen.lost);
    assert!(shown >= 0.95, "only {shown:.3} of the pictures could be shown");
    viewer.task.abort();
}

#[tokio::test]
async fn row_29_nothing_is_left_of_viewers_that_vanish() {
    let house = House::new().await;
    let mut all = Vec::new();
    for transport in [Transport::Udp, Transport::Udp, Transport::Tcp] {
        all.push(house.join(Manners { transport, ..Default::default() }).await);
    }
    for viewer in &mut all {
        viewer.sees("a picture", |seen| !seen.pictures().is_empty()).await;
    }
    let vanished = doorstep::clock::now();
    all.iter().for_each(|viewer| viewer.task.abort());
    house.empty().await;
    let took = vanished.elapsed();
    println!("gone after {took:?}");
    assert!(took < Duration::from_secs(12), "it took {took:?}");
}

#[tokio::test]
async fn an_offer_whose_viewer_never_comes_is_forgotten() {
    let house = House::new().await;
    let viewer = Viewer::new(Manners::default()).await;
    house.viewers.answer(&viewer.offer, house.hub.hold(), None).await.unwrap();
    drop(viewer);
    house.counted("it has joined", |counters| counters.viewers == 1).await;
    house.empty().await;
    assert_eq!(house.viewers.counters().never_connected, 1);
}

#[tokio::test]
async fn closing_tells_the_viewer_and_frees_everything() {
    let house = House::new().await;
    let mut viewer = house.join(Manners::default()).await;
    viewer.sees("a picture", |seen| !seen.pictures().is_empty()).await;
    assert!(house.viewers.close(viewer.id).await);
    assert!(!house.viewers.close(viewer.id).await, "it is known no more");
    viewer.sees("the good-bye", |seen| seen.closed).await;
    house.empty().await;
}

#[tokio::test]
async fn a_viewer_that_closes_its_page_is_gone_at_once() {
    let house = House::new().await;
    let mut viewer = house.join(Manners::default()).await;
    viewer.sees("a picture", |seen| !seen.pictures().is_empty()).await;
    let left = doorstep::clock::now();
    viewer.leave.notify_one();
    house.empty().await;
    assert!(left.elapsed() < Duration::from_secs(2), "it took {:?}", left.elapsed());
}

#[tokio::test]
async fn a_viewer_without_udp_is_served_over_tcp() {
    let house = House::new().await;
    let mut viewer = house.join(Manners { transport: Transport::Tcp, ..Default::default() }).await;
    let seen = viewer.sees("40 pictures", |seen| seen.pictures().len() >= 40).await;
    let numbers = numbers(&seen);
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "pictures are missing: {numbers:?}");
    assert_eq!(house.viewers.counters().tcp_connections, 1);
    viewer.task.abort();
}

#[tokio::test]
async fn a_port_on_all_addresses_serves_viewers_of_ipv4() {
    let mut all: Vec<IpAddr> = vec![Ipv4Addr::UNSPECIFIED.into()];
    match std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => all.push(Ipv6Addr::UNSPECIFIED.into()),
        Err(_) => println!("SKIPPED: this machine has no IPv6"),
    }
    for (bind, transport) in all.into_iter().flat_map(|bind| [(bind, Transport::Udp), (bind, Transport::Tcp)]) {
        let house = House::bound_to(bind).await;
        let mut viewer = house.join(Manners { transport, ..Default::default() }).await;
        viewer.sees("ten pictures", |seen| seen.pictures().len() >= 10).await;
        viewer.task.abort();
    }
}

#[tokio::test]
async fn hostile_viewer_says_nothing_sensible_over_tcp_and_is_shown_out() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let house = House::new().await;
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 4, 1, 2, 3, 4], &[0, 0]] {
        let mut stream = TcpStream::connect(("127.0.0.1", house.viewers.port())).await.unwrap();
        stream.write_all(noise).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok() && answer.is_empty(), "{noise:?} was answered or kept");
    }
    house.counted("the connections are gone", |counters| counters.tcp_connections == 0).await;
}

#[tokio::test]
async fn hostile_viewer_signs_its_checks_wrongly_and_teaches_no_address() {
    let house = House::new().await;
    let viewer = Viewer::new(Manners::default()).await;
    let answered = house.viewers.answer(&viewer.offer, house.hub.hold(), None).await.unwrap();
    let ufrag = answered.sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap();
    let forger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    forger.connect(("127.0.0.1", house.viewers.port())).await.unwrap();
    for signed in [false, true] {
        forger.send(&forged_check(&format!("{ufrag}:abcd"), signed)).await.unwrap();
    }
    house.counted("both checks are refused", |counters| counters.datagrams_refused >= 2).await;
    assert_eq!(house.viewers.counters().sources, 0, "a forged check taught an address");
    let mut buffer = [0; 100];
    assert!(timeout(Duration::from_millis(200), forger.recv(&mut buffer)).await.is_err(), "the forger got an answer");
}

/// A binding request (RFC 8489 §5) with this USERNAME; signed with something that is no HMAC of it, or not at all.
pub(crate) fn forged_check(username: &str, signed: bool) -> Vec<u8> {
    let mut attributes = Vec::new();
    let mut add = |kind: u16, value: &[u8]| {
        attributes.extend(kind.to_be_bytes());
        attributes.extend((value.len() as u16).to_be_bytes());
        attributes.extend(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    add(0x0006, username.as_bytes());
    add(0x0024, &[0x7e, 0, 0, 1]);
    if signed {
        add(0x0008, &[7; 20]);
    }
    let mut check = vec![0, 1];
    check.extend((attributes.len() as u16).to_be_bytes());
    check.extend([0x21, 0x12, 0xa4, 0x42]);
    check.extend([9; 12]);
    check.extend(attributes);
    check
}

#[tokio::test]
async fn the_microphone_comes_through() {
    comes_through(Manners { speaks: true, ..Default::default() }, &["sendonly", "sendrecv"]).await;
}

#[tokio::test]
async fn a_microphone_in_a_section_of_its_own_comes_through() {
    let apart = Manners { speaks: true, apart: true, ..Default::default() };
    comes_through(apart, &["sendonly", "sendonly", "recvonly"]).await;
}

async fn comes_through(manners: Manners, directions: &[&str]) {
    let house = House::new().await;
    let (mic, mut packets) = mpsc::channel(50);
    let mut viewer = house.join_with(manners, Some(mic)).await;
    let answered = viewer.sdp.lines().filter_map(|line| line.strip_prefix("a="));
    let answered: Vec<_> = answered.filter(|line| matches!(*line, "sendonly" | "sendrecv" | "recvonly")).collect();
    assert_eq!(answered, directions, "{}", viewer.sdp);
    let mut before: Option<MicPacket> = None;
    for _ in 0..25 {
        let packet = timeout(PATIENCE, packets.recv()).await.expect("a packet in time").expect("the viewer is there");
        assert_eq!((packet.format, &packet.payload), (AudioFormat::PCMU, &speech()));
        if let Some(before) = before.replace(packet.clone()) {
            let steps = packet.sequence.wrapping_sub(before.sequence);
            assert_eq!(packet.timestamp.wrapping_sub(before.timestamp), u32::from(steps) * 160, "{steps} packets on");
            assert_eq!((packet.ssrc, steps > 0), (before.ssrc, true), "its numbers came through");
        }
    }
    viewer.sees("picture and sound as well", |seen| !seen.pictures().is_empty() && !seen.audio.is_empty()).await;
    house.viewers.close(viewer.id).await;
    let closed = async { while packets.recv().await.is_some() {} };
    timeout(PATIENCE, closed).await.expect("the microphone ends with its viewer");
}

#[tokio::test]
async fn row_30_a_house_full_of_viewers_says_so_and_each_of_them_sees_the_picture_at_once() {
    let house = House::new().await;
    house.published.clone().wait_for(|count| *count >= 10).await.unwrap();
    let mut all = Vec::new();
    let mut took = Vec::new();
    for _ in 0..10 {
        let mut viewer = house.join(Manners::default()).await;
        let seen = viewer.sees("a picture", |seen| !seen.pictures().is_empty()).await;
        took.push(seen.first_packet.unwrap());
        all.push(viewer);
    }
    took.sort();
    println!(
        "from the offer to the first packet: median {:?}, slowest {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    let unborn = Viewer::new(Manners::default()).await;
    let mut waiting = 0;
    let full = loop {
        match house.viewers.answer(&unborn.offer, house.hub.hold(), None).await {
            Ok(_) => waiting += 1,
            Err(error) => break error,
        }
        assert!(waiting < 1_000, "there is no limit");
    };
    assert_eq!(full, AnswerError::Full);
    assert_eq!(waiting + all.len(), 128);
    all.iter().for_each(|viewer| viewer.task.abort());
}

const H264: fn(bool) -> FrameKind = |keyframe| FrameKind::Video { codec: VideoCodec::H264, keyframe };

#[tokio::test]
async fn a_viewer_that_finds_no_keyframe_in_the_cache_gets_one_from_the_camera() {
    let house = House::new().await;
    let camera = MediaHub::new();
    camera.publish(H264(false), Duration::ZERO, picture(1));
    let mut viewer = house.join_at(&camera, Manners::default(), None).await;
    timeout(PATIENCE, camera.keyframe_wanted()).await.expect("the camera is asked");
    camera.publish(H264(true), FRAME, picture(0));
    viewer.sees("the keyframe", |seen| !seen.pictures().is_empty()).await;
    viewer.task.abort();
}

#[tokio::test]
async fn keyframe_requests_are_answered_from_the_cache_while_it_is_fresh_and_then_by_the_camera() {
    let house = House::new().await;
    let camera = MediaHub::new();
    camera.publish(H264(true), Duration::ZERO, picture(0));
    let mut viewer = house.join_at(&camera, Manners { asks: true, ..Default::default() }, None).await;
    let seen = viewer.sees("the keyframe again", |seen| seen.pictures().len() >= 2).await;
    assert_eq!(numbers(&seen), [0, 0]);
    let counters = house.viewers.counters();
    assert!(counters.keyframe_requests_from_cache >= 1, "{counters:?}");
    timeout(PATIENCE, camera.keyframe_wanted()).await.expect("when it has grown old the camera is asked");
    viewer.task.abort();
}

#[tokio::test]
async fn a_viewer_keeps_no_picture_in_memory_that_is_past() {
    let house = House::new().await;
    let camera = MediaHub::new();
    let past = picture(0);
    camera.publish(H264(true), Duration::ZERO, past.clone());
    let mut viewer = house.join_at(&camera, Manners::default(), None).await;
    viewer.sees("the first keyframe", |seen| !seen.pictures().is_empty()).await;
    camera.publish(H264(true), FRAME, picture(30));
    let forgotten = async {
        while !past.is_unique() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, forgotten).await.expect("the picture that the viewer began with is still kept");
    viewer.task.abort();
}

#[tokio::test]
async fn a_viewer_is_sent_nothing_of_another_codec_than_was_negotiated() {
    let house = House::new().await;
    let camera = MediaHub::new();
    camera.publish(H264(true), Duration::ZERO, picture(0));
    let mut viewer = house.join_at(&camera, Manners::default(), None).await;
    viewer.sees("the keyframe", |seen| !seen.pictures().is_empty()).await;
    let h265 = FrameKind::Video { codec: VideoCodec::H265, keyframe: true };
    camera.publish(h265, FRAME, Bytes::from_static(b"\0\0\0\x01\x26\x01\xaf\x09"));
    let seen = viewer.sees("the end", |seen| seen.closed).await;
    assert_eq!(seen.pictures().len(), 1, "it was sent what it cannot decode");
}
