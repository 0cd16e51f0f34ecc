//! Every entry of `tests/vectors/tutk/tutk.json` (made by go2rtc, see ORIGIN.md beside it) holds for our
//! codecs, and no entry goes unnoticed.

use std::time::{Duration, Instant};

use doorstep::proto::tutk::cc51::{self, Direction, HmacKey};
use doorstep::proto::tutk::frame::{AudioFlags, CodecId, FrameInfo, MediaPacket, split_sound};
use doorstep::proto::tutk::iotc::{self, DiscoRequest, SessionRequest, Stage};
use doorstep::proto::tutk::kcommand::{
    AuthRequest, Challenge, ChallengeResponse, ControlChannel, IoCtrl, KCommand, MediaType, Resolution,
    ResolutionCommand,
};
use doorstep::proto::tutk::keys::{AuthKey, Psk, Uid};
use doorstep::proto::tutk::login::{Ack, AvLogin, AvLoginResponse};
use doorstep::proto::tutk::reassembly::Reassembly;
use doorstep::proto::tutk::talk::TalkFrame;
use doorstep::proto::tutk::{Channel, transcode, xxtea};
use serde_json::Value;
use sha2::{Digest, Sha256};

struct Vector {
    name: String,
    inputs: Value,
    output: Vec<u8>,
}

impl Vector {
    fn text(&self, key: &str) -> &str {
        self.inputs[key].as_str().unwrap_or_else(|| panic!("{}: no text `{key}`", self.name))
    }

    fn number(&self, key: &str) -> u64 {
        self.inputs[key].as_u64().unwrap_or_else(|| panic!("{}: no number `{key}`", self.name))
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        unhex(self.text(key))
    }

    fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        self.bytes(key).try_into().unwrap_or_else(|_| panic!("{}: `{key}` is not {N} bytes", self.name))
    }

    fn uid(&self) -> Uid {
        Uid::parse(self.text("uid")).unwrap()
    }

    fn auth_key(&self) -> AuthKey {
        AuthKey::derive(self.text("enr"), self.text("mac"))
    }

    fn hmac_key(&self) -> HmacKey {
        HmacKey::new(&self.uid(), &self.auth_key())
    }

    fn channel(&self) -> Channel {
        if self.number("channel") == 0 { Channel::Main } else { Channel::Back }
    }

    fn expect(&self, got: impl AsRef<[u8]>) {
        assert_eq!(hex(got.as_ref()), hex(&self.output), "{}", self.name);
    }
}

fn vectors() -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/tutk/tutk.json");
    let entries: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let vector = |entry: &Value| Vector {
        name: entry["name"].as_str().unwrap().to_owned(),
        inputs: entry["inputs"].clone(),
        output: unhex(entry["output_hex"].as_str().unwrap()),
    };
    entries.iter().map(vector).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

type Check = fn(&Vector);

/// The longest prefix that a name begins with decides who checks it.
const CHECKS: &[(&str, Check)] = &[
    ("transcode_core_fwd_", transcode_core_forward),
    ("transcode_core_rev_", transcode_core_reverse),
    ("transcode_packet_fwd_", transcode_packet_forward),
    ("transcode_packet_rev_", transcode_packet_reverse),
    ("xxtea_decvar_", xxtea_decrypt),
    ("authkey_", |v| v.expect(v.auth_key().as_bytes())),
    ("psk_", |v| v.expect(Psk::derive(v.text("enr")).as_bytes())),
    ("hmac_", hmac),
    ("old_disco_stage1_plain", |v| v.expect(disco(v, Stage::Broadcast(v.auth_key())).encode_plain())),
    ("old_disco_stage1_wire", |v| on_the_wire(v, &disco(v, Stage::Broadcast(v.auth_key())))),
    ("old_disco_stage2_plain", |v| v.expect(disco(v, Stage::Direct).encode_plain())),
    ("old_disco_stage2_wire", |v| on_the_wire(v, &disco(v, Stage::Direct))),
    ("old_session_request_plain", |v| v.expect(session_request(v).encode_plain())),
    ("old_session_request_wire", |v| on_the_wire(v, &session_request(v))),
    ("old_data_tx_ch0_plain", |v| v.expect(data_tx(v).encode_plain())),
    ("old_data_tx_ch1_plain", |v| v.expect(data_tx(v).encode_plain())),
    ("old_data_tx_ch0_wire", |v| on_the_wire(v, &data_tx(v))),
    ("old_data_tx_ch1_wire", |v| on_the_wire(v, &data_tx(v))),
    ("old_keepalive_reply_plain", keepalive_reply),
    ("new_disco_seq", new_discovery),
    ("new_dtls_tx_ch", new_dtls),
    ("new_keepalive_first", |v| new_keepalive(v, 2)),
    ("new_keepalive_second", |v| new_keepalive(v, 4)),
    ("av_login_1", |v| login(v, 0)),
    ("av_login_2", |v| login(v, 1)),
    ("av_login_response", login_response),
    ("ack_third_rx7", ack),
    ("ioctrl_", ioctrl),
    ("k10000", |v| k_command(v, &AuthRequest::default().command())),
    ("k10002", k10002),
    ("k10002_response_", |v| v.expect(challenge(v).answer(v.text("enr")))),
    ("k10010_", k10010),
    ("k10052_", |v| resolution(v, ResolutionCommand::Db)),
    ("k10056_", |v| resolution(v, ResolutionCommand::General)),
    ("frameinfo_", frame_info),
    ("audio_flags_", audio_flags),
    ("audio_tx_", audio_tx),
    ("header_cont_idx40", |v| header(v, 40)),
    ("header_end_marker", |v| header(v, 44)),
    ("reassembly_", reassembly),
];

