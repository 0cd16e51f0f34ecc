//! One session with one camera, as a client: search, handshake, login, stream, talk
//! (docs/protocol/tutk.md §2 for the course of it).

mod control;
mod interface;
mod search;
mod stream;
mod talk;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::control::{Control, RequestKind};
pub use self::interface::{AvFrame, Command, Event, Media, SessionError, SessionRandom, Setup, TalkEnd};
pub use self::search::Transport;
use self::search::{Answer, Carrier, Inbound, Search};
pub use self::stream::Silence;
use self::stream::{Stream, Watchdog};
use self::talk::{Progress, Talk};
use super::Channel;
use super::dtls::{DtlsEndpoint, DtlsError, Role};
use super::frame::MediaPacket;
pub use super::kcommand::Quality;
use super::kcommand::{
    AuthRequest, AuthResult, Challenge, ChallengeResponse, ControlChannel, KCommand, MediaType, Resolution,
    ResolutionCommand,
};
use super::keys::Psk;
use super::login::{AvLogin, AvLoginResponse};
pub use super::talk::SoundFormat;
use crate::proto::{Lane, Output, Session};

/// Reliability S21.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Between the two login messages.
const LOGIN_GAP: Duration = Duration::from_millis(10);
const LOGIN_REPEAT: Duration = Duration::from_millis(500);
/// For the AV login and both steps of the K-authentication. The reference client gives up after 5 s; at a
/// loss of 20 % each way that loses one session in 160 at each step.
const LOGIN_LIMIT: Duration = Duration::from_secs(8);
/// For everything that is asked of a camera that streams already.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Of what a camera calls its refusal, which its owner is shown.
const LONGEST_RESULT: usize = 32;
/// Between two requests for a keyframe, however many are wanted.
const KEYFRAME_INTERVAL: Duration = Duration::from_secs(2);

/// Where a session stands, in the reference's words.
enum Phase {
    /// Discovery, and the transport session behind it.
    Search(Search),
    DtlsHandshake {
        until: Instant,
    },
    AvLogin(LoginTimes),
    /// K10000 is sent, K10001 awaited.
    Auth,
    /// K10002 is sent, K10003 awaited.
    ChallengeResponse {
        answered: Challenge,
    },
    Streaming(Watchdog),
}

struct LoginTimes {
    /// Which of the two messages is next.
    next: usize,
    next_send: Instant,
    until: Instant,
}

/// A client session. See [`Session`] for how it is run.
pub struct ClientSession {
    setup: Setup,
    peer: SocketAddr,
    phase: Phase,
    carrier: Option<Carrier>,
    main: Option<Box<dyn DtlsEndpoint>>,
    control: Control,
    two_way: bool,
    stream: Stream,
    talk: Talk,
    keyframe_due: Option<Instant>,
    last_resolution: Option<Instant>,
    told_wrong_hmac: bool,
    /// Emptied by the caller after each call.
    outputs: VecDeque<Output<Event>>,
}

impl ClientSession {
    /// A session that begins its search at once: its deadline is `now`.
    pub fn new(setup: Setup, now: Instant) -> Self {
        Self {
            peer: setup.address,
            phase: Phase::Search(Search::new(&setup, now)),
            setup,
            carrier: None,
            main: None,
            control: Control::new(now),
            two_way: false,
            stream: Stream::default(),
            talk: Talk::idle(),
            keyframe_due: None,
            last_resolution: None,
            told_wrong_hmac: false,
            outputs: VecDeque::new(),
        }
    }

    // Sending.

