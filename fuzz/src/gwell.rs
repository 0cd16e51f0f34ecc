//! One function for each decoder of `proto::gwell`: it must not panic, and what it reads it must write so that it reads
//! the same again.

use std::fmt::Debug;

use doorstep::proto::DecodeError;
use doorstep::proto::gwell::calling::{Calling, CallingAck, MtpReply, MtpRequest};
use doorstep::proto::gwell::certify::{CertifyAck, CertifyReply, CertifyRequest};
use doorstep::proto::gwell::devices::{DeviceList, InitInfo};
use doorstep::proto::gwell::directory::{DetectReply, DetectRequest, ListReply, ListRequest, Reachable};
use doorstep::proto::gwell::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode};
use doorstep::proto::gwell::passthrough::{Inner, PassthroughControl, PassthroughData};
use doorstep::proto::gwell::port_status::{Heartbeat, NetworkDetect, PortStatus};
use doorstep::proto::gwell::rc5::Rc5;
use doorstep::proto::gwell::subscribe::{SubscribeById, SubscribeByToken, SubscribeReply};
use doorstep::proto::gwell::token::AccessToken;

const FROM: Identity = Identity::Session(0x1122_3344_5566_7788);

/// Reads the bytes as a datagram of a session, as one in the clear, as the kind and the payload of a frame, and as
/// the texts of a token.
pub fn gutes(data: &[u8]) {
    let key: [u8; 32] = std::array::from_fn(|at| 0x40 + at as u8);
    let session = Some(Rc5::new(&key));
    if let Ok(frame) = Frame::open(data, session.as_ref()) {
        assert_eq!(Frame::open(&frame.seal(session.as_ref()), session.as_ref()).as_ref(), Ok(&frame));
        messages(&frame);
    }
    if let Ok(frame) = Frame::of_plain(data) {
        assert_eq!(Frame::of_plain(&frame.to_plain()).as_ref(), Ok(&frame));
        messages(&frame);
    }
    if let Some((&kind, payload)) = data.split_first() {
        let flags = Flags::new(Mode::Header, Delivery::Reported).with(Flags::SIGNED | Flags::TIMED);
        messages(&Frame::new(Kind::from_code(kind), FROM, 7, flags, payload.to_vec()));
    }
    token(data);
}

fn messages(frame: &Frame) {
    login(frame);
    typed(frame, ListRequest::decode, ListRequest::encode);
    for reachable in [Reachable::Public, Reachable::Everywhere] {
        typed(frame, |frame| ListReply::decode(frame, reachable), |reply| reply.encode(1, 7));
    }
    typed(frame, DetectRequest::decode, DetectRequest::encode);
    typed(frame, DetectReply::decode, DetectReply::encode);
    typed(frame, InitInfo::decode, InitInfo::encode);
    typed(frame, DeviceList::decode, |list| list.encode(FROM, 7));
    typed(frame, SubscribeById::decode, |request| request.encode(FROM, 7));
    typed(frame, SubscribeByToken::decode, |request| request.encode(FROM, 7));
    typed(frame, SubscribeReply::decode, |reply| reply.encode(FROM));
    typed(frame, Calling::decode, |calling| calling.encode(FROM, 7));
    typed(frame, CallingAck::decode, |ack| ack.encode(frame, FROM));
    typed(frame, MtpReply::decode, |reply| reply.encode(FROM, 7));
    typed(frame, MtpRequest::decode, |request| request.encode(FROM));
    typed(frame, PortStatus::decode, |status| status.encode(FROM));
    typed(frame, Heartbeat::decode, Heartbeat::encode);
    typed(frame, NetworkDetect::decode, |detect| detect.encode(FROM, 7, 7));
    typed(frame, PassthroughControl::decode, |control| control.encode(FROM, 7));
    typed(frame, PassthroughData::decode, |data| data.encode(FROM, 7));
    let _ = Inner::decode(frame);
}

fn login(frame: &Frame) {
    typed(frame, CertifyRequest::decode, CertifyRequest::encode);
    typed(frame, CertifyAck::decode, |ack| ack.encode(frame, FROM));
    typed(frame, CertifyReply::decode, |reply| reply.encode(FROM, 7));
    if let Ok(request) = CertifyRequest::decode(frame) {
        let _ = request.verify(&AccessToken::of_parts(request.access_id(), [7; 64], Vec::new()));
    }
}

fn typed<T: PartialEq + Debug>(
    frame: &Frame,
    decode: impl Fn(&Frame) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Frame,
) {
    if let Ok(value) = decode(frame) {
        assert_eq!(decode(&encode(&value)).as_ref(), Ok(&value));
    }
}

fn token(data: &[u8]) {
    let Some((access_id, access_token)) = std::str::from_utf8(data).ok().and_then(|text| text.split_once('\n')) else {
        return;
    };
    if let Ok(token) = AccessToken::parse(access_id, access_token) {
        let (access_id, access_token) = token.to_text();
        assert_eq!(AccessToken::parse(&access_id, &access_token), Ok(token));
    }
}
