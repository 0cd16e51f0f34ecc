//! The virtual P2P server keeps to the reference, and to what it says it does wrong.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use doorstep::clock;
use doorstep::net::drive::drive;
use doorstep::net::lanes::{Lanes, Streams};
use doorstep::proto::Lane;
use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::calling::{Calling, CallingAck, MtpReply, MtpRequest};
use doorstep::proto::gwell::certify::{CertifyRandom, CertifyReply, CertifyRequest};
use doorstep::proto::gwell::control::{Control, Meter, Route, relay_registration};
use doorstep::proto::gwell::devices::{DeviceList, InitInfo};
use doorstep::proto::gwell::directory::{DetectReply, DetectRequest, ListReply, ListRequest, Reachable};
use doorstep::proto::gwell::gutes::{Frame, Identity, Kind, Mode};
use doorstep::proto::gwell::mtp::{Carrier, Mtp};
use doorstep::proto::gwell::passthrough::{Inner, PassthroughControl, PassthroughData};
use doorstep::proto::gwell::port_status::{Heartbeat, NetworkDetect, PortKind};
use doorstep::proto::gwell::session::{self, ClientSession, Path, Setup};
use doorstep::proto::gwell::subscribe::{SubscribeById, SubscribeByToken};
use doorstep::proto::gwell::token::AccessToken;
use doorstep::sim::gwell_camera;
use doorstep::sim::gwell_server::{
    self, Event, LIST, Limits, Quirk, Relays, ServerCommand, ServerSession, Settings, Side, UDP_RELAY, Who,
};
use doorstep::sim::lossy_link::Dice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::gwell_desk::{Desk, Hand, at};

const LINK: u32 = 0x9ABC_DE11;
const SECOND: Duration = Duration::from_secs(1);

fn camera_lan() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 168, 7, 9), 32_761)
}

/// A terminal and a camera between whom a call stands.
fn in_a_call(desk: &mut Desk) -> (Hand, Hand, Calling) {
    let mut camera = desk.camera(0, at(9, 5_000));
    let mut terminal = desk.terminal(at(2, 4_000));
    let calling = terminal.calling(LINK, camera.access_id());
    terminal.call(desk, &calling);
    camera.answer(desk, &calling, *camera_lan().ip(), camera_lan().port());
    assert!(desk.events.iter().any(|event| matches!(event, Event::Answered { link: LINK, .. })), "{:?}", desk.events);
    desk.clear();
    (terminal, camera, calling)
}

fn list_of(terminal: &mut Hand, desk: &mut Desk) -> Option<DeviceList> {
    let info = InitInfo { access_id: terminal.access_id(), sqnum: terminal.next_sqnum() };
    terminal.send(desk, &info.encode());
    terminal.received(desk).iter().find_map(|frame| DeviceList::decode(frame).ok())
}

#[test]
fn a_token_opens_a_session_and_both_ids_are_good_in_it() {
    let mut desk = Desk::odd(&[]);
    let mut terminal = Hand::new(desk.settings.terminals[0].clone(), at(2, 4_000));
    let request = terminal.certify_request();
    desk.deliver(Lane::MAIN, terminal.address, &request.seal(None));
    let sizes: Vec<usize> = {
        let sent: Vec<Vec<u8>> = std::iter::from_fn(|| desk.take(Lane::MAIN, terminal.address)).collect();
        let reply = CertifyReply::decode(&Frame::open(&sent[1], None).unwrap()).unwrap();
        assert_eq!(reply.code, CertifyReply::OK);
        terminal.routing = reply.session;
        sent.iter().map(Vec::len).collect()
    };
    assert_eq!(sizes, [48, 72], "the ack, then the response");
    for id in [terminal.as_account(), terminal.as_session(), Identity::Session(0)] {
        let sqnum = terminal.next_sqnum();
        terminal.send(&mut desk, &SubscribeById { access_id: terminal.access_id() }.encode(id, sqnum));
        let replies = terminal.received(&mut desk);
        assert_eq!(
            replies.iter().map(|reply| (reply.kind, reply.acked)).collect::<Vec<_>>(),
            [(Kind::SubscribeReply, Some(sqnum))]
        );
        assert_eq!(replies[0].seal(Some(&terminal.key)).len(), 56);
    }
    for stranger in [Identity::Terminal(1), Identity::Session(1)] {
        terminal.send(&mut desk, &SubscribeById { access_id: terminal.access_id() }.encode(stranger, 9));
        assert_eq!(terminal.received(&mut desk), []);
    }
}

