//! The AV conversation on the main channel: login, K-authentication, control (reference §5 and §6).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::acks::{Acks, AvSeq};
use super::checks::{Check, Checks};
use super::settings::{ChallengeStatus, Settings};
use crate::proto::tutk::kcommand::{
    AuthRequest, AuthResult, Challenge, ChallengeResponse, ControlChannel, IoCtrl, KCommand, Resolution,
    ResolutionCommand, id,
};
use crate::proto::tutk::login::{Ack, AvLogin, AvLoginResponse, LoginStage};
use crate::secret::Enr;

const CAPABILITIES: u32 = 0x001F_07FB;
const SECURITY_MODE: u32 = 4;
const LOGIN_1_LEN: usize = 570;
const LOGIN_2_LEN: usize = 572;
const FIRMWARE: &str = "4.52.9.5332";
/// What DTLS may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Answers kept for requests that are repeated.
const REMEMBERED: usize = 16;
/// What a refused login says; the reference only knows what success looks like.
const REFUSED_RESPONSE_TYPE: u8 = 0;
const REFUSED_CONNECTION: &str = "2";
const ACCEPTED_CONNECTION: &str = "1";

/// What the conversation asks of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// One message to be protected and sent.
    Send(Vec<u8>),
    /// K10002 was right: these streams begin.
    Stream { video: bool, audio: bool },
    /// K10010.
    Control(ControlChannel),
    /// K10052 or K10056; the encoder begins anew.
    Resolution { command: u16, resolution: Resolution },
}

/// The answer to a K-command, and what it brings about.
type Reply = (KCommand, Option<Effect>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Login,
    LoggedIn,
    Challenged,
    Authenticated,
}

/// The camera's side of one client's conversation.
pub(super) struct Av {
    phase: Phase,
    enr: Enr,
    /// Of K10001.
    status: u8,
    /// Answers the login and K10002 without success.
    refuses: bool,
    /// What the challenge hides.
    plain: [u8; 16],
    resolution: ResolutionCommand,
    /// K10003 for who is let in.
    result: AuthResult,
    login_1: Option<AvLogin>,
    seq: AvSeq,
    acks: Acks,
    next_command: u16,
    sent: u32,
    /// Answers by the request's av_seq: a repeated request gets the same again and has no other effect.
    answered: VecDeque<(u32, Vec<u8>)>,
}

impl Av {
    /// `plain` is what the challenge hides; `refuses` makes it refuse a right login.
    pub(super) fn new(now: Instant, settings: &Settings, enr: Enr, plain: [u8; 16], refuses: bool) -> Self {
        Self {
            phase: Phase::Login,
            enr,
            status: match settings.challenge {
                ChallengeStatus::Default => 1,
                ChallengeStatus::Enr16 => 3,
                ChallengeStatus::Enr32 => 6,
            },
            refuses,
            plain,
            resolution: ResolutionCommand::of_model(&settings.model),
            result: AuthResult {
                connection_res: Some(ACCEPTED_CONNECTION.into()),
                firmware: Some(FIRMWARE.into()),
                model: Some(settings.model.clone()),
                mac: Some(settings.mac.clone()),
                video: Some(true),
                audio: Some(settings.audio.is_some()),
            },
            login_1: None,
            seq: AvSeq::default(),
            // The handshake may take some time, and there are no ACKs before the login.
            acks: Acks::new(now + HANDSHAKE),
            next_command: 0,
            sent: 0,
            answered: VecDeque::new(),
        }
    }

    /// One decrypted message of the main channel. What cannot be read is dropped.
    pub(super) fn on_message(&mut self, now: Instant, message: &[u8], checks: &mut Checks) -> Vec<Effect> {
        if Ack::recognises(message) {
            self.on_ack(now, message, checks);
            return Vec::new();
        }
        if let Ok(login) = AvLogin::decode(message) {
            return self.on_login(message.len(), login, checks);
        }
        match IoCtrl::decode(message) {
            Ok(frame) => self.on_ioctrl(now, message, &frame, checks),
            Err(error) => {
                tracing::debug!(%error, len = message.len(), "message on the main channel ignored");
                Vec::new()
            }
        }
    }

    /// When a client that sends no more ACKs counts as gone.
    pub(super) fn gone_at(&self) -> Instant {
        self.acks.gone_at()
    }

    fn on_ack(&mut self, now: Instant, message: &[u8], checks: &mut Checks) {
        match Ack::decode(message) {
            Ok(ack) => {
                self.seq.on_frame(ack.av_seq, message, checks);
                self.acks.on_ack(now, &ack, ack.encode() == message, self.sent, checks);
            }
            Err(_) => drop(checks.note(Check::AckFields, false)),
        }
    }

