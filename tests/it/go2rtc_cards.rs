//! `/api/ws` and `/api/streams` as go2rtc itself and the cards that are made for it use them: the WebRTC camera card,
//! which connects through Home Assistant, and the advanced camera card, which connects from the browser.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use doorstep::clock;
use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{Accounts, Doorbell, Registry};
use doorstep::http::{Entrance, Face, MediaKeys, Tickets, Tokens, go2rtc, router, serve, whep};
use doorstep::media::g711::Law;
use doorstep::model::{Capability, DeviceId, MqttLink, State};
use doorstep::rtc::Viewers;
use doorstep::secret::Token;
use futures_util::{SinkExt, StreamExt};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::browser_whep::film;
use crate::support::browser::Browser;
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::NoSetup;
use crate::support::http::{Reply, request_with};
use crate::support::viewer::{Manners, Viewer, speech, switchboard};

const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "4f6b0c7d9e2a815346fb7cd02e918a5d";
const WS: &str = "/api/ws?src=fake_1";

struct House {
    vendor: Arc<FakeVendor>,
    doorbell: Doorbell,
    viewers: Viewers,
    keys: MediaKeys,
    http: SocketAddr,
    /// What is served there.
    router: Router,
    _stop: DropGuard,
}

impl House {
    /// With a camera that films whenever it is watched.
    async fn filming() -> Self {
        let vendor = FakeVendor::new();
        vendor.films();
        Self::with(vendor, None).await
    }

    async fn with(vendor: Arc<FakeVendor>, token: Option<&str>) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, vendor, token).await
    }

    /// With viewers met at this address.
    async fn at(bind: Ipv4Addr, vendor: Arc<FakeVendor>, token: Option<&str>) -> Self {
        let stop = CancellationToken::new();
        let viewers = switchboard(bind.into(), &stop).await;
        let doorbells = Registry::default();
        let doorbell = vendor.doorbell(&stop);
        doorbells.insert(doorbell.clone());
        vendor.lives(1).await;
        let no_wishes = Wishes {
            options: HashMap::new(),
            locks: BTreeSet::new(),
            voice: Arc::new(Mute),
            open_talks: Default::default(),
        };
        let keys = MediaKeys::default();
        let face = Face {
            doorbells: doorbells.clone(),
            accounts: Accounts::start(vec![], no_wishes, doorbells.clone(), Registry::default(), &stop),
            voice: Arc::new(Mute),
            setup: Arc::new(NoSetup),
            mqtt: watch::channel(MqttLink::Off).1,
            whep: whep::Routes::new(doorbells.clone(), viewers.clone()),
            go2rtc: go2rtc::Routes::new(doorbells, viewers.clone(), "porch-"),
            counters: Arc::new(Vec::new),
            version: "1.2.3",
            direct: None,
            tickets: Tickets::default(),
            keys: keys.clone(),
            names: vec![],
            origins: vec![],
            demo: false,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap();
        let entrance = Entrance::Direct { tokens: Tokens::of_config(token.map(Token::new).as_ref()) };
        let router = router(face, &entrance, http).unwrap();
        tokio::spawn(serve(listener, &entrance, router.clone(), stop.clone()));
        Self { vendor, doorbell, viewers, keys, http, router, _stop: stop.drop_guard() }
    }

    async fn get(&self, path: &str) -> Reply {
        request_with(self.http, "GET", path, &[], "").await
    }

    /// A socket, or the status of its refusal.
    async fn dial(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
        let mut request = format!("ws://{}{path}", self.http).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(Error::Http(refusal)) => Err(refusal.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    async fn socket(&self) -> Socket {
        self.dial(WS, &[]).await.unwrap()
    }

    async fn until(&self, what: &str, condition: impl FnMut(&State) -> bool) {
        let mut state = self.doorbell.state();
        let reached = timeout(PATIENCE, state.wait_for(condition)).await;
        assert!(reached.is_ok_and(|state| state.is_ok()), "{what}: {:?}", self.doorbell.state().borrow());
    }
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn say(&mut self, kind: &str, value: impl Into<Value>) {
        self.send(json!({ "type": kind, "value": value.into() }).to_string()).await;
    }

    async fn send(&mut self, text: String) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Type and value of the next message.
    async fn hear(&mut self) -> (String, Value) {
        let next = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => return text,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("the socket ended: {other:?}"),
                }
            }
        };
        let text = timeout(PATIENCE, next).await.expect("something is said");
        let mut message: Value = serde_json::from_str(&text).unwrap();
        (message["type"].as_str().unwrap().to_owned(), message["value"].take())
    }

    async fn hears_error(&mut self) -> String {
        let (kind, value) = self.hear().await;
        assert_eq!(kind, "error", "{value}");
        value.as_str().unwrap().to_owned()
    }

    async fn answer(&mut self) -> String {
        let (kind, value) = self.hear().await;
        assert_eq!(kind, "webrtc/answer", "{value}");
        value.as_str().unwrap().to_owned()
    }

    /// Why the other side closes; nothing else is said before.
    async fn is_closed(&mut self) -> Option<CloseCode> {
        let end = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    None | Some(Err(_)) => return None,
                    other => panic!("still talking: {other:?}"),
                }
            }
        };
        timeout(PATIENCE, end).await.expect("the socket is closed")
    }
}

