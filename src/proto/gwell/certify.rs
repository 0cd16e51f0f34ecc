//! Logging in to a P2P server: CertifyReq and CertifyResp (gwell reference §4.1, §4.2).

use std::fmt;

use aes::Aes128;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use hmac::{Hmac, Mac};
use md5::Md5;

use super::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode};
use super::hash::{giot_hash, nonce_key};
use super::rc5::{Rc5, Rc5Wide};
use super::token::AccessToken;
use crate::proto::DecodeError;
use crate::proto::wire::{Reader, Writer};

/// The version of the vendor's software and its MTU, as one number.
const VERSION: u32 = 1032;
const IV: [u8; 16] = *b"iotVideo\0\0\0\0\0\0\0\0";
const TOKEN_DATA_LEN: usize = 48;
const NONCE_LEN: usize = 12;

/// What of a CertifyReq is random. Another for every request.
#[derive(Clone)]
pub struct CertifyRandom {
    /// The session key, once the server has taken the token.
    pub session_key: [u8; 32],
    /// Of the signature.
    pub nonce: [u8; NONCE_LEN],
    /// Of the flags, of which 15 bits count.
    pub flags: u16,
}

impl CertifyRandom {
    /// The cipher of the session that a request with this begins.
    pub fn session(&self) -> Rc5 {
        Rc5::new(&self.session_key)
    }
}

impl fmt::Debug for CertifyRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertifyRandom(***)")
    }
}

/// "I hold this token; let this be our session key."
///
/// Payload: `[0..4] options, 1 · [4..8] giot_hash of the key · [8..40] key, under RC5-64/6 with the certify key ·
/// [40..44] version · [44..52] Unix time in ms · [52..60] zero · [60..140] signature`
///
/// A server that keeps silent for 5 s may be sent another one, [sealed](Frame::seal_in) in mode 0 though the flags say
/// mode 1.
#[derive(Clone, PartialEq, Eq)]
pub struct CertifyRequest {
    frame: Frame,
    body: Body,
    signature: Signature,
}

/// Why a server does not take a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertifyError {
    #[error("the access id is another")]
    AccessId,
    #[error("the token data are others")]
    TokenData,
    #[error("the sum of the signature is wrong")]
    Sum,
    #[error("the signature is wrong")]
    Signature,
    #[error("the hash of the session key is wrong")]
    SessionKey,
}

impl CertifyRequest {
    const STRUCTURE: &str = "CertifyReq";
    const FLAGS: Flags = Flags::new(Mode::Header, Delivery::Reported).with(Flags::SIGNED | Flags::TIMED);

    pub fn new(token: &AccessToken, random: &CertifyRandom, sqnum: u32, unix_ms: u64) -> Self {
        let body = Body::new(token, &random.session_key, unix_ms);
        let mut payload = body.encode();
        payload.zeros(Signature::LEN);
        let from = Identity::Terminal(token.access_id());
        let mut frame = Frame::new(Kind::Certify, from, sqnum, Self::FLAGS.with_nonce(random.flags), payload);
        let signature = Signature::new(token, &random.nonce, &frame);
        frame.payload.truncate(Body::LEN);
        frame.payload.bytes(&signature.encode());
        Self { frame, body, signature }
    }

    pub fn encode(&self) -> Frame {
        self.frame.clone()
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Certify, Self::STRUCTURE)?;
        if !(frame.flags.has(Flags::SIGNED) && frame.flags.has(Flags::TIMED)) {
            return Err(reader.invalid("flags", frame.flags.0));
        }
        let body = Body::decode(&mut reader)?;
        let signature = Signature::decode(&mut reader)?;
        if reader.remaining() > 0 {
            return Err(reader.invalid("length", frame.payload.len() as u64));
        }
        Ok(Self { frame: frame.clone(), body, signature })
    }

    /// Who wants to log in.
    pub fn access_id(&self) -> u64 {
        self.frame.id
    }

    /// By the sender's clock.
    pub fn unix_ms(&self) -> u64 {
        self.body.unix_ms
    }

    /// The session's cipher, if this request was made with the token.
    pub fn verify(&self, token: &AccessToken) -> Result<Rc5, CertifyError> {
        if self.access_id() != token.access_id() {
            return Err(CertifyError::AccessId);
        }
        self.signature.verify(token, &self.frame)?;
        let mut key = self.body.sealed_key;
        Rc5Wide::new(token.certify_key()).decrypt(&mut key);
        if giot_hash(&key) != self.body.key_hash {
            return Err(CertifyError::SessionKey);
        }
        Ok(Rc5::new(&key))
    }
}