    fn on_login(&mut self, len: usize, login: AvLogin, checks: &mut Checks) -> Vec<Effect> {
        let fields = login.username == "admin"
            && login.password == self.enr.expose()
            && !login.resend
            && login.security_mode == SECURITY_MODE
            && login.capabilities == CAPABILITIES;
        match login.head.stage {
            LoginStage::First => {
                checks.note(Check::AvLogin1, fields && len == LOGIN_1_LEN);
                self.login_1 = Some(login);
                Vec::new()
            }
            LoginStage::Second => {
                let follows = self.login_1.as_ref().is_none_or(|first| follows(first, &login));
                let accepted = checks.note(Check::AvLogin2, fields && follows && len == LOGIN_2_LEN);
                self.answer_login(&login, accepted && !self.refuses)
            }
        }
    }

    fn answer_login(&mut self, login: &AvLogin, accepted: bool) -> Vec<Effect> {
        let mut answer = AvLoginResponse::accept(login.head.random_id);
        if !accepted {
            answer = AvLoginResponse { response_type: REFUSED_RESPONSE_TYPE, enabled: false, two_way: false, ..answer };
        }
        if self.phase == Phase::Login {
            self.phase = Phase::LoggedIn;
        }
        vec![Effect::Send(answer.encode())]
    }

    fn on_ioctrl(&mut self, now: Instant, message: &[u8], frame: &IoCtrl, checks: &mut Checks) -> Vec<Effect> {
        self.seq.on_frame(frame.av_seq, message, checks);
        if let Some((_, answer)) = self.answered.iter().find(|(seq, _)| *seq == frame.av_seq) {
            return vec![Effect::Send(answer.clone())];
        }
        // One behind: the repetition of a command that was not understood. Ahead: some were lost.
        let follows = (-1..=2).contains(&(i32::from(frame.command_seq) - i32::from(self.next_command)));
        checks.note(Check::IoctrlFields, follows && frame.encode() == message);
        self.next_command = frame.command_seq.wrapping_add(1);
        let Some((reply, effect)) = self.on_command(now, &frame.command, checks) else { return Vec::new() };
        let answer = IoCtrl { av_seq: self.sent, command_seq: frame.command_seq, command: reply }.encode();
        self.sent += 1;
        self.remember(frame.av_seq, answer.clone());
        std::iter::once(Effect::Send(answer)).chain(effect).collect()
    }

    fn remember(&mut self, av_seq: u32, answer: Vec<u8>) {
        self.answered.push_back((av_seq, answer));
        if self.answered.len() > REMEMBERED {
            self.answered.pop_front();
        }
    }

    /// `None` for a command that is not understood, or not now.
    fn on_command(&mut self, now: Instant, command: &KCommand, checks: &mut Checks) -> Option<Reply> {
        match (command.command, self.phase) {
            (id::AUTH, Phase::LoggedIn | Phase::Challenged) => self.pose_challenge(command),
            (id::CHALLENGE_RESPONSE, Phase::Challenged) => self.judge(now, command, checks),
            (id::CONTROL_CHANNEL, Phase::Authenticated) => control(command),
            (id::SET_RESOLUTION | id::SET_RESOLUTION_DB, Phase::Authenticated) => self.set_resolution(command, checks),
            (other, phase) => {
                tracing::debug!(command = other, ?phase, "K-command ignored");
                None
            }
        }
    }

    fn pose_challenge(&mut self, command: &KCommand) -> Option<Reply> {
        AuthRequest::decode(command).ok()?;
        self.phase = Phase::Challenged;
        Some((Challenge::pose(self.status, &self.plain, self.enr.expose()).command(), None))
    }

    fn judge(&mut self, now: Instant, command: &KCommand, checks: &mut Checks) -> Option<Reply> {
        let response = ChallengeResponse::decode(command).ok()?;
        let right = checks.note(Check::ChallengeResponse, response.answer == self.plain);
        checks.note(Check::StreamFlags, response.video && response.audio);
        if !right || self.refuses {
            let refusal = AuthResult { connection_res: Some(REFUSED_CONNECTION.into()), ..self.result.clone() };
            return Some((refusal.command(), None));
        }
        self.phase = Phase::Authenticated;
        self.acks.begin_cadence(now);
        let streams = Effect::Stream { video: response.video, audio: response.audio };
        Some((self.result.command(), Some(streams)))
    }

    fn set_resolution(&mut self, command: &KCommand, checks: &mut Checks) -> Option<Reply> {
        let (kind, resolution) = Resolution::decode(command).ok()?;
        checks.note(Check::ResolutionCommand, kind == self.resolution);
        let reply = KCommand::new(kind.response(), vec![1]);
        Some((reply, Some(Effect::Resolution { command: command.command, resolution })))
    }
}

/// The second login is the first with the random id's first byte one higher.
fn follows(first: &AvLogin, second: &AvLogin) -> bool {
    let [head, tail @ ..] = first.head.random_id;
    let [next, same @ ..] = second.head.random_id;
    next == head.wrapping_add(1) && same == tail
}

/// K10011 repeats what K10010 asked for; its true contents are not known.
fn control(command: &KCommand) -> Option<Reply> {
    let control = ControlChannel::decode(command).ok()?;
    let reply = KCommand::new(id::CONTROL_CHANNEL_RESPONSE, command.payload.clone());
    Some((reply, Some(Effect::Control(control))))
}
