//! Finding the camera and opening a transport session: OLD and NEW at once, who answers first decides
//! (docs/protocol/tutk.md §3, §4).

use std::time::{Duration, Instant};

use super::{SessionError, Setup};
use crate::proto::tutk::Channel;
use crate::proto::tutk::cc51::{self, Direction, HmacKey};
use crate::proto::tutk::iotc::{self, DiscoRequest, SessionRequest, Stage};
use crate::proto::tutk::keys::{AuthKey, SessionId};

const DISCOVERY_INTERVAL: Duration = Duration::from_millis(100);
const DISCOVERY_LIMIT: Duration = Duration::from_secs(5);
/// Between the second disco request and the session request.
const SESSION_DELAY: Duration = Duration::from_millis(100);
const REPEAT: Duration = Duration::from_millis(500);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Which transport the camera speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// IOTC with TransCode.
    Old,
    /// 0xCC51.
    New,
}

/// The search, until it has a [`Carrier`].
pub(super) struct Search {
    step: Step,
    next_send: Instant,
    give_up: Instant,
    key: HmacKey,
    auth_key: AuthKey,
}

enum Step {
    /// Disco stage 1 and 0x1002 sequence 0, both again and again.
    Discovery,
    /// OLD: disco stage 2 and 0x0402 until 0x0404.
    Session,
    /// NEW: 0x1002 sequence 2 until sequence 3.
    Echo { ticket: u16, session_id: SessionId },
}

impl Search {
    pub(super) fn new(setup: &Setup, now: Instant) -> Self {
        let auth_key = AuthKey::derive(&setup.enr, &setup.mac);
        let key = HmacKey::new(&setup.uid, &auth_key);
        Self { step: Step::Discovery, next_send: now, give_up: now + DISCOVERY_LIMIT, key, auth_key }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next_send.min(self.give_up)
    }

    /// The datagrams that are due.
    pub(super) fn on_timeout(&mut self, setup: &Setup, now: Instant) -> Result<Vec<Vec<u8>>, SessionError> {
        if now >= self.give_up {
            return Err(match self.step {
                Step::Discovery => SessionError::NotFound,
                Step::Session => SessionError::NoAnswer { step: "session request" },
                Step::Echo { .. } => SessionError::NoAnswer { step: "discovery echo" },
            });
        }
        if now < self.next_send {
            return Ok(Vec::new());
        }
        let interval = if matches!(self.step, Step::Discovery) { DISCOVERY_INTERVAL } else { REPEAT };
        self.next_send = now + interval;
        Ok(self.requests(setup))
    }

    fn requests(&self, setup: &Setup) -> Vec<Vec<u8>> {
        let session_id = setup.random.session_id;
        match self.step {
            Step::Discovery => {
                let old = setup.tries(Transport::Old).then(|| disco(setup, Stage::Broadcast(self.auth_key)));
                let new = setup.tries(Transport::New).then(|| self.discovery(0, 0, session_id));
                old.into_iter().chain(new).collect()
            }
            Step::Session => {
                let request = SessionRequest { uid: setup.uid, session_id, unix_time: setup.unix_time };
                vec![iotc::Packet::SessionRequest(request).encode()]
            }
            Step::Echo { ticket, session_id } => vec![self.discovery(2, ticket, session_id)],
        }
    }

    fn discovery(&self, sequence: u16, ticket: u16, session_id: SessionId) -> Vec<u8> {
        let packet = cc51::Discovery { direction: Direction::Request, sequence, ticket, session_id };
        cc51::Packet::Discovery(packet).encode(&self.key)
    }

    /// Takes what may be an answer; `None` when it is not one that was waited for.
    pub(super) fn on_datagram(&mut self, setup: &Setup, now: Instant, datagram: &[u8]) -> Option<Answer> {
        if cc51::Packet::recognises(datagram) { self.on_new(now, datagram) } else { self.on_old(setup, now, datagram) }
    }

    fn on_old(&mut self, setup: &Setup, now: Instant, datagram: &[u8]) -> Option<Answer> {
        match (&self.step, iotc::Packet::decode(datagram).ok()?) {
            (Step::Discovery, iotc::Packet::DiscoResponse { .. }) => {
                self.advance(Step::Session, now + SESSION_DELAY, now);
                Some(Answer::Send(disco(setup, Stage::Direct)))
            }
            (Step::Session, iotc::Packet::SessionResponse { .. }) => {
                Some(Answer::Open(Carrier::Old { session_id: setup.random.session_id, sequence: 0 }))
            }
            _ => None,
        }
    }

