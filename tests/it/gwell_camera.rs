//! The virtual GWell camera keeps the promises of docs/protocol/gwell.md and breaks exactly those that a fault names. Server
//! and viewers here are made by hand from codecs; they have no state machines of their own.

use std::net::SocketAddr;
use std::time::Duration;

use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::control::Control;
use doorstep::proto::gwell::gutes::{Frame, Identity, Kind};
use doorstep::proto::gwell::kcp::Windows;
use doorstep::proto::gwell::port_status::{PortKind, PortStatus};
use doorstep::proto::gwell::session::Path;
use doorstep::proto::gwell::stream_control::{Action, StreamControl};
use doorstep::proto::{Lane, Output, Session};
use doorstep::sim::clip::Clip;
use doorstep::sim::gwell_camera::{self, CameraCommand, CameraEvent, Fault, Settings};
use doorstep::sim::gwell_server;
use tokio_util::sync::CancellationToken;

use crate::support::gwell_rig::{Rig, STEP, UNIX_MS};
use crate::support::gwell_viewer::{self, CAMERA, RELAY, SERVER, TID, Viewer};

const SECOND: Duration = Duration::from_secs(1);
const WAYS: [Path; 5] = [Path::LanTcp, Path::LanUdp, Path::RelayTcp, Path::RelayUdp, Path::Passthrough];

fn settings() -> Settings {
    Settings { listen: CAMERA, ..Settings::new(SERVER, "GW_DBD_80482C000001", gwell_viewer::token()) }
}

fn actions(controls: &[StreamControl]) -> Vec<Action> {
    controls.iter().map(|control| control.action).collect()
}

#[test]
fn it_logs_in_as_a_terminal_does_and_stays_logged_in() {
    let mut rig = Rig::logged_in(settings());
    assert_eq!(rig.events, [CameraEvent::LoggedIn { server: SERVER }]);
    assert_eq!(rig.server.acknowledged, 1);
    rig.run(100 * SECOND);
    assert_eq!((rig.server.certified, rig.server.beats), (1, 5), "a heartbeat each 20 s");
}

#[test]
fn it_logs_in_anew_at_a_server_that_was_gone() {
    let mut rig = Rig::logged_in(settings());
    rig.server.silent = true;
    rig.server.forget();
    rig.run(61 * SECOND);
    rig.server.silent = false;
    rig.run(10 * SECOND);
    assert_eq!(rig.server.certified, 2);
    rig.order(CameraCommand::Offline);
    rig.run(100 * SECOND);
    assert_eq!(rig.server.beats, 0, "it is offline");
    rig.order(CameraCommand::Online);
    rig.run(STEP);
    assert_eq!(rig.server.certified, 3);
}

#[test]
fn a_server_that_refuses_its_token_is_asked_again() {
    let mut rig = Rig::new(settings());
    rig.server.code = 8_020;
    rig.run(11 * SECOND);
    assert_eq!(rig.events.len(), 3, "{:?}", rig.events);
    assert!(rig.events.iter().all(|event| *event == CameraEvent::Refused { code: 8_020 }));
    rig.server.code = 0;
    rig.run(5 * SECOND);
    assert!(rig.saw(|event| matches!(event, CameraEvent::LoggedIn { .. })));
}

#[test]
fn a_call_is_taken_each_time_and_is_one_call() {
    let mut rig = Rig::logged_in(settings());
    let at = rig.call(Viewer::new(1, Path::LanUdp));
    let calling = rig.viewers[at].call.clone();
    for datagram in rig.server.call(&calling, Vec::new()) {
        rig.deliver(Lane::MAIN, SERVER, &datagram);
    }
    let taken = &rig.server.taken;
    assert_eq!(taken.len(), 2);
    assert_eq!(SocketAddr::from((taken[0].address, taken[0].port)), CAMERA);
    assert_eq!((taken[0].link_id, taken[0].caller, taken[0].callee), (calling.link_id, calling.caller, TID));
    assert_eq!(taken[0].mtp_key, [0; 8], "the key goes one way only");
    let called = |event: &&CameraEvent| matches!(event, CameraEvent::Called { .. });
    assert_eq!(rig.events.iter().filter(called).count(), 1);
    let mut wrong = rig.viewers[at].call.clone();
    (wrong.link_id, wrong.callee) = (77, TID + 1);
    for datagram in rig.server.call(&wrong, Vec::new()) {
        rig.deliver(Lane::MAIN, SERVER, &datagram);
    }
    assert_eq!(rig.server.taken.len(), 2, "it took a call for another camera");
}

