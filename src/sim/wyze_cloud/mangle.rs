//! How faults garble an answer: what it says, and how it comes over the wire.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::fault::Fault;

const DRIP: Duration = Duration::from_millis(250);

/// Changes what an answer says.
pub(super) fn garble(fault: Fault, answer: &mut Value) {
    match fault {
        Fault::WrongTypes => match answer.as_object_mut() {
            // The code keeps its type, so that the rest is looked at.
            Some(fields) => fields.iter_mut().filter(|(key, _)| *key != "code").for_each(|(_, value)| confuse(value)),
            None => confuse(answer),
        },
        Fault::UnknownEnums => estrange(answer),
        Fault::MissingFields => rows(answer, |rows| rows.iter_mut().for_each(strip)),
        Fault::BrokenDevice => {
            if let Some(devices) = answer["data"]["device_list"].as_array_mut() {
                break_between(devices);
            }
        }
        Fault::DuplicateEvents => rows(answer, |rows| {
            *rows = rows.iter().flat_map(|row| [row.clone(), row.clone()]).collect();
        }),
        Fault::UnorderedEvents => rows(answer, |rows| {
            let middle = rows.len() / 2;
            rows.rotate_left(middle);
        }),
        _ => {}
    }
}

/// The devices or the events of an answer, where it has any.
fn rows(answer: &mut Value, change: impl Fn(&mut Vec<Value>)) {
    let data = &mut answer["data"];
    for list in ["device_list", "event_list"] {
        if let Some(rows) = data.get_mut(list).and_then(Value::as_array_mut) {
            change(rows);
        }
    }
}

/// Texts become numbers, numbers texts, and so on all the way down.
fn confuse(value: &mut Value) {
    match value {
        Value::String(_) => *value = json!(7),
        Value::Number(_) => *value = json!("seven"),
        Value::Bool(_) => *value = json!([]),
        Value::Array(items) => items.iter_mut().for_each(confuse),
        Value::Object(fields) => fields.values_mut().for_each(confuse),
        Value::Null => {}
    }
}

/// Puts a value that nobody knows where a list of them is known.
fn estrange(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(estrange),
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| match key.as_str() {
            "product_type" => *value = json!("Hologram"),
            "product_model" => *value = json!("ZZ_9"),
            "conn_state" | "iot-device::iot-state" => *value = json!(7),
            "event_value" => *value = json!("99"),
            "event_category" | "eventid" => *value = json!(9_999),
            "tag_list" => *value = json!([999_999]),
            "hardlock" => *value = json!(42),
            "lock::lock-status" => *value = json!("ajar"),
            _ => estrange(value),
        }),
        _ => {}
    }
}

fn strip(row: &mut Value) {
    if let Some(fields) = row.as_object_mut() {
        fields.retain(|key, _| matches!(key.as_str(), "mac" | "event_id" | "device_mac" | "device_id"));
    }
}

fn break_between(devices: &mut Vec<Value>) {
    let middle = devices.len() / 2;
    devices.insert(middle, json!({"mac": 12, "product_model": ["HL_DB2"], "nickname": null, "device_params": "none"}));
    devices.insert(0, json!(null));
    devices.push(json!("HL_DB2"));
    devices.push(json!({}));
}

/// The body of an answer, as this fault lets it through.
pub(super) fn body(fault: Option<Fault>, text: String) -> Body {
    match fault {
        Some(Fault::Truncated) => {
            let bytes = Bytes::from(text);
            Body::from(bytes.slice(..bytes.len() / 2))
        }
        Some(Fault::Drip) => endless_or_not(stream::iter(text.into_bytes()).then(async |byte| {
            tokio::time::sleep(DRIP).await;
            Bytes::copy_from_slice(&[byte])
        })),
        Some(Fault::Endless) => {
            let bytes = Bytes::from(text);
            let begun = bytes.slice(..bytes.len() / 2);
            let blanks = stream::repeat(Bytes::from_static(&[b' '; 16 * 1_024]));
            endless_or_not(stream::iter([begun]).chain(blanks))
        }
        _ => Body::from(text),
    }
}

fn endless_or_not(pieces: impl stream::Stream<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(pieces.map(Ok::<_, Infallible>))
}

/// A gibibyte of blanks in 7 MB of gzip (RFC 1952, RFC 1951). Neither its last block nor its checksum ever comes.
pub(super) fn gzip_bomb() -> Body {
    const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (begin, repeated) = blanks();
    let head = [&HEAD[..], &begin].concat();
    let chunk = Bytes::from(repeated.repeat(1_024));
    endless_or_not(stream::iter([Bytes::from(head)]).chain(stream::iter(std::iter::repeat_n(chunk, 512))))
}

/// A block with the fixed codes: one blank, and then again and again "258 times the byte before". Two bytes to begin
/// with, and 13 that repeat, for 8 × 258 blanks.
fn blanks() -> ([u8; 2], [u8; 13]) {
    // Not the last block (0), of type 1 (low bit first), and the blank: 0x30 + 0x20, high bit first.
    let begin = [0_u8, 1, 0].into_iter().chain(high_first(0x50, 8));
    // Length 258 is symbol 285, 0xc0 + 5; distance 1 is symbol 0.
    let again = || high_first(0xc5, 8).chain(high_first(0, 5));
    let bits: Vec<u8> = begin.chain((0..9).flat_map(|_| again())).collect();
    let byte =
        |at: usize| bits.iter().skip(8 * at).take(8).enumerate().fold(0, |byte, (place, bit)| byte | bit << place);
    (std::array::from_fn(byte), std::array::from_fn(|at| byte(at + 2)))
}

fn high_first(code: u8, bits: u32) -> impl Iterator<Item = u8> {
    (0..bits).rev().map(move |place| code >> place & 1)
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    #[test]
    fn the_bomb_is_what_zlib_unpacks_to_blanks() {
        // Python 3.11's zlib makes 1 + 258 × 8 × 1 024 blanks, and nothing else, of the first 1 024 repeats.
        assert_eq!(blanks(), (hex!("5218"), hex!("05a360148c8251300a46c12818")));
    }
}
