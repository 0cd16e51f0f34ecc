//! What the dashboard card promises, seen in a real browser on a dashboard as Home Assistant's.

use axum::Router;
use doorstep::doorbell::vendor::Retry;
use tokio::time::timeout;

use crate::page::{camera, speak};
use crate::support::browser::{Browser, Page};
use crate::support::dashboard::{Has, HomeAssistant};
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::{House, PATIENCE};

pub(crate) const LIVE: &str = "part('.stage').dataset.mood === 'live'";

/// The button to talk is in this state.
pub(crate) fn talk(state: &str) -> String {
    format!("part('.talk').dataset.state === '{state}'")
}

fn note(begin: &str) -> String {
    format!("part('.body > .note').textContent.startsWith({begin:?})")
}

pub(crate) async fn press(page: &Page, selector: &str) {
    page.mouse_on("mousePressed", &format!("part({selector:?})")).await;
}

pub(crate) async fn let_go(page: &Page, selector: &str) {
    page.mouse_on("mouseReleased", &format!("part({selector:?})")).await;
}

pub(crate) async fn click(page: &Page, selector: &str) {
    press(page, selector).await;
    let_go(page, selector).await;
}

#[tokio::test]
async fn while_someone_else_talks_a_press_on_the_card_sends_nothing_and_says_why() {
    let browser = Browser::launch().await;
    let (whep, camera, _deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_1").await;
    page.value("put(), 0").await;
    page.until(LIVE).await;
    page.value("change('switch.sprechen', 'off'), 0").await;

    let them = speak(&house.doorbell, 2);
    house.doorbell.state().wait_for(|state| state.microphone.is_some()).await.unwrap();
    // As MQTT tells it.
    page.value("change('switch.sprechen', 'on'), 0").await;
    page.until(&talk("taken")).await;
    page.until("part('.spoken').textContent === 'Front Door: Someone else is talking'").await;
    let before = camera.value("heard()").await;
    press(&page, ".talk").await;
    page.until(&note("Someone else is talking. Wait")).await;
    let_go(&page, ".talk").await;
    assert_eq!(camera.value("heard()").await, before);
    them.abort();
    house.doorbell.state().wait_for(|state| state.microphone.is_none()).await.unwrap();
    page.value("change('switch.sprechen', 'off'), 0").await;
    page.until(&talk("idle")).await;

    press(&page, ".talk").await;
    page.until(&talk("opening")).await;
    camera.until_more_than("heard()", 25).await;
    let us = speak(&house.doorbell, 1);
    page.until(&talk("talking")).await;
    house.doorbell.switch_talk(false).await.unwrap();
    page.until(&note("Your talk was ended")).await;
    us.abort();
    let_go(&page, ".talk").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_card_that_is_taken_away_leaves_no_viewer_and_no_voice() {
    let browser = Browser::launch().await;
    let (whep, camera, mut deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_1").await;
    page.value("put(), 0").await;
    page.until(LIVE).await;
    press(&page, ".talk").await;
    camera.until_more_than("heard()", 25).await;
    // Another tab comes to the front: the voice stops at once, whatever the picture does.
    let put_away = "Object.defineProperty(document, 'hidden', { value: true, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
        part('.talk').dataset.state";
    assert_eq!(page.value(put_away).await, "idle");
    page.value("window.card = document.querySelector('doorstep-card'); card.remove(); 0").await;
    let viewer = timeout(PATIENCE, deleted.recv()).await.expect("the viewer was left behind");
    assert_eq!(viewer.as_deref(), Some("0123456700000001"));

    page.value("Object.defineProperty(document, 'hidden', { value: false }); document.body.append(card); 0").await;
    page.until(LIVE).await;
    page.value("card.style.marginTop = '5000px'; 0").await;
    timeout(PATIENCE, deleted.recv()).await.expect("it played although nobody could see it");
}

#[tokio::test]
async fn a_ring_is_announced_for_half_a_minute_and_answered_with_sound() {
    let browser = Browser::launch().await;
    let (whep, _camera, _deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_1").await;
    page.value("put({ name: 'Porch' }), change('event.klingel', '2026-11-20T17:03:11.482+00:00'), 0").await;
    page.until(LIVE).await;
    let hidden = "part('.banner').hidden === true";
    page.until(hidden).await;
    // What was told before Home Assistant lost the broker is no news when it comes again.
    page.value("change('event.klingel', 'unavailable'), 0").await;
    page.value("change('event.klingel', '2026-11-20T17:03:11.482+00:00'), 0").await;
    page.until(hidden).await;

    page.value("change('event.klingel', new Date().toISOString(), { event_type: 'ring' }), 0").await;
    page.until("!part('.banner').hidden && part('.banner strong').textContent === 'Somebody is at the door: Porch'")
        .await;
    page.until("/\\d:\\d\\d/.test(part('.banner time').textContent)").await;
    assert_eq!(page.value("part('video').muted").await, true);
    click(&page, ".answer").await;
    page.until(hidden).await;
    page.until("!part('video').muted && part('.sound').getAttribute('aria-pressed') === 'true'").await;
    page.until("document.querySelector('doorstep-card').shadowRoot.activeElement === part('.talk')").await;

    // Who opens the dashboard because of a ring sees it for as long as it is news.
    page.value("document.querySelector('doorstep-card').remove()").await;
    page.value("change('event.klingel', new Date(Date.now() - 28500).toISOString()), put(), 0").await;
    page.until("!part('.banner').hidden").await;
    page.until(hidden).await;

    page.value("change('event.klingel', new Date(Date.now() + 1000).toISOString()), 0").await;
    page.until("!part('.banner').hidden").await;
    click(&page, ".dismiss").await;
    page.until(hidden).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_wrong_with_the_doorbell_is_said_on_the_card() {
    let browser = Browser::launch().await;
    let house = House::with(FakeVendor::new(), None, Router::new()).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open_as(&browser, &home.address.to_string(), "doorbell=fake_1&language=de-CH").await;
    page.value("put(), change('sensor.verbindung', 'ready'), 0").await;
    // There is no WHEP here, so the picture is refused.
    page.until("part('.title').textContent === 'Kein Bild' && !part('.again').hidden").await;
    press(&page, ".talk").await;
    page.until(&note("Warte auf das Bild")).await;
    let_go(&page, ".talk").await;

    house.vendor.end_life(Err(FakeVendor::error("The key is `wrong`.", Retry::WaitForUser)));
    house.doorbell.state().wait_for(|state| state.link.word() == "needs_attention").await.unwrap();
    page.value("change('sensor.verbindung', 'needs_attention'), 0").await;
    page.until("part('.title').textContent === 'Eingriff nötig'").await;
    page.until("part('.reason').textContent === 'The key is wrong.' && part('.reason code').textContent === 'wrong'")
        .await;
    page.until("part('.link').textContent === 'Eingriff nötig' && part('.again').hidden").await;
    press(&page, ".talk").await;
    page.until(&note("Niemand würde dich hören")).await;
    let_go(&page, ".talk").await;
    page.value("speak('fr'), 0").await;
    page.until("part('.title').textContent === 'Demande votre attention'").await;
}

#[tokio::test]
async fn the_microphone_is_asked_for_at_a_press_and_a_refusal_says_what_to_do() {
    let browser = Browser::launch().await;
    let (whep, camera, _deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_1").await;
    let refuse = "window.asked = 0; window.lend = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = () => { asked += 1; return Promise.reject(new DOMException('', 'NotAllowedError')) }; 0";
    page.value(refuse).await;
    page.value("put(), 0").await;
    page.until(LIVE).await;
    assert_eq!(page.value("asked").await, 0, "it was asked for before anybody wanted to talk");
    press(&page, ".talk").await;
    page.until(&note("The browser does not let this page use the microphone. Allow it")).await;
    page.until(&talk("idle")).await;
    let_go(&page, ".talk").await;

    page.value("navigator.mediaDevices.getUserMedia = lend; part('.talk').focus()").await;
    page.space("keyDown").await;
    camera.until_more_than("heard()", 25).await;
    page.space("keyUp").await;
    page.until(&talk("idle")).await;
    assert_eq!(page.value("asked").await, 1);
}

#[tokio::test]
async fn a_page_without_https_explains_why_nobody_can_talk() {
    let browser = Browser::launch_with(&["--host-resolver-rules=MAP homeassistant.local 127.0.0.1".to_owned()]).await;
    let (whep, _camera, _deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let host = format!("homeassistant.local:{}", home.address.port());
    let page = home.open_as(&browser, &host, "doorbell=fake_1").await;
    assert_eq!(page.value("isSecureContext").await, false);
    page.value("put(), 0").await;
    page.until(LIVE).await;
    page.until("part('.obstacle').textContent.startsWith('To talk, open Home Assistant over https')").await;
    page.until(&talk("impossible")).await;
    press(&page, ".talk").await;
    page.until(&talk("impossible")).await;
    let_go(&page, ".talk").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn names_are_only_text_on_the_card() {
    let browser = Browser::launch().await;
    let house = House::with(FakeVendor::called_markup(), None, Router::new()).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_1").await;
    page.value("put(), change('lock.haustuer', 'locked'), change('event.klingel', 'unknown'), 0").await;
    page.until("part('h2').textContent.endsWith('> Door')").await;
    page.until("part('.title').textContent === 'This doorbell has no picture' && part('.talk').hidden").await;
    page.value("change('event.klingel', new Date().toISOString()), 0").await;
    page.until("part('.banner strong').textContent.includes('<img')").await;
    page.until("part('.question').textContent.startsWith('Unlock <img')").await;
    let ours = "document.querySelector('doorstep-card').shadowRoot.querySelectorAll('img:not(.poster), b').length";
    assert_eq!(page.value(ours).await, 0);
    assert_eq!(page.value("document.title").await, "Dashboard");
}

#[tokio::test]
async fn a_busy_house_does_not_make_the_card_ask_doorstep() {
    let browser = Browser::launch().await;
    let (whep, _camera, _deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_1").await;
    page.value("put(), 0").await;
    page.until(LIVE).await;
    let before = page.value("part('video').getVideoPlaybackQuality().totalVideoFrames").await.as_u64().unwrap();
    let asked = home.passed().len();
    page.value("for (let n = 0; n < 1000; n += 1) change('light.lamp', String(n)); 0").await;
    page.until(&format!("part('video').getVideoPlaybackQuality().totalVideoFrames > {before} + 10")).await;
    let since = home.passed().len() - asked;
    assert!(since <= 1, "{since} requests for a lamp");
}