    fn send(&mut self, payload: Vec<u8>) {
        self.outputs.push_back(Output::Send { lane: Lane::MAIN, to: self.peer, payload });
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Sends a message through the main DTLS channel.
    fn send_main(&mut self, message: &[u8]) -> Result<(), SessionError> {
        if let Some(main) = &mut self.main {
            main.send(message).map_err(failed)?;
        }
        Ok(())
    }

    fn request(
        &mut self,
        now: Instant,
        kind: RequestKind,
        command: KCommand,
        limit: Duration,
    ) -> Result<(), SessionError> {
        let message = self.control.request(now, kind, command, limit);
        self.send_main(&message)
    }

    /// Hands on what the layers have ready. Called at the end of whatever may have made them so.
    fn flush(&mut self, now: Instant) {
        while let Some(frame) = self.stream.poll(now) {
            if matches!(frame.media, Media::Video { keyframe: true, .. }) {
                self.keyframe_due = None;
            }
            self.tell(Event::Frame(frame));
        }
        while let Some(datagram) = self.main.as_mut().and_then(|main| main.poll_datagram()) {
            self.send_wrapped(Channel::Main, datagram);
        }
        while let Some(datagram) = self.talk.poll_datagram() {
            self.send_wrapped(Channel::Back, datagram);
        }
    }

    fn send_wrapped(&mut self, channel: Channel, datagram: Vec<u8>) {
        if let Some(carrier) = &mut self.carrier {
            let payload = carrier.wrap(channel, datagram);
            self.send(payload);
        }
    }

    // Search and handshake.

    fn on_search_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<(), SessionError> {
        let Phase::Search(search) = &mut self.phase else { return Ok(()) };
        match search.on_datagram(&self.setup, now, datagram) {
            None => {}
            Some(Answer::Send(payload)) => {
                self.peer = from;
                self.tell(Event::Answered);
                self.send(payload);
            }
            Some(Answer::Open(carrier)) => {
                self.peer = from;
                self.tell(Event::Found { transport: carrier.transport() });
                self.carrier = Some(carrier);
                self.begin_handshake(now)?;
            }
        }
        Ok(())
    }

    fn begin_handshake(&mut self, now: Instant) -> Result<(), SessionError> {
        let psk = Psk::derive(&self.setup.enr);
        let mut main = (self.setup.dtls)(Role::Client, Channel::Main, &psk).map_err(failed)?;
        main.on_timeout(now).map_err(failed)?;
        self.main = Some(main);
        self.phase = Phase::DtlsHandshake { until: now + HANDSHAKE_LIMIT };
        Ok(())
    }

    fn on_carried(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<(), SessionError> {
        let Some(unwrapped) = self.carrier.as_mut().and_then(|carrier| carrier.unwrap(datagram)) else {
            return Ok(());
        };
        self.peer = from;
        if !unwrapped.authentic && !self.told_wrong_hmac {
            self.told_wrong_hmac = true;
            self.tell(Event::WrongHmac);
        }
        match unwrapped.inbound {
            Inbound::Keepalive { answer } => {
                if let Phase::Streaming(watchdog) = &mut self.phase {
                    watchdog.on_keepalive(now);
                }
                self.send(answer);
                Ok(())
            }
            Inbound::Dtls { channel: Channel::Main, payload } => self.on_main_datagram(now, &payload),
            Inbound::Dtls { channel: Channel::Back, payload } => {
                let progress = self.talk.on_datagram(now, &payload);
                self.on_talk_progress(now, progress)
            }
        }
    }

    fn on_main_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), SessionError> {
        let Some(main) = &mut self.main else { return Ok(()) };
        main.on_datagram(now, datagram).map_err(failed)?;
        if matches!(self.phase, Phase::DtlsHandshake { .. }) && main.is_established() {
            self.begin_login(now)?;
        }
        while let Some(message) = self.main.as_mut().and_then(|main| main.poll_message()) {
            self.on_message(now, &message)?;
        }
        Ok(())
    }

    fn on_handshake_timeout(&mut self, now: Instant, until: Instant) -> Result<(), SessionError> {
        let Some(main) = &mut self.main else { return Ok(()) };
        if now >= until {
            // A camera drops what it cannot decrypt and says nothing, so this is how a wrong key looks.
            let key_was_used = main.key_was_used();
            return Err(if key_was_used {
                SessionError::WrongKey
            } else {
                SessionError::NoAnswer { step: "DTLS handshake" }
            });
        }
        main.on_timeout(now).map_err(failed)
    }

    // AV login.

    fn begin_login(&mut self, now: Instant) -> Result<(), SessionError> {
        self.phase = Phase::AvLogin(LoginTimes { next: 0, next_send: now, until: now + LOGIN_LIMIT });
        self.on_login_timeout(now)
    }

    fn on_login_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        let Phase::AvLogin(times) = &mut self.phase else { return Ok(()) };
        if now >= times.until {
            return Err(SessionError::NoAnswer { step: "AV login" });
        }
        if now < times.next_send {
            return Ok(());
        }
        let [first, second] = AvLogin::pair(&self.setup.enr, self.setup.random.login_id);
        let is_first = times.next == 0;
        (times.next, times.next_send) = if is_first { (1, now + LOGIN_GAP) } else { (0, now + LOGIN_REPEAT) };
        let login = if is_first { first } else { second };
        self.send_main(&login.encode())
    }

