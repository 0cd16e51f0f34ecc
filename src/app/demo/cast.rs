//! The Wyze doorbells of the demo: what they are, and what their owner would say of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::gwell::Gwell;
use crate::media::{AudioCodec, AudioFormat};
use crate::model::DeviceId;
use crate::secret::Enr;
use crate::sim::fault::UnknownFault;
use crate::sim::gwell_camera;
use crate::sim::kvs_camera::{self, CameraCommand, RunningKvsCamera};
use crate::sim::tutk_camera::{self, Protocol, RunningCamera};
use crate::sim::wyze_cloud::{Device, GwellUser, Stream};

/// What a virtual doorbell tells, as a line of JSON.
pub(super) type News = (DeviceId, serde_json::Value);

/// How a doorbell is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    TutkOld,
    TutkNew,
    Webrtc,
    Gwell,
}

/// A virtual camera behind a doorbell's name.
pub(super) struct VirtualDoorbell {
    pub(super) id: DeviceId,
    /// As its account knows it.
    pub(super) mac: &'static str,
    name: &'static str,
    /// Whether its button is wired to an MQTT topic too.
    wired: bool,
    camera: Camera,
}

enum Camera {
    Tutk(RunningCamera),
    /// Called through the cloud.
    Called(Arc<RunningKvsCamera>),
    Gwell(Box<Gwell>),
}

impl VirtualDoorbell {
    /// The hardware ids stay the same from run to run, so that automations and bookmarks keep working.
    pub(super) async fn start(kind: Kind, stop: CancellationToken) -> io::Result<Self> {
        let (name, mac) = match kind {
            Kind::TutkOld => ("Front Door", "D03F27A1B2C3"),
            Kind::TutkNew => ("Garden Gate", "D03F27D4E5F6"),
            Kind::Webrtc => ("Side Entrance", "GW_BE1_D03F27778899"),
            Kind::Gwell => ("Back Porch", "GW_DBD_D03F27AABBCC"),
        };
        let camera = match kind {
            Kind::TutkOld | Kind::TutkNew => Camera::Tutk(tutk_camera::start(settings(kind, mac)?, stop).await?),
            Kind::Webrtc => Camera::Called(Arc::new(
                kvs_camera::start(kvs_camera::Settings { channel: mac.to_owned(), ..Default::default() }, stop).await?,
            )),
            Kind::Gwell => Camera::Gwell(Box::new(Gwell::start(mac, stop).await?)),
        };
        Ok(Self { id: DeviceId::from_hardware("wyze", mac), mac, name, wired: kind == Kind::TutkOld, camera })
    }

    /// Where its wired button says that it was pressed.
    pub(super) fn button_topic(&self) -> Option<String> {
        self.wired.then(|| format!("demo/{}/button", self.id))
    }

    /// Its row in the account's list.
    pub(super) fn device(&self) -> Device {
        let device = match &self.camera {
            Camera::Tutk(camera) => Device {
                address: camera.address.to_string(),
                uid: camera.settings.uid_text(),
                enr: Enr::new(camera.settings.enr.expose()),
                ..Device::generate(&camera.settings.model, self.name, 0)
            },
            Camera::Called(_) => Device::generate("GW_BE1", self.name, 0),
            Camera::Gwell(_) => Device::generate("GW_DBD", self.name, 0),
        };
        Device { mac: self.mac.to_owned(), ..device }
    }

    /// Where its pictures are signalled; none over the LAN. A fresh address each time.
    pub(super) fn streams(&self) -> Option<impl Fn() -> Stream + Send + Sync + use<>> {
        let Camera::Called(camera) = &self.camera else { return None };
        let camera = camera.clone();
        Some(move || {
            let viewer = format!("viewer-{:016x}", getrandom::u64().unwrap_or_default());
            Stream { signaling_url: camera.url_for(&viewer).expose().to_owned(), ice_servers: Vec::new() }
        })
    }

    /// What its owner has at GWell's servers, and the server that knows it.
    pub(super) fn gwell(&self) -> Option<(GwellUser, SocketAddr)> {
        let Camera::Gwell(gwell) = &self.camera else { return None };
        Some((gwell.user()?, gwell.server.address))
    }

    /// Its entry under `doorbells`; `lock` is the one of its door.
    pub(super) fn yaml(&self, lock: Option<&DeviceId>) -> String {
        let ring_topic = self.button_topic().map(|topic| format!(", ring_topic: {topic}")).unwrap_or_default();
        let unlock = lock.map(|lock| format!(", unlock: {lock}")).unwrap_or_default();
        // Its model is called by WebRTC first.
        let transport = if matches!(self.camera, Camera::Gwell(_)) { ", transport: gwell" } else { "" };
        format!("  - {{id: {}{ring_topic}{unlock}{transport}}}\n", self.id)
    }

    /// Passes on what the camera tells, until it stops or nobody listens.
    pub(super) fn tell(&self, news: mpsc::Sender<News>) {
        let id = self.id.clone();
        match &self.camera {
            Camera::Tutk(camera) => drop(tokio::spawn(super::console::tell(id, camera.events(), news))),
            Camera::Called(camera) => drop(tokio::spawn(super::console::tell(id, camera.events(), news))),
            Camera::Gwell(gwell) => drop(tokio::spawn(super::console::tell(id, gwell.camera.events(), news))),
        }
    }

    /// Carries out what was typed for the camera.
    ///
    /// # Errors
    /// With the commands there are.
    pub(super) async fn obey(&self, line: &str) -> Result<(), String> {
        match &self.camera {
            Camera::Tutk(camera) => camera.obey(tutk_camera::console::parse(line)?).await,
            Camera::Called(camera) => {
                let _stopped = camera.commands.send(CameraCommand::Fault(fault(line)?)).await;
            }
            Camera::Gwell(gwell) => gwell.camera.obey(gwell_camera::command::parse(line)?).await,
        }
        Ok(())
    }
}

/// The one command of a camera that is called.
fn fault(line: &str) -> Result<Option<kvs_camera::Fault>, String> {
    match line.split_once(' ') {
        Some(("fault", "none")) => Ok(None),
        Some(("fault", name)) => name.parse().map(Some).map_err(|error: UnknownFault| error.to_string()),
        _ => Err("commands: `ring`, `motion`, `fault NAME`, `fault none`, `quit`".to_owned()),
    }
}

fn settings(kind: Kind, mac: &str) -> io::Result<tutk_camera::Settings> {
    let mut settings = tutk_camera::Settings::generate(getrandom::u64().map_err(io::Error::other)?);
    mac.clone_into(&mut settings.mac);
    match kind {
        Kind::TutkOld => settings.protocol = Protocol::Old,
        // As second-generation doorbells do, it sends what no browser takes: Doorstep converts.
        _ => settings.audio = Some(AudioFormat { codec: AudioCodec::Pcm, rate_hz: 16_000, channels: 1 }),
    }
    Ok(settings)
}
