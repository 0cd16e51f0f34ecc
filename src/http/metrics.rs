//! `GET /metrics` in the Prometheus text format 0.0.4. Doorbells stand there by id, never by name.

use std::fmt::{Display, Write};
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::House;
use crate::doorbell::{Accounts, Doorbell};
use crate::media::hub::Counters;
use crate::model::{DeviceId, MqttLink, TalkLevel};

const ACCOUNT_LINKS: [&str; 5] = ["starting", "ready", "failing", "needs_code", "needs_attention"];
const LINKS: [&str; 5] = ["offline", "ready", "connecting", "streaming", "needs_attention"];

pub(super) async fn text(State(house): State<Arc<House>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page(&house)).into_response()
}

fn page(house: &House) -> String {
    let mut page = Page::default();
    page.family("build_info", "The version that runs.");
    page.sample("build_info", &[("version", house.version)], 1);
    page.family("tasks", "Tasks of the service that have not ended.");
    page.sample("tasks", &[], tokio::runtime::Handle::current().metrics().num_alive_tasks());
    let mqtt = *house.mqtt.borrow();
    if mqtt != MqttLink::Off {
        page.family("mqtt_connected", "Whether the broker is connected.");
        page.sample("mqtt_connected", &[], u8::from(mqtt == MqttLink::Connected));
    }
    accounts(&mut page, &house.accounts);
    let doorbells = house.doorbells.all();
    page.family("doorbell_link", "1 for the link state the doorbell is in, 0 for the others.");
    for doorbell in &doorbells {
        let now = doorbell.state().borrow().link.word();
        for link in LINKS {
            page.sample("doorbell_link", &[("id", id(doorbell).as_str()), ("link", link)], u8::from(link == now));
        }
    }
    page.each("doorbell_viewers", "People who watch now.", &doorbells, |d| d.state().borrow().viewers as u64);
    page.each("doorbell_talking", "Whether the speaker is open.", &doorbells, |d| d.state().borrow().talking.into());
    talk_levels(&mut page, &doorbells);
    page.each("rings_total", "Rings since the service started.", &doorbells, Doorbell::rings_total);
    page.family("ring_latency_seconds", "How long after the press the last ring was known, where that can be told.");
    for doorbell in &doorbells {
        let latency = doorbell.state().borrow().last_ring.as_ref().and_then(|ring| ring.latency);
        if let Some(latency) = latency {
            page.sample("ring_latency_seconds", &[("id", id(doorbell).as_str())], latency.as_secs_f64());
        }
    }
    page.family("sayings_total", "What it was asked to say since the service started, by what came of it.");
    for doorbell in &doorbells {
        for (outcome, count) in doorbell.sayings() {
            page.sample("sayings_total", &[("id", id(doorbell).as_str()), ("outcome", outcome)], count);
        }
    }
    page.each("pictures_total", "Still pictures since the service started.", &doorbells, Doorbell::pictures_total);
    page.each("hub_frames_total", "Pictures and packets of sound from the camera.", &doorbells, |d| hub(d).frames);
    page.each("hub_bytes_total", "Bytes of them.", &doorbells, |d| hub(d).bytes);
    page.each("hub_lagged_total", "Of them, skipped for a slow viewer.", &doorbells, |d| hub(d).lagged);
    for (name, value) in (house.counters)() {
        page.family(name, "Counted by the viewers' side, or by MQTT where its name says so.");
        page.sample(name, &[], value);
    }
    page.0
}

