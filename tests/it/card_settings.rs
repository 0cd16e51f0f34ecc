//! The card in the hands of whoever makes a dashboard: its settings, its editor, and its languages.

use axum::Router;
use serde_json::{Value, json};

use crate::support::browser::{Browser, Page};
use crate::support::dashboard::{Has, HomeAssistant};
use crate::support::fake_vendor::FakeVendor;
use crate::support::house::House;

async fn dashboard(browser: &Browser) -> (House, Page) {
    let house = House::with(FakeVendor::new(), None, Router::new()).await;
    let home = HomeAssistant::start(house.address, Has::Integration).await;
    let page = home.open(browser, "fake_1").await;
    (house, page)
}

#[tokio::test]
async fn wrong_settings_are_refused_in_words() {
    let browser = Browser::launch().await;
    let (_house, page) = dashboard(&browser).await;
    for (config, words) in [
        ("{}", "Say which doorbell to show"),
        ("{ doorbell: 'Front Door' }", "`doorbell` is an id of small letters"),
        ("{ doorbell: 7 }", "`doorbell` is an id of small letters"),
        (
            "{ doorbell: 'a', token: 'x', entity: 'y' }",
            "The card does not know `token`, `entity`. It knows type, doorbell,",
        ),
        ("{ doorbell: 'a', way: 'cloud' }", "`way` is auto, integration, ingress, direct; not `cloud`."),
        ("{ doorbell: 'a', way: 'direct' }", "`way: direct` needs `url:`"),
        ("{ doorbell: 'a', url: 'javascript:alert(1)' }", "`url` is an address with http:// or https://"),
        ("{ doorbell: 'a', url: 'http://me:secret@door' }", "`url` is an address with http:// or https://"),
        ("{ doorbell: 'a', name: 7 }", "`name` is a text."),
        ("{ doorbell: 'a', entities: ['lock.a'] }", "`entities` has a name and an entity on each line"),
        ("{ doorbell: 'a', entities: { bell: 'event.a' } }", "`entities` does not know `bell`. It knows ring, lock,"),
        ("{ doorbell: 'a', entities: { lock: 'Front Door' } }", "`entities.lock` is an entity’s id"),
        ("{ doorbell: 'a', replies: { clip: 'b' } }", "`replies` is a list"),
        ("{ doorbell: 'a', replies: ['back_door'] }", "`replies` is a list"),
        ("{ doorbell: 'a', replies: [{ clip: '../secret' }] }", "`replies` is a list"),
        ("{ doorbell: 'a', replies: [{ clip: 'b', message: 'c' }] }", "`replies` is a list"),
        ("{ doorbell: 'a', replies: [{ name: 'b' }] }", "`replies` is a list"),
        ("{ doorbell: 'a', replies: [{ message: 'c', url: 'http://d' }] }", "`replies` is a list"),
        ("{ doorbell: 'a', replies: Array(7).fill({ clip: 'b' }) }", "`replies` has at most 6."),
    ] {
        let told = format!(
            "(() => {{ try {{ document.createElement('doorstep-card').setConfig({config}) }} \
             catch (error) {{ return error.message }} }})()"
        );
        let told = page.value(&told).await;
        assert!(told.as_str().is_some_and(|told| told.starts_with(words)), "{config}: {told}");
    }
    page.value("put({ type: 'custom:doorstep-card', grid_options: { rows: 4 }, visibility: [] }), 0").await;
}

#[tokio::test]
async fn home_assistant_learns_what_the_card_is() {
    let browser = Browser::launch().await;
    let (_house, page) = dashboard(&browser).await;
    page.value("change('event.klingel', 'unknown'), put(), 0").await;
    assert_eq!(
        page.value("customCards.map(({ type, preview }) => [type, preview])").await,
        json!([["doorstep-card", true]])
    );
    let suggestion = |entity| format!("customCards[0].getEntitySuggestion(hassNow(), '{entity}')");
    page.until(&format!(
        "JSON.stringify({}) === '{{\"config\":{{\"type\":\"custom:doorstep-card\",\"doorbell\":\"fake_1\"}}}}'",
        suggestion("event.klingel")
    ))
    .await;
    assert_eq!(page.value(&suggestion("light.lamp")).await, Value::Null);
    let class = "customElements.get('doorstep-card')";
    assert_eq!(page.value(&format!("{class}.getStubConfig(hassNow())")).await, json!({"doorbell": "fake_1"}));
    assert_eq!(page.value(&format!("{class}.getStubConfig({{}})")).await, json!({"doorbell": ""}));
    assert_eq!(page.value(&format!("{class}.getConfigElement().localName")).await, "doorstep-card-editor");
    assert_eq!(page.value("document.querySelector('doorstep-card').getGridOptions().columns").await, 12);
    // The same file once more, as a dashboard resource beside the integration.
    page.value("import('/local/doorstep-card.js?again').then(() => 0)").await;
    assert_eq!(page.value("customCards.length").await, 1);
}

