//! Sessions without sockets in virtual time, on a network between them that loses, doubles and overtakes by a seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use doorstep::clock;
use doorstep::proto::{Lane, Output, Session};

use super::impair::{Counted, Done, Fates, Line};

/// A session, the addresses of its lanes, and what came of it.
pub(crate) struct Host<S: Session> {
    pub(crate) session: S,
    address: IpAddr,
    udp: Vec<(Lane, u16)>,
    /// The port at which it takes streams.
    tcp: Option<u16>,
    /// Since the town's beginning. Taken out by whoever reads them.
    pub(crate) events: Vec<(Duration, S::Event)>,
    pub(crate) ended: Option<S::Error>,
}

impl<S: Session> Host<S> {
    /// A host with a UDP socket for each of these lanes.
    pub(crate) fn new(session: S, address: IpAddr, udp: &[(Lane, u16)], tcp: Option<u16>) -> Self {
        Self { session, address, udp: udp.to_vec(), tcp, events: Vec::new(), ended: None }
    }
}

/// A host, whatever its session.
pub(crate) trait Party {
    fn deadline(&self) -> Option<Instant>;
    fn on_timeout(&mut self, now: Instant);
    fn on_datagram(&mut self, now: Instant, lane: Lane, from: SocketAddr, payload: &[u8]);
    fn close(&mut self, now: Instant);
    /// What it sends, after its events were noted.
    fn poll(&mut self, passed: Duration) -> Option<(Lane, SocketAddr, Vec<u8>)>;
    /// Where its datagrams on a lane come from.
    fn udp(&self, lane: Lane) -> Option<SocketAddr>;
    fn lane_at(&self, address: SocketAddr) -> Option<Lane>;
    fn listens_at(&self, address: SocketAddr) -> bool;
    fn address(&self) -> IpAddr;
    fn is_over(&self) -> bool;
}

impl<S: Session> Party for Host<S> {
    fn deadline(&self) -> Option<Instant> {
        self.session.deadline().filter(|_| self.ended.is_none())
    }

    fn on_timeout(&mut self, now: Instant) {
        let outcome = self.session.on_timeout(now);
        let stands_still = self.session.deadline().is_some_and(|due| due <= now);
        assert!(outcome.is_err() || !stands_still, "a deadline stands still");
        self.note(now, outcome);
    }

    fn on_datagram(&mut self, now: Instant, lane: Lane, from: SocketAddr, payload: &[u8]) {
        let outcome = self.session.on_datagram(now, lane, from, payload);
        self.note(now, outcome);
    }

    fn close(&mut self, now: Instant) {
        self.session.on_close(now);
    }

    fn poll(&mut self, passed: Duration) -> Option<(Lane, SocketAddr, Vec<u8>)> {
        loop {
            match self.session.poll()? {
                Output::Send { lane, to, payload } => return Some((lane, to, payload)),
                Output::Event(event) => self.events.push((passed, event)),
            }
        }
    }

    fn udp(&self, lane: Lane) -> Option<SocketAddr> {
        let (_, port) = self.udp.iter().find(|(known, _)| *known == lane)?;
        Some(SocketAddr::new(self.address, *port))
    }

    fn lane_at(&self, address: SocketAddr) -> Option<Lane> {
        let (lane, _) = self.udp.iter().find(|(_, port)| *port == address.port())?;
        (address.ip() == self.address).then_some(*lane)
    }

    fn listens_at(&self, address: SocketAddr) -> bool {
        address.ip() == self.address && self.tcp == Some(address.port())
    }

    fn address(&self) -> IpAddr {
        self.address
    }

    fn is_over(&self) -> bool {
        self.ended.is_some()
    }
}

impl<S: Session> Host<S> {
    /// A session that failed says farewell, as the driver has it do.
    fn note(&mut self, now: Instant, outcome: Result<(), S::Error>) {
        if let Err(error) = outcome {
            self.session.on_close(now);
            self.ended = Some(error);
        }
    }
}

/// Who lives in a town, by number.
pub(crate) trait Parties {
    fn count(&self) -> usize;
    fn party(&mut self, at: usize) -> &mut dyn Party;
}

/// A datagram or a message of a stream on its way.
struct Late {
    due: Instant,
    /// Of those due at once the earliest comes first.
    nth: u64,
    to: usize,
    lane: Lane,
    from: SocketAddr,
    payload: Vec<u8>,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.nth == other.nth
    }
}

