//! The camera as a state machine: who may have a session, what faults do to it, and what it tells.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::checks::{Check, Checks};
use super::client::{Camera, Client, ClientOutput, Ended};
use super::fault::Fault;
use super::identity::Identity;
use super::link::TwoPortLink;
use super::settings::{Protocol, Settings};
use super::stream::Reel;
use super::transport::{self, Arrival, Transport};
use super::{CameraCommand, CameraEvent};
use crate::proto::tutk::dtls::{self, DtlsFactory};
use crate::proto::{Lane, Output, Session};
use crate::sim::dice::Dice;
use crate::sim::sound::NoSuchSound;

/// A client that was not heard for this long gives way to a new one.
const GIVES_WAY: Duration = Duration::from_secs(2);

/// A camera without sockets. Serves one client at a time and outlives every one of them.
pub struct CameraSession {
    camera: Camera,
    dice: Dice,
    /// What NEW clients must repeat; one for the camera's life.
    ticket: u16,
    /// The wall clock at an instant, from which all wall times follow.
    epoch: (Instant, SystemTime),
    fault: Option<Fault>,
    online: bool,
    lane: Lane,
    checks: Checks,
    client: Option<Client>,
    outputs: VecDeque<Output<CameraEvent>>,
}

impl CameraSession {
    /// Everything random in this camera follows from `seed`.
    ///
    /// # Errors
    /// When the clip has no sound in the format of the settings.
    pub fn new(settings: Settings, seed: u64, now: Instant, unix_now: SystemTime) -> Result<Self, NoSuchSound> {
        Self::with_dtls(settings, dtls::openssl(), seed, now, unix_now)
    }

    /// The same with another DTLS engine, for tests.
    ///
    /// # Errors
    /// As [`CameraSession::new`].
    pub fn with_dtls(
        settings: Settings,
        dtls: DtlsFactory,
        seed: u64,
        now: Instant,
        unix_now: SystemTime,
    ) -> Result<Self, NoSuchSound> {
        let mut dice = Dice::new(seed);
        let fault = settings.fault;
        let camera = Camera {
            identity: Identity::new(settings.uid, settings.enr_under(fault), &settings.mac),
            reel: Arc::new(Reel::new(&settings)?),
            settings,
            dtls,
        };
        Ok(Self {
            camera,
            fault,
            // Zero means "none yet".
            ticket: u16::from_le_bytes(dice.bytes()) | 1,
            dice,
            epoch: (now, unix_now),
            online: true,
            lane: Lane::MAIN,
            checks: Checks::default(),
            client: None,
            outputs: VecDeque::new(),
        })
    }

    fn on_arrival(&mut self, now: Instant, from: SocketAddr, arrival: Arrival) {
        match arrival {
            Arrival::Answer(answer) if !self.is_busy(now) => self.send(from, answer),
            Arrival::Answer(_) => {}
            Arrival::Open { transport, answer } => self.open(now, from, transport, answer),
            Arrival::Dtls { session_id, channel, payload } => {
                let Some(client) = &mut self.client else { return };
                // What is left of an earlier session comes from another port.
                if client.is(session_id) || client.is_at(from) {
                    self.checks.note(Check::SessionId, client.is(session_id));
                }
                if client.is(session_id) {
                    let outcome = client.on_dtls(now, from, channel, &payload, &mut self.checks);
                    self.after_client(outcome);
                }
            }
            Arrival::Keepalive { session_id, echo } => {
                if let Some(client) = &mut self.client
                    && session_id.is_none_or(|id| client.is(id))
                {
                    client.on_keepalive(now, echo, &mut self.checks);
                }
            }
        }
    }

    fn is_busy(&self, now: Instant) -> bool {
        self.client.as_ref().is_some_and(|client| now < client.heard() + GIVES_WAY)
    }

    /// Opens a session, or answers again for the one that is open.
    fn open(&mut self, now: Instant, from: SocketAddr, transport: Transport, answer: Vec<u8>) {
        if self.client.as_ref().is_some_and(|client| client.is(transport.session_id)) {
            return self.send(from, answer);
        }
        if self.is_busy(now) {
            return;
        }
        self.end(Ended("another client took over"));
        self.lane = Lane::MAIN;
        let protocol = transport.protocol();
        match Client::open(now, from, transport, &self.camera, self.fault, &mut self.dice) {
            Ok(client) => {
                self.client = Some(client);
                self.tell(CameraEvent::SessionStarted { protocol });
                self.send(from, answer);
            }
            Err(error) => tracing::error!(%error, "the virtual camera cannot open a session"),
        }
    }

    /// Passes on what the client produced, and ends it if it is over.
    fn after_client(&mut self, outcome: Result<(), Ended>) {
        self.forward();
        if let Err(ended) = outcome {
            self.end(ended);
        }
    }

