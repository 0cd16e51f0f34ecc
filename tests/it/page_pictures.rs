//! Still pictures on the page: in place of a live one, at a press, and beside the rings that they belong to.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use doorstep::doorbell::ActionError;
use doorstep::model::Capability;
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

/// A doorbell whose live picture never comes, and whose still ones are so wide.
async fn house(browser: &Browser, width: u32, token: Option<Token>) -> (House, Arc<FakeVendor>) {
    let vendor = FakeVendor::with([Capability::Ring, Capability::Stream, Capability::Snapshot]);
    vendor.on_snapshot(OnSnapshot::Takes(painted(browser, width).await));
    let whep = Router::new().route("/whep/{id}", post(async || StatusCode::SERVICE_UNAVAILABLE));
    (House::with(vendor.clone(), token, whep).await, vendor)
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
    let (house, vendor) = house(&browser, 40, None).await;
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
    let (house, vendor) = house(&browser, 640, Some(Token::new("a token of some length"))).await;
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
