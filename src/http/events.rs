//! `GET /api/events`: everything that happens, as JSON text messages over a WebSocket.
//!
//! A listener is first told everything (`snapshot`) and then what changes. Nothing is queued for it here:
//! states are read when they are sent, so a slow listener skips the ones in between, and one that takes
//! nothing for [`PATIENCE`] is dropped. It begins anew with a snapshot, which holds the last rings.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, State};
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use serde::Serialize;
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::accounts::{self, AccountView};
use super::api::{DoorbellView, RingView, mqtt_word};
use super::clips::{self, ClipView};
use super::{ApiError, House};
use crate::clock::{self, rfc3339};
use crate::doorbell::{Doorbell, Picture};
use crate::media::Formats;
use crate::model::{DeviceId, DeviceInfo, Event, MotionKind, State as DoorbellState};

/// How long one message may take to go out.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keeps proxies from closing a quiet connection, and shows whether anybody is still there.
const HEARTBEAT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(50);
/// Listeners have nothing to say; a longer message ends the connection.
const MESSAGE_LIMIT: usize = 1024;
/// The protocol agreed on when the page brings its token as another one.
pub(super) const PROTOCOL: &str = "doorstep";

const DEMO_HINT: &str = "These doorbells are virtual. To press a button, type `ring` in the terminal where the demo \
     runs. They play clips; spoken text needs a Home Assistant, which the demo has not.";

/// Tells listeners that the service stops.
#[derive(Clone)]
pub(super) struct Stop(pub(super) CancellationToken);

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum News {
    Snapshot {
        version: &'static str,
        mqtt: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        demo_hint: Option<&'static str>,
        accounts: Vec<AccountView>,
        clips: Vec<ClipView>,
        doorbells: Vec<DoorbellView>,
    },
    /// All of them, whenever one came or went.
    Clips {
        clips: Vec<ClipView>,
    },
    /// All of them, whenever one came, went, or changed.
    Accounts {
        accounts: Vec<AccountView>,
    },
    State {
        doorbell: Box<DoorbellView>,
    },
    Ring {
        id: DeviceId,
        #[serde(flatten)]
        ring: RingView,
    },
    Motion {
        id: DeviceId,
        event_id: String,
        at: String,
        kind: MotionKind,
    },
    /// There is a new still picture.
    Picture {
        id: DeviceId,
        at: String,
        /// The `event_id` of the ring that it belongs to.
        ring: Option<String>,
    },
    Mqtt {
        mqtt: &'static str,
    },
}

pub(super) async fn listen(
    State(house): State<Arc<House>>,
    stop: Option<Extension<Stop>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| ApiError::NotWebSocket)?;
    let seat = house.listeners.clone().try_acquire_owned().map_err(|_| ApiError::TooManyListeners)?;
    let stop = stop.map(|Extension(Stop(stop))| stop).unwrap_or_default();
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(MESSAGE_LIMIT).max_frame_size(MESSAGE_LIMIT);
    Ok(upgrade.on_upgrade(async move |mut socket| {
        let end = tell(&mut socket, &house, &stop).await;
        debug!(?end, "a listener is gone");
        if let End::Stopping = end {
            farewell(&mut socket, close_code::AWAY, "the service stops").await;
        }
        drop(seat);
    }))
}

/// Says at the end why, to whoever is still there.
pub(super) async fn farewell(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let goodbye = CloseFrame { code, reason: reason.into() };
    let _ = timeout(PATIENCE, socket.send(Message::Close(Some(goodbye)))).await;
}

/// Why a listener is told nothing more.
#[derive(Debug)]
enum End {
    Stopping,
    Left,
    TooSlow,
    Silent,
}

/// Tells one listener everything until either side ends it.
async fn tell(socket: &mut WebSocket, house: &Arc<House>, stop: &CancellationToken) -> End {
    let mut registry = house.doorbells.changes();
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let mut heard = clock::now();
    loop {
        registry.mark_unchanged();
        // Listening before the snapshot is taken: what happens in between is told twice rather than never.
        let mut news = everything(house);
        let mut said = say(socket, &snapshot(house)).await;
        loop {
            if let Err(end) = said {
                return end;
            }
            said = tokio::select! {
                () = stop.cancelled() => return End::Stopping,
                message = socket.recv() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Left,
                    Some(Ok(_)) => { heard = clock::now(); Ok(()) }
                },
                // The registry lives as long as the house.
                _ = registry.changed() => break,
                Some(message) = news.next() => say(socket, &message).await,
                _ = heartbeat.tick() => {
                    if heard.elapsed() > SILENCE {
                        return End::Silent;
                    }
                    send(socket, Message::Ping(Default::default())).await
                }
            };
        }
    }
}

