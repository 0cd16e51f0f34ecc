//! Media find their way through the virtual P2P service: by its relays, and through the server itself.

use std::net::SocketAddr;
use std::time::Duration;

use doorstep::clock;
use doorstep::net::drive::drive;
use doorstep::net::lanes::{Lanes, Streams};
use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::calling::{Calling, CallingAck, MtpReply};
use doorstep::proto::gwell::certify::CertifyReply;
use doorstep::proto::gwell::control::{Control, Meter, Route, relay_registration};
use doorstep::proto::gwell::directory::{ListReply, ListRequest, Reachable};
use doorstep::proto::gwell::gutes::{Frame, Kind};
use doorstep::proto::gwell::mtp::{Carrier, Mtp};
use doorstep::proto::gwell::passthrough::{Inner, PassthroughControl, PassthroughData};
use doorstep::proto::gwell::session::{self, ClientSession, Path, Setup};
use doorstep::proto::gwell::token::AccessToken;
use doorstep::sim::gwell_camera;
use doorstep::sim::gwell_server::{self, Event, Quirk, Relays, ServerCommand, Settings, Side, UDP_RELAY};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::gwell_desk::{Desk, Hand, LINK, SECOND, at, camera_lan, in_a_call, route, segment};

#[test]
fn the_udp_relay_passes_extended_frames_on_between_the_two_of_a_call() {
    let mut desk = Desk::odd(&[]);
    let (_terminal, _camera, calling) = in_a_call(&mut desk);
    let (near, far) = (at(2, 4_000), at(9, 32_761));
    let extended = |to: u64, payload: &[u8]| Mtp { urgent: false, to: Some(to), payload }.encode(Carrier::Datagram);
    let create = extended(calling.callee, &Control::Create(route(&calling, Side::Caller)).encode());
    desk.deliver(UDP_RELAY, near, &create);
    desk.deliver(UDP_RELAY, near, &relay_registration(route(&calling, Side::Caller), 0));
    desk.deliver(UDP_RELAY, near, &create);
    assert_eq!(desk.take(UDP_RELAY, far), None, "the camera is not there yet");
    desk.deliver(UDP_RELAY, far, &relay_registration(route(&calling, Side::Camera), 0));
    for frame in [create, extended(calling.callee, &segment(LINK))] {
        desk.deliver(UDP_RELAY, near, &frame);
        assert_eq!(desk.take(UDP_RELAY, far), Some(frame));
    }
    let back = extended(calling.caller, &segment(LINK));
    desk.deliver(UDP_RELAY, far, &back);
    assert_eq!(desk.take(UDP_RELAY, near), Some(back.clone()));
    let told: Vec<Side> = desk
        .events
        .iter()
        .map(|event| if let Event::Relayed { by: "udp_relay", from, .. } = event { *from } else { panic!("{event:?}") })
        .collect();
    assert_eq!(told, [Side::Caller, Side::Camera], "each direction is told once");
    // Plain frames, other destinations, other calls and other senders go nowhere.
    let plain = Mtp { urgent: false, to: None, payload: &segment(LINK) }.encode(Carrier::Datagram);
    let mut broken = back.clone();
    broken[20] ^= 1;
    for frame in [plain, extended(1, &segment(LINK)), extended(calling.caller, &segment(77)), broken] {
        desk.deliver(UDP_RELAY, far, &frame);
    }
    desk.deliver(UDP_RELAY, at(66, 1), &back);
    let forged = Route { sender: 1, ..route(&calling, Side::Camera) };
    desk.deliver(UDP_RELAY, at(66, 1), &relay_registration(forged, 0));
    desk.deliver(UDP_RELAY, at(66, 1), &back);
    assert_eq!(desk.take(UDP_RELAY, near), None);
    desk.obey(ServerCommand::Begin(Quirk::DeafRelays));
    desk.deliver(UDP_RELAY, far, &back);
    assert_eq!(desk.take(UDP_RELAY, near), None);
}

#[test]
fn one_stream_of_a_camera_carries_several_calls_and_a_closed_one_is_forgotten() {
    let mut desk = Desk::odd(&[]);
    let (_terminal, mut camera, one) = in_a_call(&mut desk);
    let mut second = desk.terminal(at(3, 4_000));
    let other = second.calling(LINK + 1, camera.access_id());
    second.call(&mut desk, &other);
    camera.answer(&mut desk, &other, *camera_lan().ip(), camera_lan().port());
    let stream = at(9, 6_789);
    for (calling, from) in [(&one, at(2, 1)), (&other, at(3, 1))] {
        desk.deliver(TCP, from, &relay_registration(route(calling, Side::Caller), 0));
        desk.deliver(TCP, stream, &relay_registration(route(calling, Side::Camera), 0));
    }
    for (link, to) in [(LINK, at(2, 1)), (LINK + 1, at(3, 1))] {
        // A meter that goes on counting is no registration.
        let meter = Control::Meter(Route { link_id: link, ..route(&one, Side::Camera) }, Meter::new(4, 0)).encode();
        for payload in [segment(link), meter] {
            let frame = Mtp { urgent: false, to: None, payload: &payload }.encode(Carrier::Stream);
            desk.deliver(TCP, stream, &frame);
            assert_eq!(desk.take(TCP, to), Some(frame));
        }
    }
    desk.deliver(TCP, at(2, 1), &[]);
    desk.deliver(TCP, stream, &Mtp { urgent: false, to: None, payload: &segment(LINK) }.encode(Carrier::Stream));
    assert_eq!(desk.take(TCP, at(2, 1)), None);
}

