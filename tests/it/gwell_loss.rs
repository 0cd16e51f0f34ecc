//! GWell over bad networks, in virtual time (reliability rows 19 to 23): a session with a virtual camera through a virtual
//! server, over a network that loses, doubles, overtakes, spoils and is late by a printed seed. What was sent arrives,
//! byte for byte.

#![expect(clippy::print_stdout, reason = "the figures are what the tests are read for")]

use std::time::Duration;

use doorstep::proto::gwell::session::{Media, Path};
use doorstep::sim::{gwell_camera, gwell_server};

use crate::support::gwell_town::{GwellTown, Plan, Programme};
use crate::support::impair::{Done, Line};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What one medium of a session came to.
#[derive(Debug, Default)]
pub(crate) struct Track {
    pub(crate) delivered: u64,
    /// Numbers that were passed over.
    pub(crate) missing: u64,
    pub(crate) longest_stall: Duration,
    /// From the camera's time to ours, at worst and at best.
    latest: Duration,
    soonest: Option<Duration>,
    last: Option<(u64, Duration)>,
}

impl Track {
    /// Further ahead than the longest pause that a test allows, a frame's time is spoilt.
    const AHEAD: u64 = 1_000;

    /// Whether this one may come now.
    fn follows(&self, n: u64) -> bool {
        self.last.is_none_or(|(before, _)| (before + 1..before + Self::AHEAD).contains(&n))
    }

    fn note(&mut self, n: u64, pts: Duration, at: Duration) {
        if let Some((before, seen)) = self.last {
            self.missing += n - before - 1;
            self.longest_stall = self.longest_stall.max(at - seen);
        }
        self.delivered += 1;
        let late = at.saturating_sub(pts);
        self.latest = self.latest.max(late);
        self.soonest = Some(self.soonest.map_or(late, |soonest| soonest.min(late)));
        self.last = Some((n, at));
    }
}

/// Of one viewer, from the first picture on.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) began: Duration,
    pub(crate) path: Option<Path>,
    pub(crate) video: Track,
    pub(crate) audio: Track,
    pub(crate) gaps: u64,
    /// Frames that are not what was sent.
    pub(crate) corrupt: u64,
    pub(crate) done: Done,
}

impl Report {
    /// Reads what has come since, and forgets it.
    fn read(&mut self, town: &mut GwellTown, programme: &Programme, viewer: usize) {
        for (at, frame) in town.take_frames(viewer) {
            self.gaps += u64::from(frame.gap);
            let track = match frame.media {
                Media::Video => &mut self.video,
                Media::Audio => &mut self.audio,
            };
            match programme.find(&frame) {
                Some(n) if track.follows(n) => track.note(n, frame.pts, at),
                // What comes again or too late is none of what was sent either.
                Some(_) | None => self.corrupt += 1,
            }
        }
        self.done = town.network.done();
    }

    pub(crate) fn is_whole(&self) -> bool {
        (self.video.missing, self.audio.missing, self.gaps, self.corrupt) == (0, 0, 0, 0)
    }
}

/// A town whose viewer sees the picture, and how long that took.
fn seen(plan: &Plan) -> Result<(GwellTown, Duration), String> {
    let mut town = GwellTown::new(plan);
    let asked = town.network.passed();
    let sees = town.run(60 * SECOND, |world| world.pictures(0) > 0);
    let began = town.network.passed() - asked;
    if sees { Ok((town, began)) } else { Err(format!("seed {}: {:?}", plan.seed, town.world.viewers[0].ended)) }
}