#[test]
fn every_vector_holds() {
    let mut unused: Vec<&str> = CHECKS.iter().map(|(prefix, _)| *prefix).collect();
    let vectors = vectors();
    for vector in &vectors {
        let fitting = CHECKS.iter().filter(|(prefix, _)| vector.name.starts_with(prefix));
        let (prefix, check) = fitting
            .max_by_key(|(prefix, _)| prefix.len())
            .unwrap_or_else(|| panic!("nobody checks the vector `{}`", vector.name));
        check(vector);
        unused.retain(|other| other != prefix);
    }
    assert_eq!(vectors.len(), 269, "the number that ORIGIN.md gives");
    assert_eq!(unused, Vec::<&str>::new(), "checks without a vector");
}

fn transcode_core_forward(v: &Vector) {
    let mut bytes = v.bytes("plain_hex");
    transcode::encipher_run(&mut bytes);
    v.expect(bytes);
}

fn transcode_core_reverse(v: &Vector) {
    let mut bytes = v.bytes("cipher_hex");
    transcode::decipher_run(&mut bytes);
    v.expect(bytes);
}

fn transcode_packet_forward(v: &Vector) {
    let mut bytes = v.bytes("plain_hex");
    transcode::encipher(&mut bytes);
    v.expect(bytes);
}

fn transcode_packet_reverse(v: &Vector) {
    let mut bytes = v.bytes("cipher_hex");
    transcode::decipher(&mut bytes);
    v.expect(bytes);
}

