//! What the public Go client wrote and read (tests/vectors/gwell), written and read by us: every vector of the two
//! files, and none that is not known here.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;

use super::calling::{Calling, MtpRequest};
use super::certify::{self, CertifyRandom, CertifyReply, CertifyRequest};
use super::devices::{DeviceList, InitInfo};
use super::directory::{DetectRequest, ListReply, ListRequest, Reachable};
use super::gutes::{Flags, Frame, Identity, Kind, Mode};
use super::hash::{giot_hash, nonce_key};
use super::passthrough::{Inner, PassthroughControl, PassthroughData};
use super::port_status::{Heartbeat, PortKind, PortStatus};
use super::rc5::{Rc5, Rc5Wide};
use super::subscribe::{SubscribeById, SubscribeByToken};
use super::token::AccessToken;

const CRYPTO: &str = include_str!("../../../tests/vectors/gwell/crypto.json");
const GUTES: &str = include_str!("../../../tests/vectors/gwell/gutes.json");

struct Vector(Value);

impl Vector {
    fn all(file: &str) -> Vec<Self> {
        serde_json::from_str::<Vec<Value>>(file).unwrap().into_iter().map(Self).collect()
    }

    fn name(&self) -> &str {
        self.0["name"].as_str().unwrap()
    }

    fn output(&self) -> Vec<u8> {
        unhex(self.0["output_hex"].as_str().unwrap())
    }

    fn text(&self, input: &str) -> &str {
        self.0["inputs"][input].as_str().unwrap_or_else(|| panic!("{} has no {input}", self.name()))
    }

    fn bytes(&self, input: &str) -> Vec<u8> {
        unhex(self.text(input))
    }

    fn array<const N: usize>(&self, input: &str) -> [u8; N] {
        self.bytes(input).try_into().unwrap()
    }

    fn number(&self, input: &str) -> u64 {
        let value = &self.0["inputs"][input];
        let hex = |text: &str| text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16).unwrap());
        let text = |value: &Value| value.as_str().map(|text| hex(text).unwrap_or_else(|| text.parse().unwrap()));
        value.as_u64().or_else(|| text(value)).unwrap_or_else(|| panic!("{} has no {input}", self.name()))
    }

    fn token(&self) -> AccessToken {
        AccessToken::parse(self.text("access_id"), self.text("access_token")).unwrap()
    }

    fn session(&self) -> Option<Rc5> {
        self.0["inputs"].get("session_key_hex").map(|_| Rc5::new(&self.bytes("session_key_hex")))
    }

    fn identity(&self) -> Identity {
        match unhex(self.text("plain_frame_hex"))[0] {
            0x7E => Identity::Session(self.number("routing_session_id_hex")),
            _ => Identity::Terminal(self.access_id()),
        }
    }

    /// The frame before it was enciphered. Some were noted before their checksum was filled in.
    fn plain(&self) -> Frame {
        let mut bytes = self.bytes("plain_frame_hex");
        let unsummed = Frame::of_plain(&bytes).is_err();
        if unsummed {
            assert_eq!(bytes[16..20], [0; 4], "{}", self.name());
            bytes[22] |= 0x20;
        }
        let mut frame = Frame::of_plain(&bytes).unwrap();
        if unsummed {
            frame.flags = Flags(frame.flags.0 & !Flags::RESPONSE);
            frame.acked = None;
        }
        frame
    }

    fn access_id(&self) -> u64 {
        self.number("access_id")
    }

    fn sqnum(&self) -> u32 {
        self.number("sqnum") as u32
    }

    fn link_id(&self) -> u32 {
        self.number("link_id_hex") as u32
    }

    fn tid(&self) -> u64 {
        self.number("device_tid_hex")
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "{digits}");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_crypto_vector_comes_out() {
    let vectors = Vector::all(CRYPTO);
    assert_eq!(vectors.len(), 56);
    for vector in &vectors {
        assert_eq!(crypto(vector), vector.output(), "{}", vector.name());
    }
}