/// Watches for so long.
pub(crate) fn watch(plan: &Plan, watched: Duration) -> Result<Report, String> {
    let (mut town, began) = seen(plan)?;
    town.run(watched, |world| world.viewers[0].ended.is_some());
    if let Some(error) = &town.world.viewers[0].ended {
        return Err(format!("seed {}: {error}", plan.seed));
    }
    let mut report = Report { began, path: town.world.path(0), ..Report::default() };
    report.read(&mut town, &Programme::new(), 0);
    let violations = town.violations();
    // Of what was spoilt on the way a camera may think what it likes.
    if report.done.flipped == 0 && !violations.is_empty() {
        return Err(format!("seed {}: the camera complains: {violations:?}", plan.seed));
    }
    Ok(report)
}

/// Over the LAN's UDP, which is where loss is felt.
pub(crate) fn over_udp(line: Line, seed: u64) -> Plan {
    Plan { line, seed, ..by(Path::LanUdp) }
}

/// By one way only.
pub(crate) fn by(way: Path) -> Plan {
    let camera: fn(usize, &mut gwell_camera::Settings) = match way {
        Path::LanTcp => |_, settings| settings.paths = [Path::LanTcp].into(),
        Path::LanUdp => |_, settings| settings.paths = [Path::LanUdp].into(),
        Path::RelayTcp => |_, settings| settings.paths = [Path::RelayTcp].into(),
        Path::RelayUdp => |_, settings| settings.paths = [Path::RelayUdp].into(),
        Path::Passthrough => |_, settings| settings.paths = [Path::Passthrough].into(),
    };
    let server = |settings: &mut gwell_server::Settings| {
        settings.relays = gwell_server::Relays { tcp: true, udp: true };
    };
    Plan { camera, server, ..Plan::default() }
}

/// Of row 19: everything is delivered, in 99 of 100 sessions the first picture soon enough, and no stream stands still.
fn everything_arrives(percent: u32, seeds: u64, began_within: Duration, stall: Duration) {
    const WATCHED: Duration = Duration::from_secs(2);
    let line = Line::rough(f64::from(percent) / 100.0);
    let reports: Result<Vec<_>, _> = (0..seeds).map(|seed| watch(&over_udp(line, seed), WATCHED)).collect();
    let reports = reports.unwrap_or_else(|why| panic!("{percent} % lost: {why}"));
    let mut began: Vec<Duration> = reports.iter().map(|report| report.began).collect();
    began.sort();
    let (half, nearly_all, all) = (began[began.len() / 2], began[began.len() * 99 / 100 - 1], began[began.len() - 1]);
    let video = reports.iter().map(|report| report.video.longest_stall).max().unwrap();
    let audio = reports.iter().map(|report| report.audio.longest_stall).max().unwrap();
    let lost: u64 = reports.iter().map(|report| report.done.lost).sum();
    println!(
        "{percent} % lost ({lost} datagrams), {seeds} seeds: first picture after {half:?} (half), {nearly_all:?} \
         (99 %), {all:?} (all), longest stall {video:?} ({audio:?} of sound)"
    );
    assert_eq!(percent > 0, lost > 0);
    let broken = reports.iter().position(|report| !report.is_whole());
    assert_eq!(broken, None, "at {percent} % something is missing");
    assert!(nearly_all <= began_within, "a first picture came after {nearly_all:?} at {percent} %");
    assert!(video.max(audio) <= stall, "a stream stood still for {:?} at {percent} %", video.max(audio));
}

#[test]
fn without_loss_everything_arrives_at_once() {
    everything_arrives(0, 5, SECOND, SECOND / 10);
}

#[test]
fn row_19_gwell_begins_within_3_s_and_delivers_everything_at_5_percent_loss() {
    everything_arrives(5, 100, 3 * SECOND, 2 * SECOND);
}

#[test]
fn row_19_gwell_begins_within_5_s_and_delivers_everything_at_10_percent_loss() {
    everything_arrives(10, 100, 5 * SECOND, 2 * SECOND);
}

#[test]
fn row_19_gwell_begins_within_12_s_and_delivers_everything_at_20_percent_loss() {
    everything_arrives(20, 100, 12 * SECOND, 2 * SECOND);
}

