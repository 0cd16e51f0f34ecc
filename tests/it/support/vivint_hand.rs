//! A client of the virtual Vivint account that sends each request by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorstep::media::{AudioFormat, MediaHub};
use doorstep::rtc::camera::{Sound, Video, Wanted};
use doorstep::sim::vivint::{self, Command, Event, Fault, RunningVivint, SecondFactor, Settings, Trouble};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::form_urlencoded;

use super::http::{Reply, request_with};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const VERIFIER: &str = "TO9MabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQR";
const REDIRECT: &str = "vivint://app/oauth_redirect";

pub(crate) fn golden() -> Value {
    serde_json::from_str(include_str!("../../vectors/vivint/vivint.json")).unwrap()
}

/// What Vivint's app wants of a camera it calls: its speaker and its channel (§9).
pub(crate) fn as_the_app() -> Wanted<'static> {
    Wanted {
        hub: MediaHub::new(),
        video: Video::None,
        sound: Sound::Both(&[AudioFormat::OPUS, AudioFormat::PCMU]),
        channel: Some("channel"),
        ice_servers: &[],
        relay_only: false,
        loopback: true,
    }
}

pub(crate) fn quick(seed: u64) -> Settings {
    let settings = Settings::generate(seed);
    Settings { travel: Duration::from_millis(50), exposure: Duration::from_millis(50), ..settings }
}

/// A client that knows the account's credentials.
pub(crate) struct Hand {
    pub(crate) vivint: RunningVivint,
    pub(crate) cookies: String,
    pub(crate) access: String,
    pub(crate) id: String,
    pub(crate) refresh: String,
    _stop: DropGuard,
}

impl Hand {
    pub(crate) async fn at(settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let vivint = vivint::start(settings, stop.clone()).await.unwrap();
        let [cookies, access, id, refresh] = <[String; 4]>::default();
        Self { vivint, cookies, access, id, refresh, _stop: stop.drop_guard() }
    }

    pub(crate) async fn logged_in() -> Self {
        let mut hand = Self::at(Settings { second_factor: SecondFactor::None, ..quick(1) }).await;
        hand.begin().await;
        let url = hand.submit(json!({})).await.json()["url"].as_str().unwrap().to_owned();
        let tokens = hand.redeem(&hand.code_at(&url).await, VERIFIER).await.json();
        hand.keep(&tokens);
        hand
    }

    pub(crate) fn keep(&mut self, tokens: &Value) {
        let text = |name: &str| tokens[name].as_str().unwrap_or_else(|| panic!("no {name} in {tokens}")).to_owned();
        (self.access, self.id, self.refresh) = (text("access_token"), text("id_token"), text("refresh_token"));
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        request_with(self.vivint.address, method, path, headers, body).await
    }

