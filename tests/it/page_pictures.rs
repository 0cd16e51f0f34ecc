//! Still pictures on the page: in place of a live one, at a press, and beside the rings that they belong to.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use doorstep::clock;
use doorstep::doorbell::{ActionError, Picture};
use doorstep::model::{Capability, Event, Ring};
use doorstep::secret::Token;

use crate::support::browser::{Browser, Page};
use crate::support::fake_vendor::{FakeVendor, OnSnapshot};
use crate::support::house::House;

const WIDE: &str = "document.querySelector('.still.taken')?.width";

/// A picture of this width that a browser can show.
async fn painted(browser: &Browser, width: u32) -> Bytes {
    let canvas = format!("Object.assign(document.createElement('canvas'), {{ width: {width}, height: 30 }})");
    let page = browser.open("about:blank").await;
    let painted = page.value(&format!("{canvas}.toDataURL('image/jpeg')")).await;
    let (_, jpeg) = painted.as_str().unwrap().split_once(',').unwrap();
    STANDARD.decode(jpeg).unwrap().into()
}

/// This doorbell, whose live picture never comes, and whose still ones are so wide.
async fn house(browser: &Browser, vendor: &Arc<FakeVendor>, width: u32, token: Option<Token>) -> House {
    vendor.on_snapshot(OnSnapshot::Takes(painted(browser, width).await));
    let whep = Router::new().route("/whep/{id}", post(async || StatusCode::SERVICE_UNAVAILABLE));
    House::with(vendor.clone(), token, whep).await
}

async fn press(page: &Page, selector: &str) {
    for kind in ["mousePressed", "mouseReleased"] {
        page.mouse(kind, selector).await;
    }
}

#[tokio::test]
async fn a_card_without_a_live_picture_shows_the_newest_one_and_wakes_no_camera() {
    let browser = Browser::launch().await;
    // Painted before the page is opened, which another tab would put away.
    let other = painted(&browser, 64).await;
    let vendor = FakeVendor::with([Capability::Ring, Capability::Stream, Capability::Snapshot]);
    let house = house(&browser, &vendor, 40, None).await;
    house.doorbell.take_snapshot().await.unwrap();
    let page = browser.open(&house.url()).await;
    page.until(&format!("{WIDE} === 40 && !document.querySelector('.still-time').hidden")).await;
    page.until("document.querySelector('.still-time').textContent.startsWith('Picture of ')").await;

    // Somebody else has one taken: it is shown in place of the other.
    vendor.on_snapshot(OnSnapshot::Takes(other));
    house.doorbell.take_snapshot().await.unwrap();
    page.until(&format!("{WIDE} === 64")).await;
    assert_eq!(vendor.seen().snapshots_asked, 2, "the page had one taken");
}

#[tokio::test]
async fn a_picture_is_taken_at_a_press_opens_in_large_and_gives_the_focus_back() {
    let browser = Browser::launch().await;
    // Without a stream, nothing but its own way gives a picture.
    let vendor = FakeVendor::with([Capability::Ring, Capability::Snapshot]);
    let house = house(&browser, &vendor, 640, Some(Token::new("a token of some length"))).await;
    let page = browser.open(&house.url()).await;
    page.until("!document.getElementById('sign-in').hidden").await;
    page.value("document.getElementById('token').value = 'a token of some length'").await;
    page.value("document.getElementById('sign-in-form').requestSubmit()").await;
    page.until("document.querySelector('.take')").await;
    page.value("document.querySelector('.take').focus()").await;
    page.space("keyDown").await;
    page.space("keyUp").await;
    page.until("document.querySelector('#picture[open] canvas').width === 640").await;
    page.until("document.querySelector('#picture-title').textContent.startsWith('Front Door, ')").await;
    page.until("document.querySelector('.picture-save').href.startsWith('blob:')").await;
    assert_eq!(page.value("document.querySelector('.picture-save').download").await.as_str().unwrap().find('/'), None);
    page.escape().await;
    page.until("!document.querySelector('#picture').open").await;
    page.until("document.activeElement.classList.contains('take')").await;
    page.until("!document.querySelector('.picture-save').href").await;
    assert_eq!(vendor.seen().snapshots_asked, 1);

    vendor.on_snapshot(OnSnapshot::Refuses(ActionError::Refused { why: "its battery is empty".to_owned() }));
    press(&page, ".take").await;
    page.until("document.querySelector('.note').textContent.startsWith('Front Door: ')").await;
    page.until("document.querySelector('.note').textContent.includes('its battery is empty')").await;
    assert_eq!(page.value("document.querySelector('#picture').open").await, false);
}

#[tokio::test]
async fn a_ring_shows_its_picture_as_soon_as_there_is_one_and_keeps_the_keyboard() {
    let browser = Browser::launch().await;
    let vendor = FakeVendor::with([Capability::Ring, Capability::Snapshot]);
    let house = house(&browser, &vendor, 320, None).await;
    let jpeg = painted(&browser, 320).await;
    vendor.on_snapshot(OnSnapshot::Hangs);
    let page = browser.open(&house.url()).await;
    page.until("document.getElementById('broker').textContent.includes('connected')").await;
    let first = Ring { at: clock::unix_now(), event_id: "a/../b".to_owned(), source: "cloud", latency: None };
    vendor.tell(Event::Ring(first.clone()));
    page.until("document.querySelector('#rings li') && !document.querySelector('.thumbnail')").await;
    house.doorbell.show_ring(Picture { at: first.at, jpeg, ring: Some(first.event_id) });
    page.until("document.querySelector('.thumbnail.loaded canvas').width === 192").await;
    page.until("document.querySelector('.thumbnail').ariaLabel.startsWith('Picture: Front Door, ')").await;

    page.value("document.querySelector('.thumbnail').focus()").await;
    vendor.ring("second");
    page.until("document.querySelectorAll('#rings li').length === 2").await;
    page.until("document.activeElement.classList.contains('thumbnail')").await;
    page.space("keyDown").await;
    page.space("keyUp").await;
    page.until("document.querySelector('#picture[open] canvas').width === 320").await;
    page.escape().await;
    page.until("document.activeElement.classList.contains('thumbnail')").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