#[test]
fn a_request_that_is_not_enciphered_is_taken_and_told() {
    let mut desk = Desk::odd(&[]);
    let mut terminal = Hand::new(desk.settings.terminals[0].clone(), at(2, 4_000));
    let request = terminal.certify_request();
    desk.deliver(Lane::MAIN, terminal.address, &request.seal_in(Mode::Clear, None));
    assert_eq!(terminal.certified(&mut desk).1.unwrap().code, CertifyReply::OK);
    assert!(matches!(desk.events[..], [Event::Certified { raw: true, renewed: false, .. }]), "{:?}", desk.events);
}

#[test]
fn every_token_but_its_own_is_refused_as_8020() {
    let desk = Desk::odd(&[]);
    let (id, text) = desk.settings.terminals[0].to_text();
    let flipped = |digit: usize| {
        let other = if text.as_bytes()[digit] == b'0' { "1" } else { "0" };
        AccessToken::parse(&id, &format!("{}{other}{}", &text[..digit], &text[digit + 1..])).unwrap()
    };
    let nobody = AccessToken::parse("77", &text).unwrap();
    // Token data, the key's first and last digit, and an id that nobody has.
    for token in [flipped(0), flipped(95), flipped(96), flipped(127), nobody] {
        let mut desk = Desk::odd(&[]);
        let mut stranger = Hand::new(token, at(2, 4_000));
        let request = stranger.certify_request();
        desk.deliver(Lane::MAIN, stranger.address, &request.seal(None));
        assert_eq!(stranger.certified(&mut desk).1, Some(CertifyReply { code: 8_020, session: 0 }));
        assert!(matches!(desk.events[..], [Event::Refused { code: 8_020, .. }]), "{:?}", desk.events);
        assert_eq!(desk.server.held().sessions, 0);
    }
}

#[test]
fn no_flipped_bit_of_a_request_opens_a_session() {
    let mut desk = Desk::odd(&[]);
    let mut terminal = Hand::new(desk.settings.terminals[0].clone(), at(2, 4_000));
    let request = terminal.certify_request();
    let opened: Vec<usize> = (0..request.payload.len() * 8)
        .filter(|bit| {
            let mut forged = request.clone();
            forged.payload[bit / 8] ^= 1 << (bit % 8);
            desk.clear();
            desk.deliver(Lane::MAIN, terminal.address, &forged.seal(None));
            desk.events.iter().any(|event| matches!(event, Event::Certified { .. }))
        })
        .collect();
    // The time, which nothing covers.
    assert!(opened.iter().all(|bit| (44..60).contains(&(bit / 8))), "{opened:?}");
}

#[test]
fn each_session_has_an_id_of_its_own_and_a_renewed_one_keeps_its_place() {
    let mut desk = Desk::odd(&[]);
    let mut one = desk.terminal(at(2, 4_000));
    let other = desk.terminal(at(2, 4_001));
    assert_ne!(one.routing, other.routing);
    let (old_key, old_id) = (one.key.clone(), one.as_session());
    desk.clear();
    one.log_in(&mut desk);
    assert!(matches!(desk.events[..], [Event::Certified { session: 1, renewed: true, .. }]), "{:?}", desk.events);
    assert_ne!(one.as_session(), old_id);
    assert_eq!(desk.server.held().sessions, 2);
    // What was on its way under the old key still counts, and is answered under the new one.
    let subscription = SubscribeById { access_id: one.access_id() }.encode(old_id, 9);
    desk.deliver(Lane::MAIN, one.address, &subscription.seal(Some(&old_key)));
    assert_eq!(one.received_kinds(&mut desk), [Kind::SubscribeReply]);
}

