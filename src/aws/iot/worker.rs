//! One connection after the other, each with a client of its own, so that nothing of a broken one lives on.

use std::collections::BTreeSet;
use std::sync::Arc;

use rumqttc::{MqttOptions, TlsConfiguration, Transport};
use rustls::ClientConfig;
use tokio_util::sync::CancellationToken;

use super::connection::{self, Connection, Ended};
use super::diagnosis::{End, History, Step, Verdict};
use super::inbox::Inbox;
use super::orders::Orders;
use super::{News, Pace, Settings, Way};
use crate::config::IotEndpoint;
use crate::net::supervise::{Backoff, jitter};
use crate::net::tls::Trust;

pub(super) struct Worker {
    settings: Settings,
    pace: Pace,
    tls: Arc<ClientConfig>,
    inbox: Arc<Inbox>,
    orders: Orders,
    stop: CancellationToken,
}

impl Worker {
    pub(super) fn new(
        settings: Settings,
        pace: Pace,
        inbox: Arc<Inbox>,
        orders: Orders,
        stop: CancellationToken,
    ) -> Self {
        let tls = Arc::new(tls_config(&settings));
        Self { settings, pace, tls, inbox, orders, stop }
    }

    pub(super) async fn run(mut self) {
        let (mut history, mut backoff) = (History::default(), Backoff::of(self.pace.trouble));
        let mut suspects = BTreeSet::new();
        while !self.stop.is_cancelled() {
            let ended = self.connection(&mut suspects).await;
            if matches!(ended.end, End::Stopped) {
                return;
            }
            let verdict = history.judge(&self.settings, &ended);
            // The connection after a refused subscription listens to the others first.
            if let (Step::Subscribe(filter), true) = (&ended.step, verdict.needs_owner) {
                suspects.insert(filter.clone());
            }
            let usual = backoff.next(ended.lived.unwrap_or_default(), jitter());
            let wait =
                if self.is_patient(&verdict, &suspects) { self.pace.owner.mul_f64(1.0 + jitter()) } else { usual };
            tracing::debug!(why = verdict.why, wait_s = wait.as_secs_f32(), "no connection to AWS IoT");
            self.inbox.tell(News::Trouble { why: verdict.why, needs_owner: verdict.needs_owner });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn connection(&mut self, suspects: &mut BTreeSet<String>) -> Ended {
        let stop = self.stop.clone();
        let made = tokio::select! {
            made = self.options() => made,
            () = stop.cancelled() => Err(End::Stopped),
        };
        match made {
            Ok(options) => {
                let what = (&self.settings, self.pace);
                Connection::run(options, what, &self.inbox, &mut self.orders, suspects, &stop).await
            }
            Err(end) => Ended { end, step: Step::Connect, lived: None },
        }
    }

    /// For one connection.
    async fn options(&self) -> Result<MqttOptions, End> {
        let IotEndpoint { host, port, tls } = &self.settings.endpoint;
        let with_tls = || TlsConfiguration::Rustls(self.tls.clone());
        let (address, port, transport) = match &self.settings.way {
            Way::Certificate(_) if !tls => return Err(End::Unencrypted),
            Way::Certificate(_) => (host.clone(), port.unwrap_or(MQTTS), Transport::tls_with_config(with_tls())),
            Way::Signed(aws) => {
                let url = aws.iot_url(&self.settings.endpoint).await.map_err(End::Unsigned)?;
                let transport = if *tls { Transport::wss_with_config(with_tls()) } else { Transport::ws() };
                // The library asks for the address as it stands, and takes the port from it.
                (url.expose().to_owned(), 0, transport)
            }
        };
        let mut options = MqttOptions::new(&self.settings.client_id, address, port);
        options.set_transport(transport);
        connection::tune(&mut options, &self.settings, self.pace);
        Ok(options)
    }

    /// Only the owner can help. A subscription that ends connections does not keep the others waiting.
    fn is_patient(&self, verdict: &Verdict, suspects: &BTreeSet<String>) -> bool {
        let others = !suspects.is_empty() && suspects.len() < self.settings.filters.len();
        verdict.needs_owner && !others
    }
}

/// Where there is nothing but MQTT. Any other port is taken for one that it shares with HTTPS, as 443 is at AWS, and the
/// client says which it wants (kvs reference §6).
pub(super) const MQTTS: u16 = 8883;
const ALPN: &[u8] = b"x-amzn-mqtt-ca";

fn tls_config(settings: &Settings) -> ClientConfig {
    match &settings.way {
        Way::Certificate(trust) => {
            let mut config = trust.client_config();
            if settings.endpoint.port.is_some_and(|port| port != MQTTS) {
                config.alpn_protocols = vec![ALPN.to_vec()];
            }
            config
        }
        // The address says who we are.
        Way::Signed(aws) => Trust { identity: None, ..aws.trust() }.client_config(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kvs reference §6.
    #[test]
    fn a_port_that_mqtt_shares_is_told_so() {
        for (port, alpn) in [(None, None), (Some(8883), None), (Some(443), Some(ALPN)), (Some(31_000), Some(ALPN))] {
            let settings = Settings {
                endpoint: IotEndpoint { host: "localhost".to_owned(), port, tls: true },
                way: Way::Certificate(Trust::default()),
                client_id: "doorstep".to_owned(),
                filters: Vec::new(),
                clean_session: true,
            };
            assert_eq!(tls_config(&settings).alpn_protocols.first().map(Vec::as_slice), alpn, "{port:?}");
        }
    }
}
