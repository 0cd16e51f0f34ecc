//! The way to the camera's speaker: we are the DTLS server and the AV server there
//! (docs/protocol/tutk.md §11).

use std::time::{Duration, Instant};

use super::{Setup, TalkEnd};
use crate::proto::tutk::Channel;
use crate::proto::tutk::dtls::{DtlsEndpoint, DtlsError, Role};
use crate::proto::tutk::keys::Psk;
use crate::proto::tutk::login::{AvLoginResponse, LoginHead};
use crate::proto::tutk::talk::{SoundFormat, TalkStream};

/// How long a wish to talk waits for the stream's first sound.
const WISH_LIMIT: Duration = Duration::from_secs(5);
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
const LOGIN_LIMIT: Duration = Duration::from_secs(5);
/// How long the camera may repeat its login before we believe that it has our answer.
const REPEAT_WAIT: Duration = Duration::from_millis(500);

/// One talk, from the wish to its end.
pub(super) struct Talk {
    phase: TalkPhase,
    /// From the moment K10010 is sent: the camera's ClientHello may come before K10011.
    back: Option<Box<dyn DtlsEndpoint>>,
}

enum TalkPhase {
    Idle,
    /// Wanted, but the camera has sent no sound yet. Without limit until it streams.
    Wish {
        until: Option<Instant>,
    },
    /// K10010 is sent, K10011 awaited.
    ControlChannel {
        format: SoundFormat,
    },
    Handshake {
        format: SoundFormat,
        until: Instant,
    },
    Login {
        format: SoundFormat,
        until: Instant,
    },
    RepeatWait {
        format: SoundFormat,
        until: Instant,
    },
    Open {
        stream: TalkStream,
        /// When the first piece came.
        first: Option<Instant>,
    },
}

/// What a step of the talk came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Opened(SoundFormat),
    Ended(TalkEnd),
}

impl Talk {
    pub(super) fn idle() -> Self {
        Self { phase: TalkPhase::Idle, back: None }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, TalkPhase::Idle)
    }

    pub(super) fn wish(&mut self) {
        if self.is_idle() {
            self.phase = TalkPhase::Wish { until: None };
        }
    }

    /// From now on the camera's first sound is to be expected.
    pub(super) fn on_streaming(&mut self, now: Instant) {
        if let TalkPhase::Wish { until: until @ None } = &mut self.phase {
            *until = Some(now + WISH_LIMIT);
        }
    }

    pub(super) fn is_wish(&self) -> bool {
        matches!(self.phase, TalkPhase::Wish { .. })
    }

    /// Whether the camera has been told of this talk.
    pub(super) fn is_known_to_camera(&self) -> bool {
        !matches!(self.phase, TalkPhase::Idle | TalkPhase::Wish { .. })
    }

    /// Makes ready for the camera's ClientHello; the caller sends K10010.
    pub(super) fn begin(&mut self, setup: &Setup, format: SoundFormat) -> Result<(), DtlsError> {
        self.back = Some((setup.dtls)(Role::Server, Channel::Back, &Psk::derive(&setup.enr))?);
        self.phase = TalkPhase::ControlChannel { format };
        Ok(())
    }

    /// K10011 has come.
    pub(super) fn on_consent(&mut self, now: Instant) {
        if let TalkPhase::ControlChannel { format } = self.phase {
            self.phase = TalkPhase::Handshake { format, until: now + HANDSHAKE_LIMIT };
        }
    }

    pub(super) fn on_datagram(&mut self, now: Instant, datagram: &[u8]) -> Option<Progress> {
        let back = self.back.as_mut()?;
        if let Err(error) = back.on_datagram(now, datagram) {
            return Some(Progress::Ended(end_of(&error)));
        }
        self.after_handshake(now);
        while let Some(message) = self.back.as_mut().and_then(|back| back.poll_message()) {
            if let Err(error) = self.on_message(now, &message) {
                return Some(Progress::Ended(end_of(&error)));
            }
        }
        None
    }

    fn after_handshake(&mut self, now: Instant) {
        let is_established = self.back.as_ref().is_some_and(|back| back.is_established());
        match self.phase {
            TalkPhase::ControlChannel { format } | TalkPhase::Handshake { format, .. } if is_established => {
                self.phase = TalkPhase::Login { format, until: now + LOGIN_LIMIT };
            }
            _ => {}
        }
    }

    /// Answers the camera's login, each time it comes; everything else that it says is ignored.
    fn on_message(&mut self, now: Instant, message: &[u8]) -> Result<(), DtlsError> {
        let Ok(LoginHead { random_id, .. }) = LoginHead::decode(message) else { return Ok(()) };
        if let Some(back) = &mut self.back {
            back.send(&AvLoginResponse::accept(random_id).encode())?;
        }
        if let TalkPhase::Login { format, .. } = self.phase {
            self.phase = TalkPhase::RepeatWait { format, until: now + REPEAT_WAIT };
        }
        Ok(())
    }

    pub(super) fn on_timeout(&mut self, now: Instant) -> Option<Progress> {
        let failed = self.back.as_mut().and_then(|back| back.on_timeout(now).err());
        if let Some(error) = failed {
            return Some(Progress::Ended(end_of(&error)));
        }
        match self.phase {
            TalkPhase::Wish { until: Some(until) } if now >= until => Some(Progress::Ended(TalkEnd::NoSound)),
            TalkPhase::Handshake { until, .. } | TalkPhase::Login { until, .. } if now >= until => {
                Some(Progress::Ended(TalkEnd::NoAnswer))
            }
            TalkPhase::RepeatWait { format, until } if now >= until => {
                self.phase = TalkPhase::Open { stream: TalkStream::new(format), first: None };
                Some(Progress::Opened(format))
            }
            _ => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let until = match self.phase {
            TalkPhase::Wish { until } => until,
            TalkPhase::Handshake { until, .. }
            | TalkPhase::Login { until, .. }
            | TalkPhase::RepeatWait { until, .. } => Some(until),
            TalkPhase::Idle | TalkPhase::ControlChannel { .. } | TalkPhase::Open { .. } => None,
        };
        let engine = self.back.as_ref().and_then(|back| back.deadline());
        until.into_iter().chain(engine).min()
    }

    /// Sends a piece of sound if the line is open, and drops it otherwise.
    pub(super) fn audio(&mut self, now: Instant, piece: &[u8]) -> Option<Progress> {
        let (TalkPhase::Open { stream, first }, Some(back)) = (&mut self.phase, &mut self.back) else { return None };
        let first = *first.get_or_insert(now);
        stream.comes_at(now.saturating_duration_since(first));
        let sent = stream.frames(piece).iter().try_for_each(|frame| back.send(&frame.encode()));
        sent.err().map(|error| Progress::Ended(end_of(&error)))
    }

    /// Takes leave of the camera on the back channel. The farewell is still to be polled.
    pub(super) fn end(&mut self) {
        self.phase = TalkPhase::Idle;
        if let Some(back) = &mut self.back {
            back.close();
        }
    }

    pub(super) fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        let datagram = self.back.as_mut().and_then(|back| back.poll_datagram());
        if datagram.is_none() && self.is_idle() {
            self.back = None;
        }
        datagram
    }
}

fn end_of(error: &DtlsError) -> TalkEnd {
    match error {
        DtlsError::Closed => TalkEnd::ClosedByCamera,
        other => TalkEnd::Failed(other.clone()),
    }
}
