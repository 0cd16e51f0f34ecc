//! The button: what is published over AWS IoT when somebody presses it (kvs reference §6).

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::profile::Profile;
use super::{Event, Settings, Tell};
use crate::aws::iot::{self, Iot, News, Way};
use crate::aws::{Aws, Channel};
use crate::clock;
use crate::config::IotEndpoint;

/// The way to the button. Sixteen presses may wait; more are one and the same visitor.
pub(super) struct Bell(mpsc::Sender<()>);

impl Bell {
    pub(super) fn start(aws: Aws, settings: &Settings, tell: Tell, stop: CancellationToken) -> Self {
        let (sender, presses) = mpsc::channel(16);
        let wire = Wire {
            aws,
            endpoint: settings.ring.endpoint.clone(),
            client_id: settings.ring.client_id.clone(),
            profile: settings.profile,
            channel: Channel::name_in(&settings.channel).to_owned(),
            tell,
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(wire.run(presses, stop)));
        Self(sender)
    }

    pub(super) fn press(&self) {
        let _full = self.0.try_send(());
    }
}

/// Where a channel's doorbell rings.
pub(super) fn topic(channel: &str) -> String {
    format!("doorbell/{}/ring", Channel::name_in(channel))
}

/// What is behind the button.
struct Wire {
    aws: Aws,
    endpoint: Option<IotEndpoint>,
    client_id: String,
    profile: Profile,
    channel: String,
    tell: Tell,
}

impl Wire {
    async fn run(mut self, mut presses: mpsc::Receiver<()>, stop: CancellationToken) {
        let endpoint = self.find_endpoint(&mut presses).await;
        let settings = iot::Settings {
            way: Way::to(&endpoint, &self.aws),
            endpoint,
            client_id: self.client_id.clone(),
            filters: Vec::new(),
            // As the two do (kvs reference §6).
            clean_session: self.profile == Profile::Ameba,
        };
        let mut iot = Iot::start(settings, stop);
        loop {
            tokio::select! {
                press = presses.recv() => match press {
                    Some(()) => self.ring(&iot),
                    None => return,
                },
                news = iot.next() => match news {
                    News::Connected => self.tell.tell(Event::BellConnected),
                    News::Trouble { why, .. } => self.tell.tell(Event::BellTrouble { why }),
                    News::Message { .. } => {}
                },
            }
        }
    }

    /// Asks until it is known; nobody can ring meanwhile.
    async fn find_endpoint(&mut self, presses: &mut mpsc::Receiver<()>) -> IotEndpoint {
        const AGAIN_AFTER: Duration = Duration::from_secs(10);
        if let Some(endpoint) = self.endpoint.take() {
            return endpoint;
        }
        loop {
            let why = match self.aws.iot_endpoint().await {
                Ok(endpoint) => return endpoint,
                Err(error) => error.to_string(),
            };
            self.tell.tell(Event::BellTrouble { why: why.clone() });
            let again = tokio::time::sleep(AGAIN_AFTER);
            tokio::pin!(again);
            loop {
                tokio::select! {
                    () = &mut again => break,
                    Some(()) = presses.recv() => self.tell.tell(Event::NotRung { why: why.clone() }),
                }
            }
        }
    }

    /// In a task of its own: with QoS 1 it takes a round trip, and a visitor may press again.
    fn ring(&self, iot: &Iot) {
        let topic = topic(&self.channel);
        let payload = Bytes::from(self.profile.ring(&self.channel, clock::unix_seconds()));
        let (publisher, qos, tell) = (iot.publisher(), self.profile.habits().ring_qos, self.tell.clone());
        tokio::spawn(async move {
            match publisher.publish(&topic, qos, payload).await {
                Ok(()) => tell.tell(Event::Rang { topic }),
                Err(error) => tell.tell(Event::NotRung { why: error.to_string() }),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_is_named_after_the_channel_not_its_arn() {
        assert_eq!(topic("porch"), "doorbell/porch/ring");
        let arn = "arn:aws:kinesisvideo:us-east-1:123456789012:channel/porch/1700000000000";
        assert_eq!(topic(arn), "doorbell/porch/ring");
    }
}
