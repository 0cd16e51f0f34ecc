//! One function for each of those that answer over HTTP: whatever it says, it must not panic, and what is kept of it
//! must be read as the same after a restart.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use doorstep::aws::{control, sts};
use doorstep::clock;
use doorstep::net::http::{Answer, date};
use doorstep::proto::vivint::realtime::{Change, Update};
use doorstep::supervisor;
use doorstep::vendor::vivint::systems::{self, AuthUser, Systems};
use doorstep::vendor::wyze::devices::{Listing, listing_of};
use doorstep::vendor::wyze::events::Poller;
use serde_json::Value;

use super::pieces::pieces;

/// The status in the first line, a header in each line after it, an empty line, and the body.
fn answer(data: &[u8]) -> Option<Answer> {
    let end = data.windows(2).position(|two| two == b"\n\n")?;
    let mut lines = std::str::from_utf8(data.get(..end)?).ok()?.lines();
    let status = lines.next()?.parse().ok()?;
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    Some(Answer::of("cloud.example", status, &headers, Bytes::copy_from_slice(data.get(end + 2..)?)))
}

/// What every vendor looks at.
pub fn http_answer(data: &[u8]) {
    let Some(answer) = answer(data) else { return };
    let _ = (answer.location(), answer.cookies().count(), answer.is_web_page(), answer.json());
    let now = answer.date().unwrap_or(SystemTime::UNIX_EPOCH);
    let _ = answer.retry_after(now);
    // As calendars go, and as what signs has to write it.
    let said = ["date", "retry-after"].iter().filter_map(|name| date(answer.header(name)?));
    assert!(
        said.into_iter().all(|at| at <= date("31 Dec 9999 23:59:60").expect("a date") + Duration::from_secs(86_400))
    );
}

/// What AWS's control plane and its token service say.
pub fn aws_answer(data: &[u8]) {
    if let Some(credentials) = sts::Assumed::read(data) {
        assert!(!credentials.access_key_id.contains('<'), "a tag in a key");
    }
    let _ = sts::error_of(data);
    let answer = Answer::of("aws.example", 200, &[], Bytes::copy_from_slice(data));
    let _ = (control::described(&answer), control::listed(&answer), control::iot_endpoint(&answer));
    if let Ok(endpoints) = control::endpoints(&answer) {
        let here = |url: &url::Url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_safe = |url: &url::Url| matches!(url.scheme(), "https" | "wss") || here(url);
        assert!(is_safe(&endpoints.https) && is_safe(&endpoints.wss), "{endpoints:?}");
    }
    if let Ok(relays) = control::ice_servers(&answer) {
        assert!(relays.ttl <= Duration::from_secs(86_400) && relays.servers.len() <= 16);
    }
}

/// Listings and event lists of Wyze, each behind its length, in the order in which they come.
pub fn wyze_cloud(data: &[u8]) {
    let mut poller = Poller::new(&[10]);
    let mut now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut known = Vec::new();
    for piece in pieces(data) {
        now += Duration::from_secs(3);
        let Ok(value) = serde_json::from_slice::<Value>(piece) else { continue };
        if let Some(listing) = Listing::read(&value) {
            known = listing.steadied(&known);
            let kept = Listing::read(&listing_of(&known)).map(|kept| listing_of(&kept.records));
            assert!(kept.is_none_or(|kept| kept == listing_of(&known)), "it is not what was kept");
        }
        let asked = poller.window(now);
        if let Some(page) = poller.take(&value, asked, now, |_, _| true) {
            assert!(page.more.is_none_or(|more| more != asked), "the same page would be asked for again");
            drop(format!("{:?}", page.news));
        }
    }
}

/// Whose account it is, listings of its devices, and messages about them, each behind its length.
pub fn vivint_cloud(data: &[u8]) {
    const PANEL: i64 = 7;
    let now = clock::now();
    let mut systems = Systems::default();
    for piece in pieces(data) {
        let Ok(value) = serde_json::from_slice::<Value>(piece) else { continue };
        let _ = AuthUser::read(&value);
        if let Some(listing) = systems::Listing::read(PANEL, &value, Some(now)) {
            systems.learn(listing.records, now);
        }
        if let Some(Update { panel, change: Change::Devices(deltas) }) = Update::read(&value) {
            deltas.iter().for_each(|delta| drop(systems.apply(panel, delta).map(systems::Record::diagnosis)));
        }
        let kept = systems.to_keep();
        let mut again = Systems::default();
        again.learn(Systems::kept(&kept), now);
        assert_eq!(again.to_keep(), kept, "it is not what was kept");
    }
}

/// What Home Assistant's Supervisor says of the broker, of us, and of the network.
pub fn supervisor(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let _ = (supervisor::broker(&value), supervisor::own(&value));
    let addresses = supervisor::addresses(&value);
    assert!(!addresses.iter().any(|ip| ip.is_loopback() || ip.is_unspecified()), "{addresses:?}");
}
