//! What a session makes of datagrams that nobody honest sends: dropped and counted, in bounded memory, and the picture
//! goes on.

use std::net::SocketAddr;
use std::time::Duration;

use doorstep::proto::Lane;
use doorstep::proto::gwell::TCP;
use doorstep::proto::gwell::certify::CertifyReply;
use doorstep::proto::gwell::control::{Control, Meter, Route};
use doorstep::proto::gwell::gutes::Identity;
use doorstep::proto::gwell::kcp::conversations;
use doorstep::proto::gwell::mtp::{Carrier, Mtp};
use doorstep::proto::gwell::session::{Dropped, Media, Path, SessionError};
use doorstep::proto::gwell::stream_control::{Action, StreamControl};
use doorstep::sim::dice::Dice;
use doorstep::sim::gwell_camera::Fault;
use doorstep::sim::gwell_server;

use crate::support::gwell_town::{GwellTown, Plan, Programme, World};
use crate::support::impair::Line;
use crate::support::memory::{MIB, resident};

const SECOND: Duration = Duration::from_secs(1);
/// Nobody: not the server, nor a relay, nor a camera.
const STRANGER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 66)), 32_761);
const PUSH: u8 = 81;
const ACK: u8 = 82;
const WINDOW_ASK: u8 = 83;
const WINDOW_TELL: u8 = 84;

/// A town whose only viewer has a picture, over the LAN's UDP.
fn streaming(change: impl FnOnce(&mut Plan)) -> GwellTown {
    let mut plan = Plan { camera: |_, settings| settings.paths = [Path::LanUdp].into(), ..Plan::default() };
    change(&mut plan);
    let mut town = GwellTown::new(&plan);
    assert!(town.run(30 * SECOND, |world| world.pictures(0) > 20), "no picture: {:?}", town.world.viewers[0].ended);
    town
}

/// Everything that comes in this time is what was sent, and nothing is missing since the last call.
fn assert_untouched(town: &mut GwellTown, last: &mut Option<(u64, u64)>) {
    let programme = Programme::new();
    town.run(5 * SECOND, |world| world.viewers[0].ended.is_some());
    assert_eq!(town.world.viewers[0].ended, None);
    let frames = town.take_frames(0);
    let numbers = |wanted| {
        let of_it = frames.iter().filter(move |(_, frame)| frame.media == wanted);
        of_it.map(|(_, frame)| programme.recognise(frame)).collect::<Vec<u64>>()
    };
    let (pictures, sounds) = (numbers(Media::Video), numbers(Media::Audio));
    assert!(pictures.len() > 90 && sounds.len() > 240, "{} pictures, {} packets", pictures.len(), sounds.len());
    assert!(pictures.windows(2).chain(sounds.windows(2)).all(|two| two[1] == two[0] + 1), "something is missing");
    let now = (pictures[pictures.len() - 1], sounds[sounds.len() - 1]);
    if let Some(before) = last.replace(now) {
        assert_eq!((pictures[0], sounds[0]), (before.0 + 1, before.1 + 1), "something is missing");
    }
}

/// A KCP segment as anyone can write one (gwell reference §7).
struct Forged {
    conversation: u32,
    command: u8,
    fragment: u8,
    window: u16,
    ts: u32,
    sn: u32,
    una: u32,
    len: u32,
    data: Vec<u8>,
}

impl Forged {
    fn push(conversation: u32, sn: u32, fragment: u8, data: Vec<u8>) -> Self {
        let len = data.len() as u32;
        Self { conversation, command: PUSH, fragment, window: 64, ts: 0, sn, una: 0, len, data }
    }

    /// In an MTP frame with everything right about it.
    fn framed(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.conversation.to_le_bytes());
        segment.extend([self.command, self.fragment]);
        segment.extend(self.window.to_le_bytes());
        for number in [self.ts, self.sn, self.una, self.len] {
            segment.extend(number.to_le_bytes());
        }
        segment.extend(&self.data);
        framed(&segment)
    }
}

