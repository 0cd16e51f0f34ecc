//! The GWell client session against servers, relays and a camera made by hand, in virtual time: every phase's success,
//! silence and error, the paths, and the watchdogs.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::calling::Calling;
use doorstep::proto::gwell::certify::CertifyReply;
use doorstep::proto::gwell::control::{Control, Meter};
use doorstep::proto::gwell::devices::{DeviceList, Listed};
use doorstep::proto::gwell::gutes::{Flags, Frame, Identity, Kind, Mode};
use doorstep::proto::gwell::kcp;
use doorstep::proto::gwell::message::Message;
use doorstep::proto::gwell::mtp::{Carrier, Mtp};
use doorstep::proto::gwell::passthrough::{Inner, PassthroughData};
use doorstep::proto::gwell::port_status::{PortKind, PortStatus};
use doorstep::proto::gwell::rc5::Rc5;
use doorstep::proto::gwell::session::{Command, Event, Media, Path, SessionError, Setup};
use doorstep::proto::gwell::stream_control::Action;
use doorstep::proto::{Lane, Session};

use crate::support::gwell_hand::{
    ACCESS_ID, Answer, CAMERA, Certify, EVERY_PATH, LIST_SERVER, Packet, ROUTING, SECOND, SECOND_SERVER, SERVER,
    TCP_RELAY, TID, forged_certify_reply, token,
};
use crate::support::gwell_world::{World, known, place, setup, streams};

const STRANGER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 66), 41_000);

fn names_events(world: &World) -> Vec<&Event> {
    world.events.iter().map(|(_, event)| event).collect()
}

fn ends_with(world: &mut World, limit: Duration) -> SessionError {
    world.run(limit, |_| false);
    world.ended.clone().unwrap_or_else(|| panic!("it goes on after {:?}: {:?}", world.passed(), world.events))
}

// The whole course.

#[test]
fn the_first_picture_is_there_within_300_ms_of_network_time() {
    let mut world = World::new(setup(), |_| {});
    assert!(world.run(SECOND, |world| !world.frames.is_empty()), "{:?} {:?}", world.ended, world.events);
    let (at, first) = &world.frames[0];
    assert!(*at <= Duration::from_millis(300), "the first picture came after {at:?}");
    assert_eq!((first.media, first.gap, first.data.len()), (Media::Video, false, 3_000));
    let told = names_events(&world);
    assert!(matches!(told[0], Event::Certified { server } if *server == SocketAddr::from(SERVER)), "{told:?}");
    assert!(matches!(told[1], Event::Listed(devices) if devices.len() == 2), "{told:?}");
    assert_eq!(told[2..4], [&Event::Found { path: Path::LanTcp }, &Event::Accepted]);
    assert_eq!(world.client.dropped(), Default::default());
}

#[test]
fn every_path_alone_brings_pictures_and_sound_in_time() {
    for path in EVERY_PATH {
        let mut world = World::streaming(&[path]);
        let (first, _) = world.frames[0];
        assert!(first < 2 * SECOND, "{path:?}: the first picture came after {first:?}");
        world.hand.send_sound();
        assert!(world.run(SECOND, |world| world.frames.iter().any(|(_, frame)| frame.media == Media::Audio)));
        let pictures: Vec<_> = world.frames.iter().filter(|(_, frame)| frame.media == Media::Video).collect();
        assert!(pictures.iter().all(|(_, picture)| !picture.gap && picture.data.len() == 3_000), "{path:?}");
    }
}

#[test]
fn the_session_asks_in_the_order_and_words_of_the_reference() {
    let world = World::streaming(&[Path::LanUdp]);
    let kinds = world.hand.kinds();
    let at = |kind| kinds.iter().position(|other| *other == kind).unwrap_or_else(|| panic!("no {kind:?}: {kinds:?}"));
    let order = [Kind::Certify, Kind::CertifyReply, Kind::InitInfo, Kind::Calling, Kind::MtpRequest, Kind::PortStatus];
    assert!(order.map(at).is_sorted(), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Subscribe).count(), 2, "by id, and by token");
    let of = |kind| world.hand.heard.iter().find(|frame| frame.kind == kind).unwrap();
    assert_eq!(of(Kind::Calling).id, ROUTING, "the routing id of the response is not used");
    assert_eq!(of(Kind::InitInfo).id, ACCESS_ID);
    let calling = &world.hand.callings[0];
    assert_eq!((calling.caller, calling.callee, calling.lan), (ACCESS_ID, TID, false));
    assert_eq!((calling.address, calling.port), (Ipv4Addr::new(192, 168, 1, 2), 40_000));
    assert_ne!(calling.link_id & 0xFF, 0);
    assert_eq!(world.hand.actions()[..2], [Action::InitReq, Action::Start]);
}

