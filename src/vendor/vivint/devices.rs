//! What a system holds, as far as Doorstep has a use for it (vivint reference §3).
//!
//! Nobody has promised its form, so it is read with forgiveness: what is missing or of another type counts as not
//! said.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use serde_json::Value;
use url::Url;

use super::{VENDOR, models};
use crate::config::DoorbellOverride;
use crate::model::{Capability, DeviceId, DeviceInfo, Found, LockState, Role};
use crate::proto::vivint::realtime::Object;
use crate::secret::Password;
use crate::vendor::named;

/// A longer name is cut, be it of a device, a model or a firmware.
const LONGEST_NAME: usize = 64;

/// Where a device is in the account: what every request about it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// `panid`, over 32 bits.
    pub panel: i64,
    /// `parid`
    pub partition: i64,
    /// `_id`, unique within the panel.
    pub device: i64,
}

impl Place {
    pub fn id(self) -> DeviceId {
        DeviceId::from_hardware(VENDOR, &format!("{}_{}", self.panel, self.device))
    }
}

/// One device.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) place: Place,
    name: String,
    model: String,
    firmware: Option<String>,
    /// `ol`; `None` when nobody said.
    pub(super) online: Option<bool>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Camera(Box<Camera>),
    /// And how it stands.
    Lock(Option<LockState>),
    Garage(Option<LockState>),
    Other,
}

/// A doorbell or camera.
#[derive(Debug, Clone)]
pub struct Camera {
    pub place: Place,
    /// Who it is to the signalling database; without it nobody can talk.
    pub uuid: Option<String>,
    /// `act`, the model of it.
    pub actual_type: String,
    /// `None` where it does not let itself be reached on the LAN.
    pub lan: Option<Lan>,
    /// `ciu`, `cius`: with the panel's login.
    pub panel: Relayed,
    /// `ceu`, `ceus`: with the panel's login.
    pub external: Relayed,
    /// `ctd`, when its newest still picture was taken.
    pub thumbnail_at: Option<SystemTime>,
    /// Its account says that it has a speaker (category 1 lists capability 5).
    pub speaks: bool,
    /// It is a doorbell (category 2).
    pub rings: bool,
    /// `ol`: whether it was connected; `None` when nobody said.
    pub online: Option<bool>,
}

/// The camera's own RTSP server.
#[derive(Debug, Clone)]
pub struct Lan {
    pub host: Ipv4Addr,
    pub port: u16,
    pub user: String,
    pub password: Password,
    /// `cdp`, `cdps`: relative paths.
    pub hd: Option<String>,
    pub sd: Option<String>,
}

/// Addresses of a relay, without a login.
#[derive(Debug, Clone, Default)]
pub struct Relayed {
    pub hd: Option<Url>,
    pub sd: Option<Url>,
}

impl Device {
    /// `fields` are those of the device's record.
    pub(super) fn read(place: Place, fields: &Object) -> Self {
        let kind = text(fields, "t").unwrap_or_default();
        let actual_type = text(fields, "act").filter(|act| act.len() <= LONGEST_NAME).unwrap_or(kind);
        let model = model(actual_type);
        let online = fields.get("ol").and_then(flag);
        let kind = match kind {
            "camera_device" => Kind::Camera(Box::new(Camera::read(place, actual_type, online, fields))),
            "door_lock_device" => Kind::Lock(fields.get("s").and_then(flag).map(bolt)),
            "garage_door_device" => Kind::Garage(fields.get("s").and_then(number).and_then(garage_door)),
            _ => Kind::Other,
        };
        let name = text(fields, "n").map_or_else(|| model.clone(), str::to_owned);
        let (name, model) = (cut(&name), cut(&model));
        let firmware = text(fields, "sv").or_else(|| text(fields, "csv")).map(cut);
        Self { place, name, model, firmware, online, kind }
    }

    pub(super) fn camera(&self) -> Option<&Camera> {
        match &self.kind {
            Kind::Camera(camera) => Some(camera),
            Kind::Lock(_) | Kind::Garage(_) | Kind::Other => None,
        }
    }

