use serde_json::json;

use super::*;

const UID: &str = "a1b2c3d4e5f60718293a4b5c";
const CAMERA: &str = "3b6f0c52-5a0e-4c1f-9d57-0a1b2c3d4e5f";
const NOW: i64 = 1_795_225_271_819;

fn vectors() -> Value {
    let file = include_str!("../../../tests/vectors/vivint/vivint.json");
    serde_json::from_str::<Value>(file).unwrap()["signaling"].take()
}

/// The transaction of the vectors' offer.
fn transaction() -> TransactionUuid {
    TransactionUuid("c9f95f59-c84e-4dd0-a4a1-3ba262140383".to_owned())
}

fn quiet() -> Dialogue {
    Dialogue::new(UID, CAMERA, NOW)
}

fn offered() -> Dialogue {
    let mut dialogue = quiet();
    dialogue.offer("v=0\r\n".to_owned(), transaction(), NOW);
    dialogue
}

fn agreed() -> Dialogue {
    let mut dialogue = offered();
    dialogue.on_value(&answer()).unwrap();
    dialogue
}

fn answer() -> Value {
    vectors()["answer"].clone()
}

/// `value` with another value for one key; `null` takes the key away.
fn with(mut value: Value, key: &str, new: Value) -> Value {
    value[key] = new;
    if let Value::Object(keys) = &mut value {
        keys.retain(|_, value| !value.is_null());
    }
    value
}

fn ice(n: u16) -> Value {
    let candidate = format!("candidate:1 1 udp 2130706431 192.0.2.7 {n} typ host");
    json!({ "type": "ice", "candidate": candidate, "sdpMLineIndex": 0, "from": CAMERA, "_timestamp": NOW + 1 })
}

fn offer_of_the_camera() -> Value {
    json!({ "type": "sdp", "sdpType": "offer", "sdp": "v=0\r\n", "transactionUuid": "7", "from": CAMERA, "_timestamp": NOW })
}

fn candidates(heard: &[Heard]) -> Vec<&str> {
    let candidates = heard.iter().map(|heard| match heard {
        Heard::Candidate(candidate) => Some(candidate.as_str()),
        _ => None,
    });
    candidates.flatten().collect()
}

fn ignored(dialogue: &mut Dialogue, value: &Value) -> Ignored {
    dialogue.on_value(value).err().expect("nothing is to be done about it")
}

#[test]
fn no_description_without_an_end_reaches_the_engine() {
    for mut dialogue in [quiet(), offered()] {
        let long = |value| with(value, "sdp", json!("a=mid:0\r\n".repeat(10_000)));
        assert_eq!(ignored(&mut dialogue, &long(offer_of_the_camera())), Ignored::TooLong);
        assert_eq!(ignored(&mut dialogue, &long(answer())), Ignored::TooLong);
    }
}

#[test]
fn nodes_are_where_the_vectors_have_them() {
    let vectors = vectors();
    assert_eq!(path(Some(7_001_000_200_030_004), UID), vectors["app_path"]);
    assert_eq!(path(Some(7_001_000_200_030_004), CAMERA), vectors["camera_path"]);
    assert_eq!(path(None, CAMERA), format!("devices/{CAMERA}/msg"));
}

#[test]
fn messages_are_written_as_the_vectors_have_them() {
    let vectors = vectors();
    let mut dialogue = quiet();
    let sdp = vectors["offer"]["sdp"].as_str().unwrap().to_owned();
    assert_eq!(dialogue.offer(sdp, transaction(), NOW), vectors["offer"]);
    let at = vectors["ice_from_app"]["_timestamp"].as_i64().unwrap();
    for written in ["ice_from_app", "ice_with_trailing_cr_to_tolerate"] {
        let candidate = vectors[written]["candidate"].as_str().unwrap();
        assert_eq!(dialogue.candidate(candidate, at), vectors["ice_from_app"]);
    }
}

#[test]
fn messages_are_read_and_written_back() {
    let vectors = vectors();
    for name in ["answer", "ice_from_app", "ice_with_trailing_cr_to_tolerate"] {
        assert_eq!(Message::read(&vectors[name]).unwrap().to_value(), vectors[name], "{name}");
    }
    let Some(Message::Sdp(offer)) = Message::read(&vectors["offer"]) else { panic!("an offer") };
    assert_eq!((offer.sdp_type, offer.from.as_deref()), (SdpType::Offer, Some(UID)));
}

