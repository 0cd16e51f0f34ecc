//! What the dashboard card promises of quick replies: one tap, Home Assistant's own services, and how it goes with them.

use std::time::Duration;

use axum::Router;
use doorstep::model::Capability;
use serde_json::json;

use crate::card::click;
use crate::support::browser::{Browser, Page};
use crate::support::dashboard::{Has, HomeAssistant};
use crate::support::fake_vendor::FakeVendor;
use crate::support::fake_voice::FakeVoice;
use crate::support::house::House;

const CLIPS: &str = "{ options: ['back_door', 'one_moment', 'no_thanks', 'd', 'e', 'f', 'g'] }";
const CHOICES: &str = "[...part('.choices').children].map((choice) => choice.textContent).join()";
const OPEN: &str = "!part('.choices').hidden && part('.more').getAttribute('aria-expanded') === 'true'";
const SHUT: &str = "part('.choices').hidden && part('.more').getAttribute('aria-expanded') === 'false'";

struct Dashboard {
    home: HomeAssistant,
    page: Page,
    _house: House,
}

impl Dashboard {
    /// A doorbell without a picture, with what Home Assistant has of its speaker.
    async fn with(browser: &Browser, config: &str) -> Self {
        let house = House::with(FakeVendor::with([Capability::Ring]), None, Router::new()).await;
        let home = HomeAssistant::start(house.address, Has::Integration).await;
        let page = home.open(browser, "fake_1").await;
        page.value("change('event.klingel', 'unknown'), change('notify.sagen', 'unknown'), 0").await;
        page.value(&format!("change('button.ruhe', 'unknown'), change('select.ansage', 'unknown', {CLIPS}), 0")).await;
        page.value(&format!("put({config}), 0")).await;
        page.until("part('h2').textContent === 'Front Door'").await;
        Self { home, page, _house: house }
    }
}

