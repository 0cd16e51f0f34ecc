//! Whatever an account's cloud answers, each of the three is left alone for as long as it wants, is never waited for
//! longer than 15 s, and takes nothing away that was there (fault matrix, rows 15 and 16).

use std::time::Duration;

use doorstep::clock;
use doorstep::net::supervise::Retry;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::crooked_cloud::{Wrong, time_goes_by};
use crate::support::three_clouds::{At, Failure, Front, listing};

const HOUR: Duration = Duration::from_secs(3_600);
/// Of what should be quick, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// As servers write it. The day of the week counts for nothing.
fn http_date(from_now: Duration) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = clock::rfc3339(clock::unix_now() + from_now);
    let month = MONTHS[text[5..7].parse::<usize>().unwrap() - 1];
    format!("Sat, {} {month} {} {} GMT", &text[8..10], &text[..4], &text[11..19])
}

/// A cloud that answers HTTP 429 and this, and from when to when it must be asked no more.
async fn row_15_is_obeyed(front: &Front, retry_after: &str, at_least: Duration, at_most: Duration) {
    let (path, name) = (front.list_path(), front.name());
    let devices = front.list().await.unwrap();
    let before = front.crooked.asked(path);
    front.crooked.says(path, Wrong::status(429, &[("retry-after", retry_after)]));
    let told = front.list().await.unwrap_err();
    assert!(matches!(told.retry, Retry::After(_)), "{name} {retry_after}: {told:?}");
    let all = join_all((0..50).map(|_| front.list())).await;
    assert!(all.iter().all(Result::is_err), "{name} {retry_after}");
    time_goes_by(at_least).await;
    assert!(front.list().await.is_err(), "{name} {retry_after}");
    assert_eq!(front.crooked.asked(path) - before, 1, "{name} {retry_after}: it was not left alone");
    front.crooked.is_honest_again();
    time_goes_by(at_most - at_least).await;
    let again = front.list().await;
    assert!(matches!(again, Ok(now) if now == devices), "{name} {retry_after}: {again:?}");
    assert_eq!(front.crooked.asked(path) - before, 2, "{name} {retry_after}");
    // A role lasts for an hour.
    assert!(front.logins() <= if matches!(front.at, At::Aws { .. }) { 2 } else { 1 }, "{name} {retry_after}");
}

#[tokio::test]
async fn row_15_each_cloud_is_left_alone_for_as_many_seconds_as_it_says() {
    for front in Front::each().await {
        row_15_is_obeyed(&front, "40", s(30), s(41)).await;
    }
}

#[tokio::test]
async fn row_15_each_cloud_is_left_alone_until_the_date_that_it_says() {
    for front in Front::each().await {
        row_15_is_obeyed(&front, &http_date(s(60)), s(50), s(62)).await;
    }
}

#[tokio::test]
async fn row_15_a_cloud_that_wants_to_be_left_alone_for_ten_years_is_asked_again_after_an_hour() {
    for front in Front::each().await {
        row_15_is_obeyed(&front, "315360000", HOUR - s(15), HOUR + s(1)).await;
        assert_eq!(front.refreshes(), if matches!(front.at, At::Wyze { .. }) { 0 } else { 1 }, "{}", front.name());
    }
}

#[tokio::test]
async fn row_15_a_network_that_has_blocked_us_is_asked_once_in_an_hour() {
    for front in [Front::wyze().await, Front::vivint().await] {
        let (path, name) = (front.list_path(), front.name());
        let devices = front.list().await.unwrap();
        let before = front.crooked.asked(path);
        let page = Wrong::Says { status: 403, headers: Vec::new(), body: b"<html>blocked".to_vec() };
        front.crooked.says(path, page);
        for minutes in [0, 20, 20, 19] {
            time_goes_by(s(60 * minutes)).await;
            let told = front.list().await.unwrap_err();
            assert!(told.says.contains("HTTP 403") && matches!(told.retry, Retry::After(_)), "{name}: {told:?}");
        }
        assert_eq!(front.crooked.asked(path) - before, 1, "{name}");
        time_goes_by(s(61)).await;
        front.is_none_the_worse(devices).await;
    }
}

