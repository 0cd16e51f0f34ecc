//! What is known of Wyze's models: their names, what they are, and the way that leads to them.
//!
//! The way is the best evidence there is (wyze-cloud reference §5; docs/protocol/tutk.md says how sure), and
//! firmware has changed it before: the owner may wish otherwise, and a way that fails again and again gives way
//! to another ([`super::route`]).

use std::fmt::Write;

use crate::model::Role;

/// How a model is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// ThroughTek's protocol over the LAN.
    Tutk,
    /// The same, through a base station that holds the connection.
    TutkBaseStation,
    /// WebRTC, arranged by Wyze's cloud.
    CloudWebrtc,
    /// GWell's peer-to-peer protocol.
    Gwell,
    /// None that any client knows.
    Unknown,
    /// A lock that Wyze's cloud works ([`super::lock`] knows how).
    CloudLock,
    /// A lock that nothing but a phone beside it can work.
    BluetoothLock,
    /// No camera and no lock: Doorstep has no use for it.
    Useless,
}

/// One model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// As the cloud lists it.
    pub code: &'static str,
    /// As the shop sells it.
    pub name: &'static str,
    pub role: Role,
    way: Way,
    /// From this firmware on it speaks WebRTC only.
    webrtc_since: Option<&'static str>,
}

const fn doorbell(code: &'static str, name: &'static str, way: Way) -> Model {
    Model { code, name, way, role: Role::Doorbell, webrtc_since: None }
}

const fn camera(code: &'static str, name: &'static str, way: Way) -> Model {
    Model { code, name, way, role: Role::Camera, webrtc_since: None }
}

const fn lock(code: &'static str, name: &'static str, way: Way) -> Model {
    Model { code, name, way, role: Role::Lock, webrtc_since: None }
}

pub const MODELS: &[Model] = &[
    doorbell("WYZEDB3", "Video Doorbell", Way::Tutk),
    doorbell("HL_DB2", "Video Doorbell v2", Way::Tutk),
    doorbell("GW_BE1", "Video Doorbell Pro", Way::CloudWebrtc),
    doorbell("AN_RDB1", "Video Doorbell Pro 2", Way::CloudWebrtc),
    doorbell("GW_DBD", "Doorbell Duo", Way::CloudWebrtc),
    camera("WYZEC1-JZ", "Cam v2", Way::Tutk),
    camera("WYZE_CAKP2JFUS", "Cam v3", Way::Tutk),
    camera("HL_CAM3P", "Cam v3 Pro", Way::Tutk),
    Model { webrtc_since: Some("4.52"), ..camera("HL_CAM4", "Cam v4", Way::Tutk) },
    camera("HL_PANP", "Cam Pan Pro", Way::Tutk),
    camera("HL_CFL2", "Cam Floodlight v2", Way::Tutk),
    camera("WVOD1", "Cam Outdoor", Way::TutkBaseStation),
    camera("HL_WCO2", "Cam Outdoor v2", Way::TutkBaseStation),
    camera("LD_CFP", "Floodlight Pro", Way::CloudWebrtc),
    camera("GW_DUO", "Duo Cam Pan", Way::CloudWebrtc),
    // Both speak GWell's protocol as well; WebRTC is what other clients have settled on.
    camera("GW_GC1", "Cam OG", Way::CloudWebrtc),
    camera("GW_GC2", "Cam OG Telephoto", Way::CloudWebrtc),
    camera("GW_WC", "Window Cam", Way::Gwell),
    camera("AN_RSCW", "Battery Cam Pro", Way::Unknown),
    lock("YD.LO1", "Lock", Way::CloudLock),
    lock("DX_LB2", "Lock Bolt v2", Way::CloudLock),
    lock("DX_PVLOC", "Palm Lock", Way::CloudLock),
    lock("YD_BT1", "Lock Bolt", Way::BluetoothLock),
];

impl Model {
    /// The entry for a model code.
    pub fn of(code: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.code == code)
    }

    /// The way to one with this firmware (`4.52.9.1234`).
    pub fn way(&self, firmware: Option<&str>) -> Way {
        match (self.webrtc_since, firmware) {
            (Some(since), Some(firmware)) if version(firmware) >= version(since) => Way::CloudWebrtc,
            _ => self.way,
        }
    }
}

/// Whether this is the id or the model of a device that GWell made, which speaks GWell's protocol beside whatever else
/// (gwell reference §3.1).
pub fn is_gwell(id: &str) -> bool {
    id.starts_with("GW_")
}

/// Whether a GWell camera sleeps, and must be woken through the cloud before it takes a call (gwell reference §4.6).
/// Of `GW_DBD` it is a guess; one that is awake takes no harm.
pub fn sleeps(model: &str) -> bool {
    matches!(model, "GW_BE1" | "GW_BE2" | "GW_DBD")
}

