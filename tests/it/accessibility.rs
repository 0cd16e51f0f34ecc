//! The page and the card hold no barrier that axe-core knows as serious or critical. Where axe-core is not installed
//! the test says so and is skipped: `npm ci` in tests/peers/chromium.

use std::path::Path;

use serde_json::Value;

use crate::card::{LIVE, click};
use crate::page::camera;
use crate::support::browser::{Browser, Page};
use crate::support::dashboard::{Has, HomeAssistant};
use crate::support::fake_lock::FakeLock;
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::House;

const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/chromium/node_modules/axe-core/axe.min.js");
const LOOKS: [(u32, &str); 4] = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")];

fn axe() -> Option<String> {
    let axe = std::fs::read_to_string(AXE).ok();
    if axe.is_none() {
        println!("SKIPPED: no test of accessibility, axe-core is not installed (run `npm ci` in tests/peers/chromium)");
    }
    axe
}

/// Looks at the page in every size and scheme; `what` names the pictures that it leaves behind.
async fn no_barrier(page: &Page, axe: &str, what: &str) {
    for (width, scheme) in LOOKS {
        page.look(width, scheme).await;
        page.until(&format!("innerWidth === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches")).await;
        page.value(&format!("{axe}; 0")).await;
        let found = page.value(
            "axe.run().then(({ violations }) => violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)) \
             .map(({ id, nodes }) => [id, nodes.map((node) => [node.target.join(' '), node.failureSummary])]))",
        );
        let found = found.await;
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{what}_{width}_{scheme}.png"));
        std::fs::write(&file, page.screenshot().await).unwrap();
        assert_eq!(found, Value::Array(Vec::new()), "{what} at {width} px, {scheme}: see {}", file.display());
        let wide = page.value("document.documentElement.scrollWidth").await.as_u64().unwrap();
        assert!(wide <= width.into(), "{wide} px do not fit into {width}, see {}", file.display());
    }
}

#[tokio::test]
async fn the_card_has_no_serious_barrier_in_any_state() {
    let Some(axe) = axe() else { return };
    let browser = Browser::launch().await;
    let (whep, _camera, _deleted) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_1").await;
    page.value(
        "put(), change('event.klingel', 'unknown'), change('lock.haustuer', 'locked'), change('cover.tor', 'open'), 0",
    )
    .await;
    page.until(LIVE).await;
    page.value("change('notify.sagen', 'unknown'), change('button.ruhe', 'unknown'), 0").await;
    page.value("change('select.ansage', 'back_door', { options: ['back_door', 'one_moment', 'no_thanks'] }), 0").await;
    page.value("change('event.klingel', new Date().toISOString()), 0").await;
    page.until("!part('.choices').hidden && !part('.saying').hidden").await;
    click(&page, ".door .open").await;
    no_barrier(&page, &axe, "card_ring").await;
    page.value("change('lock.haustuer', 'jammed'), change('cover.tor', 'unavailable'), 0").await;
    page.value("change('sensor.verbindung', 'ready', { garage_blocked: 'The garage is away. Wait.' }), 0").await;
    no_barrier(&page, &axe, "card_jammed").await;
    let picture = "{ entity_picture: '/api/camera_proxy/camera.bild?token=a' }";
    page.value(&format!("change('camera.bild', 'idle', {picture}), 0")).await;
    home.becomes(Has::Nothing);
    page.value("document.querySelector('doorstep-card').setConfig({ doorbell: 'fake_2', url: '/doorstep', entities: { snapshot: 'camera.bild' } })").await;
    page.until("part('.stage').dataset.mood === 'lost'").await;
    page.value("part('.token').hidden = false").await;
    page.until("!part('.poster').hidden").await;
    no_barrier(&page, &axe, "card_lost").await;
    page.value(
        "document.querySelector('doorstep-card').remove(), put({ doorbell: 'kvs_1' }, 'doorstep-card-editor'), 0",
    )
    .await;
    no_barrier(&page, &axe, "card_editor").await;
}

#[tokio::test]
async fn the_page_has_no_serious_barrier() {
    let Some(axe) = axe() else { return };
    let (browser, lock) = (Browser::launch().await, FakeLock::new("lock_1"));
    let house = House::with_door(&lock, None).await;
    let page = browser.open(&house.url()).await;
    page.until("!document.querySelector('.door').hidden").await;
    house.vendor.ring("r1");
    page.until("document.querySelector('.banner')").await;
    no_barrier(&page, &axe, "page_ring").await;
    let locked = House::locked("secret").await;
    page.go(&locked.url()).await;
    page.until("!document.getElementById('sign-in').hidden").await;
    no_barrier(&page, &axe, "page_sign_in").await;
}