    fn on_login_response(&mut self, now: Instant, message: &[u8]) -> Result<(), SessionError> {
        let (Phase::AvLogin(_), Ok(response)) = (&self.phase, AvLoginResponse::decode(message)) else {
            return Ok(());
        };
        if response.response_type != AvLoginResponse::SUCCESS {
            return Err(SessionError::LoginRefused { response_type: response.response_type });
        }
        self.two_way = response.two_way;
        self.control = Control::new(now);
        let ack = self.control.ack(now);
        self.send_main(&ack)?;
        self.phase = Phase::Auth;
        self.request(now, RequestKind::Auth, AuthRequest::default().command(), LOGIN_LIMIT)
    }

    // K-authentication.

    fn on_message(&mut self, now: Instant, message: &[u8]) -> Result<(), SessionError> {
        if AvLoginResponse::recognises(message) {
            return self.on_login_response(now, message);
        }
        if MediaPacket::recognises(message) {
            return self.on_media(now, message);
        }
        let Some(command) = self.control.on_message(message) else { return Ok(()) };
        let ack = self.control.ack(now);
        self.send_main(&ack)?;
        match &self.phase {
            Phase::Auth | Phase::ChallengeResponse { .. } => self.on_auth_command(now, &command)?,
            Phase::Streaming(_) => {
                if self.control.answered_by(command.command) == Some(RequestKind::StartTalk) {
                    self.talk.on_consent(now);
                }
            }
            Phase::Search(_) | Phase::DtlsHandshake { .. } | Phase::AvLogin(_) => {}
        }
        Ok(())
    }

    fn on_auth_command(&mut self, now: Instant, command: &KCommand) -> Result<(), SessionError> {
        if let Ok(challenge) = Challenge::decode(command) {
            return self.answer_challenge(now, challenge);
        }
        if matches!(self.phase, Phase::Auth) || command.command != super::kcommand::id::AUTH_RESULT {
            return Ok(());
        }
        self.control.cancel(RequestKind::ChallengeResponse);
        // A result that cannot be read is a success: cameras that refuse say so.
        let result = AuthResult::decode(command).unwrap_or_default();
        if !result.is_accepted() {
            let result = result.connection_res.unwrap_or_default().chars().take(LONGEST_RESULT).collect();
            return Err(SessionError::AuthRefused { result });
        }
        self.phase = Phase::Streaming(Watchdog::new(now));
        self.talk.on_streaming(now);
        self.tell(Event::LoggedIn { firmware: result.firmware, two_way: self.two_way });
        self.send_resolution(now)
    }

