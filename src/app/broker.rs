//! The MQTT face's place in the house: which broker it uses, and what is remembered for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Home, report};
use crate::config::{self, Config, MqttUrl};
use crate::doorbell::{Accounts, Registry};
use crate::mqtt::{self, Broker, Mqtt};
use crate::store::Store;

/// Where in the store things are.
mod key {
    pub(super) const CLIENT_ID: &str = "mqtt_client_id";
    pub(super) const RETAINED: &str = "mqtt_retained_topics";
}

/// Where the face finds its broker: the owner's own before the Supervisor's. `None` where there is neither.
pub(super) fn of(mqtt: &config::Mqtt, home: Option<&Home>) -> Option<Broker> {
    let own = mqtt.url.clone().map(Broker::At);
    own.or_else(|| Some(Broker::Asked(home?.broker())))
}

/// Starts the face; `page_url` is the page's address once it is known.
pub(super) fn start(
    (broker, mqtt): (Broker, &config::Mqtt),
    config: &Config,
    page_url: watch::Receiver<Option<String>>,
    store: &Store,
    (doorbells, accounts): (&Registry, &Accounts),
    stop: &CancellationToken,
) -> anyhow::Result<Mqtt> {
    let buttons = config.doorbells.iter().filter_map(|doorbell| {
        let topic = doorbell.ring_topic.clone()?;
        Some(mqtt::Button { topic, payload: doorbell.ring_payload.clone(), doorbell: doorbell.id.clone() })
    });
    let settings = mqtt::Settings {
        broker,
        discovery_prefix: mqtt.discovery_prefix.clone(),
        base_topic: mqtt.base_topic.clone(),
        client_id: client_id(store)?,
        version: env!("CARGO_PKG_VERSION"),
        buttons: buttons.collect(),
        page_url,
    };
    let mqtt = mqtt::start(settings, doorbells.clone(), accounts.clone(), stop.clone());
    tokio::spawn(remember_retained(mqtt.retained_topics(), store.clone()));
    Ok(mqtt)
}

/// The same in every run of this installation.
fn client_id(store: &Store) -> anyhow::Result<String> {
    if let Some(id) = store.get(key::CLIENT_ID) {
        return Ok(id);
    }
    let id = format!("doorstep-{:016x}", getrandom::u64().context("reading randomness")?);
    store.put(key::CLIENT_ID, &id).context("keeping the MQTT client id")?;
    Ok(id)
}

/// Keeps the list that `doorstep forget` clears.
async fn remember_retained(mut topics: watch::Receiver<BTreeSet<String>>, store: Store) {
    let mut all: BTreeSet<String> = store.get(key::RETAINED).unwrap_or_default();
    loop {
        all.extend(topics.borrow_and_update().iter().cloned());
        if let Err(error) = store.put(key::RETAINED, &all) {
            warn!(%error, "the list of retained topics was not kept");
        }
        if topics.changed().await.is_err() {
            return;
        }
    }
}

/// `doorstep forget`: clears what was retained at the broker, then what was stored.
pub async fn forget(config: &Config, data: PathBuf, home: Option<&Home>) -> anyhow::Result<()> {
    let store = Store::open(&data).context("opening the data folder")?;
    let topics: Vec<String> = store.get(key::RETAINED).unwrap_or_default();
    if let Some(url) = broker_to_clear(config, home, &topics).await? {
        let cleared = mqtt::forget(&url, &topics).await.context("clearing retained topics")?;
        report(&format!("{cleared} retained topics cleared"));
    }
    store.clear().context("deleting what is stored")?;
    report("stored data deleted");
    Ok(())
}

/// The Supervisor's is only asked for where something may be left there.
async fn broker_to_clear(config: &Config, home: Option<&Home>, topics: &[String]) -> anyhow::Result<Option<MqttUrl>> {
    let own = config.mqtt.as_ref().and_then(|mqtt| mqtt.url.clone());
    let Some(home) = home.filter(|_| own.is_none() && !topics.is_empty()) else { return Ok(own) };
    match home.supervisor.mqtt().await.context("clearing retained topics")? {
        Some(url) => Ok(Some(url)),
        None => bail!("clearing retained topics: Home Assistant has no MQTT broker. Start its app, then try again."),
    }
}