fn crypto(vector: &Vector) -> Vec<u8> {
    let name = vector.name();
    let starts = |prefix: &str| name.starts_with(prefix);
    match () {
        () if starts("rc5_32_6_schedule_") => schedule(vector),
        () if starts("rc5_32_6_enc_") => pass(vector, "plain_hex", |key, data| Rc5::new(key).encrypt(data)),
        () if starts("rc5_32_6_dec_") => pass(vector, "cipher_hex", |key, data| Rc5::new(key).decrypt(data)),
        () if starts("rc5_64_6_enc_") => pass(vector, "plain_hex", |key, data| Rc5Wide::new(key).encrypt(data)),
        () if starts("rc5_64_6_dec_") => pass(vector, "cipher_hex", |key, data| Rc5Wide::new(key).decrypt(data)),
        () if starts("xor_") => xor(vector),
        () if starts("giot_hash_") => giot_hash(&vector.bytes("data_hex")).to_le_bytes().to_vec(),
        () if starts("aes_key_from_nonce_") => nonce_key(&vector.bytes("nonce_hex")).to_vec(),
        () if starts("aes128_cbc_tokendata_") => aes(vector),
        () if name == "sum16_60bytes" => {
            let data = vector.bytes("data_hex");
            let (nonce, token_data) = data.split_at(12);
            let sum = certify::sum(nonce.try_into().unwrap(), token_data.try_into().unwrap());
            sum.to_le_bytes().to_vec()
        }
        () if name == "token_parse_key" => vector.token().certify_key().to_vec(),
        () if ["token_parse_id_words", "token_parse_signed_id"].contains(&name) => {
            let token = AccessToken::parse(vector.text("access_id"), &"00".repeat(64)).unwrap();
            token.access_id().to_le_bytes().to_vec()
        }
        () => panic!("nothing here knows the vector {name}"),
    }
}

fn pass(vector: &Vector, input: &str, over: impl Fn(&[u8], &mut [u8])) -> Vec<u8> {
    let mut data = vector.bytes(input);
    over(&vector.bytes("key_hex"), &mut data);
    data
}

/// The cipher keeps its subkeys to itself, so RC5 as the books have it is done with the vector's, and compared.
fn schedule(vector: &Vector) -> Vec<u8> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let subkeys: Vec<u32> = vector.output().chunks_exact(4).map(word).collect();
    let cipher = Rc5::new(&vector.bytes("key_hex"));
    for seed in 0..64_u64 {
        let mut block = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        let (mut a, mut b) = (word(&block[..4]).wrapping_add(subkeys[0]), word(&block[4..]).wrapping_add(subkeys[1]));
        for round in subkeys[2..].chunks_exact(2) {
            a = (a ^ b).rotate_left(b % 32).wrapping_add(round[0]);
            b = (b ^ a).rotate_left(a % 32).wrapping_add(round[1]);
        }
        cipher.encrypt(&mut block);
        assert_eq!(block, *[a.to_le_bytes(), b.to_le_bytes()].as_flattened(), "{}", vector.name());
    }
    assert_eq!(subkeys.len(), 14);
    vector.output()
}

/// Nothing on the wire is made like this (§1.5), so no codec has it.
fn xor(vector: &Vector) -> Vec<u8> {
    let key = vector.bytes("key_hex");
    let masks = key.iter().cycle().chain(std::iter::repeat(&0));
    vector.bytes("data_hex").iter().zip(masks).map(|(byte, mask)| byte ^ mask).collect()
}

fn aes(vector: &Vector) -> Vec<u8> {
    let (nonce, plain) = (vector.array("nonce_hex"), vector.array("plain_hex"));
    let sealed = certify::seal_token_data(&nonce, &plain);
    assert_eq!(certify::open_token_data(&nonce, &sealed), plain);
    sealed.to_vec()
}

#[test]
fn every_gutes_vector_comes_out() {
    let vectors = Vector::all(GUTES);
    assert_eq!(vectors.len(), 39);
    for vector in &vectors {
        let name = vector.name();
        match name {
            _ if name.starts_with("checksum_") => checksum(vector),
            _ if name.starts_with("frame_mode") => sealed(vector),
            _ if name.starts_with("trydecrypt_") => opened(vector),
            "frame_certify_req" => certify_request(vector, Mode::Header),
            "frame_certify_req_raw" => certify_request(vector, Mode::Clear),
            "parse_certify_resp_err3" => certify_reply(vector, CertifyReply::KICKED),
            "parse_certify_resp_err8020" => certify_reply(vector, CertifyReply::BAD_TOKEN),
            "parse_init_info_resp_a7" => device_list(vector),
            "parse_list_resp_loopback_refused" => list_reply(vector),
            _ if name.starts_with("frame_") => message(vector),
            _ => panic!("nothing here knows the vector {name}"),
        }
    }
}

