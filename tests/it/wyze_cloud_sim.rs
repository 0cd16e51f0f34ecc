//! The virtual Wyze cloud keeps the promises of the Wyze cloud reference and breaks exactly those that a fault
//! names. The client here sends each request by hand.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use doorstep::clock;
use doorstep::proto::totp::totp;
use doorstep::proto::wyze::{App, FORD_KEY, ford_sign, mars_request_id, password_hash};
use doorstep::secret::{Password, Token};
use doorstep::sim::wyze_cloud::{
    self, CloudCommand, CloudEvent, Device, Fault, GwellUser, IceServer, Rate, RunningCloud, Scripted, SecondFactor,
    Settings, Stream, Trouble,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::http::{Reply, request_with};
use crate::support::told::happens;

const LIST: &str = "/app/v2/home_page/get_object_list";
const EVENTS_2: &str = "/app/v2/device/get_event_list";
const EVENTS_4: &str = "/app/v4/device/get_event_list";

/// A client that knows the account's credentials.
struct Hand {
    cloud: RunningCloud,
    token: String,
    refresh: String,
    _stop: DropGuard,
}

fn now_ms() -> u64 {
    clock::unix_now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

impl Hand {
    async fn at(settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let cloud = wyze_cloud::start(settings, stop.clone()).await.unwrap();
        Self { cloud, token: String::new(), refresh: String::new(), _stop: stop.drop_guard() }
    }

    async fn logged_in(settings: Settings) -> Self {
        let mut hand = Self::at(settings).await;
        let reply = hand.log_in().await;
        hand.keep(&reply.json());
        hand
    }

    fn keep(&mut self, tokens: &Value) {
        self.token = tokens["access_token"].as_str().expect("an access token").to_owned();
        self.refresh = tokens["refresh_token"].as_str().expect("a refresh token").to_owned();
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        request_with(self.cloud.address, "POST", path, &headers, body).await
    }

    async fn log_in_as(&self, password: &str, key: &str) -> Reply {
        let body = json!({"email": self.cloud.settings.email.expose(), "password": password_hash(password)});
        let key_id = self.cloud.settings.key_id.expose();
        self.post("/api/user/login", &[("keyid", key_id), ("apikey", key)], &body.to_string()).await
    }

    async fn log_in(&self) -> Reply {
        let settings = &self.cloud.settings;
        self.log_in_as(settings.password.expose(), settings.api_key.expose()).await
    }

    async fn second_step(&self, kind: &str, id: &Value, code: &str) -> Reply {
        let settings = &self.cloud.settings;
        let body = json!({
            "email": settings.email.expose(),
            "password": password_hash(settings.password.expose()),
            "mfa_type": kind,
            "verification_id": id,
            "verification_code": code,
        });
        self.post("/user/login", &[("x-api-key", "any")], &body.to_string()).await
    }

    /// With the common body (§2).
    async fn api(&self, path: &str, fields: Value) -> Reply {
        let mut body = json!({
            "access_token": self.token, "phone_id": "x", "app_name": "com.hualai.WyzeCam", "app_version": "3.6.5.5",
            "app_ver": "com.hualai.WyzeCam___3.6.5.5", "phone_system_type": 1, "sc": "x", "sv": "x", "ts": now_ms(),
        });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.post(path, &[], &body.to_string()).await
    }

    /// Code and data.
    async fn ask(&self, path: &str, fields: Value) -> (Value, Value) {
        let answer = self.api(path, fields).await.json();
        (answer["code"].clone(), answer["data"].clone())
    }

    async fn refresh(&self) -> Value {
        self.api("/app/user/refresh_token", json!({"refresh_token": self.refresh})).await.json()
    }

    async fn signed(&self, path: &str, app: App, body: &str) -> Reply {
        let signature = app.signature2(&self.token, body.as_bytes());
        let headers = [
            ("access_token", self.token.as_str()),
            ("authorization", &self.token),
            ("appid", app.id()),
            ("signature2", &signature),
        ];
        self.post(path, &headers, body).await
    }

    /// Signed as the app signs what it sends to mars and to the device management.
    async fn as_phone(&self, path: &str, body: &Value) -> Value {
        let (text, request_id) = (body.to_string(), mars_request_id(body["nonce"].as_str().unwrap()));
        let signature = App::Olive.signature2(&self.token, text.as_bytes());
        let headers = [
            ("access_token", self.token.as_str()),
            ("authorization", &self.token),
            ("appid", App::Olive.id()),
            ("requestid", &request_id),
            ("signature2", &signature),
        ];
        self.post(path, &headers, &text).await.json()
    }

    async fn events_4(&self, fields: Value) -> Vec<Value> {
        let mut body = json!({
            "count": 20, "order_by": 2, "begin_time": now_ms() - 600_000, "end_time": now_ms() + 600_000,
            "nonce": now_ms().to_string(), "device_id_list": [], "event_value_list": [], "event_tag_list": [],
        });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = self.signed(EVENTS_4, App::Olive, &body.to_string()).await.json();
        assert_eq!(answer["code"], 1, "{answer}");
        answer["data"]["event_list"].as_array().unwrap().clone()
    }

    async fn streams(&self, path: &str, app: App, device: &Device) -> Value {
        let body = json!({"nonce": now_ms().to_string(), "device_list": [{
            "device_id": device.mac, "device_model": device.model, "provider": "webrtc",
            "parameters": {"use_trickle": true},
        }]});
        self.signed(path, app, &body.to_string()).await.json()
    }

    /// To the lock interface, signed; `token_key` is `access_token` or `accessToken`.
    async fn ford(&self, method: &str, path: &str, token_key: &str, fields: &[(&str, &str)]) -> Value {
        self.ford_at(now_ms(), method, path, token_key, fields).await
    }

    async fn ford_at(&self, time_ms: u64, method: &str, path: &str, token_key: &str, fields: &[(&str, &str)]) -> Value {
        let timestamp = time_ms.to_string();
        let mut all: BTreeMap<&str, &str> = fields.iter().copied().collect();
        all.extend([(token_key, self.token.as_str()), ("key", FORD_KEY), ("timestamp", &timestamp)]);
        let sign = ford_sign(&method.to_lowercase(), path, &all);
        all.insert("sign", &sign);
        if method == "POST" {
            return self.post(path, &[], &json!(all).to_string()).await.json();
        }
        let query: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish();
        request_with(self.cloud.address, "GET", &format!("{path}?{query}"), &[], "").await.json()
    }

    async fn hardlock(&self, uuid: &str) -> Value {
        let fields = [("uuid", uuid), ("with_keypad", "1")];
        let info = self.ford("GET", "/openapi/lock/v1/info", "access_token", &fields).await;
        info["device"]["locker_status"]["hardlock"].clone()
    }

    fn obey(&self, command: CloudCommand) {
        self.cloud.obey(command).unwrap();
    }

    fn fault(&self, fault: Fault) {
        self.obey(CloudCommand::Trouble(Some(fault.into())));
    }

    fn device(&self, model: &str) -> Device {
        let devices = self.cloud.devices();
        devices.into_iter().find(|device| device.model == model).unwrap_or_else(|| panic!("no {model} on the account"))
    }
}

/// Without waits that only the clock ends.
fn settings() -> Settings {
    Settings { upload: Duration::ZERO, lock_travel: Duration::ZERO, ..Settings::generate(1) }
}

#[tokio::test]
async fn a_login_takes_keys_and_a_password_and_says_which_way_it_failed() {
    let hand = Hand::at(settings()).await;
    let (password, key) = (hand.cloud.settings.password.clone(), hand.cloud.settings.api_key.clone());
    for (password, key, description) in [
        ("wrong", key.expose(), "Invalid User Name or Password."),
        (password.expose(), "wrong", "Invalid credentials, please check username, password, keyid or apikey"),
    ] {
        let reply = hand.log_in_as(password, key).await;
        assert_eq!(reply.status, 400);
        assert_eq!(reply.json()["errorCode"], 1000);
        assert_eq!(reply.json()["description"], description);
    }
    let tokens = hand.log_in().await.json();
    assert_eq!(tokens["mfa_options"], Value::Null);
    assert!(tokens["access_token"].as_str().is_some_and(|token| token.len() > 20), "{tokens}");
    assert_eq!(hand.cloud.counts().logins, 1);
}

#[tokio::test]
async fn five_wrong_passwords_lock_the_account_even_for_the_right_one() {
    let hand = Hand::at(settings()).await;
    for _ in 0..5 {
        hand.log_in_as("wrong", hand.cloud.settings.api_key.expose()).await;
    }
    let reply = hand.log_in().await;
    assert_eq!(reply.json()["description"], "Too many failed attempts. Please try again later.");
    assert_eq!(hand.cloud.counts().logins, 0);
}

#[tokio::test]
async fn an_account_with_an_authenticator_wants_its_code() {
    let hand = Hand::at(Settings { second_factor: SecondFactor::totp(7), ..settings() }).await;
    let SecondFactor::Totp(secret) = hand.cloud.settings.second_factor.clone() else { panic!("no app") };
    let first = hand.log_in().await.json();
    assert_eq!((&first["access_token"], &first["mfa_options"][0]), (&Value::Null, &json!("TotpVerificationCode")));
    let id = &first["mfa_details"]["totp_apps"][0]["app_id"];
    let wrong = hand.second_step("TotpVerificationCode", id, "000000").await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    let code = totp(secret.expose(), now_ms() / 1_000).unwrap();
    let second = hand.second_step("TotpVerificationCode", id, &code).await.json();
    assert!(second["access_token"].is_string(), "{second}");
    let again = hand.second_step("TotpVerificationCode", id, &code).await;
    assert_eq!(again.status, 400, "a step that is done was done again: {again:?}");
}

#[tokio::test]
async fn an_account_with_a_telephone_wants_the_code_it_was_sent() {
    let hand = Hand::at(Settings { second_factor: SecondFactor::Sms, ..settings() }).await;
    let mut events = hand.cloud.events();
    let first = hand.log_in().await.json();
    let text = |key: &str| first[key].as_str().unwrap().to_owned();
    let query = format!("mfaPhoneType=Primary&sessionId={}&userId={}", text("sms_session_id"), text("user_id"));
    let sent = hand.post(&format!("/user/login/sendSmsCode?{query}"), &[], "{}").await.json();
    let told = happens(&mut events, "the code", |event| matches!(event, CloudEvent::SmsSent { .. })).await;
    let CloudEvent::SmsSent { code } = told else { unreachable!() };
    let second = hand.second_step("PrimaryPhone", &sent["session_id"], &code).await.json();
    assert!(second["access_token"].is_string(), "{second}");
}

#[tokio::test]
async fn a_refresh_token_works_once() {
    let mut hand = Hand::logged_in(settings()).await;
    let spent = hand.refresh.clone();
    let answer = hand.refresh().await;
    assert_eq!(answer["code"], "1");
    hand.keep(&answer["data"]);
    assert_eq!(hand.ask(LIST, json!({})).await.0, "1");
    assert_ne!(hand.refresh, spent);
    hand.refresh = spent;
    assert_eq!(hand.refresh().await["code"], "2001");
    assert_eq!(hand.cloud.counts().refreshes, 1);
}

#[tokio::test]
async fn an_old_or_unknown_token_is_answered_2001() {
    let mut hand = Hand::logged_in(Settings { token_life: Duration::ZERO, ..settings() }).await;
    assert_eq!(hand.ask(LIST, json!({})).await.0, "2001");
    hand.token = "lvtx.other".into();
    assert_eq!(hand.ask(LIST, json!({})).await.0, "2001");
}

#[tokio::test]
async fn the_list_has_a_row_for_each_kind_of_device() {
    let hand = Hand::logged_in(settings()).await;
    let (code, data) = hand.ask(LIST, json!({})).await;
    assert_eq!(code, "1");
    let rows = data["device_list"].as_array().unwrap();
    let models: Vec<&str> = rows.iter().map(|row| row["product_model"].as_str().unwrap()).collect();
    for model in [
        "WYZEDB3", "HL_DB2", "GW_BE1", "AN_RDB1", "GW_DBD", "WVOD1", "GW_GC1", "GW_DUO", "LD_CFP", "AN_RSCW", "YD.LO1",
        "YD.GW1", "YD_BT1", "DX_LB2",
    ] {
        assert!(models.contains(&model), "no {model} in {models:?}");
    }
    let row = |model: &str| &rows[models.iter().position(|own| *own == model).unwrap()];
    assert!(row("HL_DB2")["device_params"]["camera_thumbnails"].is_object());
    assert!(row("GW_BE1")["device_params"]["camera_thumbnails"].is_array());
    assert_eq!(row("GW_BE1")["device_params"]["ip"], "");
    assert_eq!(row("WVOD1")["device_params"]["ip"], "0.0.0.0");
    assert_ne!(row("WVOD1")["parent_device_mac"], "");
    assert_eq!(row("DX_LB2")["product_type"], "Common");
}

#[tokio::test]
async fn the_account_changes_while_it_is_watched() {
    let hand = Hand::logged_in(settings()).await;
    let bell = hand.device("HL_DB2").mac;
    hand.obey(CloudCommand::Rename { device: bell.clone(), nickname: "Gate".into() });
    hand.obey(CloudCommand::Address { device: bell.clone(), address: "127.0.0.1:40001".into() });
    hand.obey(CloudCommand::Online { device: Some(bell.clone()), online: false });
    hand.obey(CloudCommand::Remove { device: hand.device("GW_BE1").mac });
    hand.obey(CloudCommand::Add(Box::new(Device::generate("AN_RDB1", "New", 3))));
    let (_, data) = hand.ask(LIST, json!({})).await;
    let rows = data["device_list"].as_array().unwrap();
    let row = rows.iter().find(|row| row["mac"] == bell).unwrap();
    assert_eq!((&row["nickname"], &row["conn_state"]), (&json!("Gate"), &json!(0)));
    assert_eq!(row["device_params"]["ip"], "127.0.0.1:40001");
    assert!(rows.iter().any(|row| row["nickname"] == "New"));
    assert!(!rows.iter().any(|row| row["product_model"] == "GW_BE1"));
    let nobody = CloudCommand::Remove { device: "nobody".into() };
    assert_eq!(hand.cloud.obey(nobody).unwrap_err().to_string(), "the account has no device `nobody`");
}

#[tokio::test]
async fn both_event_lists_tell_of_a_ring_once() {
    let hand = Hand::logged_in(settings()).await;
    let bell = hand.device("WYZEDB3").mac;
    hand.obey(CloudCommand::Happen(Scripted::ring()));
    let window = json!({"begin_time": now_ms() - 60_000, "end_time": now_ms() + 60_000, "count": 20, "order_by": 2,
                        "device_mac_list": [], "event_value_list": ["1", "13", "10", "12"], "event_tag_list": []});
    let (code, data) = hand.ask(EVENTS_2, window).await;
    assert_eq!(code, "1");
    let [old] = data["event_list"].as_array().unwrap().as_slice() else { panic!("{data}") };
    assert_eq!((&old["device_mac"], &old["event_value"]), (&json!(bell), &json!("10")));
    let [new] = &hand.events_4(json!({})).await[..] else { panic!("not one event") };
    assert_eq!((&new["device_id"], &new["event_id"]), (&json!(bell), &old["event_id"]));
    assert!(new["file_list"][0]["url"].is_string(), "{new}");
}

#[tokio::test]
async fn the_event_list_honours_window_count_order_and_filters() {
    let hand = Hand::logged_in(settings()).await;
    let bell = hand.device("GW_BE1").mac;
    let happen =
        |what: Scripted, ago| hand.obey(CloudCommand::Happen(Scripted { ago: Duration::from_secs(ago), ..what }));
    happen(Scripted::ring(), 40);
    happen(Scripted::motion(&[101, 104]).at(&bell), 20);
    happen(Scripted::ring().at(&bell), 30);
    let values = |events: Vec<Value>| -> Vec<String> {
        events.iter().map(|event| event["event_value"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(values(hand.events_4(json!({})).await), ["13", "10", "10"]);
    assert_eq!(values(hand.events_4(json!({"order_by": 1})).await), ["10", "10", "13"]);
    assert_eq!(values(hand.events_4(json!({"count": 1})).await), ["13"]);
    assert_eq!(values(hand.events_4(json!({"event_value_list": ["10"]})).await), ["10", "10"]);
    assert_eq!(values(hand.events_4(json!({"device_id_list": [bell]})).await), ["13", "10"]);
    assert_eq!(values(hand.events_4(json!({"event_tag_list": [104]})).await), ["13"]);
    assert_eq!(values(hand.events_4(json!({"begin_time": now_ms() - 25_000})).await), ["13"]);
    assert_eq!(values(hand.events_4(json!({"end_time": now_ms() - 35_000})).await), ["10"]);
    hand.fault(Fault::DuplicateEvents);
    assert_eq!(hand.events_4(json!({"count": 1})).await.len(), 2);
    hand.fault(Fault::UnorderedEvents);
    assert_eq!(values(hand.events_4(json!({})).await), ["10", "10", "13"]);
    let (code, _) = hand.ask(EVENTS_2, json!({"begin_time": 0, "end_time": 1, "count": 21, "order_by": 2})).await;
    assert_eq!(code, "1001");
}

#[tokio::test]
async fn pictures_of_an_event_come_later_than_the_event() {
    let hand = Hand::logged_in(Settings { upload: Duration::from_secs(3_600), ..settings() }).await;
    hand.obey(CloudCommand::Happen(Scripted::ring()));
    assert_eq!(hand.events_4(json!({})).await[0]["file_list"], json!([]));
    hand.fault(Fault::LateEvents);
    hand.obey(CloudCommand::Happen(Scripted::ring()));
    assert_eq!(hand.events_4(json!({})).await.len(), 1, "an event that is late was listed at once");
}

#[tokio::test]
async fn a_signature_covers_every_byte_and_the_app_it_is_for() {
    let hand = Hand::logged_in(settings()).await;
    let body = json!({"count": 1, "order_by": 1, "begin_time": 0, "end_time": 1, "nonce": "1"}).to_string();
    assert_eq!(hand.signed(EVENTS_4, App::Olive, &body).await.json()["code"], 1);
    assert_eq!(hand.signed(EVENTS_4, App::Web, &body).await.json()["code"], 1003);
    let signature = App::Olive.signature2(&hand.token, body.as_bytes());
    let headers = [("access_token", hand.token.as_str()), ("appid", App::Olive.id()), ("signature2", &signature)];
    let spaced = hand.post(EVENTS_4, &headers, &format!("{body} ")).await;
    assert_eq!(spaced.json()["code"], 1003);
}

fn stream(device: &str) -> Option<Stream> {
    let ice = IceServer { url: "turn:127.0.0.1:1".into(), username: "u".into(), credential: "c".into() };
    let signaling_url = format!("wss://127.0.0.1/?X-Amz-Credential=a%2Fb&device={device}");
    device.contains('_').then(|| Stream { signaling_url, ice_servers: vec![ice] })
}

#[tokio::test]
async fn streams_are_found_in_both_spellings_and_by_the_old_look_up() {
    let hand = Hand::logged_in(Settings { streams: Arc::new(stream), ..settings() }).await;
    let bell = hand.device("GW_BE1");
    let plain = stream(&bell.mac).unwrap().signaling_url;
    for (path, app, code) in
        [("/app/v4/camera/get-streams", App::Web, json!("1")), ("/app/v4/camera/get_streams", App::Olive, json!(1))]
    {
        let answer = hand.streams(path, app, &bell).await;
        assert_eq!(answer["code"], code, "{answer}");
        assert_eq!(answer["data"][0]["property"]["iot-device::iot-state"], 1);
        assert_eq!(answer["data"][0]["params"]["signaling_url"], plain);
        assert_eq!(answer["data"][0]["params"]["ice_servers"][0]["url"], "turn:127.0.0.1:1");
    }
    let twice = hand.streams("/app/v4/camera/get-streams", App::Web, &hand.device("LD_CFP")).await;
    let twice = twice["data"][0]["params"]["signaling_url"].as_str().unwrap().to_owned();
    assert!(twice.contains("a%252Fb"), "{twice}");
    let none = hand.streams("/app/v4/camera/get-streams", App::Web, &hand.device("HL_CAM4")).await;
    assert_eq!(none["code"], "1001");
    hand.obey(CloudCommand::Power { device: bell.mac.clone(), on: false });
    let off = hand.streams("/app/v4/camera/get-streams", App::Web, &bell).await;
    assert_eq!(off["data"][0]["property"]["iot-device::iot-power"], 0);

    let old = |mac: String| {
        let bearer = format!("Bearer {}", hand.token);
        let path = format!("/signaling/device/{mac}?use_trickle=true");
        async move { request_with(hand.cloud.address, "GET", &path, &[("authorization", &bearer)], "").await }
    };
    let hand = &hand;
    let answer = old(bell.mac.clone()).await.json();
    let encoded = answer["results"]["signalingUrl"].as_str().unwrap();
    assert_eq!(percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap(), plain);
    assert_eq!(old(hand.device("HL_DB2").mac).await.status, 404);
}

fn gwell_user(device: &str) -> Option<GwellUser> {
    let user = GwellUser {
        access_id: "-77".to_owned(),
        access_token: Token::new("5a".repeat(64)),
        expire: Some(1_800_000_000),
    };
    device.starts_with("GW_GC1").then_some(user)
}

#[tokio::test]
async fn a_client_of_gwell_is_registered() {
    let hand = Hand::logged_in(Settings { gwell: Arc::new(gwell_user), ..settings() }).await;
    let mut events = hand.cloud.events();
    let path = |device: &Device| format!("/plugin/mars/v2/regist_gw_user/{}", device.mac);
    let camera = hand.device("GW_GC1");
    let body = json!({"nonce": "1700000000000", "ttl_minutes": 10_080, "unique_id": "x"});
    let answer = hand.as_phone(&path(&camera), &body).await;
    let user = json!({"accessId": "-77", "accessToken": "5a".repeat(64), "expireTime": 1_800_000_000});
    assert_eq!((&answer["code"], &answer["data"]), (&json!(1), &user));
    happens(&mut events, "the token", |event| *event == CloudEvent::GwellToken { device: camera.mac.clone() }).await;

    assert_eq!(hand.as_phone(&path(&hand.device("HL_DB2")), &body).await["code"], 1008, "it is none of GWell's");
    assert_eq!(hand.as_phone("/plugin/mars/v2/regist_gw_user/GW_GC1_1", &body).await["code"], 1008);
    for wrong in [
        json!({"nonce": "", "ttl_minutes": 10_080, "unique_id": "x"}),
        json!({"nonce": "1", "ttl_minutes": 0, "unique_id": "x"}),
        json!({"nonce": "1", "ttl_minutes": 10_081, "unique_id": "x"}),
        json!({"nonce": "1", "ttl_minutes": 10_080}),
    ] {
        assert_eq!(hand.as_phone(&path(&camera), &wrong).await["code"], 1001, "{wrong}");
    }
    let unsigned = [("access_token", hand.token.as_str()), ("appid", App::Olive.id()), ("signature2", "0")];
    assert_eq!(hand.post(&path(&camera), &unsigned, &body.to_string()).await.json()["code"], 1003);
    assert_eq!(hand.cloud.counts().gwell_tokens, 1);
}

#[tokio::test]
async fn a_battery_doorbell_is_woken_for_its_owner() {
    const PATH: &str = "/device-management/api/action/run_action_batch";
    let hand = Hand::logged_in(settings()).await;
    let mut events = hand.cloud.events();
    let bell = hand.device("GW_BE1");
    let body = |function: &str, owner: &str| {
        let wake = json!({"name": function, "separator": "::", "in": {"wakeup-live-view": 1}});
        json!({"nonce": "1700000000000", "userId": owner, "targetDevices": [{
            "userId": owner,
            "capabilities": [{"iid": "", "name": "iot-device", "functions": [wake]}],
            "targetInfo": {"id": bell.mac, "productModel": bell.model, "type": "DEVICE"},
        }]})
    };
    let owner = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    assert_eq!(hand.as_phone(PATH, &body("wakeup", owner)).await["code"], 1);
    happens(&mut events, "the call", |event| *event == CloudEvent::Woken { device: bell.mac.clone() }).await;
    assert_eq!(hand.as_phone(PATH, &body("wakeup", "somebody")).await["code"], 1001);
    assert_eq!(hand.as_phone(PATH, &body("reboot", owner)).await["code"], 1001);
    assert_eq!(hand.cloud.counts().wakes, 1);
}

#[tokio::test]
async fn a_bolt_takes_its_time_and_says_when_it_has_arrived() {
    let travel = Duration::from_millis(300);
    let hand = Hand::logged_in(Settings { lock_travel: travel, ..settings() }).await;
    let mut events = hand.cloud.events();
    let lock = hand.device("YD.LO1").mac;
    let uuid = lock.rsplit('.').next().unwrap();
    assert_eq!(hand.hardlock(uuid).await, 1);
    let began = clock::now();
    for token_key in ["access_token", "accessToken"] {
        let action = [("uuid", uuid), ("action", "remoteUnlock")];
        let answer = hand.ford("POST", "/openapi/lock/v1/control", token_key, &action).await;
        assert_eq!(answer["ErrNo"], 0, "{answer}");
    }
    happens(&mut events, "the open bolt", |event| *event == CloudEvent::Unlocked { device: lock.clone() }).await;
    assert!(began.elapsed() >= travel, "the bolt was there after {:?}", began.elapsed());
    assert_eq!(hand.hardlock(uuid).await, 2);
    hand.fault(Fault::Jammed);
    hand.ford("POST", "/openapi/lock/v1/control", "access_token", &[("uuid", uuid), ("action", "remoteLock")]).await;
    happens(&mut events, "the jammed bolt", |event| *event == CloudEvent::Jammed { device: lock.clone() }).await;
    assert_eq!(hand.hardlock(uuid).await, 2);
    let diary = [("uuid", uuid), ("begin", "0"), ("limit", "2")];
    let diary = hand.ford("GET", "/openapi/v1/safety/family_record", "access_token", &diary).await;
    let ids: Vec<&Value> = diary["family_record"].as_array().unwrap().iter().map(|entry| &entry["eventid"]).collect();
    assert_eq!(ids, [2221, 2203]);
    assert_eq!((hand.cloud.counts().unlocks, hand.cloud.counts().locks), (2, 1));
}

#[tokio::test]
async fn the_lock_interface_refuses_a_wrong_signature_a_wrong_clock_and_a_bluetooth_lock() {
    let hand = Hand::logged_in(settings()).await;
    let lock = hand.device("YD.LO1").mac;
    let uuid = lock.rsplit('.').next().unwrap();
    let action = [("uuid", uuid), ("action", "remoteUnlock")];
    let path = "/openapi/lock/v1/control";
    for time in [now_ms() - 86_400_000, now_ms() / 1_000] {
        assert_eq!(hand.ford_at(time, "POST", path, "access_token", &action).await["ErrNo"], 17_001);
    }
    let unsigned = json!({"uuid": uuid, "action": "remoteUnlock", "access_token": hand.token, "key": FORD_KEY,
                          "timestamp": now_ms().to_string(), "sign": "0"});
    assert_eq!(hand.post(path, &[], &unsigned.to_string()).await.json()["ErrNo"], "14008");
    let bolt = hand.device("YD_BT1").mac;
    let refused = hand.ford("POST", path, "access_token", &[("uuid", &bolt), ("action", "remoteUnlock")]).await;
    assert_ne!(refused["ErrNo"], 0);
    hand.obey(CloudCommand::Online { device: Some(lock.clone()), online: false });
    assert_eq!(hand.ford("POST", path, "access_token", &action).await["ErrNo"], 3_019);
    assert_eq!(hand.cloud.counts().unlocks, 0);
}

#[tokio::test]
async fn a_lock_of_the_iot3_family_is_worked_with_signed_orders() {
    let hand = Hand::logged_in(settings()).await;
    let lock = hand.device("DX_LB2");
    let target = json!({"id": lock.mac, "model": lock.model});
    let run = |app: App, action: &str| {
        let params = json!({"action_id": 12_345, "type": 1, "username": "a@b.c"});
        let payload = json!({"action": action, "cmd": "run_action", "params": params, "tid": 12_345, "ts": now_ms(),
                             "ver": 1});
        let body = json!({"nonce": now_ms().to_string(), "payload": payload, "targetInfo": target}).to_string();
        let hand = &hand;
        async move { hand.signed("/app/v4/iot3/run-action", app, &body).await.json() }
    };
    assert_eq!(run(App::Web, "lock::unlock").await["code"], "1003");
    assert_eq!(run(App::Olive, "lock::open").await["code"], "1001");
    assert_eq!(hand.cloud.counts().unlocks, 0);
    assert_eq!(run(App::Olive, "lock::unlock").await["code"], "1");
    let payload = json!({"cmd": "get_property", "props": ["lock::lock-status", "iot-device::iot-state", "x::y"]});
    let body = json!({"nonce": "1", "payload": payload, "targetInfo": target}).to_string();
    let state = hand.signed("/app/v4/iot3/get-property", App::Olive, &body).await.json();
    assert_eq!(state["data"]["props"], json!({"lock::lock-status": false, "iot-device::iot-state": true}));
    assert_eq!(hand.cloud.counts().unlocks, 1);
}

#[tokio::test]
async fn rates_are_told_and_kept() {
    let rate = Rate { requests: 2, per: Duration::from_secs(300) };
    let hand = Hand::logged_in(Settings { api_rate: rate, ..settings() }).await;
    let first = hand.api(LIST, json!({})).await;
    assert_eq!(first.header("x-ratelimit-remaining"), Some("1"));
    let reset = first.header("x-ratelimit-reset-by").unwrap();
    // `Sat Oct 12 19:50:31 GMT 2024`
    let shape: Vec<usize> = reset.split(' ').map(str::len).collect();
    assert_eq!(shape, [3, 3, 2, 8, 3, 4], "{reset}");
    assert_eq!(hand.api(LIST, json!({})).await.status, 200);
    assert_eq!(hand.api(LIST, json!({})).await.status, 429);
    assert_eq!(hand.cloud.counts().lists, 2);
    assert_eq!(hand.cloud.requests_to("/app/v2/"), 3);
}

#[tokio::test]
async fn tokens_die_by_faults_and_come_back_by_refresh_or_login() {
    let mut hand = Hand::logged_in(settings()).await;
    for fault in [Fault::Unauthorized, Fault::Expired] {
        hand.fault(fault);
        let reply = hand.api(LIST, json!({})).await;
        match fault {
            Fault::Unauthorized => assert_eq!(reply.status, 401),
            _ => assert_eq!(reply.json()["code"], "2001"),
        }
        let tokens = hand.refresh().await["data"].clone();
        hand.keep(&tokens);
        assert_eq!(hand.ask(LIST, json!({})).await.0, "1", "{fault}");
    }
    hand.fault(Fault::RefreshRevoked);
    assert_eq!(hand.ask(LIST, json!({})).await.0, "2001");
    assert_eq!(hand.refresh().await["code"], "2001");
    let tokens = hand.log_in().await.json();
    hand.keep(&tokens);
    assert_eq!(hand.ask(LIST, json!({})).await.0, "1");
    hand.obey(CloudCommand::Password(Password::new("another")));
    assert_eq!(hand.log_in().await.status, 400);
    assert_eq!(hand.ask(LIST, json!({})).await.0, "1");
}

#[tokio::test]
async fn a_login_can_be_made_to_fail_in_three_ways() {
    let hand = Hand::at(settings()).await;
    hand.fault(Fault::LoginRefused);
    assert_eq!(hand.log_in().await.json()["description"], "Invalid User Name or Password.");
    hand.fault(Fault::LockedOut);
    assert_eq!(hand.log_in().await.json()["description"], "Too many failed attempts. Please try again later.");
    hand.fault(Fault::MfaRequired);
    assert_eq!(hand.log_in().await.json()["mfa_options"][0], "TotpVerificationCode");
    assert_eq!(hand.cloud.counts().logins, 0);
}

#[tokio::test]
async fn a_fault_shows_at_its_path_only_and_ends() {
    let hand = Hand::logged_in(settings()).await;
    let trouble = Trouble { fault: Fault::ServerError, at: EVENTS_2.into() };
    hand.obey(CloudCommand::Trouble(Some(trouble)));
    assert_eq!(hand.api(LIST, json!({})).await.status, 200);
    assert_eq!(hand.api(EVENTS_2, json!({})).await.status, 500);
    hand.obey(CloudCommand::Trouble(None));
    assert_eq!(hand.api(EVENTS_2, json!({})).await.status, 200);
}

#[tokio::test]
async fn refusals_by_rate_come_in_all_their_forms() {
    let hand = Hand::logged_in(settings()).await;
    for (fault, after) in [
        (Fault::TooMany, None),
        (Fault::TooManySeconds, Some("7")),
        (Fault::TooManyDate, Some("GMT")),
        (Fault::TooManyAbsurd, Some("315360000")),
    ] {
        hand.fault(fault);
        let reply = hand.api(LIST, json!({})).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-remaining")), (429, Some("0")), "{fault}");
        let told = reply.header("retry-after");
        assert!(after.is_none_or(|after| told.unwrap().ends_with(after)), "{fault}: {told:?}");
        assert_eq!(told.is_some(), after.is_some(), "{fault}");
    }
    assert_eq!(hand.cloud.counts().lists, 0);
}

#[tokio::test]
async fn pages_come_where_json_belongs() {
    let hand = Hand::logged_in(settings()).await;
    for (fault, status) in [(Fault::ForbiddenHtml, 403), (Fault::Html, 200), (Fault::ServerError, 500)] {
        hand.fault(fault);
        let reply = hand.api(LIST, json!({})).await;
        assert_eq!((reply.status, reply.header("content-type")), (status, Some("text/html")), "{fault}");
        assert!(reply.body.contains("<html>") || reply.body.contains("<HTML>"), "{}", reply.body);
    }
}

#[tokio::test]
async fn answers_are_garbled_as_their_fault_says() {
    let hand = Hand::logged_in(settings()).await;
    let list = async |fault| {
        hand.fault(fault);
        hand.api(LIST, json!({})).await
    };
    let rows = |reply: &Reply| reply.json()["data"]["device_list"].as_array().unwrap().clone();
    let whole = hand.cloud.devices().len();
    assert!(serde_json::from_str::<Value>(&list(Fault::Truncated).await.body).is_err());
    let wrong = list(Fault::WrongTypes).await;
    assert_eq!((&wrong.json()["code"], &rows(&wrong)[0]["mac"]), (&json!("1"), &json!(7)));
    assert_eq!(rows(&list(Fault::UnknownEnums).await)[0]["product_model"], "ZZ_9");
    assert_eq!(rows(&list(Fault::MissingFields).await)[0].as_object().unwrap().len(), 1);
    let broken = rows(&list(Fault::BrokenDevice).await);
    let good = broken.iter().filter(|row| row["product_model"].is_string()).count();
    assert_eq!((broken.len(), good), (whole + 4, whole));
}

#[tokio::test]
async fn a_cloud_a_day_ahead_says_so_and_judges_by_its_own_clock() {
    let hand = Hand::logged_in(settings()).await;
    hand.fault(Fault::ClockSkew);
    let date = hand.api(LIST, json!({})).await.header("date").unwrap().to_owned();
    let told = humantime::parse_rfc3339(&rfc3339_of(&date)).unwrap();
    let ahead = told.duration_since(clock::unix_now()).expect("it is ahead");
    assert!(ahead > Duration::from_secs(86_390) && ahead <= Duration::from_secs(86_400), "{ahead:?}");
    let lock = hand.device("YD.LO1").mac;
    let fields = [("uuid", lock.rsplit('.').next().unwrap())];
    let info = "/openapi/lock/v1/info";
    assert_eq!(hand.ford("GET", info, "access_token", &fields).await["ErrNo"], 17_001);
    assert_eq!(hand.ford_at(now_ms() + 86_400_000, "GET", info, "access_token", &fields).await["ErrNo"], 0);
}

/// `Sat, 12 Oct 2024 19:47:35 GMT`
fn rfc3339_of(date: &str) -> String {
    let [_, day, month, year, time, "GMT"] = date.split(' ').collect::<Vec<_>>()[..] else { panic!("{date}") };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = 1 + months.iter().position(|own| *own == month).unwrap();
    format!("{year}-{month:02}-{day}T{time}Z")
}

/// What comes in answer to the list, up to `enough` bytes or the end, and whether that end was a reset.
async fn raw_list(hand: &Hand, enough: usize) -> (Vec<u8>, bool) {
    let body = json!({"access_token": hand.token}).to_string();
    let head =
        format!("POST {LIST} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(hand.cloud.address).await.unwrap();
    // A cloud that is offline may have hung up already.
    let _ = stream.write_all((head + &body).as_bytes()).await;
    let mut answer = Vec::new();
    while answer.len() < enough {
        match stream.read_buf(&mut answer).await {
            Ok(0) => return (answer, false),
            Ok(_) => {}
            Err(error) => return (answer, error.kind() == ErrorKind::ConnectionReset),
        }
    }
    (answer, false)
}

#[tokio::test]
async fn a_connection_can_be_reset_and_the_next_one_works() {
    let hand = Hand::logged_in(settings()).await;
    hand.fault(Fault::Reset);
    let (answer, reset) = raw_list(&hand, usize::MAX).await;
    assert_eq!((answer.len(), reset), (0, true));
    hand.obey(CloudCommand::Trouble(None));
    assert_eq!(hand.ask(LIST, json!({})).await.0, "1");
}

#[tokio::test]
async fn a_cloud_that_is_offline_answers_nobody_until_it_is_back() {
    let hand = Hand::logged_in(settings()).await;
    hand.obey(CloudCommand::Online { device: None, online: false });
    let (answer, reset) = raw_list(&hand, usize::MAX).await;
    assert_eq!((answer.len(), reset), (0, true));
    hand.obey(CloudCommand::Online { device: None, online: true });
    assert_eq!(hand.ask(LIST, json!({})).await.0, "1");
}

#[tokio::test]
async fn an_answer_can_be_slow_or_without_end() {
    let hand = Hand::logged_in(settings()).await;
    hand.fault(Fault::Drip);
    let began = clock::now();
    let (dripped, _) = raw_list(&hand, 290).await;
    let head = String::from_utf8_lossy(&dripped).split("\r\n\r\n").next().unwrap().len() + 4;
    let bytes = raw_body_len(&dripped[head..]);
    assert!(began.elapsed() >= Duration::from_millis(250) * bytes, "{bytes} bytes within {:?}", began.elapsed());
    hand.fault(Fault::Endless);
    assert!(raw_list(&hand, 20_000_000).await.0.len() >= 20_000_000, "it came to an end");
    hand.fault(Fault::Stall);
    let answer = timeout(Duration::from_millis(300), raw_list(&hand, 1)).await;
    assert!(answer.is_err(), "it was answered at once");
}

/// How many one-byte chunks of HTTP there are: `1\r\nx\r\n`.
fn raw_body_len(chunked: &[u8]) -> u32 {
    u32::try_from(chunked.len() / 6).unwrap()
}

#[tokio::test]
async fn a_bomb_arrives_as_a_few_megabytes_of_gzip() {
    let hand = Hand::logged_in(settings()).await;
    hand.fault(Fault::GzipBomb);
    let (answer, _) = raw_list(&hand, usize::MAX).await;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head_text = String::from_utf8_lossy(&answer[..head]);
    assert!(head_text.contains("content-encoding: gzip"), "{head_text}");
    assert!((6_000_000..8_000_000).contains(&answer.len()), "{} bytes", answer.len());
}
