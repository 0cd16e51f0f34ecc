//! What is known from session to session, and over a restart: the tokens, the P2P server that worked last, and the
//! account's devices as that server lists them. With all three a start asks the cloud for nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::token::UserToken;
use crate::proto::gwell::session::KnownDevice;
use crate::store::Store;

/// The form of an entry that this version writes.
const VERSION: u32 = 1;

pub(super) struct Memory {
    store: Store,
    key: String,
    entry: Mutex<Entry>,
}

#[derive(Serialize, Deserialize, Default)]
struct Entry {
    version: u32,
    server: Option<SocketAddr>,
    devices: Vec<Device>,
    /// By the camera's name.
    tokens: BTreeMap<String, UserToken>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Device {
    name: String,
    tid: u64,
}

impl Memory {
    /// What the store has at `key`; what is of another form counts as nothing.
    pub(super) fn load(store: &Store, key: String) -> Self {
        let entry = store.get::<Entry>(&key).filter(|entry| entry.version == VERSION);
        let entry = entry.unwrap_or_else(|| Entry { version: VERSION, ..Entry::default() });
        Self { store: store.clone(), key, entry: Mutex::new(entry) }
    }

    /// One that is good.
    pub(super) fn token(&self, camera: &str) -> Option<UserToken> {
        self.entry().tokens.get(camera).filter(|token| token.is_good()).cloned()
    }

    pub(super) fn keep_token(&self, camera: &str, token: &UserToken) {
        self.change(|entry| {
            entry.tokens.insert(camera.to_owned(), token.clone());
            true
        });
    }

    /// It was not taken.
    pub(super) fn forget_token(&self, camera: &str) {
        self.change(|entry| entry.tokens.remove(camera).is_some());
    }

    pub(super) fn server(&self) -> Option<SocketAddr> {
        self.entry().server
    }

    /// This one takes our tokens.
    pub(super) fn keep_server(&self, server: SocketAddr) {
        self.change(|entry| entry.server.replace(server) != Some(server));
    }

    /// It does not answer. Whether there was one.
    pub(super) fn forget_server(&self) -> bool {
        self.change(|entry| entry.server.take().is_some())
    }

    pub(super) fn devices(&self) -> Vec<KnownDevice> {
        self.entry().devices.iter().map(|Device { name, tid }| KnownDevice { name: name.clone(), tid: *tid }).collect()
    }

    /// The server lists them, all of them: an empty list was left out.
    pub(super) fn keep_devices(&self, devices: Vec<KnownDevice>) {
        let listed: Vec<Device> = devices.into_iter().map(|KnownDevice { name, tid }| Device { name, tid }).collect();
        self.change(|entry| {
            let news = !listed.is_empty() && entry.devices != listed;
            if news {
                entry.devices = listed;
            }
            news
        });
    }

    /// Changes what is known, and keeps it when `change` says that it is news.
    fn change(&self, change: impl FnOnce(&mut Entry) -> bool) -> bool {
        let mut entry = self.entry();
        let news = change(&mut entry);
        if news && let Err(error) = self.store.put(&self.key, &*entry) {
            tracing::warn!(%error, "what is known of the account's GWell cameras is not kept for the next start");
        }
        news
    }

    fn entry(&self) -> MutexGuard<'_, Entry> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::unix_seconds;

    fn open(folder: &tempfile::TempDir) -> Memory {
        Memory::load(&Store::open(folder.path()).unwrap(), "wyze_gwell_1".to_owned())
    }

    fn token(ends: u64) -> UserToken {
        let data = json!({"accessId": "7", "accessToken": "5a".repeat(64), "expireTime": ends});
        UserToken::read(&data, unix_seconds()).unwrap()
    }

    #[test]
    fn all_of_it_is_found_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let camera = KnownDevice { name: "GW_GC1_1".to_owned(), tid: u64::MAX };
        let server: SocketAddr = "3.13.212.24:28800".parse().unwrap();
        {
            let memory = open(&folder);
            memory.keep_token("GW_GC1_1", &token(0));
            memory.keep_server(server);
            memory.keep_devices(vec![camera.clone()]);
            memory.keep_devices(vec![]);
        }
        let memory = open(&folder);
        assert!(memory.token("GW_GC1_1").is_some() && memory.token("GW_GC1_2").is_none());
        assert_eq!((memory.server(), memory.devices()), (Some(server), vec![camera]));
        assert!(memory.forget_server() && !memory.forget_server());
        memory.forget_token("GW_GC1_1");
        let memory = open(&folder);
        assert!(memory.token("GW_GC1_1").is_none() && memory.server().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_until_an_hour_before_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let memory = open(&folder);
        memory.keep_token("brief", &token(unix_seconds() + 3_600));
        memory.keep_token("long", &token(unix_seconds() + 7_200));
        assert!(memory.token("brief").is_none() && memory.token("long").is_some());
        tokio::time::advance(std::time::Duration::from_secs(3_601)).await;
        assert!(memory.token("long").is_none());
    }

    #[test]
    fn an_entry_of_another_form_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for entry in [json!({"version": 2, "devices": [], "tokens": {}}), json!("nonsense"), Value::Null] {
            store.put("wyze_gwell_1", &entry).unwrap();
            let memory = Memory::load(&store, "wyze_gwell_1".to_owned());
            assert!(memory.devices().is_empty() && memory.server().is_none(), "{entry}");
        }
    }
}
