//! GUTES, the frames between a terminal and a P2P server (gwell reference §2).

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

use super::rc5::Rc5;
use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

const STRUCTURE: &str = "GUTES frame";
const HEADER_LEN: usize = 24;
/// What a compressed payload may grow to. As much, should it not shrink, still fits a frame.
const MAX_INFLATED: usize = 60 * 1024;
const COMPRESSION_LEVEL: u8 = 6;

/// Masks the ids of all frames. The vendor's for all its devices, and no secret.
static ID_KEY: LazyLock<Rc5> = LazyLock::new(|| Rc5::new(b"www.gwell.cc"));

/// One frame, plain.
///
/// Layout (little-endian): `[0] proto · [1] kind · [2..4] length of all · [4..12] id, masked · [12..16] sqnum ·
/// [16..20] chkval · [20..24] flags · [24..] payload`. The mode in the flags says how `[12..20]` and the payload are
/// enciphered.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub proto: Proto,
    pub kind: Kind,
    /// The sender's access id or routing session id.
    pub id: u64,
    /// The sender's counter.
    pub sqnum: u32,
    pub flags: Flags,
    /// The sqnum of the frame that this one answers. It stands in place of the checksum.
    pub acked: Option<u32>,
    /// All that follows the header, with its time and its signature where the flags say so, and inflated.
    pub payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proto {
    /// The id is an access id. Port status alone has a session's here.
    Terminal,
    /// The id is a routing session id.
    Session,
    Broadcast,
}

/// Whom a frame is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// By access id: before there is a session, and for what belongs to the account.
    Terminal(u64),
    /// By the routing session id of the CertifyReply.
    Session(u64),
}

impl Identity {
    pub fn proto(self) -> Proto {
        match self {
            Self::Terminal(_) => Proto::Terminal,
            Self::Session(_) => Proto::Session,
        }
    }

    pub fn id(self) -> u64 {
        match self {
            Self::Terminal(id) | Self::Session(id) => id,
        }
    }
}

/// What a frame is about: the sub-type (§2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Detect,
    DetectReply,
    /// CertifyReq, and the server's acknowledgement of it.
    Certify,
    /// CertifyResp, and the client's acknowledgement of it.
    CertifyReply,
    List,
    ListReply,
    Keepalive,
    Heartbeat,
    MtpRequest,
    MtpReply,
    /// CALLING, and its acknowledgement.
    Calling,
    InitInfo,
    Devices,
    /// Device-model data: a path and JSON, which nobody reads.
    Model,
    Subscribe,
    SubscribeReply,
    /// Network detection and passthrough.
    Inner,
    /// From the server to a sleeping device. Nothing is known of its payload.
    WakeUp,
    PortStatus,
    PortStatusReply,
    Other(u8),
}

const KINDS: [(Kind, u8); 20] = [
    (Kind::Detect, 0x01),
    (Kind::DetectReply, 0x02),
    (Kind::Certify, 0x0C),
    (Kind::CertifyReply, 0x0D),
    (Kind::List, 0x15),
    (Kind::ListReply, 0x16),
    (Kind::Keepalive, 0x17),
    (Kind::Heartbeat, 0xA0),
    (Kind::MtpRequest, 0xA2),
    (Kind::MtpReply, 0xA3),
    (Kind::Calling, 0xA4),
    (Kind::InitInfo, 0xA6),
    (Kind::Devices, 0xA7),
    (Kind::Model, 0xAA),
    (Kind::Subscribe, 0xB0),
    (Kind::SubscribeReply, 0xB1),
    (Kind::Inner, 0xB9),
    (Kind::WakeUp, 0xBB),
    (Kind::PortStatus, 0xCA),
    (Kind::PortStatusReply, 0xCB),
];

impl Kind {
    pub fn from_code(code: u8) -> Self {
        KINDS.iter().find(|(_, known)| *known == code).map_or(Self::Other(code), |(kind, _)| *kind)
    }

    pub fn code(self) -> u8 {
        match self {
            Self::Other(code) => code,
            known => KINDS.iter().find(|(kind, _)| *kind == known).map_or(0, |(_, code)| *code),
        }
    }
}