impl fmt::Debug for CertifyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (access_id, sqnum) = (self.frame.id, self.frame.sqnum);
        f.debug_struct("CertifyRequest").field("access_id", &access_id).field("sqnum", &sqnum).finish_non_exhaustive()
    }
}

/// What stands before the signature.
#[derive(Clone, PartialEq, Eq)]
struct Body {
    key_hash: u32,
    sealed_key: [u8; 32],
    unix_ms: u64,
}

impl Body {
    const LEN: usize = 60;

    fn new(token: &AccessToken, session_key: &[u8; 32], unix_ms: u64) -> Self {
        let mut sealed_key = *session_key;
        Rc5Wide::new(token.certify_key()).encrypt(&mut sealed_key);
        Self { key_hash: giot_hash(session_key), sealed_key, unix_ms }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN + Signature::LEN);
        bytes.u32_le(1);
        bytes.u32_le(self.key_hash);
        bytes.bytes(&self.sealed_key);
        bytes.u32_le(VERSION);
        bytes.u64_le(self.unix_ms);
        bytes.zeros(8);
        bytes
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.skip(4)?;
        let (key_hash, sealed_key) = (reader.u32_le()?, reader.array()?);
        reader.skip(4)?;
        let unix_ms = reader.u64_le()?;
        reader.skip(8)?;
        Ok(Self { key_hash, sealed_key, unix_ms })
    }
}

/// `[0] 1 · [1] first of the nonce, odd · [2..4] sum of the words [4..64] · [4..16] nonce · [16..64] token data ·
/// [64..80] HMAC-MD5`. Sum and HMAC are of the plain token data; on the wire they are enciphered.
#[derive(Clone, PartialEq, Eq)]
struct Signature {
    head: [u8; 2],
    sum: u16,
    nonce: [u8; NONCE_LEN],
    sealed_data: [u8; TOKEN_DATA_LEN],
    hmac: [u8; 16],
}

impl Signature {
    const LEN: usize = 80;

    fn new(token: &AccessToken, nonce: &[u8; NONCE_LEN], frame: &Frame) -> Self {
        let [first, ..] = *nonce;
        let mut signature = Self {
            head: [1, first | 1],
            sum: sum(nonce, token.token_data()),
            nonce: *nonce,
            sealed_data: seal_token_data(nonce, token.token_data()),
            hmac: [0; 16],
        };
        signature.hmac = signature.mac(token, frame).finalize().into_bytes().into();
        signature
    }

    fn verify(&self, token: &AccessToken, frame: &Frame) -> Result<(), CertifyError> {
        if open_token_data(&self.nonce, &self.sealed_data) != *token.token_data() {
            return Err(CertifyError::TokenData);
        }
        if self.sum != sum(&self.nonce, token.token_data()) {
            return Err(CertifyError::Sum);
        }
        self.mac(token, frame).verify_slice(&self.hmac).map_err(|_| CertifyError::Signature)
    }

    /// Over `sqnum · chkval · the first 64 bytes`, with the plain token data.
    fn mac(&self, token: &AccessToken, frame: &Frame) -> Hmac<Md5> {
        let mut input = Vec::with_capacity(8 + 64);
        input.u32_le(frame.sqnum);
        input.u32_le(frame.checksum());
        self.encode_head(&mut input);
        input.bytes(token.token_data());
        let mac = Hmac::<Md5>::new_from_slice(token.certify_key()).expect("HMAC takes keys of any length");
        mac.chain_update(input)
    }