impl Eq for Late {}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.nth).cmp(&(other.due, other.nth))
    }
}

/// An open stream: at either end who is there, under which address, and when the last message to it arrives.
struct Stream {
    ends: [End; 2],
}

struct End {
    party: usize,
    address: SocketAddr,
    last: Instant,
}

/// The network and the time, apart from who lives on it.
pub(crate) struct Network {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    line: Line,
    /// The lane of streams.
    tcp: Lane,
    seed: u64,
    /// From whom to whom.
    fates: BTreeMap<(usize, usize), Fates>,
    done: Counted,
    on_the_way: BinaryHeap<Reverse<Late>>,
    streams: Vec<Stream>,
    nth: u64,
    ports: u16,
    /// Datagrams that were sent to where nobody is.
    pub(crate) astray: u64,
}

impl Network {
    pub(crate) fn new(line: Line, tcp: Lane, seed: u64) -> Self {
        let now = clock::now().into_std();
        Self {
            start: now,
            now,
            line,
            tcp,
            seed,
            fates: BTreeMap::new(),
            done: Counted::default(),
            on_the_way: BinaryHeap::new(),
            streams: Vec::new(),
            nth: 0,
            ports: 50_000,
            astray: 0,
        }
    }

    pub(crate) fn passed(&self) -> Duration {
        self.now - self.start
    }

    /// From now on every line is this one.
    pub(crate) fn set(&mut self, line: Line) {
        self.line = line;
        self.fates.values_mut().for_each(|fates| fates.set(line));
    }

    /// What the lines have done so far.
    pub(crate) fn done(&self) -> Done {
        self.done.so_far()
    }

    /// How much is on its way.
    pub(crate) fn backlog(&self) -> usize {
        self.on_the_way.len()
    }

    /// Lets time pass until `is_done` or for `limit`; tells whether it was done.
    pub(crate) fn run<P: Parties>(
        &mut self,
        town: &mut P,
        limit: Duration,
        mut is_done: impl FnMut(&mut P) -> bool,
    ) -> bool {
        let until = self.now + limit;
        self.collect(town);
        while !is_done(town) {
            let arrival = self.on_the_way.peek().map(|Reverse(late)| late.due);
            let deadlines = (0..town.count()).filter_map(|at| town.party(at).deadline());
            let next = deadlines.chain(arrival).min().unwrap_or(until);
            if next >= until {
                self.now = until.max(self.now);
                return is_done(town);
            }
            self.now = self.now.max(next);
            self.step(town);
        }
        true
    }

    fn step(&mut self, town: &mut impl Parties) {
        for at in 0..town.count() {
            let party = town.party(at);
            if party.deadline().is_some_and(|due| due <= self.now) {
                party.on_timeout(self.now);
                self.collect_from(town, at);
            }
        }
        while self.on_the_way.peek().is_some_and(|Reverse(late)| late.due <= self.now) {
            let Some(Reverse(late)) = self.on_the_way.pop() else { return };
            if !town.party(late.to).is_over() {
                town.party(late.to).on_datagram(self.now, late.lane, late.from, &late.payload);
                self.collect_from(town, late.to);
            }
        }
    }

    /// Takes what everybody has to send, after someone was told something by hand.
    pub(crate) fn collect(&mut self, town: &mut impl Parties) {
        for at in 0..town.count() {
            self.collect_from(town, at);
        }
    }

    /// Ends a host's session as the driver does, and its streams.
    pub(crate) fn close(&mut self, town: &mut impl Parties, at: usize) {
        town.party(at).close(self.now);
        self.collect_from(town, at);
        self.close_streams(at);
    }

    fn collect_from(&mut self, town: &mut impl Parties, at: usize) {
        while let Some((lane, to, payload)) = town.party(at).poll(self.now - self.start) {
            if lane == self.tcp { self.pour(town, at, to, payload) } else { self.post(town, at, lane, to, &payload) }
        }
        if town.party(at).is_over() {
            self.close_streams(at);
        }
    }