#[test]
fn started_is_echoed_once_and_its_absence_holds_up_nothing() {
    let mut world = World::streaming(&[Path::LanUdp]);
    world.run_for(SECOND);
    let started = |world: &World| world.hand.actions().iter().filter(|action| **action == Action::Start).count();
    assert_eq!(started(&world), 2, "our START, and the echo of the camera's");
    let stream_id = world.hand.stream_id();
    world.hand.say(false, Action::Start, stream_id, 0);
    world.run_for(SECOND);
    assert_eq!(started(&world), 2, "a second STARTED was echoed");

    let mut quiet = World::new(setup(), |hand| hand.sends_started = false);
    assert!(quiet.run(SECOND, streams));
}

#[test]
fn ids_and_keys_differ_from_session_to_session() {
    let of = |seed: u8| {
        let mut world = World::new(Setup { seed: [seed; 32], ..setup() }, |_| {});
        assert!(world.run(SECOND, streams));
        let Calling { link_id, mtp_key, .. } = world.hand.callings[0].clone();
        (link_id, mtp_key, world.hand.stream_id())
    };
    let (first, second) = (of(1), of(2));
    assert!(first.0 != second.0 && first.1 != second.1 && first.2 != second.2);
}

// Servers.

#[test]
fn the_acknowledgement_may_come_before_the_response_after_it_or_never() {
    for certify in [Certify::AckFirst, Certify::ResponseFirst, Certify::ResponseOnly] {
        let mut world = World::new(setup(), |hand| hand.certify = certify);
        assert!(world.run(SECOND, streams), "{certify:?}: {:?}", world.ended);
        let answered: Vec<_> = world.hand.heard.iter().filter(|frame| frame.kind == Kind::CertifyReply).collect();
        assert!(!answered.is_empty(), "the response was not acknowledged");
    }
}

#[test]
fn a_server_that_reads_no_cipher_is_certified_with_after_the_first_silence() {
    let mut world = World::new(setup(), |hand| hand.certify = Certify::Raw);
    assert!(world.run(3 * SECOND, streams), "{:?}", world.ended);
    assert!(world.events[0].0 >= SECOND / 2);
}

#[test]
fn a_refused_token_fails_at_once_with_the_servers_code() {
    for code in [CertifyReply::KICKED, CertifyReply::BAD_TOKEN] {
        let mut world = World::new(setup(), |hand| hand.certify = Certify::Code(code));
        assert_eq!(ends_with(&mut world, 20 * SECOND), SessionError::NotCertified { code: Some(code) });
        assert!(world.passed() < Duration::from_millis(50));
    }
}

#[test]
fn a_server_that_lives_and_never_certifies_is_told_from_one_that_is_not_there() {
    let mut deaf = World::new(setup(), |hand| hand.certify = Certify::AckOnly);
    assert_eq!(ends_with(&mut deaf, 20 * SECOND), SessionError::NotCertified { code: None });
    assert_eq!(deaf.passed(), 15 * SECOND);

    // It answers a detection.
    let mut silent = World::new(setup(), |hand| hand.certify = Certify::Silent);
    assert_eq!(ends_with(&mut silent, 20 * SECOND), SessionError::NotCertified { code: None });

    let mut gone = World::new(setup(), |hand| hand.server = SECOND_SERVER);
    assert_eq!(ends_with(&mut gone, 20 * SECOND), SessionError::NoServer);
    assert_eq!(gone.passed(), 15 * SECOND);
}

#[test]
fn a_dead_server_delays_the_next_one_by_two_seconds() {
    let servers = vec![SERVER.into(), SECOND_SERVER.into()];
    let mut world = World::new(Setup { servers, ..setup() }, |hand| hand.server = SECOND_SERVER);
    assert!(world.run(10 * SECOND, streams), "{:?}", world.ended);
    assert!(matches!(world.events[0], (at, Event::Certified { .. }) if at >= 2 * SECOND && at < 3 * SECOND));
    world.run_for(20 * SECOND);
    assert_eq!(world.gutes_sent(Kind::Certify, SERVER).len(), 4, "the dead server was not left alone");
}

#[test]
fn without_servers_they_are_asked_for() {
    let list_servers = vec![STRANGER.into(), LIST_SERVER.into()];
    let mut world = World::new(Setup { servers: vec![], list_servers, ..setup() }, |_| {});
    assert!(world.run(10 * SECOND, streams), "{:?}", world.ended);
    assert!(world.events[0].0 < 3 * SECOND, "{:?}", world.events[0]);
}

