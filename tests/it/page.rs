//! What the page promises to people, seen in a real browser.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{delete, post};
use bytes::Bytes;
use doorstep::doorbell::Doorbell;
use doorstep::doorbell::vendor::Retry;
use doorstep::model::{DeviceId, DeviceInfo};
use doorstep::secret::Token;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::browser::{Browser, Page};
use crate::support::fake_vendor::{FakeVendor, MARKUP};
use crate::support::house::{House, PATIENCE, PREFIX};

pub(crate) const LIVE: &str = "document.querySelector('.stage').dataset.mood === 'live'";

/// WHEP whose camera is another tab of the same browser. Resources that were deleted come out of the channel.
pub(crate) async fn camera(browser: &Browser) -> (Router, Page, mpsc::UnboundedReceiver<String>) {
    let tab = browser.open("about:blank").await;
    tab.value(include_str!("support/camera.js")).await;
    let (told, deleted) = mpsc::unbounded_channel();
    let answering = tab.clone();
    let answer = async move |offer: String| {
        let sdp = answering.value(&format!("answer({})", serde_json::Value::from(offer))).await;
        let headers = [(header::CONTENT_TYPE, "application/sdp"), (header::LOCATION, "fake_1/0123456700000001")];
        (StatusCode::CREATED, headers, sdp.as_str().unwrap().to_owned()).into_response()
    };
    let forget = async move |asked: Uri| told.send(asked.path().rsplit('/').next().unwrap().to_owned()).unwrap();
    let whep = Router::new().route("/whep/{id}", post(answer)).route("/whep/{id}/{viewer}", delete(forget));
    (whep, tab, deleted)
}

/// WHEP whose camera never answers; counts how often it was asked.
fn no_camera() -> (Router, Arc<Mutex<usize>>) {
    let asked = Arc::new(Mutex::new(0));
    let counter = asked.clone();
    let refuse = async move || {
        *counter.lock().unwrap() += 1;
        (
            StatusCode::SERVICE_UNAVAILABLE,
            r#"{"error":"Front Door: the camera sleeps. Check `power`, and that nobody has put it where no radio reaches it, then wait."}"#,
        )
    };
    (Router::new().route("/whep/{id}", post(refuse)), asked)
}

