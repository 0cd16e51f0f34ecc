//! The virtual Vivint account keeps the promises of the Vivint reference and breaks exactly those that a fault names.

use std::time::{Duration, UNIX_EPOCH};

use doorstep::clock;
use doorstep::proto::totp::totp;
use doorstep::secret::Password;
use doorstep::sim::vivint::{Command, Event, Fault, SecondFactor, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::vivint_hand::{Hand, PATIENCE, VERIFIER, claims, code_of, event, golden, quick};

#[tokio::test]
async fn a_login_by_text_message_needs_its_cookies_its_code_and_its_verifier() {
    let mut hand = Hand::at(quick(1)).await;
    let mut events = hand.vivint.events();
    assert_eq!(hand.submit(json!({})).await.status, 400, "without the cookies of step 1");
    assert_eq!(hand.begin().await.status, 302);
    assert_eq!(hand.submit(json!({})).await.json(), golden()["oauth"]["mfa_sms_reply"]);
    let Event::SmsSent { code } = event(&mut events, |event| matches!(event, Event::SmsSent { .. })).await else {
        unreachable!()
    };
    for wrong in [format!(" {code}"), "000000".to_owned(), String::new()] {
        let refused = hand.login_step("validate", json!({"code": wrong})).await;
        assert_eq!((refused.status, refused.json()), (400, golden()["oauth"]["bad_code_400"].clone()), "{wrong:?}");
    }
    let accepted = hand.login_step("validate", json!({"code": code})).await.json();
    let url = accepted["url"].as_str().unwrap();
    let jar = std::mem::take(&mut hand.cookies);
    assert_eq!(hand.send("GET", url, &[], "").await.status, 400, "without the cookies");
    hand.cookies = jar;
    let refused = hand.redeem(&hand.code_at(url).await, "another verifier").await;
    assert_eq!((refused.status, refused.json()["error"].clone()), (400, json!("invalid_grant")));
    let code = hand.code_at(url).await;
    let tokens = hand.redeem(&code, VERIFIER).await.json();
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&tokens), fields(&golden()["oauth"]["token_reply"]));
    assert_eq!(hand.redeem(&code, VERIFIER).await.status, 400, "a code works twice");
    assert_eq!(hand.vivint.counts().logins, 1);
    // The browser stays logged in: the next login needs no password.
    let again = hand.begin().await;
    assert_eq!(hand.redeem(&code_of(&again), VERIFIER).await.status, 200);
}

#[tokio::test]
async fn an_authenticator_code_is_taken_with_the_password_again() {
    let secret = SecondFactor::totp(3);
    let SecondFactor::Totp(own) = secret.clone() else { unreachable!() };
    let mut hand = Hand::at(Settings { second_factor: secret, ..quick(1) }).await;
    hand.begin().await;
    assert_eq!(hand.submit(json!({})).await.json(), golden()["oauth"]["mfa_totp_reply"]);
    let seconds = clock::unix_now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let code = totp(own.expose(), seconds).unwrap();
    assert_eq!(hand.submit(json!({"mfa": code, "password": "wrong"})).await.status, 401);
    hand.misbehave(Fault::CodeServerError);
    assert_eq!(hand.submit(json!({"mfa": code})).await.status, 500);
    hand.obey("fault none");
    let accepted = hand.submit(json!({"mfa": code})).await.json();
    let code = hand.code_at(accepted["url"].as_str().unwrap()).await;
    assert_eq!(hand.redeem(&code, VERIFIER).await.status, 200);
}

#[tokio::test]
async fn five_wrong_passwords_block_the_right_one_too() {
    let mut hand = Hand::at(Settings { second_factor: SecondFactor::NoneAndTokensAtOnce, ..quick(1) }).await;
    hand.begin().await;
    assert!(hand.submit(json!({})).await.json()["access_token"].is_string(), "tokens come at once");
    for _ in 0..5 {
        let refused = hand.submit(json!({"password": "wrong"})).await;
        assert_eq!((refused.status, refused.json()), (401, golden()["oauth"]["bad_password_401"].clone()));
    }
    let blocked = hand.submit(json!({})).await;
    assert_eq!(blocked.status, 403);
    assert!(blocked.body.starts_with("<!DOCTYPE html>"), "{}", blocked.body);
}

