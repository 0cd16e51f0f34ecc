//! Clouds that mean harm. After whatever they do the house goes on, its memory has an end, nobody logs in again and
//! again, nothing is asked that they point at, and nothing is opened.

use std::time::{Duration, UNIX_EPOCH};

use doorstep::clock;
use doorstep::doorbell::Vendor;
use doorstep::model::{DeviceId, Found};
use doorstep::sim::aws::AwsCommand;
use doorstep::sim::wyze_cloud::{CloudCommand, Scripted};
use serde_json::{Value, json};

use crate::support::crooked_cloud::{Asked, Wrong, memory_mib, time_goes_by};
use crate::support::kvs_house::{Cloud, DOORBELL};
use crate::support::mosquitto::until;
use crate::support::three_clouds::{At, Bystander, Front, listing};

const LONG: Duration = Duration::from_secs(20);
const EVENTS_4: &str = "/app/v4/device/get_event_list";

/// What a device with this id and this name looks like in a list.
fn device(front: &Front, id: &str, name: &str) -> Value {
    match front.at {
        At::Wyze { .. } => json!({"mac": id, "nickname": name, "product_model": "WYZEDB3", "product_type": "Camera"}),
        At::Vivint { .. } => {
            let number: i64 = id.bytes().fold(7, |number, byte| number * 31 % 1_000_003 + i64::from(byte));
            let is_doorbell = json!([{"t": 1, "ca": [5]}, {"t": 2}]);
            json!({"_id": number, "n": name, "t": "camera_device", "act": "vivint_dbc350_camera_device",
                "caca": is_doorbell})
        }
        At::Aws { .. } => json!({"ChannelName": id, "ChannelType": "SINGLE_MASTER", "ChannelStatus": "ACTIVE",
            "ChannelARN": format!("arn:aws:kinesisvideo:us-east-1:123456789012:channel/{id}/1700000000000")}),
    }
}

#[tokio::test]
async fn hostile_cloud_redirects_whoever_has_a_token_to_another_host() {
    let elsewhere = Bystander::start().await;
    for front in Front::each().await {
        let devices = front.list().await.unwrap();
        for status in [301, 302, 303, 307, 308] {
            front.crooked.says(front.list_path(), Wrong::status(status, &[("location", &elsewhere.url())]));
            front.list().await.unwrap_err();
        }
        assert_eq!(front.crooked.asked(front.list_path()), 6, "{}: it was not redirected", front.name());
        front.is_none_the_worse(devices).await;
    }
    assert_eq!(elsewhere.visits(), 0);
}

#[tokio::test]
async fn hostile_cloud_sends_a_login_elsewhere_or_ends_it_in_somebody_elses() {
    let elsewhere = Bystander::start().await;
    let follow = |to: String| Wrong::json(json!({"url": to}));
    let somebody = "vivint://app/oauth_redirect?code=theirs&state=of-another-login";
    let at_home = || follow("/oauth2/auth/next".to_owned());
    for (next, end) in [
        (follow(elsewhere.url()), None),
        (follow(format!("//{}", elsewhere.url().trim_start_matches("http://"))), None),
        (follow("file:///etc/passwd".to_owned()), None),
        (at_home(), Some(elsewhere.url())),
        (at_home(), Some(somebody.to_owned())),
        (at_home(), Some("/oauth2/auth/next".to_owned())),
    ] {
        let front = Front::vivint().await;
        front.crooked.answers(move |asked: &Asked| match (asked.path.as_str(), &end) {
            ("/idp/api/submit", _) => Some(next.clone()),
            ("/oauth2/auth/next", Some(end)) => Some(Wrong::status(302, &[("location", end)])),
            _ => None,
        });
        for _ in 0..3 {
            front.list().await.unwrap_err();
        }
        assert_eq!((front.logins(), front.crooked.asked("/oauth2/token")), (1, 0), "it was taken for a login");
        assert_eq!(front.crooked.asked("/api"), 0, "a call was made with somebody else's login");
        assert!(front.crooked.asked("/oauth2/auth/next") <= 5);
    }
    assert_eq!(elsewhere.visits(), 0);
}

#[tokio::test]
async fn hostile_cloud_lists_a_hundred_thousand_devices() {
    for front in Front::each().await {
        let devices = front.list().await.unwrap();
        let house = front.house().await;
        let before = memory_mib();
        for many in [100_000, 15_000] {
            let all = (0..many).map(|n| device(&front, &format!("D{n}"), "D")).collect();
            front.crooked.says(front.list_path(), Wrong::json(listing(&front, all)));
            for _ in 0..2 {
                let asked = front.crooked.asked(front.list_path());
                time_goes_by(Duration::from_secs(121)).await;
                house.accounts.rediscover();
                front.crooked.is_asked(front.list_path(), asked + 1).await;
            }
        }
        // The smaller list fits into an answer; no house has as many doorbells.
        until("it is listed", || house.doorbells.all().len() > 100).await;
        let there = house.doorbells.all().len();
        assert!(there <= 1_000 + devices, "{}: {there} doorbells", front.name());
        let grown = memory_mib().saturating_sub(before);
        assert!(grown < 400, "{}: {grown} MiB", front.name());
        house.end().await;
        front.is_none_the_worse(devices).await;
    }
}

