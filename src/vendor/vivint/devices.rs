//! What a system holds, as far as Doorstep has a use for it (vivint reference §3).

use std::net::Ipv4Addr;
use std::time::SystemTime;

use url::Url;

use crate::model::DeviceId;
use crate::secret::Password;

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
        DeviceId::from_hardware("vivint", &format!("{}_{}", self.panel, self.device))
    }
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