fn xxtea_decrypt(v: &Vector) {
    let key = xxtea::Key::new(v.text("key_ascii").as_bytes().try_into().unwrap());
    let data = v.bytes("data_hex");
    let mut words: Vec<u32> = data.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    xxtea::decrypt_words(&mut words, &key);
    v.expect(words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
    xxtea::encrypt_words(&mut words, &key);
    let back: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(back, data, "{}: the way back", v.name);
}

fn hmac(v: &Vector) {
    assert_eq!(v.auth_key().as_bytes(), v.text("authkey").as_bytes(), "{}", v.name);
    let signed = v.bytes("hmac_input_hex");
    v.expect(v.hmac_key().sign(&signed));
    assert!(v.hmac_key().verify(&signed, &v.output), "{}", v.name);
}

fn disco(v: &Vector, stage: Stage) -> iotc::Packet {
    iotc::Packet::DiscoRequest(DiscoRequest { uid: v.uid(), session_id: v.array("sid_hex"), stage })
}

fn session_request(v: &Vector) -> iotc::Packet {
    let unix_time = v.number("unix_time") as u32;
    iotc::Packet::SessionRequest(SessionRequest { uid: v.uid(), session_id: v.array("sid_hex"), unix_time })
}

fn data_tx(v: &Vector) -> iotc::Packet {
    iotc::Packet::DataTx(iotc::Data {
        sequence: v.number("seq") as u16,
        session_id: v.array("sid_hex"),
        channel: v.channel(),
        payload: v.bytes("payload_hex"),
    })
}

fn on_the_wire(v: &Vector, packet: &iotc::Packet) {
    v.expect(packet.encode());
    assert_eq!(iotc::Packet::decode(&v.output).as_ref(), Ok(packet), "{}", v.name);
}

fn keepalive_reply(v: &Vector) {
    let token = v.bytes("incoming_body_hex")[..8].try_into().unwrap();
    v.expect(iotc::Packet::KeepaliveRequest { echo: token }.encode_plain());
}

fn new_packet(v: &Vector, packet: cc51::Packet, key: &HmacKey) {
    v.expect(packet.encode(key));
    let received = cc51::Received { packet, authentic: true };
    assert_eq!(cc51::Packet::decode(&v.output, key), Ok(received), "{}", v.name);
}

fn new_discovery(v: &Vector) {
    let is_response = v.inputs["response"].as_bool().unwrap();
    let packet = cc51::Packet::Discovery(cc51::Discovery {
        direction: if is_response { Direction::Response } else { Direction::Request },
        sequence: v.number("seq") as u16,
        ticket: v.number("ticket") as u16,
        session_id: v.array("sid_hex"),
    });
    new_packet(v, packet, &v.hmac_key());
}

/// The key behind the NEW packets that do not name one: that of the other vectors of the family.
fn usual_hmac_key() -> HmacKey {
    let uid = Uid::parse("HSBJYB5HSETGCDWD111A").unwrap();
    HmacKey::new(&uid, &AuthKey::derive("aKzdqckqZ8HUHFe5", "AABBCCDDEEFF"))
}

fn new_dtls(v: &Vector) {
    let packet = cc51::Packet::Dtls(cc51::Dtls {
        direction: Direction::Request,
        channel: v.channel(),
        ticket: v.number("ticket") as u16,
        session_id: v.array("sid_hex"),
        payload: v.bytes("payload_hex"),
    });
    new_packet(v, packet, &usual_hmac_key());
}

fn new_keepalive(v: &Vector, counter: u32) {
    let session_id = v.array("sid_hex");
    let packet = cc51::Keepalive { direction: Direction::Request, counter, session_id };
    new_packet(v, cc51::Packet::Keepalive(packet), &v.hmac_key());
}

fn login(v: &Vector, which: usize) {
    let logins = AvLogin::pair(v.text("enr"), v.array("random_id_hex"));
    v.expect(logins[which].encode());
    assert_eq!(AvLogin::decode(&v.output).as_ref(), Ok(&logins[which]), "{}", v.name);
}

fn login_response(v: &Vector) {
    let checksum = u32::from_str_radix(v.text("checksum").trim_start_matches("0x"), 16).unwrap();
    let response = AvLoginResponse::accept(checksum.to_le_bytes());
    v.expect(response.encode());
    assert_eq!(AvLoginResponse::decode(&v.output), Ok(response));
}

fn ack(v: &Vector) {
    let rx_end = v.number("rx_end") as u16;
    let ack = Ack { av_seq: v.number("av_seq") as u32, rx_start: rx_end, rx_end, count: 3, clock_ms: 0 };
    v.expect(ack.encode());
    assert_eq!(Ack::decode(&v.output), Ok(ack));
}

fn ioctrl(v: &Vector) {
    let frame = IoCtrl {
        av_seq: v.number("av_seq") as u32,
        command_seq: v.number("cmd_seq") as u16,
        command: KCommand::decode(&v.bytes("payload_hex")).unwrap(),
    };
    v.expect(frame.encode());
    assert_eq!(IoCtrl::decode(&v.output), Ok(frame));
}

fn k_command(v: &Vector, command: &KCommand) {
    v.expect(command.encode());
    assert_eq!(KCommand::decode(&v.output).as_ref(), Ok(command), "{}", v.name);
}

fn challenge(v: &Vector) -> Challenge {
    Challenge { status: v.number("status") as u8, challenge: v.array("challenge_hex") }
}

fn k10002(v: &Vector) {
    let answer = challenge(v).answer(v.text("enr"));
    let response = ChallengeResponse { answer, session_id: v.array("session_id_hex"), video: true, audio: true };
    k_command(v, &response.command());
    assert_eq!(ChallengeResponse::decode(&response.command()), Ok(response));
}

fn k10010(v: &Vector) {
    let media = match v.number("media") {
        1 => MediaType::Video,
        2 => MediaType::Audio,
        3 => MediaType::ReturnAudio,
        _ => MediaType::Rdt,
    };
    let control = ControlChannel { media, enable: v.inputs["enable"].as_bool().unwrap() };
    k_command(v, &control.command());
    assert_eq!(ControlChannel::decode(&control.command()), Ok(control));
}

fn resolution(v: &Vector, kind: ResolutionCommand) {
    let resolution = Resolution { frame_size: v.number("frame_size") as u8, bitrate: v.number("bitrate") as u16 };
    k_command(v, &resolution.command(kind));
    assert_eq!(Resolution::decode(&resolution.command(kind)), Ok((kind, resolution)));
}

fn frame_info(v: &Vector) {
    let info = FrameInfo::decode(&v.bytes("packet_tail_hex")).unwrap();
    v.expect(info.encode());
    if v.name == "frameinfo_video" {
        let read = (info.codec, info.flags, info.online_num, info.fps, info.frame_size, info.bitrate);
        assert_eq!(read, (CodecId::H264, 1, 2, 20, 4, 200));
        let numbers = (info.timestamp_us, info.timestamp_s, info.payload_size, info.frame_no);
        assert_eq!(numbers, (10_000, 305_419_896, 300, 7));
    }
}

fn audio_flags(v: &Vector) {
    let flags = v.number("flags") as u8;
    let expected = match flags {
        0x0E => AudioFlags { rate_hz: 16_000, channels: 1 },
        0x0F => AudioFlags { rate_hz: 16_000, channels: 2 },
        0x22 => AudioFlags { rate_hz: 48_000, channels: 1 },
        other => panic!("{}: {other:#x} is new", v.name),
    };
    assert_eq!(AudioFlags::from_wire(flags), expected);
    v.expect([expected.to_wire()]);
}

fn audio_tx(v: &Vector) {
    let (_, frame_no) = v.name.rsplit_once('_').unwrap();
    let flags = AudioFlags { rate_hz: v.number("rate") as u32, channels: v.number("channels") as u8 };
    let frame = TalkFrame {
        frame_no: frame_no.parse().unwrap(),
        timestamp_us: v.number("timestamp_us") as u32,
        codec: CodecId::from_wire(v.number("codec") as u16).unwrap(),
        flags: flags.to_wire(),
        payload: v.bytes("payload_hex"),
    };
    v.expect(frame.encode());
    assert_eq!(TalkFrame::decode(&v.output), Ok(frame), "{}", v.name);
}

fn header(v: &Vector, index: u16) {
    let packet = MediaPacket::decode(&v.bytes("packet_hex")).unwrap();
    assert_eq!((packet.header.index(), packet.header.total, packet.header.frame_no), (index, 45, 9), "{}", v.name);
    assert_eq!(packet.header.carries_info(), index == 44, "{}", v.name);
    v.expect(packet.encode());
}

/// Each frame as go2rtc's record of it says: `EMIT ch=05 codec=4e len=210 key=true frameNo=1 …`, but for
/// `ts`, which is go2rtc's own clock (ours is tested in `timeline`).
fn reassembly(v: &Vector) {
    let recorded = String::from_utf8(v.output.clone()).unwrap();
    let theirs: Vec<String> = recorded.split(" | ").filter(|line| !line.is_empty()).map(without_clock).collect();
    let ours = reassemble(v);
    match v.name.as_str() {
        // go2rtc starts over at any packet that is not the next one, and loses the frame. A swapped
        // packet, a repeated one or a frame sent anew from its start are all there in the end, so we
        // deliver them: all of the data has passed the size check.
        "reassembly_iframe_out_of_order" => {
            assert_eq!(ours.len(), 2, "{}: {ours:?}", v.name);
            assert_eq!(ours[1..], theirs[..], "{}", v.name);
        }
        "reassembly_iframe_duplicate" | "reassembly_iframe_restart_midway" => {
            assert_eq!(theirs, Vec::<String>::new());
            assert_eq!(ours.len(), 1, "{}: {ours:?}", v.name);
            assert!(ours[0].contains("len=210 key=true frameNo=1 "), "{}: {ours:?}", v.name);
        }
        _ => assert_eq!(ours, theirs, "{}", v.name),
    }
}

fn without_clock(line: &str) -> String {
    line.split(' ').filter(|word| !word.starts_with("ts=")).collect::<Vec<_>>().join(" ")
}

#[expect(clippy::disallowed_methods, reason = "reassembly needs some moment to count from")]
fn reassemble(v: &Vector) -> Vec<String> {
    let mut reassembly = Reassembly::default();
    let mut now = Instant::now();
    for packet in v.inputs["packets_hex"].as_array().unwrap() {
        now += Duration::from_millis(1);
        reassembly.push(now, MediaPacket::decode(&unhex(packet.as_str().unwrap())).unwrap());
    }
    reassembly.on_timeout(now + Duration::from_secs(1));
    let record = |frame: doorstep::proto::tutk::reassembly::Assembled| {
        let is_audio = frame.info.codec.is_audio();
        // go2rtc takes ADTS headers off later, so its record is of the frame as it came.
        let (sound, _) = split_sound(&frame.info, &frame.data);
        let (rate, channels) = if is_audio { (sound.rate_hz, sound.channels) } else { (0, 0) };
        format!(
            "EMIT ch={:02x} codec={:02x} len={} key={} frameNo={} rate={rate} chans={channels} sha256={}",
            frame.channel.to_wire(),
            frame.info.codec.to_wire(),
            frame.data.len(),
            !is_audio && frame.info.flags == 1,
            frame.frame_no,
            &hex(&Sha256::digest(&frame.data))[..16],
        )
    };
    std::iter::from_fn(|| reassembly.poll()).map(record).collect()
}
