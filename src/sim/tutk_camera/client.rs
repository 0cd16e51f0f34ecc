//! One client's session: DTLS on both channels, keepalives, media out and talk in.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::CameraEvent;
use super::av::{Av, Effect};
use super::checks::{Check, Checks};
use super::fault::Fault;
use super::identity::Identity;
use super::settings::Settings;
use super::stream::{Reel, Stream};
use super::talk::Talk;
use super::transport::{Echo, Transport};
use crate::proto::tutk::Channel;
use crate::proto::tutk::dtls::{DtlsEndpoint, DtlsError, DtlsFactory, Role};
use crate::proto::tutk::kcommand::{ControlChannel, MediaType};
use crate::proto::tutk::keys::{Psk, SessionId};
use crate::secret::Enr;
use crate::sim::dice::Dice;

const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// Keepalives whose answers may still come.
const AWAITED: usize = 8;
const MEDIA_GAP: Duration = Duration::from_secs(2);

/// What every session of a camera begins with.
pub(super) struct Camera {
    pub(super) settings: Settings,
    pub(super) identity: Identity,
    pub(super) reel: Arc<Reel>,
    pub(super) dtls: DtlsFactory,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended(pub(super) &'static str);

impl From<DtlsError> for Ended {
    fn from(error: DtlsError) -> Self {
        match error {
            DtlsError::Closed => Self("the client closed it"),
            DtlsError::KeyRefused => Self("the keys of camera and client differ"),
            DtlsError::HandshakeTooLong | DtlsError::Failed(_) => Self("DTLS failed"),
        }
    }
}

pub(super) enum ClientOutput {
    Send { to: SocketAddr, payload: Vec<u8> },
    Event(CameraEvent),
}

pub(super) struct Client {
    peer: SocketAddr,
    transport: Transport,
    dtls: Box<dyn DtlsEndpoint>,
    factory: DtlsFactory,
    psk: Psk,
    enr: Enr,
    /// The random id of the camera's own login.
    talk_id: [u8; 4],
    reel: Arc<Reel>,
    av: Av,
    stream: Option<Stream>,
    talk: Option<Talk>,
    /// Set by the session whenever it changes.
    pub(super) fault: Option<Fault>,
    heard: Instant,
    next_keepalive: Instant,
    awaited: VecDeque<Echo>,
    outputs: VecDeque<ClientOutput>,
}

impl Client {
    pub(super) fn open(
        now: Instant,
        peer: SocketAddr,
        transport: Transport,
        camera: &Camera,
        fault: Option<Fault>,
        dice: &mut Dice,
    ) -> Result<Self, DtlsError> {
        let Camera { settings, identity, reel, dtls: factory } = camera;
        let psk = if fault == Some(Fault::WrongPsk) { Psk::derive("another camera's") } else { identity.psk() };
        let refuses = fault == Some(Fault::LoginRefused);
        Ok(Self {
            peer,
            transport,
            dtls: factory(Role::Server, Channel::Main, &psk)?,
            factory: factory.clone(),
            psk,
            enr: identity.enr.clone(),
            talk_id: dice.bytes(),
            reel: reel.clone(),
            av: Av::new(now, settings, identity.enr.clone(), dice.bytes(), refuses),
            stream: None,
            talk: None,
            fault,
            heard: now,
            next_keepalive: now + KEEPALIVE_EVERY,
            awaited: VecDeque::new(),
            outputs: VecDeque::new(),
        })
    }

    pub(super) fn is(&self, session_id: SessionId) -> bool {
        self.transport.session_id == session_id
    }

    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        self.peer == address
    }

    /// When its last datagram came.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn begin_media_gap(&mut self, now: Instant) {
        if let Some(stream) = &mut self.stream {
            stream.pause_until(now + MEDIA_GAP);
        }
    }

    pub(super) fn on_dtls(
        &mut self,
        now: Instant,
        from: SocketAddr,
        channel: Channel,
        datagram: &[u8],
        checks: &mut Checks,
    ) -> Result<(), Ended> {
        self.heard = now;
        self.peer = from;
        let outcome = match channel {
            Channel::Main => self.on_main(now, datagram, checks),
            Channel::Back => {
                self.on_back(now, datagram, checks);
                Ok(())
            }
        };
        self.flush();
        outcome
    }

    /// A NEW client counts the keepalives it received, some of which may have been lost.
    pub(super) fn on_keepalive(&mut self, now: Instant, echo: Echo, checks: &mut Checks) {
        self.heard = now;
        let ok = match (echo, self.awaited.back()) {
            (Echo::New { counter }, Some(Echo::New { counter: newest })) => counter % 2 == 0 && counter <= *newest,
            _ => self.awaited.contains(&echo),
        };
        checks.note(Check::Keepalive, ok);
    }

    pub(super) fn on_timeout(&mut self, now: Instant, unix_now: SystemTime, dice: &mut Dice) -> Result<(), Ended> {
        self.dtls.on_timeout(now)?;
        self.time_talk(now);
        self.keep_alive(now, dice);
        self.send_media(now, unix_now)?;
        self.flush();
        if now < self.av.gone_at() { Ok(()) } else { Err(Ended("the client fell silent")) }
    }