    fn forward(&mut self) {
        while let Some(output) = self.client.as_mut().and_then(Client::poll) {
            match output {
                ClientOutput::Event(event) => self.tell(event),
                ClientOutput::Send { to, payload } if self.fault != Some(Fault::Freeze) => self.send(to, payload),
                ClientOutput::Send { .. } => {}
            }
        }
    }

    fn end(&mut self, Ended(why): Ended) {
        if let Some(client) = &mut self.client {
            client.close();
            self.forward();
            self.client = None;
            self.tell(CameraEvent::SessionEnded { why });
        }
    }

    fn set_fault(&mut self, now: Instant, fault: Option<Fault>) {
        let enr = self.camera.settings.enr_under(fault);
        if enr.expose() != self.camera.identity.enr.expose() {
            self.end(Ended("the credentials changed"));
            self.camera.identity = Identity::new(self.camera.settings.uid, enr, &self.camera.settings.mac);
        }
        self.hold(fault);
        self.tell(CameraEvent::Fault { name: fault.map_or("none", Fault::name) });
        self.misbehave_once(now);
    }

    /// The two faults that are over as soon as they happened; they wait for a stream.
    fn misbehave_once(&mut self, now: Instant) {
        let Some(client) = self.client.as_mut().filter(|client| client.is_streaming()) else { return };
        match self.fault {
            Some(Fault::MediaGap) => client.begin_media_gap(now),
            Some(Fault::PortChange) if self.lane == Lane::MAIN => self.lane = TwoPortLink::MOVED,
            Some(Fault::PortChange) => self.lane = Lane::MAIN,
            _ => return,
        }
        self.hold(None);
    }

    fn hold(&mut self, fault: Option<Fault>) {
        self.fault = fault;
        if let Some(client) = &mut self.client {
            client.fault = fault;
        }
    }

    fn unplug(&mut self) {
        self.online = false;
        // No farewell: what the client queues now is never sent.
        self.end(Ended("the camera went offline"));
        self.tell(CameraEvent::Offline);
    }

    fn speaks(&self) -> Protocol {
        if self.fault == Some(Fault::BothFamilies) { Protocol::Both } else { self.camera.settings.protocol }
    }

    fn unix_at(&self, now: Instant) -> SystemTime {
        let (then, unix_then) = self.epoch;
        unix_then + now.saturating_duration_since(then)
    }

    fn send(&mut self, to: SocketAddr, payload: Vec<u8>) {
        if self.online {
            self.outputs.push_back(Output::Send { lane: self.lane, to, payload });
        }
    }

    fn tell(&mut self, event: CameraEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn tell_verdicts(&mut self) {
        while let Some(verdict) = self.checks.news() {
            let (name, ok, violations) = (verdict.check.name(), verdict.ok, verdict.violations);
            self.tell(CameraEvent::Check { name, ok, violations });
        }
    }
}

impl Session for CameraSession {
    type Command = CameraCommand;
    type Event = CameraEvent;
    type Error = Infallible;

    fn on_datagram(&mut self, now: Instant, _: Lane, from: SocketAddr, payload: &[u8]) -> Result<(), Infallible> {
        if !self.online || self.fault == Some(Fault::NoAnswer) {
            return Ok(());
        }
        let (speaks, ticket) = (self.speaks(), self.ticket);
        let arrival = transport::read(&self.camera.identity, speaks, ticket, payload, &mut self.checks);
        if let Some(arrival) = arrival {
            self.on_arrival(now, from, arrival);
        }
        self.tell_verdicts();
        Ok(())
    }

    fn on_timeout(&mut self, now: Instant) -> Result<(), Infallible> {
        self.misbehave_once(now);
        let unix_now = self.unix_at(now);
        if let Some(client) = &mut self.client {
            let outcome = client.on_timeout(now, unix_now, &mut self.dice);
            self.after_client(outcome);
        }
        self.tell_verdicts();
        Ok(())
    }

    fn on_command(&mut self, now: Instant, command: CameraCommand) -> Result<(), Infallible> {
        match command {
            CameraCommand::Ring => self.tell(CameraEvent::Ring),
            CameraCommand::Motion => self.tell(CameraEvent::Motion),
            CameraCommand::Offline => self.unplug(),
            CameraCommand::Online => {
                self.online = true;
                self.tell(CameraEvent::Online);
            }
            CameraCommand::Fault(fault) => self.set_fault(now, fault),
        }
        Ok(())
    }

    fn on_close(&mut self, _: Instant) {
        self.end(Ended("the camera was switched off"));
    }

    fn poll(&mut self) -> Option<Output<CameraEvent>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.client.as_ref().map(Client::deadline)
    }
}
