//! The devices of an account and their rows in the list (§3, §5).

use serde_json::{Value, json};

use crate::secret::Enr;
use crate::sim::dice::Dice;
use crate::sim::made_up::text;

/// A device as the account lists it.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its opaque id: 12 hexadecimal digits, or a model and more behind it.
    pub mac: String,
    pub model: String,
    pub product_type: String,
    pub nickname: String,
    /// Empty where the cloud tells none. `1.2.3.4`, as Wyze has it, or `1.2.3.4:5678`: only virtual cameras have
    /// a port of their own, so only a virtual cloud tells one.
    pub address: String,
    /// TUTK's P2P identity; empty where there is none.
    pub uid: String,
    pub enr: Enr,
    pub firmware: String,
    /// Of a camera behind a base station.
    pub parent: Option<Parent>,
    pub online: bool,
    pub powered: bool,
}

/// A base station, or the gateway of a lock.
#[derive(Debug, Clone)]
pub struct Parent {
    pub mac: String,
    pub enr: Enr,
}

#[derive(Clone, Copy)]
enum Id {
    /// Twelve hexadecimal digits.
    Mac,
    /// `GW_BE1_7C78B2A1B2C3`
    ModelAndMac,
    /// `YD.LO1.` and 32 hexadecimal digits
    ModelAndUuid,
}

/// What is the same for all devices of a model.
struct Kind {
    model: &'static str,
    product_type: &'static str,
    nickname: &'static str,
    id: Id,
    /// Speaks TUTK, so that the list has a P2P identity and mostly an address.
    tutk: bool,
    firmware: &'static str,
}

const fn kind(model: &'static str, product_type: &'static str, nickname: &'static str, id: Id) -> Kind {
    let tutk = matches!(id, Id::Mac) && matches!(product_type.as_bytes(), b"Camera" | b"Doorbell");
    Kind { model, product_type, nickname, id, tutk, firmware: "4.25.1.333" }
}

/// One for each line of the reference's table (§5), and what stands beside a doorbell on an account: chime, locks,
/// gateway.
const KINDS: [Kind; 16] = [
    kind("WYZEDB3", "Doorbell", "Front Door", Id::Mac),
    Kind { firmware: "4.25.2.0133", ..kind("HL_DB2", "Camera", "Back Door", Id::Mac) },
    kind("GW_BE1", "Camera", "Garden Gate", Id::ModelAndMac),
    kind("AN_RDB1", "Camera", "Side Entrance", Id::ModelAndMac),
    kind("GW_DBD", "Camera", "Parcel Door", Id::ModelAndMac),
    kind("WVOD1", "Camera", "Shed", Id::Mac),
    kind("GW_GC1", "Camera", "Garage", Id::ModelAndMac),
    kind("GW_DUO", "Camera", "Driveway", Id::ModelAndMac),
    Kind { tutk: false, ..kind("LD_CFP", "Camera", "Floodlight", Id::ModelAndMac) },
    Kind { firmware: "4.52.9.5332", ..kind("HL_CAM4", "Camera", "Hall", Id::Mac) },
    kind("AN_RSCW", "Camera", "Terrace", Id::ModelAndMac),
    kind("WDB3_CHIME", "ChimeSensor", "Chime", Id::Mac),
    kind("YD.LO1", "Lock", "Front Door Lock", Id::ModelAndUuid),
    kind("YD.GW1", "gateway", "Lock Gateway", Id::ModelAndUuid),
    kind("YD_BT1", "Lock", "Cellar Lock", Id::ModelAndMac),
    // Locks of this family are listed as `Common`; they are known by their model.
    kind("DX_LB2", "Common", "Garden Lock", Id::ModelAndMac),
];

/// One device of each kind there is.
pub(super) fn one_of_each(dice: &mut Dice) -> Vec<Device> {
    let mut devices: Vec<Device> = KINDS.iter().map(|kind| kind.device(kind.model, dice)).collect();
    let gateway = devices.iter().find(|device| device.model == "YD.GW1").map(|gateway| gateway.mac.clone());
    if let (Some(mac), Some(lock)) = (gateway, devices.iter_mut().find(|device| device.model == "YD.LO1")) {
        lock.parent = Some(Parent { mac, enr: Enr::new("") });
    }
    devices
}

