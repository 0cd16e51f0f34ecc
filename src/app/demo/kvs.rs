//! The demo's AWS account: a virtual Amazon, and a doorbell that opens its door by itself.

use std::io;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::cast::News;
use crate::model::DeviceId;
use crate::sim::aws::{AccessKey, ChannelSettings, RunningAws};
use crate::sim::kvs_doorbell::RunningKvsDoorbell;
use crate::sim::{aws, kvs_doorbell};

/// The same from run to run, so that automations and bookmarks keep working.
const CHANNEL: &str = "courtyard";

pub(super) struct Kvs {
    cloud: RunningAws,
    doorbell: RunningKvsDoorbell,
    id: DeviceId,
}

impl Kvs {
    pub(super) async fn start(stop: CancellationToken) -> io::Result<Self> {
        let mut settings = aws::Settings::generate(getrandom::u64().map_err(io::Error::other)?);
        settings.channels = vec![ChannelSettings::named(CHANNEL)];
        let cloud = aws::start(settings, stop.clone()).await?;
        let client = cloud.client().ok_or_else(|| io::Error::other("the virtual AWS knows no key"))?;
        let doorbell = kvs_doorbell::Settings::at(client, CHANNEL);
        let doorbell = kvs_doorbell::start(doorbell, stop).map_err(io::Error::other)?;
        Ok(Self { cloud, doorbell, id: DeviceId::from_hardware("kvs", CHANNEL) })
    }

    pub(super) fn id(&self) -> &DeviceId {
        &self.id
    }

    /// Its entry under `kvs`.
    pub(super) fn account_yaml(&self) -> String {
        let Some(AccessKey { id, secret, .. }) = self.cloud.settings.keys.first() else { return String::new() };
        let (region, plain) = (&self.cloud.settings.region, self.cloud.plain);
        format!(
            "  - {{region: {region}, channels: [{CHANNEL}], access_key_id: {id}, secret_access_key: \"{}\", \
             iot_endpoint: \"ws://{plain}\", endpoints: {{kinesisvideo: \"http://{plain}\", ice_servers: []}}}}\n",
            secret.expose(),
        )
    }

    /// Its entry under `doorbells`.
    pub(super) fn doorbell_yaml(&self) -> String {
        format!("  - {{id: {}, name: Courtyard, unlock: self}}\n", self.id)
    }

    /// Carries out what was typed for it.
    ///
    /// # Errors
    /// With the commands there are.
    pub(super) fn obey(&self, line: &str) -> Result<(), String> {
        let command = kvs_doorbell::command::parse(line)?;
        self.doorbell.obey(command).map_err(|error| error.to_string())
    }

    /// Passes on what happens.
    pub(super) fn tell(&self, news: mpsc::Sender<News>) {
        tokio::spawn(super::console::tell(self.id.clone(), self.doorbell.events(), news));
    }
}
