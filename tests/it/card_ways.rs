//! The three ways from a dashboard to Doorstep, and what is said when none leads there.

use std::time::Duration;

use doorstep::secret::Token;
use serde_json::{Value, json};

use crate::card::{LIVE, let_go, press, talk};
use crate::demo_browser::{beeps, is_our_tone, quit};
use crate::page::camera;
use crate::support::browser::Browser;
use crate::support::dashboard::{Has, HomeAssistant};
use crate::support::demo::Demo;
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::{House, PATIENCE};
use crate::support::mosquitto::Mosquitto;
use crate::support::service;

const LOST: &str = "part('.stage').dataset.mood === 'lost'";

/// Of one way that was tried: what is said of it.
fn tried(way: &str, begin: &str) -> String {
    format!(
        "[...document.querySelector('doorstep-card').shadowRoot.querySelectorAll('.tried li')].some((li) => li.textContent.startsWith({:?}))",
        format!("{way}: {begin}")
    )
}

#[tokio::test]
async fn by_each_way_the_demo_is_seen_and_hears_the_held_button_of_the_card() {
    let broker = Mosquitto::start().await;
    let (_folder, speech) = beeps();
    let mut demo = Demo::start(&["--mqtt", &format!("mqtt://127.0.0.1:{}", broker.port), "--only", "tutk-old"]).await;
    let id = demo.ids[0].clone();
    let browser = Browser::launch_with(&[format!("--use-file-for-fake-audio-capture={}", speech.display())]).await;
    let home = HomeAssistant::start(demo.page, Has::Nothing).await;
    for (has, way) in [
        (Has::Integration, "integration"),
        (Has::Supervisor, "ingress"),
        (Has::OldSupervisor, "ingress"),
        (Has::Nothing, "direct"),
    ] {
        home.becomes(has);
        let page = home.open(&browser, &id).await;
        page.value("put({ url: '/doorstep' }), 0").await;
        page.until(LIVE).await;
        page.until("part('video').getVideoPlaybackQuality().totalVideoFrames >= 30").await;
        press(&page, ".talk").await;
        page.until(&talk("talking")).await;
        println!("{way}: {}", demo.tells(&id, "our tone", is_our_tone).await);
        let_go(&page, ".talk").await;
        demo.tells(&id, "the end of the talk", |event| event["event"] == "talk_ended").await;
        page.until(&talk("idle")).await;
        page.value("document.querySelector('doorstep-card').remove()").await;
        no_viewers(&demo, &id).await;
        let asked = page.value("performance.getEntriesByType('resource').map((e) => new URL(e.name).pathname)").await;
        let prefix = match way {
            "integration" => "/api/doorstep/entry_1/whep/",
            "ingress" => "/api/hassio_ingress/sEcReT/whep/",
            _ => "/doorstep/whep/",
        };
        let asked = asked.as_array().unwrap().iter().filter_map(Value::as_str).filter(|path| path.contains("/whep/"));
        assert!(asked.clone().count() > 0 && asked.clone().all(|path| path.starts_with(prefix)), "{way}");
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    quit(demo).await;
}

/// Nobody watches any more.
async fn no_viewers(demo: &Demo, id: &str) {
    let gone = async {
        loop {
            let doorbell = service::Page::at(demo.page).get(&format!("/api/doorbells/{id}")).await;
            if serde_json::from_str::<Value>(&doorbell.body).unwrap()["viewers"] == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the viewer was left behind");
}

#[tokio::test]
async fn without_a_way_each_that_was_tried_is_named_with_the_next_step() {
    let browser = Browser::launch().await;
    let (whep, ..) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let home = HomeAssistant::start(house.address, Has::Nothing).await;
    let page = home.open(&browser, "fake_1").await;
    page.value("put(), 0").await;
    page.until(LOST).await;
    page.until("part('.title').textContent === 'No way to Doorstep'").await;
    page.until(&tried("Integration", "The integration is not set up. Add")).await;
    page.until(&tried("App (ingress)", "This Home Assistant has no apps.")).await;
    page.until(&tried("Direct", "No url is set.")).await;
    page.until("part('.token').hidden && part('.talk').hidden").await;
    let bottom = |selector| format!("part('{selector}').getBoundingClientRect().bottom");
    for width in [320, 1280] {
        page.look(width, "light").await;
        page.until(&format!("{} < {}", bottom(".again"), bottom(".stage"))).await;
    }
    home.becomes(Has::Integration);
    page.value("part('.again').click()").await;
    page.until(LIVE).await;
}

#[tokio::test]
async fn a_doorbell_that_is_not_there_is_named() {
    let browser = Browser::launch().await;
    let house = House::open().await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_2").await;
    page.value("put({ way: 'integration' }), 0").await;
    page.until(&tried("Integration", "There is no doorbell fake_2. Choose another one")).await;
    page.value("document.querySelector('doorstep-card').setConfig({ doorbell: 'fake_1' })").await;
    page.until("part('h2').textContent === 'Front Door' && part('.tried').children.length === 0").await;
}

#[tokio::test]
async fn an_ingress_session_that_has_ended_is_opened_anew_and_the_picture_stays() {
    let browser = Browser::launch().await;
    let (whep, ..) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let home = HomeAssistant::start(house.address, Has::Supervisor).await;
    let page = home.open(&browser, "fake_1").await;
    // Two cards share one cookie.
    page.value("put(), put(), change('switch.sprechen', 'off'), 0").await;
    page.until("[...document.querySelectorAll('doorstep-card')].every((c) => c.shadowRoot.querySelector('.stage').dataset.mood === 'live')").await;
    let sessions = "commands.filter((command) => command === 'supervisor/ingress/session').length";
    assert_eq!(page.value(sessions).await, 1);
    home.ends_sessions();
    let asked = home.passed().len();
    page.value("change('switch.sprechen', 'on'), 0").await;
    page.until(&format!("{sessions} >= 2")).await;
    let passed = async {
        while home.passed().len() <= asked {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    };
    tokio::time::timeout(PATIENCE, passed).await.expect("nothing was asked by the new session");
    assert_eq!(page.value(LIVE).await, true);
    assert_eq!(page.value("document.cookie").await, "", "the cookie is for ingress alone");
}

#[tokio::test]
async fn the_token_of_a_locked_house_is_asked_for_and_kept_in_the_browser_alone() {
    let browser = Browser::launch().await;
    let (whep, ..) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), Some(Token::new("s3cret key")), whep).await;
    let home = HomeAssistant::start(house.address, Has::Nothing).await;
    let page = home.open(&browser, "fake_1").await;
    page.value("put({ way: 'direct', url: '/doorstep' }), 0").await;
    page.until("!part('.token').hidden").await;
    for (token, outcome) in [("wrong", &*tried("Direct", "The token is wrong")), ("s3cret key", LIVE)] {
        page.value(&format!("part('.token input').value = {token:?}; part('.token').requestSubmit()")).await;
        page.until(outcome).await;
    }
    let addresses = page.value("performance.getEntries().map((e) => e.name).join() + location").await;
    assert!(!addresses.as_str().unwrap().contains("s3cret"), "{addresses}");
    page.go("about:blank").await;
    let page = home.open(&browser, "fake_1").await;
    page.value("put({ way: 'direct', url: '/doorstep' }), 0").await;
    page.until(LIVE).await;
}

#[tokio::test]
async fn a_way_that_ends_is_replaced_by_another() {
    let browser = Browser::launch().await;
    let (whep, ..) = camera(&browser).await;
    let house = House::with(FakeVendor::new(), None, whep).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(&browser, "fake_1").await;
    page.value("put(), change('switch.sprechen', 'off'), 0").await;
    page.until(LIVE).await;
    home.becomes(Has::Supervisor);
    let news = "window.news = setInterval(() => change('switch.sprechen', String(Math.random())), 200), 0";
    page.value(news).await;
    page.until("commands.includes('supervisor/ingress/session')").await;
    page.until(LIVE).await;
    assert_eq!(page.value("clearInterval(news), services").await, json!([]));
}
