//! The demo's Wyze account: a virtual cloud that lists the virtual doorbells, and a lock at the first one's door.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::cast::{Kind, News, VirtualDoorbell};
use crate::config::MqttUrl;
use crate::model::DeviceId;
use crate::mqtt::ButtonClient;
use crate::sim::wyze_cloud::{self, CloudCommand, CloudEvent, Device, RunningCloud, Scripted, Settings, Stream};

/// The same from run to run, as the doorbells' ids are.
const LOCK: &str = "YD.LO1.0123456789abcdef0123456789abcdef";

pub(super) struct Wyze {
    cast: Vec<VirtualDoorbell>,
    cloud: RunningCloud,
    button: Option<ButtonClient>,
}

impl Wyze {
    /// An account with doorbells of these kinds.
    pub(super) async fn start(kinds: &[Kind], stop: CancellationToken) -> io::Result<Self> {
        let mut cast = Vec::new();
        for kind in kinds {
            cast.push(VirtualDoorbell::start(*kind, stop.clone()).await?);
        }
        let mut settings = Settings::generate(getrandom::u64().map_err(io::Error::other)?);
        settings.devices = cast.iter().map(VirtualDoorbell::device).collect();
        settings.devices.push(Device { mac: LOCK.to_owned(), ..Device::generate("YD.LO1", "Front Door Lock", 0) });
        let streams: HashMap<&str, _> =
            cast.iter().filter_map(|doorbell| Some((doorbell.mac, doorbell.streams()?))).collect();
        settings.streams = Arc::new(move |device| -> Option<Stream> { streams.get(device).map(|stream| stream()) });
        let users: HashMap<&str, _> =
            cast.iter().filter_map(|doorbell| Some((doorbell.mac, doorbell.gwell()?.0))).collect();
        settings.gwell = Arc::new(move |device| users.get(device).cloned());
        let cloud = wyze_cloud::start(settings, stop).await?;
        Ok(Self { cast, cloud, button: None })
    }

    /// The broker through which the wired button is heard.
    pub(super) fn wire(&mut self, broker: &MqttUrl) {
        self.button = Some(ButtonClient::start(broker));
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &DeviceId> {
        self.cast.iter().map(|doorbell| &doorbell.id)
    }

    /// Its entries under `doorbells`. The lock is at the first one's door.
    pub(super) fn doorbells_yaml(&self) -> String {
        let lock = DeviceId::from_hardware("wyze", LOCK);
        let locks = std::iter::once(Some(&lock)).chain(std::iter::repeat(None));
        self.cast.iter().zip(locks).map(|(doorbell, lock)| doorbell.yaml(lock)).collect()
    }

    /// Its entry under `wyze`. Impatient, since nobody waits five seconds for a demo.
    pub(super) fn account_yaml(&self) -> String {
        let Settings { email, password, key_id, api_key, .. } = &self.cloud.settings;
        let url = self.cloud.url();
        let servers = self.cast.iter().filter_map(|doorbell| Some(format!("\"{}\"", doorbell.gwell()?.1)));
        let servers = servers.collect::<Vec<_>>().join(", ");
        format!(
            "  - {{email: {}, password: \"{}\", key_id: \"{}\", api_key: \"{}\", poll_s: 1, \
             endpoints: {{auth: \"{url}\", api: \"{url}\", core: \"{url}\", lock: \"{url}\", \
             mars: \"{url}\", device_management: \"{url}\"}}, gwell: {{servers: [{servers}], stagger_s: 0}}}}\n",
            email.expose(),
            password.expose(),
            key_id.expose(),
            api_key.expose(),
        )
    }

    /// Carries out what was typed for a doorbell, if it is one of these.
    ///
    /// # Errors
    /// With the commands there are.
    pub(super) async fn obey(&self, id: &DeviceId, line: &str) -> Result<(), String> {
        let Some(doorbell) = self.cast.iter().find(|doorbell| doorbell.id == *id) else { return Ok(()) };
        match line {
            "ring" => self.ring(doorbell),
            "motion" => self.happen(Scripted::motion(&[101]), doorbell),
            _ => match line.strip_prefix("cloud ") {
                Some(line) => return self.obey_cloud(line),
                None => return doorbell.obey(line).await,
            },
        }
        Ok(())
    }

    /// Carries out what was typed for the cloud itself.
    fn obey_cloud(&self, line: &str) -> Result<(), String> {
        match wyze_cloud::parse(line)? {
            Some(command) => self.cloud.obey(command).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    /// The cloud hears of every press, a while later; a wired button says so at once, as a relay beside a real
    /// chime would.
    fn ring(&self, doorbell: &VirtualDoorbell) {
        if let (Some(button), Some(topic)) = (&self.button, doorbell.button_topic()) {
            button.press(&topic, "ON");
        }
        self.happen(Scripted::ring(), doorbell);
    }

    fn happen(&self, what: Scripted, doorbell: &VirtualDoorbell) {
        // Every doorbell of the cast is on the account.
        let _known = self.cloud.obey(CloudCommand::Happen(what.at(doorbell.mac)));
    }

    /// Passes on what happens, but for the listings that are read every second.
    pub(super) fn tell(&self, news: mpsc::Sender<News>) {
        self.cast.iter().for_each(|doorbell| doorbell.tell(news.clone()));
        let mut events = self.cloud.events();
        let ids: HashMap<String, DeviceId> =
            self.cast.iter().map(|doorbell| (doorbell.mac.to_owned(), doorbell.id.clone())).collect();
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