fn framed(payload: &[u8]) -> Vec<u8> {
    Mtp { urgent: false, to: None, payload }.encode(Carrier::Datagram)
}

#[test]
fn row_26_whatever_a_stranger_sends_is_dropped_and_counted_and_not_answered() {
    let mut town = streaming(|_| {});
    let mut last = None;
    assert_untouched(&mut town, &mut last);
    let (before, astray) = (town.dropped(), town.network.astray);
    let link = town.link();
    let route = Route { link_id: link, sender: 1, receiver: 2 };
    let close = StreamControl::of(Action::Close, 1).encode();
    let kick = CertifyReply { code: CertifyReply::KICKED, session: 1 }.encode(Identity::Session(1), 1).seal(None);
    let forgeries = [
        framed(&Control::Meter(route, Meter::new(1, 1)).encode()),
        Forged::push(conversations(link).ctrl, 1, 0, close.clone()).framed(),
        Forged::push(conversations(link).data, 40, 0, close).framed(),
        framed(&[]),
        kick,
        vec![0xC0],
        vec![],
        vec![0x7F; 2_000],
    ];
    for forgery in &forgeries {
        for _ in 0..100 {
            town.inject(0, Lane::MAIN, STRANGER, forgery);
            town.inject(0, TCP, STRANGER, forgery);
        }
    }
    assert_untouched(&mut town, &mut last);
    assert_eq!(town.network.astray, astray, "a stranger was answered");
    let expected = Dropped { strangers: before.strangers + 200 * forgeries.len() as u64, ..before };
    assert_eq!(town.dropped(), expected);
}

#[test]
fn a_wrong_checksum_is_dropped_and_counted_whoever_claims_to_send_it() {
    let mut town = streaming(|_| {});
    let mut last = None;
    assert_untouched(&mut town, &mut last);
    let before = town.dropped();
    let (link, camera, server) = (town.link(), town.camera_at(0), town.server_at());
    let whole = Forged::push(conversations(link).data, u32::MAX, 0, vec![1; 40]).framed();
    let mut sent = 0;
    // What the checksum covers: itself, the length, and 24 bytes behind them.
    for bit in 16..30 * 8 {
        let mut bent = whole.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        town.inject(0, Lane::MAIN, camera, &bent);
        sent += 1;
    }
    let reply = CertifyReply { code: CertifyReply::KICKED, session: 1 }.encode(Identity::Session(1), 1);
    for nth in 0..reply.seal(None).len() {
        let mut bent = reply.seal(None);
        bent.truncate(nth);
        town.inject(0, Lane::MAIN, server, &bent);
        sent += 1;
    }
    let after = town.dropped();
    let dropped = |dropped: Dropped| dropped.broken + dropped.foreign + dropped.strangers;
    assert_eq!(dropped(after) - dropped(before), sent, "{after:?}");
    assert!(after.broken - before.broken > sent / 2, "{after:?}");
    assert_untouched(&mut town, &mut last);
}

#[test]
fn hostile_camera_has_windows_and_numbers_of_its_own() {
    let mut town = streaming(|_| {});
    let mut last = None;
    assert_untouched(&mut town, &mut last);
    let (link, camera) = (town.link(), town.camera_at(0));
    let ids = conversations(link);
    let mut dice = Dice::new(7);
    let far = [0x4000_0000, 0x7FFF_FFFF, 0x8000_0000, 0xC000_0000, u32::MAX];
    let before = town.dropped();
    for nth in 0..4_000_u32 {
        let [command, fragment, low, high] = dice.bytes();
        let forged = Forged {
            // Another call's, now and then.
            conversation: *dice.pick(&[ids.data, ids.ctrl, ids.data, ids.ctrl, link ^ 0x0100]),
            command: *dice.pick(&[PUSH, PUSH, ACK, WINDOW_ASK, WINDOW_TELL, command]),
            fragment,
            // Shut, or wider than anybody has.
            window: *dice.pick(&[0, 0, u16::MAX, u16::from_le_bytes([low, high])]),
            ts: *dice.pick(&far),
            sn: *dice.pick(&far),
            una: *dice.pick(&far),
            len: *dice.pick(&[8, 8, 9, 1 << 20, u32::MAX]),
            data: vec![0xA5; 8],
        };
        town.inject(0, Lane::MAIN, camera, &forged.framed());
        if nth % 100 == 0 {
            town.run(SECOND / 100, |_| false);
        }
    }
    let dropped = town.dropped();
    assert!(dropped.kcp - before.kcp > 1_000, "{dropped:?}");
    assert!(dropped.foreign + dropped.kcp - before.kcp > 1_500, "{dropped:?}");
    assert_untouched(&mut town, &mut last);
}

