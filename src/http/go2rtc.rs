//! The dialect of go2rtc, so that go2rtc itself and the cards that are made for it take us for one of their own:
//! `/api/ws?src=ID`, over which a viewer is connected (in `socket`), and `/api/streams`, which says what there is
//! (go2rtc 1.9.14, `internal/streams/api.go`).

mod socket;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{ApiError, events};
use crate::doorbell::{Doorbell, Registry};
use crate::media::convert::browser_format;
use crate::media::{AudioCodec, AudioFormat, VideoCodec};
use crate::model::{Capability, DeviceId};
use crate::rtc::Viewers;

/// How many may be arranging a call at once; one more is told so with 503. A call that stands needs no socket.
const SOCKETS: usize = 64;

/// What the dialect consists of.
#[derive(Clone, Default)]
pub struct Routes {
    /// `GET /api/streams`
    pub streams: MethodRouter,
    /// `GET /api/ws`
    pub signalling: MethodRouter,
}

#[derive(Clone)]
struct Desk {
    doorbells: Registry,
    viewers: Viewers,
    prefix: Arc<str>,
    sockets: Arc<Semaphore>,
}

impl Routes {
    /// `prefix` is what the names of our streams begin with in the household's go2rtc: they are known here, too.
    pub fn new(doorbells: Registry, viewers: Viewers, prefix: &str) -> Self {
        let desk = Desk { doorbells, viewers, prefix: prefix.into(), sockets: Arc::new(Semaphore::new(SOCKETS)) };
        Self { streams: get(streams).with_state(desk.clone()), signalling: get(signal).with_state(desk) }
    }
}

impl Desk {
    /// By its id, or by the name of its stream in go2rtc.
    fn find(&self, name: &str) -> Option<Doorbell> {
        let by_id = |id: &str| self.doorbells.get(&DeviceId::parse(id).ok()?);
        let doorbell = by_id(name).or_else(|| by_id(name.strip_prefix(&*self.prefix)?))?;
        has_stream(&doorbell).then_some(doorbell)
    }
}

fn has_stream(doorbell: &Doorbell) -> bool {
    doorbell.info().capabilities.contains(&Capability::Stream)
}

/// A stream as go2rtc tells of one.
#[derive(Serialize)]
struct Stream {
    producers: [Producer; 1],
    /// One for each viewer. Who they are is nobody's business.
    consumers: Vec<Value>,
}

#[derive(Serialize)]
struct Producer {
    url: String,
    medias: Vec<String>,
}

impl From<&Doorbell> for Stream {
    fn from(doorbell: &Doorbell) -> Self {
        let viewers = doorbell.state().borrow().viewers;
        let url = format!("doorstep:{}", doorbell.info().id);
        Self {
            producers: [Producer { url, medias: medias(doorbell) }],
            consumers: vec![json!({ "format_name": "webrtc" }); viewers],
        }
    }
}

/// What there is to see and hear, and whether one can talk, in go2rtc's words.
///
/// go2rtc calls a camera to find that out when it is asked with `video`, `audio` or `microphone`. Here that is known
/// without waking one but for the codecs, which nobody who asks has a use for: `ANY` until the camera has shown them.
fn medias(doorbell: &Doorbell) -> Vec<String> {
    let formats = *doorbell.media().formats().borrow();
    let video = match formats.video {
        Some(VideoCodec::H264) => "H264",
        Some(VideoCodec::H265) => "H265",
        None => "ANY",
    };
    let mut medias = vec![format!("video, recvonly, {video}")];
    match (formats.video, formats.audio) {
        (_, Some(format)) => medias.push(format!("audio, recvonly, {}", spelt(browser_format(format)))),
        (None, None) => medias.push("audio, recvonly, ANY".to_owned()),
        // It shows a picture and no sound comes with it.
        (Some(_), None) => {}
    }
    if can_talk(doorbell) {
        medias.push(format!("audio, sendonly, {}, {}", spelt(AudioFormat::PCMU), spelt(AudioFormat::OPUS)));
    }
    medias
}

/// An obstacle that may be gone in a moment counts for none: cards ask once, when they are shown.
fn can_talk(doorbell: &Doorbell) -> bool {
    let state = doorbell.state();
    let state = state.borrow();
    doorbell.info().capabilities.contains(&Capability::Talk) && (state.talk_obstacle.is_none() || state.talk_pending)
}

fn spelt(format: AudioFormat) -> &'static str {
    match format.codec {
        AudioCodec::Pcma => "PCMA/8000",
        AudioCodec::Opus => "OPUS/48000/2",
        AudioCodec::Pcmu | AudioCodec::Pcm | AudioCodec::Aac => "PCMU/8000",
    }
}

async fn streams(State(desk): State<Desk>, Query(query): Query<HashMap<String, String>>) -> Result<Response, ApiError> {
    match query.get("src").filter(|name| !name.is_empty()) {
        Some(name) => {
            let doorbell = desk.find(name).ok_or(ApiError::NoSuchDoorbell)?;
            Ok(Json(Stream::from(&doorbell)).into_response())
        }
        None => {
            let all = desk.doorbells.all();
            let streams = all.iter().filter(|doorbell| has_stream(doorbell));
            let streams: BTreeMap<_, _> =
                streams.map(|doorbell| (doorbell.info().id.clone(), Stream::from(doorbell))).collect();
            Ok(Json(streams).into_response())
        }
    }
}

async fn signal(
    State(desk): State<Desk>,
    Query(query): Query<HashMap<String, String>>,
    stop: Option<Extension<events::Stop>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| ApiError::NotWebSocket)?;
    let seat = desk.sockets.clone().try_acquire_owned().map_err(|_| ApiError::TooManyCalls)?;
    let stop = stop.map(|Extension(events::Stop(stop))| stop).unwrap_or_default();
    let doorbell = query.get("src").and_then(|name| desk.find(name));
    let limit = socket::MESSAGE_LIMIT;
    let upgrade = upgrade.protocols([events::PROTOCOL]).max_message_size(limit).max_frame_size(limit);
    Ok(upgrade.on_upgrade(async move |socket| {
        socket::attend(socket, doorbell, desk.viewers, stop).await;
        drop(seat);
    }))
}
