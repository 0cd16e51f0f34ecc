//! Every message there and back, cut short, and with each bit flipped; and what a frame refuses.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::calling::{Calling, CallingAck, MtpReply, MtpRequest, Relay};
use super::certify::{CertifyAck, CertifyError, CertifyRandom, CertifyReply, CertifyRequest};
use super::devices::{DeviceList, InitInfo, Listed};
use super::directory::{DetectReply, DetectRequest, ListReply, ListRequest, Reachable, Server};
use super::gutes::{Delivery, Flags, Frame, Identity, Kind, Mode, Proto};
use super::passthrough::{Inner, PassthroughControl, PassthroughData};
use super::port_status::{Heartbeat, NetworkDetect, PortKind, PortStatus};
use super::rc5::Rc5;
use super::subscribe::{SubscribeById, SubscribeByToken, SubscribeReply};
use super::token::AccessToken;
use crate::proto::DecodeError;

const FROM: Identity = Identity::Session(0x1122_3344_5566_7788);
const TERMINAL: Identity = Identity::Terminal(0x9302_3B13_3E18_42F4);
const SQNUM: u32 = 77;

/// A message as a frame, how to read and write it once more, and how much of its payload it cannot do without.
struct Sample {
    frame: Frame,
    again: fn(&Frame) -> Result<Frame, DecodeError>,
    needed: usize,
}

fn sample(frame: Frame, again: fn(&Frame) -> Result<Frame, DecodeError>) -> Sample {
    let needed = frame.payload.len();
    Sample { frame, again, needed }
}

fn token() -> AccessToken {
    AccessToken::of_parts(TERMINAL.id(), std::array::from_fn(|at| at as u8), vec![9; 160])
}

fn random() -> CertifyRandom {
    CertifyRandom { session_key: [0x5A; 32], nonce: [7; 12], flags: 0x7ABC }
}

fn session() -> Rc5 {
    random().session()
}

fn certify_request() -> CertifyRequest {
    CertifyRequest::new(&token(), &random(), SQNUM, 1_795_225_387_032)
}

fn address(last: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, last), 40_000 + u16::from(last))
}

fn calling() -> Calling {
    let address = *address(50).ip();
    Calling { link_id: 5, caller: 6, callee: 7, port: 40_000, address, mtp_key: [0xAB; 8], lan: false }
}

fn mtp_reply(relays: u8) -> MtpReply {
    let relay = |last| Relay { session: 99, tcp: last % 2 == 0, address: address(last) };
    let relays = (0..relays).map(relay).collect();
    MtpReply { link_id: 5, outer: address(1), lan: address(2), session_port: 3, relays }
}

fn listed(at: u64) -> Listed {
    Listed { tid: at, status: 1, attribute: 2, name: format!("GW_BE1_7C78B200000{at}") }
}