#[tokio::test]
async fn the_picture_plays_and_only_a_held_button_sends_sound() {
    let browser = Browser::launch().await;
    let (whep, camera, mut deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let page = browser.open(&house.url()).await;
    page.until(LIVE).await;
    page.until("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 20").await;
    assert_eq!(camera.value("heard()").await, 0, "a viewer that only watches sent sound");

    page.mouse("mousePressed", ".talk").await;
    page.until("document.querySelector('.talk').dataset.state === 'opening'").await;
    camera.until_more_than("heard()", 25).await;
    // The tab that plays the camera tells nobody that it hears something, so the test does.
    let us = speak(&house.doorbell, 1);
    page.until("document.querySelector('.talk').dataset.state === 'talking'").await;
    us.abort();
    page.mouse("mouseReleased", ".talk").await;
    page.until("document.querySelector('.talk').dataset.state === 'idle'").await;
    silent(&page, &camera).await;

    page.value("document.querySelector('.talk').focus()").await;
    let before = camera.value("heard()").await.as_i64().unwrap();
    page.space("keyDown").await;
    camera.until_more_than("heard()", before + 25).await;
    page.space("keyUp").await;
    silent(&page, &camera).await;

    page.go("about:blank").await;
    let viewer = tokio::time::timeout(PATIENCE, deleted.recv()).await.expect("the viewer was left behind");
    assert_eq!(viewer.as_deref(), Some("0123456700000001"));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn while_someone_else_talks_a_press_sends_nothing_and_says_why() {
    let browser = Browser::launch().await;
    let (whep, camera, _deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let page = browser.open(&house.url()).await;
    page.until(LIVE).await;
    let them = speak(&house.doorbell, 2);
    page.until("document.querySelector('.talk').dataset.state === 'taken'").await;
    page.mouse("mousePressed", ".talk").await;
    page.until("document.querySelector('.note').textContent.startsWith('Someone else is talking')").await;
    silent(&page, &camera).await;
    page.mouse("mouseReleased", ".talk").await;
    them.abort();
    page.until("document.querySelector('.talk').dataset.state === 'idle'").await;
}

#[tokio::test]
async fn whose_talk_it_is_and_that_it_was_ended_is_told() {
    let browser = Browser::launch().await;
    let (whep, _camera, _deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let page = browser.open(&house.url()).await;
    let state = |state| format!("document.querySelector('.talk').dataset.state === '{state}'");
    page.until(LIVE).await;

    page.mouse("mousePressed", ".talk").await;
    page.until(&state("opening")).await;
    let them = speak(&house.doorbell, 2);
    page.until(&state("taken")).await;
    them.abort();
    page.until(&state("opening")).await;

    let us = speak(&house.doorbell, 1);
    page.until(&state("talking")).await;
    house.doorbell.switch_talk(false).await.unwrap();
    page.until("document.querySelector('.note').textContent.startsWith('Your talk was ended')").await;
    page.until(&state("idle")).await;
    us.abort();
    page.mouse("mouseReleased", ".talk").await;
}

#[tokio::test]
async fn a_page_that_is_put_away_stops_talking_at_once() {
    let browser = Browser::launch().await;
    let (whep, camera, _deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let page = browser.open(&house.url()).await;
    page.until(LIVE).await;
    page.mouse("mousePressed", ".talk").await;
    camera.until_more_than("heard()", 25).await;
    // As a browser does when another tab comes to the front. The picture goes on for a moment, the voice must not.
    let put_away = "Object.defineProperty(document, 'hidden', { value: true, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
        document.querySelector('.talk').dataset.state";
    assert_eq!(page.value(put_away).await, "idle");
    page.mouse("mouseReleased", ".talk").await;
}

#[tokio::test]
async fn one_button_for_two_doors_is_announced_at_both() {
    let browser = Browser::launch().await;
    let house = House::open().await;
    let second = DeviceInfo {
        id: DeviceId::parse("fake_2").unwrap(),
        name: "Garden".into(),
        ..DeviceInfo::clone(&house.doorbell.info())
    };
    let vendor = FakeVendor::of(second);
    house.doorbells.insert(vendor.doorbell(&house.stop));
    vendor.lives(1).await;
    let page = browser.open(&house.url()).await;
    page.until("document.querySelectorAll('.card').length === 2").await;
    page.until("document.getElementById('broker').textContent.includes('connected')").await;
    house.vendor.ring("button_1");
    vendor.ring("button_1");
    page.until("document.querySelectorAll('.banner').length === 2").await;
}

impl Page {
    pub(crate) async fn until_more_than(&self, count: &str, least: i64) {
        let waiting = format!(
            "(async () => {{ while ((await {count}) <= {least}) await new Promise((r) => setTimeout(r, 20)); }})()"
        );
        self.value(&waiting).await;
    }
}

/// Somebody speaks through the doorbell until aborted.
pub(crate) fn speak(doorbell: &Doorbell, viewer: u64) -> JoinHandle<()> {
    let doorbell = doorbell.clone();
    tokio::spawn(async move {
        let grant = doorbell.start_talk(viewer).await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while grant.audio.send(Bytes::from_static(&[0xff; 160])).await.is_ok() {
            pace.tick().await;
        }
    })
}

/// Once what was under way has arrived, 20 more pictures bring no sound with them.
async fn silent(page: &Page, camera: &Page) {
    let pictures = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames";
    page.value(&format!("window.shown = {pictures}")).await;
    page.until(&format!("{pictures} > window.shown + 5")).await;
    let before = camera.value("heard()").await;
    page.until(&format!("{pictures} > window.shown + 25")).await;
    assert_eq!(camera.value("heard()").await, before, "sound was sent after the button was let go");
}

#[tokio::test]
async fn a_ring_is_seen_and_every_name_is_only_text() {
    let browser = Browser::launch().await;
    let house = House::with(FakeVendor::called_markup(), None, Router::new()).await;
    let page = browser.open(&house.url()).await;
    page.until("document.querySelector('.card h2').textContent.endsWith('Door')").await;
    assert_eq!(page.value("document.querySelector('.card h2').textContent").await, MARKUP);
    page.until("document.getElementById('broker').textContent.includes('connected')").await;
    house.vendor.ring("r1");
    page.until("document.querySelector('.banner p')?.textContent.startsWith('Somebody is at <img')").await;
    page.until("document.querySelector('#rings .who')?.textContent.startsWith('<img')").await;
    page.until("document.querySelector('.card').classList.contains('ringing')").await;
    assert_eq!(page.value("document.querySelectorAll('main .card img, .banner img, #rings img, b').length").await, 0);
    assert!(page.value("document.title").await.as_str().unwrap().starts_with("🔔 <img"));
    page.mouse("mousePressed", ".banner .close").await;
    page.mouse("mouseReleased", ".banner .close").await;
    page.until("!document.querySelector('.banner') && document.title === 'Doorstep'").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_wrong_is_said_and_who_cannot_help_is_not_asked_again() {
    let browser = Browser::launch().await;
    let (whep, asked) = no_camera();
    let house = House::with(FakeVendor::new(), None, whep).await;
    let page = browser.open(&house.url()).await;
    page.until("document.querySelector('.veil-reason').textContent.startsWith('Front Door: the camera sleeps.')").await;
    page.until("document.querySelector('.veil-reason code').textContent === 'power'").await;
    page.look(320, "light").await;
    let bottom = |selector| format!("document.querySelector('{selector}').getBoundingClientRect().bottom");
    page.until(&format!("0 < {0} && {0} < {1} && innerWidth === 320", bottom(".again"), bottom(".stage"))).await;
    page.mouse("mousePressed", ".talk").await;
    page.mouse("mouseReleased", ".talk").await;
    page.until("document.querySelector('.note').textContent.startsWith('Wait for the picture')").await;

    house.vendor.end_life(Err(FakeVendor::error("The key is wrong.", Retry::WaitForUser)));
    page.until("document.querySelector('.veil-title').textContent === 'Needs attention'").await;
    page.until("document.querySelector('.veil-reason').textContent === 'The key is wrong.'").await;
    page.until("document.querySelector('.again').hidden").await;
    page.mouse("mousePressed", ".talk").await;
    page.mouse("mouseReleased", ".talk").await;
    page.until("document.querySelector('.note').textContent.startsWith('Nobody would hear you')").await;
    assert!(*asked.lock().unwrap() > 0);
}

#[tokio::test]
async fn a_locked_house_opens_with_its_token_and_never_puts_it_into_an_address() {
    let browser = Browser::launch().await;
    let (whep, _, _deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), Some(Token::new("s3cret key")), whep).await;
    let page = browser.open(&house.url()).await;
    page.until("!document.getElementById('sign-in').hidden").await;
    for (token, outcome) in [
        ("wrong", "document.getElementById('sign-in-error').textContent.startsWith('The token is wrong')"),
        ("s3cret key", LIVE),
    ] {
        page.value(&format!("document.getElementById('token').value = {token:?}")).await;
        page.value("document.getElementById('sign-in-form').requestSubmit()").await;
        page.until(outcome).await;
    }
    house.vendor.ring("r1");
    page.until("document.querySelector('.banner')").await;
    let addresses = page.value("performance.getEntries().map((e) => e.name).join() + location").await;
    assert!(!addresses.as_str().unwrap().contains("s3cret"), "{addresses}");
    page.go(&house.url()).await;
    page.until(LIVE).await;
}

#[tokio::test]
async fn the_page_works_below_any_prefix() {
    let browser = Browser::launch().await;
    let (whep, _, mut deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), Some(Token::new("key")), whep).await;
    let page = browser.open(&format!("http://{}{PREFIX}", house.address)).await;
    page.until("!document.getElementById('sign-in').hidden").await;
    page.value("document.getElementById('token').value = 'key'").await;
    page.value("document.getElementById('sign-in-form').requestSubmit()").await;
    page.until(LIVE).await;
    page.until("document.getElementById('broker').textContent.includes('connected')").await;
    let asked = "performance.getEntriesByType('resource').map((e) => new URL(e.name).pathname)";
    let addresses = page.value(asked).await;
    let addresses = addresses.as_array().unwrap();
    assert!(addresses.iter().all(|path| path.as_str().unwrap().starts_with(PREFIX)), "{addresses:?}");
    page.go("about:blank").await;
    tokio::time::timeout(PATIENCE, deleted.recv()).await.expect("the viewer was left behind");
}

#[tokio::test]
async fn a_house_without_doorbells_says_what_to_do_and_fills_by_itself() {
    let browser = Browser::launch().await;
    let house = House::open().await;
    let id = house.doorbell.info().id.clone();
    house.doorbells.remove(&id);
    let page = browser.open(&house.url()).await;
    page.until("!document.getElementById('empty').hidden").await;
    house.doorbells.insert(house.doorbell.clone());
    page.until("document.querySelector('.card h2').textContent === 'Front Door'").await;
    page.until("document.getElementById('empty').hidden").await;
}

#[tokio::test]
async fn the_page_and_all_that_it_loads_weigh_no_more_than_150_kb() {
    let browser = Browser::launch().await;
    let house = House::open().await;
    let page = browser.open("about:blank").await;
    page.without_cache().await;
    page.go(&house.url()).await;
    page.until("document.querySelector('.card') && performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
        .await;
    let sizes = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .map((e) => e.transferSize)";
    let sizes = page.value(sizes).await;
    let sizes: Vec<u64> = sizes.as_array().unwrap().iter().filter_map(serde_json::Value::as_u64).collect();
    assert!(sizes.len() > 10 && sizes.iter().sum::<u64>() <= 150_000, "{sizes:?}");
}
