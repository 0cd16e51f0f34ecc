//! The devices of a system and their records (§3.2 to §3.5). What a field is worth comes from the golden system of
//! the reference.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::settings::Settings;
use crate::clock;
use crate::secret::Password;
use crate::sim::dice::Dice;
use crate::sim::made_up::{LETTERS_AND_DIGITS, text, uuid};

/// A device as the account lists it.
#[derive(Debug, Clone)]
pub struct Device {
    /// `_id`, unique within the panel.
    pub id: i64,
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Panel,
    Camera(Box<Camera>),
    Lock { locked: bool },
    Garage { open: bool },
}

/// A doorbell.
#[derive(Debug, Clone)]
pub struct Camera {
    /// `act`
    pub actual_type: String,
    pub uuid: String,
    /// Of its own RTSP server.
    pub user: String,
    pub password: Password,
    /// Its own RTSP server, port 0 for any free one; `None` where the LAN cannot reach it (`cda` false).
    pub lan: Option<SocketAddrV4>,
    /// Where the panel passes its pictures on, and the relay outside too; `None` for a panel that does not.
    pub panel: Option<SocketAddrV4>,
    /// Category 1 lists capability 5.
    pub speaks: bool,
    /// The tokens of Firebase list it among the `devices`.
    pub signalled: bool,
}

impl Device {
    /// The panel, a Doorbell Camera Pro of the second generation, an older Vivotek doorbell, a lock and a garage
    /// door, with the ids of the golden system.
    pub(super) fn one_of_each(dice: &mut Dice) -> Vec<Self> {
        vec![
            Self { id: 14, name: "Panel".into(), kind: Kind::Panel },
            Self::pro_doorbell(27, "Front Doorbell", dice),
            Self::older_doorbell(28, "Side Doorbell", dice),
            Self { id: 40, name: "Front Door".into(), kind: Kind::Lock { locked: true } },
            Self { id: 61, name: "Garage".into(), kind: Kind::Garage { open: false } },
        ]
    }

    /// Takes calls and is reached on the LAN.
    pub(super) fn pro_doorbell(id: i64, name: &str, dice: &mut Dice) -> Self {
        let camera = Camera::made_up("vivint_dbc350_camera_device", dice);
        let camera = Camera { speaks: true, signalled: true, lan: camera.panel, ..camera };
        Self { id, name: name.to_owned(), kind: Kind::Camera(Box::new(camera)) }
    }

    /// Takes no calls, and is reached through the panel only.
    pub(super) fn older_doorbell(id: i64, name: &str, dice: &mut Dice) -> Self {
        let camera = Camera::made_up("vivotek_db8332s1_camera_device", dice);
        Self { id, name: name.to_owned(), kind: Kind::Camera(Box::new(camera)) }
    }

    /// The same with its servers on this address of the machine.
    pub(in crate::sim) fn at(mut self, address: Ipv4Addr) -> Self {
        if let Kind::Camera(camera) = &mut self.kind {
            let servers = [&mut camera.lan, &mut camera.panel].into_iter().flatten();
            servers.for_each(|server| server.set_ip(address));
        }
        self
    }

    pub fn camera(&self) -> Option<&Camera> {
        match &self.kind {
            Kind::Camera(camera) => Some(camera),
            Kind::Panel | Kind::Lock { .. } | Kind::Garage { .. } => None,
        }
    }

    /// Who it is to the signalling database, if that knows it.
    pub fn uuid(&self) -> Option<&str> {
        self.camera().filter(|camera| camera.signalled).map(|camera| camera.uuid.as_str())
    }

    /// `act` of it, which deltas name.
    fn actual_type(&self) -> &str {
        match &self.kind {
            Kind::Panel => "primary_touch_link_device",
            Kind::Camera(camera) => &camera.actual_type,
            Kind::Lock { .. } => "kwikset_988_door_lock_device",
            Kind::Garage { .. } => "garage_door_device",
        }
    }

    fn record(&self, panel: i64) -> Value {
        let record = match &self.kind {
            Kind::Panel => panel_fields(),
            Kind::Camera(camera) => camera.fields(self.id),
            Kind::Lock { locked } => lock_fields(*locked),
            Kind::Garage { open } => garage_fields(*open),
        };
        let common = json!({
            "_id": self.id, "n": self.name, "panid": panel, "act": self.actual_type(), "ol": true, "hidden": false,
        });
        merged(record, common)
    }
}

