//! The JSON side: doorbells as they are now, and the two switches. Doors and accounts have files of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::RequestExt;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::guard::content_type;
use super::{ApiError, House, accounts, snapshot};
use crate::clock::rfc3339;
use crate::doorbell::{ActionError, Doorbell};
use crate::media::Formats;
use crate::model::{
    Capability, DeviceId, Door, DoorKind, Link, LockState, MqttLink, Ring, Speaking, State as DoorbellState, TalkLevel,
};

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
    /// Whether a viewer's microphone or what it says by itself has the speaker; otherwise an open one is free for
    /// whoever comes.
    microphone: bool,
    /// Whose: the last eight digits of its WHEP session. Not all of them, which would let others end it.
    talker: Option<String>,
    /// What it says by itself.
    speaking: Option<Speaking>,
    /// Whether the stream switch keeps the camera up.
    stream: bool,
    /// Why nobody can talk at present, although it has a speaker.
    talk_obstacle: Option<String>,
    /// How the last talk came here from its microphone.
    talk_level: Option<TalkLevel>,
    /// Its lock or opener; `null` unless its owner has enabled one.
    door: Option<DoorView>,
    /// `null` unless its owner has enabled one.
    garage: Option<GarageView>,
    last_error: Option<String>,
    last_ring: Option<RingView>,
    /// The latest rings, newest first.
    rings: Vec<RingView>,
    /// When the newest still picture was taken; `null` as long as there is none.
    picture_at: Option<String>,
    /// Where its picture is, relative to the service's address.
    whep: String,
}

#[derive(Serialize)]
pub(super) struct RingView {
    event_id: String,
    at: String,
    source: &'static str,
    /// How long after the press it was known here, where the source says when that was.
    latency_ms: Option<u64>,
    /// Where its still picture is, relative to the service's address, once there is one.
    picture: Option<String>,
}

#[derive(Serialize)]
pub(super) struct DoorView {
    /// `null` while it is not known.
    lock: Option<LockState>,
    /// Why no command is taken at present.
    blocked: Option<String>,
    /// Whether it is an opener in the doorbell, which cannot lock the door.
    opener: bool,
}

impl DoorView {
    fn of(doorbell: &Doorbell, state: &DoorbellState) -> Option<Self> {
        let door = state.doors.get(&DoorKind::Lock)?.clone();
        let opener = doorbell.door(DoorKind::Lock)?.opener().is_some();
        Some(Self { lock: door.lock, blocked: door.blocked, opener })
    }
}

#[derive(Serialize)]
pub(super) struct GarageView {
    /// `open`, `opening`, `closed`, `closing` or `stopped`; `null` while it is not known.
    state: Option<&'static str>,
    /// Why no command is taken at present.
    blocked: Option<String>,
}

impl From<&Door> for GarageView {
    fn from(door: &Door) -> Self {
        let state = door.lock.map(|state| DoorKind::Garage.state_word(state));
        Self { state, blocked: door.blocked.clone() }
    }
}

impl RingView {
    pub(super) fn of(doorbell: &Doorbell, ring: &Ring) -> Self {
        let latency_ms = ring.latency.map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
        let picture = doorbell.ring_picture(&ring.event_id);
        let picture = picture.map(|_| snapshot::path_of_ring(&doorbell.info().id, &ring.event_id));
        Self { event_id: ring.event_id.clone(), at: rfc3339(ring.at), source: ring.source, latency_ms, picture }
    }
}

impl From<&Doorbell> for DoorbellView {
    fn from(doorbell: &Doorbell) -> Self {
        let info = doorbell.info();
        let state = doorbell.state().borrow().clone();
        let door = DoorView::of(doorbell, &state);
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
            talker: state.microphone.filter(|viewer| *viewer != Doorbell::OWN_VOICE).map(short),
            speaking: state.speaking,
            stream: state.stream_switch,
            talk_obstacle: state.talk_obstacle,
            talk_level: state.talk_level,
            door,
            garage: state.doors.get(&DoorKind::Garage).map(GarageView::from),
            last_error: state.last_error,
            last_ring: state.last_ring.as_ref().map(|ring| RingView::of(doorbell, ring)),
            rings: doorbell.rings().iter().map(|ring| RingView::of(doorbell, ring)).collect(),
            picture_at: doorbell.pictures().borrow().as_ref().map(|picture| rfc3339(picture.at)),
            whep: format!("whep/{}", info.id),
        }
    }
}

fn short(viewer: u64) -> String {
    format!("{:08x}", viewer & 0xffff_ffff)
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

/// That the body is as empty as it should be: of the right type, and nothing or `{}`.
pub(super) async fn says_nothing(request: Request) -> Result<(), ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::ContentType);
    }
    let body: Bytes = request.extract().await.map_err(JsonRejection::from)?;
    let empty =
        body.trim_ascii().is_empty() || serde_json::from_slice(&body).is_ok_and(|said: Value| said == json!({}));
    empty.then_some(()).ok_or(ApiError::BodyUnexpected)
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    content_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

pub(super) fn find(house: &House, id: &str) -> Result<Doorbell, ApiError> {
    let id = DeviceId::parse(id).map_err(|_| ApiError::NoSuchDoorbell)?;
    house.doorbells.get(&id).ok_or(ApiError::NoSuchDoorbell)
}

pub(super) fn refused(doorbell: &Doorbell, why: ActionError) -> ApiError {
    ApiError::Action { doorbell: doorbell.info().name.clone(), why }
}

/// The broker's state in one word.
pub(super) fn mqtt_word(house: &House) -> &'static str {
    house.mqtt.borrow().word()
}

/// Public, so without a name or an id: how many doorbells stand how, and whether the owner should look.
pub(super) async fn health(State(house): State<Arc<House>>) -> Json<Value> {
    let mut links = BTreeMap::<&str, usize>::new();
    for doorbell in house.doorbells.all() {
        *links.entry(doorbell.state().borrow().link.word()).or_default() += 1;
    }
    let mqtt = *house.mqtt.borrow();
    let accounts = accounts::health(&house.accounts);
    let troubled = matches!(mqtt, MqttLink::Waiting | MqttLink::Disconnected)
        || links.contains_key("offline")
        || links.contains_key("needs_attention")
        || accounts.values().any(|word| *word == accounts::DEGRADED);
    Json(json!({
        "status": if troubled { "degraded" } else { "ok" },
        "mqtt": mqtt.word(),
        "accounts": accounts,
        "doorbells": links,
        "demo": house.demo,
    }))
}