    pub(crate) fn authorization(challenge: &str) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("response_type", "code"),
                ("client_id", "ios"),
                ("scope", "openid email devices email_verified"),
                ("redirect_uri", REDIRECT),
                ("state", "abc="),
                ("code_challenge", challenge),
                ("code_challenge_method", "S256"),
            ])
            .finish();
        format!("/oauth2/auth?{query}")
    }

    /// Step 1: its cookies are kept.
    pub(crate) async fn begin(&mut self) -> Reply {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let reply = self.send("GET", &Self::authorization(&challenge), &[("cookie", &self.cookies)], "").await;
        let set: Vec<&str> = reply.headers.lines().filter_map(|line| line.strip_prefix("set-cookie: ")).collect();
        if !set.is_empty() {
            self.cookies = set.iter().filter_map(|set| set.split(';').next()).collect::<Vec<_>>().join("; ");
        }
        reply
    }

    /// Step 2 and 3b: with user and password.
    pub(crate) async fn submit(&self, more: Value) -> Reply {
        self.login_step("submit", more).await
    }

    pub(crate) async fn login_step(&self, page: &str, more: Value) -> Reply {
        let settings = &self.vivint.settings;
        let mut body = json!({"username": settings.username.expose(), "password": settings.password.expose()});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // As vivintpy sends it.
        let headers = [("content-type", "text/plain; charset=utf-8"), ("cookie", self.cookies.as_str())];
        self.send("POST", &format!("/idp/api/{page}?client_id=ios"), &headers, &body.to_string()).await
    }

    /// Step 3c.
    pub(crate) async fn code_at(&self, url: &str) -> String {
        let reply = self.send("GET", url, &[("cookie", &self.cookies)], "").await;
        assert_eq!(reply.status, 302, "{reply:?}");
        code_of(&reply)
    }

    /// Step 4.
    pub(crate) async fn redeem(&self, code: &str, verifier: &str) -> Reply {
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", "ios"),
            ("redirect_uri", REDIRECT),
            ("code", code),
            ("code_verifier", verifier),
        ];
        self.form("/oauth2/token", &fields).await
    }

    pub(crate) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send("POST", path, &[("content-type", "application/x-www-form-urlencoded")], &body).await
    }

    pub(crate) async fn refresh_with(&self, token: &str) -> Reply {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.form("/oauth2/token?client_id=ios", &fields).await
    }

    pub(crate) async fn api(&self, method: &str, path: &str, body: &str) -> Reply {
        let bearer = format!("Bearer {}", self.access);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json;charset=utf-8")];
        self.send(method, &format!("/api/{path}"), &headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.api("GET", path, "").await.json()
    }

    pub(crate) fn panel(&self) -> i64 {
        self.vivint.settings.panel
    }

    pub(crate) async fn device(&self, id: i64) -> Value {
        let system = self.get(&format!("system/{}/device/{id}", self.panel())).await;
        let devices = system["system"]["par"][0]["d"].as_array().unwrap().clone();
        let [device] = devices.as_slice() else { panic!("{} devices", devices.len()) };
        device.clone()
    }

    pub(crate) async fn exchange(&self, method: &str) -> Reply {
        let bearer = format!("Bearer {}", self.id);
        self.send(method, "/?custom-token=true", &[("authorization", &bearer)], "").await
    }

    pub(crate) async fn sign_in(&self, key: &str, custom: &Value) -> Reply {
        let path = format!("/v1/accounts:signInWithCustomToken?key={key}");
        let body = json!({"token": custom, "returnSecureToken": true}).to_string();
        self.send("POST", &path, &[("content-type", "application/json")], &body).await
    }

    pub(crate) fn key(&self) -> &str {
        self.vivint.settings.firebase_api_key.expose()
    }

    /// What the database takes.
    pub(crate) async fn firebase_token(&self) -> String {
        let custom = self.exchange("GET").await.json()["custom-token"].clone();
        self.sign_in(self.key(), &custom).await.json()["idToken"].as_str().unwrap().to_owned()
    }

    pub(crate) fn obey(&self, line: &str) {
        self.vivint.obey(vivint::parse(line).unwrap().unwrap()).unwrap();
    }

    pub(crate) fn misbehave(&self, fault: Fault) {
        self.vivint.obey(Command::Trouble(Some(Trouble::from(fault)))).unwrap();
    }

    pub(crate) async fn poll(&self, token: &str) -> (String, Vec<Value>) {
        let settings = &self.vivint.settings;
        let path = format!(
            "/v2/subscribe/{}/PlatformChannel%23{},PlatformChannel%23{1}-pnpres/0?tt={token}&tr=4&uuid=pn-X",
            settings.pubnub_key, settings.message_channel
        );
        let reply = self.send("GET", &path, &[], "").await.json();
        let token = reply["t"]["t"].as_str().unwrap().to_owned();
        assert_eq!(token.len(), 17, "{token}");
        (token, reply["m"].as_array().unwrap().clone())
    }

    pub(crate) fn node(&self, device: &str) -> String {
        format!("groups/{}/devices/{device}/msg", self.panel())
    }

    pub(crate) fn camera(&self) -> String {
        let devices = self.vivint.settings.devices.iter();
        devices.filter_map(|device| device.uuid()).next().unwrap().to_owned()
    }
}

pub(crate) fn code_of(reply: &Reply) -> String {
    let location = reply.header("location").unwrap();
    let query = location.strip_prefix(REDIRECT).unwrap().strip_prefix('?').unwrap();
    let fields: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!(fields["state"], "abc=");
    fields["code"].clone()
}

pub(crate) fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

pub(crate) async fn event(events: &mut broadcast::Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    let wait = async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("the event comes")
}
