use super::*;
use crate::model::{Capability, LockState, Role};
use crate::vendor::vivint::devices::Kind;
use std::time::SystemTime;

const PANEL: i64 = 7_001_000_200_030_004;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../tests/vectors/vivint/vivint.json")).unwrap()
}

fn listing() -> Listing {
    Listing::read(PANEL, &vectors()["system"], Some(clock::now())).unwrap()
}

fn record(listing: &Listing, device: i64) -> &Record {
    listing.records.iter().find(|record| record.device.place.device == device).unwrap()
}

fn id(device: i64) -> DeviceId {
    Place { panel: PANEL, partition: 1, device }.id()
}

fn delta(fields: Value) -> Delta {
    Delta { device: fields["_id"].as_i64().unwrap(), fields: fields.as_object().unwrap().clone() }
}

#[test]
fn no_system_has_more_devices_than_a_house() {
    let partition = |number: i64| {
        let devices = (0..300).map(|n| json!({"_id": number * 1_000 + n, "t": "camera_device"}));
        json!({"parid": number, "d": devices.collect::<Vec<_>>()})
    };
    let body = json!({"system": {"par": [partition(1), partition(2), partition(3)]}});
    let listing = Listing::read(PANEL, &body, None).unwrap();
    assert_eq!((listing.records.len(), listing.skipped), (512, 388));
}

#[test]
fn an_account_names_its_systems_and_its_channel() {
    let account = vectors()["authuser"].clone();
    let read = AuthUser::read(&account).unwrap();
    assert_eq!((&read.panels[..], read.user.as_str()), (&[PANEL][..], "a1b2c3d4e5f60718293a4b5c"));
    assert_eq!(read.channel.as_deref(), Some("7f0c6f7e2b1d4e5a9c8b7a6d5e4f3021"));

    // As one fork has met it, and with one system that is no list.
    let mut listed = json!({ "u": [account["u"]] });
    listed["u"][0]["system"] = account["u"]["system"][0].clone();
    assert_eq!(AuthUser::read(&listed), Some(read));
    let poor = AuthUser::read(&json!({"u": {"mbc": "", "system": []}})).unwrap();
    assert_eq!((poor.channel, poor.panels), (None, vec![]));
    let odd = [json!({"u": {}}), json!({"u": {"system": [{}]}}), json!({"u": {"system": "x"}})];
    let nonsense = [json!(null), json!({}), json!({"u": []}), json!({"u": "x"}), json!({"u": [7]})];
    for nonsense in nonsense.into_iter().chain(odd) {
        assert_eq!(AuthUser::read(&nonsense), None, "{nonsense}");
    }
}

#[tokio::test]
async fn every_device_of_the_vector_is_understood() {
    let listing = listing();
    assert_eq!((listing.records.len(), listing.skipped), (5, 0));
    let found = |device| record(&listing, device).device.found(None);
    let told = |device| {
        let found = found(device);
        (found.info.id.to_string(), found.info.name, found.info.model, found.role, found.obstacle.is_some())
    };
    let text = str::to_owned;
    let number = |device: i64| format!("vivint_{PANEL}_{device}");
    assert_eq!(told(27), (number(27), text("Front Doorbell"), text("DBC350"), Role::Doorbell, false));
    assert_eq!(told(28), (number(28), text("Side Doorbell"), text("DB8332S1"), Role::Doorbell, false));
    assert_eq!(told(40), (number(40), text("Front Door"), text("Kwikset 988"), Role::Lock, false));
    assert_eq!(told(61), (number(61), text("Garage"), text("Garage door"), Role::Garage, false));
    assert_eq!(told(14), (number(14), text("Panel"), text("Primary touch link"), Role::Other, true));
    let all = [Capability::Ring, Capability::Motion, Capability::Stream, Capability::Talk, Capability::Snapshot].into();
    assert_eq!(found(27).info.capabilities, all);
    assert_eq!(found(27).info.firmware.as_deref(), Some("5.4.3"));
    assert_eq!(record(&listing, 40).device.door(), Some(LockState::Locked));
    assert_eq!(record(&listing, 61).device.door(), Some(LockState::Locked));
}