pub(crate) const WAYS: [Path; 5] = [Path::LanTcp, Path::LanUdp, Path::RelayTcp, Path::RelayUdp, Path::Passthrough];

/// Nothing comes through for so long; tells how long behind that the next picture came, in the same session.
fn interrupted(town: &mut GwellTown, silence: Duration) -> Duration {
    let fair = Plan::default().line;
    let before = town.network.done().lost;
    town.network.set(Line::dead());
    town.run(silence, |world| world.viewers[0].ended.is_some());
    town.network.set(fair);
    assert!(town.network.done().lost > before, "nothing was lost");
    let (over, pictures) = (town.network.passed(), town.world.pictures(0));
    let goes_on = town.run(30 * SECOND, |world| world.pictures(0) > pictures + 1);
    assert!(goes_on, "no picture comes any more: {:?}", town.world.viewers[0].ended);
    town.network.passed() - over
}

#[test]
fn row_20_gwell_shows_a_picture_within_a_second_of_a_burst_of_300_ms() {
    for way in [Path::LanUdp, Path::RelayUdp, Path::Passthrough] {
        let (mut town, _) = seen(&by(way)).unwrap();
        for _ in 0..3 {
            town.run(2 * SECOND, |_| false);
            let waited = interrupted(&mut town, Duration::from_millis(300));
            println!("{way:?}: a picture {waited:?} behind a burst");
            assert!(waited <= SECOND, "{way:?}: a picture {waited:?} behind the burst");
        }
        let mut report = Report::default();
        report.read(&mut town, &Programme::new(), 0);
        assert!(report.is_whole(), "{way:?}: {report:?}");
    }
}

/// A session outlives it, and what was filmed meanwhile is sent again: nothing is missing, so that no keyframe is needed.
#[test]
fn row_20_gwell_shows_a_picture_within_12_s_of_10_s_of_total_loss() {
    for way in [Path::LanUdp, Path::RelayUdp, Path::Passthrough] {
        let (mut town, _) = seen(&by(way)).unwrap();
        town.run(2 * SECOND, |_| false);
        let waited = interrupted(&mut town, 10 * SECOND);
        println!("{way:?}: a picture {waited:?} behind 10 s of nothing");
        assert!(waited <= 12 * SECOND, "{way:?}: a picture {waited:?} behind it");
        let mut report = Report::default();
        report.read(&mut town, &Programme::new(), 0);
        assert!(report.is_whole(), "{way:?}: {report:?}");
    }
}

#[test]
fn row_21_gwell_overtaken_and_doubled_datagrams_change_no_byte() {
    let line = Line { reorder: 0.25, duplicate: 0.1, ..Line::rough(0.0) };
    for seed in 0..5 {
        let plan = Plan { line, seed, ..by(WAYS[seed as usize]) };
        let report = watch(&plan, 10 * SECOND).unwrap();
        assert!(report.is_whole() && report.video.delivered >= 195, "seed {seed}: {report:?}");
        let over_tcp = matches!(report.path, Some(Path::LanTcp | Path::RelayTcp));
        assert!(
            over_tcp || (report.done.overtaken > 100 && report.done.doubled > 50),
            "seed {seed}: {:?}",
            report.done
        );
    }
}

/// GWell authenticates nothing: its checksum covers a datagram's first 24 bytes, which is where KCP's numbers are, and so
/// a bit of a picture that flips on the way stays so. What is kept: no more frames are spoilt or missing than datagrams
/// were spoilt, the session goes on, and nothing panics.
#[test]
fn row_22_gwell_spoils_no_more_than_was_spoilt() {
    for flip in [0.001, 0.01] {
        let (mut flipped, mut corrupt) = (0, 0);
        for seed in 0..4 {
            let line = Line { flip, ..Plan::default().line };
            let report = watch(&over_udp(line, seed), 20 * SECOND).unwrap();
            flipped += report.done.flipped;
            corrupt += report.corrupt;
            assert!(report.corrupt <= report.done.flipped, "seed {seed}: {report:?}");
            assert!(report.video.missing + report.audio.missing <= report.done.flipped, "seed {seed}: {report:?}");
            assert!(report.video.longest_stall <= SECOND, "seed {seed}: {report:?}");
        }
        println!("{flipped} datagrams were spoilt at {flip}, and {corrupt} frames");
        assert!(flipped > 0);
    }
}