#[test]
fn picture_and_sound_come_in_real_time_on_every_way() {
    for way in WAYS {
        let mut rig = Rig::watched(settings(), way);
        rig.run(20 * SECOND);
        assert!(rig.pictures(0).len().abs_diff(410) <= 2, "{way:?}: {} pictures", rig.pictures(0).len());
        rig.assert_clip(0);
        assert!(rig.sounds(0).len().abs_diff(1_025) <= 4, "{way:?}: {} packets of sound", rig.sounds(0).len());
        assert!(rig.sounds(0).iter().enumerate().all(|(n, sound)| sound.pts_us == n as u64 * 20_000));
        assert!(rig.sounds(0).iter().all(|sound| sound.data.len() == 320));
        assert!(rig.viewers[0].longest <= 1_008, "a message of {} bytes", rig.viewers[0].longest);
        assert_eq!(rig.ever_broken(), [""; 0], "{way:?}");
        let media = rig.viewers[0].frames.iter().rev().take(100);
        assert!(media.clone().all(|came| *came == way), "{way:?}: {:?}", media.collect::<Vec<_>>());
        assert!(rig.astray.is_empty(), "{:?}", rig.astray);
    }
}

#[test]
fn streams_to_relays_are_closed_when_nobody_needs_them() {
    let mut rig = Rig::watched(settings(), Path::RelayTcp);
    let at = rig.call(Viewer::new(2, Path::RelayTcp));
    rig.watch(at);
    rig.viewers[0].say_on_data(Action::Close);
    rig.run(2 * SECOND);
    assert!(rig.closed.is_empty(), "the other viewer needs it");
    rig.viewers[1].say_on_data(Action::Close);
    rig.run(2 * SECOND);
    assert_eq!(rig.closed, [RELAY]);
}

#[test]
fn it_says_where_it_is_before_it_is_asked() {
    let mut rig = Rig::logged_in(settings());
    rig.meters = false;
    let mut viewer = Viewer::new(1, Path::RelayUdp);
    viewer.answers_meters = false;
    let at = rig.call(viewer);
    rig.run(2 * SECOND);
    for way in [Path::LanUdp, Path::RelayTcp, Path::RelayUdp] {
        let count = rig.viewers[at].controls.iter().filter(|(came, _)| *came == way).count();
        assert!((3..=5).contains(&count), "{count} meters by {way:?} in two seconds");
    }
}

#[test]
fn meters_go_both_ways() {
    let mut rig = Rig::watched(settings(), Path::LanUdp);
    rig.viewers[0].controls.clear();
    rig.run(60 * SECOND);
    let count =
        |wanted: fn(&Control) -> bool| rig.viewers[0].controls.iter().filter(|(_, control)| wanted(control)).count();
    assert_eq!(count(|control| matches!(control, Control::MeterAck(..))), 30);
    assert!((30..=60).contains(&count(|control| matches!(control, Control::Meter(..)))));
}

#[test]
fn whoever_probes_its_ports_is_answered_where_it_asks_from() {
    let mut rig = Rig::logged_in(settings());
    let at = rig.call(Viewer::new(1, Path::LanUdp));
    let link_id = rig.viewers[at].call.link_id;
    let asker = gwell_viewer::at(5, 5_555);
    for (tid, link_id, answers) in [(TID, link_id, 1), (TID + 1, link_id, 0), (TID, link_id + 1, 0)] {
        let status = PortStatus { tid, link_id, kind: PortKind::Probe, ports: [0; 4] };
        let datagram = status.encode(Identity::Session(9)).seal(None);
        rig.camera.on_datagram(rig.now, Lane::MAIN, asker, &datagram).unwrap();
        let mut answered = Vec::new();
        while let Some(output) = rig.camera.poll() {
            if let Output::Send { to, payload, .. } = output
                && to == asker
            {
                answered.push(Frame::open(&payload, None).unwrap());
            }
        }
        assert_eq!(answered.len(), answers);
        assert!(answered.iter().all(|frame| frame.kind == Kind::PortStatusReply));
        assert!(answered.iter().all(|frame| PortStatus::decode(frame) == Ok(status)));
    }
}

