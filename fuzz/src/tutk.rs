//! One function for each decoder of `proto::tutk`: it must not panic, and what it reads it must write so
//! that it reads the same again.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorstep::proto::tutk::cc51::{self, HmacKey};
use doorstep::proto::tutk::dtls::{DtlsEndpoint, DtlsError, OpensslDtls, Role};
use doorstep::proto::tutk::frame::{FrameInfo, MediaPacket, split_sound};
use doorstep::proto::tutk::iotc;
use doorstep::proto::tutk::kcommand::{
    AuthRequest, AuthResult, Challenge, ChallengeResponse, ControlChannel, ControlMessage, IoCtrl, KCommand, Resolution,
};
use doorstep::proto::tutk::keys::{AuthKey, Psk, Uid};
use doorstep::proto::tutk::login::{Ack, AvLogin, AvLoginResponse, LoginHead};
use doorstep::proto::tutk::reassembly::Reassembly;
use doorstep::proto::tutk::session::{ClientSession, Command, Quality, SessionRandom, Setup};
use doorstep::proto::tutk::talk::TalkFrame;
use doorstep::proto::tutk::{Channel, transcode};
use doorstep::proto::{DecodeError, Lane, Session};

use super::pieces::pieces;

const ENR: &str = "aKzdqckqZ8HUHFe5";
const MAC: &str = "AABBCCDDEEFF";

fn uid() -> Uid {
    Uid::parse("HSBJYB5HSETGCDWD111A").expect("20 letters and digits")
}

fn stable<T: PartialEq + Debug>(
    data: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = decode(data) {
        assert_eq!(decode(&encode(&value)).as_ref(), Ok(&value));
    }
}

pub fn transcode(data: &[u8]) {
    let mut bytes = data.to_vec();
    transcode::encipher(&mut bytes);
    transcode::decipher(&mut bytes);
    assert_eq!(bytes, data);
    transcode::decipher(&mut bytes);
}

pub fn iotc(data: &[u8]) {
    stable(data, iotc::Packet::decode, iotc::Packet::encode);
    stable(data, iotc::Packet::decode_plain, iotc::Packet::encode_plain);
}

pub fn cc51(data: &[u8]) {
    let key = HmacKey::new(&uid(), &AuthKey::derive(ENR, MAC));
    let decode = |bytes: &[u8]| cc51::Packet::decode(bytes, &key).map(|received| received.packet);
    stable(data, decode, |packet| packet.encode(&key));
}

pub fn login(data: &[u8]) {
    let _ = LoginHead::decode(data);
    stable(data, AvLogin::decode, AvLogin::encode);
    stable(data, AvLoginResponse::decode, AvLoginResponse::encode);
    stable(data, Ack::decode, Ack::encode);
}

pub fn kcommand(data: &[u8]) {
    stable(data, IoCtrl::decode, IoCtrl::encode);
    stable(data, KCommand::decode, KCommand::encode);
    let _ = ControlMessage::decode(data);
    let Ok(command) = KCommand::decode(data) else { return };
    typed(&command, AuthRequest::decode, AuthRequest::command);
    typed(&command, Challenge::decode, Challenge::command);
    typed(&command, ChallengeResponse::decode, ChallengeResponse::command);
    typed(&command, AuthResult::decode, AuthResult::command);
    typed(&command, ControlChannel::decode, ControlChannel::command);
    typed(&command, Resolution::decode, |(kind, resolution)| resolution.command(*kind));
    if let Ok(challenge) = Challenge::decode(&command) {
        challenge.answer(ENR);
    }
}

fn typed<T: PartialEq + Debug>(
    command: &KCommand,
    decode: impl Fn(&KCommand) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> KCommand,
) {
    if let Ok(value) = decode(command) {
        assert_eq!(decode(&encode(&value)).as_ref(), Ok(&value));
    }
}

