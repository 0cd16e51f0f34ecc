//! A door without opt-in cannot be opened by any request, nor told from one that is not there; an enabled one opens
//! once for whoever may (reliability.md S7).

use std::sync::Arc;
use std::time::Duration;

use doorstep::doorbell::{ActionError, Options};
use doorstep::http;
use doorstep::model::{DeviceId, DeviceInfo, DoorKind, LockAction, LockState};
use doorstep::secret::Token;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::fake_lock::FakeLock;
use crate::support::fake_vendor::{FakeVendor, OnOpen};
use crate::support::house::{House, PATIENCE};
use crate::support::http::Reply;
use crate::support::score::{Figure, tally};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
const TYPES: [Option<&str>; 4] = [None, Some("application/json"), Some("application/sdp"), Some("text/plain")];
static BODIES: [&str; 12] = [
    "",
    "{}",
    "[]",
    "null",
    "{",
    "UNLOCK",
    r#"{"on":true}"#,
    r#"{"code":"123456"}"#,
    r#"{"cmd":"unlock","id":"1","ts":0,"mac":""}"#,
    r#"{"open":true}"#,
    r#"{"open":true,"door":"fake_1"}"#,
    r#"{"door":"fake_1","action":"unlock","lock":"lock_1"}"#,
];
const UNLOCK: &str = "/api/doorbells/fake_1/unlock";
const LOCK: &str = "/api/doorbells/fake_1/lock";
const GARAGE: &str = "/api/doorbells/fake_1/garage";

/// Every body where bodies are read, two elsewhere.
fn bodies(method: &str) -> &'static [&'static str] {
    if matches!(method, "POST" | "PUT") { &BODIES } else { &BODIES[..2] }
}

/// A second doorbell, which could open a door and whose owner has not enabled it.
async fn with_a_plain_doorbell(house: &House) -> Arc<FakeVendor> {
    let id = DeviceId::parse("plain_1").unwrap();
    let vendor = FakeVendor::of(DeviceInfo { id, ..DeviceInfo::clone(&house.doorbell.info()) });
    vendor.on_open(OnOpen::Opens);
    house.doorbells.insert(vendor.doorbell_with(Options::default(), &house.stop));
    vendor.lives(1).await;
    vendor
}

async fn ask(house: &House, method: &str, path: &str, kind: Option<&str>, body: &str) -> Reply {
    let headers: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
    house.send(method, path, &headers, body.as_bytes()).await
}

/// All that can be seen of an answer, but for the time of day.
fn seen(reply: &Reply) -> (u16, Vec<&str>, &str) {
    let headers = reply.headers.lines().filter(|line| !line.starts_with("date:"));
    (reply.status, headers.collect(), &reply.body)
}

#[tokio::test]
async fn no_request_opens_a_door_that_its_owner_has_not_enabled() {
    let doors = ["lock_1", "garage_1"].map(FakeLock::new);
    let house = House::with_doors([(DoorKind::Lock, &doors[0]), (DoorKind::Garage, &doors[1])], None).await;
    let plain = with_a_plain_doorbell(&house).await;
    let mut tried = 0;
    let paths: Vec<&str> = http::paths().collect();
    for action in ["unlock", "garage"] {
        assert!(paths.contains(&&*format!("/api/doorbells/{{id}}/{action}")), "{paths:?}");
    }
    for path in paths {
        for id in ["plain_1", "lock_1", "garage_1", "nobody", "%66%61ke_1x", "%ff", "plain_1%2f..%2ffake_1", ".."] {
            if id != "plain_1" && !path.contains("{id}") {
                continue;
            }
            let path = path.replace("{id}", id).replace("{n}", "0");
            for (method, body) in METHODS.into_iter().flat_map(|method| bodies(method).iter().map(move |b| (method, b)))
            {
                ask(&house, method, &path, Some("application/json"), body).await;
                tried += 1;
            }
        }
    }
    let opened = doors.iter().map(|door| door.acts().len()).sum::<usize>() + plain.seen().opens_asked;
    tally(Figure::UnlocksRefused, tried - opened, tried);
    assert_eq!(doors.map(|door| door.acts()), [[], []]);
    assert_eq!(plain.seen().opens_asked, 0);
}

