//! The ways to a camera's picture, and their addresses (vivint reference §3.4).

use std::net::SocketAddr;
use std::time::Duration;

use url::Url;

use crate::config::Quality;
use crate::vendor::vivint::devices::{Camera, Lan, Relayed};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// The camera itself.
    Lan,
    /// Through the panel in the house.
    Panel,
    /// Through Vivint's relay in the internet.
    External,
}

/// What the owner wants otherwise for one camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    pub quality: Quality,
    /// Where the camera is on the LAN, in place of where its account says that it is.
    pub address: Option<SocketAddr>,
}

/// What the configuration puts behind an address without a port: that of Wyze's cameras.
const NO_PORT: u16 = 32_761;

impl Way {
    /// Best first.
    pub const ALL: [Self; 3] = [Self::Lan, Self::Panel, Self::External];

    /// In states and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lan => "rtsp_lan",
            Self::Panel => "rtsp_panel",
            Self::External => "rtsp_external",
        }
    }

    /// In sentences.
    pub(in crate::vendor::vivint) fn words(self) -> &'static str {
        match self {
            Self::Lan => "on the LAN",
            Self::Panel => "through the panel",
            Self::External => "through Vivint's relay",
        }
    }

    /// From the connection to the consent to play. A machine that is not there at all takes all of it.
    pub(in crate::vendor::vivint) fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::Lan => 4,
            // It asks the camera first.
            Self::Panel => 8,
            Self::External => 12,
        })
    }

    /// Where the picture is, without a login; `None` where this camera does not have this way.
    pub fn url(self, camera: &Camera, wish: Wish) -> Option<Url> {
        let url = match self {
            Self::Lan => lan_url(camera.lan.as_ref()?, wish)?,
            Self::Panel => relayed_url(&camera.panel, wish)?,
            Self::External => relayed_url(&camera.external, wish)?,
        };
        without_login(url)
    }
}

fn lan_url(lan: &Lan, wish: Wish) -> Option<Url> {
    let path = of_quality(lan.hd.as_ref(), lan.sd.as_ref(), wish.quality)?;
    let (host, port) = match wish.address {
        Some(address) if address.port() != NO_PORT => (address.ip(), address.port()),
        Some(address) => (address.ip(), lan.port),
        None => (lan.host.into(), lan.port),
    };
    Url::parse(&format!("rtsp://{}/{}", SocketAddr::new(host, port), path.trim_start_matches('/'))).ok()
}

fn relayed_url(relayed: &Relayed, wish: Wish) -> Option<Url> {
    of_quality(relayed.hd.as_ref(), relayed.sd.as_ref(), wish.quality).cloned()
}

/// The other one where there is only that.
fn of_quality<T>(hd: Option<T>, sd: Option<T>, quality: Quality) -> Option<T> {
    match quality {
        Quality::Hd => hd.or(sd),
        Quality::Sd => sd.or(hd),
    }
}

/// An address is shown in logs, and a login in it would be.
fn without_login(mut url: Url) -> Option<Url> {
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    (url.scheme() == "rtsp").then_some(url)
}