#[tokio::test]
async fn a_reply_is_one_tap_after_a_ring_and_two_otherwise() {
    let browser = Browser::launch().await;
    let Dashboard { home, page, .. } = &Dashboard::with(&browser, "{}").await;
    page.until(&format!("!part('.replies').hidden && {SHUT}")).await;
    click(page, ".more").await;
    page.until(OPEN).await;
    click(page, ".more").await;
    page.until(SHUT).await;

    page.value("change('event.klingel', new Date().toISOString()), 0").await;
    page.until(&format!("{OPEN} && 'prominent' in part('.replies').dataset")).await;
    page.until(&format!("{CHOICES} === 'Back door,One moment,No thanks,D,E,F'")).await;
    // A double tap is one reply.
    click(page, ".reply:nth-child(1)").await;
    click(page, ".reply:nth-child(1)").await;
    page.until("!part('.saying').hidden && part('.saying .word').textContent === 'Opening the speaker …'").await;
    assert_eq!(page.value("services").await, json!(["select.select_option select.ansage back_door"]));
    page.value(&format!("change('select.ansage', 'back_door', {CLIPS}), 0")).await;
    page.until("part('.saying .word').textContent === 'It says: Back door'").await;
    click(page, ".stop").await;
    page.until("services.at(-1) === 'button.press button.ruhe'").await;
    page.value(&format!("change('select.ansage', 'unknown', {CLIPS}), 0")).await;
    page.until("part('.saying').hidden").await;
    let changing = home.passed().into_iter().filter(|path| !path.starts_with("GET "));
    assert_eq!(changing.collect::<Vec<_>>(), Vec::<String>::new(), "it asked Doorstep itself");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn replies_of_the_settings_stand_in_place_of_the_clips_and_are_only_text() {
    let browser = Browser::launch().await;
    let replies =
        "{ replies: [{ name: '<b>Coming</b>', message: 'I am on my way.' }, { clip: 'back_door', name: 'Rear' }] }";
    let Dashboard { page, .. } = &Dashboard::with(&browser, replies).await;
    click(page, ".more").await;
    page.until(&format!("{CHOICES} === '<b>Coming</b>,Rear'")).await;
    click(page, ".reply:nth-child(1)").await;
    page.until("services.at(-1) === 'notify.send_message notify.sagen I am on my way.'").await;
    page.value(&format!("change('select.ansage', 'back_door', {CLIPS}), 0")).await;
    page.until("part('.saying .word').textContent === 'It says: Rear'").await;

    // Without the entity for it a reply is not there, and while the doorbell is away none can be chosen.
    page.value("change('notify.sagen', 'unavailable'), 0").await;
    page.until("part('.reply').disabled && !part('.reply:nth-child(2)').disabled").await;
    page.value("document.querySelector('doorstep-card').setConfig({ doorbell: 'fake_1', replies: [] }), 0").await;
    page.value(&format!("change('select.ansage', 'unknown', {CLIPS}), 0")).await;
    page.until("part('.replies').hidden").await;
}

#[tokio::test]
async fn what_the_doorbell_says_for_somebody_else_is_shown_too() {
    let (browser, voice) = (Browser::launch().await, FakeVoice::new());
    let house = House::with_voice(&voice, FakeVendor::new()).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_1").await;
    page.value("change('button.ruhe', 'unknown'), change('sensor.verbindung', 'ready'), put(), 0").await;
    page.until("part('.stage').dataset.mood === 'refused' && part('.replies').hidden").await;
    let (doorbell, long) = (house.doorbell.clone(), voice.knows("long", Duration::from_secs(50), 0));
    let saying = tokio::spawn(async move { doorbell.say(long).await });
    house.doorbell.state().wait_for(|state| state.speaking.is_some()).await.unwrap();
    // As MQTT tells it.
    page.value("change('sensor.verbindung', 'streaming'), 0").await;
    page.until("!part('.saying').hidden && part('.saying .word').textContent === 'It says something'").await;
    page.until("!part('.stop').hidden && part('.more').hidden").await;
    page.until("part('.talk .text').textContent === 'The doorbell is speaking'").await;
    house.doorbell.stop_saying();
    assert!(!saying.await.unwrap().unwrap().whole);
    // Doorstep is asked again and again while it speaks.
    page.until("part('.replies').hidden").await;
}

#[tokio::test]
async fn a_tap_that_came_to_nothing_says_so() {
    let browser = Browser::launch().await;
    let Dashboard { page, .. } = &Dashboard::with(&browser, "{}").await;
    click(page, ".more").await;
    page.value("refusal = 'The broker is away.'; 0").await;
    click(page, ".reply").await;
    page.until("part('.replies .note').textContent === 'Nothing was done: The broker is away.'").await;
    page.until("part('.saying').hidden").await;
    // Time passes more quickly for what waits long.
    page.value("refusal = ''; ((later) => (window.setTimeout = (what, ms) => later(what, ms / 100)))(setTimeout); 0")
        .await;
    click(page, ".reply").await;
    page.until("part('.replies .note').textContent.startsWith('Nothing was heard.') && part('.saying').hidden").await;
}

#[tokio::test]
async fn the_last_picture_stands_where_there_is_no_live_one() {
    let browser = Browser::launch().await;
    let house = House::with(FakeVendor::new(), None, Router::new()).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_1").await;
    page.value("change('image.besuch', '2026-11-20T17:03:11+00:00', { entity_picture: '/api/image_proxy/image.besuch?token=a' }), 0").await;
    page.value("put(), 0").await;
    // There is no WHEP here.
    page.until("part('.stage').dataset.mood === 'refused'").await;
    page.until("!part('.poster').hidden && part('.poster').naturalWidth === 640").await;
    page.until("part('.poster').alt === 'Last picture: Front Door'").await;
    // The camera has the newer ones.
    page.value("change('camera.bild', 'idle', { entity_picture: '/api/camera_proxy/camera.bild?token=b' }), 0").await;
    page.until("part('.poster').src.includes('camera.bild') && part('.poster').complete").await;
    let fetched = home.passed().into_iter().filter(|path| path.starts_with("/api/camera_proxy/")).count();
    page.value("for (let n = 0; n < 100; n += 1) change('light.lamp', String(n)); 0").await;
    page.value("change('image.besuch', '2026-11-20T17:05:00+00:00', {}), 0").await;
    page.until("part('.poster').src.includes('17%3A05')").await;
    page.until("part('.poster').complete && !part('.poster').hidden").await;
    let since = home.passed().into_iter().filter(|path| path.starts_with("/api/camera_proxy/")).count() - fetched;
    assert_eq!(since, 1, "it was fetched again and again");
}
