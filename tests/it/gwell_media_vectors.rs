//! Every entry of `tests/vectors/gwell/media.json` (made by the public Go client, see ORIGIN.md beside it) holds for our
//! codecs.

use std::fs;

use doorstep::proto::gwell::av::{Demuxer, Media, Unit};
use doorstep::proto::gwell::control::{Control, Meter, Route, relay_registration};
use doorstep::proto::gwell::kcp::{Arq, Kcp, Windows, by_conversation, conversations};
use doorstep::proto::gwell::message::{Message, viewer_av_init};
use doorstep::proto::gwell::mtp::{Carrier, Mtp};
use doorstep::proto::gwell::rc5::Rc5;
use doorstep::proto::gwell::stream_control::{Action, Definition, StreamControl};
use serde_json::Value;

struct Vector(Value);

impl Vector {
    fn name(&self) -> &str {
        self.0["name"].as_str().unwrap()
    }

    fn text(&self, input: &str) -> &str {
        self.0["inputs"][input].as_str().unwrap_or_else(|| panic!("{} has no {input}", self.name()))
    }

    fn bytes(&self, input: &str) -> Vec<u8> {
        unhex(self.text(input))
    }

    /// A number in the text, decimal or hexadecimal.
    fn number(&self, input: &str) -> u64 {
        let text = self.text(input);
        let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
        parsed.unwrap_or_else(|error| panic!("{}: {input}: {error}", self.name()))
    }

    fn output(&self) -> Vec<u8> {
        unhex(self.0["output_hex"].as_str().unwrap())
    }

    fn key(&self) -> Rc5 {
        Rc5::new(&self.bytes("mtp_key_hex"))
    }

    fn ids(&self, sender: &str, receiver: &str) -> Route {
        let link_id = self.number("link_id_hex") as u32;
        Route { link_id, sender: self.number(sender), receiver: self.number(receiver) }
    }