impl Proto {
    fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0x7F => Some(Self::Terminal),
            0x7E => Some(Self::Session),
            0x70 => Some(Self::Broadcast),
            _ => None,
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::Terminal => 0x7F,
            Self::Session => 0x7E,
            Self::Broadcast => 0x70,
        }
    }
}

/// How a frame is enciphered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// 0: only the id is masked.
    Clear,
    /// 1: with a key that stands in the header, so everyone can read it.
    Header,
    /// 2: with the session key.
    Session,
}

/// What a sender expects of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Forgotten = 0,
    Acknowledged = 1,
    /// Acknowledged, and the sender's software hears of it.
    Reported = 3,
}

/// Bits 20 to 23 of a header.
///
/// `0 compressed · 1–15 nonce · 16–17 mode · 18–19 delivery · 20 acknowledgement · 21 response · 22 signature ·
/// 24 time · 25 detection`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// The payload is a zlib stream.
    pub const COMPRESSED: u32 = 1;
    pub const ACKNOWLEDGEMENT: u32 = 1 << 20;
    /// In place of the checksum stands the sqnum of the frame answered.
    pub const RESPONSE: u32 = 1 << 21;
    /// The last 80 bytes are a signature, which is neither enciphered nor in the checksum.
    pub const SIGNED: u32 = 1 << 22;
    /// 16 bytes before the signature are the time, likewise.
    pub const TIMED: u32 = 1 << 24;
    pub const DETECTION: u32 = 1 << 25;

    pub const fn new(mode: Mode, delivery: Delivery) -> Self {
        Self((mode as u32) << 16 | (delivery as u32) << 18)
    }

    #[must_use]
    pub const fn with(self, bits: u32) -> Self {
        Self(self.0 | bits)
    }

    /// Any number of 15 bits, so that equal frames differ in mode 1.
    #[must_use]
    pub const fn with_nonce(self, nonce: u16) -> Self {
        Self(self.0 & !0xFFFE | (nonce as u32 & 0x7FFF) << 1)
    }

    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    pub const fn nonce(self) -> u16 {
        (self.0 >> 1) as u16 & 0x7FFF
    }

    /// Nothing is known of mode 3.
    pub const fn mode(self) -> Option<Mode> {
        match self.0 >> 16 & 3 {
            0 => Some(Mode::Clear),
            1 => Some(Mode::Header),
            2 => Some(Mode::Session),
            _ => None,
        }
    }

    /// How many of `len` bytes of payload the checksum and the cipher cover (§2.2).
    fn covered(self, len: usize) -> usize {
        let signature = if self.has(Self::SIGNED) { 80 } else { 0 };
        let time = if self.has(Self::TIMED) { 16 } else { 0 };
        len.saturating_sub(signature + time)
    }

    /// In which modes to read a frame, one after the other: of a response, whose checksum is missing, only its own.
    fn attempts(self) -> &'static [Mode] {
        match (self.mode(), self.has(Self::RESPONSE)) {
            (Some(Mode::Clear), true) => &[Mode::Clear],
            (Some(Mode::Header), true) => &[Mode::Header],
            (Some(Mode::Session), true) => &[Mode::Session],
            (None, true) => &[],
            (Some(Mode::Clear), false) => &[Mode::Clear, Mode::Header, Mode::Session],
            (Some(Mode::Session), false) => &[Mode::Session, Mode::Header, Mode::Clear],
            (Some(Mode::Header) | None, false) => &[Mode::Header, Mode::Session, Mode::Clear],
        }
    }
}

impl Frame {
    /// A frame that answers none.
    pub fn new(kind: Kind, from: Identity, sqnum: u32, flags: Flags, payload: Vec<u8>) -> Self {
        Self { proto: from.proto(), kind, id: from.id(), sqnum, flags, acked: None, payload }
    }

    /// The frame that confirms this one (§2.5). What its payload holds is not known; zeros do.
    #[must_use]
    pub fn acknowledgement(&self, from: Identity, payload: Vec<u8>) -> Self {
        let mode = self.flags.mode().unwrap_or(Mode::Header);
        let flags = Flags::new(mode, Delivery::Forgotten).with(Flags::ACKNOWLEDGEMENT);
        Self::new(self.kind, from, 0, flags, payload).answering(self.sqnum)
    }

