//! Which way media take: the addresses at which the camera may be, the race for the first that answers, and the one in
//! use (gwell reference §6; the order is the seed's, "Transport Priority").

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Path;
use crate::proto::Lane;
use crate::proto::gwell::TCP;

/// What a path has for itself before the next one begins beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// Between two rounds of probes: the reference's pace, and later, when the camera must be asleep, one that can be kept up.
const ROUND: Duration = Duration::from_millis(400);
const SLOW_ROUND: Duration = Duration::from_secs(2);
const QUICK_ROUNDS: u32 = 10;
/// After two meters without an answer, while the stream can still be saved.
const SILENCE: Duration = Duration::from_secs(5);
/// Of a path that has only told its port status: some cameras do that where no media get through.
const UNPROVEN_SILENCE: Duration = Duration::from_secs(1);
/// All LAN addresses on both lanes, 32 relays on both, and the server.
const MAX_ROUTES: usize = 100;

const IN_ORDER: [Path; 5] = [Path::LanTcp, Path::LanUdp, Path::RelayTcp, Path::RelayUdp, Path::Passthrough];

/// A path, and an address on it: the camera's, a relay's, or the P2P server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) path: Path,
    pub(super) at: SocketAddr,
}

impl Route {
    pub(super) fn lane(&self) -> Lane {
        match self.path {
            Path::LanTcp | Path::RelayTcp => TCP,
            Path::LanUdp | Path::RelayUdp | Path::Passthrough => Lane::MAIN,
        }
    }
}

/// What was heard on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// The camera is there; whether it speaks MTP there is to be seen.
    PortStatus,
    Mtp,
}

#[derive(Default)]
pub(super) struct Paths {
    routes: Vec<Route>,
    /// Streams that were refused or closed lately.
    closed: Vec<Route>,
    race: Option<Race>,
    used: Option<Used>,
    /// The stream is accepted: a path that works is left only when it falls silent.
    settled: bool,
}

/// The way frames go.
struct Used {
    route: Route,
    heard: Instant,
    proven: bool,
    /// Its stream is closed.
    lost: bool,
}

impl Used {
    fn silent_at(&self) -> Instant {
        self.heard + if self.proven { SILENCE } else { UNPROVEN_SILENCE }
    }
}

/// Paths begin one after the other, without waiting for the end of the one before, until one answers.
struct Race {
    order: Vec<Path>,
    begun: usize,
    next_begin: Instant,
    next_round: Instant,
    rounds: u32,
}

impl Race {
    /// `last` has just failed.
    fn new(now: Instant, last: Option<Path>) -> Self {
        let mut order = IN_ORDER.to_vec();
        order.sort_by_key(|path| last == Some(*path));
        Self { order, begun: 0, next_begin: now, next_round: now + ROUND, rounds: 0 }
    }

    fn has_begun(&self, path: Path) -> bool {
        self.order.iter().take(self.begun).any(|begun| *begun == path)
    }

    fn begin_next(&mut self, now: Instant, routes: &[Route]) -> Option<Path> {
        let path = *self.order.get(self.begun).filter(|_| now >= self.next_begin)?;
        self.begun += 1;
        let has_routes = routes.iter().any(|route| route.path == path);
        self.next_begin = if has_routes { now + HEAD_START } else { now };
        Some(path)
    }

    fn begin_round(&mut self, now: Instant) -> bool {
        if now < self.next_round {
            return false;
        }
        self.rounds += 1;
        self.next_round = now + if self.rounds < QUICK_ROUNDS { ROUND } else { SLOW_ROUND };
        true
    }

    fn deadline(&self) -> Instant {
        if self.begun < self.order.len() { self.next_round.min(self.next_begin) } else { self.next_round }
    }
}

impl Paths {
    /// Takes in further routes, and begins the race with the first.
    pub(super) fn add(&mut self, now: Instant, routes: impl IntoIterator<Item = Route>) {
        for route in routes {
            if !self.routes.contains(&route) && self.routes.len() < MAX_ROUTES {
                self.routes.push(route);
                self.on_added(now, route);
            }
        }
    }

    fn on_added(&mut self, now: Instant, route: Route) {
        match &mut self.race {
            Some(race) if race.has_begun(route.path) => race.next_round = now,
            Some(_) => {}
            None if self.used.is_none() => self.race = Some(Race::new(now, None)),
            None => {}
        }
    }

