//! The demo's Wyze account: a virtual cloud that lists the virtual doorbells, and a lock at the first one's door.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::cast::{News, VirtualDoorbell};
use crate::model::DeviceId;
use crate::sim::wyze_cloud::{self, CloudCommand, CloudEvent, Device, RunningCloud, Scripted, Settings, Stream};

/// The same from run to run, as the doorbells' ids are.
const LOCK: &str = "YD.LO1.0123456789abcdef0123456789abcdef";

pub(super) struct Account {
    cloud: RunningCloud,
    /// Of each doorbell, by what the account calls it.
    ids: HashMap<String, DeviceId>,
}

impl Account {
    pub(super) async fn start(cast: &[VirtualDoorbell], stop: CancellationToken) -> io::Result<Self> {
        let mut settings = Settings::generate(getrandom::u64().map_err(io::Error::other)?);
        settings.devices = cast.iter().map(VirtualDoorbell::device).collect();
        settings.devices.push(Device { mac: LOCK.to_owned(), ..Device::generate("YD.LO1", "Front Door Lock", 0) });
        let streams: HashMap<&str, _> =
            cast.iter().filter_map(|doorbell| Some((doorbell.mac, doorbell.streams()?))).collect();
        settings.streams = Arc::new(move |device| -> Option<Stream> { streams.get(device).map(|stream| stream()) });
        let cloud = wyze_cloud::start(settings, stop).await?;
        let ids = cast.iter().map(|doorbell| (doorbell.mac.to_owned(), doorbell.id.clone())).collect();
        Ok(Self { cloud, ids })
    }

    pub(super) fn lock() -> DeviceId {
        DeviceId::from_hardware("wyze", LOCK)
    }

    /// Its entry under `wyze`. Impatient, since nobody waits five seconds for a demo.
    pub(super) fn yaml(&self) -> String {
        let Settings { email, password, key_id, api_key, .. } = &self.cloud.settings;
        let url = self.cloud.url();
        format!(
            "  - {{email: {}, password: \"{}\", key_id: \"{}\", api_key: \"{}\", poll_s: 1, \
             endpoints: {{auth: \"{url}\", api: \"{url}\", core: \"{url}\", lock: \"{url}\"}}}}\n",
            email.expose(),
            password.expose(),
            key_id.expose(),
            api_key.expose(),
        )
    }

    /// Presses a doorbell's button.
    pub(super) fn ring(&self, doorbell: &VirtualDoorbell) {
        self.happen(Scripted::ring(), doorbell);
    }

    /// Somebody walks up to a doorbell.
    pub(super) fn motion(&self, doorbell: &VirtualDoorbell) {
        self.happen(Scripted::motion(&[101]), doorbell);
    }

    fn happen(&self, what: Scripted, doorbell: &VirtualDoorbell) {
        // Every doorbell of the cast is on the account.
        let _known = self.cloud.obey(CloudCommand::Happen(what.at(doorbell.mac)));
    }

    /// Passes on what happens, but for the listings that are read every second.
    pub(super) fn tell(&self, news: mpsc::Sender<News>) {
        let mut events = self.cloud.events();
        let ids = self.ids.clone();
        tokio::spawn(async move {
            while let Ok(event) = super::console::next(&mut events).await {
                if matches!(event, CloudEvent::Events { .. } | CloudEvent::List { .. }) {
                    continue;
                }
                let line = serde_json::to_value(&event).unwrap_or_default();
                let device = line["device"].as_str().unwrap_or_default();
                let id = ids.get(device).cloned().unwrap_or_else(|| DeviceId::from_hardware("wyze", device));
                if news.send((id, line)).await.is_err() {
                    return;
                }
            }
        });
    }
}