#[test]
fn no_engine_runs_before_it_was_asked_for() {
    let mut rig = Rig::logged_in(settings());
    let at = rig.call(Viewer::new(1, Path::LanUdp));
    rig.viewers[at].init();
    rig.run(20 * SECOND);
    assert_eq!((rig.controls(at), rig.broken()), (vec![], vec!["create_kcp"]));
    let create = rig.viewers[at].create();
    rig.say(at, &create);
    rig.run(30 * SECOND);
    assert_eq!((actions(&rig.controls(at)), rig.broken()), (vec![Action::Accept], vec![]));
}

#[test]
fn the_server_may_ask_for_engines_in_the_viewers_place() {
    let mut rig = Rig::logged_in(settings());
    let at = rig.call(Viewer::new(1, Path::Passthrough));
    let (caller, link_id) = (rig.viewers[at].call.caller, rig.viewers[at].call.link_id);
    let create = rig.server.create_kcp(caller, link_id);
    rig.deliver(Lane::MAIN, SERVER, &create);
    rig.viewers[at].init();
    rig.run(SECOND);
    assert_eq!(actions(&rig.controls(at)), [Action::Accept]);
}

#[test]
fn a_request_is_accepted_once_and_started_is_the_echo_of_start() {
    let mut rig = Rig::logged_in(settings());
    let at = rig.call(Viewer::new(1, Path::LanUdp));
    rig.open(at);
    rig.viewers[at].init();
    rig.viewers[at].start();
    // The echo of STARTED, which looks like START, and is none.
    rig.viewers[at].start();
    rig.run(SECOND);
    let controls = rig.controls(at);
    assert_eq!(actions(&controls), [Action::Accept, Action::Start]);
    assert!(controls.iter().all(|control| control.stream_id == rig.viewers[at].stream_id));
}

#[test]
fn the_odd_ways_of_the_public_go_client_are_tolerated() {
    let mut rig = Rig::logged_in(settings());
    let at = rig.call(Viewer::new(1, Path::LanUdp));
    let create = rig.viewers[at].create();
    (0..4).for_each(|_| rig.say(at, &create));
    // Each retry under a number of its own, and under the first one again.
    for sn in [0, 0, 1, 0, 2] {
        let init = rig.viewers[at].init_by_hand(sn);
        rig.say(at, &init);
        rig.run(SECOND / 2);
    }
    assert_eq!(actions(&rig.controls(at)), [Action::Accept]);
    rig.viewers[at].start();
    rig.viewers[at].av_init();
    for sn in 0..100 {
        let ack = rig.viewers[at].ack_by_hand(sn, 1_000 + sn);
        rig.say(at, &ack);
        rig.run(5 * STEP);
    }
    rig.assert_clip(at);
    assert!(rig.pictures(at).len() > 95);
    assert_eq!(rig.ever_broken(), [""; 0]);
}

#[test]
fn nothing_is_filmed_before_the_viewers_av_init() {
    let mut rig = Rig::logged_in(settings());
    let at = rig.call(Viewer::new(1, Path::LanUdp));
    rig.open(at);
    rig.viewers[at].start();
    rig.run(10 * SECOND);
    assert_eq!((rig.viewers[at].longest, rig.broken()), (0, vec!["av_init"]));
    rig.viewers[at].av_init();
    rig.run(SECOND);
    rig.assert_clip(at);
    assert_eq!(rig.broken(), [""; 0]);
}