#[tokio::test]
async fn a_refresh_token_works_once_and_expiry_ends_access_only() {
    let mut hand = Hand::logged_in().await;
    assert_eq!(hand.api("GET", "authuser", "").await.status, 200);
    hand.obey("expire");
    assert_eq!(hand.api("GET", "authuser", "").await.status, 401);
    let old = hand.refresh.clone();
    let tokens = hand.refresh_with(&old).await.json();
    hand.keep(&tokens);
    assert_ne!(hand.refresh, old);
    assert_eq!(hand.api("GET", "authuser", "").await.status, 200);
    let refused = hand.refresh_with(&old).await;
    assert_eq!((refused.status, refused.json()), (400, golden()["oauth"]["refresh_rejected_400"].clone()));
    hand.misbehave(Fault::RefreshKept);
    let kept = hand.refresh_with(&hand.refresh).await.json();
    assert!(kept["refresh_token"].is_null() && kept["access_token"].is_string(), "{kept}");
    assert_eq!(hand.refresh_with(&hand.refresh).await.status, 200);
    hand.misbehave(Fault::RefreshRevoked);
    assert_eq!(hand.refresh_with(&hand.refresh).await.status, 400);
}

#[tokio::test]
async fn tokens_end_when_their_life_does() {
    let mut hand = Hand::at(Settings {
        second_factor: SecondFactor::NoneAndTokensAtOnce,
        token_life: Duration::from_millis(1),
        ..quick(1)
    })
    .await;
    hand.begin().await;
    let tokens = hand.submit(json!({})).await.json();
    hand.keep(&tokens);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(hand.api("GET", "authuser", "").await.status, 401);
}

#[tokio::test]
async fn the_account_names_its_channel_and_its_system() {
    let hand = Hand::logged_in().await;
    let account = hand.get("authuser").await;
    let golden = golden();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&account["u"]), keys(&golden["authuser"]["u"]));
    assert_eq!(account["u"]["mbc"], hand.vivint.settings.message_channel);
    let system = hand.get(&format!("systems/{}?includerules=false", hand.panel())).await;
    let ids = |system: &Value| -> Vec<i64> {
        system["system"]["par"][0]["d"].as_array().unwrap().iter().filter_map(|device| device["_id"].as_i64()).collect()
    };
    assert_eq!(ids(&system), ids(&golden["system"]));
    assert_eq!(hand.device(40).await["s"], true);
    assert_eq!(hand.api("GET", "systems/5", "").await.status, 404);
    let unknown = hand.send("GET", "/api/authuser", &[("authorization", "Bearer nobody")], "").await;
    assert_eq!(unknown.status, 401);
    hand.misbehave(Fault::UserList);
    assert_eq!(hand.get("authuser").await["u"][0]["_id"], hand.vivint.settings.uid);
    hand.misbehave(Fault::NoMessageChannel);
    assert!(hand.get("authuser").await["u"].get("mbc").is_none());
    hand.misbehave(Fault::BrokenDevice);
    let broken = hand.get(&format!("systems/{}", hand.panel())).await;
    assert_eq!(broken["system"]["par"][0]["d"].as_array().unwrap().len(), ids(&golden["system"]).len() + 4);
}

