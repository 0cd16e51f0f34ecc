//! Viewers and listeners that misbehave on purpose by HTTP: offers that are none, sessions of others, connections that
//! never end. The rest of the house is served, and nothing stays behind.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use doorstep::clock;
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tracing::Level;

use crate::http::{listen, news};
use crate::support::fake_vendor::FakeVendor;
use crate::support::fake_voice::FakeVoice;
use crate::support::house::{self, PATIENCE};
use crate::support::http::{Reply, request, request_from};
use crate::support::log::Log;
use crate::support::viewer::{Manners, Viewer};
use crate::whep::{House, resolved};

const SDP: &str = "application/sdp";
/// Memory that an attack may have cost when it is over; what a process takes from the system it seldom gives back.
const MOST_GROWTH_KIB: usize = 48 << 10;

/// Resident, in KiB. Each test is a process of its own.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// An honest viewer who joins after the attack sees the picture.
async fn others_are_served(house: &House) {
    let viewer = Viewer::new(Manners::default()).await;
    let answer = house.post(&viewer.offer).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let (mut seen, task) = viewer.play(&answer.body, Arc::default());
    let playing = timeout(PATIENCE, seen.wait_for(|seen| seen.pictures().len() > 5)).await;
    assert!(playing.is_ok_and(|seen| seen.is_ok()), "another viewer sees nothing");
    assert_eq!(request(house.http, "DELETE", &resolved(&answer), SDP, "").await.status, 200);
    task.abort();
}

