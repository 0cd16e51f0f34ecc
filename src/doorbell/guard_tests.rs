//! Each rule by a table, then all of them against a model that remembers everything.

use std::collections::HashSet;

use super::*;
use crate::clock;
use crate::model::OpenerEntity;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// A round wall clock.
const WALL: u64 = 1_800_000_000;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn wall(seconds: u64) -> SystemTime {
    UNIX_EPOCH + s(seconds)
}

fn door() -> DeviceId {
    DeviceId::parse("fake_1").unwrap()
}

fn guard(secret: Option<&str>, start: Instant) -> Guard {
    guard_of(a_lock(), secret, start)
}

fn a_lock() -> Mechanism {
    Mechanism::Lock(DeviceId::parse("lock_1").unwrap())
}

fn a_garage() -> Mechanism {
    Mechanism::Garage(DeviceId::parse("garage_1").unwrap())
}

fn an_opener() -> Mechanism {
    Mechanism::Opener(OpenerEntity::Button)
}

fn guard_of(mechanism: Mechanism, secret: Option<&str>, start: Instant) -> Guard {
    let mut guard = Guard::new(door(), mechanism, secret.map(Password::new), Memory::default());
    guard.subscribed(start);
    guard
}

fn mqtt(payload: impl Into<Vec<u8>>, received: Instant) -> Attempt {
    Attempt { via: Via::Mqtt { payload: payload.into().into(), retained: false, dup: false }, received }
}

fn http(action: LockAction, received: Instant) -> Attempt {
    Attempt { via: Via::Http { who: "page".into(), action }, received }
}

/// All stages at one instant.
fn judge(guard: &mut Guard, attempt: &Attempt, now: Instant, wall: SystemTime) -> Result<LockAction, Refusal> {
    let order = guard.check(Wish::read(&guard.mechanism, &attempt.via)?, attempt, now, wall)?;
    let permit = guard.admit(order, now, wall)?.permit(Synced::pretended(), now)?;
    Ok(permit.action())
}