fn samples() -> Vec<Sample> {
    let mut samples = vec![
        sample(ListRequest { id: 1, sqnum: 2, noise: [3; 16] }.encode(), |frame| {
            ListRequest::decode(frame).map(|request| request.encode())
        }),
        sample(list(&["3.13.212.24", "10.0.0.1"]).encode(1, SQNUM), |frame| {
            ListReply::decode(frame, Reachable::Everywhere).map(|reply| reply.encode(frame.id, frame.sqnum))
        }),
        sample(DetectRequest { id: 1, sqnum: 2, noise: [3; 40] }.encode(), |frame| {
            DetectRequest::decode(frame).map(|request| request.encode())
        }),
        sample(certify_request().encode(), |frame| CertifyRequest::decode(frame).map(|request| request.encode())),
        sample(InitInfo { access_id: 1, sqnum: 2 }.encode(), |frame| {
            InitInfo::decode(frame).map(|request| request.encode())
        }),
        sample(DeviceList { devices: (0..3).map(listed).collect(), offline: 1 }.encode(FROM, SQNUM), |frame| {
            DeviceList::decode(frame).map(|list| list.encode(FROM, frame.sqnum))
        }),
        sample(SubscribeById { access_id: 9 }.encode(FROM, SQNUM), |frame| {
            SubscribeById::decode(frame).map(|request| request.encode(FROM, frame.sqnum))
        }),
        sample(SubscribeByToken { extra: vec![1; 160] }.encode(FROM, SQNUM), |frame| {
            SubscribeByToken::decode(frame).map(|request| request.encode(FROM, frame.sqnum))
        }),
        sample(calling().encode(FROM, SQNUM), |frame| {
            Calling::decode(frame).map(|calling| calling.encode(FROM, frame.sqnum))
        }),
        sample(mtp_reply(0).encode(FROM, SQNUM), |frame| {
            MtpReply::decode(frame).map(|reply| reply.encode(FROM, frame.sqnum))
        }),
        sample(MtpRequest { link_id: 5, caller: 6, callee: 7 }.encode(FROM), |frame| {
            MtpRequest::decode(frame).map(|request| request.encode(FROM))
        }),
        sample(Heartbeat { access_id: 1, sqnum: 2 }.encode(), |frame| {
            Heartbeat::decode(frame).map(|heartbeat| heartbeat.encode())
        }),
        sample(NetworkDetect::new(7, 6, [192, 168, 1, 2].into()).encode(FROM, SQNUM, 0x1234), |frame| {
            NetworkDetect::decode(frame).map(|detect| detect.encode(FROM, frame.sqnum, frame.flags.nonce()))
        }),
    ];
    samples.extend([PortKind::Probe, PortKind::Relay, PortKind::RelayAgain, PortKind::Online].map(port_status));
    samples.extend([control(), data(b"an MTP frame")]);
    samples.extend(replies());
    samples
}

fn port_status(kind: PortKind) -> Sample {
    let status = PortStatus { tid: 7, link_id: 5, kind, ports: [1, 2, 3, 65_535] };
    sample(status.encode(FROM), |frame| PortStatus::decode(frame).map(|status| status.encode(FROM)))
}

fn control() -> Sample {
    let command = PassthroughControl::CREATE_KCP;
    let control = PassthroughControl { tid: 7, access_id: 6, command, link_id: 5 };
    sample(control.encode(FROM, SQNUM), |frame| {
        PassthroughControl::decode(frame).map(|control| control.encode(FROM, frame.sqnum))
    })
}

fn data(mtp: &[u8]) -> Sample {
    let data = PassthroughData { tid: 7, access_id: 6, message_id: 4, mtp: mtp.to_vec() };
    sample(data.encode(FROM, SQNUM), |frame| PassthroughData::decode(frame).map(|data| data.encode(FROM, frame.sqnum)))
}

/// Those of which a part is enough, as real ones differ in length.
fn replies() -> [Sample; 5] {
    let needing = |needed, frame, again| Sample { needed, ..sample(frame, again) };
    [
        needing(0, DetectReply { id: 1, request: 2 }.encode(), |frame| {
            DetectReply::decode(frame).map(|reply| reply.encode())
        }),
        needing(0, SubscribeReply { request: 2 }.encode(FROM), |frame| {
            SubscribeReply::decode(frame).map(|reply| reply.encode(FROM))
        }),
        needing(4, CertifyAck { code: 3 }.encode(&certify_request().encode(), TERMINAL), |frame| {
            let request = Frame { sqnum: SQNUM, ..frame.clone() };
            CertifyAck::decode(frame).map(|ack| ack.encode(&request, TERMINAL))
        }),
        needing(12, CertifyReply { code: 0, session: FROM.id() }.encode(TERMINAL, SQNUM), |frame| {
            CertifyReply::decode(frame).map(|reply| reply.encode(TERMINAL, frame.sqnum))
        }),
        needing(14, CallingAck { peer: address(9) }.encode(&calling().encode(FROM, SQNUM), FROM), |frame| {
            let calling = Frame { sqnum: SQNUM, ..frame.clone() };
            CallingAck::decode(frame).map(|ack| ack.encode(&calling, FROM))
        }),
    ]
}

fn list(addresses: &[&str]) -> ListReply {
    let server = |address: &&str| Server::new(49, address.parse().unwrap(), 28_800);
    ListReply { servers: addresses.iter().map(server).collect() }
}

