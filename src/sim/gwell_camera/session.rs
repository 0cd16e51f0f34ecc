//! The camera as a state machine: whom it hears, what faults do to what it says, and what it tells.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::checks::{Check, Checks};
use super::fault::Fault;
use super::settings::Settings;
use super::signalling::{Signalling, Told};
use super::stream::Reel;
use super::viewer::{PayloadKind, Turn, Viewer, ViewerOutput};
use super::way::Way;
use super::{CameraCommand, CameraEvent};
use crate::proto::gwell::TCP;
use crate::proto::gwell::calling::{Calling, MtpReply};
use crate::proto::gwell::control::Control;
use crate::proto::gwell::gutes::{Frame, Kind};
use crate::proto::gwell::kcp;
use crate::proto::gwell::mtp::{Carrier, Mtp};
use crate::proto::gwell::port_status::PortStatus;
use crate::proto::gwell::session::Path;
use crate::proto::{Lane, Output, Session};
use crate::sim::dice::Dice;
use crate::sim::sound::NoSuchSound;

/// Calls at a time, watching or not. More are not taken.
const MAX_CALLS: usize = 16;
/// How long a camera that sleeps stays awake without anybody there.
const AWAKE_FOR: Duration = Duration::from_secs(5);
/// Which media datagrams `wrong-checksum` strikes.
const WRONG_EVERY: u64 = 10;
/// Both conversations of a call have its link id but for this bit.
const LINK: u32 = 0x7FFF_FFFF;

/// A camera without sockets. Serves several viewers at a time and outlives every one of them.
pub struct CameraSession {
    settings: Settings,
    reel: Arc<Reel>,
    dice: Dice,
    /// The wall clock at an instant, in milliseconds, from which all wall times follow.
    epoch: (Instant, u64),
    fault: Option<Fault>,
    online: bool,
    power: Power,
    signalling: Signalling,
    viewers: Vec<Viewer>,
    /// The link id of the last call: the server's next word is about it.
    called: Option<u32>,
    /// Media datagrams sent.
    sent: u64,
    checks: Checks,
    outputs: VecDeque<Output<CameraEvent>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    /// From the mains, or until nobody was there for so long.
    Awake {
        until: Option<Instant>,
    },
    Asleep,
    Waking {
        at: Instant,
    },
}

impl CameraSession {
    /// Everything random in this camera follows from `seed`. It tells its server that it is at `settings.listen`.
    ///
    /// # Errors
    /// When the clip has no sound as doorbells send it.
    pub fn new(settings: Settings, seed: u64, now: Instant, unix_now: SystemTime) -> Result<Self, NoSuchSound> {
        let since_1970 = unix_now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            reel: Arc::new(Reel::new(&settings)?),
            dice: Dice::new(seed),
            epoch: (now, u64::try_from(since_1970.as_millis()).unwrap_or_default()),
            fault: settings.fault,
            online: true,
            power: if settings.sleeps { Power::Asleep } else { Power::Awake { until: None } },
            signalling: Signalling::new(&settings, now),
            viewers: Vec::new(),
            called: None,
            sent: 0,
            checks: Checks::default(),
            outputs: VecDeque::new(),
            settings,
        })
    }
}

/// What comes.
impl CameraSession {
    fn on_server(&mut self, now: Instant, datagram: &[u8]) {
        let Some(told) = self.signalling.on_datagram(now, datagram) else { return };
        match told {
            Told::LoggedIn => self.tell(CameraEvent::LoggedIn { server: self.settings.server }),
            Told::Refused { code } => self.tell(CameraEvent::Refused { code }),
            Told::WakeUp => self.wake(now),
            _ if self.power.is_asleep() => {}
            Told::Called(calling) => self.on_calling(now, &calling),
            Told::Resources(resources) => self.on_resources(now, &resources),
            Told::CreateKcp { link_id } if self.is_usable(Path::Passthrough) => {
                self.at_turn_of(now, link_id, |viewer, turn| viewer.create_kcp(turn.now));
            }
            Told::CreateKcp { .. } => {}
            Told::CallOver { link_id } => self.at_turn_of(now, link_id, |viewer, turn| viewer.hang_up(turn.now)),
            Told::Passed { mtp } => self.on_mtp(now, Way::Passthrough, &mtp),
        }
    }

