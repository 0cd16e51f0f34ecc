//! Accounts that are added while the service runs: logged in, kept, corrected, and taken away without a trace.

use doorstep::config::KvsLogin;
use doorstep::secret::Password;
use doorstep::sim::vivint::{self, Event as VivintEvent};
use doorstep::sim::wyze_cloud::{self, CloudCommand, CloudEvent, SecondFactor};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::installation::{self, Installation};
use crate::support::kvs_house::Cloud;
use crate::support::mosquitto::Mosquitto;
use crate::support::service::Page;
use crate::support::told;
use crate::support::vivint_hand::quick;

const LOGIN: &str = "/api/user/login";
const BRIDGE: &str = "homeassistant/device/doorstep_bridge/config";

async fn add(page: &Page, account: &Value) -> Value {
    let reply = page.post("/api/accounts", &account.to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()
}

async fn enter(page: &Page, n: usize, code: &str) {
    let reply = page.post(&format!("/api/accounts/{n}/code"), &json!({ "code": code }).to_string()).await;
    assert_eq!(reply.status, 202, "{reply:?}");
}

#[tokio::test]
async fn a_vivint_account_takes_its_code_lasts_over_restarts_and_leaves_no_trace() {
    let (broker, stop) = (Mosquitto::start().await, CancellationToken::new());
    let cloud = vivint::start(quick(4), stop.clone()).await.unwrap();
    let mut happened = cloud.events();
    let home = Installation::new(Some(broker.port), "");
    let (running, page) = home.start().await;
    let mut witness = broker.listen("#").await;

    let view = add(&page, &installation::vivint(&cloud, None)).await;
    assert_eq!((&view["n"], &view["vendor"], &view["added_here"]), (&json!(100), &json!("vivint"), &json!(true)));
    let (username, password) = (cloud.settings.username.expose(), cloud.settings.password.expose());
    let (_, host) = username.split_once('@').unwrap();
    assert_eq!(view["label"], format!("{}…@{host}", &username[..1]));
    let sent = |event: &VivintEvent| if let VivintEvent::SmsSent { code } = event { Some(code.clone()) } else { None };
    let code = told::first(&mut happened, "a text message", sent).await;
    page.account_is(100, "needs_code").await;
    enter(&page, 100, &code).await;
    let ready = page.account_is(100, "ready").await;
    assert_eq!(ready["doorbells"], 2, "{ready}");
    assert_eq!(page.names().await, ["Front Doorbell", "Side Doorbell"]);
    let id = page.get("/api/doorbells").await.json()[0]["id"].as_str().unwrap().to_owned();
    let config = format!("homeassistant/device/doorstep_{id}/config");
    witness.next_on(&config).await;
    home.stores("that the password is of no more use", |stored| {
        stored.contains("vivint_account") && !stored.contains(password)
    })
    .await;
    running.stop().await;

    let (running, page) = home.start().await;
    page.account_is(100, "ready").await;
    assert_eq!(page.names().await.len(), 2);
    assert_eq!((cloud.counts().logins, cloud.requests_to("/idp/api/submit")), (1, 1));
    let mut witness = broker.listen("#").await;
    let seen = witness.next_on(BRIDGE).await.json();
    assert_eq!(seen["components"]["account_100"]["name"], "Vivint account");

    let gone = page.send("DELETE", "/api/accounts/100", "application/json", "").await;
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    assert_eq!(page.accounts().await, Vec::<Value>::new());
    assert_eq!(page.names().await, Vec::<String>::new());
    let offline = witness.next_on(&format!("doorstep/{id}/availability")).await;
    let offline = if offline.payload == "offline" { offline } else { witness.next_on(&offline.topic).await };
    assert_eq!(offline.payload, "offline", "it is told before it is gone");
    let [discovery, state] = witness.next_of_each([&config, "doorstep/bridge/account/100"]).await;
    assert_eq!((discovery.payload.as_str(), state.payload.as_str()), ("", ""));
    let stored = home.stored();
    for trace in [username, password, "vivint_account", "vivint_devices", "refresh"] {
        assert!(!stored.contains(trace), "{trace} is left in {stored}");
    }
    let again = add(&page, &installation::vivint(&cloud, None)).await;
    assert_eq!(again["n"], 101, "a number is used twice");
    running.stop().await;
    stop.cancel();
}

#[tokio::test]
async fn a_wrong_wyze_password_is_tried_once_and_corrected_without_a_restart() {
    let stop = CancellationToken::new();
    let settings = wyze_cloud::Settings { second_factor: SecondFactor::Sms, ..wyze_cloud::Settings::generate(3) };
    let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
    let mut happened = cloud.events();
    let home = Installation::new(None, "");
    let (running, page) = home.start().await;

    add(&page, &installation::wyze(&cloud, Some("mistyped by far"))).await;
    let refused = page.account_is(100, "needs_attention").await;
    assert!(refused["why"].as_str().unwrap().contains("password"), "{refused}");
    page.post("/api/accounts/rediscover", "").await;
    assert_eq!(cloud.requests_to(LOGIN), 1);

    let right = cloud.settings.password.expose();
    let correct =
        async |body: Value| page.send("PUT", "/api/accounts/100", "application/json", &body.to_string()).await;
    let reply = correct(json!({"password": right, "email": ""})).await;
    assert_eq!((reply.status, &reply.json()["n"]), (200, &json!(100)), "{reply:?}");
    let sent = |event: &CloudEvent| if let CloudEvent::SmsSent { code } = event { Some(code.clone()) } else { None };
    let code = told::first(&mut happened, "a code by SMS", sent).await;
    page.account_is(100, "needs_code").await;
    enter(&page, 100, &code).await;
    page.account_is(100, "ready").await;
    assert_eq!(page.names().await.len(), 9);
    assert_eq!(cloud.requests_to(LOGIN), 2, "a wrong password, and a right one");
    let stored = home.stored();
    assert!(!stored.contains(right) && !stored.contains("mistyped by far") && stored.contains("md5:"), "{stored}");
    running.stop().await;

    let (running, page) = home.start().await;
    page.account_is(100, "ready").await;
    assert_eq!((cloud.requests_to(LOGIN), cloud.counts().logins), (2, 1), "logged in again after the restart");
    let bad = page.send("PUT", "/api/accounts/100", "application/json", "{\"poll_s\": 0}").await;
    assert_eq!((bad.status, &bad.json()["mistakes"][0]["path"]), (400, &json!("poll_s")), "{bad:?}");
    let bad = page.send("PUT", "/api/accounts/100", "application/json", "{\"vendor\": \"kvs\"}").await;
    assert_eq!((bad.status, &bad.json()["mistakes"][0]["path"]), (400, &json!("vendor")), "{bad:?}");
    page.account_is(100, "ready").await;
    running.stop().await;
    stop.cancel();
}

#[tokio::test]
async fn whoever_guesses_at_a_password_is_made_to_wait_by_us_before_wyze_locks_the_account() {
    let stop = CancellationToken::new();
    let cloud = wyze_cloud::start(wyze_cloud::Settings::generate(3), stop.clone()).await.unwrap();
    let home = Installation::new(None, "");
    let (running, page) = home.start().await;
    add(&page, &installation::wyze(&cloud, Some("guess 0"))).await;
    for guess in 1..=3 {
        page.account_is(100, "needs_attention").await;
        assert_eq!(cloud.requests_to(LOGIN), guess);
        let body = json!({ "password": format!("guess {guess}") }).to_string();
        assert_eq!(page.send("PUT", "/api/accounts/100", "application/json", &body).await.status, 200);
    }
    page.account_is(100, "needs_attention").await;
    let body = json!({"password": "guess 4"}).to_string();
    page.send("PUT", "/api/accounts/100", "application/json", &body).await;
    let waits = |account: &Value| account["why"].as_str().is_some_and(|why| why.contains("too short ago"));
    page.account(100, "made to wait", waits).await;
    assert_eq!(cloud.requests_to(LOGIN), 4);
    running.stop().await;
    stop.cancel();
}

#[tokio::test]
async fn a_wyze_account_with_an_authenticator_asks_for_no_code() {
    let stop = CancellationToken::new();
    let settings = wyze_cloud::Settings { second_factor: SecondFactor::totp(3), ..wyze_cloud::Settings::generate(3) };
    let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
    let SecondFactor::Totp(secret) = &cloud.settings.second_factor else { unreachable!() };
    let home = Installation::new(None, "");
    let (running, page) = home.start().await;
    let mut account = installation::wyze(&cloud, None);
    account["totp_secret"] = secret.expose().into();
    add(&page, &account).await;
    page.account_is(100, "ready").await;
    // A changed password at Wyze, and then here: the login as it is goes on.
    cloud.obey(CloudCommand::Password(Password::new("changed since"))).unwrap();
    let body = json!({"password": "changed since"}).to_string();
    assert_eq!(page.send("PUT", "/api/accounts/100", "application/json", &body).await.status, 200);
    page.account_is(100, "ready").await;
    assert_eq!(page.names().await.len(), 9);
    running.stop().await;
    stop.cancel();
}

/// Or whoever may correct an account would be sent what only its owner knows.
#[tokio::test]
async fn an_account_that_goes_to_other_servers_takes_no_secret_along() {
    let stop = CancellationToken::new();
    let cloud = vivint::start(vivint::Settings { second_factor: vivint::SecondFactor::None, ..quick(4) }, stop.clone())
        .await
        .unwrap();
    let thief = vivint::start(quick(4), stop.clone()).await.unwrap();
    let home = Installation::new(None, "");
    let (running, page) = home.start().await;
    add(&page, &installation::vivint(&cloud, None)).await;
    let theirs = installation::vivint(&thief, None)["endpoints"].clone();
    let correct =
        async |body: Value| page.send("PUT", "/api/accounts/100", "application/json", &body.to_string()).await;
    let username = cloud.settings.username.expose();
    // With its password still stored, and with the tokens that came in its place.
    for stage in ["vivint_account", "refresh"] {
        home.stores("what is to be had", |stored| stored.contains(stage)).await;
        for body in [json!({ "endpoints": theirs }), json!({ "endpoints": theirs, "username": username })] {
            let reply = correct(body).await;
            assert_eq!(reply.status, 400, "{reply:?}");
            let mistakes = reply.json()["mistakes"].as_array().unwrap().clone();
            assert!(mistakes.iter().any(|mistake| mistake["path"] == "password"), "{mistakes:?}");
        }
    }
    page.account_is(100, "ready").await;
    assert_eq!(thief.requests_to("/"), 0, "it was sent something");
    // Whoever tells all of it anew is the owner; what was at the old servers is of no use at the new ones.
    let whole = installation::vivint(&thief, Some("another password"));
    assert_eq!(correct(whole).await.status, 200);
    page.account_is(100, "needs_attention").await;
    assert!(!home.stored().contains("refresh"), "{}", home.stored());
    assert_eq!(cloud.counts().logins, 1);
    running.stop().await;
    stop.cancel();
}

#[tokio::test]
async fn an_aws_account_is_added_with_its_keys_and_removed() {
    let cloud = Cloud::new().await;
    let KvsLogin::Keys(keys) = &cloud.account.login else { panic!("the virtual account has keys") };
    let endpoints = &cloud.account.endpoints;
    let account = json!({
        "vendor": "kvs",
        "region": cloud.account.region,
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key.expose(),
        "session_token": keys.session_token.as_ref().map(|token| token.expose()),
        "endpoints": {
            "kinesisvideo": endpoints.kinesisvideo.as_str(), "sts": endpoints.sts.as_str(), "iot": endpoints.iot.as_str(),
            "ice_servers": [],
        },
    });
    let home = Installation::new(None, "");
    let (running, page) = home.start().await;
    let view = add(&page, &account).await;
    assert_eq!((&view["vendor"], &view["label"]), (&json!("kvs"), &json!(cloud.account.region)));
    page.account(100, "filled", |account| account["doorbells"].as_u64() > Some(0)).await;
    assert!(!page.names().await.is_empty());
    assert_eq!(page.send("DELETE", "/api/accounts/100", "application/json", "").await.status, 204);
    assert_eq!(page.names().await, Vec::<String>::new());
    let stored = home.stored();
    for trace in [keys.access_key_id.as_str(), keys.secret_access_key.expose(), "kvs_"] {
        assert!(!stored.contains(trace), "{trace} is left in {stored}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_an_account_is_told_where_it_is_and_nothing_is_added() {
    const SECRET: &str = "hunter2hunter2";
    let home = Installation::new(None, "vivint: [{username: there@example.com}]");
    let (running, page) = home.start().await;
    let wyze = |change: &dyn Fn(&mut Value)| {
        let mut account =
            json!({"vendor": "wyze", "email": "a@example.com", "password": SECRET, "key_id": "i", "api_key": "k"});
        change(&mut account);
        account.to_string()
    };
    let kvs = |more: Value| {
        let mut account = json!({"vendor": "kvs", "region": "eu-central-1"});
        account.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        account.to_string()
    };
    let cases: Vec<(String, &str, &str)> = vec![
        ("[]".into(), "vendor", "missing; expected `wyze`"),
        (format!("\"{SECRET}\""), "vendor", "missing; expected `wyze`"),
        (json!({"email": "a@example.com"}).to_string(), "vendor", "missing; expected `wyze`"),
        (json!({"vendor": "ring", "password": SECRET}).to_string(), "vendor", "not a vendor"),
        (json!({"vendor": {SECRET: 1}}).to_string(), "vendor", "not a vendor"),
        (wyze(&|a| a["email"] = "nobody".into()), "email", "not an e-mail address"),
        (wyze(&|a| a["email"] = "".into()), "email", "missing; expected the account's e-mail address"),
        (wyze(&|a| a["password"] = "   ".into()), "password", "there is nothing in it"),
        (wyze(&|a| a["password"] = json!([SECRET])), "password", "this is a list"),
        (wyze(&|a| a["api_key"] = Value::Null), "api_key", "missing; expected the API key"),
        (wyze(&|a| a["totp_secret"] = "0189".into()), "totp_secret", "not a secret in base32"),
        (wyze(&|a| a["pasword"] = SECRET.into()), "pasword", "did you mean `password`?"),
        (wyze(&|a| a["poll_s"] = 900.into()), "poll_s", "out of range"),
        (wyze(&|a| a["endpoints"] = json!({"auth": "http://example.com"})), "endpoints.auth", "unencrypted"),
        (json!({"vendor": "vivint", "username": "b@example.com"}).to_string(), "password", "missing; expected"),
        (
            json!({"vendor": "vivint", "username": "There@example.com", "password": SECRET}).to_string(),
            "username",
            "an account before this one has the same",
        ),
        (kvs(json!({"region": "Frankfurt"})), "region", "not a region"),
        (kvs(json!({"channels": ["front door"]})), "channels[0]", "not a channel"),
        (kvs(json!({"access_key_id": "AKIAIOSFODNN7EXAMPLE"})), "secret_access_key", "missing"),
        (
            kvs(json!({"certificate": "/etc/hostname", "private_key": format!("-----BEGIN {SECRET}")})),
            "certificate",
            "this is a path",
        ),
    ];
    let before = home.stored();
    for (body, path, what) in cases {
        let reply = page.post("/api/accounts", &body).await;
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
        assert!(!reply.json()["error"].as_str().unwrap().contains("?."), "{reply:?}");
        let mistakes = reply.json()["mistakes"].as_array().unwrap().clone();
        let is_it = |mistake: &Value| mistake["path"] == path && mistake["what"].as_str().unwrap().contains(what);
        assert!(mistakes.iter().any(is_it), "{body}: no `{path}`: {what} in {mistakes:?}");
        assert!(!reply.body.contains(SECRET), "{reply:?}");
    }
    for (body, status) in [("{", 400), ("{\"vendor\":", 400), ("", 400)] {
        assert_eq!(page.post("/api/accounts", body).await.status, status, "{body:?}");
    }
    let form = page.send("POST", "/api/accounts", "application/x-www-form-urlencoded", "vendor=wyze").await;
    assert_eq!(form.status, 415, "{form:?}");
    assert_eq!(home.stored(), before);
    assert_eq!(page.accounts().await.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_configured_account_is_the_configurations_and_one_that_is_not_there_is_nobodys() {
    let home = Installation::new(None, "kvs: [{region: eu-central-1, channels: [front]}]");
    let (running, page) = home.start().await;
    let shown = page.accounts().await[0].clone();
    assert_eq!((&shown["added_here"], &shown["label"]), (&json!(false), &json!("eu-central-1")));
    for (path, status) in [("/api/accounts/0", 409), ("/api/accounts/1", 404), ("/api/accounts/x", 404)] {
        for method in ["PUT", "DELETE"] {
            let reply = page.send(method, path, "application/json", "{}").await;
            assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        }
    }
    running.stop().await;
}

/// An account that goes nowhere.
fn lost(channel: &str) -> Value {
    json!({
        "vendor": "kvs", "region": "eu-central-1", "channels": [channel],
        "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "s",
        "endpoints": {"kinesisvideo": "http://127.0.0.1:1", "sts": "http://127.0.0.1:1", "iot": "http://127.0.0.1:1"},
    })
}

#[tokio::test]
async fn what_cannot_be_kept_does_not_happen() {
    let home = Installation::new(None, "");
    let (running, page) = home.start().await;
    add(&page, &lost("first")).await;
    page.account_is(100, "failing").await;
    home.disk_is_full(true);
    let before = home.stored();
    let body = lost("second").to_string();
    for (method, path) in [("POST", "/api/accounts"), ("PUT", "/api/accounts/100"), ("DELETE", "/api/accounts/100")] {
        let reply = page.send(method, path, "application/json", &body).await;
        assert_eq!(reply.status, 507, "{method}: {reply:?}");
        assert!(reply.error().contains("see to its disk"), "{reply:?}");
    }
    assert_eq!(page.accounts().await.len(), 1);
    assert_eq!(home.stored(), before);
    home.disk_is_full(false);
    assert_eq!(add(&page, &lost("second")).await["n"], 101);
    assert!(home.stored().contains("\"first\"") && home.stored().contains("\"second\""));
    running.stop().await;
}

#[tokio::test]
async fn there_is_an_end_to_how_many_are_added() {
    let home = Installation::new(None, "");
    let (running, page) = home.start().await;
    for n in 0..16 {
        add(&page, &lost(&format!("channel-{n}"))).await;
    }
    let reply = page.post("/api/accounts", &lost("one-more").to_string()).await;
    assert_eq!(reply.status, 409, "{reply:?}");
    assert!(reply.error().contains("16"), "{reply:?}");
    assert_eq!(page.accounts().await.len(), 16);
    running.stop().await;
}

#[tokio::test]
async fn an_account_that_cannot_be_used_any_more_says_why_and_the_others_live() {
    let home = Installation::new(None, "");
    let (running, page) = home.start().await;
    for channel in ["first", "second"] {
        add(&page, &lost(channel)).await;
    }
    running.stop().await;
    // Its owner has since written the first channel into the configuration.
    let home = home.configured("kvs: [{region: eu-central-1, channels: [first]}]");
    let (running, page) = home.start().await;
    let aside = page.account_is(100, "needs_attention").await;
    assert!(aside["why"].as_str().unwrap().contains("`channels`"), "{aside}");
    page.account_is(101, "failing").await;
    assert_eq!(page.send("DELETE", "/api/accounts/100", "application/json", "").await.status, 204);
    let numbers: Vec<_> = page.accounts().await.iter().map(|account| account["n"].clone()).collect();
    assert_eq!(numbers, [json!(0), json!(101)]);
    running.stop().await;
}
