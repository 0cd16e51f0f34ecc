//! Another site's page that tries more than forms: the window that it has opened, messages, cookies, prefetching, and
//! names and hosts written in ways that nobody should (row 43 of the fault matrix; `page_foreign` and
//! `http_access_page` have forms, fetches, sockets, frames and rebound names).

use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use doorstep::model::LockAction;
use doorstep::secret::Token;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::Level;

use crate::http_access_page::{foreign_site, untouched};
use crate::support::browser::{Browser, Page};
use crate::support::dashboard::{Has, HomeAssistant};
use crate::support::fake_lock::FakeLock;
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::{House, PATIENCE};
use crate::support::http::serve;
use crate::support::log::Log;

const TOKEN: &str = "Zq3vJ8xkLw5nB2yTf7Rm4Hc9Ds6Pg1Ua";

/// A page of another site, in a browser that lets it open windows.
async fn foreign_page(browser: &Browser) -> Page {
    let page = browser.open(&format!("http://evil.example:{}/", foreign_site().await)).await;
    page.until("document.title === 'free kittens'").await;
    page
}

async fn browser() -> Browser {
    let names = "--host-resolver-rules=MAP evil.example 127.0.0.1".to_owned();
    Browser::launch_with(&[names, "--disable-popup-blocking".to_owned()]).await
}

#[tokio::test]
async fn hostile_page_keeps_no_hold_of_a_window_that_it_has_opened() {
    let (browser, house) = (browser().await, House::open().await);
    let evil = foreign_page(&browser).await;
    evil.value(&format!("(window.theirs = window.open('{}'), 0)", house.url())).await;
    // Our page asks for a window of its own, and to the one that opened it, it looks closed.
    evil.until("window.theirs.closed").await;
    let hold = "(() => { try { theirs.postMessage({ type: 'unlock' }, '*'); theirs.focus(); return theirs.length; }
        catch (e) { return e.name } })()";
    assert!(matches!(evil.value(hold).await, Value::Number(n) if n == 0.into()), "it sees frames");
    let read = "(() => { try { return theirs.document.title } catch { return 'refused' } })()";
    let read = evil.value(read).await;
    assert!(read.is_null() || read == "refused" || read == "", "{read}");
    untouched(&house);
}

#[tokio::test]
async fn hostile_page_sends_messages_and_storage_to_the_page_and_the_card_which_heed_none() {
    let browser = browser().await;
    let lock = FakeLock::new("lock_1");
    let house = House::with_door(&lock, None).await;
    let messages = "['unlock', '{\"type\":\"unlock\",\"id\":\"fake_1\"}', { type: 'auth', access_token: 'x' },
        { type: 'talk', on: true }, { id: 1, type: 'call_service', domain: 'lock', service: 'unlock' }]
        .forEach((m) => { window.postMessage(m, '*');
            window.dispatchEvent(new MessageEvent('message', { data: m, origin: 'http://evil.example' }));
            window.dispatchEvent(new StorageEvent('storage', { key: 'token', newValue: JSON.stringify(m) })); })";
    let page = browser.open(&house.url()).await;
    page.until("document.querySelector('.card')").await;
    page.value(&format!("({messages}, 0)")).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let dashboard = home.open(&browser, "fake_1").await;
    dashboard.value("put(), 0").await;
    dashboard.value(&format!("({messages}, 0)")).await;
    for seen in [&page, &dashboard] {
        seen.value("new Promise((done) => setTimeout(done, 300))").await;
    }
    assert_eq!(lock.acts(), Vec::<LockAction>::new(), "a message has opened the door");
    untouched(&house);
    page.until("document.querySelector('.card')").await;
}

/// Whatever a browser fetches on its own account, for a page that merely names it.
#[tokio::test]
async fn hostile_page_prefetches_preloads_and_prerenders_to_no_effect() {
    let (log, _while_this_test_runs) = Log::capture(Level::DEBUG);
    let (browser, house) = (browser().await, House::open().await);
    let evil = foreign_page(&browser).await;
    let hints = format!(
        "(() => {{ const base = '{}';
            for (const path of ['api/doorbells', 'api/doorbells/fake_1/snapshot.jpg', 'api/access', 'api/events']) {{
                for (const [rel, as] of [['prefetch', ''], ['preload', 'image'], ['preload', 'script'], ['preload', 'fetch'],
                    ['modulepreload', ''], ['stylesheet', ''], ['icon', ''], ['manifest', ''], ['prerender', '']]) {{
                    const link = document.createElement('link');
                    Object.assign(link, {{ rel, href: base + path, crossOrigin: as === 'fetch' ? 'anonymous' : null }});
                    if (as) link.as = as;
                    document.head.append(link);
                }}
                for (const name of ['img', 'script', 'iframe', 'video', 'audio', 'embed', 'object']) {{
                    const element = document.createElement(name);
                    element[name === 'object' ? 'data' : 'src'] = base + path;
                    document.body.append(element);
                }}
            }}
            const rules = document.createElement('script');
            rules.type = 'speculationrules';
            rules.textContent = JSON.stringify({{ prerender: [{{ source: 'list', urls: [base] }}] }});
            document.head.append(rules);
        }})()",
        house.url()
    );
    evil.value(&hints).await;
    let refused = |log: &Log| log.count("http{", "status=403");
    let all = async {
        while refused(&log) < 12 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, all).await.is_ok(), "the browser has hardly asked: {} refusals", refused(&log));
    let let_in = log.count("path=\"/api", "status=200") + log.count("path=/api", "status=200");
    println!("{} requests were refused, {let_in} answered", refused(&log));
    assert_eq!(let_in, 0, "a foreign page was answered");
    untouched(&house);
}