    /// How a lock, or a garage door, stands.
    pub(super) fn door(&self) -> Option<LockState> {
        match self.kind {
            Kind::Lock(state) | Kind::Garage(state) => state,
            Kind::Camera(_) | Kind::Other => None,
        }
    }

    /// `wish` is what its owner wants otherwise.
    pub(super) fn found(&self, wish: Option<&DoorbellOverride>) -> Found {
        let (role, transport, obstacle) = match &self.kind {
            Kind::Camera(camera) if camera.rings => (Role::Doorbell, Some("rtsp"), None),
            Kind::Camera(_) => (Role::Camera, Some("rtsp"), None),
            Kind::Lock(_) => (Role::Lock, Some("cloud"), None),
            Kind::Garage(_) => (Role::Garage, Some("cloud"), None),
            Kind::Other => (Role::Other, None, Some("Doorstep has no use for this kind of device.".to_owned())),
        };
        let lan = self.camera().and_then(|camera| camera.lan.as_ref());
        let info = DeviceInfo {
            id: self.place.id(),
            name: self.name.clone(),
            vendor: VENDOR,
            model: self.model.clone(),
            firmware: self.firmware.clone(),
            capabilities: self.capabilities(wish).collect(),
        };
        let address = lan.map(|lan| SocketAddr::from((lan.host, lan.port)));
        Found { info, role, address, transport, obstacle, talk_obstacle: None }
    }

    fn capabilities(&self, wish: Option<&DoorbellOverride>) -> impl Iterator<Item = Capability> {
        let camera = self.camera();
        let is = |what: fn(&Camera) -> bool| camera.is_some_and(what);
        let has_button = camera.is_some() && wish.is_some_and(|wish| wish.ring_topic.is_some());
        [
            (Capability::Ring, is(|camera| camera.rings) || has_button),
            (Capability::Motion, camera.is_some()),
            (Capability::Stream, is(Camera::has_pictures)),
            (Capability::Talk, is(|camera| camera.speaks)),
            (Capability::Snapshot, camera.is_some()),
        ]
        .into_iter()
        .filter_map(|(capability, has)| has.then_some(capability))
    }
}

impl Camera {
    fn read(place: Place, actual_type: &str, online: Option<bool>, fields: &Object) -> Self {
        let can = |category, wanted| capabilities(fields, category).any(|capability| Some(capability) == wanted);
        Self {
            place,
            uuid: text(fields, "uuid").filter(|uuid| is_plain(uuid)).map(str::to_owned),
            actual_type: actual_type.to_owned(),
            lan: Lan::read(actual_type, fields),
            panel: Relayed { hd: relay(fields, "ciu"), sd: relay(fields, "cius") },
            external: Relayed { hd: relay(fields, "ceu"), sd: relay(fields, "ceus") },
            thumbnail_at: text(fields, "ctd").and_then(time),
            speaks: can(CAMERA, Some(TWO_WAY_AUDIO)),
            rings: categories(fields).any(|(category, _)| category == DOORBELL),
            online,
        }
    }

    /// Without addresses at which it cannot be, for all that its `cloud` says.
    pub(super) fn reachable(mut self, cloud: &Url) -> Self {
        self.lan = self.lan.filter(|lan| named::is_camera_of(cloud, lan.host.into()));
        for url in [&mut self.panel.hd, &mut self.panel.sd, &mut self.external.hd, &mut self.external.sd] {
            url.take_if(|url| !named::leads_to_camera_of(cloud, url));
        }
        self
    }

    fn has_pictures(&self) -> bool {
        let has = |relay: &Relayed| relay.hd.is_some() || relay.sd.is_some();
        self.lan.is_some() || has(&self.panel) || has(&self.external)
    }
}

impl Lan {
    fn read(actual_type: &str, fields: &Object) -> Option<Self> {
        // It says that it can be reached and cannot (as Home Assistant's integration knows it).
        const UNREACHABLE: &str = "alpha_cs6022_camera_device";
        if actual_type == UNREACHABLE || !fields.get("cda").and_then(flag)? {
            return None;
        }
        let host = text(fields, "caip")?.parse::<Ipv4Addr>().ok()?;
        let port = fields.get("cap").and_then(number).and_then(|port| u16::try_from(port).ok())?;
        let path = |key| text(fields, key).map(|path| path.trim_start_matches('/').to_owned());
        let (hd, sd) = (path("cdp"), path("cdps"));
        if host.is_unspecified() || host.is_multicast() || port == 0 || (&hd, &sd) == (&None, &None) {
            return None;
        }
        let (user, password) = (text(fields, "un")?.to_owned(), Password::new(text(fields, "pswd")?));
        Some(Self { host, port, user, password, hd, sd })
    }
}

