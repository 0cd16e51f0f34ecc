//! The devices of an account, out of the cloud's listing (wyze-cloud reference §3).
//!
//! Nobody has promised its form, so it is read with forgiveness: what is missing or of another type counts as not
//! said, and an entry that cannot be used at all is left out without harm to the others.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

use super::VENDOR;
use super::models::{Model, Way};
use crate::model::{DeviceId, Role};
use crate::proto::tutk::keys::Uid;
use crate::secret::Enr;

/// Where a TUTK camera listens, unless its address says otherwise.
const TUTK_PORT: u16 = 32_761;
/// More than any house has.
const MOST: usize = 512;
/// A longer name is cut, be it of a device, a model or a firmware.
const LONGEST_NAME: usize = 64;
/// A longer `mac` is none: it goes out again with every reading of the events.
const LONGEST_MAC: usize = 128;

/// One device as the cloud knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub(super) id: DeviceId,
    pub(super) hardware: HardwareId,
    pub(super) name: String,
    pub(super) model: String,
    pub(super) role: Role,
    pub(super) firmware: Option<String>,
    /// Whether it was connected to the cloud; `None` when the cloud did not say.
    pub(super) online: Option<bool>,
    /// Whether it hangs on a base station.
    pub(super) has_base: bool,
    /// What a TUTK session takes.
    pub(super) keys: Option<Keys>,
    /// On the LAN.
    pub(super) address: Option<SocketAddr>,
}

/// The `mac` of a listing: 12 hexadecimal digits of most devices, `GW_BE1_…` or `YD.LO1.…` of others. Not shown
/// in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct HardwareId(String);

/// A camera's TUTK identity and secret.
#[derive(Debug, Clone)]
pub struct Keys {
    pub(super) uid: Uid,
    pub(super) enr: Enr,
}

/// A listing that could be read.
#[derive(Debug)]
pub struct Listing {
    pub records: Vec<Record>,
    pub skipped: BTreeSet<Skipped>,
    /// Those of `skipped` that say at least who they are.
    garbled: BTreeSet<DeviceId>,
}

/// An entry that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Its place in the listing, counted from 1: what else it says may be a secret.
    pub(super) position: usize,
    pub(super) why: &'static str,
}

impl Listing {
    /// Reads the `data` of `get_object_list`. `None` when it is no listing, which an empty one is: an answer that
    /// cannot be understood must not look like an account without devices.
    pub fn read(data: &Value) -> Option<Self> {
        let entries = data.get("device_list")?.as_array()?;
        let mut listing = Self { records: Vec::new(), skipped: BTreeSet::new(), garbled: BTreeSet::new() };
        for (entry, position) in entries.iter().take(MOST).zip(1..) {
            if let Err(why) = listing.admit(entry) {
                listing.skipped.insert(Skipped { position, why });
            }
        }
        (entries.is_empty() || !listing.records.is_empty()).then_some(listing)
    }

    fn admit(&mut self, entry: &Value) -> Result<(), &'static str> {
        let entry = entry.as_object().ok_or("it is not an object")?;
        let mac = text(entry, "mac").filter(|mac| mac.len() <= LONGEST_MAC).ok_or("it has no `mac`")?;
        let id = DeviceId::from_hardware(VENDOR, mac);
        if self.records.iter().any(|known| known.id == id) {
            return Err("an entry before it has the same `mac`");
        }
        match text(entry, "product_model") {
            Some(model) => self.records.push(Record::read(entry, id, mac, model)),
            None => {
                self.garbled.insert(id);
                return Err("it has no `product_model`");
            }
        }
        Ok(())
    }

    /// The records, where what was known before stands for a device that says no more who it is: no doorbell turns
    /// into something else, but a cloud may garble its answer.
    pub fn steadied(self, known: &[Record]) -> Vec<Record> {
        let mut records = self.records;
        for before in known.iter().filter(|before| before.role != Role::Other) {
            match records.iter_mut().find(|record| record.id == before.id) {
                Some(record) if record.role == Role::Other => record.clone_from(before),
                None if self.garbled.contains(&before.id) => records.push(before.clone()),
                _ => {}
            }
        }
        records
    }
}

