//! The JSON side: doorbells as they are now, and the two switches.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ApiError, House};
use crate::clock::rfc3339;
use crate::doorbell::{ActionError, Doorbell};
use crate::media::Formats;
use crate::model::{Capability, DeviceId, Link, Ring};

/// A doorbell as `GET /api/doorbells/{id}` and the events tell it.
#[derive(Serialize)]
pub(super) struct DoorbellView {
    id: DeviceId,
    name: String,
    vendor: &'static str,
    model: String,
    firmware: Option<String>,
    capabilities: Vec<Capability>,
    /// `offline`, `ready`, `connecting`, `streaming` or `needs_attention`.
    link: &'static str,
    /// Why it is offline or needs attention.
    why: Option<String>,
    transport: Option<&'static str>,
    codecs: Formats,
    viewers: usize,
    talking: bool,
    /// Whether a viewer's microphone has the speaker; otherwise an open one is free for whoever comes.
    microphone: bool,
    /// Whose: the last eight digits of its WHEP session. Not all of them, which would let others end it.
    talker: Option<String>,
    /// Whether the stream switch keeps the camera up.
    stream: bool,
    last_error: Option<String>,
    last_ring: Option<RingView>,
    /// The latest rings, newest first.
    rings: Vec<RingView>,
    /// Where its picture is, relative to the service's address.
    whep: String,
}

#[derive(Serialize)]
pub(super) struct RingView {
    event_id: String,
    at: String,
    source: &'static str,
}

impl From<&Ring> for RingView {
    fn from(ring: &Ring) -> Self {
        Self { event_id: ring.event_id.clone(), at: rfc3339(ring.at), source: ring.source }
    }
}

impl From<&Doorbell> for DoorbellView {
    fn from(doorbell: &Doorbell) -> Self {
        let info = doorbell.info();
        let state = doorbell.state().borrow().clone();
        let why = match &state.link {
            Link::NeedsAttention { why } => Some(why.clone()),
            Link::Offline => state.last_error.clone(),
            Link::Ready | Link::Connecting | Link::Streaming => None,
        };
        Self {
            id: info.id.clone(),
            name: info.name.clone(),
            vendor: info.vendor,
            model: info.model.clone(),
            firmware: info.firmware.clone(),
            capabilities: info.capabilities.iter().copied().collect(),
            link: state.link.word(),
            why,
            transport: state.transport,
            codecs: *doorbell.media().formats().borrow(),
            viewers: state.viewers,
            talking: state.talking,
            microphone: state.microphone.is_some(),
            talker: state.microphone.map(|viewer| format!("{:08x}", viewer & 0xffff_ffff)),
            stream: state.stream_switch,
            last_error: state.last_error,
            last_ring: state.last_ring.as_ref().map(RingView::from),
            rings: doorbell.rings().iter().map(RingView::from).collect(),
            whep: format!("whep/{}", info.id),
        }
    }
}

pub(super) async fn list(State(house): State<Arc<House>>) -> Json<Vec<DoorbellView>> {
    Json(house.doorbells.all().iter().map(DoorbellView::from).collect())
}

pub(super) async fn one(
    State(house): State<Arc<House>>,
    Path(id): Path<String>,
) -> Result<Json<DoorbellView>, ApiError> {
    Ok(Json(DoorbellView::from(&find(&house, &id)?)))
}

/// The body of both switches.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    pub on: bool,
}

pub(super) async fn talk(
    State(house): State<Arc<House>>,
    Path(id): Path<String>,
    body: Result<Json<Switch>, JsonRejection>,
) -> Result<Json<DoorbellView>, ApiError> {
    let doorbell = find(&house, &id)?;
    let Json(Switch { on }) = body?;
    doorbell.switch_talk(on).await.map_err(|why| refused(&doorbell, why))?;
    Ok(Json(DoorbellView::from(&doorbell)))
}

pub(super) async fn stream(
    State(house): State<Arc<House>>,
    Path(id): Path<String>,
    body: Result<Json<Switch>, JsonRejection>,
) -> Result<Json<DoorbellView>, ApiError> {
    let doorbell = find(&house, &id)?;
    let Json(Switch { on }) = body?;
    if !doorbell.info().capabilities.contains(&Capability::Stream) {
        return Err(refused(&doorbell, ActionError::Unsupported("it has no picture")));
    }
    doorbell.switch_stream(on);
    Ok(Json(DoorbellView::from(&doorbell)))
}

fn find(house: &House, id: &str) -> Result<Doorbell, ApiError> {
    let id = DeviceId::parse(id).map_err(|_| ApiError::NoSuchDoorbell)?;
    house.doorbells.get(&id).ok_or(ApiError::NoSuchDoorbell)
}

fn refused(doorbell: &Doorbell, why: ActionError) -> ApiError {
    ApiError::Action { doorbell: doorbell.info().name.clone(), why }
}

/// The broker's state in one word.
pub(super) fn mqtt_word(house: &House) -> &'static str {
    match *house.mqtt_connected.borrow() {
        None => "off",
        Some(true) => "connected",
        Some(false) => "disconnected",
    }
}

/// Public, so without a name or an id: how many doorbells stand how, and whether the owner should look.
pub(super) async fn health(State(house): State<Arc<House>>) -> Json<Value> {
    let mut links = BTreeMap::<&str, usize>::new();
    let mut accounts = BTreeMap::<&str, &str>::new();
    for doorbell in house.doorbells.all() {
        let link = doorbell.state().borrow().link.clone();
        *links.entry(link.word()).or_default() += 1;
        let account = accounts.entry(doorbell.info().vendor).or_insert("ok");
        if matches!(link, Link::NeedsAttention { .. }) {
            *account = "needs_attention";
        }
    }
    let mqtt = mqtt_word(&house);
    let troubled = mqtt == "disconnected" || links.contains_key("offline") || links.contains_key("needs_attention");
    Json(json!({
        "status": if troubled { "degraded" } else { "ok" },
        "mqtt": mqtt,
        "accounts": accounts,
        "doorbells": links,
        "demo": house.demo,
    }))
}
