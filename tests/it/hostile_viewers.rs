//! Viewers that were let in and misbehave on purpose, by UDP: whatever one of them does, the others see every picture,
//! and what it costs is bounded. (What they do by HTTP is in `hostile_whep`.)

use std::time::{Duration, Instant};

use bytes::Bytes;
use doorstep::clock;
use doorstep::rtc::Counters;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tracing::Level;

use crate::support::log::Log;
use crate::support::viewer::{Manners, Prank, Viewer};
use crate::viewers::{House, Joined, forged_check, numbers};

/// Pictures that the others are to see without a gap, once the mischief is under way: two thirds of a second.
const UNDISTURBED: usize = 20;

/// A house in which somebody watches in peace.
struct Scene {
    house: House,
    honest: Joined,
}

impl Scene {
    async fn new() -> Self {
        let house = House::new().await;
        let mut honest = house.join(Manners::default()).await;
        honest.sees("a picture", |seen| !seen.pictures().is_empty()).await;
        Self { house, honest }
    }

    /// A hostile one, which is let in and sees the picture, and how it is told what to do.
    async fn enter(&self, manners: Manners) -> (Joined, mpsc::Sender<Prank>) {
        let (mut hostile, pranks) = self.house.join_hostile(&self.house.hub, manners).await;
        hostile.sees("a picture", |seen| !seen.pictures().is_empty()).await;
        (hostile, pranks)
    }

    fn counters(&self) -> Counters {
        self.house.viewers.counters()
    }

    /// The one who watches in peace has missed nothing, and misses nothing from now on.
    async fn nobody_else_suffers(&mut self) {
        let before = self.honest.seen.borrow().pictures().len();
        let seen = self.honest.sees("pictures", |seen| seen.pictures().len() >= before + UNDISTURBED).await;
        let gaps: Vec<_> =
            numbers(&seen).windows(2).filter(|pair| pair[0] + 1 != pair[1]).map(<[u32]>::to_vec).collect();
        assert!(gaps.is_empty(), "another viewer missed pictures: {gaps:?}");
    }
}

/// What a token bucket of so much a second lets pass in this time.
fn allowed(a_second: u64, took: Duration) -> u64 {
    a_second + (a_second as f64 * took.as_secs_f64()).ceil() as u64
}

#[tokio::test]
async fn hostile_viewer_asks_for_ten_thousand_keyframes() {
    let mut scene = Scene::new().await;
    let (_hostile, pranks) = scene.enter(Manners::default()).await;
    let (before, begun) = (scene.counters(), Instant::from(clock::now()));
    for _ in 0..10_000 {
        let ask: Vec<Box<dyn rtc::rtcp::Packet>> = vec![Box::new(PictureLossIndication::default())];
        pranks.send(Prank::Rtcp(ask)).await.unwrap();
    }
    scene.nobody_else_suffers().await;
    let (after, took) = (scene.counters(), Instant::from(clock::now()) - begun);
    let heard = after.keyframe_requests - before.keyframe_requests;
    println!("{heard} of 10000 requests were looked at in {took:?}");
    assert!(heard >= 100, "it did not ask");
    assert!(heard <= allowed(1_000, took), "{heard} in {took:?}");
    // Each replay is a GOP of at most 30 pictures here: 24 kB and 29 of 3.5 kB on average, at most each 500 ms.
    let sent = after.bytes_sent - before.bytes_sent;
    let most = (130_000.0 * (2.0 * took.as_secs_f64() + 1.0) + 2.0 * 300_000.0 * took.as_secs_f64()) as u64;
    assert!(sent < most, "{sent} bytes were sent, of {most} at most");
}

