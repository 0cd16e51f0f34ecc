//! What MQTT is told of Doorstep itself: how each account does, and whether go2rtc has its streams.

use serde_json::json;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::publisher::Publisher;
use super::topics::Topics;
use crate::clock;
use crate::doorbell::Accounts;
use crate::model::{Account, Companion};

/// Publishes how every account stands, now and whenever that changes, until dropped.
pub(super) fn follow(accounts: &Accounts, topics: &Topics, publisher: &Publisher) -> Vec<AbortOnDropHandle<()>> {
    let followed = accounts.all().into_iter().enumerate().map(|(n, (vendor, mut status))| {
        let (topic, publisher) = (topics.account(n), publisher.clone());
        tell(&topic, vendor, &mut status, &publisher);
        AbortOnDropHandle::new(tokio::spawn(async move {
            // An account that needs its owner has ended; its last word stands.
            while status.changed().await.is_ok() {
                tell(&topic, vendor, &mut status, &publisher);
            }
        }))
    });
    followed.collect()
}

fn tell(topic: &str, vendor: &str, status: &mut watch::Receiver<Account>, publisher: &Publisher) {
    let account = status.borrow_and_update().clone();
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
    publisher.set(topic, payload.to_string());
}

/// Publishes how it goes with go2rtc, now and whenever that changes, until dropped; nothing where its owner wants none.
pub(super) fn follow_companion(
    mut companion: watch::Receiver<Companion>,
    topics: &Topics,
    publisher: &Publisher,
) -> Option<AbortOnDropHandle<()>> {
    let now = companion.borrow_and_update().clone();
    if now == Companion::Off {
        return None;
    }
    let (topic, publisher) = (topics.companion(), publisher.clone());
    tell_companion(&topic, &now, &publisher);
    Some(AbortOnDropHandle::new(tokio::spawn(async move {
        while companion.changed().await.is_ok() {
            let now = companion.borrow_and_update().clone();
            tell_companion(&topic, &now, &publisher);
        }
    })))
}

fn tell_companion(topic: &str, now: &Companion, publisher: &Publisher) {
    let payload = json!({"state": now.word(), "streams": now.streams(), "why": now.why()});
    publisher.set(topic, payload.to_string());
}