pub fn frame(data: &[u8]) {
    stable(data, MediaPacket::decode, MediaPacket::encode);
    stable(data, FrameInfo::decode, FrameInfo::encode);
    if let Ok(MediaPacket { info: Some(info), payload, .. }) = MediaPacket::decode(data) {
        split_sound(&info, &payload);
    }
}

pub fn reassembly(data: &[u8]) {
    let mut reassembly = Reassembly::default();
    let mut now = start_of_time();
    for piece in pieces(data) {
        now += Duration::from_millis(10);
        if let Ok(packet) = MediaPacket::decode(piece) {
            reassembly.push(now, packet);
        }
        while reassembly.poll().is_some() {}
    }
    reassembly.on_timeout(now + Duration::from_secs(1));
    while reassembly.poll().is_some() {}
    assert_eq!(reassembly.deadline(), None, "a whole frame was kept");
}

pub fn talk(data: &[u8]) {
    stable(data, TalkFrame::decode, TalkFrame::encode);
}

pub fn dtls(data: &[u8]) {
    for (role, channel) in [(Role::Client, Channel::Main), (Role::Server, Channel::Back)] {
        let mut engine = OpensslDtls::new(role, channel, &Psk::derive(ENR)).expect("OpenSSL has what is needed");
        let mut now = start_of_time();
        let started = engine.on_timeout(now);
        let fed = pieces(data).into_iter().try_for_each(|piece| {
            now += Duration::from_millis(10);
            engine.on_datagram(now, piece)
        });
        assert!(!engine.is_established(), "a handshake without the key: {started:?}, {fed:?}");
    }
}

/// Feeds a session whose DTLS is plain text, so that the layers inside are reached.
pub fn session(data: &[u8]) {
    let camera = SocketAddr::from(([10, 0, 0, 2], 32_761));
    let mut now = start_of_time();
    let mut session = ClientSession::new(setup(camera), now);
    let _ = session.on_command(now, Command::StartTalk);
    for piece in pieces(data) {
        now += Duration::from_millis(20);
        let fed = session.on_datagram(now, Lane::MAIN, camera, piece);
        let due = session.deadline().is_some_and(|due| due <= now);
        let timed = if due { session.on_timeout(now) } else { Ok(()) };
        while session.poll().is_some() {}
        if fed.is_err() || timed.is_err() {
            break;
        }
        assert!(session.deadline().is_some_and(|due| due > now), "the deadline stands still");
    }
    session.on_close(now);
    while session.poll().is_some() {}
}

fn setup(address: SocketAddr) -> Setup {
    Setup {
        uid: uid(),
        enr: ENR.to_owned(),
        mac: MAC.to_owned(),
        model: "HL_DB2".to_owned(),
        address,
        transport: None,
        quality: Quality::Hd,
        random: SessionRandom::from_bytes([7; 16]),
        unix_time: 1_700_000_000,
        dtls: Arc::new(|_, _, _| Ok(Box::new(PlainText::default()))),
    }
}

#[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
fn start_of_time() -> Instant {
    Instant::now()
}

/// DTLS without D, T, L or S: every datagram is a message.
#[derive(Default)]
struct PlainText {
    established: bool,
    datagrams: VecDeque<Vec<u8>>,
    messages: VecDeque<Vec<u8>>,
}

impl DtlsEndpoint for PlainText {
    fn on_datagram(&mut self, _: Instant, datagram: &[u8]) -> Result<(), DtlsError> {
        self.established = true;
        self.messages.push_back(datagram.to_vec());
        Ok(())
    }

    fn on_timeout(&mut self, _: Instant) -> Result<(), DtlsError> {
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn send(&mut self, message: &[u8]) -> Result<(), DtlsError> {
        self.datagrams.push_back(message.to_vec());
        Ok(())
    }

    fn close(&mut self) {}

    fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.datagrams.pop_front()
    }

    fn poll_message(&mut self) -> Option<Vec<u8>> {
        self.messages.pop_front()
    }

    fn is_established(&self) -> bool {
        self.established
    }

    fn key_was_used(&self) -> bool {
        self.established
    }
}
