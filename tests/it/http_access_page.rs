//! Row 43 of the fault matrix in a real browser: what other sites' pages send has no effect and is not read.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::{Value, json};

use crate::support::browser::{Browser, Page};
use crate::support::fake_account::Asked;
use crate::support::house::{House, LISTED};
use crate::support::http::serve;

/// Does to the service at `BASE` whatever a page may try, and tells what it could read, load or open.
const ATTACK: &str = r#"(async (base) => {
    const got = [];
    const acts = {
        'api/doorbells/fake_1/talk': '{"on":true}', 'api/doorbells/fake_1/stream': '{"on":true}', 'whep/fake_1': 'v=0',
        'api/doorbells/fake_1/unlock': '{}', 'api/doorbells/fake_1/ticket': '{}', 'api/accounts/rediscover': '{}',
        'api/access/token': '{}', 'api/accounts/0/code': '{"code":"123456"}',
    };
    const note = (what, answer) => answer.type !== 'opaque' && answer.status !== 403 && got.push(`${what} ${answer.status}`);
    const ask = (what, path, options) => fetch(base + path, { credentials: 'include', ...options })
        .then((answer) => note(what, answer), () => {});
    for (const [path, body] of Object.entries(acts)) {
        const kinds = ['text/plain', 'application/x-www-form-urlencoded', 'application/json', 'application/sdp'];
        await Promise.all([
            ...kinds.map((type) => ask(`POST ${type} ${path}`, path, { method: 'POST', headers: { 'content-type': type }, body })),
            ...['PUT', 'PATCH', 'DELETE'].map((method) => ask(`${method} ${path}`, path, { method, body })),
            ask(`no-cors ${path}`, path, { method: 'POST', mode: 'no-cors', body }),
        ]);
        navigator.sendBeacon(base + path, body);
    }
    let frames = 0;
    await Promise.all(Object.keys(acts).flatMap((path) => ['text/plain', 'application/x-www-form-urlencoded'].map((enctype) => {
        const [frame, form, input] = ['iframe', 'form', 'input'].map((name) => document.createElement(name));
        frame.name = `into${frames++}`;
        Object.assign(input, { name: '{"on":true,"x":"', value: '"}' });
        Object.assign(form, { method: 'POST', action: base + path, target: frame.name, enctype });
        form.append(input);
        document.body.append(frame, form);
        const answered = new Promise((done) => { frame.onload = done; setTimeout(done, 2000); });
        form.submit();
        return answered;
    })));
    for (const path of ['api/doorbells', 'api/wyze/fake_1/kvs', 'api/doorbells/fake_1/snapshot.jpg', 'api/access']) {
        await ask(`GET ${path}`, path, {});
        await ask(`no-cors GET ${path}`, path, { mode: 'no-cors' });
        for (const name of ['img', 'script']) {
            const element = document.createElement(name);
            const outcome = new Promise((done) => { element.onload = () => done(true); element.onerror = () => done(false); });
            try { element.src = base + path; } catch { continue; }
            document.body.append(element);
            if (await outcome) got.push(`${name} ${path}`);
        }
    }
    const socket = new WebSocket(base.replace('http', 'ws') + 'api/events');
    const opened = await new Promise((done) => { socket.onopen = () => done(true); socket.onerror = () => done(false); });
    if (opened) got.push('WebSocket');
    return got;
})"#;

/// What the page could read, load or open of the service at `base`.
pub(crate) async fn attack(page: &Page, base: &str) -> Value {
    page.value(&format!("{ATTACK}({base:?})")).await
}

/// Nothing has been done to this house.
pub(crate) fn untouched(house: &House) {
    let (seen, state) = (house.vendor.seen(), house.doorbell.state());
    assert_eq!((seen.talks_asked, seen.opens_asked, seen.snapshots_asked), (0, 0, 0), "a foreign page had an effect");
    assert_eq!(house.account.asked(), Asked::default(), "a foreign page had an effect");
    assert!(!state.borrow().stream_switch && state.borrow().viewers == 0, "a foreign page had an effect");
    assert_eq!(house.tokens.generated_since(), None, "a foreign page had an effect");
}

/// A site of somebody else.
pub(crate) async fn foreign_site() -> u16 {
    let page = Html("<!doctype html><title>free kittens</title><body>");
    serve(Router::new().fallback(get(async move || page))).await.port()
}

#[tokio::test]
async fn row_43_pages_of_other_sites_reach_nothing_in_an_unlocked_house() {
    let house = House::open().await;
    let (port, own) = (foreign_site().await, house.address.port());
    let names = "--host-resolver-rules=MAP evil.example 127.0.0.1".to_owned();
    let browser = Browser::launch_with(&[names]).await;
    for evil in [
        format!("http://evil.example:{port}/"),
        format!("http://localhost:{port}/"),
        // Cookies and `SameSite` know no ports.
        format!("http://127.0.0.1:{port}/"),
    ] {
        let page = browser.open(&evil).await;
        page.until("document.title === 'free kittens'").await;
        assert_eq!(attack(&page, &house.url()).await, json!([]), "from {evil}");
        untouched(&house);
    }
    // A name that has been pointed at us since the page was loaded.
    let page = browser.open(&format!("http://evil.example:{own}/")).await;
    page.until("document.body.textContent.includes('not known under the name')").await;
    assert_eq!(attack(&page, &format!("http://evil.example:{own}/")).await, json!([]), "under a rebound name");
    untouched(&house);
}

/// Or the script would prove nothing.
#[tokio::test]
async fn the_same_requests_of_the_page_itself_have_their_effects() {
    let house = House::open().await;
    let browser = Browser::launch().await;
    let page = browser.open(&house.url()).await;
    page.until("document.querySelector('.card')").await;
    let got = attack(&page, &house.url()).await.to_string();
    for seen in ["application/json api/doorbells/fake_1/stream 200", "api/access/token 201", "\"WebSocket\""] {
        assert!(got.contains(seen), "{seen}: {got}");
    }
    assert!(house.doorbell.state().borrow().stream_switch);
    assert!(house.tokens.generated_since().is_some() && house.account.asked().rediscoveries > 0);
}

#[tokio::test]
async fn the_page_of_a_listed_site_reads_what_it_asks_for_with_the_token() {
    let house = House::locked("Zq3vJ8xkLw5nB2yTf7Rm4Hc9Ds6Pg1Ua").await;
    let port = foreign_site().await;
    let (_, listed) = LISTED.split_once("://").unwrap();
    let names = format!("--host-resolver-rules=MAP {listed} 127.0.0.1:{port}");
    let browser = Browser::launch_with(&[names]).await;
    let page = browser.open(&format!("{LISTED}/")).await;
    page.until("document.title === 'free kittens'").await;
    let ask = format!(
        "fetch({:?}, {{ method: 'POST', headers: {{ authorization: 'Bearer Zq3vJ8xkLw5nB2yTf7Rm4Hc9Ds6Pg1Ua', \
         'content-type': 'application/json' }} }}).then(async (r) => [r.status, Object.keys(await r.json())])",
        house.url() + "api/doorbells/fake_1/ticket"
    );
    assert_eq!(page.value(&ask).await, json!([201, ["expires_in_s", "ticket"]]));
    untouched(&house);
}