/// Paths, wildcards of MQTT, pages, and a quarter of a mebibyte, which stands in four places.
fn names() -> Vec<String> {
    let odd = [
        "../../../etc/passwd",
        "a/+/#",
        "doorstep/fake_1/lock/set",
        "<script>alert(1)</script>",
        "\u{0}\u{1b}[31m\u{202e}door",
        "{{ states('lock.front') }}",
        "'; DROP TABLE doors; --",
        "%2e%2e%2f",
        "日本のドア",
    ];
    odd.into_iter().map(str::to_owned).chain([format!("long{}", "x".repeat(1 << 18))]).collect()
}

fn is_harmless(found: &Found) {
    let id = found.info.id.as_str();
    assert!(DeviceId::parse(id).is_ok() && id.len() <= 64, "{id}");
    for text in [&found.info.name, &found.info.model, &found.info.firmware.clone().unwrap_or_default()] {
        assert!(text.chars().count() <= 256, "{} characters", text.chars().count());
    }
}

#[tokio::test]
async fn hostile_cloud_names_devices_as_paths_wildcards_pages_and_a_mebibyte() {
    for front in Front::each().await {
        let devices = front.list().await.unwrap();
        let own = front.vendor().discover().await.unwrap().len();
        // One in each listing, and all that fit into one.
        let each = names().into_iter().map(|name| {
            let mut device = device(&front, &name, &name);
            let fields = device.as_object_mut().unwrap();
            for key in ["product_model", "firmware_ver", "act", "sv", "ChannelType"] {
                if fields.contains_key(key) || matches!(key, "firmware_ver" | "sv") {
                    fields.insert(key.to_owned(), name.as_str().into());
                }
            }
            device
        });
        for odd in each.collect::<Vec<_>>() {
            let good = device(&front, "Good", "Good");
            front.crooked.says(front.list_path(), Wrong::json(listing(&front, vec![good, odd])));
            let found = front.vendor().discover().await.unwrap_or_default();
            assert!(found.len() <= 2 && own > 0, "{}", front.name());
            found.iter().for_each(is_harmless);
        }
        front.is_none_the_worse(devices).await;
    }
}