async fn say(socket: &mut WebSocket, news: &News) -> Result<(), End> {
    let text = serde_json::to_string(news).expect("plain data with string keys");
    send(socket, Message::text(text)).await
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), End> {
    match timeout(PATIENCE, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Left),
        Err(_) => Err(End::TooSlow),
    }
}

fn snapshot(house: &House) -> News {
    News::Snapshot {
        version: house.version,
        mqtt: mqtt_word(house),
        demo_hint: house.demo.then_some(DEMO_HINT),
        accounts: accounts::views(house),
        clips: clips::views(&*house.voice),
        doorbells: house.doorbells.all().iter().map(DoorbellView::from).collect(),
    }
}

/// The news of every doorbell that there is now, of the accounts, the clips and the broker.
fn everything(house: &Arc<House>) -> SelectAll<BoxStream<'static, News>> {
    let mut all: SelectAll<_> = house.doorbells.all().into_iter().map(|d| Source::new(d).stream()).collect();
    let mqtt = (house.clone(), house.mqtt.clone());
    all.push(
        stream::unfold(mqtt, async |(house, mut mqtt)| {
            mqtt.changed().await.ok()?;
            mqtt.borrow_and_update();
            Some((News::Mqtt { mqtt: mqtt_word(&house) }, (house, mqtt)))
        })
        .boxed(),
    );
    let clips = (house.clone(), house.voice.clips());
    all.push(
        stream::unfold(clips, async |(house, mut changes)| {
            changes.changed().await.ok()?;
            Some((News::Clips { clips: clips::views(&*house.voice) }, (house, changes)))
        })
        .boxed(),
    );
    let accounts = (house.clone(), house.accounts.changes());
    all.push(
        stream::unfold(accounts, async |(house, mut changes)| {
            changes.changed().await;
            Some((News::Accounts { accounts: accounts::views(&house) }, (house, changes)))
        })
        .boxed(),
    );
    all
}

/// One doorbell's news.
struct Source {
    doorbell: Doorbell,
    info: watch::Receiver<Arc<DeviceInfo>>,
    events: broadcast::Receiver<Event>,
    state: watch::Receiver<DoorbellState>,
    formats: watch::Receiver<Formats>,
    pictures: watch::Receiver<Option<Arc<Picture>>>,
}

impl Source {
    fn new(doorbell: Doorbell) -> Self {
        let (info, events) = (doorbell.infos(), doorbell.events());
        let (state, formats, pictures) = (doorbell.state(), doorbell.media().formats(), doorbell.pictures());
        Self { doorbell, info, events, state, formats, pictures }
    }

    fn stream(self) -> BoxStream<'static, News> {
        stream::unfold(self, async |mut source| source.next().await.map(|news| (news, source))).boxed()
    }

    /// `None` when the doorbell is gone.
    async fn next(&mut self) -> Option<News> {
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) => return Some(self.event(event)),
                    // The state that changed with the missed rings tells them.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                changed = self.info.changed() => { changed.ok()?; return Some(self.view()) }
                changed = self.state.changed() => { changed.ok()?; return Some(self.view()) }
                changed = self.formats.changed() => { changed.ok()?; return Some(self.view()) }
                changed = self.pictures.changed() => { changed.ok()?; return Some(self.picture()) }
            }
        }
    }

    fn view(&self) -> News {
        News::State { doorbell: Box::new(DoorbellView::from(&self.doorbell)) }
    }

    fn picture(&self) -> News {
        match self.pictures.borrow().as_deref() {
            Some(Picture { at, ring, .. }) => {
                News::Picture { id: self.doorbell.info().id.clone(), at: rfc3339(*at), ring: ring.clone() }
            }
            None => self.view(),
        }
    }

    fn event(&self, event: Event) -> News {
        let id = self.doorbell.info().id.clone();
        match event {
            Event::Ring(ring) => News::Ring { id, ring: RingView::of(&self.doorbell, &ring) },
            Event::Motion(motion) => {
                News::Motion { id, event_id: motion.event_id, at: rfc3339(motion.at), kind: motion.kind }
            }
        }
    }
}