fn checksum(vector: &Vector) {
    let mut bytes = vector.bytes("frame_hex");
    bytes[16..20].copy_from_slice(&vector.output());
    let frame = Frame::of_plain(&bytes).unwrap_or_else(|error| panic!("{}: {error}", vector.name()));
    assert_eq!(frame.checksum().to_le_bytes(), *vector.output(), "{}", vector.name());
}

fn sealed(vector: &Vector) {
    let (frame, session) = (vector.plain(), vector.session());
    assert_eq!(frame.seal(session.as_ref()), vector.output(), "{}", vector.name());
    assert_eq!(Frame::open(&vector.output(), session.as_ref()), Ok(frame), "{}", vector.name());
}

fn opened(vector: &Vector) {
    let opened = Frame::open(&vector.bytes("wire_hex"), vector.session().as_ref());
    match vector.text("accepted_as") {
        "" => assert!(opened.is_err(), "{}", vector.name()),
        mode => {
            let frame = opened.unwrap_or_else(|error| panic!("{}: {error}", vector.name()));
            assert_eq!(frame.to_plain(), vector.output(), "{}", vector.name());
            let number = match frame.flags.mode().unwrap() {
                Mode::Clear => "mode-0",
                Mode::Header => "mode-1",
                Mode::Session => "mode-2",
            };
            assert_eq!(number, mode, "{}", vector.name());
        }
    }
}

fn certify_request(vector: &Vector, mode: Mode) {
    let session_key = vector.array("random_key_hex");
    let flags = Flags(vector.number("flags_hex") as u32).nonce();
    let random = CertifyRandom { session_key, nonce: vector.array("nonce_hex"), flags };
    let token = vector.token();
    let request = CertifyRequest::new(&token, &random, vector.sqnum(), vector.number("ntp_ms"));
    assert_eq!(request.encode().seal_in(mode, None), vector.output(), "{}", vector.name());
    let received = CertifyRequest::decode(&Frame::open(&vector.output(), None).unwrap()).unwrap();
    assert_eq!(received, request);
    assert_eq!(received.unix_ms(), vector.number("ntp_ms"));
    let mut blocks = [[7; 8]; 2];
    received.verify(&token).unwrap().encrypt(&mut blocks[0]);
    random.session().encrypt(&mut blocks[1]);
    assert_eq!(blocks[0], blocks[1], "the server has another session key");
}

fn certify_reply(vector: &Vector, code: u16) {
    let reply = CertifyReply::decode(&Frame::open(&vector.bytes("wire_hex"), None).unwrap()).unwrap();
    assert_eq!(reply.code, code, "{}", vector.name());
}

fn device_list(vector: &Vector) {
    let list = DeviceList::of_payload(&vector.bytes("payload_hex")).unwrap();
    let expected = vector.0["inputs"]["parsed"].as_array().unwrap();
    let named: Vec<(u64, &str)> = list.devices.iter().map(|device| (device.tid, device.name.as_str())).collect();
    let expected: Vec<(u64, &str)> =
        expected.iter().map(|device| (device["TID"].as_u64().unwrap(), device["Name"].as_str().unwrap())).collect();
    assert_eq!(named, expected);
    assert_eq!(list.encode(Identity::Session(1), 1).payload, vector.bytes("payload_hex"));
}

fn list_reply(vector: &Vector) {
    assert_eq!(vector.number("servers"), 0);
    let payload = &vector.bytes("response_hex")[24..];
    assert!(ListReply::find(payload, Reachable::Public).is_err());
    let found = ListReply::find(payload, Reachable::Everywhere).unwrap();
    let [server] = &found.servers[..] else { panic!("{found:?}") };
    assert_eq!(server.socket_address(), SocketAddr::from(([127, 0, 0, 1], 28_800)));
}