/// To a cookie all ports of a host are one site.
#[tokio::test]
async fn hostile_page_plants_cookies_that_open_nothing() {
    let house = House::locked(TOKEN).await;
    let planted = format!("token={TOKEN}; authorization=Bearer {TOKEN}; session={TOKEN}; doorstep={TOKEN}");
    for (method, path) in [("GET", "/"), ("GET", "/api/doorbells"), ("POST", "/api/doorbells/fake_1/talk")] {
        let headers = [("cookie", &*planted), ("content-type", "application/json")];
        let reply = house.send(method, path, &headers, br#"{"on":true}"#).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (401, None), "{method} {path}");
    }
    let browser = browser().await;
    let site = serve(Router::new().route("/", get(async || Html("<!doctype html><title>free kittens</title>")))).await;
    let evil = browser.open(&format!("http://127.0.0.1:{}/", site.port())).await;
    evil.until("document.title === 'free kittens'").await;
    evil.value(&format!("(document.cookie = 'token={TOKEN}; path=/', document.cookie = 'x=y; path=/api', 0)")).await;
    let victim = browser.open(&house.url()).await;
    victim.until("document.querySelector('#sign-in-form, .sign-in-form, form')").await;
    assert!(victim.value("document.cookie").await.as_str().unwrap().contains(TOKEN), "the cookie did not come along");
    assert_eq!(victim.value("fetch('api/doorbells').then((r) => r.status)").await, json!(401));
    untouched(&house);
}

/// One request as it stands, on a connection of its own; its status, or 0 when the connection was closed.
async fn raw(house: &House, request: &str) -> u16 {
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

#[tokio::test]
async fn hostile_page_writes_hosts_and_origins_in_every_odd_way() {
    let house = House::with(FakeVendor::new(), Some(Token::new(TOKEN)), Router::new()).await;
    let port = house.address.port();
    let ask = |target: &str, headers: &str| {
        format!(
            "POST {target} HTTP/1.1\r\n{headers}authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
             content-length: 11\r\nconnection: close\r\n\r\n{{\"on\":true}}"
        )
    };
    let stream = "/api/doorbells/fake_1/stream";
    for host in [
        "evil.example",
        "localhost.evil.example",
        "evil.example#localhost",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io",
        "localhost@evil.example",
        "localhost:80@evil.example",
        "evil.example/127.0.0.1",
        "[::1].evil.example",
        "[::1",
        "0x7f000001.evil.example",
        "localhost,evil.example",
        "localhost evil.example",
        "",
        "\u{ff4c}ocalhost",
    ] {
        let status = raw(&house, &ask(stream, &format!("host: {host}\r\n"))).await;
        assert!(matches!(status, 0 | 400 | 403), "Host {host:?}: {status}");
    }
    let own = format!("host: 127.0.0.1:{port}\r\n");
    for origin in [
        "http://evil.example".to_owned(),
        "null".to_owned(),
        String::new(),
        format!("http://127.0.0.1:{port}.evil.example"),
        format!("http://127.0.0.1:{port}@evil.example"),
        format!("http://evil.example:{port}"),
        format!("http://127.0.0.1:{}", port ^ 1),
        format!("ftp://127.0.0.1:{port}"),
        format!("chrome-extension://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port} http://evil.example"),
        format!("http://127.0.0.1:{port}/../evil"),
        "http://127.0.0.1".to_owned(),
    ] {
        let status = raw(&house, &ask(stream, &format!("{own}origin: {origin}\r\n"))).await;
        assert!(matches!(status, 0 | 400 | 403), "Origin {origin:?}: {status}");
    }
    for headers in ["", "host: localhost\r\nhost: evil.example\r\n", "host: evil.example\r\nhost: localhost\r\n"] {
        let status = raw(&house, &ask(stream, headers)).await;
        assert!(matches!(status, 0 | 400 | 403), "{headers:?}: {status}");
    }
    for target in ["http://evil.example/api/doorbells/fake_1/stream", "//evil.example/api/doorbells/fake_1/stream"] {
        let status = raw(&house, &ask(target, "host: evil.example\r\n")).await;
        assert!(matches!(status, 0 | 400 | 403 | 404), "{target}: {status}");
    }
    untouched(&house);
    assert_eq!(raw(&house, &ask(stream, &own)).await, 200, "or all this proves nothing");
    assert!(house.doorbell.state().borrow().stream_switch);
}