#[tokio::test]
async fn a_lock_answers_at_once_and_tells_its_state_when_the_bolt_has_arrived() {
    let hand = Hand::logged_in().await;
    let mut events = hand.vivint.events();
    let (token, nothing) = hand.poll("0").await;
    assert!(nothing.is_empty());
    let path = format!("{}/1/locks/40", hand.panel());
    let body = r#"{"s": false, "_id": 40}"#;
    assert_eq!(hand.api("PUT", &path, body).await.json(), json!({}));
    assert_eq!(
        event(&mut events, |event| *event != Event::Subscribed { from_now: true }).await,
        Event::Unlocking { device: 40 }
    );
    let (token, messages) = hand.poll(&token).await;
    let golden = golden();
    let delta = &messages[0]["d"]["da"]["d"][0];
    assert_eq!(delta, &golden["pubnub"]["lock"]["message"]["da"]["d"][0]);
    assert_eq!(hand.device(40).await["s"], false);
    assert_eq!(hand.vivint.counts().unlocks, 1);

    for wrong in [r#"{"s": true, "_id": 41}"#, r#"{"s": 1, "_id": 40}"#, "{"] {
        assert_eq!(hand.api("PUT", &path, wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(hand.api("PUT", &format!("{}/1/locks/61", hand.panel()), r#"{"s": true, "_id": 61}"#).await.status, 404);
    hand.misbehave(Fault::Jammed);
    assert_eq!(hand.api("PUT", &path, r#"{"s": true, "_id": 40}"#).await.status, 200);
    hand.obey("fault none");
    hand.obey("lock");
    let (_, messages) = hand.poll(&token).await;
    assert_eq!(messages.len(), 1, "the jammed bolt moved too");
    assert_eq!(hand.device(40).await["s"], true);
}

#[tokio::test]
async fn a_garage_door_is_under_way_before_it_is_open() {
    let hand = Hand::logged_in().await;
    let (mut token, _) = hand.poll("0").await;
    let path = format!("{}/1/door/61", hand.panel());
    for (command, states) in [(4, [4, 5]), (2, [2, 1])] {
        let body = json!({"s": command, "_id": 61}).to_string();
        assert_eq!(hand.api("PUT", &path, &body).await.status, 200);
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let (next, messages) = hand.poll(&token).await;
            token = next;
            seen.extend(messages.iter().map(|message| message["d"]["da"]["d"][0]["s"].clone()));
        }
        assert_eq!(seen, states);
    }
    assert_eq!(hand.api("PUT", &path, r#"{"s": 5, "_id": 61}"#).await.status, 400);
}

#[tokio::test]
async fn two_subscribers_both_hear_a_ring_and_several_messages_come_in_order() {
    let hand = Hand::logged_in().await;
    let (token, _) = hand.poll("0").await;
    let (first, second, ()) = tokio::join!(hand.poll(&token), hand.poll(&token), async {
        tokio::task::yield_now().await;
        hand.obey("ring");
    });
    assert_eq!(first, second);
    let golden = golden();
    let golden = &golden["pubnub"]["ring"]["subscribe_reply"]["m"][0];
    let message = &first.1[0];
    assert_eq!(message["d"]["da"]["d"][0], golden["d"]["da"]["d"][0]);
    for (name, value) in golden.as_object().unwrap() {
        let same = std::mem::discriminant(value) == std::mem::discriminant(&message[name]);
        assert!(same, "{name} is {} for {value}", message[name]);
    }
    for command in ["ring 28", "motion 27", "picture 27", "offline 27", "push {\"_id\": 27, \"wiss\": 71}"] {
        hand.obey(command);
    }
    let (last, messages) = hand.poll(&first.0).await;
    let told: Vec<&Value> = messages.iter().map(|message| &message["d"]["da"]["d"][0]).collect();
    assert_eq!(told.len(), 5);
    assert_eq!((&told[0]["dng"], &told[1]["vdt"]), (&json!(true), &json!(true)));
    assert!(told[2]["ctd"].is_string() && told[3]["ol"] == false && told[4]["wiss"] == 71, "{told:?}");
    assert!(messages.windows(2).all(|pair| pair[0]["p"]["t"].as_str() < pair[1]["p"]["t"].as_str()));
    assert!(hand.device(27).await.get("dng").is_none(), "an edge became a state");
    hand.misbehave(Fault::DuplicateRings);
    hand.obey("ring");
    assert_eq!(hand.poll(&last).await.1.len(), 2);
}

#[tokio::test]
async fn pubnub_holds_who_hears_nothing_and_its_faults_show() {
    let hand = Hand::at(Settings { long_poll: Duration::from_millis(100), ..quick(1) }).await;
    let (token, _) = hand.poll("0").await;
    assert_eq!(hand.poll(&token).await, (token.clone(), Vec::new()));
    hand.misbehave(Fault::PubnubNoise);
    hand.obey("ring");
    let (token, messages) = hand.poll(&token).await;
    assert_eq!(messages.len(), 7);
    assert!(messages[0].get("d").is_none() && messages[1]["d"].get("panid").is_none());
    assert_eq!(messages[2]["d"]["panid"], 1);
    assert_eq!(messages[6]["d"]["panid"], hand.panel());
    hand.misbehave(Fault::PubnubSilent);
    hand.obey("ring");
    assert!(hand.poll(&token).await.1.is_empty());
    hand.misbehave(Fault::PubnubGarbage);
    let path = format!(
        "/v2/subscribe/{}/PlatformChannel%23{}/0?tt={token}",
        hand.vivint.settings.pubnub_key, hand.vivint.settings.message_channel
    );
    let garbage = hand.send("GET", &path, &[], "").await;
    assert!(garbage.status == 200 && serde_json::from_str::<Value>(&garbage.body).is_err(), "{garbage:?}");
    let stranger = hand.send("GET", "/v2/subscribe/sub-c-other/PlatformChannel%23x/0?tt=0", &[], "").await;
    assert_eq!(stranger.status, 400);
    let key = &hand.vivint.settings.pubnub_key;
    let leave = format!("/v2/presence/sub-key/{key}/channel/PlatformChannel%23x/leave?uuid=pn-X");
    assert_eq!(hand.send("GET", &leave, &[], "").await.json()["action"], "leave");
}

#[tokio::test]
async fn a_thumbnail_is_announced_and_read_without_the_bearer() {
    let hand = Hand::logged_in().await;
    let before = hand.device(27).await["ctd"].clone();
    let (token, _) = hand.poll("0").await;
    let base = format!("{}/1/27", hand.panel());
    assert_eq!(hand.api("GET", &format!("{base}/request-camera-thumbnail"), "").await.status, 200);
    let (_, messages) = hand.poll(&token).await;
    let taken = &messages[0]["d"]["da"]["d"][0]["ctd"];
    assert_ne!(taken, &before);
    assert_eq!(taken.as_str().unwrap().len(), "2026-01-15T18:00:05.000000".len());

    let reply = hand.api("GET", &format!("{base}/camera-thumbnail?time=1768500005000"), "").await;
    assert_eq!(reply.status, 302);
    let path = reply.header("location").unwrap().strip_prefix(&hand.vivint.url()).unwrap().to_owned();
    assert_eq!(hand.send("GET", &path, &[("authorization", &format!("Bearer {}", hand.access))], "").await.status, 400);
    let forged = path.replace("/27/", "/28/");
    assert_eq!(hand.send("GET", &forged, &[], "").await.status, 403);
    let image = bytes_of(&hand, &path).await;
    assert!(image.starts_with(&[0xff, 0xd8, 0xff]) && image.ends_with(&[0xff, 0xd9]), "{} bytes", image.len());
    assert_eq!(hand.vivint.counts().thumbnails_read, 1);
    assert_eq!(hand.api("GET", &format!("{}/1/40/camera-thumbnail?time=1", hand.panel()), "").await.status, 404);
}

async fn bytes_of(hand: &Hand, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(hand.vivint.address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut raw = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut raw)).await.unwrap().unwrap();
    let head = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    raw.split_off(head + 4)
}

#[tokio::test]
async fn the_panel_login_is_another_one_after_a_rotation() {
    let hand = Hand::logged_in().await;
    let path = format!("panel-login/{}", hand.panel());
    let before = hand.get(&path).await;
    assert_eq!(before["n"], hand.vivint.settings.panel_login.user);
    hand.obey("rotate");
    let after = hand.get(&path).await;
    assert_ne!(before["pswd"], after["pswd"]);
    assert_eq!(after["pswd"], hand.vivint.panel_login().password.expose());
}

#[tokio::test]
async fn the_exchange_takes_the_id_token_only_and_firebase_the_key_only() {
    let hand = Hand::logged_in().await;
    let wrong = format!("Bearer {}", hand.access);
    let refused = hand.send("GET", "/?custom-token=true", &[("authorization", &wrong)], "").await;
    assert_eq!(refused.status, 401, "it takes the access token");
    for method in ["GET", "POST"] {
        assert_eq!(hand.exchange(method).await.status, 200, "{method}");
    }
    let custom = hand.exchange("GET").await.json()["custom-token"].clone();
    let (own, panel) = (claims(&custom), hand.panel().to_string());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let golden = golden();
    let wanted = keys(&golden["firebase_tokens"]["custom_token_payload"]);
    assert!(wanted.iter().all(|name| own.get(name).is_some()), "{own}");
    assert_eq!(own["claims"]["sig_server"][&panel], format!("{}/?ns=virtual", hand.vivint.url()));
    assert_eq!(own["claims"]["devices"][&panel], json!([hand.camera()]));

    let invalid = hand.sign_in("another-key", &custom).await;
    assert_eq!((invalid.status, invalid.json()["error"]["message"].clone()), (400, json!("INVALID_API_KEY")));
    let invalid = hand.sign_in(hand.key(), &json!("no token")).await;
    assert_eq!((invalid.status, invalid.json()), (400, golden["firebase_tokens"]["sign_in_error"].clone()));
    let tokens = hand.sign_in(hand.key(), &custom).await.json();
    assert_eq!(keys(&tokens), keys(&golden["firebase_tokens"]["sign_in_reply"]));
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens["refreshToken"].as_str().unwrap())];
    let refreshed = hand.form(&format!("/v1/token?key={}", hand.key()), &refresh).await.json();
    assert_eq!(keys(&refreshed), keys(&golden["firebase_tokens"]["refresh_reply"]));

    hand.misbehave(Fault::ExchangePost);
    assert_eq!((hand.exchange("GET").await.status, hand.exchange("POST").await.status), (405, 200));
    hand.misbehave(Fault::NotListed);
    let custom = hand.exchange("GET").await.json()["custom-token"].clone();
    assert_eq!(claims(&custom)["claims"]["devices"][&panel], json!([]));
    hand.misbehave(Fault::NoClaims);
    let custom = hand.exchange("GET").await.json()["custom-token"].clone();
    assert_eq!(claims(&custom)["claims"], json!({}));
    hand.misbehave(Fault::CustomTokenRefused);
    assert_eq!(hand.sign_in(hand.key(), &custom).await.status, 400);
}

#[tokio::test]
async fn faults_of_http_show_where_they_are_told_to() {
    let hand = Hand::logged_in().await;
    for (fault, status) in [("500", 500), ("429", 429), ("403_html", 403), ("html_200", 200)] {
        hand.obey(&format!("fault {fault} /api/authuser"));
        let reply = hand.api("GET", "authuser", "").await;
        assert_eq!(reply.status, status, "{fault}");
        assert!(serde_json::from_str::<Value>(&reply.body).is_err(), "{fault}: {}", reply.body);
        assert_eq!(reply.header("retry-after"), (fault == "429").then_some("7"));
        assert_eq!(hand.api("GET", &format!("systems/{}", hand.panel()), "").await.status, 200);
    }
    hand.obey("fault bad_json /api");
    let cut = hand.api("GET", "authuser", "").await;
    assert!(cut.status == 200 && cut.body.starts_with('{') && serde_json::from_str::<Value>(&cut.body).is_err());
    hand.misbehave(Fault::CodeDemanded);
    let demanded = hand.api("GET", "authuser", "").await;
    assert_eq!((demanded.status, demanded.json()["msg"].as_str()), (403, Some("Multi-factor authentication required")));
    hand.obey("fault wrong_types /api");
    assert!(hand.get("authuser").await.is_array());
    hand.obey("fault none");
    hand.vivint.obey(Command::Password(Password::new("another"))).unwrap();
    let mut hand = hand;
    hand.cookies.clear();
    hand.begin().await;
    assert_eq!(hand.submit(json!({})).await.status, 401);
    assert!(hand.vivint.requests_to("/api/") > 5);
}

#[tokio::test]
async fn an_offline_cloud_takes_nobody_and_comes_back() {
    let hand = Hand::logged_in().await;
    let mut socket = TcpStream::connect(hand.vivint.address).await.unwrap();
    socket.write_all(b"GET /api/authuser HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    hand.obey("offline");
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut rest)).await.unwrap();
    assert!(read.is_err() || rest.is_empty(), "it answered {rest:?}");
    hand.obey("online");
    assert_eq!(hand.api("GET", "authuser", "").await.status, 200);
}
