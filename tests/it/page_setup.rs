//! Accounts set up on the page, by somebody who has a keyboard and no file to edit.

use std::path::Path;

use doorstep::sim::vivint::{self, Event};
use doorstep::sim::wyze_cloud;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::browser::{Browser, Page};
use crate::support::installation::{self, Installation};
use crate::support::told;
use crate::support::vivint_hand::quick;

/// Requests of the page that add an account get this beside what was typed: nobody types the addresses of a cloud.
async fn lead(page: &Page, endpoints: &Value) {
    let script = format!(
        "(() => {{ const real = window.fetch; window.fetch = (url, options = {{}}) => {{
            if (options.method !== 'POST' || !String(url).endsWith('api/accounts')) return real(url, options);
            const body = JSON.stringify({{ ...JSON.parse(options.body), endpoints: {endpoints} }});
            return real(url, {{ ...options, body }});
        }} }})()"
    );
    page.value(&script).await;
}

async fn press(page: &Page, selector: &str) {
    page.until(&format!("document.querySelector({selector:?}).checkVisibility()")).await;
    page.value(&format!("document.querySelector({selector:?}).click()")).await;
}

async fn type_into(page: &Page, key: &str, text: &str) {
    page.value(&format!("document.getElementById('setup-{key}').value = {}", Value::from(text))).await;
}

/// Presses the button of the vendor's name.
async fn choose(page: &Page, vendor: &str) {
    let button = format!(
        "[...document.querySelectorAll('.setup-vendors button')].find((b) => b.textContent.startsWith({vendor:?}))"
    );
    page.until(&format!("{button}?.checkVisibility()")).await;
    page.value(&format!("{button}.click()")).await;
}

/// Keeps what is seen for whoever wants to look, where `SCREENSHOTS` names a folder.
async fn photograph(page: &Page, name: &str) {
    let Ok(folder) = std::env::var("SCREENSHOTS") else { return };
    for (width, scheme) in [(1280, "light"), (390, "dark"), (390, "light"), (1280, "dark")] {
        page.look(width, scheme).await;
        page.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))").await;
        let file = Path::new(&folder).join(format!("{name}-{width}-{scheme}.png"));
        std::fs::write(file, page.screenshot().await).unwrap();
    }
    page.look(1280, "light").await;
}

#[tokio::test]
async fn a_person_adds_a_vivint_account_types_the_code_and_sees_the_doorbell() {
    let (browser, stop) = (Browser::launch().await, CancellationToken::new());
    let cloud = vivint::start(quick(4), stop.clone()).await.unwrap();
    let mut happened = cloud.events();
    let home = Installation::new(None, "");
    let (running, service) = home.start().await;
    let page = browser.open(&format!("http://{}/", service.address)).await;
    page.until("document.getElementById('first-step').textContent.startsWith('Add the account')").await;
    page.until("!document.getElementById('open-setup').hidden").await;
    photograph(&page, "1-empty").await;
    for width in [320, 390] {
        page.look(width, "light").await;
        page.until(&format!("innerWidth === {width} && document.documentElement.scrollWidth === {width}")).await;
    }
    page.look(1280, "light").await;
    lead(&page, &installation::vivint(&cloud, None)["endpoints"]).await;

    press(&page, "#add-first").await;
    photograph(&page, "2-choose").await;
    choose(&page, "Vivint").await;
    page.until("document.activeElement.id === 'setup-username'").await;
    photograph(&page, "3-form").await;
    press(&page, ".setup-form .primary").await;
    page.until("document.getElementById('setup-username-error').textContent.startsWith('Missing; expected')").await;
    page.until("document.activeElement.id === 'setup-username' && document.activeElement.ariaInvalid === 'true'").await;
    photograph(&page, "4-mistakes").await;

    type_into(&page, "username", cloud.settings.username.expose()).await;
    type_into(&page, "password", cloud.settings.password.expose()).await;
    page.value("document.querySelector('.setup-form').requestSubmit()").await;
    let sent = |event: &Event| if let Event::SmsSent { code } = event { Some(code.clone()) } else { None };
    let code = told::first(&mut happened, "a text message", sent).await;
    page.until("document.activeElement.id === 'setup-code'").await;
    page.until("document.querySelector('.setup-trouble .account-why').textContent.includes('SMS')").await;
    photograph(&page, "5-code").await;
    assert_eq!(page.value("document.querySelectorAll('#setup-password').length").await, 0, "the password stays");
    page.value(&format!("document.getElementById('setup-code').value = {code:?}")).await;
    page.value("document.getElementById('setup-code').form.requestSubmit()").await;
    page.until("document.querySelector('.setup-word').textContent === '2 doorbells found'").await;
    page.until("document.querySelectorAll('.card').length === 2").await;
    photograph(&page, "6-found").await;
    press(&page, ".setup-close").await;
    page.until("document.querySelector('.card h2').textContent === 'Front Doorbell'").await;
    page.until("!document.getElementById('setup').open").await;

    press(&page, "#open-setup").await;
    page.until("document.querySelector('.setup-state').textContent === '2 doorbells found'").await;
    photograph(&page, "7-list").await;
    press(&page, ".setup-buttons button:last-child").await;
    page.until("document.querySelector('.setup-remove').checkVisibility()").await;
    photograph(&page, "8-remove").await;
    press(&page, ".setup-remove").await;
    page.until("document.querySelector('.setup-none').checkVisibility()").await;
    page.until("document.querySelectorAll('.card').length === 0").await;
    press(&page, ".setup-close").await;
    page.until("!document.getElementById('empty').hidden").await;
    let complaints: Vec<_> = browser.complaints().await.into_iter().filter(|one| !one.contains("400")).collect();
    assert_eq!(complaints, Vec::<String>::new());
    running.stop().await;
    stop.cancel();
}