#[test]
fn servers_that_are_gone_are_asked_for_and_a_silent_list_ends_the_search() {
    let lists = || Setup { servers: vec![STRANGER.into()], list_servers: vec![LIST_SERVER.into()], ..setup() };
    let mut world = World::new(lists(), |_| {});
    assert!(world.run(30 * SECOND, streams), "{:?}", world.ended);

    let mut silent = World::new(lists(), |_| {});
    silent.loses = Box::new(|_, packet| packet.from == SocketAddr::from(LIST_SERVER));
    assert_eq!(ends_with(&mut silent, 60 * SECOND), SessionError::NoServer);
    assert!(silent.passed() <= 22 * SECOND);
}

#[test]
fn without_any_address_there_is_no_server() {
    let mut world = World::new(Setup { servers: vec![], ..setup() }, |_| {});
    assert_eq!(ends_with(&mut world, 5 * SECOND), SessionError::NoServer);
}

// The list, and the call.

#[test]
fn a_camera_that_is_not_listed_fails_at_once_and_no_other_is_taken() {
    let mut world = World::new(setup(), |hand| {
        hand.devices.as_mut().unwrap().retain(|device| device.tid != TID);
    });
    assert_eq!(ends_with(&mut world, 5 * SECOND), SessionError::NotListed);
    assert!(world.hand.callings.is_empty());
    assert!(world.events.iter().any(|(_, event)| matches!(event, Event::Listed(devices) if devices.len() == 1)));
}

#[test]
fn a_list_that_is_left_out_is_made_up_for_by_what_is_known() {
    let mut world = World::new(Setup { known: known(), ..setup() }, |hand| hand.devices = None);
    assert!(world.run(SECOND, streams), "{:?}", world.ended);
    assert!(world.frames[0].0 <= Duration::from_millis(300), "what is known was waited for");

    let mut unknown = World::new(setup(), |hand| hand.devices = None);
    assert_eq!(ends_with(&mut unknown, 60 * SECOND), SessionError::NoServer);
    assert!(unknown.passed() <= 11 * SECOND);
}

#[test]
fn the_list_is_right_where_what_is_known_is_not() {
    let mut known = known();
    known[0].tid = 5;
    let mut world = World::new(Setup { known, ..setup() }, |hand| hand.lan = SocketAddrV4::new([0; 4].into(), 0));
    assert!(world.run(5 * SECOND, streams), "{:?}", world.ended);
    assert_eq!(world.hand.callings.last().unwrap().callee, TID);
}

#[test]
fn calling_is_repeated_for_75_s_with_the_same_link_and_then_asks_for_relays() {
    let mut world = World::new(setup(), |hand| hand.answers_calls = false);
    assert_eq!(ends_with(&mut world, 100 * SECOND), SessionError::NotCalled);
    assert!((75 * SECOND..76 * SECOND).contains(&world.passed()));
    let callings = &world.hand.callings;
    assert_eq!(callings.len(), 28);
    assert!(callings.iter().all(|calling| calling.link_id == callings[0].link_id));
    assert!(
        callings[..12].iter().all(|calling| calling.port != 0)
            && callings[12..].iter().all(|calling| calling.port == 0)
    );
}

#[test]
fn a_camera_that_wakes_after_a_minute_is_reached() {
    let mut world = World::new(setup(), |hand| {
        hand.answers_calls = false;
        hand.alive = [Path::LanUdp].into();
    });
    world.run_for(60 * SECOND);
    world.hand.answers_calls = true;
    assert!(world.run(5 * SECOND, streams), "{:?}", world.ended);
}

#[test]
fn a_camera_that_is_called_and_reached_by_no_path_ends_the_session() {
    let mut world = World::new(setup(), |hand| {
        hand.alive.clear();
        hand.tells_ports = false;
    });
    assert_eq!(ends_with(&mut world, 100 * SECOND), SessionError::NoPath);
    assert!((75 * SECOND..76 * SECOND).contains(&world.passed()));
}

#[test]
fn a_server_that_names_new_ways_for_ever_does_not_keep_the_call_open() {
    let mut world = World::new(setup(), |hand| {
        hand.alive.clear();
        hand.tells_ports = false;
    });
    world.run(SECOND, |world| !world.hand.callings.is_empty());
    let link_id = world.ids().link_id;
    for port in 1..40 {
        let mut reply = world.hand.reply(link_id);
        reply.session_port = port;
        world.hand.send_from_server(&reply.encode(Identity::Session(ROUTING), 1));
        world.run(5 * SECOND, |world| world.ended.is_some());
    }
    assert_eq!(world.ended, Some(SessionError::NoPath));
    assert!(world.passed() < 90 * SECOND, "{:?}", world.passed());
}