    /// A datagram by hand, at once, from wherever it claims.
    pub(crate) fn inject(&mut self, town: &mut impl Parties, to: usize, lane: Lane, from: SocketAddr, payload: &[u8]) {
        if !town.party(to).is_over() {
            town.party(to).on_datagram(self.now, lane, from, payload);
            self.collect_from(town, to);
        }
    }

    fn post(&mut self, town: &mut impl Parties, at: usize, lane: Lane, to: SocketAddr, payload: &[u8]) {
        let Some(from) = town.party(at).udp(lane) else { return };
        let Some((party, lane)) = whose(town, to) else { return self.astray += 1 };
        let now = self.now;
        for arrival in self.fates(at, party).next(now, payload.len()) {
            let mut payload = payload.to_vec();
            arrival.spoil(&mut payload);
            self.send(now + arrival.after, party, lane, from, payload);
        }
    }

    /// Of what goes from one to the other.
    fn fates(&mut self, from: usize, to: usize) -> &mut Fates {
        // No two pairs have the same ones, and a pair has the same ones whatever the others send.
        let seed = self.seed ^ ((from as u64) << 40) ^ ((to as u64) << 20) ^ 0xA5A5;
        let fates = self.fates.entry((from, to));
        fates.or_insert_with(|| Fates::new(self.line, seed, self.done.clone()))
    }

    /// A message in the stream between the two, which is opened if need be; an empty one closes it.
    fn pour(&mut self, town: &mut impl Parties, at: usize, to: SocketAddr, payload: Vec<u8>) {
        let Some((stream, near)) = self.stream(at, to).or_else(|| self.open(town, at, to)) else {
            // Refused.
            return self.send(self.now + 2 * self.line.delay, at, self.tcp, to, Vec::new());
        };
        if payload.is_empty() {
            return self.close_stream(stream);
        }
        let (now, party) = (self.now, self.streams[stream].ends[1 - near].party);
        let fates = self.fates(at, party);
        // Bits that flip do not pass TCP's checksum, or as good as never.
        let due = now + fates.turn(now, payload.len()) + fates.block(payload.len()).after;
        let ends = &mut self.streams[stream].ends;
        let from = ends[near].address;
        let far = &mut ends[1 - near];
        far.last = due.max(far.last);
        let due = far.last;
        self.send(due, party, self.tcp, from, payload);
    }

    /// Of `at` towards `to`, and which end `at` is.
    fn stream(&self, at: usize, to: SocketAddr) -> Option<(usize, usize)> {
        let near =
            |stream: &Stream| (0..2).find(|&near| stream.ends[near].party == at && stream.ends[1 - near].address == to);
        self.streams.iter().enumerate().find_map(|(nth, stream)| Some((nth, near(stream)?)))
    }

    fn open(&mut self, town: &mut impl Parties, at: usize, to: SocketAddr) -> Option<(usize, usize)> {
        let party = (0..town.count()).find(|&at| town.party(at).listens_at(to) && !town.party(at).is_over())?;
        self.ports += 1;
        // After the handshake.
        let last = self.now + 3 * self.line.delay;
        let near = End { party: at, address: SocketAddr::new(town.party(at).address(), self.ports), last };
        self.streams.push(Stream { ends: [near, End { party, address: to, last }] });
        Some((self.streams.len() - 1, 0))
    }

    fn close_streams(&mut self, at: usize) {
        while let Some(stream) = self.streams.iter().position(|stream| stream.ends.iter().any(|end| end.party == at)) {
            self.close_stream(stream);
        }
    }

    /// Both ends are told, after what is on its way.
    fn close_stream(&mut self, at: usize) {
        let Stream { ends: [a, b] } = self.streams.remove(at);
        let soon = self.now + self.line.delay;
        self.send(a.last.max(soon), a.party, self.tcp, b.address, Vec::new());
        self.send(b.last.max(soon), b.party, self.tcp, a.address, Vec::new());
    }

    fn send(&mut self, due: Instant, to: usize, lane: Lane, from: SocketAddr, payload: Vec<u8>) {
        self.nth += 1;
        self.on_the_way.push(Reverse(Late { due, nth: self.nth, to, lane, from, payload }));
    }
}

/// Who has a socket there, and on which lane.
fn whose(town: &mut impl Parties, address: SocketAddr) -> Option<(usize, Lane)> {
    (0..town.count()).find_map(|at| Some((at, town.party(at).lane_at(address)?)))
}