#[tokio::test]
async fn hostile_viewer_has_megabytes_sent_again_by_each_datagram() {
    let mut scene = Scene::new().await;
    let (mut hostile, pranks) = scene.enter(Manners::default()).await;
    let seen = hostile.sees("many packets", |seen| seen.video.len() > 200).await;
    let (ssrc, newest) = (seen.tally.ssrc, *seen.video.keys().last().unwrap() as u16);
    let (before, begun) = (scene.counters(), Instant::from(clock::now()));
    // Each asks for the same 170 packets 17 times over.
    let pairs = (0..10).map(|n| NackPair { packet_id: newest.wrapping_sub(17 * n + 17), lost_packets: 0xffff });
    let nacks: Vec<NackPair> = pairs.collect::<Vec<_>>().repeat(17);
    for _ in 0..200 {
        let nack = TransportLayerNack { sender_ssrc: 1, media_ssrc: ssrc, nacks: nacks.clone() };
        pranks.send(Prank::Rtcp(vec![Box::new(nack)])).await.unwrap();
    }
    let asked = 200 * 17 * 170;
    scene.nobody_else_suffers().await;
    let (after, took) = (scene.counters(), Instant::from(clock::now()) - begun);
    let sent = after.datagrams_sent - before.datagrams_sent;
    println!("{sent} datagrams were sent in {took:?}, of {asked} that were asked for");
    assert!(sent >= 500, "nothing was sent again");
    // Both see the picture and its sound: 200 packets a second each, with reports.
    assert!(sent <= allowed(2_000, took) + allowed(600, took), "{sent} in {took:?}");
}

#[tokio::test]
async fn hostile_viewer_floods_the_port_with_forged_checks_and_noise() {
    let (log, _while_this_test_runs) = Log::capture(Level::INFO);
    let mut scene = Scene::new().await;
    let unborn = Viewer::new(Manners::default()).await;
    let answered = scene.house.viewers.answer(&unborn.offer, scene.house.hub.hold(), None).await.unwrap();
    let ufrag = answered.sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap();
    let forger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    forger.connect(("127.0.0.1", scene.house.viewers.port())).await.unwrap();
    let (signed, unsigned) = (forged_check(&format!("{ufrag}:x"), true), forged_check(&format!("{ufrag}:x"), false));
    let stranger = forged_check("nobody:x", true);
    let mut binding_request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    binding_request.extend([7; 12]);
    let noise: [&[u8]; 8] =
        [&signed, &unsigned, &stranger, &binding_request, &[0x80; 1_200], &[22; 1_200], &[0xff; 30], &[]];
    let before = scene.counters();
    for round in 0..4_000 {
        for datagram in noise {
            let _ = forger.try_send(datagram);
        }
        if round % 8 == 0 {
            tokio::task::yield_now().await;
        }
    }
    scene.nobody_else_suffers().await;
    let after = scene.counters();
    let refused = after.datagrams_refused - before.datagrams_refused;
    println!("{refused} of 32000 datagrams were read, and refused");
    assert!(refused > 5_000, "only {refused} arrived");
    assert_eq!(after.sources, before.sources, "a forged check taught an address");
    assert!(forger.try_recv(&mut [0; 100]).is_err(), "the forger was answered");
    assert!(log.lines().len() < 20, "{:#?}", &log.lines()[..20]);
}

#[tokio::test]
async fn hostile_viewer_calls_itself_by_thousands_of_names() {
    let mut scene = Scene::new().await;
    let (mut hostile, pranks) = scene.enter(Manners::default()).await;
    let before = scene.counters();
    for ssrc in 0..3_000_u32 {
        // RTP and RTCP by turns, with a tag that cannot be right.
        let mut packet = if ssrc % 2 == 0 { vec![0x80, 0, 0, 1, 0, 0, 0, 0] } else { vec![0x80, 201, 0, 7] };
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0x5a; 40]);
        pranks.send(Prank::Raw(packet)).await.unwrap();
        if ssrc % 8 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    scene.house.counted("its names are refused", |now| now.datagrams_refused >= before.datagrams_refused + 2_900).await;
    let pictures = hostile.seen.borrow().pictures().len();
    hostile.sees("the picture, which it may see", |seen| seen.pictures().len() > pictures + 5).await;
    scene.nobody_else_suffers().await;
}