#[test]
fn the_stale_vectors_are_dropped_and_only_they() {
    let vectors = vectors();
    let cases = vectors["stale"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let message = if case["msg"].is_string() { &vectors["answer"] } else { &case["msg"] };
        let before = case["case"].as_str().unwrap().contains("before our offer");
        let mut dialogue = if before { quiet() } else { offered() };
        assert_eq!(dialogue.on_value(message).is_err(), case["drop"].as_bool().unwrap(), "{}", case["case"]);
        // The same one is dropped afterwards too, for its transaction.
        assert_eq!(offered().on_value(message).is_err(), case["drop"].as_bool().unwrap(), "{}", case["case"]);
    }
}

#[test]
fn what_is_no_message_is_passed_over() {
    let no_sdp = with(answer(), "sdp", Value::Null);
    let other_type = with(answer(), "type", json!("reneg"));
    let other_sdp_type = with(answer(), "sdpType", json!("pranswer"));
    let sdp_of_numbers = with(answer(), "sdp", json!(7));
    for value in [json!(null), json!("sdp"), json!([1]), json!({}), no_sdp, other_type, other_sdp_type, sdp_of_numbers]
    {
        assert_eq!(ignored(&mut offered(), &value), Ignored::NoMessage, "{value}");
    }
}

#[test]
fn our_own_echo_is_passed_over() {
    let vectors = vectors();
    let mut dialogue = quiet();
    for value in [&vectors["offer"], &vectors["ice_from_app"]] {
        assert_eq!(ignored(&mut dialogue, value), Ignored::Echo);
        assert_eq!(ignored(&mut offered(), value), Ignored::Echo);
    }
}

#[test]
fn others_of_the_household_are_passed_over() {
    for value in [vectors()["offer"].clone(), answer(), ice(1)] {
        let foreign = with(value, "from", json!("another-uid"));
        assert_eq!(ignored(&mut offered(), &foreign), Ignored::Foreign);
        assert_eq!(ignored(&mut quiet(), &foreign), Ignored::Foreign);
    }
}

#[test]
fn one_answer_of_this_call_is_taken() {
    assert_eq!(ignored(&mut quiet(), &answer()), Ignored::Unasked);
    let other = with(answer(), "transactionUuid", json!("00000000-0000-4000-8000-000000000000"));
    let mut dialogue = offered();
    assert_eq!(ignored(&mut dialogue, &other), Ignored::OtherTransaction);
    assert!(matches!(&dialogue.on_value(&answer()).unwrap_or_default()[..], [Heard::Answer { .. }]));
    assert_eq!(ignored(&mut dialogue, &answer()), Ignored::SecondAnswer);
    for odd in ["transactionUuid", "from", "_timestamp", "videoSource"] {
        assert!(offered().on_value(&with(answer(), odd, Value::Null)).is_ok(), "an answer without {odd}");
    }
}

#[test]
fn early_candidates_wait_for_the_answer() {
    let mut dialogue = offered();
    assert!(dialogue.on_value(&ice(1)).unwrap().is_empty());
    assert!(dialogue.on_value(&ice(2)).unwrap().is_empty());
    let heard = dialogue.on_value(&answer()).unwrap();
    assert!(matches!(heard[0], Heard::Answer { .. }));
    assert!(candidates(&heard).iter().map(|c| c.contains(" 1 typ")).eq([true, false]), "in their order");
    assert_eq!(candidates(&dialogue.on_value(&ice(3)).unwrap()).len(), 1);
}

#[test]
fn candidates_of_an_earlier_call_are_dropped() {
    let mut dialogue = quiet();
    assert!(dialogue.on_value(&ice(1)).unwrap().is_empty());
    dialogue.offer("v=0\r\n".to_owned(), transaction(), NOW);
    assert_eq!(candidates(&dialogue.on_value(&answer()).unwrap()).len(), 0);
}

#[test]
fn early_candidates_are_not_collected_without_end() {
    let mut dialogue = offered();
    for n in 0..32 {
        dialogue.on_value(&ice(n)).unwrap();
    }
    assert_eq!(ignored(&mut dialogue, &ice(99)), Ignored::TooMany);
    assert_eq!(candidates(&dialogue.on_value(&answer()).unwrap()).len(), 32);
}