#[test]
fn the_owners_address_is_tried_when_the_server_says_nothing() {
    let camera = Some(CAMERA.ip().to_owned().into());
    let mut world = World::new(Setup { camera, ..setup() }, |hand| {
        hand.answers_calls = false;
        hand.camera = SocketAddrV4::new(*CAMERA.ip(), 6_789);
    });
    assert!(world.run(10 * SECOND, streams), "{:?}", world.ended);
}

// The stream.

#[test]
fn a_rejection_is_told_with_its_reason_and_silence_ends_after_a_minute() {
    let mut rejected = World::new(setup(), |hand| hand.answer = Answer::Reject(9));
    assert_eq!(ends_with(&mut rejected, 5 * SECOND), SessionError::NotAccepted { reason: Some(9) });

    let mut silent = World::new(setup(), |hand| hand.answer = Answer::Silent);
    assert_eq!(ends_with(&mut silent, 100 * SECOND), SessionError::NotAccepted { reason: None });
    assert!((60 * SECOND..61 * SECOND).contains(&silent.passed()), "after {:?}", silent.passed());
    let asked = silent.hand.actions().iter().filter(|action| **action == Action::InitReq).count();
    assert!((115..=121).contains(&asked), "INITREQ was sent {asked} times in a minute");
}

#[test]
fn stop_and_close_of_the_camera_end_the_session() {
    for action in [Action::Stop, Action::Close] {
        for on_ctrl in [true, false] {
            let mut world = World::streaming(&[Path::LanUdp]);
            let stream_id = world.hand.stream_id();
            world.hand.say(on_ctrl, action, stream_id, 0);
            assert_eq!(ends_with(&mut world, SECOND), SessionError::Closed, "{action:?}");
        }
    }
}

#[test]
fn what_is_said_of_another_stream_is_not_of_this_one() {
    let mut world = World::streaming(&[Path::LanUdp]);
    let other = world.hand.stream_id() ^ 1;
    world.hand.say(true, Action::Close, other, 0);
    world.run_for(SECOND);
    assert_eq!(world.ended, None);
    assert_eq!(world.client.dropped().foreign, 1);
}

#[test]
fn a_stream_without_a_picture_is_given_up_after_a_minute_and_one_that_stops_after_15_s() {
    let mut never = World::new(setup(), |hand| hand.sends_pictures = false);
    assert_eq!(ends_with(&mut never, 100 * SECOND), SessionError::NoPicture);
    assert!((60 * SECOND..61 * SECOND).contains(&never.passed()), "after {:?}", never.passed());

    let mut stopped = World::streaming(&[Path::LanUdp]);
    stopped.hand.sends_pictures = false;
    let stopped_at = stopped.passed();
    assert_eq!(ends_with(&mut stopped, 60 * SECOND), SessionError::Silent);
    let after = stopped.passed() - stopped_at;
    assert!((14 * SECOND..16 * SECOND).contains(&after), "after {after:?}");
}

#[test]
fn a_camera_that_vanishes_is_missed_after_15_s() {
    let mut world = World::streaming(&EVERY_PATH);
    let vanished_at = world.passed();
    world.hand.alive.clear();
    world.hand.tells_ports = false;
    assert_eq!(ends_with(&mut world, 60 * SECOND), SessionError::Silent);
    assert!(world.passed() - vanished_at <= 16 * SECOND);
}

// Paths.

#[test]
fn the_best_path_that_answers_is_taken_and_the_streams_to_elsewhere_are_closed() {
    for (alive, expected) in [
        (&EVERY_PATH[..], Path::LanTcp),
        (&EVERY_PATH[1..], Path::LanUdp),
        (&EVERY_PATH[2..], Path::RelayTcp),
        (&EVERY_PATH[3..], Path::RelayUdp),
        (&EVERY_PATH[4..], Path::Passthrough),
    ] {
        let mut world = World::new(setup(), |hand| {
            hand.alive = alive.iter().copied().collect();
            hand.tells_ports = alive.contains(&Path::LanUdp);
        });
        assert!(world.run(5 * SECOND, streams), "{expected:?}: {:?}", world.ended);
        assert_eq!(world.found(), [expected]);
        if expected > Path::RelayTcp {
            let closed = world.sent.iter().any(|(_, packet)| packet.lane == TCP && packet.payload.is_empty());
            assert!(closed, "the stream to the relay was left open");
        }
    }
}

#[test]
fn relays_go_before_passthrough_where_no_address_on_the_lan_is_named() {
    for (alive, expected) in [(&EVERY_PATH[..], Path::RelayTcp), (&EVERY_PATH[3..], Path::RelayUdp)] {
        let mut world = World::new(setup(), |hand| {
            hand.lan = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
            hand.alive = alive.iter().copied().collect();
        });
        assert!(world.run(2 * SECOND, streams), "{:?}", world.ended);
        assert_eq!(world.found(), [expected]);
    }
}