/// By vendor and number: an account's name is its owner's.
fn accounts(page: &mut Page, accounts: &Accounts) {
    let accounts: Vec<_> =
        accounts.all().into_iter().map(|(n, vendor, status)| (n.to_string(), (vendor, status))).collect();
    page.family("account_link", "1 for the link state the account is in, 0 for the others.");
    for (n, (vendor, status)) in &accounts {
        let now = status.borrow().link.word();
        for link in ACCOUNT_LINKS {
            let labels = [("vendor", *vendor), ("n", n.as_str()), ("link", link)];
            page.sample("account_link", &labels, u8::from(link == now));
        }
    }
    page.family("account_rate_limit_remaining", "Requests that the cloud still grants, where it says so.");
    for (n, (vendor, status)) in &accounts {
        if let Some(limit) = status.borrow().rate_limit {
            let labels = [("vendor", *vendor), ("n", n.as_str())];
            page.sample("account_rate_limit_remaining", &labels, limit.remaining);
        }
    }
}

/// How the last talk at each doorbell came from its microphone.
fn talk_levels(page: &mut Page, doorbells: &[Doorbell]) {
    type Figure = fn(&TalkLevel) -> i64;
    let figures: [(&str, &str, Figure); 5] = [
        ("talk_rms_dbfs", "How loud the last talk was, silence left out.", |talk| talk.rms_db.into()),
        ("talk_peak_dbfs", "Its loudest moment.", |talk| talk.peak_db.into()),
        ("talk_suppressed_percent", "How much of it was silence.", |talk| talk.suppressed_percent.into()),
        ("talk_packets_missed", "Packets of it that were lost or came too late.", |talk| {
            i64::try_from(talk.lost).unwrap_or(i64::MAX)
        }),
        ("talk_delay_milliseconds", "How long its last packet waited for others.", |talk| {
            i64::try_from(talk.delay_ms).unwrap_or(i64::MAX)
        }),
    ];
    let levels: Vec<_> = doorbells.iter().filter_map(|d| Some((id(d), d.state().borrow().talk_level?))).collect();
    for (name, help, figure) in figures {
        page.family(name, help);
        for (id, level) in &levels {
            page.sample(name, &[("id", id.as_str())], figure(level));
        }
    }
}

fn hub(doorbell: &Doorbell) -> Counters {
    doorbell.media().counters()
}

fn id(doorbell: &Doorbell) -> DeviceId {
    doorbell.info().id.clone()
}

/// The text so far.
#[derive(Default)]
struct Page(String);

impl Page {
    /// Begins a metric. Its type follows from its name: only counters end in `_total`.
    fn family(&mut self, name: &str, help: &str) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(self.0, "# HELP doorstep_{name} {help}\n# TYPE doorstep_{name} {kind}");
    }

    /// One line. Label values are ids and words of ours, which need no escaping.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "doorstep_{name}{braces} {value}");
    }

    /// One figure of every doorbell.
    fn each(&mut self, name: &str, help: &str, doorbells: &[Doorbell], figure: impl Fn(&Doorbell) -> u64) {
        self.family(name, help);
        for doorbell in doorbells {
            self.sample(name, &[("id", id(doorbell).as_str())], figure(doorbell));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountLink, Link};

    #[test]
    fn every_link_state_has_its_line() {
        let why = String::new();
        for link in [Link::Offline, Link::Ready, Link::Connecting, Link::Streaming, Link::NeedsAttention { why }] {
            assert!(LINKS.contains(&link.word()), "{} is missing", link.word());
        }
        let why = String::new;
        for link in [
            AccountLink::Starting,
            AccountLink::Ready,
            AccountLink::Failing { why: why() },
            AccountLink::NeedsCode { why: why() },
            AccountLink::NeedsAttention { why: why() },
        ] {
            assert!(ACCOUNT_LINKS.contains(&link.word()), "{} is missing", link.word());
        }
    }

    #[test]
    fn lines_are_what_prometheus_reads() {
        let mut page = Page::default();
        page.family("rings_total", "Rings.");
        page.sample("rings_total", &[("id", "wyze_1")], 3);
        assert_eq!(
            page.0,
            "# HELP doorstep_rings_total Rings.\n# TYPE doorstep_rings_total counter\ndoorstep_rings_total{id=\"wyze_1\"} 3\n"
        );
    }
}
