//! The camera's end of both transports (reference §2 and §3): discovery, and the wrapping of DTLS datagrams.

use super::Protocol;
use super::checks::{Check, Checks};
use super::identity::Identity;
use crate::proto::tutk::Channel;
use crate::proto::tutk::cc51::{self, Direction, Discovery, HmacKey, Keepalive};
use crate::proto::tutk::iotc::{self, Data, DiscoRequest, SessionRequest, Stage};
use crate::proto::tutk::keys::{SessionId, Uid};

/// The body of an OLD keepalive: go2rtc ignores one of fewer than 9 bytes.
const OLD_KEEPALIVE_REST: [u8; 4] = [0; 4];

/// What a datagram asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Answer this, and nothing more happens.
    Answer(Vec<u8>),
    /// A client wants a session: answer this, and open one unless it is open already.
    Open { transport: Transport, answer: Vec<u8> },
    /// Of the session with this id.
    Dtls { session_id: SessionId, channel: Channel, payload: Vec<u8> },
    /// The answer to a keepalive of ours. The OLD family's has no session id.
    Keepalive { session_id: Option<SessionId>, echo: Echo },
}

/// How a client answers a keepalive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    Old([u8; 8]),
    New { counter: u32 },
}

/// Reads a datagram of either family; `None` for what the camera must ignore.
pub(super) fn read(
    identity: &Identity,
    speaks: Protocol,
    ticket: u16,
    datagram: &[u8],
    checks: &mut Checks,
) -> Option<Arrival> {
    if cc51::Packet::recognises(datagram) {
        if speaks == Protocol::Old {
            return None;
        }
        return read_new(identity, ticket, datagram, checks);
    }
    if speaks == Protocol::New {
        return None;
    }
    match iotc::Packet::decode(datagram) {
        Ok(packet) => read_old(identity, packet, checks),
        Err(error) => {
            tracing::debug!(%error, "datagram of no family ignored");
            None
        }
    }
}

fn read_old(identity: &Identity, packet: iotc::Packet, checks: &mut Checks) -> Option<Arrival> {
    match packet {
        iotc::Packet::DiscoRequest(request) => answer_disco(identity, &request, checks),
        iotc::Packet::SessionRequest(request) => open_old(identity, &request, checks),
        iotc::Packet::DataTx(Data { session_id, channel, payload, .. }) => {
            Some(Arrival::Dtls { session_id, channel, payload })
        }
        iotc::Packet::KeepaliveRequest { echo } => Some(Arrival::Keepalive { session_id: None, echo: Echo::Old(echo) }),
        _ => None,
    }
}

/// Stage 1 is answered with its own body; stage 2 announces the session request and is not answered.
fn answer_disco(identity: &Identity, request: &DiscoRequest, checks: &mut Checks) -> Option<Arrival> {
    let Stage::Broadcast(auth_key) = request.stage else { return None };
    if !is_for_us(identity, &request.uid, checks) || !checks.note(Check::AuthKey, auth_key == identity.auth_key) {
        return None;
    }
    Some(Arrival::Answer(iotc::Packet::DiscoResponse { body: request.body() }.encode()))
}

fn open_old(identity: &Identity, request: &SessionRequest, checks: &mut Checks) -> Option<Arrival> {
    if !is_for_us(identity, &request.uid, checks) {
        return None;
    }
    let answer = iotc::Packet::SessionResponse { body: request.body() }.encode();
    let transport = Transport { session_id: request.session_id, family: Family::Old { sequence: 0 } };
    Some(Arrival::Open { transport, answer })
}

fn is_for_us(identity: &Identity, uid: &Uid, checks: &mut Checks) -> bool {
    checks.note(Check::Uid, *uid == identity.uid)
}

fn read_new(identity: &Identity, ticket: u16, datagram: &[u8], checks: &mut Checks) -> Option<Arrival> {
    let received = match cc51::Packet::decode(datagram, &identity.hmac_key) {
        Ok(received) => received,
        Err(error) => {
            tracing::debug!(%error, "0xCC51 packet ignored");
            return None;
        }
    };
    if !checks.note(Check::Hmac, received.authentic) {
        return None;
    }
    match received.packet {
        cc51::Packet::Discovery(request) => answer_discovery(identity, ticket, &request, checks),
        cc51::Packet::Dtls(cc51::Dtls { direction, session_id, channel, payload, ticket: shown }) => {
            let ours = checks.note(Check::SessionId, shown == ticket && direction == Direction::Request);
            ours.then_some(Arrival::Dtls { session_id, channel, payload })
        }
        cc51::Packet::Keepalive(Keepalive { counter, session_id, .. }) => {
            Some(Arrival::Keepalive { session_id: Some(session_id), echo: Echo::New { counter } })
        }
    }
}

fn answer_discovery(identity: &Identity, ticket: u16, request: &Discovery, checks: &mut Checks) -> Option<Arrival> {
    if request.direction != Direction::Request {
        return None;
    }
    let session_id = request.session_id;
    let answer = |sequence| {
        let answer = Discovery { direction: Direction::Response, sequence, ticket, session_id };
        cc51::Packet::Discovery(answer).encode(&identity.hmac_key)
    };
    match request.sequence {
        0 => Some(Arrival::Answer(answer(1))),
        2 if checks.note(Check::SessionId, request.ticket == ticket) => {
            let family = Family::New { ticket, key: identity.hmac_key.clone(), keepalives: 0 };
            Some(Arrival::Open { transport: Transport { session_id, family }, answer: answer(3) })
        }
        _ => None,
    }
}

/// One client's session in the family it chose: wraps what the camera sends.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) session_id: SessionId,
    family: Family,
}

#[derive(Debug)]
enum Family {
    /// One sequence for both channels.
    Old {
        sequence: u16,
    },
    New {
        ticket: u16,
        key: HmacKey,
        keepalives: u32,
    },
}

impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        self.session_id == other.session_id && self.protocol() == other.protocol()
    }
}

impl Eq for Transport {}

impl Transport {
    pub(super) fn protocol(&self) -> Protocol {
        match self.family {
            Family::Old { .. } => Protocol::Old,
            Family::New { .. } => Protocol::New,
        }
    }

    /// One DTLS datagram as it goes to the socket.
    pub(super) fn wrap(&mut self, channel: Channel, payload: Vec<u8>) -> Vec<u8> {
        let session_id = self.session_id;
        match &mut self.family {
            Family::Old { sequence } => {
                let data = Data { sequence: *sequence, session_id, channel, payload };
                *sequence = sequence.wrapping_add(1);
                iotc::Packet::DataRx(data).encode()
            }
            Family::New { ticket, key, .. } => {
                let direction = Direction::Response;
                let dtls = cc51::Dtls { direction, channel, ticket: *ticket, session_id, payload };
                cc51::Packet::Dtls(dtls).encode(key)
            }
        }
    }

    /// The next keepalive, and the answer it must get. `token` is what an OLD client shall echo.
    pub(super) fn keepalive(&mut self, token: [u8; 8]) -> (Vec<u8>, Echo) {
        let session_id = self.session_id;
        match &mut self.family {
            Family::Old { .. } => {
                let packet = iotc::Packet::KeepaliveResponse { token, rest: OLD_KEEPALIVE_REST.to_vec() };
                (packet.encode(), Echo::Old(token))
            }
            Family::New { key, keepalives, .. } => {
                *keepalives += 1;
                let counter = 2 * *keepalives;
                let keepalive = Keepalive { direction: Direction::Response, counter: counter - 1, session_id };
                (cc51::Packet::Keepalive(keepalive).encode(key), Echo::New { counter })
            }
        }
    }
}
