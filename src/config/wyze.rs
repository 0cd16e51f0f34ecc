//! Wyze accounts: the login, where the cloud is, and cameras named by hand.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use url::Url;

use super::account::Taken;
use super::section::Section;
use super::{Mac, Uid, values};
use crate::model::DeviceId;
use crate::secret::{Email, Enr, Password, Token};

/// A Wyze account, or cameras whose keys the owner knows, or both.
#[derive(Debug, Clone)]
pub struct Wyze {
    pub login: Option<WyzeLogin>,
    pub cameras: Vec<WyzeCamera>,
}

/// What it takes to log in, and how the account's events are read.
#[derive(Debug, Clone)]
pub struct WyzeLogin {
    pub email: Email,
    /// In the clear, or hashed already with `md5:` in front.
    pub password: Password,
    /// Of the developer console, together with `api_key`.
    pub key_id: Password,
    pub api_key: Token,
    /// The base32 secret of an authenticator app, where the account asks for codes.
    pub totp_secret: Option<Password>,
    /// Which `event_value`s of the event list mean that the button was pressed.
    pub ring_events: Vec<u32>,
    /// How often the event list is read while the account has a doorbell.
    pub poll: Duration,
    pub endpoints: WyzeEndpoints,
    pub gwell: Gwell,
}

impl WyzeLogin {
    const RING_EVENTS: [u32; 1] = [10];
    const POLL: Duration = Duration::from_secs(5);
}

/// Where Wyze's cloud is, without a slash at the end. Another one is a virtual cloud or a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WyzeEndpoints {
    /// `/api/user/login`, `/user/login`
    pub auth: Url,
    /// `/app/…`
    pub api: Url,
    /// `/app/v4/device/get_event_list`
    pub core: Url,
    /// `/openapi/lock/…`
    pub lock: Url,
    /// `/plugin/mars/v2/regist_gw_user/…`
    pub mars: Url,
    /// `/device-management/…`
    pub device_management: Url,
}

impl Default for WyzeEndpoints {
    fn default() -> Self {
        let url = |text: &str| Url::parse(text).unwrap_or_else(|_| unreachable!("{text} is an address"));
        Self {
            auth: url("https://auth-prod.api.wyze.com"),
            // Not `api.wyzecam.com`, whose certificate many systems no longer trust (wyze-cloud reference §0).
            api: url("https://app.wyzecam.com"),
            core: url("https://app-core.cloud.wyze.com"),
            lock: url("https://yd-saas-toc.wyzecam.com"),
            mars: url("https://wyze-mars-service.wyzecam.com"),
            device_management: url("https://devicemgmt-service.wyze.com"),
        }
    }
}

/// How the account's GWell cameras are reached (docs/protocol/gwell.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gwell {
    /// P2P servers to go to at once. With none they are asked for.
    pub servers: Vec<HostPort>,
    /// Who knows the P2P servers, in the order to ask.
    pub list_servers: Vec<HostPort>,
    /// Between the beginnings of two sessions: the servers mix up those that begin together.
    pub stagger: Duration,
}

impl Gwell {
    const STAGGER: Duration = Duration::from_secs(15);
    /// The name is the vendor's own; the addresses were seen to work beside it (gwell reference §3.2).
    const LIST_SERVERS: [(&str, u16); 4] = [
        ("wyze-mars-asrv.wyzecam.com", 51_701),
        ("34.215.36.59", 51_701),
        ("18.118.90.161", 51_701),
        ("35.85.21.174", 51_701),
    ];
}

impl Default for Gwell {
    fn default() -> Self {
        let list_servers = Self::LIST_SERVERS.map(|(host, port)| HostPort { host: host.to_owned(), port });
        Self { servers: Vec::new(), list_servers: list_servers.into(), stagger: Self::STAGGER }
    }
}

/// Somebody on a network, to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (host, port) = text.rsplit_once(':').ok_or("no port")?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or("not a port")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c));
        is_host.then(|| Self { host: host.to_owned(), port }).ok_or("not a host")
    }
}

/// One TUTK camera, named by hand.
#[derive(Debug, Clone)]
pub struct WyzeCamera {
    pub name: String,
    /// Wyze's model code (`HL_DB2`).
    pub model: String,
    pub mac: Mac,
    pub uid: Uid,
    pub enr: Enr,
    pub address: SocketAddr,
}