impl Camera {
    fn made_up(actual_type: &str, dice: &mut Dice) -> Self {
        Self {
            actual_type: actual_type.to_owned(),
            uuid: uuid(dice),
            user: "viewer".to_owned(),
            password: Password::new(text(dice, 14, LETTERS_AND_DIGITS)),
            lan: None,
            panel: Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)),
            speaks: false,
            signalled: false,
        }
    }

    /// Relative paths of its pictures, HD and SD.
    pub(super) fn paths(&self, id: i64) -> [String; 2] {
        match self.is_pro() {
            true => [format!("Video-{id}"), format!("Video-{id}_SD")],
            false => ["live.sdp".to_owned(), "live2.sdp".to_owned()],
        }
    }

    /// The same at the panel and at the relay.
    pub(super) fn relayed_paths(id: i64) -> [String; 2] {
        [format!("Video-{id}"), format!("Video-{id}_SD")]
    }

    /// Its HD picture on the LAN, with its login.
    pub fn own_url(&self, id: i64) -> Option<String> {
        let ([path, _], address) = (self.paths(id), self.lan?);
        Some(format!("rtsp://{}:{}@{address}/{path}", self.user, self.password.expose()))
    }

    /// Its HD picture at the panel, without the panel's login.
    pub fn panel_url(&self, id: i64) -> Option<String> {
        let ([path, _], address) = (Self::relayed_paths(id), self.panel?);
        Some(format!("rtsp://{address}/{path}"))
    }

    pub(super) fn is_pro(&self) -> bool {
        self.actual_type.starts_with("vivint_")
    }

    fn fields(&self, id: i64) -> Value {
        // Of 2 "visitor", 5 "two-way audio": only who has a speaker.
        let abilities: Vec<u8> =
            [1, 2, 3, 5, 6, 15, 16, 46, 72].into_iter().filter(|n| *n != 5 || self.speaks).collect();
        let fields = json!({
            "t": "camera_device",
            "uuid": self.uuid,
            "cmac": self.uuid.replace('-', "").chars().take(12).collect::<String>().to_uppercase(),
            "caco": if self.is_pro() { 2 } else { 1 }, "casr": if self.is_pro() { 48_000 } else { 8_000 },
            "ctd": ctd(clock::unix_now()),
            "wiss": 80, "rssi": -54, "cssid": "tl000000", "wchn": 6, "sv": "5.4.3",
            "ccom": true, "cex": false, "cpri": false, "nv": true,
            "hdr": "640x360", "sdr": "640x360", "art": [16, 9],
            "caca": [{"t": 2, "ca": [4, 56, 57, 58]}, {"t": 1, "ca": abilities}, {"t": 8, "ca": [31]}],
            "fea": {"video_thumbnails": true, "rb": true},
        });
        // Absent on older models.
        let newer = if self.is_pro() { json!({"deter_on_duty": false, "uses_dvr": true}) } else { json!({}) };
        merged(merged(fields, self.addresses(id)), newer)
    }

    /// Where its pictures are.
    fn addresses(&self, id: i64) -> Value {
        let lan = self.lan.unwrap_or(SocketAddrV4::new([172, 16, 10, 28].into(), 554));
        let ([hd, sd], [relayed_hd, relayed_sd]) = (self.paths(id), Self::relayed_paths(id));
        let at_panel = |path: &str| self.panel.map_or(json!([]), |panel| json!([format!("rtsp://{panel}/{path}")]));
        json!({
            "caip": lan.ip().to_string(), "cap": lan.port().to_string(), "cda": self.lan.is_some(),
            "cdp": hd, "cdps": sd,
            "un": self.user, "pswd": self.password.expose(),
            "ciu": at_panel(&relayed_hd), "cius": at_panel(&relayed_sd),
            "ceu": at_panel(&relayed_hd), "ceus": at_panel(&relayed_sd),
            "cetu": [], "cetus": [], "cou": "", "cous": "",
            "cia": "", "cea": "", "ceah": {},
        })
    }
}

/// Both objects in one; what is in both is the second's.
pub(super) fn merged(mut first: Value, second: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (first.as_object_mut(), second) {
        fields.extend(more);
    }
    first
}

fn panel_fields() -> Value {
    json!({"t": "primary_touch_link_device", "pant": 4, "csv": "3.25.1.86864", "caca": [{"t": 6, "ca": [27, 28, 79, 83]}]})
}

