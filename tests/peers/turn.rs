//! coturn (BSD, github.com/coturn/coturn; Debian's package `coturn`) as the server through which a call must go.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use doorstep::clock;
use doorstep::media::{AudioFormat, MediaHub};
use doorstep::proto::kvs::signaling::MessageType;
use doorstep::rtc::camera::{CameraPeer, IceServer, Sound, Video, Wanted};
use doorstep::rtc::kvs_call::{KvsCall, Wish};
use doorstep::secret::Password;
use doorstep::sim::vivint::doorbell::{self, Codec};
use doorstep::sim::vivint::tree::Tree;
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::kvs_hand::{KvsHand, Manner};
use crate::promise;
use crate::wait::{PATIENCE, until};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        promise("turn::a_call_that_may_only_be_relayed_goes_through_the_server", is_relayed),
        promise("turn::a_virtual_doorbell_behind_a_relay_is_reached_through_it", a_doorbell_is_relayed),
        promise("turn::a_kvs_call_whose_relay_will_go_moves_to_another_without_a_gap", moves),
        promise("turn::a_server_that_is_not_there_costs_no_more_than_the_time_that_is_given", is_not_there),
    ]
}

/// Why these tests cannot run here.
pub(crate) fn missing() -> Option<String> {
    let found = Command::new("turnserver").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_err().then(|| "the TURN tests: no `turnserver` (Debian's package `coturn`)".to_owned())
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    process: Child,
    port: u16,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(&["--lt-cred-mech", "--user=doorbell:password"]).await
    }

    /// With users whose names are times and whose passwords follow from them.
    pub(crate) async fn start_with_secret(secret: &str) -> Self {
        Self::start_with(&["--use-auth-secret", &format!("--static-auth-secret={secret}")]).await
    }

    async fn start_with(login: &[&str]) -> Self {
        let port = free_port();
        let options = ["-n", "--log-file=stdout", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp"];
        let place = ["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--allow-loopback-peers"];
        let process = Command::new("turnserver")
            .args(options)
            .args(place)
            .arg(format!("--listening-port={port}"))
            .args(["--realm=doorstep.test", "--pidfile="])
            .args(login)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, port };
        until("TURN server", async || server.answers()).await;
        server
    }

    /// A STUN binding request is answered.
    fn answers(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let request = b"\x00\x01\x00\x00\x21\x12\xa4\x42doorstepdoor";
        socket.send_to(request, ("127.0.0.1", self.port)).unwrap();
        socket.recv(&mut [0; 256]).is_ok()
    }

    pub(crate) fn uri(&self) -> String {
        format!("turn:127.0.0.1:{}", self.port)
    }

    fn as_ice(&self) -> IceServer {
        let urls = vec![self.uri()];
        IceServer { urls, username: "doorbell".to_owned(), credential: Password::new("password") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wanted(servers: &[IceServer]) -> Wanted<'_> {
    Wanted {
        hub: MediaHub::new(),
        video: Video::None,
        sound: Sound::Both(&[AudioFormat::OPUS]),
        channel: Some("channel"),
        ice_servers: servers,
        relay_only: true,
        loopback: true,
    }
}

fn assert_relayed(sdp: &str) {
    let candidates: Vec<&str> = sdp.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    assert!(!candidates.is_empty(), "nothing is relayed");
    assert!(candidates.iter().all(|candidate| candidate.contains(" typ relay ")), "{candidates:#?}");
}

async fn is_relayed() {
    let server = Server::start().await;
    let servers = [server.as_ice()];
    let mut caller = CameraPeer::offer(wanted(&servers)).await.unwrap();
    caller.gathered(PATIENCE).await;
    assert_relayed(&caller.sdp());
    let mut camera = CameraPeer::answer_to(wanted(&servers), &caller.sdp()).await.unwrap();
    camera.gathered(PATIENCE).await;
    assert_relayed(&camera.sdp());
    caller.answer(&camera.sdp()).await.unwrap();
    timeout(PATIENCE, caller.connected()).await.expect("no connection").unwrap();
    let (ours, mut theirs) = (caller.take_channel().unwrap(), camera.take_channel().unwrap());
    for n in 0..20_u8 {
        ours.send(Bytes::from(vec![n; 1_000])).await.unwrap();
        let heard = timeout(PATIENCE, theirs.next()).await.expect("nothing comes through").unwrap();
        assert_eq!(heard, vec![n; 1_000]);
    }
    let begun = clock::now();
    drop(caller);
    assert_eq!(timeout(PATIENCE, theirs.next()).await.expect("the call goes on"), None);
    // ICE alone would tell it after 10 s.
    assert!(begun.elapsed() < Duration::from_secs(2), "noticed after {:?}", begun.elapsed());
}

async fn a_doorbell_is_relayed() {
    let (server, tree, stop) = (Server::start().await, Tree::default(), CancellationToken::new());
    let _stops = stop.clone().drop_guard();
    let settings = doorbell::Settings {
        uuid: "doorbell".to_owned(),
        system: 7,
        tree: tree.clone(),
        codec: Codec::Opus,
        relay: Some(server.as_ice()),
        fault: None,
    };
    let _doorbell = doorbell::start(settings, stop);
    let mut node = tree.watch("groups/7/devices/app/msg");
    assert!(node.recv().await.unwrap().is_null());
    // The app itself may take any way, and there is but the one.
    let servers = [server.as_ice()];
    let mut app = CameraPeer::offer(Wanted { relay_only: false, ..wanted(&servers) }).await.unwrap();
    app.gathered(PATIENCE).await;
    let offer = json!({"type": "sdp", "sdpType": "offer", "sdp": app.sdp(), "from": "app", "transactionUuid": "1"});
    tree.put("groups/7/devices/doorbell/msg", offer);
    let answer = timeout(PATIENCE, node.recv()).await.expect("no answer").unwrap();
    let answer = answer["sdp"].as_str().expect("the first message is not the answer");
    assert_relayed(answer);
    app.answer(answer).await.unwrap();
    let mut channel = app.take_channel().unwrap();
    timeout(PATIENCE, channel.opened()).await.expect("no channel").unwrap();
    channel.send(Bytes::from_static(b"\x0a\x00")).await.unwrap();
    assert_eq!(timeout(PATIENCE, channel.next()).await.expect("no Pong").unwrap()[..], *b"\x12\x00");
}

async fn is_not_there() {
    let urls = vec![format!("turn:127.0.0.1:{}", free_port())];
    let servers = [IceServer { urls, username: "doorbell".to_owned(), credential: Password::new("password") }];
    let mut caller = CameraPeer::offer(Wanted { relay_only: false, ..wanted(&servers) }).await.unwrap();
    let begun = clock::now();
    caller.gathered(Duration::from_millis(500)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
    assert!(caller.sdp().contains(" typ host"), "what was known by then is missing");
}

/// The camera has one relay; that it keeps it is what the test needs, and makes no difference to the viewer.
async fn moves() {
    let server = Server::start().await;
    let camera = KvsHand::with(Manner { relay: Some(server.as_ice()), own_channel: None }).await;
    let hub = MediaHub::new();
    let mut frames = hub.listen();
    let wish = Wish { hub: hub.clone(), talk: true, channel: Some("commands") };
    let mut call = timeout(PATIENCE, KvsCall::place_by(camera.clone(), wish)).await.expect("no call").unwrap();
    let commands = call.commands().unwrap();
    let _first = camera.channel().await;
    let (mut latest, mut longest, mut shown) = (clock::now(), Duration::ZERO, 0);
    let mut noticed = false;
    // Until a good while after the second call has come about.
    while camera.asked().len() < 2 || shown < 150 {
        let frame = timeout(PATIENCE, frames.next()).await.expect("nothing comes any more").unwrap();
        if !frame.kind.is_video() {
            continue;
        }
        shown += 1;
        if shown > 10 {
            longest = longest.max(latest.elapsed());
        }
        latest = clock::now();
        if shown == 30 && !std::mem::replace(&mut noticed, true) {
            camera.notice(MessageType::ReconnectIceServer);
        }
    }
    assert!(longest < Duration::from_millis(500), "no picture for {longest:?}");
    let asked = camera.asked();
    assert!(matches!(&asked[..], [first, second] if first != second), "{asked:?}");
    // What is asked now goes the new way.
    let second = camera.channel().await;
    let answering = async {
        assert_eq!(second.next().await.as_deref(), Some("open"));
        second.send("opened").await.unwrap();
    };
    let (reply, ()) = tokio::join!(commands.ask("open", |_| true, PATIENCE), answering);
    assert_eq!(reply.as_deref(), Ok("opened"));
    assert!(timeout(Duration::ZERO, call.ended()).await.is_err(), "the call has ended");
}
