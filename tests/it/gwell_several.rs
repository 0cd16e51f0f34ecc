//! Several cameras of one account, each with a session of its own at the same server, in virtual time.

use std::time::Duration;

use doorstep::proto::gwell::session::Path;
use doorstep::sim::gwell_camera::{self, CameraEvent, Fault};
use doorstep::sim::gwell_server::{self, Quirk};

use crate::support::gwell_town::{GwellTown, Plan, Programme};
use crate::support::impair::Line;

const SECOND: Duration = Duration::from_secs(1);

/// When each viewer had its first picture; `None` for those that had none.
fn first_pictures(town: &mut GwellTown, limit: Duration) -> Vec<Option<Duration>> {
    let began = town.network.passed();
    let mut first = vec![None; town.world.viewers.len()];
    town.run(limit, |world| {
        for (viewer, first) in first.iter_mut().enumerate() {
            if first.is_none() && world.pictures(viewer) > 0 {
                let at = world.viewers[viewer].events.last().map_or(began, |(at, _)| *at);
                *first = Some(at.saturating_sub(began));
            }
        }
        first.iter().all(Option::is_some)
    });
    first
}

#[test]
fn a_dead_camera_delays_no_other() {
    let camera: fn(usize, &mut gwell_camera::Settings) = |nth, settings| match nth {
        0 => settings.fault = Some(Fault::NoAccept),
        1 => settings.fault = Some(Fault::Silent),
        2 => settings.paths.clear(),
        _ => settings.paths = [Path::LanUdp].into(),
    };
    let mut town = GwellTown::new(&Plan { cameras: 8, camera, ..Plan::default() });
    let first = first_pictures(&mut town, 20 * SECOND);
    assert_eq!(first[..3], [None; 3]);
    assert!(first[3..].iter().all(|first| first.is_some_and(|first| first <= SECOND)), "{first:?}");
}

#[test]
fn frames_of_another_session_are_counted_and_disturb_nobody() {
    let server: fn(&mut gwell_server::Settings) = |settings| settings.quirks = vec![Quirk::CrossSession];
    for seed in 0..4 {
        let line = Line::rough(0.02);
        let mut town = GwellTown::new(&Plan { cameras: 3, line, seed, server, ..Plan::default() });
        let first = first_pictures(&mut town, 30 * SECOND);
        assert!(first.iter().all(Option::is_some), "seed {seed}: {first:?}");
        town.run(5 * SECOND, |_| false);
        let programme = Programme::new();
        for viewer in 0..3 {
            assert_eq!(town.world.viewers[viewer].ended, None, "seed {seed}");
            for (_, frame) in town.take_frames(viewer) {
                programme.recognise(&frame);
            }
        }
        let foreign: u64 = town.world.viewers.iter().map(|viewer| viewer.session.dropped().foreign).sum();
        assert!(foreign > 0, "seed {seed}: nobody was sent what is another's");
        assert_eq!(town.violations(), Vec::<&CameraEvent>::new(), "seed {seed}");
    }
}

/// Servers leave the list out when an account has a session already (gwell reference §11).
#[test]
fn who_knows_the_devices_needs_no_list() {
    let server: fn(&mut gwell_server::Settings) = |settings| settings.quirks = vec![Quirk::NoListForSecondSession];
    let mut town = GwellTown::without_viewers(&Plan { cameras: 2, server, ..Plan::default() });
    town.add_viewer(0, 1);
    assert!(first_pictures(&mut town, 20 * SECOND)[0].is_some());
    town.add_viewer(1, 2);
    assert_eq!(first_pictures(&mut town, 20 * SECOND)[1], None, "the server lists the devices anyway");
    let known = town.listed(0).expect("the first session was told the list");
    town.replace_viewer(1, 3, known);
    let first = first_pictures(&mut town, 20 * SECOND);
    assert!(first[1].is_some_and(|first| first <= SECOND), "{first:?}");
}