    /// A call, or the same once more: its caller has not heard that we took it.
    fn on_calling(&mut self, now: Instant, calling: &Calling) {
        if calling.callee != self.settings.tid() {
            return;
        }
        let is_new = self.place(calling.link_id).is_none();
        if is_new && self.viewers.len() >= MAX_CALLS {
            return;
        }
        if is_new {
            self.viewers.push(Viewer::called(now, calling));
            self.tell(CameraEvent::Called { link: calling.link_id, caller: calling.caller.to_string() });
        }
        self.called = Some(calling.link_id);
        self.signalling.accept(calling, self.settings.listen);
    }

    fn on_resources(&mut self, now: Instant, resources: &MtpReply) {
        let link_id = if resources.link_id == 0 { self.called } else { Some(resources.link_id) };
        if let Some(link_id) = link_id {
            self.at_turn_of(now, link_id, |viewer, turn| viewer.on_resources(turn.now, resources));
        }
    }

    fn on_stream(&mut self, now: Instant, from: SocketAddr, message: &[u8]) {
        if message.is_empty() {
            return self.viewers.iter_mut().for_each(|viewer| viewer.on_closed(from));
        }
        let relay = self.viewers.iter().find_map(|viewer| viewer.relay_at(from, true));
        self.on_mtp(now, relay.unwrap_or(Way::LanTcp(from)), message);
    }

    /// From anybody but the server.
    fn on_peer(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if datagram.first_chunk().is_some_and(|head| Mtp::frame_len(*head).is_some()) {
            let relay = self.viewers.iter().find_map(|viewer| viewer.relay_at(from, false));
            return self.on_mtp(now, relay.unwrap_or(Way::LanUdp(from)), datagram);
        }
        if self.is_usable(Path::LanUdp)
            && let Ok(frame) = Frame::open(datagram, None)
            && matches!(frame.kind, Kind::PortStatus | Kind::PortStatusReply)
            && let Ok(status) = PortStatus::decode(&frame)
        {
            self.on_port_status(from, &frame, status);
        }
    }

    /// Somebody asks, or answers, from where a viewer may be reached.
    fn on_port_status(&mut self, from: SocketAddr, frame: &Frame, status: PortStatus) {
        if status.tid != self.settings.tid() {
            return;
        }
        let Some(at) = self.place(status.link_id) else { return };
        self.viewers[at].learn(from);
        if frame.kind == Kind::PortStatus {
            let answer = status.encode_reply(self.signalling.identity());
            self.transmit(Lane::MAIN, from, answer.seal(None));
        }
    }

    fn on_mtp(&mut self, now: Instant, way: Way, frame: &[u8]) {
        if !self.is_usable(way.path()) {
            return;
        }
        let Ok(mtp) = Mtp::decode(frame) else {
            self.checks.note(Check::Mtp, false);
            return;
        };
        self.checks.note(Check::Mtp, true);
        if mtp.to.is_some_and(|tid| tid != self.settings.tid()) {
            return;
        }
        let Ok((control, segments)) = Control::split(mtp.payload) else { return };
        let link_id = control.map(|control| control.route().link_id).or_else(|| kcp::conversation_of(segments));
        if let Some(link_id) = link_id {
            self.at_turn_of(now, link_id, |viewer, turn| viewer.on_payload(turn, way, control, segments));
        }
    }

    fn place(&self, link_id: u32) -> Option<usize> {
        self.viewers.iter().position(|viewer| viewer.link_id & LINK == link_id & LINK)
    }

    fn at_turn_of(&mut self, now: Instant, link_id: u32, act: impl FnOnce(&mut Viewer, &mut Turn)) {
        if let Some(at) = self.place(link_id) {
            self.at_turn(now, at, act);
        }
    }

    /// Lets one viewer do something, and passes on what came of it.
    fn at_turn(&mut self, now: Instant, at: usize, act: impl FnOnce(&mut Viewer, &mut Turn)) {
        let taken = self.viewers.iter().filter(|viewer| viewer.has_seat()).count();
        let unix_ms = self.unix_ms(now);
        let Some(viewer) = self.viewers.get_mut(at) else { return };
        let mut turn = Turn {
            now,
            unix_ms,
            fault: self.fault,
            seat: taken < self.settings.max_viewers,
            patience: self.settings.patience,
            live_for: self.settings.live_for,
            reel: &self.reel,
            checks: &mut self.checks,
        };
        act(viewer, &mut turn);
        viewer.reckon(now, unix_ms);
        self.forward(at);
    }
}

