//! The demo's Vivint account: a doorbell, the lock of its door and a garage door.

use std::io;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::cast::News;
use crate::model::DeviceId;
use crate::sim::vivint::{self, Event, Kind, RunningVivint, SecondFactor, Settings};

/// The same from run to run, so that automations and bookmarks keep working.
const PANEL: i64 = 7_001_000_200_030_004;

pub(super) struct Vivint {
    house: RunningVivint,
    doorbell: DeviceId,
    lock: DeviceId,
    garage: DeviceId,
}

impl Vivint {
    pub(super) async fn start(stop: CancellationToken) -> io::Result<Self> {
        let seed = getrandom::u64().map_err(io::Error::other)?;
        let mut settings = Settings::generate(seed);
        settings.panel = PANEL;
        // Nobody wants to be asked for a code by a demo.
        settings.second_factor = SecondFactor::totp(seed);
        // One doorbell shows all there is; the older one has no speaker.
        settings.devices.retain(|device| device.camera().is_none_or(|camera| camera.speaks));
        // By the garage door; the demo has a front door already.
        for device in settings.devices.iter_mut().filter(|device| device.camera().is_some()) {
            "Driveway".clone_into(&mut device.name);
        }
        let first = |is_it: fn(&Kind) -> bool| {
            let found = settings.devices.iter().find(|device| is_it(&device.kind));
            found.map(|device| id(device.id)).ok_or_else(|| io::Error::other("the virtual account lacks a device"))
        };
        let doorbell = first(|kind| matches!(kind, Kind::Camera(_)))?;
        let lock = first(|kind| matches!(kind, Kind::Lock { .. }))?;
        let garage = first(|kind| matches!(kind, Kind::Garage { .. }))?;
        Ok(Self { house: vivint::start(settings, stop).await?, doorbell, lock, garage })
    }

    pub(super) fn id(&self) -> &DeviceId {
        &self.doorbell
    }

    /// Its entry under `vivint`.
    pub(super) fn account_yaml(&self) -> String {
        let Settings { username, password, second_factor, firebase_api_key, pubnub_key, .. } = &self.house.settings;
        let totp = match second_factor {
            SecondFactor::Totp(secret) => format!("totp_secret: \"{}\", ", secret.expose()),
            _ => String::new(),
        };
        let url = self.house.url();
        format!(
            "  - {{username: {}, password: \"{}\", {totp}firebase_api_key: \"{}\", endpoints: {{identity: \"{url}\", \
             api: \"{url}\", pubnub: \"{url}\", pubnub_key: {pubnub_key}, exchange: \"{url}\", \
             identity_toolkit: \"{url}\", secure_token: \"{url}\", ice_servers: []}}}}\n",
            username.expose(),
            password.expose(),
            firebase_api_key.expose(),
        )
    }

    /// Its entry under `doorbells`.
    pub(super) fn doorbell_yaml(&self) -> String {
        format!("  - {{id: {}, unlock: {}, garage: {}}}\n", self.doorbell, self.lock, self.garage)
    }

    /// Carries out what was typed for it.
    ///
    /// # Errors
    /// With the commands there are.
    pub(super) fn obey(&self, line: &str) -> Result<(), String> {
        match vivint::parse(line)? {
            Some(command) => self.house.obey(command).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    /// Passes on what happens.
    pub(super) fn tell(&self, news: mpsc::Sender<News>) {
        let mut events = self.house.events();
        let doorbell = self.doorbell.clone();
        tokio::spawn(async move {
            while let Ok(event) = super::console::next(&mut events).await {
                let line = serde_json::to_value::<Event>(event).unwrap_or_default();
                let device = line["device"].as_i64();
                let id = device.map_or_else(|| doorbell.clone(), id);
                if news.send((id, line)).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn id(device: i64) -> DeviceId {
    DeviceId::from_hardware("vivint", &format!("{PANEL}_{device}"))
}