#[tokio::test]
async fn a_doorbell_says_where_its_pictures_are() {
    let listing = listing();
    let camera = record(&listing, 27).device.camera().unwrap().clone();
    let addresses = &vectors()["rtsp"];
    let lan = camera.lan.unwrap();
    let (host, port, path) = (lan.host, lan.port, lan.hd.unwrap());
    assert_eq!(addresses["local_hd"], format!("rtsp://{}:{}@{host}:{port}/{path}", lan.user, lan.password.expose()));
    let with_login = |url: Option<url::Url>| {
        let login = &vectors()["panel_login"];
        let mut url = url.unwrap();
        url.set_username(login["n"].as_str().unwrap()).unwrap();
        url.set_password(login["pswd"].as_str()).unwrap();
        String::from(url)
    };
    assert_eq!(addresses["panel_hd"], with_login(camera.panel.hd));
    assert_eq!(addresses["external_sd"], with_login(camera.external.sd));
    assert!(record(&listing, 28).device.camera().unwrap().lan.is_none(), "{}", addresses["side_doorbell_local"]);
    assert_eq!(camera.uuid.as_deref(), Some("3b6f0c52-5a0e-4c1f-9d57-0a1b2c3d4e5f"));
    let time = camera.thumbnail_at.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let path = vectors()["commands"]["thumbnail_get"]["path"].as_str().unwrap().to_owned();
    assert!(path.ends_with(&format!("time={time}")), "{path}");
}

#[tokio::test]
async fn one_device_that_cannot_be_read_loses_no_other() {
    let mut body = vectors()["system"].clone();
    let devices = body["system"]["par"][0]["d"].as_array_mut().unwrap();
    devices.insert(0, json!(7));
    devices.insert(2, json!({"t": "camera_device"}));
    devices.push(json!({"_id": 27, "t": "door_lock_device"}));
    let listing = Listing::read(PANEL, &body, None).unwrap();
    assert_eq!((listing.records.len(), listing.skipped), (5, 3));
    assert!(matches!(record(&listing, 27).device.kind, Kind::Camera(_)));
    for nonsense in [json!({}), json!({"system": {}}), json!({"system": {"par": [{"parid": 1}]}}), json!("x")] {
        assert!(Listing::read(PANEL, &nonsense, None).is_none(), "{nonsense}");
    }
    assert!(Listing::read(PANEL, &json!({"system": {"par": []}}), None).unwrap().records.is_empty());
}

#[tokio::test]
async fn no_mutation_of_a_listing_panics() {
    const SEED: u64 = 0x5eed_0004;
    let mut random = SEED;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for round in 0..500 {
        let mut body = vectors()["system"].clone();
        for _ in 0..=next(6) {
            let odd = [
                json!(null),
                json!(-1),
                json!(u64::MAX),
                json!(1e308),
                json!(""),
                json!("ü\u{0}://@:"),
                json!([]),
                json!([[{}]]),
                json!({"t": 2, "ca": 5}),
                json!(true),
            ];
            mutate(&mut body, odd[next(odd.len())].clone(), &mut next);
        }
        if let Some(listing) = Listing::read(PANEL, &body, None) {
            for record in &listing.records {
                drop((record.device.found(None), record.diagnosis(), record.device.door()));
            }
            let mut systems = Systems::default();
            systems.learn(listing.records, clock::now());
            let kept = systems.to_keep();
            assert_eq!(Systems::kept(&kept).len(), systems.all().count(), "round {round} of seed {SEED:#x}: {body}");
        }
    }
}

/// Puts `odd` in the place of something.
fn mutate(value: &mut Value, odd: Value, next: &mut impl FnMut(usize) -> usize) {
    let stop = next(6) == 0;
    match value {
        Value::Object(fields) if !stop && !fields.is_empty() => {
            let at = next(fields.len());
            mutate(fields.values_mut().nth(at).unwrap(), odd, next);
        }
        Value::Array(list) if !stop && !list.is_empty() => {
            let at = next(list.len());
            mutate(&mut list[at], odd, next);
        }
        value => *value = odd,
    }
}