/// Categories of `caca`, and the capability of one that is asked for (§3.3).
const CAMERA: i64 = 1;
const DOORBELL: i64 = 2;
const TWO_WAY_AUDIO: i64 = 5;

/// Each with its capabilities.
fn categories(fields: &Object) -> impl Iterator<Item = (i64, &Value)> {
    let listed = fields.get("caca").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    listed.iter().filter_map(|entry| Some((number(entry.get("t")?)?, entry)))
}

fn capabilities(fields: &Object, category: i64) -> impl Iterator<Item = i64> {
    let of_it = categories(fields).filter(move |(found, _)| *found == category);
    let lists = of_it.filter_map(|(_, entry)| entry.get("ca")?.as_array());
    lists.flatten().filter_map(number)
}

/// `true` is locked (§3.5).
fn bolt(locked: bool) -> LockState {
    if locked { LockState::Locked } else { LockState::Unlocked }
}

/// The states of §3.5; 0 is unknown.
fn garage_door(state: i64) -> Option<LockState> {
    match state {
        1 => Some(LockState::Locked),
        2 => Some(LockState::Locking),
        3 => Some(LockState::Jammed),
        4 => Some(LockState::Unlocking),
        5 => Some(LockState::Unlocked),
        _ => None,
    }
}

/// `vivint_dbc350_camera_device` is a `DBC350`, `kwikset_988_door_lock_device` a `Kwikset 988`.
fn model(actual_type: &str) -> String {
    if actual_type.ends_with("_camera_device") {
        return models::code(actual_type);
    }
    const KINDS: [&str; 3] = ["door_lock_device", "garage_door_device", "primary_touch_link_device"];
    let words = KINDS.iter().find_map(|kind| actual_type.strip_suffix(kind)?.strip_suffix('_'));
    match words.map(|words| words.split_once('_').unwrap_or((words, ""))) {
        Some((maker, model)) => format!("{} {}", capitalized(maker), model.to_uppercase()).trim_end().to_owned(),
        None => capitalized(&actual_type.trim_end_matches("_device").replace('_', " ")),
    }
}