#[test]
fn an_av_init_without_start_shows_nothing_and_is_told() {
    let mut rig = Rig::logged_in(settings());
    let at = rig.call(Viewer::new(1, Path::LanUdp));
    rig.open(at);
    rig.viewers[at].av_init();
    rig.run(2 * SECOND);
    assert_eq!((rig.viewers[at].longest, rig.broken()), (0, vec!["start"]));
}

#[test]
fn stream_zero_is_accepted_and_shows_nothing() {
    let mut rig = Rig::logged_in(settings());
    let mut viewer = Viewer::new(1, Path::LanUdp);
    viewer.stream_id = 0;
    let at = rig.call(viewer);
    rig.watch(at);
    rig.run(5 * SECOND);
    assert_eq!(actions(&rig.controls(at))[0], Action::Accept);
    assert_eq!((rig.viewers[at].longest, rig.broken()), (0, vec!["stream_id"]));
}

#[test]
fn four_watch_at_a_time_and_the_fifth_is_refused_until_one_leaves() {
    let mut rig = Rig::logged_in(settings());
    for number in 1..=5 {
        let at = rig.call(Viewer::new(number, WAYS[usize::from(number) - 1]));
        rig.open(at);
        rig.viewers[at].start();
        rig.viewers[at].av_init();
    }
    rig.run(5 * SECOND);
    (0..4).for_each(|at| rig.assert_clip(at));
    assert_eq!(actions(&rig.controls(4)), [Action::Reject]);
    rig.viewers[0].say_on_data(Action::Stop);
    rig.run(2 * SECOND);
    let at = rig.call(Viewer::new(6, Path::LanUdp));
    rig.watch(at);
    rig.assert_clip(at);
}

#[test]
fn whoever_leaves_hears_that_it_was_heard_and_then_nothing() {
    for (action, why) in [(Action::Close, "the viewer closed it"), (Action::Stop, "the viewer stopped it")] {
        let mut rig = Rig::watched(settings(), Path::LanUdp);
        rig.meters = false;
        rig.viewers[0].say_on_data(action);
        rig.run(SECOND / 2);
        assert_eq!(rig.ended(), [why]);
        rig.run(2 * SECOND);
        rig.viewers[0].frames.clear();
        rig.run(10 * SECOND);
        assert_eq!(rig.viewers[0].frames, []);
        let left = rig.viewers[0].outgoing(UNIX_MS + 20_000);
        assert_eq!(left.len(), 0, "the farewell was not acknowledged");
    }
}

#[test]
fn a_viewer_without_meters_is_dropped_after_119_seconds() {
    let mut rig = Rig::watched(settings(), Path::LanUdp);
    rig.meters = false;
    rig.run(115 * SECOND);
    assert_eq!((rig.ended(), rig.broken()), (vec![], vec!["meters"]));
    rig.run(5 * SECOND);
    assert_eq!(rig.ended(), ["its meters stopped"]);
}

#[test]
fn a_viewer_that_answers_no_meters_is_told_of() {
    let mut rig = Rig::watched(settings(), Path::LanUdp);
    rig.viewers[0].answers_meters = false;
    rig.run(20 * SECOND);
    assert_eq!(rig.broken(), ["meter_acks"]);
    rig.assert_clip(0);
}

#[test]
fn a_viewer_that_sends_by_two_ways_is_told_of_and_one_that_moves_is_not() {
    let mut rig = Rig::watched(settings(), Path::LanUdp);
    rig.viewers[0].way = Path::LanTcp;
    rig.run(2 * SECOND);
    assert!(rig.saw(|event| matches!(event, CameraEvent::Moved { path: "lan_tcp", .. })), "{:?}", rig.events);
    assert_eq!(rig.broken(), [""; 0]);
    for way in [Path::LanUdp, Path::LanTcp, Path::LanUdp, Path::LanTcp] {
        rig.viewers[0].way = way;
        rig.run(SECOND / 5);
    }
    assert_eq!(rig.broken(), ["one_address"]);
    rig.assert_clip(0);
}