    fn on_new(&mut self, now: Instant, datagram: &[u8]) -> Option<Answer> {
        let cc51::Packet::Discovery(answer) = cc51::Packet::decode(datagram, &self.key).ok()?.packet else {
            return None;
        };
        let cc51::Discovery { direction, sequence, ticket, session_id } = answer;
        match self.step {
            Step::Discovery if direction == Direction::Response || sequence == 1 => {
                self.advance(Step::Echo { ticket, session_id }, now + REPEAT, now);
                Some(Answer::Send(self.discovery(2, ticket, session_id)))
            }
            Step::Echo { ticket, session_id } if direction == Direction::Response && sequence == 3 => {
                let key = self.key.clone();
                Some(Answer::Open(Carrier::New { session_id, ticket, key, keepalives: 0 }))
            }
            _ => None,
        }
    }

    fn advance(&mut self, step: Step, next_send: Instant, now: Instant) {
        self.step = step;
        self.next_send = next_send;
        self.give_up = now + ANSWER_LIMIT;
    }
}

fn disco(setup: &Setup, stage: Stage) -> Vec<u8> {
    let request = DiscoRequest { uid: setup.uid, session_id: setup.random.session_id, stage };
    iotc::Packet::DiscoRequest(request).encode()
}

/// What an answer leads to.
pub(super) enum Answer {
    Send(Vec<u8>),
    Open(Carrier),
}

/// An open transport session: wraps DTLS datagrams and takes them out again.
pub(super) enum Carrier {
    Old { session_id: SessionId, sequence: u16 },
    New { session_id: SessionId, ticket: u16, key: HmacKey, keepalives: u32 },
}

/// What was in a datagram.
pub(super) enum Inbound {
    Dtls {
        channel: Channel,
        payload: Vec<u8>,
    },
    /// A keepalive, and what to send back.
    Keepalive {
        answer: Vec<u8>,
    },
}

/// [`Inbound`], and whether an HMAC was right where there is one.
pub(super) struct Unwrapped {
    pub(super) inbound: Inbound,
    pub(super) authentic: bool,
}

impl Carrier {
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Old { .. } => Transport::Old,
            Self::New { .. } => Transport::New,
        }
    }

    pub(super) fn wrap(&mut self, channel: Channel, payload: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Old { session_id, sequence } => {
                let data = iotc::Data { sequence: *sequence, session_id: *session_id, channel, payload };
                *sequence = sequence.wrapping_add(1);
                iotc::Packet::DataTx(data).encode()
            }
            Self::New { session_id, ticket, key, .. } => {
                let direction = Direction::Request;
                let (ticket, session_id) = (*ticket, *session_id);
                cc51::Packet::Dtls(cc51::Dtls { direction, channel, ticket, session_id, payload }).encode(key)
            }
        }
    }

    /// `None` for the other family, late answers of the search, and whatever cannot be read.
    pub(super) fn unwrap(&mut self, datagram: &[u8]) -> Option<Unwrapped> {
        match self {
            Self::Old { .. } => match iotc::Packet::decode(datagram).ok()? {
                iotc::Packet::DataRx(data) => {
                    Some(Unwrapped { inbound: dtls(data.channel, data.payload), authentic: true })
                }
                iotc::Packet::KeepaliveResponse { token, .. } => {
                    let answer = iotc::Packet::KeepaliveRequest { echo: token }.encode();
                    Some(Unwrapped { inbound: Inbound::Keepalive { answer }, authentic: true })
                }
                _ => None,
            },
            Self::New { session_id, key, keepalives, .. } => {
                let received = cc51::Packet::decode(datagram, key).ok()?;
                let inbound = match received.packet {
                    cc51::Packet::Dtls(packet) => dtls(packet.channel, packet.payload),
                    cc51::Packet::Keepalive(_) => {
                        *keepalives = keepalives.wrapping_add(2);
                        let (direction, counter) = (Direction::Request, *keepalives);
                        let packet = cc51::Keepalive { direction, counter, session_id: *session_id };
                        Inbound::Keepalive { answer: cc51::Packet::Keepalive(packet).encode(key) }
                    }
                    cc51::Packet::Discovery(_) => return None,
                };
                Some(Unwrapped { inbound, authentic: received.authentic })
            }
        }
    }
}

fn dtls(channel: Channel, payload: Vec<u8>) -> Inbound {
    Inbound::Dtls { channel, payload }
}
