//! Cameras on the LAN whose RTSP server means harm, made by hand: each ends in a sentence, the camera beside it is seen,
//! and neither the password nor a connection goes where it should not. Real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorstep::media::FrameStream;
use doorstep::secret::Password;
use doorstep::sim::rtsp::{self, RunningRtsp, Settings};
use doorstep::vendor::vivint::devices::Lan;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Level;

use crate::support::log::Log;
use crate::support::memory::{grown_mib, resident};
use crate::support::vivint_camera::{Life, VivintCamera};

const PATIENCE: Duration = Duration::from_secs(25);
const PASSWORD: &str = "not-a-real-password";
const MOST_MIB: usize = 16;

fn lan(address: SocketAddr) -> Lan {
    let SocketAddr::V4(address) = address else { panic!("{address}") };
    Lan {
        host: *address.ip(),
        port: address.port(),
        user: "viewer".into(),
        password: Password::new(PASSWORD),
        hd: Some("live.sdp".into()),
        sd: None,
    }
}

/// What is done with a connection.
type Manners = fn(Client) -> BoxFuture<'static, Option<()>>;

/// A client of a hostile server: what it asks, and what it is told.
struct Client {
    socket: TcpStream,
    /// Where somebody else listens.
    elsewhere: SocketAddr,
    /// All that was asked.
    asked: String,
}

impl Client {
    /// The next request; `None` when there is none any more.
    async fn request(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.socket.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        self.asked += &head;
        Some(head)
    }

    async fn say(&mut self, text: impl AsRef<[u8]>) -> Option<()> {
        self.socket.write_all(text.as_ref()).await.ok()
    }

    async fn reply(&mut self, request: &str, status: &str, headers: &str, body: &str) -> Option<()> {
        let len = body.len();
        let (cseq, end) = (cseq(request), "\r\n");
        self.say(format!("RTSP/1.0 {status}{end}CSeq: {cseq}{end}{headers}Content-Length: {len}{end}{end}{body}")).await
    }

    /// Takes whatever else is said until the other side is gone.
    async fn listen(&mut self) -> Option<()> {
        loop {
            self.request().await?;
        }
    }
}

fn cseq(request: &str) -> &str {
    request.lines().find_map(|line| line.strip_prefix("CSeq: ")).unwrap()
}