#[tokio::test]
async fn hostile_viewer_makes_offers_that_are_none() {
    let (log, _while_this_test_runs) = Log::capture(Level::INFO);
    let house = House::filming().await;
    house.doorbell.switch_stream(true);
    let good = Viewer::new(Manners::default()).await.offer;
    let m_line = "m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:0\r\n";
    let without = |what: &str| {
        let lines = good.lines().filter(|line| !line.starts_with(what)).map(|line| format!("{line}\r\n"));
        lines.collect::<String>()
    };
    let offers = [
        ("1000 m-lines", format!("{good}{}", m_line.repeat(1_000))),
        ("no m-line", good.split("m=").next().unwrap().to_owned()),
        ("no fingerprint", without("a=fingerprint")),
        ("no ufrag", without("a=ice-ufrag")),
        ("no password", without("a=ice-pwd")),
        ("no codec that is known", good.replace("H264/90000", "VP8/90000").replace("PCMU/8000", "G729/8000")),
        ("a fingerprint of nothing", good.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 zz")),
        ("a payload type beyond all", good.replace("102", "999999999999")),
        (
            "an fmtp of 50 KiB",
            good.replace("packetization-mode=1", &format!("packetization-mode=1;x={}", "y".repeat(50 << 10))),
        ),
        ("4000 SSRCs", good.replace("a=mid:0", &format!("{}a=mid:0", "a=ssrc:1 cname:x\r\n".repeat(3_000)))),
        ("NULs", good.replace('=', "\0")),
        ("nothing but letters", "a".repeat(60 << 10)),
        ("half of one", good[..good.len() / 2].to_owned()),
        ("10 MiB", "a=x\r\n".repeat(2 << 20)),
    ];
    let before = memory();
    let mut statuses = Vec::new();
    for (what, offer) in &offers {
        let sdp = [("content-type", SDP)];
        let reply = request_from(Ipv4Addr::LOCALHOST, house.http, "POST", "/whep/fake_1", &sdp, offer).await;
        // Who is refused in the middle of megabytes may be cut off before he has read why.
        let Some(reply) = reply else {
            assert!(offer.len() > 1 << 20, "{what} is not answered");
            statuses.push((*what, 0));
            continue;
        };
        statuses.push((*what, reply.status));
        assert!(matches!(reply.status, 201 | 400 | 406 | 413), "{what}: {}", reply.status);
        assert!(reply.status == 201 || reply.body.len() < 500, "{what} is answered at length: {}", reply.body);
        if reply.status == 201 {
            assert_eq!(request(house.http, "DELETE", &resolved(&reply), SDP, "").await.status, 200);
        }
    }
    println!("{statuses:?}");
    let refused = statuses.iter().filter(|(_, status)| *status != 201).count();
    assert!(refused >= 10, "only {refused} were refused: {statuses:?}");
    others_are_served(&house).await;
    let grown = memory().saturating_sub(before);
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
    assert!(log.complaints().is_empty(), "{:#?}", log.complaints());
}

#[tokio::test]
async fn hostile_viewer_comes_and_leaves_again_and_again() {
    comes_and_leaves(150, |_| true).await;
}

/// So often, with a DELETE where it takes leave.
pub(crate) async fn comes_and_leaves(times: usize, takes_leave: impl Fn(usize) -> bool) {
    let house = House::filming().await;
    house.doorbell.switch_stream(true);
    let offer = Viewer::new(Manners::default()).await.offer;
    others_are_served(&house).await;
    let before = memory();
    for n in 0..times {
        let reply = house.post(&offer).await;
        assert_eq!(reply.status, 201, "the {n}th: {reply:?}");
        if takes_leave(n) {
            assert_eq!(request(house.http, "DELETE", &resolved(&reply), SDP, "").await.status, 200);
        } else if n % 100 == 0 {
            // Those who never come are forgotten by themselves.
            house.until("room", |state| state.viewers < 20).await;
        }
    }
    others_are_served(&house).await;
    house.until("nobody is left", |state| state.viewers == 0).await;
    let (grown, counters) = (memory().saturating_sub(before), house.viewers.counters());
    println!("{times} times cost {grown} KiB");
    assert_eq!((counters.viewers, counters.sources, counters.streams), (0, 0, 0), "{counters:?}");
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
}

#[tokio::test]
async fn hostile_viewer_meddles_with_the_session_of_another() {
    let house = House::filming().await;
    let victim = Viewer::new(Manners::default()).await;
    let answer = house.post(&victim.offer).await;
    let session = resolved(&answer);
    let (mut seen, task) = victim.play(&answer.body, Arc::default());
    let id = u64::from_str_radix(session.rsplit('/').next().unwrap(), 16).unwrap();
    let near = (1..64).flat_map(|bit| [id ^ (1 << bit), id.wrapping_add(bit), id.wrapping_sub(bit)]);
    let fragment = "a=ice-ufrag:evil\r\na=candidate:9 1 udp 1 127.0.0.1 9 typ host\r\n";
    for guess in near {
        let path = format!("/whep/fake_1/{guess:016x}");
        let method = if guess % 2 == 0 { "DELETE" } else { "PATCH" };
        assert_eq!(request(house.http, method, &path, SDP, fragment).await.status, 404, "{method}");
    }
    let name = session.rsplit('/').next().unwrap();
    for odd in [format!("{name}0"), name[1..].to_owned(), format!("+{}", &name[1..]), format!("{name}%00")] {
        let status = request(house.http, "DELETE", &format!("/whep/fake_1/{odd}"), SDP, "").await.status;
        assert_eq!(status, 404, "{odd}");
    }
    let before = seen.borrow().pictures().len();
    let playing = timeout(PATIENCE, seen.wait_for(|seen| seen.pictures().len() > before + 5)).await;
    assert!(playing.is_ok_and(|seen| seen.is_ok()), "somebody else ended it");
    task.abort();
}

#[tokio::test]
async fn hostile_viewer_listens_to_events_and_never_reads() {
    let house = house::House::open().await;
    let mut deaf = Vec::new();
    for _ in 0..10 {
        let mut request = Vec::from("GET /api/events HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n");
        request.extend_from_slice(b"upgrade: websocket\r\nsec-websocket-version: 13\r\n");
        request.extend_from_slice(b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut stream = socket.connect(house.address).await.unwrap();
        stream.write_all(&request).await.unwrap();
        deaf.push(stream);
    }
    let mut honest = listen(&house, &[]).await.unwrap();
    news(&mut honest, |message| message["type"] == "snapshot").await;
    let before = memory();
    for n in 0..3_000 {
        house.vendor.ring(&format!("r{n}"));
        if n % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // A listener that falls behind begins anew with a snapshot, which has the last rings.
    let last = |message: &serde_json::Value| message.to_string().contains("\"r2999\"");
    news(&mut honest, last).await;
    let grown = memory().saturating_sub(before);
    println!("3000 rings for ten who never read cost {grown} KiB");
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
    // Whether it fills its buffers or not, it takes nobody's place: all but these may listen.
    let mut others = Vec::new();
    for _ in 0..50 {
        others.push(listen(&house, &[]).await.unwrap());
    }
}

/// A connection of this machine that is not 127.0.0.1.
async fn another_asks(house: &house::House, path: &str) -> Reply {
    let other = Ipv4Addr::new(127, 0, 0, 2);
    timeout(PATIENCE, request_from(other, house.address, "GET", path, &[], "")).await.unwrap().expect("an answer")
}

#[tokio::test]
async fn hostile_viewer_holds_every_connection_that_it_can_by_sending_a_byte_now_and_then() {
    let house = house::House::open().await;
    let mut held = Vec::new();
    for _ in 0..700 {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let _ = stream.write_all(b"POST /api/doorbells/fake_1/talk HTTP/1.1\r\nhost: lo").await;
        held.push(stream);
    }
    let asked = clock::now();
    assert_eq!(another_asks(&house, "/health").await.status, 200);
    assert!(asked.elapsed() < Duration::from_secs(3), "others waited for {:?}", asked.elapsed());
    // Those beyond its share were closed, and whoever has one of them is told.
    let mut closed = 0;
    for stream in &mut held {
        let read = timeout(Duration::from_millis(5), stream.read(&mut [0; 1])).await;
        closed += usize::from(read.is_ok());
    }
    assert!(closed >= 700 - 128, "only {closed} were closed");
    drop(held);
    let back = async {
        while request_from(Ipv4Addr::LOCALHOST, house.address, "GET", "/health", &[], "").await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, back).await.expect("its address stays shut");
}

#[tokio::test]
async fn hostile_viewer_sends_files_that_never_end() {
    let voice = FakeVoice::new();
    let house = house::House::with_voice(&voice, FakeVendor::new()).await;
    let before = memory();
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let head = "POST /api/doorbells/fake_1/say HTTP/1.1\r\nhost: localhost\r\ncontent-type: audio/wav\r\n\
                    content-length: 10485760\r\n\r\nRIFF";
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    // There is room for three such files; the others are told so and nothing of theirs is kept.
    let mut told = 0;
    let told_all = async {
        while told < 17 {
            told = 0;
            for stream in &held {
                let mut answer = [0; 12];
                let _as_much_as_has_come = stream.peek(&mut answer).now_or_never();
                told += usize::from(&answer == b"HTTP/1.1 503");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, told_all).await.is_ok(), "they wait");
    assert_eq!(another_asks(&house, "/api/doorbells").await.status, 200);
    let talk = house.post("/api/doorbells/fake_1/talk", r#"{"on":true}"#).await;
    assert_eq!(talk.status, 200, "{talk:?}");
    let grown = memory().saturating_sub(before);
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
}

/// The kernel takes what fits, so that this is about the answers that do not.
#[tokio::test]
async fn hostile_viewer_asks_for_thousands_of_answers_and_reads_none() {
    let house = house::House::with(FakeVendor::new(), None, Router::new()).await;
    let before = memory();
    let mut held = Vec::new();
    for _ in 0..20 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let stream = socket.connect(house.address).await.unwrap();
        let ask = b"GET /assets/app.js HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(500);
        let mut sent = 0;
        while let Ok(Ok(written)) = timeout(Duration::from_millis(20), async {
            stream.writable().await?;
            stream.try_write(&ask[sent % ask.len()..])
        })
        .await
        {
            sent += written;
            if sent > 200_000 {
                break;
            }
        }
        held.push(stream);
    }
    assert_eq!(another_asks(&house, "/health").await.status, 200);
    assert_eq!(house.get("/assets/app.js").await.status, 200);
    let grown = memory().saturating_sub(before);
    println!("20 who read nothing cost {grown} KiB");
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
    drop(held);
}