fn lock_fields(locked: bool) -> Value {
    json!({
        "t": "door_lock_device", "s": locked, "op": 1, "bl": 90, "lb": false, "ta": false, "b": 0, "nid": 3,
        "device_id": "/node/3", "ucl": [25], "manid": 144, "prtid": 3, "prid": 1345, "zpd": "6.61.01",
        "fwv": [[65, 5]], "caca": [{"t": 5, "ca": [22]}, {"t": 7, "ca": [29, 30, 73]}, {"t": 8, "ca": [31]}],
        "fea": {"lock_selection": true},
    })
}

fn garage_fields(open: bool) -> Value {
    json!({
        "t": "garage_door_device", "s": if open { 5 } else { 1 }, "zpd": "6.51.05", "manid": 335, "prtid": 18244,
        "prid": 12592, "caca": [{"t": 9, "ca": []}],
    })
}

/// A time as `ctd` has it: UTC with microseconds, without a `Z`.
pub(super) fn ctd(at: SystemTime) -> String {
    let micros = humantime::format_rfc3339_micros(at).to_string();
    micros.trim_end_matches('Z').to_owned()
}

/// Everything that `systems/{panid}` tells.
pub(super) fn system(settings: &Settings) -> Value {
    let panel = settings.panel;
    let devices: Vec<Value> = settings.devices.iter().map(|device| device.record(panel)).collect();
    let partition = json!({
        "_id": format!("{panel}|{}", Settings::PARTITION), "panid": panel, "parid": Settings::PARTITION, "s": 0,
        "pmac": "020000000001", "d": devices, "ureg": [], "fea": {"any_video_thumbnails": true},
    });
    let user = json!({
        "_id": 25, "n": "Virtual User", "ad": true, "reg": true, "ra": false, "hasPins": true, "hasPanelPin": true,
        "hasLockPin": true, "lids": [40], "uid": settings.uid, "t": "user", "sn": HOUSE,
    });
    json!({
        "system": {
            "_id": panel, "panid": panel, "sn": HOUSE, "s": 0, "tz": "US/Mountain", "csv": 86864, "csce": "home",
            "fea": {"clips": true, "sec": true, "zwave": true, "edge_dvr": true},
            "sinfo": {"srv": {"lvl": "monitoring"}}, "u": [user], "par": [partition],
        },
        "arid": 7_000_001,
    })
}

pub(super) const HOUSE: &str = "Virtual House";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Each field of `found` has the kind of value that the golden record has, where that has the field.
    fn same_kinds(found: &Value, golden: &Value, place: &str) {
        let kind = |value: &Value| std::mem::discriminant(value);
        for (name, value) in found.as_object().unwrap() {
            let Some(expected) = golden.get(name) else { continue };
            assert_eq!(kind(value), kind(expected), "{place}.{name}: {value} for {expected}");
        }
    }

    #[test]
    fn each_record_has_the_fields_of_the_golden_system_in_its_types() {
        let golden: Value = serde_json::from_str(include_str!("../../../tests/vectors/vivint/vivint.json")).unwrap();
        let golden = &golden["system"]["system"];
        let settings = Settings::generate(1);
        let system = &system(&settings)["system"];
        same_kinds(system, golden, "system");
        let (own, wanted) = (&system["par"][0], &golden["par"][0]);
        same_kinds(own, wanted, "partition");
        let by_id = |partition: &Value| -> BTreeMap<i64, Value> {
            let devices = partition["d"].as_array().unwrap();
            devices.iter().map(|device| (device["_id"].as_i64().unwrap(), device.clone())).collect()
        };
        let (own, wanted) = (by_id(own), by_id(wanted));
        assert!(own.keys().eq(wanted.keys()), "{:?}", own.keys());
        for (id, device) in &own {
            same_kinds(device, &wanted[id], &format!("device {id}"));
        }
        assert!(own[&27]["caca"][1]["ca"].as_array().unwrap().contains(&json!(5)));
        assert!(!own[&28]["caca"][1]["ca"].as_array().unwrap().contains(&json!(5)));
    }

    #[test]
    fn a_thumbnail_time_has_six_digits_and_no_zone() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_768_500_005_000);
        assert_eq!(ctd(at), "2026-01-15T18:00:05.000000");
    }
}