/// A hostile server, somebody else who listens, and what came to either.
struct Hostile {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    strangers: Arc<AtomicUsize>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Hostile {
    async fn start(manners: Manners) -> Self {
        let (listener, other) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (address, elsewhere) = (listener.local_addr().unwrap(), other.local_addr().unwrap());
        let (connections, strangers) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (came, strayed) = (connections.clone(), strangers.clone());
        let serving = async move {
            while let Ok((socket, _)) = listener.accept().await {
                came.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(manners(Client { socket, elsewhere, asked: String::new() }));
            }
        };
        let watching = async move {
            while other.accept().await.is_ok() {
                strayed.fetch_add(1, Ordering::SeqCst);
            }
        };
        let _tasks = [tokio::spawn(serving), tokio::spawn(watching)].map(AbortOnDropHandle::new);
        Self { address, connections, strangers, _tasks }
    }
}

async fn pictures(frames: &mut FrameStream, count: usize) {
    let mut seen = 0;
    while seen < count {
        let frame = timeout(PATIENCE, frames.next()).await.expect("the good camera is not seen any more").unwrap();
        seen += usize::from(frame.kind.is_video());
    }
}

async fn good_camera() -> (RunningRtsp, Life) {
    let server = rtsp::start(Settings::default(), CancellationToken::new()).await.unwrap();
    let camera = VivintCamera::new();
    camera.change(|camera| camera.lan = Some(lan(server.address)));
    let life = Life::begin(&camera);
    (server, life)
}

/// Its life ends with this reason while the camera beside it is seen, at the cost of 16 MiB at most.
async fn ends(manners: Manners, expected: &str) -> Hostile {
    let (log, _logging) = Log::capture(Level::TRACE);
    let (_server, good) = good_camera().await;
    let _watched = good.media.hold();
    let mut frames = good.media.listen();
    pictures(&mut frames, 3).await;
    let hostile = Hostile::start(manners).await;
    let camera = VivintCamera::new();
    camera.change(|camera| camera.lan = Some(lan(hostile.address)));
    let before = resident();
    let life = Life::begin(&camera);
    let _wanted = life.media.hold();
    let ended = async { timeout(PATIENCE, life.ended()).await.expect("the life ends").unwrap_err().to_string() };
    let (why, ()) = tokio::join!(ended, pictures(&mut frames, 30));
    assert!(why.contains(expected), "{why}");
    let is_sentence = why.starts_with("No way leads to the camera's picture: on the LAN, it ")
        || why.starts_with("The camera's picture on the LAN broke off: ")
        || why.starts_with("No way leads to the camera's picture: on the LAN, no ");
    assert!(is_sentence && why.ends_with(" if this goes on."), "{why}");
    assert!(!why.contains(PASSWORD) && !why.contains("127.0.0.1"), "{why}");
    assert!(grown_mib(before) <= MOST_MIB, "{} MiB more", grown_mib(before));
    assert!(hostile.connections.load(Ordering::SeqCst) > 0, "nobody came to be harmed");
    assert_eq!(hostile.strangers.load(Ordering::SeqCst), 0, "somebody else was connected to");
    assert!(!log.text().contains(PASSWORD), "the password in the log");
    hostile
}

/// What a picture is described with.
const PICTURE: &str = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n";
const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n";

/// `retina` 0.4.21 keeps what belongs to a message that has no end, and can be told no limit: what bounds this is the 4 s
/// that a way has to lead to a picture, and how fast the camera's line is. Here it is one of 24 Mbit/s.
#[tokio::test]
async fn hostile_camera_sends_headers_without_an_end() {
    ends(
        |mut client| {
            Box::pin(async move {
                client.request().await?;
                client.say("RTSP/1.0 200 OK\r\n").await?;
                for n in 0.. {
                    client.say(format!("X-{n}: {}\r\n", "a".repeat(30_000))).await?;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                None
            })
        },
        "it does not answer",
    )
    .await;
}

#[tokio::test]
async fn hostile_camera_answers_another_request_than_was_made() {
    ends(
        |mut client| {
            Box::pin(async move {
                loop {
                    let request = client.request().await?;
                    let other = request.replace(cseq(&request), "4294967295999");
                    client.reply(&other, "200 OK", "", "").await?;
                }
            })
        },
        "it sends what is no RTSP",
    )
    .await;
}

#[tokio::test]
async fn hostile_camera_sends_data_whose_lengths_lie_before_it_was_asked() {
    ends(
        |mut client| {
            Box::pin(async move {
                let request = client.request().await?;
                // The answer is inside of what says that it is 65 535 bytes long, and more of it never comes.
                client.say(b"$\x00\xFF\xFF\x80\x60").await?;
                client.reply(&request, "200 OK", "Content-Type: application/sdp\r\n", SESSION).await?;
                client.listen().await
            })
        },
        "it does not answer",
    )
    .await;
}

#[tokio::test]
async fn hostile_camera_describes_a_thousand_tracks() {
    ends(
        |mut client| {
            Box::pin(async move {
                loop {
                    let request = client.request().await?;
                    let tracks = (0..1_000).map(|n| format!("{PICTURE}a=control:track{n}\r\n")).collect::<String>();
                    match request.starts_with("DESCRIBE") {
                        true => {
                            let sdp = format!("{SESSION}{tracks}");
                            client.reply(&request, "200 OK", "Content-Type: application/sdp\r\n", &sdp).await?;
                        }
                        false => client.reply(&request, "454 Session Not Found", "", "").await?,
                    }
                }
            })
        },
        "it ",
    )
    .await;
}

#[tokio::test]
async fn hostile_camera_sends_to_another_host() {
    ends(
        |mut client| {
            Box::pin(async move {
                loop {
                    let request = client.request().await?;
                    let there = format!("Location: rtsp://{}/live.sdp\r\n", client.elsewhere);
                    client.reply(&request, "302 Found", &there, "").await?;
                }
            })
        },
        "it refuses with status 302",
    )
    .await;
}

/// What is at another host is asked for over the connection that there is, and nowhere else.
#[tokio::test]
async fn hostile_camera_has_its_tracks_at_another_host() {
    ends(
        |mut client| {
            Box::pin(async move {
                loop {
                    let request = client.request().await?;
                    let there = format!("rtsp://{}/track0", client.elsewhere);
                    match request.starts_with("DESCRIBE") {
                        true => {
                            let sdp = format!("{SESSION}{PICTURE}a=control:{there}\r\n");
                            let headers = format!("Content-Type: application/sdp\r\nContent-Base: {there}/\r\n");
                            client.reply(&request, "200 OK", &headers, &sdp).await?;
                        }
                        false => client.reply(&request, "404 Not Found", "", "").await?,
                    }
                }
            })
        },
        "it has no picture at the address",
    )
    .await;
}

#[tokio::test]
async fn hostile_camera_asks_for_the_login_again_and_again() {
    let hostile = ends(
        |mut client| {
            Box::pin(async move {
                for nonce in 0.. {
                    let request = client.request().await?;
                    assert!(!request.contains(PASSWORD));
                    let ask = format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\", stale=TRUE\r\n");
                    client.reply(&request, "401 Unauthorized", &ask, "").await?;
                }
                None
            })
        },
        "it refuses the login",
    )
    .await;
    assert!(hostile.connections.load(Ordering::SeqCst) <= 2, "the same password again and again");
}

/// One byte a second, so that something always comes.
#[tokio::test]
async fn hostile_camera_drips() {
    ends(
        |mut client| {
            Box::pin(async move {
                client.request().await?;
                for byte in "RTSP/1.0 200 OK\r\n".bytes().cycle() {
                    client.say([byte]).await?;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                None
            })
        },
        "it does not answer",
    )
    .await;
}

/// Plays, and what comes then says of every packet that it belongs to a picture without an end.
#[tokio::test]
async fn hostile_camera_sends_a_picture_without_an_end() {
    ends(
        |mut client| {
            Box::pin(async move {
                let mut playing = false;
                while !playing {
                    let request = client.request().await?;
                    playing = request.starts_with("PLAY");
                    let sdp = format!("{SESSION}{PICTURE}a=control:track0\r\n");
                    let (headers, body) = match request.split(' ').next().unwrap() {
                        "DESCRIBE" => ("Content-Type: application/sdp\r\n", sdp.as_str()),
                        "SETUP" => {
                            ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000001\r\nSession: 1\r\n", "")
                        }
                        _ => ("Session: 1\r\n", ""),
                    };
                    client.reply(&request, "200 OK", headers, body).await?;
                }
                for sequence in 0_u16.. {
                    // FU-A of a keyframe that begins once and does not end, all of one moment.
                    let fragment = if sequence == 0 { 0x85 } else { 0x05 };
                    let mut packet = vec![b'$', 0, 0x05, 0x78, 0x80, 96];
                    packet.extend(sequence.to_be_bytes());
                    packet.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x7C, fragment]);
                    packet.resize(4 + 0x0578, 0xA5);
                    client.say(&packet).await?;
                    if sequence.is_multiple_of(16) {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
                None
            })
        },
        "no picture has come for 10 s",
    )
    .await;
}
