//! The back channel: the camera is the DTLS client, logs in, and listens (reference §7).

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::CameraEvent;
use super::checks::{Check, Checks};
use super::frame_info::audio_format;
use crate::media::AudioFormat;
use crate::proto::tutk::dtls::DtlsEndpoint;
use crate::proto::tutk::login::{AvLogin, AvLoginResponse};
use crate::proto::tutk::talk::TalkFrame;
use crate::secret::Enr;
use crate::sim::ear::Ear;
use crate::sim::tone::Heard;

/// Handshake and login together.
const OPENING_LIMIT: Duration = Duration::from_secs(10);
const LOGIN_EVERY: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_secs(1);
const LOGIN_ANSWER_LEN: usize = 60;
/// Where a frame says whether it is the first.
const FLAGS: Range<usize> = 12..16;
/// Its TxSeq; and after the clock and the flags everything up to its payload.
const NUMBERS: [Range<usize>; 2] = [0..8, 16..36];

pub(super) struct Talk {
    dtls: Box<dyn DtlsEndpoint>,
    login: AvLogin,
    began: Instant,
    phase: Phase,
    /// The camera's own microphone, whose format talk must have.
    microphone: Option<AudioFormat>,
    listener: Option<(AudioFormat, Ear)>,
    frames: u64,
    next_frame: u32,
    next_report: Instant,
    events: VecDeque<CameraEvent>,
}

enum Phase {
    Handshake,
    LoggingIn { again: Instant },
    Listening,
}

impl Talk {
    /// The handshake begins with the first `on_timeout`, which is due at once.
    pub(super) fn new(
        now: Instant,
        dtls: Box<dyn DtlsEndpoint>,
        enr: &Enr,
        random_id: [u8; 4],
        microphone: Option<AudioFormat>,
    ) -> Self {
        let [login, _] = AvLogin::pair(enr.expose(), random_id);
        Self {
            dtls,
            login,
            began: now,
            phase: Phase::Handshake,
            microphone,
            listener: None,
            frames: 0,
            next_frame: 1,
            next_report: now,
            events: VecDeque::new(),
        }
    }

    /// Returns whether the talk goes on.
    pub(super) fn on_datagram(&mut self, now: Instant, datagram: &[u8], checks: &mut Checks) -> bool {
        let outcome = self.dtls.on_datagram(now, datagram);
        while let Some(message) = self.dtls.poll_message() {
            self.on_message(now, &message, checks);
        }
        outcome.is_ok() && self.log_in(now)
    }

    /// Returns whether the talk goes on.
    pub(super) fn on_timeout(&mut self, now: Instant) -> bool {
        if self.dtls.on_timeout(now).is_err() || !self.log_in(now) {
            return false;
        }
        match self.phase {
            Phase::Listening => {
                self.report(now);
                true
            }
            _ => now < self.began + OPENING_LIMIT,
        }
    }

    pub(super) fn close(&mut self) {
        self.dtls.close();
        if matches!(self.phase, Phase::Listening) {
            self.tell_what_was_heard();
            self.events.push_back(CameraEvent::TalkEnded { frames: self.frames });
        }
    }

    pub(super) fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.dtls.poll_datagram()
    }

    pub(super) fn poll_event(&mut self) -> Option<CameraEvent> {
        self.events.pop_front()
    }

    pub(super) fn deadline(&self) -> Instant {
        let own = match self.phase {
            Phase::Handshake => self.began + OPENING_LIMIT,
            Phase::LoggingIn { again } => again,
            Phase::Listening => self.next_report,
        };
        self.dtls.deadline().map_or(own, |dtls| dtls.min(own))
    }

    /// Sends the login when the handshake is done, and again until it is answered.
    fn log_in(&mut self, now: Instant) -> bool {
        let due = match self.phase {
            Phase::Handshake => self.dtls.is_established(),
            Phase::LoggingIn { again } => now >= again,
            Phase::Listening => false,
        };
        if !due {
            return true;
        }
        self.phase = Phase::LoggingIn { again: now + LOGIN_EVERY };
        self.dtls.send(&self.login.encode()).is_ok()
    }

    fn on_message(&mut self, now: Instant, message: &[u8], checks: &mut Checks) {
        if AvLoginResponse::recognises(message) {
            self.on_login_answer(now, message, checks);
        } else if matches!(self.phase, Phase::Listening) {
            self.on_frame(message, checks);
        }
    }

    fn on_login_answer(&mut self, now: Instant, message: &[u8], checks: &mut Checks) {
        let expected = AvLoginResponse::accept(self.login.head.random_id);
        let answer = AvLoginResponse::decode(message);
        let fields = answer == Ok(AvLoginResponse { response_type: answer.map_or(0, |a| a.response_type), ..expected });
        checks.note(Check::TalkLoginAnswer, fields && message.len() == LOGIN_ANSWER_LEN);
        if !matches!(self.phase, Phase::Listening) {
            self.phase = Phase::Listening;
            self.next_report = now + REPORT_EVERY;
            self.events.push_back(CameraEvent::TalkStarted);
        }
    }

    fn on_frame(&mut self, message: &[u8], checks: &mut Checks) {
        let frame = match TalkFrame::decode(message) {
            Ok(frame) => frame,
            Err(error) => {
                checks.note(Check::TalkFrameNumbers, false);
                tracing::debug!(%error, "talk frame ignored");
                return;
            }
        };
        // Every field besides the clock, which may not be trusted, follows from the frame's number and payload.
        let right = frame.encode();
        checks.note(Check::TalkFrameFlags, message.get(FLAGS) == right.get(FLAGS));
        let same = NUMBERS.into_iter().all(|field| message.get(field.clone()) == right.get(field));
        checks.note(Check::TalkFrameNumbers, same && message.len() == right.len());
        if frame.frame_no >= self.next_frame {
            self.next_frame = frame.frame_no.saturating_add(1);
            self.play(&frame, checks);
        }
    }

    fn play(&mut self, frame: &TalkFrame, checks: &mut Checks) {
        if self.frames == 0 {
            self.events.push_back(CameraEvent::TalkFirstFrame);
        }
        self.frames += 1;
        let format = audio_format(frame.codec, frame.flags);
        checks.note(Check::TalkCodec, format.is_some() && format == self.microphone);
        if let Some(format) = format {
            self.ear(format).hear(&frame.payload);
        }
    }

    /// A format that changes in the middle of a talk gets a fresh decoder.
    fn ear(&mut self, format: AudioFormat) -> &mut Ear {
        if self.listener.as_ref().is_none_or(|(current, _)| *current != format) {
            self.listener = None;
        }
        &mut self.listener.get_or_insert_with(|| (format, Ear::new(format))).1
    }

    /// Once a second, what was heard; nothing when nothing came.
    fn report(&mut self, now: Instant) {
        if now < self.next_report {
            return;
        }
        self.next_report = now + REPORT_EVERY;
        self.tell_what_was_heard();
    }

    fn tell_what_was_heard(&mut self) {
        let Some((format, ear)) = &mut self.listener else { return };
        let Some((Heard { tone_hz, level_db }, samples)) = ear.measure() else { return };
        let (frames, codec) = (self.frames, format.codec);
        self.events.push_back(CameraEvent::TalkAudio { frames, codec, tone_hz, level_db, samples });
    }
}
