//! The cameras of an account that take calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::doorbell::{self, Codec, Command, Doorbell};
use super::settings::Settings;
use super::world::Cloud;
use super::{Event, NotObeyed};

pub(super) struct Doorbells {
    /// By the device's id.
    each: BTreeMap<i64, Doorbell>,
}

impl Doorbells {
    /// Starts every camera that signalling knows.
    pub(super) fn start(settings: &Settings, cloud: &Arc<Cloud>, stop: &CancellationToken) -> Self {
        let cameras = settings.devices.iter().filter_map(|device| Some((device.id, device.camera()?)));
        let signalled = cameras.filter(|(_, camera)| camera.signalled);
        let each = signalled.map(|(id, camera)| {
            let settings = doorbell::Settings {
                uuid: camera.uuid.clone(),
                system: settings.panel,
                tree: cloud.tree.clone(),
                codec: if camera.is_pro() { Codec::Opus } else { Codec::Pcmu },
                relay: settings.relay.clone(),
                fault: None,
            };
            let running = doorbell::start(settings, stop.clone());
            cloud.report(running.events(), stop, move |event| Event::Call { device: id, event });
            (id, running)
        });
        Self { each: each.collect() }
    }

    /// Tells one of them, or all.
    ///
    /// # Errors
    /// When there is no such doorbell, or one has sixteen commands waiting.
    pub(super) fn obey(&self, device: Option<i64>, command: &Command) -> Result<(), NotObeyed> {
        if let Some(id) = device.filter(|id| !self.each.contains_key(id)) {
            return Err(NotObeyed::NoSuchDevice(id));
        }
        let wanted = self.each.iter().filter(|(id, _)| device.is_none_or(|device| device == **id));
        for (id, doorbell) in wanted {
            doorbell.commands.try_send(command.clone()).map_err(|_| NotObeyed::Busy(*id))?;
        }
        Ok(())
    }

    /// A device that may be none of them is cut off, or comes back.
    pub(super) fn reach(&self, device: i64, online: bool) -> Result<(), NotObeyed> {
        if !self.each.contains_key(&device) {
            return Ok(());
        }
        let fault = if online { None } else { Some(doorbell::Fault::NoAnswer) };
        self.obey(Some(device), &Command::Fault(fault))?;
        if online { Ok(()) } else { self.obey(Some(device), &Command::HangUp) }
    }

    pub(super) async fn stopped(self) {
        for doorbell in self.each.into_values() {
            doorbell.stopped().await;
        }
    }
}
