//! A doorbell and the MQTT face on a broker.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use doorstep::doorbell::accounts::Wishes;
use doorstep::doorbell::voice::Mute;
use doorstep::doorbell::{Accounts, Doorbell, Options, Registry, Vendor};
use doorstep::model::{Companion, Link, MqttLink};
use doorstep::mqtt::{self, Broker, Mqtt, Settings};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fake_vendor::FakeVendor;
use super::mosquitto::{Mosquitto, PATIENCE};

pub(crate) struct House {
    pub(crate) vendor: Arc<FakeVendor>,
    pub(crate) doorbell: Doorbell,
    pub(crate) registry: Registry,
    pub(crate) mqtt: Mqtt,
    pub(crate) stop: CancellationToken,
    /// Of the doorbell, which outlives the face.
    _doorbell_stop: DropGuard,
}

impl House {
    /// One doorbell, reachable, and the face connected.
    pub(crate) async fn on(broker: &Mosquitto) -> Self {
        let house = Self::with(FakeVendor::new(), settings(broker.settings())).await;
        house.connected().await;
        house
    }

    pub(crate) async fn with(vendor: Arc<FakeVendor>, settings: Settings) -> Self {
        Self::of(vendor, Options::default(), no_accounts(), settings).await
    }

    pub(crate) async fn of(vendor: Arc<FakeVendor>, options: Options, accounts: Accounts, settings: Settings) -> Self {
        let doorbell_stop = CancellationToken::new();
        let doorbell = vendor.doorbell_with(options, &doorbell_stop);
        doorbell.state().wait_for(|state| state.link == Link::Ready).await.unwrap();
        let registry = Registry::default();
        registry.insert(doorbell.clone());
        let stop = CancellationToken::new();
        let mqtt = mqtt::start(settings, registry.clone(), accounts, stop.clone());
        Self { vendor, doorbell, registry, mqtt, stop, _doorbell_stop: doorbell_stop.drop_guard() }
    }

    pub(crate) async fn connected(&self) {
        self.is_connected(true).await;
    }

    pub(crate) async fn is_connected(&self, connected: bool) {
        let mut now = self.mqtt.link();
        let is_so = |now: &MqttLink| (*now == MqttLink::Connected) == connected;
        let waited = tokio::time::timeout(PATIENCE, now.wait_for(is_so)).await;
        assert!(waited.is_ok(), "never became connected={connected}");
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.mqtt.closed().await;
    }
}

pub(crate) fn settings(broker: Broker) -> Settings {
    Settings {
        broker,
        discovery_prefix: "homeassistant".to_owned(),
        base_topic: "doorstep".to_owned(),
        client_id: "doorstep-test".to_owned(),
        version: "1.2.3",
        buttons: Vec::new(),
        page_url: watch::channel(Some("http://doorstep.local:8480/".to_owned())).1,
        companion: no_companion(),
    }
}

pub(crate) fn no_companion() -> watch::Receiver<Companion> {
    watch::channel(Companion::Off).1
}

pub(crate) fn no_accounts() -> Accounts {
    accounts(Vec::new(), &Registry::default(), &CancellationToken::new())
}

/// These accounts, whose doorbells go into `doorbells`.
pub(crate) fn accounts(vendors: Vec<Arc<dyn Vendor>>, doorbells: &Registry, stop: &CancellationToken) -> Accounts {
    let wishes = Wishes {
        options: HashMap::new(),
        locks: BTreeSet::new(),
        voice: Arc::new(Mute),
        open_talks: Default::default(),
    };
    Accounts::start(vendors, wishes, doorbells.clone(), Registry::default(), stop)
}
