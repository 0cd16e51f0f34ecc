//! The virtual P2P server keeps to the reference: who may log in, and who reaches whom.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use doorstep::proto::Lane;
use doorstep::proto::gwell::calling::{Calling, CallingAck, MtpReply, MtpRequest};
use doorstep::proto::gwell::certify::CertifyReply;
use doorstep::proto::gwell::directory::{DetectReply, DetectRequest, ListReply, ListRequest, Reachable};
use doorstep::proto::gwell::gutes::{Frame, Identity, Kind, Mode};
use doorstep::proto::gwell::port_status::{NetworkDetect, PortKind};
use doorstep::proto::gwell::subscribe::{SubscribeById, SubscribeByToken};
use doorstep::proto::gwell::token::AccessToken;
use doorstep::sim::gwell_server::{Event, LIST, Quirk, Relays, ServerCommand, Settings};

use crate::support::gwell_desk::{Desk, Hand, LINK, SECOND, at, camera_lan, in_a_call, list_of};

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