/// What our structs make is what the client made, and what they read of that is what they were.
fn message(vector: &Vector) {
    let frame = match vector.name() {
        "frame_init_info_a6" => InitInfo { access_id: vector.access_id(), sqnum: vector.sqnum() }.encode(),
        "frame_subscribe_devid_b0" | "frame_subscribe_devid_b0_presession" => subscribe_by_id(vector),
        "frame_subscribe_token_b0" => subscribe_by_token(vector),
        "frame_calling_a4_lan" => calling(vector, true, false),
        "frame_calling_a4_lanflag" => calling(vector, true, true),
        "frame_calling_a4_relay_presession" => calling(vector, false, false),
        "frame_heartbeat_a0" => Heartbeat { access_id: vector.access_id(), sqnum: vector.sqnum() }.encode(),
        "frame_mtp_res_request_a2" => mtp_request(vector),
        "frame_port_stat_req_ca" => port_status(vector, PortKind::Probe, PortStatus::encode),
        "frame_port_stat_resp_cb" => port_status(vector, PortKind::Probe, PortStatus::encode_reply),
        "frame_online_keepalive_ca_3" => port_status(vector, PortKind::Online, PortStatus::encode),
        "frame_passthrough_control_b9" => passthrough_control(vector),
        "frame_passthrough_data_b9" => passthrough_data(vector),
        // The client sends it as it stands here, in the clear.
        "frame_list_request_15" => ListRequest::decode(&vector.plain()).unwrap().encode(),
        "frame_detect_req2_01" => DetectRequest::decode(&vector.plain()).unwrap().encode(),
        "frame_detect_req_17" => keepalive(vector),
        name => panic!("nothing here knows the vector {name}"),
    };
    assert_eq!(frame.to_plain(), vector.bytes("plain_frame_hex"), "{}", vector.name());
    sealed(vector);
}

fn subscribe_by_id(vector: &Vector) -> Frame {
    let request = SubscribeById { access_id: vector.access_id() };
    let frame = request.encode(vector.identity(), vector.sqnum());
    assert_eq!(SubscribeById::decode(&frame), Ok(request));
    assert!(SubscribeByToken::decode(&frame).is_err());
    frame
}

fn subscribe_by_token(vector: &Vector) -> Frame {
    let request = SubscribeByToken { extra: vector.bytes("token_data_hex") };
    assert_eq!(vector.token().extra(), request.extra);
    let frame = request.encode(vector.identity(), vector.sqnum());
    assert_eq!(SubscribeByToken::decode(&frame), Ok(request));
    assert!(SubscribeById::decode(&frame).is_err());
    frame
}

fn mtp_request(vector: &Vector) -> Frame {
    let request = MtpRequest { link_id: vector.link_id(), caller: vector.access_id(), callee: vector.tid() };
    let frame = request.encode(vector.identity());
    assert_eq!(MtpRequest::decode(&frame), Ok(request));
    frame
}

fn passthrough_control(vector: &Vector) -> Frame {
    let command = PassthroughControl::CREATE_KCP;
    assert_eq!(u64::from(command), vector.number("command"));
    let (access_id, link_id) = (vector.access_id(), vector.link_id());
    let control = PassthroughControl { tid: vector.tid(), access_id, command, link_id };
    let frame = control.encode(vector.identity(), vector.sqnum());
    assert_eq!(Inner::decode(&frame), Ok(Inner::Control(control)));
    frame
}

fn passthrough_data(vector: &Vector) -> Frame {
    let (message_id, mtp) = (vector.number("msg_id") as u32, vector.bytes("payload_hex"));
    let data = PassthroughData { tid: vector.tid(), access_id: vector.access_id(), message_id, mtp };
    let frame = data.encode(vector.identity(), vector.sqnum());
    assert_eq!(Inner::decode(&frame), Ok(Inner::Data(data)));
    frame
}

/// The client can make it and never sends it, so there is nothing to make it of.
fn keepalive(vector: &Vector) -> Frame {
    let frame = vector.plain();
    assert_eq!(frame.kind, Kind::Keepalive);
    frame
}

fn calling(vector: &Vector, by_lan: bool, lan: bool) -> Frame {
    let address: Ipv4Addr = if by_lan { vector.text("lan_ip").parse().unwrap() } else { Ipv4Addr::UNSPECIFIED };
    let port = if by_lan { vector.number("lan_port") as u16 } else { 0 };
    let (link_id, caller, callee) = (vector.link_id(), vector.access_id(), vector.tid());
    let calling = Calling { link_id, caller, callee, port, address, mtp_key: vector.array("mtp_key_hex"), lan };
    let frame = calling.encode(vector.identity(), vector.sqnum());
    assert_eq!(Calling::decode(&frame), Ok(calling));
    frame
}

fn port_status(vector: &Vector, kind: PortKind, encode: fn(&PortStatus, Identity) -> Frame) -> Frame {
    let status = PortStatus { tid: vector.tid(), link_id: vector.link_id(), kind, ports: [0; 4] };
    let frame = encode(&status, Identity::Session(vector.number("routing_session_id_hex")));
    assert_eq!(PortStatus::decode(&frame), Ok(status));
    frame
}