/// The offer without its candidates, and these.
fn trickled(offer: &str) -> (String, Vec<String>) {
    let (candidates, rest): (Vec<_>, Vec<_>) = offer.lines().partition(|line| line.starts_with("a=candidate:"));
    let rest: String = rest.iter().map(|line| format!("{line}\r\n")).collect();
    (rest, candidates.iter().map(|line| line.trim_start_matches("a=").to_owned()).collect())
}

#[tokio::test]
async fn go2rtc_gets_picture_and_talk_and_closes_the_socket_when_it_is_connected() {
    let house = House::filming().await;
    let mut socket = house.socket().await;
    let viewer = Viewer::new(Manners { speaks: true, apart: true, ..Default::default() }).await;
    let (offer, candidates) = trickled(&viewer.offer);
    socket.say("webrtc/offer", offer).await;
    for candidate in candidates {
        socket.say("webrtc/candidate", candidate).await;
    }
    let answer = socket.answer().await;
    let directions: Vec<_> = answer.lines().filter(|line| line.ends_with("only") || *line == "a=inactive").collect();
    assert_eq!(directions, ["a=sendonly", "a=sendonly", "a=recvonly"], "{answer}");
    let (mut seen, task) = viewer.play(&answer, Arc::default());
    let connected = timeout(PATIENCE, seen.wait_for(|seen| seen.connected)).await;
    assert!(connected.is_ok_and(|seen| seen.is_ok()));
    socket.0.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.0.next().await {}

    let pictures = seen.borrow().video.len();
    let playing = timeout(PATIENCE, seen.wait_for(|seen| seen.video.len() > pictures + 20)).await;
    assert!(playing.is_ok_and(|seen| seen.is_ok()), "the picture went with the socket");
    house.until("the microphone has the speaker", |state| state.talking && state.viewers == 1).await;
    let heard = timeout(PATIENCE, house.vendor.until("speech", |camera| camera.heard.len() >= 20)).await.unwrap();
    assert!(heard.heard.iter().all(|piece| *piece == speech()), "the speech was changed on its way");
    task.abort();
    house.until("nobody watches", |state| state.viewers == 0).await;
}

/// What both cards do in the browser: the microphone is offered first and in a section of its own, candidates are
/// trickled, other ways are asked for on the same socket, and the socket is closed when the picture is there.
const CARD: &str = r#"
(async () => {
    const ws = new WebSocket(`ws://${location.host}/api/ws?src=fake_1`);
    await new Promise(resolve => ws.addEventListener('open', resolve));
    const send = message => ws.send(JSON.stringify(message));
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers: [], sdpSemantics: 'unified-plan' });
    const errors = [];
    ws.addEventListener('message', event => {
        const message = JSON.parse(event.data);
        if (message.type === 'webrtc/answer') pc.setRemoteDescription({ type: 'answer', sdp: message.value });
        if (message.type === 'webrtc/candidate') pc.addIceCandidate({ candidate: message.value, sdpMid: '0' });
        if (message.type === 'error') errors.push(message.value);
    });
    send({ type: 'mse', value: 'avc1.640029,mp4a.40.2' });
    pc.addEventListener('icecandidate', event =>
        send({ type: 'webrtc/candidate', value: event.candidate ? event.candidate.toJSON().candidate : '' }));
    const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
    microphone.getTracks().forEach(track => pc.addTransceiver(track, { direction: 'sendonly' }));
    for (const kind of ['video', 'audio']) pc.addTransceiver(kind, { direction: 'recvonly' });
    const offer = await pc.createOffer();
    await pc.setLocalDescription(offer);
    send({ type: 'webrtc/offer', value: offer.sdp });
    await new Promise((resolve, reject) => pc.addEventListener('connectionstatechange', () => {
        if (pc.connectionState === 'connected') resolve();
        if (pc.connectionState === 'failed') reject(new Error('failed'));
    }));
    ws.close();
    const received = pc.getTransceivers().filter(each => each.currentDirection === 'recvonly');
    const video = document.createElement('video');
    video.muted = true;
    video.srcObject = new MediaStream(received.map(each => each.receiver.track));
    await video.play();
    const decoded = async () => {
        let frames = 0;
        (await pc.getStats()).forEach(stat => { if (stat.kind === 'video') frames = stat.framesDecoded ?? frames });
        return frames;
    };
    while (await decoded() < 60) await new Promise(resolve => setTimeout(resolve, 100));
    return { errors, directions: pc.getTransceivers().map(each => each.currentDirection), width: video.videoWidth };
})()"#;