    /// Answers each challenge once. A second one, posed because our request was repeated, is the one that
    /// the camera will compare with.
    fn answer_challenge(&mut self, now: Instant, challenge: Challenge) -> Result<(), SessionError> {
        if matches!(self.phase, Phase::ChallengeResponse { answered } if answered == challenge) {
            return Ok(());
        }
        let answer = challenge.answer(&self.setup.enr);
        let response = ChallengeResponse { answer, session_id: self.setup.random.auth_id, video: true, audio: true };
        self.phase = Phase::ChallengeResponse { answered: challenge };
        self.control.cancel(RequestKind::Auth);
        self.request(now, RequestKind::ChallengeResponse, response.command(), LOGIN_LIMIT)
    }

    // Streaming.

    fn on_media(&mut self, now: Instant, message: &[u8]) -> Result<(), SessionError> {
        let Ok(packet) = MediaPacket::decode(message) else { return Ok(()) };
        match &mut self.phase {
            Phase::Streaming(watchdog) => watchdog.on_media(now),
            // The first frames may overtake K10003.
            Phase::ChallengeResponse { .. } => {}
            _ => return Ok(()),
        }
        self.stream.on_packet(now, packet);
        self.flush(now);
        self.begin_wished_talk(now)
    }

    fn send_resolution(&mut self, now: Instant) -> Result<(), SessionError> {
        self.keyframe_due = None;
        self.last_resolution = Some(now);
        let resolution = Resolution::of_model(&self.setup.model, self.setup.quality);
        let command = resolution.command(ResolutionCommand::of_model(&self.setup.model));
        self.request(now, RequestKind::Resolution, command, REQUEST_LIMIT)
    }

    fn request_keyframe(&mut self, now: Instant) {
        let earliest = self.last_resolution.map_or(now, |last| last + KEYFRAME_INTERVAL);
        self.keyframe_due = self.keyframe_due.or(Some(earliest.max(now)));
    }

    fn on_streaming_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        if let Phase::Streaming(watchdog) = &self.phase
            && let Some(silence) = watchdog.silence(now)
        {
            return Err(SessionError::Silent(silence));
        }
        self.stream.on_timeout(now);
        if self.keyframe_due.is_some_and(|due| now >= due) {
            self.send_resolution(now)?;
        }
        Ok(())
    }

    fn on_control_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        let due = self.control.on_timeout(now);
        for message in due.messages {
            self.send_main(&message)?;
        }
        for kind in due.given_up {
            match kind {
                RequestKind::Auth => return Err(SessionError::NoAnswer { step: "K-authentication (K10000)" }),
                RequestKind::ChallengeResponse => {
                    return Err(SessionError::NoAnswer { step: "K-authentication (K10002)" });
                }
                RequestKind::StartTalk => self.end_talk(now, TalkEnd::NoAnswer)?,
                // A camera that does not know the command streams all the same.
                RequestKind::Resolution | RequestKind::StopTalk => {}
            }
        }
        Ok(())
    }

    // Talk.

    fn begin_wished_talk(&mut self, now: Instant) -> Result<(), SessionError> {
        let (Phase::Streaming(_), true, Some(format)) = (&self.phase, self.talk.is_wish(), self.stream.sound()) else {
            return Ok(());
        };
        if let Err(error) = self.talk.begin(&self.setup, format) {
            return self.end_talk(now, TalkEnd::Failed(error));
        }
        self.control.cancel(RequestKind::StopTalk);
        let command = ControlChannel { media: MediaType::ReturnAudio, enable: true }.command();
        self.request(now, RequestKind::StartTalk, command, REQUEST_LIMIT)
    }

    fn on_talk_progress(&mut self, now: Instant, progress: Option<Progress>) -> Result<(), SessionError> {
        match progress {
            None => Ok(()),
            Some(Progress::Opened(format)) => {
                self.tell(Event::TalkOpen { format });
                Ok(())
            }
            Some(Progress::Ended(why)) => self.end_talk(now, why),
        }
    }

    fn end_talk(&mut self, now: Instant, why: TalkEnd) -> Result<(), SessionError> {
        let tell_camera = self.talk.is_known_to_camera();
        self.talk.end();
        self.control.cancel(RequestKind::StartTalk);
        self.tell(Event::TalkClosed { why });
        if tell_camera {
            self.request(now, RequestKind::StopTalk, stop_talk(), REQUEST_LIMIT)?;
        }
        Ok(())
    }
}