fn capitalized(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The first address of a list, or the only one, without a login.
fn relay(fields: &Object, key: &str) -> Option<Url> {
    let address = match fields.get(key)? {
        Value::Array(list) => list.first()?.as_str()?,
        address => address.as_str()?,
    };
    let mut url = Url::parse(address).ok().filter(|url| url.scheme() == "rtsp" && url.has_host())?;
    (url.set_username("").is_ok() && url.set_password(None).is_ok()).then_some(url)
}

/// What can be part of a path without meaning anything else there.
fn is_plain(id: &str) -> bool {
    id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `2026-01-15T18:20:31.000000`, in UTC, with or without a Z behind it.
fn time(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339_weak(text.trim_end_matches('Z')).ok()
}

fn cut(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

/// Text with something in it.
pub(super) fn text<'a>(from: &'a Object, key: &str) -> Option<&'a str> {
    from.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// A number, or its text.
pub(super) fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// As JSON has it, or 0 or 1.
fn flag(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| number(value).map(|number| number != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    const PLACE: Place = Place { panel: 7_001_000_200_030_004, partition: 1, device: 27 };

    fn device(fields: Value) -> Device {
        Device::read(PLACE, fields.as_object().unwrap())
    }

    #[test]
    fn a_doorbell_is_what_has_the_category_whatever_it_is_called() {
        let role = |caca: Value| device(json!({"t": "camera_device", "caca": caca})).found(None).role;
        assert_eq!(role(json!([{"t": 1, "ca": [5]}, {"t": 2}])), Role::Doorbell);
        assert_eq!(role(json!([{"t": "2", "ca": []}])), Role::Doorbell);
        for odd in [json!([{"t": 1, "ca": [2]}]), json!({"t": 2}), json!([2]), json!(null), json!([{"t": [2]}])] {
            assert_eq!(role(odd.clone()), Role::Camera, "{odd}");
        }
    }

    #[test]
    fn who_can_be_talked_to_says_category_1() {
        let talks = |caca: Value| {
            let found = device(json!({"t": "camera_device", "caca": caca})).found(None);
            found.info.capabilities.contains(&Capability::Talk)
        };
        assert!(talks(json!([{"t": 2, "ca": []}, {"t": 1, "ca": [1, 5]}])));
        assert!(!talks(json!([{"t": 2, "ca": [5]}, {"t": 1, "ca": [1, 15, "x"]}])));
    }

    #[test]
    fn models_are_named_as_they_are_sold() {
        for (actual_type, sold_as) in [
            ("vivint_dbc350_camera_device", "DBC350"),
            ("vivotek_db8332s1_camera_device", "DB8332S1"),
            ("kwikset_988_door_lock_device", "Kwikset 988"),
            ("garage_door_device", "Garage door"),
            ("primary_touch_link_device", "Primary touch link"),
            ("something", "Something"),
            ("", ""),
        ] {
            assert_eq!(model(actual_type), sold_as, "{actual_type}");
        }
    }

    #[test]
    fn a_thumbnail_has_a_time_with_or_without_a_letter_behind_it() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(time("2026-01-15T18:00:05.000000"), at(1_768_500_005));
        assert_eq!(time("2026-01-15T18:00:05.000000Z"), at(1_768_500_005));
        assert_eq!(time("2026-01-15T18:00:05"), at(1_768_500_005));
        for odd in ["", "soon", "2026", "2026-13-45T99:99:99", "-1"] {
            assert_eq!(time(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_lan_address_counts_only_when_it_is_whole() {
        let whole = json!({"t": "camera_device", "act": "vivint_dbc350_camera_device", "cda": true, "caip": "192.0.2.27",
            "cap": "8554", "cdp": "/Video-27", "un": "viewer", "pswd": "canary"});
        let lan = |key: &str, value: Value| {
            let mut fields = whole.clone();
            fields[key] = value;
            device(fields).camera().unwrap().lan.clone()
        };
        let found = lan("n", json!("x")).unwrap();
        assert_eq!((found.port, found.hd.as_deref(), found.sd), (8_554, Some("Video-27"), None));
        assert_eq!(lan("cap", json!(554)).unwrap().port, 554);
        for (key, value) in [
            ("cda", json!(false)),
            ("cda", json!(null)),
            ("act", json!("alpha_cs6022_camera_device")),
            ("caip", json!("0.0.0.0")),
            ("caip", json!("camera.local")),
            ("cap", json!("0")),
            ("cap", json!("99999")),
            ("cdp", json!("")),
            ("un", json!(7)),
            ("pswd", json!(null)),
        ] {
            assert!(lan(key, value.clone()).is_none(), "{key} = {value}");
        }
    }

    #[test]
    fn an_address_of_a_relay_carries_no_login() {
        let url = |value: Value| relay(json!({"ciu": value}).as_object().unwrap(), "ciu").map(String::from);
        let plain = || Some("rtsp://192.0.2.10:8554/Video-27".to_owned());
        assert_eq!(url(json!(["rtsp://192.0.2.10:8554/Video-27"])), plain());
        assert_eq!(url(json!("rtsp://a:b@192.0.2.10:8554/Video-27")), plain());
        for odd in [json!([]), json!([7]), json!("http://192.0.2.10/"), json!("rtsp:nowhere"), json!(null)] {
            assert_eq!(url(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn a_garage_door_stands_as_the_reference_says() {
        use LockState::{Jammed, Locked, Locking, Unlocked, Unlocking};
        let states: Vec<_> = (-1..=6).map(garage_door).collect();
        let known = [Locked, Locking, Jammed, Unlocking, Unlocked].map(Some);
        assert_eq!(states, [&[None, None][..], &known, &[None]].concat());
    }
}
