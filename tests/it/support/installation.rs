//! A data folder, and the service on it, as often as it is started.

use std::time::Duration;

use doorstep::app::{self, Running, Settings};
use doorstep::config;
use doorstep::sim::vivint::RunningVivint;
use doorstep::sim::wyze_cloud::{self, RunningCloud};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use super::service::{PATIENCE, Page};

pub(crate) struct Installation {
    folder: TempDir,
    configuration: String,
}

impl Installation {
    /// With this behind what every configuration of a test has.
    pub(crate) fn new(broker: Option<u16>, more: &str) -> Self {
        let broker = broker.map(|port| format!("mqtt: {{url: \"mqtt://127.0.0.1:{port}\"}}\n")).unwrap_or_default();
        let configuration = format!("http: {{listen: \"127.0.0.1:0\"}}\ngo2rtc: {{enabled: false}}\n{broker}{more}");
        Self { folder: tempfile::tempdir().unwrap(), configuration }
    }

    /// The same folder with another configuration.
    pub(crate) fn configured(self, more: &str) -> Self {
        let Self { configuration, .. } = Self::new(None, more);
        Self { configuration, ..self }
    }

    pub(crate) async fn start(&self) -> (Running, Page) {
        let mut config = config::parse(&self.configuration, "doorstep.yaml").unwrap();
        config.media.port = 0;
        let settings = Settings { config, data: self.folder.path().join("data"), demo: false, home: None };
        let running = app::start(settings).await.unwrap();
        let page = Page::at(running.page);
        (running, page)
    }

    /// All that is on the disk.
    pub(crate) fn stored(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("data/state.json")).unwrap()
    }

    /// Waits until what is on the disk is so.
    pub(crate) async fn stores(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let waiting = async {
            while !is_so(&self.stored()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "never stored: {what}; but {}", self.stored());
    }

    /// From now on nothing new is written, or it is again.
    pub(crate) fn disk_is_full(&self, full: bool) {
        // In the way of the second file, under which a new state is written.
        let in_the_way = self.folder.path().join("data/state.json.next");
        if full { std::fs::create_dir(in_the_way).unwrap() } else { std::fs::remove_dir(in_the_way).unwrap() }
    }
}

impl Page {
    pub(crate) async fn accounts(&self) -> Vec<Value> {
        self.get("/api/accounts").await.json().as_array().unwrap().clone()
    }

    /// Asks until account `n` is as wanted, and returns how it is then.
    pub(crate) async fn account(&self, n: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Vec::new();
        let waiting = async {
            loop {
                last = self.accounts().await;
                if let Some(account) = last.iter().find(|account| account["n"] == n && wanted(account)) {
                    return account.clone();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let came = timeout(PATIENCE, waiting).await;
        came.unwrap_or_else(|_| panic!("account {n} never came to this: {what}; there are {last:?}"))
    }

    pub(crate) async fn account_is(&self, n: usize, link: &str) -> Value {
        self.account(n, link, |account| account["link"] == link).await
    }

    /// Names of the doorbells.
    pub(crate) async fn names(&self) -> Vec<String> {
        let doorbells = self.get("/api/doorbells").await.json();
        doorbells.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// What is sent to add this account, with another password where one is given.
pub(crate) fn vivint(cloud: &RunningVivint, password: Option<&str>) -> Value {
    let (settings, url) = (&cloud.settings, cloud.url());
    json!({
        "vendor": "vivint",
        "username": settings.username.expose(),
        "password": password.unwrap_or(settings.password.expose()),
        "endpoints": {
            "identity": url, "api": url, "pubnub": url, "exchange": url, "identity_toolkit": url, "secure_token": url,
            "pubnub_key": settings.pubnub_key,
        },
    })
}

/// The same of a Wyze account.
pub(crate) fn wyze(cloud: &RunningCloud, password: Option<&str>) -> Value {
    let wyze_cloud::Settings { email, password: right, key_id, api_key, .. } = &cloud.settings;
    let url = cloud.url();
    json!({
        "vendor": "wyze",
        "email": email.expose(),
        "password": password.unwrap_or(right.expose()),
        "key_id": key_id.expose(),
        "api_key": api_key.expose(),
        "poll_s": 1,
        "endpoints": {"auth": url, "api": url, "core": url, "lock": url, "mars": url, "device_management": url},
    })
}