#[test]
fn media_pass_through_the_server_in_both_directions() {
    let mut desk = Desk::odd(&[]);
    let (terminal, camera, calling) = in_a_call(&mut desk);
    let mtp = Mtp { urgent: false, to: None, payload: &segment(LINK) }.encode(Carrier::Datagram);
    let data = PassthroughData { tid: calling.callee, access_id: calling.caller, message_id: 5, mtp };
    let control = PassthroughControl {
        tid: calling.callee,
        access_id: calling.caller,
        command: PassthroughControl::CREATE_KCP,
        link_id: LINK,
    };
    terminal.send(&mut desk, &control.encode(terminal.as_session(), 7));
    terminal.send(&mut desk, &data.encode(terminal.as_session(), 8));
    let told: Vec<Inner> = camera.received(&mut desk).iter().map(|frame| Inner::decode(frame).unwrap()).collect();
    assert_eq!(told, [Inner::Control(control), Inner::Data(data.clone())]);
    camera.send(&mut desk, &data.encode(camera.as_session(), 9));
    let told: Vec<Inner> = terminal.received(&mut desk).iter().map(|frame| Inner::decode(frame).unwrap()).collect();
    assert_eq!(told, [Inner::Data(data.clone())]);
    // Nobody speaks for a call that is not his.
    let stranger = desk.terminal(at(3, 4_000));
    stranger.send(&mut desk, &data.encode(stranger.as_session(), 1));
    let others = PassthroughData { tid: 1, ..data };
    camera.send(&mut desk, &others.encode(camera.as_session(), 10));
    assert_eq!((camera.received(&mut desk), terminal.received(&mut desk)), (vec![], vec![]));
}

/// A hand's UDP socket.
struct Port(UdpSocket);

