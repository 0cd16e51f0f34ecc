//! The session with the P2P server: looked for, certified, kept up and renewed (gwell reference §4, §11 steps 0 to 4).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::certification::{Certification, Certified, Outcome};
use super::random::Random;
use super::search::{Found, Search, detect_request};
use super::unix_time::UnixTime;
use super::{Dropped, Event, KnownDevice, SessionError};
use crate::proto::gwell::calling::{CallingAck, MtpReply};
use crate::proto::gwell::certify::CertifyReply;
use crate::proto::gwell::devices::{DeviceList, InitInfo};
use crate::proto::gwell::gutes::{Frame, Identity, Kind, Mode};
use crate::proto::gwell::passthrough::{Inner, PassthroughData};
use crate::proto::gwell::port_status::Heartbeat;
use crate::proto::gwell::rc5::Rc5;
use crate::proto::gwell::subscribe::{SubscribeById, SubscribeByToken, SubscribeReply};
use crate::proto::gwell::token::AccessToken;
use crate::proto::{Lane, Output};

/// What a configured server has for its answer before the next is tried as well.
const SERVER_HEAD_START: Duration = Duration::from_secs(2);
/// What is asked of the server once it has certified us is asked again this long after each round, and then no more.
const ERRAND_PAUSES_MS: [u64; 6] = [500, 500, 1_000, 1_000, 2_000, 2_000];
/// For the list of devices, where it cannot be done without.
const LIST_LIMIT: Duration = Duration::from_secs(10);
/// The SDK's own pace is 35 to 50 s; a server ends sessions that beat every 5 s (seed, rule 5).
const HEARTBEAT: Duration = Duration::from_secs(40);

pub(super) struct Signalling {
    phase: Phase,
    token: AccessToken,
    /// Who knows P2P servers, unless they have been asked.
    list_servers: Vec<SocketAddr>,
    /// Whether the camera's TID is known, come what may.
    is_device_known: bool,
    sqnum: u32,
    random: Random,
    time: UnixTime,
    outputs: VecDeque<Output<Event>>,
}

enum Phase {
    Search(Search),
    /// One for each server that may be it.
    Certify(Vec<Certification>),
    Online(Box<Online>),
}

struct Online {
    server: SocketAddr,
    /// Of the token that this session is certified with.
    access_id: u64,
    certified: Certified,
    /// What led to it: the server may answer its other requests too.
    certification: Certification,
    heartbeat: Instant,
    list_until: Option<Instant>,
    errands: Errands,
    renewal: Option<(AccessToken, Certification)>,
}

/// What is asked until it is answered, or often enough.
struct Errands {
    next: Instant,
    rounds: usize,
    /// With the number of the last question.
    open: Vec<(Errand, u32)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Errand {
    List,
    SubscribeById,
    SubscribeByToken,
}

/// What the server says that matters to others.
pub(super) enum Told {
    Certified,
    Listed(Vec<KnownDevice>),
    /// With the number of the frame that is acknowledged, if it names one.
    CallingAck(CallingAck, Option<u32>),
    MtpReply(MtpReply),
    Passthrough(PassthroughData),
}

impl Errands {
    fn new(now: Instant, open: &[Errand]) -> Self {
        Self { next: now, rounds: 0, open: open.iter().map(|errand| (*errand, 0)).collect() }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|next| now >= next)
    }

    fn deadline(&self) -> Option<Instant> {
        (!self.open.is_empty() && self.rounds <= ERRAND_PAUSES_MS.len()).then_some(self.next)
    }
}

impl Signalling {
    /// Goes to `servers`, or has them looked for.
    pub(super) fn new(
        token: AccessToken,
        servers: &[SocketAddr],
        list_servers: Vec<SocketAddr>,
        is_device_known: bool,
        seed: [u8; 32],
        time: UnixTime,
        now: Instant,
    ) -> Self {
        let mut random = Random::new(seed);
        let mut signalling = Self {
            phase: certify_all(servers, now, &mut random),
            token,
            list_servers,
            is_device_known,
            sqnum: 0,
            random,
            time,
            outputs: VecDeque::new(),
        };
        if servers.is_empty() {
            signalling.search(now);
        }
        signalling
    }

    fn search(&mut self, now: Instant) {
        self.phase = Phase::Search(Search::new(std::mem::take(&mut self.list_servers), now));
    }

    // Sending.

