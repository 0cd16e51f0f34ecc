//! Hears an account's doorbells ring: one connection to AWS IoT for all of its channels (kvs reference §6).

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Kvs;
use super::channels::{Known, Rings, id_of};
use super::rings::{Hearing, Ignored, Message, Now, Topics};
use crate::aws::iot::{Iot, News, Settings, Way};
use crate::aws::{Aws, Role};
use crate::clock;
use crate::config::IotEndpoint;
use crate::doorbell::vendor::BoxFuture;
use crate::model::{AccountLink, DeviceId, Event};
use crate::vendor::desk::Desk;

/// Listens as long as the account lives.
pub(super) struct Listener<'a> {
    kvs: &'a Kvs,
    aws: &'a Aws,
    desk: &'a Desk,
    events: mpsc::Sender<(DeviceId, Event)>,
    hearing: Hearing,
    /// Why the last message was no ring although it was meant as one: a thousand of them are one line in the log.
    mistaken: Option<Ignored>,
    /// Calls that somebody will want now.
    warming: FuturesUnordered<BoxFuture<'a, ()>>,
}

/// What is listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    endpoint: IotEndpoint,
    filters: Vec<String>,
}

impl Wanted {
    /// `None` where nothing can be heard.
    fn of(known: &Known, topics: &Topics) -> Option<Self> {
        let Rings::At(endpoint) = &known.rings else { return None };
        let filters = topics.filters(&known.names());
        (!filters.is_empty()).then(|| Self { endpoint: endpoint.clone(), filters })
    }
}

impl<'a> Listener<'a> {
    const MOST_WARMING: usize = 4;

    pub(super) fn new(kvs: &'a Kvs, aws: &'a Aws, desk: &'a Desk, events: mpsc::Sender<(DeviceId, Event)>) -> Self {
        let hearing = Hearing::new(Topics::new(&kvs.config.ring_topics));
        Self { kvs, aws, desk, events, hearing, mistaken: None, warming: FuturesUnordered::new() }
    }

    /// Until the account is gone.
    pub(super) async fn run(&mut self) {
        let topics = self.hearing.topics().clone();
        let mut known = self.kvs.known.subscribe();
        loop {
            let wanted = Wanted::of(&known.borrow_and_update(), &topics);
            tokio::select! {
                changed = known.wait_for(|known| Wanted::of(known, &topics) != wanted) => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = self.listen(wanted.clone()) => {}
            }
        }
    }

    /// Never resolves.
    async fn listen(&mut self, wanted: Option<Wanted>) {
        // The service itself listens, and a second one by its name would take its place at AWS.
        let wanted = wanted.filter(|_| !self.kvs.memory.is_read_only());
        let Some(Wanted { endpoint, filters }) = wanted else {
            self.desk.push_is(None).await;
            return std::future::pending().await;
        };
        let settings = Settings {
            way: Way::to(&endpoint, self.aws),
            endpoint,
            client_id: self.client_id(),
            filters,
            // So that a ring in the second of a reconnection is not lost.
            clean_session: false,
        };
        // Ends when it is dropped.
        let mut iot = Iot::start(settings, CancellationToken::new());
        loop {
            tokio::select! {
                news = iot.next() => self.take(news).await,
                Some(()) = self.warming.next() => {}
            }
        }
    }

    fn client_id(&self) -> String {
        let config = &self.kvs.config;
        let of_thing = || config.thing.as_ref().map(|thing| format!("{thing}-doorstep"));
        config.client_id.clone().or_else(of_thing).unwrap_or_else(|| self.kvs.memory.client_id())
    }

    async fn take(&mut self, news: News) {
        match news {
            News::Connected => {
                self.hearing.connected(clock::now());
                self.desk.push_is(None).await;
            }
            News::Message { topic, payload, retained, dup } => {
                self.hear(Message { topic: &topic, payload: &payload, retained, dup }).await;
            }
            News::Trouble { why, needs_owner: true } => {
                self.desk.push_is(Some(AccountLink::NeedsAttention { why })).await;
            }
            News::Trouble { why, needs_owner: false } => {
                self.desk.push_is(Some(AccountLink::Failing { why })).await;
            }
        }
    }

    async fn hear(&mut self, message: Message<'_>) {
        let now = Now { at: clock::now(), wall: self.aws.now() };
        let heard = {
            let known = self.kvs.known.borrow();
            self.hearing.hear(message, &known.names(), now).map(|(channel, ring)| (id_of(channel), ring))
        };
        match heard {
            Ok((id, ring)) => {
                self.mistaken = None;
                self.warm(&id);
                let _house_gone = self.events.send((id, Event::Ring(ring))).await;
            }
            Err(why @ (Ignored::Nobodys | Ignored::NoRing(_))) if self.mistaken.replace(why) != Some(why) => {
                tracing::warn!(topic = message.topic, %why, "a message on a ring topic makes nothing ring");
            }
            Err(why) => tracing::debug!(topic = message.topic, %why, "a message is passed over"),
        }
    }

    /// Somebody will want to see who is there: what AWS must be asked first is asked now.
    fn warm(&mut self, id: &DeviceId) {
        let Ok(channel) = self.kvs.channel(id) else { return };
        if self.warming.len() < Self::MOST_WARMING {
            let aws = self.aws;
            self.warming.push(Box::pin(async move {
                if let Err(error) = aws.signalling(&channel, Role::Viewer, "doorstep-warm").await {
                    tracing::debug!(%error, "a call could not be got ready");
                }
            }));
        }
    }
}