#[test]
fn a_lan_stream_that_never_stands_costs_a_quarter_of_a_second() {
    let mut world = World::new(setup(), |hand| {
        hand.alive.remove(&Path::LanTcp);
        hand.refuses_streams = false;
    });
    assert!(world.run(5 * SECOND, streams));
    assert_eq!(world.found(), [Path::LanUdp]);
    let accepted = world.events.iter().find(|(_, event)| *event == Event::Accepted).unwrap().0;
    assert!(accepted < Duration::from_millis(350), "{accepted:?}");
}

#[test]
fn a_lan_that_tells_its_ports_and_takes_no_media_is_left_for_the_next_path() {
    let mut world = World::new(setup(), |hand| {
        hand.alive = [Path::RelayTcp, Path::RelayUdp].into();
        hand.tells_ports = true;
    });
    assert!(world.run(10 * SECOND, streams), "{:?} {:?}", world.ended, world.events);
    assert_eq!(world.found(), [Path::LanUdp, Path::RelayTcp]);
    assert!(world.frames[0].0 < 3 * SECOND);
}

#[test]
fn when_a_path_dies_in_mid_stream_the_next_one_takes_over_without_a_lost_picture() {
    let order = [Path::LanUdp, Path::RelayTcp, Path::RelayUdp, Path::Passthrough];
    let mut world = World::streaming(&order);
    for (dead, next) in order.iter().zip(&order[1..]) {
        world.hand.alive.remove(dead);
        world.hand.tells_ports = false;
        let pictures = world.frames.len();
        let at = world.passed();
        assert!(world.run(14 * SECOND, |world| world.frames.len() > pictures + 20), "{dead:?}: {:?}", world.ended);
        assert_eq!(world.found().last(), Some(next));
        let stalled = world.frames[pictures + 1].0 - at;
        assert!(stalled < 9 * SECOND, "{dead:?} was missed for {stalled:?}");
    }
    assert!(world.frames.iter().all(|(_, picture)| !picture.gap), "a picture was lost");
    let times: Vec<_> = world.frames.iter().map(|(_, picture)| picture.pts).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(66)), "a picture is missing");
}

#[test]
fn long_after_the_call_a_path_that_tells_its_ports_first_takes_over_too() {
    let mut world = World::streaming(&[Path::LanTcp, Path::LanUdp]);
    assert_eq!(world.found(), [Path::LanTcp]);
    // Longer than a camera is called.
    world.run_for(100 * SECOND);
    world.hand.alive.remove(&Path::LanTcp);
    world.deliver(CAMERA, TCP, &[]);
    let pictures = world.frames.len();
    assert!(world.run(8 * SECOND, |world| world.frames.len() > pictures + 5), "{:?}", world.ended);
    assert_eq!(world.found(), [Path::LanTcp, Path::LanUdp]);
}

#[test]
fn a_stream_that_is_closed_moves_at_once() {
    let mut world = World::streaming(&[Path::LanTcp, Path::LanUdp]);
    assert_eq!(world.found(), [Path::LanTcp]);
    world.hand.alive.remove(&Path::LanTcp);
    world.deliver(CAMERA, TCP, &[]);
    assert!(world.run(Duration::from_millis(300), |world| world.found().last() == Some(&Path::LanUdp)));
    let pictures = world.frames.len();
    assert!(world.run(3 * SECOND, |world| world.frames.len() > pictures + 5), "{:?}", world.ended);
}

#[test]
fn the_only_stream_is_opened_anew_when_it_is_closed() {
    let mut world = World::streaming(&[Path::LanTcp]);
    world.deliver(CAMERA, TCP, &[]);
    let pictures = world.frames.len();
    assert!(world.run(8 * SECOND, |world| world.frames.len() > pictures + 20), "{:?}", world.ended);
    assert_eq!(world.found(), [Path::LanTcp, Path::LanTcp]);
}

#[test]
fn streams_that_were_opened_for_a_race_are_closed_when_it_is_won() {
    let mut world = World::streaming(&[Path::LanUdp, Path::RelayUdp]);
    world.hand.alive.remove(&Path::LanUdp);
    world.hand.tells_ports = false;
    world.run(14 * SECOND, |world| world.found().last() == Some(&Path::RelayUdp));
    let to_relay = |packet: &Packet| packet.to == SocketAddr::from(TCP_RELAY) && packet.lane == TCP;
    let last = world.sent.iter().rev().find(|(_, packet)| to_relay(packet));
    assert!(last.is_some_and(|(_, packet)| packet.payload.is_empty()), "the stream to the relay stays open");
}