#[test]
fn a_viewer_with_a_narrow_window_is_told_of() {
    let mut rig = Rig::logged_in(settings());
    let at = rig.call(Viewer::with_windows(1, Path::LanUdp, Windows { send: 64, receive: 64 }));
    rig.watch(at);
    rig.run(5 * SECOND);
    assert_eq!(rig.broken(), ["window"]);
}

#[test]
fn a_stream_that_breaks_leaves_the_viewer_to_come_back_on_another_way() {
    let mut rig = Rig::watched(settings(), Path::LanTcp);
    let address = rig.viewers[0].address;
    rig.deliver(TCP, address, &[]);
    rig.viewers[0].way = Path::LanUdp;
    rig.run(5 * SECOND);
    rig.assert_clip(0);
    assert!(rig.pictures(0).len() > 100);
}

#[test]
fn a_viewer_that_is_silent_on_its_way_is_found_where_it_meters() {
    let mut rig = Rig::watched(settings(), Path::LanUdp);
    (rig.viewers[0].deaf, rig.viewers[0].answers_meters) = (true, false);
    // Nothing comes of it but its own meters.
    rig.viewers[0].way = Path::LanTcp;
    rig.run(6 * SECOND);
    assert!(rig.saw(|event| matches!(event, CameraEvent::Moved { path: "lan_tcp", .. })), "{:?}", rig.events);
    rig.viewers[0].frames.clear();
    rig.run(5 * SECOND);
    assert!(rig.viewers[0].frames.len() > 5 && !rig.viewers[0].frames.contains(&Path::LanUdp));
    rig.viewers[0].deaf = false;
    rig.run(10 * SECOND);
    // What was left out meanwhile was left out in whole pictures.
    let pictures = rig.pictures(0);
    assert!(pictures.iter().all(|picture| !picture.damaged));
    assert!(pictures.last().unwrap().pts_us > 19_000_000);
}

#[test]
fn frames_of_strangers_and_of_nobody_change_nothing() {
    let mut rig = Rig::watched(settings(), Path::LanUdp);
    let stranger = Viewer::new(9, Path::LanUdp);
    let from = gwell_viewer::at(66, 666);
    for payload in [stranger.create(), stranger.meter(1)] {
        let frame = stranger.frame(Path::LanUdp, &payload);
        for len in 0..frame.len() {
            rig.deliver(Lane::MAIN, from, &frame[..len]);
            rig.deliver(TCP, from, &frame[..len]);
            rig.deliver(Lane::MAIN, SERVER, &frame[..len]);
        }
        rig.deliver(Lane::MAIN, from, &frame);
    }
    // Of the call that there is, but from somebody else to somebody else.
    let mut forged = rig.viewers[0].create();
    forged[12] ^= 1;
    let frame = stranger.frame(Path::LanUdp, &forged);
    rig.deliver(Lane::MAIN, from, &frame);
    rig.run(5 * SECOND);
    rig.assert_clip(0);
    assert!(rig.ever_broken().contains(&"mtp") && rig.ever_broken().contains(&"ids"), "{:?}", rig.events);
    assert!(rig.astray.is_empty(), "{:?}", rig.astray);
}

#[test]
fn a_doorbell_that_sleeps_hears_nothing_until_it_is_woken() {
    let mut rig = Rig::logged_in(Settings { sleeps: true, ..settings() });
    let at = rig.call(Viewer::new(1, Path::LanUdp));
    assert_eq!(rig.server.taken.len(), 0, "it took a call in its sleep");
    let (beats, wake_up) = (rig.server.beats, rig.server.wake_up());
    rig.deliver(Lane::MAIN, SERVER, &wake_up);
    rig.run(2 * SECOND);
    assert_eq!(rig.server.beats, beats, "it is awake before its time");
    rig.run(SECOND);
    assert_eq!(rig.server.beats, beats + 1);
    let calling = rig.viewers[at].call.clone();
    for datagram in rig.server.call(&calling, Vec::new()) {
        rig.deliver(Lane::MAIN, SERVER, &datagram);
    }
    rig.watch(at);
    rig.run(20 * SECOND);
    rig.assert_clip(at);
    rig.viewers[at].say_on_data(Action::Close);
    rig.meters = false;
    rig.run(10 * SECOND);
    let naps: Vec<_> =
        rig.events.iter().filter(|event| matches!(event, CameraEvent::Awake | CameraEvent::Asleep)).collect();
    assert_eq!(naps, [&CameraEvent::Awake, &CameraEvent::Asleep]);
    rig.order(CameraCommand::Wake);
    rig.run(4 * SECOND);
    assert!(matches!(rig.events.last(), Some(CameraEvent::Awake)));
}