#[tokio::test]
async fn hostile_viewer_sends_garbage_as_dtls_and_ends_no_session_by_a_farewell_in_the_clear() {
    let mut scene = Scene::new().await;
    let (mut hostile, pranks) = scene.enter(Manners::default()).await;
    let record = |kind: u8, epoch: u8, body: &[u8]| {
        let mut record = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 9];
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    };
    let mut random = crate::support::random::Random(20_261_122);
    for n in 0..500_u32 {
        let mut garbage = vec![20 + (n % 44) as u8];
        garbage.extend((0..random.below(300)).map(|_| random.below(256) as u8));
        // A warning and a fatal alert, a ClientHello of nothing, a handshake that claims 16 MiB, half a header.
        let all = [
            garbage,
            record(21, 0, &[1, 0]),
            record(21, 0, &[2, 40]),
            record(21, 1, &[1, 0]),
            record(22, 0, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            record(22, 0, &[1, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]),
            vec![22, 0xfe, 0xfd, 0, 0],
        ];
        for datagram in all {
            pranks.send(Prank::Raw(datagram)).await.unwrap();
        }
        if n % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let pictures = hostile.seen.borrow().pictures().len();
    hostile.sees("its own picture still", |seen| seen.pictures().len() > pictures + 5).await;
    scene.nobody_else_suffers().await;
}

/// A datagram that is longer than any packet, and one of nothing, at a rate that nobody speaks at.
#[tokio::test]
async fn hostile_viewer_speaks_in_packets_of_nothing_and_of_64_kib_that_jump_in_time() {
    let mut scene = Scene::new().await;
    let manners = Manners { speaks: true, ..Manners::default() };
    let (_hostile, pranks) = scene.enter(manners).await;
    let (before, begun) = (scene.counters(), Instant::from(clock::now()));
    for n in 0..5_000_u32 {
        let payload = match n % 100 {
            0 => Bytes::from(vec![0x55; 65_000]),
            1..50 => Bytes::new(),
            _ => Bytes::from_static(&[0x55; 160]),
        };
        let (sequence, timestamp) = ((n * 7_919) as u16, n.wrapping_mul(0x9e37_79b9));
        pranks.send(Prank::Rtp { sequence, timestamp, payload }).await.unwrap();
    }
    scene.nobody_else_suffers().await;
    let (after, took) = (scene.counters(), Instant::from(clock::now()) - begun);
    let heard = after.microphone_packets - before.microphone_packets;
    println!("{heard} of 5000 packets were taken in {took:?}");
    assert!((10..=allowed(1_000, took)).contains(&heard), "{heard} in {took:?}");
}

/// Where an offer points, connectivity checks go (RFC 8445 §6.1.4) and nothing else, to 32 addresses at most and 41
/// times at most: without them nobody behind a firewall of his own is reached. Pictures and DTLS wait for an answer
/// with the right credentials.
#[tokio::test]
async fn hostile_viewer_names_a_stranger_a_thousand_times_as_its_address() {
    let mut scene = Scene::new().await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let others: Vec<_> =
        std::iter::repeat_with(|| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).take(40).collect();
    let ports = others.iter().chain([]).map(|socket| socket.local_addr().unwrap().port());
    let ports: Vec<u16> = std::iter::once(stranger.local_addr().unwrap().port()).chain(ports).collect();
    let mut unborn = Viewer::new(Manners::default()).await;
    let candidates: String = (0..1_000)
        .map(|n| format!("a=candidate:{n} 1 udp {} 127.0.0.1 {} typ host\r\n", 2_000_000 - n, ports[n % ports.len()]))
        .collect();
    let end = unborn.offer.find("a=mid:0").unwrap();
    unborn.offer.insert_str(end, &candidates);
    let offered = unborn.offer.len();
    let answered = scene.house.viewers.answer(&unborn.offer, scene.house.hub.hold(), None).await.unwrap();
    assert!(scene.house.viewers.add_candidates(answered.viewer, &candidates).await);
    let before = scene.counters().never_connected;
    scene.nobody_else_suffers().await;
    scene.house.counted("it is given up", |now| now.never_connected > before).await;
    let (mut bytes, mut datagrams, mut buffer) = (0, 0, [0; 2_048]);
    let mut count = |received: std::io::Result<usize>, buffer: &[u8]| {
        let Ok(length) = received else { return false };
        assert!(matches!(buffer[0], 0 | 1) && length < 200, "something else than a check was sent to a stranger");
        (bytes, datagrams) = (bytes + length, datagrams + 1);
        true
    };
    while count(stranger.try_recv(&mut buffer), &buffer) {}
    for other in others {
        other.set_nonblocking(true).unwrap();
        while count(other.recv(&mut buffer), &buffer) {}
    }
    println!("an offer of {offered} bytes had {datagrams} datagrams of {bytes} bytes in all sent to strangers");
    assert!(datagrams > 0, "nothing was tried");
    assert!(datagrams <= 32 * 41, "{datagrams} datagrams were sent to addresses that have never answered");
}