#[test]
fn every_message_survives_the_way_there_and_back() {
    for Sample { frame, again, .. } in samples() {
        let received = Frame::open(&frame.seal(Some(&session())), Some(&session()));
        assert_eq!(received.as_ref(), Ok(&frame));
        assert_eq!(again(&received.unwrap()), Ok(frame));
    }
}

#[test]
fn every_truncation_is_refused() {
    for Sample { frame, again, needed } in samples() {
        let sealed = frame.seal(Some(&session()));
        for len in 0..sealed.len() {
            assert!(Frame::open(&sealed[..len], Some(&session())).is_err(), "{len} bytes of {frame:?} were accepted");
        }
        for len in 0..needed {
            let cut = Frame { payload: frame.payload[..len].to_vec(), ..frame.clone() };
            assert!(again(&cut).is_err(), "{len} bytes of payload were accepted: {frame:?}");
        }
    }
}

#[test]
fn no_flipped_bit_panics_and_the_checksum_catches_those_it_covers() {
    for Sample { frame, again, .. } in samples() {
        let sealed = frame.seal(Some(&session()));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let opened = Frame::open(&flipped, Some(&session()));
            let covered = frame.acked.is_none() && !frame.flags.has(Flags::SIGNED) && bit / 8 >= 24;
            assert!(!covered || bit / 32 * 4 + 4 > sealed.len() || opened.is_err(), "bit {bit} of {frame:?}");
            if let Ok(opened) = opened {
                let _ = again(&opened);
            }
        }
        for bit in 0..frame.payload.len() * 8 {
            let mut flipped = frame.clone();
            flipped.payload[bit / 8] ^= 1 << (bit % 8);
            let _ = again(&flipped);
        }
    }
}

#[test]
fn a_message_of_another_kind_is_refused() {
    for Sample { frame, again, .. } in samples() {
        assert!(again(&Frame { kind: Kind::Model, ..frame.clone() }).is_err(), "{frame:?}");
    }
}

#[test]
fn a_frame_is_as_long_as_it_says() {
    let sealed = calling().encode(FROM, SQNUM).seal(Some(&session()));
    let longer = [&sealed[..], &[0]].concat();
    assert!(Frame::open(&longer, Some(&session())).is_err());
    assert!(Frame::open(&vec![0xFF; 70_000], None).is_err());
}

#[test]
fn a_frame_of_the_session_needs_its_key() {
    let frame = calling().encode(FROM, SQNUM);
    assert!(frame.seal(None).is_empty(), "the media's key went out in the clear");
    let sealed = frame.seal(Some(&session()));
    assert!(Frame::open(&sealed, None).is_err());
    assert!(Frame::open(&sealed, Some(&Rc5::new(&[1; 32]))).is_err());
    let reply = SubscribeReply { request: 1 }.encode(FROM).seal(Some(&session()));
    assert!(Frame::open(&reply, None).is_err(), "a response, which has no checksum, was read without the key");
}

#[test]
fn a_frame_that_only_says_to_be_of_the_session_can_be_told() {
    let frame = calling().encode(FROM, SQNUM);
    let forged = frame.seal_in(Mode::Header, None);
    assert_eq!(Frame::open(&forged, Some(&session())).as_ref(), Ok(&frame));
    assert!(Frame::open_in(Mode::Session, &forged, Some(&session())).is_err());
    assert_eq!(Frame::open_in(Mode::Session, &frame.seal(Some(&session())), Some(&session())), Ok(frame));
}

#[test]
fn every_kind_has_a_code_and_every_code_a_kind() {
    for code in 0..=u8::MAX {
        assert_eq!(Kind::from_code(code).code(), code);
    }
    assert_eq!(Kind::from_code(0xA4), Kind::Calling);
    assert_eq!(Kind::from_code(0x99), Kind::Other(0x99));
}