#[test]
fn row_23_gwell_is_not_late_for_jitter_on_a_narrow_line() {
    let jitter = Duration::from_millis(100);
    let line = Line { jitter, rate: Some(1_000_000), ..Line::late(jitter) };
    for seed in 0..4 {
        let report = watch(&over_udp(line, seed), 10 * SECOND).unwrap();
        let over = [&report.video, &report.audio].map(|track| track.latest - track.soonest.unwrap());
        println!("seed {seed}: {over:?} over what it takes at best");
        assert!(report.is_whole(), "seed {seed}: {report:?}");
        assert!(over.iter().all(|over| *over <= Duration::from_millis(500)), "seed {seed}: {over:?}");
    }
}

#[test]
fn every_way_carries_the_stream_at_5_percent_loss() {
    for way in WAYS {
        for seed in 0..2 {
            let plan = Plan { line: Line::rough(0.05), seed, ..by(way) };
            let report = watch(&plan, 8 * SECOND).unwrap_or_else(|why| panic!("{way:?}: {why}"));
            assert_eq!(report.path, Some(way), "seed {seed}");
            assert!(report.is_whole(), "{way:?}, seed {seed}: {report:?}");
            assert!(report.video.longest_stall <= 2 * SECOND, "{way:?}, seed {seed}: {report:?}");
        }
    }
}

/// A whole hour, on sockets, is the benchmark's (`benches/house/gwell_soak.rs`).
#[test]
fn ten_minutes_at_5_percent_loss_passes_without_a_stall_and_nothing_grows() {
    const MINUTES: u64 = 10;
    // Three 0xCA in a row are lost about once an hour, which is not what is looked for.
    let server: fn(&mut gwell_server::Settings) = |settings| settings.limits.keepalive = MINUTE;
    let plan = Plan { server, ..over_udp(Line::rough(0.05), 42) };
    let (programme, mut town) = (Programme::new(), GwellTown::new(&plan));
    assert!(town.run(MINUTE, |world| world.pictures(0) > 0), "{:?}", town.world.viewers[0].ended);
    let mut report = Report::default();
    let (mut late, mut under_way) = (Vec::new(), Vec::new());
    for minute in 0..MINUTES {
        (report.video.latest, report.audio.latest) = (Duration::ZERO, Duration::ZERO);
        let mut most = 0;
        for _ in 0..60 {
            town.run(SECOND, |_| false);
            most = most.max(town.network.backlog());
        }
        assert_eq!(town.world.viewers[0].ended, None, "in minute {minute}");
        report.read(&mut town, &programme, 0);
        late.push(report.video.latest.max(report.audio.latest));
        under_way.push(most);
    }
    let (settled, end) = (late[..5].iter().max().unwrap(), late[5..].iter().max().unwrap());
    println!("a frame is late by {settled:?} at most in the first five minutes, and by {end:?} in the last");
    assert!(report.is_whole(), "{report:?}");
    assert!(report.video.longest_stall <= 2 * SECOND, "{:?}", report.video.longest_stall);
    let seconds = MINUTES * 60 - 2;
    assert!(report.video.delivered > seconds * 20 && report.audio.delivered > seconds * 50, "{report:?}");
    assert!(*end <= *settled + SECOND, "frames come later and later: {late:?}");
    assert!(under_way.iter().all(|most| *most < 2_000), "datagrams pile up: {under_way:?}");
    assert_eq!(town.violations(), Vec::<&gwell_camera::CameraEvent>::new());
}
