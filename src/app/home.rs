//! Doorstep as an app of Home Assistant: what the Supervisor is asked, and what follows from its answers.
//!
//! It may answer late, or not at all: cameras, streams and pages do not wait for it. Each question is repeated until
//! its first answer. Which addresses the host has is asked every five minutes from then on, since a router may give it
//! another one, nothing tells us when, and viewers would knock at the old one; the question costs a millisecond.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use url::Url;

use crate::mqtt::{Ask, Unknown};
use crate::net::supervise::{Backoff, jitter};
use crate::rtc::Viewers;
use crate::secret::Token;
use crate::supervisor::{Own, Supervisor, SupervisorError};

/// Between two questions for the host's addresses.
const ADDRESSES_EVERY: Duration = Duration::from_secs(300);
/// While it has none: its network comes up after us, or is away for a moment.
const ADDRESSES_WHILE_NONE: Duration = Duration::from_secs(10);

/// Home Assistant around an app: whom to ask, and where it is listened.
#[derive(Clone)]
pub struct Home {
    pub supervisor: Supervisor,
    /// From whom ingress comes.
    pub ingress_peer: IpAddr,
    pub ingress_listen: SocketAddr,
    pub direct_listen: SocketAddr,
    /// The folder of clips, where the owner can reach it; `None` where the Supervisor has given none.
    pub clips: Option<PathBuf>,
    /// Where the go2rtc app is looked for; `None` for its usual place on this very machine.
    pub go2rtc: Option<Url>,
}

impl Home {
    /// The Supervisor's address in the network of the apps.
    const SUPERVISOR: Ipv4Addr = Ipv4Addr::new(172, 30, 32, 2);
    /// The `ingress_port` of `config.yaml`.
    const INGRESS_PORT: u16 = 8099;
    const DIRECT_PORT: u16 = 8480;
    /// In the app's folder that its owner sees (`map` in `config.yaml`), as `/addon_configs/…_doorstep/clips`.
    pub const CLIPS: &str = "/config/clips";

    /// As an app's container is.
    pub fn new(supervisor: Supervisor) -> Self {
        Self {
            supervisor,
            ingress_peer: Self::SUPERVISOR.into(),
            ingress_listen: (Ipv4Addr::UNSPECIFIED, Self::INGRESS_PORT).into(),
            direct_listen: (Ipv4Addr::UNSPECIFIED, Self::DIRECT_PORT).into(),
            clips: Some(PathBuf::from(Self::CLIPS)).filter(|clips| clips.is_dir()),
            // It is on the host's own network.
            go2rtc: Url::parse("http://172.30.32.1:1984").ok(),
        }
    }

    /// `None` where no Supervisor has started us.
    pub fn from_env() -> anyhow::Result<Option<Self>> {
        let supervisor = Supervisor::from_env().context("reading the Supervisor's address (`SUPERVISOR_API`)")?;
        Ok(supervisor.map(Self::new))
    }

    /// Asks for the broker, as the MQTT face wants to be told.
    pub(super) fn broker(&self) -> Ask {
        let supervisor = self.supervisor.clone();
        Arc::new(move || {
            let supervisor = supervisor.clone();
            Box::pin(async move {
                let none =
                    "Home Assistant has no MQTT broker yet. Install and start one, such as the app Mosquitto broker.";
                match supervisor.mqtt().await {
                    Ok(url) => url.ok_or_else(|| Unknown::NoBroker(none.to_owned())),
                    Err(error) => Err(Unknown::NoAnswer(error.to_string())),
                }
            })
        })
    }
}

/// Whoever acts on the Supervisor's answers.
pub(super) struct Attendant {
    pub(super) home: Home,
    pub(super) viewers: Viewers,
    pub(super) page_url: watch::Sender<Option<String>>,
    /// Where the integration comes in, and what opens it.
    pub(super) direct: SocketAddr,
    pub(super) token: Token,
}

impl Attendant {
    /// From now on viewers are told the owner's `addresses` and nothing of the container's; the rest comes when it is
    /// known. Until `stop`.
    pub(super) fn begin(self, addresses: Vec<IpAddr>, stop: CancellationToken) {
        self.advertise(&[], &addresses, self.viewers.port());
        tokio::spawn(async move { stop.run_until_cancelled(self.run(&addresses)).await });
    }

    async fn run(&self, addresses: &[IpAddr]) {
        let Some(own) = answer(|| self.home.supervisor.own()).await else { return };
        self.page_url.send_replace(Some(format!("homeassistant://hassio/ingress/{}", own.slug)));
        self.look_at_ingress(&own);
        tokio::join!(self.announce(&own), self.follow_addresses(&own, addresses));
    }

    fn look_at_ingress(&self, own: &Own) {
        let port = self.home.ingress_listen.port();
        if let Some(expected) = own.ingress_port.filter(|expected| *expected != port) {
            error!(
                expected,
                port, "Home Assistant looks for this app's page at another port than it is; reinstall the app"
            );
        }
    }

    /// Lets Home Assistant offer the companion integration.
    async fn announce(&self, own: &Own) {
        let (supervisor, port) = (&self.home.supervisor, self.direct.port());
        let announced = answer(|| supervisor.announce(&own.hostname, port, &self.token)).await;
        if announced.is_some() {
            info!("Home Assistant is told how the integration Doorstep reaches this app");
        }
    }

    async fn follow_addresses(&self, own: &Own, owners: &[IpAddr]) {
        let container = self.viewers.port();
        let published = own.published(container);
        if published.is_none() {
            error!(
                port = container,
                "the port of pictures and sound is switched off in this app's network settings; switch it on"
            );
        }
        let mut before = None;
        loop {
            let Some(lan) = answer(|| self.home.supervisor.addresses()).await else { return };
            let wait = if lan.is_empty() { ADDRESSES_WHILE_NONE } else { ADDRESSES_EVERY };
            if before.as_ref() != Some(&lan) {
                tell_of(&lan);
                // Those of before are the best that is known while there are none.
                if !lan.is_empty() {
                    self.advertise(&lan, owners, published.unwrap_or(container));
                }
                before = Some(lan);
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn advertise(&self, lan: &[IpAddr], owners: &[IpAddr], port: u16) {
        let mut all: Vec<SocketAddr> = Vec::new();
        for ip in lan.iter().chain(owners) {
            let at = SocketAddr::new(*ip, port);
            if !all.contains(&at) {
                all.push(at);
            }
        }
        self.viewers.advertise(all);
    }
}

fn tell_of(lan: &[IpAddr]) {
    if lan.is_empty() {
        warn!("Home Assistant knows no address of this machine; write the one in your network under `media.addresses`");
    } else {
        info!(addresses = ?lan, "viewers are sent to this machine");
    }
}

/// Asks until there is an answer. `None` when there never will be, which the log says.
async fn answer<T, F: Future<Output = Result<T, SupervisorError>>>(question: impl Fn() -> F) -> Option<T> {
    let (mut backoff, mut told) = (Backoff::default(), BTreeSet::new());
    loop {
        let why = match question().await {
            Ok(answer) => return Some(answer),
            Err(why) if why.is_lasting() => {
                error!(%why, "a part of this app stays off");
                return None;
            }
            Err(why) => why.to_string(),
        };
        if told.insert(why.clone()) {
            warn!(%why, "the Supervisor is asked again");
        }
        tokio::time::sleep(backoff.next(Duration::ZERO, jitter())).await;
    }
}