#[test]
fn candidates_are_cleaned() {
    let clean = "candidate:1 1 udp 2130706431 192.0.2.7 46154 typ host";
    for written in [clean.to_owned(), format!("{clean}\r"), format!("{clean}\r\n"), format!("a={clean}")] {
        let heard = agreed().on_value(&with(ice(1), "candidate", json!(written))).unwrap();
        assert_eq!(candidates(&heard), [clean]);
    }
    for useless in [
        "",
        "a=end-of-candidates",
        "candidate:",
        "candidate:1 1 udp 2130706431 192.0.2.7",
        "candidate:1 1 udp 2130706431 192.0.2.7 99999 typ host",
        "candidate:1 1 udp 2130706431 192.0.2.7 46154 host",
        "candidate:1 1 udp 2130706431 2f6c41b9-7d6e.local 46154 typ host",
        "candidate:1 1 udp 2130706431 2F6C41B9-7D6E.LOCAL 46154 typ host",
    ] {
        let value = with(ice(1), "candidate", json!(useless));
        assert_eq!(ignored(&mut agreed(), &value), Ignored::UselessCandidate, "{useless}");
    }
}

#[test]
fn what_is_more_than_a_minute_older_than_our_offer_is_stale() {
    for (age_ms, stale) in [(60_001, true), (60_000, false), (0, false), (-3_600_000, false)] {
        for value in [answer(), ice(1)] {
            let told = offered().on_value(&with(value, "_timestamp", json!(NOW - age_ms)));
            assert_eq!(told.err() == Some(Ignored::Stale), stale, "{age_ms} ms older");
        }
        let offer = with(offer_of_the_camera(), "_timestamp", json!(NOW - age_ms));
        assert_eq!(quiet().on_value(&offer).is_err(), stale, "the camera's offer, {age_ms} ms older");
    }
    let of_javascript = with(answer(), "_timestamp", json!(NOW as f64 - 90_000.5));
    assert_eq!(ignored(&mut offered(), &of_javascript), Ignored::Stale);
    for odd in [json!("yesterday"), json!(i64::MIN), json!(1e300)] {
        let _either = offered().on_value(&with(answer(), "_timestamp", odd));
    }
}

#[test]
fn a_camera_that_offers_first_is_answered_with_its_transaction() {
    let mut dialogue = quiet();
    let heard = dialogue.on_value(&offer_of_the_camera()).unwrap();
    let [Heard::Offer(offer)] = &heard[..] else { panic!("an offer") };
    let answer = dialogue.answer("v=0\r\n".to_owned(), offer, NOW);
    assert_eq!(
        answer,
        json!({ "type": "sdp", "sdpType": "answer", "sdp": "v=0\r\n", "transactionUuid": "7", "from": UID,
                "videoSource": { "type": "nosource" }, "_timestamp": NOW })
    );
    assert_eq!(candidates(&dialogue.on_value(&ice(1)).unwrap()).len(), 1);
    assert_eq!(ignored(&mut dialogue, &offer_of_the_camera()), Ignored::Glare);
}

#[test]
fn the_cameras_offer_is_passed_over_while_ours_stands() {
    assert_eq!(ignored(&mut offered(), &offer_of_the_camera()), Ignored::Glare);
    assert_eq!(ignored(&mut agreed(), &offer_of_the_camera()), Ignored::Glare);
    let nameless = with(offer_of_the_camera(), "from", Value::Null);
    assert_eq!(ignored(&mut quiet(), &nameless), Ignored::Foreign);
}

#[test]
fn transactions_are_random_uuids() {
    assert_eq!(TransactionUuid::from_random([0xff; 16]).as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(TransactionUuid::from_random([0; 16]).as_str(), "00000000-0000-4000-8000-000000000000");
}

#[test]
fn debug_shows_no_description_and_no_address() {
    assert_eq!(format!("{:?}", Message::read(&with(answer(), "sdp", json!("v=0"))).unwrap()), "Answer(3 bytes)");
    assert_eq!(format!("{:?}", Message::read(&ice(1)).unwrap()), "Ice");
}
