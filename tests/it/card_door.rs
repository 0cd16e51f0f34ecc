//! What the dashboard card promises of doors: only Home Assistant opens them, and only after a question.

use axum::Router;
use doorstep::model::Capability;
use serde_json::json;

use crate::card::click;
use crate::support::browser::{Browser, Page};
use crate::support::dashboard::{Has, HomeAssistant};
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::House;

struct Door {
    home: HomeAssistant,
    page: Page,
    _house: House,
}

impl Door {
    /// A doorbell without a picture on a dashboard.
    async fn beside(browser: &Browser) -> Self {
        let house = House::with(FakeVendor::with([Capability::Ring]), None, Router::new()).await;
        let home = HomeAssistant::start(house.address, Has::Integration).await;
        let page = home.open(browser, "fake_1").await;
        page.value("put(), 0").await;
        page.until("part('h2').textContent === 'Front Door'").await;
        Self { home, page, _house: house }
    }

    async fn becomes(&self, entity: &str, state: &str, attributes: &str) {
        self.page.value(&format!("change('{entity}', '{state}', {attributes}), 0")).await;
    }

    /// What stands on the part of the nth door.
    async fn says(&self, n: usize, selector: &str, text: &str) {
        self.page.until(&format!("part('.door:nth-child({n}) {selector}').textContent === {text:?}")).await;
    }

    async fn services(&self) -> serde_json::Value {
        self.page.value("services").await
    }
}

#[tokio::test]
async fn the_card_unlocks_only_after_a_question_and_only_by_home_assistant() {
    let browser = Browser::launch().await;
    let door = Door::beside(&browser).await;
    let page = &door.page;
    page.until(
        "[...document.querySelector('doorstep-card').shadowRoot.querySelectorAll('.door')].every((d) => d.hidden)",
    )
    .await;
    door.becomes("lock.haustuer", "locked", "{}").await;
    door.says(1, ".word", "Locked").await;

    // One tap, a double tap and a tap that is taken back open nothing.
    click(page, ".door:nth-child(1) .open").await;
    door.says(1, ".question", "Unlock Front Door?").await;
    let on_top = "(() => { const b = part('.open').getBoundingClientRect(); return b.width === 0 })()";
    page.until(on_top).await;
    click(page, ".door:nth-child(1) .no").await;
    click(page, ".door:nth-child(1) .open").await;
    page.until("document.querySelector('doorstep-card').shadowRoot.activeElement === part('.no')").await;
    page.space("keyDown").await;
    page.space("keyUp").await;
    page.until("part('.confirm').hidden").await;
    assert_eq!(door.services().await, json!([]));

    click(page, ".door:nth-child(1) .open").await;
    click(page, ".door:nth-child(1) .yes").await;
    page.until("services.length === 1").await;
    assert_eq!(door.services().await, json!(["lock.unlock lock.haustuer"]));
    for (state, word) in [("unlocking", "Unlocking …"), ("unlocked", "Unlocked"), ("jammed", "Jammed")] {
        door.becomes("lock.haustuer", state, "{}").await;
        door.says(1, ".word", word).await;
    }
    page.until("part('.trouble').textContent.startsWith('The bolt did not get to its end.')").await;
    door.becomes("lock.haustuer", "unlocked", "{}").await;
    page.until("part('.open').hidden && !part('.shut').hidden").await;
    click(page, ".door:nth-child(1) .shut").await;
    page.until("services.length === 2").await;
    assert_eq!(door.services().await, json!(["lock.unlock lock.haustuer", "lock.lock lock.haustuer"]));
    let to_doors = door.home.passed().into_iter().filter(|path| path.contains("lock") || path.contains("garage"));
    assert_eq!(to_doors.collect::<Vec<_>>(), Vec::<String>::new(), "it asked Doorstep itself");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn each_kind_of_door_is_opened_by_its_own_service() {
    let browser = Browser::launch().await;
    let door = Door::beside(&browser).await;
    let page = &door.page;
    // 1 of `supported_features`: it can be opened, so it is an opener that Doorstep shows as a lock.
    door.becomes("lock.haustuer", "locked", "{ supported_features: 1 }").await;
    door.becomes("button.summer", "unknown", "{}").await;
    door.becomes("cover.tor", "closed", "{}").await;
    door.becomes("button.bild_machen", "unknown", "{}").await;
    let doors = [
        (1, "Open Front Door?", "lock.open lock.haustuer"),
        (2, "Open Front Door?", "button.press button.summer"),
        (3, "Open the garage of Front Door?", "cover.open_cover cover.tor"),
    ];
    for (n, question, service) in doors {
        page.until(&format!("!part('.door:nth-child({n})').hidden")).await;
        click(page, &format!(".door:nth-child({n}) .open")).await;
        door.says(n, ".question", question).await;
        click(page, &format!(".door:nth-child({n}) .yes")).await;
        page.until(&format!("services.at(-1) === '{service}' && services.length === {n}")).await;
    }
    door.says(2, ".note", "Sent.").await;
    door.becomes("cover.tor", "opening", "{}").await;
    door.says(3, ".word", "Garage opening …").await;
    door.becomes("cover.tor", "open", "{}").await;
    click(page, ".door:nth-child(3) .shut").await;
    page.until("services.at(-1) === 'cover.close_cover cover.tor'").await;
}

#[tokio::test]
async fn why_a_door_takes_no_command_is_said() {
    let browser = Browser::launch().await;
    let door = Door::beside(&browser).await;
    let page = &door.page;
    door.becomes("lock.haustuer", "locked", "{}").await;
    page.until("!part('.door').hidden").await;
    page.value("refusal = 'The lock is out of reach.'; 0").await;
    click(page, ".door:nth-child(1) .open").await;
    click(page, ".door:nth-child(1) .yes").await;
    door.says(1, ".note", "Nothing was done: The lock is out of reach.").await;

    click(page, ".door:nth-child(1) .open").await;
    door.becomes("sensor.verbindung", "ready", "{ lock_blocked: 'Six wrong tries: wait for `5` minutes.' }").await;
    door.becomes("lock.haustuer", "unavailable", "{}").await;
    door.says(1, ".word", "Takes no commands now").await;
    door.says(1, ".trouble", "Six wrong tries: wait for 5 minutes.").await;
    page.until("part('.confirm').hidden && part('.open').disabled").await;
}