    fn encode_head(&self, bytes: &mut Vec<u8>) {
        bytes.bytes(&self.head);
        bytes.u16_le(self.sum);
        bytes.bytes(&self.nonce);
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        self.encode_head(&mut bytes);
        bytes.bytes(&self.sealed_data);
        bytes.bytes(&self.hmac);
        bytes
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            head: reader.array()?,
            sum: reader.u16_le()?,
            nonce: reader.array()?,
            sealed_data: reader.array()?,
            hmac: reader.array()?,
        })
    }
}

/// Of the little-endian words, modulo 2^16.
pub(super) fn sum(nonce: &[u8; NONCE_LEN], token_data: &[u8; TOKEN_DATA_LEN]) -> u16 {
    let words = nonce.chunks_exact(2).chain(token_data.chunks_exact(2));
    let words = words.filter_map(|word| word.try_into().ok().map(u16::from_le_bytes));
    words.fold(0, u16::wrapping_add)
}

/// AES-128-CBC, without padding: the data are whole blocks.
pub(super) fn seal_token_data(nonce: &[u8; NONCE_LEN], plain: &[u8; TOKEN_DATA_LEN]) -> [u8; TOKEN_DATA_LEN] {
    let mut data = *plain;
    let mut cipher = cbc::Encryptor::<Aes128>::new(&nonce_key(nonce).into(), &IV.into());
    data.chunks_exact_mut(16).for_each(|block| cipher.encrypt_block_mut(block.into()));
    data
}

/// The inverse of [`seal_token_data`].
pub(super) fn open_token_data(nonce: &[u8; NONCE_LEN], sealed: &[u8; TOKEN_DATA_LEN]) -> [u8; TOKEN_DATA_LEN] {
    let mut data = *sealed;
    let mut cipher = cbc::Decryptor::<Aes128>::new(&nonce_key(nonce).into(), &IV.into());
    data.chunks_exact_mut(16).for_each(|block| cipher.decrypt_block_mut(block.into()));
    data
}

/// The server has the request; its [`CertifyReply`] follows. Some servers leave this out, and what counts is the reply.
///
/// Payload: `[0..2] flags · [2..4] result code · [4..24] not known`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertifyAck {
    pub code: u16,
}

impl CertifyAck {
    /// The acknowledgement of this frame.
    pub fn encode(&self, request: &Frame, from: Identity) -> Frame {
        let mut payload = Vec::with_capacity(24);
        payload.zeros(2);
        payload.u16_le(self.code);
        payload.zeros(20);
        request.acknowledgement(from, payload)
    }

    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::Certify, "CertifyReq ack")?;
        reader.skip(2)?;
        Ok(Self { code: reader.u16_le()? })
    }
}

/// Whether the server takes the token.
///
/// Payload: `[0..2] flags · [2..4] result code · [4..12] routing session id · [12..48] not known`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertifyReply {
    pub code: u16,
    /// By which the terminal goes from now on.
    pub session: u64,
}

impl CertifyReply {
    /// The token is taken.
    pub const OK: u16 = 0;
    /// Somebody else came with the same.
    pub const KICKED: u16 = 3;
    /// The token is not, or no longer, valid.
    pub const BAD_TOKEN: u16 = 8020;
    const STRUCTURE: &str = "CertifyResp";
    const FLAGS: Flags = Flags::new(Mode::Header, Delivery::Acknowledged);

    pub fn encode(&self, from: Identity, sqnum: u32) -> Frame {
        let mut payload = Vec::with_capacity(48);
        payload.zeros(2);
        payload.u16_le(self.code);
        payload.u64_le(self.session);
        payload.zeros(36);
        Frame::new(Kind::CertifyReply, from, sqnum, Self::FLAGS, payload)
    }

    /// A client's acknowledgement is of the same kind and refused.
    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.reader(Kind::CertifyReply, Self::STRUCTURE)?;
        if frame.flags.has(Flags::ACKNOWLEDGEMENT) {
            return Err(reader.invalid("flags", frame.flags.0));
        }
        reader.skip(2)?;
        Ok(Self { code: reader.u16_le()?, session: reader.u64_le()? })
    }

    /// What the client says to this frame.
    pub fn acknowledge(frame: &Frame, from: Identity) -> Frame {
        frame.acknowledgement(from, vec![0; 8])
    }
}