#[tokio::test]
async fn a_door_that_is_not_enabled_is_answered_like_an_address_where_there_is_nothing() {
    let house = House::open().await;
    for action in ["unlock", "lock", "garage"] {
        for id in ["fake_1", "nobody", "Not an id", "%ff"] {
            let id = id.replace(' ', "%20");
            for method in METHODS {
                for (kind, body) in TYPES.into_iter().flat_map(|kind| bodies(method).iter().map(move |b| (kind, b))) {
                    let door = ask(&house, method, &format!("/api/doorbells/{id}/{action}"), kind, body).await;
                    let nothing = ask(&house, method, &format!("/api/doorbells/{id}/nothing"), kind, body).await;
                    assert_eq!(seen(&door), seen(&nothing), "{method} {action} of {id} with {kind:?} and {body:?}");
                }
            }
        }
    }
    let large = " ".repeat(300 * 1024);
    for path in [UNLOCK, GARAGE] {
        assert_eq!(seen(&house.post(path, &large).await), seen(&house.post("/nothing", &large).await));
    }
}

/// A body that is waited for would tell that there is something to be said.
#[tokio::test]
async fn a_door_that_is_not_enabled_waits_for_no_body() {
    let house = House::open().await;
    let mut client = TcpStream::connect(house.address).await.unwrap();
    let head = format!(
        "POST {UNLOCK} HTTP/1.1\r\nhost: {}\r\nexpect: 100-continue\r\ncontent-type: application/json\r\n\
         content-length: 2\r\n\r\n",
        house.address
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, client.read_exact(&mut answer)).await.expect("it waits for the body").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
}

#[tokio::test]
async fn an_enabled_door_opens_once_and_says_how_it_stands() {
    let lock = FakeLock::new("lock_1");
    let house = House::with_door(&lock, None).await;
    let reply = house.post(UNLOCK, "").await;
    assert_eq!((reply.status, reply.json()), (202, json!({"ok": true, "lock": "UNLOCKED"})));
    // Somebody's finger was quick, or a proxy has sent it again.
    let again = house.post(UNLOCK, "").await;
    assert_eq!((again.status, &again.json()["ok"]), (202, &false.into()));
    let error = again.error();
    assert!(error.starts_with("Front Door: ") && error.ends_with("is carried out once."), "{error}");
    tally(Figure::UnlocksDone, usize::from(lock.acts() == [LockAction::Unlock]), 1);
    tally(Figure::UnlocksRefused, 2 - lock.acts().len(), 1);
    assert_eq!(lock.acts(), [LockAction::Unlock]);
    let capabilities = &house.get("/api/doorbells/fake_1").await.json()["capabilities"];
    assert!(capabilities.as_array().unwrap().contains(&"unlock".into()), "{capabilities}");
}

#[tokio::test]
async fn an_enabled_door_is_locked_by_its_own_address() {
    let lock = FakeLock::new("lock_1");
    let house = House::with_door(&lock, None).await;
    let reply = house.post(LOCK, "{}").await;
    assert_eq!((reply.status, reply.json()), (202, json!({"ok": true, "lock": "LOCKED"})));
    assert_eq!(lock.acts(), [LockAction::Lock]);
}

#[tokio::test]
async fn an_opener_opens_once_and_its_doorbell_says_that_it_is_one() {
    let house = House::with_opener(OnOpen::Opens).await;
    let doorbell = house.get("/api/doorbells/fake_1").await.json();
    assert_eq!(doorbell["door"], json!({"lock": "LOCKED", "blocked": null, "opener": true}));
    assert!(doorbell["capabilities"].as_array().unwrap().contains(&"unlock".into()), "{doorbell}");
    let reply = house.post(UNLOCK, "").await;
    assert_eq!((reply.status, reply.json()), (202, json!({"ok": true, "lock": "UNLOCKED"})));
    let again = house.post(UNLOCK, "{}").await.error();
    assert!(again.ends_with("is carried out once."), "{again}");
    let locked = house.post(LOCK, "").await;
    let why = "Front Door: the opener of this door can open it and cannot lock it.";
    assert_eq!((locked.status, locked.json()), (202, json!({"ok": false, "error": why})));
    tally(Figure::UnlocksDone, usize::from(house.vendor.seen().opens_asked == 1), 1);
    assert_eq!(house.vendor.seen().opens_asked, 1);
}