/// What comes instead of a list, and what its error says.
fn row_16_answers() -> Vec<(&'static str, Wrong, &'static str)> {
    let says = |status, body: &[u8]| Wrong::Says { status, headers: Vec::new(), body: body.to_vec() };
    let gzip = || vec![("content-encoding", "gzip".to_owned())];
    let piece = vec![b' '; 64 << 10];
    let endless = |headers| Wrong::Endless { headers, piece: piece.clone(), pause: Duration::ZERO };
    let large = says(200, &vec![b' '; (4 << 20) + 1]);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    vec![
        ("500", says(500, b"<html>"), "trouble of its own"),
        ("503", says(503, b""), "trouble of its own"),
        ("reset", Wrong::Reset, "broke off"),
        ("endless", endless(Vec::new()), "more than 4 MiB"),
        ("large", large, "more than 4 MiB"),
        ("gzip bomb", endless(gzip()), "compressed answer"),
        ("a web page", says(200, b"<html>"), "web page"),
        ("no JSON", says(200, b"\0\x01"), "cannot be read"),
        ("truncated", says(200, br#"{"code":"1","data":{"device_list":[{"ma"#), "cannot be read"),
        ("nothing", says(200, b""), "cannot be read"),
        ("deep", says(200, deep.as_bytes()), "nested more than 32 deep"),
    ]
}

#[tokio::test]
async fn row_16_whatever_comes_instead_of_a_list_is_told_in_a_sentence_and_soon_over() {
    for front in Front::each().await {
        let devices = front.list().await.unwrap();
        for (what, wrong, phrase) in row_16_answers() {
            let before = front.crooked.asked(front.list_path());
            front.crooked.says(front.list_path(), wrong);
            let listed = tokio::time::timeout(SOON, front.list()).await.expect("in time");
            let Failure { says, .. } = listed.unwrap_err();
            assert!(says.contains(phrase) && says.ends_with('.'), "{}, {what}: {says}", front.name());
            assert_eq!(front.crooked.asked(front.list_path()) - before, 1, "{}, {what}", front.name());
        }
        front.is_none_the_worse(devices).await;
    }
}

/// The clock leaps, so that nobody waits for a quarter of a minute.
#[tokio::test]
async fn row_16_a_cloud_that_stalls_or_drips_is_given_up_after_15_s() {
    let drip = || Wrong::Endless { headers: Vec::new(), piece: b" ".to_vec(), pause: Duration::from_millis(250) };
    for front in Front::each().await {
        let devices = front.list().await.unwrap();
        for wrong in [Wrong::Silence, drip()] {
            let before = front.crooked.asked(front.list_path());
            front.crooked.says(front.list_path(), wrong.clone());
            let begun = clock::now();
            let (listed, ()) = tokio::join!(front.list(), async {
                front.crooked.is_asked(front.list_path(), before + 1).await;
                time_goes_by(s(14)).await;
            });
            let Failure { says, .. } = listed.unwrap_err();
            assert!(says.contains("did not answer in time"), "{}: {says}", front.name());
            let took = begun.elapsed();
            assert!((s(15)..s(25)).contains(&took), "{}: given up after {took:?}", front.name());
        }
        front.is_none_the_worse(devices).await;
    }
}

/// One device that cannot be read, of each kind of mistake.
fn row_16_broken() -> Vec<Value> {
    let deep: Value = serde_json::from_str(&format!("{}1{}", "[".repeat(20), "]".repeat(20))).unwrap();
    vec![
        Value::Null,
        json!("a text"),
        json!(7),
        json!([]),
        json!({}),
        json!({"mac": 12, "_id": "twelve", "ChannelName": {}, "product_model": null}),
        json!({"mac": deep, "_id": deep, "ChannelName": deep}),
        json!({"mac": "", "_id": null, "ChannelName": "", "ChannelARN": ""}),
    ]
}

/// Devices as the cloud itself lists them, and where they are in its answer.
fn listed(front: &Front, answer: &[u8]) -> Vec<Value> {
    let mut answer: Value = serde_json::from_slice(answer).unwrap();
    let devices = match front.at {
        At::Wyze { .. } => &mut answer["data"]["device_list"],
        At::Vivint { .. } => &mut answer["system"]["par"][0]["d"],
        At::Aws { .. } => &mut answer["ChannelInfoList"],
    };
    serde_json::from_value(devices.take()).unwrap()
}

#[tokio::test]
async fn row_16_a_device_that_cannot_be_read_takes_no_other_away_and_no_answer_takes_them_all() {
    for front in Front::each().await {
        let house = front.house().await;
        let there = house.doorbells.all().len();
        assert!(there > 0, "{}", front.name());
        let good = listed(&front, &front.crooked.answer(front.list_path()));
        let between = good.iter().flat_map(|device| [vec![device.clone()], row_16_broken()].concat()).collect();
        let broken = Wrong::json(listing(&front, between));
        let wrong = row_16_answers().into_iter().filter(|(what, ..)| ["500", "a web page", "nothing"].contains(what));
        let types = Wrong::json(listing(&front, row_16_broken()));
        for (what, wrong) in wrong.map(|(what, wrong, _)| (what, wrong)).chain([("broken", broken), ("types", types)]) {
            front.crooked.says(front.list_path(), wrong);
            // Whoever is missing twice is gone.
            for _ in 0..3 {
                let before = front.crooked.asked(front.list_path());
                time_goes_by(s(121)).await;
                house.accounts.rediscover();
                front.crooked.is_asked(front.list_path(), before + 1).await;
            }
            assert_eq!(house.doorbells.all().len(), there, "{}, {what}", front.name());
            front.crooked.is_honest_again();
        }
        house.end().await;
    }
}