    /// The same frame as the answer to the one with this sqnum.
    #[must_use]
    pub fn answering(self, sqnum: u32) -> Self {
        Self { flags: self.flags.with(Flags::RESPONSE), acked: Some(sqnum), ..self }
    }

    /// The datagram, enciphered in the mode of the flags. Mode 2 needs the session key: without it nothing comes out,
    /// since what such frames hold is secret.
    pub fn seal(&self, session: Option<&Rc5>) -> Vec<u8> {
        self.seal_in(self.flags.mode().unwrap_or(Mode::Clear), session)
    }

    /// As [`Self::seal`], in another mode than the flags say.
    pub fn seal_in(&self, mode: Mode, session: Option<&Rc5>) -> Vec<u8> {
        let mut bytes = self.to_plain();
        if pass(&mut bytes, self.flags, mode, session, Rc5::encrypt).is_none() {
            return Vec::new();
        }
        ID_KEY.encrypt(&mut bytes[4..12]);
        mask_id(&mut bytes);
        bytes
    }

    /// The datagram with nothing enciphered at all, the id neither: so goes the reference client's ListRequest.
    pub fn to_plain(&self) -> Vec<u8> {
        let payload = self.deflated();
        let len = HEADER_LEN + payload.len();
        let flags = if self.acked.is_some() { self.flags.with(Flags::RESPONSE) } else { self.flags };
        let mut bytes = Vec::with_capacity(len);
        bytes.u8(self.proto.to_wire());
        bytes.u8(self.kind.code());
        // Nobody makes a frame that long; its length would be wrong, and it would be dropped.
        bytes.u16_le(u16::try_from(len).unwrap_or(u16::MAX));
        bytes.u64_le(self.id);
        bytes.u32_le(self.sqnum);
        bytes.u32_le(0);
        bytes.u32_le(flags.0);
        bytes.bytes(&payload);
        let check = self.acked.unwrap_or_else(|| checksum(flags, &bytes));
        bytes[16..20].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// What stands in the header of a frame that answers none (§2.3).
    pub fn checksum(&self) -> u32 {
        checksum(self.flags, &self.to_plain())
    }

    /// Reads a datagram: in the mode of its flags, then in the others, until the checksum is right (§2.4). So a frame
    /// that says mode 2 may still be anybody's; [`Self::open_in`] tells.
    pub fn open(datagram: &[u8], session: Option<&Rc5>) -> Result<Self, DecodeError> {
        let flags = flags_of(datagram)?;
        Self::open_by(flags, flags.attempts(), datagram, session)
    }

    /// As [`Self::open`], in this mode only, whatever the flags say: in mode 2, what only a holder of the session key
    /// can have sent, unless it is a response, which has no checksum.
    pub fn open_in(mode: Mode, datagram: &[u8], session: Option<&Rc5>) -> Result<Self, DecodeError> {
        Self::open_by(flags_of(datagram)?, &[mode], datagram, session)
    }

    fn open_by(flags: Flags, modes: &[Mode], datagram: &[u8], session: Option<&Rc5>) -> Result<Self, DecodeError> {
        let plain = modes.iter().find_map(|&mode| {
            let mut bytes = datagram.to_vec();
            mask_id(&mut bytes);
            ID_KEY.decrypt(&mut bytes[4..12]);
            pass(&mut bytes, flags, mode, session, Rc5::decrypt)?;
            is_intact(flags, &bytes).then_some(bytes)
        });
        Self::read(&plain.ok_or_else(|| Reader::new(STRUCTURE, datagram).invalid("flags or chkval", flags.0))?)
    }

    /// Reads a datagram of [`Self::to_plain`].
    pub fn of_plain(datagram: &[u8]) -> Result<Self, DecodeError> {
        let flags = flags_of(datagram)?;
        if !is_intact(flags, datagram) {
            return Err(Reader::new(STRUCTURE, datagram).invalid("chkval", flags.0));
        }
        Self::read(datagram)
    }

    fn read(plain: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(STRUCTURE, plain);
        let proto = reader.u8()?;
        let proto = Proto::from_wire(proto).ok_or_else(|| reader.invalid("proto", proto))?;
        let kind = Kind::from_code(reader.u8()?);
        reader.skip(2)?;
        let id = reader.u64_le()?;
        let sqnum = reader.u32_le()?;
        let check = reader.u32_le()?;
        let flags = Flags(reader.u32_le()?);
        let acked = flags.has(Flags::RESPONSE).then_some(check);
        let payload = inflated(flags, reader.rest())?;
        Ok(Self { proto, kind, id, sqnum, flags, acked, payload })
    }

    /// The payload as it goes on the wire.
    fn deflated(&self) -> Cow<'_, [u8]> {
        if !self.flags.has(Flags::COMPRESSED) {
            return Cow::Borrowed(&self.payload);
        }
        let (body, trailers) = self.payload.split_at(self.flags.covered(self.payload.len()));
        let mut payload = compress_to_vec_zlib(body, COMPRESSION_LEVEL);
        payload.bytes(trailers);
        Cow::Owned(payload)
    }

