//! What is known of a doorbell, or what it answers, for whoever looks for a fault.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::Value;

use super::api::{find, refused};
use super::{ApiError, House};
use crate::doorbell::Question;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    ask: Option<Question>,
}

/// `GET /api/doorbells/{id}/diagnostics?ask=…`: without a question, how the account lists it.
pub(super) async fn ask(
    State(house): State<Arc<House>>,
    Path(id): Path<String>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let doorbell = find(&house, &id)?;
    let Query(Asked { ask }) = query.map_err(|_| ApiError::Question)?;
    let answer = doorbell.diagnose(ask.unwrap_or(Question::Record)).await;
    answer.map(Json).map_err(|why| refused(&doorbell, why))
}
