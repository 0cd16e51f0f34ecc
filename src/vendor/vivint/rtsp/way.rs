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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::Value;

    use super::*;
    use crate::secret::Password;
    use crate::vendor::vivint::devices::{Device, Place};

    const SD: Wish = Wish { quality: Quality::Sd, address: None };

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../../tests/vectors/vivint/vivint.json")).unwrap()
    }

    fn camera_of_the_vector(device: i64) -> Camera {
        let vectors = vectors();
        let listed = vectors["system"]["system"]["par"][0]["d"].as_array().unwrap();
        let record = listed.iter().find(|record| record["_id"] == device).unwrap();
        let place = Place { panel: 7_001_000_200_030_004, partition: 1, device };
        Device::read(place, record.as_object().unwrap()).camera().cloned().unwrap()
    }

    /// An address of the vector, and the login that it has in it.
    fn vector(name: &str) -> (String, String) {
        let url = vectors()["rtsp"][name].as_str().unwrap().to_owned();
        let (login, rest) = url.strip_prefix("rtsp://").unwrap().split_once('@').unwrap();
        (format!("rtsp://{rest}"), login.to_owned())
    }

    fn url(way: Way, camera: &Camera, wish: Wish) -> Option<String> {
        way.url(camera, wish).map(String::from)
    }

    #[test]
    fn the_addresses_are_those_of_the_vector_without_their_logins() {
        let (front, side) = (camera_of_the_vector(27), camera_of_the_vector(28));
        let (local, login) = vector("local_hd");
        assert_eq!(url(Way::Lan, &front, Wish::default()), Some(local));
        let lan = front.lan.as_ref().unwrap();
        assert_eq!(format!("{}:{}", lan.user, lan.password.expose()), login);
        assert_eq!(url(Way::Panel, &front, Wish::default()), Some(vector("panel_hd").0));
        assert_eq!(url(Way::External, &front, SD), Some(vector("external_sd").0));
        let panel = &vectors()["panel_login"];
        let login = format!("{}:{}", panel["n"].as_str().unwrap(), panel["pswd"].as_str().unwrap());
        assert_eq!((vector("panel_hd").1, vector("external_sd").1), (login.clone(), login));
        assert!(vectors()["rtsp"]["side_doorbell_local"].is_null());
        assert_eq!(url(Way::Lan, &side, Wish::default()), None);
        assert!(url(Way::Panel, &side, Wish::default()).is_some());
    }

    fn somewhere(hd: Option<&str>, sd: Option<&str>) -> Camera {
        let lan = Lan {
            host: Ipv4Addr::new(192, 0, 2, 27),
            port: 8_554,
            user: "viewer".into(),
            password: Password::new("p"),
            hd: hd.map(str::to_owned),
            sd: sd.map(str::to_owned),
        };
        Camera { lan: Some(lan), ..camera_of_the_vector(27) }
    }

    #[test]
    fn the_owner_may_say_where_the_camera_is_and_how_sharp() {
        let camera = somewhere(Some("live.sdp"), Some("/live2.sdp"));
        let at = |address: &str| Wish { address: Some(address.parse().unwrap()), ..Wish::default() };
        let lan = |camera: &Camera, wish| url(Way::Lan, camera, wish).unwrap();
        assert_eq!(lan(&camera, SD), "rtsp://192.0.2.27:8554/live2.sdp");
        assert_eq!(lan(&camera, at("198.51.100.7:554")), "rtsp://198.51.100.7:554/live.sdp");
        assert_eq!(lan(&camera, at("198.51.100.7:32761")), "rtsp://198.51.100.7:8554/live.sdp", "no port was typed");
        assert_eq!(lan(&camera, at("[2001:db8::7]:554")), "rtsp://[2001:db8::7]:554/live.sdp");
        assert_eq!(lan(&somewhere(Some("a"), None), SD), "rtsp://192.0.2.27:8554/a", "better than none");
        assert_eq!(lan(&somewhere(None, Some("b")), Wish::default()), "rtsp://192.0.2.27:8554/b");
        assert_eq!(url(Way::Lan, &somewhere(None, None), SD), None);
    }

    #[test]
    fn a_login_in_an_address_is_taken_out_and_another_protocol_is_no_way() {
        let mut camera = somewhere(None, None);
        camera.panel.hd = Some(Url::parse("rtsp://somebody:secret@192.0.2.10/a").unwrap());
        camera.external.hd = Some(Url::parse("https://relay.example.test/a").unwrap());
        assert_eq!(url(Way::Panel, &camera, Wish::default()).unwrap(), "rtsp://192.0.2.10/a");
        assert_eq!(url(Way::External, &camera, Wish::default()), None);
    }
}