    /// The routes to be probed now.
    pub(super) fn on_timeout(&mut self, now: Instant) -> Vec<Route> {
        if self.race.is_none()
            && let Some(used) = self.used.as_ref().filter(|used| now >= used.silent_at())
        {
            self.race = Some(Race::new(now, Some(used.route.path)));
            self.closed.clear();
        }
        let Some(race) = &mut self.race else { return Vec::new() };
        let mut probed = Vec::new();
        if race.begin_round(now) {
            if race.rounds >= QUICK_ROUNDS {
                self.closed.clear();
            }
            probed.extend(self.routes.iter().filter(|route| race.has_begun(route.path)));
        }
        while let Some(path) = race.begin_next(now, &self.routes) {
            probed.extend(self.routes.iter().filter(|route| route.path == path));
        }
        probed.retain(|route| !self.closed.contains(route));
        probed
    }

    /// The camera was heard on a route. `Some` when frames go there from now on, and did not before.
    pub(super) fn on_sign(&mut self, now: Instant, route: Route, sign: Sign) -> Option<Path> {
        let proven = sign == Sign::Mtp;
        if let Some(used) = self.used.as_mut().filter(|used| used.route == route) {
            // It may tell its ports for ever and take no media.
            if proven {
                used.heard = now;
                used.proven = true;
                self.race = None;
            }
            return (proven && std::mem::take(&mut used.lost)).then_some(route.path);
        }
        if !self.is_better(route.path, proven) {
            return None;
        }
        self.used = Some(Used { route, heard: now, proven, lost: false });
        self.race = None;
        Some(route.path)
    }

    fn is_better(&self, path: Path, proven: bool) -> bool {
        let Some(used) = &self.used else { return true };
        match &self.race {
            // What is in use has fallen silent. A port status that comes late tells nothing about now.
            Some(race) => proven || race.has_begun(path),
            None if self.settled => false,
            None => proven && (path < used.route.path || (path == used.route.path && !used.proven)),
        }
    }

    /// A stream was refused, or is closed.
    pub(super) fn on_closed(&mut self, now: Instant, route: Route) {
        if !self.closed.contains(&route) {
            self.closed.push(route);
        }
        if let Some(used) = self.used.as_mut().filter(|used| used.route == route) {
            used.lost = true;
            self.race.get_or_insert_with(|| Race::new(now, Some(route.path)));
            self.closed = vec![route];
        }
        let closed = &self.closed;
        if let Some(race) = &mut self.race
            && !self.routes.iter().any(|route| race.has_begun(route.path) && !closed.contains(route))
        {
            race.next_begin = race.next_begin.min(now);
        }
    }

    /// The stream is accepted. Whether that is news.
    pub(super) fn settle(&mut self) -> bool {
        !std::mem::replace(&mut self.settled, true)
    }

    /// Where frames go: to one address, or to none.
    pub(super) fn in_use(&self) -> Option<Route> {
        self.used.as_ref().filter(|used| !used.lost).map(|used| used.route)
    }

    /// Whether MTP has come in over the path in use.
    pub(super) fn is_proven(&self) -> bool {
        self.used.as_ref().is_some_and(|used| used.proven)
    }

    /// The route that a datagram has come by. Passthrough comes as the server's frames and is not looked for.
    pub(super) fn origin(&self, lane: Lane, from: SocketAddr) -> Option<Route> {
        let is_origin = |route: &&Route| route.lane() == lane && route.at == from && route.path != Path::Passthrough;
        self.routes.iter().find(is_origin).copied()
    }

    /// The streams that are open, or may be, beside the way in use.
    pub(super) fn spare_streams(&self) -> Vec<Route> {
        let used = self.used.as_ref().map(|used| used.route);
        self.routes.iter().filter(|route| route.lane() == TCP && Some(**route) != used).copied().collect()
    }

