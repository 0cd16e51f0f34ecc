//! The virtual P2P server has the manners of the vendor's and the odd ways it is told; nobody makes it grow or stop.

use std::time::Duration;

use doorstep::proto::Lane;
use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::calling::{CallingAck, MtpReply};
use doorstep::proto::gwell::certify::{CertifyRandom, CertifyReply, CertifyRequest};
use doorstep::proto::gwell::control::relay_registration;
use doorstep::proto::gwell::devices::InitInfo;
use doorstep::proto::gwell::directory::{DetectRequest, ListRequest};
use doorstep::proto::gwell::gutes::Kind;
use doorstep::proto::gwell::mtp::{Carrier, Mtp};
use doorstep::proto::gwell::passthrough::{Inner, PassthroughControl};
use doorstep::proto::gwell::port_status::{Heartbeat, PortKind};
use doorstep::proto::gwell::subscribe::SubscribeById;
use doorstep::proto::gwell::token::AccessToken;
use doorstep::sim::dice::Dice;
use doorstep::sim::gwell_server::{
    Event, LIST, Limits, Quirk, ServerCommand, ServerSession, Settings, Side, UDP_RELAY, Who,
};

use crate::support::gwell_desk::{Desk, Hand, LINK, SECOND, at, camera_lan, in_a_call, list_of, route, segment};

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
fn a_session_follows_its_owner_to_another_address_and_nobody_who_repeats_what_he_heard() {
    let mut desk = Desk::odd(&[]);
    let mut terminal = desk.terminal(at(2, 4_000));
    let sqnum = terminal.next_sqnum();
    let overheard = InitInfo { access_id: terminal.access_id(), sqnum }.encode().seal(Some(&terminal.key));
    desk.deliver(Lane::MAIN, terminal.address, &overheard);
    assert_eq!(terminal.received_kinds(&mut desk), [Kind::Devices]);
    desk.deliver(Lane::MAIN, at(66, 1), &overheard);
    assert_eq!(desk.take(Lane::MAIN, at(66, 1)), None);
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