/// What goes.
impl CameraSession {
    fn forward(&mut self, at: usize) {
        while let Some(output) = self.viewers.get_mut(at).and_then(Viewer::poll) {
            let caller = self.viewers.get(at).map_or(0, |viewer| viewer.caller);
            match output {
                ViewerOutput::Event(event) => self.tell(event),
                _ if self.fault == Some(Fault::Silent) => {}
                ViewerOutput::Register { relay, frame } => self.carry(relay, caller, frame),
                ViewerOutput::Send { way, kind, payload } => self.send_payload(way, kind, caller, payload),
            }
        }
    }

    fn send_payload(&mut self, way: Way, kind: PayloadKind, caller: u64, mut payload: Vec<u8>) {
        let is_media = kind == PayloadKind::Kcp;
        if is_media && self.fault == Some(Fault::EndlessFragments) {
            never_end(&mut payload);
        }
        let to = matches!(way, Way::RelayUdp(_)).then_some(caller);
        let carrier = match way {
            Way::LanTcp(_) | Way::RelayTcp(_) => Carrier::Stream,
            Way::LanUdp(_) | Way::RelayUdp(_) | Way::Passthrough => Carrier::Datagram,
        };
        let mut frame = Mtp { urgent: !is_media, to, payload: &payload }.encode(carrier);
        if is_media {
            self.sent += 1;
            match self.fault {
                Some(Fault::WrongChecksum) if self.sent.is_multiple_of(WRONG_EVERY) => spoil(&mut frame),
                Some(Fault::Duplicate) => self.carry(way, caller, frame.clone()),
                _ => {}
            }
        }
        self.carry(way, caller, frame);
    }

    /// Sends a whole MTP frame.
    fn carry(&mut self, way: Way, caller: u64, frame: Vec<u8>) {
        if !self.is_usable(way.path()) {
            return;
        }
        match way {
            Way::LanTcp(to) | Way::RelayTcp(to) => self.transmit(TCP, to, frame),
            Way::LanUdp(to) | Way::RelayUdp(to) => self.transmit(Lane::MAIN, to, frame),
            Way::Passthrough => self.signalling.pass(caller, frame),
        }
    }

    /// Loses what the network would; streams lose nothing.
    fn transmit(&mut self, lane: Lane, to: SocketAddr, payload: Vec<u8>) {
        if self.online && !self.loses(lane) {
            self.outputs.push_back(Output::Send { lane, to, payload });
        }
    }

    fn loses(&mut self, lane: Lane) -> bool {
        lane == Lane::MAIN && self.dice.roll(self.settings.loss)
    }

    /// What the server is to hear, at last.
    fn flush(&mut self) {
        while let Some(datagram) = self.signalling.poll() {
            self.transmit(Lane::MAIN, self.settings.server, datagram);
        }
        while let Some(verdict) = self.checks.news() {
            let (name, ok, violations) = (verdict.check.name(), verdict.ok, verdict.violations);
            self.tell(CameraEvent::Check { name, ok, violations });
        }
    }

    fn tell(&mut self, event: CameraEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn is_usable(&self, path: Path) -> bool {
        self.settings.paths.contains(&path) && !self.fault.is_some_and(|fault| fault.kills(path))
    }
}

/// What time and its owner do.
impl CameraSession {
    fn sweep(&mut self, now: Instant) {
        let (gone, stay) = self.viewers.drain(..).partition(|viewer| viewer.is_gone(now));
        self.viewers = stay;
        self.close_streams_of(gone);
    }

    /// Closes the streams that nobody needs any more.
    fn close_streams_of(&mut self, gone: Vec<Viewer>) {
        let needed: BTreeSet<SocketAddr> = self.viewers.iter().flat_map(Viewer::streams).collect();
        let theirs: BTreeSet<SocketAddr> = gone.iter().flat_map(Viewer::streams).collect();
        let closed = theirs.difference(&needed).map(|to| Output::Send { lane: TCP, to: *to, payload: Vec::new() });
        self.outputs.extend(closed);
    }

    fn wake(&mut self, now: Instant) {
        if self.power == Power::Asleep {
            self.power = Power::Waking { at: now + self.settings.wake_delay };
        }
    }

