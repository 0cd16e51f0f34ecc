//! Another site's page, open in the browser of somebody at home, reaches nothing of the house: no form, no fetch, no
//! WebSocket, not under a name that was rebound to our address, and not in a frame.

use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use doorstep::model::LockAction;

use crate::support::browser::{Browser, Page};
use crate::support::fake_lock::FakeLock;
use crate::support::house::House;
use crate::support::http;

/// A name that belongs to somebody else and leads to us.
const EVIL: &str = "evil.example";

/// A house with a door, a browser in which [`EVIL`] leads to this machine, and a page of another site in it.
async fn house_and_foreign_page() -> (Browser, House, Arc<FakeLock>, Page) {
    let browser = Browser::launch_with(&[format!("--host-resolver-rules=MAP {EVIL} 127.0.0.1")]).await;
    let lock = FakeLock::new("lock_1");
    let house = House::with_door(&lock, None).await;
    let site = Router::new().route("/", get(async || Html("<!doctype html><title>Evil</title><body>")));
    let site = http::serve(site).await;
    let page = browser.open(&format!("http://{EVIL}:{}/", site.port())).await;
    page.until("document.title === 'Evil'").await;
    (browser, house, lock, page)
}

#[tokio::test]
async fn hostile_page_sends_forms_and_fetches_which_open_nothing_and_read_nothing() {
    let (_browser, house, lock, page) = house_and_foreign_page().await;
    let unlock = format!("{}api/doorbells/fake_1/unlock", house.url());
    // Whatever a page may send without asking first, and what it may only send after asking.
    for (mode, kind) in [
        ("no-cors", "text/plain"),
        ("no-cors", "application/x-www-form-urlencoded"),
        ("no-cors", "application/json"),
        ("cors", "text/plain"),
        ("cors", "application/json"),
    ] {
        let ask = format!(
            "fetch('{unlock}', {{ method: 'POST', mode: '{mode}', credentials: 'include', body: '{{}}',
               headers: {{ 'content-type': '{kind}' }} }}).then((r) => r.type, () => 'refused')"
        );
        let read = page.value(&ask).await;
        assert!(read == "opaque" || read == "refused", "{mode} {kind}: {read}");
    }
    let read = format!("fetch('{}api/doorbells').then((r) => r.text(), () => 'refused')", house.url());
    assert_eq!(page.value(&read).await, "refused");
    let beacon = format!("navigator.sendBeacon('{unlock}', new Blob(['{{}}'], {{ type: 'text/plain' }}))");
    page.value(&beacon).await;
    let form = format!(
        "(() => {{ document.body.innerHTML = `<form method=post action='{unlock}' enctype='text/plain'>
           <input name='{{\"a\":\"' value='\"}}'></form>`; document.forms[0].submit(); }})()"
    );
    page.value(&form).await;
    // The answer of the form is a page of ours: the refusal, said to a person.
    page.until(&format!("location.href === '{unlock}' && document.body.textContent.includes('error')")).await;
    nothing_moved(&house, &lock).await;
}

#[tokio::test]
async fn hostile_page_opens_websockets_which_are_refused() {
    let (_browser, house, _lock, page) = house_and_foreign_page().await;
    for path in ["api/events", "api/ws?src=fake_1"] {
        let address = format!("{}{path}", house.url().replace("http", "ws"));
        let ask = format!(
            "new Promise((told) => {{ const s = new WebSocket('{address}'); s.onmessage = (m) => told('heard ' + m.data);
               s.onopen = () => s.send('{{\"type\":\"webrtc/offer\",\"value\":\"v=0\"}}');
               s.onclose = (e) => told('closed ' + e.code); }})"
        );
        assert_eq!(page.value(&ask).await, "closed 1006", "{path}");
    }
}

#[tokio::test]
async fn hostile_page_rebinds_its_name_to_our_address_and_sees_nothing() {
    let (browser, house, lock, _page) = house_and_foreign_page().await;
    let page = browser.open(&format!("http://{EVIL}:{}/", house.address.port())).await;
    page.until("document.body.textContent.includes('The service is not known under the name')").await;
    let ask = "fetch('/api/doorbells/fake_1/unlock', { method: 'POST', body: '{}',
        headers: { 'content-type': 'application/json' } }).then((r) => r.status)";
    assert_eq!(page.value(ask).await, 403);
    assert_eq!(page.value("fetch('/api/doorbells').then((r) => r.status)").await, 403);
    nothing_moved(&house, &lock).await;
}

#[tokio::test]
async fn hostile_page_puts_the_house_into_a_frame_and_uses_its_pictures_in_vain() {
    let (browser, house, _lock, page) = house_and_foreign_page().await;
    let frame = format!(
        "(() => {{ document.body.innerHTML = '<iframe></iframe>'; document.querySelector('iframe').src = '{}'; }})()",
        house.url()
    );
    page.value(&frame).await;
    while !browser.complaints().await.iter().any(|told| told.contains("frame-ancestors")) {
        page.value("new Promise((on) => setTimeout(on, 20))").await;
    }
    let within = "document.querySelector('iframe').contentDocument?.querySelector('.card') ?? null";
    assert!(page.value(within).await.is_null(), "the house is seen in a foreign frame");
    let picture = format!(
        "new Promise((told) => {{ const i = new Image(); i.onload = () => told('shown'); i.onerror = () => told('refused');
           i.src = '{}api/doorbells/fake_1/snapshot.jpg'; }})",
        house.url()
    );
    assert_eq!(page.value(&picture).await, "refused");
}

/// The lock was never asked, and still can be by those who may.
async fn nothing_moved(house: &House, lock: &FakeLock) {
    assert_eq!(lock.acts(), Vec::<LockAction>::new(), "a foreign page has moved the bolt");
    let answer = house.post("/api/doorbells/fake_1/unlock", "").await;
    assert_eq!(answer.status, 202, "{}", answer.body);
}