fn stop_talk() -> KCommand {
    ControlChannel { media: MediaType::ReturnAudio, enable: false }.command()
}

fn failed(error: DtlsError) -> SessionError {
    match error {
        DtlsError::KeyRefused => SessionError::WrongKey,
        DtlsError::Closed => SessionError::Closed,
        other => SessionError::Dtls(other),
    }
}

impl Session for ClientSession {
    type Command = Command;
    type Event = Event;
    type Error = SessionError;

    fn on_datagram(&mut self, now: Instant, _: Lane, from: SocketAddr, payload: &[u8]) -> Result<(), SessionError> {
        if from.ip() != self.setup.address.ip() {
            return Ok(());
        }
        let outcome = match self.phase {
            Phase::Search(_) => self.on_search_datagram(now, from, payload),
            _ => self.on_carried(now, from, payload),
        };
        self.flush(now);
        outcome
    }

    fn on_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        let outcome = match &mut self.phase {
            Phase::Search(search) => search.on_timeout(&self.setup, now).map(|requests| {
                requests.into_iter().for_each(|request| self.send(request));
            }),
            Phase::DtlsHandshake { until } => {
                let until = *until;
                self.on_handshake_timeout(now, until)
            }
            Phase::AvLogin(_) => self.on_login_timeout(now),
            Phase::Auth | Phase::ChallengeResponse { .. } => self.on_control_timeout(now),
            Phase::Streaming(_) => self.on_control_timeout(now).and_then(|()| self.on_streaming_timeout(now)),
        };
        let talk = self.talk.on_timeout(now);
        let outcome = outcome.and_then(|()| self.on_talk_progress(now, talk));
        self.flush(now);
        outcome
    }

    fn on_command(&mut self, now: Instant, command: Command) -> Result<(), SessionError> {
        let outcome = match command {
            Command::StartTalk => {
                self.talk.wish();
                if matches!(self.phase, Phase::Streaming(_)) {
                    self.talk.on_streaming(now);
                }
                self.begin_wished_talk(now)
            }
            Command::Audio(piece) => {
                let progress = self.talk.audio(now, &piece);
                self.on_talk_progress(now, progress)
            }
            Command::StopTalk if self.talk.is_idle() => Ok(()),
            Command::StopTalk => self.end_talk(now, TalkEnd::Asked),
            Command::RequestKeyframe => {
                self.request_keyframe(now);
                Ok(())
            }
            Command::SetQuality(quality) => {
                self.setup.quality = quality;
                if matches!(self.phase, Phase::Streaming(_)) { self.send_resolution(now) } else { Ok(()) }
            }
        };
        self.flush(now);
        outcome
    }

    fn on_close(&mut self, now: Instant) {
        if !self.talk.is_idle() {
            // What cannot be sent any more need not be.
            let _ = self.end_talk(now, TalkEnd::Asked);
        }
        if let Some(main) = &mut self.main {
            main.close();
        }
        self.flush(now);
    }

    fn poll(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        let engine = self.main.as_ref().and_then(|main| main.deadline());
        let phase = match &self.phase {
            Phase::Search(search) => search.deadline(),
            Phase::DtlsHandshake { until } => *until,
            Phase::AvLogin(times) => times.next_send.min(times.until),
            Phase::Auth | Phase::ChallengeResponse { .. } => self.control.deadline(),
            Phase::Streaming(watchdog) => {
                let times = self.stream.deadline().into_iter().chain(self.keyframe_due);
                times.fold(self.control.deadline().min(watchdog.deadline()), Instant::min)
            }
        };
        engine.into_iter().chain(self.talk.deadline()).chain([phase]).min()
    }
}