    fn change_power(&mut self, now: Instant) {
        match self.power {
            Power::Waking { at } if now >= at => {
                self.power = Power::Awake { until: Some(now + AWAKE_FOR) };
                self.signalling.beat(now);
                self.tell(CameraEvent::Awake);
            }
            Power::Awake { until: Some(_) } if !self.viewers.is_empty() => {
                self.power = Power::Awake { until: Some(now + AWAKE_FOR) };
            }
            Power::Awake { until: Some(until) } if now >= until => {
                self.power = Power::Asleep;
                self.tell(CameraEvent::Asleep);
            }
            _ => {}
        }
    }

    fn unplug(&mut self) {
        self.online = false;
        // No farewell: nobody hears it.
        self.viewers.clear();
        self.tell(CameraEvent::Offline);
    }

    fn plug_in(&mut self, now: Instant) {
        self.online = true;
        self.signalling.restart(now);
        self.tell(CameraEvent::Online);
    }

    fn unix_ms(&self, now: Instant) -> u64 {
        let (then, unix_ms) = self.epoch;
        unix_ms + u64::try_from(now.saturating_duration_since(then).as_millis()).unwrap_or_default()
    }
}

impl Power {
    fn is_asleep(self) -> bool {
        !matches!(self, Self::Awake { .. })
    }

    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Awake { until } => until,
            Self::Asleep => None,
            Self::Waking { at } => Some(at),
        }
    }
}

/// Makes every fragment in a payload one that others must follow.
fn never_end(segments: &mut [u8]) {
    const HEADER: usize = 24;
    const PUSH: u8 = 81;
    let mut rest = segments;
    while let Some((header, body)) = rest.split_at_mut_checked(HEADER) {
        if let [_, _, _, _, PUSH, fragment, ..] = header {
            *fragment = fragment.saturating_add(1);
        }
        let len = header.last_chunk().copied().map_or(0, u32::from_le_bytes);
        rest = body.get_mut(len as usize..).unwrap_or_default();
    }
}

fn spoil(frame: &mut [u8]) {
    const CHECKSUM: usize = 4;
    if let Some(byte) = frame.get_mut(CHECKSUM) {
        *byte ^= 0x55;
    }
}

impl Session for CameraSession {
    type Command = CameraCommand;
    type Event = CameraEvent;
    type Error = Infallible;

    fn on_datagram(&mut self, now: Instant, lane: Lane, from: SocketAddr, payload: &[u8]) -> Result<(), Infallible> {
        if !self.online || self.loses(lane) {
            return Ok(());
        }
        match lane {
            TCP => self.on_stream(now, from, payload),
            _ if from == self.settings.server => self.on_server(now, payload),
            _ => self.on_peer(now, from, payload),
        }
        self.flush();
        Ok(())
    }

    fn on_timeout(&mut self, now: Instant) -> Result<(), Infallible> {
        if self.online {
            self.signalling.on_timeout(now, self.unix_ms(now), &mut self.dice);
        }
        for at in 0..self.viewers.len() {
            self.at_turn(now, at, Viewer::on_timeout);
        }
        self.sweep(now);
        self.change_power(now);
        self.flush();
        Ok(())
    }

    fn on_command(&mut self, now: Instant, command: CameraCommand) -> Result<(), Infallible> {
        match command {
            CameraCommand::Ring => self.tell(CameraEvent::Ring),
            CameraCommand::Motion => self.tell(CameraEvent::Motion),
            CameraCommand::Wake => self.wake(now),
            CameraCommand::Offline => self.unplug(),
            CameraCommand::Online => self.plug_in(now),
            CameraCommand::Loss { percent } => self.settings.loss = f64::from(percent) / 100.0,
            CameraCommand::Fault(fault) => {
                self.fault = fault;
                self.tell(CameraEvent::Fault { name: fault.map_or("none", Fault::name) });
            }
        }
        self.flush();
        Ok(())
    }

    fn on_close(&mut self, now: Instant) {
        for at in 0..self.viewers.len() {
            self.at_turn(now, at, Viewer::farewell);
        }
        let gone = std::mem::take(&mut self.viewers);
        self.close_streams_of(gone);
        self.flush();
    }

    fn poll(&mut self) -> Option<Output<CameraEvent>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        let signalling = self.online.then(|| self.signalling.deadline());
        let viewers = self.viewers.iter().map(|viewer| viewer.deadline()).min();
        [signalling, viewers, self.power.deadline()].into_iter().flatten().min()
    }
}
