//! OLD transport packets, both directions (docs/protocol/tutk.md §3).

use super::Channel;
use super::keys::{AuthKey, SessionId, Uid};
use super::transcode;
use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

const MARKER: [u8; 3] = [0x04, 0x02, 0x1A];
const HEADER_LEN: usize = 16;

const MODE_DISCO: u8 = 0x02;
const MODE_KEEPALIVE: u8 = 0x0A;
const MODE_DATA: u8 = 0x0B;

const FLAGS: u16 = 0x0021;
const FLAGS_SESSION: u16 = 0x0033;

const DISCO_REQUEST: u16 = 0x0601;
const DISCO_RESPONSE: u16 = 0x0602;
const SESSION_REQUEST: u16 = 0x0402;
const SESSION_RESPONSE: u16 = 0x0404;
const DATA_TX: u16 = 0x0407;
const DATA_RX: u16 = 0x0408;
const KEEPALIVE_REQUEST: u16 = 0x0427;
const KEEPALIVE_RESPONSE: u16 = 0x0428;

/// The client library's version, as it stands in a disco request.
const SDK_VERSION: [u8; 4] = [1, 1, 2, 4];
const DATA_CONSTANT: u32 = 0x0000_000C;

/// One OLD packet. The names are the protocol's: a *request* goes to the camera and a *response* comes
/// from it, also for the keepalive, which the camera begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// 0x0601
    DiscoRequest(DiscoRequest),
    /// 0x0602. What cameras put there is not known and not needed.
    DiscoResponse { body: Vec<u8> },
    /// 0x0402
    SessionRequest(SessionRequest),
    /// 0x0404. Contents as unknown as those of 0x0602.
    SessionResponse { body: Vec<u8> },
    /// 0x0407, client to camera.
    DataTx(Data),
    /// 0x0408, camera to client.
    DataRx(Data),
    /// 0x0427, the client's echo of the camera's keepalive.
    KeepaliveRequest { echo: [u8; 8] },
    /// 0x0428, the camera's keepalive: 8 bytes to be echoed, and whatever follows.
    KeepaliveResponse { token: [u8; 8], rest: Vec<u8> },
}

/// "Is this camera here?" (§3.2)
///
/// Body: `[0..20] UID · [20..36] zero · [36..40] SDK version · [40..48] session id · [48] stage ·
/// [49..58] zero · [58..66] auth key · [66..72] zero`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoRequest {
    pub uid: Uid,
    pub session_id: SessionId,
    pub stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Stage 1, to whoever may be there; proves that the caller knows the camera's ENR and MAC.
    Broadcast(AuthKey),
    /// Stage 2, to the camera that answered.
    Direct,
}

/// "Open a session." (§3.3) Body: `[0..20] UID · [20..28] session id · [28..32] zero · [32..36] Unix time`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRequest {
    pub uid: Uid,
    pub session_id: SessionId,
    pub unix_time: u32,
}

/// One DTLS datagram. (§3.4) Header bytes 12..16 hold `session id [0..2] · channel · 1`, the body
/// `[0..4] 0x0C · [4..12] session id · [12..] payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Counts the packets of one sender, both channels together, from 0.
    pub sequence: u16,
    pub session_id: SessionId,
    pub channel: Channel,
    pub payload: Vec<u8>,
}

impl DiscoRequest {
    const BODY_LEN: usize = 72;

    /// The body alone, which a camera may send back as its answer.
    pub fn body(&self) -> Vec<u8> {
        let (stage, auth_key) = match &self.stage {
            Stage::Broadcast(auth_key) => (1, *auth_key.as_bytes()),
            Stage::Direct => (2, [0; AuthKey::LEN]),
        };
        let mut body = Vec::with_capacity(Self::BODY_LEN);
        body.bytes(self.uid.as_bytes());
        body.zeros(16);
        body.bytes(&SDK_VERSION);
        body.bytes(&self.session_id);
        body.u8(stage);
        body.zeros(9);
        body.bytes(&auth_key);
        body.zeros(6);
        body
    }

    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("disco request", body);
        let uid = Uid::from_wire(reader.array()?);
        reader.skip(16 + SDK_VERSION.len())?;
        let session_id = reader.array()?;
        let stage = reader.u8()?;
        reader.skip(9)?;
        let auth_key = AuthKey::from_wire(reader.array()?);
        reader.skip(6)?;
        let stage = match stage {
            1 => Stage::Broadcast(auth_key),
            2 => Stage::Direct,
            other => return Err(reader.invalid("stage", other)),
        };
        Ok(Self { uid, session_id, stage })
    }
}