impl Kind {
    fn device(&self, model: &str, dice: &mut Dice) -> Device {
        let mac = format!("D03F27{}", text(dice, 6, HEX_UPPER));
        let behind_base_station = matches!(self.model, "WVOD1" | "HL_WCO2");
        let enr = |dice: &mut Dice| Enr::new(text(dice, 16, ALPHANUMERIC));
        Device {
            mac: match self.id {
                Id::Mac => mac,
                Id::ModelAndMac => format!("{model}_{mac}"),
                Id::ModelAndUuid => format!("{model}.{}", text(dice, 32, b"0123456789abcdef")),
            },
            model: model.to_owned(),
            product_type: self.product_type.to_owned(),
            nickname: self.nickname.to_owned(),
            // A camera behind a base station has no address of its own, which the list says in this way.
            address: match self.tutk {
                true if behind_base_station => "0.0.0.0".to_owned(),
                true => format!("192.0.2.{}", 1 + dice.bytes::<1>()[0] % 250),
                false => String::new(),
            },
            uid: if self.tutk { text(dice, 20, b"ABCDEFGHJKLMNPQRSTUVWXYZ123456789") } else { String::new() },
            enr: enr(dice),
            firmware: self.firmware.to_owned(),
            parent: behind_base_station
                .then(|| Parent { mac: format!("D03F27{}", text(dice, 6, HEX_UPPER)), enr: enr(dice) }),
            online: true,
            powered: true,
        }
    }
}

const HEX_UPPER: &[u8] = b"0123456789ABCDEF";
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl Device {
    /// A device of this model with an id of its own; of an unknown model, a camera that speaks TUTK, or GWell's
    /// protocol where its name says so.
    pub fn generate(model: &str, nickname: &str, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let known = KINDS.iter().find(|kind| kind.model == model);
        let id = if model.starts_with("GW_") { Id::ModelAndMac } else { Id::Mac };
        let mut device = known.unwrap_or(&kind("", "Camera", "", id)).device(model, &mut dice);
        nickname.clone_into(&mut device.nickname);
        device
    }

    pub fn is_doorbell(&self) -> bool {
        matches!(self.model.as_str(), "WYZEDB3" | "HL_DB2" | "GW_BE1" | "AN_RDB1" | "GW_DBD")
    }

    /// Whether the lock API (§8, "Ford") works it.
    pub(super) fn is_ford_lock(&self) -> bool {
        self.model == "YD.LO1"
    }

    /// Whether the iot3 API works it.
    pub(super) fn is_iot3_lock(&self) -> bool {
        matches!(self.model.as_str(), "DX_LB2" | "DX_PVLOC")
    }

    /// How the lock API calls it.
    pub(super) fn uuid(&self) -> &str {
        self.mac.rsplit('.').next().unwrap_or(&self.mac)
    }

    /// Its row in the list; `unlocked` is of a lock.
    pub(super) fn row(&self, unlocked: bool) -> Value {
        let parent = self.parent.as_ref();
        json!({
            "mac": self.mac,
            "nickname": self.nickname,
            "product_type": self.product_type,
            "product_model": self.model,
            "product_model_logo_url": format!("https://wyze-device-alarm-file.invalid/{}.png", self.model),
            "firmware_ver": self.firmware,
            "hardware_ver": "0.0.0.0",
            "enr": self.enr.expose(),
            "parent_device_mac": parent.map_or("", |parent| parent.mac.as_str()),
            "parent_device_enr": parent.map_or("", |parent| parent.enr.expose()),
            "timezone_name": "America/Los_Angeles",
            "conn_state": u8::from(self.online),
            "conn_state_ts": 1_700_000_000_000_u64,
            "push_switch": 1,
            "binding_ts": 1_700_000_000_000_u64,
            "device_params": self.params(unlocked),
        })
    }

    fn params(&self, unlocked: bool) -> Value {
        if self.product_type == "Lock" {
            // As wyze-sdk reads them: 1 is unlocked, and 1 is shut.
            return json!({
                "switch_state": u8::from(unlocked),
                "switch_state_ts": 1_700_000_000_000_u64,
                "open_close_state": 1,
                "open_close_state_ts": 1_700_000_000_000_u64,
                "onoff_line": u8::from(self.online),
                "power": 87,
            });
        }
        if self.uid.is_empty() {
            // A device that never took a picture has a list here instead of an object.
            return json!({"ip": self.address, "status": "1", "ssid": "Home", "rssi": "-52", "camera_thumbnails": []});
        }
        json!({
            "p2p_id": self.uid,
            "p2p_type": 3,
            "ip": self.address,
            "dtls": 1,
            "main_device_dtls": u8::from(self.parent.is_some()),
            "ssid": "Home",
            "rssi": "-48",
            "status": "1",
            "power_switch": u8::from(self.powered),
            "camera_thumbnails": {
                "thumbnails_url": format!("https://wyze-device-alarm-file.invalid/{}.jpg", self.mac),
                "thumbnails_ts": 1_700_000_000_000_u64,
            },
        })
    }
}
