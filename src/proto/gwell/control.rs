//! The session control messages at the head of MTP payloads (gwell reference §5).

use super::kcp;
use super::mtp::{Carrier, Mtp};
use crate::proto::wire::{DecodeError, Reader, Writer};

const STRUCTURE: &str = "session control";
/// Of every message: up to and with the receiver's id.
const HEAD: usize = 28;
const CREATE: u8 = 0x25;
const METER: u8 = 0x01;
const METER_ACK: u8 = 0x02;
/// Seen, and skipped by their length; nobody knows what they mean.
const UNKNOWN: [u8; 4] = [0x04, 0x06, 0x21, 0x24];

/// Which call a message is of, and from whom to whom.
///
/// Layout of a message: `[0] 0 · [1] command · [2..4] length · [4..8] link id · [8..12] 0 · [12..20] sender · [20..28] receiver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub link_id: u32,
    /// Access id or TID.
    pub sender: u64,
    pub receiver: u64,
}

impl Route {
    /// The way back.
    pub fn reversed(self) -> Self {
        Self { sender: self.receiver, receiver: self.sender, ..self }
    }
}

/// What a meter request carries and its acknowledgement repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meter {
    /// `[28..32] round · [32..36] 0 · [36..44] Unix milliseconds · zeros`, of which the receiver of a request needs nothing.
    body: [u8; Self::LEN],
}

impl Meter {
    const LEN: usize = 40;

    pub fn new(round: u32, unix_ms: u64) -> Self {
        let mut body = [0; Self::LEN];
        body[..4].copy_from_slice(&round.to_le_bytes());
        body[8..16].copy_from_slice(&unix_ms.to_le_bytes());
        Self { body }
    }

    pub fn round(&self) -> u32 {
        let [a, b, c, d, ..] = self.body;
        u32::from_le_bytes([a, b, c, d])
    }

    /// A shorter one counts as filled up with zeros.
    fn read(bytes: &[u8]) -> Self {
        let mut body = [0; Self::LEN];
        body.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self { body }
    }
}

/// One session control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Creates the camera's side of the two KCP conversations. Sent urgently.
    Create(Route),
    /// "I am here"; without one for two minutes a camera forgets the session. Called CREATE_KCP, too.
    Meter(Route, Meter),
    /// Sent urgently.
    MeterAck(Route, Meter),
    /// 0x04, 0x06, 0x21 or 0x24, whatever they mean.
    Other { command: u8, route: Route },
}

impl Control {
    /// What answers a meter request: itself, on the way back.
    pub fn ack(route: Route, meter: Meter) -> Self {
        Self::MeterAck(route.reversed(), meter)
    }

