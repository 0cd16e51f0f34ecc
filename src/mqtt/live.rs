//! One connection as the task sees it that publishes: it hands the client library messages from the outbox and never
//! waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{AsyncClient, ClientError, QoS, SubscribeFilter};
use tokio::sync::{mpsc, watch};

use super::client::Connections;
use super::complaint::Complaint;
use super::ending::End;
use super::instance::{Instance, Rival};
use super::poller::Progress;
use super::publisher::Publisher;
use super::subscriptions;
use crate::clock::{self, Instant};
use crate::model::MqttLink;

/// How long the last messages may take before the connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Live {
    client: AsyncClient,
    progress: mpsc::Receiver<Progress>,
    wanted: watch::Receiver<subscriptions::Topics>,
    /// What was asked for of it.
    subscribed: BTreeSet<String>,
    /// When the broker was last heard.
    heard: Instant,
    since: Option<Instant>,
    /// When a farewell that is under way must be over.
    farewell: Option<Instant>,
}

impl Live {
    pub(super) fn new(
        client: AsyncClient,
        progress: mpsc::Receiver<Progress>,
        wanted: watch::Receiver<subscriptions::Topics>,
    ) -> Self {
        Self { client, progress, wanted, subscribed: BTreeSet::new(), heard: clock::now(), since: None, farewell: None }
    }

    /// How long it has been up; `None`: never.
    pub(super) fn lived(&self) -> Option<Duration> {
        self.since.map(|since| since.elapsed())
    }

    /// To its end.
    pub(super) async fn run(&mut self, shared: &mut Connections, complaint: &mut Complaint) -> End {
        let patience = shared.plan.patience();
        loop {
            let deadline = self.farewell.unwrap_or(self.heard + patience);
            tokio::select! {
                biased;
                progress = self.progress.recv() => {
                    let Some(progress) = progress else { return End::Overrun };
                    if let Some(end) = self.on_progress(progress, shared, complaint) {
                        return end;
                    }
                }
                () = shared.publisher.written() => {}
                // Seen to below, before anything is published.
                () = changed(&mut self.wanted), if self.since.is_some() => {}
                () = shared.finish.cancelled(), if self.farewell.is_none() => {
                    if self.since.is_none() {
                        return End::Finished;
                    }
                    self.farewell = Some(clock::now() + FAREWELL);
                }
                () = tokio::time::sleep_until(deadline) => {
                    return if self.farewell.is_some() { End::Finished } else { End::Silent };
                }
            }
            if self.hand_out(&shared.publisher).is_err() {
                return End::Overrun;
            }
            if shared.publisher.outbox().is_empty() {
                shared.publisher.tell_drained();
                if self.farewell.is_some() {
                    return self.say_goodbye().await;
                }
            }
        }
    }

    fn on_progress(&mut self, progress: Progress, shared: &mut Connections, complaint: &mut Complaint) -> Option<End> {
        if !matches!(progress, Progress::Sent(_)) {
            self.heard = clock::now();
        }
        match progress {
            Progress::Connected => return self.on_connected(shared),
            Progress::Subscribed { refused } => {
                if refused {
                    tracing::error!(
                        "the broker does not let us subscribe to every topic; check the user's rights (ACL) there"
                    );
                }
                complaint.settle();
                shared.link.send_replace(MqttLink::Connected);
            }
            Progress::Sent(packet_id) => shared.publisher.outbox().on_sent(packet_id),
            Progress::Acknowledged(packet_id) => shared.publisher.outbox().on_acknowledged(packet_id),
            Progress::Alive => {}
            Progress::Instance(mark) => return self.on_instance(&mark, shared),
            Progress::Ended(_) if self.farewell.is_some() => return Some(End::Finished),
            Progress::Ended(error) => return Some(End::Failed(error)),
        }
        None
    }

    /// Subscribes first: what follows in the same connection may be answered at once.
    fn on_connected(&mut self, shared: &mut Connections) -> Option<End> {
        self.since = Some(self.heard);
        shared.plan.instance.iter_mut().for_each(Instance::on_connected);
        self.subscribed = self.wanted.borrow_and_update().keys().cloned().collect();
        let filters: Vec<_> = shared.plan.filters.iter().chain(&self.subscribed).map(|topic| filter(topic)).collect();
        if filters.is_empty() {
            shared.link.send_replace(MqttLink::Connected);
        } else if self.client.try_subscribe_many(filters).is_err() {
            return Some(End::Overrun);
        }
        shared.publisher.outbox().on_connected();
        None
    }

    fn on_instance(&self, mark: &Bytes, shared: &mut Connections) -> Option<End> {
        let instance = shared.plan.instance.as_mut()?;
        match instance.on_mark(mark) {
            Rival::None => None,
            Rival::Younger => {
                tracing::warn!(
                    client_id = shared.plan.client_id,
                    "another Doorstep connects to this broker under our client id; stop it or give it its own"
                );
                None
            }
            Rival::Older => {
                tracing::error!(
                    client_id = shared.plan.client_id,
                    "another Doorstep, started before this one, uses this broker under the same client id; \
                     MQTT is off here until one of the two is stopped and this one restarted"
                );
                Some(End::Yielded)
            }
        }
    }

    /// Gives the client what the outbox allows. Never waits.
    fn hand_out(&mut self, publisher: &Publisher) -> Result<(), ClientError> {
        self.follow_subscriptions()?;
        let mut outbox = publisher.outbox();
        while let Some(publish) = outbox.next(clock::now()) {
            // Whoever wanted to hear what a topic had retained before this message said so before it.
            self.follow_subscriptions()?;
            // It fails when the poll task is gone, whose last report is on its way; the outbox forgets nothing.
            let _ = self.client.try_publish(publish.topic, QoS::AtLeastOnce, publish.retain, publish.payload);
        }
        Ok(())
    }

    /// Subscribes what has come and unsubscribes what has gone.
    ///
    /// # Errors
    /// When there are more requests than fit.
    fn follow_subscriptions(&mut self) -> Result<(), ClientError> {
        if self.since.is_none() || !self.wanted.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let wanted: BTreeSet<_> = self.wanted.borrow_and_update().keys().cloned().collect();
        for topic in self.subscribed.difference(&wanted) {
            self.client.try_unsubscribe(topic)?;
        }
        let new: Vec<_> = wanted.difference(&self.subscribed).map(|topic| filter(topic)).collect();
        if !new.is_empty() {
            self.client.try_subscribe_many(new)?;
        }
        self.subscribed = wanted;
        Ok(())
    }

    /// Everything is acknowledged: DISCONNECT, so that the broker does not send our last will.
    async fn say_goodbye(&mut self) -> End {
        if self.client.try_disconnect().is_ok() {
            let closed = async { while !matches!(self.progress.recv().await, Some(Progress::Ended(_)) | None) {} };
            let _ = tokio::time::timeout(FAREWELL, closed).await;
        }
        End::Finished
    }
}

fn filter(topic: &str) -> SubscribeFilter {
    SubscribeFilter::new(topic.to_owned(), QoS::AtLeastOnce)
}

/// Resolves when there is something that `has_changed` shows; it stays to be seen.
async fn changed(wanted: &mut watch::Receiver<subscriptions::Topics>) {
    if wanted.changed().await.is_err() {
        return std::future::pending().await;
    }
    wanted.mark_changed();
}