    /// How many rounds of probes the race has seen.
    pub(super) fn round(&self) -> u32 {
        self.race.as_ref().map_or(0, |race| race.rounds)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match (&self.race, &self.used) {
            (Some(race), _) => Some(race.deadline()),
            (None, Some(used)) => Some(used.silent_at()),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::gwell::session::tests::start_of_time;

    fn route(path: Path) -> Route {
        let host = IN_ORDER.iter().position(|other| *other == path).unwrap() as u8;
        Route { path, at: SocketAddr::from(([10, 0, 0, host], 6_789)) }
    }

    fn all() -> Paths {
        let mut paths = Paths::default();
        paths.add(start_of_time(), IN_ORDER.map(route));
        paths
    }

    fn probed(paths: &mut Paths, now: Instant) -> Vec<Path> {
        paths.on_timeout(now).into_iter().map(|route| route.path).collect()
    }

    #[test]
    fn each_path_has_a_head_start_on_the_next() {
        let mut paths = all();
        let mut begun = Vec::new();
        let start = paths.deadline().unwrap();
        while begun.len() < 5 {
            let now = paths.deadline().unwrap();
            for path in probed(&mut paths, now) {
                if !begun.iter().any(|(other, _)| *other == path) {
                    begun.push((path, now - start));
                }
            }
            assert!(paths.deadline().unwrap() > now, "the deadline stands still");
        }
        let expected: Vec<_> = IN_ORDER.into_iter().zip((0..5).map(|place| HEAD_START * place)).collect();
        assert_eq!(begun, expected);
    }

    #[test]
    fn a_refused_stream_costs_no_time() {
        let mut paths = all();
        let now = paths.deadline().unwrap();
        assert_eq!(probed(&mut paths, now), [Path::LanTcp]);
        paths.on_closed(now, route(Path::LanTcp));
        assert_eq!(probed(&mut paths, now), [Path::LanUdp]);
        assert!(!probed(&mut paths, now + ROUND).contains(&Path::LanTcp), "a refused stream was opened again at once");
    }

    #[test]
    fn the_first_answer_decides_and_a_better_one_only_until_the_stream_is_accepted() {
        let mut paths = all();
        let now = paths.deadline().unwrap() + HEAD_START * 3;
        probed(&mut paths, now);
        assert_eq!(paths.on_sign(now, route(Path::RelayTcp), Sign::Mtp), Some(Path::RelayTcp));
        assert_eq!(paths.on_sign(now, route(Path::LanUdp), Sign::PortStatus), None, "a port status is no proof");
        assert_eq!(paths.on_sign(now, route(Path::RelayUdp), Sign::Mtp), None, "a worse path was taken");
        assert_eq!(paths.on_sign(now, route(Path::LanUdp), Sign::Mtp), Some(Path::LanUdp));
        paths.settle();
        assert_eq!(paths.on_sign(now, route(Path::LanTcp), Sign::Mtp), None, "a path that works was left");
        assert_eq!(paths.in_use(), Some(route(Path::LanUdp)));
    }

    #[test]
    fn a_silent_path_is_tried_last_and_used_until_another_answers() {
        let mut paths = all();
        let now = paths.deadline().unwrap();
        probed(&mut paths, now);
        paths.on_sign(now, route(Path::LanUdp), Sign::Mtp);
        paths.settle();
        assert_eq!(paths.deadline(), Some(now + SILENCE));
        let now = now + SILENCE;
        assert_eq!(probed(&mut paths, now), [Path::LanTcp]);
        assert_eq!(paths.in_use(), Some(route(Path::LanUdp)));
        assert_eq!(paths.on_sign(now, route(Path::LanUdp), Sign::PortStatus), None);
        let now = now + HEAD_START;
        assert_eq!(probed(&mut paths, now), [Path::RelayTcp], "the silent path has its turn at the end");
        assert_eq!(paths.on_sign(now, route(Path::RelayTcp), Sign::Mtp), Some(Path::RelayTcp));
        assert_eq!(paths.deadline(), Some(now + SILENCE));
    }

    #[test]
    fn a_path_that_speaks_again_is_kept() {
        let mut paths = all();
        let now = paths.deadline().unwrap();
        probed(&mut paths, now);
        paths.on_sign(now, route(Path::LanUdp), Sign::Mtp);
        probed(&mut paths, now + SILENCE);
        paths.on_sign(now + SILENCE, route(Path::LanUdp), Sign::Mtp);
        assert_eq!(paths.deadline(), Some(now + SILENCE * 2));
    }

    #[test]
    fn a_port_status_without_media_holds_for_a_second() {
        let mut paths = all();
        let now = paths.deadline().unwrap();
        paths.on_sign(now, route(Path::LanUdp), Sign::PortStatus);
        assert!(!paths.is_proven());
        assert_eq!(paths.deadline(), Some(now + UNPROVEN_SILENCE));
    }

    #[test]
    fn a_camera_that_only_tells_its_ports_holds_no_path() {
        let mut paths = all();
        let now = paths.deadline().unwrap();
        paths.on_sign(now, route(Path::LanUdp), Sign::Mtp);
        paths.on_sign(now + SILENCE / 2, route(Path::LanUdp), Sign::PortStatus);
        assert_eq!(paths.deadline(), Some(now + SILENCE));
    }

    #[test]
    fn a_stream_that_stands_again_is_used_again() {
        let mut paths = all();
        let now = paths.deadline().unwrap();
        paths.on_sign(now, route(Path::LanTcp), Sign::Mtp);
        paths.on_closed(now, route(Path::LanTcp));
        assert_eq!(paths.on_sign(now, route(Path::LanTcp), Sign::Mtp), Some(Path::LanTcp));
        assert_eq!(paths.in_use(), Some(route(Path::LanTcp)));
    }

    #[test]
    fn nothing_goes_to_a_stream_that_is_closed() {
        let mut paths = all();
        let now = paths.deadline().unwrap();
        paths.on_sign(now, route(Path::LanTcp), Sign::Mtp);
        paths.on_closed(now, route(Path::LanTcp));
        assert_eq!(paths.in_use(), None);
        assert_eq!(probed(&mut paths, now), [Path::LanUdp]);
    }
}