impl Record {
    fn read(entry: &Map<String, Value>, id: DeviceId, mac: &str, model: &str) -> Self {
        let nothing = Map::new();
        let params = entry.get("device_params").and_then(Value::as_object).unwrap_or(&nothing);
        let name = text(entry, "nickname").map_or_else(|| sold_as(model), str::to_owned);
        Self {
            id,
            hardware: HardwareId(mac.to_owned()),
            name: cut(&name),
            model: cut(model),
            role: role(model, text(entry, "product_type")),
            firmware: text(entry, "firmware_ver").map(cut),
            online: entry.get("conn_state").and_then(switch),
            has_base: text(entry, "parent_device_mac").is_some(),
            keys: Keys::read(entry, params),
            address: text(params, "ip").and_then(address),
        }
    }

    /// A row that is read as this record. Its secrets are in the clear, for the store.
    fn row(&self) -> Value {
        let keys = self.keys.as_ref();
        json!({
            "mac": self.hardware.0,
            "nickname": self.name,
            "product_model": self.model,
            "product_type": self.role,
            "firmware_ver": self.firmware,
            "parent_device_mac": self.has_base.then_some("base"),
            "enr": keys.map(|keys| keys.enr.expose()),
            "device_params": {
                "p2p_id": keys.map(|keys| String::from_utf8_lossy(keys.uid.as_bytes())),
                "ip": self.address,
            },
        })
    }

    /// The best known way to it.
    pub(super) fn way(&self) -> Way {
        match (Model::of(&self.model), self.role) {
            (Some(model), _) => model.way(self.firmware.as_deref()),
            (None, Role::Lock) => Way::Unknown,
            (None, Role::Other) => Way::Useless,
            (None, _) if self.has_base && self.address.is_none() => Way::TutkBaseStation,
            (None, _) if self.address.is_some() && self.keys.is_some() => Way::Tutk,
            // A camera without an address on the LAN is none of ThroughTek's (§3), and of GWell's own protocol
            // nobody has seen a doorbell's picture (§5).
            (None, _) => Way::CloudWebrtc,
        }
    }
}

impl Keys {
    fn read(entry: &Map<String, Value>, params: &Map<String, Value>) -> Option<Self> {
        let uid = Uid::parse(text(params, "p2p_id")?).ok()?;
        Some(Self { uid, enr: Enr::new(text(entry, "enr")?) })
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.uid == other.uid && self.enr.expose() == other.enr.expose()
    }
}

impl Eq for Keys {}

impl HardwareId {
    pub(super) fn new(mac: &str) -> Self {
        Self(mac.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HardwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HardwareId(***)")
    }
}

/// A listing of these devices, to keep over a restart: without what changes from one listing to the next.
pub fn listing_of(records: &[Record]) -> Value {
    json!({"device_list": records.iter().map(Record::row).collect::<Vec<_>>()})
}

/// Text with something in it.
fn text<'a>(from: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    from.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

fn cut(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

/// 0 or 1, as a number, as text, or as what JSON has for it.
fn switch(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(on) => Some(*on),
        Value::Number(number) => number.as_u64().map(|number| number == 1),
        Value::String(text) => text.parse::<u64>().ok().map(|number| number == 1),
        _ => None,
    }
}

/// Empty and `0.0.0.0` mean that there is none. A virtual cloud may name a port.
fn address(text: &str) -> Option<SocketAddr> {
    let address = text.parse::<SocketAddr>().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, TUTK_PORT)));
    address.ok().filter(|at| !at.ip().is_unspecified() && !at.ip().is_multicast() && at.port() != 0)
}

fn sold_as(model: &str) -> String {
    format!("Wyze {}", Model::of(model).map_or(model, |model| model.name))
}