/// The next numbers that the window takes are the attacker's: what the camera sends under them is lost, and no more.
#[test]
fn hostile_camera_fills_the_window_with_garbage() {
    const WINDOW: u32 = 512;
    let mut town = streaming(|_| {});
    assert_untouched(&mut town, &mut None);
    let (link, camera) = (town.link(), town.camera_at(0));
    let (ids, mut dice) = (conversations(link), Dice::new(11));
    let (before, memory) = (town.dropped(), resident());
    // From the beginning on, so that the next number is among them whichever it is: there are more than 250 behind it,
    // and 400 before it.
    for sn in 0..WINDOW + 300 {
        let fragment = if sn % 3 == 0 { 255 } else { 0 };
        let data = dice.bytes::<400>().to_vec();
        for conversation in [ids.data, ids.ctrl] {
            town.inject(0, Lane::MAIN, camera, &Forged::push(conversation, sn, fragment, data.clone()).framed());
        }
    }
    // While the camera has not got that far, nothing of it is new.
    town.run(13 * SECOND, |world| world.viewers[0].ended.is_some());
    assert_eq!(town.world.viewers[0].ended, None);
    assert!(town.dropped().kcp > before.kcp && town.dropped().media > before.media, "{:?}", town.dropped());
    assert!(resident() < memory + 8 * MIB, "{} MiB more", (resident() - memory) / MIB);
    town.take_frames(0);
    assert_untouched(&mut town, &mut None);
}

/// Whoever is taken for the camera may run away with the numbers. Then nothing of the camera is new any more.
#[test]
fn hostile_camera_runs_away_with_a_conversation() {
    let mut town = streaming(|_| {});
    let (link, camera) = (town.link(), town.camera_at(0));
    let memory = resident();
    for sn in 0..20_000 {
        let forged = Forged::push(conversations(link).data, sn, 0, vec![0xA5; 1_000]);
        town.inject(0, Lane::MAIN, camera, &forged.framed());
    }
    assert!(town.run(16 * SECOND, |world| world.viewers[0].ended.is_some()), "{:?}", town.dropped());
    assert_eq!(town.world.viewers[0].ended, Some(SessionError::Silent));
    assert!(resident() < memory + 8 * MIB, "{} MiB more", (resident() - memory) / MIB);
}

#[test]
fn row_26_fragments_that_never_end_cost_bounded_memory_and_a_session_ends_by_itself() {
    let mut plan = Plan { camera: |_, settings| settings.fault = Some(Fault::EndlessFragments), ..Plan::default() };
    plan.seed = 3;
    let mut town = GwellTown::new(&plan);
    let memory = resident();
    assert!(town.run(200 * SECOND, |world| world.viewers[0].ended.is_some()), "{:?}", town.dropped());
    let ended = town.world.viewers[0].ended.clone();
    let reasons = [SessionError::NotAccepted { reason: None }, SessionError::NoPicture, SessionError::Silent];
    assert!(ended.as_ref().is_some_and(|ended| reasons.contains(ended)), "{ended:?}");
    assert!(resident() < memory + 16 * MIB, "{} MiB more", (resident() - memory) / MIB);
}

