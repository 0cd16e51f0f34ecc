//! The doorbells of the demo.

use std::io;

use tokio_util::sync::CancellationToken;

use super::Kind;
use crate::media::{AudioCodec, AudioFormat};
use crate::model::DeviceId;
use crate::sim::tutk_camera::{self, Protocol, RunningCamera};

/// A virtual camera, and what its owner would say of it.
pub(super) struct VirtualDoorbell {
    pub(super) id: DeviceId,
    pub(super) camera: RunningCamera,
    name: &'static str,
}

impl VirtualDoorbell {
    pub(super) async fn start(kind: Kind, stop: CancellationToken) -> io::Result<Self> {
        let mut settings = tutk_camera::Settings::generate(getrandom::u64().map_err(io::Error::other)?);
        // The hardware ids stay the same from run to run, so that automations and bookmarks keep working.
        let (name, mac) = match kind {
            Kind::TutkOld => ("Front Door", "D03F27A1B2C3"),
            Kind::TutkNew => ("Garden Gate", "D03F27D4E5F6"),
        };
        settings.mac = mac.to_owned();
        match kind {
            Kind::TutkOld => settings.protocol = Protocol::Old,
            // As second-generation doorbells do, it sends what no browser takes: Doorstep converts.
            Kind::TutkNew => {
                settings.audio = Some(AudioFormat { codec: AudioCodec::Pcm, rate_hz: 16_000, channels: 1 });
            }
        }
        let camera = tutk_camera::start(settings, stop).await?;
        Ok(Self { id: DeviceId::from_hardware("wyze", mac), camera, name })
    }

    /// Where its wired button says that it was pressed.
    pub(super) fn button_topic(&self) -> String {
        format!("demo/{}/button", self.id)
    }

    pub(super) fn camera_yaml(&self) -> String {
        let settings = &self.camera.settings;
        format!(
            "      - {{name: {}, model: {}, mac: {}, uid: {}, enr: {}, address: \"{}\"}}\n",
            self.name,
            settings.model,
            settings.mac,
            settings.uid_text(),
            settings.enr.expose(),
            self.camera.address,
        )
    }

    pub(super) fn doorbell_yaml(&self) -> String {
        format!("  - {{id: {}, ring_topic: {}}}\n", self.id, self.button_topic())
    }
}