#[tokio::test]
async fn a_browser_with_one_of_the_cards_sees_the_picture_and_is_heard() {
    let house = House::at(Ipv4Addr::UNSPECIFIED, FakeVendor::new(), None).await;
    tokio::spawn(film(house.doorbell.media().clone()));
    let browser = Browser::launch().await;
    // Any address of ours will do to be of the same origin.
    let page = browser.open(&format!("http://{}/health", house.http)).await;
    page.until("location.host").await;
    let report = page.value(CARD).await;
    let expected =
        json!({ "errors": ["mse: not supported"], "directions": ["sendonly", "recvonly", "recvonly"], "width": 640 });
    assert_eq!(report, expected);
    let heard = timeout(PATIENCE, house.vendor.until("speech", |camera| camera.heard.len() >= 25)).await.unwrap().heard;
    let loudest = heard.iter().flatten().map(|&byte| Law::Mu.decode(byte).unsigned_abs()).max();
    assert!(loudest > Some(1_000), "the loudest sample is {loudest:?}");
}

#[tokio::test]
async fn an_offer_as_an_object_is_answered_as_one() {
    let house = House::filming().await;
    let mut socket = house.socket().await;
    let viewer = Viewer::new(Manners::default()).await;
    let servers = json!([{ "urls": ["stun:stun.example:3478"] }]);
    socket.say("webrtc", json!({ "type": "offer", "sdp": viewer.offer, "ice_servers": servers })).await;
    let (kind, value) = socket.hear().await;
    assert_eq!((kind.as_str(), &value["type"]), ("webrtc", &json!("answer")), "{value}");
    let (mut seen, _task) = viewer.play(value["sdp"].as_str().unwrap(), Arc::default());
    let playing = timeout(PATIENCE, seen.wait_for(|seen| seen.video.len() > 5)).await;
    assert!(playing.is_ok_and(|seen| seen.is_ok()), "the picture does not come");
}

#[tokio::test]
async fn candidates_are_taken_before_the_offer_and_after_the_answer() {
    let house = House::filming().await;
    let mut socket = house.socket().await;
    let (early, late) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let candidate = |socket: &UdpSocket| {
        format!("candidate:1 1 udp 2130706431 127.0.0.1 {} typ host", socket.local_addr().unwrap().port())
    };
    socket.say("webrtc/candidate", "").await;
    socket.say("webrtc/candidate", candidate(&early)).await;
    for _ in 0..100 {
        socket.say("webrtc/candidate", "candidate:9 1 udp 1 name.local 9 typ host").await;
    }
    let (offer, _) = trickled(&Viewer::new(Manners::default()).await.offer);
    socket.say("webrtc/offer", offer).await;
    socket.answer().await;
    socket.say("webrtc/candidate", candidate(&late)).await;
    socket.say("webrtc/candidate", "").await;
    for place in [early, late] {
        let checked = timeout(PATIENCE, place.recv_from(&mut [0; 1_500])).await;
        assert!(checked.is_ok(), "a candidate was lost");
    }
}

