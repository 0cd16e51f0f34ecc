//! Doorstep as an app of Home Assistant: what the Supervisor is asked, and what follows from its answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;

use crate::mqtt::{Ask, Unknown};
use crate::supervisor::Supervisor;

/// Home Assistant around an app: whom to ask, and where it is listened.
#[derive(Clone)]
pub struct Home {
    pub supervisor: Supervisor,
    /// From whom ingress comes.
    pub ingress_peer: IpAddr,
    pub ingress_listen: SocketAddr,
    pub direct_listen: SocketAddr,
}

impl Home {
    /// The Supervisor's address in the network of the apps.
    const SUPERVISOR: Ipv4Addr = Ipv4Addr::new(172, 30, 32, 2);
    /// The `ingress_port` of `config.yaml`.
    const INGRESS_PORT: u16 = 8099;
    const DIRECT_PORT: u16 = 8480;

    /// As an app's container is.
    pub fn new(supervisor: Supervisor) -> Self {
        Self {
            supervisor,
            ingress_peer: Self::SUPERVISOR.into(),
            ingress_listen: (Ipv4Addr::UNSPECIFIED, Self::INGRESS_PORT).into(),
            direct_listen: (Ipv4Addr::UNSPECIFIED, Self::DIRECT_PORT).into(),
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