#[test]
fn a_request_that_came_twice_opens_one_session_with_one_id() {
    let mut desk = Desk::odd(&[]);
    let mut terminal = Hand::new(desk.settings.terminals[0].clone(), at(2, 4_000));
    let request = terminal.certify_request().seal(None);
    let ids: Vec<u64> = (0..2)
        .map(|_| {
            desk.deliver(Lane::MAIN, terminal.address, &request);
            terminal.certified(&mut desk).1.unwrap().session
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(desk.server.held().sessions, 1);
}

#[test]
fn a_token_is_renewed_in_the_middle_of_a_call() {
    let mut desk = Desk::odd(&[]);
    let (mut terminal, _camera, calling) = in_a_call(&mut desk);
    let (id, _) = terminal.token.to_text();
    let renewed = AccessToken::parse(&id, &"5a".repeat(64)).unwrap();
    desk.obey(ServerCommand::Revoke { access_id: terminal.access_id() });
    desk.obey(ServerCommand::Token(renewed.clone()));
    terminal.token = renewed;
    terminal.log_in(&mut desk);
    assert!(desk.drops().is_empty());
    desk.pass(Duration::from_secs(29));
    terminal.tell_ports(&mut desk, &calling, PortKind::Online);
    desk.pass(Duration::from_secs(29));
    assert!(desk.drops().is_empty() && desk.server.held().calls == 1, "{:?}", desk.events);
}

#[test]
fn an_account_is_listed_its_own_cameras_with_16_bit_counts() {
    let mut settings = Settings::with_cameras(1, 3);
    settings.cameras[1].owner = 1;
    let mut desk = Desk::new(settings);
    let names: Vec<String> = [0, 2].map(|at| desk.settings.cameras[at].name.clone()).to_vec();
    let _there = desk.camera(2, at(9, 5_000));
    let mut terminal = desk.terminal(at(2, 4_000));
    let list = list_of(&mut terminal, &mut desk).unwrap();
    assert_eq!(list.devices.iter().map(|device| device.name.clone()).collect::<Vec<_>>(), names);
    assert_eq!(list.devices.iter().map(|device| device.status).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(list.devices[0].tid, desk.settings.cameras[0].tid());
    assert_eq!(list.offline, 0);
    desk.obey(ServerCommand::Begin(Quirk::OfflineFlags));
    assert_eq!(list_of(&mut terminal, &mut desk).unwrap().offline, 1);
    desk.obey(ServerCommand::Begin(Quirk::Zlib));
    assert_eq!(list_of(&mut terminal, &mut desk).unwrap().devices, list.devices);
}

#[test]
fn a_second_session_may_be_refused_the_list() {
    let mut desk = Desk::odd(&[Quirk::NoListForSecondSession]);
    let mut first = desk.terminal(at(2, 4_000));
    assert!(list_of(&mut first, &mut desk).is_some());
    let mut second = desk.terminal(at(2, 4_001));
    assert!(list_of(&mut second, &mut desk).is_none());
}

#[test]
fn subscriptions_of_the_account_are_answered_and_no_others() {
    let mut desk = Desk::odd(&[]);
    let terminal = desk.terminal(at(2, 4_000));
    let (id, own) = (terminal.as_session(), terminal.token.extra().to_vec());
    let mut answers = |frame: Frame| {
        terminal.send(&mut desk, &frame);
        terminal.received_kinds(&mut desk).len()
    };
    assert_eq!(answers(SubscribeById { access_id: terminal.access_id() }.encode(id, 1)), 1);
    assert_eq!(answers(SubscribeByToken { extra: own }.encode(id, 2)), 1);
    assert_eq!(answers(SubscribeById { access_id: 1 }.encode(id, 3)), 0);
    assert_eq!(answers(SubscribeByToken { extra: vec![1; 80] }.encode(id, 4)), 0);
}

#[test]
fn a_call_reaches_the_camera_and_its_answer_the_caller() {
    let mut desk = Desk::odd(&[]);
    let mut camera = desk.camera(0, at(9, 5_000));
    let mut terminal = desk.terminal(at(2, 4_000));
    let calling = terminal.calling(LINK, camera.access_id());
    terminal.call(&mut desk, &calling);
    let told = camera.received(&mut desk);
    assert_eq!(Calling::decode(&told[0]), Ok(calling.clone()));
    let caller = SocketAddrV4::new(calling.address, 4_000);
    let found = MtpReply { link_id: LINK, outer: caller, lan: caller, session_port: 4_000, relays: vec![] };
    assert_eq!(MtpReply::decode(&told[1]), Ok(found));
    assert_eq!(terminal.received(&mut desk), [], "nobody has answered yet");
    camera.answer(&mut desk, &calling, *camera_lan().ip(), camera_lan().port());
    let told = terminal.received(&mut desk);
    assert_eq!(told.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [Kind::Calling, Kind::MtpReply]);
    assert_eq!(CallingAck::decode(&told[0]), Ok(CallingAck { peer: camera_lan() }));
    assert_eq!(told[0].acked, Some(2), "the sqnum of CALLING");
    let outer = SocketAddrV4::new(Ipv4Addr::new(192, 168, 7, 9), 5_000);
    let found = MtpReply { link_id: LINK, outer, lan: camera_lan(), session_port: 32_761, relays: vec![] };
    assert_eq!(MtpReply::decode(&told[1]), Ok(found));
    // What needs no answer gets none.
    terminal.send(&mut desk, &MtpRequest { link_id: LINK, caller: 1, callee: 2 }.encode(terminal.as_session()));
    let detect = NetworkDetect::new(camera.access_id(), terminal.access_id(), Ipv4Addr::LOCALHOST.into());
    desk.deliver(Lane::MAIN, terminal.address, &detect.encode(terminal.as_session(), 9, 5).seal(None));
    terminal.beat(&mut desk);
    terminal.tell_ports(&mut desk, &calling, PortKind::Probe);
    assert_eq!(terminal.received(&mut desk), []);
    assert_eq!(desk.server.held().unread, 0, "and all of it was understood");
}

#[test]
fn a_caller_that_insists_is_passed_on_and_answered_each_time() {
    let mut desk = Desk::odd(&[]);
    let (mut terminal, mut camera, calling) = in_a_call(&mut desk);
    for _ in 0..3 {
        terminal.call(&mut desk, &calling);
        assert_eq!(camera.received_kinds(&mut desk), [Kind::Calling, Kind::MtpReply]);
        camera.answer(&mut desk, &calling, *camera_lan().ip(), camera_lan().port());
        assert_eq!(terminal.received_kinds(&mut desk), [Kind::Calling, Kind::MtpReply]);
    }
    assert_eq!(desk.server.held().calls, 1);
}

#[test]
fn nobody_is_called_who_is_not_the_account_s_or_not_there() {
    let mut settings = Settings::with_cameras(1, 2);
    settings.cameras[1].owner = 1;
    let mut desk = Desk::new(settings);
    let strange = desk.camera(1, at(9, 5_001));
    let away = desk.settings.cameras[0].tid();
    let mut terminal = desk.terminal(at(2, 4_000));
    desk.clear();
    let good = terminal.calling(LINK, away);
    let others = [
        terminal.calling(LINK, strange.access_id()),
        terminal.calling(LINK, 77),
        terminal.calling(0, away),
        Calling { caller: 1, ..good.clone() },
        good,
    ];
    for calling in &others {
        terminal.call(&mut desk, calling);
    }
    let whys: Vec<&str> = desk
        .events
        .iter()
        .map(|event| if let Event::NotCalled { why, .. } = event { *why } else { panic!("{event:?}") })
        .collect();
    let [no_such, impossible] = ["the account has no such camera", "the link id or the caller cannot be"];
    assert_eq!(whys, [no_such, no_such, impossible, impossible, "the camera is not there"]);
    assert_eq!(terminal.received(&mut desk), []);
    // The last one is remembered: the camera hears of it when it comes.
    let mut camera = Hand::new(desk.settings.cameras[0].token.clone(), at(9, 5_000));
    camera.log_in(&mut desk);
    assert!(desk.events.iter().any(|event| matches!(event, Event::Called { link: LINK, .. })), "{:?}", desk.events);
}

#[test]
fn a_sleeping_camera_is_woken_and_hears_of_the_call_when_it_says_so() {
    let mut settings = Settings::generate(1);
    settings.cameras[0].sleeps = true;
    let mut desk = Desk::new(settings);
    let mut camera = desk.camera(0, at(9, 5_000));
    let mut terminal = desk.terminal(at(2, 4_000));
    let calling = terminal.calling(LINK, camera.access_id());
    terminal.call(&mut desk, &calling);
    assert_eq!(camera.received_kinds(&mut desk), [Kind::WakeUp, Kind::Calling, Kind::MtpReply]);
    desk.pass(5 * SECOND);
    camera.beat(&mut desk);
    assert_eq!(camera.received_kinds(&mut desk), [Kind::Heartbeat, Kind::Calling, Kind::MtpReply]);
    camera.answer(&mut desk, &calling, *camera_lan().ip(), camera_lan().port());
    camera.beat(&mut desk);
    assert_eq!(camera.received_kinds(&mut desk), [Kind::Heartbeat], "an answered call is not passed on again");
    // The cloud may wake it, too; and it may be silent for long.
    let name = desk.settings.cameras[0].name.clone();
    desk.obey(ServerCommand::Wake { camera: name });
    assert_eq!(camera.received_kinds(&mut desk), [Kind::WakeUp]);
    desk.pass(Duration::from_secs(3_600));
    assert!(list_of(&mut desk.terminal(at(2, 4_001)), &mut desk).unwrap().devices[0].status == 1);
}

#[test]
fn addresses_are_withheld_where_relays_must_do() {
    let mut settings = Settings { quirks: vec![Quirk::RelayOnly], ..Settings::generate(1) };
    settings.relays = Relays { tcp: true, udp: true };
    let mut desk = Desk::new(settings);
    let mut camera = desk.camera(0, at(9, 5_000));
    let mut terminal = desk.terminal(at(2, 4_000));
    let calling = terminal.calling(LINK, camera.access_id());
    terminal.call(&mut desk, &calling);
    let told = camera.received(&mut desk);
    let Calling { address, port, .. } = Calling::decode(&told[0]).unwrap();
    assert_eq!((address, port), (Ipv4Addr::UNSPECIFIED, 0));
    let to_camera = MtpReply::decode(&told[1]).unwrap();
    camera.answer(&mut desk, &calling, *camera_lan().ip(), camera_lan().port());
    let to_caller = MtpReply::decode(&terminal.received(&mut desk)[1]).unwrap();
    assert_eq!(to_caller, to_camera);
    let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    assert_eq!((to_caller.outer, to_caller.lan, to_caller.session_port), (nowhere, nowhere, 0));
    let relays: Vec<(bool, SocketAddr)> =
        to_caller.relays.iter().map(|relay| (relay.tcp, relay.address.into())).collect();
    assert_eq!(relays, [(true, desk.addresses.tcp_relay), (false, desk.addresses.udp_relay)]);
}

/// From `sender` to `receiver`, as relays see it.
fn route(calling: &Calling, from: Side) -> Route {
    let (sender, receiver) = match from {
        Side::Caller => (calling.caller, calling.callee),
        Side::Camera => (calling.callee, calling.caller),
    };
    Route { link_id: calling.link_id, sender, receiver }
}

/// A KCP segment of the call's data conversation, without its content.
fn segment(link: u32) -> Vec<u8> {
    let mut segment = (link & 0x7FFF_FFFF).to_le_bytes().to_vec();
    segment.extend([82, 0, 128, 0]);
    segment.resize(24, 0);
    segment
}

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

#[test]
fn a_list_server_names_the_server_and_the_server_says_that_it_is_there() {
    let before = at(8, 443);
    let mut desk = Desk::new(Settings { listed_before: vec![before], ..Settings::generate(1) });
    let request = ListRequest { id: 7, sqnum: 8, noise: [9; 16] }.encode();
    for (datagram, encrypted) in [(request.seal(None), true), (request.to_plain(), false)] {
        desk.clear();
        desk.deliver(LIST, at(2, 4_000), &datagram);
        let reply = Frame::open(&desk.take(LIST, at(2, 4_000)).unwrap(), None).unwrap();
        let list = ListReply::decode(&reply, Reachable::Everywhere).unwrap();
        let servers: Vec<SocketAddr> = list.servers.iter().map(|server| server.socket_address()).collect();
        assert_eq!(servers, [before, desk.addresses.signalling]);
        assert_eq!(desk.events, [Event::ListAsked { from: at(2, 4_000), encrypted }]);
    }
    desk.obey(ServerCommand::Begin(Quirk::EncryptedListsOnly));
    desk.deliver(LIST, at(2, 4_000), &request.to_plain());
    assert_eq!(desk.take(LIST, at(2, 4_000)), None);
    let detect = DetectRequest { id: 7, sqnum: 8, noise: [9; 40] }.encode().seal(None);
    desk.deliver(Lane::MAIN, at(2, 4_000), &detect);
    let reply = desk.take(Lane::MAIN, at(2, 4_000)).unwrap();
    assert_eq!(reply.len(), 56);
    assert_eq!(DetectReply::decode(&Frame::open(&reply, None).unwrap()).unwrap().request, 8);
}

#[test]
fn a_terminal_that_keeps_the_rules_stays() {
    let mut desk = Desk::odd(&[]);
    let (mut terminal, mut camera, calling) = in_a_call(&mut desk);
    for second in 1..=600 {
        desk.pass(SECOND);
        if second % 10 == 0 {
            terminal.tell_ports(&mut desk, &calling, PortKind::Online);
        }
        if second % 20 == 0 {
            camera.beat(&mut desk);
        }
        if second % 40 == 0 {
            terminal.beat(&mut desk);
        }
    }
    assert_eq!(desk.events, []);
}

/// What becomes of a terminal in a call that sends these every so many seconds for ten minutes; 0 for never.
fn fate(keepalive: (u64, PortKind), heartbeat: u64) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut desk = Desk::odd(&[]);
    let (mut terminal, mut camera, calling) = in_a_call(&mut desk);
    for second in 1..=600_u64 {
        desk.pass(SECOND);
        let due = |every: u64| every > 0 && second.is_multiple_of(every);
        if due(keepalive.0) {
            terminal.tell_ports(&mut desk, &calling, keepalive.1);
        }
        if due(20) {
            camera.beat(&mut desk);
        }
        if due(heartbeat) {
            terminal.beat(&mut desk);
        }
    }
    (desk.drops(), desk.complaints())
}

#[test]
fn each_rule_of_the_server_ends_whoever_breaks_it() {
    assert_eq!(fate((10, PortKind::Online), 40), (vec![], vec![]));
    assert_eq!(fate((0, PortKind::Online), 40).0, ["it sent no 0xCA"]);
    assert_eq!(fate((10, PortKind::Online), 0).0, ["it sent no heartbeat"]);
    assert_eq!(fate((10, PortKind::Online), 5).0, ["its heartbeats come too often"]);
    let (drops, complaints) = fate((10, PortKind::Probe), 40);
    assert_eq!(drops, [""; 0]);
    assert!(complaints.iter().all(|why| why.contains("another kind")) && complaints.len() > 50, "{complaints:?}");
}

#[test]
fn a_heartbeat_that_came_twice_is_one() {
    let mut desk = Desk::odd(&[]);
    let mut terminal = desk.terminal(at(2, 4_000));
    desk.pass(100 * SECOND);
    let sqnum = terminal.next_sqnum();
    let beat = Heartbeat { access_id: terminal.access_id(), sqnum }.encode();
    for _ in 0..3 {
        terminal.send(&mut desk, &beat);
    }
    assert!(desk.drops().is_empty());
}

#[test]
fn media_at_the_p2p_port_cut_their_sender_off_and_the_camera_is_told() {
    let mut settings = Settings::generate(1);
    settings.limits = Limits { mtp_frames: 2, ..Limits::default() };
    let mut desk = Desk::new(settings);
    let (terminal, camera, _) = in_a_call(&mut desk);
    let mtp = Mtp { urgent: false, to: None, payload: &segment(LINK) }.encode(Carrier::Datagram);
    for _ in 0..2 {
        desk.deliver(Lane::MAIN, terminal.address, &mtp);
    }
    assert!(desk.drops().is_empty(), "two are overlooked");
    desk.deliver(Lane::MAIN, terminal.address, &mtp);
    assert_eq!(desk.drops(), ["it sent MTP to the P2P port"]);
    let kicked = terminal.received(&mut desk);
    assert_eq!(CertifyReply::decode(&kicked[0]).unwrap().code, CertifyReply::KICKED);
    let told = Inner::decode(&camera.received(&mut desk)[0]);
    assert!(
        matches!(told, Ok(Inner::Control(PassthroughControl { command: ServerSession::CALL_OVER, link_id: LINK, .. }))),
        "{told:?}"
    );
    terminal.send(&mut desk, &SubscribeById { access_id: terminal.access_id() }.encode(terminal.as_session(), 9));
    assert_eq!(terminal.received(&mut desk), [], "it is cut off");
}

#[test]
fn a_caller_that_is_dropped_loses_its_stream_at_the_relay() {
    let mut desk = Desk::odd(&[]);
    let (terminal, _camera, calling) = in_a_call(&mut desk);
    desk.deliver(TCP, at(2, 1), &relay_registration(route(&calling, Side::Caller), 0));
    desk.obey(ServerCommand::Kick { who: terminal.access_id().to_string() });
    assert_eq!(desk.take(TCP, at(2, 1)), Some(Vec::new()));
    assert_eq!(desk.drops(), ["it was kicked"]);
}

#[test]
fn sessions_that_begin_too_close_to_each_other_get_each_other_s_frames() {
    for (apart, mixed_up) in [(14, true), (15, false)] {
        let mut settings = Settings::generate(1);
        settings.limits.min_stagger = Duration::from_secs(15);
        let mut desk = Desk::new(settings);
        let mut camera = desk.camera(0, at(9, 5_000));
        let mut one = desk.terminal(at(2, 4_000));
        desk.pass(apart * SECOND);
        let other = desk.terminal(at(2, 4_001));
        let calling = one.calling(LINK, camera.access_id());
        one.call(&mut desk, &calling);
        camera.answer(&mut desk, &calling, *camera_lan().ip(), camera_lan().port());
        let whole = vec![Kind::Calling, Kind::MtpReply];
        let expected = if mixed_up { (vec![], whole) } else { (whole, vec![]) };
        assert_eq!((one.received_kinds(&mut desk), other.received_kinds(&mut desk)), expected, "{apart} s apart");
    }
}

#[test]
fn frames_of_one_session_are_copied_to_the_other_where_it_is_told_to() {
    let mut desk = Desk::odd(&[Quirk::CrossSession]);
    let other = desk.terminal(at(2, 4_001));
    let mut camera = desk.camera(0, at(9, 5_000));
    let mut one = desk.terminal(at(2, 4_000));
    let calling = one.calling(LINK, camera.access_id());
    one.call(&mut desk, &calling);
    camera.answer(&mut desk, &calling, *camera_lan().ip(), camera_lan().port());
    for hand in [&one, &other] {
        let told = hand.received(&mut desk);
        assert_eq!(MtpReply::decode(&told[1]).unwrap().link_id, LINK);
    }
}

#[test]
fn each_silence_is_where_it_says() {
    let mut desk = Desk::odd(&[Quirk::SilentCertify]);
    let mut terminal = Hand::new(desk.settings.terminals[0].clone(), at(2, 4_000));
    let request = terminal.certify_request();
    desk.deliver(Lane::MAIN, terminal.address, &request.seal(None));
    assert_eq!(terminal.received(&mut desk), []);
    for quirk in [Quirk::SilentInitInfo, Quirk::SilentSubscribe, Quirk::SilentCalling, Quirk::NoMtpReply] {
        let mut desk = Desk::odd(&[quirk]);
        let mut camera = desk.camera(0, at(9, 5_000));
        let mut terminal = desk.terminal(at(2, 4_000));
        let id = terminal.as_session();
        let listed = list_of(&mut terminal, &mut desk).is_some();
        terminal.send(&mut desk, &SubscribeById { access_id: terminal.access_id() }.encode(id, 9));
        let subscribed = !terminal.received(&mut desk).is_empty();
        let calling = terminal.calling(LINK, camera.access_id());
        terminal.call(&mut desk, &calling);
        let called = !camera.received(&mut desk).is_empty();
        camera.answer(&mut desk, &calling, *camera_lan().ip(), camera_lan().port());
        let answered = terminal.received_kinds(&mut desk).contains(&Kind::MtpReply);
        let expected = match quirk {
            Quirk::SilentInitInfo => [false, true, true, true],
            Quirk::SilentSubscribe => [true, false, true, true],
            Quirk::SilentCalling => [true, true, false, false],
            _ => [true, true, true, false],
        };
        assert_eq!([listed, subscribed, called, answered], expected, "{quirk}");
    }
    let mut desk = Desk::odd(&[Quirk::SilentList, Quirk::SilentDetect]);
    desk.deliver(LIST, at(2, 1), &ListRequest { id: 7, sqnum: 8, noise: [9; 16] }.encode().seal(None));
    desk.deliver(Lane::MAIN, at(2, 1), &DetectRequest { id: 7, sqnum: 8, noise: [9; 40] }.encode().seal(None));
    assert_eq!((desk.take(LIST, at(2, 1)), desk.take(Lane::MAIN, at(2, 1))), (None, None));
}

#[test]
fn the_answer_to_a_request_comes_in_the_form_that_it_is_told() {
    let kinds = |quirk| {
        let mut desk = Desk::odd(&[quirk]);
        let mut terminal = Hand::new(desk.settings.terminals[0].clone(), at(2, 4_000));
        let request = terminal.certify_request();
        desk.deliver(Lane::MAIN, terminal.address, &request.seal(None));
        let (kinds, reply) = terminal.certified(&mut desk);
        (kinds, reply.map(|reply| reply.code))
    };
    assert_eq!(kinds(Quirk::ResponseOnly), (vec![Kind::CertifyReply], Some(0)));
    assert_eq!(kinds(Quirk::ResponseFirst), (vec![Kind::CertifyReply, Kind::Certify], Some(0)));
    assert_eq!(kinds(Quirk::AckOnly), (vec![Kind::Certify], None));
    assert_eq!(kinds(Quirk::CertifyCode(3)).1, Some(3));
    assert_eq!(kinds(Quirk::TokenRevoked).1, Some(8_020));
}

#[test]
fn a_revoked_token_ends_no_session_and_a_camera_s_is_another() {
    let mut desk = Desk::odd(&[]);
    let mut terminal = desk.terminal(at(2, 4_000));
    desk.obey(ServerCommand::Begin(Quirk::TokenRevoked));
    assert!(list_of(&mut terminal, &mut desk).is_some());
    desk.camera(0, at(9, 5_000));
    desk.obey(ServerCommand::Behave);
    desk.obey(ServerCommand::Revoke { access_id: terminal.access_id() });
    let request = terminal.certify_request();
    desk.deliver(Lane::MAIN, terminal.address, &request.seal(None));
    assert_eq!(terminal.certified(&mut desk).1.unwrap().code, CertifyReply::BAD_TOKEN);
}

#[test]
fn a_slow_server_answers_after_a_second() {
    let mut desk = Desk::odd(&[]);
    let mut terminal = desk.terminal(at(2, 4_000));
    desk.obey(ServerCommand::Begin(Quirk::Slow));
    assert!(list_of(&mut terminal, &mut desk).is_none());
    desk.pass(SECOND - Duration::from_millis(1));
    assert_eq!(terminal.received(&mut desk), []);
    desk.pass(Duration::from_millis(1));
    assert_eq!(terminal.received_kinds(&mut desk), [Kind::Devices]);
}

#[test]
fn frames_that_ask_for_an_ack_get_one_where_it_is_told_to() {
    let mut desk = Desk::odd(&[Quirk::Acks]);
    let camera = desk.camera(0, at(9, 5_000));
    let mut terminal = desk.terminal(at(2, 4_000));
    let calling = terminal.calling(LINK, camera.access_id());
    terminal.call(&mut desk, &calling);
    let acks = terminal.received(&mut desk);
    assert_eq!(acks.len(), 1);
    assert_eq!((acks[0].kind, acks[0].acked), (Kind::Calling, Some(2)));
    assert!(CallingAck::decode(&acks[0]).is_err(), "too short to be taken for the answer");
    assert!(list_of(&mut terminal, &mut desk).is_some(), "this one is not acked");
}

#[test]
fn a_restarted_server_knows_nobody_and_takes_everybody_again() {
    let mut desk = Desk::odd(&[]);
    let (mut terminal, mut camera, _) = in_a_call(&mut desk);
    desk.obey(ServerCommand::Restart);
    assert_eq!((desk.server.held().sessions, desk.server.held().calls), (0, 0));
    camera.beat(&mut desk);
    assert_eq!(camera.received(&mut desk), [], "a camera notices by this silence");
    terminal.log_in(&mut desk);
    camera.log_in(&mut desk);
    assert!(list_of(&mut terminal, &mut desk).is_some());
}

#[test]
fn a_camera_has_one_session_and_is_forgotten_when_it_is_silent() {
    let mut desk = Desk::odd(&[]);
    let _before = desk.camera(0, at(9, 5_000));
    let camera = desk.camera(0, at(9, 5_001));
    assert_eq!(desk.drops(), ["another one took its place"]);
    assert_eq!(desk.server.held().sessions, 1);
    desk.pass(Duration::from_secs(91));
    let who = Who::Camera(desk.settings.cameras[0].name.clone());
    let gone = Event::Dropped { session: 2, who, why: "nothing was heard of it" };
    assert_eq!(desk.events.last(), Some(&gone));
    assert_eq!(camera.received_kinds(&mut desk), [Kind::CertifyReply]);
}

#[test]
fn a_session_follows_its_owner_to_another_address() {
    let mut desk = Desk::odd(&[]);
    let mut terminal = desk.terminal(at(2, 4_000));
    terminal.address = at(2, 4_001);
    assert!(list_of(&mut terminal, &mut desk).is_some());
}

#[test]
fn nothing_that_strangers_send_makes_it_grow_or_stop() {
    let mut desk = Desk::odd(&[]);
    let (mut terminal, _camera, calling) = in_a_call(&mut desk);
    let seed = 11;
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let request = CertifyRequest::new(
        &AccessToken::of_parts(5, [1; 64], vec![]),
        &CertifyRandom { session_key: [1; 32], nonce: [2; 12], flags: 3 },
        1,
        0,
    );
    let templates = [
        request.encode().seal(None),
        calling.encode(terminal.as_session(), 1).seal(Some(&terminal.key)),
        relay_registration(route(&calling, Side::Caller), 0),
        Mtp { urgent: false, to: Some(calling.callee), payload: &segment(LINK) }.encode(Carrier::Datagram),
        vec![0xC0; 2_000],
    ];
    let before = desk.server.held();
    for round in 0..20_000_u32 {
        let mut datagram = dice.pick(&templates).clone();
        let cut = usize::from(u16::from_le_bytes(dice.bytes())) % (datagram.len() + 1);
        if dice.roll(0.3) {
            datagram.truncate(cut);
        }
        for _ in 0..3 {
            if let Some(byte) = datagram.get_mut(usize::from(u16::from_le_bytes(dice.bytes())) % 64) {
                *byte ^= 1 << (round % 8);
            }
        }
        let lane = *dice.pick(&[Lane::MAIN, LIST, UDP_RELAY, TCP]);
        desk.deliver(lane, at(66, (round % 60_000) as u16), &datagram);
        if round % 1_000 == 0 {
            desk.clear();
        }
    }
    let after = desk.server.held();
    assert_eq!((after.sessions, after.calls), (before.sessions, before.calls));
    assert!(after.unread > 10_000, "{after:?}");
    desk.clear();
    assert!(list_of(&mut terminal, &mut desk).is_some());
}

#[test]
fn an_account_that_certifies_without_end_has_32_sessions_and_eight_calls_each() {
    let mut desk = Desk::odd(&[]);
    let camera = desk.camera(0, at(9, 5_000));
    let mut last = desk.terminal(at(2, 4_000));
    for port in 4_001..4_100 {
        last = desk.terminal(at(2, port));
    }
    assert_eq!(desk.server.held().sessions, 33);
    for link in 1..100 {
        let calling = last.calling(link, camera.access_id());
        last.call(&mut desk, &calling);
    }
    assert_eq!(desk.server.held().calls, 8);
    desk.pass(Duration::from_secs(121));
    assert_eq!(desk.server.held().calls, 0, "calls that nobody took are forgotten");
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