#[tokio::test]
async fn a_card_that_wants_other_ways_first_is_told_and_comes_back_to_this_one() {
    let house = House::filming().await;
    let mut socket = house.socket().await;
    for (kind, value) in
        [("mse", json!("avc1.640029,mp4a.40.2")), ("hls", json!("")), ("mp4", json!("")), ("mjpeg", Value::Null)]
    {
        socket.say(kind, value).await;
        assert_eq!(socket.hears_error().await, format!("{kind}: not supported"));
    }
    // As the card says it, without a value.
    socket.send(json!({ "type": "mjpeg" }).to_string()).await;
    assert_eq!(socket.hears_error().await, "mjpeg: not supported");
    socket.say("webrtc/offer", Viewer::new(Manners::default()).await.offer).await;
    socket.answer().await;
}

#[tokio::test]
async fn a_refused_offer_has_its_reason_and_may_be_followed_by_a_better_one() {
    let house = House::filming().await;
    let mut socket = house.socket().await;
    let good = Viewer::new(Manners::default()).await.offer;
    for (offer, reason) in [
        (json!("hello"), "This is not a WebRTC offer"),
        (json!(good.replace("H264/90000", "VP8/90000")), "This doorbell sends H.264"),
        (json!(7), "not understood"),
    ] {
        socket.say("webrtc/offer", offer).await;
        let told = socket.hears_error().await;
        assert!(told.starts_with("webrtc/offer: ") && told.contains(reason) && told.ends_with('.'), "{told}");
    }
    assert_eq!(house.viewers.counters().viewers, 0);
    socket.say("webrtc/offer", good).await;
    socket.answer().await;
}

#[tokio::test]
async fn a_socket_has_one_call_at_a_time() {
    let house = House::filming().await;
    let mut socket = house.socket().await;
    for _ in 0..3 {
        socket.say("webrtc/offer", Viewer::new(Manners::default()).await.offer).await;
        socket.answer().await;
    }
    house.until("one is left", |state| state.viewers == 1).await;
    let counted = async {
        while house.viewers.counters().joined < 3 || house.viewers.counters().viewers > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, counted).await.expect("each call takes the place of the one before");

    // The camera of this one does not answer.
    let house = House::with(FakeVendor::new(), None).await;
    let mut socket = house.socket().await;
    let offer = Viewer::new(Manners::default()).await.offer;
    socket.say("webrtc/offer", offer.clone()).await;
    socket.say("webrtc/offer", offer).await;
    assert_eq!(socket.hears_error().await, "webrtc/offer: Another offer of this socket is being answered.");
}

#[tokio::test]
async fn whoever_leaves_before_the_answer_lets_the_camera_go() {
    let house = House::with(FakeVendor::new(), None).await;
    let mut socket = house.socket().await;
    socket.say("webrtc/offer", Viewer::new(Manners::default()).await.offer).await;
    house.until("the camera is wanted", |state| state.viewers == 1).await;
    let left = clock::now();
    drop(socket);
    house.until("the camera is let go", |state| state.viewers == 0).await;
    assert!(left.elapsed() < Duration::from_secs(5), "it was held for {:?}", left.elapsed());
}

#[tokio::test]
async fn a_camera_that_does_not_answer_is_told_within_ten_seconds() {
    let house = House::with(FakeVendor::new(), None).await;
    let mut socket = house.socket().await;
    let asked = clock::now();
    socket.say("webrtc/offer", Viewer::new(Manners::default()).await.offer).await;
    assert_eq!(socket.hears_error().await, "webrtc/offer: The camera did not answer within 10 s.");
    assert!(asked.elapsed() < Duration::from_secs(11), "it took {:?}", asked.elapsed());
}

#[tokio::test]
async fn an_unknown_stream_is_told_and_closed() {
    let house = House::filming().await;
    for path in ["/api/ws", "/api/ws?src=", "/api/ws?src=garden", "/api/ws?src=..%2Ffake_1", "/api/ws?dst=fake_1"] {
        let mut socket = house.dial(path, &[]).await.unwrap();
        assert_eq!(socket.hears_error().await, "webrtc/offer: There is no doorbell of this id.", "{path}");
        assert_eq!(socket.is_closed().await, Some(CloseCode::Normal), "{path}");
    }
    for path in ["/api/ws?src=porch-fake_1", "/api/ws?src=fake_1&name=camera.front_door"] {
        let mut socket = house.dial(path, &[]).await.unwrap();
        socket.say("mse", "").await;
        assert_eq!(socket.hears_error().await, "mse: not supported", "{path}");
    }
    assert_eq!(house.get(WS).await.status, 426);
}

