//! The RTSP servers of the cameras: their own, and where the panel passes their pictures on (§3.4).

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Event;
use super::devices::{Camera, Kind};
use super::settings::{PanelLogin, Settings};
use super::world::Cloud;
use crate::media::AudioFormat;
use crate::secret::Password;
use crate::sim::rtsp::{self, RtspCommand, RunningRtsp};

/// Where pictures are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// At the camera.
    Lan,
    /// At the panel, with its login. The virtual relay outside is the same server.
    Panel,
}

pub(super) struct Pictures {
    servers: Vec<Server>,
}

struct Server {
    device: i64,
    place: Place,
    running: RunningRtsp,
}

impl Pictures {
    /// Starts each camera's servers, and writes into the settings where they listen.
    pub(super) async fn start(settings: &mut Settings, stop: &CancellationToken) -> io::Result<Self> {
        let mut servers = Vec::new();
        let panel_login = settings.panel_login.clone();
        for device in &mut settings.devices {
            let Kind::Camera(camera) = &mut device.kind else { continue };
            let own = PanelLogin { user: camera.user.clone(), password: camera.password.clone() };
            let (paths, relayed) = (camera.paths(device.id), Camera::relayed_paths(device.id));
            let audio = if camera.is_pro() { AudioFormat::OPUS } else { AudioFormat::PCMU };
            let places = [
                (Place::Lan, &mut camera.lan, own, paths),
                (Place::Panel, &mut camera.panel, panel_login.clone(), relayed),
            ];
            for (place, address, login, paths) in places {
                let Some(address) = address else { continue };
                let running = rtsp::start(server(*address, login, paths, audio), stop.clone()).await?;
                address.set_port(running.address.port());
                servers.push(Server { device: device.id, place, running });
            }
        }
        Ok(Self { servers })
    }

    /// Passes on what happens at the servers, until `stop`.
    pub(super) fn report(&self, cloud: &Arc<Cloud>, stop: &CancellationToken) {
        for server in &self.servers {
            let (device, place) = (server.device, server.place);
            cloud.report(server.running.events(), stop, move |event| Event::Pictures { device, place, event });
        }
    }

    /// Tells the servers of one camera, or of all; a device that has none is no mistake.
    pub(super) fn obey(&self, device: Option<i64>, command: &RtspCommand) {
        let wanted = self.servers.iter().filter(|server| device.is_none_or(|device| server.device == device));
        wanted.for_each(|server| server.running.obey(command.clone()));
    }

    /// The panel's login is another one.
    pub(super) fn rotate(&self, password: &Password) {
        let panel = self.servers.iter().filter(|server| server.place == Place::Panel);
        panel.for_each(|server| server.running.obey(RtspCommand::Password(password.clone())));
    }

    pub(super) async fn stopped(self) {
        for server in self.servers {
            server.running.stopped().await;
        }
    }
}

fn server(address: SocketAddrV4, login: PanelLogin, paths: [String; 2], audio: AudioFormat) -> rtsp::Settings {
    rtsp::Settings {
        listen: SocketAddr::V4(address),
        user: login.user,
        password: login.password,
        paths: paths.into(),
        audio: Some(audio),
        ..rtsp::Settings::default()
    }
}