#[tokio::test]
async fn the_editor_offers_the_doorbells_and_writes_only_what_was_set() {
    let browser = Browser::launch().await;
    let (_house, page) = dashboard(&browser).await;
    page.value("window.editor = put({ doorbell: '', way: 'ingress' }, 'doorstep-card-editor'), 0").await;
    page.value("editor.addEventListener('config-changed', ({ detail }) => { window.config = detail.config; editor.setConfig(config) }), 0").await;
    let form = "editor.shadowRoot.querySelector('form')";
    let options = format!("[...{form}.elements.picked.options].map((option) => option.text)");
    assert_eq!(
        page.value(&options).await,
        json!(["Front Door", "Another one, by its id"]),
        "the bridge and the lamp are none"
    );
    let choose = async |name: &str, value: &str, event: &str| {
        let set = format!("{form}.elements[{name:?}].value = {value:?}");
        page.value(&format!(
            "{set}; {form}.elements[{name:?}].dispatchEvent(new Event('{event}', {{ bubbles: true }}))"
        ))
        .await;
        page.value("config").await
    };
    let kind = "custom:doorstep-card";
    assert_eq!(
        choose("picked", "fake_1", "change").await,
        json!({"type": kind, "doorbell": "fake_1", "way": "ingress"})
    );
    page.until(&format!("{form}.querySelector('.other').hidden")).await;
    assert_eq!(choose("way", "auto", "change").await, json!({"type": kind, "doorbell": "fake_1"}));
    assert_eq!(choose("name", "Porch", "input").await, json!({"type": kind, "doorbell": "fake_1", "name": "Porch"}));
    choose("name", "", "input").await;
    let lines = "back_door\n Wait = one_moment\nComing: On my way, 5 minutes: wait!\n\nhalf =";
    assert_eq!(
        choose("replies", lines, "input").await,
        json!({"type": kind, "doorbell": "fake_1", "replies": [
            {"clip": "back_door"},
            {"name": "Wait", "clip": "one_moment"},
            {"name": "Coming", "message": "On my way, 5 minutes: wait!"},
        ]})
    );
    let shown = format!("{form}.elements.replies.value");
    assert_eq!(
        page.value(&shown).await,
        "back_door\nWait = one_moment\nComing: On my way, 5 minutes: wait!",
        "it is not what was written"
    );
    assert_eq!(choose("replies", "", "input").await, json!({"type": kind, "doorbell": "fake_1"}));
    choose("picked", "", "change").await;
    page.until(&format!("!{form}.querySelector('.other').hidden")).await;
    assert_eq!(choose("doorbell", "kvs_2", "input").await, json!({"type": kind, "doorbell": "kvs_2"}));
    page.value("speak('nl'), 0").await;
    page.until(&format!("{form}.querySelector('span').textContent === 'Deurbel'")).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn every_sentence_is_there_in_every_language() {
    let browser = Browser::launch().await;
    let (_house, page) = dashboard(&browser).await;
    page.value("import('/sources/doorstep-card/words.js').then(({ WORDS }) => { window.WORDS = WORDS; return 0 })")
        .await;
    let names = "((text) => (text.match(/\\{\\w+\\}/g) ?? []).sort().join())";
    let incomplete = format!(
        "Object.entries(WORDS).filter(([english, others]) => others.length !== 5 \
         || others.some((other) => !other || {names}(other) !== {names}(english))).map(([english]) => english)"
    );
    assert_eq!(page.value(&incomplete).await, json!([]));

    // What a person may read stands in quotes and begins with a capital, a `{` or a word and a space.
    let sources = [
        "doorstep-card/card.js",
        "doorstep-card/doors.js",
        "doorstep-card/editor.js",
        "doorstep-card/replies.js",
        "doorstep-card/ways.js",
        "talk.js",
        "text.js",
    ];
    let said = format!(
        "Promise.all({}.map((path) => fetch(`/sources/${{path}}`).then((reply) => reply.text()))).then((texts) => \
         [...new Set(texts.flatMap((text) => [...text.matchAll(/'((?:[A-Z{{][^'\\n]*[a-z …?.}}]))'/g)].map((match) => match[1])))])",
        json!(sources)
    );
    let said = page.value(&said).await;
    let no_sentences = ["SELECT", "Escape"];
    let said: Vec<&str> =
        said.as_array().unwrap().iter().filter_map(Value::as_str).filter(|said| !no_sentences.contains(said)).collect();
    assert!(said.len() > 60, "{said:?}");
    let unknown = format!("{}.filter((said) => !(said in WORDS))", json!(said));
    assert_eq!(page.value(&unknown).await, json!([]), "they stand in no other language");
    let elsewhere = ["player.js", "microphone.js", "request.js", "doorstep-card/editor.js"];
    let unused = format!(
        "Promise.all({}.map((path) => fetch(`/sources/${{path}}`).then((reply) => reply.text()))).then((texts) => \
         Object.keys(WORDS).filter((word) => !{}.includes(word) && !texts.some((text) => text.includes(word))))",
        json!(elsewhere),
        json!(said)
    );
    assert_eq!(page.value(&unused).await, json!([]), "nobody says them");
}