#[test]
fn a_doorbell_on_a_battery_falls_silent_when_it_has_shown_enough() {
    let mut rig = Rig::watched(Settings { live_for: Some(20 * SECOND), ..settings() }, Path::LanUdp);
    rig.run(25 * SECOND);
    assert_eq!(rig.ended(), ["the camera has shown enough"]);
    assert_eq!(actions(&rig.controls(0)), [Action::Accept, Action::Start], "no farewell");
    assert!(rig.pictures(0).len().abs_diff(400) <= 2);
}

#[test]
fn a_camera_that_is_switched_off_says_so_to_everybody() {
    let mut rig = Rig::watched(settings(), Path::LanUdp);
    let at = rig.call(Viewer::new(2, Path::RelayUdp));
    rig.watch(at);
    rig.camera.on_close(rig.now);
    rig.pump();
    for at in [0, 1] {
        assert_eq!(actions(&rig.controls(at)), [Action::Accept, Action::Start, Action::Close]);
    }
}

#[test]
fn a_camera_that_is_unplugged_says_nothing() {
    let mut rig = Rig::watched(settings(), Path::LanUdp);
    rig.order(CameraCommand::Offline);
    rig.viewers[0].frames.clear();
    rig.run(5 * SECOND);
    assert_eq!(rig.viewers[0].frames, []);
    rig.order(CameraCommand::Online);
    rig.run(SECOND);
    let at = rig.call(Viewer::new(2, Path::LanUdp));
    rig.watch(at);
    rig.assert_clip(at);
}

#[test]
fn with_a_fifth_of_its_datagrams_lost_every_picture_arrives() {
    let mut rig = Rig::logged_in(Settings { loss: 0.2, kbit_per_second: None, ..settings() });
    let at = loop {
        let at = rig.call(Viewer::new(rig.viewers.len() as u8 + 1, Path::LanUdp));
        let create = rig.viewers[at].create();
        (0..10).for_each(|_| rig.say(at, &create));
        if rig.saw(|event| matches!(event, CameraEvent::Called { link, .. } if *link == rig.viewers[at].call.link_id)) {
            break at;
        }
    };
    rig.watch(at);
    rig.run(60 * SECOND);
    rig.assert_clip(at);
    assert!(rig.pictures(at).len() > 1_190, "{} pictures in a minute", rig.pictures(at).len());
}

#[test]
fn a_viewer_that_takes_nothing_costs_bounded_memory_and_gets_a_keyframe_first_when_it_does() {
    let mut rig = Rig::watched(Settings { kbit_per_second: Some(2_000), ..settings() }, Path::LanUdp);
    rig.viewers[0].deaf = true;
    rig.run(100 * SECOND);
    rig.viewers[0].deaf = false;
    rig.run(20 * SECOND);
    let pictures = rig.pictures(0);
    assert!(pictures.iter().all(|picture| !picture.damaged));
    let gap = pictures.windows(2).position(|pair| pair[1].pts_us - pair[0].pts_us > 60_000_000).expect("a gap");
    let keyframe = Clip::h264().filled_up_to(2_000).access_unit(0).data;
    assert_eq!(pictures[gap + 1].data[..30], keyframe[..30], "parameter sets first");
    let late = pictures[gap].pts_us / 50_000;
    assert!(late < 200, "{late} pictures were kept for nobody");
}