#[tokio::test]
async fn hostile_cloud_bombs_with_gzip_lies_about_lengths_and_never_ends() {
    for front in Front::each().await {
        let devices = front.list().await.unwrap();
        let before = memory_mib();
        let headers =
            |of: &[(&'static str, &str)]| of.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        for headers in [
            headers(&[("content-encoding", "gzip")]),
            headers(&[("content-encoding", "br, zstd, deflate")]),
            headers(&[("content-length", "1099511627776")]),
            headers(&[("content-type", "application/json")]),
        ] {
            let (piece, pause) = (vec![0x1f; 256 << 10], Duration::ZERO);
            front.crooked.says(front.list_path(), Wrong::Endless { headers, piece, pause });
            tokio::time::timeout(LONG, front.list()).await.expect("in time").unwrap_err();
        }
        let grown = memory_mib().saturating_sub(before);
        assert!(grown < 64, "{}: {grown} MiB", front.name());
        front.is_none_the_worse(devices).await;
    }
}

#[tokio::test]
async fn hostile_cloud_nests_ten_thousand_deep_wherever_it_is_asked() {
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
    for body in [nested("[", "]"), nested(r#"{"a":"#, "}"), "[".repeat(1_000_000)] {
        for front in Front::each().await {
            let wrong = Wrong::Says { status: 200, headers: Vec::new(), body: body.clone().into_bytes() };
            let devices = front.list().await.unwrap();
            front.crooked.says(front.list_path(), wrong.clone());
            front.list().await.unwrap_err();
            // A login of somebody who has none yet, everything of it nested.
            let before = front.logins();
            front.crooked.answers(move |_| Some(wrong.clone()));
            front.vendor().discover().await.unwrap_err();
            assert!(front.logins() <= before + 1, "{}", front.name());
            front.is_none_the_worse(devices).await;
        }
    }
}

/// An event as the fourth list of Wyze has it.
fn event(id: &str, device: &str, at_ms: u64) -> Value {
    json!({"event_id": id, "device_id": device, "event_value": "10", "event_ts": at_ms, "tag_list": [], "file_list": []})
}

#[tokio::test]
async fn hostile_cloud_rings_again_backwards_from_the_future_and_ten_thousand_times() {
    let front = Front::wyze().await;
    let devices = front.list().await.unwrap();
    let At::Wyze { account, .. } = &front.at else { unreachable!() };
    let door = account.cloud.devices().into_iter().find(|device| device.model == "WYZEDB3").unwrap().mac;
    let house = front.house().await;
    let id = DeviceId::from_hardware("wyze", &door);
    until("its doorbell", || house.doorbells.get(&id).is_some()).await;
    let doorbell = house.doorbells.get(&id).unwrap();
    front.crooked.is_asked(EVENTS_4, 1).await;
    let now = || u64::try_from(clock::unix_now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let before = memory_mib();

    let (at, of) = (now(), door.clone());
    let backwards: Vec<Value> = (0..5_000).map(|n| event(&format!("b{}", n % 3), &of, at - n)).collect();
    let old: Vec<Value> = (0..50).map(|n| event(&format!("o{n}"), &of, at - 3_600_000 * (n + 1))).collect();
    let future = [u64::MAX, 253_402_300_800_000, at + 86_400_000].map(|at| event("f", &of, at)).to_vec();
    let flood: Vec<Value> = (0..10_000).map(|n| event(&format!("n{n}"), &of, at)).collect();
    let mut rung = 0;
    for (what, list, most) in [("again", backwards, 3), ("old", old, 0), ("future", future, 1), ("flood", flood, 200)] {
        front.crooked.says(EVENTS_4, Wrong::json(json!({"code": "1", "data": {"event_list": list}})));
        // Said again and again, it is told once.
        for _ in 0..3 {
            let asked = front.crooked.asked(EVENTS_4);
            time_goes_by(Duration::from_secs(10)).await;
            front.crooked.is_asked(EVENTS_4, asked + 1).await;
        }
        let now = doorbell.rings_total();
        assert!(now - rung <= most, "{what}: {} rings", now - rung);
        rung = now;
    }
    assert!(rung > 0, "nothing of it was heard");
    assert!(doorbell.rings().len() <= 100, "{} are remembered", doorbell.rings().len());
    let grown = memory_mib().saturating_sub(before);
    assert!(grown < 128, "{grown} MiB");
    // Whoever really rings is heard.
    front.crooked.is_honest_again();
    account.cloud.obey(CloudCommand::Happen(Scripted::ring().at(&door))).unwrap();
    time_goes_by(Duration::from_secs(6)).await;
    until("the ring", || doorbell.rings_total() > rung).await;
    house.end().await;
    front.is_none_the_worse(devices).await;
}

#[tokio::test]
async fn hostile_cloud_floods_aws_iot_with_rings() {
    let cloud = Cloud::new().await;
    let house = cloud.house();
    house.is_ready().await;
    let doorbell = house.doorbell(DOORBELL).await;
    let heard = async {
        while doorbell.rings_total() == 0 {
            cloud.obey(AwsCommand::Ring { channel: None });
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(LONG, heard).await.expect("no ring is heard");
    let (before, rung, begun) = (memory_mib(), doorbell.rings_total(), clock::now());
    for _ in 0..10_000 {
        cloud.obey(AwsCommand::Ring { channel: None });
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (more, seconds) = (doorbell.rings_total() - rung, begun.elapsed().as_secs());
    assert!(more <= seconds + 2, "{more} rings in {seconds} s");
    let grown = memory_mib().saturating_sub(before);
    assert!(grown < 64, "{grown} MiB");
    assert_eq!(cloud.kvs().discover().await.unwrap().len(), 1);
    house.is_ready().await;
    house.end().await;
}

#[tokio::test]
async fn hostile_cloud_has_a_still_picture_fetched_from_elsewhere() {
    let elsewhere = Bystander::start().await;
    let front = Front::vivint().await;
    let devices = front.list().await.unwrap();
    let At::Vivint { account, client, .. } = &front.at else { unreachable!() };
    let camera =
        doorstep::vendor::vivint::devices::Place { panel: account.cloud.settings.panel, partition: 1, device: 27 };
    let port = elsewhere.url().rsplit(':').next().unwrap().to_owned();
    for location in [
        elsewhere.url(),
        format!("http://localhost:{port}"),
        format!("//127.0.0.1:{port}"),
        format!("https://127.0.0.1:{port}"),
        format!("https://localhost:{port}"),
        "file:///etc/passwd".to_owned(),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://homeassistant/".to_owned(),
    ] {
        let to = Wrong::status(302, &[("location", &location)]);
        front.crooked.answers(move |asked| asked.path.ends_with("/camera-thumbnail").then(|| to.clone()));
        let error = client.thumbnail(camera, clock::unix_now()).await.unwrap_err();
        assert!(error.to_string().contains("no still picture"), "{location}: {error}");
    }
    assert_eq!(elsewhere.visits(), 0);
    front.is_none_the_worse(devices).await;
}