    pub fn route(&self) -> Route {
        match *self {
            Self::Create(route) | Self::Meter(route, _) | Self::MeterAck(route, _) | Self::Other { route, .. } => route,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let (command, body): (u8, &[u8]) = match self {
            Self::Create(_) => (CREATE, &[]),
            Self::Meter(_, meter) => (METER, &meter.body),
            Self::MeterAck(_, meter) => (METER_ACK, &meter.body),
            Self::Other { command, .. } => (*command, &[]),
        };
        let route = self.route();
        let len = HEAD + body.len();
        let mut message = Vec::with_capacity(len);
        message.u8(0);
        message.u8(command);
        message.u16_le(len as u16);
        message.u32_le(route.link_id);
        message.zeros(4);
        message.bytes(&route.sender.to_le_bytes());
        message.bytes(&route.receiver.to_le_bytes());
        message.bytes(body);
        message
    }

    /// The control message with which an MTP payload begins, if one does, and the KCP segments behind it.
    ///
    /// A conversation whose low bytes read as a command is told from a control message by its form: it has a
    /// time, and its segments fill the payload to the last byte.
    ///
    /// Of a command that nobody knows nothing is asked but its length: one too short for a head is skipped.
    ///
    /// # Errors
    /// A message shorter than its head. A length beyond the payload means the payload: cameras send short meters.
    pub fn split(payload: &[u8]) -> Result<(Option<Self>, &[u8]), DecodeError> {
        let [0, command, low, high, ..] = *payload else { return Ok((None, payload)) };
        let is_known = [CREATE, METER, METER_ACK].contains(&command) || UNKNOWN.contains(&command);
        // Where a segment has its time, a message has zeros.
        let has_time = payload.get(8..12).is_some_and(|time| time != [0; 4]);
        if !is_known || (has_time && kcp::are_segments(payload)) {
            return Ok((None, payload));
        }
        let len = payload.len().min(u16::from_le_bytes([low, high]).into());
        let (message, segments) = payload.split_at(len);
        if UNKNOWN.contains(&command) && (4..HEAD).contains(&len) {
            return Ok((None, segments));
        }
        Ok((Some(Self::decode(command, message)?), segments))
    }

    fn decode(command: u8, message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(STRUCTURE, message);
        reader.skip(4)?;
        let link_id = reader.u32_le()?;
        reader.skip(4)?;
        let sender = u64::from_le_bytes(reader.array()?);
        let receiver = u64::from_le_bytes(reader.array()?);
        let route = Route { link_id, sender, receiver };
        let meter = Meter::read(reader.rest());
        Ok(match command {
            CREATE => Self::Create(route),
            METER => Self::Meter(route, meter),
            METER_ACK => Self::MeterAck(route, meter),
            _ => Self::Other { command, route },
        })
    }
}

/// The frame with which a terminal makes itself known to a relay, the same over TCP and UDP: a meter request of round 0
/// whose time stands four bytes further ahead.
pub fn relay_registration(route: Route, unix_ms: u64) -> Vec<u8> {
    let mut meter = Meter::new(0, 0);
    meter.body[4..12].copy_from_slice(&unix_ms.to_le_bytes());
    let payload = Control::Meter(route, meter).encode();
    Mtp { urgent: true, to: None, payload: &payload }.encode(Carrier::Stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Route = Route { link_id: 0x9ABC_DEF0, sender: 1, receiver: 2 };

    fn push(conversation: u32) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.u32_le(conversation);
        segment.bytes(&[81, 0, 128, 0]);
        segment.u32_le(1_000);
        segment.zeros(8);
        segment.u32_le(3);
        segment.bytes(b"abc");
        segment
    }

    #[test]
    fn segments_behind_a_message_are_left() {
        for control in [
            Control::Create(ROUTE),
            Control::Meter(ROUTE, Meter::new(3, 4)),
            Control::Other { command: 0x21, route: ROUTE },
        ] {
            let mut payload = control.encode();
            assert_eq!(Control::split(&payload), Ok((Some(control), &[][..])));
            payload.extend(push(0x1ABC_DEF0));
            assert_eq!(Control::split(&payload), Ok((Some(control), &push(0x1ABC_DEF0)[..])));
        }
    }

    #[test]
    fn segments_whose_conversation_reads_as_a_command_are_segments() {
        for command in [CREATE, METER, METER_ACK, 0x04] {
            let conversation = u32::from_le_bytes([0, command, 28, 0]);
            let payload = [push(conversation), push(conversation)].concat();
            assert_eq!(Control::split(&payload), Ok((None, &payload[..])));
        }
    }

    #[test]
    fn a_message_that_reads_as_a_segment_is_a_message() {
        let message = Control::Meter(Route { link_id: 81, sender: 1, receiver: 44 }, Meter::new(3, 4));
        assert!(kcp::are_segments(&message.encode()), "the test needs another message");
        assert_eq!(Control::split(&message.encode()), Ok((Some(message), &[][..])));
    }

    #[test]
    fn a_meter_comes_back_to_its_sender_as_it_was() {
        let Control::MeterAck(route, meter) = Control::ack(ROUTE, Meter::new(3, 4)) else { panic!("no ack") };
        assert_eq!((route.sender, route.receiver, meter.round()), (2, 1, 3));
    }

    #[test]
    fn a_message_shorter_than_its_head_is_an_error() {
        let message = Control::Meter(ROUTE, Meter::new(3, 4)).encode();
        for len in 4..HEAD {
            assert!(Control::split(&message[..len]).is_err(), "{len} bytes were accepted");
        }
        let mut lying = message.clone();
        lying[2..4].copy_from_slice(&[3, 0]);
        assert!(Control::split(&lying).is_err());
        assert!(Control::split(&message[..HEAD + 12]).is_ok(), "a short meter");
    }
}