#[tokio::test]
async fn a_refused_login_is_corrected_where_it_is_seen() {
    let (browser, stop) = (Browser::launch().await, CancellationToken::new());
    let cloud = wyze_cloud::start(wyze_cloud::Settings::generate(3), stop.clone()).await.unwrap();
    let home = Installation::new(None, "");
    let (running, service) = home.start().await;
    let account = installation::wyze(&cloud, Some("mistyped")).to_string();
    assert_eq!(service.post("/api/accounts", &account).await.status, 201);
    let page = browser.open(&format!("http://{}/", service.address)).await;
    page.until("document.querySelector('#accounts .account-why').textContent.startsWith('Wyze refused the login')")
        .await;
    photograph(&page, "9-refused").await;
    press(&page, "#accounts .account-correct").await;
    page.until("document.getElementById('setup-email').placeholder === 'unchanged'").await;
    photograph(&page, "10-correct").await;
    type_into(&page, "password", cloud.settings.password.expose()).await;
    page.value("document.querySelector('.setup-form').requestSubmit()").await;
    page.until("document.querySelector('.setup-word').textContent === '9 doorbells found'").await;
    page.until("document.getElementById('accounts').hidden").await;
    running.stop().await;
    stop.cancel();
}

#[tokio::test]
async fn an_aws_account_is_asked_for_one_way_to_log_in() {
    let browser = Browser::launch().await;
    let home = Installation::new(None, "");
    let (running, service) = home.start().await;
    let page = browser.open(&format!("http://{}/", service.address)).await;
    page.until("!document.getElementById('open-setup').hidden").await;
    press(&page, "#add-first").await;
    choose(&page, "AWS").await;
    page.until("document.getElementById('setup-access_key_id').checkVisibility()").await;
    page.value("document.querySelectorAll('.setup-choice input')[1].click()").await;
    page.until("document.getElementById('setup-certificate').checkVisibility()").await;
    page.until("!document.getElementById('setup-access_key_id').checkVisibility()").await;
    photograph(&page, "11-aws").await;
    type_into(&page, "access_key_id", "not sent").await;
    type_into(&page, "region", "eu-central-1").await;
    type_into(&page, "channels", "front, back").await;
    type_into(&page, "certificate", "/etc/hostname").await;
    page.value(
        "(() => { const real = window.fetch; window.fetch = (url, options = {}) => {
            if (options.method === 'POST') window.sent = JSON.parse(options.body);
            return real(url, options);
        } })()",
    )
    .await;
    page.value("document.querySelector('.setup-form').requestSubmit()").await;
    page.until("document.getElementById('setup-private_key-error').textContent.startsWith('Missing')").await;
    let expected = json!({
        "vendor": "kvs", "region": "eu-central-1", "channels": ["front", "back"], "certificate": "/etc/hostname",
    });
    assert_eq!(page.value("window.sent").await, expected);
    // Escape closes, and nothing that was typed stays.
    page.value("document.querySelector('#setup').requestClose?.() ?? document.querySelector('#setup').close()").await;
    page.until("!document.getElementById('setup').open && !document.getElementById('setup-certificate')").await;
    running.stop().await;
}
