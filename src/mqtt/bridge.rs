//! What MQTT is told of Doorstep itself: which accounts there are, and how each does.

use std::collections::BTreeMap;

use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use super::announce::Announcer;
use super::discovery::Discovery;
use super::publisher::Publisher;
use crate::clock;
use crate::doorbell::Accounts;
use crate::model::Account;

pub(super) struct Bridge {
    pub(super) accounts: Accounts,
    pub(super) discovery: Discovery,
    pub(super) announcer: Announcer,
    pub(super) publisher: Publisher,
}

/// Vendor and last word of each account, by number.
type Told = BTreeMap<usize, (&'static str, String)>;

impl Bridge {
    /// Publishes the bridge with its accounts and how each stands, now and whenever that changes, until dropped.
    pub(super) fn follow(self) -> AbortOnDropHandle<()> {
        let mut changes = self.accounts.changes();
        let mut page_url = self.discovery.page_url.clone();
        let mut told = self.tell(None);
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = changes.changed() => told = self.tell(Some(told)),
                    // It is linked, wherever it is.
                    Ok(()) = page_url.changed() => told = self.tell(None),
                }
            }
        }))
    }

    /// Publishes what is news, and returns what is known from now on.
    fn tell(&self, told: Option<Told>) -> Told {
        let accounts = self.accounts.all().into_iter();
        let now: Told = accounts.map(|(n, vendor, status)| (n, (vendor, word(vendor, &status.borrow())))).collect();
        let topics = &self.discovery.topics;
        let vendors = |told: &Told| told.iter().map(|(n, (vendor, _))| (*n, *vendor)).collect::<Vec<_>>();
        if told.as_ref().is_none_or(|told| vendors(told) != vendors(&now)) {
            self.announcer.announce(&topics.bridge_discovery(), self.discovery.bridge(&vendors(&now)));
        }
        let told = told.unwrap_or_default();
        told.keys().filter(|n| !now.contains_key(n)).for_each(|n| self.publisher.clear(&topics.account(*n)));
        for (n, (_, word)) in now.iter().filter(|(n, news)| told.get(n) != Some(news)) {
            self.publisher.set(&topics.account(*n), word.clone());
        }
        now
    }
}

fn word(vendor: &str, account: &Account) -> String {
    let rate_limit = account
        .rate_limit
        .map(|limit| json!({"remaining": limit.remaining, "resets_at": clock::rfc3339(limit.resets_at)}));
    let payload = json!({
        "state": account.link.word(),
        "vendor": vendor,
        "devices": account.devices,
        "why": account.link.why(),
        "rate_limit": rate_limit,
    });
    payload.to_string()
}
