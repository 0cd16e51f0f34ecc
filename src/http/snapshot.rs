//! Still pictures of a doorbell: taken when one is asked for, the newest that there is, and those of its rings.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::api::{find, refused};
use super::{ApiError, House};
use crate::doorbell::Doorbell;
use crate::model::DeviceId;

/// What the name of a ring is spelt without in an address: everything that could mean something there.
const NOT_IN_A_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    /// Whether a camera that sleeps may be woken for it.
    wake: Option<bool>,
}

/// `GET /api/doorbells/{id}/snapshot.jpg`.
pub(super) async fn take(
    State(house): State<Arc<House>>,
    Path(id): Path<String>,
    how: Result<Query<How>, QueryRejection>,
) -> Result<Response, ApiError> {
    let doorbell = find(&house, &id)?;
    let Query(how) = how.map_err(|_| ApiError::Wake)?;
    let picture = match how.wake {
        Some(false) => known(&doorbell).await?,
        None | Some(true) => doorbell.take_snapshot().await.map_err(|why| refused(&doorbell, why))?,
    };
    Ok(jpeg(picture))
}

/// `GET /api/doorbells/{id}/rings/{event_id}.jpg`.
pub(super) async fn of_ring(
    State(house): State<Arc<House>>,
    Path((id, picture)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let doorbell = find(&house, &id)?;
    let picture = picture.strip_suffix(".jpg").and_then(|event_id| doorbell.ring_picture(event_id));
    let picture = picture.ok_or_else(|| ApiError::NoRingPicture { doorbell: doorbell.info().name.clone() })?;
    Ok(jpeg(picture.jpeg.clone()))
}

/// Where the picture of a ring is, relative to the service's address. An id may be any text.
pub(super) fn path_of_ring(doorbell: &DeviceId, event_id: &str) -> String {
    format!("api/doorbells/{doorbell}/rings/{}.jpg", utf8_percent_encode(event_id, NOT_IN_A_NAME))
}

async fn known(doorbell: &Doorbell) -> Result<Bytes, ApiError> {
    let known = doorbell.known_picture().await.map(|picture| picture.jpeg.clone());
    known.ok_or_else(|| ApiError::NoPicture { doorbell: doorbell.info().name.clone() })
}

fn jpeg(picture: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "image/jpeg")], picture).into_response()
}