/// The table knows best: doorbells are mostly listed as cameras.
fn role(model: &str, product_type: Option<&str>) -> Role {
    let listed_as = || match product_type.map(str::to_ascii_lowercase).as_deref() {
        Some("doorbell") => Role::Doorbell,
        Some("camera") => Role::Camera,
        Some("lock") => Role::Lock,
        _ => Role::Other,
    };
    Model::of(model).map_or_else(listed_as, |model| model.role)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_OF_EACH: &str = include_str!("../../../tests/recordings/wyze_device_list_one_of_each.json");
    const ODD: &str = include_str!("../../../tests/recordings/wyze_device_list_odd_types.json");

    fn data(recording: &str) -> Value {
        serde_json::from_str::<Value>(recording).unwrap()["data"].clone()
    }

    fn read(recording: &str) -> Listing {
        Listing::read(&data(recording)).unwrap()
    }

    fn record<'a>(listing: &'a Listing, model: &str) -> &'a Record {
        listing.records.iter().find(|record| record.model == model).unwrap_or_else(|| panic!("{model} is missing"))
    }

    #[test]
    fn every_model_of_the_table_is_read_as_what_it_is() {
        let listing = read(ONE_OF_EACH);
        assert_eq!(listing.skipped, BTreeSet::new());
        for (model, role, way) in [
            ("WYZEDB3", Role::Doorbell, Way::Tutk),
            ("HL_DB2", Role::Doorbell, Way::Tutk),
            ("GW_BE1", Role::Doorbell, Way::CloudWebrtc),
            ("AN_RDB1", Role::Doorbell, Way::CloudWebrtc),
            ("GW_DBD", Role::Doorbell, Way::CloudWebrtc),
            ("WVOD1", Role::Camera, Way::TutkBaseStation),
            ("HL_WCO2", Role::Camera, Way::TutkBaseStation),
            ("GW_GC1", Role::Camera, Way::CloudWebrtc),
            ("GW_GC2", Role::Camera, Way::CloudWebrtc),
            ("GW_DUO", Role::Camera, Way::CloudWebrtc),
            ("GW_WC", Role::Camera, Way::Gwell),
            ("LD_CFP", Role::Camera, Way::CloudWebrtc),
            ("HL_CAM4", Role::Camera, Way::CloudWebrtc),
            ("WYZE_CAKP2JFUS", Role::Camera, Way::Tutk),
            ("AN_RSCW", Role::Camera, Way::Unknown),
            ("YD.LO1", Role::Lock, Way::CloudLock),
            ("DX_LB2", Role::Lock, Way::CloudLock),
            ("YD_BT1", Role::Lock, Way::BluetoothLock),
            ("WYZE_CHIME", Role::Other, Way::Useless),
        ] {
            let record = record(&listing, model);
            assert_eq!((record.role, record.way()), (role, way), "{model}");
        }
    }

    #[test]
    fn a_camera_on_the_lan_has_its_keys_and_its_address() {
        let listing = read(ONE_OF_EACH);
        let doorbell = record(&listing, "HL_DB2");
        assert_eq!(doorbell.id.as_str(), "wyze_80482c000002");
        assert_eq!(doorbell.name, "Front Door");
        assert_eq!(doorbell.firmware.as_deref(), Some("4.51.2.1033"));
        assert_eq!(doorbell.address, Some(([192, 168, 1, 20], 32_761).into()));
        let keys = doorbell.keys.as_ref().unwrap();
        assert_eq!((keys.uid.as_bytes(), keys.enr.expose()), (b"HSBJYB5HSETGCDWD111A", "aKzdqckqZ8HUHFe5"));
        assert_eq!(doorbell.online, Some(true));
        let pro = record(&listing, "GW_BE1");
        assert_eq!((pro.address, pro.online), (None, Some(false)));
    }

    #[test]
    fn wrong_types_and_missing_fields_cost_no_other_device() {
        let listing = read(ODD);
        let names: Vec<&str> = listing.records.iter().map(|record| record.name.as_str()).collect();
        assert_eq!(names, ["Wyze Video Doorbell v2", "Garden", "Porch", "Wyze HL_NEW9", "Hall"]);
        let skipped: Vec<_> = listing.skipped.iter().map(|skipped| (skipped.position, skipped.why)).collect();
        let expected = [
            (2, "it has no `mac`"),
            (3, "it has no `product_model`"),
            (4, "it is not an object"),
            (6, "it has no `mac`"),
            (8, "an entry before it has the same `mac`"),
        ];
        assert_eq!(skipped, expected);
        let [bare, garden, porch, new, hall] = listing.records.as_slice() else { panic!("five were read") };
        assert_eq!((bare.role, bare.online, bare.address), (Role::Doorbell, None, None));
        assert!(bare.keys.is_none());
        assert_eq!((garden.online, garden.address), (Some(true), None), "0.0.0.0 is no address");
        assert_eq!(porch.address, Some(([127, 0, 0, 1], 40_123).into()), "a port of its own is taken");
        assert_eq!((new.role, new.way()), (Role::Doorbell, Way::CloudWebrtc), "unknown, without an address");
        assert_eq!((hall.role, hall.way()), (Role::Camera, Way::Tutk), "unknown, with an address and keys");
    }

    #[test]
    fn what_is_no_listing_is_not_an_account_without_devices() {
        for nonsense in [
            json!({}),
            json!(null),
            json!([]),
            json!({"device_list": null}),
            json!({"device_list": {}}),
            json!({"device_list": "<html>"}),
            json!({"device_list": [1, null, "x"]}),
        ] {
            assert!(Listing::read(&nonsense).is_none(), "{nonsense} was taken for a listing");
        }
        assert!(Listing::read(&json!({"device_list": []})).unwrap().records.is_empty());
    }

    #[test]
    fn an_endless_listing_ends() {
        let entries: Vec<Value> = (0..2_000).map(|n| json!({"mac": format!("M{n}"), "product_model": "X"})).collect();
        assert_eq!(Listing::read(&json!({"device_list": entries})).unwrap().records.len(), MOST);
    }

    #[test]
    fn what_is_kept_reads_the_same() {
        for recording in [ONE_OF_EACH, ODD] {
            let mut records = read(recording).records;
            let kept = listing_of(&records);
            records.iter_mut().for_each(|record| record.online = None);
            assert_eq!(Listing::read(&kept).unwrap().records, records);
        }
    }

    #[test]
    fn a_device_that_the_cloud_garbles_stays_what_it_was() {
        let known = read(ONE_OF_EACH).records;
        let mut garbled = data(ONE_OF_EACH);
        let entries = garbled["device_list"].as_array_mut().unwrap();
        for (n, entry) in entries.iter_mut().enumerate() {
            match n % 3 {
                0 => entry["product_model"] = json!(7),
                1 => (entry["product_model"], entry["product_type"]) = (json!("ZZ_9"), json!("Hologram")),
                _ => {}
            }
        }
        let mut steadied = Listing::read(&garbled).unwrap().steadied(&known);
        steadied.sort_by(|a, b| a.hardware.0.cmp(&b.hardware.0));
        let mut expected = known.clone();
        // The chime, of no use to anybody, is gone or unknown.
        expected.retain(|record| record.role != Role::Other);
        steadied.retain(|record| record.role != Role::Other);
        expected.sort_by(|a, b| a.hardware.0.cmp(&b.hardware.0));
        assert_eq!(steadied, expected);
        // And one that is gone is gone.
        let without = json!({"device_list": [data(ONE_OF_EACH)["device_list"][1]]});
        assert_eq!(Listing::read(&without).unwrap().steadied(&known), known[1..2]);
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", read(ONE_OF_EACH));
        for secret in ["80482C000002", "HSBJYB5HSETGCDWD111A", "aKzdqckqZ8HUHFe5"] {
            assert!(!shown.contains(secret), "{secret} is shown");
        }
    }
}
