//! A still picture of a doorbell, taken when it is asked for.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::api::{find, refused};
use super::{ApiError, House};

/// `GET /api/doorbells/{id}/snapshot.jpg`.
pub(super) async fn take(State(house): State<Arc<House>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let doorbell = find(&house, &id)?;
    let picture = doorbell.take_snapshot().await.map_err(|why| refused(&doorbell, why))?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], picture).into_response())
}
