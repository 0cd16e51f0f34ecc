//! The clips: sounds by name, which any doorbell says without asking anybody.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde::Serialize;

use super::{ApiError, House};
use crate::doorbell::Voice;
use crate::model::ClipName;

#[derive(Serialize)]
pub(super) struct ClipView {
    name: ClipName,
    /// To a hundredth.
    seconds: f64,
}

type Name = Result<Path<String>, PathRejection>;

pub(super) fn views(voice: &dyn Voice) -> Vec<ClipView> {
    let clips = voice.clips();
    let clips = clips.borrow();
    let hundredths = |seconds: f64| (seconds * 100.0).round() / 100.0;
    clips
        .iter()
        .map(|(name, length)| ClipView { name: name.clone(), seconds: hundredths(length.as_secs_f64()) })
        .collect()
}

/// `GET /api/clips`.
pub(super) async fn list(State(house): State<Arc<House>>) -> Json<Vec<ClipView>> {
    Json(views(&*house.voice))
}

/// `PUT /api/clips/{name}`: 201, or 200 in place of one that had the name.
pub(super) async fn keep(
    State(house): State<Arc<House>>,
    name: Name,
    request: Request,
) -> Result<(StatusCode, Json<Vec<ClipView>>), ApiError> {
    let name = parse(name)?;
    let file = house.uploads.receive(request).await?;
    let known = house.voice.clips().borrow().contains_key(&name);
    house.voice.keep(name, file).await?;
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(views(&*house.voice))))
}

/// `DELETE /api/clips/{name}`.
pub(super) async fn remove(State(house): State<Arc<House>>, name: Name) -> Result<StatusCode, ApiError> {
    let was_there = house.voice.remove(parse(name)?).await?;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::NoSuchClip) }
}

fn parse(name: Name) -> Result<ClipName, ApiError> {
    let Path(name) = name.map_err(|_| ApiError::ClipName)?;
    ClipName::parse(&name).map_err(|_| ApiError::ClipName)
}