#[test]
fn each_fault_breaks_its_promise_and_no_other() {
    for fault in Fault::ALL.iter().copied() {
        let way = match fault {
            Fault::NoLanTcp => Path::LanTcp,
            Fault::NoRelayTcp => Path::RelayTcp,
            Fault::NoRelayUdp => Path::RelayUdp,
            Fault::NoPassthrough => Path::Passthrough,
            _ => Path::LanUdp,
        };
        let mut rig = Rig::watched(Settings { fault: Some(fault), ..settings() }, way);
        rig.meters = fault != Fault::MeterStarvation;
        rig.run(30 * SECOND);
        let said = actions(&rig.controls(0));
        let (pictures, sounds) = (rig.pictures(0).len(), rig.sounds(0).len());
        let accepted = [Action::Accept, Action::Start].as_slice();
        match fault {
            Fault::Silent
            | Fault::NoLanUdp
            | Fault::NoLanTcp
            | Fault::NoLan
            | Fault::NoRelayTcp
            | Fault::NoRelayUdp
            | Fault::NoPassthrough
            | Fault::PassthroughOnly => assert!(!rig.viewers[0].frames.contains(&way), "{fault}"),
            Fault::NoAccept => assert_eq!((said, pictures), (vec![], 0)),
            Fault::Reject => assert_eq!((said, pictures), (vec![Action::Reject], 0)),
            Fault::Stop => assert_eq!(said, [accepted, &[Action::Stop]].concat()),
            Fault::Close => assert_eq!(said, [accepted, &[Action::Close]].concat()),
            Fault::MeterStarvation => assert_eq!(rig.ended(), ["its meters stopped"]),
            Fault::NoStarted => assert_eq!(said, [Action::Accept]),
            Fault::VideoOnly => assert_eq!(sounds, 0),
            Fault::EndlessFragments => assert_eq!((pictures, sounds), (0, 0)),
            Fault::AudioInterleaved | Fault::Duplicate | Fault::WrongChecksum => assert_eq!(said, accepted),
        }
        let whole = [
            Fault::NoStarted,
            Fault::VideoOnly,
            Fault::AudioInterleaved,
            Fault::Duplicate,
            Fault::WrongChecksum,
            Fault::Stop,
            Fault::Close,
            Fault::MeterStarvation,
        ];
        if whole.contains(&fault) {
            rig.assert_clip(0);
        }
        assert_eq!(rig.viewers[0].broken > 0, fault == Fault::WrongChecksum, "{fault}");
    }
}

#[tokio::test]
async fn on_sockets_it_listens_over_udp_and_tcp_at_one_port() {
    let stop = CancellationToken::new();
    let desk = gwell_server::Settings::generate(1);
    let (account, server) = (desk.cameras[0].clone(), gwell_server::start(desk, stop.clone()).await.unwrap());
    let settings = Settings::new(server.address, account.name, account.token);
    let camera = gwell_camera::start(settings, stop.clone()).await.unwrap();
    let mut events = camera.events();
    let logged_in = async { while !matches!(events.recv().await.unwrap(), CameraEvent::LoggedIn { .. }) {} };
    tokio::time::timeout(20 * SECOND, logged_in).await.expect("it logs in");
    tokio::net::TcpStream::connect(camera.address).await.expect("it takes streams");
    stop.cancel();
    camera.stopped().await;
    server.stopped().await;
}

#[test]
fn a_fault_that_ends_leaves_a_whole_camera() {
    let mut rig = Rig::watched(settings(), Path::LanUdp);
    rig.order(CameraCommand::Fault(Some(Fault::Silent)));
    rig.viewers[0].frames.clear();
    rig.run(3 * SECOND);
    assert_eq!(rig.viewers[0].frames, []);
    rig.order(CameraCommand::Fault(None));
    rig.run(10 * SECOND);
    assert!(rig.pictures(0).len() > 180, "{}", rig.pictures(0).len());
    let faults: Vec<_> = rig.events.iter().filter(|event| matches!(event, CameraEvent::Fault { .. })).collect();
    assert_eq!(faults, [&CameraEvent::Fault { name: "silent" }, &CameraEvent::Fault { name: "none" }]);
}