#[test]
fn an_acknowledgement_names_what_it_confirms() {
    let reply = CertifyReply { code: 0, session: 1 }.encode(TERMINAL, SQNUM);
    let ack = CertifyReply::acknowledge(&reply, TERMINAL);
    assert_eq!((ack.kind, ack.acked, ack.to_plain().len()), (Kind::CertifyReply, Some(SQNUM), 32));
    assert!(ack.flags.has(Flags::ACKNOWLEDGEMENT) && ack.flags.has(Flags::RESPONSE));
    assert_eq!(Frame::open(&ack.seal(None), None).as_ref(), Ok(&ack));
    assert!(CertifyReply::decode(&ack).is_err(), "a client's acknowledgement was taken for the reply");
}

#[test]
fn a_compressed_payload_is_read_and_bounded() {
    let flags = Flags::new(Mode::Session, Delivery::Forgotten).with(Flags::COMPRESSED);
    let list = DeviceList { devices: (0..9).map(listed).collect(), offline: 0 };
    let frame = Frame { flags, ..list.encode(FROM, SQNUM) };
    let sealed = frame.seal(Some(&session()));
    assert!(sealed.len() < frame.payload.len(), "{} bytes", sealed.len());
    let opened = Frame::open(&sealed, Some(&session())).unwrap();
    assert_eq!(DeviceList::decode(&opened), Ok(list));
    let bomb = Frame { payload: vec![0; 1 << 20], ..frame.clone() }.seal(Some(&session()));
    assert!(bomb.len() < 2_000);
    let refused = Frame::open(&bomb, Some(&session())).unwrap_err();
    assert!(refused.to_string().contains("zlib"), "{refused}");
    let plain = Frame { flags: Flags::new(Mode::Clear, Delivery::Forgotten), ..frame };
    let not_zlib = Frame { payload: vec![7; 32], ..plain }.to_plain();
    let mut lying = not_zlib.clone();
    lying[20] |= 1;
    lying[16] ^= 1;
    assert!(Frame::of_plain(&lying).unwrap_err().to_string().contains("zlib"));
    assert!(Frame::of_plain(&not_zlib).is_ok());
}

#[test]
fn a_token_is_proved_and_no_other_passes() {
    let request = CertifyRequest::decode(&certify_request().encode()).unwrap();
    assert!(request.verify(&token()).is_ok());
    let with = |id, change: fn(&mut [u8; 64])| {
        let mut bytes = std::array::from_fn(|at| at as u8);
        change(&mut bytes);
        request.verify(&AccessToken::of_parts(id, bytes, vec![])).unwrap_err()
    };
    assert_eq!(with(1, |_| ()), CertifyError::AccessId);
    assert_eq!(with(TERMINAL.id(), |bytes| bytes[0] ^= 1), CertifyError::TokenData);
    assert_eq!(with(TERMINAL.id(), |bytes| bytes[63] ^= 1), CertifyError::Signature);
}

#[test]
fn a_request_that_was_changed_is_not_taken() {
    let frame = certify_request().encode();
    let refused = |at: usize| {
        let mut payload = frame.payload.clone();
        payload[at] ^= 1;
        CertifyRequest::decode(&Frame { payload, ..frame.clone() }).unwrap().verify(&token()).unwrap_err()
    };
    // The key and its hash are in the frame's checksum, which is signed; so are nonce and sum, directly.
    assert_eq!(refused(10), CertifyError::Signature);
    assert_eq!(refused(4), CertifyError::Signature);
    assert_eq!(refused(62), CertifyError::Sum);
    assert_eq!(refused(66), CertifyError::TokenData);
    assert_eq!(refused(139), CertifyError::Signature);
    let older = Frame { sqnum: SQNUM - 1, ..frame };
    assert_eq!(CertifyRequest::decode(&older).unwrap().verify(&token()).unwrap_err(), CertifyError::Signature);
}

#[test]
fn device_lists_are_bounded_and_may_have_devices_offline() {
    let list = |count: u64| DeviceList { devices: (0..count).map(listed).collect(), offline: 3 };
    assert_eq!(DeviceList::decode(&list(32).encode(FROM, 1)), Ok(list(32)));
    assert_eq!(DeviceList::decode(&list(0).encode(FROM, 1)), Ok(list(0)));
    assert_eq!(DeviceList::decode(&list(40).encode(FROM, 1)), Ok(list(32)), "what is too much is not written");
    let mut frame = list(32).encode(FROM, 1);
    frame.payload[4] = 33;
    frame.payload.resize(8 + 33 * 44, 0);
    assert!(DeviceList::decode(&frame).is_err());
}