impl Port {
    async fn open() -> Self {
        Self(UdpSocket::bind("127.0.0.1:0").await.unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    async fn send(&self, to: SocketAddr, datagram: &[u8]) {
        self.0.send_to(datagram, to).await.unwrap();
    }

    async fn frame(&self, hand: &Hand) -> Frame {
        let mut buffer = [0; 2_048];
        let (len, _) = timeout(20 * SECOND, self.0.recv_from(&mut buffer)).await.expect("no frame came").unwrap();
        Frame::open(&buffer[..len], Some(&hand.key)).expect("a frame for this hand")
    }

    /// A session of this token.
    async fn certified(&self, server: SocketAddr, token: &AccessToken) -> Hand {
        let mut hand = Hand::new(token.clone(), self.address());
        let request = hand.certify_request();
        self.send(server, &request.seal(None)).await;
        assert_eq!(self.frame(&hand).await.kind, Kind::Certify);
        hand.routing = CertifyReply::decode(&self.frame(&hand).await).unwrap().session;
        hand
    }
}

#[tokio::test]
async fn over_sockets_a_call_is_set_up_and_its_relays_carry_media() {
    let stop = CancellationToken::new();
    let relays = Relays { tcp: true, udp: true };
    let server = gwell_server::start(Settings { relays, ..Settings::generate(1) }, stop.clone()).await.unwrap();
    let (near, far) = (Port::open().await, Port::open().await);
    let list = ListRequest { id: 7, sqnum: 8, noise: [9; 16] }.encode();
    near.send(server.list_address, &list.seal(None)).await;
    let nobody = Hand::new(server.settings.terminals[0].clone(), near.address());
    let list = ListReply::decode(&near.frame(&nobody).await, Reachable::Everywhere).unwrap();
    assert_eq!(list.servers[0].socket_address(), server.address);
    let camera = far.certified(server.address, &server.settings.cameras[0].token).await;
    let terminal = near.certified(server.address, &server.settings.terminals[0]).await;
    let calling = terminal.calling(LINK, camera.access_id());
    near.send(server.address, &calling.encode(terminal.as_session(), 2).seal(Some(&terminal.key))).await;
    assert_eq!(Calling::decode(&far.frame(&camera).await), Ok(calling.clone()));
    let relays = MtpReply::decode(&far.frame(&camera).await).unwrap().relays;
    let named = |tcp| SocketAddr::from(relays.iter().find(|relay| relay.tcp == tcp).unwrap().address);
    assert_eq!((named(true), named(false)), (server.tcp_relay, server.udp_relay));
    far.send(server.address, &calling.encode(camera.as_session(), 3).seal(Some(&camera.key))).await;
    assert!(CallingAck::decode(&near.frame(&terminal).await).is_ok());
    assert_eq!(MtpReply::decode(&near.frame(&terminal).await).unwrap().relays, relays);
    // Over TCP, where what is no frame is hung up on and changes nothing for the others.
    let register = |from| relay_registration(route(&calling, from), 0);
    let mut streams = Vec::new();
    for side in [Side::Caller, Side::Camera] {
        let mut stream = TcpStream::connect(server.tcp_relay).await.unwrap();
        stream.write_all(&register(side)).await.unwrap();
        streams.push(stream);
    }
    let mut stranger = TcpStream::connect(server.tcp_relay).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1").await.unwrap();
    assert_eq!(timeout(20 * SECOND, stranger.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    let frame = Mtp { urgent: false, to: None, payload: &segment(LINK) }.encode(Carrier::Stream);
    let mut arrived = vec![0; frame.len()];
    // Whose registration arrives first is not known: the first frames may find nobody.
    let passing = async {
        loop {
            streams[0].write_all(&frame).await.unwrap();
            let wait = Duration::from_millis(50);
            if timeout(wait, streams[1].readable()).await.is_ok() {
                return streams[1].read_exact(&mut arrived).await.unwrap();
            }
        }
    };
    timeout(20 * SECOND, passing).await.expect("nothing was relayed");
    assert_eq!(arrived, frame);
    stop.cancel();
    server.stopped().await;
}

#[tokio::test]
async fn a_running_server_obeys_before_it_reads_on_and_tells() {
    let stop = CancellationToken::new();
    let server = gwell_server::start(Settings::generate(1), stop.clone()).await.unwrap();
    let mut events = server.events();
    server.obey(ServerCommand::Begin(Quirk::CertifyCode(3))).unwrap();
    let port = Port::open().await;
    let mut hand = Hand::new(server.settings.terminals[0].clone(), port.address());
    port.send(server.address, &hand.certify_request().seal(None)).await;
    assert_eq!(port.frame(&hand).await.kind, Kind::Certify);
    assert_eq!(CertifyReply::decode(&port.frame(&hand).await).unwrap().code, 3);
    assert_eq!(events.recv().await.unwrap(), Event::Quirk { name: "certify-code:3".to_owned() });
    assert!(matches!(events.recv().await.unwrap(), Event::Refused { code: 3, .. }));
    stop.cancel();
    server.stopped().await;
}

/// Where our client found the camera, which has this way alone, once it has a picture.
async fn way_found(way: Path, relays: Relays, quirks: Vec<Quirk>) -> Path {
    let stop = CancellationToken::new();
    let settings = Settings { relays, quirks, ..Settings::generate(1) };
    let server = gwell_server::start(settings, stop.clone()).await.unwrap();
    let account = &server.settings.cameras[0];
    let camera = gwell_camera::Settings::new(server.address, &account.name, account.token.clone());
    let camera = gwell_camera::Settings { paths: [way].into(), ..camera };
    let camera = gwell_camera::start(camera, stop.clone()).await.unwrap();
    let streams = Streams { lane: TCP, frame_len: Mtp::frame_len };
    let mut lanes = Lanes::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None, streams).await.unwrap();
    let setup = Setup {
        token: server.settings.terminals[0].clone(),
        device: account.name.clone(),
        known: vec![],
        servers: vec![],
        list_servers: vec![server.list_address],
        camera: None,
        local: lanes.local_addr().unwrap(),
        seed: [3; 32],
        unix_ms: 1_763_700_000_000,
    };
    let client = ClientSession::new(setup, clock::now().into_std());
    let (found, mut finds) = mpsc::unbounded_channel();
    let (_commands, mut inbox) = mpsc::channel(1);
    let over = stop.clone();
    let mut last = None;
    let tell = move |event| match event {
        session::Event::Found { path } => last = Some(path),
        session::Event::Frame(_) => {
            let _ = found.send(last);
        }
        _ => {}
    };
    let driving = tokio::spawn(async move { drive(client, &mut lanes, &mut inbox, &over, tell).await });
    let path = timeout(30 * SECOND, finds.recv()).await;
    stop.cancel();
    let ended = driving.await.unwrap();
    server.stopped().await;
    camera.stopped().await;
    path.ok().flatten().flatten().unwrap_or_else(|| panic!("no picture came by {way:?}: {ended:?}"))
}

#[tokio::test]
async fn our_client_and_the_virtual_camera_find_each_other_by_every_way() {
    let relays = Relays { tcp: true, udp: true };
    for (way, relays, quirks) in [
        (Path::LanTcp, Relays::default(), vec![]),
        (Path::LanUdp, Relays::default(), vec![]),
        (Path::RelayTcp, relays, vec![Quirk::RelayOnly]),
        (Path::RelayUdp, relays, vec![Quirk::RelayOnly]),
        (Path::Passthrough, Relays::default(), vec![Quirk::RelayOnly]),
    ] {
        assert_eq!(way_found(way, relays, quirks).await, way);
    }
}
