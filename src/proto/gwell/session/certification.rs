//! Certifying a token at one server: at the session's begin, and again when it is renewed (gwell reference §4.1, §4.2,
//! §11 step 1).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::random::Random;
use super::unix_time::UnixTime;
use crate::proto::gwell::certify::{CertifyRandom, CertifyReply, CertifyRequest};
use crate::proto::gwell::gutes::{Frame, Mode};
use crate::proto::gwell::rc5::Rc5;
use crate::proto::gwell::token::AccessToken;

/// When a request goes out, after the first, while nothing is answered. Every other one is of the form that leaves out
/// the cipher of mode 1, as the reference client's only repetition is.
const REPEATS_MS: [u64; 8] = [500, 1_000, 1_500, 2_500, 4_000, 6_000, 9_000, 12_000];
const LIMIT: Duration = Duration::from_secs(15);

/// Requests to one server until one is answered. They are all for the same session key: a response does not say which
/// of them it answers.
pub(super) struct Certification {
    pub(super) server: SocketAddr,
    began: Instant,
    session_key: [u8; 32],
    sent: Vec<u32>,
    /// The server lives, whatever it thinks of the token.
    pub(super) heard: bool,
}

/// What came of it.
pub(super) enum Outcome {
    Certified(Certified),
    Refused { code: u16 },
}

pub(super) struct Certified {
    /// The session key.
    pub(super) key: Rc5,
    /// The routing session id, where the server gives one.
    pub(super) session: Option<u64>,
    /// What the server said, and says again until it is acknowledged.
    pub(super) response: Frame,
}

impl Certification {
    pub(super) fn new(server: SocketAddr, began: Instant, random: &mut Random) -> Self {
        Self { server, began, session_key: random.bytes(), sent: Vec::new(), heard: false }
    }

    pub(super) fn has_begun(&self) -> bool {
        !self.sent.is_empty()
    }

    /// The second request has gone out, and no further one.
    pub(super) fn is_repeated(&self) -> bool {
        self.sent.len() == 2
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.began + LIMIT
    }

    /// The request that is due.
    pub(super) fn on_timeout(
        &mut self,
        now: Instant,
        token: &AccessToken,
        sqnum: u32,
        random: &mut Random,
        time: UnixTime,
    ) -> Option<Vec<u8>> {
        if self.next().is_none_or(|next| now < next) {
            return None;
        }
        let random = CertifyRandom { session_key: self.session_key, nonce: random.bytes(), flags: random.nonce() };
        let request = CertifyRequest::new(token, &random, sqnum, time.ms(now)).encode();
        let mode = if self.sent.len() % 2 == 1 { Mode::Clear } else { Mode::Header };
        self.sent.push(sqnum);
        Some(request.seal_in(mode, None))
    }

    /// When the next request is due, if there is one.
    fn next(&self) -> Option<Instant> {
        let Some(repeats) = self.sent.len().checked_sub(1) else { return Some(self.began) };
        REPEATS_MS.get(repeats).map(|after| self.began + Duration::from_millis(*after))
    }

    /// Takes a frame of the server. Its acknowledgement (0x0C) decides nothing; the response (0x0D) does, and may come
    /// before it.
    pub(super) fn on_frame(&mut self, frame: &Frame) -> Option<Outcome> {
        self.heard = true;
        let reply = CertifyReply::decode(frame).ok()?;
        if frame.acked.is_some_and(|sqnum| !self.sent.contains(&sqnum)) || self.sent.is_empty() {
            return None;
        }
        Some(match reply.code {
            CertifyReply::OK => Outcome::Certified(Certified {
                key: Rc5::new(&self.session_key),
                session: Some(reply.session).filter(|session| *session != 0),
                response: frame.clone(),
            }),
            code => Outcome::Refused { code },
        })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next().unwrap_or(self.began + LIMIT)
    }
}