impl SessionRequest {
    /// The body alone, which a camera may send back as its answer.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(36);
        body.bytes(self.uid.as_bytes());
        body.bytes(&self.session_id);
        body.zeros(4);
        body.u32_le(self.unix_time);
        body
    }

    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("session request", body);
        let uid = Uid::from_wire(reader.array()?);
        let session_id = reader.array()?;
        reader.skip(4)?;
        Ok(Self { uid, session_id, unix_time: reader.u32_le()? })
    }
}

impl Data {
    fn decode(header: &Header, body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("data packet", body);
        let [_, _, channel, _] = header.metadata;
        let channel = Channel::from_wire(channel).ok_or_else(|| reader.invalid("channel", channel))?;
        reader.skip(4)?;
        let session_id = reader.array()?;
        if reader.remaining() == 0 {
            return Err(DecodeError::Truncated { structure: "data packet", len: body.len() });
        }
        Ok(Self { sequence: header.sequence, session_id, channel, payload: reader.rest().to_vec() })
    }

    fn metadata(&self) -> [u8; 4] {
        let [first, second, ..] = self.session_id;
        [first, second, self.channel.to_wire(), 1]
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(12 + self.payload.len());
        body.u32_le(DATA_CONSTANT);
        body.bytes(&self.session_id);
        body.bytes(&self.payload);
        body
    }
}

/// The 16 bytes before every body.
///
/// Layout (little-endian): `[0..3] 04 02 1A · [3] mode · [4..6] body length · [6..8] sequence ·
/// [8..10] command · [10..12] flags · [12..16] metadata`
struct Header {
    mode: u8,
    sequence: u16,
    command: u16,
    flags: u16,
    metadata: [u8; 4],
}