#[tokio::test]
async fn an_opener_moves_for_nothing_but_its_own_request() {
    let house = House::with_opener(OnOpen::Opens).await;
    let mut tried = 0;
    for (method, (kind, body)) in METHODS
        .into_iter()
        .flat_map(|method| TYPES.into_iter().map(move |kind| (method, kind)))
        .flat_map(|(method, kind)| bodies(method).iter().map(move |body| (method, (kind, body))))
    {
        let right = method == "POST" && kind == Some("application/json") && ["", "{}"].contains(body);
        for path in [UNLOCK, LOCK, GARAGE] {
            if !(right && path == UNLOCK) {
                let reply = ask(&house, method, path, kind, body).await;
                let ok = reply.status == 202 && reply.json()["ok"] == true;
                assert!(!ok, "{method} {path} {kind:?} {body:?} was answered with {}", reply.body);
                tried += 1;
            }
        }
    }
    tally(Figure::UnlocksRefused, tried - house.vendor.seen().opens_asked, tried);
    assert_eq!(house.vendor.seen().opens_asked, 0);
}

#[tokio::test]
async fn whoever_opens_is_told_when_the_door_stayed_shut_and_when_nobody_knows() {
    for (says, expected) in [
        (
            ActionError::Refused { why: "The doorbell only repeated the command. Look at its program.".to_owned() },
            "Front Door: The doorbell only repeated the command. Look at its program.",
        ),
        (
            ActionError::Timeout,
            "Front Door: The doorbell did not say whether the door opened. Look at the door before you try again.",
        ),
        (
            ActionError::Offline { why: "Nobody answers the call. See whether it has power.".to_owned() },
            "Front Door: Nobody answers the call. See whether it has power.",
        ),
    ] {
        let house = House::with_opener(OnOpen::Says(says)).await;
        let reply = house.post(UNLOCK, "").await;
        assert_eq!((reply.status, reply.json()), (202, json!({"ok": false, "error": expected})));
        assert_eq!(house.vendor.seen().opens_asked, 1);
    }
}