#[test]
fn a_name_fills_its_field_and_is_text() {
    let long = Listed { name: "GW_GC1_0123456789ABCDEF012345678_and_more".to_owned(), ..listed(1) };
    let list = DeviceList { devices: vec![long], offline: 0 };
    let mut frame = list.encode(FROM, 1);
    assert_eq!(DeviceList::decode(&frame).unwrap().devices[0].name, "GW_GC1_0123456789ABCDEF012345678");
    frame.payload[20] = 0xFF;
    assert!(DeviceList::decode(&frame).is_err());
}

#[test]
fn relays_are_read_and_bounded() {
    for count in [1, 2, 32] {
        let frame = mtp_reply(count).encode(FROM, SQNUM);
        assert_eq!(MtpReply::decode(&frame), Ok(mtp_reply(count)));
        assert!(
            MtpReply::decode(&Frame { payload: frame.payload[..frame.payload.len() - 1].to_vec(), ..frame }).is_err()
        );
    }
    let mut frame = mtp_reply(32).encode(FROM, SQNUM);
    frame.payload[96] = 33;
    frame.payload.extend([0; 16]);
    assert!(MtpReply::decode(&frame).is_err());
}

#[test]
fn lists_name_public_servers_unless_the_owner_says_otherwise() {
    let everything = ["3.13.212.24", "10.0.0.1", "127.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.1.1", "0.0.0.0"];
    let frame = list(&everything).encode(1, SQNUM);
    let found = |reachable| {
        let reply = ListReply::decode(&frame, reachable).unwrap();
        reply.servers.iter().map(|server| server.address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found(Reachable::Public), everything[..1]);
    assert_eq!(found(Reachable::Everywhere), everything[..6]);
    assert!(ListReply::decode(&list(&everything[1..]).encode(1, SQNUM), Reachable::Public).is_err());
    assert_eq!(list(&everything[..4]).encode(1, SQNUM).to_plain().len(), 176, "as long as a real one");
}

#[test]
fn a_list_is_found_wherever_it_stands_and_its_ports_are_big_endian() {
    let whole = list(&["3.13.212.24", "52.40.221.253"]);
    let payload = whole.encode(1, SQNUM).payload;
    for shift in (0..40).step_by(4) {
        let moved = [vec![0; shift], payload[4..].to_vec()].concat();
        assert_eq!(ListReply::find(&moved, Reachable::Public).as_ref(), Ok(&whole), "behind {shift} bytes");
    }
    assert_eq!(payload[8 + 24..8 + 26], 28_800_u16.to_be_bytes());
    assert!(ListReply::find(&payload[5..], Reachable::Public).is_err());
}

#[test]
fn inner_messages_are_told_apart() {
    let detect = NetworkDetect::new(7, 6, [192, 168, 1, 2].into());
    let frame = detect.encode(FROM, SQNUM, 0);
    assert_eq!((frame.proto, frame.to_plain().len()), (Proto::Session, 208));
    assert_eq!(Inner::decode(&frame), Ok(Inner::NetworkDetect(detect)));
    assert!(matches!(Inner::decode(&control().frame), Ok(Inner::Control(_))));
    assert!(matches!(Inner::decode(&data(b"").frame), Ok(Inner::Data(_))));
    let mut short = data(b"an MTP frame").frame;
    short.payload[24] = 13;
    assert!(Inner::decode(&short).is_err(), "longer than the frame that it came in");
}

#[test]
fn debug_shows_no_key() {
    let by_token = SubscribeByToken { extra: vec![0xAB; 80] };
    let frame = calling().encode(FROM, SQNUM);
    let shown =
        format!("{:?} {frame:?} {:?} {:?} {:?} {by_token:?}", calling(), random(), session(), certify_request());
    let secrets = ["171", "ab", "AB", "90", "5a", "5A"];
    assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
}