    /// Says goodbye on both channels.
    pub(super) fn close(&mut self) {
        self.end_talk();
        self.dtls.close();
        self.flush();
    }

    pub(super) fn poll(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    pub(super) fn deadline(&self) -> Instant {
        let stream = self.stream.as_ref().and_then(Stream::deadline);
        let talk = self.talk.as_ref().map(Talk::deadline);
        let optional = [self.dtls.deadline(), stream, talk];
        optional.into_iter().flatten().fold(self.next_keepalive.min(self.av.gone_at()), Instant::min)
    }

    fn on_main(&mut self, now: Instant, datagram: &[u8], checks: &mut Checks) -> Result<(), Ended> {
        let outcome = self.dtls.on_datagram(now, datagram);
        while let Some(message) = self.dtls.poll_message() {
            for effect in self.av.on_message(now, &message, checks) {
                self.apply(now, effect)?;
            }
        }
        Ok(outcome?)
    }

    fn apply(&mut self, now: Instant, effect: Effect) -> Result<(), Ended> {
        match effect {
            Effect::Send(message) => self.dtls.send(&message)?,
            Effect::Stream { video, audio } => {
                self.stream = Some(Stream::begin(now, self.reel.clone(), video, audio));
                self.tell(CameraEvent::Streaming);
            }
            Effect::Resolution { command, resolution } => {
                self.want_keyframe();
                let (frame_size, bitrate) = (resolution.frame_size, resolution.bitrate);
                self.tell(CameraEvent::Resolution { command, frame_size, bitrate });
            }
            Effect::Control(control) => self.control(now, control),
        }
        Ok(())
    }

    fn want_keyframe(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.want_keyframe();
        }
    }

    fn control(&mut self, now: Instant, control: ControlChannel) {
        match (control.media, control.enable) {
            (MediaType::ReturnAudio, true) => self.begin_talk(now),
            (MediaType::ReturnAudio, false) => self.end_talk(),
            (MediaType::Video, on) => {
                if let Some(stream) = &mut self.stream {
                    stream.enable_video(now, on);
                }
            }
            (MediaType::Audio, on) => {
                if let Some(stream) = &mut self.stream {
                    stream.enable_audio(now, on);
                }
            }
            (MediaType::Rdt, _) => {}
        }
    }

    /// Opens the back channel, in which the camera is the DTLS client.
    fn begin_talk(&mut self, now: Instant) {
        self.end_talk();
        if self.fault == Some(Fault::NoBackChannel) {
            return;
        }
        match (self.factory)(Role::Client, Channel::Back, &self.psk) {
            Ok(dtls) => self.talk = Some(Talk::new(now, dtls, &self.enr, self.talk_id, self.reel.microphone())),
            Err(error) => tracing::error!(%error, "the virtual camera cannot open its back channel"),
        }
    }

    fn end_talk(&mut self) {
        if let Some(mut talk) = self.talk.take() {
            talk.close();
            self.pass_on(&mut talk);
        }
    }

    fn on_back(&mut self, now: Instant, datagram: &[u8], checks: &mut Checks) {
        let Some(mut talk) = self.talk.take() else { return };
        let goes_on = talk.on_datagram(now, datagram, checks);
        self.keep_talk(talk, goes_on);
    }

    fn time_talk(&mut self, now: Instant) {
        let Some(mut talk) = self.talk.take() else { return };
        let goes_on = talk.on_timeout(now);
        self.keep_talk(talk, goes_on);
    }

    fn keep_talk(&mut self, mut talk: Talk, goes_on: bool) {
        if !goes_on {
            talk.close();
        }
        self.pass_on(&mut talk);
        self.talk = goes_on.then_some(talk);
    }

    fn pass_on(&mut self, talk: &mut Talk) {
        while let Some(datagram) = talk.poll_datagram() {
            let payload = self.transport.wrap(Channel::Back, datagram);
            self.outputs.push_back(ClientOutput::Send { to: self.peer, payload });
        }
        while let Some(event) = talk.poll_event() {
            self.tell(event);
        }
    }

    fn keep_alive(&mut self, now: Instant, dice: &mut Dice) {
        if now < self.next_keepalive {
            return;
        }
        self.next_keepalive = now + KEEPALIVE_EVERY;
        let (payload, echo) = self.transport.keepalive(dice.bytes());
        self.awaited.push_back(echo);
        if self.awaited.len() > AWAITED {
            self.awaited.pop_front();
        }
        self.outputs.push_back(ClientOutput::Send { to: self.peer, payload });
    }

    fn send_media(&mut self, now: Instant, unix_now: SystemTime) -> Result<(), Ended> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        for packet in stream.due(now, unix_now, self.fault) {
            self.dtls.send(&packet)?;
        }
        Ok(())
    }

    fn flush(&mut self) {
        while let Some(datagram) = self.dtls.poll_datagram() {
            let payload = self.transport.wrap(Channel::Main, datagram);
            self.outputs.push_back(ClientOutput::Send { to: self.peer, payload });
        }
    }

    fn tell(&mut self, event: CameraEvent) {
        self.outputs.push_back(ClientOutput::Event(event));
    }
}