/// Whether one may live on a battery, which every look at its camera drains. So may a model of which that is not known.
pub fn may_be_on_battery(model: &str) -> bool {
    let known_to_be = matches!(model, "AN_RDB1" | "AN_RSCW" | "WVOD1" | "HL_WCO2");
    known_to_be || sleeps(model) || Model::of(model).is_none()
}

/// The leading numbers of a version, for comparison.
fn version(text: &str) -> Vec<u32> {
    text.split('.').map_while(|part| part.parse().ok()).collect()
}

impl Way {
    /// Why this version cannot take it, in a sentence for the owner.
    pub fn obstacle(self) -> Option<&'static str> {
        match self {
            Self::Tutk | Self::CloudWebrtc | Self::Gwell | Self::CloudLock => None,
            Self::TutkBaseStation => Some("It is reached through a base station, which this version cannot do yet."),
            Self::Unknown => Some("No way to it is known."),
            Self::BluetoothLock => Some("It is worked over Bluetooth from beside it, and not through Wyze's cloud."),
            Self::Useless => Some("It is neither a doorbell nor a camera nor a lock."),
        }
    }

    /// How [`crate::model::Found`] names it.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Tutk | Self::TutkBaseStation => Some("tutk"),
            Self::CloudWebrtc => Some("webrtc"),
            Self::Gwell => Some("gwell"),
            Self::CloudLock => Some("cloud"),
            Self::Unknown | Self::BluetoothLock | Self::Useless => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Tutk => "TUTK, LAN",
            Self::TutkBaseStation => "TUTK, base station",
            Self::CloudWebrtc => "WebRTC, cloud",
            Self::Gwell => "GWell",
            Self::CloudLock => "cloud",
            Self::BluetoothLock => "Bluetooth",
            Self::Unknown | Self::Useless => "–",
        }
    }

    /// What to expect of pictures and sound, of talking, and of the lock.
    fn outlook(self) -> [&'static str; 3] {
        match self {
            Self::Tutk => ["expected", "expected", "–"],
            Self::CloudWebrtc => ["expected", "experimental", "–"],
            // Why there is no talk: `gwell::talk`.
            Self::Gwell => ["expected", "–", "–"],
            Self::TutkBaseStation | Self::Unknown => ["not yet", "not yet", "–"],
            Self::CloudLock => ["–", "–", "expected"],
            Self::BluetoothLock => ["–", "–", "no"],
            Self::Useless => ["–", "–", "–"],
        }
    }
}

/// Wyze's rows of the README's table, in Markdown.
pub fn support_rows() -> String {
    let mut rows = String::new();
    for Model { code, name, role, way, webrtc_since } in MODELS {
        let [media, talk, lock] = way.outlook();
        let ring = if *role == Role::Doorbell { "account, wired button" } else { "–" };
        let later = match webrtc_since {
            Some(since) => format!("; WebRTC from firmware {since} on"),
            None if *way == Way::CloudWebrtc && is_gwell(code) => "; GWell when that fails".to_owned(),
            None => String::new(),
        };
        let way = way.words();
        let _infallible =
            writeln!(rows, "| `{code}` | Wyze {name} | {way}{later} | {media} | {talk} | {ring} | {lock} |");
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::lock::Interface;
    use super::*;

    #[test]
    fn firmware_moves_a_model_to_another_way() {
        let cam_v4 = Model::of("HL_CAM4").unwrap();
        for (firmware, way) in [
            (None, Way::Tutk),
            (Some("4.51.9.9999"), Way::Tutk),
            (Some("4.9.1"), Way::Tutk),
            (Some("4.52"), Way::CloudWebrtc),
            (Some("4.52.9.1234"), Way::CloudWebrtc),
            (Some("5.0"), Way::CloudWebrtc),
            (Some("nonsense"), Way::Tutk),
        ] {
            assert_eq!(cam_v4.way(firmware), way, "{firmware:?}");
        }
        assert_eq!(Model::of("HL_DB2").unwrap().way(Some("4.52.1")), Way::Tutk);
    }

    #[test]
    fn no_model_stands_in_the_table_twice() {
        let mut codes: Vec<&str> = MODELS.iter().map(|model| model.code).collect();
        codes.sort_unstable();
        let all = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn a_lock_that_the_cloud_works_has_an_interface() {
        for model in MODELS.iter().filter(|model| model.role == Role::Lock) {
            let works = matches!(Interface::of(model.code), Some(Ok(_)));
            assert_eq!(works, model.way(None) == Way::CloudLock, "{}", model.code);
        }
    }

    #[test]
    fn every_obstacle_is_a_sentence() {
        for model in MODELS {
            if let Some(why) = model.way.obstacle() {
                assert!(why.starts_with(char::is_uppercase) && why.ends_with('.'), "{}: {why}", model.code);
            }
        }
    }
}