impl Packet {
    /// Reads a datagram as it came from the socket.
    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        let mut plain = datagram.to_vec();
        transcode::decipher(&mut plain);
        Self::decode_plain(&plain)
    }

    /// The datagram as it goes to the socket.
    pub fn encode(&self) -> Vec<u8> {
        let mut datagram = self.encode_plain();
        transcode::encipher(&mut datagram);
        datagram
    }

    /// Reads a packet that TransCode has been taken off.
    ///
    /// The body length in the header is a lower bound: cameras are not known to count the same bytes.
    pub fn decode_plain(plain: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("IOTC packet", plain);
        let marker: [u8; 3] = reader.array()?;
        if marker != MARKER {
            let [a, b, c] = marker;
            return Err(reader.invalid("marker", u32::from_le_bytes([a, b, c, 0])));
        }
        let mode = reader.u8()?;
        let body_len = reader.u16_le()?;
        let header = Header {
            mode,
            sequence: reader.u16_le()?,
            command: reader.u16_le()?,
            flags: reader.u16_le()?,
            metadata: reader.array()?,
        };
        if reader.remaining() < usize::from(body_len) {
            return Err(DecodeError::Truncated { structure: "IOTC packet", len: plain.len() });
        }
        Self::decode_body(&header, reader.rest())
    }

    fn decode_body(header: &Header, body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("IOTC packet", body);
        Ok(match header.command {
            DISCO_REQUEST => Self::DiscoRequest(DiscoRequest::decode(body)?),
            DISCO_RESPONSE => Self::DiscoResponse { body: body.to_vec() },
            SESSION_REQUEST => Self::SessionRequest(SessionRequest::decode(body)?),
            SESSION_RESPONSE => Self::SessionResponse { body: body.to_vec() },
            DATA_TX => Self::DataTx(Data::decode(header, body)?),
            DATA_RX => Self::DataRx(Data::decode(header, body)?),
            KEEPALIVE_REQUEST => Self::KeepaliveRequest { echo: reader.array()? },
            KEEPALIVE_RESPONSE => {
                let token = reader.array()?;
                Self::KeepaliveResponse { token, rest: reader.rest().to_vec() }
            }
            other => return Err(reader.invalid("command", other)),
        })
    }

    /// The packet before TransCode is put on.
    pub fn encode_plain(&self) -> Vec<u8> {
        let (header, body) = self.parts();
        let mut packet = Vec::with_capacity(HEADER_LEN + body.len());
        packet.bytes(&MARKER);
        packet.u8(header.mode);
        packet.u16_le(body.len() as u16);
        packet.u16_le(header.sequence);
        packet.u16_le(header.command);
        packet.u16_le(header.flags);
        packet.bytes(&header.metadata);
        packet.bytes(&body);
        packet
    }

    fn parts(&self) -> (Header, Vec<u8>) {
        let plain = |mode, command, flags| Header { mode, sequence: 0, command, flags, metadata: [0; 4] };
        let data = |command, data: &Data| Header {
            sequence: data.sequence,
            metadata: data.metadata(),
            ..plain(MODE_DATA, command, FLAGS)
        };
        match self {
            Self::DiscoRequest(request) => (plain(MODE_DISCO, DISCO_REQUEST, FLAGS), request.body()),
            Self::DiscoResponse { body } => (plain(MODE_DISCO, DISCO_RESPONSE, FLAGS), body.clone()),
            Self::SessionRequest(request) => (plain(MODE_DISCO, SESSION_REQUEST, FLAGS_SESSION), request.body()),
            Self::SessionResponse { body } => (plain(MODE_DISCO, SESSION_RESPONSE, FLAGS_SESSION), body.clone()),
            Self::DataTx(packet) => (data(DATA_TX, packet), packet.body()),
            Self::DataRx(packet) => (data(DATA_RX, packet), packet.body()),
            Self::KeepaliveRequest { echo } => (plain(MODE_KEEPALIVE, KEEPALIVE_REQUEST, FLAGS), echo.to_vec()),
            Self::KeepaliveResponse { token, rest } => {
                (plain(MODE_KEEPALIVE, KEEPALIVE_RESPONSE, FLAGS), [&token[..], rest].concat())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tutk::tests as checks;

    fn uid() -> Uid {
        Uid::parse("HSBJYB5HSETGCDWD111A").unwrap()
    }

    fn packets() -> Vec<Packet> {
        let session_id = [1, 2, 3, 4, 5, 6, 7, 8];
        let stage = Stage::Broadcast(AuthKey::derive("aKzdqckqZ8HUHFe5", "AABBCCDDEEFF"));
        let request = DiscoRequest { uid: uid(), session_id, stage };
        let session = SessionRequest { uid: uid(), session_id, unix_time: 1_700_000_000 };
        let data = Data { sequence: 5, session_id, channel: Channel::Back, payload: vec![0x16; 100] };
        vec![
            Packet::DiscoResponse { body: request.body() },
            Packet::DiscoRequest(request.clone()),
            Packet::DiscoRequest(DiscoRequest { stage: Stage::Direct, ..request }),
            Packet::SessionResponse { body: session.body() },
            Packet::SessionRequest(session),
            Packet::DataTx(data.clone()),
            Packet::DataRx(data),
            Packet::KeepaliveRequest { echo: [7; 8] },
            Packet::KeepaliveResponse { token: [7; 8], rest: vec![1] },
        ]
    }

    #[test]
    fn every_packet_survives_the_way_there_and_back() {
        for packet in packets() {
            assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        for packet in packets() {
            checks::every_truncation_is_refused(&packet.encode_plain(), Packet::decode_plain);
        }
    }

    #[test]
    fn no_flipped_bit_panics() {
        for packet in packets() {
            checks::every_flipped_bit_is_survived(&packet.encode(), Packet::decode);
        }
    }
}
