//! What keeps a GWell stream alive for longer than minutes: the five stability rules of docs/protocol/gwell.md, and a
//! session that keeps time.

use std::net::SocketAddr;
use std::time::Duration;

use doorstep::proto::Session;
use doorstep::proto::gwell::gutes::Kind;
use doorstep::proto::gwell::kcp;
use doorstep::proto::gwell::port_status::{PortKind, PortStatus};
use doorstep::proto::gwell::session::{Event, Path, Setup};

use crate::support::gwell_hand::{CAMERA, EVERY_PATH, SECOND, SERVER};
use crate::support::gwell_world::{World, setup, streams};

// The five rules.

#[test]
fn rule_1_kcp_goes_to_one_address_and_media_never_to_the_server() {
    for alive in [&[Path::LanTcp][..], &[Path::LanUdp], &EVERY_PATH, &[Path::RelayTcp, Path::RelayUdp]] {
        let mut world = World::streaming(alive);
        // The camera may be heard on all of them.
        for _ in 0..20 {
            alive.iter().for_each(|path| world.hand.send_meter(*path));
            world.run_for(SECOND);
        }
        let accepted = world.events.iter().find(|(_, event)| *event == Event::Accepted).unwrap().0;
        assert_eq!(world.kcp_went_to(accepted).len(), 1, "{alive:?}");
        let mut to_server = world.sent.iter().filter(|(_, packet)| packet.to == SocketAddr::from(SERVER));
        assert!(to_server.all(|(_, packet)| packet.payload[0] != 0xC0), "media went to the P2P server");
    }
}

#[test]
fn rule_2_a_meter_goes_to_the_camera_every_two_seconds_and_its_own_are_answered() {
    let mut world = World::streaming(&[Path::LanUdp]);
    let from = world.passed();
    world.run_for(120 * SECOND);
    let meters: Vec<_> = world.meters_sent().into_iter().filter(|at| *at >= from).collect();
    assert!((58..=62).contains(&meters.len()), "{} meters in two minutes", meters.len());
    let gaps = meters.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.into_iter().all(|gap| gap <= Duration::from_millis(2_050)), "a camera would drop the viewer");
    let answered = world.hand.meter_acks;
    world.hand.send_meter(Path::LanUdp);
    assert!(world.run(SECOND, |world| world.hand.meter_acks == answered + 1), "the camera's meter was not answered");
}

#[test]
fn rule_3_port_status_keeps_the_server_and_never_goes_to_a_camera_that_streams() {
    let mut world = World::streaming(&[Path::LanUdp]);
    let from = world.passed();
    world.run_for(120 * SECOND);
    let since = |times: Vec<Duration>| times.into_iter().filter(|at| *at >= from).count();
    let to_server = world.gutes_sent(Kind::PortStatus, SERVER);
    assert!(to_server.windows(2).all(|pair| pair[1] - pair[0] <= 10 * SECOND + Duration::from_millis(50)));
    assert_eq!(since(to_server), 12);
    assert_eq!(since(world.gutes_sent(Kind::PortStatus, CAMERA)), 0, "0xCA went to the camera");
    let kinds = world.hand.heard.iter().rev().filter_map(|frame| PortStatus::decode(frame).ok());
    assert!(kinds.take(12).all(|status| status.kind == PortKind::Online));
}

#[test]
fn rule_4_500_segments_behind_a_lost_one_are_kept() {
    let mut world = World::streaming(&[Path::LanUdp]);
    world.hand.sends_pictures = false;
    world.run_for(SECOND);
    let data = kcp::conversations(world.ids().link_id).data;
    let next = sequence_numbers(&world, data, Duration::ZERO).into_iter().max().unwrap() + 1;
    let (from, until) = (world.passed(), world.passed() + 2 * SECOND);
    world.loses = Box::new(move |at, packet| at < until && numbers_in(&packet.segments(), data).contains(&next));
    world.hand.picture_len = 500 * 1_004 - 28;
    world.hand.send_picture();
    world.hand.picture_len = 100;
    world.hand.send_picture();
    let pictures = world.frames.len();
    assert!(world.run(8 * SECOND, |world| world.frames.len() > pictures), "{:?}", world.ended);
    assert!(!world.frames[pictures].1.gap);
    let numbers = sequence_numbers(&world, data, from);
    let ahead = world.received.iter().filter(|(at, _)| *at >= from && *at < until);
    let ahead = ahead.flat_map(|(_, packet)| numbers_in(&packet.segments(), data)).max();
    assert!(ahead >= Some(next + 490), "the camera had to wait: it sent up to {ahead:?}, {next} was lost");
    let repeated = (next + 1..next + 400).filter(|n| numbers.iter().filter(|other| *other == n).count() > 1).count();
    assert_eq!(repeated, 0, "segments had to be sent again that had arrived");
    assert_eq!(world.client.dropped().kcp, 0);
}