#[test]
fn a_camera_that_answers_from_elsewhere_on_the_lan_is_learnt_by_its_call() {
    let mut world = World::new(setup(), |hand| {
        hand.lan = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 50), 1);
        hand.relays = false;
        hand.alive = [Path::LanUdp].into();
    });
    world.run(SECOND, |world| !world.hand.callings.is_empty());
    let meter = Control::Meter(world.ids(), Meter::new(1, 2)).encode();
    let mtp = Mtp { urgent: false, to: None, payload: &meter }.encode(Carrier::Datagram);
    world.run_for(Duration::from_millis(10));
    world.deliver(CAMERA, Lane::MAIN, &mtp);
    assert!(world.run(SECOND, streams), "{:?} {:?}", world.ended, world.events);
    assert_eq!(world.kcp_went_to(Duration::ZERO), [place(Lane::MAIN, CAMERA)]);
}

// Strangers, and frames of other sessions.

#[test]
fn frames_from_elsewhere_are_dropped_and_counted() {
    let mut world = World::streaming(&[Path::LanUdp]);
    let ids = world.ids();
    let mut forged = vec![forged_certify_reply(3)];
    let other =
        Control::Meter(doorstep::proto::gwell::control::Route { link_id: ids.link_id ^ 1, ..ids }, Meter::new(1, 1));
    forged.push(Mtp { urgent: false, to: None, payload: &other.encode() }.encode(Carrier::Datagram));
    let (_, media) = world.received.iter().rev().find(|(_, packet)| !packet.segments().is_empty()).unwrap();
    forged.push(media.payload.clone());
    forged.push(vec![0xC0]);
    forged.push(vec![0xFF; 60]);
    forged.push(Vec::new());
    let far = SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8), 53);
    for payload in &forged {
        for (from, lane) in [(STRANGER, Lane::MAIN), (far, Lane::MAIN), (STRANGER, TCP)] {
            world.deliver(from, lane, payload);
        }
    }
    assert_eq!(world.client.dropped().strangers, 3 * forged.len() as u64);
    assert!(world.run(5 * SECOND, |world| world.frames.len() > 50), "{:?}", world.ended);
    assert_eq!(world.kcp_went_to(Duration::ZERO), [place(Lane::MAIN, CAMERA)]);
}

#[test]
fn an_address_that_proves_the_call_does_not_take_a_stream_that_works() {
    let mut world = World::streaming(&[Path::LanUdp]);
    let meter = Control::Meter(world.ids(), Meter::new(1, 2)).encode();
    let mtp = Mtp { urgent: false, to: None, payload: &meter }.encode(Carrier::Datagram);
    world.deliver(STRANGER, Lane::MAIN, &mtp);
    let far = SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8), 53);
    world.deliver(far, Lane::MAIN, &mtp);
    world.run_for(5 * SECOND);
    assert_eq!(world.kcp_went_to(Duration::ZERO), [place(Lane::MAIN, CAMERA)]);
    assert_eq!(world.client.dropped().strangers, 1, "an address beyond the LAN was learnt");
}

#[test]
fn frames_of_another_session_are_ignored() {
    let mut world = World::new(setup(), |hand| hand.answers_calls = false);
    world.run(SECOND, |world| !world.hand.callings.is_empty());
    let link_id = world.ids().link_id;
    let mut reply = world.hand.reply(link_id ^ 0x100);
    reply.lan = STRANGER;
    let from = Identity::Session(ROUTING);
    world.hand.send_from_server(&reply.encode(from, 1));
    let calling = world.hand.callings[0].clone().encode(from, 4_711);
    let ack = doorstep::proto::gwell::calling::CallingAck { peer: STRANGER }.encode(&calling, from);
    world.hand.send_from_server(&ack);
    let data = PassthroughData { tid: 99, access_id: ACCESS_ID, message_id: 1, mtp: vec![0xC0; 40] };
    world.hand.send_from_server(&data.encode(from, 1));
    let status = PortStatus { tid: 99, link_id, kind: PortKind::Probe, ports: [0; 4] };
    world.run_for(SECOND);
    world.deliver(STRANGER, Lane::MAIN, &status.encode_reply(from).seal(None));
    world.run_for(SECOND);
    assert_eq!(world.client.dropped().foreign, 4);
    assert!(world.found().is_empty());
    assert!(
        world.sent.iter().all(|(_, packet)| packet.to != SocketAddr::from(STRANGER)),
        "it was taken for the camera"
    );
    world.hand.answers_calls = true;
    assert!(world.run(5 * SECOND, streams), "{:?}", world.ended);
}

