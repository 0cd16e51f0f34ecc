//! A cloud may call a doorbell anything: whatever it is, it is text on the page, and no topic and no entity is made of it.

use axum::Router;
use doorstep::doorbell::vendor::Retry;
use doorstep::model::{Account, AccountLink, Capability, DeviceId, DeviceInfo};
use serde_json::Value;

use crate::support::browser::{Browser, Page};
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::House;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt_house;

/// What would run if any of it were markup, and where it would leave its mark.
const MARKUP: &str = "<img src=x onerror=\"window.owned=1;alert(1)\"><script>window.owned=1</script>\
                      <svg onload=alert(1)><iframe srcdoc='<script>parent.owned=1</script>'>";

/// What a cloud may say, and what is shown of it.
fn names() -> Vec<(String, String)> {
    let cut = |text: &str| text.chars().take(100).collect::<String>().trim().to_owned();
    let (words, wide) = ("Front door ".repeat(930), "W".repeat(10_000));
    let as_it_is = [
        "a/+/#",
        "🔔🚪👩‍👩‍👧‍👦🏳️‍🌈",
        "דלת הכניסה",
        "${7*7} {{ states('lock.front_door') }} `code` &lt;b&gt; \"'\\",
        &cut(MARKUP),
    ];
    let mut names: Vec<_> = as_it_is.map(|name| (name.to_owned(), name.to_owned())).into();
    names.extend([
        (MARKUP.to_owned(), cut(MARKUP)),
        (words.clone(), cut(&words)),
        (wide.clone(), cut(&wide)),
        ("\u{202e}rood tnorF\u{2067} x".to_owned(), "rood tnorF x".to_owned()),
        (" \u{0}\r\n\t\u{7f}\u{2028} ".to_owned(), format!("fake_{}", names.len() + 5)),
    ]);
    names
}

fn named(n: usize, name: &str) -> DeviceInfo {
    DeviceInfo {
        id: DeviceId::parse(&format!("fake_{n}")).unwrap(),
        name: name.to_owned(),
        vendor: "fake",
        model: MARKUP.to_owned(),
        firmware: Some(name.to_owned()),
        capabilities: [Capability::Ring].into(),
    }
}

/// Nothing of it became an element, ran, or was even tried: the browser reports what its policy has stopped.
async fn is_only_text(browser: &Browser, page: &Page) {
    let made =
        "document.querySelectorAll('main img:not([src=\"assets/icon.svg\"]), .banner img, main script, iframe, b')";
    assert_eq!(page.value(&format!("[...{made}].map((e) => e.outerHTML).join()")).await, "");
    assert_eq!(page.value("window.owned ?? null").await, Value::Null, "a script of a name ran");
    let complaints = browser.complaints().await;
    // These houses have no pictures, and the browser tells of each request for one.
    assert!(complaints.iter().all(|told| told.contains("status of 404")), "{complaints:?}");
}

#[tokio::test]
async fn hostile_page_of_a_doorbells_name_is_shown_as_text_and_keeps_its_place() {
    let browser = Browser::launch().await;
    let names = names();
    let house = House::with(FakeVendor::of(named(1, &names[0].0)), None, Router::new()).await;
    let mut vendors = vec![house.vendor.clone()];
    for (n, (name, _)) in names.iter().enumerate().skip(1) {
        let vendor = FakeVendor::of(named(n + 1, name));
        house.doorbells.insert(vendor.doorbell(&house.stop));
        vendor.lives(1).await;
        vendors.push(vendor);
    }
    let page = browser.open(&house.url()).await;
    page.until(&format!("document.querySelectorAll('.card').length === {}", names.len())).await;
    page.until("document.getElementById('broker').textContent.includes('connected')").await;
    for (n, vendor) in vendors.iter().enumerate() {
        vendor.ring(&format!("r{n}"));
    }
    page.until(&format!("document.querySelectorAll('.banner').length === {}", names.len())).await;
    page.until(&format!("document.querySelectorAll('#rings li').length === {}", names.len())).await;
    let listed = page.value("[...document.querySelectorAll('#rings .who')].map((e) => e.textContent)").await;
    for (n, (name, shown)) in names.iter().enumerate() {
        let title = page.value(&format!("document.querySelector('#doorbell-fake_{} h2').textContent", n + 1)).await;
        assert_eq!(title, shown.as_str(), "of {name:?}");
        assert!(listed.as_array().unwrap().contains(&Value::from(shown.as_str())), "{shown:?} is not among the rings");
    }
    is_only_text(&browser, &page).await;
    for width in [320, 1280] {
        page.look(width, "light").await;
        page.until(&format!("innerWidth === {width} && document.documentElement.scrollWidth <= innerWidth")).await;
        page.until("[...document.querySelectorAll('.card h2, .banner')].every((e) => e.offsetHeight < 200)").await;
    }
}

#[tokio::test]
async fn hostile_page_of_what_an_account_or_a_camera_says_is_only_text() {
    let browser = Browser::launch().await;
    let house = House::open().await;
    let why = format!("{MARKUP} `{MARKUP}` {}", "x".repeat(10_000));
    house.account.stands(Account { link: AccountLink::NeedsAttention { why: why.clone() }, ..Account::default() });
    let page = browser.open(&house.url()).await;
    page.until("document.querySelector('.account-why').textContent.startsWith('<img src=x')").await;
    house.vendor.end_life(Err(FakeVendor::error(&why, Retry::WaitForUser)));
    page.until("document.querySelector('.veil-reason').textContent.startsWith('<img src=x')").await;
    page.until("document.querySelector('.veil-reason code').textContent.startsWith('<img src=x')").await;
    is_only_text(&browser, &page).await;
    page.look(320, "dark").await;
    page.until("innerWidth === 320 && document.documentElement.scrollWidth <= innerWidth").await;
}

#[tokio::test]
async fn no_topic_and_no_entity_is_made_of_a_name() {
    let broker = Mosquitto::start().await;
    for (name, shown) in names() {
        let vendor = FakeVendor::of(named(1, &name));
        let house = mqtt_house::House::with(vendor, mqtt_house::settings(broker.settings())).await;
        house.connected().await;
        let mut witness = broker.listen("#").await;
        let told = witness.until_fence().await;
        let ours = ["doorstep/status", "doorstep/bridge/", "doorstep/fake_1/", "homeassistant/device/doorstep_"];
        for heard in &told {
            let topic = &heard.topic;
            assert!(ours.iter().any(|known| topic.starts_with(known)), "{name:?} made the topic {topic:?}");
            assert!(topic.chars().all(|c| c.is_ascii_alphanumeric() || "_/".contains(c)), "{name:?}: {topic:?}");
        }
        let discovery = "homeassistant/device/doorstep_fake_1/config";
        let device = told.iter().find(|heard| heard.topic == discovery).expect("the doorbell is told of").json();
        let own = device["device"]["name"].as_str().unwrap();
        assert!(own == shown || own == "fake_1", "{name:?} is shown as {own:?}");
        for (key, component) in device["components"].as_object().unwrap() {
            let entity = component["default_entity_id"].as_str();
            let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
            assert!(entity.is_none_or(|id| plain(id) && id.len() < 120), "{name:?}: {entity:?}");
            let unique = component["unique_id"].as_str();
            assert!(unique.is_none_or(|id| id == format!("doorstep_fake_1_{key}")), "{name:?}: {unique:?}");
        }
        house.close().await;
    }
}