#[tokio::test]
async fn what_is_no_message_ends_the_socket_and_nothing_else() {
    let house = House::filming().await;
    for text in ["hello", "[]", "{\"value\":7}", "{\"type\":"] {
        let mut socket = house.socket().await;
        socket.send(text.to_owned()).await;
        assert!(socket.hears_error().await.starts_with("Send JSON"), "{text}");
        assert_eq!(socket.is_closed().await, Some(CloseCode::Policy), "{text}");
    }
    let mut socket = house.socket().await;
    socket.0.send(Message::binary(vec![0; 100])).await.unwrap();
    assert_eq!(socket.is_closed().await, Some(CloseCode::Policy));
    let mut socket = house.socket().await;
    let _may_be_cut_off = socket.0.send(Message::text(format!("{{\"type\":\"{}\"}}", "a".repeat(64 * 1024)))).await;
    socket.is_closed().await;
    // Deeper than anybody nests anything.
    let mut socket = house.socket().await;
    socket.send(format!("{{\"type\":\"webrtc\",\"value\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000))).await;
    assert!(socket.hears_error().await.starts_with("Send JSON"));
    let mut socket = house.socket().await;
    socket.say("webrtc/offer", Viewer::new(Manners::default()).await.offer).await;
    socket.answer().await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_without_an_offer_is_closed_after_half_a_minute() {
    let house = House::filming().await;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let service = TowerToHyperService::new(house.router.clone());
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(theirs), service).with_upgrades());
    let (mut socket, _) = client_async(format!("ws://localhost{WS}"), ours).await.unwrap();
    let opened = clock::now();
    // To ask for something else is not to make an offer.
    socket.send(Message::text(r#"{"type":"mse","value":"avc1.640029"}"#)).await.unwrap();
    let end = loop {
        match socket.next().await.expect("a farewell").unwrap() {
            Message::Close(frame) => break frame.map(|frame| frame.code),
            Message::Text(_) | Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((end, opened.elapsed().as_secs()), (Some(CloseCode::Normal), 30));
}

#[tokio::test]
async fn the_65th_socket_is_one_too_many() {
    let house = House::filming().await;
    let mut sockets = Vec::new();
    for _ in 0..64 {
        sockets.push(house.socket().await);
    }
    assert_eq!(house.dial(WS, &[]).await.err(), Some(503));
    drop(sockets.pop());
    let again = async {
        while house.dial(WS, &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("a place that was left is free again");
}

#[tokio::test]
async fn whoever_may_not_watch_is_not_even_heard() {
    let vendor = FakeVendor::new();
    vendor.films();
    let house = House::with(vendor, Some(TOKEN)).await;
    let key = house.keys.issue(&DeviceId::parse("fake_1").unwrap()).unwrap();
    let other = house.keys.issue(&DeviceId::parse("fake_2").unwrap()).unwrap();
    for path in [
        WS.to_owned(),
        format!("{WS}&key=guess"),
        format!("{WS}&key={other}"),
        format!("/api/ws?src=fake_2&key={key}"),
        // The key is of one, and the viewer would be of the other.
        format!("/api/ws?src=fake_2&src=fake_1&key={other}"),
        format!("/api/ws?src=fake_1&src=fake_2&key={other}"),
        format!("/api/ws?src=fake_1&s%72c=fake_2&key={other}"),
    ] {
        assert_eq!(house.dial(&path, &[]).await.err(), Some(401), "{path}");
    }
    let open = house.dial(&format!("{WS}&key={key}"), &[]).await;
    let mut socket = open.expect("go2rtc brings its key");
    socket.say("webrtc/offer", Viewer::new(Manners::default()).await.offer).await;
    socket.answer().await;
    // `server: http://anybody:TOKEN@HOST:8480/` in the WebRTC camera card's configuration: Home Assistant sends this.
    let basic = format!("Basic {}", base64(&format!("anybody:{TOKEN}")));
    let through_home_assistant = [
        ("authorization", basic.as_str()),
        ("user-agent", "Mozilla/5.0"),
        ("x-forwarded-for", "192.168.1.30, 172.30.32.1"),
        ("x-forwarded-host", "homeassistant.local:8123"),
        ("x-forwarded-proto", "http"),
    ];
    assert!(house.dial(WS, &through_home_assistant).await.is_ok());
    let own = format!("http://{}", house.http);
    for (origin, status) in [("http://evil.example", Some(403)), ("null", Some(403)), (&own, None)] {
        let headers = [("authorization", basic.as_str()), ("origin", origin)];
        assert_eq!(house.dial(WS, &headers).await.err(), status, "{origin}");
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What the advanced camera card asks before it shows a microphone.
const PROBE: &str = "/api/streams?src=fake_1&video=all&audio=all&microphone";

/// As that card decides.
fn offers_talk(reply: &Reply) -> bool {
    let stream = reply.json();
    let medias =
        stream["producers"].as_array().unwrap().iter().flat_map(|producer| producer["medias"].as_array().unwrap());
    medias
        .map(|media| media.as_str().unwrap())
        .any(|media| media.contains("audio") && (media.contains("sendonly") || media.contains("sendrecv")))
}

#[tokio::test]
async fn a_stream_is_told_as_go2rtc_tells_one_without_waking_its_camera() {
    let house = House::filming().await;
    let asleep = house.get(PROBE).await;
    assert_eq!((asleep.status, asleep.header("content-type")), (200, Some("application/json")));
    let expected = json!({
        "producers": [{
            "url": "doorstep:fake_1",
            "medias": ["video, recvonly, ANY", "audio, recvonly, ANY", "audio, sendonly, PCMU/8000, OPUS/48000/2"],
        }],
        "consumers": [],
    });
    assert_eq!(asleep.json(), expected);
    assert!(offers_talk(&asleep));
    assert_eq!(house.get("/api/streams?src=porch-fake_1").await.json(), expected);
    assert_eq!(house.get("/api/streams").await.json(), json!({ "fake_1": expected }));
    assert_eq!(house.get("/api/streams?src=garden").await.status, 404);
    assert_eq!(request_with(house.http, "PUT", "/api/streams?src=rtsp://a", &[], "").await.status, 405);
    assert_eq!(house.doorbell.state().borrow().viewers, 0, "nobody was woken");

    let mut socket = house.socket().await;
    let viewer = Viewer::new(Manners::default()).await;
    socket.say("webrtc/offer", viewer.offer.clone()).await;
    let (mut seen, _task) = viewer.play(&socket.answer().await, Arc::default());
    assert!(timeout(PATIENCE, seen.wait_for(|seen| seen.audio.len() > 5)).await.is_ok());
    let awake = house.get(PROBE).await.json();
    let medias = ["video, recvonly, H264", "audio, recvonly, PCMU/8000", "audio, sendonly, PCMU/8000, OPUS/48000/2"];
    assert_eq!(awake["producers"][0]["medias"], json!(medias));
    assert_eq!(awake["consumers"], json!([{ "format_name": "webrtc" }]));
}

#[tokio::test]
async fn a_card_shows_a_microphone_exactly_when_there_is_somebody_to_talk_to() {
    let silent = House::with(FakeVendor::with([Capability::Ring, Capability::Stream]), None).await;
    assert!(!offers_talk(&silent.get(PROBE).await));
    let blind = House::with(FakeVendor::with([Capability::Ring]), None).await;
    assert_eq!(blind.get(PROBE).await.status, 404);
    assert_eq!(blind.get("/api/streams").await.json(), json!({}));

    let house = House::filming().await;
    let obstacle = |why: Option<&str>, pending| {
        let why = why.map(str::to_owned);
        house.vendor.set_state(move |state| {
            state.talk_obstacle = why;
            state.talk_pending = pending;
        });
    };
    for (why, pending, talk) in
        [(Some("It is being asked."), true, true), (Some("It has no key."), false, false), (None, false, true)]
    {
        obstacle(why, pending);
        house.until("it is so", |state| state.talk_obstacle.as_deref() == why && state.talk_pending == pending).await;
        assert_eq!(offers_talk(&house.get(PROBE).await), talk, "{why:?}, pending {pending}");
    }
}

#[tokio::test]
async fn streams_are_told_to_whoever_has_the_token_as_a_password() {
    let house = House::with(FakeVendor::new(), Some(TOKEN)).await;
    assert_eq!(house.get(PROBE).await.status, 401);
    let basic = format!("Basic {}", base64(&format!("anybody:{TOKEN}")));
    let reply = request_with(house.http, "GET", PROBE, &[("authorization", &basic)], "").await;
    assert!(offers_talk(&reply));
    assert!(!reply.body.contains(TOKEN));
}