    /// Sends a frame of our session with the server, if it stands.
    pub(super) fn send(&mut self, build: impl FnOnce(Identity, u32) -> Frame) {
        let Some(server) = self.server() else { return };
        let sqnum = self.next_sqnum();
        let payload = build(self.identity(), sqnum).seal(self.key());
        self.post(server, payload);
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn post(&mut self, to: SocketAddr, payload: Vec<u8>) {
        self.outputs.push_back(Output::Send { lane: Lane::MAIN, to, payload });
    }

    fn next_sqnum(&mut self) -> u32 {
        self.sqnum = self.sqnum.wrapping_add(1);
        self.sqnum
    }

    /// Whom the frames of our session are from: by access id where the server gave no routing id ("pre-session").
    pub(super) fn identity(&self) -> Identity {
        let session = match &self.phase {
            Phase::Online(online) => online.certified.session,
            _ => None,
        };
        session.map_or(Identity::Terminal(self.access_id()), Identity::Session)
    }

    pub(super) fn access_id(&self) -> u64 {
        match &self.phase {
            Phase::Online(online) => online.access_id,
            _ => self.token.access_id(),
        }
    }

    fn key(&self) -> Option<&Rc5> {
        match &self.phase {
            Phase::Online(online) => Some(&online.certified.key),
            _ => None,
        }
    }

    /// The one that certified us.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        match &self.phase {
            Phase::Online(online) => Some(online.server),
            _ => None,
        }
    }

    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    // Receiving.

    /// Whether we have asked something of this address as of a server.
    pub(super) fn is_server(&self, address: SocketAddr) -> bool {
        match &self.phase {
            Phase::Search(search) => search.has_asked(address),
            Phase::Certify(tried) => tried.iter().any(|one| one.server == address && one.has_begun()),
            Phase::Online(online) => online.server == address,
        }
    }

    /// A datagram of a server that [`Self::is_server`] knows.
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        dropped: &mut Dropped,
    ) -> Result<Option<Told>, SessionError> {
        if let Phase::Search(search) = &mut self.phase {
            if let Some(found) = search.on_datagram(now, from, datagram) {
                self.on_found(now, found)?;
            }
            return Ok(None);
        }
        let secret = Frame::open_in(Mode::Session, datagram, self.key()).ok();
        if let Some(frame) = secret.filter(|frame| frame.flags.mode() == Some(Mode::Session)) {
            // A response has no checksum: anybody can make one. The number it answers stands under the session key.
            if frame.acked.is_some_and(|sqnum| !(1..=self.sqnum).contains(&sqnum)) {
                dropped.foreign += 1;
                return Ok(None);
            }
            return Ok(self.on_frame(&frame, dropped));
        }
        match Frame::open(datagram, None) {
            Ok(frame) if matches!(self.phase, Phase::Certify(_)) => return self.on_certification(now, from, &frame),
            Ok(frame) => self.on_open_frame(now, &frame, dropped),
            Err(_) => dropped.broken += 1,
        }
        Ok(None)
    }

    fn on_found(&mut self, now: Instant, found: Found) -> Result<(), SessionError> {
        match found {
            Found::Nothing => Err(SessionError::NoServer),
            Found::Servers(servers) => {
                self.phase = certify_all(&servers, now, &mut self.random);
                Ok(())
            }
        }
    }

    fn on_certification(
        &mut self,
        now: Instant,
        server: SocketAddr,
        frame: &Frame,
    ) -> Result<Option<Told>, SessionError> {
        let Phase::Certify(tried) = &mut self.phase else { return Ok(None) };
        let Some(at) = tried.iter().position(|one| one.server == server) else { return Ok(None) };
        match tried[at].on_frame(frame) {
            None => Ok(None),
            Some(Outcome::Refused { code }) => Err(SessionError::NotCertified { code: Some(code) }),
            Some(Outcome::Certified(certified)) => {
                let certification = tried.swap_remove(at);
                self.go_online(now, certification, certified);
                self.acknowledge(frame);
                Ok(Some(Told::Certified))
            }
        }
    }

    fn go_online(&mut self, now: Instant, certification: Certification, certified: Certified) {
        let server = certification.server;
        let online = Online {
            server,
            access_id: self.token.access_id(),
            certified,
            certification,
            heartbeat: now,
            list_until: (!self.is_device_known).then_some(now + LIST_LIMIT),
            errands: Errands::new(now, &[Errand::List, Errand::SubscribeById, Errand::SubscribeByToken]),
            renewal: None,
        };
        self.phase = Phase::Online(Box::new(online));
        self.tell(Event::Certified { server });
    }

    /// The response wants an acknowledgement: a server repeats it until it has one.
    fn acknowledge(&mut self, response: &Frame) {
        if let Some(server) = self.server() {
            let payload = CertifyReply::acknowledge(response, self.identity()).seal(self.key());
            self.post(server, payload);
        }
    }

    /// A frame under the session key.
    fn on_frame(&mut self, frame: &Frame, dropped: &mut Dropped) -> Option<Told> {
        match frame.kind {
            Kind::Devices => self.on_devices(frame, dropped),
            Kind::SubscribeReply => {
                let request = SubscribeReply::decode(frame).ok()?.request;
                self.on_errand_done(|_, sqnum| sqnum == request);
                None
            }
            Kind::Calling => CallingAck::decode(frame).ok().map(|ack| Told::CallingAck(ack, frame.acked)),
            Kind::MtpReply => read(MtpReply::decode(frame), dropped).map(Told::MtpReply),
            Kind::Inner => match read(Inner::decode(frame), dropped)? {
                Inner::Data(data) => Some(Told::Passthrough(data)),
                Inner::Control(_) | Inner::NetworkDetect(_) => None,
            },
            // Acknowledgements of ours, device-model data, and what nobody knows.
            _ => None,
        }
    }

    /// A frame that anybody could have made: what decides about the camera is not taken from it.
    fn on_open_frame(&mut self, now: Instant, frame: &Frame, dropped: &mut Dropped) {
        match frame.kind {
            Kind::CertifyReply => self.on_late_certification(now, frame),
            Kind::Certify | Kind::DetectReply => {}
            _ => dropped.foreign += 1,
        }
    }

    fn on_devices(&mut self, frame: &Frame, dropped: &mut Dropped) -> Option<Told> {
        let list = read(DeviceList::decode(frame), dropped)?;
        self.on_errand_done(|errand, _| errand == Errand::List);
        if let Phase::Online(online) = &mut self.phase {
            online.list_until = None;
        }
        let devices = list.devices.into_iter().map(|device| KnownDevice { name: device.name, tid: device.tid });
        Some(Told::Listed(devices.collect()))
    }

    fn on_errand_done(&mut self, is_done: impl Fn(Errand, u32) -> bool) {
        if let Phase::Online(online) = &mut self.phase {
            online.errands.open.retain(|(errand, sqnum)| !is_done(*errand, *sqnum));
        }
    }

    // Renewal.

    /// A newer token: the session is certified anew, and goes on with its old key until the server has answered.
    pub(super) fn renew(&mut self, now: Instant, token: AccessToken) {
        match &mut self.phase {
            Phase::Online(online) => {
                let renewal = Certification::new(online.server, now, &mut self.random);
                online.renewal = Some((token, renewal));
            }
            Phase::Search(_) | Phase::Certify(_) => self.token = token,
        }
    }

    /// The answer to a renewal, or a further one to what has been answered.
    fn on_late_certification(&mut self, now: Instant, frame: &Frame) {
        let Phase::Online(online) = &mut self.phase else { return };
        if *frame == online.certified.response {
            return self.acknowledge(frame);
        }
        let outcome = match &mut online.renewal {
            Some((_, renewal)) => renewal.on_frame(frame),
            None if online.certification.is_over(now) => None,
            None => online.certification.on_frame(frame),
        };
        let Some(outcome) = outcome else { return };
        match outcome {
            outcome if online.renewal.is_some() => self.on_renewal(now, outcome),
            // Another request of the same certification was taken as well: that session is the one that counts.
            Outcome::Certified(certified) => online.certified = certified,
            Outcome::Refused { .. } => return,
        }
        self.acknowledge(frame);
    }

    fn on_renewal(&mut self, now: Instant, outcome: Outcome) {
        let Phase::Online(online) = &mut self.phase else { return };
        let Some((token, certification)) = online.renewal.take() else { return };
        let event = match outcome {
            Outcome::Refused { code } => Event::NotRenewed { code: Some(code) },
            Outcome::Certified(certified) => {
                online.access_id = token.access_id();
                online.certified = certified;
                online.certification = certification;
                online.errands = Errands::new(now, &[Errand::SubscribeById, Errand::SubscribeByToken]);
                self.token = token;
                Event::Certified { server: online.server }
            }
        };
        self.tell(event);
    }

    // Time.

    pub(super) fn on_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        match &mut self.phase {
            Phase::Search(search) => {
                let (due, found) = search.on_timeout(now, &mut self.random);
                due.into_iter().for_each(|(to, payload)| self.post(to, payload));
                found.map_or(Ok(()), |found| self.on_found(now, found))?;
                // A search that has ended leaves something that is due at once.
                if matches!(self.phase, Phase::Certify(_)) { self.on_timeout(now) } else { Ok(()) }
            }
            Phase::Certify(_) => self.on_certify_timeout(now),
            Phase::Online(online) if online.list_until.is_some_and(|until| now >= until) => Err(SessionError::NoServer),
            Phase::Online(_) => {
                self.on_renewal_timeout(now);
                self.on_errands(now);
                self.on_heartbeat(now);
                Ok(())
            }
        }
    }

    fn on_certify_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        let Phase::Certify(tried) = &mut self.phase else { return Ok(()) };
        let mut due = Vec::new();
        for one in tried.iter_mut() {
            let sqnum = self.sqnum.wrapping_add(1);
            let Some(request) = one.on_timeout(now, &self.token, sqnum, &mut self.random, self.time) else { continue };
            self.sqnum = sqnum;
            due.push((one.server, request));
            if one.is_repeated() {
                // Tells a server that does not want the token from one that is not there.
                due.push((one.server, detect_request(&mut self.random).encode().seal(None)));
            }
        }
        let is_over = tried.iter().all(|one| one.is_over(now));
        let is_heard = tried.iter().any(|one| one.heard);
        due.into_iter().for_each(|(to, payload)| self.post(to, payload));
        match () {
            () if !is_over => Ok(()),
            () if is_heard => Err(SessionError::NotCertified { code: None }),
            () if self.list_servers.is_empty() => Err(SessionError::NoServer),
            () => {
                self.search(now);
                Ok(())
            }
        }
    }

    fn on_renewal_timeout(&mut self, now: Instant) {
        let Phase::Online(online) = &mut self.phase else { return };
        let Some((token, renewal)) = &mut online.renewal else { return };
        if renewal.is_over(now) {
            online.renewal = None;
            self.tell(Event::NotRenewed { code: None });
            return;
        }
        let (server, sqnum) = (online.server, self.sqnum.wrapping_add(1));
        if let Some(request) = renewal.on_timeout(now, token, sqnum, &mut self.random, self.time) {
            self.sqnum = sqnum;
            self.post(server, request);
        }
    }

    fn on_errands(&mut self, now: Instant) {
        let Phase::Online(online) = &mut self.phase else { return };
        if !online.errands.is_due(now) {
            return;
        }
        let pause = ERRAND_PAUSES_MS.get(online.errands.rounds).copied().unwrap_or_default();
        online.errands.next = now + Duration::from_millis(pause);
        online.errands.rounds += 1;
        let mut open = std::mem::take(&mut online.errands.open);
        open.retain(|(errand, _)| *errand != Errand::SubscribeByToken || !self.token.extra().is_empty());
        for (errand, sqnum) in &mut open {
            *sqnum = self.sqnum.wrapping_add(1);
            self.ask(*errand);
        }
        if let Phase::Online(online) = &mut self.phase {
            online.errands.open = open;
        }
    }

    fn ask(&mut self, errand: Errand) {
        let access_id = self.access_id();
        match errand {
            Errand::List => self.send(|_, sqnum| InitInfo { access_id, sqnum }.encode()),
            Errand::SubscribeById => self.send(|from, sqnum| SubscribeById { access_id }.encode(from, sqnum)),
            Errand::SubscribeByToken => {
                let extra = self.token.extra().to_vec();
                self.send(|from, sqnum| SubscribeByToken { extra }.encode(from, sqnum));
            }
        }
    }

    fn on_heartbeat(&mut self, now: Instant) {
        let Phase::Online(online) = &mut self.phase else { return };
        if now >= online.heartbeat {
            online.heartbeat = now + HEARTBEAT;
            let access_id = online.access_id;
            self.send(|_, sqnum| Heartbeat { access_id, sqnum }.encode());
        }
    }

    pub(super) fn poll(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Search(search) => Some(search.deadline()),
            Phase::Certify(tried) => tried.iter().map(Certification::deadline).min(),
            Phase::Online(online) => {
                let renewal = online.renewal.as_ref().map(|(_, renewal)| renewal.deadline());
                let times = [online.list_until, online.errands.deadline(), renewal];
                Some(times.into_iter().flatten().fold(online.heartbeat, Instant::min))
            }
        }
    }
}

fn certify_all(servers: &[SocketAddr], now: Instant, random: &mut Random) -> Phase {
    let begins = (0..).map(|place| now + SERVER_HEAD_START * place);
    let tried = servers.iter().zip(begins).map(|(server, begin)| Certification::new(*server, begin, random));
    Phase::Certify(tried.collect())
}

fn read<T, E>(decoded: Result<T, E>, dropped: &mut Dropped) -> Option<T> {
    dropped.broken += u64::from(decoded.is_err());
    decoded.ok()
}