#[test]
fn what_is_not_under_the_session_key_decides_nothing() {
    let mut world = World::new(setup(), |hand| {
        hand.devices = None;
        hand.answers_calls = false;
    });
    world.run(SECOND, |world| world.hand.key.is_some());
    world.run_for(Duration::from_millis(10));
    let from = Identity::Session(ROUTING);
    let devices = vec![Listed { tid: 5, status: 0, attribute: 0, name: "GW_OTHER".into() }];
    let list = DeviceList { devices, offline: 0 }.encode(from, 1);
    world.deliver(SERVER, Lane::MAIN, &list.seal_in(Mode::Header, None));
    world.deliver(SERVER, Lane::MAIN, &list.seal_in(Mode::Clear, None));
    world.deliver(SERVER, Lane::MAIN, &list.seal(Some(&Rc5::new(&[1; 32]))));
    assert_eq!(world.ended, None, "a list that anybody can make was believed");
    let dropped = world.client.dropped();
    assert_eq!((dropped.foreign, dropped.broken), (2, 1));
}

#[test]
fn a_response_that_answers_nothing_of_ours_decides_nothing() {
    let mut world = World::new(setup(), |hand| {
        hand.devices = None;
        hand.answers_calls = false;
    });
    world.run(SECOND, |world| world.hand.key.is_some());
    world.run_for(Duration::from_millis(10));
    // A response has no checksum, and what counts as its signature no cipher: an empty list that needs no key.
    let mut list = DeviceList { devices: vec![], offline: 0 }.encode(Identity::Session(ROUTING), 1);
    list.flags = list.flags.with(Flags::SIGNED);
    for answered in 0..8 {
        let forged = list.clone().answering(answered).seal(Some(&Rc5::new(&[1; 32])));
        world.deliver(SERVER, Lane::MAIN, &forged);
    }
    assert_eq!(world.ended, None, "a list that anybody can make was believed");
    assert_eq!(world.client.dropped().foreign, 8);
}

#[test]
fn broken_frames_are_counted_and_change_nothing() {
    let mut world = World::streaming(&[Path::LanUdp]);
    let (_, media) = world.received.iter().rev().find(|(_, packet)| !packet.segments().is_empty()).unwrap();
    let mut spoilt = media.payload.clone();
    spoilt[8] ^= 1;
    world.deliver(CAMERA, Lane::MAIN, &spoilt);
    world.deliver(CAMERA, Lane::MAIN, &[1, 2, 3]);
    world.deliver(SERVER, Lane::MAIN, &[0x7F; 40]);
    assert_eq!(world.client.dropped().broken, 3);
    // Of the right link and an impossible number, and of another link.
    let data = kcp::conversations(world.ids().link_id).data;
    for conversation in [data, data ^ 0x1000] {
        let mut push = conversation.to_le_bytes().to_vec();
        push.extend([81, 0, 0, 1]);
        push.extend([0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0, 1, 0, 0, 0, 7]);
        let mtp = Mtp { urgent: false, to: None, payload: &push }.encode(Carrier::Datagram);
        world.deliver(CAMERA, Lane::MAIN, &mtp);
    }
    assert_eq!(world.client.dropped().kcp, 2);
    let pictures = world.frames.len();
    assert!(world.run(2 * SECOND, |world| world.frames.len() > pictures + 5), "{:?}", world.ended);
}

// Renewal.

fn key_opens(world: &World, frame: &[u8]) -> bool {
    Frame::open(frame, world.hand.key.as_ref()).is_ok()
}

#[test]
fn a_token_is_renewed_in_mid_stream_and_the_new_key_is_used() {
    let mut world = World::streaming(&[Path::Passthrough]);
    world.hand.tokens = vec![token(2)];
    let (old, callings) = (world.hand.key.clone(), world.hand.callings.len());
    world.command(Command::Renew(token(2)));
    let certified = |world: &World| world.events.iter().filter(|(_, it)| matches!(it, Event::Certified { .. })).count();
    assert!(world.run(5 * SECOND, |world| certified(world) == 2), "{:?}", world.events);
    let pictures = world.frames.len();
    assert!(world.run(5 * SECOND, |world| world.frames.len() > pictures + 20), "{:?}", world.ended);
    let (_, last) = world.sent.iter().rev().find(|(_, packet)| packet.payload[1] == Kind::Inner.code()).unwrap();
    assert!(key_opens(&world, &last.payload), "the old key is still in use");
    assert!(Frame::open(&last.payload, old.as_ref()).is_err());
    assert_eq!(world.found(), [Path::Passthrough], "the stream moved");
    assert_eq!(world.hand.callings.len(), callings, "the camera was called again");
}