    /// A cursor over the payload of a frame of this kind.
    pub(super) fn reader(&self, kind: Kind, structure: &'static str) -> Result<Reader<'_>, DecodeError> {
        let reader = Reader::new(structure, &self.payload);
        if self.kind == kind { Ok(reader) } else { Err(reader.invalid("kind", self.kind.code())) }
    }
}

/// Without the payload, which holds keys in some kinds.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proto, kind, id, sqnum, flags, acked, payload } = self;
        let mut shown = f.debug_struct("Frame");
        shown.field("proto", proto).field("kind", kind).field("id", id).field("sqnum", sqnum);
        shown.field("flags", flags).field("acked", acked).field("payload_len", &payload.len()).finish()
    }
}

fn inflated(flags: Flags, payload: &[u8]) -> Result<Vec<u8>, DecodeError> {
    if !flags.has(Flags::COMPRESSED) {
        return Ok(payload.to_vec());
    }
    let (body, trailers) = payload.split_at(flags.covered(payload.len()));
    let refused = |_| Reader::new(STRUCTURE, payload).invalid("zlib stream", body.len() as u64);
    let mut inflated = decompress_to_vec_zlib_with_limit(body, MAX_INFLATED).map_err(refused)?;
    inflated.bytes(trailers);
    Ok(inflated)
}

/// The flags of a whole frame: one that is as long as it says.
fn flags_of(datagram: &[u8]) -> Result<Flags, DecodeError> {
    let mut reader = Reader::new(STRUCTURE, datagram);
    reader.skip(2)?;
    let len = reader.u16_le()?;
    reader.skip(16)?;
    let flags = Flags(reader.u32_le()?);
    if usize::from(len) != datagram.len() {
        return Err(reader.invalid("length", len));
    }
    Ok(flags)
}

/// Passes over what a mode enciphers: sqnum and chkval, and the covered payload. Without the key there is nothing done.
fn pass(frame: &mut [u8], flags: Flags, mode: Mode, session: Option<&Rc5>, over: fn(&Rc5, &mut [u8])) -> Option<()> {
    let cipher = match mode {
        Mode::Clear => return Some(()),
        Mode::Header => Rc5::new(&[&frame[..4], &frame[20..23], &[0]].concat()),
        Mode::Session => session?.clone(),
    };
    let covered = flags.covered(frame.len() - HEADER_LEN);
    over(&cipher, &mut frame[12..20]);
    over(&cipher, &mut frame[HEADER_LEN..HEADER_LEN + covered]);
    Some(())
}

/// XORs the id with what stands for sqnum and chkval on the wire. Its own inverse.
fn mask_id(frame: &mut [u8]) {
    for at in 4..12 {
        frame[at] ^= frame[at + 8];
    }
}

fn is_intact(flags: Flags, plain: &[u8]) -> bool {
    flags.has(Flags::RESPONSE) || plain[16..20] == checksum(flags, plain).to_le_bytes()
}

fn checksum(flags: Flags, plain: &[u8]) -> u32 {
    let (header, payload) = plain.split_at(HEADER_LEN);
    let covered = &payload[..flags.covered(payload.len())];
    let words = header[..16].chunks_exact(4).chain(covered.chunks_exact(4));
    let words = words.filter_map(|word| word.try_into().ok().map(u32::from_le_bytes));
    words.fold(flags.0 & 0x00FF_FFFF, |sum, word| sum ^ word)
}