/// Numbers of the pushes of one conversation in MTP segments.
fn numbers_in(segments: &[u8], conversation: u32) -> Vec<u32> {
    const PUSH: u8 = 81;
    let mut numbers = Vec::new();
    let mut rest = segments;
    while let Some(header) = rest.first_chunk::<24>() {
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        if word(0) == conversation && header[4] == PUSH {
            numbers.push(word(12));
        }
        rest = &rest[24 + word(20) as usize..];
    }
    numbers
}

fn sequence_numbers(world: &World, conversation: u32, from: Duration) -> Vec<u32> {
    let received = world.received.iter().filter(|(at, _)| *at >= from);
    received.flat_map(|(_, packet)| numbers_in(&packet.segments(), conversation)).collect()
}

#[test]
fn rule_5_heartbeats_are_40_s_apart() {
    let mut world = World::streaming(&[Path::LanUdp]);
    world.run_for(210 * SECOND);
    let beats = world.gutes_sent(Kind::Heartbeat, SERVER);
    assert!(beats.len() >= 5, "{beats:?}");
    for pair in beats.windows(2) {
        let apart = pair[1] - pair[0];
        assert!((35 * SECOND..=50 * SECOND).contains(&apart), "{apart:?} between two heartbeats");
    }
}

#[test]
fn heartbeats_are_as_rare_while_a_camera_is_called() {
    let mut world = World::new(setup(), |hand| hand.answers_calls = false);
    world.run_for(74 * SECOND);
    let beats = world.gutes_sent(Kind::Heartbeat, SERVER);
    assert_eq!(beats.len(), 2, "{beats:?}");
}

// Time.

#[test]
fn a_clock_that_wraps_disturbs_nothing() {
    const WRAP: u64 = 1 << 32;
    for wraps_in in [50, 2_000, 10_000] {
        let unix_ms = 400 * WRAP - wraps_in;
        let mut world = World::new(Setup { unix_ms, ..setup() }, |_| {});
        assert!(world.run(SECOND, streams), "{wraps_in}: {:?}", world.ended);
        let mut before = world.frames.len();
        for _ in 0..20 {
            world.run_for(SECOND);
            assert!(world.frames.len() >= before + 12, "{wraps_in}: it stalls at {:?}", world.passed());
            before = world.frames.len();
        }
    }
}

#[test]
fn an_idle_session_wakes_a_few_times_a_second_at_most() {
    let mut world = World::streaming(&[Path::LanUdp]);
    world.hand.sends_pictures = false;
    world.run_for(SECOND);
    let before = world.wakeups;
    world.run_for(10 * SECOND);
    let wakeups = world.wakeups - before;
    assert!(wakeups <= 50, "{wakeups} wakeups in 10 s without media");

    let mut calling = World::new(setup(), |hand| hand.answers_calls = false);
    calling.run_for(60 * SECOND);
    assert!(calling.wakeups <= 60, "{} wakeups in a minute of calling", calling.wakeups);
}

#[test]
fn the_deadline_moves_on_whenever_it_has_come() {
    let mut world = World::new(setup(), |hand| hand.alive = [Path::LanUdp].into());
    world.loses = Box::new(|_, packet| packet.from == SocketAddr::from(CAMERA));
    for _ in 0..5_000 {
        world.run(Duration::from_millis(1), |_| false);
        let Some(deadline) = world.client.deadline().filter(|_| world.ended.is_none()) else { return };
        assert!(deadline > world.now || world.client.poll().is_none());
    }
}