#[test]
fn a_renewal_that_is_refused_or_not_answered_changes_nothing() {
    for (certify, code, limit) in [(Certify::Code(8_020), Some(8_020), SECOND), (Certify::AckOnly, None, 16 * SECOND)] {
        let mut world = World::streaming(&[Path::Passthrough]);
        world.hand.certify = certify;
        world.command(Command::Renew(token(2)));
        let told = |world: &World| world.events.last().unwrap().1 == Event::NotRenewed { code };
        assert!(world.run(limit, told), "{:?}", world.events);
        let pictures = world.frames.len();
        assert!(world.run(5 * SECOND, |world| world.frames.len() > pictures + 20), "{:?}", world.ended);
    }
}

#[test]
fn a_repeated_or_forged_response_is_not_the_answer_to_a_renewal() {
    let mut world = World::streaming(&[Path::Passthrough]);
    let is_response = |packet: &Packet| packet.payload[1] == Kind::CertifyReply.code();
    let first = world.received.iter().find(|(_, packet)| is_response(packet)).unwrap().1.payload.clone();
    world.hand.certify = Certify::AckOnly;
    world.command(Command::Renew(token(1)));
    world.deliver(SERVER, Lane::MAIN, &first);
    world.deliver(STRANGER, Lane::MAIN, &forged_certify_reply(0));
    world.deliver(STRANGER, Lane::MAIN, &forged_certify_reply(3));
    let pictures = world.frames.len();
    assert!(world.run(5 * SECOND, |world| world.frames.len() > pictures + 20), "the key changed: {:?}", world.events);
}

// Farewell.

#[test]
fn the_camera_hears_close_on_every_path_at_once_and_nothing_after_it() {
    for path in EVERY_PATH {
        let mut world = World::streaming(&[path]);
        let at = world.passed();
        world.close();
        world.run(Duration::from_millis(2), |_| false);
        assert_eq!(world.hand.actions().last(), Some(&Action::Close), "{path:?}");
        let last: Vec<_> = world.sent.iter().filter(|(when, _)| *when >= at).collect();
        world.deliver(CAMERA, Lane::MAIN, &last[0].1.payload.clone());
        world.client.on_timeout(world.now + 100 * SECOND).unwrap();
        assert_eq!(world.client.poll(), None, "something was said after the farewell");
    }
}

#[test]
fn a_lost_farewell_is_said_twice() {
    let mut world = World::streaming(&[Path::LanUdp]);
    let mut lost = false;
    world.loses = Box::new(move |_, packet| packet.lane == Lane::MAIN && !std::mem::replace(&mut lost, true));
    world.close();
    world.run(Duration::from_millis(2), |_| false);
    assert_eq!(world.hand.actions().last(), Some(&Action::Close));
}

#[test]
fn before_a_stream_is_asked_for_there_is_nothing_to_say() {
    let mut world = World::new(setup(), |hand| hand.answers_calls = false);
    world.run_for(5 * SECOND);
    let sent = world.sent.len();
    world.close();
    assert_eq!(world.sent.len(), sent);
}

// Loss.

#[test]
fn a_fifth_of_all_datagrams_lost_delays_and_spoils_nothing() {
    for path in [Path::LanUdp, Path::RelayUdp, Path::Passthrough] {
        for seed in 0..3_u64 {
            let mut world = World::new(Setup { seed: [seed as u8; 32], ..setup() }, |hand| hand.alive = [path].into());
            let mut state = seed;
            world.loses = Box::new(move |_, packet| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                packet.lane == Lane::MAIN && (state >> 33) % 5 == 0
            });
            assert!(
                world.run(40 * SECOND, |world| world.frames.len() > 200),
                "{path:?}, seed {seed}: {:?}",
                world.ended
            );
            assert!(world.frames.iter().all(|(_, frame)| !frame.gap && frame.data.len() == 3_000), "seed {seed}");
        }
    }
}

#[test]
fn media_through_the_server_are_wrapped_and_in_its_session() {
    let world = World::streaming(&[Path::Passthrough]);
    let inner: Vec<_> = world.hand.heard.iter().filter(|frame| frame.kind == Kind::Inner).collect();
    let is_media = |frame: &&&Frame| matches!(Inner::decode(frame), Ok(Inner::Data(data)) if data.mtp[0] == 0xC0 && data.tid == TID);
    assert!(inner.iter().filter(is_media).count() > 5);
    assert!(
        inner.iter().filter(is_media).all(|frame| frame.flags.mode() == Some(Mode::Session) && frame.id == ROUTING)
    );
    assert!(world.hand.messages.iter().any(|message| matches!(message, Message::Av(_))), "no viewer's AV_INIT");
}