fn json(cmd: &str, id: &str, ts: u64) -> String {
    format!(r#"{{"cmd":"{cmd}","id":"{id}","ts":{ts}}}"#)
}

fn signed_for(door: &str, secret: &str, cmd: &str, id: &str, ts: u64) -> String {
    let (mechanism, action) = match cmd {
        "lock" => (a_lock(), LockAction::Lock),
        "unlock" => (a_lock(), LockAction::Unlock),
        "close" => (a_garage(), LockAction::Lock),
        "open" => (a_garage(), LockAction::Unlock),
        other => panic!("{other} is no command"),
    };
    let stamp = Stamp { id: id.to_owned(), ts };
    let guard = Guard::new(DeviceId::parse(door).unwrap(), mechanism, None, Memory::default());
    let mac = guard.mac_of(&Password::new(secret), action, &stamp).unwrap();
    format!(r#"{{"cmd":"{cmd}","id":"{id}","ts":{ts},"mac":"{mac}"}}"#)
}

fn signed(cmd: &str, id: &str, ts: u64) -> String {
    signed_for("fake_1", SECRET, cmd, id, ts)
}

// What is understood.

#[test]
fn two_words_and_one_json_form_are_commands_and_nothing_else_is() {
    use LockAction::{Lock, Unlock};
    let now = clock::now();
    let longest_id = "i".repeat(64);
    let fills_up = |length: usize| format!("{:length$}", json("unlock", "a", WALL));
    assert_eq!(fills_up(1_024).len(), 1_024);
    let understood = [
        ("LOCK".to_owned(), Lock),
        ("UNLOCK".to_owned(), Unlock),
        (json("lock", "a", WALL), Lock),
        (json("unlock", &longest_id, WALL), Unlock),
        (json("unlock", "0!~-._", WALL), Unlock),
        (format!(r#"{{"ts":{WALL}, "id":"a","mac":null,"cmd":"unlock"}}"#), Unlock),
        (fills_up(1_024), Unlock),
    ];
    for (payload, action) in understood {
        let verdict = judge(&mut guard(None, now), &mqtt(payload.clone(), now + s(2)), now + s(2), wall(WALL));
        assert_eq!(verdict, Ok(action), "{payload}");
    }
    let refused = [
        "",
        " ",
        "lock",
        "Unlock",
        "UNLOCK ",
        " UNLOCK",
        "UNLOCK\n",
        "UNLOCK\0",
        "UNLOCKED",
        "TOGGLE",
        "ON",
        "1",
        "null",
        "\"UNLOCK\"",
        "[\"UNLOCK\"]",
        "{}",
        "{",
        "{\"cmd\":\"unlock\"}",
        "open",
    ];
    let more = [
        json("UNLOCK", "a", WALL),
        json("open", "a", WALL),
        json("", "a", WALL),
        json("unlock", "", WALL),
        json("unlock", &"i".repeat(65), WALL),
        json("unlock", "a b", WALL),
        json("unlock", "a\\n1", WALL),
        json("unlock", "ü", WALL),
        format!(r#"{{"cmd":"unlock","id":7,"ts":{WALL}}}"#),
        format!(r#"{{"cmd":"unlock","id":"a","ts":{WALL}.5}}"#),
        format!(r#"{{"cmd":"unlock","id":"a","ts":"{WALL}"}}"#),
        format!(r#"{{"cmd":"unlock","id":"a","ts":-{WALL}}}"#),
        r#"{"cmd":"unlock","id":"a","ts":99999999999999999999}"#.to_owned(),
        format!(r#"{{"cmd":"unlock","id":"a","ts":{WALL},"door":"fake_1"}}"#),
        format!(r#"{{"cmd":"lock","cmd":"unlock","id":"a","ts":{WALL}}}"#),
        format!("{} {}", json("unlock", "a", WALL), json("lock", "b", WALL)),
        format!(" {}", json("unlock", "a", WALL)),
        format!(r#"{{"cmd":{}"#, "[".repeat(1_000)),
        fills_up(1_025),
        "UNLOCK".repeat(1 << 17),
    ];
    let binary = [&b"\xff\xfe"[..], b"{\xff}", b"UNLOCK\xff"];
    let refused = refused.iter().map(|text| text.as_bytes().to_vec());
    let refused = refused.chain(more.into_iter().map(String::into_bytes)).chain(binary.map(<[u8]>::to_vec));
    for payload in refused {
        let shown = String::from_utf8_lossy(&payload).chars().take(80).collect::<String>();
        let verdict = judge(&mut guard(None, now), &mqtt(payload, now + s(2)), now + s(2), wall(WALL));
        assert_eq!(verdict, Err(Refusal::NotACommand(DoorKind::Lock)), "{shown}");
    }
}

#[test]
fn a_lock_has_no_latch_to_open() {
    let now = clock::now();
    let verdict = judge(&mut guard(None, now), &mqtt("OPEN", now + s(2)), now + s(2), wall(WALL));
    assert_eq!(verdict, Err(Refusal::NoLatch));
    assert!(Refusal::NoLatch.to_string().contains("latch"));
}

#[test]
fn a_garage_door_opens_and_closes_and_knows_no_word_of_a_lock() {
    let now = clock::now();
    let verdict = |payload: &str| {
        let mut guard = guard_of(a_garage(), None, now);
        judge(&mut guard, &mqtt(payload, now + s(2)), now + s(2), wall(WALL))
    };
    assert_eq!(verdict("OPEN"), Ok(LockAction::Unlock));
    assert_eq!(verdict("CLOSE"), Ok(LockAction::Lock));
    assert_eq!(verdict(&json("open", "a", WALL)), Ok(LockAction::Unlock));
    assert_eq!(verdict(&json("close", "a", WALL)), Ok(LockAction::Lock));
    for payload in ["LOCK", "UNLOCK", "STOP", "open", "Open", "OPEN ", "ON", "4", &json("unlock", "a", WALL)] {
        assert_eq!(verdict(payload), Err(Refusal::NotACommand(DoorKind::Garage)), "{payload}");
    }
    let said = Refusal::NotACommand(DoorKind::Garage).to_string();
    assert_eq!(said, r#"the payload must be CLOSE, OPEN or {"cmd":"open","id":"…","ts":…}"#);
}

#[test]
fn an_opener_is_told_to_open_by_either_word_and_by_no_other() {
    let now = clock::now();
    let verdict = |payload: &str| {
        let mut guard = guard_of(an_opener(), None, now);
        judge(&mut guard, &mqtt(payload, now + s(2)), now + s(2), wall(WALL))
    };
    for payload in ["OPEN", "UNLOCK", &json("unlock", "a", WALL)] {
        assert_eq!(verdict(payload), Ok(LockAction::Unlock), "{payload}");
    }
    for payload in ["open", "OPEN ", "CLOSE", "PRESS", "ON", "{}", &json("open", "a", WALL), &json("close", "a", WALL)]
    {
        assert_eq!(verdict(payload), Err(Refusal::NotAnOpening), "{payload}");
    }
    let said = Refusal::NotAnOpening.to_string();
    assert_eq!(said, r#"the payload must be OPEN, UNLOCK or {"cmd":"unlock","id":"…","ts":…}"#);
}

#[test]
fn an_opener_locks_nothing_whoever_asks() {
    let now = clock::now();
    let (soon, signed) = (now + s(2), signed("lock", "a", WALL));
    for (secret, attempt) in [
        (None, mqtt("LOCK", soon)),
        (None, mqtt(json("lock", "a", WALL), soon)),
        (Some(SECRET), mqtt(signed, soon)),
        (None, http(LockAction::Lock, soon)),
    ] {
        let mut guard = guard_of(an_opener(), secret, now);
        assert_eq!(judge(&mut guard, &attempt, soon, wall(WALL)), Err(Refusal::OnlyOpens), "{attempt:?}");
    }
    // Whoever may not even ask is told that first.
    let retained = Via::Mqtt { payload: "LOCK".into(), retained: true, dup: false };
    let verdict =
        judge(&mut guard_of(an_opener(), None, now), &Attempt { via: retained, received: soon }, soon, wall(WALL));
    assert_eq!(verdict, Err(Refusal::Retained));
    let unsigned = judge(&mut guard_of(an_opener(), Some(SECRET), now), &mqtt("LOCK", soon), soon, wall(WALL));
    assert_eq!(unsigned, Err(Refusal::NotSigned));
}

#[test]
fn either_word_to_an_opener_counts_as_the_same_command() {
    let now = clock::now();
    let mut guard = guard_of(an_opener(), None, now);
    let mut open = |payload, at| judge(&mut guard, &mqtt(payload, at), at, wall(WALL));
    assert_eq!(open("OPEN", now + s(2)), Ok(LockAction::Unlock));
    assert_eq!(open("UNLOCK", now + s(4)), Err(Refusal::Repeated));
    assert_eq!(open("UNLOCK", now + s(6)), Ok(LockAction::Unlock));
    assert_eq!(open("OPEN", now + s(10)), Ok(LockAction::Unlock));
    assert_eq!(open("OPEN", now + s(20)), Err(Refusal::ThreeAMinute));
}

#[test]
fn the_senders_id_is_shown_to_it_again() {
    let read = |payload: String| Wish::read(&a_lock(), &mqtt(payload, clock::now()).via).unwrap();
    assert_eq!(read(json("lock", "a1", WALL)).id(), Some("a1"));
    assert_eq!(read("LOCK".to_owned()).id(), None);
    assert_eq!(read("LOCK".to_owned()).action(), LockAction::Lock);
    assert_eq!(read("UNLOCK".to_owned()).action(), LockAction::Unlock);
}

// How it was delivered.

#[test]
fn row_08_a_retained_command_is_refused_however_right_it_is() {
    let now = clock::now();
    for (secret, payload) in
        [(None, "UNLOCK".to_owned()), (None, "LOCK".to_owned()), (Some(SECRET), signed("unlock", "a", WALL))]
    {
        let via = Via::Mqtt { payload: payload.into(), retained: true, dup: false };
        let attempt = Attempt { via, received: now + s(3) };
        assert_eq!(judge(&mut guard(secret, now), &attempt, now + s(3), wall(WALL)), Err(Refusal::Retained));
    }
}

#[test]
fn nothing_is_taken_from_the_broker_before_two_seconds_of_quiet() {
    let now = clock::now();
    let unlock = |guard: &mut Guard, received| judge(guard, &mqtt("UNLOCK", received), received, wall(WALL));
    let mut never = Guard::new(door(), a_lock(), None, Memory::default());
    assert_eq!(unlock(&mut never, now), Err(Refusal::Startup), "before the first subscription");
    let mut guard = guard(None, now);
    assert_eq!(unlock(&mut guard, now), Err(Refusal::Startup));
    assert_eq!(unlock(&mut guard, now + ms(1_999)), Err(Refusal::Startup));
    assert_eq!(unlock(&mut guard, now + s(2)), Ok(LockAction::Unlock));
    guard.subscribed(now + s(60));
    assert_eq!(unlock(&mut guard, now + ms(61_999)), Err(Refusal::Startup), "after subscribing again");
    let waited = judge(&mut guard, &mqtt("UNLOCK", now + s(61)), now + s(63), wall(WALL));
    assert_eq!(waited, Err(Refusal::Startup), "it came in the quiet and was looked at after it");
    assert_eq!(unlock(&mut guard, now + s(62)), Ok(LockAction::Unlock));
    let http = judge(&mut never, &http(LockAction::Lock, now), now, wall(WALL));
    assert_eq!(http, Ok(LockAction::Lock), "the page needs no broker");
}

#[test]
fn row_10_a_plain_command_that_is_delivered_again_is_refused_and_a_stamped_one_speaks_for_itself() {
    let now = clock::now();
    let again = |payload: &str| Attempt {
        via: Via::Mqtt { payload: payload.to_owned().into(), retained: false, dup: true },
        received: now + s(2),
    };
    let mut guard = guard(None, now);
    assert_eq!(judge(&mut guard, &again("UNLOCK"), now + s(2), wall(WALL)), Err(Refusal::Redelivered));
    assert_eq!(judge(&mut guard, &again("LOCK"), now + s(2), wall(WALL)), Err(Refusal::Redelivered));
    let stamped = again(&json("unlock", "a", WALL));
    assert_eq!(judge(&mut guard, &stamped, now + s(2), wall(WALL)), Ok(LockAction::Unlock));
    assert!(judge(&mut guard, &stamped, now + s(2), wall(WALL)).is_err());
}

// Age.

#[test]
fn a_wish_lasts_five_seconds_at_each_stage() {
    let start = clock::now();
    let now = start + s(100);
    for attempt in [mqtt("UNLOCK", now), mqtt("LOCK", now), http(LockAction::Unlock, now)] {
        let fresh = || guard(None, start);
        let wish = || Wish::read(&a_lock(), &attempt.via).unwrap();
        assert!(fresh().check(wish(), &attempt, now + s(5), wall(WALL)).is_ok());
        let late = fresh().check(wish(), &attempt, now + ms(5_001), wall(WALL));
        assert_eq!(late.unwrap_err(), Refusal::TooOld);

        let admitted = || {
            let mut guard = fresh();
            let order = guard.check(wish(), &attempt, now, wall(WALL)).unwrap();
            guard.admit(order, now, wall(WALL)).unwrap()
        };
        assert_eq!(admitted().lasts_until(), now + s(5));
        assert!(admitted().permit(Synced::pretended(), now + s(5)).is_ok());
        let late = admitted().permit(Synced::pretended(), now + ms(5_001));
        assert_eq!(late.unwrap_err(), Refusal::TooOld, "writing it down took too long");

        let permit = || admitted().permit(Synced::pretended(), now).unwrap();
        assert_eq!(permit().redeem(now + s(5)), Ok(permit().action()));
        let late = permit().redeem(now + ms(5_001));
        assert_eq!(late, Err(ActionError::Refused { why: Refusal::TooOld.to_string() }), "the device was busy");
    }
}

#[test]
fn row_39_a_wrong_wall_clock_on_either_side_lets_nothing_stamped_in() {
    let now = clock::now();
    let day = 86_400;
    let cases = [
        (WALL, wall(WALL), true),
        (WALL - 10, wall(WALL), true),
        (WALL + 10, wall(WALL), true),
        (WALL - 10, wall(WALL) + ms(1), false),
        (WALL - 11, wall(WALL), false),
        (WALL + 11, wall(WALL), false),
        (WALL, wall(WALL + day), false),
        (WALL, wall(WALL - day), false),
        (WALL, UNIX_EPOCH, false),
        (WALL, UNIX_EPOCH - s(day), false),
        (WALL * 1_000, wall(WALL), false),
        (u64::MAX, wall(WALL), false),
        (0, wall(WALL), false),
        (0, UNIX_EPOCH, false),
        (0, UNIX_EPOCH - s(5), false),
        (1, UNIX_EPOCH - s(5), true),
    ];
    for (ts, wall, allowed) in cases {
        for (secret, payload) in [(None, json("unlock", "a", ts)), (Some(SECRET), signed("unlock", "a", ts))] {
            let verdict = judge(&mut guard(secret, now), &mqtt(payload, now + s(2)), now + s(2), wall);
            assert_eq!(verdict.is_ok(), allowed, "ts {ts} at {wall:?}: {verdict:?}");
        }
    }
}

// Signatures.

#[test]
fn the_signature_is_the_one_that_docs_unlock_md_tells_others_to_make() {
    // printf 'doorstep lock 1\nfake_1\nunlock\n7f3a\n1800000000' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
    let stamp = Stamp { id: "7f3a".to_owned(), ts: WALL };
    let mac_at =
        |mechanism| guard_of(mechanism, None, clock::now()).mac_of(&Password::new(SECRET), LockAction::Unlock, &stamp);
    let lock = mac_at(a_lock());
    assert_eq!(lock.as_deref(), Some("ff2cee218672e662db9ba294894eea1fea06f440f7ee0be6594f31e7c4fda765"));
    // The same with `doorstep garage 1` and `open`.
    let garage = mac_at(a_garage());
    assert_eq!(garage.as_deref(), Some("c2bc0e1392aa5c1aca32bb487fe2b02a75bc1e99d7d27c382256de56225af709"));
    assert_eq!(mac_at(an_opener()), lock, "an opener is signed for as a lock is");
}

#[test]
fn with_a_secret_nothing_but_the_right_signature_works_the_door() {
    let now = clock::now();
    let right = signed("unlock", "a", WALL);
    let verdict =
        |payload: &str| judge(&mut guard(Some(SECRET), now), &mqtt(payload, now + s(2)), now + s(2), wall(WALL));
    assert_eq!(verdict(&right), Ok(LockAction::Unlock));
    assert_eq!(verdict(&signed("lock", "a", WALL)), Ok(LockAction::Lock));
    for unsigned in ["LOCK", "UNLOCK", &json("lock", "a", WALL), &json("unlock", "a", WALL)] {
        assert_eq!(verdict(unsigned), Err(Refusal::NotSigned), "{unsigned}");
    }
    let no_mac = format!(r#"{{"cmd":"unlock","id":"a","ts":{WALL},"mac":null}}"#);
    assert_eq!(verdict(&no_mac), Err(Refusal::NotSigned));
    let mac = right.split('"').nth_back(1).unwrap();
    let wrong = [
        ("another door", signed_for("fake_2", SECRET, "unlock", "a", WALL)),
        ("another secret", signed_for("fake_1", &SECRET.replace('f', "e"), "unlock", "a", WALL)),
        ("another command", signed("lock", "a", WALL).replace("lock", "unlock")),
        ("another id", right.replace(r#""a""#, r#""b""#)),
        ("another time", right.replace(&WALL.to_string(), &(WALL + 1).to_string())),
        ("no mac in it", right.replace(mac, "")),
        ("half a mac", right.replace(mac, &mac[..32])),
        ("more than a mac", right.replace(mac, &format!("{mac}0"))),
        ("capital letters", right.replace(mac, &mac.to_uppercase())),
        ("zeros", right.replace(mac, &"0".repeat(64))),
        ("parts moved across the border", signed_for("fake_1", SECRET, "unlock", "a1", 800_000_000)),
    ];
    for (what, payload) in wrong {
        let payload = payload.replace(r#""a1","ts":800000000"#, &format!(r#""a","ts":{WALL}"#));
        assert_eq!(verdict(&payload), Err(Refusal::WrongMac), "{what}: {payload}");
    }
    for place in 0..64 {
        let at = right.find(mac).unwrap() + place;
        let mut bytes = right.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        assert_eq!(verdict(&String::from_utf8(bytes).unwrap()), Err(Refusal::WrongMac), "digit {place}");
    }
    let page = judge(&mut guard(Some(SECRET), now), &http(LockAction::Unlock, now), now, wall(WALL));
    assert_eq!(page, Ok(LockAction::Unlock), "the page has a token of its own");
}

#[test]
fn a_signature_for_the_lock_is_worth_nothing_at_the_garage_door_of_the_same_doorbell_nor_the_other_way_round() {
    let now = clock::now();
    let verdict = |mechanism, payload: &str| {
        judge(&mut guard_of(mechanism, Some(SECRET), now), &mqtt(payload, now + s(2)), now + s(2), wall(WALL))
    };
    let (unlock, open) = (signed("unlock", "a", WALL), signed("open", "a", WALL));
    assert_eq!(verdict(a_lock(), &unlock), Ok(LockAction::Unlock));
    assert_eq!(verdict(a_garage(), &open), Ok(LockAction::Unlock));
    assert_eq!(verdict(a_garage(), &unlock.replace("unlock", "open")), Err(Refusal::WrongMac));
    assert_eq!(verdict(a_lock(), &open.replace("open", "unlock")), Err(Refusal::WrongMac));
    assert_eq!(verdict(a_garage(), &unlock), Err(Refusal::NotACommand(DoorKind::Garage)));
}

#[test]
fn a_signature_that_nothing_is_held_against_is_not_passed_over() {
    let now = clock::now();
    let attempt = mqtt(signed("unlock", "a", WALL), now + s(2));
    assert_eq!(judge(&mut guard(None, now), &attempt, now + s(2), wall(WALL)), Err(Refusal::NoSecret));
}

// Once.

#[test]
fn the_same_command_within_three_seconds_is_carried_out_once_however_it_came() {
    use LockAction::{Lock, Unlock};
    let start = clock::now();
    let now = start + s(10);
    for action in [Lock, Unlock] {
        let word = if action == Lock { "LOCK" } else { "UNLOCK" };
        for again in [ms(0), ms(1), s(3)] {
            for first in [http(action, now), mqtt(word, now)] {
                let mut guard = guard(None, start);
                assert_eq!(judge(&mut guard, &first, now, wall(WALL)), Ok(action));
                let later = now + again;
                for second in
                    [http(action, later), mqtt(word, later), mqtt(json(&word.to_lowercase(), "z", WALL), later)]
                {
                    assert_eq!(judge(&mut guard, &second, later, wall(WALL)), Err(Refusal::Repeated), "{again:?}");
                }
            }
        }
        let mut guard = guard(None, start);
        assert_eq!(judge(&mut guard, &http(action, now), now, wall(WALL)), Ok(action));
        let waited = http(action, now + s(1));
        assert_eq!(
            judge(&mut guard, &waited, now + ms(5_500), wall(WALL)),
            Err(Refusal::Repeated),
            "it came within the 3 s and had to wait for its turn"
        );
        let later = now + ms(3_001);
        assert_eq!(judge(&mut guard, &http(action, later), later, wall(WALL)), Ok(action));
    }
}

#[test]
fn what_was_refused_as_a_repetition_does_not_prolong_the_three_seconds() {
    let start = clock::now();
    let mut guard = guard(None, start);
    let mut unlock = |after| judge(&mut guard, &http(LockAction::Unlock, start + after), start + after, wall(WALL));
    assert!(unlock(s(0)).is_ok());
    assert_eq!(unlock(s(2)), Err(Refusal::Repeated));
    assert!(unlock(ms(3_100)).is_ok());
}

#[test]
fn a_door_unlocked_in_between_can_be_locked_at_once_but_not_the_other_way_round() {
    use LockAction::{Lock, Unlock};
    let start = clock::now();
    let mut guard = guard(None, start);
    let mut act = |action, after| judge(&mut guard, &http(action, start + after), start + after, wall(WALL));
    assert_eq!(act(Lock, s(0)), Ok(Lock));
    assert_eq!(act(Unlock, s(1)), Ok(Unlock));
    assert_eq!(act(Lock, s(2)), Ok(Lock), "the door would have stayed open");
    assert_eq!(act(Unlock, s(3)), Err(Refusal::Repeated), "a late copy would have opened it again");
}

#[test]
fn an_id_works_once_and_not_again_after_a_restart() {
    let start = clock::now();
    for secret in [None, Some(SECRET)] {
        let command = |id: &str, ts| if secret.is_some() { signed("lock", id, ts) } else { json("lock", id, ts) };
        let mut guard = guard(secret, start);
        let first = start + s(2);
        assert!(judge(&mut guard, &mqtt(command("a", WALL), first), first, wall(WALL)).is_ok());
        for elapsed in [4, 8, 300, 600] {
            let (now, time) = (first + s(elapsed), WALL + elapsed);
            let verdict = judge(&mut guard, &mqtt(command("a", time), now), now, wall(time));
            assert_eq!(verdict, Err(Refusal::UsedId), "{elapsed} s later");
            let kept: Memory = serde_json::from_str(&serde_json::to_string(guard.memory()).unwrap()).unwrap();
            let mut restarted = Guard::new(door(), a_lock(), secret.map(Password::new), kept);
            restarted.subscribed(now - s(2));
            let verdict = judge(&mut restarted, &mqtt(command("a", time), now), now, wall(time));
            assert_eq!(verdict, Err(Refusal::UsedId), "{elapsed} s later, after a restart");
            let other = judge(&mut restarted, &mqtt(command("b", time), now), now, wall(time));
            assert_eq!(other, Ok(LockAction::Lock), "another id");
        }
        let (now, time) = (first + s(601), WALL + 601);
        assert!(
            judge(&mut guard, &mqtt(command("a", time), now), now, wall(time)).is_ok(),
            "a new one after 10 minutes"
        );
    }
}

#[test]
fn row_39_a_clock_that_is_set_forward_and_back_does_not_bring_an_old_command_back() {
    let start = clock::now();
    let mut guard = guard(Some(SECRET), start);
    let mut lock = |id: &str, ts, after, time| {
        let now = start + s(after);
        judge(&mut guard, &mqtt(signed("lock", id, ts), now), now, wall(time))
    };
    assert!(lock("old", WALL, 2, WALL).is_ok());
    assert!(lock("x", WALL + 86_400, 10, WALL + 86_400).is_ok(), "the clock is a day ahead, as is the sender's");
    assert_eq!(lock("old", WALL, 20, WALL), Err(Refusal::Forgotten));
    assert_eq!(lock("older", WALL - 5, 20, WALL), Err(Refusal::Forgotten));
    assert!(lock("new", WALL + 1, 20, WALL + 1).is_ok());
    assert_eq!(lock("x", WALL + 2, 30, WALL + 2), Err(Refusal::UsedId), "it is of the future and remembered");
    assert_eq!(guard.memory().ids.len(), 2);
    assert_eq!(guard.memory().forgotten, WALL);
}

#[test]
fn no_more_ids_are_remembered_than_can_be_fresh_again() {
    let start = clock::now();
    let mut guard = guard(None, start);
    for n in 0..1_000 {
        let now = start + s(4 + 4 * n);
        let command = json("lock", &format!("id-{n}"), WALL + 4 * n);
        assert!(judge(&mut guard, &mqtt(command, now), now, wall(WALL + 4 * n)).is_ok());
    }
    assert_eq!(guard.memory().ids.len(), 151, "600 s, every 4 s");
}

// Limits.

#[test]
fn row_12_a_door_unlocks_three_times_a_minute_and_twenty_times_an_hour_and_locks_always() {
    let start = clock::now();
    let mut guard = guard(None, start);
    let mut act = |action, after| judge(&mut guard, &http(action, start + after), start + after, wall(WALL));
    for after in [0, 4, 8] {
        assert!(act(LockAction::Unlock, s(after)).is_ok());
    }
    assert_eq!(act(LockAction::Unlock, s(12)), Err(Refusal::ThreeAMinute));
    assert_eq!(act(LockAction::Lock, s(12)), Ok(LockAction::Lock));
    assert_eq!(act(LockAction::Unlock, ms(59_999)), Err(Refusal::ThreeAMinute), "refusals were counted as well");
    assert!(act(LockAction::Unlock, s(60)).is_ok());
    assert_eq!(act(LockAction::Unlock, ms(63_999)), Err(Refusal::ThreeAMinute), "4, 8 and 60");
    assert!(act(LockAction::Unlock, s(64)).is_ok());
    for n in 0..15 {
        assert!(act(LockAction::Unlock, s(130 + 30 * n)).is_ok(), "number {}", n + 6);
    }
    assert_eq!(act(LockAction::Unlock, s(600)), Err(Refusal::TwentyAnHour));
    assert_eq!(act(LockAction::Lock, s(600)), Ok(LockAction::Lock));
    assert_eq!(act(LockAction::Unlock, ms(3_599_999)), Err(Refusal::TwentyAnHour));
    assert!(act(LockAction::Unlock, s(3_600)).is_ok());
    assert_eq!(act(LockAction::Unlock, ms(3_603_999)), Err(Refusal::TwentyAnHour));
    assert!(act(LockAction::Unlock, s(3_604)).is_ok());
}

#[test]
fn no_more_openings_are_remembered_than_the_limits_look_at() {
    let start = clock::now();
    let mut guard = guard(None, start);
    for n in 1..100 {
        let now = start + s(n * 300);
        assert_eq!(judge(&mut guard, &http(LockAction::Unlock, now), now, wall(WALL)), Ok(LockAction::Unlock));
    }
    assert_eq!(guard.unlocks.len(), 20);
}

#[test]
fn the_limit_that_lasts_longest_is_the_one_told() {
    let start = clock::now();
    let mut guard = guard(None, start);
    assert_eq!(guard.limit(start), None);
    for n in 0..20 {
        // The last three within a minute.
        let now = start + s(30 * n) + s(if n > 16 { 20 * (20 - n) } else { 0 });
        assert!(judge(&mut guard, &http(LockAction::Unlock, now), now, wall(WALL)).is_ok(), "number {n}");
        let reached = guard.limit(now);
        assert_eq!(reached.is_some(), n == 19, "number {n}: {reached:?}");
    }
    assert_eq!(guard.limit(start + s(600)), Some((Refusal::TwentyAnHour, start + s(3_600))));
    assert_eq!(guard.limit(start + s(3_600)), None);
    assert_eq!(guard.unlocks.len(), 20, "no more are kept than are counted");
}

#[test]
fn strangers_who_are_refused_do_not_use_up_the_owners_limits_or_ids() {
    let start = clock::now();
    let mut guard = guard(Some(SECRET), start);
    let now = start + s(2);
    for n in 0..1_000 {
        let forged = signed_for("fake_1", "not the secret at all, but as long", "unlock", "mine", WALL);
        assert_eq!(judge(&mut guard, &mqtt(forged, now), now, wall(WALL)), Err(Refusal::WrongMac), "{n}");
    }
    assert_eq!(guard.memory(), &Memory::default());
    assert!(judge(&mut guard, &mqtt(signed("unlock", "mine", WALL), now), now, wall(WALL)).is_ok());
    // Refused for the limit or as a repetition: the id was not used.
    let again = judge(&mut guard, &mqtt(signed("unlock", "next", WALL + 1), now), now, wall(WALL));
    assert_eq!(again, Err(Refusal::Repeated));
    let later = now + s(4);
    assert!(judge(&mut guard, &mqtt(signed("unlock", "next", WALL + 1), later), later, wall(WALL + 4)).is_ok());
}

#[test]
fn an_admission_says_whether_there_is_something_to_remember() {
    let start = clock::now();
    let now = start + s(2);
    for (payload, remembered) in [("LOCK".to_owned(), false), (json("lock", "a", WALL), true)] {
        let mut guard = guard(None, start);
        let attempt = mqtt(payload, now);
        let order = guard.check(Wish::read(&a_lock(), &attempt.via).unwrap(), &attempt, now, wall(WALL)).unwrap();
        assert_eq!(guard.admit(order, now, wall(WALL)).unwrap().is_remembered(), remembered);
    }
}

/// Compiles only while a permit cannot be copied.
#[test]
fn a_permit_is_one_of_a_kind() {
    trait AmbiguousIfClone<A> {
        fn is_not_clone() {}
    }
    impl<T> AmbiguousIfClone<()> for T {}
    impl<T: Clone> AmbiguousIfClone<u8> for T {}
    <Permit as AmbiguousIfClone<_>>::is_not_clone();
    <Admission as AmbiguousIfClone<_>>::is_not_clone();
    <Order as AmbiguousIfClone<_>>::is_not_clone();
}

// Everything at once.

/// Forgets nothing and checks everything anew each time.
#[derive(Default)]
struct Model {
    secret: bool,
    opener: bool,
    subscribed: Option<Instant>,
    /// Since the last restart: action, when.
    accepted: Vec<(LockAction, Instant)>,
    /// Ever: id, ts.
    ids: Vec<(String, u64)>,
}

/// An MQTT command as its sender made it.
#[derive(Clone, Debug)]
struct Sent {
    action: LockAction,
    stamp: Option<(String, u64)>,
    /// Of this command and this door; else of another.
    mac: Option<bool>,
    retained: bool,
    dup: bool,
    received: Instant,
}

impl Sent {
    fn attempt(&self) -> Attempt {
        let (plain, cmd) = if self.action == LockAction::Lock { ("LOCK", "lock") } else { ("UNLOCK", "unlock") };
        let payload = match (&self.stamp, self.mac) {
            (None, _) => plain.to_owned(),
            (Some((id, ts)), None) => json(cmd, id, *ts),
            (Some((id, ts)), Some(true)) => signed(cmd, id, *ts),
            (Some((id, ts)), Some(false)) => signed_for("fake_2", SECRET, cmd, id, *ts),
        };
        let via = Via::Mqtt { payload: payload.into(), retained: self.retained, dup: self.dup };
        Attempt { via, received: self.received }
    }
}

impl Model {
    fn forbids(&self, sent: &Sent, now: Instant, wall_s: u64) -> Option<&'static str> {
        let authentic = matches!(
            (self.secret, &sent.stamp, sent.mac),
            (true, Some(_), Some(true)) | (false, None, _) | (false, Some(_), None)
        );
        let near = |ts: u64| ts.abs_diff(wall_s) <= 10;
        let unlocks_since = |age| {
            let ago = |at: &Instant| now.saturating_duration_since(*at) < age;
            self.accepted.iter().filter(|(action, at)| *action == LockAction::Unlock && ago(at)).count()
        };
        let unlock = sent.action == LockAction::Unlock;
        let before = self.accepted.iter().rev().find(|(action, _)| *action == sent.action || !unlock);
        let repeated = before.is_some_and(|(action, at)| *action == sent.action && sent.received <= *at + s(3));
        let used = |(id, ts): &(String, u64)| self.ids.iter().any(|(other, its)| other == id && its == ts);
        match () {
            () if sent.retained => Some("retained"),
            () if self.subscribed.is_none_or(|at| sent.received < at + s(2)) => Some("quiet"),
            () if sent.dup && sent.stamp.is_none() => Some("delivered again"),
            () if !authentic => Some("not authentic"),
            () if sent.stamp.as_ref().is_some_and(|(_, ts)| !near(*ts)) => Some("another time"),
            () if now - sent.received > s(5) => Some("old"),
            () if self.opener && !unlock => Some("nothing that an opener can do"),
            () if repeated => Some("repeated"),
            () if unlock && (unlocks_since(s(60)) >= 3 || unlocks_since(s(3_600)) >= 20) => Some("limits"),
            () if sent.stamp.as_ref().is_some_and(used) => Some("used"),
            () => None,
        }
    }
}

/// Numbers that a seed determines (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn sent(&mut self, secret: bool, now: Instant, wall_s: u64, earlier: &[Sent]) -> Sent {
        if !earlier.is_empty() && self.one_in(3) {
            // Overheard, and sent again: at once, or when the clock has come round to it.
            let mut sent = earlier[self.below(earlier.len() as u64) as usize].clone();
            sent.received = now;
            sent.dup = self.one_in(3);
            return sent;
        }
        let stamped = if secret { !self.one_in(6) } else { self.one_in(2) };
        let off = self.below(26);
        let stamp = stamped.then(|| (format!("id{}", self.below(40)), (wall_s + off).saturating_sub(13)));
        Sent {
            action: if self.one_in(3) { LockAction::Lock } else { LockAction::Unlock },
            mac: if secret { (!self.one_in(6)).then(|| !self.one_in(6)) } else { self.one_in(12).then_some(true) },
            stamp,
            retained: self.one_in(12),
            dup: self.one_in(12),
            received: now - ms(self.below(7_000)).min(now.duration_since(now - s(7))),
        }
    }
}

#[test]
fn whatever_is_sent_nothing_passes_that_the_model_forbids() {
    let mut passed = 0;
    for seed in 1..=60 {
        let mut random = Random(seed);
        // In every other run the clock goes as clocks do: then all that the model allows must pass as well.
        let honest_clock = seed % 2 == 0;
        let secret = seed % 3 != 0;
        let opener = seed % 5 == 0;
        let mechanism = if opener { an_opener() } else { a_lock() };
        let mut model = Model { secret, opener, ..Model::default() };
        let mut guard = Guard::new(door(), mechanism.clone(), secret.then(|| Password::new(SECRET)), Memory::default());
        let (mut now, mut wall_s) = (clock::now() + s(10), WALL);
        let mut earlier: Vec<Sent> = Vec::new();
        let mut acts: HashSet<(String, u64)> = HashSet::new();
        for step in 0..400 {
            let what = format!("seed {seed}, step {step}");
            let pause = ms([100, 900, 2_500, 4_000, 30_000, 700_000][random.below(6) as usize]);
            now += pause;
            wall_s += pause.as_secs();
            match random.below(20) {
                0 => {
                    guard.subscribed(now);
                    model.subscribed = Some(now);
                    continue;
                }
                1 if random.one_in(4) => {
                    let kept = serde_json::from_value(serde_json::to_value(guard.memory()).unwrap()).unwrap();
                    guard = Guard::new(door(), mechanism.clone(), secret.then(|| Password::new(SECRET)), kept);
                    model.subscribed = None;
                    model.accepted.clear();
                    continue;
                }
                2 if !honest_clock => {
                    let jump = [15, 700, 5_000, 86_400][random.below(4) as usize];
                    wall_s = if random.one_in(2) { wall_s + jump } else { wall_s - jump };
                    continue;
                }
                3 if !honest_clock && !earlier.is_empty() => {
                    // Back to when something passed: the worst that a clock can do.
                    let (_, ts) =
                        earlier[random.below(earlier.len() as u64) as usize].stamp.clone().unwrap_or_default();
                    wall_s = ts.max(WALL);
                    continue;
                }
                _ => {}
            }
            let sent = random.sent(secret, now, wall_s, &earlier);
            let forbidden = model.forbids(&sent, now, wall_s);
            let verdict = judge(&mut guard, &sent.attempt(), now, wall(wall_s));
            match (verdict, forbidden) {
                (Ok(_), Some(why)) => panic!("{what}: {sent:?} passed although it is {why}"),
                (Ok(action), None) => {
                    passed += 1;
                    assert_eq!(action, sent.action, "{what}");
                    model.accepted.push((action, now));
                    if let Some(stamp) = &sent.stamp {
                        assert!(acts.insert(stamp.clone()), "{what}: {stamp:?} passed twice");
                        model.ids.push(stamp.clone());
                    }
                    earlier.push(sent);
                }
                // An id that is used by another command within 10 minutes, which the model does not look for.
                (Err(Refusal::UsedId), None) => {
                    let (id, _) = sent.stamp.as_ref().unwrap();
                    assert!(model.ids.iter().any(|(other, _)| other == id), "{what}: {sent:?}");
                }
                (Err(refusal), None) => assert!(!honest_clock, "{what}: {sent:?} was refused: {refusal}"),
                (Err(_), Some(_)) => {}
            }
        }
    }
    assert!(passed > 1_000, "only {passed} commands passed at all");
}
