//! What is known of Wyze's models: their names, and the way that leads to their pictures.
//!
//! The way is the best evidence there is (docs/protocol/tutk.md says how sure), and firmware has changed it
//! before; a model that is not listed is tried as a TUTK camera.

use std::fmt::Write;

/// How a model's pictures are reached.
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
}

/// One model of camera or doorbell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// As the cloud lists it.
    pub code: &'static str,
    /// As the shop sells it.
    pub name: &'static str,
    pub way: Way,
    pub doorbell: bool,
}

const fn doorbell(code: &'static str, name: &'static str, way: Way) -> Model {
    Model { code, name, way, doorbell: true }
}

const fn camera(code: &'static str, name: &'static str, way: Way) -> Model {
    Model { code, name, way, doorbell: false }
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
    camera("HL_CAM4", "Cam v4", Way::Tutk),
    camera("HL_PANP", "Cam Pan Pro", Way::Tutk),
    camera("HL_CFL2", "Cam Floodlight v2", Way::Tutk),
    camera("WVOD1", "Cam Outdoor", Way::TutkBaseStation),
    camera("HL_WCO2", "Cam Outdoor v2", Way::TutkBaseStation),
    camera("LD_CFP", "Floodlight Pro", Way::CloudWebrtc),
    camera("GW_DUO", "Duo Cam Pan", Way::CloudWebrtc),
    camera("GW_GC1", "Cam OG", Way::Gwell),
    camera("GW_GC2", "Cam OG Telephoto", Way::Gwell),
    camera("GW_WC", "Window Cam", Way::Gwell),
];

impl Model {
    /// The entry for a model code.
    pub fn of(code: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.code == code)
    }
}

impl Way {
    /// Why this version cannot take it, in a sentence for the owner.
    pub fn obstacle(self) -> Option<&'static str> {
        match self {
            Self::Tutk => None,
            Self::TutkBaseStation => Some("it is reached through a base station, which this version cannot do yet"),
            Self::CloudWebrtc => Some("its pictures come through Wyze's cloud, which this version cannot do yet"),
            Self::Gwell => Some("it speaks the GWell protocol, which this version cannot do yet"),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Tutk => "TUTK, LAN",
            Self::TutkBaseStation => "TUTK, base station",
            Self::CloudWebrtc => "WebRTC, cloud",
            Self::Gwell => "GWell",
        }
    }
}

/// The table of the README, in Markdown.
pub fn support_table() -> String {
    let mut table =
        "| model | sold as | reached by | picture, sound | talk | ring |\n|---|---|---|---|---|---|\n".to_owned();
    for Model { code, name, way, doorbell } in MODELS {
        let (media, ring) = match (way.obstacle(), doorbell) {
            (None, true) => ("expected", "wired button"),
            (None, false) => ("expected", "–"),
            (Some(_), _) => ("not yet", "–"),
        };
        let _infallible = writeln!(table, "| `{code}` | Wyze {name} | {} | {media} | {media} | {ring} |", way.words());
    }
    table
}