/// KCP's clock is the Unix time in milliseconds, modulo 2³²: it wraps every 49 days.
#[test]
fn nobody_notices_that_the_clock_wraps() {
    const WRAPS: u64 = 396 << 32;
    let mut last = None;
    let mut town = streaming(|plan| plan.unix_ms = WRAPS - 15_000);
    for _ in 0..6 {
        assert_untouched(&mut town, &mut last);
    }
    assert!(town.network.passed() > 20 * SECOND, "the clock has not wrapped");
    assert_eq!(town.dropped().kcp, 0, "{:?}", town.dropped());
}

#[test]
fn an_account_with_more_devices_than_a_list_may_have_is_no_harm() {
    let mut plan = Plan { cameras: 1, ..Plan::default() };
    plan.server = |settings| {
        let others = gwell_server::Settings::with_cameras(99, 200).cameras;
        let owner = settings.cameras[0].owner;
        settings.cameras.extend(others.into_iter().map(|camera| gwell_server::CameraAccount { owner, ..camera }));
    };
    let mut town = GwellTown::new(&plan);
    let done = |world: &mut World| world.pictures(0) > 0 || world.viewers[0].ended.is_some();
    assert!(town.run(60 * SECOND, done), "neither a picture nor an end");
    if let Some(error) = &town.world.viewers[0].ended {
        assert_eq!(*error, SessionError::NotListed);
    }
}

#[test]
fn row_26_a_flood_from_everywhere_takes_no_memory_and_the_picture_goes_on() {
    let mut town = streaming(|_| {});
    let mut last = None;
    assert_untouched(&mut town, &mut last);
    let (camera, server, mut dice) = (town.camera_at(0), town.server_at(), Dice::new(5));
    let (before, memory) = (town.dropped(), resident());
    let mut sent = 0;
    for nth in 0..60_000_u32 {
        let mut junk = dice.bytes::<256>().to_vec();
        let [short, len] = dice.bytes();
        junk[0] = *dice.pick(&[0xC0, 0x7F, 0x7E, 0x70, junk[0]]);
        if short < 64 {
            junk.truncate(len.into());
        }
        let (lane, from) =
            *dice.pick(&[(Lane::MAIN, camera), (Lane::MAIN, server), (Lane::MAIN, STRANGER), (TCP, camera)]);
        if !junk.is_empty() {
            town.inject(0, lane, from, &junk);
            sent += 1;
        }
        if nth % 500 == 0 {
            town.run(SECOND / 50, |_| false);
        }
    }
    let after = town.dropped();
    let all = |dropped: Dropped| dropped.strangers + dropped.broken + dropped.foreign + dropped.kcp + dropped.media;
    assert_eq!(all(after) - all(before), sent, "{after:?}");
    assert!(resident() < memory + 8 * MIB, "{} MiB more", (resident() - memory) / MIB);
    assert_untouched(&mut town, &mut last);
}

/// Nothing in GWell protects what it carries: some of what arrives may be other bytes than were sent. A session goes on,
/// or ends with a reason, and the next one is whole again.
#[test]
fn bits_that_flip_on_the_way_panic_nobody() {
    for seed in 0..4 {
        let mut town = streaming(|plan| plan.seed = seed);
        town.network.set(Line { flip: 0.05, ..Plan::default().line });
        let memory = resident();
        town.run(30 * SECOND, |world| world.viewers[0].ended.is_some());
        town.network.set(Plan::default().line);
        assert!(town.dropped().broken > 0, "seed {seed}: {:?}", town.dropped());
        assert!(resident() < memory + 24 * MIB, "seed {seed}: {} MiB more", (resident() - memory) / MIB);
        let ended = town.world.viewers[0].ended.clone();
        assert!(
            matches!(ended, None | Some(SessionError::Silent | SessionError::Closed | SessionError::Unreadable(_))),
            "seed {seed}: {ended:?}"
        );
        if ended.is_some() {
            town.replace_viewer(0, seed + 100, Vec::new());
            assert!(town.run(60 * SECOND, |world| world.pictures(0) > 5), "seed {seed}: no second session");
        } else {
            town.run(10 * SECOND, |_| false);
        }
        town.take_frames(0);
        assert_untouched(&mut town, &mut None);
    }
}