#[tokio::test]
async fn what_is_told_for_a_diagnosis_names_nobody_and_opens_nothing() {
    let mut body = vectors()["system"].clone();
    let doorbell = &mut body["system"]["par"][0]["d"][1];
    assert_eq!(doorbell["_id"], 27);
    doorbell["fea"]["owner@example.test"] = json!(true);
    doorbell["wiss"] = json!({"deep": ["a secret text"]});
    doorbell["owner@example.test"] = json!(1);
    let listing = Listing::read(PANEL, &body, None).unwrap();
    let told = record(&listing, 27).diagnosis();
    assert_eq!((&told["act"], &told["rssi"]), (&json!("vivint_dbc350_camera_device"), &json!(-54)));
    assert_eq!(told["caca"], body["system"]["par"][0]["d"][1]["caca"]);
    assert!(told["withheld"].as_array().unwrap().contains(&json!("pswd")), "{told}");
    let texts = listing.records.iter().map(|record| record.diagnosis().to_string()).collect::<String>();
    for secret in [
        "not-a-real-password",
        "viewer",
        "3b6f0c52",
        "02005E",
        "192.0.2",
        "rtsp:",
        "https:",
        "tl000000",
        "Smart Hub",
        "example.test",
        "a secret text",
        "Front Doorbell",
    ] {
        assert!(!texts.contains(secret), "{secret} is told: {texts}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_was_asked_for_before_a_push_does_not_undo_it() {
    let mut systems = Systems::default();
    systems.learn(listing().records, clock::now());
    let asked = clock::now();
    let stale = listing().records;
    tokio::time::advance(Duration::from_secs(1)).await;
    let unlocked = systems.apply(PANEL, &delta(json!({"_id": 40, "s": false}))).unwrap();
    assert_eq!(unlocked.device.door(), Some(LockState::Unlocked));
    systems.learn(stale, asked);
    assert_eq!(systems.get(&id(40)).unwrap().device.door(), Some(LockState::Unlocked));
    tokio::time::advance(Duration::from_secs(1)).await;
    systems.learn(listing().records, clock::now());
    assert_eq!(systems.get(&id(40)).unwrap().device.door(), Some(LockState::Locked));
}

#[tokio::test]
async fn a_doorbell_that_is_listed_without_what_it_can_do_stays_one() {
    let mut systems = Systems::default();
    systems.learn(listing().records, clock::now());
    let mut body = vectors()["system"].clone();
    for device in body["system"]["par"][0]["d"].as_array_mut().unwrap() {
        *device = json!({"_id": device["_id"], "t": device["t"]});
    }
    systems.learn(Listing::read(PANEL, &body, Some(clock::now())).unwrap().records, clock::now());
    let found = systems.get(&id(27)).unwrap().device.found(None);
    assert_eq!((found.role, found.info.name.as_str()), (Role::Doorbell, "Front Doorbell"));
}

#[tokio::test]
async fn a_push_for_what_is_not_known_changes_nothing() {
    let mut systems = Systems::default();
    systems.learn(listing().records, clock::now());
    assert!(systems.apply(PANEL, &delta(json!({"_id": 99, "s": true}))).is_none());
    assert!(systems.apply(PANEL + 1, &delta(json!({"_id": 40, "s": false}))).is_none());
    assert_eq!(systems.get(&id(40)).unwrap().device.door(), Some(LockState::Locked));
}

#[tokio::test]
async fn what_is_kept_is_enough_for_the_next_start_and_does_not_change_by_itself() {
    let mut systems = Systems::default();
    systems.learn(listing().records, clock::now());
    let kept = systems.to_keep();
    systems.apply(PANEL, &delta(json!({"_id": 27, "wiss": 1, "ctd": "2027-01-15T18:00:05", "ts": "x"})));
    systems.apply(PANEL, &delta(json!({"_id": 40, "s": false, "bl": 3})));
    assert_eq!(systems.to_keep(), kept);

    let records = Systems::kept(&kept);
    assert_eq!(records.len(), 5);
    for record in &records {
        let listed = systems.get(&record.device.place.id()).unwrap();
        assert_eq!(record.device.found(None), listed.device.found(None));
        assert_eq!(record.device.place, listed.device.place);
        // How a lock stood in an earlier run says nothing.
        assert_eq!((record.device.door(), record.told), (None, None));
    }
    assert!(Systems::kept(&json!("nonsense")).is_empty());
}