    fn ms(&self) -> u64 {
        self.0["inputs"]["ms"].as_u64().unwrap()
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn every_vector_of_the_media_holds() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/gwell/media.json");
    let vectors: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(vectors.len(), 40);
    for vector in vectors.into_iter().map(Vector) {
        check(&vector);
    }
}

fn check(vector: &Vector) {
    let name = vector.name();
    match name {
        "mtp_relay_register" => {
            let route = vector.ids("calling_id", "called_id_hex");
            assert_eq!(relay_registration(route, vector.ms()), vector.output());
        }
        "mtp_create_kcp_25" => controls(vector, Control::Create(vector.ids("calling_id", "called_id_hex"))),
        "mtp_meter_probe_01" => {
            let meter = Meter::new(vector.0["inputs"]["round"].as_u64().unwrap() as u32, vector.ms());
            controls(vector, Control::Meter(vector.ids("src_id", "dst_id_hex"), meter));
        }
        "mtp_meter_ack_02" | "mtp_meter_ack_02_short" => {
            let request = vector.bytes("request_hex");
            let (Some(Control::Meter(route, meter)), []) = Control::split(&request).unwrap() else { panic!("{name}") };
            controls(vector, Control::ack(route, meter));
        }
        "conv_ids" => {
            let ids = conversations(vector.number("link_id_hex") as u32);
            assert_eq!([ids.data.to_le_bytes(), ids.ctrl.to_le_bytes()].concat(), vector.output());
        }
        "kcp_push" => made_by_hand(vector, 81),
        "kcp_ack" => made_by_hand(vector, 82),
        "kcp_engine_wins_0" => answers_the_window_ask(vector),
        "av_initreq" => {
            let control = StreamControl::init_req(vector.number("stream_id_hex") as u32, Definition::Hd);
            stream_controls(vector, &control);
        }
        "av_start" => {
            stream_controls(vector, &StreamControl::of(Action::Start, vector.number("stream_id_hex") as u32));
        }
        "av_init_viewer" => {
            assert_eq!(viewer_av_init(&vector.key()), vector.output());
            let plain = vector.bytes("plain_hex")[4..].to_vec();
            assert_eq!(Message::decode(&vector.output(), &vector.key()), Ok(Message::Av(plain)));
        }
        "parse_meter_plus_accept" => finds_the_acceptance(vector),
        "parse_meter_only" => {
            let frame = vector.bytes("mtp_frame_hex");
            let (control, segments) = Control::split(Mtp::decode(&frame).unwrap().payload).unwrap();
            assert!(matches!(control, Some(Control::Meter(..))));
            assert!(segments.is_empty());
        }
        "cmd_data_type2" => {
            let message = Message::decode(&vector.bytes("message_hex"), &vector.key()).unwrap();
            assert_eq!(message, Message::Command(vector.bytes("decrypted_in_place_hex")[4..].to_vec()));
            assert_eq!(message.encode(&vector.key()), vector.bytes("message_hex"));
        }
        "av_data_audio_subframe" => finds_the_sound(vector),
        _ if name.starts_with("mtp_checksum_") => checksums(vector),
        _ if name.starts_with("mtp_std_") || name.starts_with("mtp_ext_") => frames(vector),
        _ if name.starts_with("kcp_engine_push_") => sends_as_the_engine_does(vector),
        _ if name.starts_with("av_data_") => video(vector),
        _ => panic!("{name} is not tested"),
    }
}

fn frames(vector: &Vector) {
    let payload = vector.bytes("payload_hex");
    let urgent = vector.0["inputs"]["urgent"].as_bool().unwrap();
    let to = vector.0["inputs"].get("dest_tid_hex").map(|_| vector.number("dest_tid_hex"));
    let frame = Mtp { urgent, to, payload: &payload };
    assert_eq!(frame.encode(Carrier::Datagram), vector.output(), "{}", vector.name());
    assert_eq!(Mtp::decode(&vector.output()), Ok(frame), "{}", vector.name());
}

/// The vector's output is the checksum before the length goes in.
fn checksums(vector: &Vector) {
    let payload = vector.bytes("frame_hex").split_off(6);
    let frame = Mtp { urgent: false, to: None, payload: &payload }.encode(Carrier::Datagram);
    let raw = [frame[4] ^ frame[2], frame[5] ^ frame[3]];
    assert_eq!(raw.to_vec(), vector.output(), "{}", vector.name());
}

fn controls(vector: &Vector, control: Control) {
    assert_eq!(control.encode(), vector.output(), "{}", vector.name());
    assert_eq!(Control::split(&vector.output()), Ok((Some(control), &[][..])), "{}", vector.name());
}

fn stream_controls(vector: &Vector, control: &StreamControl) {
    assert_eq!(control.encode(), vector.output(), "{}", vector.name());
    assert_eq!(StreamControl::decode(&vector.output()), Ok(*control), "{}", vector.name());
}

/// The Go client's segments that do not come from its engine are taken, too.
fn made_by_hand(vector: &Vector, command: u8) {
    let segment = vector.output();
    assert_eq!(segment[4], command);
    let conversation = vector.number("conv_hex") as u32;
    let runs: Vec<_> = by_conversation(&segment).collect();
    assert_eq!(runs, [(conversation, &segment[..])]);
    let mut engine = Kcp::new(conversation, Windows::CTRL);
    let sn = vector.0["inputs"]["sn"].as_u64().unwrap();
    engine.update(0);
    for _ in 0..sn * u64::from(command == 82) + 1 {
        engine.send(b"to be acknowledged").unwrap();
    }
    engine.update(10);
    assert_eq!(engine.input(&segment), Ok(()), "{}", vector.name());
}

fn conversation() -> Kcp {
    let mut engine = Kcp::new(0x1ABC_DEF0, Windows::DATA);
    engine.update(1_000);
    engine
}

fn push_datagrams() -> Vec<Vec<u8>> {
    let mut engine = conversation();
    engine.send(b"hello").unwrap();
    engine.send(&(0..1_376).map(|at| at as u8).collect::<Vec<u8>>()).unwrap();
    engine.send(&(0..3_000).map(|at| (3 * at) as u8).collect::<Vec<u8>>()).unwrap();
    engine.update(1_010);
    std::iter::from_fn(|| engine.poll()).collect()
}

fn sends_as_the_engine_does(vector: &Vector) {
    let index = vector.0["inputs"]["datagram_index"].as_u64().unwrap() as usize;
    assert_eq!(push_datagrams()[index], vector.output(), "{}", vector.name());
}

/// The engine that is asked has taken the five segments above, and nobody has fetched their messages.
fn answers_the_window_ask(vector: &Vector) {
    let mut engine = conversation();
    push_datagrams().iter().for_each(|datagram| engine.input(datagram).unwrap());
    engine.update(1_010);
    while engine.poll().is_some() {}
    engine.input(&vector.bytes("input_hex")).unwrap();
    engine.update(1_040);
    assert_eq!(engine.poll(), Some(vector.output()));
    assert_eq!(engine.poll(), None);
}

fn finds_the_acceptance(vector: &Vector) {
    let frame = vector.bytes("mtp_frame_hex");
    let (control, segments) = Control::split(Mtp::decode(&frame).unwrap().payload).unwrap();
    let Some(Control::Meter(route, meter)) = control else { panic!("no meter") };
    assert_eq!((route.link_id, meter.round()), (0x9ABC_DEF0, 3));
    let mut engine = Kcp::new(conversations(route.link_id).ctrl, Windows::CTRL);
    engine.input(segments).unwrap();
    let message = Message::decode(&engine.recv().unwrap(), &Rc5::new(&[0; 8])).unwrap();
    assert_eq!(
        message,
        Message::Control(StreamControl {
            action: Action::Accept,
            stream_id: 0xCAFE_BABE,
            reason: 0,
            definition: Definition::Other(0xA0),
        })
    );
}

/// What a picture's data are that begins with the message, or goes on with it.
fn video(vector: &Vector) {
    let Ok(Message::Av(plain)) = Message::decode(&vector.bytes("message_hex"), &vector.key()) else {
        panic!("{} is no AV message", vector.name());
    };
    if vector.0["inputs"].get("plain_payload_hex").is_some() {
        assert_eq!(plain, vector.bytes("plain_payload_hex"), "{}", vector.name());
    }
    let mut demuxer = Demuxer::default();
    if !plain.starts_with(&[0xFF, 0xFF, 0xFF, 0x88]) {
        demuxer.push(&[&[0xFF, 0xFF, 0xFF, 0x88][..], &[0; 24]].concat());
    }
    demuxer.push(&plain);
    demuxer.flush();
    let video: Vec<u8> = units(&mut demuxer).into_iter().flat_map(|unit| unit.data).collect();
    assert_eq!(video, vector.output(), "{}", vector.name());
}

/// The Go client takes the sound for video: its output is what the demultiplexer must not say.
fn finds_the_sound(vector: &Vector) {
    let Ok(Message::Av(plain)) = Message::decode(&vector.bytes("message_hex"), &vector.key()) else { panic!("no AV") };
    assert_eq!(plain, vector.bytes("plain_payload_hex"));
    let mut demuxer = Demuxer::default();
    demuxer.push(&plain);
    let sound = Unit {
        media: Media::Audio,
        pts_us: 20_000,
        data: vector.output()[2..].to_vec().into(),
        damaged: false,
        gap: false,
    };
    assert_eq!(units(&mut demuxer), [sound]);
}

fn units(demuxer: &mut Demuxer) -> Vec<Unit> {
    demuxer.collect()
}