#[tokio::test]
async fn an_enabled_garage_door_opens_and_closes_by_one_address_and_leaves_the_lock_beside_it_alone() {
    let (lock, garage) = (FakeLock::new("lock_1"), FakeLock::new("garage_1"));
    let house = House::with_doors([(DoorKind::Lock, &lock), (DoorKind::Garage, &garage)], None).await;
    let opened = house.post(GARAGE, r#"{"open":true}"#).await;
    assert_eq!((opened.status, opened.json()), (202, json!({"ok": true, "garage": "open"})));
    let doorbell = house.get("/api/doorbells/fake_1").await.json();
    assert_eq!(doorbell["door"], json!({"lock": "LOCKED", "blocked": null, "opener": false}));
    let capabilities = doorbell["capabilities"].as_array().unwrap();
    assert!(capabilities.contains(&"unlock".into()) && capabilities.contains(&"garage".into()), "{capabilities:?}");
    let closed = house.post(GARAGE, r#"{"open":false}"#).await;
    assert_eq!((closed.status, closed.json()), (202, json!({"ok": true, "garage": "closed"})));
    let again = house.post(GARAGE, r#"{"open":true}"#).await.error();
    assert!(again.ends_with("is carried out once."), "{again}");
    tally(Figure::UnlocksDone, usize::from(garage.acts() == [LockAction::Unlock, LockAction::Lock]), 1);
    assert_eq!((garage.acts(), lock.acts()), (vec![LockAction::Unlock, LockAction::Lock], vec![]));
}

#[tokio::test]
async fn a_garage_door_moves_for_no_request_that_leaves_open_which_way() {
    let garage = FakeLock::new("garage_1");
    let house = House::with_doors([(DoorKind::Garage, &garage)], None).await;
    for body in ["", "{}", "null", "[true]", r#"{"open":1}"#, r#"{"open":"true"}"#, r#"{"open":true,"on":true}"#] {
        let status = house.post(GARAGE, body).await.status;
        assert_eq!(status, 422, "{body:?} was answered with {status}");
    }
    assert_eq!(house.send("POST", GARAGE, &[("content-type", "text/plain")], br#"{"open":true}"#).await.status, 415);
    assert_eq!(house.send("GET", GARAGE, &[], b"").await.header("allow"), Some("POST"));
    // Its doorbell has no lock: there is nothing at that address.
    assert_eq!(house.post(UNLOCK, "").await.status, 404);
    tally(Figure::UnlocksRefused, 10 - garage.acts().len(), 10);
    assert_eq!(garage.acts(), []);
    garage.stand(Some(LockState::Jammed), Some("Its motor is hot. Wait a quarter of an hour."));
    let mut state = house.doorbell.state();
    state.wait_for(|state| state.doors[&DoorKind::Garage].blocked.is_some()).await.unwrap();
    let expected = json!({"state": "stopped", "blocked": "Its motor is hot. Wait a quarter of an hour."});
    assert_eq!(house.get("/api/doorbells/fake_1").await.json()["garage"], expected);
    let refused = house.post(GARAGE, r#"{"open":true}"#).await.error();
    assert_eq!(refused, "Front Door: Its motor is hot. Wait a quarter of an hour.");
}

#[tokio::test]
async fn a_lock_that_fails_says_so_in_the_outcome() {
    let lock = FakeLock::new("lock_1");
    lock.fail("The bolt's gateway is unplugged.");
    let house = House::with_door(&lock, None).await;
    let reply = house.post(UNLOCK, "{}").await;
    let expected = json!({"ok": false, "error": "Front Door: The bolt's gateway is unplugged."});
    assert_eq!((reply.status, reply.json()), (202, expected));
}

#[tokio::test]
async fn an_enabled_door_moves_for_nothing_but_its_own_request() {
    let lock = FakeLock::new("lock_1");
    let house = House::with_door(&lock, Some(Token::new("key"))).await;
    let origin = format!("http://{}", house.address);
    let bearer = ("authorization", "Bearer key");
    let json = ("content-type", "application/json");
    type Wrong<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16);
    let wrong: [Wrong; 11] = [
        ("POST", &[json], "", 401),
        ("POST", &[json, ("authorization", "Bearer guess")], "", 401),
        ("POST", &[json, ("authorization", "Basic ZG9vcnN0ZXA6a2V5")], "", 401),
        ("POST", &[json, bearer, ("origin", "http://evil.example")], "", 403),
        ("POST", &[json, bearer, ("host", "evil.example")], "", 403),
        ("POST", &[bearer], "", 415),
        ("POST", &[bearer, ("content-type", "application/sdp")], "", 415),
        ("POST", &[bearer, ("content-type", "text/plain")], "{}", 415),
        ("POST", &[json, bearer], r#"{"on":true}"#, 422),
        ("POST", &[json, bearer], "[]", 422),
        ("GET", &[bearer], "", 405),
    ];
    for (method, headers, body, status) in wrong {
        let reply = house.send(method, UNLOCK, headers, body.as_bytes()).await;
        assert_eq!(reply.status, status, "{method} {headers:?} {body:?}");
    }
    let large = " ".repeat(300 * 1024);
    assert_eq!(house.send("POST", UNLOCK, &[json, bearer], large.as_bytes()).await.status, 413);
    assert_eq!(house.send("GET", UNLOCK, &[bearer], b"").await.header("allow"), Some("POST"));
    let tried = wrong.len() + 2;
    tally(Figure::UnlocksRefused, tried - lock.acts().len(), tried);
    assert_eq!(lock.acts(), []);
    let own = [json, bearer, ("origin", origin.as_str())];
    assert_eq!(house.send("POST", UNLOCK, &own, b"").await.json()["ok"], true);
    tally(Figure::UnlocksDone, lock.acts().len(), 1);
}

#[tokio::test]
async fn who_hangs_up_does_not_end_an_attempt_half_way() {
    let lock = FakeLock::new("lock_1");
    let house = House::with_door(&lock, None).await;
    lock.hang();
    let mut client = TcpStream::connect(house.address).await.unwrap();
    let head = format!(
        "POST {UNLOCK} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
        house.address
    );
    client.write_all(head.as_bytes()).await.unwrap();
    lock.until_asked(1).await;
    drop(client);
    lock.go_on();
    let told = async {
        while house.get("/api/doorbells/fake_1").await.json()["door"]["lock"] != "UNLOCKED" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("the outcome was lost with the one who asked");
}