impl WyzeCamera {
    /// The doorbell's id, made of the MAC address.
    pub fn id(&self) -> DeviceId {
        DeviceId::from_hardware("wyze", self.mac.as_str())
    }
}

/// `taken` is what the accounts before this one have.
pub(super) fn read(account: &mut Section<'_>, taken: &mut Taken) -> Option<Wyze> {
    let cameras = account.sections("cameras", |camera| read_camera(camera, &mut taken.macs));
    let by_hand_only = !["email", "password", "key_id", "api_key"].into_iter().any(|key| account.has(key));
    if by_hand_only && account.has("cameras") {
        for key in ["totp_secret", "ring_events", "poll_s", "endpoints", "gwell"] {
            if account.has(key) {
                account
                    .report_value(key, "of no use without a login; expected `email`, `password`, `key_id`, `api_key`");
            }
        }
        return Some(Wyze { login: None, cameras });
    }
    Some(Wyze { login: Some(read_login(account, &mut taken.emails)?), cameras })
}

fn read_login(account: &mut Section<'_>, emails: &mut HashSet<String>) -> Option<WyzeLogin> {
    let email = account.required("email", &values::EMAIL);
    if email.as_ref().is_some_and(|email| !emails.insert(email.expose().to_lowercase())) {
        account.report_value("email", "an account before this one has the same; expected each account once");
    }
    let password = account.required("password", &values::PASSWORD);
    let key_id = account.required("key_id", &values::KEY_ID);
    let api_key = account.required("api_key", &values::API_KEY);
    let totp_secret = account.optional("totp_secret", &values::TOTP_SECRET);
    let mut ring_events = account.texts("ring_events", &values::EVENT_VALUE);
    if !account.has("ring_events") {
        ring_events = WyzeLogin::RING_EVENTS.into();
    }
    let poll = account.optional("poll_s", &values::POLL_S).map_or(WyzeLogin::POLL, Duration::from_secs);
    let endpoints = account.section("endpoints", read_endpoints).unwrap_or_default();
    let gwell = account.section("gwell", read_gwell).unwrap_or_default();
    let (email, password, key_id, api_key) = (email?, password?, key_id?, api_key?);
    Some(WyzeLogin { email, password, key_id, api_key, totp_secret, ring_events, poll, endpoints, gwell })
}

fn read_gwell(gwell: &mut Section<'_>) -> Option<Gwell> {
    let usual = Gwell::default();
    let servers = gwell.texts("servers", &values::GWELL_SERVER);
    let mut list_servers = gwell.texts("list_servers", &values::GWELL_SERVER);
    if !gwell.has("list_servers") {
        list_servers = usual.list_servers;
    }
    let stagger = gwell.optional("stagger_s", &values::STAGGER_S).map_or(usual.stagger, Duration::from_secs);
    Some(Gwell { servers, list_servers, stagger })
}

fn read_endpoints(endpoints: &mut Section<'_>) -> Option<WyzeEndpoints> {
    let mut read = |key, usual| endpoints.optional(key, &values::ENDPOINT).unwrap_or(usual);
    let usual = WyzeEndpoints::default();
    Some(WyzeEndpoints {
        auth: read("auth", usual.auth),
        api: read("api", usual.api),
        core: read("core", usual.core),
        lock: read("lock", usual.lock),
        mars: read("mars", usual.mars),
        device_management: read("device_management", usual.device_management),
    })
}

fn read_camera(camera: &mut Section<'_>, macs: &mut HashSet<Mac>) -> Option<WyzeCamera> {
    let name = camera.required("name", &values::NAME);
    let model = camera.required("model", &values::MODEL);
    let mac = camera.required("mac", &values::MAC);
    let uid = camera.required("uid", &values::UID);
    let enr = camera.required("enr", &values::ENR);
    let address = camera.required("address", &values::CAMERA_ADDRESS);
    if mac.as_ref().is_some_and(|mac| !macs.insert(mac.clone())) {
        camera.report_value("mac", "a camera before this one has the same; expected each camera once");
    }
    Some(WyzeCamera { name: name?, model: model?, mac: mac?, uid: uid?, enr: enr?, address: address? })
}
