//! What the page says of accounts that cannot go on by themselves, and of what they tell.

use std::time::Duration;

use axum::Router;
use doorstep::clock::unix_now;
use doorstep::model::{Account, AccountLink, Capability, Event, Motion, MotionKind, Ring};
use doorstep::secret::Token;

use crate::support::browser::{Browser, Page};
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::House;

const FORM: &str = "document.querySelector('.account form')";

fn stands(link: AccountLink) -> Account {
    Account { link, ..Account::default() }
}

async fn type_code(page: &Page, code: &str) {
    page.value(&format!("document.querySelector('.account input').value = {code:?}")).await;
    page.value("document.querySelector('.account form').requestSubmit()").await;
}

#[tokio::test]
async fn an_account_that_waits_for_a_code_gets_it_from_the_page() {
    let browser = Browser::launch().await;
    let house = House::with(FakeVendor::with([Capability::Ring]), None, Router::new()).await;
    let page = browser.open(&house.url()).await;
    page.until("document.getElementById('broker').textContent.includes('connected')").await;
    page.until("document.getElementById('accounts').hidden").await;

    let why = "Wyze has sent a code to <b>a</b> phone. Type it in.".to_owned();
    house.account.stands(stands(AccountLink::NeedsCode { why }));
    page.until("document.querySelector('.account-why').textContent.includes('to <b>a</b> phone')").await;
    page.until(&format!("!{FORM}.hidden")).await;
    type_code(&page, "12").await;
    page.until("!document.querySelector('.account input').validity.valid").await;
    type_code(&page, "123 456").await;
    house.account.until_asked(|asked| asked.codes == ["123456"]).await;
    page.until(&format!("{FORM}.hidden && document.querySelector('.account-note').textContent.includes('checked')"))
        .await;

    let why = "That code was wrong. Type the next one in.".to_owned();
    house.account.stands(stands(AccountLink::NeedsCode { why }));
    page.until(&format!("!{FORM}.hidden && document.querySelector('.account input').value === ''")).await;
    house.account.stands(stands(AccountLink::Ready));
    page.until("document.getElementById('accounts').hidden && !document.querySelector('.account')").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_an_account_wants_of_its_owner_is_said() {
    let browser = Browser::launch().await;
    let house = House::open().await;
    house
        .account
        .stands(stands(AccountLink::NeedsAttention { why: "The password was refused. Correct `wyze`.".into() }));
    let page = browser.open(&house.url()).await;
    page.until("document.querySelector('.account').dataset.tone === 'bad'").await;
    page.until("document.querySelector('.account-why code').textContent === 'wyze'").await;
    page.until(&format!("{FORM}.hidden")).await;
    house.account.stands(stands(AccountLink::Failing { why: "Wyze does not answer. It is tried again.".into() }));
    page.until("document.querySelector('.account').dataset.tone === 'hint'").await;
}

#[tokio::test]
async fn a_code_that_came_too_late_is_told_so() {
    let browser = Browser::launch().await;
    let house = House::with(FakeVendor::new(), Some(Token::new("key")), Router::new()).await;
    house.account.stands(stands(AccountLink::NeedsCode { why: "A code, please.".into() }));
    let page = browser.open(&house.url()).await;
    page.until("!document.getElementById('sign-in').hidden").await;
    page.until("document.getElementById('accounts').hidden").await;
    page.value("document.getElementById('token').value = 'key'").await;
    page.value("document.getElementById('sign-in-form').requestSubmit()").await;
    page.until(&format!("!{FORM}.hidden")).await;
    // As if the news of it were on its way.
    page.value(
        "window.fetch = async () => new Response('{\"error\":\"This account waits for no code.\"}', { status: 409 })",
    )
    .await;
    type_code(&page, "123456").await;
    page.until("document.querySelector('.account-note').textContent === 'This account waits for no code.'").await;
    page.until(&format!("!{FORM}.hidden")).await;
}

#[tokio::test]
async fn what_moved_stands_among_the_rings() {
    let browser = Browser::launch().await;
    let house = House::open().await;
    let page = browser.open(&house.url()).await;
    page.until("document.getElementById('broker').textContent.includes('connected')").await;
    let at = unix_now();
    for (event_id, kind) in [("m1", MotionKind::Person), ("m1", MotionKind::Person), ("m2", MotionKind::Package)] {
        house.vendor.tell(Event::Motion(Motion { at, event_id: event_id.into(), kind }));
    }
    house.vendor.ring("r1");
    page.until("document.querySelectorAll('#rings li').length === 3").await;
    let told =
        page.value("[...document.querySelectorAll('#rings .what')].map((e) => e.textContent).sort().join()").await;
    assert_eq!(told, "A parcel,A person,Rang");
}

#[tokio::test]
async fn a_ring_that_came_late_says_so() {
    let browser = Browser::launch().await;
    let house = House::open().await;
    let at = unix_now();
    for (event_id, latency) in [("r1", 3), ("r2", 14)] {
        let latency = Some(Duration::from_secs(latency));
        let ring = Ring { at, event_id: event_id.into(), source: "cloud", latency };
        house.vendor.tell(Event::Ring(ring));
    }
    let page = browser.open(&house.url()).await;
    page.until("document.querySelectorAll('#rings li').length === 2").await;
    let told =
        page.value("[...document.querySelectorAll('#rings .what')].map((e) => e.textContent).sort().join()").await;
    assert_eq!(told, "Rang,Rang, known 14 s late");
}
